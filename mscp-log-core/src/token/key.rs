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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_is_wiped_when_it_is_dropped() {
        // An HMAC is two hashes that took the secret in, and nothing else of it.
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Sha256>();
    }

    /// RFC 4231 section 4: key, data and HMAC-SHA-256 of cases 1 to 4, 6 and 7.
    /// (Case 5 truncates.) The keys shorter than [`MIN_SECRET_BYTES`] are no
    /// keys here, so they are set below the check.
    #[test]
    fn the_vectors_of_rfc_4231_come_out() {
        let long = "Test Using Larger Than Block-Size Key - Hash Key First";
        let longer = "This is a test using a larger than block-size key and a larger than \
                      block-size data. The key needs to be hashed before being used by the HMAC \
                      algorithm.";
        let cases: [(Vec<u8>, Vec<u8>, &str); 6] = [
            (
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                vec![0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                (1..=25).collect(),
                vec![0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                vec![0xaa; 131],
                long.into(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                longer.into(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (secret, data, expected) in cases {
            let key = Key {
                kid: "k".to_owned(),
                mac: Hmac::new_from_slice(&secret).unwrap(),
            };
            let digest = key.sign(&data);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
            assert!(key.verify(&data, &digest));
            assert!(!key.verify(b"", &digest));
        }
    }
}
