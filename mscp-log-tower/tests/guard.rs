//! The layer in front of a real axum service: what it lets in, as whom, and how it refuses.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::BodyExt as _;
use mscp_log_core::access::{Access, Base, Method};
use mscp_log_core::token::{Claims, Key, Policy, Verifier, sign};
use mscp_log_tower::{Caller, GuardLayer, KeyFile, KeyFileError};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, ServiceExt as _};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn token_of(kid: &str, secret: &[u8], access: Option<Value>) -> String {
    let access: Option<Access> = access.map(|access| serde_json::from_value(access).unwrap());
    let claims = Claims {
        iat: now_s(),
        exp: now_s() + 60,
        user_id: "u1".to_owned(),
        email: "u1@example.org".to_owned(),
        role: Vec::new(),
        access,
        iss: None,
        aud: None,
        jti: None,
    };
    sign(&claims, &Key::new(kid, secret).unwrap())
}

fn token() -> String {
    let access = json!([{"method": ["GET"], "url": ["{mscp_api_url}/orders"]}]);
    token_of("k1", SECRET, Some(access))
}

fn layer() -> GuardLayer {
    let key = Key::new("k1", SECRET).unwrap();
    let keys = Verifier::new(vec![key], Policy::Mscp, 30);
    GuardLayer::new(keys, Base::new("/shop", None).unwrap())
        .open(|method, path| method == Method::Get && path.as_str() == "/healthz")
}

/// Says who called, and everything of the request that a token could be in.
async fn show(caller: Option<Extension<Caller>>, uri: Uri, headers: HeaderMap) -> String {
    let subject = caller.map_or("nobody".into(), |Extension(caller)| caller.subject);
    format!("{subject} {uri} {headers:?}")
}

