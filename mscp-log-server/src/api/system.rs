//! `base/{region}/system/log`: settings, and what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue};
use mscp_log_core::access::Visible;
use serde_json::Value;
use utoipa::OpenApi;

use super::App;
use super::access::{Caller, Peer};
use super::body::{bytes, json, method_not_allowed, parse, unstored};
use super::problem::{Kind, Problem};
use crate::admin::change::{Administration, Asker, ChangeError, Changed};
use crate::admin::instances::{self, Instance, Report, ReportError};
use crate::admin::status::Status;
use crate::schema::{self, limit};
use crate::settings::{self, Revision};

/// The settings of each region that a node serves.
pub type Administrations = BTreeMap<String, Arc<Administration>>;

/// The endpoints of the role `api`, by their paths below the base.
pub fn routes(regions: Arc<Administrations>) -> Router {
    Router::new()
        .route("/{region}/system/log", get(shown).post(change))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(regions)
}

/// The status, of the role `api`.
pub fn status_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/{region}/system/log/status", get(status))
        .method_not_allowed_fallback(method_not_allowed)
}

/// Where instances report that have no database: of every node that has one.
pub fn instance_routes(regions: Arc<Administrations>) -> Router {
    Router::new()
        .route("/{region}/system/log/instances", get(running).post(report))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(regions)
}

#[derive(OpenApi)]
#[openapi(paths(shown, change, status, running, report))]
pub(super) struct Document;

fn of(regions: &Administrations, region: &str) -> Result<Arc<Administration>, Problem> {
    let found = regions.get(region).map(Arc::clone);
    found.ok_or_else(|| Problem::not_found("this node serves no such region"))
}

/// The settings that may be changed while nodes run
///
/// The document may be edited and sent back as it is.
#[utoipa::path(get, path = "/{region}/system/log", tag = "administration",
    operation_id = "settings", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region")), responses(
    (status = 200, description = "The settings", body = settings::Document,
        headers(("ETag" = String, description = "The revision"))),
    (status = 404, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn shown(
    State(regions): State<Arc<Administrations>>,
    Path(region): Path<String>,
) -> Result<Response, Problem> {
    let now = of(&regions, &region)?.current().await?;
    tagged(&now.revision, unstored(now.document()))
}

/// Change settings
///
/// Takes the settings, or a status, or what of them is to be changed. What is
/// not named stays, and what is not changed is not applied. With `revision` in
/// the document (409), or `If-Match` (412), a change that another has made
/// meanwhile is not written over.
#[utoipa::path(post, path = "/{region}/system/log", tag = "administration",
    operation_id = "change_settings", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region"),
        ("If-Match" = inline(Option<limit::IfMatch>), Header, description = "ETags of the settings that may be changed")),
    request_body = settings::Edited, responses(
    (status = 200, description = "What was changed", body = Changed,
        headers(("ETag" = String, description = "The revision"))),
    (status = 400, response = super::openapi::Problem),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
    (status = 412, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn change(
    State(regions): State<Arc<Administrations>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(address)): Extension<Peer>,
    Path(region): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let administration = of(&regions, &region)?;
    let document: Value = json(body).await?;
    let matching = matching(&headers)?;
    let asker = Asker {
        subject: caller.subject.as_ref().to_owned(),
        address,
    };
    // It goes on when the caller goes away.
    let change = async move {
        let changed = administration.change(&document, matching.as_deref(), &asker);
        changed.await
    };
    let changed = tokio::spawn(change).await;
    let changed = changed.map_err(|_| Problem::unavailable("the node is stopping"))??;
    let revision = changed.revision.parse().unwrap_or_default();
    tagged(&revision, unstored(changed))
}

/// The revisions of `If-Match` (RFC 9110 section 13.1.1); `None` is any.
fn matching(headers: &HeaderMap) -> Result<Option<Vec<Revision>>, Problem> {
    let mut wanted = None;
    for value in headers.get_all(IF_MATCH) {
        let wrong = || {
            let detail = "If-Match: expected * or ETags as an answer had them, such as \"7\"";
            Problem::bad_request(detail).field("If-Match")
        };
        let text = value.to_str().map_err(|_| wrong())?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Ok(None);
            }
            let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let quoted = quoted.ok_or_else(wrong)?;
            let tags: &mut Vec<Revision> = wanted.get_or_insert_default();
            // A tag that no settings ever had matches none.
            tags.extend(quoted.parse().ok());
        }
    }
    Ok(wanted)
}

