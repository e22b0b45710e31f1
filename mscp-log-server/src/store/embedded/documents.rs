//! A document's JSON into what tantivy indexes, or the error that
//! Elasticsearch gives for it.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use mscp_log_core::field::{FIELDS, FieldType};
use mscp_log_core::template::IGNORE_ABOVE;
use tantivy::TantivyDocument;
use tantivy::schema::Field;

use super::dates;
use super::ids::DocumentId;
use super::json::Json;
use super::patterns::Lately;
use super::schema::{FLATTENED_SEPARATOR, Fields, MAX_KEYWORD_BYTES, place_of};
use super::source::{Cut, Kind, Source};

/// The tag of a document whose time is only when it was received.
const TIME_OF_RECEIPT: &str = "_timeofreceipt";

/// Bytes of a value that an error shows.
const PREVIEW_BYTES: usize = 100;

/// What is indexed of a document, and its source, whose stored form depends on
/// what came lately into the same partition.
#[derive(Debug)]
pub(super) struct Document {
    indexed: TantivyDocument,
    source: Source,
}

impl Document {
    /// Put it into an index.
    pub(super) fn set_index(&mut self, fields: &Fields, index: &str) {
        self.indexed.add_text(fields.index, index);
    }

    /// Its source.
    pub(super) fn text(&self) -> &[u8] {
        self.source.text()
    }

    /// As the partition that `fields` are of takes it.
    pub(super) fn finish(mut self, fields: &Fields, lately: &mut Lately) -> TantivyDocument {
        let Some(columns) = fields.patterns else {
            let whole = self.source.whole();
            self.indexed.add_bytes(fields.source, &whole);
            return self.indexed;
        };
        let stored = self.source.stored(lately);
        self.indexed.add_bytes(fields.source, &stored.bytes);
        if let Some(pattern) = &stored.rest_pattern {
            self.indexed.add_bytes(columns.rest, pattern);
        }
        if let Some(pattern) = &stored.message_pattern {
            self.indexed.add_bytes(columns.message, pattern);
        }
        self.indexed
    }
}

/// A document that is ready to be indexed, but for its `_index`.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: DocumentId,
    pub(super) document: Document,
    /// `index`, the index name without its date.
    pub(super) index: Option<String>,
    /// `@timestamp`, in milliseconds.
    pub(super) timestamp_ms: Option<i64>,
    /// It came without a time, so that a repetition may lie in another day.
    pub(super) time_of_receipt: bool,
}

/// Why a document cannot be indexed: its own fault, which no retry heals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct DocumentError {
    pub(super) reason: String,
    /// Type and reason of what lies below.
    pub(super) cause: Option<(&'static str, String)>,
}

impl DocumentError {
    /// The `error` of an item of `_bulk`, as Elasticsearch of this major
    /// version calls it.
    pub(super) fn body(&self, major: u16) -> serde_json::Value {
        let kind = if major < 8 {
            "mapper_parsing_exception"
        } else {
            "document_parsing_exception"
        };
        let mut body = serde_json::json!({
            "type": kind,
            "reason": self.reason,
        });
        if let Some((kind, reason)) = &self.cause {
            body["caused_by"] = serde_json::json!({"type": kind, "reason": reason});
        }
        body
    }

    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            cause: None,
        }
    }

    /// A field that a stored document must have.
    pub(super) fn missing(field: &str) -> Self {
        Self::new(format!("field [{field}] is missing"))
    }

    fn of_value(path: &str, kind: FieldType, value: &Json<'_>, why: String) -> Self {
        let mut preview = value.to_string();
        let end = preview.floor_char_boundary(PREVIEW_BYTES);
        preview.truncate(end);
        let kind = match kind {
            FieldType::Date => "date",
            FieldType::Long => "long",
            FieldType::Keyword => "keyword",
            FieldType::Text => "text",
            FieldType::Flattened => "flattened",
        };
        Self {
            reason: format!(
                "failed to parse field [{path}] of type [{kind}]. Preview of field's value: '{preview}'"
            ),
            cause: Some(("illegal_argument_exception", why)),
        }
    }
}

