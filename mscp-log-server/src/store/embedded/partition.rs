//! One physical partition: the tantivy index of a day, and what is searched of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tantivy::index::SegmentId;
use tantivy::schema::{Field, IndexRecordOption, Schema, Value};
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{
    DocAddress, DocSet, Index, IndexReader, IndexSettings, ReloadPolicy, Searcher, SegmentOrdinal,
    SegmentReader, TERMINATED, TantivyDocument, TantivyError,
};

use super::analyzer::tokenizers;
use super::columns::Columns;
use super::directory::DurableDirectory;
use super::ids::IdColumn;
use super::schema::{Fields, schema, schema_of_format_1};
use super::strips::Strips;

/// The partition of names that end in no date.
pub const UNDATED: &str = "undated";

/// Blocks of the document store that a searcher keeps unpacked, a segment.
const SOURCE_BLOCKS_KEPT: usize = 8;

/// Bytes of what is stored of sources that are compressed together. Digits are
/// nearly all of it, which larger blocks do not make smaller.
const SOURCE_BLOCK_BYTES: usize = 16 * 1024;

/// What of one partition a search runs over: one state of it, which no later
/// write changes.
#[derive(Clone)]
pub struct PartitionSnapshot {
    /// `2026.11.23`, or [`UNDATED`].
    pub name: Arc<str>,
    /// The segments.
    pub searcher: Searcher,
    /// Handles to the fields.
    pub fields: Arc<Fields>,
    /// The lowest and the highest `realtime_us` of all documents; `None` where
    /// none has one. Documents without one are not within.
    pub realtime_us: Option<(i64, i64)>,
    /// The indices of this partition that are asked for; `None` is all. A
    /// document of another `_index` must not be found.
    pub selected: Option<Arc<[Box<str>]>>,
    /// For each segment.
    columns: Arc<[Arc<Columns>]>,
    /// Documents of each index; counted when first asked for.
    indices: Arc<OnceLock<BTreeMap<Box<str>, u64>>>,
}

impl PartitionSnapshot {
    /// The source of a document, byte for byte as it was written.
    ///
    /// # Errors
    /// Where the segment cannot be read.
    pub fn source(&self, address: DocAddress) -> tantivy::Result<Vec<u8>> {
        let document: TantivyDocument = self.searcher.doc(address)?;
        let columns = &self.columns[address.segment_ord as usize];
        document
            .get_first(self.fields.source)
            .and_then(|value| columns.source(address.doc_id, value.as_bytes()?))
            .ok_or_else(|| TantivyError::InternalError(format!("no source at {address:?}")))
    }

    /// The indices that have documents here, and how many, whatever is selected.
    ///
    /// # Errors
    /// Where the segments cannot be read.
    pub fn indices(&self) -> tantivy::Result<&BTreeMap<Box<str>, u64>> {
        if let Some(indices) = self.indices.get() {
            return Ok(indices);
        }
        let mut indices = BTreeMap::new();
        for segment in self.searcher.segment_readers() {
            count_indices(segment, self.fields.index, &mut indices)?;
        }
        Ok(self.indices.get_or_init(|| indices))
    }

    /// The same state of which only these indices are asked for.
    ///
    /// # Errors
    /// Where the segments cannot be read.
    pub fn select(&self, names: &BTreeSet<Box<str>>) -> tantivy::Result<Self> {
        let mut selected = self.clone();
        let here = self.indices()?;
        selected.selected = if here.keys().all(|name| names.contains(name)) {
            None
        } else {
            let asked = here.keys().filter(|name| names.contains(*name));
            Some(asked.cloned().collect())
        };
        Ok(selected)
    }

    /// The bounds of the strips of a number field of a segment; see
    /// [`Strips`].
    pub(super) fn strips(&self, segment: SegmentOrdinal, field: &str) -> Option<&Strips> {
        self.columns[segment as usize].strips(field)
    }

    /// The ids of a segment.
    #[must_use]
    pub fn ids(&self, segment: SegmentOrdinal) -> &IdColumn {
        &self.columns[segment as usize].ids
    }
}

/// One partition that is open.
pub struct Partition {
    /// `2026.11.23`, or [`UNDATED`].
    pub(super) name: Arc<str>,
    pub(super) index: Index,
    reader: IndexReader,
    fields: Arc<Fields>,
    snapshot: ArcSwap<PartitionSnapshot>,
}

