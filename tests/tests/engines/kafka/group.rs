//! Several shippers of one topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use libtest_mimic::Failed;
use mscp_log_server::buffer::dead_letters::{DeadLetters, MAX_BYTES};
use mscp_log_server::buffer::kafka::KafkaBuffer;
use mscp_log_server::buffer::{Batch, Buffer, ConsumeError};
use mscp_log_server::ship::{HeldBack, ship};
use mscp_log_server::store::embedded::{EmbeddedStore, Settings};
use mscp_log_server::store::{Store, StoreError};
use mscp_log_tests::engine::kafka::Kafka;
use mscp_log_tests::target::RUNTIME;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{document, open, until, variables};

/// The embedded store, which counts what is offered to it and can hold back.
struct Counting {
    store: EmbeddedStore,
    offered: AtomicUsize,
    holds: AtomicBool,
}

impl Counting {
    fn new(folder: &std::path::Path) -> Arc<Self> {
        let letters = DeadLetters::open(&folder.join("letters"), MAX_BYTES).unwrap();
        let settings = Settings {
            commit_interval: Duration::from_millis(50),
            ..Settings::default()
        };
        let store = EmbeddedStore::open(&folder.join("store"), settings, Arc::new(letters));
        Arc::new(Self {
            store: store.unwrap(),
            offered: AtomicUsize::new(0),
            holds: AtomicBool::new(false),
        })
    }

    fn offered(&self) -> usize {
        self.offered.load(Ordering::Relaxed)
    }

