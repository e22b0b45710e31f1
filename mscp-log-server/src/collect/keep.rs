//! What the sources have read, kept durably with where they go on.
//!
//! A chunk's position is part of the chunk, so one append to the agent's
//! buffer makes both durable. So that a start need not read the whole buffer,
//! and so that the buffer can forget what was sent, all positions are written
//! to a file from time to time, with the number below which every append is in
//! it. The buffer is committed up to that number and never beyond.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files::{FilePosition, Key};
use super::losses::{Loss, Losses};
use crate::buffer::disk::DiskBuffer;
use crate::buffer::{AppendError, Buffer};

/// Where a source goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a file.
    File(FilePosition),
    /// Behind the entry of this cursor.
    Journal(String),
    /// Every file that was there at this time, in microseconds since the
    /// epoch, is among the positions.
    Scanned(i64),
    /// So much was lost.
    Lost(Loss),
}

/// What a source hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    change: Change,
    /// Records, and the place behind them.
    chunk: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    To(Place),
    /// The file is gone.
    Forget(Key),
}

impl Item {
    /// A chunk with records, which ends with `place`.
    pub(super) fn records(place: Place, chunk: Vec<u8>) -> Self {
        Self {
            change: Change::To(place),
            chunk: Some(chunk.into()),
        }
    }

    /// There are no records before `place` that are wanted. It is kept as a
    /// chunk is, so that what is handed over with it knows of it.
    pub(super) fn place(place: Place) -> Self {
        #[derive(Serialize)]
        struct Alone<'p> {
            position: &'p Place,
        }
        let chunk = serde_json::to_vec(&Alone { position: &place }).map(Bytes::from);
        Self {
            change: Change::To(place),
            chunk: chunk.ok(),
        }
    }

    /// There is nothing to go on in.
    pub(super) fn forget(key: Key) -> Self {
        Self {
            change: Change::Forget(key),
            chunk: None,
        }
    }

    /// Bytes of the chunk.
    pub(super) fn bytes(&self) -> usize {
        self.chunk.as_ref().map_or(0, Bytes::len)
    }

    /// The chunk.
    #[cfg(test)]
    pub(super) fn chunk(&self) -> Option<&Bytes> {
        self.chunk.as_ref()
    }
}

/// Where every source goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// By what the system calls the file.
    pub files: HashMap<Key, FilePosition>,
    /// Every file that was there at this time, in microseconds since the
    /// epoch, is in `files`; 0 before the first scan.
    pub scanned_us: i64,
    /// The cursor of the journal.
    pub journal: Option<String>,
    /// What was lost so far.
    pub losses: Losses,
}

impl Positions {
    /// What is true after `item`.
    pub(super) fn apply(&mut self, item: &Item) {
        match &item.change {
            Change::To(place) => self.to(place.clone()),
            Change::Forget(key) => {
                self.files.remove(key);
            }
        }
    }

    fn to(&mut self, place: Place) {
        match place {
            Place::File(position) => {
                self.files.insert(position.key, position);
            }
            Place::Journal(cursor) => self.journal = Some(cursor),
            Place::Scanned(at_us) => self.scanned_us = at_us,
            Place::Lost(loss) => self.losses.set(loss),
        }
    }

    /// What is true after a chunk of the buffer.
    pub(super) fn apply_chunk(&mut self, chunk: &[u8]) {
        #[derive(Deserialize)]
        struct Ending {
            position: Place,
        }
        match serde_json::from_slice::<Ending>(chunk) {
            Ok(Ending { position }) => self.to(position),
            Err(error) => tracing::error!(%error, "a record of the agent's buffer is no chunk"),
        }
    }
}

/// Whether what the buffer has is a place alone, without records.
#[must_use]
pub fn is_place(chunk: &[u8]) -> bool {
    chunk.starts_with(b"{\"position\"")
}

