//! Access rules as accounts, roles and tokens have them, and their JSON.

use std::borrow::Cow;
use std::str::FromStr;

use serde::de::{DeserializeSeed, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::method::{Method, Methods, UnknownMethod};
use super::pattern::{Pattern, PatternError};
use super::restriction::{Restriction, normal_value};
use super::walk::{Place, Sink, Walk};

/// Rules, of which any one that matches allows a request: the `access` claim.
///
/// `Deserialize` reads what a signed token holds: methods and patterns that are
/// unknown here match nothing, as the token may be meant for another service
/// too. `FromStr` reads what a person or a client asks for: there they are errors.
///
/// ```
/// use mscp_log_core::access::Access;
/// let access: Access = r#"[{"method": ["GET"], "url": ["{mscp_api_url}/local/log/**"],
///     "other": {"log": {"namespace": ["shop"]}}}]"#.parse()?;
/// assert_eq!(access.0.len(), 1);
/// assert!(r#"[{"method": ["FETCH"], "url": ["/**"]}]"#.parse::<Access>().is_err());
/// # Ok::<(), mscp_log_core::access::AccessError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Access(pub Vec<Rule>);

/// Methods × patterns × restrictions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Any of these.
    pub methods: Methods,
    /// At any of these.
    pub urls: Vec<Pattern>,
    /// And what goes with it.
    pub other: Other,
    /// Keys beside `method`, `url` and `other`. A rule that has one says
    /// something that is not understood here and matches nothing.
    unknown: Map<String, Value>,
}

/// The part of a rule named `other`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Other {
    /// `other.log`, but for `write`: what of the log the rule shows.
    pub restriction: Restriction,
    /// `other.log.write`: the store may be changed too.
    pub write: bool,
    /// What else `other` holds. It is carried and means nothing here.
    pub carried: Map<String, Value>,
    /// Keys of `other.log` that are unknown, or that allow no value at all: a
    /// rule that has one matches nothing.
    unknown: Map<String, Value>,
}

/// Why a text is no [`Access`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The JSON has another shape.
    #[error("access: {0}")]
    Json(String),
    /// Entry so-and-so, counted from 0, is at fault.
    #[error("access[{entry}]: {fault}")]
    Entry {
        /// Its place.
        entry: usize,
        /// What is wrong with it.
        fault: EntryFault,
    },
}

/// What is wrong with one rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// In `method`.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// In `url`.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A list without a value.
    #[error("other.log.{0} allows no value")]
    EmptyRestriction(&'static str),
    /// A key that no rule has.
    #[error("unknown key {0:?}")]
    UnknownKey(String),
}

impl Rule {
    /// A rule of its parts.
    #[must_use]
    pub fn new(methods: Methods, urls: Vec<Pattern>, other: Other) -> Self {
        Self {
            methods,
            urls,
            other,
            unknown: Map::new(),
        }
    }

    /// Whether the rule says something that is not understood here, so that it
    /// allows nothing whatever its methods and patterns are.
    #[must_use]
    pub fn matches_nothing(&self) -> bool {
        !self.unknown.is_empty() || !self.other.unknown.is_empty()
    }
}

impl Other {
    /// With a restriction alone.
    #[must_use]
    pub fn restricted(restriction: Restriction) -> Self {
        Self {
            restriction,
            ..Self::default()
        }
    }
}

impl FromStr for Access {
    type Err = AccessError;

    fn from_str(json: &str) -> Result<Self, AccessError> {
        let mut built = Build::default();
        let mut deserializer = serde_json::Deserializer::from_str(json);
        Walk(&mut built)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| AccessError::Json(error.to_string()))?;
        match built.fault {
            Some((entry, fault)) => Err(AccessError::Entry { entry, fault }),
            None => Ok(Self(built.rules)),
        }
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut built = Build::default();
        Walk(&mut built).deserialize(deserializer)?;
        Ok(Self(built.rules))
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("method", &self.methods)?;
        map.serialize_entry("url", &self.urls)?;
        map.serialize_entry("other", &self.other)?;
        for (key, value) in &self.unknown {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Other {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.write || !self.restriction.is_none() || !self.unknown.is_empty() {
            map.serialize_entry("log", &Log(self))?;
        }
        for (key, value) in &self.carried {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

struct Log<'a>(&'a Other);

impl Serialize for Log<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Other {
            restriction,
            write,
            unknown,
            ..
        } = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (field, values) in restriction.fields() {
            map.serialize_entry(field, values)?;
        }
        if *write {
            map.serialize_entry("write", write)?;
        }
        for (key, value) in unknown {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Builds rules, and keeps the first fault that a person would want to know of.
#[derive(Default)]
struct Build {
    rules: Vec<Rule>,
    rule: Rule,
    fault: Option<(usize, EntryFault)>,
}

impl Build {
    fn fault(&mut self, fault: EntryFault) {
        self.fault.get_or_insert((self.rules.len(), fault));
    }
}

impl Sink for Build {
    fn method(&mut self, text: &str) {
        match Method::parse(text) {
            Some(method) => self.rule.methods.insert(method),
            None => self.fault(UnknownMethod(text.to_owned()).into()),
        }
    }

    fn url(&mut self, text: &str) {
        if let Err(error) = Pattern::parse(text) {
            self.fault(error.into());
        }
        self.rule.urls.push(Pattern::parse_or_nowhere(text));
    }

    fn restrict(&mut self, field: &'static str, values: Vec<Cow<'_, str>>) {
        if values.is_empty() {
            self.fault(EntryFault::EmptyRestriction(field));
            let nothing = Value::Array(Vec::new());
            self.rule.other.unknown.insert(field.to_owned(), nothing);
            return;
        }
        let values = values
            .into_iter()
            .map(|value| normal_value(field, value.into_owned()));
        if let Some(slot) = self.rule.other.restriction.slot(field) {
            *slot = Some(values.collect());
        }
    }

    fn write(&mut self, write: bool) {
        self.rule.other.write = write;
    }

    fn unknown<'de, A: MapAccess<'de>>(
        &mut self,
        place: Place,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let value: Value = map.next_value()?;
        let (name, keys) = match place {
            Place::Rule => (key.to_owned(), &mut self.rule.unknown),
            Place::Log => (format!("other.log.{key}"), &mut self.rule.other.unknown),
        };
        keys.insert(key.to_owned(), value);
        self.fault(EntryFault::UnknownKey(name));
        Ok(())
    }

    fn carry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value: Value = map.next_value()?;
        self.rule.other.carried.insert(key.to_owned(), value);
        Ok(())
    }

    fn end(&mut self) {
        self.rules.push(std::mem::take(&mut self.rule));
    }
}
