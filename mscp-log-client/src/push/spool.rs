//! Files that hold batches until they can be sent: by this process or the next.
//!
//! A file begins with [`MAGIC`]. Each batch is a frame: the length and the
//! CRC-32 of what follows, both 32 bits, little-endian; then its key, its app,
//! the number of records, and each record behind its length. Whoever works
//! with a file holds its lock; a file that nobody has locked is an orphan, and
//! whoever locks it has it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;

use super::queue::{Part, Queued};

const MAGIC: &[u8; 8] = b"mscpspl1";

/// Length and checksum.
const HEAD: usize = 8;

/// A file is not appended to when it is larger, so that it can be removed when
/// what is in it was sent.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The files of one pusher.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    /// The oldest first. Only the last one is appended to, and only when it is
    /// this pusher's own.
    segments: VecDeque<Segment>,
    /// Records that are in the files and were not settled.
    records: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    len: u64,
    /// Where the next frame begins that was not settled.
    front: u64,
    is_own: bool,
}

/// What was found in the files of others.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// At least so many records cannot be read.
    pub(super) records: u64,
    pub(super) words: String,
}

impl Spool {
    /// Makes the folder where there is none, and takes orphans over.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> io::Result<(Spool, Damage)> {
        fs::create_dir_all(folder)?;
        let mut spool = Spool {
            folder: folder.to_owned(),
            max_bytes,
            segments: VecDeque::new(),
            records: 0,
        };
        let mut damage = Damage::default();
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "spill") {
                let changed = fs::metadata(&path).and_then(|about| about.modified());
                found.push((changed.ok(), path));
            }
        }
        found.sort();
        for (_, path) in found {
            spool.take_over(path, &mut damage)?;
        }
        Ok((spool, damage))
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Writes a batch; it is durable after [`Spool::sync`].
    pub(super) fn append(&mut self, part: &Part) -> io::Result<()> {
        let frame = encode(part)?;
        let size = frame.len() as u64;
        if self.bytes() + size + MAGIC.len() as u64 > self.max_bytes {
            return Err(io::Error::other(format!(
                "{} bytes are in it, and {} is the bound",
                self.bytes(),
                self.max_bytes
            )));
        }
        let fits = |segment: &&Segment| segment.is_own && segment.len < SEGMENT_BYTES;
        if self.segments.back().filter(fits).is_none() {
            let segment = Segment::create(&self.folder)?;
            self.segments.push_back(segment);
        }
        let Some(segment) = self.segments.back_mut() else {
            return Err(io::Error::other("no file"));
        };
        let written = segment
            .file
            .seek(SeekFrom::Start(segment.len))
            .and_then(|_| segment.file.write_all(&frame));
        if let Err(error) = written {
            // Half a frame must not be in front of the next.
            segment.file.set_len(segment.len)?;
            return Err(error);
        }
        segment.len += size;
        self.records += part.records.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.segments
            .back()
            .map_or(Ok(()), |segment| segment.file.sync_data())
    }

    /// The oldest batch that was not settled; it stays until [`Spool::settle`].
    pub(super) fn front(&mut self) -> io::Result<Option<Part>> {
        loop {
            let Some(segment) = self.segments.front_mut() else {
                return Ok(None);
            };
            if segment.front < segment.len {
                let (part, _) = segment
                    .read(segment.front)?
                    .ok_or_else(|| io::Error::other("a batch that was whole is damaged now"))?;
                return Ok(Some(part));
            }
            self.remove_front()?;
        }
    }

    /// The batch at the front was settled.
    pub(super) fn settle(&mut self, records: usize) -> io::Result<()> {
        self.records = self.records.saturating_sub(records as u64);
        let Some(segment) = self.segments.front_mut() else {
            return Ok(());
        };
        let (len, _) = segment.head(segment.front)?.unwrap_or_default();
        segment.front += HEAD as u64 + u64::from(len);
        if len == 0 || segment.front >= segment.len {
            self.remove_front()?;
        }
        Ok(())
    }

    /// All that is in the files is given up. Gives how many records that are.
    pub(super) fn give_up(&mut self) -> u64 {
        // What cannot be removed is an orphan when this process ends.
        self.segments.clear();
        std::mem::take(&mut self.records)
    }

    fn remove_front(&mut self) -> io::Result<()> {
        self.segments.pop_front().map_or(Ok(()), Segment::remove)
    }

    fn take_over(&mut self, path: PathBuf, damage: &mut Damage) -> io::Result<()> {
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // Its owner was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut segment = Segment {
            len: file.metadata()?.len(),
            path,
            file,
            front: MAGIC.len() as u64,
            is_own: false,
        };
        if segment.len > 0 && !segment.is_ours()? {
            return Ok(());
        }
        let mut at = segment.front;
        let mut records = 0;
        while let Some((part, next)) = segment.read(at)? {
            records += part.records.len() as u64;
            at = next;
        }
        if at < segment.len {
            damage.records += segment.records_named(at)?;
            damage.words = format!(
                "{} bytes at the end of {} are damaged and were cut",
                segment.len - at,
                segment.path.display()
            );
            segment.file.set_len(at)?;
            segment.len = at;
        }
        if records == 0 {
            return segment.remove();
        }
        self.records += records;
        self.segments.push_back(segment);
        Ok(())
    }
}

