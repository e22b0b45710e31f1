//! Records of an agent as events of a Beat, for whatever takes Beats.
//!
//! The fields are those of the Elastic Common Schema and of Filebeat 8, and for
//! the journal those of the original's Journalbeat, so that Logstash's filters
//! find them. What only this system reads is below `agent`, `log.file` and
//! `journal`: cleaned by it, the event makes the document that the record makes.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};

use crate::applog;
use crate::clean::chunk::Head;
use crate::clean::{DropReason, Labels, Node, Position, Raw};
use crate::container::{self, PodDir};

/// What an agent calls itself.
const AGENT: &str = "mscp-log";

/// Write `raw`, which was read with others of `head`, as one JSON object.
///
/// ```
/// use mscp_log_core::clean::beat::{Event, write};
/// use mscp_log_core::clean::chunk::Chunk;
/// let chunk = Chunk::parse(br#"{"host":"node1","read_us":1516792419231221,"lines":[[7,"up"]],
///   "file":{"kind":"file","path":"/var/log/a.log","device":1,"inode":2,"generation":3}}"#)?;
/// let raw = chunk.raws().next().expect("there is one");
/// let event = write(&raw, &chunk.head, &chunk)?.expect("it has a message");
/// let event = Event::parse(&event)?;
/// assert_eq!(event.message.as_deref(), Some("up"));
/// assert_eq!((event.beat.as_ref(), event.offset), ("filebeat", Some(7)));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// None that is known; writing JSON has a result. Inside: why the record is
/// not wanted, where it cannot be an event.
pub fn write(
    raw: &Raw<'_>,
    head: &Head<'_>,
    node: &dyn Node,
) -> Result<Result<Vec<u8>, DropReason>, serde_json::Error> {
    let event = match raw {
        Raw::Journal { entry, .. } => {
            let Some(name) = filled(entry.container_name.as_ref()) else {
                return Ok(Err(DropReason::NoContainerName));
            };
            let Some(message) = entry.message.as_deref() else {
                return Ok(Err(DropReason::NoMessage));
            };
            let host = filled(entry.hostname.as_ref()).unwrap_or(&head.host);
            let uid = container::docker(name, host).map(|name| name.uuid);
            Out {
                time: entry.realtime_us.map(Time),
                journal: Some(Journal {
                    cursor: filled(entry.cursor.as_ref()),
                    container_name: name,
                    container_id: filled(entry.container_id.as_ref()),
                    container_id_full: filled(entry.container_id_full.as_ref()),
                    hostname: host,
                    realtime_timestamp: entry.realtime_us,
                }),
                stream: entry.stream(),
                log: entry.truncated.then_some(Log {
                    offset: None,
                    flags: TRUNCATED,
                    file: None,
                }),
                kubernetes: uid.and_then(|uid| service_of(uid, node)),
                ..Out::new("journalbeat", message, head)
            }
        }
        Raw::Container {
            path,
            target,
            time_us,
            stream,
            message,
            truncated,
            position,
            ..
        } => {
            let log = container::pod_log(target.unwrap_or(path));
            let name = (log.is_none() && container::link(path).is_none())
                .then(|| path.rsplit('/').next().unwrap_or(path));
            Out {
                container: name.map(|name| Name { name }),
                time: Some(Time(*time_us)),
                stream: Some(*stream).filter(|stream| !stream.is_empty()),
                log: Some(Log::new(path, *target, position, *truncated)),
                kubernetes: log.and_then(|log| service_of(log.uuid, node)),
                ..Out::new("journalbeat", message, head)
            }
        }
        Raw::File {
            path,
            message,
            truncated,
            time_us,
            position,
            read_us,
        } => {
            let uid = applog::log_file(path).map(|file| file.pod_uid);
            Out {
                time: Some(Time(time_us.unwrap_or(*read_us))),
                log: Some(Log::new(path, None, position, *truncated)),
                kubernetes: uid.and_then(|uid| pod_of(uid, node)),
                ..Out::new("filebeat", message, head)
            }
        }
        // Those do not come from a machine's own sources.
        Raw::Beat { .. } | Raw::Push { .. } => return Ok(Err(DropReason::NoMessage)),
    };
    serde_json::to_vec(&event).map(Ok)
}

