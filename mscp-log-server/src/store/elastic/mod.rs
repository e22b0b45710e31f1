//! A cluster of Elasticsearch or OpenSearch as the store, over HTTP.
//!
//! A task of its own keeps the index template in the cluster. Nothing is
//! shipped before it is there: an index made without it would have fields of
//! the wrong types for as long as it lives.

mod bulk;
mod call;
mod engine;
mod nodes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use axum::body::Body;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::engine::{Engine, EngineError};
use self::nodes::Nodes;
use super::{Store, StoreError};
use crate::buffer::Batch;
use crate::config::Cluster;

/// How often the template is looked for. A cluster that comes back empty
/// within this time and without a failed request is not noticed.
const LOOK: Duration = Duration::from_secs(5);

/// A cluster that keeps a region's records.
///
/// Dropping it ends what it does; what was not done by then is in the buffer.
pub struct ElasticStore {
    shared: Arc<Shared>,
    /// How long a client's request waits for a sign of life of the cluster.
    patience: Duration,
    durable: Mutex<HashMap<u32, watch::Sender<u64>>>,
    _stop: DropGuard,
}

/// What requests and tasks have in common.
struct Shared {
    nodes: Nodes,
    /// What the cluster runs, while its template is in place.
    engine: ArcSwapOption<Engine>,
    /// Why it is not.
    trouble: ArcSwapOption<String>,
}

impl ElasticStore {
    /// Begins to look for the cluster, in a task of the current runtime; a node
    /// starts while its cluster is down.
    ///
    /// # Errors
    /// When the CA file or the credential cannot be used; the reason.
    pub fn start(cluster: &Cluster, patience: Duration) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            nodes: Nodes::new(cluster)?,
            engine: ArcSwapOption::empty(),
            trouble: ArcSwapOption::from_pointee("it was not reached yet".to_owned()),
        });
        let stop = CancellationToken::new();
        let (keeper, stopped) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move { keeper.keep().await }));
        Ok(Self {
            shared,
            patience,
            durable: Mutex::new(HashMap::new()),
            _stop: stop.drop_guard(),
        })
    }

    /// Why the cluster cannot be used, while that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full()
    }
}

impl Shared {
    /// Keep the template in the cluster.
    async fn keep(&self) {
        loop {
            match self.prepare().await {
                Ok(()) => {
                    if self.trouble.swap(None).is_some() {
                        let engine = self.engine.load_full();
                        let engine = engine.map(|engine| engine.to_string());
                        tracing::info!(engine, "the cluster is ready");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the cluster is not ready");
                    self.engine.store(None);
                    self.trouble.store(Some(Arc::new(error.to_string())));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        if let Some(engine) = self.engine.load_full() {
            if engine::has_template(&self.nodes, &engine).await? {
                return Ok(());
            }
            tracing::warn!("the index template is gone from the cluster");
        }
        let engine = engine::find(&self.nodes).await?;
        engine::put_template(&self.nodes, &engine).await?;
        self.engine.store(Some(Arc::new(engine)));
        Ok(())
    }
}

#[async_trait]
impl Store for ElasticStore {
    async fn bulk(&self, batch: Batch) -> Result<(), StoreError> {
        let engine = match self.shared.engine.load_full() {
            Some(engine) => engine,
            None => {
                let reason = self.trouble().unwrap_or_default();
                return Err(StoreError(reason.as_ref().clone()));
            }
        };
        bulk::send(&self.shared.nodes, &engine, &batch.records).await?;
        self.durable_of(batch.position.partition)
            .send_modify(|durable| *durable = (*durable).max(batch.position.next));
        Ok(())
    }

    fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.durable_of(partition).subscribe()
    }

    async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        self.pass(request).await
    }
}

impl ElasticStore {
    fn durable_of(&self, partition: u32) -> watch::Sender<u64> {
        let mut senders = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        senders.entry(partition).or_default().clone()
    }
}
