//! What every running instance says of itself, each few seconds, and where
//! that is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::database::{Database, DatabaseError};
use crate::schema::limit;

/// How often an instance reports, in seconds.
pub const EVERY_S: u64 = 5;
/// An instance that was not heard of for so long is down, in microseconds.
const DOWN_US: i64 = 20 * 1_000_000;
/// One that was not heard of for so long is forgotten.
const FORGOTTEN_US: i64 = 24 * 3_600 * 1_000_000;
/// Instances of a region.
const MOST: i64 = 20_000;
/// The longest report, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Longest id of an instance.
pub const ID_CHARACTERS: usize = 64;
/// Longest name of a machine or a pod.
pub const NAME_CHARACTERS: usize = 253;
/// Most roles of an instance, and the longest name of one in characters.
pub const ROLES: (usize, usize) = (8, 32);

/// What an instance says of itself. Members that it does not know are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = InstanceReport)]
pub struct Report {
    /// Which it is, for as long as its data folder lives: 1 to 64 characters
    /// of `A-Z a-z 0-9 - _ .`.
    #[schema(value_type = limit::InstanceId)]
    pub id: String,
    /// The machine that it runs on: 1 to 253 characters.
    #[schema(value_type = limit::MachineName)]
    pub node: String,
    /// Its pod, where it runs in one.
    #[serde(default)]
    #[schema(value_type = Option<limit::MachineName>)]
    pub pod_id: Option<String>,
    /// What it does: `api`, `parser`, `shipper`, `rotator`, `agent`.
    #[serde(default)]
    #[schema(value_type = limit::InstanceRoles)]
    pub roles: Vec<String>,
    /// Of which version it is.
    #[serde(default)]
    pub version: String,
    /// When it started, in microseconds since the epoch, by its own clock.
    #[serde(default)]
    pub started_us: i64,
    /// The revision of the settings that it follows.
    #[serde(default)]
    pub revision: i64,
    /// Whether it can do its work.
    #[serde(default)]
    pub ready: bool,
    /// What is wrong with it, by what it needs (`buffer`, `store`, `collect`).
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
    /// What it reads: `journalbeat`, `filebeat`.
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    /// How full its buffer is.
    #[serde(default)]
    pub buffer: Option<BufferUse>,
    /// The disk of its data folder.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// Records that it lost since it started, by metric and reason.
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    /// The certificates that it shows.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Whether this is its last report: it ends as it should, and is forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// A source of records of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// Whether it is wanted: configured, and not switched off.
    pub enabled: bool,
    /// Whether it is being read.
    pub up: bool,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How full a buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BufferUse {
    /// Bytes in use; 0 where that is the brokers' affair.
    pub bytes: u64,
    /// Bytes allowed; 0 where this instance sets no limit.
    pub max_bytes: u64,
    /// Records that wait for the store, of the partitions that it reads.
    pub backlog: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Bytes of it.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// A certificate that an instance shows to who connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The configuration's section: `http`, `beats`.
    pub of: String,
    /// When it expires, in seconds since the epoch.
    pub expires_s: i64,
}

/// An instance as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Instance {
    /// `up`, `degraded` (it says what is wrong), or `down` (not heard of for 20 s).
    pub status: &'static str,
    /// When it was last heard of, in microseconds since the epoch.
    pub seen_us: i64,
    /// What it said.
    #[serde(flatten)]
    pub report: Report,
}

