//! The Elasticsearch REST API of the embedded store: which endpoint a request
//! means, and what it may say.

mod agreement;
mod analyze;
mod bulk;
mod cat;
mod cluster;
mod describe;
mod document;
mod index;
mod media;
mod pit;
mod reply;
mod scroll;
mod search;
mod table;
mod template;

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use self::media::{Wanted, negotiate};
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
    body: Bytes,
    /// What the answer shall be.
    wanted: Wanted,
    form: Form,
    /// The major version whose answers the client expects: its own where it
    /// names one, else the store's.
    major: u16,
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
            Some((name, _)) => Err(self.unrecognized(name)),
        }
    }

    fn unrecognized(&self, parameter: &str) -> Fault {
        Fault::argument(format!(
            "request [{}] contains unrecognized parameter: [{parameter}]",
            self.path
        ))
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
            expand_wildcards: match self.parameter("expand_wildcards") {
                None => default.expand_wildcards,
                Some(kinds) => expands(kinds)?,
            },
        })
    }

    /// The body as a JSON object; empty where there is none.
    fn object(&self) -> Result<Map<String, Value>, Fault> {
        if self.body.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&self.body).map_err(|error| Fault::no_json(&error, self.major))
    }

    /// As [`Call::object`], of a body that must be there.
    fn required_object(&self) -> Result<Map<String, Value>, Fault> {
        if self.body.trim_ascii().is_empty() {
            return Err(Fault::parse("request body is required"));
        }
        self.object()
    }

    fn wrong_method(&self, allowed: &'static str) -> Fault {
        let reason = format!(
            "Incorrect HTTP method for uri [{}] and method [{}], allowed: [{allowed}]",
            self.path, self.method
        );
        Fault::method(reason, allowed)
    }

    fn no_handler(&self) -> Fault {
        let error = format!(
            "no handler found for uri [{}] and method [{}]",
            self.path, self.method
        );
        Fault::written(StatusCode::BAD_REQUEST, json!({ "error": error }))
    }
}

