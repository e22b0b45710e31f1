//! The durable buffer between those who bring records and the store.
//!
//! The trait has Kafka's shape: records lie in partitions, a consumer reads a
//! partition under an epoch, and a commit under an epoch that is no longer the
//! current one fails, because someone else reads there now. The disk buffer
//! has one partition; Kafka has as many as its topic.

pub mod dead_letters;
pub mod disk;
#[cfg(feature = "kafka")]
pub mod kafka;

use std::io;

use async_trait::async_trait;
use bytes::Bytes;

use crate::snapshot::Snapshot;

/// Where a consumer is: everything below `next` of `partition` was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which partition.
    pub partition: u32,
    /// Under which assignment it was read.
    pub epoch: u64,
    /// The number of the first record that was not read.
    pub next: u64,
}

/// Records of one partition in their order: `records[i]` has the number
/// `first + i`. Numbers rise and are never given twice, but they are not dense:
/// where they jump (a corrupt record was skipped, the buffer was opened again)
/// a batch ends and the next one begins.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The number of the first record.
    pub first: u64,
    /// Each one JSON document.
    pub records: Vec<Bytes>,
    /// Where the consumer is behind this batch; `commit` takes it.
    pub position: Position,
}

/// Why records were not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room: the caller says 503 with `Retry-After`, and nothing was taken.
    #[error("the buffer is full ({used} of {limit} bytes)")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The disk is too full to take more (above 95 %, or no space left).
    #[error("the disk of the buffer is full")]
    DiskFull,
    /// The buffer failed; whether the records are in it is not known, so they
    /// are not acknowledged.
    #[error("the buffer failed: {0}")]
    Failed(String),
    /// The node is stopping.
    #[error("the buffer is closed")]
    Closed,
}

/// Why a read or a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Another consumer has the partition now.
    #[error("epoch {epoch} of partition {partition} has ended")]
    Stale {
        /// The partition.
        partition: u32,
        /// The epoch of the caller.
        epoch: u64,
    },
    /// The buffer failed.
    #[error("the buffer failed: {0}")]
    Failed(String),
    /// The node is stopping.
    #[error("the buffer is closed")]
    Closed,
}

/// How full a buffer is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes in use; 0 where that is the brokers' affair.
    pub bytes: u64,
    /// Bytes allowed; 0 where this node sets no limit.
    pub max_bytes: u64,
    /// Records that no consumer has committed, of the partitions that this
    /// process reads.
    pub backlog: u64,
    /// Bytes of them, as far as this process knows: too many by a second's.
    pub backlog_bytes: u64,
    /// How long the oldest of them has waited, in microseconds, since this
    /// process started at most; `None` where it does not know, or nothing waits.
    pub waiting_us: Option<u64>,
}

/// Where records wait, durably, for the store.
#[async_trait]
pub trait Buffer: Send + Sync + 'static {
    /// Take `records` and return when they are durable. The disk takes all or
    /// none; where Kafka fails some may be there.
    ///
    /// `key` is what Kafka partitions by where a record names neither its host
    /// nor itself. Callers that wait at the same time share one fsync.
    async fn append(&self, key: &str, records: Vec<Bytes>) -> Result<(), AppendError>;

    /// Join the consumers. On the disk buffer the new one takes the partition
    /// from the one before, whose commits fail from then on.
    async fn consumer(&self) -> Result<Box<dyn Consumer>, ConsumeError>;

    /// How full it is.
    fn usage(&self) -> Usage;

    /// Change the most bytes that it keeps; it holds from the next append on.
    /// With more in use than that it takes nothing until enough of it was
    /// committed, and loses nothing. False where somebody else sets the limit.
    fn set_max_bytes(&self, bytes: u64) -> bool {
        let _elsewhere = bytes;
        false
    }

    /// Why it takes no records now, if so.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// How many brokers there are, where it has brokers, asked now.
    ///
    /// # Errors
    /// Why they do not say.
    async fn brokers(&self) -> Result<Option<u64>, String> {
        Ok(None)
    }

    /// Hold the files that it keeps in the data folder, below `prefix`; says
    /// whether it keeps its records there. Blocks on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    fn snapshot(&self, into: &mut Snapshot, prefix: &str) -> io::Result<bool> {
        let _elsewhere = (into, prefix);
        Ok(false)
    }

    /// Take no more, and return when what was taken is answered. Blocks.
    fn close(&self) {}
}

/// One reader of a buffer.
#[async_trait]
pub trait Consumer: Send {
    /// The next records, at most about `max_bytes` of them but at least one;
    /// waits until there are any. Begins at the last commit. Cancel-safe: a read
    /// that is dropped loses no records.
    async fn read(&mut self, max_bytes: usize) -> Result<Batch, ConsumeError>;

    /// Everything below `position` is in the store: durably never read again.
    /// Where it is stale, only that partition is lost; the next `read` says
    /// whether the consumer is.
    async fn commit(&mut self, position: Position) -> Result<(), ConsumeError>;
}
