//! Backups of a running node, and what is made of them.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use mscp_log_tests::process::{Node, binary};
use serde_json::{Value, json};

use super::support::{APP_A, Scene, everything, now_us, record};

/// What the first administrator has, and what a backup needs.
fn all() -> Value {
    json!([{"method": ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
            "url": ["/**"], "other": {"log": {"write": true}}}])
}

async fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    let run = move || Command::new(binary()).args(arguments).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn backup(scene: &Scene, file: &Path) -> Output {
    let token = scene.token_for(all()).await;
    let file = file.to_str().unwrap();
    run(&["backup", file, "--url", &scene.node.url, "--token", &token]).await
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// How often each message of the app is found.
async fn found(scene: &Scene) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    let mut after = None;
    loop {
        let mut body = json!({"query": {"term": {"appid": APP_A}}, "size": 10_000,
            "_source": ["message"], "sort": ["event_id"]});
        if let Some(after) = after.take() {
            body["search_after"] = after;
        }
        let answer = scene
            .post(&scene.token, "/api/local/log/_search", body)
            .await;
        let hits = answer.body["hits"]["hits"].as_array().unwrap();
        for hit in hits {
            let message = hit["_source"]["message"].as_str().unwrap();
            *found.entry(message.to_owned()).or_default() += 1;
        }
        match hits.last() {
            Some(last) => after = Some(last["sort"].clone()),
            None => return found,
        }
    }
}

/// The scene's node and token in place of another node on `data`.
async fn scene_on(data: tempfile::TempDir) -> Scene {
    let node = Node::start(data.path(), &[], &[]);
    let token = mscp_log_tests::process::administrator_token(&node, &everything()).await;
    Scene {
        node,
        data,
        token,
        http: mscp_log_tests::process::http(),
    }
}

