//! The columns of a segment, as sorting and aggregations read them.

use tantivy::columnar::{Cardinality, Column, StrColumn};
use tantivy::{DocId, SegmentReader};

use super::super::ids::IdColumn;
use super::error::EsError;
use super::target::{Kind, Target};
use super::term_scan::prefix_end;

/// The values of one field in one segment.
pub(crate) enum Values {
    /// No document has any.
    Nothing,
    /// Numbers and dates.
    Numbers(Column<i64>),
    /// Strings, by their place in the sorted dictionary.
    Keywords(Keywords),
    /// Ids.
    Ids(IdColumn),
}

/// A column of strings, or the part of it that belongs to one key of a
/// flattened field.
pub(crate) struct Keywords {
    column: StrColumn,
    /// The places of the field's own strings.
    places: std::ops::Range<u64>,
    /// How many bytes of each string are the key.
    skip: usize,
}

impl Values {
    /// The values of `target` in `segment`.
    pub(crate) fn open(segment: &SegmentReader, target: &Target) -> Result<Self, EsError> {
        let columns = segment.fast_fields();
        Ok(match &target.kind {
            Kind::Long | Kind::Date => Self::Numbers(columns.i64(target.column)?),
            Kind::Id => Self::Ids(IdColumn::open(segment)?),
            Kind::Text => Self::Nothing,
            Kind::Keyword | Kind::AnyKey | Kind::Key(_) => match columns.str(target.column)? {
                None => Self::Nothing,
                Some(column) => Self::Keywords(Keywords::new(column, &target.kind)?),
            },
        })
    }
}

impl Keywords {
    fn new(column: StrColumn, kind: &Kind) -> Result<Self, EsError> {
        let all = 0..column.num_terms() as u64;
        let (places, skip) = match kind {
            Kind::Key(prefix) => {
                let start = place_of(&column, prefix)?.0;
                let end = match prefix_end(prefix) {
                    Some(end) => place_of(&column, &end)?.0,
                    None => all.end,
                };
                (start..end, prefix.len())
            }
            _ => (all, 0),
        };
        Ok(Self {
            column,
            places,
            skip,
        })
    }

    /// The places of a document's values, in no order.
    pub(crate) fn of(&self, doc: DocId) -> impl Iterator<Item = u64> + '_ {
        self.column
            .term_ords(doc)
            .filter(|place| self.places.contains(place))
    }

    /// The place of the first value of a document.
    pub(crate) fn first(&self, doc: DocId) -> Option<u64> {
        let place = self.column.ords().first(doc);
        place.filter(|place| self.places.contains(place))
    }

    /// The places of the values of `docs`, in their order; `false` where some
    /// document may have none, or several, or one of another key.
    pub(crate) fn fill(&self, docs: &std::ops::Range<DocId>, places: &mut Vec<u64>) -> bool {
        let ords = self.column.ords();
        let all = self.places.start == 0 && self.places.end == self.column.num_terms() as u64;
        if !all || ords.get_cardinality() != Cardinality::Full {
            return false;
        }
        places.clear();
        places.resize(docs.len(), 0);
        ords.values.get_range(u64::from(docs.start), places);
        true
    }

    /// Whether no document has two values.
    pub(crate) fn is_single(&self) -> bool {
        !self.column.ords().get_cardinality().is_multivalue()
    }

    /// All places of the field.
    pub(crate) fn places(&self) -> std::ops::Range<u64> {
        self.places.clone()
    }

    /// The string at `place`.
    pub(crate) fn text(&self, place: u64) -> Result<String, EsError> {
        let mut text = String::new();
        self.column.ord_to_str(place, &mut text)?;
        Ok(text.split_off(self.skip.min(text.len())))
    }

    /// The strings at `places`, which are sorted and each there once.
    pub(crate) fn texts(&self, places: &[u64], mut each: impl FnMut(&str)) -> Result<(), EsError> {
        self.column
            .dictionary()
            .sorted_ords_to_term_cb(places, |bytes| {
                let own = bytes.get(self.skip..).unwrap_or_default();
                each(&String::from_utf8_lossy(own));
            })?;
        Ok(())
    }

    /// The place of `text`, or of the first string behind it, and whether it
    /// is there.
    pub(crate) fn place(&self, text: &str) -> Result<(u64, bool), EsError> {
        if self.skip == 0 {
            return place_of(&self.column, text.as_bytes());
        }
        let mut term = String::new();
        if self.places.is_empty() {
            return Ok((self.places.start, false));
        }
        self.column.ord_to_str(self.places.start, &mut term)?;
        term.truncate(self.skip);
        term.push_str(text);
        place_of(&self.column, term.as_bytes())
    }
}

fn place_of(column: &StrColumn, term: &[u8]) -> Result<(u64, bool), EsError> {
    use tantivy::columnar::Dictionary;
    let dictionary: &Dictionary<_> = column.dictionary();
    let (low, _) = dictionary.term_bounds_to_ord(
        std::ops::Bound::Included(term),
        std::ops::Bound::<&[u8]>::Unbounded,
    )?;
    let place = match low {
        std::ops::Bound::Included(place) | std::ops::Bound::Excluded(place) => place,
        std::ops::Bound::Unbounded => 0,
    };
    let end = column.num_terms() as u64;
    if place >= end {
        return Ok((end, false));
    }
    let exact = dictionary.term_ord(term)? == Some(place);
    Ok((place, exact))
}
