//! From a file and the environment to one value a key: file over default,
//! environment over file, and every fault collected with the key's name.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::form::Form;
use super::key::{self, KEYS};
use super::{Secret, SecretSource, filled};

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The dotted key, or the environment variable, or the file.
    pub key: String,
    /// What was expected.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Everything that is wrong with a configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The values as written, by dotted key, and the faults found so far.
pub(super) struct Reader {
    values: BTreeMap<String, Value>,
    pub(super) errors: Vec<ConfigError>,
}

impl Reader {
    /// Gather the keys of `text` (TOML, called `name` in errors) and of `env`.
    pub(super) fn new(
        name: &str,
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut reader = Self {
            values: BTreeMap::new(),
            errors: Vec::new(),
        };
        match text.parse::<Table>() {
            Ok(table) => reader.flatten("", table),
            Err(error) => reader.fault(name, error.to_string().trim_end()),
        }
        for (variable, value) in env {
            reader.variable(&variable, &value);
        }
        reader
    }

    pub(super) fn fault(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(ConfigError {
            key: key.into(),
            reason: reason.into(),
        });
    }

    fn flatten(&mut self, above: &str, table: Table) {
        for (name, value) in table {
            let path = if above.is_empty() {
                name
            } else {
                format!("{above}.{name}")
            };
            let depth = path.matches('.').count();
            let in_region = path == "region" || (depth == 1 && above == "region");
            if !in_region && key::find(&path).is_some() {
                self.values.insert(path, value);
                continue;
            }
            let within = format!("{path}.");
            let section = in_region || KEYS.iter().any(|key| key.path.starts_with(&within));
            match value {
                Value::Table(inner) if section => {
                    if above == "region" {
                        // A region without any key of its own is a region all the same.
                        self.values.insert(path.clone(), Value::Boolean(true));
                    }
                    self.flatten(&path, inner);
                }
                _ if section => self.fault(path, "expected a table"),
                _ => self.fault(path, "unknown key"),
            }
        }
    }

    /// Of variables, the names with `__` must be keys; without it only those
    /// that are keys count, since Kubernetes sets `MSCP_LOG_PORT` and its like
    /// for a service called `mscp-log`.
    fn variable(&mut self, variable: &str, text: &str) {
        let Some(name) = variable.strip_prefix("MSCP_LOG_") else {
            return;
        };
        let path = name.to_ascii_lowercase().replace("__", ".");
        let Some(key) = key::find(&path) else {
            if path.contains('.') {
                self.fault(variable, format!("unknown key {path}"));
            }
            return;
        };
        let value = match key.form {
            Form::Switch => text.parse().map(Value::Boolean).ok(),
            Form::Number => text.parse().map(Value::Integer).ok(),
            Form::Text | Form::Duration | Form::Size => Some(Value::String(text.to_owned())),
            Form::List | Form::Tables | Form::WordOrUrls if text.trim_start().starts_with('[') => {
                toml_value(text)
            }
            Form::Table if text.trim_start().starts_with('{') => toml_value(text),
            Form::WordOrUrls if !text.contains("://") => Some(Value::String(text.to_owned())),
            Form::List | Form::WordOrUrls => Some(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            )),
            Form::Table | Form::Tables => None,
        };
        match value {
            Some(value) => {
                if let Some(region) = path
                    .strip_prefix("region.")
                    .and_then(|rest| rest.split('.').next())
                {
                    self.values
                        .insert(format!("region.{region}"), Value::Boolean(true));
                }
                self.values.insert(path, value);
            }
            None => self.fault(variable, format!("expected a {}", key.form.name())),
        }
    }

    /// Whether a key is written and not read yet.
    pub(super) fn has(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// Whether a key's value was found wrong already.
    pub(super) fn has_fault(&self, path: &str) -> bool {
        self.errors.iter().any(|error| error.key == path)
    }

    /// The names of the regions that are written.
    pub(super) fn regions(&self) -> Vec<String> {
        self.values
            .keys()
            .filter_map(|path| path.strip_prefix("region."))
            .filter(|rest| !rest.contains('.'))
            .map(str::to_owned)
            .collect()
    }

    /// The value of a key that has a default. A fault is noted, and the
    /// default stands in so that reading goes on to the other keys.
    pub(super) fn read<T>(&mut self, path: &str, parse: impl Fn(&Value) -> Result<T, String>) -> T {
        let default = key::find(path)
            .and_then(|key| key.default)
            .map(|text| format!("x = {text}"))
            .and_then(|text| text.parse::<Table>().ok())
            .and_then(|mut table| table.remove("x"))
            .expect(
                "a key that is read has a default in the list of keys, as the tests read them all",
            );
        if let Some(value) = self.values.remove(path) {
            match parse(&value) {
                Ok(parsed) => return parsed,
                Err(reason) => self.fault(path, reason),
            }
        }
        parse(&default)
            .expect("the defaults in the list of keys are right, as the tests read them all")
    }

    /// The value of a key that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.values.remove(path)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.fault(path, reason);
                None
            }
        }
    }

    /// A secret that may be absent: the value of `path`, or the content of the
    /// file that `{path}_file` names.
    pub(super) fn secret(&mut self, path: &str) -> Option<SecretSource> {
        let file = format!("{path}_file");
        let written = self.optional(path, text(|it| filled(it).map(Secret::new)));
        let from_file = self.optional(&file, text(super::path));
        if written.is_some() && from_file.is_some() {
            self.fault(file, format!("expected only one of it and {path}"));
        }
        written
            .map(SecretSource::Text)
            .or(from_file.map(SecretSource::File))
    }
}

