//! Answers in Elasticsearch's form: JSON, text tables, errors, and the part of
//! them that `filter_path` asks for.

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use mscp_log_core::query::wildcard;
use serde_json::{Map, Value, json};

use super::super::catalog::CatalogError;
use super::super::writer::Unavailable;
use super::media::Media;

/// What an endpoint answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content: Content,
}

/// The body of a [`Reply`].
#[derive(Debug)]
pub(super) enum Content {
    Json(Value),
    /// JSON that is written already.
    Written(String),
    /// A table or a tagline.
    Text(String),
    Empty,
}

impl Reply {
    pub(super) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            content: Content::Json(body),
        }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content: Content::Empty,
        }
    }
}

/// A request that is refused or failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// The methods that are allowed, where this one is not.
    allow: Option<&'static str>,
}

impl Fault {
    /// A fault whose body is written already.
    pub(super) fn written(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            allow: None,
        }
    }

    /// `{"error": {"root_cause": [..], "type", "reason"}, "status"}`
    pub(super) fn new(status: StatusCode, kind: &str, reason: impl Into<String>) -> Self {
        let mut error = Map::new();
        error.insert("type".to_owned(), kind.into());
        error.insert("reason".to_owned(), reason.into().into());
        Self::of(status, error)
    }

    fn of(status: StatusCode, mut error: Map<String, Value>) -> Self {
        let root_cause = json!([error]);
        error.insert("root_cause".to_owned(), root_cause);
        Self::written(status, json!({"error": error, "status": status.as_u16()}))
    }

    /// A further member of the error, in its root cause too.
    pub(super) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.body["error"]["root_cause"][0][member] = value.clone();
        self.body["error"][member] = value;
        self
    }

    /// What lay below the error.
    pub(super) fn caused_by(mut self, cause: Value) -> Self {
        self.body["error"]["caused_by"] = cause;
        self
    }

    /// 400 for a body that is no JSON, by the name that a version has for it.
    pub(super) fn no_json(error: &serde_json::Error, major: u16) -> Self {
        let kind = if major < 8 {
            "json_parse_exception"
        } else {
            "x_content_parse_exception"
        };
        Self::new(StatusCode::BAD_REQUEST, kind, error.to_string())
    }

    /// 400 `parse_exception`
    pub(super) fn parse(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parse_exception", reason)
    }

    /// 400 `action_request_validation_exception`, of what is wrong, numbered.
    pub(super) fn invalid(faults: &[&str]) -> Self {
        let mut reason = "Validation Failed: ".to_owned();
        for (place, fault) in (1..).zip(faults) {
            reason.push_str(&format!("{place}: {fault};"));
        }
        let kind = "action_request_validation_exception";
        Self::new(StatusCode::BAD_REQUEST, kind, reason)
    }

    /// 400 `invalid_index_name_exception`
    pub(super) fn index_name(name: &str, reason: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_index_name_exception",
            reason,
        )
        .with("index_uuid", "_na_")
        .with("index", name)
    }

    /// 400 `illegal_argument_exception`
    pub(super) fn argument(reason: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "illegal_argument_exception",
            reason,
        )
    }

    /// The form that errors have before any endpoint is found.
    pub(super) fn plain(status: StatusCode, reason: impl Into<String>) -> Self {
        let body = json!({"error": reason.into(), "status": status.as_u16()});
        Self::written(status, body)
    }

    /// 405, with the methods that are allowed, joined by commas.
    pub(super) fn method(reason: impl Into<String>, allowed: &'static str) -> Self {
        Self {
            allow: Some(allowed),
            ..Self::plain(StatusCode::METHOD_NOT_ALLOWED, reason)
        }
    }

    /// 404 `index_not_found_exception`
    pub(super) fn no_index(name: &str) -> Self {
        let status = StatusCode::NOT_FOUND;
        let mut error = Map::new();
        for (member, value) in no_index_error(name) {
            error.insert(member.to_owned(), value.into());
        }
        Self::of(status, error)
    }

    /// The `error` member alone, as an item of `_bulk` has it.
    pub(super) fn item(&self) -> Value {
        let mut error = self.body["error"].clone();
        if let Some(error) = error.as_object_mut() {
            error.remove("root_cause");
        }
        error
    }
}

