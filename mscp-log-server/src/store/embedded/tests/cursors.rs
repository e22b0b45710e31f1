//! Scrolls and points in time: they show one state, page by page, whatever
//! becomes of the store meanwhile.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{Answer, send};
use super::*;

async fn post(store: &EmbeddedStore, uri: &str, body: &Value) -> Answer {
    send(store, Method::POST, uri, &body.to_string()).await
}

async fn delete(store: &EmbeddedStore, uri: &str, body: &Value) -> Answer {
    send(store, Method::DELETE, uri, &body.to_string()).await
}

fn ids(body: &Value) -> Vec<String> {
    let hits = body["hits"]["hits"].as_array().unwrap();
    let id = |hit: &Value| hit["_id"].as_str().unwrap().to_owned();
    hits.iter().map(id).collect()
}

/// All pages of a scroll, and whether each said the same of the whole.
async fn scrolled(store: &EmbeddedStore, body: &Value) -> Vec<String> {
    let first = post(store, "/logstash-*/_search?scroll=1m", body).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.json());
    let first = first.json();
    let mut all = ids(&first);
    let id = first["_scroll_id"].as_str().unwrap();
    loop {
        let body = json!({"scroll": "1m", "scroll_id": id});
        let next = post(store, "/_search/scroll", &body).await.json();
        for whole in ["total", "max_score"] {
            assert_eq!(next["hits"][whole], first["hits"][whole]);
        }
        assert!(next["aggregations"].is_null());
        let found = ids(&next);
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    let ended = delete(store, "/_search/scroll", &json!({"scroll_id": [id]})).await;
    assert_eq!(ended.json(), json!({"succeeded": true, "num_freed": 1}));
    all
}

/// Records over three days in several segments, one a second.
async fn filled(folder: &Path) -> EmbeddedStore {
    let store = open(folder);
    for part in 0..6_u64 {
        let numbers = part * 40..(part + 1) * 40;
        let time = |number: u64| FIRST_DAY_US + (number % 3) as i64 * DAY_US + number as i64 / 7;
        let records = numbers
            .clone()
            .map(|number| record(number, time(number), ""));
        store
            .bulk(batch(numbers.start, records.collect()))
            .await
            .unwrap();
        store.writer.refresh().await.unwrap();
    }
    store
}

#[tokio::test]
async fn the_pages_of_a_scroll_join_to_what_one_search_finds() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    for sort in [
        json!([]),
        json!(["_doc"]),
        json!([{"realtime_us": "desc"}]),
        json!([{"@timestamp": {"order": "asc", "format": "yyyy-MM-dd"}}]),
        json!(["index"]),
    ] {
        for (query, size) in [
            (json!({"match_all": {}}), 7),
            (json!({"match": {"message": "line 11 12"}}), 50),
            (json!({"range": {"seq": {"gte": 30, "lt": 200}}}), 1),
        ] {
            let mut body =
                json!({"query": query, "sort": sort, "size": 1_000, "track_scores": true});
            let whole = post(&store, "/logstash-*/_search", &body).await.json();
            body["size"] = size.into();
            body["aggs"] = json!({"most": {"max": {"field": "seq"}}});
            assert_eq!(scrolled(&store, &body).await, ids(&whole), "{body}");
        }
    }
    assert!(
        store
            .cursors
            .all(super::super::cursors::Kind::Scroll)
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_written_merged_or_deleted_later_changes_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let body = json!({"size": 50, "sort": [{"realtime_us": "asc"}]});
    let first = post(&store, "/_search?scroll=5m", &body).await.json();
    let pit = post(&store, "/logstash-*/_pit?keep_alive=5m", &Value::Null).await;
    assert_eq!(pit.status, StatusCode::BAD_REQUEST, "a body is refused");
    let pit = send(&store, Method::POST, "/logstash-*/_pit?keep_alive=5m", "").await;
    let pit = pit.json()["id"].as_str().unwrap().to_owned();
    let pit_search =
        json!({"size": 1_000, "pit": {"id": pit, "keep_alive": "1m"}, "sort": ["seq"]});
    let before = post(&store, "/_search", &pit_search).await.json();
    assert_eq!(before["pit_id"], json!(pit));
    assert_eq!(ids(&before).len(), 240);

    let more = (240..400).map(|number| record(number, FIRST_DAY_US, ""));
    store.bulk(batch(240, more.collect())).await.unwrap();
    store.writer.refresh().await.unwrap();
    for index in [
        "logstash-http-local-2018.01.24",
        "logstash-http-local-2018.01.25",
    ] {
        let gone = send(&store, Method::DELETE, &format!("/{index}"), "").await;
        assert_eq!(gone.status, StatusCode::OK);
    }

    assert_eq!(
        ids(&post(&store, "/_search", &pit_search).await.json()),
        ids(&before)
    );
    let mut all = ids(&first);
    loop {
        let body = json!({"scroll": "1m", "scroll_id": first["_scroll_id"]});
        let next = ids(&post(&store, "/_search/scroll", &body).await.json());
        if next.is_empty() {
            break;
        }
        all.extend(next);
    }
    assert_eq!(all.len(), 240);
    let now = post(&store, "/_count", &json!({})).await.json();
    assert_eq!(now["count"], 80);
}

