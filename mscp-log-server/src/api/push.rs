//! Pushed records under `base/apps`.

mod bulk;
mod otlp;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode};
use utoipa::OpenApi;
use uuid::Uuid;

use super::access::Caller;
use super::body::method_not_allowed;
use super::problem::{Kind, Problem};
use crate::buffer::AppendError;
use crate::ingest::body::{BodyError, media_type};
use crate::ingest::push::{Accepted, Call, Format, Push, PushError};
use crate::schema::{self, limit};

/// How long a sender waits whose records the buffer did not take.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long a sender waits where an administrator switched pushing off.
const SWITCHED_OFF: Duration = Duration::from_secs(60);

/// What the endpoints answer with.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Takes the records.
    pub push: Arc<Push>,
    /// Whether OpenTelemetry's are taken.
    pub otlp: bool,
    /// The version that senders of `_bulk` are told.
    pub version: (u16, u16, u16),
}

/// The endpoints, by their paths below the base.
pub fn routes<S: Clone + Send + Sync + 'static>(ways: Ways) -> Router<S> {
    let mut routes = Router::new()
        .route("/apps/log", post(push_to_several))
        .route("/apps/{appid}/log", post(push_to_one))
        .route("/apps/{appid}", get(bulk::info))
        .route("/apps/{appid}/", get(bulk::info))
        .route("/apps/{appid}/_license", get(bulk::license))
        .route("/apps/{appid}/_bulk", post(bulk::take).put(bulk::take))
        .route(
            "/apps/{appid}/{index}/_bulk",
            post(bulk::take_of_index).put(bulk::take_of_index),
        )
        .route(
            "/apps/{appid}/{index}/{type}/_bulk",
            post(bulk::take_of_type).put(bulk::take_of_type),
        );
    if ways.otlp {
        routes = routes.route("/apps/{appid}/otlp/v1/logs", post(otlp::over_http));
    }
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ways)
}

#[derive(OpenApi)]
#[openapi(paths(
    push_to_several,
    push_to_one,
    bulk::info,
    bulk::license,
    bulk::take,
    bulk::take_of_index,
    bulk::take_of_type,
))]
pub(super) struct Document;

/// What is there when OpenTelemetry's records are taken.
#[derive(OpenApi)]
#[openapi(paths(otlp::over_http))]
pub(super) struct OtlpDocument;

/// The same at the origin's root.
#[derive(OpenApi)]
#[openapi(paths(otlp::over_grpc))]
pub(super) struct GrpcDocument;

/// OpenTelemetry over gRPC, whose path has no base.
pub fn grpc_routes(ways: Ways) -> Router {
    if !ways.otlp {
        return Router::new();
    }
    Router::new()
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            post(otlp::over_grpc),
        )
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ways)
}

