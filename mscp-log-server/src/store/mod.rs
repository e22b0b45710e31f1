//! The store: where records are kept and found. Its contract is the
//! Elasticsearch REST API; inside, two calls.

#[cfg(feature = "elasticsearch")]
pub mod elastic;
#[cfg(feature = "embedded")]
pub mod embedded;

use std::io;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;

use crate::buffer::Batch;
use crate::settings::Search;
use crate::snapshot::Snapshot;

/// Why a store does not take records now. Shipping holds back and tries again;
/// nothing is dropped.
#[derive(Debug, thiserror::Error)]
#[error("the store does not take records: {0}")]
pub struct StoreError(pub String);

/// Into how many parts indices are cut, and how often each is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Primary shards of a new index.
    pub number_of_shards: u64,
    /// Copies of each shard beside the primary one.
    pub number_of_replicas: u64,
}

/// What is said of a [`Spread`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spreading {
    /// Primary shards of new indices; those that there are keep theirs.
    pub shards: Option<u64>,
    /// Replicas of all indices.
    pub replicas: Option<u64>,
}

/// Why a [`Spread`] was not read, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum SpreadError {
    /// The store cannot do it, or it would put what it has at risk: nothing was
    /// changed.
    #[error("{0}")]
    Refused(String),
    /// It cannot be asked now; what it was asked last may have been done.
    #[error("{0}")]
    Away(String),
}

/// A place that keeps records and answers the Elasticsearch API.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Take a batch of documents, each the JSON of a
    /// stored document, idempotent on `event_id`.
    ///
    /// Returning does not say that the batch is durable in the store; it says
    /// that the store is ready for the next. What is durable is in [`Store::durable`].
    async fn bulk(&self, batch: Batch) -> Result<(), StoreError>;

    /// For `partition` of the buffer: every record below this number is
    /// durable in the store.
    fn durable(&self, partition: u32) -> watch::Receiver<u64>;

    /// Hold the files that it keeps in the data folder, below `prefix`; says
    /// whether it keeps its records there. Blocks on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    fn snapshot(&self, into: &mut Snapshot, prefix: &str) -> io::Result<bool> {
        let _elsewhere = (into, prefix);
        Ok(false)
    }

    /// Bound searches by `limits` from now on, as far as it is this process that
    /// bounds them. Those that run keep the limits that they began with.
    fn set_search(&self, limits: &Search) {
        let _nothing_to_bound = limits;
    }

    /// Whether windows and buckets are bounded by the limits that it was told,
    /// and not by a cluster's own.
    fn bounds_searches(&self) -> bool {
        false
    }

    /// How new indices are spread; `None` for a store of one machine, which
    /// has each record once.
    ///
    /// # Errors
    /// When it cannot be asked now.
    async fn spread(&self) -> Result<Option<Spread>, SpreadError> {
        Ok(None)
    }

    /// Change what is said in `wanted`, and return what holds then.
    ///
    /// # Errors
    /// Why it is not changed.
    async fn set_spread(&self, wanted: Spreading) -> Result<Option<Spread>, SpreadError> {
        match wanted == Spreading::default() {
            true => Ok(None),
            false => Err(SpreadError::Refused(
                "the embedded store has one shard for each day, and each record once".to_owned(),
            )),
        }
    }

    /// Answer one request of the Elasticsearch REST API. The path is relative
    /// to the store (`/logstash-*/_search`), canonical, and holds no token.
    async fn call(&self, request: Request<Body>) -> http::Response<Body>;
}

/// The longest answer that [`ask`] reads, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// One request to `store` of this process itself; `Null` where the answer is no
/// JSON. The body is NDJSON, or JSON, which is the same in one line.
pub async fn ask(store: &dyn Store, method: Method, path: &str, body: Body) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/x-ndjson")
        .body(body);
    let Ok(request) = request else {
        return (StatusCode::BAD_REQUEST, Value::Null);
    };
    let response = store.call(request).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), MAX_ANSWER).await;
    let answer = serde_json::from_slice(&bytes.unwrap_or_default());
    (status, answer.unwrap_or_default())
}

/// What a store says is wrong, in a line.
#[must_use]
pub fn reason(status: StatusCode, answer: &Value) -> String {
    let said = answer["error"]["reason"].as_str();
    let said = said.or_else(|| answer["error"].as_str());
    match said {
        Some(said) => format!("{} {said}", status.as_u16()),
        None => status.to_string(),
    }
}
