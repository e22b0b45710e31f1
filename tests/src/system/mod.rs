//! The whole system as processes, two of each role, with a real broker, store
//! and database between them, while any of these is killed, stopped or too
//! busy. Meanwhile records go in and searches go on; at the end everything
//! that was acknowledged is there once, and nobody lent a hand but to start
//! again what had ended.

mod load;
mod platform;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

use crate::kill::settled;
use crate::ledger::read_back;
use crate::process::{self, EMAIL, PASSWORD};
use crate::proxy::Fault;
use load::APPS;
pub use load::Answers;
use platform::{Platform, ROLES};

/// The store of the roles.
pub const STORE: &str = "elasticsearch-8.19.0";
/// How many applications push.
const PUSHING: usize = 3;
/// How long recovering from one fault may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often every fault happens, each time in another order.
    pub rounds: u32,
    /// How long an engine is away.
    pub away: Duration,
    /// Of the order, of who is killed, and when.
    pub seed: u64,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A process of this role is killed.
    Killed(&'static str),
    /// The broker answers nobody and closes no connection.
    KafkaFrozen,
    /// The broker is killed.
    KafkaKilled,
    /// The store is killed.
    StoreKilled,
    /// The store answers the shippers 429.
    StoreBusy,
    /// The store does only a part of what it is asked, or breaks off.
    StoreFlawed,
    /// The database is stopped and started again at once.
    DatabaseRestarted,
    /// The database is away for a while.
    DatabaseStopped,
    /// An administrator switches collecting and pushes off, and on again through another API.
    SettingsChanged,
}

impl Event {
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = ROLES.iter().map(|role| Self::Killed(role)).collect();
        all.extend([
            Self::KafkaFrozen,
            Self::KafkaKilled,
            Self::StoreKilled,
            Self::StoreBusy,
            Self::StoreFlawed,
            Self::DatabaseRestarted,
            Self::DatabaseStopped,
            Self::SettingsChanged,
        ]);
        all
    }

    fn name(self) -> String {
        match self {
            Self::Killed(role) => format!("{role} killed"),
            other => format!("{other:?}"),
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Records that were acknowledged to who pushed them.
    pub pushed: u64,
    /// Lines that were written into files.
    pub written: u64,
    /// Of both, how many a search found, each counted once.
    pub found: u64,
    /// Not found, the first of them.
    pub missing: Vec<String>,
    /// Found more than once, or never written; the first of them.
    pub repeated: Vec<String>,
    /// What happened, and the longest that it took until everything was ready
    /// and a new record was found.
    pub recoveries: BTreeMap<String, Duration>,
    /// Processes that were killed.
    pub kills: u32,
    /// Pushes.
    pub pushes: Answers,
    /// Searches.
    pub searches: Answers,
    /// Requests for tokens.
    pub tokens: Answers,
    /// Processes that did not end well when they were told to.
    pub unstopped: Vec<String>,
}

impl Outcome {
    /// Whether every record is there once, and every answer was as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let answers = [&self.pushes, &self.searches, &self.tokens];
        self.missing.is_empty()
            && self.repeated.is_empty()
            && self.found == self.pushed + self.written
            && answers.iter().all(|answers| answers.wrong.is_empty())
            && self.unstopped.is_empty()
    }
}

