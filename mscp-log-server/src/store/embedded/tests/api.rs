//! The REST API, called as the passthrough calls it.

use axum::body::Body;
use futures::FutureExt as _;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::*;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

pub(super) async fn send(store: &EmbeddedStore, method: Method, uri: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let (parts, body) = store.call(request).await.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(super) async fn get(store: &EmbeddedStore, uri: &str) -> Answer {
    send(store, Method::GET, uri, "").await
}

const ID: &str = "00000000000000000000000000000001";

#[tokio::test]
async fn the_handshake_is_elasticsearchs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let info = get(&store, "/").await;
    assert_eq!(info.status, StatusCode::OK);
    assert_eq!(info.headers["x-elastic-product"], "Elasticsearch");
    assert_eq!(info.json()["tagline"], "You Know, for Search");
    assert_eq!(info.json()["version"]["number"], "8.17.0");
    let request = Request::get("/?filter_path=version.number")
        .header(
            "accept",
            "application/vnd.elasticsearch+json; compatible-with=8",
        )
        .body(Body::empty())
        .unwrap();
    let response = store.call(request).await;
    let kind = "application/vnd.elasticsearch+json;compatible-with=8";
    assert_eq!(response.headers()["content-type"], kind);
    let head = send(&store, Method::HEAD, "/", "").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(
        get(&store, "/_license").await.json()["license"]["type"],
        "basic"
    );
    let health = get(&store, "/_cluster/health").await.json();
    assert_eq!(health["status"], "green");
}

#[tokio::test]
async fn what_is_not_there_is_refused_as_elasticsearch_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let unknown = get(&store, "/a/_unknown").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let error = "no handler found for uri [/a/_unknown] and method [GET]";
    assert_eq!(unknown.json(), json!({"error": error}));
    let method = send(&store, Method::DELETE, "/_bulk", "").await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(method.headers["allow"], "POST, PUT");
    let parameter = get(&store, "/_cat/indices?x=1").await;
    assert_eq!(parameter.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        parameter.json()["error"]["type"],
        "illegal_argument_exception"
    );
    let index = get(&store, "/nothing/_mapping").await;
    assert_eq!(index.status, StatusCode::NOT_FOUND);
    assert_eq!(index.json()["error"]["type"], "index_not_found_exception");
    assert_eq!(index.json()["error"]["index"], "nothing");
    let lenient = get(&store, "/nothing/_mapping?ignore_unavailable=true").await;
    assert_eq!(
        (lenient.status, lenient.json()),
        (StatusCode::OK, json!({}))
    );
    let document = get(&store, "/nothing/_doc/1").await;
    assert_eq!(document.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_document_lives_through_create_replace_read_and_delete() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let created = send(
        &store,
        Method::PUT,
        "/a/_create/x%20y",
        r#"{"level":"info"}"#,
    )
    .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.json()["result"], "created");
    assert_eq!(created.json()["_id"], "x y");
    let again = send(
        &store,
        Method::PUT,
        "/a/_create/x%20y",
        r#"{"level":"info"}"#,
    )
    .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let kind = "version_conflict_engine_exception";
    assert_eq!(again.json()["error"]["type"], kind);
    let elsewhere = send(&store, Method::PUT, "/b/_create/x%20y", r#"{"level":"b"}"#).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    let replaced = send(&store, Method::PUT, "/a/_doc/x%20y", r#"{"level": "warn"}"#).await;
    assert_eq!(replaced.status, StatusCode::OK);
    assert_eq!(replaced.json()["result"], "updated");
    store.writer.refresh().await.unwrap();
    assert_eq!(
        counts(&store),
        [("a".to_owned(), 1), ("b".to_owned(), 1)].into()
    );

    let read = get(&store, "/a/_doc/x%20y").await;
    assert_eq!(read.json()["_source"], json!({"level": "warn"}));
    assert!(read.text.ends_with(r#""_source":{"level": "warn"}}"#));
    let filtered = get(&store, "/a/_doc/x%20y?filter_path=_source").await;
    assert_eq!(filtered.json(), json!({"_source": {"level": "warn"}}));

    let deleted = send(&store, Method::DELETE, "/a/_doc/x%20y", "").await;
    assert_eq!(
        (deleted.status, &deleted.json()["result"]),
        (StatusCode::OK, &json!("deleted"))
    );
    let deleted = send(&store, Method::DELETE, "/a/_doc/x%20y", "").await;
    assert_eq!(deleted.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&store, "/a/_doc/x%20y").await.json()["found"], false);
    let exists = send(&store, Method::HEAD, "/a", "").await;
    assert_eq!(exists.status, StatusCode::OK);
    assert_eq!(get(&store, "/b/_doc/x%20y").await.json()["found"], true);
}

#[tokio::test]
async fn items_of_a_bulk_succeed_and_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let body = [
        json!({"create": {"_index": "a-2018.01.24", "_id": ID}}),
        json!({"@timestamp": 1_516_792_419_231_i64, "event_id": ID, "message": "up"}),
        json!({"create": {"_id": ID, "_index": "a-2018.01.24"}}),
        json!({"message": "up"}),
        json!({"index": {}}),
        json!({"seq": "no number"}),
        json!({"index": {}}),
        json!({"seq": 1}),
        json!({"update": {"_id": "u"}}),
        json!({"doc": {}}),
        json!({"delete": {"_id": "missing", "_index": "nothing"}}),
        json!({"index": {"_index": "Upper"}}),
        json!({}),
        json!({"index": {"_id": "w"}}),
        json!({"event_id": ID}),
    ]
    .map(|line| format!("{line}\n"))
    .concat();
    let answer = send(&store, Method::POST, "/plain/_bulk?refresh=wait_for", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["errors"], true);
    let items = answer["items"].as_array().unwrap();
    let seen: Vec<(&str, u64, &str)> = items
        .iter()
        .map(|item| {
            let (action, item) = item.as_object().unwrap().iter().next().unwrap();
            let what = item["error"]["type"].as_str().or(item["result"].as_str());
            (
                action.as_str(),
                item["status"].as_u64().unwrap(),
                what.unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("create", 201, "created"),
            ("create", 409, "version_conflict_engine_exception"),
            ("index", 400, "document_parsing_exception"),
            ("index", 201, "created"),
            ("update", 400, "illegal_argument_exception"),
            ("delete", 404, "index_not_found_exception"),
            ("index", 400, "invalid_index_name_exception"),
            ("index", 400, "document_parsing_exception"),
        ]
    );
    let generated = items[3]["index"]["_id"].as_str().unwrap();
    assert_eq!(generated.len(), 32);
    assert_eq!(
        counts(&store),
        [("a-2018.01.24".to_owned(), 1), ("plain".to_owned(), 1)].into()
    );
    // What the answer said is durable.
    let copy = crashed(folder.path());
    let store = open(copy.path());
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 2);
}

