//! The document of settings: how it is written, and what an edited one asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{KEPT, Settings};

/// The settings that are not ours to keep: Kubernetes has them, or the engine.
/// The short names are those of a [`Revision`].
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("/parser/status/scheduled", "parser"),
    ("/shipper/status/scheduled", "shipper"),
    ("/elasticsearch/status/master/scheduled", "master"),
    ("/elasticsearch/status/data/scheduled", "data"),
    ("/elasticsearch/status/client/scheduled", "client"),
    ("/elasticsearch/settings/number_of_shards", "shards"),
    ("/elasticsearch/settings/number_of_replicas", "replicas"),
];

/// Most that any of [`ELSEWHERE`] may be.
pub(super) const MOST_ELSEWHERE: u64 = 10_000;

/// What is in the document beside settings; `*` is one member, `**` everything
/// below. A document edited from the status has all of it.
pub(super) const READ_ONLY: &[&str] = &[
    "/region",
    "/status",
    "/reasons/**",
    "/timestemp",
    "/rotate/last_run",
    "/rotate/reason",
    "/collector/*/status/**",
    "/collector/*/instances/**",
    "/collector/*/reason",
    "/api/**",
    "/rotator/**",
    "/parser/status/up",
    "/parser/status/reason",
    "/parser/instances/**",
    "/shipper/status/up",
    "/shipper/status/reason",
    "/shipper/instances/**",
    "/kafka/**",
    "/elasticsearch/status/reason",
    "/elasticsearch/status/*/up",
    "/elasticsearch/status/*/reason",
    "/elasticsearch/health/**",
    "/elasticsearch/version",
    "/elasticsearch/reason",
    "/elasticsearch/settings/reason",
    "/buffer/kind",
    "/buffer/lag/**",
    "/buffer/bytes",
    "/buffer/reason",
    "/dead_letters/**",
    "/losses/**",
    "/disks/**",
    "/full/**",
    "/versions/**",
    "/certificates/**",
    "/keys/**",
];

/// What the settings that are elsewhere are now, by their short names; absent
/// where that is not known.
pub type Elsewhere = BTreeMap<String, u64>;

/// Which document it was: how often settings were changed, and what those that
/// are elsewhere were. Written `7;parser=2;replicas=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// How often settings were changed.
    pub kept: i64,
    /// What was elsewhere.
    pub elsewhere: Elsewhere,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kept)?;
        for (name, value) in &self.elsewhere {
            write!(f, ";{name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a revision as the document had it, found {text:?}");
        let mut parts = text.split(';');
        let kept = parts.next().and_then(|kept| kept.parse().ok());
        let mut revision = Self {
            kept: kept.ok_or_else(wrong)?,
            elsewhere: Elsewhere::new(),
        };
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let known = ELSEWHERE.iter().any(|(_, known)| *known == name);
            let value = value.parse().ok().filter(|_| known);
            let value = value.ok_or_else(wrong)?;
            revision.elsewhere.insert(name.to_owned(), value);
        }
        Ok(revision)
    }
}

impl Revision {
    /// What another has changed since, where a document of this revision meets
    /// what is `now`. What is not known now was not changed.
    #[must_use]
    pub fn changed_since(&self, now: &Self) -> Option<String> {
        if self.kept != now.kept {
            return Some(format!(
                "the settings were changed meanwhile: this document is of revision {self}, and {now} holds"
            ));
        }
        let other = |(name, was): (&String, &u64)| {
            let is = now.elsewhere.get(name).filter(|is| *is != was)?;
            Some(format!(
                "{name} was changed meanwhile, from {was} to {is}, not through this system"
            ))
        };
        self.elsewhere.iter().find_map(other)
    }
}

/// What is wrong with one place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Where (RFC 6901).
    pub pointer: String,
    /// What was expected.
    pub reason: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.reason)
    }
}

/// One setting that is to be, or was, changed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SettingChange)]
pub struct Change {
    /// Where in the document (RFC 6901).
    pub path: &'static str,
    /// What it was.
    pub from: Value,
    /// What it is now.
    pub to: Value,
}

/// What an edited document asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// The revision that it was edited from, where it says so.
    pub base: Option<Revision>,
    /// What is kept in the database.
    pub kept: Vec<Change>,
    /// What is kept elsewhere.
    pub elsewhere: Vec<Change>,
}

/// The short name of a setting that is elsewhere.
#[must_use]
pub fn short(pointer: &str) -> Option<&'static str> {
    let of = ELSEWHERE.iter().find(|(known, _)| *known == pointer);
    of.map(|(_, name)| *name)
}

/// What holds now.
#[derive(Clone, Debug)]
pub struct Current {
    /// What processes of ours obey.
    pub settings: Settings,
    /// The revision, with what is elsewhere.
    pub revision: Revision,
    /// What is as it is because parts of the system are one process, by the
    /// same short names.
    pub fixed: Elsewhere,
}

