//! The client against a server in the same process that answers as it is told.

#![allow(clippy::unwrap_used, reason = "tests")]

mod push;
mod search;
mod server;
mod tokens;
