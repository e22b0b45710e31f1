//! Credentials, and the tokens made from them: a root token from a password,
//! an access token for each thing that is done, kept until shortly before they expire.

mod access;
mod flight;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

pub use access::{Access, AccessBuilder, Restricted, Whole, access};
pub(crate) use flight::{Got, Kept, OneFlight};

/// Access tokens kept at once; one more puts out the one that expires first.
const KEPT_TOKENS: usize = 256;

/// A file with a token is not larger: the server takes no token over 16 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The error of a [callback](Credentials::callback).
type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Who the client is. `Debug` shows only of what kind it is.
#[derive(Clone, Default)]
pub struct Credentials(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    None,
    Password {
        email: String,
        password: String,
    },
    Root(Arc<str>),
    Access(Arc<str>),
    File(PathBuf),
    Callback(Arc<dyn Fn() -> Result<Credentials, Refusal> + Send + Sync>),
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
        Credentials(Kind::Root(token.into().into()))
    }

    /// An access token, used as it is for everything. A service account's
    /// token is one.
    #[must_use]
    pub fn access_token(token: impl Into<String>) -> Credentials {
        Credentials(Kind::Access(token.into().into()))
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

    /// A file with a token in it, as [`Credentials::token`]. It is read when
    /// it is first needed, when its time of change or its size is another, and
    /// when the server refuses the token.
    #[must_use]
    pub fn token_file(path: impl Into<PathBuf>) -> Credentials {
        Credentials(Kind::File(path.into()))
    }

    /// What `source` gives: a password or a token. It is asked when credentials are first
    /// needed, shortly before its token expires, and when the server refuses
    /// them; never by two at the same time. It may block: the asynchronous
    /// client calls it away from its runtime's workers. The text of its error
    /// is shown, so it must hold no secret.
    ///
    /// ```
    /// use mscp_log_client::Credentials;
    /// let credentials = Credentials::callback(|| {
    ///     let token = std::fs::read_to_string("/run/secrets/log-token")?;
    ///     Ok(Credentials::token(token.trim())?)
    /// });
    /// ```
    #[must_use]
    pub fn callback(
        source: impl Fn() -> Result<Credentials, Refusal> + Send + Sync + 'static,
    ) -> Credentials {
        Credentials(Kind::Callback(Arc::new(source)))
    }

    /// From the environment; the first of these that is set and not empty:
    /// `MSCP_LOG_TOKEN`, a token; `MSCP_LOG_TOKEN_FILE`, the name of a
    /// [file](Credentials::token_file) with one; `MSCP_LOG_EMAIL` and
    /// `MSCP_LOG_PASSWORD`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when none is set, only one
    /// of the last two is, or the token is no JWT.
    pub fn from_env() -> Result<Credentials, Error> {
        Credentials::from_variables(|name| {
            let value = std::env::var_os(name)?;
            (!value.is_empty()).then_some(value)
        })
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Credentials, Error> {
        let text = |name: &str| match variable(name).map(std::ffi::OsString::into_string) {
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Error::usage(format!("{name} is not UTF-8"))),
            None => Ok(None),
        };
        if let Some(token) = text("MSCP_LOG_TOKEN")? {
            return Credentials::token(token.trim())
                .map_err(|_| Error::usage("MSCP_LOG_TOKEN is not a JWT"));
        }
        if let Some(path) = variable("MSCP_LOG_TOKEN_FILE") {
            return Ok(Credentials::token_file(path));
        }
        match (text("MSCP_LOG_EMAIL")?, text("MSCP_LOG_PASSWORD")?) {
            (Some(email), Some(password)) => Ok(Credentials::password(email, password)),
            (Some(_), None) => Err(Error::usage(
                "MSCP_LOG_EMAIL is set and MSCP_LOG_PASSWORD is not",
            )),
            (None, Some(_)) => Err(Error::usage(
                "MSCP_LOG_PASSWORD is set and MSCP_LOG_EMAIL is not",
            )),
            (None, None) => Err(Error::usage(
                "no credentials in the environment: expected MSCP_LOG_TOKEN, MSCP_LOG_TOKEN_FILE, \
                 or MSCP_LOG_EMAIL and MSCP_LOG_PASSWORD",
            )),
        }
    }

    /// Reads the file or asks the callback; may block.
    pub(crate) fn read(&self) -> Result<Kept<Arc<Known>>, Error> {
        if let Kind::Callback(source) = &self.0 {
            let given = source().map_err(|error| {
                Error::unauthorized(format!("the callback for credentials: {error}"))
            })?;
            return match given.0 {
                Kind::Callback(_) => Err(Error::usage(
                    "the callback for credentials gave another callback; expected a password or a token",
                )),
                _ => given.read(),
            };
        }
        let known = match &self.0 {
            Kind::File(path) => read_file(path)?.fixed(),
            _ => self.fixed(),
        };
        let known = known.unwrap_or(Known::Nobody);
        let left = match &known {
            Known::Root(token) | Known::Access(token) => {
                Claims::read(token).and_then(|claims| claims.left())
            }
            _ => None,
        };
        // What says nothing of its end is good until the server refuses it.
        let left = left.unwrap_or(Duration::from_secs(366 * 86_400));
        Ok(Kept::for_time(Arc::new(known), left))
    }

    /// What needs no reading.
    fn fixed(&self) -> Option<Known> {
        match &self.0 {
            Kind::None => Some(Known::Nobody),
            Kind::Password { email, password } => Some(Known::Password {
                email: email.clone(),
                password: password.clone(),
            }),
            Kind::Root(token) => Some(Known::Root(Arc::clone(token))),
            Kind::Access(token) => Some(Known::Access(Arc::clone(token))),
            Kind::File(_) | Kind::Callback(_) => None,
        }
    }
}

