//! OpenTelemetry's protocol over HTTP and gRPC, answered in its own form.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use prost::Message as _;
use serde_json::json;

use super::super::access::Caller;
use super::{Ways, check_grant, parse_appid, problem};
use crate::api::problem::{Body9457, Kind, Problem};
use crate::ingest::body::{BodyError, Encoding, Received, media_type};
use crate::ingest::otlp::{self, Format, OtlpError, Taken};
use crate::schema::{limit, otlp as shown};

/// `google.rpc.Status`, which OTLP answers errors with.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// `google.rpc.Code`, as far as it is used here.
#[derive(Clone, Copy)]
enum Code {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    fn of(kind: Kind) -> Self {
        match kind.status() {
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            _ => Self::InvalidArgument,
        }
    }
}

/// Push OpenTelemetry's logs (OTLP over HTTP)
#[utoipa::path(post, path = "/apps/{appid}/otlp/v1/logs", operation_id = "otlp_http", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Path, description = "The application's id"), ("Content-Encoding" = inline(Option<limit::ContentEncoding>), Header, description = "How the body is compressed")), request_body(content(
        (inline(limit::Bytes) = "application/x-protobuf"),
        (shown::Logs = "application/json"),
    )), responses(
    (status = 200, description = "`ExportLogsServiceResponse`", content(
        ("application/x-protobuf"),
        (shown::Answer = "application/json"),
    )),
    (status = "4XX", description = "`google.rpc.Status`", content(
        ("application/x-protobuf"),
        (shown::Status = "application/json"),
        (Body9457 = "application/problem+json"),
    )),
    (status = 503, description = "`google.rpc.Status`", content(
        ("application/x-protobuf"),
        (shown::Status = "application/json"),
    )),
))]
pub(super) async fn over_http(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    Path(appid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let format = match media_type(&headers).as_str() {
        "application/x-protobuf" | "application/protobuf" => Format::Protobuf,
        "application/json" => Format::Json,
        _ => {
            let detail = "media type: expected application/x-protobuf or application/json";
            return Problem::new(Kind::UnsupportedMediaType, detail).into_response();
        }
    };
    let taken = async {
        let appid = parse_appid(&appid)?;
        check_grant(&caller, &appid)?;
        let bodies = ways.push.bodies().map_err(problem)?;
        let received = bodies.receive(&headers, body).await;
        let received = received.map_err(|error| problem(error.into()))?;
        otlp::take(&ways.push, caller.subject, appid, format, received)
            .await
            .map_err(refused)
    };
    match taken.await {
        Ok(taken) => message(format, StatusCode::OK, &response(&taken), &taken),
        Err(problem) => status(format, problem),
    }
}

fn refused(error: OtlpError) -> Problem {
    match error {
        OtlpError::Push(error) => problem(error),
        OtlpError::Malformed(_) => Problem::bad_request(error.to_string()),
    }
}

fn response(taken: &Taken) -> ExportLogsServiceResponse {
    let partial_success = (taken.rejected > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(taken.rejected).unwrap_or(i64::MAX),
        error_message: taken.reason.clone(),
    });
    ExportLogsServiceResponse { partial_success }
}

fn message(
    format: Format,
    status: StatusCode,
    response: &ExportLogsServiceResponse,
    taken: &Taken,
) -> Response {
    let body = match format {
        Format::Protobuf => response.encode_to_vec(),
        // 64-bit numbers are text in the JSON mapping of protobuf.
        Format::Json => match &response.partial_success {
            None => b"{}".to_vec(),
            Some(_) => json!({"partialSuccess": {
                "rejectedLogRecords": taken.rejected.to_string(),
                "errorMessage": taken.reason,
            }})
            .to_string()
            .into_bytes(),
        },
    };
    written(format, status, body)
}

fn status(format: Format, problem: Problem) -> Response {
    let code = Code::of(problem.kind()) as i32;
    let detail = problem.detail().to_owned();
    let body = match format {
        Format::Protobuf => RpcStatus {
            code,
            message: detail,
        }
        .encode_to_vec(),
        Format::Json => json!({"code": code, "message": detail})
            .to_string()
            .into_bytes(),
    };
    let problem = problem.into_response();
    let mut response = written(format, problem.status(), body);
    if let Some(wait) = problem.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    response
}

