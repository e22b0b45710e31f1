//! Random searches over random documents: what this store finds is what the
//! plain evaluator of the core says, document by document.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use mscp_log_core::query::Context;
use mscp_log_core::query::ast::Search;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::super::partition::PartitionSnapshot;
use super::super::testing::partition;
use super::{Limits, SearchContext, answer};

const DAYS: [u64; 3] = [23, 22, 21];
const NOW_MS: i64 = 1_795_435_200_000; // 2026-11-23T12:00:00Z

const WORDS: &[&str] = &[
    "error", "Error", "errors", "time", "timeout", "out", "get", "GET", "日志", "a", "b", "12",
    "web-1",
];
pub(super) const NAMES: &[&str] = &["shop", "Shop", "web", "web-1", "default", "error", "12", ""];
const KEYWORDS: &[&str] = &[
    "namespace",
    "pod",
    "tags",
    "annotations.user",
    "annotations.a.b",
    "annotations",
    "log.file.path",
];

pub(super) struct Stored {
    pub(super) id: String,
    pub(super) index: String,
    pub(super) source: Value,
}

fn message() -> BoxedStrategy<String> {
    vec(select(WORDS), 0..7)
        .prop_map(|words| words.join(" "))
        .boxed()
}

fn name() -> BoxedStrategy<Value> {
    select(NAMES).prop_map(|name| json!(name)).boxed()
}

fn document() -> BoxedStrategy<Value> {
    let leaf = (
        option::of(name()),
        option::of(name()),
        option::of(vec(name(), 0..3)),
        option::of(message()),
        option::of(0_i64..5),
        option::of(name()),
        option::of(name()),
    );
    (leaf, 0_u64..24, option::of(-2_i64..3))
        .prop_map(
            |((namespace, pod, tags, text, seq, user, nested), hour, offset)| {
                let mut source = Map::new();
                let mut put = |name: &str, value: Option<Value>| {
                    if let Some(value) = value {
                        source.insert(name.to_owned(), value);
                    }
                };
                put("namespace", namespace);
                put("pod", pod);
                put("tags", tags.map(Value::Array));
                put("message", text.map(Value::String));
                put("seq", seq.map(|seq| json!(seq)));
                put(
                    "log",
                    offset.map(|n| json!({"offset": n, "file": {"path": format!("/var/{n}")}})),
                );
                let mut annotations = Map::new();
                if let Some(user) = user {
                    annotations.insert("user".to_owned(), user);
                }
                if let Some(nested) = nested {
                    annotations.insert("a.b".to_owned(), nested);
                }
                if !annotations.is_empty() {
                    put("annotations", Some(Value::Object(annotations)));
                }
                put("hour", Some(json!(hour)));
                Value::Object(source)
            },
        )
        .boxed()
}

fn scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        select(WORDS).prop_map(|word| json!(word)),
        name(),
        (-2_i64..6).prop_map(|number| json!(number)),
        Just(json!(1.5)),
    ]
    .boxed()
}

fn date() -> BoxedStrategy<Value> {
    select(vec![
        json!("2026-11-22"),
        json!("2026-11-22T06:00:00Z"),
        json!("now-1d/d"),
        json!("now-12h"),
        json!("now"),
        json!("2026-11-22||-6h"),
        json!(1_795_300_000_000_i64),
    ])
    .boxed()
}

fn field() -> BoxedStrategy<String> {
    let mut fields: Vec<&str> = KEYWORDS.to_vec();
    fields.extend([
        "message",
        "message",
        "seq",
        "log.offset",
        "nothing",
        "event_id",
        "_index",
    ]);
    select(fields).prop_map(str::to_owned).boxed()
}

fn one(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    (field(), value)
        .prop_map(move |(field, value)| json!({name: {field: value}}))
        .boxed()
}

fn pattern() -> BoxedStrategy<String> {
    vec(
        select(vec!["*", "?", "e", "r", "web", "1", "\\*", "T"]),
        1..4,
    )
    .prop_map(|parts| parts.concat())
    .boxed()
}

