//! Collecting while everything is killed and cut: log volumes and container
//! files under rotation, and a journal, read by an agent, sent over a link to
//! a node. Every line that is written goes into a ledger; at the end each is
//! in the store once.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::forward::Forward;
use crate::journal::Journal;
use crate::kill::{search, settled};
use crate::process::{self, Node};

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// How long nothing may turn up before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Hits of a page when everything is read back.
const PAGE: usize = 5_000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Lines to write, all files and the journal together.
    pub lines: u64,
    /// Log files of applications.
    pub files: u64,
    /// How often the agent, the node or the link is disturbed.
    pub faults: u32,
    /// Of the moments, of what happens, and of the lines.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Lines that were written.
    pub written: u64,
    /// Of these, entries of a journal.
    pub journal: u64,
    /// How often a file was rotated.
    pub rotations: u64,
    /// Lines that a search found, each counted once.
    pub found: u64,
    /// Written and not found, the first of them.
    pub missing: Vec<String>,
    /// Found more than once, the first of them.
    pub repeated: Vec<String>,
    /// What was done to the agent, the node and the link, and how often.
    pub faults: HashMap<&'static str, u32>,
}

impl Outcome {
    /// Whether every line is there once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.repeated.is_empty() && self.found == self.written
    }
}

/// A file that is written and rotated.
struct Log {
    path: PathBuf,
    file: File,
    /// As a container runtime writes.
    container: bool,
    rotations: u64,
}

impl Log {
    fn create(path: PathBuf, container: bool) -> Self {
        fs::create_dir_all(path.parent().expect("below a folder")).expect("a folder");
        let file = open(&path);
        Self {
            path,
            file,
            container,
            rotations: 0,
        }
    }

    fn write(&mut self, line: &str, random: &mut StdRng) {
        let mut bytes = if self.container {
            let time = "2026-11-23T00:00:00.000000001Z".replace("2026-11-23T00:00:00", &now());
            if line.len() > 20 && random.random_bool(0.2) {
                let (first, second) = line.split_at(line.len() / 2);
                format!("{time} stdout P {first}\n{time} stdout F {second}\n").into_bytes()
            } else {
                format!("{time} stdout F {line}\n").into_bytes()
            }
        } else {
            format!("{line}\n").into_bytes()
        };
        if random.random_bool(0.05) {
            // A line cut over two writes.
            let rest = bytes.split_off(bytes.len() / 2);
            self.file.write_all(&bytes).expect("written");
            bytes = rest;
        }
        self.file.write_all(&bytes).expect("written");
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        let path = self.path.display();
        let rotated = format!("{path}.{:08}-{:06}", 20_261_123, self.rotations);
        fs::rename(&self.path, rotated).expect("renamed");
        self.file = open(&self.path);
    }
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(path)
        .expect("a file")
}

fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap_or_default(), 0);
    time.unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%S")
        .to_string()
}

/// Run `plan` with everything below `folder`, and say how it went on standard
/// error.
///
/// # Panics
/// When a node does not start, or nothing moves for a minute.
pub async fn run(plan: Plan, folder: &Path) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut outcome = Outcome::default();
    let mut logs = logs(plan, folder);
    let mut journal = Journal::create(&folder.join("journal"), "remote");
    if journal.is_none() {
        eprintln!("no systemd-journal-remote: the journal is left out");
    }

    let link = Forward::start().await;
    let mut node = start(&folder.join("node"), &[]).await;
    let token = folder.join("token");
    let access = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect"],
        "other": {"log": {"hostname": ["node1"]}}}]);
    let issued = process::administrator_token(&node, &access).await;
    fs::write(&token, issued).expect("written");
    link.lead_to(&node.url);
    let variables = variables(folder, &link.url, journal.is_some());
    let mut agent = start(&folder.join("agent"), &variables).await;

    let mut ledger = Vec::new();
    let every = plan.lines / u64::from(plan.faults + 1);
    for number in 0..plan.lines {
        let sources = logs.len() + usize::from(journal.is_some());
        let source = random.random_range(0..sources);
        let filling = "x".repeat(random.random_range(0..200));
        let line = format!("source {source} line {number} {filling}.");
        match (logs.get_mut(source), &mut journal) {
            (Some(log), _) => {
                log.write(&line, &mut random);
                if random.random_bool(0.002) {
                    log.rotate();
                    outcome.rotations += 1;
                }
            }
            (None, Some(journal)) => {
                journal.write(&line);
                outcome.journal += 1;
            }
            (None, None) => {}
        }
        ledger.push(line);
        if number % 50 == 49 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if number % every.max(1) == every.max(1) - 1 {
            let fault = ["agent", "node", "cut", "slow"][random.random_range(0..4)];
            *outcome.faults.entry(fault).or_default() += 1;
            eprintln!("line {number} of {}: {fault}", plan.lines);
            match fault {
                "agent" => {
                    agent.kill();
                    agent = start(&folder.join("agent"), &variables).await;
                }
                "node" => {
                    link.cut();
                    node.kill();
                    node = start(&folder.join("node"), &[]).await;
                    link.lead_to(&node.url);
                }
                "cut" => {
                    link.cut();
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
                    link.lead_to(&node.url);
                }
                _ => link.slow(Duration::from_millis(random.random_range(0..30))),
            }
        }
    }
    link.slow(Duration::ZERO);
    outcome.written = ledger.len() as u64;
    let access = json!([{"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"]}]);
    let token = process::administrator_token(&node, &access).await;
    let all = json!({"match_all": {}});
    settled(&node.url, &token, &all, outcome.written, PATIENCE).await;
    read_back(&node.url, &token, &ledger, &mut outcome).await;
    assert!(
        agent.terminate().success(),
        "the agent stops when it is told"
    );
    assert!(node.terminate().success(), "the node stops when it is told");
    outcome
}

