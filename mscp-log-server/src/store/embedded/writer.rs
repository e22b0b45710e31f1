//! The one thread that writes: it takes batches of the buffer and requests of
//! clients in turn, and commits every partition it touched together.
//!
//! Batches wait in memory until a commit has them, so that after a failed
//! commit (a full disk) the same records are put in again without the buffer
//! being read again. Requests of clients are answered when they are durable in
//! the log (see [`super::log`]), and those that ask for it by the commit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use mscp_log_core::record::time::Day;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::catalog::{Catalog, CatalogError};
use super::changes::{Changes, present_of};
use super::dedup::{Key, Known};
use super::documents::{self, Document, DocumentError};
use super::ids::DocumentId;
use super::indices::{check_name, day_before, partition_of};
use super::log;
use super::open::OpenPartitions;
use super::schema::{Fields, schema};
use super::sight::Sight;
use crate::buffer::Batch;
use crate::buffer::dead_letters::{DeadLetters, Refused};
use crate::buffer::disk::log::Log;
use crate::clock;

/// Requests that wait for the thread; more wait for room.
const MAX_QUEUED: usize = 16;

/// How long a failed store waits until it tries again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// How long a commit waits for as many requests as the last one answered:
/// clients that were answered together write again together, and a commit for
/// each of them would cost several times as much.
const GATHERING: Duration = Duration::from_millis(50);

/// How much longer a commit may wait while nobody searches.
const UNSEEN: u32 = 10;

/// Bytes of the log at which a commit comes, so that a start has no more of it
/// to read. One request may be longer.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// How often the thread looks for writers that have nothing to do.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Sizes and times of writing.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterSettings {
    /// Memory of all open writers together, in bytes.
    pub(super) memory_bytes: u64,
    /// Longest that a record waits for the commit that shows it, while there
    /// are searches.
    pub(super) commit_interval: Duration,
}

/// What a client wants done with one document.
pub(super) enum Operation {
    /// Write it; `create` refuses where it is there already.
    Put {
        key: Key,
        document: Document,
        create: bool,
    },
    Delete {
        key: Key,
    },
}

impl Operation {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// What became of an [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Created,
    Updated,
    Deleted,
    NotFound,
    Conflict,
}

/// The store does not take anything now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unavailable(pub(super) String);

impl From<CatalogError> for Unavailable {
    fn from(error: CatalogError) -> Self {
        Self(error.to_string())
    }
}

impl From<tantivy::TantivyError> for Unavailable {
    fn from(error: tantivy::TantivyError) -> Self {
        Self(error.to_string())
    }
}

type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;

/// Somebody whom the next commit, or its failure, answers.
type Waiting = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

enum Command {
    Bulk(Batch, Reply<()>),
    Write(Vec<Operation>, Answered, Reply<Vec<Outcome>>),
    Delete(Vec<Box<str>>, Reply<()>),
    Refresh(Waiting),
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// When it is durable. Searches find it, as they wait for the commit that
    /// shows it ([`Writer::shown`]).
    Durable,
    /// When a commit has it.
    Committed,
}

/// The answer to a write. It is given when the last holder lets go: the commit,
/// where it waits for that, and each part of it that is on its way to the log.
struct Acknowledgement {
    reply: Option<Reply<Vec<Outcome>>>,
    result: Mutex<Result<Vec<Outcome>, Unavailable>>,
}

impl Acknowledgement {
    fn new(reply: Reply<Vec<Outcome>>) -> Arc<Self> {
        Arc::new(Self {
            reply: Some(reply),
            result: Mutex::new(Ok(Vec::new())),
        })
    }

    fn outcomes(&self, outcomes: Vec<Outcome>) {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(known) = &mut *result {
            *known = outcomes;
        }
    }

    fn fail(&self, reason: Unavailable) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Err(reason);
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        let result = self.result.get_mut();
        let result = result.unwrap_or_else(PoisonError::into_inner);
        if let Some(reply) = self.reply.take() {
            answer(reply, std::mem::replace(result, Ok(Vec::new())));
        }
    }
}

