//! The document against the router, and against itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::access::Door;
use super::super::access::tests::{APP, house_of, request};
use super::super::tests::{app, health, house, rooms_of};
use super::*;
use crate::config::Config;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn base() -> Base {
    Base::new("/api", None).unwrap()
}

fn written(base: &Base, otlp: bool) -> Value {
    super::written(base, otlp).unwrap()
}

/// Every operation, as the method and the path from the origin.
fn operations_of(document: &Value) -> Vec<(&'static str, String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let servers = item.get("servers").unwrap_or(&document["servers"]);
        let server = servers[0]["url"].as_str().unwrap().trim_end_matches('/');
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                all.push((method, format!("{server}{path}"), operation));
            }
        }
    }
    all
}

/// The paths that the router has, from what it shows of itself: axum tells
/// them in no other way. A change of that form fails the test that asks.
fn routed(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let own = shown.split("fallback_router").next().unwrap();
    own.split("RouteId(")
        .filter_map(|entry| entry.split_once("): \"/"))
        .filter_map(|(_, path)| path.split('"').next())
        .map(|path| format!("/{path}"))
        .collect()
}

/// A path that fits the template.
fn filled(template: &str) -> String {
    let fill = |segment: &str| match segment {
        "{appid}" => APP.to_owned(),
        name if name.starts_with('{') => "x".to_owned(),
        literal => literal.to_owned(),
    };
    template.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_is_in_the_document_and_everything_in_it_is_a_route() {
    let inside = |door: Arc<Door>, _: &Config| {
        super::super::inside(rooms_of(app(), &door), &base(), health())
    };
    let house = house_of(&[], inside).await;
    let rooms = &house.router;
    let passthrough = [
        "/api/{region}/log",
        "/api/{region}/log/",
        "/api/{region}/log/{*rest}",
    ];
    let mut paths = routed(rooms);
    for path in passthrough {
        assert!(paths.remove(path), "{path} is no route: {paths:?}");
    }
    assert!(paths.len() > 20, "{paths:?}");

    let mut answered = BTreeSet::new();
    for path in &paths {
        for method in METHODS {
            let name = method.to_uppercase();
            let response = rooms.clone().oneshot(request(&name, &filled(path), None));
            let response = response.await.unwrap();
            let status = response.status();
            if status == StatusCode::NOT_FOUND {
                // Of a region that is not there, and not of a path.
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let told = String::from_utf8_lossy(&body);
                assert!(told.contains("no such region"), "{method} {path}: {told}");
            }
            if status != StatusCode::METHOD_NOT_ALLOWED {
                answered.insert((method, path.clone()));
            }
        }
    }
    let document = written(&base(), true);
    let named = operations_of(&document)
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect::<BTreeSet<_>>();
    assert_eq!(named, answered);
}

#[tokio::test]
async fn what_the_document_asks_a_token_for_is_refused_without_one_and_nothing_else_is() {
    let house = house(&[]).await;
    let document = written(&base(), true);
    for (method, path, operation) in operations_of(&document) {
        let request = request(&method.to_uppercase(), &filled(&path), None);
        let (status, _, _) = house.send(request).await;
        let secured = operation.get("security").is_some();
        assert_eq!(
            status == StatusCode::UNAUTHORIZED,
            secured,
            "{method} {path}: {status}"
        );
        assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn every_other_method_is_405_and_told_what_the_path_takes() {
    let house = house(&[]).await;
    let everything = serde_json::json!([
        {"method": ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "url": ["/**"]}
    ]);
    let token = format!("Bearer {}", house.token(everything).await);
    let document = written(&base(), true);
    let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut open = BTreeSet::new();
    for (method, path, operation) in operations_of(&document) {
        let methods = taken.entry(path.clone()).or_default();
        methods.insert(method.to_uppercase());
        if method == "get" {
            methods.insert("HEAD".to_owned());
        }
        if operation.get("security").is_none() {
            open.insert(path);
        }
    }
    let others = ["OPTIONS", "TRACE", "QUERY"];
    for (path, methods) in &taken {
        for method in METHODS
            .map(str::to_uppercase)
            .iter()
            .map(String::as_str)
            .chain(others)
        {
            if methods.contains(method) {
                continue;
            }
            let of_no_rule = method == "TRACE" || method == "QUERY";
            let stranger = of_no_rule || open.contains(path);
            let token = (!stranger).then_some(token.as_str());
            let (status, headers, body) = house.send(request(method, &filled(path), token)).await;
            assert_eq!(
                status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}: {body}"
            );
            let allow = headers["allow"].to_str().unwrap();
            let told: BTreeSet<String> = allow
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
            assert_eq!(&told, methods, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_open_and_knows_where_it_is_served() {
    let house = house(&[
        ("MSCP_LOG_HTTP__BASE", "/logs/api"),
        ("MSCP_LOG_HTTP__PUBLIC_URL", "https://logs.example.org"),
    ])
    .await;
    let asked = request("GET", "/logs/api/openapi.json", None);
    let (status, headers, body) = house.send(asked).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (
            StatusCode::OK,
            &http::HeaderValue::from_static("application/json")
        )
    );
    let server = "https://logs.example.org/logs/api";
    assert_eq!(body["servers"][0]["url"], server);
    let at_root = &body["paths"]["/healthz"]["servers"][0]["url"];
    assert_eq!(at_root, "https://logs.example.org/");
}

#[test]
fn without_opentelemetry_its_paths_are_not_in_the_document() {
    let with = written(&base(), true)["paths"].as_object().unwrap().len();
    let without = written(&base(), false);
    assert_eq!(without["paths"].as_object().unwrap().len(), with - 2);
    assert!(!without["paths"].to_string().contains("otlp"));
}

/// Calls `see` with every value of this key, at any depth.
fn each<'v>(value: &'v Value, key: &str, see: &mut impl FnMut(&'v Value)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    see(value);
                }
                each(value, key, see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, key, see)),
        _ => {}
    }
}

#[test]
fn the_document_is_openapi_3_1_and_every_reference_in_it_resolves() {
    let document = written(&base(), true);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut references = 0;
    each(&document, "$ref", &mut |reference| {
        references += 1;
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    });
    assert!(references > 50, "{references}");
    // Those of OpenAPI's registry; "u-int64" of utoipa is none of them.
    each(&document, "format", &mut |format| {
        assert!(!format.as_str().unwrap().starts_with("u-"), "{format}");
    });

    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().collect();
    let tags: Vec<&str> = tags
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations_of(&document) {
        let place = format!("{method} {path}");
        let name = operation["operationId"].as_str().unwrap();
        assert!(!name.is_empty() && names.insert(name), "{place}: {name}");
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{place}"
        );
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(&tag.as_str().unwrap()), "{place}: {tag}");
        }
        for way in operation["security"].as_array().into_iter().flatten() {
            for scheme in way.as_object().unwrap().keys() {
                assert!(schemes.contains_key(scheme), "{place}: {scheme}");
            }
        }
        let in_path: BTreeSet<&str> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let mut told = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["schema"].is_object(), "{place}: {parameter}");
            if parameter["in"] == "path" {
                assert_eq!(parameter["required"], true, "{place}: {parameter}");
                assert!(told.insert(parameter["name"].as_str().unwrap()));
            }
        }
        assert_eq!(told, in_path, "{place}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(
            answers.len() > 1 && answers.contains_key("default"),
            "{place}"
        );
        for (status, answer) in answers {
            let is_status = status.len() == 3 && status.starts_with(['1', '2', '3', '4', '5']);
            assert!(is_status || status == "default", "{place}: {status}");
            let described = answer.get("description").or(answer.get("$ref"));
            assert!(described.is_some(), "{place}: {status}");
        }
    }
}

