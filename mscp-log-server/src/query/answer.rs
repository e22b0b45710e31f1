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

use super::seal::Kind;

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

/// What one answer is written again with.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Keys of the sort that was sent. A store may add its own, by which one
    /// could tell where documents lie.
    pub(super) keys: usize,
    /// The indices that were named.
    pub(super) indices: Vec<String>,
}

/// Writes an id of the store again, as the client gets it.
pub(super) type SealId<'a> = &'a (dyn Fn(Kind, &str, &Shown) -> Option<String> + Sync);

/// Why an answer cannot be shown.
#[derive(Debug)]
pub(super) enum NotShown {
    /// It is not in the form of an answer.
    Form,
    /// The store answered for a part only. Which part that is depends on all
    /// documents.
    Partial,
}

impl From<serde_json::Error> for NotShown {
    fn from(_: serde_json::Error) -> Self {
        Self::Form
    }
}

type Written = Result<String, NotShown>;

/// An object with some of its members.
fn keep(text: &str, known: &[&str], rewrite: impl Fn(&str, &str) -> Option<Written>) -> Written {
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

/// The answer to `_search` and to `_count`, and the page of a scroll.
pub(super) fn search(text: &str, shown: &Shown, seal: SealId<'_>) -> Written {
    const KNOWN: [&str; 8] = [
        "_scroll_id",
        "pit_id",
        "took",
        "timed_out",
        "_shards",
        "hits",
        "aggregations",
        "count",
    ];
    keep(text, &KNOWN, |name, value| match name {
        "_scroll_id" => Some(sealed(value, |id| seal(Kind::Scroll, id, shown))),
        "pit_id" => Some(sealed(value, |id| seal(Kind::PointInTime, id, shown))),
        "timed_out" if value == "true" => Some(Err(NotShown::Partial)),
        "_shards" => Some(whole(value).map(|()| SHARDS.to_owned())),
        "hits" => Some(hits(value, shown.keys)),
        _ => None,
    })
}

/// Whether no shard failed.
fn whole(shards: &str) -> Result<(), NotShown> {
    #[derive(Deserialize)]
    struct Shards {
        #[serde(default)]
        failed: u64,
    }
    let shards: Shards = serde_json::from_str(shards)?;
    if shards.failed == 0 {
        Ok(())
    } else {
        Err(NotShown::Partial)
    }
}

fn sealed(value: &str, seal: impl Fn(&str) -> Option<String>) -> Written {
    let id: String = serde_json::from_str(value)?;
    let sealed = seal(&id).ok_or(NotShown::Form)?;
    Ok(serde_json::Value::from(sealed).to_string())
}

/// A whole answer in which only this one id is written again.
pub(super) fn with_id(
    text: &str,
    member: &str,
    seal: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let mut written = Vec::with_capacity(members.len());
    for (name, value) in members {
        let value = if name == member {
            sealed(value.get(), seal).ok()?
        } else {
            value.get().to_owned()
        };
        written.push(format!("{}:{value}", serde_json::Value::from(name)));
    }
    Some(format!("{{{}}}", written.join(",")))
}

fn hits(text: &str, keys: usize) -> Written {
    keep(
        text,
        &["total", "max_score", "hits"],
        |name, value| match name {
            // Every search is sorted; of no documents some stores say 0.
            "max_score" => Some(Ok("null".to_owned())),
            "hits" => Some(each(value, |_, text| hit(text, keys))),
            _ => None,
        },
    )
}

fn hit(text: &str, keys: usize) -> Written {
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
    keep(text, &KNOWN, |name, value| match name {
        "sort" => Some(sort_values(value, keys)),
        _ => None,
    })
}

fn sort_values(text: &str, keys: usize) -> Written {
    let values: Vec<&RawValue> = serde_json::from_str(text)?;
    let own: Vec<&str> = values.iter().take(keys).map(|value| value.get()).collect();
    Ok(format!("[{}]", own.join(",")))
}

/// The answer to `_msearch` of the body `sent`.
pub(super) fn msearch(text: &str, sent: &str, shown: &[Shown], seal: SealId<'_>) -> Written {
    keep(text, &["took", "responses"], |name, value| {
        (name == "responses").then(|| {
            each(value, |place, text| {
                let shown = shown.get(place).ok_or(NotShown::Form)?;
                response(text, sent, shown, seal)
            })
        })
    })
}

/// One answer of `_msearch`.
fn response(text: &str, sent: &str, shown: &Shown, seal: SealId<'_>) -> Written {
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
    let mut answer = match search(text, shown, seal) {
        Err(NotShown::Partial) => return Ok(partial()),
        answer => answer?,
    };
    if let Some(status) = status {
        answer.pop();
        answer.push_str(if answer.len() > 1 { "," } else { "" });
        answer.push_str(&format!("\"status\":{status}}}"));
    }
    Ok(answer)
}

/// The error in place of half an answer.
pub(super) fn partial() -> String {
    error("", StatusCode::SERVICE_UNAVAILABLE, "")
}

fn each(text: &str, one: impl Fn(usize, &str) -> Written) -> Written {
    let values: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut list = String::with_capacity(text.len());
    list.push('[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            list.push(',');
        }
        list.push_str(&one(place, value.get())?);
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
        let answer = r#"{"_scroll_id":"raw","pit_id":"raw","took":3,"timed_out":false,"num_reduce_phases":2,"_shards":{"total":9,"skipped":4},
            "_clusters":{},"hits":{"total":{"value":1},"max_score":0.0,"hits":[{"_index":"a","_id":"1","_score":null,"_seq_no":77,
            "_primary_term":1,"_shard":"[secret][0]","_node":"n","_explanation":{},"_source":{"n":1.10,"b":"c"},"sort":[1,4294967296]}]},
            "aggregations":{"x":{"value":1e0}},"profile":{},"suggest":{},"terminated_early":true}"#;
        let expected = r#"{"_scroll_id":"Scroll-raw-1","pit_id":"PointInTime-raw-1","took":3,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{"total":{"value":1},"max_score":null,"hits":[{"_index":"a","_id":"1","_score":null,"_source":{"n":1.10,"b":"c"},"sort":[1]}]},"aggregations":{"x":{"value":1e0}}}"#;
        let shown = Shown {
            keys: 1,
            indices: Vec::new(),
        };
        let seal =
            |kind: Kind, id: &str, shown: &Shown| Some(format!("{kind:?}-{id}-{}", shown.keys));
        assert_eq!(search(answer, &shown, &seal).unwrap(), expected);
        let shown = [shown.clone(), shown];
        assert_eq!(
            msearch(&format!(r#"{{"took":1,"responses":[{answer},{{"error":{{"type":"t","reason":"[secret]"}},"status":500}}]}}"#), "", &shown, &seal).unwrap(),
            format!(
                r#"{{"took":1,"responses":[{expected},{{"error":{{"reason":"the store could not answer the search","root_cause":[{{"reason":"the store could not answer the search","type":"t"}}],"type":"t"}},"status":500}}]}}"#
            )
        );
    }

    #[test]
    fn half_an_answer_is_none() {
        let shown = Shown::default();
        let seal = |_: Kind, _: &str, _: &Shown| None;
        for half in [
            r#"{"timed_out":true,"_shards":{"failed":0},"hits":{"total":1,"hits":[]}}"#,
            r#"{"timed_out":false,"_shards":{"failed":1},"hits":{"total":1,"hits":[]}}"#,
            r#"{"count":4,"_shards":{"failed":1}}"#,
        ] {
            let found = search(half, &shown, &seal);
            assert!(matches!(found, Err(NotShown::Partial)), "{half}");
            let many = format!(r#"{{"took":1,"responses":[{half}]}}"#);
            let found = msearch(&many, "", std::slice::from_ref(&shown), &seal).unwrap();
            assert!(
                found.contains("\"status\":503") && !found.contains("total"),
                "{found}"
            );
        }
    }

    #[test]
    fn an_id_alone_is_written_again() {
        let answer = r#"{"_scroll_id":"raw","took":1,"b":1.10,"a":{"_scroll_id":"raw"}}"#;
        let found = with_id(answer, "_scroll_id", &|id| Some(format!("[{id}]")));
        let expected = r#"{"_scroll_id":"[raw]","took":1,"b":1.10,"a":{"_scroll_id":"raw"}}"#;
        assert_eq!(found.as_deref(), Some(expected));
        assert_eq!(with_id(answer, "_scroll_id", &|_| None), None);
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
