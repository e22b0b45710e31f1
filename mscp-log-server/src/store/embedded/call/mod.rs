//! The Elasticsearch REST API of the embedded store: which endpoint a request
//! means, and what it may say.

mod bulk;
mod cat;
mod document;
mod index;
mod pit;
mod reply;
mod scroll;
mod search;

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;

use self::pit::Product;
use self::reply::{Content, Fault, Form, Reply};
use super::EmbeddedStore;
use super::indices::Options;

/// Parameters that every endpoint knows.
const COMMON: &[&str] = &[
    "pretty",
    "human",
    "error_trace",
    "filter_path",
    "format",
    "timeout",
    "master_timeout",
    "local",
    "expand_wildcards",
];

/// A request, taken apart.
struct Call {
    method: Method,
    /// The path as it came.
    path: String,
    segments: Vec<String>,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn parameter(&self, wanted: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is `true`, also when it has no value, or `false`.
    fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.parameter(name) {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(Fault::argument(format!(
                "Failed to parse value [{value}] as only [true] or [false] are allowed."
            ))),
        }
    }

    /// Refuse parameters that the endpoint does not know: what they ask for
    /// would not be done.
    fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let unknown = self
            .parameters
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()) && !COMMON.contains(&name.as_str()));
        match unknown {
            None => Ok(()),
            Some((name, _)) => Err(Fault::argument(format!(
                "request [{}] contains unrecognized parameter: [{name}]",
                self.path
            ))),
        }
    }

    /// How missing indices are treated.
    fn options(&self) -> Result<Options, Fault> {
        let default = Options::default();
        Ok(Options {
            ignore_unavailable: self
                .flag("ignore_unavailable")?
                .unwrap_or(default.ignore_unavailable),
            allow_no_indices: self
                .flag("allow_no_indices")?
                .unwrap_or(default.allow_no_indices),
        })
    }

    /// Whether the body may be read as JSON or NDJSON.
    fn json_body(&self) -> Result<(), Fault> {
        let Some(kind) = self.headers.get(CONTENT_TYPE) else {
            return Ok(());
        };
        let kind = kind.to_str().unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        const KNOWN: [&str; 4] = [
            "application/json",
            "application/x-ndjson",
            "application/vnd.elasticsearch+json",
            "application/vnd.elasticsearch+x-ndjson",
        ];
        if self.body.is_empty()
            || KNOWN
                .iter()
                .any(|known| essence.eq_ignore_ascii_case(known))
        {
            return Ok(());
        }
        Err(Fault::plain(
            StatusCode::NOT_ACCEPTABLE,
            format!("Content-Type header [{kind}] is not supported"),
        ))
    }

    fn wrong_method(&self, allowed: &str) -> Fault {
        Fault::plain(
            StatusCode::METHOD_NOT_ALLOWED,
            format!(
                "Incorrect HTTP method for uri [{}] and method [{}], allowed: [{allowed}]",
                self.path, self.method
            ),
        )
    }

    fn no_handler(&self) -> Fault {
        Fault {
            status: StatusCode::BAD_REQUEST,
            body: json!({
                "error": format!("no handler found for uri [{}] and method [{}]", self.path, self.method),
            }),
        }
    }
}

