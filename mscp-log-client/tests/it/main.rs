//! The client against a server in the same process that answers as it is told.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(any(feature = "async", feature = "push", feature = "blocking"))]

#[cfg(all(feature = "push", feature = "blocking", feature = "async"))]
mod blocking;
#[cfg(all(feature = "push", feature = "blocking"))]
mod credentials;
#[cfg(feature = "push")]
mod faults;
#[cfg(all(feature = "tracing", feature = "log"))]
mod logging;
#[cfg(feature = "push")]
mod push;
#[cfg(feature = "push")]
mod raw;
#[cfg(feature = "async")]
mod search;
mod server;
#[cfg(feature = "push")]
mod spill;
#[cfg(feature = "async")]
mod tokens;
