//! The file system for the reader: folders that are looked through, files
//! that are read, and word of what changes.
//!
//! Word comes from inotify(7). It is asked for between turns and not waited
//! for, so that a file that is written a thousand times between two turns
//! costs one event or few, not a thousand wakings of a thread (which is what
//! the `notify` crate's would be). What it misses a scan finds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use mscp_log_core::clean::chunk::FileKind;
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::follow::Key;
use super::reader::{Disk, Found, Scan, Stat};

/// What is compressed is left alone, whatever it is called before the dot.
const COMPRESSED: [&str; 8] = ["gz", "bz2", "xz", "zst", "lz4", "zip", "tgz", "Z"];

/// Files by a pattern: an absolute path, some of whose segments are globs.
#[derive(Clone, Debug)]
pub struct Pattern {
    segments: Vec<Segment>,
    kind: FileKind,
}

#[derive(Clone, Debug)]
enum Segment {
    Name(String),
    Glob(glob::Pattern),
}

impl Pattern {
    /// The files whose paths match `text`, which are of this kind.
    ///
    /// # Errors
    /// Says what is wrong with `text`.
    pub fn new(text: &str, kind: FileKind) -> Result<Self, String> {
        let Some(below_root) = text.strip_prefix('/') else {
            return Err(format!("expected an absolute path, found {text:?}"));
        };
        let segment = |segment: &str| match segment {
            "" | "." | ".." | "**" => Err(format!(
                "expected a path of names and of patterns with *, ? and [...], found {segment:?} in {text:?}"
            )),
            _ if segment.contains(['*', '?', '[']) => glob::Pattern::new(segment)
                .map(Segment::Glob)
                .map_err(|error| format!("{text:?}: {error}")),
            _ => Ok(Segment::Name(segment.to_owned())),
        };
        let segments = below_root
            .split('/')
            .map(segment)
            .collect::<Result<_, _>>()?;
        Ok(Self { segments, kind })
    }

    /// Every path that matches now. Folders that were looked through go to
    /// `folders`; false where one could not be.
    fn expand(&self, folders: &mut BTreeSet<PathBuf>, paths: &mut Vec<PathBuf>) -> bool {
        let mut complete = true;
        let mut level = vec![PathBuf::from("/")];
        for (place, segment) in self.segments.iter().enumerate() {
            let last = place + 1 == self.segments.len();
            let mut next = Vec::new();
            for folder in level {
                match segment {
                    Segment::Name(name) => {
                        if last {
                            folders.insert(folder.clone());
                        }
                        next.push(folder.join(name));
                    }
                    Segment::Glob(pattern) => {
                        let names = names(&folder, &mut complete);
                        let matching = names.into_iter().filter(|name| matches(pattern, name));
                        next.extend(matching.map(|name| folder.join(name)));
                        folders.insert(folder);
                    }
                }
            }
            level = next;
        }
        paths.extend(level);
        complete
    }
}

fn matches(pattern: &glob::Pattern, name: &str) -> bool {
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        ..glob::MatchOptions::default()
    };
    pattern.matches_with(name, options)
}

/// The names in a folder that are text; nothing where it is not there.
fn names(folder: &Path, complete: &mut bool) -> Vec<String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            if !absent.contains(&error.kind()) {
                *complete = false;
                tracing::warn!(folder = %folder.display(), %error, "a folder of logs cannot be read");
            }
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => names.extend(entry.file_name().into_string().ok()),
            Err(_) => *complete = false,
        }
    }
    // Of several names of one file, always the same one is taken.
    names.sort_unstable();
    names
}

/// The name that a file had before rotation added `.1`, `-20261123` or
/// `.20261123-031800` to it, if `is_name` knows it.
fn before_rotation(name: &str, is_name: impl Fn(&str) -> bool) -> Option<&str> {
    let added = |byte: u8| byte.is_ascii_digit() || b".-_:TZ".contains(&byte);
    let bytes = name.as_bytes();
    let mut at = bytes.len();
    while at > 1 && added(bytes[at - 1]) {
        at -= 1;
        let separates = matches!(bytes[at], b'.' | b'-' | b'_');
        if separates && at + 1 < bytes.len() && is_name(&name[..at]) {
            return Some(&name[..at]);
        }
    }
    None
}

/// A file under the name that rotation gave it.
struct Rotated {
    name: String,
    /// The name that it had.
    before: String,
    stat: Stat,
}

/// The names of files before rotation: what they are found by, and of which kind they are.
type Known = HashMap<String, (String, FileKind)>;

fn rotated(folder: &Path, known: &Known, complete: &mut bool) -> Vec<Rotated> {
    let mut found = Vec::new();
    for name in names(folder, complete) {
        let Some(before) = before_rotation(&name, |name| known.contains_key(name)) else {
            continue;
        };
        let metadata = fs::symlink_metadata(folder.join(&name));
        if let Some(metadata) = metadata.ok().filter(Metadata::is_file) {
            found.push(Rotated {
                before: before.to_owned(),
                stat: stat(&metadata),
                name,
            });
        }
    }
    found
}

