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
    /// What Elasticsearch wraps it in.
    pub(super) around: Around,
}

/// What stands around an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Around {
    /// Nothing.
    #[default]
    Nothing,
    /// The object whose setting is wrong, in these words.
    Object(String),
    /// The search phase, because a shard would find it.
    Shards,
}

/// The type of errors in an object's settings; the place is in the reason.
const X_CONTENT: &str = "x_content_parse_exception";

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

    /// `x_content_parse_exception`: settings that an object does not have.
    #[must_use]
    pub(super) fn x_content(reason: impl Into<String>) -> Self {
        Self::of_kind(X_CONTENT, reason)
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
            around: Around::Nothing,
        }
    }

    /// The same at a byte of the body, until [`Self::locate`] knows the line.
    pub(super) fn at(mut self, byte: usize) -> Self {
        if self.col.is_none() {
            self.col = Some(byte);
        }
        self
    }

    /// The same in the setting `field` of the object `what`, which begins at `byte`.
    pub(super) fn within(mut self, what: &str, field: &str, byte: usize) -> Self {
        if self.kind == "parsing_exception" && (self.line, self.col) == (None, Some(byte)) {
            // The value itself is of a wrong kind: it is the object that says so.
            self.kind = X_CONTENT;
        }
        if self.around != Around::Shards {
            self.around = Around::Object(format!("[{what}] failed to parse field [{field}]"));
        }
        self.at(byte)
    }

    /// The same as a shard would find it.
    pub(super) fn by_shards(mut self) -> Self {
        self.around = Around::Shards;
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

    /// `error.type` of the answer.
    #[must_use]
    pub fn outer_kind(&self) -> &'static str {
        match self.around {
            Around::Nothing => self.kind,
            Around::Object(_) => X_CONTENT,
            Around::Shards => "search_phase_execution_exception",
        }
    }

    /// The body of the answer, in Elasticsearch's form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let place = self.line.zip(self.col);
        let placed = |reason: &str| match place {
            Some((line, col)) => format!("[{line}:{col}] {reason}"),
            None => reason.to_owned(),
        };
        let mut cause = if self.kind == X_CONTENT {
            json!({"type": self.kind, "reason": placed(&self.reason)})
        } else {
            json!({"type": self.kind, "reason": self.reason})
        };
        if let (Some((line, col)), "parsing_exception") = (place, self.kind) {
            cause["line"] = json!(line);
            cause["col"] = json!(col);
        }
        let error = match &self.around {
            Around::Nothing => {
                let mut error = cause.clone();
                error["root_cause"] = json!([cause]);
                error
            }
            Around::Object(reason) => {
                let mut error = json!({"type": X_CONTENT, "reason": placed(reason)});
                // Only its own exceptions are roots to Elasticsearch, not Java's.
                let own = matches!(
                    self.kind,
                    X_CONTENT | "parsing_exception" | "parse_exception"
                );
                error["root_cause"] = json!([if own { cause.clone() } else { error.clone() }]);
                error["caused_by"] = cause;
                error
            }
            Around::Shards => json!({
                "type": self.outer_kind(),
                "reason": "all shards failed",
                "phase": "query",
                "grouped": true,
                "failed_shards": [{"shard": 0, "reason": cause}],
                "root_cause": [cause],
                "caused_by": cause,
            }),
        };
        json!({"error": error, "status": self.status()})
    }
}
