//! Aggregations over the columns of one segment.
//!
//! Documents come in blocks. Each aggregation gives every document of a block
//! a bucket and hands (document, bucket) pairs to those below it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tantivy::columnar::Cardinality;
use tantivy::query::{EnableScoring, Scorer, Weight};
use tantivy::{DocId, SegmentReader};

use super::super::super::strips::{STRIP, Strips};
use super::super::collect::{Place, contains};
use super::super::columns::Values;
use super::super::compile::scalar_text;
use super::super::error::EsError;
use super::super::target::Target;
use super::composite::Composing;
use super::everyone::{Everyone, Scope};
use super::keys::{
    Interned, MISSING, distinct, distinct_values, has_value, hash, missing_key, of_rank, rank,
    term_keys,
};
use super::merged::{Bucket, Key, Merged, Numbers, Partial};
use super::percentiles::Sample;
use super::plan::{Buckets, Cut, Kind, Node, Plan, Ranges, Terms};
use super::rounding::Remembered;
use super::table::{Budget, Table};
use super::top_hits::Choosing;

/// The queries of a plan's filters over one partition.
#[derive(Default)]
pub(crate) struct Weights(Vec<Box<dyn Weight>>);

/// The aggregations of a search while it runs.
pub(crate) struct Running<'a> {
    plan: &'a Plan,
    merged: Merged,
    budget: Budget,
}

impl Plan {
    /// The filters over the partition of `scoring`.
    pub(crate) fn weights(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Weights> {
        let weights = self.filters.iter().map(|filter| filter.weight(scoring));
        Ok(Weights(weights.collect::<tantivy::Result<_>>()?))
    }
}

impl<'a> Running<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            merged: Merged::default(),
            budget: Budget::new(plan.memory_bytes),
        }
    }

    /// The aggregations over one segment.
    pub(crate) fn open(
        &self,
        segment: &SegmentReader,
        place: Place,
        weights: &Weights,
    ) -> tantivy::Result<Result<Segment<'a>, EsError>> {
        let mut scorers = Vec::with_capacity(weights.0.len());
        for weight in &weights.0 {
            scorers.push(Some(weight.scorer(segment, 1.0)?));
        }
        let scope = self.plan.scopes.get(place.part).and_then(Option::as_deref);
        Ok(self
            .plan
            .nodes
            .iter()
            .map(|node| Collecting::open(node, segment, place, scope, &mut scorers))
            .collect::<Result<_, _>>()
            .map(|nodes| Segment {
                nodes,
                mark: self.budget.mark(),
                top: Vec::new(),
            }))
    }

    /// Count a block of documents in their order, with their scores where the
    /// plan needs them.
    pub(crate) fn collect(
        &mut self,
        segment: &mut Segment<'_>,
        docs: &[DocId],
        scores: &[f32],
    ) -> Result<(), EsError> {
        segment.top.resize(docs.len().max(segment.top.len()), 0);
        let block = Block { docs, scores };
        for node in &mut segment.nodes {
            node.collect(block, docs, &segment.top[..docs.len()], &mut self.budget)?;
        }
        Ok(())
    }

    /// Count all documents of a strip; `strips` gives the bounds of a column.
    pub(crate) fn collect_strip<'s>(
        &mut self,
        segment: &mut Segment<'_>,
        docs: std::ops::Range<DocId>,
        strips: &impl Fn(&str) -> Option<&'s Strips>,
    ) -> Result<(), EsError> {
        let all: Vec<DocId> = docs.clone().collect();
        segment.top.resize(all.len().max(segment.top.len()), 0);
        let block = Block {
            docs: &all,
            scores: &[],
        };
        for node in &mut segment.nodes {
            if !node.count_strip(&docs, strips, &mut self.budget)? {
                node.collect(block, &all, &segment.top[..all.len()], &mut self.budget)?;
            }
        }
        Ok(())
    }

    /// Add what a segment found to the whole.
    pub(crate) fn close(&mut self, segment: Segment<'_>) -> Result<(), EsError> {
        let mut parts = Vec::with_capacity(segment.nodes.len());
        for node in segment.nodes {
            parts.extend(node.harvest(1)?);
        }
        self.budget.release(segment.mark);
        self.merged.add(parts, &self.plan.nodes, &mut self.budget)
    }

    /// What all segments found.
    pub(crate) fn finish(self) -> Merged {
        self.merged
    }
}

