//! What a request of a client comes to, between reading it and doing it.

use std::collections::{HashMap, HashSet};

use super::dedup::{Key, Known};
use super::documents::Document;
use super::log::note;
use super::open::Open;
use super::writer::{Operation, Outcome, Unavailable};
use crate::buffer::disk::log::Records;

/// About what index and id take in a record of the log.
const NAMES_BYTES: usize = 96;

/// Which of `keys` are there, as far as a look-up must tell.
pub(super) fn present_of<'k>(
    open: &Open,
    keys: impl Iterator<Item = &'k Key>,
) -> Result<HashSet<Key>, Unavailable> {
    let mut present = HashSet::new();
    let mut doubtful = HashSet::new();
    for key in keys {
        match open.seen.known(key) {
            Known::Present => {
                present.insert(key.clone());
            }
            Known::Doubtful => {
                doubtful.insert(key.clone());
            }
            Known::Absent => {}
        }
    }
    present.extend(open.look_up(&doubtful)?);
    Ok(present)
}

/// What becomes of documents: operations act one after the other, but only the
/// last state of a document is written, and what was there before is deleted in
/// one pass.
pub(super) struct Changes {
    /// There before, and gone or replaced.
    replaced: Vec<Key>,
    /// Written.
    put: Vec<(Key, Document)>,
    /// An operation left its document as it was.
    pub(super) leaves_some: bool,
}

impl Changes {
    /// What `operations` come to; each has its outcome at its place.
    pub(super) fn of(
        open: &Open,
        operations: Vec<(usize, Operation)>,
        outcomes: &mut [Outcome],
    ) -> Result<Self, Unavailable> {
        let before = present_of(
            open,
            operations.iter().map(|(_, operation)| operation.key()),
        )?;
        let mut now: HashMap<Key, Option<Document>> = HashMap::with_capacity(operations.len());
        let mut order = Vec::with_capacity(operations.len());
        let mut leaves_some = false;
        for (place, operation) in operations {
            let key = operation.key().clone();
            let present = match now.get(&key) {
                Some(state) => state.is_some(),
                None => before.contains(&key),
            };
            let (outcome, state) = match operation {
                Operation::Put { create: true, .. } if present => (Outcome::Conflict, None),
                Operation::Put { document, .. } if present => {
                    (Outcome::Updated, Some(Some(document)))
                }
                Operation::Put { document, .. } => (Outcome::Created, Some(Some(document))),
                Operation::Delete { .. } if present => (Outcome::Deleted, Some(None)),
                Operation::Delete { .. } => (Outcome::NotFound, None),
            };
            outcomes[place] = outcome;
            leaves_some |= state.is_none();
            if let Some(state) = state
                && now.insert(key.clone(), state).is_none()
            {
                order.push(key);
            }
        }
        let replaced = order.iter().filter(|key| before.contains(key)).cloned();
        let replaced = replaced.collect();
        let put = order.into_iter().filter_map(|key| {
            let document = now.remove(&key)??;
            Some((key, document))
        });
        Ok(Self {
            replaced,
            put: put.collect(),
            leaves_some,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.put.is_empty()
    }

    /// For the log, what becomes of each document: first what is gone, as
    /// what replaces it comes behind.
    pub(super) fn noted(&self) -> Records {
        let count = self.replaced.len() + self.put.len();
        let sources = self.put.iter().map(|(_, document)| document.text().len());
        let mut records =
            Records::with_capacity(count, sources.sum::<usize>() + count * NAMES_BYTES);
        for key in &self.replaced {
            note(&mut records, key, None);
        }
        for (key, document) in &self.put {
            note(&mut records, key, Some(document));
        }
        records
    }

    pub(super) fn make(self, open: &mut Open) -> Result<(), Unavailable> {
        open.delete(self.replaced)?;
        for (key, document) in self.put {
            open.add(key, document)?;
        }
        Ok(())
    }
}
