//! What aggregations found, by value and not by place in a segment, so that
//! the parts of several segments and partitions add up.

use std::collections::{HashMap, HashSet};

use super::super::collect::Found;
use super::super::error::EsError;
use super::super::sort::Raw;
use super::percentiles::Sample;
use super::plan::{Kind, Node};
use super::table::Budget;

/// The key of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Number(i64),
    Text(Box<str>),
}

/// One bucket, with what the aggregations below it found.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) count: u64,
    pub(super) below: Vec<Partial>,
}

/// What one aggregation found in one bucket above.
#[derive(Debug)]
pub(super) enum Partial {
    /// Buckets by key.
    Keyed(HashMap<Key, Bucket>),
    /// Buckets by their place in the request.
    Placed(Vec<Bucket>),
    /// Numbers.
    Numbers(Numbers),
    /// Different values, by number or by hash.
    Distinct(HashSet<u64>),
    /// All values.
    Sample(Sample),
    /// Buckets by several values.
    Composed(HashMap<Vec<Raw>, Bucket>),
    /// Documents.
    Hits(Hits),
}

/// The best documents of a bucket.
#[derive(Debug, Default)]
pub(super) struct Hits {
    pub(super) total: u64,
    pub(super) max_score: Option<f32>,
    pub(super) best: Vec<Found>,
}

/// Bytes of a document that is kept.
const HIT_BYTES: usize = 160;

/// Numbers that add up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// What `sum` is short of (Kahan's summation).
    lost: f64,
    pub(super) squares: f64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            lost: 0.0,
            squares: 0.0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }
}

impl Numbers {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.add_to_sum(value);
        self.squares += value * value;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    fn add_to_sum(&mut self, value: f64) {
        let corrected = value - self.lost;
        let sum = self.sum + corrected;
        self.lost = (sum - self.sum) - corrected;
        self.sum = sum;
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.add_to_sum(other.sum);
        self.add_to_sum(-other.lost);
        self.squares += other.squares;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }
}

/// Bytes of a bucket, besides its key's text and what is below.
const BUCKET_BYTES: usize = 96;

impl Partial {
    /// Add what `node` found elsewhere.
    fn merge(&mut self, other: Self, node: &Node, budget: &mut Budget) -> Result<(), EsError> {
        match (self, other) {
            (Self::Keyed(mine), Self::Keyed(theirs)) => {
                for (key, bucket) in theirs {
                    match mine.entry(key) {
                        std::collections::hash_map::Entry::Occupied(slot) => {
                            slot.into_mut().merge(bucket, node, budget)?;
                        }
                        std::collections::hash_map::Entry::Vacant(slot) => {
                            budget.take(key_bytes(slot.key()) + bucket.bytes())?;
                            slot.insert(bucket);
                        }
                    }
                }
            }
            (Self::Composed(mine), Self::Composed(theirs)) => {
                for (key, bucket) in theirs {
                    match mine.entry(key) {
                        std::collections::hash_map::Entry::Occupied(slot) => {
                            slot.into_mut().merge(bucket, node, budget)?;
                        }
                        std::collections::hash_map::Entry::Vacant(slot) => {
                            budget.take(raw_bytes(slot.key()) + bucket.bytes())?;
                            slot.insert(bucket);
                        }
                    }
                }
            }
            (Self::Placed(mine), Self::Placed(theirs)) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    mine.merge(theirs, node, budget)?;
                }
            }
            (Self::Numbers(mine), Self::Numbers(theirs)) => mine.merge(&theirs),
            (Self::Distinct(mine), Self::Distinct(theirs)) => {
                let before = mine.len();
                mine.extend(theirs);
                budget.take((mine.len() - before) * 16)?;
            }
            (Self::Sample(mine), Self::Sample(theirs)) => mine.merge(theirs, budget)?,
            (Self::Hits(mine), Self::Hits(theirs)) => {
                mine.total += theirs.total;
                mine.max_score = match (mine.max_score, theirs.max_score) {
                    (Some(mine), Some(theirs)) => Some(mine.max(theirs)),
                    (mine, theirs) => mine.or(theirs),
                };
                let before = mine.best.len();
                mine.best.extend(theirs.best);
                if let Kind::TopHits(plan) = &node.kind {
                    plan.keep_best(&mut mine.best);
                }
                budget.take(mine.best.len().saturating_sub(before) * HIT_BYTES)?;
            }
            _ => return Err(EsError::internal("parts of different aggregations")),
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Keyed(buckets) => buckets
                .iter()
                .map(|(key, bucket)| key_bytes(key) + bucket.bytes())
                .sum(),
            Self::Placed(buckets) => buckets.iter().map(Bucket::bytes).sum(),
            Self::Numbers(_) => size_of::<Numbers>(),
            Self::Distinct(values) => values.len() * 16,
            Self::Sample(sample) => sample.bytes(),
            Self::Composed(buckets) => buckets
                .iter()
                .map(|(key, bucket)| raw_bytes(key) + bucket.bytes())
                .sum(),
            Self::Hits(hits) => hits.best.len() * HIT_BYTES,
        }
    }
}

fn key_bytes(key: &Key) -> usize {
    match key {
        Key::Number(_) => 0,
        Key::Text(text) => text.len(),
    }
}

fn raw_bytes(key: &[Raw]) -> usize {
    let text = |raw: &Raw| match raw {
        Raw::Text(text) => text.len(),
        Raw::Least | Raw::Number(_) | Raw::Greatest => 0,
    };
    key.iter().map(|raw| size_of::<Raw>() + text(raw)).sum()
}

impl Bucket {
    /// Add what the same bucket of `node` has elsewhere.
    pub(super) fn merge(
        &mut self,
        other: Self,
        node: &Node,
        budget: &mut Budget,
    ) -> Result<(), EsError> {
        self.count += other.count;
        let pairs = self.below.iter_mut().zip(other.below);
        for ((mine, theirs), node) in pairs.zip(&node.below) {
            mine.merge(theirs, node, budget)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        BUCKET_BYTES + self.below.iter().map(Partial::bytes).sum::<usize>()
    }
}

/// What all aggregations of a search found so far, in the request's order.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(super) parts: Vec<Partial>,
}

impl Merged {
    /// Add what another segment found.
    pub(super) fn add(
        &mut self,
        parts: Vec<Partial>,
        nodes: &[Node],
        budget: &mut Budget,
    ) -> Result<(), EsError> {
        if self.parts.is_empty() {
            budget.take(parts.iter().map(Partial::bytes).sum())?;
            self.parts = parts;
            return Ok(());
        }
        let pairs = self.parts.iter_mut().zip(parts);
        for ((mine, theirs), node) in pairs.zip(nodes) {
            mine.merge(theirs, node, budget)?;
        }
        Ok(())
    }
}
