//! The disk buffer: a log of segment files in one folder.
//!
//! Appends that wait at the same time are written together and share one
//! `fdatasync`; each is answered when it is durable. A consumer reads behind
//! the durable end only, and segments whose records are all committed are
//! deleted. `docs/buffer.md` says what it was measured against, and why it is
//! not one of the crates that exist.
//!
//! **Numbers.** A record's number is never given twice, not even when the
//! folder is lost while the store, which remembers the numbers it has, is
//! not: each time the buffer is opened, numbers go on at the time of day in
//! microseconds, or where they were if that is more.

mod backlog;
mod check;
mod files;
mod format;
pub mod log;
mod position;
mod reader;
mod recovery;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{AppendError, Buffer, ConsumeError, Consumer, Usage};
use crate::clock;
use crate::snapshot::Snapshot;
use backlog::Backlog;
pub use check::{Damage, Report, verify};
use files::{Files, System};
use reader::DiskConsumer;
pub use recovery::Recovered;
use writer::Queue;

/// Limits of a disk buffer.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// Bytes of segment files; appends past it are refused. Default 10 GiB.
    pub max_bytes: u64,
    /// About how long a segment file gets. Space comes back, and a start
    /// reads, one segment at a time. Default 64 MiB, at most 1/8 of `max_bytes`.
    pub segment_bytes: u64,
    /// Bytes of appends that wait for the disk; also the longest append.
    /// Default 64 MiB.
    pub queue_bytes: usize,
    /// How many appends wait for the disk. Default 16,384.
    pub queue_appends: usize,
    /// Above this much of the file system in use appends are refused, so that
    /// what else lives there goes on. Percent, default 95.
    pub max_disk_percent: u8,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            segment_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            queue_appends: 16_384,
            max_disk_percent: 95,
        }
    }
}

/// Why a disk buffer does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two processes on one folder would write over each other.
    #[error("the buffer in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A newer program wrote the folder.
    #[error(
        "{} has format version {found}; this program knows up to {}",
        .path.display(),
        format::VERSION
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file system failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

impl OpenError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// One segment file: the numbers in it and how many of its bytes are durable.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: u64,
    /// Behind its last durable record.
    end: u64,
    /// Where its last durable frame ends.
    bytes: u64,
}

impl Segment {
    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(segment_name(self.first))
    }
}

/// The name sorts as the number does.
fn segment_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// What consumers wait for.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Behind the last durable record.
    end: u64,
    /// The epoch of the consumer that has the partition.
    epoch: u64,
    /// Nothing will be appended any more.
    closed: bool,
}

/// What the writer, the consumer and the callers share.
struct Shared {
    dir: PathBuf,
    settings: DiskSettings,
    /// What [`DiskSettings::max_bytes`] is now.
    max_bytes: AtomicU64,
    files: Box<dyn Files>,
    queue: Queue,
    state: Mutex<State>,
    mark: watch::Sender<Mark>,
    /// Commits are one after another.
    commit: Mutex<()>,
    /// Whether its records count in the metrics of the buffer.
    counted: bool,
    /// Locked while the buffer is open.
    _lock: File,
}

struct State {
    /// Oldest first; appends go to the last one while `active`.
    segments: VecDeque<Segment>,
    /// Whether the writer has the last segment open.
    active: bool,
    committed: position::Committed,
    backlog: Backlog,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Bytes of segments that have what is not committed. One that is wholly
    /// committed goes when the writer begins the next one: it must not keep
    /// that from happening.
    fn used(&self) -> u64 {
        let state = self.state();
        let needed = state.segments.iter();
        let needed = needed.filter(|segment| segment.end > state.committed.next);
        needed.map(|segment| segment.bytes).sum()
    }

    fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// About how long a segment gets: with a small limit there are several all the same.
    fn segment_bytes(&self) -> u64 {
        self.settings.segment_bytes.min(self.max_bytes() / 8)
    }

    /// Everything below `next` is in the store: remember it, then delete the
    /// segments that nobody needs. Blocks on the disk.
    fn commit(&self, epoch: u64, next: u64) -> Result<(), ConsumeError> {
        let _one_at_a_time = lock(&self.commit);
        let committed = position::Committed { epoch, next };
        if self.mark.borrow().epoch != epoch {
            return Err(ConsumeError::Stale {
                partition: 0,
                epoch,
            });
        }
        if next <= self.state().committed.next {
            return Ok(());
        }
        position::save(&self.dir, committed)
            .map_err(|error| ConsumeError::Failed(format!("saving the position: {error}")))?;
        let gone = {
            let mut state = self.state();
            state.committed = committed;
            state.take_committed()
        };
        for segment in gone {
            let path = segment.path(&self.dir);
            if let Err(error) = fs::remove_file(&path) {
                // It goes at the next start.
                tracing::warn!(path = %path.display(), %error, "cannot delete a committed segment");
            }
        }
        Ok(())
    }
}

