//! Who sends by itself: Beats, played by clients of the protocol that are not
//! ours, and an application that pushes with the SDK.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mscp_log_client::{Client, Credentials, PushSettings, Pusher, Record};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::APP;

/// Events that are sent together, in windows of [`WINDOW`].
const TOGETHER: usize = 400;
const WINDOW: &str = "64";

/// A program that sends what it reads over Lumberjack.
#[derive(Clone, Copy, Debug)]
enum Program {
    /// go-lumber, which Beats are built on, with two windows under way.
    Go,
    /// pylogbeat.
    Python,
}

impl Program {
    fn path(self) -> PathBuf {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
        match self {
            Self::Go => installed.join("go/send"),
            Self::Python => installed.join("python/pylogbeat/bin/python"),
        }
    }

    /// Whether all of `events`, one a line, were acknowledged.
    fn send(self, to: SocketAddr, events: &str) -> bool {
        let mut command = Command::new(self.path());
        match self {
            Self::Go => {
                command.args(["-address", &to.to_string(), "-window", WINDOW]);
                command.args(["-inflight", "2"]);
            }
            Self::Python => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/beats.py");
                command.arg(script);
                command.args([&to.ip().to_string(), &to.port().to_string(), WINDOW]);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the client can be executed");
        let mut input = child.stdin.take().expect("piped above");
        // A client that has failed does not read to the end.
        let _ = input.write_all(events.as_bytes());
        drop(input);
        child.wait().expect("a child can be waited for").success()
    }
}

/// A Beat that reads one file. It sends what was not acknowledged again,
/// whole windows, and those before them that were.
pub(super) struct Beat {
    lines: mpsc::UnboundedSender<String>,
    sending: JoinHandle<u64>,
}

impl Beat {
    /// The Beats that this machine can play.
    pub(super) fn all(to: SocketAddr) -> Vec<Self> {
        let programs = [Program::Go, Program::Python].into_iter().enumerate();
        let there = programs.filter(|(_, program)| {
            let is_there = program.path().is_file();
            if !is_there {
                eprintln!("{program:?} is not there and left out: run make clients");
            }
            is_there
        });
        there
            .map(|(number, program)| {
                let (lines, received) = mpsc::unbounded_channel();
                let sending =
                    tokio::task::spawn_blocking(move || send(program, to, number, received));
                Self { lines, sending }
            })
            .collect()
    }

    pub(super) fn write(&self, line: &str) {
        self.lines
            .send(line.to_owned())
            .expect("it sends until it is ended");
    }

    /// Wait until everything was acknowledged; how often something was sent
    /// again.
    pub(super) async fn end(self) -> u64 {
        drop(self.lines);
        self.sending.await.expect("it has not panicked")
    }
}

fn send(
    program: Program,
    to: SocketAddr,
    number: usize,
    mut lines: mpsc::UnboundedReceiver<String>,
) -> u64 {
    let (mut offset, mut again) = (0, 0);
    while let Some(first) = lines.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(line) = lines.try_recv()
        {
            together.push(line);
        }
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut events = String::new();
        for line in together {
            let event = json!({
                "@timestamp": now, "@metadata": {"beat": "filebeat", "version": "9.0.0"},
                "host": {"name": format!("beat{number}")}, "message": line,
                "log": {"offset": offset, "file": {"path": "/var/log/beat.log", "fingerprint": "ab12"}},
            });
            offset += line.len() + 1;
            events.push_str(&event.to_string());
            events.push('\n');
        }
        while !program.send(to, &events) {
            again += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    again
}

/// An application that pushes.
pub(super) struct Application {
    pusher: Pusher,
}

/// How long a batch is tried, and how long its end is waited for.
const DEADLINE: Duration = Duration::from_secs(600);

impl Application {
    pub(super) fn start(url: &str, token: String) -> Self {
        let client = Client::builder(url)
            .credentials(Credentials::access_token(token))
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client can be built");
        let settings = PushSettings {
            deadline: DEADLINE,
            linger: Duration::from_millis(200),
            batch_records: 200,
            backoff_max: Duration::from_secs(1),
            ..PushSettings::default()
        };
        let pusher = client.pusher(settings).expect("a pusher can be started");
        Self { pusher }
    }

    pub(super) async fn write(&self, line: &str) {
        let record = Record::now(APP.parse().expect("a UUID"), "applog", line);
        let taken = self.pusher.push_within(&record, DEADLINE).await;
        taken.expect("there is room in time");
    }

    /// Wait until everything was accepted; how many records were not.
    pub(super) async fn end(self) -> u64 {
        let closed = self.pusher.close(DEADLINE).await;
        closed.dropped.total() + u64::try_from(closed.pending).unwrap_or(u64::MAX)
    }
}
