//! Into the topic: a record is durable when its delivery report says so.
//!
//! The producer is idempotent and waits for all replicas that are in sync, so
//! that a report of success means one message, on as many brokers as
//! `min.insync.replicas` says. A report of failure, or none in time, says
//! nothing about whether the message is there: it is not acknowledged, and who
//! sends it again sends the same `event_id`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::foreign::{FORMAT, FORMAT_HEADER, key_of};
use super::settings::{Talk, told};
use crate::buffer::AppendError;

/// Bytes of records that wait for their delivery reports; more wait for room.
const ROOM: usize = 64 << 20;

/// What a message has beside key and value, at most: the header of its batch
/// (61 bytes), its own numbers, and our header.
pub(super) const FRAME: usize = 256;

/// A producer, and what is on its way.
pub(super) struct Producer {
    config: ClientConfig,
    topic: String,
    timeout: Duration,
    running: ArcSwap<ThreadedProducer<Reports>>,
    renewing: AtomicBool,
    room: Arc<Semaphore>,
    closed: AtomicBool,
    /// Why the last delivery failed, until one succeeds or the brokers answer
    /// anew.
    failing: ArcSwapOption<String>,
}

/// Who is told what became of messages.
type Reply = Box<dyn FnOnce(Result<(), String>) + Send + Sync>;

/// What a message waits for; answered when the last of them lets go.
pub(super) struct Delivery {
    reply: Option<Reply>,
    failure: Mutex<Option<String>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Delivery {
    fn new(
        room: Option<OwnedSemaphorePermit>,
        reply: impl FnOnce(Result<(), String>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            reply: Some(Box::new(reply)),
            failure: Mutex::new(None),
            _room: room,
        })
    }

    fn fail(&self, reason: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let failure = self.failure.get_mut();
        let failure = failure.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = self.reply.take() {
            reply(failure.map_or(Ok(()), Err));
        }
    }
}

/// Takes delivery reports.
#[derive(Default)]
pub(super) struct Reports(pub(super) Talk);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, report: &DeliveryResult<'_>, delivery: Arc<Delivery>) {
        if report.is_ok() {
            self.0.clear();
        }
        if let Err((error, _)) = report {
            let reason = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageTimedOut) => self.0.trouble().map_or_else(
                    || "the brokers did not acknowledge it in time".to_owned(),
                    |why| format!("the brokers did not acknowledge it in time: {why}"),
                ),
                _ => told(error),
            };
            delivery.fail(reason);
        }
    }
}

impl Producer {
    /// Into `topic`, waiting up to `timeout` for room and as long again for the
    /// brokers, which `config` says too.
    pub(super) fn open(
        config: ClientConfig,
        topic: &str,
        timeout: Duration,
    ) -> Result<Self, String> {
        let running = start(&config)?;
        Ok(Self {
            config,
            topic: topic.to_owned(),
            timeout,
            running: ArcSwap::from_pointee(running),
            renewing: AtomicBool::new(false),
            room: Arc::new(Semaphore::new(ROOM)),
            closed: AtomicBool::new(false),
            failing: ArcSwapOption::empty(),
        })
    }

    /// Send `records`, each under the name of its host or, where it has none,
    /// its own; returns when all are durable. Where it fails some may be.
    pub(super) async fn append(&self, key: &str, records: Vec<Bytes>) -> Result<(), AppendError> {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        let wanted = u32::try_from(bytes.min(ROOM)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted);
        let room = match tokio::time::timeout(self.timeout, room).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Err(AppendError::Closed),
            Err(_) => {
                metrics::counter!("mscp_log_buffer_refused_appends_total", "reason" => "full")
                    .increment(1);
                return Err(AppendError::Full {
                    used: (ROOM - self.room.available_permits()) as u64,
                    limit: ROOM as u64,
                });
            }
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let delivery = Delivery::new(Some(room), move |result| {
            let _ = reply.send(result);
        });
        {
            let running = self.running.load();
            for record in &records {
                let key = key_of(record, key);
                let header = Header {
                    key: FORMAT_HEADER,
                    value: Some(FORMAT),
                };
                let message = BaseRecord::with_opaque_to(&self.topic, Arc::clone(&delivery))
                    .key(&*key)
                    .payload(&record[..])
                    .headers(OwnedHeaders::new_with_capacity(1).insert(header));
                if let Err((error, _)) = running.send(message) {
                    delivery.fail(told(&error));
                    break;
                }
            }
        }
        drop((delivery, records));
        match answer.await {
            Ok(Ok(())) => {
                self.failing.store(None);
                Ok(())
            }
            Ok(Err(reason)) => {
                metrics::counter!("mscp_log_buffer_refused_appends_total", "reason" => "failed")
                    .increment(1);
                self.failing.store(Some(Arc::new(reason.clone())));
                self.renew_if_dead();
                Err(AppendError::Failed(reason))
            }
            Err(_) => Err(AppendError::Closed),
        }
    }

