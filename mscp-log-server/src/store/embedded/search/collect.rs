//! One pass over the segments: hits, their number, and aggregations together.

use std::cmp::Ordering;
use std::time::Instant;

use tantivy::columnar::Column;
use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Scorer, Weight};
use tantivy::schema::Field;
use tantivy::{
    COLLECT_BLOCK_BUFFER_LEN, DocAddress, DocId, DocSet, Searcher, SegmentReader, TERMINATED, Term,
};

use super::super::partition::PartitionSnapshot;
use super::super::strips::{STRIP, Strips};
use super::aggs;
use super::compile::Compiled;
use super::error::EsError;
use super::sort::{Plan, Raw, SegmentKeys, directed};
use super::term_scan::is_out_of_time;

/// How many blocks of documents are visited between two looks at the clock.
const BLOCKS_PER_LOOK: usize = 16;

/// Strips that are visited first; then twice as many, and so on.
const FIRST_STRIPS: usize = 4;

/// What a search collects.
pub(crate) struct Wanted<'a> {
    pub(crate) post_filter: Option<&'a Compiled>,
    pub(crate) order: &'a Plan,
    /// Hits to keep: `from` and `size` together.
    pub(crate) hits: usize,
    /// Up to where hits are counted; `None` is all of them.
    pub(crate) count_up_to: Option<u64>,
    pub(crate) scores: bool,
    pub(crate) min_score: Option<f32>,
    pub(crate) terminate_after: Option<u64>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) aggs: Option<&'a aggs::Plan>,
    /// Whether the query finds its first document at once, so that it may be
    /// opened several times.
    pub(crate) opens_at_once: bool,
}

impl Wanted<'_> {
    /// Whether a page of hits is wanted and nothing that needs every document.
    fn goes_by_strips(&self) -> bool {
        self.opens_at_once
            && self.hits > 0
            && self.aggs.is_none()
            && self.post_filter.is_none()
            && !self.scores
            && self.terminate_after.is_none()
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn only_aggregates(&self) -> bool {
        self.aggs.is_some()
            && self.hits == 0
            && self.post_filter.is_none()
            && !self.scores
            && self.terminate_after.is_none()
    }

    /// Where only the next hits in the order of their places are wanted, the
    /// first place of those.
    fn places(&self) -> Option<i128> {
        let only_hits = self.aggs.is_none() && self.count_up_to == Some(0);
        self.order.first_place().filter(|_| only_hits)
    }
}

/// One partition as it is searched: its searcher, and the query that keeps
/// other indices of it out.
pub(crate) struct Part<'a> {
    pub(crate) searcher: &'a Searcher,
    pub(crate) snapshot: &'a PartitionSnapshot,
    pub(crate) query: Compiled,
    /// Where the query finds every document, or all whose number lies within.
    pub(crate) within: Option<Within>,
}

/// Documents that a query finds by no more than a number of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within {
    All,
    /// From the least to the greatest.
    Bounds(&'static str, i64, i64),
}

/// A hit.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) values: Vec<Raw>,
    pub(crate) score: f32,
    /// The partition, by its place among those that were asked.
    pub(crate) part: usize,
    pub(crate) address: DocAddress,
}

/// What was collected.
#[derive(Default)]
pub(crate) struct Collected {
    /// The best hits in order.
    pub(crate) hits: Vec<Found>,
    /// How many there are; not more than one beyond the limit of counting.
    pub(crate) total: u64,
    pub(crate) max_score: Option<f32>,
    pub(crate) timed_out: bool,
    pub(crate) terminated_early: bool,
    pub(crate) aggregations: Option<aggs::Merged>,
}

