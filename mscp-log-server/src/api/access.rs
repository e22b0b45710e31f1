//! The one door: every request meets it before it is routed. It makes the path
//! canonical, takes the token out of the request, verifies it and decides; what
//! lies behind gets a [`Caller`], never a token.

#[cfg(test)]
pub(super) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, REFERER};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use mscp_log_core::access::{
    Access, Base, CanonicalPath, Decision, Method, RESERVED_REGIONS, Visible,
};
use mscp_log_core::token::{Claims, Verified};
use mscp_log_tower::credential::{self, Credential};

use crate::config::{self, Network};
use crate::identity::{self, Entry, Identity, Outcome};

use super::problem::{Kind, Problem};

/// The cookie that holds the web UI's root token.
pub const SESSION_COOKIE: &str = "mscp_log_session";

/// A header that pages send with their requests and that a form or a link of
/// another site cannot: with it, challenges open no dialogue, and the session
/// cookie is looked at.
pub const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The challenge of everything that takes a token (RFC 6750 section 3).
pub const CHALLENGE_BEARER: &str = "Bearer realm=\"mscp-log\"";
/// The same, after a token that does not verify.
const CHALLENGE_INVALID: &str = "Bearer realm=\"mscp-log\", error=\"invalid_token\"";
/// The challenge of what takes a password (RFC 7617).
pub const CHALLENGE_BASIC: &str = "Basic realm=\"mscp-log\", charset=\"UTF-8\"";

/// OTLP over gRPC comes under the service's own path; the app is in its metadata.
const OTLP_GRPC: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// As many bytes of a request's path go to the audit. Canonical paths are ASCII.
const MAX_AUDITED_PATH: usize = 256;

/// What the door needs to know.
#[derive(Debug)]
pub struct Door {
    identity: Arc<Identity>,
    base: Arc<Base>,
    regions: Vec<String>,
    jwt_parameter: bool,
    trusted_proxies: Vec<Network>,
    secure_cookie: bool,
}

impl Door {
    /// A door for this installation; `regions` are the names that the node serves.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        http: &config::Http,
        regions: impl IntoIterator<Item = String>,
    ) -> Self {
        let behind_tls = http
            .public_url
            .as_deref()
            .is_some_and(|url| url.starts_with("https:"));
        Self {
            base: Arc::new(identity.base().clone()),
            identity,
            regions: regions.into_iter().collect(),
            jwt_parameter: http.jwt_parameter,
            trusted_proxies: http.trusted_proxies.clone(),
            secure_cookie: http.tls_cert.is_some() || behind_tls,
        }
    }

    /// Puts the door before everything in `inside`, which is routed by the
    /// canonical path only.
    pub fn guard(self: Arc<Self>, inside: Router) -> Router {
        Router::new()
            .fallback_service(inside)
            .layer(from_fn_with_state(self, pass))
    }

    /// Accounts, tokens and keys.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What `{mscp_api_url}` means here.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The regions that the node serves.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Whether cookies may travel over TLS only.
    #[must_use]
    pub fn secure_cookie(&self) -> bool {
        self.secure_cookie
    }

    /// Who sent the request: the peer, or the last address in
    /// `X-Forwarded-For` that is no trusted proxy, where the peer is one.
    fn peer(&self, request: &Request) -> Option<IpAddr> {
        let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let mut address = connected.map(|ConnectInfo(peer)| peer.ip().to_canonical())?;
        let trusted = |address: IpAddr| self.trusted_proxies.iter().any(|n| n.contains(address));
        let hops: Vec<&str> = request
            .headers()
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in hops.into_iter().rev() {
            if !trusted(address) {
                break;
            }
            let Some(before) = forwarded(hop.trim()) else {
                break;
            };
            address = before;
        }
        Some(address)
    }

    fn verify(&self, token: &str) -> Result<Verified, Problem> {
        self.identity
            .verify(token, crate::clock::now_s())
            .map_err(|error| {
                metrics::counter!("mscp_log_auth_refused_tokens_total").increment(1);
                Problem::unauthorized(error.to_string(), CHALLENGE_INVALID)
            })
    }
}

/// An address with or without a port, as proxies write it.
fn forwarded(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>();
    let with_port = || hop.parse::<SocketAddr>().map(|socket| socket.ip());
    address
        .or_else(|_| with_port())
        .ok()
        .map(|ip| ip.to_canonical())
}

/// Where the request came from, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

/// The path by which the request was decided and routed.
#[derive(Debug, Clone)]
pub struct RequestPath(pub Arc<CanonicalPath>);

/// Who called, and what was decided of this request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account's id; for tokens of the wider platform behind `platform:`.
    pub subject: Arc<str>,
    /// What the token says.
    pub claims: Arc<Claims>,
    /// Whether the subject is of the wider platform, and no account here.
    pub platform: bool,
    /// What of the log this request may see. Behind the paths where the handler
    /// decides (pushes, and the handshake of a region) it may be nothing:
    /// restricted to an empty list.
    pub visible: Visible,
    /// Whether this request may change the store.
    pub write: bool,
    base: Arc<Base>,
}