impl EmbeddedStore {
    /// Answer a request.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let (form, result) = match self.take(request).await {
            Ok(call) => (call.form.clone(), self.route(call).await),
            Err(fault) => (Form::plain(self.settings.version), Err(fault)),
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
        let parameters: Vec<(String, String)> = axum::extract::Query::try_from_uri(&parts.uri)
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
        let version = self.settings.version;
        let format = parameters.iter().find(|(name, _)| name == "format");
        let format = format.map(|(_, value)| value.as_str());
        let media = negotiate(&parts.headers, format, !body.is_empty(), version.0)?;
        Ok(Call {
            method: parts.method,
            path,
            segments,
            body,
            wanted: media.wanted,
            form: Form::of(version, &parameters, &media),
            major: media.version.unwrap_or(version.0),
            parameters,
        })
    }

    async fn route(&self, call: Call) -> Result<Reply, Fault> {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        match reads(&call.method, &segments) {
            Reads::Nothing => {}
            // Searches go on where the store cannot write.
            Reads::Documents => {
                let _ = self.writer.shown().await;
            }
            Reads::ById => self.writer.shown().await?,
        }
        if let [first, ..] = *segments
            && first.starts_with('_')
            && first != "_all"
        {
            return self.route_whole(&call, &segments).await;
        }
        self.route_index(&call, &segments).await
    }

    /// Endpoints of the store as a whole.
    async fn route_whole(&self, call: &Call, segments: &[&str]) -> Result<Reply, Fault> {
        let get = matches!(call.method, Method::GET | Method::HEAD);
        let reads = matches!(call.method, Method::GET | Method::POST);
        let writes = matches!(call.method, Method::PUT | Method::POST);
        let deletes = call.method == Method::DELETE;
        match *segments {
            ["_search"] if reads => self.search(call, "").await,
            ["_count"] if reads => self.count(call, "").await,
            ["_msearch"] if reads => self.msearch(call, "").await,
            ["_search", "scroll"] if reads || deletes => self.scroll(call, None).await,
            ["_search", "scroll", id] if reads || deletes => self.scroll(call, Some(id)).await,
            ["_search", "scroll", ..] => Err(call.wrong_method("GET, POST, DELETE")),
            ["_pit"] if deletes => self.close_pit(call),
            ["_search", "point_in_time"] if deletes => self.close_pits(call),
            ["_search", "point_in_time", "_all"] if get || deletes => self.all_pits(call),
            ["_bulk"] if writes => self.bulk_call(call, None).await,
            ["_mget"] if reads => self.many_documents(call, None).await,
            ["_analyze"] if reads => self.analyze(call, None).await,
            ["_refresh" | "_flush"] if reads => self.refresh(call, "").await,
            ["_field_caps"] if reads => self.field_caps(call, "").await,
            ["_mapping" | "_mappings"] if get => self.mapping(call, "").await,
            ["_mapping" | "_mappings", "field", fields] if get => {
                self.field_mapping(call, "", fields).await
            }
            ["_settings"] if get => self.index_settings(call, "", "").await,
            ["_settings", names] if get => self.index_settings(call, "", names).await,
            ["_settings"] if call.method == Method::PUT => self.set_settings(call, "").await,
            ["_stats"] if get => self.stats(call, "", "").await,
            ["_stats", metrics] if get => self.stats(call, "", metrics).await,
            ["_alias" | "_aliases"] if get => self.aliases(call, "", None).await,
            ["_alias", names] if get => self.aliases(call, "", Some(names)).await,
            ["_resolve", "index", names] if get => self.resolve(call, names).await,

            ["_index_template" | "_template"] if get => self.templates(call, segments[0], None),
            ["_index_template" | "_template", name] => match call.method {
                Method::GET | Method::HEAD => self.templates(call, segments[0], Some(name)),
                Method::PUT | Method::POST => self.put_template(call, segments[0], name).await,
                Method::DELETE => self.delete_template(call, segments[0], name).await,
                _ => Err(call.wrong_method("GET, HEAD, POST, PUT, DELETE")),
            },

            ["_cat", ..] if get => self.cat(call, &segments[1..]).await,
            ["_cat", ..] => Err(call.wrong_method("GET")),
            ["_cluster", "health"] if get => self.health(call, "").await,
            ["_cluster", "health", index] if get => self.health(call, index).await,
            ["_license"] | ["_xpack", "license"] if get => Self::license(call),
            ["_nodes"] | ["_nodes", _] | ["_nodes", _, "http"] if get => self.nodes(call),

            ["_search" | "_count" | "_msearch" | "_mget" | "_analyze" | "_field_caps"] => {
                Err(call.wrong_method("GET, POST"))
            }
            ["_bulk"] => Err(call.wrong_method("POST, PUT")),
            _ => Err(call.no_handler()),
        }
    }

    /// The root, and endpoints of an index or of several.
    async fn route_index(&self, call: &Call, segments: &[&str]) -> Result<Reply, Fault> {
        let get = matches!(call.method, Method::GET | Method::HEAD);
        let reads = matches!(call.method, Method::GET | Method::POST);
        let writes = matches!(call.method, Method::PUT | Method::POST);
        let puts = call.method == Method::PUT;
        match *segments {
            [] if get => self.info(call),
            [] => Err(call.wrong_method("GET, HEAD")),

            [index, "_search"] if reads => self.search(call, index).await,
            [index, "_count"] if reads => self.count(call, index).await,
            [index, "_msearch"] if reads => self.msearch(call, index).await,
            [index, "_mget"] if reads => self.many_documents(call, Some(index)).await,
            [index, "_analyze"] if reads => self.analyze(call, Some(index)).await,
            [index, "_refresh" | "_flush"] if reads => self.refresh(call, index).await,
            [index, "_field_caps"] if reads => self.field_caps(call, index).await,
            [
                _,
                "_search" | "_count" | "_msearch" | "_mget" | "_analyze" | "_field_caps",
            ] => Err(call.wrong_method("GET, POST")),
            [index, "_pit"] if call.method == Method::POST => {
                self.open_pit(call, index, Product::Elasticsearch).await
            }
            [_, "_pit"] => Err(call.wrong_method("POST")),
            [index, "_search", "point_in_time"] if call.method == Method::POST => {
                self.open_pit(call, index, Product::OpenSearch).await
            }
            [index, "_bulk"] if writes => self.bulk_call(call, Some(index)).await,
            [_, "_bulk"] => Err(call.wrong_method("POST, PUT")),

            [index, "_doc"] if call.method == Method::POST => {
                self.put_document(call, index, None).await
            }
            [_, "_doc"] => Err(call.wrong_method("POST")),
            [index, "_doc", id] => match call.method {
                Method::GET | Method::HEAD => self.document(call, index, id).await,
                Method::PUT | Method::POST => self.put_document(call, index, Some(id)).await,
                Method::DELETE => self.delete_document(call, index, id).await,
                _ => Err(call.wrong_method("GET, HEAD, POST, PUT, DELETE")),
            },
            [index, "_create", id] if writes => self.create_document(call, index, id).await,
            [_, "_create", _] => Err(call.wrong_method("POST, PUT")),
            [index, "_source", id] if get => self.document_source(call, index, id).await,
            [_, "_source", _] => Err(call.wrong_method("GET, HEAD")),

            [index, "_mapping" | "_mappings"] if get => self.mapping(call, index).await,
            [index, "_mapping" | "_mappings"] if writes => self.put_mapping(call, index).await,
            [index, "_mapping" | "_mappings", "field", fields] if get => {
                self.field_mapping(call, index, fields).await
            }
            [index, "_settings"] if get => self.index_settings(call, index, "").await,
            [index, "_settings", names] if get => self.index_settings(call, index, names).await,
            [index, "_settings"] if puts => self.set_settings(call, index).await,
            [index, "_stats"] if get => self.stats(call, index, "").await,
            [index, "_stats", metrics] if get => self.stats(call, index, metrics).await,
            [index, "_alias"] if get => self.aliases(call, index, None).await,
            [index, "_alias", names] if get => self.aliases(call, index, Some(names)).await,

            [index] => match call.method {
                Method::GET => self.index(call, index).await,
                Method::HEAD => self.index_exists(call, index).await,
                Method::PUT => self.create_index(call, index).await,
                Method::DELETE => self.delete_index(call, index).await,
                _ => Err(call.wrong_method("GET, HEAD, PUT, DELETE")),
            },
            _ => Err(call.no_handler()),
        }
    }
}

