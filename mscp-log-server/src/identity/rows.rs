//! Rows of signing keys.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _};

use super::keys::{KeyState, Ring};
use crate::database::{Change, DatabaseError};

/// A key and the text kept for its secret.
pub(super) struct KeyRow {
    pub(super) key: KeyState,
    pub(super) kept: String,
}

/// All signing keys.
pub(super) async fn keys(
    executor: impl sqlx::Executor<'_, Database = Any>,
) -> Result<Vec<KeyRow>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT kid, state, secret, created_s, activated_s, retired_s, last_exp_s FROM signing_keys",
    )
    .fetch_all(executor)
    .await?;
    rows.iter().map(key_row).collect()
}

fn key_row(row: &AnyRow) -> Result<KeyRow, DatabaseError> {
    let kid: String = row.try_get("kid")?;
    let state: String = row.try_get("state")?;
    let state = state.parse().map_err(|reason| DatabaseError::Row {
        table: "signing_keys",
        row: kid.clone(),
        reason,
    })?;
    Ok(KeyRow {
        kept: row.try_get("secret")?,
        key: KeyState {
            kid,
            state,
            created_s: row.try_get("created_s")?,
            activated_s: row.try_get("activated_s")?,
            retired_s: row.try_get("retired_s")?,
            last_exp_s: row.try_get("last_exp_s")?,
        },
    })
}

/// Bring the table from `before` to `after`; `kept` gives the text for the
/// secret of a key that is new.
pub(super) async fn put_ring<E: From<DatabaseError>>(
    change: &mut Change,
    before: &Ring,
    after: &Ring,
    mut kept: impl FnMut(&str) -> Result<String, E>,
) -> Result<(), E> {
    for gone in before.keys() {
        if after.keys().iter().all(|key| key.kid != gone.kid) {
            sqlx::query("DELETE FROM signing_keys WHERE kid = $1")
                .bind(gone.kid.clone())
                .execute(&mut **change)
                .await
                .map_err(DatabaseError::from)?;
        }
    }
    for key in after.keys() {
        let known = before.keys().iter().find(|old| old.kid == key.kid);
        let statement = match known {
            Some(same) if same == key => continue,
            Some(_) => sqlx::query(
                "UPDATE signing_keys SET state = $2, activated_s = $3, retired_s = $4 WHERE kid = $1",
            )
            .bind(key.kid.clone())
            .bind(key.state.as_str())
            .bind(key.activated_s)
            .bind(key.retired_s),
            None => sqlx::query(
                "INSERT INTO signing_keys (kid, state, activated_s, retired_s, secret, created_s, last_exp_s) \
                 VALUES ($1, $2, $3, $4, $5, $6, 0)",
            )
            .bind(key.kid.clone())
            .bind(key.state.as_str())
            .bind(key.activated_s)
            .bind(key.retired_s)
            .bind(kept(&key.kid)?)
            .bind(key.created_s),
        };
        statement
            .execute(&mut **change)
            .await
            .map_err(DatabaseError::from)?;
    }
    Ok(())
}
