//! Out of the topic: one member of the consumer group.
//!
//! A thread polls librdkafka, without a long pause: where the store does not
//! keep up it pauses the partitions, not the polling, so that the group does not
//! take it for dead. Partitions that go to another member are given up when all that
//! was handed out of them is committed, or when that takes too long, and not
//! while a commit of theirs is under way: so a commit of what is no longer ours
//! is refused here. One that the brokers refuse, because the group goes on to
//! another generation, is tried again until its epoch ends or it is done.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use tokio::sync::watch;

use super::assignment::{Assignment, Commit};
use super::foreign::{Clean, FORMAT_HEADER, Foreign, Kind, kind_of};
use super::settings::{Settings, Talk, told};
use crate::buffer::{Batch, ConsumeError, Consumer, Position};

/// Bytes of records in memory that nobody has asked for: from here on nothing
/// more is read. Partitions that were paused go on below a quarter of it.
const MOST_READ: usize = 16 << 20;

/// How long the store may take before the partitions are paused. librdkafka
/// throws away what it has fetched of a paused partition, and when that goes on
/// it is fetched again up to a second later: a store that is merely busy would
/// get 16 MiB a second. Nobody polls meanwhile, so a rebalance waits as long.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);

/// How long the brokers may take for a commit, with all tries.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a commit waits before it is tried again.
const COMMIT_PAUSE: Duration = Duration::from_millis(200);

/// How long a question about offsets may take while partitions come.
const ASKED: Duration = Duration::from_secs(5);

/// What all consumers of one buffer in this process share.
#[derive(Default)]
pub(super) struct Measured {
    /// Rises with each partition that comes.
    epoch: AtomicU64,
    /// Records of our partitions that are not committed.
    pub(super) backlog: AtomicU64,
}

/// What the thread, its callbacks and the consumer share.
struct Shared {
    topic: String,
    drain: Duration,
    state: Mutex<State>,
    /// Somebody asked for records, or nobody will.
    room: Condvar,
    /// Counts what happened: records came, commits ended, partitions went.
    news: watch::Sender<u64>,
    closing: AtomicBool,
    measured: Arc<Measured>,
}

#[derive(Default)]
struct State {
    assignment: Assignment,
    /// Partitions on their way to another member, and until when they wait.
    leaving: Option<(TopicPartitionList, Instant)>,
    /// Partitions with a commit under way.
    committing: HashSet<i32>,
    /// Why nothing more comes.
    failure: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until less was read than is asked for, or the store takes too long.
    fn wait_for_room<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let full = |state: &mut State| {
            state.assignment.bytes() >= MOST_READ && !self.closing.load(Ordering::Acquire)
        };
        let waited = self
            .room
            .wait_timeout_while(state, STORE_PATIENCE, full)
            .unwrap_or_else(PoisonError::into_inner);
        waited.0
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// End with `reason`.
    fn fail(&self, reason: String) {
        self.state().failure.get_or_insert(reason);
        self.tell();
    }
}

/// librdkafka's callbacks, which run inside polling.
struct Context {
    shared: Arc<Shared>,
    talk: Talk,
    lags: Mutex<BTreeMap<i32, Lag>>,
}

/// How far one partition was, and since when.
struct Lag {
    committed: i64,
    since: Instant,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.talk.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.talk.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.measure(&statistics);
    }
}

