//! Events of Beats, from the original's Journalbeat to Filebeat 9.
//!
//! The names of fields moved between versions: each is looked for under every
//! name that it had.

mod write;

use std::borrow::Cow;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::record::time::parse_rfc3339;
use crate::record::{AnnotationValue, Annotations};

pub use write::write;

/// What cleaning needs of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// Which beat sent it: `journalbeat`, `filebeat`.
    pub beat: Cow<'a, str>,
    /// The machine.
    pub hostname: Option<Cow<'a, str>>,
    /// The line; where the event has none, its own fields as JSON.
    pub message: Option<Cow<'a, str>>,
    /// Its time, in microseconds since the epoch.
    pub time_us: Option<i64>,
    /// The docker name of the container.
    pub container_name: Option<Cow<'a, str>>,
    /// The runtime's id of the container.
    pub container_id: Option<Cow<'a, str>>,
    /// What the Beat found out from Kubernetes.
    pub pod: Pod<'a>,
    /// The file.
    pub path: Option<Cow<'a, str>>,
    /// The byte at which the line begins.
    pub offset: Option<u64>,
    /// Where `path` leads, where it is a link.
    pub target: Option<Cow<'a, str>>,
    /// Device and inode, as the Beat writes them; may be empty.
    pub file: Cow<'a, str>,
    /// Device, inode and generation, which an agent of ours tells.
    pub position: Option<[u64; 3]>,
    /// The cursor of the journal, which an agent of ours tells.
    pub cursor: Option<Cow<'a, str>>,
    /// Whether the line was longer than is read.
    pub truncated: bool,
    /// The machine's zone, where an agent of ours was told.
    pub zone: Option<Cow<'a, str>>,
    /// The machine's Kubernetes cluster, where an agent of ours was told.
    pub cluster: Option<Cow<'a, str>>,
    /// `stdout` or `stderr`.
    pub stream: Option<Cow<'a, str>>,
    /// `type` of Beats up to 6.
    pub kind: Option<Cow<'a, str>>,
    /// What is said of the line itself, by its sender or the Beat's
    /// configuration (`fields`), dotted: every field but those in which a Beat
    /// describes itself and its machine.
    pub annotations: Annotations<'a>,
    /// Whether it was no JSON object, and the message is what came.
    pub is_unreadable: bool,
}

/// What `add_kubernetes_metadata` adds to an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod<'a> {
    /// `kubernetes.namespace`.
    pub namespace: Option<Cow<'a, str>>,
    /// `kubernetes.pod.name`.
    pub name: Option<Cow<'a, str>>,
    /// `kubernetes.pod.uid`.
    pub uid: Option<Cow<'a, str>>,
    /// `kubernetes.container.name`.
    pub container: Option<Cow<'a, str>>,
    /// `kubernetes.annotations.mscp_io/service-uuid`: the pod's annotation
    /// `mscp.io/service-uuid`, its dots written as Beats do.
    pub service: Option<Uuid>,
}

/// Fields at the root in which a Beat, or Logstash, describes itself, its
/// machine and where it read, or which have fields of their own in a document.
/// What else there is says something of the line.
const OF_THE_BEAT: &[&str] = &[
    "@metadata",
    "@timestamp",
    "@version",
    "agent",
    "beat",
    "cloud",
    "container",
    "docker",
    "ecs",
    "event",
    "fields",
    "file",
    "fileset",
    "host",
    "input",
    "input_type",
    "journal",
    "journald",
    "kubernetes",
    "line",
    "log",
    "message",
    "offset",
    "orchestrator",
    "path",
    "prospector",
    "read_timestamp",
    "source",
    "stream",
    "syslog",
    "systemd",
    "type",
];

/// The same of `log`.
const OF_THE_LOG: &[&str] = &["file", "flags", "offset", "original", "source", "syslog"];

/// Digits of docker's short container id.
const SHORT_ID: usize = 12;

