//! Requests to a region, over a store that remembers what it is asked and over
//! the embedded one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use mscp_log_core::access::Restriction;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::buffer::Batch;
use crate::store::StoreError;

/// Answers every request with the same body and remembers it.
#[derive(Default)]
struct Memory {
    asked: Mutex<Vec<(http::request::Parts, String)>>,
    answer: Mutex<Option<(u16, String)>>,
}

#[async_trait]
impl Store for Memory {
    async fn bulk(&self, _: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn durable(&self, _: u32) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        self.asked
            .lock()
            .unwrap()
            .push((parts, String::from_utf8(body.to_vec()).unwrap()));
        let (status, text) = self
            .answer
            .lock()
            .unwrap()
            .clone()
            .unwrap_or((200, "{}".to_owned()));
        let mut response = json(StatusCode::from_u16(status).unwrap(), text);
        response
            .headers_mut()
            .insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
        response
            .headers_mut()
            .insert("warning", HeaderValue::from_static("299 index [secret]"));
        response
    }
}

fn limits() -> config::Search {
    config::Search {
        timeout: Duration::from_secs(30),
        max_body_bytes: 1024 * 1024,
        max_expression_bytes: 64 * 1024,
        max_memory: 1024 * 1024 * 1024,
        max_buckets: 65_536,
        max_window: 10_000,
        max_concurrent: 4,
        max_concurrent_per_subject: 2,
    }
}

fn shop() -> Visible {
    Visible::Restricted(vec![Restriction {
        namespace: Some(["shop".to_owned()].into()),
        ..Restriction::none()
    }])
}

fn ask(visible: Visible, method: &str, uri: &str, body: &str) -> Ask {
    let uri: Uri = uri.parse().unwrap();
    Ask {
        method: method.parse().unwrap(),
        segments: uri
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect(),
        parameters: uri.query().map(str::to_owned),
        headers: HeaderMap::new(),
        body: Body::from(body.to_owned()),
        subject: "someone".into(),
        visible,
        write: false,
        everywhere: true,
        searches_all: true,
    }
}

fn sealing() -> Arc<Sealing> {
    Arc::new(Sealing::new(b"shared by all replicas"))
}

async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn over(store: Memory) -> (Arc<Memory>, Region) {
    let store = Arc::new(store);
    let region = Region::new("local", Arc::clone(&store) as _, &limits(), sealing());
    (store, region)
}

const RESTRICTION: &str = r#"{"bool":{"filter":[{"terms":{"namespace":["shop"]}}]}}"#;
const ORDER: &str = r#"[{"realtime_us":{"order":"desc","unmapped_type":"long"}},{"seq":{"order":"desc","unmapped_type":"long"}},{"event_id":{"order":"desc","unmapped_type":"keyword"}}]"#;

