//! The clauses of a query.

use super::ast::{
    Bool, Clause, Match, MatchPhrase, MultiMatch, Number, Operator, Query, QueryString, Range,
    Scalar, Term,
};
use super::error::QueryError;
use super::json::{Kind, Result, Value};
use super::lucene;
use super::parse::{object_settings, seeing_past, unknown};
use super::regexp;

/// How deep queries may nest (`indices.query.bool.max_nested_depth`).
pub(super) const MAX_QUERY_DEPTH: usize = 30;
/// How many values `terms` may have (`index.max_terms_count`).
const MAX_TERMS: usize = 65_536;
/// How many clauses one `bool` may have (`indices.query.bool.max_clause_count`).
const MAX_CLAUSES: usize = 1_024;
/// How many bytes the text of a query string may have.
const MAX_TEXT: usize = 32 * 1_024;

/// Queries that reach beyond the documents and fields that they name.
const SEEING_PAST: &[&str] = &[
    "more_like_this",
    "more_like_this_query",
    "mlt",
    "percolate",
    "has_child",
    "has_parent",
    "parent_id",
    "nested",
    "script",
    "script_score",
    "function_score",
    "knn",
    "semantic",
    "sparse_vector",
    "text_expansion",
    "wrapper",
    "template",
    "terms_set",
    "span_multi",
    "neural",
];

/// Read a query; `depth` is how many may still nest in it.
pub(super) fn query(value: Value, depth: usize) -> Result<Query> {
    let at = value.at;
    if depth == 0 {
        let reason = format!(
            "The nested depth of the query exceeds the maximum nested depth for queries set in [indices.query.bool.max_nested_depth] ({MAX_QUERY_DEPTH})"
        );
        return Err(QueryError::argument(reason).at(at));
    }
    let mut entries = value.object("query")?.into_iter();
    let Some((name, body)) = entries.next() else {
        return Err(QueryError::argument("query malformed, empty clause found").at(at));
    };
    if let Some((second, value)) = entries.next() {
        return Err(value.error(format!(
            "[{name}] malformed query, expected [END_OBJECT] but found [{second}]"
        )));
    }
    let mut common = Common::default();
    let clause = clause(&name, body, depth, &mut common)?;
    Ok(Query {
        clause,
        boost: common.boost,
        name: common.name,
    })
}

/// What every query may have.
#[derive(Default)]
struct Common {
    boost: Option<Number>,
    name: Option<String>,
}

