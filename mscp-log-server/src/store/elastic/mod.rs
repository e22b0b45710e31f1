//! A cluster of Elasticsearch or OpenSearch as the store, over HTTP.
//!
//! A task of its own keeps the index template in the cluster. Nothing is
//! shipped before it is there: an index made without it would have fields of
//! the wrong types for as long as it lives.

mod call;
mod cargo;
mod engine;
mod fault;
mod flights;
mod judge;
mod nodes;
mod spread;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use axum::body::Body;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::cargo::Cargo;
use self::engine::{Engine, EngineError};
use self::flights::Flights;
use self::nodes::{NodeError, Nodes};
use super::{Spread, SpreadError, Spreading, Store, StoreError};
use crate::buffer::Batch;
use crate::buffer::dead_letters::DeadLetters;
use crate::config::Cluster;
use crate::settings::Search;

/// How often the template is looked for. A cluster that comes back empty
/// within this time and without a failed request is not noticed.
const LOOK: Duration = Duration::from_secs(5);

/// The same while the cluster cannot be used.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many reasons for trouble are remembered so as to be logged once.
const MOST_SAID: usize = 16;

/// A cluster that keeps a region's records.
///
/// Dropping it ends what it does; what was not done by then is in the buffer.
pub struct ElasticStore {
    shared: Arc<Shared>,
    /// How long a client's request waits for a sign of life of the cluster.
    patience: ArcSwap<Duration>,
    flights: Arc<Flights>,
    stop: CancellationToken,
    _ends_with_it: DropGuard,
}

/// What requests and tasks have in common.
struct Shared {
    nodes: Nodes,
    /// What the cluster runs, while its template is in place.
    engine: ArcSwapOption<Engine>,
    /// Why it is not.
    trouble: ArcSwapOption<String>,
    /// Wakes the task that looks.
    doubted: Notify,
    letters: Arc<DeadLetters>,
    /// The numbers that the template had last: an administrator may have set
    /// them. Locked while it is put.
    numbers: Mutex<Spreading>,
}

impl ElasticStore {
    /// Begins to look for the cluster, in a task of the current runtime; a node
    /// starts while its cluster is down. Records that the cluster refuses for
    /// faults of their own go to `letters`; a client's request waits for
    /// `patience` without a sign of life of the cluster.
    ///
    /// # Errors
    /// When the CA file or the credential cannot be used; the reason.
    pub fn start(
        cluster: &Cluster,
        patience: Duration,
        letters: Arc<DeadLetters>,
    ) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            nodes: Nodes::new(cluster)?,
            engine: ArcSwapOption::empty(),
            trouble: ArcSwapOption::from_pointee("it was not reached yet".to_owned()),
            doubted: Notify::new(),
            letters,
            numbers: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let (keeper, stopped) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move { keeper.keep().await }));
        Ok(Self {
            shared,
            patience: ArcSwap::from_pointee(patience),
            flights: Flights::new(),
            _ends_with_it: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Reach every node of `cluster` once, and change nothing: what it runs.
    ///
    /// # Errors
    /// What stands in the way of using it as a store, a line for each node.
    pub async fn reach(cluster: &Cluster) -> Result<String, Vec<String>> {
        let (mut found, mut faults) = (None, Vec::new());
        for url in &cluster.nodes {
            let alone = Cluster {
                nodes: vec![url.clone()],
                ..cluster.clone()
            };
            // Files that cannot be used are the same for all nodes.
            let node = Nodes::new(&alone).map_err(|reason| vec![reason])?;
            match engine::usable(&node).await {
                Ok(engine) => found = Some(engine.to_string()),
                Err(error) => faults.push(error.to_string()),
            }
        }
        match found {
            Some(engine) if faults.is_empty() => Ok(engine),
            _ => Err(faults),
        }
    }

    /// Why the cluster cannot be used or takes no records, while that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.load_full();
        trouble
            .map(|reason| reason.as_ref().clone())
            .or_else(|| self.flights.held())
    }
}

