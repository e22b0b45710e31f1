//! Administration: accounts, roles, service tokens, signing keys, the audit, regions.

use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::connection::request::{Answer, Request};
use crate::error::Error;
use crate::tokens::{Token, access};

/// The calls of an administrator. Answers are the server's JSON.
///
/// ```no_run
/// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
/// use mscp_log_client::{NewAccount, access};
/// let grants = access(&[("POST", "{mscp_api_url}/apps/{appid:uuid}/log")]);
/// let account = NewAccount::service("sender@shop", grants);
/// let added = client.admin().add_user(&account).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) client: Client,
}

/// An account to add.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NewAccount {
    /// The name for signing in.
    pub email: String,
    /// The password; a service account has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether it is a service account: no password, long tokens.
    pub service: bool,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Grants of its own, as the JSON of an `access` claim.
    pub grants: Value,
    /// The longest `ttl` it may ask for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<u64>,
}

/// A password on its way to the server; `Debug` does not show it.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl NewAccount {
    /// A person's account.
    #[must_use]
    pub fn person(
        email: impl Into<String>,
        password: impl Into<String>,
        grants: Value,
    ) -> NewAccount {
        NewAccount {
            email: email.into(),
            password: Some(Password(password.into())),
            service: false,
            roles: Vec::new(),
            grants,
            max_ttl: None,
        }
    }

    /// A service account.
    #[must_use]
    pub fn service(email: impl Into<String>, grants: Value) -> NewAccount {
        NewAccount {
            email: email.into(),
            password: None,
            service: true,
            roles: Vec::new(),
            grants,
            max_ttl: None,
        }
    }
}

impl Admin {
    pub(crate) fn new(client: Client) -> Admin {
        Admin { client }
    }

    /// All accounts.
    ///
    /// # Errors
    ///
    /// As every call here: Forbidden or Unauthorized when the account's grants
    /// do not cover it, Rejected with the reason for what the server refuses.
    pub async fn users(&self) -> Result<Value, Error> {
        self.get(&["system", "users"]).await
    }

    /// Adds an account.
    ///
    /// # Errors
    ///
    /// Conflict when there is one of that name.
    pub async fn add_user(&self, account: &NewAccount) -> Result<Value, Error> {
        let body =
            serde_json::to_value(account).map_err(|error| Error::usage(error.to_string()))?;
        self.send(Method::POST, &["system", "users"], Some(&body))
            .await
    }

    /// Changes the members of an account that `change` names: `password`,
    /// `disabled`, `roles`, `grants`, `max_ttl`.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such account.
    pub async fn set_user(&self, id: &str, change: &Value) -> Result<Value, Error> {
        self.send(Method::PATCH, &["system", "users", id], Some(change))
            .await
    }

    /// Removes an account; its tokens are refused within 30 s.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such account.
    pub async fn remove_user(&self, id: &str) -> Result<(), Error> {
        self.send(Method::DELETE, &["system", "users", id], None)
            .await
            .map(drop)
    }

    /// Issues a token of the service account `id`, for `ttl` seconds. The
    /// `label` says in lists what it is for.
    ///
    /// # Errors
    ///
    /// Rejected when the account is none of a service, or the time is too long.
    pub async fn service_token(
        &self,
        id: &str,
        label: &str,
        wanted: &Value,
        ttl: Option<u64>,
    ) -> Result<Token, Error> {
        let mut body = json!({"access": wanted, "label": label});
        if let Some(ttl) = ttl {
            body["ttl"] = json!(ttl);
        }
        self.call(
            Method::POST,
            &["system", "users", id, "tokens"],
            &[],
            Some(&body),
        )
        .await?
        .json("the service token")
    }

    /// The tokens of a service account that are out: names and times, never the tokens.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such account.
    pub async fn service_tokens(&self, id: &str) -> Result<Value, Error> {
        self.get(&["system", "users", id, "tokens"]).await
    }

    /// Takes one token of a service account back.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such token.
    pub async fn revoke_service_token(&self, id: &str, jti: &str) -> Result<(), Error> {
        self.send(
            Method::DELETE,
            &["system", "users", id, "tokens", jti],
            None,
        )
        .await
        .map(drop)
    }

    /// All roles with their grants.
    ///
    /// # Errors
    ///
    /// As [`Admin::users`].
    pub async fn roles(&self) -> Result<Value, Error> {
        self.get(&["system", "roles"]).await
    }

    /// Makes a role, or replaces its grants.
    ///
    /// # Errors
    ///
    /// Forbidden when the caller's own grants do not cover the new ones.
    pub async fn set_role(&self, name: &str, grants: &Value) -> Result<Value, Error> {
        let body = json!({"grants": grants});
        self.send(Method::PUT, &["system", "roles", name], Some(&body))
            .await
    }

    /// Removes a role from all accounts.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such role.
    pub async fn remove_role(&self, name: &str) -> Result<(), Error> {
        self.send(Method::DELETE, &["system", "roles", name], None)
            .await
            .map(drop)
    }

    /// The signing keys: names, states and times, never the secrets.
    ///
    /// # Errors
    ///
    /// As [`Admin::users`].
    pub async fn keys(&self) -> Result<Value, Error> {
        self.get(&["system", "keys"]).await
    }

