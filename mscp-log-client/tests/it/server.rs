//! A server that issues tokens, keeps what it was sent, and answers everything
//! else as the test's closure says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mscp_log_client::Credentials;
use serde_json::{Value, json};
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) key: String,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn messages(&self) -> Vec<String> {
        let records = self.body.as_array().cloned().unwrap_or_default();
        records
            .iter()
            .map(|record| record["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) struct Answer(pub(crate) u16, pub(crate) Value, pub(crate) Option<u64>);

pub(crate) fn answer(status: u16, body: Value) -> Answer {
    Answer(status, body, None)
}

pub(crate) fn accepted(seen: &Seen) -> Answer {
    answer(
        202,
        json!({"accepted": seen.messages().len(), "batch": "b"}),
    )
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Receiver<usize>,
}

type Script = dyn Fn(&Seen, usize) -> Answer + Send + Sync;

impl Server {
    /// `script` gets each request but those for tokens, and how many came before it.
    pub(crate) async fn start(
        script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
    ) -> Server {
        Server::start_with(true, script).await
    }

    /// With `tokens` false the script answers the calls for tokens too.
    pub(crate) async fn start_with(
        tokens: bool,
        script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (counted, count) = watch::channel(0);
        let script: Arc<Script> = Arc::new(script);
        let log = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (log, script, counted) = (Arc::clone(&log), Arc::clone(&script), counted.clone());
            async move {
                let seen = read(request).await;
                let Answer(status, body, retry) = if tokens && seen.path.starts_with("/api/auth") {
                    let serial = log.lock().unwrap().len();
                    log.lock().unwrap().push(seen.clone());
                    let access = (seen.path == "/api/auth").then_some(&seen.body);
                    answer(200, json!({"token": token(serial, 3600, access), "exp": 0}))
                } else {
                    let before = log
                        .lock()
                        .unwrap()
                        .iter()
                        .filter(|seen| !seen.path.starts_with("/api/auth"))
                        .count();
                    log.lock().unwrap().push(seen.clone());
                    script(&seen, before)
                };
                counted.send_modify(|count| *count += 1);
                let mut response =
                    Response::builder().status(StatusCode::from_u16(status).unwrap());
                if let Some(seconds) = retry {
                    response = response.header("retry-after", seconds.to_string());
                }
                response.body(Body::from(body.to_string())).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server {
            address,
            seen,
            count,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[cfg(feature = "push")]
    pub(crate) fn pusher(
        &self,
        settings: mscp_log_client::PushSettings,
    ) -> Result<mscp_log_client::Pusher, mscp_log_client::Error> {
        mscp_log_client::Pusher::builder(self.url())
            .credentials(Credentials::root_token(token(0, 3600, None)))
            .settings(settings)
            .build()
    }

    #[cfg(feature = "async")]
    pub(crate) fn client(&self) -> mscp_log_client::Client {
        self.client_as(Credentials::root_token(token(0, 3600, None)))
    }

    #[cfg(feature = "async")]
    pub(crate) fn client_as(&self, credentials: Credentials) -> mscp_log_client::Client {
        mscp_log_client::Client::builder(self.url())
            .credentials(credentials)
            .build()
            .unwrap()
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests that were not for tokens.
    pub(crate) fn work(&self) -> Vec<Seen> {
        self.all()
            .into_iter()
            .filter(|seen| !seen.path.starts_with("/api/auth"))
            .collect()
    }

    /// Requests for tokens.
    pub(crate) fn auth(&self) -> Vec<Seen> {
        self.all()
            .into_iter()
            .filter(|seen| seen.path.starts_with("/api/auth"))
            .collect()
    }

    pub(crate) async fn wait_for(&self, requests: usize) {
        self.count
            .clone()
            .wait_for(|count| *count >= requests)
            .await
            .unwrap();
    }
}

async fn read(request: Request<Body>) -> Seen {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    let mut body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    if header("content-encoding") == "gzip" {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain)
            .unwrap();
        body = plain;
    }
    Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        authorization: header("authorization"),
        key: header("idempotency-key"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

/// A token of the right form, signed by nobody.
pub(crate) fn token(serial: usize, life: i64, access: Option<&Value>) -> String {
    let mut payload = json!({"iat": 1000, "exp": 1000 + life, "user_id": "u", "serial": serial});
    if let Some(access) = access {
        payload["access"] = access.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2ln",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(&payload)
    )
}
