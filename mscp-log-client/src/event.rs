//! Records of logging frameworks, written as JSON straight into buffers that
//! each thread keeps.

use std::cell::{Cell, RefCell};
#[cfg(feature = "tracing")]
use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use serde_json::Value;
use uuid::Uuid;

use crate::error::Error;
use crate::push::{Loss, Pusher, is_good_kind, next_us};

/// A `Debug` may log, and what it logs may be formatted by one that logs. More
/// deeply nested than this it is taken for a loop.
const MAX_DEPTH: u8 = 4;

/// Buffers larger than this are not kept for the next record.
const MAX_KEPT_BYTES: usize = 64 * 1024;

std::thread_local! {
    static DEPTH: Cell<u8> = const { Cell::new(0) };
    static KEPT: RefCell<Option<Draft>> = const { RefCell::new(None) };
}

/// Where the records of a layer or an appender go, and what all of them have.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) pusher: Pusher,
    app: Uuid,
    kind: String,
    /// From the app to the message's quote.
    head: Vec<u8>,
    /// Annotations that every record has, each with a comma before it.
    fixed: Vec<u8>,
}

impl Sink {
    pub(crate) fn new(pusher: Pusher, app: Uuid) -> Sink {
        let mut sink = Sink {
            pusher,
            app,
            kind: "applog".to_owned(),
            head: Vec::new(),
            fixed: Vec::new(),
        };
        sink.write_head();
        sink
    }

    pub(crate) fn kind(&mut self, kind: String) -> Result<(), Error> {
        if !is_good_kind(&kind) {
            return Err(Error::usage(format!(
                "type {kind:?} is not 1 to 64 of [A-Za-z0-9_.-]"
            )));
        }
        self.kind = kind;
        self.write_head();
        Ok(())
    }