impl Event<'static> {
    /// Read one event.
    ///
    /// # Errors
    /// When `json` is no JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let read = |json: &[u8]| serde_json::from_slice::<Map<String, Value>>(json);
        let event = match read(json) {
            Ok(event) => event,
            // Beats up to 5 pass on what is not UTF-8.
            Err(_) if std::str::from_utf8(json).is_err() => {
                read(String::from_utf8_lossy(json).as_bytes())?
            }
            Err(error) => return Err(error),
        };
        let annotations = annotations(&event);
        let message = message(&event);
        let event = Value::Object(event);
        // `convert_to_numbers` makes numbers of what are strings elsewhere.
        let text = |paths: &[&str]| paths.iter().find_map(|path| scalar(event.pointer(path)?));
        let whole = |paths: &[&str]| {
            paths.iter().find_map(|path| match event.pointer(path)? {
                Value::Number(number) => number.as_u64(),
                Value::String(digits) => digits.parse().ok(),
                _ => None,
            })
        };
        let journal_time = whole(&[
            "/journal/realtime_timestamp",
            "/journald/realtime_timestamp",
        ])
        .and_then(|time| i64::try_from(time).ok());
        let own_time = event.pointer("/@timestamp").and_then(Value::as_str);
        let identity = [
            "/log/file/fingerprint",
            "/log/file/device_id",
            "/log/file/inode",
        ];
        let identity = identity.map(|path| text(&[path]).unwrap_or_default());
        let short_id = match event.pointer("/journal/container_id") {
            // Twelve digits of which none was a letter have lost the zeros in front.
            Some(Value::Number(digits)) => {
                Some(format!("{:0>SHORT_ID$}", digits.to_string()).into())
            }
            Some(Value::String(id)) => Some(Cow::Owned(id.clone())),
            _ => None,
        };
        Ok(Self {
            beat: text(&["/@metadata/beat", "/agent/type", "/beat/name"]).unwrap_or_default(),
            hostname: text(&[
                "/journal/hostname",
                "/host/hostname",
                "/beat/hostname",
                "/agent/hostname",
                "/host/name",
                "/agent/name",
                "/host",
            ]),
            message,
            time_us: journal_time.or_else(|| own_time.and_then(parse_rfc3339)),
            container_name: text(&["/journal/container_name", "/container/name"]),
            container_id: text(&["/journal/container_id_full"])
                .or(short_id)
                .or_else(|| {
                    text(&[
                        "/container/id",
                        "/container/id_truncated",
                        "/docker/container/id",
                    ])
                }),
            pod: Pod {
                namespace: text(&["/kubernetes/namespace"]),
                name: text(&["/kubernetes/pod/name"]),
                uid: text(&["/kubernetes/pod/uid"]),
                container: text(&["/kubernetes/container/name"]),
                service: text(&["/kubernetes/annotations/mscp_io~1service-uuid"])
                    .and_then(|text| text.parse().ok()),
            },
            target: text(&["/log/file/target_path"]),
            position: match [
                whole(&["/log/file/device_id"]),
                whole(&["/log/file/inode"]),
                whole(&["/log/file/generation"]),
            ] {
                [Some(device), Some(inode), Some(generation)] => Some([device, inode, generation]),
                _ => None,
            },
            cursor: text(&["/journal/cursor"]),
            truncated: match event.pointer("/log/flags") {
                Some(Value::Array(flags)) => flags.iter().any(|flag| flag == "truncated"),
                flag => flag.is_some_and(|flag| flag == "truncated"),
            },
            zone: text(&["/agent/zone"]),
            cluster: text(&["/agent/cluster"]),
            path: text(&["/log/file/path", "/source", "/path", "/file"]),
            offset: whole(&["/log/offset", "/offset"]),
            file: if identity.iter().all(|part| part.is_empty()) {
                Cow::Borrowed("")
            } else {
                Cow::Owned(identity.join("/"))
            },
            stream: text(&["/stream"]).or_else(|| {
                // The journald driver of docker writes the stream as a priority.
                event.pointer("/container/log/tag")?;
                match whole(&["/syslog/priority"])? {
                    6 => Some(Cow::Borrowed("stdout")),
                    3 => Some(Cow::Borrowed("stderr")),
                    _ => None,
                }
            }),
            kind: text(&["/type"]).filter(|kind| crate::record::is_kind(kind)),
            annotations,
            is_unreadable: false,
        })
    }
}

