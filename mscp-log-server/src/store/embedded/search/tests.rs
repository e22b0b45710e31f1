//! Searches over small partitions, compared with what Elasticsearch answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use mscp_log_core::query::ast::*;
use mscp_log_core::query::date_math::{Formats, Zone};
use serde_json::{Value, json};

use super::super::partition::PartitionSnapshot;
use super::super::testing::partition;
use super::{Limits, SearchContext, answer};

const NOW: &str = "2026-11-23T12:00:00Z";

fn context() -> SearchContext {
    SearchContext {
        now_ms: Formats::default()
            .read(NOW, &Zone::default(), false)
            .unwrap(),
        deadline: None,
        limits: Limits::default(),
        count_only: false,
        typed_keys: false,
    }
}

/// Two days, the newer in two segments.
fn store(folder: &tempfile::TempDir) -> Vec<Arc<PartitionSnapshot>> {
    let line = |n: u64, day: u64, namespace: &str, message: &str, more: Value| {
        let mut source = json!({
            "@timestamp": format!("2026-11-{day:02}T03:{n:02}:00.000Z"),
            "realtime_us": (1_795_000_000_000_000_u64 + day * 86_400_000_000 + n * 60_000_000),
            "seq": n,
            "event_id": format!("{n:032x}"),
            "namespace": namespace,
            "message": message,
            "index": "logstash-http-local",
        });
        for (key, value) in more.as_object().unwrap() {
            source[key] = value.clone();
        }
        (
            format!("logstash-http-local-2026.11.{day:02}"),
            format!("{n:032x}"),
            source.to_string(),
        )
    };
    let days = [
        vec![
            vec![
                line(
                    5,
                    23,
                    "shop",
                    "Payment failed: timeout",
                    json!({"tags": ["a", "b"], "annotations": {"user": "ann", "level": "error"}}),
                ),
                line(
                    4,
                    23,
                    "shop",
                    "Payment done",
                    json!({"tags": ["b"], "annotations": {"user": "bob"}}),
                ),
            ],
            vec![line(
                6,
                23,
                "web",
                "GET /index.html 200",
                json!({"log": {"offset": 7}}),
            )],
        ],
        vec![vec![
            line(1, 22, "web", "GET /favicon.ico 404", json!({})),
            line(
                2,
                22,
                "shop",
                "Payment failed: refused",
                json!({"annotations": {"user": "ann"}}),
            ),
        ]],
    ];
    days.iter()
        .zip(["2026.11.23", "2026.11.22"])
        .map(|(segments, name)| {
            let borrowed: Vec<Vec<(&str, &str, &str)>> = segments
                .iter()
                .map(|segment| {
                    segment
                        .iter()
                        .map(|(index, id, source)| (index.as_str(), id.as_str(), source.as_str()))
                        .collect()
                })
                .collect();
            let slices: Vec<&[(&str, &str, &str)]> = borrowed.iter().map(Vec::as_slice).collect();
            partition(folder.path(), name, &slices)
        })
        .collect()
}

fn query(clause: Clause) -> Query {
    Query {
        clause,
        boost: None,
        name: None,
    }
}

fn text(text: &str) -> Scalar {
    Scalar::String(text.to_owned())
}

fn term(field: &str, value: &str) -> Query {
    query(Clause::Term(term_of(field, value)))
}

fn term_of(field: &str, value: &str) -> Term {
    Term {
        field: field.to_owned(),
        value: text(value),
        case_insensitive: None,
        rewrite: None,
    }
}

fn by(field: &str, order: Order) -> SortKey {
    SortKey {
        field: field.to_owned(),
        order: Some(order),
        missing: None,
        unmapped_type: None,
        mode: None,
        format: None,
        numeric_type: None,
    }
}

fn newest_first() -> Vec<SortKey> {
    vec![by("realtime_us", Order::Desc)]
}

