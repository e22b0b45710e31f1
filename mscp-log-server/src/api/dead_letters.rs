//! `base/{region}/system/log/dead-letters`: records that the store refused,
//! listed, replayed and taken out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{OpenApi, ToSchema};

use super::App;
use super::access::{Caller, Door, Peer};
use super::body::{bytes, method_not_allowed, parse, unstored};
use super::problem::{Kind, Problem};
use crate::buffer::dead_letters::{DeadLetters, Letter, LettersError};
use crate::identity::{Entry, Outcome};
use crate::ingest::replay::{ReplayError, Replayed};
use crate::schema::limit;

/// Letters of one page, at most and unless the request says another number.
const MOST: usize = 1_000;
const USUAL: usize = 100;

/// The endpoints, by their paths below the base.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/{region}/system/log/dead-letters", get(list))
        .route("/{region}/system/log/dead-letters/replay", post(replay))
        .route("/{region}/system/log/dead-letters/{number}", delete(remove))
        .method_not_allowed_fallback(method_not_allowed)
}

#[derive(OpenApi)]
#[openapi(paths(list, replay, remove))]
pub(super) struct Document;

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
struct DeadLetterPage {
    /// How many there are in all.
    total: u64,
    /// Bytes of them on disk.
    bytes: u64,
    /// Some of them, the newest first.
    dead_letters: Vec<Letter>,
}

/// How many letters a page may have.
struct PageLimit;

impl utoipa::PartialSchema for PageLimit {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer));
        Schema::from(number.minimum(Some(1_u64)).maximum(Some(MOST))).into()
    }
}

impl ToSchema for PageLimit {}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Only letters with numbers below this one.
    before: Option<u64>,
    /// At most so many; 100 when absent.
    #[param(value_type = Option<PageLimit>, inline)]
    limit: Option<usize>,
}

/// Records that the store refused for faults of their own, the newest first
#[utoipa::path(get, path = "/{region}/system/log/dead-letters", tag = "administration",
    operation_id = "dead_letters", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region"), PageQuery), responses(
    (status = 200, description = "One page", body = DeadLetterPage),
    (status = 404, response = super::openapi::Problem),
))]
async fn list(
    State(app): State<Arc<App>>,
    Path(region): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let letters = of(&app, &region)?;
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = asked.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        let detail = format!("limit: expected 1 to {MOST}, found {limit}");
        return Err(Problem::bad_request(detail).field("limit"));
    }
    let page = blocking(move || {
        let kept = letters.kept();
        let dead_letters = letters.page(asked.before, limit)?;
        Ok(DeadLetterPage {
            total: kept.letters,
            bytes: kept.bytes,
            dead_letters,
        })
    })
    .await?;
    Ok(unstored(page))
}

/// Which letters to replay.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    /// Their numbers; all when absent.
    numbers: Option<Vec<u64>>,
}

/// Clean dead letters again and send them to the store once more
///
/// A letter is taken out when its document is durably on its way. If the store
/// refuses it again, it comes back as a new letter.
#[utoipa::path(post, path = "/{region}/system/log/dead-letters/replay", tag = "administration",
    operation_id = "replay_dead_letters", security(("access_token" = [])),
    params(("region" = inline(limit::RegionName), Path, description = "The region")),
    request_body = Option<ReplayRequest>, responses(
    (status = 200, description = "How many", body = Replayed),
    (status = 404, response = super::openapi::Problem),
    (status = 409, response = super::openapi::Problem),
))]
async fn replay(
    State(app): State<Arc<App>>,
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(address)): Extension<Peer>,
    Path(region): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let letters = of(&app, &region)?;
    let sent = bytes(body).await?;
    let wanted = if sent.trim_ascii().is_empty() {
        ReplayRequest::default()
    } else {
        parse(&sent)?
    };
    let all = wanted.numbers.is_none();
    let replayed = app
        .ways
        .push
        .replay(&region, &letters, wanted.numbers)
        .await;
    let outcome = match &replayed {
        Ok(_) => Outcome::Done,
        Err(_) => Outcome::Refused,
    };
    door.identity().note(Entry {
        subject: caller.subject.as_ref().to_owned(),
        address,
        action: "dead-letter.replay",
        target: region,
        outcome,
        detail: json!({ "all": all, "outcome": replayed.as_ref().ok() }),
    });
    Ok(unstored(replayed?))
}

/// Take a dead letter out for good
#[utoipa::path(delete, path = "/{region}/system/log/dead-letters/{number}", tag = "administration",
    operation_id = "remove_dead_letter", security(("access_token" = [])),
    params(
        ("region" = inline(limit::RegionName), Path, description = "The region"),
        ("number" = u64, Path, description = "The letter's number"),
    ), responses(
    (status = 204, description = "It is gone"),
    (status = 404, response = super::openapi::Problem),
))]
async fn remove(
    State(app): State<Arc<App>>,
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(Peer(address)): Extension<Peer>,
    path: Result<Path<(String, u64)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((region, number)) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let letters = of(&app, &region)?;
    let found = blocking(move || {
        let found = letters.of_numbers(&[number])?.pop();
        letters.remove(&[number])?;
        Ok(found)
    })
    .await?;
    let Some(letter) = found else {
        return Err(Problem::not_found(format!(
            "there is no dead letter {number}"
        )));
    };
    door.identity().note(Entry {
        subject: caller.subject.as_ref().to_owned(),
        address,
        action: "dead-letter.remove",
        target: region,
        outcome: Outcome::Done,
        detail: json!({ "number": number, "index": letter.index, "type": letter.kind }),
    });
    Ok(StatusCode::NO_CONTENT)
}

fn of(app: &App, region: &str) -> Result<Arc<DeadLetters>, Problem> {
    let letters = app.letters.get(region).map(Arc::clone);
    letters.ok_or_else(|| Problem::not_found("this node serves no such region"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LettersError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::unavailable("the node is stopping")),
    }
}

impl From<LettersError> for Problem {
    fn from(error: LettersError) -> Self {
        tracing::error!(%error, "the dead letters cannot be used");
        Self::new(Kind::Internal, "the dead letters cannot be read or written")
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::OtherRegion(_) => Self::new(Kind::Conflict, error.to_string()),
            ReplayError::Letters(error) => error.into(),
            ReplayError::Buffer(error) => error.into(),
            ReplayError::Stopping => Self::unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
