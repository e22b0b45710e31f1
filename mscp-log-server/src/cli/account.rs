//! Tokens, accounts, roles and signing keys: the administration of who may do what.

use clap::{Args, Subcommand};
use mscp_log_client::{Admin, NewAccount};
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::{Failure, input, output};

/// Which access: JSON, or single calls, or both.
#[derive(Args, Debug)]
pub(super) struct Access {
    /// An access list as JSON, or @FILE: [{"method": ["POST"], "url": ["{mscp_api_url}/.."], "other": {}}]
    #[arg(long, value_name = "JSON|@FILE", value_parser = input::access)]
    access: Option<Value>,

    /// One entry: methods and a URL pattern; may be repeated
    #[arg(long, value_name = "METHODS URL", value_parser = input::allow)]
    allow: Vec<Value>,
}

impl Access {
    /// `None` when nothing was said.
    fn list(self) -> Option<Value> {
        let said = self.access.is_some() || !self.allow.is_empty();
        said.then(|| input::joined(self.access.into_iter().chain(self.allow)))
    }

    fn needed(self) -> Result<Value, Failure> {
        self.list().ok_or_else(|| {
            Failure::usage("say which access: --access JSON, or --allow 'METHODS URL'")
        })
    }
}

/// Print an access token
#[derive(Args, Debug)]
#[command(after_help = "\
  mscp-log token --allow 'POST {mscp_api_url}/apps/caa0c2f0-1116-495f-8f09-3cd023cc14a2/log'
  mscp-log token --allow 'GET,POST {mscp_api_url}/local/log/**' --ttl 10m
  mscp-log token --access '[{\"method\": [\"GET\"], \"url\": [\"{mscp_api_url}/regions\"]}]'

A token is a secret: whoever has it may do what it grants until it expires.")]
pub(super) struct Token {
    #[command(flatten)]
    access: Access,

    /// How long it shall be good, as 15m or 2h [default: as the server says]
    #[arg(long, value_name = "SPAN", value_parser = input::seconds)]
    ttl: Option<u64>,
}

impl Token {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let wanted = self.access.needed()?;
        let token = connection.client()?.issue(&wanted, self.ttl).await?;
        print_token(connection, &token)
    }
}

fn print_token(connection: &Connection, token: &mscp_log_client::Token) -> Result<(), Failure> {
    if connection.json {
        output::json(&json!({"token": token.token, "exp": token.exp, "jti": token.jti}))
    } else {
        output::line(&token.token)
    }
}

/// Commands on accounts. ACCOUNT is an e-mail address, or an id.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// List the accounts.
    List,
    /// Add an account. The password is read as by `login`.
    #[command(after_help = "\
  mscp-log user add reader@example.org --allow 'GET,POST {mscp_api_url}/local/log/**'
  mscp-log user add fluent-bit --service --allow 'POST {mscp_api_url}/apps/{appid:uuid}/**'
  mscp-log user add shop@example.org --access '[{\"method\": [\"GET\", \"POST\"],
      \"url\": [\"{mscp_api_url}/local/log/**\"], \"other\": {\"log\": {\"namespace\": [\"shop\"]}}}]'")]
    Add {
        /// What the account signs in with; of a service, its name
        #[arg(value_name = "EMAIL")]
        email: String,
        /// A service account: it does not sign in, and has tokens of up to 366 days
        #[arg(long)]
        service: bool,
        /// A role; may be repeated
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        #[command(flatten)]
        access: Access,
        /// The longest life of its access tokens, as 12h
        #[arg(long, value_name = "SPAN", value_parser = input::seconds)]
        max_ttl: Option<u64>,
    },
    /// Change an account; what is not said stays.
    Set {
        /// The account
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// Another e-mail address
        #[arg(long, value_name = "EMAIL")]
        email: Option<String>,
        /// Refuse it and its tokens
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Let it in again
        #[arg(long)]
        enable: bool,
        /// Set another password, read as by `login`
        #[arg(long)]
        password: bool,
        /// A role, in place of the present ones; may be repeated
        #[arg(long, value_name = "ROLE", conflicts_with = "no_roles")]
        role: Vec<String>,
        /// No role any more
        #[arg(long)]
        no_roles: bool,
        #[command(flatten)]
        access: Access,
        /// The longest life of its access tokens, as 12h
        #[arg(long, value_name = "SPAN", value_parser = input::seconds)]
        max_ttl: Option<u64>,
    },
    /// Remove an account; its tokens are refused within 30 s.
    Remove {
        /// The account
        #[arg(value_name = "ACCOUNT")]
        account: String,
    },
    /// Print a token of a service account, for what holds static credentials.
    Token {
        /// The service account
        #[arg(value_name = "ACCOUNT")]
        account: String,
        #[command(flatten)]
        access: Access,
        /// What it is for, for the list of tokens
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
        /// How long it shall be good, as 30d; up to 366 days
        #[arg(long, value_name = "SPAN", value_parser = input::seconds)]
        ttl: Option<u64>,
    },
    /// List the tokens of a service account.
    Tokens {
        /// The service account
        #[arg(value_name = "ACCOUNT")]
        account: String,
    },
    /// Take a token of a service account back.
    RevokeToken {
        /// The service account
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// The token's `jti`
        #[arg(value_name = "JTI")]
        jti: String,
    },
}

