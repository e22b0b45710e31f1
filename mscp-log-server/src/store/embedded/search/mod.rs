//! Search over partitions: compile, collect, aggregate, answer.
//!
//! One call, [`answer`], takes the tree of a search and the partitions that it
//! runs over, and gives the body of Elasticsearch's answer.

mod aggs;
mod collect;
mod columns;
mod compile;
mod error;
mod fetch;
mod highlight;
mod shape;
mod sort;
mod target;
mod term_scan;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod oracle_aggs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mscp_log_core::query::ast::{Clause, Query, Search, Slice, SourceFilter, TrackTotalHits};
use mscp_log_core::query::date_math::duration_ms;
use mscp_log_core::query::lucene::Node;
use serde_json::{Value, json};
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, TermSetQuery};

pub use error::EsError;
pub(super) use fetch::filtered;

use super::ids::slice_query;
use super::partition::PartitionSnapshot;
use collect::{Collected, Part, Wanted, Within, collect};
use compile::{Compiled, Compiler, FieldCounts};
use sort::Raw;

/// What bounds one search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `from` and `size` together (`index.max_result_window`).
    pub window: u64,
    /// Buckets of an answer (`search.max_buckets`).
    pub buckets: usize,
    /// Bytes that aggregations may take while they run.
    pub aggregation_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 10_000,
            buckets: 65_536,
            aggregation_bytes: 256 * 1024 * 1024,
        }
    }
}

/// What a search needs besides itself.
#[derive(Clone, Copy, Debug)]
pub struct SearchContext {
    /// What `now` means, in milliseconds since the epoch.
    pub now_ms: i64,
    /// When the search ends with what it has (`timed_out`).
    pub deadline: Option<Instant>,
    /// What bounds it.
    pub limits: Limits,
    /// Whether only the number of hits is asked for (`_count`).
    pub count_only: bool,
    /// Whether the names of aggregations say their types (`typed_keys`).
    pub typed_keys: bool,
}

/// Where in the pages of a scroll an answer stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paging<'a> {
    /// It is a page of its own.
    Alone,
    /// It is the first.
    First,
    /// It begins behind the last hit of another.
    Behind(&'a Last),
}

/// The last hit of a page, as the same snapshots order it.
#[derive(Clone, Debug)]
pub(crate) struct Last(Vec<Raw>);

/// One page.
pub(crate) struct Paged {
    /// The body of the answer.
    pub(crate) body: Value,
    /// Its last hit; `None` where it has none.
    pub(crate) last: Option<Last>,
}

/// How far hits are counted where nothing is said.
const DEFAULT_COUNT: u64 = 10_000;

/// Hits to return where nothing is said.
const DEFAULT_SIZE: u64 = 10;

/// The body of the answer to `search` over `snapshots`, newest first.
///
/// It blocks until it is done or late, so it belongs on a thread for such work.
///
/// # Errors
/// A search that asks for what there is not, or for more than the limits
/// allow, and an index that cannot be read; in Elasticsearch's form.
pub fn answer(
    snapshots: &[Arc<PartitionSnapshot>],
    search: &Search,
    context: &SearchContext,
) -> Result<Value, EsError> {
    Ok(page(snapshots, search, context, Paging::Alone)?.body)
}