#[tokio::test]
async fn a_point_in_time_is_read_page_by_page_by_its_own_tie_breaker() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let pit = send(
        &store,
        Method::POST,
        "/_all/_search/point_in_time?keep_alive=1m",
        "",
    )
    .await;
    let pit = pit.json()["pit_id"].as_str().unwrap().to_owned();
    for sort in [
        json!(["index"]),
        json!(["_shard_doc"]),
        json!([{"_shard_doc": "desc"}]),
    ] {
        let mut body = json!({"size": 13, "pit": {"id": pit}, "sort": sort});
        let mut all = Vec::new();
        loop {
            let page = post(&store, "/_search", &body).await.json();
            let hits = page["hits"]["hits"].as_array().unwrap();
            let Some(last) = hits.last() else { break };
            body["search_after"] = last["sort"].clone();
            all.extend(ids(&page));
        }
        let found = all.len();
        all.sort();
        all.dedup();
        assert_eq!((found, all.len()), (240, 240), "{sort}");
    }
    // Whoever gives only the values of its own keys goes on by those alone.
    let body = json!({"size": 2, "pit": {"id": pit}, "sort": ["seq"], "search_after": [5]});
    let page = post(&store, "/_search", &body).await.json();
    assert_eq!(page["hits"]["hits"][0]["sort"], json!([6]));
    let lines = format!("{{}}\n{body}\n{{\"index\":\"a\"}}\n{body}\n");
    let many = send(&store, Method::POST, "/_msearch", &lines).await.json();
    assert_eq!(many["responses"][0]["pit_id"], json!(pit));
    assert_eq!(many["responses"][1]["status"], 400);

    let listed = send(&store, Method::GET, "/_search/point_in_time/_all", "")
        .await
        .json();
    assert_eq!(listed["pits"][0]["keep_alive"], 60_000);
    let closed = delete(&store, "/_search/point_in_time", &json!({"pit_id": [pit]})).await;
    assert_eq!(closed.json()["pits"][0]["successful"], true);
    assert_eq!(
        post(&store, "/_search", &body).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn slices_are_parts_that_join_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let mut all = Vec::new();
    for part in 0..3 {
        let body = json!({"size": 20, "slice": {"id": part, "max": 3}});
        let found = scrolled(&store, &body).await;
        assert!((40..140).contains(&found.len()), "{} of 240", found.len());
        all.extend(found);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 240);
}

