//! Elasticsearch `_bulk` as senders speak it: one application's records, each
//! taken or refused by itself.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use mscp_log_core::clean::Raw;
use mscp_log_core::event_id::{EventId, Origin};
use mscp_log_core::record::time::parse_rfc3339;
use mscp_log_core::record::{AnnotationValue, Record, Window, is_kind, storable_key};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::body::Received;
use super::push::{Push, PushError, off_async_threads, random_id};
use crate::clock;

/// `type` of a record that has none.
const KIND: &str = "bulk";

/// Bytes of an `_id`: Elasticsearch's limit.
const MAX_ID_BYTES: usize = 512;

/// What an item wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `index`.
    Index,
    /// `create`.
    Create,
    /// `update`, which is refused.
    Update,
    /// `delete`, which is refused.
    Delete,
}

impl Operation {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it wanted.
    pub operation: Operation,
    /// The index that it named; the name decides nothing.
    pub index: Option<String>,
    /// Its `_id`, or the one that it was given.
    pub id: Option<String>,
    /// Why it was refused, if it was: `type` and `reason` of an error.
    pub fault: Option<(&'static str, String)>,
}

/// Why no item was taken.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// As for any push.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The body is no `_bulk` body.
    #[error("{0}")]
    Malformed(String),
}

/// Take the items of `body` for `appid`, whose right the caller has checked.
///
/// # Errors
/// When the body is no `_bulk` body, or the buffer did not take the records;
/// then none was taken. A bad item is no error.
pub async fn take(
    push: &Arc<Push>,
    subject: Arc<str>,
    appid: Uuid,
    body: Received,
) -> Result<Vec<Item>, BulkError> {
    let worker = Arc::clone(push);
    let bytes = body.bytes.clone();
    let work = move || prepare(&worker, &subject, appid, &bytes);
    let (items, documents) = off_async_threads(body.bytes.len(), work).await??;
    push.check_rate(appid, documents.len())?;
    push.take(documents, "bulk").await?;
    Ok(items)
}

fn prepare(
    push: &Push,
    subject: &str,
    appid: Uuid,
    body: &[u8],
) -> Result<(Vec<Item>, Vec<Bytes>), BulkError> {
    let now_us = clock::now_us();
    let window = push.pipeline.window(now_us);
    let mut items = Vec::new();
    let mut sources = Vec::new();
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    while let Some((number, line)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if items.len() == push.settings.max_records {
            let limit = push.settings.max_records;
            let detail = format!("more than {limit} records in one request");
            return Err(PushError::TooLarge(detail).into());
        }
        let mut item = action(number + 1, line)?;
        let mut source = None;
        if item.operation != Operation::Delete {
            let (_, line) = lines
                .next()
                .filter(|(_, line)| !line.is_empty())
                .ok_or_else(|| {
                    let text = format!("the action on line {} has no source", number + 1);
                    BulkError::Malformed(text)
                })?;
            if item.fault.is_none() {
                match read_source(line, appid, &window, push.settings.max_message_bytes) {
                    Ok(read) => source = Some(read),
                    Err(fault) => item.fault = Some(fault),
                }
            }
        }
        items.push(item);
        sources.push(source);
    }
    if items.is_empty() {
        return Err(BulkError::Malformed(
            "request body is required: expected actions and sources".to_owned(),
        ));
    }
    let every_item_has_a_time = sources.iter().flatten().all(|source| source.time_is_own);
    // The body stands for the key where a repetition gives the same times.
    let body_key = every_item_has_a_time.then(|| format!("sha256:{:x}", HexOf(body)));
    let random: u128 = rand::random();
    let appid_text = appid.hyphenated().to_string();
    let path = format!("apps/{appid_text}/_bulk");
    let mut raws = Vec::with_capacity(items.len());
    for (place, (item, source)) in items.iter_mut().zip(sources).enumerate() {
        let Some(source) = source else {
            continue;
        };
        let event_id = match (&item.id, &body_key) {
            (Some(id), _) => EventId::of(&Origin::Item {
                subject,
                appid: &appid_text,
                id,
            }),
            (None, Some(key)) => EventId::of(&Origin::Push {
                subject,
                path: &path,
                key,
                place: place as u64,
                record: b"",
            }),
            (None, None) => random_id(random, place),
        };
        item.id.get_or_insert_with(|| event_id.to_string());
        raws.push(Raw::Push {
            record: Record {
                time_us: source.time_us.unwrap_or(now_us),
                ..source.record
            },
            event_id,
            seq: i64::try_from(place).unwrap_or(i64::MAX),
            time_of_receipt: !source.time_is_own,
        });
    }
    Ok((items, push.pipeline.encode(raws, now_us)))
}

