//! The status of a region (`origin.zh.md`, cluster administration): every part
//! is measured when it is asked for, and has a deadline. What cannot be
//! measured is `null`, with a reason beside it.

mod colour;
mod forecast;
mod measure;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::instances::{Certificate, Disk};

pub use colour::Colour;
pub use measure::{Engines, Observatory, StoreOf};

/// The status of a region. A document of settings edited from it is accepted.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Status {
    /// The region.
    pub region: String,
    /// `red` when data is being refused or is at risk, `yellow` when something
    /// is degraded.
    pub status: Colour,
    /// What makes it so, the worst first.
    pub reasons: Vec<Reason>,
    /// When this was measured, in milliseconds since the epoch. The name is the
    /// original's.
    pub timestemp: i64,
    /// The revision of the settings; `null` when they cannot be read.
    pub revision: Option<String>,
    /// When old indices go.
    pub rotate: Rotate,
    /// The ways in.
    pub collector: Collectors,
    /// Who answers searches and pushes.
    pub api: Part,
    /// Who cleans what agents and Beats send.
    pub parser: Part,
    /// Who carries records into the store.
    pub shipper: Part,
    /// Who deletes old indices.
    pub rotator: Part,
    /// The brokers.
    pub kafka: Kafka,
    /// The store.
    pub elasticsearch: Elasticsearch,
    /// What waits for the store.
    pub buffer: Buffer,
    /// The limits of searches, as the settings have them.
    #[schema(value_type = crate::settings::SearchLimits)]
    pub search: Value,
    /// Records that the store refused for faults of their own.
    pub dead_letters: DeadLetters,
    /// Records that were lost, by reason, as the instances that are up count
    /// them; `null` when they are not known. What is past colours nothing.
    pub losses: Option<BTreeMap<String, u64>>,
    /// The disks of instances and of the store.
    pub disks: Vec<DiskOf>,
    /// When the store's disk will be full.
    pub full: Full,
    /// Instances that are up, by version.
    pub versions: BTreeMap<String, u64>,
    /// Certificates that instances show, the first to expire first.
    pub certificates: Vec<CertificateOf>,
    /// The keys that sign tokens; `null` when they cannot be read.
    pub keys: Option<Vec<Key>>,
}

/// One reason for the colour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[schema(as = StatusReason)]
pub struct Reason {
    /// What this alone would make of the status.
    pub status: Colour,
    /// In words.
    pub text: String,
}

/// How many there should be, and are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = InstanceCount)]
pub struct Count {
    /// How many there should be.
    pub scheduled: Option<u64>,
    /// How many work.
    pub up: Option<u64>,
    /// Why one of them is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// When old indices go.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusRotate)]
pub struct Rotate {
    /// Whether they go.
    pub enabled: Option<bool>,
    /// After how many days.
    pub age: Option<u32>,
    /// How many bytes all may have together; `null` is no limit.
    pub max_bytes: Option<u64>,
    /// When rotation last ran, in milliseconds since the epoch.
    pub last_run: Option<i64>,
    /// Why something of it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The ways in.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusCollectors)]
pub struct Collectors {
    /// The journals of machines.
    pub journalbeat: Collector,
    /// Log volumes, files and consoles of containers.
    pub filebeat: Collector,
    /// Pushes.
    pub http_gateway: Collector,
}

/// One way in.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusCollector)]
pub struct Collector {
    /// Whether an administrator lets it.
    pub enabled: Option<bool>,
    /// How many.
    pub status: Count,
    /// Where.
    pub instances: Vec<InstanceOf>,
}

/// A part of the system.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusPart)]
pub struct Part {
    /// How many.
    pub status: Count,
    /// Where.
    pub instances: Vec<InstanceOf>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatusInstance)]
pub struct InstanceOf {
    /// The machine.
    pub node: String,
    /// The pod, or what names the instance where it runs in none.
    pub pod_id: String,
    /// `up`, `degraded`, `down` (not heard of for 20 s), `off`.
    pub status: &'static str,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The brokers.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusKafka)]
pub struct Kafka {
    /// Whether the topic can be written.
    pub health_check: Option<bool>,
    /// ZooKeeper, as the original has it: `null` under KRaft.
    pub zookeeper: Nodes,
    /// The brokers.
    pub broker: Nodes,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The nodes of an engine.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusNodes)]
pub struct Nodes {
    /// How many.
    pub status: Option<Count>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The store.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusElasticsearch)]
pub struct Elasticsearch {
    /// Its nodes.
    pub status: StoreNodes,
    /// What `_cluster/health` says.
    #[schema(value_type = Option<Object>)]
    pub health: Option<Value>,
    /// Of new indices.
    pub settings: Shards,
    /// Which version it says it is.
    pub version: Option<String>,
    /// Why something of it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The store's nodes by what they do; one may do all.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusStoreNodes)]
pub struct StoreNodes {
    /// Those that may be elected.
    pub master: Count,
    /// Those that only pass requests on.
    pub client: Count,
    /// Those that keep records.
    pub data: Count,
}

/// Numbers of shards.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusShards)]
pub struct Shards {
    /// Primary shards of a new index.
    pub number_of_shards: Option<u64>,
    /// Copies of each beside it.
    pub number_of_replicas: Option<u64>,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What waits for the store.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusBuffer)]
pub struct Buffer {
    /// `disk` or `kafka`.
    pub kind: &'static str,
    /// Bytes that it may have; `null` where the brokers decide.
    pub max_bytes: Option<u64>,
    /// Bytes that it has.
    pub bytes: Option<u64>,
    /// What the store does not have yet.
    pub lag: Lag,
    /// Why something of it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the store does not have yet.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusLag)]
pub struct Lag {
    /// Records.
    pub records: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
    /// How long the oldest of them has waited, in seconds, within five.
    pub seconds: Option<u64>,
    /// Why something of it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Records that the store refused for faults of their own.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusDeadLetters)]
pub struct DeadLetters {
    /// How many.
    pub records: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatusDisk)]
pub struct DiskOf {
    /// Whose: `store`, or the machine of an instance.
    pub node: String,
    /// The instance's pod, or what names it; absent for a store's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_id: Option<String>,
    /// Its bytes.
    #[serde(flatten)]
    pub disk: Disk,
}

/// When the store's disk will be full.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatusFull)]
pub struct Full {
    /// The day (UTC), if it goes on as in the last days; `null` with a reason
    /// when rotation makes room in time, or when it cannot be said yet.
    pub day: Option<String>,
    /// Bytes that a day brings.
    pub bytes_a_day: Option<u64>,
    /// Why there is no day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A certificate, and who shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatusCertificate)]
pub struct CertificateOf {
    /// The machine.
    pub node: String,
    /// Of what.
    #[serde(flatten)]
    pub certificate: Certificate,
}

/// A key that signs tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StatusKey)]
pub struct Key {
    /// Its id.
    pub kid: String,
    /// `next`, `active` or `retired`.
    pub state: &'static str,
    /// How long it has been there, in seconds.
    pub age_s: i64,
}
