//! The store as it is at one moment: its files for a backup, and its documents
//! for putting a backup into another store.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use tantivy::columnar::StrColumn;
use tantivy::{DocAddress, DocId, SegmentOrdinal};

use super::EmbeddedStore;
use super::catalog::CatalogError;
use super::partition::PartitionSnapshot;
use super::schema::INDEX;
use crate::snapshot::Snapshot;

/// tantivy's list of the segments of a commit, and of the files that it may delete.
const META: &str = "meta.json";
const MANAGED: &str = ".managed.json";

/// How often a partition is tried that is committed in the middle of it. A
/// commit comes once a second, and links are made in milliseconds.
const ATTEMPTS: usize = 100;

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its `_index`.
    pub index: String,
    /// Its `_id`.
    pub id: String,
    /// Its source, byte for byte as it was written.
    pub source: Vec<u8>,
}

impl EmbeddedStore {
    /// Commit, and hold the files of the last commit of every partition, below `prefix`.
    /// Writes, merges and deletions go on. Blocks on the disk.
    ///
    /// # Errors
    /// When the file system refuses, or what was written cannot be committed.
    pub(super) fn hold(&self, into: &mut Snapshot, prefix: &str) -> io::Result<()> {
        // What only the log has would be in no file that is held.
        self.writer
            .refresh_blocking()
            .map_err(|reason| io::Error::other(reason.to_string()))?;
        let folder = self.catalog.folder();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // The small files beside the partitions; a `.new` is half a file.
            if entry.file_type()?.is_file() && name.ends_with(".json") {
                into.copy(format!("{prefix}/{name}"), &entry.path())?;
            }
        }
        for name in self.catalog.names() {
            let partition = folder.join(&*name);
            match link_partition(into, &partition, &format!("{prefix}/{name}")) {
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !partition.exists() => {}
                linked => linked?,
            }
        }
        Ok(())
    }

    /// Give every document to `each`, the oldest day first, until it says no.
    /// What is written meanwhile may be among them or not.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn each_document(&self, mut each: impl FnMut(Stored) -> bool) -> Result<(), CatalogError> {
        self.commit()?;
        for name in self.catalog.names().into_iter().rev() {
            let Some(partition) = self.catalog.partition(&name)? else {
                continue;
            };
            let more = documents_of(&partition.snapshot(), &mut each).map_err(|error| {
                CatalogError::Partition {
                    name: name.to_string(),
                    error,
                }
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self) -> Result<(), CatalogError> {
        let committed = self.writer.refresh_blocking();
        committed.map_err(|reason| CatalogError::Uncommitted(reason.to_string()))
    }

    /// How many documents there are, and the names of indices that have none.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn contents(&self) -> Result<(u64, Vec<Box<str>>), CatalogError> {
        self.commit()?;
        let mut documents = 0;
        for name in self.catalog.names() {
            if let Some(partition) = self.catalog.partition(&name)? {
                documents += partition.snapshot().searcher.num_docs();
            }
        }
        Ok((
            documents,
            self.catalog.empty_indices().into_iter().collect(),
        ))
    }
}

/// Link the files of the last commit. A commit replaces `meta.json` and only
/// then deletes what the one before had: while it stays the same, all of its
/// files are there.
fn link_partition(into: &mut Snapshot, partition: &Path, prefix: &str) -> io::Result<()> {
    let start = into.len();
    for _ in 0..ATTEMPTS {
        let meta = fs::read(partition.join(META))?;
        match link_commit(into, partition, prefix, &meta) {
            Ok(()) if fs::read(partition.join(META))? == meta => {
                into.put(format!("{prefix}/{META}"), meta);
                return Ok(());
            }
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        into.back_to(start)?;
    }
    let partition = partition.display();
    Err(io::Error::other(format!(
        "{partition} was committed {ATTEMPTS} times while its files were listed"
    )))
}

fn link_commit(into: &mut Snapshot, partition: &Path, prefix: &str, meta: &[u8]) -> io::Result<()> {
    let segments = segments_of(meta)?;
    for entry in fs::read_dir(partition)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let segment = name.split('.').next().unwrap_or_default();
        if segments.contains(segment) {
            into.link(format!("{prefix}/{name}"), &entry.path(), None)?;
        }
    }
    // Without it no file of the partition would ever be deleted again.
    into.copy(format!("{prefix}/{MANAGED}"), &partition.join(MANAGED))
}

/// The names of a commit's segments, as their files begin: hex digits alone.
fn segments_of(meta: &[u8]) -> io::Result<HashSet<String>> {
    let meta: serde_json::Value = serde_json::from_slice(meta)?;
    let segments = meta["segments"].as_array().into_iter().flatten();
    Ok(segments
        .filter_map(|segment| segment["segment_id"].as_str())
        .map(|id| id.replace('-', ""))
        .collect())
}

fn documents_of(
    snapshot: &PartitionSnapshot,
    each: &mut impl FnMut(Stored) -> bool,
) -> tantivy::Result<bool> {
    for (segment_ord, segment) in (0..).zip(snapshot.searcher.segment_readers()) {
        let index = segment.fast_fields().str(INDEX)?;
        for doc_id in segment.doc_ids_alive() {
            let stored = document(snapshot, index.as_ref(), segment_ord, doc_id)?;
            if !each(stored) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn document(
    snapshot: &PartitionSnapshot,
    index: Option<&StrColumn>,
    segment_ord: SegmentOrdinal,
    doc_id: DocId,
) -> tantivy::Result<Stored> {
    let mut name = String::new();
    if let Some(column) = index
        && let Some(ordinal) = column.term_ords(doc_id).next()
    {
        column.ord_to_str(ordinal, &mut name)?;
    }
    let address = DocAddress {
        segment_ord,
        doc_id,
    };
    Ok(Stored {
        index: name,
        id: snapshot.ids(segment_ord).id(doc_id).to_string(),
        source: snapshot.source(address)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_segments_of_a_commit_are_named_as_their_files_begin() {
        let meta =
            br#"{"segments":[{"segment_id":"0f1e2d3c-0000-4000-8000-000000000001","max_doc":1}]}"#;
        let expected = HashSet::from(["0f1e2d3c000040008000000000000001".to_owned()]);
        assert_eq!(segments_of(meta).unwrap(), expected);
    }
}
