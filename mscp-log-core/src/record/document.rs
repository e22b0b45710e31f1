//! The stored document: what lies in the buffer, in the store and in Kafka.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Annotations;
use super::encode::Object;
use super::time::{Day, parse_rfc3339, write_rfc3339};
use crate::event_id::EventId;

/// Tags that the system itself puts on documents.
pub mod tag {
    /// The container name is in none of the known forms.
    pub const CONTAINER_NAME_UNKNOWN: &str = "_containernameparsefailure";
    /// The record's own time lay outside the window; it is in `source_time`.
    pub const TIME_OUT_OF_WINDOW: &str = "_timeoutofwindow";
    /// The record had no time: `@timestamp` is when it was received, so that a
    /// repetition may lie in another day's index.
    pub const TIME_OF_RECEIPT: &str = "_timeofreceipt";
    /// The line was longer than is read; the rest of it was counted as lost.
    pub const TRUNCATED: &str = "_truncated";
    /// What a Beat sent was no JSON object; the message is what came. The
    /// name is Logstash's.
    pub const UNREADABLE: &str = "_jsonparsefailure";
}

/// One event as it is stored. Absent fields are absent, not null.
///
/// Text is borrowed from what the document was made of or read from, where it
/// can be. `@timestamp` and `annotation` are functions of other fields: they
/// are written with the document and ignored when it is read.
///
/// ```
/// use mscp_log_core::record::Document;
/// let stored = r#"{"@timestamp":"2018-01-24T11:13:39.231Z","realtime_us":1516792419231221,
///   "event_id":"000102030405060708090a0b0c0d0e0f","message":"up","index":"logstash-http-local",
///   "region":"local","ingest_us":1516792419300000,"seq":0}"#;
/// let document: Document = serde_json::from_str(stored)?;
/// assert_eq!(document.physical_index(), "logstash-http-local-2018.01.24");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Document<'a> {
    /// The event's time in microseconds since the epoch; `@timestamp` is it in
    /// milliseconds, rounded down.
    pub realtime_us: i64,
    /// What makes it the same event when it comes again; `_id` in every store.
    pub event_id: EventId,
    /// The line.
    #[serde(borrow, deserialize_with = "text")]
    pub message: Cow<'a, str>,
    /// The index name without its date.
    #[serde(borrow, deserialize_with = "text")]
    pub index: Cow<'a, str>,
    /// What the sender calls this kind of record.
    #[serde(rename = "type", borrow, default, deserialize_with = "optional")]
    pub kind: Option<Cow<'a, str>>,
    /// The installation.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub region: Option<Cow<'a, str>>,
    /// The zone of the region.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub zone: Option<Cow<'a, str>>,
    /// The Kubernetes cluster.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub cluster: Option<Cow<'a, str>>,
    /// The machine that the event happened on.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub hostname: Option<Cow<'a, str>>,
    /// The container's name in its pod.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub container: Option<Cow<'a, str>>,
    /// The hash in the middle of an old container name.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub containerid: Option<Cow<'a, str>>,
    /// The container runtime's id.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub container_id: Option<Cow<'a, str>>,
    /// What made the pod (the spelling is the original's).
    #[serde(borrow, default, deserialize_with = "optional")]
    pub controler: Option<Cow<'a, str>>,
    /// What the controller added to its name for this pod.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub podid: Option<Cow<'a, str>>,
    /// The pod's name.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub pod: Option<Cow<'a, str>>,
    /// The pod's namespace.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub namespace: Option<Cow<'a, str>>,
    /// The pod's uid.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub uuid: Option<Cow<'a, str>>,
    /// The end of a container name: which start of the container it was.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub resourceid: Option<Cow<'a, str>>,
    /// The application.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub appid: Option<Cow<'a, str>>,
    /// For lines of files: where they were.
    #[serde(borrow, default)]
    pub log: Log<'a>,
    /// The severity, in lower case.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub level: Option<Cow<'a, str>>,
    /// `stdout` or `stderr`.
    #[serde(borrow, default, deserialize_with = "optional")]
    pub stream: Option<Cow<'a, str>>,
    /// The trace (W3C Trace Context, 32 hexadecimal digits).
    #[serde(borrow, default, deserialize_with = "optional")]
    pub trace_id: Option<Cow<'a, str>>,
    /// The span (16 hexadecimal digits).
    #[serde(borrow, default, deserialize_with = "optional")]
    pub span_id: Option<Cow<'a, str>>,
    /// What the sender added.
    #[serde(borrow, default)]
    pub annotations: Annotations<'a>,
    /// The record's own time in milliseconds since the epoch, where it lay
    /// outside the window and `realtime_us` is another.
    #[serde(
        rename = "source_time",
        default,
        deserialize_with = "milliseconds_from_text"
    )]
    pub source_time_ms: Option<i64>,
    /// When the system took it, in microseconds since the epoch.
    pub ingest_us: i64,
    /// Orders events of one microsecond: the offset in the file, or the place
    /// in the batch.
    #[serde(default)]
    pub seq: i64,
    /// What the system says of the document: see [`tag`].
    #[serde(borrow, default, deserialize_with = "texts")]
    pub tags: Vec<Cow<'a, str>>,
}

