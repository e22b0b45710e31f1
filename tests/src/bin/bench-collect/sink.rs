//! The other end: something that takes everything and keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use mscp_log_core::clean::chunk::Chunk;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long nothing may arrive before a run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the lines that came, over HTTP as chunks of an agent, or over TCP.
pub(crate) struct Sink {
    lines: Arc<AtomicU64>,
    pub(crate) port: u16,
    server: JoinHandle<()>,
}

impl Sink {
    /// For an agent.
    pub(crate) async fn http() -> Self {
        let (listener, port) = bind().await;
        let lines = Arc::new(AtomicU64::new(0));
        let routes = Router::new()
            .route("/api/local/collect", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&lines));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self {
            lines,
            port,
            server,
        }
    }

    /// For peers, who send lines.
    pub(crate) async fn tcp() -> Self {
        let (listener, port) = bind().await;
        let lines = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&lines);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 20];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        let ends = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
                        count.fetch_add(ends as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            lines,
            port,
            server,
        }
    }

    /// How many lines came.
    pub(crate) fn came(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Wait for so many lines; false when they do not come.
    pub(crate) async fn has(&self, lines: u64) -> bool {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let came = self.lines.load(Ordering::Relaxed);
            if came >= lines {
                return true;
            }
            if came != last {
                (last, since) = (came, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                eprintln!("only {came} of {lines} lines came");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn bind() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

async fn take(State(lines): State<Arc<AtomicU64>>, body: Bytes) -> (StatusCode, String) {
    let chunks = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let records: usize = chunks
        .map(|chunk| Chunk::parse(chunk).map_or(0, |chunk| chunk.len()))
        .sum();
    lines.fetch_add(records as u64, Ordering::Relaxed);
    (StatusCode::ACCEPTED, format!("{{\"accepted\":{records}}}"))
}