/// Visit all parts, those first that may have the best hits.
pub(crate) fn collect(parts: &[Part<'_>], wanted: &Wanted<'_>) -> Result<Collected, EsError> {
    let statistics = Statistics(parts.iter().map(|part| part.searcher).collect());
    let mut visits = Vec::new();
    let mut position = 0;
    for (number, part) in parts.iter().enumerate() {
        for (ordinal, segment) in (0..).zip(part.searcher.segment_readers()) {
            let place = Place {
                part: number,
                ordinal,
                position,
            };
            let mut visit = Visit { place, best: None };
            if wanted.hits > 0 {
                visit.best = wanted.order.best(segment, position)?;
            }
            position += i128::from(segment.max_doc());
            if wanted.places().is_none_or(|first| first < position) {
                visits.push(visit);
            }
        }
    }
    visits.sort_by(|left, right| match (left.best, right.best) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => Ordering::Equal,
    });

    let mut collector = Collector {
        wanted,
        found: Collected::default(),
        running: wanted.aggs.map(aggs::Running::new),
    };
    let mut weights: Vec<Option<Weights>> = parts.iter().map(|_| None).collect();
    for visit in visits {
        if collector.is_done(visit.best) {
            continue;
        }
        let part = &parts[visit.place.part];
        let outcome = Weights::of(&mut weights[visit.place.part], part, wanted, &statistics)
            .and_then(|weights| collector.visit(&visit, part, weights));
        match outcome {
            Ok(true) => {}
            Ok(false) => break,
            Err(Stop::OutOfTime) => {
                collector.found.timed_out = true;
                break;
            }
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    collector.found.aggregations = collector.running.map(aggs::Running::finish);
    Ok(collector.found)
}

/// Why a visit ended before its end.
enum Stop {
    OutOfTime,
    Failed(EsError),
}

impl From<tantivy::TantivyError> for Stop {
    fn from(error: tantivy::TantivyError) -> Self {
        if is_out_of_time(&error) {
            Self::OutOfTime
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<EsError> for Stop {
    fn from(error: EsError) -> Self {
        Self::Failed(error)
    }
}

/// Which segment of which partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) part: usize,
    pub(crate) ordinal: u32,
    /// What `_doc` gives for the first document: documents are numbered
    /// through, so that a client that counts in doubles can say each.
    pub(crate) position: i128,
}

/// A segment that is to be visited.
struct Visit {
    place: Place,
    best: Option<i128>,
}

/// The compiled queries of one partition.
struct Weights {
    query: Box<dyn Weight>,
    post_filter: Option<Box<dyn Weight>>,
    filters: aggs::Weights,
}

impl Weights {
    fn of<'a>(
        slot: &'a mut Option<Self>,
        part: &Part<'_>,
        wanted: &Wanted<'_>,
        statistics: &Statistics<'_>,
    ) -> Result<&'a Self, Stop> {
        if slot.is_none() {
            let plain = EnableScoring::disabled_from_searcher(part.searcher);
            let scoring = if wanted.scores {
                EnableScoring::enabled_from_statistics_provider(statistics, part.searcher)
            } else {
                plain
            };
            *slot = Some(Self {
                query: part.query.weight(scoring)?,
                post_filter: match wanted.post_filter {
                    Some(filter) => Some(filter.weight(plain)?),
                    None => None,
                },
                filters: match wanted.aggs {
                    Some(plan) => plan.weights(plain)?,
                    None => aggs::Weights::default(),
                },
            });
        }
        slot.as_ref()
            .ok_or_else(|| Stop::Failed(EsError::internal("a query was not compiled")))
    }
}

struct Collector<'a> {
    wanted: &'a Wanted<'a>,
    found: Collected,
    running: Option<aggs::Running<'a>>,
}

impl Collector<'_> {
    fn counted_enough(&self) -> bool {
        self.wanted
            .count_up_to
            .is_some_and(|limit| self.found.total > limit)
    }

    /// Whether a segment whose best value is `best` can add nothing.
    fn is_done(&self, best: Option<i128>) -> bool {
        self.wanted.aggs.is_none()
            && self.wanted.terminate_after.is_none()
            && self.counted_enough()
            && self.cannot_enter(best)
    }

    fn threshold(&self) -> Option<i128> {
        if self.found.hits.len() < self.wanted.hits {
            return None;
        }
        let last = self.found.hits.last()?;
        self.wanted.order.primary(&last.values)
    }

    fn cannot_enter(&self, best: Option<i128>) -> bool {
        if self.wanted.hits == 0 {
            return true;
        }
        if self.wanted.scores {
            return false;
        }
        match (self.threshold(), best) {
            (Some(worst), Some(best)) => best > worst,
            _ => false,
        }
    }

    /// Visit one segment; `false` where the search is to end here.
    fn visit(&mut self, visit: &Visit, part: &Part<'_>, weights: &Weights) -> Result<bool, Stop> {
        let segment = part.searcher.segment_reader(visit.place.ordinal);
        let wanted = self.wanted;
        let enter = !self.cannot_enter(visit.best);
        let only_count = wanted.aggs.is_none() && !enter;
        if only_count
            && wanted.post_filter.is_none()
            && wanted.min_score.is_none()
            && wanted.terminate_after.is_none()
            && wanted.count_up_to.is_none()
        {
            self.found.total += u64::from(weights.query.count(segment)?);
            return Ok(!self.is_late());
        }

        if let Some(within) = part.within
            && wanted.only_aggregates()
            && !segment.has_deletes()
        {
            match within {
                Within::All => return self.aggregate(visit, part, weights, None),
                Within::Bounds(column, low, high) => {
                    if let Some(strips) = part.snapshot.strips(visit.place.ordinal, column) {
                        let bounds = Bounds {
                            strips,
                            column: segment.fast_fields().i64(column)?,
                            low,
                            high,
                        };
                        return self.aggregate(visit, part, weights, Some(&bounds));
                    }
                }
            }
        }

        let mut docs = Docs::open(segment, weights.query.as_ref(), wanted)?;
        if enter
            && wanted.goes_by_strips()
            && self.left_to_count() < u64::from(docs.scorer.size_hint())
            && let Some((column, descending)) = wanted.order.leading()
            && let Some(strips) = part.snapshot.strips(visit.place.ordinal, column)
            && strips.len() > FIRST_STRIPS
        {
            return self.visit_strips(visit, segment, weights, &Leading::new(strips, descending));
        }
        let places = wanted.places();
        if let Some(first) = places {
            docs.begin_at(first - visit.place.position);
        }
        let mut post = match &weights.post_filter {
            Some(weight) => Some(weight.scorer(segment, 1.0)?),
            None => None,
        };
        let mut aggregator = match &self.running {
            Some(running) => Some(running.open(segment, visit.place, &weights.filters)??),
            None => None,
        };
        let keys = wanted.order.open(segment, visit.place.position)?;
        let mut best = Best::new(&keys, wanted.hits, self.threshold());
        let mut blocks = 0_usize;
        let mut go_on = true;
        let mut late = false;
        while docs.next_block() {
            if let (Some(running), Some(aggregator)) = (&mut self.running, &mut aggregator) {
                running.collect(aggregator, &docs.docs, &docs.scores)?;
            }
            if let Some(post) = &mut post {
                docs.keep(|doc| contains(post.as_mut(), doc));
            }
            self.found.total += docs.docs.len() as u64;
            if enter {
                for (place, doc) in docs.docs.iter().enumerate() {
                    let score = docs.scores.get(place).copied().unwrap_or(0.0);
                    best.offer(*doc, score);
                    if wanted.scores {
                        let highest = self.found.max_score.get_or_insert(score);
                        *highest = highest.max(score);
                    }
                }
            }
            if let Some(limit) = wanted.terminate_after
                && self.found.total >= limit
            {
                self.found.terminated_early = true;
                go_on = false;
                break;
            }
            let page_is_full = places.is_some() && best.kept.len() >= wanted.hits;
            if page_is_full || (only_count && self.counted_enough()) {
                break;
            }
            blocks += 1;
            if blocks.is_multiple_of(BLOCKS_PER_LOOK) && self.is_late() {
                late = true;
                break;
            }
        }
        if let (Some(running), Some(aggregator)) = (&mut self.running, aggregator) {
            running.close(aggregator)?;
        }
        self.merge(best, &keys, visit)?;
        if let Some(limit) = wanted.count_up_to {
            self.found.total = self.found.total.min(limit.saturating_add(1));
        }
        if late || self.is_late() {
            return Err(Stop::OutOfTime);
        }
        Ok(go_on)
    }

    /// Visit the strips of a segment, those first that may have the best hits,
    /// until no other can have one and enough are counted.
    fn visit_strips(
        &mut self,
        visit: &Visit,
        segment: &SegmentReader,
        weights: &Weights,
        strips: &Leading<'_>,
    ) -> Result<bool, Stop> {
        let keys = self.wanted.order.open(segment, visit.place.position)?;
        let mut best = Best::new(&keys, self.wanted.hits, self.threshold());
        let order = strips.best_first();
        let mut rest = order.as_slice();
        let mut size = FIRST_STRIPS;
        let mut late = false;
        while !rest.is_empty() && !late {
            let worst = best.worst();
            let may_enter = |strip: usize| {
                let (first, last) = strips.range(strip);
                worst.is_none_or(|worst| first <= worst)
                    && keys.after().is_none_or(|after| last >= after)
            };
            let group;
            (group, rest) = rest.split_at(size.min(rest.len()));
            size *= 2;
            let counting = self.is_counting();
            let mut picked: Vec<(usize, bool)> = group
                .iter()
                .map(|strip| (*strip, may_enter(*strip)))
                .filter(|(_, enters)| *enters || counting)
                .collect();
            picked.sort_unstable();
            late = self.visit_picked(&picked, segment, weights, &mut best)?;
            if let (Some(worst), false) = (best.worst(), self.is_counting()) {
                // They come in order: none behind the first that is too late.
                rest = &rest[..rest.partition_point(|strip| strips.range(*strip).0 <= worst)];
            }
        }
        self.merge(best, &keys, visit)?;
        if let Some(limit) = self.wanted.count_up_to {
            self.found.total = self.found.total.min(limit.saturating_add(1));
        }
        if late || self.is_late() {
            return Err(Stop::OutOfTime);
        }
        Ok(true)
    }

    /// Visit these strips, which are in the order of their documents; from those
    /// marked hits may come, the others are counted. Whether it is too late.
    fn visit_picked(
        &mut self,
        picked: &[(usize, bool)],
        segment: &SegmentReader,
        weights: &Weights,
        best: &mut Best<'_>,
    ) -> Result<bool, Stop> {
        let mut docs = Docs::open(segment, weights.query.as_ref(), self.wanted)?;
        let mut place = 0;
        let mut blocks = 0_usize;
        while let Some((strip, _)) = picked.get(place) {
            docs.begin_at(*strip as i128 * i128::from(STRIP));
            if !docs.next_block() {
                break;
            }
            for doc in &docs.docs {
                let strip = (doc / STRIP) as usize;
                while picked.get(place).is_some_and(|(at, _)| *at < strip) {
                    place += 1;
                }
                let Some((at, enters)) = picked.get(place) else {
                    break;
                };
                if *at == strip {
                    self.found.total += 1;
                    if *enters {
                        best.offer(*doc, 0.0);
                    }
                }
            }
            if !self.is_counting() {
                // What is left only to be counted need not be.
                while picked.get(place).is_some_and(|(_, enters)| !enters) {
                    place += 1;
                }
            }
            blocks += 1;
            if blocks.is_multiple_of(BLOCKS_PER_LOOK) && self.is_late() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_counting(&self) -> bool {
        !self.counted_enough()
    }

    /// How many hits more are counted. A segment with fewer is visited from one
    /// end to the other, as all of them are looked at in any case.
    fn left_to_count(&self) -> u64 {
        let end = self.wanted.count_up_to;
        end.map_or(u64::MAX, |limit| {
            limit.saturating_add(1).saturating_sub(self.found.total)
        })
    }

    /// Aggregate all documents of a segment, or those within the bounds, strip
    /// by strip.
    fn aggregate(
        &mut self,
        visit: &Visit,
        part: &Part<'_>,
        weights: &Weights,
        bounds: Option<&Bounds<'_>>,
    ) -> Result<bool, Stop> {
        let segment = part.searcher.segment_reader(visit.place.ordinal);
        let late = match &mut self.running {
            None => false,
            Some(running) => {
                let mut aggregator = running.open(segment, visit.place, &weights.filters)??;
                let strips = |column: &str| part.snapshot.strips(visit.place.ordinal, column);
                let mut first = 0;
                let mut late = false;
                let mut some = Vec::new();
                while first < segment.max_doc() && !late {
                    let docs = first..segment.max_doc().min(first + STRIP);
                    first = docs.end;
                    let share = bounds.map_or(Share::All, |bounds| bounds.share(&docs, &mut some));
                    match share {
                        Share::None => continue,
                        Share::All => {
                            self.found.total += docs.len() as u64;
                            running.collect_strip(&mut aggregator, docs, &strips)?;
                        }
                        Share::Some => {
                            self.found.total += some.len() as u64;
                            running.collect(&mut aggregator, &some, &[])?;
                        }
                    }
                    late = self.wanted.is_late();
                }
                running.close(aggregator)?;
                late
            }
        };
        if let Some(limit) = self.wanted.count_up_to {
            self.found.total = self.found.total.min(limit.saturating_add(1));
        }
        if late {
            return Err(Stop::OutOfTime);
        }
        Ok(true)
    }

    fn is_late(&self) -> bool {
        self.wanted.is_late()
    }

    fn merge(
        &mut self,
        best: Best<'_>,
        keys: &SegmentKeys<'_>,
        visit: &Visit,
    ) -> Result<(), EsError> {
        let before = self.found.hits.len();
        for (doc, score) in best.into_docs() {
            self.found.hits.push(Found {
                values: keys.raw(doc, score)?,
                score,
                part: visit.place.part,
                address: DocAddress::new(visit.place.ordinal, doc),
            });
        }
        if self.found.hits.len() > before {
            let order = self.wanted.order;
            self.found
                .hits
                .sort_by(|left, right| order.compare_hits(left, right));
            self.found.hits.truncate(self.wanted.hits);
        }
        Ok(())
    }
}

/// The bounds of a number that every document of a segment has one of.
struct Bounds<'a> {
    strips: &'a Strips,
    column: Column<i64>,
    low: i64,
    high: i64,
}

/// How many of a strip's documents lie within.
enum Share {
    None,
    All,
    Some,
}

impl Bounds<'_> {
    /// Which documents of a strip lie within; `some` is filled where not all do.
    fn share(&self, docs: &std::ops::Range<DocId>, some: &mut Vec<DocId>) -> Share {
        let (least, greatest) = self.strips.bounds((docs.start / STRIP) as usize);
        if greatest < self.low || self.high < least {
            return Share::None;
        }
        if self.low <= least && greatest <= self.high {
            return Share::All;
        }
        some.clear();
        let within = |doc: &DocId| {
            let number = self.column.values.get_val(*doc);
            self.low <= number && number <= self.high
        };
        some.extend(docs.clone().filter(within));
        Share::Some
    }
}

