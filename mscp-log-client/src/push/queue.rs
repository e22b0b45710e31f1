//! The queue between callers and the worker: bounds, losses by reason, and
//! who may be told that their records are settled.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{Overflow, PushSettings, Record};

/// Why a record is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loss {
    /// There was no place in the queue.
    Full,
    /// The pusher was closed already.
    Closed,
    /// The server, or the client in its stead, found the record malformed.
    Rejected,
    /// Larger than the server, or the queue, takes.
    TooLarge,
    /// No valid credential.
    Unauthorized,
    /// The token does not grant a push to the record's app.
    Forbidden,
    /// The server did not accept it within the deadline.
    Deadline,
}

impl Loss {
    const ALL: [Loss; 7] = [
        Loss::Full,
        Loss::Closed,
        Loss::Rejected,
        Loss::TooLarge,
        Loss::Unauthorized,
        Loss::Forbidden,
        Loss::Deadline,
    ];

    /// The reason in one word, as it is written in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Loss::Full => "full",
            Loss::Closed => "closed",
            Loss::Rejected => "rejected",
            Loss::TooLarge => "too_large",
            Loss::Unauthorized => "unauthorized",
            Loss::Forbidden => "forbidden",
            Loss::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lost records, counted by reason, with what was said about the last of each.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    counts: BTreeMap<Loss, (u64, String)>,
}

impl Losses {
    /// Lost for this reason.
    #[must_use]
    pub fn of(&self, reason: Loss) -> u64 {
        self.counts.get(&reason).map_or(0, |(count, _)| *count)
    }

    /// Lost for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().map(|(count, _)| count).sum()
    }

    /// Every reason that occurred, how often, and the last words about it.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64, &str)> {
        Loss::ALL.into_iter().filter_map(|reason| {
            let (count, words) = self.counts.get(&reason)?;
            Some((reason, *count, words.as_str()))
        })
    }

    fn add(&mut self, reason: Loss, count: u64, words: &str) {
        let entry = self.counts.entry(reason).or_default();
        entry.0 += count;
        if !words.is_empty() {
            words.clone_into(&mut entry.1);
        }
    }
}

/// A record was not taken into the queue.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the record was not taken: {words}")]
pub struct NotTaken {
    reason: Loss,
    words: String,
}

impl NotTaken {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> Loss {
        self.reason
    }
}

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Whether every record that was queued before the call is settled.
    pub complete: bool,
    /// Records still held.
    pub pending: usize,
}

/// What became of all records of a pusher.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Accepted by the server: durable.
    pub sent: u64,
    /// Lost, by reason.
    pub dropped: Losses,
    /// Held, and neither accepted nor lost.
    pub pending: usize,
}

/// An encoded record in the queue.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) body: Bytes,
    place: u64,
    since: Instant,
}

/// Records of one app on their way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) app: Uuid,
    pub(super) records: Vec<Queued>,
}

/// What the worker has to do next.
pub(super) enum Next {
    Send(Batch),
    /// Nothing is ready before then, unless told.
    Wait(Option<Instant>),
    /// Closed and empty, or abandoned.
    End,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: PushSettings,
    state: Mutex<State>,
    /// Tells the worker that there may be something to do.
    work: Notify,
    /// Counts up whenever a record is settled.
    settled: watch::Sender<u64>,
    settled_blocking: Condvar,
}

#[derive(Debug, Default)]
struct State {
    apps: HashMap<Uuid, Waiting>,
    /// The smallest place of each batch on its way.
    on_way: BTreeMap<u64, u64>,
    next_place: u64,
    next_batch: u64,
    /// Places before this one are sent without lingering.
    flush_before: u64,
    held: usize,
    held_bytes: usize,
    sent: u64,
    dropped: Losses,
    closing: bool,
    abandoned: bool,
    over: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Queued>,
    bytes: usize,
}

/// Marks the worker as ended, however it ended.
pub(super) struct Over(pub(super) Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.over = true;
        state.closing = true;
        drop(state);
        self.0.tell();
    }
}

impl Shared {
    pub(super) fn new(settings: PushSettings) -> Shared {
        Shared {
            settings,
            state: Mutex::default(),
            work: Notify::new(),
            settled: watch::Sender::new(0),
            settled_blocking: Condvar::new(),
        }
    }

    pub(super) fn push(&self, record: &Record) -> Result<(), NotTaken> {
        let body = self.encode(record)?;
        let mut state = self.lock();
        self.check_open(&mut state)?;
        if self.is_full(&state, body.len()) && self.settings.overflow == Overflow::DropOldest {
            self.make_place(&mut state, body.len());
        }
        if self.is_full(&state, body.len()) {
            return Err(self.lose_full(&mut state));
        }
        self.put(&mut state, record.app(), body);
        Ok(())
    }

