//! `[beats]`: the listener for Beats.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::read::{Reader, duration, number, size, switch, text};
use super::{DAY_MS, GIB, KIB, MIB, MINUTE_MS, SECOND_MS, address, path};

/// The listener for Beats.
#[derive(Clone, Debug)]
pub struct Beats {
    /// Address and port; port 0 is a free one.
    pub listen: SocketAddr,
    /// PEM files of the certificate chain and the private key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// PEM file with who the certificates of senders must be signed by.
    pub client_ca: Option<PathBuf>,
    /// Whether a sender needs no certificate.
    pub insecure: bool,
    /// Whether an event must be of a host that the sender's certificate names.
    pub bind_hosts: bool,
    /// Connections that may be open at once.
    pub max_connections: u64,
    /// Bytes of one event.
    pub max_event_bytes: u64,
    /// Bytes that a compressed frame may inflate to.
    pub max_frame_bytes: u64,
    /// Bytes of events that all connections together hold in memory.
    pub max_pending_bytes: u64,
    /// How long a sender may be silent, or take for one event.
    pub idle_timeout: Duration,
    /// How often a sender that waits is told that the node lives.
    pub keep_alive: Duration,
}

/// Read the section; `None` where it names no address.
pub(super) fn read(reader: &mut Reader) -> Option<Beats> {
    let listen = reader.optional("beats.listen", text(address));
    let cert = reader.optional("beats.tls_cert", text(path));
    let key = reader.optional("beats.tls_key", text(path));
    let client_ca = reader.optional("beats.client_ca", text(path));
    let insecure = reader.read("beats.insecure", switch);
    let bind_hosts = reader.read("beats.bind_hosts", switch);
    let max_event_bytes = reader.read("beats.max_event_bytes", size(KIB, 32 * MIB));
    let max_pending_bytes = reader.read("beats.max_pending_bytes", size(MIB, 2 * GIB));
    let max_connections = reader.read("beats.max_connections", number(1, 65_536));
    let max_frame_bytes = reader.read("beats.max_frame_bytes", size(KIB, 64 * GIB));
    let idle_timeout = reader.read("beats.idle_timeout", duration(SECOND_MS, DAY_MS));
    let keep_alive = reader.read("beats.keep_alive", duration(10, MINUTE_MS));

    match (&cert, &key) {
        (Some(_), None) => reader.fault("beats.tls_key", "expected, because beats.tls_cert is set"),
        (None, Some(_)) => reader.fault("beats.tls_cert", "expected, because beats.tls_key is set"),
        _ => {}
    }
    let tls = cert.zip(key);
    if client_ca.is_some() && tls.is_none() && listen.is_some() {
        reader.fault("beats.tls_cert", "expected, because beats.client_ca is set");
    } else if listen.is_some() && !insecure {
        let otherwise = "or beats.insecure = true: without certificates of senders, whoever reaches the port can write \
                         records as any host, namespace and application";
        if tls.is_none() {
            let all = "expected, with beats.tls_key and beats.client_ca";
            reader.fault("beats.tls_cert", format!("{all}, {otherwise}"));
        } else if client_ca.is_none() {
            reader.fault("beats.client_ca", format!("expected, {otherwise}"));
        }
    }
    if bind_hosts && client_ca.is_none() {
        reader.fault(
            "beats.client_ca",
            "expected, because beats.bind_hosts binds hosts to the certificates that it signs",
        );
    }
    if max_pending_bytes < 2 * max_event_bytes {
        reader.fault(
            "beats.max_pending_bytes",
            format!(
                "expected at least twice beats.max_event_bytes ({max_event_bytes}), found {max_pending_bytes}"
            ),
        );
    }
    Some(Beats {
        listen: listen?,
        tls,
        client_ca,
        insecure,
        bind_hosts,
        max_connections,
        max_event_bytes,
        max_frame_bytes,
        max_pending_bytes,
        idle_timeout,
        keep_alive,
    })
}
