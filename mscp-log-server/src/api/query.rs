//! The passthrough under `base/{region}/log`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Router, http};
use mscp_log_core::access::{CanonicalPath, Decision, Method, Visible};

use super::App;
use super::access::{Caller, Door, Peer, RequestPath};
use super::body::method_not_allowed;
use super::problem::{Kind, Problem};
use crate::identity::{Entry, Outcome};
use crate::query::{Answered, Ask, Refusal};

/// How long one should wait who has too many requests open.
const BUSY: Duration = Duration::from_secs(1);

/// The endpoints, by their paths below the base.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/{region}/log", on(methods(), through))
        .route("/{region}/log/", on(methods(), through))
        .route("/{region}/log/{*rest}", on(methods(), through))
        .method_not_allowed_fallback(method_not_allowed)
}

/// Every method that a token can grant.
fn methods() -> MethodFilter {
    let of = |method| match method {
        Method::Get => MethodFilter::GET,
        Method::Head => MethodFilter::HEAD,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
        Method::Patch => MethodFilter::PATCH,
        Method::Options => MethodFilter::OPTIONS,
    };
    let [first, others @ ..] = Method::ALL.map(of);
    others.into_iter().fold(first, MethodFilter::or)
}

async fn through(
    State(app): State<Arc<App>>,
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    Extension(path): Extension<RequestPath>,
    request: Request,
) -> Response {
    let segments: Vec<&str> = door.base().below(&path.0).into_iter().flatten().collect();
    let (name, rest) = match segments.as_slice() {
        [name, "log", rest @ ..] => (*name, rest),
        _ => ("", &[][..]),
    };
    let Some(region) = app.regions.get(name) else {
        return Problem::not_found("this node serves no such region").into_response();
    };
    // Decided as the path that it is, so it is not answered as another.
    if path.0.has_trailing_slash() && !rest.is_empty() {
        return Problem::not_found("there is nothing at this path with a slash at its end")
            .into_response();
    }
    let (parts, body) = request.into_parts();
    let http::request::Parts {
        method,
        uri,
        headers,
        ..
    } = parts;
    let everywhere = everywhere(&door, &caller, &method, name, rest);
    let searches_all = searches_all(&door, &caller, name);
    let answered = region
        .answer(Ask {
            method,
            segments: rest.iter().map(|segment| (*segment).to_owned()).collect(),
            parameters: uri.query().map(str::to_owned),
            headers,
            body,
            subject: Arc::clone(&caller.subject),
            visible: caller.visible.clone(),
            write: caller.write,
            everywhere,
            searches_all,
        })
        .await;
    note(&door, &caller, peer, name, &answered);
    match answered.response {
        Ok(response) => response,
        Err(refusal) => problem(&refusal).into_response(),
    }
}

/// Whether the token grants as much of the same endpoint without an index.
fn everywhere(
    door: &Door,
    caller: &Caller,
    method: &http::Method,
    region: &str,
    rest: &[&str],
) -> bool {
    let [_index, endpoint @ ..] = rest else {
        return true;
    };
    let prefix = door.base().prefix();
    let path = CanonicalPath::parse(&format!("{prefix}/{region}/log/{}", endpoint.join("/")));
    let (Ok(method), Ok(path)) = (method.as_str().parse(), path) else {
        return false;
    };
    match caller.decide(method, &path) {
        Decision::Allowed { visible, write } => {
            let shows_as_much = visible == Visible::All || visible == caller.visible;
            shows_as_much && (write || !caller.write)
        }
        Decision::Denied => false,
    }
}

/// Whether the token grants searching all indices of the region as freely as
/// it grants this request.
fn searches_all(door: &Door, caller: &Caller, region: &str) -> bool {
    let path = format!("{}/{region}/log/_search", door.base().prefix());
    let Ok(path) = CanonicalPath::parse(&path) else {
        return false;
    };
    [Method::Post, Method::Get].into_iter().any(|method| {
        matches!(caller.decide(method, &path), Decision::Allowed { visible, .. }
            if visible == Visible::All || visible == caller.visible)
    })
}

/// Reads under a restriction go to the audit, and what it forbids.
fn note(door: &Door, caller: &Caller, Peer(address): Peer, region: &str, answered: &Answered) {
    let Visible::Restricted(restriction) = &caller.visible else {
        return;
    };
    let outcome = match &answered.response {
        Err(Refusal::Forbidden(_)) => Outcome::Refused,
        _ if answered.read.is_some() => Outcome::Done,
        _ => return,
    };
    let indices = answered.read.as_ref().map(|read| &read.indices);
    door.identity().note(Entry {
        subject: caller.subject.as_ref().to_owned(),
        address,
        action: "log.read",
        target: region.to_owned(),
        outcome,
        detail: serde_json::json!({ "restriction": restriction, "indices": indices }),
    });
}

fn problem(refusal: &Refusal) -> Problem {
    let kind = match refusal {
        Refusal::Forbidden(_) => Kind::Forbidden,
        Refusal::TooLarge(_) => Kind::TooLarge,
        Refusal::MediaType(_) => Kind::UnsupportedMediaType,
        Refusal::Body(_) => Kind::BadRequest,
        Refusal::Busy(_) => Kind::TooManyRequests,
    };
    let problem = Problem::new(kind, refusal.to_string());
    match refusal {
        Refusal::Busy(_) => problem.retry_after(BUSY),
        _ => problem,
    }
}