#[tokio::test]
async fn a_backup_taken_while_records_come_in_has_each_that_was_acknowledged_before_it_once() {
    let scene = Arc::new(Scene::new().await);
    let start = now_us();
    let acknowledged = Arc::new(AtomicI64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let pushing = tokio::spawn({
        let (scene, acknowledged, stop) = (scene.clone(), acknowledged.clone(), stop.clone());
        async move {
            let path = format!("/api/apps/{APP_A}/log");
            while !stop.load(Ordering::SeqCst) {
                let first = acknowledged.load(Ordering::SeqCst);
                let records: Vec<Value> = (first..first + 20)
                    .map(|place| record(APP_A, start, place, &format!("record {place}")))
                    .collect();
                let answer = scene.post(&scene.token, &path, json!(records)).await;
                assert_eq!(answer.status, 202, "{}", answer.body);
                acknowledged.store(first + 20, Ordering::SeqCst);
            }
        }
    });
    // Part of it is in the store by now, part in the buffer only.
    let a_few = json!({"range": {"seq": {"gte": 0}}});
    while scene.count(&scene.token, a_few.clone()).await == 0 {}
    let before = acknowledged.load(Ordering::SeqCst);
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("node.tar.zst");
    let output = backup(&scene, &file).await;
    assert!(output.status.success(), "{}", said(&output));
    stop.store(true, Ordering::SeqCst);
    pushing.await.unwrap();
    let after = acknowledged.load(Ordering::SeqCst);
    let scene = Arc::into_inner(scene).unwrap();
    assert!(!scene.data.path().join("snapshot").exists());
    scene.node.kill();

    let data = tempfile::tempdir().unwrap();
    let (from, to) = (file.to_str().unwrap(), data.path().to_str().unwrap());
    let output = run(&["restore", from, "--data", to]).await;
    assert!(output.status.success(), "{}", said(&output));
    // The same account signs in.
    let restored = scene_on(data).await;
    let mut messages = HashMap::new();
    for _ in 0..600 {
        messages = found(&restored).await;
        if messages.len() as i64 >= before {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for place in 0..before {
        let message = format!("record {place}");
        assert_eq!(
            messages.get(&message),
            Some(&1),
            "{message}, of {before} and {after}"
        );
    }
    assert!(
        messages.values().all(|count| *count == 1),
        "{before} {after}"
    );
    assert!(messages.len() as i64 <= after);
}

#[tokio::test]
async fn records_of_a_backup_go_into_a_running_node_beside_what_it_has_and_only_once() {
    let from = Scene::new().await;
    let answer = from
        .bulk(&[
            json!({"create": {"_index": "logstash-journalbeat-n1-2026.11.20", "_id": "a"}}),
            json!({"message": "one", "@timestamp": "2026-11-20T00:00:00.000Z"}),
            json!({"create": {"_index": "notes", "_id": "b/\"b\""}}),
            json!({"message": "two\nlines"}),
        ])
        .await;
    assert_eq!(answer.body["errors"], false, "{}", answer.body);
    // A source that was written over several lines stays one document.
    let path = "/api/local/log/notes/_doc/c?refresh=true";
    let answer = from
        .http
        .put(format!("{}{path}", from.node.url))
        .bearer_auth(&from.token)
        .header("content-type", "application/json")
        .body("{\n  \"message\": \"three\"\n}");
    assert!(answer.send().await.unwrap().status().is_success());
    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("node.tar.zst");
    let output = backup(&from, &file).await;
    assert!(output.status.success(), "{}", said(&output));

    let to = Scene::new().await;
    let answer = to
        .bulk(&[
            json!({"create": {"_index": "notes", "_id": "c"}}),
            json!({"message": "its own"}),
        ])
        .await;
    assert_eq!(answer.body["errors"], false, "{}", answer.body);
    let token = to.token_for(all()).await;
    for created in [2, 0] {
        let file = file.to_str().unwrap();
        let url = &to.node.url;
        let output = run(&["restore", file, "--json", "--url", url, "--token", &token]).await;
        assert!(output.status.success(), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["documents"], 3, "{report}");
        assert_eq!(report["created"], created, "{report}");
    }
    let source = |id: &'static str| {
        let path = format!("/api/local/log/notes/_doc/{id}");
        let to = &to;
        async move { to.get(&to.token, &path).await.body["_source"].clone() }
    };
    assert_eq!(source("c").await, json!({"message": "its own"}));
    assert_eq!(to.count(&to.token, json!({"match_all": {}})).await, 3);
    let two = json!({"match_phrase": {"message": "two lines"}});
    assert_eq!(to.count(&to.token, two).await, 1);
    assert!(!to.data.path().join("restore").exists());
}

#[tokio::test]
async fn a_backup_needs_a_token_that_grants_everything_and_a_cut_one_is_refused() {
    let scene = Scene::new().await;
    // Every path of the API, even to change the store, but not every path.
    let answer = scene
        .post(&scene.token, "/api/system/backup", Value::Null)
        .await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    let answer = scene
        .post(&scene.token, "/api/system/restore", Value::Null)
        .await;
    assert_eq!(answer.status, 403, "{}", answer.body);

    let outer = tempfile::tempdir().unwrap();
    let file = outer.path().join("node.tar.zst");
    let output = backup(&scene, &file).await;
    assert!(output.status.success(), "{}", said(&output));
    let again = backup(&scene, &file).await;
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));

    let whole = std::fs::read(&file).unwrap();
    let cut = outer.path().join("cut.tar.zst");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let data = outer.path().join("data");
    let (from, to) = (cut.to_str().unwrap(), data.to_str().unwrap());
    let output = run(&["restore", from, "--data", to]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("cut off"), "{}", said(&output));
    // What is half there is no data folder.
    assert!(!data.join("FORMAT").exists());
    let refused = Node::try_start(&data, &[], &[]).unwrap_err();
    assert!(refused.contains("not empty"), "{refused}");

    // Nor does a running node take any of it.
    let token = scene.token_for(all()).await;
    let url = &scene.node.url;
    let output = run(&["restore", from, "--url", url, "--token", &token]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("cut off"), "{}", said(&output));
    // And a folder that has something in it is left alone.
    let (from, to) = (file.to_str().unwrap(), outer.path().to_str().unwrap());
    let output = run(&["restore", from, "--data", to]).await;
    assert!(said(&output).contains("not empty"), "{}", said(&output));
}
