//! A file system that fails, blocks and crashes when told.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use super::super::files::{Appender, Files};

#[derive(Default)]
pub(super) struct Faults {
    /// After this many more bytes the disk is full.
    pub room: Option<u64>,
    pub sync_fails: bool,
    pub used_percent: u8,
    /// Syncs wait while set.
    pub hold: bool,
    /// Every call fails: the machine is off.
    pub off: bool,
    pub syncs: u32,
    /// For each file: how much of it is durable, and whether its name is.
    files: BTreeMap<PathBuf, (u64, bool)>,
}

#[derive(Clone, Default)]
pub(super) struct Faulty {
    faults: Arc<(Mutex<Faults>, Condvar)>,
}

impl Faulty {
    pub(super) fn set<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let changed = change(&mut self.faults.0.lock().unwrap());
        self.faults.1.notify_all();
        changed
    }

    fn on(&self) -> io::Result<()> {
        match self.set(|faults| faults.off) {
            true => Err(io::Error::other("off")),
            false => Ok(()),
        }
    }

    /// What the disk holds after the power went: of every file what was
    /// synced, and of the rest as much as `keep` (0 to 255 of 255) says, with
    /// one byte of it wrong when `garble` says so.
    pub(super) fn power_cut(&self, keep: u8, garble: Option<u8>) {
        let files = self.set(|faults| std::mem::take(&mut faults.files));
        for (path, (durable, named)) in files {
            if !path.exists() {
                continue;
            }
            if !named && keep < 128 {
                fs::remove_file(&path).unwrap();
                continue;
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap();
            let len = file.metadata().unwrap().len();
            let loose = len.saturating_sub(durable) * u64::from(keep) / 255;
            file.set_len(durable + loose).unwrap();
            if let Some(place) = garble
                && loose > 0
            {
                let at = durable + (loose - 1) * u64::from(place) / 255;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
            }
        }
        self.set(|faults| *faults = Faults::default());
    }
}

impl Files for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        self.on()?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        self.set(|faults| faults.files.insert(path.to_owned(), (0, false)));
        Ok(Box::new(FaultyFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.on()?;
        self.set(|faults| {
            for (path, (_, named)) in &mut faults.files {
                *named |= path.parent() == Some(dir);
            }
        });
        Ok(())
    }

    fn used_percent(&self, _dir: &Path) -> io::Result<u8> {
        self.on()?;
        Ok(self.set(|faults| faults.used_percent))
    }
}

struct FaultyFile {
    file: File,
    path: PathBuf,
    disk: Faulty,
}

impl Appender for FaultyFile {
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.disk.on()?;
        for slice in slices.iter() {
            let room = self.disk.set(|faults| faults.room).unwrap_or(u64::MAX);
            let take = slice.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            self.file.write_all(&slice[..take])?;
            self.disk.set(|faults| {
                faults.room = faults.room.map(|room| room - take as u64);
            });
            if take < slice.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut faults = self.disk.faults.0.lock().unwrap();
        while faults.hold {
            faults = self.disk.faults.1.wait(faults).unwrap();
        }
        if faults.off || faults.sync_fails {
            return Err(io::Error::other("sync failed"));
        }
        faults.syncs += 1;
        let len = self.file.metadata()?.len();
        faults.files.entry(self.path.clone()).or_default().0 = len;
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.on()?;
        self.file.set_len(len)
    }
}
