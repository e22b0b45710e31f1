//! Service tokens: access tokens of up to 366 days, for what holds static
//! credentials, listed and taken back one by one.

use mscp_log_core::access::Access;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;

use super::accounts::{self, giver, grants, invalid, load, missing, note, revoke, written};
use super::issue::{IssueError, Wish, check_size, ttl};
use super::{Actor, ChangeError, Identity, keys};
use crate::database::DatabaseError;

/// Longest label of a token, in characters.
pub(crate) const LABEL_CHARACTERS: usize = 256;

/// A token of a service account, without the token itself.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ServiceToken {
    /// Its id, by which it is taken back.
    pub jti: String,
    /// What it is for.
    pub label: String,
    /// What it may do.
    #[schema(value_type = Vec<crate::schema::Rule>)]
    pub access: Access,
    /// The key that signed it; it ends when that is revoked.
    pub kid: String,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
}

/// A service token as it is handed out, once.
#[derive(Clone)]
pub struct IssuedService {
    /// The token.
    pub token: String,
    /// Its id, by which it is taken back.
    pub jti: String,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
}

impl std::fmt::Debug for IssuedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedService")
            .field("jti", &self.jti)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// Why no service token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueServiceError {
    /// The account or the caller.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The token.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<DatabaseError> for IssueServiceError {
    fn from(error: DatabaseError) -> Self {
        Self::Issue(error.into())
    }
}

impl Identity {
    /// Issue a token with the `wanted` access to the service account `id`;
    /// `ttl_s` is a wish for the lifetime, cut to the account's longest, which
    /// it has when there is no wish.
    ///
    /// # Errors
    /// When `id` is no service account, is disabled, its grants or those of
    /// `actor` do not cover what is wanted, or the database is away.
    pub async fn issue_service_token(
        &self,
        actor: &Actor,
        id: &str,
        label: &str,
        wanted: &Access,
        ttl_s: Option<u64>,
    ) -> Result<IssuedService, IssueServiceError> {
        let result = self
            .try_issue_service(actor, id, label, wanted, ttl_s)
            .await;
        if let Err(
            error @ (IssueServiceError::Issue(IssueError::NotCovered(_))
            | IssueServiceError::Change(ChangeError::NotCovered(_))),
        ) = &result
        {
            self.note(super::Entry {
                subject: actor.subject.clone(),
                address: actor.address,
                action: "token.service",
                target: id.to_owned(),
                outcome: super::Outcome::Refused,
                detail: json!({ "reason": error.to_string() }),
            });
        }
        result
    }

    async fn try_issue_service(
        &self,
        actor: &Actor,
        id: &str,
        label: &str,
        wanted: &Access,
        ttl_s: Option<u64>,
    ) -> Result<IssuedService, IssueServiceError> {
        if label.chars().count() > LABEL_CHARACTERS {
            let reason = format!("expected at most {LABEL_CHARACTERS} characters");
            return Err(invalid("label", reason).into());
        }
        let wish_s = ttl(ttl_s)?;
        check_size(wanted)?;
        let mut change = self.database.begin().await?;
        let holder = match accounts::holder(&mut change, id).await? {
            Some(holder) => holder,
            None if load(&mut change, id).await?.is_some() => {
                return Err(IssueError::NoAccount.into());
            }
            None => return Err(missing(id).into()),
        };
        if !holder.service {
            let reason =
                format!("{id} is a person's account; tokens like this are for service accounts");
            return Err(invalid("id", reason).into());
        }
        let access = Access::cover(&holder.grants, wanted, &self.base).map_err(IssueError::from)?;
        giver(&mut change, actor)
            .await?
            .gives("access", &access, &self.base)?;
        let most_s = holder.max_ttl_s;
        let wish = Wish {
            holder,
            access: Some(access.clone()),
            ttl_s: wish_s.unwrap_or(most_s).min(most_s),
            action: "token.service",
            address: actor.address,
        };
        let signed = self.sign(&mut change, wish).await?;
        let jti = signed.jti;
        sqlx::query(
            "INSERT INTO service_tokens (jti, account_id, label, access, kid, issued_s, exp_s) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(jti.clone())
        .bind(id.to_owned())
        .bind(label.to_owned())
        .bind(written(&access))
        .bind(signed.kid)
        .bind(signed.iat)
        .bind(signed.issued.exp)
        .execute(&mut *change)
        .await
        .map_err(DatabaseError::from)?;
        let detail = json!({ "jti": jti, "label": label });
        note(&mut change, actor, "token.give", id, detail, self.now_us()).await?;
        change.commit().await.map_err(DatabaseError::from)?;
        Ok(IssuedService {
            token: signed.issued.token,
            jti,
            exp: signed.issued.exp,
        })
    }

    /// The tokens of a service account that were not taken back, oldest first.
    ///
    /// # Errors
    /// When there is no such account, or the database is away.
    pub async fn service_tokens(&self, id: &str) -> Result<Vec<ServiceToken>, ChangeError> {
        self.account(id).await?;
        let rows = sqlx::query(
            "SELECT jti, label, access, kid, issued_s, exp_s FROM service_tokens \
             WHERE account_id = $1 AND exp_s >= $2 ORDER BY issued_s, jti",
        )
        .bind(id.to_owned())
        .bind(self.now_s())
        .fetch_all(self.database.pool())
        .await
        .map_err(DatabaseError::from)?;
        let read = |row: &sqlx::any::AnyRow| {
            let jti: String = row.try_get("jti")?;
            let access: String = row.try_get("access")?;
            Ok::<ServiceToken, DatabaseError>(ServiceToken {
                access: grants("service_tokens", &jti, &access)?,
                label: row.try_get("label")?,
                kid: row.try_get("kid")?,
                iat: row.try_get("issued_s")?,
                exp: row.try_get("exp_s")?,
                jti,
            })
        };
        rows.iter()
            .map(|row| read(row).map_err(ChangeError::from))
            .collect()
    }

    /// Take a service token back: it ends, here at once and on other replicas
    /// within 30 s.
    ///
    /// # Errors
    /// When the account has no such token, or the database is away.
    pub async fn take_back_service_token(
        &self,
        actor: &Actor,
        id: &str,
        jti: &str,
    ) -> Result<(), ChangeError> {
        let mut change = self.database.begin().await?;
        let row =
            sqlx::query("SELECT exp_s FROM service_tokens WHERE jti = $1 AND account_id = $2")
                .bind(jti.to_owned())
                .bind(id.to_owned())
                .fetch_optional(&mut *change)
                .await
                .map_err(DatabaseError::from)?
                .ok_or_else(|| ChangeError::NotFound {
                    what: "token",
                    id: jti.to_owned(),
                })?;
        let exp_s: i64 = row.try_get("exp_s").map_err(DatabaseError::from)?;
        sqlx::query("DELETE FROM service_tokens WHERE jti = $1")
            .bind(jti.to_owned())
            .execute(&mut *change)
            .await
            .map_err(DatabaseError::from)?;
        revoke(&mut change, "jti", jti, exp_s + keys::LINGER_S).await?;
        let detail = json!({ "jti": jti });
        note(
            &mut change,
            actor,
            "token.take_back",
            id,
            detail,
            self.now_us(),
        )
        .await?;
        change.commit().await.map_err(DatabaseError::from)?;
        self.refresh_soon().await;
        Ok(())
    }
}
