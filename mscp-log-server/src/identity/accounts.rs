//! Accounts: people, who sign in, and services, which hold tokens. Nobody
//! gives one more than their own grants cover.

use std::collections::{BTreeMap, BTreeSet};

use mscp_log_core::access::{Access, Base};
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _};

use super::audit::{self, Entry, Outcome};
use super::delay::EMAIL_BYTES;
use super::password::{self, HashError};
use super::{Actor, ChangeError, DAY_S, Identity, LONGEST_TTL_S, keys, roles};
use crate::config::Secret;
use crate::database::{Change, DatabaseError};

/// Longest lifetime of a person's access tokens unless their account says
/// otherwise, in seconds.
pub(super) const PERSON_MAX_TTL_S: u64 = DAY_S;
/// Most rules that an account or a role may have.
pub(crate) const MOST_RULES: usize = 1_000;
/// Most roles of one account.
pub(crate) const MOST_ROLES: usize = 100;

/// An account, without its password.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Account {
    /// The `user_id` of its tokens; never used again.
    pub id: String,
    /// What a person signs in with, or a service's name; in lower case.
    pub email: String,
    /// Whether it is a service account: it has tokens and does not sign in.
    pub service: bool,
    /// Whether nothing is issued to it and its tokens are refused.
    pub disabled: bool,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// Its own grants, beside its roles'.
    #[schema(value_type = Vec<crate::schema::Rule>)]
    pub grants: Access,
    /// Longest lifetime of its access tokens, in seconds.
    pub max_ttl: u64,
    /// When it was made, in microseconds since the epoch.
    pub created_us: i64,
    /// When it was last changed, in microseconds since the epoch.
    pub changed_us: i64,
}

/// An account to be made.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// An e-mail address, or a service's name.
    pub email: String,
    /// Whether it is a service account.
    pub service: bool,
    /// A person without one cannot sign in yet; a service has none.
    pub password: Option<Secret>,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// Its own grants.
    pub grants: Access,
    /// Longest lifetime of its access tokens, in seconds: a day for a person
    /// and 366 days for a service when absent.
    pub max_ttl: Option<u64>,
}

/// What of an account to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// Another e-mail or name.
    pub email: Option<String>,
    /// Disable or enable.
    pub disabled: Option<bool>,
    /// These roles in place of the present ones.
    pub roles: Option<Vec<String>>,
    /// These grants in place of the present ones.
    pub grants: Option<Access>,
    /// Another password.
    pub password: Option<Secret>,
    /// Another longest lifetime of access tokens, in seconds.
    pub max_ttl: Option<u64>,
}

