//! The promise itself, on real stores: what is outside of a restriction
//! changes no byte of an answer but `took`.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::buffer::dead_letters::DeadLetters;
use crate::store::embedded::{EmbeddedStore, Settings};

fn document() -> impl Strategy<Value = Value> {
    (
        select(vec!["shop", "shop", "bank", "shopping", ""]),
        select(vec!["error in the pool", "a b c", "time out error", "secret word", "日志 error", ""]),
        (select(vec!["web-1", "web-2", "db-0", "secret-0"]), select(vec!["ERROR", "INFO", ""])),
        (0i64..5, 0i64..4, 0i64..3),
        select(vec!["logstash-http-a", "logstash-http-b", "logstash-secret"]),
    )
        .prop_map(|(namespace, message, (pod, level), (time, seq, day), index)| {
            let ms = 1_516_752_000_000 + day * 86_400_000 + time;
            let mut document = json!({
                "@timestamp": ms, "realtime_us": ms * 1_000, "seq": seq, "message": message, "pod": pod,
                "index": index, "tags": [pod, level], "annotations": {"user": pod},
            });
            for (field, value) in [("namespace", namespace), ("level", level)] {
                if !value.is_empty() {
                    document[field] = value.into();
                }
            }
            document
        })
}

fn body() -> impl Strategy<Value = Value> {
    let queries = vec![
        json!({"match_all": {}}),
        json!({"match": {"message": "error secret"}}),
        json!({"match_phrase": {"message": {"query": "error pool", "slop": 3}}}),
        json!({"query_string": {"query": "error OR pod:secret* OR _exists_:level"}}),
        json!({"query_string": {"query": "*"}}),
        json!({"bool": {"must_not": {"term": {"namespace": "shop"}}}}),
        json!({"bool": {"should": [{"match_all": {}}, {"term": {"namespace": "bank"}}], "minimum_should_match": 0}}),
        json!({"terms": {"namespace": ["bank", "shop"]}}),
        json!({"wildcard": {"pod": "*-0"}}),
        json!({"prefix": {"message": "e"}}),
        json!({"range": {"realtime_us": {"gte": 1_516_752_000_002_000_i64}}}),
        json!({"range": {"@timestamp": {"lt": "2018-01-25"}}}),
        json!({"exists": {"field": "level"}}),
        json!({"ids": {"values": ["id-1", "id-2", "id-3"]}}),
        json!({"term": {"_index": "logstash-secret-2018.01.24"}}),
        json!({"constant_score": {"filter": {"term": {"tags": "ERROR"}}}}),
        json!({"term": {"annotations.user": "secret-0"}}),
    ];
    let aggregations = vec![
        json!({"a": {"terms": {"field": "namespace"}}}),
        json!({"a": {"terms": {"field": "pod", "size": 1, "order": {"_key": "desc"}}, "aggs": {"b": {"stats": {"field": "seq"}}}}}),
        json!({"a": {"terms": {"field": "_index", "missing": "x"}}}),
        json!({"a": {"terms": {"field": "level", "missing": "none", "include": ".*"}}}),
        json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1ms", "min_doc_count": 0}}}),
        json!({"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day", "extended_bounds": {"min": "2018-01-20", "max": "2018-01-28"}}}}),
        json!({"a": {"filters": {"filters": {"x": {"term": {"namespace": "bank"}}, "y": {"match_all": {}}}}}}),
        json!({"a": {"filter": {"term": {"namespace": "bank"}}, "aggs": {"b": {"cardinality": {"field": "pod"}}}}}),
        json!({"a": {"cardinality": {"field": "namespace"}}, "b": {"stats": {"field": "realtime_us"}}}),
        json!({"a": {"global": {}}}),
        json!({"a": {"terms": {"field": "pod", "min_doc_count": 0}}}),
    ];
    let sorts = vec![
        json!([]),
        json!(["_score"]),
        json!([{"@timestamp": "desc"}, "_doc"]),
        json!([{"level": {"order": "asc", "missing": "_first"}}]),
        json!(["seq"]),
        json!([{"no_such": {"unmapped_type": "long"}}]),
        json!(["no_such"]),
    ];
    let options = vec![
        json!({}),
        json!({"size": 3}),
        json!({"size": 2, "from": 3}),
        json!({"size": 0, "track_total_hits": true}),
        json!({"track_total_hits": 2}),
        json!({"track_total_hits": false}),
        json!({"terminate_after": 1}),
        json!({"min_score": 0.1}),
        json!({"track_scores": true, "version": true}),
        json!({"_source": false, "fields": ["*"], "docvalue_fields": ["p*"]}),
        json!({"highlight": {"fields": {"*": {}}}}),
        json!({"post_filter": {"term": {"pod": "web-1"}}}),
    ];
    (
        select(queries),
        proptest::option::of(select(aggregations)),
        select(sorts),
        select(options),
    )
        .prop_map(|(query, aggregations, sort, options)| {
            let mut body = options;
            body["query"] = query;
            body["sort"] = sort;
            if let Some(aggregations) = aggregations {
                body["aggs"] = aggregations;
            }
            body
        })
}

