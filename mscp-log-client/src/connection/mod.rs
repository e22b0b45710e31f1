//! The connection to one server: what is decided about a request, once for all
//! transports.
//!
//! The code is written as futures. The asynchronous transport waits in them;
//! the blocking one does its work while it is polled, so that its futures are
//! always ready, and only a wait for another caller's token is a wait.

pub(crate) mod request;
#[cfg(feature = "async")]
pub(crate) mod reqwest;
#[cfg(any(feature = "push", feature = "blocking"))]
pub(crate) mod ureq;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::error::Error;
#[cfg(feature = "push")]
use crate::push::PushSettings;
use crate::tokens::{Credentials, Got, Kept, Known, Token, Tokens};
use request::{Answer, Base, Request, Url};

/// How long a connection may take to be made, unless the whole request has less.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// Carries requests. Redirects are answers: a token must not follow one to
/// another place.
pub(crate) trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request) -> impl Future<Output = Result<Answer, Error>> + Send;

    #[cfg(any(feature = "async", feature = "blocking"))]
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// Runs what may block, away from where that does harm.
    fn unblock<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Error>> + Send;
}

/// One server as one account sees it, over one transport.
pub(crate) struct Connection<T> {
    pub(crate) settings: Settings,
    pub(crate) base: Base,
    tokens: Tokens,
    pub(crate) transport: T,
}

/// A client that searches are made with.
#[cfg(any(feature = "async", feature = "blocking"))]
pub(crate) trait Connected: Clone + Send + Sync + 'static {
    type Transport: Transport;

    fn connection(&self) -> &Connection<Self::Transport>;
}

/// What a connection is made from, and made again.
#[derive(Clone)]
pub(crate) struct Settings {
    url: String,
    base: String,
    pub(crate) credentials: Credentials,
    pub(crate) timeout: Duration,
    pub(crate) root_certificates: Vec<Vec<u8>>,
    pub(crate) user_agent: String,
    /// Idle connections kept at most.
    pub(crate) idle: usize,
}

impl Settings {
    fn new(url: String) -> Settings {
        Settings {
            url,
            base: "/api".to_owned(),
            credentials: Credentials::default(),
            timeout: Duration::from_secs(60),
            root_certificates: Vec::new(),
            user_agent: concat!("mscp-log-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            idle: 32,
        }
    }

    pub(crate) fn connect<T>(
        self,
        transport: impl FnOnce(&Settings, &Base) -> Result<T, Error>,
    ) -> Result<Connection<T>, Error> {
        let base = Base::parse(&self.url, &self.base)?;
        Ok(Connection {
            transport: transport(&self, &base)?,
            tokens: Tokens::new(self.credentials.clone()),
            base,
            settings: self,
        })
    }
}

/// Settings of a client, of which `build` makes a `T`: an asynchronous
/// `Client`, a `blocking::Client` or a `Pusher`.
pub struct Builder<T> {
    pub(crate) settings: Settings,
    #[cfg(feature = "push")]
    pub(crate) push: PushSettings,
    made: PhantomData<fn() -> T>,
}

impl<T> Builder<T> {
    pub(crate) fn new(url: String) -> Builder<T> {
        Builder {
            settings: Settings::new(url),
            #[cfg(feature = "push")]
            push: PushSettings::default(),
            made: PhantomData,
        }
    }

    /// The path prefix of the API, `/api` unless set.
    #[must_use]
    pub fn base(mut self, base: impl Into<String>) -> Builder<T> {
        self.settings.base = base.into();
        self
    }

    /// Who the client is; without it only what is open to everyone works.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Builder<T> {
        self.settings.credentials = credentials;
        self
    }

    /// The limit of one request from its start to its answer's end, 60 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Builder<T> {
        self.settings.timeout = timeout;
        self
    }

    /// One more certificate authority to trust, or several, in PEM; the
    /// platform's own are trusted also.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Builder<T> {
        self.settings.root_certificates.push(pem.into());
        self
    }

    /// The `User-Agent`, `mscp-log-client/VERSION` unless set.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Builder<T> {
        self.settings.user_agent = user_agent.into();
        self
    }
}

