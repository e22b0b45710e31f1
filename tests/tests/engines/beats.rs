//! Trials of the listener for Beats with clients that are not ours: go-lumber,
//! which is what Beats themselves send with, pylogbeat, and lumberjack-protocol,
//! which speaks version 1. `make clients` installs them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::target::{RUNTIME, Target};
use mscp_log_tests::tls::{Authority, Identity};
use serde_json::{Value, json};

/// How often, and with what pause, it is asked how many records there are.
const LOOKS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);
/// The name in the node's certificate.
const NAME: &str = "localhost";

#[derive(Clone, Copy)]
enum Client {
    /// go-lumber, with so many windows under way at once; 0 waits for each.
    Go {
        inflight: u32,
        compression: u32,
    },
    Python,
    /// lumberjack-protocol: version 1, over TLS only.
    JavaScript,
}

/// Who a client trusts, and what it shows.
struct Tls<'a> {
    ca: &'a Path,
    identity: &'a Identity,
}

impl Client {
    fn program(self) -> PathBuf {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
        match self {
            Self::Go { .. } => installed.join("go/send"),
            Self::Python => installed.join("python/pylogbeat/bin/python"),
            Self::JavaScript => {
                installed.join("javascript/node_modules/lumberjack-protocol/lib/ClientSocket.js")
            }
        }
    }

