//! Random aggregations, nested.

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::queries::{Knows, date, flattened, query, value_of, zone};
use super::requests::{Ends, sort, source};

/// Some aggregations by name, nested up to `depth`.
pub fn aggregations(dice: &mut Dice, knows: Knows, depth: usize) -> Value {
    let mut named = Map::new();
    for place in 0..=dice.below(2) {
        named.insert(format!("a{place}"), aggregation(dice, knows, depth));
    }
    Value::Object(named)
}

fn aggregation(dice: &mut Dice, knows: Knows, depth: usize) -> Value {
    if depth == 0 || dice.percent(40) {
        return metric(dice, knows);
    }
    let mut below = Map::new();
    if dice.percent(55) {
        for place in 0..=dice.below(2) {
            below.insert(format!("b{place}"), aggregation(dice, knows, depth - 1));
        }
    }
    let mut found = bucket(dice, knows, &mut below);
    if !below.is_empty() {
        found["aggs"] = Value::Object(below);
    }
    dice.maybe(3, &mut found, "meta", |_| json!({ "unit": "ms" }));
    found
}

/// A field of one value or more that buckets can be made of.
fn bucket_field(dice: &mut Dice, knows: Knows) -> String {
    let field = any_field(dice, knows);
    // A flat_object has no buckets as a whole.
    if field == "annotations" && !knows.flattened {
        return "tags".to_owned();
    }
    field
}

fn any_field(dice: &mut Dice, knows: Knows) -> String {
    match dice.below(12) {
        0 => "seq".to_owned(),
        1 => "@timestamp".to_owned(),
        2 => dice
            .pick(&["message", "no.such.field", "_index", "annotations"])
            .to_owned(),
        3 if knows.flattened => flattened(dice),
        _ => dice.keyword().to_owned(),
    }
}

fn number_field(dice: &mut Dice, knows: Knows) -> String {
    match dice.below(12) {
        0 => dice.keyword().to_owned(),
        1 => bucket_field(dice, knows),
        2 | 3 => "@timestamp".to_owned(),
        4 => "log.offset".to_owned(),
        5 => "realtime_us".to_owned(),
        _ => "seq".to_owned(),
    }
}

fn metric(dice: &mut Dice, knows: Knows) -> Value {
    let mut kind = dice.pick(&[
        "min",
        "max",
        "avg",
        "sum",
        "stats",
        "extended_stats",
        "value_count",
        "cardinality",
        "percentiles",
        "top_hits",
    ]);
    if kind == "percentiles" && !knows.as_8_10 {
        kind = "max";
    }
    match kind {
        "top_hits" => return top_hits(dice, knows),
        "value_count" | "cardinality" => {
            // Of the whole of annotations only an engine counts.
            let field = match bucket_field(dice, knows) {
                field if field == "annotations" => "tags".to_owned(),
                field => field,
            };
            let mut body = json!({ "field": field });
            dice.maybe(15, &mut body, "missing", |dice| {
                value_that_stays(dice, knows, &field)
            });
            return json!({ kind: body });
        }
        _ => {}
    }
    let field = number_field(dice, knows);
    let mut body = json!({ "field": field });
    dice.maybe(15, &mut body, "missing", |dice| {
        value_that_stays(dice, knows, &field)
    });
    if kind == "extended_stats" {
        dice.maybe(30, &mut body, "sigma", |_| json!(3));
    }
    if kind == "percentiles" {
        dice.maybe(40, &mut body, "percents", |_| json!([50, 99.9]));
        dice.maybe(40, &mut body, "keyed", |_| json!(false));
    }
    json!({ kind: body })
}

fn top_hits(dice: &mut Dice, knows: Knows) -> Value {
    let mut body = json!({ "sort": sort(dice, knows, Ends::Always) });
    // No hits are an error from version 8 on.
    let least = usize::from(!knows.eight);
    dice.maybe(60, &mut body, "size", |dice| json!(least + dice.below(4)));
    dice.maybe(20, &mut body, "from", |dice| json!(dice.below(2)));
    dice.maybe(60, &mut body, "_source", source);
    json!({ "top_hits": body })
}

fn bucket(dice: &mut Dice, knows: Knows, below: &mut Map<String, Value>) -> Value {
    match dice.below(13) {
        0..=3 => terms(dice, knows, below),
        4 | 5 => date_histogram(dice, below),
        6 => histogram(dice),
        7 => range(dice, knows),
        8 => date_range(dice, knows),
        9 => json!({ "filter": query(dice, knows, 1) }),
        10 => filters(dice, knows),
        11 => json!({ "missing": { "field": bucket_field(dice, knows) } }),
        _ => composite(dice),
    }
}

