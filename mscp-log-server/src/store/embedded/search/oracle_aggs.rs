//! Random aggregations over random documents, against counting by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use mscp_log_core::query::ast::Search;
use mscp_log_core::query::date_math::{Formats, Zone};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::answer;
use super::fetch::look_up;
use super::oracle::{Stored, context, store, stored};

const HOUR_MS: i64 = 3_600_000;

fn keyword() -> impl Strategy<Value = &'static str> {
    select(vec![
        "namespace",
        "pod",
        "tags",
        "annotations.user",
        "annotations.a.b",
    ])
}

fn metric() -> BoxedStrategy<Value> {
    prop_oneof![
        select(vec!["seq", "log.offset"]).prop_map(|field| json!({"stats": {"field": field}})),
        keyword().prop_map(|field| json!({"cardinality": {"field": field}})),
        select(vec!["tags", "seq"]).prop_map(|field| json!({"value_count": {"field": field}})),
        select(vec!["seq", "log.offset"])
            .prop_map(|field| json!({"percentiles": {"field": field, "percents": [0, 50, 100]}})),
        Just(json!({"top_hits": {"size": 2, "sort": ["seq", "event_id"], "_source": false}})),
    ]
    .boxed()
}

fn buckets() -> BoxedStrategy<Value> {
    prop_oneof![
        keyword().prop_map(|field| json!({"terms": {"field": field, "size": 1000}})),
        select(vec!["seq", "log.offset"])
            .prop_map(|field| json!({"terms": {"field": field, "size": 1000}})),
        Just(json!({"terms": {"field": "pod", "size": 1000, "missing": "none"}})),
        select(vec![1, 6, 24]).prop_map(|hours| json!({"date_histogram": {
            "field": "@timestamp", "fixed_interval": format!("{hours}h"), "min_doc_count": 1
        }})),
        Just(json!({"date_histogram": {
            "field": "@timestamp", "calendar_interval": "day", "time_zone": "+08:00"
        }})),
        keyword().prop_map(|field| json!({"missing": {"field": field}})),
        Just(json!({"range": {"field": "seq", "ranges": [{"to": 2}, {"from": 1, "to": 3}, {"from": 3}]}})),
        select(super::oracle::NAMES)
            .prop_map(|name| json!({"filter": {"term": {"namespace": name}}})),
    ]
    .boxed()
}

fn aggregations() -> BoxedStrategy<Value> {
    let named = |all: Vec<Value>| {
        let names = all.into_iter().enumerate();
        Value::Object(names.map(|(n, agg)| (format!("a{n}"), agg)).collect())
    };
    let leaf = prop_oneof![metric(), buckets()];
    let tree = leaf.prop_recursive(3, 12, 3, move |inner| {
        (buckets(), vec(inner, 1..3)).prop_map(move |(mut above, below)| {
            above["aggs"] = named(below);
            above
        })
    });
    vec(tree, 1..3).prop_map(named).boxed()
}

