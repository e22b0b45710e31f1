//! The blocking transport: ureq, HTTP/1.1 on the caller's thread, TLS by rustls.
//!
//! It was chosen because it needs no runtime and starts none: a call is made on
//! the thread that makes it, works before a runtime exists, while one shuts
//! down, and without any.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::request::{Answer, Base, MAX_ANSWER_BYTES, Request};
use super::{CONNECT, Settings, Transport};
use crate::error::{Error, ErrorKind};

pub(crate) struct Ureq {
    agent: ureq::Agent,
    timeout: Duration,
}

impl Ureq {
    pub(crate) fn new(settings: &Settings, base: &Base) -> Result<Ureq, Error> {
        let mut config = ureq::Agent::config_builder()
            .user_agent(&settings.user_agent)
            .http_status_as_error(false)
            // A token must not follow a redirect to another place.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT.min(settings.timeout)))
            .max_idle_connections(settings.idle)
            .max_idle_connections_per_host(settings.idle)
            .accept_encoding("identity");
        if base.is_loopback() {
            config = config.proxy(None);
        }
        if base.is_tls() {
            // ureq takes the process's default provider; where the program has
            // chosen one it stays.
            let _already_chosen = rustls::crypto::ring::default_provider().install_default();
            let tls = TlsConfig::builder().root_certs(roots(&settings.root_certificates)?);
            config = config.tls_config(tls.build());
        }
        Ok(Ureq {
            agent: config.build().new_agent(),
            timeout: settings.timeout,
        })
    }

    fn exchange(&self, request: Request) -> Result<Answer, Error> {
        let what = request.name();
        let failed = |error: ureq::Error| transport(&what, error);
        let mut http = http::Request::builder()
            .method(request.method)
            .uri(request.url.to_string())
            .body(())
            .map_err(|error| Error::usage(format!("{what}: {error}")))?;
        *http.headers_mut() = request.headers;
        let timeout = Some(request.timeout.unwrap_or(self.timeout));
        // A POST without a body has one of no bytes: with none ureq would send
        // it in chunks, which not every proxy takes.
        let has_body = request.body.is_some() || *http.method() == http::Method::POST;
        let answer = if has_body {
            let body = request.body.unwrap_or_default();
            self.run(http.map(|()| body.as_ref()), timeout)
        } else {
            self.run(http, timeout)
        };
        let (head, mut body) = answer.map_err(failed)?.into_parts();
        let mut whole = Vec::new();
        let limit = MAX_ANSWER_BYTES as u64 + 1;
        body.with_config()
            .limit(u64::MAX)
            .reader()
            .take(limit)
            .read_to_end(&mut whole)
            .map_err(|error| failed(ureq::Error::from(error)))?;
        if whole.len() > MAX_ANSWER_BYTES {
            return Err(Error::protocol(format!(
                "{what}: the answer is over {MAX_ANSWER_BYTES} bytes"
            )));
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: Bytes::from(whole),
        })
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: http::Request<B>,
        timeout: Option<Duration>,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(timeout)
            .build();
        self.agent.run(request)
    }
}

/// Every method does its work before it gives its future.
impl Transport for Ureq {
    async fn send(&self, request: Request) -> Result<Answer, Error> {
        self.exchange(request)
    }

    #[cfg(any(feature = "async", feature = "blocking"))]
    async fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    async fn unblock<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        Ok(work())
    }
}

/// The platform's roots, and with them those that were given.
fn roots(given: &[Vec<u8>]) -> Result<RootCerts, Error> {
    if given.is_empty() {
        return Ok(RootCerts::PlatformVerifier);
    }
    let mut all: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    for pem in given {
        let mut found = 0;
        for item in ureq::tls::parse_pem(pem) {
            let item = item.map_err(|error| {
                Error::usage(format!("the root certificate is no PEM: {error}"))
            })?;
            if let PemItem::Certificate(certificate) = item {
                all.push(certificate);
                found += 1;
            }
        }
        if found == 0 {
            return Err(Error::usage(
                "the root certificate is no PEM: it holds no certificate",
            ));
        }
    }
    Ok(RootCerts::Specific(Arc::new(all)))
}

fn transport(what: &str, error: ureq::Error) -> Error {
    let kind = match &error {
        ureq::Error::Timeout(_) => ErrorKind::Timeout,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            ErrorKind::Timeout
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            ErrorKind::Usage
        }
        _ => ErrorKind::Connect,
    };
    Error::transport(what, kind, error)
}