/// The strips of a segment as the first key of the order sees them.
struct Leading<'a> {
    strips: &'a Strips,
    descending: bool,
}

impl<'a> Leading<'a> {
    fn new(strips: &'a Strips, descending: bool) -> Self {
        Self { strips, descending }
    }

    /// The first and the last value of a strip, in the order of the key.
    fn range(&self, strip: usize) -> (i128, i128) {
        let (low, high) = self.strips.bounds(strip);
        let (low, high) = (i128::from(low), i128::from(high));
        if self.descending {
            (directed(high, true), directed(low, true))
        } else {
            (low, high)
        }
    }

    fn best_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.strips.len()).collect();
        order.sort_by_key(|strip| self.range(*strip).0);
        order
    }
}

/// The documents of a query in one segment, block by block.
struct Docs<'a> {
    scorer: Box<dyn Scorer>,
    segment: &'a SegmentReader,
    with_scores: bool,
    min_score: Option<f32>,
    docs: Vec<DocId>,
    scores: Vec<f32>,
    buffer: [DocId; COLLECT_BLOCK_BUFFER_LEN],
    done: bool,
}

impl<'a> Docs<'a> {
    fn open(
        segment: &'a SegmentReader,
        weight: &dyn Weight,
        wanted: &Wanted<'_>,
    ) -> Result<Self, Stop> {
        Ok(Self {
            scorer: weight.scorer(segment, 1.0)?,
            segment,
            with_scores: wanted.scores,
            min_score: wanted.min_score,
            docs: Vec::with_capacity(COLLECT_BLOCK_BUFFER_LEN),
            scores: Vec::new(),
            buffer: [0; COLLECT_BLOCK_BUFFER_LEN],
            done: false,
        })
    }

