//! Against a server of the test's own that notes what it gets; the real
//! engines are in the tests of shipping.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Credential, Secret, SecretSource};

/// A request as the server got it.
#[derive(Clone, Debug)]
struct Got {
    method: http::Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

type Answer = fn(&Got) -> (StatusCode, Value);

struct Server {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    /// Notified behind each request.
    changed: Arc<Notify>,
    _ends_with_it: DropGuard,
}

#[derive(Clone)]
struct Notes {
    got: Arc<Mutex<Vec<Got>>>,
    changed: Arc<Notify>,
    answer: Answer,
}

async fn answer(State(shared): State<Notes>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let got = Got {
        method: parts.method,
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: axum::body::to_bytes(body, 1 << 20).await.unwrap(),
    };
    let (status, body) = (shared.answer)(&got);
    shared.got.lock().unwrap().push(got);
    shared.changed.notify_waiters();
    (status, axum::Json(body)).into_response()
}

impl Server {
    async fn start(with: Answer) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = listener.await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, changed) = (Arc::default(), Arc::new(Notify::new()));
        let shared = Notes {
            got: Arc::clone(&got),
            changed: Arc::clone(&changed),
            answer: with,
        };
        let router = Router::new().fallback(answer).with_state(shared);
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, router).into_future();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self {
            url,
            got,
            changed,
            _ends_with_it: stop.drop_guard(),
        }
    }

    /// The first request that fits, waited for.
    async fn first(&self, fits: impl Fn(&Got) -> bool) -> Got {
        loop {
            let changed = self.changed.notified();
            if let Some(got) = self.got.lock().unwrap().iter().find(|got| fits(got)) {
                return got.clone();
            }
            changed.await;
        }
    }
}

/// What an Elasticsearch 8 would say to the questions of a start.
fn version_8(got: &Got) -> (StatusCode, Value) {
    match got.target.as_str() {
        "/" => (StatusCode::OK, json!({"version": {"number": "8.19.0"}})),
        _ => (StatusCode::OK, json!({"acknowledged": true})),
    }
}

/// An origin that nothing listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    format!("http://{}", listener.await.unwrap().local_addr().unwrap())
}

fn cluster(nodes: Vec<String>, credential: Option<Credential>) -> Cluster {
    Cluster {
        nodes,
        ca_file: None,
        credential,
    }
}

fn store(cluster: &Cluster, patience: Duration) -> (tempfile::TempDir, ElasticStore) {
    let folder = tempfile::tempdir().unwrap();
    let letters = DeadLetters::below(folder.path());
    let store = ElasticStore::start(cluster, patience, letters).unwrap();
    (folder, store)
}

const LONG: Duration = Duration::from_secs(60);

fn streamed(text: &'static str) -> Body {
    let pieces = text.as_bytes().chunks(3).map(Ok::<_, std::io::Error>);
    Body::from_stream(futures::stream::iter(pieces))
}

#[tokio::test]
async fn a_request_goes_whole_to_the_next_node_when_one_cannot_be_reached() {
    let server = Server::start(version_8).await;
    let nodes = vec![nobody().await, nobody().await, server.url.clone()];
    let (_folder, store) = store(&cluster(nodes, None), LONG);
    for n in 0..6 {
        let request = http::Request::post(format!("/a/_doc/{n}?refresh=true"))
            .body(streamed("a body in pieces"))
            .unwrap();
        assert_eq!(store.call(request).await.status(), StatusCode::OK);
        let path = format!("/a/_doc/{n}?refresh=true");
        let got = server.first(|got| got.target == path).await;
        assert_eq!(
            (got.method, got.body),
            (http::Method::POST, Bytes::from("a body in pieces"))
        );
    }
}

#[tokio::test]
async fn a_get_keeps_its_body_whether_its_length_is_known_or_not() {
    let server = Server::start(version_8).await;
    let (_folder, store) = store(&cluster(vec![server.url.clone()], None), LONG);
    let known = http::Request::get("/known").header(header::CONTENT_LENGTH, 2);
    let known = known.body(Body::from("{}")).unwrap();
    let unknown = http::Request::get("/unknown")
        .body(streamed("{ }"))
        .unwrap();
    store.call(known).await;
    store.call(unknown).await;
    assert_eq!(server.first(|got| got.target == "/known").await.body, "{}");
    assert_eq!(
        server.first(|got| got.target == "/unknown").await.body,
        "{ }"
    );
}

