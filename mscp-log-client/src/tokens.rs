//! Credentials, and the tokens made from them: a root token from a password,
//! an access token for each thing that is done, kept until shortly before they expire.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Error;

/// Access tokens kept at once; one more puts out the one that expires first.
const KEPT_TOKENS: usize = 256;

/// Who the client is.
#[derive(Clone, Default)]
pub struct Credentials(pub(crate) Kind);

#[derive(Clone, Default)]
pub(crate) enum Kind {
    #[default]
    None,
    Password {
        email: String,
        password: String,
    },
    Root(String),
    Access(String),
}

impl Credentials {
    /// An account's e-mail address and password: root tokens are fetched with
    /// them whenever one is needed.
    #[must_use]
    pub fn password(email: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials(Kind::Password {
            email: email.into(),
            password: password.into(),
        })
    }

    /// A root token; access tokens are asked for with it until it expires.
    #[must_use]
    pub fn root_token(token: impl Into<String>) -> Credentials {
        Credentials(Kind::Root(token.into()))
    }

    /// An access token, used as it is for everything.
    #[must_use]
    pub fn access_token(token: impl Into<String>) -> Credentials {
        Credentials(Kind::Access(token.into()))
    }

    /// Whichever of the two the token is: a token with an `access` claim is an
    /// access token, one without is a root token.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when it is no JWT.
    pub fn token(token: impl Into<String>) -> Result<Credentials, Error> {
        let token = token.into();
        let claims = Claims::read(&token)
            .ok_or_else(|| Error::usage("the token is not a JWT of three base64url parts"))?;
        Ok(if claims.access {
            Credentials::access_token(token)
        } else {
            Credentials::root_token(token)
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None => "Credentials(none)",
            Kind::Password { .. } => "Credentials(password)",
            Kind::Root(_) => "Credentials(root token)",
            Kind::Access(_) => "Credentials(access token)",
        })
    }
}

/// A token as the server issued it.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct Token {
    /// The JWT. It is a secret: `Debug` does not show it.
    pub token: String,
    /// When it expires, in seconds since the epoch by the server's clock.
    #[serde(default)]
    pub exp: i64,
    /// Its id, which a service token is taken back by.
    #[serde(default)]
    pub jti: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// The JSON of an access list: one entry for each (method, pattern) pair.
///
/// ```
/// let wanted = mscp_log_client::access(&[("POST", "{mscp_api_url}/local/log/_search")]);
/// assert_eq!(wanted[0]["method"][0], "POST");
/// ```
#[must_use]
pub fn access(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(method, url)| json!({"method": [method], "url": [url]}))
        .collect()
}

/// A token at hand, and until when it may be used.
#[derive(Clone)]
struct Kept {
    token: Arc<str>,
    until: Instant,
}

/// The cache. What it does not have it lets its caller fetch, one fetch at a time.
pub(crate) struct Tokens {
    pub(crate) credentials: Credentials,
    cache: tokio::sync::Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    root: Option<Kept>,
    access: HashMap<String, Kept>,
}

/// The two calls of the server that make tokens.
pub(crate) trait Issuer {
    async fn root(&self, email: &str, password: &str) -> Result<Token, Error>;
    async fn access(&self, root: &str, wanted: &Value, ttl: Option<u64>) -> Result<Token, Error>;
}

impl Tokens {
    pub(crate) fn new(credentials: Credentials) -> Tokens {
        Tokens {
            credentials,
            cache: tokio::sync::Mutex::default(),
        }
    }

    /// A token that grants `wanted`, from the cache or new.
    pub(crate) async fn access_for(
        &self,
        wanted: &Value,
        issuer: &impl Issuer,
    ) -> Result<Arc<str>, Error> {
        if let Kind::Access(token) = &self.credentials.0 {
            return Ok(token.as_str().into());
        }
        let name = wanted.to_string();
        // The lock is held over the fetch on purpose: many tasks that need the
        // same token at once make one request.
        let mut cache = self.cache.lock().await;
        let now = Instant::now();
        if let Some(kept) = cache.access.get(&name)
            && kept.until > now
        {
            return Ok(Arc::clone(&kept.token));
        }
        let issued = self.issue_with(&mut cache, wanted, None, issuer).await?;
        let kept = Kept::new(&issued);
        if cache.access.len() >= KEPT_TOKENS {
            let first = cache
                .access
                .iter()
                .min_by_key(|(_, kept)| kept.until)
                .map(|(name, _)| name.clone());
            if let Some(first) = first {
                cache.access.remove(&first);
            }
        }
        let token = Arc::clone(&kept.token);
        cache.access.insert(name, kept);
        Ok(token)
    }

