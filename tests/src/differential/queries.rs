//! Random queries: every clause of the contract, nested, over fields that are
//! there and some that are not.

use serde_json::{Value, json};

use super::dice::{Dice, KEYS};
use super::lucene::{query_string, simple_query_string};
use crate::engine::{Product, Spec};

/// What an engine can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Knows {
    /// `annotations` are searched key by key, as a `flattened` field is.
    pub flattened: bool,
    /// `range` takes `from` and `to`, as before Elasticsearch 9.
    pub from_and_to: bool,
    /// It is Elasticsearch, which has `format` in a sort and takes `*` for the
    /// columns of its own fields.
    pub elasticsearch: bool,
    /// It refuses and finds as Elasticsearch 8 does: numbers beyond a long find
    /// nothing, a regular expression has `\d`, a number of hits below 0 is wrong.
    pub eight: bool,
    /// Percentiles and highlights are those that the embedded store has: between
    /// two values in proportion (8.9), and a phrase as one mark (8.10).
    pub as_8_10: bool,
}

impl Knows {
    /// All that the embedded store can be asked.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            flattened: true,
            from_and_to: true,
            elasticsearch: true,
            eight: true,
            as_8_10: true,
        }
    }

    /// What an engine of this version can be asked.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let elasticsearch = spec.product == Product::Elasticsearch;
        Self {
            flattened: elasticsearch && spec.version.0 >= 7,
            from_and_to: !elasticsearch || spec.version.0 < 9,
            elasticsearch,
            eight: elasticsearch && spec.version.0 >= 8,
            as_8_10: elasticsearch && spec.version >= (8, 10, 0),
        }
    }
}

/// Any field: of keywords most often.
pub fn field(dice: &mut Dice, knows: Knows) -> String {
    match dice.below(20) {
        0..=3 => "message".to_owned(),
        4 => "seq".to_owned(),
        5 => "realtime_us".to_owned(),
        6 => "@timestamp".to_owned(),
        7 => "log.offset".to_owned(),
        8 => dice.pick(&["event_id", "_id", "_index"]).to_owned(),
        9 => dice
            .pick(&["no.such.field", "nothing", "log", "source_time"])
            .to_owned(),
        10 | 11 if knows.flattened => flattened(dice),
        _ => dice.keyword().to_owned(),
    }
}

/// A path below `annotations`, rarely the whole.
pub fn flattened(dice: &mut Dice) -> String {
    if dice.percent(15) {
        return "annotations".to_owned();
    }
    format!("annotations.{}", dice.pick(KEYS))
}

/// A field of which parts of values can be asked: an engine answers 500 for a
/// key of annotations.
fn whole_field(dice: &mut Dice, knows: Knows) -> String {
    loop {
        let field = field(dice, knows);
        if !field.starts_with("annotations.") && field != "_index" {
            return field;
        }
    }
}

/// A value that `field` may have and `knows` can read.
pub fn value_of(dice: &mut Dice, knows: Knows, field: &str) -> Value {
    if dice.percent(3) && (knows.eight || field != "@timestamp") {
        return dice.number();
    }
    match field {
        "message" => json!(dice.word()),
        "seq" | "log.offset" => match dice.below(10) {
            0 => json!(1.5),
            1 => json!("7"),
            2 => json!("x"),
            3 if knows.eight => json!(1e30),
            4 => json!(7.0),
            _ => dice.number(),
        },
        "realtime_us" => json!(dice.time_us()),
        "_id" => json!(dice.pick(&["a", "b", "x=y", "\u{1F600}"])),
        // An engine answers 503 for an empty one.
        "_index" => json!(dice.pick(&["a", "logstash-*", "log"])),
        "@timestamp" | "source_time" => date(dice),
        _ if dice.percent(4) => json!(dice.percent(50)),
        _ => json!(dice.asked()),
    }
}

/// A date as a search writes it: instants, parts of dates, date math.
pub fn date(dice: &mut Dice) -> Value {
    match dice.below(14) {
        0 => json!("now"),
        1 => json!("now-1h/d"),
        2 => json!("2026-03-29"),
        3 => json!("2026-03"),
        4 => json!("2026-03-29||/M"),
        5 => json!("2026-03-28||+1d/d"),
        6 => json!("2026-03-29T10"),
        7 => json!("2026-03-29T10:01"),
        8 => json!("2026-03-29T02:30:00+02:00"),
        9 => json!("not a date"),
        10 => json!((dice.time_us() / 1_000).to_string()),
        11 => json!(dice.time_us() / 1_000),
        _ => {
            let mut text = Vec::new();
            mscp_log_core::record::time::write_rfc3339(dice.time_us(), &mut text);
            json!(String::from_utf8_lossy(&text)[..23].to_owned() + "Z")
        }
    }
}

