//! HTTP only: extract, call, answer. Every request meets [`access`] first.

pub mod access;
pub mod admin;
pub mod auth;
pub mod backup;
pub mod body;
pub mod collect;
pub mod cors;
pub mod dead_letters;
pub mod health;
pub mod listen;
mod measure;
pub mod openapi;
pub mod problem;
pub mod push;
pub mod query;
pub mod rotation;
pub mod system;
#[cfg(test)]
pub(in crate::api) mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use mscp_log_core::access::Base;
use tower_http::catch_panic::CatchPanicLayer;

use crate::admin::status::Observatory;
use crate::backup::Backups;
use crate::buffer::dead_letters::DeadLetters;
use crate::ingest::collect::Collect;
use crate::query::Region;
use crate::rotate::Rotation;
use access::Door;
use cors::Cors;
use health::Health;
use problem::{Kind, Problem};
use system::Administrations;

/// What a node serves behind its door, by its roles.
#[derive(Clone, Debug, Default)]
pub struct Rooms {
    /// Of the role `api`: tokens, pushes, searches, administration.
    pub api: Option<Arc<App>>,
    /// Of the role `parser`: what agents send.
    pub parser: Option<Arc<Collect>>,
    /// Settings and instances, by region.
    pub administrations: Arc<Administrations>,
}

/// The components that handlers of the role `api` call, apart from the
/// [`Door`], which each request brings along.
#[derive(Debug)]
pub struct App {
    /// The regions that this node serves, by name.
    pub regions: BTreeMap<String, Region>,
    /// Backups of this node.
    pub backups: Arc<Backups>,
    /// What their stores refused.
    pub letters: BTreeMap<String, Arc<DeadLetters>>,
    /// How old indices of the regions go.
    pub rotations: BTreeMap<String, Arc<Rotation>>,
    /// Where the status of the regions is measured.
    pub observatories: BTreeMap<String, Observatory>,
    /// The ways in.
    pub ways: push::Ways,
}

/// The whole API behind its door, and behind what answers browsers before it.
pub fn router(rooms: Rooms, door: Arc<Door>, health: Arc<Health>, cors: Cors) -> Router {
    let inside = measure::name_routes(inside(rooms, door.base(), health));
    let prefix = door.base().prefix().to_owned();
    measure::measured(cors.guard(door.guard(inside)), &prefix)
}

/// What a node serves that has no API: whether it is alive and ready. Metrics
/// are for `http.metrics_listen`, because nobody here could verify a token.
pub fn health_alone(health: Arc<Health>) -> Router {
    health::open_routes(health)
        .fallback(nothing_here)
        .layer(CatchPanicLayer::custom(fault))
}

/// Everything that has a path.
fn inside(rooms: Rooms, base: &Base, health: Arc<Health>) -> Router {
    let mut below_base = Router::new();
    let mut inside = health::routes(health);
    let administrations = rooms.administrations;
    below_base = below_base.merge(system::instance_routes(Arc::clone(&administrations)));
    if let Some(collect) = rooms.parser {
        below_base = below_base.merge(collect::routes(collect));
    }
    if let Some(app) = rooms.api {
        let ways = app.ways.clone();
        let of_app: Router<Arc<App>> = Router::new()
            .merge(auth::routes())
            .merge(admin::routes())
            .merge(backup::routes())
            .merge(push::routes(ways.clone()))
            .merge(dead_letters::routes())
            .merge(rotation::routes())
            .merge(system::status_routes())
            .merge(query::routes())
            .merge(openapi::routes(base, ways.otlp));
        below_base = below_base.merge(of_app.with_state(app));
        below_base = below_base.merge(system::routes(administrations));
        inside = inside.merge(push::grpc_routes(ways));
    }
    let below_base = match base.prefix() {
        "" => below_base,
        prefix => Router::new().nest(prefix, below_base),
    };
    inside
        .merge(below_base)
        .fallback(nothing_here)
        .layer(CatchPanicLayer::custom(fault))
}

async fn nothing_here() -> Problem {
    Problem::new(Kind::NotFound, "there is nothing at this path")
}

/// A panic ends one request, not the node; what it said is for the node's log.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that the layer calls"
)]
fn fault(panic: Box<dyn Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = said.unwrap_or("no text"), "a request panicked");
    metrics::counter!("mscp_log_http_panics_total").increment(1);
    Problem::new(Kind::Internal, "a fault of this server").into_response()
}
