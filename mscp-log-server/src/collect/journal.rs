//! The journal, through `journalctl` as a child.
//!
//! A child and not libsystemd: the library would be unsafe code and a link to
//! the system's version of it, in a process that must not fall over a corrupt
//! journal file (which libsystemd maps into memory); `journalctl` is on every
//! machine that has a journal, and one that crashes is started again.

#[cfg(test)]
mod cases;
mod child;
mod join;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mscp_log_core::clean::chunk::{Pod, Writer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keep::{Item, Place, Positions};
use super::losses::Losses;
use super::machine::Machine;
use super::switch::Trouble;
use crate::clock::now_us;
use child::{Child, Read};
use join::Join;

/// Which journal is read, and how.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The program.
    pub journalctl: PathBuf,
    /// A folder of journal files; without it those of this machine.
    pub directory: Option<PathBuf>,
    /// Whether the very first start reads what is there already.
    pub at_head: bool,
    /// Longest message, in bytes.
    pub max_bytes: usize,
}

impl Journal {
    /// That of this machine, from now on.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self {
            journalctl: PathBuf::from("journalctl"),
            directory: None,
            at_head: false,
            max_bytes: 1 << 20,
        }
    }

    /// Whether it has an entry that can be read.
    pub async fn is_readable(&self) -> bool {
        matches!(child::newest(self).await, Ok(Some(_)))
    }

    /// Whether it can be read at all, entries or not.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn reach(&self) -> Result<(), String> {
        child::newest(self).await.map(|_| ())
    }
}

/// How long the task waits for what.
#[derive(Clone, Copy)]
struct Patience {
    /// For more entries of a chunk.
    more: Duration,
    /// For the parts of a line.
    parts: Duration,
    /// Between two looks whether a quiet child is a stalled one.
    stall: Duration,
    /// The first pause before a child is started again, and the longest.
    first_pause: Duration,
    longest_pause: Duration,
}

const PATIENCE: Patience = Patience {
    more: Duration::from_millis(100),
    parts: Duration::from_secs(5),
    stall: Duration::from_secs(30),
    first_pause: Duration::from_millis(200),
    longest_pause: Duration::from_secs(30),
};

/// About how many bytes of entries make a chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// How often it says how far it is, while nobody takes what is read.
const TELL: Duration = Duration::from_secs(1);

/// Longest that passed-over entries do not move the position.
const MOVE: Duration = Duration::from_secs(5);

/// Read from `positions` on until `stop`, or until nobody takes what is read.
///
/// # Errors
/// When what is read cannot be written as a chunk.
pub async fn run(
    journal: Journal,
    machine: Arc<Machine>,
    positions: Positions,
    items: mpsc::Sender<Vec<Item>>,
    trouble: Trouble,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut source = Source::new(journal, machine, positions, items, trouble);
    let ended = tokio::select! {
        () = source.follow() => Err("nobody takes what is read".to_owned()),
        () = stop.cancelled() => Ok(()),
    };
    // Nobody waits for what is not wanted.
    behind(Duration::ZERO);
    ended
}

struct Source {
    journal: Journal,
    machine: Arc<Machine>,
    /// Everything up to it was handed over.
    cursor: Option<String>,
    /// The cursor behind which entries may be lost.
    gone: Option<String>,
    losses: Losses,
    /// When there was nothing more to read.
    caught_up: Instant,
    items: mpsc::Sender<Vec<Item>>,
    trouble: Trouble,
    patience: Patience,
}

/// Nobody takes what is read any more.
struct Unwanted;

/// What was read and is not yet handed over.
struct Batch {
    entries: Vec<Vec<u8>>,
    bytes: usize,
    pods: BTreeMap<Cow<'static, str>, Pod<'static>>,
    /// Behind the last entry that was read, wanted or not.
    cursor: Option<String>,
    since: Instant,
}

impl Batch {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            bytes: 0,
            pods: BTreeMap::new(),
            cursor: None,
            since: Instant::now(),
        }
    }
}

impl Source {
    fn new(
        journal: Journal,
        machine: Arc<Machine>,
        positions: Positions,
        items: mpsc::Sender<Vec<Item>>,
        trouble: Trouble,
    ) -> Self {
        Self {
            journal,
            machine,
            cursor: positions.journal,
            gone: None,
            losses: positions.losses,
            caught_up: Instant::now(),
            items,
            trouble,
            patience: PATIENCE,
        }
    }