/// Where a line of a file was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log<'a> {
    /// `log.file.path`.
    pub path: Option<Cow<'a, str>>,
    /// `log.offset`: the byte at which the line begins.
    pub offset: Option<i64>,
    /// `log.dir`: the name of the log directory.
    pub dir: Option<Cow<'a, str>>,
}

impl Log<'_> {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.offset.is_none() && self.dir.is_none()
    }
}

impl<'a> Document<'a> {
    /// The name of the index that keeps it: `index` and the day of `@timestamp`.
    #[must_use]
    pub fn physical_index(&self) -> String {
        format!("{}-{}", self.index, self.day())
    }

    /// The day of `@timestamp`.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of_us(self.realtime_us)
    }

    /// Append the document as JSON: the same bytes as `serde_json::to_vec`
    /// gives, in less time.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.message.len() + 1_024);
        let mut object = Object::begin(out);
        object.time("@timestamp", self.realtime_us);
        object.number("realtime_us", self.realtime_us);
        object.hex("event_id", &self.event_id.hex());
        object.text("message", &self.message);
        object.text("index", &self.index);
        for (name, value) in self.words() {
            if let Some(value) = value {
                object.text(name, value);
            }
        }
        if !self.log.is_empty() {
            let mut log = object.object("log");
            if let Some(path) = &self.log.path {
                let mut file = log.object("file");
                file.text("path", path);
                file.end();
            }
            if let Some(offset) = self.log.offset {
                log.number("offset", offset);
            }
            if let Some(dir) = &self.log.dir {
                log.text("dir", dir);
            }
            log.end();
        }
        if !self.annotations.is_empty() {
            object.annotations(&self.annotations);
        }
        if let Some(time_ms) = self.source_time_ms {
            object.time("source_time", time_ms.saturating_mul(1_000));
        }
        object.number("ingest_us", self.ingest_us);
        object.number("seq", self.seq);
        if !self.tags.is_empty() {
            object.texts("tags", &self.tags);
        }
        object.end();
    }

    /// The optional keywords in the order in which they are written.
    fn words(&self) -> [(&'static str, &Option<Cow<'a, str>>); 19] {
        [
            ("type", &self.kind),
            ("region", &self.region),
            ("zone", &self.zone),
            ("cluster", &self.cluster),
            ("hostname", &self.hostname),
            ("container", &self.container),
            ("containerid", &self.containerid),
            ("container_id", &self.container_id),
            ("controler", &self.controler),
            ("podid", &self.podid),
            ("pod", &self.pod),
            ("namespace", &self.namespace),
            ("uuid", &self.uuid),
            ("resourceid", &self.resourceid),
            ("appid", &self.appid),
            ("level", &self.level),
            ("stream", &self.stream),
            ("trace_id", &self.trace_id),
            ("span_id", &self.span_id),
        ]
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@timestamp", &Time(self.realtime_us))?;
        map.serialize_entry("realtime_us", &self.realtime_us)?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("index", &self.index)?;
        for (name, value) in self.words() {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if !self.log.is_empty() {
            map.serialize_entry("log", &self.log)?;
        }
        if !self.annotations.is_empty() {
            map.serialize_entry("annotations", &self.annotations)?;
            let pairs = self.annotations.iter();
            let pairs: Vec<_> = pairs
                .map(|pair| format!("{}={}", pair.key, pair.value.to_text()))
                .collect();
            map.serialize_entry("annotation", &pairs)?;
        }
        if let Some(time_ms) = self.source_time_ms {
            map.serialize_entry("source_time", &Time(time_ms.saturating_mul(1_000)))?;
        }
        map.serialize_entry("ingest_us", &self.ingest_us)?;
        map.serialize_entry("seq", &self.seq)?;
        if !self.tags.is_empty() {
            map.serialize_entry("tags", &self.tags)?;
        }
        map.end()
    }
}

