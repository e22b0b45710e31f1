//! Tokens: which are asked for, kept, and asked for again.

use std::sync::atomic::{AtomicUsize, Ordering};

use mscp_log_client::{Client, Credentials, ErrorKind, access};
use serde_json::json;

use crate::server::{Server, answer, token};

#[tokio::test]
async fn a_token_is_asked_for_once_with_the_least_access_and_kept() {
    let server = Server::start(|_, _| answer(200, json!({"count": 3}))).await;
    let client = server.client_as(Credentials::password("a@b", "pw"));
    assert_eq!(client.search("local").count().await.unwrap(), 3);
    assert_eq!(
        client
            .search("local")
            .term("namespace", "x")
            .count()
            .await
            .unwrap(),
        3
    );
    let auth = server.auth();
    assert_eq!(auth.len(), 2, "one root token, one access token: {auth:?}");
    assert_eq!(auth[0].path, "/api/auth/token_root");
    assert_eq!(auth[0].authorization, "Basic YUBiOnB3");
    assert_eq!(
        auth[1].body,
        access(&[("POST", "{mscp_api_url}/local/log/_count")])
    );
}

#[tokio::test]
async fn many_tasks_that_need_the_same_token_make_one_request_for_it() {
    let server = Server::start(|_, _| answer(200, json!({"count": 0}))).await;
    let client = server.client();
    let calls = (0..20).map(|_| client.search("local"));
    let calls: Vec<_> = calls
        .map(|search| tokio::spawn(async move { search.count().await }))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(server.auth().len(), 1);
    assert_eq!(server.work().len(), 20);
}

#[tokio::test]
async fn a_401_is_answered_by_one_new_token_and_no_more() {
    let server = Server::start(|_, before| match before {
        0 => answer(401, json!({"title": "no"})),
        1 => answer(200, json!({"count": 1})),
        _ => answer(401, json!({"title": "no"})),
    })
    .await;
    let client = server.client();
    assert_eq!(client.search("local").count().await.unwrap(), 1);
    let work = server.work();
    assert_eq!(work.len(), 2);
    assert_ne!(
        work[0].authorization, work[1].authorization,
        "the second try has a new token"
    );

    let error = client.search("local").count().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(server.work().len(), 4, "tried once more and not again");
}

#[tokio::test]
async fn a_token_of_a_short_life_is_fetched_again_before_it_expires() {
    // A life of no second leaves nothing after the margin.
    let server = Server::start_with(false, |seen, _| match seen.path.as_str() {
        "/api/auth" => answer(
            200,
            json!({"token": token(1, 0, Some(&json!([]))), "exp": 0}),
        ),
        _ => answer(200, json!({"count": 0})),
    })
    .await;
    let client = server.client();
    client.search("local").count().await.unwrap();
    client.search("local").count().await.unwrap();
    assert_eq!(server.auth().len(), 2);
}

#[tokio::test]
async fn an_access_token_is_used_as_it_is_and_asks_for_no_other() {
    let server = Server::start(|_, _| answer(401, json!({}))).await;
    let fixed = token(9, 60, Some(&json!([])));
    let client = server.client_as(Credentials::token(fixed.clone()).unwrap());
    let error = client.search("local").count().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(server.all().len(), 1);
    assert_eq!(server.all()[0].authorization, format!("Bearer {fixed}"));
    let error = client.issue(&json!([]), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_root_token_that_was_taken_back_is_replaced_with_the_password() {
    let calls = AtomicUsize::new(0);
    let server = Server::start_with(false, move |seen, _| {
        let serial = calls.fetch_add(1, Ordering::Relaxed);
        let root = token(0, 3600, None);
        match seen.path.as_str() {
            "/api/auth/token_root" if serial == 0 => answer(200, json!({"token": root, "exp": 0})),
            "/api/auth/token_root" => {
                answer(200, json!({"token": token(serial, 3600, None), "exp": 0}))
            }
            "/api/auth" if serial > 2 && seen.authorization.ends_with(&root) => {
                answer(401, json!({"title": "taken back"}))
            }
            "/api/auth" => answer(
                200,
                json!({"token": token(serial, 3600, Some(&json!([]))), "exp": 0}),
            ),
            _ => answer(200, json!({"count": 0})),
        }
    })
    .await;
    let client = server.client_as(Credentials::password("a@b", "pw"));
    client.search("local").count().await.unwrap();
    client.search("other").count().await.unwrap();
    let paths: Vec<_> = server.auth().into_iter().map(|seen| seen.path).collect();
    let (root, access) = ("/api/auth/token_root", "/api/auth");
    assert_eq!(paths, [root, access, access, root, access]);
}

#[test]
fn secrets_are_in_no_debug_print() {
    let secret = "the-very-secret";
    let client =
        Client::builder("http://127.0.0.1:1").credentials(Credentials::password("a@b", secret));
    let shown = format!("{client:?} {:?}", client.clone().build().unwrap());
    let token = Credentials::root_token(secret);
    assert!(!format!("{shown} {token:?}").contains(secret));
}

#[test]
fn a_url_that_cannot_work_is_refused_when_the_client_is_built() {
    for url in [
        "",
        "localhost:8300",
        "ftp://x",
        "http://u:p@host",
        "http://",
    ] {
        let error = Client::builder(url).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{url}");
    }
}
