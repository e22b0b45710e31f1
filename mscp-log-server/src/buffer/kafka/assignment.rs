//! The partitions that a consumer has: what was read of them, what was handed
//! out, what is committed, and which are on their way to another consumer. No
//! Kafka in here.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::buffer::{Batch, ConsumeError, Position};

/// Bytes that a message costs beside its value, about.
const ENTRY: usize = 64;

/// A message that was read and not handed out.
struct Entry {
    offset: i64,
    /// `None` is one that is passed over.
    record: Option<Bytes>,
}

impl Entry {
    fn cost(&self) -> usize {
        self.record.as_ref().map_or(0, Bytes::len) + ENTRY
    }
}

struct Partition {
    epoch: u64,
    queue: VecDeque<Entry>,
    bytes: usize,
    /// Behind the last message that was read, where one was.
    read: Option<i64>,
    /// Behind the last one that was handed out.
    taken: Option<i64>,
    /// Behind the last one that is committed.
    committed: Option<i64>,
    leaving: bool,
}

impl Partition {
    fn drained(&self) -> bool {
        self.taken
            .is_none_or(|taken| self.committed.is_some_and(|done| done >= taken))
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    /// It is done.
    Done,
    /// It is under way.
    Waiting,
}

/// The partitions of one consumer.
#[derive(Default)]
pub(super) struct Assignment {
    partitions: BTreeMap<i32, Partition>,
    bytes: usize,
    /// The partition that was last handed out of.
    last: Option<i32>,
}

impl Assignment {
    /// `partition` is ours, under `epoch`; its first message is at `next`,
    /// where that is known.
    pub(super) fn assign(&mut self, partition: i32, epoch: u64, next: Option<i64>) {
        self.remove(partition);
        let new = Partition {
            epoch,
            queue: VecDeque::new(),
            bytes: 0,
            read: next,
            taken: None,
            committed: next,
            leaving: false,
        };
        self.partitions.insert(partition, new);
    }

    /// A message was read. What belongs to a partition that is leaving, or that
    /// is no longer ours, is dropped: who has it next reads it. Says how many
    /// numbers were passed over in front of it.
    pub(super) fn put(&mut self, partition: i32, offset: i64, record: Option<Bytes>) -> i64 {
        let Some(part) = self.partitions.get_mut(&partition) else {
            return 0;
        };
        if part.leaving || part.read.is_some_and(|read| offset < read) {
            return 0;
        }
        let jump = part.read.map_or(0, |read| offset - read);
        part.read = Some(offset + 1);
        let entry = Entry { offset, record };
        part.bytes += entry.cost();
        self.bytes += entry.cost();
        part.queue.push_back(entry);
        jump
    }

    /// Bytes that were read and not handed out.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next records, of one partition after the other.
    pub(super) fn take(&mut self, max_bytes: usize) -> Option<Batch> {
        let after = self.last.map_or(i32::MIN, |last| last.saturating_add(1));
        let turn: Vec<i32> = self
            .partitions
            .range(after..)
            .chain(self.partitions.range(..after))
            .map(|(number, _)| *number)
            .collect();
        for number in turn {
            if let Some(batch) = self.take_of(number, max_bytes) {
                self.last = Some(number);
                return Some(batch);
            }
        }
        None
    }

    fn take_of(&mut self, number: i32, max_bytes: usize) -> Option<Batch> {
        let part = self.partitions.get_mut(&number)?;
        let before = part.bytes;
        let mut first = None;
        let mut records: Vec<Bytes> = Vec::new();
        let (mut bytes, mut next) = (0, None);
        while let Some(entry) = part.queue.front() {
            // What is passed over goes with the records in front of it.
            if let Some(record) = &entry.record {
                let begun = *first.get_or_insert(entry.offset);
                let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
                let full = count > 0 && bytes + record.len() > max_bytes;
                if full || begun.saturating_add(count) != entry.offset {
                    break;
                }
                bytes += record.len();
                records.push(record.clone());
            }
            next = Some(entry.offset + 1);
            part.bytes -= entry.cost();
            part.queue.pop_front();
        }
        self.bytes -= before - part.bytes;
        let next = next?;
        let Some(first) = first else {
            // Nothing but what is passed over; the next commit covers it.
            return None;
        };
        part.taken = Some(next);
        Some(Batch {
            first: unsigned(first),
            records,
            position: Position {
                partition: number.cast_unsigned(),
                epoch: part.epoch,
                next: unsigned(next),
            },
        })
    }

