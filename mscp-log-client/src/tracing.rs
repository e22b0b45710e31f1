//! A layer for `tracing` that pushes events.
//!
//! ```no_run
//! use mscp_log_client::{Credentials, Pusher};
//! use tracing_subscriber::prelude::*;
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let app = "caa0c2f0-1116-495f-8f09-3cd023cc14a2".parse()?;
//! let pusher = Pusher::builder("https://logs.example.org").credentials(Credentials::from_env()?).build()?;
//! let _guard = pusher.guard(std::time::Duration::from_secs(5));
//! tracing_subscriber::registry().with(mscp_log_client::tracing::layer(pusher, app)).init();
//! tracing::info!(order = 17, "paid");
//! # Ok(()) }
//! ```
//!
//! # What a record has
//!
//! - `message`: the event's message; where there is none, its fields as
//!   `name=value`, and without any of these the event's name.
//! - Annotations: `level` (`error`, `warn`, `info`, `debug`, `trace`),
//!   `target`, the event's fields, and the fields of all spans that it is in.
//!   Of two fields of one name the event's own goes before a span's, and an
//!   inner span's before an outer one's. Numbers and booleans keep their type;
//!   errors are text, with what caused them; everything else is text as
//!   `Debug` has it. Fields that are named `level` or `target` become
//!   `field.level` and `field.target`. Fields `trace_id` and `span_id` are
//!   searchable under these names.
//! - What comes from the crate `log` through `tracing-log` has the target,
//!   file and line of the place that logged.
//!
//! # What it costs the caller, and cannot do to it
//!
//! The record is encoded on the thread of the event, with one allocation for
//! it, and goes into the queue under one lock that nothing slow is done under.
//! Only with [`Overflow::Block`](crate::Overflow::Block) does it ever wait.
//! Nothing of a runtime is used, so that events are taken before one exists
//! and while one shuts down.
//!
//! What is logged on the pusher's own threads, by HTTP, TLS or this crate, is
//! not pushed, whatever the filters say.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use serde_json::Value;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Level, LevelFilter, Subscriber};
use tracing_subscriber::layer::{Context, Layer as SubscriberLayer};
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use crate::error::Error;
use crate::event::{Draft, Json, Sink};
use crate::push::{Pusher, is_inside};

/// A layer that pushes events as records of `app`, of the type `applog`.
pub fn layer<S>(pusher: Pusher, app: Uuid) -> Layer<S> {
    Layer {
        sink: Sink::new(pusher, app),
        max_level: LevelFilter::TRACE,
        with_spans: true,
        with_location: false,
        subscriber: PhantomData,
    }
}

/// Pushes events; see [`layer`] and the [module](self).
#[derive(Debug)]
pub struct Layer<S> {
    sink: Sink,
    max_level: LevelFilter,
    with_spans: bool,
    with_location: bool,
    subscriber: PhantomData<fn(S)>,
}

impl<S> Layer<S> {
    /// The type of the records, `applog` unless set.
    ///
    /// # Errors
    ///
    /// Usage when it is not 1 to 64 of `[A-Za-z0-9_.-]`.
    pub fn kind(mut self, kind: impl Into<String>) -> Result<Self, Error> {
        self.sink.kind(kind.into())?;
        Ok(self)
    }

    /// An annotation that every record has.
    ///
    /// # Errors
    ///
    /// Usage when it is not a string, a number or a boolean.
    pub fn annotation(mut self, key: &str, value: impl Into<Value>) -> Result<Self, Error> {
        self.sink.annotation(key, &value.into())?;
        Ok(self)
    }

    /// Events of this level and above only; all unless set. It is for this
    /// layer alone. A filter of `tracing_subscriber` around the layer saves
    /// more, for it lets events be left out before they are made.
    #[must_use]
    pub fn max_level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.max_level = level.into();
        self
    }

    /// Whether the fields of the spans that an event is in are annotations: yes.
    #[must_use]
    pub fn span_fields(mut self, yes: bool) -> Self {
        self.with_spans = yes;
        self
    }

    /// Whether `module_path`, `file` and `line` are annotations: no.
    #[must_use]
    pub fn location(mut self, yes: bool) -> Self {
        self.with_location = yes;
        self
    }
}

