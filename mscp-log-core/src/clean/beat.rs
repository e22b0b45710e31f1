//! Events of Beats, from the original's Journalbeat to Filebeat 9.
//!
//! The names of fields moved between versions: each is looked for under every
//! name that it had.

use std::borrow::Cow;

use serde_json::Value;

use crate::record::time::parse_rfc3339;
use crate::record::{AnnotationValue, Annotations};

/// What cleaning needs of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// Which beat sent it: `journalbeat`, `filebeat`.
    pub beat: Cow<'a, str>,
    /// The machine.
    pub hostname: Option<Cow<'a, str>>,
    /// The line.
    pub message: Option<Cow<'a, str>>,
    /// Its time, in microseconds since the epoch.
    pub time_us: Option<i64>,
    /// The docker name of the container.
    pub container_name: Option<Cow<'a, str>>,
    /// The runtime's id of the container.
    pub container_id: Option<Cow<'a, str>>,
    /// The file.
    pub path: Option<Cow<'a, str>>,
    /// The byte at which the line begins.
    pub offset: Option<u64>,
    /// Device and inode, as the Beat writes them; may be empty.
    pub file: Cow<'a, str>,
    /// `stdout` or `stderr`.
    pub stream: Option<Cow<'a, str>>,
    /// `type` of Beats up to 6.
    pub kind: Option<Cow<'a, str>>,
    /// The fields that the Beat's configuration adds (`fields`), dotted.
    pub annotations: Annotations<'a>,
}

impl Event<'static> {
    /// Read one event.
    ///
    /// # Errors
    /// When `json` is no JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let event: serde_json::Map<String, Value> = serde_json::from_slice(json)?;
        let event = Value::Object(event);
        let text = |paths: &[&str]| {
            let found = paths.iter().find_map(|path| {
                event
                    .pointer(path)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            })?;
            Some(Cow::Owned(found.to_owned()))
        };
        // `convert_to_numbers` makes numbers of what are strings elsewhere.
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
        let identity = identity.map(|path| match event.pointer(path) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        });
        let mut annotations = Vec::new();
        if let Some(fields) = event.pointer("/fields") {
            add_dotted("", fields, &mut annotations);
        }
        let annotations = annotations.into_iter().collect();
        Ok(Self {
            beat: text(&["/@metadata/beat", "/agent/type", "/beat/name"]).unwrap_or_default(),
            hostname: text(&[
                "/journal/hostname",
                "/host/hostname",
                "/beat/hostname",
                "/agent/hostname",
                "/host/name",
                "/agent/name",
            ]),
            message: match event.pointer("/message") {
                Some(Value::String(text)) => Some(Cow::Owned(text.clone())),
                _ => None,
            },
            time_us: journal_time.or_else(|| own_time.and_then(parse_rfc3339)),
            container_name: text(&["/journal/container_name", "/container/name"]),
            container_id: text(&[
                "/journal/container_id_full",
                "/journal/container_id",
                "/container/id",
            ]),
            path: text(&["/log/file/path", "/source"]),
            offset: whole(&["/log/offset", "/offset"]),
            file: if identity.iter().all(String::is_empty) {
                Cow::Borrowed("")
            } else {
                Cow::Owned(identity.join("/"))
            },
            stream: text(&["/stream"]),
            kind: text(&["/type"]).filter(|kind| crate::record::is_kind(kind)),
            annotations,
        })
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
