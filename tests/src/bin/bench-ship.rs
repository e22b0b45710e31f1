//! What shipping costs beside the engine that it ships to: records are pushed
//! while the engine is closed to them, then it is opened, and CPU seconds of
//! the node and of the engine are read until it has everything.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use mscp_log_tests::engine::{Engine, Spec};
use mscp_log_tests::generate::{self, Generator};
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::proxy::{Fault, Proxy};
use serde_json::{Value, json};

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// Records in one push.
const BATCH: usize = 1_000;
/// How often it is asked whether all is shipped.
const LOOK: Duration = Duration::from_millis(500);
/// The heap of an installation for so many records.
const FLAGS: &[&str] = &["-Xms2g", "-Xmx2g"];

/// Measure the CPU of shipping into a real engine.
#[derive(Parser)]
struct Arguments {
    /// The engine's name
    #[arg(long, default_value = "elasticsearch-8.19.0")]
    engine: String,
    /// Records to ship
    #[arg(long, default_value_t = 300_000)]
    records: usize,
    /// A folder of real logs, one line a record; without it, lines of the project's own
    #[arg(long)]
    lines: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let spec = Spec::named(&arguments.engine);
    let engine = tokio::task::spawn_blocking(|| Engine::start_with(spec, FLAGS));
    let engine = engine.await.expect("the engine starts");
    let proxy = Proxy::start(&engine.url).await;
    proxy.set(Fault::Status(503));
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let store = [("MSCP_LOG_REGION__LOCAL__STORE", proxy.url.as_str())];
    let node = Node::start(data.path(), &[], &store);
    let access = json!([{"method": ["GET", "POST"], "url": ["{mscp_api_url}/**", "/metrics"]}]);
    let token = process::administrator_token(&node, &access).await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is past 1970").as_micros();
    let now_us = i64::try_from(now).expect("microseconds fit");
    let lines = generate::lines(arguments.lines.as_deref());
    let mut generator = Generator::new(1, lines, now_us - 3_600_000_000);
    let http = process::http();
    let url = format!("{}/api/apps/{APP}/log", node.url);
    let (mut left, mut bytes) = (arguments.records, 0);
    while left > 0 {
        let count = left.min(BATCH);
        let records: Vec<Value> = (0..count).map(|_| generator.record(APP)).collect();
        let body = Value::from(records).to_string();
        bytes += body.len();
        let request = http.post(&url).bearer_auth(&token).body(body);
        let request = request.header("content-type", "application/json");
        let answer = request.send().await.expect("the node answers");
        assert_eq!(answer.status(), 202);
        left -= count;
    }
    println!("{} records, {bytes} bytes, pushed", arguments.records);

    let (ours, theirs) = (node.cost().0, process::cost_of(engine.id()).0);
    let begun = Instant::now();
    proxy.set(Fault::None);
    while backlog(&node, &token).await != Some(0.0) {
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.elapsed();
    let ours = node.cost().0 - ours;
    let theirs = process::cost_of(engine.id()).0 - theirs;
    let count = format!("{}/logstash-*/_count", engine.url);
    let refresh = format!("{}/logstash-*/_refresh", engine.url);
    http.post(refresh).send().await.expect("the engine answers");
    let found = http.get(count).send().await.expect("the engine answers");
    let found: Value = found.json().await.expect("it answers in JSON");
    assert_eq!(found["count"], arguments.records, "{found}");
    println!(
        "{} on {}: {took:.1?}, CPU {ours:.2} s of the node, {theirs:.2} s of the engine: {:.1} %",
        arguments.records,
        spec.name,
        ours / theirs * 100.0
    );
}

/// Records that the node has not shipped yet.
async fn backlog(node: &Node, token: &str) -> Option<f64> {
    let request = process::http().get(format!("{}/metrics", node.url));
    let answer = request.bearer_auth(token).send().await.ok()?;
    let text = answer.text().await.ok()?;
    let line = text.lines().find(|line| {
        line.starts_with("mscp_log_buffer_backlog_records") && !line.starts_with('#')
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
