//! Pushed bodies: what each fault is called, and what holds for all.
#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;
use serde_json::{Value, json as value};

use super::*;

const NOW: i64 = 1_516_792_420_000_000;
const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
const WINDOW: Window = Window {
    now_us: NOW,
    max_past_us: 30 * 86_400_000_000,
    max_future_us: Window::MAX_FUTURE_US,
};
const LIMITS: Limits = Limits {
    max_records: 3,
    max_message_bytes: 20,
};

fn good() -> Value {
    value!({"timestemp": NOW, "appid": APP, "type": "applog", "message": "m"})
}

fn read(body: &Value) -> Result<Vec<Record<'static>>, BodyError> {
    let body = body.to_string();
    json(body.as_bytes(), None, &WINDOW, &LIMITS)
        .map(|records| records.into_iter().map(owned).collect())
}

fn owned(record: Record<'_>) -> Record<'static> {
    Record {
        time_us: record.time_us,
        appid: record.appid,
        kind: Cow::Owned(record.kind.into_owned()),
        message: Cow::Owned(record.message.into_owned()),
        annotations: record.annotations.into_owned(),
    }
}

/// The record that differs from a good one in `field`, as the second of an
/// array: the error has the place, the field and the reason.
#[track_caller]
fn check(field: &str, with: Value, reason: &str) {
    let mut bad = good();
    bad[field] = with;
    let error = read(&value!([good(), bad])).unwrap_err();
    let BodyError::Record(error) = error else {
        panic!("{error}")
    };
    assert_eq!((error.record, &*error.field), (1, field), "{error}");
    assert!(error.reason.contains(reason), "{error}");
}

#[test]
fn an_error_names_the_record_the_field_and_what_was_expected() {
    check("timestemp", value!(NOW / 1_000_000), "looks like seconds");
    check("timestemp", value!(NOW / 1_000), "looks like milliseconds");
    check("timestemp", value!(NOW * 1_000), "looks like nanoseconds");
    check(
        "timestemp",
        value!(NOW + 601_000_000),
        "more than 600 s ahead",
    );
    check(
        "timestemp",
        value!(NOW - 2_592_001_000_000),
        "more than 2592000 s ago",
    );
    check("timestemp", value!(0), "ago");
    check("timestemp", value!(u64::MAX), "ahead");
    check("timestemp", value!(1.5), "whole number");
    check("timestemp", value!("1516792419231221"), "whole number");
    check("timestemp", Value::Null, "whole number");
    check("appid", value!("x"), "UUID");
    check("appid", value!(APP.replace('-', "")), "UUID");
    check("appid", value!(1), "a string");
    check("type", value!(""), "1 to 64");
    check("type", value!("a b"), "1 to 64");
    check("type", value!("a".repeat(65)), "1 to 64");
    check("message", value!(["x"]), "a string");
    check("annotations", value!({"a": 1}), "an array");
    check("annotations", value!([["a", 1]]), "an object");
    check("annotations", value!([{"key": "a"}]), "value");
    check(
        "annotations",
        value!([{"key": "a", "value": null}]),
        "a string, a number or a boolean",
    );
    check(
        "annotations",
        value!([{"key": "a", "value": {}}]),
        "a string, a number or a boolean",
    );
    check(
        "annotations",
        value!([{"key": "", "value": 1}]),
        "not empty",
    );
    check(
        "annotations",
        value!([{"key": "a\u{0}", "value": 1}]),
        "NUL",
    );
    check(
        "annotations",
        value!([{"key": "a", "value": 1, "more": 1}]),
        "unknown field",
    );
    check("more", value!(1), "unknown field");
}

#[test]
fn a_field_that_is_missing_is_named() {
    for field in ["timestemp", "appid", "type", "message"] {
        let mut bad = good();
        bad.as_object_mut().unwrap().remove(field);
        let error = read(&bad).unwrap_err().to_string();
        assert_eq!(error, format!("record 0: {field}: missing"));
    }
}

#[test]
fn a_field_given_twice_is_an_error() {
    let body = good().to_string().replace("{", "{\"message\":\"x\",");
    let error = json(body.as_bytes(), None, &WINDOW, &LIMITS).unwrap_err();
    assert_eq!(error.to_string(), "record 0: message: given twice");
}

#[test]
fn a_record_must_carry_the_appid_of_the_path() {
    let other = Uuid::nil();
    let body = good().to_string();
    let error = json(body.as_bytes(), Some(&other), &WINDOW, &LIMITS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record 0: appid: not the appid of the path"
    );
}

#[test]
fn both_spellings_of_the_time_at_once_are_an_error() {
    let mut both = good();
    both["timestamp"] = value!(NOW);
    let error = read(&both).unwrap_err().to_string();
    assert!(error.contains("the time is given twice"), "{error}");
}

#[test]
fn both_spellings_of_the_time_are_taken() {
    let mut record = good();
    let time = record.as_object_mut().unwrap().remove("timestemp").unwrap();
    record["timestamp"] = time;
    assert_eq!(read(&record).unwrap()[0].time_us, NOW);
}

#[test]
fn limits_are_not_faults_of_a_record() {
    let four = value!([good(), good(), good(), good()]);
    assert_eq!(read(&four), Err(BodyError::TooManyRecords { limit: 3 }));
    let lines = format!("{}\n", good()).repeat(4);
    assert_eq!(
        ndjson(lines.as_bytes(), None, &WINDOW, &LIMITS),
        Err(BodyError::TooManyRecords { limit: 3 })
    );
    let mut long = good();
    long["message"] = value!("m".repeat(21));
    let expected = BodyError::MessageTooLong {
        record: 0,
        bytes: 21,
        limit: 20,
    };
    assert_eq!(read(&long), Err(expected));
}

#[test]
fn what_is_no_record_is_refused() {
    for body in [
        "", "[]", "null", "1", "[1]", "[[]]", "{", "[{}", "{} {}", "\u{0}",
    ] {
        let error = json(body.as_bytes(), None, &WINDOW, &LIMITS);
        assert!(matches!(error, Err(BodyError::Record(_))), "{body}");
        let error = ndjson(body.as_bytes(), None, &WINDOW, &LIMITS);
        assert!(matches!(error, Err(BodyError::Record(_))), "{body}");
    }
}

#[test]
fn the_line_of_ndjson_that_is_malformed_is_named() {
    let body = format!("{}\n\r\n{}\n{{\n", good(), good());
    let error = ndjson(body.as_bytes(), None, &WINDOW, &LIMITS).unwrap_err();
    let BodyError::Record(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.record, 2);
}

fn annotation() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    ("[a-c]{1,2}", scalar).prop_map(|(key, scalar)| value!({"key": key, "value": scalar}))
}

