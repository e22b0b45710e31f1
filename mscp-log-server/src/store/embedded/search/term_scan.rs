//! A query for the documents that have any of the terms of a range that pass
//! a test: what prefix, wildcard, regexp, fuzzy and comparisons without case
//! are, exactly, at the price of reading that part of the dictionary.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use tantivy::query::{
    BitSetDocSet, ConstScorer, EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, Score, SegmentReader, TantivyError};

/// How many terms are read between two looks at the clock.
const TERMS_PER_LOOK: u64 = 4096;

/// Which terms of a range are meant.
#[derive(Clone)]
pub(crate) enum Test {
    /// All of them.
    Every,
    /// Those whose text, behind so many bytes, passes.
    Passes(usize, Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Test {
    fn passes(&self, term: &[u8]) -> bool {
        let behind = |skip: usize| term.get(skip..).and_then(|b| std::str::from_utf8(b).ok());
        match self {
            Self::Every => true,
            Self::Passes(skip, test) => behind(*skip).is_some_and(|text| test(text)),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct TermScan {
    pub(crate) field: Field,
    pub(crate) low: Bound<Vec<u8>>,
    pub(crate) high: Bound<Vec<u8>>,
    pub(crate) test: Test,
    pub(crate) deadline: Option<Instant>,
}

impl TermScan {
    /// The terms that begin with `prefix` and pass `test`.
    pub(crate) fn below(
        field: Field,
        prefix: Vec<u8>,
        test: Test,
        deadline: Option<Instant>,
    ) -> Self {
        let high = prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self {
            field,
            low: Bound::Included(prefix),
            high,
            test,
            deadline,
        }
    }
}

/// The first bytes behind all that begin with `prefix`; `None` where there are none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

impl std::fmt::Debug for TermScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TermScan")
            .field("field", &self.field)
            .field("low", &self.low)
            .field("high", &self.high)
            .finish_non_exhaustive()
    }
}

impl Query for TermScan {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for TermScan {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let inverted = reader.inverted_index(self.field)?;
        let mut range = inverted.terms().range();
        range = match &self.low {
            Bound::Included(low) => range.ge(low),
            Bound::Excluded(low) => range.gt(low),
            Bound::Unbounded => range,
        };
        range = match &self.high {
            Bound::Included(high) => range.le(high),
            Bound::Excluded(high) => range.lt(high),
            Bound::Unbounded => range,
        };
        let mut stream = range.into_stream()?;
        let mut found: Option<BitSet> = None;
        let mut read = 0_u64;
        while stream.advance() {
            read += 1;
            if read.is_multiple_of(TERMS_PER_LOOK)
                && self.deadline.is_some_and(|end| Instant::now() >= end)
            {
                return Err(TantivyError::InternalError(OUT_OF_TIME.to_owned()));
            }
            if !self.test.passes(stream.key()) {
                continue;
            }
            let docs = found.get_or_insert_with(|| BitSet::with_max_value(reader.max_doc()));
            let mut postings = inverted
                .read_block_postings_from_terminfo(stream.value(), IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() {
                for doc in postings.docs() {
                    docs.insert(*doc);
                }
                postings.advance();
            }
        }
        Ok(match found {
            Some(docs) => Box::new(ConstScorer::new(BitSetDocSet::from(docs), boost)),
            None => Box::new(EmptyScorer),
        })
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let mut scorer = self.scorer(reader, 1.0)?;
        if scorer.doc() <= doc && scorer.seek(doc) == doc {
            return Ok(Explanation::new("TermScan", 1.0));
        }
        Err(TantivyError::InvalidArgument(
            "the document does not match".to_owned(),
        ))
    }
}

/// The message of the error that says that time ran out.
pub(crate) const OUT_OF_TIME: &str = "the search ran out of time";

/// Whether `error` says that time ran out.
pub(crate) fn is_out_of_time(error: &TantivyError) -> bool {
    matches!(error, TantivyError::InternalError(reason) if reason == OUT_OF_TIME)
}
