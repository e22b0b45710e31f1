//! What a node believes in at a moment: the keys that verify and what was
//! taken back, in memory, so that verification needs no database.

use std::collections::HashSet;

use mscp_log_core::token::{Key, Policy, TokenError, Verified, Verifier};

/// `iss` and `aud` of our tokens. Keys tell installations apart, so the names
/// need not.
pub(super) const ISSUER: &str = "mscp-log";

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It does not verify.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It was taken back, or its account is disabled or removed.
    #[error("the token was taken back")]
    TakenBack,
}

/// The keys and revocations of one moment.
#[derive(Debug)]
pub(super) struct Trust {
    own: Verifier,
    platform: Option<Verifier>,
    pub(super) signing: Option<Key>,
    revoked_tokens: HashSet<String>,
    revoked_accounts: HashSet<String>,
}

impl Trust {
    pub(super) fn new(
        keys: Vec<Key>,
        signing: Option<Key>,
        platform: Vec<Key>,
        leeway_s: i64,
        revoked_tokens: HashSet<String>,
        revoked_accounts: HashSet<String>,
    ) -> Self {
        let policy = Policy::Strict {
            issuer: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
        };
        Self {
            own: Verifier::new(keys, policy, leeway_s),
            platform: (!platform.is_empty())
                .then(|| Verifier::new(platform, Policy::Mscp, leeway_s)),
            signing,
            revoked_tokens,
            revoked_accounts,
        }
    }

    /// Verify `token` at `now_s`, seconds since the epoch.
    pub(super) fn verify(&self, token: &str, now_s: i64) -> Result<Verified, VerifyError> {
        let verified = match (self.own.verify(token, now_s), &self.platform) {
            (Err(error), Some(platform)) if is_not_ours(&error) => platform.verify(token, now_s)?,
            (result, _) => result?,
        };
        let claims = &verified.claims;
        self.check(verified.platform, &claims.user_id, claims.jti.as_deref())?;
        Ok(verified)
    }

    fn check(&self, platform: bool, user_id: &str, jti: Option<&str>) -> Result<(), VerifyError> {
        // The platform's subjects and ids are not ours to revoke: the same
        // text may name another thing there.
        let taken_back = !platform
            && (self.revoked_accounts.contains(user_id)
                || jti.is_some_and(|jti| self.revoked_tokens.contains(jti)));
        if taken_back {
            Err(VerifyError::TakenBack)
        } else {
            Ok(())
        }
    }
}

/// Whether the header names no key of ours, so that the platform's are to be tried.
fn is_not_ours(error: &TokenError) -> bool {
    matches!(error, TokenError::UnknownKey | TokenError::NoKeyId)
}
