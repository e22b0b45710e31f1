//! Scores as Elasticsearch gives them: BM25 by the documents that have the
//! field, over all partitions together. Tantivy counts all documents.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::columnar::ColumnIndex;
use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Query, Weight};
use tantivy::schema::Field;
use tantivy::{Searcher, SegmentReader, Term};

use super::Compiled;

/// How many documents of a search's partitions have each field, counted when
/// the first score by it is wanted.
pub(crate) struct FieldCounts {
    searchers: Vec<Searcher>,
    known: Mutex<HashMap<Field, u64>>,
}

impl FieldCounts {
    pub(crate) fn new(searchers: Vec<Searcher>) -> Arc<Self> {
        Arc::new(Self {
            searchers,
            known: Mutex::default(),
        })
    }

    fn documents(&self, field: Field) -> tantivy::Result<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(&field) {
            return Ok(*count);
        }
        let mut count = 0;
        for searcher in &self.searchers {
            for segment in searcher.segment_readers() {
                count += having(segment, field)?;
            }
        }
        known.insert(field, count);
        Ok(count)
    }
}

impl std::fmt::Debug for FieldCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FieldCounts")
    }
}

/// Documents of a segment that have `field`, deleted ones too, as Lucene counts.
fn having(segment: &SegmentReader, field: Field) -> tantivy::Result<u64> {
    let all = segment.max_doc();
    if let Some(lengths) = segment.fieldnorms_readers().get_field(field)? {
        return Ok((0..all)
            .filter(|doc| lengths.fieldnorm_id(*doc) > 0)
            .count() as u64);
    }
    let name = segment.schema().get_field_name(field).to_owned();
    let Some(column) = segment.fast_fields().str(&name)? else {
        return Ok(0);
    };
    Ok(match &column.ords().index {
        ColumnIndex::Empty { .. } => 0,
        ColumnIndex::Full => u64::from(all),
        ColumnIndex::Optional(index) => u64::from(index.num_non_nulls()),
        ColumnIndex::Multivalued(_) => (0..all)
            .filter(|doc| column.term_ords(*doc).next().is_some())
            .count() as u64,
    })
}

/// A query of the terms of one field, scored by the documents that have it.
#[derive(Debug)]
pub(super) struct OfField {
    pub(super) query: Compiled,
    pub(super) field: Field,
    pub(super) counts: Arc<FieldCounts>,
}

impl Clone for OfField {
    fn clone(&self) -> Self {
        Self {
            query: self.query.box_clone(),
            field: self.field,
            counts: Arc::clone(&self.counts),
        }
    }
}

impl Query for OfField {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let EnableScoring::Enabled {
            searcher,
            statistics_provider,
        } = scoring
        else {
            return self.query.weight(scoring);
        };
        let own = Own {
            all: statistics_provider,
            documents: self.counts.documents(self.field)?.max(1),
        };
        let scoring = EnableScoring::enabled_from_statistics_provider(&own, searcher);
        self.query.weight(scoring)
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.query.query_terms(visitor);
    }
}

/// The statistics of one field.
struct Own<'a> {
    all: &'a dyn Bm25StatisticsProvider,
    documents: u64,
}

impl Bm25StatisticsProvider for Own<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.all.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.documents)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        Ok(self.all.doc_freq(term)?.min(self.documents))
    }
}
