//! The one writer: takes every append that waits, writes them at once, syncs
//! once, answers all.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::files::{Appender, is_full};
use super::format::{FRAME_HEADER, FrameHeader, Payload, SEGMENT_HEADER, SegmentHeader, VERSION};
use super::{AppendError, Segment, Shared, lock, segment_name};
use crate::clock;

/// About how many bytes are written before a sync: enough that the sync is
/// the smaller part, few enough that the first of them does not wait long.
const GROUP_BYTES: usize = 8 << 20;

/// Who is told what became of an append.
pub(super) type Answer = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// Appends that wait for the disk, bounded in number and bytes.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    max_bytes: usize,
    max_appends: usize,
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<(Payload, Answer)>,
    /// Bytes and number of what was reserved and is not yet answered.
    bytes: usize,
    count: usize,
    closed: bool,
    /// Set once; nothing is taken after it.
    failure: Option<String>,
}

impl Waiting {
    fn refusal(&self) -> Option<AppendError> {
        if let Some(failure) = &self.failure {
            return Some(AppendError::Failed(failure.clone()));
        }
        self.closed.then_some(AppendError::Closed)
    }
}

/// Room in the queue, given back unless something is submitted.
pub(super) struct Reserved<'a> {
    queue: &'a Queue,
    len: usize,
    waiting: usize,
}

impl Queue {
    pub(super) fn new(max_bytes: usize, max_appends: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            more: Condvar::new(),
            max_bytes,
            max_appends,
        }
    }

    /// Room for an append of `len` bytes, before it is encoded: what is over
    /// the limit costs no memory.
    pub(super) fn reserve(&self, len: usize) -> Result<Reserved<'_>, AppendError> {
        if len > self.max_bytes {
            return Err(AppendError::Failed(format!(
                "an append of {len} bytes is over the limit of {}",
                self.max_bytes
            )));
        }
        let mut waiting = lock(&self.waiting);
        if let Some(refusal) = waiting.refusal() {
            return Err(refusal);
        }
        if waiting.bytes + len > self.max_bytes || waiting.count == self.max_appends {
            metrics::counter!("mscp_log_buffer_refused_appends_total", "reason" => "queue")
                .increment(1);
            return Err(AppendError::Full {
                used: waiting.bytes as u64,
                limit: self.max_bytes as u64,
            });
        }
        waiting.bytes += len;
        waiting.count += 1;
        Ok(Reserved {
            queue: self,
            len,
            waiting: waiting.bytes,
        })
    }

    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.waiting).failure.clone()
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        lock(&self.waiting).appends.len()
    }

    pub(super) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.more.notify_all();
    }

    fn release(&self, bytes: usize, count: usize) {
        let mut waiting = lock(&self.waiting);
        waiting.bytes -= bytes;
        waiting.count -= count;
    }

    /// All that waits, up to the size of a group; `None` when the queue is
    /// closed and empty. Blocks.
    fn group(&self) -> Option<Vec<(Payload, Answer)>> {
        let mut waiting = lock(&self.waiting);
        while waiting.appends.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self
                .more
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some((next, _)) = waiting.appends.front() {
            bytes += FRAME_HEADER + next.bytes.len();
            if bytes > GROUP_BYTES && !group.is_empty() {
                break;
            }
            group.extend(waiting.appends.pop_front());
        }
        Some(group)
    }

    /// Take nothing more, and answer all that waits.
    fn fail(&self, failure: &str) {
        let appends = {
            let mut waiting = lock(&self.waiting);
            waiting.failure = Some(failure.to_owned());
            std::mem::take(&mut waiting.appends)
        };
        let answer = || Err(AppendError::Failed(failure.to_owned()));
        self.finish(appends, answer);
    }

    fn finish(
        &self,
        group: impl IntoIterator<Item = (Payload, Answer)>,
        answer: impl Fn() -> Result<(), AppendError>,
    ) {
        for (payload, reply) in group {
            self.release(FRAME_HEADER + payload.bytes.len(), 1);
            // Who no longer waits has lost nothing: the records are as
            // durable as the answer would have said.
            reply(answer());
        }
    }
}

impl Reserved<'_> {
    /// Bytes that wait, these included.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting as u64
    }

    /// Hand the append over; `answer` is called on the writer's thread.
    pub(super) fn submit(mut self, payload: Payload, answer: Answer) -> Result<(), AppendError> {
        {
            let mut waiting = lock(&self.queue.waiting);
            if let Some(refusal) = waiting.refusal() {
                drop(waiting);
                return Err(refusal);
            }
            waiting.appends.push_back((payload, answer));
        }
        self.len = 0;
        self.queue.more.notify_one();
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.len > 0 {
            self.queue.release(self.len, 1);
        }
    }
}

/// Start the writer; the first new record has the number `next`, behind `end`
/// of what is there.
pub(super) fn start(shared: Arc<Shared>, end: u64, next: u64) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("buffer".to_owned())
        .spawn(move || {
            let mut writer = Writer {
                shared: &shared,
                file: None,
                end,
                next,
            };
            while let Some(group) = shared.queue.group() {
                writer.write(group);
            }
            shared.mark.send_modify(|mark| mark.closed = true);
        })
}

struct Writer<'a> {
    shared: &'a Shared,
    /// The open segment and its length, all of it durable.
    file: Option<(Box<dyn Appender>, u64)>,
    /// Behind the last record written.
    end: u64,
    /// The number of the next record.
    next: u64,
}