/// The file of positions.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The version of the file's form.
    format: u32,
    /// Every append below this number is in it.
    below: u64,
    #[serde(default)]
    scanned_us: i64,
    journal: Option<String>,
    #[serde(default)]
    lost: Vec<Loss>,
    files: Vec<FilePosition>,
}

/// The newest form of the file of positions that this program writes.
const FORMAT: u32 = 1;

/// Why positions cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file system failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The file is none of ours.
    #[error("{}: {source}", .path.display())]
    Form {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error("{} has format version {found}; this program knows up to {FORMAT}", .path.display())]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// Read the positions in `file`, and those in `buffer` behind them.
///
/// # Errors
/// When either cannot be read. Positions that cannot be read are no reason to
/// begin anew: everything would be read twice.
pub fn recover(file: &Path, buffer: &DiskBuffer) -> Result<Positions, KeepError> {
    let io_error = |source| KeepError::Io {
        path: file.to_owned(),
        source,
    };
    let kept: Option<Kept> = match fs::read(file) {
        Ok(bytes) => {
            let kept = serde_json::from_slice(&bytes).map_err(|source| KeepError::Form {
                path: file.to_owned(),
                source,
            })?;
            Some(kept)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error(error)),
    };
    let mut positions = Positions::default();
    let mut below = 0;
    if let Some(kept) = kept {
        if kept.format > FORMAT {
            return Err(KeepError::Newer {
                path: file.to_owned(),
                found: kept.format,
            });
        }
        positions.scanned_us = kept.scanned_us;
        positions.journal = kept.journal;
        for loss in kept.lost {
            positions.losses.set(loss);
        }
        let files = kept.files.into_iter();
        positions.files = files.map(|position| (position.key, position)).collect();
        below = kept.below;
    }
    let apply = |chunks: Vec<Bytes>| {
        for chunk in chunks {
            positions.apply_chunk(&chunk);
        }
    };
    buffer.read_from(below, apply).map_err(io_error)?;
    Ok(positions)
}

/// Write the positions: another file, made durable, takes the place of the one
/// before.
fn save(file: &Path, positions: &Positions, below: u64) -> io::Result<()> {
    let kept = Kept {
        format: FORMAT,
        below,
        scanned_us: positions.scanned_us,
        journal: positions.journal.clone(),
        lost: positions.losses.totals().cloned().collect(),
        files: positions.files.values().cloned().collect(),
    };
    let written = serde_json::to_vec(&kept)?;
    let beside = file.with_extension("new");
    let mut new = File::create(&beside)?;
    new.write_all(&written)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// How often positions are written, and how long a full buffer is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest that positions are not written while something changes.
    pub save: Duration,
    /// Shortest time between two writings.
    pub least: Duration,
    /// Longest pause before a buffer that is full is tried again.
    pub longest_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            save: Duration::from_secs(5),
            least: Duration::from_secs(1),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// What the keeper tells others, and is asked.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Everything below this number may be committed.
    pub saved: watch::Receiver<u64>,
    /// Asks for positions to be written soon, so that more may be committed.
    pub wanted: Arc<Notify>,
    /// Why the sources are paused, while they are.
    pub paused: Arc<ArcSwapOption<String>>,
    asking: mpsc::Sender<oneshot::Sender<Positions>>,
}

impl Keeping {
    /// Where every source goes on, once all that was handed over before this
    /// was asked is durable; `None` when the keeper has ended.
    pub async fn positions(&self) -> Option<Positions> {
        let (answer, answered) = oneshot::channel();
        self.asking.send(answer).await.ok()?;
        answered.await.ok()
    }
}

/// Makes durable what the sources hand over. One task, so that positions are
/// always those of what is in the buffer.
pub struct Keeper {
    file: PathBuf,
    buffer: Arc<DiskBuffer>,
    positions: Positions,
    pace: Pace,
    saved: watch::Sender<u64>,
    wanted: Arc<Notify>,
    paused: Arc<ArcSwapOption<String>>,
    asked: mpsc::Receiver<oneshot::Sender<Positions>>,
}