impl Shared {
    /// All that was appended is kept elsewhere, and nothing is on its way.
    /// Every segment goes; the next append begins a new one.
    fn forget(&self) -> Result<(), String> {
        let _one_at_a_time = lock(&self.commit);
        let committed = position::Committed {
            epoch: self.mark.borrow().epoch,
            next: self.mark.borrow().end,
        };
        position::save(&self.dir, committed)
            .map_err(|error| format!("saving the position: {error}"))?;
        let gone = {
            let mut state = self.state();
            state.committed = committed;
            state.active = false;
            state.take_committed()
        };
        for segment in gone {
            // What stays goes at the next start: the position is behind it.
            let path = segment.path(&self.dir);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a file of the log");
            }
        }
        Ok(())
    }
}

impl State {
    /// Take out the segments that are wholly committed, but for the one that
    /// is being written.
    fn take_committed(&mut self) -> Vec<Segment> {
        self.backlog.committed(self.committed.next);
        let mut gone = Vec::new();
        while let Some(oldest) = self.segments.front().copied() {
            let written = self.active && self.segments.len() == 1;
            if written || oldest.end > self.committed.next {
                break;
            }
            self.segments.pop_front();
            gone.push(oldest);
        }
        gone
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data under these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The embedded buffer: one partition, number 0, in a folder of its own.
pub struct DiskBuffer {
    shared: Arc<Shared>,
    recovered: Recovered,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl DiskBuffer {
    /// Open the buffer in `dir`, which is made if it is not there. Cuts a torn
    /// tail. Reads the headers of all segments and one segment whole; blocks
    /// on the disk meanwhile.
    ///
    /// # Errors
    ///
    /// When another process has it, a newer program wrote it, or the file
    /// system fails.
    pub fn open(dir: &Path, settings: DiskSettings) -> Result<Self, OpenError> {
        Self::open_on(Box::new(System), dir, settings, first_number())
    }

    /// Open on `files`; new numbers are at least `floor`.
    fn open_on(
        files: Box<dyn Files>,
        dir: &Path,
        settings: DiskSettings,
        floor: u64,
    ) -> Result<Self, OpenError> {
        Self::open_counted(files, dir, settings, floor, true)
    }

    fn open_counted(
        files: Box<dyn Files>,
        dir: &Path,
        settings: DiskSettings,
        floor: u64,
        counted: bool,
    ) -> Result<Self, OpenError> {
        make_dir(files.as_ref(), dir)?;
        let lock = lock_dir(dir)?;
        let found = recovery::recover(dir)?;
        files.sync_dir(dir).map_err(OpenError::io(dir))?;

        let end = found.segments.back().map_or(0, |last| last.end);
        let next = end.max(found.committed.next).max(floor);
        let mark = Mark {
            end,
            epoch: found.committed.epoch,
            closed: false,
        };
        // What waited before has waited since now at least.
        let mut backlog = Backlog::default();
        if end > found.committed.next {
            let left = found.segments.iter();
            let left = left.filter(|segment| segment.end > found.committed.next);
            let bytes = left.map(|segment| segment.bytes).sum();
            backlog.appended(end, bytes, clock::now_us());
        }
        let mut state = State {
            segments: found.segments,
            active: false,
            committed: found.committed,
            backlog,
        };
        for segment in state.take_committed() {
            let path = segment.path(dir);
            fs::remove_file(&path).map_err(OpenError::io(&path))?;
        }
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Queue::new(settings.queue_bytes, settings.queue_appends),
            max_bytes: AtomicU64::new(settings.max_bytes),
            settings,
            files,
            state: Mutex::new(state),
            mark: watch::Sender::new(mark),
            commit: Mutex::new(()),
            counted,
            _lock: lock,
        });
        let writer = writer::start(Arc::clone(&shared), end, next).map_err(OpenError::io(dir))?;
        Ok(Self {
            shared,
            recovered: found.report,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Take the partition from the consumer before.
    async fn join(&self) -> Result<DiskConsumer, ConsumeError> {
        // Not while a commit of the consumer before is on its way.
        let shared = Arc::clone(&self.shared);
        let epoch = tokio::task::spawn_blocking(move || {
            let _no_commit = lock(&shared.commit);
            let mut epoch = 0;
            shared.mark.send_modify(|mark| {
                mark.epoch += 1;
                epoch = mark.epoch;
            });
            epoch
        })
        .await
        .map_err(|error| ConsumeError::Failed(error.to_string()))?;
        Ok(DiskConsumer::new(Arc::clone(&self.shared), epoch))
    }

    /// Behind the last durable record.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.shared.mark.borrow().end
    }

    /// Hand over what is durable and not committed, from the number `first`
    /// on, some records at a time, without a consumer. Blocks on the disk.
    ///
    /// # Errors
    /// Where the file system fails.
    pub fn read_from(&self, first: u64, mut each: impl FnMut(Vec<Bytes>)) -> io::Result<()> {
        let mut reader = reader::Reader::from(Arc::clone(&self.shared), first);
        while let Some((_, records)) = reader.read(4 << 20)? {
            each(records);
        }
        Ok(())
    }

    /// What opening found damaged.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Why nothing is taken until the buffer is opened again, if so: the disk
    /// failed, and what the kernel holds may not be what the disk holds.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.queue.failure()
    }

    /// Whether appends are refused because the file system is nearly full.
    #[must_use]
    pub fn disk_is_full(&self) -> bool {
        let used = self.shared.files.used_percent(&self.shared.dir);
        used.is_ok_and(|percent| percent > self.shared.settings.max_disk_percent)
    }

    /// Take no more, and return when what was taken is answered. Blocks on the
    /// disk.
    pub fn close(&self) {
        self.shared.queue.close();
        let writer = lock(&self.writer).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the buffer's writer panicked");
        }
    }
}

impl Drop for DiskBuffer {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Buffer for DiskBuffer {
    async fn append(&self, _key: &str, records: Vec<Bytes>) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let len = format::payload_len(&records) + format::FRAME_HEADER;
        let reserved = self.shared.queue.reserve(len)?;
        let used = self.shared.used() + reserved.waiting();
        let limit = self.shared.max_bytes();
        if used > limit {
            metrics::counter!("mscp_log_buffer_refused_appends_total", "reason" => "full")
                .increment(1);
            return Err(AppendError::Full { used, limit });
        }
        let payload = format::Payload::new(&records).ok_or_else(|| {
            AppendError::Failed(format!("an append of {len} bytes is too long to be one"))
        })?;
        drop(records);
        let (reply, answer) = oneshot::channel();
        let answered = move |result| {
            let _ = reply.send(result);
        };
        reserved.submit(payload, Box::new(answered))?;
        answer.await.unwrap_or(Err(AppendError::Closed))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, ConsumeError> {
        Ok(Box::new(self.join().await?))
    }

