//! A state of the data folder that is held while the node goes on: hard links
//! to files that are only ever appended to or replaced, copies of small ones.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

/// The folder, below the data folder, in which links are held.
const FOLDER: &str = "snapshot";

/// Files as they were at one moment. Dropped, it lets go of them.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    entries: Vec<Entry>,
}

/// One file of a snapshot.
#[derive(Debug)]
pub struct Entry {
    /// Its path below the data folder, with `/` between the segments.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Link(PathBuf),
    Copy(Vec<u8>),
}

impl Snapshot {
    /// An empty snapshot below the data folder `data`. There is one at a time;
    /// what an earlier one left is removed.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(data: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = data.join(FOLDER);
        remove_left(data)?;
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self {
            folder,
            entries: Vec::new(),
        })
    }

    /// Hold the first `bytes` of `file`, or all of it. What is appended to it
    /// later is not part of it; its name may go.
    ///
    /// # Errors
    /// Where the file is not there, or lies on another file system than the data folder.
    pub fn link(&mut self, name: String, file: &Path, bytes: Option<u64>) -> io::Result<()> {
        let link = self.next_file();
        fs::hard_link(file, &link)?;
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => fs::metadata(&link)?.len(),
        };
        self.entries.push(Entry {
            name,
            bytes,
            content: Content::Link(link),
        });
        Ok(())
    }

    /// Hold a small file as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn copy(&mut self, name: String, file: &Path) -> io::Result<()> {
        self.put(name, fs::read(file)?);
        Ok(())
    }

    /// Hold these bytes as a file.
    pub fn put(&mut self, name: String, content: Vec<u8>) {
        self.entries.push(Entry {
            name,
            bytes: content.len() as u64,
            content: Content::Copy(content),
        });
    }

    /// A path at which the caller writes a file that [`Snapshot::written`] adds.
    #[must_use]
    pub fn next_file(&self) -> PathBuf {
        self.folder.join(self.entries.len().to_string())
    }

    /// Add the file that was written at [`Snapshot::next_file`].
    ///
    /// # Errors
    /// When it is not there.
    pub fn written(&mut self, name: String) -> io::Result<()> {
        let file = self.next_file();
        self.entries.push(Entry {
            name,
            bytes: fs::metadata(&file)?.len(),
            content: Content::Link(file),
        });
        Ok(())
    }

    /// How many files it holds by now; see [`Snapshot::back_to`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Let go of all files but the first `len`.
    ///
    /// # Errors
    /// When a link cannot be removed.
    pub fn back_to(&mut self, len: usize) -> io::Result<()> {
        while self.entries.len() > len {
            if let Some(Entry {
                content: Content::Link(link),
                ..
            }) = self.entries.pop()
            {
                fs::remove_file(link)?;
            }
        }
        Ok(())
    }

    /// The files.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl Entry {
    /// Exactly [`Entry::bytes`] bytes, unless the file is shorter than that.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Content::Link(link) => Box::new(File::open(link)?.take(self.bytes)),
            Content::Copy(content) => Box::new(Cursor::new(content)),
        })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "a snapshot was not removed");
        }
    }
}

/// Remove what a snapshot left in the data folder when its process was ended.
///
/// # Errors
/// When the file system refuses.
pub fn remove_left(data: &Path) -> io::Result<()> {
    match fs::remove_dir_all(data.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
