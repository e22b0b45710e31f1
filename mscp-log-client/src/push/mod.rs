//! Pushing records: a bounded queue that does not block its callers, and
//! threads that send batches until each record is accepted or lost for a reason.

mod deliver;
mod inside;
mod outcome;
mod queue;
mod record;
mod spool;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::ureq::Ureq;
use crate::connection::{Builder, Settings};
use crate::error::Error;

pub use outcome::{Closed, Flushed, Loss, Losses, NotTaken};
pub use record::Record;
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) use {
    inside::is_inside,
    record::{is_good_kind, next_us},
};

use queue::Shared;
use spool::Spool;

/// More threads than this do not make one server faster.
const MAX_IN_FLIGHT: usize = 64;

/// What happens to a record when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new record is lost, what waits stays.
    #[default]
    DropNewest,
    /// The oldest records that wait make place.
    DropOldest,
    /// [`Pusher::push`] blocks its thread for a place, up to this long; then
    /// the new record is lost. It blocks a runtime's worker just so: there,
    /// [`Pusher::push_within`] waits without.
    Block(Duration),
}

/// Bounds and times of a [`Pusher`]. Fields may be added: begin from
/// `Default`.
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
    /// Batches on their way at once, each on a thread: 4, at most 64. With
    /// more than one, batches of an app may overtake each other.
    pub in_flight: usize,
    /// The time for one batch with all its retries; then its records are lost: 5 min.
    pub deadline: Duration,
    /// The first bound of the random wait between tries, doubled each time: 100 ms.
    pub backoff: Duration,
    /// The largest bound of that wait: 10 s.
    pub backoff_max: Duration,
    /// Whether bodies are compressed with gzip: no.
    #[cfg(feature = "gzip")]
    pub gzip: bool,
    /// Where what cannot be sent is kept in files: nowhere.
    pub spill: Option<Spill>,
}

/// A folder for what cannot be sent while the server is away.
///
/// Into it go: what is queued beyond half of the queue's bounds when the last
/// try failed, and beyond three quarters of them always; a batch whose deadline
/// is over, which is lost otherwise; and what is pending when the pusher is
/// closed. It is sent as soon as the server takes records again, by this
/// process or by the next pusher with the same folder, one batch at a time
/// beside what is new, under the keys that it had: what the server has of it
/// already is stored once. Tries of it have no deadline.
///
/// **What is durable when.** A record in the queue is in memory alone: it is
/// gone when the process is killed. One that [`Closed::spilled`] counts is in a
/// file that was synchronised (`fdatasync`) before it was counted. A file is
/// removed when all of it was accepted or lost; a process that is killed
/// before makes the next one send the whole file again, under the same keys.
///
/// Processes, and pushers within one, may share a folder: each locks the files
/// that it works with, and a pusher takes over the files that nobody has
/// locked when it is started. The end of a file that was not written whole is
/// cut, and counted as [`Loss::Damaged`]. When the bound is reached or a file
/// cannot be written, it is as if there were no spill, and tried again after
/// ten seconds. The file system has to support locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// The folder; it is made where there is none.
    pub folder: PathBuf,
    /// Bytes in the files of one pusher at most, with those that it took over.
    pub max_bytes: u64,
}

impl PushSettings {
    /// With a [`Spill`] into `folder`, of at most `max_bytes`.
    ///
    /// ```
    /// let settings = mscp_log_client::PushSettings::default().spill("/var/spool/shop", 1 << 30);
    /// assert_eq!(settings.spill.unwrap().max_bytes, 1 << 30);
    /// ```
    #[must_use]
    pub fn spill(mut self, folder: impl Into<PathBuf>, max_bytes: u64) -> PushSettings {
        self.spill = Some(Spill {
            folder: folder.into(),
            max_bytes,
        });
        self
    }
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
            #[cfg(feature = "gzip")]
            gzip: false,
            spill: None,
        }
    }
}

/// A queue of records on their way to the server. Cheap to clone; when the
/// last clone is dropped its threads send what is left and end. What is left
/// when the process ends is gone: end with [`Pusher::close`], or hold a
/// [`Guard`].
///
/// Batches hold the records of one app. Every try of a batch has the same
/// `Idempotency-Key`, so that a batch whose answer was lost is stored once.
///
/// It needs no runtime: one thread keeps the time, others send and end when
/// there is nothing to send. The futures of its calls may be awaited on any
/// executor.
///
/// ```no_run
/// # fn run(app: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
/// use mscp_log_client::{Credentials, Pusher, Record};
/// let pusher = Pusher::builder("https://logs.example.org")
///     .credentials(Credentials::from_env()?)
///     .build()?;
/// pusher.push(&Record::now(app, "applog", "started"))?;
/// let outcome = pusher.close_blocking(std::time::Duration::from_secs(5));
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

