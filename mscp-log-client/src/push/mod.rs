//! Pushing records: a bounded queue that never blocks its caller, and a worker
//! that sends batches until each record is accepted or lost for a reason.

mod deliver;
mod queue;
mod record;

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;

pub use queue::{Closed, Flushed, Loss, Losses, NotTaken};
pub use record::Record;

use queue::Shared;

/// What happens to a record when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new record is lost, what waits stays.
    #[default]
    DropNewest,
    /// The oldest records that wait make place.
    DropOldest,
}

/// Bounds and times of a [`Pusher`].
///
/// ```
/// let settings = mscp_log_client::PushSettings { max_records: 1_000, ..Default::default() };
/// assert_eq!(settings.batch_records, 1_000);
/// ```
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// Records held at most, waiting and on their way: 100,000.
    pub max_records: usize,
    /// Bytes held at most, as encoded: 64 MiB.
    pub max_bytes: usize,
    /// What happens when either is reached.
    pub overflow: Overflow,
    /// A batch is sent when it has this many records: 1,000.
    pub batch_records: usize,
    /// A batch is sent when it has this many bytes: 1 MiB.
    pub batch_bytes: usize,
    /// A batch is sent when its first record waited this long: 1 s.
    pub linger: Duration,
    /// Batches on their way at once: 4.
    pub in_flight: usize,
    /// The time for one batch with all its retries; then its records are lost: 5 min.
    pub deadline: Duration,
    /// The first bound of the random wait between tries, doubled each time: 100 ms.
    pub backoff: Duration,
    /// The largest bound of that wait: 10 s.
    pub backoff_max: Duration,
    /// Whether bodies are compressed with gzip: no.
    pub gzip: bool,
}

impl Default for PushSettings {
    fn default() -> Self {
        PushSettings {
            max_records: 100_000,
            max_bytes: 64 * 1024 * 1024,
            overflow: Overflow::default(),
            batch_records: 1_000,
            batch_bytes: 1024 * 1024,
            linger: Duration::from_secs(1),
            in_flight: 4,
            deadline: Duration::from_secs(300),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            gzip: false,
        }
    }
}

/// A queue of records on their way to the server. Cheap to clone; when the
/// last clone is dropped the worker sends what is left and ends.
///
/// Batches hold the records of one app. Every try of a batch has the same
/// `Idempotency-Key`, so that a batch whose answer was lost is stored once.
///
/// ```no_run
/// # async fn run(client: mscp_log_client::Client, app: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
/// use mscp_log_client::{PushSettings, Record};
/// let pusher = client.pusher(PushSettings::default())?;
/// pusher.push(&Record::now(app, "applog", "started"))?;
/// let outcome = pusher.close(std::time::Duration::from_secs(5)).await;
/// println!("{} sent, {} lost", outcome.sent, outcome.dropped.total());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pusher {
    handle: Arc<Handle>,
}

/// Closes the queue when the last clone of the pusher is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Pusher {
    pub(crate) fn start(client: &Client, settings: PushSettings) -> Result<Pusher, Error> {
        let bounds = [
            ("max_records", settings.max_records),
            ("max_bytes", settings.max_bytes),
            ("batch_records", settings.batch_records),
            ("batch_bytes", settings.batch_bytes),
            ("in_flight", settings.in_flight),
        ];
        if let Some((name, _)) = bounds.iter().find(|(_, bound)| *bound == 0) {
            return Err(Error::usage(format!(
                "{name} of the push settings is 0, expected at least 1"
            )));
        }
        // The worker has a thread and a runtime of its own: it goes on while
        // the caller's runtime is blocked, busy or gone, and a guard can wait
        // for it anywhere.
        let client = client.separate()?;
        let shared = Arc::new(Shared::new(settings));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::usage(format!("cannot start the push worker: {error}")))?;
        let worker = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("mscp-log-push".to_owned())
            .spawn(move || {
                // However the worker ends, nobody must wait for it for ever.
                let _over = queue::Over(Arc::clone(&worker));
                runtime.block_on(deliver::run(client, worker));
            })
            .map_err(|error| Error::usage(format!("cannot start the push worker: {error}")))?;
        Ok(Pusher {
            handle: Arc::new(Handle { shared }),
        })
    }

    /// Puts a record into the queue and returns at once.
    ///
    /// # Errors
    ///
    /// When the record was not taken: the queue is full and drops the newest,
    /// the pusher is closed, or the record can never be accepted. It is counted
    /// in the losses either way.
    pub fn push(&self, record: &Record) -> Result<(), NotTaken> {
        self.handle.shared.push(record)
    }

    /// Puts a record into the queue, waiting up to `limit` for a place.
    ///
    /// # Errors
    ///
    /// As [`Pusher::push`]; full means full for all of `limit`.
    pub async fn push_within(&self, record: &Record, limit: Duration) -> Result<(), NotTaken> {
        self.handle.shared.push_within(record, limit).await
    }

    /// Sends what is queued now without lingering, and waits up to `timeout`
    /// until each of those records is accepted or lost.
    pub async fn flush(&self, timeout: Duration) -> Flushed {
        self.handle.shared.flush(timeout).await
    }

    /// Takes no more records, sends what is left for up to `timeout`, then stops.
    /// What is `pending` then was not acknowledged; it may have been stored.
    pub async fn close(&self, timeout: Duration) -> Closed {
        self.handle.shared.close(timeout).await
    }

    /// Records accepted, lost and held until now.
    #[must_use]
    pub fn progress(&self) -> Closed {
        self.handle.shared.progress()
    }

    /// A guard that closes the pusher when it is dropped, and blocks the
    /// thread for up to `timeout` while the rest is sent.
    #[must_use = "the guard closes the pusher when it is dropped"]
    pub fn guard(&self, timeout: Duration) -> Guard {
        Guard {
            pusher: self.clone(),
            timeout,
        }
    }
}

/// Closes its [`Pusher`] on drop and waits until what was queued is sent.
#[derive(Debug)]
pub struct Guard {
    pusher: Pusher,
    timeout: Duration,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pusher.handle.shared.close_blocking(self.timeout);
    }
}