impl User {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let admin = connection.client()?.admin();
        match self {
            User::List => {
                let users = admin.users().await?;
                let columns = ["email", "id", "service", "disabled", "roles", "grants"];
                print_rows(connection, &users, &columns)
            }
            User::Add {
                email,
                service,
                role,
                access,
                max_ttl,
            } => {
                let grants = access.list().unwrap_or_else(|| json!([]));
                let mut account = if service {
                    NewAccount::service(&email, grants)
                } else {
                    let password = input::password(&format!("Password for {email}: "))?;
                    NewAccount::person(&email, password, grants)
                };
                account.roles = role;
                account.max_ttl = max_ttl;
                let added = admin.add_user(&account).await?;
                done(connection, &added, &format!("added {email}"))
            }
            User::Set {
                account,
                email,
                disable,
                enable,
                password,
                role,
                no_roles,
                access,
                max_ttl,
            } => {
                let mut change = Map::new();
                if disable || enable {
                    change.insert("disabled".into(), json!(disable));
                }
                if password {
                    let password = input::password(&format!("New password for {account}: "))?;
                    change.insert("password".into(), json!(password));
                }
                if no_roles || !role.is_empty() {
                    change.insert("roles".into(), json!(role));
                }
                if let Some(email) = email {
                    change.insert("email".into(), json!(email));
                }
                if let Some(grants) = access.list() {
                    change.insert("grants".into(), grants);
                }
                if let Some(max_ttl) = max_ttl {
                    change.insert("max_ttl".into(), json!(max_ttl));
                }
                if change.is_empty() {
                    return Err(Failure::usage(
                        "say what to change; see `mscp-log user set --help`",
                    ));
                }
                let id = id_of(&admin, &account).await?;
                let changed = admin.set_user(&id, &Value::Object(change)).await?;
                done(connection, &changed, &format!("changed {account}"))
            }
            User::Remove { account } => {
                let id = id_of(&admin, &account).await?;
                admin.remove_user(&id).await?;
                done(
                    connection,
                    &json!({"removed": id}),
                    &format!("removed {account}"),
                )
            }
            User::Token {
                account,
                access,
                label,
                ttl,
            } => {
                let wanted = access.needed()?;
                let id = id_of(&admin, &account).await?;
                let token = admin.service_token(&id, &label, &wanted, ttl).await?;
                print_token(connection, &token)
            }
            User::Tokens { account } => {
                let id = id_of(&admin, &account).await?;
                let tokens = admin.service_tokens(&id).await?;
                print_rows(
                    connection,
                    &tokens,
                    &["jti", "label", "iat", "exp", "access"],
                )
            }
            User::RevokeToken { account, jti } => {
                let id = id_of(&admin, &account).await?;
                admin.revoke_service_token(&id, &jti).await?;
                done(
                    connection,
                    &json!({"removed": jti}),
                    &format!("took {jti} back"),
                )
            }
        }
    }
}

/// Commands on roles.
#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// List the roles.
    List,
    /// Make a role, or replace the grants of one.
    #[command(after_help = "\
  mscp-log role set sender --allow 'POST {mscp_api_url}/apps/{appid:uuid}/log'")]
    Set {
        /// The role
        #[arg(value_name = "ROLE")]
        name: String,
        #[command(flatten)]
        access: Access,
    },
    /// Remove a role from every account.
    Remove {
        /// The role
        #[arg(value_name = "ROLE")]
        name: String,
    },
}

