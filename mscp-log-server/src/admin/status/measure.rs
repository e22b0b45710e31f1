//! Measuring a status: everything at once, each part with its deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Method;
use mscp_log_core::rotation::{Fact, Policy};
use serde_json::Value;

use super::colour::{self, Colour};
use super::{
    Buffer, CertificateOf, Collector, Collectors, Count, DeadLetters, DiskOf, Elasticsearch, Full,
    InstanceOf, Kafka, Key, Lag, Nodes, Part, Rotate, Shards, Status, StoreNodes, forecast,
};
use crate::admin::change::Administration;
use crate::admin::instances::{self, Disk, Instance};
use crate::admin::outside::{Outside, Pod, Pods};
use crate::buffer::dead_letters;
use crate::clock;
use crate::identity::{Identity, KeyState};
use crate::rotate::Rotation;
use crate::settings::Current;
use crate::store::{self, Store};

/// How long any part of a status may take; with the rest, the whole takes
/// less than 2 s though an engine hangs.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The store of a region.
#[derive(Clone)]
pub struct StoreOf {
    /// It.
    pub store: Arc<dyn Store>,
    /// Whether it is a cluster of its own, and not in this process.
    pub cluster: bool,
    /// What it refused.
    pub letters: Arc<dead_letters::DeadLetters>,
}

/// The engines of this node.
#[derive(Clone)]
pub struct Engines {
    /// The buffer of this process.
    pub buffer: Arc<dyn crate::buffer::Buffer>,
    /// Whether that is Kafka; else everything that shares it is in this process.
    pub kafka: bool,
    /// The node's data folder.
    pub data: std::path::PathBuf,
}

/// Where the status of one region is measured.
pub struct Observatory {
    administration: Arc<Administration>,
    identity: Arc<Identity>,
    rotation: Arc<Rotation>,
    store: StoreOf,
    engines: Engines,
}

impl std::fmt::Debug for Observatory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observatory")
            .field("region", &self.administration.region())
            .finish_non_exhaustive()
    }
}

/// What was asked, or why there is no answer.
type Asked<T> = Result<T, String>;

async fn soon<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Asked<T> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
    }
}

impl Observatory {
    /// Of the region of `administration`.
    #[must_use]
    pub fn new(
        administration: Arc<Administration>,
        identity: Arc<Identity>,
        rotation: Arc<Rotation>,
        store: StoreOf,
        engines: Engines,
    ) -> Self {
        Self {
            administration,
            identity,
            rotation,
            store,
            engines,
        }
    }

    /// Measure everything.
    pub async fn measure(&self) -> Status {
        let outside = self.administration.outside();
        let (
            counts,
            current,
            instances,
            last_run,
            keys,
            health,
            nodes,
            indices,
            disks,
            letters,
            brokers,
        ) = tokio::join!(
            async { tokio::join!(outside.counts(), outside.spread(), all_pods(outside)) },
            soon(self.administration.current()),
            soon(instances::list(
                self.administration.database(),
                self.administration.region()
            )),
            soon(self.rotation.last_run_us()),
            soon(self.identity.keys()),
            soon(self.ask("/_cluster/health")),
            soon(self.ask("/_cat/nodes?format=json&h=node.role,version")),
            soon(self.rotation.indices()),
            soon(self.disks()),
            soon(self.letters()),
            soon(self.engines.buffer.brokers()),
        );
        let (counts, spread, pods) = counts;
        let current = current.as_ref();
        let live = instances.as_deref().unwrap_or_default();
        let now_us = clock::now_us();
        let mut status = Status {
            region: self.administration.region().to_owned(),
            status: Colour::Green,
            reasons: Vec::new(),
            timestemp: now_us / 1_000,
            revision: current.ok().map(|now| now.revision.to_string()),
            rotate: rotate(current, last_run),
            collector: collectors(current, live),
            api: self.part("api", live, &instances),
            parser: self.part("parser", live, &instances),
            shipper: self.part("shipper", live, &instances),
            rotator: self.part("rotator", live, &instances),
            kafka: self.kafka(brokers),
            elasticsearch: self.elasticsearch(health, &nodes),
            buffer: self.buffer(live),
            search: current.map_or(Value::Null, |now| now.document()["search"].take()),
            dead_letters: match letters {
                Ok(kept) => DeadLetters {
                    records: Some(kept.letters),
                    bytes: Some(kept.bytes),
                    reason: None,
                },
                Err(reason) => DeadLetters {
                    reason: Some(reason),
                    ..DeadLetters::default()
                },
            },
            losses: instances.as_ref().ok().map(|_| losses(live)),
            full: self.full(current, &indices, &disks, now_us),
            disks: disks_of(disks, live),
            versions: versions(live),
            certificates: certificates(live),
            keys: keys.ok().map(|keys| keys_of(&keys, now_us / 1_000_000)),
        };
        by_kubernetes(&mut status, &counts, pods);
        match spread {
            Some(Ok(spread)) => {
                let settings = &mut status.elasticsearch.settings;
                settings.number_of_shards = Some(spread.number_of_shards);
                settings.number_of_replicas = Some(spread.number_of_replicas);
            }
            Some(Err(reason)) => status.elasticsearch.settings.reason = Some(reason),
            None => {}
        }
        let instances = instances.as_deref().ok();
        colour::judge(&mut status, instances, now_us / 1_000_000);
        status
    }

