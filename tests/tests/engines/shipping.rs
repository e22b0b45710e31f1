//! Shipping from a real node into a real engine, with a proxy in between that
//! fails as networks and engines do: nothing is lost, nothing is there twice,
//! and what the engine refuses for faults of its own holds up nothing else.
//!
//! `SHIPPING_SEED` and `SHIPPING_RECORDS` make another or a longer run.

mod tls;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use mscp_log_core::template::Version;
use mscp_log_tests::engine::Engine;
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::proxy::{Fault, Proxy};
use mscp_log_tests::target::{RUNTIME, Target};
use reqwest::Method;
use serde_json::{Value, json};

/// The application that the records belong to.
const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// How long a state may take to come before a trial is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked for.
const LOOK: Duration = Duration::from_millis(100);
/// Records of one request.
const BATCH: u64 = 50;
/// Records that are shipped before more are pushed.
const ROUND: usize = 200;

type Case = fn(&mut Engine) -> Result<(), Failed>;

const CASES: &[(&str, Case)] = &[
    ("faults_at_random_lose_nothing_and_double_nothing", random),
    (
        "an_engine_that_is_killed_has_everything_once_when_it_is_back",
        killed,
    ),
    (
        "a_poison_record_is_a_dead_letter_and_holds_up_nothing",
        poison,
    ),
    (
        "a_term_that_is_too_long_for_lucene_is_a_dead_letter",
        immense,
    ),
    (
        "a_record_that_is_too_large_for_the_engine_is_a_dead_letter",
        too_large,
    ),
    (
        "what_the_engine_forbids_waits_until_it_allows_it",
        forbidden,
    ),
    (
        "a_lost_credential_holds_shipping_back_until_the_file_has_another",
        credential,
    ),
    (
        "what_is_wrong_with_a_certificate_is_told_and_holds_shipping_back_until_it_is_mended",
        tls::certificate,
    ),
    (
        "every_kind_of_credential_ships_waits_while_it_is_refused_and_is_never_told",
        tls::credentials,
    ),
    (
        "a_record_without_a_time_that_comes_again_after_midnight_is_there_once",
        midnight,
    ),
];

/// Only real engines have a way between them and the node.
pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let Some(spec) = target.spec else {
        return Vec::new();
    };
    // Its own, since it is killed; started by the first trial that runs.
    let engine: Arc<Mutex<Option<Engine>>> = Arc::default();
    let named = CASES.iter().map(|(name, case)| {
        let engine = Arc::clone(&engine);
        let name = format!("{}::shipping::{name}", target.name());
        Trial::test(name, move || {
            let mut engine: MutexGuard<'_, _> =
                engine.lock().unwrap_or_else(PoisonError::into_inner);
            case(engine.get_or_insert_with(|| Engine::start(spec)))
        })
    });
    named.collect()
}

/// A node that ships into an engine through a proxy.
struct Scene {
    node: Node,
    _data: tempfile::TempDir,
    proxy: Proxy,
    engine: String,
    region: String,
    token: String,
    http: reqwest::Client,
}

impl Scene {
    /// With a region of this name, so that each trial has indices of its own.
    async fn new(engine: &Engine, region: &str, variables: &[(&str, &str)]) -> Self {
        let proxy = Proxy::start(&engine.url).await;
        let store = proxy.url.clone();
        Self::of(engine, proxy, &store, region, variables).await
    }