#[tokio::test]
async fn a_bulk_that_is_not_one_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for body in [
        "",
        "\n",
        "{\"index\":{}}\n{}",
        "{\"index\":{}}\n{}\n",
        "{\"index\":{\"_index\":\"a\"}}\n",
        "{\"index\":{\"_index\":\"a\",\"pipeline\":\"p\"}}\n{}\n",
        "{\"replace\":{\"_index\":\"a\"}}\n{}\n",
        "[]\n{}\n",
    ] {
        let answer = send(&store, Method::POST, "/_bulk", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}");
    }
    assert_eq!(total(&store), 0);
}

#[tokio::test]
async fn the_same_key_many_times_in_one_bulk_ends_as_the_last_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let body = concat!(
        r#"{"index":{"_id":"1"}}"#,
        "\n",
        r#"{"seq":1}"#,
        "\n",
        r#"{"index":{"_id":"1"}}"#,
        "\n",
        r#"{"seq":2}"#,
        "\n",
        r#"{"delete":{"_id":"1"}}"#,
        "\n",
        r#"{"create":{"_id":"1"}}"#,
        "\n",
        r#"{"seq":3}"#,
        "\n",
        r#"{"index":{"_id":"2"}}"#,
        "\n",
        r#"{"seq":4}"#,
        "\n",
        r#"{"delete":{"_id":"2"}}"#,
        "\n",
    );
    let results = |answer: &Value| {
        let items = answer["items"].as_array().unwrap().clone();
        let of =
            |item: &Value| item.as_object().unwrap().values().next().unwrap()["result"].clone();
        items.iter().map(of).collect::<Vec<_>>()
    };
    let answer = send(&store, Method::POST, "/a/_bulk", body).await.json();
    let expect = [
        "created", "updated", "deleted", "created", "created", "deleted",
    ];
    assert_eq!(results(&answer), expect);
    assert_eq!(get(&store, "/a/_doc/1").await.json()["_source"]["seq"], 3);
    let answer = send(&store, Method::POST, "/a/_bulk", body).await.json();
    assert_eq!(results(&answer)[0], "updated");
    assert_eq!(get(&store, "/a/_doc/1").await.json()["_source"]["seq"], 3);
    assert_eq!(total(&store), 1);
}