fn no_index_error(name: &str) -> [(&'static str, String); 6] {
    [
        ("type", "index_not_found_exception".to_owned()),
        ("reason", format!("no such index [{name}]")),
        ("resource.type", "index_or_alias".to_owned()),
        ("resource.id", name.to_owned()),
        ("index_uuid", "_na_".to_owned()),
        ("index", name.to_owned()),
    ]
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Missing(name) => Self::no_index(&name),
            CatalogError::TooMany(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "validation_exception",
                error.to_string(),
            ),
            other => {
                // The caller need not know the paths of this machine.
                tracing::error!(error = %other, "the store cannot be read");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "exception",
                    "the store cannot be read",
                )
            }
        }
    }
}

impl From<tantivy::TantivyError> for Fault {
    fn from(error: tantivy::TantivyError) -> Self {
        tracing::error!(%error, "the store cannot be read");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "exception",
            "the store cannot be read",
        )
    }
}

impl From<Unavailable> for Fault {
    fn from(Unavailable(reason): Unavailable) -> Self {
        tracing::warn!(reason, "a write was refused");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable_shards_exception",
            "the store does not take writes now",
        )
    }
}

/// The first version that names its product in a header.
const FIRST_WITH_PRODUCT: (u16, u16, u16) = (7, 14, 0);

/// The first version whose JSON names no character set.
const FIRST_WITHOUT_CHARSET: u16 = 8;

/// How the answer is to be written.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// The version that the store says it is.
    version: (u16, u16, u16),
    pretty: bool,
    filter_path: Option<String>,
    /// The media type of JSON, where the client named one.
    json: Option<String>,
}

impl Form {
    /// The form of an answer to a request that could not be read.
    pub(super) fn plain(version: (u16, u16, u16)) -> Self {
        Self {
            version,
            pretty: false,
            filter_path: None,
            json: None,
        }
    }

    /// What the parameters and the headers ask for.
    pub(super) fn of(
        version: (u16, u16, u16),
        parameters: &[(String, String)],
        media: &Media,
    ) -> Self {
        let value = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        Self {
            version,
            pretty: value("pretty").is_some_and(|value| value != "false"),
            filter_path: value("filter_path")
                .filter(|value| !value.is_empty())
                .map(str::to_owned),
            json: media.json.clone(),
        }
    }

