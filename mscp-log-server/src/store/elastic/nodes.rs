//! The nodes of one cluster: which one is asked, as whom, and what happens
//! when it cannot be reached.
//!
//! Nodes are asked in turn. One that cannot be reached rests for a while and
//! another is asked instead; when all rest they are tried all the same. A
//! request goes to a second node only when nothing of it was sent, or when it
//! changes nothing.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::{Body, HttpBody as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use tokio::time::Instant;

use super::fault;
use crate::config::{Cluster, Credential};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a node rests that cannot be reached, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(500);
const LAST_REST: Duration = Duration::from_secs(30);

/// Connections to a node that are kept open for the next request.
const IDLE_CONNECTIONS: usize = 32;

/// Headers of a connection, which end with it (RFC 9110, section 7.6.1).
pub(super) const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why no node answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    /// No node could be reached; nothing was sent.
    #[error("{node} cannot be reached: {reason}")]
    Unreached { node: String, reason: String },
    /// The connection ended before the answer began; what was sent may have
    /// been done.
    #[error("the connection to {node} ended before its answer: {reason}")]
    Broken { node: String, reason: String },
    /// No sign of life for this long.
    #[error("{node} did not go on for {} ms", .patience.as_millis())]
    Late { node: String, patience: Duration },
    /// The credential cannot be read.
    #[error("{0}")]
    Credential(String),
}

/// What a request carries.
pub(super) enum Payload {
    Whole(Bytes),
    Streamed(Body),
}

impl Payload {
    pub(super) const EMPTY: Self = Self::Whole(Bytes::new());
}

/// A request to any of the nodes.
pub(super) struct Outgoing {
    pub(super) method: Method,
    /// Path and parameters, from the slash on.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

impl Outgoing {
    /// A request of our own, without a body.
    pub(super) fn plain(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            payload: Payload::EMPTY,
        }
    }

    /// A request of our own with a JSON body.
    pub(super) fn json(method: Method, target: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
            payload: Payload::Whole(body.into()),
            ..Self::plain(method, target)
        }
    }
}

/// The nodes, connections to them, and the credential.
pub(super) struct Nodes {
    http: reqwest::Client,
    nodes: Vec<Node>,
    turn: AtomicUsize,
    ca_file: Option<PathBuf>,
    credential: Option<Credential>,
    authorization: ArcSwapOption<HeaderValue>,
}

struct Node {
    url: String,
    rest: Mutex<Option<Rest>>,
}

#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Node {
    fn rest(&self) -> std::sync::MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) {
        let mut rest = self.rest();
        let length = rest.map_or(FIRST_REST, |rest| (rest.length * 2).min(LAST_REST));
        *rest = Some(Rest {
            until: Instant::now() + length,
            length,
        });
    }
}

impl Nodes {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When a file of certificates or a credential cannot be used.
    pub(super) fn new(cluster: &Cluster) -> Result<Self, String> {
        let nodes = Self {
            http: client(cluster)?,
            nodes: cluster
                .nodes
                .iter()
                .map(|url| Node {
                    url: url.clone(),
                    rest: Mutex::new(None),
                })
                .collect(),
            turn: AtomicUsize::new(rand::random::<u16>().into()),
            ca_file: cluster.ca_file.clone(),
            credential: cluster.credential.clone(),
            authorization: ArcSwapOption::empty(),
        };
        nodes.read_credential()?;
        Ok(nodes)
    }

    /// Read the credential again: its file may have changed.
    fn read_credential(&self) -> Result<(), String> {
        if let Some(credential) = &self.credential {
            let authorization = authorization(credential)?;
            self.authorization.store(Some(Arc::new(authorization)));
        }
        Ok(())
    }

    /// Send a request and wait until its answer begins. `patience` is how long
    /// the node may let us wait without a sign of life.
    ///
    /// An answer of any status is an answer; of 401 only after the credential
    /// was read again, where the request could be repeated.
    pub(super) async fn send(
        &self,
        request: Outgoing,
        patience: Duration,
    ) -> Result<reqwest::Response, NodeError> {
        let repeat = match &request.payload {
            Payload::Whole(body) => Some(Outgoing {
                method: request.method.clone(),
                target: request.target.clone(),
                headers: request.headers.clone(),
                payload: Payload::Whole(body.clone()),
            }),
            Payload::Streamed(_) => None,
        };
        let response = self.send_once(request, patience).await?;
        if response.status() != StatusCode::UNAUTHORIZED || self.credential.is_none() {
            return Ok(response);
        }
        self.read_credential().map_err(NodeError::Credential)?;
        match repeat {
            Some(repeat) => self.send_once(repeat, patience).await,
            None => Ok(response),
        }
    }

