//! Which threads are the pusher's own. What is logged on them, by HTTP, TLS or
//! this crate, must not be pushed: sending it would make the next of it.

use std::cell::Cell;

std::thread_local! {
    // Without a destructor, so that it can be read while the thread ends.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread for good.
pub(super) fn mark() {
    INSIDE.set(true);
}

/// Whether this thread belongs to a pusher.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}
