//! What a running node tells Prometheus.

use mscp_log_tests::tls::Authority;
use reqwest::Method;
use serde_json::json;

use crate::support::{APP_A, Scene, now_us, record};

/// 4096-01-01, which a certificate of rcgen has that is given no date.
const FAR: &str = "67090118400";

async fn scrape(scene: &Scene) -> String {
    let access = json!([{"method": ["GET"], "url": ["/metrics"]}]);
    let token = scene.token_for(access).await;
    let url = format!("{}/metrics", scene.node.url);
    let answer = scene.http.get(url).bearer_auth(token).send();
    answer.await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_described_and_requests_are_told_by_route_and_never_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let identity = authority.identity(folder.path(), &["node.example.org"]);
    let scene = Scene::with(&[
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__INSECURE", "true"),
        ("MSCP_LOG_BEATS__TLS_CERT", identity.cert.to_str().unwrap()),
        ("MSCP_LOG_BEATS__TLS_KEY", identity.key.to_str().unwrap()),
    ])
    .await;
    let pushed = scene
        .post(
            &scene.token,
            &format!("/api/apps/{APP_A}/log"),
            json!(record(APP_A, now_us(), 0, "counted")),
        )
        .await;
    assert_eq!(pushed.status, 202, "{}", pushed.body);
    scene.wait_for(json!({"match_all": {}}), 1).await;
    scene
        .get(&scene.token, "/api/no-such-region/chosen-by-a-caller")
        .await;
    scene
        .call(
            "no token",
            Method::GET,
            "/api/local/log/_search/also-chosen",
            None,
        )
        .await;
    let told = scrape(&scene).await;

    let mut series = 0;
    for line in told
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|family| told.contains(&format!("# TYPE {family} histogram")))
            .unwrap_or(name);
        assert!(told.contains(&format!("# HELP {family} ")), "{line}");
        assert!(told.contains(&format!("# TYPE {family} ")), "{line}");
        series += 1;
    }
    assert!(series > 50, "{told}");
    assert!(!told.contains("chosen"), "{told}");
    assert!(!told.contains(APP_A), "{told}");
    for expected in [
        "mscp_log_http_requests_total{route=\"/apps/{appid}/log\",method=\"POST\",status=\"202\"} 1",
        "mscp_log_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
        "mscp_log_http_requests_total{route=\"door\",method=\"GET\",status=\"401\"} 1",
        "mscp_log_http_request_duration_seconds_count{route=\"/apps/{appid}/log\"} 1",
        "mscp_log_http_open_requests 1",
        "mscp_log_ingest_records_total{way=\"push\"} 1",
        "mscp_log_auth_logins_total{result=\"done\"} 2",
        "mscp_log_buffer_corrupt_records_total 0",
        "mscp_log_ready 1",
        "mscp_log_check_passing{check=\"buffer\"} 1",
        &format!("mscp_log_tls_certificate_expiry_timestamp_seconds{{listener=\"beats\"}} {FAR}"),
    ] {
        let found = told.lines().any(|line| line == expected);
        assert!(found, "{expected} is not in\n{told}");
    }
    for begins in [
        "mscp_log_search_duration_seconds_count{region=\"local\",endpoint=\"count\"} ",
        "mscp_log_data_disk_available_bytes ",
        "mscp_log_auth_signing_key_activated_timestamp_seconds 1",
        "process_resident_memory_bytes ",
        "mscp_log_build_info{version=\"",
    ] {
        assert!(
            told.lines().any(|line| line.starts_with(begins)),
            "{begins}: {told}"
        );
    }
}
