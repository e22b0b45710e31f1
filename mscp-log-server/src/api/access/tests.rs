//! The door, through requests.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request as HttpRequest, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::config::{Config, Secret};
use crate::identity::{Administrator, Opened, Setup};

pub(in crate::api) const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
const OTHER_APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a3";

/// An installation of its own, with an administrator who is signed in.
pub(in crate::api) struct House {
    _data: tempfile::TempDir,
    pub(in crate::api) door: Arc<Door>,
    pub(in crate::api) root: String,
    pub(in crate::api) router: Router,
}

pub(in crate::api) const EMAIL: &str = "admin@example.com";
pub(in crate::api) const PASSWORD: &str = "correct horse battery";

pub(in crate::api) async fn house(settings: &[(&str, &str)], inside: Router) -> House {
    house_of(settings, |door, _| door.guard(inside)).await
}

/// The same, with a router of its own around or behind the door.
pub(in crate::api) async fn house_of(
    settings: &[(&str, &str)],
    router: impl FnOnce(Arc<Door>, &Config) -> Router,
) -> House {
    let data = tempfile::tempdir().unwrap();
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = Config::load(None, settings).unwrap();
    let Opened { identity, .. } = Identity::open(Setup {
        auth: &config.auth,
        data: data.path(),
        base: Base::new(&config.http.base, config.http.public_url.as_deref()).unwrap(),
        administrator: Administrator {
            email: Some(EMAIL.to_owned()),
            password: Some(Secret::new(PASSWORD)),
        },
    })
    .await
    .unwrap();
    let peer = IpAddr::from([127, 0, 0, 1]);
    let root = identity
        .login(EMAIL, &Secret::new(PASSWORD), peer)
        .await
        .unwrap();
    let door = Arc::new(Door::new(
        Arc::new(identity),
        &config.http,
        ["r1".to_owned()],
    ));
    House {
        _data: data,
        router: router(Arc::clone(&door), &config),
        door,
        root: root.token,
    }
}

impl House {
    pub(in crate::api) async fn token(&self, access: Value) -> String {
        let subject = self
            .door
            .identity
            .verify(&self.root, crate::clock::now_s())
            .unwrap();
        let wanted = access.to_string().parse().unwrap();
        let issued = self
            .door
            .identity
            .issue(&subject.subject(), &wanted, None, None)
            .await;
        issued.unwrap().token
    }

    /// The whole house, for what [`House::send`] does not show.
    pub(in crate::api) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(in crate::api) async fn send(
        &self,
        request: HttpRequest<Body>,
    ) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (parts.status, parts.headers, body)
    }

    async fn get(&self, uri: &str, authorization: Option<&str>) -> (StatusCode, HeaderMap, Value) {
        self.send(request("GET", uri, authorization)).await
    }
}

pub(in crate::api) fn request(
    method: &str,
    uri: &str,
    authorization: Option<&str>,
) -> HttpRequest<Body> {
    let mut request = HttpRequest::builder().method(method).uri(uri);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Body::empty()).unwrap()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// What a room behind the door sees.
fn mirror() -> Router {
    Router::new().fallback(|request: Request| async move {
        let caller = request.extensions().get::<Caller>();
        let headers: Vec<String> = request.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        axum::Json(json!({
            "uri": request.uri().to_string(),
            "headers": headers,
            "peer": request.extensions().get::<Peer>().and_then(|peer| peer.0),
            "subject": caller.map(|caller| caller.subject.to_string()),
            "write": caller.map(|caller| caller.write),
            "restricted": caller.map(|caller| match &caller.visible {
                Visible::All => None,
                Visible::Restricted(any) => Some(any.len()),
            }),
            "push": caller.map(|caller| [APP, OTHER_APP].map(|app| caller.may_push(&app.parse().unwrap()))),
        }))
    })
}

fn everything() -> Value {
    json!([{"method": ["GET", "POST", "PUT", "DELETE"], "url": ["/**"], "other": {"log": {"write": true}}}])
}