    /// The whole response. Errors are written whole, whatever `filter_path` says.
    pub(super) fn response(&self, reply: Result<Reply, Fault>) -> Response<Body> {
        let (reply, filter_path, allow) = match reply {
            Ok(reply) => (reply, self.filter_path.as_deref(), None),
            Err(fault) => (Reply::json(fault.status, fault.body), None, fault.allow),
        };
        let (body, kind) = match reply.content {
            Content::Empty => (String::new(), self.json_kind()),
            Content::Text(text) => (text, "text/plain; charset=UTF-8".to_owned()),
            Content::Written(text) if filter_path.is_none() && !self.pretty => {
                (text, self.json_kind())
            }
            Content::Written(text) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::Null);
                (self.write(value, filter_path), self.json_kind())
            }
            Content::Json(value) => (self.write(value, filter_path), self.json_kind()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        if self.version >= FIRST_WITH_PRODUCT {
            headers.insert(
                "x-elastic-product",
                HeaderValue::from_static("Elasticsearch"),
            );
        }
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Ok(kind) = HeaderValue::try_from(kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        response
    }

    fn json_kind(&self) -> String {
        match &self.json {
            Some(kind) => kind.clone(),
            None if self.version.0 < FIRST_WITHOUT_CHARSET => {
                "application/json; charset=UTF-8".to_owned()
            }
            None => "application/json".to_owned(),
        }
    }

    fn write(&self, value: Value, filter_path: Option<&str>) -> String {
        let value = match filter_path {
            Some(paths) => filtered(value, paths),
            None => value,
        };
        if self.pretty {
            pretty(&value) + "\n"
        } else {
            value.to_string()
        }
    }
}

/// JSON over many lines as Elasticsearch writes it: a space on both sides of a
/// colon, and inside of what is empty.
fn pretty(value: &Value) -> String {
    fn write(value: &Value, depth: usize, out: &mut String) {
        let line = |depth: usize, out: &mut String| {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        };
        match value {
            Value::Object(members) if members.is_empty() => out.push_str("{ }"),
            Value::Array(items) if items.is_empty() => out.push_str("[ ]"),
            Value::Object(members) => {
                out.push('{');
                for (place, (name, value)) in members.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    line(depth + 1, out);
                    out.push_str(&Value::from(name.as_str()).to_string());
                    out.push_str(" : ");
                    write(value, depth + 1, out);
                }
                line(depth, out);
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    line(depth + 1, out);
                    write(item, depth + 1, out);
                }
                line(depth, out);
                out.push(']');
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

/// The members that `filter_path` names: paths with `*` for one name and `**`
/// for any, those after `-` left out.
fn filtered(value: Value, paths: &str) -> Value {
    let paths = || {
        paths
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty())
    };
    let includes: Vec<Vec<&str>> = paths()
        .filter(|path| !path.starts_with('-'))
        .map(|path| path.split('.').collect())
        .collect();
    let excludes: Vec<Vec<&str>> = paths()
        .filter_map(|path| path.strip_prefix('-'))
        .map(|path| path.split('.').collect())
        .collect();
    let kept = if includes.is_empty() {
        Some(value)
    } else {
        let includes: Vec<&[&str]> = includes.iter().map(Vec::as_slice).collect();
        included(value, &includes)
    };
    let excludes: Vec<&[&str]> = excludes.iter().map(Vec::as_slice).collect();
    kept.map_or_else(|| json!({}), |value| excluded(value, &excludes))
}

/// The rests of `paths` behind a member of this name; an empty one is an end.
fn below<'p>(paths: &[&'p [&'p str]], name: &str) -> Vec<&'p [&'p str]> {
    let mut rests = Vec::new();
    for path in paths {
        match path {
            ["**", rest @ ..] => {
                rests.push(*path);
                rests.extend(below(&[rest], name));
            }
            [first, rest @ ..] if wildcard::fits(first, name) => rests.push(rest),
            _ => {}
        }
    }
    rests
}

fn ends(paths: &[&[&str]]) -> bool {
    paths.iter().any(|path| path.is_empty() || **path == ["**"])
}

fn included(value: Value, paths: &[&[&str]]) -> Option<Value> {
    if ends(paths) {
        return Some(value);
    }
    match value {
        Value::Object(members) => {
            let kept: Map<String, Value> = members
                .into_iter()
                .filter_map(|(name, value)| {
                    let rests = below(paths, &name);
                    Some((name, included(value, &rests)?))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let items = items.into_iter();
            let kept: Vec<Value> = items.filter_map(|item| included(item, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn excluded(value: Value, paths: &[&[&str]]) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter_map(|(name, value)| {
                let rests = below(paths, &name);
                if ends(&rests) {
                    None
                } else {
                    Some((name, excluded(value, &rests)))
                }
            })
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(items) => {
            let items = items.into_iter();
            items.map(|item| excluded(item, paths)).collect()
        }
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paths: &str, expect: &Value) {
        let value = json!({
            "took": 1,
            "hits": {"total": {"value": 2}, "hits": [{"_id": "a", "_source": {"x": 1}}, {"_id": "b"}]},
        });
        assert_eq!(&filtered(value, paths), expect);
    }

    #[test]
    fn pretty_json_has_the_spaces_of_elasticsearch() {
        let text = pretty(&json!({"a": {}, "b": [1, []]}));
        assert_eq!(
            text,
            "{\n  \"a\" : { },\n  \"b\" : [\n    1,\n    [ ]\n  ]\n}"
        );
    }

    #[test]
    fn filter_path_keeps_what_it_names_and_leaves_out_what_it_forbids() {
        check("took", &json!({"took": 1}));
        check(
            "hits.total.value",
            &json!({"hits": {"total": {"value": 2}}}),
        );
        check(
            "hits.hits._id",
            &json!({"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        );
        check("**.x", &json!({"hits": {"hits": [{"_source": {"x": 1}}]}}));
        check("t*", &json!({"took": 1}));
        check("nothing", &json!({}));
        check("-hits", &json!({"took": 1}));
        check(
            "hits.hits,-**._source",
            &json!({"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        );
    }
}