impl Context {
    /// Lag and stalls of our partitions.
    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges are doubles; a record in 2^53 is not missed"
    )]
    fn measure(&self, statistics: &Statistics) {
        let Some(topic) = statistics.topics.get(&self.shared.topic) else {
            return;
        };
        let ours: Vec<i32> = self.shared.state().assignment.numbers().collect();
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.retain(|partition, _| ours.contains(partition));
        let (mut backlog, mut longest) = (0_u64, Duration::ZERO);
        for number in ours {
            let Some(partition) = topic.partitions.get(&number) else {
                continue;
            };
            let committed = if partition.committed_offset >= 0 {
                partition.committed_offset
            } else {
                partition.lo_offset.max(0)
            };
            // -1001 where the brokers were not asked yet.
            let end = partition.ls_offset.max(partition.hi_offset);
            let behind = u64::try_from(end - committed).unwrap_or_default();
            backlog += behind;
            let now = Instant::now();
            let lag = lags.entry(number).or_insert(Lag {
                committed,
                since: now,
            });
            if behind == 0 || lag.committed != committed {
                *lag = Lag {
                    committed,
                    since: now,
                };
            }
            longest = longest.max(now - lag.since);
        }
        self.shared
            .measured
            .backlog
            .store(backlog, Ordering::Relaxed);
        metrics::gauge!("mscp_log_buffer_stalled_seconds").set(longest.as_secs_f64());
        metrics::gauge!("mscp_log_buffer_partitions").set(lags.len() as f64);
    }

    /// Partitions come: where they begin, and what of them is lost already.
    fn take_over(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let begins = self.beginnings(consumer, partitions);
        {
            let mut state = self.shared.state();
            for one in begins.elements() {
                let epoch = self.shared.measured.epoch.fetch_add(1, Ordering::Relaxed) + 1;
                let next = match one.offset() {
                    Offset::Offset(next) => Some(next),
                    _ => None,
                };
                state.assignment.assign(one.partition(), epoch, next);
            }
        }
        if let Err(error) = consumer.incremental_assign(&begins) {
            self.shared
                .fail(format!("taking partitions: {}", told(&error)));
        }
        tracing::info!(partitions = %names(partitions), "partitions came");
    }

    /// Each partition where its last commit is. Where brokers have removed what
    /// nobody committed, that is a loss, and is counted.
    fn beginnings(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> TopicPartitionList {
        let begins = match consumer.committed_offsets(partitions.clone(), ASKED) {
            Ok(committed) => committed,
            Err(error) => {
                // librdkafka asks again by itself, as long as it takes.
                tracing::warn!(%error, "the commits of partitions cannot be read yet");
                return partitions.clone();
            }
        };
        let topic = self.shared.topic.as_str();
        for mut one in begins.elements_for_topic(topic) {
            let Offset::Offset(next) = one.offset() else {
                // Never committed: from the first record on.
                let _ = one.set_offset(Offset::Beginning);
                continue;
            };
            match consumer.fetch_watermarks(topic, one.partition(), ASKED) {
                Ok((low, _)) if low > next => {
                    lost(one.partition(), low - next);
                    let _ = one.set_offset(Offset::Offset(low));
                }
                Ok(_) | Err(_) => {}
            }
        }
        begins
    }

    /// Partitions go: hand out no more of them, and let the thread give them
    /// up when they are drained.
    fn hand_over(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let shared = &self.shared;
        let at_once = consumer.assignment_lost() || shared.closing.load(Ordering::Acquire);
        let mut state = shared.state();
        for one in partitions.elements() {
            state.assignment.leave(one.partition());
        }
        let until = Instant::now()
            + if at_once {
                Duration::ZERO
            } else {
                shared.drain
            };
        if consumer.assignment_lost() {
            metrics::counter!("mscp_log_buffer_lost_assignments_total").increment(1);
        }
        state.leaving = Some((partitions.clone(), until));
        drop(state);
        if at_once {
            give_up(shared, consumer);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.take_over(consumer, partitions);
            }
            _ => self.hand_over(consumer, partitions),
        }
    }
}

/// Records that the brokers removed before the store had them.
fn lost(partition: i32, records: i64) {
    metrics::counter!("mscp_log_buffer_lost_records_total", "reason" => "retention")
        .increment(records.unsigned_abs());
    tracing::error!(
        partition,
        records,
        "the topic's retention removed records that were not shipped"
    );
}

fn names(partitions: &TopicPartitionList) -> String {
    let numbers: Vec<String> = partitions
        .elements()
        .iter()
        .map(|one| one.partition().to_string())
        .collect();
    numbers.join(",")
}

/// End the epochs of the partitions that leave, and let the group have them.
fn give_up(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let partitions = {
        let mut state = shared.state();
        let Some((partitions, _)) = state.leaving.take() else {
            return;
        };
        for one in partitions.elements() {
            state.assignment.remove(one.partition());
        }
        partitions
    };
    if let Err(error) = consumer.incremental_unassign(&partitions) {
        shared.fail(format!("giving partitions up: {}", told(&error)));
    }
    tracing::info!(partitions = %names(&partitions), "partitions went");
    shared.tell();
}

/// The thread that polls.
struct Worker {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    clean: Arc<Clean>,
    /// How many partitions were there when they were paused; none are.
    paused: usize,
    /// When the brokers were last asked whether a jump is a loss.
    asked: Option<Instant>,
}

