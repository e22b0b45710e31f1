//! The partitions of the data folder: which there are, opened when first
//! needed, and the indices that have no documents.
//!
//! ```text
//! store/
//!   format.json          {"version": 3}
//!   empty-indices.json   names that were made and hold nothing
//!   templates.json       index templates that clients put
//!   log/                 what clients wrote and no commit has
//!   lock                 held while a process has the folder
//!   2026.11.23/          a partition: a tantivy index
//!   undated/
//!   deleted-17/          a partition on its way out, removed at the next start at the latest
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::indices::{Expression, Missing, Options, is_day};
use super::partition::{Partition, PartitionSnapshot, UNDATED};

/// The format that this binary writes. Partitions that format 1 made stay as
/// they are, and are read and written further. Since format 3 there is a log,
/// which an older binary would not read.
const FORMAT: u64 = 3;

/// Partitions that one store may have: a client that may write must not be
/// able to fill the disk with folders.
const MAX_PARTITIONS: usize = 10_000;

/// Indices without documents that are remembered.
const MAX_EMPTY_INDICES: usize = 10_000;

const FORMAT_FILE: &str = "format.json";
const EMPTY_FILE: &str = "empty-indices.json";
const LOCK_FILE: &str = "lock";
const DELETED_PREFIX: &str = "deleted-";