/// The `seq` of the hits, in their order.
fn numbers(answer: &Value) -> Vec<u64> {
    answer["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["_source"]["seq"].as_u64().unwrap())
        .collect()
}

#[track_caller]
fn check(clause: Clause, expected: &[u64]) {
    let folder = tempfile::tempdir().unwrap();
    let search = Search {
        query: Some(query(clause)),
        sort: newest_first(),
        ..Search::default()
    };
    let snapshots = store(&folder);
    let found = answer(&snapshots, &search, &context()).unwrap();
    assert_eq!(numbers(&found), expected);
    assert_eq!(
        found["hits"]["total"],
        json!({"value": expected.len(), "relation": "eq"})
    );
    let counting = SearchContext {
        count_only: true,
        ..context()
    };
    let count = answer(&snapshots, &search, &counting).unwrap();
    assert_eq!(count["count"], expected.len());
}

fn range(field: &str, gte: Option<&str>, lt: Option<&str>) -> Clause {
    Clause::Range(Range {
        field: field.to_owned(),
        gte: gte.map(text),
        lt: lt.map(text),
        ..Range::default()
    })
}

#[test]
fn clauses_match_what_they_say() {
    check(Clause::MatchAll, &[6, 5, 4, 2, 1]);
    check(term("namespace", "shop").clause, &[5, 4, 2]);
    check(term("namespace", "Shop").clause, &[]);
    check(term("seq", "4").clause, &[4]);
    check(term("event_id", &format!("{:032x}", 4)).clause, &[4]);
    check(term("log.offset", "7").clause, &[6]);
    check(term("@timestamp", "2026-11-22").clause, &[2, 1]);
    check(term("annotations.user", "ann").clause, &[5, 2]);
    check(term("annotations", "ann").clause, &[5, 2]);
    check(term("message", "payment").clause, &[5, 4, 2]);
    check(term("message", "Payment").clause, &[]);
    check(term("nothing", "x").clause, &[]);
    check(range("@timestamp", Some("now-12h"), None), &[6, 5, 4]);
    check(
        range("@timestamp", Some("2026-11-22||/d"), Some("now/d")),
        &[2, 1],
    );
    check(range("seq", Some("1.5"), Some("5")), &[4, 2]);
    check(range("namespace", Some("t"), None), &[6, 1]);
    check(range("annotations.user", Some("b"), Some("z")), &[4]);
    check(
        Clause::Exists {
            field: "tags".to_owned(),
        },
        &[5, 4],
    );
    check(
        Clause::Exists {
            field: "annotations.level".to_owned(),
        },
        &[5],
    );
    check(
        Clause::Exists {
            field: "message".to_owned(),
        },
        &[6, 5, 4, 2, 1],
    );
    check(
        Clause::Exists {
            field: "log".to_owned(),
        },
        &[6],
    );
    check(Clause::Prefix(term_of("namespace", "sh")), &[5, 4, 2]);
    check(Clause::Wildcard(term_of("message", "f*d")), &[5, 2]);
    check(Clause::Prefix(term_of("annotations.user", "an")), &[5, 2]);
    check(Clause::Wildcard(term_of("_index", "*-2026.11.22")), &[2, 1]);
    check(
        Clause::MatchPhrase(MatchPhrase {
            field: "message".to_owned(),
            query: Some(text("payment FAILED timeout")),
            ..MatchPhrase::default()
        }),
        &[5],
    );
    check(
        Clause::Match(Match {
            field: "message".to_owned(),
            query: Some(text("failed GET")),
            ..Match::default()
        }),
        &[6, 5, 2, 1],
    );
    check(
        Clause::Bool(Bool {
            must_not: vec![term("namespace", "shop")],
            ..Bool::default()
        }),
        &[6, 1],
    );
    check(
        Clause::Ids {
            values: vec![format!("{:032x}", 1), "other".to_owned()],
        },
        &[1],
    );
}

#[test]
fn search_after_goes_on_where_the_page_before_ended() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = store(&folder);
    for sort in [
        vec![by("realtime_us", Order::Desc), by("event_id", Order::Asc)],
        vec![by("namespace", Order::Desc), by("event_id", Order::Desc)],
        vec![by("annotations.user", Order::Asc), by("seq", Order::Desc)],
        vec![by("log.offset", Order::Asc), by("seq", Order::Asc)],
        vec![by("_doc", Order::Asc)],
    ] {
        let whole = Search {
            sort: sort.clone(),
            ..Search::default()
        };
        let expected = numbers(&answer(&snapshots, &whole, &context()).unwrap());
        assert_eq!(expected.len(), 5);
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = Search {
                sort: sort.clone(),
                size: Some(2),
                search_after: after.clone(),
                ..Search::default()
            };
            let found = answer(&snapshots, &page, &context()).unwrap();
            let hits = found["hits"]["hits"].as_array().unwrap();
            let Some(last) = hits.last() else { break };
            paged.extend(numbers(&found));
            let values = last["sort"].as_array().unwrap();
            let values = values.iter().map(|value| match value {
                Value::Null => Scalar::Null,
                Value::String(text) => Scalar::String(text.clone()),
                other => Scalar::Number(Number(other.to_string())),
            });
            after = Some(values.collect());
        }
        assert_eq!(paged, expected, "{sort:?}");
    }
}