fn toml_value(text: &str) -> Option<Value> {
    let mut table = format!("x = {text}").parse::<Table>().ok()?;
    table.remove("x")
}

/// A string that `parse` takes.
pub(super) fn text<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value) -> Result<T, String> {
    move |value| match value {
        Value::String(text) => parse(text),
        other => Err(format!("expected a string, found {}", other.type_str())),
    }
}

/// A list of strings, each of which `parse` takes.
pub(super) fn list<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value) -> Result<Vec<T>, String> {
    let item = text(parse);
    move |value| match value {
        Value::Array(values) => values.iter().map(&item).collect(),
        other => Err(format!(
            "expected a list of strings, found {}",
            other.type_str()
        )),
    }
}

/// `true` or `false`.
pub(super) fn switch(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("expected true or false, found {}", value.type_str()))
}

/// A whole number from `least` to `most`.
pub(super) fn number(least: u64, most: u64) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let number = value
            .as_integer()
            .and_then(|number| u64::try_from(number).ok());
        within(number, least, most, "a whole number", &value.to_string())
    }
}

/// A size from `least` to `most` bytes.
pub(super) fn size(least: u64, most: u64) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = match value {
            Value::String(text) => Some(super::value::size(text)?),
            other => other
                .as_integer()
                .and_then(|number| u64::try_from(number).ok()),
        };
        within(bytes, least, most, "a size in bytes", &value.to_string())
    }
}

/// A duration from `least_ms` to `most_ms` milliseconds.
pub(super) fn duration(
    least_ms: u64,
    most_ms: u64,
) -> impl Fn(&Value) -> Result<std::time::Duration, String> {
    move |value| {
        let millis = match value {
            Value::String(text) => u64::try_from(super::value::duration(text)?.as_millis()).ok(),
            other => other
                .as_integer()
                .and_then(|seconds| u64::try_from(seconds).ok())
                .and_then(|seconds| seconds.checked_mul(1_000)),
        };
        within(
            millis,
            least_ms,
            most_ms,
            "a duration in milliseconds",
            &value.to_string(),
        )
        .map(std::time::Duration::from_millis)
    }
}

fn within(
    number: Option<u64>,
    least: u64,
    most: u64,
    what: &str,
    found: &str,
) -> Result<u64, String> {
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("expected {what} from {least} to {most}, found {found}"))
}
