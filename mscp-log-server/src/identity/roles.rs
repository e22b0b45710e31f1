//! Roles: grants under a name, for many accounts.

use mscp_log_core::access::Access;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;

use super::accounts::{check_grants, giver, grants, invalid, note, written};
use super::{Actor, ChangeError, Identity};
use crate::database::{Change, DatabaseError};

/// Longest name of a role, in bytes.
pub(crate) const NAME_BYTES: usize = 64;

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What those who have it may ask for.
    #[schema(value_type = Vec<crate::schema::Rule>)]
    pub grants: Access,
    /// How many accounts have it.
    pub accounts: i64,
    /// When it was last changed, in microseconds since the epoch.
    pub changed_us: i64,
}

impl Identity {
    /// All roles, by name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn roles(&self) -> Result<Vec<Role>, DatabaseError> {
        let rows = sqlx::query(
            "SELECT name, grants, changed_us, \
             (SELECT COUNT(*) FROM account_roles WHERE account_roles.role = roles.name) AS held \
             FROM roles ORDER BY name",
        )
        .fetch_all(self.database.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let text: String = row.try_get("grants")?;
                Ok(Role {
                    grants: grants("roles", &name, &text)?,
                    accounts: row.try_get("held")?,
                    changed_us: row.try_get("changed_us")?,
                    name,
                })
            })
            .collect()
    }

    /// Make a role, or give one that exists these grants instead. What was
    /// issued from it before stays valid until it expires.
    ///
    /// # Errors
    /// When the name cannot be, or a rule that is new to the role is not
    /// covered by the grants of `actor`.
    pub async fn put_role(
        &self,
        actor: &Actor,
        name: &str,
        wanted: Access,
    ) -> Result<(), ChangeError> {
        let result = self.try_put_role(actor, name, &wanted).await;
        self.note_refusal(actor, "role.put", name, &result);
        result
    }

    async fn try_put_role(
        &self,
        actor: &Actor,
        name: &str,
        wanted: &Access,
    ) -> Result<(), ChangeError> {
        let spelled = (1..=NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !spelled {
            return Err(invalid(
                "name",
                format!("expected 1 to {NAME_BYTES} of [A-Za-z0-9_.-], found \"{name}\""),
            ));
        }
        check_grants(wanted)?;
        let now_us = self.now_us();
        let mut change = self.database.begin().await?;
        let before = grants_of(&mut change, name).await?;
        let present = before.clone().unwrap_or_default();
        let given = Access(
            wanted
                .0
                .iter()
                .filter(|rule| !present.0.contains(rule))
                .cloned()
                .collect(),
        );
        giver(&mut change, actor)
            .await?
            .gives("grants", &given, &self.base)?;
        let statement = if before.is_some() {
            "UPDATE roles SET grants = $2, changed_us = $3 WHERE name = $1"
        } else {
            "INSERT INTO roles (name, grants, changed_us) VALUES ($1, $2, $3)"
        };
        sqlx::query(statement)
            .bind(name.to_owned())
            .bind(written(wanted))
            .bind(now_us)
            .execute(&mut *change)
            .await
            .map_err(DatabaseError::from)?;
        let detail = json!({ "grants": [before, wanted] });
        note(&mut change, actor, "role.put", name, detail, now_us).await?;
        change.commit().await.map_err(DatabaseError::from)?;
        Ok(())
    }

    /// Remove a role; accounts that have it lose it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_role(&self, actor: &Actor, name: &str) -> Result<(), ChangeError> {
        let mut change = self.database.begin().await?;
        let gone = sqlx::query("DELETE FROM roles WHERE name = $1")
            .bind(name.to_owned())
            .execute(&mut *change)
            .await
            .map_err(DatabaseError::from)?;
        if gone.rows_affected() == 0 {
            return Err(ChangeError::NotFound {
                what: "role",
                id: name.to_owned(),
            });
        }
        note(
            &mut change,
            actor,
            "role.remove",
            name,
            json!({}),
            self.now_us(),
        )
        .await?;
        change.commit().await.map_err(DatabaseError::from)?;
        Ok(())
    }
}

/// The grants of a role, if there is one of this name.
pub(super) async fn grants_of(
    change: &mut Change,
    name: &str,
) -> Result<Option<Access>, DatabaseError> {
    let row = sqlx::query("SELECT grants FROM roles WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(&mut **change)
        .await?;
    row.map(|row| grants("roles", name, row.try_get("grants")?))
        .transpose()
}