fn aggregation(kind: AggregationKind, aggs: Vec<(String, Aggregation)>) -> Aggregation {
    Aggregation {
        kind,
        aggs,
        meta: None,
    }
}

fn metric(field: &str) -> Metric {
    Metric {
        field: field.to_owned(),
        missing: None,
        format: None,
    }
}

#[test]
fn aggregations_add_up_over_segments_and_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let terms = |field: &str, aggs| {
        let terms = TermsAggregation {
            field: field.to_owned(),
            ..TermsAggregation::default()
        };
        aggregation(AggregationKind::Terms(terms), aggs)
    };
    let days = DateHistogram {
        field: "@timestamp".to_owned(),
        calendar_interval: Some("1d".to_owned()),
        extended_bounds: Some(Bounds {
            min: Some(text("2026-11-20")),
            max: None,
        }),
        ..DateHistogram::default()
    };
    let stats = aggregation(AggregationKind::Stats(metric("seq")), Vec::new());
    let users = Metric {
        field: "annotations.user".to_owned(),
        missing: None,
        format: None,
    };
    let users = AggregationKind::Cardinality {
        metric: users,
        precision_threshold: None,
    };
    let search = Search {
        size: Some(0),
        aggs: vec![
            (
                "spaces".to_owned(),
                terms("namespace", vec![("numbers".to_owned(), stats)]),
            ),
            (
                "days".to_owned(),
                aggregation(
                    AggregationKind::DateHistogram(days),
                    vec![("tags".to_owned(), terms("tags", Vec::new()))],
                ),
            ),
            ("users".to_owned(), aggregation(users, Vec::new())),
            ("user".to_owned(), terms("annotations.user", Vec::new())),
            (
                "shop".to_owned(),
                aggregation(
                    AggregationKind::Filter(Box::new(term("namespace", "shop"))),
                    vec![("tags".to_owned(), terms("tags", Vec::new()))],
                ),
            ),
        ],
        ..Search::default()
    };
    let found = answer(&store(&folder), &search, &context()).unwrap();
    let aggs = &found["aggregations"];
    assert_eq!(
        aggs["spaces"],
        json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": [
            {"key": "shop", "doc_count": 3, "numbers": {"count": 3, "min": 2.0, "max": 5.0, "avg": 11.0 / 3.0, "sum": 11.0}},
            {"key": "web", "doc_count": 2, "numbers": {"count": 2, "min": 1.0, "max": 6.0, "avg": 3.5, "sum": 7.0}},
        ]})
    );
    let tags = |buckets: Value| json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": buckets});
    let day = |ms: i64, name: &str, count: u64, buckets: Value| json!({"key": ms, "key_as_string": name, "doc_count": count, "tags": tags(buckets)});
    assert_eq!(
        aggs["days"]["buckets"],
        json!([
            day(1_795_132_800_000, "2026-11-20T00:00:00.000Z", 0, json!([])),
            day(1_795_219_200_000, "2026-11-21T00:00:00.000Z", 0, json!([])),
            day(1_795_305_600_000, "2026-11-22T00:00:00.000Z", 2, json!([])),
            day(
                1_795_392_000_000,
                "2026-11-23T00:00:00.000Z",
                3,
                json!([{"key": "b", "doc_count": 2}, {"key": "a", "doc_count": 1}])
            ),
        ])
    );
    assert_eq!(aggs["users"], json!({"value": 2}));
    assert_eq!(
        aggs["user"]["buckets"],
        json!([{"key": "ann", "doc_count": 2}, {"key": "bob", "doc_count": 1}])
    );
    assert_eq!(aggs["shop"]["doc_count"], 3);
    assert_eq!(
        aggs["shop"]["tags"]["buckets"],
        json!([{"key": "b", "doc_count": 2}, {"key": "a", "doc_count": 1}])
    );
    assert_eq!(found["hits"]["total"]["value"], 5);
    assert_eq!(found["hits"]["hits"], json!([]));
}

