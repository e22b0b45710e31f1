//! Pushed bodies: a JSON array of records, one record, or one a line.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use uuid::Uuid;

use super::annotation::{AnnotationValue, Annotations};
use super::document::Text;

/// Bytes of the key of an annotation.
pub const MAX_KEY_BYTES: usize = 256;

/// Bytes of `type`.
pub const MAX_KIND_BYTES: usize = 64;

/// One record as it was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// Microseconds since the epoch; inside the [`Window`].
    pub time_us: i64,
    /// The application that it is of.
    pub appid: Uuid,
    /// What the sender calls this kind: 1 to 64 of `[A-Za-z0-9_.-]`.
    pub kind: Cow<'a, str>,
    /// The line.
    pub message: Cow<'a, str>,
    /// What the sender added.
    pub annotations: Annotations<'a>,
}

impl Record<'_> {
    /// Append what makes it the same record when it comes again, however it
    /// is written: every field with its length before it.
    pub fn write_identity(&self, out: &mut Vec<u8>) {
        let mut part = |tag: u8, bytes: &[u8]| {
            out.push(tag);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        part(b't', &self.time_us.to_le_bytes());
        part(b'a', self.appid.as_bytes());
        part(b'k', self.kind.as_bytes());
        part(b'm', self.message.as_bytes());
        for annotation in self.annotations.iter() {
            part(b'n', annotation.key.as_bytes());
            match &annotation.value {
                AnnotationValue::String(text) => part(b's', text.as_bytes()),
                AnnotationValue::Number(number) => part(b'd', number.to_string().as_bytes()),
                AnnotationValue::Bool(value) => part(b'b', &[u8::from(*value)]),
            }
        }
    }
}

/// The times that are taken.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Now, in microseconds since the epoch.
    pub now_us: i64,
    /// How old a record may be, in microseconds.
    pub max_past_us: i64,
    /// How far ahead, in microseconds.
    pub max_future_us: i64,
}

impl Window {
    /// Ten minutes: how far ahead a clock may be.
    pub const MAX_FUTURE_US: i64 = 10 * 60 * 1_000_000;

    /// Whether `time_us` lies in it.
    #[must_use]
    pub fn holds(&self, time_us: i64) -> bool {
        time_us <= self.now_us.saturating_add(self.max_future_us)
            && time_us >= self.now_us.saturating_sub(self.max_past_us)
    }

    /// The same, with the reason why not: another unit of time, too old, or
    /// too far ahead.
    ///
    /// # Errors
    /// The reason, as a sentence about the time.
    pub fn check(&self, time_us: i64) -> Result<(), String> {
        if self.holds(time_us) {
            return Ok(());
        }
        let units = [(1_000_000, "seconds"), (1_000, "milliseconds")];
        for (factor, unit) in units {
            if time_us
                .checked_mul(factor)
                .is_some_and(|time| self.plausible(time))
            {
                return Err(format!(
                    "{time_us} looks like {unit}; expected microseconds since the epoch"
                ));
            }
        }
        if self.plausible(time_us / 1_000) {
            return Err(format!(
                "{time_us} looks like nanoseconds; expected microseconds since the epoch"
            ));
        }
        if time_us > self.now_us {
            return Err(format!(
                "{time_us} is more than {} s ahead",
                self.max_future_us / 1_000_000
            ));
        }
        Err(format!(
            "{time_us} is more than {} s ago",
            self.max_past_us / 1_000_000
        ))
    }

    /// Whether a sender could mean `time_us`: within some twenty years of now.
    fn plausible(&self, time_us: i64) -> bool {
        const TWENTY_YEARS_US: i64 = 20 * 365 * 86_400 * 1_000_000;
        time_us.abs_diff(self.now_us) < TWENTY_YEARS_US.unsigned_abs()
    }
}

