//! Shippers of one group between a topic and an engine.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mscp_log_tests::engine::Engine;
use mscp_log_tests::process::{self, Node};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::PARTITIONS;
use crate::sink::Sink;

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Where shippers bring records.
pub(crate) enum Target {
    Engine(Engine),
    Sink(Sink),
}

impl Target {
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Engine(engine) => &engine.url,
            Self::Sink(sink) => &sink.url,
        }
    }

    /// Its role's name in the figures.
    pub(crate) fn role(&self) -> &'static str {
        match self {
            Self::Engine(_) => "engine",
            Self::Sink(_) => "sink",
        }
    }

    /// The process that it runs in; the sink is in this one.
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Engine(engine) => engine.id(),
            Self::Sink(_) => std::process::id(),
        }
    }

    /// Wait until it was given so many records.
    pub(crate) async fn has(&self, records: usize) {
        until("every record", async || match self {
            Self::Engine(engine) => {
                let path = "_stats/indexing?filter_path=_all.primaries.indexing.index_total";
                let stats = ask(engine, path).await;
                stats["_all"]["primaries"]["indexing"]["index_total"] == records
            }
            Self::Sink(sink) => sink.came().records >= records,
        })
        .await;
    }

    /// Wait until it has nothing more to do with so many records; how many
    /// bytes they take then, where it keeps them.
    ///
    /// # Panics
    /// When there are more or fewer.
    pub(crate) async fn settled(&self, records: usize) -> Option<usize> {
        let Self::Engine(engine) = self else {
            return None;
        };
        ask(engine, "_refresh").await;
        let found = ask(engine, "logstash-*/_count").await;
        assert_eq!(found["count"], records, "{found}");
        let mut size = 0;
        until("the end of merges", async || {
            let path = "_stats/merge,store?filter_path=_all.primaries";
            let stats = ask(engine, path).await;
            let primaries = &stats["_all"]["primaries"];
            let bytes = primaries["store"]["size_in_bytes"].as_u64();
            size = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or(0);
            primaries["merges"]["current"] == 0
        })
        .await;
        Some(size)
    }

    /// Keep nothing of what came.
    pub(crate) async fn forget(&self) {
        match self {
            Self::Sink(sink) => sink.forget(),
            Self::Engine(engine) => {
                let url = format!("{}/_cat/indices/logstash-*?h=index", engine.url);
                let answer = process::http().get(url).send().await;
                let names = answer.expect("it answers").text().await.unwrap_or_default();
                for names in names.lines().collect::<Vec<_>>().chunks(20) {
                    let url = format!("{}/{}", engine.url, names.join(","));
                    let gone = process::http().delete(url).send().await;
                    assert!(gone.expect("it answers").status().is_success());
                }
            }
        }
    }
}

async fn ask(engine: &Engine, path: &str) -> Value {
    let url = format!("{}/{path}", engine.url);
    let answer = process::http().get(url).send().await;
    let answer = answer.expect("the engine answers").json().await;
    answer.expect("it answers in JSON")
}

/// Members of the group, each a process.
pub(crate) struct Shippers(Vec<Shipper>);

struct Shipper {
    node: Node,
    metrics: String,
    _data: TempDir,
}

impl Shippers {
    /// Start `count` of them and wait until each has its share of the partitions.
    pub(crate) async fn start(count: usize, variables: &[(String, String)]) -> Self {
        let all = Self((0..count).map(|_| Shipper::start(variables)).collect());
        let share = PARTITIONS / count..=PARTITIONS.div_ceil(count);
        until("a share for each shipper", async || {
            let mut shares = Vec::new();
            for shipper in &all.0 {
                shares.push(shipper.gauge("mscp_log_buffer_partitions").await);
            }
            shares.iter().all(|one| share.contains(one))
        })
        .await;
        all
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|shipper| shipper.node.id()).collect()
    }

    /// Hold them where they are, or let them go on: records gather in the topic
    /// meanwhile, and nobody has read any when they go on.
    pub(crate) fn freeze(&self, held: bool) {
        let signal = if held { Signal::STOP } else { Signal::CONT };
        for id in self.ids() {
            let id = i32::try_from(id).expect("process ids are small");
            let id = Pid::from_raw(id).expect("a child's id is not zero");
            kill_process(id, signal).expect("a child can be signalled");
        }
    }

    /// Wait until everything is committed, and end them.
    pub(crate) async fn finish(self) {
        until("a lag of zero", async || {
            let mut lag = 0;
            for shipper in &self.0 {
                lag += shipper.gauge("mscp_log_buffer_backlog_records").await;
            }
            lag == 0
        })
        .await;
        for shipper in self.0 {
            assert!(
                shipper.node.terminate().success(),
                "it ends when it is told"
            );
        }
    }
}

impl Shipper {
    fn start(variables: &[(String, String)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        // A shipper knows no tokens, so its metrics are on a listener of their own.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let metrics = free.expect("a free port of the loopback").to_string();
        let mut variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        variables.push(("MSCP_LOG_HTTP__METRICS_LISTEN", &metrics));
        let node = Node::start(data.path(), &["--role", "shipper"], &variables);
        Self {
            node,
            metrics: format!("http://{metrics}/metrics"),
            _data: data,
        }
    }

    async fn gauge(&self, name: &str) -> usize {
        let answer = process::http().get(&self.metrics).send().await;
        let text = answer.expect("it answers").text().await.unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
            .sum()
    }
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
