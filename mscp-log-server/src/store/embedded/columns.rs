//! The columns of a segment that put sources together again, opened when
//! first needed and kept as long as the segment is searched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mscp_log_core::field::{FIELDS, FieldType};
use mscp_log_core::record::time::write_rfc3339;
use tantivy::columnar::{BytesColumn, Column, StrColumn};
use tantivy::{DocId, SegmentReader};

use super::ids::IdColumn;
use super::schema::{MESSAGE_PATTERN, REST_PATTERN, place_of};
use super::source::{self, Kind, Patterns};
use super::strips::Strips;

/// Words of a column that are kept in memory; columns with more are asked anew.
const WORDS_KEPT: usize = 1_024;

/// Bytes of a column's words that are kept in memory.
const BYTES_KEPT: usize = 64 * 1_024;

/// Bytes of patterns that are kept in memory, a segment and a column.
const PATTERN_BYTES_KEPT: usize = 256 * 1_024;

pub(super) struct Columns {
    segment: SegmentReader,
    pub(super) ids: IdColumn,
    rest_patterns: PatternColumn,
    message_patterns: PatternColumn,
    /// Whether the partition is of format 1.
    whole: bool,
    /// In the order of [`FIELDS`].
    fields: Vec<OnceLock<Option<Values>>>,
    strips: Vec<OnceLock<Option<Strips>>>,
}

enum Values {
    Numbers(Column<i64>),
    Words {
        column: StrColumn,
        /// By ordinal; `None` where there are too many.
        words: Option<Vec<Box<str>>>,
    },
}

/// A column of patterns, and those that were read last.
struct PatternColumn {
    column: Option<BytesColumn>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_ordinal: HashMap<u64, Arc<[u8]>>,
    bytes: usize,
}

impl PatternColumn {
    fn open(segment: &SegmentReader, name: &str, whole: bool) -> tantivy::Result<Self> {
        let column = if whole {
            None
        } else {
            segment.fast_fields().bytes(name)?
        };
        Ok(Self {
            column,
            kept: Mutex::default(),
        })
    }

    fn of(&self, doc: DocId) -> Option<Arc<[u8]>> {
        let column = self.column.as_ref()?;
        let ordinal = column.ords().first(doc)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = kept.by_ordinal.get(&ordinal) {
            return Some(Arc::clone(pattern));
        }
        let mut pattern = Vec::new();
        let found = column.ord_to_bytes(ordinal, &mut pattern).ok()?;
        let pattern: Arc<[u8]> = found.then_some(pattern)?.into();
        if kept.bytes + pattern.len() > PATTERN_BYTES_KEPT {
            *kept = Kept::default();
        }
        kept.bytes += pattern.len();
        kept.by_ordinal.insert(ordinal, Arc::clone(&pattern));
        Some(pattern)
    }
}

struct PatternsOf<'a> {
    columns: &'a Columns,
    doc: DocId,
}

impl Patterns for PatternsOf<'_> {
    fn rest(&self) -> Option<Arc<[u8]>> {
        self.columns.rest_patterns.of(self.doc)
    }

    fn message(&self) -> Option<Arc<[u8]>> {
        self.columns.message_patterns.of(self.doc)
    }
}

impl Columns {
    /// `whole` where the partition is of format 1.
    pub(super) fn open(segment: &SegmentReader, whole: bool) -> tantivy::Result<Self> {
        Ok(Self {
            ids: IdColumn::open(segment)?,
            rest_patterns: PatternColumn::open(segment, REST_PATTERN, whole)?,
            message_patterns: PatternColumn::open(segment, MESSAGE_PATTERN, whole)?,
            whole,
            segment: segment.clone(),
            fields: FIELDS.iter().map(|_| OnceLock::new()).collect(),
            strips: FIELDS.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// The lowest and the highest `realtime_us`.
    pub(super) fn realtime_us(&self) -> Option<(i64, i64)> {
        match self.values(place_of("realtime_us")?)? {
            Values::Numbers(column) if column.values.num_vals() > 0 => {
                Some((column.min_value(), column.max_value()))
            }
            _ => None,
        }
    }

    /// The bounds of the strips of a number field that every document has one
    /// value of.
    pub(super) fn strips(&self, name: &str) -> Option<&Strips> {
        let place = place_of(name)?;
        let read = || match self.values(place)? {
            Values::Numbers(column) => Strips::of(column),
            Values::Words { .. } => None,
        };
        self.strips[place].get_or_init(read).as_ref()
    }

    /// The source of a document from its stored form.
    pub(super) fn source(&self, doc: DocId, stored: &[u8]) -> Option<Vec<u8>> {
        let restore = |kind, out: &mut Vec<u8>| self.restore(doc, kind, out);
        if self.whole {
            source::from_whole(stored, restore)
        } else {
            source::from_stored(stored, &PatternsOf { columns: self, doc }, restore)
        }
    }

    fn restore(&self, doc: DocId, kind: Kind, out: &mut Vec<u8>) -> Option<()> {
        match kind {
            // It is stored with the source, which knows it.
            Kind::Message => return None,
            Kind::Id => {
                out.extend_from_slice(format!("{:032x}", self.ids.key(doc)).as_bytes());
            }
            Kind::Time => {
                let Values::Numbers(column) = self.values(place_of("realtime_us")?)? else {
                    return None;
                };
                write_rfc3339(column.first(doc)?, out);
            }
            Kind::Field(place) => match self.values(place)? {
                Values::Numbers(column) => {
                    out.extend_from_slice(column.first(doc)?.to_string().as_bytes());
                }
                Values::Words { column, words } => {
                    let ordinal = column.term_ords(doc).next()?;
                    match words {
                        Some(words) => {
                            let word = words.get(usize::try_from(ordinal).ok()?)?;
                            out.extend_from_slice(word.as_bytes());
                        }
                        None => {
                            let mut word = String::new();
                            column.ord_to_str(ordinal, &mut word).ok()?.then_some(())?;
                            out.extend_from_slice(word.as_bytes());
                        }
                    }
                }
            },
        }
        Some(())
    }

    fn values(&self, place: usize) -> Option<&Values> {
        let values = self.fields.get(place)?.get_or_init(|| self.read(place));
        values.as_ref()
    }

    fn read(&self, place: usize) -> Option<Values> {
        let (name, kind) = FIELDS[place];
        let columns = self.segment.fast_fields();
        match kind {
            FieldType::Long | FieldType::Date => {
                columns.column_opt(name).ok()?.map(Values::Numbers)
            }
            FieldType::Keyword => {
                let column = columns.str(name).ok()??;
                let words = words_of(&column);
                Some(Values::Words { column, words })
            }
            FieldType::Text | FieldType::Flattened => None,
        }
    }
}

fn words_of(column: &StrColumn) -> Option<Vec<Box<str>>> {
    if column.num_terms() > WORDS_KEPT {
        return None;
    }
    let mut words = Vec::with_capacity(column.num_terms());
    let mut bytes = 0;
    let mut stream = column.dictionary().stream().ok()?;
    while stream.advance() {
        bytes += stream.key().len();
        if bytes > BYTES_KEPT {
            return None;
        }
        words.push(std::str::from_utf8(stream.key()).ok()?.into());
    }
    Some(words)
}