impl Identity {
    /// All accounts, by e-mail.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn accounts(&self) -> Result<Vec<Account>, DatabaseError> {
        let pool = self.database.pool();
        let rows = sqlx::query(
            "SELECT id, email, service, disabled, grants, max_ttl_s, created_us, changed_us \
             FROM accounts ORDER BY email",
        )
        .fetch_all(pool)
        .await?;
        let held = sqlx::query("SELECT account_id, role FROM account_roles ORDER BY role")
            .fetch_all(pool)
            .await?;
        let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in held {
            roles
                .entry(row.try_get("account_id")?)
                .or_default()
                .push(row.try_get("role")?);
        }
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("id")?;
                let own = roles.remove(&id).unwrap_or_default();
                account(row, own)
            })
            .collect()
    }

    /// One account.
    ///
    /// # Errors
    /// When there is none of this id, or the database is away.
    pub async fn account(&self, id: &str) -> Result<Account, ChangeError> {
        let mut reading = self.database.read().await?;
        let found = load(&mut reading, id).await?;
        found.ok_or_else(|| missing(id))
    }

    /// Make an account.
    ///
    /// # Errors
    /// When a value cannot be, the e-mail is taken, or it would give what the
    /// grants of `actor` do not cover.
    pub async fn add_account(
        &self,
        actor: &Actor,
        new: NewAccount,
    ) -> Result<Account, ChangeError> {
        let email = new.email.clone();
        let result = self.try_add(actor, new).await;
        self.note_refusal(actor, "account.add", &email, &result);
        result
    }

    async fn try_add(&self, actor: &Actor, new: NewAccount) -> Result<Account, ChangeError> {
        let email = email(&new.email, new.service).map_err(|reason| invalid("email", reason))?;
        let max_ttl_s = match new.max_ttl {
            Some(wish) => max_ttl(wish)?,
            None if new.service => LONGEST_TTL_S,
            None => PERSON_MAX_TTL_S,
        };
        if new.service && new.password.is_some() {
            return Err(invalid("password", "a service account has none"));
        }
        let kept = self.kept(new.password.as_ref()).await?;
        let now_us = self.now_us();
        let mut change = self.database.begin().await?;
        let giver = giver(&mut change, actor).await?;
        check_grants(&new.grants)?;
        giver.gives("grants", &new.grants, &self.base)?;
        if taken(&mut change, &email).await? {
            return Err(ChangeError::Taken(email));
        }
        let row = Row {
            email: &email,
            service: new.service,
            password: kept.as_deref(),
            grants: &new.grants,
            max_ttl_s,
        };
        let id = insert(&mut change, &row, now_us).await?;
        self.put_roles(&mut change, &giver, &id, &[], &new.roles)
            .await?;
        let detail = json!({
            "email": email,
            "service": new.service,
            "roles": new.roles,
            "grants": new.grants,
            "max_ttl": max_ttl_s,
        });
        note(&mut change, actor, "account.add", &id, detail, now_us).await?;
        let made = load(&mut change, &id).await?;
        change.commit().await.map_err(DatabaseError::from)?;
        made.ok_or_else(|| missing(&id))
    }

    /// Change an account. A password and being enabled give the power of the
    /// account to whoever holds it, so for another's account they too have to
    /// be covered by the grants of `actor`.
    ///
    /// # Errors
    /// When a value cannot be, the e-mail is taken, it would give what the
    /// grants of `actor` do not cover, or `actor` would disable itself.
    pub async fn change_account(
        &self,
        actor: &Actor,
        id: &str,
        wanted: AccountChange,
    ) -> Result<Account, ChangeError> {
        let result = self.try_change(actor, id, wanted).await;
        self.note_refusal(actor, "account.change", id, &result);
        result
    }

    async fn try_change(
        &self,
        actor: &Actor,
        id: &str,
        wanted: AccountChange,
    ) -> Result<Account, ChangeError> {
        let kept = self.kept(wanted.password.as_ref()).await?;
        let now_us = self.now_us();
        let own = actor.subject == id;
        let mut change = self.database.begin().await?;
        let before = load(&mut change, id).await?.ok_or_else(|| missing(id))?;
        if own && wanted.disabled == Some(true) {
            return Err(ChangeError::OwnAccount);
        }
        if before.service && wanted.password.is_some() {
            return Err(invalid("password", "a service account has none"));
        }
        let giver = giver(&mut change, actor).await?;
        let enabled = before.disabled && wanted.disabled == Some(false);
        if !own && (enabled || wanted.password.is_some()) {
            let power = power(&mut change, id, &before.grants).await?;
            giver.gives("the power of the account", &power, &self.base)?;
        }
        let mut after = before.clone();
        if let Some(wish) = &wanted.email {
            after.email = email(wish, before.service).map_err(|reason| invalid("email", reason))?;
            if after.email != before.email && taken(&mut change, &after.email).await? {
                return Err(ChangeError::Taken(after.email));
            }
        }
        if let Some(grants) = wanted.grants {
            check_grants(&grants)?;
            let given = Access(
                grants
                    .0
                    .iter()
                    .filter(|rule| !before.grants.0.contains(rule))
                    .cloned()
                    .collect(),
            );
            giver.gives("grants", &given, &self.base)?;
            after.grants = grants;
        }
        if let Some(wish) = wanted.max_ttl {
            after.max_ttl = max_ttl(wish)?;
        }
        after.disabled = wanted.disabled.unwrap_or(before.disabled);
        sqlx::query(
            "UPDATE accounts SET email = $2, disabled = $3, grants = $4, max_ttl_s = $5, changed_us = $6 \
             WHERE id = $1",
        )
        .bind(id.to_owned())
        .bind(after.email.clone())
        .bind(i64::from(after.disabled))
        .bind(written(&after.grants))
        .bind(ttl_column(after.max_ttl))
        .bind(now_us)
        .execute(&mut *change)
        .await
        .map_err(DatabaseError::from)?;
        if let Some(kept) = kept {
            sqlx::query("UPDATE accounts SET password = $2 WHERE id = $1")
                .bind(id.to_owned())
                .bind(kept)
                .execute(&mut *change)
                .await
                .map_err(DatabaseError::from)?;
        }
        if let Some(roles) = &wanted.roles {
            self.put_roles(&mut change, &giver, id, &before.roles, roles)
                .await?;
        }
        let after = load(&mut change, id).await?.ok_or_else(|| missing(id))?;
        let detail = differences(&before, &after, wanted.password.is_some());
        note(&mut change, actor, "account.change", id, detail, now_us).await?;
        change.commit().await.map_err(DatabaseError::from)?;
        self.refresh_soon().await;
        Ok(after)
    }

    /// Remove an account: nothing is issued to it any more, and its tokens
    /// end, here at once and on other replicas within 30 s.
    ///
    /// # Errors
    /// When there is none of this id, or it is the actor's own.
    pub async fn remove_account(&self, actor: &Actor, id: &str) -> Result<(), ChangeError> {
        if actor.subject == id {
            let refused = Err(ChangeError::OwnAccount);
            self.note_refusal(actor, "account.remove", id, &refused);
            return refused;
        }
        let now_us = self.now_us();
        let mut change = self.database.begin().await?;
        let gone = load(&mut change, id).await?.ok_or_else(|| missing(id))?;
        sqlx::query("DELETE FROM accounts WHERE id = $1")
            .bind(id.to_owned())
            .execute(&mut *change)
            .await
            .map_err(DatabaseError::from)?;
        let until_s = self.now_s() + ttl_column(LONGEST_TTL_S) + keys::LINGER_S;
        revoke(&mut change, "account", id, until_s).await?;
        let detail = json!({ "email": gone.email });
        note(&mut change, actor, "account.remove", id, detail, now_us).await?;
        change.commit().await.map_err(DatabaseError::from)?;
        self.refresh_soon().await;
        Ok(())
    }

    /// The text to keep for a wanted password.
    async fn kept(&self, password: Option<&Secret>) -> Result<Option<String>, ChangeError> {
        let Some(password) = password else {
            return Ok(None);
        };
        if let Some(reason) = password::fault(password) {
            return Err(invalid("password", reason));
        }
        match self.hasher.hash(password).await {
            Ok(kept) => Ok(Some(kept)),
            Err(error @ (HashError::Busy | HashError::Failed(_))) => {
                Err(ChangeError::Busy(error.to_string()))
            }
        }
    }

    /// Give the account these roles; those that it did not have are given by `giver`.
    async fn put_roles(
        &self,
        change: &mut Change,
        giver: &Giver,
        id: &str,
        before: &[String],
        wanted: &[String],
    ) -> Result<(), ChangeError> {
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        if wanted.len() > MOST_ROLES {
            return Err(invalid("roles", format!("expected at most {MOST_ROLES}")));
        }
        for gone in before.iter().filter(|role| !wanted.contains(role)) {
            sqlx::query("DELETE FROM account_roles WHERE account_id = $1 AND role = $2")
                .bind(id.to_owned())
                .bind(gone.clone())
                .execute(&mut **change)
                .await
                .map_err(DatabaseError::from)?;
        }
        for name in wanted.into_iter().filter(|role| !before.contains(role)) {
            let grants = roles::grants_of(change, name)
                .await?
                .ok_or_else(|| ChangeError::NoRole(name.clone()))?;
            giver.gives(&format!("the role {name}"), &grants, &self.base)?;
            sqlx::query("INSERT INTO account_roles (account_id, role) VALUES ($1, $2)")
                .bind(id.to_owned())
                .bind(name.clone())
                .execute(&mut **change)
                .await
                .map_err(DatabaseError::from)?;
        }
        Ok(())
    }
}

