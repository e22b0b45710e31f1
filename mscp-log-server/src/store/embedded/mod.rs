//! The store inside the process, on tantivy.
//!
//! One physical partition a day, the index name a column; one thread that
//! writes, a few writers at a time; searches on their own threads over the
//! last commit.

pub mod analyzer;
mod call;
mod catalog;
mod changes;
mod columns;
mod cursors;
mod dates;
mod dedup;
mod directory;
mod documents;
pub mod ids;
mod indices;
mod json;
mod log;
mod open;
pub mod partition;
mod patterns;
mod places;
pub mod schema;
pub mod search;
mod sight;
mod snapshot;
mod source;
mod strips;
mod templates;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::body::Body;
use tokio::sync::{Semaphore, watch};

use self::catalog::Catalog;
pub use self::catalog::CatalogError;
use self::cursors::Cursors;
use self::places::Places;
use self::search::Limits;
pub use self::snapshot::Stored;
use self::templates::Templates;
use self::writer::{Writer, WriterSettings};
use super::{Store, StoreError};
use crate::buffer::Batch;
use crate::buffer::dead_letters::DeadLetters;
use crate::settings::Search;
use crate::snapshot::Snapshot;

/// Searches that wait for a thread; more are refused with 429.
pub const QUEUED_SEARCHES: usize = 100;

/// Sizes, times and limits of an embedded store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it says it is called.
    pub name: String,
    /// The version of Elasticsearch that it says it is: major, minor, patch.
    pub version: (u16, u16, u16),
    /// Memory of all open writers together, in bytes.
    pub memory_bytes: u64,
    /// Longest that a record waits until searches see it. While there are none,
    /// commits come ten times more rarely, and a search that comes waits for one.
    pub commit_interval: Duration,
    /// Bytes of the body of one request, unpacked.
    pub max_body_bytes: u64,
    /// Searches that run at once; [`QUEUED_SEARCHES`] more wait.
    pub max_concurrent_searches: usize,
    /// What bounds each search at first.
    pub search: Bounds,
}

/// What bounds each search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How much it may take.
    pub limits: Limits,
    /// Longest that it may run.
    pub timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl From<&Search> for Bounds {
    fn from(limits: &Search) -> Self {
        Self {
            limits: Limits {
                window: limits.max_window,
                buckets: number(limits.max_buckets),
                aggregation_bytes: number(limits.max_memory),
            },
            timeout: limits.timeout,
        }
    }
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "mscp-log".to_owned(),
            version: (8, 17, 0),
            memory_bytes: 128 * 1024 * 1024,
            commit_interval: Duration::from_secs(1),
            max_body_bytes: 100 * 1024 * 1024,
            max_concurrent_searches: 4,
            search: Bounds::default(),
        }
    }
}

/// The embedded store.
///
/// Dropping it commits what it has taken, and waits for that.
pub struct EmbeddedStore {
    settings: Settings,
    catalog: Arc<Catalog>,
    templates: Arc<Templates>,
    writer: Writer,
    searches: Places,
    bounds: ArcSwap<Bounds>,
    queued_searches: Arc<Semaphore>,
    cursors: Cursors,
}

impl EmbeddedStore {
    /// Open the store in `folder`, or make it. Partitions are opened when they
    /// are first needed, so that this takes no longer with more data. Records of
    /// the buffer that cannot be stored go to `letters`.
    ///
    /// # Errors
    /// Where the folder cannot be read or written, is in use by another
    /// process, or was written by a newer version.
    pub fn open(
        folder: &Path,
        settings: Settings,
        letters: Arc<DeadLetters>,
    ) -> Result<Self, CatalogError> {
        let catalog = Arc::new(Catalog::open(folder)?);
        let templates = Arc::new(Templates::open(folder)?);
        let writing = WriterSettings {
            memory_bytes: settings.memory_bytes,
            commit_interval: settings.commit_interval,
        };
        let log = log::open(folder).map_err(CatalogError::Log)?;
        let writer =
            Writer::start(Arc::clone(&catalog), writing, letters, log).map_err(|error| {
                let path = folder.to_owned();
                CatalogError::Io { path, error }
            })?;
        Ok(Self {
            searches: Places::new(settings.max_concurrent_searches),
            bounds: ArcSwap::from_pointee(settings.search),
            queued_searches: Arc::new(Semaphore::new(QUEUED_SEARCHES)),
            cursors: Cursors::default(),
            settings,
            catalog,
            templates,
            writer,
        })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn bulk(&self, batch: Batch) -> Result<(), StoreError> {
        let result = self.writer.bulk(batch).await;
        result.map_err(|reason| StoreError(reason.to_string()))
    }

    fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.writer.durable(partition)
    }

    fn snapshot(&self, into: &mut Snapshot, prefix: &str) -> std::io::Result<bool> {
        self.hold(into, prefix)?;
        Ok(true)
    }

    fn set_search(&self, limits: &Search) {
        self.bounds.store(Arc::new(limits.into()));
        self.searches.set(number(limits.max_concurrent));
    }

    fn bounds_searches(&self) -> bool {
        true
    }

    async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        self.answer(request).await
    }
}