    async fn send_once(
        &self,
        request: Outgoing,
        patience: Duration,
    ) -> Result<reqwest::Response, NodeError> {
        let Outgoing {
            method,
            target,
            mut headers,
            payload,
        } = request;
        headers.remove(header::AUTHORIZATION);
        headers.remove(header::HOST);
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        if let Some(authorization) = &*self.authorization.load() {
            headers.insert(header::AUTHORIZATION, HeaderValue::clone(authorization));
        }
        let body = Sent::new(payload);
        if body.needs_chunks(&headers) {
            // Without it a GET would lose its body: nothing else says that there is one.
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let changes_nothing = matches!(method, Method::GET | Method::HEAD);
        let mut last = None;
        for node in self.in_turn() {
            let Some(payload) = body.offer() else {
                break;
            };
            let url = format!("{}{target}", node.url);
            let mut sent = self.http.request(method.clone(), &url);
            sent = sent.headers(headers.clone());
            if let Some(payload) = payload {
                sent = sent.body(payload);
            }
            match alive(sent.send(), &body, patience).await {
                Some(Ok(response)) => {
                    *node.rest() = None;
                    return Ok(response);
                }
                Some(Err(error)) if error.is_connect() => {
                    node.failed();
                    let (node, reason) = (node.url.clone(), self.reason(node, &error));
                    tracing::debug!(%node, reason, "a node cannot be reached");
                    last = Some(NodeError::Unreached { node, reason });
                }
                Some(Err(error)) => {
                    node.failed();
                    let (node, reason) = (node.url.clone(), self.reason(node, &error));
                    last = Some(NodeError::Broken { node, reason });
                    if !changes_nothing {
                        break;
                    }
                }
                None => {
                    let node = node.url.clone();
                    return Err(NodeError::Late { node, patience });
                }
            }
        }
        Err(last.unwrap_or_else(|| NodeError::Unreached {
            node: "any node".to_owned(),
            reason: "there is none".to_owned(),
        }))
    }

    fn reason(&self, node: &Node, error: &reqwest::Error) -> String {
        fault::of_request(&node.url, self.ca_file.as_deref(), error)
    }

    /// Whether requests say who we are.
    pub(super) fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    /// Every node once: the next in turn first, those that rest last.
    fn in_turn(&self) -> Vec<&Node> {
        let now = Instant::now();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.nodes.len();
        let order = (0..count).map(|place| &self.nodes[(first + place) % count]);
        let (resting, ready): (Vec<_>, Vec<_>) =
            order.partition(|node| node.rest().is_some_and(|rest| rest.until > now));
        ready.into_iter().chain(resting).collect()
    }
}

/// A body that is offered to one node after the other until one takes it.
#[derive(Clone)]
struct Sent(Arc<Mutex<State>>);

struct State {
    body: Unsent,
    /// When the node last took a piece of it.
    moved: Instant,
}

enum Unsent {
    Whole(Bytes),
    Streamed(Body),
    Begun,
}

impl Sent {
    fn new(payload: Payload) -> Self {
        let body = match payload {
            Payload::Whole(bytes) => Unsent::Whole(bytes),
            Payload::Streamed(body) if body.is_end_stream() => Unsent::Whole(Bytes::new()),
            Payload::Streamed(body) => Unsent::Streamed(body),
        };
        let moved = Instant::now();
        Self(Arc::new(Mutex::new(State { body, moved })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs_chunks(&self, headers: &HeaderMap) -> bool {
        matches!(self.state().body, Unsent::Streamed(_))
            && !headers.contains_key(header::CONTENT_LENGTH)
    }

    /// The body for one try; `Some(None)` where there is none, `None` where an
    /// earlier try has begun to send it.
    fn offer(&self) -> Option<Option<reqwest::Body>> {
        let mut state = self.state();
        state.moved = Instant::now();
        match &state.body {
            Unsent::Whole(bytes) if bytes.is_empty() => Some(None),
            Unsent::Whole(bytes) => Some(Some(bytes.clone().into())),
            Unsent::Streamed(_) => {
                let shared = self.clone();
                // Taken only when the connection is there and asks for it.
                let taken = futures::stream::once(async move { shared.take() });
                Some(Some(reqwest::Body::wrap_stream(taken.flatten())))
            }
            Unsent::Begun => None,
        }
    }

    fn take(self) -> impl futures::Stream<Item = Result<Bytes, axum::Error>> {
        let body = match std::mem::replace(&mut self.state().body, Unsent::Begun) {
            Unsent::Streamed(body) => body,
            Unsent::Whole(bytes) => Body::from(bytes),
            Unsent::Begun => Body::from_stream(futures::stream::once(async {
                Err::<Bytes, _>("the body was sent already")
            })),
        };
        body.into_data_stream().inspect(move |_| {
            self.state().moved = Instant::now();
        })
    }
}

/// Wait for the answer; `None` after `patience` without a piece of the body
/// going out.
async fn alive<T>(answer: impl Future<Output = T>, body: &Sent, patience: Duration) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let until = body.state().moved + patience;
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = tokio::time::sleep_until(until) => {
                if body.state().moved + patience <= until {
                    return None;
                }
            }
        }
    }
}

fn authorization(credential: &Credential) -> Result<HeaderValue, String> {
    let text = match credential {
        Credential::Basic { user, password } => {
            let pair = format!("{user}:{}", password.read()?.expose());
            format!("Basic {}", BASE64.encode(pair))
        }
        Credential::ApiKey(key) => {
            let key = key.read()?;
            if key.expose().contains(':') {
                format!("ApiKey {}", BASE64.encode(key.expose()))
            } else {
                format!("ApiKey {}", key.expose())
            }
        }
        Credential::Bearer(token) => format!("Bearer {}", token.read()?.expose()),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| "the credential has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(cluster: &Cluster) -> Result<reqwest::Client, String> {
    // reqwest takes the process's default provider; where the program has
    // chosen one it stays.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("mscp-log/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_only()
        .no_proxy()
        .tcp_nodelay(true);
    if let Some(file) = &cluster.ca_file {
        let shown = file.display();
        let pem =
            std::fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| format!("{shown}: {}", fault::text(&error)))?;
        if certificates.is_empty() {
            return Err(format!("{shown} has no certificate in it"));
        }
        builder = builder.tls_certs_only(certificates);
    } else if cluster.nodes.iter().all(|url| url.starts_with("http:")) {
        // Without TLS the system's certificates are not needed, and a
        // container without any must still work.
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(config);
    }
    for url in &cluster.nodes {
        Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    }
    builder.build().map_err(|error| fault::text(&error))
}
