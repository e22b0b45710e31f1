//! Settings and status, as an administrator and as scripts use them.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use mscp_log_tests::process::Node;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{APP_A, Answer, Scene, answer, record};

const SETTINGS: &str = "/api/local/system/log";
const STATUS: &str = "/api/local/system/log/status";
const INSTANCES: &str = "/api/local/system/log/instances";

impl Scene {
    async fn settings(&self) -> Answer {
        let answer = self.get(&self.token, SETTINGS).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    async fn change(&self, document: Value) -> Answer {
        self.post(&self.token, SETTINGS, document).await
    }

    async fn change_matching(&self, tags: &str, document: Value) -> Answer {
        let request = self.http.post(format!("{}{SETTINGS}", self.node.url));
        let request = request.bearer_auth(&self.token).header("if-match", tags);
        answer(request.json(&document)).await
    }

    async fn status(&self) -> Value {
        let mut answer = self.get(&self.token, STATUS).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body[0].take()
    }

    /// Ask for the status until `is` says so.
    async fn status_when(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut status = Value::Null;
        for _ in 0..600 {
            status = self.status().await;
            if is(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: {status:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_changed_once_stay_and_are_never_written_over() {
    let mut scene = Scene::new().await;
    let before = scene.settings().await;
    assert_eq!(before.headers["etag"], "\"0\"");
    assert_eq!(before.body["rotate"]["age"], 30);

    // Two people who have read the same, at once.
    let edited = |age: u32| {
        let mut document = before.body.clone();
        document["rotate"]["age"] = age.into();
        document
    };
    let answers = tokio::join!(scene.change(edited(7)), scene.change(edited(8)));
    let (done, refused) = match answers.0.status {
        200 => answers,
        _ => (answers.1, answers.0),
    };
    assert_eq!(
        (done.status, refused.status),
        (200, 409),
        "{}",
        refused.body
    );
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("changed meanwhile"), "{detail}");
    let age = done.body["settings"]["rotate"]["age"].clone();
    let change = json!([{"path": "/rotate/age", "from": 30, "to": age}]);
    assert_eq!(done.body["changes"], change);
    assert_eq!(done.headers["etag"], "\"1\"");

    // By ETags: those that do not hold change nothing, and `*` is any.
    let stale = scene
        .change_matching("\"0\", \"x\"", json!({"rotate": {"age": 9}}))
        .await;
    assert_eq!(stale.status, 412, "{}", stale.body);
    let wrong = scene.change_matching("1", json!({})).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let match_any = scene
        .change_matching("*", json!({"rotate": {"age": 9}}))
        .await;
    assert_eq!(match_any.status, 200, "{}", match_any.body);
    let now = scene
        .change_matching("\"2\"", json!({"rotate": {"age": 10}}))
        .await;
    assert_eq!(now.status, 200, "{}", now.body);

    // What cannot be is named, and nothing of it is done.
    let document = json!({"rotate": {"age": 11}, "rotat": {}, "search": {"max_window": 0}});
    let wrong = scene.change(document).await;
    assert_eq!(wrong.status, 400);
    let detail = wrong.body["detail"].as_str().unwrap();
    for part in [
        "/rotat: there is no such setting",
        "/search/max_window: expected",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(scene.settings().await.body["rotate"]["age"], 10);

    // Nobody without the grant reads or changes them.
    let read_only = json!([{"method": ["GET"], "url": ["{mscp_api_url}/**"]}]);
    let other = scene.token_for(read_only).await;
    let refused = scene
        .post(&other, SETTINGS, json!({"rotate": {"age": 1}}))
        .await;
    assert_eq!(refused.status, 403);

    // They stay through a kill, and rotation follows them.
    let killed = std::mem::replace(
        &mut scene.node,
        Node::start(tempfile::tempdir().unwrap().path(), &[], &[]),
    );
    killed.kill();
    scene.node = Node::start(scene.data.path(), &[], &[]);
    assert_eq!(scene.settings().await.body["rotate"]["age"], 10);
    let path = "/api/local/system/log/rotate?dry_run=true";
    let plan = scene.call(&scene.token, Method::POST, path, None).await;
    assert_eq!(plan.body["age_days"], 10, "{}", plan.body);

    // Each change is in the audit: who, when, what.
    let mut noted = Vec::new();
    for _ in 0..200 {
        let audit = scene.get(&scene.token, "/api/system/audit").await;
        let rows = audit.body.as_array().cloned().unwrap_or_default();
        noted = rows;
        noted.retain(|row| row["action"] == "settings.change" && row["outcome"] == "done");
        if noted.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(noted.len(), 3, "{noted:?}");
    let last = json!([{"path": "/rotate/age", "from": 9, "to": 10}]);
    assert_eq!(noted[0]["detail"]["changes"], last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_whole_and_what_is_edited_in_it_is_a_setting() {
    let scene = Scene::with(&[("MSCP_LOG_ROTATION__ENABLED", "true")]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_us = i64::try_from(now.unwrap().as_micros()).unwrap();
    let pushed = record(APP_A, now_us, 0, "hello");
    let path = format!("/api/apps/{APP_A}/log");
    let taken = scene.post(&scene.token, &path, json!([pushed])).await;
    assert_eq!(taken.status, 202, "{}", taken.body);
    scene.wait_for(json!({"match_all": {}}), 1).await;
    let status = scene
        .status_when("well, with this node in it", |status| {
            // The disk that tests run on may be as full as it likes.
            let of_disks = |reason: &Value| {
                let text = reason["text"].as_str().unwrap_or_default();
                text.starts_with("the disk of")
            };
            let well = status["reasons"].as_array().unwrap().iter().all(of_disks);
            well && status["api"]["instances"][0]["status"] == "up"
        })
        .await;
    // Every field of the original's.
    let one = json!({"scheduled": 1, "up": 1});
    assert_eq!(status["rotate"]["enabled"], true);
    assert_eq!(status["rotate"]["age"], 30);
    assert_eq!(status["parser"]["status"], one);
    assert_eq!(status["shipper"]["status"], one);
    assert_eq!(status["elasticsearch"]["status"]["data"], one);
    assert_eq!(status["elasticsearch"]["health"]["status"], "green");
    assert!(status["timestemp"].is_u64());
    for name in ["journalbeat", "filebeat", "http_gateway"] {
        let collector = &status["collector"][name];
        assert_eq!(collector["enabled"], true, "{name}");
        assert!(collector["status"]["up"].is_u64(), "{name}");
        assert!(collector["instances"].is_array(), "{name}");
    }
    // What nobody can know here is null, with a reason.
    let kafka = &status["kafka"];
    assert_eq!(kafka["health_check"], Value::Null);
    assert!(kafka["zookeeper"]["reason"].is_string(), "{kafka}");
    assert_eq!(status["buffer"]["lag"]["records"], 0);
    assert_eq!(status["buffer"]["lag"]["seconds"], 0);
    assert_eq!(status["keys"].as_array().unwrap().len(), 2);
    assert!(status["full"]["reason"].is_string(), "{}", status["full"]);

    let unchanged = scene.change(json!([status])).await;
    assert_eq!(unchanged.status, 200, "{}", unchanged.body);
    assert_eq!(unchanged.body["changes"], json!([]));
    let mut edited = status.clone();
    edited["rotate"]["age"] = json!(7);
    edited["collector"]["http_gateway"]["enabled"] = json!(false);
    let changed = scene.change(json!([edited])).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.body["changes"].as_array().unwrap().len(), 2);

    // It takes effect here at once, is seen, and can be taken back.
    let refused = scene.post(&scene.token, &path, json!([pushed])).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    let status = scene.status().await;
    assert_eq!(status["status"], "yellow", "{status:#}");
    let reasons = status["reasons"].to_string();
    assert!(
        reasons.contains("http_gateway is switched off"),
        "{reasons}"
    );
    let on = json!({"collector": {"http_gateway": {"enabled": true}}});
    assert_eq!(scene.change(on).await.status, 200);
    let taken = scene.post(&scene.token, &path, json!([pushed])).await;
    assert_eq!(taken.status, 202, "{}", taken.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_comes_though_the_store_never_answers() {
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let store = format!("http://{address}");
    let scene = Scene::with(&[("MSCP_LOG_REGION__LOCAL__STORE", &store)]).await;
    let status = scene.status().await;
    assert_eq!(status["status"], "red", "{status:#}");
    let store = &status["elasticsearch"];
    assert_eq!(store["health"], Value::Null);
    assert!(store["reason"].is_string(), "{store}");
    assert_eq!(store["status"]["data"]["up"], Value::Null);
    assert!(store["status"]["data"]["reason"].is_string(), "{store}");
    // What does not need it is known all the same.
    assert_eq!(status["rotate"]["age"], 30);
    assert_eq!(status["buffer"]["lag"]["records"], 0);
    holding.abort();
}

fn write(file: &Path, lines: std::ops::Range<usize>) {
    let text: String = lines
        .map(|line| format!("line {line} of the file\n"))
        .collect();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reports_itself_and_obeys_though_it_has_no_database() {
    let scene = Scene::new().await;
    let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect",
        "{mscp_api_url}/local/system/log/instances"]}]);
    let token = scene.token_for(access).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("app.log"), folder.path().join("agent"));
    let paths = file.display().to_string();
    write(&file, 0..10);
    let agent = Node::start(
        &data,
        &["--role", "agent"],
        &[
            ("MSCP_LOG_INSTANCE__NODE", "node1"),
            ("MSCP_LOG_INSTANCE__POD", "agent-x7"),
            ("MSCP_LOG_COLLECT__HOST", "node1"),
            ("MSCP_LOG_COLLECT__URL", &scene.node.url),
            ("MSCP_LOG_COLLECT__TOKEN", &token),
            ("MSCP_LOG_COLLECT__REGION", "local"),
            ("MSCP_LOG_COLLECT__FILES__PATHS", &paths),
            ("MSCP_LOG_COLLECT__FILES__START", "head"),
        ],
    );
    scene.wait_for(json!({"match_all": {}}), 10).await;
    let of = |status: &Value, is: &str| {
        let instance = &status["collector"]["filebeat"]["instances"][0];
        instance["pod_id"] == "agent-x7" && instance["status"] == is
    };
    let status = scene
        .status_when("the agent is up", |status| of(status, "up"))
        .await;
    assert_eq!(status["collector"]["filebeat"]["status"]["up"], 1);
    assert_eq!(
        status["collector"]["filebeat"]["instances"][0]["node"],
        "node1"
    );

    let off = json!({"collector": {"filebeat": {"enabled": false}}});
    assert_eq!(scene.change(off).await.status, 200);
    scene
        .status_when("the agent is off", |status| of(status, "off"))
        .await;
    write(&file, 10..20);
    let on = json!({"collector": {"filebeat": {"enabled": true}}});
    assert_eq!(scene.change(on).await.status, 200);
    scene
        .status_when("the agent is on again", |status| of(status, "up"))
        .await;
    // What was written meanwhile is there, once.
    scene.wait_for(json!({"match_all": {}}), 20).await;

    // One that ends as it should takes its leave.
    assert!(agent.terminate().success());
    let known = scene.get(&scene.token, INSTANCES).await;
    let known = known.body.as_array().unwrap().clone();
    assert!(
        known.iter().all(|it| it["pod_id"] != "agent-x7"),
        "{known:?}"
    );
}
