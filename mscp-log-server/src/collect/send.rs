//! From the agent's buffer to where its records are wanted.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use mscp_log_client::{Client, Credentials};
use mscp_log_core::clean::beat;
use mscp_log_core::clean::chunk::Chunk;
use tokio_util::sync::CancellationToken;

use super::keep::{Keeping, is_place};
use super::lumberjack::Sender;
use crate::buffer::{Batch, Buffer, ConsumeError, Consumer, Position};
use crate::config::Gateway;
use crate::ingest::body::Received;
use crate::ingest::collect::Collect;

/// Where the records of an agent go.
pub enum Output {
    /// Into the pipeline of this process.
    Local(Arc<Collect>),
    /// To another node.
    Gateway(Box<Remote>),
    /// To whatever takes Beats.
    Lumberjack(Box<Sender>),
}

/// A gateway and the connection to it.
pub struct Remote {
    gateway: Gateway,
    client: Client,
}

impl Remote {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the token or the certificates cannot be read, or the URL is none.
    pub fn new(gateway: Gateway) -> Result<Self, String> {
        let client = connection(&gateway)?;
        Ok(Self { gateway, client })
    }

    /// Whether the gateway would take records: it is sent none.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn reach(&mut self) -> Result<(), String> {
        match self.send(Bytes::new()).await {
            Ok(()) => Ok(()),
            Err(Refused::For { reason, .. }) => Err(reason),
            Err(Refused::TooLarge) => Err("it takes nothing (413)".to_owned()),
        }
    }

    async fn send(&mut self, chunks: Bytes) -> Result<(), Refused> {
        let region = &self.gateway.region;
        let mut taken = self.client.collect(region, chunks.clone()).await;
        if taken
            .as_ref()
            .is_err_and(|error| error.status() == Some(401))
        {
            // The token may have been written anew.
            self.client =
                connection(&self.gateway).map_err(|reason| Refused::For { reason, wait: None })?;
            taken = self.client.collect(region, chunks).await;
        }
        match taken {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(413) => Err(Refused::TooLarge),
            Err(error) => Err(Refused::For {
                reason: error.to_string(),
                wait: error.retry_after(),
            }),
        }
    }
}

/// A connection to `gateway`, with the token that it has now.
///
/// # Errors
/// When the token or the certificates cannot be read, or the URL is none.
pub fn connection(gateway: &Gateway) -> Result<Client, String> {
    let mut client = Client::builder(&gateway.url)
        .base(&gateway.base)
        .timeout(PATIENCE);
    if let Some(token) = &gateway.token {
        let token = token.read()?;
        client = client.credentials(Credentials::access_token(token.expose()));
    }
    if let Some(path) = &gateway.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        client = client.root_certificate(pem);
    }
    client.build().map_err(|error| error.to_string())
}

/// About how many bytes of chunks are sent together.
const SEND_BYTES: usize = 2 << 20;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why nothing is sent, while that is so.
pub type HeldBack = Arc<ArcSwapOption<String>>;

/// Send what is in `buffer` until `stop`. It is committed when it was taken
/// and the positions behind it were written; at the end once more, so that
/// what a receiver has is not sent again at the next start.
pub async fn send(
    buffer: Arc<dyn Buffer>,
    output: Output,
    keeping: Keeping,
    held: HeldBack,
    stop: CancellationToken,
) {
    let mut sending = Sending {
        output,
        keeping,
        held,
        stop,
    };
    loop {
        let ended = match buffer.consumer().await {
            Ok(consumer) => sending.run(consumer).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) | Err(ConsumeError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "the agent's buffer cannot be read; trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LONGEST_PAUSE) => {}
            () = sending.stop.cancelled() => return,
        }
    }
}

struct Sending {
    output: Output,
    keeping: Keeping,
    held: HeldBack,
    stop: CancellationToken,
}

