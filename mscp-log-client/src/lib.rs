//! The client of mscp-log, a log system for Kubernetes: push, search, tail,
//! tokens and administration over its public API.
//!
//! Each use is a feature of its own, and the default is the smallest: pushing
//! records, without a runtime.
//!
//! # Push records
//!
//! ```no_run
//! # #[cfg(feature = "push")] fn run(app: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
//! use mscp_log_client::{Credentials, Pusher, Record};
//! let pusher = Pusher::builder("https://logs.example.org").credentials(Credentials::from_env()?).build()?;
//! pusher.push(&Record::now(app, "applog", "order 17 was paid").annotation("level", "info"))?;
//! let outcome = pusher.close_blocking(std::time::Duration::from_secs(5));
//! assert_eq!(outcome.pending, 0);
//! # Ok(()) }
//! ```
//!
//! The calls that wait exist twice: as futures for any executor (`flush`,
//! `close`, `push_within`) and for threads (`flush_blocking` and so on).
//!
//! # Push what `tracing` or `log` records
//!
//! ```no_run
//! # #[cfg(feature = "tracing")] fn run(app: uuid::Uuid, pusher: mscp_log_client::Pusher) {
//! use tracing_subscriber::prelude::*;
//! let _guard = pusher.guard(std::time::Duration::from_secs(5));
//! tracing_subscriber::registry().with(mscp_log_client::tracing::layer(pusher, app)).init();
//! # }
//! ```
//!
//! ```no_run
//! # #[cfg(feature = "log")] fn run(app: uuid::Uuid, pusher: mscp_log_client::Pusher) -> Result<(), log::SetLoggerError> {
//! let _guard = pusher.guard(std::time::Duration::from_secs(5));
//! mscp_log_client::log::Appender::new(pusher, app).install()?;
//! # Ok(()) }
//! ```
//!
//! # Search, page, follow
//!
//! ```no_run
//! # #[cfg(feature = "async")] async fn run() -> Result<(), mscp_log_client::Error> {
//! use mscp_log_client::{Client, Credentials};
//! let client = Client::builder("https://logs.example.org").credentials(Credentials::from_env()?).build()?;
//! let found = client.search("local").words("order paid").since_seconds(3600).send().await?;
//! for hit in &found.hits {
//!     println!("{hit}");
//! }
//! # Ok(()) }
//! ```
//!
//! The same without a runtime, with iterators in place of streams:
//!
//! ```no_run
//! # #[cfg(feature = "blocking")] fn run() -> Result<(), mscp_log_client::Error> {
//! use mscp_log_client::{Credentials, blocking::Client};
//! let client = Client::builder("https://logs.example.org").credentials(Credentials::from_env()?).build()?;
//! for hit in client.search("local").words("level:error").tail(10, Default::default()) {
//!     println!("{}", hit?);
//! }
//! # Ok(()) }
//! ```
//!
//! # Tokens
//!
//! Every call obtains an access token that grants this call and nothing else,
//! keeps it until shortly before it expires, and asks for a new one once when
//! the server answers 401. However many threads and tasks need one at the same
//! time, one request is made, and all have its answer. A token for somebody
//! else is issued with an [`Access`]:
//!
//! ```no_run
//! # #[cfg(feature = "async")] async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
//! use mscp_log_client::Access;
//! let wanted = Access::builder().search("local").namespace("shop").build();
//! let token = client.issue(&wanted, Some(600)).await?.token;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | feature | what it adds | dependencies |
//! |---|---|--:|
//! | `push` (default) | `Pusher`: threads of its own, HTTP/1.1 by ureq | 43 |
//! | `tracing` | a layer for `tracing`; with `push` | 48 |
//! | `log` | an appender for `log`, key-values too; with `push` | 43 |
//! | `blocking` | `blocking::Client`: search, pages, tail, tokens, by ureq | 40 |
//! | `async` | `Client`: the same as futures and streams, administration, backup, by reqwest on Tokio | 100 |
//! | `gzip` | bodies of pushes compressed, where `PushSettings` says so | 4 more |
//!
//! Dependencies are all crates of the tree on Linux, procedural macros too, as
//! `cargo tree --no-default-features --features NAME -e normal` has them; with
//! every feature they are 115. Features only add. Only `async` brings Tokio.
//!
//! TLS is rustls with ring. The platform's certificates are trusted, and what
//! is [given](Builder::root_certificate) besides. Where the program has chosen
//! a cryptographic provider for rustls it stays. Proxies are taken from the
//! environment, but never for this machine itself. No redirect is followed: a
//! token must not go to another place.
//!
//! # What push promises
//!
//! - **It does not block.** [`Pusher::push`] encodes the record and puts it
//!   into a queue; only [`Overflow::Block`] makes it wait, up to a limit.
//! - **It is bounded**: by records and by bytes, waiting and on their way
//!   (100,000 and 64 MiB unless set), and by threads: one, and as many as there
//!   are batches on their way (4 unless set), which end when there is nothing to send.
//! - **It counts every record**: accepted, lost for one of the reasons of
//!   [`Loss`], held, or in a file. [`Closed`] has the counts, at any time from
//!   [`Pusher::progress`].
//! - **It stores once** what it sends twice: every try of a batch has the same
//!   `Idempotency-Key`.
//! - **It ends**: [`Pusher::close`] returns at its timeout at the latest, 5 s
//!   later with a [`Spill`], and says what is pending.
//! - **It does not feed itself**: nothing that is logged on its own threads is
//!   pushed by the layer or the appender.
//!
//! What it does not promise: a record that is in the queue alone is gone when
//! the process is killed ([`Spill`] says what files change in that), and
//! batches of an app may overtake each other when more than one is on its way.
//!
//! # Errors
//!
//! [`Error`] is one opaque type. [`Error::kind`] is for a program to decide on,
//! [`Error::is_retryable`] says whether the same call may go well later, and
//! [`Error::problem`] is what the server said (RFC 9457). No error, no debug
//! print and no log line shows a password or a token.
//!
//! What this crate says of itself goes to the crate `log` at `debug`, under the
//! target `mscp_log_client`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(any(feature = "push", feature = "async", feature = "blocking")),
    allow(dead_code, reason = "without a feature there are only the errors")
)]
#![cfg_attr(
    not(all(
        feature = "push",
        feature = "async",
        feature = "blocking",
        feature = "tracing",
        feature = "log"
    )),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "the documentation is of all features"
    )
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
pub use search::{Found, Hit, Search};
#[cfg(any(feature = "async", feature = "blocking"))]
pub use tail::TailSettings;
#[cfg(any(feature = "push", feature = "async", feature = "blocking"))]
pub use tokens::{Access, AccessBuilder, Credentials, Restricted, Token, Whole, access};
