//! An engine that costs nothing: it says that it is Elasticsearch, takes every
//! record of a `_bulk` at once, and keeps none. What shippers can do when no
//! engine holds them up is seen with it, and nothing else.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Response, Uri, header};
use flate2::read::GzDecoder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running one. Dropped, it ends.
pub(crate) struct Sink {
    /// The origin it listens on.
    pub(crate) url: String,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    records: AtomicUsize,
    requests: AtomicUsize,
    /// Of bodies as they came, and unpacked.
    packed: AtomicUsize,
    bytes: AtomicUsize,
}

/// What came.
pub(crate) struct Came {
    pub(crate) records: usize,
    pub(crate) requests: usize,
    /// Bytes of bodies as they came, and unpacked.
    pub(crate) packed: usize,
    pub(crate) bytes: usize,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let counts = Arc::<Counts>::default();
        let routes = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&counts));
        let task = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it listens");
        });
        Self {
            url: format!("http://{address}"),
            counts,
            task,
        }
    }

    /// What came since the last call of [`Sink::forget`].
    pub(crate) fn came(&self) -> Came {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Came {
            records: of(&self.counts.records),
            requests: of(&self.counts.requests),
            packed: of(&self.counts.packed),
            bytes: of(&self.counts.bytes),
        }
    }

    pub(crate) fn forget(&self) {
        let counts = &self.counts;
        for count in [
            &counts.records,
            &counts.requests,
            &counts.packed,
            &counts.bytes,
        ] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(counts): State<Arc<Counts>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let text = match (method, uri.path()) {
        (Method::POST, "/_bulk") => {
            let text = unpacked(&body);
            // Two lines are one record.
            let records = text.iter().filter(|byte| **byte == b'\n').count() / 2;
            counts.packed.fetch_add(body.len(), Ordering::Relaxed);
            counts.bytes.fetch_add(text.len(), Ordering::Relaxed);
            counts.requests.fetch_add(1, Ordering::Relaxed);
            counts.records.fetch_add(records, Ordering::Relaxed);
            let items = vec![r#"{"create":{"status":201}}"#; records].join(",");
            format!(r#"{{"items":[{items}]}}"#)
        }
        (Method::GET, "/") => r#"{"version":{"number":"8.19.0"}}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    let mut response = Response::new(Body::from(text));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    let product = header::HeaderValue::from_static("Elasticsearch");
    response.headers_mut().insert("x-elastic-product", product);
    response
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let unpacked = GzDecoder::new(body).read_to_end(&mut text);
    unpacked.expect("shippers pack what they send");
    text
}
