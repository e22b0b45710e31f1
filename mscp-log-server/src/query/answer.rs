//! The store's answer to a restricted search, written again from what is known
//! to speak of the visible documents alone.
//!
//! Left out are counts of shards and what they failed at, sequence numbers,
//! and everything that no list here names. What the store returns of a document
//! is not read, so numbers in it keep their text.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Each).map(Members)
    }
}

const SHARDS: &str = r#"{"total":1,"successful":1,"skipped":0,"failed":0}"#;

/// An object with some of its members.
fn keep(
    text: &str,
    known: &[&str],
    rewrite: impl Fn(&str, &str) -> Option<Result<String, serde_json::Error>>,
) -> Result<String, serde_json::Error> {
    let Members(members) = serde_json::from_str(text)?;
    let mut kept = String::with_capacity(text.len());
    kept.push('{');
    for (name, value) in members {
        if !known.contains(&name.as_str()) {
            continue;
        }
        if kept.len() > 1 {
            kept.push(',');
        }
        kept.push('"');
        kept.push_str(&name);
        kept.push_str("\":");
        match rewrite(&name, value.get()) {
            Some(rewritten) => kept.push_str(&rewritten?),
            None => kept.push_str(value.get()),
        }
    }
    kept.push('}');
    Ok(kept)
}

/// The answer to `_search` and to `_count`.
pub(super) fn search(text: &str, _sent: &str) -> Result<String, serde_json::Error> {
    const KNOWN: [&str; 6] = [
        "took",
        "timed_out",
        "_shards",
        "hits",
        "aggregations",
        "count",
    ];
    keep(text, &KNOWN, |name, value| match name {
        "_shards" => Some(Ok(SHARDS.to_owned())),
        "hits" => Some(hits(value)),
        _ => None,
    })
}

fn hits(text: &str) -> Result<String, serde_json::Error> {
    keep(text, &["total", "max_score", "hits"], |name, value| {
        (name == "hits").then(|| each(value, hit))
    })
}

fn hit(text: &str) -> Result<String, serde_json::Error> {
    const KNOWN: [&str; 11] = [
        "_index",
        "_type",
        "_id",
        "_version",
        "_score",
        "_source",
        "fields",
        "highlight",
        "sort",
        "matched_queries",
        "_ignored",
    ];
    keep(text, &KNOWN, |_, _| None)
}

/// The answer to `_msearch` of the body `sent`.
pub(super) fn msearch(text: &str, sent: &str) -> Result<String, serde_json::Error> {
    keep(text, &["took", "responses"], |name, value| {
        (name == "responses").then(|| each(value, |text| response(text, sent)))
    })
}

/// One answer of `_msearch`.
fn response(text: &str, sent: &str) -> Result<String, serde_json::Error> {
    let Members(members) = serde_json::from_str(text)?;
    let status = members
        .iter()
        .find(|(name, _)| name == "status")
        .and_then(|(_, status)| status.get().parse().ok());
    if members.iter().any(|(name, _)| name == "error") {
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        return Ok(error(
            text,
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            sent,
        ));
    }
    let mut answer = search(text, sent)?;
    if let Some(status) = status {
        answer.pop();
        answer.push_str(if answer.len() > 1 { "," } else { "" });
        answer.push_str(&format!("\"status\":{status}}}"));
    }
    Ok(answer)
}

fn each(
    text: &str,
    one: impl Fn(&str) -> Result<String, serde_json::Error>,
) -> Result<String, serde_json::Error> {
    let values: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut list = String::with_capacity(text.len());
    list.push('[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            list.push(',');
        }
        list.push_str(&one(value.get())?);
    }
    list.push(']');
    Ok(list)
}

/// An error of the store: its type, and its reason where the fault is the
/// search's own (400) and names nothing that the search does not. Nothing of
/// indices, shards and nodes.
pub(super) fn error(text: &str, status: StatusCode, sent: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let error = &body["error"];
    let cause = if error["root_cause"][0].is_object() {
        &error["root_cause"][0]
    } else {
        error
    };
    let kind = cause["type"].as_str().unwrap_or("exception");
    let reason = match cause["reason"].as_str() {
        Some(reason) if status == StatusCode::BAD_REQUEST && !names_more(reason, sent) => reason,
        _ => "the store could not answer the search",
    };
    let shown = serde_json::json!({"type": kind, "reason": reason});
    serde_json::json!({
        "error": {"root_cause": [shown], "type": kind, "reason": reason},
        "status": status.as_u16(),
    })
    .to_string()
}

