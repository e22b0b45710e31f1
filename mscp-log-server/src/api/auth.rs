//! `base/auth`: signing in, asking for access tokens, the session of the web
//! UI, and introspection.

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use mscp_log_core::access::{Access, CanonicalPath, Decision, Method, Restriction, Visible};
use mscp_log_tower::credential::pairs;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use utoipa::{OpenApi, ToSchema};

use crate::config::Secret;
use crate::identity::{IssueError, Issued, LoginError};
use crate::schema::{self, limit};

use super::access::{
    CHALLENGE_BASIC, CHALLENGE_BEARER, Caller, Door, Peer, REQUESTED_WITH, SESSION_COOKIE,
};
use super::body::{access, bytes, method_not_allowed, parse, unstored};
use super::problem::{Kind, Problem};

#[cfg(test)]
mod tests;

/// The endpoints, by their paths below the base.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/auth/token_root", get(token_root).post(token_root))
        .route("/auth", get(issue).post(issue))
        .route("/auth/grants", get(grants))
        .route("/auth/session", post(sign_in).delete(sign_out))
        .route("/auth/introspect", post(introspect))
        .method_not_allowed_fallback(method_not_allowed)
}

#[derive(OpenApi)]
#[openapi(paths(token_root, issue, grants, sign_in, sign_out, introspect))]
pub(super) struct Document;

/// A token as it is handed out.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct Answer {
    /// The JWT.
    token: String,
    /// When it ends, in seconds since the epoch.
    exp: i64,
}

/// Sign in with e-mail and password for a root token
#[utoipa::path(method(get, post), path = "/auth/token_root", tag = "tokens",
    security(("password" = [])), responses(
    (status = 200, description = "A root token, good for asking for access tokens only", body = Answer),
    (status = 429, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn token_root(
    Extension(door): Extension<Arc<Door>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Issued { token, exp } = login(&door, peer, &headers).await?;
    Ok(unstored(Answer { token, exp }))
}

/// Signs in with HTTP Basic (RFC 7617).
async fn login(door: &Door, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<Issued, Problem> {
    let challenge = if headers.contains_key(REQUESTED_WITH) {
        CHALLENGE_BEARER
    } else {
        CHALLENGE_BASIC
    };
    let (email, password) = basic(headers).ok_or_else(|| {
        let detail = "HTTP Basic with e-mail and password is needed";
        Problem::unauthorized(detail, challenge)
    })?;
    // Where a listener does not tell, all share the delays of one address.
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let login = door.identity().login(&email, &password, peer).await;
    login.map_err(|error| match &error {
        LoginError::Refused => Problem::unauthorized(error.to_string(), challenge),
        LoginError::Delayed { retry_after_s } => {
            Problem::new(Kind::TooManyRequests, error.to_string())
                .retry_after(Duration::from_secs(*retry_after_s))
        }
        LoginError::Unavailable(_) => Problem::unavailable(error.to_string()),
    })
}

/// E-mail and password, from the only `Authorization` there is.
fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(encoded.trim()).ok()?;
    let text = Secret::new(String::from_utf8(bytes).ok()?);
    let (email, password) = text.expose().split_once(':')?;
    Some((email.to_owned(), Secret::new(password)))
}

/// The wanted access with a wish for the lifetime; an array alone is the access.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// What the token shall grant.
    #[schema(value_type = Vec<schema::Rule>)]
    access: Box<RawValue>,
    /// How long it shall last, in seconds; the configured time when absent.
    #[schema(value_type = Option<limit::Ttl>)]
    ttl: Option<u64>,
}

/// What a token shall grant: the rules alone, or with a lifetime.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is for the document only")]
enum Wanted {
    /// The access alone.
    Access(Vec<schema::Rule>),
    /// With a lifetime.
    Wish(Wish),
}

/// Ask for an access token
#[utoipa::path(method(get, post), path = "/auth", operation_id = "issue_token", tag = "tokens",
    security(("root_token" = []), ("session" = [])),
    request_body = Wanted, responses(
    (status = 200, description = "An access token that grants what was wanted", body = Answer),
))]
async fn issue(
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = bytes(body).await?;
    let is_array = bytes.trim_ascii_start().first() == Some(&b'[');
    let wish = if is_array {
        Wish {
            access: parse(&bytes)?,
            ttl: None,
        }
    } else {
        parse::<Wish>(&bytes)?
    };
    let wanted = access("access", &wish.access)?;
    let issued = door
        .identity()
        .issue(&caller.subject, &wanted, wish.ttl, peer);
    let Issued { token, exp } = issued.await.map_err(|error| refused(&error))?;
    Ok(unstored(Answer { token, exp }))
}

