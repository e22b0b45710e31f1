//! Raw records of agents: `POST base/{region}/collect`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode};
use mscp_log_core::access::Visible;
use utoipa::OpenApi;

use super::access::Caller;
use super::body::method_not_allowed;
use super::problem::{Kind, Problem};
use super::push::body_problem;
use crate::ingest::body::media_type;
use crate::ingest::collect::{Collect, CollectError, Collected};
use crate::schema::limit;

/// The endpoint, by its path below the base.
pub fn routes(takes: Arc<Collect>) -> Router {
    Router::new()
        .route("/{region}/collect", post(collect))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(takes)
}

#[derive(OpenApi)]
#[openapi(paths(collect))]
pub(super) struct Document;

/// Take raw records that an agent read
///
/// Each line is a chunk: records of one source of a machine, with what makes
/// each of them the same record when it comes again. A token can be restricted
/// to machines (`hostname`, `zone`, `cluster`).
#[utoipa::path(post, path = "/{region}/collect", tag = "push", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed")),
    request_body(content = String, content_type = "application/x-ndjson"), responses(
    (status = 202, description = "The records are durable", body = Collected),
    (status = 413, response = super::openapi::Problem),
    (status = 415, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn collect(
    State(takes): State<Arc<Collect>>,
    Extension(caller): Extension<Caller>,
    Path(region): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if region != takes.region() {
        let detail = format!("this node takes no records for region {region:?}");
        return Err(Problem::not_found(detail));
    }
    match media_type(&headers).as_str() {
        "application/x-ndjson" | "application/ndjson" => {}
        other => {
            let detail = format!("media type {other:?}: expected application/x-ndjson");
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
    }
    let received = takes.bodies().receive(&headers, body).await;
    let received = received.map_err(body_problem)?;
    let visible = match caller.visible {
        Visible::All => None,
        Visible::Restricted(restrictions) => Some(restrictions),
    };
    let accepted = takes.take(received, visible).await.map_err(problem)?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

fn problem(error: CollectError) -> Problem {
    let detail = error.to_string();
    match error {
        CollectError::Malformed { chunk, .. } => {
            Problem::new(Kind::MalformedRecord, detail).record(chunk)
        }
        CollectError::Forbidden { chunk, what, .. } => {
            Problem::forbidden(detail).record(chunk).field(what)
        }
        CollectError::Buffer(error) => error.into(),
        CollectError::Stopping => Problem::unavailable(detail).retry_after(Duration::from_secs(2)),
    }
}
