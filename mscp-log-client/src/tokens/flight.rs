//! Values that are fetched: kept until shortly before they expire, and fetched
//! once however many threads and tasks ask for one at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use crate::error::Error;

/// A refresh that failed while the value is still good is tried again after this.
const REFRESH_AGAIN: Duration = Duration::from_secs(10);

/// A value at hand.
#[derive(Clone, Debug)]
pub(crate) struct Kept<V> {
    pub(crate) value: V,
    /// From here on one caller fetches another, and all others use this one.
    pub(crate) refresh_at: Instant,
    /// From here on it is not used.
    pub(crate) until: Instant,
}

/// What [`Kept`] values there are, by name, at most `bound` of them.
pub(crate) struct OneFlight<K, V> {
    slots: Mutex<HashMap<K, Slot<V>>>,
    bound: usize,
}

struct Slot<V> {
    kept: Option<Kept<V>>,
    flight: Option<Arc<Flight<V>>>,
}

/// A fetch that goes on. Its outcome is none when its caller went away.
struct Flight<V> {
    outcome: OnceLock<Option<Result<V, Error>>>,
    landed: Event,
}

/// A value, and whether it was fetched for this call.
pub(crate) struct Got<V> {
    pub(crate) value: V,
    pub(crate) is_fresh: bool,
}

enum Found<V> {
    Value(V),
    Wait(Arc<Flight<V>>),
    /// The caller has to fetch.
    Lead(Arc<Flight<V>>),
}

impl<K: Clone + Eq + Hash, V: Clone> OneFlight<K, V> {
    pub(crate) fn new(bound: usize) -> OneFlight<K, V> {
        OneFlight {
            slots: Mutex::default(),
            bound,
        }
    }

    /// The value of `key`: at hand, from the fetch of another caller, or from
    /// `fetch`, which is polled in no other case. All who wait for one fetch
    /// have its outcome, its error too.
    pub(crate) async fn get(
        &self,
        key: K,
        fetch: impl Future<Output = Result<Kept<V>, Error>>,
    ) -> Result<Got<V>, Error> {
        loop {
            match self.find(&key, Instant::now()) {
                Found::Value(value) => {
                    return Ok(Got {
                        value,
                        is_fresh: false,
                    });
                }
                Found::Wait(flight) => {
                    let landed = flight.landed.listen();
                    if flight.outcome.get().is_none() {
                        landed.await;
                    }
                    if let Some(Some(outcome)) = flight.outcome.get() {
                        return outcome.clone().map(Got::fresh);
                    }
                    // The caller that fetched went away: another has to.
                }
                Found::Lead(flight) => {
                    let lead = Lead {
                        all: self,
                        key: &key,
                        flight,
                    };
                    let outcome = fetch.await;
                    return lead.land(outcome).map(Got::fresh);
                }
            }
        }
    }

    /// Forgets the values that are `unwanted`.
    pub(crate) fn forget(&self, unwanted: impl Fn(&V) -> bool) {
        for slot in self.lock().values_mut() {
            slot.kept.take_if(|kept| unwanted(&kept.value));
        }
    }

