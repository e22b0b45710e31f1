//! Identity: accounts, roles and grants, the tokens that are issued from
//! them, the keys that sign, and the audit of it all.
//!
//! Verification needs only memory (`Trust`), so it goes on while the
//! database is away; everything that changes something, and every issue, is
//! one transaction with its audit row.

mod accounts;
mod audit;
mod delay;
mod issue;
mod keys;
mod password;
mod roles;
mod rows;
mod seal;
mod secrets;
mod service;
mod signing;
mod trust;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use mscp_log_core::access::{Access, Base};
use mscp_log_core::token::{Key, KeyError, TokenError, Verified};
use sqlx::Row as _;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::database::{self, Database, DatabaseError};
use crate::snapshot::Snapshot;

pub use accounts::{Account, AccountChange, NewAccount};
pub(crate) use accounts::{MOST_ROLES, MOST_RULES};
pub use audit::{Entry, Noted, Outcome, PAGE as AUDIT_PAGE, Page};
pub(crate) use delay::EMAIL_BYTES;
pub use issue::{IssueError, Issued, LoginError};
pub use keys::{KeyState, NotYet, State};
pub(crate) use password::{LONGEST as LONGEST_PASSWORD, SHORTEST as SHORTEST_PASSWORD};
pub(crate) use roles::NAME_BYTES as ROLE_NAME_BYTES;
pub use roles::Role;
pub use seal::SealError;
pub(crate) use service::LABEL_CHARACTERS;
pub use service::{IssueServiceError, IssuedService, ServiceToken};
pub use signing::KeyChangeError;
pub use trust::VerifyError;

use delay::Delays;
use password::Hasher;
use seal::Seal;
use trust::Trust;

/// How often keys and revocations are read again; well below the 30 s after
/// which every replica knows of a change.
const REFRESH: Duration = Duration::from_secs(10);
/// Reading again because a token named an unknown key happens at most this often.
const EAGER: Duration = Duration::from_secs(1);
/// How often what has expired is deleted.
const SWEEP: Duration = Duration::from_secs(3_600);
/// Audit entries that may wait to be written.
const AUDIT_QUEUE: usize = 8_192;
/// Audit entries written in one transaction.
const AUDIT_BATCH: usize = 512;

const SECOND_US: i64 = 1_000_000;
const DAY_S: u64 = 86_400;
/// The longest lifetime of a token, in seconds.
pub const LONGEST_TTL_S: u64 = 366 * DAY_S;

/// Why identity cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A secret.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the first administrator shall be.
    #[error("the first administrator's {field}: {reason}")]
    Administrator {
        /// `email` or `password`.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// The system is at fault.
    #[error("{0}")]
    System(String),
}

impl IdentityError {
    /// Whether it is a database server that does not answer yet.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_away())
    }
}

/// Why an account, a role or a service token was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `account`, `role` or `token`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// An account cannot have a role that is not there.
    #[error("roles: there is no role {0:?}")]
    NoRole(String),
    /// The e-mail is another account's.
    #[error("there is already an account {0}")]
    Taken(String),
    /// A value that cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// It would give what the caller's own grants do not cover.
    #[error("{0} is not covered by your own grants")]
    NotCovered(String),
    /// Nobody disables or removes their own account, so that one always remains.
    #[error("your own account cannot be disabled or removed")]
    OwnAccount,
    /// The database is away; try again.
    #[error(transparent)]
    Unavailable(#[from] DatabaseError),
    /// The system cannot do it now; try again.
    #[error("{0}")]
    Busy(String),
}

/// Who asks for a change, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The subject of the token; what is given must be within its account's grants.
    pub subject: String,
    /// The address, as far as it is known.
    pub address: Option<IpAddr>,
}

/// What the first administrator shall be; what is not given is made.
#[derive(Clone, Debug, Default)]
pub struct Administrator {
    /// `admin@localhost` when absent.
    pub email: Option<String>,
    /// Random when absent.
    pub password: Option<config::Secret>,
}

/// The administrator that the first start made.
#[derive(Clone, Debug)]
pub struct FirstAdministrator {
    /// To sign in with.
    pub email: String,
    /// To be shown once, when it was made here.
    pub password: config::Secret,
    /// Whether the password was made here.
    pub generated: bool,
}

/// What identity is opened with.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The section `auth` of the configuration.
    pub auth: &'a config::Auth,
    /// The data folder, which exists.
    pub data: &'a Path,
    /// What `{mscp_api_url}` means here.
    pub base: Base,
    /// What the first administrator shall be, if this is the first start.
    pub administrator: Administrator,
}