    /// Whether `position` may be committed, or is already.
    ///
    /// # Errors
    /// When its epoch has ended.
    pub(super) fn check(&self, position: Position) -> Result<Commit, ConsumeError> {
        let number = position.partition.cast_signed();
        match self.partitions.get(&number) {
            Some(part) if part.epoch == position.epoch => {
                let done = part
                    .committed
                    .is_some_and(|done| unsigned(done) >= position.next);
                Ok(if done { Commit::Done } else { Commit::Waiting })
            }
            _ => Err(ConsumeError::Stale {
                partition: position.partition,
                epoch: position.epoch,
            }),
        }
    }

    /// The brokers have committed everything below `next`.
    pub(super) fn committed(&mut self, partition: i32, next: i64) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.committed = Some(part.committed.map_or(next, |done| done.max(next)));
        }
    }

    /// Hand out no more of `partition`.
    pub(super) fn leave(&mut self, partition: i32) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.leaving = true;
            part.queue.clear();
            self.bytes -= part.bytes;
            part.bytes = 0;
        }
    }

    /// Whether all that was handed out of those that leave is committed.
    pub(super) fn drained(&self) -> bool {
        let mut leaving = self.partitions.values().filter(|part| part.leaving);
        leaving.all(Partition::drained)
    }

    /// `partition` is no longer ours; its epoch ends.
    pub(super) fn remove(&mut self, partition: i32) {
        if let Some(part) = self.partitions.remove(&partition) {
            self.bytes -= part.bytes;
        }
    }

    /// How many partitions there are.
    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Which partitions there are.
    pub(super) fn numbers(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn record(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    fn position(partition: u32, epoch: u64, next: u64) -> Position {
        Position {
            partition,
            epoch,
            next,
        }
    }

    #[test]
    fn a_batch_ends_where_numbers_jump_and_its_position_covers_what_is_passed_over() {
        let mut all = Assignment::default();
        all.assign(0, 1, Some(5));
        assert_eq!(all.put(0, 5, record("a")), 0);
        assert_eq!(all.put(0, 6, record("b")), 0);
        assert_eq!(all.put(0, 7, None), 0);
        assert_eq!(all.put(0, 8, record("c")), 0);
        assert_eq!(all.put(0, 11, record("d")), 2);
        let batch = all.take(1_000).unwrap();
        assert_eq!((batch.first, batch.records.len()), (5, 2));
        assert_eq!(batch.position, position(0, 1, 8));
        let batch = all.take(1_000).unwrap();
        assert_eq!((batch.first, batch.position.next), (8, 9));
        let batch = all.take(1_000).unwrap();
        assert_eq!((batch.first, batch.position.next), (11, 12));
        assert!(all.take(1_000).is_none());
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn partitions_are_handed_out_in_turn_and_at_least_one_record_at_a_time() {
        let mut all = Assignment::default();
        all.assign(0, 1, None);
        all.assign(1, 2, None);
        for offset in 0..2 {
            all.put(0, offset, record("xxxx"));
            all.put(1, offset, record("yyyy"));
        }
        let turns: Vec<_> = std::iter::from_fn(|| all.take(1))
            .map(|batch| (batch.position.partition, batch.first, batch.records.len()))
            .collect();
        assert_eq!(turns, [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]);
    }

    #[test]
    fn a_partition_that_leaves_is_drained_when_what_was_handed_out_is_committed() {
        let mut all = Assignment::default();
        all.assign(0, 1, Some(0));
        all.put(0, 0, record("a"));
        let batch = all.take(1_000).unwrap();
        all.put(0, 1, record("b"));
        all.leave(0);
        assert!(all.take(1_000).is_none(), "nothing more is handed out");
        assert!(!all.drained());
        assert_eq!(all.check(batch.position).unwrap(), Commit::Waiting);
        all.committed(0, 1);
        assert!(all.drained());
        assert_eq!(all.check(batch.position).unwrap(), Commit::Done);
    }

    #[test]
    fn a_commit_under_an_epoch_that_ended_is_stale() {
        let mut all = Assignment::default();
        all.assign(3, 7, Some(0));
        all.put(3, 0, record("a"));
        let old = all.take(1_000).unwrap().position;
        all.remove(3);
        assert!(matches!(
            all.check(old),
            Err(ConsumeError::Stale {
                partition: 3,
                epoch: 7
            })
        ));
        all.assign(3, 8, Some(0));
        assert!(all.check(old).is_err(), "though the partition came back");
        assert!(all.check(position(3, 8, 1)).is_ok());
    }

    #[test]
    fn what_is_read_twice_is_handed_out_once() {
        let mut all = Assignment::default();
        all.assign(0, 1, Some(0));
        all.put(0, 0, record("a"));
        // A pause drops what was fetched ahead, and it is fetched again.
        all.put(0, 0, record("a"));
        assert_eq!(all.take(1_000).unwrap().records.len(), 1);
        assert!(all.take(1_000).is_none());
    }
}
