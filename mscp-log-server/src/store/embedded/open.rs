//! The partitions that are written now: few at a time, whatever the number of
//! indices and days.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{FutureResult, IndexWriter, SegmentMeta, Term};

use super::catalog::Catalog;
use super::dedup::{Key, Seen, find};
use super::documents::Document;
use super::ids::ids_query;
use super::partition::Partition;
use super::patterns::Lately;
use super::writer::Unavailable;

/// Writers that are open at once. Each has three threads and a share of the
/// memory: the first half of it, as nearly all that comes is of today, the
/// others what is left. The larger the share, the fewer segments are merged.
pub(super) const MAX_WRITERS: usize = 4;

/// Partitions whose ids are in memory at once, with or without a writer.
const MAX_OPEN: usize = 2 * MAX_WRITERS;

/// The least memory that tantivy takes for a writer.
const LEAST_WRITER_BYTES: u64 = 15_000_000;

/// A writer that had nothing to do for so long merges what is worth it, and is
/// closed.
const IDLE: Duration = Duration::from_secs(60);

/// Documents of a segment that merging makes, at most.
const MAX_MERGED: u64 = 10_000_000;

/// As many segments are left as they are.
const FEW_SEGMENTS: usize = 2;

/// One partition, its ids, and its writer when it is written.
pub(super) struct Open {
    partition: Arc<Partition>,
    pub(super) seen: Seen,
    lately: Lately,
    writer: Option<IndexWriter>,
    /// Bytes of memory that the writer was given.
    share: u64,
    /// The last merge, while it runs.
    merging: Option<FutureResult<Option<SegmentMeta>>>,
    dirty: bool,
    used: Instant,
}

impl Open {
    fn new(partition: Arc<Partition>) -> Result<Self, Unavailable> {
        // Look-ups must see every commit, also one whose publication failed.
        partition.publish()?;
        let seen = Seen::of(&partition.snapshot());
        Ok(Self {
            partition,
            seen,
            lately: Lately::default(),
            writer: None,
            share: 0,
            merging: None,
            dirty: false,
            used: Instant::now(),
        })
    }

    /// Which of `keys` the last commit has.
    pub(super) fn look_up(&self, keys: &HashSet<Key>) -> Result<HashSet<Key>, Unavailable> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        Ok(find(&self.partition.snapshot(), keys)?
            .into_keys()
            .collect())
    }

    /// Add a document that is not there.
    pub(super) fn add(&mut self, key: Key, document: Document) -> Result<(), Unavailable> {
        let snapshot = self.partition.snapshot();
        let document = document.finish(&snapshot.fields, &mut self.lately);
        self.writer()?.add_document(document)?;
        self.dirty = true;
        self.seen.add(key, &snapshot);
        Ok(())
    }

    /// Delete documents that are there.
    pub(super) fn delete(&mut self, keys: Vec<Key>) -> Result<(), Unavailable> {
        let mut by_index: HashMap<&str, Vec<&Key>> = HashMap::new();
        for key in &keys {
            by_index.entry(&key.index).or_default().push(key);
        }
        for (index, keys) in by_index {
            let in_index = TermQuery::new(self.index_term(index), IndexRecordOption::Basic);
            let with_id = ids_query(keys.into_iter().map(|key| key.id.clone()));
            let both: Vec<(Occur, Box<dyn Query>)> =
                vec![(Occur::Must, Box::new(in_index)), (Occur::Must, with_id)];
            self.writer()?
                .delete_query(Box::new(BooleanQuery::new(both)))?;
            self.dirty = true;
        }
        for key in keys {
            self.seen.delete(key);
        }
        Ok(())
    }

    /// Delete all documents of an index.
    pub(super) fn delete_index(&mut self, index: &str) -> Result<(), Unavailable> {
        self.writer()?.delete_term(self.index_term(index));
        self.dirty = true;
        self.seen.forget(index);
        Ok(())
    }

    fn index_term(&self, index: &str) -> Term {
        Term::from_field_text(self.partition.snapshot().fields.index, index)
    }

    fn writer(&self) -> Result<&IndexWriter, Unavailable> {
        self.writer
            .as_ref()
            .ok_or_else(|| Unavailable("the partition is not open for writing".to_owned()))
    }

    fn commit(&mut self) -> Result<(), Unavailable> {
        let Some(writer) = self.writer.as_mut().filter(|_| self.dirty) else {
            return Ok(());
        };
        writer.commit()?;
        self.partition.publish()?;
        self.seen.committed();
        self.dirty = false;
        Ok(())
    }

    /// Nothing is written any more: merge what the merge policy left, so that
    /// searches of a day that is over look at few segments. Whether that is done.
    fn settle(&mut self) -> Result<bool, Unavailable> {
        if let Some(merging) = &mut self.merging {
            let Some(merged) = merging.now_or_never() else {
                return Ok(false);
            };
            self.merging = None;
            merged?;
            return Ok(true);
        }
        let Some(writer) = &mut self.writer else {
            return Ok(true);
        };
        let segments = self.partition.index.searchable_segment_metas()?;
        let sizes = segments
            .iter()
            .map(|segment| (segment.id(), segment.num_docs()));
        let left = worth_merging(sizes.collect());
        if left.is_empty() {
            return Ok(true);
        }
        self.merging = Some(writer.merge(&left));
        Ok(false)
    }

    /// Wait for merges, so that what they made and left is settled.
    fn close(self) -> Result<(), Unavailable> {
        if let Some(writer) = self.writer {
            writer.wait_merging_threads()?;
            self.partition.publish()?;
        }
        Ok(())
    }
}

