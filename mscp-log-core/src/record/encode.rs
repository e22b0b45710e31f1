//! Writing JSON of the one shape that a stored document has, in one pass.

use std::borrow::Cow;

use super::annotation::{AnnotationValue, Annotations};
use super::time::write_rfc3339;

/// An object that is being written. Names are constants without escapes.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn object(&mut self, name: &'static str) -> Object<'_> {
        self.name(name);
        Object::begin(self.out)
    }

    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_text(text, self.out);
    }

    pub(super) fn hex(&mut self, name: &'static str, digits: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(digits);
        self.out.push(b'"');
    }

    pub(super) fn time(&mut self, name: &'static str, time_us: i64) {
        self.name(name);
        self.out.push(b'"');
        write_rfc3339(time_us, self.out);
        self.out.push(b'"');
    }

    pub(super) fn number(&mut self, name: &'static str, number: i64) {
        self.name(name);
        write_number(number, self.out);
    }

    pub(super) fn texts(&mut self, name: &'static str, texts: &[Cow<'_, str>]) {
        self.name(name);
        write_array(texts, self.out, |text, out| write_text(text, out));
    }

    /// `annotations` as an object and `annotation` as `key=value` words.
    pub(super) fn annotations(&mut self, annotations: &Annotations<'_>) {
        self.name("annotations");
        self.out.push(b'{');
        for (place, group) in annotations.by_key().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write_text(&group[0].key, self.out);
            self.out.push(b':');
            match group {
                [one] => write_value(&one.value, self.out),
                many => write_array(many, self.out, |pair, out| write_value(&pair.value, out)),
            }
        }
        self.out.push(b'}');
        self.name("annotation");
        self.out.push(b'[');
        for (place, pair) in annotations.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            self.out.push(b'"');
            write_escaped(&pair.key, self.out);
            self.out.push(b'=');
            write_escaped(&pair.value.to_text(), self.out);
            self.out.push(b'"');
        }
        self.out.push(b']');
    }
}

fn write_array<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn write_value(value: &AnnotationValue<'_>, out: &mut Vec<u8>) {
    match value {
        AnnotationValue::String(text) => write_text(text, out),
        AnnotationValue::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        AnnotationValue::Bool(value) => {
            out.extend_from_slice(if *value { b"true" } else { b"false" });
        }
    }
}

pub(crate) fn write_number(number: i64, out: &mut Vec<u8>) {
    // 19 digits and a sign at most.
    let mut text = [0; 20];
    let mut start = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        text[start] = b'-';
    }
    out.extend_from_slice(&text[start..]);
}

pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// RFC 8259 section 7, with the short forms where there are some.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Sixteen bytes at a time without a branch inside: the compiler makes
    // vector instructions of it. Most text has nothing to escape.
    loop {
        let clean = rest
            .chunks_exact(16)
            .take_while(|chunk| !chunk.iter().fold(false, |any, byte| any | escaped(*byte)))
            .count()
            * 16;
        let dirty = rest[clean..].iter().position(|byte| escaped(*byte));
        let Some(place) = dirty.map(|place| clean + place) else {
            out.extend_from_slice(rest);
            return;
        };
        out.extend_from_slice(&rest[..place]);
        write_escape(rest[place], out);
        rest = &rest[place + 1..];
    }
}

#[inline]
fn escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.push(b'\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_escaped_as_serde_json_does(text in "[a-z\u{0}-\u{1f}\"\\\\\u{7f}é日]{0,60}") {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn numbers_are_written_in_full(number: i64) {
            let mut out = Vec::new();
            write_number(number, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn the_lowest_number_is_written() {
        let mut out = Vec::new();
        write_number(i64::MIN, &mut out);
        assert_eq!(out, i64::MIN.to_string().as_bytes());
    }
}
