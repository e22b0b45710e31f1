//! Small JSON bodies of the API's own endpoints, and their faults.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use mscp_log_core::access::Access;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::problem::{Kind, Problem};

/// The longest body that is read, in bytes. An account with a thousand rules
/// fits into it.
const MAX_BYTES: usize = 1024 * 1024;

/// A body, whole.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, MAX_BYTES).await.map_err(|_| {
        let detail = format!("the body could not be read, or has more than {MAX_BYTES} bytes");
        Problem::new(Kind::TooLarge, detail)
    })
}

/// A body as JSON, whatever media type it claims: the original's clients send none.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    parse(&bytes(body).await?)
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not what is expected: {error}")))
}

/// Rules that a client writes: what is unknown in them is its mistake.
pub(super) fn access(field: &'static str, written: &RawValue) -> Result<Access, Problem> {
    written
        .get()
        .parse()
        .map_err(|error| Problem::bad_request(format!("{field}: {error}")).field(field))
}

/// An answer with a secret in it, or about one: no cache keeps it.
pub(super) fn unstored(answer: impl Serialize) -> Response {
    let mut response = axum::Json(answer).into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What axum answers with an empty body otherwise.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the endpoint has not this method")
}