/// Files in log volumes of pods, and two containers.
fn logs(plan: Plan, folder: &Path) -> Vec<Log> {
    let uid = |number: u64| format!("7cc96a84-7ece-6fad-70a9-{number:012x}");
    let mut logs: Vec<Log> = (0..plan.files)
        .map(|number| {
            let volume = format!(
                "k8spods/{}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-d{}",
                uid(number / 4),
                number % 4
            );
            Log::create(folder.join(volume).join(format!("f{number}.log")), false)
        })
        .collect();
    for number in 0..2 {
        let uid = uid(1_000 + number);
        let place = folder.join(format!("pods/shop_web-{number}_{uid}/nginx/0.log"));
        logs.push(Log::create(place.clone(), true));
        let links = folder.join("containers");
        fs::create_dir_all(&links).expect("a folder");
        let id = "0123456789abcdef".repeat(4);
        let link = links.join(format!("web-{number}_shop_nginx-{id}.log"));
        std::os::unix::fs::symlink(place, link).expect("a link");
    }
    logs
}

fn variables(folder: &Path, url: &str, journal: bool) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut variables = vec![
        ("HOST", "node1".to_owned()),
        ("URL", url.to_owned()),
        ("TOKEN_FILE", path("token")),
        ("VOLUMES", path("k8spods")),
        ("PODS", path("pods")),
        ("FILES__VOLUMES", "true".to_owned()),
        ("FILES__CONTAINERS", format!("{}/*.log", path("containers"))),
        ("FILES__RESCAN", "1s".to_owned()),
    ];
    if journal {
        variables.push(("JOURNAL__ENABLED", "true".to_owned()));
        variables.push(("JOURNAL__START", "head".to_owned()));
        variables.push(("JOURNAL__DIRECTORY", path("journal")));
    }
    let named = variables.into_iter();
    named
        .map(|(name, value)| (format!("MSCP_LOG_COLLECT__{name}"), value))
        .collect()
}

async fn start(data: &Path, variables: &[(String, String)]) -> Node {
    let (data, variables) = (data.to_owned(), variables.to_vec());
    tokio::task::spawn_blocking(move || {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Node::start(&data, &[], &variables)
    })
    .await
    .expect("the node starts")
}

async fn read_back(url: &str, token: &str, ledger: &[String], outcome: &mut Outcome) {
    let mut times: HashMap<String, u32> = HashMap::new();
    let mut after = Value::Null;
    loop {
        let mut request = json!({
            "size": PAGE, "sort": ["realtime_us", "seq", "event_id"],
            "_source": ["message"], "track_total_hits": false,
        });
        if !after.is_null() {
            request["search_after"] = after;
        }
        let mut answer = search(url, token, "_search", &request).await;
        let hits = answer["hits"]["hits"].as_array_mut().expect("hits");
        for hit in hits.iter() {
            let message = hit["_source"]["message"].as_str().expect("a message");
            *times.entry(message.to_owned()).or_default() += 1;
        }
        let Some(last) = hits.last_mut() else { break };
        after = last["sort"].take();
    }
    for line in ledger {
        let list = match times.remove(line) {
            None => &mut outcome.missing,
            Some(1) => {
                outcome.found += 1;
                continue;
            }
            Some(_) => {
                outcome.found += 1;
                &mut outcome.repeated
            }
        };
        if list.len() < 20 {
            list.push(line.clone());
        }
    }
    // What was never written, so that no line is found in pieces.
    outcome.repeated.extend(times.into_keys().take(20));
}