async fn store(folder: &std::path::Path, documents: &[(usize, Value)]) -> Region {
    let store =
        EmbeddedStore::open(folder, Settings::default(), DeadLetters::below(folder)).unwrap();
    let region = Region::new(
        "local",
        Arc::new(store),
        &config::Search {
            max_concurrent_per_subject: 64,
            ..limits()
        },
        sealing(),
    );
    let mut lines = String::new();
    for (id, document) in documents {
        let index = document["index"].as_str().unwrap();
        let day = 24
            + (document["realtime_us"].as_i64().unwrap() - 1_516_752_000_000_000) / 86_400_000_000;
        lines += &json!({"create": {"_index": format!("{index}-2018.01.{day}"), "_id": format!("id-{id}")}}).to_string();
        lines += "\n";
        lines += &document.to_string();
        lines += "\n";
    }
    if !lines.is_empty() {
        let mut asked = ask(Visible::All, "POST", "/_bulk?refresh=true", &lines);
        let lines_type = HeaderValue::from_static("application/x-ndjson");
        asked.headers.insert(header::CONTENT_TYPE, lines_type);
        asked.write = true;
        let answer = text(region.answer(asked).await.response.unwrap()).await;
        assert!(answer.contains(r#""errors":false"#), "{answer}");
    }
    region
}

/// The answer without `took`, or why there is none.
async fn answer(
    region: &Region,
    visible: &Visible,
    uri: &str,
    body: &str,
) -> Result<String, Refusal> {
    let response = region
        .answer(ask(visible.clone(), "POST", uri, body))
        .await
        .response?;
    let status = response.status();
    let answer = text(response).await;
    let mut parts = answer.split(r#""took":"#);
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without += part.trim_start_matches(|digit: char| digit.is_ascii_digit());
    }
    Ok(format!("{status} {without}"))
}

#[tokio::test]
async fn documents_outside_of_a_restriction_change_no_byte_of_an_answer() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let mut draw = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|_| document().new_tree(&mut runner).unwrap().current())
            .collect()
    };
    let documents: Vec<(usize, Value)> = draw(300).into_iter().enumerate().collect();
    let seen: Vec<(usize, Value)> = documents
        .iter()
        .filter(|(_, one)| one["namespace"] == "shop")
        .cloned()
        .collect();
    let unseen: Vec<(usize, Value)> = documents
        .iter()
        .filter(|(_, one)| one["namespace"] != "shop")
        .cloned()
        .collect();
    assert!(seen.len() > 50 && unseen.len() > 50);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (all, only_seen) = (
        store(&path("all"), &documents).await,
        store(&path("seen"), &seen).await,
    );
    let (only_unseen, empty) = (
        store(&path("unseen"), &unseen).await,
        store(&path("empty"), &[]).await,
    );

    let visible = shop();
    let mut answered = 0;
    for round in 0..400 {
        let body = body().new_tree(&mut runner).unwrap().current();
        let index = [
            "",
            "/logstash-*",
            "/logstash-http-a-*,-*25",
            "/logstash-secret-2018.01.24",
            "/none",
        ][round % 5];
        let (uri, body) = match round % 3 {
            0 => (
                format!("{index}/_msearch"),
                format!("{{}}\n{body}\n{{\"index\":\"logstash-secret*\"}}\n{body}\n"),
            ),
            _ => (format!("{index}/_search"), body.to_string()),
        };
        let found = answer(&all, &visible, &uri, &body).await;
        answered += usize::from(found.as_ref().is_ok_and(|text| text.starts_with("200")));
        assert_eq!(
            found,
            answer(&only_seen, &visible, &uri, &body).await,
            "{uri} {body}"
        );
        let found = answer(&only_unseen, &visible, &uri, &body).await;
        assert_eq!(
            found,
            answer(&empty, &visible, &uri, &body).await,
            "{uri} {body}"
        );
        let query: Value = json!({"query": body_query(&body)});
        let uri = format!("{index}/_count");
        let found = answer(&all, &visible, &uri, &query.to_string()).await;
        assert_eq!(
            found,
            answer(&only_seen, &visible, &uri, &query.to_string()).await,
            "{uri} {query}"
        );
    }
    assert!(answered > 200, "only {answered} searches were answered");
}

