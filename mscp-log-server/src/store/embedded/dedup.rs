//! Whether a document is there already.
//!
//! Nearly every document is new, so a filter in memory answers for nearly all
//! of them. What it cannot exclude was seen moments ago, which a window of
//! recent ids knows, or is looked up in the columns, all the doubtful ones of a
//! batch in one pass.
//!
//! The position in the buffer up to which a commit reaches could spare the
//! look-up on a replay. It is not used: a data folder whose buffer was taken
//! away begins to count anew, and records would be passed over as "seen" that
//! never were.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use tantivy::{DocAddress, SegmentOrdinal, SegmentReader};

use super::ids::{DocumentId, IdColumn};
use super::partition::PartitionSnapshot;
use super::schema::INDEX;

/// Ids that were committed and are still remembered, a partition.
const RECENT_IDS: usize = 200_000;

/// An id in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: std::sync::Arc<str>,
    pub(super) id: DocumentId,
}

/// By the id alone: there is hardly ever one id in two indices.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.id.key());
    }
}

/// What is known without a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Present,
    Absent,
    /// Only a look-up tells.
    Doubtful,
}

/// The ids of one partition.
pub(super) struct Seen {
    filter: Filter,
    /// Added since the last commit.
    pending: HashSet<Key>,
    /// Deleted since the last commit: what the last commit has of them is gone.
    deleted: HashSet<Key>,
    /// Committed, the newest last.
    recent: VecDeque<HashSet<Key>>,
}