impl Caller {
    /// Whether the token grants the method on a path, given as in a request.
    #[must_use]
    pub fn may(&self, method: Method, path: &str) -> bool {
        CanonicalPath::parse(path).is_ok_and(|path| self.decide(method, &path).is_allowed())
    }

    /// The decision on another request.
    #[must_use]
    pub fn decide(&self, method: Method, path: &CanonicalPath) -> Decision {
        match &self.claims.access {
            Some(access) => access.decide(&self.base, method, path),
            None => Decision::Denied,
        }
    }

    /// Whether the token grants pushing records of the app. On every path by
    /// which records come in this and nothing else is what counts, for each record.
    #[must_use]
    pub fn may_push(&self, appid: &uuid::Uuid) -> bool {
        let path = format!("{}/apps/{}/log", self.base.prefix(), appid.hyphenated());
        self.may(Method::Post, &path)
    }

    /// Whether the token grants every method on every path, with `write`: what
    /// the first administrator has.
    #[must_use]
    pub fn grants_everything(&self) -> bool {
        let access = self.claims.access.as_ref();
        access.is_some_and(|access| identity::everything().is_within(access, &self.base))
    }

    /// Whether the token grants anything below the base and these segments.
    #[must_use]
    pub fn grants_any_below(&self, prefix: &[&str]) -> bool {
        let access = self.claims.access.as_ref();
        access.is_some_and(|access| access.grants_any_below(&self.base, prefix))
    }
}

/// Why a request does not go on as it came.
enum Turned {
    /// It is refused.
    Away(Problem),
    /// Nobody may use its method there. What the path takes (RFC 9110 section
    /// 15.5.6) the rooms behind know: they are asked by a request that has the
    /// method and the path alone.
    Method(http::Method, Uri),
}

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self::Away(problem)
    }
}

/// The layer itself.
async fn pass(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let bare = match door.admit(request) {
        Ok(request) => return next.run(request).await,
        Err(Turned::Away(problem)) => return problem.into_response(),
        Err(Turned::Method(method, uri)) => {
            let mut bare = Request::default();
            *bare.method_mut() = method;
            *bare.uri_mut() = uri;
            bare
        }
    };
    let answer = next.run(bare).await;
    match answer.status() {
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => answer,
        // Whatever it is, it is not for one who showed nothing.
        _ => {
            Problem::new(Kind::MethodNotAllowed, "nobody may use this method here").into_response()
        }
    }
}

