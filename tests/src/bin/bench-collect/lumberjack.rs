//! Events of Beats into a node that runs every role, sent by go-lumber.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mscp_log_tests::process::{self, Node};
use serde_json::{Value, json};

/// How long nothing may become searchable before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(events: u64) {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/go/send");
    if !client.is_file() {
        println!("\ngo-lumber is not there (make clients): Lumberjack is left out");
        return;
    }
    let body = body(events);
    println!(
        "\n| events | windows under way | events/s, MB/s acknowledged | CPU s then | s until searchable | CPU s then | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for inflight in ["0", "4"] {
        let data = tempfile::tempdir().expect("a temporary folder");
        let variables = [
            ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
            ("MSCP_LOG_BEATS__INSECURE", "true"),
        ];
        let node = Node::start(data.path(), &[], &variables);
        let address = node.beats.expect("it listens for Beats").to_string();
        let arguments = ["-address", &address, "-window", "2048", "-compress", "3"];
        let mut child = Command::new(&client)
            .args(arguments)
            .args(["-inflight", inflight])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the client can be executed");
        let mut input = child.stdin.take().expect("piped above");
        input.write_all(body.as_bytes()).expect("the client reads");
        // It sends when it has read everything.
        drop(input);
        let begun = Instant::now();
        let sent = child.wait().expect("a child can be waited for");
        assert!(sent.success(), "every event is acknowledged");
        let took = begun.elapsed().as_secs_f64();
        let (acknowledged, _) = node.cost();
        let found = searchable(&node, events).await;
        let whole = begun.elapsed().as_secs_f64();
        let (cpu, peak) = node.cost();
        println!(
            "| {events}{} | {inflight} | {:.0}, {:.0} | {acknowledged:.2} | {whole:.1} | {cpu:.2} | {:.0} |",
            crate::not_all(found),
            crate::number(events) / took,
            crate::mega(body.len() as u64) / took,
            crate::mega(peak),
        );
        node.kill();
    }
}

/// Events of Filebeat 9 on lines of containers.
fn body(events: u64) -> String {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let mut body = String::new();
    let id = "0123456789abcdef".repeat(4);
    for number in 0..events {
        let event = json!({
            "@timestamp": now, "@metadata": {"beat": "filebeat", "type": "_doc", "version": "9.0.0"},
            "agent": {"type": "filebeat", "name": "node1", "version": "9.0.0"},
            "host": {"name": "node1"}, "ecs": {"version": "8.0.0"}, "input": {"type": "filestream"},
            "stream": "stdout", "message": crate::line(0, number, 200),
            "log": {"offset": number * 250, "file": {"fingerprint": "ab12",
                "path": format!("/var/log/containers/web-5d4f8c7b9-x7k2p_shop_web-{id}.log")}},
        });
        body.push_str(&event.to_string());
        body.push('\n');
    }
    body
}

async fn searchable(node: &Node, events: u64) -> bool {
    let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/log/**"]}]);
    let token = process::administrator_token(node, &access).await;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < PATIENCE {
        let answer = process::http()
            .post(format!("{}/api/local/log/_count", node.url))
            .bearer_auth(&token)
            .json(&json!({}))
            .send()
            .await;
        let text = answer.expect("it answers").text().await.unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let count = answer["count"].as_u64().unwrap_or_default();
        if count >= events {
            return true;
        }
        if count != last {
            (last, since) = (count, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