impl Seen {
    /// The ids that `snapshot` has.
    pub(super) fn of(snapshot: &PartitionSnapshot) -> Self {
        Self {
            filter: Filter::of(snapshot, 0),
            pending: HashSet::new(),
            deleted: HashSet::new(),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn known(&self, key: &Key) -> Known {
        // It has all that was added since, so that nearly every new document
        // ends here.
        if !self.filter.may_contain(key.id.key()) {
            Known::Absent
        } else if self.pending.contains(key) {
            Known::Present
        } else if self.deleted.contains(key) {
            Known::Absent
        } else if self.recent.iter().any(|keys| keys.contains(key)) {
            Known::Present
        } else {
            Known::Doubtful
        }
    }

    /// Whether what is known of it rests on what no commit has.
    pub(super) fn is_uncommitted(&self, key: &Key) -> bool {
        self.filter.may_contain(key.id.key())
            && (self.pending.contains(key) || self.deleted.contains(key))
    }

    /// A document was added.
    pub(super) fn add(&mut self, key: Key, snapshot: &PartitionSnapshot) {
        if self.filter.is_full() {
            self.filter = Filter::of(snapshot, self.pending.len());
            for key in &self.pending {
                self.filter.add(key.id.key());
            }
        }
        self.filter.add(key.id.key());
        self.pending.insert(key);
    }

    /// A document was deleted.
    pub(super) fn delete(&mut self, key: Key) {
        self.pending.remove(&key);
        for keys in &mut self.recent {
            keys.remove(&key);
        }
        self.deleted.insert(key);
    }

    /// All documents of an index were deleted, and committed as deleted.
    pub(super) fn forget(&mut self, index: &str) {
        self.pending.retain(|key| &*key.index != index);
        for keys in &mut self.recent {
            keys.retain(|key| &*key.index != index);
        }
    }

    /// Everything is committed, and the snapshot that look-ups use shows it.
    pub(super) fn committed(&mut self) {
        self.deleted.clear();
        self.recent.push_back(std::mem::take(&mut self.pending));
        let mut kept: usize = self.recent.iter().map(HashSet::len).sum();
        while kept > RECENT_IDS
            && let Some(oldest) = self.recent.pop_front()
        {
            kept -= oldest.len();
        }
    }
}

/// Which of `keys` the last commit has, and where.
pub(super) fn find(
    snapshot: &PartitionSnapshot,
    keys: &HashSet<Key>,
) -> tantivy::Result<HashMap<Key, DocAddress>> {
    let mut found = HashMap::new();
    let mut by_high: HashMap<u64, Vec<&Key>> = HashMap::new();
    for key in keys {
        by_high.entry(key.id.high()).or_default().push(key);
    }
    for (ordinal, segment) in (0..).zip(snapshot.searcher.segment_readers()) {
        if found.len() == keys.len() {
            break;
        }
        find_in(
            segment,
            ordinal,
            snapshot.ids(ordinal),
            &by_high,
            &mut found,
        )?;
    }
    Ok(found)
}

fn find_in(
    segment: &SegmentReader,
    segment_ord: SegmentOrdinal,
    ids: &IdColumn,
    by_high: &HashMap<u64, Vec<&Key>>,
    found: &mut HashMap<Key, DocAddress>,
) -> tantivy::Result<()> {
    let mut hits = Vec::new();
    ids.each_high(segment.max_doc(), |doc, high| {
        if by_high.contains_key(&high) {
            hits.push(doc);
        }
    });
    if hits.is_empty() {
        return Ok(());
    }
    let names = segment.fast_fields().str(INDEX)?;
    let mut index = String::new();
    for doc in hits {
        if segment.is_deleted(doc) {
            continue;
        }
        let Some(names) = &names else { continue };
        let Some(ordinal) = names.term_ords(doc).next() else {
            continue;
        };
        index.clear();
        names.ord_to_str(ordinal, &mut index)?;
        let id = ids.id(doc);
        let same = by_high
            .get(&id.high())
            .and_then(|keys| keys.iter().find(|key| key.id == id && *key.index == index));
        if let Some(key) = same {
            let address = DocAddress {
                segment_ord,
                doc_id: doc,
            };
            found.insert((*key).clone(), address);
        }
    }
    Ok(())
}

/// A Bloom filter in blocks of 512 bits: one cache line an id.
struct Filter {
    blocks: Vec<[u64; 8]>,
    /// Ids come from outside: without a key of our own, somebody could choose
    /// ids that all fall into one block.
    hasher: RandomState,
    len: usize,
    capacity: usize,
}

/// Bits for each id; with [`PROBES`] about one id in 10,000 is doubtful for nothing.
const BITS_AN_ID: usize = 20;
const PROBES: u32 = 6;
const SMALLEST_CAPACITY: usize = 100_000;

impl Filter {
    /// A filter of the ids of `snapshot`, with room for `more` and as many again.
    fn of(snapshot: &PartitionSnapshot, more: usize) -> Self {
        let documents = snapshot.searcher.segment_readers();
        let count: usize = documents.iter().map(|it| it.max_doc() as usize).sum();
        let mut filter = Self::with_capacity((2 * (count + more)).max(SMALLEST_CAPACITY));
        for (ordinal, segment) in (0..).zip(documents) {
            let ids = snapshot.ids(ordinal);
            for doc in 0..segment.max_doc() {
                filter.add(ids.key(doc));
            }
        }
        filter
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            blocks: vec![[0; 8]; (capacity * BITS_AN_ID).div_ceil(512)],
            hasher: RandomState::new(),
            len: 0,
            capacity,
        }
    }

    fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    fn add(&mut self, key: u128) {
        let (block, bits) = self.place(key);
        for bit in bits {
            self.blocks[block][bit / 64] |= 1 << (bit % 64);
        }
        self.len += 1;
    }

    fn may_contain(&self, key: u128) -> bool {
        let (block, mut bits) = self.place(key);
        bits.all(|bit| self.blocks[block][bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn place(&self, key: u128) -> (usize, impl Iterator<Item = usize> + use<>) {
        let first = self.hasher.hash_one(key);
        let block = (u128::from(first) * self.blocks.len() as u128) >> 64;
        // The product took its bits from the top; the rest is mixed again.
        let second = (first ^ (first >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (0..PROBES).map(move |probe| (second >> (9 * probe + 4)) as usize & 511);
        (block as usize, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_knows_what_was_added_and_little_else() {
        let mut filter = Filter::with_capacity(10_000);
        let id = |n: u64| DocumentId::new(&format!("id {n}")).key();
        for n in 0..10_000 {
            filter.add(id(n));
        }
        assert!((0..10_000).all(|n| filter.may_contain(id(n))));
        let wrong = (10_000..110_000)
            .filter(|n| filter.may_contain(id(*n)))
            .count();
        assert!(wrong < 200, "{wrong} of 100,000");
    }
}