/// As [`answer`], where it may be one of the pages of a scroll. Those after
/// the first are neither counted nor aggregated.
///
/// # Errors
/// As [`answer`].
pub(crate) fn page(
    snapshots: &[Arc<PartitionSnapshot>],
    search: &Search,
    context: &SearchContext,
    paging: Paging<'_>,
) -> Result<Paged, EsError> {
    let started = Instant::now();
    let deadline = deadline(search, context, started)?;
    let (schema, _) = super::schema::schema();
    let searchers = snapshots.iter().map(|snapshot| snapshot.searcher.clone());
    let counts = FieldCounts::new(searchers.collect());
    let compiler = Compiler {
        counts: &counts,
        schema: &schema,
        now_ms: context.now_ms,
        deadline,
    };
    let query: Compiled = match &search.query {
        Some(query) => compiler.compile(query)?,
        None => Box::new(AllQuery),
    };
    let post_filter = match &search.post_filter {
        Some(filter) => Some(compiler.compile(filter)?),
        None => None,
    };
    let (from, size) = if context.count_only {
        (0, 0)
    } else {
        window(search, &context.limits, paging)?
    };
    check_stored_fields(search)?;
    let mut order = sort::Plan::new(&schema, search, context.now_ms)?;
    match paging {
        Paging::Alone => {}
        Paging::First => order.by_place_at_last(None),
        Paging::Behind(Last(values)) => order.by_place_at_last(Some(values.clone())),
    }
    let goes_on = matches!(paging, Paging::Behind(_));
    let plan = if search.aggs.is_empty() || goes_on {
        None
    } else {
        Some(aggs::Plan::new(
            &compiler,
            search,
            snapshots.iter().map(|s| s.selected.clone()).collect(),
            context.limits.aggregation_bytes,
            context.limits.buckets,
        )?)
    };
    let counting = match search.track_total_hits {
        _ if goes_on => Counting::Not,
        _ if context.count_only || matches!(paging, Paging::First) => Counting::Exactly,
        None => Counting::UpTo(DEFAULT_COUNT),
        Some(TrackTotalHits::Whole(true)) => Counting::Exactly,
        Some(TrackTotalHits::Whole(false)) => Counting::Not,
        Some(TrackTotalHits::UpTo(limit)) => Counting::UpTo(limit),
    };
    let min_score = match &search.min_score {
        Some(number) => Some(number.0.parse().map_err(|_| {
            EsError::refused_request(format!("For input string: \"{}\"", number.0))
        })?),
        None => None,
    };
    let scores = min_score.is_some()
        || plan.as_ref().is_some_and(aggs::Plan::needs_scores)
        || (size > 0 && (order.needs_score() || search.track_scores == Some(true)));
    let wanted = Wanted {
        post_filter: post_filter.as_ref(),
        order: &order,
        hits: from + size,
        count_up_to: match counting {
            Counting::Exactly => None,
            // Whether there is one is to be known even of none.
            Counting::UpTo(limit) => Some(limit.max(1)),
            Counting::Not => Some(0),
        },
        scores,
        min_score,
        terminate_after: search.terminate_after.filter(|limit| *limit > 0),
        deadline,
        aggs: plan.as_ref(),
        opens_at_once: search.query.as_ref().is_none_or(opens_at_once),
    };
    let finds = match &search.query {
        _ if search.slice.is_some() => None,
        None => Some(Within::All),
        Some(query) => within_of(&compiler, query)?,
    };
    let parts: Vec<Part<'_>> = snapshots
        .iter()
        .map(|snapshot| Part {
            searcher: &snapshot.searcher,
            snapshot,
            within: finds.filter(|_| snapshot.selected.is_none()),
            query: within(snapshot, search.slice.as_ref(), &query),
        })
        .collect();
    let mut collected = collect(&parts, &wanted)?;

    if context.count_only {
        return Ok(Paged {
            body: json!({"count": collected.total, "_shards": shards()}),
            last: None,
        });
    }
    let mut named = Vec::new();
    for query in search.query.iter().chain(&search.post_filter) {
        named.extend(compiler.named(query)?);
    }
    let highlighter = highlight::Highlighter::new(search)?;
    let page = fetch::Page {
        snapshots,
        search,
        order: &order,
        from,
        compiler,
        highlighter: highlighter.as_ref(),
        named: &named,
    };
    let hits = page.hits(&collected.hits)?;
    let last = collected.hits.last().map(|hit| Last(hit.values.clone()));
    let aggregations = match (&plan, collected.aggregations.take()) {
        (Some(plan), Some(merged)) => {
            let fetch = |top: &aggs::TopHits, found: &[collect::Found]| {
                let page = fetch::Page {
                    snapshots,
                    search: &top.search,
                    order: &top.order,
                    from: top.from,
                    compiler,
                    highlighter: top.highlighter.as_ref(),
                    named: &named,
                };
                page.hits(found)
            };
            let form = aggs::Form {
                typed: context.typed_keys,
                fetch: &fetch,
            };
            Some(aggs::render(plan, merged, form)?)
        }
        _ => None,
    };
    let mut answer = body(search, &order, &counting, &collected, hits, started);
    if let Some(aggregations) = aggregations {
        answer["aggregations"] = aggregations;
    }
    Ok(Paged { body: answer, last })
}

/// What a query finds, where that is everything or a range of numbers.
fn within_of(compiler: &Compiler<'_>, query: &Query) -> Result<Option<Within>, EsError> {
    match &query.clause {
        Clause::MatchAll => Ok(Some(Within::All)),
        Clause::ConstantScore { filter } => within_of(compiler, filter),
        Clause::Bool(clauses) => match (&clauses.must[..], &clauses.filter[..]) {
            ([one], []) | ([], [one])
                if clauses.should.is_empty() && clauses.must_not.is_empty() =>
            {
                within_of(compiler, one)
            }
            _ => Ok(None),
        },
        Clause::Range(range) => compiler.within(range),
        _ => Ok(None),
    }
}

/// Whether opening the query costs no more than looking a few words up. Others
/// gather the words that they stand for each time.
fn opens_at_once(query: &Query) -> bool {
    match &query.clause {
        Clause::MatchAll | Clause::MatchNone | Clause::Term(_) | Clause::Range(_) => true,
        Clause::Match(matching) => matching.fuzziness.is_none(),
        Clause::MatchPhrase(phrase) => phrase.slop.unwrap_or(0) == 0,
        Clause::ConstantScore { filter } => opens_at_once(filter),
        Clause::Bool(clauses) => {
            let all = [
                &clauses.must,
                &clauses.filter,
                &clauses.should,
                &clauses.must_not,
            ];
            all.into_iter().flatten().all(opens_at_once)
        }
        Clause::QueryString(text) | Clause::SimpleQueryString(text) => {
            text.fuzziness.is_none() && words_open_at_once(&text.tree)
        }
        _ => false,
    }
}