/// What opening gives.
#[derive(Debug)]
pub struct Opened {
    /// The open identity; [`Identity::run`] has to run beside it.
    pub identity: Identity,
    /// The administrator, when this was the first start.
    pub first_administrator: Option<FirstAdministrator>,
}

/// Lifetimes, in seconds.
#[derive(Clone, Copy, Debug)]
struct Lifetimes {
    root_s: u64,
    access_s: u64,
    rotate_s: i64,
    leeway_s: i64,
}

/// Accounts, tokens and keys of one installation.
pub struct Identity {
    database: Database,
    seal: Seal,
    base: Base,
    lifetimes: Lifetimes,
    platform: Vec<Key>,
    trust: ArcSwap<Trust>,
    /// Held while reading, so that what was read first is not stored last.
    refreshing: tokio::sync::Mutex<()>,
    hasher: Hasher,
    delays: Mutex<Delays>,
    audit: mpsc::Sender<(Entry, i64)>,
    noted: tokio::sync::Mutex<mpsc::Receiver<(Entry, i64)>>,
    wake: Notify,
    clock: Clock,
}

/// Microseconds since the epoch.
type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Open the database, bring it up to date, and on the first start make the
    /// keys and the administrator, who has every method on `/**`, with `write`.
    ///
    /// # Errors
    /// When the database cannot be opened or migrated, a key cannot be
    /// decrypted, or a file that the settings name is not what it should be.
    pub async fn open(setup: Setup<'_>) -> Result<Opened, IdentityError> {
        Self::open_with(setup, Box::new(crate::clock::now_us)).await
    }

    async fn open_with(setup: Setup<'_>, clock: Clock) -> Result<Opened, IdentityError> {
        let seal = Seal::from_file(setup.auth.master_key_file.as_deref())?;
        let platform = setup
            .auth
            .platform_keys
            .iter()
            .map(|file| platform_key(file))
            .collect::<Result<Vec<Key>, IdentityError>>()?;
        let database = Database::open(setup.auth.database.as_ref(), setup.data).await?;
        let (audit, noted) = mpsc::channel(AUDIT_QUEUE);
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let identity = Self {
            database,
            seal,
            base: setup.base,
            lifetimes: Lifetimes {
                root_s: setup.auth.root_ttl.as_secs(),
                access_s: setup.auth.access_ttl.as_secs(),
                rotate_s: seconds(setup.auth.rotate),
                leeway_s: seconds(setup.auth.leeway),
            },
            platform,
            trust: ArcSwap::from_pointee(Trust::new(
                Vec::new(),
                None,
                Vec::new(),
                0,
                HashSet::new(),
                HashSet::new(),
            )),
            refreshing: tokio::sync::Mutex::new(()),
            hasher: Hasher::new().map_err(|error| IdentityError::System(error.to_string()))?,
            delays: Mutex::new(Delays::new()),
            audit,
            noted: tokio::sync::Mutex::new(noted),
            wake: Notify::new(),
            clock,
        };
        identity.first_keys().await?;
        let first_administrator = identity.first_administrator(setup.administrator).await?;
        identity.refresh().await?;
        Ok(Opened {
            identity,
            first_administrator,
        })
    }

    /// The database, for what else is kept there.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Keep keys and revocations fresh, rotate when it is time, write the
    /// audit and delete what has expired, until `shutdown`. It then writes the
    /// audit that waits and closes the database.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut noted = self.noted.lock().await;
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refreshed = tokio::time::Instant::now();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = refresh.tick() => {
                    self.keep_up().await;
                    refreshed = tokio::time::Instant::now();
                }
                () = self.wake.notified(), if refreshed.elapsed() >= EAGER => {
                    self.keep_up().await;
                    refreshed = tokio::time::Instant::now();
                }
                _ = sweep.tick() => {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(%error, "what has expired could not be deleted from the database");
                    }
                }
                _ = noted.recv_many(&mut batch, AUDIT_BATCH) => self.write_audit(&mut batch).await,
            }
        }
        while let Ok(entry) = noted.try_recv() {
            batch.push(entry);
        }
        self.write_audit(&mut batch).await;
        self.database.close().await;
    }

    /// Verify `token` at `now_s`, with the keys at hand.
    ///
    /// # Errors
    /// When it does not verify, or was taken back.
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Verified, VerifyError> {
        let verified = self.trust.load().verify(token, now_s);
        if let Err(VerifyError::Token(TokenError::UnknownKey)) = verified {
            // Another replica may have revoked the active key and gone on with a new one.
            self.wake.notify_one();
        }
        verified
    }

    /// What `{mscp_api_url}` means here.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn reach(&self) -> Result<(), DatabaseError> {
        sqlx::query("SELECT 1")
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Hold the database as it is now, where it lies in the data folder; says
    /// whether it does.
    ///
    /// # Errors
    /// When the database or the file system fails.
    pub async fn snapshot(&self, into: &mut Snapshot) -> Result<bool, DatabaseError> {
        let here = self.database.copy_to(&into.next_file()).await?;
        if here {
            let name = database::FILE.to_owned();
            into.written(name).map_err(|source| DatabaseError::File {
                file: database::FILE.to_owned(),
                source,
            })?;
        }
        Ok(here)
    }

    /// Note `entry` in the audit, without waiting for it to be written. Past
    /// 8,192 that wait, entries are lost and counted.
    pub fn note(&self, entry: Entry) {
        if self.audit.try_send((entry, self.now_us())).is_err() {
            lost_audit(1);
        }
    }

    /// Rows of the audit, newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn audit(&self, page: &Page) -> Result<Vec<Noted>, DatabaseError> {
        audit::list(self.database.pool(), page).await
    }

    /// Note that a change was refused, if it was.
    fn note_refusal<T>(
        &self,
        actor: &Actor,
        action: &'static str,
        target: &str,
        result: &Result<T, ChangeError>,
    ) {
        if let Err(error @ (ChangeError::NotCovered(_) | ChangeError::OwnAccount)) = result {
            self.note(Entry {
                subject: actor.subject.clone(),
                address: actor.address,
                action,
                target: target.to_owned(),
                outcome: Outcome::Refused,
                detail: serde_json::json!({ "reason": error.to_string() }),
            });
        }
    }

    fn now_us(&self) -> i64 {
        (self.clock)()
    }

    fn now_s(&self) -> i64 {
        self.now_us() / SECOND_US
    }

    fn delays(&self) -> std::sync::MutexGuard<'_, Delays> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_up(&self) {
        if let Err(error) = self.rotate_if_due().await {
            tracing::warn!(%error, "signing keys could not be rotated");
        }
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "keys and revocations could not be read; verification goes on with those at hand");
        }
    }

    /// Read keys and revocations.
    async fn refresh(&self) -> Result<(), IdentityError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let pool = self.database.pool();
        let rows = rows::keys(pool).await?;
        let mut keys = Vec::with_capacity(rows.len());
        let mut signing = None;
        for row in rows {
            if row.key.state == State::Active {
                let since_s = row.key.activated_s.unwrap_or(row.key.created_s);
                #[expect(clippy::cast_precision_loss, reason = "seconds are exact in a double")]
                metrics::gauge!("mscp_log_auth_signing_key_activated_timestamp_seconds")
                    .set(since_s as f64);
            }
            let secret = self.seal.open(&row.key.kid, &row.kept)?;
            let key = Key::new(row.key.kid, &secret)?;
            if row.key.state == State::Active {
                signing = Some(key.clone());
                // Almost every token is signed by it: it is looked at first.
                keys.insert(0, key);
            } else {
                keys.push(key);
            }
        }
        let taken_back = sqlx::query(
            "SELECT kind, id FROM revocations WHERE until_s >= $1 \
             UNION ALL SELECT 'account', id FROM accounts WHERE disabled = 1",
        )
        .bind(self.now_s())
        .fetch_all(pool)
        .await
        .map_err(DatabaseError::from)?;
        let mut tokens = HashSet::new();
        let mut accounts = HashSet::new();
        for row in taken_back {
            let kind: String = row.try_get(0).map_err(DatabaseError::from)?;
            let id: String = row.try_get(1).map_err(DatabaseError::from)?;
            if kind == "jti" {
                tokens.insert(id);
            } else {
                accounts.insert(id);
            }
        }
        let platform = self.platform.clone();
        let leeway_s = self.lifetimes.leeway_s;
        self.trust.store(Arc::new(Trust::new(
            keys, signing, platform, leeway_s, tokens, accounts,
        )));
        Ok(())
    }

    /// Make a change of this replica felt here at once. It is done and will be
    /// known within a refresh, so failing to read it now is no error.
    async fn refresh_soon(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "keys and revocations could not be read after a change");
        }
    }

    async fn sweep(&self) -> Result<(), DatabaseError> {
        let pool = self.database.pool();
        let now_s = self.now_s();
        audit::sweep(pool, self.now_us()).await?;
        for statement in [
            "DELETE FROM revocations WHERE until_s < $1",
            "DELETE FROM service_tokens WHERE exp_s < $1",
        ] {
            sqlx::query(statement)
                .bind(now_s - keys::LINGER_S)
                .execute(pool)
                .await?;
        }
        self.sweep_keys().await
    }

    async fn write_audit(&self, batch: &mut Vec<(Entry, i64)>) {
        if batch.is_empty() {
            return;
        }
        let written = async {
            let mut change = self.database.begin().await?;
            for (entry, at_us) in batch.iter() {
                audit::append(&mut *change, entry, *at_us).await?;
            }
            change.commit().await?;
            Ok::<(), DatabaseError>(())
        };
        if let Err(error) = written.await {
            tracing::error!(%error, entries = batch.len(), "audit entries could not be written");
            lost_audit(batch.len());
        }
        batch.clear();
    }

    /// The first administrator, when there is no account yet.
    async fn first_administrator(
        &self,
        wanted: Administrator,
    ) -> Result<Option<FirstAdministrator>, IdentityError> {
        let sql = |error: sqlx::Error| IdentityError::from(DatabaseError::from(error));
        let any = sqlx::query("SELECT id FROM accounts LIMIT 1")
            .fetch_optional(self.database.pool())
            .await
            .map_err(sql)?;
        if any.is_some() {
            return Ok(None);
        }
        let email = wanted.email.unwrap_or_else(|| "admin@localhost".to_owned());
        let email =
            accounts::email(&email, false).map_err(|reason| IdentityError::Administrator {
                field: "email",
                reason,
            })?;
        let generated = wanted.password.is_none();
        let password = match wanted.password {
            Some(password) => password,
            None => {
                password::generate().map_err(|error| IdentityError::System(error.to_string()))?
            }
        };
        if let Some(reason) = password::fault(&password) {
            return Err(IdentityError::Administrator {
                field: "password",
                reason,
            });
        }
        let kept = self
            .hasher
            .hash(&password)
            .await
            .map_err(|error| IdentityError::System(error.to_string()))?;
        let now_us = self.now_us();
        let mut change = self.database.begin().await?;
        // Another replica may have been first: the e-mail is unique, and so is
        // being the first of the table, inside this transaction.
        let any = sqlx::query("SELECT id FROM accounts LIMIT 1")
            .fetch_optional(&mut *change)
            .await
            .map_err(sql)?;
        if any.is_some() {
            return Ok(None);
        }
        let id = accounts::insert(
            &mut change,
            &accounts::Row {
                email: &email,
                service: false,
                password: Some(&kept),
                grants: &everything(),
                max_ttl_s: accounts::PERSON_MAX_TTL_S,
            },
            now_us,
        )
        .await?;
        let entry = Entry {
            subject: "first start".to_owned(),
            address: None,
            action: "account.add",
            target: id,
            outcome: Outcome::Done,
            detail: serde_json::json!({ "email": email }),
        };
        audit::append(&mut *change, &entry, now_us).await?;
        change.commit().await.map_err(sql)?;
        Ok(Some(FirstAdministrator {
            email,
            password,
            generated,
        }))
    }
}

