//! Endpoints that describe indices, keep templates and read documents by id,
//! each answer as Elasticsearch 8.19 gave it for the same request.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::api::{get, send};
use super::*;

async fn filled(folder: &Path) -> EmbeddedStore {
    let store = open(folder);
    for (path, body) in [
        (
            "/a-2018.01.24/_doc/1",
            r#"{"level":"info","log":{"offset":1}}"#,
        ),
        ("/a-2018.01.24/_doc/2", r#"{"level":"warn"}"#),
        ("/plain/_doc/1", r#"{"level":"info"}"#),
    ] {
        let written = send(&store, Method::PUT, path, body).await;
        assert_eq!(written.status, StatusCode::CREATED, "{}", written.text);
    }
    store
}

#[track_caller]
fn error_of(body: &Value) -> (&str, &str) {
    let text = |member: &str| body["error"][member].as_str().unwrap_or_default();
    (text("type"), text("reason"))
}

#[tokio::test]
async fn an_index_is_described_with_its_mapping_settings_and_no_aliases() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let index = &get(&store, "/a-2018.01.24").await.json()["a-2018.01.24"];
    assert_eq!(index["aliases"], json!({}));
    assert_eq!(index["mappings"]["dynamic"], "false");
    assert_eq!(index["mappings"]["properties"]["level"]["type"], "keyword");
    assert_eq!(index["settings"]["index"]["number_of_shards"], "1");
    assert_eq!(index["settings"]["index"]["creation_date"], "1516752000000");
    let flat = get(
        &store,
        "/plain/_settings/index.number_of_*?flat_settings=true",
    )
    .await;
    let expected = json!({"plain": {"settings": {
        "index.number_of_replicas": "0", "index.number_of_shards": "1",
    }}});
    assert_eq!(flat.json(), expected);
    assert_eq!(get(&store, "/plain/_settings/no").await.json(), json!({}));
    let field = get(&store, "/plain/_mapping/field/log.off*").await.json();
    let expected =
        json!({"log.offset": {"full_name": "log.offset", "mapping": {"offset": {"type": "long"}}}});
    assert_eq!(field["plain"]["mappings"], expected);
    assert_eq!(get(&store, "/nothing").await.status, StatusCode::NOT_FOUND);
    let features = get(&store, "/plain?features=aliases").await.json();
    let expected = json!({"plain": {"aliases": {}, "mappings": {}, "settings": {}}});
    assert_eq!(features, expected);
}

#[tokio::test]
async fn there_are_no_aliases_and_asking_for_one_by_name_is_404() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let all = get(&store, "/plain/_alias").await;
    assert_eq!(all.json(), json!({"plain": {"aliases": {}}}));
    let one = get(&store, "/_alias/x").await;
    assert_eq!(one.status, StatusCode::NOT_FOUND);
    assert_eq!(
        one.json(),
        json!({"error": "alias [x] missing", "status": 404})
    );
    assert_eq!(get(&store, "/_alias/x*").await.json(), json!({}));
    let head = send(&store, Method::HEAD, "/_alias/x", "").await;
    assert_eq!(
        (head.status, head.text.as_str()),
        (StatusCode::NOT_FOUND, "")
    );
}

#[tokio::test]
async fn statistics_count_documents_and_name_unknown_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let stats = get(&store, "/_stats").await.json();
    assert_eq!(stats["_all"]["primaries"]["docs"]["count"], 3);
    assert!(
        stats["_all"]["total"]["store"]["size_in_bytes"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert_eq!(
        stats["indices"]["a-2018.01.24"]["total"]["docs"]["count"],
        2
    );
    let only = get(&store, "/plain/_stats/docs?level=cluster").await.json();
    let expected = json!({"docs": {"count": 1, "deleted": 0}});
    assert_eq!(only["_all"]["primaries"], expected);
    assert!(only.get("indices").is_none());
    let wrong = get(&store, "/_stats/bogus").await.json();
    assert!(error_of(&wrong).1.contains("unrecognized metric: [bogus]"));
}

#[tokio::test]
async fn field_capabilities_follow_patterns_filters_and_a_query() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let caps = get(&store, "/plain/_field_caps?fields=level,log.o*,_id,nope")
        .await
        .json();
    assert_eq!(caps["indices"], json!(["plain"]));
    let names: Vec<&String> = caps["fields"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["_id", "level", "log", "log.offset"]);
    let expected = json!({"keyword": {
        "type": "keyword", "metadata_field": false, "searchable": true, "aggregatable": true,
    }});
    assert_eq!(caps["fields"]["level"], expected);
    assert!(caps["fields"]["log"]["object"].is_object());
    let dates = get(&store, "/_field_caps?fields=*&types=date&filters=-metadata")
        .await
        .json();
    let names: Vec<&String> = dates["fields"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["@timestamp", "source_time"]);
    let body = r#"{"index_filter": {"term": {"level": "warn"}}}"#;
    let found = send(&store, Method::POST, "/_field_caps?fields=level", body).await;
    assert_eq!(found.json()["indices"], json!(["a-2018.01.24"]));
    let none = get(&store, "/_field_caps").await.json();
    assert_eq!(
        error_of(&none).1,
        "Validation Failed: 1: no fields specified;"
    );
}