#[tokio::test]
async fn a_restricted_search_reaches_the_store_rebuilt() {
    let named = r#"{"bool":{"should":[{"match_none":{}},{"wildcard":{"_index":{"value":"a*"}}}]}}"#;
    for (method, uri, body, path, sent) in [
        (
            "GET",
            "/_search",
            "",
            "/_search?ignore_unavailable=true&allow_no_indices=true",
            format!("{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION}]}}}},\"sort\":{ORDER}}}"),
        ),
        (
            "POST",
            "/a*/_search?q=pod:x&typed_keys&preference=_only_local&routing=1&size=1&request_cache=true",
            r#"{"query":{"match_all":{}}}"#,
            "/_search?typed_keys=&ignore_unavailable=true&allow_no_indices=true",
            format!(
                "{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION},{named},{{\"query_string\":{{\"query\":\"pod:x\"}}}}]}}}},\"sort\":{ORDER},\"size\":1}}"
            ),
        ),
        (
            "GET",
            "/_count?source=%7B%22query%22:%7B%22term%22:%7B%22pod%22:%22a%22%7D%7D%7D&source_content_type=application/json",
            "",
            "/_count?ignore_unavailable=true&allow_no_indices=true",
            format!(
                "{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION},{{\"term\":{{\"pod\":{{\"value\":\"a\"}}}}}}]}}}}}}"
            ),
        ),
        (
            "GET",
            "/a*/_count",
            "",
            "/_count?ignore_unavailable=true&allow_no_indices=true",
            format!("{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION},{named}]}}}}}}"),
        ),
        (
            "GET",
            "/a*/_search?scroll=1m",
            "",
            "/_search?scroll=1m&ignore_unavailable=true&allow_no_indices=true",
            format!(
                "{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION},{named}]}}}},\"sort\":{ORDER}}}"
            ),
        ),
        (
            "POST",
            "/b/_msearch",
            "{\"index\":[\"a*\"],\"preference\":\"x\",\"ignore_unavailable\":false}\n{}\n",
            "/_msearch",
            format!(
                "{{\"allow_no_indices\":true,\"ignore_unavailable\":true}}\n{{\"query\":{{\"bool\":{{\"filter\":[{RESTRICTION},{named}]}}}},\"sort\":{ORDER}}}\n"
            ),
        ),
    ] {
        let (store, region) = over(Memory::default());
        let mut asked = ask(shop(), method, uri, body);
        asked
            .headers
            .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        asked
            .headers
            .insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        let answered = region.answer(asked).await;
        let response = answered.response.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{}",
            text(response).await
        );
        assert!(answered.read.is_some());
        assert!(
            response.headers().get("warning").is_none()
                && response.headers().get(header::SET_COOKIE).is_none()
        );
        let asked = store.asked.lock().unwrap();
        let (parts, body) = &asked[0];
        assert_eq!(
            (parts.uri.to_string().as_str(), body),
            (path, &sent),
            "{uri}"
        );
        assert!(
            parts
                .headers
                .keys()
                .all(|name| name == header::ACCEPT || name == header::CONTENT_TYPE)
        );
    }
}

