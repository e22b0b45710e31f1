//! All files that are followed: which they are, whose turn it is, what may be
//! forgotten. It asks a [`Disk`] for what it needs, so that a model of a file
//! system can answer, change between any two questions, and crash.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;

use encoding_rs::Encoding;
use mscp_log_core::clean::chunk::{self, FileKind, Head};

use super::follow::{Beginning, FilePosition, Follow, Key, Look, PRINT_BYTES, Seen, print};
use super::lines::{Joining, TimeFormat};
use super::records::Records;
use crate::collect::keep::{Item, Place};

/// What a file system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) key: Key,
    pub(super) size: u64,
    /// In microseconds since the epoch.
    pub(super) modified_us: i64,
    /// Whether it has a name.
    pub(super) linked: bool,
    /// Where the file system keeps it.
    pub(super) birth_us: Option<i64>,
}

/// A file that a scan found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The path that the patterns match; for a rotated file, that of the file
    /// that it was.
    pub(super) path: String,
    /// Where the path leads, where it is a link.
    pub(super) target: Option<String>,
    /// Where the file is: there, or, rotated, beside it.
    pub(super) at: String,
    pub(super) kind: FileKind,
    /// Whether it lies beside a file of the patterns, under the name that
    /// rotation gives.
    pub(super) rotated: bool,
    pub(super) stat: Stat,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) found: Vec<Found>,
    /// Whether some folder could not be read: then what is missing is not gone.
    pub(super) incomplete: bool,
    /// Whether files were renamed all the while, so that some may be missing.
    pub(super) unsettled: bool,
}

/// What the reader asks of a file system.
pub(super) trait Disk {
    type Handle;

    /// Every file that the patterns match; rotated files beside these and
    /// beside `places`.
    fn scan(&mut self, places: &[(&str, &str, FileKind)]) -> Scan;

    fn open(&mut self, path: &str) -> io::Result<Self::Handle>;

    fn stat(&mut self, handle: &Self::Handle) -> io::Result<Stat>;

    /// Read at `offset` until `buffer` is full or the file ends.
    fn read(&mut self, handle: &Self::Handle, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// How files of one kind are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How lines become records.
    pub joining: Joining,
    /// The encoding of their text.
    pub encoding: &'static Encoding,
    /// The time at the beginning of each line.
    pub time: Option<TimeFormat>,
}

/// Limits of reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Files that are open at once.
    pub(super) open: usize,
    /// Files that are followed.
    pub(super) files: usize,
    /// How long a record waits for lines that belong to it, in microseconds;
    /// also how long a deleted file must be quiet before it is closed.
    pub(super) quiet_us: i64,
}

/// What was counted since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Files that were truncated, or replaced, and bytes that had been seen in
    /// them and not read.
    pub(super) truncated: (u64, u64),
    /// Files that were deleted while they were not open, and bytes that had
    /// been seen in them and not read.
    pub(super) deleted: (u64, u64),
    /// Records over the limit, and bytes over it.
    pub(super) too_long: (u64, u64),
    /// Files that are not followed, because too many are.
    pub(super) files_refused: u64,
}

/// A file that is followed, and what is open of it.
struct Tracked<H> {
    follow: Follow,
    /// Where it was found last.
    at: String,
    handle: Option<H>,
    /// When it was read last, counted in looks: what is closed first.
    used: u64,
    /// Whether it waits for its turn.
    queued: bool,
    /// When something was new about it, in microseconds since the epoch.
    changed_us: i64,
    /// Since when it has what is not read, in microseconds since the epoch.
    behind_us: Option<i64>,
    /// What a scan said last.
    modified_us: i64,
    /// How far the file was read, whole lines or not.
    read_to: u64,
    /// Whether what waited for more lines was taken since.
    flushed: bool,
    /// Scans in a row that did not find it.
    missing: u32,
    /// Whether it has no name any more and was read to its end. The next scan forgets
    /// it, after it has seen what may be a copy of it.
    ended: bool,
}

/// How many scans in a row must miss a file before it is gone: a folder that
/// is read while a file in it is renamed may show it under neither name.
const MISSING: u32 = 2;

