//! What administrators may change while nodes run (`origin.zh.md`, cluster
//! administration): the document, its limits, and what is kept of it.
//!
//! The configuration holds where nothing was changed. A change is kept in the
//! database by region, so that every instance of the region follows it and the
//! next start does too.

mod document;
mod kept;
mod schema;

use std::time::Duration;

use mscp_log_core::rotation::Policy;
use serde_json::Value;

use crate::config::{self, BufferKind, Config};

pub use document::{Change, Current, Edit, Elsewhere, Invalid, Revision, put, read, short};
pub use kept::{Kept, Overrides, keep, kept};
pub use schema::{Document, Edited, SearchLimits};

/// What holds in a region, as far as it may be changed and a process of ours
/// obeys it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When old indices go.
    pub rotate: Policy,
    /// Whether agents read their journals.
    pub journalbeat: bool,
    /// Whether agents read files: log volumes, paths, consoles of containers.
    pub filebeat: bool,
    /// Whether pushes are taken.
    pub http_gateway: bool,
    /// Most bytes of the buffer; `None` where the brokers decide.
    pub buffer_max_bytes: Option<u64>,
    /// Least that it may be: the buffer gives back whole files only.
    least_buffer_bytes: u64,
    /// Limits of searches.
    pub search: Search,
}

/// The limits of searches that may be changed; see `config::Search`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// Longest run of one search.
    pub timeout: Duration,
    /// Searches that run at once on a node.
    pub max_concurrent: u64,
    /// Requests to the store that one subject may have open.
    pub max_concurrent_per_subject: u64,
    /// Buckets in one answer.
    pub max_buckets: u64,
    /// Hits that `from` and `size` may reach.
    pub max_window: u64,
    /// Bytes that one search's aggregations may take.
    pub max_memory: u64,
}

impl From<&config::Search> for Search {
    fn from(search: &config::Search) -> Self {
        Self {
            timeout: search.timeout,
            max_concurrent: search.max_concurrent,
            max_concurrent_per_subject: search.max_concurrent_per_subject,
            max_buckets: search.max_buckets,
            max_window: search.max_window,
            max_memory: search.max_memory,
        }
    }
}

impl Settings {
    /// What a node's configuration says.
    #[must_use]
    pub fn configured(config: &Config) -> Self {
        Self {
            rotate: config.rotation.policy,
            journalbeat: true,
            filebeat: true,
            http_gateway: true,
            buffer_max_bytes: match config.buffer.kind {
                BufferKind::Disk => Some(config.buffer.max_bytes),
                BufferKind::Kafka(_) => None,
            },
            least_buffer_bytes: config.buffer.segment_bytes.saturating_mul(4),
            search: Search::from(&config.search),
        }
    }

    /// These with what was changed.
    #[must_use]
    pub fn with(&self, overrides: &Overrides) -> Self {
        let mut changed = self.clone();
        for setting in KEPT {
            if let Some(value) = overrides.get(setting.pointer) {
                setting.set(&mut changed, value);
            }
        }
        changed
    }
}

/// One setting that is kept in the database.
struct Setting {
    /// Where it is in the document (RFC 6901).
    pointer: &'static str,
    /// The key of the configuration whose range is its own.
    key: Option<&'static str>,
    /// Which it is.
    field: Field,
}

#[derive(Clone, Copy)]
enum Field {
    RotateEnabled,
    RotateAge,
    RotateMaxBytes,
    Journalbeat,
    Filebeat,
    HttpGateway,
    BufferMaxBytes,
    Timeout,
    MaxConcurrent,
    MaxConcurrentPerSubject,
    MaxBuckets,
    MaxWindow,
    MaxMemory,
}

const fn setting(pointer: &'static str, key: Option<&'static str>, field: Field) -> Setting {
    Setting {
        pointer,
        key,
        field,
    }
}

/// Every setting that is kept in the database.
const KEPT: &[Setting] = &[
    setting("/rotate/enabled", None, Field::RotateEnabled),
    setting("/rotate/age", Some("rotation.age_days"), Field::RotateAge),
    setting(
        "/rotate/max_bytes",
        Some("rotation.max_bytes"),
        Field::RotateMaxBytes,
    ),
    setting("/collector/journalbeat/enabled", None, Field::Journalbeat),
    setting("/collector/filebeat/enabled", None, Field::Filebeat),
    setting("/collector/http_gateway/enabled", None, Field::HttpGateway),
    setting(
        "/buffer/max_bytes",
        Some("buffer.max_bytes"),
        Field::BufferMaxBytes,
    ),
    setting("/search/timeout_ms", Some("search.timeout"), Field::Timeout),
    setting(
        "/search/max_concurrent",
        Some("search.max_concurrent"),
        Field::MaxConcurrent,
    ),
    setting(
        "/search/max_concurrent_per_subject",
        Some("search.max_concurrent_per_subject"),
        Field::MaxConcurrentPerSubject,
    ),
    setting(
        "/search/max_buckets",
        Some("search.max_buckets"),
        Field::MaxBuckets,
    ),
    setting(
        "/search/max_window",
        Some("search.max_window"),
        Field::MaxWindow,
    ),
    setting(
        "/search/max_memory",
        Some("search.max_memory"),
        Field::MaxMemory,
    ),
];

