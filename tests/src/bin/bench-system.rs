//! Throughput of a running node: pushes that are synced before they are
//! acknowledged, and `_bulk` through the passthrough until everything is
//! searchable. Prints CPU seconds, bytes on disk and peak memory of the node.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use mscp_log_tests::generate::{self, Generator};
use mscp_log_tests::process::{self, Node};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";

/// Measure the push and the index throughput of one node.
#[derive(Parser)]
struct Arguments {
    /// Records to push, and documents to index
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Records in one push
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Documents in one _bulk
    #[arg(long, default_value_t = 2_000)]
    bulk: usize,
    /// Requests that are open at once
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seed of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder of real logs, one line a record; without it, lines of the project's own
    #[arg(long, default_value = "../shared/data/loghub")]
    logs: PathBuf,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let lines = generate::lines(Some(&arguments.logs));
    println!(
        "{} distinct lines, {} records, seed {}",
        lines.len(),
        arguments.records,
        arguments.seed
    );
    push(&arguments, lines.clone()).await;
    bulk(&arguments, lines).await;
}

async fn push(arguments: &Arguments, lines: Vec<String>) {
    let from_us = now_us() - 3_600_000_000;
    let mut generator = Generator::new(arguments.seed, lines, from_us);
    let bodies = bodies(arguments.records, arguments.batch, || {
        generator.record(APP).to_string()
    });
    let sent: usize = bodies.iter().map(String::len).sum();
    let bodies = bodies
        .into_iter()
        .map(|lines| format!("[{}]", lines.trim_end().replace('\n', ",")))
        .collect();
    let (node, data, token) = node().await;
    let url = format!("{}/api/apps/{APP}/log", node.url);
    let begun = Instant::now();
    let first = node.cost();
    requests(
        arguments.clients,
        bodies,
        &url,
        &token,
        "application/json",
        202,
    )
    .await;
    let acknowledged = begun.elapsed();
    let at_acknowledgement = node.cost();
    searchable(&node, &token, arguments.records).await;
    report(
        &format!(
            "push, {} records a request, synced before 202",
            arguments.batch
        ),
        arguments.records,
        sent,
        acknowledged,
        at_acknowledgement.0 - first.0,
    );
    settled(&node, begun, first.0, data.path());
}

async fn bulk(arguments: &Arguments, lines: Vec<String>) {
    let from_us = now_us() - 13_000 * i64::try_from(arguments.records).unwrap_or(i64::MAX);
    let mut generator = Generator::new(arguments.seed, lines, from_us);
    let bodies = bodies(arguments.records, arguments.bulk, || {
        let (index, id, document) = generator.document();
        format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n{document}")
    });
    let sent: usize = bodies.iter().map(String::len).sum();
    let (node, data, token) = node().await;
    let url = format!("{}/api/local/log/_bulk", node.url);
    let begun = Instant::now();
    let first = node.cost();
    let clients = arguments.clients.min(4);
    requests(clients, bodies, &url, &token, "application/x-ndjson", 200).await;
    let acknowledged = begun.elapsed();
    searchable(&node, &token, arguments.records).await;
    report(
        &format!("_bulk, {} documents a request", arguments.bulk),
        arguments.records,
        sent,
        acknowledged,
        node.cost().0 - first.0,
    );
    settled(&node, begun, first.0, data.path());
}

fn bodies(records: usize, batch: usize, mut next: impl FnMut() -> String) -> Vec<String> {
    let mut bodies = Vec::with_capacity(records / batch + 1);
    let mut left = records;
    while left > 0 {
        let mut body = String::new();
        for _ in 0..left.min(batch) {
            body.push_str(&next());
            body.push('\n');
        }
        left -= left.min(batch);
        bodies.push(body);
    }
    bodies
}

async fn node() -> (Node, tempfile::TempDir, String) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(data.path(), &[], &[]);
    let everything = json!([{"method": ["GET", "POST", "PUT"], "url": ["{mscp_api_url}/**"],
        "other": {"log": {"write": true}}}]);
    let token = process::administrator_token(&node, &everything).await;
    (node, data, token)
}

async fn requests(
    clients: usize,
    bodies: Vec<String>,
    url: &str,
    token: &str,
    content_type: &'static str,
    expected: u16,
) {
    let (sender, receiver) = mpsc::channel::<String>(clients);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let http = process::http();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (receiver, http) = (Arc::clone(&receiver), http.clone());
        let (url, token) = (url.to_owned(), token.to_owned());
        tasks.push(tokio::spawn(async move {
            loop {
                let Some(body) = receiver.lock().await.recv().await else {
                    return;
                };
                loop {
                    let response = http
                        .post(&url)
                        .bearer_auth(&token)
                        .header("content-type", content_type)
                        .body(body.clone())
                        .send()
                        .await
                        .expect("the node answers");
                    let status = response.status().as_u16();
                    let text = response.text().await.unwrap_or_default();
                    if matches!(status, 429 | 503) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    assert_eq!(status, expected, "{text}");
                    assert!(!text.contains("\"errors\":true"), "{text}");
                    break;
                }
            }
        }));
    }
    for body in bodies {
        sender.send(body).await.expect("clients are running");
    }
    drop(sender);
    for task in tasks {
        task.await.expect("no client failed");
    }
}

async fn searchable(node: &Node, token: &str, records: usize) {
    let http = process::http();
    loop {
        let answer: Value = http
            .post(format!("{}/api/local/log/_count", node.url))
            .bearer_auth(token)
            .json(&json!({}))
            .send()
            .await
            .expect("the node answers")
            .json()
            .await
            .unwrap_or_default();
        if answer["count"].as_u64() == u64::try_from(records).ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn report(what: &str, records: usize, bytes: usize, wall: Duration, cpu: f64) {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (records, mb) = (records as f64, bytes as f64 / 1e6);
    println!(
        "{what}: {records:.0} records ({mb:.0} MB) in {:.2} s: {:.0} records/s, {cpu:.2} CPU s",
        wall.as_secs_f64(),
        records / wall.as_secs_f64()
    );
}

/// What it cost until everything is searchable and merges are done: the node
/// has settled when it used less than 2 % of a core for three seconds.
fn settled(node: &Node, begun: Instant, cpu_before: f64, data: &Path) {
    let searchable = begun.elapsed();
    let mut last = node.cost().0;
    loop {
        std::thread::sleep(Duration::from_secs(3));
        let now = node.cost().0;
        if now - last < 0.06 {
            break;
        }
        last = now;
    }
    let (cpu, peak) = node.cost();
    let disk = size_of(data);
    println!(
        "  searchable after {:.2} s; settled: {:.2} CPU s, {} MB on disk (store {} MB), {} MB peak resident",
        searchable.as_secs_f64(),
        cpu - cpu_before,
        disk / 1_000_000,
        size_of(&data.join("store")) / 1_000_000,
        peak / 1_000_000
    );
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => size_of(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