/// The SHA-256 of bytes, as digits.
struct HexOf<'b>(&'b [u8]);

impl std::fmt::LowerHex for HexOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Sha256::digest(self.0)
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn action(number: usize, line: &[u8]) -> Result<Item, BulkError> {
    let malformed = |reason: &str| {
        BulkError::Malformed(format!(
            "malformed action/metadata line [{number}]: {reason}"
        ))
    };
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| malformed("expected a JSON object"))?;
    let mut entries = object.into_iter();
    let (Some((name, details)), None) = (entries.next(), entries.next()) else {
        return Err(malformed("expected one action"));
    };
    let operation = match name.as_str() {
        "index" => Operation::Index,
        "create" => Operation::Create,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        _ => {
            return Err(malformed("expected one of [create, delete, index, update]"));
        }
    };
    let Value::Object(details) = details else {
        return Err(malformed("expected an object of metadata"));
    };
    let text = |name: &str| match details.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let id = text("_id").filter(|id| !id.is_empty());
    let fault = match operation {
        Operation::Update | Operation::Delete => Some((
            "illegal_argument_exception",
            format!("[{name}] is not taken here: records are only added"),
        )),
        _ if id.as_ref().is_some_and(|id| id.len() > MAX_ID_BYTES) => Some((
            "illegal_argument_exception",
            format!("id is too long, must be no longer than {MAX_ID_BYTES} bytes"),
        )),
        _ => None,
    };
    Ok(Item {
        operation,
        index: text("_index"),
        id,
        fault,
    })
}

/// A record that was read, and whether its time is its own.
struct Source {
    record: Record<'static>,
    time_us: Option<i64>,
    time_is_own: bool,
}

type Fault = (&'static str, String);

fn read_source(
    line: &[u8],
    appid: Uuid,
    window: &Window,
    max_message_bytes: usize,
) -> Result<Source, Fault> {
    let parsing = |reason: String| ("document_parsing_exception", reason);
    let mut source: Map<String, Value> = serde_json::from_slice(line)
        .map_err(|error| parsing(format!("failed to parse: {error}")))?;
    if let Some(own) = source.remove("appid") {
        let same = own.as_str().and_then(|text| Uuid::try_parse(text).ok()) == Some(appid);
        if !same {
            return Err(parsing(format!(
                "failed to parse field [appid]: {own} is not the app of the path"
            )));
        }
    }
    let time_us = take_time(&mut source).map_err(parsing)?;
    if let Some(time_us) = time_us {
        window
            .check(time_us)
            .map_err(|reason| parsing(format!("failed to parse field [@timestamp]: {reason}")))?;
    }
    let kind = match source.get("type") {
        Some(Value::String(kind)) if is_kind(kind) => {
            let kind = kind.clone();
            source.remove("type");
            kind
        }
        _ => KIND.to_owned(),
    };
    let message = take_message(&mut source, line);
    if message.len() > max_message_bytes {
        return Err(parsing(format!(
            "message: {} bytes, and {max_message_bytes} are allowed",
            message.len()
        )));
    }
    let mut annotations = Vec::new();
    for (key, value) in source {
        add_dotted(&key, value, &mut annotations);
    }
    Ok(Source {
        record: Record {
            time_us: time_us.unwrap_or(window.now_us),
            appid,
            kind: Cow::Owned(kind),
            message: Cow::Owned(message),
            annotations: annotations.into_iter().collect(),
        },
        time_us,
        time_is_own: time_us.is_some(),
    })
}

/// `@timestamp` as Elasticsearch takes it (RFC 3339, or milliseconds), or this
/// system's `timestemp` or `timestamp` in microseconds.
fn take_time(source: &mut Map<String, Value>) -> Result<Option<i64>, String> {
    if let Some(value) = source.remove("@timestamp") {
        let time_us = match &value {
            Value::String(text) => parse_rfc3339(text),
            Value::Number(number) => number.as_i64().and_then(|ms| ms.checked_mul(1_000)),
            _ => None,
        };
        return time_us.map(Some).ok_or_else(|| {
            format!("failed to parse field [@timestamp]: {value} is no RFC 3339 time and no milliseconds")
        });
    }
    for name in ["timestemp", "timestamp"] {
        let own = match source.get(name) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => parse_rfc3339(text),
            _ => None,
        };
        if own.is_some() {
            source.remove(name);
            return Ok(own);
        }
    }
    Ok(None)
}

