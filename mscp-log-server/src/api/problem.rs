//! Errors of the API: `application/problem+json` (RFC 9457), one stable `type`
//! for each kind of failure.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// A kind of failure. Its `type` on the wire is `/problems/` and
/// [`Kind::name`], and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The path has two readings, or none.
    BadPath,
    /// The request is not what the endpoint takes.
    BadRequest,
    /// One record of a push is malformed.
    MalformedRecord,
    /// No token, or one that does not verify.
    Unauthorized,
    /// The wanted access is beyond the account's grants.
    NotCovered,
    /// The token verifies and does not grant this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The endpoint has not this method.
    MethodNotAllowed,
    /// The thing is not in the state that the request needs.
    Conflict,
    /// It is not what `If-Match` names.
    PreconditionFailed,
    /// A limit on size.
    TooLarge,
    /// A media type or an encoding that is not taken.
    UnsupportedMediaType,
    /// A limit on rate or on what goes on at once.
    TooManyRequests,
    /// A fault of ours.
    Internal,
    /// Something that is needed is away; try again.
    Unavailable,
    /// An administrator wants it not to be done for now.
    SwitchedOff,
    /// The buffer takes no more for now.
    BufferFull,
    /// The disk has no room.
    DiskFull,
}

impl Kind {
    /// The last part of the `type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().0
    }

    const fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadPath => (S::BAD_REQUEST, "bad-path", "The path is not canonical"),
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "The request is malformed"),
            Self::MalformedRecord => (S::BAD_REQUEST, "malformed-record", "A record is malformed"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid token is needed"),
            Self::NotCovered => (
                S::UNAUTHORIZED,
                "not-covered",
                "The wanted access is not granted",
            ),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "The token does not grant this"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not taken here",
            ),
            Self::Conflict => (S::CONFLICT, "conflict", "The state does not allow this"),
            Self::PreconditionFailed => (
                S::PRECONDITION_FAILED,
                "precondition-failed",
                "It was changed meanwhile",
            ),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "A limit on size"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The media type or encoding is not taken",
            ),
            Self::TooManyRequests => (
                S::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too much at once",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "A fault of the server",
            ),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Try again later"),
            Self::SwitchedOff => (
                S::SERVICE_UNAVAILABLE,
                "switched-off",
                "An administrator switched this off",
            ),
            Self::BufferFull => (S::SERVICE_UNAVAILABLE, "buffer-full", "The buffer is full"),
            Self::DiskFull => (S::SERVICE_UNAVAILABLE, "disk-full", "The disk is full"),
        }
    }
}

/// One failure, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    record: Option<usize>,
    field: Option<String>,
    challenge: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A failure; `detail` says what is at fault and what was expected.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            record: None,
            field: None,
            challenge: None,
            retry_after: None,
        }
    }

    /// 400: not what the endpoint takes.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    /// 400: a record, counted from 0, whose field is at fault.
    #[must_use]
    pub fn malformed_record(
        record: usize,
        field: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            record: Some(record),
            field: Some(field.into()),
            ..Self::new(Kind::MalformedRecord, detail)
        }
    }

    /// 401 with a challenge (RFC 9110 section 11.6.1).
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>, challenge: &'static str) -> Self {
        Self {
            challenge: Some(challenge),
            ..Self::new(Kind::Unauthorized, detail)
        }
    }

    /// 403: the token verifies and does not grant this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// 503, to be tried again after a while.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail).retry_after(Duration::from_secs(1))
    }

    /// Names the record, counted from 0.
    #[must_use]
    pub fn record(mut self, record: usize) -> Self {
        self.record = Some(record);
        self
    }

    /// Names the field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a challenge to a 401.
    #[must_use]
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// When to try again: `Retry-After`, in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is at fault, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

/// A failure (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body9457 {
    /// `/problems/` and the name of the kind, which never changes.
    #[schema(example = "/problems/forbidden")]
    r#type: String,
    /// The kind in words.
    title: &'static str,
    /// The answer's status.
    status: u16,
    /// What is at fault, and what was expected.
    detail: String,
    /// The record at fault, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<usize>,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.facts();
        let body = Body9457 {
            r#type: format!("/problems/{name}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            record: self.record,
            field: self.field,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
