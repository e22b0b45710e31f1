//! An appender for the crate `log` that pushes records.
//!
//! ```no_run
//! use mscp_log_client::{Credentials, Pusher, log::Appender};
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let app = "caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?;
//! let pusher = Pusher::builder("https://logs.example.org").credentials(Credentials::from_env()?).build()?;
//! let _guard = pusher.guard(std::time::Duration::from_secs(5));
//! Appender::new(pusher, app).max_level(log::LevelFilter::Info).install()?;
//! log::info!(order = 17; "paid");
//! # Ok(()) }
//! ```
//!
//! A record has the message, the annotations `level` (`error`, `warn`, `info`,
//! `debug`, `trace`) and `target`, and one for each key-value of `log`; keys
//! `level` and `target` become `field.level` and `field.target`. Numbers and
//! booleans keep their type. What is said of the [layer](crate::tracing)'s
//! cost holds here: nothing of a runtime is used, and what is logged on the
//! pusher's own threads is not pushed.

use std::time::Duration;

use ::log::kv::{Error as KvError, Key, Value as KvValue, VisitSource, VisitValue};
use ::log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Error;
use crate::event::{Draft, Json, Sink};
use crate::push::{Pusher, is_inside};

/// Pushes records of `log`.
#[derive(Debug)]
pub struct Appender {
    sink: Sink,
    max_level: LevelFilter,
    /// By the beginning of the target, the longest first.
    targets: Vec<(String, LevelFilter)>,
    with_location: bool,
    flush: Duration,
}

impl Appender {
    /// An appender that pushes records of `app`, of the type `applog`.
    #[must_use]
    pub fn new(pusher: Pusher, app: Uuid) -> Appender {
        Appender {
            sink: Sink::new(pusher, app),
            max_level: LevelFilter::Trace,
            targets: Vec::new(),
            with_location: false,
            flush: Duration::from_secs(5),
        }
    }

    /// The type of the records, `applog` unless set.
    ///
    /// # Errors
    ///
    /// Usage when it is not 1 to 64 of `[A-Za-z0-9_.-]`.
    pub fn kind(mut self, kind: impl Into<String>) -> Result<Appender, Error> {
        self.sink.kind(kind.into())?;
        Ok(self)
    }

    /// An annotation that every record has.
    ///
    /// # Errors
    ///
    /// Usage when it is not a string, a number or a boolean.
    pub fn annotation(mut self, key: &str, value: impl Into<Value>) -> Result<Appender, Error> {
        self.sink.annotation(key, &value.into())?;
        Ok(self)
    }

    /// Records of this level and above only; all unless set.
    #[must_use]
    pub fn max_level(mut self, level: LevelFilter) -> Appender {
        self.max_level = level;
        self
    }

    /// Another level for the target `target` and all below it (`hyper` is also
    /// for `hyper::client`). The longest that fits decides.
    #[must_use]
    pub fn level_for(mut self, target: impl Into<String>, level: LevelFilter) -> Appender {
        self.targets.push((target.into(), level));
        self.targets
            .sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        self
    }

    /// Whether `module_path`, `file` and `line` are annotations: no.
    #[must_use]
    pub fn location(mut self, yes: bool) -> Appender {
        self.with_location = yes;
        self
    }

    /// How long [`Log::flush`] blocks at most: 5 s.
    #[must_use]
    pub fn flush_timeout(mut self, timeout: Duration) -> Appender {
        self.flush = timeout;
        self
    }

    /// Makes it the program's logger, and lets `log` pass all levels that it takes.
    ///
    /// # Errors
    ///
    /// When the program has a logger already.
    pub fn install(self) -> Result<(), SetLoggerError> {
        let levels = self.targets.iter().map(|(_, level)| *level);
        let level = levels.fold(self.max_level, Ord::max);
        ::log::set_boxed_logger(Box::new(self))?;
        ::log::set_max_level(level);
        Ok(())
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        let fits = |begin: &str| {
            target
                .strip_prefix(begin)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let own = self.targets.iter().find(|(begin, _)| fits(begin));
        own.map_or(self.max_level, |(_, level)| *level)
    }
}

impl Log for Appender {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !is_inside() && metadata.level() <= self.level_of(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        self.sink.record(|draft| {
            draft.message(record.args());
            let level = level_name(record.level());
            draft.annotation("level", |json| json.text(level));
            draft.annotation("target", |json| json.text(record.target()));
            if self.with_location {
                if let Some(module) = record.module_path() {
                    draft.annotation("module_path", |json| json.text(module));
                }
                if let Some(file) = record.file() {
                    draft.annotation("file", |json| json.text(file));
                }
                if let Some(line) = record.line() {
                    draft.annotation("line", |json| json.u64(line.into()));
                }
            }
            // A source that fails has given what it gave.
            let _cut_short = record.key_values().visit(&mut Pairs(draft));
        });
    }

    /// Blocks until what was logged before is accepted or lost, up to the
    /// [limit](Appender::flush_timeout).
    fn flush(&self) {
        if !is_inside() {
            let _counted_in_progress = self.sink.pusher.flush_blocking(self.flush);
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

struct Pairs<'a>(&'a mut Draft);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: KvValue<'kvs>) -> Result<(), KvError> {
        let key = match key.as_str() {
            "level" => "field.level",
            "target" => "field.target",
            other => other,
        };
        let mut done = Ok(());
        self.0
            .annotation(key, |json| done = value.visit(OneValue(json)));
        done
    }
}

struct OneValue<'a, 'b>(&'a mut Json<'b>);

impl<'v> VisitValue<'v> for OneValue<'_, '_> {
    fn visit_any(&mut self, value: KvValue<'_>) -> Result<(), KvError> {
        self.0.display(&value);
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), KvError> {
        self.0.u64(value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), KvError> {
        self.0.i64(value);
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), KvError> {
        self.0.u128(value);
        Ok(())
    }

    fn visit_i128(&mut self, value: i128) -> Result<(), KvError> {
        self.0.i128(value);
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), KvError> {
        self.0.f64(value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), KvError> {
        self.0.bool(value);
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), KvError> {
        self.0.text(value);
        Ok(())
    }
}