fn read_file(path: &Path) -> Result<Credentials, Error> {
    let failed = |why: &dyn fmt::Display| {
        Error::unauthorized(format!("the token file {}: {why}", path.display()))
    };
    let size = std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(failed(&format_args!(
            "{size} bytes are more than a token has; expected a JWT alone"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    Credentials::token(text.trim()).map_err(|_| failed(&"it does not hold a JWT"))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::None => "Credentials(none)",
            Kind::Password { .. } => "Credentials(password)",
            Kind::Root(_) => "Credentials(root token)",
            Kind::Access(_) => "Credentials(access token)",
            Kind::File(_) => "Credentials(file)",
            Kind::Callback(_) => "Credentials(callback)",
        })
    }
}

/// Credentials that were read.
#[derive(PartialEq, Eq)]
pub(crate) enum Known {
    Nobody,
    Password { email: String, password: String },
    Root(Arc<str>),
    Access(Arc<str>),
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

/// The tokens of one client.
pub(crate) struct Tokens {
    credentials: Credentials,
    /// Credentials that need no reading.
    fixed: Option<Arc<Known>>,
    pub(crate) known: OneFlight<(), Arc<Known>>,
    pub(crate) root: OneFlight<(), Arc<str>>,
    pub(crate) access: OneFlight<String, Arc<str>>,
    read: Mutex<Read>,
}

/// What was read last.
#[derive(Default)]
struct Read {
    stamp: Option<(SystemTime, u64)>,
    known: Option<Arc<Known>>,
}

impl Tokens {
    pub(crate) fn new(credentials: Credentials) -> Tokens {
        Tokens {
            fixed: credentials.fixed().map(Arc::new),
            credentials,
            known: OneFlight::new(1),
            root: OneFlight::new(1),
            access: OneFlight::new(KEPT_TOKENS),
            read: Mutex::default(),
        }
    }

    /// The credentials where they need no reading. A file that has changed is
    /// forgotten here.
    pub(crate) fn fixed(&self) -> Option<Got<Arc<Known>>> {
        if let Some(fixed) = &self.fixed {
            return Some(Got::fresh(Arc::clone(fixed)));
        }
        if let Kind::File(path) = &self.credentials.0 {
            let about = std::fs::metadata(path).ok();
            let stamp = about.and_then(|about| Some((about.modified().ok()?, about.len())));
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if stamp.is_some() && read.stamp != stamp {
                read.stamp = stamp;
                self.known.forget(|_| true);
            }
        }
        None
    }