    /// Send `events`; what it said where not all were acknowledged.
    fn send(self, node: &Node, events: &[Value], tls: Option<&Tls<'_>>) -> Result<(), String> {
        let address = node.beats.unwrap();
        let mut command = match self {
            Self::JavaScript => Command::new("node"),
            _ => Command::new(self.program()),
        };
        match self {
            Self::Go {
                inflight,
                compression,
            } => {
                command
                    .args(["-address", &address.to_string(), "-window", "64"])
                    .args(["-inflight", &inflight.to_string()])
                    .args(["-compress", &compression.to_string()]);
                if let Some(tls) = tls {
                    command.arg("-ca").arg(tls.ca).args(["-name", NAME]);
                    command.arg("-cert").arg(&tls.identity.cert);
                    command.arg("-key").arg(&tls.identity.key);
                }
            }
            Self::Python => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/beats.py");
                command.arg(script);
                command.args([&address.ip().to_string(), &address.port().to_string(), "64"]);
                if let Some(tls) = tls {
                    command.arg(tls.ca);
                    command.args([&tls.identity.cert, &tls.identity.key]);
                }
            }
            Self::JavaScript => {
                let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
                let tls = tls.ok_or("it speaks TLS only")?;
                command.env("CLIENTS", tests.join("../target/clients/javascript"));
                command.arg(tests.join("clients/javascript/forwarder.cjs"));
                // It has one window frame for a connection, and no short window.
                command.args([
                    &address.ip().to_string(),
                    &address.port().to_string(),
                    "100",
                ]);
                command.arg(tls.ca);
                command.args([&tls.identity.cert, &tls.identity.key]);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: String = match self {
            Self::JavaScript => events.iter().map(of_version_1).collect(),
            _ => events.iter().map(|event| format!("{event}\n")).collect(),
        };
        let mut input = child.stdin.take().unwrap();
        // A client that has failed does not read to the end.
        let _ = input.write_all(lines.as_bytes());
        drop(input);
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// An event as logstash-forwarder has it: text by names.
fn of_version_1(event: &Value) -> String {
    let event = json!({
        "line": event["message"], "host": event["host"]["name"],
        "file": event["log"]["file"]["path"], "offset": event["log"]["offset"].to_string(),
    });
    format!("{event}\n")
}

/// Trials on a node of their own, where the store is the embedded one.
pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    if target.spec.is_some() {
        return Vec::new();
    }
    let go = |inflight, compression| Client::Go {
        inflight,
        compression,
    };
    let clients = [
        ("go_lumber", go(0, 3)),
        ("go_lumber_pipelined", go(4, 3)),
        ("go_lumber_uncompressed", go(2, 0)),
        ("pylogbeat", Client::Python),
        ("version_1", Client::JavaScript),
    ];
    let mut trials = Vec::new();
    for (name, client) in clients {
        let prefix = format!("{}::beats::{name}", target.name());
        if !client.program().is_file() {
            eprintln!("{prefix}: skipped, the client is not there: run make clients");
            continue;
        }
        let mut add = |what: &str, run: fn(Client) -> Result<(), Failed>| {
            let name = format!("{prefix}_{what}");
            trials.push(Trial::test(name, move || run(client)));
        };
        add("speaks_tls_with_a_certificate", encrypted);
        if !matches!(client, Client::JavaScript) {
            add("is_found_once_whenever_the_node_is_killed", killed);
            add("waits_while_the_buffer_is_full", full);
        }
    }
    trials
}

fn events(count: u64) -> Vec<Value> {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let event = |number: u64| {
        json!({
            "@timestamp": now, "@metadata": {"beat": "filebeat", "version": "9.0.0"},
            "host": {"name": "node1"}, "message": format!("line {number}"),
            "log": {"offset": number * 9, "file": {"path": "/var/log/a.log", "fingerprint": "ab12"}},
        })
    };
    (0..count).map(event).collect()
}

/// Wait until a search finds `expected` records with this word; more are a failure.
fn found(node: &Node, word: &str, expected: u64) -> Result<(), Failed> {
    let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/log/**"]}]);
    let mut count = 0;
    RUNTIME.block_on(async {
        let token = process::administrator_token(node, &access).await;
        for _ in 0..LOOKS {
            let answer = process::http()
                .post(format!("{}/api/local/log/_count", node.url))
                .bearer_auth(&token)
                .json(&json!({"query": {"match": {"message": word}}}))
                .send()
                .await?;
            let answer: Value = serde_json::from_str(&answer.text().await?)?;
            count = answer["count"].as_u64().unwrap_or_default();
            if count >= expected {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    if count == expected {
        return Ok(());
    }
    Err(format!("{count} records with {word:?} were found, not {expected}").into())
}

const OPEN: [(&str, &str); 2] = [
    ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
    ("MSCP_LOG_BEATS__INSECURE", "true"),
];

fn killed(client: Client) -> Result<(), Failed> {
    const EVENTS: u64 = 8_000;
    let data = tempfile::tempdir()?;
    let events = events(EVENTS);
    for after in [5, 60, 250] {
        let node = Node::start(data.path(), &[], &OPEN);
        let id = node.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            let id = i32::try_from(id).unwrap();
            let id = rustix::process::Pid::from_raw(id).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        });
        // It fails in the middle, or is done before.
        let _ = client.send(&node, &events, None);
        killer.join().unwrap();
    }
    let node = Node::start(data.path(), &[], &OPEN);
    client.send(&node, &events, None)?;
    let last = json!({"message": "sentinel", "host": {"name": "node1"}});
    client.send(&node, &[last], None)?;
    found(&node, "sentinel", 1)?;
    found(&node, "line", EVENTS)
}

fn encrypted(client: Client) -> Result<(), Failed> {
    let files = tempfile::tempdir()?;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let own = authority.identity(files.path(), &[NAME]);
    let sender = authority.identity(files.path(), &["node1"]);
    let wrong = stranger.identity(files.path(), &["stranger"]);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key, trusted) = (text(&own.cert), text(&own.key), text(&ca));
    let variables = [
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__TLS_CERT", &cert),
        ("MSCP_LOG_BEATS__TLS_KEY", &key),
        ("MSCP_LOG_BEATS__CLIENT_CA", &trusted),
        ("MSCP_LOG_BEATS__BIND_HOSTS", "true"),
    ];
    let data = tempfile::tempdir()?;
    let node = Node::start(data.path(), &[], &variables);
    let with = |identity| Tls { ca: &ca, identity };
    let refused = client.send(&node, &events(5), Some(&with(&wrong)));
    if refused.is_ok() {
        return Err("a certificate of a stranger was taken".into());
    }
    client.send(&node, &events(500), Some(&with(&sender)))?;
    found(&node, "line", 500)
}

fn full(client: Client) -> Result<(), Failed> {
    let variables = [
        ("MSCP_LOG_BUFFER__MAX_BYTES", "16MiB"),
        ("MSCP_LOG_BUFFER__SEGMENT_BYTES", "1MiB"),
        ("MSCP_LOG_BEATS__KEEP_ALIVE", "20ms"),
    ];
    let data = tempfile::tempdir()?;
    let node = Node::start(data.path(), &[], &[&OPEN[..], &variables].concat());
    // Several times what the buffer holds.
    let mut events = events(2_500);
    for event in &mut events {
        let padding = "x".repeat(10_000);
        event["message"] = format!("{} {padding}", event["message"].as_str().unwrap()).into();
    }
    client.send(&node, &events, None)?;
    found(&node, "line", 2_500)
}
