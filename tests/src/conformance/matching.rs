//! Whether an answer has what a scenario expects of it.

use serde_json::{Map, Value};

/// What of `actual` is not as `expected`, one line each; empty when all is.
///
/// Objects may have more keys than expected, lists not. Numbers are equal as
/// numbers. An object with one of the keys `is`, `near`, `contains` and
/// `length` is a rule for the value in its place. A key that begins with `/` is
/// a JSON pointer.
pub(super) fn differences(expected: &Value, actual: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    compare(expected, actual, "", &mut found);
    found
}

fn compare(expected: &Value, actual: Option<&Value>, place: &str, found: &mut Vec<String>) {
    if let Some(rule) = rule(expected) {
        if !keeps(rule, actual) {
            found.push(format!(
                "{place}: expected {expected}, found {}",
                shown(actual)
            ));
        }
        return;
    }
    match (expected, actual) {
        (Value::Object(wanted), Some(Value::Object(_))) => {
            for (key, value) in wanted {
                let pointer = if key.starts_with('/') {
                    key.clone()
                } else {
                    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
                };
                let place = format!("{place}{pointer}");
                compare(
                    value,
                    actual.and_then(|tree| tree.pointer(&pointer)),
                    &place,
                    found,
                );
            }
        }
        (Value::Array(wanted), Some(Value::Array(list))) => {
            if wanted.len() != list.len() {
                found.push(format!(
                    "{place}: expected {} elements, found {}: {}",
                    wanted.len(),
                    list.len(),
                    shown(actual)
                ));
                return;
            }
            for (index, (wanted, value)) in wanted.iter().zip(list).enumerate() {
                compare(wanted, Some(value), &format!("{place}/{index}"), found);
            }
        }
        (wanted, Some(value)) if same(wanted, value) => {}
        _ => found.push(format!(
            "{place}: expected {expected}, found {}",
            shown(actual)
        )),
    }
}

/// The rule that stands in place of a value.
fn rule(expected: &Value) -> Option<(&str, &Value)> {
    let (key, value) = single(expected.as_object()?)?;
    matches!(key, "is" | "near" | "contains" | "length").then_some((key, value))
}

fn single(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key, value))
}

fn keeps((rule, wanted): (&str, &Value), actual: Option<&Value>) -> bool {
    match (rule, actual) {
        ("is", None) => wanted == "absent",
        ("is", Some(value)) => match wanted.as_str().unwrap_or_default() {
            "present" => true,
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "list" => value.is_array(),
            "empty" => value.as_object().is_some_and(Map::is_empty),
            _ => false,
        },
        ("near", Some(value)) => match (wanted.as_f64(), value.as_f64()) {
            (Some(wanted), Some(value)) => {
                (wanted - value).abs() <= 1e-6 * wanted.abs().max(value.abs())
            }
            _ => false,
        },
        ("contains", Some(Value::String(text))) => {
            wanted.as_str().is_some_and(|part| text.contains(part))
        }
        ("contains", Some(Value::Array(list))) => list
            .iter()
            .any(|value| differences(wanted, Some(value)).is_empty()),
        ("length", Some(value)) => {
            let length = match value {
                Value::Array(list) => list.len(),
                Value::Object(object) => object.len(),
                Value::String(text) => text.chars().count(),
                _ => return false,
            };
            wanted.as_u64() == u64::try_from(length).ok()
        }
        _ => false,
    }
}

fn same(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => a.as_f64() == b.as_f64(),
        },
        _ => wanted == value,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(expected: &Value, actual: &Value, differing: &[&str]) {
        let found = differences(expected, Some(actual));
        let places: Vec<_> = found
            .iter()
            .map(|line| line.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(places, differing, "{found:?}");
    }

    #[test]
    fn objects_may_have_more_and_lists_may_not() {
        check(&json!({"a": 1}), &json!({"a": 1.0, "b": 2}), &[]);
        check(&json!({"a": [1]}), &json!({"a": [1, 2]}), &["/a"]);
        check(
            &json!({"a": [1, {"b": 2}]}),
            &json!({"a": [1, {"b": 3}]}),
            &["/a/1/b"],
        );
        check(
            &json!({"/a/0/b": 2}),
            &json!({"a": [{"b": 2, "c": 3}]}),
            &[],
        );
        check(&json!({"a": null}), &json!({}), &["/a"]);
    }

    #[test]
    fn a_rule_stands_in_place_of_a_value() {
        let actual = json!({"text": "one two", "number": 0.1, "list": [{"a": 1}, 2]});
        check(
            &json!({"gone": {"is": "absent"}, "text": {"is": "string"}}),
            &actual,
            &[],
        );
        check(
            &json!({"text": {"contains": "two"}, "list": {"contains": {"a": 1}}}),
            &actual,
            &[],
        );
        check(
            &json!({"number": {"near": 0.1000001}, "list": {"length": 2}}),
            &actual,
            &["/number"][..0],
        );
        check(
            &json!({"text": {"is": "absent"}, "number": {"near": 0.2}}),
            &actual,
            &["/number", "/text"],
        );
    }
}