#[test]
fn aggregations_are_what_counting_by_hand_gives() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let documents = stored(&mut runner, 60);
    let folder = tempfile::tempdir().unwrap();
    let snapshots = store(&folder, &documents);
    let all: Vec<&Stored> = documents.iter().collect();
    runner
        .run(&aggregations(), |aggs| {
            let body = json!({"size": 0, "aggs": aggs}).to_string();
            let search = Search::parse(body.as_bytes(), &[]).unwrap();
            let found = answer(&snapshots, &search, &context()).unwrap();
            compare(&aggs, &found["aggregations"], &all)
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

fn values<'d>(document: &'d Stored, field: &str) -> Vec<&'d Value> {
    let mut found = Vec::new();
    look_up(&document.source, field, &mut found);
    found
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn distinct(document: &Stored, field: &str) -> BTreeSet<String> {
    values(document, field).into_iter().map(text).collect()
}

fn timestamp(document: &Stored) -> i64 {
    let text = document.source["@timestamp"].as_str().unwrap();
    Formats::default()
        .read(text, &Zone::default(), false)
        .unwrap()
}

fn compare(aggs: &Value, found: &Value, documents: &[&Stored]) -> Result<(), TestCaseError> {
    for (name, aggregation) in aggs.as_object().unwrap() {
        one(aggregation.as_object().unwrap(), &found[name], documents)?;
    }
    Ok(())
}

fn one(
    aggregation: &Map<String, Value>,
    found: &Value,
    documents: &[&Stored],
) -> Result<(), TestCaseError> {
    let none = json!({});
    let below = aggregation.get("aggs").unwrap_or(&none);
    let (kind, body) = aggregation
        .iter()
        .find(|(kind, _)| *kind != "aggs")
        .unwrap();
    let field = body["field"].as_str().unwrap_or_default();
    let numbers = |document: &&Stored| -> Vec<f64> {
        values(document, field)
            .into_iter()
            .filter_map(Value::as_f64)
            .collect()
    };
    match kind.as_str() {
        "stats" => {
            let all: Vec<f64> = documents.iter().flat_map(numbers).collect();
            prop_assert_eq!(&found["count"], all.len());
            prop_assert_eq!(found["sum"].as_f64().unwrap(), all.iter().sum::<f64>());
            let least = all.iter().copied().reduce(f64::min);
            prop_assert_eq!(found["min"].as_f64(), least);
            let greatest = all.iter().copied().reduce(f64::max);
            prop_assert_eq!(found["max"].as_f64(), greatest);
        }
        "percentiles" => {
            let mut all: Vec<f64> = documents.iter().flat_map(numbers).collect();
            all.sort_by(f64::total_cmp);
            let middle = all.len().checked_sub(1).map(|last| last as f64 / 2.0);
            let middle =
                middle.map(|at| (all[at.floor() as usize] + all[at.ceil() as usize]) / 2.0);
            let values = &found["values"];
            prop_assert_eq!(values["0.0"].as_f64(), all.first().copied());
            prop_assert_eq!(values["50.0"].as_f64(), middle);
            prop_assert_eq!(values["100.0"].as_f64(), all.last().copied());
        }
        "top_hits" => {
            let key = |document: &&Stored| {
                let seq = document.source["seq"].as_i64();
                (seq.unwrap_or(i64::MAX), text(&document.source["event_id"]))
            };
            let mut sorted: Vec<&Stored> = documents.to_vec();
            sorted.sort_by_key(key);
            let wanted: Vec<String> = sorted.iter().take(2).map(|d| key(d).1).collect();
            let hits = found["hits"]["hits"].as_array().unwrap();
            let ids: Vec<String> = hits.iter().map(|hit| text(&hit["_id"])).collect();
            prop_assert_eq!(ids, wanted);
            prop_assert_eq!(&found["hits"]["total"]["value"], documents.len());
        }
        "cardinality" => {
            let all: BTreeSet<String> = documents.iter().flat_map(|d| distinct(d, field)).collect();
            prop_assert_eq!(&found["value"], all.len());
        }
        "value_count" => {
            let count: usize = documents.iter().map(|d| distinct(d, field).len()).sum();
            prop_assert_eq!(&found["value"], count);
        }
        "missing" => {
            let rest: Vec<&Stored> = documents
                .iter()
                .copied()
                .filter(|document| distinct(document, field).is_empty())
                .collect();
            prop_assert_eq!(&found["doc_count"], rest.len());
            compare(below, found, &rest)?;
        }
        "filter" => {
            let wanted = text(&body["term"]["namespace"]);
            let rest: Vec<&Stored> = documents
                .iter()
                .copied()
                .filter(|document| distinct(document, "namespace").contains(&wanted))
                .collect();
            prop_assert_eq!(&found["doc_count"], rest.len());
            compare(below, found, &rest)?;
        }
        "range" => {
            let found = found["buckets"].as_array().unwrap();
            prop_assert_eq!(found.len(), 3);
            for bucket in found {
                let rest: Vec<&Stored> = documents
                    .iter()
                    .copied()
                    .filter(|document| {
                        numbers(document).into_iter().any(|number| {
                            bucket["from"].as_f64().is_none_or(|from| number >= from)
                                && bucket["to"].as_f64().is_none_or(|to| number < to)
                        })
                    })
                    .collect();
                prop_assert_eq!(&bucket["doc_count"], rest.len());
                compare(below, bucket, &rest)?;
            }
        }
        "terms" | "date_histogram" => {
            let groups = groups(kind, body, field, documents);
            in_groups(kind, below, found, &groups)?;
        }
        other => panic!("{other}"),
    }
    Ok(())
}

/// The documents of each bucket, by its key as text.
fn groups<'d>(
    kind: &str,
    body: &Value,
    field: &str,
    documents: &[&'d Stored],
) -> BTreeMap<String, Vec<&'d Stored>> {
    let mut groups: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    for document in documents {
        let keys = if kind == "terms" {
            let mut keys = distinct(document, field);
            if let (true, Some(missing)) = (keys.is_empty(), body["missing"].as_str()) {
                keys.insert(missing.to_owned());
            }
            keys
        } else {
            let hours = body["fixed_interval"].as_str().map_or(24, |interval| {
                interval.trim_end_matches('h').parse::<i64>().unwrap()
            });
            let ahead = if body["time_zone"].is_string() {
                8 * HOUR_MS
            } else {
                0
            };
            let width = hours * HOUR_MS;
            let begin = (timestamp(document) + ahead).div_euclid(width) * width - ahead;
            BTreeSet::from([begin.to_string()])
        };
        for key in keys {
            groups.entry(key).or_default().push(document);
        }
    }
    groups
}

