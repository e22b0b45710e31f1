//! What the writer asks of the file system, as a trait, so that tests can let
//! any of it fail.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::path::Path;

/// Where segments are made.
pub(super) trait Files: Send + Sync {
    /// A new file; fails when there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>>;
    /// Make the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How much of the file system is in use, in percent, as `df` rounds it: up.
    fn used_percent(&self, dir: &Path) -> io::Result<u8>;
}

/// A file that grows at its end.
pub(super) trait Appender: Send {
    /// Write all of `slices` at the end. After an error any part may be there.
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// `fdatasync`: what was written is durable, with the length of the file.
    fn sync(&mut self) -> io::Result<()>;
    /// Cut the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The file system of this machine.
pub(super) struct System;

impl Files for System {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn used_percent(&self, dir: &Path) -> io::Result<u8> {
        let stat = rustix::fs::statvfs(dir)?;
        let used = u128::from(stat.f_blocks.saturating_sub(stat.f_bfree));
        let usable = used + u128::from(stat.f_bavail);
        let percent = (used * 100).checked_div(usable).map_or(0, |floor| {
            if floor * usable == used * 100 {
                floor
            } else {
                floor + 1
            }
        });
        Ok(u8::try_from(percent).unwrap_or(100))
    }
}

impl Appender for File {
    fn append(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // A vector of slices longer than IOV_MAX is cut short by the kernel's
        // rule (writev(2): EINVAL); std hands over at most that many.
        while !slices.is_empty() {
            match self.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Whether the error says that there is no room, which passes by itself.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
