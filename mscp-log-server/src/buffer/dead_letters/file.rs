//! Dead letters in a file of lines that only grows: eight hexadecimal digits of
//! the CRC-32 (IEEE 802.3) of the rest, a space, and JSON. A line is a letter,
//! the numbers of letters that were taken out, or the number that the next
//! letter has. When more than half of the file is taken out it is written anew.
//! A torn last line, which was not acknowledged, is cut off; a damaged one in
//! the middle is skipped and counted.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Kept, Letter, LettersError, Refused, identity, raw};
use crate::snapshot::Snapshot;

/// The file is not written anew for less than this.
const WORTH_WRITING_ANEW: u64 = 1 << 20;

/// Digits of the CRC and the space behind them.
const PREFIX: usize = 9;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Letter(Letter),
    Removed(Vec<u64>),
    Next(u64),
}

/// Dead letters in a file.
#[derive(Debug)]
pub(super) struct FileLetters {
    path: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
    /// Locked by whoever takes letters out, before the state.
    removing: Mutex<()>,
}

/// While it lives no letter is taken out.
#[derive(Debug)]
pub(super) struct Held<'a> {
    letters: &'a FileLetters,
    _removing: MutexGuard<'a, ()>,
}

impl Held<'_> {
    /// Hold the file as it is now, under `name`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn snapshot(&self, snapshot: &mut Snapshot, name: String) -> io::Result<()> {
        let state = self.letters.state();
        snapshot.link(name, &self.letters.path, Some(state.length))
    }
}

#[derive(Debug)]
struct State {
    file: File,
    /// Bytes of the file, all of whole lines.
    length: u64,
    /// Where the letters lie that were not taken out.
    letters: BTreeMap<u64, Place>,
    /// By what identifies a document, so that one that is shipped again after a
    /// crash is not kept twice.
    documents: HashMap<[u8; 16], u64>,
    /// Bytes of those letters.
    live_bytes: u64,
    next: u64,
    failed: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    bytes: u32,
    document: [u8; 16],
}

impl FileLetters {
    /// Open the file, or make it, with the folder that it is in.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut state = State {
            file,
            length: 0,
            letters: BTreeMap::new(),
            documents: HashMap::new(),
            live_bytes: 0,
            next: 1,
            failed: None,
        };
        let damaged = state.load()?;
        if damaged > 0 {
            metrics::counter!("mscp_log_damaged_dead_letters_total").increment(damaged);
            tracing::error!(damaged, file = %path.display(), "damaged dead letters were skipped");
        }
        sync_folder(path)?;
        let path = path.to_owned();
        let state = Mutex::new(state);
        Ok(Self {
            path,
            max_bytes,
            state,
            removing: Mutex::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep what was refused, at `now_ms`; returns when it is on disk. A
    /// document that is there already is not kept twice.
    ///
    /// # Errors
    /// See [`LettersError`]; then none of it is kept.
    pub(super) fn add(&self, refused: &[Refused], now_ms: i64) -> Result<(), LettersError> {
        let mut state = self.state();
        state.usable()?;
        let mut lines = Vec::new();
        let mut places = Vec::new();
        let mut next = state.next;
        for one in refused {
            let json = raw(&one.document);
            let document = identity(&json);
            if state.documents.contains_key(&document)
                || places
                    .iter()
                    .any(|(_, place): &(u64, Place)| place.document == document)
            {
                continue;
            }
            let letter = Letter {
                number: next,
                refused_ms: now_ms,
                index: one.index.clone(),
                kind: one.kind.clone(),
                reason: one.reason.clone(),
                document: json,
            };
            let start = state.length + lines.len() as u64;
            let bytes = write_line(&Line::Letter(letter), &mut lines)?;
            let place = Place {
                start,
                bytes,
                document,
            };
            places.push((next, place));
            next += 1;
        }
        let used = state.live_bytes;
        if used + lines.len() as u64 > self.max_bytes {
            let limit = self.max_bytes;
            return Err(LettersError::Full { used, limit });
        }
        state.append(&lines)?;
        state.next = next;
        metrics::counter!("mscp_log_dead_letters_total").increment(places.len() as u64);
        for (number, place) in places {
            state.keep(number, place);
        }
        Ok(())
    }

    /// At most `limit` letters with numbers below `before`, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn page(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Letter>, LettersError> {
        let state = self.state();
        let below = ..before.unwrap_or(u64::MAX);
        let places = state.letters.range(below).rev().take(limit);
        places.map(|(_, place)| state.read(*place)).collect()
    }

    /// The letters of these numbers that are there, in their order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn of_numbers(&self, numbers: &[u64]) -> Result<Vec<Letter>, LettersError> {
        let state = self.state();
        let places = numbers
            .iter()
            .filter_map(|number| state.letters.get(number));
        places.map(|place| state.read(*place)).collect()
    }

    /// The numbers of all letters, the oldest first.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.state().letters.keys().copied().collect()
    }

    /// Let the documents of letters be kept once more, as new letters: they are
    /// about to be shipped again, and may be refused again before these are
    /// taken out.
    pub(super) fn release(&self, numbers: &[u64]) {
        let mut state = self.state();
        for number in numbers {
            if let Some(place) = state.letters.get(number).copied() {
                state.documents.remove(&place.document);
            }
        }
    }

    /// Take letters out; durable when it returns. Numbers of none are passed over.
    ///
    /// # Errors
    /// See [`LettersError`].
    pub(super) fn remove(&self, numbers: &[u64]) -> Result<(), LettersError> {
        let _removing = self.hold();
        let mut state = self.state();
        state.usable()?;
        let there: Vec<u64> = numbers
            .iter()
            .copied()
            .filter(|number| state.letters.contains_key(number))
            .collect();
        if there.is_empty() {
            return Ok(());
        }
        let mut line = Vec::new();
        write_line(&Line::Removed(there.clone()), &mut line)?;
        state.append(&line)?;
        for number in there {
            state.take_out(number);
        }
        let dead = state.length - state.live_bytes;
        if dead > WORTH_WRITING_ANEW && dead > state.live_bytes {
            // What is there is right already; a failure leaves it so.
            if let Err(error) = self.write_anew(&mut state) {
                tracing::warn!(%error, "the file of dead letters was not written anew");
            }
        }
        Ok(())
    }

    /// Let no letter be taken out for a while; whoever wants to waits.
    pub(super) fn hold(&self) -> Held<'_> {
        let removing = self.removing.lock();
        Held {
            letters: self,
            _removing: removing.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// How much is kept.
    pub(super) fn kept(&self) -> Kept {
        let state = self.state();
        Kept {
            letters: state.letters.len() as u64,
            bytes: state.live_bytes,
        }
    }

    /// Replace the file by one of just the letters that are there.
    fn write_anew(&self, state: &mut State) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let mut fresh = State {
            file,
            length: 0,
            letters: BTreeMap::new(),
            documents: HashMap::new(),
            live_bytes: 0,
            next: state.next,
            failed: None,
        };
        let mut lines = Vec::new();
        write_line(&Line::Next(state.next), &mut lines)?;
        fresh.write(&lines)?;
        for (number, place) in &state.letters {
            lines.resize(place.bytes as usize, 0);
            state.file.read_exact_at(&mut lines, place.start)?;
            let start = fresh.length;
            fresh.write(&lines)?;
            fresh.keep(*number, Place { start, ..*place });
        }
        fresh.file.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_folder(&self.path)?;
        *state = fresh;
        Ok(())
    }
}

