//! A stretch of network between two processes: bytes go through as they are,
//! until it is cut or slowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running forwarder. Dropped, it ends, and every connection with it.
#[derive(Debug)]
pub struct Forward {
    /// The origin it listens on, as `http://127.0.0.1:41234`.
    pub url: String,
    target: watch::Sender<Option<SocketAddr>>,
    pause_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Forward {
    /// A forwarder that leads nowhere yet.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has one");
        let target = watch::Sender::new(None);
        let pause_ms = Arc::new(AtomicU64::new(0));
        let (leads, slow) = (target.subscribe(), Arc::clone(&pause_ms));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, leads.clone(), Arc::clone(&slow)));
            }
        });
        Self {
            url: format!("http://{address}"),
            target,
            pause_ms,
            task,
        }
    }

    /// Lead to the origin `url`. Connections to where it led before break.
    ///
    /// # Panics
    /// When `url` is none of a node.
    pub fn lead_to(&self, url: &str) {
        let address = url.trim_start_matches("http://").parse();
        self.target.send_replace(Some(address.expect("an address")));
    }

    /// Break every connection, and let none through.
    pub fn cut(&self) {
        self.target.send_replace(None);
    }

    /// Wait so long between any two pieces of a stream.
    pub fn slow(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause_ms.store(pause, Ordering::Relaxed);
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn connection(
    client: TcpStream,
    mut target: watch::Receiver<Option<SocketAddr>>,
    pause_ms: Arc<AtomicU64>,
) {
    let Some(address) = *target.borrow_and_update() else {
        return;
    };
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = stream(from_client, to_server, &pause_ms) => {}
        () = stream(from_server, to_client, &pause_ms) => {}
        _ = target.changed() => {}
    }
}

async fn stream(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    pause_ms: &AtomicU64,
) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let pause = pause_ms.load(Ordering::Relaxed);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
