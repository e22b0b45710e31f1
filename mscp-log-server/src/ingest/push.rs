//! Pushed records: rights, limits, idempotency.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use mscp_log_core::clean::Raw;
use mscp_log_core::event_id::{EventId, Origin};
use mscp_log_core::record::{self, Limits, Record, RecordError};
use serde::Serialize;
use uuid::Uuid;

use super::body::{Bodies, BodyError, Received};
use super::rate::Rate;
use crate::buffer::{AppendError, Buffer};
use crate::clock;
use crate::config::Config;
use crate::pipeline::Pipeline;

/// Bytes of an `Idempotency-Key`.
pub const MAX_KEY_BYTES: usize = 255;

/// Bodies from this size on are parsed away from the async threads.
const LARGE_BODY_BYTES: usize = 128 << 10;

/// Limits of what comes in, from the configuration's `[push]`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a body as sent.
    pub max_body_bytes: u64,
    /// Bytes of a body after decompression.
    pub max_decompressed_bytes: u64,
    /// Records of one request.
    pub max_records: usize,
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// Records a second of one application; `None` is no limit.
    pub rate: Option<u64>,
}

/// How the records of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of records, or one.
    Json,
    /// One record a line.
    Ndjson,
}

/// Who pushes where.
#[derive(Clone, Debug)]
pub struct Call {
    /// The subject of the token.
    pub subject: Arc<str>,
    /// The path below base, canonical: `apps/log`. Where a record comes from
    /// is part of its identity; the base and the host are not, so that every
    /// replica gives it the same.
    pub path: String,
    /// The application in the path.
    pub appid: Option<Uuid>,
    /// `Idempotency-Key`.
    pub key: Option<String>,
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Accepted {
    /// Records that are durable now.
    pub accepted: usize,
    /// A name of this push: the same for the same idempotency key.
    pub batch: String,
}

/// Why a request was not taken; then nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A record is malformed.
    #[error(transparent)]
    Record(RecordError),
    /// A limit on records or messages.
    #[error("{0}")]
    TooLarge(String),
    /// The idempotency key cannot be one.
    #[error("idempotency key: expected 1 to {MAX_KEY_BYTES} printable ASCII characters")]
    Key,
    /// The token does not grant pushing of an application.
    #[error("the token does not grant POST apps/{appid}/log")]
    Forbidden {
        /// The application.
        appid: Uuid,
        /// The first record of it, where it is not of the path.
        record: Option<usize>,
    },
    /// An application is over its rate.
    #[error("app {appid} is over its rate")]
    Rate {
        /// The application.
        appid: Uuid,
        /// When to try again.
        retry_after: Duration,
    },
    /// The buffer did not take it.
    #[error(transparent)]
    Buffer(#[from] AppendError),
    /// An administrator wants no pushes here for now.
    #[error("an administrator has switched pushing off")]
    SwitchedOff,
    /// The work was given up: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl From<record::BodyError> for PushError {
    fn from(error: record::BodyError) -> Self {
        match error {
            record::BodyError::Record(error) => Self::Record(error),
            error => Self::TooLarge(error.to_string()),
        }
    }
}

/// Takes records in for one region.
pub struct Push {
    pub(super) pipeline: Pipeline,
    pub(super) settings: Settings,
    bodies: Bodies,
    rate: Option<Rate>,
    open: AtomicBool,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("pipeline", &self.pipeline)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Push {
    /// A push through `pipeline`.
    #[must_use]
    pub fn new(pipeline: Pipeline, settings: Settings) -> Self {
        let burst = settings.max_records as u64;
        Self {
            pipeline,
            settings,
            bodies: Bodies::new(settings.max_body_bytes, settings.max_decompressed_bytes),
            rate: settings.rate.map(|rate| Rate::new(rate, burst)),
            open: AtomicBool::new(true),
        }
    }

    /// The push that `config` describes, into the buffer of its region.
    ///
    /// # Errors
    /// When `push.region` is no region, which a checked configuration does not have.
    pub fn open(config: &Config, buffer: Arc<dyn Buffer>) -> Result<Self, UnknownRegion> {
        let name = config.push.region.as_str();
        let region = config
            .regions
            .get(name)
            .ok_or_else(|| UnknownRegion(name.to_owned()))?;
        let max_past_us = i64::try_from(config.push.max_past.as_micros()).unwrap_or(i64::MAX);
        let pipeline = Pipeline::new(buffer, name, region, &config.clean, max_past_us);
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let settings = Settings {
            max_body_bytes: config.push.max_body_bytes,
            max_decompressed_bytes: config.push.max_decompressed_bytes,
            max_records: number(config.push.max_records),
            max_message_bytes: number(config.push.max_message_bytes),
            rate: config.push.rate,
        };
        Ok(Self::new(pipeline, settings))
    }

    /// Whether pushes are taken from now on, in whichever form they come. One
    /// that is under way either has its records durable and is told so, or
    /// none of them.
    pub fn set_open(&self, open: bool) {
        if self.open.swap(open, Ordering::Relaxed) != open {
            tracing::info!(open, "pushing was switched");
        }
    }

    /// Whether pushes are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Reads bodies within the limits, while pushes are taken.
    ///
    /// # Errors
    /// When they are not: what nobody wants is not read.
    pub fn bodies(&self) -> Result<&Bodies, PushError> {
        self.check_open()?;
        Ok(&self.bodies)
    }

    fn check_open(&self) -> Result<(), PushError> {
        if self.is_open() {
            return Ok(());
        }
        counter!("mscp_log_ingest_refused_requests_total", "reason" => "switched_off").increment(1);
        Err(PushError::SwitchedOff)
    }

    /// Take the records of `body`, all or none; returns when they are durable.
    ///
    /// `may_push` says whether the token grants `POST base/apps/{appid}/log`.
    ///
    /// # Errors
    /// What is wrong with the request, or why the buffer did not take it.
    pub async fn push(
        self: &Arc<Self>,
        call: Call,
        format: Format,
        body: Received,
        may_push: impl Fn(&Uuid) -> bool + Send + 'static,
    ) -> Result<Accepted, PushError> {
        let push = Arc::clone(self);
        let bytes = body.bytes.clone();
        let work = move || push.prepare(&call, format, &bytes, may_push);
        let prepared = off_async_threads(body.bytes.len(), work).await??;
        let accepted = prepared.documents.len();
        self.take(prepared.documents, "push").await?;
        Ok(Accepted {
            accepted,
            batch: prepared.batch,
        })
    }

    /// Whether the app may push `records` more now.
    pub(super) fn check_rate(&self, appid: Uuid, records: usize) -> Result<(), PushError> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.take(appid, records).map_err(|retry_after| {
            counter!("mscp_log_ingest_refused_records_total", "reason" => "rate")
                .increment(records as u64);
            PushError::Rate { appid, retry_after }
        })
    }

