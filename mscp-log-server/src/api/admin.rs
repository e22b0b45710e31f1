//! `base/system` and `base/regions`: accounts, roles, service tokens, keys, the
//! audit, and the regions that the node serves.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, FromRequestParts, Path, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::config::Secret;
use crate::identity::{
    AccountChange, Actor, ChangeError, DatabaseError, Identity, IssueError, IssueServiceError,
    KeyChangeError, NewAccount, Page,
};

use super::access::{Caller, Door, Peer};
use super::body::{access, json, method_not_allowed, unstored};
use super::problem::{Kind, Problem};

#[cfg(test)]
mod tests;

/// The endpoints, by their paths below the base.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/system/users", get(users).post(add_user))
        .route(
            "/system/users/{id}",
            patch(change_user).get(user).delete(remove_user),
        )
        .route(
            "/system/users/{id}/tokens",
            get(service_tokens).post(issue_service_token),
        )
        .route(
            "/system/users/{id}/tokens/{jti}",
            delete(take_back_service_token),
        )
        .route("/system/roles", get(roles))
        .route("/system/roles/{name}", put(put_role).delete(remove_role))
        .route("/system/keys", get(keys))
        .route("/system/keys/rotate", post(rotate_keys))
        .route("/system/keys/{kid}", delete(revoke_key))
        .route("/system/audit", get(audit))
        .route("/regions", get(regions))
        .method_not_allowed_fallback(method_not_allowed)
}

/// One who may do what was asked, as the door has decided.
struct Administrator {
    door: Arc<Door>,
    actor: Actor,
}

impl Administrator {
    fn identity(&self) -> &Identity {
        self.door.identity()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let extensions = &parts.extensions;
        let (Some(door), Some(caller)) = (extensions.get(), extensions.get::<Caller>()) else {
            let detail = "the request did not come through the door";
            return Err(Problem::new(Kind::Internal, detail));
        };
        Ok(Self {
            door: Arc::clone(door),
            actor: Actor {
                subject: caller.subject.to_string(),
                address: extensions.get::<Peer>().and_then(|peer| peer.0),
            },
        })
    }
}

async fn users(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().accounts().await?))
}

async fn user(admin: Administrator, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().account(&id).await?))
}

/// An account to be made, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddUser {
    email: String,
    #[serde(default)]
    service: bool,
    password: Option<Password>,
    #[serde(default)]
    roles: Vec<String>,
    grants: Option<Box<RawValue>>,
    max_ttl: Option<u64>,
}

/// What of an account to change, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeUser {
    email: Option<String>,
    disabled: Option<bool>,
    roles: Option<Vec<String>>,
    grants: Option<Box<RawValue>>,
    password: Option<Password>,
    max_ttl: Option<u64>,
}

#[derive(Deserialize)]
#[serde(from = "String")]
struct Password(Secret);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

async fn add_user(admin: Administrator, body: Body) -> Result<Response, Problem> {
    let sent: AddUser = json(body).await?;
    let grants = sent.grants.map(|written| access("grants", &written));
    let new = NewAccount {
        email: sent.email,
        service: sent.service,
        password: sent.password.map(|Password(secret)| secret),
        roles: sent.roles,
        grants: grants.transpose()?.unwrap_or_default(),
        max_ttl: sent.max_ttl,
    };
    let account = admin.identity().add_account(&admin.actor, new).await?;
    Ok((StatusCode::CREATED, unstored(account)).into_response())
}

async fn change_user(
    admin: Administrator,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let sent: ChangeUser = json(body).await?;
    let grants = sent.grants.map(|written| access("grants", &written));
    let change = AccountChange {
        email: sent.email,
        disabled: sent.disabled,
        roles: sent.roles,
        grants: grants.transpose()?,
        password: sent.password.map(|Password(secret)| secret),
        max_ttl: sent.max_ttl,
    };
    let identity = admin.identity();
    let account = identity.change_account(&admin.actor, &id, change).await?;
    Ok(unstored(account))
}

