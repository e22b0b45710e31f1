//! The body of a search into its tree.

use super::ast::{
    FieldFormat, Highlight, HighlightSettings, Order, Pit, Scalar, Search, Slice, SortKey,
    SourceFilter, TrackTotalHits,
};
use super::error::QueryError;
use super::json::{self, Kind, Result, Value};
use super::parse_aggs::aggregations;
use super::parse_query::{MAX_QUERY_DEPTH, query};

/// Parts of a request that reach beyond what its query matches: under a
/// restriction they are refused as forbidden.
const SEEING_PAST: &[&str] = &[
    "script",
    "scripts",
    "_script",
    "script_fields",
    "runtime_mappings",
    "suggest",
    "rescore",
    "profile",
    "explain",
    "knn",
    "rank",
    "retriever",
    "ext",
    "slice",
    "derived",
    "nested",
    "nested_path",
    "nested_filter",
    "_geo_distance",
];

impl Search {
    /// Read the body of `_search`, and the parameters of its URL, decoded.
    ///
    /// An empty body is a search for everything. Parameters go before the
    /// body, as in Elasticsearch: `q` takes the place of its query.
    ///
    /// # Errors
    /// What is no JSON, what the tree cannot say, and parameters that do not exist.
    ///
    /// ```
    /// use mscp_log_core::query::ast::Search;
    /// let body = br#"{"query": {"match": {"message": "timeout"}}, "size": 5}"#;
    /// let search = Search::parse(body, &[]).unwrap();
    /// assert_eq!(search.size, Some(5));
    /// assert_eq!(Search::parse(search.emit().as_bytes(), &[]), Ok(search));
    /// assert!(Search::parse(br#"{"query": {"percolate": {}}}"#, &[]).is_err());
    /// ```
    pub fn parse(
        body: &[u8],
        parameters: &[(String, String)],
    ) -> std::result::Result<Self, QueryError> {
        let from_parameter = super::parameters::source(parameters)?;
        let body = from_parameter.as_deref().map_or(body, str::as_bytes);
        let mut search = Self::default();
        if !body.trim_ascii().is_empty() {
            let text = std::str::from_utf8(body).unwrap_or_default();
            search = part(json::parse(body)?, Whole::Search).map_err(|error| error.locate(text))?;
        }
        super::parameters::apply(&mut search, parameters, false)?;
        Ok(search)
    }

    /// Read the body of `_count`, which has nothing but a `query`, and the
    /// parameters of its URL.
    ///
    /// # Errors
    /// As [`Search::parse`].
    pub fn parse_count(
        body: &[u8],
        parameters: &[(String, String)],
    ) -> std::result::Result<Self, QueryError> {
        let from_parameter = super::parameters::source(parameters)?;
        let body = from_parameter.as_deref().map_or(body, str::as_bytes);
        let mut search = Self::default();
        if !body.trim_ascii().is_empty() {
            let text = std::str::from_utf8(body).unwrap_or_default();
            search = part(json::parse(body)?, Whole::Count).map_err(|error| error.locate(text))?;
        }
        super::parameters::apply(&mut search, parameters, true)?;
        Ok(search)
    }
}

/// Which parts may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// A whole search.
    Search,
    /// Only a query.
    Count,
    /// What chooses the hits of a bucket.
    TopHits,
}

/// The error for a name that `what` does not have.
pub(super) fn unknown(what: &str, name: &str, value: &Value) -> QueryError {
    seeing_past(
        name,
        value.error(format!("[{what}] unknown field [{name}]")),
    )
}

/// `error`, marked where `name` is one of those that see past a filter.
pub(super) fn seeing_past(name: &str, error: QueryError) -> QueryError {
    if SEEING_PAST.contains(&name) {
        error.seeing_past(name)
    } else {
        error
    }
}

