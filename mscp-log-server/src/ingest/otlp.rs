//! OpenTelemetry logs (OTLP): records of one application, each taken or
//! refused by itself.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use mscp_log_core::clean::Raw;
use mscp_log_core::event_id::{EventId, Origin};
use mscp_log_core::record::{AnnotationValue, Record, Window, is_kind, storable_key};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::body::Received;
use super::push::{Push, PushError, off_async_threads, random_id};
use crate::clock;

/// `type` of a record that has none.
const KIND: &str = "otlp";

/// How deep values may be nested; deeper ones are JSON text.
const MAX_DEPTH: usize = 16;

/// How the request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Protobuf.
    Protobuf,
    /// The JSON mapping of protobuf, as OTLP changes it.
    Json,
}

/// What was taken, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Records that are durable now.
    pub accepted: usize,
    /// Records that were refused.
    pub rejected: usize,
    /// Why the first of them was.
    pub reason: String,
}

/// Why no record was taken.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// As for any push.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The body is no request to export logs.
    #[error("the body is no ExportLogsServiceRequest: {0}")]
    Malformed(String),
}

/// Take the records of `body` for `appid`, whose right the caller has checked.
///
/// # Errors
/// When the body cannot be read, or the buffer did not take the records; then
/// none was taken. A bad record is no error.
pub async fn take(
    push: &Arc<Push>,
    subject: Arc<str>,
    appid: Uuid,
    format: Format,
    body: Received,
) -> Result<Taken, OtlpError> {
    let worker = Arc::clone(push);
    let bytes = body.bytes.clone();
    let work = move || prepare(&worker, &subject, appid, format, &bytes);
    let (taken, documents) = off_async_threads(body.bytes.len(), work).await??;
    push.check_rate(appid, documents.len())?;
    push.take(documents, "otlp").await?;
    Ok(taken)
}

fn prepare(
    push: &Push,
    subject: &str,
    appid: Uuid,
    format: Format,
    body: &[u8],
) -> Result<(Taken, Vec<Bytes>), OtlpError> {
    let now_us = clock::now_us();
    let window = push.pipeline.window(now_us);
    let request = read(format, body)?;
    let count: usize = request
        .resource_logs
        .iter()
        .flat_map(|resource| &resource.scope_logs)
        .map(|scope| scope.log_records.len())
        .sum();
    if count > push.settings.max_records {
        let limit = push.settings.max_records;
        let detail = format!("more than {limit} records in one request");
        return Err(PushError::TooLarge(detail).into());
    }
    check_shared(&request, push.settings.max_decompressed_bytes)?;
    let mut taken = Taken::default();
    let mut records = Vec::with_capacity(count);
    let mut place = 0;
    for resource in request.resource_logs {
        let resource_attributes = resource.resource.map(|resource| resource.attributes);
        let resource_attributes = resource_attributes.unwrap_or_default();
        for scope in resource.scope_logs {
            for log in scope.log_records {
                let read = Reader {
                    resource: &resource_attributes,
                    scope: scope.scope.as_ref(),
                    appid,
                    window: &window,
                    max_message_bytes: push.settings.max_message_bytes,
                }
                .record(log);
                match read {
                    Ok(record) => records.push((place, record)),
                    Err(reason) => {
                        if taken.rejected == 0 {
                            taken.reason = format!("record {place}: {reason}");
                        }
                        taken.rejected += 1;
                    }
                }
                place += 1;
            }
        }
    }
    taken.accepted = records.len();
    // The body stands for the key where a repetition gives the same times.
    let body_key = records
        .iter()
        .all(|(_, (_, time_is_own))| *time_is_own)
        .then(|| {
            let digest = Sha256::digest(body);
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
        });
    let random: u128 = rand::random();
    let path = format!("apps/{}/otlp/v1/logs", appid.hyphenated());
    let raws = records
        .into_iter()
        .map(|(place, (record, time_is_own))| Raw::Push {
            record,
            event_id: match &body_key {
                Some(key) => EventId::of(&Origin::Push {
                    subject,
                    path: &path,
                    key,
                    place: place as u64,
                    record: b"",
                }),
                None => random_id(random, place),
            },
            seq: i64::try_from(place).unwrap_or(i64::MAX),
            time_of_receipt: !time_is_own,
        });
    Ok((taken, push.pipeline.encode(raws, now_us)))
}

