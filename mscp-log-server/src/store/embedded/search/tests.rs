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
    check(range("annotations.user", Some("b"), None), &[4]);
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
    check(
        Clause::Wildcard(term_of("annotations.user", "?nn")),
        &[5, 2],
    );
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