/// How often the folders are looked through while files are renamed.
const PASSES: u32 = 8;

/// What came of looking through the folders once.
#[derive(Default)]
struct Looked {
    /// Whether nothing was renamed meanwhile that matters.
    settled: bool,
    incomplete: bool,
    /// Whether a file was passed over that was made since the last scan that was kept.
    untold: bool,
}

pub(super) struct Reader<D: Disk> {
    disk: D,
    files: BTreeMap<Key, Tracked<D::Handle>>,
    /// Which file was at a place when it was scanned last.
    at: HashMap<String, (Key, Option<i64>)>,
    queue: VecDeque<Key>,
    container: Reading,
    file: Reading,
    limits: Limits,
    /// How a chunk begins; the rest of it depends on the file.
    heads: Box<dyn Heads>,
    open: usize,
    looks: u64,
    /// When the folders were scanned last, in microseconds since the epoch.
    scanned_us: i64,
    buffer: Vec<u8>,
    counts: [Counts; 2],
    /// How files began that were forgotten since the last scan: copies of them
    /// may be there.
    forgotten: Vec<(String, [Beginning; 2])>,
    /// Whether files were begun since the last scan.
    begun: bool,
    /// The time of the last scan that was handed over to be kept.
    told_us: i64,
    /// Rotated files that the last scan found and that were not read.
    passed_over: HashSet<(Key, Option<i64>)>,
    /// Every file by where it was found last.
    places: HashMap<String, Key>,
}

/// The file that was at a place, and how its content began.
struct Stood {
    file: (Key, Option<i64>),
    begins: [Beginning; 2],
}

/// How far the reader is behind what it has seen of files of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// Files that are followed.
    pub(super) files: usize,
    /// Bytes that were seen and not read.
    pub(super) bytes: u64,
    /// How long the oldest of these wait, in microseconds.
    pub(super) us: i64,
}

/// What is said of a machine, and of the pod that a file is of.
pub(super) trait Heads: Send {
    fn head<'h>(&'h self, read_us: i64, file: chunk::File<'h>) -> Head<'h>;
}

impl<D: Disk> Reader<D> {
    /// Go on at `positions`, which are those of every file that was there at
    /// `scanned_us` (microseconds since the epoch; 0: at no time).
    pub(super) fn new(
        disk: D,
        readings: (Reading, Reading),
        limits: Limits,
        heads: Box<dyn Heads>,
        positions: Vec<FilePosition>,
        scanned_us: i64,
    ) -> Self {
        let mut at: HashMap<String, (u64, (Key, Option<i64>))> = HashMap::new();
        let mut files = BTreeMap::new();
        for position in positions {
            let place = position.target.as_ref().unwrap_or(&position.path);
            // Of several that were there, the newest.
            let file = (position.key, position.birth_us);
            let newest = at.entry(place.clone()).or_insert((0, file));
            if position.generation >= newest.0 {
                *newest = (position.generation, file);
            }
            let tracked = Tracked {
                at: place.clone(),
                follow: Follow::new(position),
                handle: None,
                used: 0,
                queued: false,
                changed_us: scanned_us,
                behind_us: None,
                modified_us: 0,
                read_to: 0,
                flushed: false,
                missing: 0,
                ended: false,
            };
            files.insert(tracked.follow.position.key, tracked);
        }
        let (container, file) = readings;
        Self {
            disk,
            files,
            at: at
                .into_iter()
                .map(|(place, (_, file))| (place, file))
                .collect(),
            queue: VecDeque::new(),
            container,
            file,
            limits,
            heads,
            open: 0,
            looks: 0,
            scanned_us,
            buffer: Vec::new(),
            counts: [Counts::default(); 2],
            forgotten: Vec::new(),
            begun: false,
            told_us: scanned_us,
            passed_over: HashSet::new(),
            places: HashMap::new(),
        }
    }

    /// What was counted since this was asked last.
    pub(super) fn counts(&mut self, kind: FileKind) -> Counts {
        std::mem::take(&mut self.counts[of(kind)])
    }

