//! The file that says how far the consumer has committed.
//!
//! 36 bytes: magic (8), format version (4), epoch (8), next number (8),
//! reserved (4), CRC-32 of what is before (4), little-endian. It is replaced
//! by a rename, so it is there whole or as it was.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Buf as _;

use super::format::VERSION;

const NAME: &str = "position";
const MAGIC: [u8; 8] = *b"MSCPLOGP";
const LEN: usize = 36;

/// What was committed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Committed {
    pub epoch: u64,
    /// Everything below is in the store.
    pub next: u64,
}

/// What the file holds.
pub(super) enum Saved {
    /// There is no file: nothing was ever committed.
    Nothing,
    Committed(Committed),
    /// The file is damaged. Reading begins at the oldest record; the store
    /// knows those it has.
    Damaged,
    /// A newer program wrote it.
    Newer(u32),
}

/// Where the file is.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

pub(super) fn load(dir: &Path) -> io::Result<Saved> {
    let bytes = match fs::read(file(dir)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::Nothing),
        Err(error) => return Err(error),
    };
    if bytes.len() != LEN
        || bytes[..8] != MAGIC
        || crc32fast::hash(&bytes[..LEN - 4]).to_le_bytes() != bytes[LEN - 4..]
    {
        return Ok(Saved::Damaged);
    }
    let mut rest = &bytes[8..];
    let version = rest.get_u32_le();
    if version > VERSION {
        return Ok(Saved::Newer(version));
    }
    Ok(Saved::Committed(Committed {
        epoch: rest.get_u64_le(),
        next: rest.get_u64_le(),
    }))
}

/// Write the position; durable when this returns. After an error either
/// position may be the durable one, and both are true.
pub(super) fn save(dir: &Path, committed: Committed) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&committed.epoch.to_le_bytes());
    bytes.extend_from_slice(&committed.next.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());

    let path = file(dir);
    let new = dir.join("position.new");
    let mut written = File::create(&new)?;
    written.write_all(&bytes)?;
    written.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}