impl Segment {
    /// Under a name that nobody takes over until it is locked.
    fn create(folder: &Path) -> io::Result<Segment> {
        let name = Uuid::new_v4();
        let (new, path) = (
            folder.join(format!("{name}.new")),
            folder.join(format!("{name}.spill")),
        );
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&new)?;
        file.lock()?;
        file.write_all(MAGIC)?;
        fs::rename(&new, &path)?;
        // Not every system can open a folder; those that can keep its names so.
        if let Ok(folder) = File::open(folder) {
            folder.sync_all()?;
        }
        Ok(Segment {
            path,
            file,
            len: MAGIC.len() as u64,
            front: MAGIC.len() as u64,
            is_own: true,
        })
    }

    fn remove(self) -> io::Result<()> {
        // Whoever has opened it already, and gets the lock when it is gone
        // from the folder, finds nothing in it.
        self.file.set_len(0)?;
        fs::remove_file(&self.path)
    }

    fn is_ours(&mut self) -> io::Result<bool> {
        let mut magic = [0; MAGIC.len()];
        self.file.seek(SeekFrom::Start(0))?;
        match self.file.read_exact(&mut magic) {
            Ok(()) => Ok(magic == *MAGIC),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The batch at `at` and where the next begins; `None` when none is whole there.
    fn read(&mut self, at: u64) -> io::Result<Option<(Part, u64)>> {
        let Some(frame) = self.frame(at)? else {
            return Ok(None);
        };
        let next = at + (HEAD + frame.len()) as u64;
        Ok(decode(Bytes::from(frame)).map(|part| (part, next)))
    }

    fn frame(&mut self, at: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((len, sum)) = self.head(at)? else {
            return Ok(None);
        };
        // The length is believed only as far as the file goes.
        if at + HEAD as u64 + u64::from(len) > self.len {
            return Ok(None);
        }
        let mut frame = vec![0; len as usize];
        self.file.read_exact(&mut frame)?;
        Ok((crc32fast::hash(&frame) == sum).then_some(frame))
    }

    fn head(&mut self, at: u64) -> io::Result<Option<(u32, u32)>> {
        if at + HEAD as u64 > self.len {
            return Ok(None);
        }
        let (mut len, mut sum) = ([0; 4], [0; 4]);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut len)?;
        self.file.read_exact(&mut sum)?;
        Ok(Some((u32::from_le_bytes(len), u32::from_le_bytes(sum))))
    }

    /// How many records a damaged frame says that it has, as far as that can be.
    fn records_named(&mut self, at: u64) -> io::Result<u64> {
        let count_at = at + (HEAD + 32) as u64;
        if count_at + 4 > self.len {
            return Ok(1);
        }
        let mut count = [0; 4];
        self.file.seek(SeekFrom::Start(count_at))?;
        self.file.read_exact(&mut count)?;
        let left = (self.len - count_at) / 4;
        Ok(u64::from(u32::from_le_bytes(count)).clamp(1, left.max(1)))
    }
}

fn encode(part: &Part) -> io::Result<Vec<u8>> {
    let too_large = |_| io::Error::other("a batch of 4 GiB is too large for a file");
    let size: usize = part
        .records
        .iter()
        .map(|record| 4 + record.body.len())
        .sum();
    let mut frame = Vec::with_capacity(HEAD + 36 + size);
    frame.extend_from_slice(&[0; HEAD]);
    frame.extend_from_slice(part.key.as_bytes());
    frame.extend_from_slice(part.app.as_bytes());
    let count = u32::try_from(part.records.len()).map_err(too_large)?;
    frame.extend_from_slice(&count.to_le_bytes());
    for record in &part.records {
        let len = u32::try_from(record.body.len()).map_err(too_large)?;
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&record.body);
    }
    let len = u32::try_from(frame.len() - HEAD).map_err(too_large)?;
    let sum = crc32fast::hash(&frame[HEAD..]);
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(frame)
}

