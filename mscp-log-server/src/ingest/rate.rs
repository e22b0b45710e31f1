//! Records a second of each application.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lru::LruCache;
use uuid::Uuid;

/// Applications whose rate is kept at once; the one not seen for longest
/// begins anew.
const MAX_APPS: NonZeroUsize = NonZeroUsize::new(16_384).expect("the number is not zero");

/// One limit for every application, each counted by itself.
pub(super) struct Rate {
    quota: Quota,
    clock: DefaultClock,
    apps: Mutex<LruCache<Uuid, Arc<DefaultDirectRateLimiter>>>,
}

impl Rate {
    /// `per_second` records, of which at least `burst` may come at once, so
    /// that a request of the largest size can pass.
    pub(super) fn new(per_second: u64, burst: u64) -> Self {
        let number = |number: u64| {
            NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
        };
        Self {
            quota: Quota::per_second(number(per_second)).allow_burst(number(burst.max(per_second))),
            clock: DefaultClock::default(),
            apps: Mutex::new(LruCache::new(MAX_APPS)),
        }
    }

    /// Count `records` of `appid`, or say how long to wait.
    pub(super) fn take(&self, appid: Uuid, records: usize) -> Result<(), Duration> {
        let Some(records) = u32::try_from(records).ok().and_then(NonZeroU32::new) else {
            return Ok(());
        };
        let app = {
            let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
            let made = || {
                Arc::new(RateLimiter::direct_with_clock(
                    self.quota,
                    self.clock.clone(),
                ))
            };
            Arc::clone(apps.get_or_insert(appid, made))
        };
        match app.check_n(records) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            // More than a burst: the limit on records comes first, so it cannot pass.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}
