//! A whole node with its buffer in Kafka and its store in the data folder.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Failed;
use mscp_log_tests::engine::kafka::Kafka;
use mscp_log_tests::engine::postgres::Postgres;
use mscp_log_tests::process::{self, Node, binary};
use mscp_log_tests::target::RUNTIME;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{make, until, variables};

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
const LETTERS: &str = "system/log/dead-letters";

pub(super) struct Scene {
    node: Option<Node>,
    data: tempfile::TempDir,
    variables: Vec<(String, String)>,
    token: String,
    http: reqwest::Client,
}

impl Scene {
    pub(super) async fn start(broker: &Kafka, topic: &str, more: &[(&str, &str)]) -> Self {
        let mut all = variables(broker, topic);
        all.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let mut scene = Self {
            node: None,
            data: tempfile::tempdir().unwrap(),
            variables: all.into_iter().collect(),
            token: String::new(),
            http: process::http(),
        };
        scene.restart(&[]).await;
        scene
    }

    /// SIGKILL, if it runs, and start on the same data.
    pub(super) async fn restart(&mut self, more: &[(&str, &str)]) {
        let mut variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        variables.extend(more);
        let (running, data) = (self.node.take(), self.data.path());
        let node = tokio::task::block_in_place(|| {
            if let Some(node) = running {
                node.kill();
            }
            Node::start(data, &[], &variables)
        });
        let everything = json!([{"method": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "url": ["/**"],
            "other": {"log": {"write": true}}}]);
        self.token = process::administrator_token(&node, &everything).await;
        self.node = Some(node);
    }

    fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    pub(super) fn url(&self) -> &str {
        &self.node().url
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn said(&self) -> String {
        self.node().said()
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("{}{path}", self.node().url);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn api(&self, method: Method, path: &str) -> Value {
        let answer = self.send(method, &format!("/api/local/{path}"), None).await;
        answer.json().await.unwrap_or_default()
    }

    async fn push(&self, messages: &[String]) -> Result<(), reqwest::Response> {
        let now = chrono::Utc::now().timestamp_micros();
        let records: Vec<Value> = messages
            .iter()
            .map(|message| json!({"timestemp": now, "appid": APP, "type": "applog", "message": message}))
            .collect();
        let answer = self
            .send(Method::POST, "/api/apps/log", Some(records.into()))
            .await;
        match answer.status().as_u16() {
            202 => Ok(()),
            _ => Err(answer),
        }
    }

    pub(super) async fn hits(&self) -> Vec<Value> {
        let query = json!({"size": 10_000, "_source": true});
        let answer = self
            .send(Method::POST, "/api/local/log/_search", Some(query))
            .await;
        let answer: Value = answer.json().await.unwrap();
        answer["hits"]["hits"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    pub(super) async fn messages(&self) -> Vec<String> {
        let hits = self.hits().await;
        hits.iter()
            .map(|hit| {
                hit["_source"]["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    pub(super) async fn metric(&self, name: &str) -> u64 {
        let answer = self.send(Method::GET, "/metrics", None).await;
        let text = answer.text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .map(|value| value as u64)
            .sum()
    }

    async fn letters(&self) -> Vec<Value> {
        let page = self.api(Method::GET, LETTERS).await;
        page["dead_letters"].as_array().cloned().unwrap_or_default()
    }
}

fn named(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("record {number}")).collect()
}

pub(super) fn unavailable(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let scene = Scene::start(broker, "unavailable", &[]).await;
        scene.push(&named(0..10)).await.unwrap();
        broker.freeze(true);
        let refused = scene.push(&named(10..20)).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
        until("a node that is not ready", async || {
            let ready = scene.send(Method::GET, "/readyz", None).await;
            let unready = ready.status() == 503;
            unready && ready.json::<Value>().await.unwrap()["checks"]["buffer"] != "ok"
        })
        .await?;
        // Searches go on.
        assert!(scene.messages().await.len() <= 10);
        broker.freeze(false);
        // Nobody sends it anything until it says so.
        until("a node that is ready", async || {
            scene.send(Method::GET, "/readyz", None).await.status() == 200
        })
        .await?;
        until("a push that is taken", async || {
            scene.push(&named(20..30)).await.is_ok()
        })
        .await?;
        until("what was acknowledged", async || {
            let found: BTreeSet<String> = scene.messages().await.into_iter().collect();
            named(0..10)
                .iter()
                .chain(&named(20..30))
                .all(|message| found.contains(message))
        })
        .await
    })
}

pub(super) fn killed(broker: &mut Kafka) -> Result<(), Failed> {
    let seed =
        std::env::var("KAFKA_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let run = RUNTIME.block_on(async {
        let mut random = StdRng::seed_from_u64(seed);
        let mut scene = Scene::start(broker, "killed", &[]).await;
        let mut acknowledged = BTreeSet::new();
        for round in 0..4 {
            for batch in 0..20 {
                let from = (round * 20 + batch) * 25;
                let messages = named(from..from + 25);
                scene.push(&messages).await.unwrap();
                acknowledged.extend(messages);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
            scene.restart(&[]).await;
        }
        until("every record", async || {
            scene.messages().await.len() >= acknowledged.len()
        })
        .await?;
        until("every commit", async || {
            scene.metric("mscp_log_buffer_partitions").await == 4
                && scene.metric("mscp_log_buffer_backlog_records").await == 0
        })
        .await?;
        let found = scene.messages().await;
        assert_eq!(found.len(), acknowledged.len(), "nothing is there twice");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), acknowledged);
        Ok(())
    });
    run.map_err(|failed: Failed| {
        let said = failed.message().unwrap_or_default();
        format!("KAFKA_SEED={seed}: {said}").into()
    })
}

pub(super) fn too_large(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let small = [("MSCP_LOG_BUFFER__MAX_RECORD_BYTES", "64KiB")];
        let mut scene = Scene::start(broker, "too-large", &small).await;
        let large = |letter: &str| letter.repeat(100_000);
        let messages = [large("a"), "small".to_owned(), large("b")];
        scene.push(&messages).await.unwrap();
        until("the small one", async || {
            scene.messages().await == ["small"]
        })
        .await?;
        let letters = scene.letters().await;
        assert_eq!(letters.len(), 2);
        assert_eq!(letters[0]["type"], "record_too_large");
        assert_eq!(
            letters[0]["document"]["message"],
            large("b"),
            "the newest is first"
        );
        assert_eq!(letters[1]["document"]["message"], large("a"));
        let numbers = |letters: &[Value]| -> Vec<u64> {
            letters
                .iter()
                .map(|letter| letter["number"].as_u64().unwrap())
                .collect()
        };
        let before = numbers(&letters);
        assert!(before[0] > before[1]);

        // The topic takes them no more than before: they are letters again.
        let replay = format!("{LETTERS}/replay");
        assert_eq!(scene.api(Method::POST, &replay).await["replayed"], 2);
        let again = scene.letters().await;
        assert_eq!(again.len(), 2);
        assert!(numbers(&again)[1] > before[0], "as new ones");

        // They are the topic's: a node that starts anew has them.
        scene.restart(&[]).await;
        let kept = scene.letters().await;
        assert_eq!(numbers(&kept), numbers(&again));
        let path = format!("{LETTERS}/{}", numbers(&kept)[0]);
        scene.api(Method::DELETE, &path).await;
        assert_eq!(numbers(&scene.letters().await), numbers(&again)[1..]);
        until("the gauge of letters", async || {
            scene.metric("mscp_log_kept_dead_letters{").await == 1
        })
        .await
    })
}