fn decode(mut frame: Bytes) -> Option<Part> {
    let key = Uuid::from_slice(&take(&mut frame, 16)?).ok()?;
    let app = Uuid::from_slice(&take(&mut frame, 16)?).ok()?;
    let count = number(&mut frame)?;
    let mut records = Vec::new();
    for _ in 0..count {
        let len = number(&mut frame)?;
        let body = take(&mut frame, usize::try_from(len).ok()?)?;
        records.push(Queued::from_file(body));
    }
    frame.is_empty().then_some(Part { app, key, records })
}

fn take(frame: &mut Bytes, len: usize) -> Option<Bytes> {
    (frame.len() >= len).then(|| frame.split_to(len))
}

fn number(frame: &mut Bytes) -> Option<u32> {
    let four: [u8; 4] = take(frame, 4)?.as_ref().try_into().ok()?;
    Some(u32::from_le_bytes(four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(key: u128, bodies: &[Vec<u8>]) -> Part {
        Part {
            app: Uuid::from_u128(7),
            key: Uuid::from_u128(key),
            records: bodies
                .iter()
                .map(|body| Queued::from_file(Bytes::from(body.clone())))
                .collect(),
        }
    }

    fn drain(spool: &mut Spool) -> Vec<(Uuid, Vec<Bytes>)> {
        let mut all = Vec::new();
        while let Some(part) = spool.front().unwrap() {
            let records: Vec<Bytes> = part.records.into_iter().map(|one| one.body).collect();
            spool.settle(records.len()).unwrap();
            all.push((part.key, records));
        }
        all
    }

    fn only_file(folder: &Path) -> PathBuf {
        fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Cut anywhere, or with a byte that is another: what was whole before
        /// the place is read, in order, and everything else is counted.
        #[test]
        fn what_is_whole_is_read_and_the_rest_is_counted(
            batches in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4), 1..5),
            place in any::<prop::sample::Index>(),
            cut in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut spool, _) = Spool::open(folder.path(), 1 << 20).unwrap();
            let mut ends = Vec::new();
            for (key, bodies) in batches.iter().enumerate() {
                spool.append(&part(key as u128, bodies)).unwrap();
                ends.push(spool.bytes());
            }
            spool.sync().unwrap();
            let path = only_file(folder.path());
            drop(spool);
            let mut bytes = fs::read(&path).unwrap();
            let place = MAGIC.len() + place.index(bytes.len() - MAGIC.len());
            if cut {
                bytes.truncate(place);
            } else {
                bytes[place] ^= 0x55;
            }
            fs::write(&path, &bytes).unwrap();
            let whole = ends.iter().filter(|end| **end <= place as u64).count();

            let (mut spool, damage) = Spool::open(folder.path(), 1 << 20).unwrap();
            let read = drain(&mut spool);
            prop_assert_eq!(read.len(), whole);
            for (place, (key, records)) in read.iter().enumerate() {
                prop_assert_eq!(key.as_u128(), place as u128);
                prop_assert_eq!(records, &batches[place]);
            }
            let begins = whole.checked_sub(1).map_or(MAGIC.len() as u64, |last| ends[last]);
            let is_damaged = !cut || place as u64 > begins;
            prop_assert_eq!(damage.records > 0, is_damaged, "{:?}", damage);
            prop_assert_eq!(spool.records(), 0);
            prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no file is left");
        }
    }

    #[test]
    fn a_file_has_one_owner_and_the_next_one_takes_it_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, _) = Spool::open(folder.path(), 1 << 20).unwrap();
        first.append(&part(1, &[b"one".to_vec()])).unwrap();
        let (mut second, _) = Spool::open(folder.path(), 1 << 20).unwrap();
        assert!(second.front().unwrap().is_none(), "the first has it still");
        second.append(&part(2, &[b"two".to_vec()])).unwrap();
        drop(first);
        drop(second);
        let (mut third, _) = Spool::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(third.records(), 2);
        let mut keys: Vec<u128> = drain(&mut third)
            .iter()
            .map(|(key, _)| key.as_u128())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn no_more_than_its_bound_is_written_and_files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.spill"), "not one of ours").unwrap();
        let (mut spool, damage) = Spool::open(folder.path(), 200).unwrap();
        assert_eq!(damage.records, 0);
        let one = part(1, &[vec![b'x'; 60]]);
        spool.append(&one).unwrap();
        let error = spool.append(&one).unwrap_err();
        assert!(error.to_string().contains("200 is the bound"), "{error}");
        assert!(spool.bytes() <= 200);
        assert_eq!(drain(&mut spool).len(), 1);
        spool.append(&one).unwrap();
        let kept = fs::read_to_string(folder.path().join("notes.spill")).unwrap();
        assert_eq!(kept, "not one of ours");
    }
}
