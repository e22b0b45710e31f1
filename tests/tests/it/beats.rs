//! Beats: events in over Lumberjack, from good senders, bad ones, and such as
//! are none; and with a node that dies.

use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use flate2::write::ZlibEncoder;
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::tls::Authority;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Scene, everything};

/// A listener without TLS on a free port.
const OPEN: [(&str, &str); 2] = [
    ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
    ("MSCP_LOG_BEATS__INSECURE", "true"),
];

/// A sender, as Beats are: a window, then its acknowledgement.
struct Sender<S>(S);

async fn sender(address: SocketAddr) -> Sender<TcpStream> {
    Sender(TcpStream::connect(address).await.unwrap())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Send a window, compressed, without waiting.
    async fn window(&mut self, events: &[Value]) -> std::io::Result<()> {
        let mut frames = Vec::new();
        for (sequence, event) in (1_u32..).zip(events) {
            let event = event.to_string();
            frames.extend_from_slice(b"2J");
            frames.extend_from_slice(&sequence.to_be_bytes());
            frames.extend_from_slice(&length(event.len()));
            frames.extend_from_slice(event.as_bytes());
        }
        let frames = zlib(&frames);
        let window = [
            &b"2W"[..],
            &length(events.len()),
            b"2C",
            &length(frames.len()),
            &frames,
        ];
        self.0.write_all(&window.concat()).await
    }

    /// Wait until so many events are acknowledged; how often it was told to wait.
    async fn acknowledged(&mut self, events: usize) -> std::io::Result<usize> {
        let mut told = 0;
        loop {
            let mut frame = [0; 6];
            self.0.read_exact(&mut frame).await?;
            if &frame[..2] != b"2A" {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            if frame[2..] == length(events) {
                return Ok(told);
            }
            told += 1;
        }
    }

    async fn send(&mut self, events: &[Value]) -> std::io::Result<usize> {
        self.window(events).await?;
        self.acknowledged(events.len()).await
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Lines of one file, as Filebeat 8 sends them.
fn lines(host: &str, numbers: Range<u64>) -> Vec<Value> {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let line = |number: u64| {
        json!({
            "@timestamp": now, "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.12.0"},
            "agent": {"type": "filebeat", "version": "8.12.0"}, "host": {"name": host},
            "message": format!("line {number} of the file"), "input": {"type": "filestream"},
            "log": {"offset": number * 20, "file": {"path": "/var/log/app.log", "inode": "7", "device_id": "2"}},
        })
    };
    numbers.map(line).collect()
}

/// Events whose message has this word.
fn word(word: &str) -> Value {
    json!({"match": {"message": word}})
}

async fn metric(scene: &Scene, name: &str) -> f64 {
    let access = json!([{"method": ["GET"], "url": ["/metrics"]}]);
    let token = scene.token_for(access).await;
    let request = scene.http.get(format!("{}/metrics", scene.node.url));
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let text = answer.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next())
        .map_or(0.0, |number| number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_sent_again_is_found_once() {
    let scene = Scene::with(&OPEN).await;
    let events = lines("node1", 0..300);
    for _ in 0..3 {
        let mut sender = sender(scene.node.beats.unwrap()).await;
        sender.send(&events).await.unwrap();
    }
    let mut last = sender(scene.node.beats.unwrap()).await;
    last.send(&[json!({"message": "sentinel", "host": {"name": "node1"}})])
        .await
        .unwrap();
    scene.wait_for(word("sentinel"), 1).await;
    scene.wait_for(word("line"), 300).await;
    let found = scene
        .post(
            &scene.token,
            "/api/local/log/logstash-filebeat-node1-*/_search",
            json!({"size": 300, "sort": ["realtime_us", "seq"], "query": word("line")}),
        )
        .await;
    let hits = found.body["hits"]["hits"].as_array().unwrap();
    for (number, hit) in hits.iter().enumerate() {
        let message = hit["_source"]["message"].as_str().unwrap();
        assert_eq!(message, format!("line {number} of the file"));
    }
    assert_eq!(hits.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_senders_repeat_after_the_node_was_killed_are_found_once() {
    let data = tempfile::tempdir().unwrap();
    const WINDOW: u64 = 50;
    const ROUNDS: u64 = 4;
    // Each round ends with a SIGKILL in the middle of what is under way; what
    // had no answer is sent again, and once more what had one last.
    let mut next = 0;
    for round in 0..ROUNDS {
        let node = Node::start(data.path(), &[], &OPEN);
        let mut sender = sender(node.beats.unwrap()).await;
        for _ in 0..6 {
            let from = next * WINDOW;
            sender
                .send(&lines("node1", from..from + WINDOW))
                .await
                .unwrap();
            next += 1;
        }
        for ahead in 0..4 {
            let from = (next + ahead) * WINDOW;
            sender
                .window(&lines("node1", from..from + WINDOW))
                .await
                .unwrap();
        }
        // At some moment of it: the node is at the first, the last or between.
        if round % 2 == 1 {
            sender
                .acknowledged(usize::try_from(WINDOW).unwrap())
                .await
                .unwrap();
        }
        node.kill();
        next -= 1;
    }
    let node = Node::start(data.path(), &[], &OPEN);
    let token = process::administrator_token(&node, &everything()).await;
    let http = process::http();
    let scene = Scene {
        node,
        data,
        token,
        http,
    };
    let mut last = sender(scene.node.beats.unwrap()).await;
    for _ in 0..6 {
        let from = next * WINDOW;
        last.send(&lines("node1", from..from + WINDOW))
            .await
            .unwrap();
        next += 1;
    }
    let total = next * WINDOW;
    last.send(&[json!({"message": "sentinel"})]).await.unwrap();
    scene.wait_for(word("sentinel"), 1).await;
    scene.wait_for(word("line"), total).await;
    let answer = scene
        .post(
            &scene.token,
            "/api/local/log/_search",
            json!({"size": 0, "query": word("line"),
                "aggs": {"offsets": {"cardinality": {"field": "log.offset", "precision_threshold": 40_000}}}}),
        )
        .await;
    assert_eq!(answer.body["aggregations"]["offsets"]["value"], total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_shows_a_certificate_and_speaks_only_for_the_hosts_in_it() {
    let files = tempfile::tempdir().unwrap();
    let (servers, senders, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let own = servers.identity(files.path(), &["localhost"]);
    let ca = files.path().join("senders.pem");
    std::fs::write(&ca, senders.pem()).unwrap();
    let node1 = senders.identity(files.path(), &["node1", "node1.example.org"]);
    let stranger = strangers.identity(files.path(), &["stranger", "node1"]);
    let [cert, key, ca] = [&own.cert, &own.key, &ca].map(|path| path.to_str().unwrap());
    let variables = [
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__TLS_CERT", cert),
        ("MSCP_LOG_BEATS__TLS_KEY", key),
        ("MSCP_LOG_BEATS__CLIENT_CA", ca),
        ("MSCP_LOG_BEATS__BIND_HOSTS", "true"),
    ];
    let scene = Scene::with(&variables).await;
    let address = scene.node.beats.unwrap();

    for identity in [None, Some(&stranger)] {
        let sent = async {
            let stream = servers.connect(address, "localhost", identity).await?;
            Sender(stream).send(&lines("node1", 0..1)).await
        };
        sent.await.unwrap_err();
    }
    let mut plain = sender(address).await;
    assert!(plain.send(&lines("node1", 0..1)).await.is_err());

    let stream = servers.connect(address, "localhost", Some(&node1)).await;
    let mut sender = Sender(stream.unwrap());
    let mixed = [
        lines("node1", 0..2),
        lines("node2", 2..5),
        lines("NODE1.example.org", 5..6),
        vec![
            json!({"message": "line of nobody"}),
            json!("line of no event"),
        ],
    ];
    // What it may not say does not hold up what it may.
    sender.send(&mixed.concat()).await.unwrap();
    sender.send(&lines("node1", 6..7)).await.unwrap();
    scene.wait_for(word("line"), 4).await;
    let named = json!({"terms": {"hostname": ["node1", "NODE1.example.org"]}});
    scene.wait_for(named, 4).await;
    let refused = "mscp_log_beats_refused_events_total{reason=\"host\"}";
    assert!((metric(&scene, refused).await - 5.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_renewed_are_used_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let (before, after) = (Authority::new(), Authority::new());
    let ca = files.path().join("ca.pem");
    let own = before.identity(files.path(), &["localhost"]);
    std::fs::write(&ca, before.pem()).unwrap();
    let old = before.identity(files.path(), &["old"]);
    let new = after.identity(files.path(), &["new"]);
    let [cert, key, trusted] = [&own.cert, &own.key, &ca].map(|path| path.to_str().unwrap());
    let variables = [
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__TLS_CERT", cert),
        ("MSCP_LOG_BEATS__TLS_KEY", key),
        ("MSCP_LOG_BEATS__CLIENT_CA", trusted),
    ];
    let scene = Scene::with(&variables).await;
    let address = scene.node.beats.unwrap();
    let stream = before.connect(address, "localhost", Some(&old)).await;
    let mut open = Sender(stream.unwrap());
    open.send(&lines("node1", 0..5)).await.unwrap();

    let renewed = after.identity(files.path(), &["localhost"]);
    assert_eq!(renewed.cert, own.cert);
    std::fs::write(&ca, after.pem()).unwrap();
    let mut looks = 0;
    let send = async || {
        let stream = after.connect(address, "localhost", Some(&new)).await?;
        Sender(stream).send(&lines("node1", 5..10)).await
    };
    while send().await.is_err() {
        looks += 1;
        assert!(looks < 600, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was signed by the authority of before is refused, and what is
    // connected stays so.
    let refused = async {
        let stream = after.connect(address, "localhost", Some(&old)).await?;
        Sender(stream).send(&lines("node1", 10..15)).await
    };
    refused.await.unwrap_err();
    open.send(&lines("node1", 15..20)).await.unwrap();
    scene.wait_for(word("line"), 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_peers_are_let_go_and_do_not_disturb_the_others() {
    let variables = [
        ("MSCP_LOG_BEATS__MAX_CONNECTIONS", "4"),
        ("MSCP_LOG_BEATS__IDLE_TIMEOUT", "1s"),
        ("MSCP_LOG_BEATS__MAX_EVENT_BYTES", "1MiB"),
        ("MSCP_LOG_BEATS__MAX_PENDING_BYTES", "4MiB"),
    ];
    let scene = Scene::with(&[&OPEN[..], &variables].concat()).await;
    let address = scene.node.beats.unwrap();
    let (_, before) = scene.node.cost();

    // 512 MiB of one event, and of 64 events: little on the wire.
    let zeros = vec![b'0'; 512 << 20];
    let one = [&b"2J\0\0\0\x01\x20\0\0\0"[..], &zeros].concat();
    let mut many = Vec::new();
    for sequence in 1..=64_u32 {
        many.extend_from_slice(b"2J");
        many.extend_from_slice(&sequence.to_be_bytes());
        many.extend_from_slice(&length(1 << 20));
        many.extend_from_slice(&zeros[..1 << 20]);
    }
    for (events, bomb) in [(1_u32, one), (64, many)] {
        let bomb = zlib(&bomb);
        assert!(bomb.len() < 4 << 20);
        let mut peer = TcpStream::connect(address).await.unwrap();
        let window = [
            b"2W",
            &events.to_be_bytes()[..],
            b"2C",
            &length(bomb.len()),
            &bomb,
        ];
        // The node may hang up before it has all.
        let _ = peer.write_all(&window.concat()).await;
        let _ = peer.read_to_end(&mut Vec::new()).await;
    }
    drop(zeros);
    let (_, peak) = scene.node.cost();
    assert!(peak < before + (192 << 20), "{before} bytes, then {peak}");

    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"2C\0\0\0\x10not zlib at all!",
        b"2J\0\0\0\x01\0\0\0\x02{}",
        &[0xff; 4096],
    ];
    for bytes in garbage {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(bytes).await.unwrap();
        let _ = peer.read_to_end(&mut Vec::new()).await;
    }
    // All places are taken by peers that say nothing, or half a thing.
    let mut idle = Vec::new();
    for half in [
        &b""[..],
        b"2",
        b"2W\0\0\0\x05",
        b"2W\0\0\0\x05\x32J\0\0\0\x01\0\x10\0\0{",
    ] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(half).await.unwrap();
        idle.push(peer);
    }
    let mut good = sender(address).await;
    good.send(&lines("node1", 0..20)).await.unwrap();
    scene.wait_for(word("line"), 20).await;
    for mut peer in idle {
        let _ = peer.read_to_end(&mut Vec::new()).await;
    }
    let broken = "mscp_log_beats_broken_connections_total{reason=\"protocol\"}";
    assert!(metric(&scene, broken).await > 5.5);
    let idle = "mscp_log_beats_broken_connections_total{reason=\"idle\"}";
    assert!(metric(&scene, idle).await > 3.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_buffer_is_full_senders_are_told_to_wait_and_in_the_end_everything_is_there() {
    // A store that is not there, so that the buffer fills.
    let full = [
        ("MSCP_LOG_BUFFER__MAX_BYTES", "16MiB"),
        ("MSCP_LOG_BUFFER__SEGMENT_BYTES", "1MiB"),
        ("MSCP_LOG_BEATS__KEEP_ALIVE", "50ms"),
    ];
    let nowhere = [("MSCP_LOG_REGION__LOCAL__STORE", "http://127.0.0.1:9")];
    let data = tempfile::tempdir().unwrap();
    let stuck = Node::start(data.path(), &[], &[&OPEN[..], &full, &nowhere].concat());
    let mut first = sender(stuck.beats.unwrap()).await;
    let window = |number: u64| {
        let mut events = lines("node1", number * 100..number * 100 + 100);
        for event in &mut events {
            let padding = "x ".repeat(5_000);
            event["message"] = format!("{} {padding}", event["message"]).into();
        }
        events
    };
    let mut taken = 0;
    loop {
        first.window(&window(taken)).await.unwrap();
        let answer = first.acknowledged(100);
        match tokio::time::timeout(Duration::from_secs(2), answer).await {
            Ok(told) => drop(told.unwrap()),
            Err(_) => break,
        }
        taken += 1;
        assert!(taken < 100, "the buffer does not fill");
    }
    // It goes on saying that it lives.
    let mut frame = [1; 6];
    for _ in 0..3 {
        first.0.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"2A\0\0\0\0");
    }
    assert!(stuck.terminate().success());

    // The same buffer, with a store behind it; the sender comes again.
    let scene_data = data;
    let node = Node::start(scene_data.path(), &[], &[&OPEN[..], &full].concat());
    let token = process::administrator_token(&node, &everything()).await;
    let mut again = sender(node.beats.unwrap()).await;
    for number in taken..taken + 10 {
        again.send(&window(number)).await.unwrap();
    }
    let scene = Scene {
        node,
        data: scene_data,
        token,
        http: process::http(),
    };
    scene.wait_for(word("line"), (taken + 10) * 100).await;
}