fn range() -> BoxedStrategy<Value> {
    let bound = || option::of((any::<bool>(), scalar()));
    let numbers = (field(), bound(), bound());
    let of = |field: String, low: Option<(bool, Value)>, high: Option<(bool, Value)>| {
        let mut bounds = Map::new();
        if let Some((within, value)) = low {
            bounds.insert(if within { "gte" } else { "gt" }.to_owned(), value);
        }
        if let Some((within, value)) = high {
            bounds.insert(if within { "lte" } else { "lt" }.to_owned(), value);
        }
        if bounds.is_empty() {
            bounds.insert("gte".to_owned(), json!(0));
        }
        json!({"range": {field: bounds}})
    };
    let day = || option::of((any::<bool>(), date()));
    prop_oneof![
        numbers.prop_map(move |(field, low, high)| of(field, low, high)),
        (day(), day()).prop_map(move |(low, high)| of("@timestamp".to_owned(), low, high)),
    ]
    .boxed()
}

fn query_text() -> BoxedStrategy<String> {
    let part = prop_oneof![
        select(WORDS).prop_map(str::to_owned),
        (field(), select(WORDS)).prop_map(|(field, word)| format!("{field}:{word}")),
        message().prop_map(|text| format!("\"{text}\"")),
        Just("err*".to_owned()),
        Just("namespace:w?b*".to_owned()),
        Just("_exists_:tags".to_owned()),
        Just("seq:>=2".to_owned()),
        Just("@timestamp:[2026-11-22 TO 2026-11-22T12:00:00Z}".to_owned()),
        Just("timeuot~".to_owned()),
        Just("!".to_owned()),
    ];
    vec(
        (select(vec!["", "+", "-", "AND ", "OR ", "NOT "]), part),
        1..4,
    )
    .prop_map(|parts| {
        let parts = parts
            .into_iter()
            .map(|(sign, part)| format!("{sign}{part}"));
        parts.collect::<Vec<_>>().join(" ")
    })
    .boxed()
}

fn leaf() -> BoxedStrategy<Value> {
    let should_match = || option::of(select(vec!["1", "2", "-1", "50%", "2<-1"]));
    let matching = (message(), option::of(select(vec!["and", "or"])), should_match()).prop_map(
        |(query, operator, least)| {
            json!({"query": query, "operator": operator.unwrap_or("or"), "minimum_should_match": least.unwrap_or("0")})
        },
    );
    let phrase =
        (message(), 0_u64..3).prop_map(|(query, slop)| json!({"query": query, "slop": slop}));
    let strings = (query_text(), option::of(select(vec!["AND", "OR"]))).prop_map(|(query, operator)| {
        json!({"query_string": {"query": query, "default_operator": operator.unwrap_or("OR")}})
    });
    prop_oneof![
        Just(json!({"match_all": {}})),
        one("term", scalar()),
        (field(), scalar()).prop_map(
            |(field, value)| json!({"term": {field: {"value": value, "case_insensitive": true}}})
        ),
        (field(), vec(scalar(), 0..4))
            .prop_map(|(field, values)| json!({"terms": {field: values}})),
        (date()).prop_map(|date| json!({"term": {"@timestamp": date}})),
        range(),
        range(),
        one("match", matching.clone()),
        one("match", matching),
        one("match_phrase", phrase),
        one("match_phrase_prefix", message().prop_map(Value::String)),
        one("match_bool_prefix", message().prop_map(Value::String)),
        one("prefix", pattern().prop_map(|text| json!(text.replace(['*', '?'], "")))),
        (field(), pattern(), any::<bool>()).prop_map(
            |(field, text, fold)| json!({"wildcard": {field: {"value": text, "case_insensitive": fold}}})
        ),
        one("regexp", select(vec!["err.*", "[a-w]eb(-1)?", "(time|out)+", ".+"]).prop_map(|e| json!(e))),
        one("fuzzy", select(WORDS).prop_map(|word| json!(word))),
        field().prop_map(|field| json!({"exists": {"field": field}})),
        strings.clone(),
        strings,
        (message(), select(vec!["best_fields", "most_fields", "phrase"])).prop_map(
            |(query, kind)| json!({"multi_match": {"query": query, "type": kind, "fields": ["message", "namespace^2", "log.*"]}})
        ),
    ]
    .boxed()
}

