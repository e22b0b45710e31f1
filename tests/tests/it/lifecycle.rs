//! Start, stop, start again.

use mscp_log_tests::process::{self, Node};
use serde_json::json;

use crate::support::{APP_A, Scene, everything, now_us, record};

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_the_same_folder_starts_again_with_everything_in_it() {
    let scene = Scene::new().await;
    let now = now_us();
    let records: Vec<_> = (0..50)
        .map(|place| record(APP_A, now, place, "kept"))
        .collect();
    let accepted = scene
        .post(
            &scene.token,
            &format!("/api/apps/{APP_A}/log"),
            json!(records),
        )
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let Scene {
        node, data, http, ..
    } = scene;
    let status = node.terminate();
    assert!(status.success(), "{status}");

    let node = Node::start(data.path(), &[], &[]);
    let token = process::administrator_token(&node, &everything()).await;
    let scene = Scene {
        node,
        data,
        token,
        http,
    };
    scene
        .wait_for(json!({"match": {"message": "kept"}}), 50)
        .await;
    let pushed_again = scene
        .post(
            &scene.token,
            &format!("/api/apps/{APP_A}/log"),
            json!([record(APP_A, now, 99, "kept")]),
        )
        .await;
    assert_eq!(pushed_again.status, 202);
    scene
        .wait_for(json!({"match": {"message": "kept"}}), 51)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused_and_says_why() {
    let scene = Scene::new().await;
    let output = Node::try_start(scene.data.path(), &[], &[]).unwrap_err();
    let named = scene.data.path().file_name().unwrap().to_str().unwrap();
    assert!(output.contains(named), "{output}");
    assert!(
        output.contains("in use") || output.contains("another"),
        "{output}"
    );
    // The first is not disturbed.
    assert_eq!(scene.count(&scene.token, json!({"match_all": {}})).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_accepted_before_a_sigkill_are_found_once_after_it() {
    let scene = Scene::new().await;
    let now = now_us();
    let records: Vec<_> = (0..200)
        .map(|place| record(APP_A, now, place, "survivor"))
        .collect();
    let push = |url: String, token: String| {
        let http = scene.http.clone();
        let body = json!(records);
        async move {
            http.post(format!("{url}/api/apps/{APP_A}/log"))
                .bearer_auth(token)
                .header("idempotency-key", "before-the-kill")
                .json(&body)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        }
    };
    assert_eq!(push(scene.node.url.clone(), scene.token.clone()).await, 202);
    let Scene {
        node, data, http, ..
    } = scene;
    node.kill();

    let node = Node::start(data.path(), &[], &[]);
    let token = process::administrator_token(&node, &everything()).await;
    // The client did not see the answer, say: it sends the same again.
    let again = http
        .post(format!("{}/api/apps/{APP_A}/log", node.url))
        .bearer_auth(&token)
        .header("idempotency-key", "before-the-kill")
        .json(&json!(records))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status().as_u16(), 202);
    let scene = Scene {
        node,
        data,
        token,
        http,
    };
    let sentinel = record(APP_A, now, 5000, "sentinel");
    scene
        .post(
            &scene.token,
            &format!("/api/apps/{APP_A}/log"),
            json!([sentinel]),
        )
        .await;
    scene
        .wait_for(json!({"match": {"message": "sentinel"}}), 1)
        .await;
    assert_eq!(
        scene
            .count(&scene.token, json!({"match": {"message": "survivor"}}))
            .await,
        200
    );
}
