//! `base/{region}/system/log/rotate`: old indices go, now.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use utoipa::OpenApi;

use super::App;
use super::access::{Caller, Peer};
use super::body::{method_not_allowed, unstored};
use super::problem::{Kind, Problem};
use crate::rotate::{Asker, Report, RotationError};
use crate::schema::limit;

/// The endpoint, by its path below the base.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/{region}/system/log/rotate", post(rotate))
        .method_not_allowed_fallback(method_not_allowed)
}

#[derive(OpenApi)]
#[openapi(paths(rotate))]
pub(super) struct Document;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RotateQuery {
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
}

/// Delete indices that are too old or too much
///
/// As the daily run does, by the same rule. One that cannot be deleted does
/// not keep the others, and is listed with the reason.
#[utoipa::path(post, path = "/{region}/system/log/rotate", tag = "administration",
    operation_id = "rotate", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region"), RotateQuery), responses(
    (status = 200, description = "What went, or would go", body = Report),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
    (status = 503, response = super::openapi::Problem),
))]
async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(address)): Extension<Peer>,
    Path(region): Path<String>,
    query: Result<Query<RotateQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let rotation = app.rotations.get(&region);
    let rotation = rotation.ok_or_else(|| Problem::not_found("this node serves no such region"))?;
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let report = if asked.dry_run {
        rotation.plan().await?
    } else {
        let rotation = Arc::clone(rotation);
        let asker = Asker {
            subject: caller.subject.as_ref().to_owned(),
            address,
        };
        // It goes on when the caller goes away.
        let run = tokio::spawn(async move { rotation.run(&asker).await });
        let run = run.await;
        run.map_err(|_| Problem::unavailable("the node is stopping"))??
    };
    Ok(unstored(report))
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Clock(_) | RotationError::Busy => {
                Self::new(Kind::Conflict, error.to_string())
            }
            RotationError::Database(error) => error.into(),
            RotationError::Store(_) => Self::unavailable(error.to_string()),
        }
    }
}