fn query() -> BoxedStrategy<Value> {
    leaf()
        .prop_recursive(3, 16, 4, |inner| {
            let some = || vec(inner.clone(), 0..3);
            let least = option::of(select(vec![json!(0), json!(1), json!(2), json!("50%")]));
            prop_oneof![
                (some(), some(), some(), some(), least).prop_map(
                    |(must, filter, should, must_not, least)| {
                        let mut clauses = json!({"must": must, "filter": filter, "should": should, "must_not": must_not});
                        if let Some(least) = least {
                            clauses["minimum_should_match"] = least;
                        }
                        json!({"bool": clauses})
                    }
                ),
                inner.prop_map(|filter| json!({"constant_score": {"filter": filter}})),
            ]
        })
        .boxed()
}

pub(super) fn store(
    folder: &tempfile::TempDir,
    documents: &[Stored],
) -> Vec<Arc<PartitionSnapshot>> {
    let texts: Vec<String> = documents.iter().map(|d| d.source.to_string()).collect();
    DAYS.iter()
        .map(|day| {
            let ending = format!("2026.11.{day}");
            let own: Vec<(&str, &str, &str)> = documents
                .iter()
                .zip(&texts)
                .filter(|(document, _)| document.index.ends_with(&ending))
                .map(|(document, text)| {
                    (document.index.as_str(), document.id.as_str(), text.as_str())
                })
                .collect();
            let (first, second) = own.split_at(own.len() / 3);
            partition(folder.path(), &ending, &[first, second])
        })
        .collect()
}

