//! Entries of the journal, as `journalctl -o json` writes them.
//!
//! systemd's documentation of the format: a field is a string, null where it
//! is longer than 4,096 bytes (without `--all`), an array of byte values where
//! it is not UTF-8, or an array of these where it is there more than once.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What cleaning needs of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry<'a> {
    /// `MESSAGE`.
    pub message: Option<Cow<'a, str>>,
    /// `CONTAINER_NAME`.
    pub container_name: Option<Cow<'a, str>>,
    /// `CONTAINER_ID`: 12 digits.
    pub container_id: Option<Cow<'a, str>>,
    /// `CONTAINER_ID_FULL`: all 64.
    pub container_id_full: Option<Cow<'a, str>>,
    /// `_HOSTNAME`.
    pub hostname: Option<Cow<'a, str>>,
    /// `__REALTIME_TIMESTAMP`, in microseconds since the epoch.
    pub realtime_us: Option<i64>,
    /// `__CURSOR`.
    pub cursor: Option<Cow<'a, str>>,
    /// `PRIORITY` (syslog(3)).
    pub priority: Option<Cow<'a, str>>,
    /// `CONTAINER_PARTIAL_MESSAGE`: docker cut the line at 16 KiB, and this is
    /// a part of it.
    pub partial: bool,
    /// `CONTAINER_PARTIAL_LAST`: it is the last part. Docker before 18.06
    /// marks no part as the last one; there it is the next one that is no part.
    pub last_part: bool,
    /// `__TRUNCATED`: there was more of the message than is read. The agent
    /// says so; journald has no such field, and names with two underscores
    /// cannot be set by what writes to it.
    pub truncated: bool,
}

impl<'a> Entry<'a> {
    /// Read one entry. Fields borrow from `json` where they have no escapes.
    ///
    /// # Errors
    /// When `json` is no JSON object, or a field has none of the forms above.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Object(fields) = serde_json::from_slice(json)?;
        let time = fields.realtime.0;
        Ok(Self {
            message: fields.message.0,
            container_name: fields.container_name.0,
            container_id: fields.container_id.0,
            container_id_full: fields.container_id_full.0,
            hostname: fields.hostname.0,
            realtime_us: time.and_then(|text| text.parse().ok()),
            cursor: fields.cursor.0,
            priority: fields.priority.0,
            partial: fields.partial.0.as_deref() == Some("true"),
            last_part: fields.last_part.0.as_deref() == Some("true"),
            truncated: fields.truncated.0.as_deref() == Some("true"),
        })
    }

    /// Write it as the JSON that it was read from, without what is not read.
    ///
    /// # Errors
    /// None that is known; writing JSON has a result.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let realtime = self.realtime_us.map(|time| time.to_string());
        let fields = [
            ("__CURSOR", self.cursor.as_deref()),
            ("__REALTIME_TIMESTAMP", realtime.as_deref()),
            ("_HOSTNAME", self.hostname.as_deref()),
            ("CONTAINER_NAME", self.container_name.as_deref()),
            ("CONTAINER_ID", self.container_id.as_deref()),
            ("CONTAINER_ID_FULL", self.container_id_full.as_deref()),
            ("PRIORITY", self.priority.as_deref()),
            ("__TRUNCATED", self.truncated.then_some("true")),
            ("MESSAGE", self.message.as_deref()),
        ];
        let fields = fields.into_iter().filter(|(_, value)| value.is_some());
        serde_json::to_vec(&fields.collect::<std::collections::BTreeMap<_, _>>())
    }
}

impl Entry<'_> {
    /// What it was written to. The journald driver of docker writes the stream
    /// as a priority: 6 (info) for stdout, 3 (err) for stderr.
    #[must_use]
    pub fn stream(&self) -> Option<&'static str> {
        match self.priority.as_deref() {
            Some("6") => Some("stdout"),
            Some("3") => Some("stderr"),
            _ => None,
        }
    }

    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Entry<'_> {
        self.with(Cow::Borrowed)
    }

    /// The same, with text of its own.
    #[must_use]
    pub fn to_static(&self) -> Entry<'static> {
        self.with(|text| Cow::Owned(text.to_owned()))
    }

    fn with<'s, 'b>(&'s self, text: impl Fn(&'s str) -> Cow<'b, str>) -> Entry<'b> {
        let of = |field: &'s Option<Cow<'_, str>>| field.as_deref().map(&text);
        Entry {
            message: of(&self.message),
            container_name: of(&self.container_name),
            container_id: of(&self.container_id),
            container_id_full: of(&self.container_id_full),
            hostname: of(&self.hostname),
            realtime_us: self.realtime_us,
            cursor: of(&self.cursor),
            priority: of(&self.priority),
            partial: self.partial,
            last_part: self.last_part,
            truncated: self.truncated,
        }
    }
}