/// How much one request may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records of one request.
    pub max_records: usize,
    /// Bytes of one message.
    pub max_message_bytes: usize,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record}: {}{reason}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct RecordError {
    /// Which record, from 0.
    pub record: usize,
    /// The name of the field, or nothing where it is the record as a whole.
    pub field: String,
    /// What was expected.
    pub reason: String,
}

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A record is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Too many records.
    #[error("more than {limit} records in one request")]
    TooManyRecords {
        /// Records allowed.
        limit: usize,
    },
    /// A message is too long.
    #[error("record {record}: message: {bytes} bytes, and {limit} are allowed")]
    MessageTooLong {
        /// Which record, from 0.
        record: usize,
        /// Its bytes.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Read a body that is an array of records, or one.
///
/// `appid` is the application in the path: every record must carry it.
///
/// ```
/// use mscp_log_core::record::{Limits, Window, json};
/// let window = Window { now_us: 1_516_792_420_000_000, max_past_us: 60_000_000, max_future_us: 0 };
/// let limits = Limits { max_records: 10, max_message_bytes: 100 };
/// let body = br#"[{"timestemp": 1516792419231221, "appid": "caa0c2f0-1116-495f-8f09-3cd023cc14a2",
///   "type": "applog", "message": "Message to send.", "annotations": [{"key": "level", "value": "info"}]}]"#;
/// let records = json(body, None, &window, &limits)?;
/// assert_eq!(records[0].message, "Message to send.");
///
/// let seconds = br#"{"timestemp": 1516792419, "appid": "caa0c2f0-1116-495f-8f09-3cd023cc14a2",
///   "type": "applog", "message": ""}"#;
/// let error = json(seconds, None, &window, &limits).unwrap_err();
/// assert_eq!(error.to_string(), "record 0: timestemp: 1516792419 looks like seconds; \
///   expected microseconds since the epoch");
/// # Ok::<(), mscp_log_core::record::BodyError>(())
/// ```
///
/// # Errors
/// The first thing that is wrong, with the record and the field.
pub fn json<'a>(
    body: &'a [u8],
    appid: Option<&Uuid>,
    window: &Window,
    limits: &Limits,
) -> Result<Vec<Record<'a>>, BodyError> {
    let mut reader = Reader::new(appid, window, limits);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let result = BodySeed(&mut reader)
        .deserialize(&mut deserializer)
        .and_then(|records| deserializer.end().map(|()| records));
    result.map_err(|error| reader.explain(&error))
}

/// Read a body that is one record a line; empty lines are nothing.
///
/// # Errors
/// The first thing that is wrong, with the record and the field.
pub fn ndjson<'a>(
    body: &'a [u8],
    appid: Option<&Uuid>,
    window: &Window,
    limits: &Limits,
) -> Result<Vec<Record<'a>>, BodyError> {
    let mut reader = Reader::new(appid, window, limits);
    let mut records = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        reader.next_record();
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let result = RecordSeed(&mut reader)
            .deserialize(&mut deserializer)
            .and_then(|record| deserializer.end().map(|()| record));
        records.push(result.map_err(|error| reader.explain(&error))?);
    }
    if records.is_empty() {
        return Err(empty());
    }
    Ok(records)
}

fn empty() -> BodyError {
    BodyError::Record(RecordError {
        record: 0,
        field: String::new(),
        reason: "expected at least one record".to_owned(),
    })
}

/// What is being read, so that an error can name it.
struct Reader<'r> {
    appid: Option<&'r Uuid>,
    window: &'r Window,
    limits: &'r Limits,
    /// Records begun.
    begun: usize,
    field: &'static str,
    /// A field that is not among the known ones.
    unknown: Option<String>,
    /// A limit that was passed: the answer is another than for a malformed record.
    beyond: Option<BodyError>,
}

impl<'r> Reader<'r> {
    fn new(appid: Option<&'r Uuid>, window: &'r Window, limits: &'r Limits) -> Self {
        Self {
            appid,
            window,
            limits,
            begun: 0,
            field: "",
            unknown: None,
            beyond: None,
        }
    }

    fn next_record(&mut self) {
        self.begun += 1;
        self.field = "";
    }

