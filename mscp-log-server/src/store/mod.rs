//! The store: where records are kept and found. Its contract is the
//! Elasticsearch REST API; inside, two calls.

#[cfg(feature = "elasticsearch")]
pub mod elastic;
#[cfg(feature = "embedded")]
pub mod embedded;

use std::io;

use async_trait::async_trait;
use axum::body::Body;
use tokio::sync::watch;

use crate::buffer::Batch;
use crate::snapshot::Snapshot;

/// Why a store does not take records now. Shipping holds back and tries again;
/// nothing is dropped.
#[derive(Debug, thiserror::Error)]
#[error("the store does not take records: {0}")]
pub struct StoreError(pub String);

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

    /// Answer one request of the Elasticsearch REST API. The path is relative
    /// to the store (`/logstash-*/_search`), canonical, and holds no token.
    async fn call(&self, request: http::Request<Body>) -> http::Response<Body>;
}
