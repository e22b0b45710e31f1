//! The one place that reads the wall clock; everything below takes the time
//! as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch; 0 where the clock stands before it.
#[must_use]
pub fn now_us() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Whole seconds since the epoch.
#[must_use]
pub fn now_s() -> i64 {
    now_us() / 1_000_000
}