/// The aggregations of a search over one segment.
pub(crate) struct Segment<'a> {
    nodes: Vec<Collecting<'a>>,
    mark: usize,
    /// The bucket above the top ones, for each document of a block.
    top: Vec<u32>,
}

/// A block of documents with their scores.
#[derive(Clone, Copy)]
struct Block<'b> {
    docs: &'b [DocId],
    scores: &'b [f32],
}

impl Block<'_> {
    fn score(self, doc: DocId) -> f32 {
        let place = self.docs.binary_search(&doc).ok();
        let score = place.and_then(|place| self.scores.get(place));
        score.copied().unwrap_or(0.0)
    }
}

/// One aggregation over one segment.
struct Collecting<'a> {
    node: &'a Node,
    how: How<'a>,
    below: Vec<Collecting<'a>>,
    /// What goes to those below.
    docs: Vec<DocId>,
    buckets: Vec<u32>,
}

enum How<'a> {
    Terms {
        terms: &'a Terms,
        values: Values,
        table: Table,
        ids: Interned,
        scratch: Vec<u64>,
        /// Where terms without documents are wanted.
        everyone: Option<Box<Everyone>>,
    },
    Histogram {
        plan: &'a Buckets,
        values: Values,
        remembered: Option<Remembered<'a>>,
        table: Table,
        scratch: Vec<u64>,
    },
    Ranges {
        plan: &'a Ranges,
        values: Values,
        placed: Placed,
    },
    Filters {
        scorers: Vec<Box<dyn Scorer>>,
        other: bool,
        placed: Placed,
    },
    Missing {
        values: Values,
        placed: Placed,
    },
    Numbers {
        values: Values,
        missing: Option<f64>,
        found: Vec<Numbers>,
    },
    Sampled {
        values: Values,
        missing: Option<f64>,
        found: Vec<Sample>,
    },
    Composed(Box<Composing<'a>>),
    Chosen(Box<Choosing<'a>>),
    Counted {
        values: Values,
        missing: bool,
        found: Vec<Numbers>,
        scratch: Vec<u64>,
    },
    Distinct {
        values: Values,
        missing: Option<u64>,
        table: Table,
    },
}

/// Buckets of which there are as many below each bucket above.
struct Placed {
    width: u32,
    counts: Vec<u64>,
}

impl Placed {
    fn new(width: usize) -> Self {
        Self {
            width: width as u32,
            counts: Vec::new(),
        }
    }

    fn count(&mut self, parent: u32, place: usize, budget: &mut Budget) -> Result<u32, EsError> {
        let bucket = parent * self.width + place as u32;
        let needed = (parent as usize + 1) * self.width as usize;
        if self.counts.len() < needed {
            budget.take((needed - self.counts.len()) * 8)?;
            self.counts.resize(needed, 0);
        }
        self.counts[bucket as usize] += 1;
        Ok(bucket)
    }
}

fn open(segment: &SegmentReader, field: Option<&Target>) -> Result<Values, EsError> {
    match field {
        Some(target) => Values::open(segment, target),
        None => Ok(Values::Nothing),
    }
}

impl<'a> Collecting<'a> {
    fn open(
        node: &'a Node,
        segment: &SegmentReader,
        place: Place,
        scope: Scope<'_>,
        scorers: &mut [Option<Box<dyn Scorer>>],
    ) -> Result<Self, EsError> {
        let mut scorer = |place: usize| {
            scorers
                .get_mut(place)
                .and_then(Option::take)
                .ok_or_else(|| EsError::internal("a filter was not opened"))
        };
        let how = match &node.kind {
            Kind::Terms(terms) => {
                let values = open(segment, terms.field.as_ref())?;
                let table = match &values {
                    Values::Keywords(keywords) => Table::dense(&keywords.places()),
                    _ => Table::default(),
                };
                How::Terms {
                    everyone: match terms.min_doc_count {
                        0 => Some(Box::new(Everyone::open(segment, scope)?)),
                        _ => None,
                    },
                    terms,
                    values,
                    table,
                    ids: Interned::default(),
                    scratch: Vec::new(),
                }
            }
            Kind::Histogram(plan) => How::Histogram {
                values: open(segment, plan.field.as_ref())?,
                remembered: match &plan.cut {
                    Cut::Dates(rounding) => Some(Remembered::new(rounding)),
                    Cut::Numbers { .. } => None,
                },
                plan,
                table: Table::default(),
                scratch: Vec::new(),
            },
            Kind::Ranges(plan) => How::Ranges {
                values: open(segment, plan.field.as_ref())?,
                placed: Placed::new(plan.ranges.len()),
                plan,
            },
            Kind::Filter(place) => How::Filters {
                scorers: vec![scorer(*place)?],
                other: false,
                placed: Placed::new(1),
            },
            Kind::Filters { filters, other, .. } => How::Filters {
                scorers: filters
                    .iter()
                    .map(|(_, place)| scorer(*place))
                    .collect::<Result<_, _>>()?,
                other: other.is_some(),
                placed: Placed::new(filters.len() + usize::from(other.is_some())),
            },
            Kind::Missing(field) => How::Missing {
                values: open(segment, field.as_ref())?,
                placed: Placed::new(1),
            },
            Kind::Numbers { field, missing, .. } => How::Numbers {
                values: open(segment, field.as_ref())?,
                missing: *missing,
                found: Vec::new(),
            },
            Kind::Percentiles { field, missing, .. } => How::Sampled {
                values: open(segment, field.as_ref())?,
                missing: *missing,
                found: Vec::new(),
            },
            Kind::Composite(plan) => How::Composed(Box::new(Composing::open(plan, segment)?)),
            Kind::TopHits(plan) => How::Chosen(Box::new(Choosing::open(plan, segment, place)?)),
            Kind::Values { field, missing } => How::Counted {
                values: open(segment, field.as_ref())?,
                missing: *missing,
                found: Vec::new(),
                scratch: Vec::new(),
            },
            Kind::Distinct { field, missing } => {
                let values = open(segment, field.as_ref())?;
                let missing = missing.as_ref().map(|value| {
                    let text = scalar_text(value);
                    match (&values, text.parse::<i64>()) {
                        (Values::Numbers(_), Ok(number)) => number as u64,
                        _ => hash(&text),
                    }
                });
                let table = match &values {
                    Values::Keywords(keywords) => Table::dense(&keywords.places()),
                    _ => Table::default(),
                };
                How::Distinct {
                    values,
                    missing,
                    table,
                }
            }
        };
        let below = node
            .below
            .iter()
            .map(|node| Self::open(node, segment, place, scope, scorers))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            node,
            how,
            below,
            docs: Vec::new(),
            buckets: Vec::new(),
        })
    }

    /// Count all documents of a strip at once, where they lie in one bucket;
    /// `false` where they must be looked at.
    fn count_strip<'s>(
        &mut self,
        docs: &std::ops::Range<DocId>,
        strips: &impl Fn(&str) -> Option<&'s Strips>,
        budget: &mut Budget,
    ) -> Result<bool, EsError> {
        if let How::Terms {
            terms,
            values: Values::Keywords(keywords),
            table,
            scratch,
            ..
        } = &mut self.how
        {
            if !self.below.is_empty() || terms.any_key || !keywords.fill(docs, scratch) {
                return Ok(false);
            }
            for place in scratch.iter() {
                table.count(0, *place, budget)?;
            }
            return Ok(true);
        }
        let How::Histogram {
            plan,
            remembered,
            table,
            scratch,
            ..
        } = &mut self.how
        else {
            return Ok(false);
        };
        let column = plan.field.as_ref().map(|target| target.column);
        let (true, Some(strips)) = (self.below.is_empty(), column.and_then(strips)) else {
            return Ok(false);
        };
        let (low, high) = strips.bounds((docs.start / STRIP) as usize);
        scratch.clear();
        plan.place(low, remembered.as_mut(), scratch);
        plan.place(high, remembered.as_mut(), scratch);
        let [first, last] = scratch[..] else {
            return Ok(false);
        };
        if first != last {
            return Ok(false);
        }
        let bucket = table.bucket(0, first, budget)?;
        table.counts[bucket as usize] += docs.len() as u64;
        Ok(true)
    }

    /// Count `docs`, each in the bucket above that `parents` says. Documents
    /// come in their order, some of them more than once.
    fn collect(
        &mut self,
        block: Block<'_>,
        docs: &[DocId],
        parents: &[u32],
        budget: &mut Budget,
    ) -> Result<(), EsError> {
        let (out_docs, out_buckets) = (&mut self.docs, &mut self.buckets);
        out_docs.clear();
        out_buckets.clear();
        let deep = !self.below.is_empty();
        let mut hand_on = |doc: DocId, bucket: u32| {
            if deep {
                out_docs.push(doc);
                out_buckets.push(bucket);
            }
        };
        let pairs = docs.iter().copied().zip(parents.iter().copied());
        match &mut self.how {
            How::Terms {
                terms,
                values,
                table,
                ids,
                scratch,
                ..
            } => {
                for (doc, parent) in pairs {
                    let mut any = false;
                    match &*values {
                        Values::Keywords(keywords) if keywords.is_single() && !terms.any_key => {
                            if let Some(place) = keywords.first(doc) {
                                any = true;
                                hand_on(doc, table.count(parent, place, budget)?);
                            }
                        }
                        Values::Keywords(keywords) if terms.any_key => {
                            scratch.clear();
                            for place in keywords.of(doc) {
                                scratch.push(ids.value(keywords, place)?);
                            }
                            scratch.sort_unstable();
                            scratch.dedup();
                            for key in scratch.iter() {
                                any = true;
                                hand_on(doc, table.count(parent, *key, budget)?);
                            }
                        }
                        Values::Ids(column) => {
                            any = true;
                            let number = ids.number(column.key(doc), || column.id(doc));
                            hand_on(doc, table.count(parent, number, budget)?);
                        }
                        values => {
                            distinct(values, doc, scratch);
                            for key in scratch.iter() {
                                any = true;
                                hand_on(doc, table.count(parent, *key, budget)?);
                            }
                        }
                    }
                    if !any && terms.missing.is_some() {
                        let key = missing_key(terms, values);
                        hand_on(doc, table.count(parent, key, budget)?);
                    }
                }
            }
            How::Histogram {
                plan,
                values,
                remembered,
                table,
                scratch,
            } => {
                for (doc, parent) in pairs {
                    scratch.clear();
                    if let Values::Numbers(column) = &*values
                        && column.get_cardinality() == Cardinality::Full
                    {
                        plan.place(column.values.get_val(doc), remembered.as_mut(), scratch);
                    } else if let Values::Numbers(column) = &*values {
                        for value in column.values_for_doc(doc) {
                            plan.place(value, remembered.as_mut(), scratch);
                        }
                        if let (true, Some(missing)) = (scratch.is_empty(), plan.missing)
                            && column.first(doc).is_none()
                        {
                            plan.place(missing, remembered.as_mut(), scratch);
                        }
                    } else if let Some(missing) = plan.missing {
                        plan.place(missing, remembered.as_mut(), scratch);
                    }
                    if scratch.len() > 1 {
                        // Values are in the order in which they were written.
                        scratch.sort_unstable();
                        scratch.dedup();
                    }
                    for key in scratch.iter() {
                        hand_on(doc, table.count(parent, *key, budget)?);
                    }
                }
            }
            How::Ranges {
                plan,
                values,
                placed,
            } => {
                let mut numbers = Vec::new();
                for (doc, parent) in pairs {
                    numbers.clear();
                    if let Values::Numbers(column) = &*values {
                        numbers.extend(column.values_for_doc(doc).map(|value| value as f64));
                    }
                    if numbers.is_empty() {
                        numbers.extend(plan.missing);
                    }
                    for (place, range) in plan.ranges.iter().enumerate() {
                        let within = numbers.iter().any(|value| {
                            range.from.is_none_or(|from| *value >= from)
                                && range.to.is_none_or(|to| *value < to)
                        });
                        if within {
                            hand_on(doc, placed.count(parent, place, budget)?);
                        }
                    }
                }
            }
            How::Filters {
                scorers,
                other,
                placed,
            } => {
                for (doc, parent) in pairs {
                    let mut any = false;
                    for (place, scorer) in scorers.iter_mut().enumerate() {
                        if contains(scorer.as_mut(), doc) {
                            any = true;
                            hand_on(doc, placed.count(parent, place, budget)?);
                        }
                    }
                    if *other && !any {
                        hand_on(doc, placed.count(parent, scorers.len(), budget)?);
                    }
                }
            }
            How::Missing { values, placed } => {
                for (doc, parent) in pairs {
                    if !has_value(values, doc) {
                        hand_on(doc, placed.count(parent, 0, budget)?);
                    }
                }
            }
            How::Numbers {
                values,
                missing,
                found,
            } => {
                for (doc, parent) in pairs {
                    let numbers: &mut Numbers = slot(found, parent, budget)?;
                    let mut any = false;
                    if let Values::Numbers(column) = &*values {
                        for value in column.values_for_doc(doc) {
                            any = true;
                            numbers.add(value as f64);
                        }
                    }
                    if let (false, Some(missing)) = (any, *missing) {
                        numbers.add(missing);
                    }
                }
            }
            How::Sampled {
                values,
                missing,
                found,
            } => {
                for (doc, parent) in pairs {
                    let sample: &mut Sample = slot(found, parent, budget)?;
                    let mut any = false;
                    if let Values::Numbers(column) = &*values {
                        for value in column.values_for_doc(doc) {
                            any = true;
                            sample.add(value as f64, budget)?;
                        }
                    }
                    if let (false, Some(missing)) = (any, *missing) {
                        sample.add(missing, budget)?;
                    }
                }
            }
            How::Composed(composing) => {
                // Only filters stand above it, so there is one bucket above.
                for (doc, _) in pairs {
                    composing.count(doc, budget, |bucket| hand_on(doc, bucket))?;
                }
            }
            How::Chosen(choosing) => {
                for (doc, parent) in pairs {
                    choosing.offer(parent, doc, block.score(doc), budget)?;
                }
            }
            How::Counted {
                values,
                missing,
                found,
                scratch,
            } => {
                for (doc, parent) in pairs {
                    let numbers: &mut Numbers = slot(found, parent, budget)?;
                    let count = match &*values {
                        Values::Numbers(column) => column.values_for_doc(doc).count(),
                        values => {
                            distinct(values, doc, scratch);
                            scratch.len()
                        }
                    };
                    numbers.count += (count as u64).max(u64::from(*missing));
                }
            }
            How::Distinct {
                values,
                missing,
                table,
            } => {
                for (doc, parent) in pairs {
                    let mut any = false;
                    match &*values {
                        Values::Nothing => {}
                        Values::Numbers(column) => {
                            for value in column.values_for_doc(doc) {
                                any = true;
                                table.bucket(parent, value as u64, budget)?;
                            }
                        }
                        Values::Keywords(keywords) => {
                            for place in keywords.of(doc) {
                                any = true;
                                table.bucket(parent, place, budget)?;
                            }
                        }
                        Values::Ids(column) => {
                            any = true;
                            let key = column.key(doc);
                            table.bucket(parent, key as u64 ^ (key >> 64) as u64, budget)?;
                        }
                    }
                    if let (false, Some(missing)) = (any, *missing) {
                        // Among numbers it is one of them.
                        let key = match &*values {
                            Values::Numbers(_) => missing,
                            _ => MISSING,
                        };
                        table.bucket(parent, key, budget)?;
                    }
                }
            }
        }
        if deep && !self.docs.is_empty() {
            for below in &mut self.below {
                below.collect(block, &self.docs, &self.buckets, budget)?;
            }
        }
        Ok(())
    }

    /// What was found, for each of the buckets above.
    fn harvest(self, parents: usize) -> Result<Vec<Partial>, EsError> {
        match self.how {
            How::Terms {
                terms,
                values,
                mut table,
                ids,
                everyone,
                ..
            } => {
                if let Some(everyone) = everyone {
                    everyone.add_empty(&values, &mut table, parents)?;
                }
                let names = term_keys(terms, &values, &table, &ids)?;
                keyed(self.node, self.below, &table, parents, |bucket| {
                    names.get(&table.keys[bucket].1).cloned()
                })
            }
            How::Histogram { table, .. } => {
                keyed(self.node, self.below, &table, parents, |bucket| {
                    Some(Key::Number(table.keys[bucket].1 as i64))
                })
            }
            How::Ranges { placed, .. }
            | How::Filters { placed, .. }
            | How::Missing { placed, .. } => by_place(self.below, &placed, parents),
            How::Sampled { mut found, .. } => {
                found.resize(parents, Sample::default());
                Ok(found.into_iter().map(Partial::Sample).collect())
            }
            How::Composed(composing) => composed(self.below, &composing, parents),
            How::Chosen(choosing) => {
                let found = choosing.harvest(parents)?;
                Ok(found.into_iter().map(Partial::Hits).collect())
            }
            How::Numbers { mut found, .. } | How::Counted { mut found, .. } => {
                found.resize(parents, Numbers::default());
                Ok(found.into_iter().map(Partial::Numbers).collect())
            }
            How::Distinct {
                values,
                missing,
                table,
            } => distinct_values(&values, missing, &table, parents),
        }
        .map_err(|error: EsError| {
            tracing::debug!(aggregation = %self.node.name, %error, "an aggregation failed");
            error
        })
    }
}