/// Nothing was asked: `false`, `{}`, `[]` and `null`.
fn is_nothing(value: &Value) -> bool {
    match &value.kind {
        Kind::Null | Kind::Bool(false) => true,
        Kind::Array(values) => values.is_empty(),
        Kind::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

pub(super) fn part(body: Value, whole: Whole) -> Result<Search> {
    let mut search = Search::default();
    let what = match whole {
        Whole::Search => "search",
        Whole::Count => "count",
        Whole::TopHits => "top_hits",
    };
    for (name, value) in body.object(what)? {
        match (name.as_str(), whole) {
            ("query", Whole::Search | Whole::Count) => {
                search.query = Some(query(value, MAX_QUERY_DEPTH)?);
            }
            (_, Whole::Count) => return Err(unknown("count", &name, &value)),
            ("post_filter", Whole::Search) => {
                search.post_filter = Some(query(value, MAX_QUERY_DEPTH)?);
            }
            ("aggs" | "aggregations", Whole::Search) => {
                if !search.aggs.is_empty() {
                    return Err(value.error("Found two sets of aggregations"));
                }
                search.aggs = aggregations(value)?;
            }
            ("search_after", Whole::Search) => {
                let values = value.array("search_after")?;
                let after = values
                    .into_iter()
                    .map(|value| value.scalar("search_after"))
                    .collect::<Result<Vec<_>>>()?;
                if after.is_empty() {
                    return Err(QueryError::argument(
                        "Values must contains at least one value.",
                    ));
                }
                search.search_after = Some(after);
            }
            ("track_total_hits", Whole::Search) => {
                search.track_total_hits = Some(track_total_hits(value)?);
            }
            ("min_score", Whole::Search) => search.min_score = Some(value.float("min_score")?),
            ("timeout", Whole::Search) => search.timeout = Some(duration(value, "timeout")?),
            ("terminate_after", Whole::Search) => {
                search.terminate_after = Some(from_zero(value, "terminate_after", |_| {
                    "terminateAfter must be > 0".to_owned()
                })?);
            }
            ("pit", Whole::Search) => search.pit = Some(pit(value)?),
            ("slice", Whole::Search) => search.slice = Some(slice(value)?),
            ("sort", _) => search.sort = sort(value)?,
            ("from", _) => {
                search.from = Some(from_zero(value, "from", |found| match whole {
                    Whole::TopHits => {
                        format!("[from] must be greater than or equal to 0. Found [{found}]")
                    }
                    _ => format!("[from] parameter cannot be negative but was [{found}]"),
                })?);
            }
            ("size", _) => {
                search.size = Some(from_zero(value, "size", |found| match whole {
                    Whole::TopHits => {
                        format!("[size] must be greater than or equal to 0. Found [{found}]")
                    }
                    _ => format!("[size] parameter cannot be negative, found [{found}]"),
                })?);
            }
            ("_source", _) => search.source = Some(source(value)?),
            ("fields", _) => search.fields = field_formats(value, "fields")?,
            ("docvalue_fields", _) => {
                search.docvalue_fields = field_formats(value, "docvalue_fields")?;
            }
            ("stored_fields", _) => search.stored_fields = Some(value.strings("stored_fields")?),
            ("highlight", _) => search.highlight = Some(highlight(value)?),
            ("track_scores", _) => search.track_scores = Some(value.flag("track_scores")?),
            ("version", _) => search.version = Some(value.flag("version")?),
            ("seq_no_primary_term", _) => {
                search.seq_no_primary_term = Some(value.flag("seq_no_primary_term")?);
            }
            // Clients send these empty.
            (
                "script_fields" | "runtime_mappings" | "explain" | "profile" | "ext" | "suggest",
                _,
            ) if is_nothing(&value) => {}
            _ => return Err(unknown(what, &name, &value)),
        }
    }
    Ok(search)
}

fn track_total_hits(value: Value) -> Result<TrackTotalHits> {
    match &value.kind {
        Kind::Number(text) if text == "-1" => Ok(TrackTotalHits::Whole(false)),
        Kind::Number(_) => up_to(value),
        Kind::String(text) if text != "true" && text != "false" => up_to(value),
        _ => Ok(TrackTotalHits::Whole(value.flag("track_total_hits")?)),
    }
}

fn up_to(value: Value) -> Result<TrackTotalHits> {
    let limit = from_zero(value, "track_total_hits", |found| {
        format!("[track_total_hits] parameter must be positive or equals to -1, got {found}")
    })?;
    Ok(TrackTotalHits::UpTo(limit))
}

/// A whole number from 0 on; `below` says what is wrong with a lesser one.
fn from_zero(value: Value, what: &str, below: impl Fn(i64) -> String) -> Result<u64> {
    let at = value.at;
    let number = value.whole(what)?;
    u64::try_from(number).map_err(|_| QueryError::argument(below(number)).at(at))
}

/// A duration, checked and kept as it was written.
fn duration(value: Value, what: &str) -> Result<String> {
    let at = value.at;
    let text = value.text(what)?;
    match super::date_math::duration_ms(&text) {
        Ok(_) => Ok(text),
        // No limit.
        Err(_) if what == "timeout" && text == "-1" => Ok(text),
        Err(error) => Err(QueryError::argument(error.to_string()).at(at)),
    }
}

fn pit(value: Value) -> Result<Pit> {
    let at = value.at;
    let (mut id, mut keep_alive) = (None, None);
    for (name, value) in value.object("pit")? {
        match name.as_str() {
            "id" => id = Some(value.text("id")?),
            "keep_alive" => keep_alive = Some(duration(value, "keep_alive")?),
            _ => return Err(unknown("pit", &name, &value)),
        }
    }
    let id = id.ok_or_else(|| QueryError::argument("point in time id is not provided").at(at))?;
    Ok(Pit { id, keep_alive })
}

/// As Elasticsearch does, it takes a slice without an `id` for one that has
/// nothing; here it is refused.
fn slice(value: Value) -> Result<Slice> {
    let at = value.at;
    let wrong = |reason: &str| QueryError::of_kind("x_content_parse_exception", reason).at(at);
    let (mut id, mut max, mut field) = (None, None, None);
    for (name, value) in value.object("slice")? {
        match name.as_str() {
            "id" => id = Some(value.unsigned("id")?),
            "max" => max = Some(value.unsigned("max")?),
            "field" => field = Some(value.text("field")?),
            _ => return Err(unknown("slice", &name, &value)),
        }
    }
    let (Some(id), Some(max)) = (id, max) else {
        return Err(wrong("[slice] Required [id, max]"));
    };
    if max <= 1 {
        return Err(wrong(
            "[slice] failed to parse field [max]: max must be greater than 1",
        ));
    }
    if max <= id {
        return Err(wrong(
            "[slice] failed to parse field [max]: max must be greater than id",
        ));
    }
    Ok(Slice { id, max, field })
}

/// The fields of a sort; each a name, or a name with its settings.
pub(super) fn sort(value: Value) -> Result<Vec<SortKey>> {
    let mut keys = Vec::new();
    for entry in value.list() {
        match entry.kind {
            Kind::String(field) => keys.push(sort_key(&field)),
            Kind::Object(entries) => {
                for (field, settings) in entries {
                    keys.push(sort_key_with(&field, settings)?);
                }
            }
            _ => return Err(QueryError::argument("malformed sort format, within the sort array, an object, or an actual string are allowed").at(entry.at)),
        }
    }
    Ok(keys)
}

pub(super) fn sort_key(field: &str) -> SortKey {
    SortKey {
        field: field.to_owned(),
        order: None,
        missing: None,
        unmapped_type: None,
        mode: None,
        format: None,
        numeric_type: None,
    }
}

fn sort_key_with(field: &str, settings: Value) -> Result<SortKey> {
    let mut key = sort_key(field);
    if field == "_script" || field == "_geo_distance" {
        return Err(unknown("sort", field, &settings));
    }
    if matches!(settings.kind, Kind::String(_)) {
        key.order = Some(order(&settings)?);
        return Ok(key);
    }
    if !matches!(settings.kind, Kind::Object(_)) {
        let kind = settings.kind_name();
        let reason = format!("[field_sort] Expected START_OBJECT but was: {kind}");
        return Err(QueryError::x_content(reason).at(settings.at));
    }
    object_settings("field_sort", settings, &mut |name, value| {
        match name {
            "order" => key.order = Some(order(&value)?),
            "missing" => key.missing = value.optional_scalar(name)?,
            "unmapped_type" => key.unmapped_type = Some(value.text(name)?),
            "mode" => {
                key.mode = Some(one_of(
                    value,
                    "Unknown SortMode",
                    &["min", "max", "sum", "avg", "median"],
                )?);
            }
            "format" => key.format = Some(value.text(name)?),
            "numeric_type" => {
                key.numeric_type = Some(one_of(
                    value,
                    "invalid value for [numeric_type], must be [long, double, date, date_nanos], got",
                    &["long", "double", "date", "date_nanos"],
                )?);
            }
            // Kibana sends it beside `unmapped_type`; it says the default.
            "ignore_unmapped" if matches!(value.kind, Kind::Bool(false)) => {}
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(key)
}

/// One of `words`, without regard to case.
fn one_of(value: Value, otherwise: &str, words: &[&str]) -> Result<String> {
    let at = value.at;
    let word = value.text("value")?.to_ascii_lowercase();
    if words.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(QueryError::argument(format!("{otherwise} [{word}]")).at(at))
}

/// What takes a setting; one that it does not know comes back.
pub(super) type Take<'a> = &'a mut dyn FnMut(&str, Value) -> Result<Option<Value>>;

/// The settings of the object `what`, each given to `take`. Their errors are
/// those of the object, as Elasticsearch has it where it reads one as a whole.
pub(super) fn object_settings(what: &str, body: Value, take: Take<'_>) -> Result<()> {
    for (key, value) in body.object(what)? {
        let at = value.at;
        let left = take(&key, value).map_err(|error| error.within(what, &key, at))?;
        if left.is_some() {
            let reason = format!("[{what}] unknown field [{key}]");
            return Err(seeing_past(&key, QueryError::x_content(reason).at(at)));
        }
    }
    Ok(())
}

/// `asc` or `desc`.
pub(super) fn order(value: &Value) -> Result<Order> {
    match &value.kind {
        Kind::String(text) if text.eq_ignore_ascii_case("asc") => Ok(Order::Asc),
        Kind::String(text) if text.eq_ignore_ascii_case("desc") => Ok(Order::Desc),
        _ => Err(QueryError::argument("[order] must be [asc] or [desc]").at(value.at)),
    }
}

fn source(value: Value) -> Result<SourceFilter> {
    match value.kind {
        Kind::Bool(whole) => Ok(SourceFilter::Whole(whole)),
        Kind::String(_) | Kind::Array(_) => Ok(SourceFilter::Patterns {
            includes: value.texts("_source")?,
            excludes: Vec::new(),
        }),
        Kind::Object(entries) => {
            let (mut includes, mut excludes) = (Vec::new(), Vec::new());
            for (name, value) in entries {
                match name.as_str() {
                    "includes" | "include" => includes = patterns(value, &name)?,
                    "excludes" | "exclude" => excludes = patterns(value, &name)?,
                    _ => return Err(unknown("_source", &name, &value)),
                }
            }
            Ok(SourceFilter::Patterns { includes, excludes })
        }
        _ => Err(value.unexpected("_source")),
    }
}

/// Patterns of names, where a number is none.
fn patterns(value: Value, what: &str) -> Result<Vec<String>> {
    let patterns = value.list().into_iter();
    patterns
        .map(|pattern| match pattern.kind {
            Kind::String(text) => Ok(text),
            _ => Err(pattern.unexpected(what)),
        })
        .collect()
}

fn field_formats(value: Value, what: &str) -> Result<Vec<FieldFormat>> {
    let mut list = Vec::new();
    for entry in value.array(what)? {
        let mut format = FieldFormat {
            field: String::new(),
            format: None,
            include_unmapped: None,
        };
        let at = entry.at;
        match entry.kind {
            Kind::String(field) | Kind::Number(field) => format.field = field,
            Kind::Object(entries) => {
                let entry = Value {
                    at,
                    kind: Kind::Object(entries),
                };
                object_settings("field_and_format", entry, &mut |name, value| {
                    match name {
                        "field" => format.field = value.string(name)?,
                        "format" => {
                            format.format = value.optional_scalar(name)?.and_then(text_of);
                        }
                        "include_unmapped" => {
                            format.include_unmapped = Some(value.boolean(name)?);
                        }
                        _ => return Ok(Some(value)),
                    }
                    Ok(None)
                })?;
            }
            _ => {
                let kind = entry.kind_name();
                let reason =
                    format!("[fetch_field_and_format] Expected START_OBJECT but was: {kind}");
                return Err(QueryError::x_content(reason).at(at));
            }
        }
        if format.field.is_empty() {
            return Err(QueryError::argument("Required [field]").at(at));
        }
        list.push(format);
    }
    Ok(list)
}

fn text_of(scalar: Scalar) -> Option<String> {
    match scalar {
        Scalar::String(text) => Some(text),
        Scalar::Number(number) => Some(number.0),
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Null => None,
    }
}

fn highlight(value: Value) -> Result<Highlight> {
    let mut highlight = Highlight::default();
    object_settings("highlight", value, &mut |name, value| {
        if name != "fields" {
            return highlight_setting(&mut highlight.settings, name, value);
        }
        for entry in value.list() {
            for (field, settings) in entry.object("fields")? {
                let mut own = HighlightSettings::default();
                object_settings("highlight_field", settings, &mut |name, value| {
                    highlight_setting(&mut own, name, value)
                })?;
                check_tags(&own)?;
                highlight.fields.push((field, own));
            }
        }
        Ok(None)
    })?;
    check_tags(&highlight.settings)?;
    Ok(highlight)
}

/// A mark that begins must end; one that only ends begins with `<em>`, as in
/// Elasticsearch.
fn check_tags(settings: &HighlightSettings) -> Result<()> {
    match (&settings.pre_tags, &settings.post_tags) {
        (Some(_), None) => Err(QueryError::parsing(
            "pre_tags are set but post_tags are not set",
        )),
        _ => Ok(()),
    }
}

fn highlight_setting(
    settings: &mut HighlightSettings,
    name: &str,
    value: Value,
) -> Result<Option<Value>> {
    match name {
        "pre_tags" => settings.pre_tags = Some(value.texts(name)?),
        "post_tags" => settings.post_tags = Some(value.texts(name)?),
        "fragment_size" => settings.fragment_size = Some(value.unsigned(name)?),
        "number_of_fragments" => settings.number_of_fragments = Some(value.unsigned(name)?),
        "no_match_size" => settings.no_match_size = Some(value.unsigned(name)?),
        "require_field_match" => settings.require_field_match = Some(value.boolean(name)?),
        "type" => settings.kind = Some(value.text(name)?),
        "encoder" => settings.encoder = Some(value.text(name)?),
        "order" => settings.order = Some(value.text(name)?),
        "highlight_query" => {
            settings.highlight_query = Some(Box::new(query(value, MAX_QUERY_DEPTH)?));
        }
        _ => return Ok(Some(value)),
    }
    Ok(None)
}