fn filled<'t>(text: Option<&'t Cow<'_, str>>) -> Option<&'t str> {
    text.map(|text| &**text).filter(|text| !text.is_empty())
}

/// The namespace and the name of a pod, where the node knows them.
fn pod_of<'n>(uid: &str, node: &'n dyn Node) -> Option<Kubernetes<'n>> {
    let PodDir { namespace, pod, .. } = node.pod_of(uid)?;
    Some(Kubernetes {
        namespace: Some(namespace),
        pod: Some(Name { name: pod }),
        annotations: None,
    })
}

/// The application of a pod, where the node knows it.
fn service_of<'n>(uid: &str, node: &'n dyn Node) -> Option<Kubernetes<'n>> {
    let service = node.app_of(uid)?.hyphenated().to_string();
    Some(Kubernetes {
        namespace: None,
        pod: None,
        annotations: Some(PodAnnotations { service }),
    })
}

/// Microseconds since the epoch, written as RFC 3339.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = DateTime::from_timestamp_micros(self.0).unwrap_or_default();
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

#[derive(Serialize)]
struct Out<'a> {
    #[serde(rename = "@timestamp", skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    #[serde(rename = "@metadata")]
    metadata: Metadata,
    agent: Agent<'a>,
    host: Name<'a>,
    message: &'a str,
    /// Only of a name that says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<Journal<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Kubernetes<'a>>,
    #[serde(skip_serializing_if = "labels_are_empty")]
    labels: &'a Labels<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Log<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
}

fn labels_are_empty(labels: &&Labels<'_>) -> bool {
    labels.is_empty()
}

impl<'a> Out<'a> {
    fn new(beat: &'static str, message: &'a str, head: &'a Head<'_>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            time: None,
            metadata: Metadata {
                beat,
                kind: "_doc",
                version,
            },
            agent: Agent {
                kind: AGENT,
                version,
                name: &head.host,
                zone: head.zone.as_deref(),
                cluster: head.cluster.as_deref(),
            },
            host: Name { name: &head.host },
            message,
            container: None,
            journal: None,
            kubernetes: None,
            labels: &head.labels,
            log: None,
            stream: None,
        }
    }
}

#[derive(Serialize)]
struct Metadata {
    beat: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Agent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Journal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    container_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id_full: Option<&'a str>,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    realtime_timestamp: Option<i64>,
}

#[derive(Serialize)]
struct Kubernetes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<PodAnnotations>,
}

#[derive(Serialize)]
struct PodAnnotations {
    #[serde(rename = "mscp_io/service-uuid")]
    service: String,
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    flags: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
}

/// What says that a line was longer than is read, as Filebeat does.
const TRUNCATED: &[&str] = &["truncated"];

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_path: Option<&'a str>,
    // Strings in the schema.
    device_id: String,
    inode: String,
    generation: String,
}

