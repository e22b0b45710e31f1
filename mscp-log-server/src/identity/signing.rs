//! Signing keys in the database: the first ones, the one that signs now,
//! rotation and revocation.

use mscp_log_core::token::Key;
use serde_json::json;
use zeroize::Zeroizing;

use super::audit::{self, Entry, Outcome};
use super::keys::{KeyState, NotYet, Ring};
use super::rows;
use super::{Actor, Identity, IdentityError};
use crate::database::{Change, DatabaseError};

/// Bytes of a key's secret: as many as SHA-256 gives (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// The next key is too young to sign.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// There is no such key.
    #[error("there is no key {0}")]
    NotFound(String),
    /// The database is away, or a key cannot be sealed.
    #[error(transparent)]
    Unavailable(#[from] IdentityError),
}

impl From<DatabaseError> for KeyChangeError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<sqlx::Error> for KeyChangeError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Identity {
    /// The signing keys, without their secrets.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keys(&self) -> Result<Vec<KeyState>, DatabaseError> {
        let rows = rows::keys(self.database.pool()).await?;
        let mut keys: Vec<KeyState> = rows.into_iter().map(|row| row.key).collect();
        keys.sort_by_key(|key| key.created_s);
        Ok(keys)
    }

    /// Let the next key sign from now on.
    ///
    /// # Errors
    /// When the next key is not known everywhere yet, or the database is away.
    pub async fn rotate_keys(&self, actor: &Actor) -> Result<Vec<KeyState>, KeyChangeError> {
        let mut change = self.database.begin().await?;
        let before = ring(&mut change).await?;
        let after = before.rotate(self.now_s(), new_kid())?;
        let kid = after
            .active()
            .map(|key| key.kid.clone())
            .unwrap_or_default();
        self.put(&mut change, &before, &after).await?;
        self.note_in(&mut change, actor, "key.rotate", kid).await?;
        change.commit().await?;
        self.refresh_soon().await;
        Ok(self.keys().await?)
    }

    /// Delete the key `kid`: every token that it signed ends, here at once and
    /// on other replicas within 30 s.
    ///
    /// # Errors
    /// When there is no such key, or the database is away.
    pub async fn revoke_key(
        &self,
        actor: &Actor,
        kid: &str,
    ) -> Result<Vec<KeyState>, KeyChangeError> {
        let mut change = self.database.begin().await?;
        let before = ring(&mut change).await?;
        let after = before
            .revoke(kid, self.now_s(), [new_kid(), new_kid()])
            .ok_or_else(|| KeyChangeError::NotFound(kid.to_owned()))?;
        self.put(&mut change, &before, &after).await?;
        self.note_in(&mut change, actor, "key.revoke", kid.to_owned())
            .await?;
        change.commit().await?;
        self.refresh_soon().await;
        Ok(self.keys().await?)
    }

    /// The key that signs a token which ends at `exp_s`. It stays to verify
    /// until then, once `change` is committed; no token may be handed out before.
    pub(super) async fn signing_key(
        &self,
        change: &mut Change,
        exp_s: i64,
    ) -> Result<Key, IdentityError> {
        let known = self.trust.load().signing.clone();
        if let Some(key) = known
            && extend(change, key.kid(), exp_s).await?
        {
            return Ok(key);
        }
        // Another replica has rotated since the last refresh.
        let rows = rows::keys(&mut **change).await?;
        for row in rows {
            if extend(change, &row.key.kid, exp_s).await? {
                let secret = self.seal.open(&row.key.kid, &row.kept)?;
                return Ok(Key::new(row.key.kid, &secret)?);
            }
        }
        Err(IdentityError::System("no signing key is active".to_owned()))
    }

    /// Make the first keys, and encrypt those that were kept before there was a master key.
    pub(super) async fn first_keys(&self) -> Result<(), IdentityError> {
        let mut change = self.database.begin().await?;
        let rows = rows::keys(&mut *change).await?;
        if rows.is_empty() {
            let first = Ring::first(self.now_s(), new_kid(), new_kid());
            self.put(&mut change, &Ring::default(), &first).await?;
        }
        for row in rows {
            let secret = self.seal.open(&row.key.kid, &row.kept)?;
            if self.seal.is_stale(&row.kept) {
                sqlx::query("UPDATE signing_keys SET secret = $2 WHERE kid = $1")
                    .bind(row.key.kid.clone())
                    .bind(self.seal.seal(&row.key.kid, &secret)?)
                    .execute(&mut *change)
                    .await
                    .map_err(DatabaseError::from)?;
            }
        }
        change.commit().await.map_err(DatabaseError::from)?;
        Ok(())
    }

    /// Rotate when the active key has signed for as long as configured.
    pub(super) async fn rotate_if_due(&self) -> Result<(), KeyChangeError> {
        let now_s = self.now_s();
        let period_s = self.lifetimes.rotate_s;
        let seen = Ring::new(self.keys().await?);
        if !seen.is_due(now_s, period_s) {
            return Ok(());
        }
        let mut change = self.database.begin().await?;
        let before = ring(&mut change).await?;
        // Another replica may have been faster.
        if before.is_due(now_s, period_s) {
            let after = before.rotate(now_s, new_kid())?;
            let kid = after
                .active()
                .map(|key| key.kid.clone())
                .unwrap_or_default();
            self.put(&mut change, &before, &after).await?;
            let clockwork = Actor {
                subject: "automatic rotation".to_owned(),
                address: None,
            };
            self.note_in(&mut change, &clockwork, "key.rotate", kid)
                .await?;
            change.commit().await?;
        }
        Ok(())
    }

    /// Delete the retired keys that nothing needs.
    pub(super) async fn sweep_keys(&self) -> Result<(), DatabaseError> {
        let mut change = self.database.begin().await?;
        let before = ring(&mut change).await?;
        let after = before.swept(self.now_s());
        rows::put_ring(&mut change, &before, &after, |kid| {
            Err(DatabaseError::Row {
                table: "signing_keys",
                row: kid.to_owned(),
                reason: "sweeping makes no key".to_owned(),
            })
        })
        .await?;
        change.commit().await?;
        Ok(())
    }

    async fn put(
        &self,
        change: &mut Change,
        before: &Ring,
        after: &Ring,
    ) -> Result<(), IdentityError> {
        rows::put_ring(change, before, after, |kid| {
            let mut secret = Zeroizing::new([0u8; SECRET_BYTES]);
            getrandom::fill(&mut *secret).map_err(super::seal::SealError::Random)?;
            Ok::<String, IdentityError>(self.seal.seal(kid, &*secret)?)
        })
        .await
    }

    async fn note_in(
        &self,
        change: &mut Change,
        actor: &Actor,
        action: &'static str,
        target: String,
    ) -> Result<(), DatabaseError> {
        let entry = Entry {
            subject: actor.subject.clone(),
            address: actor.address,
            action,
            target,
            outcome: Outcome::Done,
            detail: json!({}),
        };
        audit::append(&mut **change, &entry, self.now_us()).await
    }
}

/// Raise the latest `exp` of the key, if it is the active one.
async fn extend(change: &mut Change, kid: &str, exp_s: i64) -> Result<bool, DatabaseError> {
    let done = sqlx::query(
        "UPDATE signing_keys SET last_exp_s = CASE WHEN last_exp_s < $2 THEN $2 ELSE last_exp_s END \
         WHERE kid = $1 AND state = 'active'",
    )
    .bind(kid.to_owned())
    .bind(exp_s)
    .execute(&mut **change)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn ring(change: &mut Change) -> Result<Ring, DatabaseError> {
    let rows = rows::keys(&mut **change).await?;
    Ok(Ring::new(rows.into_iter().map(|row| row.key).collect()))
}

fn new_kid() -> String {
    format!("{:016x}", rand::random::<u64>())
}
