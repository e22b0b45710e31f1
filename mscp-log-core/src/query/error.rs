//! What is wrong with a search, in the form in which Elasticsearch says it.

use serde_json::{Value, json};

/// A search that is refused, with the error that Elasticsearch would give.
/// The status is always 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct QueryError {
    /// The type: `parsing_exception`, `illegal_argument_exception`, ...
    pub kind: &'static str,
    /// What is wrong, naming the part at fault.
    pub reason: String,
    /// The line of the body, from 1.
    pub line: Option<usize>,
    /// The character of the line, from 1.
    pub col: Option<usize>,
    /// The name of a feature that would see past a filter, where the search is
    /// refused because it uses one: under a restriction that is a refusal
    /// (403) and not a mistake (400).
    pub sees_past_a_filter: Option<String>,
}

impl QueryError {
    /// `parsing_exception`: a body that is not in the grammar.
    #[must_use]
    pub fn parsing(reason: impl Into<String>) -> Self {
        Self::of_kind("parsing_exception", reason)
    }

    /// `illegal_argument_exception`: a value that is not allowed.
    #[must_use]
    pub fn argument(reason: impl Into<String>) -> Self {
        Self::of_kind("illegal_argument_exception", reason)
    }

    /// An error of any type.
    #[must_use]
    pub fn of_kind(kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            line: None,
            col: None,
            sees_past_a_filter: None,
        }
    }

    /// The same at a byte of the body, until [`Self::locate`] knows the line.
    pub(super) fn at(mut self, byte: usize) -> Self {
        if self.col.is_none() {
            self.col = Some(byte);
        }
        self
    }

    pub(super) fn seeing_past(mut self, feature: &str) -> Self {
        self.sees_past_a_filter = Some(feature.to_owned());
        self
    }

    /// Turn the byte that [`Self::at`] noted into a line and a column.
    pub(super) fn locate(mut self, body: &str) -> Self {
        if let (None, Some(byte)) = (self.line, self.col) {
            let before = body.get(..byte).unwrap_or(body);
            self.line = Some(before.matches('\n').count() + 1);
            let line_start = before.rfind('\n').map_or(0, |place| place + 1);
            self.col = Some(before[line_start..].chars().count() + 1);
        }
        self
    }

    /// The HTTP status, as every error here is the caller's.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }

    /// The body of the answer, in Elasticsearch's form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut cause = json!({"type": self.kind, "reason": self.reason});
        if let (Some(line), Some(col)) = (self.line, self.col) {
            cause["line"] = json!(line);
            cause["col"] = json!(col);
        }
        let mut error = cause.clone();
        error["root_cause"] = json!([cause]);
        json!({"error": error, "status": self.status()})
    }
}