#[track_caller]
fn parsed(body: &Value) -> Search {
    Search::parse(body.to_string().as_bytes(), &[]).unwrap()
}

#[track_caller]
fn found(body: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    answer(&store(&folder), &parsed(body), &context()).unwrap()
}

/// Status and type of the error.
#[track_caller]
fn refused(body: &Value) -> (u16, String) {
    let folder = tempfile::tempdir().unwrap();
    let error = answer(&store(&folder), &parsed(body), &context()).unwrap_err();
    assert_eq!(error.body()["status"], error.status);
    assert!(error.body()["error"]["type"].is_string());
    (error.status, error.root_kind().to_owned())
}

#[test]
fn a_hit_has_the_form_that_clients_know() {
    let found = found(&json!({
        "query": {"term": {"seq": 5}},
        "sort": [{"@timestamp": "desc"}, {"namespace": "asc"}],
        "_source": ["annotations", "tags"],
        "fields": ["message", {"field": "@timestamp", "format": "epoch_second"}, "annotations.user"],
        "docvalue_fields": ["tags", "@timestamp"],
    }));
    assert_eq!(found["timed_out"], false);
    assert_eq!(found["hits"]["max_score"], Value::Null);
    assert_eq!(
        found["hits"]["hits"],
        json!([{
            "_index": "logstash-http-local-2026.11.23",
            "_id": format!("{:032x}", 5),
            "_score": null,
            "_source": {"annotations": {"level": "error", "user": "ann"}, "tags": ["a", "b"]},
            "fields": {
                "message": ["Payment failed: timeout"],
                "@timestamp": ["1795403100"],
                "annotations.user": ["ann"],
                "tags": ["a", "b"],
            },
            "sort": [1_795_403_100_000_i64, "shop"],
        }])
    );
}

#[test]
fn source_filters_keep_and_drop_by_pattern() {
    let source = |filter: Value| {
        let found = found(&json!({"query": {"term": {"seq": 5}}, "_source": filter}));
        found["hits"]["hits"][0]["_source"].clone()
    };
    assert_eq!(source(json!(false)), Value::Null);
    assert_eq!(source(json!("seq")), json!({"seq": 5}));
    assert_eq!(
        source(json!({"includes": ["annotations.*"], "excludes": ["*.level"]})),
        json!({"annotations": {"user": "ann"}})
    );
    assert_eq!(
        source(
            json!({"excludes": ["a*", "*a*e*", "@*", "event_id", "index", "realtime_us", "tags"]})
        ),
        json!({"seq": 5})
    );
}