/// What a request reads of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    /// What a search finds.
    Documents,
    /// Documents by their ids: one that a client was answered for must not be
    /// called missing.
    ById,
}

fn reads(method: &Method, segments: &[&str]) -> Reads {
    let get = matches!(*method, Method::GET | Method::HEAD);
    match *segments {
        []
        | [
            "_bulk" | "_analyze" | "_license" | "_xpack" | "_nodes" | "_refresh" | "_flush",
            ..,
        ] => Reads::Nothing,
        ["_index_template" | "_template", ..]
        | [_, "_bulk" | "_create" | "_refresh" | "_flush", ..] => Reads::Nothing,
        [_, "_doc", ..] if !get => Reads::Nothing,
        ["_mget"] | [_, "_mget" | "_doc" | "_source", ..] => Reads::ById,
        _ => Reads::Documents,
    }
}

/// Whether patterns mean open indices, as all indices here are.
fn expands(kinds: &str) -> Result<bool, Fault> {
    let mut expands = false;
    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
        match kind {
            "open" | "all" => expands = true,
            "closed" | "hidden" => {}
            "none" => expands = false,
            other => {
                let reason = format!("No valid expand wildcard value [{other}]");
                return Err(Fault::argument(reason));
            }
        }
    }
    Ok(expands)
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
