//! The database: where it is and how it is opened. Accounts, keys and the audit
//! are in it, settings, and what instances say of themselves. SQL that SQLite and
//! PostgreSQL take; what differs between the two is here alone.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{
    Any, AnyPool, ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _, Transaction,
};

use crate::clock;
use crate::config::Secret;

/// The steps from nothing to the present tables. A step that was released is
/// never edited: its checksum is in every database that took it.
fn migrations() -> Migrator {
    let identity = include_str!("../migrations/0001_identity.sql").into_sql_str();
    let secrets = include_str!("../migrations/0002_secrets.sql").into_sql_str();
    let rotations = include_str!("../migrations/0003_rotations.sql").into_sql_str();
    let settings = include_str!("../migrations/0004_settings.sql").into_sql_str();
    let step = |version, name: &'static str, sql| {
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        step(1, "identity", identity),
        step(2, "secrets", secrets),
        step(3, "rotations", rotations),
        step(4, "settings", settings),
    ])
}

/// Connections of one node.
const CONNECTIONS: u32 = 4;
/// How long a request waits for a connection before it is answered 503.
const WAIT: Duration = Duration::from_secs(5);

/// A token handed out must be on disk with its key's `last_exp_s`.
const OF_SQLITE: &[&str] = &[
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = ON",
];

/// PostgreSQL syncs each commit unless it is told otherwise; a replica that
/// holds the lock and is gone holds up the others no longer than this.
const OF_POSTGRES: &[&str] = &[
    "SET lock_timeout = '5s'",
    "SET idle_in_transaction_session_timeout = '10s'",
];

/// The database does not answer, or answers nonsense.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// What the driver says.
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The file could not be made.
    #[error("the database {file}: {source}")]
    File {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row that this version did not write.
    #[error("the database: table {table}, row {row}: {reason}")]
    Row {
        /// Which table.
        table: &'static str,
        /// Which row.
        row: String,
        /// What is wrong.
        reason: String,
    },
}

impl DatabaseError {
    /// Whether it is a server that does not answer, or not yet (`SQLSTATE`
    /// 57P03, cannot connect now, and 53300, too many connections).
    pub fn is_away(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => true,
            Self::Sql(sqlx::Error::Database(told)) => {
                matches!(told.code().as_deref(), Some("57P03" | "53300"))
            }
            _ => false,
        }
    }
}

/// A change in the making: all of it or nothing.
pub type Change = Transaction<'static, Any>;

/// The open database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    /// Whether it is the file in the data folder.
    in_data: bool,
    /// Whether it is a file; else it is PostgreSQL.
    sqlite: bool,
    /// Whose turn it is, in this process.
    turns: Arc<Mutex<HashSet<String>>>,
}

/// The right to do something that only one instance may do at a time. It ends
/// when it is dropped, and with the process.
#[derive(Debug)]
pub struct Turn {
    /// Of a server: the transaction that holds the lock.
    lock: Option<Change>,
    here: Here,
}

impl Turn {
    /// End it, and be sure that the next one can have it.
    ///
    /// # Errors
    /// When the database is away; then it has ended, too.
    pub async fn end(self) -> Result<(), DatabaseError> {
        if let Some(lock) = self.lock {
            lock.commit().await?;
        }
        drop(self.here);
        Ok(())
    }
}

/// A name among those of this process, while it is held.
#[derive(Debug)]
struct Here {
    turns: Arc<Mutex<HashSet<String>>>,
    what: String,
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.remove(&self.what);
    }
}

/// The database's file in the data folder.
pub const FILE: &str = "identity.sqlite";

