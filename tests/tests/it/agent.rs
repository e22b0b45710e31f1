//! The role `agent` alone: no store, no identity, records that go elsewhere.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mscp_log_tests::forward::Forward;
use mscp_log_tests::process::{self, Node};
use serde_json::{Value, json};

use crate::support::Scene;

/// Lines `{numbers}` at the end of a log file.
fn write(file: &Path, numbers: std::ops::Range<usize>) {
    use std::io::Write as _;
    let mut text = String::new();
    for number in numbers {
        writeln!(text, "line {number} of the file").unwrap();
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// An agent that follows `file` and sends over Lumberjack to `hosts`.
fn agent(data: &Path, file: &Path, hosts: &str, more: &[(&str, &str)]) -> Node {
    let file = file.display().to_string();
    let mut variables = vec![
        ("MSCP_LOG_COLLECT__HOST", "node1"),
        ("MSCP_LOG_COLLECT__ZONE", "z1"),
        ("MSCP_LOG_COLLECT__LABELS", "rack=r7,example.org/pool=db"),
        ("MSCP_LOG_COLLECT__FILES__PATHS", &file),
        ("MSCP_LOG_COLLECT__LUMBERJACK__HOSTS", hosts),
    ];
    variables.extend(more);
    Node::start(data, &["--role", "agent"], &variables)
}

async fn readiness(node: &Node) -> Value {
    let answer = process::http()
        .get(format!("{}/readyz", node.url))
        .send()
        .await;
    answer.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_feeds_a_node_over_lumberjack_and_every_line_is_there_once_though_both_are_killed()
{
    const LINES: usize = 6_000;
    let port = [
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__INSECURE", "true"),
    ];
    let mut scene = Scene::with(&port).await;
    let link = Forward::start().await;
    let host = link.url.trim_start_matches("http://").to_owned();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("app.log"), folder.path().join("agent"));
    write(&file, 0..LINES / 3);
    let mut collector = agent(&data, &file, &host, &[]);
    // Nobody listens there yet: it says so, and is ready all the same.
    let told = async {
        loop {
            let told = readiness(&collector).await;
            if told["checks"]["collect"] != "ok" {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap();
    assert_eq!(told["ready"], true, "{told}");
    let said = told["checks"]["collect"].as_str().unwrap();
    assert!(
        said.contains("sending is held back") && said.contains(&host),
        "{said}"
    );

    let lead = |node: &Node| link.lead_to(&format!("http://{}", node.beats.unwrap()));
    lead(&scene.node);
    write(&file, LINES / 3..2 * LINES / 3);
    let some = json!({"match": {"message": "line"}});
    while scene.count(&scene.token, some.clone()).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    collector.kill();
    collector = agent(&data, &file, &host, &[]);
    link.cut();
    write(&file, 2 * LINES / 3..LINES);
    scene.node.kill();
    scene.node = Node::start(scene.data.path(), &[], &port);
    lead(&scene.node);
    let all = json!({"match": {"message": "line"}});
    scene.wait_for(all, LINES as u64).await;
    for number in [0, LINES / 2, LINES - 1] {
        let phrase = json!({"match_phrase": {"message": format!("line {number}")}});
        assert_eq!(scene.count(&scene.token, phrase).await, 1, "line {number}");
    }
    let found = scene
        .post(&scene.token, "/api/local/log/_search", json!({"size": 1}))
        .await;
    let source = &found.body["hits"]["hits"][0]["_source"];
    assert_eq!(source["zone"], "z1", "{source}");
    assert_eq!(source["cluster"], "default", "{source}");
    assert_eq!(source["hostname"], "node1", "{source}");
    assert_eq!(source["index"], "logstash-filebeat-node1", "{source}");
    let labels = json!({"labels.example.org/pool": "db", "labels.rack": "r7"});
    assert_eq!(source["annotations"], labels, "{source}");
    drop(collector);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_alone_has_no_api_and_keeps_nothing_but_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let file = folder.path().join("app.log");
    let node = agent(
        &data,
        &file,
        "127.0.0.1:9",
        &[("MSCP_LOG_HTTP__METRICS_LISTEN", "127.0.0.1:0")],
    );
    let status = async |path: &str| {
        let asked = process::http()
            .get(format!("{}{path}", node.url))
            .send()
            .await;
        asked.unwrap().status().as_u16()
    };
    assert_eq!(status("/healthz").await, 200);
    assert_eq!(status("/readyz").await, 200);
    for path in [
        "/metrics",
        "/api/auth/token_root",
        "/api/local/log/_search",
        "/api/local/collect",
    ] {
        assert_eq!(status(path).await, 404, "{path}");
    }
    let mut kept: Vec<String> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["FORMAT", "LOCK", "agent"]);
}

#[test]
fn an_agent_that_could_do_nothing_is_refused_with_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Node::try_start(folder.path(), &["--role", "agent"], &[]).unwrap_err();
    for key in [
        "collect.url",
        "collect.lumberjack.hosts",
        "collect.files.containers",
    ] {
        assert!(refused.contains(key), "{refused}");
    }
    let refused = Node::try_start(folder.path(), &["--role", "api"], &[]).unwrap_err();
    assert!(refused.contains("parser and shipper too"), "{refused}");
}

/// As on a machine of Kubernetes: files of root that its group may read, in
/// folders that nobody else enters, and an agent that is neither root nor may
/// write there.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_root_reads_what_its_group_may_and_says_what_it_may_not() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start an agent as somebody else");
        return;
    }
    let scene = Scene::with(&[
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__INSECURE", "true"),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    let (logs, data) = (folder.path().join("logs"), folder.path().join("agent"));
    std::fs::create_dir(&logs).unwrap();
    std::fs::create_dir(&data).unwrap();
    mode(&logs, 0o750);
    chown(&data, Some(65_532), Some(0)).unwrap();
    let (open, closed) = (logs.join("open.log"), logs.join("closed.log"));
    write(&open, 0..100);
    write(&closed, 100..110);
    mode(&open, 0o640);
    mode(&closed, 0o600);
    let pattern = logs.join("*.log").display().to_string();
    let hosts = scene.node.beats.unwrap().to_string();
    let variables = [
        ("MSCP_LOG_COLLECT__FILES__PATHS", pattern.as_str()),
        ("MSCP_LOG_COLLECT__FILES__RESCAN", "1s"),
        ("MSCP_LOG_COLLECT__LUMBERJACK__HOSTS", &hosts),
    ];
    let node = Node::start_as((65_532, 0), &data, &["--role", "agent"], &variables);
    scene
        .wait_for(json!({"match": {"message": "line"}}), 100)
        .await;
    let told = async {
        while !node.said().contains("closed.log") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap();
    assert!(node.said().contains("Permission denied"), "{}", node.said());
    mode(&closed, 0o640);
    scene
        .wait_for(json!({"match": {"message": "line"}}), 110)
        .await;
}

/// go-lumber's server, which takes Beats in Elastic's own programs.
struct GoLumber {
    child: Child,
    address: String,
    lines: std::sync::mpsc::Receiver<String>,
}

impl GoLumber {
    fn start(certificates: &Path) -> Option<Self> {
        let program: PathBuf =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/go/receive");
        if !program.is_file() {
            eprintln!("skipped, go-lumber's server is not there: run make clients");
            return None;
        }
        let mut child = Command::new(program)
            .arg("-tls")
            .arg(certificates)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = output.next().unwrap().unwrap();
        let address = first.strip_prefix("listens on ").unwrap().to_owned();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            address,
            lines,
        })
    }
}

impl Drop for GoLumber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_receiver_of_beats_that_is_not_ours_has_every_line_with_the_names_that_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let Some(receiver) = GoLumber::start(folder.path()) else {
        return;
    };
    let pem = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (pem("ca.pem"), pem("client.crt"), pem("client.key"));
    let file = folder.path().join("app.log");
    write(&file, 0..5_000);
    // Nobody is at the first address: the next one is tried.
    let hosts = format!("127.0.0.1:9,{}", receiver.address);
    let tls = [
        ("MSCP_LOG_COLLECT__LUMBERJACK__CA_FILE", ca.as_str()),
        ("MSCP_LOG_COLLECT__LUMBERJACK__TLS_CERT", cert.as_str()),
        ("MSCP_LOG_COLLECT__LUMBERJACK__TLS_KEY", key.as_str()),
        (
            "MSCP_LOG_COLLECT__LUMBERJACK__SERVER_NAME",
            "receiver.example.org",
        ),
    ];
    let data = folder.path().join("agent");
    let mut node = agent(&data, &file, &hosts, &tls);
    let next = || -> Value {
        let line = receiver
            .lines
            .recv_timeout(Duration::from_secs(30))
            .unwrap();
        serde_json::from_str(&line).unwrap()
    };
    for number in 0..5_000 {
        let event = next();
        assert_eq!(event["message"], format!("line {number} of the file"));
        assert_eq!(event["host"]["name"], "node1");
        assert_eq!(event["log"]["file"]["path"], file.display().to_string());
        assert_eq!(event["agent"]["zone"], "z1");
        assert_eq!(event["labels"]["rack"], "r7");
        assert_eq!(event["@metadata"]["beat"], "filebeat");
    }
    assert!(node.stop().success());
    let node = agent(&data, &file, &hosts, &tls);
    write(&file, 5_000..5_001);
    assert_eq!(next()["message"], "line 5000 of the file");
    drop(node);
}
