//! Pages of other origins (CORS, as the Fetch standard has it), where
//! `http.cors_origins` names them.
//!
//! This stands in front of the door, since a browser's preflight carries no
//! token. `tower_http`'s layer is not used as it answers every `OPTIONS`, also
//! one that is no preflight or that an origin sends which is not named; here
//! those go to the door as everything does.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};

#[cfg(test)]
mod tests;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What a page may send. Nothing allows credentials: the only cookie is for
/// the pages of this origin.
const SENT: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Content-Encoding, Idempotency-Key, X-Requested-With",
);
/// What a page may read beside what each may read.
const READ: HeaderValue =
    HeaderValue::from_static("Retry-After, WWW-Authenticate, X-Elastic-Product");
/// How long a browser need not ask again, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// The origins whose pages may call.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: BTreeSet<String>,
}

impl Cors {
    /// These origins and no other; with none, CORS is off.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self {
            origins: origins.iter().map(|origin| as_sent(origin)).collect(),
        }
    }

    /// Puts this in front of everything in `inside`.
    pub fn guard(self, inside: Router) -> Router {
        if self.origins.is_empty() {
            return inside;
        }
        inside.layer(from_fn_with_state(Arc::new(self), pass))
    }

    /// The request's origin, where it is one of these.
    fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut sent = headers.get_all(ORIGIN).iter();
        let origin = sent.next().filter(|_| sent.next().is_none())?;
        let text = origin.to_str().ok()?;
        self.origins.contains(text).then(|| origin.clone())
    }
}

/// As browsers write an origin: in lower case, without the scheme's own port.
fn as_sent(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let own_port = if origin.starts_with("https:") {
        ":443"
    } else {
        ":80"
    };
    match origin.strip_suffix(own_port) {
        Some(without) => without.to_owned(),
        None => origin,
    }
}

async fn pass(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    let origin = cors.listed(request.headers());
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if is_preflight => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    // Also where the origin is not named: a cache must not give that answer to
    // a page whose origin is.
    headers.append(VARY, VARY_ORIGIN);
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        }
    }
    response
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    response
}
