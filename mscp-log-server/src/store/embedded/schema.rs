//! The tantivy schema that every partition has, and handles to its fields.
//!
//! A field of [`FIELDS`] is a field of tantivy of the same name, but for
//! `event_id`, which is the document's `_id` and lies in two number columns
//! (see [`super::ids`]). How each type lies in it:
//!
//! | type | indexed | column |
//! |---|---|---|
//! | keyword | one term a value | strings |
//! | long, date (milliseconds) | not: ranges run over the column | `i64` |
//! | text | terms, frequencies, positions, norms | none |
//! | flattened | one term a leaf: `key`, a zero byte, `value` | strings, the same |
//!
//! Fields with several values have them all. Beside them: `_index` (keyword),
//! `_has_message` (a column of `true` where `message` is there, for `exists`),
//! `_id_high`, `_id_low`, `_id_text`, `_source`, stored only, and since format 2
//! the columns `_rest_pattern` and `_message_pattern` (see [`super::source`]).

use std::sync::LazyLock;

use mscp_log_core::field::{FIELDS, FieldType};
use tantivy::schema::{
    BytesOptions, FAST, Field, IndexRecordOption, NumericOptions, STORED, Schema,
    TextFieldIndexing, TextOptions,
};

/// The name of the tokenizer of `message`.
pub const STANDARD: &str = "standard";

/// The column of the index that a document lies in.
pub const INDEX: &str = "_index";
/// The stored source.
pub const SOURCE: &str = "_source";
/// A column that is `true` where a document has a `message`.
pub const HAS_MESSAGE: &str = "_has_message";
/// The first eight bytes of the id.
pub const ID_HIGH: &str = "_id_high";
/// The last eight bytes of the id.
pub const ID_LOW: &str = "_id_low";
/// The id where it is not 32 hex digits.
pub const ID_TEXT: &str = "_id_text";

/// The column of patterns of what the cuts leave of a source.
pub const REST_PATTERN: &str = "_rest_pattern";
/// The column of patterns of messages.
pub const MESSAGE_PATTERN: &str = "_message_pattern";

/// What stands between key and value in the terms of a flattened field.
pub const FLATTENED_SEPARATOR: char = '\0';

/// The longest keyword that is indexed, in bytes, as in Lucene.
pub const MAX_KEYWORD_BYTES: usize = 32_766;

/// Handles to the fields of the one schema.
#[derive(Clone, Debug)]
pub struct Fields {
    /// `_index`
    pub index: Field,
    /// `_source`
    pub source: Field,
    /// `_has_message`
    pub has_message: Field,
    /// `_id_high`
    pub id_high: Field,
    /// `_id_low`
    pub id_low: Field,
    /// `_id_text`
    pub id_text: Field,
    /// `None` in partitions of format 1.
    pub patterns: Option<PatternFields>,
    /// In the order of [`FIELDS`]; `None` for `event_id`.
    table: Vec<Option<Field>>,
}

/// Handles to the columns of patterns.
#[derive(Clone, Copy, Debug)]
pub struct PatternFields {
    /// `_rest_pattern`
    pub rest: Field,
    /// `_message_pattern`
    pub message: Field,
}

impl Fields {
    /// The handle of a field of [`FIELDS`], and its type. `None` for names that
    /// are not in the table and for `event_id`.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<(Field, FieldType)> {
        let place = place_of(name)?;
        self.table[place].map(|field| (field, FIELDS[place].1))
    }

    /// The handle at a place of [`FIELDS`].
    #[must_use]
    pub(super) fn at(&self, place: usize) -> Option<Field> {
        self.table[place]
    }
}

/// Where in [`FIELDS`] a name is.
pub(super) fn place_of(name: &str) -> Option<usize> {
    let candidates = PLACES[bucket_of(name)].iter();
    let mut places = candidates.map(|place| usize::from(*place));
    places.find(|place| FIELDS[*place].0 == name)
}

/// The places of the names in each bucket: every name of every document is
/// looked up, and most buckets hold one name or none.
static PLACES: LazyLock<[Vec<u8>; BUCKETS]> = LazyLock::new(|| {
    let mut places = [const { Vec::new() }; BUCKETS];
    for (place, (name, _)) in (0..).zip(FIELDS) {
        places[bucket_of(name)].push(place);
    }
    places
});

const BUCKETS: usize = 128;

fn bucket_of(name: &str) -> usize {
    let bytes = name.as_bytes();
    let at = |place: usize| bytes.get(place).copied().map_or(0, usize::from);
    let last = bytes.len().saturating_sub(1);
    (bytes.len() + 7 * at(0) + 31 * at(last) + 11 * at(2)) % BUCKETS
}

/// The schema of every new partition and the handles to its fields.
#[must_use]
pub fn schema() -> (Schema, Fields) {
    static NEW: LazyLock<(Schema, Fields)> = LazyLock::new(|| build(true));
    NEW.clone()
}

/// The schema of partitions of format 1: the same but for the last fields, so
/// that handles of the one are good for the other.
#[must_use]
pub(super) fn schema_of_format_1() -> (Schema, Fields) {
    build(false)
}

fn build(with_patterns: bool) -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let table = FIELDS
        .iter()
        .map(|(name, kind)| {
            if *name == "event_id" {
                return None;
            }
            Some(match kind {
                FieldType::Keyword | FieldType::Flattened => {
                    builder.add_text_field(name, keyword() | FAST)
                }
                FieldType::Long | FieldType::Date => builder.add_i64_field(name, column()),
                FieldType::Text => builder.add_text_field(name, text()),
            })
        })
        .collect();
    let mut fields = Fields {
        index: builder.add_text_field(INDEX, keyword() | FAST),
        source: builder.add_bytes_field(SOURCE, BytesOptions::from(STORED)),
        has_message: builder.add_bool_field(HAS_MESSAGE, column()),
        id_high: builder.add_u64_field(ID_HIGH, column()),
        id_low: builder.add_u64_field(ID_LOW, column()),
        id_text: builder.add_text_field(ID_TEXT, keyword() | FAST),
        patterns: None,
        table,
    };
    if with_patterns {
        let column = || BytesOptions::default().set_fast();
        fields.patterns = Some(PatternFields {
            rest: builder.add_bytes_field(REST_PATTERN, column()),
            message: builder.add_bytes_field(MESSAGE_PATTERN, column()),
        });
    }
    (builder.build(), fields)
}

fn keyword() -> TextOptions {
    TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic),
    )
}

fn text() -> TextOptions {
    TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer(STANDARD)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions),
    )
}

fn column() -> NumericOptions {
    NumericOptions::default().set_fast()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_field_but_event_id_has_a_handle_of_its_name() {
        let (schema, fields) = schema();
        for (name, kind) in FIELDS {
            assert_eq!(place_of(name).map(|place| FIELDS[place].0), Some(*name));
            match fields.of(name) {
                Some((field, found)) => {
                    assert_eq!(schema.get_field_name(field), *name);
                    assert_eq!(found, *kind);
                }
                None => assert_eq!(*name, "event_id"),
            }
        }
        assert!(fields.of("nothing").is_none());
    }
}
