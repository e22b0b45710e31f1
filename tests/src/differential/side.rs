//! One of the two stores that are compared: an address, and what is asked of it.

use reqwest::Method;
use serde_json::{Value, json};

use super::dice::DAYS;
use super::documents::Document;
use super::requests::Request;

/// A store, as an Elasticsearch client knows it.
#[derive(Debug)]
pub struct Side {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// Status and body of an answer; a body that is no JSON is a string.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Side {
    /// The store at `base`, with a bearer token where it wants one.
    #[must_use]
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self {
            http: crate::process::http(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    async fn call(&self, method: Method, path: &str, kind: &'static str, body: String) -> Answer {
        let mut request = self.http.request(method, format!("{}/{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !body.is_empty() {
            request = request.header("content-type", kind).body(body);
        }
        let response = request.send().await.expect("the store answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("the store answers whole");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, body }
    }

    /// The answer to `request`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ask(&self, request: &Request) -> Answer {
        let kind = if request.endpoint == "_msearch" {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let mut path = format!("{}/{}", request.index, request.endpoint);
        for (place, (name, value)) in request.parameters.iter().enumerate() {
            path.push(if place == 0 { '?' } else { '&' });
            path.push_str(&format!("{name}={}", encoded(value)));
        }
        self.call(Method::POST, &path, kind, request.body.text())
            .await
    }

    /// The answer of `_analyze`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn analyze(&self, body: &Value) -> Answer {
        self.call(
            Method::POST,
            "_analyze",
            "application/json",
            body.to_string(),
        )
        .await
    }

    /// Puts a document anywhere but where one is already: status and error
    /// type of each, in order.
    ///
    /// # Panics
    /// When the store does not answer item by item.
    pub async fn fill(&self, documents: &[Document]) -> Vec<(u64, String)> {
        let mut lines = String::new();
        for document in documents {
            let head = json!({ "create": { "_index": document.index, "_id": document.id } });
            lines.push_str(&format!("{head}\n{}\n", document.source));
        }
        if lines.is_empty() {
            return Vec::new();
        }
        let answer = self
            .call(
                Method::POST,
                "_bulk?refresh=true",
                "application/x-ndjson",
                lines,
            )
            .await;
        let items = answer.body["items"]
            .as_array()
            .unwrap_or_else(|| panic!("a bulk is answered: {answer:?}"));
        items
            .iter()
            .map(|item| {
                let item = &item["create"];
                // The name of this type changed with version 8.
                let kind = item["error"]["type"]
                    .as_str()
                    .unwrap_or_default()
                    .replace("mapper_parsing", "document_parsing");
                (item["status"].as_u64().unwrap_or_default(), kind)
            })
            .collect()
    }

    /// Takes the indices of `round` away.
    ///
    /// # Panics
    /// When the store does not answer.
    pub async fn clear(&self, round: &str) {
        for day in DAYS {
            let path = format!("logstash-{round}-{day}");
            self.call(Method::DELETE, &path, "application/json", String::new())
                .await;
        }
    }

    /// Puts the project's index template.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn template(&self, version: mscp_log_core::template::Version) {
        let body = mscp_log_core::template::index_template(version).to_string();
        let path = version.path().trim_start_matches('/');
        let answer = self.call(Method::PUT, path, "application/json", body).await;
        assert!(answer.status < 300, "the template is refused: {answer:?}");
    }
}

/// A value as it stands in a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*,".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