async fn page(region: &Region, asked: Ask) -> (u16, Value) {
    let response = region.answer(asked).await.response.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

/// Forty documents, of the shop and of the bank in turn.
async fn shop_and_bank(folder: &std::path::Path) -> Region {
    let documents: Vec<(usize, Value)> = (0..40)
        .map(|id| {
            let us = 1_516_752_000_000_000_i64 + id as i64;
            let namespace = ["shop", "bank"][id % 2];
            (
                id,
                json!({"namespace": namespace, "realtime_us": us, "index": "logstash-http-a"}),
            )
        })
        .collect();
    store(folder, &documents).await
}

#[tokio::test]
async fn a_restricted_scroll_shows_what_may_be_seen_and_only_to_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let region = shop_and_bank(folder.path()).await;
    let bank = Visible::Restricted(vec![Restriction {
        namespace: Some(["bank".to_owned()].into()),
        ..Restriction::none()
    }]);
    let body = r#"{"size":7,"sort":["_doc"]}"#;
    let (status, first) = page(&region, ask(shop(), "POST", "/*/_search?scroll=1m", body)).await;
    assert_eq!(status, 200, "{first}");
    let next = |visible: Visible, id: &Value| {
        let body = json!({"scroll": "1m", "scroll_id": id}).to_string();
        ask(visible, "POST", "/_search/scroll", &body)
    };
    let mut hits = first["hits"]["hits"].as_array().unwrap().clone();
    let mut id = first["_scroll_id"].clone();
    loop {
        let mut foreign = next(shop(), &id);
        foreign.subject = "another".into();
        assert_eq!(page(&region, foreign).await.0, 404);
        assert_eq!(page(&region, next(bank.clone(), &id)).await.0, 404);
        let (status, found) = page(&region, next(shop(), &id)).await;
        assert_eq!(status, 200, "{found}");
        assert_eq!(found["hits"]["total"]["value"], 20);
        id = found["_scroll_id"].clone();
        let more = found["hits"]["hits"].as_array().unwrap();
        if more.is_empty() {
            break;
        }
        hits.extend(more.iter().cloned());
    }
    assert_eq!(hits.len(), 20);
    assert!(hits.iter().all(|hit| hit["_source"]["namespace"] == "shop"));
    let end = json!({"scroll_id": [id]}).to_string();
    let ended = page(&region, ask(shop(), "DELETE", "/_search/scroll", &end)).await;
    assert_eq!(ended, (200, json!({"succeeded": true, "num_freed": 1})));
}

