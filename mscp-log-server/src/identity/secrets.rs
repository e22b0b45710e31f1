//! Secrets of the installation that sign nothing: all replicas on one database
//! share each.

use sqlx::Row as _;
use zeroize::Zeroizing;

use super::seal::SealError;
use super::{Identity, IdentityError};
use crate::database::DatabaseError;

const SECRET_BYTES: usize = 32;

impl Identity {
    /// The 32 bytes for `purpose`, made when a replica first asks for them.
    /// They are encrypted as signing keys are.
    ///
    /// # Errors
    /// When the database is away, or they cannot be decrypted.
    pub async fn shared_secret(
        &self,
        purpose: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        // Bound to its place, which is no signing key's.
        let name = format!("secret {purpose}");
        let mut fresh = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut *fresh).map_err(SealError::Random)?;
        sqlx::query(
            "INSERT INTO secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(purpose)
        .bind(self.seal.seal(&name, &*fresh)?)
        .execute(self.database.pool())
        .await
        .map_err(DatabaseError::from)?;
        let row = sqlx::query("SELECT secret FROM secrets WHERE name = $1")
            .bind(purpose)
            .fetch_one(self.database.pool())
            .await
            .map_err(DatabaseError::from)?;
        let kept: String = row.try_get("secret").map_err(DatabaseError::from)?;
        let secret = self.seal.open(&name, &kept)?;
        if self.seal.is_stale(&kept) {
            sqlx::query("UPDATE secrets SET secret = $2 WHERE name = $1")
                .bind(purpose)
                .bind(self.seal.seal(&name, &secret)?)
                .execute(self.database.pool())
                .await
                .map_err(DatabaseError::from)?;
        }
        Ok(secret)
    }
}