/// About how many bytes of chunks are appended together.
const APPEND_BYTES: usize = 4 << 20;

impl Keeper {
    /// A keeper that goes on at `positions`, which are those of everything in
    /// `buffer`.
    #[must_use]
    pub fn new(
        file: PathBuf,
        buffer: Arc<DiskBuffer>,
        positions: Positions,
        pace: Pace,
    ) -> (Self, Keeping) {
        let (saved, receiver) = watch::channel(0);
        let (asking, asked) = mpsc::channel(1);
        let keeping = Keeping {
            saved: receiver,
            wanted: Arc::default(),
            paused: Arc::default(),
            asking,
        };
        let keeper = Self {
            file,
            buffer,
            positions,
            pace,
            saved,
            wanted: Arc::clone(&keeping.wanted),
            paused: Arc::clone(&keeping.paused),
            asked,
        };
        (keeper, keeping)
    }

    /// Keep what comes until every source has hung up or `stop`; then write
    /// the positions once more. What is not kept by then is read again.
    pub async fn run(mut self, mut items: mpsc::Receiver<Vec<Item>>, stop: CancellationToken) {
        let mut changed = true;
        let mut saved_at = Instant::now();
        let mut wanted = true;
        self.positions.losses.totals().for_each(Loss::tell);
        loop {
            let due = saved_at
                + if wanted {
                    self.pace.least
                } else {
                    self.pace.save
                };
            let wanting = Arc::clone(&self.wanted);
            let (together, answer) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due), if changed => {
                    if self.save().await {
                        changed = false;
                    }
                    (wanted, saved_at) = (false, Instant::now());
                    continue;
                }
                () = wanting.notified() => {
                    wanted = true;
                    continue;
                }
                Some(answer) = self.asked.recv() => {
                    // What was handed over before is in the queue.
                    let queued = items.len();
                    let mut together = Vec::new();
                    for _ in 0..queued {
                        together.extend(items.try_recv().unwrap_or_default());
                    }
                    (together, Some(answer))
                }
                received = items.recv() => {
                    let Some(mut together) = received else { break };
                    let mut bytes = size(&together);
                    while bytes < APPEND_BYTES
                        && let Ok(more) = items.try_recv()
                    {
                        bytes += size(&more);
                        together.extend(more);
                    }
                    (together, None)
                }
            };
            changed |= !together.is_empty();
            let kept = tokio::select! {
                kept = self.keep(together) => kept,
                () = stop.cancelled() => false,
            };
            if !kept {
                break;
            }
            if let Some(answer) = answer {
                // Whoever asked may be gone.
                let _ = answer.send(self.positions.clone());
            }
        }
        if changed {
            self.save().await;
        }
    }

    /// Append until the buffer takes it; false when it is closed.
    async fn keep(&mut self, items: Vec<Item>) -> bool {
        let chunks: Vec<Bytes> = items.iter().filter_map(|item| item.chunk.clone()).collect();
        let mut pause = Duration::from_millis(50);
        while !chunks.is_empty() {
            let error = match self.buffer.append("", chunks.clone()).await {
                Ok(()) => break,
                Err(AppendError::Closed) => return false,
                Err(error) => error,
            };
            if self.paused.load().is_none() {
                tracing::warn!(%error, "collecting is paused; files and the journal keep what they have");
            }
            metrics::gauge!("mscp_log_collect_paused").set(1.0);
            self.paused.store(Some(Arc::new(error.to_string())));
            // Room comes with commits, and commits come with positions.
            self.save().await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.pace.longest_pause);
        }
        if self.paused.swap(None).is_some() {
            tracing::info!("collecting goes on");
        }
        metrics::gauge!("mscp_log_collect_paused").set(0.0);
        for item in &items {
            self.positions.apply(item);
            if let Change::To(Place::Lost(loss)) = &item.change {
                loss.tell();
            }
        }
        true
    }

    /// Write the positions; whether that could be done.
    async fn save(&mut self) -> bool {
        // Nobody else appends: what is durable now is in the positions.
        let below = self.buffer.end();
        let (file, positions) = (self.file.clone(), self.positions.clone());
        let write = move || save(&file, &positions, below);
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        match written {
            Ok(()) => {
                self.saved.send_replace(below);
                true
            }
            Err(error) => {
                let path = self.file.display();
                tracing::error!(%path, %error, "positions cannot be written; trying again");
                false
            }
        }
    }
}