    async fn ask(&self, path: &str) -> Asked<Value> {
        let asked = store::ask(&*self.store.store, Method::GET, path, Body::empty());
        let (status, answer) = asked.await;
        match status.is_success() {
            true => Ok(answer),
            false => Err(store::reason(status, &answer)),
        }
    }

    /// Of the store: a cluster's nodes, or the data folder.
    async fn disks(&self) -> Asked<Vec<DiskOf>> {
        if !self.store.cluster {
            let data = self.engines.data.clone();
            let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&data)).await;
            let found = asked.map_err(|error| error.to_string())?;
            let found = found.map_err(|error| error.to_string())?;
            return Ok(vec![DiskOf {
                node: "store".to_owned(),
                pod_id: None,
                disk: Disk {
                    total: found.f_blocks.saturating_mul(found.f_frsize),
                    free: found.f_bavail.saturating_mul(found.f_frsize),
                },
            }]);
        }
        const ASKED: &str = "/_cat/allocation?format=json&bytes=b&h=node,disk.avail,disk.total";
        let answer = self.ask(ASKED).await?;
        let rows = answer.as_array().into_iter().flatten();
        let disks = rows.filter_map(|row| {
            let number = |name: &str| row[name].as_str()?.parse().ok();
            Some(DiskOf {
                node: format!("store {}", row["node"].as_str()?),
                pod_id: None,
                disk: Disk {
                    total: number("disk.total")?,
                    free: number("disk.avail")?,
                },
            })
        });
        Ok(disks.collect())
    }

    async fn letters(&self) -> Asked<dead_letters::Kept> {
        let letters = Arc::clone(&self.store.letters);
        let asked = tokio::task::spawn_blocking(move || letters.kept());
        asked.await.map_err(|error| error.to_string())
    }

    fn part(&self, role: &str, live: &[Instance], known: &Asked<Vec<Instance>>) -> Part {
        let of_it = live
            .iter()
            .filter(|it| it.report.roles.iter().any(|of| of == role));
        let instances: Vec<InstanceOf> = of_it.map(instance).collect();
        let up = instances.iter().filter(|it| it.status != "down").count() as u64;
        let status = match known {
            Err(reason) => Count {
                reason: Some(reason.clone()),
                ..Count::default()
            },
            // What shares the disk buffer is one process, and it is this one.
            Ok(_) if !self.engines.kafka && role != "rotator" => Count {
                scheduled: Some(1),
                up: Some(1),
                reason: None,
            },
            Ok(_) => Count {
                scheduled: None,
                up: Some(up),
                reason: Some(UNSCHEDULED.to_owned()),
            },
        };
        Part { status, instances }
    }

    fn kafka(&self, brokers: Asked<Option<u64>>) -> Kafka {
        if !self.engines.kafka {
            let reason = "the buffer is on the disk of this node (buffer.kind)".to_owned();
            let none = Nodes {
                status: None,
                reason: Some(reason.clone()),
            };
            return Kafka {
                health_check: None,
                zookeeper: none.clone(),
                broker: none,
                reason: Some(reason),
            };
        }
        let trouble = self.engines.buffer.trouble();
        let (up, unknown) = match brokers {
            Ok(brokers) => (brokers, None),
            Err(reason) => (None, Some(reason)),
        };
        let reason = trouble.or_else(|| unknown.clone());
        Kafka {
            health_check: Some(reason.is_none()),
            zookeeper: Nodes {
                status: None,
                reason: Some("Kafka runs without ZooKeeper (KRaft)".to_owned()),
            },
            broker: Nodes {
                status: Some(Count {
                    scheduled: None,
                    up,
                    reason: Some(unknown.unwrap_or_else(|| UNSCHEDULED.to_owned())),
                }),
                reason: None,
            },
            reason,
        }
    }

    fn elasticsearch(&self, health: Asked<Value>, nodes: &Asked<Value>) -> Elasticsearch {
        let of = |up: Option<u64>, reason: &Option<String>| Count {
            scheduled: None,
            up,
            reason: Some(reason.clone().unwrap_or_else(|| UNSCHEDULED.to_owned())),
        };
        let mut store = Elasticsearch::default();
        match health {
            Ok(health) => store.health = Some(health),
            Err(reason) => store.reason = Some(reason),
        }
        if !self.store.cluster {
            let one = Count {
                scheduled: Some(1),
                up: Some(1),
                reason: None,
            };
            let none = Count {
                scheduled: Some(0),
                up: Some(0),
                reason: None,
            };
            store.status = StoreNodes {
                master: one.clone(),
                client: none,
                data: one,
            };
            store.settings.reason = Some("the store is in this process".to_owned());
            return store;
        }
        let (rows, reason) = match nodes {
            Ok(rows) => (rows.as_array(), None),
            Err(reason) => (None, Some(reason.clone())),
        };
        // `mdi`, `cdfhilmrstw`: a letter for each role, and `-` for none.
        let count = |is: fn(&str) -> bool| {
            let roles = rows?.iter().filter_map(|row| row["node.role"].as_str());
            Some(roles.filter(|role| is(role)).count() as u64)
        };
        store.status = StoreNodes {
            master: of(count(|role| role.contains('m')), &reason),
            client: of(count(|role| !role.contains(['m', 'd', 'h', 's'])), &reason),
            data: of(count(|role| role.contains(['d', 'h', 's'])), &reason),
        };
        let first = rows.and_then(|rows| rows.first());
        let version = first.and_then(|row| row["version"].as_str());
        store.version = version.map(str::to_owned);
        store.settings = Shards::default();
        store
    }

    fn buffer(&self, live: &[Instance]) -> Buffer {
        let usage = self.engines.buffer.usage();
        if !self.engines.kafka {
            let waits = usage.backlog > 0;
            return Buffer {
                kind: "disk",
                max_bytes: Some(usage.max_bytes),
                bytes: Some(usage.bytes),
                lag: Lag {
                    records: Some(usage.backlog),
                    bytes: Some(usage.backlog_bytes),
                    seconds: match usage.waiting_us {
                        Some(us) if waits => Some(us / 1_000_000),
                        None if waits => None,
                        _ => Some(0),
                    },
                    reason: None,
                },
                reason: None,
            };
        }
        let shippers = live
            .iter()
            .filter(|it| it.is_up() && it.report.roles.iter().any(|role| role == "shipper"));
        let backlogs: Vec<u64> = shippers
            .filter_map(|it| Some(it.report.buffer?.backlog))
            .collect();
        let records = (!backlogs.is_empty()).then(|| backlogs.iter().sum());
        let reason = match records {
            Some(_) => "Kafka tells records, not their bytes or their age",
            None => "no shipper reports, and each knows what it has not read",
        };
        Buffer {
            kind: "kafka",
            lag: Lag {
                records,
                reason: Some(reason.to_owned()),
                ..Lag::default()
            },
            reason: Some("the brokers have it".to_owned()),
            ..Buffer::default()
        }
    }

    fn full(
        &self,
        current: Result<&Current, &String>,
        indices: &Asked<Vec<Fact>>,
        disks: &Asked<Vec<DiskOf>>,
        now_us: i64,
    ) -> Full {
        let (current, indices, disks) = match (current, indices, disks) {
            (Ok(current), Ok(indices), Ok(disks)) => (current, indices, disks),
            (Err(reason), _, _) | (_, Err(reason), _) | (_, _, Err(reason)) => {
                return Full {
                    reason: Some(reason.clone()),
                    ..Full::default()
                };
            }
        };
        let policy: &Policy = &current.settings.rotate;
        let free = disks.iter().map(|of| of.disk.free).sum();
        forecast::full(indices, policy, free, now_us, self.rotation.beats())
    }
}

