//! A document's `_id`: 16 bytes in two columns.
//!
//! An `event_id` is 32 lower-case hex digits, that is 16 bytes. A term for
//! each document would cost more than all columns together, so ids have none:
//! they are compared in two number columns, and the few look-ups by id read
//! those from one end to the other. Any other id (a client may name a document
//! as it likes) is kept as text beside the first 16 bytes of its SHA-256.
//!
//! `event_id` is the same field by another name: a document whose `event_id`
//! differs from its `_id` is refused.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tantivy::columnar::{Column, StrColumn};
use tantivy::query::Query;
use tantivy::query::doc_predicate_query::{DocPredicateQuery, FunctionPredicate};
use tantivy::{DocId, SegmentReader};

use super::schema::{ID_HIGH, ID_LOW, ID_TEXT};

/// The longest id, in bytes, as in Elasticsearch.
pub const MAX_ID_BYTES: usize = 512;

/// The id of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId {
    key: u128,
    text: Option<Box<str>>,
}

impl DocumentId {
    /// The id that `text` says.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match canonical(text) {
            Some(key) => Self { key, text: None },
            None => Self {
                key: digest(text),
                text: Some(text.into()),
            },
        }
    }

    /// The id that is these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self {
            key: u128::from_be_bytes(bytes),
            text: None,
        }
    }

    /// What the two columns hold; equal for equal ids.
    #[must_use]
    pub fn key(&self) -> u128 {
        self.key
    }

    /// The text, where it is not the hex digits of the key.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The first eight bytes.
    #[must_use]
    pub fn high(&self) -> u64 {
        (self.key >> 64) as u64
    }

    /// The last eight bytes.
    #[must_use]
    pub fn low(&self) -> u64 {
        self.key as u64
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => write!(f, "{:032x}", self.key),
        }
    }
}

/// The number that 32 lower-case hex digits say.
fn canonical(text: &str) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.bytes().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn digest(text: &str) -> u128 {
    let sum = Sha256::new()
        .chain_update(b"mscp-log document id\0")
        .chain_update(text.as_bytes())
        .finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&sum[..16]);
    u128::from_be_bytes(first)
}

/// The ids of one segment.
pub struct IdColumn {
    high: Column<u64>,
    low: Column<u64>,
    text: Option<StrColumn>,
}

impl IdColumn {
    /// Open the columns of a segment.
    ///
    /// # Errors
    /// Where the segment cannot be read.
    pub fn open(segment: &SegmentReader) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        Ok(Self {
            high: columns.u64(ID_HIGH)?,
            low: columns.u64(ID_LOW)?,
            text: columns.str(ID_TEXT)?,
        })
    }

    /// The 16 bytes of a document's id as a number. Ids of 32 hex digits sort
    /// as these do.
    #[must_use]
    pub fn key(&self, doc: DocId) -> u128 {
        let high = self.high.first(doc).unwrap_or_default();
        let low = self.low.first(doc).unwrap_or_default();
        (u128::from(high) << 64) | u128::from(low)
    }

    /// Only the first eight bytes, for a quick "not this one".
    #[must_use]
    pub fn high(&self, doc: DocId) -> u64 {
        self.high.first(doc).unwrap_or_default()
    }

    /// Call `each` with the first eight bytes of every id of a segment.
    pub(super) fn each_high(&self, max_doc: DocId, mut each: impl FnMut(DocId, u64)) {
        let mut block = [0; 256];
        let mut first = 0;
        while first < max_doc {
            let length = block.len().min((max_doc - first) as usize);
            // Every document has an id: the column is full, a row a document.
            self.high
                .values
                .get_range(u64::from(first), &mut block[..length]);
            for (doc, high) in (first..).zip(&block[..length]) {
                each(doc, *high);
            }
            first += length as u32;
        }
    }

    /// The id of a document.
    #[must_use]
    pub fn id(&self, doc: DocId) -> DocumentId {
        DocumentId {
            key: self.key(doc),
            text: self.text_of(doc).map(Into::into),
        }
    }

    fn text_of(&self, doc: DocId) -> Option<String> {
        let column = self.text.as_ref()?;
        let ordinal = column.term_ords(doc).next()?;
        let mut text = String::new();
        column.ord_to_str(ordinal, &mut text).ok()?.then_some(text)
    }
}

/// A query for the documents with one of these ids.
#[must_use]
pub fn ids_query(ids: impl IntoIterator<Item = DocumentId>) -> Box<dyn Query> {
    let ids: HashSet<DocumentId> = ids.into_iter().collect();
    let highs: HashSet<u64> = ids.iter().map(DocumentId::high).collect();
    let wanted = Arc::new((ids, highs));
    let predicate = FunctionPredicate::from(move |segment: &SegmentReader| {
        let wanted = Arc::clone(&wanted);
        let column = IdColumn::open(segment)?;
        Ok(move |doc: DocId| {
            wanted.1.contains(&column.high(doc)) && wanted.0.contains(&column.id(doc))
        })
    });
    Box::new(DocPredicateQuery::from(predicate))
}

/// A query for one of `max` parts of the documents. A document is in the same
/// part whatever others there are, so that scrolls that were begun one after
/// the other find each once.
#[must_use]
pub fn slice_query(part: u64, max: u64) -> Box<dyn Query> {
    let predicate = FunctionPredicate::from(move |segment: &SegmentReader| {
        let column = IdColumn::open(segment)?;
        // Ids of clients may count up in either half; a multiplication by a
        // large odd number spreads both.
        Ok(move |doc: DocId| {
            let key = column.key(doc);
            let mixed = ((key >> 64) as u64 ^ key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 32) % max == part
        })
    });
    Box::new(DocPredicateQuery::from(predicate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_shown_as_it_was_written(text in "([0-9a-f]{32})|([0-9A-F]{32})|(.{1,40})") {
            prop_assert_eq!(DocumentId::new(&text).to_string(), text);
        }

        #[test]
        fn ids_are_equal_when_their_texts_are(a in "[0-9a-f]{31,32}", b in "[0-9a-f]{31,32}") {
            prop_assert_eq!(DocumentId::new(&a) == DocumentId::new(&b), a == b);
        }
    }
}
