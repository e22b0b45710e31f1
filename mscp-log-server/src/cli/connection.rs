//! To which node a command speaks, and as whom: options, environment, and the kept login.

use std::path::{Path, PathBuf};

use clap::Args;
use mscp_log_client::{Client, Credentials};

use super::Failure;
use super::login::{Kept, default_file};

/// The node of a first start, on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:8300";

/// Options of every command.
#[derive(Args, Clone)]
pub(super) struct Connection {
    /// The node, as http://HOST:PORT; the one of the login when absent
    #[arg(
        long,
        global = true,
        env = "MSCP_LOG_URL",
        value_name = "URL",
        help_heading = "Connection"
    )]
    pub(super) url: Option<String>,

    /// The path prefix of its API [default: /api]
    #[arg(
        long,
        global = true,
        env = "MSCP_LOG_BASE",
        value_name = "PATH",
        help_heading = "Connection"
    )]
    pub(super) base: Option<String>,

    /// A root token or an access token, in place of the login
    #[arg(
        long,
        global = true,
        env = "MSCP_LOG_TOKEN",
        hide_env_values = true,
        value_name = "JWT",
        help_heading = "Connection"
    )]
    pub(super) token: Option<String>,

    /// The file that `login` keeps its root token in
    #[arg(
        long,
        global = true,
        env = "MSCP_LOG_LOGIN",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub(super) login: Option<PathBuf>,

    /// A certificate authority to trust besides the system's (PEM)
    #[arg(
        long,
        global = true,
        env = "MSCP_LOG_CA",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub(super) ca: Option<PathBuf>,

    /// Print JSON for machines
    #[arg(long, global = true, display_order = 1_000)]
    pub(super) json: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A client with the token that was given, or with the kept login.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        if let Some(token) = &self.token {
            let kept = Kept::read(&self.login_file()?).ok().flatten();
            let (url, base) = self.place(kept.as_ref());
            return self.client_as(&url, &base, Credentials::token(token.trim())?);
        }
        let file = self.login_file()?;
        let kept = Kept::read(&file)?.ok_or_else(|| {
            Failure::failed(
                "not signed in: run `mscp-log login`, or give --token or MSCP_LOG_TOKEN",
            )
        })?;
        let (url, base) = self.place(Some(&kept));
        // A token must not go to another place than the one that gave it.
        if url.trim_end_matches('/') != kept.url.trim_end_matches('/') {
            return Err(Failure::failed(format!(
                "the login is for {}: run `mscp-log login --url {url}` first",
                kept.url
            )));
        }
        self.client_as(&url, &base, Credentials::root_token(kept.token))
    }

    /// A client of the same place with other credentials.
    pub(super) fn client_as(
        &self,
        url: &str,
        base: &str,
        credentials: Credentials,
    ) -> Result<Client, Failure> {
        let mut builder = Client::builder(url)
            .base(base)
            .credentials(credentials)
            .user_agent(concat!("mscp-log/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &self.ca {
            let pem = std::fs::read(ca)
                .map_err(|error| Failure::usage(format!("{}: {error}", ca.display())))?;
            builder = builder.root_certificate(pem);
        }
        Ok(builder.build()?)
    }

    /// URL and base: as said, else as kept, else this machine's.
    pub(super) fn place(&self, kept: Option<&Kept>) -> (String, String) {
        let url = self
            .url
            .clone()
            .or_else(|| kept.map(|kept| kept.url.clone()));
        let base = self
            .base
            .clone()
            .or_else(|| kept.map(|kept| kept.base.clone()));
        (
            url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            base.unwrap_or_else(|| "/api".to_owned()),
        )
    }

    pub(super) fn login_file(&self) -> Result<PathBuf, Failure> {
        self.login
            .as_deref()
            .map_or_else(default_file, |file| Ok(Path::to_path_buf(file)))
    }
}
