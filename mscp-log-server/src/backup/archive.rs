//! The archive of a backup: a tar file compressed with zstd.
//!
//! ```text
//! BACKUP.json     first: {"format", "folder_format", "created_us", "version", "without"}
//! FORMAT          and every other file of the data folder, by its path below it
//! identity.sqlite
//! buffer/..
//! store/{region}/..
//! SHA256SUMS      last: `{hex digits}  {path}` a line, as sha256sum(1) reads it
//! ```
//!
//! An archive that does not end with its sums was cut off.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::snapshot::Snapshot;

/// The version of the archive's form. A program reads archives up to its own.
pub const FORMAT: u32 = 1;

const MANIFEST: &str = "BACKUP.json";
const SUMS: &str = "SHA256SUMS";

/// The manifest and the sums are read into memory; more than this is no archive of ours.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Files are small beside this level's speed: index files and the stored
/// sources in them are compressed already.
const LEVEL: i32 = 1;

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of who wrote it.
    pub format: u32,
    /// The format version of the data folder in it.
    pub folder_format: u32,
    /// When the snapshot was taken, microseconds since the epoch.
    pub created_us: i64,
    /// The program that wrote it.
    pub version: String,
    /// What of the node is kept outside the data folder, and so is not in it.
    #[serde(default)]
    pub without: Vec<String>,
}

/// Why an archive is not read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not one of ours.
    #[error("this is no backup of mscp-log: {0}")]
    Foreign(String),
    /// A newer program wrote it.
    #[error(
        "the backup has {what} {found}; this program knows versions up to {known}: use a newer mscp-log"
    )]
    Newer {
        /// Which version.
        what: &'static str,
        /// What it is.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It ends too early.
    #[error("the backup is cut off: it does not end with its checksums")]
    CutOff,
    /// A file is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It cannot be read, or what is in it not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Write `snapshot` as an archive.
///
/// # Errors
/// When `out` or a file of the snapshot fails.
pub fn write(snapshot: &Snapshot, manifest: &Manifest, out: impl Write) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    let text = serde_json::to_vec_pretty(manifest)?;
    append(&mut tar, MANIFEST, text.len() as u64, text.as_slice())?;
    let mut sums = String::new();
    for entry in snapshot.entries() {
        let mut summed = Summed::new(entry.open()?);
        append(&mut tar, &entry.name, entry.bytes, &mut summed)?;
        if summed.bytes != entry.bytes {
            let (name, found, expected) = (&entry.name, summed.bytes, entry.bytes);
            let reason = format!("{name} has {found} bytes in place of {expected}");
            return Err(io::Error::other(reason));
        }
        let _ = writeln!(sums, "{}  {}", summed.digits(), entry.name);
    }
    append(&mut tar, SUMS, sums.len() as u64, sums.as_bytes())?;
    tar.into_inner()?.finish()?.flush()
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, content)
}