impl Database {
    /// Open the database of `url`, or `identity.sqlite` in the folder `data`,
    /// and bring its tables up to date.
    pub async fn open(url: Option<&Secret>, data: &Path) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let in_data = url.is_none();
        let url = match url {
            Some(url) => url.expose().to_owned(),
            None => sqlite_url(&data.join(FILE))?,
        };
        let options = AnyConnectOptions::from_str(&url)?.disable_statement_logging();
        let sqlite = url.starts_with("sqlite:");
        if sqlite {
            let file = sqlx::sqlite::SqliteConnectOptions::from_str(&url)?;
            create_private(file.get_filename())?;
        }
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(WAIT)
            .before_acquire(|connection, _| {
                // After a full disk SQLite has rolled back by itself, and the
                // driver still counts the transaction: such a connection would
                // refuse to begin another for ever.
                let usable = !connection.is_in_transaction();
                Box::pin(std::future::ready(Ok(usable)))
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let settings = if sqlite { OF_SQLITE } else { OF_POSTGRES };
                    for setting in settings {
                        sqlx::query(*setting).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await?;
        migrations().run(&pool).await?;
        Ok(Self {
            pool,
            in_data,
            sqlite,
            turns: Arc::default(),
        })
    }

    /// Take the turn of `what` (`rotation north`); `None` while another
    /// instance has it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn turn(&self, what: &str) -> Result<Option<Turn>, DatabaseError> {
        let taken = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.insert(what.to_owned())
        };
        if !taken {
            return Ok(None);
        }
        let here = Here {
            turns: Arc::clone(&self.turns),
            what: what.to_owned(),
        };
        let mut lock = None;
        if self.is_server() {
            let mut change = self.pool.begin().await?;
            // What is done in a turn may take longer than a change may be idle.
            sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0")
                .execute(&mut *change)
                .await?;
            let taken = sqlx::query("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(format!("mscp-log {what}"))
                .fetch_one(&mut *change)
                .await?;
            if !taken.try_get::<bool, _>(0)? {
                return Ok(None);
            }
            lock = Some(change);
        }
        Ok(Some(Turn { lock, here }))
    }

    /// The time by the clock that all instances share: a server's; in a file,
    /// which is one machine's, that of this machine. Microseconds since the epoch.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn now_us(&self) -> Result<i64, DatabaseError> {
        if self.sqlite {
            return Ok(clock::now_us());
        }
        let now =
            sqlx::query("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)");
        Ok(now.fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// For reading.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// A view in which what is read belongs together.
    pub async fn read(&self) -> Result<Change, DatabaseError> {
        let begin = if self.sqlite {
            "BEGIN"
        } else {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// Begin a change that sees what no other change has in the making.
    pub async fn begin(&self) -> Result<Change, DatabaseError> {
        if self.sqlite {
            // Take the write lock at once; a transaction that began by reading
            // cannot get it when another has written meanwhile.
            return Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?);
        }
        // One change after the other, whichever replica makes it: what comes
        // behind the lock sees what was committed before it. Reading goes on.
        let mut change = self.pool.begin().await?;
        sqlx::query("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
            .execute(&mut *change)
            .await?;
        Ok(change)
    }

    /// Whether it is a server of its own, on whatever machine.
    pub fn is_server(&self) -> bool {
        !self.sqlite
    }

    /// Reach the database of `url`, where it is another process's, and change
    /// nothing.
    pub async fn reach(url: &Secret) -> Result<(), DatabaseError> {
        if url.expose().starts_with("sqlite:") {
            return Ok(());
        }
        sqlx::any::install_default_drivers();
        let options = AnyConnectOptions::from_str(url.expose())?;
        let connecting = tokio::time::timeout(WAIT, sqlx::AnyConnection::connect_with(&options));
        let connection = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        connection.close().await?;
        Ok(())
    }

    /// Write the database as it is now into a new file, where it is a file in
    /// the data folder; says whether it is.
    pub async fn copy_to(&self, file: &Path) -> Result<bool, DatabaseError> {
        if self.in_data {
            let file = file.to_string_lossy().into_owned();
            sqlx::query("VACUUM INTO ?")
                .bind(file)
                .execute(&self.pool)
                .await?;
        }
        Ok(self.in_data)
    }

    /// Close all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The URL of a file: absolute, since an URL cannot begin with a relative
/// path, and with what would mean something in an URL escaped.
fn sqlite_url(file: &Path) -> Result<String, DatabaseError> {
    use std::fmt::Write as _;

    let absolute = std::path::absolute(file).map_err(|source| DatabaseError::File {
        file: file.display().to_string(),
        source,
    })?;
    let mut url = "sqlite://".to_owned();
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => url.push(char::from(*byte)),
            plain if plain.is_ascii_alphanumeric() => url.push(char::from(*plain)),
            other => {
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
    Ok(url)
}

/// Make an empty file that only its owner can read, before anything is in it;
/// SQLite gives the files beside it (`-wal`, `-shm`) the same mode.
fn create_private(file: &Path) -> Result<(), DatabaseError> {
    let fault = |source| DatabaseError::File {
        file: file.display().to_string(),
        source,
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        options.mode(0o600);
        let opened = options.open(file).map_err(fault)?;
        opened
            .set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(fault)
    }
    #[cfg(not(unix))]
    options.open(file).map(drop).map_err(fault)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_data_folder_may_have_any_name() {
        for name in [
            "plain",
            "with space",
            "100%25",
            "what?",
            "a#b",
            "日志",
            "a&b=c",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join(name);
            std::fs::create_dir(&data).unwrap();
            let database = Database::open(None, &data).await.unwrap();
            database.close().await;
            assert!(
                std::fs::metadata(data.join("identity.sqlite"))
                    .unwrap()
                    .len()
                    > 0,
                "{name}"
            );
        }
        assert!(
            sqlite_url(Path::new("relative/x"))
                .unwrap()
                .starts_with("sqlite:///")
        );
    }

    #[tokio::test]
    async fn a_full_disk_is_over_when_there_is_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(None, folder.path()).await.unwrap();
        let insert = "INSERT INTO roles (name, grants, changed_us) VALUES ($1, $2, 0)";
        // As many failures as there are connections, each on one of its own.
        for _ in 0..=CONNECTIONS {
            let mut change = database.begin().await.unwrap();
            // The connection may not take one page more: SQLITE_FULL.
            sqlx::query("PRAGMA max_page_count = 1")
                .execute(&mut *change)
                .await
                .unwrap();
            let full = sqlx::query(insert)
                .bind("large")
                .bind("x".repeat(1 << 20))
                .execute(&mut *change)
                .await;
            assert!(full.is_err());
            drop(change);
        }
        let mut change = database.begin().await.unwrap();
        sqlx::query(insert)
            .bind("small")
            .bind("[]")
            .execute(&mut *change)
            .await
            .unwrap();
        change.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(None, folder.path()).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', 1, X'00', 0)",
        )
        .execute(database.pool())
        .await
        .unwrap();
        database.close().await;
        let refused = Database::open(None, folder.path()).await;
        assert!(
            matches!(refused, Err(DatabaseError::Migrate(_))),
            "{refused:?}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_named_by_url_is_private_too() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.sqlite");
        let url = Secret::new(format!("sqlite:{}", file.display()));
        let database = Database::open(Some(&url), folder.path()).await.unwrap();
        database.close().await;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
