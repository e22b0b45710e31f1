//! What is kept of the settings: only what was changed, by region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row as _;

use super::{Settings, put};
use crate::clock;
use crate::database::{Database, DatabaseError};

/// What was changed, as JSON pointers of the document and their values. One
/// that a later version wrote and this one does not know has no effect, and stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overrides(BTreeMap<String, Value>);

impl Overrides {
    /// The value at `pointer`, where it was changed.
    #[must_use]
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.get(pointer)
    }

    /// Change the value at `pointer`.
    pub fn set(&mut self, pointer: &str, value: Value) {
        self.0.insert(pointer.to_owned(), value);
    }
}

/// The changes of a region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// How often they were changed.
    pub revision: i64,
    /// What they are.
    pub overrides: Overrides,
}

impl Kept {
    /// What holds where `configured` is what the configuration says.
    #[must_use]
    pub fn over(&self, configured: &Settings) -> Settings {
        configured.with(&self.overrides)
    }

    /// What an agent is told that reports itself: its part of the document.
    #[must_use]
    pub fn answer(&self) -> Value {
        let mut answer = serde_json::json!({ "revision": self.revision });
        for pointer in OF_AGENTS {
            let value = self.overrides.get(pointer).cloned();
            put(&mut answer, pointer, value.unwrap_or(Value::Bool(true)));
        }
        answer
    }

    /// Of such an answer.
    #[must_use]
    pub fn of_answer(answer: &Value) -> Self {
        let mut kept = Self {
            revision: answer["revision"].as_i64().unwrap_or_default(),
            ..Self::default()
        };
        for pointer in OF_AGENTS {
            if let Some(value @ Value::Bool(_)) = answer.pointer(pointer) {
                kept.overrides.set(pointer, value.clone());
            }
        }
        kept
    }
}

/// The settings that agents obey, who have no database.
const OF_AGENTS: [&str; 2] = [
    "/collector/journalbeat/enabled",
    "/collector/filebeat/enabled",
];

/// The changes of `region`.
///
/// # Errors
/// When the database is away, or the row is not one of ours.
pub async fn kept(database: &Database, region: &str) -> Result<Kept, DatabaseError> {
    let row = sqlx::query("SELECT revision, document FROM settings WHERE region = $1")
        .bind(region)
        .fetch_optional(database.pool())
        .await?;
    let Some(row) = row else {
        return Ok(Kept::default());
    };
    let document: String = row.try_get("document")?;
    let overrides = serde_json::from_str(&document).map_err(|error| DatabaseError::Row {
        table: "settings",
        row: region.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Kept {
        revision: row.try_get("revision")?,
        overrides,
    })
}

/// Put `changed` in the place of the changes of `region`, which the caller has
/// read in a [`crate::database::Turn`]; `by` is who made the last of them.
///
/// # Errors
/// When the database is away; then nothing was changed.
pub async fn keep(
    database: &Database,
    region: &str,
    changed: &Kept,
    by: &str,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO settings (region, revision, document, changed_us, changed_by) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (region) DO UPDATE \
         SET revision = $2, document = $3, changed_us = $4, changed_by = $5",
    )
    .bind(region)
    .bind(changed.revision)
    .bind(serde_json::json!(changed.overrides).to_string())
    .bind(clock::now_us())
    .bind(by)
    .execute(database.pool())
    .await?;
    Ok(())
}