/// Read an archive, checking all of it. `file` gets each file of the data
/// folder: its path, plain segments with `/` between them, and its content.
///
/// # Errors
/// See [`ArchiveError`]. Files were handed over by then; only after `Ok` are they good.
pub fn read(
    input: impl Read,
    folder_format: u32,
    mut file: impl FnMut(&str, &mut dyn Read) -> Result<(), ArchiveError>,
) -> Result<Manifest, ArchiveError> {
    let foreign = |error: io::Error| ArchiveError::Foreign(error.to_string());
    let mut tar = tar::Archive::new(zstd::Decoder::new(input).map_err(foreign)?);
    let mut manifest: Option<Manifest> = None;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut whole = false;
    for entry in tar.entries().map_err(foreign)? {
        let mut entry = entry.map_err(|error| match (&manifest, error.kind()) {
            (_, io::ErrorKind::UnexpectedEof) => ArchiveError::CutOff,
            (None, _) => foreign(error),
            _ => ArchiveError::Damaged(error.to_string()),
        })?;
        let name = plain_name(&entry)?;
        match (&manifest, name.as_str()) {
            (None, MANIFEST) => manifest = Some(manifest_of(&text(&mut entry)?, folder_format)?),
            (None, _) => return Err(ArchiveError::Foreign(format!("it begins with {name:?}"))),
            (Some(_), SUMS) => {
                check(&text(&mut entry)?, &found)?;
                whole = true;
                break;
            }
            (Some(_), _) => {
                let bytes = entry.size();
                let mut summed = Summed::new(&mut entry);
                file(&name, &mut summed).map_err(cut_off)?;
                if summed.bytes != bytes {
                    return Err(ArchiveError::CutOff);
                }
                if found.insert(name.clone(), summed.digits()).is_some() {
                    return Err(ArchiveError::Damaged(format!("{name} is there twice")));
                }
            }
        }
    }
    // The checksum of the compressed frame stands at its end.
    let rest = io::copy(&mut tar.into_inner(), &mut io::sink());
    match (manifest, rest) {
        (Some(manifest), Ok(_)) if whole => Ok(manifest),
        (_, Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(ArchiveError::Damaged(error.to_string()))
        }
        _ => Err(ArchiveError::CutOff),
    }
}

fn cut_off(error: ArchiveError) -> ArchiveError {
    match error {
        ArchiveError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ArchiveError::CutOff
        }
        other => other,
    }
}

fn manifest_of(text: &str, folder_format: u32) -> Result<Manifest, ArchiveError> {
    let manifest: Manifest = serde_json::from_str(text)
        .map_err(|error| ArchiveError::Foreign(format!("{MANIFEST}: {error}")))?;
    let versions = [
        ("format", manifest.format, FORMAT),
        ("data format", manifest.folder_format, folder_format),
    ];
    for (what, found, known) in versions {
        if found > known {
            return Err(ArchiveError::Newer { what, found, known });
        }
    }
    Ok(manifest)
}

/// The path of a regular file, which leads to nothing outside the folder.
fn plain_name(entry: &tar::Entry<'_, impl Read>) -> Result<String, ArchiveError> {
    let bytes = entry.path_bytes();
    let name = String::from_utf8_lossy(&bytes);
    let plain = name
        .split('/')
        .all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    if !plain || name.contains('\\') || !entry.header().entry_type().is_file() {
        let reason = format!("{name:?} is not the plain path of a file");
        return Err(ArchiveError::Foreign(reason));
    }
    Ok(name.into_owned())
}

fn text(entry: &mut impl Read) -> Result<String, ArchiveError> {
    let mut text = String::new();
    entry
        .take(MAX_TEXT_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| cut_off(ArchiveError::Io(error)))?;
    Ok(text)
}

fn check(sums: &str, found: &BTreeMap<String, String>) -> Result<(), ArchiveError> {
    let expected: BTreeMap<&str, &str> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digits, name)| (name, digits))
        .collect();
    for (name, digits) in &expected {
        match found.get(*name) {
            None => return Err(ArchiveError::Damaged(format!("{name} is missing"))),
            Some(sum) if sum != digits => {
                let reason = format!("{name} is not what was written");
                return Err(ArchiveError::Damaged(reason));
            }
            Some(_) => {}
        }
    }
    match found
        .keys()
        .find(|name| !expected.contains_key(name.as_str()))
    {
        Some(name) => Err(ArchiveError::Damaged(format!("{name} has no checksum"))),
        None => Ok(()),
    }
}

/// Counts and sums what is read.
struct Summed<R> {
    inner: R,
    sum: Sha256,
    bytes: u64,
}

