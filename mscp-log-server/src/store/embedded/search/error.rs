//! Errors in the form in which Elasticsearch gives them: clients look at
//! `error.type`, `error.reason` and `status`.

use serde_json::{Map, Value, json};

/// A search that is refused or that failed, as Elasticsearch's clients know it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct EsError {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.reason`.
    pub reason: String,
    /// What lay below: type, reason, and further members.
    cause: Option<Box<Cause>>,
    /// Where it happened.
    place: Place,
}

/// What lay below an error.
#[derive(Clone, Debug)]
struct Cause {
    kind: &'static str,
    reason: String,
    more: Map<String, Value>,
}

/// Where a search failed; it decides the form around the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything was searched.
    Request,
    /// While a shard was searched.
    Shard,
    /// While the answers of shards were put together.
    Reduce,
}

impl EsError {
    fn new(status: u16, kind: &'static str, reason: String, place: Place) -> Self {
        Self {
            status,
            kind,
            reason,
            cause: None,
            place,
        }
    }

    /// 400: an argument that cannot be (`illegal_argument_exception`).
    pub fn illegal_argument(reason: impl Into<String>) -> Self {
        Self::new(
            400,
            "illegal_argument_exception",
            reason.into(),
            Place::Shard,
        )
    }

    /// 400: as [`EsError::illegal_argument`], found before the search began.
    pub fn refused_request(reason: impl Into<String>) -> Self {
        Self::new(
            400,
            "illegal_argument_exception",
            reason.into(),
            Place::Request,
        )
    }

    /// 400: parts of a request that do not go together
    /// (`action_request_validation_exception`).
    pub fn invalid_request(reason: impl Into<String>) -> Self {
        Self::new(
            400,
            "action_request_validation_exception",
            reason.into(),
            Place::Request,
        )
    }

    /// 400: a clause or an aggregation that this store does not know.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::new(400, "parsing_exception", reason.into(), Place::Request)
    }

    /// 400: a query that does not fit the fields that it asks.
    pub fn query_shard(reason: impl Into<String>) -> Self {
        Self::new(400, "query_shard_exception", reason.into(), Place::Shard)
    }

    /// 400: as [`EsError::query_shard`], for a clause that cannot be built.
    pub fn create_query(reason: impl std::fmt::Display) -> Self {
        Self::query_shard(format!("failed to create query: {reason}"))
    }

    /// An error of a query as an aggregation has it: without what a search puts
    /// around a clause that cannot be built.
    #[must_use]
    pub fn of_an_aggregation(self) -> Self {
        let Some(reason) = self.reason.strip_prefix("failed to create query: ") else {
            return self;
        };
        match self.cause {
            Some(cause) => Self::new(self.status, cause.kind, cause.reason, self.place),
            None => Self::new(
                self.status,
                "illegal_argument_exception",
                reason.to_owned(),
                self.place,
            ),
        }
    }

    /// 400: a setting in a form that cannot be read, found before the search began.
    pub fn parse(reason: impl Into<String>) -> Self {
        Self::new(400, "parse_exception", reason.into(), Place::Request)
    }

    /// 400: a text where a number was expected.
    pub fn number_format(text: &str) -> Self {
        let reason = format!("For input string: \"{text}\"");
        let mut error = Self::query_shard(format!("failed to create query: {reason}"));
        error.cause = Some(Box::new(Cause {
            kind: "number_format_exception",
            reason,
            more: Map::new(),
        }));
        error
    }

    /// 400: as [`EsError::number_format`], outside of a query.
    pub fn not_a_number(text: &str) -> Self {
        Self::new(
            400,
            "number_format_exception",
            format!("For input string: \"{text}\""),
            Place::Shard,
        )
    }

    /// 400: an order by what is no number (`invalid_path`).
    pub fn invalid_path(reason: impl Into<String>) -> Self {
        Self::new(400, "invalid_path", reason.into(), Place::Shard)
    }

    /// 400: a text where a date was expected.
    pub fn date_format(reason: impl Into<String>) -> Self {
        Self::new(400, "parse_exception", reason.into(), Place::Shard)
    }

    /// 400: an answer of more than `limit` buckets.
    pub fn too_many_buckets(limit: usize) -> Self {
        let reason = format!(
            "Trying to create too many buckets. Must be less than or equal to: [{limit}] but this number of buckets was exceeded. This limit can be set by changing the [search.max_buckets] cluster level setting."
        );
        let mut more = Map::new();
        more.insert("max_buckets".to_owned(), json!(limit));
        let mut error = Self::new(
            400,
            "search_phase_execution_exception",
            String::new(),
            Place::Reduce,
        );
        error.cause = Some(Box::new(Cause {
            kind: "too_many_buckets_exception",
            reason,
            more,
        }));
        error
    }

    /// 429: a search that would take more memory than a search may.
    pub fn circuit_breaking(limit: usize) -> Self {
        Self::new(
            429,
            "circuit_breaking_exception",
            format!(
                "[request] Data too large, data for [<agg>] would be larger than limit of [{limit}/{limit}b]"
            ),
            Place::Shard,
        )
    }

    /// 404: a scroll or a point in time that is not there, or no more.
    pub fn context_missing(reason: impl Into<String>) -> Self {
        Self::new(
            404,
            "search_context_missing_exception",
            reason.into(),
            Place::Shard,
        )
    }

    /// 429: one more scroll or point in time than may be open.
    pub fn too_many_contexts(kind: &'static str, reason: impl Into<String>) -> Self {
        Self::new(429, kind, reason.into(), Place::Shard)
    }

    /// 500: the index could not be read.
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::new(500, "exception", reason.into(), Place::Shard)
    }

    /// The type that tells what went wrong, below the wrapping of a search phase.
    #[must_use]
    pub fn root_kind(&self) -> &'static str {
        match (&self.cause, self.place) {
            (Some(cause), Place::Reduce) => cause.kind,
            _ => self.kind,
        }
    }

    /// The body of the answer: `{"error": {...}, "status": n}`.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut plain = json!({"type": self.kind, "reason": self.reason});
        let mut below = plain.clone();
        if let Some(cause) = &self.cause {
            let mut value = cause.more.clone();
            value.insert("type".to_owned(), json!(cause.kind));
            value.insert("reason".to_owned(), json!(cause.reason));
            below["caused_by"] = Value::Object(value);
        }
        let error = match self.place {
            Place::Request => {
                plain["root_cause"] = json!([{"type": self.kind, "reason": self.reason}]);
                plain
            }
            Place::Shard => json!({
                "root_cause": [{"type": self.kind, "reason": self.reason}],
                "type": "search_phase_execution_exception",
                "reason": "all shards failed",
                "phase": "query",
                "grouped": true,
                "failed_shards": [{"shard": 0, "reason": below.clone()}],
                "caused_by": below,
            }),
            Place::Reduce => {
                below["root_cause"] = json!([]);
                below["phase"] = json!("fetch");
                below["grouped"] = json!(true);
                below["failed_shards"] = json!([]);
                below
            }
        };
        json!({"error": error, "status": self.status})
    }
}

impl From<tantivy::TantivyError> for EsError {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<std::io::Error> for EsError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}