fn size(items: &[Item]) -> usize {
    items.iter().map(Item::bytes).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::buffer::disk::DiskSettings;

    fn position(inode: u64, offset: u64) -> FilePosition {
        serde_json::from_value(serde_json::json!({
            "device": 1, "inode": inode, "kind": "file", "path": "/a.log",
            "id": {"device": 1, "inode": inode}, "generation": 7, "offset": offset,
            "print": 3, "size": offset,
        }))
        .unwrap()
    }

    fn records(inode: u64, offset: u64) -> Item {
        let place = Place::File(position(inode, offset));
        let chunk = serde_json::json!({"host": "n", "lines": [[0, "x"]], "position": place});
        Item::records(place, chunk.to_string().into_bytes())
    }

    struct Agent {
        folder: tempfile::TempDir,
        buffer: Arc<DiskBuffer>,
    }

    impl Agent {
        fn open(folder: tempfile::TempDir, settings: DiskSettings) -> Self {
            let buffer = DiskBuffer::open(&folder.path().join("buffer"), settings).unwrap();
            Self {
                folder,
                buffer: Arc::new(buffer),
            }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("positions.json")
        }

        fn found(&self) -> Positions {
            recover(&self.file(), &self.buffer).unwrap()
        }

        /// A keeper that writes positions when it stops and never before.
        fn keeper(&self) -> (Keeper, Keeping) {
            let never = Duration::from_secs(3_600);
            let pace = Pace {
                save: never,
                least: never,
                longest_pause: Duration::from_millis(1),
            };
            let positions = self.found();
            Keeper::new(self.file(), Arc::clone(&self.buffer), positions, pace)
        }
    }

    /// Hand over `items`, and come back when they are durable.
    async fn handed(agent: &Agent, keeper: Keeper, items: Vec<Item>, stop: bool) {
        let (sender, receiver) = mpsc::channel(1);
        let end = CancellationToken::new();
        let before = agent.buffer.usage().backlog;
        let chunks = items.iter().filter(|item| item.chunk.is_some()).count() as u64;
        let running = tokio::spawn(keeper.run(receiver, end.clone()));
        sender.send(items).await.unwrap();
        if stop {
            drop(sender);
            running.await.unwrap();
        } else {
            while agent.buffer.usage().backlog < before + chunks {
                tokio::task::yield_now().await;
            }
            running.abort();
        }
    }

    #[tokio::test]
    async fn what_is_durable_is_behind_the_position_after_a_crash_before_positions_are_written() {
        let agent = Agent::open(tempfile::tempdir().unwrap(), DiskSettings::default());
        let (keeper, _) = agent.keeper();
        handed(&agent, keeper, vec![records(1, 10), records(2, 5)], true).await;
        let (keeper, _) = agent.keeper();
        handed(&agent, keeper, vec![records(1, 30)], false).await;
        let found = agent.found();
        assert_eq!(found.files.len(), 2);
        assert_eq!(found.files[&position(1, 0).key].offset, 30);
    }

    #[tokio::test]
    async fn a_place_without_records_and_a_file_that_is_gone_are_kept_with_the_positions() {
        let agent = Agent::open(tempfile::tempdir().unwrap(), DiskSettings::default());
        let (keeper, keeping) = agent.keeper();
        let items = vec![
            records(1, 10),
            records(2, 10),
            Item::place(Place::Journal("s=1".to_owned())),
            Item::forget(position(2, 0).key),
            Item::place(Place::Scanned(77)),
        ];
        handed(&agent, keeper, items, true).await;
        let found = agent.found();
        assert_eq!(found.journal.as_deref(), Some("s=1"));
        assert_eq!(found.scanned_us, 77);
        assert_eq!(found.files.len(), 1);
        assert_eq!(*keeping.saved.borrow(), agent.buffer.end());
    }

    #[tokio::test]
    async fn what_was_lost_is_kept_with_the_positions_and_counted_on() {
        let agent = Agent::open(tempfile::tempdir().unwrap(), DiskSettings::default());
        for (stop, bytes) in [(true, 7), (false, 12), (false, 17)] {
            let (keeper, _) = agent.keeper();
            let mut losses = agent.found().losses;
            losses.add("files", "truncated", 1, if bytes == 7 { 7 } else { 5 });
            let mut items = losses.changed();
            assert!(losses.changed().is_empty());
            items.push(records(1, bytes));
            handed(&agent, keeper, items, stop).await;
            let found = agent.found();
            let lost: Vec<_> = found.losses.totals().map(|loss| loss.bytes).collect();
            assert_eq!(lost, [bytes]);
        }
        assert_eq!(agent.found().losses.totals().next().unwrap().times, 3);
    }

    #[tokio::test]
    async fn a_full_buffer_pauses_the_sources_and_says_so_until_there_is_room() {
        let settings = DiskSettings {
            max_bytes: 64 << 10,
            ..DiskSettings::default()
        };
        let agent = Agent::open(tempfile::tempdir().unwrap(), settings);
        let pace = Pace {
            least: Duration::ZERO,
            longest_pause: Duration::from_millis(1),
            ..Pace::default()
        };
        let buffer = Arc::clone(&agent.buffer);
        let (keeper, keeping) = Keeper::new(agent.file(), buffer, Positions::default(), pace);
        let (sender, receiver) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(keeper.run(receiver, stop.clone()));
        let part = |inode| {
            let place = Place::File(position(inode, 1));
            let chunk = serde_json::json!({"text": "x".repeat(4 << 10), "position": place});
            vec![Item::records(place, chunk.to_string().into_bytes())]
        };
        // More than the buffer holds.
        let sending = tokio::spawn(async move {
            for inode in 0..20 {
                sender.send(part(inode)).await.unwrap();
            }
        });
        while keeping.paused.load().is_none() {
            tokio::task::yield_now().await;
        }
        let mut consumer = agent.buffer.consumer().await.unwrap();
        let mut saved = keeping.saved.clone();
        let mut records = 0;
        while records < 20 {
            let batch = consumer.read(1 << 20).await.unwrap();
            records += batch.records.len();
            keeping.wanted.notify_one();
            let saved = saved.wait_for(|saved| *saved >= batch.position.next);
            saved.await.unwrap();
            consumer.commit(batch.position).await.unwrap();
        }
        sending.await.unwrap();
        while keeping.paused.load().is_some() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn positions_of_a_newer_program_and_of_no_program_are_refused() {
        let agent = Agent::open(tempfile::tempdir().unwrap(), DiskSettings::default());
        fs::write(agent.file(), "{").unwrap();
        assert!(matches!(
            recover(&agent.file(), &agent.buffer),
            Err(KeepError::Form { .. })
        ));
        let newer = serde_json::json!({"format": 2, "below": 0, "journal": null, "files": []});
        fs::write(agent.file(), newer.to_string()).unwrap();
        let refused = recover(&agent.file(), &agent.buffer).unwrap_err();
        assert!(
            refused.to_string().contains("format version 2"),
            "{refused}"
        );
    }
}
