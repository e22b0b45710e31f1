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

use mscp_log_core::query::ast::{Search, TrackTotalHits};
use mscp_log_core::query::date_math::duration_ms;
use serde_json::{Value, json};
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, TermSetQuery};

pub use error::EsError;

use super::partition::PartitionSnapshot;
use collect::{Collected, Part, Wanted, collect};
use compile::{Compiled, Compiler};

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
    let started = Instant::now();
    let deadline = deadline(search, context, started)?;
    let (schema, _) = super::schema::schema();
    let compiler = Compiler {
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
        window(search, &context.limits)?
    };
    let order = sort::Plan::new(&schema, search, context.now_ms)?;
    let plan = if search.aggs.is_empty() {
        None
    } else {
        Some(aggs::Plan::new(
            &compiler,
            &search.aggs,
            context.limits.aggregation_bytes,
            context.limits.buckets,
        )?)
    };
    let counting = match search.track_total_hits {
        _ if context.count_only => Counting::Exactly,
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
        || (size > 0 && (order.needs_score() || search.track_scores == Some(true)));
    let wanted = Wanted {
        post_filter: post_filter.as_ref(),
        order: &order,
        hits: from + size,
        count_up_to: match counting {
            Counting::Exactly => None,
            Counting::UpTo(limit) => Some(limit),
            Counting::Not => Some(0),
        },
        scores,
        min_score,
        terminate_after: search.terminate_after.filter(|limit| *limit > 0),
        deadline,
        aggs: plan.as_ref(),
    };
    let parts: Vec<Part<'_>> = snapshots
        .iter()
        .map(|snapshot| Part {
            searcher: &snapshot.searcher,
            query: within(snapshot, &query),
        })
        .collect();
    let collected = collect(&parts, &wanted)?;

    if context.count_only {
        return Ok(json!({"count": collected.total, "_shards": shards()}));
    }
    let mut named = Vec::new();
    for query in search.query.iter().chain(&search.post_filter) {
        named.extend(compiler.named(query)?);
    }
    let page = fetch::Page {
        snapshots,
        search,
        order: &order,
        from,
        compiler,
        highlighter: highlight::Highlighter::new(search)?,
        named,
    };
    let hits = page.hits(&collected.hits)?;
    Ok(body(search, &order, &counting, collected, hits, started))
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
    collected: Collected,
    hits: Vec<Value>,
    started: Instant,
) -> Value {
    let shows_max = !order.shown || search.track_scores == Some(true);
    let max_score = collected.max_score.filter(|_| shows_max).map(fetch::short);
    let mut found = json!({"max_score": max_score});
    found["hits"] = Value::Array(hits);
    match counting {
        Counting::Not => {}
        Counting::UpTo(limit) if collected.total > *limit => {
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
    if let Some(aggregations) = collected.aggregations {
        body["aggregations"] = aggregations;
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

fn window(search: &Search, limits: &Limits) -> Result<(usize, usize), EsError> {
    let from = search.from.unwrap_or(0);
    let size = search.size.unwrap_or(DEFAULT_SIZE);
    let last = from.saturating_add(size);
    if last > limits.window {
        return Err(EsError::illegal_argument(format!(
            "Result window is too large, from + size must be less than or equal to: [{}] but was [{last}]. See the scroll api for a more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window] index level setting.",
            limits.window
        )));
    }
    let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok((small(from), small(size)))
}

/// `query` over the indices of `snapshot` that are asked for.
fn within(snapshot: &PartitionSnapshot, query: &Compiled) -> Compiled {
    let Some(selected) = &snapshot.selected else {
        return query.box_clone();
    };
    if selected.is_empty() {
        return Box::new(EmptyQuery);
    }
    let names = selected
        .iter()
        .map(|name| Term::from_field_text(snapshot.fields.index, name));
    let filter = ConstScoreQuery::new(Box::new(TermSetQuery::new(names)), 0.0);
    Box::new(BooleanQuery::new(vec![
        (Occur::Must, query.box_clone()),
        (Occur::Must, Box::new(filter)),
    ]))
}