    pub(super) fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// How far it is behind, at `now_us`.
    pub(super) fn behind(&self, kind: FileKind, now_us: i64) -> Behind {
        let mut behind = Behind::default();
        for tracked in self.files.values() {
            let position = &tracked.follow.position;
            if position.kind != kind {
                continue;
            }
            behind.files += 1;
            if position.size > position.offset {
                behind.bytes += position.size - position.offset;
                let since = tracked.behind_us.unwrap_or(tracked.changed_us);
                behind.us = behind.us.max(now_us - since);
            }
        }
        behind
    }

    /// Look through the folders: what is new, what moved, what is gone. Files
    /// that were never seen begin at their end where `at_end`. `now_us` is by the
    /// clock that times of files are of, which is coarser than others.
    pub(super) fn scan(&mut self, now_us: i64, at_end: bool, out: &mut Vec<Item>) {
        for tracked in self.files.values_mut() {
            tracked.missing += 1;
        }
        let mut looked = Looked::default();
        // What is renamed meanwhile is looked for again at once, so that all that is
        // begun now is handed over together: a start knows of all or nothing of it.
        for _ in 0..PASSES {
            let pass = self.look_through(now_us, at_end, out);
            looked.incomplete |= pass.incomplete;
            looked.untold |= pass.untold;
            if pass.settled {
                break;
            }
        }
        let known = out.len();
        if looked.incomplete {
            for tracked in self.files.values_mut() {
                tracked.missing = tracked.missing.min(MISSING - 1);
            }
        } else {
            self.gone(out);
        }
        if self.begun || looked.untold || out.len() > known || self.scanned_us == 0 {
            out.push(Item::place(Place::Scanned(now_us)));
            self.told_us = now_us;
        }
        self.begun = false;
        self.forgotten.clear();
        self.scanned_us = now_us;
        let places = self.files.iter();
        self.places = places
            .map(|(key, tracked)| (tracked.at.clone(), *key))
            .collect();
    }

    fn look_through(&mut self, now_us: i64, at_end: bool, out: &mut Vec<Item>) -> Looked {
        let places = self.files.values().map(|tracked| {
            let position = &tracked.follow.position;
            let place = position.target.as_deref().unwrap_or(&position.path);
            (&*position.path, place, position.kind)
        });
        let places: Vec<_> = places.collect();
        let scan = self.disk.scan(&places);
        drop(places);
        // What stood at each place, and how it began: its position may be
        // forgotten below, and copies of it must still be known.
        let before: HashMap<String, Stood> = std::mem::take(&mut self.at)
            .into_iter()
            .filter_map(|(place, file)| {
                let position = &self.files.get(&file.0)?.follow.position;
                let place_of = position.target.as_ref().unwrap_or(&position.path);
                if position.birth_us != file.1 || *place_of != place {
                    // Its inode has another file now.
                    return None;
                }
                let begins = [position.head, position.before];
                Some((place, Stood { file, begins }))
            })
            .collect();
        for found in scan.found.iter().filter(|found| !found.rotated) {
            let file = (found.stat.key, found.stat.birth_us);
            self.at.insert(found.at.clone(), file);
            self.found(found, now_us, at_end, out);
        }
        let passed_over = std::mem::take(&mut self.passed_over);
        let (mut untold, mut undecided) = (false, HashSet::new());
        for found in scan.found.iter().filter(|found| found.rotated) {
            if self.is_known(found) {
                self.found(found, now_us, at_end, out);
                continue;
            }
            // Not known. Where the file that had its name before rotation was
            // followed and is elsewhere now, this one was between them; where
            // that one is still in its place, this is a copy of it. Where
            // nothing was followed there, nothing of it was read, and what was
            // made since the last scan is new.
            let place = found.target.as_ref().unwrap_or(&found.path);
            let made = found.stat.birth_us.unwrap_or(found.stat.modified_us);
            let file = (found.stat.key, found.stat.birth_us);
            let since_scan =
                self.scanned_us > 0 && made >= self.scanned_us && !passed_over.contains(&file);
            let stood = before.get(place);
            let moved = self.at.get(place) != stood.map(|stood| &stood.file);
            let new = match (stood.map(|stood| stood.file), found.stat.birth_us) {
                (None, _) => since_scan,
                // The clock of births is coarse: both may be of one moment.
                (Some((_, Some(of))), Some(this)) => moved && this >= of,
                (Some((key, _)), _) => since_scan && (moved || !self.stands(place, key)),
            };
            if new {
                match self.is_copy(found, stood) {
                    Some(true) => {}
                    Some(false) => {
                        self.found(found, now_us, false, out);
                        continue;
                    }
                    None => {
                        undecided.insert(place);
                        continue;
                    }
                }
            }
            self.passed_over.insert(file);
            // A start that knows of no later scan would take it for new.
            untold |= made >= self.told_us;
        }
        // Places whose file is between two names keep it, and so do those beside
        // which there may be more: what is found next is newer than that file.
        for (place, stood) in before {
            if scan.unsettled || undecided.contains(&place) {
                self.at.insert(place, stood.file);
            } else {
                self.at.entry(place).or_insert(stood.file);
            }
        }
        self.at.retain(|_, (key, _)| self.files.contains_key(key));
        Looked {
            settled: !scan.unsettled && undecided.is_empty(),
            incomplete: scan.incomplete,
            untold,
        }
    }

