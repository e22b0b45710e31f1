//! Pages of other origins, through the router of the whole API.
#![allow(clippy::unwrap_used, reason = "tests")]

use http::Request as HttpRequest;
use http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, AUTHORIZATION};
use serde_json::Value;

use super::super::tests::house;
use super::*;

const LISTED: &str = "https://grafana.example.org";
const OTHER: &str = "https://grafana.example.org.evil.example";

fn from(origin: &str, method: &str, path: &str) -> http::request::Builder {
    HttpRequest::builder()
        .method(method)
        .uri(path)
        .header(ORIGIN, origin)
}

fn preflight_from(origin: &str, path: &str) -> HttpRequest<Body> {
    from(origin, "OPTIONS", path)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header("access-control-request-headers", "authorization")
        .body(Body::empty())
        .unwrap()
}

fn plain(origin: &str, path: &str) -> HttpRequest<Body> {
    from(origin, "GET", path).body(Body::empty()).unwrap()
}

fn allowed(headers: &HeaderMap) -> Option<&str> {
    assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    let value = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
    value.map(|value| value.to_str().unwrap())
}

fn varies(headers: &HeaderMap) -> bool {
    headers.get_all(VARY).iter().any(|value| value == "Origin")
}

#[tokio::test]
async fn a_listed_origin_is_told_what_it_may_send_and_may_read_the_answers() {
    let listed = "https://Grafana.example.org:443,http://localhost:3000";
    let house = house(&[("MSCP_LOG_HTTP__CORS_ORIGINS", listed)]).await;
    for origin in [LISTED, "http://localhost:3000"] {
        let preflight = preflight_from(origin, "/api/r1/log/_search");
        let (status, headers, body) = house.send(preflight).await;
        assert_eq!((status, body), (StatusCode::NO_CONTENT, Value::Null));
        assert_eq!(allowed(&headers), Some(origin));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], METHODS);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], SENT);
        assert!(headers.contains_key(ACCESS_CONTROL_MAX_AGE) && varies(&headers));

        let token = house.token(serde_json::json!([{"method": ["GET"], "url": ["/api/regions"]}]));
        let with_token = from(origin, "GET", "/api/regions")
            .header(AUTHORIZATION, format!("Bearer {}", token.await))
            .body(Body::empty())
            .unwrap();
        let (status, headers, _) = house.send(with_token).await;
        assert_eq!((status, allowed(&headers)), (StatusCode::OK, Some(origin)));
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], READ);
        assert!(varies(&headers));

        // A page is to read why it was refused too.
        let (status, headers, _) = house.send(plain(origin, "/api/regions")).await;
        assert_eq!(
            (status, allowed(&headers)),
            (StatusCode::UNAUTHORIZED, Some(origin))
        );
    }
}

#[tokio::test]
async fn an_origin_that_is_not_listed_meets_the_door_and_is_allowed_nothing() {
    let house = house(&[("MSCP_LOG_HTTP__CORS_ORIGINS", LISTED)]).await;
    for origin in [
        OTHER,
        "http://grafana.example.org",
        "https://grafana.example.org:8443",
        "https://GRAFANA.example.org",
        "null",
        "",
        "*",
    ] {
        let preflight = preflight_from(origin, "/api/r1/log/_search");
        let (status, headers, _) = house.send(preflight).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{origin}");
        assert_eq!(allowed(&headers), None, "{origin}");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS) && varies(&headers));
        let (status, headers, _) = house.send(plain(origin, "/healthz")).await;
        assert_eq!((status, allowed(&headers)), (StatusCode::OK, None));
        assert!(varies(&headers));
    }
    // Two origins are none, and neither is a listed one without a preflight's header.
    let two = from(LISTED, "OPTIONS", "/api/regions")
        .header(ORIGIN, LISTED)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "GET");
    let (status, headers, _) = house.send(two.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, allowed(&headers)),
        (StatusCode::UNAUTHORIZED, None)
    );
    let no_preflight = from(LISTED, "OPTIONS", "/api/regions");
    let (status, _, _) = house.send(no_preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_an_empty_list_no_answer_speaks_of_origins() {
    let house = house(&[]).await;
    for request in [
        preflight_from(LISTED, "/api/r1/log/_search"),
        plain(LISTED, "/healthz"),
        plain(LISTED, "/api/regions"),
    ] {
        let is_preflight = request.method() == Method::OPTIONS;
        let (status, headers, _) = house.send(request).await;
        assert!(!is_preflight || status == StatusCode::UNAUTHORIZED);
        assert!(!varies(&headers) && allowed(&headers).is_none());
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    }
}
