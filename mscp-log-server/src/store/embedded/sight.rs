//! What searches do not see yet, and whether there are searches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a search counts, as `index.search.idle.after` of Elasticsearch.
const LOOKED_AT: Duration = Duration::from_secs(30);

/// Shared by the writer and those who read. Times are milliseconds since
/// `began`, and one more, so that 0 is "never".
pub(super) struct Sight {
    began: Instant,
    /// The age at which what is uncommitted must be shown.
    patience: Duration,
    /// A client was answered, or will be, for what no commit has.
    client_wrote: AtomicBool,
    /// When the oldest of what no commit has came.
    dirty: AtomicU64,
    /// When somebody read last.
    read: AtomicU64,
}

impl Sight {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            began: Instant::now(),
            patience,
            client_wrote: AtomicBool::new(false),
            dirty: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn age(&self, time: &AtomicU64) -> Option<Duration> {
        match time.load(Ordering::SeqCst) {
            0 => None,
            at => Some(Duration::from_millis(self.now().saturating_sub(at))),
        }
    }

    pub(super) fn client_wrote(&self) {
        self.client_wrote.store(true, Ordering::SeqCst);
    }

    /// Something is uncommitted.
    pub(super) fn dirty(&self) {
        let now = self.now();
        let _ = self
            .dirty
            .compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Nothing is uncommitted any more.
    pub(super) fn committed(&self) {
        self.client_wrote.store(false, Ordering::SeqCst);
        self.dirty.store(0, Ordering::SeqCst);
    }

    /// Somebody reads now. Whether a commit must come first.
    pub(super) fn reads(&self) -> bool {
        self.read.store(self.now(), Ordering::SeqCst);
        self.client_wrote.load(Ordering::SeqCst)
            || self.age(&self.dirty).is_some_and(|age| age > self.patience)
    }

    /// Whether somebody read lately.
    pub(super) fn is_looked_at(&self) -> bool {
        self.age(&self.read).is_some_and(|age| age < LOOKED_AT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_waits_for_what_clients_wrote_and_for_what_is_old() {
        let sight = Sight::new(Duration::ZERO);
        assert!(!sight.is_looked_at());
        assert!(!sight.reads());
        assert!(sight.is_looked_at());
        sight.client_wrote();
        assert!(sight.reads());
        sight.committed();
        sight.dirty();
        std::thread::sleep(Duration::from_millis(3));
        assert!(sight.reads());
        sight.committed();
        assert!(!sight.reads());

        let patient = Sight::new(Duration::from_secs(3_600));
        patient.dirty();
        assert!(!patient.reads());
    }
}
