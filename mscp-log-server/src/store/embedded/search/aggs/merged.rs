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

/// Numbers that add up, to the same in whatever order they come: under a
/// restriction that order follows from documents that may not be seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) count: u64,
    /// The sum of the whole ones, exactly. Columns have no others.
    whole: i128,
    /// The sum of their squares: how often 2^64, and what is left of each.
    squares: [u128; 2],
    /// What stands for a missing value where it is not whole, and how often.
    part: f64,
    parts: u64,
    pub(super) least: f64,
    pub(super) greatest: f64,
}

/// Numbers up to here, of either sign, are summed as whole ones: every long.
const LARGEST_WHOLE: f64 = 9_223_372_036_854_775_808.0;

impl Default for Numbers {
    fn default() -> Self {
        Self {
            count: 0,
            whole: 0,
            squares: [0; 2],
            part: 0.0,
            parts: 0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sums are shown as doubles, and only whole numbers become integers"
)]
impl Numbers {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        if value.abs() <= LARGEST_WHOLE && value.fract() == 0.0 {
            let whole = value as i128;
            self.whole += whole;
            // Each square as a double has it, as the engines add them up.
            let square = (value * value) as u128;
            self.squares[0] += square >> 64;
            self.squares[1] += square & u128::from(u64::MAX);
        } else {
            self.part = value;
            self.parts += 1;
        }
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    pub(super) fn sum(&self) -> f64 {
        self.whole as f64 + self.of_parts(self.part)
    }

    pub(super) fn squares(&self) -> f64 {
        let [high, low] = self.squares;
        let high = high + (low >> 64);
        let low = low & u128::from(u64::MAX);
        let whole = match high >> 64 {
            0 => (high << 64 | low) as f64,
            _ => high as f64 * 18_446_744_073_709_551_616.0 + low as f64,
        };
        whole + self.of_parts(self.part * self.part)
    }

    fn of_parts(&self, each: f64) -> f64 {
        match self.parts {
            0 => 0.0,
            parts => each * parts as f64,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.whole += other.whole;
        self.squares[0] += other.squares[0];
        self.squares[1] += other.squares[1];
        if other.parts > 0 {
            self.part = other.part;
            self.parts += other.parts;
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.5),
            Just(9_223_372_036_854_775_807_i64 as f64),
            Just(-9_223_372_036_854_775_808_i64 as f64),
            (-1_000_000_000_000_000_000_i64..1_000_000_000_000_000_000)
                .prop_map(|whole| whole as f64),
            (-9_i64..9).prop_map(|whole| whole as f64),
        ]
    }

    fn of(values: &[f64]) -> Numbers {
        let mut numbers = Numbers::default();
        values.iter().for_each(|value| numbers.add(*value));
        numbers
    }

    proptest! {
        #[test]
        fn sums_are_the_same_in_whatever_order_and_parts_they_are_made(
            values in proptest::collection::vec(value(), 0..40), cut in any::<prop::sample::Index>(),
        ) {
            let forth = of(&values);
            let mut back = values;
            back.reverse();
            let cut = if back.is_empty() { 0 } else { cut.index(back.len()) };
            let mut merged = of(&back[..cut]);
            merged.merge(&of(&back[cut..]));
            prop_assert_eq!(merged.sum().to_bits(), forth.sum().to_bits());
            prop_assert_eq!(merged.squares().to_bits(), forth.squares().to_bits());
        }
    }

    #[test]
    fn what_is_small_is_not_lost_beside_what_is_large() {
        let numbers = of(&[9.0e18, 8.0, -9.0e18, 0.5, 0.5]);
        assert_eq!(numbers.sum(), 9.0);
        assert_eq!(of(&[3.0, -4.0]).squares(), 25.0);
    }
}