impl State {
    /// Read the whole file; how many lines of it are damaged.
    fn load(&mut self) -> io::Result<u64> {
        let mut reader = BufReader::new(self.file.try_clone()?);
        let mut line = Vec::new();
        let mut damaged = 0;
        let mut start = 0;
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line)? as u64;
            if !line.ends_with(b"\n") {
                break;
            }
            match read_line(&line) {
                Some(Line::Letter(letter)) => {
                    let document = identity(&letter.document);
                    let place = Place {
                        start,
                        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                        document,
                    };
                    self.next = self.next.max(letter.number + 1);
                    self.keep(letter.number, place);
                }
                Some(Line::Removed(numbers)) => {
                    for number in numbers {
                        self.take_out(number);
                    }
                }
                Some(Line::Next(next)) => self.next = self.next.max(next),
                None => damaged += 1,
            }
            start += bytes;
        }
        self.length = start;
        self.file.set_len(start)?;
        self.file.sync_all()?;
        Ok(damaged)
    }

    fn usable(&self) -> Result<(), LettersError> {
        match &self.failed {
            Some(reason) => Err(LettersError::Failed(reason.clone())),
            None => Ok(()),
        }
    }

    /// Write behind the last line, and sync. What was written in part is cut
    /// off again.
    fn append(&mut self, lines: &[u8]) -> Result<(), LettersError> {
        let before = self.length;
        if let Err(error) = self.write(lines) {
            self.length = before;
            if let Err(error) = self.file.set_len(before) {
                self.failed = Some(error.to_string());
            }
            return Err(error.into());
        }
        if let Err(error) = self.file.sync_data() {
            // Which bytes the disk has is not known from here on.
            self.failed = Some(error.to_string());
            return Err(error.into());
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn keep(&mut self, number: u64, place: Place) {
        self.live_bytes += u64::from(place.bytes);
        self.documents.insert(place.document, number);
        self.letters.insert(number, place);
    }

    fn take_out(&mut self, number: u64) {
        if let Some(place) = self.letters.remove(&number) {
            self.live_bytes -= u64::from(place.bytes);
            // A newer letter may be of the same document.
            if self.documents.get(&place.document) == Some(&number) {
                self.documents.remove(&place.document);
            }
        }
    }

    fn read(&self, place: Place) -> Result<Letter, LettersError> {
        let mut line = vec![0; place.bytes as usize];
        self.file.read_exact_at(&mut line, place.start)?;
        match read_line(&line) {
            Some(Line::Letter(letter)) => Ok(letter),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a dead letter was damaged since it was written",
            )
            .into()),
        }
    }
}

/// Append a line; how many bytes it has.
fn write_line(line: &Line, out: &mut Vec<u8>) -> io::Result<u32> {
    let json = serde_json::to_vec(line).map_err(io::Error::from)?;
    let bytes = u32::try_from(json.len() + PREFIX + 1)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a letter of over 4 GiB"))?;
    writeln!(
        out,
        "{:08x} {}",
        crc32fast::hash(&json),
        String::from_utf8_lossy(&json)
    )?;
    Ok(bytes)
}

fn read_line(line: &[u8]) -> Option<Line> {
    let (crc, rest) = line.strip_suffix(b"\n")?.split_at_checked(PREFIX)?;
    let crc = std::str::from_utf8(crc).ok()?.strip_suffix(' ')?;
    let same = u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(rest);
    same.then(|| serde_json::from_slice(rest).ok()).flatten()
}

/// The file's name is durable only with the folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
