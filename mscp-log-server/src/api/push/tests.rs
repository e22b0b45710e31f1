#![allow(clippy::unwrap_used, reason = "tests")]
//! Pushes through requests: rights, forms, limits, and each protocol's answers.

use std::io::Write as _;

use http::Request as HttpRequest;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::access::tests::{APP, House, house};
use super::*;
use crate::clock;
use crate::ingest::testing::{Memory, push_with};
use bytes::Bytes;
use http_body_util::BodyExt as _;

const OTHER: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a3";
const GRPC: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A house with a push into memory, and a token for [`APP`].
struct Gate {
    house: House,
    push: Arc<Push>,
    memory: Arc<Memory>,
    token: String,
}

async fn gate() -> Gate {
    gate_with(None).await
}

async fn gate_with(rate: Option<u64>) -> Gate {
    let (push, memory) = push_with(rate);
    let ways = Ways {
        push: Arc::clone(&push),
        otlp: true,
        version: (8, 15, 0),
    };
    let inside = Router::new()
        .nest("/api", routes(ways.clone()))
        .merge(grpc_routes(ways));
    let house = house(&[], inside).await;
    let rule = json!([{"method": ["POST"], "url": [format!("{{mscp_api_url}}/apps/{APP}/log")], "other": {}}]);
    let token = house.token(rule).await;
    Gate {
        house,
        push,
        memory,
        token,
    }
}

