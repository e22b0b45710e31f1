//! What of the queue goes into files, and when what is in files is sent.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::PushSettings;
use super::super::outcome::Loss;
use super::super::spool::Damage;
use super::{OnWay, Part, Shared, State};

/// What the thread that spills has to do next.
pub(in crate::push) enum Job {
    Write(Vec<Arc<Part>>, Why),
    /// Read the batch at the front.
    Read,
    /// The batch at the front, of so many records, is settled.
    Settle(usize),
    End,
}

/// Why a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::push) enum Why {
    /// The queue is filling.
    Filling,
    /// Its deadline is over.
    Late,
    /// The pusher was closed.
    Closed,
}

/// How long writing is not tried again after it failed.
const SPILL_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Spilling {
    /// Batches whose deadline is over.
    pub(super) late: VecDeque<Arc<Part>>,
    /// The smallest places of the batches that are being written.
    pub(super) writing: Vec<u64>,
    /// Records in files.
    pub(super) records: u64,
    pub(super) replay: Replay,
    pub(super) not_before: Option<Instant>,
    /// What was pending at the end was taken.
    pub(super) collected: bool,
    pub(super) done: bool,
}

/// The batch at the front of the files.
#[derive(Debug, Default)]
pub(super) enum Replay {
    #[default]
    Idle,
    /// It is being read, or on its way.
    OnWay,
    /// So many records were settled.
    Settled(usize),
}

/// Says that the thread that spills ended, however it did.
pub(in crate::push) struct SpillOver(pub(in crate::push) Arc<Shared>);

impl Drop for SpillOver {
    fn drop(&mut self) {
        if let Some(spill) = &mut self.0.lock().spill {
            spill.done = true;
        }
        self.0.work.notify_one();
    }
}

impl Shared {
    /// The deadline of a part is over: it is spilled where that can be, else lost.
    pub(in crate::push) fn late(&self, batch: u64, words: &str) {
        let mut state = self.lock();
        let may_write = state.spill.as_ref().is_some_and(Spilling::may_write);
        if !may_write {
            drop(state);
            return self.lost(batch, Loss::Deadline, words);
        }
        let part = state
            .on_way
            .get_mut(&batch)
            .and_then(|on_way| on_way.parts.pop_front());
        if let (Some(part), Some(spill)) = (part, &mut state.spill) {
            spill.late.push_back(part);
        }
        drop(state);
        self.tell();
    }

    /// There is a spool, with so many records in it.
    pub(in crate::push) fn with_spool(&self, records: u64, damage: &Damage) {
        let mut state = self.lock();
        state.spill = Some(Spilling {
            records,
            ..Default::default()
        });
        if damage.records > 0 {
            state
                .dropped
                .add(Loss::Damaged, damage.records, &damage.words);
        }
    }