#[tokio::test]
async fn what_a_restricted_token_may_not_do_never_reaches_the_store() {
    for (method, uri, body, status) in [
        ("GET", "/_cat/indices", "", 403),
        ("GET", "/a/_doc/1", "", 403),
        ("POST", "/_mget", "{}", 403),
        ("GET", "/_stats", "", 403),
        ("GET", "/_alias", "", 403),
        ("GET", "/a/_mapping/field/b", "", 403),
        ("POST", "/_bulk", "", 403),
        ("DELETE", "/a", "", 403),
        ("GET", "/_nodes", "", 403),
        ("POST", "/_analyze", "{}", 403),
        ("GET", "/_validate/query", "", 403),
        ("GET", "/a/_explain/1", "", 403),
        ("GET", "/%3Clogstash-%7Bnow%7D%3E/_search", "", 400),
        ("GET", "/other:a*/_search", "", 403),
        ("GET", "/*:*/_count", "", 403),
        (
            "POST",
            "/_msearch",
            "{\"index\":\"<a-{now/d}>\"}\n{}\n",
            403,
        ),
        ("POST", "/_msearch", "{\"index\":\"b:a\"}\n{}\n", 403),
        (
            "POST",
            "/_msearch",
            "{}\n{\"query\":{\"fuzzy\":{\"message\":\"a\"}}}\n",
            403,
        ),
        ("GET", "/_search?q=a~", "", 403),
        ("GET", "/_search?q=_seq_no:1", "", 403),
        (
            "GET",
            "/_search?suggest_field=message&suggest_text=a",
            "",
            403,
        ),
        ("GET", "/_search?explain=true", "", 403),
        ("GET", "/_search?seq_no_primary_term=true", "", 403),
        ("GET", "/_search?stored_fields=_routing", "", 403),
        ("GET", "/_search?sort=_seq_no:desc", "", 403),
        (
            "GET",
            "/_search?source=%7B%22suggest%22:%7B%22a%22:1%7D%7D&source_content_type=application/json",
            "",
            403,
        ),
        (
            "GET",
            "/_search?source=%7B%7D&source_content_type=application/yaml",
            "",
            400,
        ),
        ("GET", "/_search?nonsense=1", "", 400),
        ("POST", "/_search/scroll", "{}", 400),
        ("POST", "/a/_pit", "", 400),
        (
            "POST",
            "/a/_pit?keep_alive=1m&preference=x&nonsense=1",
            "",
            400,
        ),
        (
            "POST",
            "/a/_pit?keep_alive=1m",
            r#"{"index_filter":{"match_all":{}}}"#,
            403,
        ),
        ("POST", "/other:a/_pit?keep_alive=1m", "", 403),
        ("DELETE", "/_pit", "{}", 400),
        (
            "DELETE",
            "/_search/scroll",
            r#"{"scroll_id":["_all"]}"#,
            403,
        ),
        ("POST", "/_search/scroll", r#"{"scroll_id":"raw"}"#, 404),
        ("GET", "/_search/scroll/raw?scroll=1m", "", 404),
        ("DELETE", "/_search/scroll", r#"{"scroll_id":"raw"}"#, 404),
        ("DELETE", "/_pit", r#"{"id":"raw"}"#, 404),
        (
            "DELETE",
            "/_search/point_in_time",
            r#"{"pit_id":["raw"]}"#,
            404,
        ),
        ("GET", "/_search/point_in_time/_all", "", 403),
        ("POST", "/_search", r#"{"slice":{"id":0,"max":2}}"#, 403),
        ("POST", "/a/_search", r#"{"pit":{"id":"x"}}"#, 400),
        ("POST", "/_search?scroll=1m", r#"{"pit":{"id":"x"}}"#, 400),
        ("POST", "/_msearch", "{}\n{\"pit\":{\"id\":\"x\"}}\n", 404),
        ("POST", "/_search", r#"{"aggs":{"a":{"global":{}}}}"#, 403),
        (
            "POST",
            "/_search",
            r#"{"query":{"terms":{"pod":{"index":"a","id":"1","path":"p"}}}}"#,
            403,
        ),
        ("POST", "/_search", r#"{"pit":{"id":"x"}}"#, 404),
        ("POST", "/_search", r#"{"query":{"nonsense":{}}}"#, 400),
        ("POST", "/_count", r#"{"query":{"more_like_this":{}}}"#, 403),
        ("POST", "/_msearch?q=a", "{}\n{}\n", 400),
        ("POST", "/_msearch?nonsense=1", "{}\n{}\n", 400),
        ("GET", "/_field_caps?fields=*&index_filter=a", "", 403),
        ("GET", "/_field_caps?fields=*&nonsense=1", "", 400),
        ("GET", "/other:a/_field_caps?fields=*", "", 403),
        ("GET", "/other:a/_mapping", "", 403),
        (
            "POST",
            "/_field_caps?fields=*",
            r#"{"index_filter":{"term":{"pod":"a"}}}"#,
            403,
        ),
    ] {
        let (store, region) = over(Memory::default());
        let uri = uri.replace("%3C", "%3c");
        let answered = region.answer(ask(shop(), method, &uri, body)).await;
        let found = match answered.response {
            Ok(response) => response.status().as_u16(),
            Err(Refusal::Forbidden(_)) => 403,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(found, status, "{method} {uri} {body}");
        assert!(
            store.asked.lock().unwrap().is_empty(),
            "{method} {uri} {body}"
        );
    }
}

/// A store's shards look at a search only as far as they may have hits.
#[cfg(feature = "embedded")]
#[tokio::test]
async fn faults_of_a_search_are_found_before_the_store_is_asked() {
    let faulty = r#"{"sort":["no.such.field"]}"#;
    let (store, region) = over(Memory::default());
    let asked = ask(shop(), "POST", "/_search", faulty);
    let response = region.answer(asked).await.response.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let said = text(response).await;
    assert!(
        said.contains("No mapping found for [no.such.field]"),
        "{said}"
    );
    let faulty_count = r#"{"query":{"range":{"@timestamp":{"gte":"no date"}}}}"#;
    let asked = ask(shop(), "POST", "/_count", faulty_count);
    let response = region.answer(asked).await.response.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(store.asked.lock().unwrap().is_empty());

    let answer = r#"{"took":1,"responses":[{"hits":{"hits":[]}},{"hits":{"hits":[]}}]}"#;
    *store.answer.lock().unwrap() = Some((200, answer.to_owned()));
    let lines = format!("{{}}\n{faulty}\n{{}}\n{{}}\n");
    let asked = ask(shop(), "POST", "/_msearch", &lines);
    let said = text(region.answer(asked).await.response.unwrap()).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["responses"][0]["status"], 400);
    assert!(said["responses"][1]["hits"].is_object());
    assert!(!store.asked.lock().unwrap()[0].1.contains("no.such.field"));
}

#[tokio::test]
async fn constants_are_the_same_whatever_the_store_holds() {
    let (store, region) = over(Memory::default());
    for (uri, part) in [
        ("/_license", "basic"),
        ("/_cluster/health", "green"),
        ("/_cluster/health/secret", "green"),
        ("/_mapping", "realtime_us"),
        ("/secret-*/_mapping", "realtime_us"),
        ("/_field_caps?fields=*", "keyword"),
    ] {
        let answered = region.answer(ask(shop(), "GET", uri, "")).await;
        let response = answered.response.unwrap();
        assert_eq!(response.headers()["x-elastic-product"], "Elasticsearch");
        assert!(text(response).await.contains(part), "{uri}");
    }
    assert!(store.asked.lock().unwrap().is_empty());
    let stores = r#"{"name":"node-7","cluster_name":"bank","cluster_uuid":"u1",
        "version":{"number":"8.19.0","build_flavor":"default","build_hash":"h1"},
        "tagline":"You Know, for Search"}"#;
    *store.answer.lock().unwrap() = Some((200, stores.to_owned()));
    let response = region.answer(ask(shop(), "GET", "/", "")).await;
    let response = response.response.unwrap();
    assert_eq!(store.asked.lock().unwrap()[0].0.uri, "/");
    for name in ["set-cookie", "warning"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let shaken = text(response).await;
    for secret in ["node-7", "bank", "u1", "h1"] {
        assert!(!shaken.contains(secret), "{shaken}");
    }
    for needed in ["8.19.0", "You Know, for Search", "default"] {
        assert!(shaken.contains(needed), "{shaken}");
    }
    *store.answer.lock().unwrap() = Some((503, r#"{"name":"node-7"}"#.to_owned()));
    let response = region.answer(ask(shop(), "GET", "/", "")).await;
    let response = response.response.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(said["error"]["type"], "exception", "{said}");
    assert!(!said.to_string().contains("node-7"), "{said}");
}

#[tokio::test]
async fn errors_of_the_store_name_nothing_to_a_restricted_token() {
    let store = Memory::default();
    let error = r#"{"error":{"type":"x","reason":"index [secret]","index":"secret"},"status":404}"#;
    *store.answer.lock().unwrap() = Some((404, error.to_owned()));
    let (_, region) = over(store);
    let response = region
        .answer(ask(shop(), "GET", "/_search", ""))
        .await
        .response
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(!text(response).await.contains("secret"));
}

/// A region over a store that answers this, and its answer to a request of
/// someone who may see the shop.
async fn shown(status: u16, stores: &Value, uri: &str, body: &str) -> (u16, Value) {
    let (store, region) = over(Memory::default());
    *store.answer.lock().unwrap() = Some((status, stores.to_string()));
    let response = region.answer(ask(shop(), "POST", uri, body)).await;
    let response = response.response.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

#[tokio::test]
async fn what_a_store_adds_to_an_answer_is_cut_as_the_search_says() {
    let hit = json!({"_index": "i", "_id": "1", "sort": [1, 2, "x", 77, 78]});
    let whole = json!({"took": 1, "hits": {
        "total": {"value": 10_000, "relation": "eq"}, "max_score": 0.0, "hits": [hit]}});
    let without = json!({"took": 1, "hits": {"max_score": 0.0, "hits": []}});
    let search = json!({"aggs": {"a": {"value_count": {"field": "pod"}}}});

    let (_, found) = shown(200, &whole, "/_search", &search.to_string()).await;
    let several = json!({"took": 1, "responses": [whole, without]});
    let lines = format!("{{}}\n{search}\n{{}}\n{search}\n");
    let (_, many) = shown(200, &several, "/_msearch", &lines).await;
    for found in [&found, &many["responses"][0]] {
        let hits = &found["hits"];
        assert_eq!(hits["total"], json!({"value": 10_000, "relation": "gte"}));
        assert_eq!(hits["hits"][0]["sort"], json!([1, 2, "x"]));
    }
    if cfg!(feature = "embedded") {
        let (_, typed) = shown(200, &without, "/_search?typed_keys", &search.to_string()).await;
        let expected = json!({"value_count#a": {"value": 0}});
        assert_eq!(typed["aggregations"], expected, "{typed}");
        let (_, none) = shown(200, &without, "/_search", &search.to_string()).await;
        for found in [&none, &many["responses"][1]] {
            assert_eq!(found["aggregations"], json!({"a": {"value": 0}}), "{found}");
        }
    }
}

#[tokio::test]
async fn aggregations_of_every_search_are_written_in_the_order_of_their_names() {
    let (store, region) = over(Memory::default());
    let aggregations =
        r#"{"z":{"value":1},"y":{"buckets":[{"key":"k","d":{"value":1},"c":{"value":2}}]}}"#;
    let one = format!(r#"{{"took":1,"hits":{{"hits":[]}},"aggregations":{aggregations}}}"#);
    let value = |field: &str| json!({"value_count": {"field": field}});
    let below = json!({"terms": {"field": "pod"}, "aggs": {"c": value("a"), "d": value("b")}});
    let search = json!({"aggs": {"y": below, "z": value("a")}}).to_string();
    for (uri, body, answer) in [
        ("/_search", search.clone(), one.clone()),
        (
            "/_msearch",
            format!("{{}}\n{search}\n"),
            format!(r#"{{"took":1,"responses":[{one}]}}"#),
        ),
    ] {
        *store.answer.lock().unwrap() = Some((200, answer));
        let response = region.answer(ask(shop(), "POST", uri, &body)).await;
        let said = text(response.response.unwrap()).await;
        let expected = r#""aggregations":{"y":{"buckets":[{"key":"k","c":{"value":2},"d":{"value":1}}]},"z":{"value":1}}"#;
        assert!(said.contains(expected), "{uri}: {said}");
    }
}

#[tokio::test]
async fn a_restricted_point_in_time_is_of_all_indices_and_searched_in_those_that_were_named() {
    let (store, region) = over(Memory::default());
    let opened = r#"{"id":"raw","_shards":{"total":9,"failed":0},"secret":1}"#;
    *store.answer.lock().unwrap() = Some((200, opened.to_owned()));
    let asked = ask(shop(), "POST", "/a*/_pit?keep_alive=1m", "");
    let said = text(region.answer(asked).await.response.unwrap()).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
    assert_eq!(said, json!({"id": said["id"], "_shards": shards}));
    assert_ne!(said["id"], "raw");
    let body = json!({"pit": {"id": said["id"]}}).to_string();
    let asked = ask(shop(), "POST", "/_search", &body);
    region.answer(asked).await.response.unwrap();
    {
        let asked = store.asked.lock().unwrap();
        let sent = "/_all/_pit?keep_alive=1m&ignore_unavailable=true&allow_no_indices=true";
        assert_eq!(asked[0].0.uri, sent);
        assert_eq!(asked[1].0.uri, "/_search");
        let (raw, named) = (r#""pit":{"id":"raw"}"#, r#"{"_index":{"value":"a*"}}"#);
        assert!(
            asked[1].1.contains(raw) && asked[1].1.contains(named),
            "{}",
            asked[1].1
        );
    }
    let error = json!({"error": {"type": "x", "reason": "node-7 is away"}});
    let (status, said) = shown(503, &error, "/a/_pit?keep_alive=1m", "").await;
    assert_eq!(status, 503);
    assert!(!said.to_string().contains("node-7"), "{said}");
}

#[tokio::test]
async fn pages_of_a_scroll_are_cut_as_its_search_says_and_behind_the_last_no_store_is_asked() {
    let (store, region) = over(Memory::default());
    let page = |hits: Value| json!({"_scroll_id": "raw", "hits": {"hits": hits}}).to_string();
    let hit = json!([{"_id": "1", "sort": [1, 2, "x", 77]}]);
    let next = |id: &Value| {
        let body = json!({"scroll": "1m", "scroll_id": id}).to_string();
        ask(shop(), "POST", "/_search/scroll", &body)
    };
    let mut asked = ask(shop(), "POST", "/_search?scroll=1m", "{}");
    let mut id = Value::Null;
    for stores in [hit.clone(), hit, json!([]), json!([])] {
        *store.answer.lock().unwrap() = Some((200, page(stores.clone())));
        let said = text(region.answer(asked).await.response.unwrap()).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        let hits = said["hits"]["hits"].as_array().unwrap();
        assert_eq!(hits.is_empty(), stores == json!([]));
        for hit in hits {
            assert_eq!(hit["sort"], json!([1, 2, "x"]));
        }
        assert_ne!(said["_scroll_id"], "raw");
        id = said["_scroll_id"].clone();
        asked = next(&id);
    }
    region.answer(next(&id)).await.response.unwrap();
    assert_eq!(store.asked.lock().unwrap().len(), 3);

    // Its end is the same whether the store has ended it before or not.
    let end = json!({ "scroll_id": [id] }).to_string();
    for (stores, shows) in [(200, 200), (404, 200), (503, 503)] {
        let text_of_store = r#"{"error":{"type":"x","reason":"node-7"},"num_freed":9}"#;
        *store.answer.lock().unwrap() = Some((stores, text_of_store.to_owned()));
        let asked = ask(shop(), "DELETE", "/_search/scroll", &end);
        let response = region.answer(asked).await.response.unwrap();
        assert_eq!(response.status().as_u16(), shows);
        let said: Value = serde_json::from_str(&text(response).await).unwrap();
        if shows == 200 {
            assert_eq!(said, json!({"succeeded": true, "num_freed": 1}));
        } else {
            assert!(!said.to_string().contains("node-7"), "{said}");
        }
    }
}

#[tokio::test]
async fn what_is_read_to_seal_its_id_is_asked_for_unpacked_and_is_no_restricted_read() {
    for uri in ["/a/_search?scroll=1m", "/a/_pit?keep_alive=1m"] {
        let (store, region) = over(Memory::default());
        let opened = json!({"_scroll_id": "raw", "id": "raw"}).to_string();
        *store.answer.lock().unwrap() = Some((200, opened));
        let mut asked = ask(Visible::All, "POST", uri, "");
        asked.searches_all = false;
        let gzip = HeaderValue::from_static("gzip");
        asked.headers.insert(header::ACCEPT_ENCODING, gzip);
        let said = text(region.answer(asked).await.response.unwrap()).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        let (parts, _) = store.asked.lock().unwrap()[0].clone();
        assert!(
            !parts.headers.contains_key(header::ACCEPT_ENCODING),
            "{uri}"
        );
        if uri.contains("_pit") {
            continue;
        }
        let next = json!({ "scroll_id": said["_scroll_id"] }).to_string();
        let mut asked = ask(Visible::All, "POST", "/_search/scroll", &next);
        asked.searches_all = false;
        let answered = region.answer(asked).await;
        assert_eq!(answered.response.unwrap().status(), StatusCode::OK);
        assert_eq!(answered.read, None);
    }
}

#[tokio::test]
async fn a_reason_is_shown_only_where_the_search_is_at_fault() {
    let error = json!({"error": {"type": "x", "reason": "it is at fault"}});
    for (status, shows) in [(400, true), (404, false), (429, false), (500, false)] {
        let (found, said) = shown(status, &error, "/_search", "{}").await;
        assert_eq!(found, status);
        assert_eq!(said.to_string().contains("at fault"), shows, "{said}");
    }
    let error = json!({"error": {"type": "x", "reason": "see [index.of-bank]"}});
    let (_, said) = shown(400, &error, "/_search", "{}").await;
    assert!(!said.to_string().contains("bank"), "{said}");
    // Nor is the guess of a name confirmed.
    let error = json!({"error": {"type": "x", "reason": "text in [logstash-bank]"}});
    let guess = json!({"query": {"term": {"pod": "logstash-bank"}}}).to_string();
    let (_, said) = shown(400, &error, "/_search", &guess).await;
    assert!(!said.to_string().contains("bank"), "{said}");
}

#[tokio::test]
async fn an_unrestricted_request_passes_as_it_is_and_without_its_credentials() {
    let (store, region) = over(Memory::default());
    let body = r#"{"query": {"anything": 1}}"#;
    let mut asked = ask(Visible::All, "POST", "/a,b/_search?x=1&y=%20", body);
    for name in [
        "authorization",
        "cookie",
        "es-security-runas-user",
        "x-http-method-override",
        "accept",
    ] {
        asked
            .headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static("z"));
    }
    let answered = region.answer(asked).await;
    assert_eq!(answered.read, None);
    let response = answered.response.unwrap();
    assert!(response.headers().get(header::SET_COOKIE).is_none());
    let asked = store.asked.lock().unwrap();
    let (parts, sent) = &asked[0];
    assert_eq!(
        (
            parts.method.as_str(),
            parts.uri.to_string().as_str(),
            sent.as_str()
        ),
        ("POST", "/a,b/_search?x=1&y=%20", body)
    );
    assert_eq!(
        parts
            .headers
            .keys()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>(),
        ["accept"]
    );
}

#[tokio::test]
async fn changing_the_store_takes_a_token_that_grants_writing() {
    for write in [false, true] {
        let (store, region) = over(Memory::default());
        let mut asked = ask(Visible::All, "DELETE", "/a", "");
        asked.write = write;
        assert_eq!(region.answer(asked).await.response.is_ok(), write);
        assert_eq!(store.asked.lock().unwrap().len(), usize::from(write));
    }
}

#[tokio::test]
async fn a_subject_has_only_so_many_requests_open_at_once() {
    let (_, region) = over(Memory::default());
    let first = region
        .answer(ask(Visible::All, "GET", "/_search", ""))
        .await
        .response
        .unwrap();
    let second = region
        .answer(ask(shop(), "GET", "/_search", ""))
        .await
        .response
        .unwrap();
    assert_eq!(
        region
            .answer(ask(shop(), "GET", "/_search", ""))
            .await
            .response
            .unwrap_err(),
        Refusal::Busy(2)
    );
    // A request is open until its answer is read.
    text(first).await;
    assert!(
        region
            .answer(ask(shop(), "GET", "/_search", ""))
            .await
            .response
            .is_ok()
    );
    drop(second);
}

#[tokio::test]
async fn bodies_have_limits_and_must_be_json() {
    let (_, region) = over(Memory::default());
    let long = format!(
        "{{\"query\":{{\"match\":{{\"message\":\"{}\"}}}}}}",
        "a".repeat(70_000)
    );
    let refused = region
        .answer(ask(shop(), "POST", "/_search", &long))
        .await
        .response;
    assert_eq!(refused.unwrap_err(), Refusal::TooLarge(65_536));
    for (name, value) in [
        (header::CONTENT_TYPE, "application/yaml"),
        (header::CONTENT_ENCODING, "br"),
    ] {
        let mut asked = ask(shop(), "POST", "/_search", "{}");
        asked.headers.insert(name, HeaderValue::from_static(value));
        assert!(matches!(
            region.answer(asked).await.response,
            Err(Refusal::MediaType(_))
        ));
    }
    let mut asked = ask(Visible::All, "POST", "/_search", "{}");
    let length = HeaderValue::from_static("1048577");
    asked.headers.insert(header::CONTENT_LENGTH, length);
    let refused = region.answer(asked).await.response;
    assert_eq!(refused.unwrap_err(), Refusal::TooLarge(1_048_576));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &vec![b' '; 10_000_000]).unwrap();
    let mut asked = ask(shop(), "POST", "/_search", "");
    asked
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    asked.body = Body::from(packed.finish().unwrap());
    assert_eq!(
        region.answer(asked).await.response.unwrap_err(),
        Refusal::TooLarge(65_536)
    );
}

#[cfg(feature = "embedded")]
mod embedded;

#[tokio::test]
async fn a_token_for_one_index_names_no_other_in_a_body_restricted_or_not() {
    let (store, region) = over(Memory::default());
    let body = "{\"index\":\"b\"}\n{}\n";
    for visible in [shop(), Visible::All] {
        let mut asked = ask(visible, "POST", "/a/_msearch", body);
        asked.everywhere = false;
        let refused = region.answer(asked).await.response;
        assert!(matches!(refused, Err(Refusal::Forbidden(_))));
    }
    assert!(store.asked.lock().unwrap().is_empty());
}