#[tokio::test]
async fn deleting_one_index_of_a_day_leaves_the_others_and_deleting_all_drops_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let names = ["a-2018.01.24", "b-2018.01.24"];
    for name in names {
        let uri = format!("/{name}/_doc/1");
        send(&store, Method::PUT, &uri, "{}").await;
    }
    let day = folder.path().join("2018.01.24");
    let deleted = send(&store, Method::DELETE, "/a-2018.01.24", "").await;
    assert_eq!(deleted.json(), json!({"acknowledged": true}));
    assert_eq!(counts(&store), [("b-2018.01.24".to_owned(), 1)].into());
    assert!(day.exists());
    let gone = send(&store, Method::HEAD, "/a-2018.01.24", "").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    // The same id in the deleted index is new again.
    let created = send(&store, Method::PUT, "/a-2018.01.24/_create/1", "{}").await;
    assert_eq!(created.status, StatusCode::CREATED);

    let wild = send(&store, Method::DELETE, "/*-2018.01.24", "").await;
    assert_eq!(wild.status, StatusCode::BAD_REQUEST);
    let both = send(&store, Method::DELETE, "/a-2018.01.24,b-2018.01.24", "").await;
    assert_eq!(both.status, StatusCode::OK);
    assert!(!day.exists());
    assert_eq!(total(&store), 0);
    send(&store, Method::PUT, "/a-2018.01.24/_doc/1", "{}").await;
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 1);
}

