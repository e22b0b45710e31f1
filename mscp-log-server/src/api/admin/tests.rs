//! Administration, through requests.
#![allow(clippy::unwrap_used, reason = "tests")]

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request as HttpRequest};
use serde_json::{Value, json};

use super::super::access::tests::{House, house};
use super::super::auth;
use super::*;

struct Office {
    house: House,
    token: String,
}

impl Office {
    async fn open() -> Self {
        let inside = Router::new().nest("/api", routes().merge(auth::routes()));
        let house = house(&[], inside).await;
        let all = json!([{"method": ["GET", "POST", "PUT", "PATCH", "DELETE"], "url": ["/**"]}]);
        let token = house.token(all).await;
        Self { house, token }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call_with(&self.token, method, path, body).await
    }

    async fn call_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = HttpRequest::builder()
            .method(method)
            .uri(format!("/api{path}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(text))
            .unwrap();
        let (status, headers, body): (StatusCode, HeaderMap, Value) =
            self.house.send(request).await;
        if status.is_client_error() {
            assert_eq!(
                headers["content-type"], "application/problem+json",
                "{method} {path}"
            );
        }
        (status, body)
    }
}

const NONE: Value = Value::Null;

fn readers() -> Value {
    json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"namespace": ["shop"]}}}])
}