/// Fields of an object: derived code would take them from an array too.
struct Object<'a>(Fields<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "MESSAGE", borrow, default)]
    message: Field<'a>,
    #[serde(rename = "CONTAINER_NAME", borrow, default)]
    container_name: Field<'a>,
    #[serde(rename = "CONTAINER_ID", borrow, default)]
    container_id: Field<'a>,
    #[serde(rename = "CONTAINER_ID_FULL", borrow, default)]
    container_id_full: Field<'a>,
    #[serde(rename = "_HOSTNAME", borrow, default)]
    hostname: Field<'a>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    realtime: Field<'a>,
    #[serde(rename = "__CURSOR", borrow, default)]
    cursor: Field<'a>,
    #[serde(rename = "PRIORITY", borrow, default)]
    priority: Field<'a>,
    #[serde(rename = "CONTAINER_PARTIAL_MESSAGE", borrow, default)]
    partial: Field<'a>,
    #[serde(rename = "CONTAINER_PARTIAL_LAST", borrow, default)]
    last_part: Field<'a>,
    #[serde(rename = "__TRUNCATED", borrow, default)]
    truncated: Field<'a>,
}

/// The first value of a field as text; bytes that are not UTF-8 become U+FFFD.
#[derive(Default)]
struct Field<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, null, or an array of byte values")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field(Some(Cow::Owned(text.into()))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field(None))
    }

    /// Not journald's, but of what converts numbers on the way.
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        loop {
            match items.next_element::<Item<'de>>()? {
                None => break,
                Some(Item::Byte(byte)) => bytes.push(byte),
                Some(Item::Value(value)) => {
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(value);
                }
            }
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Ok(Field(Some(Cow::Owned(text))))
    }
}

/// An element of an array: a byte of one value, or a whole value.
enum Item<'a> {
    Byte(u8),
    Value(Field<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte value, a string or null")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                let byte = u8::try_from(number)
                    .map_err(|_| E::custom(format!("{number} is no byte value")))?;
                Ok(Item::Byte(byte))
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<Self::Value, E> {
                FieldVisitor.visit_borrowed_str(text).map(Item::Value)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                FieldVisitor.visit_str(text).map(Item::Value)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                FieldVisitor.visit_unit().map(Item::Value)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                FieldVisitor.visit_seq(items).map(Item::Value)
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(message: &str, expected: Option<&str>) {
        let json = format!(r#"{{"_PID":"1","MESSAGE":{message},"_UID":["a",null]}}"#);
        let entry = Entry::parse(json.as_bytes()).unwrap();
        assert_eq!(entry.message.as_deref(), expected, "{message}");
    }

    #[test]
    fn a_field_may_be_a_string_null_bytes_or_several_of_these() {
        check(r#""plain""#, Some("plain"));
        check(r#""with \"escapes\" \n""#, Some("with \"escapes\" \n"));
        check("null", None);
        check("[104,105]", Some("hi"));
        check("[255,104]", Some("\u{fffd}h"));
        check("[]", Some(""));
        check(r#"["first","second"]"#, Some("first"));
        check(r#"[[104,105],[106]]"#, Some("hi"));
        check(r#"[null,"second"]"#, None);
    }

    #[test]
    fn what_is_no_byte_is_an_error() {
        assert!(Entry::parse(br#"{"MESSAGE":[256]}"#).is_err());
        assert!(Entry::parse(br#"{"MESSAGE":{}}"#).is_err());
        assert!(Entry::parse(b"[]").is_err());
    }

    proptest! {
        #[test]
        fn bytes_and_text_of_the_same_message_are_the_same(text in "\\PC{0,40}") {
            let bytes = serde_json::to_string(text.as_bytes()).unwrap();
            let json = format!(r#"{{"MESSAGE":{bytes}}}"#);
            let entry = Entry::parse(json.as_bytes()).unwrap();
            prop_assert_eq!(entry.message.as_deref(), Some(&*text));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Entry::parse(&bytes);
        }
    }
}