#[tokio::test]
async fn the_nodes_credential_goes_along_and_never_the_callers() {
    let server = Server::start(version_8).await;
    let secret = |text: &str| SecretSource::Text(Secret::new(text));
    for (credential, expected) in [
        (None, None),
        (
            Some(Credential::Basic {
                user: "u".to_owned(),
                password: secret("p"),
            }),
            Some("Basic dTpw"),
        ),
        (Some(Credential::ApiKey(secret("i:k"))), Some("ApiKey aTpr")),
        (
            Some(Credential::ApiKey(secret("aTpr"))),
            Some("ApiKey aTpr"),
        ),
        (Some(Credential::Bearer(secret("t"))), Some("Bearer t")),
    ] {
        let (_folder, store) = store(&cluster(vec![server.url.clone()], credential), LONG);
        let path = format!("/{}", expected.unwrap_or("none").replace(' ', "-"));
        let request = http::Request::get(&path)
            .header(header::AUTHORIZATION, "Bearer the-callers")
            .header(header::CONNECTION, "x-secret")
            .header(header::UPGRADE, "h2c")
            .header(header::ACCEPT_ENCODING, "gzip")
            .body(Body::empty())
            .unwrap();
        store.call(request).await;
        let got = server.first(|got| got.target == path).await;
        let found = got.headers.get(header::AUTHORIZATION);
        assert_eq!(found.map(|value| value.to_str().unwrap()), expected);
        assert!(got.headers.get(header::UPGRADE).is_none());
        assert_eq!(got.headers[header::ACCEPT_ENCODING], "gzip");
    }
}

#[tokio::test]
async fn what_keeps_an_answer_away_is_told_without_addresses() {
    async fn told(response: Response<Body>) -> (u16, Value, String) {
        let status = response.status().as_u16();
        assert!(response.headers().get(header::WWW_AUTHENTICATE).is_none());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap(), text)
    }
    let request = || http::Request::post("/_search").body(Body::empty()).unwrap();

    let (_folder, unreachable) = store(&cluster(vec![nobody().await], None), LONG);
    let (status, body, text) = told(unreachable.call(request()).await).await;
    assert_eq!((status, &body["status"]), (503, &json!(503)));
    assert!(!text.contains("127.0.0.1"), "{text}");

    let refusing = Server::start(|_| (StatusCode::UNAUTHORIZED, Value::Null)).await;
    let (_folder, refused) = store(&cluster(vec![refusing.url.clone()], None), LONG);
    let (status, body, _) = told(refused.call(request()).await).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (503, &json!("security_exception"))
    );

    // It takes connections and says nothing.
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (_folder, late) = store(&cluster(vec![url], None), Duration::from_millis(50));
    let (status, body, _) = told(late.call(request()).await).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (504, &json!("timeout_exception"))
    );
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_ends_with_an_error() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Half of what it announces, on every connection, which stays open.
    let stalling = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let _ = connection.read(&mut asked).await;
            let half = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"hits\":[";
            connection.write_all(half).await.unwrap();
            open.push(connection);
        }
    });
    let (_folder, store) = store(&cluster(vec![url], None), Duration::from_millis(200));
    let request = http::Request::post("/_search").body(Body::empty()).unwrap();
    let response = store.call(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    assert!(body.is_err(), "{body:?}");
    stalling.abort();
}