    async fn follow(&mut self) {
        let mut pause = self.patience.first_pause;
        loop {
            let begun = Instant::now();
            match self.once().await {
                Ok(reason) => {
                    tracing::warn!(reason, "the journal is read from where it was");
                    self.trouble.store(Some(Arc::new(reason)));
                }
                Err(Unwanted) => return,
            }
            metrics::counter!("mscp_log_collect_journal_restarts_total").increment(1);
            if begun.elapsed() > self.patience.longest_pause {
                pause = self.patience.first_pause;
            }
            behind(self.caught_up.elapsed());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.patience.longest_pause);
        }
    }

    /// One life of a child; why it ended.
    async fn once(&mut self) -> Result<String, Unwanted> {
        let after = match self.place_to_begin().await {
            Ok(after) => after,
            Err(reason) => return Ok(reason),
        };
        if let Some(cursor) = after.clone().filter(|_| self.cursor.is_none()) {
            // The tail of now is where a restart goes on, too.
            self.hand_over(vec![Item::place(Place::Journal(cursor))])
                .await?;
        }
        let mut child = match Child::follow(&self.journal, after.as_deref()) {
            Ok(child) => child,
            Err(reason) => return Ok(reason),
        };
        self.trouble.store(None);
        let mut join = Join::new(self.journal.max_bytes);
        let mut batch = Batch::new();
        let mut quiet_since = Instant::now();
        loop {
            let read = tokio::time::timeout(self.patience.more, child.read()).await;
            match read {
                Ok(Read::Entry(entry)) => {
                    quiet_since = Instant::now();
                    self.take(&entry, &mut join, &mut batch);
                    if batch.bytes >= CHUNK_BYTES {
                        self.say_how_far(&join);
                        self.send(&mut batch, &join).await?;
                    }
                    continue;
                }
                Ok(Read::TooLong(bytes)) => {
                    self.losses.add("journal", "too_long", 1, bytes as u64);
                    continue;
                }
                Ok(Read::End(reason)) => {
                    self.send(&mut batch, &join).await?;
                    return Ok(reason);
                }
                Err(_) => {
                    self.caught_up = Instant::now();
                    behind(Duration::ZERO);
                }
            }
            for record in join.overdue(self.patience.parts) {
                self.add(record, &mut batch);
            }
            let passed = batch.cursor.is_some() && batch.since.elapsed() >= MOVE;
            if !batch.entries.is_empty() || passed {
                self.send(&mut batch, &join).await?;
            }
            if quiet_since.elapsed() >= self.patience.stall {
                quiet_since = Instant::now();
                let newest = child::newest(&self.journal).await.ok().flatten();
                let seen = batch
                    .cursor
                    .as_ref()
                    .or(join.last())
                    .or(self.cursor.as_ref());
                if newest.is_some() && newest.as_ref() != seen && child.is_quiet() {
                    // It had time to say so, and did not.
                    self.send(&mut batch, &join).await?;
                    return Ok("journalctl follows no more".to_owned());
                }
            }
        }
    }

    /// The cursor behind which to begin; none is the oldest entry.
    async fn place_to_begin(&mut self) -> Result<Option<String>, String> {
        self.gone = None;
        match &self.cursor {
            Some(cursor) => {
                if child::has(&self.journal, cursor).await? {
                    return Ok(Some(cursor.clone()));
                }
                metrics::counter!("mscp_log_collect_journal_gaps_total").increment(1);
                tracing::warn!(
                    %cursor,
                    "the entry that was read last is not in the journal any more; entries behind it may be lost, and it is read from its oldest one"
                );
                self.gone = Some(cursor.clone());
                Ok(None)
            }
            None if self.journal.at_head => Ok(None),
            None => child::newest(&self.journal).await,
        }
    }

    /// An entry as `journalctl` writes it.
    fn take(&mut self, json: &[u8], join: &mut Join, batch: &mut Batch) {
        match join.take(json) {
            Ok(records) => {
                for record in records {
                    self.add(record, batch);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an entry of the journal cannot be read");
                self.losses
                    .add("journal", "malformed", 1, json.len() as u64);
            }
        }
        batch.cursor = join.last().cloned();
        if let Some(next) = &batch.cursor
            && let Some(gone) = self.gone.take()
        {
            // Nobody can know how many there were where entries were counted anew.
            let between = entries_between(&gone, next).unwrap_or(1);
            self.losses.add("journal", "gap", between, 0);
        }
    }

    /// How old the entry is that was read last.
    fn say_how_far(&self, join: &Join) {
        if let Some(read_us) = join.last_us() {
            let us = now_us().saturating_sub(read_us);
            behind(Duration::from_micros(u64::try_from(us).unwrap_or_default()));
        }
    }

    fn add(&mut self, record: join::Record, batch: &mut Batch) {
        let cut = record.cut as u64;
        self.losses
            .add("journal", "too_long", u64::from(cut > 0), cut);
        if let Some(uid) = self
            .machine
            .pod_of(&record.container_name, record.host.as_deref())
            && !batch.pods.contains_key(&*uid)
            && let Some(pod) = self.machine.pod(&uid)
        {
            batch.pods.insert(uid.into(), pod);
        }
        batch.bytes += record.json.len();
        batch.entries.push(record.json);
    }

    /// Hand over what was read. The place is before lines whose parts are not
    /// all there: entries behind it that are read again are the same records.
    async fn send(&mut self, batch: &mut Batch, join: &Join) -> Result<(), Unwanted> {
        let batch = std::mem::replace(batch, Batch::new());
        let before_open = join.before_open().map(str::to_owned);
        let cursor = before_open.or(batch.cursor).or_else(|| self.cursor.clone());
        let Some(cursor) = cursor else {
            return Ok(());
        };
        let place = Place::Journal(cursor.clone());
        let item = if batch.entries.is_empty() {
            if self.cursor.as_ref() == Some(&cursor) {
                return Ok(());
            }
            Item::place(place)
        } else {
            let (records, bytes) = (batch.entries.len() as u64, batch.bytes as u64);
            metrics::counter!("mscp_log_collect_records_total", "source" => "journal")
                .increment(records);
            metrics::counter!("mscp_log_collect_bytes_total", "source" => "journal")
                .increment(bytes);
            let chunk = Writer::new(&self.machine.head(now_us(), batch.pods, None));
            let chunk = chunk.and_then(|mut chunk| {
                batch.entries.iter().for_each(|entry| chunk.entry(entry));
                chunk.end(&place)
            });
            match chunk {
                Ok(chunk) => Item::records(place, chunk),
                Err(error) => {
                    tracing::error!(%error, "a chunk of the journal cannot be written");
                    return Err(Unwanted);
                }
            }
        };
        let mut items = self.losses.changed();
        items.push(item);
        self.hand_over(items).await?;
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn hand_over(&self, items: Vec<Item>) -> Result<(), Unwanted> {
        let room = loop {
            match tokio::time::timeout(TELL, self.items.reserve()).await {
                Ok(room) => break room.map_err(|_| Unwanted)?,
                Err(_) => behind(self.caught_up.elapsed()),
            }
        };
        room.send(items);
        Ok(())
    }
}

fn behind(for_: Duration) {
    metrics::gauge!("mscp_log_collect_behind_seconds", "source" => "journal")
        .set(for_.as_secs_f64());
}

/// How many entries the journal had between these two, of containers or not,
/// as far as their cursors tell: those of one sequence are numbered
/// (systemd.journal-fields(7), `__SEQNUM`).
fn entries_between(before: &str, after: &str) -> Option<u64> {
    let part = |cursor: &str, name: &str| {
        let mut parts = cursor.split(';').filter_map(|part| part.split_once('='));
        let found = parts.find(|(key, _)| *key == name)?;
        Some(found.1.to_owned())
    };
    let number = |cursor: &str| u64::from_str_radix(&part(cursor, "i")?, 16).ok();
    let same = part(before, "s")? == part(after, "s")?;
    let between = number(after)?
        .checked_sub(number(before)?)?
        .checked_sub(1)?;
    same.then_some(between)
}

#[cfg(test)]
mod tests;