fn words_open_at_once(node: &Node) -> bool {
    match node {
        Node::Empty | Node::All | Node::Word { .. } | Node::Range { .. } => true,
        Node::Phrase { slop, .. } => slop.unwrap_or(0) == 0,
        Node::Boost(below, _) => words_open_at_once(below),
        Node::Bool(clauses) => clauses.iter().all(|part| words_open_at_once(&part.node)),
        _ => false,
    }
}

/// Hits without their stored fields cannot show what is read from them.
fn check_stored_fields(search: &Search) -> Result<(), EsError> {
    let names = search.stored_fields.as_deref().unwrap_or_default();
    if !names.iter().any(|name| name == "_none_") {
        return Ok(());
    }
    let wants_source = !matches!(&search.source, None | Some(SourceFilter::Whole(false)));
    let what = if wants_source {
        "cannot be disabled if [_source] is requested"
    } else if !search.fields.is_empty() {
        "cannot be disabled when using the [fields] option"
    } else if search.version == Some(true) {
        "cannot be disabled if [version] is requested"
    } else {
        return Ok(());
    };
    Err(EsError::invalid_request(format!(
        "Validation Failed: 1: [stored_fields] {what};"
    )))
}

/// How far hits are counted.
enum Counting {
    Exactly,
    UpTo(u64),
    Not,
}

fn body(
    search: &Search,
    order: &sort::Plan,
    counting: &Counting,
    collected: &Collected,
    hits: Vec<Value>,
    started: Instant,
) -> Value {
    let shows_max = !order.shown || search.track_scores == Some(true);
    let max_score = collected.max_score.filter(|_| shows_max).map(fetch::short);
    let mut found = json!({"max_score": max_score});
    found["hits"] = Value::Array(hits);
    match counting {
        Counting::Not => {}
        // Where no hit is asked for, none are counted up to none.
        Counting::UpTo(limit)
            if collected.total > *limit || (*limit == 0 && search.size == Some(0)) =>
        {
            found["total"] = json!({"value": limit, "relation": "gte"});
        }
        _ => found["total"] = json!({"value": collected.total, "relation": "eq"}),
    }
    let mut body = json!({
        "took": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "timed_out": collected.timed_out,
        "_shards": shards(),
    });
    body["hits"] = found;
    if search.terminate_after.is_some_and(|limit| limit > 0) {
        body["terminated_early"] = json!(collected.terminated_early);
    }
    body
}

/// The store is one shard to its clients, however many partitions it has.
fn shards() -> Value {
    json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0})
}

fn deadline(
    search: &Search,
    context: &SearchContext,
    started: Instant,
) -> Result<Option<Instant>, EsError> {
    let own = match &search.timeout {
        None => None,
        Some(text) if text == "-1" => None,
        Some(text) => {
            let ms =
                duration_ms(text).map_err(|error| EsError::refused_request(error.to_string()))?;
            u64::try_from(ms)
                .ok()
                .and_then(|ms| started.checked_add(Duration::from_millis(ms)))
        }
    };
    Ok(match (own, context.deadline) {
        (Some(own), Some(limit)) => Some(own.min(limit)),
        (own, limit) => own.or(limit),
    })
}

fn window(search: &Search, limits: &Limits, paging: Paging<'_>) -> Result<(usize, usize), EsError> {
    let from = search.from.unwrap_or(0);
    let size = search.size.unwrap_or(DEFAULT_SIZE);
    let last = from.saturating_add(size);
    if last > limits.window && !matches!(paging, Paging::Alone) {
        return Err(EsError::illegal_argument(format!(
            "Batch size is too large, size must be less than or equal to: [{}] but was [{last}]. Scroll batch sizes cost as much memory as result windows so they are controlled by the [index.max_result_window] index level setting.",
            limits.window
        )));
    }
    if last > limits.window {
        return Err(EsError::illegal_argument(format!(
            "Result window is too large, from + size must be less than or equal to: [{}] but was [{last}]. See the scroll api for a more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window] index level setting.",
            limits.window
        )));
    }
    let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok((small(from), small(size)))
}

/// `query` over the indices of `snapshot` that are asked for, and the slice.
fn within(snapshot: &PartitionSnapshot, slice: Option<&Slice>, query: &Compiled) -> Compiled {
    let mut parts = vec![(Occur::Must, query.box_clone())];
    if let Some(selected) = &snapshot.selected {
        if selected.is_empty() {
            return Box::new(EmptyQuery);
        }
        let names = selected
            .iter()
            .map(|name| Term::from_field_text(snapshot.fields.index, name));
        let filter = ConstScoreQuery::new(Box::new(TermSetQuery::new(names)), 0.0);
        parts.push((Occur::Must, Box::new(filter)));
    }
    if let Some(slice) = slice {
        let filter = ConstScoreQuery::new(slice_query(slice.id, slice.max), 0.0);
        parts.push((Occur::Must, Box::new(filter)));
    }
    match parts.len() {
        1 => parts.remove(0).1,
        _ => Box::new(BooleanQuery::new(parts)),
    }
}