/// A folder that did not change for so long was not changed while it was read either, if it has
/// the same time afterwards.
const STILL: Duration = Duration::from_secs(1);
/// How often a folder is read that changes all the while.
const ROUNDS: u32 = 8;

/// Rotated files as they were at one moment: one that is renamed while a folder is read may be
/// seen under neither name. False where that moment did not come.
fn at_one_moment(folder: &Path, known: &Known, complete: &mut bool) -> (Vec<Rotated>, bool) {
    let modified = || {
        fs::metadata(folder)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let before = modified();
    let mut seen = rotated(folder, known, complete);
    let still = before.is_some_and(|time| time.elapsed().is_ok_and(|age| age > STILL));
    if still && modified() == before {
        return (seen, true);
    }
    let of = |rotated: &[Rotated]| -> Vec<(String, Key)> {
        let files = rotated.iter();
        files
            .map(|file| (file.name.clone(), file.stat.key))
            .collect()
    };
    for _ in 0..ROUNDS {
        let again = rotated(folder, known, complete);
        // Each file was under its name twice: between both they were all there.
        if of(&again) == of(&seen) {
            return (again, true);
        }
        seen = again;
    }
    (seen, false)
}

/// What changed, by inotify.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Paths of files that were written.
    pub(super) written: HashSet<String>,
    /// Whether files came, went, or were renamed.
    pub(super) moved: bool,
}

pub(super) struct System {
    patterns: Vec<Pattern>,
    watcher: Option<Watcher>,
}

struct Watcher {
    events: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    watched: HashMap<PathBuf, i32>,
    /// Whether it was said that not everything can be watched.
    told: bool,
}

impl System {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watcher = watcher.map(|events| Watcher {
            events,
            folders: HashMap::new(),
            watched: HashMap::new(),
            told: false,
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no word of changed files; folders are looked through instead");
        }
        Self {
            patterns,
            watcher: watcher.ok(),
        }
    }

    /// What changed since this was asked last.
    pub(super) fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let Some(watcher) = &mut self.watcher else {
            return changes;
        };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(&watcher.events, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return changes,
            };
            let what = event.events();
            if what.contains(ReadFlags::IGNORED) {
                // The folder is gone, or its file system.
                if let Some(folder) = watcher.folders.remove(&event.wd()) {
                    watcher.watched.remove(&folder);
                }
                changes.moved = true;
                continue;
            }
            if what != ReadFlags::MODIFY {
                changes.moved = true;
                continue;
            }
            let name = event.file_name().and_then(|name| name.to_str().ok());
            if let (Some(folder), Some(name)) = (watcher.folders.get(&event.wd()), name)
                && let Some(path) = folder.join(name).to_str()
                && !changes.written.contains(path)
            {
                changes.written.insert(path.to_owned());
            }
        }
    }

    /// Whether changes of every folder come by themselves.
    pub(super) fn watches(&self) -> bool {
        self.watcher.as_ref().is_some_and(|watcher| !watcher.told)
    }
}

impl Watcher {
    fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for folder in folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            match inotify::add_watch(&self.events, folder, wanted) {
                Ok(watch) => {
                    self.folders.insert(watch, folder.clone());
                    self.watched.insert(folder.clone(), watch);
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    if !self.told {
                        let folder = folder.display();
                        tracing::warn!(%folder, %error, "not every folder can be watched (fs.inotify.max_user_watches); these are looked through more often");
                    }
                    self.told = true;
                    return;
                }
            }
        }
        let gone: Vec<PathBuf> = self
            .watched
            .keys()
            .filter(|folder| !folders.contains(*folder))
            .cloned()
            .collect();
        for folder in gone {
            if let Some(watch) = self.watched.remove(&folder) {
                self.folders.remove(&watch);
                // It may be gone by itself.
                let _ = inotify::remove_watch(&self.events, watch);
            }
        }
    }
}