    /// Append documents and count them.
    pub(super) async fn take(
        &self,
        documents: Vec<Bytes>,
        way: &'static str,
    ) -> Result<(), PushError> {
        // Its body may have taken a while to come.
        self.check_open()?;
        let count = documents.len() as u64;
        let bytes: usize = documents.iter().map(Bytes::len).sum();
        let taken = self.pipeline.append(documents).await;
        if taken.is_ok() {
            counter!("mscp_log_ingest_records_total", "way" => way).increment(count);
            counter!("mscp_log_ingest_bytes_total", "way" => way).increment(bytes as u64);
        } else {
            counter!("mscp_log_ingest_unbuffered_records_total", "way" => way).increment(count);
        }
        Ok(taken?)
    }

    fn prepare(
        &self,
        call: &Call,
        format: Format,
        body: &[u8],
        may_push: impl Fn(&Uuid) -> bool,
    ) -> Result<Prepared, PushError> {
        let now_us = clock::now_us();
        let appid = call.appid.as_ref();
        if let Some(appid) = call.appid.filter(|appid| !may_push(appid)) {
            return Err(PushError::Forbidden {
                appid,
                record: None,
            });
        }
        let identity = Identity::of(call)?;
        let window = self.pipeline.window(now_us);
        let limits = Limits {
            max_records: self.settings.max_records,
            max_message_bytes: self.settings.max_message_bytes,
        };
        let records = match format {
            Format::Json => record::json(body, appid, &window, &limits)?,
            Format::Ndjson => record::ndjson(body, appid, &window, &limits)?,
        };
        let mut apps: BTreeMap<Uuid, usize> = BTreeMap::new();
        for (place, record) in records.iter().enumerate() {
            let count = apps.entry(record.appid).or_insert(0);
            if *count == 0 && call.appid.is_none() && !may_push(&record.appid) {
                return Err(PushError::Forbidden {
                    appid: record.appid,
                    record: Some(place),
                });
            }
            *count += 1;
        }
        for (appid, count) in apps {
            self.check_rate(appid, count)?;
        }
        let mut scratch = Vec::new();
        let raws = records
            .into_iter()
            .enumerate()
            .map(|(place, record)| Raw::Push {
                event_id: identity.event_id(call, place, &record, &mut scratch),
                record,
                seq: i64::try_from(place).unwrap_or(i64::MAX),
                time_of_receipt: false,
            });
        Ok(Prepared {
            documents: self.pipeline.encode(raws, now_us),
            batch: identity.batch(call),
        })
    }
}

/// `push.region` is none of the regions.
#[derive(Debug, thiserror::Error)]
#[error("push.region: {0:?} is none of the regions")]
pub struct UnknownRegion(String);

struct Prepared {
    documents: Vec<Bytes>,
    batch: String,
}

/// What makes the records of a request the same when they come again.
enum Identity {
    /// The sender's key.
    Key(String),
    /// Nothing: sixteen random bytes, and the place in the request.
    Random(u128),
}

impl Identity {
    fn of(call: &Call) -> Result<Self, PushError> {
        match &call.key {
            None => Ok(Self::Random(rand::random())),
            Some(key) => {
                let holds = (1..=MAX_KEY_BYTES).contains(&key.len())
                    && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                holds.then(|| Self::Key(key.clone())).ok_or(PushError::Key)
            }
        }
    }