    /// The file at this place was written.
    pub(super) fn mark_path(&mut self, path: &str, now_us: i64) {
        if let Some(key) = self.places.get(path) {
            self.mark(*key, now_us);
        }
    }

    /// A scan found a file.
    fn found(&mut self, found: &Found, now_us: i64, at_end: bool, out: &mut Vec<Item>) {
        let key = found.stat.key;
        if !self.files.contains_key(&key) && !found.rotated {
            self.take_over(found, out);
        }
        if self.files.contains_key(&key) && !self.is_known(found) {
            // The inode has another file now.
            self.forget(key, out);
        }
        let Some(tracked) = self.files.get_mut(&key) else {
            self.begin(found, now_us, at_end, out);
            return;
        };
        tracked.missing = 0;
        tracked.ended = false;
        if tracked.at != found.at {
            tracked.at.clone_from(&found.at);
        }
        let new =
            found.stat.size != tracked.read_to || found.stat.modified_us != tracked.modified_us;
        tracked.modified_us = found.stat.modified_us;
        if new {
            self.mark(key, now_us);
        }
    }

    /// Whether a file is one that is followed, and not another one whose inode
    /// has the same number.
    fn is_known(&mut self, found: &Found) -> bool {
        let Some(tracked) = self.files.get(&found.stat.key) else {
            return false;
        };
        let position = &tracked.follow.position;
        if tracked.handle.is_some() {
            // An inode that is open is not used again.
            return true;
        }
        match (position.birth_us, found.stat.birth_us) {
            (Some(known), Some(this)) => known == this,
            _ if position.path == found.path => true,
            _ => {
                // Under another name: what was read of it must be there.
                self.stands(&found.at, found.stat.key)
            }
        }
    }

    /// A file that is not known by its device may be one that was followed
    /// before the machine counted its devices anew.
    fn take_over(&mut self, found: &Found, out: &mut Vec<Item>) {
        let Some(birth) = found.stat.birth_us else {
            return;
        };
        let same = self.files.iter().find(|(key, tracked)| {
            let position = &tracked.follow.position;
            key.inode == found.stat.key.inode
                && position.birth_us == Some(birth)
                && position.path == found.path
                && tracked.handle.is_none()
        });
        let Some(key) = same.map(|(key, _)| *key) else {
            return;
        };
        if let Some(mut tracked) = self.files.remove(&key) {
            tracked.follow.position.key = found.stat.key;
            out.push(Item::forget(key));
            out.push(Item::place(Place::File(tracked.follow.position.clone())));
            self.files.insert(found.stat.key, tracked);
        }
    }

