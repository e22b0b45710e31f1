//! Whether two stores gave the same answer, and if not, where they part.
//!
//! Not compared: `took`, `_shards`, `_ignored` and its values, scores (they depend on how documents lie
//! in shards and segments), the reason of an error, and the order of hits that
//! no sort key tells apart. Of errors the status and the types are compared.
//! Numbers of aggregations may differ by [`TOLERANCE`]: sums of floating
//! numbers depend on the order of the documents.

use std::collections::BTreeSet;

use serde_json::Value;

use super::side::Answer;

/// By how much of itself a number of an aggregation may differ.
const TOLERANCE: f64 = 1e-9;

/// As [`TOLERANCE`], of variances and deviations.
const SPREAD_TOLERANCE: f64 = 1e-5;

/// Where two answers part.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The path of the value, and what is wrong with it.
    pub place: String,
    /// Of the embedded store.
    pub embedded: Value,
    /// Of the engine.
    pub engine: Value,
    /// How much it weighs.
    pub weight: Weight,
}

/// How much a difference weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The answers are not the same.
    Wrong,
    /// The embedded store says that it does not have what is asked for.
    Unsupported,
    /// Both refuse, with the same status: only the types of the error differ.
    InNameOnly,
    /// The embedded store refuses or names a clause that the engine would, too,
    /// where it builds it: but it builds none that it knows to be needless.
    Needless,
}

impl Difference {
    /// Two values that should be the same.
    #[must_use]
    pub fn new(place: String, embedded: &Value, engine: &Value) -> Self {
        Self {
            place,
            embedded: embedded.clone(),
            engine: engine.clone(),
            weight: Weight::Wrong,
        }
    }

    /// What is the same for all differences of one cause, as far as can be
    /// told: the place without its numbers and what is quoted or in brackets.
    #[must_use]
    pub fn class(&self) -> String {
        let mut class = String::new();
        let (mut depth, mut quoted) = (0_u32, false);
        for character in self.place.chars() {
            match character {
                '"' => quoted = !quoted,
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ if depth > 0 || quoted || character.is_ascii_digit() => {}
                _ => class.push(character),
            }
        }
        class
    }
}

/// Where the answers to one request part; `None` where they are the same.
#[must_use]
pub fn answers(embedded: &Answer, engine: &Answer) -> Option<Difference> {
    if is_partial(&engine.body) || is_unasked(&engine.body) {
        return None;
    }
    let found_nothing = engine
        .body
        .pointer("/hits/total/value")
        .or(engine.body.get("count"))
        == Some(&Value::from(0));
    if found_nothing && types(&embedded.body).0 == "search_phase_execution_exception" {
        return None;
    }
    if embedded.status != engine.status || embedded.status >= 300 {
        return errors("", embedded, engine);
    }
    values("", &embedded.body, &engine.body)
}

/// Some shards failed and others answered: the embedded store is one shard.
fn is_partial(body: &Value) -> bool {
    let one = |body: &Value| {
        body["_shards"]["failed"]
            .as_u64()
            .is_some_and(|failed| failed > 0)
    };
    one(body)
        || body["responses"]
            .as_array()
            .is_some_and(|all| all.iter().any(one))
}

/// No index was asked, or those that were need not be looked at, as their
/// numbers are all outside of a range: such an engine looks at no query and
/// makes no aggregation. The embedded store looks at all of it: whether there
/// is an index must not show under a restriction.
fn is_unasked(body: &Value) -> bool {
    let shards = &body["_shards"];
    shards["total"] == 0
        || shards["total"].is_number() && shards["skipped"] == shards["total"]
        || body["responses"]
            .as_array()
            .is_some_and(|all| all.iter().any(is_unasked))
}

/// The type of an error and of its first cause.
fn types(body: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let error = &body["error"];
    (text(&error["type"]), text(&error["root_cause"][0]["type"]))
}

