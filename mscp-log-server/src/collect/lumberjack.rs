//! Sending over Lumberjack, to a node, to Logstash, or to whatever takes Beats.
//!
//! Version 2 of the protocol ([`crate::lumberjack`]), as Beats speak it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::lumberjack::{ACK_BYTES, read_ack, write_window};
use crate::tls::{self, TlsError};

/// How long a host that failed is left alone, at first and at most, while
/// there are others.
const SHUNNED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Where to send, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Receivers as `host:port`, at least one.
    pub hosts: Vec<String>,
    /// Whether windows go to the hosts in turn; otherwise to one until it fails.
    pub load_balance: bool,
    /// Events of one window.
    pub window_events: usize,
    /// Bytes of the events of one window, before compression; an event alone
    /// may have more.
    pub window_bytes: usize,
    /// zlib's level, 0 (none) to 9.
    pub compression: u32,
    /// How long a receiver may neither take nor say anything. One whose own
    /// buffer is full says that it lives, and is waited for.
    pub timeout: Duration,
    /// `None` is plain TCP.
    pub tls: Option<SenderTls>,
}

impl Settings {
    /// What Beats have by default, for `hosts`.
    #[must_use]
    pub fn new(hosts: Vec<String>) -> Self {
        Self {
            hosts,
            load_balance: false,
            window_events: 2_048,
            window_bytes: 8 << 20,
            compression: 3,
            timeout: Duration::from_secs(30),
            tls: None,
        }
    }
}

/// TLS of a sender. The files are read for each connection, so that what is
/// renewed is used.
#[derive(Clone, Debug)]
pub struct SenderTls {
    /// PEM file of the certificates that receivers are verified by.
    pub ca_file: PathBuf,
    /// PEM files of our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that a receiver's certificate must be for; `None` is its host.
    pub server_name: Option<String>,
}

/// Why events are not all acknowledged. At least once: the caller sends the
/// same again.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {reason}")]
pub struct SendError {
    /// The host that was tried last.
    pub host: String,
    /// What was wrong with it.
    pub reason: Reason,
}

/// What was wrong with a receiver.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Our own files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The name of the receiver cannot be one.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
    /// It did nothing for too long.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It said something that is no answer to what was sent.
    #[error("expected an acknowledgement of at most {sent}, found {found}")]
    Answer {
        /// Events of the window.
        sent: u32,
        /// What came.
        found: String,
    },
}

/// There is no host to send to.
#[derive(Debug, thiserror::Error)]
#[error("expected at least one host")]
pub struct NoHosts;

/// Sends events, one window at a time.
pub struct Sender {
    settings: Settings,
    hosts: Vec<Host>,
    /// Who is next.
    next: usize,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A receiver.
struct Host {
    name: String,
    /// Where nothing is under way on it.
    connection: Option<Connection>,
    /// Until when it is left alone, and for how long the next time.
    shunned: Option<(Instant, Duration)>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Connection {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
}

impl Sender {
    /// A sender that is not connected yet.
    ///
    /// # Errors
    /// When there is no host.
    pub fn new(settings: Settings) -> Result<Self, NoHosts> {
        if settings.hosts.is_empty() {
            return Err(NoHosts);
        }
        let hosts = settings.hosts.iter().map(|name| Host {
            name: name.clone(),
            connection: None,
            shunned: None,
        });
        Ok(Self {
            hosts: hosts.collect(),
            settings,
            next: 0,
        })
    }

    /// Send `events`, each a JSON object; returns when all are acknowledged.
    ///
    /// Waits as long as a receiver says that it lives. A host that fails is
    /// replaced by the next. When this is dropped before its end, what was
    /// under way may or may not have arrived.
    ///
    /// # Errors
    /// When every host has failed since the last acknowledgement. Some of the
    /// events may have arrived; the caller sends all of them again.
    pub async fn send(&mut self, events: &[Bytes]) -> Result<(), SendError> {
        let mut left = events;
        let mut failures = 0;
        while !left.is_empty() {
            let window = &left[..self.window_of(left)];
            let place = self.choose();
            let (done, failed) = self.deliver(place, window).await;
            left = &left[done..];
            counter!("mscp_log_lumberjack_sent_events_total").increment(done as u64);
            if done > 0 {
                failures = 0;
            }
            let host = &mut self.hosts[place];
            match failed {
                None => host.shunned = None,
                Some(reason) => {
                    counter!("mscp_log_lumberjack_failures_total").increment(1);
                    let wait = host
                        .shunned
                        .map_or(SHUNNED[0], |(_, wait)| (wait * 2).min(SHUNNED[1]));
                    host.shunned = Some((Instant::now() + wait, wait));
                    tracing::debug!(host = host.name, %reason, "a receiver of Lumberjack failed");
                    failures += 1;
                    if failures >= self.hosts.len() {
                        let host = self.hosts[place].name.clone();
                        return Err(SendError { host, reason });
                    }
                }
            }
        }
        Ok(())
    }

    /// How many of `events` the next window has; at least one.
    fn window_of(&self, events: &[Bytes]) -> usize {
        let mut bytes = 0;
        let fits = events
            .iter()
            .take(self.settings.window_events.max(1))
            .take_while(|event| {
                bytes += event.len();
                bytes <= self.settings.window_bytes
            });
        fits.count().max(1)
    }

