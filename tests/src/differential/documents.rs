//! Log documents as they come and as they should not come: several values,
//! other spellings of numbers and dates, fields left out, and a few that a
//! store must refuse.

use serde_json::{Map, Value, json};

use mscp_log_core::record::time::write_rfc3339;

use super::dice::{DAYS, Dice, KEYS};

/// A document, where it goes and its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The index.
    pub index: String,
    /// The id, which is its `event_id`, too.
    pub id: String,
    /// What is sent.
    pub source: Value,
}

/// `count` documents over a few indices of one `round`, so that no two rounds
/// share an index.
#[must_use]
pub fn corpus(dice: &mut Dice, round: &str, count: usize) -> Vec<Document> {
    let days = 1 + dice.below(DAYS.len());
    (0..count)
        .map(|place| document(dice, round, place, days))
        .collect()
}

/// The greatest number that is kept as it is, also as a floating one.
const GREATEST: i64 = 1 << 53;

/// Leaves each document one number of a kind, and none beyond those that add up
/// in any order: before version 8 an engine counts the same number twice, and
/// sums shard by shard what no sum can hold.
pub fn with_plain_numbers(documents: &mut [Document]) {
    fn plain(value: &mut Value) {
        match value {
            Value::Array(values) => {
                let mut first = values.first().cloned().unwrap_or_default();
                plain(&mut first);
                *value = first;
            }
            Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    *value = json!(number.clamp(-GREATEST, GREATEST));
                }
            }
            _ => {}
        }
    }
    for document in documents {
        for name in ["seq", "log.offset", "@timestamp"] {
            if let Some(value) = document.source.get_mut(name) {
                plain(value);
            }
        }
        if let Some(offset) = document.source.pointer_mut("/log/offset") {
            plain(offset);
        }
        if let Some(offset) = document.source.pointer_mut("/log/0/offset") {
            plain(offset);
        }
    }
}

fn document(dice: &mut Dice, round: &str, place: usize, days: usize) -> Document {
    let id = format!("{:016x}{place:016x}", dice.between(0, i64::MAX));
    let base = format!("logstash-{round}");
    let index = format!("{base}-{}", DAYS[dice.below(days)]);
    let mut source = json!({ "event_id": id, "index": base });
    let us = dice.time_us();
    dice.maybe(97, &mut source, "@timestamp", |dice| time(dice, us));
    dice.maybe(95, &mut source, "realtime_us", |_| json!(us));
    dice.maybe(90, &mut source, "message", |dice| {
        several(dice, 3, |dice| Value::from(dice.text()))
    });
    dice.maybe(60, &mut source, "seq", |dice| {
        several(dice, 5, written_number)
    });
    for field in ["namespace", "pod", "level", "type", "zone", "appid"] {
        dice.maybe(65, &mut source, field, |dice| several(dice, 8, keyword));
    }
    dice.maybe(30, &mut source, "tags", |dice| {
        Value::from(dice.some(0, 4, Dice::name))
    });
    dice.maybe(20, &mut source, "source_time", |dice| {
        let us = dice.time_us();
        time(dice, us)
    });
    dice.maybe(30, &mut source, "annotation", |dice| {
        Value::from(dice.some(1, 3, Dice::name))
    });
    dice.maybe(40, &mut source, "annotations", annotations);
    match dice.below(6) {
        0 => source["log"] = json!({ "offset": dice.number(), "file": { "path": dice.name() } }),
        1 => source["log.offset"] = dice.number(),
        2 => source["log"] = json!([{ "offset": dice.number() }, { "dir": dice.name() }]),
        _ => {}
    }
    dice.maybe(
        3,
        &mut source,
        "unknown",
        |dice| json!({ "deep": [dice.name(), { "er": dice.number() }] }),
    );
    if dice.percent(2) {
        spoil(dice, &mut source);
    }
    Document { index, id, source }
}

/// One value, or in so many of a hundred cases an array, an empty one or `null`.
fn several(dice: &mut Dice, share: u32, mut make: impl FnMut(&mut Dice) -> Value) -> Value {
    if !dice.percent(share) {
        return make(dice);
    }
    match dice.below(4) {
        0 => Value::Null,
        1 => json!([]),
        _ => Value::from(dice.some(2, 3, make)),
    }
}

fn keyword(dice: &mut Dice) -> Value {
    match dice.below(30) {
        0 => json!(dice.between(0, 20)),
        1 => json!(true),
        2 => json!(1.5),
        _ => json!(dice.name()),
    }
}

fn written_number(dice: &mut Dice) -> Value {
    match dice.below(20) {
        0 => json!("12"),
        1 => json!("3.7"),
        2 => json!(-2.9),
        3 => json!(4.0),
        _ => dice.number(),
    }
}

fn time(dice: &mut Dice, us: i64) -> Value {
    let mut text = Vec::new();
    write_rfc3339(us, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    match dice.below(20) {
        0 => json!(us / 1_000),
        1 => json!((us / 1_000).to_string()),
        2 => json!(text[..10]),
        3 => json!(format!("{}+02:00", &text[..19])),
        4 => json!([text, "2026-03-29T01:30:00.000Z"]),
        5 => json!(format!("{}Z", &text[..16])),
        6 => json!(format!("{}123Z", text.trim_end_matches('Z'))),
        _ => json!(text),
    }
}

fn annotations(dice: &mut Dice) -> Value {
    let mut object = Map::new();
    for _ in 0..=dice.below(3) {
        let value = match dice.below(8) {
            0 => json!(dice.between(0, 12)),
            1 => json!(true),
            2 => json!(dice.some(0, 3, Dice::name)),
            3 => json!({ "deep": dice.name() }),
            4 => json!(2.50),
            _ => json!(dice.name()),
        };
        object.insert(dice.pick(KEYS).to_owned(), value);
    }
    Value::Object(object)
}

/// Makes a document wrong: most of these must be refused.
fn spoil(dice: &mut Dice, source: &mut Value) {
    let (field, value) = match dice.below(12) {
        0 => ("seq", json!("many")),
        1 => ("seq", json!(true)),
        2 => ("seq", json!(1e30)),
        3 => ("seq", json!({ "a": 1 })),
        4 => ("@timestamp", json!("yesterday")),
        5 => ("@timestamp", json!("2026-02-30T00:00:00Z")),
        6 => ("@timestamp", json!(1.5)),
        7 => ("namespace", json!({ "a": "b" })),
        8 => ("message", json!({ "a": "b" })),
        9 => ("log", json!("text")),
        10 => ("annotations", json!("text")),
        _ => ("seq", json!("")),
    };
    source[field] = value;
}