    /// Credentials were read. The tokens of others are good no more.
    pub(crate) fn was_read(&self, known: &Arc<Known>) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let before = read.known.replace(Arc::clone(known));
        if before.is_some_and(|before| before != *known) {
            self.root.forget(|_| true);
            self.access.forget(|_| true);
        }
    }

    /// Forgets an access token where it is still the one at hand. False when
    /// there is no way to get another.
    pub(crate) fn forget(&self, token: &str) -> bool {
        match self.fixed.as_deref() {
            Some(Known::Access(_) | Known::Nobody) => return false,
            Some(_) => {}
            None => self
                .known
                .forget(|known| matches!(&**known, Known::Access(kept) if **kept == *token)),
        }
        self.access.forget(|kept| **kept == *token);
        true
    }

    /// The same of a root token.
    pub(crate) fn forget_root(&self, token: &str) -> bool {
        if let Some(Known::Root(_)) = self.fixed.as_deref() {
            return false;
        }
        self.known
            .forget(|known| matches!(&**known, Known::Root(kept) if **kept == *token));
        self.root.forget(|kept| **kept == *token);
        true
    }
}

impl<V> Kept<V> {
    /// Good for `life` from now. A fifth of it before the end, at most a
    /// minute, another is fetched; for the last quarter of that it is not used.
    fn for_time(value: V, life: Duration) -> Kept<V> {
        let margin = (life / 5).min(Duration::from_secs(60));
        let now = Instant::now();
        Kept {
            value,
            refresh_at: now + life.saturating_sub(margin),
            until: now + life.saturating_sub(margin / 4),
        }
    }
}

impl Kept<Arc<str>> {
    /// The life is what the token itself says and is counted from now on the
    /// monotonic clock, so that a wrong wall clock here does not matter.
    pub(crate) fn token(token: &Token) -> Kept<Arc<str>> {
        let life = Claims::read(&token.token)
            .map_or(60, |claims| claims.exp.saturating_sub(claims.iat))
            .clamp(0, 366 * 86_400);
        let life = Duration::from_secs(life.unsigned_abs());
        Kept::for_time(token.token.as_str().into(), life)
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

    /// What is left of its life by the clock of this machine; `None` when that
    /// is nothing, which may be the clock's fault.
    fn left(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let left = u64::try_from(self.exp).ok()?.checked_sub(now)?;
        (left > 0).then(|| Duration::from_secs(left.min(366 * 86_400)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_gives_the_first_that_is_set_and_says_what_is_missing() {
        let jwt = |payload: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        let root = jwt(r#"{"iat":1,"exp":2}"#);
        let access = jwt(r#"{"iat":1,"exp":2,"access":[]}"#);
        let given = |set: &[(&str, &str)]| {
            let found = Credentials::from_variables(|name| {
                let (_, value) = set.iter().find(|(key, _)| *key == name)?;
                Some(value.into())
            });
            match found {
                Ok(credentials) => format!("{credentials:?}"),
                Err(error) => error.to_string(),
            }
        };
        let password = ("MSCP_LOG_PASSWORD", "secret");
        let email = ("MSCP_LOG_EMAIL", "a@b");
        let file = ("MSCP_LOG_TOKEN_FILE", "/nowhere");
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[("MSCP_LOG_TOKEN", &root), file, email, password],
                "Credentials(root token)",
            ),
            (&[("MSCP_LOG_TOKEN", &access)], "Credentials(access token)"),
            (&[file, email, password], "Credentials(file)"),
            (&[email, password], "Credentials(password)"),
            (
                &[email],
                "MSCP_LOG_EMAIL is set and MSCP_LOG_PASSWORD is not",
            ),
            (
                &[password],
                "MSCP_LOG_PASSWORD is set and MSCP_LOG_EMAIL is not",
            ),
            (
                &[("MSCP_LOG_TOKEN", "secret")],
                "MSCP_LOG_TOKEN is not a JWT",
            ),
        ];
        for (set, expected) in cases {
            assert_eq!(given(set), *expected);
        }
        assert!(given(&[]).contains("MSCP_LOG_TOKEN_FILE"));
    }
}