#[tokio::test]
async fn the_template_of_the_version_that_is_found_is_put_and_put_again_when_it_is_gone() {
    let server = Server::start(|got| match (got.method.as_str(), got.target.as_str()) {
        ("GET", "/") => (StatusCode::METHOD_NOT_ALLOWED, Value::Null),
        ("GET", "/_nodes/_local/http?filter_path=nodes.*.version") => {
            (StatusCode::OK, json!({"nodes": {"a": {"version": "2.19.1"}}}))
        }
        ("PUT", "/_index_template/mscp-log") if got.body.windows(11).any(|w| w == b"flat_object") => {
            let error = json!({"type": "mapper_parsing_exception", "reason": "No handler for type [flat_object] declared on field [annotations]"});
            (StatusCode::BAD_REQUEST, json!({"error": error, "status": 400}))
        }
        ("PUT", "/_index_template/mscp-log") => (StatusCode::OK, json!({"acknowledged": true})),
        _ => (StatusCode::NOT_FOUND, Value::Null),
    })
    .await;
    let (_folder, store) = store(&cluster(vec![server.url.clone()], None), LONG);
    let puts =
        |got: &Got| got.method == http::Method::PUT && !got.body.windows(4).any(|w| w == b"flat");
    server.first(puts).await;
    while store.shared.engine.load().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.trouble(), None);
    server.got.lock().unwrap().clear();
    // A request that fails makes it look again, as its timer does.
    let node = String::new();
    store.shared.doubt(&NodeError::Credential(node));
    server.first(puts).await;
}

