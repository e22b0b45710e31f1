//! Signing in and asking for tokens, through requests.
#![allow(clippy::unwrap_used, reason = "tests")]

use http::Request as HttpRequest;
use http::header::COOKIE;
use serde_json::{Value, json};

use super::super::access::tests::{EMAIL, House, PASSWORD, house, request};
use super::*;

async fn start(settings: &[(&str, &str)]) -> House {
    house(settings, Router::new().nest("/api", routes())).await
}

fn basic_of(email: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{email}:{password}")))
}

fn with_body(method: &str, uri: &str, token: &str, body: impl Into<Body>) -> HttpRequest<Body> {
    HttpRequest::builder()
        .method(method)
        .uri(uri)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(body.into())
        .unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_password_gives_a_root_token_and_a_root_token_access_tokens() {
    let house = start(&[]).await;
    for method in ["GET", "POST"] {
        let sign_in = request(
            method,
            "/api/auth/token_root",
            Some(&basic_of(EMAIL, PASSWORD)),
        );
        let (status, headers, body) = house.send(sign_in).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(headers["cache-control"], "no-store");
        let root = body["token"].as_str().unwrap();
        assert_eq!(claims(root)["exp"], body["exp"]);
        assert_eq!(claims(root)["email"], EMAIL);
        assert!(claims(root).get("access").is_none());

        let rules = json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {}}]);
        for (wanted, lasts) in [
            (rules.clone(), 3600),
            (json!({"access": rules}), 3600),
            (json!({"access": rules, "ttl": 60}), 60),
        ] {
            let ask = with_body(method, "/api/auth", root, wanted.to_string());
            let (status, headers, body) = house.send(ask).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            assert_eq!(headers["cache-control"], "no-store");
            let issued = claims(body["token"].as_str().unwrap());
            assert_eq!(issued["access"], rules);
            assert_eq!(
                issued["exp"].as_i64().unwrap() - issued["iat"].as_i64().unwrap(),
                lasts
            );
            assert!(
                issued["iss"].is_string() && issued["aud"].is_string() && issued["jti"].is_string()
            );
        }
        let (status, _, body) = house
            .send(with_body("GET", "/api/auth/grants", root, ""))
            .await;
        assert_eq!((status, &body[0]["url"]), (StatusCode::OK, &json!(["/**"])));
    }
}