/// A few words as one asks for them.
pub fn words(dice: &mut Dice) -> String {
    dice.some(0, 3, Dice::word).join(" ")
}

/// Any query, nested up to `depth`.
pub fn query(dice: &mut Dice, knows: Knows, depth: usize) -> Value {
    let mut found = if depth > 0 && dice.percent(40) {
        if dice.percent(85) {
            boolean(dice, knows, depth - 1)
        } else {
            json!({ "constant_score": { "filter": query(dice, knows, depth - 1) } })
        }
    } else {
        leaf(dice, knows)
    };
    if dice.percent(4) {
        name(dice, &mut found);
    }
    found
}

/// Gives a query a name and a weight, where they are written.
fn name(dice: &mut Dice, query: &mut Value) {
    let Some((kind, body)) = query
        .as_object_mut()
        .and_then(|query| query.iter_mut().next())
    else {
        return;
    };
    let by_field = !matches!(
        kind.as_str(),
        "bool"
            | "constant_score"
            | "exists"
            | "ids"
            | "match_all"
            | "match_none"
            | "terms"
            | "multi_match"
            | "query_string"
            | "simple_query_string"
    );
    let place = if by_field {
        body.as_object_mut()
            .and_then(|body| body.values_mut().next())
    } else {
        Some(body)
    };
    if let Some(Value::Object(settings)) = place {
        settings.insert("_name".to_owned(), json!(dice.pick(&["n", "m"])));
        settings.insert(
            "boost".to_owned(),
            json!(dice.pick(&["2", "0.5"]).parse::<f64>().unwrap_or(1.0)),
        );
    }
}

fn boolean(dice: &mut Dice, knows: Knows, depth: usize) -> Value {
    let mut body = json!({});
    for (occurs, share) in [
        ("must", 40),
        ("filter", 40),
        ("should", 50),
        ("must_not", 30),
    ] {
        dice.maybe(share, &mut body, occurs, |dice| {
            if dice.percent(20) {
                return query(dice, knows, depth);
            }
            Value::from(dice.some(0, 3, |dice| query(dice, knows, depth)))
        });
    }
    dice.maybe(20, &mut body, "minimum_should_match", should_match);
    json!({ "bool": body })
}

fn should_match(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => json!("50%"),
        1 => json!("-30%"),
        2 => json!("2<-25% 9<-3"),
        3 => json!("1<75%"),
        _ => json!(dice.between(-2, 3)),
    }
}

fn leaf(dice: &mut Dice, knows: Knows) -> Value {
    match dice.below(24) {
        0 => json!({ "match_all": {} }),
        // An engine that knows that nothing matches looks at no other clause.
        1 if dice.percent(10) => json!({ "match_none": {} }),
        2..=4 => matching(dice, knows, "match"),
        5 => matching(dice, knows, "match_bool_prefix"),
        6 | 7 => phrase(dice, knows, "match_phrase"),
        8 => phrase(dice, knows, "match_phrase_prefix"),
        9 => multi_match(dice, knows),
        10 | 11 => term(dice, knows),
        12 => {
            let field = field(dice, knows);
            let values = dice.some(0, 4, |dice| value_of(dice, knows, &field));
            json!({ "terms": { field: values } })
        }
        13..=15 => range(dice, knows),
        16 => json!({ "exists": { "field": field_or_pattern(dice, knows) } }),
        17 => pattern(dice, knows, "prefix"),
        18 => pattern(dice, knows, "wildcard"),
        19 => pattern(dice, knows, "regexp"),
        20 => fuzzy(dice, knows),
        21 => json!({ "ids": { "values": dice.some(0, 3, Dice::name) } }),
        22 => query_string(dice, knows),
        _ => simple_query_string(dice, knows),
    }
}

fn field_or_pattern(dice: &mut Dice, knows: Knows) -> String {
    if dice.percent(15) {
        let pattern = dice.pick(&["n*", "log.*", "lo*", "log.*e", "no*thing"]);
        // OpenSearch knows no objects there.
        return match pattern {
            "log.*e" if !knows.elasticsearch => "log.*".to_owned(),
            pattern => pattern.to_owned(),
        };
    }
    field(dice, knows)
}

fn fuzziness(dice: &mut Dice) -> Value {
    // More than two edits are refused by some versions only where there are words.
    match dice.below(6) {
        0 => json!(0),
        1 => json!(1),
        2 => json!(2),
        3 => json!("AUTO:2,4"),
        4 => json!("1"),
        _ => json!("AUTO"),
    }
}

