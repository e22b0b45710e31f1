//! Places for searches that run at once, whose number may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// So many places; who comes later waits.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Places that are taken and go when they are left.
    owed: usize,
}

/// One place; it is left when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// At least one.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            free: Arc::new(Semaphore::new(limit)),
            state: Arc::new(Mutex::new(State { limit, owed: 0 })),
        }
    }

    /// Wait for a place, in the order in which this is called.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub(super) async fn take(&self) -> Result<Place, AcquireError> {
        let permit = Arc::clone(&self.free).acquire_owned().await?;
        Ok(Place {
            permit: Some(permit),
            state: Arc::clone(&self.state),
        })
    }

    /// So many, at least one, from now on. Those that are taken beyond it stay
    /// until they are left.
    pub(super) fn set(&self, limit: usize) {
        let limit = limit.max(1);
        let mut state = lock(&self.state);
        if let Some(fewer) = state.limit.checked_sub(limit) {
            let gone = self.free.forget_permits(fewer);
            state.owed += fewer - gone;
        } else {
            let more = limit - state.limit;
            // What is owed needs not be left first.
            let kept = more.min(state.owed);
            state.owed -= kept;
            self.free.add_permits(more - kept);
        }
        state.limit = limit;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let Some(permit) = self.permit.take() else {
            return;
        };
        if state.owed > 0 {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn take(places: &Places) -> Option<Place> {
        places.take().now_or_never().map(Result::unwrap)
    }

    #[test]
    fn fewer_places_are_there_once_those_beyond_are_left() {
        let places = Places::new(3);
        let mut taken: Vec<Place> = std::iter::from_fn(|| take(&places)).collect();
        assert_eq!(taken.len(), 3);
        places.set(1);
        taken.pop();
        taken.pop();
        assert!(take(&places).is_none(), "one is taken still");
        taken.pop();
        let only = take(&places);
        assert!(only.is_some() && take(&places).is_none());
        places.set(2);
        assert!(take(&places).is_some());
    }

    #[tokio::test]
    async fn who_waits_gets_a_place_that_is_new() {
        let places = Places::new(1);
        let _first = take(&places).unwrap();
        let second = places.take();
        let wider = async { places.set(2) };
        let (second, ()) = tokio::join!(second, wider);
        assert!(second.is_ok());
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_the_limit_but_for_those_that_were_taken_before(
            steps in prop::collection::vec((0u8..3, 0usize..6), 0..60),
        ) {
            let places = Places::new(3);
            let (mut limit, mut taken) = (3, Vec::new());
            for (step, number) in steps {
                match step {
                    0 => match take(&places) {
                        Some(place) => {
                            prop_assert!(taken.len() < limit);
                            taken.push(place);
                        }
                        None => prop_assert!(taken.len() >= limit),
                    },
                    1 if !taken.is_empty() => drop(taken.swap_remove(number % taken.len())),
                    _ => {
                        limit = number.max(1);
                        places.set(number);
                    }
                }
            }
        }
    }
}
