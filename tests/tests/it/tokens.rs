//! Tokens over the wire: which is good for what, and for how long.

use mscp_log_tests::process::{self, EMAIL, PASSWORD};
use reqwest::Method;
use serde_json::json;

use crate::support::{Scene, answer, everything};

#[tokio::test(flavor = "multi_thread")]
async fn a_root_token_is_good_for_auth_only_and_an_access_token_never() {
    let scene = Scene::new().await;
    let root = process::root_token(&scene.node.url, EMAIL, PASSWORD)
        .await
        .unwrap();
    let searched = scene.post(&root, "/api/local/log/_search", json!({})).await;
    assert_eq!(searched.status, 403, "{}", searched.body);
    let asked = scene
        .post(&scene.token, "/api/auth", json!({"access": everything()}))
        .await;
    assert_eq!(asked.status, 403, "{}", asked.body);
    let grants = scene.get(&root, "/api/auth/grants").await;
    assert_eq!(grants.status, 200, "{}", grants.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_account_get_one_answer_with_a_challenge() {
    let scene = Scene::new().await;
    let mut answers = Vec::new();
    for (email, password) in [(EMAIL, "wrong"), ("nobody@example.org", PASSWORD)] {
        let request = scene
            .http
            .post(format!("{}/api/auth/token_root", scene.node.url))
            .basic_auth(email, Some(password));
        let answer = answer(request).await;
        assert_eq!(answer.status, 401);
        assert!(answer.headers.contains_key("www-authenticate"));
        answers.push(answer.body);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_and_with_two_the_answer_is_401() {
    let scene = Scene::new().await;
    let path = format!("{}/api/local/log/_search", scene.node.url);
    assert_eq!(
        answer(scene.http.post(&path).json(&json!({}))).await.status,
        401
    );
    let twice = scene
        .http
        .post(format!("{path}?jwt={}", scene.token))
        .bearer_auth(&scene.token)
        .json(&json!({}));
    assert_eq!(answer(twice).await.status, 401);
    let in_the_url = scene
        .http
        .post(format!("{path}?jwt={}", scene.token))
        .json(&json!({}));
    assert_eq!(answer(in_the_url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_rotation_and_end_with_the_revocation_of_their_key() {
    let scene = Scene::new().await;
    // A node that has just started has published the next key for too short a
    // time to sign with it; then the refusal says from when on it may.
    let rotated = scene
        .call(&scene.token, Method::POST, "/api/system/keys/rotate", None)
        .await;
    match rotated.status {
        200 => {}
        409 => assert!(
            rotated.body["detail"].as_str().unwrap().contains(" s"),
            "{}",
            rotated.body
        ),
        _ => panic!("{}", rotated.body),
    }
    let searched = scene
        .post(&scene.token, "/api/local/log/_search", json!({}))
        .await;
    assert_eq!(searched.status, 200, "{}", searched.body);
    // The token's header says which key signed it.
    let header = scene.token.split('.').next().unwrap();
    let header =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let kid = header["kid"].as_str().unwrap();
    let later = process::administrator_token(&scene.node, &everything()).await;
    let revoked = scene
        .call(
            &later,
            Method::DELETE,
            &format!("/api/system/keys/{kid}"),
            None,
        )
        .await;
    assert!(
        matches!(revoked.status, 200 | 204),
        "{} {}",
        revoked.status,
        revoked.body
    );
    let searched = scene
        .post(&scene.token, "/api/local/log/_search", json!({}))
        .await;
    assert_eq!(searched.status, 401, "{}", searched.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_could_mean_two_things_are_refused_before_anything_else() {
    let scene = Scene::new().await;
    for path in [
        "/api//local/log/_search",
        "/api/local/log/a%2fb/_search",
        "/api/local/log/%252e%252e/_search",
    ] {
        let answer = scene.get(&scene.token, path).await;
        assert_eq!(answer.status, 400, "for {path}: {}", answer.body);
    }
}