impl Door {
    /// The request as the rooms behind the door may see it.
    fn admit(self: &Arc<Self>, mut request: Request) -> Result<Request, Turned> {
        let path = CanonicalPath::parse(request.uri().path())
            .map_err(|error| Problem::new(Kind::BadPath, error.to_string()))?;
        let (query, parameter) = credential::take_parameter(request.uri().query());
        *request.uri_mut() = rewritten(request.uri(), &path, query.as_deref())?;
        // The address of the page before may hold a token too.
        request.headers_mut().remove(REFERER);

        let method = request.method().as_str().parse::<Method>();
        let method = method
            .ok()
            .map(|method| (method, Place::of(self.base(), method, &path)));
        let Some((method, place)) = method.filter(|(_, place)| *place != Place::Shut) else {
            let (parts, _) = request.into_parts();
            return Err(Turned::Method(parts.method, parts.uri));
        };
        let peer = self.peer(&request);
        if place != Place::Open {
            let asked = Asked {
                method,
                path: &path,
                place,
                peer,
            };
            let caller = self.caller(&asked, parameter, request.headers())?;
            // What authenticates is not for the rooms behind.
            request.headers_mut().remove(AUTHORIZATION);
            request.headers_mut().remove(COOKIE);
            request.extensions_mut().insert(caller);
        }
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(self));
        extensions.insert(Peer(peer));
        extensions.insert(RequestPath(Arc::new(path)));
        Ok(request)
    }

    fn caller(
        &self,
        asked: &Asked<'_>,
        parameter: credential::Parameter,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let refuse = |detail: &str| Problem::unauthorized(detail, CHALLENGE_BEARER);
        let explicit = credential::find(headers, parameter, self.jwt_parameter).map_err(refuse)?;
        let credential = match explicit {
            Some(credential) => credential,
            None if asked.place == Place::Root && headers.contains_key(REQUESTED_WITH) => {
                let cookie = credential::cookie(headers, SESSION_COOKIE);
                cookie.ok_or_else(|| refuse("a token or a session is needed"))?
            }
            None => return Err(refuse("a token is needed")),
        };
        let verified = self.verify(credential.token())?;
        self.decide(asked, &verified, &credential)
            .inspect_err(|problem| self.note(asked, &verified, problem))
            .map(|(visible, write)| self.let_in(verified, visible, write))
    }

    fn decide(
        &self,
        asked: &Asked<'_>,
        verified: &Verified,
        credential: &Credential,
    ) -> Result<(Visible, bool), Problem> {
        let nothing = (Visible::Restricted(Vec::new()), false);
        let Some(access) = &verified.claims.access else {
            return match (asked.place, credential) {
                (Place::Root, Credential::Token(_) | Credential::Session(_)) => Ok(nothing),
                (Place::Root, Credential::Static(_)) => Err(Problem::forbidden(
                    "a root token is taken as Bearer or as it is only",
                )),
                _ => Err(Problem::forbidden(
                    "this is a root token; it is good for asking for an access token only",
                )),
            };
        };
        if asked.place == Place::Root {
            let detail = "this is an access token; a root token is needed here";
            return Err(Problem::forbidden(detail));
        }
        let Asked { method, path, .. } = *asked;
        match access.decide(self.base(), method, path) {
            Decision::Allowed { visible, write } => Ok((visible, write)),
            Decision::Denied => match asked.place {
                Place::Push => Ok(nothing),
                Place::Handshake if self.any_below(access, path) => Ok(nothing),
                _ => Err(Problem::forbidden(format!(
                    "the token does not grant {method} {path}"
                ))),
            },
        }
    }

    /// A refusal of one who is known goes to the audit.
    fn note(&self, asked: &Asked<'_>, verified: &Verified, problem: &Problem) {
        let mut target = format!("{} {}", asked.method, asked.path);
        target.truncate(MAX_AUDITED_PATH);
        self.identity.note(Entry {
            subject: verified.subject().into_owned(),
            address: asked.peer,
            action: "access",
            target,
            outcome: Outcome::Refused,
            detail: serde_json::json!({ "reason": problem.kind().name() }),
        });
    }

    fn any_below(&self, access: &Access, path: &CanonicalPath) -> bool {
        let below: Vec<&str> = self.base().below(path).into_iter().flatten().collect();
        access.grants_any_below(self.base(), &below)
    }

    fn let_in(&self, verified: Verified, visible: Visible, write: bool) -> Caller {
        Caller {
            subject: verified.subject().into(),
            platform: verified.platform,
            claims: Arc::new(verified.claims),
            visible,
            write,
            base: Arc::clone(&self.base),
        }
    }
}

/// What is asked, for the decision and the audit.
struct Asked<'r> {
    method: Method,
    path: &'r CanonicalPath,
    place: Place,
    peer: Option<IpAddr>,
}

/// The rule that a path is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No token is looked at.
    Open,
    /// Open to other methods; there is nothing that a token could grant.
    Shut,
    /// A root token, and no other.
    Root,
    /// An access token; the handler decides, record by record.
    Push,
    /// `GET` or `HEAD` of `base/{region}/log` or the same with a slash: an
    /// access token that grants this, or anything below it.
    Handshake,
    /// An access token that grants this.
    Access,
}

impl Place {
    fn of(base: &Base, method: Method, path: &CanonicalPath) -> Self {
        use Method::{Delete, Get, Head, Post};
        let reads = matches!(method, Get | Head);
        match path.as_str() {
            // The page that a browser opens first.
            "/" | "/healthz" | "/readyz" => return if reads { Self::Open } else { Self::Shut },
            OTLP_GRPC if method == Post => return Self::Push,
            _ => {}
        }
        let Some(below) = base.below(path) else {
            return Self::Access;
        };
        let segments: Vec<&str> = below.collect();
        match (segments.as_slice(), path.has_trailing_slash()) {
            (["openapi.json"], false) => {
                if reads {
                    Self::Open
                } else {
                    Self::Shut
                }
            }
            (["auth", "token_root"], false) => {
                if reads || method == Post {
                    Self::Open
                } else {
                    Self::Shut
                }
            }
            (["auth", "session"], false) if method == Post => Self::Open,
            (["auth", "session"], false) if method == Delete => Self::Root,
            (["auth"], false) if reads || method == Post => Self::Root,
            (["auth", "grants"], false) if reads => Self::Root,
            (["apps", _, ..], _) => Self::Push,
            ([region, "log"], _) if reads && !RESERVED_REGIONS.contains(region) => Self::Handshake,
            _ => Self::Access,
        }
    }
}

/// The URI with the canonical path and what is left of the query.
fn rewritten(uri: &Uri, path: &CanonicalPath, query: Option<&str>) -> Result<Uri, Problem> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    let mut parts = uri.clone().into_parts();
    let bad = |_| Problem::new(Kind::BadPath, "the query has bytes that no URI can have");
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(bad)?);
    Uri::from_parts(parts).map_err(|_| Problem::new(Kind::BadPath, "the URI cannot be read"))
}
