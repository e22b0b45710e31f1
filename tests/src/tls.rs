//! A TLS peer before anything that speaks plain TCP, with the faults that a
//! peer can have: an unknown authority, another name, a certificate that has
//! expired, no TLS at all. Certificates are made when they are asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority of a test's own.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// When a certificate is good.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// Until long after this test.
    Now,
    /// Until the first day of 2021.
    Expired,
}

/// How a peer meets a connection.
#[derive(Clone, Debug)]
pub enum Face {
    /// With TLS.
    Tls(Arc<ServerConfig>),
    /// Without.
    Plain,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name cannot be wrong");
        // OpenSSL takes a certificate for self-signed whose issuer has its name.
        params.distinguished_name = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("a key can sign"))
    }

    /// Its own certificate, as a CA file has it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a server needs that is called `name`, a host name or an address.
    ///
    /// # Panics
    /// When `name` is neither.
    #[must_use]
    pub fn face(&self, name: &str, valid: Valid) -> Face {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name of a test");
        if let Valid::Expired = valid {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("a key can sign");
        // Another client or peer of this program may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        Face::Tls(Arc::new(config.expect("the key is the certificate's")))
    }
}

/// A certificate and its key as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A certificate for `names`, of a server or a client, in files of `folder`
    /// that are called after the first.
    ///
    /// # Panics
    /// When a name is none, or `folder` cannot be written to.
    #[must_use]
    pub fn identity(&self, folder: &Path, names: &[&str]) -> Identity {
        let owned: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(owned).expect("names of a test");
        params.distinguished_name = named(names[0]);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("a key can sign");
        let write = |end: &str, pem: String| {
            let path = folder.join(format!("{}.{end}", names[0]));
            std::fs::write(&path, pem).expect("the folder of a test can be written to");
            path
        };
        Identity {
            cert: write("crt", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }

    /// A connection with TLS to a server on this machine whose certificate is
    /// this authority's, with a certificate of one's own or without.
    ///
    /// # Errors
    /// When the handshake fails. In TLS 1.3 a server that refuses a client says
    /// so behind it.
    ///
    /// # Panics
    /// When the files are not those of [`Authority::identity`].
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        identity: Option<&Identity>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let own = self.0.der().clone();
        roots.add(own).expect("an authority can be trusted");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { cert, key }) => {
                let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                let config = config.with_client_auth_cert(vec![cert], key);
                config.expect("the key is the certificate's")
            }
        };
        let name = ServerName::try_from(name.to_owned()).expect("a name of a test");
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A running peer. Dropped, it ends, and what is connected with it.
#[derive(Debug)]
pub struct Peer {
    /// The address it listens on, as `127.0.0.1:41234`.
    pub address: SocketAddr,
    face: watch::Sender<Face>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Before the server at this origin, as `http://127.0.0.1:41234`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(origin: &str, face: Face) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a free port of the loopback can be listened on");
        let address = listener.local_addr().expect("a listener has an address");
        let server = origin.trim_start_matches("http://").to_owned();
        let (face, faces) = watch::channel(face);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(meet(connection, server.clone(), faces.clone()));
            }
        });
        Self {
            address,
            face,
            task,
        }
    }

    /// From now on; what is connected is cut off.
    pub fn set(&self, face: Face) {
        self.face.send_replace(face);
    }

    /// What a node is told to find it with TLS.
    #[must_use]
    pub fn https(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn meet(connection: TcpStream, server: String, mut faces: watch::Receiver<Face>) {
    let face = faces.borrow_and_update().clone();
    let through = async {
        match face {
            Face::Plain => through(connection, &server).await,
            Face::Tls(config) => match TlsAcceptor::from(config).accept(connection).await {
                Ok(connection) => through(connection, &server).await,
                Err(error) => Err(error),
            },
        }
    };
    // A connection that breaks is the other side's to notice.
    tokio::select! {
        _ = through => {}
        _ = faces.changed() => {}
    }
}

async fn through(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    server: &str,
) -> std::io::Result<()> {
    let mut far = TcpStream::connect(server).await?;
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}
