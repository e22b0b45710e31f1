//! `top_hits`: the best documents of each bucket.

use mscp_log_core::query::ast::Search;
use tantivy::{DocAddress, DocId, SegmentReader};

use super::super::collect::{Found, Place};
use super::super::compile::Compiler;
use super::super::error::EsError;
use super::super::highlight::Highlighter;
use super::super::sort::{self, SegmentKeys};
use super::merged::Hits;
use super::table::Budget;

/// Hits where nothing is said.
const DEFAULT_SIZE: u64 = 3;

/// `from` and `size` together (`index.max_inner_result_window`).
const MAX_WINDOW: u64 = 100;

/// What is asked for.
pub(crate) struct TopHits {
    /// What a hit shows, with the query of the search around it.
    pub(crate) search: Search,
    pub(crate) order: sort::Plan,
    pub(crate) from: usize,
    pub(crate) highlighter: Option<Highlighter>,
    /// Hits to keep: `from` and `size` together.
    hits: usize,
}

impl TopHits {
    pub(super) fn new(
        compiler: &Compiler<'_>,
        name: &str,
        asked: &Search,
        around: &Search,
    ) -> Result<Self, EsError> {
        let from = asked.from.unwrap_or(0);
        let window = from.saturating_add(asked.size.unwrap_or(DEFAULT_SIZE));
        if window > MAX_WINDOW {
            return Err(EsError::illegal_argument(format!(
                "Top hits result window is too large, the top hits aggregator [{name}]'s from + size must be less than or equal to: [{MAX_WINDOW}] but was [{window}]. This limit can be set by changing the [index.max_inner_result_window] index level setting."
            )));
        }
        let mut search = Search {
            query: around.query.clone(),
            ..asked.clone()
        };
        if search.fields.is_empty() {
            // Those of the search show here, too, and nothing else of it.
            search.fields.clone_from(&around.fields);
        }
        Ok(Self {
            order: sort::Plan::new(compiler.schema, &search, compiler.now_ms)?,
            highlighter: Highlighter::new(&search)?,
            search,
            from: usize::try_from(from).unwrap_or(usize::MAX),
            hits: usize::try_from(window).unwrap_or(usize::MAX),
        })
    }

    /// Whether documents must be scored.
    pub(super) fn needs_scores(&self) -> bool {
        self.order.needs_score() || self.search.track_scores == Some(true)
    }

    /// Put hits of several segments in order and leave the best.
    pub(super) fn keep_best(&self, hits: &mut Vec<Found>) {
        hits.sort_by(|left, right| self.order.compare_hits(left, right));
        hits.truncate(self.hits);
    }
}

/// The best documents of each bucket in one segment.
pub(super) struct Choosing<'a> {
    plan: &'a TopHits,
    keys: SegmentKeys<'a>,
    place: Place,
    buckets: Vec<Best>,
}

#[derive(Default)]
struct Best {
    total: u64,
    max_score: Option<f32>,
    /// Twice as many as wanted are kept before the worse half goes.
    kept: Vec<(i128, DocId, f32)>,
}

impl<'a> Choosing<'a> {
    pub(super) fn open(
        plan: &'a TopHits,
        segment: &SegmentReader,
        place: Place,
    ) -> Result<Self, EsError> {
        Ok(Self {
            plan,
            keys: plan.order.open(segment, place.position)?,
            place,
            buckets: Vec::new(),
        })
    }

    pub(super) fn offer(
        &mut self,
        bucket: u32,
        doc: DocId,
        score: f32,
        budget: &mut Budget,
    ) -> Result<(), EsError> {
        // Of no hits there is none to choose: an error, but where there is none at all.
        if self.plan.hits == 0 {
            return Err(EsError::illegal_argument("numHits must be > 0"));
        }
        let slot = bucket as usize;
        if self.buckets.len() <= slot {
            budget.take((slot + 1 - self.buckets.len()) * size_of::<Best>())?;
            self.buckets.resize_with(slot + 1, Best::default);
        }
        let best = &mut self.buckets[slot];
        best.total += 1;
        if self.plan.needs_scores() {
            let highest = best.max_score.get_or_insert(score);
            *highest = highest.max(score);
        }
        if best.kept.len() == best.kept.capacity() {
            let more = best.kept.capacity().max(4);
            budget.take(more * size_of::<(i128, DocId, f32)>())?;
            best.kept.reserve_exact(more);
        }
        best.kept.push((self.keys.value(0, doc, score), doc, score));
        if best.kept.len() >= 2 * self.plan.hits {
            shrink(&self.keys, self.plan.hits, &mut best.kept);
        }
        Ok(())
    }

    /// What was found, for each of the buckets above.
    pub(super) fn harvest(mut self, parents: usize) -> Result<Vec<Hits>, EsError> {
        self.buckets.resize_with(parents, Best::default);
        self.buckets
            .into_iter()
            .map(|mut best| {
                shrink(&self.keys, self.plan.hits, &mut best.kept);
                let hits = best.kept.into_iter().map(|(_, doc, score)| {
                    Ok(Found {
                        values: self.keys.raw(doc, score)?,
                        score,
                        part: self.place.part,
                        address: DocAddress::new(self.place.ordinal, doc),
                    })
                });
                Ok(Hits {
                    total: best.total,
                    max_score: best.max_score,
                    best: hits.collect::<Result<_, EsError>>()?,
                })
            })
            .collect()
    }
}

fn shrink(keys: &SegmentKeys<'_>, limit: usize, kept: &mut Vec<(i128, DocId, f32)>) {
    kept.sort_unstable_by(|left, right| {
        left.0
            .cmp(&right.0)
            .then_with(|| keys.compare_rest((left.1, left.2), (right.1, right.2)))
    });
    kept.truncate(limit);
}
