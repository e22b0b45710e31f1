//! What the cluster's answer to `_bulk` means for each record of it.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The cluster has it, from now or from before.
    Stored,
    /// The cluster is busy or faulty; the same again after a while.
    Again(String),
    /// The cluster does not take it for a reason that lies with the cluster:
    /// the same again when somebody has mended that.
    Held(String),
    /// The record's own fault, which no retry heals: its type and reason.
    Refused { kind: String, reason: String },
}

/// What of the answer is asked for and read.
pub(super) const FILTER: &str = "filter_path=items.*.status,items.*.error";

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// A verdict for each of `count` records, in their order; `Err` where the body
/// is not the whole answer to so many.
pub(super) fn judge(body: &[u8], count: usize) -> Result<Vec<Verdict>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("its answer cannot be read: {error}"))?;
    if answer.items.len() != count {
        let found = answer.items.len();
        return Err(format!("its answer has {found} items for {count} records"));
    }
    let items = answer.items.into_iter();
    Ok(items.map(|item| of(&item.create)).collect())
}

fn of(outcome: &Outcome) -> Verdict {
    match outcome.status {
        200..=299 | 409 => Verdict::Stored,
        429 | 500..=599 => Verdict::Again(said(outcome)),
        400 | 413 if is_the_records_own(outcome) => Verdict::Refused {
            kind: outcome.error["type"]
                .as_str()
                .unwrap_or("too_large")
                .to_owned(),
            reason: chain(&outcome.error),
        },
        _ => Verdict::Held(said(outcome)),
    }
}

fn said(outcome: &Outcome) -> String {
    let kind = outcome.error["type"].as_str().unwrap_or("no type");
    format!("{} {kind}: {}", outcome.status, chain(&outcome.error))
}

/// Only what no setting of the cluster could be blamed for. Everything else is
/// kept and offered again: a wrong guess here would empty the buffer into the
/// dead letters while the cluster has a fault.
fn is_the_records_own(outcome: &Outcome) -> bool {
    if outcome.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16() {
        return true;
    }
    let error = &outcome.error;
    let reason = error["reason"].as_str().unwrap_or_default();
    match error["type"].as_str().unwrap_or_default() {
        // The same type is a mapping that cannot be made: a template's fault.
        "mapper_parsing_exception" => {
            !reason.starts_with("Failed to parse mapping")
                && !reason.starts_with("Root mapping definition")
                && !reason.starts_with("No handler for type")
        }
        "document_parsing_exception" | "strict_dynamic_mapping_exception" => true,
        // A term that Lucene does not take, where a template has no `ignore_above`.
        "illegal_argument_exception" => reason.contains("immense term"),
        _ => false,
    }
}

/// A reason with those below it, in one line.
fn chain(error: &Value) -> String {
    let mut text = match error {
        Value::String(text) => text.clone(),
        error => error["reason"].as_str().unwrap_or("no reason").to_owned(),
    };
    let mut below = &error["caused_by"];
    // Engines nest few; the bound is for an answer that is none of theirs.
    for _ in 0..8 {
        let Some(reason) = below["reason"].as_str() else {
            break;
        };
        if !text.contains(reason) {
            text.push_str(": ");
            text.push_str(reason);
        }
        below = &below["caused_by"];
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn one(status: u16, error: &Value) -> Verdict {
        let item = if error.is_null() {
            json!({"create": {"status": status}})
        } else {
            json!({"create": {"status": status, "error": error}})
        };
        let body = json!({"items": [item]}).to_string();
        judge(body.as_bytes(), 1).unwrap().remove(0)
    }

    fn error(kind: &str, reason: &str) -> Value {
        json!({"type": kind, "reason": reason})
    }

    #[test]
    fn what_is_there_already_is_stored() {
        for status in [200, 201, 409] {
            assert_eq!(one(status, &Value::Null), Verdict::Stored);
        }
    }

    #[test]
    fn only_a_fault_of_the_record_itself_is_refused() {
        let below = json!({"type": "mapper_parsing_exception", "reason": "failed to parse field [seq] of type [long]",
            "caused_by": {"type": "illegal_argument_exception", "reason": "For input string: \"x\""}});
        assert_eq!(
            one(400, &below),
            Verdict::Refused {
                kind: "mapper_parsing_exception".to_owned(),
                reason: "failed to parse field [seq] of type [long]: For input string: \"x\""
                    .to_owned(),
            }
        );
        for (status, kind, reason) in [
            (400, "document_parsing_exception", "[1:2] failed to parse"),
            (
                400,
                "strict_dynamic_mapping_exception",
                "mapping set to strict",
            ),
            (
                400,
                "illegal_argument_exception",
                "Document contains at least one immense term in field=\"a\"",
            ),
            (413, "x", "y"),
        ] {
            let verdict = one(status, &error(kind, reason));
            assert!(
                matches!(verdict, Verdict::Refused { .. }),
                "{kind}: {verdict:?}"
            );
        }
        for (status, kind, reason) in [
            (
                403,
                "cluster_block_exception",
                "index [a] blocked by: [FORBIDDEN/8/index write (api)];",
            ),
            (403, "security_exception", "action is unauthorized"),
            (401, "security_exception", "missing credentials"),
            (404, "index_not_found_exception", "no such index"),
            (
                400,
                "validation_exception",
                "this action would add [2] shards",
            ),
            (
                400,
                "illegal_argument_exception",
                "this action would add [2] total shards",
            ),
            (
                400,
                "mapper_parsing_exception",
                "Failed to parse mapping [_doc]: analyzer [x] not found",
            ),
            (400, "something_new_exception", "who knows"),
        ] {
            let verdict = one(status, &error(kind, reason));
            assert!(matches!(verdict, Verdict::Held(_)), "{kind}: {verdict:?}");
        }
        for status in [429, 500, 503] {
            let verdict = one(status, &error("es_rejected_execution_exception", "full"));
            assert!(matches!(verdict, Verdict::Again(_)), "{verdict:?}");
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_judges_nothing() {
        assert!(judge(b"", 1).is_err());
        assert!(judge(br#"{"items":[{"create":{"status":201}}"#, 1).is_err());
        assert!(judge(br#"{"items":[{"create":{"status":201}}]}"#, 2).is_err());
        assert!(judge(br#"{"errors":false}"#, 1).is_err());
    }
}