    fn usage(&self) -> Usage {
        let state = self.shared.state();
        let committed = state.committed.next;
        let (backlog_bytes, waiting_us) = state.backlog.told(clock::now_us());
        Usage {
            bytes: state.segments.iter().map(|segment| segment.bytes).sum(),
            max_bytes: self.shared.max_bytes(),
            backlog: state
                .segments
                .iter()
                .map(|segment| segment.end.saturating_sub(segment.first.max(committed)))
                .sum(),
            backlog_bytes,
            waiting_us,
        }
    }

    fn set_max_bytes(&self, bytes: u64) -> bool {
        self.shared.max_bytes.store(bytes, Ordering::Relaxed);
        true
    }

    fn trouble(&self) -> Option<String> {
        if let Some(reason) = self.failure() {
            return Some(AppendError::Failed(reason).to_string());
        }
        if self.disk_is_full() {
            return Some(AppendError::DiskFull.to_string());
        }
        let (used, limit) = (self.shared.used(), self.shared.max_bytes());
        (used >= limit).then(|| AppendError::Full { used, limit }.to_string())
    }

    fn snapshot(&self, into: &mut Snapshot, prefix: &str) -> io::Result<bool> {
        self.hold_files(into, prefix).map(|()| true)
    }

    fn close(&self) {
        Self::close(self);
    }
}

/// Where numbers begin: above all that were given before.
fn first_number() -> u64 {
    u64::try_from(clock::now_us()).unwrap_or_default()
}

/// Make `dir` and the name of it durable.
fn make_dir(files: &dyn Files, dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    for above in dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        files.sync_dir(above).map_err(OpenError::io(above))?;
    }
    Ok(())
}

/// Hold the folder itself: nothing has to be written to lock it, so a buffer
/// on a full disk opens and is read.
fn lock_dir(dir: &Path) -> Result<File, OpenError> {
    let file = File::open(dir).map_err(OpenError::io(dir))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(dir.to_owned())),
        Err(error) => Err(OpenError::io(dir)(error.into())),
    }
}