/// What signing in needs to know.
pub(super) struct Credential {
    pub(super) id: String,
    pub(super) password: Option<String>,
    pub(super) service: bool,
    pub(super) disabled: bool,
}

pub(super) async fn credential(
    executor: impl sqlx::Executor<'_, Database = Any>,
    email: &str,
) -> Result<Option<Credential>, DatabaseError> {
    let row = sqlx::query("SELECT id, password, service, disabled FROM accounts WHERE email = $1")
        .bind(email.to_owned())
        .fetch_optional(executor)
        .await?;
    row.map(|row| {
        Ok(Credential {
            id: row.try_get("id")?,
            password: row.try_get("password")?,
            service: row.try_get::<i64, _>("service")? != 0,
            disabled: row.try_get::<i64, _>("disabled")? != 0,
        })
    })
    .transpose()
}

/// An account to which something may be issued, with all its grants.
pub(super) struct Holder {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) service: bool,
    pub(super) roles: Vec<String>,
    pub(super) grants: Access,
    pub(super) max_ttl_s: u64,
}

/// The account `id` with its own grants and its roles', unless it is disabled.
pub(super) async fn holder(change: &mut Change, id: &str) -> Result<Option<Holder>, DatabaseError> {
    let Some(account) = load(change, id).await?.filter(|account| !account.disabled) else {
        return Ok(None);
    };
    let grants = power(change, id, &account.grants).await?;
    Ok(Some(Holder {
        id: account.id,
        email: account.email,
        service: account.service,
        roles: account.roles,
        grants,
        max_ttl_s: account.max_ttl,
    }))
}

