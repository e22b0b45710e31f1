//! The queue between callers and the threads that send: bounds, and who may be
//! told that their records are settled.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use event_listener::{Event, Listener as _};
use uuid::Uuid;

use super::outcome::{Closed, Flushed, Loss, Losses, NotTaken};
use super::{Overflow, PushSettings, Record};

mod spill;

pub(super) use spill::{Job, SpillOver};
use spill::{Replay, Spilling};

/// An encoded record in the queue.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) body: Bytes,
    place: u64,
    since: Instant,
}

impl Queued {
    /// A record that was spilled. It has no place among those that wait.
    pub(super) fn from_file(body: Bytes) -> Queued {
        Queued {
            body,
            place: u64::MAX,
            since: Instant::now(),
        }
    }
}

/// Records of one app that are sent together, under one key.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) app: Uuid,
    pub(super) key: Uuid,
    pub(super) records: Vec<Queued>,
}

/// What the thread that keeps the time has to do next.
pub(super) enum Next {
    /// A batch may be sent: this is its number.
    Send(u64),
    /// Nothing is to be done before then, unless told.
    Wait(Option<Instant>),
    /// Closed and empty: what is left is the spill's.
    Finish,
    /// All is over.
    End,
}

/// How long closing waits for what is pending to be written.
const SPILL_AT_CLOSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: PushSettings,
    state: Mutex<State>,
    /// Tells the thread that keeps the time that there may be something to do.
    work: Condvar,
    /// Tells the threads that send that there is a batch, or the end.
    batches: Condvar,
    /// Tells those that wait before another try that all is abandoned.
    abandon: Condvar,
    /// Tells the thread that spills that there may be something to do.
    spill: Condvar,
    /// Tells callers that records were settled, or that it is late.
    settled: Event,
}

#[derive(Debug, Default)]
pub(super) struct State {
    apps: HashMap<Uuid, Waiting>,
    /// Batches on their way, by number: what is left of each.
    on_way: BTreeMap<u64, OnWay>,
    /// Batches for which a thread is awake, or on its way to be.
    handed: VecDeque<u64>,
    /// Threads that wait for a batch and have none handed to them.
    idle: usize,
    threads: usize,
    next_place: u64,
    next_batch: u64,
    /// Places before this one are sent without lingering.
    flush_before: u64,
    held: usize,
    held_bytes: usize,
    sent: u64,
    dropped: Losses,
    /// When callers that wait in a future want to be told that it is late.
    alarms: BTreeSet<(Instant, u64)>,
    next_alarm: u64,
    closing: bool,
    abandoned: bool,
    /// The thread that keeps the time has ended.
    over: bool,
    /// The last try failed for a reason that may pass.
    away: bool,
    /// Batches on their way that have no thread yet, before all others.
    resumed: VecDeque<u64>,
    spill: Option<Spilling>,
}

/// Records of one app that wait for their batch.
#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Queued>,
    bytes: usize,
}

#[derive(Debug)]
struct OnWay {
    /// The smallest place in it.
    place: u64,
    /// How many records a batch from a file had.
    replay: Option<usize>,
    /// In the order in which they are tried.
    parts: VecDeque<Arc<Part>>,
}

/// Says that the thread that keeps the time ended, however it did.
pub(super) struct Over(pub(super) Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closing = true;
        state.over = true;
        drop(state);
        self.0.batches.notify_all();
        self.0.spill.notify_all();
        self.0.settled.notify(usize::MAX);
    }
}

impl Shared {
    pub(super) fn new(settings: PushSettings) -> Shared {
        Shared {
            settings,
            state: Mutex::default(),
            work: Condvar::new(),
            batches: Condvar::new(),
            abandon: Condvar::new(),
            spill: Condvar::new(),
            settled: Event::new(),
        }
    }

    // What callers do.