impl Instance {
    /// Whether it was heard of lately.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.status != "down"
    }
}

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not what a report is.
    #[error("{field}: {reason}")]
    Invalid {
        /// The member at fault.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// There are too many instances.
    #[error("{MOST} instances of this region are known, and no more are taken")]
    TooMany,
    /// The database is away.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Keep the `report` of an instance of `region`.
///
/// # Errors
/// See [`ReportError`].
pub async fn take(database: &Database, region: &str, report: &Report) -> Result<(), ReportError> {
    judge(report)?;
    if report.leaving {
        return Ok(forget(database, region, &report.id).await?);
    }
    let text = serde_json::to_string(report).map_err(|error| ReportError::Invalid {
        field: "report",
        reason: error.to_string(),
    })?;
    if text.len() > MAX_BYTES {
        return Err(ReportError::Invalid {
            field: "report",
            reason: format!("expected at most {MAX_BYTES} bytes, found {}", text.len()),
        });
    }
    let now_us = database.now_us().await?;
    let known =
        sqlx::query("UPDATE instances SET seen_us = $3, report = $4 WHERE region = $1 AND id = $2")
            .bind(region)
            .bind(report.id.clone())
            .bind(now_us)
            .bind(text.clone())
            .execute(database.pool())
            .await
            .map_err(DatabaseError::from)?;
    if known.rows_affected() > 0 {
        return Ok(());
    }
    // Room is made where it is needed: when one comes.
    sqlx::query("DELETE FROM instances WHERE seen_us < $1")
        .bind(now_us - FORGOTTEN_US)
        .execute(database.pool())
        .await
        .map_err(DatabaseError::from)?;
    let added = sqlx::query(
        "INSERT INTO instances (region, id, seen_us, report) \
         SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM instances WHERE region = $1) < $5 \
         ON CONFLICT (region, id) DO UPDATE SET seen_us = $3, report = $4",
    )
    .bind(region)
    .bind(report.id.clone())
    .bind(now_us)
    .bind(text)
    .bind(MOST)
    .execute(database.pool())
    .await
    .map_err(DatabaseError::from)?;
    match added.rows_affected() {
        0 => Err(ReportError::TooMany),
        _ => Ok(()),
    }
}

/// The instances of `region` that were heard of within a day, by node and id.
///
/// # Errors
/// When the database is away.
pub async fn list(database: &Database, region: &str) -> Result<Vec<Instance>, DatabaseError> {
    let now_us = database.now_us().await?;
    let rows = sqlx::query(
        "SELECT id, seen_us, report FROM instances WHERE region = $1 AND seen_us >= $2",
    )
    .bind(region)
    .bind(now_us - FORGOTTEN_US)
    .fetch_all(database.pool())
    .await?;
    let instances = rows.iter().map(|row| {
        let seen_us: i64 = row.try_get("seen_us")?;
        let report: String = row.try_get("report")?;
        let report: Report = serde_json::from_str(&report).map_err(|error| DatabaseError::Row {
            table: "instances",
            row: row.try_get("id").unwrap_or_default(),
            reason: error.to_string(),
        })?;
        let status = match (now_us - seen_us > DOWN_US, report.reasons.is_empty()) {
            (true, _) => "down",
            (false, true) if report.ready => "up",
            _ => "degraded",
        };
        Ok(Instance {
            status,
            seen_us,
            report,
        })
    });
    let mut instances = instances.collect::<Result<Vec<_>, DatabaseError>>()?;
    instances.sort_by(|a, b| {
        let key = |it: &Instance| (it.report.node.clone(), it.report.id.clone());
        key(a).cmp(&key(b))
    });
    Ok(instances)
}

async fn forget(database: &Database, region: &str, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM instances WHERE region = $1 AND id = $2")
        .bind(region)
        .bind(id)
        .execute(database.pool())
        .await?;
    Ok(())
}

/// Reports come from outside, too.
fn judge(report: &Report) -> Result<(), ReportError> {
    let wrong = |field, reason: String| Err(ReportError::Invalid { field, reason });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=ID_CHARACTERS).contains(&report.id.len()) || !report.id.bytes().all(plain) {
        let reason = format!("expected 1 to {ID_CHARACTERS} of A-Z a-z 0-9 - _ .");
        return wrong("id", reason);
    }
    let names = [
        ("node", Some(&report.node)),
        ("pod_id", report.pod_id.as_ref()),
    ];
    for (field, name) in names {
        let bad = |name: &&String| {
            !(1..=NAME_CHARACTERS).contains(&name.chars().count())
                || name.chars().any(char::is_control)
        };
        if name.filter(bad).is_some() {
            return wrong(field, format!("expected 1 to {NAME_CHARACTERS} characters"));
        }
    }
    let (most, characters) = ROLES;
    if report.roles.len() > most
        || report
            .roles
            .iter()
            .any(|role| role.chars().count() > characters)
    {
        return wrong(
            "roles",
            format!("expected at most {most} of {characters} characters"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn report(id: &str) -> Report {
        Report {
            id: id.to_owned(),
            node: "n1".to_owned(),
            ready: true,
            ..Report::default()
        }
    }

    async fn aged(database: &Database, id: &str, by_us: i64) {
        sqlx::query("UPDATE instances SET seen_us = seen_us - $1 WHERE id = $2")
            .bind(by_us)
            .bind(id)
            .execute(database.pool())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_instance_is_up_then_down_then_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(None, folder.path()).await.unwrap();
        take(&database, "north", &report("a")).await.unwrap();
        let mut troubled = report("b");
        troubled
            .reasons
            .insert("buffer".to_owned(), "full".to_owned());
        take(&database, "north", &troubled).await.unwrap();
        take(&database, "south", &report("c")).await.unwrap();
        let seen = async || {
            let all = list(&database, "north").await.unwrap();
            let all = all.into_iter().map(|it| (it.report.id, it.status));
            all.collect::<Vec<_>>()
        };
        let of = |a, b| [("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(seen().await, of("up", "degraded"));
        aged(&database, "a", DOWN_US + 1_000_000).await;
        assert_eq!(seen().await, of("down", "degraded"));
        // One that is heard of again is there again.
        take(&database, "north", &report("a")).await.unwrap();
        assert_eq!(seen().await, of("up", "degraded"));
        aged(&database, "a", FORGOTTEN_US + 1_000_000).await;
        assert_eq!(seen().await, of("up", "degraded")[1..]);
        troubled.leaving = true;
        take(&database, "north", &troubled).await.unwrap();
        assert_eq!(seen().await, []);
        assert_eq!(list(&database, "south").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_comes_from_outside_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(None, folder.path()).await.unwrap();
        for wrong in ["", "a b", "ä", &"x".repeat(65)] {
            let refused = take(&database, "north", &report(wrong)).await;
            assert!(
                matches!(refused, Err(ReportError::Invalid { field: "id", .. })),
                "{wrong}"
            );
        }
        let mut long = report("a");
        long.reasons.insert("x".to_owned(), "x".repeat(MAX_BYTES));
        let refused = take(&database, "north", &long).await;
        assert!(matches!(refused, Err(ReportError::Invalid { .. })));
        let full = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MOST}) \
             INSERT INTO instances SELECT 'north', 'i' || i, {}, '{{}}' FROM n",
            database.now_us().await.unwrap()
        );
        sqlx::query(sqlx::AssertSqlSafe(full))
            .execute(database.pool())
            .await
            .unwrap();
        let refused = take(&database, "north", &report("new")).await;
        assert!(matches!(refused, Err(ReportError::TooMany)), "{refused:?}");
        // Those that are known go on.
        take(&database, "north", &report("i1")).await.unwrap();
        take(&database, "south", &report("new")).await.unwrap();
    }
}
