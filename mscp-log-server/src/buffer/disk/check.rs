//! Reading a whole buffer to see whether it is sound, changing nothing.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::format::{Step, Walk};
use super::position::{self, Saved};
use super::{OpenError, lock_dir, recovery};

/// How many damaged places a report lists; all are counted.
const MAX_LISTED: usize = 100;

/// What is in a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Appends that are whole.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Of these, how many are not committed.
    pub backlog: u64,
    /// The committed position, if its file is there and sound.
    pub committed: Option<u64>,
    /// Whether the file of the position is damaged.
    pub position_damaged: bool,
    /// Bytes behind the last append of the newest segment: the torn tail of a
    /// crash, which the next start cuts. In a buffer that is in use it may be
    /// an append on its way.
    pub tail_bytes: u64,
    /// Bytes that are damaged, the tail not among them.
    pub damaged_bytes: u64,
    /// The first damaged places.
    pub damage: Vec<Damage>,
    /// Whether a process has the buffer open.
    pub in_use: bool,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl Report {
    /// Whether nothing that was acknowledged is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged_bytes == 0 && !self.position_damaged
    }
}

/// Read every record of the buffer in `dir`. Memory is bounded by the longest
/// append; a buffer in use can be read.
///
/// # Errors
///
/// When a newer program wrote it or the file system fails.
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    let in_use = match lock_dir(dir) {
        Ok(_released_at_once) => false,
        Err(OpenError::InUse(_)) => true,
        Err(error) => return Err(error),
    };
    let mut report = Report {
        in_use,
        ..Report::default()
    };
    match position::load(dir).map_err(OpenError::io(dir))? {
        Saved::Nothing => {}
        Saved::Committed(committed) => report.committed = Some(committed.next),
        Saved::Damaged => report.position_damaged = true,
        Saved::Newer(found) => {
            let path = dir.join("position");
            return Err(OpenError::Newer { path, found });
        }
    }
    let committed = report.committed.unwrap_or_default();
    let listed = recovery::list(dir)?;
    for (place, segment) in listed.iter().enumerate() {
        let io = || OpenError::io(&segment.path);
        report.segments += 1;
        report.bytes += segment.bytes;
        let newest = place + 1 == listed.len();
        if segment.header.is_none() && !newest {
            report.add(&segment.path, 0, super::format::SEGMENT_HEADER as u64);
        }
        let mut walk = Walk::new(File::open(&segment.path).map_err(io())?);
        loop {
            let offset = walk.offset();
            match walk.step(segment.bytes).map_err(io())? {
                Step::Frame { first, records } => {
                    let count = records.len() as u64;
                    report.appends += 1;
                    report.records += count;
                    report.backlog += (first + count).saturating_sub(first.max(committed));
                }
                Step::Damage { bytes } => report.add(&segment.path, offset, bytes),
                Step::End { rest } if newest => {
                    report.tail_bytes = rest;
                    break;
                }
                Step::End { rest: 0 } => break,
                Step::End { rest } => {
                    report.add(&segment.path, offset, rest);
                    break;
                }
            }
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, path: &Path, offset: u64, bytes: u64) {
        self.damaged_bytes += bytes;
        if self.damage.len() < MAX_LISTED {
            self.damage.push(Damage {
                path: path.to_owned(),
                offset,
                bytes,
            });
        }
    }
}