#[tokio::test]
async fn names_are_resolved_to_indices() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let found = get(&store, "/_resolve/index/p*,nope*").await.json();
    let expected = json!({
        "indices": [{"name": "plain", "attributes": ["open"]}], "aliases": [], "data_streams": [],
    });
    assert_eq!(found, expected);
    let missing = get(&store, "/_resolve/index/nope").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_template_is_given_back_as_it_was_put_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let body = r#"{"index_patterns": "x-*", "priority": 5, "template": {
        "settings": {"number_of_shards": 1}, "mappings": {"properties": {"level": {"type": "keyword"}}}}}"#;
    let put = send(&store, Method::PUT, "/_index_template/a", body).await;
    assert_eq!(put.json(), json!({"acknowledged": true}));
    let again = send(&store, Method::PUT, "/_index_template/a?create=true", body).await;
    assert_eq!(
        error_of(&again.json()).1,
        "index template [a] already exists"
    );
    drop(store);

    let store = open(folder.path());
    let expected = json!({"index_templates": [{"name": "a", "index_template": {
        "index_patterns": ["x-*"], "priority": 5, "composed_of": [],
        "template": {
            "settings": {"index": {"number_of_shards": "1"}},
            "mappings": {"properties": {"level": {"type": "keyword"}}},
        },
    }}]});
    assert_eq!(get(&store, "/_index_template/a*").await.json(), expected);
    let missing = get(&store, "/_index_template/b").await;
    let (kind, reason) = (
        "resource_not_found_exception",
        "index template matching [b] not found",
    );
    assert_eq!(error_of(&missing.json()), (kind, reason));
    let pattern = get(&store, "/_index_template/b*").await;
    assert_eq!(pattern.status, StatusCode::NOT_FOUND);
    assert_eq!(pattern.json(), json!({"index_templates": []}));
    let gone = send(&store, Method::DELETE, "/_index_template/a", "").await;
    assert_eq!(gone.status, StatusCode::OK);
    let gone = send(&store, Method::DELETE, "/_index_template/a", "").await;
    assert_eq!(error_of(&gone.json()).0, "index_template_missing_exception");
    let rest = get(&store, "/_index_template").await.json();
    assert_eq!(rest["index_templates"][0]["name"], "mscp-log");
    assert_eq!(rest["index_templates"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_template_that_contradicts_the_mapping_or_is_malformed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (body, reason) in [
        ("", "request body is required"),
        ("{}", "Required [index_patterns]"),
        (
            r#"{"index_patterns": []}"#,
            "There must be at least one pattern, zero given",
        ),
        (
            r#"{"index_patterns": ["x"], "foo": 1}"#,
            "unknown field [foo]",
        ),
        (
            r#"{"index_patterns": ["x"], "composed_of": ["z"]}"#,
            "component templates [z] that do not exist",
        ),
        (
            r#"{"index_patterns": ["x"], "template": {"settings": {"foo": 1}}}"#,
            "unknown setting [index.foo]",
        ),
        (
            r#"{"index_patterns": ["x"], "template": {"mappings": {"properties": {"level": {"type": "long"}}}}}"#,
            "mapper [level] cannot be changed from type [keyword] to [long]",
        ),
        (
            r#"{"index_patterns": ["x"], "template": {"aliases": {"y": {}}}}"#,
            "[aliases]",
        ),
    ] {
        let answer = send(&store, Method::PUT, "/_index_template/a", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let answer = answer.json();
        assert!(error_of(&answer).1.contains(reason), "{answer}");
    }
    let name = send(
        &store,
        Method::PUT,
        "/_index_template/B%20C",
        r#"{"index_patterns": ["x"]}"#,
    )
    .await;
    let reason = "index_template [B C] invalid, cause [Validation Failed: 1: name must not contain a \
                  space;2: name must be lower cased;]";
    assert_eq!(error_of(&name.json()).1, reason);
    let legacy = r#"{"index_patterns": ["z-*"], "order": 2, "settings": {"number_of_shards": 1}}"#;
    let put = send(&store, Method::PUT, "/_template/l", legacy).await;
    assert_eq!(put.status, StatusCode::OK);
    let expected = json!({"l": {
        "order": 2, "index_patterns": ["z-*"], "aliases": {}, "mappings": {},
        "settings": {"index": {"number_of_shards": "1"}},
    }});
    assert_eq!(get(&store, "/_template/l").await.json(), expected);
    assert_eq!(get(&store, "/_template/nope").await.json(), json!({}));
    let rows = get(&store, "/_cat/templates/l?h=name,order").await;
    assert_eq!(rows.text, "l 2\n");
}

#[tokio::test]
async fn mappings_and_settings_that_say_the_same_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    for (uri, body, expected) in [
        (
            "/plain/_mapping",
            r#"{"properties": {"level": {"type": "keyword"}}}"#,
            200,
        ),
        (
            "/plain/_mapping",
            r#"{"properties": {"level": {"type": "long"}}}"#,
            400,
        ),
        ("/nope/_mapping", "{}", 404),
        (
            "/plain/_settings",
            r#"{"index": {"refresh_interval": "5s"}}"#,
            200,
        ),
        ("/plain/_settings", r#"{"number_of_shards": 3}"#, 400),
        ("/plain/_settings", r#"{"index.blocks.write": true}"#, 400),
        (
            "/made",
            r#"{"mappings": {"properties": {"message": {"type": "text"}}}}"#,
            200,
        ),
        ("/wrong", r#"{"aliases": {"x": {}}}"#, 400),
        ("/wrong", r#"{"foo": 1}"#, 400),
    ] {
        let answer = send(&store, Method::PUT, uri, body).await;
        assert_eq!(answer.status, expected, "{uri} {body} {}", answer.text);
    }
}

#[tokio::test]
async fn documents_are_read_by_their_ids_alone_or_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let some = get(&store, "/a-2018.01.24/_doc/1?_source=level")
        .await
        .json();
    assert_eq!(some["_source"], json!({"level": "info"}));
    let none = get(&store, "/a-2018.01.24/_doc/1?_source=false")
        .await
        .json();
    assert_eq!((none.get("_source"), &none["found"]), (None, &json!(true)));
    let alone = get(&store, "/a-2018.01.24/_source/1?_source_excludes=log").await;
    assert_eq!(alone.json(), json!({"level": "info"}));
    let missing = get(&store, "/plain/_source/9").await;
    let expected = (
        "resource_not_found_exception",
        "Document not found [plain]/[9]",
    );
    assert_eq!(error_of(&missing.json()), expected);

    let body = r#"{"docs": [
        {"_index": "a-2018.01.24", "_id": "2"}, {"_index": "plain", "_id": 1, "_source": ["x"]},
        {"_id": "9"}, {"_index": "nope", "_id": "1"}, {"_index": "plain", "_id": "1", "_source": false}]}"#;
    let many = send(&store, Method::POST, "/plain/_mget", body)
        .await
        .json();
    let docs = many["docs"].as_array().unwrap();
    assert_eq!(docs[0]["_source"], json!({"level": "warn"}));
    assert_eq!(docs[1]["_source"], json!({}));
    assert_eq!(
        docs[2],
        json!({"_index": "plain", "_id": "9", "found": false})
    );
    assert_eq!(docs[3]["error"]["type"], "index_not_found_exception");
    assert_eq!(
        (docs[4].get("_source"), &docs[4]["found"]),
        (None, &json!(true))
    );
    for (uri, body, reason) in [
        ("/_mget", "", "request body or source parameter is required"),
        ("/_mget", "{}", "Validation Failed: 1: no documents to get;"),
        (
            "/_mget",
            r#"{"ids": ["1"]}"#,
            "Validation Failed: 1: index is missing for doc 0;",
        ),
        (
            "/_mget",
            r#"{"docs": [{"_index": "a"}]}"#,
            "Validation Failed: 1: id is missing for doc 0;",
        ),
        (
            "/_mget",
            r#"{"foo": []}"#,
            "unknown key [foo] for a START_ARRAY, expected [docs] or [ids]",
        ),
    ] {
        let answer = send(&store, Method::POST, uri, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(error_of(&answer.json()).1, reason);
    }
}

#[tokio::test]
async fn a_text_is_analysed_into_words_with_places_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let words = |answer: &Value| {
        let tokens = answer["tokens"].as_array().unwrap().iter();
        let of = |token: &Value| {
            let number = |member: &str| token[member].as_u64().unwrap();
            (
                token["token"].as_str().unwrap().to_owned(),
                number("start_offset"),
                number("end_offset"),
                number("position"),
            )
        };
        tokens.map(of).collect::<Vec<_>>()
    };
    let ask = async |uri: &str, body: Value| {
        send(&store, Method::POST, uri, &body.to_string())
            .await
            .json()
    };
    let answer = ask("/_analyze", json!({"text": "Up 日 👍 2"})).await;
    let expected = [
        ("up", 0, 2, 0),
        ("日", 3, 4, 1),
        ("👍", 5, 7, 2),
        ("2", 8, 9, 3),
    ];
    let expected = expected.map(|(word, start, end, place)| (word.to_owned(), start, end, place));
    assert_eq!(words(&answer), expected);
    assert_eq!(answer["tokens"][1]["type"], "<IDEOGRAPHIC>");
    let of_field = ask(
        "/plain/_analyze",
        json!({"field": "message", "text": ["a b", "c"]}),
    )
    .await;
    assert_eq!(words(&of_field)[2], ("c".to_owned(), 4, 5, 102));
    let keyword = ask("/plain/_analyze", json!({"field": "level", "text": "A b"})).await;
    assert_eq!(words(&keyword), [("A b".to_owned(), 0, 3, 0)]);
    for (body, reason) in [
        (json!({}), "Validation Failed: 1: text is missing;"),
        (
            json!({"text": "a", "analyzer": "nope"}),
            "failed to find global analyzer [nope]",
        ),
        (
            json!({"text": "a", "field": "level"}),
            "analysis based on a specific field requires an index",
        ),
        (
            json!({"text": "a", "foo": 1}),
            "[analyze_request] unknown field [foo]",
        ),
    ] {
        assert_eq!(error_of(&ask("/_analyze", body).await).1, reason);
    }
}

#[tokio::test]
async fn tables_are_text_unless_json_alone_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let accepting = async |accept: &str| {
        let request =
            Request::get("/_cat/indices?h=index,docs*&s=index:desc").header("accept", accept);
        let response = store.call(request.body(Body::empty()).unwrap()).await;
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let text = "plain        1 0\na-2018.01.24 2 0\n";
    assert_eq!(accepting("text/plain,application/json").await, text);
    assert_eq!(accepting("*/*").await, text);
    let rows: Value = serde_json::from_str(&accepting("application/json").await).unwrap();
    assert_eq!(
        rows[0],
        json!({"index": "plain", "docs.count": "1", "docs.deleted": "0"})
    );
    for path in [
        "aliases",
        "count",
        "count/plain",
        "health",
        "master",
        "nodes",
        "shards",
        "templates",
    ] {
        for form in ["v", "help", "format=json"] {
            let answer = get(&store, &format!("/_cat/{path}?{form}")).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{path} {form} {}",
                answer.text
            );
        }
    }
    let wrong = get(&store, "/_cat/indices?s=bogus").await;
    assert_eq!(
        error_of(&wrong.json()).1,
        "Unable to sort by unknown sort key `bogus`"
    );
}

#[tokio::test]
async fn health_is_told_by_level_and_not_waited_for_beyond_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let shards = get(
        &store,
        "/_cluster/health/plain?level=shards&wait_for_status=green",
    )
    .await;
    let index = &shards.json()["indices"]["plain"];
    assert_eq!(
        (&index["status"], &index["shards"]["0"]["primary_active"]),
        (&json!("green"), &json!(true))
    );
    for uri in ["?wait_for_nodes=2&timeout=0s", "/nope?timeout=0s"] {
        let late = get(&store, &format!("/_cluster/health{uri}")).await;
        assert_eq!(late.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(late.json()["timed_out"], true);
    }
    let wrong = get(&store, "/_cluster/health?level=bogus").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_of_another_version_is_answered_in_its_form() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let ask = async |version: u16| {
        let kind = format!("application/vnd.elasticsearch+json; compatible-with={version}");
        let request = Request::post("/plain/_search")
            .header("accept", &kind)
            .header("content-type", &kind);
        let response = store.call(request.body(Body::from("{}")).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts, serde_json::from_slice::<Value>(&body).unwrap())
    };
    for (version, kind) in [(7, Some(&json!("_doc"))), (8, None), (9, None)] {
        let (parts, body) = ask(version).await;
        let expected = format!("application/vnd.elasticsearch+json;compatible-with={version}");
        assert_eq!(parts.headers["content-type"], expected);
        assert_eq!(body["hits"]["hits"][0].get("_type"), kind);
    }
    let (parts, body) = ask(6).await;
    assert_eq!(parts.status, StatusCode::BAD_REQUEST);
    assert_eq!(error_of(&body).0, "media_type_header_exception");
    // Errors are written whole.
    let error = get(&store, "/nope/_search?filter_path=took").await;
    assert_eq!(error_of(&error.json()).0, "index_not_found_exception");
}

#[tokio::test]
async fn an_older_store_has_older_headers() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        version: (7, 10, 2),
        ..Settings::default()
    };
    let store =
        EmbeddedStore::open(folder.path(), settings, DeadLetters::below(folder.path())).unwrap();
    let info = get(&store, "/").await;
    assert!(!info.headers.contains_key("x-elastic-product"));
    assert_eq!(
        info.headers["content-type"],
        "application/json; charset=UTF-8"
    );
    let typed = send(
        &store,
        Method::PUT,
        "/a",
        r#"{"mappings": {"_doc": {"properties": {}}}}"#,
    )
    .await;
    assert_eq!(typed.status, StatusCode::OK, "{}", typed.text);
    let mapping = get(&store, "/a/_mapping?include_type_name=true")
        .await
        .json();
    assert!(mapping["a"]["mappings"]["_doc"]["properties"].is_object());
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_with_the_status_and_type_of_elasticsearch() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let (post, bulk) = (Method::POST, "/_bulk");
    for (method, uri, body, status, kind) in [
        (
            post.clone(),
            bulk,
            "{\"index\":{}}\n{}\n",
            400,
            "action_request_validation_exception",
        ),
        (post.clone(), bulk, "x\n", 400, "x_content_parse_exception"),
        (
            post.clone(),
            bulk,
            "[]\n",
            400,
            "illegal_argument_exception",
        ),
        (post.clone(), "/_cat/indices", "", 405, ""),
        (Method::HEAD, "/plain/_search", "", 405, ""),
        (
            Method::GET,
            "/plain/_count?typed_keys=true",
            "",
            400,
            "illegal_argument_exception",
        ),
        (
            Method::GET,
            "/_cluster/health?wait_for_nodes=x",
            "",
            400,
            "number_format_exception",
        ),
        (
            post,
            "/_field_caps?fields=a",
            r#"{"index_filter": {"x": {}}}"#,
            400,
            "x_content_parse_exception",
        ),
    ] {
        let is_head = method == Method::HEAD;
        let answer = send(&store, method, uri, body).await;
        assert_eq!(answer.status, status, "{uri} {body}");
        if !is_head {
            assert_eq!(error_of(&answer.json()).0, kind, "{uri} {body}");
        }
    }
    let head = send(&store, Method::HEAD, "/plain", "").await;
    assert_eq!(head.headers["content-type"], "application/json");
    let none = get(&store, "/pl*/_count?expand_wildcards=closed").await;
    assert_eq!(none.json()["count"], 0);
    let lines = "{\"index\":{\"_index\":\"plain\"}}\n{}\n";
    let items = send(&store, Method::POST, "/_bulk?require_alias=true", lines).await;
    assert_eq!(items.json()["items"][0]["index"]["status"], 404);
    let flushed = send(&store, Method::POST, "/plain/_flush", "").await;
    assert_eq!(flushed.json()["_shards"]["failed"], 0);
}