/// What a resource and a scope say is said of each of their records again: a
/// small body could be made of much.
fn check_shared(request: &ExportLogsServiceRequest, limit: u64) -> Result<(), PushError> {
    let mut total: u64 = 0;
    for resource in &request.resource_logs {
        let own = resource.resource.as_ref();
        let of_resource = own.map_or(0, prost::Message::encoded_len);
        for scope in &resource.scope_logs {
            let own = scope.scope.as_ref();
            let shared =
                of_resource + own.map_or(0, |scope| scope.name.len() + scope.version.len());
            let records = scope.log_records.len() as u64;
            total = total.saturating_add((shared as u64).saturating_mul(records));
        }
    }
    if total <= limit {
        return Ok(());
    }
    let detail = format!(
        "resource and scope, once for each record, are {total} bytes, and {limit} are allowed; send fewer records at once"
    );
    Err(PushError::TooLarge(detail))
}

fn read(format: Format, body: &[u8]) -> Result<ExportLogsServiceRequest, OtlpError> {
    match format {
        Format::Protobuf => ExportLogsServiceRequest::decode(body)
            .map_err(|error| OtlpError::Malformed(error.to_string())),
        Format::Json => {
            serde_json::from_slice(body).map_err(|error| OtlpError::Malformed(error.to_string()))
        }
    }
}

/// What the records of one scope have in common.
struct Reader<'r> {
    resource: &'r [KeyValue],
    scope: Option<&'r InstrumentationScope>,
    appid: Uuid,
    window: &'r Window,
    max_message_bytes: usize,
}

impl Reader<'_> {
    /// The record, and whether its time is its own.
    fn record(&self, log: LogRecord) -> Result<(Record<'static>, bool), String> {
        // The time of the event, else the time at which it was observed.
        let nanos = [log.time_unix_nano, log.observed_time_unix_nano];
        let own = nanos.into_iter().find(|nanos| *nanos != 0);
        let own_us = own.map(|nanos| i64::try_from(nanos / 1_000).unwrap_or(i64::MAX));
        if let Some(time_us) = own_us {
            self.window.check(time_us)?;
        }
        let mut annotations = Vec::new();
        let mut add_text = |key: &'static str, text: String| {
            if !text.is_empty() {
                let value = AnnotationValue::String(Cow::Owned(text));
                annotations.push((Cow::Borrowed(key), value));
            }
        };
        let severity = if log.severity_text.is_empty() {
            severity(log.severity_number).to_owned()
        } else {
            log.severity_text
        };
        add_text("level", severity);
        add_text("trace_id", hex(&log.trace_id));
        add_text("span_id", hex(&log.span_id));
        add_text("event_name", log.event_name);
        if let Some(scope) = self.scope {
            add_text("otel.scope.name", scope.name.clone());
            add_text("otel.scope.version", scope.version.clone());
        }
        let mut kind = None;
        let attributes = log.attributes.iter().chain(self.resource);
        for KeyValue { key, value, .. } in attributes {
            match value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Any::StringValue(text))
                    if key == "type" && kind.is_none() && is_kind(text) =>
                {
                    kind = Some(text.clone());
                }
                Some(value) => add_dotted(key, value, 0, &mut annotations),
                None => {}
            }
        }
        let message = match log.body.and_then(|body| body.value) {
            None => String::new(),
            Some(Any::StringValue(text)) => text,
            Some(value) => match to_json(&value, 0) {
                Value::String(text) => text,
                value => value.to_string(),
            },
        };
        if message.len() > self.max_message_bytes {
            return Err(format!(
                "body: {} bytes, and {} are allowed",
                message.len(),
                self.max_message_bytes
            ));
        }
        let record = Record {
            time_us: own_us.unwrap_or(self.window.now_us),
            appid: self.appid,
            kind: Cow::Owned(kind.unwrap_or_else(|| KIND.to_owned())),
            message: Cow::Owned(message),
            annotations: annotations.into_iter().collect(),
        };
        Ok((record, own_us.is_some()))
    }
}