/// Whether a reason puts in brackets what may be an index's name and is none of
/// the search's own words: some speak of the index in which a field could not
/// be used (`Fielddata is disabled on [message] in [logstash-...]`).
fn names_more(reason: &str, sent: &str) -> bool {
    const TYPES: [&str; 6] = [
        "text",
        "keyword",
        "long",
        "date",
        "flattened",
        "flat_object",
    ];
    let of_a_name = |c: char| !c.is_ascii_uppercase() && !" \\/*?\"<>|,#".contains(c);
    let is_setting = |name: &str| {
        let groups = ["index.", "indices.", "search."];
        groups.iter().any(|group| name.starts_with(group)) && !name.contains('-')
    };
    reason
        .split('[')
        .skip(1)
        .map(|behind| behind.split(']').next().unwrap_or_default())
        .any(|name| {
            !(name.is_empty()
                || !name.chars().all(of_a_name)
                || name.bytes().all(|byte| byte.is_ascii_digit())
                || TYPES.contains(&name)
                || is_setting(name)
                // Ours have a minus: whoever guesses one shall not see it confirmed.
                || (!name.contains('-') && sent.contains(name)))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_what_speaks_of_the_hits_is_kept() {
        let answer = r#"{"took":3,"timed_out":false,"num_reduce_phases":2,"_shards":{"total":9,"failures":[{"index":"secret"}]},
            "_clusters":{},"hits":{"total":{"value":1},"max_score":null,"hits":[{"_index":"a","_id":"1","_score":null,"_seq_no":77,
            "_primary_term":1,"_shard":"[secret][0]","_node":"n","_explanation":{},"_source":{"n":1.10,"b":"c"},"sort":[1]}]},
            "aggregations":{"x":{"value":1e0}},"profile":{},"suggest":{},"terminated_early":true}"#;
        let expected = r#"{"took":3,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{"total":{"value":1},"max_score":null,"hits":[{"_index":"a","_id":"1","_score":null,"_source":{"n":1.10,"b":"c"},"sort":[1]}]},"aggregations":{"x":{"value":1e0}}}"#;
        assert_eq!(search(answer, "").unwrap(), expected);
        assert_eq!(
            msearch(&format!(r#"{{"took":1,"responses":[{answer},{{"error":{{"type":"t","reason":"[secret]"}},"status":500}}]}}"#), "").unwrap(),
            format!(
                r#"{{"took":1,"responses":[{expected},{{"error":{{"reason":"the store could not answer the search","root_cause":[{{"reason":"the store could not answer the search","type":"t"}}],"type":"t"}},"status":500}}]}}"#
            )
        );
    }

    #[test]
    fn errors_name_no_index() {
        let text = r#"{"error":{"root_cause":[{"type":"parsing_exception","reason":"unknown query [x]","index":"secret"}],
            "type":"search_phase_execution_exception","failed_shards":[{"index":"secret"}]},"status":400}"#;
        let sent = r#"{"query":{"x":{}}}"#;
        assert!(!error(text, StatusCode::BAD_REQUEST, sent).contains("secret"));
        assert!(error(text, StatusCode::BAD_REQUEST, sent).contains("unknown query [x]"));
        assert!(
            !error(
                r#"{"error":"no such index [secret]"}"#,
                StatusCode::NOT_FOUND,
                ""
            )
            .contains("secret")
        );
    }

    #[test]
    fn a_reason_names_only_what_the_search_names() {
        let sent = r#"{"query":{},"sort":[{"message":{"order":"asc"}}]}"#;
        let shown = |reason: &str| {
            let cause = serde_json::json!({"type": "illegal_argument_exception", "reason": reason});
            let body = serde_json::json!({"error": {"root_cause": [cause]}, "status": 400});
            error(&body.to_string(), StatusCode::BAD_REQUEST, sent).contains(reason)
        };
        assert!(!shown(
            "Fielddata is disabled on [message] in [logstash-filebeat-vault-2026.01.01]. Please use a keyword field instead."
        ));
        assert!(!shown(
            "Field [message] of type [text] is unknown to [payments]"
        ));
        assert!(shown(
            "Field [message] of type [text] is not supported for aggregation [AVG]"
        ));
        assert!(shown(
            "Result window is too large, from + size must be less than or equal to: [10000] but was [10001], see [index.max_result_window]"
        ));
    }
}