impl EmbeddedStore {
    /// Answer a request.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let (form, result) = match self.take(request).await {
            Ok(call) => {
                let form = Form::of(&call.parameters, &call.headers);
                (form, self.route(call).await)
            }
            Err(fault) => (Form::default(), Err(fault)),
        };
        let mut response = form.response(result);
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn take(&self, request: Request<Body>) -> Result<Call, Fault> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let segments = segments(&path).ok_or_else(|| {
            Fault::argument(format!("path [{path}] is not percent-encoded UTF-8"))
        })?;
        let parameters = axum::extract::Query::try_from_uri(&parts.uri)
            .map_err(|error| Fault::argument(error.to_string()))?
            .0;
        let limit = usize::try_from(self.settings.max_body_bytes).unwrap_or(usize::MAX);
        let body = axum::body::to_bytes(body, limit)
            .await
            .map_err(|_| too_large(limit))?;
        let body = match parts.headers.get(CONTENT_ENCODING) {
            None => body,
            Some(encoding) if encoding == "identity" => body,
            Some(encoding) if encoding == "gzip" => unpacked(&body, limit)?,
            Some(_) => {
                return Err(Fault::plain(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "Content-Encoding must be gzip or identity".to_owned(),
                ));
            }
        };
        Ok(Call {
            method: parts.method,
            path,
            segments,
            parameters,
            headers: parts.headers,
            body,
        })
    }

    async fn route(&self, call: Call) -> Result<Reply, Fault> {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let reads = matches!(call.method, Method::GET | Method::POST);
        let is = |method: Method| call.method == method;
        match *segments {
            [] if is(Method::GET) || is(Method::HEAD) => self.info(&call),
            [] => Err(call.wrong_method("GET, HEAD")),

            ["_search"] if reads => self.search(&call, "").await,
            [index, "_search"] if reads => self.search(&call, index).await,
            ["_count"] if reads => self.count(&call, "").await,
            [index, "_count"] if reads => self.count(&call, index).await,
            ["_msearch"] if reads => self.msearch(&call, "").await,
            [index, "_msearch"] if reads => self.msearch(&call, index).await,
            ["_search", "scroll"] if reads || is(Method::DELETE) => self.scroll(&call, None).await,
            ["_search", "scroll", id] if reads || is(Method::DELETE) => {
                self.scroll(&call, Some(id)).await
            }
            ["_search", "scroll", ..] => Err(call.wrong_method("GET, POST, DELETE")),
            ["_pit"] if is(Method::DELETE) => self.close_pit(&call),
            [index, "_pit"] if is(Method::POST) => {
                self.open_pit(&call, index, Product::Elasticsearch).await
            }
            ["_pit"] | [_, "_pit"] => Err(call.wrong_method("POST")),
            [index, "_search", "point_in_time"] if is(Method::POST) => {
                self.open_pit(&call, index, Product::OpenSearch).await
            }
            ["_search", "point_in_time"] if is(Method::DELETE) => self.close_pits(&call),
            ["_search", "point_in_time", "_all"] if is(Method::GET) || is(Method::DELETE) => {
                self.all_pits(&call)
            }
            ["_search" | "_count" | "_msearch"] | [_, "_search" | "_count" | "_msearch"] => {
                Err(call.wrong_method("GET, POST"))
            }

            ["_bulk"] if is(Method::POST) || is(Method::PUT) => self.bulk_call(&call, None).await,
            [index, "_bulk"] if is(Method::POST) || is(Method::PUT) => {
                self.bulk_call(&call, Some(index)).await
            }
            ["_bulk"] | [_, "_bulk"] => Err(call.wrong_method("POST, PUT")),

            [index, "_doc"] if is(Method::POST) => self.put_document(&call, index, None).await,
            [_, "_doc"] => Err(call.wrong_method("POST")),
            [index, "_doc", id] => match call.method {
                Method::GET | Method::HEAD => self.document(&call, index, id).await,
                Method::PUT | Method::POST => self.put_document(&call, index, Some(id)).await,
                Method::DELETE => self.delete_document(&call, index, id).await,
                _ => Err(call.wrong_method("GET, HEAD, POST, PUT, DELETE")),
            },
            [index, "_create", id] if is(Method::PUT) || is(Method::POST) => {
                self.create_document(&call, index, id).await
            }
            [_, "_create", _] => Err(call.wrong_method("POST, PUT")),

            ["_cat", "indices"] if is(Method::GET) => self.cat_indices(&call, "").await,
            ["_cat", "indices", index] if is(Method::GET) => self.cat_indices(&call, index).await,
            ["_mapping"] if is(Method::GET) => self.mapping(&call, "").await,
            [index, "_mapping"] if is(Method::GET) => self.mapping(&call, index).await,
            ["_refresh"] if reads => self.refresh(&call, "").await,
            [index, "_refresh"] if reads => self.refresh(&call, index).await,
            ["_cluster", "health"] if is(Method::GET) => self.health(&call, "").await,
            ["_cluster", "health", index] if is(Method::GET) => self.health(&call, index).await,
            ["_license"] | ["_xpack", "license"] if is(Method::GET) => Self::license(&call),

            [index] if !index.starts_with('_') || index == "_all" => match call.method {
                Method::HEAD => self.index_exists(&call, index).await,
                Method::PUT => self.create_index(&call, index).await,
                Method::DELETE => self.delete_index(&call, index).await,
                _ => Err(call.wrong_method("HEAD, PUT, DELETE")),
            },
            _ => Err(call.no_handler()),
        }
    }

    fn info(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&[])?;
        let (major, minor, patch) = self.settings.version;
        let (wire, index) = match major {
            6 => ("5.6.0", "5.0.0"),
            7 => ("6.8.0", "6.0.0-beta1"),
            8 => ("7.17.0", "7.0.0"),
            _ => ("8.18.0", "8.0.0"),
        };
        Ok(Reply::ok(json!({
            "name": self.settings.name,
            "cluster_name": self.settings.name,
            "cluster_uuid": index::uuid_of(&self.settings.name),
            "version": {
                "number": format!("{major}.{minor}.{patch}"),
                "build_flavor": "default",
                "build_type": "mscp-log",
                "build_hash": "unknown",
                "build_date": "1970-01-01T00:00:00.000Z",
                "build_snapshot": false,
                "lucene_version": "0.0.0",
                "minimum_wire_compatibility_version": wire,
                "minimum_index_compatibility_version": index,
            },
            "tagline": "You Know, for Search",
        })))
    }
}

/// The segments of a path, decoded. `None` where a segment is no UTF-8.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(decoded).collect()
}

fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn unpacked(body: &[u8], limit: usize) -> Result<Bytes, Fault> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(limit as u64 + 1);
    reader
        .read_to_end(&mut plain)
        .map_err(|error| Fault::argument(format!("the body is not gzip: {error}")))?;
    if plain.len() > limit {
        return Err(too_large(limit));
    }
    Ok(plain.into())
}

fn too_large(limit: usize) -> Fault {
    Fault::plain(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is over the limit of {limit} bytes, or broke off"),
    )
}
