//! A node with an administrator's token, and the requests that scenarios make.

use std::time::Duration;

use mscp_log_tests::process::{self, Node};
use reqwest::Method;
use serde_json::{Value, json};

/// An app that scenarios push to.
pub(crate) const APP_A: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// Another one.
pub(crate) const APP_B: &str = "11111111-2222-4333-8444-555555555555";

/// Everything, with the right to write through the passthrough.
pub(crate) fn everything() -> Value {
    json!([{"method": ["GET", "POST", "PUT", "DELETE"], "url": ["{mscp_api_url}/**"],
            "other": {"log": {"write": true}}}])
}

/// A running node, its data folder, and a token for everything.
pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) data: tempfile::TempDir,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
}

/// An answer: status and body, `Null` where it is no JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: reqwest::header::HeaderMap,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let node = Node::start(data.path(), &[], variables);
        let token = process::administrator_token(&node, &everything()).await;
        Self {
            node,
            data,
            token,
            http: process::http(),
        }
    }

    /// A token for `access`, issued to the administrator.
    pub(crate) async fn token_for(&self, access: Value) -> String {
        process::administrator_token(&self.node, &access).await
    }

    pub(crate) async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.node.url))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::GET, path, None).await
    }

    /// NDJSON to `_bulk` of the region, searchable when this returns.
    pub(crate) async fn bulk(&self, lines: &[Value]) -> Answer {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let request = self
            .http
            .post(format!(
                "{}/api/local/log/_bulk?refresh=true",
                self.node.url
            ))
            .bearer_auth(&self.token)
            .header("content-type", "application/x-ndjson")
            .body(body);
        answer(request).await
    }

    /// How many documents match, as `token` sees it.
    pub(crate) async fn count(&self, token: &str, query: Value) -> u64 {
        let answer = self
            .post(token, "/api/local/log/_count", json!({ "query": query }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["count"].as_u64().unwrap()
    }

    /// Wait until the administrator finds `expected` documents for `query`:
    /// shipped records are searchable within two seconds, and a search is the
    /// only event that says so.
    pub(crate) async fn wait_for(&self, query: Value, expected: u64) {
        let mut found = 0;
        for _ in 0..600 {
            found = self.count(&self.token, query.clone()).await;
            if found == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("expected {expected} documents for {query}, found {found}");
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or_default(),
        headers,
    }
}

/// A record as an application pushes it, `place` microseconds after `start`.
pub(crate) fn record(appid: &str, start: i64, place: i64, message: &str) -> Value {
    json!({"timestemp": start + place, "appid": appid, "type": "applog", "message": message,
           "annotations": [{"key": "level", "value": "info"}, {"key": "place", "value": place}]})
}

/// Now, in microseconds.
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_micros()).unwrap()
}