impl Current {
    /// The document.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = Value::Object(Map::new());
        put(&mut document, "/revision", self.revision.to_string().into());
        for setting in KEPT {
            put(&mut document, setting.pointer, setting.get(&self.settings));
        }
        for (pointer, name) in ELSEWHERE {
            let value = self.revision.elsewhere.get(*name);
            let value = value.or_else(|| self.fixed.get(*name)).copied();
            put(&mut document, pointer, value.into());
        }
        document
    }
}

/// Put `value` at `pointer`, with the objects above it.
pub fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for member in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[member];
    }
    *place = value;
}

/// Read an edited document: the settings, or a status, or the array that a
/// status is in. What is not named is not changed, nor what is as it was.
///
/// # Errors
/// Everything that is wrong with it: members that are not known, values that
/// cannot be.
pub fn read(document: &Value, now: &Current) -> Result<Edit, Vec<Invalid>> {
    let (document, above) = match document {
        Value::Array(only) if only.len() == 1 => (&only[0], "/0"),
        other => (other, ""),
    };
    let mut reading = Reading {
        now,
        above,
        edit: Edit::default(),
        wrong: Vec::new(),
    };
    if !document.is_object() {
        reading.wrong("", "expected the document of settings, or a status");
        return Err(reading.wrong);
    }
    // First, because it says what was changed and what was not.
    match document.get("revision") {
        None => {}
        Some(Value::String(text)) => match text.parse() {
            Ok(revision) => reading.edit.base = Some(revision),
            Err(reason) => reading.wrong("/revision", reason),
        },
        Some(_) => reading.wrong("/revision", "expected a string"),
    }
    reading.walk("", document);
    match reading.wrong.is_empty() {
        true => Ok(reading.edit),
        false => Err(reading.wrong),
    }
}

struct Reading<'a> {
    now: &'a Current,
    /// What is above the document.
    above: &'static str,
    edit: Edit,
    wrong: Vec<Invalid>,
}

impl Reading<'_> {
    fn wrong(&mut self, pointer: &str, reason: impl Into<String>) {
        self.wrong.push(Invalid {
            pointer: format!("{}{pointer}", self.above),
            reason: reason.into(),
        });
    }

    fn walk(&mut self, pointer: &str, value: &Value) {
        if let Some(setting) = KEPT.iter().find(|setting| setting.pointer == pointer) {
            let from = setting.get(&self.now.settings);
            if from == *value {
                return;
            }
            match setting.judge(value, &self.now.settings) {
                Ok(()) => self.edit.kept.push(Change {
                    path: setting.pointer,
                    from,
                    to: value.clone(),
                }),
                Err(reason) => self.wrong(pointer, reason),
            }
            return;
        }
        if let Some((path, name)) = ELSEWHERE.iter().find(|(known, _)| *known == pointer) {
            self.elsewhere(path, name, value);
            return;
        }
        if pointer == "/revision" || READ_ONLY.iter().any(|pattern| covers(pattern, pointer)) {
            return;
        }
        let within = format!("{pointer}/");
        let above = |known: &str| known.starts_with(&within) || above(known, pointer);
        let mut known = KEPT.iter().map(|setting| setting.pointer);
        let is_section = known.any(above)
            || ELSEWHERE.iter().any(|(known, _)| above(known))
            || READ_ONLY.iter().any(|known| above(known));
        match value {
            Value::Object(members) if is_section => {
                for (name, value) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.walk(&format!("{pointer}/{name}"), value);
                }
            }
            // A part of a status that could not be measured.
            Value::Null if is_section => {}
            _ if is_section => self.wrong(pointer, "expected an object"),
            _ => self.wrong(pointer, "there is no such setting"),
        }
    }

    fn elsewhere(&mut self, path: &'static str, name: &str, value: &Value) {
        if let Some(fixed) = self.now.fixed.get(name) {
            if value.as_u64() != Some(*fixed) {
                let reason =
                    format!("expected {fixed}, because it is part of one process, found {value}");
                self.wrong(path, reason);
            }
            return;
        }
        let now = self.now.revision.elsewhere.get(name).copied();
        let base = self.edit.base.as_ref();
        let was = base.and_then(|base| base.elsewhere.get(name).copied());
        let (Some(wanted), true) = (value.as_u64(), value.as_u64() <= Some(MOST_ELSEWHERE)) else {
            // As it is in a document where it is not known.
            if !(value.is_null() && was.or(now).is_none() || value.is_null() && base.is_some()) {
                let reason =
                    format!("expected a whole number up to {MOST_ELSEWHERE}, found {value}");
                self.wrong(path, reason);
            }
            return;
        };
        if was.or(now) == Some(wanted) {
            return;
        }
        self.edit.elsewhere.push(Change {
            path,
            from: now.into(),
            to: wanted.into(),
        });
    }
}

/// Whether `pattern` stands for `pointer`.
fn covers(pattern: &str, pointer: &str) -> bool {
    let mut members = pointer.split('/');
    for part in pattern.split('/') {
        match (part, members.next()) {
            ("**", _) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (part, Some(member)) if part == member => {}
            _ => return false,
        }
    }
    members.next().is_none()
}