/// Microseconds, written as RFC 3339.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(24);
        write_rfc3339(self.0, &mut text);
        serializer.serialize_str(&String::from_utf8_lossy(&text))
    }
}

/// `log` as it is nested in JSON.
#[derive(Deserialize)]
struct LogObject<'a> {
    #[serde(borrow, default)]
    file: LogFile<'a>,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(borrow, default, deserialize_with = "optional")]
    dir: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct LogFile<'a> {
    #[serde(borrow, default, deserialize_with = "optional")]
    path: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Log<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LogObject { file, offset, dir } = LogObject::deserialize(deserializer)?;
        Ok(Self {
            path: file.path,
            offset,
            dir,
        })
    }
}

impl Serialize for Log<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            path: &'a str,
        }
        let mut map = serializer.serialize_map(None)?;
        if let Some(path) = &self.path {
            map.serialize_entry("file", &File { path })?;
        }
        if let Some(offset) = self.offset {
            map.serialize_entry("offset", &offset)?;
        }
        if let Some(dir) = &self.dir {
            map.serialize_entry("dir", dir)?;
        }
        map.end()
    }
}

/// Text that is borrowed from the input where it has no escapes; serde's own
/// `Cow` always copies.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.into())))
            }
            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    Text::deserialize(deserializer).map(|Text(text)| text)
}

fn optional<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    let text = Option::<Text<'a>>::deserialize(deserializer)?;
    Ok(text.map(|Text(text)| text))
}

fn texts<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Cow<'a, str>>, D::Error> {
    let texts = Vec::<Text<'a>>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|Text(text)| text).collect())
}