/// The grants of an actor, within which what it gives must be.
pub(super) struct Giver(Access);

pub(super) async fn giver(change: &mut Change, actor: &Actor) -> Result<Giver, DatabaseError> {
    // A subject of the platform has no grants here, and gives nothing.
    let grants = holder(change, &actor.subject)
        .await?
        .map(|holder| holder.grants);
    Ok(Giver(grants.unwrap_or_default()))
}

impl Giver {
    pub(super) fn gives(&self, what: &str, given: &Access, base: &Base) -> Result<(), ChangeError> {
        let beyond = given
            .0
            .iter()
            .position(|rule| !Access(vec![rule.clone()]).is_within(&self.0, base));
        match beyond {
            None => Ok(()),
            Some(place) => Err(ChangeError::NotCovered(format!("{what}: rule {place}"))),
        }
    }
}

/// A row of the table to be made.
pub(super) struct Row<'a> {
    pub(super) email: &'a str,
    pub(super) service: bool,
    pub(super) password: Option<&'a str>,
    pub(super) grants: &'a Access,
    pub(super) max_ttl_s: u64,
}

/// Make the row of an account; gives its id.
pub(super) async fn insert(
    change: &mut Change,
    row: &Row<'_>,
    now_us: i64,
) -> Result<String, DatabaseError> {
    let id = uuid::Uuid::new_v4().to_string();
    sqlx::query(
        "INSERT INTO accounts (id, email, service, disabled, password, grants, max_ttl_s, created_us, changed_us) \
         VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $7)",
    )
    .bind(id.clone())
    .bind(row.email.to_owned())
    .bind(i64::from(row.service))
    .bind(row.password.map(str::to_owned))
    .bind(written(row.grants))
    .bind(ttl_column(row.max_ttl_s))
    .bind(now_us)
    .execute(&mut **change)
    .await?;
    Ok(id)
}

/// An e-mail address as it is kept, or a service's name.
pub(super) fn email(text: &str, service: bool) -> Result<String, String> {
    let email = text.trim().to_lowercase();
    // A colon would end the user's name in HTTP Basic (RFC 7617 section 2).
    let spelled = (1..=EMAIL_BYTES).contains(&email.len())
        && !email
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == ':');
    let addressed = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !spelled {
        Err(format!(
            "expected 1 to {EMAIL_BYTES} bytes without spaces and colons"
        ))
    } else if !service && !addressed {
        Err(format!("expected an e-mail address, found \"{email}\""))
    } else {
        Ok(email)
    }
}

/// Refuse grants that are not understood whole, or too many.
pub(super) fn check_grants(grants: &Access) -> Result<(), ChangeError> {
    if grants.0.len() > MOST_RULES {
        return Err(invalid(
            "grants",
            format!("expected at most {MOST_RULES} rules"),
        ));
    }
    match grants
        .0
        .iter()
        .position(|rule| rule.matches_nothing() || rule.methods.is_empty() || rule.urls.is_empty())
    {
        None => Ok(()),
        Some(place) => Err(invalid("grants", format!("rule {place} grants nothing"))),
    }
}

pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> ChangeError {
    ChangeError::Invalid {
        field,
        reason: reason.into(),
    }
}

pub(super) fn missing(id: &str) -> ChangeError {
    ChangeError::NotFound {
        what: "account",
        id: id.to_owned(),
    }
}

/// Grants as they are kept.
pub(super) fn written(grants: &Access) -> String {
    serde_json::to_string(grants)
        .expect("an access list is strings and JSON values, all of which can be written")
}

/// Grants as they were kept in the row `row` of `table`.
pub(super) fn grants(table: &'static str, row: &str, text: &str) -> Result<Access, DatabaseError> {
    serde_json::from_str(text).map_err(|error| DatabaseError::Row {
        table,
        row: row.to_owned(),
        reason: error.to_string(),
    })
}