/// The short names of the log data model; four numbers are one severity.
fn severity(number: i32) -> &'static str {
    match number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    }
}

fn hex(bytes: &[u8]) -> String {
    // All zeros are no id (W3C Trace Context).
    if bytes.len() > 16 || bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An annotation in the making.
type Pair = (Cow<'static, str>, AnnotationValue<'static>);

fn add_dotted(path: &str, value: &Any, depth: usize, annotations: &mut Vec<Pair>) {
    // Cut before it is written in front of everything below it.
    let path = &*storable_key(path).unwrap_or_default();
    match value {
        Any::KvlistValue(list) if depth < MAX_DEPTH => {
            for KeyValue { key, value, .. } in &list.values {
                if let Some(value) = value.as_ref().and_then(|value| value.value.as_ref()) {
                    add_dotted(&format!("{path}.{key}"), value, depth + 1, annotations);
                }
            }
        }
        Any::ArrayValue(array) if depth < MAX_DEPTH => {
            for AnyValue { value } in &array.values {
                match value {
                    Some(nested @ (Any::ArrayValue(_) | Any::KvlistValue(_))) => {
                        let text = to_json(nested, depth).to_string();
                        add_leaf(path, AnnotationValue::String(Cow::Owned(text)), annotations);
                    }
                    Some(leaf) => add_dotted(path, leaf, depth + 1, annotations),
                    None => {}
                }
            }
        }
        value => {
            let leaf = match to_json(value, depth) {
                Value::String(text) => AnnotationValue::String(Cow::Owned(text)),
                Value::Number(number) => AnnotationValue::Number(number),
                Value::Bool(value) => AnnotationValue::Bool(value),
                Value::Null => return,
                value => AnnotationValue::String(Cow::Owned(value.to_string())),
            };
            add_leaf(path, leaf, annotations);
        }
    }
}

fn add_leaf(path: &str, leaf: AnnotationValue<'static>, annotations: &mut Vec<Pair>) {
    if let Some(key) = storable_key(path) {
        annotations.push((Cow::Owned(key.into_owned()), leaf));
    }
}

/// A value as JSON: bytes as base64, numbers that JSON has not as text.
fn to_json(value: &Any, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::String("...".to_owned());
    }
    let below = |value: &AnyValue| match &value.value {
        Some(value) => to_json(value, depth + 1),
        None => Value::Null,
    };
    match value {
        Any::StringValue(text) => Value::String(text.clone()),
        Any::BoolValue(value) => Value::Bool(*value),
        Any::IntValue(number) => Value::from(*number),
        Any::DoubleValue(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => Value::String(number.to_string()),
        },
        Any::BytesValue(bytes) => {
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Any::ArrayValue(array) => array.values.iter().map(below).collect(),
        Any::KvlistValue(list) => list
            .values
            .iter()
            .map(|KeyValue { key, value, .. }| {
                (key.clone(), value.as_ref().map_or(Value::Null, below))
            })
            .collect(),
        // An index into a table that logs do not have.
        Any::StringValueStrindex(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::testing::{APP, push};
    use super::*;

    fn request(records: &Value) -> Value {
        json!({"resourceLogs": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [{"scope": {"name": "lib", "version": "1"}, "logRecords": records}],
        }]})
    }

    fn now() -> String {
        (clock::now_us() * 1_000).to_string()
    }

    async fn send(push: &Arc<Push>, format: Format, body: Vec<u8>) -> Result<Taken, OtlpError> {
        take(push, "12203".into(), APP, format, Received::untracked(body)).await
    }

    async fn send_json(push: &Arc<Push>, request: &Value) -> Result<Taken, OtlpError> {
        send(push, Format::Json, request.to_string().into_bytes()).await
    }

    fn full() -> Value {
        request(&json!([{
            "timeUnixNano": now(), "severityNumber": 13, "body": {"stringValue": "slow"},
            "traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "b7ad6b7169203331",
            "attributes": [
                {"key": "type", "value": {"stringValue": "web"}},
                {"key": "http", "value": {"kvlistValue": {"values": [
                    {"key": "status", "value": {"intValue": "200"}},
                    {"key": "tags", "value": {"arrayValue": {"values": [{"boolValue": true}, {"doubleValue": 0.5}]}}},
                ]}}},
            ],
        }]))
    }

    #[tokio::test]
    async fn a_record_keeps_everything_that_it_says() {
        let (push, memory) = push();
        let taken = send_json(&push, &full()).await.unwrap();
        assert_eq!((taken.accepted, taken.rejected), (1, 0));
        let record = &memory.records()[0];
        let expected = json!({
            "message": "slow", "type": "web", "level": "warn", "appid": APP,
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
            "annotations": {
                "level": "warn", "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "span_id": "b7ad6b7169203331", "otel.scope.name": "lib", "otel.scope.version": "1",
                "http.status": 200, "http.tags": [true, 0.5], "service.name": "shop",
            },
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&record[field], value, "{field}");
        }
    }

    #[tokio::test]
    async fn protobuf_and_json_say_the_same() {
        let (push, memory) = push();
        let json = full();
        let message: ExportLogsServiceRequest = serde_json::from_value(json.clone()).unwrap();
        send_json(&push, &json).await.unwrap();
        send(&push, Format::Protobuf, message.encode_to_vec())
            .await
            .unwrap();
        let mut records = memory.records();
        for record in &mut records {
            let record = record.as_object_mut().unwrap();
            record.remove("event_id");
            record.remove("ingest_us");
        }
        assert_eq!(records[0], records[1]);
    }

    #[tokio::test]
    async fn a_bad_record_fails_alone() {
        let (push, memory) = push();
        let taken = send_json(
            &push,
            &request(&json!([
                {"timeUnixNano": "1000", "body": {"stringValue": "long past"}},
                {"timeUnixNano": now(), "body": {"stringValue": "good"}},
                {"timeUnixNano": now(), "body": {"stringValue": "x".repeat(101)}},
            ])),
        )
        .await
        .unwrap();
        assert_eq!((taken.accepted, taken.rejected), (1, 2));
        assert!(taken.reason.starts_with("record 0: "), "{}", taken.reason);
        assert_eq!(memory.records()[0]["message"], "good");
    }

    #[tokio::test]
    async fn a_body_whose_records_have_times_is_the_same_when_it_comes_again() {
        let (push, memory) = push();
        let without = request(&json!([{"body": {"stringValue": "x"}}]));
        let observed =
            request(&json!([{"observedTimeUnixNano": now(), "body": {"stringValue": "x"}}]));
        for request in [&without, &without, &observed, &observed] {
            send_json(&push, request).await.unwrap();
        }
        let records = memory.records();
        assert_ne!(records[0]["event_id"], records[1]["event_id"]);
        assert_eq!(records[0]["tags"], json!(["_timeofreceipt"]));
        assert_eq!(records[2]["event_id"], records[3]["event_id"]);
        assert_eq!(records[2].get("tags"), None);
    }

    #[tokio::test]
    async fn a_body_that_is_a_structure_is_its_json() {
        let (push, memory) = push();
        let body = json!({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}});
        send_json(&push, &request(&json!([{"body": body}])))
            .await
            .unwrap();
        assert_eq!(memory.records()[0]["message"], r#"{"a":1}"#);
    }

    #[tokio::test]
    async fn what_a_resource_says_is_counted_for_each_of_its_records() {
        let (push, memory) = push();
        let with = |bytes: usize| {
            let text = "x".repeat(bytes);
            let resource = json!({"attributes": [{"key": "k", "value": {"stringValue": text}}]});
            let records = vec![json!({"timeUnixNano": now()}); 20];
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})
        };
        assert!(send_json(&push, &with(10 << 10)).await.is_ok());
        let refused = send_json(&push, &with(20 << 10)).await;
        assert!(matches!(
            refused,
            Err(OtlpError::Push(PushError::TooLarge(_)))
        ));
        assert_eq!(memory.records().len(), 20);
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        let (push, _) = push();
        for (format, body) in [
            (Format::Json, "x"),
            (Format::Json, r#"{"resourceLogs": 1}"#),
            (Format::Protobuf, "\u{1}\u{2}\u{3}"),
        ] {
            let error = send(&push, format, body.as_bytes().to_vec()).await;
            assert!(matches!(error, Err(OtlpError::Malformed(_))), "{body}");
        }
    }
}
