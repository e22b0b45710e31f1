//! Which engine the cluster runs, and the index template that it needs.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use mscp_log_core::template::{self, Version};
use serde_json::{Value, json};

use super::nodes::{NodeError, Nodes, Outgoing};
use super::spread;
use crate::store::Spreading;

/// Longest that the cluster may take for a question of ours.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer to a question of ours that are read.
const MAX_ANSWER: usize = 1024 * 1024;

/// What the cluster runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    /// The template's kind.
    pub(super) version: Version,
    /// As it says itself, `8.19.0`.
    pub(super) number: String,
}

impl Engine {
    /// The type that a document must name, before types went away.
    pub(super) fn document_type(&self) -> Option<&'static str> {
        (self.version == Version::Es6).then_some(template::TYPE_OF_6)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.version {
            Version::OpenSearch => "OpenSearch",
            _ => "Elasticsearch",
        };
        write!(f, "{product} {}", self.number)
    }
}

/// Why the cluster cannot be used as a store now.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{node}: {what} was answered {}: {reason}", .status.as_u16())]
    Refused {
        node: String,
        what: &'static str,
        status: StatusCode,
        reason: String,
    },
    #[error("{node}: it {} (401 to {what}): {reason}", if *.set {
        "does not accept the credential that is set"
    } else {
        "wants a credential, and none is set"
    })]
    Credential {
        node: String,
        what: &'static str,
        set: bool,
        reason: String,
    },
    #[error("{node}: the credential has not these rights: {lacking}")]
    Rights { node: String, lacking: String },
    #[error("{node}: expected Elasticsearch 6 to 9 or OpenSearch 1 to 3, found {found}")]
    Unknown { node: String, found: String },
}

/// A whole answer to a question of ours.
pub(super) struct Answer {
    /// The origin of the node that gave it.
    pub(super) node: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// What is no JSON is `Null`.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What it says against `what` was asked.
    pub(super) fn refusal(&self, nodes: &Nodes, what: &'static str) -> EngineError {
        let (node, reason) = (self.node.clone(), reason(&self.json()));
        match self.status {
            StatusCode::UNAUTHORIZED => EngineError::Credential {
                node,
                what,
                set: nodes.has_credential(),
                reason,
            },
            status => EngineError::Refused {
                node,
                what,
                status,
                reason,
            },
        }
    }
}

/// What the cluster runs, where it can be a store.
pub(super) async fn usable(nodes: &Nodes) -> Result<Engine, EngineError> {
    let engine = find(nodes).await?;
    may_ship(nodes, &engine).await?;
    Ok(engine)
}

/// Find out what the cluster runs. `GET /` says it, and where that is closed
/// or not there, the nodes' own list does.
pub(super) async fn find(nodes: &Nodes) -> Result<Engine, EngineError> {
    let answer = ask(nodes, Outgoing::plain(Method::GET, "/")).await?;
    let root = answer.json();
    if answer.status.is_success()
        && let Some(number) = root["version"]["number"].as_str()
    {
        let is_opensearch = root["version"]["distribution"] == "opensearch";
        return engine(&answer.node, number, is_opensearch);
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(answer.refusal(nodes, "GET /"));
    }
    let listed = Outgoing::plain(
        Method::GET,
        "/_nodes/_local/http?filter_path=nodes.*.version",
    );
    let answer = ask(nodes, listed).await?;
    if !answer.status.is_success() {
        return Err(answer.refusal(nodes, "GET /_nodes"));
    }
    let list = answer.json();
    let first = list["nodes"]
        .as_object()
        .and_then(|nodes| nodes.values().next());
    match first.and_then(|node| node["version"].as_str()) {
        Some(number) => engine(&answer.node, number, false),
        None => Err(EngineError::Unknown {
            node: answer.node,
            found: "a server without a version".to_owned(),
        }),
    }
}

/// Elasticsearch 1 to 3 are long gone: such a number is OpenSearch's.
fn engine(node: &str, number: &str, is_opensearch: bool) -> Result<Engine, EngineError> {
    let major = number
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    let version = match major {
        // With `compatibility.override_main_response_version` OpenSearch says 7.10.2.
        _ if is_opensearch => Version::OpenSearch,
        Some(1..=3) => Version::OpenSearch,
        Some(6) => Version::Es6,
        Some(7) => Version::Es7,
        Some(8) => Version::Es8,
        Some(9) => Version::Es9,
        _ => {
            return Err(EngineError::Unknown {
                node: node.to_owned(),
                found: format!("version {number}"),
            });
        }
    };
    let number = number.to_owned();
    Ok(Engine { version, number })
}

