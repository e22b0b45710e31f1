//! Backups of a running node, and what is made of them.
//!
//! A backup is a snapshot of the data folder: the buffer first, then the
//! stores. What is not in the buffer any more is durable in a store by then;
//! what is in both is told by its id when it is shipped again. So it has every
//! record that was acknowledged before the backup began, and none twice. Dead
//! letters are taken behind the buffer, from which they came; none is taken out
//! to be shipped again in between.

pub mod archive;
mod merge;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::buffer::Buffer;
use crate::buffer::dead_letters::DeadLetters;
use crate::database::DatabaseError;
use crate::folder;
use crate::identity::Identity;
use crate::snapshot::Snapshot;
use crate::store::Store;
use archive::{ArchiveError, Manifest};
pub use merge::{MergeError, Merged};

/// The folder, below the data folder, into which an archive is unpacked that is
/// put into a running node.
const UNPACKED: &str = "restore";

/// The folder of dead letters, below the data folder.
const LETTERS: &str = "dead-letters";

/// The file that says that a data folder is whole; it is written last.
const VERSION_FILE: &str = "FORMAT";

/// Makes backups of a node, and puts backups into it, one at a time.
pub struct Backups {
    data: PathBuf,
    buffer: Arc<dyn Buffer>,
    stores: BTreeMap<String, Arc<dyn Store>>,
    letters: BTreeMap<String, Arc<DeadLetters>>,
    one: Arc<Semaphore>,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").finish_non_exhaustive()
    }
}

/// Why a backup is not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is one already.
    #[error("a backup or a restore is under way; try again when it is done")]
    Busy,
    /// The database of identity.
    #[error(transparent)]
    Identity(#[from] DatabaseError),
    /// The file system.
    #[error("the data folder: {0}")]
    Io(#[from] io::Error),
}

/// A backup that is ready to be written out. Until it is dropped it keeps the
/// space of files that the node would have given back.
#[derive(Debug)]
pub struct Backup {
    snapshot: Snapshot,
    manifest: Manifest,
    _one: OwnedSemaphorePermit,
}

impl Backup {
    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of its files; the archive has fewer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.snapshot
            .entries()
            .iter()
            .map(|entry| entry.bytes)
            .sum()
    }

    /// Write the archive. Blocks on the disk.
    ///
    /// # Errors
    /// When `out` fails or a file cannot be read.
    pub fn write(&self, out: impl io::Write) -> io::Result<()> {
        archive::write(&self.snapshot, &self.manifest, out)
    }
}

impl Backups {
    /// For the node in the data folder `data`. What an earlier backup or
    /// restore left there is removed.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new(
        data: PathBuf,
        buffer: Arc<dyn Buffer>,
        stores: BTreeMap<String, Arc<dyn Store>>,
        letters: BTreeMap<String, Arc<DeadLetters>>,
    ) -> io::Result<Self> {
        crate::snapshot::remove_left(&data)?;
        remove_folder(&data.join(UNPACKED))?;
        Ok(Self {
            data,
            buffer,
            stores,
            letters,
            one: Arc::new(Semaphore::new(1)),
        })
    }

    /// Take a snapshot of the node, with the accounts and keys of `identity`.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn backup(&self, identity: &Identity) -> Result<Backup, BackupError> {
        let one = self.turn().ok_or(BackupError::Busy)?;
        let created_us = crate::clock::now_us();
        let mut snapshot = Snapshot::begin(&self.data)?;
        let mut without: Vec<String> = Vec::new();
        if !identity.snapshot(&mut snapshot).await? {
            without.push("the identity database: it is not in the data folder".to_owned());
        }
        let (buffer, stores) = (Arc::clone(&self.buffer), self.stores.clone());
        let letters = self.letters.clone();
        let (snapshot, without) = tokio::task::spawn_blocking(move || {
            let held = letters
                .iter()
                .map(|(region, letters)| (region, letters.hold()));
            let held: Vec<_> = held.collect();
            if !buffer.snapshot(&mut snapshot, "buffer")? {
                without.push(
                    "what waits in the buffer, and its dead letters: they are in Kafka".to_owned(),
                );
            }
            for (region, held) in held {
                held.snapshot(&mut snapshot, format!("{LETTERS}/{region}"))?;
            }
            for (region, store) in stores {
                if !store.snapshot(&mut snapshot, &format!("store/{region}"))? {
                    without.push(format!(
                        "the records of region {region}: its store is not in the data folder"
                    ));
                }
            }
            let version = format!("{}\n", folder::FORMAT);
            snapshot.put(VERSION_FILE.to_owned(), version.into_bytes());
            Ok::<_, io::Error>((snapshot, without))
        })
        .await
        .map_err(|error| BackupError::Io(io::Error::other(error)))??;
        Ok(Backup {
            snapshot,
            manifest: Manifest {
                format: archive::FORMAT,
                folder_format: folder::FORMAT,
                created_us,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                without,
            },
            _one: one,
        })
    }

    fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.one).try_acquire_owned().ok()
    }
}

/// The file of a folder that is being restored, or whose restore broke off.
const UNFINISHED: &str = "unfinished-restore";

/// Make a data folder of an archive. The folder must be empty, or not be there.
/// It can be opened only once this has returned `Ok`.
///
/// # Errors
/// See [`ArchiveError`]. What was written by then is left for a look, and no
/// node opens it.
pub fn unpack(archive: impl Read, folder: &Path) -> Result<Manifest, ArchiveError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        let reason = format!(
            "{} is not empty; give an empty or new folder",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason).into());
    }
    // No node takes a folder that is not empty for a new one.
    File::create(folder.join(UNFINISHED))?;
    let manifest = archive::read(archive, folder::FORMAT, |name, content| {
        // What makes it a data folder comes when all of it is there.
        let name = if name == VERSION_FILE {
            "FORMAT.new"
        } else {
            name
        };
        write_file(&folder.join(name), content)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")).into())
    })?;
    let held = File::open(folder)?;
    rustix::fs::syncfs(&held).map_err(io::Error::from)?;
    fs::remove_file(folder.join(UNFINISHED))?;
    fs::rename(folder.join("FORMAT.new"), folder.join(VERSION_FILE))?;
    held.sync_all()?;
    Ok(manifest)
}

fn write_file(path: &Path, content: &mut dyn Read) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::copy(content, &mut file)?;
    file.flush()
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