/// A span's fields, as JSON.
#[derive(Default)]
struct SpanFields(Vec<(&'static str, Vec<u8>)>);

impl<S> SubscriberLayer<S> for Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if is_inside() || !self.with_spans {
            return;
        }
        let mut fields = SpanFields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if is_inside() || !self.with_spans {
            return;
        }
        // Formatted before the span is locked: a `Debug` may look at it.
        let mut fields = SpanFields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id) {
            let mut extensions = span.extensions_mut();
            match extensions.get_mut::<SpanFields>() {
                Some(kept) => {
                    for (name, value) in fields.0 {
                        kept.put(name, value);
                    }
                }
                None => _ = extensions.replace(fields),
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_inside() || *event.metadata().level() > self.max_level {
            return;
        }
        self.sink.record(|draft| {
            let metadata = event.metadata();
            let mut fields = EventFields {
                draft,
                is_log: metadata.target() == "log",
                target: None,
                module_path: None,
                file: None,
                line: None,
            };
            event.record(&mut fields);
            let EventFields {
                target,
                module_path,
                file,
                line,
                ..
            } = fields;
            if !draft.has_message {
                event.record(&mut Pairs(draft));
                if draft.is_message_empty() {
                    draft.message(&metadata.name());
                }
            }
            let level = level_name(*metadata.level());
            draft.annotation("level", |json| json.text(level));
            let target = target.as_deref().unwrap_or(metadata.target());
            draft.annotation("target", |json| json.text(target));
            if self.with_location {
                if let Some(module) = module_path.as_deref().or(metadata.module_path()) {
                    draft.annotation("module_path", |json| json.text(module));
                }
                if let Some(file) = file.as_deref().or(metadata.file()) {
                    draft.annotation("file", |json| json.text(file));
                }
                if let Some(line) = line.or(metadata.line().map(u64::from)) {
                    draft.annotation("line", |json| json.u64(line));
                }
            }
            if self.with_spans {
                span_fields(draft, event, &context);
            }
        });
    }
}

/// From the inside out, so that what is there already stays.
fn span_fields<S>(draft: &mut Draft, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let Some(scope) = context.event_scope(event) else {
        return;
    };
    for span in scope {
        let extensions = span.extensions();
        let Some(fields) = extensions.get::<SpanFields>() else {
            continue;
        };
        for (name, value) in &fields.0 {
            if !draft.names.contains(name) {
                draft.names.push(name);
                draft.written(annotation_key(name), value);
            }
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// A field's name as an annotation's key.
fn annotation_key(name: &str) -> &str {
    match name {
        "level" => "field.level",
        "target" => "field.target",
        raw => raw.strip_prefix("r#").unwrap_or(raw),
    }
}

impl SpanFields {
    fn put(&mut self, name: &'static str, value: Vec<u8>) {
        match self.0.iter_mut().find(|(kept, _)| *kept == name) {
            Some((_, kept)) => *kept = value,
            None => self.0.push((name, value)),
        }
    }

    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Json<'_>)) {
        let mut value = Vec::new();
        write(&mut Json(&mut value));
        self.put(field.name(), value);
    }
}

/// What records a value of every type by `self.write(field, |json| ..)`.
macro_rules! visit_values {
    () => {
        fn record_f64(&mut self, field: &Field, value: f64) {
            self.write(field, |json| json.f64(value));
        }

        fn record_i64(&mut self, field: &Field, value: i64) {
            self.write(field, |json| json.i64(value));
        }

        fn record_i128(&mut self, field: &Field, value: i128) {
            self.write(field, |json| json.i128(value));
        }

        fn record_u128(&mut self, field: &Field, value: u128) {
            self.write(field, |json| json.u128(value));
        }

        fn record_bool(&mut self, field: &Field, value: bool) {
            self.write(field, |json| json.bool(value));
        }

        fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
            self.write(field, |json| json.error(value));
        }
    };
}

impl Visit for SpanFields {
    visit_values!();

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |json| json.u64(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |json| json.text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |json| json.display(&format_args!("{value:?}")));
    }
}

/// Writes an event's fields.
struct EventFields<'a> {
    draft: &'a mut Draft,
    /// Whether the event is made by `tracing-log` of a record of `log`.
    is_log: bool,
    target: Option<String>,
    module_path: Option<String>,
    file: Option<String>,
    line: Option<u64>,
}

impl EventFields<'_> {
    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Json<'_>)) {
        self.draft.names.push(field.name());
        self.draft.annotation(annotation_key(field.name()), write);
    }
}

impl Visit for EventFields<'_> {
    visit_values!();

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "log.line" if self.is_log => self.line = Some(value),
            _ => self.write(field, |json| json.u64(value)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.draft.message(&value),
            "log.target" if self.is_log => self.target = Some(value.to_owned()),
            "log.module_path" if self.is_log => self.module_path = Some(value.to_owned()),
            "log.file" if self.is_log => self.file = Some(value.to_owned()),
            _ => self.write(field, |json| json.text(value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.draft.message(&format_args!("{value:?}")),
            _ => self.write(field, |json| json.display(&format_args!("{value:?}"))),
        }
    }
}

/// Writes fields as the message of an event that has none.
struct Pairs<'a>(&'a mut Draft);

impl Visit for Pairs<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_message_empty() { "" } else { " " };
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.0
            .more_message(&format_args!("{space}{name}={value:?}"));
    }
}
