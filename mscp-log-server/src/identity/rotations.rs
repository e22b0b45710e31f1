//! Rotation of records, as far as nodes must agree on it: when it last ran, and
//! whose turn it is.

use std::sync::Arc;

use sqlx::{Any, Row as _};
use tokio::sync::OwnedMutexGuard;

use super::Identity;
use super::database::{Change, DatabaseError};

/// What the clocks of the past and of elsewhere say, in microseconds since the
/// epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationTimes {
    /// When rotation last ran.
    pub last_run_us: Option<i64>,
    /// Now, where the database is a server of its own.
    pub database_us: Option<i64>,
}

/// The right to rotate: no other node has it meanwhile. Dropped, it ends.
pub struct RotationTurn {
    /// When it last ran, and what the database's clock says.
    pub times: RotationTimes,
    region: String,
    /// Of a server: the transaction whose lock ends with it, or with this
    /// process.
    lock: Option<Change>,
    _of_this_process: OwnedMutexGuard<()>,
}

impl std::fmt::Debug for RotationTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotationTurn")
            .field("region", &self.region)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Take the turn in `region`; `None` while another has it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rotation_turn(&self, region: &str) -> Result<Option<RotationTurn>, DatabaseError> {
        let Ok(here) = Arc::clone(&self.rotating).try_lock_owned() else {
            return Ok(None);
        };
        let mut lock = None;
        if self.database.is_server() {
            let mut change = self.database.pool().begin().await?;
            // Deleting may take longer than a change may be idle.
            sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0")
                .execute(&mut *change)
                .await?;
            let taken = sqlx::query("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(format!("mscp-log rotation {region}"))
                .fetch_one(&mut *change)
                .await?;
            if !taken.try_get::<bool, _>(0)? {
                return Ok(None);
            }
            lock = Some(change);
        }
        Ok(Some(RotationTurn {
            times: self.rotation_times(region).await?,
            region: region.to_owned(),
            lock,
            _of_this_process: here,
        }))
    }

    /// What is known of the time in `region`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rotation_times(&self, region: &str) -> Result<RotationTimes, DatabaseError> {
        let pool = self.database.pool();
        let last = sqlx::query("SELECT last_run_us FROM rotations WHERE region = $1")
            .bind(region)
            .fetch_optional(pool)
            .await?;
        let last_run_us = match last {
            Some(row) => Some(row.try_get(0)?),
            None => None,
        };
        let mut database_us = None;
        if self.database.is_server() {
            let now = sqlx::query(
                "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
            );
            database_us = Some(now.fetch_one(pool).await?.try_get(0)?);
        }
        Ok(RotationTimes {
            last_run_us,
            database_us,
        })
    }

    /// Say that rotation ran at `now_us`, and end the turn.
    ///
    /// # Errors
    /// When the database is away; then the turn has ended, too.
    pub async fn rotation_done(
        &self,
        turn: RotationTurn,
        now_us: i64,
    ) -> Result<(), DatabaseError> {
        let ran = sqlx::query::<Any>(
            "INSERT INTO rotations (region, last_run_us) VALUES ($1, $2)
             ON CONFLICT (region) DO UPDATE SET last_run_us = $2",
        );
        let ran = ran.bind(turn.region).bind(now_us);
        match turn.lock {
            Some(mut change) => {
                ran.execute(&mut *change).await?;
                change.commit().await?;
            }
            None => {
                ran.execute(self.database.pool()).await?;
            }
        }
        Ok(())
    }
}
