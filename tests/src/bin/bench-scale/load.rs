//! What applications push and agents send, made before it is measured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use mscp_log_core::clean::chunk::{Chunk, File, FileKind, Head, Line, Writer};
use mscp_log_tests::generate::Generator;
use mscp_log_tests::process;
use serde_json::{Value, json};

pub(crate) const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";

/// Requests that are open at once.
const CLIENTS: usize = 8;

/// Bodies of requests with their kind and how many records they are of.
pub(crate) struct Load {
    kind: &'static str,
    bodies: Vec<Bytes>,
    pub(crate) records: usize,
    /// Bytes of all messages: what an operator calls the raw log.
    pub(crate) raw: usize,
}

/// Makes messages of at least some length.
pub(crate) struct Messages {
    generator: Generator,
    least: usize,
    raw: usize,
}

impl Messages {
    /// Lines, and where they are shorter than `least` bytes several of them, joined.
    pub(crate) fn new(generator: Generator, least: usize) -> Self {
        Self {
            generator,
            least,
            raw: 0,
        }
    }

    fn lengthen(&mut self, mut message: String) -> String {
        while message.len() < self.least {
            message.push(' ');
            message.push_str(&self.generator.message());
        }
        self.raw += message.len();
        message
    }

    fn next(&mut self) -> String {
        let message = self.generator.message();
        self.lengthen(message)
    }
}

impl Load {
    /// Pushes of `batch` records each, of one application.
    pub(crate) fn pushes(messages: &mut Messages, records: usize, batch: usize) -> Self {
        messages.raw = 0;
        let body = |count: usize| {
            let records = (0..count).map(|_| {
                let mut record = messages.generator.record(APP);
                let message = record["message"].as_str().unwrap_or_default().to_owned();
                record["message"] = messages.lengthen(message).into();
                record
            });
            let records: Vec<Value> = records.collect();
            Bytes::from(Value::from(records).to_string())
        };
        let bodies = sizes(records, batch).map(body).collect();
        Self {
            kind: "application/json",
            bodies,
            records,
            raw: messages.raw,
        }
    }

    /// What the agents of `hosts` machines read of containers' consoles, `batch`
    /// lines at once; 20 containers a machine.
    pub(crate) fn chunks(
        messages: &mut Messages,
        records: usize,
        batch: usize,
        hosts: usize,
        now_us: i64,
    ) -> Self {
        messages.raw = 0;
        let mut time_us = now_us - 60_000_000;
        let mut offsets: BTreeMap<usize, u64> = BTreeMap::new();
        let body = |(place, count): (usize, usize)| {
            // Each machine in turn, and each of its containers in turn.
            let (host, container) = (place % hosts, place / hosts % 20);
            let offset = offsets.entry(host * 20 + container).or_default();
            let head = head(host, container, now_us);
            let mut writer = Writer::new(&head).expect("it can be written");
            for _ in 0..count {
                let message = messages.next();
                time_us += 50;
                let line = Line {
                    offset: *offset,
                    message: Cow::Borrowed(&message),
                    time_us: Some(time_us),
                    stream: Some("stdout".into()),
                    truncated: false,
                };
                writer.line(&line);
                // With its time and stream in front of it.
                *offset += message.len() as u64 + 41;
            }
            let mut chunk = writer.end(&json!({})).expect("it can be written");
            debug_assert!(Chunk::parse(&chunk).is_ok());
            chunk.push(b'\n');
            Bytes::from(chunk)
        };
        let bodies = sizes(records, batch).enumerate().map(body).collect();
        Self {
            kind: "application/x-ndjson",
            bodies,
            records,
            raw: messages.raw,
        }
    }

    /// Bytes of all bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bodies.iter().map(Bytes::len).sum()
    }

    /// Send all of it to `url`, several requests at once.
    pub(crate) async fn send(self: &Arc<Self>, url: &str, token: &str) {
        let next = Arc::<AtomicUsize>::default();
        let clients = (0..CLIENTS).map(|_| {
            let (load, next, http) = (Arc::clone(self), Arc::clone(&next), process::http());
            let (url, token) = (url.to_owned(), token.to_owned());
            tokio::spawn(async move {
                while let Some(body) = load.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = http.post(&url).bearer_auth(&token).body(body.clone());
                    let request = request.header("content-type", load.kind);
                    let answer = request.send().await.expect("the node answers");
                    assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.expect("no client panics");
        }
    }
}

/// As many records as `records`, `batch` at a time.
fn sizes(records: usize, batch: usize) -> impl Iterator<Item = usize> {
    (0..records)
        .step_by(batch)
        .map(move |sent| batch.min(records - sent))
}

/// What an agent says of a container of its machine.
fn head(host: usize, container: usize, now_us: i64) -> Head<'static> {
    let (service, namespace) = (container + host % 3, container % 8);
    let pod = format!(
        "service-{service}-{:x}-{host:03x}{container:02x}",
        0x7d4f_8c00 + service
    );
    let uid = format!("7cc96a84-7ece-4fad-80a9-{:012x}", host * 100 + container);
    let id = format!("{:064x}", 0x9_05f3_8550 + host * 100 + container);
    let path = format!("/var/log/containers/{pod}_team-{namespace}_app-{id}.log");
    let target = format!("/var/log/pods/team-{namespace}_{pod}_{uid}/app/0.log");
    let file = File {
        kind: FileKind::Container,
        path: path.into(),
        target: Some(target.into()),
        device: 1,
        inode: (host * 100 + container) as u64,
        generation: 0,
    };
    Head {
        host: format!("node-{host:03}").into(),
        zone: None,
        cluster: None,
        labels: BTreeMap::new(),
        read_us: now_us,
        pods: BTreeMap::new(),
        file: Some(file),
    }
}
