//! Requests to a region: what may pass, and restricted to what.
//!
//! A request goes to the region's store as it is, unless the decision about
//! it carries a restriction: then it is read, rebuilt from what is known to be
//! harmless, and its answer is rebuilt the same way (see [`restricted`]).

mod answer;
mod cursor;
mod endpoint;
mod indices;
mod restricted;
mod seal;
mod turns;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use mscp_log_core::access::Visible;

use crate::config;
use crate::settings::Search;
use crate::store::Store;
use endpoint::Endpoint;
use restricted::Fault;
pub use seal::Sealing;
use turns::Turns;

/// Headers of a request that the store may see. No credential is among them,
/// nor anything that names another user or another way to route.
const TO_THE_STORE: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::USER_AGENT,
];

/// Headers of an answer that are the connection's, or that only the store's
/// own callers may see.
const NOT_FROM_THE_STORE: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    header::SERVER,
];

/// One installation of collectors, buffer and store, as far as it is asked.
pub struct Region {
    name: String,
    store: Arc<dyn Store>,
    sealing: Arc<Sealing>,
    turns: Turns,
    limits: ArcSwap<Search>,
    max_body_bytes: usize,
    max_expression_bytes: usize,
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One request below `base/{region}/log`.
#[derive(Debug)]
pub struct Ask {
    /// The method. Headers that would override it are not looked at.
    pub method: Method,
    /// The path behind `log`, decoded; of a canonical path.
    pub segments: Vec<String>,
    /// What stands behind the `?`, without a token.
    pub parameters: Option<String>,
    /// The headers, of which few go on.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Who asks.
    pub subject: Arc<str>,
    /// What of the log they may see.
    pub visible: Visible,
    /// Whether they may change the store.
    pub write: bool,
    /// Whether they may make the same request without an index in its path, so
    /// that it is no matter which indices its body names.
    pub everywhere: bool,
    /// Whether they may search all indices, so that it is no matter which ones
    /// a scroll or a point in time was opened with.
    pub searches_all: bool,
}

/// Why a request does not go to the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 403
    #[error("{0}")]
    Forbidden(String),
    /// 413, with the limit in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// 415
    #[error("{0}")]
    MediaType(String),
    /// 400: the body did not come in whole, or is not what its headers say.
    #[error("{0}")]
    Body(String),
    /// 429, with how many requests one subject may have open.
    #[error("there are {0} requests of this subject open already")]
    Busy(usize),
}

impl Refusal {
    /// As a metric's label.
    fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::TooLarge(_) => "too_large",
            Self::MediaType(_) => "media_type",
            Self::Body(_) => "body",
            Self::Busy(_) => "busy",
        }
    }
}

/// A read under a restriction, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The indices that were named, in each search; empty is all.
    pub indices: Vec<String>,
}

/// The outcome of [`Region::answer`].
#[derive(Debug)]
pub struct Answered {
    /// The answer of the store, or why it was not asked.
    pub response: Result<Response<Body>, Refusal>,
    /// What was read, where that was under a restriction.
    pub read: Option<Read>,
}