    pub(super) async fn push_within(
        &self,
        record: &Record,
        limit: Duration,
    ) -> Result<(), NotTaken> {
        let body = self.encode(record)?;
        let until = tokio::time::Instant::now() + limit;
        let mut settled = self.settled.subscribe();
        loop {
            {
                let mut state = self.lock();
                self.check_open(&mut state)?;
                if !self.is_full(&state, body.len()) {
                    self.put(&mut state, record.app(), body);
                    return Ok(());
                }
                // A full queue has nothing to linger for.
                state.flush_before = state.next_place;
            }
            self.work.notify_one();
            if tokio::time::timeout_at(until, settled.changed())
                .await
                .is_err()
            {
                return Err(self.lose_full(&mut self.lock()));
            }
        }
    }

    pub(super) async fn flush(&self, timeout: Duration) -> Flushed {
        let mut settled = self.settled.subscribe();
        let before = {
            let mut state = self.lock();
            state.flush_before = state.next_place;
            state.next_place
        };
        self.work.notify_one();
        let all = async {
            while !self.lock().is_settled(before) {
                if settled.changed().await.is_err() {
                    break;
                }
            }
        };
        let _ended_or_late = tokio::time::timeout(timeout, all).await;
        let state = self.lock();
        Flushed {
            complete: state.is_settled(before) && !state.over_with_rest(),
            pending: state.held,
        }
    }

    pub(super) async fn close(&self, timeout: Duration) -> Closed {
        let mut settled = self.settled.subscribe();
        self.end();
        let over = async {
            while !self.lock().over {
                if settled.changed().await.is_err() {
                    break;
                }
            }
        };
        let _ended_or_late = tokio::time::timeout(timeout, over).await;
        self.abandon()
    }

    pub(super) fn close_blocking(&self, timeout: Duration) {
        self.end();
        let wait = self
            .settled_blocking
            .wait_timeout_while(self.lock(), timeout, |state| !state.over);
        drop(wait);
        let _what_is_left_is_counted_as_pending = self.abandon();
    }