fn record() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        NOW - 86_400_000_000..NOW + 600_000_000,
        any::<[u8; 16]>(),
        "[A-Za-z0-9_.-]{1,64}",
        "\\PC{0,5}",
        proptest::option::of(proptest::collection::vec(annotation(), 0..5)),
    )
        .prop_map(|(spelling, time, appid, kind, message, annotations)| {
            let spelling = if spelling { "timestemp" } else { "timestamp" };
            let mut record = value!({
                spelling: time, "appid": Uuid::from_bytes(appid), "type": kind, "message": message,
            });
            if let Some(annotations) = annotations {
                record["annotations"] = Value::Array(annotations);
            }
            record
        })
}

proptest! {
    #[test]
    fn an_array_one_record_and_lines_say_the_same(records in proptest::collection::vec(record(), 1..4)) {
        let array = read(&Value::Array(records.clone())).unwrap();
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let lines = ndjson(lines.as_bytes(), None, &WINDOW, &LIMITS).unwrap();
        prop_assert_eq!(&array, &lines);
        for (record, parsed) in records.iter().zip(&array) {
            prop_assert_eq!(&read(record).unwrap()[0], parsed);
            prop_assert_eq!(parsed.message.as_ref(), record["message"].as_str().unwrap());
            let given = record["annotations"].as_array().map_or(0, Vec::len);
            prop_assert_eq!(parsed.annotations.iter().count(), given);
        }
    }

    #[test]
    fn records_have_the_same_identity_exactly_when_they_are_the_same(a in record(), b in record(), which in 0_usize..6) {
        let mut mixed = a.clone();
        let field = ["timestemp", "timestamp", "appid", "type", "message", "annotations"][which];
        if let (Some(_), Some(from_b)) = (a.get(field), b.get(field)) {
            mixed[field] = from_b.clone();
        }
        let identity = |record: &Value| {
            let mut out = Vec::new();
            read(record).unwrap()[0].write_identity(&mut out);
            out
        };
        let same = read(&a).unwrap() == read(&mixed).unwrap();
        prop_assert_eq!(identity(&a) == identity(&mixed), same);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json(&bytes, None, &WINDOW, &LIMITS);
        let _ = ndjson(&bytes, None, &WINDOW, &LIMITS);
    }

    #[test]
    fn a_changed_body_is_read_or_refused(record in record(), place: proptest::sample::Index, byte: u8) {
        let mut body = Value::Array(vec![record]).to_string().into_bytes();
        let place = place.index(body.len());
        body[place] = byte;
        let _ = json(&body, None, &WINDOW, &LIMITS);
    }

    #[test]
    fn a_time_is_taken_exactly_inside_the_window(time: i64, near in NOW - 40 * 86_400_000_000..NOW + 1_200_000_000) {
        for time in [time, near] {
            let taken = NOW - WINDOW.max_past_us..=NOW + WINDOW.max_future_us;
            prop_assert_eq!(WINDOW.check(time).is_ok(), taken.contains(&time));
        }
    }

    #[test]
    fn a_key_that_can_be_stored_is_one_that_a_push_may_have(key in "[a\u{0}é]{0,300}") {
        if let Some(key) = storable_key(&key) {
            prop_assert_eq!(key_fault(&key), None);
        }
    }
}

#[test]
fn a_record_with_very_many_annotations_takes_no_more_time_than_its_size() {
    let pairs: Vec<Value> = (0..200_000)
        .map(|n| value!({"key": format!("k{n:06}"), "value": 1}))
        .collect();
    let mut record = good();
    record["annotations"] = pairs.into();
    let records = read(&value!([record])).unwrap();
    assert_eq!(records[0].annotations.iter().count(), 200_000);
    // Work that grows with the square of the input would not end here.
}

proptest! {
    #[test]
    fn annotations_made_at_once_are_those_made_one_by_one(keys in prop::collection::vec("[a-e]{1,2}", 0..100)) {
        let value = |n: usize| AnnotationValue::Number(n.into());
        let mut one_by_one = Annotations::new();
        for (n, key) in keys.iter().enumerate() {
            one_by_one.push(key.clone(), value(n));
        }
        let at_once = keys.iter().enumerate().map(|(n, key)| (Cow::Borrowed(key.as_str()), value(n)));
        prop_assert_eq!(at_once.collect::<Annotations<'_>>(), one_by_one);
    }
}