/// Push records of several applications
///
/// For each record the token must grant `POST {base}/apps/{its appid}/log`.
#[utoipa::path(post, path = "/apps/log", tag = "push", security(("access_token" = [])),
    params(("Idempotency-Key" = inline(Option<limit::IdempotencyKey>), Header, description = "With it the same records, sent again, are stored once"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed")), request_body(content(
        (schema::Pushed = "application/json"),
        (String = "application/x-ndjson"),
    )), responses(
    (status = 202, description = "The records are durable", body = Accepted),
    (status = 413, response = super::openapi::Problem),
    (status = 415, response = super::openapi::Problem),
    (status = 429, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn push_to_several(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    take(&ways.push, caller, None, &headers, body).await
}

/// Push records of one application
#[utoipa::path(post, path = "/apps/{appid}/log", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Path, description = "The application's id"), ("Idempotency-Key" = inline(Option<limit::IdempotencyKey>), Header, description = "With it the same records, sent again, are stored once"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed")), request_body(content(
        (schema::Pushed = "application/json"),
        (String = "application/x-ndjson"),
    )), responses(
    (status = 202, description = "The records are durable", body = Accepted),
    (status = 413, response = super::openapi::Problem),
    (status = 415, response = super::openapi::Problem),
    (status = 429, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn push_to_one(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    Path(appid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let appid = parse_appid(&appid)?;
    take(&ways.push, caller, Some(appid), &headers, body).await
}

async fn take(
    push: &Arc<Push>,
    caller: Caller,
    appid: Option<Uuid>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if let Some(appid) = appid {
        check_grant(&caller, &appid)?;
    }
    let format = match media_type(headers).as_str() {
        "" | "application/json" => Format::Json,
        "application/x-ndjson" | "application/ndjson" => Format::Ndjson,
        other => {
            let detail =
                format!("media type {other}: expected application/json or application/x-ndjson");
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
    };
    let call = Call {
        subject: Arc::clone(&caller.subject),
        path: match appid {
            Some(appid) => format!("apps/{appid}/log"),
            None => "apps/log".to_owned(),
        },
        appid,
        key: idempotency_key(headers)?,
    };
    let bodies = push.bodies().map_err(problem)?;
    let received = bodies.receive(headers, body).await;
    let received = received.map_err(|error| problem(error.into()))?;
    let may_push = move |appid: &Uuid| caller.may_push(appid);
    let accepted = push
        .push(call, format, received, may_push)
        .await
        .map_err(problem)?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

fn parse_appid(text: &str) -> Result<Uuid, Problem> {
    let parsed = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    parsed.ok_or_else(|| {
        Problem::bad_request("appid: expected a UUID of 36 characters in the path").field("appid")
    })
}

fn check_grant(caller: &Caller, appid: &Uuid) -> Result<(), Problem> {
    if caller.may_push(appid) {
        return Ok(());
    }
    let appid = *appid;
    Err(problem(PushError::Forbidden {
        appid,
        record: None,
    }))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().filter(|_| values.next().is_none());
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(problem(PushError::Key)),
    }
}

fn problem(error: PushError) -> Problem {
    let detail = error.to_string();
    match error {
        PushError::Body(error) => body_problem(error),
        PushError::Record(error) => {
            let problem = Problem::malformed_record(error.record, error.field.clone(), detail);
            if error.field.is_empty() {
                return Problem::new(Kind::MalformedRecord, problem.detail()).record(error.record);
            }
            problem
        }
        PushError::TooLarge(_) => Problem::new(Kind::TooLarge, detail),
        PushError::Key => Problem::bad_request(detail).field("Idempotency-Key"),
        PushError::Forbidden { record, .. } => match record {
            Some(record) => Problem::forbidden(detail).record(record).field("appid"),
            None => Problem::forbidden(detail),
        },
        PushError::Rate { retry_after, .. } => {
            Problem::new(Kind::TooManyRequests, detail).retry_after(retry_after)
        }
        PushError::Buffer(error) => error.into(),
        PushError::SwitchedOff => Problem::new(Kind::SwitchedOff, detail).retry_after(SWITCHED_OFF),
        PushError::Stopping => Problem::unavailable(detail),
    }
}

/// Why a body was not read.
#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
pub(super) fn body_problem(error: BodyError) -> Problem {
    let detail = error.to_string();
    match error {
        BodyError::TooLarge { .. } => Problem::new(Kind::TooLarge, detail),
        BodyError::Encoding(_) => Problem::new(Kind::UnsupportedMediaType, detail),
        BodyError::Corrupt(_) | BodyError::Incomplete => Problem::bad_request(detail),
        BodyError::Busy => Problem::unavailable(detail).retry_after(RETRY_AFTER),
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        let problem = match error {
            AppendError::Full { .. } => Self::new(Kind::BufferFull, detail),
            AppendError::DiskFull => Self::new(Kind::DiskFull, detail),
            AppendError::Failed(_) | AppendError::Closed => {
                Self::unavailable("the buffer does not take records now")
            }
        };
        problem.retry_after(RETRY_AFTER)
    }
}
