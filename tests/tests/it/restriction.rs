//! Who sees what: a restricted token must not be able to tell whether
//! documents outside its restriction exist.

use serde_json::{Value, json};

use crate::support::Scene;

const INDEX: &str = "logstash-journalbeat-node-1-2026.11.20";

fn document(place: usize, namespace: &str) -> Value {
    let level = ["info", "warn", "error"][place % 3];
    json!({
        "@timestamp": format!("2026-11-20T10:{:02}:{:02}.000Z", place / 60 % 60, place % 60),
        "realtime_us": 1_795_168_800_000_000_u64 + place as u64 * 1_000_000,
        "seq": 0,
        "event_id": format!("{place:032x}"),
        "message": format!("request {place} of {namespace} took {} ms", place * 7 % 100),
        "index": "logstash-journalbeat-node-1", "type": "container", "region": "local",
        "namespace": namespace, "pod": format!("{namespace}-{}", place % 4), "level": level,
        "annotations": {"team": format!("team-{namespace}")},
        "annotation": [format!("team=team-{namespace}")],
    })
}

fn lines(namespaces: &[&str]) -> Vec<Value> {
    let mut lines = Vec::new();
    for (offset, namespace) in namespaces.iter().enumerate() {
        for place in 0..60 {
            // The first namespace gets the same documents whoever else is there.
            let place = offset * 1000 + place;
            lines.push(json!({"create": {"_index": INDEX, "_id": format!("{place:032x}")}}));
            lines.push(document(place, namespace));
        }
    }
    lines
}

fn restricted() -> Value {
    json!([{"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"],
            "other": {"log": {"namespace": ["shop"]}}}])
}

fn bodies() -> Vec<Value> {
    vec![
        json!({}),
        json!({"query": {"match_all": {}}, "size": 100}),
        json!({"query": {"term": {"namespace": "bank"}}}),
        json!({"query": {"bool": {"should": [{"match_all": {}}, {"term": {"namespace": "bank"}}]}}}),
        json!({"query": {"bool": {"must_not": [{"term": {"namespace": "shop"}}]}}}),
        json!({"query": {"match": {"message": "bank request"}}, "highlight": {"fields": {"message": {}}}}),
        json!({"query": {"query_string": {"query": "namespace:bank OR request"}}}),
        json!({"query": {"prefix": {"pod": {"value": "b"}}}}),
        json!({"query": {"wildcard": {"namespace": {"value": "*"}}}}),
        json!({"query": {"exists": {"field": "namespace"}}, "track_total_hits": true}),
        json!({"sort": [{"realtime_us": "desc"}, {"seq": "desc"}], "size": 5}),
        json!({"sort": ["level"], "size": 7, "from": 3}),
        json!({"size": 0, "aggs": {"n": {"terms": {"field": "namespace"}}}}),
        json!({"size": 0, "aggs": {"t": {"terms": {"field": "annotations.team"}}, "p": {"cardinality": {"field": "pod"}}}}),
        json!({"size": 0, "aggs": {"d": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"},
                "aggs": {"l": {"terms": {"field": "level"}}, "s": {"stats": {"field": "realtime_us"}}}}}}),
        json!({"size": 0, "aggs": {"f": {"filters": {"filters": {"bank": {"term": {"namespace": "bank"}}, "all": {"match_all": {}}}}}}}),
        json!({"size": 0, "aggs": {"f": {"filter": {"term": {"namespace": "bank"}}}}}),
        json!({"post_filter": {"match_all": {}}, "_source": ["namespace"]}),
    ]
}