impl Role {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let admin = connection.client()?.admin();
        match self {
            Role::List => print_rows(connection, &admin.roles().await?, &["name", "grants"]),
            Role::Set { name, access } => {
                let set = admin.set_role(&name, &access.needed()?).await?;
                done(connection, &set, &format!("set {name}"))
            }
            Role::Remove { name } => {
                admin.remove_role(&name).await?;
                done(
                    connection,
                    &json!({"removed": name}),
                    &format!("removed {name}"),
                )
            }
        }
    }
}

/// Commands on signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the keys and their states.
    List,
    /// Begin to sign with the next key now. Tokens that are out stay good.
    Rotate,
    /// Take a key back: every token that it signed is refused within 30 s.
    Revoke {
        /// The key
        #[arg(value_name = "KID")]
        kid: String,
    },
}

impl Keys {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let admin = connection.client()?.admin();
        let columns = [
            "kid",
            "state",
            "created_s",
            "activated_s",
            "retired_s",
            "last_exp_s",
        ];
        match self {
            Keys::List => print_rows(connection, &admin.keys().await?, &columns),
            Keys::Rotate => print_rows(connection, &admin.rotate_keys().await?, &columns),
            Keys::Revoke { kid } => {
                admin.revoke_key(&kid).await?;
                done(
                    connection,
                    &json!({"revoked": kid}),
                    &format!("revoked {kid}"),
                )
            }
        }
    }
}

/// An e-mail address is looked up; anything else is an id already, unless an
/// account is called so.
async fn id_of(admin: &Admin, account: &str) -> Result<String, Failure> {
    let users = admin.users().await?;
    let found = rows(&users).iter().find(|user| {
        let is = |name: &str| user.get(name).and_then(Value::as_str);
        is("id") == Some(account)
            || is("email").is_some_and(|email| email.eq_ignore_ascii_case(account))
    });
    found
        .and_then(|user| user.get("id"))
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Failure::failed(format!("there is no account {account}")))
}

/// The rows of a list, which may be the only array in an object.
fn rows(list: &Value) -> &[Value] {
    let array = match list {
        Value::Object(members) => members.values().find_map(Value::as_array),
        other => other.as_array(),
    };
    array.map(Vec::as_slice).unwrap_or_default()
}

fn print_rows(connection: &Connection, list: &Value, columns: &[&str]) -> Result<(), Failure> {
    if connection.json {
        return output::json(list);
    }
    let rows: Vec<Vec<String>> = rows(list)
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|name| column(name, row.get(*name)))
                .collect()
        })
        .collect();
    let headings: Vec<String> = columns
        .iter()
        .map(|name| name.trim_end_matches("_s").to_uppercase())
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    output::table(&headings, &rows)
}

/// Seconds since the epoch are shown as a time.
fn column(name: &str, value: Option<&Value>) -> String {
    let is_time = name.ends_with("_s") || matches!(name, "iat" | "exp");
    let seconds = value
        .and_then(Value::as_i64)
        .filter(|seconds| is_time && *seconds > 0);
    match seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0)) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None if is_time => "-".to_owned(),
        None => cell(value),
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => (if *yes { "yes" } else { "no" }).to_owned(),
        Some(Value::Array(values)) if values.is_empty() => "-".to_owned(),
        Some(Value::Array(values)) if values.iter().all(Value::is_string) => values
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(","),
        // Access lists: each entry as one can write it behind --allow.
        Some(Value::Array(values)) if values.iter().all(|value| value.get("url").is_some()) => {
            values.iter().map(entry).collect::<Vec<_>>().join("; ")
        }
        Some(other) => other.to_string(),
    }
}

fn entry(value: &Value) -> String {
    let list = |name: &str| {
        let words = value
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        words
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = format!("{} {}", list("method"), list("url"));
    if let Some(other) = value
        .get("other")
        .filter(|other| other.as_object().is_some_and(|other| !other.is_empty()))
    {
        text.push_str(&format!(" {other}"));
    }
    text
}

fn done(connection: &Connection, answer: &Value, words: &str) -> Result<(), Failure> {
    if connection.json {
        output::json(answer)
    } else {
        output::line(words)
    }
}
