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

use arc_swap::ArcSwapOption;
use mscp_log_core::clean::chunk::{Pod, Writer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keep::{Item, Place};
use super::machine::Machine;
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

/// Longest that passed-over entries do not move the position.
const MOVE: Duration = Duration::from_secs(5);

/// Why the journal is not read, while it is not.
pub type Trouble = Arc<ArcSwapOption<String>>;

/// Read from behind `cursor` on until `stop`, or until nobody takes what is
/// read.
pub async fn run(
    journal: Journal,
    machine: Arc<Machine>,
    cursor: Option<String>,
    items: mpsc::Sender<Vec<Item>>,
    trouble: Trouble,
    stop: CancellationToken,
) {
    let mut source = Source {
        journal,
        machine,
        cursor,
        items,
        trouble,
        patience: PATIENCE,
    };
    tokio::select! {
        () = source.follow() => {}
        () = stop.cancelled() => {}
    }
}

struct Source {
    journal: Journal,
    machine: Arc<Machine>,
    /// Everything up to it was handed over.
    cursor: Option<String>,
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
                        self.send(&mut batch, &join).await?;
                    }
                    continue;
                }
                Ok(Read::TooLong(bytes)) => {
                    lost("too_long", bytes);
                    continue;
                }
                Ok(Read::End(reason)) => {
                    self.send(&mut batch, &join).await?;
                    return Ok(reason);
                }
                Err(_) => {}
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
                Ok(None)
            }
            None if self.journal.at_head => Ok(None),
            None => child::newest(&self.journal).await,
        }
    }

    /// An entry as `journalctl` writes it.
    fn take(&self, json: &[u8], join: &mut Join, batch: &mut Batch) {
        match join.take(json) {
            Ok(records) => {
                for record in records {
                    self.add(record, batch);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an entry of the journal cannot be read");
                lost("malformed", json.len());
            }
        }
        batch.cursor = join.last().cloned();
    }

    fn add(&self, record: join::Record, batch: &mut Batch) {
        lost("too_long", record.cut);
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
        self.hand_over(vec![item]).await?;
        self.cursor = Some(cursor);
        Ok(())
    }

    async fn hand_over(&self, items: Vec<Item>) -> Result<(), Unwanted> {
        self.items.send(items).await.map_err(|_| Unwanted)
    }
}

fn lost(reason: &'static str, bytes: usize) {
    if bytes > 0 {
        metrics::counter!("mscp_log_collect_lost_bytes_total", "source" => "journal", "reason" => reason)
            .increment(bytes as u64);
    }
}

#[cfg(test)]
mod tests;