    /// As [`Scene::new`], with a node that finds `proxy` at the origin `store`.
    async fn of(
        engine: &Engine,
        proxy: Proxy,
        store: &str,
        region: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let of_region = |key: &str| format!("MSCP_LOG_REGION__{}__{key}", region.to_uppercase());
        let mut all = vec![
            (of_region("STORE"), store.to_owned()),
            (
                "MSCP_LOG_LOG__LEVEL".to_owned(),
                "trace,mscp_log_server=trace".to_owned(),
            ),
        ];
        all.extend(
            variables
                .iter()
                .map(|(key, value)| (of_region(key), (*value).to_owned())),
        );
        let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let node = Node::start(data.path(), &[], &all);
        let everything = json!([{"method": ["GET", "POST", "PUT", "DELETE"],
            "url": ["{mscp_api_url}/**", "/metrics"], "other": {"log": {"write": true}}}]);
        let token = process::administrator_token(&node, &everything).await;
        Self {
            node,
            _data: data,
            proxy,
            engine: engine.url.clone(),
            region: region.to_owned(),
            token,
            http: process::http(),
        }
    }

    /// Push records until the node has acknowledged them.
    async fn push(&self, records: &[Value]) {
        let url = format!("{}/api/apps/{APP}/log", self.node.url);
        let request = self.http.post(url).bearer_auth(&self.token).json(&records);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{}", answer.text().await.unwrap());
    }