#[tokio::test]
async fn an_index_can_be_made_listed_and_deleted_without_documents() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let made = send(&store, Method::PUT, "/empty", "").await;
    assert_eq!(made.json()["index"], "empty");
    let again = send(&store, Method::PUT, "/empty", "").await;
    assert_eq!(
        again.json()["error"]["type"],
        "resource_already_exists_exception"
    );
    let bad = send(&store, Method::PUT, "/Empty", "").await;
    assert_eq!(bad.json()["error"]["type"], "invalid_index_name_exception");
    let mapping = r#"{"mappings": {"properties": {"x": {"type": "long"}}}}"#;
    let other = send(&store, Method::PUT, "/other", mapping).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
    drop(store);

    let store = open(folder.path());
    send(&store, Method::PUT, "/full/_doc/1", "{}").await;
    let rows = get(
        &store,
        "/_cat/indices?format=json&h=index,docs.count&s=dc:desc",
    )
    .await;
    let expect = json!([
        {"index": "full", "docs.count": "1"},
        {"index": "empty", "docs.count": "0"},
    ]);
    assert_eq!(rows.json(), expect);
    let text = get(&store, "/_cat/indices/e*?v&h=i,dc").await;
    assert_eq!(text.text, "i     dc\nempty  0\n");
    let mapping = get(&store, "/e*/_mapping").await.json();
    let level = &mapping["empty"]["mappings"]["properties"]["level"]["type"];
    assert_eq!(level, "keyword");
    send(&store, Method::DELETE, "/empty", "").await;
    assert_eq!(
        send(&store, Method::HEAD, "/empty", "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_gzip_body_is_unpacked_within_the_limit() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_body_bytes: 10_000,
        ..Settings::default()
    };
    let store =
        EmbeddedStore::open(folder.path(), settings, DeadLetters::below(folder.path())).unwrap();
    let call = async |plain: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(plain.as_bytes()).unwrap();
        let request = Request::post("/a/_doc")
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body(Body::from(packed.finish().unwrap()))
            .unwrap();
        store.call(request).await.status()
    };
    assert_eq!(call(r#"{"seq": 1}"#).await, StatusCode::CREATED);
    let bomb = " ".repeat(100_000);
    assert_eq!(call(&bomb).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn searches_counts_and_msearch_see_the_indices_they_name_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (index, id, level) in [
        ("a-2018.01.24", "1", "info"),
        ("a-2018.01.24", "2", "warn"),
        ("b-2018.01.24", "3", "info"),
        ("b-2018.01.25", "4", "info"),
        ("plain", "5", "info"),
    ] {
        let body = format!(r#"{{"level":"{level}","message":"line {id}","realtime_us":{id}}}"#);
        send(&store, Method::PUT, &format!("/{index}/_doc/{id}"), &body).await;
    }
    send(&store, Method::PUT, "/empty-2018.01.24", "").await;
    let ids = |answer: &Value| {
        let hits = answer["hits"]["hits"].as_array().unwrap();
        let ids = hits
            .iter()
            .map(|hit| hit["_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>().join(",")
    };
    for (uri, expect) in [
        ("/_search?sort=realtime_us", "1,2,3,4,5"),
        ("/a-*/_search?sort=realtime_us", "1,2"),
        ("/*-2018.01.24/_search?sort=realtime_us:desc", "3,2,1"),
        ("/a-*,plain/_search?sort=realtime_us&q=level:info", "1,5"),
        ("/*,-b-*/_search?sort=realtime_us", "1,2,5"),
        ("/empty-2018.01.24/_search", ""),
        ("/none*/_search", ""),
    ] {
        let answer = get(&store, uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{uri} {}", answer.text);
        assert_eq!(ids(&answer.json()), expect, "{uri}");
    }
    let count = send(
        &store,
        Method::POST,
        "/b-*/_count",
        r#"{"query": {"term": {"level": "info"}}}"#,
    );
    assert_eq!(count.await.json()["count"], 2);
    let missing = get(&store, "/none/_search").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    let unknown = send(
        &store,
        Method::POST,
        "/_search",
        r#"{"query": {"percolate": {}}}"#,
    )
    .await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert_eq!(unknown.json()["error"]["type"], "parsing_exception");
    let total = get(&store, "/_search?rest_total_hits_as_int=true&size=0")
        .await
        .json();
    assert_eq!(total["hits"]["total"], 5);
    assert_eq!(
        get(&store, "/_search?what=1").await.status,
        StatusCode::BAD_REQUEST
    );

    let lines = concat!(
        "{\"index\":\"a-*\"}\n{\"size\":0}\n",
        "{\"index\":\"none\"}\n{}\n",
        "{}\n{\"query\":{\"ids\":{\"values\":[\"5\"]}}}\n",
    );
    let answer = send(&store, Method::POST, "/plain/_msearch", lines)
        .await
        .json();
    let responses = answer["responses"].as_array().unwrap();
    assert_eq!(responses[0]["hits"]["total"]["value"], 2);
    assert_eq!(responses[0]["status"], 200);
    assert_eq!(responses[1]["status"], 404);
    assert_eq!(ids(&responses[2]), "5");
}

#[tokio::test]
async fn an_older_version_answers_in_its_older_form() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        version: (6, 8, 23),
        ..Settings::default()
    };
    let store =
        EmbeddedStore::open(folder.path(), settings, DeadLetters::below(folder.path())).unwrap();
    let written = send(&store, Method::PUT, "/a/_doc/1", "{}").await.json();
    assert_eq!(written["_type"], "_doc");
    let found = get(&store, "/_search").await.json();
    assert_eq!(found["hits"]["total"], 1);
    assert_eq!(found["hits"]["hits"][0]["_type"], "_doc");
    let refused = send(&store, Method::PUT, "/a/_doc/1", r#"{"seq":"x"}"#)
        .await
        .json();
    assert_eq!(refused["error"]["type"], "mapper_parsing_exception");
}

#[tokio::test]
async fn as_many_searches_run_at_once_as_was_said_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut limits = Search::from(&crate::config::Config::default().search);
    limits.max_concurrent = 1;
    store.set_search(&limits);
    let held = store.searches.take().await.unwrap();
    let mut second = Box::pin(get(&store, "/_search"));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    limits.max_concurrent = 2;
    store.set_search(&limits);
    assert_eq!(second.await.status, StatusCode::OK);
    drop(held);
}
