//! The client for threads: search, pages, tail and tokens, without a runtime.
//!
//! Its transport is [ureq](https://docs.rs/ureq): HTTP/1.1 on the thread that
//! calls, TLS by rustls, and no Tokio in the tree. What is asked and what an
//! answer means is the same code as in the asynchronous client.
//!
//! ```no_run
//! use mscp_log_client::{Credentials, blocking};
//! # fn run() -> Result<(), mscp_log_client::Error> {
//! let client = blocking::Client::builder("https://logs.example.org")
//!     .credentials(Credentials::from_env()?)
//!     .build()?;
//! for page in client.search("local").words("level:error").size(500).pages() {
//!     for hit in page? {
//!         println!("{hit}");
//!     }
//! }
//! # Ok(()) }
//! ```

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use pollster::block_on;
use serde_json::Value;

use crate::connection::ureq::Ureq;
use crate::connection::{Builder, Connected, Connection};
use crate::error::Error;
#[cfg(feature = "push")]
use crate::push::{PushSettings, Pusher};
use crate::search::{Found, Hit, Paging};
use crate::tail::{Following, TailSettings};
use crate::tokens::Token;

/// A search of the blocking [`Client`].
pub type Search = crate::search::Search<Client>;

/// A server of mscp-log, as one account sees it. Cheap to clone, and good for
/// any number of threads. Every call blocks its thread for as long as the
/// [timeout](Builder::timeout) at most for each request that it makes.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Connection<Ureq>>,
}

impl Client {
    /// Begins a client of the server at `url`, the origin alone
    /// (`https://logs.example.org`); the API's prefix is [`Builder::base`].
    pub fn builder(url: impl Into<String>) -> Builder<Client> {
        Builder::new(url.into())
    }

    /// Fetches a root token with the password that the client was given, or
    /// gives the root token that it holds.
    ///
    /// # Errors
    ///
    /// Unauthorized for a wrong password; otherwise whatever kept the answer away.
    pub fn root_token(&self) -> Result<String, Error> {
        Ok(block_on(self.inner.root())?.value.to_string())
    }

    /// A new access token for `wanted`, the JSON array of the `access` claim
    /// (see [`Access`](crate::Access)), for `ttl` seconds (the server's default
    /// when `None`).
    ///
    /// # Errors
    ///
    /// Unauthorized when the account's grants do not cover `wanted`.
    pub fn issue(&self, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error> {
        block_on(self.inner.issue(wanted, ttl))
    }

    /// What the account may ask for: the JSON array of its grants.
    ///
    /// # Errors
    ///
    /// Unauthorized without a good root token.
    pub fn grants(&self) -> Result<Value, Error> {
        block_on(self.inner.grants())
    }

    /// Begins a search in `region`; see [`Search`].
    pub fn search(&self, region: impl Into<String>) -> Search {
        Search::new(self.clone(), region.into())
    }

    /// Begins to push records; see [`Pusher`].
    ///
    /// # Errors
    ///
    /// Usage for settings that cannot work (a bound of zero).
    #[cfg(feature = "push")]
    pub fn pusher(&self, settings: PushSettings) -> Result<Pusher, Error> {
        Pusher::start(self.inner.settings.clone(), settings)
    }
}

impl Connected for Client {
    type Transport = Ureq;

    fn connection(&self) -> &Connection<Ureq> {
        &self.inner
    }
}

impl Builder<Client> {
    /// The client. It does not connect yet.
    ///
    /// # Errors
    ///
    /// Usage for a URL that is not `http` or `https` with a host, or for a
    /// certificate that is no PEM.
    pub fn build(self) -> Result<Client, Error> {
        let connection = self.settings.connect(Ureq::new)?;
        Ok(Client {
            inner: Arc::new(connection),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Search {
    /// Asks, and gives one page.
    ///
    /// # Errors
    ///
    /// Rejected for a query that the server cannot parse, with its reason;
    /// Forbidden for one that the account may not ask.
    pub fn send(&self) -> Result<Found, Error> {
        block_on(self.ask(&self.body()))
    }

    /// How many records match.
    ///
    /// # Errors
    ///
    /// As [`Search::send`].
    pub fn count(&self) -> Result<u64, Error> {
        block_on(self.ask_count())
    }

    /// All pages, one after the other, until there is no record left. Each
    /// continues behind the last record of the one before (`search_after`), so
    /// what is written meanwhile moves nothing. It ends after an error.
    #[must_use]
    pub fn pages(self) -> Pages {
        Pages {
            paging: Some(Paging::new(self)),
        }
    }

    /// The newest `last` records that match, in their order, and then every
    /// record that comes in. It blocks until there is one, and never ends.
    ///
    /// An error does not end it: the next call goes on where the last good
    /// poll was. Whether to go on is the caller's to say, by
    /// [`Error::is_retryable`].
    ///
    /// ```no_run
    /// # fn run(client: mscp_log_client::blocking::Client) -> Result<(), mscp_log_client::Error> {
    /// for hit in client.search("local").words("error").tail(10, Default::default()) {
    ///     println!("{}", hit?);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn tail(self, last: u64, settings: TailSettings) -> Tail {
        Tail {
            following: Following::new(self, last, settings),
        }
    }
}

/// Pages of a search; see [`Search::pages`].
pub struct Pages {
    paging: Option<Paging<Client>>,
}

impl Iterator for Pages {
    type Item = Result<Vec<Hit>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = block_on(self.paging.as_mut()?.next()).transpose();
        if !matches!(page, Some(Ok(_))) {
            self.paging = None;
        }
        page
    }
}

impl FusedIterator for Pages {}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("ended", &self.paging.is_none())
            .finish()
    }
}

/// A search that is followed; see [`Search::tail`].
pub struct Tail {
    following: Following<Client>,
}

impl Iterator for Tail {
    type Item = Result<Hit, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(block_on(self.following.next()))
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}
