//! Kafka as the buffer: a topic of records, a topic of dead letters beside it,
//! and a group of shippers.
//!
//! A message is one document as the store gets it, in JSON, under the name of
//! its host, so that Logstash and any other consumer can read the topic; and
//! what others write into it is cleaned when it is read. `docs/kafka.md` says
//! how a node is pointed at brokers and what they must be set to.

mod assignment;
mod consumer;
mod foreign;
pub mod letters;
mod producer;
mod settings;
mod topic;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dead_letters::{DeadLetters, Refused};
use super::{AppendError, Buffer, ConsumeError, Consumer, Usage};
use crate::clock;
use consumer::{KafkaConsumer, Measured};
pub use foreign::{Clean, Foreign};
use producer::{FRAME, Producer};
pub use settings::Settings;
pub use topic::Unready;

/// How often the brokers are asked whether they are there.
const LOOK: Duration = Duration::from_secs(5);

/// The buffer in a topic of Kafka.
pub struct KafkaBuffer {
    settings: Settings,
    producer: Arc<Producer>,
    letters: Arc<DeadLetters>,
    clean: Arc<Clean>,
    measured: Arc<Measured>,
    /// Most bytes that the topic takes in one record.
    largest: AtomicUsize,
    /// What is wrong with the brokers, if something is.
    unreachable: Arc<ArcSwapOption<String>>,
    consumers: Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
    _looks: DropGuard,
}

impl std::fmt::Debug for KafkaBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaBuffer")
            .field("topic", &self.settings.topic)
            .finish_non_exhaustive()
    }
}

impl KafkaBuffer {
    /// Reach the brokers, make or check the topics, and begin to produce.
    /// Foreign messages are cleaned by `clean`.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub async fn open(settings: Settings, clean: Arc<Clean>) -> Result<Self, Unready> {
        let found = topic::ready(&settings).await?;
        let largest = found.largest();
        let config = settings.producer(largest)?;
        let producer = Producer::open(config, &settings.topic, settings.kafka.timeout);
        let producer = Arc::new(producer?);
        let letters = letters::TopicLetters::open(&settings)?;
        let unreachable = Arc::new(ArcSwapOption::empty());
        let stop = CancellationToken::new();
        let letters = Arc::new(DeadLetters::of_topic(letters));
        let looking = look(
            Arc::clone(&producer),
            Arc::clone(&letters),
            Arc::clone(&unreachable),
            settings.topic.clone(),
        );
        tokio::spawn(stop.clone().run_until_cancelled_owned(looking));
        Ok(Self {
            settings,
            producer,
            letters,
            clean,
            measured: Arc::default(),
            largest: AtomicUsize::new(largest),
            unreachable,
            consumers: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            _looks: stop.drop_guard(),
        })
    }

    /// Reach the brokers and check the topics, and change nothing.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub async fn reach(settings: &Settings) -> Result<(), Unready> {
        topic::reach(settings).await
    }

    /// The dead letters of this buffer.
    #[must_use]
    pub fn letters(&self) -> Arc<DeadLetters> {
        Arc::clone(&self.letters)
    }

    /// Records that the topic does not take are dead letters before the others
    /// are sent.
    async fn put_aside(&self, records: &mut Vec<Bytes>) -> Result<(), AppendError> {
        let largest = self.largest.load(Ordering::Relaxed);
        let fits =
            |record: &Bytes| record.len() + foreign::key_of(record, "").len() + FRAME <= largest;
        // Almost always: all of them are far from it.
        if records.iter().all(|record| record.len() < largest / 2) {
            return Ok(());
        }
        let (fitting, large): (Vec<_>, Vec<_>) = records.drain(..).partition(fits);
        *records = fitting;
        if large.is_empty() {
            return Ok(());
        }
        let count = large.len() as u64;
        let refused: Vec<Refused> = large
            .into_iter()
            .map(|document| Refused {
                index: String::new(),
                kind: "record_too_large".to_owned(),
                reason: format!(
                    "{} bytes; the topic takes records of {largest} bytes (max.message.bytes)",
                    document.len()
                ),
                document,
            })
            .collect();
        let letters = Arc::clone(&self.letters);
        let kept = move || letters.add(&refused, clock::now_us() / 1_000);
        tokio::task::spawn_blocking(kept)
            .await
            .map_err(|_| AppendError::Closed)?
            .map_err(|error| AppendError::Failed(error.to_string()))?;
        metrics::counter!("mscp_log_buffer_oversize_records_total").increment(count);
        Ok(())
    }
}

#[async_trait]
impl Buffer for KafkaBuffer {
    async fn append(&self, key: &str, mut records: Vec<Bytes>) -> Result<(), AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        self.put_aside(&mut records).await?;
        if records.is_empty() {
            return Ok(());
        }
        self.producer.append(key, records).await
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, ConsumeError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ConsumeError::Closed);
        }
        let (clean, measured) = (Arc::clone(&self.clean), Arc::clone(&self.measured));
        let (consumer, thread) =
            KafkaConsumer::join(&self.settings, clean, measured).map_err(ConsumeError::Failed)?;
        let mut threads = self
            .consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(Box::new(consumer))
    }

    fn usage(&self) -> Usage {
        Usage {
            bytes: 0,
            max_bytes: 0,
            backlog: self.measured.backlog.load(Ordering::Relaxed),
            ..Usage::default()
        }
    }

    async fn brokers(&self) -> Result<Option<u64>, String> {
        let producer = Arc::clone(&self.producer);
        let asked = tokio::task::spawn_blocking(move || producer.brokers(ASKED)).await;
        asked.map_err(|error| error.to_string())?.map(Some)
    }

    fn trouble(&self) -> Option<String> {
        let unreachable = self.unreachable.load_full();
        unreachable
            .map(|reason| (*reason).clone())
            .or_else(|| self.producer.trouble())
    }

    fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.producer.close();
        // Members that left say so to the brokers.
        let threads = std::mem::take(
            &mut *self
                .consumers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a consumer panicked");
            }
        }
    }
}

/// How long brokers may take to say who they are.
const ASKED: Duration = Duration::from_millis(1_400);

/// Ask the brokers now and then, so that a node that nobody pushes to knows too.
async fn look(
    producer: Arc<Producer>,
    letters: Arc<DeadLetters>,
    unreachable: Arc<ArcSwapOption<String>>,
    topic: String,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let (asked, shared) = (Arc::clone(&producer), Arc::clone(&letters));
        let looked = tokio::task::spawn_blocking(move || {
            let looked = asked.look(LOOK);
            if looked.is_ok() {
                shared.refresh();
            }
            looked
        });
        let looked = looked.await;
        match looked.unwrap_or(Ok(())) {
            Ok(()) => {
                if unreachable.swap(None).is_some() {
                    tracing::info!(topic, "the brokers answer again");
                }
            }
            Err(reason) => {
                if unreachable.load().is_none() {
                    tracing::warn!(topic, reason, "the brokers do not answer");
                }
                unreachable.store(Some(Arc::new(reason)));
            }
        }
    }
}