/// An order by count, key, or a metric that it puts below.
fn order(dice: &mut Dice, below: &mut Map<String, Value>) -> Value {
    let direction = dice.pick(&["asc", "desc"]);
    match dice.below(5) {
        0 => json!({ "_count": direction }),
        1 => json!({ "_key": direction }),
        2 => {
            below.insert("m".to_owned(), json!({ "max": { "field": "seq" } }));
            json!({ "m": direction })
        }
        3 => {
            below.insert("s".to_owned(), json!({ "stats": { "field": "seq" } }));
            json!([{ "s.min": direction }, { "_key": "desc" }])
        }
        _ => json!([{ "_count": direction }, { "_key": dice.pick(&["asc", "desc"]) }]),
    }
}

fn terms(dice: &mut Dice, knows: Knows, below: &mut Map<String, Value>) -> Value {
    let field = bucket_field(dice, knows);
    // So that every shard gives every term and no count is an estimate.
    let mut body = json!({ "field": field, "shard_size": 1_000 });
    dice.maybe(60, &mut body, "size", |dice| json!(1 + dice.below(12)));
    dice.maybe(40, &mut body, "order", |dice| order(dice, below));
    dice.maybe(12, &mut body, "min_doc_count", |dice| json!(dice.below(4)));
    dice.maybe(15, &mut body, "missing", |dice| {
        value_that_stays(dice, knows, &field)
    });
    let texts = !matches!(field.as_str(), "seq" | "@timestamp");
    dice.maybe(12, &mut body, "include", |dice| selection(dice, texts));
    dice.maybe(8, &mut body, "exclude", |dice| selection(dice, texts));
    // OpenSearch takes no values beside an expression.
    if !knows.elasticsearch
        && body.get("include").is_some()
        && let Some(body) = body.as_object_mut()
    {
        body.remove("exclude");
    }
    dice.maybe(6, &mut body, "show_term_doc_count_error", |_| json!(true));
    dice.maybe(5, &mut body, "execution_hint", |dice| {
        json!(dice.pick(&["map", "global_ordinals"]))
    });
    json!({ "terms": body })
}

/// Values, or an expression, which of numbers is 500 in some versions.
fn selection(dice: &mut Dice, texts: bool) -> Value {
    if texts && dice.percent(50) {
        return json!(dice.pick(&["e.*", "[a-c]", "web-.*", ".*o.*", "日.*"]));
    }
    json!(dice.some(1, 3, Dice::name))
}

fn interval(dice: &mut Dice, body: &mut Value) {
    if dice.percent(50) {
        body["fixed_interval"] = json!(dice.pick(&["1h", "6h", "1d", "30m", "90m", "3d"]));
    } else {
        body["calendar_interval"] = json!(dice.pick(&[
            "hour", "day", "1d", "week", "month", "1M", "quarter", "year", "1w"
        ]));
    }
}

fn date_histogram(dice: &mut Dice, below: &mut Map<String, Value>) -> Value {
    let mut body = json!({ "field": dice.pick(&["@timestamp", "@timestamp", "@timestamp", "source_time", "realtime_us"]) });
    if body["field"] == "realtime_us" {
        body["fixed_interval"] = json!(dice.pick(&["1h", "1d"]));
        // Microseconds, of which too many buckets would lie between.
        body["min_doc_count"] = json!(1);
    } else {
        interval(dice, &mut body);
        dice.maybe(30, &mut body, "min_doc_count", |dice| json!(dice.below(3)));
        dice.maybe(15, &mut body, "missing", |_| json!("2026-03-29T05:00:00Z"));
        dice.maybe(
            15,
            &mut body,
            "extended_bounds",
            |_| json!({ "min": "2026-03-27", "max": "2026-03-31" }),
        );
        dice.maybe(
            10,
            &mut body,
            "hard_bounds",
            |_| json!({ "min": "2026-03-28T10:00:00Z", "max": "2026-03-29T12:00:00Z" }),
        );
    }
    dice.maybe(40, &mut body, "time_zone", |dice| json!(zone(dice)));
    dice.maybe(20, &mut body, "offset", |dice| {
        json!(dice.pick(&["+1h", "-30m", "6h", "+1d"]))
    });
    dice.maybe(30, &mut body, "format", |dice| {
        json!(dice.pick(&[
            "yyyy-MM-dd",
            "epoch_millis",
            "yyyy-MM-dd HH:mm",
            "yyyy-MM-dd'T'HH:mm:ssXXX",
            "dd/MM/yyyy",
            "uuuu"
        ]))
    });
    dice.maybe(12, &mut body, "keyed", |_| json!(true));
    dice.maybe(20, &mut body, "order", |dice| order(dice, below));
    json!({ "date_histogram": body })
}