#[track_caller]
fn problem(
    (status, headers, body): &(StatusCode, HeaderMap, Value),
    expected: StatusCode,
    name: &str,
) {
    assert_eq!(*status, expected, "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["type"], format!("/problems/{name}"));
    assert_eq!(body["status"], expected.as_u16());
    assert!(body["title"].is_string() && body["detail"].is_string());
}

#[tokio::test]
async fn a_token_comes_in_by_each_of_its_ways_and_goes_no_further() {
    let house = house(&[], mirror()).await;
    let token = house.token(everything()).await;
    let basic = STANDARD.encode(format!("token:{token}"));
    let ways = [
        ("/api/r1/log/_search?q=a", Some(format!("Bearer {token}"))),
        ("/api/r1/log/_search?q=a", Some(format!("bearer {token}"))),
        ("/api/r1/log/_search?q=a", Some(token.clone())),
        ("/api/r1/log/_search?q=a", Some(format!("Basic {basic}"))),
        ("/api/r1/log/_search?q=a", Some(format!("ApiKey {token}"))),
        ("/api/r1/log/_search?q=a", Some(format!("ApiKey {basic}"))),
        ("/api/r1/log/_search?jwt=TOKEN&q=a", None),
        ("/api/r1/log/_search?q=a&jwt=TOKEN", None),
        ("/api/r1/log/_search?q=a&%6awt=TOKEN", None),
    ];
    for (uri, authorization) in ways {
        let uri = uri.replace("TOKEN", &token);
        let mut request = request("GET", &uri, authorization.as_deref());
        request
            .headers_mut()
            .insert(REFERER, format!("http://x/?jwt={token}").parse().unwrap());
        request.headers_mut().insert(
            COOKIE,
            format!("{SESSION_COOKIE}={}", house.root).parse().unwrap(),
        );
        let (status, _, seen) = house.send(request).await;
        assert_eq!(status, StatusCode::OK, "{uri} {authorization:?}");
        assert_eq!(seen["uri"], "/api/r1/log/_search?q=a");
        assert_eq!(seen["write"], true);
        let all = seen.to_string();
        assert!(
            !all.contains(&token) && !all.contains(&basic) && !all.contains(&house.root),
            "{all}"
        );
    }
}

#[tokio::test]
async fn no_token_more_than_one_and_one_that_does_not_verify_are_401() {
    let house = house(&[], mirror()).await;
    let token = house.token(everything()).await;
    let uri = "/api/r1/log/_search";
    let with_parameter = format!("{uri}?jwt={token}");
    let twice = format!("{uri}?jwt={token}&jwt={token}");
    for (uri, authorization) in [
        (uri, None),
        (uri, Some("Bearer")),
        (uri, Some("Bearer x.y.z")),
        (uri, Some("Bearer  ")),
        (uri, Some("Digest x")),
        (uri, Some("Basic dG9rZW4=")),
        (uri, Some("Basic !")),
        (uri, Some("")),
        (uri, Some(format!("{}x", bearer(&token)).as_str())),
        (with_parameter.as_str(), Some(bearer(&token).as_str())),
        (with_parameter.as_str(), Some("Bearer x.y.z")),
        (twice.as_str(), None),
    ] {
        let answer = house.get(uri, authorization).await;
        problem(&answer, StatusCode::UNAUTHORIZED, "unauthorized");
        assert!(
            answer.1["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
        assert!(!answer.2.to_string().contains(&token));
    }
    let mut two = request("GET", uri, Some(&bearer(&token)));
    two.headers_mut()
        .append(AUTHORIZATION, bearer(&token).parse().unwrap());
    problem(
        &house.send(two).await,
        StatusCode::UNAUTHORIZED,
        "unauthorized",
    );
    // Basic is for the user `token` only.
    let other_user = STANDARD.encode(format!("admin:{token}"));
    problem(
        &house.get(uri, Some(&format!("Basic {other_user}"))).await,
        StatusCode::UNAUTHORIZED,
        "unauthorized",
    );
}

#[tokio::test]
async fn the_url_parameter_can_be_switched_off_and_is_taken_away_all_the_same() {
    let house = house(&[("MSCP_LOG_HTTP__JWT_PARAMETER", "false")], mirror()).await;
    let token = house.token(everything()).await;
    let answer = house
        .get(&format!("/api/r1/log/_search?jwt={token}"), None)
        .await;
    problem(&answer, StatusCode::UNAUTHORIZED, "unauthorized");
    let (status, _, seen) = house.get(&format!("/healthz?jwt={token}"), None).await;
    assert_eq!((status, &seen["uri"]), (StatusCode::OK, &json!("/healthz")));
    let (status, _, _) = house
        .get("/api/r1/log/_search", Some(&bearer(&token)))
        .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_path_with_two_readings_is_400_before_any_token_is_looked_at() {
    let house = house(&[], mirror()).await;
    let token = house.token(everything()).await;
    for path in [
        "/api//r1",
        "/api/./x",
        "/api/../x",
        "/api/r1/..",
        "/api/%2e%2e/x",
        "/api/a%2fb",
        "/api/a%5Cb",
        "/api/a%00b",
        "/api/a%252fb",
        "/api/a;b",
        "/api/a%3bb",
        "/api/%ff",
        "/api/a%0ab",
        "/api/a%2",
        "/healthz/..",
    ] {
        for authorization in [None, Some(bearer(&token))] {
            let answer = house.get(path, authorization.as_deref()).await;
            problem(&answer, StatusCode::BAD_REQUEST, "bad-path");
        }
    }
}

#[tokio::test]
async fn what_is_behind_the_door_is_routed_by_the_canonical_path() {
    let house = house(&[], mirror()).await;
    let token = house
        .token(json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/_search"]}]))
        .await;
    let (status, _, seen) = house
        .get("/%61pi/r%31/log/%5Fsearch?q=%2e", Some(&bearer(&token)))
        .await;
    assert_eq!(
        (status, &seen["uri"]),
        (StatusCode::OK, &json!("/api/r1/log/_search?q=%2e"))
    );
    // A trailing slash is another path, and so is another case.
    for path in [
        "/api/r1/log/_search/",
        "/API/r1/log/_search",
        "/api/R1/log/_search",
    ] {
        problem(
            &house.get(path, Some(&bearer(&token))).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
    }
}

#[tokio::test]
async fn of_a_method_that_nobody_may_use_the_rooms_get_the_path_alone() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let room = Arc::clone(&seen);
    let room = Router::new().fallback(|request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let bare = parts.headers.is_empty() && body.is_empty();
        let stranger = parts.extensions.get::<Caller>().is_none();
        let said = format!("{} {} {bare} {stranger}", parts.method, parts.uri);
        room.lock().unwrap().push(said);
    });
    let house = house(&[], room).await;
    let token = house
        .token(json!([{"method": ["POST"], "url": ["/**"]}]))
        .await;
    for (method, path) in [
        ("TRACE", "/api/r1/log/_search"),
        ("QUERY", "/api/system/users"),
        ("PUT", "/healthz"),
        ("POST", "/readyz"),
        ("DELETE", "/"),
        ("POST", "/api/openapi.json"),
        ("PUT", "/api/auth/token_root"),
    ] {
        for authorization in [None, Some(bearer(&token))] {
            let mut asked = request(method, path, authorization.as_deref());
            *asked.body_mut() = Body::from("secret");
            // This room answers everything, which is not for a stranger.
            problem(
                &house.send(asked).await,
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
            );
            let said = seen.lock().unwrap().pop();
            assert_eq!(said, Some(format!("{method} {path} true true")));
        }
    }
}

#[tokio::test]
async fn what_is_open_is_open_to_all_and_nothing_else_is() {
    let house = house(&[], mirror()).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/healthz"),
        ("HEAD", "/readyz"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/auth/token_root"),
        ("POST", "/api/auth/token_root"),
        ("POST", "/api/auth/session"),
    ] {
        let (status, _, _) = house.send(request(method, path, None)).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/healthz/"),
        ("GET", "/metrics"),
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/auth"),
        ("POST", "/api/auth"),
        ("GET", "/api/auth/grants"),
        ("DELETE", "/api/auth/session"),
        ("GET", "/api/auth/session"),
        ("POST", "/api/auth/introspect"),
        ("GET", "/api/auth/token_root/"),
        ("GET", "/api/r1/log"),
        ("POST", "/api/apps/log"),
        ("GET", "/api/system/users"),
        ("GET", "/api/regions"),
        ("POST", OTLP_GRPC),
        ("GET", "/openapi.json"),
    ] {
        let answer = house.send(request(method, path, None)).await;
        assert_eq!(answer.0, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

#[tokio::test]
async fn a_root_token_is_good_for_auth_only_and_an_access_token_never() {
    let house = house(&[], mirror()).await;
    let root = bearer(&house.root);
    let access = bearer(&house.token(everything()).await);
    for (method, path) in [
        ("GET", "/api/r1/log/_search"),
        ("GET", "/api/r1/log"),
        ("POST", "/api/apps/log"),
        ("GET", "/api/auth/introspect"),
        ("POST", "/api/auth/introspect"),
        ("GET", "/api/system/users"),
        ("GET", "/metrics"),
        ("GET", "/api/auth/x"),
    ] {
        problem(
            &house.send(request(method, path, Some(&root))).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
        let (status, _, _) = house.send(request(method, path, Some(&access))).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/api/auth"),
        ("POST", "/api/auth"),
        ("GET", "/api/auth/grants"),
        ("DELETE", "/api/auth/session"),
    ] {
        problem(
            &house.send(request(method, path, Some(&access))).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
        let (status, _, seen) = house.send(request(method, path, Some(&root))).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}");
        assert_eq!(seen["push"], json!([false, false]));
    }
    let basic = STANDARD.encode(format!("token:{}", house.root));
    for header in [format!("Basic {basic}"), format!("ApiKey {}", house.root)] {
        problem(
            &house.get("/api/auth", Some(&header)).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
    }
}

#[tokio::test]
async fn the_session_cookie_counts_on_three_endpoints_and_with_the_header_only() {
    let house = house(&[], mirror()).await;
    let cookie = |name: &str| format!("a=b; {name}={}", house.root);
    let with = |method: &str, path: &str, cookie: &str, header: bool| {
        let mut request = request(method, path, None);
        request
            .headers_mut()
            .insert(COOKIE, cookie.parse().unwrap());
        if header {
            request
                .headers_mut()
                .insert(REQUESTED_WITH, "fetch".parse().unwrap());
        }
        request
    };
    for (method, path) in [
        ("GET", "/api/auth"),
        ("POST", "/api/auth"),
        ("GET", "/api/auth/grants"),
        ("DELETE", "/api/auth/session"),
    ] {
        let (status, _, seen) = house
            .send(with(method, path, &cookie(SESSION_COOKIE), true))
            .await;
        assert_eq!(status, StatusCode::OK, "{method} {path}");
        assert!(!seen.to_string().contains(&house.root));
        for request in [
            with(method, path, &cookie(SESSION_COOKIE), false),
            with(method, path, &cookie("session"), true),
            with(
                method,
                path,
                &format!("{0}; {0}", cookie(SESSION_COOKIE)),
                true,
            ),
        ] {
            assert_eq!(house.send(request).await.0, StatusCode::UNAUTHORIZED);
        }
    }
    for path in [
        "/api/r1/log/_search",
        "/api/auth/introspect",
        "/api/regions",
    ] {
        let answer = house
            .send(with("POST", path, &cookie(SESSION_COOKIE), true))
            .await;
        assert_eq!(answer.0, StatusCode::UNAUTHORIZED);
    }
    // An explicit credential goes before it.
    let mut request = with("GET", "/api/auth", &cookie(SESSION_COOKIE), true);
    request
        .headers_mut()
        .insert(AUTHORIZATION, "Bearer x.y.z".parse().unwrap());
    assert_eq!(house.send(request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_a_token_does_not_grant_is_403_whatever_header_says_otherwise() {
    let house = house(&[], mirror()).await;
    let token = house
        .token(json!([{"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"]}]))
        .await;
    let path = "/api/r1/log/x";
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut request = request(method, path, Some(&bearer(&token)));
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
        ] {
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), "GET".parse().unwrap());
        }
        problem(
            &house.send(request).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(
            house
                .send(request(method, path, Some(&bearer(&token))))
                .await
                .0,
            StatusCode::OK
        );
    }
    problem(
        &house
            .send(request("TRACE", path, Some(&bearer(&token))))
            .await,
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
    );
    problem(
        &house.get("/api/r2/log/x", Some(&bearer(&token))).await,
        StatusCode::FORBIDDEN,
        "forbidden",
    );
}

#[tokio::test]
async fn a_handshake_is_open_to_all_that_grants_something_below_it() {
    let house = house(&[], mirror()).await;
    let token = house.token(json!([{"method": ["POST"], "url": ["{mscp_api_url}/r1/log/_search"], "other": {"log": {"namespace": ["a"]}}}])).await;
    for path in ["/api/r1/log", "/api/r1/log/"] {
        for method in ["GET", "HEAD"] {
            let (status, _, seen) = house
                .send(request(method, path, Some(&bearer(&token))))
                .await;
            assert_eq!(status, StatusCode::OK);
            if method == "GET" {
                // Allowed to shake hands, and to see nothing.
                assert_eq!(
                    (&seen["restricted"], &seen["write"]),
                    (&json!(0), &json!(false))
                );
            }
        }
        assert_eq!(
            house
                .send(request("POST", path, Some(&bearer(&token))))
                .await
                .0,
            StatusCode::FORBIDDEN
        );
    }
    assert_eq!(
        house.get("/api/r2/log", Some(&bearer(&token))).await.0,
        StatusCode::FORBIDDEN
    );
    // Where `system` stands for a region there is no region.
    let all = house
        .token(json!([{"method": ["GET"], "url": ["/api/system/log/status"]}]))
        .await;
    assert_eq!(
        house.get("/api/system/log", Some(&bearer(&all))).await.0,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn on_push_paths_the_door_lets_in_and_each_record_is_decided() {
    let house = house(&[], mirror()).await;
    let rule = |other: Value| json!([{"method": ["POST"], "url": ["{mscp_api_url}/apps/{appid:UUID}/log"], "other": other}]);
    let literal =
        json!([{"method": ["POST"], "url": [format!("{{mscp_api_url}}/apps/{APP}/log")]}]);
    for (access, expected) in [
        (rule(json!({})), json!([true, true])),
        (literal, json!([true, false])),
        (rule(json!({"log": {"appid": [APP]}})), json!([true, false])),
        (
            rule(json!({"log": {"appid": [APP.to_uppercase()]}})),
            json!([true, false]),
        ),
        (
            rule(json!({"log": {"namespace": ["a"]}})),
            json!([false, false]),
        ),
        (
            rule(json!({"log": {"appid": [APP], "zone": ["a"]}})),
            json!([false, false]),
        ),
        (
            json!([{"method": ["GET"], "url": ["{mscp_api_url}/apps/{appid:UUID}/log"]}]),
            json!([false, false]),
        ),
        // A right to the path by which records come is none to what they carry.
        (
            json!([{"method": ["POST"], "url": ["{mscp_api_url}/apps/log", "{mscp_api_url}/apps/*/_bulk"]}]),
            json!([false, false]),
        ),
        (json!([]), json!([false, false])),
    ] {
        let token = house.token(access.clone()).await;
        for path in [
            "/api/apps/log".to_owned(),
            format!("/api/apps/{APP}/log"),
            format!("/api/apps/{APP}/otlp/v1/logs"),
            format!("/api/apps/{APP}/_bulk"),
            format!("/api/apps/{APP}/i/_bulk"),
            OTLP_GRPC.to_owned(),
        ] {
            let (status, _, seen) = house
                .send(request("POST", &path, Some(&bearer(&token))))
                .await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(seen["push"], expected, "{path} {access}");
        }
    }
}

#[tokio::test]
async fn a_restricted_rule_matches_where_its_restriction_can_hold_only() {
    let house = house(&[], mirror()).await;
    let token = house.token(json!([
        {"method": ["GET", "POST"], "url": ["/**"], "other": {"log": {"hostname": ["h"], "write": false}}},
        {"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"zone": ["z"]}}},
    ])).await;
    let (status, _, seen) = house
        .get("/api/r1/log/_search", Some(&bearer(&token)))
        .await;
    assert_eq!((status, &seen["restricted"]), (StatusCode::OK, &json!(2)));
    let collect = house
        .send(request("POST", "/api/r1/collect", Some(&bearer(&token))))
        .await;
    assert_eq!(
        (collect.0, &collect.2["restricted"]),
        (StatusCode::OK, &json!(1))
    );
    for path in [
        "/metrics",
        "/api/system/users",
        "/api/regions",
        "/api/r1/system/log/status",
        "/api/system/log/x",
    ] {
        problem(
            &house.get(path, Some(&bearer(&token))).await,
            StatusCode::FORBIDDEN,
            "forbidden",
        );
    }
}

#[tokio::test]
async fn the_peer_is_believed_about_others_only_where_it_is_trusted() {
    let cases = [
        (
            "10.0.0.0/8",
            "10.0.0.1",
            Some("1.1.1.1, 2.2.2.2"),
            "2.2.2.2",
        ),
        (
            "10.0.0.0/8",
            "10.0.0.1",
            Some("1.1.1.1, 10.9.9.9"),
            "1.1.1.1",
        ),
        (
            "10.0.0.0/8",
            "10.0.0.1",
            Some("1.1.1.1, nonsense"),
            "10.0.0.1",
        ),
        (
            "10.0.0.0/8",
            "10.0.0.1",
            Some("[2001:db8::1]:443"),
            "2001:db8::1",
        ),
        ("10.0.0.0/8", "10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.0/8", "9.0.0.1", Some("1.1.1.1"), "9.0.0.1"),
    ];
    for (trusted, peer, header, expected) in cases {
        let house = house(&[("MSCP_LOG_HTTP__TRUSTED_PROXIES", trusted)], mirror()).await;
        let mut request = request("GET", "/healthz", None);
        if let Some(header) = header {
            request
                .headers_mut()
                .insert("x-forwarded-for", header.parse().unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(peer, 1)));
        assert_eq!(house.send(request).await.2["peer"], expected);
    }
}
