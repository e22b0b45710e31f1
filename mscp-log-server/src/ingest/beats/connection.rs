//! One connection: read a window, make it durable, answer for it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge};
use mscp_log_core::clean::Raw;
use mscp_log_core::clean::beat::Event;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use webpki::EndEntityCert;

use super::Shared;
use super::room::Hold;
use crate::buffer::AppendError;
use crate::clock;
use crate::lumberjack::{Parser, ProtocolError, Step, Version, ack};

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;
/// Bytes of events that go to the buffer at once; a longer window goes in parts.
const PART_BYTES: usize = 4 << 20;
/// The largest document that goes to the buffer, which takes no append over
/// 64 MiB: an event without a message is in its document three times.
const DOCUMENT_BYTES: usize = 48 << 20;
/// Events from so many bytes on are parsed away from the async threads.
const LARGE_BYTES: usize = 128 << 10;
/// How long a full buffer is left alone before it is asked again, at first and
/// at most.
const FULL_WAIT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// It broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer took too long.
    #[error("no whole frame came for too long, or an answer was not read")]
    Idle,
    /// What came is no Lumberjack.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// An event that no window was announced for.
    #[error("an event came before a window")]
    NoWindow,
    /// The buffer failed: whoever sends goes elsewhere, or comes again.
    #[error("{0}")]
    Buffer(AppendError),
}

impl Gone {
    /// The reason as a metric's label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Stopping => "stopping",
            Self::Tls(_) => "tls",
            Self::Io(_) => "io",
            Self::Idle => "idle",
            Self::Protocol(_) | Self::NoWindow => "protocol",
            Self::Buffer(_) => "buffer",
        }
    }
}

/// The window that is being read.
struct Window {
    version: Version,
    /// Events that it announced.
    size: u32,
    /// Events of it that have not come.
    left: u32,
    /// The place of the next event in it.
    place: i64,
    /// The number of the last event that came.
    last: u32,
    /// The last number that was answered; 0 before.
    acknowledged: u32,
    /// When its first event came, in microseconds since the epoch: one time
    /// for all of it.
    read_us: i64,
}

/// An event as it came, and its place in the window.
type Received = (i64, Vec<u8>);

