//! The body of `_msearch`: lines in pairs, a header and a search.

use super::ast::Search;
use super::error::QueryError;
use super::json::{self, Kind, Result, Value};

/// The most searches of one request.
const MAX_SEARCHES: usize = 1_000;

/// What a line before a search says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Index names or patterns; empty is the request's own.
    pub index: Vec<String>,
    /// `query_then_fetch` or `dfs_query_then_fetch`.
    pub search_type: Option<String>,
    /// Indices that do not exist are passed over.
    pub ignore_unavailable: Option<bool>,
    /// Patterns that match nothing are no error.
    pub allow_no_indices: Option<bool>,
    /// Which indices patterns match.
    pub expand_wildcards: Vec<String>,
    /// Which copy of a shard answers.
    pub preference: Option<String>,
    /// Which shards answer.
    pub routing: Option<String>,
    /// Whether the request cache is used.
    pub request_cache: Option<bool>,
}

/// The searches of one `_msearch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Msearch {
    /// Each with its header, in order.
    pub searches: Vec<(Header, Search)>,
}

impl Msearch {
    /// Read the body of `_msearch`.
    ///
    /// # Errors
    /// As [`Search::parse`]; a header with a name that does not exist; more
    /// than 1,000 searches; a header without a search. One error refuses all
    /// of them, as in Elasticsearch.
    ///
    /// ```
    /// use mscp_log_core::query::Msearch;
    /// let body = b"{\"index\":\"logstash-*\"}\n{\"size\":0}\n{}\n{}\n";
    /// let parsed = Msearch::parse(body).unwrap();
    /// assert_eq!(parsed.searches[0].0.index, ["logstash-*"]);
    /// assert_eq!(Msearch::parse(parsed.emit().as_bytes()), Ok(parsed));
    /// ```
    pub fn parse(body: &[u8]) -> std::result::Result<Self, QueryError> {
        let mut searches = Vec::new();
        // The line break behind the last search ends it and begins nothing.
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        let mut lines = body.split(|byte| *byte == b'\n');
        while let Some(header) = lines.next() {
            if header.trim_ascii().is_empty() && searches.is_empty() && body.trim_ascii().is_empty()
            {
                break;
            }
            let Some(search) = lines.next() else {
                return Err(QueryError::argument(
                    "a header of _msearch has no search behind it",
                ));
            };
            if searches.len() == MAX_SEARCHES {
                return Err(QueryError::argument(format!(
                    "_msearch takes at most {MAX_SEARCHES} searches"
                )));
            }
            searches.push((Header::parse(header)?, Search::parse(search, &[])?));
        }
        if searches.is_empty() {
            return Err(QueryError::of_kind(
                "action_request_validation_exception",
                "Validation Failed: 1: no requests added;",
            ));
        }
        Ok(Self { searches })
    }

    /// The body of an `_msearch` that asks this.
    #[must_use]
    pub fn emit(&self) -> String {
        let mut out = String::new();
        for (header, search) in &self.searches {
            out.push_str(&header.emit());
            out.push('\n');
            out.push_str(&search.emit());
            out.push('\n');
        }
        out
    }
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self> {
        let mut header = Self::default();
        if line.trim_ascii().is_empty() {
            return Ok(header);
        }
        let text = std::str::from_utf8(line).unwrap_or_default();
        for (name, value) in json::parse(line)?
            .object("header")
            .map_err(|error| error.locate(text))?
        {
            header
                .set(&name, value)
                .map_err(|error| error.locate(text))?;
        }
        Ok(header)
    }

    fn set(&mut self, name: &str, value: Value) -> Result<()> {
        match name {
            "index" | "indices" => self.index = names(value, name)?,
            "search_type" | "searchType" => self.search_type = Some(value.text(name)?),
            "ignore_unavailable" | "ignoreUnavailable" => {
                self.ignore_unavailable = Some(value.boolean(name)?);
            }
            "allow_no_indices" | "allowNoIndices" => {
                self.allow_no_indices = Some(value.boolean(name)?);
            }
            "expand_wildcards" | "expandWildcards" => self.expand_wildcards = names(value, name)?,
            "preference" => self.preference = value.optional_scalar(name)?.map(text_of),
            "routing" => self.routing = value.optional_scalar(name)?.map(text_of),
            "request_cache" | "requestCache" => self.request_cache = Some(value.boolean(name)?),
            "ignore_throttled" | "ccs_minimize_roundtrips" | "allow_partial_search_results" => {
                value.boolean(name)?;
            }
            "max_concurrent_shard_requests" | "batched_reduce_size" | "pre_filter_shard_size" => {
                value.unsigned(name)?;
            }
            // Elasticsearch 6 and before; the types of ours have no name.
            "type" | "types" if matches!(&value.kind, Kind::Array(values) if values.is_empty()) => {
            }
            _ => {
                return Err(QueryError::argument(format!(
                    "key [{name}] is not supported in the metadata section"
                )));
            }
        }
        Ok(())
    }

    fn emit(&self) -> String {
        let mut header = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| header.insert(name.to_owned(), value);
        if !self.index.is_empty() {
            put("index", self.index.clone().into());
        }
        if !self.expand_wildcards.is_empty() {
            put("expand_wildcards", self.expand_wildcards.clone().into());
        }
        for (name, value) in [
            ("search_type", &self.search_type),
            ("preference", &self.preference),
            ("routing", &self.routing),
        ] {
            if let Some(value) = value {
                put(name, value.clone().into());
            }
        }
        let flags = [
            ("ignore_unavailable", self.ignore_unavailable),
            ("allow_no_indices", self.allow_no_indices),
            ("request_cache", self.request_cache),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                put(name, value.into());
            }
        }
        serde_json::Value::Object(header).to_string()
    }
}

/// Names in an array, or joined by commas in one string.
fn names(value: Value, what: &str) -> Result<Vec<String>> {
    let list = value.texts(what)?;
    Ok(list
        .iter()
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn text_of(scalar: super::ast::Scalar) -> String {
    match scalar {
        super::ast::Scalar::String(text) => text,
        super::ast::Scalar::Number(number) => number.0,
        super::ast::Scalar::Bool(value) => value.to_string(),
        super::ast::Scalar::Null => String::new(),
    }
}
