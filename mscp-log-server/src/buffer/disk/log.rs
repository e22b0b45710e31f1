//! A log that whoever writes it reads again after a crash: the same files and
//! the same care as the buffer's, without a consumer.
//!
//! The owner appends from one thread, is told on another when an append is
//! durable, and forgets the log when what it says is kept elsewhere. What was
//! not forgotten is there at the next start, in its order.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::files::{Files, System};
use super::format::{FRAME_HEADER, Payload};
use super::reader::Reader;
use super::writer::Answer;
use super::{AppendError, DiskBuffer, DiskSettings, OpenError, first_number, lock};

/// Bytes of appends that are on their way to the disk; the next one waits.
const IN_FLIGHT_BYTES: usize = 32 << 20;

/// About how much is read at a time.
const READ_BYTES: usize = 8 << 20;

/// About how long a file of the log gets.
const FILE_BYTES: u64 = 16 << 20;

/// Records of one append.
#[derive(Debug, Default)]
pub struct Records {
    /// Their lengths, as a payload begins.
    table: Vec<u8>,
    bytes: Vec<u8>,
    count: u32,
}

impl Records {
    /// Room for `count` records of `bytes` bytes together.
    #[must_use]
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self {
            // The records are put behind it at the end.
            table: Vec::with_capacity(4 * count + bytes),
            bytes: Vec::with_capacity(bytes),
            count: 0,
        }
    }

    /// Add the record that `write` appends to what it is given.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        // What does not fit in 32 bits is refused as a whole by `append`.
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.table.extend_from_slice(&length.to_le_bytes());
        self.count = self.count.saturating_add(1);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn payload(mut self) -> Option<Payload> {
        u32::try_from(self.table.len() + self.bytes.len()).ok()?;
        self.table.append(&mut self.bytes);
        let crc = crc32fast::hash(&self.table);
        Some(Payload {
            bytes: self.table,
            count: self.count,
            crc,
        })
    }
}

/// The log.
pub struct Log {
    buffer: DiskBuffer,
    in_flight: Arc<InFlight>,
    /// Bytes that were appended since the log was last forgotten.
    bytes: u64,
}

#[derive(Default)]
struct InFlight {
    /// Appends that are not answered, and their bytes.
    waiting: Mutex<(usize, usize)>,
    fewer: Condvar,
}

impl InFlight {
    fn wait_until(&self, enough: impl Fn(usize, usize) -> bool) {
        let mut waiting = lock(&self.waiting);
        while !enough(waiting.0, waiting.1) {
            let woken = self.fewer.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut (usize, usize))) {
        change(&mut lock(&self.waiting));
        self.fewer.notify_all();
    }
}

impl Log {
    /// Open the log in `dir`, which is made if it is not there; cuts a torn
    /// tail. Above `max_disk_percent` of the file system in use appends are
    /// refused.
    ///
    /// # Errors
    /// As [`DiskBuffer::open`].
    pub fn open(dir: &Path, max_disk_percent: u8) -> Result<Self, OpenError> {
        Self::open_on(Box::new(System), dir, max_disk_percent)
    }

    fn open_on(files: Box<dyn Files>, dir: &Path, max_disk_percent: u8) -> Result<Self, OpenError> {
        let settings = DiskSettings {
            // The owner bounds it, by forgetting it.
            max_bytes: u64::MAX,
            segment_bytes: FILE_BYTES,
            queue_bytes: usize::MAX,
            queue_appends: usize::MAX,
            max_disk_percent,
        };
        let buffer = DiskBuffer::open_counted(files, dir, settings, first_number(), false)?;
        let bytes = buffer.shared.used();
        Ok(Self {
            buffer,
            in_flight: Arc::default(),
            bytes,
        })
    }