impl<R> Summed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            sum: Sha256::new(),
            bytes: 0,
        }
    }

    fn digits(self) -> String {
        let sum = self.sum.finalize();
        sum.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            folder_format: 1,
            created_us: 1_516_792_419_231_221,
            version: "0.1.0".to_owned(),
            without: Vec::new(),
        }
    }

    /// An archive of three files, one of them empty.
    fn archive(manifest: &Manifest) -> (tempfile::TempDir, Vec<u8>) {
        let data = tempfile::tempdir().unwrap();
        let mut snapshot = Snapshot::begin(data.path()).unwrap();
        snapshot.put("FORMAT".to_owned(), b"1\n".to_vec());
        snapshot.put("store/local/empty".to_owned(), Vec::new());
        let file = data.path().join("segment");
        std::fs::write(&file, "durable and not durable").unwrap();
        snapshot
            .link("buffer/segment".to_owned(), &file, Some(7))
            .unwrap();
        // What comes later, and the end of the name, change nothing.
        std::fs::remove_file(&file).unwrap();
        let mut bytes = Vec::new();
        write(&snapshot, manifest, &mut bytes).unwrap();
        (data, bytes)
    }

    type Files = Vec<(String, Vec<u8>)>;

    fn files(bytes: &[u8]) -> Result<(Manifest, Files), ArchiveError> {
        let mut files = Vec::new();
        let manifest = read(bytes, 1, |name, content| {
            let mut whole = Vec::new();
            content.read_to_end(&mut whole)?;
            files.push((name.to_owned(), whole));
            Ok(())
        })?;
        Ok((manifest, files))
    }

    #[test]
    fn an_archive_gives_back_what_the_snapshot_held() {
        let (_data, bytes) = archive(&manifest());
        let (read, files) = files(&bytes).unwrap();
        assert_eq!(read, manifest());
        let expected: Files = vec![
            ("FORMAT".to_owned(), b"1\n".to_vec()),
            ("store/local/empty".to_owned(), Vec::new()),
            ("buffer/segment".to_owned(), b"durable".to_vec()),
        ];
        assert_eq!(files, expected);
    }

    #[test]
    fn an_archive_that_was_cut_or_changed_anywhere_is_refused() {
        let (_data, bytes) = archive(&manifest());
        let whole = files(&bytes).unwrap();
        for place in 0..bytes.len() {
            assert!(files(&bytes[..place]).is_err(), "cut to {place} bytes");
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            // A bit of zstd's header says nothing: RFC 8878, section 3.1.1.1.1.
            assert!(
                files(&changed).map_or(true, |read| read == whole),
                "byte {place} changed"
            );
        }
        assert!(matches!(
            files(&bytes[..bytes.len() / 2]),
            Err(ArchiveError::CutOff)
        ));
    }

    #[test]
    fn an_archive_of_a_newer_program_is_refused() {
        let newer = Manifest {
            format: FORMAT + 1,
            ..manifest()
        };
        let refused = files(&archive(&newer).1).unwrap_err();
        assert!(
            matches!(refused, ArchiveError::Newer { what: "format", .. }),
            "{refused}"
        );
        let newer = Manifest {
            folder_format: 2,
            ..manifest()
        };
        let refused = files(&archive(&newer).1).unwrap_err();
        assert!(
            matches!(
                refused,
                ArchiveError::Newer {
                    what: "data format",
                    found: 2,
                    known: 1
                }
            ),
            "{refused}"
        );
    }

    #[test]
    fn no_archive_writes_outside_its_folder() {
        for name in ["../evil", "/evil", "a/../../evil", "a//b", "./a", "a\\b"] {
            let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
            let text = serde_json::to_vec(&manifest()).unwrap();
            append(&mut tar, MANIFEST, text.len() as u64, text.as_slice()).unwrap();
            let mut header = tar::Header::new_old();
            // The library refuses such names; one who means ill does not.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_cksum();
            tar.append(&header, &[][..]).unwrap();
            let bytes = tar.into_inner().unwrap().finish().unwrap();
            assert!(
                matches!(files(&bytes), Err(ArchiveError::Foreign(_))),
                "{name}"
            );
        }
    }
}