impl Buckets {
    /// The bucket of one value, where it is within the hard bounds.
    fn place(&self, value: i64, remembered: Option<&mut Remembered<'_>>, keys: &mut Vec<u64>) {
        let key = match (&self.cut, remembered) {
            (Cut::Numbers { width, offset }, _) => rank(((value as f64 - offset) / width).floor()),
            (Cut::Dates(_), Some(remembered)) => remembered.floor(value),
            (Cut::Dates(rounding), None) => rounding.floor(value),
        };
        // It is the bucket's begin that must be within, as in Elasticsearch.
        let begin = match &self.cut {
            Cut::Numbers { width, .. } => of_rank(key) * width,
            Cut::Dates(_) => key as f64,
        };
        let within = self.hard.0.is_none_or(|low| begin >= low)
            && self.hard.1.is_none_or(|high| begin < high);
        if within {
            keys.push(key as u64);
        }
    }
}

fn slot<'f, T: Default>(
    found: &'f mut Vec<T>,
    parent: u32,
    budget: &mut Budget,
) -> Result<&'f mut T, EsError> {
    let place = parent as usize;
    if found.len() <= place {
        budget.take((place + 1 - found.len()) * size_of::<T>())?;
        found.resize_with(place + 1, T::default);
    }
    Ok(&mut found[place])
}

