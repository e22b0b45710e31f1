//! `mscp-log check` before a cluster that cannot be used: one readable line
//! for each node, and no secret in it.

use std::net::SocketAddr;
use std::process::Command;

use axum::Router;
use mscp_log_tests::process;
use mscp_log_tests::proxy::{Fault, Proxy};
use mscp_log_tests::tls::{Authority, Face, Peer, Valid};
use serde_json::json;
use tokio::net::TcpListener;

/// What says that it is an Elasticsearch 8, and nothing else.
async fn engine() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let says = || async { axum::Json(json!({"version": {"number": "8.19.0"}})) };
    let serving = axum::serve(listener, Router::new().fallback(says)).into_future();
    tokio::spawn(serving);
    origin
}

/// Whether `check` finds the configuration good, and all that it says.
pub(crate) async fn check(variables: &[(String, String)]) -> (bool, String) {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(process::binary());
    command
        .arg("check")
        .arg("--data")
        .arg(data.path())
        .args(["--listen", "127.0.0.1:0"])
        .envs(variables.iter().cloned());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A variable of the region's.
const STORE: &str = "MSCP_LOG_REGION__LOCAL__STORE";

fn of(key: &str) -> String {
    format!("{STORE}_{key}")
}

/// The one line that `check` says against these variables.
async fn fault(variables: &[(String, String)]) -> String {
    let (good, said) = check(variables).await;
    assert!(!good, "{said}");
    let mut errors = said.lines().filter(|line| line.starts_with("error: "));
    let error = errors.next().unwrap_or_else(|| panic!("{said}"));
    assert_eq!(errors.next(), None, "{said}");
    error.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_tls_is_said_in_a_line_that_names_the_node() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem").display().to_string();
    std::fs::write(&ca, authority.pem()).unwrap();
    let good = authority.face("127.0.0.1", Valid::Now);
    let peer = Peer::start(&engine().await, good.clone()).await;
    let verified = |url: String| vec![(STORE.to_owned(), url), (of("CA_FILE"), ca.clone())];

    let (well, said) = check(&verified(peer.https())).await;
    assert!(well, "{said}");

    let (port, http) = (peer.address.port(), format!("http://{}", peer.address));
    let https = peer.https();
    for (url, face, expected) in [
        (
            https.clone(),
            other.face("127.0.0.1", Valid::Now),
            format!("its certificate is not signed by an authority in {ca}"),
        ),
        (
            https.clone(),
            authority.face("127.0.0.1", Valid::Expired),
            "its certificate expired at 2021-01-01T00:00:00Z".to_owned(),
        ),
        (
            https.clone(),
            authority.face("es.example.org", Valid::Now),
            "its certificate is for es.example.org, and not for 127.0.0.1".to_owned(),
        ),
        (
            format!("https://localhost:{port}"),
            good.clone(),
            "its certificate is for 127.0.0.1, and not for localhost".to_owned(),
        ),
        (
            https.clone(),
            Face::Plain,
            "it does not speak TLS there; without TLS its URL begins with http://".to_owned(),
        ),
        (
            http,
            good.clone(),
            "it does not speak HTTP there; with TLS its URL begins with https://".to_owned(),
        ),
    ] {
        peer.set(face);
        let said = fault(&verified(url.clone())).await;
        assert!(said.starts_with("error: region.local.store: "), "{said}");
        assert!(said.contains(&url) && said.ends_with(&expected), "{said}");
    }
    peer.set(good);
    let said = fault(&[(STORE.to_owned(), https.clone())]).await;
    let expected = "its certificate is not signed by an authority that this system trusts";
    assert!(said.contains(&https) && said.ends_with(expected), "{said}");

    // Each node is said for itself.
    let two = format!("https://localhost:{port},{https},http://127.0.0.1:{port}");
    let (_, said) = check(&verified(two)).await;
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_credential_is_said_without_it() {
    let proxy = Proxy::start(&engine().await).await;
    // The base64 of shipper:right.
    let right = "Basic c2hpcHBlcjpyaWdodA==".to_owned();
    proxy.set(Fault::Unless(right));
    let credential = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (of(key), (*value).to_owned()));
        [(STORE.to_owned(), proxy.url.clone())]
            .into_iter()
            .chain(pairs)
            .collect()
    };
    let (well, said) = check(&credential(&[("USER", "shipper"), ("PASSWORD", "right")])).await;
    assert!(well, "{said}");

    let none = "it wants a credential, and none is set (401 to GET /)";
    let said = fault(&credential(&[])).await;
    assert!(said.contains(&proxy.url) && said.contains(none), "{said}");
    let refused = "it does not accept the credential that is set (401 to GET /)";
    for (pairs, secrets) in [
        (
            &[("USER", "shipper"), ("PASSWORD", "well-kept")][..],
            ["well-kept", "c2hpcHBlcjp3ZWxsLWtlcHQ"],
        ),
        (
            &[("API_KEY", "id:well-kept")],
            ["well-kept", "aWQ6d2VsbC1rZXB0"],
        ),
        (&[("BEARER", "well-kept")], ["well-kept", "well-kept"]),
    ] {
        let said = fault(&credential(pairs)).await;
        assert!(
            said.contains(&proxy.url) && said.contains(refused),
            "{said}"
        );
        assert!(
            !secrets.iter().any(|secret| said.contains(secret)),
            "{said}"
        );
    }
    for (pairs, expected) in [
        (
            ("BEARER", "well\nkept"),
            "the credential has characters that no header may have",
        ),
        (
            ("BEARER_FILE", "/no/such/file"),
            "/no/such/file cannot be read",
        ),
        (("CA_FILE", "/no/such/file"), "/no/such/file cannot be read"),
    ] {
        let said = fault(&credential(&[pairs])).await;
        assert!(said.contains(expected) && !said.contains("kept"), "{said}");
    }
    let hidden = proxy.url.replace("://", "://shipper:well-kept@");
    let said = fault(&[(STORE.to_owned(), hidden)]).await;
    assert!(!said.contains("well-kept"), "{said}");
}
