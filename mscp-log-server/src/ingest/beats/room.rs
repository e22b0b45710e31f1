//! Room for events: bytes that all connections share.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// What an event costs beside its bytes, so that many small ones are bounded, too.
const EVENT_BYTES: usize = 256;

/// What one connection holds of the room; given back when it is dropped.
///
/// A connection that waits for room must hold none, or all could wait for each
/// other.
pub(super) struct Hold {
    room: Arc<Semaphore>,
    /// Of whole events.
    events: usize,
    /// Of the event that is being read.
    reading: usize,
}

impl Hold {
    pub(super) fn new(room: Arc<Semaphore>) -> Self {
        Self {
            room,
            events: 0,
            reading: 0,
        }
    }

    /// Bytes of whole events.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Take room to read an event of at most `bytes`, if there is any now.
    pub(super) fn try_take(&mut self, bytes: usize) -> bool {
        let Ok(permit) = self.room.try_acquire_many(cost(bytes)) else {
            return false;
        };
        permit.forget();
        self.reading = cost(bytes) as usize;
        true
    }

    /// Wait for room to read an event of at most `bytes`. Cancel-safe.
    pub(super) async fn take(&mut self, bytes: usize) {
        // The semaphore is never closed.
        if let Ok(permit) = self.room.acquire_many(cost(bytes)).await {
            permit.forget();
            self.reading = cost(bytes) as usize;
        }
    }

    /// The event was read, and has so many bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        let kept = self.reading.min(cost(bytes) as usize);
        self.room.add_permits(self.reading - kept);
        self.events += kept;
        self.reading = 0;
    }

    /// The event is not kept.
    pub(super) fn pass_over(&mut self) {
        self.room.add_permits(self.reading);
        self.reading = 0;
    }

    /// The whole events are out of memory.
    pub(super) fn give_back(&mut self) {
        self.room.add_permits(self.events);
        self.events = 0;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.room.add_permits(self.events + self.reading);
    }
}

/// The configuration allows no event of 4 GiB.
fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes + EVENT_BYTES).unwrap_or(u32::MAX)
}
