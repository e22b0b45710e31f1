//! Why a node cannot be used, in words that somebody can act on.
//!
//! No text here changes with time: who says a reason once says it again only
//! when it is another one.

use std::error::Error;
use std::io;
use std::path::Path;

use chrono::DateTime;
use rustls::CertificateError;
use rustls_pki_types::UnixTime;

/// What an error of a request to `url` says. `ca_file` is what certificates
/// are verified by, where it is not the system's. No credential is in it.
pub(super) fn of_request(url: &str, ca_file: Option<&Path>, error: &reqwest::Error) -> String {
    let known = causes(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            of_tls(ca_file, error)
        } else if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            of_http(error).filter(|_| url.starts_with("http:"))
        } else {
            None
        }
    });
    known.unwrap_or_else(|| text(error))
}

/// What an error says, with what lies below it: reqwest's own text is only
/// that something could not be sent.
pub(super) fn text(error: &reqwest::Error) -> String {
    let mut reason = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Hyper's name of the step, and some repeat what lies below them.
        if text.starts_with("client error (") || reason.ends_with(&text) {
            continue;
        }
        if !reason.is_empty() {
            reason.push_str(": ");
        }
        reason.push_str(&text);
    }
    if reason.is_empty() {
        error.to_string()
    } else {
        reason
    }
}

/// The errors below one, the nearest first. An `io::Error` hides the one it was
/// made of from `source`.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| {
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// A port of TLS that is spoken to without it answers in bytes of its own, or
/// with the end of the connection.
fn of_http(error: &hyper::Error) -> Option<String> {
    let said = if error.is_parse() {
        "it does not speak HTTP there; with TLS its URL begins with https://".to_owned()
    } else if error.is_incomplete_message() {
        format!("{error} (where it wants TLS, its URL begins with https://)")
    } else {
        return None;
    };
    Some(said)
}

fn of_tls(ca_file: Option<&Path>, error: &rustls::Error) -> Option<String> {
    let fault = match error {
        rustls::Error::InvalidCertificate(fault) => fault,
        rustls::Error::InvalidMessage(_) => {
            return Some(
                "it does not speak TLS there; without TLS its URL begins with http://".to_owned(),
            );
        }
        _ => return None,
    };
    Some(match fault {
        // A bad signature is that of another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match ca_file {
            Some(file) => format!(
                "its certificate is not signed by an authority in {}",
                file.display()
            ),
            None => {
                "its certificate is not signed by an authority that this system trusts".to_owned()
            }
        },
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", moment(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "its certificate is not valid before {}",
                moment(*not_before)
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            match names.as_slice() {
                [] => format!("its certificate is for no name, and not for {expected}"),
                names => format!(
                    "its certificate is for {}, and not for {expected}",
                    names.join(", ")
                ),
            }
        }
        _ => return None,
    })
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || "an unknown time".to_owned(),
        |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// `DnsName("a")` and `IpAddress(b)` as rustls writes them, without their kinds.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}