/// Why nobody says how many there should be.
const UNSCHEDULED: &str = "nothing that this node asks says how many there should be";

/// The parts whose pods are listed.
const LISTED: [&str; 5] = ["agent", "api", "parser", "shipper", "rotator"];

async fn all_pods(outside: &Outside) -> BTreeMap<&'static str, Vec<Pod>> {
    let asked = LISTED.map(async |part| Some((part, outside.pods(part).await?.ok()?)));
    let pods = futures::future::join_all(asked).await;
    pods.into_iter().flatten().collect()
}

/// Put what Kubernetes says into `status`: how many there should be, and pods
/// that never said anything.
fn by_kubernetes(
    status: &mut Status,
    counts: &BTreeMap<&'static str, Result<Pods, String>>,
    mut pods: BTreeMap<&'static str, Vec<Pod>>,
) {
    let count = |part: &str, into: &mut Count, ready: bool| match counts.get(part) {
        Some(Ok(pods)) => {
            into.scheduled = Some(pods.scheduled);
            // An engine's nodes say themselves whether they are up.
            if ready || into.up.is_none() {
                into.up = Some(pods.up);
            } else if into.reason.as_deref() == Some(UNSCHEDULED) {
                into.reason = None;
            }
            if ready {
                into.reason = None;
            }
        }
        Some(Err(reason)) => into.reason = Some(format!("Kubernetes: {reason}")),
        None => {}
    };
    count("api", &mut status.api.status, true);
    count("api", &mut status.collector.http_gateway.status, true);
    count("parser", &mut status.parser.status, true);
    count("shipper", &mut status.shipper.status, true);
    count("rotator", &mut status.rotator.status, true);
    count("agent", &mut status.collector.journalbeat.status, false);
    count("agent", &mut status.collector.filebeat.status, false);
    count("master", &mut status.elasticsearch.status.master, false);
    count("data", &mut status.elasticsearch.status.data, false);
    count("client", &mut status.elasticsearch.status.client, false);
    if let Some(broker) = &mut status.kafka.broker.status {
        count("kafka", broker, false);
    }
    let agents = pods.remove("agent").unwrap_or_default();
    silent(&agents, &mut status.collector.journalbeat.instances);
    silent(&agents, &mut status.collector.filebeat.instances);
    let gateways = pods.get("api").cloned().unwrap_or_default();
    silent(&gateways, &mut status.collector.http_gateway.instances);
    for (part, into) in [
        ("api", &mut status.api),
        ("parser", &mut status.parser),
        ("shipper", &mut status.shipper),
        ("rotator", &mut status.rotator),
    ] {
        silent(&pods.remove(part).unwrap_or_default(), &mut into.instances);
    }
}

