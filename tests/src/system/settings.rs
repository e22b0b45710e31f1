//! Settings that are changed through one API and obeyed by every process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::load::APPS;
use super::platform::Platform;
use crate::process;

/// Switch collecting and pushes off through the first API and on through the second, and wait each
/// time until every API and the agent that obeys one have done so. The messages that were taken meanwhile.
pub(super) async fn change(platform: &Platform, token: &str, round: u32) -> Vec<String> {
    let (apis, mut pushed) = (platform.apis(), Vec::new());
    for (api, enabled) in apis.iter().zip([false, true]) {
        let wish = json!({"collector": {
            "http_gateway": {"enabled": enabled}, "filebeat": {"enabled": enabled},
        }});
        let begun = Instant::now();
        while !is_changed(api, token, &wish).await {
            wait(begun, "a change of settings to be taken").await;
        }
        let begun = Instant::now();
        for (number, api) in apis.iter().enumerate() {
            let mut tries = 0;
            loop {
                let message = format!("settings {round} {enabled} {number} {tries}");
                let taken = push(api, token, &message).await;
                if taken == Some(true) {
                    pushed.push(message);
                }
                if taken == Some(enabled) {
                    break;
                }
                tries += 1;
                wait(begun, "pushes to be switched").await;
            }
        }
        let is = if enabled { "up" } else { "off" };
        while agent(&apis[0], token).await.as_deref() != Some(is) {
            wait(begun, "the agent to be switched").await;
        }
        let took = begun.elapsed();
        eprintln!("switched {is} through one API, obeyed by all after {took:.1?}");
    }
    pushed
}

async fn wait(begun: Instant, what: &str) {
    assert!(
        begun.elapsed() < PATIENCE,
        "{PATIENCE:?}: it waits for {what}"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn is_changed(api: &str, token: &str, wish: &Value) -> bool {
    let asked = process::http().post(format!("{api}/api/local/system/log"));
    let asked = asked.bearer_auth(token).json(wish).send().await;
    asked.is_ok_and(|answer| answer.status() == 200)
}

/// Whether a push was taken, where the API said so, or that pushes are off.
async fn push(api: &str, token: &str, message: &str) -> Option<bool> {
    let now = chrono::Utc::now().timestamp_micros();
    let record =
        json!([{"timestemp": now, "appid": APPS[0], "type": "applog", "message": message}]);
    loop {
        let asked = process::http()
            .post(format!("{api}/api/apps/{}/log", APPS[0]))
            .bearer_auth(token)
            .header("idempotency-key", message)
            .json(&record)
            .send()
            .await;
        // Whoever has no answer asks again: it may have been taken.
        let Ok(answer) = asked else { continue };
        if answer.status() == 202 {
            return Some(true);
        }
        let body: Value = answer.json().await.unwrap_or_default();
        return (body["type"] == "/problems/switched-off").then_some(false);
    }
}

/// What the status says of the files of the agent that sends over HTTP.
async fn agent(api: &str, token: &str) -> Option<String> {
    let asked = process::http().get(format!("{api}/api/local/system/log/status"));
    let answer = asked.bearer_auth(token).send().await.ok()?;
    let status: Value = answer.json().await.ok()?;
    let instances = status[0]["collector"]["filebeat"]["instances"].as_array()?;
    let of_node = instances.iter().find(|it| it["node"] == "node1")?;
    of_node["status"].as_str().map(str::to_owned)
}