fn tagged(revision: &Revision, mut response: Response) -> Result<Response, Problem> {
    let tag = HeaderValue::from_str(&format!("\"{revision}\""));
    let tag = tag.map_err(|_| Problem::new(Kind::Internal, "a revision is no ETag"))?;
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

/// How the system does
///
/// An array of one status, as the original has it. Every part is measured when
/// it is asked for, within 2 s in all; what cannot be measured is `null`, with a
/// reason. It may be edited and sent as settings.
#[utoipa::path(get, path = "/{region}/system/log/status", tag = "administration",
    operation_id = "status", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region")), responses(
    (status = 200, description = "The status", body = Vec<Status>),
    (status = 404, response = super::openapi::Problem),
))]
async fn status(
    State(app): State<Arc<App>>,
    Path(region): Path<String>,
) -> Result<Response, Problem> {
    let observatory = app.observatories.get(&region);
    let observatory =
        observatory.ok_or_else(|| Problem::not_found("this node serves no such region"))?;
    Ok(unstored([observatory.measure().await]))
}

/// The instances that were heard of within a day
#[utoipa::path(get, path = "/{region}/system/log/instances", tag = "administration",
    operation_id = "instances", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region")), responses(
    (status = 200, description = "The instances, by node", body = Vec<Instance>),
    (status = 404, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn running(
    State(regions): State<Arc<Administrations>>,
    Path(region): Path<String>,
) -> Result<Response, Problem> {
    let administration = of(&regions, &region)?;
    let instances = instances::list(administration.database(), &region).await?;
    Ok(unstored(instances))
}

/// Report an instance that has no database, and read the settings
///
/// For agents, each 5 seconds. A token that is restricted to machines
/// (`hostname`) reports these only.
#[utoipa::path(post, path = "/{region}/system/log/instances", tag = "administration",
    operation_id = "report_instance", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region")),
    request_body = Report, responses(
    (status = 200, description = "The settings that agents obey", body = schema::AgentSettings),
    (status = 400, response = super::openapi::Problem),
    (status = 404, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn report(
    State(regions): State<Arc<Administrations>>,
    Extension(caller): Extension<Caller>,
    Path(region): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let administration = of(&regions, &region)?;
    let body = bytes(body).await?;
    if body.len() > instances::MAX_BYTES {
        let detail = format!("a report has at most {} bytes", instances::MAX_BYTES);
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    let report: Report = parse(&body)?;
    if let Visible::Restricted(restrictions) = &caller.visible {
        let allows = |it: &mscp_log_core::access::Restriction| it.allows("hostname", &report.node);
        if !restrictions.iter().any(allows) {
            let detail = format!("the token does not grant reports of node {:?}", report.node);
            return Err(Problem::forbidden(detail).field("node"));
        }
    }
    instances::take(administration.database(), &region, &report).await?;
    let kept = settings::kept(administration.database(), &region).await?;
    let mut response = Json(kept.answer()).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Invalid(wrong) => {
                let first = wrong.into_iter().next().map(|wrong| wrong.pointer);
                Self::bad_request(detail).field(first.unwrap_or_default())
            }
            ChangeError::Stale(_) | ChangeError::Refused { .. } => {
                Self::new(Kind::Conflict, detail)
            }
            ChangeError::Precondition(_) => Self::new(Kind::PreconditionFailed, detail),
            ChangeError::Busy => Self::unavailable(detail),
            ChangeError::Database(error) => error.into(),
        }
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        let detail = error.to_string();
        match error {
            ReportError::Invalid { field, .. } => Self::bad_request(detail).field(field),
            ReportError::TooMany => Self::new(Kind::TooManyRequests, detail),
            ReportError::Database(error) => error.into(),
        }
    }
}
