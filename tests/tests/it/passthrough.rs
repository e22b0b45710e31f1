//! Writes through the passthrough, with `other.log.write`, while the node is
//! killed: what was answered is there, and nothing that nobody wrote.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mscp_log_tests::process::{self, Node};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::everything;

const INDEX: &str = "logstash-http-local-2026.11.20";
const CLIENTS: u64 = 4;
const WRITES: u64 = 60;
const KILLS: u64 = 4;
const SEED: u64 = 11;

/// What a document may hold, by its id: the number that was written last, or
/// nothing; several where a write had no answer.
type Known = HashMap<String, Vec<Option<u64>>>;

/// The node's address and a token for it, while it runs.
type Place = watch::Receiver<Option<(String, String)>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_answered_is_there_though_the_node_is_killed_at_random_moments() {
    let data = tempfile::tempdir().unwrap();
    let answered = Arc::new(AtomicU64::new(0));
    let (place, now) = watch::channel(None);
    let mut node = start(data.path()).await;
    place.send_replace(Some(here(&node).await));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write(client, now.clone(), Arc::clone(&answered))))
        .collect();
    let mut random = StdRng::seed_from_u64(SEED);
    for kill in 1..=KILLS {
        let moment = kill * CLIENTS * WRITES / (KILLS + 1);
        while answered.load(Ordering::Relaxed) < moment {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..30_000))).await;
        place.send_replace(None);
        node.kill();
        node = start(data.path()).await;
        place.send_replace(Some(here(&node).await));
    }
    let mut known = Known::new();
    for client in clients {
        known.extend(client.await.unwrap());
    }
    // Once more behind the last write: what was answered needs no other write.
    place.send_replace(None);
    node.kill();
    let node = start(data.path()).await;
    let (url, token) = here(&node).await;
    let mut unsure = 0;
    for (id, allowed) in &known {
        let path = format!("{url}/api/local/log/{INDEX}/_doc/{id}");
        let answer = process::http()
            .get(path)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        let found = body["_source"]["seq"].as_u64();
        assert!(
            allowed.contains(&found),
            "seed {SEED}, {id}: {found:?}, not {allowed:?}"
        );
        unsure += usize::from(allowed.len() > 1);
    }
    let body: Value = process::http()
        .post(format!("{url}/api/local/log/{INDEX}/_count"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let found = body["count"].as_u64().unwrap();
    assert!(found <= known.len() as u64);
    eprintln!(
        "{} documents, {unsure} of them with a write that had no answer",
        known.len()
    );
}

async fn start(data: &Path) -> Node {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || Node::start(&data, &[], &[]))
        .await
        .unwrap()
}

async fn here(node: &Node) -> (String, String) {
    let token = process::administrator_token(node, &everything()).await;
    (node.url.clone(), token)
}

/// One client after the other on its own documents: create, replace, delete,
/// alone and in bulks.
async fn write(client: u64, mut place: Place, answered: Arc<AtomicU64>) -> Known {
    let http = process::http();
    let mut random = StdRng::seed_from_u64(SEED ^ (client << 32));
    let mut known = Known::new();
    for number in 0..WRITES {
        let id = format!("{client:016x}{:016x}", random.random_range(0..10_u64));
        let other = format!("{client:016x}{:016x}", random.random_range(10..20_u64));
        let (head, source) = (json!({"_index": INDEX, "_id": id}), source(&id, number));
        // What is written, and what of it.
        let (method, path, body, written) = match random.random_range(0..4) {
            0 => (
                "DELETE",
                format!("{INDEX}/_doc/{id}"),
                String::new(),
                vec![(id, None)],
            ),
            1 => {
                let put = json!({"index": {"_index": INDEX, "_id": other}});
                let body = format!(
                    "{}\n{put}\n{}\n",
                    json!({"delete": head}),
                    self::source(&other, number)
                );
                let written = vec![(id, None), (other, Some(number))];
                ("POST", "_bulk".to_owned(), body, written)
            }
            2 => {
                let body = format!("{}\n{source}\n", json!({"index": head}));
                ("POST", "_bulk".to_owned(), body, vec![(id, Some(number))])
            }
            _ => {
                let path = format!("{INDEX}/_doc/{id}");
                ("PUT", path, source.to_string(), vec![(id, Some(number))])
            }
        };
        let here = place.wait_for(Option::is_some).await;
        let Some((url, token)) = here.ok().and_then(|here| here.clone()) else {
            return known;
        };
        let kind = if path == "_bulk" {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let sent = http
            .request(
                method.parse().unwrap(),
                format!("{url}/api/local/log/{path}"),
            )
            .bearer_auth(token)
            .header("content-type", kind)
            .body(body)
            .send()
            .await;
        let done = match sent {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let text = answer.text().await;
                assert!(
                    matches!(status, 200 | 201 | 404 | 503),
                    "{status}: {text:?}"
                );
                status != 503 && text.is_ok()
            }
            Err(_) => false,
        };
        for (id, value) in written {
            let allowed = known.entry(id).or_insert_with(|| vec![None]);
            if done {
                allowed.clear();
            }
            allowed.push(value);
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    known
}

fn source(id: &str, number: u64) -> Value {
    json!({"@timestamp": "2026-11-20T10:00:00.000Z", "realtime_us": 1_795_168_800_000_000_u64 + number,
        "event_id": id, "seq": number, "message": format!("write {number}")})
}
