//! Shards and replicas of a real engine, read and changed through it.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use mscp_log_core::template::Version;
use mscp_log_server::buffer::dead_letters::{DeadLetters, MAX_BYTES};
use mscp_log_server::config::Cluster;
use mscp_log_server::store::elastic::ElasticStore;
use mscp_log_server::store::{Spread, SpreadError, Spreading, Store as _};
use mscp_log_tests::target::{RUNTIME, Running, Target};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let Some(spec) = target.spec else {
        return Vec::new();
    };
    let name = format!("{}::spread::shards_and_replicas_are_changed", spec.name);
    let target = Arc::clone(target);
    vec![Trial::test(name, move || {
        RUNTIME.block_on(change(target.running(), spec.template()));
        Ok::<(), Failed>(())
    })]
}

pub(crate) async fn ask(
    running: &Running,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let mut request = running
        .http
        .request(method, format!("{}{path}", running.url));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// A node's store, once it can be used.
pub(crate) async fn store(running: &Running, folder: &std::path::Path) -> ElasticStore {
    let letters = DeadLetters::open(&folder.join("letters"), MAX_BYTES).unwrap();
    let cluster = Cluster {
        nodes: vec![running.url.clone()],
        ca_file: None,
        credential: None,
    };
    let patience = Duration::from_secs(30);
    let store = ElasticStore::start(&cluster, patience, Arc::new(letters)).unwrap();
    until(async || store.trouble().is_none()).await;
    store
}

async fn until(done: impl AsyncFn() -> bool) {
    for _ in 0..1_200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come within a minute");
}

/// Shards and replicas of an index.
async fn of_index(running: &Running, index: &str) -> (String, String) {
    let (status, answer) = ask(running, Method::GET, &format!("/{index}/_settings"), None).await;
    assert_eq!(status, 200, "{answer}");
    let settings = &answer[index]["settings"]["index"];
    let text = |name: &str| settings[name].as_str().unwrap().to_owned();
    (text("number_of_shards"), text("number_of_replicas"))
}

async fn create(running: &Running, index: &str) {
    let (status, answer) = ask(running, Method::PUT, &format!("/{index}"), None).await;
    assert_eq!(status, 200, "{answer}");
}

fn pair(shards: &str, replicas: &str) -> (String, String) {
    (shards.to_owned(), replicas.to_owned())
}

const OLD: &str = "logstash-http-spread-2000.01.01";
const NEW: &str = "logstash-http-spread-2000.01.02";
const OTHER: &str = "another-spread";

async fn change(running: &Running, version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let node = store(running, folder.path()).await;
    let said = |shards, replicas| Spreading { shards, replicas };
    let is = |number_of_shards, number_of_replicas| Spread {
        number_of_shards,
        number_of_replicas,
    };
    assert_eq!(node.spread().await.unwrap(), Some(is(1, 1)));
    create(running, OLD).await;
    create(running, OTHER).await;
    let others = of_index(running, OTHER).await;
    assert_eq!(of_index(running, OLD).await, pair("1", "1"));

    let changed = node.set_spread(said(Some(3), Some(0))).await.unwrap();
    assert_eq!(changed, Some(is(3, 0)));
    assert_eq!(of_index(running, OLD).await, pair("1", "0"));
    create(running, NEW).await;
    assert_eq!(of_index(running, NEW).await, pair("3", "0"));
    assert_eq!(of_index(running, OTHER).await, others);

    // One node holds no replica.
    let refused = node.set_spread(said(Some(2), Some(1))).await.unwrap_err();
    let reason = "1 replicas need 2 data nodes, and the cluster has 1";
    assert!(refused.to_string().contains(reason), "{refused}");
    assert_eq!(node.spread().await.unwrap(), Some(is(3, 0)));

    // A node that starts, and one whose template is deleted, put it as it was.
    let second = tempfile::tempdir().unwrap();
    let again = store(running, second.path()).await;
    assert_eq!(again.spread().await.unwrap(), Some(is(3, 0)));
    drop(again);
    let (status, _) = ask(running, Method::DELETE, version.path(), None).await;
    assert_eq!(status, 200);
    until(async || node.spread().await.is_ok_and(|it| it == Some(is(3, 0)))).await;

    // A template that comes before ours decides.
    let legacy = matches!(version, Version::Es6 | Version::Es7);
    let settings = json!({"index": {"number_of_shards": 5}});
    let (path, body) = match legacy {
        true => (
            "/_template/spread-others",
            json!({"index_patterns": ["logstash-*"], "order": 101, "settings": settings}),
        ),
        false => (
            "/_index_template/spread-others",
            json!({"index_patterns": ["logstash-*"], "priority": 201, "template": {"settings": settings}}),
        ),
    };
    let (status, answer) = ask(running, Method::PUT, path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let found = node.spread().await.unwrap().unwrap();
    assert_eq!(found.number_of_shards, 5);
    let refused = node.set_spread(said(Some(2), None)).await;
    assert!(
        matches!(&refused, Err(SpreadError::Refused(reason)) if reason.contains("another index template")),
        "{refused:?}"
    );
    ask(running, Method::DELETE, path, None).await;
    assert_eq!(node.spread().await.unwrap(), Some(is(3, 0)));

    // An index that the engine refuses to change: nothing is.
    let lock = |locked: bool| json!({"index.blocks.read_only": locked});
    let path = format!("/{OLD}/_settings");
    ask(running, Method::PUT, &path, Some(lock(true))).await;
    let refused = node.set_spread(said(Some(1), Some(0))).await.unwrap_err();
    let block = "cluster_block_exception";
    assert!(refused.to_string().contains(block), "{refused}");
    assert_eq!(node.spread().await.unwrap(), Some(is(3, 0)));
    ask(running, Method::PUT, &path, Some(lock(false))).await;

    for index in [OLD, NEW, OTHER] {
        ask(running, Method::DELETE, &format!("/{index}"), None).await;
    }
    drop(node);
    ask(running, Method::DELETE, version.path(), None).await;
}
