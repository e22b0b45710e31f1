//! Log documents as a Kubernetes platform makes them, from a seed: real lines
//! with their digits drawn anew, 20 namespaces, 200 pods, 10 hosts.

use std::path::Path;

use mscp_log_core::record::time::{Day, write_rfc3339};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Lines of the kinds that services write; used where no real logs are given.
const SAMPLE_LINES: &[&str] = &[
    "2026-03-01 10:15:42.118 INFO  [http-nio-8080-exec-7] o.shop.cart.CartController : added item 48213 to cart 991, 3 items, total 128.40",
    "E0301 10:15:42.552103       1 reflector.go:138] failed to watch *v1.ConfigMap: the server was unable to return a response in 32s",
    "10.42.3.17 - - [01/Mar/2026:10:15:43 +0000] \"GET /api/v1/orders/77120?expand=lines HTTP/1.1\" 200 5123 0.034",
    "level=warn ts=2026-03-01T10:15:43.902Z caller=consumer.go:211 msg=\"partition lag is high\" partition=12 lag=48211",
    "[1844] LOG:  checkpoint complete: wrote 8123 buffers (5.2%); write=26.001 s, sync=0.112 s, total=26.204 s",
    "panic recovered in handler: runtime error: index out of range [14] with length 12",
    "session 7f3a-88 closed for user 10442 after 1832 ms, 42 requests, 0 errors",
    "WARN  [main] GC pause 312 ms, heap 1843 MB of 4096 MB, 17 collections since start",
    "{\"level\":\"info\",\"msg\":\"payment authorised\",\"order\":90233,\"amount\":\"59.90\",\"provider\":\"psp-2\",\"ms\":187}",
    "connection from 192.168.14.203 port 51442 on 10.0.0.12 port 22 rdomain \"\"",
    "Failed password for invalid user admin from 173.234.31.186 port 38926 ssh2",
    "dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_38865049064139660 terminating",
    "node-12 kubelet: volume \"kube-api-access-x7r2\" mounted for pod 0d1f4c22 in 214 ms",
    "订单 20260301-7781 已支付，耗时 153 毫秒",
    "TRACE resolver cache hit for svc-17.default.svc.cluster.local ttl=28",
    "java.net.SocketTimeoutException: Read timed out after 30000 ms at okhttp3.internal.http2.Http2Stream(Http2Stream.java:678)",
];

/// The lines of every file in `folder`, or lines of the project's own where
/// there is no such folder.
#[must_use]
pub fn lines(folder: Option<&Path>) -> Vec<String> {
    let own = || SAMPLE_LINES.iter().map(|&line| line.to_owned()).collect();
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else {
        return own();
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        lines.extend(text.lines().filter(|l| !l.is_empty()).map(str::to_owned));
    }
    if lines.is_empty() { own() } else { lines }
}

/// A source of records that is the same for the same seed and lines.
#[derive(Debug)]
pub struct Generator {
    random: StdRng,
    lines: Vec<String>,
    time_us: i64,
    /// Twice the mean time between two documents.
    most_us: i64,
    place: u64,
}

impl Generator {
    /// Records whose times begin at `from_us` and go on by about 12 ms each.
    #[must_use]
    pub fn new(seed: u64, lines: Vec<String>, from_us: i64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            lines,
            time_us: from_us,
            most_us: 24_000,
            place: 0,
        }
    }

    /// Documents that are `gap_us` apart, as a mean.
    #[must_use]
    pub fn every(mut self, gap_us: i64) -> Self {
        self.most_us = (2 * gap_us).max(2);
        self
    }

    /// A line with other digits.
    pub fn message(&mut self) -> String {
        let which = self.random.random_range(0..self.lines.len());
        let mut message = String::with_capacity(self.lines[which].len());
        for c in self.lines[which].chars() {
            message.push(if c.is_ascii_digit() {
                char::from(b'0' + self.random.random_range(0..10_u8))
            } else {
                c
            });
        }
        message
    }

    /// The next record, as an application pushes it.
    pub fn record(&mut self, appid: &str) -> Value {
        self.time_us += self.random.random_range(1..2_000);
        self.place += 1;
        json!({
            "timestemp": self.time_us, "appid": appid, "type": "applog",
            "message": self.message(),
            "annotations": [{"key": "level", "value": LEVELS[self.random.random_range(0..4)]}],
        })
    }

    /// The next document, as the cleaner makes it of a container's line, with
    /// its index and id.
    pub fn document(&mut self) -> (String, String, Value) {
        self.time_us += self.random.random_range(1..self.most_us);
        self.place += 1;
        let pod = self.random.random_range(0..200_u32);
        let host = pod % 10;
        let namespace = pod % 20;
        let id = format!("{:032x}", self.random.random::<u128>());
        let mut timestamp = Vec::new();
        write_rfc3339(self.time_us, &mut timestamp);
        let timestamp = String::from_utf8_lossy(&timestamp).into_owned();
        let index = format!("logstash-journalbeat-node-{host}");
        let document = json!({
            "@timestamp": timestamp,
            "realtime_us": self.time_us, "seq": 0, "event_id": id,
            "message": self.message(), "index": index, "type": "container",
            "region": "local", "zone": "default", "cluster": "default",
            "hostname": format!("node-{host}"),
            "container": format!("app-{}", pod % 40), "containerid": "905f3855",
            "controler": format!("service-{}", pod % 40), "podid": format!("{:05x}", pod * 7919 % 1_048_576),
            "pod": format!("service-{}-{:05x}", pod % 40, pod * 7919 % 1_048_576),
            "namespace": format!("team-{namespace}"),
            "uuid": format!("{:08x}-0000-4000-8000-{:012x}", pod * 31, pod),
            "resourceid": "01130b8b",
            "ingest_us": self.time_us + 40_000,
        });
        (
            format!("{index}-{}", Day::of_us(self.time_us)),
            id,
            document,
        )
    }
}

const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];