    /// No more records come; the worker sends what is left and ends.
    pub(super) fn end(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn progress(&self) -> Closed {
        self.lock().outcome()
    }

    pub(super) fn next(&self, now: Instant) -> Next {
        let settings = &self.settings;
        let mut state = self.lock();
        if state.abandoned {
            return Next::End;
        }
        let mut ready: Option<(u64, Uuid)> = None;
        let mut wake: Option<Instant> = None;
        for (app, waiting) in &state.apps {
            let Some(first) = waiting.records.front() else {
                continue;
            };
            let due = first.since + settings.linger;
            let go = state.closing
                || first.place < state.flush_before
                || waiting.records.len() >= settings.batch_records
                || waiting.bytes >= settings.batch_bytes
                || due <= now;
            if go && ready.is_none_or(|(place, _)| first.place < place) {
                ready = Some((first.place, *app));
            }
            wake = Some(wake.map_or(due, |wake| wake.min(due)));
        }
        let Some((_, app)) = ready else {
            let empty = state.apps.is_empty() && state.on_way.is_empty();
            return if state.closing && empty {
                Next::End
            } else {
                Next::Wait(wake)
            };
        };
        Next::Send(state.take(app, settings))
    }

    /// While no batch can be sent: only whether to stop.
    pub(super) fn wait_or_end(&self) -> Next {
        if self.lock().abandoned {
            Next::End
        } else {
            Next::Wait(None)
        }
    }

    pub(super) async fn told(&self) {
        self.work.notified().await;
    }

    pub(super) fn sent(&self, records: &[Queued]) {
        let mut state = self.lock();
        state.sent += records.len() as u64;
        state.release(records);
        drop(state);
        self.tell();
    }

    pub(super) fn lost(&self, records: &[Queued], reason: Loss, words: &str) {
        tracing::debug!(records = records.len(), %reason, words, "records were lost");
        let mut state = self.lock();
        state.dropped.add(reason, records.len() as u64, words);
        state.release(records);
        drop(state);
        self.tell();
    }

    /// A batch has no record left that is not settled.
    pub(super) fn done(&self, batch: u64) {
        self.lock().on_way.remove(&batch);
        self.tell();
    }

    fn abandon(&self) -> Closed {
        let mut state = self.lock();
        state.abandoned = true;
        let outcome = state.outcome();
        drop(state);
        self.work.notify_one();
        outcome
    }

    fn tell(&self) {
        self.settled
            .send_modify(|count| *count = count.wrapping_add(1));
        self.settled_blocking.notify_all();
    }

    fn encode(&self, record: &Record) -> Result<Bytes, NotTaken> {
        let body = record
            .encode()
            .map_err(|words| self.lose(&mut self.lock(), Loss::Rejected, words))?;
        if body.len() > self.settings.max_bytes {
            let words = format!("{} bytes are more than the queue holds", body.len());
            return Err(self.lose(&mut self.lock(), Loss::TooLarge, words));
        }
        Ok(body.into())
    }

    fn check_open(&self, state: &mut State) -> Result<(), NotTaken> {
        if state.closing {
            return Err(self.lose(state, Loss::Closed, "the pusher is closed".to_owned()));
        }
        Ok(())
    }

    fn lose_full(&self, state: &mut State) -> NotTaken {
        self.lose(state, Loss::Full, "the queue is full".to_owned())
    }

    fn lose(&self, state: &mut State, reason: Loss, words: String) -> NotTaken {
        state.dropped.add(reason, 1, &words);
        NotTaken { reason, words }
    }

    fn is_full(&self, state: &State, more: usize) -> bool {
        state.held >= self.settings.max_records || state.held_bytes + more > self.settings.max_bytes
    }

    /// Drops the oldest waiting records until `more` bytes fit or none waits.
    fn make_place(&self, state: &mut State, more: usize) {
        while self.is_full(state, more) {
            let oldest = state
                .apps
                .iter()
                .filter_map(|(app, waiting)| Some((waiting.records.front()?.place, *app)))
                .min();
            let Some((_, app)) = oldest else { break };
            let Some(record) = state.apps.get_mut(&app).and_then(Waiting::pop) else {
                break;
            };
            if state
                .apps
                .get(&app)
                .is_some_and(|waiting| waiting.records.is_empty())
            {
                state.apps.remove(&app);
            }
            state.dropped.add(
                Loss::Full,
                1,
                "the queue was full and dropped its oldest record",
            );
            state.release(&[record]);
        }
    }

    fn put(&self, state: &mut State, app: Uuid, body: Bytes) {
        let place = state.next_place;
        state.next_place += 1;
        state.held += 1;
        let size = body.len();
        state.held_bytes += size;
        let waiting = state.apps.entry(app).or_default();
        waiting.bytes += size;
        waiting.records.push_back(Queued {
            body,
            place,
            since: Instant::now(),
        });
        // The worker must hear of the first record, to begin its linger, and of
        // a full batch; it needs no word of those between.
        let count = waiting.records.len();
        let filled = waiting.bytes >= self.settings.batch_bytes
            && waiting.bytes - size < self.settings.batch_bytes;
        if count == 1 || count == self.settings.batch_records || filled {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock with a half-made change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, app: Uuid, settings: &PushSettings) -> Batch {
        let id = self.next_batch;
        self.next_batch += 1;
        let mut records = Vec::new();
        let mut bytes = 0;
        if let Some(waiting) = self.apps.get_mut(&app) {
            while let Some(next) = waiting.records.front() {
                let enough = records.len() >= settings.batch_records
                    || (!records.is_empty() && bytes + next.body.len() > settings.batch_bytes);
                if enough {
                    break;
                }
                bytes += next.body.len();
                records.extend(waiting.pop());
            }
            if waiting.records.is_empty() {
                self.apps.remove(&app);
            }
        }
        if let Some(first) = records.first() {
            self.on_way.insert(id, first.place);
        }
        Batch { id, app, records }
    }

    fn release(&mut self, records: &[Queued]) {
        self.held -= records.len();
        self.held_bytes -= records
            .iter()
            .map(|record| record.body.len())
            .sum::<usize>();
    }

    fn is_settled(&self, before: u64) -> bool {
        self.over
            || (self.on_way.values().all(|place| *place >= before)
                && self.apps.values().all(|waiting| {
                    waiting
                        .records
                        .front()
                        .is_none_or(|record| record.place >= before)
                }))
    }

    fn over_with_rest(&self) -> bool {
        self.over && self.held > 0
    }

    fn outcome(&self) -> Closed {
        Closed {
            sent: self.sent,
            dropped: self.dropped.clone(),
            pending: self.held,
        }
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Queued> {
        let record = self.records.pop_front()?;
        self.bytes -= record.body.len();
        Some(record)
    }
}
