//! The consumer: reads what is durable, in the order of the numbers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::format::{Step, Walk};
use super::{Mark, Segment, Shared};
use crate::buffer::{Batch, ConsumeError, Consumer, Position};

pub(super) struct DiskConsumer {
    shared: Arc<Shared>,
    mark: watch::Receiver<Mark>,
    epoch: u64,
    /// Behind the last record handed out.
    next: u64,
    reading: Reading,
}

pub(super) type Read = io::Result<Option<(u64, Vec<Bytes>)>>;

/// Where the reader is: here, or on a blocking thread. A `read` that is
/// dropped leaves it there, and the next one takes what it brings.
enum Reading {
    Idle(Box<Reader>),
    Running(JoinHandle<(Box<Reader>, Read)>),
    /// The thread panicked.
    Lost,
}

impl DiskConsumer {
    pub(super) fn new(shared: Arc<Shared>, epoch: u64) -> Self {
        let next = shared.state().committed.next;
        let mark = shared.mark.subscribe();
        let reader = Reader::new(Arc::clone(&shared));
        Self {
            shared,
            mark,
            epoch,
            next,
            reading: Reading::Idle(Box::new(reader)),
        }
    }

    /// What is durable now, if there is anything behind what was read.
    pub(super) async fn try_read(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<Batch>, ConsumeError> {
        let read = self.attempt(max_bytes).await?;
        let read = read.map_err(|error| ConsumeError::Failed(error.to_string()))?;
        let batch = |(first, records): (u64, Vec<Bytes>)| {
            self.next = first + records.len() as u64;
            Batch {
                first,
                records,
                position: Position {
                    partition: 0,
                    epoch: self.epoch,
                    next: self.next,
                },
            }
        };
        Ok(read.map(batch))
    }

    fn stale(&self) -> ConsumeError {
        ConsumeError::Stale {
            partition: 0,
            epoch: self.epoch,
        }
    }

    /// One go at reading, on a blocking thread. Cancel-safe.
    async fn attempt(&mut self, max_bytes: usize) -> Result<Read, ConsumeError> {
        let lost = || ConsumeError::Failed("the reader panicked".to_owned());
        let running = match std::mem::replace(&mut self.reading, Reading::Lost) {
            Reading::Idle(mut reader) => tokio::task::spawn_blocking(move || {
                let read = reader.read(max_bytes);
                (reader, read)
            }),
            Reading::Running(running) => running,
            Reading::Lost => return Err(lost()),
        };
        // In its place while this waits: who drops the wait drops no records.
        self.reading = Reading::Running(running);
        let Reading::Running(running) = &mut self.reading else {
            return Err(lost());
        };
        let Ok((reader, read)) = running.await else {
            self.reading = Reading::Lost;
            return Err(lost());
        };
        self.reading = Reading::Idle(reader);
        Ok(read)
    }
}

#[async_trait]
impl Consumer for DiskConsumer {
    async fn read(&mut self, max_bytes: usize) -> Result<Batch, ConsumeError> {
        loop {
            let mark = *self.mark.borrow_and_update();
            if mark.epoch != self.epoch {
                return Err(self.stale());
            }
            if let Some(batch) = self.try_read(max_bytes).await? {
                return Ok(batch);
            }
            if mark.closed {
                return Err(ConsumeError::Closed);
            }
            if self.mark.changed().await.is_err() {
                return Err(ConsumeError::Closed);
            }
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), ConsumeError> {
        if position.epoch != self.epoch || position.partition != 0 {
            return Err(ConsumeError::Stale {
                partition: position.partition,
                epoch: position.epoch,
            });
        }
        if position.next > self.next {
            return Err(ConsumeError::Failed(format!(
                "a commit of {} passes {}, the end of what was read",
                position.next, self.next
            )));
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.commit(position.epoch, position.next))
            .await
            .map_err(|error| ConsumeError::Failed(error.to_string()))?
    }
}

/// Reads frames and hands out records. Memory: a window of the file, or the
/// longest append.
pub(super) struct Reader {
    shared: Arc<Shared>,
    /// The number of the next record, or the least it can be.
    next: u64,
    /// Read and not yet handed out; the first has the number `next`.
    ready: VecDeque<Bytes>,
    open: Option<Open>,
}

struct Open {
    first: u64,
    walk: Walk,
}

impl Reader {
    /// Begin at the last commit.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self::from(shared, 0)
    }

