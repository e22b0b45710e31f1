//! One file that is followed: what was read of it, and what a look at it
//! says. No I/O here: a look is what the shell read, and the model test can
//! make up any look, and crash between any two.
//!
//! A file is known by device and inode. That the inode is still the same file
//! is told by its birth time, where the file system has one, and by the bytes
//! before the position: each look begins with up to 1,024 bytes that were read
//! before, and where these have changed the file was truncated or replaced.

use memchr::memchr;
use mscp_log_core::clean::chunk::FileKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lines::{Group, Joining, Line};

/// Bytes before the position that a look checks.
pub(super) const PRINT_BYTES: u64 = 1_024;

/// What the system calls a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// Where reading a file goes on: what must not be lost in a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// What the system calls it.
    #[serde(flatten)]
    pub key: Key,
    /// Whose lines it has.
    pub kind: FileKind,
    /// The path that it was found by first.
    pub path: String,
    /// Where that path led, where it was a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When it was made, in microseconds since the epoch, where the file
    /// system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_us: Option<i64>,
    /// What it is called in event ids: its key when it was found first.
    pub id: Key,
    /// Raised by each truncation and each reuse of the inode; it begins with
    /// the birth, so that no two files have the same.
    pub generation: u64,
    /// The byte at which the next line begins.
    pub offset: u64,
    /// A hash of the up to [`PRINT_BYTES`] bytes before it.
    pub print: u64,
    /// Its beginning, as far as it was read.
    #[serde(default)]
    pub head: Beginning,
    /// The beginning that it had before it was truncated.
    #[serde(default)]
    pub before: Beginning,
    /// Whether the rest of a line that is too long stands there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skipping: bool,
    /// How long the file was when it was looked at last.
    pub size: u64,
}

/// The beginning of a file's content: up to [`PRINT_BYTES`], and a hash of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// How many bytes.
    pub bytes: u64,
    /// Their hash.
    pub print: u64,
}

impl Beginning {
    /// Whether `content` begins in the same way.
    pub(super) fn begins(&self, content: &[u8]) -> bool {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let begin = content.get(..bytes).filter(|begin| !begin.is_empty());
        begin.is_some_and(|begin| print(begin) == self.print)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// What the shell saw of a file: bytes from [`Follow::start`] on, and then how
/// long the file was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'d> {
    pub(super) data: &'d [u8],
    pub(super) size: u64,
    /// Nothing was added for a while: what waits for more is taken as it is.
    pub(super) idle: bool,
    /// Nothing will be added: a last line without an end is taken, too.
    pub(super) last: bool,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The position is behind what was taken; there may be more to read now.
    Moved,
    /// All that can be taken now was taken.
    Nothing,
    /// The file was truncated or replaced; so many bytes had been there and
    /// were not read. Where something of it had been read, that is gone too,
    /// and it is read from its beginning.
    Truncated { lost: u64 },
}

/// A file that is followed.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    pub(super) position: FilePosition,
    /// Bytes that the next look wants behind the position.
    want: usize,
}

/// How much is read of one file before the next one's turn.
const TURN_BYTES: usize = 256 << 10;

impl Follow {
    /// A file that begins to be followed at `offset`, of which nothing is known.
    pub(super) fn new(position: FilePosition) -> Self {
        Self {
            position,
            want: TURN_BYTES,
        }
    }

    /// Where a look begins, and how much it reads.
    pub(super) fn wants(&self) -> (u64, usize) {
        let before = self.position.offset.min(PRINT_BYTES);
        let len = usize::try_from(before).unwrap_or_default() + self.want;
        (self.position.offset - before, len)
    }