/// Where a value is not what the schema says; of schemas what is used here.
fn mismatch(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]).unwrap();
        return mismatch(document, target, value, at);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let fits = |one| mismatch(document, one, value, at).is_none();
        return (!any.iter().any(fits)).then(|| format!("{at}: {value} is none of {any:?}"));
    }
    if let Some(words) = schema["enum"].as_array() {
        return (!words.contains(value)).then(|| format!("{at}: {value} is none of {words:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |name: &Value| name == kind || (name == "number" && kind == "integer");
    let told = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(fits),
        name => fits(name),
    };
    if !told {
        return Some(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let (Value::Array(items), item) = (value, &schema["items"]) {
        return items
            .iter()
            .find_map(|value| mismatch(document, item, value, &format!("{at}[]")));
    }
    let (Value::Object(fields), Some(known)) = (value, schema["properties"].as_object()) else {
        return None;
    };
    let mut required = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) = required.find(|name| !fields.contains_key(name.as_str().unwrap())) {
        return Some(format!("{at}: {missing} is missing"));
    }
    fields
        .iter()
        .find_map(|(name, value)| match known.get(name) {
            Some(schema) => mismatch(document, schema, value, &format!("{at}.{name}")),
            // An answer that says more than its schema is a schema to be mended.
            None => Some(format!("{at}.{name} is not in the schema")),
        })
}

#[tokio::test]
async fn answers_and_what_is_sent_have_the_form_that_the_document_gives_them() {
    let house = house(&[]).await;
    let document = written(&base(), true);
    let all = serde_json::json!([
        {"method": ["GET", "POST", "PUT", "PATCH", "DELETE"], "url": ["/**"], "other": {}}
    ]);
    let token = house.token(all).await;
    let shop = serde_json::json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"],
        "other": {"log": {"namespace": ["shop"], "type": ["a"]}}}]);
    let record = serde_json::json!({"timestemp": crate::clock::now_us(), "appid": APP,
        "type": "applog", "message": "m", "annotations": [{"key": "n", "value": 1.5}]});
    let none = Value::Null;
    let user = serde_json::json!({"email": "fluent", "service": true, "grants": shop});
    let role = serde_json::json!({ "grants": shop });
    let patch = serde_json::json!({"disabled": false});
    let issue = serde_json::json!({"access": shop, "label": "l"});
    let pushed = serde_json::json!([record]);
    let log = format!("/apps/{APP}/log");
    let mut made = String::new();
    for (method, template, body, expected) in [
        ("get", "/system/users", &none, 200),
        ("post", "/system/users", &user, 201),
        ("get", "/system/users/{id}", &none, 200),
        ("patch", "/system/users/{id}", &patch, 200),
        ("post", "/system/users/{id}/tokens", &issue, 201),
        ("get", "/system/users/{id}/tokens", &none, 200),
        ("put", "/system/roles/{name}", &role, 200),
        ("get", "/system/roles", &none, 200),
        ("get", "/system/keys", &none, 200),
        ("post", "/system/keys/rotate", &none, 409),
        ("get", "/system/audit", &none, 200),
        ("get", "/regions", &none, 200),
        ("post", "/apps/{appid}/log", &pushed, 202),
        ("post", "/apps/log", &record, 202),
        ("post", "/apps/log", &none, 400),
        ("delete", "/system/users/{id}", &none, 204),
        ("get", "/system/users/{id}", &none, 404),
    ] {
        let operation = &document["paths"][template][method];
        let sent = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            assert_eq!(mismatch(&document, sent, body, "sent"), None, "{template}");
        }
        let path = match template {
            "/apps/{appid}/log" => log.clone(),
            other => other.replace("{id}", &made).replace("{name}", "readers"),
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let call = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(format!("/api{path}"))
            .header("authorization", format!("Bearer {token}"));
        let (status, headers, answer) = house.send(call.body(Body::from(text)).unwrap()).await;
        let place = format!("{method} {template}: {answer}");
        assert_eq!(status, expected, "{place}");
        if let Some(id) = answer["id"].as_str() {
            made = id.to_owned();
        }
        let answers = &operation["responses"];
        let told = answers.get(status.as_str()).unwrap_or(&answers["default"]);
        let told = match told["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => told,
        };
        let Some(media_type) = headers.get("content-type") else {
            assert!(told.get("content").is_none(), "{place}");
            continue;
        };
        let schema = &told["content"][media_type.to_str().unwrap()]["schema"];
        assert!(schema.is_object(), "{place}: {told}");
        assert_eq!(
            mismatch(&document, schema, &answer, "answer"),
            None,
            "{place}"
        );
    }
}

