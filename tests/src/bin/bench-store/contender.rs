//! A store under measurement: a node with its embedded store, or a real engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mscp_log_core::template::{Version, index_template};
use mscp_log_tests::engine::{Engine, Spec};
use mscp_log_tests::process::{self, Node};
use reqwest::Client;
use serde_json::{Value, json};

/// What a search goes to.
const INDICES: &str = "logstash-*";

enum Running {
    Node(Node, tempfile::TempDir),
    Engine(Engine),
}

/// One of them, running.
pub(crate) struct Contender {
    pub(crate) name: String,
    running: Running,
    door: Door,
}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Door {
    http: Client,
    url: String,
    token: Option<String>,
}

impl Door {
    fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: String,
    ) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.header("content-type", content_type).body(body)
    }

    async fn json(&self, path: &str, body: &Value) -> Value {
        let request = self.post(path, "application/json", body.to_string());
        let response = request.send().await.expect("the store answers");
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// One `_bulk`, again while the store has no room.
    pub(crate) async fn bulk(&self, body: String) {
        loop {
            let request = self.post("/_bulk", "application/x-ndjson", body.clone());
            let response = request.send().await.expect("the store answers");
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            if matches!(status, 429 | 503) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            assert_eq!(status, 200, "{text}");
            assert!(text.contains("\"errors\":false"), "{text}");
            return;
        }
    }
}

impl Contender {
    /// Start one by its name.
    pub(crate) async fn start(name: &str, heap: &str) -> Result<Self, String> {
        let http = process::http();
        if name == "embedded" {
            let data = tempfile::tempdir().map_err(|error| error.to_string())?;
            let node = Node::start(data.path(), &[], &[]);
            let everything = json!([{"method": ["GET", "POST", "PUT"], "url": ["{mscp_api_url}/**"],
                "other": {"log": {"write": true}}}]);
            let token = process::administrator_token(&node, &everything).await;
            let url = format!("{}/api/local/log", node.url);
            return Ok(Self {
                name: name.to_owned(),
                running: Running::Node(node, data),
                door: Door {
                    http,
                    url,
                    token: Some(token),
                },
            });
        }
        let spec = Spec::named(name);
        spec.available().map_err(|missing| missing.0)?;
        let heap = [format!("-Xms{heap}"), format!("-Xmx{heap}")];
        let engine = Engine::start_with(spec, &heap.each_ref().map(String::as_str));
        let door = Door {
            http,
            url: engine.url.clone(),
            token: None,
        };
        let contender = Self {
            name: name.to_owned(),
            running: Running::Engine(engine),
            door,
        };
        contender.put_template(spec.template()).await;
        Ok(contender)
    }

    async fn put_template(&self, version: Version) {
        let mut template = index_template(version);
        let settings = if template.get("template").is_some() {
            &mut template["template"]["settings"]["index"]
        } else {
            &mut template["settings"]["index"]
        };
        // One node, and no answer from a cache of whole answers.
        settings["number_of_replicas"] = json!(0);
        settings["requests.cache.enable"] = json!(false);
        let url = format!("{}{}", self.door.url, version.path());
        let request = self.door.http.put(url).json(&template);
        let response = request.send().await.expect("the engine answers");
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        assert!(status.is_success(), "template: {status}: {text}");
    }

    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.running, Running::Node(..))
    }

    /// End a node and start it again on its data: how long from the start of
    /// the process to the answer to a search of everything. Engines stay.
    pub(crate) async fn restart(&mut self) -> Option<Duration> {
        let Running::Node(node, data) = &mut self.running else {
            return None;
        };
        node.stop();
        let begun = Instant::now();
        *node = Node::start(data.path(), &[], &[]);
        self.door.url = format!("{}/api/local/log", node.url);
        let body = json!({"size": 100, "sort": [{"@timestamp": "desc"}]});
        self.search(&body).await;
        Some(begun.elapsed())
    }

    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    fn id(&self) -> u32 {
        match &self.running {
            Running::Node(node, _) => node.id(),
            Running::Engine(engine) => engine.id(),
        }
    }

    fn data(&self) -> PathBuf {
        match &self.running {
            Running::Node(_, data) => data.path().join("store"),
            Running::Engine(engine) => engine.folder().join("data"),
        }
    }

    /// CPU seconds of its process so far, and the peak of its memory in bytes.
    pub(crate) fn cost(&self) -> (f64, u64) {
        process::cost_of(self.id())
    }

    /// Bytes in its data folder.
    pub(crate) fn disk(&self) -> u64 {
        let mut bytes = 0;
        each_file(&self.data(), &mut |_, length| bytes += length);
        bytes
    }

    /// The same by the ending of the files' names: what of an index they hold.
    pub(crate) fn disk_by_kind(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        each_file(&self.data(), &mut |path, length| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            *kinds
                .entry(ending.unwrap_or("other").to_owned())
                .or_default() += length;
        });
        kinds
    }

    /// Wait until a count finds `records` documents.
    pub(crate) async fn until_searchable(&self, records: usize) {
        let path = format!("/{INDICES}/_count");
        loop {
            let answer = self.door.json(&path, &json!({})).await;
            if answer["count"].as_u64() == u64::try_from(records).ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Let an engine write down what it holds, so that its log does not count
    /// as its index. The embedded store has no other place than its index.
    pub(crate) async fn flush(&self) {
        if matches!(self.running, Running::Engine(_)) {
            let path = format!("/{INDICES}/_flush");
            let request = self.door.post(&path, "application/json", String::new());
            let status = request.send().await.expect("the engine answers").status();
            assert!(status.is_success(), "{path}: {status}");
        }
    }

    /// Give an engine its best case for searches. The embedded store is
    /// searched as it is.
    pub(crate) async fn merge_to_one_segment(&self) {
        if matches!(self.running, Running::Engine(_)) {
            let path = format!("/{INDICES}/_forcemerge?max_num_segments=1");
            let http = Client::builder()
                .timeout(Duration::from_secs(1_800))
                .build()
                .expect("a client with a time limit can be built");
            let response = http.post(format!("{}{path}", self.door.url)).send().await;
            let status = response.expect("the engine answers").status();
            assert!(status.is_success(), "{path}: {status}");
        }
    }

    /// One search: how long it took to the last byte, and its hits, up to where
    /// they are counted.
    pub(crate) async fn search(&self, body: &Value) -> (Duration, f64) {
        let path = format!("/{INDICES}/_search");
        let request = self.door.post(&path, "application/json", body.to_string());
        let begun = Instant::now();
        let response = request.send().await.expect("the store answers");
        let status = response.status();
        let bytes = response.bytes().await.expect("the store answers whole");
        let time = begun.elapsed();
        assert!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&bytes)
        );
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        (
            time,
            answer["hits"]["total"]["value"]
                .as_f64()
                .unwrap_or_default(),
        )
    }
}

fn each_file(folder: &Path, each: &mut impl FnMut(&Path, u64)) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        match entry.metadata() {
            Ok(facts) if facts.is_dir() => each_file(&entry.path(), each),
            Ok(facts) => each(&entry.path(), facts.len()),
            Err(_) => {}
        }
    }
}
