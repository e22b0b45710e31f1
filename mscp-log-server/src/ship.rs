//! From the buffer into the store; commits follow what is durable there.
//!
//! Nothing is dropped here: what the store does not take is offered again
//! until it does, and a record is committed only when the store says that it
//! is durable. Records may reach the store twice (after a crash, or when
//! another consumer takes over); the store is idempotent on `event_id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Batch, Buffer, ConsumeError, Consumer, Position};
use crate::store::Store;

/// About how many bytes of records the store gets at a time.
const BATCH_BYTES: usize = 4 << 20;

/// How long shipping waits for what.
#[derive(Clone, Copy)]
struct Patience {
    /// The first pause after a failure, and the longest.
    first_pause: Duration,
    longest_pause: Duration,
    /// How long a stop waits for the store to make durable what it has taken.
    /// What is not durable by then is shipped again at the next start.
    stop: Duration,
}

const PATIENCE: Patience = Patience {
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(10),
    stop: Duration::from_secs(10),
};

/// Why shipping is held back, while it is.
#[derive(Debug, Default)]
pub struct HeldBack(ArcSwapOption<String>);

impl HeldBack {
    /// The store's reason.
    #[must_use]
    pub fn reason(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

/// Move records from `buffer` into `store` until `shutdown`, then wait, at most
/// 10 s, for what the store has taken to be durable, and commit it. `held`
/// says why it does not go on, while that is so.
pub async fn ship(
    buffer: Arc<dyn Buffer>,
    store: Arc<dyn Store>,
    held: Arc<HeldBack>,
    shutdown: CancellationToken,
) {
    ship_with(PATIENCE, buffer, store, &held, shutdown).await;
}

async fn ship_with(
    patience: Patience,
    buffer: Arc<dyn Buffer>,
    store: Arc<dyn Store>,
    held: &HeldBack,
    shutdown: CancellationToken,
) {
    let mut pause = Pause::new(patience);
    loop {
        let ended = match buffer.consumer().await {
            Ok(consumer) => {
                let mut shipping = Shipping {
                    consumer,
                    store: store.as_ref(),
                    held,
                    partitions: BTreeMap::new(),
                    stop: patience.stop,
                };
                shipping.run(&shutdown, &mut pause).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) | Err(ConsumeError::Closed) => return,
            Err(error @ ConsumeError::Stale { .. }) => {
                tracing::info!(%error, "another consumer took over; joining again");
            }
            Err(error) => tracing::error!(%error, "cannot read the buffer; trying again"),
        }
        metrics::counter!("mscp_log_ship_rejoins_total").increment(1);
        tokio::select! {
            () = pause.wait() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// One membership among the consumers.
struct Shipping<'a> {
    consumer: Box<dyn Consumer>,
    store: &'a dyn Store,
    held: &'a HeldBack,
    partitions: BTreeMap<u32, Progress>,
    stop: Duration,
}

/// How far one partition is.
struct Progress {
    /// Behind the last record that the store took.
    taken: Position,
    /// Behind the last one that was committed.
    committed: u64,
    /// What the store says is durable.
    durable: watch::Receiver<u64>,
}

impl Progress {
    /// What is durable and not yet committed.
    fn due(&mut self) -> Option<Position> {
        let durable = *self.durable.borrow_and_update();
        let next = durable.min(self.taken.next);
        (next > self.committed).then_some(Position { next, ..self.taken })
    }
}

impl Shipping<'_> {
    /// Until `shutdown` (`Ok`) or until the buffer fails.
    async fn run(
        &mut self,
        shutdown: &CancellationToken,
        pause: &mut Pause,
    ) -> Result<(), ConsumeError> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.finish().await,
                () = advanced(&mut self.partitions) => self.commit().await?,
                batch = self.consumer.read(BATCH_BYTES) => {
                    let batch = batch?;
                    tokio::select! {
                        () = self.store_batch(batch, pause) => {}
                        () = shutdown.cancelled() => return self.finish().await,
                    }
                }
            }
        }
    }