impl<T> Clone for Builder<T> {
    fn clone(&self) -> Builder<T> {
        Builder {
            settings: self.settings.clone(),
            #[cfg(feature = "push")]
            push: self.push.clone(),
            made: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("base", &self.settings.base)
            .field("credentials", &self.settings.credentials)
            .field("timeout", &self.settings.timeout)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.to_string())
            .field("credentials", &self.settings.credentials)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> Connection<T> {
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        self.base.url(segments)
    }

    #[cfg(any(feature = "async", feature = "blocking"))]
    /// Sends with an access token for `wanted`, and once more with a new one
    /// when the first is answered with 401.
    pub(crate) async fn call(&self, request: Request, wanted: &Value) -> Result<Answer, Error> {
        let token = self.token_for(wanted).await?;
        match self.send(request.clone().bearer(&token)?).await {
            Err(error) if error.status() == Some(401) && self.forget(&token) => {
                let token = self.token_for(wanted).await?;
                self.send(request.bearer(&token)?).await
            }
            answer => answer,
        }
    }

    /// One request, one answer; anything but 2xx is an error.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Error> {
        let what = request.name();
        self.transport.send(request).await?.good(&what)
    }

    /// A token that grants `wanted`, from the cache or new.
    pub(crate) async fn token_for(&self, wanted: &Value) -> Result<Arc<str>, Error> {
        if let Known::Access(token) = &*self.known().await?.value {
            return Ok(Arc::clone(token));
        }
        let name = wanted.to_string();
        let fetch = async {
            let issued = self.issue(wanted, None).await?;
            Ok(Kept::token(&issued))
        };
        Ok(self.tokens.access.get(name, fetch).await?.value)
    }

    /// Forgets `token` where it is still the one at hand. False when there is
    /// no way to get another: a fixed access token.
    pub(crate) fn forget(&self, token: &str) -> bool {
        self.tokens.forget(token)
    }

    /// A new access token, which is not kept.
    pub(crate) async fn issue(&self, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error> {
        let root = self.root().await?;
        match self.issue_with(&root.value, wanted, ttl).await {
            // A root token from the cache may have been taken back meanwhile;
            // where another can be had it is tried, once.
            Err(error)
                if error.status() == Some(401)
                    && !root.is_fresh
                    && self.tokens.forget_root(&root.value) =>
            {
                let root = self.root().await?;
                self.issue_with(&root.value, wanted, ttl).await
            }
            answer => answer,
        }
    }

    async fn issue_with(
        &self,
        root: &str,
        wanted: &Value,
        ttl: Option<u64>,
    ) -> Result<Token, Error> {
        let body = match ttl {
            Some(ttl) => json!({"access": wanted, "ttl": ttl}),
            None => wanted.clone(),
        };
        let request = Request::new(Method::POST, self.url(&["auth"])?).json(&body);
        self.send(request.bearer(root)?)
            .await?
            .json("the access token")
    }

    /// The root token, from the cache or new.
    pub(crate) async fn root(&self) -> Result<Root, Error> {
        let known = self.known().await?;
        match &*known.value {
            Known::Nobody => Err(Error::unauthorized("no credentials are set")),
            Known::Access(_) => Err(Error::unauthorized(
                "an access token cannot ask for another token; a root token or a password is needed",
            )),
            Known::Root(token) => Ok(Root {
                value: Arc::clone(token),
                is_fresh: known.is_fresh,
            }),
            Known::Password { email, password } => {
                let fetch = async {
                    let url = self.url(&["auth", "token_root"])?;
                    let request = Request::new(Method::POST, url).basic(email, password)?;
                    let token: Token = self.send(request).await?.json("the root token")?;
                    Ok(Kept::token(&token))
                };
                self.tokens.root.get((), fetch).await
            }
        }
    }

    #[cfg(any(feature = "async", feature = "blocking"))]
    /// What the account may ask for.
    pub(crate) async fn grants(&self) -> Result<Value, Error> {
        let root = self.root().await?;
        let request = Request::new(Method::GET, self.url(&["auth", "grants"])?);
        self.send(request.bearer(&root.value)?)
            .await?
            .json("the grants")
    }

    /// Who the client is now: what a file, the environment or a callback says.
    async fn known(&self) -> Result<Got<Arc<Known>>, Error> {
        if let Some(known) = self.tokens.fixed() {
            return Ok(known);
        }
        let fetch = async {
            let source = self.settings.credentials.clone();
            let read = self.transport.unblock(move || source.read()).await??;
            self.tokens.was_read(&read.value);
            Ok(read)
        };
        self.tokens.known.get((), fetch).await
    }
}

type Root = Got<Arc<str>>;