/// What a document's `_id` is.
#[derive(Clone, Debug)]
pub(super) enum Id {
    /// What the request says; an `event_id` must be the same.
    Given(DocumentId),
    /// Its `event_id`.
    Own,
    /// Its `event_id`, and this one where it has none.
    OwnOr(DocumentId),
}

/// Read one document.
pub(super) fn prepare(source: &[u8], fields: &Fields, id: Id) -> Result<Prepared, DocumentError> {
    // Checked as a whole, which is quicker than text by text.
    let json: Result<Json<'_>, _> = match std::str::from_utf8(source) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(source),
    };
    let json = json.map_err(|error| DocumentError {
        reason: "failed to parse".to_owned(),
        cause: Some(("x_content_parse_exception", error.to_string())),
    })?;
    let Json::Object(members) = json else {
        return Err(DocumentError::new(
            "failed to parse: a document is a JSON object",
        ));
    };
    let mut reader = Reader {
        fields,
        // About what a line of a container takes with its patterns.
        document: TantivyDocument::with_capacity(source.len() + 512),
        seen: 0,
        values: [0; FIELDS.len()],
        cuts: Vec::with_capacity(FIELDS.len()),
        message: None,
        source,
        event_id: None,
        index: None,
        timestamp: None,
        timestamp_ms: None,
        realtime_us: None,
        ingest_us: None,
        time_of_receipt: false,
    };
    for (name, value) in &members {
        reader.member(name, value)?;
    }
    reader.finish(id)
}

struct Reader<'a> {
    fields: &'a Fields,
    document: TantivyDocument,
    /// A bit for each place of `FIELDS` that was written at the top.
    seen: u64,
    /// How many values each field has, up to 255.
    values: [u8; FIELDS.len()],
    /// Values that stand in a column too, if they are the only ones of their field.
    cuts: Vec<Cut>,
    /// The message, where it was borrowed from the source.
    message: Option<Cut>,
    source: &'a [u8],
    event_id: Option<&'a str>,
    index: Option<&'a str>,
    timestamp: Option<&'a str>,
    timestamp_ms: Option<i64>,
    realtime_us: Option<i64>,
    ingest_us: Option<i64>,
    time_of_receipt: bool,
}

impl<'a> Reader<'a> {
    fn member(&mut self, name: &'a str, value: &'a Json<'a>) -> Result<(), DocumentError> {
        if let Some(place) = place_of(name) {
            if self.seen & (1 << place) != 0 {
                return Err(DocumentError {
                    reason: "failed to parse".to_owned(),
                    cause: Some((
                        "x_content_parse_exception",
                        format!("Duplicate field '{name}'"),
                    )),
                });
            }
            self.seen |= 1 << place;
            return self.field(place, value);
        }
        self.unlisted(name, value)
    }

    /// A name that is no field: the beginning of one (`log`), a leaf of a
    /// flattened one (`annotations.user`), or something that only the source keeps.
    fn unlisted(&mut self, path: &str, value: &'a Json<'a>) -> Result<(), DocumentError> {
        if let Some((root, key)) = path.split_once('.')
            && let Some(place) = place_of(root)
            && FIELDS[place].1 == FieldType::Flattened
            && let Some(field) = self.fields.at(place)
        {
            self.flattened(field, &mut key.to_owned(), value);
            return Ok(());
        }
        if !begins_a_field(path) {
            return Ok(());
        }
        match value {
            Json::Object(members) => {
                for (name, value) in members {
                    let below = format!("{path}.{name}");
                    match place_of(&below) {
                        Some(place) => self.field(place, value)?,
                        None => self.unlisted(&below, value)?,
                    }
                }
                Ok(())
            }
            Json::Array(items) => items.iter().try_for_each(|item| self.unlisted(path, item)),
            Json::Null => Ok(()),
            _ => Err(DocumentError::new(format!(
                "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
            ))),
        }
    }

