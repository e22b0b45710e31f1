//! The data folder: held by one process at a time, and of a format version
//! that this program can open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The version of everything below a data folder. Version N + 1 opens N; a
/// program refuses a folder that is newer than itself.
pub const FORMAT: u32 = 1;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process holds it.
    #[error(
        "the data folder {0} is in use by another mscp-log process; stop it, or give --data another folder"
    )]
    InUse(PathBuf),
    /// A newer program wrote it.
    #[error(
        "the data folder {path} has format {found}; this program knows formats up to {FORMAT}: use a newer mscp-log"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The version file holds something else.
    #[error("{path}: expected a format version, found {found:?}")]
    NoVersion {
        /// The file.
        path: PathBuf,
        /// Its beginning.
        found: String,
    },
    /// The folder is not empty and was not made by mscp-log.
    #[error(
        "the folder {0} is not empty and holds no mscp-log data; give --data an empty or new folder"
    )]
    Foreign(PathBuf),
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A data folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Make the folder where it is missing (mode 0700), take its lock, and
    /// look at its version.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |error| FolderError::Io { path, error }
        };
        make_private(path).map_err(io_error(path))?;
        let path = fs::canonicalize(path).map_err(io_error(path))?;
        let version_file = path.join("FORMAT");
        let lock_file = path.join("LOCK");
        let fresh = !version_file.exists();
        if fresh && !lock_file.exists() {
            let mut entries = fs::read_dir(&path).map_err(io_error(&path))?;
            if entries.next().is_some() {
                return Err(FolderError::Foreign(path));
            }
        }
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_file)
            .map_err(io_error(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path)),
            Err(TryLockError::Error(error)) => {
                return Err(FolderError::Io {
                    path: lock_file,
                    error,
                });
            }
        }
        if fresh {
            write_whole(&path, "FORMAT", &FORMAT.to_string()).map_err(io_error(&version_file))?;
        } else {
            check_version(&path, &version_file)?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// What tells this folder, and so the instance that has it, from all
    /// others: 32 hexadecimal digits, made when they are first asked for.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn instance(&self) -> Result<String, FolderError> {
        let file = self.path.join("INSTANCE");
        let io_error = |error| FolderError::Io {
            path: file.clone(),
            error,
        };
        match fs::read_to_string(&file) {
            Ok(text) if text.trim().len() == 32 => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(error)),
        }
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        write_whole(&self.path, "INSTANCE", &fresh).map_err(io_error)?;
        Ok(fresh)
    }

    /// Where it is, with links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Written aside, synced and renamed, so that a crash leaves no half of it.
fn write_whole(folder: &Path, name: &str, line: &str) -> io::Result<()> {
    let aside = folder.join(format!("{name}.new"));
    let mut file = File::create(&aside)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&aside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn check_version(folder: &Path, version_file: &Path) -> Result<(), FolderError> {
    let text = fs::read_to_string(version_file).map_err(|error| FolderError::Io {
        path: version_file.to_owned(),
        error,
    })?;
    let found = text
        .trim()
        .parse::<u32>()
        .map_err(|_| FolderError::NoVersion {
            path: version_file.to_owned(),
            found: text.chars().take(32).collect(),
        })?;
    if found > FORMAT {
        return Err(FolderError::Newer {
            path: folder.to_owned(),
            found,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let held = Folder::open(&path).unwrap();
        let refused = Folder::open(&path).unwrap_err();
        assert!(matches!(refused, FolderError::InUse(_)), "{refused}");
        drop(held);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_keeps_its_name_and_shares_it_with_none() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("one")).unwrap();
        let name = folder.instance().unwrap();
        assert_eq!(name, folder.instance().unwrap());
        let other = Folder::open(&outer.path().join("two")).unwrap();
        assert_ne!(name, other.instance().unwrap());
    }

    #[test]
    fn a_folder_of_a_newer_program_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        drop(Folder::open(&path).unwrap());
        fs::write(path.join("FORMAT"), "2\n").unwrap();
        let refused = Folder::open(&path).unwrap_err();
        assert!(
            matches!(refused, FolderError::Newer { found: 2, .. }),
            "{refused}"
        );
        fs::write(path.join("FORMAT"), "two\n").unwrap();
        let refused = Folder::open(&path).unwrap_err();
        assert!(
            matches!(refused, FolderError::NoVersion { .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("thesis.tex"), "x").unwrap();
        let refused = Folder::open(outer.path()).unwrap_err();
        assert!(matches!(refused, FolderError::Foreign(_)), "{refused}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }
}