    fn event_id(
        &self,
        call: &Call,
        place: usize,
        record: &Record<'_>,
        scratch: &mut Vec<u8>,
    ) -> EventId {
        match self {
            Self::Random(bytes) => random_id(*bytes, place),
            Self::Key(key) => {
                scratch.clear();
                record.write_identity(scratch);
                EventId::of(&Origin::Push {
                    subject: &call.subject,
                    path: &call.path,
                    key,
                    place: place as u64,
                    record: scratch,
                })
            }
        }
    }

    fn batch(&self, call: &Call) -> String {
        match self {
            Self::Random(bytes) => random_id(*bytes, 0).to_string(),
            Self::Key(key) => EventId::of(&Origin::Item {
                subject: &call.subject,
                appid: &call.path,
                id: key,
            })
            .to_string(),
        }
    }
}

/// The id of the record at `place` of a request with nothing that tells a
/// repetition; one draw of random bytes serves the whole request.
pub(super) fn random_id(bytes: u128, place: usize) -> EventId {
    let own = bytes.wrapping_add(place as u128);
    EventId::of(&Origin::Random(own.to_be_bytes()))
}

/// Work on a body of `bytes`: large ones would hold an async thread up.
pub(super) async fn off_async_threads<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PushError> {
    if bytes < LARGE_BODY_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| PushError::Stopping)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::super::testing::{APP, OTHER, push, push_with};
    use super::*;

    fn record(appid: Uuid, message: &str) -> Value {
        json!({"timestemp": clock::now_us(), "appid": appid, "type": "applog", "message": message})
    }

    fn call(key: Option<&str>) -> Call {
        Call {
            subject: "12203".into(),
            path: "apps/log".to_owned(),
            appid: None,
            key: key.map(str::to_owned),
        }
    }

    async fn send(push: &Arc<Push>, call: Call, body: &Value) -> Result<Accepted, PushError> {
        let body = Received::untracked(body.to_string());
        push.push(call, Format::Json, body, |appid| *appid == APP)
            .await
    }