/// What the account may ask for
#[utoipa::path(get, path = "/auth/grants", tag = "tokens",
    security(("root_token" = []), ("session" = [])), responses(
    (status = 200, description = "Its own grants and its roles'", body = Vec<schema::Rule>),
))]
async fn grants(
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let grants = door.identity().grants(&caller.subject).await;
    Ok(unstored(grants.map_err(|error| refused(&error))?))
}

fn refused(error: &IssueError) -> Problem {
    let detail = error.to_string();
    match error {
        IssueError::NoAccount => Problem::unauthorized(detail, CHALLENGE_BEARER),
        IssueError::NotCovered(_) => {
            Problem::new(Kind::NotCovered, detail).challenge(CHALLENGE_BEARER)
        }
        IssueError::Ttl(_) => Problem::bad_request(detail).field("ttl"),
        IssueError::TooLong(_) => Problem::bad_request(detail).field("access"),
        IssueError::Unavailable(_) => Problem::unavailable(detail),
    }
}

/// Until when a session lasts.
#[derive(Serialize, ToSchema)]
struct Session {
    /// In seconds since the epoch.
    exp: i64,
}

/// Sign in for a session, which a cookie holds
#[utoipa::path(post, path = "/auth/session", tag = "tokens", security(("password" = [])), responses(
    (status = 200, description = "The root token is in the cookie", body = Session,
        headers(("Set-Cookie" = String, description = "The session"))),
    (status = 429, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn sign_in(
    Extension(door): Extension<Arc<Door>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Issued { token, exp } = login(&door, peer, &headers).await?;
    let lasts_s = exp.saturating_sub(crate::clock::now_s());
    with_cookie(&door, &token, lasts_s, unstored(Session { exp }))
}

/// End the session
#[utoipa::path(delete, path = "/auth/session", tag = "tokens",
    security(("root_token" = []), ("session" = [])), responses(
    (status = 204, description = "The cookie is taken back"),
))]
async fn sign_out(Extension(door): Extension<Arc<Door>>) -> Result<Response, Problem> {
    with_cookie(&door, "", 0, StatusCode::NO_CONTENT.into_response())
}

fn with_cookie(
    door: &Door,
    token: &str,
    lasts_s: i64,
    mut response: Response,
) -> Result<Response, Problem> {
    let path = door.base().prefix();
    let secure = if door.secure_cookie() { "; Secure" } else { "" };
    let cookie = format!(
        "{SESSION_COOKIE}={token}; Path={path}/auth; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"
    );
    let value = HeaderValue::try_from(cookie)
        .map_err(|_| Problem::new(Kind::Internal, "the session's cookie could not be written"))?;
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}

/// What is asked of another's token, as [`schema::Question`] shows it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    token: Option<Shown>,
    #[serde(default, deserialize_with = "given")]
    token_type_hint: Option<String>,
    #[serde(default, deserialize_with = "given")]
    method: Option<String>,
    #[serde(default, deserialize_with = "given")]
    url: Option<String>,
}

/// A text that is there or is absent: a form has no `null` either.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// What is told of it (RFC 7662 section 2.2); of one that does not verify only
/// that it is not active.
#[derive(Default, Serialize, ToSchema)]
struct Introspected {
    active: bool,
    /// The account's id; for tokens of the wider platform behind `platform:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The account's e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// What it grants; a root token has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::TokenRule>>, nullable = false)]
    access: Option<Access>,
    /// Present when a request was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decided>,
}

/// Whether a token grants a request, and what that may see.
#[derive(Serialize, ToSchema)]
struct Decided {
    allowed: bool,
    /// Whether it may change the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Visible>)]
    visible: Option<Seen>,
}