#[tokio::test]
async fn what_a_scroll_cannot_have_is_refused_as_elasticsearch_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let refused = |answer: Answer| {
        let body = answer.json();
        let cause = &body["error"]["root_cause"][0];
        (
            answer.status.as_u16(),
            cause["type"].clone(),
            cause["reason"].clone(),
        )
    };
    let invalid = "action_request_validation_exception";
    for (uri, body, status, kind, reason) in [
        (
            "/_search?scroll=1m",
            json!({"size": 0}),
            400,
            invalid,
            "[size] cannot be [0] in a scroll context",
        ),
        (
            "/_search?scroll=1m",
            json!({"from": 1}),
            400,
            invalid,
            "using [from] is not allowed",
        ),
        (
            "/_search?scroll=1m",
            json!({"track_total_hits": 3}),
            400,
            invalid,
            "disabling [track_total_hits]",
        ),
        (
            "/_search?scroll=1m",
            json!({"sort": ["seq"], "search_after": [1]}),
            400,
            invalid,
            "[search_after]",
        ),
        (
            "/_search?scroll=1m&request_cache=true",
            json!({}),
            400,
            invalid,
            "[request_cache]",
        ),
        (
            "/_search?scroll=1m",
            json!({"pit": {"id": "x"}}),
            400,
            invalid,
            "using [point in time]",
        ),
        (
            "/_search?scroll=1m",
            json!({"size": 10_001}),
            400,
            "illegal_argument_exception",
            "Batch size is too large",
        ),
        (
            "/_search?scroll=2d",
            json!({}),
            400,
            "illegal_argument_exception",
            "Keep alive for request (2d) is too large",
        ),
        (
            "/_search?scroll=x",
            json!({}),
            400,
            "illegal_argument_exception",
            "failed to parse setting [scroll] with value [x]",
        ),
        (
            "/_search",
            json!({"slice": {"id": 0, "max": 2}}),
            400,
            invalid,
            "[slice] can only be used",
        ),
        (
            "/_search?scroll=1m",
            json!({"slice": {"id": 0, "max": 1025}}),
            400,
            "illegal_argument_exception",
            "The number of slices [1025]",
        ),
        (
            "/_search?scroll=1m",
            json!({"slice": {"id": 2, "max": 2}}),
            400,
            "x_content_parse_exception",
            "max must be greater than id",
        ),
        (
            "/_search/scroll",
            json!({"scroll": "1m"}),
            400,
            invalid,
            "scrollId is missing",
        ),
        (
            "/_search/scroll",
            json!({"scroll_id": "abc"}),
            400,
            "illegal_argument_exception",
            "Cannot parse scroll id",
        ),
        (
            "/_search/scroll",
            json!({"scroll_id": "UwEAAAAAAAAAAAAAAAAAAAAA"}),
            404,
            "search_context_missing_exception",
            "No search context found for id [0]",
        ),
        (
            "/_search/scroll",
            json!({"nonsense": 1}),
            400,
            "illegal_argument_exception",
            "Unknown parameter [nonsense]",
        ),
        (
            "/a/_pit",
            json!({}),
            400,
            invalid,
            "[keep_alive] is not specified",
        ),
        (
            "/a/_pit?keep_alive=1m",
            json!({}),
            404,
            "index_not_found_exception",
            "no such index [a]",
        ),
        (
            "/a/_search",
            json!({"pit": {"id": "x"}}),
            400,
            invalid,
            "[indices] cannot be used with point in time",
        ),
        (
            "/_search?routing=1",
            json!({"pit": {"id": "x"}}),
            400,
            invalid,
            "[routing] cannot be used",
        ),
        (
            "/_search",
            json!({"pit": {"id": "x"}}),
            400,
            "illegal_argument_exception",
            "invalid id: [x]",
        ),
        (
            "/_search",
            json!({"pit": {"keep_alive": "1m"}}),
            400,
            "illegal_argument_exception",
            "point in time id is not provided",
        ),
    ] {
        let (found, found_kind, found_reason) = refused(post(&store, uri, &body).await);
        assert_eq!(
            (found, found_kind),
            (status, json!(kind)),
            "{uri} {body}: {found_reason}"
        );
        let found_reason = found_reason.as_str().unwrap();
        assert!(
            found_reason.contains(reason),
            "{uri} {body}: {found_reason}"
        );
    }
    let nothing = delete(&store, "/_search/scroll", &json!({})).await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    let unknown = delete(
        &store,
        "/_search/scroll",
        &json!({"scroll_id": "UwEAAAAAAAAAAAAAAAAAAAAA"}),
    )
    .await;
    assert_eq!(
        (unknown.status, unknown.json()["num_freed"].clone()),
        (StatusCode::NOT_FOUND, json!(0))
    );
    for _ in 0..2 {
        post(&store, "/_search?scroll=1m", &json!({"size": 1})).await;
    }
    let all = send(&store, Method::DELETE, "/_search/scroll/_all", "").await;
    assert_eq!(all.json(), json!({"succeeded": true, "num_freed": 2}));
}