    /// Send one message and wait for it on a thread that may block; no value
    /// takes out what the topic keeps under `key`. Gives nothing back but that
    /// it is durable.
    pub(super) fn put_blocking(&self, messages: &[(&[u8], Option<&[u8]>)]) -> Result<(), String> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let delivery = Delivery::new(None, move |result| {
            let _ = reply.send(result);
        });
        for (key, value) in messages {
            let message = BaseRecord::with_opaque_to(&self.topic, Arc::clone(&delivery)).key(*key);
            let message = match value {
                Some(value) => message.payload(*value),
                None => message,
            };
            if let Err((error, _)) = self.running.load().send(message) {
                delivery.fail(told(&error));
                break;
            }
        }
        drop(delivery);
        let answer = answer.recv();
        let answer = answer.unwrap_or_else(|_| Err("the producer was closed".to_owned()));
        if answer.is_err() {
            self.renew_if_dead();
        }
        answer
    }

    /// Why it takes nothing now, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.failing.load_full().map(|reason| (*reason).clone())
    }

    /// Ask the brokers for the topic, on a thread that may block: what is wrong
    /// with them, if something is.
    pub(super) fn look(&self, patience: Duration) -> Result<(), String> {
        let running = self.running.load_full();
        let client = running.client();
        match client.fetch_metadata(Some(&self.topic), patience) {
            Ok(metadata) => {
                client.context().0.clear();
                let partitions = metadata.topics().iter().flat_map(|it| it.partitions());
                // One of many that is led by nobody is told by what fails.
                if partitions.clone().any(|it| it.leader() >= 0) {
                    // A replica that is not ready gets no records, and would
                    // never see a delivery that succeeds.
                    self.failing.store(None);
                    return Ok(());
                }
                Err(format!("no partition of topic {} has a leader", self.topic))
            }
            Err(error) => Err(client.context().0.trouble().unwrap_or_else(|| told(&error))),
        }
    }

    /// How many brokers there are. Blocks.
    pub(super) fn brokers(&self, patience: Duration) -> Result<u64, String> {
        let running = self.running.load_full();
        let metadata = running.client().fetch_metadata(Some(&self.topic), patience);
        match metadata {
            Ok(metadata) => Ok(metadata.brokers().len() as u64),
            Err(error) => Err(told(&error)),
        }
    }

    /// After a fatal error (the brokers no longer know what was sent before) a
    /// producer sends nothing any more; another one begins anew.
    fn renew_if_dead(&self) {
        let dead = self.running.load().client().fatal_error();
        let Some((_, reason)) = dead else { return };
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(reason, "the producer ended; another one begins");
        match start(&self.config) {
            Ok(new) => {
                let old = self.running.swap(Arc::new(new));
                // It waits for its thread.
                std::thread::spawn(move || drop(old));
            }
            Err(reason) => tracing::error!(reason, "no producer can be begun"),
        }
        self.renewing.store(false, Ordering::Release);
    }

    /// Take no more, and return when what was taken is answered. Blocks.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Err(error) = self.running.load().flush(self.timeout) {
            tracing::warn!(%error, "records are not acknowledged at the end");
        }
    }
}

fn start(config: &ClientConfig) -> Result<ThreadedProducer<Reports>, String> {
    config
        .create_with_context(Reports::default())
        .map_err(|error| told(&error))
}