impl Setting {
    /// Its value in the document.
    fn get(&self, of: &Settings) -> Value {
        match self.field {
            Field::RotateEnabled => of.rotate.enabled.into(),
            Field::RotateAge => of.rotate.age_days.into(),
            Field::RotateMaxBytes => of.rotate.max_bytes.into(),
            Field::Journalbeat => of.journalbeat.into(),
            Field::Filebeat => of.filebeat.into(),
            Field::HttpGateway => of.http_gateway.into(),
            Field::BufferMaxBytes => of.buffer_max_bytes.into(),
            Field::Timeout => u64::try_from(of.search.timeout.as_millis())
                .unwrap_or(u64::MAX)
                .into(),
            Field::MaxConcurrent => of.search.max_concurrent.into(),
            Field::MaxConcurrentPerSubject => of.search.max_concurrent_per_subject.into(),
            Field::MaxBuckets => of.search.max_buckets.into(),
            Field::MaxWindow => of.search.max_window.into(),
            Field::MaxMemory => of.search.max_memory.into(),
        }
    }

    /// Take a value that was judged.
    fn set(&self, of: &mut Settings, value: &Value) {
        let mut switch = |field: fn(&mut Settings) -> &mut bool| {
            let field = field(of);
            *field = value.as_bool().unwrap_or(*field);
        };
        let number = value.as_u64();
        match self.field {
            Field::RotateEnabled => switch(|of| &mut of.rotate.enabled),
            Field::Journalbeat => switch(|of| &mut of.journalbeat),
            Field::Filebeat => switch(|of| &mut of.filebeat),
            Field::HttpGateway => switch(|of| &mut of.http_gateway),
            Field::RotateAge => {
                let days = number.and_then(|days| u32::try_from(days).ok());
                of.rotate.age_days = days.unwrap_or(of.rotate.age_days);
            }
            Field::RotateMaxBytes => of.rotate.max_bytes = number,
            // Where the brokers decide they still do.
            Field::BufferMaxBytes => {
                of.buffer_max_bytes = of.buffer_max_bytes.and(number.or(of.buffer_max_bytes));
            }
            Field::Timeout => {
                of.search.timeout = number.map_or(of.search.timeout, Duration::from_millis);
            }
            Field::MaxConcurrent => take(&mut of.search.max_concurrent, number),
            Field::MaxConcurrentPerSubject => {
                take(&mut of.search.max_concurrent_per_subject, number);
            }
            Field::MaxBuckets => take(&mut of.search.max_buckets, number),
            Field::MaxWindow => take(&mut of.search.max_window, number),
            Field::MaxMemory => take(&mut of.search.max_memory, number),
        }
    }

    /// Whether `value` may be its value, by the range of the configuration.
    ///
    /// # Errors
    /// What was expected.
    fn judge(&self, value: &Value, of: &Settings) -> Result<(), String> {
        let Some(key) = self.key else {
            return match value {
                Value::Bool(_) => Ok(()),
                other => Err(format!("expected true or false, found {other}")),
            };
        };
        if value.is_null() && matches!(self.field, Field::RotateMaxBytes) {
            return Ok(());
        }
        if matches!(self.field, Field::BufferMaxBytes) && of.buffer_max_bytes.is_none() {
            return match value {
                Value::Null => Ok(()),
                _ => Err("the brokers of Kafka decide it".to_owned()),
            };
        }
        let Some(number) = value.as_u64() else {
            return Err(format!("expected a whole number, found {value}"));
        };
        if matches!(self.field, Field::BufferMaxBytes) && number < of.least_buffer_bytes {
            return Err(format!(
                "expected at least {}, four times buffer.segment_bytes, found {number}",
                of.least_buffer_bytes
            ));
        }
        let text = match self.field {
            Field::Timeout => format!("{number}ms"),
            _ => number.to_string(),
        };
        config::judge(key, &text)
    }
}

fn take(field: &mut u64, number: Option<u64>) {
    *field = number.unwrap_or(*field);
}