#[tokio::test]
async fn an_account_is_made_changed_and_removed() {
    let office = Office::open().await;
    let (status, role) = office
        .call(
            "PUT",
            "/system/roles/readers",
            &json!({"grants": readers()}),
        )
        .await;
    assert_eq!(
        (status, &role["name"], &role["grants"]),
        (StatusCode::OK, &json!("readers"), &readers())
    );
    let new =
        json!({"email": "ann@example.org", "password": "a long password", "roles": ["readers"]});
    let (status, ann) = office.call("POST", "/system/users", &new).await;
    assert_eq!(status, StatusCode::CREATED, "{ann}");
    assert!(!ann.to_string().contains("a long password") && ann.get("password").is_none());
    let path = format!("/system/users/{}", ann["id"].as_str().unwrap());

    let (status, again) = office.call("POST", "/system/users", &new).await;
    assert_eq!(
        (status, &again["type"]),
        (StatusCode::CONFLICT, &json!("/problems/conflict"))
    );
    let (_, users) = office.call("GET", "/system/users", &NONE).await;
    assert_eq!(users.as_array().unwrap().len(), 2);
    let (status, changed) = office
        .call(
            "PATCH",
            &path,
            &json!({"disabled": true, "grants": readers()}),
        )
        .await;
    assert_eq!(
        (status, &changed["disabled"], &changed["grants"]),
        (StatusCode::OK, &json!(true), &readers()),
        "{changed}"
    );
    let (_, one) = office.call("GET", &path, &NONE).await;
    assert_eq!(one, changed);
    let (_, roles) = office.call("GET", "/system/roles", &NONE).await;
    assert_eq!(roles[0]["accounts"], 1);
    assert_eq!(
        office
            .call("DELETE", "/system/roles/readers", &NONE)
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        office.call("DELETE", &path, &NONE).await.0,
        StatusCode::NO_CONTENT
    );
    for (method, path) in [
        ("GET", path.as_str()),
        ("DELETE", &path),
        ("DELETE", "/system/roles/readers"),
    ] {
        let (status, problem) = office.call(method, path, &NONE).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::NOT_FOUND, &json!("/problems/not-found"))
        );
    }
    // Nobody takes away the account that they sit on.
    let (_, users) = office.call("GET", "/system/users", &NONE).await;
    let own = format!("/system/users/{}", users[0]["id"].as_str().unwrap());
    assert_eq!(
        office.call("DELETE", &own, &NONE).await.0,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_field_at_fault() {
    let office = Office::open().await;
    for (body, said) in [
        (json!({}), "email"),
        (json!({"email": "a@example.org", "admin": true}), "admin"),
        (json!({"email": 1}), "string"),
        (
            json!({"email": "a@example.org", "grants": [{"method": ["GET"], "url": ["x"]}]}),
            "grants",
        ),
        (json!({"email": "a@example.org", "grants": {}}), "grants"),
        (
            json!({"email": "a@example.org", "password": "x"}),
            "password",
        ),
    ] {
        let (status, problem) = office.call("POST", "/system/users", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(problem.to_string().contains(said), "{problem}");
    }
    assert_eq!(
        office.call("GET", "/system/audit?limit=x", &NONE).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        office.call("GET", "/system/audit?x=1", &NONE).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        office.call("PUT", "/system/users", &NONE).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn nobody_gives_what_their_own_grants_do_not_cover() {
    let office = Office::open().await;
    let clerk_grants = json!([
        {"method": ["GET", "POST", "PUT", "PATCH", "DELETE"], "url": ["{mscp_api_url}/system/**", "{mscp_api_url}/auth/**"]},
        readers()[0],
    ]);
    let clerk = json!({"email": "clerk@example.org", "password": "a long password", "grants": clerk_grants});
    assert_eq!(
        office.call("POST", "/system/users", &clerk).await.0,
        StatusCode::CREATED
    );
    let peer = "127.0.0.1".parse().unwrap();
    let identity = office.house.door.identity();
    let root = identity
        .login("clerk@example.org", &Secret::new("a long password"), peer)
        .await
        .unwrap();
    let subject = identity.verify(&root.token, crate::clock::now_s()).unwrap();
    let wanted = clerk_grants.to_string().parse().unwrap();
    let token = identity
        .issue(&subject.subject(), &wanted, None, None)
        .await
        .unwrap()
        .token;

    let wider = json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"]}]);
    for (grants, expected) in [
        (&wider, StatusCode::FORBIDDEN),
        (&readers(), StatusCode::OK),
    ] {
        let (status, problem) = office
            .call_with(
                &token,
                "PUT",
                "/system/roles/mine",
                &json!({"grants": grants}),
            )
            .await;
        assert_eq!(status, expected, "{problem}");
    }
    let more = json!({"email": "more@example.org", "grants": wider});
    assert_eq!(
        office
            .call_with(&token, "POST", "/system/users", &more)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    // Nor do they take the password of one who may do more.
    let (_, users) = office.call("GET", "/system/users", &NONE).await;
    let first = users
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["email"] == "admin@example.com")
        .unwrap();
    let path = format!("/system/users/{}", first["id"].as_str().unwrap());
    let (status, _) = office
        .call_with(
            &token,
            "PATCH",
            &path,
            &json!({"password": "another long one"}),
        )
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_service_token_works_until_it_is_taken_back() {
    let office = Office::open().await;
    let grants = json!([{"method": ["GET"], "url": ["{mscp_api_url}/regions"]}]);
    let (_, sender) = office
        .call(
            "POST",
            "/system/users",
            &json!({"email": "sender", "service": true, "grants": grants}),
        )
        .await;
    let tokens = format!("/system/users/{}/tokens", sender["id"].as_str().unwrap());
    let (status, issued) = office
        .call(
            "POST",
            &tokens,
            &json!({"access": grants, "ttl": 86_400, "label": "shop"}),
        )
        .await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");
    let token = issued["token"].as_str().unwrap();
    let (status, regions) = office.call_with(token, "GET", "/regions", &NONE).await;
    assert_eq!((status, regions), (StatusCode::OK, json!([{"name": "r1"}])));
    let (_, list) = office.call("GET", &tokens, &NONE).await;
    assert_eq!(
        (&list[0]["jti"], &list[0]["label"]),
        (&issued["jti"], &json!("shop"))
    );
    assert!(!list.to_string().contains(token));

    let beyond = json!({"access": [{"method": ["GET"], "url": ["{mscp_api_url}/system/users"]}]});
    assert_eq!(
        office.call("POST", &tokens, &beyond).await.0,
        StatusCode::FORBIDDEN
    );
    let path = format!("{tokens}/{}", issued["jti"].as_str().unwrap());
    assert_eq!(
        office.call("DELETE", &path, &NONE).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        office.call_with(token, "GET", "/regions", &NONE).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        office.call("DELETE", &path, &NONE).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_signed_and_no_secret_is_listed() {
    let office = Office::open().await;
    let (status, keys) = office.call("GET", "/system/keys", &NONE).await;
    assert_eq!(status, StatusCode::OK);
    let active = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "active")
        .unwrap();
    assert!(active.get("secret").is_none());
    // The next key is young: a rotation has to wait.
    let (status, problem) = office.call("POST", "/system/keys/rotate", &NONE).await;
    assert!(
        status == StatusCode::CONFLICT || status == StatusCode::OK,
        "{problem}"
    );
    assert_eq!(
        office.call("DELETE", "/system/keys/none", &NONE).await.0,
        StatusCode::NOT_FOUND
    );
    let path = format!("/system/keys/{}", active["kid"].as_str().unwrap());
    assert_eq!(office.call("DELETE", &path, &NONE).await.0, StatusCode::OK);
    assert_eq!(
        office.call("GET", "/system/keys", &NONE).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_audit_tells_who_did_what() {
    let office = Office::open().await;
    let (_, rows) = office.call("GET", "/system/audit?limit=1", &NONE).await;
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["action"], "token.access");
    assert!(!rows.to_string().contains(&office.token));
    let (_, before) = office
        .call(
            "GET",
            &format!("/system/audit?before={}", rows[0]["id"].as_str().unwrap()),
            &NONE,
        )
        .await;
    assert!(
        before
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["action"] == "account.add")
    );
}