impl Worker {
    fn run(mut self) {
        while !self.shared.closing.load(Ordering::Acquire) {
            // A message keeps what it was polled from.
            let consumer = Arc::clone(&self.consumer);
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if let Err(reason) = self.keep(&message) {
                        self.shared.fail(reason);
                        break;
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    self.shared.fail(code.to_string());
                    break;
                }
                // Brokers that are away come back; librdkafka goes on by itself.
                Some(Err(error)) => {
                    metrics::counter!("mscp_log_buffer_read_errors_total").increment(1);
                    tracing::warn!(reason = told(&error), "reading the topic");
                }
                None => {}
            }
            self.throttle();
            self.let_go();
        }
        // The last one to hold it leaves the group, which takes a while: not
        // whoever reads.
        while !self.shared.closing.load(Ordering::Acquire) {
            std::thread::sleep(POLL);
        }
        give_up(&self.shared, &self.consumer);
    }

    /// Keep what a message holds until it is asked for.
    fn keep(&mut self, message: &BorrowedMessage<'_>) -> Result<(), String> {
        let (partition, offset) = (message.partition(), message.offset());
        let record = self.record(message)?;
        let jump = {
            let mut state = self.shared.state();
            state.assignment.put(partition, offset, record)
        };
        self.shared.tell();
        if jump > 0 {
            self.judge(partition, offset - jump);
        }
        Ok(())
    }

    /// The document in a message; `None` where there is none.
    fn record(&self, message: &BorrowedMessage<'_>) -> Result<Option<Bytes>, String> {
        let value = message.payload().unwrap_or_default();
        let headers = message.headers();
        let format = headers.and_then(|all| {
            let ours = all.iter().find(|header| header.key == FORMAT_HEADER)?;
            ours.value
        });
        match kind_of(format, value) {
            Kind::Newer => Err(format!(
                "record {} of partition {} was written by a newer program; this one does not ship it",
                message.offset(),
                message.partition()
            )),
            Kind::Ours => Ok(Some(Bytes::copy_from_slice(value))),
            Kind::Foreign => {
                let foreign = Foreign {
                    topic: message.topic(),
                    partition: message.partition(),
                    offset: message.offset(),
                    time_us: message
                        .timestamp()
                        .to_millis()
                        .and_then(|ms| ms.checked_mul(1_000)),
                    value,
                };
                let kept = (!value.is_empty()).then(|| (self.clean)(foreign)).flatten();
                metrics::counter!("mscp_log_buffer_foreign_records_total").increment(1);
                Ok(kept)
            }
        }
    }

    /// Numbers were passed over from `read` on. Markers of transactions leave
    /// such gaps; so does retention that was quicker than shipping, and that is
    /// a loss.
    fn judge(&mut self, partition: i32, read: i64) {
        let now = Instant::now();
        if self
            .asked
            .is_some_and(|last| now - last < Duration::from_secs(1))
        {
            return;
        }
        self.asked = Some(now);
        let marks = self
            .consumer
            .fetch_watermarks(&self.shared.topic, partition, ASKED);
        if let Ok((low, _)) = marks
            && low > read
        {
            lost(partition, low - read);
        }
    }

    /// Wait where more was read than is asked for, pause where waiting does not
    /// help, and go on when it was asked for.
    fn throttle(&mut self) {
        let (bytes, ours) = {
            let mut state = self.shared.state();
            if self.paused == 0 && state.assignment.bytes() >= MOST_READ {
                state = self.shared.wait_for_room(state);
            }
            (state.assignment.bytes(), state.assignment.len())
        };
        let much = bytes >= MOST_READ && self.paused != ours;
        let little = bytes < MOST_READ / 4 && self.paused > 0;
        if !much && !little {
            return;
        }
        let done = self.consumer.assignment().and_then(|partitions| {
            if much {
                self.consumer.pause(&partitions)
            } else {
                self.consumer.resume(&partitions)
            }
        });
        match done {
            Ok(()) => {
                self.paused = if much { ours } else { 0 };
                metrics::gauge!("mscp_log_buffer_paused").set(if much { 1.0 } else { 0.0 });
            }
            Err(error) => tracing::warn!(%error, "pausing partitions"),
        }
    }

    /// Give partitions up that wait for it, when they are drained or have
    /// waited long enough.
    fn let_go(&self) {
        let due = {
            let state = self.shared.state();
            state.leaving.as_ref().is_some_and(|(partitions, until)| {
                let mut leaving = partitions.elements().into_iter();
                if leaving.any(|one| state.committing.contains(&one.partition())) {
                    return false;
                }
                let drained = state.assignment.drained();
                if !drained && Instant::now() >= *until {
                    metrics::counter!("mscp_log_buffer_undrained_revocations_total").increment(1);
                    tracing::warn!("partitions go before all that was read of them is committed");
                    return true;
                }
                drained
            })
        };
        if due {
            give_up(&self.shared, &self.consumer);
        }
    }
}