    fn field(&mut self, place: usize, value: &'a Json<'a>) -> Result<(), DocumentError> {
        let (name, kind) = FIELDS[place];
        match (kind, value) {
            (_, Json::Null) => Ok(()),
            (FieldType::Long, Json::Text(text)) if text.is_empty() => Ok(()),
            (FieldType::Flattened, Json::Object(members)) => {
                if let Some(field) = self.fields.at(place) {
                    for (key, value) in members {
                        self.flattened(field, &mut key.to_string(), value);
                    }
                }
                Ok(())
            }
            (_, Json::Array(items)) => items.iter().try_for_each(|item| self.field(place, item)),
            (FieldType::Keyword | FieldType::Text, value) => {
                let text = value.to_text().ok_or_else(|| {
                    let why = "Expected text but found [START_OBJECT]".to_owned();
                    DocumentError::of_value(name, kind, value, why)
                })?;
                self.text(place, value, &text);
                Ok(())
            }
            (FieldType::Long, value) => {
                let number =
                    long(value).map_err(|why| DocumentError::of_value(name, kind, value, why))?;
                match name {
                    "realtime_us" => self.realtime_us = Some(number),
                    "ingest_us" => self.ingest_us = Some(number),
                    _ => {}
                }
                self.values[place] = self.values[place].saturating_add(1);
                if let Some(field) = self.fields.at(place) {
                    self.document.add_i64(field, number);
                }
                Ok(())
            }
            (FieldType::Date, value) => {
                let ms =
                    date(value).map_err(|why| DocumentError::of_value(name, kind, value, why))?;
                if name == "@timestamp" {
                    self.timestamp_ms = Some(ms);
                    if let Json::Text(text) = value {
                        self.timestamp = Some(text);
                    }
                }
                if let Some(field) = self.fields.at(place) {
                    self.document.add_i64(field, ms);
                }
                Ok(())
            }
            (FieldType::Flattened, value) => {
                let why = "Expected an object".to_owned();
                Err(DocumentError::of_value(name, kind, value, why))
            }
        }
    }

    fn text(&mut self, place: usize, value: &'a Json<'a>, text: &str) {
        match (FIELDS[place].0, value) {
            ("event_id", Json::Text(text)) => self.event_id = Some(text),
            ("index", Json::Text(text)) => self.index = Some(text),
            ("tags", _) if text == TIME_OF_RECEIPT => self.time_of_receipt = true,
            ("message", value) => {
                self.document.add_bool(self.fields.has_message, true);
                if let Json::Text(Cow::Borrowed(written)) = value {
                    self.message = place_in(self.source, written).map(|start| Cut {
                        kind: Kind::Message,
                        start,
                        length: written.len(),
                    });
                }
            }
            _ => {}
        }
        let Some(field) = self.fields.at(place) else {
            return;
        };
        if FIELDS[place].1 == FieldType::Text {
            self.document.add_text(field, text);
        } else if is_indexed(text) {
            self.document.add_text(field, text);
            self.values[place] = self.values[place].saturating_add(1);
            if let Json::Text(written) = value
                && let Some(start) = place_in(self.source, written)
            {
                let (kind, length) = (Kind::Field(place), written.len());
                self.cuts.push(Cut {
                    kind,
                    start,
                    length,
                });
            }
        }
    }

    fn flattened(&mut self, field: Field, path: &mut String, value: &Json<'_>) {
        match value {
            Json::Null => {}
            Json::Array(items) => {
                for item in items {
                    self.flattened(field, path, item);
                }
            }
            Json::Object(members) => {
                let end = path.len();
                for (key, value) in members {
                    path.push('.');
                    path.push_str(key);
                    self.flattened(field, path, value);
                    path.truncate(end);
                }
            }
            scalar => {
                let Some(text) = scalar.to_text() else { return };
                let term = format!("{path}{FLATTENED_SEPARATOR}{text}");
                if is_indexed(&text) && term.len() <= MAX_KEYWORD_BYTES {
                    self.document.add_text(field, term);
                }
            }
        }
    }

