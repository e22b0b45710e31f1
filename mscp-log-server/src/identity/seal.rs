//! Encryption at rest of the signing keys, with `auth.master_key_file`, and
//! the reading of secrets from files.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
const PLAIN: &str = "plain:";
const SEALED: &str = "xchacha20poly1305:";

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file of a key cannot be read.
    #[error("{file} cannot be read: {source}")]
    File {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not hold what was expected.
    #[error("{file}: expected {expected}")]
    Content {
        /// Its path.
        file: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A key is encrypted and there is no master key.
    #[error(
        "the signing key {0} is encrypted: set auth.master_key_file to the key it was encrypted with"
    )]
    NoMasterKey(String),
    /// A key was encrypted with another master key, or was changed.
    #[error(
        "the signing key {0} cannot be decrypted: auth.master_key_file is not the key it was encrypted with"
    )]
    WrongMasterKey(String),
    /// A row that is in no known form.
    #[error("the signing key {0} is in a form that is not known")]
    Form(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// What keys are encrypted with: a master key, or nothing.
pub(super) struct Seal(Option<XChaCha20Poly1305>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Seal(..)"
        } else {
            "Seal(none)"
        })
    }
}

impl Seal {
    /// With the master key of `file`, where one is given.
    pub(super) fn from_file(file: Option<&Path>) -> Result<Self, SealError> {
        let Some(file) = file else {
            return Ok(Self(None));
        };
        let content = read(file)?;
        let key = master_key(&content).ok_or_else(|| SealError::Content {
            file: file.display().to_string(),
            expected: "32 bytes, as 64 hexadecimal digits, as base64, or raw",
        })?;
        Ok(Self(Some(XChaCha20Poly1305::new((&*key).into()))))
    }

    /// The text that is kept for the `secret` of the key `kid`, which is bound
    /// to it: a row copied to another key's place does not open.
    pub(super) fn seal(&self, kid: &str, secret: &[u8]) -> Result<String, SealError> {
        let Some(cipher) = &self.0 else {
            return Ok(format!("{PLAIN}{}", STANDARD.encode(secret)));
        };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let payload = Payload {
            msg: secret,
            aad: kid.as_bytes(),
        };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::WrongMasterKey(kid.to_owned()))?;
        Ok(format!(
            "{SEALED}{}",
            STANDARD.encode([&nonce[..], &sealed].concat())
        ))
    }

    /// The secret of the key `kid`, from the text that is kept.
    pub(super) fn open(&self, kid: &str, kept: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let form = || SealError::Form(kid.to_owned());
        if let Some(encoded) = kept.strip_prefix(PLAIN) {
            return STANDARD
                .decode(encoded)
                .map(Zeroizing::new)
                .map_err(|_| form());
        }
        let encoded = kept.strip_prefix(SEALED).ok_or_else(form)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| form())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(form)?;
        let cipher = self
            .0
            .as_ref()
            .ok_or_else(|| SealError::NoMasterKey(kid.to_owned()))?;
        let payload = Payload {
            msg: sealed,
            aad: kid.as_bytes(),
        };
        cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError::WrongMasterKey(kid.to_owned()))
    }

    /// Whether a row was kept before there was a master key.
    pub(super) fn is_stale(&self, kept: &str) -> bool {
        self.0.is_some() && kept.starts_with(PLAIN)
    }
}

/// The secret in a file of `auth.platform_keys`: what stands in it, without a
/// line end, and after `base64:` what that decodes to.
pub(super) fn platform_secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let content = read(file)?;
    let trimmed = content.trim_ascii_end();
    match trimmed.strip_prefix(b"base64:") {
        Some(encoded) => STANDARD
            .decode(encoded.trim_ascii())
            .map(Zeroizing::new)
            .map_err(|_| SealError::Content {
                file: file.display().to_string(),
                expected: "base64 after \"base64:\"",
            }),
        None => Ok(Zeroizing::new(trimmed.to_vec())),
    }
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|source| SealError::File {
            file: file.display().to_string(),
            source,
        })
}

fn master_key(content: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if let Ok(raw) = <[u8; 32]>::try_from(content) {
        return Some(Zeroizing::new(raw));
    }
    let text = std::str::from_utf8(content).ok()?.trim();
    let decoded = if text.len() == 64 {
        (0..64)
            .step_by(2)
            .map(|at| {
                text.get(at..at + 2)
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<Vec<u8>>>()?
    } else {
        STANDARD.decode(text).ok()?
    };
    let decoded = Zeroizing::new(decoded);
    <[u8; 32]>::try_from(decoded.as_slice())
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Write as _;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn sealed_by(content: &[u8]) -> Seal {
        Seal::from_file(Some(file(content).path())).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_only_with_its_master_key_and_in_its_place() {
        let seal = sealed_by(&[7; 32]);
        let kept = seal.seal("k1", b"secret").unwrap();
        assert!(!kept.contains(&STANDARD.encode(b"secret")));
        assert_eq!(seal.open("k1", &kept).unwrap().as_slice(), b"secret");
        assert!(matches!(
            seal.open("k2", &kept),
            Err(SealError::WrongMasterKey(_))
        ));
        assert!(matches!(
            sealed_by(&[8; 32]).open("k1", &kept),
            Err(SealError::WrongMasterKey(_))
        ));
        assert!(matches!(
            Seal(None).open("k1", &kept),
            Err(SealError::NoMasterKey(_))
        ));
        assert!(matches!(
            seal.open("k1", "rot13:x"),
            Err(SealError::Form(_))
        ));
    }

    #[test]
    fn a_key_kept_before_there_was_a_master_key_still_opens_and_is_stale() {
        let kept = Seal(None).seal("k1", b"secret").unwrap();
        let seal = sealed_by(&[7; 32]);
        assert_eq!(seal.open("k1", &kept).unwrap().as_slice(), b"secret");
        assert!(seal.is_stale(&kept));
        assert!(!seal.is_stale(&seal.seal("k1", b"secret").unwrap()));
        assert!(!Seal(None).is_stale(&kept));
    }

    #[test]
    fn a_master_key_is_raw_hexadecimal_or_base64() {
        let kept = sealed_by(&[0xab; 32]).seal("k", b"x").unwrap();
        let hex = format!("{}\n", "ab".repeat(32));
        let base64 = format!("{}\n", STANDARD.encode([0xab; 32]));
        for content in [hex.as_bytes(), base64.as_bytes()] {
            assert_eq!(
                sealed_by(content).open("k", &kept).unwrap().as_slice(),
                b"x"
            );
        }
        for content in [&b""[..], b"short", &[b'z'; 64], &[1; 33]] {
            assert!(matches!(
                Seal::from_file(Some(file(content).path())),
                Err(SealError::Content { .. })
            ));
        }
    }

    #[test]
    fn a_platform_secret_loses_its_line_end_and_its_encoding() {
        assert_eq!(
            platform_secret(file(b"abc\n").path()).unwrap().as_slice(),
            b"abc"
        );
        assert_eq!(
            platform_secret(file(b"base64:YWJj\n").path())
                .unwrap()
                .as_slice(),
            b"abc"
        );
        assert!(platform_secret(file(b"base64:!!").path()).is_err());
    }
}
