//! Whether the process is alive, whether it can do its work, and what it
//! measures: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::{BoxFuture, join_all};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::body::method_not_allowed;

/// One thing that a node needs to do its work: `Err` says what is wrong.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What does not answer within this is not ready.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// Everything that `/readyz` and `/metrics` ask.
pub struct Health {
    checks: BTreeMap<&'static str, Check>,
    /// What is told and leaves a node ready all the same.
    notes: BTreeMap<&'static str, Check>,
    measures: Vec<Box<dyn Fn() + Send + Sync>>,
    metrics: PrometheusHandle,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health")
            .field("checks", &self.checks.keys())
            .finish_non_exhaustive()
    }
}

impl Health {
    /// Of a process that needs nothing and measures nothing yet.
    ///
    /// # Errors
    /// When a recorder of metrics that is not ours is installed in this process.
    pub fn new() -> Result<Self, BuildError> {
        Ok(Self {
            checks: BTreeMap::new(),
            notes: BTreeMap::new(),
            measures: Vec::new(),
            metrics: recorder()?,
        })
    }

    /// The node is ready only while `check` finds nothing wrong.
    pub fn need(&mut self, name: &'static str, check: Check) {
        self.checks.insert(name, check);
    }

    /// Tell what `check` says, too. It does not make the node unready: what a
    /// node without its store takes in waits in the buffer.
    pub fn note(&mut self, name: &'static str, check: Check) {
        self.notes.insert(name, check);
    }

    /// Ask every check at once, and tell what they say as metrics too.
    pub async fn readiness(&self) -> Readiness {
        let asked = self.checks.iter().chain(&self.notes);
        let said = join_all(asked.map(|(&name, check)| async move {
            let said = match tokio::time::timeout(CHECK_LIMIT, check()).await {
                Ok(said) => said,
                Err(_) => Err("no answer within 2 s".to_owned()),
            };
            (name, said)
        }));
        let mut readiness = Readiness {
            ready: true,
            checks: BTreeMap::new(),
        };
        for (name, said) in said.await {
            readiness.ready &= said.is_ok() || self.notes.contains_key(name);
            let passing = f64::from(u8::from(said.is_ok()));
            metrics::gauge!("mscp_log_check_passing", "check" => name).set(passing);
            let said = said.err().unwrap_or_else(|| "ok".to_owned());
            readiness.checks.insert(name, said);
        }
        metrics::gauge!("mscp_log_ready").set(f64::from(u8::from(readiness.ready)));
        readiness
    }

    /// What was counted so far, as Prometheus reads it.
    #[must_use]
    pub fn counted(&self) -> String {
        self.metrics.render()
    }

    /// Before each scrape, set the gauges that are read rather than counted.
    pub fn measure(&mut self, measure: impl Fn() + Send + Sync + 'static) {
        self.measures.push(Box::new(measure));
    }
}

/// The recorder is the process's: several nodes in one process share it.
fn recorder() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    // Held all the while: of two nodes that start at once one waits.
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&[
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ])?
        .install_recorder()?;
    crate::metric::describe();
    metrics::gauge!("mscp_log_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    *recorder = Some(handle.clone());
    Ok(handle)
}

#[derive(OpenApi)]
#[openapi(paths(alive, ready, scrape))]
pub(super) struct Document;

/// The three, at the origin's root. What serves `/metrics` without a token is
/// for a listener of its own; on the main one the door asks for a token first.
pub fn routes(health: Arc<Health>) -> Router {
    open_routes(Arc::clone(&health)).merge(
        Router::new()
            .route("/metrics", get(scrape))
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(health),
    )
}

/// What needs no token: `/healthz` and `/readyz`.
pub fn open_routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(health)
}

/// Whether the process is alive
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "node", responses(
    (status = 200, description = "It is", body = String, content_type = "text/plain"),
))]
async fn alive() -> &'static str {
    "alive\n"
}

/// Whether a node can do its work.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// What it needs, each with `ok` or what is wrong with it.
    pub checks: BTreeMap<&'static str, String>,
}

/// Whether the node can do its work, with reasons
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "node", responses(
    (status = 200, description = "It can", body = Readiness),
    (status = 503, description = "It cannot now", body = Readiness),
))]
async fn ready(State(health): State<Arc<Health>>) -> Response {
    let readiness = health.readiness().await;
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(readiness)).into_response()
}

/// What the node measures, for Prometheus
///
/// With `http.metrics_listen` it is served there too, without a token.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "node", security(("access_token" = [])), responses(
    (status = 200, description = "Prometheus's text format", body = String, content_type = "text/plain"),
))]
async fn scrape(State(health): State<Arc<Health>>) -> Response {
    for measure in &health.measures {
        measure();
    }
    health.readiness().await;
    metrics_process::Collector::default().collect();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, content_type)],
        health.metrics.render(),
    )
        .into_response()
}
