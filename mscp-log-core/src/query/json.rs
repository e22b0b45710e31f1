//! JSON as a search is written in it: numbers keep their text and objects
//! their order, a repeated name is an error, and depth is bounded.

use super::ast::{Number, Scalar};
use super::error::QueryError;

/// How deep arrays and objects may nest. Thirty `bool` within each other, the
/// most that Elasticsearch takes, are ninety.
const MAX_DEPTH: usize = 120;

/// A value and the byte at which it begins.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

pub(super) type Result<T> = std::result::Result<T, QueryError>;

impl Value {
    pub(super) fn error(&self, reason: impl Into<String>) -> QueryError {
        QueryError::parsing(reason).at(self.at)
    }

    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "VALUE_NULL",
            Kind::Bool(_) => "VALUE_BOOLEAN",
            Kind::Number(_) => "VALUE_NUMBER",
            Kind::String(_) => "VALUE_STRING",
            Kind::Array(_) => "START_ARRAY",
            Kind::Object(_) => "START_OBJECT",
        }
    }

    /// An error that says that `what` cannot be this kind of value.
    pub(super) fn unexpected(&self, what: &str) -> QueryError {
        self.error(format!(
            "Unknown key for a {} in [{what}].",
            self.kind_name()
        ))
    }

    pub(super) fn object(self, what: &str) -> Result<Vec<(String, Value)>> {
        match self.kind {
            Kind::Object(entries) => Ok(entries),
            _ => Err(self.unexpected(what)),
        }
    }

    /// An array, or one value as an array of one.
    pub(super) fn list(self) -> Vec<Value> {
        match self.kind {
            Kind::Array(values) => values,
            _ => vec![self],
        }
    }

    pub(super) fn array(self, what: &str) -> Result<Vec<Value>> {
        match self.kind {
            Kind::Array(values) => Ok(values),
            _ => Err(self.unexpected(what)),
        }
    }

    pub(super) fn scalar(self, what: &str) -> Result<Scalar> {
        match self.kind {
            Kind::Null => Ok(Scalar::Null),
            Kind::Bool(value) => Ok(Scalar::Bool(value)),
            Kind::Number(text) => Ok(Scalar::Number(Number(text))),
            Kind::String(text) => Ok(Scalar::String(text)),
            Kind::Array(_) | Kind::Object(_) => Err(self.unexpected(what)),
        }
    }

    /// Like [`Self::scalar`], where `null` says that nothing was written.
    pub(super) fn optional_scalar(self, what: &str) -> Result<Option<Scalar>> {
        match self.scalar(what)? {
            Scalar::Null => Ok(None),
            scalar => Ok(Some(scalar)),
        }
    }

    /// A text; numbers and booleans are taken as they are written.
    pub(super) fn text(self, what: &str) -> Result<String> {
        match self.kind {
            Kind::String(text) | Kind::Number(text) => Ok(text),
            Kind::Bool(value) => Ok(value.to_string()),
            _ => Err(self.unexpected(what)),
        }
    }

    /// A text, where a number is none.
    pub(super) fn string(self, what: &str) -> Result<String> {
        match self.kind {
            Kind::String(text) => Ok(text),
            _ => {
                let kind = self.kind_name();
                let reason = format!("{what} doesn't support values of type: {kind}");
                Err(QueryError::x_content(reason).at(self.at))
            }
        }
    }

    /// As [`Self::texts`], where a number is no text.
    pub(super) fn strings(self, what: &str) -> Result<Vec<String>> {
        let wrong = |value: &Self| !matches!(value.kind, Kind::String(_) | Kind::Array(_));
        if wrong(&self) {
            return Err(self.error(format!(
                "Expected [VALUE_STRING] or [START_ARRAY] in [{what}] but found [{}]",
                self.kind_name()
            )));
        }
        self.texts(what)
    }

    /// One text or an array of them.
    pub(super) fn texts(self, what: &str) -> Result<Vec<String>> {
        self.list()
            .into_iter()
            .map(|value| value.text(what))
            .collect()
    }

    /// As [`Self::boolean`], of a search itself: there what is no value is out of
    /// place.
    pub(super) fn flag(self, what: &str) -> Result<bool> {
        match self.kind {
            Kind::Null | Kind::Array(_) | Kind::Object(_) => Err(self.unexpected(what)),
            _ => self.boolean(what),
        }
    }

    /// `true` and `false`, also as strings.
    pub(super) fn boolean(self, what: &str) -> Result<bool> {
        match &self.kind {
            Kind::Bool(value) => Ok(*value),
            Kind::String(text) if text == "true" => Ok(true),
            Kind::String(text) if text == "false" || text.is_empty() => Ok(false),
            Kind::String(text) => Err(QueryError::argument(format!(
                "Failed to parse value [{text}] for [{what}] as only [true] or [false] are allowed."
            ))
            .at(self.at)),
            _ => Err(QueryError::x_content(format!(
                "Current token ({}) of [{what}] not of boolean type",
                self.kind_name()
            ))
            .at(self.at)),
        }
    }

    /// A whole number from 0 on, also as a string.
    pub(super) fn unsigned(self, what: &str) -> Result<u64> {
        if let Kind::String(text) = &self.kind
            && !is_number(text)
        {
            return Err(self.no_number(text));
        }
        match &self.kind {
            Kind::Number(text) | Kind::String(text) => text
                .parse()
                .ok()
                .filter(|number| *number <= i64::MAX as u64),
            _ => None,
        }
        .ok_or_else(|| {
            self.error(format!(
                "[{what}] must be a whole number that is not negative"
            ))
        })
    }

    /// A whole number, also as a string; of a fraction its whole part, as
    /// Elasticsearch reads one.
    pub(super) fn whole(self, what: &str) -> Result<i64> {
        let (Kind::Number(text) | Kind::String(text)) = &self.kind else {
            return Err(self.unexpected(what));
        };
        if let Ok(number) = text.parse() {
            return Ok(number);
        }
        match text.parse::<f64>() {
            Ok(number) if is_number(text) && number.abs() < i64::MAX as f64 => Ok(number as i64),
            _ => Err(self.no_number(text)),
        }
    }

    /// A number as it was written, also as a string, and not an error of the
    /// grammar where it is none.
    pub(super) fn float(self, what: &str) -> Result<Number> {
        match &self.kind {
            Kind::String(text) if !is_number(text) => Err(self.no_number(text)),
            _ => self.number(what),
        }
    }

    fn no_number(&self, text: &str) -> QueryError {
        let reason = format!("For input string: \"{text}\"");
        QueryError::of_kind("number_format_exception", reason).at(self.at)
    }

    /// A number as it was written, also as a string.
    pub(super) fn number(self, what: &str) -> Result<Number> {
        match &self.kind {
            Kind::Number(text) => Ok(Number(text.clone())),
            Kind::String(text) if is_number(text) => Ok(Number(text.clone())),
            _ => Err(self.error(format!("[{what}] must be a number"))),
        }
    }
}

