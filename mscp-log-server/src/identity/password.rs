//! Passwords: argon2id, off the async threads and bounded in number, with the
//! same work for an account that does not exist.

use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::config::Secret;

/// Shortest password, in characters.
pub(crate) const SHORTEST: usize = 8;
/// Longest password, in bytes.
pub(crate) const LONGEST: usize = 1_024;

/// Sign-ins that may wait for their turn to hash.
const WAITING: usize = 128;

/// Symbols of a generated password: 32, none of which looks like another.
const SYMBOLS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The password was not hashed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    /// Too many wait already.
    #[error("too many sign-ins at once")]
    Busy,
    /// The system is at fault.
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

/// Hashes and verifies. argon2id version 19 with 19 MiB, two passes, one
/// lane: the parameters that OWASP's password storage cheat sheet names first.
#[derive(Debug)]
pub(super) struct Hasher {
    /// One for each hash that runs: it takes a core and 19 MiB.
    running: Semaphore,
    waiting: Semaphore,
    /// The hash of no password, for accounts that have none.
    nobody: Arc<str>,
}

impl Hasher {
    pub(super) fn new() -> Result<Self, HashError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let unknown = generate().map_err(|error| HashError::Failed(error.to_string()))?;
        Ok(Self {
            running: Semaphore::new(cores.div_ceil(2)),
            waiting: Semaphore::new(WAITING),
            nobody: hash(unknown.expose())?.into(),
        })
    }

    /// The text to keep for `password`, in PHC form with a salt of its own.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, HashError> {
        let password = password.clone();
        self.run(move || hash(password.expose())).await?
    }

    /// Whether `password` is the one of `kept`. Without one, the same work is
    /// done and the answer is no.
    pub(super) async fn verify(
        &self,
        password: &Secret,
        kept: Option<&str>,
    ) -> Result<bool, HashError> {
        let exists = kept.is_some();
        let kept: Arc<str> = kept.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let password = password.clone();
        let matches = self
            .run(move || {
                PasswordHash::new(&kept).is_ok_and(|parsed| {
                    Argon2::default()
                        .verify_password(password.expose().as_bytes(), &parsed)
                        .is_ok()
                })
            })
            .await?;
        Ok(exists && matches)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let _place = self.waiting.try_acquire().map_err(|_| HashError::Busy)?;
        let _turn = self.running.acquire().await.map_err(|_| HashError::Busy)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| HashError::Failed(error.to_string()))
    }
}

/// A random password of 100 bits.
pub(super) fn generate() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes)?;
    let text: String = bytes
        .iter()
        .map(|byte| char::from(SYMBOLS[usize::from(byte % 32)]))
        .collect();
    Ok(Secret::new(text))
}

/// What is wrong with a wanted password, if anything.
pub(super) fn fault(password: &Secret) -> Option<String> {
    let length = password.expose().chars().count();
    if length < SHORTEST {
        Some(format!(
            "expected at least {SHORTEST} characters, found {length}"
        ))
    } else if password.expose().len() > LONGEST {
        Some(format!("expected at most {LONGEST} bytes"))
    } else {
        None
    }
}

fn hash(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_hash_and_no_other() {
        let hasher = Hasher::new().unwrap();
        let password = Secret::new("correct horse");
        let kept = hasher.hash(&password).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert!(hasher.verify(&password, Some(&kept)).await.unwrap());
        assert!(
            !hasher
                .verify(&Secret::new("wrong horse"), Some(&kept))
                .await
                .unwrap()
        );
        assert!(!hasher.verify(&password, None).await.unwrap());
        assert!(!hasher.verify(&password, Some("no hash")).await.unwrap());
        assert_ne!(
            kept,
            hasher.hash(&password).await.unwrap(),
            "a salt of its own"
        );
    }

    #[tokio::test]
    async fn sign_ins_that_wait_are_bounded() {
        let hasher = Hasher::new().unwrap();
        let _all = hasher
            .waiting
            .acquire_many(u32::try_from(WAITING).unwrap())
            .await
            .unwrap();
        let refused = hasher.verify(&Secret::new("x"), None).await;
        assert!(matches!(refused, Err(HashError::Busy)));
    }

    #[test]
    fn a_generated_password_is_taken_as_one() {
        let one = generate().unwrap();
        assert_eq!(fault(&one), None);
        assert_ne!(one, generate().unwrap());
        assert!(fault(&Secret::new("short")).is_some());
        assert!(fault(&Secret::new("x".repeat(LONGEST + 1))).is_some());
    }
}
