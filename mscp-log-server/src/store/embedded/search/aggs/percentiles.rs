//! The values of a field as `percentiles` keeps them: each one as long as
//! there are not too many, then a t-digest.

use tdigest::TDigest;

use super::super::error::EsError;
use super::table::Budget;

/// Up to how many values of one bucket percentiles are exact.
const MAX_EXACT: usize = 1_000_000;

/// The centroids of a digest.
const CENTROIDS: usize = 1_000;

/// The values of one bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    exact: Vec<f64>,
    digest: Option<TDigest>,
}

impl Sample {
    pub(super) fn add(&mut self, value: f64, budget: &mut Budget) -> Result<(), EsError> {
        if self.exact.len() == MAX_EXACT {
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
        if let Some(digest) = other.digest {
            self.digest = Some(match self.digest.take() {
                Some(own) => TDigest::merge_digests(vec![own, digest]),
                None => digest,
            });
        }
        for value in other.exact {
            self.add(value, budget)?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let centroids = self.digest.as_ref().map_or(0, |d| d.centroids().len());
        self.exact.capacity() * size_of::<f64>() + centroids * 16
    }

    fn condense(&mut self) {
        let digest = self
            .digest
            .take()
            .unwrap_or_else(|| TDigest::new_with_size(CENTROIDS));
        self.digest = Some(digest.merge_unsorted(std::mem::take(&mut self.exact)));
    }

    /// What lies at each of `percents`, between two values in proportion, as
    /// Elasticsearch has it from 8.9 on. `None` where there is no value.
    pub(super) fn at(mut self, percents: &[f64]) -> Vec<Option<f64>> {
        if self.digest.is_some() {
            self.condense();
        }
        if let Some(digest) = &self.digest {
            return percents
                .iter()
                .map(|percent| digest.estimate_quantile(percent / 100.0))
                .collect();
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

    #[test]
    fn memory_is_counted() {
        let mut sample = Sample::default();
        let mut budget = Budget::new(1_000);
        let all = (0..1_000).try_for_each(|value| sample.add(f64::from(value), &mut budget));
        assert_eq!(all.unwrap_err().kind, "circuit_breaking_exception");
    }
}