impl Shared {
    /// Keep the template in the cluster.
    async fn keep(&self) {
        // What was said since the cluster was ready last: nodes may differ.
        let mut said: Vec<Arc<String>> = Vec::new();
        loop {
            match self.prepare().await {
                Ok(()) => {
                    said.clear();
                    if self.trouble.swap(None).is_some() {
                        let engine = self.engine.load_full();
                        let engine = engine.map(|engine| engine.to_string());
                        tracing::info!(engine, "the cluster is ready");
                    }
                }
                Err(error) => {
                    let reason = Arc::new(error.to_string());
                    self.trouble.store(Some(Arc::clone(&reason)));
                    // Once, not each second.
                    if !said.contains(&reason) {
                        tracing::warn!(%reason, "the cluster is not ready");
                        said.truncate(MOST_SAID - 1);
                        said.push(reason);
                    }
                    self.engine.store(None);
                }
            }
            let ready = self.engine.load().is_some();
            let pause = tokio::time::sleep(if ready { LOOK } else { LOOK_AGAIN });
            tokio::select! {
                () = pause => {}
                () = self.doubted.notified(), if ready => {}
            }
        }
    }

    /// A request did not come through: the cluster may come back as another
    /// one, so it is looked at again before more is shipped.
    fn doubt(&self, error: &NodeError) -> String {
        let reason = error.to_string();
        if self.engine.swap(None).is_some() {
            self.trouble.store(Some(Arc::new(reason.clone())));
            self.doubted.notify_one();
        }
        reason
    }

    /// What the cluster runs, while it can be used.
    fn ready(&self) -> Result<Arc<Engine>, SpreadError> {
        let engine = self.engine.load_full();
        engine.ok_or_else(|| SpreadError::Away(self.reason()))
    }

    /// Why nothing can be shipped now.
    fn reason(&self) -> String {
        let trouble = self.trouble.load_full();
        trouble.map_or_else(
            || "it is looked at again".to_owned(),
            |reason| reason.as_ref().clone(),
        )
    }

    async fn prepare(&self) -> Result<(), EngineError> {
        if let Some(engine) = self.engine.load_full() {
            if engine::has_template(&self.nodes, &engine).await? {
                return Ok(());
            }
            tracing::warn!("the index template is gone from the cluster");
        }
        let engine = engine::find(&self.nodes).await?;
        let mut numbers = self.numbers.lock().await;
        if let Some(there) = spread::in_template(&self.nodes, &engine).await? {
            *numbers = there;
        }
        engine::put_template(&self.nodes, &engine, *numbers).await?;
        drop(numbers);
        self.engine.store(Some(Arc::new(engine)));
        Ok(())
    }
}

#[async_trait]
impl Store for ElasticStore {
    async fn bulk(&self, batch: Batch) -> Result<(), StoreError> {
        if self.shared.engine.load().is_none() {
            return Err(StoreError(self.shared.reason()));
        }
        let room = self.flights.room().await.map_err(StoreError)?;
        let records = batch.records.clone();
        let cargo = tokio::task::spawn_blocking(move || Cargo::load(records)).await;
        let cargo = cargo.map_err(|error| StoreError(error.to_string()))?;
        let flight = self.flights.begin(&batch, cargo.received(), room);
        let delivery = cargo.deliver(Arc::clone(&self.shared), flight);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(delivery));
        Ok(())
    }

    fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.flights.durable(partition)
    }

    fn set_search(&self, limits: &Search) {
        self.patience.store(Arc::new(limits.timeout));
    }

    async fn spread(&self) -> Result<Option<Spread>, SpreadError> {
        let engine = self.shared.ready()?;
        let spread = spread::present(&self.shared.nodes, &engine).await?;
        Ok(Some(spread))
    }

    async fn set_spread(&self, wanted: Spreading) -> Result<Option<Spread>, SpreadError> {
        let engine = self.shared.ready()?;
        // One after another, and not while the template is put again.
        let mut numbers = self.shared.numbers.lock().await;
        let spread = spread::change(&self.shared.nodes, &engine, wanted).await?;
        numbers.shards = wanted.shards.or(numbers.shards);
        numbers.replicas = wanted.replicas.or(numbers.replicas);
        Ok(Some(spread))
    }

    async fn call(&self, request: http::Request<Body>) -> http::Response<Body> {
        self.pass(request).await
    }
}

#[cfg(test)]
mod tests;
