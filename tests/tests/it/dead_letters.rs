//! A node that is killed while it replays dead letters: every record is in the
//! store or still a letter, and there once, whenever that was.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use axum::{Json, Router};
use flate2::read::GzDecoder;
use mscp_log_tests::process::{self, Node};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{APP_A, everything, now_us, record};

const RECORDS: usize = 8_000;
const KILLS: u64 = 6;
const SEED: u64 = 5;
const LETTERS: &str = "api/local/system/log/dead-letters";

/// What a cluster has, and whether it refuses everything as the records' own fault.
#[derive(Default)]
struct Kept {
    refuses: bool,
    ids: HashSet<String>,
    again: usize,
}

type Cluster = Arc<Mutex<Kept>>;

/// A cluster that only keeps ids.
async fn cluster() -> (String, Cluster) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let kept = Cluster::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
    tokio::spawn(axum::serve(listener, router).into_future());
    (origin, kept)
}

async fn answer(State(kept): State<Cluster>, uri: Uri, body: Bytes) -> Json<Value> {
    if uri.path() != "/_bulk" {
        return Json(json!({"version": {"number": "8.19.0"}}));
    }
    let mut text = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    let mut kept = kept.lock().unwrap();
    let mut items = Vec::new();
    for action in text.lines().step_by(2) {
        let action: Value = serde_json::from_str(action).unwrap();
        items.push(if kept.refuses {
            let error = json!({"type": "mapper_parsing_exception", "reason": "failed to parse"});
            json!({"create": {"status": 400, "error": error}})
        } else if kept.ids.insert(action["create"]["_id"].to_string()) {
            json!({"create": {"status": 201}})
        } else {
            kept.again += 1;
            json!({"create": {"status": 409}})
        });
    }
    Json(json!({ "items": items }))
}

/// A node with its token.
async fn start(data: &Path, store: &str) -> (Node, String) {
    let (data, store) = (data.to_owned(), store.to_owned());
    let starting = move || Node::start(&data, &[], &[("MSCP_LOG_REGION__LOCAL__STORE", &store)]);
    let node = tokio::task::spawn_blocking(starting).await.unwrap();
    let token = process::administrator_token(&node, &everything()).await;
    (node, token)
}

async fn letters((node, token): &(Node, String)) -> u64 {
    let request = process::http().get(format!("{}/{LETTERS}?limit=1", node.url));
    let answer = request.bearer_auth(token).send().await.unwrap();
    let page: Value = answer.json().await.unwrap();
    page["total"].as_u64().unwrap_or_else(|| panic!("{page}"))
}

/// Replay all letters; whether the node lived to the end of it.
async fn replay(url: String, token: String) -> bool {
    let request = process::http().post(format!("{url}/{LETTERS}/replay"));
    let answer = request.bearer_auth(token).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

/// Wait until it is so; half a minute is long enough for any machine.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_in_the_middle_of_a_replay_loses_no_letter() {
    let data = tempfile::tempdir().unwrap();
    let (store, kept) = cluster().await;
    kept.lock().unwrap().refuses = true;
    let mut node = start(data.path(), &store).await;
    let now = now_us();
    for some in (0..RECORDS).collect::<Vec<_>>().chunks(1_000) {
        let records: Vec<Value> = some
            .iter()
            .map(|n| {
                record(
                    APP_A,
                    now,
                    i64::try_from(*n).unwrap(),
                    &format!("record {n}"),
                )
            })
            .collect();
        let request = process::http().post(format!("{}/api/apps/{APP_A}/log", node.0.url));
        let answer = request.bearer_auth(&node.1).json(&records).send().await;
        assert_eq!(answer.unwrap().status(), 202);
    }
    until("a letter of each record", async || {
        letters(&node).await == RECORDS as u64
    })
    .await;
    kept.lock().unwrap().refuses = false;

    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS {
        // Each replay is seen to have begun, and then some time passes.
        let before = kept.lock().unwrap().ids.len();
        let replaying = tokio::spawn(replay(node.0.url.clone(), node.1.clone()));
        let begun = || kept.lock().unwrap().ids.len() > before;
        until("the replay", async || begun() || replaying.is_finished()).await;
        tokio::time::sleep(Duration::from_micros(random.random_range(0..25_000))).await;
        node.0.kill();
        replaying.await.unwrap();
        node = start(data.path(), &store).await;
    }
    let left = letters(&node).await;
    assert!(replay(node.0.url.clone(), node.1.clone()).await);
    let found = || kept.lock().unwrap().ids.len();
    until("every record in the store", async || {
        found() == RECORDS && letters(&node).await == 0
    })
    .await;
    let again = kept.lock().unwrap().again;
    eprintln!("seed {SEED}: {left} letters behind the last kill, {again} records came again");
}