pub(super) fn stored(runner: &mut TestRunner, count: u64) -> Vec<Stored> {
    (0..count)
        .map(|n| {
            let mut source = document().new_tree(runner).unwrap().current();
            let day = DAYS[(n % 3) as usize];
            let hour = source["hour"].as_u64().unwrap();
            let id = format!("{:032x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            source["@timestamp"] = json!(format!("2026-11-{day}T{hour:02}:00:00.000Z"));
            source["realtime_us"] = json!(day * 86_400_000_000 + hour * 3_600_000_000);
            source["event_id"] = json!(id);
            source.as_object_mut().unwrap().remove("hour");
            Stored {
                id,
                index: format!("logstash-http-{}-2026.11.{day}", n % 2),
                source,
            }
        })
        .collect()
}

pub(super) fn context() -> SearchContext {
    SearchContext {
        now_ms: NOW_MS,
        deadline: None,
        limits: Limits::default(),
        count_only: false,
        typed_keys: false,
    }
}

#[test]
fn the_store_finds_just_what_the_plain_evaluator_matches() {
    for seed in 0..3_u8 {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let config = Config {
            cases: 200,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let documents = stored(&mut runner, 60);
        let folder = tempfile::tempdir().unwrap();
        let snapshots = store(&folder, &documents);
        runner
            .run(&query(), |query| agree(&snapshots, &documents, &query))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A search that the store refuses says nothing; one that it answers is right.
fn agree(
    snapshots: &[Arc<PartitionSnapshot>],
    documents: &[Stored],
    query: &Value,
) -> Result<(), TestCaseError> {
    let body = json!({"query": query, "size": 100, "sort": ["_doc"]}).to_string();
    let search = Search::parse(body.as_bytes(), &[])
        .map_err(|error| TestCaseError::reject(error.to_string()))?;
    let Ok(found) = answer(snapshots, &search, &context()) else {
        return Ok(());
    };
    let found_ids: BTreeSet<&str> = found["hits"]["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["_id"].as_str().unwrap())
        .collect();
    let tree = search.query.as_ref().unwrap();
    let expected: BTreeSet<&str> = documents
        .iter()
        .filter(|document| {
            let context = Context {
                now_us: NOW_MS * 1_000,
                id: Some(&document.id),
                index: Some(&document.index),
            };
            tree.matches(&document.source, &context)
        })
        .map(|document| document.id.as_str())
        .collect();
    prop_assert_eq!(&found_ids, &expected, "{}", query);
    prop_assert_eq!(&found["hits"]["total"]["value"], expected.len());

    let scored = json!({"query": query, "size": 100}).to_string();
    let search = Search::parse(scored.as_bytes(), &[]).unwrap();
    let scored = answer(snapshots, &search, &context()).unwrap();
    prop_assert_eq!(&scored["hits"]["total"], &found["hits"]["total"]);
    Ok(())
}

fn sort_field() -> impl Strategy<Value = &'static str> {
    select(vec![
        "namespace",
        "seq",
        "realtime_us",
        "@timestamp",
        "annotations.user",
        "log.offset",
        "tags",
        "_index",
    ])
}

/// The value that a document is sorted by: of several the least when
/// ascending, the greatest when descending. Numbers sort as numbers, and
/// nothing comes last.
fn sort_value(document: &Stored, field: &str, descending: bool) -> Option<(i64, String)> {
    if field == "_index" {
        return Some((0, document.index.clone()));
    }
    if field == "event_id" {
        return Some((0, document.id.clone()));
    }
    let mut values = Vec::new();
    super::fetch::look_up(&document.source, field, &mut values);
    let comparable = values.into_iter().map(|value| match value {
        Value::Number(number) => (number.as_i64().unwrap(), String::new()),
        other => (0, other.as_str().unwrap().to_owned()),
    });
    if descending {
        comparable.max()
    } else {
        comparable.min()
    }
}

#[test]
fn pages_of_any_order_join_to_all_hits_in_that_order() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let documents = stored(&mut runner, 60);
    let folder = tempfile::tempdir().unwrap();
    let snapshots = store(&folder, &documents);
    let orders = vec((sort_field(), any::<bool>()), 0..3);
    let searches = (orders, any::<bool>(), 1_u64..30, query());
    runner
        .run(&searches, |(mut keys, last, size, query)| {
            keys.push(("event_id", last));
            paged(&snapshots, &documents, &keys, size, &query)
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

fn paged(
    snapshots: &[Arc<PartitionSnapshot>],
    documents: &[Stored],
    keys: &[(&str, bool)],
    size: u64,
    query: &Value,
) -> Result<(), TestCaseError> {
    let sort: Vec<Value> = keys
        .iter()
        .map(|(field, descending)| json!({*field: if *descending { "desc" } else { "asc" }}))
        .collect();
    let mut body = json!({"query": query, "size": size, "sort": sort, "track_total_hits": 10});
    let mut found = Vec::new();
    // A page that does not go on would never end.
    for _ in 0..=documents.len() {
        let search = Search::parse(body.to_string().as_bytes(), &[])
            .map_err(|error| TestCaseError::reject(error.to_string()))?;
        let Ok(page) = answer(snapshots, &search, &context()) else {
            return Ok(());
        };
        let hits = page["hits"]["hits"].as_array().unwrap();
        let Some(last) = hits.last() else { break };
        body["search_after"] = last["sort"].clone();
        found.extend(
            hits.iter()
                .map(|hit| hit["_id"].as_str().unwrap().to_owned()),
        );
    }
    let whole = Search::parse(json!({"query": query}).to_string().as_bytes(), &[]).unwrap();
    let tree = whole.query.as_ref().unwrap();
    let mut expected: Vec<&Stored> = documents
        .iter()
        .filter(|document| {
            let context = Context {
                now_us: NOW_MS * 1_000,
                id: Some(&document.id),
                index: Some(&document.index),
            };
            tree.matches(&document.source, &context)
        })
        .collect();
    expected.sort_by(|left, right| {
        for (field, descending) in keys {
            let (left, right) = (
                sort_value(left, field, *descending),
                sort_value(right, field, *descending),
            );
            let order = match (left, right) {
                (Some(left), Some(right)) if *descending => right.cmp(&left),
                (Some(left), Some(right)) => left.cmp(&right),
                (left, right) => left.is_none().cmp(&right.is_none()),
            };
            if order != std::cmp::Ordering::Equal {
                return order;
            }
        }
        std::cmp::Ordering::Equal
    });
    let expected: Vec<&str> = expected
        .iter()
        .map(|document| document.id.as_str())
        .collect();
    prop_assert_eq!(found, expected, "{}", query);
    Ok(())
}