impl Region {
    /// A region of this name over its store.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        store: Arc<dyn Store>,
        limits: &config::Search,
        sealing: Arc<Sealing>,
    ) -> Self {
        let bytes = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            name: name.into(),
            store,
            sealing,
            turns: Turns::new(bytes(limits.max_concurrent_per_subject)),
            limits: ArcSwap::from_pointee(limits.into()),
            max_body_bytes: bytes(limits.max_body_bytes),
            max_expression_bytes: bytes(limits.max_expression_bytes),
        }
    }

    /// Bound requests and searches by `limits` from now on; those under way keep
    /// the limits that they began with.
    pub fn set_search(&self, limits: &Search) {
        let turns = limits.max_concurrent_per_subject;
        self.turns.set(usize::try_from(turns).unwrap_or(usize::MAX));
        self.limits.store(Arc::new(*limits));
        self.store.set_search(limits);
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answer one request: from the store as it is, or, under a restriction,
    /// so that nothing outside of it changes a byte of the answer but `took`.
    pub async fn answer(&self, ask: Ask) -> Answered {
        let segments: Vec<&str> = ask.segments.iter().map(String::as_str).collect();
        let endpoint = endpoint::classify(&ask.method, &segments);
        let (searched, begun) = (endpoint.searches(), Instant::now());
        let mut read = None;
        let response = match self.turns.take(&ask.subject) {
            None => Err(Refusal::Busy(self.turns.limit())),
            Some(turn) => {
                let answered = match &ask.visible {
                    Visible::All if endpoint == Endpoint::Change && !ask.write => {
                        Err(Refusal::Forbidden(format!(
                            "{} {} is none of the endpoints that only read, and the token grants no writing",
                            ask.method,
                            path(&ask.segments)
                        )))
                    }
                    _ if !ask.everywhere && endpoint::names_more_indices(&segments) => {
                        Err(Refusal::Forbidden(format!(
                            "the body of {} can name any index, and the token grants only this path; it \
                             must grant the endpoint without an index",
                            path(&ask.segments)
                        )))
                    }
                    Visible::All if !ask.searches_all => self.some(endpoint, ask, &mut read).await,
                    Visible::All => self.pass(ask).await,
                    Visible::Restricted(_) => self.restricted(endpoint, ask, &mut read).await,
                };
                // The turn ends with the answer's last byte.
                answered.map(|response| {
                    response.map(|body| {
                        Body::new(body.map_frame(move |frame| {
                            let _until_then = &turn;
                            frame
                        }))
                    })
                })
            }
        };
        match (&response, searched) {
            (Ok(_), Some(endpoint)) => metrics::histogram!("mscp_log_search_duration_seconds",
                "region" => self.name.clone(), "endpoint" => endpoint)
            .record(begun.elapsed()),
            (Ok(_), None) => {}
            (Err(refusal), _) => metrics::counter!("mscp_log_search_refused_requests_total",
                "region" => self.name.clone(), "reason" => refusal.reason())
            .increment(1),
        }
        Answered { response, read }
    }

    /// For one who may see all of some indices: as it is, but for the ids of
    /// scrolls and points in time, which would open others to them.
    async fn some(
        &self,
        endpoint: Endpoint,
        ask: Ask,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Refusal> {
        let scrolls = ask
            .parameters
            .as_deref()
            .is_some_and(|parameters| parameters.contains("scroll"));
        let answered = match endpoint {
            Endpoint::Cursor(endpoint) => {
                let answered = self.cursor(endpoint, ask, read).await;
                // What is not restricted is not audited as if it were.
                *read = None;
                answered
            }
            Endpoint::Search(_) if scrolls => self.first_page_of_some(ask).await,
            _ => return self.pass(ask).await,
        };
        answered.or_else(Fault::answer)
    }

    /// To the store and back, streamed.
    async fn pass(&self, ask: Ask) -> Result<Response<Body>, Refusal> {
        let length = ask
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max_body_bytes as u64) {
            return Err(Refusal::TooLarge(self.max_body_bytes));
        }
        let body = Body::new(Limited::new(ask.body, self.max_body_bytes));
        let mut headers = HeaderMap::new();
        for name in TO_THE_STORE {
            for value in ask.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let request = request(
            ask.method,
            &path(&ask.segments),
            ask.parameters.as_deref(),
            headers,
            body,
        );
        let mut response = self.store.call(request).await;
        for name in NOT_FROM_THE_STORE {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

/// The value of a parameter, percent-encoded.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~*,".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The path of a request to the store, written again from its segments.
fn path(segments: &[String]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        for byte in segment.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~*,@+:=".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

fn request(
    method: Method,
    path: &str,
    parameters: Option<&str>,
    headers: HeaderMap,
    body: Body,
) -> Request<Body> {
    let target = match parameters {
        Some(parameters) if !parameters.is_empty() => format!("{path}?{parameters}"),
        _ => path.to_owned(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Both came out of a URI, so together they are one.
    *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.headers_mut() = headers;
    request
}

/// An answer of ours in JSON, as the store would send it.
fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        "x-elastic-product",
        HeaderValue::from_static("Elasticsearch"),
    );
    response
}
