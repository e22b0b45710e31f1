//! The values of a field as `percentiles` keeps them: each one as long as
//! there are not too many, then how many lie in each of some ranges.
//!
//! What is kept follows from the values alone. The order in which they come,
//! and how they are parted into segments, changes no bit of an answer: both
//! depend on documents that a restriction hides.

use super::super::error::EsError;
use super::table::Budget;

/// Up to how many values of one bucket percentiles are exact.
const MAX_EXACT: usize = 1_000_000;

/// In how many ranges the values lie when there are more.
const MAX_RANGES: usize = 1 << 18;

/// The values of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    exact: Vec<f64>,
    ranges: Option<Ranges>,
}

impl Sample {
    pub(super) fn add(&mut self, value: f64, budget: &mut Budget) -> Result<(), EsError> {
        if self.exact.len() == MAX_EXACT {
            if self.ranges.is_none() {
                budget.take(MAX_RANGES * size_of::<Range>())?;
            }
            self.condense();
        }
        if self.exact.len() == self.exact.capacity() {
            let more = self.exact.capacity().max(8);
            budget.take(more * size_of::<f64>())?;
            self.exact.reserve_exact(more);
        }
        self.exact.push(value);
        Ok(())
    }

    pub(super) fn merge(&mut self, other: Self, budget: &mut Budget) -> Result<(), EsError> {
        if let Some(ranges) = other.ranges {
            self.ranges = Some(match self.ranges.take() {
                Some(own) => own.with(ranges),
                None => ranges,
            });
        }
        for value in other.exact {
            self.add(value, budget)?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let ranges = self.ranges.as_ref().map_or(0, |it| it.counts.len());
        self.exact.capacity() * size_of::<f64>() + ranges * size_of::<Range>()
    }

    fn condense(&mut self) {
        let more = Ranges::of(&mut self.exact);
        // What it has room for is counted already.
        self.exact.clear();
        self.ranges = Some(match self.ranges.take() {
            Some(own) => own.with(more),
            None => more,
        });
    }

    /// What lies at each of `percents`, between two values in proportion, as
    /// Elasticsearch has it from 8.9 on. `None` where there is no value.
    pub(super) fn at(mut self, percents: &[f64]) -> Vec<Option<f64>> {
        if self.ranges.is_some() {
            self.condense();
        }
        if let Some(ranges) = &self.ranges {
            return percents.iter().map(|it| Some(ranges.at(*it))).collect();
        }
        self.exact.sort_unstable_by(f64::total_cmp);
        let Some(last) = self.exact.len().checked_sub(1) else {
            return vec![None; percents.len()];
        };
        percents
            .iter()
            .map(|percent| {
                let place = percent / 100.0 * last as f64;
                let below = (place.floor() as usize).min(last);
                let low = self.exact[below];
                let high = self.exact[(below + 1).min(last)];
                Some(low + (high - low) * (place - below as f64))
            })
            .collect()
    }
}

/// The values whose numbers by [`ordered`] begin alike, and how many they are.
type Range = (u64, u64);

/// Many values: how many lie in each of at most [`MAX_RANGES`] ranges.
///
/// A range is of all doubles whose numbers in their order are the same but for
/// their last `shift` bits. `shift` is the least with which there are few enough,
/// so it follows from the values; and as a coarser range is made of whole finer
/// ones, parts can be coarsened before they are added up or after. Where every
/// binade of both signs is in use, a range is 1/64 of one; values of a narrower
/// span have finer ranges, a month of milliseconds about 10 s.
#[derive(Clone, Debug)]
struct Ranges {
    shift: u32,
    /// Sorted by their beginnings.
    counts: Vec<Range>,
    least: f64,
    most: f64,
}

impl Ranges {
    /// Of these values, which it sorts.
    fn of(values: &mut [f64]) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let mut ranges = Self {
            shift: 0,
            counts: Vec::new(),
            least: values.first().copied().unwrap_or(f64::NAN),
            most: values.last().copied().unwrap_or(f64::NAN),
        };
        for value in values {
            push(&mut ranges.counts, (ordered(*value), 1));
        }
        ranges.coarsen();
        ranges
    }

    /// Those of both. Neither is empty, or the other one's bounds hold.
    fn with(self, other: Self) -> Self {
        let shift = self.shift.max(other.shift);
        let [mut left, mut right] = [self, other].map(|ranges| {
            let by = shift - ranges.shift;
            let counts = ranges.counts.into_iter();
            (
                counts
                    .map(move |(key, count)| (key >> by, count))
                    .peekable(),
                [ranges.least, ranges.most],
            )
        });
        let mut counts = Vec::new();
        loop {
            let next = match (left.0.peek(), right.0.peek()) {
                (Some((one, _)), Some((other, _))) if one <= other => left.0.next(),
                (Some(_), None) => left.0.next(),
                (_, _) => right.0.next(),
            };
            let Some(next) = next else { break };
            push(&mut counts, next);
        }
        let mut both = Self {
            shift,
            counts,
            // The bound of nothing is no number, which these pass over.
            least: left.1[0].min(right.1[0]),
            most: left.1[1].max(right.1[1]),
        };
        both.coarsen();
        both
    }