    /// Pass over the documents before `first`.
    fn begin_at(&mut self, first: i128) {
        let first = DocId::try_from(first).unwrap_or_default();
        if self.scorer.doc() < first {
            self.scorer.seek(first);
        }
    }

    /// Read the next block; `false` at the end. A block may be empty.
    fn next_block(&mut self) -> bool {
        if self.done {
            return false;
        }
        self.docs.clear();
        self.scores.clear();
        if self.with_scores {
            while self.docs.len() < COLLECT_BLOCK_BUFFER_LEN {
                let doc = self.scorer.doc();
                if doc == TERMINATED {
                    self.done = true;
                    break;
                }
                if !self.segment.is_deleted(doc) {
                    let score = self.scorer.score();
                    if self.min_score.is_none_or(|least| score >= least) {
                        self.docs.push(doc);
                        self.scores.push(score);
                    }
                }
                self.scorer.advance();
            }
            return true;
        }
        let count = self.scorer.fill_buffer(&mut self.buffer);
        self.done = count < COLLECT_BLOCK_BUFFER_LEN;
        match self.segment.alive_bitset() {
            None => self.docs.extend_from_slice(&self.buffer[..count]),
            Some(alive) => self.docs.extend(
                self.buffer[..count]
                    .iter()
                    .filter(|doc| alive.is_alive(**doc)),
            ),
        }
        true
    }

