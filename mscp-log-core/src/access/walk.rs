//! The one reading of an `access` array: its shape is checked here, and what it
//! says goes to a [`Sink`] as it is met, so that building rules and deciding a
//! request without building them cannot differ.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::restriction::Restriction;

/// Takes what a rule says, in the order in which it is written. A rule ends
/// with [`Sink::end`].
pub(crate) trait Sink {
    fn method(&mut self, text: &str);
    fn url(&mut self, text: &str);
    /// One field of `other.log` and its allowed values, of which there may be none.
    fn restrict(&mut self, field: &'static str, values: Vec<Cow<'_, str>>);
    /// `other.log.write`
    fn write(&mut self, write: bool);
    /// A key where none that is unknown can be let pass: the rule matches nothing.
    fn unknown<'de, A: MapAccess<'de>>(
        &mut self,
        place: Place,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error>;
    /// A key of `other` that means nothing here.
    fn carry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let _ = key;
        map.next_value::<IgnoredAny>().map(drop)
    }
    fn end(&mut self);
}

/// Where an unknown key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside `method`, `url` and `other`.
    Rule,
    /// Under `other.log`.
    Log,
}

/// Reads an `access` array into a sink.
pub(crate) struct Walk<'s, S>(pub(crate) &'s mut S);

/// A text, borrowed where the input allows it. (`Cow` alone never borrows.)
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Walk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Walk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of access rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(RuleWalk(self.0))?.is_some() {}
        Ok(())
    }
}

struct RuleWalk<'s, S>(&'s mut S);

impl<'de, S: Sink> DeserializeSeed<'de> for RuleWalk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for RuleWalk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule with method, url and other")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut method, mut url, mut other) = (false, false, false);
        let mut names = Names::default();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "method" => {
                    once::<A>(&mut method, "method")?;
                    map.next_value_seed(Texts(|text: &str| self.0.method(text)))?;
                }
                "url" => {
                    once::<A>(&mut url, "url")?;
                    map.next_value_seed(Texts(|text: &str| self.0.url(text)))?;
                }
                "other" => {
                    once::<A>(&mut other, "other")?;
                    map.next_value_seed(OtherWalk(self.0))?;
                }
                _ => {
                    self.0.unknown(Place::Rule, &key, &mut map)?;
                    names.add::<A>(key)?;
                }
            }
        }
        if !method {
            return Err(A::Error::missing_field("method"));
        }
        if !url {
            return Err(A::Error::missing_field("url"));
        }
        self.0.end();
        Ok(())
    }
}

/// `other`: an object, or null as services in Go write an empty one.
struct OtherWalk<'s, S>(&'s mut S);

impl<'de, S: Sink> DeserializeSeed<'de> for OtherWalk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for OtherWalk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(Text(key)) = map.next_key()? {
            if key == "log" {
                map.next_value_seed(LogWalk(self.0))?;
            } else {
                self.0.carry(&key, &mut map)?;
            }
            names.add::<A>(key)?;
        }
        Ok(())
    }
}

struct LogWalk<'s, S>(&'s mut S);

impl<'de, S: Sink> DeserializeSeed<'de> for LogWalk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for LogWalk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of restrictions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(Text(key)) = map.next_key()? {
            if key == "write" {
                let write: bool = map.next_value()?;
                self.0.write(write);
            } else if let Some(field) = Restriction::FIELDS.into_iter().find(|f| *f == key) {
                let values: Vec<Text<'de>> = map.next_value()?;
                let values = values.into_iter().map(|Text(value)| value).collect();
                self.0.restrict(field, values);
            } else {
                self.0.unknown(Place::Log, &key, &mut map)?;
            }
            names.add::<A>(key)?;
        }
        Ok(())
    }
}

/// An array of strings, each given on and not kept.
struct Texts<F>(F);

impl<'de, F: FnMut(&str)> DeserializeSeed<'de> for Texts<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&str)> Visitor<'de> for Texts<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Text(text)) = seq.next_element()? {
            (self.0)(&text);
        }
        Ok(())
    }
}

/// The names that an object has had: a second one of the same name is an
/// error, as readers differ in which of the two they take (RFC 8259 section 4).
#[derive(Default)]
pub(crate) struct Names<'a>(Vec<Cow<'a, str>>);

impl<'a> Names<'a> {
    /// As many unknown names as an object may have: what is looked for one by
    /// one must be few.
    const MAX: usize = 64;

    pub(crate) fn add<'de, A: MapAccess<'de>>(
        &mut self,
        name: Cow<'a, str>,
    ) -> Result<(), A::Error> {
        if self.0.contains(&name) {
            return Err(A::Error::custom(format_args!("{name} is given twice")));
        }
        if self.0.len() == Self::MAX {
            return Err(A::Error::custom("an object has more than 64 names"));
        }
        self.0.push(name);
        Ok(())
    }
}

/// Notes that a name was met.
pub(crate) fn once<'de, A: MapAccess<'de>>(
    seen: &mut bool,
    name: &'static str,
) -> Result<(), A::Error> {
    if std::mem::replace(seen, true) {
        return Err(A::Error::duplicate_field(name));
    }
    Ok(())
}