    /// What need not be stored with the source, as the columns have it.
    fn cuts(&mut self, id: &DocumentId) -> Vec<Cut> {
        let mut cuts = std::mem::take(&mut self.cuts);
        let alone = |place: usize| self.values[place] == 1;
        cuts.retain(|cut| match cut.kind {
            Kind::Field(place) => alone(place),
            Kind::Id | Kind::Time | Kind::Message => true,
        });
        let whole = |kind, text: &str| {
            let start = place_in(self.source, text)?;
            let length = text.len();
            Some(Cut {
                kind,
                start,
                length,
            })
        };
        if let Some(text) = self.event_id
            && id.text().is_none()
        {
            cuts.extend(whole(Kind::Id, text));
        }
        for (name, finder) in CUT_NUMBERS.into_iter().zip(&*NAMES_OF_NUMBERS) {
            let Some(place) = place_of(name).filter(|place| alone(*place)) else {
                continue;
            };
            let number = match name {
                "realtime_us" => self.realtime_us,
                _ => self.ingest_us,
            };
            cuts.extend(
                number.and_then(|number| cut_of_number(self.source, finder, place, number)),
            );
        }
        if let (Some(text), Some(us)) = (self.timestamp, self.realtime_us)
            && place_of("realtime_us").is_some_and(alone)
            && dates::is_written(text, us)
        {
            cuts.extend(whole(Kind::Time, text));
        }
        cuts.extend(self.message.or_else(|| cut_of_message(self.source)));
        cuts
    }

    fn finish(mut self, id: Id) -> Result<Prepared, DocumentError> {
        let own = self.event_id.map(DocumentId::new);
        let id = match (id, own) {
            (Id::Given(id), Some(own)) if id != own => {
                return Err(DocumentError::new(format!(
                    "field [event_id] is the document's _id: expected '{id}', found '{own}'"
                )));
            }
            (Id::Given(id), _) | (Id::Own | Id::OwnOr(_), Some(id)) | (Id::OwnOr(id), None) => id,
            (Id::Own, None) => return Err(DocumentError::missing("event_id")),
        };
        let cuts = self.cuts(&id);
        self.document.add_u64(self.fields.id_high, id.high());
        self.document.add_u64(self.fields.id_low, id.low());
        if let Some(text) = id.text() {
            self.document.add_text(self.fields.id_text, text);
        }
        Ok(Prepared {
            id,
            document: Document {
                indexed: self.document,
                source: Source::new(self.source, cuts),
            },
            index: self.index.map(str::to_owned),
            timestamp_ms: self.timestamp_ms,
            time_of_receipt: self.time_of_receipt,
        })
    }
}

/// Whether a keyword is not too long to be indexed, as the mapping says.
pub(super) fn is_indexed(text: &str) -> bool {
    text.len() <= IGNORE_ABOVE || text.encode_utf16().count() <= IGNORE_ABOVE
}

static NAMES_OF_NUMBERS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| CUT_NUMBERS.map(|name| Finder::new(&format!("\"{name}\":")).into_owned()));

/// The longest text of an `i64`.
const MAX_NUMBER: usize = 20;

/// Numbers that are long and nearly all different.
const CUT_NUMBERS: [&str; 2] = ["realtime_us", "ingest_us"];