/// All of them.
pub(super) struct OpenPartitions {
    catalog: Arc<Catalog>,
    memory_bytes: u64,
    open: HashMap<Box<str>, Open>,
}

impl OpenPartitions {
    pub(super) fn new(catalog: Arc<Catalog>, memory_bytes: u64) -> Self {
        Self {
            catalog,
            memory_bytes,
            open: HashMap::new(),
        }
    }

    /// Whether [`OpenPartitions::writing`] can open this one without a commit first.
    pub(super) fn has_room_for(&self, name: &str) -> bool {
        let has_writer = self.open.get(name).is_some_and(|it| it.writer.is_some());
        let dirty = self.open.values().filter(|it| it.dirty).count();
        has_writer || dirty < MAX_WRITERS
    }

    /// A partition to write into. The caller has made sure that there is room.
    pub(super) fn writing(&mut self, name: &str) -> Result<&mut Open, Unavailable> {
        let has_writer = self.open.get(name).is_some_and(|it| it.writer.is_some());
        if !has_writer {
            let writers = || self.open.iter().filter(|(_, it)| it.writer.is_some());
            if writers().count() >= MAX_WRITERS {
                let oldest = writers()
                    .filter(|(_, it)| !it.dirty)
                    .min_by_key(|(_, it)| it.used)
                    .map(|(name, _)| name.clone());
                let oldest =
                    oldest.ok_or_else(|| Unavailable("every writer holds something".to_owned()))?;
                self.close(&oldest)?;
            }
            let partition = self.catalog.partition_or_new(name)?;
            self.remember(name, partition)?;
        }
        let half = self.memory_bytes / 2;
        let large = |it: &Open| it.writer.is_some() && it.share == half;
        let share = if self.open.values().any(large) {
            half / (MAX_WRITERS as u64 - 1)
        } else {
            half
        };
        let open = self
            .open
            .get_mut(name)
            .ok_or_else(|| Unavailable(format!("partition {name} is not open")))?;
        if open.writer.is_none() {
            let bytes = usize::try_from(share.max(LEAST_WRITER_BYTES)).unwrap_or(usize::MAX);
            open.writer = Some(writer_of(&open.partition, bytes)?);
            open.share = share;
        }
        open.used = Instant::now();
        Ok(open)
    }

    /// A partition to look ids up in; `None` where there is none of that name.
    pub(super) fn reading(&mut self, name: &str) -> Result<Option<&Open>, Unavailable> {
        if !self.open.contains_key(name) {
            let Some(partition) = self.catalog.partition(name)? else {
                return Ok(None);
            };
            self.remember(name, partition)?;
        }
        Ok(self.open.get_mut(name).map(|open| {
            open.used = Instant::now();
            &*open
        }))
    }

    fn remember(&mut self, name: &str, partition: Arc<Partition>) -> Result<(), Unavailable> {
        if self.open.contains_key(name) {
            return Ok(());
        }
        while self.open.len() >= MAX_OPEN {
            let clean = self.open.iter().filter(|(_, it)| !it.dirty);
            let oldest = clean
                .min_by_key(|(_, it)| it.used)
                .map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.close(&oldest)?;
        }
        self.open.insert(name.into(), Open::new(partition)?);
        Ok(())
    }

    /// Commit what was touched. On an error some may be committed and some not.
    pub(super) fn commit(&mut self) -> Result<(), Unavailable> {
        self.open.values_mut().try_for_each(Open::commit)
    }

    /// Close one that holds nothing uncommitted.
    pub(super) fn close(&mut self, name: &str) -> Result<(), Unavailable> {
        match self.open.remove(name) {
            Some(open) => open.close(),
            None => Ok(()),
        }
    }

