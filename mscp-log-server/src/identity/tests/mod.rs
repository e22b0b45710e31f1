//! What the tests of identity share: a database, a clock, accounts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod administration;
mod keys;
mod replicas;
mod tokens;
mod turns;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::config::{Config, Secret};

const START_US: i64 = 1_700_000_000_000_000;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const PASSWORD: &str = "a long password";

/// One database and a clock, which any number of replicas share.
struct World {
    folder: tempfile::TempDir,
    auth: config::Auth,
    now_us: Arc<AtomicI64>,
}

impl World {
    /// With a database of its own: in a file, or on the PostgreSQL server that
    /// `MSCP_LOG_TEST_POSTGRES` names (`with-postgres` of the tests).
    fn new() -> Self {
        let mut auth = Config::default().auth;
        #[cfg(feature = "postgres")]
        if let Ok(server) = std::env::var("MSCP_LOG_TEST_POSTGRES") {
            let name = format!("t{:032x}", rand::random::<u128>());
            let made = std::process::Command::new("psql")
                .args([
                    "-q",
                    "-d",
                    &server,
                    "-c",
                    &format!("CREATE DATABASE {name}"),
                ])
                .status();
            assert!(made.unwrap().success(), "a database can be made");
            auth.database = Some(Secret::new(format!("{server}/{name}")));
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            auth,
            now_us: Arc::new(AtomicI64::new(START_US)),
        }
    }

    /// Whether the database is a file in the folder.
    fn in_folder(&self) -> bool {
        self.auth.database.is_none()
    }

    async fn open(&self) -> Result<Opened, IdentityError> {
        self.open_as(Administrator {
            email: Some("Root@Example.org".to_owned()),
            password: Some(Secret::new(PASSWORD)),
        })
        .await
    }

    async fn open_as(&self, administrator: Administrator) -> Result<Opened, IdentityError> {
        let now_us = Arc::clone(&self.now_us);
        let setup = Setup {
            auth: &self.auth,
            data: self.folder.path(),
            base: Base::new("/api", None).unwrap(),
            administrator,
        };
        Identity::open_with(setup, Box::new(move || now_us.load(Ordering::SeqCst))).await
    }

    async fn replica(&self) -> Identity {
        self.open().await.unwrap().identity
    }

    fn wait(&self, seconds: i64) {
        self.now_us.fetch_add(seconds * SECOND_US, Ordering::SeqCst);
    }

    fn now_s(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst) / SECOND_US
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn access(json: &str) -> Access {
    json.parse().unwrap()
}

fn push_to(app: &str) -> Access {
    access(&format!(
        r#"[{{"method": ["POST"], "url": ["{{mscp_api_url}}/apps/{app}/log"]}}]"#
    ))
}

async fn root_of(identity: &Identity) -> String {
    let issued = identity
        .login("root@example.org", &Secret::new(PASSWORD), PEER)
        .await
        .unwrap();
    let now_s = identity.now_s();
    identity
        .verify(&issued.token, now_s)
        .unwrap()
        .claims
        .user_id
}

async fn administrator(identity: &Identity) -> Actor {
    Actor {
        subject: root_of(identity).await,
        address: Some(PEER),
    }
}

fn actor(account: &Account) -> Actor {
    Actor {
        subject: account.id.clone(),
        address: None,
    }
}

fn person(email: &str, grants: Access) -> NewAccount {
    NewAccount {
        email: email.to_owned(),
        password: Some(Secret::new(PASSWORD)),
        grants,
        ..NewAccount::default()
    }
}

fn service(name: &str, grants: Access) -> NewAccount {
    NewAccount {
        email: name.to_owned(),
        service: true,
        grants,
        ..NewAccount::default()
    }
}

/// The actions of the audit, newest first, with their outcomes.
async fn actions(identity: &Identity) -> Vec<(String, String)> {
    let mut waiting = Vec::new();
    {
        let mut noted = identity.noted.lock().await;
        while let Ok(entry) = noted.try_recv() {
            waiting.push(entry);
        }
    }
    identity.write_audit(&mut waiting).await;
    let rows = identity.audit(&Page::default()).await.unwrap();
    rows.into_iter()
        .map(|row| (row.action, row.outcome))
        .collect()
}