    pub(super) fn push(&self, app: Uuid, body: Bytes) -> Result<(), NotTaken> {
        if let Overflow::Block(limit) = self.settings.overflow {
            return self.push_blocking(app, body, limit);
        }
        let mut state = self.lock();
        self.check_open(&mut state)?;
        if self.is_full(&state, body.len()) {
            if self.settings.overflow == Overflow::DropOldest {
                self.make_place(&mut state, body.len());
            }
            if self.is_full(&state, body.len()) {
                return Err(lose_full(&mut state));
            }
        }
        self.put(&mut state, app, body);
        Ok(())
    }

    pub(super) async fn push_within(
        &self,
        app: Uuid,
        body: Bytes,
        limit: Duration,
    ) -> Result<(), NotTaken> {
        let mut body = Some(body);
        if let Some(done) = self.try_put(&mut self.lock(), app, &mut body) {
            return done;
        }
        let until = Instant::now().checked_add(limit);
        let put = self.wait_for(until, |state| self.try_put(state, app, &mut body));
        put.await
            .unwrap_or_else(|| Err(lose_full(&mut self.lock())))
    }

    pub(super) fn push_blocking(
        &self,
        app: Uuid,
        body: Bytes,
        limit: Duration,
    ) -> Result<(), NotTaken> {
        let mut body = Some(body);
        if let Some(done) = self.try_put(&mut self.lock(), app, &mut body) {
            return done;
        }
        let until = Instant::now().checked_add(limit);
        self.wait_for_blocking(until, |state| self.try_put(state, app, &mut body))
            .unwrap_or_else(|| Err(lose_full(&mut self.lock())))
    }

    pub(super) async fn flush(&self, timeout: Duration) -> Flushed {
        let before = self.hurry();
        let until = Instant::now().checked_add(timeout);
        let all = self.wait_for(until, |state| state.is_settled(before).then_some(()));
        let _in_time_or_late = all.await;
        self.flushed(before)
    }

    pub(super) fn flush_blocking(&self, timeout: Duration) -> Flushed {
        let before = self.hurry();
        let until = Instant::now().checked_add(timeout);
        let _in_time_or_late =
            self.wait_for_blocking(until, |state| state.is_settled(before).then_some(()));
        self.flushed(before)
    }

    pub(super) async fn close(&self, timeout: Duration) -> Closed {
        self.end();
        let until = Instant::now().checked_add(timeout);
        let _in_time_or_late = self.wait_for(until, |state| state.over.then_some(())).await;
        if self.abandon() {
            let until = Instant::now().checked_add(SPILL_AT_CLOSE);
            let _written_or_late = self.wait_for(until, |state| state.over.then_some(())).await;
        }
        self.progress()
    }

    pub(super) fn close_blocking(&self, timeout: Duration) -> Closed {
        self.end();
        let until = Instant::now().checked_add(timeout);
        let _in_time_or_late = self.wait_for_blocking(until, |state| state.over.then_some(()));
        if self.abandon() {
            let until = Instant::now().checked_add(SPILL_AT_CLOSE);
            let _written_or_late = self.wait_for_blocking(until, |state| state.over.then_some(()));
        }
        self.progress()
    }

