//! Elasticsearch's `_bulk` and the handshake of its senders, answered in
//! Elasticsearch's form.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::super::access::Caller;
use super::{Ways, check_grant, parse_appid, problem};
use crate::api::problem::{Body9457, Problem};
use crate::ingest::body::media_type;
use crate::ingest::bulk::{self, BulkError, Item};
use crate::schema::limit;

/// Push with `_bulk`
///
/// Elasticsearch's form, of which `index` and `create` are taken; items that
/// are at fault fail alone. The name of an index is not looked at.
#[utoipa::path(method(post, put), path = "/apps/{appid}/_bulk", operation_id = "bulk", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Path, description = "The application's id"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed")), request_body(content((String = "application/x-ndjson"))), responses(
    (status = 200, description = "What became of each item, in Elasticsearch's form", body = serde_json::Value),
    (status = "4XX", description = "Refused, in Elasticsearch's form; or by the door", content(
        (serde_json::Value = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
    (status = 503, description = "Not taken now, in Elasticsearch's form", body = serde_json::Value),
))]
pub(super) async fn take(
    ways: State<Ways>,
    caller: Extension<Caller>,
    Path(appid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(take_items(ways, caller, &appid, None, &headers, body).await)
}

/// Push with `_bulk` to an index
///
/// Elasticsearch's form, of which `index` and `create` are taken; items that
/// are at fault fail alone. The name of an index is not looked at.
#[utoipa::path(method(post, put), path = "/apps/{appid}/{index}/_bulk", operation_id = "bulk_to_index", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Path, description = "The application's id"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed"), ("index" = inline(limit::Segment), Path, description = "An index's name")), request_body(content((String = "application/x-ndjson"))), responses(
    (status = 200, description = "What became of each item, in Elasticsearch's form", body = serde_json::Value),
    (status = "4XX", description = "Refused, in Elasticsearch's form; or by the door", content(
        (serde_json::Value = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
    (status = 503, description = "Not taken now, in Elasticsearch's form", body = serde_json::Value),
))]
pub(super) async fn take_of_index(
    ways: State<Ways>,
    caller: Extension<Caller>,
    Path((appid, index)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(take_items(ways, caller, &appid, Some(index), &headers, body).await)
}

/// Push with `_bulk` as senders of Elasticsearch 6 and before write it
///
/// Elasticsearch's form, of which `index` and `create` are taken; items that
/// are at fault fail alone. The name of an index is not looked at.
#[utoipa::path(method(post, put), path = "/apps/{appid}/{index}/{type}/_bulk", operation_id = "bulk_to_type", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Path, description = "The application's id"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed"), ("index" = inline(limit::Segment), Path, description = "An index's name"), ("type" = inline(limit::Segment), Path, description = "A type's name")), request_body(content((String = "application/x-ndjson"))), responses(
    (status = 200, description = "What became of each item, in Elasticsearch's form", body = serde_json::Value),
    (status = "4XX", description = "Refused, in Elasticsearch's form; or by the door", content(
        (serde_json::Value = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
    (status = 503, description = "Not taken now, in Elasticsearch's form", body = serde_json::Value),
))]
pub(super) async fn take_of_type(
    ways: State<Ways>,
    caller: Extension<Caller>,
    Path((appid, index, _)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(take_items(ways, caller, &appid, Some(index), &headers, body).await)
}

/// Who is there, for senders of `_bulk`
#[utoipa::path(get, path = "/apps/{appid}", operation_id = "bulk_info", tag = "push", security(("access_token" = [])), params(("appid" = Uuid, Path, description = "The application's id")), responses(
    (status = 200, description = "The version, in Elasticsearch's form", body = serde_json::Value),
    (status = "4XX", description = "Refused, in Elasticsearch's form; or by the door", content(
        (serde_json::Value = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
))]
pub(super) async fn info(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    Path(appid): Path<String>,
) -> Response {
    let granted = parse_appid(&appid).and_then(|appid| check_grant(&caller, &appid));
    let (major, minor, patch) = ways.version;
    answer(granted.map_err(Refused::Problem).map(|()| {
        json!({
            "name": "mscp-log",
            "cluster_name": "mscp-log",
            "cluster_uuid": "_na_",
            "version": {
                "number": format!("{major}.{minor}.{patch}"),
                "build_flavor": "default",
                "build_type": "tar",
                "build_hash": "unknown",
                "build_date": "1970-01-01T00:00:00.000Z",
                "build_snapshot": false,
                "lucene_version": "9.0.0",
                "minimum_wire_compatibility_version": format!("{major}.0.0"),
                "minimum_index_compatibility_version": format!("{major}.0.0"),
            },
            "tagline": "You Know, for Search",
        })
    }))
}

/// The licence, for senders of `_bulk`
#[utoipa::path(get, path = "/apps/{appid}/_license", operation_id = "bulk_license", tag = "push", security(("access_token" = [])), params(("appid" = Uuid, Path, description = "The application's id")), responses(
    (status = 200, description = "A constant, in Elasticsearch's form", body = serde_json::Value),
    (status = "4XX", description = "Refused, in Elasticsearch's form; or by the door", content(
        (serde_json::Value = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
))]
pub(super) async fn license(
    Extension(caller): Extension<Caller>,
    Path(appid): Path<String>,
) -> Response {
    let granted = parse_appid(&appid).and_then(|appid| check_grant(&caller, &appid));
    answer(granted.map_err(Refused::Problem).map(|()| {
        json!({"license": {
            "status": "active",
            "uid": "00000000-0000-0000-0000-000000000000",
            "type": "basic",
            "issue_date": "1970-01-01T00:00:00.000Z",
            "issue_date_in_millis": 0,
            "max_nodes": 1000,
            "issued_to": "mscp-log",
            "issuer": "mscp-log",
            "start_date_in_millis": -1,
        }})
    }))
}

/// Why a request was not taken.
enum Refused {
    Problem(Problem),
    Malformed(String),
}

async fn take_items(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    appid: &str,
    index: Option<String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Value, Refused> {
    let started = std::time::Instant::now();
    let appid = parse_appid(appid).map_err(Refused::Problem)?;
    check_grant(&caller, &appid).map_err(Refused::Problem)?;
    if !is_taken(&media_type(headers)) {
        let detail = "media type: expected application/x-ndjson or application/json";
        let kind = crate::api::problem::Kind::UnsupportedMediaType;
        return Err(Refused::Problem(Problem::new(kind, detail)));
    }
    let bodies = ways.push.bodies();
    let bodies = bodies.map_err(|error| Refused::Problem(problem(error)))?;
    let received = bodies.receive(headers, body).await;
    let received = received.map_err(|error| Refused::Problem(problem(error.into())))?;
    let taken = bulk::take(&ways.push, caller.subject, appid, received).await;
    let items = taken.map_err(|error| match error {
        BulkError::Push(error) => Refused::Problem(problem(error)),
        BulkError::Malformed(reason) => Refused::Malformed(reason),
    })?;
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json!({
        "took": took,
        "errors": items.iter().any(|item| item.fault.is_some()),
        "items": items.iter().map(|item| result(item, index.as_deref())).collect::<Vec<_>>(),
    }))
}

/// Elasticsearch takes its own media types with versions too.
fn is_taken(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/json"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/vnd.elasticsearch+json"
            | "application/vnd.elasticsearch+x-ndjson"
    )
}

fn result(item: &Item, index: Option<&str>) -> Value {
    let index = item.index.as_deref().or(index).unwrap_or("mscp-log");
    let result = match &item.fault {
        None => json!({
            "_index": index,
            "_id": item.id,
            "_version": 1,
            "result": "created",
            "_shards": {"total": 1, "successful": 1, "failed": 0},
            "_seq_no": 0,
            "_primary_term": 1,
            "status": 201,
        }),
        Some((kind, reason)) => json!({
            "_index": index,
            "_id": item.id,
            "status": 400,
            "error": {"type": kind, "reason": reason},
        }),
    };
    json!({ item.operation.as_str(): result })
}

fn answer(result: Result<Value, Refused>) -> Response {
    let mut response = match result {
        Ok(body) => Json(body).into_response(),
        Err(Refused::Malformed(reason)) => error(
            StatusCode::BAD_REQUEST,
            "illegal_argument_exception",
            &reason,
        ),
        Err(Refused::Problem(problem)) => {
            let status = problem.kind().status();
            let kind = match status {
                StatusCode::FORBIDDEN => "security_exception",
                StatusCode::PAYLOAD_TOO_LARGE => "content_too_long_exception",
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    "es_rejected_execution_exception"
                }
                _ => "illegal_argument_exception",
            };
            let mut response = error(status, kind, problem.detail());
            let wait = problem.into_response().headers().get(RETRY_AFTER).cloned();
            if let Some(wait) = wait {
                response.headers_mut().insert(RETRY_AFTER, wait);
            }
            response
        }
    };
    response.headers_mut().insert(
        "x-elastic-product",
        HeaderValue::from_static("Elasticsearch"),
    );
    response
}

fn error(status: StatusCode, kind: &str, reason: &str) -> Response {
    let cause = json!({"type": kind, "reason": reason});
    let body = json!({
        "error": {"root_cause": [cause], "type": kind, "reason": reason},
        "status": status.as_u16(),
    });
    (status, Json(body)).into_response()
}