/// The text of a field that should be a string; empty ones are none.
fn scalar(value: &Value) -> Option<Cow<'static, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Owned(text.clone())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        _ => None,
    }
}

/// The line. The original's Journalbeat makes a number of a line of digits and
/// a boolean of `true`; logstash-forwarder calls it `line`. An event without
/// one (`json` of a configured parser, the measures of another Beat) says what
/// it has to say in its other fields.
fn message(event: &Map<String, Value>) -> Option<Cow<'static, str>> {
    let original = |object: &str| event.get(object)?.get("original");
    let told = [
        event.get("message"),
        event.get("line"),
        original("event"),
        original("log"),
    ];
    let line = told.into_iter().flatten().find_map(|line| match line {
        // An empty line is a line.
        Value::String(text) => Some(Cow::Owned(text.clone())),
        other => scalar(other),
    });
    line.or_else(|| {
        let own: Map<String, Value> = event
            .iter()
            .filter(|(name, _)| !OF_THE_BEAT.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        (!own.is_empty()).then(|| Cow::Owned(Value::Object(own).to_string()))
    })
}

fn annotations(event: &Map<String, Value>) -> Annotations<'static> {
    let mut annotations = Vec::new();
    if let Some(fields) = event.get("fields") {
        add_dotted("", fields, &mut annotations);
    }
    for (name, value) in event {
        if !OF_THE_BEAT.contains(&name.as_str()) {
            add_dotted(name, value, &mut annotations);
        }
    }
    if let Some(Value::Object(log)) = event.get("log") {
        for (name, value) in log {
            if !OF_THE_LOG.contains(&name.as_str()) {
                add_dotted(&format!("log.{name}"), value, &mut annotations);
            }
        }
    }
    annotations.into_iter().collect()
}

impl<'a> Event<'a> {
    /// What came where an event was expected, kept as far as can be: as the
    /// message of an event of no known origin.
    #[must_use]
    pub fn unreadable(payload: &'a [u8]) -> Self {
        Self {
            message: Some(String::from_utf8_lossy(payload)).filter(|text| !text.is_empty()),
            is_unreadable: true,
            ..Self::default()
        }
    }
}

/// An annotation in the making.
type Pair = (Cow<'static, str>, AnnotationValue<'static>);

/// Add every leaf of `value` under its path with dots; what is no string,
/// number or boolean is JSON text.
fn add_dotted(path: &str, value: &Value, annotations: &mut Vec<Pair>) {
    // Cut before it is written in front of everything below it.
    let path = &*crate::record::storable_key(path).unwrap_or_default();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                add_dotted(&below, value, annotations);
            }
        }
        Value::Array(values) => {
            for value in values {
                match value {
                    Value::Array(_) | Value::Object(_) => {
                        add_leaf(path, &Value::String(value.to_string()), annotations);
                    }
                    leaf => add_leaf(path, leaf, annotations),
                }
            }
        }
        leaf => add_leaf(path, leaf, annotations),
    }
}

fn add_leaf(path: &str, leaf: &Value, annotations: &mut Vec<Pair>) {
    let value = match leaf {
        Value::String(text) => AnnotationValue::String(Cow::Owned(text.clone())),
        Value::Number(number) => AnnotationValue::Number(number.clone()),
        Value::Bool(value) => AnnotationValue::Bool(*value),
        _ => return,
    };
    if let Some(key) = crate::record::storable_key(path) {
        annotations.push((Cow::Owned(key.into_owned()), value));
    }
}
