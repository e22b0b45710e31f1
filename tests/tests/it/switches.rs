//! Settings that take effect in the running node.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use mscp_log_tests::process::{self, Node};
use serde_json::{Value, json};

use crate::support::{APP_A, Scene, everything, now_us, record};

/// Change settings, and wait until the node has done as they say.
async fn change(scene: &Scene, document: Value, done: impl AsyncFn() -> bool) {
    let path = "/api/local/system/log";
    let changed = scene.post(&scene.token, path, document).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the node did not follow {}", changed.body);
}

fn line(folder: &Path, text: &str) {
    let path = folder.join("app.log");
    let file = OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.unwrap(), "{text}").unwrap();
}

fn of(message: &str) -> Value {
    json!({"match_phrase": {"message": message}})
}

async fn collect(scene: &Scene) -> String {
    let ready = scene.get(&scene.token, "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    ready.body["checks"]["collect"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_and_pushes_are_switched_off_and_on_in_the_running_node() {
    let logs = tempfile::tempdir().unwrap();
    let paths = format!("{}/*.log", logs.path().display());
    let variables = [
        ("MSCP_LOG_COLLECT__FILES__PATHS", paths.as_str()),
        ("MSCP_LOG_COLLECT__HOST", "node1"),
    ];
    let scene = Scene::with(&variables).await;
    line(logs.path(), "first line");
    scene.wait_for(of("first line"), 1).await;
    assert_eq!(collect(&scene).await, "ok");
    let push = async || {
        let records = json!([record(APP_A, now_us(), 0, "pushed")]);
        let path = format!("/api/apps/{APP_A}/log");
        scene.post(&scene.token, &path, records).await
    };
    assert_eq!(push().await.status, 202);

    let off =
        json!({"collector": {"filebeat": {"enabled": false}, "http_gateway": {"enabled": false}}});
    change(&scene, off, async || {
        let told = collect(&scene).await;
        let is_off = told == "ok; switched off by an administrator: filebeat";
        is_off && push().await.status == 503
    })
    .await;
    let refused = push().await;
    assert_eq!(refused.body["type"], "/problems/switched-off");
    assert_eq!(refused.headers["retry-after"], "60");
    line(logs.path(), "second line");
    fs::rename(logs.path().join("app.log"), logs.path().join("app.log.1")).unwrap();
    line(logs.path(), "third line");
    // Searches go on, and who may write to the store may.
    let written = scene
        .post(
            &scene.token,
            "/api/local/log/a/_doc?refresh=true",
            json!({}),
        )
        .await;
    assert_eq!(written.status, 201, "{}", written.body);
    let before = scene.count(&scene.token, json!({"match_all": {}})).await;

    // Who starts again finds it as it was left.
    let Scene {
        node, data, http, ..
    } = scene;
    node.kill();
    let node = Node::start(data.path(), &[], &variables);
    let token = process::administrator_token(&node, &everything()).await;
    let scene = Scene {
        node,
        data,
        token,
        http,
    };
    assert!(collect(&scene).await.contains("switched off"));
    assert_eq!(
        scene.count(&scene.token, json!({"match_all": {}})).await,
        before
    );

    let on =
        json!({"collector": {"filebeat": {"enabled": true}, "http_gateway": {"enabled": true}}});
    change(&scene, on, async || collect(&scene).await == "ok").await;
    for message in ["first line", "second line", "third line"] {
        scene.wait_for(of(message), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_searches_and_of_the_buffer_change_in_the_running_node() {
    let scene = Scene::new().await;
    let search = async |size: u64| {
        let body = json!({"size": size});
        let found = scene.post(&scene.token, "/api/local/log/_search", body);
        found.await.status
    };
    assert_eq!(search(10_001).await, 400);
    let wider = json!({"search": {"max_window": 20_000}, "buffer": {"max_bytes": 1 << 30}});
    change(&scene, wider, async || search(10_001).await == 200).await;
    let access = json!([{"method": ["GET"], "url": ["/metrics"]}]);
    let token = scene.token_for(access).await;
    let metrics = scene.http.get(format!("{}/metrics", scene.node.url));
    let metrics = metrics.bearer_auth(token).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("mscp_log_buffer_max_bytes 1073741824"),
        "{metrics}"
    );
    let narrower = json!({"search": {"max_window": 5}});
    change(&scene, narrower, async || search(6).await == 400).await;
    assert_eq!(search(5).await, 200);
}
