//! The store's answer to a restricted search, written again from what is known
//! to speak of the visible documents alone.
//!
//! Left out are counts of shards and what they failed at, sequence numbers,
//! and everything that no list here names. What the store returns of a document
//! is not read, so numbers in it keep their text.

use std::collections::BTreeSet;
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
    /// How far hits are counted; `None` is all of them.
    pub(super) count_up_to: Option<u64>,
    /// The names of all aggregations.
    pub(super) aggregations: BTreeSet<String>,
    /// What the aggregations are of no documents. A store without any index
    /// leaves them out.
    pub(super) of_nothing: Option<String>,
    /// What is answered in any case.
    pub(super) fault: Option<String>,
}

/// Writes an id of the store again, as the client gets it. Of a scroll that
/// has no more hits it is told what all pages from now on say of them.
pub(super) type SealId<'a> =
    &'a (dyn Fn(Kind, &str, &Shown, Option<&str>) -> Option<String> + Sync);

/// Why an answer cannot be shown.
#[derive(Debug)]
pub(super) enum NotShown {
    /// It is not in the form of an answer.
    Form,
    /// The store answered for a part only. Which part that is depends on all
    /// documents, so the failure of the rest is answered: status and body.
    Partial(StatusCode, String),
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
    let Members(members) = serde_json::from_str(text)?;
    let found = members.iter().find(|(name, _)| name == "hits");
    let found = match found {
        Some((_, found)) => Some(hits(found.get(), shown)?),
        None => None,
    };
    let end = found.as_deref().filter(|found| found.ends_with(NO_HITS));
    let has_aggregations = members.iter().any(|(name, _)| name == "aggregations");
    let written = keep(text, &KNOWN, |name, value| match name {
        "_scroll_id" => Some(sealed(value, |id| seal(Kind::Scroll, id, shown, end))),
        "pit_id" => Some(sealed(value, |id| seal(Kind::PointInTime, id, shown, None))),
        "timed_out" if value == "true" => Some(Err(partial(&[]))),
        "_shards" => Some(whole(value).map(|()| SHARDS.to_owned())),
        "hits" => found.clone().map(Ok),
        "aggregations" => Some(in_order(value, &shown.aggregations)),
        _ => None,
    })?;
    match &shown.of_nothing {
        Some(of_nothing) if !has_aggregations && written.len() > 2 => {
            let aggregations = in_order(of_nothing, &shown.aggregations)?;
            let before = &written[..written.len() - 1];
            Ok(format!(r#"{before},"aggregations":{aggregations}}}"#))
        }
        _ => Ok(written),
    }
}

/// The end of `hits` where there are none.
const NO_HITS: &str = r#""hits":[]}"#;

/// A page of a scroll that has no more hits, of which `hits` says this.
pub(super) fn page_behind_the_last(sealed_id: &str, hits: &str) -> String {
    let id = serde_json::Value::from(sealed_id);
    format!(r#"{{"_scroll_id":{id},"took":0,"timed_out":false,"_shards":{SHARDS},"hits":{hits}}}"#)
}

/// Whether no shard failed.
fn whole(shards: &str) -> Result<(), NotShown> {
    #[derive(Deserialize)]
    struct Shards {
        #[serde(default)]
        failed: u64,
        #[serde(default)]
        failures: Vec<Failure>,
    }
    #[derive(Deserialize)]
    struct Failure {
        reason: serde_json::Value,
    }
    let shards: Shards = serde_json::from_str(shards)?;
    if shards.failed == 0 {
        return Ok(());
    }
    let causes: Vec<_> = shards.failures.into_iter().map(|it| it.reason).collect();
    Err(partial(&causes))
}

/// What is answered in place of half an answer.
fn partial(causes: &[serde_json::Value]) -> NotShown {
    let (status, body) = of_shards(causes);
    NotShown::Partial(status, body)
}

/// What is answered when shards refused a search, some or all. Which of its
/// faults a shard finds, and whether any, depends on what lies in it: one that
/// cannot have a hit looks at less of the search. So the faults are not named.
fn of_shards(causes: &[serde_json::Value]) -> (StatusCode, String) {
    const OF_THE_STORE: [&str; 14] = [
        "already_closed_exception",
        "circuit_breaking_exception",
        "corrupt_index_exception",
        "es_rejected_execution_exception",
        "i_o_exception",
        "illegal_index_shard_state_exception",
        "no_shard_available_action_exception",
        "node_disconnected_exception",
        "node_not_connected_exception",
        "receive_timeout_transport_exception",
        "rejected_execution_exception",
        "search_timeout_exception",
        "task_cancelled_exception",
        "unavailable_shards_exception",
    ];
    let has = |wanted: &[&str]| {
        let mut kinds = causes.iter().map(|cause| cause["type"].as_str());
        kinds.any(|kind| kind.is_none_or(|kind| wanted.contains(&kind)))
    };
    if has(&["search_context_missing_exception"]) {
        let status = StatusCode::NOT_FOUND;
        let kind = "search_context_missing_exception";
        return (status, plain(kind, "No search context found", status));
    }
    if causes.is_empty() || has(&OF_THE_STORE) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return (status, plain("exception", WITHOUT_REASON, status));
    }
    let status = StatusCode::BAD_REQUEST;
    let reason = "a part of the store found a fault in the search";
    let kind = "search_phase_execution_exception";
    (status, plain(kind, reason, status))
}

const WITHOUT_REASON: &str = "the store could not answer the search";

/// An error in Elasticsearch's form.
fn plain(kind: &str, reason: &str, status: StatusCode) -> String {
    let shown = serde_json::json!({"type": kind, "reason": reason});
    serde_json::json!({
        "error": {"root_cause": [shown], "type": kind, "reason": reason},
        "status": status.as_u16(),
    })
    .to_string()
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

fn hits(text: &str, shown: &Shown) -> Written {
    keep(
        text,
        &["total", "max_score", "hits"],
        |name, value| match name {
            "total" => Some(total(value, shown.count_up_to)),
            // Every search is sorted; of no documents some stores say 0.
            "max_score" => Some(Ok("null".to_owned())),
            "hits" => Some(each(value, |_, text| hit(text, shown.keys))),
            _ => None,
        },
    )
}

/// Aggregations in the order of their names, on every level: some stores write
/// them in the order in which shards had any.
fn in_order(text: &str, names: &BTreeSet<String>) -> Written {
    if text.starts_with('[') {
        return each(text, |_, one| in_order(one, names));
    }
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let Members(members) = serde_json::from_str(text)?;
    // `typed_keys` puts the type before the name.
    let own_name = |name: &str| name.split_once('#').map_or(name, |(_, own)| own).to_owned();
    let (mut named, others): (Vec<_>, Vec<_>) = members
        .into_iter()
        .partition(|(name, _)| names.contains(&own_name(name)));
    named.sort_by_key(|(name, _)| own_name(name));
    let mut written = Vec::new();
    for (name, value) in others.into_iter().chain(named) {
        // The source of a document is its own.
        let value = match name.as_str() {
            "_source" | "fields" | "meta" => value.get().to_owned(),
            _ => in_order(value.get(), names)?,
        };
        written.push(format!("{}:{value}", serde_json::Value::from(name)));
    }
    Ok(format!("{{{}}}", written.join(",")))
}

/// Whether there are more than so many hits, where there are just so many, a
/// store knows or not by the segments that they lie in: it is said to be so.
fn total(text: &str, count_up_to: Option<u64>) -> Written {
    #[derive(Deserialize)]
    struct Total {
        value: u64,
    }
    // Before Elasticsearch 7 it is a number, and exact.
    let (Ok(Total { value }), Some(limit)) = (serde_json::from_str(text), count_up_to) else {
        return Ok(text.to_owned());
    };
    let (value, relation) = if value >= limit {
        (limit, "gte")
    } else {
        (value, "eq")
    };
    Ok(format!(r#"{{"value":{value},"relation":"{relation}"}}"#))
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
                if let Some(fault) = &shown.fault {
                    return Ok(fault.clone());
                }
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
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(error(text, status, sent).1);
    }
    let mut answer = match search(text, shown, seal) {
        Err(NotShown::Partial(_, body)) => return Ok(body),
        answer => answer?,
    };
    if let Some(status) = status {
        answer.pop();
        answer.push_str(if answer.len() > 1 { "," } else { "" });
        answer.push_str(&format!("\"status\":{status}}}"));
    }
    Ok(answer)
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
pub(super) fn error(text: &str, status: StatusCode, sent: &str) -> (StatusCode, String) {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let error = &body["error"];
    let failed = error["failed_shards"].as_array();
    let of_indices = |failed: &&Vec<serde_json::Value>| {
        let mut indices = failed.iter().map(|shard| &shard["index"]);
        indices.any(serde_json::Value::is_string)
    };
    if let Some(failed) = failed.filter(of_indices) {
        let causes: Vec<_> = failed.iter().map(|it| it["reason"].clone()).collect();
        return of_shards(&causes);
    }
    let cause = if error["root_cause"][0].is_object() {
        &error["root_cause"][0]
    } else {
        error
    };
    let kind = cause["type"].as_str().unwrap_or("exception");
    let reason = match cause["reason"].as_str() {
        Some(reason) if status == StatusCode::BAD_REQUEST && !names_more(reason, sent) => reason,
        _ => WITHOUT_REASON,
    };
    (status, plain(kind, reason, status))
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
            ..Shown::default()
        };
        let seal = |kind: Kind, id: &str, shown: &Shown, _: Option<&str>| {
            Some(format!("{kind:?}-{id}-{}", shown.keys))
        };
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
        let seal = |_: Kind, _: &str, _: &Shown, _: Option<&str>| None;
        let fault = r#"{"index":"secret","reason":{"type":"illegal_argument_exception","reason":"Field [pod] has no formats"}}"#;
        for (half, status) in [
            (
                r#"{"timed_out":true,"_shards":{"failed":0},"hits":{"total":1,"hits":[]}}"#
                    .to_owned(),
                503,
            ),
            (
                r#"{"timed_out":false,"_shards":{"failed":1},"hits":{"total":1,"hits":[]}}"#
                    .to_owned(),
                503,
            ),
            (
                format!(r#"{{"count":4,"_shards":{{"failed":1,"failures":[{fault}]}}}}"#),
                400,
            ),
            (
                format!(
                    r#"{{"count":4,"_shards":{{"failed":2,"failures":[{fault},{{"reason":{{"type":"i_o_exception"}}}}]}}}}"#
                ),
                503,
            ),
        ] {
            let found = search(&half, &shown, &seal);
            let Err(NotShown::Partial(found, body)) = found else {
                panic!("{half}: {found:?}");
            };
            assert_eq!(found.as_u16(), status, "{half}");
            assert!(
                !body.contains("total") && !body.contains("secret"),
                "{body}"
            );
            let many = format!(r#"{{"took":1,"responses":[{half}]}}"#);
            let found = msearch(&many, "[pod]", std::slice::from_ref(&shown), &seal).unwrap();
            assert!(found.contains(&format!("\"status\":{status}")), "{found}");
        }
    }

    #[test]
    fn what_shards_say_is_the_same_whichever_of_them_say_it() {
        let shard = |kind: &str| {
            let cause =
                serde_json::json!({"type": kind, "reason": format!("For input string: {kind}")});
            serde_json::json!({"shard": 0, "index": "secret", "reason": cause})
        };
        let said = |kinds: &[&str]| {
            let failed: Vec<_> = kinds.iter().map(|kind| shard(kind)).collect();
            let body = serde_json::json!({"error": {"root_cause": [failed[0]["reason"]], "failed_shards": failed}});
            error(&body.to_string(), StatusCode::INTERNAL_SERVER_ERROR, "")
        };
        let one = said(&["query_shard_exception"]);
        assert_eq!(one.0, StatusCode::BAD_REQUEST);
        assert!(!one.1.contains("input"), "{}", one.1);
        for kinds in [
            &["query_shard_exception", "illegal_argument_exception"][..],
            &["aggregation_execution_exception"],
        ] {
            assert_eq!(said(kinds), one);
        }
        let of_the_store = said(&["query_shard_exception", "circuit_breaking_exception"]);
        assert_eq!(of_the_store.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            said(&["search_context_missing_exception"]).0,
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn no_more_is_said_of_the_total_than_every_store_says() {
        let found = |text: &str, limit| total(text, limit).unwrap();
        let value =
            |value: u64, relation: &str| format!(r#"{{"value":{value},"relation":"{relation}"}}"#);
        assert_eq!(found(&value(3, "eq"), Some(3)), value(3, "gte"));
        assert_eq!(found(&value(3, "gte"), Some(3)), value(3, "gte"));
        assert_eq!(found(&value(5, "gte"), Some(3)), value(3, "gte"));
        assert_eq!(found(&value(2, "eq"), Some(3)), value(2, "eq"));
        assert_eq!(found(&value(9, "eq"), None), value(9, "eq"));
        assert_eq!(found("12", Some(3)), "12");
    }

    #[test]
    fn a_scroll_without_more_hits_says_so_with_its_id() {
        let seal = |_: Kind, id: &str, _: &Shown, end: Option<&str>| {
            Some(format!("{id} {}", end.unwrap_or("goes on")))
        };
        let id = |hits: &str| {
            let text = format!(r#"{{"_scroll_id":"raw","hits":{{"total":1,"hits":[{hits}]}}}}"#);
            let page = search(&text, &Shown::default(), &seal).unwrap();
            serde_json::from_str::<serde_json::Value>(&page).unwrap()["_scroll_id"].clone()
        };
        assert_eq!(id(r#"{"_id":"a"}"#), "raw goes on");
        let end = r#"{"total":1,"hits":[]}"#;
        assert_eq!(id(""), format!("raw {end}"));
        let page = page_behind_the_last("i", end);
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert_eq!(
            (&page["_scroll_id"], &page["hits"]["total"]),
            (&"i".into(), &1.into())
        );
    }

    #[test]
    fn a_store_without_indices_answers_as_one_without_hits() {
        let shown = Shown {
            of_nothing: Some(r#"{"a":{"value":null}}"#.to_owned()),
            ..Shown::default()
        };
        let seal = |_: Kind, _: &str, _: &Shown, _: Option<&str>| None;
        let of = |total: u32, aggregations: &str| {
            let text = format!(
                r#"{{"took":1,"_shards":{{"total":{total}}},"hits":{{"max_score":0.0,"hits":[]}}{aggregations}}}"#
            );
            search(&text, &shown, &seal).unwrap()
        };
        assert_eq!(of(0, ""), of(2, r#","aggregations":{"a":{"value":null}}"#));
    }

    #[test]
    fn aggregations_come_in_the_order_of_their_names() {
        let names = ["a", "b"].map(str::to_owned).into();
        let text = r#"{"sterms#b":{"buckets":[{"key":"x","b":{"value":1.0},"doc_count":2,"a":{"value":null}}]},"a":{"hits":{"hits":[{"_source":{"b":1,"a":2}}]}}}"#;
        let expected = r#"{"a":{"hits":{"hits":[{"_source":{"b":1,"a":2}}]}},"sterms#b":{"buckets":[{"key":"x","doc_count":2,"a":{"value":null},"b":{"value":1.0}}]}}"#;
        assert_eq!(in_order(text, &names).unwrap(), expected);
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
        let shown = |text: &str, status| error(text, status, sent).1;
        assert!(!shown(text, StatusCode::BAD_REQUEST).contains("secret"));
        let of_the_request = text.replace("failed_shards", "none");
        assert!(shown(&of_the_request, StatusCode::BAD_REQUEST).contains("unknown query [x]"));
        let text = r#"{"error":"no such index [secret]"}"#;
        assert!(!shown(text, StatusCode::NOT_FOUND).contains("secret"));
    }

    #[test]
    fn a_reason_names_only_what_the_search_names() {
        let sent = r#"{"query":{},"sort":[{"message":{"order":"asc"}}]}"#;
        let shown = |reason: &str| {
            let cause = serde_json::json!({"type": "illegal_argument_exception", "reason": reason});
            let body = serde_json::json!({"error": {"root_cause": [cause]}, "status": 400});
            error(&body.to_string(), StatusCode::BAD_REQUEST, sent)
                .1
                .contains(reason)
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
