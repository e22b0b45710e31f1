//! The engines and the roles: two of each role, every one a process with data
//! of its own, behind an address that stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::engine::Spec;
use crate::engine::kafka::{self, Kafka};
use crate::engine::postgres::Postgres;
use crate::forward::Forward;
use crate::process::{self, Node};
use crate::proxy::Proxy;

/// The roles that run, and how often each.
pub(super) const ROLES: [&str; 5] = ["api", "parser", "shipper", "rotator", "agent"];
const EACH: usize = 2;

const DATABASE: &str = "identity";

/// What the roles are given to work with.
pub(super) struct Engines {
    pub(super) kafka: Kafka,
    pub(super) store: Engine,
    pub(super) postgres: Postgres,
    /// Between the shippers and the store.
    pub(super) proxy: Proxy,
}

impl Engines {
    pub(super) async fn start() -> Self {
        let blocking = || {
            let postgres = Postgres::start();
            postgres.create(DATABASE);
            let broker = kafka::MATRIX.iter().find(|spec| spec.usual);
            let kafka = Kafka::start(broker.expect("one is usual"));
            let store = Engine::start(Spec::named(super::STORE));
            (postgres, kafka, store)
        };
        let started = tokio::task::spawn_blocking(blocking).await;
        let (postgres, kafka, store) = started.expect("the engines start");
        let proxy = Proxy::start(&store.url).await;
        Self {
            kafka,
            store,
            postgres,
            proxy,
        }
    }
}

/// A process of one role, or the lack of it.
pub(super) struct Process {
    pub(super) name: String,
    role: &'static str,
    data: PathBuf,
    variables: Vec<(String, String)>,
    /// The address of its API that others know.
    pub(super) link: Arc<Forward>,
    beats: Arc<Forward>,
    node: Arc<Mutex<Option<Node>>>,
    starting: Option<JoinHandle<()>>,
}

impl Process {
    async fn new(role: &'static str, number: usize, folder: &Path) -> Self {
        let name = format!("{role}{number}");
        Self {
            data: folder.join(&name),
            name,
            role,
            variables: Vec::new(),
            link: Arc::new(Forward::start().await),
            beats: Arc::new(Forward::start().await),
            node: Arc::default(),
            starting: None,
        }
    }

    /// Start it, and again each time that it ends instead, as whoever
    /// supervises processes does.
    pub(super) fn start(&mut self) {
        let (data, role) = (self.data.clone(), self.role);
        let (name, variables) = (self.name.clone(), self.variables.clone());
        let (link, beats) = (Arc::clone(&self.link), Arc::clone(&self.beats));
        let node = Arc::clone(&self.node);
        let starting = tokio::task::spawn_blocking(move || {
            let variables: Vec<(&str, &str)> = variables
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            let started = loop {
                match Node::try_start(&data, &["--role", role], &variables) {
                    Ok(started) => break started,
                    Err(said) => eprintln!("{name} ended at its start: {said}"),
                }
            };
            link.lead_to(&started.url);
            if let Some(address) = started.beats {
                beats.lead_to(&format!("http://{address}"));
            }
            *node.lock().expect("no holder panics") = Some(started);
        });
        self.starting = Some(starting);
    }

    /// Wait until it has started.
    pub(super) async fn started(&mut self) {
        if let Some(starting) = self.starting.take() {
            starting.await.expect("it starts");
        }
    }

    /// SIGKILL; says whether there was something to kill.
    pub(super) async fn kill(&mut self) -> bool {
        let node = self.node.lock().expect("no holder panics").take();
        let Some(node) = node else { return false };
        self.link.cut();
        self.beats.cut();
        let killed = tokio::task::spawn_blocking(move || node.kill()).await;
        killed.expect("a child can be killed");
        true
    }

    async fn is_ready(&self) -> bool {
        let asked = process::http()
            .get(format!("{}/readyz", self.link.url))
            .timeout(Duration::from_secs(5))
            .send()
            .await;
        asked.is_ok_and(|answer| answer.status() == 200)
    }
}

/// Every role twice, and what lies between them.
pub(super) struct Platform {
    pub(super) engines: Engines,
    pub(super) processes: Vec<Process>,
}

impl Platform {
    /// Start the engines, and the roles but the agents, which want a token.
    pub(super) async fn start(folder: &Path) -> Self {
        let engines = Engines::start().await;
        let master = folder.join("master.key");
        std::fs::write(&master, "4d".repeat(32)).expect("the folder takes files");
        let mut processes = Vec::new();
        for role in ROLES {
            for number in 0..EACH {
                processes.push(Process::new(role, number, folder).await);
            }
        }
        let mut platform = Self { engines, processes };
        for index in 0..platform.processes.len() {
            let variables = platform.variables(index, &master);
            platform.processes[index].variables = variables;
        }
        // Several replicas meet an empty database and brokers without topics.
        for process in &mut platform.processes {
            if process.role != "agent" {
                process.start();
            }
        }
        for process in &mut platform.processes {
            process.started().await;
        }
        platform
    }

