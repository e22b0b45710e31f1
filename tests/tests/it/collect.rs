//! What an agent collects is in the store once, whatever is killed and cut.
//! The large run is `make ledger-test`.

use mscp_log_tests::ledger::{Plan, run};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::check;
use crate::support::{Scene, answer, now_us};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_found_once_though_agent_node_and_link_are_killed_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        lines: 10_000,
        files: 6,
        faults: 6,
        seed: 5,
    };
    let outcome = run(plan, folder.path()).await;
    assert!(outcome.rotations["rename"] > 0, "{outcome:?}");
    assert!(outcome.cut > 0, "{outcome:?}");
    assert!(outcome.is_good(), "{outcome:?}");
}

/// A chunk with one line of a file of this host.
fn chunk(host: &str, zone: &str, offset: u64) -> Value {
    json!({
        "host": host, "zone": zone, "read_us": now_us(),
        "file": {"kind": "file", "path": "/var/log/app.log", "device": 1, "inode": 2, "generation": 3},
        "lines": [[offset, format!("line at {offset}")]], "position": {},
    })
}

async fn collect(scene: &Scene, token: &str, chunks: &[Value]) -> (u16, Value) {
    let body: String = chunks.iter().map(|chunk| format!("{chunk}\n")).collect();
    let url = format!("{}/api/local/collect", scene.node.url);
    let request = scene.http.request(Method::POST, url);
    let request = request
        .bearer_auth(token)
        .header("content-type", "application/x-ndjson")
        .body(body);
    let answer = answer(request).await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_token_collects_for_its_machines_only_and_a_batch_is_taken_whole_or_not_at_all() {
    let scene = Scene::new().await;
    let rule = |names: Value| json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect"], "other": {"log": names}}]);
    let of_host = scene.token_for(rule(json!({"hostname": ["node1"]}))).await;
    let of_zone = scene.token_for(rule(json!({"zone": ["z1"]}))).await;
    let of_app = scene.token_for(rule(json!({"namespace": ["shop"]}))).await;

    let (ours, other) = (chunk("node1", "z1", 0), chunk("node2", "z2", 7));
    let both = [ours.clone(), other.clone()];
    for token in [&of_host, &of_zone] {
        let (status, body) = collect(&scene, token, &both).await;
        assert_eq!(status, 403, "{body}");
        assert_eq!(body["record"], 1, "{body}");
    }
    assert_eq!(collect(&scene, &of_app, &both).await.0, 403);
    let root = mscp_log_tests::process::root_token(
        &scene.node.url,
        mscp_log_tests::process::EMAIL,
        mscp_log_tests::process::PASSWORD,
    );
    assert_eq!(collect(&scene, &root.await.unwrap(), &both).await.0, 403);
    assert_eq!(scene.count(&scene.token, json!({"match_all": {}})).await, 0);

    let (status, body) = collect(&scene, &of_host, std::slice::from_ref(&ours)).await;
    assert_eq!((status, &body), (202, &json!({"accepted": 1})));
    let (status, _) = collect(&scene, &of_zone, &[ours]).await;
    assert_eq!(status, 202);
    scene.wait_for(json!({"match_all": {}}), 1).await;
    let found = scene
        .post(&scene.token, "/api/local/log/_search", json!({}))
        .await;
    let source = &found.body["hits"]["hits"][0]["_source"];
    assert_eq!(source["zone"], "z1", "{source}");
    assert_eq!(source["cluster"], "default", "{source}");
    assert_eq!(source["index"], "logstash-filebeat-node1", "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_wrong_makes_no_index_of_another_age() {
    let scene = Scene::new().await;
    for (offset, read_us) in [(0, 4_102_444_800_000_000_i64), (100, 0)] {
        let mut wrong = chunk("node1", "z1", offset);
        wrong["read_us"] = read_us.into();
        assert_eq!(collect(&scene, &scene.token, &[wrong]).await.0, 202);
    }
    let now = json!({"range": {"@timestamp": {"gte": "now-10m", "lte": "now+10m"}}});
    scene.wait_for(now, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_chunk_is_refused_and_said_where() {
    let scene = Scene::new().await;
    let wrong = json!({"host": "node1", "read_us": 1});
    let (status, body) = collect(&scene, &scene.token, &[chunk("node1", "z1", 0), wrong]).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["record"], 1, "{body}");
    let url = format!("{}/api/local/collect", scene.node.url);
    let request = scene.http.post(url).bearer_auth(&scene.token);
    let answered = answer(request.json(&chunk("node1", "z1", 0))).await;
    assert_eq!(answered.status, 415, "{}", answered.body);
    let url = format!("{}/api/elsewhere/collect", scene.node.url);
    let answered = answer(scene.http.post(url).bearer_auth(&scene.token)).await;
    assert_eq!(answered.status, 404, "{}", answered.body);
    assert_eq!(scene.count(&scene.token, json!({"match_all": {}})).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_keeps_an_agent_from_its_gateway_and_from_its_journal() {
    let scene = Scene::new().await;
    let rule =
        |path: &str| json!([{"method": ["POST"], "url": [format!("{{mscp_api_url}}{path}")]}]);
    let good = scene.token_for(rule("/local/collect")).await;
    let other = scene.token_for(rule("/other/collect")).await;
    let with = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let named = |(name, value): &(&str, &str)| {
            (format!("MSCP_LOG_COLLECT__{name}"), (*value).to_owned())
        };
        more.iter().map(named).collect()
    };
    let url = ("URL", scene.node.url.as_str());
    let (well, said) = check(&with(&[url, ("TOKEN", &good)])).await;
    assert!(well, "{said}");
    for (token, expected) in [(&other, "403"), (&"no.to.ken".to_owned(), "401")] {
        let (well, said) = check(&with(&[url, ("TOKEN", token)])).await;
        assert!(
            !well && said.contains("collect.url") && said.contains(expected),
            "{said}"
        );
        assert!(!said.contains(token.as_str()), "{said}");
    }
    let missing = [
        ("JOURNAL__ENABLED", "true"),
        ("JOURNAL__JOURNALCTL", "/no/journalctl"),
    ];
    let (well, said) = check(&with(&missing)).await;
    assert!(!well && said.contains("collect.journal.enabled"), "{said}");
}