    /// Follow a file that is not known.
    fn begin(&mut self, found: &Found, now_us: i64, at_end: bool, out: &mut Vec<Item>) {
        if self.files.len() >= self.limits.files {
            self.counts[of(found.kind)].files_refused += 1;
            return;
        }
        let offset = if at_end { found.stat.size } else { 0 };
        let begun = found.stat.birth_us.unwrap_or(now_us);
        let mut position = FilePosition {
            key: found.stat.key,
            kind: found.kind,
            path: found.path.clone(),
            target: found.target.clone(),
            birth_us: found.stat.birth_us,
            id: found.stat.key,
            generation: u64::try_from(begun).unwrap_or_default(),
            offset,
            print: print(&[]),
            head: Beginning::default(),
            before: Beginning::default(),
            skipping: false,
            size: found.stat.size,
        };
        let mut handle = None;
        if offset > 0 {
            // The position needs what stands before it.
            match self.print_before(&found.at, found.stat.key, offset) {
                Some((print, opened)) => {
                    position.print = print;
                    handle = Some(opened);
                    self.open += 1;
                }
                None => return,
            }
        }
        // Known from now on, though nothing was read of it yet.
        out.push(Item::place(Place::File(position.clone())));
        self.begun = true;
        let tracked = Tracked {
            follow: Follow::new(position),
            at: found.at.clone(),
            handle,
            used: self.looks,
            queued: false,
            changed_us: now_us,
            behind_us: None,
            modified_us: found.stat.modified_us,
            read_to: 0,
            flushed: false,
            missing: 0,
            ended: false,
        };
        self.files.insert(found.stat.key, tracked);
        self.mark(found.stat.key, now_us);
    }

    /// Whether what was read last of a file is where it was, at `path`.
    fn stands(&mut self, path: &str, key: Key) -> bool {
        let Some(tracked) = self.files.get(&key) else {
            return false;
        };
        let (offset, known) = (
            tracked.follow.position.offset,
            tracked.follow.position.print,
        );
        let print = self.print_before(path, key, offset);
        offset > 0 && print.is_some_and(|(print, _)| print == known)
    }

    /// Whether a file begins as one does, or did, that is followed under its name;
    /// `None` where it is at that path no more.
    fn is_copy(&mut self, found: &Found, stood: Option<&Stood>) -> Option<bool> {
        let begin = self.disk.open(&found.at).and_then(|handle| {
            let mut begin = vec![0; PRINT_BYTES as usize];
            let read = self.disk.read(&handle, 0, &mut begin)?;
            begin.truncate(read);
            Ok((begin, self.disk.stat(&handle)?.key))
        });
        let begin = match begin {
            Ok((begin, key)) if key == found.stat.key => begin,
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // What cannot be read now is not begun; a scan that can read it is
            // late, but a record is not doubled.
            Err(_) => return Some(true),
        };
        let of_name = self.files.values().map(|tracked| &tracked.follow.position);
        let of_name = of_name.filter(|position| position.path == found.path);
        let begins = of_name.flat_map(|position| [position.head, position.before]);
        let forgotten = self
            .forgotten
            .iter()
            .filter(|(path, _)| *path == found.path);
        let mut begins = begins
            .chain(stood.into_iter().flat_map(|stood| stood.begins))
            .chain(forgotten.flat_map(|(_, begins)| *begins));
        Some(begins.any(|known| known.begins(&begin)))
    }

    /// A hash of what stands before `offset` in the file at `path`, if it is
    /// the one that has this key.
    fn print_before(&mut self, path: &str, key: Key, offset: u64) -> Option<(u64, D::Handle)> {
        let handle = self.disk.open(path).ok()?;
        let stat = self.disk.stat(&handle).ok()?;
        let before = offset.min(PRINT_BYTES);
        let mut bytes = vec![0; usize::try_from(before).ok()?];
        let read = self.disk.read(&handle, offset - before, &mut bytes).ok()?;
        (stat.key == key && read == bytes.len()).then(|| (print(&bytes), handle))
    }