/// `"all"`, or what any of these restrictions lets through.
#[derive(Serialize)]
#[serde(untagged)]
enum Seen {
    All(&'static str),
    Restricted(Vec<Restriction>),
}

/// A token that is asked about. It has no `Debug`.
#[derive(Deserialize)]
struct Shown(String);

/// Ask about another's token (RFC 7662)
#[utoipa::path(post, path = "/auth/introspect", tag = "tokens", security(("access_token" = [])),
    request_body(content(
        (schema::Question = "application/x-www-form-urlencoded"),
        (schema::Question = "application/json"),
    )), responses(
    (status = 200, description = "What is known of it", body = Introspected),
))]
async fn introspect(
    Extension(door): Extension<Arc<Door>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = bytes(body).await?;
    let question = question(&headers, &bytes)?;
    let missing = || Problem::bad_request("token is missing").field("token");
    let token = question.token.ok_or_else(missing)?;
    let request = match (question.method, question.url) {
        (None, None) => None,
        (Some(method), Some(url)) => Some((
            method
                .parse::<Method>()
                .map_err(|error| Problem::bad_request(error.to_string()).field("method"))?,
            url,
        )),
        _ => return Err(Problem::bad_request("method and url are given together")),
    };
    let Ok(verified) = door.identity().verify(&token.0, crate::clock::now_s()) else {
        return Ok(unstored(Introspected::default()));
    };
    let sub = verified.subject().into_owned();
    let claims = verified.claims;
    let decision = match request {
        None => None,
        Some((method, url)) => Some(match (&claims.access, path_of(&door, &url)?) {
            (Some(access), Some(path)) => written(access.decide(door.base(), method, &path)),
            _ => written(Decision::Denied),
        }),
    };
    Ok(unstored(Introspected {
        active: true,
        sub: Some(sub),
        username: Some(claims.email),
        iat: Some(claims.iat),
        exp: Some(claims.exp),
        iss: claims.iss,
        aud: claims.aud,
        jti: claims.jti,
        access: claims.access,
        decision,
    }))
}

/// The form of RFC 7662, or the same as JSON.
fn question(headers: &HeaderMap, bytes: &[u8]) -> Result<Question, Problem> {
    let media_type = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !media_type.starts_with("application/x-www-form-urlencoded") {
        return parse(bytes);
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
    let mut question = Question::default();
    for (name, value) in pairs(text) {
        let value = value.into_owned();
        let twice = match &*name {
            "token" => question.token.replace(Shown(value)).is_some(),
            "method" => question.method.replace(value).is_some(),
            "url" => question.url.replace(value).is_some(),
            "token_type_hint" => question.token_type_hint.replace(value).is_some(),
            // RFC 7662 section 2.1 lets a server ignore what it does not know,
            // but a decision on half a question would be a wrong one.
            _ => return Err(Problem::bad_request(format!("unknown parameter {name}"))),
        };
        if twice {
            return Err(Problem::bad_request(format!("{name} is given twice")));
        }
    }
    Ok(question)
}

/// The path of a URL of this origin; `None` for another origin's.
fn path_of(door: &Door, url: &str) -> Result<Option<CanonicalPath>, Problem> {
    let from_origin = match door.base().origin() {
        Some(origin) => url.strip_prefix(origin).unwrap_or(url),
        None => url,
    };
    if !from_origin.starts_with('/') {
        return Ok(None);
    }
    let path = from_origin.split('?').next().unwrap_or_default();
    CanonicalPath::parse(path)
        .map(Some)
        .map_err(|error| Problem::bad_request(error.to_string()).field("url"))
}

fn written(decision: Decision) -> Decided {
    match decision {
        Decision::Denied => Decided {
            allowed: false,
            write: None,
            visible: None,
        },
        Decision::Allowed { visible, write } => Decided {
            allowed: true,
            write: Some(write),
            visible: Some(match visible {
                Visible::All => Seen::All("all"),
                Visible::Restricted(any) => Seen::Restricted(any),
            }),
        },
    }
}