fn matching(dice: &mut Dice, knows: Knows, kind: &str) -> Value {
    let field = match kind {
        // Of which fields there are beginnings, versions do not agree.
        "match_bool_prefix" if !knows.eight => "level".to_owned(),
        _ => field(dice, knows),
    };
    let text = if field == "message" {
        json!(words(dice))
    } else {
        value_of(dice, knows, &field)
    };
    if dice.percent(40) {
        return json!({ kind: { field: text } });
    }
    let mut body = json!({ "query": text });
    match_settings(dice, &mut body, kind);
    if field.starts_with("annotations.")
        && !knows.eight
        && let Some(body) = body.as_object_mut()
    {
        body.remove("fuzziness");
    }
    json!({ kind: { field: body } })
}

fn match_settings(dice: &mut Dice, body: &mut Value, kind: &str) {
    dice.maybe(40, body, "operator", |dice| {
        json!(dice.pick(&["and", "or", "AND"]))
    });
    dice.maybe(25, body, "minimum_should_match", should_match);
    dice.maybe(20, body, "fuzziness", fuzziness);
    if kind == "match_bool_prefix" {
        return;
    }
    dice.maybe(10, body, "prefix_length", |dice| json!(dice.below(3)));
    dice.maybe(15, body, "lenient", |dice| json!(dice.percent(80)));
    dice.maybe(20, body, "zero_terms_query", |dice| {
        json!(dice.pick(&["none", "all"]))
    });
    dice.maybe(5, body, "fuzzy_transpositions", |_| json!(false));
    dice.maybe(5, body, "analyzer", |dice| {
        json!(dice.pick(&["standard", "keyword", "no_such"]))
    });
}

fn phrase(dice: &mut Dice, knows: Knows, kind: &str) -> Value {
    let field = if dice.percent(75) {
        "message".to_owned()
    } else {
        field(dice, knows)
    };
    let text = if field == "message" {
        json!(words(dice))
    } else {
        value_of(dice, knows, &field)
    };
    if dice.percent(40) {
        return json!({ kind: { field: text } });
    }
    let mut body = json!({ "query": text });
    dice.maybe(50, &mut body, "slop", |dice| json!(dice.below(4)));
    dice.maybe(15, &mut body, "zero_terms_query", |dice| {
        json!(dice.pick(&["none", "all"]))
    });
    if kind == "match_phrase_prefix" {
        dice.maybe(20, &mut body, "max_expansions", |dice| {
            json!(50 + dice.below(5))
        });
    }
    json!({ kind: { field: body } })
}

/// Names of fields, some with weights or stars.
pub fn fields(dice: &mut Dice, knows: Knows) -> Vec<String> {
    dice.some(1, 3, |dice| match dice.below(8) {
        0 => "n*".to_owned(),
        1 => "message^2".to_owned(),
        2 => "log.*".to_owned(),
        _ => field(dice, knows),
    })
}

fn multi_match(dice: &mut Dice, knows: Knows) -> Value {
    let kind = dice.pick(&[
        "best_fields",
        "most_fields",
        "phrase",
        "phrase_prefix",
        "bool_prefix",
        "cross_fields",
    ]);
    let text = if dice.percent(20) {
        value_of(dice, knows, "level")
    } else {
        json!(words(dice))
    };
    // Which fields have an empty value is seen differently where none are named.
    let named = if text == "" && !knows.eight { 100 } else { 90 };
    let mut body = json!({ "query": text });
    dice.maybe(named, &mut body, "fields", |dice| {
        // An empty name of an index, or an empty id, is an error of its own.
        let mut fields = fields(dice, knows);
        fields.retain(|field| {
            !field.starts_with("_i") && (knows.eight || !field.starts_with("annotations."))
        });
        if fields.is_empty() {
            fields.push("message".to_owned());
        }
        json!(fields)
    });
    dice.maybe(70, &mut body, "type", |_| json!(kind));
    dice.maybe(30, &mut body, "operator", |dice| {
        json!(dice.pick(&["and", "or"]))
    });
    dice.maybe(40, &mut body, "lenient", |_| json!(true));
    dice.maybe(10, &mut body, "tie_breaker", |_| json!(0.3));
    dice.maybe(10, &mut body, "minimum_should_match", should_match);
    dice.maybe(10, &mut body, "zero_terms_query", |_| json!("all"));
    json!({ "multi_match": body })
}