fn milliseconds_from_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    let Some(Text(text)) = Option::<Text<'de>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let time_us = parse_rfc3339(&text)
        .ok_or_else(|| serde::de::Error::custom("source_time is no RFC 3339 time"))?;
    Ok(Some(time_us.div_euclid(1_000)))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;
    use crate::event_id::Origin;
    use crate::field::FIELDS;
    use crate::record::AnnotationValue;

    fn words() -> impl Strategy<Value = Option<Cow<'static, str>>> {
        proptest::option::of(any::<String>().prop_map(Cow::Owned))
    }

    fn value() -> impl Strategy<Value = AnnotationValue<'static>> {
        prop_oneof![
            any::<String>().prop_map(|text| AnnotationValue::String(Cow::Owned(text))),
            any::<i64>().prop_map(|number| AnnotationValue::Number(number.into())),
            // Quarters: fractions that every reader of decimals gets exactly.
            any::<i32>().prop_map(|number| AnnotationValue::Number(
                serde_json::Number::from_f64(f64::from(number) / 4.0).unwrap()
            )),
            any::<bool>().prop_map(AnnotationValue::Bool),
        ]
    }

    /// Documents with everything that a document can hold.
    pub(crate) fn documents() -> impl Strategy<Value = Document<'static>> {
        let annotations = proptest::collection::vec(("[a-c\\\"\n]{1,2}", value()), 0..6);
        let log = (words(), proptest::option::of(any::<i64>()), words());
        // Years 1 to 9999, so that a time in milliseconds can be written.
        let millis = -62_135_596_800_000_i64..253_402_300_799_999;
        (
            (any::<i64>(), any::<[u8; 16]>(), any::<String>(), ".{0,20}"),
            proptest::collection::vec(words(), 19),
            log,
            annotations,
            proptest::option::of(millis),
            (any::<i64>(), any::<i64>()),
            proptest::collection::vec(any::<String>(), 0..3),
        )
            .prop_map(
                |(head, words, log, annotations, source_time_ms, tail, tags)| {
                    let mut words = words.into_iter();
                    let mut word = || words.next().flatten();
                    Document {
                        realtime_us: head.0,
                        event_id: EventId::of(&Origin::Random(head.1)),
                        message: Cow::Owned(head.2),
                        index: Cow::Owned(head.3),
                        kind: word(),
                        region: word(),
                        zone: word(),
                        cluster: word(),
                        hostname: word(),
                        container: word(),
                        containerid: word(),
                        container_id: word(),
                        controler: word(),
                        podid: word(),
                        pod: word(),
                        namespace: word(),
                        uuid: word(),
                        resourceid: word(),
                        appid: word(),
                        log: Log {
                            path: log.0,
                            offset: log.1,
                            dir: log.2,
                        },
                        level: word(),
                        stream: word(),
                        trace_id: word(),
                        span_id: word(),
                        annotations: annotations
                            .into_iter()
                            .map(|(key, value)| (Cow::Owned(key), value))
                            .collect(),
                        source_time_ms,
                        ingest_us: tail.0,
                        seq: tail.1,
                        tags: tags.into_iter().map(Cow::Owned).collect(),
                    }
                },
            )
    }

    /// The paths of the leaves of `value`; what is below `annotations` is one.
    fn leaves(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) if prefix != "annotations" => {
                for (key, value) in object {
                    let path = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    leaves(&path, value, out);
                }
            }
            _ => out.push(prefix.to_owned()),
        }
    }

    proptest! {
        #[test]
        fn a_document_is_encoded_as_serde_writes_it(document in documents()) {
            let mut encoded = Vec::new();
            document.encode(&mut encoded);
            prop_assert_eq!(
                String::from_utf8(encoded).unwrap(),
                serde_json::to_string(&document).unwrap()
            );
        }

        #[test]
        fn a_document_read_back_is_the_document(document in documents()) {
            let mut encoded = Vec::new();
            document.encode(&mut encoded);
            let read: Document<'_> = serde_json::from_slice(&encoded).unwrap();
            prop_assert_eq!(read, document);
        }

        #[test]
        fn a_document_has_no_field_outside_the_table(document in documents()) {
            let mut paths = Vec::new();
            leaves("", &serde_json::to_value(&document).unwrap(), &mut paths);
            for path in paths {
                prop_assert!(FIELDS.iter().any(|(name, _)| *name == path), "{}", path);
            }
        }
    }

    #[test]
    fn plain_text_is_borrowed_when_a_document_is_read() {
        let json = br#"{"realtime_us":1,"event_id":"00000000000000000000000000000000",
            "message":"plain","index":"i","namespace":"n","ingest_us":1,"tags":["t"]}"#;
        let document: Document<'_> = serde_json::from_slice(json).unwrap();
        assert!(matches!(document.message, Cow::Borrowed("plain")));
        assert!(matches!(document.namespace, Some(Cow::Borrowed("n"))));
        assert!(matches!(document.tags[0], Cow::Borrowed("t")));
    }
}