    /// The messages of all documents, in no order.
    async fn messages(&self) -> Vec<String> {
        let body = json!({"size": 10_000, "_source": ["message"]}).to_string();
        let request = http_request("POST", "/_search", body);
        let answer = self.store.call(request).await;
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
        let answer: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        let hits = answer["hits"]["hits"].as_array().cloned();
        hits.unwrap_or_default()
            .iter()
            .map(|hit| hit["_source"]["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn http_request(method: &str, path: &str, body: String) -> axum::http::Request<Body> {
    axum::http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

#[async_trait]
impl Store for Counting {
    async fn bulk(&self, batch: Batch) -> Result<(), StoreError> {
        if self.holds.load(Ordering::Relaxed) {
            return Err(StoreError("told so".to_owned()));
        }
        self.offered
            .fetch_add(batch.records.len(), Ordering::Relaxed);
        self.store.bulk(batch).await
    }

    fn durable(&self, partition: u32) -> watch::Receiver<u64> {
        self.store.durable(partition)
    }

    async fn call(&self, request: axum::http::Request<Body>) -> axum::http::Response<Body> {
        self.store.call(request).await
    }
}

/// A process that ships, as far as Kafka can tell.
struct Shipper {
    buffer: Arc<KafkaBuffer>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Shipper {
    async fn start(broker: &Kafka, topic: &str, store: &Arc<Counting>) -> Self {
        let buffer = open(broker, topic).await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(ship(
            Arc::clone(&buffer) as Arc<dyn Buffer>,
            Arc::clone(store) as Arc<dyn Store>,
            Arc::new(HeldBack::default()),
            stop.clone(),
        ));
        Self { buffer, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        let buffer = self.buffer;
        tokio::task::spawn_blocking(move || buffer.close())
            .await
            .unwrap();
    }
}

fn expected(count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("record {n}")).collect()
}

/// Append documents of these numbers, some at a time.
async fn send(broker: &Kafka, topic: &str, numbers: std::ops::Range<usize>) -> JoinHandle<()> {
    let producing = open(broker, topic).await;
    tokio::spawn(async move {
        for some in numbers.collect::<Vec<_>>().chunks(30) {
            let documents = some
                .iter()
                .map(|n| document(*n, &format!("host{}", n % 30)));
            producing.append("", documents.collect()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    })
}

pub(super) fn comes_and_goes(broker: &mut Kafka) -> Result<(), Failed> {
    const RECORDS: usize = 6_000;
    let folder = tempfile::tempdir().unwrap();
    RUNTIME.block_on(async {
        let store = Counting::new(folder.path());
        let topic = "comes-and-goes";
        let more =
            async |behind: usize| until("more records", async || store.offered() > behind).await;
        let all = async |count: usize| {
            let found = async || store.messages().await.len() >= count;
            until("every record", found).await
        };
        let sending = send(broker, topic, 0..RECORDS / 2).await;
        let first = Shipper::start(broker, topic, &store).await;
        more(0).await?;
        let second = Shipper::start(broker, topic, &store).await;
        more(store.offered() + 600).await?;
        let third = Shipper::start(broker, topic, &store).await;
        sending.await.unwrap();
        all(RECORDS / 2).await?;
        // Who comes ships nothing a second time: partitions are drained first.
        assert_eq!(store.offered(), RECORDS / 2);

        // Who goes may leave a batch that it had offered and not committed.
        let sending = send(broker, topic, RECORDS / 2..RECORDS).await;
        more(store.offered() + 600).await?;
        first.stop().await;
        more(store.offered() + 600).await?;
        second.stop().await;
        sending.await.unwrap();
        all(RECORDS).await?;
        third.stop().await;
        let found = store.messages().await;
        assert_eq!(found.len(), RECORDS, "nothing is there twice");
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            expected(RECORDS)
        );
        Ok(())
    })
}

pub(super) fn stale(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let mut settings = variables(broker, "stale");
        settings.insert("MSCP_LOG_BUFFER__DRAIN".to_owned(), "0s".to_owned());
        let buffer = super::try_open(settings).await.unwrap();
        let documents = (0..64).map(|n| document(n, &format!("host{n}"))).collect();
        buffer.append("", documents).await.unwrap();
        let mut first = buffer.consumer().await.unwrap();
        // Of each partition, behind the last batch.
        let mut read = BTreeMap::new();
        let mut records = 0;
        while records < 64 {
            let batch = first.read(1 << 20).await.unwrap();
            records += batch.records.len();
            read.insert(batch.position.partition, batch.position);
        }
        assert_eq!(read.len(), 4, "of every partition");
        let mut second = buffer.consumer().await.unwrap();
        let taken = tokio::time::timeout(super::PATIENCE, second.read(1 << 20))
            .await
            .map_err(|_| "no partition moved")?
            .unwrap();
        let moved = taken.position.partition;
        let (mut refused, mut done) = (0, 0);
        for position in read.into_values() {
            match first.commit(position).await {
                Ok(()) => done += 1,
                Err(ConsumeError::Stale { partition, epoch }) => {
                    assert_eq!((partition, epoch), (position.partition, position.epoch));
                    refused += 1;
                }
                Err(error) => return Err(error.to_string().into()),
            }
            if position.partition == moved {
                assert!(refused > 0, "the partition is the other's");
            }
        }
        assert_eq!((refused, done), (2, 2));
        second.commit(taken.position).await.unwrap();
        Ok(())
    })
}

pub(super) fn back_pressure(broker: &mut Kafka) -> Result<(), Failed> {
    // More than is kept in memory, in records of 16 KiB.
    const RECORDS: usize = 3_000;
    let folder = tempfile::tempdir().unwrap();
    RUNTIME.block_on(async {
        let store = Counting::new(folder.path());
        let topic = "back-pressure";
        let producing = open(broker, topic).await;
        for some in (0..RECORDS).collect::<Vec<_>>().chunks(200) {
            let documents = some.iter().map(|n| {
                let mut document: Value =
                    serde_json::from_slice(&document(*n, &format!("host{}", n % 30))).unwrap();
                let filler: String = (0..16_000_u32)
                    .map(|n| char::from(b'a' + (n * n % 26) as u8))
                    .collect();
                document["message"] = format!("record {n} {filler}").into();
                document.to_string().into()
            });
            producing.append("", documents.collect()).await.unwrap();
        }
        store.holds.store(true, Ordering::Relaxed);
        let shipper = Shipper::start(broker, topic, &store).await;
        // Longer than max.poll.interval.ms of these trials.
        tokio::time::sleep(Duration::from_secs(10)).await;
        store.holds.store(false, Ordering::Relaxed);
        until("every record", async || store.offered() >= RECORDS).await?;
        until("every commit", async || shipper.buffer.usage().backlog == 0).await?;
        shipper.stop().await;
        assert_eq!(store.offered(), RECORDS, "it was a member all the time");
        Ok(())
    })
}

pub(super) fn undrained(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let mut settings = variables(broker, "undrained");
        settings.insert("MSCP_LOG_BUFFER__DRAIN".to_owned(), "1s".to_owned());
        let buffer = super::try_open(settings).await.unwrap();
        let documents = (0..64).map(|n| document(n, &format!("host{n}"))).collect();
        buffer.append("", documents).await.unwrap();
        let mut first = buffer.consumer().await.unwrap();
        let mut records = 0;
        while records < 64 {
            records += first.read(1 << 20).await.unwrap().records.len();
        }
        // Nothing of it is ever committed; the second gets its part all the same.
        let mut second = buffer.consumer().await.unwrap();
        let mut again = BTreeSet::new();
        let reading = async {
            while again.len() < 2 {
                let batch = second.read(1 << 20).await.unwrap();
                again.insert(batch.position.partition);
            }
        };
        let read = tokio::time::timeout(super::PATIENCE, reading).await;
        read.map_err(|_| Failed::from("the partitions stayed"))
    })
}
