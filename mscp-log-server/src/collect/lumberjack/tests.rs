#![allow(clippy::unwrap_used, reason = "tests")]
//! The sender against our own listener, receivers that misbehave, and
//! go-lumber's server.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::lumberjack::{Limits, Parser, Step, Version, ack};

/// What a receiver says to a window of so many events: acknowledgements in
/// their order, and whether it hangs up behind them.
type Says = fn(u32) -> (Vec<u32>, bool);

/// A receiver that reads windows and says what it is told to.
struct Receiver {
    address: SocketAddr,
    /// Events of each window, as they came.
    windows: mpsc::Receiver<Vec<String>>,
    _task: JoinHandle<()>,
}

async fn receiver(says: Says) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came, windows) = mpsc::channel();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = receive(stream, says, came.clone()).await;
        }
    });
    Receiver {
        address,
        windows,
        _task: task,
    }
}

async fn receive(
    mut stream: TcpStream,
    says: Says,
    came: mpsc::Sender<Vec<String>>,
) -> io::Result<()> {
    let limits = Limits {
        event_bytes: 1 << 20,
        frame_bytes: 1 << 30,
    };
    let mut parser = Parser::new(limits);
    let (mut size, mut window) = (0, Vec::new());
    let mut buffer = vec![0; 4096];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut input = &buffer[..read];
        while let Some(step) = parser.next(&mut input).unwrap() {
            match step {
                Step::Window { events, .. } => size = events,
                Step::Event { json, .. } => window.push(String::from_utf8(json).unwrap()),
                _ => {}
            }
            if size > 0 && window.len() == size as usize {
                came.send(std::mem::take(&mut window)).unwrap();
                let (answers, hangs_up) = says(size);
                for answer in answers {
                    stream.write_all(&ack(Version::Two, answer)).await?;
                }
                if hangs_up {
                    return Ok(());
                }
            }
        }
    }
}

fn events(count: usize) -> Vec<Bytes> {
    let event = |number: usize| json!({"message": format!("line {number}")}).to_string();
    (0..count).map(|number| event(number).into()).collect()
}