    fn record(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    fn explain(&mut self, error: &serde_json::Error) -> BodyError {
        if let Some(beyond) = self.beyond.take() {
            return beyond;
        }
        let field = match self.unknown.take() {
            Some(name) => name,
            None => self.field.to_owned(),
        };
        let text = error.to_string();
        // Own reasons need no place in the text; a syntax error does.
        let reason = match error.classify() {
            serde_json::error::Category::Data => text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(reason, _)| reason)
                .to_owned(),
            _ => text,
        };
        BodyError::Record(RecordError {
            record: self.record(),
            field,
            reason,
        })
    }
}

struct BodySeed<'s, 'r>(&'s mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for BodySeed<'_, '_> {
    type Value = Vec<Record<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_, '_> {
    type Value = Vec<Record<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records, or one record")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Self::Value, A::Error> {
        let mut read = Vec::new();
        while let Some(record) = records.next_element_seed(ElementSeed(self.0))? {
            read.push(record);
        }
        if read.is_empty() {
            return Err(serde::de::Error::custom("expected at least one record"));
        }
        Ok(read)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.next_record();
        Ok(vec![RecordSeed(self.0).visit_map(map)?])
    }
}

/// A record of an array: counted when there is one, which the end is not.
struct ElementSeed<'s, 'r>(&'s mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for ElementSeed<'_, '_> {
    type Value = Record<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.next_record();
        RecordSeed(self.0).deserialize(deserializer)
    }
}