    fn coarsen(&mut self) {
        while self.counts.len() > MAX_RANGES {
            self.shift += 1;
            let finer = std::mem::take(&mut self.counts);
            for (key, count) in finer {
                push(&mut self.counts, (key >> 1, count));
            }
        }
        self.counts.shrink_to_fit();
    }

    /// What lies at `percent`: between the bounds of its range in proportion to
    /// its place in it.
    fn at(&self, percent: f64) -> f64 {
        let all: u64 = self.counts.iter().map(|(_, count)| count).sum();
        let place = percent / 100.0 * all.saturating_sub(1) as f64;
        let mut before = 0;
        for (key, count) in &self.counts {
            let behind = before + count;
            if place < behind as f64 || behind == all {
                let first = of_ordered(key << self.shift);
                let last = of_ordered(key << self.shift | ((1 << self.shift) - 1));
                let share = (place - before as f64 + 0.5) / *count as f64;
                let value = first + (last - first) * share.clamp(0.0, 1.0);
                return value.clamp(self.least, self.most);
            }
            before = behind;
        }
        self.most
    }
}

/// Add to the last range, or begin the next one.
fn push(counts: &mut Vec<Range>, (key, count): Range) {
    match counts.last_mut() {
        Some((last, sum)) if *last == key => *sum += count,
        _ => counts.push((key, count)),
    }
}

/// A double as a number that orders as `f64::total_cmp` does.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The inverse of [`ordered`].
fn of_ordered(number: u64) -> f64 {
    f64::from_bits(if number >> 63 == 1 {
        number & !(1 << 63)
    } else {
        !number
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sample(values: impl Iterator<Item = f64>) -> Sample {
        let mut sample = Sample::default();
        let mut budget = Budget::new(usize::MAX);
        for value in values {
            sample.add(value, &mut budget).unwrap();
        }
        sample
    }

    #[test]
    fn a_percentile_lies_between_its_neighbours_in_proportion() {
        let found = sample([4.0, 1.0, 3.0, 2.0].into_iter()).at(&[0.0, 25.0, 50.0, 100.0]);
        assert_eq!(found, [Some(1.0), Some(1.75), Some(2.5), Some(4.0)]);
        assert_eq!(sample([7.0].into_iter()).at(&[99.0]), [Some(7.0)]);
        assert_eq!(Sample::default().at(&[50.0]), [None]);
    }

    #[test]
    fn parts_add_up_to_what_the_whole_gives() {
        let mut left = sample((0..50).map(f64::from));
        let right = sample((50..101).map(f64::from));
        left.merge(right, &mut Budget::new(usize::MAX)).unwrap();
        assert_eq!(left.at(&[25.0, 75.0]), [Some(25.0), Some(75.0)]);
    }

    #[test]
    fn of_many_values_percentiles_are_near() {
        let many = 3 * MAX_EXACT as u32;
        let found = sample((0..many).map(f64::from)).at(&[1.0, 50.0, 99.0]);
        for (found, percent) in found.into_iter().zip([1.0, 50.0, 99.0]) {
            let wanted = f64::from(many) * percent / 100.0;
            assert!((found.unwrap() - wanted).abs() < f64::from(many) / 1_000.0);
        }
    }

    /// The restriction's property needs it: the documents that it hides change
    /// in which order and in which segments the others lie.
    #[test]
    fn neither_order_nor_parts_of_many_values_change_a_bit_of_a_percentile() {
        let values = |seed: u64| {
            let spread = (0..MAX_EXACT as u64 * 3 / 2).map(move |n| {
                let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
                let narrow = 1_516_752_000_000.0 + (mixed % 2_592_000_000) as f64;
                [narrow, -((mixed >> 11) as f64).sqrt(), 0.25][(mixed % 3) as usize]
            });
            spread.collect::<Vec<f64>>()
        };
        let percents = [0.0, 1.0, 33.0, 50.0, 66.7, 99.9, 100.0];
        let mut all = [values(1), values(2)].concat();
        let expected = sample(all.iter().copied()).at(&percents);
        for parts in [1, 3, 7] {
            all.reverse();
            all.rotate_left(parts * 99_991);
            let mut whole = Sample::default();
            // Unlike in size: some parts are exact and some are not.
            let (some, rest) = all.split_at(all.len() / (parts + 1));
            for part in rest.chunks(rest.len() / parts).chain([some]) {
                let part = sample(part.iter().copied());
                whole.merge(part, &mut Budget::new(usize::MAX)).unwrap();
            }
            let found = whole.at(&percents);
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{parts}");
        }
    }

    #[test]
    fn of_many_values_the_ends_and_values_that_repeat_are_exact() {
        let many = (0..2 * MAX_EXACT as u32).map(|n| f64::from(n % 10) - 3.0);
        let found = sample(many).at(&[0.0, 35.0, 100.0]);
        assert_eq!(found, [Some(-3.0), Some(0.0), Some(6.0)]);
    }

    #[test]
    fn memory_is_counted() {
        let mut sample = Sample::default();
        let mut budget = Budget::new(1_000);
        let all = (0..1_000).try_for_each(|value| sample.add(f64::from(value), &mut budget));
        assert_eq!(all.unwrap_err().kind, "circuit_breaking_exception");
    }
}
