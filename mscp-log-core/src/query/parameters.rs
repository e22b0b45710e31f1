//! The parameters of a search's URL: those that say what is searched become
//! part of the tree, those that say how the answer is made are known by name,
//! and all others are refused.

use super::ast::{
    Clause, FieldFormat, Operator, Order, Query, QueryString, Search, SourceFilter, TrackTotalHits,
};
use super::error::QueryError;
use super::json::Result;
use super::parse::sort_key;
use super::parse_query::query_string_tree;

/// Parameters that do not change which documents are found or what is said of
/// them. Who answers the request looks at those that concern it.
const WITHOUT_MEANING_FOR_THE_TREE: &[&str] = &[
    "pretty",
    "human",
    "error_trace",
    "filter_path",
    "format",
    "typed_keys",
    "rest_total_hits_as_int",
    "ignore_unavailable",
    "allow_no_indices",
    "expand_wildcards",
    "ignore_throttled",
    "allow_partial_search_results",
    "batched_reduce_size",
    "max_concurrent_shard_requests",
    "max_concurrent_searches",
    "pre_filter_shard_size",
    "request_cache",
    "ccs_minimize_roundtrips",
    "preference",
    "routing",
    "search_type",
    "source_content_type",
];

/// The body, where it is in the parameter `source`.
pub(super) fn source(parameters: &[(String, String)]) -> Result<Option<String>> {
    let Some((_, body)) = parameters.iter().find(|(name, _)| name == "source") else {
        return Ok(None);
    };
    match parameters
        .iter()
        .find(|(name, _)| name == "source_content_type")
    {
        Some((_, kind)) if is_json(kind) => Ok(Some(body.clone())),
        Some((_, kind)) => Err(QueryError::argument(format!(
            "Unknown value for source_content_type [{kind}]"
        ))),
        None => Err(QueryError::of_kind(
            "illegal_state_exception",
            "source and source_content_type parameters are required",
        )),
    }
}

/// Whether a media type says JSON.
pub(super) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let known = [
        "application/json",
        "application/x-ndjson",
        "application/vnd.elasticsearch+json",
        "application/vnd.elasticsearch+x-ndjson",
    ];
    known.iter().any(|name| essence.eq_ignore_ascii_case(name))
}