/// Every method on every path, and to change the store.
pub(crate) fn everything() -> Access {
    r#"[{"method": ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
         "url": ["/**"], "other": {"log": {"write": true}}}]"#
        .parse()
        .expect("the text above is an access list, as a test reads it")
}

/// What is wrong with the files of secrets that `auth` names, without opening
/// the database.
#[must_use]
pub fn check_secrets(auth: &config::Auth) -> Vec<config::ConfigError> {
    let fault = |key: &str, error: &dyn std::fmt::Display| config::ConfigError {
        key: key.to_owned(),
        reason: error.to_string(),
    };
    let master = Seal::from_file(auth.master_key_file.as_deref())
        .err()
        .map(|error| fault("auth.master_key_file", &error));
    let platform = auth.platform_keys.iter().filter_map(|file| {
        let error = platform_key(file).err()?;
        Some(fault("auth.platform_keys", &error))
    });
    master.into_iter().chain(platform).collect()
}

/// What stands in the way of a database that is a server's.
pub async fn reach(auth: &config::Auth) -> Option<config::ConfigError> {
    let error = Database::reach(auth.database.as_ref()?).await.err()?;
    let reason = error.to_string();
    Some(config::ConfigError {
        key: "auth.database".to_owned(),
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    })
}

fn platform_key(file: &Path) -> Result<Key, IdentityError> {
    let secret = seal::platform_secret(file)?;
    let name = file.file_stem().unwrap_or(file.as_os_str());
    Ok(Key::new(name.to_string_lossy(), &secret)?)
}

fn lost_audit(entries: usize) {
    metrics::counter!("mscp_log_audit_lost_entries_total")
        .increment(u64::try_from(entries).unwrap_or(u64::MAX));
}