#[test]
fn words_that_were_asked_for_are_marked() {
    let marked = |query: Value, highlight: Value| {
        let found = found(&json!({"query": query, "sort": "seq", "highlight": highlight}));
        let hits = found["hits"]["hits"].as_array().unwrap().clone();
        hits.into_iter()
            .map(|hit| hit["highlight"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        marked(
            json!({"match_phrase": {"message": "payment failed"}}),
            json!({"fields": {"message": {}}, "pre_tags": ["<b>"], "post_tags": ["</b>"]})
        ),
        vec![
            json!({"message": ["<b>Payment failed</b>: refused"]}),
            json!({"message": ["<b>Payment failed</b>: timeout"]}),
        ]
    );
    assert_eq!(
        marked(
            json!({"query_string": {"query": "done AND namespace:shop"}}),
            json!({"fields": {"*": {"number_of_fragments": 0}}})
        ),
        vec![json!({"message": ["Payment <em>done</em>"], "namespace": ["<em>shop</em>"]})]
    );
    assert_eq!(
        marked(
            json!({"prefix": {"message": "fav"}}),
            json!({"fields": {"message": {}}, "encoder": "html"})
        ),
        vec![json!({"message": ["GET &#x2F;<em>favicon.ico</em> 404"]})]
    );
}

#[test]
fn scores_do_not_depend_on_the_day_or_the_segment() {
    let found = found(&json!({"query": {"match": {"message": "payment"}}}));
    let hits = found["hits"]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    // Two words are a shorter field than three.
    assert_eq!(hits[0]["_source"]["seq"], 4);
    assert_eq!(hits[1]["_score"], hits[2]["_score"]);
    assert_eq!(found["hits"]["max_score"], hits[0]["_score"]);
    assert!(hits[0].get("sort").is_none());
    let constant = super::tests::found(
        &json!({"query": {"constant_score": {"filter": {"term": {"namespace": "web"}}, "boost": 3}}}),
    );
    assert_eq!(constant["hits"]["max_score"], 3.0);
}

#[test]
fn hits_are_counted_as_far_as_is_asked() {
    let total = |more: Value| {
        let mut body = json!({"size": 0});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        found(&body)["hits"]["total"].clone()
    };
    assert_eq!(total(json!({})), json!({"value": 5, "relation": "eq"}));
    assert_eq!(
        total(json!({"track_total_hits": 5})),
        json!({"value": 5, "relation": "eq"})
    );
    assert_eq!(
        total(json!({"track_total_hits": 3})),
        json!({"value": 3, "relation": "gte"})
    );
    assert_eq!(total(json!({"track_total_hits": false})), Value::Null);
    let page = found(&json!({"size": 1, "sort": [{"realtime_us": "desc"}], "track_total_hits": 2}));
    assert_eq!(numbers(&page), [6]);
    assert_eq!(
        page["hits"]["total"],
        json!({"value": 2, "relation": "gte"})
    );
    let page =
        found(&json!({"size": 2, "from": 2, "sort": [{"seq": "asc"}], "track_total_hits": true}));
    assert_eq!(numbers(&page), [4, 5]);
    assert_eq!(page["hits"]["total"], json!({"value": 5, "relation": "eq"}));
}

#[test]
fn what_cannot_be_answered_is_refused_as_elasticsearch_does() {
    let check = |body: Value, status: u16, kind: &str| {
        assert_eq!(refused(&body), (status, kind.to_owned()), "{body}");
    };
    let query = |query: Value| json!({"query": query});
    check(
        query(json!({"term": {"seq": "many"}})),
        400,
        "query_shard_exception",
    );
    check(
        query(json!({"range": {"@timestamp": {"gte": "yesterday"}}})),
        400,
        "parse_exception",
    );
    check(
        query(json!({"prefix": {"seq": "1"}})),
        400,
        "query_shard_exception",
    );
    check(
        json!({"from": 9_999, "size": 2}),
        400,
        "illegal_argument_exception",
    );
    check(
        json!({"sort": ["message"]}),
        400,
        "illegal_argument_exception",
    );
    check(json!({"sort": ["nothing"]}), 400, "query_shard_exception");
    check(
        json!({"sort": ["seq"], "search_after": [1, 2]}),
        400,
        "illegal_argument_exception",
    );
    check(
        json!({"aggs": {"a": {"terms": {"field": "message"}}}}),
        400,
        "illegal_argument_exception",
    );
    check(
        json!({"aggs": {"a": {"avg": {"field": "namespace"}}}}),
        400,
        "illegal_argument_exception",
    );
    check(
        json!({"aggs": {"a": {"terms": {"field": "namespace", "order": {"b": "asc"}}}}}),
        400,
        "illegal_argument_exception",
    );
    check(
        json!({"aggs": {"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1s"}}}}),
        400,
        "too_many_buckets_exception",
    );
}