/// Run `plan` with everything below `folder`, and say how it went on standard
/// error.
///
/// # Panics
/// When something does not start, or does not recover within three minutes.
pub async fn run(plan: Plan, folder: &Path) -> Outcome {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut outcome = Outcome::default();
    let mut platform = Platform::start(folder).await;
    let apis = platform.apis();
    let root = process::root_token(&apis[0], EMAIL, PASSWORD).await;
    let root = root.expect("the administrator can sign in");
    let tokens = Tokens::ask(&apis[1], &root).await;
    let files = [folder.join("first.log"), folder.join("second.log")];
    let token_file = folder.join("token");
    std::fs::write(&token_file, &tokens.collecting).expect("the folder takes files");
    platform.start_agents(&files, &token_file).await;

    let (more, goes_on) = watch::channel(true);
    let pushing: Vec<_> = (0..PUSHING)
        .map(|number| load::push(number, apis.clone(), tokens.all.clone(), goes_on.clone()))
        .map(tokio::spawn)
        .collect();
    let writing: Vec<_> = files
        .into_iter()
        .enumerate()
        .map(|(number, file)| tokio::spawn(load::write(number, file, goes_on.clone())))
        .collect();
    let searching = load::search(apis.clone(), tokens.restricted, goes_on.clone());
    let searching = tokio::spawn(searching);
    let signing = tokio::spawn(load::sign(apis.clone(), root, goes_on));

    let (mut probe, mut pushed) = (0, Vec::new());
    recovered(&platform, &tokens.all, &mut probe).await;
    for round in 1..=plan.rounds {
        let mut events = Event::all();
        events.shuffle(&mut random);
        for event in events {
            let name = event.name();
            eprintln!("round {round} of {}: {name}", plan.rounds);
            if event == Event::SettingsChanged {
                pushed.extend(settings::change(&platform, &tokens.all, round).await);
            } else {
                platform = happen(event, platform, plan, &mut random, &mut outcome).await;
            }
            let took = recovered(&platform, &tokens.all, &mut probe).await;
            eprintln!(
                "round {round} of {}: {name}, over after {took:.1?}",
                plan.rounds
            );
            let longest = outcome.recoveries.entry(name).or_default();
            *longest = took.max(*longest);
        }
    }
    more.send_replace(false);

    let mut expected: Vec<String> = (0..probe).map(probe_text).chain(pushed).collect();
    for pushing in pushing {
        let (acknowledged, answers) = pushing.await.expect("it does not fail");
        expected.extend(acknowledged);
        outcome.pushes.add(answers);
    }
    outcome.pushed = expected.len() as u64;
    for writing in writing {
        expected.extend(writing.await.expect("it does not fail"));
    }
    outcome.written = expected.len() as u64 - outcome.pushed;
    outcome.searches = searching.await.expect("it does not fail");
    outcome.tokens = signing.await.expect("it does not fail");

    let all = json!({"match_all": {}});
    settled(&apis[0], &tokens.all, &all, expected.len() as u64, PATIENCE).await;
    let mut found = read_back(&apis[1], &tokens.all).await;
    for message in expected {
        match found.remove(&message).map(|found| found.times) {
            None => push(&mut outcome.missing, message),
            Some(1) => outcome.found += 1,
            Some(_) => {
                outcome.found += 1;
                push(&mut outcome.repeated, message);
            }
        }
    }
    outcome.repeated.extend(found.into_keys().take(20));
    outcome.unstopped = platform.stop().await;
    outcome
}

fn push(list: &mut Vec<String>, message: String) {
    if list.len() < 20 {
        list.push(message);
    }
}

/// What the others may do.
struct Tokens {
    all: String,
    restricted: String,
    collecting: String,
}

impl Tokens {
    async fn ask(api: &str, root: &str) -> Self {
        let issue = async |access| {
            let issued = process::access_token(api, root, &access).await;
            issued.expect("the administrator may have anything")
        };
        let all = json!([
            {"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"]},
            {"method": ["POST"], "url": ["{mscp_api_url}/apps/{app:uuid}/log"]},
            {"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/system/log"]},
            {"method": ["GET"], "url": ["{mscp_api_url}/local/system/log/status"]},
        ]);
        let restricted = json!([{"method": ["GET", "POST"],
            "url": ["{mscp_api_url}/local/log/**"], "other": {"log": {"appid": [APPS[0]]}}}]);
        let collecting = json!([{"method": ["POST"], "url": ["{mscp_api_url}/local/collect"],
            "other": {"log": {"hostname": ["node1"]}}},
            {"method": ["POST"], "url": ["{mscp_api_url}/local/system/log/instances"]}]);
        Self {
            all: issue(all).await,
            restricted: issue(restricted).await,
            collecting: issue(collecting).await,
        }
    }
}

