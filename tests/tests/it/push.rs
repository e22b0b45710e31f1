//! Records in: who may, in which forms, with which limits.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{APP_A, APP_B, Scene, answer, now_us, record};

fn only(app: &str) -> Value {
    json!([{"method": ["POST"], "url": [format!("{{mscp_api_url}}/apps/{app}/log")]}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_app_pushes_nothing_to_another_and_a_mixed_batch_is_refused_whole() {
    let scene = Scene::new().await;
    let token = scene.token_for(only(APP_A)).await;
    let now = now_us();

    let alone = json!([record(APP_B, now, 0, "mine?")]);
    let refused = scene
        .post(&token, &format!("/api/apps/{APP_B}/log"), alone.clone())
        .await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let refused = scene.post(&token, "/api/apps/log", alone).await;
    assert_eq!(refused.status, 403, "{}", refused.body);

    let mixed = json!([
        record(APP_A, now, 1, "granted"),
        record(APP_B, now, 2, "not granted")
    ]);
    let refused = scene.post(&token, "/api/apps/log", mixed.clone()).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let problem = refused.headers["content-type"].to_str().unwrap();
    assert!(problem.starts_with("application/problem+json"), "{problem}");

    // What is accepted afterwards is found; what was refused before it is not.
    let accepted = scene
        .post(
            &token,
            "/api/apps/log",
            json!([record(APP_A, now, 3, "last")]),
        )
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert_eq!(accepted.body["accepted"], 1);
    scene.wait_for(json!({"match_all": {}}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_body_is_stored_and_a_repeated_key_is_stored_once() {
    let scene = Scene::new().await;
    let url = format!("{}/api/apps/{APP_A}/log", scene.node.url);
    let now = now_us();
    let send = |content_type: &'static str, encoding: Option<&'static str>, body: Vec<u8>| {
        let mut request = scene
            .http
            .post(&url)
            .bearer_auth(&scene.token)
            .header("content-type", content_type)
            .body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request
    };
    let one = record(APP_A, now, 0, "one object").to_string().into_bytes();
    let two = json!([
        record(APP_A, now, 1, "array a"),
        record(APP_A, now, 2, "array b")
    ])
    .to_string()
    .into_bytes();
    let lines = format!(
        "{}\n{}\n",
        record(APP_A, now, 3, "line a"),
        record(APP_A, now, 4, "line b")
    )
    .into_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(record(APP_A, now, 5, "gzip").to_string().as_bytes())
        .unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(record(APP_A, now, 6, "zstd").to_string().as_bytes(), 3).unwrap();

    for (request, accepted) in [
        (send("application/json", None, one), 1),
        (send("application/json", None, two), 2),
        (send("application/x-ndjson", None, lines), 2),
        (send("application/json", Some("gzip"), gzip), 1),
        (send("application/json", Some("zstd"), zstd), 1),
    ] {
        let answer = answer(request).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.body["accepted"], accepted);
    }
    for _ in 0..3 {
        let keyed = record(APP_A, now, 7, "keyed").to_string().into_bytes();
        let request = send("application/json", None, keyed).header("idempotency-key", "k-1");
        assert_eq!(answer(request).await.status, 202);
    }
    scene.wait_for(json!({"match_all": {}}), 8).await;
    scene
        .wait_for(json!({"match": {"message": "keyed"}}), 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_nothing_of_the_request_is_stored() {
    let scene = Scene::with(&[
        ("MSCP_LOG_PUSH__MAX_RECORDS", "3"),
        ("MSCP_LOG_PUSH__MAX_MESSAGE_BYTES", "100"),
        ("MSCP_LOG_PUSH__MAX_BODY_BYTES", "4096"),
        ("MSCP_LOG_PUSH__MAX_DECOMPRESSED_BYTES", "65536"),
    ])
    .await;
    let now = now_us();
    let path = format!("/api/apps/{APP_A}/log");
    let good = record(APP_A, now, 0, "good");

    let mut without_message = good.clone();
    without_message.as_object_mut().unwrap().remove("message");
    let refused = scene
        .post(&scene.token, &path, json!([good, without_message]))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(refused.body["record"], 1, "{}", refused.body);
    assert_eq!(refused.body["field"], "message", "{}", refused.body);

    let mut in_milliseconds = good.clone();
    in_milliseconds["timestemp"] = json!(now / 1000);
    let refused = scene
        .post(&scene.token, &path, json!([in_milliseconds]))
        .await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("milliseconds"),
        "{}",
        refused.body
    );

    let mut unknown = good.clone();
    unknown["severity"] = json!("info");
    let refused = scene.post(&scene.token, &path, json!([unknown])).await;
    assert_eq!(
        (refused.status, &refused.body["field"]),
        (400, &json!("severity"))
    );

    let many: Vec<Value> = (0..4)
        .map(|place| record(APP_A, now, place, "many"))
        .collect();
    assert_eq!(
        scene.post(&scene.token, &path, json!(many)).await.status,
        413
    );
    let long = record(APP_A, now, 0, &"x".repeat(101));
    assert_eq!(
        scene.post(&scene.token, &path, json!([long])).await.status,
        413
    );
    let large = record(APP_A, now, 0, &"x".repeat(5000));
    assert_eq!(
        scene.post(&scene.token, &path, json!([large])).await.status,
        413
    );

    let of_unknown_type = scene
        .http
        .post(format!("{}{path}", scene.node.url))
        .bearer_auth(&scene.token)
        .header("content-type", "text/plain")
        .body("hello");
    assert_eq!(answer(of_unknown_type).await.status, 415);
    // A bomb: a few bytes that would be megabytes.
    let bomb = zstd::encode_all(vec![b' '; 1 << 20].as_slice(), 3).unwrap();
    let bomb = scene
        .http
        .post(format!("{}{path}", scene.node.url))
        .bearer_auth(&scene.token)
        .header("content-type", "application/json")
        .header("content-encoding", "zstd")
        .body(bomb);
    assert_eq!(answer(bomb).await.status, 413);

    assert_eq!(
        scene.post(&scene.token, &path, json!([good])).await.status,
        202
    );
    scene.wait_for(json!({"match_all": {}}), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetry_and_elasticsearch_bulk_senders_are_served_in_their_own_form() {
    let scene = Scene::new().await;
    let now = now_us();
    let otlp = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeLogs": [{"logRecords": [
            {"timeUnixNano": (now * 1000).to_string(), "severityText": "ERROR",
             "body": {"stringValue": "card declined"},
             "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}]}]}]});
    let accepted = scene
        .post(
            &scene.token,
            &format!("/api/apps/{APP_A}/otlp/v1/logs"),
            otlp.clone(),
        )
        .await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);

    let handshake = scene.get(&scene.token, &format!("/api/apps/{APP_A}")).await;
    assert_eq!(handshake.status, 200, "{}", handshake.body);
    assert!(
        handshake.body["version"]["number"].is_string(),
        "{}",
        handshake.body
    );
    let lines = "{\"create\":{\"_index\":\"ignored\",\"_id\":\"a-1\"}}\n{\"message\":\"from a sender\",\"user\":{\"name\":\"li\"}}\n";
    for _ in 0..2 {
        let request = scene
            .http
            .post(format!("{}/api/apps/{APP_A}/_bulk", scene.node.url))
            .bearer_auth(&scene.token)
            .header("content-type", "application/x-ndjson")
            .body(lines);
        let answer = answer(request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["errors"], false, "{}", answer.body);
    }
    scene.wait_for(json!({"term": {"type": "bulk"}}), 1).await;
    scene
        .wait_for(
            json!({"term": {"trace_id": "5b8efff798038103d269b633813fc60c"}}),
            1,
        )
        .await;
    scene
        .wait_for(json!({"term": {"annotations.user.name": "li"}}), 1)
        .await;

    // The token of another app gets nothing in by these ways either.
    let foreign = scene.token_for(only(APP_B)).await;
    let path = format!("/api/apps/{APP_A}/otlp/v1/logs");
    let refused = scene.post(&foreign, &path, otlp).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    scene.wait_for(json!({"match_all": {}}), 2).await;
}