#[tokio::test]
async fn a_restricted_point_in_time_shows_no_places_and_only_to_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let region = shop_and_bank(folder.path()).await;
    for (path, member) in [("_pit", "id"), ("_search/point_in_time", "pit_id")] {
        let open = format!("/logstash-*/{path}?keep_alive=1m");
        let (status, opened) = page(&region, ask(shop(), "POST", &open, "")).await;
        assert_eq!(status, 200, "{opened}");
        let mut body = json!({"size": 6, "pit": {"id": opened[member]}, "sort": ["realtime_us"]});
        let mut foreign = ask(shop(), "POST", "/_search", &body.to_string());
        foreign.subject = "another".into();
        assert_eq!(page(&region, foreign).await.0, 404);
        let mut count = 0;
        loop {
            let asked = ask(shop(), "POST", "/_search", &body.to_string());
            let (status, found) = page(&region, asked).await;
            assert_eq!(status, 200, "{found}");
            let hits = found["hits"]["hits"].as_array().unwrap();
            let Some(last) = hits.last() else { break };
            // Its own key and the total order, and no place on disk.
            assert_eq!(last["sort"].as_array().unwrap().len(), 3);
            assert!(hits.iter().all(|hit| hit["_source"]["namespace"] == "shop"));
            count += hits.len();
            body["search_after"] = last["sort"].clone();
        }
        assert_eq!(count, 20);
        let close = json!({member: opened[member]}).to_string();
        let asked = ask(shop(), "DELETE", &format!("/{path}"), &close);
        let (status, closed) = page(&region, asked).await;
        assert_eq!(status, 200, "{closed}");
        if member == "pit_id" {
            assert_eq!(closed["pits"][0]["pit_id"], opened[member]);
        }
    }
}

#[tokio::test]
async fn one_who_may_not_search_all_indices_goes_on_only_with_own_scrolls() {
    let folder = tempfile::tempdir().unwrap();
    let document = json!({"realtime_us": 1_516_752_000_000_000_i64, "index": "logstash-http-a"});
    let region = store(folder.path(), &[(1, document)]).await;
    let all = |method: &str, uri: &str, body: &str| {
        let mut asked = ask(Visible::All, method, uri, body);
        let json_type = HeaderValue::from_static("application/json");
        asked.headers.insert(header::CONTENT_TYPE, json_type);
        asked
    };
    let some = |method: &str, uri: &str, body: &str| Ask {
        searches_all: false,
        ..all(method, uri, body)
    };
    let raw = page(&region, all("POST", "/_search?scroll=1m", "{}"))
        .await
        .1;
    let own = page(&region, some("POST", "/logstash-*/_search?scroll=1m", "{}"))
        .await
        .1;
    assert_eq!(own["hits"]["hits"].as_array().unwrap().len(), 1);
    for (id, status) in [(&raw["_scroll_id"], 404), (&own["_scroll_id"], 200)] {
        let body = json!({"scroll": "1m", "scroll_id": id}).to_string();
        let found = page(&region, some("POST", "/_search/scroll", &body)).await;
        assert_eq!(found.0, status, "{}", found.1);
        // The next page's id is sealed as the first one's was.
        let id = found.1.get("_scroll_id").unwrap_or(id);
        let body = json!({"scroll_id": id}).to_string();
        let found = page(&region, some("DELETE", "/_search/scroll", &body)).await;
        assert_eq!(found.0, status, "{}", found.1);
    }
}

fn body_query(body: &str) -> Value {
    let line = body.lines().nth(1).unwrap_or(body);
    serde_json::from_str::<Value>(line).unwrap()["query"].clone()
}