pub(super) struct Connection<S> {
    stream: S,
    /// What the peer is known by.
    certificate: Option<Arc<CertificateDer<'static>>>,
    shared: Arc<Shared>,
    window: Window,
    /// Events that are not in the buffer.
    pending: Vec<Received>,
    hold: Hold,
    /// When the peer has to have sent its next whole frame.
    deadline: Instant,
    /// When the peer is told that the node lives.
    keep_alive: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        stream: S,
        certificate: Option<CertificateDer<'static>>,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            certificate: certificate.map(Arc::new),
            window: Window {
                version: Version::Two,
                size: 0,
                left: 0,
                place: 0,
                last: 0,
                acknowledged: 0,
                read_us: 0,
            },
            pending: Vec::new(),
            hold: Hold::new(Arc::clone(&shared.room)),
            deadline: now + shared.idle,
            keep_alive: now + shared.keep_alive,
            shared,
        }
    }

    /// Take events until the connection ends.
    pub(super) async fn run(mut self) -> Gone {
        let gone = match self.read_all().await {
            Ok(()) => Gone::Closed,
            Err(gone) => gone,
        };
        // Says goodbye where TLS is spoken; the peer may be gone.
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        gone
    }

    async fn read_all(&mut self) -> Result<(), Gone> {
        let mut parser = Parser::new(self.shared.limits);
        let mut buffer = vec![0; READ_BYTES];
        let bytes = counter!("mscp_log_beats_bytes_total");
        loop {
            let read = self.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            bytes.increment(read as u64);
            let mut input = &buffer[..read];
            while let Some(step) = parser.next(&mut input)? {
                self.step(step).await?;
            }
        }
    }

    /// Read something; 0 is the end.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gone> {
        let pause = Instant::now() + self.shared.pause;
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                read = self.stream.read(buffer) => {
                    return match read {
                        Ok(read) => Ok(read),
                        // Beats close without TLS's goodbye.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                        Err(error) => Err(error.into()),
                    };
                }
                () = sleep_until(self.deadline) => return Err(Gone::Idle),
                () = sleep_until(pause), if !self.pending.is_empty() => self.settle().await?,
                () = shared.closing.cancelled() => return Err(Gone::Stopping),
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), Gone> {
        match step {
            Step::Busy => {
                tokio::task::yield_now().await;
                return Ok(());
            }
            Step::Room(bytes) => {
                if !self.hold.try_take(bytes) {
                    self.wait_for_room(bytes).await?;
                }
            }
            Step::Window { version, events } => {
                // Logstash, too, takes a new window as the end of the one before.
                if !self.pending.is_empty() {
                    self.window.left = 0;
                    self.settle().await?;
                }
                counter!("mscp_log_beats_windows_total").increment(1);
                self.window = Window {
                    version,
                    size: events,
                    left: 0,
                    place: 0,
                    last: 0,
                    acknowledged: 0,
                    read_us: 0,
                };
                if events == 0 {
                    self.acknowledge(0).await?;
                }
            }
            Step::Event { sequence, json } => {
                self.count_in(sequence)?;
                self.hold.keep(json.len());
                self.pending.push((self.window.place, json));
                self.counted().await?;
            }
            Step::TooLarge { sequence, bytes } => {
                self.count_in(sequence)?;
                self.hold.pass_over();
                refused("too_large", 1);
                let limit = self.shared.limits.event_bytes;
                tracing::warn!(
                    bytes,
                    limit,
                    "an event of a Beat is larger than beats.max_event_bytes and was not taken"
                );
                self.counted().await?;
            }
        }
        self.deadline = Instant::now() + self.shared.idle;
        Ok(())
    }

    /// An event of the window has come.
    fn count_in(&mut self, sequence: u32) -> Result<(), Gone> {
        let window = &mut self.window;
        if window.left == 0 {
            if window.size == 0 {
                return Err(Gone::NoWindow);
            }
            // A window holds until another is announced.
            window.left = window.size;
            window.place = 0;
            window.acknowledged = 0;
            window.read_us = clock::now_us();
        }
        window.left -= 1;
        window.last = sequence;
        Ok(())
    }

    async fn counted(&mut self) -> Result<(), Gone> {
        self.window.place += 1;
        if self.window.left == 0 || self.hold.events() >= PART_BYTES {
            self.settle().await?;
        }
        Ok(())
    }

    /// Wait until an event of `bytes` may be read, with nothing held.
    async fn wait_for_room(&mut self, bytes: usize) -> Result<(), Gone> {
        if !self.pending.is_empty() {
            self.settle().await?;
        }
        let mut hold = Hold::new(Arc::clone(&self.shared.room));
        let closing = self.shared.closing.clone();
        let taken = closing.run_until_cancelled(hold.take(bytes));
        self.waiting(taken).await?.ok_or(Gone::Stopping)?;
        self.hold = hold;
        Ok(())
    }

    /// Make what is pending durable and answer for it.
    async fn settle(&mut self) -> Result<(), Gone> {
        if !self.pending.is_empty() {
            let waiting = gauge!("mscp_log_beats_waiting_acks");
            waiting.increment(1);
            let settled = self.append().await;
            waiting.decrement(1);
            settled?;
            self.hold.give_back();
        }
        let whole = self.window.left == 0;
        if whole || self.window.version == Version::Two {
            self.acknowledge(self.window.last).await?;
        }
        Ok(())
    }

    async fn append(&mut self) -> Result<(), Gone> {
        let events = std::mem::take(&mut self.pending);
        let encoded = self.encode(events).await?;
        let documents = encoded.documents.len() as u64;
        let bytes: usize = encoded.documents.iter().map(Bytes::len).sum();
        for group in groups(encoded.documents) {
            self.append_group(group).await?;
        }
        // What is sent again is counted again, so only now.
        counter!("mscp_log_ingest_records_total", "way" => "beats").increment(documents);
        counter!("mscp_log_ingest_bytes_total", "way" => "beats").increment(bytes as u64);
        refused("host", encoded.of_other_hosts);
        refused("too_large", encoded.too_large);
        counter!("mscp_log_beats_unreadable_events_total").increment(encoded.unreadable);
        Ok(())
    }

    /// Append, as long as it takes while the buffer is full.
    async fn append_group(&mut self, documents: Vec<Bytes>) -> Result<(), Gone> {
        let shared = Arc::clone(&self.shared);
        let mut wait = FULL_WAIT[0];
        loop {
            let appended = shared.pipeline.append(documents.clone());
            match self.waiting(appended).await? {
                Ok(()) => return Ok(()),
                Err(error @ (AppendError::Full { .. } | AppendError::DiskFull)) => {
                    tracing::debug!(%error, "Beats wait");
                    let pause = shared.closing.run_until_cancelled(tokio::time::sleep(wait));
                    self.waiting(pause).await?.ok_or(Gone::Stopping)?;
                    wait = (wait * 2).min(FULL_WAIT[1]);
                }
                Err(AppendError::Closed) => return Err(Gone::Stopping),
                Err(error) => return Err(Gone::Buffer(error)),
            }
        }
    }

    async fn encode(&mut self, events: Vec<Received>) -> Result<Encoded, Gone> {
        let shared = Arc::clone(&self.shared);
        let certificate = self.certificate.clone();
        let read_us = self.window.read_us;
        let work = move || encode(&shared, certificate.as_deref(), &events, read_us);
        if self.hold.events() < LARGE_BYTES {
            return Ok(work());
        }
        let encoded = self.waiting(tokio::task::spawn_blocking(work)).await?;
        encoded.map_err(|_| Gone::Stopping)
    }

    /// Wait for `what`, and meanwhile say that the node lives.
    async fn waiting<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Gone> {
        let mut what = pin!(what);
        self.keep_alive = Instant::now() + self.shared.keep_alive;
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Ok(done),
                // Senders of version 1 take any answer for the last.
                () = sleep_until(self.keep_alive), if self.window.version == Version::Two => {
                    counter!("mscp_log_beats_keep_alives_total").increment(1);
                    self.acknowledge(self.window.acknowledged).await?;
                }
            }
        }
    }

    async fn acknowledge(&mut self, sequence: u32) -> Result<(), Gone> {
        let frame = ack(self.window.version, sequence);
        let written = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        match timeout(self.shared.idle, written).await {
            Ok(written) => written?,
            Err(_) => return Err(Gone::Idle),
        }
        self.window.acknowledged = sequence;
        let now = Instant::now();
        self.keep_alive = now + self.shared.keep_alive;
        self.deadline = now + self.shared.idle;
        Ok(())
    }
}