#[tokio::test]
async fn a_refused_sign_in_says_the_same_whatever_was_wrong() {
    let house = start(&[]).await;
    let mut answers = Vec::new();
    for authorization in [
        basic_of(EMAIL, "wrong"),
        basic_of("nobody@example.com", PASSWORD),
    ] {
        let (status, headers, body) = house
            .send(request(
                "POST",
                "/api/auth/token_root",
                Some(&authorization),
            ))
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(headers["www-authenticate"], CHALLENGE_BASIC);
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
    for authorization in [None, Some("Basic !"), Some("Basic eA=="), Some("Bearer x")] {
        for path in ["/api/auth/token_root", "/api/auth/session"] {
            let (status, headers, _) = house.send(request("POST", path, authorization)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(headers["www-authenticate"], CHALLENGE_BASIC);
        }
    }
    // A page's request gets a challenge that opens no dialogue.
    let mut request = request(
        "POST",
        "/api/auth/token_root",
        Some(&basic_of(EMAIL, "wrong")),
    );
    request
        .headers_mut()
        .insert(REQUESTED_WITH, "fetch".parse().unwrap());
    let (_, headers, _) = house.send(request).await;
    assert_eq!(headers["www-authenticate"], CHALLENGE_BEARER);
}

#[tokio::test]
async fn failures_delay_and_the_answer_says_for_how_long() {
    let house = start(&[]).await;
    for attempt in 0..40 {
        let wrong = basic_of(EMAIL, "wrong");
        let (status, headers, _) = house
            .send(request("POST", "/api/auth/token_root", Some(&wrong)))
            .await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!(wait >= 1 && attempt > 0);
            return;
        }
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    panic!("no failure was ever delayed");
}

#[tokio::test]
async fn a_wish_that_cannot_be_is_refused_in_words() {
    let house = start(&[]).await;
    let ask = async |body: &str| {
        house
            .send(with_body("POST", "/api/auth", &house.root, body.to_owned()))
            .await
    };
    for (body, status, name, said) in [
        ("", 400, "bad-request", "body"),
        ("{", 400, "bad-request", "body"),
        ("{}", 400, "bad-request", "access"),
        (r#"{"access": [], "tll": 1}"#, 400, "bad-request", "tll"),
        (
            r#"{"access": [], "access": []}"#,
            400,
            "bad-request",
            "access",
        ),
        (r#"{"access": [], "ttl": 0}"#, 400, "bad-request", "ttl"),
        (r#"{"access": [], "ttl": "1h"}"#, 400, "bad-request", "body"),
        (
            r#"[{"method": ["FETCH"], "url": ["/x"]}]"#,
            400,
            "bad-request",
            "FETCH",
        ),
        (
            r#"[{"method": ["GET"], "url": ["x"]}]"#,
            400,
            "bad-request",
            "access[0]",
        ),
        (
            r#"[{"method": ["GET"], "url": ["/x"], "other": {"log": {"pod": ["a"]}}}]"#,
            400,
            "bad-request",
            "other.log.pod",
        ),
        (
            r#"[{"method": ["GET"], "url": ["https://elsewhere.example.com/x"]}]"#,
            401,
            "not-covered",
            "elsewhere",
        ),
    ] {
        let (found, headers, answer) = ask(body).await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert_eq!(answer["type"], format!("/problems/{name}"), "{body}");
        assert!(
            answer["detail"].as_str().unwrap().contains(said),
            "{body}: {answer}"
        );
        assert_eq!(headers.contains_key("www-authenticate"), status == 401);
    }
    let (status, _, answer) = ask(&"[".repeat(2_000_000)).await;
    assert_eq!(
        (status.as_u16(), &answer["type"]),
        (413, &json!("/problems/too-large"))
    );
    let (status, _, _) = house
        .send(with_body("PUT", "/api/auth/introspect", &house.root, ""))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let all = house
        .token(json!([{"method": ["PUT"], "url": ["/**"]}]))
        .await;
    let (status, _, answer) = house
        .send(with_body("PUT", "/api/auth/introspect", &all, ""))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["type"]),
        (405, &json!("/problems/method-not-allowed"))
    );
}

#[tokio::test]
async fn a_session_is_a_cookie_that_no_script_and_no_other_site_can_use() {
    for (settings, secure) in [
        (&[][..], false),
        (
            &[("MSCP_LOG_HTTP__PUBLIC_URL", "https://logs.example.com")][..],
            true,
        ),
    ] {
        let house = start(settings).await;
        let sign_in = request(
            "POST",
            "/api/auth/session",
            Some(&basic_of(EMAIL, PASSWORD)),
        );
        let (status, headers, body) = house.send(sign_in).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body["exp"].is_i64() && body.get("token").is_none());
        let cookie = headers["set-cookie"].to_str().unwrap();
        for part in [
            "; HttpOnly",
            "; SameSite=Strict",
            "; Path=/api/auth;",
            "; Max-Age=",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");

        let pair = cookie.split(';').next().unwrap();
        let mut ask = HttpRequest::post("/api/auth")
            .body(Body::from("[]"))
            .unwrap();
        ask.headers_mut().insert(COOKIE, pair.parse().unwrap());
        ask.headers_mut()
            .insert(REQUESTED_WITH, "fetch".parse().unwrap());
        let (status, _, body) = house.send(ask).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(claims(body["token"].as_str().unwrap())["access"], json!([]));

        let mut out = request("DELETE", "/api/auth/session", None);
        out.headers_mut().insert(COOKIE, pair.parse().unwrap());
        out.headers_mut()
            .insert(REQUESTED_WITH, "fetch".parse().unwrap());
        let (status, headers, _) = house.send(out).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(
            cookie.contains(&format!("{SESSION_COOKIE}=;")) && cookie.contains("Max-Age=0"),
            "{cookie}"
        );
    }
}

#[tokio::test]
async fn a_service_without_a_key_asks_what_a_token_is_good_for() {
    let house = start(&[]).await;
    let asker = house
        .token(json!([{"method": ["POST"], "url": ["{mscp_api_url}/auth/introspect"]}]))
        .await;
    let rules = json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"namespace": ["a"]}}}]);
    let asked = house.token(rules.clone()).await;
    let ask = async |body: Value| {
        let (status, headers, answer) = house
            .send(with_body(
                "POST",
                "/api/auth/introspect",
                &asker,
                body.to_string(),
            ))
            .await;
        assert_eq!(
            (status, &headers["cache-control"]),
            (StatusCode::OK, &HeaderValue::from_static("no-store")),
            "{answer}"
        );
        answer
    };
    let answer = ask(json!({"token": asked})).await;
    assert_eq!(
        (&answer["active"], &answer["access"]),
        (&json!(true), &rules)
    );
    assert_eq!(answer["exp"], claims(&asked)["exp"]);
    assert_eq!(answer["sub"], claims(&asked)["user_id"]);
    assert!(answer.get("decision").is_none());
    for (method, url, expected) in [
        (
            "GET",
            "/api/r1/log/_search?q=x",
            json!({"allowed": true, "write": false, "visible": [{"namespace": ["a"]}]}),
        ),
        ("POST", "/api/r1/log/_search", json!({"allowed": false})),
        ("GET", "/api/r2/log/_search", json!({"allowed": false})),
        (
            "GET",
            "https://elsewhere.example.com/api/r1/log/_search",
            json!({"allowed": false}),
        ),
    ] {
        let answer = ask(json!({"token": asked, "method": method, "url": url})).await;
        assert_eq!(answer["decision"], expected, "{method} {url}");
    }
    for no_token in ["x.y.z", ""] {
        assert_eq!(
            ask(json!({"token": no_token})).await,
            json!({"active": false})
        );
    }
    // A root token is one, and decides nothing.
    let answer = ask(json!({"token": house.root, "method": "GET", "url": "/api/auth"})).await;
    assert_eq!(
        (&answer["active"], &answer["decision"]),
        (&json!(true), &json!({"allowed": false}))
    );
    assert!(answer.get("access").is_none());

    let form = |body: String| {
        let mut request = with_body("POST", "/api/auth/introspect", &asker, body);
        let value = "application/x-www-form-urlencoded; charset=utf-8"
            .parse()
            .unwrap();
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, value);
        request
    };
    let url = "%2Fapi%2Fr1%2Flog%2F_search";
    let (_, _, answer) = house
        .send(form(format!(
            "token={asked}&token_type_hint=access_token&method=GET&url={url}"
        )))
        .await;
    assert_eq!(answer["decision"]["allowed"], true);
    for body in [
        "",
        "token=a&token=b",
        "token=a&x=1",
        "token=a&method=GET",
        "token=a&method=get&url=/x",
        "token=a&method=GET&url=%2Fa%2F..",
    ] {
        let (status, _, answer) = house
            .send(form(body.replace(
                "token=a&method=GET&url=%2F",
                &format!("token={asked}&method=GET&url=%2F"),
            )))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body} {answer}");
    }
}