#[test]
fn a_search_that_is_late_says_so_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let late = SearchContext {
        deadline: Some(std::time::Instant::now()),
        ..context()
    };
    let found = answer(&store(&folder), &Search::default(), &late).unwrap();
    assert_eq!(found["timed_out"], true);
}

#[test]
fn memory_of_aggregations_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let small = SearchContext {
        limits: Limits {
            aggregation_bytes: 100,
            ..Limits::default()
        },
        ..context()
    };
    let search = parsed(&json!({"aggs": {"a": {"terms": {"field": "event_id"}}}}));
    let error = answer(&store(&folder), &search, &small).unwrap_err();
    assert_eq!(
        (error.status, error.kind),
        (429, "circuit_breaking_exception")
    );
}

#[test]
fn only_the_indices_that_are_asked_for_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let other = |name: &str| {
        let snapshots = store(&folder);
        let mut snapshot = (*snapshots[0]).clone();
        snapshot.selected = Some(Arc::from(vec![Box::from(name)]));
        let search = parsed(&json!({"aggs": {"n": {"terms": {"field": "_index"}}}}));
        let found = answer(&[Arc::new(snapshot)], &search, &context()).unwrap();
        (
            found["hits"]["total"]["value"].as_u64().unwrap(),
            found["aggregations"]["n"]["buckets"]
                .as_array()
                .unwrap()
                .len(),
        )
    };
    assert_eq!(other("logstash-http-local-2026.11.23"), (3, 1));
    assert_eq!(other("logstash-http-other-2026.11.23"), (0, 0));
}

#[test]
fn a_range_counts_the_same_documents_by_strips_as_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    // Many strips, not all of them in the order of time.
    let sources: Vec<String> = (0..41_u64)
        .map(|n| {
            let us = (n * 17) % 41 + n;
            let namespace = ["shop", "web", "db"][(n % 3) as usize];
            format!(r#"{{"realtime_us":{us},"seq":{n},"namespace":"{namespace}"}}"#)
        })
        .collect();
    let ids: Vec<String> = (0..41).map(|n| format!("{n:032x}")).collect();
    let documents: Vec<(&str, &str, &str)> = ids
        .iter()
        .zip(&sources)
        .map(|(id, source)| ("a", id.as_str(), source.as_str()))
        .collect();
    let store = [partition(
        folder.path(),
        "p",
        &[&documents[..9], &documents[9..]],
    )];
    let aggs = json!({
        "by": {"terms": {"field": "namespace"}},
        "when": {"histogram": {"field": "realtime_us", "interval": 7}},
        "below": {"terms": {"field": "namespace"}, "aggs": {"sum": {"sum": {"field": "seq"}}}},
    });
    let ask = |query: Value| {
        let body = json!({"size": 0, "query": query, "aggs": aggs, "track_total_hits": true});
        let found = answer(&store, &parsed(&body), &context()).unwrap();
        (
            found["hits"]["total"].clone(),
            found["aggregations"].clone(),
        )
    };
    for low in (0..80).step_by(3) {
        for high in (low..82).step_by(5) {
            let range = json!({"range": {"realtime_us": {"gte": low, "lt": high}}});
            // A second clause, which takes nothing away, leads off the strips.
            let all = json!({"exists": {"field": "seq"}});
            let one_by_one = json!({"bool": {"filter": [range, all]}});
            let by_strips = json!({"bool": {"filter": [range]}});
            assert_eq!(ask(by_strips), ask(one_by_one), "{low} to {high}");
        }
    }
}

#[test]
fn a_hit_says_which_named_queries_it_matches() {
    let found = found(&json!({"sort": "seq", "query": {"bool": {
        "must": [{"term": {"namespace": {"value": "shop", "_name": "shop"}}}],
        "should": [{"match": {"message": {"query": "refused", "_name": "refused"}}}],
    }}}));
    let names: Vec<&Value> = found["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["matched_queries"])
        .collect();
    assert_eq!(
        names,
        [
            &json!(["shop", "refused"]),
            &json!(["shop"]),
            &json!(["shop"])
        ]
    );
}