    /// Forget what no scan finds any more, but for what is open: it is read
    /// to its end first.
    fn gone(&mut self, out: &mut Vec<Item>) {
        let gone = self
            .files
            .iter()
            .filter(|(_, tracked)| tracked.missing >= MISSING);
        let gone: Vec<(Key, bool)> = gone
            .map(|(key, tracked)| (*key, tracked.handle.is_some()))
            .collect();
        for (key, open) in gone {
            if open {
                self.queue(key);
            } else {
                self.forget(key, out);
            }
        }
    }

    fn forget(&mut self, key: Key, out: &mut Vec<Item>) {
        let Some(tracked) = self.files.remove(&key) else {
            return;
        };
        let position = tracked.follow.position;
        let begins = [position.head, position.before];
        self.forgotten.push((position.path.clone(), begins));
        let lost = position.size.saturating_sub(position.offset);
        let counts = &mut self.counts[of(position.kind)];
        // Of what was not read to its end nobody can know what it had.
        let read = tracked.ended || tracked.handle.is_some();
        counts.deleted.0 += u64::from(!read || lost > 0);
        counts.deleted.1 += lost;
        self.open -= usize::from(tracked.handle.is_some());
        out.push(Item::forget(key));
    }

    /// Something may be new in a file.
    pub(super) fn mark(&mut self, key: Key, now_us: i64) {
        if let Some(tracked) = self.files.get_mut(&key) {
            tracked.changed_us = now_us;
            tracked.behind_us = tracked.behind_us.or(Some(now_us));
            tracked.flushed = false;
            self.queue(key);
        }
    }