    /// No more records come; what is left is sent, and the threads end.
    pub(super) fn end(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn progress(&self) -> Closed {
        self.lock().outcome()
    }

    pub(super) fn encode(&self, record: &Record) -> Result<Bytes, NotTaken> {
        match record.encode() {
            Ok(body) => self.fits(body),
            Err(words) => Err(self.lose(Loss::Rejected, words)),
        }
    }

    /// A record that was encoded, unless the queue can never hold it.
    pub(super) fn fits(&self, body: Vec<u8>) -> Result<Bytes, NotTaken> {
        if body.len() > self.settings.max_bytes {
            let words = format!("{} bytes are more than the queue holds", body.len());
            return Err(self.lose(Loss::TooLarge, words));
        }
        Ok(body.into())
    }

    pub(super) fn lose(&self, reason: Loss, words: String) -> NotTaken {
        lose(&mut self.lock(), reason, words)
    }

    fn hurry(&self) -> u64 {
        let mut state = self.lock();
        state.flush_before = state.next_place;
        let before = state.next_place;
        drop(state);
        self.work.notify_one();
        before
    }

    fn flushed(&self, before: u64) -> Flushed {
        let state = self.lock();
        Flushed {
            complete: state.is_settled(before) && !(state.over && state.held > 0),
            pending: state.held,
        }
    }

    /// Gives whether something is written yet.
    fn abandon(&self) -> bool {
        let mut state = self.lock();
        state.abandoned = true;
        let writes = !state.over && state.spill.is_some();
        drop(state);
        self.work.notify_one();
        self.abandon.notify_all();
        self.spill.notify_one();
        writes
    }

    fn check_open(&self, state: &mut State) -> Result<(), NotTaken> {
        if state.closing {
            return Err(lose(state, Loss::Closed, "the pusher is closed".to_owned()));
        }
        Ok(())
    }

    /// `None` when there is no place at the moment.
    fn try_put(
        &self,
        state: &mut State,
        app: Uuid,
        body: &mut Option<Bytes>,
    ) -> Option<Result<(), NotTaken>> {
        if let Err(closed) = self.check_open(state) {
            return Some(Err(closed));
        }
        let size = body.as_ref().map_or(0, Bytes::len);
        if self.is_full(state, size) {
            // A full queue has nothing to linger for.
            state.flush_before = state.next_place;
            self.work.notify_one();
            return None;
        }
        if let Some(body) = body.take() {
            self.put(state, app, body);
        }
        Some(Ok(()))
    }

    fn is_full(&self, state: &State, more: usize) -> bool {
        state.held >= self.settings.max_records || state.held_bytes + more > self.settings.max_bytes
    }

    /// Drops the oldest waiting records until `more` bytes fit or none waits.
    fn make_place(&self, state: &mut State, more: usize) {
        while self.is_full(state, more) {
            let Some(app) = state.oldest_app() else { break };
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
        // Who keeps the time must hear of the first record, to begin its
        // linger, and of a full batch; not of those between.
        let count = waiting.records.len();
        let filled = waiting.bytes >= self.settings.batch_bytes
            && waiting.bytes - size < self.settings.batch_bytes;
        if count == 1 || count == self.settings.batch_records || filled {
            self.work.notify_one();
        }
        if state.spill.is_some() && state.is_filling(&self.settings, false) {
            self.spill.notify_one();
        }
    }

    // Waiting.

    /// Waits until `done` says what came of it, or `until`; on any executor.
    async fn wait_for<R>(
        &self,
        until: Option<Instant>,
        mut done: impl FnMut(&mut State) -> Option<R>,
    ) -> Option<R> {
        let _alarm = until.map(|until| Alarm::set(self, until));
        loop {
            let changed = self.settled.listen();
            if let Some(done) = done(&mut self.lock()) {
                return Some(done);
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            changed.await;
        }
    }

    /// The same, blocking the thread.
    fn wait_for_blocking<R>(
        &self,
        until: Option<Instant>,
        mut done: impl FnMut(&mut State) -> Option<R>,
    ) -> Option<R> {
        loop {
            let changed = self.settled.listen();
            if let Some(done) = done(&mut self.lock()) {
                return Some(done);
            }
            match until {
                Some(until) => changed.wait_deadline(until)?,
                None => changed.wait(),
            }
        }
    }

    // What the threads do.

    /// Whether a thread is to be started for the batch of this number. `None`
    /// when there is nothing more to do.
    pub(super) fn next_batch(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.ring(now) {
                self.settled.notify(usize::MAX);
            }
            match state.next(now, &self.settings) {
                Next::Send(batch) if state.idle > 0 => {
                    state.idle -= 1;
                    state.handed.push_back(batch);
                    self.batches.notify_one();
                }
                Next::Send(batch) => {
                    state.threads += 1;
                    return Some(batch);
                }
                Next::Wait(None) => {
                    state = self
                        .work
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(Some(until)) => {
                    let time = until.saturating_duration_since(now);
                    let woken = self.work.wait_timeout(state, time);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Finish => {
                    state.abandoned = true;
                    self.abandon.notify_all();
                    self.spill.notify_one();
                }
                Next::End => return None,
            }
        }
    }

    /// A thread is done with its batch: the next one, or none when there was
    /// none for `patience`.
    pub(super) fn next_handed(&self, patience: Duration) -> Option<u64> {
        let mut state = self.lock();
        state.idle += 1;
        self.work.notify_one();
        let idle = |state: &mut State| state.handed.is_empty() && !state.over;
        let woken = self.batches.wait_timeout_while(state, patience, idle);
        state = woken.unwrap_or_else(PoisonError::into_inner).0;
        // Whoever handed a batch over has counted one idle thread less.
        let batch = state.handed.pop_front().filter(|_| !state.abandoned);
        if batch.is_none() {
            state.idle = state.idle.saturating_sub(1);
        }
        batch
    }

    /// A thread that sends has ended.
    pub(super) fn thread_ended(&self) {
        self.lock().threads -= 1;
        self.work.notify_one();
    }

    /// The part of a batch to be tried next, and whether it is from a file;
    /// none when all of it is settled.
    pub(super) fn part(&self, batch: u64) -> Option<(Arc<Part>, bool)> {
        let mut state = self.lock();
        if state.abandoned {
            return None;
        }
        let on_way = state.on_way.get(&batch)?;
        if let Some(part) = on_way.parts.front() {
            return Some((Arc::clone(part), on_way.replay.is_some()));
        }
        state.on_way.remove(&batch);
        drop(state);
        self.tell();
        None
    }

    pub(super) fn accepted(&self, batch: u64) {
        let mut state = self.lock();
        state.away = false;
        if let Some(part) = state.settle(batch) {
            state.sent += part.records.len() as u64;
        }
        drop(state);
        self.tell();
    }

    pub(super) fn lost(&self, batch: u64, reason: Loss, words: &str) {
        let mut state = self.lock();
        state.away &= reason == Loss::Deadline;
        if let Some(part) = state.settle(batch) {
            let count = part.records.len();
            state.dropped.add(reason, count as u64, words);
            drop(state);
            log::debug!("{count} records were lost ({reason}): {words}");
        }
        self.tell();
    }

    /// A try failed for a reason that may pass.
    pub(super) fn is_away(&self) {
        self.lock().away = true;
        self.spill.notify_one();
    }

    /// Puts others in the place of the part that was tried.
    pub(super) fn instead(&self, batch: u64, parts: Vec<Part>) {
        let mut state = self.lock();
        if let Some(on_way) = state.on_way.get_mut(&batch) {
            on_way.parts.pop_front();
            for part in parts.into_iter().rev() {
                on_way.parts.push_front(Arc::new(part));
            }
        }
    }

    /// Waits before another try. False when all is abandoned meanwhile.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| !state.abandoned;
        let woken = self.abandon.wait_timeout_while(self.lock(), time, going_on);
        !woken.unwrap_or_else(PoisonError::into_inner).0.abandoned
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    fn tell(&self) {
        self.work.notify_one();
        self.spill.notify_one();
        self.settled.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock with a half-made change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time at which all that wait are told.
struct Alarm<'a> {
    shared: &'a Shared,
    at: (Instant, u64),
}

impl<'a> Alarm<'a> {
    fn set(shared: &'a Shared, at: Instant) -> Alarm<'a> {
        let mut state = shared.lock();
        let at = (at, state.next_alarm);
        state.next_alarm += 1;
        state.alarms.insert(at);
        let is_first = state.alarms.first() == Some(&at);
        drop(state);
        if is_first {
            shared.work.notify_one();
        }
        Alarm { shared, at }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.shared.lock().alarms.remove(&self.at);
    }
}

fn lose_full(state: &mut State) -> NotTaken {
    lose(state, Loss::Full, "the queue is full".to_owned())
}

fn lose(state: &mut State, reason: Loss, words: String) -> NotTaken {
    state.dropped.add(reason, 1, &words);
    NotTaken { reason, words }
}

impl State {
    fn next(&mut self, now: Instant, settings: &PushSettings) -> Next {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        if self.abandoned {
            let is_written = self.spill.as_ref().is_none_or(|spill| spill.done);
            return if is_written {
                Next::End
            } else {
                Next::Wait(alarm)
            };
        }
        if self.idle == 0 && self.threads >= settings.in_flight {
            return Next::Wait(alarm);
        }
        if let Some(batch) = self.resumed.pop_front() {
            return Next::Send(batch);
        }
        let mut ready: Option<(u64, Uuid)> = None;
        let mut wake = alarm;
        for (app, waiting) in &self.apps {
            let Some(first) = waiting.records.front() else {
                continue;
            };
            let due = first.since + settings.linger;
            let go = self.closing
                || first.place < self.flush_before
                || waiting.records.len() >= settings.batch_records
                || waiting.bytes >= settings.batch_bytes
                || due <= now;
            if go && ready.is_none_or(|(place, _)| first.place < place) {
                ready = Some((first.place, *app));
            }
            wake = Some(wake.map_or(due, |wake| wake.min(due)));
        }
        match ready {
            Some((_, app)) => {
                let part = self.take(app, settings);
                Next::Send(self.on_its_way(part, None))
            }
            None if self.closing && self.is_empty() => match self.spill {
                None => Next::End,
                Some(_) => Next::Finish,
            },
            None => Next::Wait(wake),
        }
    }

    /// Whether nothing is left but what is in files.
    fn is_empty(&self) -> bool {
        let spills = |spill: &Spilling| !spill.writing.is_empty() || !spill.late.is_empty();
        self.apps.is_empty()
            && self.on_way.values().all(|batch| batch.replay.is_some())
            && !self.spill.as_ref().is_some_and(spills)
    }

    /// Makes the first records of `app` a batch. Its key is made once, here.
    fn take(&mut self, app: Uuid, settings: &PushSettings) -> Arc<Part> {
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
        Arc::new(Part {
            app,
            key: Uuid::new_v4(),
            records,
        })
    }

    fn on_its_way(&mut self, part: Arc<Part>, replay: Option<usize>) -> u64 {
        let batch = self.next_batch;
        self.next_batch += 1;
        let on_way = OnWay {
            place: part.place(),
            replay,
            parts: VecDeque::from([part]),
        };
        self.on_way.insert(batch, on_way);
        batch
    }

    fn oldest_app(&self) -> Option<Uuid> {
        let first = self
            .apps
            .iter()
            .filter_map(|(app, waiting)| Some((waiting.records.front()?.place, *app)));
        first.min().map(|(_, app)| app)
    }

    /// Takes out the alarms that are due, and says whether there were any.
    fn ring(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.alarms.first().is_some_and(|(at, _)| *at <= now) {
            self.alarms.pop_first();
            any = true;
        }
        any
    }

    /// The part that was tried is settled.
    fn settle(&mut self, batch: u64) -> Option<Arc<Part>> {
        let on_way = self.on_way.get_mut(&batch)?;
        let part = on_way.parts.pop_front()?;
        match (on_way.replay, &mut self.spill) {
            (Some(records), Some(spill)) => {
                spill.records = spill.records.saturating_sub(part.records.len() as u64);
                if on_way.parts.is_empty() {
                    spill.replay = Replay::Settled(records);
                }
            }
            _ => self.release(&part.records),
        }
        Some(part)
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
            || (self.on_way.values().all(|on_way| on_way.place >= before)
                && self
                    .spill
                    .as_ref()
                    .is_none_or(|spill| spill.is_settled(before))
                && self.apps.values().all(|waiting| {
                    waiting
                        .records
                        .front()
                        .is_none_or(|record| record.place >= before)
                }))
    }

    fn outcome(&self) -> Closed {
        Closed {
            sent: self.sent,
            dropped: self.dropped.clone(),
            pending: self.held,
            spilled: self.spill.as_ref().map_or(0, |spill| spill.records),
        }
    }
}

impl Part {
    /// The smallest place in it.
    fn place(&self) -> u64 {
        self.records.first().map_or(u64::MAX, |first| first.place)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Queued> {
        let record = self.records.pop_front()?;
        self.bytes -= record.body.len();
        Some(record)
    }
}
