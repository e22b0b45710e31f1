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
use mscp_log_core::access::Access;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{OpenApi, ToSchema};

use crate::config::Secret;
use crate::database::DatabaseError;
use crate::identity::{
    Account, AccountChange, Actor, ChangeError, Identity, IssueError, IssueServiceError,
    KeyChangeError, KeyState, NewAccount, Noted, Page, Role, ServiceToken,
};
use crate::schema::{self, limit};

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

#[derive(OpenApi)]
#[openapi(paths(
    users,
    add_user,
    user,
    change_user,
    remove_user,
    service_tokens,
    issue_service_token,
    take_back_service_token,
    roles,
    put_role,
    remove_role,
    keys,
    rotate_keys,
    revoke_key,
    audit,
    regions,
))]
pub(super) struct Document;

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

/// All accounts, by e-mail
#[utoipa::path(get, path = "/system/users", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "The accounts, without passwords", body = Vec<Account>),
))]
async fn users(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().accounts().await?))
}

/// One account
#[utoipa::path(get, path = "/system/users/{id}", tag = "administration", security(("access_token" = [])),
    params(("id" = Uuid, Path, description = "The account's id")), responses(
    (status = 200, description = "The account", body = Account),
    (status = 404, response = super::openapi::Problem),
))]
async fn user(admin: Administrator, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().account(&id).await?))
}

/// An account to be made, as [`schema::NewAccount`] shows it.
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

/// What of an account to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeUser {
    /// Another e-mail or name; of a person an address.
    #[schema(value_type = Option<limit::AccountName>)]
    email: Option<String>,
    /// Disable or enable.
    disabled: Option<bool>,
    /// These roles in place of the present ones.
    #[schema(value_type = Option<limit::Roles>)]
    roles: Option<Vec<String>>,
    /// These grants in place of the present ones.
    #[schema(value_type = Option<limit::Grants>)]
    grants: Option<Box<RawValue>>,
    /// Another password, of a person.
    #[schema(value_type = Option<limit::Password>)]
    password: Option<Password>,
    /// Another longest lifetime of access tokens, in seconds.
    #[schema(value_type = Option<limit::Ttl>)]
    max_ttl: Option<u64>,
}

struct Password(Secret);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error would say what was found in its place: the password.
        let text = String::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("password: expected a string"))?;
        Ok(Self(Secret::new(text)))
    }
}

/// Make an account
#[utoipa::path(post, path = "/system/users", tag = "administration", security(("access_token" = [])),
    request_body = schema::NewAccount, responses(
    (status = 201, description = "The account", body = Account),
    (status = 409, response = super::openapi::Problem),
))]
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

/// Change an account
#[utoipa::path(patch, path = "/system/users/{id}", tag = "administration", security(("access_token" = [])),
    params(("id" = Uuid, Path, description = "The account's id")),
    request_body = ChangeUser, responses(
    (status = 200, description = "The account as it is now", body = Account),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
))]
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

/// Remove an account; its tokens end with it
#[utoipa::path(delete, path = "/system/users/{id}", tag = "administration", security(("access_token" = [])),
    params(("id" = Uuid, Path, description = "The account's id")), responses(
    (status = 204, description = "It is removed"),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
))]
async fn remove_user(admin: Administrator, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    admin.identity().remove_account(&admin.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A service token to be issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IssueToken {
    /// What the token shall grant.
    #[schema(value_type = Vec<schema::Rule>)]
    access: Box<RawValue>,
    /// How long it shall last, in seconds.
    #[schema(value_type = Option<limit::Ttl>)]
    ttl: Option<u64>,
    /// What it is for, for the list.
    #[serde(default)]
    #[schema(value_type = limit::Label)]
    label: String,
}

/// A service token as it is handed out, once.
#[derive(Serialize, ToSchema)]
struct IssuedToken {
    /// The JWT.
    token: String,
    /// When it ends, in seconds since the epoch.
    exp: i64,
    /// Its id, by which it is taken back.
    jti: String,
}

/// A service account's tokens
#[utoipa::path(get, path = "/system/users/{id}/tokens", tag = "administration", security(("access_token" = [])),
    params(("id" = Uuid, Path, description = "The account's id")), responses(
    (status = 200, description = "What is known of each; not the tokens", body = Vec<ServiceToken>),
    (status = 404, response = super::openapi::Problem),
))]
async fn service_tokens(admin: Administrator, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().service_tokens(&id).await?))
}