impl Sending {
    /// Until the buffer fails, or `stop`.
    async fn run(&mut self, mut consumer: Box<dyn Consumer>) -> Result<(), ConsumeError> {
        let stop = self.stop.clone();
        // Behind what was taken.
        let mut sent: Option<Position> = None;
        let mut saved = self.keeping.saved.clone();
        loop {
            if let Some(position) = sent {
                let next = position.next.min(*saved.borrow_and_update());
                consumer.commit(Position { next, ..position }).await?;
                if next == position.next {
                    sent = None;
                } else {
                    self.keeping.wanted.notify_one();
                }
            }
            // The keeper writes positions once more when it ends.
            let keeper_ended = tokio::select! {
                batch = consumer.read(SEND_BYTES), if !stop.is_cancelled() => {
                    let batch = batch?;
                    tokio::select! {
                        position = self.send(batch) => sent = Some(position),
                        () = stop.cancelled() => {}
                    }
                    false
                }
                changed = saved.changed(), if sent.is_some() => changed.is_err(),
                () = stop.cancelled(), if !stop.is_cancelled() => false,
            };
            if keeper_ended || (stop.is_cancelled() && sent.is_none()) {
                return Ok(());
            }
        }
    }

    /// Offer a batch until it is taken.
    async fn send(&mut self, batch: Batch) -> Position {
        let mut chunks: Vec<Bytes> = batch.records;
        chunks.retain(|chunk| !is_place(chunk));
        // What is too large for the other side goes in halves.
        let mut parts = vec![chunks];
        let mut pause = Pause::new();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.offer(&part).await {
                Ok(()) => {
                    self.held.store(None);
                    pause = Pause::new();
                    metrics::counter!("mscp_log_collect_sent_chunks_total")
                        .increment(part.len() as u64);
                }
                Err(Refused::TooLarge) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second.to_vec(), first.to_vec()]);
                }
                Err(refused) => {
                    let (reason, wait) = match refused {
                        Refused::TooLarge => (
                            "a chunk is too large for the gateway (push.max_body_bytes)".to_owned(),
                            None,
                        ),
                        Refused::For { reason, wait } => (reason, wait),
                    };
                    tracing::warn!(reason, "sending is held back");
                    metrics::counter!("mscp_log_collect_send_retries_total").increment(1);
                    self.held.store(Some(Arc::new(reason)));
                    parts.push(part);
                    pause.wait(wait).await;
                }
            }
        }
        batch.position
    }

    async fn offer(&mut self, chunks: &[Bytes]) -> Result<(), Refused> {
        match &mut self.output {
            Output::Local(collect) => {
                let taken = collect.take(Received::untracked(body(chunks)), None).await;
                taken.map(|_| ()).map_err(|error| Refused::For {
                    reason: error.to_string(),
                    wait: None,
                })
            }
            Output::Gateway(remote) => remote.send(body(chunks).into()).await,
            Output::Lumberjack(sender) => {
                // One chunk after the other: as events they are several times as large.
                for chunk in chunks {
                    let events = events(chunk)?;
                    let sent = sender.send(&events).await;
                    sent.map_err(|error| Refused::For {
                        reason: error.to_string(),
                        wait: None,
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// Chunks as they are sent: one a line.
fn body(chunks: &[Bytes]) -> Vec<u8> {
    let mut body = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len() + 1).sum());
    for chunk in chunks {
        body.extend_from_slice(chunk);
        body.push(b'\n');
    }
    body
}

/// The records of a chunk as events of a Beat; what would not be kept by
/// whoever cleans them is not sent, and counted.
fn events(chunk: &[u8]) -> Result<Vec<Bytes>, Refused> {
    let wrong = |error: serde_json::Error| Refused::For {
        reason: format!("a chunk of the agent's buffer cannot be read: {error}"),
        wait: None,
    };
    let chunk = Chunk::parse(chunk).map_err(wrong)?;
    let mut events = Vec::with_capacity(chunk.len());
    for raw in chunk.raws() {
        match beat::write(&raw, &chunk.head, &chunk).map_err(wrong)? {
            Ok(event) => events.push(event.into()),
            Err(reason) => {
                metrics::counter!("mscp_log_clean_dropped_records_total", "reason" => reason.as_str())
                    .increment(1);
            }
        }
    }
    Ok(events)
}

enum Refused {
    /// The other side takes less at once.
    TooLarge,
    /// For this reason, and, where the other side says so, for so long.
    For {
        reason: String,
        wait: Option<Duration>,
    },
}

/// Pauses that double, with full jitter: many agents do not come back at once.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    async fn wait(&mut self, wanted: Option<Duration>) {
        let jitter = self.0.mul_f64(rand::random::<f64>());
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        let wanted = wanted.unwrap_or_default().min(6 * LONGEST_PAUSE);
        tokio::time::sleep(wanted + jitter).await;
    }
}