/// Put the index template, in place of the one of an earlier version, with
/// the `numbers` that are known.
pub(super) async fn put_template(
    nodes: &Nodes,
    engine: &Engine,
    numbers: Spreading,
) -> Result<(), EngineError> {
    let mut body = template::index_template(engine.version);
    spread::put_into(engine, &mut body, numbers);
    let mut answer = put(nodes, engine, &body).await?;
    if answer.status == StatusCode::BAD_REQUEST && unknown_type(&answer.json()) {
        // Engines without a flattened type keep annotations unindexed.
        let mut body = template::without_flattened(engine.version);
        spread::put_into(engine, &mut body, numbers);
        answer = put(nodes, engine, &body).await?;
    }
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(answer.refusal(nodes, "PUT of the index template"))
    }
}

async fn put(nodes: &Nodes, engine: &Engine, body: &Value) -> Result<Answer, NodeError> {
    let path = engine.version.path();
    ask(nodes, Outgoing::json(Method::PUT, path, body.to_string())).await
}

fn unknown_type(answer: &Value) -> bool {
    let text = answer.to_string();
    ["[flattened]", "[flat_object]"]
        .iter()
        .any(|kind| text.contains(&format!("No handler for type {kind}")))
}

/// Whether the cluster has the template, by a look that costs nearly nothing.
pub(super) async fn has_template(nodes: &Nodes, engine: &Engine) -> Result<bool, EngineError> {
    let answer = ask(nodes, Outgoing::plain(Method::HEAD, engine.version.path())).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        _ => Err(answer.refusal(nodes, "HEAD of the index template")),
    }
}

/// Whether our credential may do what shipping needs, as far as the cluster
/// says: one without security, or OpenSearch, says nothing.
async fn may_ship(nodes: &Nodes, engine: &Engine) -> Result<(), EngineError> {
    let path = match engine.version {
        Version::OpenSearch => return Ok(()),
        Version::Es6 => "/_xpack/security/user/_has_privileges",
        _ => "/_security/user/_has_privileges",
    };
    let wanted = json!({
        "cluster": ["monitor", "manage_index_templates"],
        "index": [{"names": ["logstash-*"], "privileges": ["index", "create_index"]}],
    });
    let request = Outgoing::json(Method::POST, path, wanted.to_string());
    let answer = ask(nodes, request).await?;
    let rights = answer.json();
    if !answer.status.is_success() || rights["has_all_requested"] != false {
        return Ok(());
    }
    let lacking = |group: &Value| -> Vec<String> {
        let all = group.as_object().into_iter().flatten();
        let lacking = all.filter(|(_, granted)| **granted == false);
        lacking.map(|(name, _)| name.clone()).collect()
    };
    let mut names = lacking(&rights["cluster"]);
    names.extend(lacking(&rights["index"]["logstash-*"]));
    Err(EngineError::Rights {
        node: answer.node,
        lacking: names.join(", "),
    })
}

pub(super) async fn ask(nodes: &Nodes, request: Outgoing) -> Result<Answer, NodeError> {
    ask_within(nodes, request, PATIENCE, MAX_ANSWER).await
}

/// A question of ours and its whole answer: `patience` for its beginning, and
/// again for its end; at most `max_bytes`.
pub(super) async fn ask_within(
    nodes: &Nodes,
    request: Outgoing,
    patience: Duration,
    max_bytes: usize,
) -> Result<Answer, NodeError> {
    let mut response = nodes.send(request, patience).await?;
    let node = response.url().origin().ascii_serialization();
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let body = Limited::new(reqwest::Body::from(response), max_bytes);
    match tokio::time::timeout(patience, body.collect()).await {
        Ok(Ok(whole)) => Ok(Answer {
            node,
            status,
            headers,
            body: whole.to_bytes(),
        }),
        Ok(Err(error)) => {
            let reason = error.to_string();
            Err(NodeError::Broken { node, reason })
        }
        Err(_) => Err(NodeError::Late { node, patience }),
    }
}

/// Type and reason of an error of the engine, in one line.
fn reason(answer: &Value) -> String {
    let error = match &answer["error"] {
        Value::Null => answer,
        error => error,
    };
    match error {
        Value::String(text) => text.clone(),
        error => match (error["type"].as_str(), error["reason"].as_str()) {
            (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
            (Some(kind), None) => kind.to_owned(),
            _ => "it gave no reason".to_owned(),
        },
    }
}