fn term(dice: &mut Dice, knows: Knows) -> Value {
    let field = field(dice, knows);
    let value = value_of(dice, knows, &field);
    if dice.percent(50) {
        return json!({ "term": { field: value } });
    }
    let mut body = json!({ "value": value });
    // Nothing in any case is nothing, before version 8.
    let folds = if knows.eight || body["value"] != "" {
        30
    } else {
        0
    };
    dice.maybe(folds, &mut body, "case_insensitive", |_| json!(true));
    json!({ "term": { field: body } })
}

fn range(dice: &mut Dice, knows: Knows) -> Value {
    let field = if dice.percent(40) {
        dice.pick(&[
            "@timestamp",
            "@timestamp",
            "source_time",
            "seq",
            "realtime_us",
        ])
        .to_owned()
    } else {
        field(dice, knows)
    };
    let mut body = json!({});
    let of_its_version = |name: &'static str| match name {
        "from" if !knows.from_and_to => "gte",
        "to" if !knows.from_and_to => "lte",
        name => name,
    };
    let low = of_its_version(dice.pick(&["gt", "gte", "from"]));
    dice.maybe(70, &mut body, low, |dice| value_of(dice, knows, &field));
    let high = of_its_version(dice.pick(&["lt", "lte", "to"]));
    dice.maybe(70, &mut body, high, |dice| value_of(dice, knows, &field));
    if (field == "@timestamp" || field == "source_time")
        && !knows.eight
        && let Some(bounds) = body.as_object_mut()
    {
        // A number beside a text, or below 0, is read in another way before version 8.
        bounds.retain(|_, bound| bound.is_string());
    }
    if field == "@timestamp" || field == "source_time" {
        dice.maybe(20, &mut body, "time_zone", |dice| json!(zone(dice)));
        dice.maybe(15, &mut body, "format", |dice| {
            json!(dice.pick(&[
                "epoch_millis",
                "yyyy-MM-dd",
                "yyyy-MM-dd||epoch_millis",
                "strict_date_optional_time",
                "uuuu-MM"
            ]))
        });
    }
    dice.maybe(5, &mut body, "relation", |_| json!("intersects"));
    json!({ "range": { field: body } })
}

/// A time zone.
pub fn zone(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "UTC",
        "+08:00",
        "-03:30",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Shanghai",
        "Z",
    ])
}

fn pattern(dice: &mut Dice, knows: Knows, kind: &str) -> Value {
    let field = whole_field(dice, knows);
    let text = match kind {
        "prefix" => {
            let text = if field == "message" {
                dice.word()
            } else {
                dice.asked()
            };
            let end = dice.below(4);
            text.chars().take(end).collect()
        }
        "wildcard" => dice
            .pick(&[
                "a*",
                "*",
                "?",
                "err?r",
                "*e*",
                "web\\*",
                "",
                "日*",
                "E*",
                "*rr*r",
                "\\",
                "a\\*",
                "??",
                "*\u{1F600}",
                "*-?",
            ])
            .to_owned(),
        _ => dice
            .pick(&[
                "a.*",
                "[a-c]",
                "err(or)?",
                "@",
                "web-[0-9]+",
                "~error",
                "<1-20>",
                "a&.*",
                "日.",
                ".",
                "",
                ".*",
                "[^a]*",
                "\"a*\"",
                "#",
                "e{1,2}r+.*",
                "(",
                "[",
                "a|b|E.*",
                "a{2",
                if knows.eight { "\\d+" } else { "[0-9]+" },
                if knows.eight { "\\w*" } else { "a?" },
            ])
            .to_owned(),
    };
    let mut body = json!({ "value": text });
    dice.maybe(25, &mut body, "case_insensitive", |_| json!(true));
    if kind == "regexp" {
        dice.maybe(15, &mut body, "flags", |dice| {
            json!(dice.pick(&["ALL", "NONE", "INTERVAL", "COMPLEMENT|INTERVAL", "EMPTY"]))
        });
    } else if dice.percent(30) {
        return json!({ kind: { field: text } });
    }
    dice.maybe(5, &mut body, "rewrite", |dice| {
        json!(dice.pick(&["constant_score", "scoring_boolean", "top_terms_2"]))
    });
    json!({ kind: { field: body } })
}

fn fuzzy(dice: &mut Dice, knows: Knows) -> Value {
    let field = match knows.eight {
        true => field(dice, knows),
        false => whole_field(dice, knows),
    };
    let value = value_of(dice, knows, &field);
    let mut body = json!({ "value": value });
    dice.maybe(60, &mut body, "fuzziness", fuzziness);
    dice.maybe(20, &mut body, "prefix_length", |dice| json!(dice.below(3)));
    dice.maybe(10, &mut body, "transpositions", |_| json!(false));
    json!({ "fuzzy": { field: body } })
}
