//! A proxy between a node and its engine, with the faults that a test asks
//! for: pauses, cut answers, refusals, requests of which a part fails.
//!
//! Only `_bulk` is disturbed. What the proxy says of a record that it kept from
//! the engine is what a busy engine says.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use flate2::read::GzDecoder;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The largest body that goes through, in bytes.
const MAX_BODY: usize = 256 << 20;

/// What the proxy does to requests.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// Something of everything, at random.
    Random(SmallRng),
    /// Every request is answered with this status.
    Status(u16),
    /// Every request without this `Authorization` is answered with 401.
    Unless(String),
    /// `_bulk` of more bytes, unpacked, is answered with 413.
    LargerThan(usize),
}

impl Fault {
    /// Faults at random that are the same for the same seed and requests.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Self::Random(SmallRng::seed_from_u64(seed))
    }
}

/// A running proxy. Dropped, it ends.
#[derive(Debug)]
pub struct Proxy {
    /// The origin it listens on.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    engine: String,
    http: reqwest::Client,
    fault: Mutex<Fault>,
    disturbed: Mutex<u64>,
}

/// What happens to one `_bulk`.
enum Turn {
    Fair,
    /// Refused with this status before the engine sees it.
    Refused(u16),
    /// The engine does it, and the answer breaks off.
    Cut,
    /// The engine does it after so many milliseconds.
    Late(u64),
    /// The engine gets the actions for which this seed says so.
    Part(u64),
}

impl Proxy {
    /// In front of the engine at this origin.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(engine: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a free port of the loopback can be listened on");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            http: crate::process::http(),
            fault: Mutex::new(Fault::None),
            disturbed: Mutex::new(0),
        });
        let router = Router::new()
            .fallback(through)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the proxy listens until it is ended");
        });
        Self {
            url: format!("http://{address}"),
            shared,
            task,
        }
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no holder panics") = fault;
    }

    /// How many requests were disturbed.
    #[must_use]
    pub fn disturbed(&self) -> u64 {
        *self.shared.disturbed.lock().expect("no holder panics")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn through(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let is_bulk = parts.uri.path() == "/_bulk";
    let turn = shared.turn(is_bulk, &parts.headers, &body);
    if !matches!(turn, Turn::Fair) {
        *shared.disturbed.lock().expect("no holder panics") += 1;
    }
    let mut request = shared
        .http
        .request(parts.method, format!("{}{target}", shared.engine));
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::ACCEPT,
    ] {
        if let Some(value) = parts.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    match turn {
        Turn::Refused(status) => refused(status),
        Turn::Part(seed) => {
            // What is sent on is unpacked.
            let request = shared
                .http
                .post(format!("{}{target}", shared.engine))
                .header(header::CONTENT_TYPE, "application/x-ndjson");
            part(request, &unpacked(&body), seed).await
        }
        Turn::Late(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            sent(request.body(body)).await
        }
        Turn::Cut => {
            let whole = sent(request.body(body)).await;
            let (mut parts, body) = whole.into_parts();
            let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
            parts.headers.remove(header::CONTENT_LENGTH);
            let half = bytes.slice(..bytes.len() / 2);
            let pieces = [Ok(half), Err(std::io::Error::other("cut"))];
            let body = Body::from_stream(futures::stream::iter(pieces));
            Response::from_parts(parts, body)
        }
        Turn::Fair => sent(request.body(body)).await,
    }
}

impl Shared {
    fn turn(&self, is_bulk: bool, headers: &axum::http::HeaderMap, body: &[u8]) -> Turn {
        match &mut *self.fault.lock().expect("no holder panics") {
            Fault::Status(status) => Turn::Refused(*status),
            Fault::Unless(wanted) => match headers.get(header::AUTHORIZATION) {
                Some(found) if found == wanted.as_str() => Turn::Fair,
                _ => Turn::Refused(401),
            },
            Fault::LargerThan(bytes) if is_bulk && unpacked(body).len() > *bytes => {
                Turn::Refused(413)
            }
            Fault::Random(random) if is_bulk => match random.random_range(0..10) {
                0 => Turn::Refused(429),
                1 => Turn::Refused(503),
                2 | 3 => Turn::Cut,
                4 => Turn::Late(random.random_range(1..200)),
                5..=7 => Turn::Part(random.random()),
                _ => Turn::Fair,
            },
            Fault::None | Fault::Random(_) | Fault::LargerThan(_) => Turn::Fair,
        }
    }
}

fn refused(status: u16) -> Response<Body> {
    let kind = match status {
        401 => "security_exception",
        429 => "es_rejected_execution_exception",
        _ => "proxy_exception",
    };
    let error = json!({"type": kind, "reason": "the proxy says so"});
    let body = json!({"error": error, "status": status}).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of a test is one");
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    response
}

async fn sent(request: reqwest::RequestBuilder) -> Response<Body> {
    match request.send().await {
        Ok(response) => {
            let response: Response<reqwest::Body> = response.into();
            let (mut parts, body) = response.into_parts();
            parts.headers.remove(header::TRANSFER_ENCODING);
            Response::from_parts(parts, Body::new(body))
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Some of the actions go to the engine; the others it is too busy for.
async fn part(request: reqwest::RequestBuilder, body: &str, seed: u64) -> Response<Body> {
    let mut random = SmallRng::seed_from_u64(seed);
    let lines: Vec<&str> = body.lines().collect();
    let chosen: Vec<bool> = lines.chunks(2).map(|_| random.random_bool(0.5)).collect();
    let mut passed = String::new();
    for (action, _) in lines.chunks(2).zip(&chosen).filter(|(_, chosen)| **chosen) {
        for line in action {
            passed.push_str(line);
            passed.push('\n');
        }
    }
    let mut done = Vec::new();
    if !passed.is_empty() {
        let answer = match request.body(passed).send().await {
            Ok(answer) if answer.status().is_success() => answer,
            _ => return refused(503),
        };
        let answer: Value = answer.json().await.unwrap_or_default();
        done = answer["items"].as_array().cloned().unwrap_or_default();
    }
    let mut done = done.into_iter();
    let busy = json!({"create": {"status": 429, "error":
        {"type": "es_rejected_execution_exception", "reason": "the proxy says so"}}});
    let items: Vec<Value> = chosen
        .iter()
        .filter_map(|chosen| {
            if *chosen {
                done.next()
            } else {
                Some(busy.clone())
            }
        })
        .collect();
    let body = json!({"items": items}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    match GzDecoder::new(body).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}