async fn remove_user(admin: Administrator, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    admin.identity().remove_account(&admin.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A service token to be issued, as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueToken {
    access: Box<RawValue>,
    ttl: Option<u64>,
    /// What it is for, for the list.
    #[serde(default)]
    label: String,
}

async fn service_tokens(admin: Administrator, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().service_tokens(&id).await?))
}

async fn issue_service_token(
    admin: Administrator,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let sent: IssueToken = json(body).await?;
    let wanted = access("access", &sent.access)?;
    let issued = admin
        .identity()
        .issue_service_token(&admin.actor, &id, &sent.label, &wanted, sent.ttl)
        .await?;
    let answer = json!({"token": issued.token, "exp": issued.exp, "jti": issued.jti});
    Ok((StatusCode::CREATED, unstored(answer)).into_response())
}

async fn take_back_service_token(
    admin: Administrator,
    Path((id, jti)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let identity = admin.identity();
    identity
        .take_back_service_token(&admin.actor, &id, &jti)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A role's grants, as they are sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutRole {
    grants: Box<RawValue>,
}

async fn roles(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().roles().await?))
}

async fn put_role(
    admin: Administrator,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let sent: PutRole = json(body).await?;
    let grants = access("grants", &sent.grants)?;
    let answer = json!({"name": name, "grants": grants});
    admin
        .identity()
        .put_role(&admin.actor, &name, grants)
        .await?;
    Ok(unstored(answer))
}

async fn remove_role(
    admin: Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    admin.identity().remove_role(&admin.actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keys(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().keys().await?))
}

async fn rotate_keys(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().rotate_keys(&admin.actor).await?))
}

async fn revoke_key(admin: Administrator, Path(kid): Path<String>) -> Result<Response, Problem> {
    let identity = admin.identity();
    Ok(unstored(identity.revoke_key(&admin.actor, &kid).await?))
}

/// Which rows of the audit, as the query asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    before: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    limit: u32,
}

async fn audit(
    admin: Administrator,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let page = Page {
        before: asked.before,
        subject: asked.subject,
        limit: asked.limit,
    };
    Ok(unstored(admin.identity().audit(&page).await?))
}

async fn regions(Extension(door): Extension<Arc<Door>>) -> Response {
    let regions = door.regions().iter();
    Json(
        regions
            .map(|name| json!({ "name": name }))
            .collect::<Vec<_>>(),
    )
    .into_response()
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::NotFound { .. } => Self::not_found(detail),
            ChangeError::Taken(_) | ChangeError::OwnAccount => Self::new(Kind::Conflict, detail),
            ChangeError::Invalid { field, .. } => Self::bad_request(detail).field(field),
            ChangeError::NotCovered(_) => Self::forbidden(detail),
            ChangeError::Unavailable(_) | ChangeError::Busy(_) => Self::unavailable(detail),
        }
    }
}

impl From<IssueServiceError> for Problem {
    fn from(error: IssueServiceError) -> Self {
        let detail = error.to_string();
        match error {
            IssueServiceError::Change(error) => error.into(),
            // The caller's token is in order, so this is no 401.
            IssueServiceError::Issue(IssueError::NotCovered(_)) => Self::forbidden(detail),
            IssueServiceError::Issue(IssueError::NoAccount) => Self::not_found(detail),
            IssueServiceError::Issue(IssueError::Ttl(_)) => Self::bad_request(detail).field("ttl"),
            IssueServiceError::Issue(IssueError::TooLong(_)) => {
                Self::bad_request(detail).field("access")
            }
            IssueServiceError::Issue(IssueError::Unavailable(_)) => Self::unavailable(detail),
        }
    }
}

impl From<KeyChangeError> for Problem {
    fn from(error: KeyChangeError) -> Self {
        let detail = error.to_string();
        match error {
            KeyChangeError::NotYet(_) => Self::new(Kind::Conflict, detail),
            KeyChangeError::NotFound(_) => Self::not_found(detail),
            KeyChangeError::Unavailable(_) => Self::unavailable(detail),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        Self::unavailable(error.to_string())
    }
}