async fn ask(layer: &GuardLayer, request: Request<Body>) -> Response<Body> {
    let inside = Router::new().fallback(get(show).post(show));
    let mut service = layer.layer(inside.into_service::<Body>());
    service.ready().await.unwrap().call(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn with(uri: &str, authorization: &str) -> Request<Body> {
    let mut request = request(uri);
    request
        .headers_mut()
        .insert("authorization", authorization.parse().unwrap());
    request
}

#[tokio::test]
async fn a_token_lets_in_by_each_way_and_is_not_seen_behind() {
    let token = token();
    let basic = STANDARD.encode(format!("token:{token}"));
    let ways = [
        with("/shop/orders?a=1", &format!("Bearer {token}")),
        with("/shop/orders?a=1", &token),
        with("/shop/orders?a=1", &format!("Basic {basic}")),
        with("/shop/orders?a=1", &format!("ApiKey {token}")),
        request(&format!("/shop/orders?jwt={token}&a=1")),
    ];
    for mut request in ways {
        request
            .headers_mut()
            .insert("referer", format!("/x?jwt={token}").parse().unwrap());
        let response = ask(&layer(), request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "platform:u1 /shop/orders?a=1 {}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_in_the_form_of_a_node() {
    let bearer = format!("Bearer {}", token());
    let root = format!("Bearer {}", token_of("k1", SECRET, None));
    let other = format!("Bearer {}", token_of("k1", &[7; 32], Some(json!([]))));
    let mut post = with("/shop/orders", &bearer);
    *post.method_mut() = http::Method::POST;
    let mut trace = with("/shop/orders", &bearer);
    *trace.method_mut() = http::Method::TRACE;
    let cases = [
        (request("/shop/orders"), 401, "unauthorized"),
        (with("/shop/orders", "Digest x"), 401, "unauthorized"),
        (with("/shop/orders", &other), 401, "unauthorized"),
        (
            with(&format!("/shop/orders?jwt={}", token()), &bearer),
            401,
            "unauthorized",
        ),
        (with("/shop/orders", &root), 403, "forbidden"),
        (with("/shop/orders/", &bearer), 403, "forbidden"),
        (with("/shop/Orders", &bearer), 403, "forbidden"),
        (post, 403, "forbidden"),
        (with("/shop//orders", &bearer), 400, "bad-path"),
        (with("/shop/x/../orders", &bearer), 400, "bad-path"),
        (with("/shop/%2e%2e/orders", &bearer), 400, "bad-path"),
        (trace, 405, "method-not-allowed"),
    ];
    for (request, status, name) in cases {
        let asked = format!("{} {}", request.method(), request.uri());
        let response = ask(&layer(), request).await;
        assert_eq!(response.status(), status, "{asked}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(
            response.headers().contains_key("www-authenticate"),
            status == 401
        );
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["type"], format!("/problems/{name}"), "{asked}");
        assert_eq!(body["status"], status);
    }
    let refused = layer().jwt_parameter(false);
    let response = ask(&refused, request(&format!("/shop/orders?jwt={}", token()))).await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn what_is_open_needs_no_token_and_shows_none() {
    let response = ask(&layer(), with("/healthz", &format!("Bearer {}", token()))).await;
    assert_eq!(text(response).await, "nobody /healthz {}");
    assert_eq!(ask(&layer(), request("/healthz/")).await.status(), 401);
}

fn set(keys: &[(&str, &[u8])]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, secret)| {
            json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": URL_SAFE_NO_PAD.encode(secret)})
        })
        .collect();
    json!({ "keys": keys }).to_string()
}

#[test]
fn a_file_of_keys_is_read_again_when_it_changes_and_stays_when_it_is_broken() {
    use mscp_log_tower::Keys as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, set(&[("k1", SECRET)])).unwrap();
    let keys = KeyFile::open(&path, Policy::Mscp, 30).unwrap();
    let (first, second) = (token(), token_of("k2", &[7; 32], Some(json!([]))));
    let now = now_s();
    assert!(keys.verify(&first, now).is_ok() && keys.verify(&second, now).is_err());

    std::fs::write(&path, set(&[("k1", SECRET), ("k2", &[7; 32])])).unwrap();
    // Within the same second it is not looked at again.
    assert!(keys.verify(&second, now).is_err());
    assert!(keys.verify(&second, now + 1).is_ok());
    for broken in ["", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"oct\"}]}"] {
        std::fs::write(&path, broken).unwrap();
        assert!(keys.verify(&second, now + 2).is_ok());
    }
    std::fs::remove_file(&path).unwrap();
    assert!(keys.verify(&second, now + 3).is_ok());
    std::fs::write(&path, set(&[("k1", SECRET)])).unwrap();
    assert!(keys.verify(&second, now + 4).is_err());
}

#[test]
fn a_file_that_holds_no_keys_says_what_is_wrong_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let short = URL_SAFE_NO_PAD.encode(b"too short a secret");
    let cases = [
        ("[]".to_owned(), "expected a JWK Set"),
        (format!("{{\"keys\": \"{short}\"}}"), "expected a JWK Set"),
        ("{\"keys\": []}".to_owned(), "there is no key in it"),
        (
            json!({"keys": [{"kty": "RSA", "kid": "a"}]}).to_string(),
            "key 0 a: kty is \"RSA\", expected \"oct\"",
        ),
        (
            json!({"keys": [{"kty": "oct", "k": short}]}).to_string(),
            "key 0 without a kid: a kid is needed",
        ),
        (
            json!({"keys": [{"kty": "oct", "kid": "a", "k": "?"}]}).to_string(),
            "k is not base64url",
        ),
        (
            json!({"keys": [{"kty": "oct", "kid": "a", "alg": "HS512", "k": short}]}).to_string(),
            "expected \"HS256\"",
        ),
        (set(&[("a", b"too short a secret")]), "key 0 a: "),
    ];
    for (content, words) in cases {
        std::fs::write(&path, &content).unwrap();
        let error = KeyFile::open(&path, Policy::Mscp, 30).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(words) && said.contains("keys.json"), "{said}");
        assert!(
            !said.contains(&short) && !format!("{error:?}").contains(&short),
            "{said}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let missing = KeyFile::open(&path, Policy::Mscp, 30);
    assert!(matches!(missing, Err(KeyFileError::Io { .. })));
}