/// Put the parameters into the tree. For `_count` only those that make a query exist.
/// What shapes a `q` means nothing without one, as in Elasticsearch.
pub(super) fn apply(
    search: &mut Search,
    parameters: &[(String, String)],
    count: bool,
) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    let mut text = QueryString::default();
    let mut written = false;
    for (name, value) in parameters {
        if !names.insert(name.as_str()) {
            return Err(QueryError::argument(format!(
                "parameter [{name}] is given twice"
            )));
        }
        match (name.as_str(), count) {
            ("q", _) => {
                written = true;
                text.query.clone_from(value);
            }
            ("df", _) => text.default_field = Some(value.clone()),
            ("analyzer", _) => text.analyzer = Some(value.clone()),
            ("analyze_wildcard", _) => text.analyze_wildcard = Some(flag(name, value)?),
            ("lenient", _) => text.lenient = Some(flag(name, value)?),
            ("default_operator", _) => {
                text.default_operator = Some(match value.to_ascii_lowercase().as_str() {
                    "and" => Operator::And,
                    "or" => Operator::Or,
                    _ => {
                        return Err(QueryError::argument(
                            "operator needs to be either [and] or [or]",
                        ));
                    }
                });
            }
            ("terminate_after", _) => search.terminate_after = Some(number(name, value)?),
            ("min_score", _) if super::json::is_number(value) => {
                search.min_score = Some(super::ast::Number(value.clone()));
            }
            ("source", _) => {}
            ("from", false) => search.from = Some(number(name, value)?),
            ("size", false) => search.size = Some(number(name, value)?),
            ("sort", false) => search.sort = sort(value)?,
            ("track_scores", false) => search.track_scores = Some(flag(name, value)?),
            ("version", false) => search.version = Some(flag(name, value)?),
            ("seq_no_primary_term", false) => search.seq_no_primary_term = Some(flag(name, value)?),
            ("track_total_hits", false) => {
                search.track_total_hits = Some(match value.as_str() {
                    "" | "true" => TrackTotalHits::Whole(true),
                    "false" => TrackTotalHits::Whole(false),
                    _ => TrackTotalHits::UpTo(number(name, value)?),
                });
            }
            ("timeout", false) => {
                super::date_math::duration_ms(value)
                    .map_err(|error| QueryError::argument(error.to_string()))?;
                search.timeout = Some(value.clone());
            }
            ("_source", false) => {
                search.source = Some(match value.as_str() {
                    "" | "true" => SourceFilter::Whole(true),
                    "false" => SourceFilter::Whole(false),
                    _ => with_patterns(search.source.take(), Some(names_of(value)), None),
                });
            }
            ("_source_includes" | "_source_include", false) => {
                search.source = Some(with_patterns(
                    search.source.take(),
                    Some(names_of(value)),
                    None,
                ));
            }
            ("_source_excludes" | "_source_exclude", false) => {
                search.source = Some(with_patterns(
                    search.source.take(),
                    None,
                    Some(names_of(value)),
                ));
            }
            ("stored_fields", false) => search.stored_fields = Some(names_of(value)),
            ("docvalue_fields", false) => {
                let named = names_of(value).into_iter();
                search.docvalue_fields = named
                    .map(|field| FieldFormat {
                        field,
                        format: None,
                        include_unmapped: None,
                    })
                    .collect();
            }
            ("explain", false) if value == "false" => {}
            (other, _) if WITHOUT_MEANING_FOR_THE_TREE.contains(&other) => {
                let known = ["query_then_fetch", "dfs_query_then_fetch"].contains(&value.as_str());
                if other == "search_type" && !known {
                    return Err(QueryError::argument(format!(
                        "No search type for [{value}]"
                    )));
                }
            }
            (other, _) => {
                let error = QueryError::argument(format!(
                    "request contains unrecognized parameter: [{other}]"
                ));
                let sees_past =
                    other.starts_with("suggest") || matches!(other, "explain" | "profile");
                return Err(if sees_past {
                    error.seeing_past(other)
                } else {
                    error
                });
            }
        }
    }
    // Without a source there is nothing to choose from.
    if !count && parameters.contains(&("_source".to_owned(), "false".to_owned())) {
        search.source = Some(SourceFilter::Whole(false));
    }
    if written {
        query_string_tree(&mut text)?;
        search.query = Some(Query {
            clause: Clause::QueryString(text),
            boost: None,
            name: None,
        });
    }
    Ok(())
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(QueryError::argument(format!(
            "Failed to parse value [{value}] of [{name}] as only [true] or [false] are allowed."
        ))),
    }
}

fn number(name: &str, value: &str) -> Result<u64> {
    value
        .parse()
        .ok()
        .filter(|number| *number <= i64::MAX as u64)
        .ok_or_else(|| {
            QueryError::argument(format!(
                "Failed to parse int parameter [{name}] with value [{value}]"
            ))
        })
}

fn names_of(value: &str) -> Vec<String> {
    value
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn with_patterns(
    before: Option<SourceFilter>,
    more: Option<Vec<String>>,
    less: Option<Vec<String>>,
) -> SourceFilter {
    let (includes, excludes) = match before {
        Some(SourceFilter::Patterns { includes, excludes }) => (includes, excludes),
        _ => (Vec::new(), Vec::new()),
    };
    SourceFilter::Patterns {
        includes: more.unwrap_or(includes),
        excludes: less.unwrap_or(excludes),
    }
}

/// `field`, `field:desc`, joined by commas.
fn sort(value: &str) -> Result<Vec<super::ast::SortKey>> {
    let mut keys = Vec::new();
    for entry in value.split(',').filter(|entry| !entry.is_empty()) {
        let (field, order) = match entry.rsplit_once(':') {
            Some((field, "asc")) => (field, Some(Order::Asc)),
            Some((field, "desc")) => (field, Some(Order::Desc)),
            Some((_, direction)) => {
                return Err(QueryError::argument(format!(
                    "Unknown SortOrder [{direction}]"
                )));
            }
            None => (entry, None),
        };
        let mut key = sort_key(field);
        key.order = order;
        keys.push(key);
    }
    Ok(keys)
}