/// Why a group was not written.
enum Failure {
    /// Nothing of it is there, and later ones may go well.
    Full,
    /// What is there is not known. Only opening the buffer again tells.
    Broken(String),
}

impl Writer<'_> {
    fn write(&mut self, group: Vec<(Payload, Answer)>) {
        let queue = &self.shared.queue;
        match self.append(&group) {
            Ok(()) => queue.finish(group, || Ok(())),
            Err(Failure::Full) => {
                metrics::counter!("mscp_log_buffer_refused_appends_total", "reason" => "disk_full")
                    .increment(group.len() as u64);
                queue.finish(group, || Err(AppendError::DiskFull));
            }
            Err(Failure::Broken(failure)) => {
                tracing::error!(failure, "the buffer failed and takes no more records");
                // First nobody new comes in, then those inside are answered.
                queue.fail(&failure);
                queue.finish(group, || Err(AppendError::Failed(failure.clone())));
            }
        }
    }

    /// Write the group and make it durable.
    fn append(&mut self, group: &[(Payload, Answer)]) -> Result<(), Failure> {
        if let Some(failure) = self.shared.queue.failure() {
            return Err(Failure::Broken(failure));
        }
        let settings = &self.shared.settings;
        match self.shared.files.used_percent(&self.shared.dir) {
            Ok(percent) if percent > settings.max_disk_percent => return Err(Failure::Full),
            Ok(_) => {}
            Err(error) => return Err(Failure::Broken(format!("statvfs: {error}"))),
        }

        let len: usize = group
            .iter()
            .map(|(payload, _)| FRAME_HEADER + payload.bytes.len())
            .sum();
        let len = len as u64;
        let mut first = self.next;
        let mut headers = Vec::with_capacity(group.len());
        for (payload, _) in group {
            let header = FrameHeader {
                // The payload was counted in 32 bits when it was made.
                len: u32::try_from(payload.bytes.len())
                    .map_err(|error| Failure::Broken(error.to_string()))?,
                count: payload.count,
                first,
                crc: payload.crc,
            };
            first = header.end();
            headers.push(header.encode());
        }
        let mut slices: Vec<IoSlice<'_>> = headers
            .iter()
            .zip(group)
            .flat_map(|(header, (payload, _))| [IoSlice::new(header), IoSlice::new(&payload.bytes)])
            .collect();

        let (file, durable) = self.segment(len)?;
        let start = *durable;
        if let Err(error) = file.append(&mut slices) {
            file.truncate(start)
                .map_err(|cut| Failure::Broken(format!("write: {error}; truncate: {cut}")))?;
            return Err(if is_full(&error) {
                Failure::Full
            } else {
                Failure::Broken(format!("write: {error}"))
            });
        }
        // After a failed fsync the kernel may say that the pages are clean
        // though they are not on the disk (fsync(2), NOTES): asking again
        // would lie, so this is the end.
        file.sync()
            .map_err(|error| Failure::Broken(format!("fdatasync: {error}")))?;
        *durable = start + len;
        let bytes = *durable;

        let records = first - self.next;
        self.next = first;
        self.end = first;
        let shared = self.shared;
        {
            let mut state = shared.state();
            state.backlog.appended(first, len, clock::now_us());
            if let Some(last) = state.segments.back_mut() {
                last.end = first;
                last.bytes = bytes;
            }
        }
        shared.mark.send_modify(|mark| mark.end = first);
        if shared.counted {
            metrics::counter!("mscp_log_buffer_records_total").increment(records);
            metrics::counter!("mscp_log_buffer_bytes_total").increment(len);
            metrics::counter!("mscp_log_buffer_syncs_total").increment(1);
        }
        Ok(())
    }

    /// The segment that `len` more bytes go to.
    fn segment(&mut self, len: u64) -> Result<&mut (Box<dyn Appender>, u64), Failure> {
        let header = SEGMENT_HEADER as u64;
        if let Some((_, durable)) = &self.file
            && (*durable > header && *durable + len > self.shared.segment_bytes()
                || !self.shared.state().active)
        {
            self.file = None;
        }
        match &mut self.file {
            Some(_) => {}
            none => *none = Some(create(self.shared, self.next, self.end)?),
        }
        self.file
            .as_mut()
            .ok_or_else(|| Failure::Broken("no segment".to_owned()))
    }
}

/// Make the next segment, its name durable. Its header is with the first group.
fn create(
    shared: &Shared,
    first: u64,
    previous_end: u64,
) -> Result<(Box<dyn Appender>, u64), Failure> {
    let path = shared.dir.join(segment_name(first));
    let header = SegmentHeader {
        version: VERSION,
        first,
        previous_end,
    };
    let made = shared.files.create(&path).and_then(|mut file| {
        file.append(&mut [IoSlice::new(&header.encode())])?;
        shared.files.sync_dir(&shared.dir)?;
        Ok(file)
    });
    match made {
        Ok(file) => {
            let mut state = shared.state();
            state.segments.push_back(Segment {
                first,
                end: first,
                bytes: SEGMENT_HEADER as u64,
            });
            state.active = true;
            Ok((file, SEGMENT_HEADER as u64))
        }
        Err(error) => {
            // No half-made file may stand in the way of the next attempt.
            let removed = std::fs::remove_file(&path);
            match removed {
                Err(left) if left.kind() != io::ErrorKind::NotFound => {
                    Err(Failure::Broken(format!("create: {error}; remove: {left}")))
                }
                _ if is_full(&error) => Err(Failure::Full),
                _ => Err(Failure::Broken(format!("create: {error}"))),
            }
        }
    }
}