/// Issue a token to a service account
#[utoipa::path(post, path = "/system/users/{id}/tokens", tag = "administration", security(("access_token" = [])),
    params(("id" = Uuid, Path, description = "The account's id")),
    request_body = IssueToken, responses(
    (status = 201, description = "The token, which is shown this once", body = IssuedToken),
    (status = 404, response = super::openapi::Problem),
))]
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
    let answer = IssuedToken {
        token: issued.token,
        exp: issued.exp,
        jti: issued.jti,
    };
    Ok((StatusCode::CREATED, unstored(answer)).into_response())
}

/// Take a service token back
#[utoipa::path(delete, path = "/system/users/{id}/tokens/{jti}", tag = "administration", security(("access_token" = [])),
    params(
        ("id" = Uuid, Path, description = "The account's id"),
        ("jti" = Uuid, Path, description = "The token's id"),
    ), responses(
    (status = 204, description = "It ends now"),
    (status = 404, response = super::openapi::Problem),
))]
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

/// A role's grants.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutRole {
    /// What those who have it may ask for.
    #[schema(value_type = limit::Grants)]
    grants: Box<RawValue>,
}

/// A role as it was written.
#[derive(Serialize, ToSchema)]
struct WrittenRole {
    /// Its name.
    name: String,
    /// What those who have it may ask for.
    #[schema(value_type = Vec<schema::Rule>)]
    grants: Access,
}

/// All roles, by name
#[utoipa::path(get, path = "/system/roles", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "The roles", body = Vec<Role>),
))]
async fn roles(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().roles().await?))
}

/// Make a role, or change its grants
#[utoipa::path(put, path = "/system/roles/{name}", tag = "administration", security(("access_token" = [])),
    params(("name" = inline(limit::RoleName), Path, description = "The role's name")),
    request_body = PutRole, responses(
    (status = 200, description = "The role", body = WrittenRole),
))]
async fn put_role(
    admin: Administrator,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let sent: PutRole = json(body).await?;
    let grants = access("grants", &sent.grants)?;
    admin
        .identity()
        .put_role(&admin.actor, &name, grants.clone())
        .await?;
    Ok(unstored(WrittenRole { name, grants }))
}

/// Remove a role
#[utoipa::path(delete, path = "/system/roles/{name}", tag = "administration", security(("access_token" = [])),
    params(("name" = inline(limit::RoleName), Path, description = "The role's name")), responses(
    (status = 204, description = "It is removed, from its accounts too"),
    (status = 404, response = super::openapi::Problem),
))]
async fn remove_role(
    admin: Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    admin.identity().remove_role(&admin.actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The keys that sign and verify
#[utoipa::path(get, path = "/system/keys", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "Where in its life each is; not the keys", body = Vec<KeyState>),
))]
async fn keys(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().keys().await?))
}

/// Let the next key sign
#[utoipa::path(post, path = "/system/keys/rotate", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "The keys as they are now", body = Vec<KeyState>),
    (status = 409, response = super::openapi::Problem),
))]
async fn rotate_keys(admin: Administrator) -> Result<Response, Problem> {
    Ok(unstored(admin.identity().rotate_keys(&admin.actor).await?))
}

/// Revoke a key; what it signed ends
#[utoipa::path(delete, path = "/system/keys/{kid}", tag = "administration", security(("access_token" = [])),
    params(("kid" = inline(limit::Segment), Path, description = "The key's id")), responses(
    (status = 200, description = "The keys as they are now", body = Vec<KeyState>),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
))]
async fn revoke_key(admin: Administrator, Path(kid): Path<String>) -> Result<Response, Problem> {
    let identity = admin.identity();
    Ok(unstored(identity.revoke_key(&admin.actor, &kid).await?))
}

/// Which rows of the audit, as the query asks.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only rows before the one with this id: the next page.
    before: Option<String>,
    /// Only rows of this subject.
    subject: Option<String>,
    /// At most so many; as many as a page has when absent or 0.
    #[serde(default)]
    limit: u32,
}

/// Who did what, the latest first
#[utoipa::path(get, path = "/system/audit", tag = "administration", security(("access_token" = [])),
    params(AuditQuery), responses(
    (status = 200, description = "One page", body = Vec<Noted>),
))]
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

/// A region that the node serves.
#[derive(Serialize, ToSchema)]
struct ServedRegion {
    /// The segment of its paths.
    name: String,
}

/// The regions that the node serves
#[utoipa::path(get, path = "/regions", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "The regions", body = Vec<ServedRegion>),
))]
async fn regions(Extension(door): Extension<Arc<Door>>) -> Response {
    let regions = door.regions().iter();
    Json(
        regions
            .map(|name| ServedRegion { name: name.clone() })
            .collect::<Vec<_>>(),
    )
    .into_response()
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::NotFound { .. } => Self::not_found(detail),
            ChangeError::NoRole(_) => Self::new(Kind::Conflict, detail).field("roles"),
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
