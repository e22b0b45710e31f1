//! Where the keys come from that tokens are verified with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mscp_log_core::token::{Key, KeyError, Policy, TokenError, Verified, Verifier};
use serde::Deserialize;

/// Verifies tokens with the keys of the moment.
pub trait Keys: Send + Sync + 'static {
    /// What a token says, at `now_s` (seconds since the epoch).
    ///
    /// # Errors
    /// Whatever makes it not hold.
    fn verify(&self, token: &str, now_s: i64) -> Result<Verified, TokenError>;
}

/// Keys that stay.
impl Keys for Verifier {
    fn verify(&self, token: &str, now_s: i64) -> Result<Verified, TokenError> {
        Verifier::verify(self, token, now_s)
    }
}

impl<K: Keys + ?Sized> Keys for Arc<K> {
    fn verify(&self, token: &str, now_s: i64) -> Result<Verified, TokenError> {
        (**self).verify(token, now_s)
    }
}

/// A file of keys could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is not there, or may not be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is no JWK Set. What is in it is not shown.
    #[error(
        "{path}: expected a JWK Set, as {{\"keys\": [{{\"kty\": \"oct\", \"kid\": .., \"k\": ..}}]}} (RFC 7517): line {line}"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line of the fault, counted from 1.
        line: usize,
    },
    /// One of its keys is none for HS256.
    #[error("{path}: key {place} {}: {reason}", kid.as_deref().unwrap_or("without a kid"))]
    Key {
        /// The file.
        path: PathBuf,
        /// Which key, counted from 0.
        place: usize,
        /// Its name.
        kid: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no key.
    #[error("{path}: there is no key in it")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Keys in a file, as a JWK Set of symmetric keys (RFC 7517; RFC 7518 section 6.4).
///
/// The file is looked at once a second at most, when a token is verified, and read again when its
/// time or size has changed. A file that cannot be read then leaves the keys as they were, with a
/// warning.
///
/// ```
/// # use mscp_log_core::token::Policy;
/// # use mscp_log_tower::KeyFile;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("keys.json");
/// std::fs::write(&path, r#"{"keys": [{"kty": "oct", "kid": "k1", "alg": "HS256",
///     "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#)?;
/// let keys = KeyFile::open(&path, Policy::Mscp, 30)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    policy: Policy,
    leeway_s: i64,
    current: ArcSwap<Loaded>,
    looked_s: AtomicI64,
}

#[derive(Debug)]
struct Loaded {
    verifier: Verifier,
    stamp: Stamp,
}

/// What changes when a file does.
type Stamp = Option<(Option<SystemTime>, u64)>;

impl KeyFile {
    /// Read the keys of `path` for tokens of this policy; `leeway_s` as for [`Verifier::new`].
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn open(
        path: impl Into<PathBuf>,
        policy: Policy,
        leeway_s: i64,
    ) -> Result<Self, KeyFileError> {
        let path = path.into();
        let loaded = load(&path, &policy, leeway_s)?;
        Ok(Self {
            path,
            policy,
            leeway_s,
            current: ArcSwap::from_pointee(loaded),
            looked_s: AtomicI64::new(i64::MIN),
        })
    }

    fn look(&self, now_s: i64) {
        // A clock that went back is another second, too.
        if self.looked_s.swap(now_s, Ordering::Relaxed) == now_s {
            return;
        }
        if stamp(&self.path) == self.current.load().stamp {
            return;
        }
        match load(&self.path, &self.policy, self.leeway_s) {
            Ok(loaded) => self.current.store(Arc::new(loaded)),
            Err(error) => tracing::warn!(%error, "the keys stay as they were"),
        }
    }
}

impl Keys for KeyFile {
    fn verify(&self, token: &str, now_s: i64) -> Result<Verified, TokenError> {
        self.look(now_s);
        self.current.load().verifier.verify(token, now_s)
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len()))
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    k: Option<String>,
}

fn load(path: &Path, policy: &Policy, leeway_s: i64) -> Result<Loaded, KeyFileError> {
    let io = |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    };
    // Before the content: what is written meanwhile is read again.
    let stamp = stamp(path);
    let text = std::fs::read(path).map_err(io)?;
    // The words of serde's error may hold a piece of a secret.
    let set: Set = serde_json::from_slice(&text).map_err(|error| KeyFileError::Malformed {
        path: path.to_owned(),
        line: error.line(),
    })?;
    let keys = set.keys.into_iter().enumerate().map(|(place, jwk)| {
        let kid = jwk.kid.clone();
        key(jwk).map_err(|reason| KeyFileError::Key {
            path: path.to_owned(),
            place,
            kid,
            reason,
        })
    });
    let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(KeyFileError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Loaded {
        verifier: Verifier::new(keys, policy.clone(), leeway_s),
        stamp,
    })
}

fn key(jwk: Jwk) -> Result<Key, String> {
    if jwk.kty != "oct" {
        return Err(format!("kty is {:?}, expected \"oct\"", jwk.kty));
    }
    if let Some(alg) = jwk.alg.filter(|alg| alg != "HS256") {
        return Err(format!("alg is {alg:?}, expected \"HS256\""));
    }
    let kid = jwk.kid.ok_or("a kid is needed")?;
    let secret = jwk.k.ok_or("k, the secret, is missing")?;
    let secret = URL_SAFE_NO_PAD
        .decode(secret)
        .map_err(|_| "k is not base64url without padding")?;
    Key::new(kid, &secret).map_err(|error: KeyError| error.to_string())
}