fn histogram(dice: &mut Dice) -> Value {
    let field = dice.pick(&["seq", "log.offset", "@timestamp"]);
    let interval = if field == "@timestamp" {
        json!(3_600_000)
    } else {
        json!([0.5, 3.0, 5.0, 10.0][dice.below(4)])
    };
    let mut body = json!({ "field": field, "interval": interval, "min_doc_count": 1 });
    dice.maybe(15, &mut body, "offset", |_| json!(1.5));
    dice.maybe(15, &mut body, "missing", |_| json!(3));
    dice.maybe(12, &mut body, "keyed", |_| json!(true));
    dice.maybe(
        20,
        &mut body,
        "hard_bounds",
        |_| json!({ "min": -10, "max": 30 }),
    );
    if body.get("hard_bounds").is_some() {
        dice.maybe(60, &mut body, "min_doc_count", |_| json!(0));
        dice.maybe(
            40,
            &mut body,
            "extended_bounds",
            |_| json!({ "min": 0, "max": 20 }),
        );
    }
    dice.maybe(
        15,
        &mut body,
        "order",
        |dice| json!({ dice.pick(&["_key", "_count"]): "desc" }),
    );
    json!({ "histogram": body })
}

fn range(dice: &mut Dice, knows: Knows) -> Value {
    let ranges = dice.some(1, 4, |dice| {
        let mut range = json!({});
        let ends = if knows.eight { 70 } else { 100 };
        dice.maybe(ends, &mut range, "from", |dice| json!(dice.between(-3, 10)));
        dice.maybe(70, &mut range, "to", |dice| json!(dice.between(0, 20)));
        dice.maybe(20, &mut range, "key", |dice| {
            json!(dice.pick(&["low", "high"]))
        });
        range
    });
    let mut body = json!({ "field": dice.pick(&["seq", "log.offset"]), "ranges": ranges });
    dice.maybe(20, &mut body, "keyed", |_| json!(true));
    dice.maybe(15, &mut body, "missing", |_| json!(4));
    json!({ "range": body })
}

fn date_range(dice: &mut Dice, knows: Knows) -> Value {
    let ranges = dice.some(1, 3, |dice| {
        let mut range = json!({});
        dice.maybe(70, &mut range, "from", date_without_now);
        dice.maybe(70, &mut range, "to", date_without_now);
        dice.maybe(20, &mut range, "key", |dice| {
            json!(dice.pick(&["early", "late"]))
        });
        range
    });
    let mut body = json!({ "field": dice.pick(&["@timestamp", "source_time"]), "ranges": ranges });
    dice.maybe(20, &mut body, "keyed", |_| json!(true));
    // Milliseconds are of the zone in OpenSearch.
    let zones = if knows.elasticsearch { 20 } else { 0 };
    dice.maybe(zones, &mut body, "time_zone", |dice| json!(zone(dice)));
    dice.maybe(20, &mut body, "format", |dice| {
        json!(dice.pick(&["yyyy-MM-dd", "yyyy-MM-dd||epoch_millis"]))
    });
    dice.maybe(10, &mut body, "missing", |_| json!("2026-03-29"));
    json!({ "date_range": body })
}

/// As [`value_of`], without `now`.
fn value_that_stays(dice: &mut Dice, knows: Knows, field: &str) -> Value {
    loop {
        let found = value_of(dice, knows, field);
        if !found.as_str().is_some_and(|text| text.contains("now")) {
            return found;
        }
    }
}

/// The names of buckets show what `now` was, which is another for each store.
fn date_without_now(dice: &mut Dice) -> Value {
    loop {
        let found = date(dice);
        if !found.as_str().is_some_and(|text| text.contains("now")) {
            return found;
        }
    }
}

fn filters(dice: &mut Dice, knows: Knows) -> Value {
    let mut body = json!({});
    if dice.percent(60) {
        body["filters"] = json!({ "one": query(dice, knows, 1), "two": query(dice, knows, 0) });
    } else {
        body["filters"] = json!([query(dice, knows, 1), query(dice, knows, 0)]);
    }
    dice.maybe(25, &mut body, "other_bucket", |dice| {
        json!(dice.percent(80))
    });
    dice.maybe(15, &mut body, "other_bucket_key", |_| json!("rest"));
    json!({ "filters": body })
}

fn composite(dice: &mut Dice) -> Value {
    let count = 1 + dice.below(3);
    let mut after = Map::new();
    let sources: Vec<Value> = (0..count).map(|place| {
        let (mut source, last) = match dice.below(4) {
            0 => (json!({ "date_histogram": { "field": "@timestamp", "calendar_interval": "day" } }), json!(1_774_742_400_000_i64)),
            1 => (json!({ "histogram": { "field": "seq", "interval": 5 } }), json!(5.0)),
            2 => (json!({ "terms": { "field": "seq" } }), json!(3)),
            _ => (json!({ "terms": { "field": dice.keyword() } }), json!(dice.name())),
        };
        let settings = source.as_object_mut().and_then(|source| source.values_mut().next());
        if let Some(settings) = settings {
            dice.maybe(30, settings, "order", |dice| json!(dice.pick(&["asc", "desc"])));
            dice.maybe(30, settings, "missing_bucket", |_| json!(true));
        }
        after.insert(format!("s{place}"), last);
        json!({ format!("s{place}"): source })
    }).collect();
    let mut body = json!({ "sources": sources });
    dice.maybe(60, &mut body, "size", |dice| json!(1 + dice.below(20)));
    dice.maybe(25, &mut body, "after", |_| Value::Object(after));
    json!({ "composite": body })
}
