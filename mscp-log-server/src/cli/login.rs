//! `login` and `logout`: a root token in the user's configuration folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use mscp_log_client::Credentials;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connection::Connection;
use super::{Failure, input, output};

/// Sign in
#[derive(Args, Debug)]
#[command(after_help = "\
The password is asked for at the terminal, or read from MSCP_LOG_PASSWORD, or from the first line
of the standard input where that is no terminal. The root token lasts as long as the server says
(12 hours unless configured); each command asks with it for an access token that grants just what
the command needs.

  mscp-log login --url http://127.0.0.1:8300 admin@localhost
  pass show logs | mscp-log login --url https://logs.example.org me@example.org")]
pub(super) struct Login {
    /// Your account
    #[arg(value_name = "EMAIL", default_value = "admin@localhost")]
    email: String,
}

/// What `login` keeps.
#[derive(Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) url: String,
    pub(super) base: String,
    pub(super) email: String,
    pub(super) token: String,
}

impl Login {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let file = connection.login_file()?;
        let kept = Kept::read(&file).ok().flatten();
        let (url, base) = connection.place(kept.as_ref());
        let password = input::password(&format!("Password of {} at {url}: ", self.email))?;
        let client =
            connection.client_as(&url, &base, Credentials::password(&self.email, password))?;
        let token = client.root_token().await?;
        Kept {
            url: url.clone(),
            base,
            email: self.email.clone(),
            token,
        }
        .write(&file)?;
        if connection.json {
            output::json(&json!({"url": url, "email": self.email, "file": file}))
        } else {
            output::line(&format!("signed in to {url} as {}", self.email))
        }
    }
}

/// Forgets the login.
pub(super) fn logout(connection: &Connection) -> Result<(), Failure> {
    let file = connection.login_file()?;
    let was_there = match fs::remove_file(&file) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Failure::failed(format!("{}: {error}", file.display()))),
    };
    if connection.json {
        output::json(&json!({"removed": was_there}))
    } else {
        output::line(if was_there {
            "signed out"
        } else {
            "was not signed in"
        })
    }
}

/// `mscp-log/login.json` below the user's configuration folder, as the XDG
/// base directory specification has it.
pub(super) fn default_file() -> Result<PathBuf, Failure> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .ok_or_else(|| {
            Failure::failed("there is no home folder to keep a login in: give --login FILE")
        })?;
    Ok(folder.join("mscp-log").join("login.json"))
}

impl Kept {
    /// `None` where there is no login.
    pub(super) fn read(file: &Path) -> Result<Option<Kept>, Failure> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::failed(format!("{}: {error}", file.display()))),
        };
        let kept = serde_json::from_str(&text).map_err(|error| {
            // The position only: serde's words may quote what is in the file.
            let (line, column) = (error.line(), error.column());
            Failure::failed(format!(
                "{}: no login at line {line}, column {column}: sign in again",
                file.display()
            ))
        })?;
        Ok(Some(kept))
    }

    /// Whole or not at all, and readable by nobody else from the first byte on.
    pub(super) fn write(&self, file: &Path) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
        let folder = file.parent().unwrap_or(Path::new("."));
        if !folder.as_os_str().is_empty() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed(error.to_string()))?;
        let aside = file.with_extension(format!("{}.new", std::process::id()));
        let written = (|| {
            let mut new = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&aside)?;
            new.write_all(text.as_bytes())?;
            new.sync_all()?;
            fs::rename(&aside, file)
        })();
        if written.is_err() {
            let _may_not_be_there = fs::remove_file(&aside);
        }
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn kept(token: &str) -> Kept {
        Kept {
            url: "http://x".into(),
            base: "/api".into(),
            email: "a@b".into(),
            token: token.into(),
        }
    }

    #[test]
    fn a_login_is_read_back_as_written_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join("login.json");
        assert!(Kept::read(&file).unwrap().is_none());
        kept("one").write(&file).unwrap();
        kept("two").write(&file).unwrap();
        assert_eq!(Kept::read(&file).unwrap().unwrap().token, "two");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(file.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_login_is_told_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("login.json");
        fs::write(&file, r#"{"token": "secret", "url": 7}"#).unwrap();
        let words = Kept::read(&file).err().unwrap().to_string();
        assert!(
            words.contains("sign in again") && !words.contains("secret"),
            "{words}"
        );
    }
}
