//! Signing in and the issue of tokens.

use std::net::IpAddr;

use mscp_log_core::access::{Access, NotCovered};
use mscp_log_core::token::{self, Claims, MAX_TOKEN_BYTES};
use serde_json::json;

use super::accounts;
use super::audit::{self, Entry, Outcome};
use super::password::HashError;
use super::trust::ISSUER;
use super::{Identity, IdentityError, LONGEST_TTL_S};
use crate::config::Secret;
use crate::database::{Change, DatabaseError};

/// A token and its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Its `exp`, in seconds since the epoch.
    pub exp: i64,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown account, wrong password, disabled account: one answer for all.
    #[error("e-mail or password is wrong")]
    Refused,
    /// There were failures before; wait.
    #[error("too many failed sign-ins; try again in {retry_after_s} s")]
    Delayed {
        /// Whole seconds to wait, at least 1.
        retry_after_s: u64,
    },
    /// The database is away or too much is going on: 503.
    #[error("nobody can sign in now: {0}")]
    Unavailable(String),
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The subject is no account here, or a disabled one.
    #[error("the account does not exist or is disabled")]
    NoAccount,
    /// The grants do not cover what was wanted.
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
    /// The wanted lifetime cannot be.
    #[error("ttl: expected 1 to {LONGEST_TTL_S} seconds, found {0}")]
    Ttl(u64),
    /// What was wanted makes a token that no one would take.
    #[error(
        "access: the token would have {0} bytes, more than {MAX_TOKEN_BYTES}; ask for less at once"
    )]
    TooLong(usize),
    /// The database is away: 503.
    #[error("no token can be issued now: {0}")]
    Unavailable(#[from] IdentityError),
}

