//! Numbers for buckets: (bucket above, key) to a small number that the
//! aggregations below count by.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::super::error::EsError;

/// How many places a field may have for the top buckets to be found without hashing.
const DENSE_LIMIT: u64 = 1 << 18;

/// No bucket yet.
const ABSENT: u32 = u32::MAX;

/// The memory that aggregations may take, by what they reckon themselves.
#[derive(Debug)]
pub(crate) struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    /// Take `bytes`.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), EsError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(EsError::circuit_breaking(self.limit));
        }
        Ok(())
    }

    /// What is taken now, to go back to.
    pub(super) fn mark(&self) -> usize {
        self.used
    }

    /// Give back what was taken since `mark`.
    pub(super) fn release(&mut self, mark: usize) {
        self.used = mark;
    }
}

/// Bytes of a bucket in a segment's tables.
const BUCKET_BYTES: usize = 56;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    dense_from: u64,
    dense: Vec<u32>,
    hashed: HashMap<(u32, u64), u32, BuildHasherDefault<Mixer>>,
    last: Option<((u32, u64), u32)>,
    /// Bucket above and key of each bucket.
    pub(super) keys: Vec<(u32, u64)>,
    /// Documents of each bucket.
    pub(super) counts: Vec<u64>,
}

impl Table {
    /// A table for keys of `places`, which top buckets find by position.
    pub(super) fn dense(places: &std::ops::Range<u64>) -> Self {
        let width = places.end.saturating_sub(places.start);
        let dense = if width <= DENSE_LIMIT {
            vec![ABSENT; usize::try_from(width).unwrap_or(0)]
        } else {
            Vec::new()
        };
        Self {
            dense_from: places.start,
            dense,
            ..Self::default()
        }
    }

    /// Count one document in the bucket `key` below `parent`.
    pub(super) fn count(
        &mut self,
        parent: u32,
        key: u64,
        budget: &mut Budget,
    ) -> Result<u32, EsError> {
        let bucket = self.bucket(parent, key, budget)?;
        self.counts[bucket as usize] += 1;
        Ok(bucket)
    }

    /// The bucket `key` below `parent`, made where it was not there.
    pub(super) fn bucket(
        &mut self,
        parent: u32,
        key: u64,
        budget: &mut Budget,
    ) -> Result<u32, EsError> {
        if parent == 0
            && let Some(offset) = key.checked_sub(self.dense_from)
            && let Some(slot) = usize::try_from(offset)
                .ok()
                .and_then(|offset| self.dense.get_mut(offset))
        {
            if *slot == ABSENT {
                budget.take(BUCKET_BYTES)?;
                *slot = self.keys.len() as u32;
                self.keys.push((parent, key));
                self.counts.push(0);
            }
            return Ok(*slot);
        }
        let place = (parent, key);
        if let Some((last, bucket)) = self.last
            && last == place
        {
            return Ok(bucket);
        }
        let next = self.keys.len() as u32;
        let bucket = *self.hashed.entry(place).or_insert(next);
        if bucket == next {
            budget.take(BUCKET_BYTES)?;
            self.keys.push(place);
            self.counts.push(0);
        }
        self.last = Some((place, bucket));
        Ok(bucket)
    }
}

/// A quick hash for keys that no stranger chooses: places and rounded dates.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
