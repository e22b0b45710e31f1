//! Collecting while everything is killed and cut: log volumes and container
//! files under rotation and a journal, read by an agent and sent over a link
//! to a node; Beats and an application that send to the node by themselves.
//! Every line that is written goes into a ledger, and why it is not promised,
//! where it is not; at the end each promised line is in the store once, and
//! each other is, or is in a counter.

mod account;
mod logs;
mod senders;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::forward::Forward;
use crate::journal::Journal;
use crate::kill::{search, settled};
use crate::process::{self, Node};
use account::Entry;
pub(crate) use account::read_back;
pub use account::{Outcome, Unpromised, Why};
use logs::{Kind, Log, Rotation};
use senders::{Application, Beat};

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// How long nothing may turn up before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// `collect.max_line_bytes` of the agent.
const MAX_LINE: usize = 4 << 10;
/// `beats.max_event_bytes` of the node.
const MAX_EVENT: usize = 64 << 10;
/// What is there to send with and to read from.
const EVERYTHING: &str = r#"[
    {"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"]},
    {"method": ["POST"], "url": ["{mscp_api_url}/apps/{app:uuid}/log"]},
    {"method": ["GET"], "url": ["/metrics"]}]"#;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Lines to write, all sources together.
    pub lines: u64,
    /// Log files of applications.
    pub files: u64,
    /// How often the agent, the node or the link is disturbed.
    pub faults: u32,
    /// Of the moments, of what happens, and of the lines.
    pub seed: u64,
}

/// Run `plan` with everything below `folder`, and say how it went on standard
/// error.
///
/// # Panics
/// When a node does not start, or nothing moves for a minute.
pub async fn run(plan: Plan, folder: &Path) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut scene = Scene::new(plan, folder).await;
    let every = (plan.lines / u64::from(plan.faults + 1)).max(1);
    for number in 0..plan.lines {
        scene.write(number, &mut random).await;
        if number % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        scene.come_back(number).await;
        if number % every == every - 1 {
            let fault = ["agent", "node", "cut", "slow"][random.random_range(0..4)];
            eprintln!("line {number} of {}: {fault}", plan.lines);
            // What is written while it is away.
            let until = number + random.random_range(0..every / 2);
            scene.disturb(fault, until, &mut random).await;
        }
    }
    scene.come_back(u64::MAX).await;
    scene.end().await
}

/// All that takes part.
struct Scene {
    folder: PathBuf,
    logs: Vec<Log>,
    journal: Option<Journal>,
    beats: Vec<Beat>,
    application: Option<Application>,
    ledger: Vec<Entry>,
    outcome: Outcome,
    link: Forward,
    beats_link: Forward,
    node: Option<Node>,
    agent: Option<Node>,
    /// How often the agent was started.
    life: u32,
    /// The line at which what is away comes back.
    until: u64,
    /// Of the agent.
    variables: Vec<(String, String)>,
    metrics: SocketAddr,
    token: String,
}