/// Note a change in the audit, inside it.
pub(super) async fn note(
    change: &mut Change,
    actor: &Actor,
    action: &'static str,
    target: &str,
    detail: serde_json::Value,
    now_us: i64,
) -> Result<(), DatabaseError> {
    let entry = Entry {
        subject: actor.subject.clone(),
        address: actor.address,
        action,
        target: target.to_owned(),
        outcome: Outcome::Done,
        detail,
    };
    audit::append(&mut **change, &entry, now_us).await
}

/// Take back what `id` names, until all that it could concern has expired.
pub(super) async fn revoke(
    change: &mut Change,
    kind: &'static str,
    id: &str,
    until_s: i64,
) -> Result<(), DatabaseError> {
    sqlx::query("INSERT INTO revocations (kind, id, until_s) VALUES ($1, $2, $3)")
        .bind(kind)
        .bind(id.to_owned())
        .bind(until_s)
        .execute(&mut **change)
        .await?;
    Ok(())
}

pub(super) async fn load(change: &mut Change, id: &str) -> Result<Option<Account>, DatabaseError> {
    let row = sqlx::query(
        "SELECT id, email, service, disabled, grants, max_ttl_s, created_us, changed_us \
         FROM accounts WHERE id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(&mut **change)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let held = sqlx::query("SELECT role FROM account_roles WHERE account_id = $1 ORDER BY role")
        .bind(id.to_owned())
        .fetch_all(&mut **change)
        .await?;
    let roles = held
        .iter()
        .map(|row| row.try_get("role"))
        .collect::<Result<Vec<String>, sqlx::Error>>()?;
    account(&row, roles).map(Some)
}

/// `own` and the grants of the account's roles.
async fn power(change: &mut Change, id: &str, own: &Access) -> Result<Access, DatabaseError> {
    let rows = sqlx::query(
        "SELECT roles.name, roles.grants FROM roles \
         JOIN account_roles ON account_roles.role = roles.name \
         WHERE account_roles.account_id = $1 ORDER BY roles.name",
    )
    .bind(id.to_owned())
    .fetch_all(&mut **change)
    .await?;
    let mut all = own.clone();
    for row in rows {
        let name: String = row.try_get(0)?;
        let text: String = row.try_get(1)?;
        all.0.extend(grants("roles", &name, &text)?.0);
    }
    Ok(all)
}

async fn taken(change: &mut Change, email: &str) -> Result<bool, DatabaseError> {
    let row = sqlx::query("SELECT id FROM accounts WHERE email = $1")
        .bind(email.to_owned())
        .fetch_optional(&mut **change)
        .await?;
    Ok(row.is_some())
}

fn account(row: &AnyRow, roles: Vec<String>) -> Result<Account, DatabaseError> {
    let id: String = row.try_get("id")?;
    let text: String = row.try_get("grants")?;
    Ok(Account {
        grants: grants("accounts", &id, &text)?,
        email: row.try_get("email")?,
        service: row.try_get::<i64, _>("service")? != 0,
        disabled: row.try_get::<i64, _>("disabled")? != 0,
        max_ttl: row.try_get::<i64, _>("max_ttl_s")?.unsigned_abs(),
        created_us: row.try_get("created_us")?,
        changed_us: row.try_get("changed_us")?,
        roles,
        id,
    })
}

fn max_ttl(wish_s: u64) -> Result<u64, ChangeError> {
    if (1..=LONGEST_TTL_S).contains(&wish_s) {
        Ok(wish_s)
    } else {
        Err(invalid(
            "max_ttl",
            format!("expected 1 to {LONGEST_TTL_S} seconds, found {wish_s}"),
        ))
    }
}

fn ttl_column(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// What a change changed, for the audit.
fn differences(before: &Account, after: &Account, password: bool) -> serde_json::Value {
    let mut changed = serde_json::Map::new();
    if before.email != after.email {
        changed.insert("email".to_owned(), json!([before.email, after.email]));
    }
    if before.disabled != after.disabled {
        changed.insert(
            "disabled".to_owned(),
            json!([before.disabled, after.disabled]),
        );
    }
    if before.roles != after.roles {
        changed.insert("roles".to_owned(), json!([before.roles, after.roles]));
    }
    if before.grants != after.grants {
        changed.insert("grants".to_owned(), json!([before.grants, after.grants]));
    }
    if before.max_ttl != after.max_ttl {
        changed.insert("max_ttl".to_owned(), json!([before.max_ttl, after.max_ttl]));
    }
    if password {
        changed.insert("password".to_owned(), json!("changed"));
    }
    changed.into()
}