    fn variables(&self, index: usize, master: &Path) -> Vec<(String, String)> {
        let role = self.processes[index].role;
        let (kafka, database) = (
            self.engines.kafka.address.clone(),
            self.engines.postgres.url(DATABASE),
        );
        let mut variables: Vec<(&str, String)> = Vec::new();
        if matches!(role, "api" | "parser" | "shipper") {
            variables.extend([
                ("BUFFER__KIND", "kafka".to_owned()),
                ("BUFFER__BROKERS", kafka),
                ("BUFFER__PARTITIONS", "4".to_owned()),
                ("BUFFER__REPLICATION", "1".to_owned()),
                ("BUFFER__MIN_INSYNC", "1".to_owned()),
                // So short that a broker that is away is noticed.
                ("BUFFER__TIMEOUT", "2s".to_owned()),
                (
                    "BUFFER__LIBRDKAFKA",
                    "{ \"session.timeout.ms\" = 6000, \"heartbeat.interval.ms\" = 500 }".to_owned(),
                ),
            ]);
        }
        if matches!(role, "api" | "parser" | "rotator") {
            variables.push(("AUTH__DATABASE", database));
            variables.push(("AUTH__MASTER_KEY_FILE", master.display().to_string()));
        }
        match role {
            "api" | "rotator" => {
                variables.push(("REGION__LOCAL__STORE", self.engines.store.url.clone()));
            }
            "parser" => variables.extend([
                ("BEATS__LISTEN", "127.0.0.1:0".to_owned()),
                ("BEATS__INSECURE", "true".to_owned()),
            ]),
            "shipper" => variables.push(("REGION__LOCAL__STORE", self.engines.proxy.url.clone())),
            _ => {}
        }
        named(variables)
    }

    /// Start the agents: the first feeds the parsers over Lumberjack, whichever
    /// is there, the other one of them over HTTP. Each follows its file.
    pub(super) async fn start_agents(&mut self, files: &[PathBuf], token: &Path) {
        let parsers = self.indices("parser");
        let of = |index: &usize| &self.processes[*index];
        let hosts: Vec<&str> = parsers
            .iter()
            .map(|index| of(index).beats.url.trim_start_matches("http://"))
            .collect();
        let outputs = [
            vec![("COLLECT__LUMBERJACK__HOSTS", hosts.join(","))],
            vec![
                ("COLLECT__URL", of(&parsers[1]).link.url.clone()),
                ("COLLECT__TOKEN_FILE", token.display().to_string()),
            ],
        ];
        let agents = self.indices("agent");
        for (number, ((index, file), output)) in agents.iter().zip(files).zip(outputs).enumerate() {
            let mut variables = vec![
                ("COLLECT__HOST", format!("node{number}")),
                ("COLLECT__FILES__PATHS", file.display().to_string()),
            ];
            variables.extend(output);
            self.processes[*index].variables = named(variables);
            self.processes[*index].start();
        }
        for index in agents {
            self.processes[index].started().await;
        }
    }

    /// Where the processes of a role stand.
    pub(super) fn indices(&self, role: &str) -> Vec<usize> {
        let all = self.processes.iter().enumerate();
        all.filter(|(_, process)| process.role == role)
            .map(|(index, _)| index)
            .collect()
    }

    /// The addresses of the API.
    pub(super) fn apis(&self) -> Vec<String> {
        let apis = self.indices("api").into_iter();
        apis.map(|index| self.processes[index].link.url.clone())
            .collect()
    }

    /// The first that does not say that it is ready.
    pub(super) async fn unready(&self) -> Option<&str> {
        for process in &self.processes {
            if !process.is_ready().await {
                return Some(&process.name);
            }
        }
        None
    }

    /// Have the blocking `change` done to the engines.
    pub(super) async fn change(
        mut self,
        change: impl FnOnce(&mut Engines) + Send + 'static,
    ) -> Self {
        let changed = tokio::task::spawn_blocking(move || {
            change(&mut self.engines);
            self
        });
        changed.await.expect("the engine does what it is told")
    }

    /// SIGTERM to all; the names of those that do not end well.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        // Agents first, or they wait for parsers.
        for process in self.processes.iter_mut().rev() {
            process.started().await;
            let node = process.node.lock().expect("no holder panics").take();
            let ended = tokio::task::spawn_blocking(|| node.map(Node::terminate)).await;
            if !ended.is_ok_and(|ended| ended.is_some_and(|status| status.success())) {
                wrong.push(process.name.clone());
            }
        }
        wrong
    }
}

fn named(variables: Vec<(&str, String)>) -> Vec<(String, String)> {
    let named = variables.into_iter();
    named
        .map(|(name, value)| (format!("MSCP_LOG_{name}"), value))
        .collect()
}
