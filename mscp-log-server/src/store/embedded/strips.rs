//! The least and the greatest value of each run of documents of a number column.
//!
//! Records come by time, so that a run of documents has nearly one time. A
//! search for the newest passes over runs that are too old, and a histogram
//! counts runs that lie in one bucket without looking at their documents.

use tantivy::columnar::{Cardinality, Column};

/// Documents of a strip; the last of a segment may have fewer. Few in unit
/// tests, so that their small segments have many strips.
pub(super) const STRIP: u32 = if cfg!(test) { 2 } else { 1_024 };

/// The bounds of a column's strips.
pub(super) struct Strips {
    /// Least and greatest value of each strip.
    bounds: Vec<(i64, i64)>,
}

impl Strips {
    /// Read them; `None` where some document has no value, or several.
    pub(super) fn of(column: &Column<i64>) -> Option<Self> {
        if column.get_cardinality() != Cardinality::Full {
            return None;
        }
        let documents = column.num_docs();
        let mut bounds = Vec::with_capacity(documents.div_ceil(STRIP) as usize);
        let mut values = vec![0; STRIP as usize];
        let mut first = 0;
        while first < documents {
            let length = STRIP.min(documents - first);
            let values = &mut values[..length as usize];
            column.values.get_range(u64::from(first), values);
            let start = (i64::MAX, i64::MIN);
            bounds.push(values.iter().fold(start, |(low, high), value| {
                (low.min(*value), high.max(*value))
            }));
            first += length;
        }
        Some(Self { bounds })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The least and the greatest value of one.
    pub(super) fn bounds(&self, strip: usize) -> (i64, i64) {
        self.bounds[strip]
    }
}
