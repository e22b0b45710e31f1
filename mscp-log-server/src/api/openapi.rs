//! `base/openapi.json`: the API as a document (OpenAPI 3.1), made from the
//! handlers' annotations and the types that they read and write.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use mscp_log_core::access::Base;
use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Ref, RefOr, Server};
use utoipa::{Modify, OpenApi, ToResponse};

use super::access::SESSION_COOKIE;
use super::body::method_not_allowed;
use super::problem::Body9457;
use super::{admin, auth, backup, collect, dead_letters, health, push, rotation, system};

#[cfg(test)]
mod tests;

/// The endpoint, by its path below the base; `otlp` says whether the paths for
/// OpenTelemetry are there.
pub fn routes<S: Clone + Send + Sync + 'static>(base: &Base, otlp: bool) -> Router<S> {
    match written(base, otlp) {
        Ok(document) => Router::new()
            .route("/openapi.json", get(shown))
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(Bytes::from(document.to_string())),
        Err(error) => {
            tracing::error!(%error, "the document of the API could not be written");
            Router::new()
        }
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "node", responses(
    (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
))]
async fn shown(State(text): State<Bytes>) -> ([(http::HeaderName, &'static str); 1], Bytes) {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// How each failure is answered.
#[derive(ToResponse)]
#[response(
    description = "A failure, as `application/problem+json` (RFC 9457)",
    content_type = "application/problem+json"
)]
#[expect(dead_code, reason = "it is for the document only")]
pub(super) struct Problem(Body9457);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mscp-log",
        description = "Everything but `{region}/log/**`, which is Elasticsearch's REST API."
    ),
    paths(shown),
    components(responses(Problem), schemas(Body9457)),
    modifiers(&Schemes),
    tags(
        (name = "tokens", description = "Signing in, and tokens"),
        (name = "push", description = "Records in"),
        (name = "administration", description = "Accounts, roles, keys, the audit, regions, rotation and dead letters"),
        (name = "node", description = "What one asks of a node"),
    )
)]
struct Document;

/// The ways to say who calls.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(description))
                .build()
        };
        let mut password = Http::new(HttpAuthScheme::Basic);
        password.description = Some("E-mail and password.".to_owned());
        let session = ApiKeyValue::with_description(
            SESSION_COOKIE,
            "A session of the web UI; it counts only beside the header `X-Requested-With`.",
        );
        let schemes = [
            (
                "access_token",
                SecurityScheme::Http(bearer(
                    "An access token. One of a service account is also taken as the Basic \
                     password of the user `token`, and as `ApiKey`.",
                )),
            ),
            (
                "root_token",
                SecurityScheme::Http(bearer(
                    "A root token: good for asking for access tokens only.",
                )),
            ),
            ("password", SecurityScheme::Http(password)),
            ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
        ];
        let components = document.components.get_or_insert_default();
        for (name, scheme) in schemes {
            components.add_security_scheme(name, scheme);
        }
    }
}

/// The whole document of a node with this base.
fn document(base: &Base, otlp: bool) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(auth::Document::openapi());
    document.merge(admin::Document::openapi());
    document.merge(backup::Document::openapi());
    document.merge(dead_letters::Document::openapi());
    document.merge(rotation::Document::openapi());
    document.merge(system::Document::openapi());
    document.merge(push::Document::openapi());
    document.merge(collect::Document::openapi());
    // The same handler is at both paths, and an annotation has one.
    let paths = &mut document.paths.paths;
    if let Some(info) = paths.get("/apps/{appid}").cloned() {
        paths.insert("/apps/{appid}/".to_owned(), info);
    }
    let origin = base.origin().unwrap_or_default();
    let mut at_root = health::Document::openapi();
    if otlp {
        document.merge(push::OtlpDocument::openapi());
        at_root.merge(push::GrpcDocument::openapi());
    }
    for item in at_root.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new(format!("{origin}/"))]);
    }
    document.merge(at_root);
    document.servers = Some(vec![Server::new(match base.prefix() {
        "" => format!("{origin}/"),
        prefix => format!("{origin}{prefix}"),
    })]);

    let mut names = std::collections::BTreeSet::new();
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            finish(operation);
            // One handler may be at several methods and paths.
            let mut name = operation.operation_id.take().unwrap_or_default();
            while !names.insert(name.clone()) {
                name = format!("{name}_{method}");
            }
            operation.operation_id = Some(name);
        }
    }
    document
}

/// The document as JSON, with what the types above it cannot say.
fn written(base: &Base, otlp: bool) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(document(base, otlp))?;
    bound(&mut document);
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for item in items.filter_map(|(_, item)| item.as_object_mut()) {
        let operations = item.values_mut();
        let parameters = operations.filter_map(|it| it.get_mut("parameters")?.as_array_mut());
        for parameter in parameters.flatten() {
            never_null(&mut parameter["schema"]);
        }
        let bodies = item
            .values_mut()
            .filter_map(|it| it.pointer_mut("/requestBody/content")?.as_object_mut());
        for content in bodies.flat_map(|content| content.values_mut()) {
            content.get_mut("schema").map(never_null);
        }
    }
    Ok(document)
}

/// A format is an annotation (JSON Schema 2020-12, Validation, section 7.2.1):
/// the greatest number that is read stands beside it.
fn bound(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Object(members) => {
            // utoipa spells the formats of the registry with a hyphen.
            let unsigned = match members.get("format").and_then(Value::as_str) {
                Some("u-int8") => Some(("uint8", u64::from(u8::MAX))),
                Some("u-int16") => Some(("uint16", u64::from(u16::MAX))),
                Some("u-int32") => Some(("uint32", u64::from(u32::MAX))),
                Some("u-int64") => Some(("uint64", u64::MAX)),
                _ => None,
            };
            if let Some((format, greatest)) = unsigned {
                members.insert("format".to_owned(), format.into());
                members.entry("maximum").or_insert(greatest.into());
            }
            members.values_mut().for_each(bound);
        }
        _ => {}
    }
}

/// A parameter or a body that is optional may be absent, and is never `null`.
fn never_null(schema: &mut Value) {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(any) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        any.retain(|one| one["type"] != "null");
        if let [only] = any.as_slice() {
            *schema = only.clone();
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("post", &mut item.post),
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds what the door answers, and every failure that is not named.
fn finish(operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    let mut statuses = vec!["default"];
    if let Some(ways) = &operation.security {
        statuses.push("401");
        let by_password = ways.contains(&SecurityRequirement::new("password", [""; 0]));
        // Where refusals have a protocol's own form, it is told of all at once.
        if !by_password && !answers.contains_key("4XX") {
            statuses.push("403");
        }
    }
    for status in statuses {
        let problem = RefOr::Ref(Ref::from_response_name("Problem"));
        answers.entry(status.to_owned()).or_insert(problem);
    }
}