pub(super) fn check(broker: &mut Kafka) -> Result<(), Failed> {
    let data = tempfile::tempdir().unwrap();
    let said = |variables: std::collections::BTreeMap<String, String>| {
        let output = Command::new(binary())
            .arg("check")
            .arg("--data")
            .arg(data.path())
            .args(["--listen", "127.0.0.1:0"])
            .envs(variables)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = text.lines().filter(|line| line.starts_with("error: "));
        errors.map(str::to_owned).collect::<Vec<_>>()
    };
    RUNTIME.block_on(make(broker, "checked", 2, &[]));
    let errors = said(variables(broker, "checked"));
    assert_eq!(
        errors,
        ["error: buffer.brokers: topic checked has 2 partitions, buffer.partitions wants 4"]
    );
    assert_eq!(said(variables(broker, "not-made-yet")), [""; 0]);
    let mut nobody = variables(broker, "checked");
    nobody.insert(
        "MSCP_LOG_BUFFER__BROKERS".to_owned(),
        "127.0.0.1:9".to_owned(),
    );
    let errors = said(nobody);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("127.0.0.1:9") && errors[0].contains("refused"),
        "{errors:?}"
    );
    Ok(())
}

pub(super) fn backup(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let scene = Scene::start(broker, "backup", &[]).await;
        scene.push(&named(0..10)).await.unwrap();
        until("all of it", async || scene.messages().await.len() == 10).await?;
        let output = tokio::task::block_in_place(|| {
            Command::new(binary())
                .args([
                    "backup",
                    "--url",
                    &scene.node().url,
                    "--token",
                    &scene.token,
                ])
                .arg(scene.data.path().join("backup.tar.zst"))
                .output()
                .unwrap()
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("they are in Kafka"), "{said}");
        Ok(())
    })
}

pub(super) fn status(broker: &mut Kafka) -> Result<(), Failed> {
    let mut postgres = Postgres::start();
    postgres.create("status");
    let url = postgres.url("status");
    RUNTIME.block_on(async {
        let database = [("MSCP_LOG_AUTH__DATABASE", url.as_str())];
        let scene = Scene::start(broker, "status", &database).await;
        scene.push(&named(0..10)).await.unwrap();
        let status = async || scene.api(Method::GET, "system/log/status").await[0].take();
        let all_well = async || {
            let status = status().await;
            let kafka = &status["kafka"];
            kafka["health_check"] == true
                && kafka["broker"]["status"]["up"] == 1
                && status["shipper"]["status"]["up"] == 1
                && status["buffer"]["lag"]["records"] == 0
                && status["revision"].is_string()
        };
        until("everything is up", all_well).await?;
        let red = async || {
            let status = status().await;
            let kafka = &status["kafka"];
            let refused = kafka["health_check"] == false && status["status"] == "red";
            // Not known is null, with a reason.
            let unknown = kafka["broker"]["status"]["up"].is_null();
            let told = kafka["broker"]["status"]["reason"].is_string();
            refused && unknown && told && status["elasticsearch"]["health"]["status"] == "green"
        };
        broker.freeze(true);
        let hanging = until("a broker that hangs is seen", red).await;
        broker.freeze(false);
        hanging?;
        until("it answers again", all_well).await?;
        broker.kill();
        let away = until("a broker that is away is seen", red).await;
        broker.restart();
        away?;
        until("it is there again", all_well).await?;

        // Tokens are verified without the database, so the status comes.
        tokio::task::block_in_place(|| postgres.stop());
        let known = status().await;
        assert_eq!(known["revision"], Value::Null, "{known:#}");
        assert_eq!(known["rotate"]["age"], Value::Null);
        assert!(known["rotate"]["reason"].is_string(), "{known:#}");
        assert_eq!(known["keys"], Value::Null);
        assert_eq!(known["status"], "yellow", "{:#}", known["reasons"]);
        assert_eq!(known["kafka"]["health_check"], true);
        let refused = scene.send(Method::POST, "/api/local/system/log", Some(json!({})));
        assert_eq!(refused.await.status(), 503);
        tokio::task::block_in_place(|| postgres.restart());
        until("the database is there again", all_well).await
    })
}
