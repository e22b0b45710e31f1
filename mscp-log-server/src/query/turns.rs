//! How many requests of one subject may be open at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open requests by subject. It holds no more subjects than there are
/// open requests.
#[derive(Debug)]
pub(super) struct Turns {
    limit: AtomicUsize,
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// One open request; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    subject: Arc<str>,
    open: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

impl Turns {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            open: Arc::default(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// So many from now on; those that are open beyond it end when they do.
    pub(super) fn set(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// One more request of the subject, if it may have one.
    pub(super) fn take(&self, subject: &Arc<str>) -> Option<Turn> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(Arc::clone(subject)).or_default();
        if *count >= self.limit() {
            return None;
        }
        *count += 1;
        Some(Turn {
            subject: Arc::clone(subject),
            open: Arc::clone(&self.open),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_subject_has_so_many_turns_and_gets_them_back() {
        let turns = Turns::new(2);
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let first = turns.take(&one).unwrap();
        let _second = turns.take(&one).unwrap();
        assert!(turns.take(&one).is_none());
        assert!(turns.take(&other).is_some());
        drop(first);
        assert!(turns.take(&one).is_some());
        assert_eq!(turns.open.lock().unwrap().len(), 1);
        turns.set(1);
        assert!(turns.take(&one).is_none() && turns.take(&other).is_some());
        turns.set(2);
        assert!(turns.take(&one).is_some());
    }
}
