//! One batch on its way into the cluster: offered until every record of it is
//! there or in the dead letters.
//!
//! `_bulk` with `create` and `_id` = `event_id`, so that what comes twice is
//! there once. Only what failed is offered again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use mscp_log_core::record::tag::TIME_OF_RECEIPT;
use mscp_log_core::record::time::Day;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::engine::{self, Engine};
use super::flights::Flight;
use super::judge::{self, Verdict};
use super::nodes::{Outgoing, Payload};
use crate::buffer::dead_letters::Refused;
use crate::clock;

/// Longest that the cluster may take for one request. It waits a minute for
/// shards that are away before it says so.
const PATIENCE: Duration = Duration::from_secs(90);

/// Bytes of an answer: an item without an error has 30.
const MAX_ANSWER: usize = 64 << 20;

/// Most records in one request.
const MAX_RECORDS: usize = 10_000;

/// Pauses between tries, doubling, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// The longest wait that the cluster's `Retry-After` is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// After so many tries without any progress a busy cluster counts as one that
/// does not take records, and shipping says so.
const BUSY_TRIES: u32 = 4;

/// The records of a batch, read as far as shipping needs to.
pub(super) struct Cargo {
    records: Vec<Record>,
    refused: Vec<Refused>,
    /// The first and the last day of records whose time is only that of receipt.
    received: Option<(Day, Day)>,
}

#[derive(Clone)]
struct Record {
    index: Arc<str>,
    /// The same index on the day before, where the record may lie there already.
    before: Option<Arc<str>>,
    id: String,
    document: Bytes,
}

/// What shipping reads of a document.
#[derive(Deserialize)]
struct Head<'a> {
    realtime_us: i64,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    index: Cow<'a, str>,
    #[serde(borrow, default)]
    tags: Vec<Cow<'a, str>>,
}

/// The outcome of one request.
enum Offered {
    Judged(Vec<Verdict>),
    /// All of it again, after a while.
    Again {
        reason: String,
        after: Option<Duration>,
    },
    /// All of it again, when somebody has mended what is wrong.
    Held(String),
    TooLarge,
}

impl Cargo {
    /// Read `records`. What has no index or id cannot be stored anywhere.
    pub(super) fn load(records: Vec<Bytes>) -> Self {
        let mut cargo = Self {
            records: Vec::with_capacity(records.len()),
            refused: Vec::new(),
            received: None,
        };
        let mut names: HashMap<(String, Day), Arc<str>> = HashMap::new();
        let mut name_of = |index: &str, day: Day| -> Arc<str> {
            let name = names.entry((index.to_owned(), day));
            Arc::clone(name.or_insert_with(|| format!("{index}-{day}").into()))
        };
        let mut of_receipt: HashMap<String, Day> = HashMap::new();
        for document in records {
            let head: Head<'_> = match head_of(&document) {
                Ok(head) => head,
                Err(reason) => {
                    cargo.refused.push(Refused {
                        index: String::new(),
                        kind: "not_a_document".to_owned(),
                        reason,
                        document,
                    });
                    continue;
                }
            };
            let day = Day::of_us(head.realtime_us);
            let id = head.event_id.into_owned();
            let mut before = None;
            if head.tags.iter().any(|tag| tag == TIME_OF_RECEIPT) {
                let known = *of_receipt.entry(id.clone()).or_insert(day);
                if known != day {
                    // The same record, received on both sides of midnight.
                    continue;
                }
                before = Some(name_of(&head.index, day.before()));
                let (first, last) = cargo.received.unwrap_or((day, day));
                cargo.received = Some((first.min(day), last.max(day)));
            }
            cargo.records.push(Record {
                index: name_of(&head.index, day),
                before,
                id,
                document,
            });
        }
        cargo
    }

    /// The earliest day of records whose time is only that of their receipt.
    pub(super) fn received(&self) -> Option<Day> {
        self.received.map(|(first, _)| first)
    }

    /// Offer it until all of it is done.
    pub(super) async fn deliver(self, shared: Arc<Shared>, flight: Flight) {
        let mut delivery = Delivery {
            shared,
            flight,
            left: self.records,
            refused: self.refused,
            at_once: MAX_RECORDS,
            pause: FIRST_PAUSE,
            tries: 0,
        };
        if let Some((_, last)) = self.received {
            delivery.flight.after_those_received_before(last).await;
            delivery.pass_over_what_came_the_day_before().await;
        }
        delivery.run().await;
        delivery.flight.land();
    }
}

