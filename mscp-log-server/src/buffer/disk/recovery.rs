//! Opening a folder: which segments there are, and where the last one ends.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::format::{self, SegmentHeader, Step, VERSION, Walk};
use super::position::{self, Committed, Saved};
use super::{OpenError, Segment};

/// What opening a buffer found damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn tail that were cut: an append that was never answered,
    /// or a last one that the disk has lost.
    pub torn_bytes: u64,
    /// Damaged bytes before the end of the newest segment. Older segments are
    /// looked at when they are read.
    pub corrupt_bytes: u64,
    /// Whether the position was damaged: reading begins at the oldest record.
    pub position_lost: bool,
}

pub(super) struct Found {
    /// Oldest first, none of them being written.
    pub segments: VecDeque<Segment>,
    pub committed: Committed,
    pub report: Recovered,
}

/// A segment file with what its header says; the number in its name is there
/// when the header is not.
pub(super) struct Listed {
    pub first: u64,
    pub path: PathBuf,
    pub bytes: u64,
    pub header: Option<SegmentHeader>,
}

/// The segment files of `dir`, oldest first. Reads each header.
pub(super) fn list(dir: &Path) -> Result<Vec<Listed>, OpenError> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::io(dir))? {
        let path = entry.map_err(OpenError::io(dir))?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".seg")?.parse().ok());
        let Some(first) = first else { continue };
        let file = File::open(&path).map_err(OpenError::io(&path))?;
        let bytes = file.metadata().map_err(OpenError::io(&path))?.len();
        let header = format::read_header(&file).map_err(OpenError::io(&path))?;
        if let Some(header) = header
            && header.version > VERSION
        {
            let found = header.version;
            return Err(OpenError::Newer { path, found });
        }
        listed.push(Listed {
            first,
            path,
            bytes,
            header,
        });
    }
    listed.sort_by_key(|segment| segment.first);
    Ok(listed)
}

pub(super) fn recover(dir: &Path) -> Result<Found, OpenError> {
    let mut report = Recovered::default();
    let committed = match position::load(dir).map_err(OpenError::io(dir))? {
        Saved::Nothing => Committed::default(),
        Saved::Committed(committed) => committed,
        Saved::Damaged => {
            report.position_lost = true;
            tracing::error!(dir = %dir.display(), "the buffer's position is damaged; reading begins at the oldest record");
            Committed::default()
        }
        Saved::Newer(found) => {
            let path = dir.join("position");
            return Err(OpenError::Newer { path, found });
        }
    };
    let listed = list(dir)?;
    let mut segments = VecDeque::with_capacity(listed.len());
    for pair in listed.windows(2) {
        if let [segment, next] = pair {
            // Where a segment ends, the header behind it says; where that is
            // torn, reading tells.
            let end = match next.header {
                Some(header) => header.previous_end,
                None => walk(segment, &mut report)?.end,
            };
            segments.push_back(Segment {
                first: segment.first,
                end: end.max(segment.first),
                bytes: segment.bytes,
            });
        }
    }
    if let Some(last) = listed.last() {
        let segment = end_of(last, &mut report)?;
        if segment.end == segment.first {
            fs::remove_file(&last.path).map_err(OpenError::io(&last.path))?;
        } else {
            segments.push_back(segment);
        }
    }
    if report.torn_bytes > 0 || report.corrupt_bytes > 0 {
        metrics::counter!("mscp_log_buffer_torn_bytes_total").increment(report.torn_bytes);
        tracing::warn!(
            torn_bytes = report.torn_bytes,
            corrupt_bytes = report.corrupt_bytes,
            "the buffer's newest segment was damaged"
        );
    }
    Ok(Found {
        segments,
        committed,
        report,
    })
}

/// Where reading found a segment to end.
struct Walked {
    /// Behind the last record.
    end: u64,
    /// Behind the last frame, in bytes.
    bytes: u64,
    /// Bytes behind that.
    rest: u64,
}

fn walk(segment: &Listed, report: &mut Recovered) -> Result<Walked, OpenError> {
    let io = || OpenError::io(&segment.path);
    let mut walk = Walk::new(File::open(&segment.path).map_err(io())?);
    let mut end = segment.first;
    loop {
        match walk.step(segment.bytes).map_err(io())? {
            Step::Frame { first, records } => end = first + records.len() as u64,
            Step::Damage { bytes } => report.corrupt_bytes += bytes,
            Step::End { rest } => {
                let bytes = walk.offset();
                return Ok(Walked { end, bytes, rest });
            }
        }
    }
}

/// Find the end of the newest segment, cut what is behind it, and make the
/// rest durable: a process may have died between write and sync.
fn end_of(last: &Listed, report: &mut Recovered) -> Result<Segment, OpenError> {
    let io = || OpenError::io(&last.path);
    let Walked { end, bytes, rest } = walk(last, report)?;
    let file = OpenOptions::new()
        .write(true)
        .open(&last.path)
        .map_err(io())?;
    if rest > 0 {
        report.torn_bytes += rest;
        file.set_len(bytes).map_err(io())?;
    }
    file.sync_all().map_err(io())?;
    Ok(Segment {
        first: last.first,
        end,
        bytes,
    })
}