fn sender(hosts: &[SocketAddr], window_events: usize) -> Sender {
    let hosts = hosts.iter().map(ToString::to_string).collect();
    Sender::new(Settings {
        window_events,
        timeout: Duration::from_millis(500),
        ..Settings::new(hosts)
    })
    .unwrap()
}

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn events_go_in_windows_over_one_connection_and_arrive_in_order() {
    let receiver = receiver(|size| (vec![0, size / 2, 0, size], false)).await;
    let mut sender = sender(&[receiver.address], 4);
    let events = events(10);
    sender.send(&events).await.unwrap();
    sender.send(&[]).await.unwrap();
    let windows: Vec<_> = receiver.windows.try_iter().collect();
    assert_eq!(windows.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(windows.concat(), events);
}

#[tokio::test]
async fn a_window_ends_where_its_bytes_are_too_many_and_a_large_event_goes_alone() {
    let receiver = receiver(|size| (vec![size], false)).await;
    let mut sender = sender(&[receiver.address], 100);
    sender.settings.window_bytes = 50;
    let event = |bytes: usize| Bytes::from("x".repeat(bytes));
    let events = [20, 20, 20, 500, 10].map(event);
    sender.send(&events).await.unwrap();
    let windows: Vec<_> = receiver.windows.try_iter().collect();
    assert_eq!(
        windows.iter().map(Vec::len).collect::<Vec<_>>(),
        [2, 1, 1, 1]
    );
}

#[tokio::test]
async fn what_was_acknowledged_in_part_is_not_sent_to_the_next_host() {
    // The 0 says only that it lived a moment ago.
    let first = receiver(|_| (vec![3, 0], true)).await;
    let second = receiver(|size| (vec![size], false)).await;
    let mut sender = sender(&[first.address, second.address], 100);
    let events = events(10);
    sender.send(&events).await.unwrap();
    assert_eq!(first.windows.try_iter().count(), 1);
    assert_eq!(
        second.windows.try_iter().collect::<Vec<_>>(),
        [events[3..].to_vec()]
    );
    // The host that failed is left alone.
    sender.send(&events).await.unwrap();
    assert_eq!(first.windows.try_iter().count(), 0);
    assert_eq!(second.windows.try_iter().count(), 1);
}

#[tokio::test]
async fn with_load_balancing_windows_go_to_the_living_hosts_in_turn() {
    let says: Says = |size| (vec![size], false);
    let (a, b) = (receiver(says).await, receiver(says).await);
    let mut sender = sender(&[a.address, nobody().await, b.address], 1);
    sender.settings.load_balance = true;
    sender.send(&events(10)).await.unwrap();
    let counts = [&a, &b].map(|receiver| receiver.windows.try_iter().count());
    assert_eq!(counts.iter().sum::<usize>(), 10);
    assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
}

#[tokio::test]
async fn when_every_host_fails_the_last_one_is_named() {
    let (first, second) = (nobody().await, nobody().await);
    let mut sender = sender(&[first, second], 10);
    let error = sender.send(&events(1)).await.unwrap_err();
    assert_eq!(error.host, second.to_string());
    assert!(matches!(error.reason, Reason::Io(_)), "{error}");
    assert!(Sender::new(Settings::new(Vec::new())).is_err());
}

#[tokio::test]
async fn a_receiver_that_says_nothing_or_the_wrong_thing_is_given_up() {
    let silent = receiver(|_| (Vec::new(), false)).await;
    let error = sender(&[silent.address], 10)
        .send(&events(2))
        .await
        .unwrap_err();
    assert!(matches!(error.reason, Reason::Silent(_)), "{error}");
    let liar = receiver(|size| (vec![size + 1], false)).await;
    let error = sender(&[liar.address], 10)
        .send(&events(2))
        .await
        .unwrap_err();
    assert!(
        matches!(error.reason, Reason::Answer { sent: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_the_receiver_closed_meanwhile_is_made_again() {
    let receiver = receiver(|size| (vec![size], true)).await;
    let mut sender = sender(&[receiver.address], 100);
    for _ in 0..3 {
        sender.send(&events(2)).await.unwrap();
    }
    assert_eq!(receiver.windows.try_iter().count(), 3);
}

#[tokio::test]
async fn a_send_that_was_dropped_leaves_no_half_window_behind() {
    // The first connection gets no answer; the second does.
    let receiver = receiver(|size| (if size == 7 { Vec::new() } else { vec![size] }, false)).await;
    let mut sender = sender(&[receiver.address], 100);
    sender.settings.timeout = Duration::from_secs(60);
    let given_up = events(7);
    let dropped = timeout(Duration::from_millis(200), sender.send(&given_up));
    assert!(dropped.await.is_err());
    drop(receiver);
    let again = self::receiver(|size| (vec![size], false)).await;
    sender.hosts[0].name = again.address.to_string();
    sender.send(&events(2)).await.unwrap();
    assert_eq!(again.windows.try_iter().collect::<Vec<_>>(), [events(2)]);
}

/// go-lumber's server; `make clients` builds it.
struct GoLumber {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
}

impl GoLumber {
    fn start(arguments: &[&str]) -> Option<Self> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/go/receive");
        if !built.is_file() {
            eprintln!("skipped, go-lumber's server is not there: run make clients");
            return None;
        }
        let mut child = Command::new(built)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sent, lines) = mpsc::channel();
        let output = io::BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sent.send(line);
            }
        });
        let first = lines.recv_timeout(Duration::from_secs(60)).unwrap();
        let address = first.strip_prefix("listens on ").unwrap().to_owned();
        Some(Self {
            child,
            address,
            lines,
        })
    }

    /// The messages of the next so many events.
    fn messages(&self, count: usize) -> Vec<String> {
        let next = || {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            event["message"].as_str().unwrap().to_owned()
        };
        (0..count).map(|_| next()).collect()
    }
}

impl Drop for GoLumber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

#[tokio::test]
async fn the_server_of_go_lumber_takes_what_is_sent() {
    let Some(server) = GoLumber::start(&["-hold", "50ms"]) else {
        return;
    };
    for compression in [0, 3] {
        let mut sender = Sender::new(Settings {
            window_events: 300,
            compression,
            ..Settings::new(vec![server.address.clone()])
        })
        .unwrap();
        sender.send(&events(1_000)).await.unwrap();
        assert_eq!(server.messages(1_000), lines(1_000));
    }
}

#[tokio::test]
async fn the_server_of_go_lumber_is_verified_and_verifies_the_sender() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Some(server) = GoLumber::start(&["-tls", folder.path().to_str().unwrap()]) else {
        return;
    };
    let sender = |identity, name: &str| {
        Sender::new(Settings {
            timeout: Duration::from_secs(10),
            tls: Some(SenderTls {
                ca_file: path("ca.pem"),
                identity,
                server_name: Some(name.to_owned()),
            }),
            ..Settings::new(vec![server.address.clone()])
        })
        .unwrap()
    };
    let own = Some((path("client.crt"), path("client.key")));
    let name = "receiver.example.org";
    sender(own.clone(), name).send(&events(500)).await.unwrap();
    assert_eq!(server.messages(500), lines(500));
    let stranger = sender(None, name).send(&events(1)).await.unwrap_err();
    assert!(matches!(stranger.reason, Reason::Io(_)), "{stranger}");
    let other = sender(own, "other.example.org")
        .send(&events(1))
        .await
        .unwrap_err();
    assert!(matches!(other.reason, Reason::Io(_)), "{other}");
    let missing = Some((path("nothing.crt"), path("client.key")));
    let error = sender(missing, name).send(&events(1)).await.unwrap_err();
    assert!(error.to_string().contains("nothing.crt"), "{error}");
}