    pub(in crate::push) fn next_job(&self) -> Job {
        let mut state = self.lock();
        loop {
            match state.job(&self.settings) {
                Ok(job) => return job,
                Err(None) => {
                    let woken = self.spill.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
                Err(Some(until)) => {
                    let time = until.saturating_duration_since(Instant::now());
                    let woken = self.spill.wait_timeout(state, time);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// These batches are in a file.
    pub(in crate::push) fn written(&self, parts: &[Arc<Part>]) {
        let mut state = self.lock();
        for part in parts {
            state.release(&part.records);
            if let Some(spill) = &mut state.spill {
                spill.records += part.records.len() as u64;
                spill.no_more_written(part);
            }
        }
        drop(state);
        self.tell();
    }

    /// These are not. They go on as without a spill.
    pub(in crate::push) fn not_written(&self, parts: Vec<Arc<Part>>, why: Why, words: &str) {
        log::debug!("the spill could not be written: {words}");
        let mut state = self.lock();
        let mut late = Vec::new();
        if let Some(spill) = &mut state.spill {
            spill.not_before = Instant::now().checked_add(SPILL_AGAIN);
            parts.iter().for_each(|part| spill.no_more_written(part));
            late.extend(spill.late.drain(..));
        }
        match why {
            Why::Filling => {
                for part in parts {
                    let batch = state.on_its_way(part, None);
                    state.resumed.push_back(batch);
                }
            }
            Why::Late => late.extend(parts),
            // They stay counted as pending.
            Why::Closed => {}
        }
        for part in late {
            let words = format!("and not written to the spill: {words}");
            let count = part.records.len() as u64;
            state.dropped.add(Loss::Deadline, count, &words);
            state.release(&part.records);
        }
        drop(state);
        self.tell();
    }

    /// The batch at the front of the files, or that there is none.
    pub(in crate::push) fn read(&self, part: Option<Part>) {
        let mut state = self.lock();
        match part {
            Some(part) => {
                let records = part.records.len();
                let batch = state.on_its_way(Arc::new(part), Some(records));
                state.resumed.push_back(batch);
            }
            None => {
                if let Some(spill) = &mut state.spill {
                    spill.records = 0;
                    spill.replay = Replay::Idle;
                }
            }
        }
        drop(state);
        self.tell();
    }

    /// So many records are in files that cannot be read.
    pub(in crate::push) fn unreadable(&self, records: u64, words: &str) {
        let mut state = self.lock();
        state.dropped.add(Loss::Damaged, records, words);
        if let Some(spill) = &mut state.spill {
            spill.records = 0;
            spill.replay = Replay::Idle;
        }
        drop(state);
        self.tell();
    }
}

impl State {
    /// More than half of a bound is held, or with `high` three quarters.
    pub(super) fn is_filling(&self, settings: &PushSettings, high: bool) -> bool {
        let line = |bound: usize| if high { bound / 4 * 3 } else { bound / 2 };
        self.held > line(settings.max_records) || self.held_bytes > line(settings.max_bytes)
    }

    /// What the thread that spills has to do, or until when there is nothing.
    fn job(&mut self, settings: &PushSettings) -> Result<Job, Option<Instant>> {
        let filling =
            self.is_filling(settings, true) || (self.away && self.is_filling(settings, false));
        let nothing_else = self.on_way.is_empty();
        let over = self.over;
        let Some(spill) = self.spill.as_mut().filter(|_| !over) else {
            return Ok(Job::End);
        };
        if let Replay::Settled(records) = spill.replay {
            spill.replay = Replay::Idle;
            return Ok(Job::Settle(records));
        }
        if self.abandoned {
            if std::mem::replace(&mut spill.collected, true) {
                return Ok(Job::End);
            }
            let mut parts: Vec<Arc<Part>> = spill.late.drain(..).collect();
            let own = |on_way: &&OnWay| on_way.replay.is_none();
            let on_way = self.on_way.values().filter(own);
            parts.extend(on_way.flat_map(|on_way| on_way.parts.iter().cloned()));
            self.on_way.clear();
            while let Some(app) = self.apps.keys().next().copied() {
                parts.push(self.take(app, settings));
            }
            return Ok(self.write(parts, Why::Closed));
        }
        let again = spill.not_before;
        if !spill.may_write() {
            return self.job_of_reading(nothing_else, filling).ok_or(again);
        }
        if !spill.late.is_empty() {
            let parts = spill.late.drain(..).collect();
            return Ok(self.write(parts, Why::Late));
        }
        if filling && let Some(app) = self.oldest_app() {
            let part = self.take(app, settings);
            return Ok(self.write(vec![part], Why::Filling));
        }
        self.job_of_reading(nothing_else, filling).ok_or(None)
    }

    /// Where the server may be away, the batch of a file is what finds out.
    fn job_of_reading(&mut self, nothing_else: bool, filling: bool) -> Option<Job> {
        let is_time = !self.closing && (nothing_else || !(self.away || filling));
        let spill = self.spill.as_mut()?;
        if !is_time || spill.records == 0 || !matches!(spill.replay, Replay::Idle) {
            return None;
        }
        spill.replay = Replay::OnWay;
        Some(Job::Read)
    }

    fn write(&mut self, parts: Vec<Arc<Part>>, why: Why) -> Job {
        if let Some(spill) = &mut self.spill {
            spill.writing.extend(parts.iter().map(|part| part.place()));
        }
        Job::Write(parts, why)
    }
}

impl Spilling {
    pub(super) fn no_more_written(&mut self, part: &Part) {
        let place = self.writing.iter().position(|place| *place == part.place());
        place.map(|place| self.writing.swap_remove(place));
    }

    /// Whether everything before this place is in a file.
    pub(super) fn is_settled(&self, before: u64) -> bool {
        self.writing.iter().all(|place| *place >= before)
            && self.late.iter().all(|part| part.place() >= before)
    }

    pub(super) fn may_write(&self) -> bool {
        self.not_before.is_none_or(|at| at <= Instant::now())
    }
}