fn stat(metadata: &Metadata) -> Stat {
    let birth = metadata.created().ok();
    let birth = birth.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Stat {
        key: Key {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        size: metadata.size(),
        modified_us: metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1_000,
        linked: metadata.nlink() > 0,
        birth_us: birth.and_then(|time| i64::try_from(time.as_micros()).ok()),
    }
}

impl Disk for System {
    type Handle = File;

    fn scan(&mut self, places: &[(&str, &str, FileKind)]) -> Scan {
        let mut scan = Scan::default();
        let mut folders = BTreeSet::new();
        // The names in each folder whose rotated forms are looked for: what
        // they are found by, where that leads, and of which kind they are.
        let mut bases: HashMap<PathBuf, Known> = HashMap::new();
        let mut base = |at: &str, path: &str, kind: FileKind| {
            let at = Path::new(at);
            if let (Some(folder), Some(name)) = (at.parent(), at.file_name()) {
                let name = name.to_string_lossy().into_owned();
                let names = bases.entry(folder.to_owned()).or_default();
                names.entry(name).or_insert_with(|| (path.to_owned(), kind));
            }
        };
        let mut seen = HashSet::new();
        for pattern in &self.patterns {
            let mut paths = Vec::new();
            scan.incomplete |= !pattern.expand(&mut folders, &mut paths);
            for path in paths {
                let compressed = path
                    .extension()
                    .is_some_and(|end| COMPRESSED.iter().any(|known| end == *known));
                if compressed {
                    continue;
                }
                let Some(found) = find(&path, pattern.kind, &mut scan.incomplete) else {
                    continue;
                };
                base(
                    found.target.as_ref().unwrap_or(&found.path),
                    &found.path,
                    found.kind,
                );
                if seen.insert(found.stat.key) {
                    scan.found.push(found);
                }
            }
        }
        for (path, place, kind) in places {
            base(place, path, *kind);
        }
        for (folder, known) in &bases {
            let mut complete = true;
            let (rotated, settled) = at_one_moment(folder, known, &mut complete);
            scan.incomplete |= !complete;
            scan.unsettled |= !settled;
            for Rotated { name, before, stat } in rotated {
                let path = folder.join(&name);
                let (Some((original, kind)), Some(at)) = (known.get(&before), path.to_str()) else {
                    continue;
                };
                if seen.insert(stat.key) {
                    let place = folder.join(before).to_str().map(str::to_owned);
                    scan.found.push(Found {
                        target: place.filter(|place| place != original),
                        path: original.clone(),
                        at: at.to_owned(),
                        kind: *kind,
                        rotated: true,
                        stat,
                    });
                }
            }
        }
        folders.extend(bases.into_keys());
        if let Some(watcher) = &mut self.watcher {
            watcher.watch(&folders);
        }
        scan
    }

    fn open(&mut self, path: &str) -> io::Result<File> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "no regular file"))
        }
    }

    fn stat(&mut self, handle: &File) -> io::Result<Stat> {
        Ok(stat(&handle.metadata()?))
    }

    fn read(&mut self, handle: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match handle.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A path that a pattern matches, if a regular file is there.
fn find(path: &Path, kind: FileKind, incomplete: &mut bool) -> Option<Found> {
    let shown = path.to_str()?.to_owned();
    let link = fs::symlink_metadata(path).ok()?.is_symlink();
    let at = if link {
        fs::canonicalize(path).ok()?
    } else {
        path.to_owned()
    };
    let metadata = match fs::metadata(&at) {
        Ok(metadata) => metadata,
        Err(error) => {
            *incomplete |= error.kind() != io::ErrorKind::NotFound;
            return None;
        }
    };
    let at = at.to_str()?.to_owned();
    metadata.is_file().then(|| Found {
        target: link.then(|| at.clone()),
        path: shown,
        at,
        kind,
        rotated: false,
        stat: stat(&metadata),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_that_rotation_gives_are_known() {
        let is_name = |name: &str| name == "app.log" || name == "0.log";
        for rotated in [
            "app.log.1",
            "app.log-20261123",
            "app.log.2026-11-23",
            "app.log.1.2",
        ] {
            assert_eq!(
                before_rotation(rotated, is_name),
                Some("app.log"),
                "{rotated}"
            );
        }
        assert_eq!(
            before_rotation("0.log.20261123-031800", is_name),
            Some("0.log")
        );
        for other in [
            "app.log",
            "app.log.",
            "app.log.1.gz",
            "app.log.bak",
            "other.log.1",
            "",
            "1",
        ] {
            assert_eq!(before_rotation(other, is_name), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_is_an_absolute_path_of_names_and_globs() {
        for wrong in ["", "logs/*.log", "/a//b", "/a/../b", "/a/**/b", "/a/[b"] {
            assert!(Pattern::new(wrong, FileKind::File).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for path in [
            "a/x.log",
            "a/.x.log",
            "a/x.log.gz",
            "b/y.log",
            "b/y.txt",
            "c",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x\n").unwrap();
        }
        std::os::unix::fs::symlink(root.join("b/y.log"), root.join("a/link.log")).unwrap();
        let text = format!("{}/*/*.log*", root.display());
        let mut system = System::new(vec![Pattern::new(&text, FileKind::File).unwrap()]);
        let mut found: Vec<String> = system
            .scan(&[])
            .found
            .into_iter()
            .map(|found| {
                found
                    .path
                    .strip_prefix(root.to_str().unwrap())
                    .unwrap()
                    .to_owned()
            })
            .collect();
        found.sort();
        // The link and the file are one file.
        assert_eq!(found, ["/a/link.log", "/a/x.log"]);
    }

    #[test]
    fn word_of_what_is_written_and_of_what_is_moved_comes_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = root.join("x.log");
        fs::write(&path, "x\n").unwrap();
        let text = format!("{}/*.log", root.display());
        let mut system = System::new(vec![Pattern::new(&text, FileKind::File).unwrap()]);
        system.scan(&[]);
        assert!(system.watches());
        fs::write(&path, "y\n").unwrap();
        let changes = system.changes();
        assert!(changes.written.contains(path.to_str().unwrap()) && !changes.moved);
        fs::rename(&path, root.join("x.log.1")).unwrap();
        assert!(system.changes().moved);
        assert!(!system.changes().moved);
    }
}
