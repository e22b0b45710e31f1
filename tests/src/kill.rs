//! Pushing while the node is killed at random moments, and counting what is
//! there at the end: every record that was acknowledged must be found once.
//!
//! Clients behave as good clients do: they send an idempotency key, and repeat
//! a request with the same key and body until it is acknowledged.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::process::{self, Node};

/// The application that the records belong to.
const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
/// How long nothing may come in or turn up before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Hits of a page when everything is read back.
const PAGE: usize = 5_000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records to push; the last request may be short.
    pub records: u64,
    /// Records of a request.
    pub batch: u64,
    /// Requests that are open at once.
    pub clients: u64,
    /// How often the node is killed. The last time is when everything was
    /// acknowledged, and nothing says what of it is in the store.
    pub kills: u32,
    /// Of the moments of the kills.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Records that were acknowledged: all of the plan.
    pub acknowledged: u64,
    /// Records that a search found, each counted once.
    pub found: u64,
    /// Acknowledged and not found, the first of them.
    pub missing: Vec<u64>,
    /// Found more than once, the first of them.
    pub repeated: Vec<u64>,
    /// Requests that were sent again.
    pub retries: u64,
    /// Of these, how many had no answer, so that the node may have had them.
    pub unanswered: u64,
    /// How often the node was killed.
    pub kills: u32,
    /// How often once more while it started again.
    pub kills_while_starting: u32,
    /// How long the pushing took, restarts included.
    pub pushing: Duration,
    /// The longest start, until it listened.
    pub longest_start: Duration,
}

impl Outcome {
    /// Whether every record is there once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.repeated.is_empty() && self.found == self.acknowledged
    }
}

/// Where the node is now, and a token for it.
type Place = watch::Receiver<Option<(String, String)>>;

struct Progress {
    plan: Plan,
    /// The next request that nobody has taken.
    next: AtomicU64,
    acknowledged: watch::Sender<u64>,
    retries: AtomicU64,
    unanswered: AtomicU64,
}

/// Run `plan` on a node whose data is in `data`, and say how it went on
/// standard error.
///
/// # Panics
///
/// When the node does not start, refuses what it should take, or nothing moves
/// for two minutes.
pub async fn run(plan: Plan, data: &Path) -> Outcome {
    let progress = Arc::new(Progress {
        plan,
        next: AtomicU64::new(0),
        acknowledged: watch::Sender::new(0),
        retries: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
    });
    let mut outcome = Outcome::default();
    let begun = Instant::now();
    let from_us = now_us() - 60_000_000;

    let mut node = start(data, &mut outcome).await;
    let (place, place_now) = watch::channel(None);
    place.send_replace(Some(here(&node).await));
    let clients: Vec<_> = (0..plan.clients)
        .map(|_| tokio::spawn(client(Arc::clone(&progress), place_now.clone(), from_us)))
        .collect();

    for moment in moments(plan) {
        reached(&progress, moment.acknowledged).await;
        tokio::time::sleep(moment.later).await;
        place.send_replace(None);
        node.kill();
        outcome.kills += 1;
        if let Some(into) = moment.again {
            kill_while_starting(data, into).await;
            outcome.kills_while_starting += 1;
        }
        eprintln!(
            "kill {} of {}: {} of {} records acknowledged",
            outcome.kills,
            plan.kills,
            *progress.acknowledged.borrow(),
            plan.records
        );
        node = start(data, &mut outcome).await;
        place.send_replace(Some(here(&node).await));
    }
    reached(&progress, plan.records).await;
    for client in clients {
        client.await.expect("no client failed");
    }
    outcome.pushing = begun.elapsed();
    outcome.acknowledged = *progress.acknowledged.borrow();
    outcome.retries = progress.retries.load(Ordering::Relaxed);
    outcome.unanswered = progress.unanswered.load(Ordering::Relaxed);

    let (url, token) = here(&node).await;
    settled(&url, &token, &query(), plan.records, PATIENCE / 4).await;
    read_back(&url, &token, &mut outcome).await;
    assert!(node.terminate().success(), "the node stops when it is told");
    outcome
}

/// When to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    /// So many records are acknowledged,
    acknowledged: u64,
    /// and a little later.
    later: Duration,
    /// Then once more, so long into the start that follows.
    again: Option<Duration>,
}

/// Sorted; the last is at the end of all.
fn moments(plan: Plan) -> Vec<Moment> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut moments: Vec<_> = (1..=plan.kills)
        .map(|kill| Moment {
            acknowledged: match kill == plan.kills {
                true => plan.records,
                false => random.random_range(0..plan.records),
            },
            later: Duration::from_micros(random.random_range(0..50_000)),
            again: random
                .random_bool(0.5)
                .then(|| Duration::from_micros(random.random_range(0..100_000))),
        })
        .collect();
    moments.sort_unstable();
    moments
}

/// A node that is killed while it starts must leave what the next one can read.
async fn kill_while_starting(data: &Path, into: Duration) {
    let mut node = Command::new(process::binary())
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary can be executed");
    tokio::time::sleep(into).await;
    node.kill().expect("a child can be killed");
    node.wait().expect("a child can be waited for");
}