    pub(crate) fn annotation(&mut self, key: &str, value: &Value) -> Result<(), Error> {
        if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            return Err(Error::usage(format!(
                "annotation {key:?} is not a string, a number or a boolean"
            )));
        }
        begin(&mut self.fixed, key);
        self.fixed.extend_from_slice(value.to_string().as_bytes());
        self.fixed.push(b'}');
        Ok(())
    }

    fn write_head(&mut self) {
        self.head.clear();
        let head = format!(
            r#","appid":"{}","type":"{}","message":""#,
            self.app, self.kind
        );
        self.head.extend_from_slice(head.as_bytes());
    }

    /// Pushes what `write` puts into the draft. What is lost is counted by the pusher.
    pub(crate) fn record(&self, write: impl FnOnce(&mut Draft)) {
        let Some(_nested) = Nested::begin() else {
            let words = "logged from within its own formatting, again and again".to_owned();
            let _counted = self.pusher.lose(Loss::Rejected, words);
            return;
        };
        // Taken out, so that what is logged while `write` formats has another.
        let kept = KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.take());
        let mut draft = kept.ok().flatten().unwrap_or_default();
        draft.clear();
        write(&mut draft);
        let body = self.body(&draft);
        if draft.message.capacity() + draft.annotations.capacity() <= MAX_KEPT_BYTES {
            let _thread_may_end = KEPT.try_with(|kept| {
                if let Ok(mut kept) = kept.try_borrow_mut() {
                    *kept = Some(draft);
                }
            });
        }
        let _counted = self.pusher.push_encoded(self.app, body);
    }

    fn body(&self, draft: &Draft) -> Vec<u8> {
        const PUNCTUATION: usize = 64;
        let size = self.head.len() + self.fixed.len() + draft.message.len();
        let mut body = Vec::with_capacity(size + draft.annotations.len() + PUNCTUATION);
        body.extend_from_slice(br#"{"timestemp":"#);
        number(&mut body, &next_us());
        body.extend_from_slice(&self.head);
        body.extend_from_slice(&draft.message);
        body.extend_from_slice(br#"","annotations":["#);
        // Each has a comma before it: the first one's is left out.
        let rest = if draft.annotations.is_empty() {
            self.fixed.get(1..).unwrap_or_default()
        } else {
            body.extend_from_slice(&draft.annotations[1..]);
            &self.fixed
        };
        body.extend_from_slice(rest);
        body.extend_from_slice(b"]}");
        body
    }
}

/// How deep records are nested on this thread.
struct Nested;

impl Nested {
    fn begin() -> Option<Nested> {
        let depth = DEPTH.get();
        (depth < MAX_DEPTH).then(|| {
            DEPTH.set(depth + 1);
            Nested
        })
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// A record as far as it is written.
#[derive(Default)]
pub(crate) struct Draft {
    /// Escaped, without quotes.
    message: Vec<u8>,
    pub(crate) has_message: bool,
    annotations: Vec<u8>,
    /// Names that have a value already.
    #[cfg(feature = "tracing")]
    pub(crate) names: Vec<&'static str>,
}

impl Draft {
    fn clear(&mut self) {
        self.message.clear();
        self.has_message = false;
        self.annotations.clear();
        #[cfg(feature = "tracing")]
        self.names.clear();
    }

    pub(crate) fn message(&mut self, message: &dyn fmt::Display) {
        self.has_message = true;
        self.message.clear();
        self.more_message(message);
    }

    /// Adds to the message.
    pub(crate) fn more_message(&mut self, more: &dyn fmt::Display) {
        // A failing `Display` leaves what it wrote.
        let _cut_short = write!(Escaped(&mut self.message), "{more}");
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn is_message_empty(&self) -> bool {
        self.message.is_empty()
    }

    /// The annotation `key`, with the value that `write` writes.
    pub(crate) fn annotation(&mut self, key: &str, write: impl FnOnce(&mut Json<'_>)) {
        begin(&mut self.annotations, key);
        let value = self.annotations.len();
        write(&mut Json(&mut self.annotations));
        if self.annotations.len() == value {
            // Nothing came of it; the record is good nevertheless.
            self.annotations.extend_from_slice(br#""""#);
        }
        self.annotations.push(b'}');
    }

    /// One whose value is JSON already.
    #[cfg(feature = "tracing")]
    pub(crate) fn written(&mut self, key: &str, value: &[u8]) {
        begin(&mut self.annotations, key);
        self.annotations.extend_from_slice(value);
        self.annotations.push(b'}');
    }
}

fn begin(annotations: &mut Vec<u8>, key: &str) {
    annotations.extend_from_slice(br#",{"key":""#);
    escape(annotations, key);
    annotations.extend_from_slice(br#"","value":"#);
}

/// One value of an annotation: a string, a number or a boolean.
pub(crate) struct Json<'a>(pub(crate) &'a mut Vec<u8>);

impl Json<'_> {
    pub(crate) fn text(&mut self, text: &str) {
        self.0.push(b'"');
        escape(self.0, text);
        self.0.push(b'"');
    }

    pub(crate) fn display(&mut self, value: &dyn fmt::Display) {
        self.0.push(b'"');
        let _cut_short = write!(Escaped(self.0), "{value}");
        self.0.push(b'"');
    }

    pub(crate) fn bool(&mut self, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.0.extend_from_slice(text);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        number(self.0, &value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        number(self.0, &value);
    }

    /// What is no number in JSON is text.
    pub(crate) fn f64(&mut self, value: f64) {
        if value.is_finite() {
            number(self.0, &value);
        } else {
            self.display(&value);
        }
    }

    /// What no 64 bits hold is text.
    pub(crate) fn i128(&mut self, value: i128) {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.i64(value),
            (_, Ok(value)) => self.u64(value),
            _ => self.display(&value),
        }
    }

    pub(crate) fn u128(&mut self, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.u64(value),
            Err(_) => self.display(&value),
        }
    }

    /// An error with what caused it.
    #[cfg(feature = "tracing")]
    pub(crate) fn error(&mut self, error: &(dyn StdError + 'static)) {
        self.text(&crate::error::chain(error));
    }
}

/// Numbers of the standard library are written without failing.
fn number(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.push(b'0');
    }
}

/// Escapes for JSON what is written into it (RFC 8259, section 7).
pub(crate) struct Escaped<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut from = 0;
    for (place, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..place]);
        from = place + 1;
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            other => {
                let digits = [HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]];
                out.extend_from_slice(br"\u00");
                out.extend_from_slice(&digits);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_escaped_is_read_as_it_was(text in any::<String>(), more in "[\\x00-\\x7f]*") {
            let text = format!("{text}{more}");
            let mut json = Vec::new();
            Json(&mut json).text(&text);
            let read: String = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn numbers_keep_their_value_or_are_text(value in any::<i128>(), real in any::<f64>()) {
            let mut json = Vec::new();
            Json(&mut json).i128(value);
            let read: Value = serde_json::from_slice(&json).unwrap();
            let shown = read.as_str().map_or_else(|| read.to_string(), str::to_owned);
            prop_assert_eq!(shown, value.to_string());
            let mut json = Vec::new();
            Json(&mut json).f64(real);
            let read: Value = serde_json::from_slice(&json).unwrap();
            match read.as_f64() {
                Some(number) => prop_assert_eq!(number, real),
                None => prop_assert!(!real.is_finite()),
            }
        }
    }
}
