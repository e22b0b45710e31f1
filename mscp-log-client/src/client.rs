//! The asynchronous client, on Tokio.

use std::fmt;
use std::sync::Arc;

use http::Method;
use serde_json::Value;

use crate::admin::Admin;
use crate::connection::request::{Answer, Request, Url};
use crate::connection::reqwest::Reqwest;
use crate::connection::{Builder, Connected, Connection};
use crate::error::Error;
#[cfg(feature = "push")]
use crate::push::{PushSettings, Pusher};
use crate::search::Search;
use crate::tokens::Token;

/// A server of mscp-log, as one account sees it. Cheap to clone. Its calls are
/// made on the Tokio runtime that polls them.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Connection<Reqwest>>,
}

impl Client {
    /// Begins a client of the server at `url`, the origin alone
    /// (`https://logs.example.org`); the API's prefix is [`Builder::base`].
    ///
    /// ```
    /// use mscp_log_client::{Client, Credentials};
    /// let client = Client::builder("http://127.0.0.1:8300")
    ///     .credentials(Credentials::password("admin@localhost", "secret"))
    ///     .build()?;
    /// assert!(!format!("{client:?}").contains("secret"));
    /// # Ok::<(), mscp_log_client::Error>(())
    /// ```
    pub fn builder(url: impl Into<String>) -> Builder<Client> {
        Builder::new(url.into())
    }

    /// Fetches a root token with the password that the client was given, or
    /// gives the root token that it holds.
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// let root = client.root_token().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Unauthorized for a wrong password; otherwise whatever kept the answer away.
    pub async fn root_token(&self) -> Result<String, Error> {
        Ok(self.inner.root().await?.value.to_string())
    }

    /// A new access token for `wanted`, the JSON array of the `access` claim
    /// (see [`Access`](crate::Access)), for `ttl` seconds (the server's default
    /// when `None`).
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// use mscp_log_client::Access;
    /// let wanted = Access::builder().search("local").namespace("shop").build();
    /// let token = client.issue(&wanted, Some(600)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Unauthorized when the account's grants do not cover `wanted`.
    pub async fn issue(&self, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error> {
        self.inner.issue(wanted, ttl).await
    }

    /// What the account may ask for: the JSON array of its grants.
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// println!("{:#}", client.grants().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Unauthorized without a good root token.
    pub async fn grants(&self) -> Result<Value, Error> {
        self.inner.grants().await
    }

    /// Begins to push records; see [`Pusher`]. It has threads and connections
    /// of its own and needs nothing of the runtime.
    ///
    /// ```no_run
    /// # fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// let pusher = client.pusher(mscp_log_client::PushSettings::default())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Usage for settings that cannot work (a bound of zero).
    #[cfg(feature = "push")]
    pub fn pusher(&self, settings: PushSettings) -> Result<Pusher, Error> {
        Pusher::start(self.inner.settings.clone(), settings)
    }

    /// Begins a search in `region`; see [`Search`].
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// let found = client.search("local").words("timeout").since_seconds(3600).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn search(&self, region: impl Into<String>) -> Search {
        Search::new(self.clone(), region.into())
    }

    /// The administration of accounts, roles and keys.
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// println!("{:#}", client.admin().users().await?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        self.inner.url(segments)
    }

    pub(crate) async fn call(&self, request: Request, wanted: &Value) -> Result<Answer, Error> {
        self.inner.call(request, wanted).await
    }

    pub(crate) async fn stream(
        &self,
        method: Method,
        segments: &[&str],
        body: reqwest::Body,
        wanted: &Value,
    ) -> Result<reqwest::Response, Error> {
        let url = self.url(segments)?;
        self.inner.stream(method, url, body, wanted).await
    }
}

impl Connected for Client {
    type Transport = Reqwest;

    fn connection(&self) -> &Connection<Reqwest> {
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
        let connection = self.settings.connect(Reqwest::new)?;
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