    /// Begins a rotation of the signing key.
    ///
    /// # Errors
    ///
    /// As [`Admin::users`].
    pub async fn rotate_keys(&self) -> Result<Value, Error> {
        self.send(Method::POST, &["system", "keys", "rotate"], None)
            .await
    }

    /// Takes a signing key back: every token that it signed is refused within 30 s.
    ///
    /// # Errors
    ///
    /// NotFound when there is no such key.
    pub async fn revoke_key(&self, kid: &str) -> Result<(), Error> {
        self.send(Method::DELETE, &["system", "keys", kid], None)
            .await
            .map(drop)
    }

    /// The newest rows of the audit.
    ///
    /// # Errors
    ///
    /// As [`Admin::users`].
    pub async fn audit(&self) -> Result<Value, Error> {
        self.get(&["system", "audit"]).await
    }

    /// The regions that the node serves.
    ///
    /// # Errors
    ///
    /// As [`Admin::users`].
    pub async fn regions(&self) -> Result<Value, Error> {
        self.get(&["regions"]).await
    }

    /// Records that the region's store refused for faults of their own, the
    /// newest first: at most `limit` (1 to 1,000) with numbers below `before`.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region.
    pub async fn dead_letters(
        &self,
        region: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Value, Error> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(before.map(|before| ("before", before.to_string())));
        let segments = [region, "system", "log", "dead-letters"];
        let answer = self.call(Method::GET, &segments, &query, None).await?;
        answer.json("the dead letters")
    }

    /// Deletes indices of the region that are too old or too much, by the
    /// node's own rule; with `dry_run` only says which.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region, Conflict when rotation
    /// runs already or a clock cannot be believed.
    pub async fn rotate(&self, region: &str, dry_run: bool) -> Result<Value, Error> {
        let query = [("dry_run", dry_run.to_string())];
        let segments = [region, "system", "log", "rotate"];
        let answer = self.call(Method::POST, &segments, &query, None).await?;
        answer.json("what rotation did")
    }

    /// The settings of the region that may be changed while nodes run, with
    /// their `revision`.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region.
    pub async fn settings(&self, region: &str) -> Result<Value, Error> {
        self.get(&[region, "system", "log"]).await
    }

    /// How the region's system does: an array of one status.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region.
    pub async fn status(&self, region: &str) -> Result<Value, Error> {
        self.get(&[region, "system", "log", "status"]).await
    }

    /// Changes settings of the region: `document` is them, or a status, or
    /// what of them is to be changed. Tells what was changed.
    ///
    /// # Errors
    ///
    /// BadRequest naming each member that cannot be, Conflict when another has
    /// changed them since the document's `revision`, or when what would be
    /// scaled or set elsewhere refuses.
    pub async fn change_settings(&self, region: &str, document: &Value) -> Result<Value, Error> {
        let segments = [region, "system", "log"];
        self.send(Method::POST, &segments, Some(document)).await
    }

    /// What the instances of the region last said of themselves.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region.
    pub async fn instances(&self, region: &str) -> Result<Value, Error> {
        self.get(&[region, "system", "log", "instances"]).await
    }

    /// Reports an instance that has no database, and gives the settings that
    /// it has to obey.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region.
    pub async fn report_instance(&self, region: &str, report: &Value) -> Result<Value, Error> {
        let segments = [region, "system", "log", "instances"];
        self.send(Method::POST, &segments, Some(report)).await
    }

    /// Cleans dead letters again and sends them to the store once more: those
    /// of these numbers, or all. What is refused again is a new letter.
    ///
    /// # Errors
    ///
    /// NotFound when the node serves no such region, Conflict when it ships
    /// to another one.
    pub async fn replay_dead_letters(
        &self,
        region: &str,
        numbers: Option<&[u64]>,
    ) -> Result<Value, Error> {
        let body = match numbers {
            Some(numbers) => json!({ "numbers": numbers }),
            None => json!({}),
        };
        let segments = [region, "system", "log", "dead-letters", "replay"];
        self.send(Method::POST, &segments, Some(&body)).await
    }

    /// Takes a dead letter out for good.
    ///
    /// # Errors
    ///
    /// NotFound when there is none of this number.
    pub async fn remove_dead_letter(&self, region: &str, number: u64) -> Result<(), Error> {
        let number = number.to_string();
        let segments = [region, "system", "log", "dead-letters", &number];
        self.send(Method::DELETE, &segments, None).await.map(drop)
    }

    async fn get(&self, segments: &[&str]) -> Result<Value, Error> {
        self.send(Method::GET, segments, None).await
    }

    async fn send(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let answer = self.call(method, segments, &[], body).await?;
        if answer.body.is_empty() {
            Ok(Value::Null)
        } else {
            answer.json("the answer")
        }
    }

    /// Each call has a token for exactly its method and path.
    async fn call(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let pattern = segments
            .iter()
            .map(|segment| pattern_segment(segment))
            .collect::<Vec<_>>()
            .join("/");
        let wanted = access(&[(method.as_str(), &format!("{{mscp_api_url}}/{pattern}"))]);
        let url = query
            .iter()
            .fold(self.client.url(segments)?, |url, (name, value)| {
                url.query(name, value)
            });
        let mut request = Request::new(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.client.call(request, &wanted).await
    }
}

/// A segment as a pattern: itself where it has no character that means more,
/// else any one segment.
fn pattern_segment(segment: &str) -> &str {
    let plain = !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte));
    if plain { segment } else { "*" }
}