/// The text of the answer without the time it took.
async fn without_took(
    scene: &Scene,
    token: &str,
    path: &str,
    content_type: &str,
    body: String,
) -> (u16, String) {
    let response = scene
        .http
        .post(format!("{}{path}", scene.node.url))
        .bearer_auth(token)
        .header("content-type", content_type)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(place) = rest.find("\"took\":") {
        let (before, behind) = rest.split_at(place + 7);
        kept.push_str(before);
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    kept.push_str(rest);
    (status, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_outside_the_restriction_change_no_byte_of_a_restricted_answer() {
    let (alone, crowded) = tokio::join!(Scene::new(), Scene::new());
    let stored = alone.bulk(&lines(&["shop"])).await;
    assert_eq!(
        (stored.status, &stored.body["errors"]),
        (200, &json!(false)),
        "{}",
        stored.body
    );
    let stored = crowded.bulk(&lines(&["shop", "bank", "depot"])).await;
    assert_eq!(
        (stored.status, &stored.body["errors"]),
        (200, &json!(false)),
        "{}",
        stored.body
    );
    assert_eq!(
        crowded
            .count(&crowded.token, json!({"match_all": {}}))
            .await,
        180
    );
    let tokens = (
        alone.token_for(restricted()).await,
        crowded.token_for(restricted()).await,
    );

    assert_eq!(crowded.count(&tokens.1, json!({"match_all": {}})).await, 60);
    assert_eq!(
        crowded
            .count(&tokens.1, json!({"term": {"namespace": "bank"}}))
            .await,
        0
    );

    let json_type = "application/json";
    for body in bodies() {
        for path in [
            "/api/local/log/_search",
            "/api/local/log/logstash-*/_search",
        ] {
            let first = without_took(&alone, &tokens.0, path, json_type, body.to_string()).await;
            let second = without_took(&crowded, &tokens.1, path, json_type, body.to_string()).await;
            assert_eq!(first, second, "for {path} {body}");
            assert_eq!(first.0, 200, "for {path} {body}: {}", first.1);
            if let Ok(answer) =
                serde_json::from_str::<Value>(&second.1.replace("\"took\":", "\"took\":0"))
            {
                for hit in answer["hits"]["hits"].as_array().unwrap() {
                    assert_eq!(hit["_source"]["namespace"], "shop", "for {body}");
                }
            }
        }
    }
    for parameters in [
        "?q=namespace:bank",
        "?q=*&sort=pod:desc&size=3",
        "?q=request",
    ] {
        let path = format!("/api/local/log/_search{parameters}");
        let first = without_took(&alone, &tokens.0, &path, json_type, String::new()).await;
        let second = without_took(&crowded, &tokens.1, &path, json_type, String::new()).await;
        assert_eq!(first, second, "for {path}");
        assert_eq!(first.0, 200, "for {path}: {}", first.1);
    }
    let several: String = bodies()
        .iter()
        .map(|body| format!("{{\"index\":\"logstash-*\"}}\n{body}\n"))
        .collect();
    let path = "/api/local/log/_msearch";
    let ndjson = "application/x-ndjson";
    let first = without_took(&alone, &tokens.0, path, ndjson, several.clone()).await;
    let second = without_took(&crowded, &tokens.1, path, ndjson, several).await;
    assert_eq!(first, second);
    assert_eq!(first.0, 200, "{}", first.1);
    assert!(!second.1.contains("bank-"), "{}", second.1);
    for path in [
        "/api/local/log",
        "/api/local/log/_mapping",
        "/api/local/log/_cluster/health",
    ] {
        let first = alone.get(&tokens.0, path).await;
        let second = crowded.get(&tokens.1, path).await;
        assert_eq!(
            (first.status, first.body),
            (second.status, second.body),
            "for {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_see_past_the_filter_is_refused() {
    let scene = Scene::new().await;
    scene.bulk(&lines(&["shop", "bank"])).await;
    let token = scene.token_for(restricted()).await;
    for body in [
        json!({"aggs": {"g": {"global": {}, "aggs": {"n": {"terms": {"field": "namespace"}}}}}}),
        json!({"aggs": {"n": {"terms": {"field": "namespace", "min_doc_count": 0}}}}),
        json!({"aggs": {"n": {"significant_terms": {"field": "namespace"}}}}),
        json!({"suggest": {"s": {"text": "b", "term": {"field": "message"}}}}),
        json!({"query": {"script": {"script": "true"}}}),
        json!({"runtime_mappings": {"x": {"type": "keyword"}}}),
        json!({"query": {"terms": {"namespace": {"index": "x", "id": "1", "path": "n"}}}}),
        json!({"query": {"more_like_this": {"fields": ["message"], "like": "x"}}}),
        json!({"query": {"match_all": {}}, "explain": true}),
        json!({"query": {"match_all": {}}, "profile": true}),
        json!({"query": {"fuzzy": {"message": "requst"}}}),
        json!({"query": {"match": {"message": {"query": "requst", "fuzziness": 1}}}}),
        json!({"query": {"match_phrase_prefix": {"message": "req"}}}),
        json!({"rescore": {"query": {"rescore_query": {"match_all": {}}}}}),
    ] {
        let answer = scene
            .post(&token, "/api/local/log/_search", body.clone())
            .await;
        assert_eq!(answer.status, 403, "for {body}: {}", answer.body);
    }
    for path in [
        "/api/local/log/_cat/indices",
        "/api/local/log/_stats",
        &format!("/api/local/log/{INDEX}/_doc/{:032x}", 1000),
        "/api/local/log/%3Clogstash-%7Bnow%2Fd%7D%3E/_search",
    ] {
        let answer = scene.get(&token, path).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "for {path}: {} {}",
            answer.status,
            answer.body
        );
    }
    let remote = scene
        .post(&token, "/api/local/log/other:logs/_search", json!({}))
        .await;
    assert_eq!(remote.status, 403, "{}", remote.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_without_the_permission_to_write() {
    let scene = Scene::new().await;
    let reader = scene
        .token_for(json!([{"method": ["GET", "POST", "PUT", "DELETE"], "url": ["{mscp_api_url}/local/log/**"]}]))
        .await;
    let written = scene
        .post(
            &reader,
            &format!("/api/local/log/{INDEX}/_doc"),
            document(1, "shop"),
        )
        .await;
    assert_eq!(written.status, 403, "{}", written.body);
    let deleted = scene
        .call(
            &reader,
            reqwest::Method::DELETE,
            &format!("/api/local/log/{INDEX}"),
            None,
        )
        .await;
    assert_eq!(deleted.status, 403, "{}", deleted.body);
    let written = scene
        .post(
            &scene.token,
            &format!("/api/local/log/{INDEX}/_doc?refresh=true"),
            document(1, "shop"),
        )
        .await;
    assert_eq!(written.status, 201, "{}", written.body);
    assert_eq!(scene.count(&reader, json!({"match_all": {}})).await, 1);
    let deleted = scene
        .call(
            &scene.token,
            reqwest::Method::DELETE,
            &format!("/api/local/log/{INDEX}"),
            None,
        )
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    assert_eq!(scene.count(&reader, json!({"match_all": {}})).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_index_reaches_no_other_by_naming_it_in_a_body() {
    let scene = Scene::new().await;
    scene.bulk(&lines(&["shop"])).await;
    let granted = "logstash-other-2026.11.20";
    let one_index = scene
        .token_for(json!([{"method": ["GET", "POST"],
            "url": [format!("{{mscp_api_url}}/local/log/{granted}/**")]}]))
        .await;
    let ndjson = "application/x-ndjson";
    let body = format!("{{\"index\":\"{INDEX}\"}}\n{{}}\n");
    let path = format!("/api/local/log/{granted}/_msearch");
    let (status, text) = without_took(&scene, &one_index, &path, ndjson, body.clone()).await;
    assert_eq!(status, 403, "{text}");
    let search = format!("/api/local/log/{granted}/_search?ignore_unavailable=true");
    let own = scene.post(&one_index, &search, json!({})).await;
    assert_eq!(own.status, 200, "{}", own.body);
    // Who may search everywhere may do it by this path, too.
    let (status, text) = without_took(&scene, &scene.token, &path, ndjson, body).await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_index_is_no_way_to_what_the_same_token_sees_or_changes_less_of() {
    let scene = Scene::new().await;
    scene.bulk(&lines(&["shop", "bank"])).await;
    let granted = "logstash-own-2026.11.20";
    let (own, all) = (
        format!("{{mscp_api_url}}/local/log/{granted}/**"),
        "{mscp_api_url}/local/log/**",
    );
    let ndjson = "application/x-ndjson";

    // All of one index, and of the others what is of the shop.
    let sees_less = scene
        .token_for(json!([
            {"method": ["GET", "POST"], "url": [own]},
            {"method": ["GET", "POST"], "url": [all], "other": {"log": {"namespace": ["shop"]}}},
        ]))
        .await;
    let named = format!("{{\"index\":\"{INDEX}\"}}\n{{}}\n");
    let path = format!("/api/local/log/{granted}/_msearch");
    let (status, text) = without_took(&scene, &sees_less, &path, ndjson, named).await;
    assert_eq!(status, 403, "{text}");

    // One index may be changed, and the others be read.
    let changes_less = scene
        .token_for(json!([
            {"method": ["GET", "POST"], "url": [own], "other": {"log": {"write": true}}},
            {"method": ["GET", "POST"], "url": [all]},
        ]))
        .await;
    let named = format!(
        "{{\"delete\":{{\"_index\":\"{INDEX}\",\"_id\":\"{:032x}\"}}}}\n",
        0
    );
    let path = format!("/api/local/log/{granted}/_bulk?refresh=true");
    let (status, text) = without_took(&scene, &changes_less, &path, ndjson, named).await;
    assert_eq!(status, 403, "{text}");
    assert_eq!(
        scene.count(&scene.token, json!({"match_all": {}})).await,
        120
    );

    // Scrolls of its own index, and searches elsewhere of what is of the shop.
    let scrolls = scene
        .token_for(json!([
            {"method": ["GET", "POST"], "url": [own, "{mscp_api_url}/local/log/_search/scroll"]},
            {"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/_search"],
             "other": {"log": {"namespace": ["shop"]}}},
        ]))
        .await;
    let first = "/api/local/log/_search?scroll=1m";
    let everyones = scene.post(&scene.token, first, json!({"size": 1})).await;
    let next = json!({"scroll": "1m", "scroll_id": everyones.body["_scroll_id"]});
    let found = scene
        .post(&scrolls, "/api/local/log/_search/scroll", next)
        .await;
    assert_eq!(found.status, 404, "{}", found.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_reads_and_what_is_refused_to_them_are_audited() {
    let scene = Scene::new().await;
    let shop = scene.token_for(restricted()).await;
    let search = format!("/api/local/log/{INDEX}/_search");
    assert_eq!(scene.post(&shop, &search, json!({})).await.status, 200);
    assert_eq!(
        scene.get(&shop, "/api/local/log/_cat/indices").await.status,
        403
    );
    assert_eq!(
        scene.post(&scene.token, &search, json!({})).await.status,
        404
    );
    let audited = async || -> Vec<Value> {
        let page = scene.get(&scene.token, "/api/system/audit").await.body;
        let rows = page.as_array().unwrap().iter();
        rows.filter(|row| row["action"] == "log.read")
            .cloned()
            .collect()
    };
    // Rows are written behind the answers.
    let mut rows = audited().await;
    for _ in 0..600 {
        if rows.len() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        rows = audited().await;
    }
    rows.sort_by_key(|row| row["outcome"].to_string());
    let outcomes: Vec<&Value> = rows.iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["done", "refused"]);
    assert_eq!(rows[0]["target"], "local");
    assert_eq!(rows[0]["detail"]["indices"], json!([INDEX]));
    assert_eq!(
        rows[0]["detail"]["restriction"][0]["namespace"],
        json!(["shop"])
    );
    // A path with a slash at its end is none of them.
    let other = scene
        .post(&shop, "/api/local/log/_search/", json!({}))
        .await;
    assert_eq!(other.status, 404, "{}", other.body);
}