    /// Begin at the number `first`, or at the last commit if that is behind it.
    pub(super) fn from(shared: Arc<Shared>, first: u64) -> Self {
        let next = shared.state().committed.next.max(first);
        Self {
            shared,
            next,
            ready: VecDeque::new(),
            open: None,
        }
    }

    /// The next records; `None` when all that is durable was read.
    pub(super) fn read(&mut self, max_bytes: usize) -> Read {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut first = self.next;
        loop {
            while let Some(record) = self.ready.front() {
                if !records.is_empty() && bytes + record.len() > max_bytes {
                    return Ok(Some((first, records)));
                }
                bytes += record.len();
                records.extend(self.ready.pop_front());
                self.next += 1;
            }
            let (frame_first, frame) = match self.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // What was read before the error is handed out before it.
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            };
            self.ready = frame.into();
            // A batch ends before a gap, so that its numbers are dense.
            let gap = frame_first != first + records.len() as u64;
            self.next = frame_first;
            if records.is_empty() {
                first = frame_first;
            } else if gap {
                break;
            }
        }
        Ok((!records.is_empty()).then_some((first, records)))
    }

    /// The next frame's records at or above `next`.
    fn frame(&mut self) -> io::Result<Option<(u64, Vec<Bytes>)>> {
        while let Some((segment, sealed)) = self.segment() {
            let open = match &mut self.open {
                Some(open) if open.first == segment.first => open,
                other => {
                    let mut walk = Walk::new(File::open(segment.path(&self.shared.dir))?);
                    while walk.skip_below(self.next, segment.bytes)? {}
                    let first = segment.first;
                    other.insert(Open { first, walk })
                }
            };
            // Numbers are dense inside a segment.
            let expected = self.next.max(segment.first);
            match open.walk.step(segment.bytes)? {
                Step::Frame { first, mut records } => {
                    if first + records.len() as u64 <= self.next {
                        continue;
                    }
                    if first < self.next {
                        let known = usize::try_from(self.next - first).unwrap_or(records.len());
                        records.drain(..known);
                    }
                    self.lost(expected, first);
                    return Ok(Some((first.max(self.next), records)));
                }
                Step::Damage { bytes } => damaged(&segment, bytes),
                Step::End { rest } => {
                    if !sealed {
                        return Ok(None);
                    }
                    if rest > 0 {
                        damaged(&segment, rest);
                    }
                    self.lost(expected, segment.end);
                    self.next = self.next.max(segment.end);
                    self.open = None;
                }
            }
        }
        Ok(None)
    }

    /// The segment to read from, and whether it will not grow any more.
    fn segment(&self) -> Option<(Segment, bool)> {
        let state = self.shared.state();
        let here = |segment: &Segment| match &self.open {
            Some(open) => segment.first == open.first,
            None => false,
        };
        let place = state
            .segments
            .iter()
            .position(here)
            .or_else(|| state.segments.iter().position(|one| one.end > self.next))?;
        let last = place + 1 == state.segments.len();
        Some((*state.segments.get(place)?, !(last && state.active)))
    }

    /// Count the records between `expected` and `found`.
    fn lost(&self, expected: u64, found: u64) {
        if let Some(records @ 1..) = found.checked_sub(expected) {
            metrics::counter!("mscp_log_buffer_corrupt_records_total").increment(records);
            tracing::error!(
                dir = %self.shared.dir.display(),
                first = expected,
                records,
                "records of the buffer are damaged and were skipped"
            );
        }
    }
}

fn damaged(segment: &Segment, bytes: u64) {
    metrics::counter!("mscp_log_buffer_corrupt_bytes_total").increment(bytes);
    tracing::error!(
        segment = segment.first,
        bytes,
        "a segment of the buffer is damaged"
    );
}