/// Whether there are fields below `path`.
fn begins_a_field(path: &str) -> bool {
    FIELDS.iter().any(|(name, _)| {
        name.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// Where in `source` a text lies; `None` where it was not borrowed from it.
fn place_in(source: &[u8], text: &str) -> Option<usize> {
    let place = (text.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    (source.get(place..place + text.len())? == text.as_bytes()).then_some(place)
}

/// Where a number stands in `source`. Any place with this text will do: what is
/// put back there is the same text.
fn cut_of_number(source: &[u8], name: &Finder<'_>, place: usize, number: i64) -> Option<Cut> {
    let mut text = [0; MAX_NUMBER];
    let text = {
        let mut rest = &mut text[..];
        write!(rest, "{number}").ok()?;
        let left = rest.len();
        &text[..MAX_NUMBER - left]
    };
    let start = name.find(source)? + name.needle().len();
    let end = start + text.len();
    let same = source.get(start..end)? == text && matches!(source.get(end), Some(b',' | b'}'));
    let (kind, length) = (Kind::Field(place), text.len());
    same.then_some(Cut {
        kind,
        start,
        length,
    })
}

/// The text of the message as it stands in `source`, with its escapes. Any
/// other place that looks like it will do, as nothing is read from it.
fn cut_of_message(source: &[u8]) -> Option<Cut> {
    const NAME: &[u8] = b"\"message\"";
    let behind_name = memchr::memmem::find(source, NAME)? + NAME.len();
    let value = source[behind_name..]
        .trim_ascii_start()
        .strip_prefix(b":")?;
    let text = value.trim_ascii_start().strip_prefix(b"\"")?;
    let start = source.len() - text.len();
    let mut end = start;
    loop {
        end += memchr::memchr2(b'"', b'\\', source.get(end..)?)?;
        if source[end] == b'"' {
            break;
        }
        end += 2;
    }
    let (kind, length) = (Kind::Message, end - start);
    Some(Cut {
        kind,
        start,
        length,
    })
}

/// A number as a `long` takes it: decimals are cut off, text is read.
fn long(value: &Json<'_>) -> Result<i64, String> {
    match value {
        Json::Signed(number) => Ok(*number),
        Json::Unsigned(number) => Err(format!("Value [{number}] is out of range for a long")),
        Json::Float(number) => long_of_float(*number),
        Json::Text(text) => {
            if let Ok(number) = text.parse() {
                return Ok(number);
            }
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => long_of_float(number),
                _ => Err(format!("For input string: \"{text}\"")),
            }
        }
        other => Err(format!("Current token ({other}) not numeric")),
    }
}

fn long_of_float(number: f64) -> Result<i64, String> {
    // 2^63 is the first number beyond; both bounds are exact as floats.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        Ok(number as i64)
    } else {
        Err(format!("Value [{number}] is out of range for a long"))
    }
}

/// Times beyond are no milliseconds of any year.
const MAX_MS: f64 = 1e17;

/// A date in milliseconds: a number of them, or text as
/// `strict_date_optional_time||epoch_millis` has it.
fn date(value: &Json<'_>) -> Result<i64, String> {
    match value {
        Json::Signed(ms) => Ok(*ms),
        Json::Float(ms) if ms.abs() < MAX_MS => Ok(ms.floor() as i64),
        Json::Text(text) => dates::parse(text).ok_or_else(|| {
            format!(
                "failed to parse date field [{text}] with format [strict_date_optional_time||epoch_millis]"
            )
        }),
        other => Err(format!(
            "failed to parse date field [{other}] with format [strict_date_optional_time||epoch_millis]"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::schema::schema;
    use super::*;

    #[track_caller]
    fn refused(source: &str, expect: &str) {
        let (_, fields) = schema();
        let id = Id::Given(DocumentId::new("a"));
        let error = prepare(source.as_bytes(), &fields, id).unwrap_err();
        assert!(error.body(8).to_string().contains(expect), "{error:?}");
    }

    #[test]
    fn what_does_not_fit_its_field_is_refused_by_name() {
        refused(r#"{"seq": "x"}"#, "[seq] of type [long]");
        refused(r#"{"seq": true}"#, "[seq] of type [long]");
        refused(r#"{"seq": 9223372036854775808}"#, "out of range");
        refused(r#"{"seq": 1e300}"#, "out of range");
        refused(
            r#"{"@timestamp": "yesterday"}"#,
            "[@timestamp] of type [date]",
        );
        refused(r#"{"@timestamp": 1e300}"#, "[@timestamp] of type [date]");
        refused(r#"{"level": {"a": 1}}"#, "[level] of type [keyword]");
        refused(r#"{"message": {"a": 1}}"#, "[message] of type [text]");
        refused(
            r#"{"annotations": "x"}"#,
            "[annotations] of type [flattened]",
        );
        refused(r#"{"log": "x"}"#, "object mapping for [log]");
        refused(r#"{"log": {"offset": "x"}}"#, "[log.offset] of type [long]");
        refused(r#"{"level": "a", "level": "b"}"#, "Duplicate field 'level'");
        refused(r#"{"event_id": "b"}"#, "event_id");
        refused("[]", "JSON object");
        refused("{", "x_content_parse_exception");
    }

    #[test]
    fn numbers_and_dates_are_read_as_leniently_as_elasticsearch_does() {
        assert_eq!(long(&Json::Text("12".into())), Ok(12));
        assert_eq!(long(&Json::Text("12.7".into())), Ok(12));
        assert_eq!(long(&Json::Float(-3.9)), Ok(-3));
        assert_eq!(date(&Json::Signed(5)), Ok(5));
        assert_eq!(date(&Json::Float(5.5)), Ok(5));
        assert_eq!(date(&Json::Text("1970-01-01".into())), Ok(0));
    }
}