async fn start(data: &Path, outcome: &mut Outcome) -> Node {
    let begun = Instant::now();
    let data = data.to_owned();
    let node = tokio::task::spawn_blocking(move || Node::start(&data, &[], &[]))
        .await
        .expect("the node starts");
    outcome.longest_start = outcome.longest_start.max(begun.elapsed());
    node
}

async fn here(node: &Node) -> (String, String) {
    let access = json!([
        {"method": ["POST"], "url": [format!("{{mscp_api_url}}/apps/{APP}/log")]},
        {"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"]},
    ]);
    let token = process::administrator_token(node, &access).await;
    (node.url.clone(), token)
}

/// Wait until so many records are acknowledged.
async fn reached(progress: &Progress, count: u64) {
    let mut acknowledged = progress.acknowledged.subscribe();
    while *acknowledged.borrow_and_update() < count {
        tokio::time::timeout(PATIENCE, acknowledged.changed())
            .await
            .expect("something is acknowledged within two minutes")
            .expect("the sender is in the hands of the caller");
    }
}

async fn client(progress: Arc<Progress>, mut place: Place, from_us: i64) {
    let http = process::http();
    let Plan { records, batch, .. } = progress.plan;
    loop {
        let first = progress.next.fetch_add(1, Ordering::Relaxed) * batch;
        if first >= records {
            return;
        }
        let last = (first + batch).min(records);
        let body = body(first..last, from_us);
        let key = format!("request-{first}");
        loop {
            let Some((url, token)) = now(&mut place).await else {
                return;
            };
            let sent = http
                .post(format!("{url}/api/apps/{APP}/log"))
                .bearer_auth(token)
                .header("content-type", "application/json")
                .header("idempotency-key", &key)
                .body(body.clone())
                .send()
                .await;
            match sent {
                Ok(answer) if answer.status() == 202 => break,
                Ok(answer) if matches!(answer.status().as_u16(), 401 | 429 | 503) => {}
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    panic!("a push was answered {status}: {text}");
                }
                // It died before, while or after it took them.
                Err(_) => {
                    progress.unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
            progress.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        progress
            .acknowledged
            .send_modify(|acknowledged| *acknowledged += last - first);
    }
}

/// Where the node is, once it is somewhere.
async fn now(place: &mut Place) -> Option<(String, String)> {
    place.wait_for(Option::is_some).await.ok()?.clone()
}

/// Records that say their number; several share a microsecond.
fn body(numbers: std::ops::Range<u64>, from_us: i64) -> String {
    let records: Vec<Value> = numbers
        .map(|number| {
            let after = i64::try_from(number / 3).expect("few records");
            json!({
                "timestemp": from_us + after,
                "appid": APP,
                "type": "killtest",
                "message": format!("record number {number} of many"),
            })
        })
        .collect();
    Value::from(records).to_string()
}

/// Wait until the count of what is searchable is reached, or does not rise any more.
pub async fn settled(url: &str, token: &str, query: &Value, expected: u64, patience: Duration) {
    let mut last = 0;
    let mut since = Instant::now();
    loop {
        let answer = search(url, token, "_count", &json!({ "query": query })).await;
        let count = answer["count"].as_u64().expect("a count");
        if count >= expected {
            return;
        }
        if count != last {
            (last, since) = (count, Instant::now());
        }
        if since.elapsed() > patience {
            eprintln!("only {count} of {expected} records became searchable");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn query() -> Value {
    json!({"term": {"appid": APP}})
}

async fn read_back(url: &str, token: &str, outcome: &mut Outcome) {
    let mut times = vec![0_u8; usize::try_from(outcome.acknowledged).expect("fits in memory")];
    let mut after = Value::Null;
    loop {
        let mut request = json!({
            "query": query(),
            "size": PAGE,
            "sort": ["realtime_us", "seq", "event_id"],
            "_source": ["message"],
            "track_total_hits": false,
        });
        if !after.is_null() {
            request["search_after"] = after;
        }
        let mut answer = search(url, token, "_search", &request).await;
        let hits = answer["hits"]["hits"].as_array_mut().expect("hits");
        for hit in hits.iter() {
            let message = hit["_source"]["message"].as_str().expect("a message");
            let number = message
                .split(' ')
                .nth(2)
                .and_then(|number| number.parse::<usize>().ok())
                .expect("a number");
            let times = times.get_mut(number).expect("a number that was sent");
            *times = times.saturating_add(1);
        }
        let Some(last) = hits.last_mut() else { break };
        after = last["sort"].take();
    }
    for (number, times) in (0_u64..).zip(times) {
        let list = match times {
            0 => &mut outcome.missing,
            1 => {
                outcome.found += 1;
                continue;
            }
            _ => {
                outcome.found += 1;
                &mut outcome.repeated
            }
        };
        if list.len() < 20 {
            list.push(number);
        }
    }
}

pub(crate) async fn search(url: &str, token: &str, endpoint: &str, body: &Value) -> Value {
    let answer = process::http()
        .post(format!("{url}/api/local/log/logstash-*/{endpoint}"))
        .bearer_auth(token)
        .json(body)
        .send()
        .await
        .expect("the node answers");
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    assert!(
        status.is_success(),
        "{endpoint} was answered {status}: {text}"
    );
    serde_json::from_str(&text).expect("JSON")
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