#[tokio::test]
async fn an_introspection_has_the_form_that_the_document_gives_it() {
    let house = house(&[]).await;
    let document = written(&base(), true);
    let post = &document["paths"]["/auth/introspect"]["post"];
    let schema = &post["responses"]["200"]["content"]["application/json"]["schema"];
    let rules = serde_json::json!([{"method": ["GET", "POST"], "url": ["/**"], "other": {}},
        {"method": ["POST"], "url": ["/api/auth/introspect"]}]);
    let token = house.token(rules).await;
    let shop = house.token(
        serde_json::json!([{"method": ["GET"], "url": ["/api/r1/log/**"],
        "other": {"log": {"namespace": ["shop"]}}}]),
    );
    let (shop, url) = (shop.await, "/api/r1/log/_search");
    for (body, decided) in [
        (serde_json::json!({"token": "no"}), Value::Null),
        (serde_json::json!({"token": house.root}), Value::Null),
        (
            serde_json::json!({"token": token, "method": "GET", "url": url}),
            Value::Bool(true),
        ),
        (
            serde_json::json!({"token": shop, "method": "GET", "url": url}),
            Value::Bool(true),
        ),
        (
            serde_json::json!({"token": shop, "method": "PUT", "url": url}),
            Value::Bool(false),
        ),
    ] {
        let call = Request::post("/api/auth/introspect")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.to_string()));
        let (status, _, answer) = house.send(call.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["decision"]["allowed"], decided);
        assert_eq!(
            mismatch(&document, schema, &answer, "answer"),
            None,
            "{answer}"
        );
    }
}

#[tokio::test]
async fn readiness_has_the_form_that_the_document_gives_it() {
    let router = health::routes(health());
    let response = router
        .oneshot(request("GET", "/readyz", None))
        .await
        .unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let document = written(&base(), true);
    let schema = document.pointer("/components/schemas/Readiness").unwrap();
    let answer = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(mismatch(&document, schema, &answer, "answer"), None);
}