    /// Let go of all, and of what no commit has.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
    }

    /// Close what was not used for a while.
    pub(super) fn close_idle(&mut self, now: Instant) {
        let idle: Vec<Box<str>> = self
            .open
            .iter()
            .filter(|(_, it)| !it.dirty && now.saturating_duration_since(it.used) >= IDLE)
            .map(|(name, _)| name.clone())
            .collect();
        for name in idle {
            let settled = match self.open.get_mut(&name).map(Open::settle) {
                None | Some(Ok(true)) => true,
                Some(Ok(false)) => false,
                Some(Err(reason)) => {
                    tracing::warn!(%reason, partition = %name, "an idle partition did not merge");
                    true
                }
            };
            if settled && let Err(reason) = self.close(&name) {
                tracing::warn!(%reason, partition = %name, "an idle partition did not close well");
            }
        }
    }
}

/// What to merge of segments with as many documents: all of them, but for one
/// that is larger than the others together. Written once more with every few
/// records, it would cost more than it brings.
fn worth_merging(mut segments: Vec<(SegmentId, u32)>) -> Vec<SegmentId> {
    segments.sort_by_key(|(_, documents)| std::cmp::Reverse(*documents));
    let all: u64 = segments.iter().map(|(_, count)| u64::from(*count)).sum();
    if let Some((_, largest)) = segments.first()
        && 2 * u64::from(*largest) > all
    {
        segments.remove(0);
    }
    if segments.len() <= FEW_SEGMENTS || all > MAX_MERGED {
        return Vec::new();
    }
    segments.into_iter().map(|(id, _)| id).collect()
}

fn writer_of(partition: &Partition, memory_bytes: usize) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(memory_bytes)
        .build();
    let writer = partition.index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(merge_policy()));
    Ok(writer)
}

/// Segments of about one size are merged: as records come by time, the small
/// ones are the newest, and a merge joins neighbours.
fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(12);
    policy.set_min_layer_size(5_000);
    policy.set_max_docs_before_merge(MAX_MERGED as usize);
    policy.set_del_docs_ratio_before_merge(0.3);
    policy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::documents;
    use super::super::ids::DocumentId;
    use super::*;

    #[test]
    fn a_partition_that_is_left_alone_is_merged_before_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::open(folder.path()).unwrap());
        let mut open = OpenPartitions::new(Arc::clone(&catalog), 0);
        let (_, fields) = super::super::schema::schema();
        for number in 0..5 {
            let id = DocumentId::new(&number.to_string());
            let given = documents::Id::Given(id.clone());
            let mut document = documents::prepare(b"{}", &fields, given).unwrap().document;
            document.set_index(&fields, "a-2018.01.24");
            let index = "a-2018.01.24".into();
            let partition = open.writing("2018.01.24").unwrap();
            partition.add(Key { index, id }, document).unwrap();
            open.commit().unwrap();
        }
        let segments = || {
            let partition = catalog.partition("2018.01.24").unwrap().unwrap();
            let snapshot = partition.snapshot();
            assert_eq!(snapshot.searcher.num_docs(), 5);
            snapshot.searcher.segment_readers().len()
        };
        assert_eq!(segments(), 5);
        while !open.open.is_empty() {
            open.close_idle(Instant::now() + IDLE);
            std::thread::yield_now();
        }
        assert_eq!(segments(), 1);
    }

    #[test]
    fn a_large_segment_is_not_written_again_for_a_few_small_ones() {
        let some = |sizes: &[u32]| {
            let named = sizes
                .iter()
                .map(|size| (SegmentId::generate_random(), *size));
            worth_merging(named.collect()).len()
        };
        assert_eq!(some(&[]), 0);
        assert_eq!(some(&[5, 5]), 0);
        assert_eq!(some(&[5, 5, 5]), 3);
        assert_eq!(some(&[100, 1, 1]), 0);
        assert_eq!(some(&[100, 1, 1, 1]), 3);
        assert_eq!(some(&[9_000_000, 9_000_000, 9_000_000]), 0);
    }

    #[test]
    fn however_many_days_are_written_few_writers_and_few_partitions_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::open(folder.path()).unwrap());
        let mut open = OpenPartitions::new(catalog, 0);
        for day in 1..=28 {
            let name = format!("2018.01.{day:02}");
            if !open.has_room_for(&name) {
                open.commit().unwrap();
            }
            let partition = open.writing(&name).unwrap();
            // As after any write: only a commit lets go of the writer.
            partition.dirty = true;
            let writers = open.open.values().filter(|it| it.writer.is_some()).count();
            assert!(writers <= MAX_WRITERS && open.open.len() <= MAX_OPEN);
        }
        open.commit().unwrap();
        for day in 1..=28 {
            open.reading(&format!("2018.01.{day:02}")).unwrap();
            assert!(open.open.len() <= MAX_OPEN);
        }
        open.close_idle(Instant::now() + IDLE);
        assert!(open.open.is_empty());
    }
}