    /// The host of the next window: of those that are not shunned the next in
    /// turn, or else the one whose time is up first.
    fn choose(&mut self) -> usize {
        let now = Instant::now();
        let count = self.hosts.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        let chosen = in_turn.min_by_key(|place| {
            let shunned = self.hosts[*place].shunned.map(|(until, _)| until);
            shunned.filter(|until| *until > now)
        });
        let chosen = chosen.unwrap_or(self.next);
        self.next = match self.settings.load_balance {
            true => (chosen + 1) % count,
            false => chosen,
        };
        chosen
    }

    /// Send one window to a host; how many of its events were acknowledged,
    /// and what went wrong.
    async fn deliver(&mut self, place: usize, window: &[Bytes]) -> (usize, Option<Reason>) {
        let mut frames = Vec::new();
        if let Err(error) = write_window(&mut frames, window, self.settings.compression) {
            return (0, Some(error.into()));
        }
        let patience = self.settings.timeout;
        let host = &mut self.hosts[place];
        // Taken out: a connection on which something was given up is not used again.
        let mut open = host.connection.take();
        loop {
            let is_old = open.is_some();
            let made = match open.take() {
                Some(connection) => Ok(connection),
                None => connect(&host.name, &self.settings).await,
            };
            let mut connection = match made {
                Ok(connection) => connection,
                Err(reason) => return (0, Some(reason)),
            };
            let mut done = 0;
            let exchanged = connection.exchange(&frames, window.len(), patience, &mut done);
            match exchanged.await {
                Ok(()) => {
                    host.connection = Some(connection);
                    return (done, None);
                }
                // Receivers close what was idle for a while; that is no fault.
                Err(Reason::Io(_)) if is_old && done == 0 => {}
                Err(reason) => return (done, Some(reason)),
            }
        }
    }
}

/// What keeps us from connecting, of each receiver with which something does.
pub async fn reach(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    for host in &settings.hosts {
        if let Err(reason) = connect(host, settings).await {
            wrong.push(format!("{host}: {reason}"));
        }
    }
    wrong
}

impl Connection {
    /// Write `frames` and read answers until all of the window's `events` are
    /// acknowledged; `done` says how many are.
    ///
    /// Answers are read while frames are written: a receiver that does not
    /// read, because its buffer is full, still says that it lives.
    async fn exchange(
        &mut self,
        frames: &[u8],
        events: usize,
        patience: Duration,
        done: &mut usize,
    ) -> Result<(), Reason> {
        let (mut written, mut flushed) = (0, false);
        let mut answer = [0; ACK_BYTES];
        let mut have = 0;
        let mut deadline = Instant::now() + patience;
        while *done < events {
            tokio::select! {
                read = self.reader.read(&mut answer[have..]) => match read? {
                    0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    read => have += read,
                },
                wrote = put(&mut self.writer, &frames[written..]), if !flushed => {
                    let wrote = wrote?;
                    flushed = wrote == 0;
                    written += wrote;
                }
                () = sleep_until(deadline) => return Err(Reason::Silent(patience)),
            }
            deadline = Instant::now() + patience;
            if have == ACK_BYTES {
                have = 0;
                let sequence = acknowledged(answer, events)?;
                // Less than before says only that the receiver lives.
                *done = sequence.max(*done);
            }
        }
        Ok(())
    }
}

/// Write something of `bytes`, or flush where nothing is left. Cancel-safe.
async fn put(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        wrote => Ok(wrote),
    }
}

fn acknowledged(answer: [u8; ACK_BYTES], sent: usize) -> Result<usize, Reason> {
    let wrong = |found| Reason::Answer {
        sent: u32::try_from(sent).unwrap_or(u32::MAX),
        found,
    };
    let Some(sequence) = read_ack(answer) else {
        return Err(wrong(format!("the bytes {answer:02x?}")));
    };
    match usize::try_from(sequence) {
        Ok(events) if events <= sent => Ok(events),
        _ => Err(wrong(sequence.to_string())),
    }
}

async fn connect(host: &str, settings: &Settings) -> Result<Connection, Reason> {
    let made = async {
        let stream = TcpStream::connect(host).await?;
        // The end of a window must not wait for the answer to its beginning.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &settings.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = match &tls.server_name {
                    Some(name) => name.as_str(),
                    None => host_of(host),
                };
                let known = ServerName::try_from(name.to_owned());
                let known = known.map_err(|_| Reason::Name(name.to_owned()))?;
                let connector = TlsConnector::from(Arc::new(client_config(tls)?));
                Box::new(connector.connect(known, stream).await?)
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        Ok(Connection { reader, writer })
    };
    match timeout(settings.timeout, made).await {
        Ok(made) => made,
        Err(_) => Err(Reason::Silent(settings.timeout)),
    }
}

/// `host:port` without the port, and without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn client_config(files: &SenderTls) -> Result<ClientConfig, Reason> {
    let roots = tls::authorities(&files.ca_file)?;
    let unusable = |path: &PathBuf, error: rustls::Error| TlsError::File {
        path: path.clone(),
        reason: error.to_string(),
    };
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.ca_file, error))?
        .with_root_certificates(roots);
    match &files.identity {
        None => Ok(config.with_no_client_auth()),
        Some((cert, key)) => {
            let (chain, key_file) = (tls::certificates(cert)?, key);
            let key = tls::private_key(key_file)?;
            let config = config.with_client_auth_cert(chain, key);
            Ok(config.map_err(|error| unusable(key_file, error))?)
        }
    }
}

#[cfg(test)]
mod tests;
