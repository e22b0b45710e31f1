//! The listener: HTTP/1.1 and HTTP/2 on one port, TLS where it is configured,
//! a bounded number of connections, and a drain.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tower_http::timeout::TimeoutBody;

use crate::tls::{self, TlsError, TlsFiles};

/// Connections that may be open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// A peer that has not sent its request head, or not finished its TLS
/// handshake, after this long is let go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that sends nothing more of a body for so long is let go.
const BODY_IDLE: Duration = Duration::from_secs(60);

/// Accept connections on `listener` until `shutdown`, then let open requests
/// end, at most `drain` long.
///
/// Each request gets the peer's address as [`ConnectInfo`].
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    tls: Option<TlsFiles>,
    shutdown: CancellationToken,
    drain: Duration,
) -> Result<(), TlsError>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let acceptor = match tls {
        Some(files) => Some(tls::acceptor(files, &shutdown)?),
        None => None,
    };
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(256);

    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after_accept_error(&error).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        // Small answers must not wait for a full segment; failing is harmless.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        let service = service.clone();
        let builder = builder.clone();
        let acceptor = acceptor.as_ref().map(|current| current.load_full());
        tokio::spawn(async move {
            let _permit = permit;
            match acceptor {
                None => connection(stream, peer, service, &builder, watcher).await,
                Some(acceptor) => {
                    match tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            connection(stream, peer, service, &builder, watcher).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    }
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still open at the end of the drain");
    }
    Ok(())
}

async fn connection<T, S>(
    stream: T,
    peer: SocketAddr,
    service: S,
    builder: &auto::Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request =
            request.map(|body| Body::new(TimeoutBody::new(BODY_IDLE, Box::pin(body))));
        request.extensions_mut().insert(ConnectInfo(peer));
        service.clone().oneshot(request)
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Out of file descriptors, say: other connections must end before there is
/// room, so accepting again at once would only burn a core.
async fn pause_after_accept_error(error: &io::Error) {
    let of_the_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    );
    if !of_the_connection {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