/// Whether `pattern` stands for something below `pointer`.
fn above(pattern: &str, pointer: &str) -> bool {
    let mut parts = pattern.split('/');
    for member in pointer.split('/') {
        match parts.next() {
            Some(part) if part == "*" || part == member => {}
            _ => return false,
        }
    }
    parts.next().is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::settings::Overrides;

    fn now(elsewhere: &[(&str, u64)]) -> Current {
        let elsewhere = elsewhere.iter().map(|(name, n)| ((*name).to_owned(), *n));
        Current {
            settings: Settings::configured(&Config::default()),
            revision: Revision {
                kept: 7,
                elsewhere: elsewhere.collect(),
            },
            fixed: Elsewhere::new(),
        }
    }

    #[test]
    fn what_is_one_process_is_shown_and_stays() {
        let mut now = now(&[]);
        now.fixed.insert("parser".to_owned(), 1);
        let mut document = now.document();
        assert_eq!(document["parser"]["status"]["scheduled"], 1);
        assert!(read(&document, &now).unwrap().elsewhere.is_empty());
        document["parser"]["status"]["scheduled"] = json!(2);
        let wrong = read(&document, &now).unwrap_err();
        assert!(wrong[0].reason.contains("one process"), "{wrong:?}");
    }

    #[test]
    fn what_is_sent_back_as_it_was_changes_nothing() {
        for now in [now(&[]), now(&[("parser", 2), ("replicas", 1)])] {
            let document = now.document();
            let edit = read(&document, &now).unwrap();
            assert_eq!(edit.base, Some(now.revision.clone()));
            assert!(
                edit.kept.is_empty() && edit.elsewhere.is_empty(),
                "{edit:?}"
            );
            let edit = read(&json!([document]), &now).unwrap();
            assert!(
                edit.kept.is_empty() && edit.elsewhere.is_empty(),
                "{edit:?}"
            );
        }
    }

    #[test]
    fn every_setting_is_read_kept_and_shown() {
        let mut now = now(&[]);
        for setting in KEPT {
            let from = setting.get(&now.settings);
            let to = match &from {
                Value::Bool(on) => (!on).into(),
                Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
                _ => json!(1 << 30),
            };
            let mut document = json!({});
            put(&mut document, setting.pointer, to.clone());
            let edit = read(&document, &now).unwrap();
            let change = Change {
                path: setting.pointer,
                from,
                to: to.clone(),
            };
            assert_eq!(edit.kept, [change]);
            let mut overrides = Overrides::default();
            overrides.set(setting.pointer, to.clone());
            now.settings = now.settings.with(&overrides);
            assert_eq!(now.document().pointer(setting.pointer), Some(&to));
        }
    }

    #[test]
    fn each_fault_is_told_with_its_place_and_what_was_expected() {
        let document = json!([{
            "rotate": {"age": 99_999, "enabled": "yes", "agee": 1},
            "collector": {"journalbeat": {"enabled": 1, "instances": [{"node": "n"}]}, "metricbeat": {}},
            "buffer": 3,
            "parser": {"status": {"scheduled": -1, "up": 5}},
            "search": {"timeout_ms": 1, "max_buckets": null},
            "else": true,
        }]);
        let wrong = read(&document, &now(&[])).unwrap_err();
        let mut told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "/0/buffer: expected an object",
                "/0/collector/journalbeat/enabled: expected true or false, found 1",
                "/0/else: there is no such setting",
                "/0/parser/status/scheduled: expected a whole number up to 10000, found -1",
                "/0/rotate/age: expected a whole number from 0 to 36500, found 99999",
                "/0/rotate/agee: there is no such setting",
                "/0/rotate/enabled: expected true or false, found \"yes\"",
                "/0/search/max_buckets: expected a whole number, found null",
                "/0/search/timeout_ms: expected a duration in milliseconds from 100 to 3600000, found \"1ms\"",
            ]
        );
    }

    #[test]
    fn a_value_that_was_not_changed_is_never_applied() {
        // Two parsers when the document was read, and three now.
        let now = now(&[("parser", 3), ("shipper", 2)]);
        let mut document = json!({
            "revision": "7;parser=2;shipper=2",
            "parser": {"status": {"scheduled": 2}}, "shipper": {"status": {"scheduled": 4}},
        });
        let edit = read(&document, &now).unwrap();
        let paths: Vec<_> = edit.elsewhere.iter().map(|change| change.path).collect();
        assert_eq!(paths, ["/shipper/status/scheduled"]);
        let stale = edit.base.unwrap().changed_since(&now.revision);
        assert!(
            stale
                .unwrap()
                .contains("parser was changed meanwhile, from 2 to 3")
        );
        // Without a revision it is asked for.
        document["revision"].take();
        document.as_object_mut().unwrap().remove("revision");
        assert_eq!(read(&document, &now).unwrap().elsewhere.len(), 2);
    }

    #[test]
    fn a_revision_is_read_as_it_is_written() {
        let revision = now(&[("data", 3), ("parser", 2)]).revision;
        assert_eq!(revision.to_string(), "7;data=3;parser=2");
        assert_eq!(revision.to_string().parse(), Ok(revision));
        for wrong in ["", "x", "7;", "7;data", "7;data=x", "7;else=1"] {
            assert!(wrong.parse::<Revision>().is_err(), "{wrong}");
        }
    }
}