struct RecordSeed<'s, 'r>(&'s mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_, '_> {
    type Value = Record<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.begun > self.0.limits.max_records {
            let limit = self.0.limits.max_records;
            self.0.beyond = Some(BodyError::TooManyRecords { limit });
            return Err(serde::de::Error::custom("too many records"));
        }
        deserializer.deserialize_map(self)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Timestemp,
    Timestamp,
    Appid,
    Kind,
    Message,
    Annotations,
    Unknown,
}

struct FieldSeed<'s, 'r>(&'s mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = Field;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldSeed<'_, '_> {
    type Value = Field;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }
    fn visit_str<E>(self, name: &str) -> Result<Field, E> {
        let (field, name) = match name {
            "timestemp" => (Field::Timestemp, "timestemp"),
            "timestamp" => (Field::Timestamp, "timestamp"),
            "appid" => (Field::Appid, "appid"),
            "type" => (Field::Kind, "type"),
            "message" => (Field::Message, "message"),
            "annotations" => (Field::Annotations, "annotations"),
            unknown => {
                self.0.unknown = Some(unknown.chars().take(64).collect());
                (Field::Unknown, "")
            }
        };
        self.0.field = name;
        Ok(field)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_, '_> {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
        use serde::de::Error;
        let reader = self.0;
        let mut time_us: Option<i64> = None;
        let mut appid: Option<Uuid> = None;
        let mut kind: Option<Cow<'de, str>> = None;
        let mut message: Option<Cow<'de, str>> = None;
        let mut annotations: Option<Annotations<'de>> = None;
        while let Some(field) = map.next_key_seed(FieldSeed(reader))? {
            let again = match field {
                Field::Timestemp | Field::Timestamp => time_us.is_some(),
                Field::Appid => appid.is_some(),
                Field::Kind => kind.is_some(),
                Field::Message => message.is_some(),
                Field::Annotations => annotations.is_some(),
                Field::Unknown => {
                    return Err(A::Error::custom(
                        "unknown field; expected timestemp, appid, type, message, annotations",
                    ));
                }
            };
            if again {
                return Err(A::Error::custom(match field {
                    Field::Timestemp | Field::Timestamp => {
                        "the time is given twice; expected timestemp or timestamp once"
                    }
                    _ => "given twice",
                }));
            }
            match field {
                Field::Timestemp | Field::Timestamp => {
                    let Whole(time) = map.next_value()?;
                    reader.window.check(time).map_err(A::Error::custom)?;
                    time_us = Some(time);
                }
                Field::Appid => {
                    let Text(text) = map.next_value()?;
                    let parsed = parse_uuid(&text).map_err(A::Error::custom)?;
                    if reader.appid.is_some_and(|wanted| *wanted != parsed) {
                        return Err(A::Error::custom("not the appid of the path"));
                    }
                    appid = Some(parsed);
                }
                Field::Kind => {
                    let Text(text) = map.next_value()?;
                    if !is_kind(&text) {
                        return Err(A::Error::custom(
                            "expected 1 to 64 of letters, digits, '_', '.' and '-'",
                        ));
                    }
                    kind = Some(text);
                }
                Field::Message => {
                    let Text(text) = map.next_value()?;
                    let limit = reader.limits.max_message_bytes;
                    if text.len() > limit {
                        reader.beyond = Some(BodyError::MessageTooLong {
                            record: reader.record(),
                            bytes: text.len(),
                            limit,
                        });
                        return Err(A::Error::custom("too long"));
                    }
                    message = Some(text);
                }
                Field::Annotations => annotations = Some(map.next_value_seed(AnnotationsSeed)?),
                Field::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let mut require = |field: &'static str| {
            reader.field = field;
            A::Error::custom("missing")
        };
        Ok(Record {
            time_us: time_us.ok_or_else(|| require("timestemp"))?,
            appid: appid.ok_or_else(|| require("appid"))?,
            kind: kind.ok_or_else(|| require("type"))?,
            message: message.ok_or_else(|| require("message"))?,
            annotations: annotations.unwrap_or_default(),
        })
    }
}

/// Whether `text` may be a `type`: 1 to 64 of `[A-Za-z0-9_.-]`.
#[must_use]
pub fn is_kind(text: &str) -> bool {
    (1..=MAX_KIND_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn parse_uuid(text: &str) -> Result<Uuid, &'static str> {
    let reason = "expected a UUID of 36 characters";
    if text.len() != 36 {
        return Err(reason);
    }
    Uuid::try_parse(text).map_err(|_| reason)
}

/// Why `key` cannot be the key of an annotation, if it cannot: engines refuse
/// empty names and those with a NUL in them.
fn key_fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("expected a key that is not empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return Some("expected a key of at most 256 bytes");
    }
    key.contains('\0')
        .then_some("expected a key without a NUL character")
}

/// `key` as it can be stored, for senders whose own protocol takes other keys:
/// cut at the limit, without NUL characters; `None` where nothing is left.
#[must_use]
pub fn storable_key(key: &str) -> Option<Cow<'_, str>> {
    if key_fault(key).is_none() {
        return Some(Cow::Borrowed(key));
    }
    let mut key = key.replace('\0', "");
    key.truncate(key.floor_char_boundary(MAX_KEY_BYTES));
    (!key.is_empty()).then_some(Cow::Owned(key))
}

/// A whole number that fits 64 bits with a sign.
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("microseconds since the epoch as a whole number")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Whole, E> {
                Ok(Whole(i64::try_from(value).unwrap_or(i64::MAX)))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct AnnotationsSeed;

impl<'de> DeserializeSeed<'de> for AnnotationsSeed {
    type Value = Annotations<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AnnotationsSeed {
    type Value = Annotations<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects with key and value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Pair(key, value)) = pairs.next_element()? {
            if let Some(fault) = key_fault(&key) {
                return Err(serde::de::Error::custom(fault));
            }
            read.push((key, value));
        }
        Ok(read.into_iter().collect())
    }
}

/// `{"key": .., "value": ..}`; derived code would take an array too.
struct Pair<'a>(Cow<'a, str>, AnnotationValue<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields<'p> {
            #[serde(borrow)]
            key: Text<'p>,
            #[serde(borrow)]
            value: AnnotationValue<'p>,
        }
        struct PairVisitor;
        impl<'de> Visitor<'de> for PairVisitor {
            type Value = Pair<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with key and value")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Pair(fields.key.0, fields.value))
            }
        }
        deserializer.deserialize_map(PairVisitor)
    }
}

#[cfg(test)]
mod tests;