    async fn api(&self, method: Method, path: &str) -> Value {
        let url = format!("{}/api/{}/{path}", self.node.url, self.region);
        let request = self.http.request(method, url).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    /// Straight to the engine.
    async fn engine(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.engine));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or_default(),
        )
    }

    fn indices(&self) -> String {
        format!("logstash-http-{}-*", self.region)
    }

    /// How often each message is in the engine.
    async fn found(&self) -> HashMap<String, u32> {
        let path = format!("/{}/_refresh?ignore_unavailable=true", self.indices());
        self.engine(Method::POST, &path, None).await;
        let mut found = HashMap::new();
        let mut after: Option<Value> = None;
        loop {
            let mut body = json!({"size": 1_000, "_source": ["message"],
                "sort": [{"event_id": "asc"}, {"realtime_us": "asc"}]});
            if let Some(after) = &after {
                body["search_after"] = after.clone();
            }
            let path = format!("/{}/_search", self.indices());
            let (_, answer) = self.engine(Method::POST, &path, Some(body)).await;
            let hits = answer["hits"]["hits"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let Some(last) = hits.last() else {
                return found;
            };
            after = Some(last["sort"].clone());
            for hit in &hits {
                let message = hit["_source"]["message"].as_str().unwrap_or_default();
                *found.entry(message.to_owned()).or_default() += 1;
            }
        }
    }

    /// Wait until all of these messages are there, and say if one is there twice.
    async fn has(&self, messages: &BTreeSet<String>) -> Result<(), Failed> {
        let begun = Instant::now();
        loop {
            let found = self.found().await;
            if let Some((message, times)) = found.iter().find(|(_, times)| **times > 1) {
                return Err(format!("{message:?} is there {times} times").into());
            }
            let missing = messages
                .iter()
                .filter(|message| !found.contains_key(*message));
            let missing: Vec<_> = missing.take(5).collect();
            if missing.is_empty() && found.len() == messages.len() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let (ready, count) = (self.readiness().await, found.len());
                return Err(format!("{count} found, missing {missing:?}: {ready}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn readiness(&self) -> Value {
        let answer = self
            .http
            .get(format!("{}/readyz", self.node.url))
            .send()
            .await;
        answer.unwrap().json().await.unwrap()
    }

    /// Wait until the node says this about its store or about shipping.
    async fn says(&self, reason: &str) -> Result<(), Failed> {
        let begun = Instant::now();
        loop {
            let ready = self.readiness().await;
            // What it takes in waits in the buffer, so it goes on taking.
            if ready["ready"] != true {
                return Err(format!("not ready: {ready}").into());
            }
            let checks = &ready["checks"];
            if checks["store"]
                .as_str()
                .is_some_and(|said| said.contains(reason))
            {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("expected {reason:?}, found {ready}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Wait for this many dead letters.
    async fn letters(&self, count: usize) -> Result<Vec<Value>, Failed> {
        let begun = Instant::now();
        loop {
            let page = self.api(Method::GET, "system/log/dead-letters").await;
            if page["total"] == count {
                return Ok(page["dead_letters"].as_array().unwrap().clone());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("expected {count} dead letters: {page}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Put the administrator's own template over ours, for this trial's indices.
    async fn put_template(&self, version: Version, mut properties: Value) {
        // What is read back is sorted by these; composable templates are not merged.
        properties["event_id"] = json!({"type": "keyword"});
        properties["realtime_us"] = json!({"type": "long"});
        let patterns = [self.indices()];
        let mappings = json!({"dynamic": false, "properties": properties});
        let (path, body) = match version {
            Version::Es6 => {
                let mappings = json!({ "doc": mappings });
                (
                    "/_template/own",
                    json!({"index_patterns": patterns, "order": 500, "mappings": mappings}),
                )
            }
            Version::Es7 => (
                "/_template/own",
                json!({"index_patterns": patterns, "order": 500, "mappings": mappings}),
            ),
            _ => (
                "/_index_template/own",
                json!({"index_patterns": patterns, "priority": 500, "template": {"mappings": mappings}}),
            ),
        };
        let (status, answer) = self.engine(Method::PUT, path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn delete_template(&self, version: Version) {
        let path = match version {
            Version::Es6 | Version::Es7 => "/_template/own",
            _ => "/_index_template/own",
        };
        let (status, answer) = self.engine(Method::DELETE, path, None).await;
        assert_eq!(status, 200, "{answer}");
    }
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn record(message: &str, level: &str) -> Value {
    json!({"timestemp": now_us(), "appid": APP, "type": "applog", "message": message,
        "annotations": [{"key": "level", "value": level}, {"key": "a.b..c", "value": 1.5}, {"key": "键", "value": true}]})
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// Push `count` records, each with a message of its own.
async fn push_many(scene: &Scene, count: u64, from: u64) -> BTreeSet<String> {
    let mut messages = BTreeSet::new();
    let all: Vec<u64> = (from..from + count).collect();
    for some in all.chunks(usize::try_from(BATCH).unwrap()) {
        let records: Vec<Value> = some
            .iter()
            .map(|n| record(&format!("record {n}"), "info"))
            .collect();
        scene.push(&records).await;
        messages.extend(some.iter().map(|n| format!("record {n}")));
    }
    messages
}

fn random(engine: &mut Engine) -> Result<(), Failed> {
    let seed = number("SHIPPING_SEED", rand::random());
    let records = number("SHIPPING_RECORDS", 2_000);
    let run = async {
        let scene = Scene::new(engine, "random", &[]).await;
        scene.proxy.set(Fault::random(seed));
        let mut messages = BTreeSet::new();
        // Each round is shipped for itself, so that there are as many chances.
        for from in (0..records).step_by(ROUND) {
            let count = (records - from).min(ROUND as u64);
            messages.extend(push_many(&scene, count, from).await);
            scene.has(&messages).await?;
        }
        if scene.proxy.disturbed() == 0 {
            return Err("the proxy disturbed nothing".into());
        }
        scene.letters(0).await.map(drop)
    };
    RUNTIME.block_on(run).map_err(|failed: Failed| {
        let said = failed.message().unwrap_or_default();
        format!("SHIPPING_SEED={seed}: {said}").into()
    })
}

fn killed(engine: &mut Engine) -> Result<(), Failed> {
    let scene = RUNTIME.block_on(Scene::new(engine, "killed", &[]));
    let mut messages = RUNTIME.block_on(push_many(&scene, 200, 0));
    engine.kill();
    messages.extend(RUNTIME.block_on(push_many(&scene, 200, 200)));
    // The proxy is there and says that it cannot reach the engine.
    RUNTIME.block_on(scene.says("502"))?;
    engine.restart();
    messages.extend(RUNTIME.block_on(push_many(&scene, 200, 400)));
    engine.restart();
    RUNTIME.block_on(scene.has(&messages))
}

fn poison(engine: &mut Engine) -> Result<(), Failed> {
    let version = engine.spec.template();
    RUNTIME.block_on(async {
        let scene = Scene::new(engine, "poison", &[]).await;
        scene
            .put_template(version, json!({"message": {"type": "long"}}))
            .await;
        let numbers: BTreeSet<String> = (0..30).map(|n| (1_000 + n).to_string()).collect();
        let words: BTreeSet<String> = (0..10).map(|n| format!("record {n}")).collect();
        let mixed = numbers.iter().take(15).chain(&words);
        let mixed: Vec<Value> = mixed
            .chain(numbers.iter().skip(15))
            .map(|m| record(m, "info"))
            .collect();
        scene.push(&mixed).await;
        scene.has(&numbers).await?;
        let letters = scene.letters(10).await?;
        let newest = &letters[0];
        let message = newest["document"]["message"].as_str().unwrap_or_default();
        if !words.contains(message) {
            return Err(format!("a letter without its record: {newest}").into());
        }
        // Replayed before anything is mended they come back.
        let replay = "system/log/dead-letters/replay";
        assert_eq!(scene.api(Method::POST, replay).await["replayed"], 10);
        scene.letters(10).await?;

        scene.delete_template(version).await;
        let index = newest["index"].as_str().unwrap();
        let (status, _) = scene
            .engine(Method::DELETE, &format!("/{index}"), None)
            .await;
        assert_eq!(status, 200);
        assert_eq!(scene.api(Method::POST, replay).await["replayed"], 10);
        scene.has(&words).await?;
        scene.letters(0).await.map(drop)
    })
}

fn immense(engine: &mut Engine) -> Result<(), Failed> {
    let version = engine.spec.template();
    RUNTIME.block_on(async {
        let scene = Scene::new(engine, "immense", &[]).await;
        scene
            .put_template(version, json!({"message": {"type": "keyword"}}))
            .await;
        // Lucene takes terms of up to 32,766 bytes.
        let long = "é".repeat(20_000);
        let records = [
            record("one", "info"),
            record(&long, "info"),
            record("two", "info"),
        ];
        scene.push(&records).await;
        scene
            .has(&BTreeSet::from(["one".to_owned(), "two".to_owned()]))
            .await?;
        scene.letters(1).await?;
        scene.delete_template(version).await;
        Ok(())
    })
}

fn too_large(engine: &mut Engine) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let scene = Scene::new(engine, "large", &[]).await;
        scene.proxy.set(Fault::LargerThan(20_000));
        let large = record(&"x".repeat(30_000), "info");
        let mut records = vec![large];
        records.extend((0..99).map(|n| record(&format!("record {n}"), "info")));
        scene.push(&records).await;
        scene
            .has(&(0..99).map(|n| format!("record {n}")).collect())
            .await?;
        scene.letters(1).await.map(drop)
    })
}

fn forbidden(engine: &mut Engine) -> Result<(), Failed> {
    let old = engine.spec.template() == Version::Es6;
    RUNTIME.block_on(async {
        let scene = Scene::new(engine, "forbidden", &[]).await;
        let mut messages = push_many(&scene, 10, 0).await;
        scene.has(&messages).await?;
        let settings = format!("/{}/_settings", scene.indices());
        for (place, block) in ["write", "read_only_allow_delete"].into_iter().enumerate() {
            let set = |value: Value| json!({"index": {"blocks": {block: value}}});
            let (status, answer) = scene
                .engine(Method::PUT, &settings, Some(set(json!(true))))
                .await;
            assert_eq!(status, 200, "{answer}");
            messages.extend(push_many(&scene, 10, 10 * (place as u64 + 1)).await);
            scene.says("cluster_block_exception").await?;
            let (status, answer) = scene
                .engine(Method::PUT, &settings, Some(set(Value::Null)))
                .await;
            assert_eq!(status, 200, "{answer}");
            scene.has(&messages).await?;
        }
        scene.letters(0).await?;
        if old {
            // Without a limit of shards that refuses.
            return Ok(());
        }
        let limit = |value: Value| json!({"transient": {"cluster.max_shards_per_node": value}});
        let (status, answer) = scene
            .engine(Method::PUT, "/_cluster/settings", Some(limit(json!(1))))
            .await;
        assert_eq!(status, 200, "{answer}");
        let other = Scene::new(engine, "shards", &[]).await;
        let messages = push_many(&other, 10, 0).await;
        let said = other.says("this action would add").await;
        let (status, answer) = scene
            .engine(Method::PUT, "/_cluster/settings", Some(limit(Value::Null)))
            .await;
        assert_eq!(status, 200, "{answer}");
        said?;
        other.has(&messages).await?;
        other.letters(0).await.map(drop)
    })
}

fn credential(engine: &mut Engine) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let secrets = tempfile::tempdir().unwrap();
        let file = secrets.path().join("password");
        std::fs::write(&file, "old\n").unwrap();
        let path = file.display().to_string();
        let of_node = [
            ("STORE_USER", "shipper"),
            ("STORE_PASSWORD_FILE", path.as_str()),
        ];
        let scene = Scene::new(engine, "credential", &of_node).await;
        // The base64 of shipper:old and of shipper:new.
        scene
            .proxy
            .set(Fault::Unless("Basic c2hpcHBlcjpvbGQ=".to_owned()));
        let mut messages = push_many(&scene, 10, 0).await;
        scene.has(&messages).await?;
        scene
            .proxy
            .set(Fault::Unless("Basic c2hpcHBlcjpuZXc=".to_owned()));
        messages.extend(push_many(&scene, 10, 10).await);
        scene.says("401").await?;
        std::fs::write(&file, "new\n").unwrap();
        scene.has(&messages).await
    })
}

fn midnight(engine: &mut Engine) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let scene = Scene::new(engine, "midnight", &[]).await;
        // Where a record is without a time of its own, its `_id` is the item's
        // key, so that a repetition is the same event.
        let url = format!("{}/api/apps/{APP}/_bulk", scene.node.url);
        let body = "{\"create\":{\"_id\":\"one\"}}\n{\"message\":\"once\"}\n";
        let push = async || {
            let request = scene.http.post(&url).bearer_auth(&scene.token);
            let request = request
                .header("content-type", "application/x-ndjson")
                .body(body);
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["items"][0]["create"]["status"], 201, "{answer}");
        };
        push().await;
        let once = BTreeSet::from(["once".to_owned()]);
        scene.has(&once).await?;
        // As if it had come before midnight: into the index of the day before.
        let (_, found) = scene
            .engine(Method::GET, &format!("/{}/_search", scene.indices()), None)
            .await;
        let hit = &found["hits"]["hits"][0];
        let index = hit["_index"].as_str().unwrap();
        let day =
            chrono::NaiveDate::parse_from_str(&index[index.len() - 10..], "%Y.%m.%d").unwrap();
        let before = day.pred_opt().unwrap().format("%Y.%m.%d");
        let before = format!("{}{before}", &index[..index.len() - 10]);
        let kind = if engine.spec.template() == Version::Es6 {
            "doc"
        } else {
            "_doc"
        };
        let id = hit["_id"].as_str().unwrap();
        let (status, answer) = scene
            .engine(
                Method::PUT,
                &format!("/{before}/{kind}/{id}"),
                Some(hit["_source"].clone()),
            )
            .await;
        assert_eq!(status, 201, "{answer}");
        let (status, _) = scene
            .engine(Method::DELETE, &format!("/{index}"), None)
            .await;
        assert_eq!(status, 200);
        push().await;
        // What comes behind it is there when it was decided about.
        push_many(&scene, 1, 0).await;
        scene
            .has(&BTreeSet::from(["once".to_owned(), "record 0".to_owned()]))
            .await
    })
}