impl From<DatabaseError> for IssueError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<sqlx::Error> for IssueError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Identity {
    /// Sign in with e-mail and password from the address `peer`, for a root token.
    ///
    /// The answer, and the time it takes, are the same for an account that
    /// does not exist, one that is disabled, and a wrong password.
    ///
    /// # Errors
    /// When refused, when failures before make it wait, when the database is away.
    pub async fn login(
        &self,
        email: &str,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Issued, LoginError> {
        let tried = self.try_login(email, password, peer).await;
        let result = match &tried {
            Ok(_) => "done",
            Err(LoginError::Refused) => "refused",
            Err(LoginError::Delayed { .. }) => "delayed",
            Err(LoginError::Unavailable(_)) => "unavailable",
        };
        metrics::counter!("mscp_log_auth_logins_total", "result" => result).increment(1);
        tried
    }

    async fn try_login(
        &self,
        email: &str,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Issued, LoginError> {
        let email = email.trim().to_lowercase();
        let begun = self.delays().begin(&email, peer, self.now_us());
        let attempt = begun.map_err(|wait_us| LoginError::Delayed {
            retry_after_s: wait_us.unsigned_abs().div_ceil(1_000_000).max(1),
        })?;
        match self.decide_login(&email, password, peer).await {
            Ok(issued) => {
                self.delays().succeeded(attempt);
                Ok(issued)
            }
            Err(error) => {
                if !matches!(error, LoginError::Refused) {
                    self.delays().undecided(&attempt);
                }
                Err(error)
            }
        }
    }

    async fn decide_login(
        &self,
        email: &str,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Issued, LoginError> {
        let unavailable =
            |error: &dyn std::fmt::Display| LoginError::Unavailable(error.to_string());
        let credential = accounts::credential(self.database.pool(), email)
            .await
            .map_err(|error| unavailable(&error))?;
        let kept = credential
            .as_ref()
            .and_then(|known| known.password.as_deref());
        let matches = self
            .hasher
            .verify(password, kept)
            .await
            .map_err(|error| match error {
                HashError::Busy => LoginError::Delayed { retry_after_s: 1 },
                HashError::Failed(_) => unavailable(&error),
            })?;
        // What is no account's e-mail may be a password typed into the wrong field.
        let subject = match &credential {
            Some(_) => email,
            None => "unknown account",
        };
        let id = credential
            .as_ref()
            .filter(|known| matches && !known.disabled && !known.service)
            .map(|known| known.id.clone());
        let Some(id) = id else {
            self.note(Entry {
                subject: subject.to_owned(),
                address: Some(peer),
                action: "token.root",
                target: String::new(),
                outcome: Outcome::Refused,
                detail: json!({}),
            });
            return Err(LoginError::Refused);
        };
        self.issue_root(&id, peer)
            .await
            .map_err(|error| match error {
                // Removed or disabled since the look at the password.
                IssueError::NoAccount => LoginError::Refused,
                other => unavailable(&other),
            })
    }

    async fn issue_root(&self, id: &str, peer: IpAddr) -> Result<Issued, IssueError> {
        let mut change = self.database.begin().await?;
        let holder = accounts::holder(&mut change, id)
            .await?
            .ok_or(IssueError::NoAccount)?;
        let wish = Wish {
            holder,
            access: None,
            ttl_s: self.lifetimes.root_s,
            action: "token.root",
            address: Some(peer),
        };
        let signed = self.sign(&mut change, wish).await?;
        change.commit().await?;
        Ok(signed.issued)
    }

    /// Issue an access token with the `wanted` access to the account
    /// `subject`, whose root token was shown; `ttl_s` is its wish for the
    /// lifetime, cut to the account's `max_ttl_s`.
    ///
    /// # Errors
    /// When an entry of `wanted` is not covered by the account's grants, the
    /// account is no more, or the database is away.
    pub async fn issue(
        &self,
        subject: &str,
        wanted: &Access,
        ttl_s: Option<u64>,
        address: Option<IpAddr>,
    ) -> Result<Issued, IssueError> {
        let result = self.try_issue(subject, wanted, ttl_s, address).await;
        if let Err(error @ (IssueError::NotCovered(_) | IssueError::NoAccount)) = &result {
            self.note(Entry {
                subject: subject.to_owned(),
                address,
                action: "token.access",
                target: String::new(),
                outcome: Outcome::Refused,
                detail: json!({ "reason": error.to_string() }),
            });
        }
        result
    }

    async fn try_issue(
        &self,
        subject: &str,
        wanted: &Access,
        ttl_s: Option<u64>,
        address: Option<IpAddr>,
    ) -> Result<Issued, IssueError> {
        let wish_s = ttl(ttl_s)?;
        check_size(wanted)?;
        let mut change = self.database.begin().await?;
        let holder = accounts::holder(&mut change, subject)
            .await?
            .ok_or(IssueError::NoAccount)?;
        let access = Access::cover(&holder.grants, wanted, &self.base)?;
        let most_s = holder.max_ttl_s;
        let wish = Wish {
            holder,
            access: Some(access),
            ttl_s: wish_s.unwrap_or(self.lifetimes.access_s).min(most_s),
            action: "token.access",
            address,
        };
        let signed = self.sign(&mut change, wish).await?;
        change.commit().await?;
        Ok(signed.issued)
    }

    /// What the account `subject` may ask for: its own grants and its roles'.
    ///
    /// # Errors
    /// When the account is no more, or the database is away.
    pub async fn grants(&self, subject: &str) -> Result<Access, IssueError> {
        let mut reading = self.database.read().await?;
        let holder = accounts::holder(&mut reading, subject).await?;
        Ok(holder.ok_or(IssueError::NoAccount)?.grants)
    }

    /// Sign a token and note it, both in `change`; it may be handed out once
    /// that is committed.
    pub(super) async fn sign(&self, change: &mut Change, wish: Wish) -> Result<Signed, IssueError> {
        let now_us = self.now_us();
        let iat = now_us / 1_000_000;
        let exp = iat.saturating_add_unsigned(wish.ttl_s);
        let key = self.signing_key(change, exp).await?;
        let claims = Claims {
            iat,
            exp,
            user_id: wish.holder.id,
            email: wish.holder.email,
            role: wish.holder.roles,
            access: wish.access,
            iss: Some(ISSUER.to_owned()),
            aud: Some(ISSUER.to_owned()),
            jti: Some(uuid::Uuid::new_v4().to_string()),
        };
        let token = token::sign(&claims, &key);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IssueError::TooLong(token.len()));
        }
        let entry = Entry {
            subject: claims.user_id.clone(),
            address: wish.address,
            action: wish.action,
            target: claims.jti.clone().unwrap_or_default(),
            outcome: Outcome::Done,
            detail: json!({ "exp": exp, "kid": key.kid(), "access": claims.access }),
        };
        audit::append(&mut **change, &entry, now_us).await?;
        Ok(Signed {
            issued: Issued { token, exp },
            jti: entry.target,
            iat,
            kid: key.kid().to_owned(),
        })
    }
}

/// A token that was signed, and what to keep of it.
pub(super) struct Signed {
    pub(super) issued: Issued,
    pub(super) jti: String,
    pub(super) iat: i64,
    pub(super) kid: String,
}

/// A token to be signed.
pub(super) struct Wish {
    pub(super) holder: accounts::Holder,
    pub(super) access: Option<Access>,
    pub(super) ttl_s: u64,
    pub(super) action: &'static str,
    pub(super) address: Option<IpAddr>,
}

/// Refuse a wish that no token can hold, before it is compared with grants,
/// which takes the product of both and the database's lock.
///
/// # Errors
/// [`IssueError::TooLong`], with the least that the token would have.
pub(super) fn check_size(wanted: &Access) -> Result<(), IssueError> {
    // `{"method":["GET"],"url":[],"other":{}}`, and `"",` around each pattern.
    const RULE_BYTES: usize = 38;
    const PATTERN_BYTES: usize = 3;
    let patterns = wanted.0.iter().flat_map(|rule| &rule.urls);
    let bytes: usize = patterns.map(|url| url.as_str().len() + PATTERN_BYTES).sum();
    let bytes = bytes + wanted.0.len() * RULE_BYTES;
    if bytes > MAX_TOKEN_BYTES {
        return Err(IssueError::TooLong(bytes));
    }
    Ok(())
}

/// A wish for a lifetime that can be.
pub(super) fn ttl(wish_s: Option<u64>) -> Result<Option<u64>, IssueError> {
    match wish_s {
        Some(wish) if !(1..=LONGEST_TTL_S).contains(&wish) => Err(IssueError::Ttl(wish)),
        other => Ok(other),
    }
}