fn head_of(document: &[u8]) -> Result<Head<'_>, String> {
    // It would end the document's line in the request.
    if memchr::memchr2(b'\n', b'\r', document).is_some() {
        return Err("it has a line break between its members".to_owned());
    }
    let head: Head<'_> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    if head.index.is_empty() || head.event_id.is_empty() {
        return Err("its index or event_id is empty".to_owned());
    }
    Ok(head)
}

struct Delivery {
    shared: Arc<Shared>,
    flight: Flight,
    left: Vec<Record>,
    /// To be kept as dead letters.
    refused: Vec<Refused>,
    /// Records in one request.
    at_once: usize,
    pause: Duration,
    /// Without progress.
    tries: u32,
}

impl Delivery {
    async fn run(&mut self) {
        loop {
            self.keep_refused().await;
            if self.left.is_empty() {
                return;
            }
            let Some(engine) = self.shared.engine.load_full() else {
                let reason = self.shared.reason();
                self.wait(&reason, true, None).await;
                continue;
            };
            let rest = self.left.split_off(self.left.len().min(self.at_once));
            let offered = std::mem::replace(&mut self.left, rest);
            match offer(&self.shared, &engine, &offered).await {
                Offered::Judged(verdicts) => self.judged(offered, verdicts).await,
                Offered::Again { reason, after } => {
                    self.left.extend(offered);
                    self.wait(&reason, false, after).await;
                }
                Offered::Held(reason) => {
                    self.left.extend(offered);
                    self.wait(&reason, true, None).await;
                }
                Offered::TooLarge if offered.len() == 1 => {
                    self.refused
                        .extend(offered.into_iter().map(|record| Refused {
                            index: record.index.to_string(),
                            kind: "content_too_long_exception".to_owned(),
                            reason:
                                "the cluster takes no request as large as this record".to_owned(),
                            document: record.document,
                        }));
                }
                Offered::TooLarge => {
                    self.at_once = offered.len().div_ceil(2);
                    self.left.extend(offered);
                }
            }
        }
    }