/// Documents of events, and how many events did not become what they should.
struct Encoded {
    documents: Vec<Bytes>,
    of_other_hosts: u64,
    too_large: u64,
    unreadable: u64,
}

/// Documents that go to the buffer together: about [`PART_BYTES`].
fn groups(documents: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut groups: Vec<Vec<Bytes>> = Vec::new();
    let mut room = 0;
    for document in documents {
        let fits = document.len() <= room;
        room = if fits { room } else { PART_BYTES }.saturating_sub(document.len());
        match groups.last_mut() {
            Some(group) if fits => group.push(document),
            _ => groups.push(vec![document]),
        }
    }
    groups
}

fn encode(
    shared: &Shared,
    certificate: Option<&CertificateDer<'static>>,
    events: &[Received],
    read_us: i64,
) -> Encoded {
    let (mut of_other_hosts, mut unreadable) = (0, 0);
    // Most connections carry one host.
    let mut host_before: Option<(String, bool)> = None;
    let mut may_be_of = |host: &str| match &host_before {
        Some((before, named)) if before == host => *named,
        _ => {
            let named = certificate.is_some_and(|certificate| names(certificate, host));
            host_before = Some((host.to_owned(), named));
            named
        }
    };
    let raws = events.iter().filter_map(|(seq, json)| {
        let event = match Event::parse(json) {
            Ok(event) => event,
            Err(_) => {
                unreadable += 1;
                Event::unreadable(json)
            }
        };
        if shared.bind_hosts && !may_be_of(event.hostname.as_deref().unwrap_or_default()) {
            of_other_hosts += 1;
            return None;
        }
        Some(Raw::Beat {
            event,
            read_us,
            seq: *seq,
        })
    });
    let mut documents = shared.pipeline.encode(raws, clock::now_us());
    let made = documents.len();
    documents.retain(|document| document.len() <= DOCUMENT_BYTES);
    let too_large = (made - documents.len()) as u64;
    if too_large > 0 {
        tracing::warn!(too_large, "events of a Beat made too large records");
    }
    Encoded {
        documents,
        of_other_hosts,
        too_large,
        unreadable,
    }
}

/// Whether `host` is among the names that the certificate is for (its subject
/// alternative names, RFC 6125).
fn names(certificate: &CertificateDer<'static>, host: &str) -> bool {
    let (Ok(certificate), Ok(host)) = (
        EndEntityCert::try_from(certificate),
        ServerName::try_from(host),
    ) else {
        return false;
    };
    certificate.verify_is_valid_for_subject_name(&host).is_ok()
}

fn refused(reason: &'static str, events: u64) {
    if events > 0 {
        counter!("mscp_log_beats_refused_events_total", "reason" => reason).increment(events);
    }
}