    /// Bytes that a start would read again.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why it takes nothing until it is opened again, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.buffer.failure()
    }

    /// Append `records`; `answer` is told when they are durable, or why not.
    /// Waits while too much is on its way to the disk.
    ///
    /// # Errors
    /// Where nothing was taken; `answer` was dropped then.
    pub fn append(
        &mut self,
        records: Records,
        answer: impl FnOnce(Result<(), AppendError>) + Send + 'static,
    ) -> Result<(), AppendError> {
        let payload = records
            .payload()
            .ok_or_else(|| AppendError::Failed("an append over 4 GiB".to_owned()))?;
        let bytes = FRAME_HEADER + payload.bytes.len();
        self.in_flight
            .wait_until(|appends, waiting| appends == 0 || waiting + bytes <= IN_FLIGHT_BYTES);
        let reserved = self.buffer.shared.queue.reserve(bytes)?;
        self.in_flight.change(|(appends, waiting)| {
            *appends += 1;
            *waiting += bytes;
        });
        let in_flight = Arc::clone(&self.in_flight);
        let answered: Answer = Box::new(move |result| {
            answer(result);
            in_flight.change(|(appends, waiting)| {
                *appends -= 1;
                *waiting -= bytes;
            });
        });
        if let Err(refused) = reserved.submit(payload, answered) {
            self.in_flight.change(|(appends, waiting)| {
                *appends -= 1;
                *waiting -= bytes;
            });
            return Err(refused);
        }
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Wait until every append is answered.
    pub fn settle(&self) {
        self.in_flight.wait_until(|appends, _| appends == 0);
    }

    /// Hand over what was appended and not forgotten, some at a time. Ends
    /// at the first error of `each`.
    ///
    /// # Errors
    /// That of `each`, or of reading.
    pub fn read<E>(
        &self,
        mut each: impl FnMut(Vec<bytes::Bytes>) -> Result<(), E>,
    ) -> Result<(), ReadError<E>> {
        self.settle();
        let mut reader = Reader::new(Arc::clone(&self.buffer.shared));
        while let Some((_, records)) = reader.read(READ_BYTES).map_err(ReadError::Log)? {
            each(records).map_err(ReadError::Given)?;
        }
        Ok(())
    }

    /// Everything is kept elsewhere: durably never read it again. Waits for
    /// appends that are on their way, which must be kept elsewhere, too.
    ///
    /// # Errors
    /// Where the file system refuses; all of it, or nothing, may be forgotten.
    pub fn forget(&mut self) -> Result<(), String> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.settle();
        self.buffer.shared.forget()?;
        self.bytes = 0;
        Ok(())
    }
}

/// Why reading a log ended early.
#[derive(Debug)]
pub enum ReadError<E = Infallible> {
    /// The log cannot be read.
    Log(std::io::Error),
    /// The reader said so.
    Given(E),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fs;
    use std::sync::mpsc;

    use super::*;

    fn records(texts: &[&str]) -> Records {
        let mut records = Records::default();
        for text in texts {
            records.push(|out| out.extend_from_slice(text.as_bytes()));
        }
        records
    }

    fn append(log: &mut Log, texts: &[&str]) -> Result<(), AppendError> {
        let (sender, receiver) = mpsc::channel();
        log.append(records(texts), move |result| sender.send(result).unwrap())?;
        receiver.recv().unwrap()
    }

    fn texts(log: &Log) -> Vec<String> {
        let mut texts = Vec::new();
        let each = |records: Vec<bytes::Bytes>| {
            let of = |record: &bytes::Bytes| String::from_utf8(record.to_vec()).unwrap();
            texts.extend(records.iter().map(of));
            Ok::<(), Infallible>(())
        };
        log.read(each).unwrap();
        texts
    }

    /// What a start behind a crash at this moment would find.
    fn copy(folder: &Path) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
        to
    }

    #[test]
    fn what_was_answered_and_not_forgotten_is_read_again_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 100).unwrap();
        append(&mut log, &["a", "b"]).unwrap();
        append(&mut log, &["", "c"]).unwrap();
        assert_eq!(texts(&log), ["a", "b", "", "c"]);
        let crashed = copy(folder.path());
        log.forget().unwrap();
        assert_eq!(log.bytes(), 0);
        assert!(texts(&log).is_empty());
        append(&mut log, &["d"]).unwrap();
        assert_eq!(texts(&log), ["d"]);
        drop(log);
        assert_eq!(texts(&Log::open(folder.path(), 100).unwrap()), ["d"]);

        let mut log = Log::open(crashed.path(), 100).unwrap();
        assert!(log.bytes() > 0);
        assert_eq!(texts(&log), ["a", "b", "", "c"]);
        append(&mut log, &["e"]).unwrap();
        assert_eq!(texts(&log), ["a", "b", "", "c", "e"]);
        log.forget().unwrap();
        let left = fs::read_dir(crashed.path()).unwrap();
        let is_segment = |name: &str| name.ends_with(".seg");
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.filter(|name| is_segment(name)).count(), 0);
    }

    #[test]
    fn a_torn_tail_is_cut_and_what_stands_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 100).unwrap();
        append(&mut log, &["first"]).unwrap();
        append(&mut log, &["second"]).unwrap();
        drop(log);
        let mut entries = fs::read_dir(folder.path()).unwrap();
        let segment = entries
            .find_map(|entry| {
                let path = entry.unwrap().path();
                (path.extension()? == "seg").then_some(path)
            })
            .unwrap();
        let length = fs::metadata(&segment).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.set_len(length - 1).unwrap();
        let mut log = Log::open(folder.path(), 100).unwrap();
        assert_eq!(texts(&log), ["first"]);
        append(&mut log, &["third"]).unwrap();
        assert_eq!(texts(&log), ["first", "third"]);
    }

    #[test]
    fn an_append_that_the_disk_refuses_is_answered_so() {
        let folder = tempfile::tempdir().unwrap();
        // Every file system uses more than nothing.
        let mut log = Log::open(folder.path(), 0).unwrap();
        let refused = append(&mut log, &["a"]);
        assert!(matches!(refused, Err(AppendError::DiskFull)), "{refused:?}");
        log.settle();
        assert!(texts(&log).is_empty());
    }
}
