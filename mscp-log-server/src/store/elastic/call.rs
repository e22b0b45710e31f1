//! Requests of clients, to the cluster and back as they are.

use std::io;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::json;

use super::ElasticStore;
use super::nodes::{HOP_BY_HOP, NodeError, Outgoing, Payload};

impl ElasticStore {
    pub(super) async fn pass(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query();
        let request = Outgoing {
            method: parts.method,
            target: target.map_or("/", |target| target.as_str()).to_owned(),
            headers: parts.headers,
            payload: Payload::Streamed(body),
        };
        let patience = **self.patience.load();
        match self.shared.nodes.send(request, patience).await {
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                // Passed on, it would say that the caller's own token is no good.
                tracing::warn!("the cluster does not accept the credential of this node (401)");
                refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "security_exception",
                    "the store does not accept the credential of this node",
                )
            }
            Ok(response) => {
                let mut response: Response<reqwest::Body> = response.into();
                for name in HOP_BY_HOP {
                    response.headers_mut().remove(name);
                }
                *response.version_mut() = http::Version::default();
                response.map(|body| going_on(body, patience))
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster does not answer");
                match error {
                    NodeError::Late { .. } => refusal(
                        StatusCode::GATEWAY_TIMEOUT,
                        "timeout_exception",
                        "the store did not answer in time",
                    ),
                    NodeError::Broken { .. } => refusal(
                        StatusCode::BAD_GATEWAY,
                        "node_disconnected_exception",
                        "the connection to the store ended before its answer; what was asked may have been done",
                    ),
                    NodeError::Unreached { .. } | NodeError::Credential(_) => refusal(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "connect_exception",
                        "the store cannot be reached",
                    ),
                }
            }
        }
    }
}

/// A body that is an error once no piece of it came for `patience`: a cluster
/// that stops in the middle must not hold its caller for ever.
fn going_on(body: reqwest::Body, patience: Duration) -> Body {
    let pieces = futures::stream::unfold(Some(body.into_data_stream()), move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(patience, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => {
                tracing::warn!("the cluster stopped in the middle of an answer");
                let late = "the store stopped in the middle of its answer";
                Some((Err(io::Error::new(io::ErrorKind::TimedOut, late)), None))
            }
        }
    });
    Body::from_stream(pieces)
}

/// An answer of ours in the form of the cluster's. Which node it was, and
/// why, is for the log: a caller need not know addresses.
fn refusal(status: StatusCode, kind: &str, reason: &str) -> Response<Body> {
    let cause = json!({"type": kind, "reason": reason});
    let body = json!({
        "error": {"root_cause": [cause], "type": kind, "reason": reason},
        "status": status.as_u16(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
