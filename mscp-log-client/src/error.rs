//! The one error of the client: opaque, with a kind to decide on and a text to show.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

/// What went wrong, as far as a program can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input: a URL, a credential or an argument that cannot work.
    Usage,
    /// The server could not be reached, or the connection broke.
    Connect,
    /// No answer within the time that was set.
    Timeout,
    /// 401: no valid credential, or what was wanted is not granted to the account.
    Unauthorized,
    /// 403: the credential is good, and does not grant this.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 409 or 412: it exists already, or was changed meanwhile.
    Conflict,
    /// 413: larger than the server takes.
    TooLarge,
    /// 429: over a rate; try again later.
    Limited,
    /// Another 4xx: the server understood and refuses.
    Rejected,
    /// 5xx: the server cannot at the moment.
    Unavailable,
    /// An answer that is not what the API promises.
    Protocol,
}

/// An RFC 9457 problem as the server words it; members that are not there are empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The stable name of the problem, `/problems/...`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// A short text, the same for every problem of the type.
    #[serde(default)]
    pub title: String,
    /// What was wrong this time.
    #[serde(default)]
    pub detail: String,
    /// The place, from 0, of the record at fault in the request.
    #[serde(default)]
    pub record: Option<usize>,
    /// The field at fault.
    #[serde(default)]
    pub field: Option<String>,
}

/// An error of the client. No secret is in it. A clone is the same error:
/// callers that waited for one token are told the same.
///
/// ```
/// use mscp_log_client::{Credentials, ErrorKind};
/// let error = Credentials::token("not a token").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    problem: Option<Problem>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Limited | ErrorKind::Unavailable
        )
    }

    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The server's problem document, where it sent one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.0.problem.as_ref()
    }

    /// How long the server asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::of(ErrorKind::Usage, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Error {
        Error::of(ErrorKind::Protocol, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Error {
        Error::of(ErrorKind::Unauthorized, message)
    }

    pub(crate) fn of(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            status: None,
            problem: None,
            retry_after: None,
            source: None,
        }))
    }

    /// From an answer that is no success. `body` may be a problem document, an
    /// Elasticsearch error or anything else.
    pub(crate) fn answer(
        what: &str,
        status: http::StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Error {
        let kind = match status.as_u16() {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            409 | 412 => ErrorKind::Conflict,
            413 => ErrorKind::TooLarge,
            429 => ErrorKind::Limited,
            408 | 425 => ErrorKind::Timeout,
            400..=499 => ErrorKind::Rejected,
            500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Protocol,
        };
        let problem = serde_json::from_slice::<Problem>(body)
            .ok()
            .filter(|problem| !problem.title.is_empty() || !problem.detail.is_empty());
        let why = problem
            .as_ref()
            .map(Problem::words)
            .or_else(|| store_reason(body))
            .unwrap_or_else(|| plain_words(body));
        let message = if why.is_empty() {
            format!("{what}: {status}")
        } else {
            format!("{what}: {status}: {why}")
        };
        Error(Arc::new(Inner {
            kind,
            message,
            status: Some(status.as_u16()),
            problem,
            retry_after,
            source: None,
        }))
    }

    /// From below HTTP: what kept the answer away. `error` must not show the
    /// URL or a header.
    pub(crate) fn transport(
        what: &str,
        kind: ErrorKind,
        error: impl StdError + Send + Sync + 'static,
    ) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: format!("{what}: {}", chain(&error)),
            status: None,
            problem: None,
            retry_after: None,
            source: Some(Box::new(error)),
        }))
    }
}

/// Most errors that are named as each other's cause; more would be a loop.
const MAX_CHAIN: usize = 32;

/// An error with what caused it, each said once.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    for _ in 0..MAX_CHAIN {
        let Some(inner) = cause else { break };
        let words = inner.to_string();
        if !message.contains(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        cause = inner.source();
    }
    message
}

impl Problem {
    fn words(&self) -> String {
        let mut words = if self.detail.is_empty() {
            self.title.clone()
        } else {
            self.detail.clone()
        };
        if let Some(record) = self.record
            && !words.contains("record")
        {
            words.push_str(&format!(" (record {record}"));
            if let Some(field) = &self.field {
                words.push_str(&format!(", field {field}"));
            }
            words.push(')');
        }
        words
    }
}

/// `error.reason` of an Elasticsearch error.
fn store_reason(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    let reason = error
        .pointer("/root_cause/0/reason")
        .or_else(|| error.get("reason"))
        .and_then(serde_json::Value::as_str);
    reason.or_else(|| error.as_str()).map(str::to_owned)
}

/// The first words of a body that is in no form of ours.
fn plain_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
    let line = text.lines().next().unwrap_or_default().trim();
    if line.starts_with('<') {
        String::new()
    } else {
        line.to_owned()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("retry_after", &self.0.retry_after)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        Some(source)
    }
}