    /// Take in a look; every record that is whole goes to `take`. Lines over
    /// `joining.max_bytes` are cut; how many bytes were cut goes to `cut`.
    pub(super) fn see(
        &mut self,
        look: Look<'_>,
        joining: &Joining,
        mut take: impl FnMut(Line<'_>),
        cut: &mut u64,
    ) -> Seen {
        let known = usize::try_from(self.position.offset.min(PRINT_BYTES)).unwrap_or_default();
        let same = look.data.len() >= known && print(&look.data[..known]) == self.position.print;
        if !same {
            if look.data.len() < known && look.size >= self.position.offset {
                // It changed while it was looked at.
                return Seen::Moved;
            }
            let lost = self.position.size.saturating_sub(self.position.offset);
            self.restart(look.size);
            return Seen::Truncated { lost };
        }
        let fresh = &look.data[known..];
        let shorter = look.size.max(self.position.offset);
        if fresh.is_empty() && shorter < self.position.size {
            // It was cut behind what was read of it.
            let lost = self.position.size - shorter;
            self.position.size = shorter;
            return Seen::Truncated { lost };
        }
        self.position.size = self.position.size.max(look.size);
        let full = fresh.len() >= self.want;
        let taken = if self.position.skipping {
            self.skip(fresh, cut)
        } else {
            self.take(fresh, full, look, joining, &mut take, cut)
        };
        if taken == 0 {
            if full {
                // A line longer than a turn: the next look shall hold it.
                self.want = (self.want * 4).min(joining.window());
                return Seen::Moved;
            }
            return Seen::Nothing;
        }
        let end = known + taken;
        if self.position.head.bytes == self.position.offset {
            // The look begins where the file does.
            let bytes = end.min(PRINT_BYTES as usize);
            self.position.head = Beginning {
                bytes: bytes as u64,
                print: print(&look.data[..bytes]),
            };
        }
        self.position.offset += taken as u64;
        let from = end.saturating_sub(PRINT_BYTES as usize);
        self.position.print = print(&look.data[from..end]);
        self.want = TURN_BYTES;
        Seen::Moved
    }

    /// Another file with the same name for the system, or the same one cut.
    fn restart(&mut self, size: u64) {
        self.position.generation += 1;
        if self.position.head.bytes > 0 {
            self.position.before = std::mem::take(&mut self.position.head);
        }
        self.position.offset = 0;
        self.position.print = print(&[]);
        self.position.skipping = false;
        self.position.size = size;
        self.want = TURN_BYTES;
    }

    fn skip(&mut self, fresh: &[u8], cut: &mut u64) -> usize {
        match memchr(b'\n', fresh) {
            Some(end) => {
                self.position.skipping = false;
                *cut += end as u64;
                end + 1
            }
            None => {
                *cut += fresh.len() as u64;
                fresh.len()
            }
        }
    }

    fn take(
        &mut self,
        fresh: &[u8],
        full: bool,
        look: Look<'_>,
        joining: &Joining,
        take: &mut impl FnMut(Line<'_>),
        cut: &mut u64,
    ) -> usize {
        let at_limit = full && self.want >= joining.window();
        let group = Group {
            from: self.position.offset,
            text: fresh,
            // What waits for more does not wait for ever, nor without bound.
            close: look.idle || look.last || at_limit,
            unended: look.last && !full,
        };
        let taken = joining.take(&group, take, cut);
        if taken == 0 && at_limit && memchr(b'\n', fresh).is_none() {
            // A line that never ends: what fits is taken, the rest is skipped.
            let (head, offset) = (&fresh[..joining.max_bytes()], self.position.offset);
            joining.take_cut(offset, head, take);
            *cut += (fresh.len() - head.len()) as u64;
            self.position.skipping = true;
            return fresh.len();
        }
        taken
    }
}

/// The first 8 bytes of SHA-256: equal only for equal bytes, as far as a log
/// file's content goes, and the same in every version of this program.
pub(super) fn print(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(8)
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_cut_off_behind_what_was_read_is_told_and_what_comes_then_is_read() {
        let joining = Joining {
            container: false,
            start: None,
            max_bytes: 100,
        };
        for read in ["", "read\n"] {
            let position = serde_json::json!({
                "device": 1, "inode": 2, "kind": "file", "path": "/a.log", "generation": 7,
                "id": {"device": 1, "inode": 2}, "offset": read.len(), "size": 50,
                "print": print(read.as_bytes()),
            });
            let mut follow = Follow::new(serde_json::from_value(position).unwrap());
            let mut see = |content: &str| {
                let look = Look {
                    data: content.as_bytes(),
                    size: content.len() as u64,
                    idle: false,
                    last: false,
                };
                let mut lines = 0;
                let seen = follow.see(look, &joining, |_| lines += 1, &mut 0);
                (seen, lines)
            };
            let lost = 50 - read.len() as u64;
            assert_eq!(see(read), (Seen::Truncated { lost }, 0));
            assert_eq!(see(read), (Seen::Nothing, 0));
            assert_eq!(see(&format!("{read}next\n")), (Seen::Moved, 1));
        }
    }
}