#[tokio::test]
async fn a_restricted_search_finds_what_may_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<(usize, Value)> = ["shop", "bank", "shop"]
        .iter()
        .enumerate()
        .map(|(id, namespace)| {
            let us = 1_516_752_000_000_000_i64 + id as i64;
            (id, json!({"namespace": namespace, "message": "error", "realtime_us": us, "seq": id, "index": "logstash-http-a"}))
        })
        .collect();
    let region = store(folder.path(), &documents).await;
    let response = region
        .answer(ask(shop(), "GET", "/logstash-*/_search?q=error", ""))
        .await
        .response
        .unwrap();
    let found: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(found["hits"]["total"]["value"], 2);
    let ids: Vec<&str> = found["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["id-2", "id-0"]);
    // The sort values of the last hit lead to the next page.
    let after = &found["hits"]["hits"][0]["sort"];
    let body = json!({"search_after": after, "sort": [{"realtime_us": "desc"}]}).to_string();
    let response = region
        .answer(ask(shop(), "GET", "/_search", &body))
        .await
        .response
        .unwrap();
    let found: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(found["hits"]["hits"][0]["_id"], "id-0");
    let body =
        json!({"search_after": [1_516_752_000_000_002_i64], "sort": [{"realtime_us": "desc"}]})
            .to_string();
    let response = region
        .answer(ask(shop(), "GET", "/_search", &body))
        .await
        .response
        .unwrap();
    let found: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(found["hits"]["hits"][0]["_id"], "id-0", "{found}");
}

#[tokio::test]
async fn limits_of_searches_change_for_whoever_asks_next() {
    let folder = tempfile::tempdir().unwrap();
    let document = json!({"index": "logstash-http-local", "namespace": "shop",
        "realtime_us": 1_516_752_000_000_000_i64, "seq": 1, "message": "m"});
    let region = store(folder.path(), &[(1, document)]).await;
    let status = async |visible: &Visible, body: &str| {
        let mut asked = ask(visible.clone(), "POST", "/_search", body);
        let json_type = HeaderValue::from_static("application/json");
        asked.headers.insert(header::CONTENT_TYPE, json_type);
        let response = region.answer(asked).await.response.unwrap();
        response.status().as_u16()
    };
    let mut limits = Search::from(&limits());
    for visible in [Visible::All, shop()] {
        limits.max_window = 10_000;
        region.set_search(&limits);
        assert_eq!(status(&visible, r#"{"from":9000,"size":1001}"#).await, 400);
        limits.max_window = 20_000;
        region.set_search(&limits);
        assert_eq!(status(&visible, r#"{"from":9000,"size":1001}"#).await, 200);
        limits.max_window = 5;
        region.set_search(&limits);
        assert_eq!(status(&visible, r#"{"size":6}"#).await, 400);

        let buckets = r#"{"size":0,"aggs":{"a":{"range":{"field":"seq","ranges":[{"to":1},{"to":2},{"to":3}]}}}}"#;
        for (most, expected) in [(3, true), (2, false), (3, true)] {
            limits.max_buckets = most;
            region.set_search(&limits);
            assert_eq!(status(&visible, buckets).await == 200, expected, "{most}");
        }
    }
}

#[tokio::test]
async fn the_requests_that_a_subject_may_have_open_change_while_some_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let region = store(folder.path(), &[]).await;
    let mut limits = Search::from(&limits());
    let open = async || {
        let asked = ask(Visible::All, "POST", "/_search", "{}");
        region.answer(asked).await.response
    };
    limits.max_concurrent_per_subject = 1;
    region.set_search(&limits);
    let first = open().await.unwrap();
    assert_eq!(open().await.unwrap_err(), Refusal::Busy(1));
    limits.max_concurrent_per_subject = 2;
    region.set_search(&limits);
    let second = open().await.unwrap();
    limits.max_concurrent_per_subject = 1;
    region.set_search(&limits);
    drop(first);
    assert_eq!(open().await.unwrap_err(), Refusal::Busy(1));
    drop(second);
    assert!(open().await.is_ok());
}
