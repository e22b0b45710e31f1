//! The connection to one server: URL, credentials, and the one way in which a request is sent.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::error::Error;
use crate::push::{PushSettings, Pusher};
use crate::search::Search;
use crate::tokens::{Credentials, Issuer, Token, Tokens};

/// Answers are read up to this size; a search of the largest window stays well below.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A server of mscp-log, as one account sees it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    builder: Builder,
    http: reqwest::Client,
    base: Url,
    tokens: Tokens,
}

/// Settings of a [`Client`].
#[derive(Clone)]
pub struct Builder {
    url: String,
    base: String,
    credentials: Credentials,
    timeout: Duration,
    root_certificates: Vec<Vec<u8>>,
    user_agent: String,
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
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder {
            url: url.into(),
            base: "/api".to_owned(),
            credentials: Credentials::default(),
            timeout: Duration::from_secs(60),
            root_certificates: Vec::new(),
            user_agent: concat!("mscp-log-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
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
        Ok(self.inner.tokens.root(self).await?.to_string())
    }

    /// A new access token for `wanted`, the JSON array of the `access` claim,
    /// for `ttl` seconds (the server's default when `None`).
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// let wanted = mscp_log_client::access(&[("GET", "{mscp_api_url}/regions")]);
    /// let token = client.issue(&wanted, Some(600)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Unauthorized when the account's grants do not cover `wanted`.
    pub async fn issue(&self, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error> {
        self.inner.tokens.issue(wanted, ttl, self).await
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
        let root = self.inner.tokens.root(self).await?;
        let request = Request::new(Method::GET, self.url(&["auth", "grants"]));
        self.send(request, Some(&root)).await?.json("the grants")
    }

    /// Begins to push records; see [`Pusher`].
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
    pub fn pusher(&self, settings: PushSettings) -> Result<Pusher, Error> {
        Pusher::start(self, settings)
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

    /// The same server and credentials over connections of their own, for use
    /// on another runtime.
    pub(crate) fn separate(&self) -> Result<Client, Error> {
        self.inner.builder.clone().build()
    }

    /// `segments` below base, each encoded.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Sends with an access token for `wanted`, and once more with a new one
    /// when the first is answered with 401.
    pub(crate) async fn call(&self, request: Request, wanted: &Value) -> Result<Answer, Error> {
        let token = self.token_for(wanted).await?;
        match self.send(request.clone(), Some(&token)).await {
            Err(error) if error.status() == Some(401) && self.forget(&token).await => {
                let token = self.token_for(wanted).await?;
                self.send(request, Some(&token)).await
            }
            answer => answer,
        }
    }

    pub(crate) async fn token_for(&self, wanted: &Value) -> Result<Arc<str>, Error> {
        self.inner.tokens.access_for(wanted, self).await
    }

    pub(crate) async fn forget(&self, token: &str) -> bool {
        self.inner.tokens.forget(token).await
    }

    /// One request, one answer; anything but 2xx is an error.
    pub(crate) async fn send(
        &self,
        request: Request,
        token: Option<&str>,
    ) -> Result<Answer, Error> {
        let what = format!("{} {}", request.method, request.url.path());
        let mut http = self
            .inner
            .http
            .request(request.method, request.url)
            .headers(request.headers)
            .timeout(request.timeout.unwrap_or(self.inner.builder.timeout));
        if let Some(token) = token {
            http = http.header(header::AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        }
        if let Some((kind, body)) = request.body {
            http = http.header(header::CONTENT_TYPE, kind).body(body);
        }
        let response = http
            .send()
            .await
            .map_err(|error| Error::transport(&what, error))?;
        whole(&what, response).await
    }

    /// One request whose body or answer is too long to be held: no limit on
    /// its time, only on connecting. Anything but 2xx is an error.
    pub(crate) async fn stream(
        &self,
        method: Method,
        segments: &[&str],
        body: reqwest::Body,
        wanted: &Value,
    ) -> Result<reqwest::Response, Error> {
        let url = self.url(segments);
        let what = format!("{method} {}", url.path());
        let token = self.token_for(wanted).await?;
        let response = self
            .inner
            .http
            .request(method, url)
            .header(header::AUTHORIZATION, secret(&format!("Bearer {token}"))?)
            .body(body)
            .send()
            .await
            .map_err(|error| Error::transport(&what, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match whole(&what, response).await {
            Ok(_) => Err(Error::protocol(format!("{what}: an unexpected answer"))),
            Err(error) => Err(error),
        }
    }
}

/// The answer, read to its end; anything but 2xx is an error.
async fn whole(what: &str, mut response: reqwest::Response) -> Result<Answer, Error> {
    let status = response.status();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::transport(what, error))?
    {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::protocol(format!(
                "{what}: the answer is over {MAX_ANSWER_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(Error::answer(what, status, retry_after, &body));
    }
    Ok(Answer {
        status,
        body: body.into(),
    })
}

impl Issuer for Client {
    async fn root(&self, email: &str, password: &str) -> Result<Token, Error> {
        use base64::Engine as _;
        if email.contains(':') {
            return Err(Error::usage(
                "an e-mail address with a colon cannot be sent by HTTP Basic",
            ));
        }
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{email}:{password}"));
        let mut request = Request::new(Method::POST, self.url(&["auth", "token_root"]));
        request
            .headers
            .insert(header::AUTHORIZATION, secret(&format!("Basic {basic}"))?);
        self.send(request, None).await?.json("the root token")
    }

    async fn access(&self, root: &str, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error> {
        let body = match ttl {
            Some(ttl) => json!({"access": wanted, "ttl": ttl}),
            None => wanted.clone(),
        };
        let request = Request::new(Method::POST, self.url(&["auth"])).json(&body);
        self.send(request, Some(root))
            .await?
            .json("the access token")
    }
}

impl Builder {
    /// The path prefix of the API, `/api` unless set.
    #[must_use]
    pub fn base(mut self, base: impl Into<String>) -> Builder {
        self.base = base.into();
        self
    }

    /// Who the client is; without it only what is open to everyone works.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Builder {
        self.credentials = credentials;
        self
    }

    /// The limit of one request from its start to its answer's end, 60 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout;
        self
    }

    /// One more certificate authority to trust, or several, in PEM; the
    /// platform's own are trusted also.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Builder {
        self.root_certificates.push(pem.into());
        self
    }

    /// The `User-Agent`, `mscp-log-client/VERSION` unless set.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Builder {
        self.user_agent = user_agent.into();
        self
    }

    /// The client. It does not connect yet.
    ///
    /// # Errors
    ///
    /// Usage for a URL that is not `http` or `https` with a host, or for a
    /// certificate that is no PEM.
    pub fn build(self) -> Result<Client, Error> {
        let mut base = Url::parse(&self.url)
            .map_err(|error| Error::usage(format!("{:?} is not a URL: {error}", self.url)))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::usage(format!(
                "{:?} is not an http or https URL with a host",
                self.url
            )));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::usage("credentials do not go into the URL"));
        }
        let path = format!(
            "{}/{}",
            base.path().trim_end_matches('/'),
            self.base.trim_matches('/')
        );
        base.set_path(path.trim_end_matches('/'));
        base.set_query(None);
        base.set_fragment(None);

        // reqwest takes the process's default provider; where the program has
        // chosen one it stays.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .connect_timeout(Duration::from_secs(10).min(self.timeout))
            // A token must not follow a redirect to another place.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        if base.scheme() == "http" {
            // Without TLS the platform's certificates are not needed, and a
            // container without any must still work.
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            http = http.tls_backend_preconfigured(config);
        } else {
            let mut extra = Vec::new();
            for pem in &self.root_certificates {
                let bundle = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
                    Error::usage(format!("the root certificate is no PEM: {error}"))
                })?;
                extra.extend(bundle);
            }
            http = http.tls_certs_merge(extra);
        }
        let http = http
            .build()
            .map_err(|error| Error::transport("cannot make the HTTP client", error))?;
        let tokens = Tokens::new(self.credentials.clone());
        Ok(Client {
            inner: Arc::new(Inner {
                builder: self,
                http,
                base,
                tokens,
            }),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.inner.base.as_str())
            .field("credentials", &self.inner.tokens.credentials)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("base", &self.base)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A request that can be sent again: its body is shared, not streamed.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<(HeaderValue, Bytes)>,
    pub(crate) timeout: Option<Duration>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            timeout: None,
        }
    }

    pub(crate) fn json(mut self, body: &Value) -> Request {
        let body = Bytes::from(body.to_string());
        self.body = Some((HeaderValue::from_static("application/json"), body));
        self
    }
}

/// A whole answer of the class 2xx.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::protocol(format!("{what} cannot be read from the answer: {error}"))
        })
    }
}

/// A header that never shows in a debug print.
fn secret(value: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::usage("the credential has characters that no HTTP header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Retry-After` in both of its forms (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(
        date.duration_since(now)
            .unwrap_or_default()
            .min(Duration::from_secs(86_400)),
    )
}

/// A proxy has no business between this machine and itself.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