fn written(format: Format, status: StatusCode, body: Vec<u8>) -> Response {
    let media_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(media_type))];
    (status, headers, body).into_response()
}

/// Push OpenTelemetry's logs (OTLP over gRPC)
///
/// One unary call of gRPC: a message behind five bytes of its length, and the
/// status in the trailers. The application is in the metadata `appid`.
#[utoipa::path(post, path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    operation_id = "otlp_grpc", tag = "push", security(("access_token" = [])),
    params(("appid" = Uuid, Header, description = "The application's id")),
    request_body(content((inline(limit::Bytes) = "application/grpc"))), responses(
    (status = 200, description = "What became of it is in `grpc-status`", content(("application/grpc"))),
))]
pub(super) async fn over_grpc(
    State(ways): State<Ways>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let called = async {
        let appid = headers.get("appid").and_then(|value| value.to_str().ok());
        let appid = appid.ok_or((
            Code::InvalidArgument,
            "expected the app's UUID in the metadata appid".to_owned(),
        ))?;
        let appid = parse_appid(appid).map_err(|problem| grpc_status(&problem))?;
        check_grant(&caller, &appid).map_err(|problem| grpc_status(&problem))?;
        let bodies = ways.push.bodies();
        let bodies = bodies.map_err(|error| grpc_status(&problem(error)))?;
        let received = bodies.read(&headers, body).await;
        let received = received.map_err(|error| grpc_status(&problem(error.into())))?;
        let (encoding, received) = unframed(&headers, received)?;
        let received = bodies.decompress(encoding, received).await;
        let received = received.map_err(|error| grpc_status(&problem(error.into())))?;
        otlp::take(
            &ways.push,
            caller.subject,
            appid,
            Format::Protobuf,
            received,
        )
        .await
        .map_err(|error| grpc_status(&refused(error)))
    };
    match called.await {
        Ok(taken) => {
            let message = response(&taken).encode_to_vec();
            let mut framed = BytesMut::with_capacity(message.len() + 5);
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            framed.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body =
                Full::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
            grpc(Body::new(body))
        }
        Err((code, detail)) => {
            let mut response = grpc(Body::empty());
            let headers = response.headers_mut();
            headers.insert("grpc-status", HeaderValue::from(code as i32));
            if let Ok(detail) = HeaderValue::from_str(&percent_encoded(&detail)) {
                headers.insert("grpc-message", detail);
            }
            response
        }
    }
}

fn grpc(body: Body) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))];
    (headers, body).into_response()
}

fn grpc_status(problem: &Problem) -> (Code, String) {
    let code = match problem.kind() {
        Kind::TooManyRequests | Kind::TooLarge => Code::ResourceExhausted,
        kind => Code::of(kind),
    };
    (code, problem.detail().to_owned())
}

/// The message without its frame, and how it is compressed.
fn unframed(
    headers: &HeaderMap,
    mut received: Received,
) -> Result<(Encoding, Received), (Code, String)> {
    const PREFIX: usize = 5;
    let malformed = || {
        let detail = "expected one message of gRPC".to_owned();
        (Code::InvalidArgument, detail)
    };
    let prefix: [u8; PREFIX] = received
        .bytes
        .get(..PREFIX)
        .and_then(|prefix| prefix.try_into().ok())
        .ok_or_else(malformed)?;
    let [flag, length @ ..] = prefix;
    let length = u32::from_be_bytes(length) as usize;
    let message: Bytes = received.bytes.slice(PREFIX..);
    if message.len() != length || flag > 1 {
        return Err(malformed());
    }
    received.bytes = message;
    if flag == 0 {
        return Ok((Encoding::Identity, received));
    }
    let name = headers
        .get("grpc-encoding")
        .and_then(|name| name.to_str().ok());
    match Encoding::parse(name.unwrap_or_default()) {
        Ok(Encoding::Identity) => Err(malformed()),
        Ok(encoding) => Ok((encoding, received)),
        Err(error @ BodyError::Encoding(_)) => Err((Code::Unimplemented, error.to_string())),
        Err(_) => Err(malformed()),
    }
}

/// `grpc-message` is ASCII with everything else as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
