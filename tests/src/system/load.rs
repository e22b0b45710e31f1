//! What goes on meanwhile: applications push, programs write their files,
//! people search and ask for tokens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::process;

/// The applications that push; who searches may see those of the first.
pub(super) const APPS: [&str; 2] = [
    "caa0c2f0-1116-495f-8f09-3cd023cc14a2",
    "0b8c1f6a-52c4-4a0e-9d5c-7f9e2d4b1a33",
];
/// Records of a push.
const BATCH: u64 = 20;
/// Between two pushes of one application, two looks at a file, two searches.
const PACE: Duration = Duration::from_millis(50);
/// Before a push is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Whether it goes on; in the end nothing new is begun.
pub(super) type GoesOn = watch::Receiver<bool>;

/// What came of one kind of request.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// How often it was answered with each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How often it was not answered.
    pub unanswered: u64,
    /// Answers that should not be; the first of them.
    pub wrong: Vec<String>,
}

impl Answers {
    fn wrong(&mut self, what: String) {
        if self.wrong.len() < 20 {
            self.wrong.push(what);
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (status, times) in other.statuses {
            *self.statuses.entry(status).or_default() += times;
        }
        self.unanswered += other.unanswered;
        self.wrong.extend(other.wrong);
    }
}

/// Push until it ends, as good clients do: what is not acknowledged is sent
/// again with its key, now here and now there. The messages, all acknowledged.
pub(super) async fn push(
    number: usize,
    apis: Vec<String>,
    token: String,
    goes_on: GoesOn,
) -> (Vec<String>, Answers) {
    let (mut acknowledged, mut answers) = (Vec::new(), Answers::default());
    let (http, app) = (process::http(), APPS[number % APPS.len()]);
    let mut turn = number;
    for batch in 0.. {
        if !*goes_on.borrow() {
            break;
        }
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let messages: Vec<String> = numbers
            .map(|record| format!("push {number} record {record}"))
            .collect();
        let now = chrono::Utc::now().timestamp_micros();
        let records = messages.iter().map(
            |message| json!({"timestemp": now, "appid": app, "type": "applog", "message": message}),
        );
        let body = Value::from_iter(records);
        loop {
            turn += 1;
            let asked = http
                .post(format!("{}/api/apps/{app}/log", apis[turn % apis.len()]))
                .bearer_auth(&token)
                .header("idempotency-key", format!("push-{number}-{batch}"))
                .json(&body)
                .send()
                .await;
            let Ok(answer) = asked else {
                answers.unanswered += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let status = answer.status().as_u16();
            *answers.statuses.entry(status).or_default() += 1;
            match status {
                202 => break,
                503 if answer.headers().contains_key("retry-after") => {}
                _ => {
                    let after = answer.headers().get("retry-after").cloned();
                    let text = answer.text().await.unwrap_or_default();
                    answers.wrong(format!("a push: {status} {after:?}: {text}"));
                    assert!(answers.wrong.len() < 20, "{:?}", answers.wrong);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        acknowledged.extend(messages);
        tokio::time::sleep(PACE).await;
    }
    (acknowledged, answers)
}

/// Write lines at the end of a file until it ends: the lines.
pub(super) async fn write(number: usize, file: PathBuf, goes_on: GoesOn) -> Vec<String> {
    let mut lines = Vec::new();
    let opened = std::fs::File::options()
        .create(true)
        .append(true)
        .open(file);
    let mut file = opened.expect("the folder takes files");
    while *goes_on.borrow() {
        let mut text = String::new();
        for _ in 0..BATCH {
            let line = format!("file {number} line {}", lines.len());
            writeln!(text, "{line}").expect("a string takes text");
            lines.push(line);
        }
        file.write_all(text.as_bytes())
            .expect("the disk takes text");
        tokio::time::sleep(PACE).await;
    }
    lines
}

/// Search until it ends, with a token that shows one application's records.
pub(super) async fn search(apis: Vec<String>, token: String, goes_on: GoesOn) -> Answers {
    let (http, mut answers) = (process::http(), Answers::default());
    let query = json!({"size": 50, "_source": ["appid"], "sort": [{"realtime_us": "desc"}],
        "aggs": {"apps": {"terms": {"field": "appid"}}}});
    let mut turn = 0;
    while *goes_on.borrow() {
        turn += 1;
        let asked = http
            .post(format!(
                "{}/api/local/log/logstash-*/_search",
                apis[turn % apis.len()]
            ))
            .bearer_auth(&token)
            .json(&query)
            .send()
            .await;
        match asked {
            Err(_) => answers.unanswered += 1,
            Ok(answer) => {
                let status = answer.status().as_u16();
                *answers.statuses.entry(status).or_default() += 1;
                let text = answer.text().await.unwrap_or_default();
                match status {
                    200 => {
                        if text.contains(APPS[1]) {
                            answers.wrong(format!("a search shows what it may not: {text}"));
                        }
                    }
                    // The store is away.
                    502..=504 | 429 => {}
                    _ => answers.wrong(format!("a search: {status}: {text}")),
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
    answers
}

/// Ask for access tokens until it ends.
pub(super) async fn sign(apis: Vec<String>, root: String, goes_on: GoesOn) -> Answers {
    let (http, mut answers) = (process::http(), Answers::default());
    let access = json!({"access": [{"method": ["GET"], "url": ["/**"]}]});
    let mut turn = 0;
    while *goes_on.borrow() {
        turn += 1;
        let asked = http
            .post(format!("{}/api/auth", apis[turn % apis.len()]))
            .bearer_auth(&root)
            .json(&access)
            .send()
            .await;
        match asked {
            Err(_) => answers.unanswered += 1,
            Ok(answer) => {
                let status = answer.status().as_u16();
                *answers.statuses.entry(status).or_default() += 1;
                // 503: the database is away.
                if !matches!(status, 200 | 503) {
                    let text = answer.text().await.unwrap_or_default();
                    answers.wrong(format!("a token: {status}: {text}"));
                }
            }
        }
        tokio::time::sleep(2 * PACE).await;
    }
    answers
}