fn errors(path: &str, embedded: &Answer, engine: &Answer) -> Option<Difference> {
    let (left, right) = (types(&embedded.body), types(&engine.body));
    if embedded.status == engine.status && left == right {
        return None;
    }
    let reason = |body: &Value| {
        let error = &body["error"];
        let first = &error["root_cause"][0]["reason"];
        first
            .as_str()
            .or(error["reason"].as_str())
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    Some(Difference {
        place: format!(
            "{path} status {} {} {}, {} {} {}: {}",
            word(embedded.status),
            left.0,
            left.1,
            word(engine.status),
            right.0,
            right.1,
            if engine.status >= 300 {
                reason(&engine.body)
            } else {
                reason(&embedded.body)
            },
        ),
        embedded: brief(&embedded.body),
        engine: brief(&engine.body),
        weight: match () {
            // Older engines have faults of their own where a body is wrong.
            () if embedded.status == engine.status
                || (embedded.status == 400 && engine.status >= 500) =>
            {
                Weight::InNameOnly
            }
            () if embedded.status == 400 && reason(&embedded.body).contains("not supported") => {
                Weight::Unsupported
            }
            () => Weight::Wrong,
        },
    })
}

/// Whether it is that the embedded store refuses what shards look at, and the
/// engine answers.
#[must_use]
pub fn refused_a_clause(found: &Difference) -> bool {
    types(&found.embedded).0 == "search_phase_execution_exception"
        && found.engine.get("error").is_none()
}

/// A status without digits, which a class leaves out.
fn word(status: u16) -> &'static str {
    match status {
        0..300 => "good",
        400 => "bad",
        404 => "missing",
        429 => "many",
        500.. => "fault",
        _ => "other",
    }
}

/// An error without what is said twice.
fn brief(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("failed_shards");
        error.remove("caused_by");
    }
    body
}

const NOT_COMPARED: &[&str] = &[
    "took",
    "_shards",
    "max_score",
    "_score",
    "_type",
    "num_reduce_phases",
    "_seq_no",
    "_primary_term",
    "_ignored",
    "ignored_field_values",
];

fn values(path: &str, embedded: &Value, engine: &Value) -> Option<Difference> {
    let part = |place: String| Some(Difference::new(place, embedded, engine));
    match (embedded, engine) {
        (Value::Object(left), Value::Object(right)) => {
            if left.contains_key("error") || right.contains_key("error") {
                let status = |body: &Value| {
                    u16::try_from(body["status"].as_u64().unwrap_or(200)).unwrap_or(200)
                };
                let answer = |body: &Value| Answer {
                    status: status(body),
                    body: body.clone(),
                };
                return errors(path, &answer(embedded), &answer(engine));
            }
            let total = embedded
                .get("total")
                .filter(|total| total["relation"] == "eq");
            let complete = total.and_then(|total| total["value"].as_u64());
            for (name, value) in left {
                let below = format!("{path}/{name}");
                if NOT_COMPARED.contains(&name.as_str()) || is_a_written_spread(name) {
                    continue;
                }
                if name == "matched_queries" {
                    // In the order of a hash.
                    let set = |names: &Value| -> BTreeSet<String> {
                        let names = names.as_array().into_iter().flatten();
                        names.map(Value::to_string).collect()
                    };
                    let (all, some) = (set(value), set(right.get(name).unwrap_or(&Value::Null)));
                    if some == all {
                        continue;
                    }
                    if some.is_subset(&all) {
                        let mut found = Difference::new(below, value, &Value::Null);
                        found.weight = Weight::Needless;
                        return Some(found);
                    }
                }
                let Some(other) = right.get(name) else {
                    let place = format!("{below} only embedded");
                    return Some(Difference::new(place, value, &Value::Null));
                };
                let found = match (name.as_str(), value, other) {
                    ("hits", Value::Array(left), Value::Array(right)) => {
                        hits(&below, left, right, complete)
                    }
                    _ => values(&below, value, other),
                };
                if found.is_some() {
                    return found;
                }
            }
            let more = right.iter().find(|(name, value)| {
                !left.contains_key(*name)
                    && !NOT_COMPARED.contains(&name.as_str())
                    && !says_nothing(name, value)
            });
            more.map(|(name, value)| {
                let place = format!("{path}/{name} only engine");
                Difference::new(place, &Value::Null, value)
            })
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                return part(format!("{path} length"));
            }
            left.iter()
                .zip(right)
                .enumerate()
                .find_map(|(place, (left, right))| values(&format!("{path}/{place}"), left, right))
        }
        (Value::Number(left), Value::Number(right)) => {
            if left == right {
                return None;
            }
            let (left, right) = (left.as_f64()?, right.as_f64()?);
            let allowed = if path.contains("/std_deviation") || path.contains("/variance") {
                // The difference of two numbers that are far greater.
                SPREAD_TOLERANCE * left.abs().max(right.abs())
            } else if path.contains("/aggregations") {
                TOLERANCE * left.abs().max(right.abs())
            } else {
                0.0
            };
            if (left - right).abs() <= allowed {
                None
            } else {
                part(path.to_owned())
            }
        }
        _ if embedded == engine => None,
        _ => part(path.to_owned()),
    }
}