/// Whether a text is a number of JSON.
pub(super) fn is_number(text: &str) -> bool {
    let mut parser = Parser {
        body: text,
        bytes: text.as_bytes(),
        place: 0,
    };
    parser.number().is_ok() && parser.place == text.len()
}

/// Read one value; nothing may stand behind it.
pub(super) fn parse(body: &[u8]) -> Result<Value> {
    let body = std::str::from_utf8(body).map_err(|error| {
        QueryError::of_kind(
            "x_content_parse_exception",
            format!("Invalid UTF-8 at byte {}", error.valid_up_to()),
        )
    })?;
    let mut parser = Parser {
        body,
        bytes: body.as_bytes(),
        place: 0,
    };
    let value = parser.value(0).map_err(|error| error.locate(body))?;
    parser.space();
    if parser.place < body.len() {
        return Err(parser.error("unexpected text behind the body").locate(body));
    }
    Ok(value)
}

struct Parser<'a> {
    body: &'a str,
    bytes: &'a [u8],
    place: usize,
}

impl Parser<'_> {
    fn error(&self, reason: impl Into<String>) -> QueryError {
        QueryError::of_kind("x_content_parse_exception", reason).at(self.place)
    }

    /// The body ended where more was expected. Behind a comma it is no end that
    /// could be one.
    fn ended(&self) -> QueryError {
        if self.body.trim_end().ends_with(',') {
            return self.error("Unexpected end-of-input within/between entries");
        }
        QueryError::of_kind("x_content_e_o_f_exception", "Unexpected end of file").at(self.place)
    }

    fn space(&mut self) {
        while matches!(
            self.bytes.get(self.place),
            Some(b' ' | b'\t' | b'\n' | b'\r')
        ) {
            self.place += 1;
        }
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if !self.bytes[self.place..].starts_with(word.as_bytes()) {
            return Err(self.error(format!("Unrecognized token, was expecting [{word}]")));
        }
        self.place += word.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        self.space();
        let at = self.place;
        let kind = match self.bytes.get(self.place) {
            None => return Err(self.ended()),
            Some(b'n') => self.expect("null").map(|()| Kind::Null)?,
            Some(b't') => self.expect("true").map(|()| Kind::Bool(true))?,
            Some(b'f') => self.expect("false").map(|()| Kind::Bool(false))?,
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number(self.body[at..self.place].to_owned())
            }
            Some(b'[' | b'{') if depth == MAX_DEPTH => {
                return Err(self.error(format!(
                    "Depth of the body exceeds the maximum allowed ({MAX_DEPTH})"
                )));
            }
            Some(b'[') => Kind::Array(self.array(depth)?),
            Some(b'{') => Kind::Object(self.object(depth)?),
            Some(_) => return Err(self.error("Unexpected character, expected a JSON value")),
        };
        Ok(Value { at, kind })
    }

    /// Whether the closing sign follows; otherwise a comma must, unless nothing came before.
    fn closes(&mut self, sign: u8, first: bool) -> Result<bool> {
        self.space();
        match self.bytes.get(self.place) {
            Some(byte) if *byte == sign => {
                self.place += 1;
                Ok(true)
            }
            Some(b',') if !first => {
                self.place += 1;
                Ok(false)
            }
            Some(_) if first => Ok(false),
            Some(_) => {
                Err(self.error("Unexpected character, was expecting comma to separate entries"))
            }
            None => Err(self.ended()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>> {
        self.place += 1;
        let mut values = Vec::new();
        while !self.closes(b']', values.is_empty())? {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn object(&mut self, depth: usize) -> Result<Vec<(String, Value)>> {
        self.place += 1;
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while !self.closes(b'}', entries.is_empty())? {
            self.space();
            if self.place == self.bytes.len() {
                return Err(self.ended());
            }
            if self.bytes.get(self.place) != Some(&b'"') {
                return Err(self.error(
                    "Unexpected character, was expecting double-quote to start field name",
                ));
            }
            let start = self.place;
            let name = self.string().map_err(|error| {
                // Only of the first name is it the end of the body that is said.
                if start <= 1 && self.place == self.bytes.len() {
                    self.ended()
                } else {
                    error
                }
            })?;
            if !names.insert(name.clone()) {
                self.place = start;
                return Err(self.error(format!("Duplicate field '{name}'")));
            }
            self.space();
            self.expect(":")?;
            let value = self.value(depth + 1)?;
            entries.push((name, value));
        }
        Ok(entries)
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.place;
        while matches!(self.bytes.get(self.place), Some(b'0'..=b'9')) {
            self.place += 1;
        }
        if self.place == start {
            return Err(self.error("Unexpected character, expected a digit"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let start = self.place;
        if self.bytes.get(self.place) == Some(&b'-') {
            self.place += 1;
        }
        if self.bytes.get(self.place) == Some(&b'0') {
            self.place += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.place) == Some(&b'.') {
            self.place += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.place), Some(b'e' | b'E')) {
            self.place += 1;
            if matches!(self.bytes.get(self.place), Some(b'+' | b'-')) {
                self.place += 1;
            }
            self.digits()?;
        }
        if self.place - start > 1_000 {
            return Err(self.error("Number value length exceeds the maximum allowed (1000)"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String> {
        self.place += 1;
        let mut text = String::new();
        loop {
            let start = self.place;
            while !matches!(
                self.bytes.get(self.place),
                None | Some(b'"' | b'\\' | 0..=0x1F)
            ) {
                self.place += 1;
            }
            text.push_str(&self.body[start..self.place]);
            match self.bytes.get(self.place) {
                Some(b'"') => {
                    self.place += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.place += 1;
                    let character = self.escaped()?;
                    text.push(character);
                }
                Some(_) => return Err(self.error("Illegal unquoted control character in a string")),
                None => return Err(self.error("Unexpected end-of-input in a string")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char> {
        let byte = self.bytes.get(self.place).copied();
        self.place += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit()?;
                let mut code = u32::from(first);
                if (0xD800..0xDC00).contains(&first) && self.bytes[self.place..].starts_with(b"\\u")
                {
                    self.place += 2;
                    let second = self.unit()?;
                    if !(0xDC00..0xE000).contains(&second) {
                        return Err(self.error("Incomplete surrogate pair"));
                    }
                    code = 0x10000 + ((code - 0xD800) << 10) + (u32::from(second) - 0xDC00);
                }
                char::from_u32(code).ok_or_else(|| self.error("Incomplete surrogate pair"))?
            }
            _ => return Err(self.error("Unrecognized character escape")),
        })
    }

    fn unit(&mut self) -> Result<u16> {
        let digits = self.body.get(self.place..self.place + 4);
        let unit = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .ok_or_else(|| {
                self.error(
                    "Unexpected character, expected a hex-digit for character escape sequence",
                )
            })?;
        self.place += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    /// The same value as `serde_json` has it, to compare.
    fn plain(value: &Value) -> serde_json::Value {
        match &value.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Number(text) => serde_json::from_str(text).unwrap(),
            Kind::String(text) => text.clone().into(),
            Kind::Array(values) => values.iter().map(plain).collect(),
            Kind::Object(entries) => entries
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(
            body in "[\\[\\]{}\",:0-9a-u\\\\ .eE+-]{0,24}|\\{(\"[ab\\\\n]{0,3}\": ?(1|-0\\.5e3|null|\"\\\\ud83d\\\\ude00\"|\\[true,false\\]),?){0,4}\\}",
        ) {
            match (parse(body.as_bytes()), serde_json::from_str::<serde_json::Value>(&body)) {
                (Ok(value), Ok(expected)) => prop_assert_eq!(plain(&value), expected),
                (Err(error), Ok(_)) => prop_assert!(error.reason.starts_with("Duplicate field"), "{} {}", body, error),
                // `1e999` has a text and no value.
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{} {}", body, error),
                (Err(_), Err(_)) => {}
            }
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_that_says_where() {
        let error = parse(b"{\n  \"a\": 1,\n  \"a\": 2}").unwrap_err();
        assert_eq!((error.line, error.col), (Some(3), Some(3)));
        for body in [
            &b""[..],
            b"{",
            b"[1,]",
            b"{\"a\":1,}",
            b"01",
            b"1.",
            b"\"\x01\"",
            b"\"\\ud800\"",
            b"nul",
            b"{} {}",
            b"\xFF",
        ] {
            assert!(parse(body).is_err(), "{body:?}");
        }
        assert!(parse(&[b'['; 100_000]).is_err());
    }
}