impl Builder<Pusher> {
    /// Bounds and times; the default ones unless set.
    #[must_use]
    pub fn settings(mut self, settings: PushSettings) -> Builder<Pusher> {
        self.push = settings;
        self
    }

    /// The pusher. It connects when there is something to send.
    ///
    /// # Errors
    ///
    /// Usage for a URL that is not `http` or `https` with a host, for a
    /// certificate that is no PEM, or for a bound of zero.
    pub fn build(self) -> Result<Pusher, Error> {
        Pusher::start(self.settings, self.push)
    }
}

impl Pusher {
    /// Begins a pusher to the server at `url`, the origin alone
    /// (`https://logs.example.org`), without any client.
    pub fn builder(url: impl Into<String>) -> Builder<Pusher> {
        Builder::new(url.into())
    }

    /// It shares nothing with the client that it is made from: not its
    /// connections, which may belong to a runtime, and not its tokens, which a
    /// runtime that stands still may be fetching.
    pub(crate) fn start(mut server: Settings, settings: PushSettings) -> Result<Pusher, Error> {
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
        if settings.in_flight > MAX_IN_FLIGHT {
            return Err(Error::usage(format!(
                "in_flight of the push settings is {}, expected at most {MAX_IN_FLIGHT}",
                settings.in_flight
            )));
        }
        server.idle = settings.in_flight;
        let connection = Arc::new(server.connect(Ureq::new)?);
        let spool = match &settings.spill {
            None => None,
            Some(spill) => {
                let opened = Spool::open(&spill.folder, spill.max_bytes);
                Some(opened.map_err(|error| {
                    Error::usage(format!("spill folder {}: {error}", spill.folder.display()))
                })?)
            }
        };
        let shared = Arc::new(Shared::new(settings));
        let spool = spool.map(|(spool, damage)| {
            shared.with_spool(spool.records(), &damage);
            spool
        });
        worker::start(&shared, &connection, spool)
            .map_err(|error| Error::usage(format!("cannot start the push thread: {error}")))?;
        Ok(Pusher {
            handle: Arc::new(Handle { shared }),
        })
    }

    /// Puts a record into the queue and returns at once; only with
    /// [`Overflow::Block`] does it wait when the queue is full.
    ///
    /// # Errors
    ///
    /// When the record was not taken: the queue is full, the pusher is closed,
    /// or the record can never be accepted. It is counted in the losses either way.
    pub fn push(&self, record: &Record) -> Result<(), NotTaken> {
        let shared = &self.handle.shared;
        shared.push(record.app(), shared.encode(record)?)
    }

    /// The same of a record that is encoded already.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) fn push_encoded(&self, app: uuid::Uuid, body: Vec<u8>) -> Result<(), NotTaken> {
        let shared = &self.handle.shared;
        shared.push(app, shared.fits(body)?)
    }

    /// Counts a record that could not be made.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) fn lose(&self, reason: Loss, words: String) -> NotTaken {
        self.handle.shared.lose(reason, words)
    }

    /// Puts a record into the queue, waiting up to `limit` for a place.
    ///
    /// # Errors
    ///
    /// As [`Pusher::push`]; full means full for all of `limit`.
    pub async fn push_within(&self, record: &Record, limit: Duration) -> Result<(), NotTaken> {
        let shared = &self.handle.shared;
        let body = shared.encode(record)?;
        shared.push_within(record.app(), body, limit).await
    }

    /// As [`Pusher::push_within`], and blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`Pusher::push_within`].
    pub fn push_blocking(&self, record: &Record, limit: Duration) -> Result<(), NotTaken> {
        let shared = &self.handle.shared;
        let body = shared.encode(record)?;
        shared.push_blocking(record.app(), body, limit)
    }

    /// Sends what is queued now without lingering, and waits up to `timeout`
    /// until each of those records is accepted or lost.
    pub async fn flush(&self, timeout: Duration) -> Flushed {
        self.handle.shared.flush(timeout).await
    }

    /// As [`Pusher::flush`], and blocks the thread.
    pub fn flush_blocking(&self, timeout: Duration) -> Flushed {
        self.handle.shared.flush_blocking(timeout)
    }

    /// Takes no more records, sends what is left for up to `timeout`, then stops.
    /// What is `pending` then was not acknowledged; it may have been stored.
    /// With a [`Spill`] it is written there first, for up to 5 s more.
    pub async fn close(&self, timeout: Duration) -> Closed {
        self.handle.shared.close(timeout).await
    }

    /// As [`Pusher::close`], and blocks the thread.
    pub fn close_blocking(&self, timeout: Duration) -> Closed {
        self.handle.shared.close_blocking(timeout)
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
        let _counted_in_progress = self.pusher.close_blocking(self.timeout);
    }
}
