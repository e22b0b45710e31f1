//! Rotation by a real node, of its own store and of real engines: what is old
//! goes, and nothing else.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use mscp_log_core::template::Version;
use mscp_log_tests::engine::Spec;
use mscp_log_tests::process::{self, Node, binary};
use mscp_log_tests::target::{RUNTIME, Target};
use reqwest::Method;
use serde_json::{Value, json};

/// Days that records are kept.
const AGE: i64 = 7;

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let name = format!(
        "{}::rotation::what_is_old_goes_and_nothing_else",
        target.name()
    );
    let target = Arc::clone(target);
    vec![Trial::test(name, move || {
        RUNTIME.block_on(rotate(&target));
        Ok::<(), Failed>(())
    })]
}

/// The index of a beat and a host, so many days ago.
fn index(name: &str, days: i64) -> String {
    let day = chrono::Utc::now() - chrono::Duration::days(days);
    format!("{name}-{}", day.format("%Y.%m.%d"))
}

/// A node, and a token for all of it.
struct Scene {
    node: Node,
    token: String,
    http: reqwest::Client,
}

impl Scene {
    async fn ask(&self, method: Method, path: &str, body: Option<String>) -> (u16, Value) {
        let url = format!("{}/api/local{path}", self.node.url);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/x-ndjson")
                .body(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Documents whose newest is so many days old.
    async fn write(&self, index: &str, newest_days: i64, kind: Option<&str>) {
        let mut body = String::new();
        for days in [newest_days + 1, newest_days] {
            let time = chrono::Utc::now() - chrono::Duration::days(days);
            let mut action = json!({"create": {"_index": index, "_id": format!("{index}-{days}")}});
            if let Some(kind) = kind {
                action["create"]["_type"] = kind.into();
            }
            let document = json!({"@timestamp": time.to_rfc3339(),
                "realtime_us": time.timestamp_micros(), "message": "old or new"});
            body.push_str(&format!("{action}\n{document}\n"));
        }
        let (status, answer) = self
            .ask(Method::POST, "/log/_bulk?refresh=true", Some(body))
            .await;
        assert_eq!(
            (status, &answer["errors"]),
            (200, &json!(false)),
            "{answer}"
        );
    }

    async fn indices(&self) -> BTreeSet<String> {
        let path = "/log/_cat/indices?format=json&h=index";
        let (_, rows) = self.ask(Method::GET, path, None).await;
        let names = rows.as_array().unwrap().iter();
        names
            .map(|row| row["index"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn names(report: &Value) -> BTreeSet<String> {
    let deletions = report["deletions"].as_array().unwrap().iter();
    deletions
        .map(|it| it["index"].as_str().unwrap().to_owned())
        .collect()
}

async fn rotate(target: &Arc<Target>) {
    let data = tempfile::tempdir().unwrap();
    let age = AGE.to_string();
    let mut variables = vec![
        ("MSCP_LOG_ROTATION__ENABLED", "true"),
        ("MSCP_LOG_ROTATION__AGE_DAYS", &age),
    ];
    let engine = target.spec.map(|_| target.running().url.clone());
    if let Some(engine) = &engine {
        variables.push(("MSCP_LOG_REGION__LOCAL__STORE", engine));
    }
    let node = tokio::task::block_in_place(|| Node::start(data.path(), &[], &variables));
    let everything = json!([{"method": ["GET", "HEAD", "POST", "PUT", "DELETE"],
        "url": ["/**"], "other": {"log": {"write": true}}}]);
    let token = process::administrator_token(&node, &everything).await;
    let http = process::http();
    let scene = Scene { node, token, http };
    // Documents have a type there.
    let is_6 = |spec: &Spec| spec.template() == Version::Es6;
    let kind = target.spec.is_some_and(is_6).then_some("doc");

    let old = [
        index("logstash-journalbeat-node1", AGE + 3),
        index("logstash-filebeat-9node", AGE + 20),
        index("logstash-http-local", AGE + 2),
        index("logstash-other-node-1", AGE + 2),
    ];
    let young = [
        index("logstash-http-local", 0),
        index("logstash-filebeat-node1", AGE - 2),
    ];
    for name in &old {
        scene.write(name, AGE + 2, kind).await;
    }
    for name in &young {
        scene.write(name, 1, kind).await;
    }
    // The newest record counts, not the name.
    let misnamed = index("logstash-filebeat-node2", 1);
    scene.write(&misnamed, AGE + 1, kind).await;
    let mut gone: BTreeSet<String> = old.iter().cloned().collect();
    gone.insert(misnamed);
    let mut stays: BTreeSet<String> = young.iter().cloned().collect();
    let locked = index("logstash-http-locked", AGE + 5);
    if target.spec.is_some() {
        // Others have indices there, too.
        for name in [
            index("logstash-metricbeat-node1", AGE + 9),
            index("shop", AGE + 9),
        ] {
            scene.write(&name, AGE + 9, kind).await;
            stays.insert(name);
        }
        let closed = index("logstash-http-closed", AGE + 5);
        scene.write(&closed, AGE + 5, kind).await;
        let path = format!("/log/{closed}/_close");
        assert_eq!(scene.ask(Method::POST, &path, None).await.0, 200);
        gone.insert(closed);
        let alias = index("logstash-http-alias", AGE + 5);
        let path = format!("/log/{}/_alias/{alias}", young[0]);
        assert_eq!(scene.ask(Method::PUT, &path, None).await.0, 200);
        scene.write(&locked, AGE + 5, kind).await;
        lock(&scene, &locked, true).await;
        stays.insert(locked.clone());
    }
    let before = scene.indices().await;

    let path = "/system/log/rotate";
    let dry = format!("{path}?dry_run=true");
    let (status, plan) = scene.ask(Method::POST, &dry, None).await;
    assert_eq!((status, &plan["dry_run"]), (200, &json!(true)), "{plan}");
    let mut planned = gone.clone();
    planned.extend(target.spec.map(|_| locked.clone()));
    assert!(names(&plan).is_superset(&planned), "{plan}");
    assert_eq!(scene.indices().await, before, "a plan changes nothing");

    let (status, report) = scene.ask(Method::POST, path, None).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report), names(&plan));
    let deletions = report["deletions"].as_array().unwrap();
    let failed = deletions.iter().filter(|it| it["error"].is_string());
    let failed: Vec<&str> = failed.map(|it| it["index"].as_str().unwrap()).collect();
    let expected: Vec<&str> = target.spec.iter().map(|_| locked.as_str()).collect();
    assert_eq!(failed, expected, "{report}");
    let after = scene.indices().await;
    assert!(after.is_disjoint(&gone), "{after:?}");
    assert!(after.is_superset(&stays), "{after:?}");

    // The command says the same in words, and fails while one cannot be deleted.
    let command = || {
        let mut command = Command::new(binary());
        command.args(["--url", &scene.node.url, "--token", &scene.token, "rotate"]);
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let ran = command();
    assert_eq!(ran.status.success(), target.spec.is_none(), "{ran:?}");
    if target.spec.is_some() {
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(said.contains(&locked) && said.contains("403"), "{said}");
        lock(&scene, &locked, false).await;
        assert!(command().status.success());
        assert!(!scene.indices().await.contains(&locked));
    }
}

/// Have the engine refuse to change an index, or allow it again.
async fn lock(scene: &Scene, index: &str, locked: bool) {
    let path = format!("/log/{index}/_settings");
    let body = json!({"index.blocks.read_only": locked}).to_string();
    let url = format!("{}/api/local{path}", scene.node.url);
    let answer = scene
        .http
        .put(url)
        .bearer_auth(&scene.token)
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}