/// A variance or a deviation as a date, where a tolerance has no meaning.
fn is_a_written_spread(name: &str) -> bool {
    name.contains("_as_string") && (name.contains("deviation") || name.contains("variance"))
}

/// What some versions say of their own accord: that nothing was cut short where
/// nothing could be, and that an aggregation of filters has no `meta`.
fn says_nothing(name: &str, value: &Value) -> bool {
    match name {
        "terminated_early" => *value == Value::Bool(false),
        "meta" => value.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Hits in order; those of equal sort values in any. Where the page does not
/// have all of them, which of its first and last equal ones are on it may
/// differ, too.
fn hits(
    path: &str,
    embedded: &[Value],
    engine: &[Value],
    total: Option<u64>,
) -> Option<Difference> {
    let ids = |hits: &[Value]| {
        hits.iter()
            .map(|hit| serde_json::json!([hit["_id"], hit["sort"]]))
            .collect::<Value>()
    };
    if embedded.len() != engine.len() {
        return Some(Difference::new(
            format!("{path} length"),
            &ids(embedded),
            &ids(engine),
        ));
    }
    let complete = total == u64::try_from(embedded.len()).ok();
    let mut start = 0;
    while start < embedded.len() {
        let same = |hits: &[Value]| {
            hits[start..]
                .iter()
                .take_while(|hit| hit["sort"] == hits[start]["sort"])
                .count()
        };
        let length = same(embedded);
        let end = start + length;
        if embedded[start]["sort"] != engine[start]["sort"] || length != same(engine) {
            return Some(Difference::new(
                format!("{path} order"),
                &ids(embedded),
                &ids(engine),
            ));
        }
        let cut = !complete && (start == 0 || end == embedded.len()) && length > 1
            || !complete && embedded[start].get("sort").is_none()
            // One hit at an edge may be one of several that are the same.
            || !complete && (start == 0 || end == embedded.len()) && embedded[start]["_id"] != engine[start]["_id"];
        if !cut {
            let ordered = |hits: &[Value]| {
                let mut group: Vec<Value> = hits[start..end].to_vec();
                group.sort_by_key(|hit| (hit["_index"].to_string(), hit["_id"].to_string()));
                group
            };
            let (left, right) = (ordered(embedded), ordered(engine));
            for (place, (left, right)) in (start..).zip(left.iter().zip(&right)) {
                if let Some(found) = values(&format!("{path}/{place}"), left, right) {
                    return Some(found);
                }
            }
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(left: &Value, right: &Value, expected: Option<&str>) {
        let found = values("", left, right);
        assert_eq!(found.map(|found| found.place).as_deref(), expected);
    }

    #[test]
    fn hits_of_equal_sort_values_are_compared_in_any_order() {
        let hit = |id: &str, sort: i64| json!({ "_id": id, "sort": [sort] });
        let page = |hits: Vec<Value>, total: u64| {
            let total = json!({ "value": total, "relation": "eq" });
            json!({ "hits": { "total": total, "hits": hits } })
        };
        let left = page(vec![hit("a", 1), hit("b", 1), hit("c", 2)], 3);
        check(
            &left,
            &page(vec![hit("b", 1), hit("a", 1), hit("c", 2)], 3),
            None,
        );
        check(
            &left,
            &page(vec![hit("b", 1), hit("d", 1), hit("c", 2)], 3),
            Some("/hits/hits/0/_id"),
        );
        check(
            &left,
            &page(vec![hit("b", 1), hit("c", 1), hit("a", 2)], 3),
            Some("/hits/hits/0/_id"),
        );
        // Which of those that are the same a page ends with is not said.
        check(
            &page(vec![hit("a", 1), hit("b", 2)], 9),
            &page(vec![hit("a", 1), hit("c", 2)], 9),
            None,
        );
    }

    #[test]
    fn a_member_that_only_one_side_has_is_a_difference() {
        check(
            &json!({ "a": 1, "took": 5 }),
            &json!({ "a": 1.0, "took": 7 }),
            None,
        );
        check(
            &json!({ "a": 1 }),
            &json!({ "a": 1, "b": 2 }),
            Some("/b only engine"),
        );
        check(&json!({ "a": 1 }), &json!({}), Some("/a only embedded"));
        check(&json!([1]), &json!([1, 2]), Some(" length"));
    }
}