    /// Offer the batch until the store takes it.
    async fn store_batch(&mut self, batch: Batch, pause: &mut Pause) {
        let failing = metrics::gauge!("mscp_log_ship_failing");
        while let Err(error) = self.store.bulk(batch.clone()).await {
            failing.set(1.0);
            self.held.0.store(Some(Arc::new(error.0.clone())));
            metrics::counter!("mscp_log_ship_retries_total").increment(1);
            tracing::warn!(%error, records = batch.records.len(), "shipping is held back");
            pause.wait().await;
        }
        failing.set(0.0);
        self.held.0.store(None);
        pause.reset();
        metrics::counter!("mscp_log_ship_records_total").increment(batch.records.len() as u64);
        let taken = batch.position;
        // What it was under an epoch that ended says nothing of this one.
        let before = self.partitions.get(&taken.partition);
        if before.is_some_and(|progress| progress.taken.epoch != taken.epoch) {
            self.partitions.remove(&taken.partition);
        }
        self.partitions
            .entry(taken.partition)
            .and_modify(|progress| progress.taken = taken)
            .or_insert_with(|| {
                let mut durable = self.store.durable(taken.partition);
                // What it says already is news, too.
                durable.mark_changed();
                Progress {
                    taken,
                    committed: 0,
                    durable,
                }
            })
            .durable
            .mark_changed();
    }

    /// A partition that went to another consumer is forgotten; whether all
    /// did, the next read says.
    async fn commit(&mut self) -> Result<(), ConsumeError> {
        let mut gone = Vec::new();
        for (partition, progress) in &mut self.partitions {
            let Some(position) = progress.due() else {
                continue;
            };
            match self.consumer.commit(position).await {
                Ok(()) => progress.committed = position.next,
                Err(error @ ConsumeError::Stale { .. }) => {
                    tracing::info!(%error, "another consumer has it");
                    metrics::counter!("mscp_log_ship_stale_commits_total").increment(1);
                    gone.push(*partition);
                }
                Err(error) => return Err(error),
            }
        }
        for partition in gone {
            self.partitions.remove(&partition);
        }
        Ok(())
    }

    /// Commit all that the store has taken, as it becomes durable.
    async fn finish(&mut self) -> Result<(), ConsumeError> {
        let deadline = self.stop;
        let committed = async {
            loop {
                self.commit().await?;
                let behind = |progress: &Progress| progress.committed < progress.taken.next;
                if !self.partitions.values().any(behind) {
                    return Ok(());
                }
                advanced(&mut self.partitions).await;
            }
        };
        match tokio::time::timeout(deadline, committed).await {
            Ok(committed) => committed,
            Err(_) => {
                tracing::warn!(
                    "the store did not make everything durable in time; the rest is shipped again"
                );
                Ok(())
            }
        }
    }
}

/// Wait until more is durable in some partition.
async fn advanced(partitions: &mut BTreeMap<u32, Progress>) {
    let changes: Vec<_> = partitions
        .values_mut()
        .map(|progress| {
            Box::pin(async {
                if progress.durable.changed().await.is_err() {
                    // The store is gone; nothing more becomes durable.
                    std::future::pending::<()>().await;
                }
            })
        })
        .collect();
    if changes.is_empty() {
        std::future::pending::<()>().await;
    }
    select_all(changes).await;
}

/// Pauses that double, with full jitter: many shippers do not come back at once.
struct Pause {
    patience: Patience,
    longest: Duration,
}