    /// A new access token, which is not kept.
    pub(crate) async fn issue(
        &self,
        wanted: &Value,
        ttl: Option<u64>,
        issuer: &impl Issuer,
    ) -> Result<Token, Error> {
        let mut cache = self.cache.lock().await;
        self.issue_with(&mut cache, wanted, ttl, issuer).await
    }

    /// The root token, from the cache or new.
    pub(crate) async fn root(&self, issuer: &impl Issuer) -> Result<Arc<str>, Error> {
        let mut cache = self.cache.lock().await;
        self.root_with(&mut cache, issuer).await
    }

    /// Forgets `token` where it is still the one at hand. False when there is
    /// no way to get another: a fixed access token.
    pub(crate) async fn forget(&self, token: &str) -> bool {
        if matches!(self.credentials.0, Kind::Access(_) | Kind::None) {
            return false;
        }
        let mut cache = self.cache.lock().await;
        cache.access.retain(|_, kept| &*kept.token != token);
        true
    }

    async fn issue_with(
        &self,
        cache: &mut Cache,
        wanted: &Value,
        ttl: Option<u64>,
        issuer: &impl Issuer,
    ) -> Result<Token, Error> {
        let had_root = cache.root.is_some();
        let root = self.root_with(cache, issuer).await?;
        let first = issuer.access(&root, wanted, ttl).await;
        match first {
            // A root token from the cache may have been taken back meanwhile;
            // with the password at hand another one is tried, once.
            Err(error)
                if error.status() == Some(401)
                    && had_root
                    && matches!(self.credentials.0, Kind::Password { .. }) =>
            {
                cache.root = None;
                let root = self.root_with(cache, issuer).await?;
                issuer.access(&root, wanted, ttl).await
            }
            answer => answer,
        }
    }

    async fn root_with(&self, cache: &mut Cache, issuer: &impl Issuer) -> Result<Arc<str>, Error> {
        match &self.credentials.0 {
            Kind::None => Err(Error::unauthorized("no credentials are set")),
            Kind::Access(_) => Err(Error::unauthorized(
                "an access token cannot ask for another token; a root token or a password is needed",
            )),
            Kind::Root(token) => Ok(token.as_str().into()),
            Kind::Password { email, password } => {
                if let Some(kept) = &cache.root
                    && kept.until > Instant::now()
                {
                    return Ok(Arc::clone(&kept.token));
                }
                let kept = Kept::new(&issuer.root(email, password).await?);
                let token = Arc::clone(&kept.token);
                cache.root = Some(kept);
                Ok(token)
            }
        }
    }
}

impl Kept {
    /// Usable until a fifth of its life, at most a minute, is left. The life is
    /// what the token itself says and is counted from now on the monotonic
    /// clock, so that a wrong wall clock here does not matter.
    fn new(token: &Token) -> Kept {
        let life = Claims::read(&token.token)
            .map_or(60, |claims| claims.exp.saturating_sub(claims.iat))
            .clamp(0, 366 * 86_400);
        let life = Duration::from_secs(life.unsigned_abs());
        let margin = (life / 5).min(Duration::from_secs(60));
        Kept {
            token: token.token.as_str().into(),
            until: Instant::now() + life - margin,
        }
    }
}

/// The few claims that matter on this side. Nothing is verified here: the
/// server does that.
struct Claims {
    iat: i64,
    exp: i64,
    access: bool,
}

impl Claims {
    fn read(token: &str) -> Option<Claims> {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let payload: Value = serde_json::from_slice(&payload).ok()?;
        Some(Claims {
            iat: payload.get("iat")?.as_i64()?,
            exp: payload.get("exp")?.as_i64()?,
            access: payload.get("access").is_some(),
        })
    }
}