/// The thread, from outside.
pub(super) struct Writer {
    /// `None` only while the store is being dropped.
    sender: Option<Sender<(Command, Option<OwnedSemaphorePermit>)>>,
    room: Arc<Semaphore>,
    durable: Arc<Durable>,
    sight: Arc<Sight>,
    trouble: Arc<ArcSwapOption<Unavailable>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        catalog: Arc<Catalog>,
        settings: WriterSettings,
        letters: Arc<DeadLetters>,
        log: Log,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let durable = Arc::new(Durable::default());
        let sight = Arc::new(Sight::new(settings.commit_interval));
        if log.bytes() > 0 {
            sight.client_wrote();
        }
        let trouble = Arc::new(ArcSwapOption::empty());
        let (_, fields) = schema();
        let worker = Worker {
            open: OpenPartitions::new(catalog.clone(), settings.memory_bytes),
            catalog,
            fields,
            letters,
            settings,
            log: Some(log),
            replaying: false,
            sight: Arc::clone(&sight),
            durable: Arc::clone(&durable),
            unacknowledged: Vec::new(),
            unacknowledged_bytes: 0,
            trouble: Arc::clone(&trouble),
            waiting: Vec::new(),
            waiting_since: None,
            answered_last: 0,
            dirty_since: None,
            failure: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            sender: Some(sender),
            room: Arc::new(Semaphore::new(MAX_QUEUED)),
            durable,
            sight,
            trouble,
            thread: Some(thread),
        })
    }

    /// Put a batch in; done when the store is ready for the next.
    pub(super) async fn bulk(&self, batch: Batch) -> Result<(), Unavailable> {
        self.ask(|reply| Command::Bulk(batch, reply)).await
    }

    /// Do what clients want; done when it is durable, or committed.
    pub(super) async fn write(
        &self,
        operations: Vec<Operation>,
        when: Answered,
    ) -> Result<Vec<Outcome>, Unavailable> {
        self.ask(|reply| Command::Write(operations, when, reply))
            .await
    }

    /// Delete indices with all their documents.
    pub(super) async fn delete(&self, names: Vec<Box<str>>) -> Result<(), Unavailable> {
        self.ask(|reply| Command::Delete(names, reply)).await
    }

    /// Make everything that was taken durable and found.
    pub(super) async fn refresh(&self) -> Result<(), Unavailable> {
        self.ask(|reply| Command::Refresh(Box::new(|result| answer(reply, result))))
            .await
    }

    /// As [`Writer::refresh`], for threads that may block.
    pub(super) fn refresh_blocking(&self) -> Result<(), Unavailable> {
        let stopped = || Unavailable("the store is stopping".to_owned());
        let (reply, answer) = channel();
        let waiting: Waiting = Box::new(move |result| {
            let _ = reply.send(result);
        });
        let sender = self.sender.as_ref().ok_or_else(stopped)?;
        sender
            .send((Command::Refresh(waiting), None))
            .map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// Somebody is about to read: done when everything that a client was
    /// answered for is found, and what is committed by time is not too old.
    pub(super) async fn shown(&self) -> Result<(), Unavailable> {
        if self.sight.reads() {
            self.refresh().await
        } else {
            Ok(())
        }
    }

    /// Everything below is durable.
    pub(super) fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.durable.subscribe(partition)
    }

    /// Why the store takes nothing now, while that is so.
    pub(super) fn trouble(&self) -> Option<Arc<Unavailable>> {
        self.trouble.load_full()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Unavailable> {
        let stopped = || Unavailable("the store is stopping".to_owned());
        let permit = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        self.sender
            .as_ref()
            .ok_or_else(stopped)?
            .send((command(reply), Some(permit)))
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// What was taken is committed before the data folder is let go.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// For each partition of the buffer, the first number that is not durable.
#[derive(Default)]
struct Durable(Mutex<HashMap<u32, watch::Sender<u64>>>);

impl Durable {
    fn subscribe(&self, partition: u32) -> watch::Receiver<u64> {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.entry(partition).or_default().subscribe()
    }

    fn advance(&self, partition: u32, next: u64) {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = senders.entry(partition).or_default();
        sender.send_modify(|known| *known = next);
    }
}

struct Failure {
    reason: Unavailable,
    retry_at: Instant,
    backoff: Duration,
}

struct Worker {
    catalog: Arc<Catalog>,
    open: OpenPartitions,
    fields: Fields,
    letters: Arc<DeadLetters>,
    settings: WriterSettings,
    /// What clients wrote and no commit has; `None` only while it is opened.
    log: Option<Log>,
    /// The log is being read: no commit may forget it.
    replaying: bool,
    sight: Arc<Sight>,
    durable: Arc<Durable>,
    /// Put in, and in no commit yet.
    unacknowledged: Vec<Batch>,
    unacknowledged_bytes: u64,
    /// Why nothing is taken, for those who ask.
    trouble: Arc<ArcSwapOption<Unavailable>>,
    /// Clients that the next commit answers.
    waiting: Vec<Waiting>,
    /// When the first of them came.
    waiting_since: Option<Instant>,
    /// How many the last commit answered.
    answered_last: usize,
    dirty_since: Option<Instant>,
    failure: Option<Failure>,
}

/// A record of the buffer on its way into a partition.
struct Incoming {
    key: Key,
    document: Document,
    time_of_receipt: bool,
}

impl Worker {
    fn run(mut self, commands: &Receiver<(Command, Option<OwnedSemaphorePermit>)>) {
        if self.log.as_ref().is_some_and(|log| log.bytes() > 0) {
            self.recover();
        }
        loop {
            let patience = self.patience();
            match commands.recv_timeout(patience) {
                Ok((command, permit)) => {
                    self.handle(command);
                    drop(permit);
                }
                Err(RecvTimeoutError::Timeout) if !self.waiting.is_empty() => self.commit(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if self.failure.as_ref().is_some_and(|it| it.retry_at <= now) {
                self.recover();
            }
            let late = self
                .dirty_since
                .is_some_and(|since| now >= since + self.commit_interval());
            let much = self.unacknowledged_bytes >= self.settings.memory_bytes / 2
                || self.log.as_ref().map_or(0, Log::bytes) >= MAX_LOG_BYTES;
            if late || much {
                self.commit();
            }
            self.open.close_idle(now);
        }
        self.commit();
    }

    /// How long to wait for the next command. While clients wait, the commit
    /// waits only for what already came, and for those who came with them.
    fn patience(&self) -> Duration {
        let Some(since) = self.waiting_since else {
            return self.next_wake();
        };
        if self.waiting.len() < self.answered_last {
            GATHERING.saturating_sub(since.elapsed())
        } else {
            Duration::ZERO
        }
    }

    /// While nobody searches, fewer and larger commits cost less.
    fn commit_interval(&self) -> Duration {
        if self.sight.is_looked_at() {
            self.settings.commit_interval
        } else {
            self.settings.commit_interval.saturating_mul(UNSEEN)
        }
    }

    fn next_wake(&self) -> Duration {
        let now = Instant::now();
        let commit = self.dirty_since.map(|since| since + self.commit_interval());
        let retry = self.failure.as_ref().map(|failure| failure.retry_at);
        [commit, retry]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .fold(HOUSEKEEPING, Duration::min)
    }

    fn handle(&mut self, command: Command) {
        if let Some(failure) = &self.failure {
            let reason = failure.reason.clone();
            match command {
                Command::Bulk(_, reply) | Command::Delete(_, reply) => answer(reply, Err(reason)),
                Command::Refresh(waiting) => waiting(Err(reason)),
                Command::Write(_, _, reply) => answer(reply, Err(reason)),
            }
            return;
        }
        match command {
            Command::Bulk(batch, reply) => {
                let result = self.bulk(batch);
                if let Err(reason) = &result {
                    self.fail(reason.clone());
                }
                answer(reply, result);
            }
            Command::Write(operations, when, reply) => self.write(operations, when, reply),
            Command::Delete(names, reply) => {
                let result = self.delete(&names);
                if let Err(reason) = &result {
                    self.fail(reason.clone());
                }
                answer(reply, result);
            }
            Command::Refresh(waiting) => self.wait(waiting),
        }
    }

    fn wait(&mut self, waiting: Waiting) {
        self.waiting_since.get_or_insert_with(Instant::now);
        self.waiting.push(waiting);
    }

    fn bulk(&mut self, batch: Batch) -> Result<(), Unavailable> {
        self.put(&batch)?;
        self.dirty();
        let bytes: usize = batch.records.iter().map(bytes::Bytes::len).sum();
        self.unacknowledged_bytes += bytes as u64;
        self.unacknowledged.push(batch);
        Ok(())
    }

    /// Put the records of a batch in that are not there. What cannot be stored
    /// is a dead letter before the batch counts as taken.
    fn put(&mut self, batch: &Batch) -> Result<(), Unavailable> {
        // By partition, so that a batch from many days opens each writer once.
        let mut by_partition: BTreeMap<Box<str>, Vec<Incoming>> = BTreeMap::new();
        let mut names = HashMap::new();
        let mut refused = Vec::new();
        for record in &batch.records {
            match incoming(record, &self.fields, &mut names) {
                Ok(incoming) => by_partition
                    .entry(partition_of(&incoming.key.index).into())
                    .or_default()
                    .push(incoming),
                Err(error) => {
                    tracing::warn!(%error, "a record is a dead letter");
                    refused.push(refusal(&error, record.clone()));
                }
            }
        }
        if !refused.is_empty() {
            let kept = self.letters.add(&refused, clock::now_us() / 1_000);
            kept.map_err(|error| Unavailable(error.to_string()))?;
        }
        for (name, records) in by_partition {
            self.put_in(&name, records)?;
        }
        Ok(())
    }

    fn put_in(&mut self, name: &str, records: Vec<Incoming>) -> Result<(), Unavailable> {
        let received_before = self.received_the_day_before(&records)?;
        self.make_room(name)?;
        let open = self.open.writing(name)?;
        let present = present_of(open, records.iter().map(|record| &record.key))?;
        for record in records {
            let again = present.contains(&record.key)
                || received_before.contains(&record.key)
                || open.seen.known(&record.key) == Known::Present;
            if again {
                metrics::counter!("mscp_log_store_duplicate_records_total").increment(1);
            } else {
                open.add(record.key, record.document)?;
            }
        }
        Ok(())
    }

    /// Records whose time is only when they were received may have come before
    /// midnight already, under the name of that day's index.
    fn received_the_day_before(
        &mut self,
        records: &[Incoming],
    ) -> Result<HashSet<Key>, Unavailable> {
        let pairs: Vec<(Key, &Key)> = records
            .iter()
            .filter(|record| record.time_of_receipt)
            .filter_map(|record| {
                let index = day_before(&record.key.index)?.into();
                let id = record.key.id.clone();
                Some((Key { index, id }, &record.key))
            })
            .collect();
        let Some((first, _)) = pairs.first() else {
            return Ok(HashSet::new());
        };
        let Some(open) = self.open.reading(partition_of(&first.index))? else {
            return Ok(HashSet::new());
        };
        let present = present_of(open, pairs.iter().map(|(before, _)| before))?;
        let again = pairs
            .iter()
            .filter(|(before, _)| present.contains(before))
            .map(|(_, now)| (*now).clone());
        Ok(again.collect())
    }

    /// Writers are few: where all of them hold something, commit it first.
    fn make_room(&mut self, name: &str) -> Result<(), Unavailable> {
        if self.open.has_room_for(name) {
            return Ok(());
        }
        self.try_commit()
    }

    fn dirty(&mut self) {
        self.dirty_since.get_or_insert_with(Instant::now);
        self.sight.dirty();
    }

    fn write(&mut self, operations: Vec<Operation>, when: Answered, reply: Reply<Vec<Outcome>>) {
        let acknowledgement = Acknowledgement::new(reply);
        // Before anybody is answered, so that who reads then waits for it.
        self.sight.client_wrote();
        let logged = (when == Answered::Durable).then_some(&acknowledgement);
        match self.apply(operations, logged) {
            Ok((outcomes, rests)) => {
                acknowledgement.outcomes(outcomes);
                if when == Answered::Committed || rests {
                    self.wait(Box::new(move |result| {
                        if let Err(reason) = result {
                            acknowledgement.fail(reason);
                        }
                    }));
                }
            }
            Err(reason) => {
                acknowledgement.fail(reason.clone());
                self.fail(reason);
            }
        }
    }

    /// Do what is wanted; what becomes of each document is noted in the log
    /// where somebody is to be told when it is durable there. Also whether an
    /// answer rests on what no commit has and this did not note.
    fn apply(
        &mut self,
        operations: Vec<Operation>,
        logged: Option<&Arc<Acknowledgement>>,
    ) -> Result<(Vec<Outcome>, bool), Unavailable> {
        let mut outcomes = vec![Outcome::NotFound; operations.len()];
        let mut rests = false;
        let mut by_partition: BTreeMap<Box<str>, Vec<(usize, Operation)>> = BTreeMap::new();
        for (place, operation) in operations.into_iter().enumerate() {
            by_partition
                .entry(partition_of(&operation.key().index).into())
                .or_default()
                .push((place, operation));
        }
        for (name, operations) in by_partition {
            self.make_room(&name)?;
            for operation in &operations {
                if let (_, Operation::Delete { key }) = operation {
                    // An index outlives its last document.
                    if self.catalog.has_index(&key.index)? {
                        self.catalog.keep_index(&key.index)?;
                    }
                }
            }
            let seen = &self.open.writing(&name)?.seen;
            let mut keys = operations.iter().map(|(_, operation)| operation.key());
            let uncommitted = keys.any(|key| seen.is_uncommitted(key));
            if uncommitted && !self.unacknowledged.is_empty() {
                // After a crash the log is read before the buffer: what changes
                // a record of the buffer must find it in a commit.
                self.try_commit()?;
            }
            let open = self.open.writing(&name)?;
            let changes = Changes::of(open, operations, &mut outcomes)?;
            rests |= uncommitted && changes.leaves_some;
            if let Some(acknowledgement) = logged
                && !changes.is_empty()
            {
                let records = changes.noted();
                let log = self.log.as_mut().ok_or_else(no_log)?;
                let held = Arc::clone(acknowledgement);
                log.append(records, move |result| {
                    if let Err(reason) = result {
                        held.fail(reason.into());
                    }
                })?;
            }
            changes.make(open)?;
        }
        self.dirty();
        Ok((outcomes, rests))
    }

    fn delete(&mut self, names: &[Box<str>]) -> Result<(), Unavailable> {
        self.try_commit()?;
        let mut by_partition: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            by_partition
                .entry(partition_of(name))
                .or_default()
                .push(name);
        }
        for (name, indices) in by_partition {
            let Some(partition) = self.catalog.partition(name)? else {
                continue;
            };
            let snapshot = partition.snapshot();
            let here = snapshot.indices()?;
            if here.keys().all(|index| indices.contains(&&**index)) {
                self.open.close(name)?;
                self.catalog.remove_partition(name)?;
                continue;
            }
            self.make_room(name)?;
            let open = self.open.writing(name)?;
            for index in indices {
                open.delete_index(index)?;
            }
        }
        self.try_commit()?;
        for name in names {
            self.catalog.forget_index(name)?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        if self.failure.is_some() {
            return;
        }
        if let Err(reason) = self.try_commit() {
            self.fail(reason);
        }
    }

    /// Commit all that was touched, and say so to all who wait for it.
    fn try_commit(&mut self) -> Result<(), Unavailable> {
        self.open.commit()?;
        if !self.replaying
            && let Some(log) = &mut self.log
        {
            log.forget().map_err(Unavailable)?;
        }
        if self.failure.take().is_some() {
            self.trouble.store(None);
            tracing::info!("the store writes again");
        }
        self.dirty_since = None;
        if !self.replaying {
            self.sight.committed();
        }
        self.unacknowledged_bytes = 0;
        for batch in self.unacknowledged.drain(..) {
            self.durable
                .advance(batch.position.partition, batch.position.next);
        }
        self.answered_last = self.waiting.len();
        self.waiting_since = None;
        for answer in self.waiting.drain(..) {
            answer(Ok(()));
        }
        Ok(())
    }

    /// Let go of everything that no commit has; [`Worker::recover`] does again
    /// what the log tells of, and puts the batches in again.
    fn fail(&mut self, reason: Unavailable) {
        metrics::counter!("mscp_log_store_failures_total").increment(1);
        tracing::error!(%reason, "the store cannot write");
        self.open.abandon();
        self.trouble.store(Some(Arc::new(reason.clone())));
        self.dirty_since = None;
        self.waiting_since = None;
        for answer in self.waiting.drain(..) {
            answer(Err(reason.clone()));
        }
        let backoff = self
            .failure
            .as_ref()
            .map_or(FIRST_RETRY, |failure| (failure.backoff * 2).min(LAST_RETRY));
        self.failure = Some(Failure {
            reason,
            retry_at: Instant::now() + backoff,
            backoff,
        });
    }

    fn recover(&mut self) {
        // A commit meanwhile must not take them as durable.
        let batches = std::mem::take(&mut self.unacknowledged);
        self.replaying = true;
        let replayed = self.replay();
        self.replaying = false;
        let put = replayed.and_then(|()| batches.iter().try_for_each(|batch| self.put(batch)));
        // In front of the commit, which takes them as durable.
        self.unacknowledged = batches;
        if let Err(reason) = put.and_then(|()| self.try_commit()) {
            self.fail(reason);
        }
    }

    /// Do again what the log tells of.
    fn replay(&mut self) -> Result<(), Unavailable> {
        let log = self.log.take();
        // What failed is closed before it is opened again.
        let log = match log.filter(|log| log.failure().is_none()) {
            Some(log) => log,
            None => log::open(self.catalog.folder())?,
        };
        let fields = self.fields.clone();
        let replayed = log::replay(&log, &fields, |operations| {
            self.apply(operations, None).map(drop)
        });
        self.log = Some(log);
        let count = replayed?;
        if count > 0 {
            tracing::info!(
                documents = count,
                "writes were read again from the store's log"
            );
        }
        Ok(())
    }
}

fn no_log() -> Unavailable {
    Unavailable("the log of the store is not open".to_owned())
}

fn answer<T>(reply: Reply<T>, result: Result<T, Unavailable>) {
    // Nobody may be waiting any more; then nobody needs to know.
    let _ = reply.send(result);
}

/// A record that cannot be stored. Its index is not told: what it should have
/// been made of may be what is wrong.
fn refusal(error: &DocumentError, document: bytes::Bytes) -> Refused {
    let mut reason = error.reason.clone();
    if let Some((_, below)) = &error.cause {
        reason = format!("{reason}: {below}");
    }
    Refused {
        index: String::new(),
        kind: "document_parsing_exception".to_owned(),
        reason,
        document,
    }
}

/// Read a record of the buffer. `names` keeps one copy of each index name.
fn incoming(
    record: &[u8],
    fields: &Fields,
    names: &mut HashMap<String, Arc<str>>,
) -> Result<Incoming, DocumentError> {
    let mut prepared = documents::prepare(record, fields, documents::Id::Own)?;
    let missing = |field: &str| DocumentError::missing(field);
    let base = prepared.index.take().ok_or_else(|| missing("index"))?;
    let timestamp_ms = prepared.timestamp_ms.ok_or_else(|| missing("@timestamp"))?;
    let day = Day::of_us(timestamp_ms.saturating_mul(1_000));
    let name = format!("{base}-{day}");
    let index = match names.get(&name) {
        Some(index) => Arc::clone(index),
        None => {
            check_name(&name).map_err(DocumentError::new)?;
            let index: Arc<str> = name.as_str().into();
            names.insert(name, Arc::clone(&index));
            index
        }
    };
    prepared.document.set_index(fields, &index);
    let id: DocumentId = prepared.id;
    Ok(Incoming {
        key: Key { index, id },
        document: prepared.document,
        time_of_receipt: prepared.time_of_receipt,
    })
}
