//! Batches that are on their way into the cluster: how many at once, what is
//! durable behind all of them, and why some are held.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mscp_log_core::record::time::Day;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::buffer::Batch;

/// Batches that are under way at once. Each is of about 4 MiB, so the memory
/// of shipping is bounded by some 30 MiB.
const AT_ONCE: usize = 4;

/// All that is under way.
pub(super) struct Flights {
    room: Arc<Semaphore>,
    lanes: Mutex<HashMap<u32, Lane>>,
    /// Why flights are held, by their serial numbers.
    held: watch::Sender<BTreeMap<u64, String>>,
}

/// One partition of the buffer.
#[derive(Default)]
struct Lane {
    /// By the number of the first record and a serial number: a batch can be
    /// under way twice after the buffer was joined again.
    under_way: BTreeMap<(u64, u64), Option<Day>>,
    /// Behind the last record that is under way or done.
    next: u64,
    serial: u64,
    durable: watch::Sender<u64>,
}

/// One batch that is under way.
pub(super) struct Flight {
    flights: Arc<Flights>,
    partition: u32,
    key: (u64, u64),
    landed: bool,
    _room: OwnedSemaphorePermit,
}

impl Flights {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(AT_ONCE)),
            lanes: Mutex::new(HashMap::new()),
            held: watch::Sender::new(BTreeMap::new()),
        })
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<u32, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything below is durable.
    pub(super) fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.lanes()
            .entry(partition)
            .or_default()
            .durable
            .subscribe()
    }

    /// Wait for room for one more; `Err` says why those before it are held.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, String> {
        let mut held = self.held.subscribe();
        let reason = async {
            let held = held.wait_for(|held| !held.is_empty()).await;
            held.ok()
                .and_then(|held| held.values().next().cloned())
                .unwrap_or_default()
        };
        tokio::select! {
            biased;
            reason = reason => Err(reason),
            room = Arc::clone(&self.room).acquire_owned() => {
                room.map_err(|_| "the store is stopping".to_owned())
            }
        }
    }

    /// Why batches are held, while they are.
    pub(super) fn held(&self) -> Option<String> {
        self.held.borrow().values().next().cloned()
    }

    /// Note that `batch` is under way. `received` is the earliest day of its
    /// records whose time is only that of their receipt.
    pub(super) fn begin(
        self: &Arc<Self>,
        batch: &Batch,
        received: Option<Day>,
        room: OwnedSemaphorePermit,
    ) -> Flight {
        let partition = batch.position.partition;
        let mut lanes = self.lanes();
        let lane = lanes.entry(partition).or_default();
        lane.serial += 1;
        let key = (batch.first, lane.serial);
        lane.under_way.insert(key, received);
        lane.next = lane.next.max(batch.position.next);
        Flight {
            flights: Arc::clone(self),
            partition,
            key,
            landed: false,
            _room: room,
        }
    }
}

impl Flight {
    /// Say why the batch is held.
    pub(super) fn hold(&self, reason: &str) {
        tracing::warn!(reason, "the cluster does not take records; they wait");
        self.flights.held.send_modify(|held| {
            held.insert(self.key.1, reason.to_owned());
        });
    }

    /// It goes on.
    pub(super) fn release(&self) {
        self.flights
            .held
            .send_if_modified(|held| held.remove(&self.key.1).is_some());
    }

    /// Wait until no batch before this one is under way that has records which
    /// were received before `day`.
    pub(super) async fn after_those_received_before(&self, day: Day) {
        let mut durable = self.flights.durable(self.partition);
        loop {
            let clear = {
                let lanes = self.flights.lanes();
                let under_way = lanes.get(&self.partition).map(|lane| &lane.under_way);
                let mut before = under_way.into_iter().flat_map(|all| all.range(..self.key));
                !before.any(|(_, received)| received.is_some_and(|received| received < day))
            };
            // Each landing is a change, even of a batch that is not the first.
            if clear || durable.changed().await.is_err() {
                return;
            }
        }
    }

    /// Every record of it is in the cluster or in the dead letters.
    pub(super) fn land(mut self) {
        self.landed = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.release();
        if !self.landed {
            return;
        }
        let mut lanes = self.flights.lanes();
        let Some(lane) = lanes.get_mut(&self.partition) else {
            return;
        };
        lane.under_way.remove(&self.key);
        let first = lane.under_way.keys().next().map(|(first, _)| *first);
        let durable = first.unwrap_or(lane.next);
        lane.durable
            .send_modify(|known| *known = durable.max(*known));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::buffer::Position;

    fn batch(first: u64, count: usize) -> Batch {
        Batch {
            first,
            records: vec![bytes::Bytes::new(); count],
            position: Position {
                partition: 0,
                epoch: 1,
                next: first + count as u64,
            },
        }
    }

    #[tokio::test]
    async fn durable_is_only_what_has_nothing_under_way_before_it() {
        let flights = Flights::new();
        let durable = flights.durable(0);
        let mut under_way = Vec::new();
        for first in [10, 20, 40] {
            let room = flights.room().await.unwrap();
            under_way.push(flights.begin(&batch(first, 10), None, room));
        }
        under_way.remove(1).land();
        assert_eq!(*durable.borrow(), 10);
        under_way.remove(0).land();
        assert_eq!(*durable.borrow(), 40);
        under_way.remove(0).land();
        assert_eq!(*durable.borrow(), 50);
    }

    #[tokio::test]
    async fn a_flight_that_was_given_up_is_never_durable() {
        let flights = Flights::new();
        let durable = flights.durable(0);
        let given_up = flights.begin(&batch(0, 10), None, flights.room().await.unwrap());
        let other = flights.begin(&batch(10, 10), None, flights.room().await.unwrap());
        drop(given_up);
        other.land();
        assert_eq!(*durable.borrow(), 0);
    }

    #[tokio::test]
    async fn while_one_is_held_no_more_are_taken() {
        let flights = Flights::new();
        let flight = flights.begin(&batch(0, 1), None, flights.room().await.unwrap());
        flight.hold("read-only");
        assert_eq!(flights.room().await.unwrap_err(), "read-only");
        assert_eq!(flights.held().unwrap(), "read-only");
        flight.release();
        assert!(flights.room().await.is_ok());
        flight.hold("again");
        flight.land();
        assert_eq!(flights.held(), None);
    }

    #[tokio::test]
    async fn a_batch_waits_for_those_that_were_received_on_an_earlier_day() {
        let flights = Flights::new();
        let (first, second) = (Day::of_us(0), Day::of_us(86_400_000_000));
        let before = flights.begin(&batch(0, 1), Some(first), flights.room().await.unwrap());
        let other = flights.begin(&batch(1, 1), Some(second), flights.room().await.unwrap());
        let after = flights.begin(&batch(2, 1), Some(second), flights.room().await.unwrap());
        let waiting = tokio::spawn(async move {
            after.after_those_received_before(second).await;
            after
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        before.land();
        waiting.await.unwrap().land();
        other.land();
    }
}
