//! What is measured of every request. Its path is in no metric, as a caller
//! could choose any; the route that answered is.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::Method;

/// The route of a request that the door let in, told beside the answer;
/// without a path where nothing is.
#[derive(Clone)]
struct Route(Option<MatchedPath>);

/// Let each answer of `inside` say which route it is from.
pub(super) fn name_routes(inside: Router) -> Router {
    inside.layer(from_fn(named))
}

async fn named(request: Request, next: Next) -> Response {
    let route = Route(request.extensions().get().cloned());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(route);
    response
}

/// Count and time every request that comes to `routes`, whose API is below
/// `prefix`.
pub(super) fn measured(routes: Router, prefix: &str) -> Router {
    routes.layer(from_fn_with_state(Arc::<str>::from(prefix), measure))
}

async fn measure(State(prefix): State<Arc<str>>, request: Request, next: Next) -> Response {
    let method = known(request.method());
    let begun = Instant::now();
    let response = {
        let _open = Open::new();
        next.run(request).await
    };
    let route = match response.extensions().get::<Route>() {
        Some(Route(Some(path))) => {
            let path = path.as_str();
            path.strip_prefix(&*prefix).unwrap_or(path).to_owned()
        }
        Some(Route(None)) => "none".to_owned(),
        None => "door".to_owned(),
    };
    let status = response.status().as_str().to_owned();
    metrics::histogram!("mscp_log_http_request_duration_seconds", "route" => route.clone())
        .record(begun.elapsed());
    metrics::counter!("mscp_log_http_requests_total",
        "route" => route, "method" => method, "status" => status)
    .increment(1);
    response
}

/// A request without an answer. It may also end because its peer goes away.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let open = metrics::gauge!("mscp_log_http_open_requests");
        open.increment(1.0);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
