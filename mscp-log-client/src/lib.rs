//! The client of mscp-log: tokens, push, search, tail and administration over
//! the public API.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "push", feature = "async", feature = "blocking")),
    allow(dead_code, reason = "without a feature there are only the errors")
)]

#[cfg(feature = "async")]
mod admin;
#[cfg(feature = "async")]
mod backup;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "async")]
mod client;
#[cfg(feature = "async")]
mod collect;
#[cfg(any(feature = "push", feature = "async", feature = "blocking"))]
mod connection;
mod error;
#[cfg(any(feature = "tracing", feature = "log"))]
mod event;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "push")]
mod push;
#[cfg(any(feature = "async", feature = "blocking"))]
mod search;
#[cfg(any(feature = "async", feature = "blocking"))]
mod tail;
#[cfg(any(feature = "push", feature = "async", feature = "blocking"))]
mod tokens;
#[cfg(feature = "tracing")]
pub mod tracing;

#[cfg(feature = "async")]
pub use admin::{Admin, NewAccount, Password};
#[cfg(feature = "async")]
pub use backup::{Backup, Restore, Restored};
#[cfg(feature = "async")]
pub use client::Client;
#[cfg(feature = "async")]
pub use collect::Collected;
#[cfg(any(feature = "push", feature = "async", feature = "blocking"))]
pub use connection::Builder;
pub use error::{Error, ErrorKind, Problem};
#[cfg(feature = "push")]
pub use push::{
    Closed, Flushed, Guard, Loss, Losses, NotTaken, Overflow, PushSettings, Pusher, Record, Spill,
};
#[cfg(any(feature = "async", feature = "blocking"))]
pub use search::{Found, Hit};
#[cfg(any(feature = "async", feature = "blocking"))]
pub use tail::TailSettings;
#[cfg(any(feature = "push", feature = "async", feature = "blocking"))]
pub use tokens::{Access, AccessBuilder, Credentials, Restricted, Token, Whole, access};

/// A search of the asynchronous [`Client`].
#[cfg(feature = "async")]
pub type Search = search::Search<Client>;