    async fn judged(&mut self, offered: Vec<Record>, verdicts: Vec<Verdict>) {
        let before = self.left.len() + offered.len();
        let mut failure: Option<(String, bool)> = None;
        for (record, verdict) in offered.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Stored => {}
                Verdict::Refused { kind, reason } => self.refused.push(Refused {
                    index: record.index.to_string(),
                    kind,
                    reason,
                    document: record.document,
                }),
                Verdict::Again(reason) => {
                    failure.get_or_insert((reason, false));
                    self.left.push(record);
                }
                Verdict::Held(reason) => {
                    // What somebody must mend is the better reason to tell.
                    if !failure.as_ref().is_some_and(|(_, held)| *held) {
                        failure = Some((reason, true));
                    }
                    self.left.push(record);
                }
            }
        }
        if self.left.len() < before {
            self.progress();
        }
        if let Some((reason, held)) = failure {
            metrics::counter!("mscp_log_store_retried_records_total")
                .increment(self.left.len() as u64);
            self.wait(&reason, held, None).await;
        } else {
            self.flight.release();
        }
    }

    fn progress(&mut self) {
        self.tries = 0;
        self.pause = FIRST_PAUSE;
    }

    /// Wait before the next try: at least `after`, which the cluster asked for.
    async fn wait(&mut self, reason: &str, held: bool, after: Option<Duration>) {
        self.tries = self.tries.saturating_add(1);
        if held || self.tries >= BUSY_TRIES {
            self.flight.hold(reason);
        } else {
            tracing::debug!(reason, "the cluster is busy");
        }
        let jittered = self.pause.mul_f64(rand::random::<f64>());
        let asked = after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        tokio::time::sleep(jittered + asked).await;
    }

    /// Records that are no more to be offered are safe before the batch counts
    /// as done. While the dead letters are full it waits.
    async fn keep_refused(&mut self) {
        while !self.refused.is_empty() {
            let letters = Arc::clone(&self.shared.letters);
            let refused = self.refused.clone();
            let kept = tokio::task::spawn_blocking(move || {
                let now_ms = clock::now_us() / 1_000;
                letters
                    .add(&refused, now_ms)
                    .map_err(|error| error.to_string())
            });
            match kept.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) => {
                    for refused in self.refused.drain(..) {
                        tracing::warn!(
                            index = refused.index,
                            kind = refused.kind,
                            reason = refused.reason,
                            "a record is a dead letter"
                        );
                    }
                    self.progress();
                    self.flight.release();
                }
                Err(reason) => self.wait(&reason, true, None).await,
            }
        }
    }

    /// A record whose time is only that of its receipt may have come before
    /// midnight already, into the index of that day.
    async fn pass_over_what_came_the_day_before(&mut self) {
        loop {
            let asked: Vec<&Record> = self
                .left
                .iter()
                .filter(|record| record.before.is_some())
                .collect();
            let outcome = match self.shared.engine.load_full() {
                None => Err(self.shared.reason()),
                Some(engine) => there_before(&self.shared, &engine, &asked).await,
            };
            match outcome {
                Ok(there) => {
                    let mut there = there.into_iter();
                    self.left
                        .retain(|record| record.before.is_none() || !there.next().unwrap_or(false));
                    return;
                }
                Err(reason) => self.wait(&reason, true, None).await,
            }
        }
    }
}

/// Which of `records` are in the index of the day before.
async fn there_before(
    shared: &Shared,
    engine: &Engine,
    records: &[&Record],
) -> Result<Vec<bool>, String> {
    let mut there = Vec::with_capacity(records.len());
    for some in records.chunks(MAX_RECORDS) {
        let docs: Vec<Value> = some
            .iter()
            .map(|record| {
                let mut doc =
                    json!({"_index": record.before.as_deref().unwrap_or_default(), "_id": record.id, "_source": false});
                if let Some(kind) = engine.document_type() {
                    doc["_type"] = kind.into();
                }
                doc
            })
            .collect();
        let body = json!({ "docs": docs }).to_string();
        let path = "/_mget?filter_path=docs.found,docs._id";
        let request = Outgoing::json(Method::POST, path, body);
        let answer = engine::ask_within(&shared.nodes, request, PATIENCE, MAX_ANSWER)
            .await
            .map_err(|error| shared.doubt(&error))?;
        let body = answer.json();
        let found = body["docs"].as_array().map_or(&[][..], Vec::as_slice);
        if !answer.status.is_success() || found.len() != some.len() {
            return Err(answer.refusal(&shared.nodes, "_mget").to_string());
        }
        // An index that is not there has no `found`.
        there.extend(found.iter().map(|doc| doc["found"] == true));
    }
    Ok(there)
}

