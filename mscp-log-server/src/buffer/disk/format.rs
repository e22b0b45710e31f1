//! The bytes of a segment file: a header, then frames, each one append.
//!
//! ```text
//! segment header, 40 bytes            frame header, 28 bytes
//!   8  magic                            4  magic
//!   4  format version                   4  length of the payload
//!   4  reserved, zero                   4  number of records
//!   8  number of the first record       8  number of the first record
//!   8  end of the segment before        4  CRC-32 of the payload
//!   4  reserved, zero                   4  CRC-32 of the 24 bytes above
//!   4  CRC-32 of the 36 bytes above   payload: the length of each record
//!                                       (4 bytes each), then the records
//! ```
//!
//! All integers are little-endian; CRC-32 is the one of IEEE 802.3. One CRC
//! covers a whole append, so an append is there whole or not at all. Inside a
//! segment numbers are dense; between segments they may jump.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::{Buf as _, Bytes};

/// The version of the format this program writes; it opens this and older ones.
pub(super) const VERSION: u32 = 1;
pub(super) const SEGMENT_HEADER: usize = 40;
pub(super) const FRAME_HEADER: usize = 28;

const SEGMENT_MAGIC: [u8; 8] = *b"MSCPLOGB";
/// Neither valid UTF-8 nor a plausible length, so that no payload of JSON
/// documents can hold it: what a sender writes cannot pass for a frame when a
/// reader searches for the next one behind a damaged place.
const FRAME_MAGIC: [u8; 4] = [0xff, 0xfe, 0xff, 0xfe];
/// How much is read from the file at a time.
const WINDOW: u64 = 1 << 20;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub version: u32,
    /// The number of the first record.
    pub first: u64,
    /// Where the numbers of the segment before ended; less than `first` where
    /// they jumped.
    pub previous_end: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` when the bytes are not a whole header.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..SEGMENT_HEADER)?;
        let crc = crc32fast::hash(&rest[..36]);
        if rest[..8] != SEGMENT_MAGIC {
            return None;
        }
        rest.advance(8);
        let version = rest.get_u32_le();
        rest.advance(4);
        let first = rest.get_u64_le();
        let previous_end = rest.get_u64_le();
        rest.advance(4);
        (rest.get_u32_le() == crc).then_some(Self {
            version,
            first,
            previous_end,
        })
    }
}

/// What stands before the payload of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub len: u32,
    pub count: u32,
    pub first: u64,
    pub crc: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut bytes = [0; FRAME_HEADER];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.first.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..FRAME_HEADER)?;
        if rest[..4] != FRAME_MAGIC {
            return None;
        }
        let crc = crc32fast::hash(&rest[..24]);
        rest.advance(4);
        let header = Self {
            len: rest.get_u32_le(),
            count: rest.get_u32_le(),
            first: rest.get_u64_le(),
            crc: rest.get_u32_le(),
        };
        (rest.get_u32_le() == crc).then_some(header)
    }

    /// The number behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// The payload of one append and its CRC, made by whoever appends, so that
/// the one writer has little to do.
pub(super) struct Payload {
    pub bytes: Vec<u8>,
    pub count: u32,
    pub crc: u32,
}

/// How many bytes `records` are as a payload.
pub(super) fn payload_len(records: &[Bytes]) -> usize {
    records.iter().map(|record| 4 + record.len()).sum()
}

impl Payload {
    /// `None` when there are more records or bytes than the format can count.
    pub(super) fn new(records: &[Bytes]) -> Option<Self> {
        let len = payload_len(records);
        u32::try_from(len).ok()?;
        let count = u32::try_from(records.len()).ok()?;
        let mut bytes = Vec::with_capacity(len);
        for record in records {
            let len = u32::try_from(record.len()).ok()?;
            bytes.extend_from_slice(&len.to_le_bytes());
        }
        for record in records {
            bytes.extend_from_slice(record);
        }
        let crc = crc32fast::hash(&bytes);
        Some(Self { bytes, count, crc })
    }
}

/// Take the payload apart; `None` when the lengths do not add up.
fn records(mut payload: Bytes, count: u32) -> Option<Vec<Bytes>> {
    let table = usize::try_from(count).ok()?.checked_mul(4)?;
    if payload.len() < table {
        return None;
    }
    let mut lengths = payload.split_to(table);
    let mut records = Vec::with_capacity(table / 4);
    while lengths.has_remaining() {
        let len = usize::try_from(lengths.get_u32_le()).ok()?;
        if payload.len() < len {
            return None;
        }
        records.push(payload.split_to(len));
    }
    payload.is_empty().then_some(records)
}

/// What a walk through a segment met.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole append.
    Frame { first: u64, records: Vec<Bytes> },
    /// Bytes that are no frame, with a frame behind them or a sound header
    /// before them: data that was there once.
    Damage { bytes: u64 },
    /// No frame from here to the limit; `rest` bytes of something else.
    End { rest: u64 },
}

/// A walk from frame to frame. Memory: one window, or the largest append.
#[derive(Debug)]
pub(super) struct Walk {
    file: File,
    offset: u64,
    window: Bytes,
    window_at: u64,
}

impl Walk {
    /// Begin behind the header of the segment.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            offset: SEGMENT_HEADER as u64,
            window: Bytes::new(),
            window_at: 0,
        }
    }

    /// Where the next step begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next thing below `limit`, which is where the segment is known to end.
    pub(super) fn step(&mut self, limit: u64) -> io::Result<Step> {
        let start = self.offset;
        match self.header_at(start, limit)? {
            Some(header) => {
                let end = start + FRAME_HEADER as u64 + u64::from(header.len);
                let payload =
                    self.bytes_at(start + FRAME_HEADER as u64, u64::from(header.len), limit)?;
                let payload = payload.filter(|bytes| crc32fast::hash(bytes) == header.crc);
                if let Some(records) = payload.and_then(|bytes| records(bytes, header.count)) {
                    self.offset = end;
                    return Ok(Step::Frame {
                        first: header.first,
                        records,
                    });
                }
                self.resync(start, limit)
            }
            None => self.resync(start, limit),
        }
    }

    /// Step over the frame here without reading its payload, if its header is
    /// sound and all its records are below `number`.
    pub(super) fn skip_below(&mut self, number: u64, limit: u64) -> io::Result<bool> {
        match self.header_at(self.offset, limit)? {
            Some(header) if header.end() <= number => {
                self.offset += FRAME_HEADER as u64 + u64::from(header.len);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A frame header at `offset` whose frame ends at or before `limit`.
    fn header_at(&mut self, offset: u64, limit: u64) -> io::Result<Option<FrameHeader>> {
        let Some(bytes) = self.bytes_at(offset, FRAME_HEADER as u64, limit)? else {
            return Ok(None);
        };
        Ok(FrameHeader::decode(&bytes).filter(|header| {
            offset + FRAME_HEADER as u64 + u64::from(header.len) <= limit
                && header.first.checked_add(u64::from(header.count)).is_some()
        }))
    }

    /// Find the next frame header behind `start`.
    fn resync(&mut self, start: u64, limit: u64) -> io::Result<Step> {
        let finder = memchr::memmem::Finder::new(&FRAME_MAGIC);
        let mut from = start + 1;
        while from + FRAME_HEADER as u64 <= limit {
            let len = (limit - from).min(WINDOW);
            let Some(bytes) = self.bytes_at(from, len, limit)? else {
                break;
            };
            let found = finder.find(&bytes).map(|at| from + at as u64);
            match found {
                Some(at) if self.header_at(at, limit)?.is_some() => {
                    self.offset = at;
                    return Ok(Step::Damage { bytes: at - start });
                }
                Some(at) => from = at + 1,
                None => from += len - 3,
            }
        }
        Ok(Step::End {
            rest: limit.saturating_sub(start),
        })
    }

    /// `len` bytes at `offset`; `None` when they pass `limit` or the file.
    fn bytes_at(&mut self, offset: u64, len: u64, limit: u64) -> io::Result<Option<Bytes>> {
        if offset.checked_add(len).is_none_or(|end| end > limit) {
            return Ok(None);
        }
        let inside =
            |at: u64, window: &Bytes| offset >= at && offset + len <= at + window.len() as u64;
        if !inside(self.window_at, &self.window) {
            let want = (limit - offset).min(len.max(WINDOW));
            self.window = read_at(&self.file, offset, want)?;
            self.window_at = offset;
            if !inside(self.window_at, &self.window) {
                return Ok(None);
            }
        }
        let from = usize::try_from(offset - self.window_at).map_err(io::Error::other)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        Ok(Some(self.window.slice(from..from + len)))
    }
}

/// Read up to `len` bytes at `offset`; fewer only at the end of the file.
fn read_at(file: &File, offset: u64, len: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(Bytes::from(bytes))
}

/// The header of a segment file, `None` when it is not whole.
pub(super) fn read_header(file: &File) -> io::Result<Option<SegmentHeader>> {
    Ok(SegmentHeader::decode(&read_at(
        file,
        0,
        SEGMENT_HEADER as u64,
    )?))
}