/// The buckets of a table by their keys, below each bucket above.
fn keyed(
    node: &Node,
    below: Vec<Collecting<'_>>,
    table: &Table,
    parents: usize,
    key: impl Fn(usize) -> Option<Key>,
) -> Result<Vec<Partial>, EsError> {
    let mut parts = parts_below(below, table.keys.len())?;
    let mut found: Vec<HashMap<Key, Bucket>> = (0..parents).map(|_| HashMap::new()).collect();
    for (bucket, (parent, _)) in table.keys.iter().enumerate() {
        let Some(key) = key(bucket) else { continue };
        let below = parts.iter_mut().filter_map(|part| part[bucket].take());
        let value = Bucket {
            count: table.counts[bucket],
            below: below.collect(),
        };
        // A value may be there twice: as a document's own, and as what those
        // without one have.
        match found[*parent as usize].entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(value);
            }
            Entry::Occupied(slot) => {
                slot.into_mut()
                    .merge(value, node, &mut Budget::new(usize::MAX))?;
            }
        }
    }
    Ok(found.into_iter().map(Partial::Keyed).collect())
}

/// The buckets of a page. They lie below the one bucket that is above.
fn composed(
    below: Vec<Collecting<'_>>,
    composing: &Composing<'_>,
    parents: usize,
) -> Result<Vec<Partial>, EsError> {
    let mut parts = parts_below(below, composing.made())?;
    let mut page = HashMap::new();
    for (key, slot, count) in composing.found()? {
        let below = parts.iter_mut().filter_map(|part| part[slot].take());
        let below = below.collect();
        page.insert(key, Bucket { count, below });
    }
    let mut found = vec![Partial::Composed(page)];
    found.resize_with(parents, || Partial::Composed(HashMap::new()));
    Ok(found)
}

fn by_place(
    below: Vec<Collecting<'_>>,
    placed: &Placed,
    parents: usize,
) -> Result<Vec<Partial>, EsError> {
    let width = placed.width as usize;
    let mut parts = parts_below(below, parents * width)?;
    let found = (0..parents).map(|parent| {
        let buckets = (parent * width..(parent + 1) * width).map(|bucket| {
            let below = parts.iter_mut().filter_map(|part| part[bucket].take());
            Bucket {
                count: placed.counts.get(bucket).copied().unwrap_or(0),
                below: below.collect(),
            }
        });
        Partial::Placed(buckets.collect())
    });
    Ok(found.collect())
}

/// What each of `below` found, by bucket.
fn parts_below(
    below: Vec<Collecting<'_>>,
    buckets: usize,
) -> Result<Vec<Vec<Option<Partial>>>, EsError> {
    below
        .into_iter()
        .map(|below| Ok(below.harvest(buckets)?.into_iter().map(Some).collect()))
        .collect()
}