impl Common {
    /// Take `boost` and `_name`; anything else comes back.
    fn take(&mut self, name: &str, value: Value) -> Result<Option<Value>> {
        match name {
            "boost" => self.boost = Some(boost(value)?),
            "_name" => self.name = Some(value.text("_name")?),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    }
}

fn boost(value: Value) -> Result<Number> {
    let at = value.at;
    let number = value.float("boost")?;
    match number.0.parse::<f32>() {
        Ok(factor) if factor.is_finite() && factor >= 0.0 => Ok(number),
        _ => Err(QueryError::argument(format!(
            "[boost] must be a positive float, got {}",
            number.0
        ))
        .at(at)),
    }
}

fn clause(name: &str, body: Value, depth: usize, common: &mut Common) -> Result<Clause> {
    Ok(match name {
        "match_all" => nothing_else(name, body, common).map(|()| Clause::MatchAll)?,
        "match_none" => nothing_else(name, body, common).map(|()| Clause::MatchNone)?,
        "match" => Clause::Match(matching(name, body, common)?),
        "match_bool_prefix" => Clause::MatchBoolPrefix(matching(name, body, common)?),
        "match_phrase" => Clause::MatchPhrase(phrase(name, body, common)?),
        "match_phrase_prefix" => Clause::MatchPhrasePrefix(phrase(name, body, common)?),
        "multi_match" => Clause::MultiMatch(multi_match(body, common)?),
        "term" => Clause::Term(term(name, body, common, &mut |_, value| Ok(Some(value)))?),
        "prefix" => Clause::Prefix(term(name, body, common, &mut |_, value| Ok(Some(value)))?),
        "wildcard" => Clause::Wildcard(term(name, body, common, &mut |_, value| Ok(Some(value)))?),
        "regexp" => regexp(body, common)?,
        "fuzzy" => fuzzy(body, common)?,
        "terms" => terms(body, common)?,
        "range" => Clause::Range(range(body, common)?),
        "bool" => Clause::Bool(boolean(body, depth, common)?),
        "exists" => {
            let mut field = None;
            let at = body.at;
            for (name, value) in body.object("exists")? {
                let Some(value) = common.take(&name, value)? else {
                    continue;
                };
                match name.as_str() {
                    "field" => field = Some(value.text("field")?),
                    _ => return Err(unknown("exists", &name, &value)),
                }
            }
            let field = field.filter(|field| !field.is_empty());
            Clause::Exists {
                field: field.ok_or_else(|| {
                    QueryError::parsing("[exists] must be provided with a [field]").at(at)
                })?,
            }
        }
        "ids" => {
            let mut values = Vec::new();
            for (name, value) in body.object("ids")? {
                let Some(value) = common.take(&name, value)? else {
                    continue;
                };
                match name.as_str() {
                    "values" if matches!(value.kind, Kind::Number(_)) => {
                        return Err(value.unexpected("values"));
                    }
                    "values" => values = value.texts("values")?,
                    _ => return Err(unknown("ids", &name, &value)),
                }
            }
            Clause::Ids { values }
        }
        "constant_score" => {
            let at = body.at;
            let mut filter = None;
            for (name, value) in body.object("constant_score")? {
                let Some(value) = common.take(&name, value)? else {
                    continue;
                };
                match name.as_str() {
                    "filter" => filter = Some(Box::new(query(value, depth - 1)?)),
                    _ => return Err(unknown("constant_score", &name, &value)),
                }
            }
            Clause::ConstantScore {
                filter: filter.ok_or_else(|| {
                    QueryError::parsing("[constant_score] requires a 'filter' element").at(at)
                })?,
            }
        }
        "query_string" => Clause::QueryString(query_string(name, body, common)?),
        "simple_query_string" => Clause::SimpleQueryString(query_string(name, body, common)?),
        _ => {
            let error = body.error(format!("unknown query [{name}]"));
            let known = SEEING_PAST.contains(&name) || name.starts_with("span_");
            return Err(if known {
                error.seeing_past(name)
            } else {
                error
            });
        }
    })
}

/// The settings of a query of texts, which are values and not `null`, but for
/// a list of fields.
fn settings_of(what: &str, body: Value) -> Result<Vec<(String, Value)>> {
    let entries = body.object(what)?;
    let wrong = |(name, value): &&(String, Value)| match value.kind {
        Kind::Array(_) => name != "fields",
        Kind::Null | Kind::Object(_) => true,
        _ => false,
    };
    match entries.iter().find(wrong) {
        Some((name, value)) => {
            let kind = value.kind_name();
            let reason = format!("[{what}] unknown token [{kind}] after [{name}]");
            Err(seeing_past(name, value.error(reason)))
        }
        None => Ok(entries),
    }
}

fn nothing_else(what: &str, body: Value, common: &mut Common) -> Result<()> {
    for (name, value) in body.object(what)? {
        if let Some(value) = common.take(&name, value)? {
            return Err(unknown(what, &name, &value));
        }
    }
    Ok(())
}

/// `{"field": settings}`, with `_name` and `boost` beside the field where
/// older clients write them.
fn one_field(what: &str, body: Value, common: &mut Common) -> Result<(String, Value)> {
    let at = body.at;
    let mut found: Option<(String, Value)> = None;
    for (name, value) in body.object(what)? {
        let is_setting = !matches!(value.kind, Kind::Object(_) | Kind::Array(_))
            && (name == "_name" || name == "boost");
        if is_setting {
            common.take(&name, value)?;
        } else if let Some((first, _)) = &found {
            let reason = format!(
                "[{what}] query doesn't support multiple fields, found [{first}] and [{name}]"
            );
            return Err(value.error(reason));
        } else {
            found = Some((name, value));
        }
    }
    match found {
        Some((field, value)) if !field.is_empty() => Ok((field, value)),
        _ => Err(QueryError::argument(format!("[{what}] field name is null or empty")).at(at)),
    }
}

fn required(what: &str, at: usize, value: Option<Scalar>) -> Result<Option<Scalar>> {
    match value {
        None | Some(Scalar::Null) => {
            Err(QueryError::parsing(format!("[{what}] No text specified for text query")).at(at))
        }
        some => Ok(some),
    }
}

fn matching(what: &str, body: Value, common: &mut Common) -> Result<Match> {
    let (field, settings) = one_field(what, body, common)?;
    let mut found = Match {
        field,
        ..Match::default()
    };
    let at = settings.at;
    if !matches!(settings.kind, Kind::Object(_)) {
        found.query = Some(asked(settings)?);
    } else {
        for (name, value) in settings_of(what, settings)? {
            let Some(value) = common.take(&name, value)? else {
                continue;
            };
            if let Some(value) = match_setting(&mut found, &name, value)? {
                return Err(unknown(what, &name, &value));
            }
        }
    }
    found.query = required(what, at, found.query)?;
    Ok(found)
}

/// The text that is asked for.
fn asked(value: Value) -> Result<Scalar> {
    if matches!(value.kind, Kind::Array(_) | Kind::Object(_)) {
        let reason = format!("Expected text but found {}", value.kind_name());
        return Err(QueryError::argument(reason).at(value.at));
    }
    value.scalar("query")
}

/// Take what `match`, `match_bool_prefix` and `multi_match` share; anything
/// else comes back.
fn match_setting(found: &mut Match, name: &str, value: Value) -> Result<Option<Value>> {
    match name {
        "query" => found.query = Some(asked(value)?),
        "operator" => found.operator = Some(operator(&value)?),
        "minimum_should_match" => found.minimum_should_match = value.optional_scalar(name)?,
        "fuzziness" => found.fuzziness = value.optional_scalar(name)?,
        "prefix_length" => found.prefix_length = Some(value.unsigned(name)?),
        "max_expansions" => found.max_expansions = Some(value.unsigned(name)?),
        "fuzzy_transpositions" => found.fuzzy_transpositions = Some(value.boolean(name)?),
        "lenient" => found.lenient = Some(value.boolean(name)?),
        "zero_terms_query" => found.zero_terms_query = Some(zero_terms(value)?),
        "analyzer" => found.analyzer = Some(value.text(name)?),
        "auto_generate_synonyms_phrase_query" => {
            found.auto_generate_synonyms_phrase_query = Some(value.boolean(name)?);
        }
        _ => return Ok(Some(value)),
    }
    Ok(None)
}

fn operator(value: &Value) -> Result<Operator> {
    match &value.kind {
        Kind::String(text) if text.eq_ignore_ascii_case("and") => Ok(Operator::And),
        Kind::String(text) if text.eq_ignore_ascii_case("or") => Ok(Operator::Or),
        Kind::String(text) | Kind::Number(text) => {
            let reason = format!(
                "No enum constant org.elasticsearch.index.query.Operator.{}",
                text.to_uppercase()
            );
            Err(QueryError::argument(reason).at(value.at))
        }
        _ => Err(value.error("operator needs to be either [and] or [or]")),
    }
}

fn zero_terms(value: Value) -> Result<String> {
    let at = value.at;
    let text = value.text("zero_terms_query")?.to_ascii_lowercase();
    if text == "none" || text == "all" {
        return Ok(text);
    }
    Err(QueryError::parsing(format!("Unsupported zero_terms_query value [{text}]")).at(at))
}

fn phrase(what: &str, body: Value, common: &mut Common) -> Result<MatchPhrase> {
    let (field, settings) = one_field(what, body, common)?;
    let mut found = MatchPhrase {
        field,
        ..MatchPhrase::default()
    };
    let at = settings.at;
    if !matches!(settings.kind, Kind::Object(_)) {
        found.query = Some(settings.scalar(what)?);
    } else {
        for (name, value) in settings_of(what, settings)? {
            let Some(value) = common.take(&name, value)? else {
                continue;
            };
            match name.as_str() {
                "query" => found.query = Some(asked(value)?),
                "slop" => found.slop = Some(slop(value)?),
                "max_expansions" if what == "match_phrase_prefix" => {
                    found.max_expansions = Some(value.unsigned("max_expansions")?);
                }
                "zero_terms_query" => found.zero_terms_query = Some(zero_terms(value)?),
                "analyzer" => found.analyzer = Some(value.text("analyzer")?),
                _ => return Err(unknown(what, &name, &value)),
            }
        }
    }
    if found.query.is_none() {
        let reason = format!("[{what}] requires query value");
        return Err(QueryError::argument(reason).at(at));
    }
    found.query = required(what, at, found.query)?;
    Ok(found)
}

fn slop(value: Value) -> Result<u64> {
    let at = value.at;
    let number = value.float("slop")?;
    if number.0.starts_with('-') {
        return Err(QueryError::argument("No negative slop allowed.").at(at));
    }
    number
        .0
        .parse()
        .ok()
        .filter(|slop| *slop <= i32::MAX as u64)
        .ok_or_else(|| QueryError::argument("[slop] must be a whole number").at(at))
}

fn multi_match(body: Value, common: &mut Common) -> Result<MultiMatch> {
    let at = body.at;
    let mut found = MultiMatch {
        fields: Vec::new(),
        matching: Match::default(),
        kind: None,
        slop: None,
        tie_breaker: None,
    };
    for (name, value) in settings_of("multi_match", body)? {
        let Some(value) = common.take(&name, value)? else {
            continue;
        };
        match name.as_str() {
            "fields" => found.fields = value.texts("fields")?,
            "type" => found.kind = Some(value.text("type")?),
            "slop" => found.slop = Some(slop(value)?),
            "tie_breaker" => found.tie_breaker = Some(value.number("tie_breaker")?),
            _ => {
                if let Some(value) = match_setting(&mut found.matching, &name, value)? {
                    return Err(unknown("multi_match", &name, &value));
                }
            }
        }
    }
    let kinds = [
        "best_fields",
        "most_fields",
        "phrase",
        "phrase_prefix",
        "bool_prefix",
        "cross_fields",
    ];
    if let Some(kind) = found.kind.as_deref().filter(|kind| !kinds.contains(kind)) {
        let reason = format!("failed to parse [multi_match] query type [{kind}]. unknown type.");
        return Err(QueryError::of_kind("parse_exception", reason).at(at));
    }
    let kind = found.kind.as_deref().unwrap_or("best_fields");
    if found.matching.fuzziness.is_some()
        && matches!(kind, "cross_fields" | "phrase" | "phrase_prefix")
    {
        let reason = format!("Fuzziness not allowed for type [{kind}]");
        return Err(QueryError::parsing(reason).at(at));
    }
    if kind == "bool_prefix" && found.slop.is_some_and(|slop| slop > 0) {
        let reason = "[slop] not allowed for type [bool_prefix]";
        return Err(QueryError::parsing(reason).at(at));
    }
    found.matching.query = required("multi_match", at, found.matching.query)?;
    Ok(found)
}

/// A field and a value; what `more` does not take is unknown.
fn term(
    what: &str,
    body: Value,
    common: &mut Common,
    more: &mut dyn FnMut(&str, Value) -> Result<Option<Value>>,
) -> Result<Term> {
    let (field, settings) = one_field(what, body, common)?;
    let at = settings.at;
    let mut found = Term {
        field,
        value: Scalar::Null,
        case_insensitive: None,
        rewrite: None,
    };
    if !matches!(settings.kind, Kind::Object(_)) {
        if what == "wildcard" && matches!(settings.kind, Kind::Array(_)) {
            let reason = "Expected text but found START_ARRAY";
            return Err(QueryError::argument(reason).at(at));
        }
        found.value = settings.scalar(what)?;
    } else {
        for (name, value) in settings.object(what)? {
            let Some(value) = common.take(&name, value)? else {
                continue;
            };
            match (name.as_str(), what) {
                ("value", _)
                | ("wildcard", "wildcard")
                | ("prefix", "prefix")
                | ("term", "term" | "fuzzy") => {
                    found.value = value.scalar(&name)?;
                }
                ("case_insensitive", "term" | "prefix" | "wildcard" | "regexp") => {
                    found.case_insensitive = Some(value.boolean(&name)?);
                }
                ("rewrite", "prefix" | "wildcard" | "regexp" | "fuzzy") => {
                    found.rewrite = Some(value.text(&name)?);
                }
                _ => {
                    if let Some(value) = more(&name, value)? {
                        return Err(unknown(what, &name, &value));
                    }
                }
            }
        }
    }
    if found.value == Scalar::Null {
        return Err(QueryError::argument("value cannot be null").at(at));
    }
    if what != "term" && what != "fuzzy" && !matches!(found.value, Scalar::String(_)) {
        found.value = Scalar::String(match found.value {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Number(number) => number.0,
            Scalar::Null | Scalar::String(_) => {
                return Err(QueryError::argument("value cannot be null").at(at));
            }
        });
    }
    Ok(found)
}

fn regexp(body: Value, common: &mut Common) -> Result<Clause> {
    let (mut flags, mut states) = (None, None);
    let term = term("regexp", body, common, &mut |name, value| {
        match name {
            "flags" if matches!(value.kind, Kind::Null) => {}
            "flags" => {
                let at = value.at;
                let text = value.text(name)?;
                regexp::Flags::parse(&text).map_err(|error| QueryError::argument(error).at(at))?;
                flags = Some(text);
            }
            "max_determinized_states" => states = Some(value.unsigned(name)?),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(Clause::Regexp {
        term,
        flags,
        max_determinized_states: states,
    })
}

fn fuzzy(body: Value, common: &mut Common) -> Result<Clause> {
    let (mut fuzziness, mut prefix_length, mut max_expansions, mut transpositions) =
        (None, None, None, None);
    let term = term("fuzzy", body, common, &mut |name, value| {
        if matches!(value.kind, Kind::Null) {
            let reason = format!("[fuzzy] unexpected token [VALUE_NULL] after [{name}]");
            return Err(value.error(reason));
        }
        match name {
            "fuzziness" => fuzziness = value.optional_scalar(name)?,
            "prefix_length" => prefix_length = Some(value.unsigned(name)?),
            "max_expansions" => max_expansions = Some(value.unsigned(name)?),
            "transpositions" => transpositions = Some(value.boolean(name)?),
            _ => return Ok(Some(value)),
        }
        Ok(None)
    })?;
    Ok(Clause::Fuzzy {
        term,
        fuzziness,
        prefix_length,
        max_expansions,
        transpositions,
    })
}

fn terms(body: Value, common: &mut Common) -> Result<Clause> {
    let at = body.at;
    let (field, list) = one_field("terms", body, common).map_err(|error| {
        if error.kind != "illegal_argument_exception" {
            return error;
        }
        let reason = "[terms] query requires a field name, followed by array of terms or a document lookup specification";
        QueryError::parsing(reason).at(at)
    })?;
    if matches!(list.kind, Kind::Object(_)) {
        return Err(list
            .error("[terms] query does not support a lookup")
            .seeing_past("terms lookup"));
    }
    let at = list.at;
    let values = list
        .array("terms")?
        .into_iter()
        .map(|value| value.scalar("terms"))
        .collect::<Result<Vec<_>>>()?;
    if values.contains(&Scalar::Null) {
        return Err(QueryError::parsing("No value specified for terms query").at(at));
    }
    if values.len() > MAX_TERMS {
        let reason = format!(
            "The number of terms [{}] used in the Terms Query request has exceeded the allowed maximum of [{MAX_TERMS}]",
            values.len()
        );
        return Err(QueryError::argument(reason).at(at));
    }
    Ok(Clause::Terms { field, values })
}

fn range(body: Value, common: &mut Common) -> Result<Range> {
    let (field, settings) = one_field("range", body, common)?;
    let at = settings.at;
    let mut found = Range {
        field,
        ..Range::default()
    };
    let (mut from, mut to, mut with_lower, mut with_upper) = (None, None, true, true);
    for (name, value) in settings.object("range")? {
        let Some(value) = common.take(&name, value)? else {
            continue;
        };
        match name.as_str() {
            "gt" => found.gt = value.optional_scalar("gt")?,
            "gte" => found.gte = value.optional_scalar("gte")?,
            "lt" => found.lt = value.optional_scalar("lt")?,
            "lte" => found.lte = value.optional_scalar("lte")?,
            "from" => from = value.optional_scalar("from")?,
            "to" => to = value.optional_scalar("to")?,
            "include_lower" => with_lower = value.boolean("include_lower")?,
            "include_upper" => with_upper = value.boolean("include_upper")?,
            "format" => found.format = Some(value.text("format")?),
            "time_zone" => found.time_zone = Some(value.text("time_zone")?),
            "relation" => found.relation = Some(value.text("relation")?),
            _ => return Err(unknown("range", &name, &value)),
        }
    }
    if let Some(from) = from {
        *(if with_lower {
            &mut found.gte
        } else {
            &mut found.gt
        }) = Some(from);
    }
    if let Some(to) = to {
        *(if with_upper {
            &mut found.lte
        } else {
            &mut found.lt
        }) = Some(to);
    }
    if (found.gt.is_some() && found.gte.is_some()) || (found.lt.is_some() && found.lte.is_some()) {
        return Err(QueryError::parsing("[range] a bound is given twice").at(at));
    }
    Ok(found)
}

fn boolean(body: Value, depth: usize, common: &mut Common) -> Result<Bool> {
    let at = body.at;
    let mut found = Bool::default();
    object_settings("bool", body, &mut |name, value| {
        let Some(value) = common.take(name, value)? else {
            return Ok(None);
        };
        let list = match name {
            "must" => &mut found.must,
            "filter" => &mut found.filter,
            "should" => &mut found.should,
            "must_not" | "mustNot" => &mut found.must_not,
            "minimum_should_match" | "minimumShouldMatch" => {
                found.minimum_should_match = value.optional_scalar(name)?;
                return Ok(None);
            }
            "adjust_pure_negative" if matches!(value.kind, Kind::Bool(true)) => return Ok(None),
            _ => return Ok(Some(value)),
        };
        if matches!(value.kind, Kind::Null) {
            return Ok(None);
        }
        if !matches!(value.kind, Kind::Object(_) | Kind::Array(_)) {
            let kind = value.kind_name();
            let reason = format!("[bool] {name} doesn't support values of type: {kind}");
            return Err(QueryError::x_content(reason).at(value.at));
        }
        for clause in value.list() {
            list.push(query(clause, depth - 1)?);
        }
        Ok(None)
    })?;
    let clauses = found.must.len() + found.filter.len() + found.should.len() + found.must_not.len();
    if clauses > MAX_CLAUSES {
        return Err(QueryError::of_kind(
            "too_many_clauses",
            format!("maxClauseCount is set to {MAX_CLAUSES}"),
        )
        .at(at));
    }
    Ok(found)
}

/// `query_string` and `simple_query_string`.
fn query_string(what: &str, body: Value, common: &mut Common) -> Result<QueryString> {
    let at = body.at;
    let mut found = QueryString::default();
    let mut text = None;
    let is_simple = what == "simple_query_string";
    for (name, value) in settings_of(what, body)? {
        let Some(value) = common.take(&name, value)? else {
            continue;
        };
        match (name.as_str(), is_simple) {
            ("query", _) => text = Some(value.text("query")?),
            ("fields", _) => found.fields = value.texts("fields")?,
            ("default_field", false) => found.default_field = Some(value.text("default_field")?),
            ("default_operator", _) => found.default_operator = Some(operator(&value)?),
            ("allow_leading_wildcard", false) => {
                found.allow_leading_wildcard = Some(value.boolean(&name)?);
            }
            ("analyze_wildcard", _) => found.analyze_wildcard = Some(value.boolean(&name)?),
            ("lenient", _) => found.lenient = Some(value.boolean(&name)?),
            ("minimum_should_match", _) => {
                found.minimum_should_match = value.optional_scalar(&name)?;
            }
            ("phrase_slop", false) => found.phrase_slop = Some(value.unsigned(&name)?),
            ("time_zone", false) => found.time_zone = Some(value.text(&name)?),
            ("flags", true) => found.flags = Some(value.text(&name)?),
            ("analyzer", _) => found.analyzer = Some(value.text(&name)?),
            ("fuzziness", false) => found.fuzziness = value.optional_scalar(&name)?,
            _ => return Err(unknown(what, &name, &value)),
        }
    }
    if found.default_field.is_some() && !found.fields.is_empty() {
        let reason = "failed to create query: cannot use [fields] parameter in conjunction with [default_field]";
        return Err(QueryError::of_kind("query_shard_exception", reason)
            .by_shards()
            .at(at));
    }
    found.query = text.ok_or_else(|| {
        QueryError::parsing(format!("[{what}] must be provided with a [query]")).at(at)
    })?;
    if is_simple {
        simple_tree(&mut found)
    } else {
        query_string_tree(&mut found)
    }
    .map_err(|error| error.at(at))?;
    Ok(found)
}

/// Read the text of a `query_string` by its settings.
pub(super) fn query_string_tree(found: &mut QueryString) -> Result<()> {
    check_length(&found.query)?;
    let settings = lucene::Settings {
        default_operator: found.default_operator.unwrap_or(Operator::Or),
        allow_leading_wildcard: found.allow_leading_wildcard.unwrap_or(true),
        all_fields: found.fields.is_empty()
            && found
                .default_field
                .as_deref()
                .is_none_or(|field| field == "*"),
        bare_ranges: found.fields.is_empty(),
    };
    found.tree = lucene::parse(&found.query, settings).unwrap_or_else(lucene::Node::Unreadable);
    Ok(())
}

fn simple_tree(found: &mut QueryString) -> Result<()> {
    check_length(&found.query)?;
    if found.query.trim() == "*" {
        found.tree = lucene::Node::All;
        return Ok(());
    }
    let flags = match found.flags.as_deref() {
        None => lucene::Flags::default(),
        Some(text) => lucene::Flags::parse(text).ok_or_else(|| {
            QueryError::argument(format!("Unknown simple_query_string flag [{text}]"))
        })?,
    };
    found.tree = lucene::parse_simple(
        &found.query,
        found.default_operator.unwrap_or(Operator::Or),
        flags,
    )
    .map_err(|error| {
        let kind = match error {
            lucene::TooMuch::Nested => "illegal_argument_exception",
            lucene::TooMuch::Clauses => "too_many_clauses",
        };
        QueryError::of_kind(kind, error.to_string())
    })?;
    Ok(())
}

fn check_length(text: &str) -> Result<()> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    Err(QueryError::argument(format!(
        "Query string length exceeds max allowed length {MAX_TEXT}"
    )))
}