/// The line: `message`, what Fluent Bit calls `log`, what many loggers call
/// `msg`, or else the whole item, so that it can be found.
fn take_message(source: &mut Map<String, Value>, line: &[u8]) -> String {
    for name in ["message", "log", "msg"] {
        if let Some(Value::String(_)) = source.get(name)
            && let Some(Value::String(text)) = source.remove(name)
        {
            return text;
        }
    }
    String::from_utf8_lossy(line).trim().to_owned()
}

/// An annotation in the making.
type Pair = (Cow<'static, str>, AnnotationValue<'static>);

/// Add every leaf of `value` under its path with dots.
fn add_dotted(path: &str, value: Value, annotations: &mut Vec<Pair>) {
    // Cut before it is written in front of everything below it.
    let path = &*storable_key(path).unwrap_or_default();
    let leaf = match value {
        Value::Object(object) => {
            for (key, value) in object {
                add_dotted(&format!("{path}.{key}"), value, annotations);
            }
            return;
        }
        Value::Array(values) => {
            for value in values {
                match value {
                    Value::Array(_) | Value::Object(_) => {
                        add_dotted(path, Value::String(value.to_string()), annotations);
                    }
                    leaf => add_dotted(path, leaf, annotations),
                }
            }
            return;
        }
        Value::Null => return,
        Value::String(text) => AnnotationValue::String(Cow::Owned(text)),
        Value::Number(number) => AnnotationValue::Number(number),
        Value::Bool(value) => AnnotationValue::Bool(value),
    };
    if let Some(key) = storable_key(path) {
        annotations.push((Cow::Owned(key.into_owned()), leaf));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::testing::{APP, OTHER, push};
    use super::*;

    fn body(lines: &[Value]) -> Received {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Received::untracked(lines)
    }

    async fn send(push: &Arc<Push>, body: Received) -> Result<Vec<Item>, BulkError> {
        take(push, "12203".into(), APP, body).await
    }

    fn now() -> Value {
        json!(clock::now_us() / 1_000)
    }

    #[tokio::test]
    async fn items_become_records_with_unknown_fields_as_annotations() {
        let (push, memory) = push();
        let items = send(
            &push,
            body(&[
                json!({"index": {"_index": "fluent-bit"}}),
                json!({"@timestamp": now(), "log": "line one", "kubernetes": {"labels": {"tier": ["a", {"b": 1}]}}, "log.level": "WARN"}),
                json!({"create": {"_id": "7"}}),
                json!({"@timestamp": now(), "message": "two", "type": "nginx", "appid": APP}),
            ]),
        )
        .await
        .unwrap();
        assert!(
            items
                .iter()
                .all(|item| item.fault.is_none() && item.id.is_some())
        );
        let records = memory.records();
        assert_eq!(records[0]["message"], "line one");
        assert_eq!(records[0]["type"], "bulk");
        assert_eq!(records[0]["level"], "warn");
        assert_eq!(
            records[0]["annotations"],
            json!({"kubernetes.labels.tier": ["a", "{\"b\":1}"], "log.level": "WARN"})
        );
        assert_eq!(records[1]["type"], "nginx");
        assert_eq!(records[1]["seq"], 1);
        assert_eq!(records[1].get("tags"), None);
    }

    #[tokio::test]
    async fn a_bad_item_fails_alone() {
        let (push, memory) = push();
        let good = json!({"@timestamp": now(), "message": "good"});
        let items = send(
            &push,
            body(&[
                json!({"index": {}}),
                json!({"@timestamp": "yesterday", "message": "x"}),
                json!({"index": {}}),
                json!({"@timestamp": "2001-01-01T00:00:00Z", "message": "x"}),
                json!({"index": {}}),
                json!({"appid": OTHER, "message": "x"}),
                json!({"index": {}}),
                json!({"message": "x".repeat(101)}),
                json!({"delete": {"_id": "1"}}),
                json!({"update": {"_id": "1"}}),
                json!({"doc": {}}),
                json!({"index": {}}),
                good,
            ]),
        )
        .await
        .unwrap();
        let failed: Vec<bool> = items.iter().map(|item| item.fault.is_some()).collect();
        assert_eq!(failed, [true, true, true, true, true, true, false]);
        assert_eq!(memory.records().len(), 1);
    }

    #[tokio::test]
    async fn an_id_or_a_body_whose_items_have_times_is_the_same_when_it_comes_again() {
        let (push, memory) = push();
        let time = now();
        for source in [
            json!({"message": "x"}),
            json!({"message": "x", "@timestamp": time}),
        ] {
            for action in [json!({"index": {}}), json!({"index": {"_id": "1"}})] {
                for _ in 0..2 {
                    send(&push, body(&[action.clone(), source.clone()]))
                        .await
                        .unwrap();
                }
            }
        }
        let records = memory.records();
        let same = |at: usize| records[at]["event_id"] == records[at + 1]["event_id"];
        // Without a time only the _id tells; such a record is tagged.
        assert_eq!(
            [same(0), same(2), same(4), same(6)],
            [false, true, true, true]
        );
        assert_eq!(records[2]["tags"], json!(["_timeofreceipt"]));
        assert_eq!(records[6].get("tags"), None);
    }

    #[tokio::test]
    async fn a_long_name_is_not_written_again_for_everything_below_it() {
        let (push, memory) = push();
        let many: Map<String, Value> = (0..100_000).map(|n| (format!("{n}"), json!(1))).collect();
        let long = "k".repeat(2 << 20);
        for below in [json!(many), json!(vec![1; 100_000])] {
            let source = json!({"message": "x", "@timestamp": now(), long.clone(): below});
            let items = send(&push, body(&[json!({"index": {}}), source])).await;
            assert_eq!(items.unwrap()[0].fault, None);
        }
        // Work that grows with the square of the input would not end here.
        for record in memory.records() {
            let values = &record["annotations"]["k".repeat(256)];
            assert_eq!(values.as_array().map(Vec::len), Some(100_000));
        }
    }

    #[tokio::test]
    async fn what_is_no_bulk_body_is_refused_whole() {
        let (push, memory) = push();
        for text in [
            "",
            "\n\n",
            "{}\n{}\n",
            "x\n{}\n",
            "{\"index\":{}}\n",
            "{\"index\":{}}",
            "{\"index\":1}\n{}\n",
            "{\"put\":{}}\n{}\n",
            "{\"index\":{},\"create\":{}}\n{}\n",
        ] {
            let error = send(&push, Received::untracked(text)).await;
            assert!(matches!(error, Err(BulkError::Malformed(_))), "{text}");
        }
        assert!(memory.records().is_empty());
    }
}