impl Pause {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            longest: patience.first_pause,
        }
    }

    fn reset(&mut self) {
        self.longest = self.patience.first_pause;
    }

    async fn wait(&mut self) {
        let pause = self.longest.mul_f64(rand::random::<f64>());
        self.longest = (self.longest * 2).min(self.patience.longest_pause);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use async_trait::async_trait;
    use axum::body::Body;
    use bytes::Bytes;

    use super::*;
    use crate::buffer::disk::{DiskBuffer, DiskSettings};
    use crate::store::StoreError;

    /// A store that refuses as often as it is told, and is durable when told.
    struct Told {
        refusals: Mutex<u32>,
        taken: watch::Sender<Vec<Bytes>>,
        durable: watch::Sender<u64>,
        last: watch::Sender<u64>,
    }

    impl Told {
        fn new(refusals: u32) -> Arc<Self> {
            Arc::new(Self {
                refusals: Mutex::new(refusals),
                taken: watch::Sender::new(Vec::new()),
                durable: watch::Sender::new(0),
                last: watch::Sender::new(0),
            })
        }

        async fn has(&self, records: &[Bytes]) {
            let mut taken = self.taken.subscribe();
            taken.wait_for(|taken| taken == records).await.unwrap();
        }
    }

    #[async_trait]
    impl Store for Told {
        async fn bulk(&self, batch: Batch) -> Result<(), StoreError> {
            {
                let mut refusals = self.refusals.lock().unwrap();
                if *refusals > 0 {
                    *refusals -= 1;
                    return Err(StoreError("told so".to_owned()));
                }
            }
            self.last
                .send_replace(batch.first + batch.records.len() as u64);
            self.taken.send_modify(|taken| taken.extend(batch.records));
            Ok(())
        }

        fn durable(&self, _partition: u32) -> watch::Receiver<u64> {
            self.durable.subscribe()
        }

        async fn call(&self, _request: http::Request<Body>) -> http::Response<Body> {
            http::Response::new(Body::empty())
        }
    }

    const QUICK: Patience = Patience {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        stop: Duration::from_millis(100),
    };

    fn begin(
        buffer: &Arc<DiskBuffer>,
        store: &Arc<Told>,
        stop: &CancellationToken,
    ) -> tokio::task::JoinHandle<()> {
        let (buffer, store, stop) = (buffer.clone(), store.clone(), stop.clone());
        tokio::spawn(async move {
            ship_with(QUICK, buffer, store, &HeldBack::default(), stop).await;
        })
    }

    fn documents(count: u8) -> Vec<Bytes> {
        (0..count).map(|n| Bytes::from(vec![b'0' + n])).collect()
    }

    #[tokio::test]
    async fn a_store_that_refuses_gets_the_same_records_again_until_it_takes_them() {
        let dir = tempfile::tempdir().unwrap();
        let buffer = Arc::new(DiskBuffer::open(dir.path(), DiskSettings::default()).unwrap());
        buffer.append("host", documents(5)).await.unwrap();
        let store = Told::new(7);
        let stop = CancellationToken::new();
        let shipping = begin(&buffer, &store, &stop);
        store.has(&documents(5)).await;
        stop.cancel();
        shipping.await.unwrap();
        assert_eq!(*store.refusals.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_store_has_taken_but_not_made_durable_is_shipped_again() {
        let dir = tempfile::tempdir().unwrap();
        let buffer = Arc::new(DiskBuffer::open(dir.path(), DiskSettings::default()).unwrap());
        buffer.append("host", documents(5)).await.unwrap();

        let store = Told::new(0);
        let stop = CancellationToken::new();
        let shipping = begin(&buffer, &store, &stop);
        store.has(&documents(5)).await;
        let end = *store.last.borrow();
        store.durable.send_replace(end - 2);
        stop.cancel();
        shipping.await.unwrap();
        assert_eq!(buffer.usage().backlog, 2);

        let store = Told::new(0);
        let stop = CancellationToken::new();
        let shipping = begin(&buffer, &store, &stop);
        store.has(&documents(5)[3..]).await;
        store.durable.send_replace(*store.last.borrow());
        stop.cancel();
        shipping.await.unwrap();
        assert_eq!(buffer.usage().backlog, 0);
    }
}