async fn offer(shared: &Shared, engine: &Engine, records: &[Record]) -> Offered {
    let (some, kind) = (records.to_vec(), engine.document_type());
    let body = match tokio::task::spawn_blocking(move || body(&some, kind)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Offered::Held(error.to_string()),
        Err(error) => return Offered::Held(error.to_string()),
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        ),
        (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
    ];
    let request = Outgoing {
        method: Method::POST,
        target: format!("/_bulk?{}", judge::FILTER),
        headers: HeaderMap::from_iter(headers),
        payload: Payload::Whole(body.into()),
    };
    let asked = engine::ask_within(&shared.nodes, request, PATIENCE, MAX_ANSWER).await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => return Offered::Held(shared.doubt(&error)),
    };
    let reason = || answer.refusal(&shared.nodes, "_bulk").to_string();
    match answer.status {
        StatusCode::PAYLOAD_TOO_LARGE => Offered::TooLarge,
        status if status.is_success() => match judge::judge(&answer.body, records.len()) {
            Ok(verdicts) => Offered::Judged(verdicts),
            Err(reason) => Offered::Again {
                reason,
                after: None,
            },
        },
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Offered::Again {
                reason: reason(),
                after: retry_after(&answer.headers),
            }
        }
        _ => Offered::Held(reason()),
    }
}

/// `Retry-After` in seconds; a date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// The body of `_bulk`, packed.
fn body(records: &[Record], kind: Option<&str>) -> std::io::Result<Vec<u8>> {
    let packed = GzEncoder::new(Vec::new(), Compression::fast());
    // The packer costs by the piece, and JSON is written in small ones.
    let mut packed = BufWriter::with_capacity(64 << 10, packed);
    for record in records {
        packed.write_all(b"{\"create\":{\"_index\":")?;
        serde_json::to_writer(&mut packed, &*record.index)?;
        if let Some(kind) = kind {
            write!(packed, ",\"_type\":\"{kind}\"")?;
        }
        packed.write_all(b",\"_id\":")?;
        serde_json::to_writer(&mut packed, &record.id)?;
        packed.write_all(b"}}\n")?;
        packed.write_all(&record.document)?;
        packed.write_all(b"\n")?;
    }
    packed
        .into_inner()
        .map_err(IntoInnerError::into_error)?
        .finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Read as _;

    use super::*;

    fn document(n: u8, us: i64, tags: &str) -> Bytes {
        let text = format!(
            r#"{{"realtime_us":{us},"event_id":"{n:032x}","index":"logstash-http-a","tags":[{tags}],"x":{{"y":[1,null]}}}}"#
        );
        Bytes::from(text)
    }

    #[test]
    fn each_document_goes_under_its_id_into_the_index_of_its_day() {
        let cargo = Cargo::load(vec![document(1, 0, ""), document(2, 86_400_000_000, "")]);
        let packed = body(&cargo.records, Some("doc")).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed)
            .read_to_string(&mut text)
            .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[2],
            r#"{"create":{"_index":"logstash-http-a-1970.01.02","_type":"doc","_id":"00000000000000000000000000000002"}}"#
        );
        assert_eq!(lines[1].as_bytes(), document(1, 0, ""));
    }

    #[test]
    fn what_has_no_place_in_any_index_is_refused() {
        for text in [
            "",
            "{}",
            "{\"event_id\":\"a\"}",
            "{\"realtime_us\":1,\"event_id\":\"\",\"index\":\"a\"}",
            "{\"realtime_us\":1,\n\"event_id\":\"b\",\"index\":\"a\"}",
        ] {
            let cargo = Cargo::load(vec![Bytes::from_static(text.as_bytes())]);
            assert_eq!(cargo.refused.len(), 1, "{text}");
            assert_eq!(cargo.refused[0].document, text.as_bytes());
        }
    }

    #[test]
    fn a_record_that_was_received_twice_around_midnight_is_shipped_once() {
        let tag = "\"_timeofreceipt\"";
        let end = 86_400_000_000;
        let cargo = Cargo::load(vec![
            document(1, end - 1, tag),
            document(1, end, tag),
            document(2, end, tag),
        ]);
        assert_eq!(cargo.records.len(), 2);
        assert_eq!(cargo.received(), Some(Day::of_us(0)));
        assert_eq!(
            cargo.records[1].before.as_deref(),
            Some("logstash-http-a-1970.01.01")
        );
    }
}