/// Pods that did not report are listed, too.
fn silent(pods: &[Pod], instances: &mut Vec<InstanceOf>) {
    for pod in pods {
        if instances.iter().any(|it| it.pod_id == pod.name) {
            continue;
        }
        instances.push(InstanceOf {
            node: pod.node.clone().unwrap_or_default(),
            pod_id: pod.name.clone(),
            status: if pod.up { "degraded" } else { "down" },
            reason: Some(match pod.up {
                true => "it does not report".to_owned(),
                false => pod.status.clone(),
            }),
        });
    }
}

fn instance(of: &Instance) -> InstanceOf {
    let report = &of.report;
    let reasons = report.reasons.iter();
    let told: Vec<String> = reasons
        .map(|(what, said)| format!("{what}: {said}"))
        .collect();
    InstanceOf {
        node: report.node.clone(),
        pod_id: report.pod_id.clone().unwrap_or_else(|| report.id.clone()),
        status: of.status,
        reason: (!told.is_empty() && of.is_up()).then(|| told.join("; ")),
    }
}

fn rotate(current: Result<&Current, &String>, last_run: Asked<Option<i64>>) -> Rotate {
    let mut rotate = Rotate::default();
    match current {
        Ok(now) => {
            let policy = now.settings.rotate;
            rotate.enabled = Some(policy.enabled);
            rotate.age = Some(policy.age_days);
            rotate.max_bytes = policy.max_bytes;
        }
        Err(reason) => rotate.reason = Some(reason.clone()),
    }
    match last_run {
        Ok(last_us) => rotate.last_run = last_us.map(|us| us / 1_000),
        Err(reason) => rotate.reason = Some(reason),
    }
    rotate
}