    fn queue(&mut self, key: Key) {
        if let Some(tracked) = self.files.get_mut(&key)
            && !tracked.queued
        {
            tracked.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Give a turn to what has waited long enough for lines that did not come.
    pub(super) fn flush(&mut self, now_us: i64) {
        let due = self.files.iter().filter(|(_, tracked)| {
            let joining = &self.reading(tracked.follow.position.kind).joining;
            let position = &tracked.follow.position;
            let waits = position.size > position.offset || tracked.missing >= MISSING;
            let joins = joining.container || joining.start.is_some() || tracked.missing >= MISSING;
            waits
                && joins
                && !tracked.flushed
                && now_us - tracked.changed_us >= self.limits.quiet_us
        });
        let due: Vec<Key> = due.map(|(key, _)| *key).collect();
        for key in due {
            self.queue(key);
        }
    }

    fn reading(&self, kind: FileKind) -> &Reading {
        match kind {
            FileKind::Container => &self.container,
            FileKind::File => &self.file,
        }
    }

    /// One look at the file whose turn it is; whether there was one.
    pub(super) fn turn(&mut self, now_us: i64, out: &mut Vec<Item>) -> bool {
        let Some(key) = self.queue.pop_front() else {
            return false;
        };
        let Some(tracked) = self.files.get_mut(&key) else {
            return true;
        };
        tracked.queued = false;
        if tracked.handle.is_none() && !self.open_file(key) {
            return true;
        }
        self.looks += 1;
        match self.look(key, now_us, out) {
            Ok(true) => self.queue(key),
            Ok(false) => {}
            Err(error) => {
                let Some(tracked) = self.files.get_mut(&key) else {
                    return true;
                };
                tracing::warn!(path = tracked.at, %error, "a log file cannot be read");
                tracked.handle = None;
                self.open -= 1;
            }
        }
        true
    }

    /// Open a file; whether it is still the one that a scan found.
    fn open_file(&mut self, key: Key) -> bool {
        if self.open >= self.limits.open {
            self.close_oldest();
        }
        let Some(tracked) = self.files.get_mut(&key) else {
            return false;
        };
        let opened = self.disk.open(&tracked.at).and_then(|handle| {
            let stat = self.disk.stat(&handle)?;
            Ok((handle, stat))
        });
        match opened {
            Ok((handle, stat)) if stat.key == key => {
                let known = tracked.follow.position.birth_us;
                if known.zip(stat.birth_us).is_some_and(|(a, b)| a != b) {
                    // The inode was used again; the next scan sees it, too.
                    return false;
                }
                tracked.handle = Some(handle);
                self.open += 1;
                true
            }
            // It moved; the next scan finds it.
            Ok(_) => false,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = tracked.at, %error, "a log file cannot be opened");
                }
                false
            }
        }
    }

    /// Close the file that was not looked at for the longest time. What has
    /// no name stays open: nobody could open it again.
    fn close_oldest(&mut self) {
        loop {
            let open = self
                .files
                .iter()
                .filter(|(_, tracked)| tracked.handle.is_some() && tracked.missing < MISSING);
            let Some((key, _)) = open.min_by_key(|(_, tracked)| tracked.used) else {
                return;
            };
            let key = *key;
            let Some(tracked) = self.files.get_mut(&key) else {
                return;
            };
            let stat = tracked.handle.as_ref().map(|handle| self.disk.stat(handle));
            if !matches!(stat, Some(Ok(stat)) if !stat.linked) {
                tracked.handle = None;
                self.open -= 1;
                return;
            }
            tracked.missing = MISSING;
            self.queue(key);
        }
    }

    /// Read a part of an open file; whether there is more to read now.
    fn look(&mut self, key: Key, now_us: i64, out: &mut Vec<Item>) -> io::Result<bool> {
        let Some(tracked) = self.files.get_mut(&key) else {
            return Ok(false);
        };
        let Some(handle) = &tracked.handle else {
            return Ok(false);
        };
        let (start, len) = tracked.follow.wants();
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let read = self.disk.read(handle, start, &mut self.buffer[..len])?;
        let stat = self.disk.stat(handle)?;
        tracked.used = self.looks;
        tracked.read_to = start + read as u64;
        if stat.size > tracked.follow.position.size {
            tracked.changed_us = now_us;
            tracked.flushed = false;
        }
        let quiet = now_us - tracked.changed_us >= self.limits.quiet_us;
        let gone = tracked.missing >= MISSING;
        let look = Look {
            data: &self.buffer[..read],
            size: stat.size,
            idle: quiet,
            last: quiet && gone,
        };
        let reading = match tracked.follow.position.kind {
            FileKind::Container => &self.container,
            FileKind::File => &self.file,
        };
        let mut before = tracked.follow.position.clone();
        let mut records = Records {
            writer: None,
            reading,
            heads: self.heads.as_ref(),
            read_us: now_us,
            failed: None,
        };
        let (mut too_long, mut cut) = (0, 0);
        let take = |line: super::lines::Line<'_>| {
            too_long += u64::from(line.truncated);
            records.add(&before, &line);
        };
        let seen = tracked.follow.see(look, &reading.joining, take, &mut cut);
        if let Some(error) = records.failed {
            return Err(error.into());
        }
        let counts = &mut self.counts[of(tracked.follow.position.kind)];
        counts.too_long.0 += too_long;
        counts.too_long.1 += cut;
        tracked.flushed = quiet;
        let position = &tracked.follow.position;
        if position.offset >= position.size {
            tracked.behind_us = None;
        } else if seen == Seen::Moved && tracked.read_to >= position.size {
            // Everything before its last line was read.
            tracked.behind_us = Some(now_us);
        }
        if let Some(writer) = records.writer {
            counts.records += writer.records() as u64;
            let chunk = writer.end(&Place::File(position.clone()))?;
            out.push(Item::records(Place::File(position.clone()), chunk));
        } else {
            before.size = position.size;
            if before != *position {
                out.push(Item::place(Place::File(position.clone())));
            }
        }
        counts.bytes += position.offset.saturating_sub(before.offset);
        match seen {
            Seen::Moved => Ok(true),
            Seen::Truncated { lost } => {
                counts.truncated.0 += 1;
                counts.truncated.1 += lost;
                Ok(true)
            }
            Seen::Nothing => {
                if look.last {
                    tracked.handle = None;
                    tracked.ended = true;
                    self.open -= 1;
                }
                Ok(false)
            }
        }
    }
}

fn of(kind: FileKind) -> usize {
    match kind {
        FileKind::Container => 0,
        FileKind::File => 1,
    }
}