impl Partition {
    /// Open the partition in the folder `path`, or make it.
    ///
    /// # Errors
    /// Where the folder cannot be made or read, or has another schema.
    pub fn open(path: &Path, name: &str) -> tantivy::Result<Self> {
        fs::create_dir_all(path)?;
        let directory = DurableDirectory::open(path)?;
        let (mut schema, mut fields) = schema();
        if Index::exists(&directory)? {
            let (old_schema, old_fields) = schema_of_format_1();
            if Index::open(directory.clone())?.schema() == old_schema {
                (schema, fields) = (old_schema, old_fields);
            }
        }
        Self::open_as(directory, name, schema, fields)
    }

    /// A new partition as version 1 of the format had it.
    #[cfg(test)]
    pub(super) fn open_format_1(path: &Path, name: &str) -> tantivy::Result<Self> {
        fs::create_dir_all(path)?;
        let (schema, fields) = schema_of_format_1();
        Self::open_as(DurableDirectory::open(path)?, name, schema, fields)
    }

    fn open_as(
        directory: DurableDirectory,
        name: &str,
        schema: Schema,
        fields: Fields,
    ) -> tantivy::Result<Self> {
        let fields = Arc::new(fields);
        let index = Index::builder()
            .schema(schema)
            .settings(settings())
            .tokenizers(tokenizers())
            .open_or_create(directory)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(SOURCE_BLOCKS_KEPT)
            .try_into()?;
        let name: Arc<str> = name.into();
        let snapshot = snapshot(&name, &reader, &fields, None)?;
        Ok(Self {
            name,
            index,
            reader,
            fields,
            snapshot: ArcSwap::from_pointee(snapshot),
        })
    }

    /// The state of the last commit that was published.
    #[must_use]
    pub fn snapshot(&self) -> Arc<PartitionSnapshot> {
        self.snapshot.load_full()
    }

    /// Let searches see the last commit.
    ///
    /// # Errors
    /// Where the segments cannot be opened.
    pub fn publish(&self) -> tantivy::Result<()> {
        self.reader.reload()?;
        let before = self.snapshot.load();
        let snapshot = snapshot(&self.name, &self.reader, &self.fields, Some(&before))?;
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }
}

fn count_indices(
    segment: &SegmentReader,
    field: Field,
    indices: &mut BTreeMap<Box<str>, u64>,
) -> tantivy::Result<()> {
    let inverted = segment.inverted_index(field)?;
    let mut names = inverted.terms().stream()?;
    while names.advance() {
        let info = names.value().clone();
        let count = if segment.has_deletes() {
            let mut postings =
                inverted.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
            let mut alive = 0;
            while postings.doc() != TERMINATED {
                alive += u64::from(!segment.is_deleted(postings.doc()));
                postings.advance();
            }
            alive
        } else {
            u64::from(info.doc_freq)
        };
        if count > 0 {
            let name = String::from_utf8_lossy(names.key());
            *indices.entry(name.into()).or_default() += count;
        }
    }
    Ok(())
}

fn settings() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::Zstd(ZstdCompressor {
            compression_level: Some(3),
        }),
        // One more thread for each open writer would be for nothing: the
        // indexing thread has the time.
        docstore_compress_dedicated_thread: false,
        docstore_blocksize: SOURCE_BLOCK_BYTES,
        ..IndexSettings::default()
    }
}

/// What the reader has now. Columns of segments that were there `before` are
/// taken over: a commit a second must not make them be read anew.
fn snapshot(
    name: &Arc<str>,
    reader: &IndexReader,
    fields: &Arc<Fields>,
    before: Option<&PartitionSnapshot>,
) -> tantivy::Result<PartitionSnapshot> {
    let searcher = reader.searcher();
    let known: HashMap<SegmentId, &Arc<Columns>> = before
        .into_iter()
        .flat_map(|before| {
            let ids = before.searcher.segment_readers().iter();
            ids.map(SegmentReader::segment_id)
                .zip(before.columns.iter())
        })
        .collect();
    let mut realtime_us: Option<(i64, i64)> = None;
    let mut columns = Vec::new();
    for segment in searcher.segment_readers() {
        let own = match known.get(&segment.segment_id()) {
            Some(columns) => Arc::clone(columns),
            None => Arc::new(Columns::open(segment, fields.patterns.is_none())?),
        };
        if let Some((low, high)) = own.realtime_us() {
            realtime_us = Some(match realtime_us {
                Some((lowest, highest)) => (lowest.min(low), highest.max(high)),
                None => (low, high),
            });
        }
        columns.push(own);
    }
    Ok(PartitionSnapshot {
        name: Arc::clone(name),
        searcher,
        fields: Arc::clone(fields),
        realtime_us,
        selected: None,
        columns: columns.into(),
        indices: Arc::default(),
    })
}