/// What stands in the way of the only node that is named.
async fn refused_by(nodes: Vec<String>) -> String {
    let faults = ElasticStore::reach(&cluster(nodes, None)).await;
    let mut faults = faults.unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[tokio::test]
async fn what_cannot_be_a_store_is_said_in_one_line() {
    let old = Server::start(|_| (StatusCode::OK, json!({"version": {"number": "5.6.16"}}))).await;
    let refused = refused_by(vec![old.url.clone()]).await;
    assert!(
        refused.contains("version 5.6.16") && refused.contains(&old.url),
        "{refused}"
    );

    let weak = Server::start(|got| match got.target.as_str() {
        "/_security/user/_has_privileges" => (
            StatusCode::OK,
            json!({"has_all_requested": false, "cluster": {"monitor": true, "manage_index_templates": false},
                "index": {"logstash-*": {"index": true, "create_index": false}}}),
        ),
        _ => version_8(got),
    })
    .await;
    let refused = refused_by(vec![weak.url.clone()]).await;
    assert!(
        refused.contains("manage_index_templates, create_index"),
        "{refused}"
    );

    let nobody = nobody().await;
    let refused = refused_by(vec![nobody.clone()]).await;
    assert!(
        refused.contains(&nobody) && refused.contains("refused"),
        "{refused}"
    );

    let both = vec![nobody.clone(), old.url.clone(), nobody.clone()];
    let faults = ElasticStore::reach(&cluster(both, None)).await;
    assert_eq!(faults.unwrap_err().len(), 3);

    let well = Server::start(version_8).await;
    let found = ElasticStore::reach(&cluster(vec![well.url.clone()], None)).await;
    assert_eq!(found.unwrap(), "Elasticsearch 8.19.0");
}

#[tokio::test]
async fn how_long_a_client_waits_for_the_cluster_may_change() {
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let silent = silent.await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (_folder, store) = store(&cluster(vec![url], None), LONG);
    let mut limits = Search::from(&crate::config::Config::default().search);
    limits.timeout = Duration::from_millis(50);
    store.set_search(&limits);
    let request = http::Request::post("/_search").body(Body::empty()).unwrap();
    let answered = tokio::time::timeout(LONG / 2, store.call(request)).await;
    assert_eq!(answered.unwrap().status().as_u16(), 504);
}

/// An Elasticsearch 8 of two data nodes, where an administrator has set
/// replicas, and an index must not be changed.
fn two_nodes(got: &Got) -> (StatusCode, Value) {
    let settings = json!({"index": {"number_of_shards": "1", "number_of_replicas": "3"}});
    let template = json!({"index_patterns": ["logstash-*"], "template": {"settings": settings},
        "created_date_millis": 1, "modified_date": "2026-11-24T00:00:00Z"});
    let simulated = json!({"index": {"number_of_shards": "1", "number_of_replicas": "1"}});
    match (got.method.as_str(), got.target.as_str()) {
        ("GET", "/_index_template/mscp-log") => (
            StatusCode::OK,
            json!({"index_templates": [{"name": "mscp-log", "index_template": template}]}),
        ),
        ("POST", target) if target.contains("_simulate_index") => {
            (StatusCode::OK, json!({"template": {"settings": simulated}}))
        }
        ("GET", "/_cluster/health") => (
            StatusCode::OK,
            json!({"status": "red", "number_of_data_nodes": 2}),
        ),
        ("PUT", "/_index_template/mscp-log") if got.body.windows(5).any(|w| w == b"_date") => {
            let error = json!({"type": "invalid_index_template_exception", "reason": "managed by the system"});
            (
                StatusCode::BAD_REQUEST,
                json!({"error": error, "status": 400}),
            )
        }
        ("PUT", target) if target.contains("/_settings") => {
            let error = json!({"type": "cluster_block_exception", "reason": "index [a] blocked"});
            (
                StatusCode::FORBIDDEN,
                json!({"error": error, "status": 403}),
            )
        }
        _ => version_8(got),
    }
}

async fn ready(store: &ElasticStore) {
    while store.shared.engine.load().is_none() {
        tokio::task::yield_now().await;
    }
}

/// The numbers of replicas that were put into the template, in their order.
fn replicas_put(server: &Server) -> Vec<Value> {
    let got = server.got.lock().unwrap();
    let puts = got
        .iter()
        .filter(|got| got.method == http::Method::PUT && got.target == "/_index_template/mscp-log");
    let body = |got: &Got| serde_json::from_slice::<Value>(&got.body).unwrap();
    puts.map(|got| body(got)["template"]["settings"]["index"]["number_of_replicas"].clone())
        .collect()
}

#[tokio::test]
async fn what_an_administrator_has_set_in_the_template_is_put_with_it_again() {
    let server = Server::start(two_nodes).await;
    let (_folder, store) = store(&cluster(vec![server.url.clone()], None), LONG);
    ready(&store).await;
    assert_eq!(replicas_put(&server), [json!(3)]);
}

#[tokio::test]
async fn a_number_that_the_cluster_cannot_hold_is_refused_and_nothing_is_changed() {
    let server = Server::start(two_nodes).await;
    let (_folder, store) = store(&cluster(vec![server.url.clone()], None), LONG);
    let of = |shards, replicas| Spreading { shards, replicas };
    let away = store.set_spread(of(None, Some(1))).await;
    assert!(matches!(away, Err(SpreadError::Away(_))), "{away:?}");
    ready(&store).await;
    server.got.lock().unwrap().clear();
    for (wanted, reason) in [
        (
            of(None, Some(2)),
            "2 replicas need 3 data nodes, and the cluster has 2",
        ),
        (of(None, Some(0)), "the cluster is red"),
        (of(Some(0), None), "from 1 to 1024, found 0"),
        (of(Some(1_025), Some(1)), "from 1 to 1024, found 1025"),
    ] {
        match store.set_spread(wanted).await {
            Err(SpreadError::Refused(said)) => assert!(said.contains(reason), "{said}"),
            other => panic!("{wanted:?}: {other:?}"),
        }
    }
    let changes = |got: &Got| got.method == http::Method::PUT;
    assert!(!server.got.lock().unwrap().iter().any(changes));
}

#[tokio::test]
async fn what_the_cluster_refuses_in_the_middle_is_taken_back() {
    let server = Server::start(two_nodes).await;
    let (_folder, store) = store(&cluster(vec![server.url.clone()], None), LONG);
    ready(&store).await;
    server.got.lock().unwrap().clear();
    let wanted = Spreading {
        shards: None,
        replicas: Some(1),
    };
    let refused = store.set_spread(wanted).await.unwrap_err().to_string();
    assert!(refused.contains("index [a] blocked"), "{refused}");
    assert_eq!(replicas_put(&server), [json!(1), json!("3")]);

    // Templates that come before ours say one shard.
    server.got.lock().unwrap().clear();
    let wanted = Spreading {
        shards: Some(2),
        replicas: None,
    };
    let refused = store.set_spread(wanted).await.unwrap_err().to_string();
    assert!(refused.contains("another index template"), "{refused}");
    assert_eq!(replicas_put(&server).len(), 2);
}