/// Why the store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A file or folder could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has the folder.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// The folder was written by a newer version.
    #[error("the data folder has format {found}, this version knows formats up to {known}")]
    Newer {
        /// The folder's format.
        found: u64,
        /// The newest that is known.
        known: u64,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Corrupt {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There are too many partitions or empty indices.
    #[error("this store has {0}, and may not have more")]
    TooMany(&'static str),
    /// A partition could not be opened or read.
    #[error("partition {name}: {error}")]
    Partition {
        /// Which one.
        name: String,
        /// Why.
        error: tantivy::TantivyError,
    },
    /// The log of what no commit has cannot be opened.
    #[error("the log of the store: {0}")]
    Log(crate::buffer::disk::OpenError),
    /// What is not committed cannot be, so that the store cannot be read whole.
    #[error("{0}")]
    Uncommitted(String),
    /// An index that is not there.
    #[error("no such index [{0}]")]
    Missing(String),
}

impl From<Missing> for CatalogError {
    fn from(Missing(name): Missing) -> Self {
        Self::Missing(name)
    }
}

/// All partitions.
pub(super) struct Catalog {
    folder: PathBuf,
    /// `None`: on the disk and not opened yet.
    partitions: RwLock<BTreeMap<Arc<str>, Option<Arc<Partition>>>>,
    empty: Mutex<BTreeSet<Box<str>>>,
    deletions: AtomicU64,
    _lock: File,
}

impl Catalog {
    /// Open the folder, or make it.
    pub(super) fn open(folder: &Path) -> Result<Self, CatalogError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| CatalogError::Io { path, error }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CatalogError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(&lock_path)(error)),
        }
        check_format(folder)?;
        let mut partitions = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(io(folder))? {
            let entry = entry.map_err(io(folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(DELETED_PREFIX) {
                fs::remove_dir_all(entry.path()).map_err(io(&entry.path()))?;
            } else if is_day(name) || name == UNDATED {
                partitions.insert(name.into(), None);
            }
        }
        let empty = read_file(&folder.join(EMPTY_FILE))?.unwrap_or_default();
        Ok(Self {
            folder: folder.to_owned(),
            partitions: RwLock::new(partitions),
            empty: Mutex::new(empty),
            deletions: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Where the partitions are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A partition that is there.
    pub(super) fn partition(&self, name: &str) -> Result<Option<Arc<Partition>>, CatalogError> {
        let partitions = self
            .partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match partitions.get(name) {
            None => return Ok(None),
            Some(Some(partition)) => return Ok(Some(Arc::clone(partition))),
            Some(None) => {}
        }
        drop(partitions);
        self.open_partition(name, false)
    }

    /// A partition, made where it is not there.
    pub(super) fn partition_or_new(&self, name: &str) -> Result<Arc<Partition>, CatalogError> {
        if let Some(partition) = self.partition(name)? {
            return Ok(partition);
        }
        let made = self.open_partition(name, true)?;
        made.ok_or_else(|| CatalogError::Missing(name.to_owned()))
    }

    fn open_partition(
        &self,
        name: &str,
        make: bool,
    ) -> Result<Option<Arc<Partition>>, CatalogError> {
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have opened or removed it between the two locks.
        match partitions.get(name) {
            Some(Some(partition)) => return Ok(Some(Arc::clone(partition))),
            Some(None) => {}
            None if !make => return Ok(None),
            None if partitions.len() >= MAX_PARTITIONS => {
                return Err(CatalogError::TooMany("too many days"));
            }
            None => {}
        }
        let partition = Partition::open(&self.folder.join(name), name).map_err(|error| {
            CatalogError::Partition {
                name: name.to_owned(),
                error,
            }
        })?;
        sync_folder(&self.folder)?;
        let partition = Arc::new(partition);
        partitions.insert(name.into(), Some(Arc::clone(&partition)));
        Ok(Some(partition))
    }

    /// Take a partition away with everything in it. Searches that run keep
    /// what they have.
    pub(super) fn remove_partition(&self, name: &str) -> Result<(), CatalogError> {
        let mut partitions = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if partitions.remove(name).is_none() {
            return Ok(());
        }
        let path = self.folder.join(name);
        let number = self.deletions.fetch_add(1, Ordering::Relaxed);
        let gone = self.folder.join(format!("{DELETED_PREFIX}{number}"));
        fs::rename(&path, &gone).map_err(|error| CatalogError::Io { path, error })?;
        sync_folder(&self.folder)?;
        drop(partitions);
        fs::remove_dir_all(&gone).map_err(|error| CatalogError::Io { path: gone, error })
    }

    /// The names of the partitions, the newest day first, [`UNDATED`] before all.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let partitions = self
            .partitions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        partitions.keys().rev().cloned().collect()
    }

    /// What the expression means: the snapshots, newest first, and the names.
    pub(super) fn select(
        &self,
        expression: &Expression,
        options: Options,
    ) -> Result<Selection, CatalogError> {
        let mut snapshots = Vec::new();
        let mut existing: BTreeSet<Box<str>> = self.empty_indices();
        for name in self.names() {
            if !expression.may_touch(&name) {
                continue;
            }
            let Some(partition) = self.partition(&name)? else {
                continue;
            };
            let snapshot = partition.snapshot();
            let indices = snapshot.indices().map_err(|error| failed(&name, error))?;
            existing.extend(indices.keys().cloned());
            snapshots.push(snapshot);
        }
        let names = expression.resolve(&existing, options)?;
        let mut selected = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots {
            let part = snapshot
                .select(&names)
                .map_err(|error| failed(&snapshot.name, error))?;
            if part.selected.as_ref().is_none_or(|names| !names.is_empty()) {
                selected.push(Arc::new(part));
            }
        }
        Ok(Selection {
            names,
            snapshots: selected,
        })
    }

    /// The indices without documents.
    pub(super) fn empty_indices(&self) -> BTreeSet<Box<str>> {
        self.empty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether an index is there, with or without documents.
    pub(super) fn has_index(&self, name: &str) -> Result<bool, CatalogError> {
        if self
            .empty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
        {
            return Ok(true);
        }
        let Some(partition) = self.partition(super::indices::partition_of(name))? else {
            return Ok(false);
        };
        let snapshot = partition.snapshot();
        let indices = snapshot
            .indices()
            .map_err(|error| failed(&snapshot.name, error))?;
        Ok(indices.contains_key(name))
    }

    /// Remember an index whether or not it has documents; `false` where it is
    /// remembered already.
    pub(super) fn keep_index(&self, name: &str) -> Result<bool, CatalogError> {
        self.change_empty(|empty| {
            if empty.len() >= MAX_EMPTY_INDICES && !empty.contains(name) {
                return Err(CatalogError::TooMany("too many empty indices"));
            }
            Ok(empty.insert(name.into()))
        })
    }

    /// Forget an index that was only remembered.
    pub(super) fn forget_index(&self, name: &str) -> Result<(), CatalogError> {
        self.change_empty(|empty| Ok(empty.remove(name))).map(drop)
    }

    fn change_empty(
        &self,
        change: impl FnOnce(&mut BTreeSet<Box<str>>) -> Result<bool, CatalogError>,
    ) -> Result<bool, CatalogError> {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = empty.clone();
        let changed = change(&mut next)?;
        if changed {
            let names: Vec<&str> = next.iter().map(AsRef::as_ref).collect();
            write_file(&self.folder, EMPTY_FILE, &serde_json::json!(names))?;
            *empty = next;
        }
        Ok(changed)
    }
}

/// What an expression means in one state of the store.
pub(super) struct Selection {
    /// The indices, with or without documents.
    pub(super) names: BTreeSet<Box<str>>,
    /// The newest first.
    pub(super) snapshots: Vec<Arc<PartitionSnapshot>>,
}

/// What is known of one index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Documents.
    pub(super) documents: u64,
    /// Its share of the bytes of its day, by the number of documents: the files
    /// of a day hold all of its indices.
    pub(super) bytes: u64,
    /// Whether no deleted document takes room in these files.
    pub(super) is_clean: bool,
}

impl Selection {
    /// What is known of each of the indices.
    ///
    /// # Errors
    /// Where the segments cannot be read.
    pub(super) fn figures(&self) -> tantivy::Result<BTreeMap<Box<str>, Figures>> {
        let nothing = Figures {
            is_clean: true,
            ..Figures::default()
        };
        let mut figures: BTreeMap<Box<str>, Figures> = self
            .names
            .iter()
            .map(|name| (name.clone(), nothing))
            .collect();
        for snapshot in &self.snapshots {
            let bytes = snapshot.searcher.space_usage()?.total().get_bytes();
            let is_clean = !snapshot
                .searcher
                .segment_readers()
                .iter()
                .any(tantivy::SegmentReader::has_deletes);
            let indices = snapshot.indices()?;
            let all: u64 = indices.values().sum();
            for (name, count) in indices {
                if let Some(of) = figures.get_mut(name) {
                    let share = u128::from(bytes) * u128::from(*count) / u128::from(all.max(1));
                    of.documents += count;
                    of.bytes += u64::try_from(share).unwrap_or(u64::MAX);
                    of.is_clean &= is_clean;
                }
            }
        }
        Ok(figures)
    }
}

fn failed(name: &str, error: tantivy::TantivyError) -> CatalogError {
    CatalogError::Partition {
        name: name.to_owned(),
        error,
    }
}

fn check_format(folder: &Path) -> Result<(), CatalogError> {
    let path = folder.join(FORMAT_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_file(folder, FORMAT_FILE, &serde_json::json!({"version": FORMAT}));
        }
        Err(error) => return Err(CatalogError::Io { path, error }),
    };
    let found = serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|format| format["version"].as_u64())
        .ok_or_else(|| CatalogError::Corrupt {
            path,
            reason: "expected {\"version\": n}".to_owned(),
        })?;
    if found > FORMAT {
        return Err(CatalogError::Newer {
            found,
            known: FORMAT,
        });
    }
    if found < FORMAT {
        // Before the first partition that an older binary could not read.
        write_file(folder, FORMAT_FILE, &serde_json::json!({"version": FORMAT}))?;
    }
    Ok(())
}

/// Read a small file; `None` where it is not there.
pub(super) fn read_file<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, CatalogError> {
    match fs::read(path) {
        Ok(text) => {
            let value = serde_json::from_slice(&text).map_err(|error| CatalogError::Corrupt {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            Ok(Some(value))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CatalogError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Write a small file whole or not at all.
pub(super) fn write_file(
    folder: &Path,
    name: &str,
    value: &serde_json::Value,
) -> Result<(), CatalogError> {
    let new = folder.join(format!("{name}.new"));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(value.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, folder.join(name))
    };
    write().map_err(|error| CatalogError::Io {
        path: new.clone(),
        error,
    })?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), CatalogError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| CatalogError::Io {
            path: folder.to_owned(),
            error,
        })
}