/// A member of the group. Dropped, it leaves.
pub(super) struct KafkaConsumer {
    /// `None` only while it is dropped.
    consumer: Option<Arc<BaseConsumer<Context>>>,
    shared: Arc<Shared>,
    news: watch::Receiver<u64>,
}

impl KafkaConsumer {
    /// Join the group of `settings`. Foreign messages are cleaned by `clean`.
    pub(super) fn join(
        settings: &Settings,
        clean: Arc<Clean>,
        measured: Arc<Measured>,
    ) -> Result<(Self, JoinHandle<()>), String> {
        let shared = Arc::new(Shared {
            topic: settings.topic.clone(),
            drain: settings.kafka.drain,
            state: Mutex::new(State::default()),
            room: Condvar::new(),
            news: watch::Sender::new(0),
            closing: AtomicBool::new(false),
            measured,
        });
        let context = Context {
            shared: Arc::clone(&shared),
            talk: Talk::default(),
            lags: Mutex::new(BTreeMap::new()),
        };
        let consumer: BaseConsumer<Context> = settings
            .consumer()?
            .create_with_context(context)
            .map_err(|error| told(&error))?;
        let topics = [settings.topic.as_str()];
        consumer.subscribe(&topics).map_err(|error| told(&error))?;
        let consumer = Arc::new(consumer);
        let worker = Worker {
            consumer: Arc::clone(&consumer),
            shared: Arc::clone(&shared),
            clean,
            paused: 0,
            asked: None,
        };
        let thread = std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| error.to_string())?;
        let news = shared.news.subscribe();
        let joined = Self {
            consumer: Some(consumer),
            shared,
            news,
        };
        Ok((joined, thread))
    }

    /// Commit, once, on a thread that may block; `None` is that it is done.
    /// While it is under way its partition is not given up.
    async fn try_commit(&self, position: Position) -> Result<Option<KafkaError>, ConsumeError> {
        let Some(consumer) = self.consumer.clone() else {
            return Err(ConsumeError::Closed);
        };
        let partition = position.partition.cast_signed();
        {
            let mut state = self.shared.state();
            if state.assignment.check(position)? == Commit::Done {
                return Ok(None);
            }
            state.committing.insert(partition);
        }
        let shared = Arc::clone(&self.shared);
        let committed = tokio::task::spawn_blocking(move || {
            let next = i64::try_from(position.next).unwrap_or(i64::MAX);
            let mut offsets = TopicPartitionList::with_capacity(1);
            let committed = offsets
                .add_partition_offset(&shared.topic, partition, Offset::Offset(next))
                .and_then(|()| consumer.commit(&offsets, CommitMode::Sync));
            let mut state = shared.state();
            state.committing.remove(&partition);
            // A partition that went meanwhile and came again begins anew.
            if committed.is_ok() && state.assignment.check(position).is_ok() {
                state.assignment.committed(partition, next);
            }
            committed
        });
        match committed.await {
            Ok(committed) => Ok(committed.err()),
            Err(_) => Err(ConsumeError::Closed),
        }
    }

    async fn commit_now(&self, position: Position) -> Result<(), ConsumeError> {
        use RDKafkaErrorCode as Code;
        while let Some(error) = self.try_commit(position).await? {
            match error.rdkafka_error_code() {
                None | Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                    return Err(ConsumeError::Failed(told(&error)));
                }
                // A rebalance, a coordinator that moves, brokers that are away.
                // Also a generation that has ended: while a new one begins, a
                // commit is of the old one, and the partition may stay ours. If
                // it does not, its epoch ends, and that is what counts.
                Some(code) => {
                    tracing::debug!(%code, "a commit is tried again");
                    tokio::time::sleep(COMMIT_PAUSE).await;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn read(&mut self, max_bytes: usize) -> Result<Batch, ConsumeError> {
        loop {
            self.news.borrow_and_update();
            {
                let mut state = self.shared.state();
                if let Some(batch) = state.assignment.take(max_bytes) {
                    self.shared.room.notify_one();
                    return Ok(batch);
                }
                // What was read before is shipped first.
                if let Some(reason) = &state.failure {
                    return Err(ConsumeError::Failed(reason.clone()));
                }
            }
            if self.news.changed().await.is_err() {
                return Err(ConsumeError::Closed);
            }
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), ConsumeError> {
        match tokio::time::timeout(COMMIT_PATIENCE, self.commit_now(position)).await {
            Ok(committed) => committed,
            Err(_) => Err(ConsumeError::Failed(
                "the brokers did not answer a commit".to_owned(),
            )),
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // The thread has the last one: leaving the group takes a while.
        self.consumer = None;
        self.shared.closing.store(true, Ordering::Release);
        self.shared.room.notify_one();
    }
}
