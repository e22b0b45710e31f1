//! The documents of a segment that could be found at all: `min_doc_count: 0`
//! shows the terms of all of them.

use std::collections::{BTreeSet, HashSet};

use tantivy::columnar::StrColumn;
use tantivy::fastfield::AliveBitSet;
use tantivy::{DocId, SegmentReader};

use super::super::super::schema::INDEX;
use super::super::columns::Values;
use super::super::error::EsError;
use super::keys::distinct;
use super::table::{Budget, Table};

/// The indices that are asked for; `None` is all of the partition's.
pub(super) type Scope<'a> = Option<&'a [Box<str>]>;

/// Bytes that the buckets without documents may take in one segment: there is
/// one for each term of the field below each bucket above.
const MAX_EMPTY_BYTES: usize = 64 * 1024 * 1024;

/// See the module.
pub(super) struct Everyone {
    last: DocId,
    alive: Option<AliveBitSet>,
    /// The column of indices, and the places of those that are asked for.
    indices: Option<(StrColumn, HashSet<u64>)>,
}

impl Everyone {
    pub(super) fn open(segment: &SegmentReader, scope: Scope<'_>) -> Result<Self, EsError> {
        let indices = match (scope, segment.fast_fields().str(INDEX)?) {
            (Some(names), Some(column)) => {
                let mut places = HashSet::new();
                for name in names {
                    places.extend(column.dictionary().term_ord(name.as_bytes())?);
                }
                Some((column, places))
            }
            _ => None,
        };
        Ok(Self {
            last: segment.max_doc(),
            alive: segment.alive_bitset().cloned(),
            indices,
        })
    }

    fn has(&self, doc: DocId) -> bool {
        self.alive.as_ref().is_none_or(|alive| alive.is_alive(doc))
            && self.indices.as_ref().is_none_or(|(column, places)| {
                column.term_ords(doc).any(|place| places.contains(&place))
            })
    }

    /// Give each of the `parents` buckets above a bucket for every value.
    pub(super) fn add_empty(
        &self,
        values: &Values,
        table: &mut Table,
        parents: usize,
    ) -> Result<(), EsError> {
        // Ids are those of single documents: one without is none.
        if matches!(values, Values::Nothing | Values::Ids(_)) {
            return Ok(());
        }
        let mut budget = Budget::new(MAX_EMPTY_BYTES);
        let (mut keys, mut scratch) = (BTreeSet::new(), Vec::new());
        for doc in (0..self.last).filter(|doc| self.has(*doc)) {
            distinct(values, doc, &mut scratch);
            keys.extend(scratch.iter().copied());
        }
        for parent in 0..parents as u32 {
            for key in &keys {
                table.bucket(parent, *key, &mut budget)?;
            }
        }
        Ok(())
    }
}