/// Have it happen, and end. What was killed is started again; where an engine
/// is away, often while it is.
async fn happen(
    event: Event,
    mut platform: Platform,
    plan: Plan,
    random: &mut StdRng,
    outcome: &mut Outcome,
) -> Platform {
    match event {
        Event::Killed(role) => kill(&mut platform, role, random, outcome).await,
        Event::DatabaseRestarted => {
            return platform.change(|engines| engines.postgres.restart()).await;
        }
        _ => {}
    }
    let begun = Instant::now();
    platform = platform
        .change(move |engines| begin(event, engines, plan.seed))
        .await;
    if !matches!(event, Event::Killed(_)) && random.random_bool(0.7) {
        let later = plan.away.mul_f64(random.random_range(0.0..0.7));
        tokio::time::sleep(later).await;
        let role = ROLES[random.random_range(0..ROLES.len())];
        eprintln!("and a process of the role {role} is killed");
        kill(&mut platform, role, random, outcome).await;
    }
    if !matches!(event, Event::Killed(_)) {
        tokio::time::sleep(plan.away.saturating_sub(begun.elapsed())).await;
    }
    platform.change(move |engines| end(event, engines)).await
}

fn begin(event: Event, engines: &mut platform::Engines, seed: u64) {
    match event {
        Event::KafkaFrozen => engines.kafka.freeze(true),
        Event::KafkaKilled => engines.kafka.kill(),
        Event::StoreKilled => engines.store.kill(),
        Event::StoreBusy => engines.proxy.set(Fault::Status(429)),
        Event::StoreFlawed => engines.proxy.set(Fault::random(seed)),
        Event::DatabaseStopped => engines.postgres.stop(),
        Event::DatabaseRestarted | Event::SettingsChanged | Event::Killed(_) => {}
    }
}

fn end(event: Event, engines: &mut platform::Engines) {
    match event {
        Event::KafkaFrozen => engines.kafka.freeze(false),
        Event::KafkaKilled => engines.kafka.restart(),
        Event::StoreKilled => engines.store.restart(),
        Event::StoreBusy | Event::StoreFlawed => engines.proxy.set(Fault::None),
        Event::DatabaseStopped => engines.postgres.restart(),
        Event::DatabaseRestarted | Event::SettingsChanged | Event::Killed(_) => {}
    }
}

/// Kill one process of the role, and start it again a little later.
async fn kill(platform: &mut Platform, role: &str, random: &mut StdRng, outcome: &mut Outcome) {
    let of_role = platform.indices(role);
    let process = &mut platform.processes[of_role[random.random_range(0..of_role.len())]];
    process.started().await;
    if process.kill().await {
        outcome.kills += 1;
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
    process.start();
}

fn probe_text(number: u64) -> String {
    format!("probe {number}")
}

/// Wait until every process says that it is ready, and a record that is pushed
/// now is found: how long that took.
async fn recovered(platform: &Platform, token: &str, probe: &mut u64) -> Duration {
    let begun = Instant::now();
    let http = process::http();
    let (apis, message) = (platform.apis(), probe_text(*probe));
    let now = chrono::Utc::now().timestamp_micros();
    let record =
        json!([{"timestemp": now, "appid": APPS[0], "type": "applog", "message": message}]);
    let query = json!({"query": {"match_phrase": {"message": message}}});
    let mut waits_for = "a push that is taken".to_owned();
    let (mut taken, mut turn) = (false, 0);
    loop {
        turn += 1;
        let api = &apis[turn % apis.len()];
        if taken {
            let asked = http
                .post(format!("{api}/api/local/log/logstash-*/_count"))
                .bearer_auth(token)
                .json(&query)
                .send()
                .await;
            let count = match asked {
                Ok(answer) => answer.json::<serde_json::Value>().await.unwrap_or_default(),
                Err(_) => serde_json::Value::Null,
            };
            if count["count"].as_u64() > Some(0) {
                match platform.unready().await {
                    None => break,
                    Some(name) => waits_for = format!("{name} to be ready"),
                }
            }
        } else {
            let asked = http
                .post(format!("{api}/api/apps/{}/log", APPS[0]))
                .bearer_auth(token)
                .header("idempotency-key", format!("probe-{probe}"))
                .json(&record)
                .send()
                .await;
            if asked.is_ok_and(|answer| answer.status() == 202) {
                taken = true;
                waits_for = format!("{message:?} to be found");
            }
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "no recovery in {PATIENCE:?}: it waits for {waits_for}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    *probe += 1;
    begun.elapsed()
}