impl Gate {
    fn request(&self, method: &str, uri: &str) -> http::request::Builder {
        HttpRequest::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn post(
        &self,
        uri: &str,
        media_type: &str,
        body: &str,
    ) -> (StatusCode, HeaderMap, Value) {
        let request = self.request("POST", uri).header(CONTENT_TYPE, media_type);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.house.send(request).await
    }

    fn stored(&self) -> usize {
        self.memory.records().len()
    }
}

fn record(appid: &str) -> Value {
    json!({"timestemp": clock::now_us(), "appid": appid, "type": "applog", "message": "m"})
}

#[tokio::test]
async fn records_are_taken_in_every_form() {
    let gate = gate().await;
    let one = record(APP).to_string();
    let lines = format!("{one}\n{one}\n");
    let to_one = format!("/api/apps/{APP}/log");
    for (uri, media_type, body, count) in [
        (
            to_one.as_str(),
            "application/json",
            format!("[{one},{one}]"),
            2,
        ),
        (&to_one, "application/json; charset=utf-8", one.clone(), 1),
        ("/api/apps/log", "application/x-ndjson", lines, 2),
    ] {
        let before = gate.stored();
        let (status, _, answer) = gate.post(uri, media_type, &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        assert_eq!(answer["accepted"], count);
        assert!(answer["batch"].is_string());
        assert_eq!(gate.stored() - before, count);
    }
}

#[tokio::test]
async fn a_compressed_body_is_taken_and_an_unknown_encoding_is_not() {
    let gate = gate().await;
    let plain = record(APP).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain.as_bytes()).unwrap();
    let zstd = zstd::encode_all(plain.as_bytes(), 3).unwrap();
    for (encoding, body, expected) in [
        ("gzip", gzip.finish().unwrap(), StatusCode::ACCEPTED),
        ("zstd", zstd, StatusCode::ACCEPTED),
        (
            "br",
            plain.clone().into_bytes(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        ("gzip", plain.into_bytes(), StatusCode::BAD_REQUEST),
    ] {
        let request = gate
            .request("POST", "/api/apps/log")
            .header(CONTENT_ENCODING, encoding)
            .body(Body::from(body))
            .unwrap();
        let (status, _, answer) = gate.house.send(request).await;
        assert_eq!(status, expected, "{encoding}: {answer}");
    }
}

#[tokio::test]
async fn a_token_for_one_app_pushes_nothing_of_another_alone_or_in_a_batch() {
    let gate = gate().await;
    let batch = json!([record(APP), record(OTHER)]).to_string();
    let alone = record(OTHER).to_string();
    let to_other = format!("/api/apps/{OTHER}/log");
    for (uri, body) in [
        ("/api/apps/log", &batch),
        ("/api/apps/log", &alone),
        (&to_other, &alone),
    ] {
        let (status, headers, answer) = gate.post(uri, "application/json", body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    let (_, _, answer) = gate.post("/api/apps/log", "application/json", &batch).await;
    assert_eq!(
        (&answer["record"], &answer["field"]),
        (&json!(1), &json!("appid"))
    );
    // A record of another app under the path of one that is granted.
    let (status, _, answer) = gate
        .post(&format!("/api/apps/{APP}/log"), "application/json", &alone)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(gate.stored(), 0);
}

#[tokio::test]
async fn a_root_token_or_none_pushes_nothing() {
    let mut gate = gate().await;
    let body = record(APP).to_string();
    gate.token = gate.house.root.clone();
    let (status, _, _) = gate.post("/api/apps/log", "application/json", &body).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    gate.token = "x".to_owned();
    let (status, _, _) = gate.post("/api/apps/log", "application/json", &body).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(gate.stored(), 0);
}

#[tokio::test]
async fn a_malformed_record_is_named_and_nothing_is_taken() {
    let gate = gate().await;
    let mut bad = record(APP);
    bad["timestemp"] = json!(clock::now_s());
    let body = json!([record(APP), bad]).to_string();
    let (status, _, answer) = gate.post("/api/apps/log", "application/json", &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["type"], "/problems/malformed-record");
    assert_eq!(
        (&answer["record"], &answer["field"]),
        (&json!(1), &json!("timestemp"))
    );
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("looks like seconds")
    );
    assert_eq!(gate.stored(), 0);
}

#[tokio::test]
async fn what_passes_a_limit_is_413_and_an_unknown_media_type_415() {
    let gate = gate().await;
    let many = json!(vec![record(APP); 21]).to_string();
    let mut long = record(APP);
    long["message"] = json!("x".repeat(101));
    let large = format!("[{}{}]", record(APP), " ".repeat(65 << 10));
    for body in [many, long.to_string(), large] {
        let (status, _, answer) = gate.post("/api/apps/log", "application/json", &body).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    }
    let (status, _, _) = gate.post("/api/apps/log", "text/plain", "x").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(gate.stored(), 0);
}

#[tokio::test]
async fn a_full_buffer_is_503_and_an_app_over_its_rate_429_each_with_a_time_to_wait() {
    let limited = gate_with(Some(1)).await;
    let many = json!(vec![record(APP); 20]).to_string();
    let (status, _, _) = limited
        .post("/api/apps/log", "application/json", &many)
        .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (status, headers, answer) = limited
        .post("/api/apps/log", "application/json", &many)
        .await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert!(headers.contains_key("retry-after"));

    let full = gate().await;
    for (error, kind) in [
        (
            (|| AppendError::Full { used: 1, limit: 1 }) as fn() -> AppendError,
            "/problems/buffer-full",
        ),
        (|| AppendError::DiskFull, "/problems/disk-full"),
        (|| AppendError::Closed, "/problems/unavailable"),
    ] {
        full.memory.refuse(error);
        let body = record(APP).to_string();
        let (status, headers, answer) = full.post("/api/apps/log", "application/json", &body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer["type"], kind);
        assert!(headers.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_events() {
    let gate = gate().await;
    let body = record(APP).to_string();
    for _ in 0..2 {
        let request = gate
            .request("POST", "/api/apps/log")
            .header("idempotency-key", "k");
        let request = request.body(Body::from(body.clone())).unwrap();
        let (status, _, _) = gate.house.send(request).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let records = gate.memory.records();
    assert_eq!(records[0]["event_id"], records[1]["event_id"]);
    let request = gate
        .request("POST", "/api/apps/log")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let (status, _, _) = gate
        .house
        .send(request.body(Body::from(body)).unwrap())
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn bulk_answers_item_by_item_under_every_path() {
    let gate = gate().await;
    let body = "{\"index\":{\"_index\":\"a\"}}\n{\"log\":\"one\"}\n{\"create\":{\"_id\":\"7\"}}\n{\"@timestamp\":\"x\"}\n";
    for below in ["_bulk", "logs/_bulk", "logs/_doc/_bulk"] {
        let uri = format!("/api/apps/{APP}/{below}");
        let (status, headers, answer) = gate.post(&uri, "application/x-ndjson", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(headers["x-elastic-product"], "Elasticsearch");
        assert_eq!(answer["errors"], true);
        assert_eq!(answer["items"][0]["index"]["status"], 201);
        assert_eq!(answer["items"][1]["create"]["status"], 400);
        assert_eq!(answer["items"][1]["create"]["_id"], "7");
    }
    assert_eq!(gate.stored(), 3);
}

#[tokio::test]
async fn senders_of_bulk_get_their_handshake_and_errors_in_their_form() {
    let gate = gate().await;
    for uri in [format!("/api/apps/{APP}"), format!("/api/apps/{APP}/")] {
        let request = gate.request("GET", &uri).body(Body::empty()).unwrap();
        let (status, headers, answer) = gate.house.send(request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["x-elastic-product"], "Elasticsearch");
        assert_eq!(answer["version"]["number"], "8.15.0");
        let request = gate.request("HEAD", &uri).body(Body::empty()).unwrap();
        assert_eq!(gate.house.send(request).await.0, StatusCode::OK);
    }
    let uri = format!("/api/apps/{APP}/_license");
    let request = gate.request("GET", &uri).body(Body::empty()).unwrap();
    let (_, _, answer) = gate.house.send(request).await;
    assert_eq!(answer["license"]["status"], "active");

    let uri = format!("/api/apps/{OTHER}/_bulk");
    let (status, _, answer) = gate.post(&uri, "application/x-ndjson", "{}\n").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(answer["error"]["type"], "security_exception");
    let request = gate.request("GET", &format!("/api/apps/{OTHER}"));
    let (status, _, _) = gate.house.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let uri = format!("/api/apps/{APP}/_bulk");
    let (status, _, answer) = gate.post(&uri, "application/x-ndjson", "{}\n").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["type"], "illegal_argument_exception");
}

fn logs(count: usize) -> Value {
    let record = json!({"body": {"stringValue": "m"}});
    let long = json!({"body": {"stringValue": "x".repeat(101)}});
    let mut records = vec![record; count];
    records.push(long);
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
}

#[tokio::test]
async fn otlp_over_http_answers_in_the_form_that_it_was_asked_in() {
    let gate = gate().await;
    let uri = format!("/api/apps/{APP}/otlp/v1/logs");
    let (status, _, answer) = gate
        .post(&uri, "application/json", &logs(2).to_string())
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["partialSuccess"]["rejectedLogRecords"], "1");
    let message: ExportLogsServiceRequest = serde_json::from_value(logs(2)).unwrap();
    let request = gate
        .request("POST", &uri)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Body::from(message.encode_to_vec()))
        .unwrap();
    let (status, headers, _) = gate.house.send(request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(gate.stored(), 4);

    let (status, _, answer) = gate.post(&uri, "application/json", "{").await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::BAD_REQUEST, &json!(3))
    );
    let other = format!("/api/apps/{OTHER}/otlp/v1/logs");
    let (status, _, answer) = gate.post(&other, "application/json", "{}").await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::FORBIDDEN, &json!(7))
    );
    let (status, _, _) = gate.post(&uri, "text/plain", "{}").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

async fn call(
    gate: &Gate,
    appid: Option<&str>,
    framed: Vec<u8>,
    encoding: Option<&str>,
) -> (String, Bytes) {
    let mut request = gate
        .request("POST", GRPC)
        .header(CONTENT_TYPE, "application/grpc");
    if let Some(appid) = appid {
        request = request.header("appid", appid);
    }
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Body::from(framed)).unwrap();
    let response = gate.house.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let early = response.headers().get("grpc-status").cloned();
    let collected = response.into_body().collect().await.unwrap();
    let late = collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .cloned();
    let status = early.or(late).unwrap().to_str().unwrap().to_owned();
    (status, collected.to_bytes())
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

#[tokio::test]
async fn otlp_over_grpc_takes_one_message_for_the_app_in_its_metadata() {
    let gate = gate().await;
    let message: ExportLogsServiceRequest = serde_json::from_value(logs(2)).unwrap();
    let message = message.encode_to_vec();
    let (status, body) = call(&gate, Some(APP), frame(0, &message), None).await;
    assert_eq!(status, "0");
    let answer = ExportLogsServiceResponse::decode(&body[5..]).unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_log_records, 1);
    let zstd = zstd::encode_all(&message[..], 3).unwrap();
    let (status, _) = call(&gate, Some(APP), frame(1, &zstd), Some("zstd")).await;
    assert_eq!((status.as_str(), gate.stored()), ("0", 4));

    for (appid, framed, encoding, expected) in [
        (None, frame(0, &message), None, "3"),
        (Some("x"), frame(0, &message), None, "3"),
        (Some(OTHER), frame(0, &message), None, "7"),
        (Some(APP), message.clone(), None, "3"),
        (Some(APP), frame(0, b"\x01\x02"), None, "3"),
        (Some(APP), frame(1, &message), None, "3"),
        (Some(APP), frame(1, &message), Some("snappy"), "12"),
        (Some(APP), Vec::new(), None, "3"),
    ] {
        let (status, _) = call(&gate, appid, framed, encoding).await;
        assert_eq!(status, expected, "{appid:?} {encoding:?}");
    }
    gate.memory
        .refuse(|| AppendError::Full { used: 1, limit: 1 });
    let (status, _) = call(&gate, Some(APP), frame(0, &message), None).await;
    assert_eq!(status, "14");
}

#[tokio::test]
async fn pushing_that_is_switched_off_is_refused_in_each_form_until_it_is_on_again() {
    let gate = gate().await;
    let reason = "an administrator has switched pushing off";
    let one = record(APP).to_string();
    let lines = "{\"index\":{}}\n{\"log\":\"one\"}\n";
    let (to_one, bulk) = (
        format!("/api/apps/{APP}/log"),
        format!("/api/apps/{APP}/_bulk"),
    );
    let otlp = format!("/api/apps/{APP}/otlp/v1/logs");
    let logs = logs(1).to_string();
    let message: ExportLogsServiceRequest = serde_json::from_str(&logs).unwrap();
    let framed = frame(0, &message.encode_to_vec());
    let ways = [
        (to_one.as_str(), "application/json", one.as_str(), "/detail"),
        ("/api/apps/log", "application/x-ndjson", &one, "/detail"),
        (&bulk, "application/x-ndjson", lines, "/error/reason"),
        (&otlp, "application/json", &logs, "/message"),
    ];
    gate.push.set_open(false);
    for (uri, media_type, body, place) in ways {
        let (status, headers, answer) = gate.post(uri, media_type, body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{uri}: {answer}");
        assert_eq!(headers["retry-after"], "60", "{uri}");
        assert_eq!(answer.pointer(place), Some(&json!(reason)), "{answer}");
    }
    let (_, _, answer) = gate.post(&to_one, "application/json", &one).await;
    assert_eq!(answer["type"], "/problems/switched-off");
    // UNAVAILABLE, after which senders try again.
    let (status, _) = call(&gate, Some(APP), framed.clone(), None).await;
    assert_eq!(status, "14");
    // What is not granted is not told how it stands.
    let other = format!("/api/apps/{OTHER}/log");
    let (status, _, _) = gate.post(&other, "application/json", &one).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(gate.stored(), 0);

    gate.push.set_open(true);
    for (uri, media_type, body, _) in ways {
        let (status, _, answer) = gate.post(uri, media_type, body).await;
        assert!(status.is_success(), "{uri}: {answer}");
    }
    let (status, _) = call(&gate, Some(APP), framed, None).await;
    assert_eq!((status.as_str(), gate.stored()), ("0", 5));
}

#[tokio::test]
async fn a_body_that_was_on_its_way_when_pushing_was_switched_off_is_not_taken() {
    let gate = gate().await;
    let push = Arc::clone(&gate.push);
    let body = futures::stream::once(async move {
        push.set_open(false);
        Ok::<_, std::io::Error>(record(APP).to_string())
    });
    let uri = format!("/api/apps/{APP}/log");
    let request = gate.request("POST", &uri).body(Body::from_stream(body));
    let (status, _, answer) = gate.house.send(request.unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(gate.stored(), 0);
}
