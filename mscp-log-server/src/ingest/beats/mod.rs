//! Events of Beats, over the Lumberjack protocol ([`crate::lumberjack`]).
//!
//! What a sender is answered for is durable in the buffer. While the buffer is
//! full nothing is read and nothing is lost: the sender is told every few
//! seconds that the node lives, so that it waits and does not send again.

mod connection;
mod room;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{counter, gauge};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Gone};
use crate::buffer::Buffer;
use crate::config::{self, Config};
use crate::lumberjack::Limits;
use crate::pipeline::Pipeline;
use crate::tls::{self, ClientCa, TlsError, TlsFiles};

/// A peer that has not finished its TLS handshake after this long is let go.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// A sender that pauses in the middle of a window for so long is answered for
/// what has come: its window may be larger than what it has to send.
const PAUSE: Duration = Duration::from_secs(1);

/// What every connection goes by.
struct Shared {
    pipeline: Pipeline,
    limits: Limits,
    /// Bytes of events that connections together may hold.
    room: Arc<Semaphore>,
    /// How long a peer may take for a frame, or send nothing at all.
    idle: Duration,
    /// How often a peer that waits is told that the node lives.
    keep_alive: Duration,
    /// How long a sender may pause inside of a window until it is answered for
    /// what has come.
    pause: Duration,
    /// Whether an event must be of a host that the certificate names.
    bind_hosts: bool,
    closing: CancellationToken,
}

/// Why Beats cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("beats.listen {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener for Beats that is bound; [`Beats::run`] makes it take events.
pub struct Beats {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Option<Arc<ArcSwap<TlsAcceptor>>>,
    connections: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Beats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beats")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Beats {
    /// Listen as `settings` say, for events that go through `pipeline`, until
    /// `closing`.
    ///
    /// # Errors
    /// When the address or the TLS files cannot be used.
    pub async fn bind(
        settings: &config::Beats,
        pipeline: Pipeline,
        closing: CancellationToken,
    ) -> Result<Self, StartError> {
        let wanted = |error| StartError::Listen {
            address: settings.listen,
            error,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(wanted)?;
        let address = listener.local_addr().map_err(wanted)?;
        let acceptor = match tls_files(settings) {
            Some(files) => Some(tls::acceptor(files, &closing)?),
            None => None,
        };
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            listener,
            address,
            acceptor,
            connections: Arc::new(Semaphore::new(number(settings.max_connections))),
            shared: Arc::new(Shared {
                pipeline,
                limits: Limits {
                    event_bytes: number(settings.max_event_bytes),
                    frame_bytes: settings.max_frame_bytes,
                },
                room: Arc::new(Semaphore::new(number(settings.max_pending_bytes))),
                idle: settings.idle_timeout,
                keep_alive: settings.keep_alive,
                pause: PAUSE,
                bind_hosts: settings.bind_hosts,
                closing,
            }),
        })
    }

    /// As `config` says, into the buffer of the region that pushed records go
    /// to; `None` where `beats.listen` is not set.
    ///
    /// # Errors
    /// When the address or the TLS files cannot be used.
    pub async fn open(
        config: &Config,
        buffer: Arc<dyn Buffer>,
        closing: CancellationToken,
    ) -> Result<Option<Self>, StartError> {
        let Some(settings) = &config.beats else {
            return Ok(None);
        };
        let name = config.push.region.as_str();
        // A checked configuration has it.
        let Some(region) = config.regions.get(name) else {
            return Ok(None);
        };
        let max_past_us = i64::try_from(config.push.max_past.as_micros()).unwrap_or(i64::MAX);
        let pipeline = Pipeline::new(buffer, name, region, &config.clean, max_past_us);
        Self::bind(settings, pipeline, closing).await.map(Some)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Take connections until `closing`, then let what is being appended end.
    pub async fn run(self) {
        let mut open = JoinSet::new();
        while let Some((stream, peer, permit)) = self.accept().await {
            // Acknowledgements are small and waited for; failing is harmless.
            let _ = stream.set_nodelay(true);
            let acceptor = self.acceptor.as_ref().map(|current| current.load_full());
            let shared = Arc::clone(&self.shared);
            open.spawn(async move {
                let _permit = permit;
                let connections = gauge!("mscp_log_beats_connections");
                connections.increment(1);
                match converse(stream, acceptor, shared).await {
                    Gone::Closed | Gone::Stopping => {}
                    gone => {
                        counter!("mscp_log_beats_broken_connections_total", "reason" => gone.reason())
                            .increment(1);
                        tracing::info!(%peer, reason = %gone, "a connection of Beats ended");
                    }
                }
                connections.decrement(1);
            });
            while open.try_join_next().is_some() {}
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }

    /// The next connection, once there is a place for it; `None` at the end.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let next = async {
            let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => return Some((stream, peer, permit)),
                    Err(error) => {
                        // Out of file descriptors, say: others must end before
                        // there is room.
                        tracing::warn!(%error, "a connection of Beats could not be taken");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        };
        tokio::select! {
            next = next => next,
            () = self.shared.closing.cancelled() => None,
        }
    }
}

/// Shake hands where TLS is spoken, then take events until the end.
async fn converse(
    stream: TcpStream,
    acceptor: Option<Arc<TlsAcceptor>>,
    shared: Arc<Shared>,
) -> Gone {
    let Some(acceptor) = acceptor else {
        return Connection::new(stream, None, shared).run().await;
    };
    let closing = shared.closing.clone();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => accepted,
        () = closing.cancelled() => return Gone::Stopping,
    };
    match accepted {
        Err(_) => Gone::Idle,
        Ok(Err(error)) => Gone::Tls(error),
        Ok(Ok(stream)) => {
            let certificate = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| CertificateDer::into_owned(certificate.clone()));
            Connection::new(stream, certificate, shared).run().await
        }
    }
}

fn tls_files(settings: &config::Beats) -> Option<TlsFiles> {
    let (cert, key) = settings.tls.clone()?;
    Some(TlsFiles {
        section: "beats",
        cert,
        key,
        clients: settings.client_ca.clone().map(|file| ClientCa {
            file,
            required: !settings.insecure,
        }),
        alpn: &[],
    })
}
