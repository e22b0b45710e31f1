//! The asynchronous transport: reqwest on the caller's Tokio runtime.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::request::{Answer, Base, MAX_ANSWER_BYTES, Request, Url};
use super::{CONNECT, Connection, Settings, Transport};
use crate::error::{Error, ErrorKind};

pub(crate) struct Reqwest {
    http: reqwest::Client,
    timeout: Duration,
}

impl Reqwest {
    pub(crate) fn new(settings: &Settings, base: &Base) -> Result<Reqwest, Error> {
        // reqwest takes the process's default provider; where the program has
        // chosen one it stays.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(&settings.user_agent)
            .connect_timeout(CONNECT.min(settings.timeout))
            // A token must not follow a redirect to another place.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(settings.idle)
            .tcp_nodelay(true);
        if base.is_loopback() {
            http = http.no_proxy();
        }
        if base.is_tls() {
            let mut extra = Vec::new();
            for pem in &settings.root_certificates {
                let bundle = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| {
                    Error::usage(format!("the root certificate is no PEM: {error}"))
                })?;
                extra.extend(bundle);
            }
            http = http.tls_certs_merge(extra);
        } else {
            // Without TLS the platform's certificates are not needed, and a
            // container without any must still work.
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            http = http.tls_backend_preconfigured(config);
        }
        let http = http
            .build()
            .map_err(|error| transport("cannot make the HTTP client", error))?;
        Ok(Reqwest {
            http,
            timeout: settings.timeout,
        })
    }
}

impl Transport for Reqwest {
    async fn send(&self, request: Request) -> Result<Answer, Error> {
        let what = request.name();
        let mut http = self
            .http
            .request(request.method, request.url.to_string())
            .headers(request.headers)
            .timeout(request.timeout.unwrap_or(self.timeout));
        if let Some(body) = request.body {
            http = http.body(body);
        }
        let response = http.send().await.map_err(|error| transport(&what, error))?;
        whole(&what, response).await
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn unblock<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Error::usage(format!("the credentials could not be read: {error}")))
    }
}

impl Connection<Reqwest> {
    /// One request whose body or answer is too long to be held: no limit on
    /// its time, only on connecting. Anything but 2xx is an error.
    pub(crate) async fn stream(
        &self,
        method: Method,
        url: Url,
        body: reqwest::Body,
        wanted: &Value,
    ) -> Result<reqwest::Response, Error> {
        let token = self.token_for(wanted).await?;
        let head = Request::new(method, url).bearer(&token)?;
        let what = head.name();
        let response = self
            .transport
            .http
            .request(head.method, head.url.to_string())
            .headers(head.headers)
            .body(body)
            .send()
            .await
            .map_err(|error| transport(&what, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match whole(&what, response).await?.good(&what) {
            Ok(_) => Err(Error::protocol(format!("{what}: an unexpected answer"))),
            Err(error) => Err(error),
        }
    }
}

/// The answer, read to its end.
async fn whole(what: &str, mut response: reqwest::Response) -> Result<Answer, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport(what, error))?
    {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::protocol(format!(
                "{what}: the answer is over {MAX_ANSWER_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: body.into(),
    })
}

pub(crate) fn transport(what: &str, error: reqwest::Error) -> Error {
    let kind = if error.is_timeout() {
        ErrorKind::Timeout
    } else if error.is_builder() {
        ErrorKind::Usage
    } else {
        ErrorKind::Connect
    };
    Error::transport(what, kind, error.without_url())
}