impl Scene {
    async fn new(plan: Plan, folder: &Path) -> Self {
        let logs = logs::create(plan.files, folder);
        let journal = Journal::create(&folder.join("journal"), "remote");
        if journal.is_none() {
            eprintln!("no systemd-journal-remote: the journal is left out");
        }
        let (link, beats_link) = (Forward::start().await, Forward::start().await);
        let node = start_node(folder).await;
        let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect"],
            "other": {"log": {"hostname": ["node1"]}}}]);
        let issued = process::administrator_token(&node, &access).await;
        std::fs::write(folder.join("token"), issued).expect("written");
        let access = serde_json::from_str(EVERYTHING).expect("JSON");
        let token = process::administrator_token(&node, &access).await;
        let to_beats = beats_link.url.trim_start_matches("http://").parse();
        let metrics = free_address();
        let mut scene = Self {
            folder: folder.to_owned(),
            logs,
            beats: Beat::all(to_beats.expect("an address")),
            application: Some(Application::start(&link.url, token.clone())),
            ledger: Vec::new(),
            outcome: Outcome::default(),
            variables: variables(folder, &link.url, metrics, journal.is_some()),
            journal,
            link,
            beats_link,
            node: Some(node),
            agent: None,
            life: 0,
            until: 0,
            metrics,
            token,
        };
        scene.lead();
        scene.start_agent().await;
        scene.first_look().await;
        scene
    }

    /// Wait until the agent has looked through the folders: what was renamed
    /// before that is not promised.
    async fn first_look(&self) {
        let url = format!("http://{}/metrics", self.metrics);
        let files = self.logs.iter().filter(|log| log.kind == Kind::File);
        let seen = format!(
            "mscp_log_collect_files{{source=\"files\"}} {}",
            files.count()
        );
        while !metrics(&url, "").await.lines().any(|line| line == seen) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The links lead to the node.
    fn lead(&self) {
        if let Some(node) = &self.node {
            self.link.lead_to(&node.url);
            let beats = node.beats.expect("it listens for Beats");
            self.beats_link.lead_to(&format!("http://{beats}"));
        }
    }

    fn cut(&self) {
        self.link.cut();
        self.beats_link.cut();
    }

    async fn start_agent(&mut self) {
        let data = self.folder.join("agent");
        self.agent = Some(start(&data, &["--role", "agent"], &self.variables).await);
        self.life += 1;
    }

    /// Write a line somewhere.
    async fn write(&mut self, number: u64, random: &mut StdRng) {
        let files = self.logs.len();
        let senders = usize::from(self.journal.is_some()) + self.beats.len() + 1;
        // A sender by itself has as much as two files.
        let source = random.random_range(0..files + 2 * senders);
        let filling = "x".repeat(random.random_range(0..200));
        let mut line = format!("source {source} line {number} {filling}.");
        let mut entry = Entry {
            text: line.clone(),
            source,
            unpromised: None,
            cut: 0,
        };
        let rare = random.random_bool(0.003);
        let took = if let Some(log) = self.logs.get_mut(source) {
            if rare && log.kind == Kind::File && log.rotation == Rotation::Rename {
                lengthen(&mut line, &mut entry, random);
            }
            log.write(&line, random);
            log.lines.push(self.ledger.len());
            if log.kind == Kind::Pause {
                entry.unpromised = Some(Why::Pause);
            }
            match log.kind {
                Kind::File => "files",
                Kind::Container | Kind::Pause => "containers",
            }
        } else {
            match (source - files) / 2 {
                0 => {
                    let application = self.application.as_ref().expect("until the end");
                    application.write(&line).await;
                    "push"
                }
                sender if sender <= self.beats.len() => {
                    if rare {
                        line.push_str(&"y".repeat(MAX_EVENT));
                        entry.text.clone_from(&line);
                        entry.unpromised = Some(Why::TooLarge);
                    }
                    self.beats[sender - 1].write(&line);
                    "beats"
                }
                _ => {
                    if rare {
                        lengthen(&mut line, &mut entry, random);
                    }
                    let journal = self.journal.as_mut().expect("it is counted above");
                    journal.write(&line);
                    "journal"
                }
            }
        };
        *self.outcome.written.entry(took).or_default() += 1;
        self.ledger.push(entry);
        if source < files && random.random_bool(0.004) {
            self.rotate(source);
        }
    }

    fn rotate(&mut self, source: usize) {
        /// A file of which the agent has read nothing may go unseen.
        const FEW: usize = 20;
        let log = &mut self.logs[source];
        let why = match log.rotation {
            Rotation::Rename => None,
            _ if log.lines.len() < FEW || log.made_in >= self.life => return,
            Rotation::Truncate => Some(Why::Truncated),
            Rotation::Delete => Some(Why::Deleted),
        };
        for line in &log.lines {
            let unpromised = &mut self.ledger[*line].unpromised;
            *unpromised = unpromised.or(why);
        }
        let how = format!("{:?}", log.rotation).to_lowercase();
        *self.outcome.rotations.entry(how).or_default() += 1;
        log.rotate(self.life);
    }

    async fn disturb(&mut self, fault: &'static str, until: u64, random: &mut StdRng) {
        *self.outcome.faults.entry(fault).or_default() += 1;
        match fault {
            "agent" => {
                if let Some(agent) = self.agent.take() {
                    agent.kill();
                }
            }
            "node" => {
                // First the links: what is counted after that comes again.
                self.cut();
                self.count_node().await;
                if let Some(node) = self.node.take() {
                    node.kill();
                }
            }
            "cut" => self.cut(),
            _ => {
                let pause = Duration::from_millis(random.random_range(0..30));
                self.link.slow(pause);
                self.beats_link.slow(pause);
            }
        }
        self.until = until;
    }

    /// What is away comes back when its time has come.
    async fn come_back(&mut self, number: u64) {
        if number < self.until {
            return;
        }
        self.until = u64::MAX;
        if self.node.is_none() {
            self.node = Some(start_node(&self.folder).await);
        }
        self.lead();
        if self.agent.is_none() {
            self.start_agent().await;
        }
    }

    async fn count_node(&mut self) {
        if let Some(node) = &self.node {
            let metrics = metrics(&format!("{}/metrics", node.url), &self.token).await;
            self.outcome.count(&metrics);
        }
    }

    async fn end(mut self) -> Outcome {
        self.link.slow(Duration::ZERO);
        self.beats_link.slow(Duration::ZERO);
        for beat in std::mem::take(&mut self.beats) {
            self.outcome.sent_again += beat.end().await;
        }
        if let Some(application) = self.application.take() {
            self.outcome.given_up = application.end().await;
        }
        let promised = self.ledger.iter().filter(|line| line.unpromised.is_none());
        let promised = promised.count() as u64;
        let (node, agent) = (self.node.take(), self.agent.take());
        let (node, agent) = (node.expect("it is back"), agent.expect("it is back"));
        let all = json!({"match_all": {}});
        settled(&node.url, &self.token, &all, promised, PATIENCE).await;
        rest(&node.url, &self.token).await;
        let told = metrics(&format!("http://{}/metrics", self.metrics), "").await;
        self.outcome.count(&told);
        let told = metrics(&format!("{}/metrics", node.url), &self.token).await;
        self.outcome.count(&told);
        let found = read_back(&node.url, &self.token).await;
        self.outcome.settle(&self.ledger, found);
        assert!(
            agent.terminate().success(),
            "the agent stops when it is told"
        );
        assert!(node.terminate().success(), "the node stops when it is told");
        self.outcome
    }
}