impl<'a> Log<'a> {
    fn new(path: &'a str, target: Option<&'a str>, at: &Position<'_>, truncated: bool) -> Self {
        Self {
            offset: Some(at.offset),
            flags: if truncated { TRUNCATED } else { &[] },
            file: Some(File {
                path,
                target_path: target,
                device_id: at.device.to_string(),
                inode: at.inode.to_string(),
                generation: at.generation.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::clean::beat::Event;
    use crate::clean::chunk::Chunk;
    use crate::clean::{Cleaned, NoNode, Redaction, Stamp, clean};
    use crate::index::Beats;

    const UID: &str = "7cc96a84-7ece-6fad-70a9-8b9db56bd08d";
    const SERVICE: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
    const NOW: i64 = 1_516_792_419_231_221;

    fn stamp<'a>(beats: &'a Beats, redaction: &'a Redaction) -> Stamp<'a> {
        Stamp {
            region: "local",
            zone: "of the region",
            cluster: None,
            host: "",
            now_us: NOW + 9,
            max_past_us: 3_600_000_000,
            max_future_us: 600_000_000,
            beats,
            redaction,
            node: &NoNode,
        }
    }

    /// What becomes of the records of a chunk: cleaned at once, and cleaned
    /// after they were events.
    fn both_ways(chunk: &Value) -> Vec<[Result<Value, DropReason>; 2]> {
        let json = chunk.to_string();
        let chunk = Chunk::parse(json.as_bytes()).unwrap();
        let (beats, redaction) = (Beats::default(), Redaction::none());
        let there = stamp(&beats, &redaction);
        let here = Stamp {
            host: &chunk.head.host,
            zone: chunk.head.zone.as_deref().unwrap_or(there.zone),
            cluster: chunk.head.cluster.as_deref(),
            node: &chunk,
            ..there
        };
        let value = |cleaned: Cleaned<'_>| match cleaned {
            Cleaned::Keep(document) => Ok(serde_json::to_value(document).unwrap()),
            Cleaned::Drop(reason) => Err(reason),
        };
        let ways = chunk.raws().zip(0..).map(|(raw, seq)| {
            let event = write(&raw, &chunk.head, &chunk).unwrap();
            let sent = event.and_then(|event| {
                let event = Event::parse(&event).unwrap();
                let raw = Raw::Beat {
                    event,
                    read_us: NOW,
                    seq,
                };
                value(clean(raw, &there))
            });
            [value(clean(raw, &here)), sent]
        });
        ways.collect()
    }

    fn message() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,20}[\u{0}-\u{1f}]?",
            Just("42".to_owned()),
            Just("true".to_owned())
        ]
    }

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![
            NOW - 7_200_000_000..NOW + 3_600_000_000,
            0..4_102_444_800_000_000_i64
        ]
    }

    fn path() -> impl Strategy<Value = (&'static str, String, Option<String>)> {
        let log = format!("/var/log/pods/shop_web-5d4f8c7b9-x7k2p_{UID}/web/0.log");
        let id = "0123456789abcdef".repeat(4);
        let link = format!("/var/log/containers/web-5d4f8c7b9-x7k2p_shop_web-{id}.log");
        let other = "/var/log/containers/web.log".to_owned();
        let volume = format!(
            "/k8spods/{UID}/volumes/kubernetes.io~empty-dir/applog-{SERVICE}-endname-a/x.log"
        );
        prop_oneof![
            Just(("container", link.clone(), Some(log.clone()))),
            Just(("container", link, None)),
            Just(("container", other.clone(), Some(log.clone()))),
            Just(("container", other, None)),
            Just(("container", log.replace("/web/", "/POD/"), None)),
            Just(("container", log, None)),
            Just(("file", volume, None)),
            "/[a-z]{1,9}\\.log".prop_map(|path| ("file", path, None)),
        ]
    }

    fn head() -> impl Strategy<Value = Value> {
        let word = || proptest::option::of("[a-z][a-z0-9]{0,5}");
        (word(), word(), word(), any::<bool>(), any::<bool>()).prop_map(
            |(zone, cluster, label, app, pod)| {
                let known = json!({
                    "appid": app.then_some(SERVICE),
                    "namespace": if pod { "shop" } else { "" },
                    "pod": if pod { "web-5d4f8c7b9-x7k2p" } else { "" },
                });
                json!({
                    "host": "Node1.example", "zone": zone, "cluster": cluster, "read_us": NOW,
                    "labels": label.map(|label| json!({"rack": label})).unwrap_or(json!({})),
                    "pods": {UID: known},
                })
            },
        )
    }

    fn of_a_file() -> impl Strategy<Value = Value> {
        let line = (
            0..=i64::MAX,
            message(),
            proptest::option::of(time()),
            proptest::option::of("stdout|stderr"),
            any::<bool>(),
        );
        let lines = proptest::collection::vec(line, 1..4);
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
        (head(), path(), numbers, lines).prop_map(
            |(mut chunk, (kind, path, target), (device, inode, generation), lines)| {
                chunk["file"] = json!({"kind": kind, "path": path, "target": target,
                    "device": device, "inode": inode, "generation": generation});
                chunk["lines"] = json!(lines);
                chunk
            },
        )
    }

    fn of_the_journal() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just(String::new()),
            Just("kubelet".to_owned()),
            Just("etcd3".to_owned()),
            Just(format!("k8s_web_web-5d4f8c7b9-x7k2p_shop_{UID}_0")),
            Just(format!("k8s_POD_web-5d4f8c7b9-x7k2p_shop_{UID}_0")),
            "[a-z]{1,8}",
        ];
        let text = |pattern: &'static str| proptest::option::of(pattern);
        let entry = (
            proptest::option::of(message()),
            name,
            text("[0-9a-f]{0,12}"),
            text("[0-9a-f]{64}"),
            text("([A-Z][a-z]{1,6})?"),
            proptest::option::of(time()),
            text("s=[0-9a-f]{8}"),
            text("[0-7]"),
            text("true"),
        );
        let entry = entry.prop_map(|(message, name, id, full, host, time, cursor, priority, cut)| {
            json!({"__TRUNCATED": cut, "MESSAGE": message, "CONTAINER_NAME": name, "CONTAINER_ID": id,
                "CONTAINER_ID_FULL": full, "_HOSTNAME": host, "__CURSOR": cursor,
                "__REALTIME_TIMESTAMP": time.map(|time| time.to_string()), "PRIORITY": priority})
        });
        (head(), proptest::collection::vec(entry, 1..4)).prop_map(|(mut chunk, entries)| {
            chunk["entries"] = json!(entries);
            chunk
        })
    }

    proptest! {
        #[test]
        fn lines_of_files_make_the_same_documents_over_lumberjack(chunk in of_a_file()) {
            for [at_once, sent] in both_ways(&chunk) {
                prop_assert_eq!(at_once, sent);
            }
        }

        #[test]
        fn entries_of_a_journal_make_the_same_documents_over_lumberjack(chunk in of_the_journal()) {
            for [at_once, sent] in both_ways(&chunk) {
                prop_assert_eq!(at_once, sent);
            }
        }
    }

    #[test]
    fn an_event_has_the_names_that_filters_for_beats_look_for() {
        let chunk = json!({"host": "node1", "zone": "z1", "read_us": NOW, "labels": {"rack": "r7"},
            "pods": BTreeMap::from([(UID, json!({"appid": SERVICE, "namespace": "shop", "pod": "web-0"}))]),
            "file": {"kind": "file", "device": 1, "inode": 2, "generation": 3,
                "path": format!("/k8spods/{UID}/volumes/kubernetes.io~empty-dir/applog-{SERVICE}-endname-a/x.log")},
            "lines": [[7, "up", null, null, true]]});
        let json = chunk.to_string();
        let chunk = Chunk::parse(json.as_bytes()).unwrap();
        let raw = chunk.raws().next().unwrap();
        let event = write(&raw, &chunk.head, &chunk).unwrap().unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            event,
            json!({
                "@timestamp": "2018-01-24T11:13:39.231221Z",
                "@metadata": {"beat": "filebeat", "type": "_doc", "version": version},
                "agent": {"type": "mscp-log", "version": version, "name": "node1", "zone": "z1"},
                "host": {"name": "node1"},
                "message": "up",
                "kubernetes": {"namespace": "shop", "pod": {"name": "web-0"}},
                "labels": {"rack": "r7"},
                "log": {"offset": 7, "flags": ["truncated"], "file": {
                    "path": format!("/k8spods/{UID}/volumes/kubernetes.io~empty-dir/applog-{SERVICE}-endname-a/x.log"),
                    "device_id": "1", "inode": "2", "generation": "3"}},
            })
        );
    }

    #[test]
    fn a_real_filebeat_tells_the_application_by_the_pods_annotation() {
        let event = json!({"message": "up", "host": {"name": "node1"}, "kubernetes": {
            "pod": {"name": "web-0", "uid": UID}, "namespace": "shop",
            "annotations": {"mscp_io/service-uuid": SERVICE}}});
        let event = Event::parse(event.to_string().as_bytes()).unwrap();
        assert_eq!(event.pod.service, Some(SERVICE.parse::<Uuid>().unwrap()));
    }
}