    fn find(&self, key: &K, now: Instant) -> Found<V> {
        let mut slots = self.lock();
        if !slots.contains_key(key) {
            make_place(&mut slots, self.bound);
        }
        let slot = slots.entry(key.clone()).or_insert(Slot {
            kept: None,
            flight: None,
        });
        let usable = slot.kept.as_ref().filter(|kept| now < kept.until);
        match (usable, &slot.flight) {
            (Some(kept), flight) if now < kept.refresh_at || flight.is_some() => {
                Found::Value(kept.value.clone())
            }
            (_, Some(flight)) => Found::Wait(Arc::clone(flight)),
            (_, None) => {
                let flight = Arc::new(Flight {
                    outcome: OnceLock::new(),
                    landed: Event::new(),
                });
                slot.flight = Some(Arc::clone(&flight));
                Found::Lead(flight)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Slot<V>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts out what expires first. What is being fetched stays.
fn make_place<K: Clone + Eq + Hash, V>(slots: &mut HashMap<K, Slot<V>>, bound: usize) {
    while slots.len() >= bound {
        let first = slots
            .iter()
            .filter(|(_, slot)| slot.flight.is_none())
            .min_by_key(|(_, slot)| slot.kept.as_ref().map(|kept| kept.until))
            .map(|(key, _)| key.clone());
        let Some(first) = first else { return };
        slots.remove(&first);
    }
}

impl<V> Got<V> {
    pub(crate) fn fresh(value: V) -> Got<V> {
        Got {
            value,
            is_fresh: true,
        }
    }
}

/// The one that fetches. However it ends, nobody waits for it for ever.
struct Lead<'a, K: Clone + Eq + Hash, V: Clone> {
    all: &'a OneFlight<K, V>,
    key: &'a K,
    flight: Arc<Flight<V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Lead<'_, K, V> {
    fn land(self, outcome: Result<Kept<V>, Error>) -> Result<V, Error> {
        let mut slots = self.all.lock();
        let outcome = match (outcome, slots.get_mut(self.key)) {
            (Ok(kept), slot) => {
                let value = kept.value.clone();
                if let Some(slot) = slot {
                    slot.kept = Some(kept);
                }
                Ok(value)
            }
            // The one at hand is good for a while yet.
            (
                Err(error),
                Some(Slot {
                    kept: Some(kept), ..
                }),
            ) if error.is_retryable() && Instant::now() < kept.until => {
                kept.refresh_at = Instant::now() + REFRESH_AGAIN;
                Ok(kept.value.clone())
            }
            (Err(error), _) => Err(error),
        };
        drop(slots);
        let _set_once_here = self.flight.outcome.set(Some(outcome.clone()));
        outcome
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if let Some(slot) = self.all.lock().get_mut(self.key) {
            slot.flight = None;
        }
        let _stays_where_it_landed = self.flight.outcome.set(None);
        self.flight.landed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn kept(value: usize, refresh: u64, life: u64) -> Kept<usize> {
        let now = Instant::now();
        Kept {
            value,
            refresh_at: now + Duration::from_secs(refresh),
            until: now + Duration::from_secs(life),
        }
    }

    #[test]
    fn sixty_four_threads_make_one_fetch() {
        let all = OneFlight::<(), usize>::new(1);
        let fetches = AtomicUsize::new(0);
        let together = Barrier::new(64);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        pollster::block_on(all.get((), async {
                            std::thread::yield_now();
                            Ok(kept(fetches.fetch_add(1, Ordering::Relaxed), 60, 60))
                        }))
                        .map(|got| got.value)
                    })
                })
                .collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap().unwrap(), 0);
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn all_who_wait_have_the_error_of_the_one_fetch() {
        let all = OneFlight::<(), usize>::new(1);
        let (wait, leave) = (Event::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let left = wait.listen();
            let lead = scope.spawn(|| {
                pollster::block_on(all.get((), async {
                    left.await;
                    Err(Error::of(ErrorKind::Unavailable, "away"))
                }))
                .map(|got| got.value)
            });
            while all.lock().values().all(|slot| slot.flight.is_none()) {
                std::thread::yield_now();
            }
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let never = async { unreachable!("another fetches") };
                        let mut get = std::pin::pin!(all.get((), never));
                        let mut told = false;
                        pollster::block_on(std::future::poll_fn(|context| {
                            let poll = get.as_mut().poll(context);
                            if !std::mem::replace(&mut told, true) {
                                leave.fetch_add(1, Ordering::Relaxed);
                            }
                            poll
                        }))
                        .map(|got| got.value)
                    })
                })
                .collect();
            while leave.load(Ordering::Relaxed) < 8 {
                std::thread::yield_now();
            }
            wait.notify(1);
            assert!(lead.join().unwrap().is_err());
            for thread in waiting {
                assert_eq!(
                    thread.join().unwrap().unwrap_err().kind(),
                    ErrorKind::Unavailable
                );
            }
        });
    }

    #[test]
    fn a_fetch_whose_caller_goes_away_is_made_by_the_next() {
        let all = OneFlight::<(), usize>::new(1);
        {
            let mut gone = std::pin::pin!(all.get((), std::future::pending()));
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            assert!(gone.as_mut().poll(&mut context).is_pending());
            let waits = std::pin::pin!(all.get((), async { Ok(kept(7, 60, 60)) }));
            assert!(waits.poll(&mut context).is_pending());
        }
        let got = pollster::block_on(all.get((), async { Ok(kept(8, 60, 60)) }));
        assert_eq!(got.unwrap().value, 8);
    }

    #[test]
    fn before_it_expires_one_fetches_and_a_failure_leaves_the_one_at_hand() {
        let all = OneFlight::<(), usize>::new(1);
        let first = pollster::block_on(all.get((), async { Ok(kept(1, 0, 60)) }));
        assert_eq!(first.unwrap().value, 1);
        let failed =
            pollster::block_on(all.get((), async { Err(Error::of(ErrorKind::Connect, "away")) }));
        assert_eq!(failed.unwrap().value, 1, "good until it expires");
        let next = pollster::block_on(all.get((), async { Ok(kept(2, 60, 60)) }));
        assert_eq!(next.unwrap().value, 1, "not asked for again at once");
    }

    #[test]
    fn what_expires_first_is_put_out_when_there_are_too_many() {
        let all = OneFlight::<usize, usize>::new(3);
        for key in 0..5 {
            let life = 100 - key as u64;
            let got = pollster::block_on(all.get(key, async { Ok(kept(key, life, life)) }));
            assert_eq!(got.unwrap().value, key);
        }
        let mut keys: Vec<usize> = all.lock().keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 4]);
    }
}