    fn keep(&mut self, mut keep: impl FnMut(DocId) -> bool) {
        let kept: Vec<bool> = self.docs.iter().map(|doc| keep(*doc)).collect();
        let mut place = 0;
        self.docs.retain(|_| {
            place += 1;
            kept[place - 1]
        });
        place = 0;
        self.scores.retain(|_| {
            place += 1;
            kept[place - 1]
        });
    }
}

/// Whether `scorer`, which only moves forward, has `doc`.
pub(crate) fn contains(scorer: &mut dyn Scorer, doc: DocId) -> bool {
    if scorer.doc() < doc {
        scorer.seek(doc);
    }
    scorer.doc() == doc
}

/// The best documents of one segment. Twice as many as wanted are kept before
/// the worse half goes, so that a better one costs no reordering.
struct Best<'a> {
    keys: &'a SegmentKeys<'a>,
    limit: usize,
    kept: Vec<(i128, DocId, f32)>,
    /// First values beyond this are too late.
    threshold: Option<i128>,
}

impl<'a> Best<'a> {
    fn new(keys: &'a SegmentKeys<'a>, limit: usize, threshold: Option<i128>) -> Self {
        Self {
            keys,
            limit,
            kept: Vec::new(),
            threshold,
        }
    }

    fn offer(&mut self, doc: DocId, score: f32) {
        let primary = self.keys.value(0, doc, score);
        if self.threshold.is_some_and(|worst| primary > worst)
            || !self.keys.is_after(primary, doc, score)
        {
            return;
        }
        self.kept.push((primary, doc, score));
        if self.kept.len() >= 2 * self.limit {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.limit == 0 || self.kept.len() <= self.limit {
            self.kept.truncate(self.limit);
            return;
        }
        let keys = self.keys;
        let (_, last, _) = self
            .kept
            .select_nth_unstable_by(self.limit - 1, |left, right| order(keys, left, right));
        let worst = last.0;
        self.kept.truncate(self.limit);
        self.threshold = Some(self.threshold.map_or(worst, |before| before.min(worst)));
    }

    /// The first value of the worst that is kept, where as many are kept as
    /// wanted: what lies behind it cannot enter.
    fn worst(&mut self) -> Option<i128> {
        self.shrink();
        if self.kept.len() >= self.limit {
            let worst = self.kept.iter().map(|(primary, ..)| *primary).max();
            self.threshold = match (self.threshold, worst) {
                (Some(before), Some(worst)) => Some(before.min(worst)),
                (before, worst) => before.or(worst),
            };
        }
        self.threshold
    }

    fn into_docs(mut self) -> impl Iterator<Item = (DocId, f32)> {
        self.shrink();
        self.kept.into_iter().map(|(_, doc, score)| (doc, score))
    }
}

fn order(
    keys: &SegmentKeys<'_>,
    left: &(i128, DocId, f32),
    right: &(i128, DocId, f32),
) -> Ordering {
    left.0
        .cmp(&right.0)
        .then_with(|| keys.compare_rest((left.1, left.2), (right.1, right.2)))
}

/// How often words are, over all partitions together: a score must not depend
/// on the day that a document lies in.
struct Statistics<'a>(Vec<&'a Searcher>);

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.0
            .iter()
            .map(|searcher| Bm25StatisticsProvider::total_num_tokens(*searcher, field))
            .sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.0
            .iter()
            .map(|searcher| Bm25StatisticsProvider::total_num_docs(*searcher))
            .sum()
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.0.iter().map(|searcher| searcher.doc_freq(term)).sum()
    }
}