fn collectors(current: Result<&Current, &String>, live: &[Instance]) -> Collectors {
    let settings = current.map(|now| &now.settings);
    let source = |name: &str, enabled: Option<bool>| {
        let of_it = live.iter().filter_map(|it| {
            let source = it.report.sources.get(name)?;
            let mut shown = instance(it);
            if it.is_up() {
                shown.status = match (source.enabled, source.up) {
                    (true, true) => "up",
                    (true, false) => "degraded",
                    (false, _) => "off",
                };
                shown.reason.clone_from(&source.reason);
            }
            Some(shown)
        });
        let instances: Vec<InstanceOf> = of_it.collect();
        let up = instances.iter().filter(|it| it.status == "up").count();
        Collector {
            enabled,
            status: Count {
                scheduled: None,
                up: Some(up as u64),
                reason: Some(UNSCHEDULED.to_owned()),
            },
            instances,
        }
    };
    let api = live
        .iter()
        .filter(|it| it.report.roles.iter().any(|role| role == "api"));
    let gateways: Vec<InstanceOf> = api.map(instance).collect();
    let up = gateways.iter().filter(|it| it.status != "down").count();
    Collectors {
        journalbeat: source("journalbeat", settings.ok().map(|now| now.journalbeat)),
        filebeat: source("filebeat", settings.ok().map(|now| now.filebeat)),
        http_gateway: Collector {
            enabled: settings.ok().map(|now| now.http_gateway),
            status: Count {
                scheduled: None,
                up: Some(up as u64),
                reason: Some(UNSCHEDULED.to_owned()),
            },
            instances: gateways,
        },
    }
}

fn losses(live: &[Instance]) -> BTreeMap<String, u64> {
    let mut losses = BTreeMap::new();
    for instance in live.iter().filter(|it| it.is_up()) {
        for (reason, lost) in &instance.report.losses {
            let sum: &mut u64 = losses.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*lost);
        }
    }
    losses
}

fn disks_of(store: Asked<Vec<DiskOf>>, live: &[Instance]) -> Vec<DiskOf> {
    let mut disks = store.unwrap_or_default();
    disks.extend(live.iter().filter(|it| it.is_up()).filter_map(|it| {
        let report = &it.report;
        Some(DiskOf {
            node: report.node.clone(),
            pod_id: Some(report.pod_id.clone().unwrap_or_else(|| report.id.clone())),
            disk: report.disk?,
        })
    }));
    disks
}

fn versions(live: &[Instance]) -> BTreeMap<String, u64> {
    let mut versions = BTreeMap::new();
    for instance in live.iter().filter(|it| it.is_up()) {
        *versions.entry(instance.report.version.clone()).or_default() += 1;
    }
    versions
}

fn certificates(live: &[Instance]) -> Vec<CertificateOf> {
    let up = live.iter().filter(|it| it.is_up());
    let all = up.flat_map(|it| {
        it.report
            .certificates
            .iter()
            .map(|certificate| CertificateOf {
                node: it.report.node.clone(),
                certificate: certificate.clone(),
            })
    });
    let mut all: Vec<CertificateOf> = all.collect();
    all.sort_by_key(|of| of.certificate.expires_s);
    all
}

fn keys_of(keys: &[KeyState], now_s: i64) -> Vec<Key> {
    let of = |key: &KeyState| Key {
        kid: key.kid.clone(),
        state: key.state.as_str(),
        age_s: (now_s - key.created_s).max(0),
    };
    keys.iter().map(of).collect()
}