fn in_groups(
    kind: &str,
    below: &Value,
    found: &Value,
    groups: &BTreeMap<String, Vec<&Stored>>,
) -> Result<(), TestCaseError> {
    let buckets = found["buckets"].as_array().unwrap();
    let filled = buckets
        .iter()
        .filter(|bucket| bucket["doc_count"] != 0)
        .count();
    prop_assert_eq!(filled, groups.len(), "{}", found);
    for bucket in buckets {
        let group = groups.get(&text(&bucket["key"]));
        let group = group.map(Vec::as_slice).unwrap_or_default();
        prop_assert_eq!(&bucket["doc_count"], group.len());
        compare(below, bucket, group)?;
    }
    let order = |bucket: &Value| {
        let count = bucket["doc_count"].as_u64().unwrap();
        let key = (bucket["key"].as_i64(), text(&bucket["key"]));
        if kind == "terms" {
            (u64::MAX - count, key)
        } else {
            (0, key)
        }
    };
    prop_assert!(buckets.is_sorted_by_key(order), "{}", found);
    if kind == "terms" {
        prop_assert_eq!(&found["sum_other_doc_count"], 0);
    }
    Ok(())
}

#[test]
fn pages_of_a_composite_are_the_whole_in_order() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[12; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let documents = stored(&mut runner, 60);
    let folder = tempfile::tempdir().unwrap();
    let snapshots = store(&folder, &documents);
    let ask = |size: usize, after: &Value, tags: &Value| {
        let mut composite = json!({"size": size, "sources": [
            {"n": {"terms": {"field": "namespace", "order": "desc"}}},
            {"t": {"terms": tags}},
            {"d": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}}},
        ]});
        if !after.is_null() {
            composite["after"] = after.clone();
        }
        let below = json!({"s": {"sum": {"field": "seq"}}});
        let body = json!({"size": 0, "aggs": {"c": {"composite": composite, "aggs": below}}});
        let search = Search::parse(body.to_string().as_bytes(), &[]).unwrap();
        answer(&snapshots, &search, &context()).unwrap()["aggregations"]["c"].take()
    };
    for tags in [
        json!({"field": "tags"}),
        json!({"field": "tags", "missing_bucket": true}),
        json!({"field": "tags", "missing_bucket": true, "missing_order": "last"}),
        json!({"field": "tags", "missing_bucket": true, "order": "desc"}),
    ] {
        let whole = ask(10_000, &Value::Null, &tags);
        let whole = whole["buckets"].as_array().unwrap();
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        for document in &documents {
            let mut all = distinct(document, "tags");
            if all.is_empty() && tags["missing_bucket"] == true {
                all.insert("null".to_owned());
            }
            let day = timestamp(document).div_euclid(24 * HOUR_MS) * 24 * HOUR_MS;
            for namespace in distinct(document, "namespace") {
                for tag in &all {
                    *groups
                        .entry(format!("{namespace}/{tag}/{day}"))
                        .or_default() += 1;
                }
            }
        }
        let found: BTreeMap<String, u64> = whole
            .iter()
            .map(|bucket| {
                let key = &bucket["key"];
                let name = format!("{}/{}/{}", text(&key["n"]), text(&key["t"]), key["d"]);
                (name, bucket["doc_count"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(found, groups);
        let mut paged = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut page = ask(3, &after, &tags);
            paged.extend(page["buckets"].as_array().unwrap().clone());
            if page["after_key"].is_null() {
                break;
            }
            after = page["after_key"].take();
        }
        assert_eq!(paged, *whole, "{tags}");
    }
}