    #[tokio::test]
    async fn accepted_records_are_in_the_buffer_with_their_place() {
        let (push, memory) = push();
        let body = json!([record(APP, "one"), record(APP, "two")]);
        let accepted = send(&push, call(None), &body).await.unwrap();
        assert_eq!(accepted.accepted, 2);
        let records = memory.records();
        let messages: Vec<_> = records.iter().map(|record| &record["message"]).collect();
        assert_eq!(messages, ["one", "two"]);
        let first = &records[0];
        let expected = json!({"appid": APP, "index": "logstash-http-local", "seq": 0, "type": "applog", "zone": "default", "region": "local"});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&first[field], value, "{field}");
        }
        assert!(first.get("hostname").is_none() && first.get("tags").is_none());
    }

    #[tokio::test]
    async fn one_record_that_is_not_granted_refuses_the_whole_request() {
        let (push, memory) = push();
        let body = json!([record(APP, "mine"), record(OTHER, "not mine")]);
        let error = send(&push, call(None), &body).await.unwrap_err();
        assert!(matches!(
            error,
            PushError::Forbidden {
                appid: OTHER,
                record: Some(1)
            }
        ));
        let of_other = Call {
            appid: Some(OTHER),
            ..call(None)
        };
        // The token counts before the body does.
        let error = send(&push, of_other, &json!("no record"))
            .await
            .unwrap_err();
        assert!(matches!(error, PushError::Forbidden { record: None, .. }));
        assert!(memory.records().is_empty());
    }

    #[tokio::test]
    async fn one_record_that_is_malformed_refuses_the_whole_request() {
        let (push, memory) = push();
        let mut bad = record(APP, "two");
        bad["level"] = json!("info");
        let body = json!([record(APP, "one"), bad]);
        let error = send(&push, call(None), &body).await.unwrap_err();
        assert!(matches!(
            error,
            PushError::Record(RecordError { record: 1, field, .. }) if field == "level"
        ));
        assert!(memory.records().is_empty());
    }

    fn ids(records: &[Value]) -> Vec<String> {
        let ids = records.iter().map(|record| record["event_id"].to_string());
        ids.collect()
    }

    #[tokio::test]
    async fn the_same_key_with_the_same_records_gives_the_same_events_in_the_same_index() {
        let (push, memory) = push();
        let body = json!([record(APP, "one"), record(APP, "one")]);
        let first = send(&push, call(Some("k")), &body).await.unwrap();
        let second = send(&push, call(Some("k")), &body).await.unwrap();
        assert_eq!(first, second);
        let records = memory.records();
        let ids = ids(&records);
        assert_eq!(ids[..2], ids[2..]);
        assert_ne!(ids[0], ids[1]);
        assert_eq!(records[0]["@timestamp"], records[2]["@timestamp"]);
        assert_eq!(records[0]["index"], records[2]["index"]);
    }

    #[tokio::test]
    async fn another_key_subject_path_or_record_gives_other_events() {
        let (push, memory) = push();
        let body = json!([record(APP, "one")]);
        let mut other_body = body.clone();
        other_body[0]["annotations"] = json!([{"key": "a", "value": 1}]);
        let base = call(Some("k"));
        let calls = [
            (base.clone(), &body),
            (call(Some("l")), &body),
            (
                Call {
                    subject: "other".into(),
                    ..base.clone()
                },
                &body,
            ),
            (
                Call {
                    path: format!("apps/{APP}/log"),
                    ..base.clone()
                },
                &body,
            ),
            (base, &other_body),
            (call(None), &body),
            (call(None), &body),
        ];
        let count = calls.len();
        for (call, body) in calls {
            send(&push, call, body).await.unwrap();
        }
        let mut ids = ids(&memory.records());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[tokio::test]
    async fn a_key_is_printable_and_short() {
        let (push, _) = push();
        let body = json!([record(APP, "one")]);
        for key in ["", "é", "a\n", &"k".repeat(256)] {
            let error = send(&push, call(Some(key)), &body).await.unwrap_err();
            assert!(matches!(error, PushError::Key), "{key}");
        }
    }

    #[tokio::test]
    async fn nothing_is_accepted_that_the_buffer_did_not_take() {
        let (push, memory) = push();
        memory.refuse(|| AppendError::Full { used: 1, limit: 1 });
        let body = json!([record(APP, "one")]);
        let error = send(&push, call(None), &body).await.unwrap_err();
        assert!(matches!(error, PushError::Buffer(AppendError::Full { .. })));
    }

    #[tokio::test]
    async fn an_app_over_its_rate_is_told_when_to_come_again_and_others_go_on() {
        let (push, _) = push_with(Some(1));
        let many = json!(vec![record(APP, "x"); 20]);
        send(&push, call(None), &many).await.unwrap();
        let error = send(&push, call(None), &many).await.unwrap_err();
        let PushError::Rate { appid, retry_after } = error else {
            panic!("{error}")
        };
        assert_eq!(appid, APP);
        assert!(retry_after > Duration::from_secs(1) && retry_after <= Duration::from_secs(20));
        let other = Received::untracked(record(OTHER, "x").to_string());
        push.push(call(None), Format::Json, other, |_| true)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn more_records_than_allowed_are_too_large_not_malformed() {
        let (push, _) = push();
        let many = json!(vec![record(APP, "x"); 21]);
        let error = send(&push, call(None), &many).await.unwrap_err();
        assert!(matches!(error, PushError::TooLarge(_)));
        let long = json!([record(APP, &"x".repeat(101))]);
        let error = send(&push, call(None), &long).await.unwrap_err();
        assert!(matches!(error, PushError::TooLarge(_)));
    }

    #[tokio::test]
    async fn a_large_body_is_worked_on_all_the_same() {
        let (push, memory) = push();
        let lines = format!("{}\n", record(APP, &"x".repeat(100)));
        let body = lines.repeat(20) + &" \n".repeat(LARGE_BODY_BYTES);
        let body = Received::untracked(body);
        push.push(call(None), Format::Ndjson, body, |_| true)
            .await
            .unwrap();
        assert_eq!(memory.records().len(), 20);
    }
}
