//! TLS as files describe it, read again when they change.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often certificate files are looked at.
const CHECK: Duration = Duration::from_secs(10);

/// Where a server's certificate chain and private key lie, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The section of the configuration that names them, for errors.
    pub section: &'static str,
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key (PKCS #8, PKCS #1 or SEC1).
    pub key: PathBuf,
    /// Who the certificates of clients must be signed by; `None`: no client is
    /// asked for one.
    pub clients: Option<ClientCa>,
    /// What is spoken over TLS, by the names of ALPN (RFC 7301); may be empty.
    pub alpn: &'static [&'static str],
}

/// Who the certificates of clients must be signed by.
#[derive(Clone, Debug)]
pub struct ClientCa {
    /// One or more certificates, PEM.
    pub file: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as PEM.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The two do not make a server's identity.
    #[error("{section}.tls_cert and {section}.tls_key do not go together: {error}")]
    Pair {
        /// The section of the configuration that names them.
        section: &'static str,
        /// Why.
        error: rustls::Error,
    },
}

impl TlsError {
    fn file(path: &Path, reason: &dyn Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// When it cannot be read or holds none; names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::file(path, &error))?;
    if found.is_empty() {
        let reason = "expected at least one certificate in PEM form";
        return Err(TlsError::file(path, &reason));
    }
    Ok(found)
}

/// The private key in a PEM file.
///
/// # Errors
/// When it cannot be read or holds none; names the file, never what is in it.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::file(path, &error))
}

/// The certificates in a PEM file, as what others must be signed by.
///
/// # Errors
/// When it cannot be read, or one of them cannot be a trust anchor.
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::file(path, &error))?;
    }
    Ok(roots)
}

/// The cryptography of every connection.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Read the files into what a TLS server needs.
///
/// # Errors
/// What cannot be read, or does not go together.
pub fn server_config(files: &TlsFiles) -> Result<rustls::ServerConfig, TlsError> {
    let pair = |error| TlsError::Pair {
        section: files.section,
        error,
    };
    let chain = certificates(&files.cert)?;
    let key = private_key(&files.key)?;
    let ends_s = chain.first().and_then(expiry_s);
    let builder = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(authorities(&clients.file)?);
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            if !clients.required {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::file(&clients.file, &error))?,
            )
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = files
        .alpn
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    if let Some(ends_s) = ends_s {
        #[expect(clippy::cast_precision_loss, reason = "seconds are exact in a double")]
        metrics::gauge!("mscp_log_tls_certificate_expiry_timestamp_seconds",
            "listener" => files.section)
        .set(ends_s as f64);
    }
    Ok(config)
}

/// When a certificate ends, in seconds since the epoch (RFC 5280 section
/// 4.1.2.5); `None` of what is no certificate.
#[must_use]
pub fn expiry_s(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// An acceptor that follows the files: a certificate that is renewed on disk
/// is used for the next connection; one that cannot be read leaves the old.
///
/// # Errors
/// When the files cannot be used now.
pub fn acceptor(
    files: TlsFiles,
    shutdown: &CancellationToken,
) -> Result<Arc<ArcSwap<TlsAcceptor>>, TlsError> {
    let first = TlsAcceptor::from(Arc::new(server_config(&files)?));
    let current = Arc::new(ArcSwap::from_pointee(first));
    let shared = Arc::clone(&current);
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut seen = modified(&files);
        loop {
            tokio::select! {
                () = tokio::time::sleep(CHECK) => {}
                () = shutdown.cancelled() => return,
            }
            let now = modified(&files);
            if now == seen {
                continue;
            }
            seen = now;
            let section = files.section;
            match server_config(&files) {
                Ok(config) => {
                    shared.store(Arc::new(TlsAcceptor::from(Arc::new(config))));
                    tracing::info!(section, "TLS certificate read again");
                }
                Err(error) => {
                    tracing::error!(section, %error, "the new TLS certificate is not used");
                }
            }
        }
    });
    Ok(current)
}

fn modified(files: &TlsFiles) -> [Option<SystemTime>; 3] {
    let clients = files.clients.as_ref().map(|clients| &clients.file);
    [Some(&files.cert), Some(&files.key), clients].map(|path| {
        std::fs::metadata(path?)
            .and_then(|facts| facts.modified())
            .ok()
    })
}
