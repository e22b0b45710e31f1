//! The client of mscp-log: tokens, push, search, tail and administration over
//! the public API.
//!
//! ```no_run
//! use mscp_log_client::{Client, Credentials, PushSettings, Record};
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:8300")
//!     .credentials(Credentials::password("admin@localhost", "the password"))
//!     .build()?;
//! let app = "caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?;
//!
//! let pusher = client.pusher(PushSettings::default())?;
//! pusher.push(&Record::now(app, "applog", "order 17 was paid").annotation("level", "info"))?;
//! let outcome = pusher.close(Duration::from_secs(10)).await;
//! assert_eq!(outcome.pending, 0);
//!
//! let found = client.search("local").words("order paid").size(10).send().await?;
//! for hit in &found.hits {
//!     println!("{}", hit.message());
//! }
//! # Ok(()) }
//! ```
//!
//! Every call obtains an access token that grants this call and nothing else,
//! keeps it until shortly before it expires, and asks for a new one once when
//! the server answers 401.
#![forbid(unsafe_code)]

mod admin;
mod backup;
mod client;
mod collect;
mod error;
mod push;
mod search;
mod tail;
mod tokens;

pub use admin::{Admin, NewAccount, Password};
pub use backup::{Backup, Restore, Restored};
pub use client::{Builder, Client};
pub use collect::Collected;
pub use error::{Error, ErrorKind, Problem};
pub use push::{
    Closed, Flushed, Guard, Loss, Losses, NotTaken, Overflow, PushSettings, Pusher, Record,
};
pub use search::{Found, Hit, Search};
pub use tail::TailSettings;
pub use tokens::{Credentials, Token, access};
