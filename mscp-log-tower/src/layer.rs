//! The layer and the service that it makes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, REFERER, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use mscp_log_core::access::{Base, CanonicalPath, Decision, Method, Visible};
use mscp_log_core::token::{Claims, Verified};
use tower_layer::Layer;
use tower_service::Service;

use crate::credential;
use crate::keys::Keys;

const CHALLENGE: &str = "Bearer realm=\"mscp-log\"";
const CHALLENGE_INVALID: &str = "Bearer realm=\"mscp-log\", error=\"invalid_token\"";

/// Who called, and what was decided of the request; in its extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is: the token's `user_id`, behind `platform:` for tokens of the wider platform.
    pub subject: Arc<str>,
    /// What the token says.
    pub claims: Arc<Claims>,
    /// What of the log the request may see; everything outside of `base/{region}/log`, as a rule
    /// with a restriction matches nothing else.
    pub visible: Visible,
    /// Whether a rule without a restriction gives `other.log.write`.
    pub write: bool,
}

type IsOpen = dyn Fn(Method, &CanonicalPath) -> bool + Send + Sync;

/// Puts a [`Guard`] in front of a service.
#[derive(Clone)]
pub struct GuardLayer {
    keys: Arc<dyn Keys>,
    base: Arc<Base>,
    is_open: Arc<IsOpen>,
    jwt_parameter: bool,
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl GuardLayer {
    /// Tokens are verified with `keys`; `{mscp_api_url}` in their rules means `base`. Every
    /// request needs one.
    #[must_use]
    pub fn new(keys: impl Keys, base: Base) -> Self {
        Self {
            keys: Arc::new(keys),
            base: Arc::new(base),
            is_open: Arc::new(|_, _| false),
            jwt_parameter: true,
        }
    }

    /// Requests for which `is_open` holds need no token, and have no [`Caller`].
    ///
    /// ```
    /// # use mscp_log_core::{access::{Base, Method}, token::{Key, Policy, Verifier}};
    /// # use mscp_log_tower::GuardLayer;
    /// # let keys = Verifier::new(Vec::new(), Policy::Mscp, 0);
    /// let layer = GuardLayer::new(keys, Base::new("/shop", None)?)
    ///     .open(|method, path| method == Method::Get && path.as_str() == "/healthz");
    /// # Ok::<(), mscp_log_core::access::BaseError>(())
    /// ```
    #[must_use]
    pub fn open(
        mut self,
        is_open: impl Fn(Method, &CanonicalPath) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_open = Arc::new(is_open);
        self
    }

    /// Whether a token may come as the URL parameter `jwt`; it may unless set. Tokens in URLs end
    /// up in the logs of proxies.
    #[must_use]
    pub fn jwt_parameter(mut self, allowed: bool) -> Self {
        self.jwt_parameter = allowed;
        self
    }

    /// The request as what lies behind may see it.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let path = CanonicalPath::parse(request.uri().path())
            .map_err(|error| Refusal::BadPath(error.to_string()))?;
        let (query, parameter) = credential::take_parameter(request.uri().query());
        *request.uri_mut() = rewritten(request.uri(), &path, query.as_deref())?;
        // The address of the page before may hold a token too.
        request.headers_mut().remove(REFERER);
        let method: Method = (request.method().as_str().parse()).map_err(|_| Refusal::Method)?;
        let found = credential::find(request.headers(), parameter, self.jwt_parameter);
        request.headers_mut().remove(AUTHORIZATION);
        if (self.is_open)(method, &path) {
            return Ok(());
        }
        let refuse = |detail: &str| Refusal::Unauthorized(detail.to_owned(), CHALLENGE);
        let credential = found.map_err(refuse)?;
        let credential = credential.ok_or_else(|| refuse("a token is needed"))?;
        let verified = (self.keys.verify(credential.token(), now_s()))
            .map_err(|error| Refusal::Unauthorized(error.to_string(), CHALLENGE_INVALID))?;
        let caller = self.decide(verified, method, &path)?;
        request.extensions_mut().insert(caller);
        Ok(())
    }

    fn decide(
        &self,
        verified: Verified,
        method: Method,
        path: &CanonicalPath,
    ) -> Result<Caller, Refusal> {
        let Some(access) = &verified.claims.access else {
            let detail = "this is a root token; it is good for asking for an access token only";
            return Err(Refusal::Forbidden(detail.to_owned()));
        };
        match access.decide(&self.base, method, path) {
            Decision::Allowed { visible, write } => Ok(Caller {
                subject: verified.subject().into(),
                claims: Arc::new(verified.claims),
                visible,
                write,
            }),
            Decision::Denied => Err(Refusal::Forbidden(format!(
                "the token does not grant {method} {path}"
            ))),
        }
    }
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// The URI with the canonical path and what is left of the query.
fn rewritten(uri: &Uri, path: &CanonicalPath, query: Option<&str>) -> Result<Uri, Refusal> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    let bad = || Refusal::BadPath("the query has bytes that no URI can have".to_owned());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| bad())?);
    Uri::from_parts(parts).map_err(|_| bad())
}

/// Why a request goes no further.
enum Refusal {
    BadPath(String),
    Method,
    Unauthorized(String, &'static str),
    Forbidden(String),
}

impl Refusal {
    fn answer<B: From<String>>(self) -> Response<B> {
        let (status, name, title, detail, header) = match self {
            Self::BadPath(detail) => {
                let title = "The path is not canonical";
                (StatusCode::BAD_REQUEST, "bad-path", title, detail, None)
            }
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not taken here",
                format!("expected {METHODS}"),
                Some((ALLOW, METHODS)),
            ),
            Self::Unauthorized(detail, challenge) => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A valid token is needed",
                detail,
                Some((WWW_AUTHENTICATE, challenge)),
            ),
            Self::Forbidden(detail) => {
                let title = "The token does not grant this";
                (StatusCode::FORBIDDEN, "forbidden", title, detail, None)
            }
        };
        let body = serde_json::json!({
            "type": format!("/problems/{name}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
        });
        let mut response = Response::new(B::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            layer: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`GuardLayer`]. The body of its answers must be made of a text, as axum's
/// `Body` and `http_body_util::Full<Bytes>` can be.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    layer: GuardLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.admit(&mut request) {
            Ok(()) => Answer::Inner {
                future: self.inner.call(request),
            },
            Err(refusal) => Answer::Refused {
                response: Some(refusal.answer()),
            },
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of the service, or of the guard.
    #[project = Projected]
    #[derive(Debug)]
    pub enum Answer<F, R> {
        /// The service's.
        #[doc(hidden)]
        Inner {
            #[pin]
            future: F,
        },
        /// The guard's.
        #[doc(hidden)]
        Refused { response: Option<Response<R>> },
    }
}

impl<F, R, E> Future for Answer<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Inner { future } => future.poll(context),
            Projected::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}