/// Wait until the store grows no more: of lines that are not promised it is
/// not known how many come.
async fn rest(url: &str, token: &str) {
    const LOOKS: u32 = 8;
    let (mut last, mut same) = (0, 0);
    while same < LOOKS {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let answer = search(url, token, "_count", &json!({})).await;
        let count = answer["count"].as_u64().expect("a count");
        same = if count == last { same + 1 } else { 0 };
        last = count;
    }
}

/// Make a line longer than is read.
fn lengthen(line: &mut String, entry: &mut Entry, random: &mut StdRng) {
    let more = random.random_range(1..3 * MAX_LINE);
    line.push_str(&"z".repeat(MAX_LINE - line.len() + more));
    entry.text = line[..MAX_LINE].to_owned();
    entry.cut = more as u64;
}

fn variables(
    folder: &Path,
    url: &str,
    metrics: SocketAddr,
    journal: bool,
) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut variables = vec![
        ("COLLECT__HOST", "node1".to_owned()),
        ("COLLECT__URL", url.to_owned()),
        ("COLLECT__TOKEN_FILE", path("token")),
        ("COLLECT__VOLUMES", path("k8spods")),
        ("COLLECT__PODS", path("pods")),
        ("COLLECT__MAX_LINE_BYTES", MAX_LINE.to_string()),
        ("COLLECT__FILES__VOLUMES", "true".to_owned()),
        (
            "COLLECT__FILES__CONTAINERS",
            format!("{}/*.log", path("containers")),
        ),
        ("COLLECT__FILES__RESCAN", "1s".to_owned()),
        ("HTTP__METRICS_LISTEN", metrics.to_string()),
    ];
    if journal {
        variables.push(("COLLECT__JOURNAL__ENABLED", "true".to_owned()));
        variables.push(("COLLECT__JOURNAL__START", "head".to_owned()));
        variables.push(("COLLECT__JOURNAL__DIRECTORY", path("journal")));
    }
    let named = variables.into_iter();
    named
        .map(|(name, value)| (format!("MSCP_LOG_{name}"), value))
        .collect()
}

async fn start_node(folder: &Path) -> Node {
    let variables = [
        ("MSCP_LOG_BEATS__LISTEN", "127.0.0.1:0"),
        ("MSCP_LOG_BEATS__INSECURE", "true"),
        ("MSCP_LOG_BEATS__MAX_EVENT_BYTES", &MAX_EVENT.to_string()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    start(&folder.join("node"), &[], &variables).await
}

async fn start(
    data: &Path,
    arguments: &'static [&'static str],
    variables: &[(String, String)],
) -> Node {
    let (data, variables) = (data.to_owned(), variables.to_vec());
    tokio::task::spawn_blocking(move || {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Node::start(&data, arguments, &variables)
    })
    .await
    .expect("the node starts")
}

/// An address that nobody listens on now.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has one")
}

async fn metrics(url: &str, token: &str) -> String {
    let mut request = process::http().get(url);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("it answers");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.text().await.expect("a body")
}
