//! A signing key: its name, and HMAC-SHA256 with its secret already in it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shortest secret that is taken, in bytes (RFC 7518 section 3.2: at least
/// as long as the hash).
pub const MIN_SECRET_BYTES: usize = 32;

/// A secret with a name (`kid`). The secret itself is not kept, only the state
/// of HMAC after taking it in, which is wiped when the key is dropped.
#[derive(Clone)]
pub struct Key {
    kid: String,
    mac: Hmac<Sha256>,
}

/// Why a [`Key`] was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret is too short.
    #[error("the secret of key {kid:?} has {bytes} bytes; at least {MIN_SECRET_BYTES} are needed")]
    Short {
        /// Name of the key.
        kid: String,
        /// Length of the secret.
        bytes: usize,
    },
    /// The name is empty or longer than 128 bytes.
    #[error("a key's name must have 1 to 128 bytes, this has {0}")]
    Name(usize),
}

impl Key {
    /// A key of its name and its secret.
    ///
    /// # Errors
    /// When the secret has fewer than [`MIN_SECRET_BYTES`], or the name is
    /// empty or has more than 128 bytes.
    pub fn new(kid: impl Into<String>, secret: &[u8]) -> Result<Self, KeyError> {
        let kid = kid.into();
        if kid.is_empty() || kid.len() > 128 {
            return Err(KeyError::Name(kid.len()));
        }
        let bytes = secret.len();
        if bytes < MIN_SECRET_BYTES {
            return Err(KeyError::Short { kid, bytes });
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| KeyError::Short {
            kid: kid.clone(),
            bytes,
        })?;
        Ok(Self { kid, mac })
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn sign(&self, input: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(input);
        mac.finalize().into_bytes().into()
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(super) fn verify(&self, input: &[u8], signature: &[u8; 32]) -> bool {
        let mut mac = self.mac.clone();
        mac.update(input);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
