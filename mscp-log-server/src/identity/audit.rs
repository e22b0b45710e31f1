//! Who did what, when, and whether it was allowed: a row for each issue,
//! refusal and change.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;
use sqlx::{Any, Row as _};

use crate::database::DatabaseError;

/// How long rows are kept, in microseconds: 400 days, a year and a month.
pub(super) const KEPT_US: i64 = 400 * 86_400 * 1_000_000;

/// Most rows of one page.
pub const PAGE: u32 = 1_000;

/// Longest subject, target or other text of a row, in bytes.
const TEXT_BYTES: usize = 1_024;

/// Whether the thing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Done,
    /// It was not allowed.
    Refused,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// One thing to be noted.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Who: a `user_id`, `platform:` and one, or the e-mail of a refused sign-in.
    pub subject: String,
    /// From where, as far as known.
    pub address: Option<IpAddr>,
    /// What, as `noun.verb`: `token.issue`, `account.change`.
    pub action: &'static str,
    /// To what: an account's id, a role's name, a `kid`, an index.
    pub target: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// The rest. Never a secret.
    pub detail: Value,
}

/// One row as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = AuditRow)]
pub struct Noted {
    /// Sorts by time.
    pub id: String,
    /// When, in microseconds since the epoch.
    pub at_us: i64,
    /// Who.
    pub subject: String,
    /// From where; empty when that is not known.
    pub address: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The rest.
    pub detail: Value,
}

/// Which rows of the audit.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Only rows before the one with this id.
    pub before: Option<String>,
    /// Only rows of this subject.
    pub subject: Option<String>,
    /// At most so many, [`PAGE`] at most; 0 is [`PAGE`].
    pub limit: u32,
}

pub(super) async fn append(
    executor: impl sqlx::Executor<'_, Database = Any>,
    entry: &Entry,
    now_us: i64,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO audit (id, at_us, subject, address, action, target, outcome, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id(now_us))
    .bind(now_us)
    .bind(bounded(&entry.subject))
    .bind(
        entry
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    )
    .bind(entry.action)
    .bind(bounded(&entry.target))
    .bind(entry.outcome.as_str())
    .bind(entry.detail.to_string())
    .execute(executor)
    .await?;
    Ok(())
}

pub(super) async fn list(
    executor: impl sqlx::Executor<'_, Database = Any>,
    page: &Page,
) -> Result<Vec<Noted>, DatabaseError> {
    let limit = match page.limit {
        0 => PAGE,
        wanted => wanted.min(PAGE),
    };
    // Ids are hexadecimal, so "g" is after all of them; an empty subject is none.
    let rows = sqlx::query(
        "SELECT id, at_us, subject, address, action, target, outcome, detail FROM audit \
         WHERE id < $1 AND ($2 = '' OR subject = $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(page.before.clone().unwrap_or_else(|| "g".to_owned()))
    .bind(page.subject.clone().unwrap_or_default())
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            let detail: String = row.try_get("detail")?;
            Ok(Noted {
                id: row.try_get("id")?,
                at_us: row.try_get("at_us")?,
                subject: row.try_get("subject")?,
                address: row.try_get("address")?,
                action: row.try_get("action")?,
                target: row.try_get("target")?,
                outcome: row.try_get("outcome")?,
                detail: serde_json::from_str(&detail).unwrap_or(Value::Null),
            })
        })
        .collect()
}

pub(super) async fn sweep(
    executor: impl sqlx::Executor<'_, Database = Any>,
    now_us: i64,
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM audit WHERE at_us < $1")
        .bind(now_us.saturating_sub(KEPT_US))
        .execute(executor)
        .await?;
    Ok(())
}

/// An id that sorts by time; rows of one microsecond are told apart by chance.
fn id(now_us: i64) -> String {
    format!("{now_us:016x}-{:016x}", rand::random::<u64>())
}

/// Text of a caller, cut where it would fill the table.
fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        assert!(id(1) < id(2));
        assert!(id(255) < id(256));
        assert!(id(i64::MAX).as_str() < "g");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let long = "界".repeat(1_000);
        assert!(bounded(&long).len() <= TEXT_BYTES);
        assert!(long.starts_with(&bounded(&long)));
        assert_eq!(bounded("short"), "short");
    }
}
