//! A query for words that stand near each other: a phrase that may be moved
//! apart, or whose words may change places, as Lucene measures it.
//!
//! Take from the position of each word its place in the phrase. Where nothing
//! moved the results are all one number; `slop` is how far they may differ.

use std::time::Instant;

use tantivy::postings::{Postings, SegmentPostings};
use tantivy::query::{
    BitSetDocSet, ConstScorer, EmptyScorer, EnableScoring, Explanation, Query, Scorer, Weight,
};
use tantivy::schema::IndexRecordOption;
use tantivy::{
    BitSet, DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term as IndexTerm,
};

use super::super::term_scan::OUT_OF_TIME;

/// How many documents are looked at between two looks at the clock.
const DOCS_PER_LOOK: usize = 256;

/// How many ways to place words that repeat are tried in one segment.
const MAX_STEPS: usize = 10_000_000;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Sloppy {
    pub(super) words: Vec<(usize, IndexTerm)>,
    pub(super) slop: u32,
    pub(super) deadline: Option<Instant>,
}

impl Query for Sloppy {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Sloppy {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let Some((_, first)) = self.words.first() else {
            return Ok(Box::new(EmptyScorer));
        };
        let inverted = reader.inverted_index(first.field())?;
        let mut postings: Vec<SegmentPostings> = Vec::with_capacity(self.words.len());
        for (_, term) in &self.words {
            match inverted.read_postings(term, IndexRecordOption::WithFreqsAndPositions)? {
                Some(found) => postings.push(found),
                None => return Ok(Box::new(EmptyScorer)),
            }
        }
        let mut found = BitSet::with_max_value(reader.max_doc());
        let mut positions: Vec<Vec<u32>> = vec![Vec::new(); postings.len()];
        let mut looked = 0_usize;
        let mut steps = MAX_STEPS;
        while let Some(doc) = next_common(&mut postings) {
            for (postings, positions) in postings.iter_mut().zip(&mut positions) {
                postings.positions(positions);
            }
            if self.is_near(&positions, &mut steps) {
                found.insert(doc);
            }
            looked += 1;
            let late = looked.is_multiple_of(DOCS_PER_LOOK)
                && self.deadline.is_some_and(|end| Instant::now() >= end);
            if late || steps == 0 {
                return Err(TantivyError::InternalError(OUT_OF_TIME.to_owned()));
            }
            postings[0].advance();
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let mut scorer = self.scorer(reader, 1.0)?;
        if scorer.doc() <= doc && scorer.seek(doc) == doc {
            return Ok(Explanation::new("Sloppy", 1.0));
        }
        Err(TantivyError::InvalidArgument(
            "the document does not match".to_owned(),
        ))
    }
}

/// The next document that all have, from where the first stands.
fn next_common(postings: &mut [SegmentPostings]) -> Option<DocId> {
    let mut doc = postings.first()?.doc();
    'again: while doc != TERMINATED {
        for postings in postings.iter_mut() {
            if postings.doc() < doc {
                postings.seek(doc);
            }
            if postings.doc() > doc {
                doc = postings.doc();
                continue 'again;
            }
        }
        return Some(doc);
    }
    None
}

impl Sloppy {
    fn is_near(&self, positions: &[Vec<u32>], steps: &mut usize) -> bool {
        let repeats =
            self.words.iter().enumerate().any(|(place, (_, term))| {
                self.words[..place].iter().any(|(_, other)| other == term)
            });
        if repeats {
            return self.placed(positions, &mut Vec::new(), steps);
        }
        self.smallest_spread(positions)
            .is_some_and(|spread| spread <= i64::from(self.slop))
    }

    fn shift(&self, word: usize, position: u32) -> i64 {
        i64::from(position) - self.words[word].0 as i64
    }

    /// How far apart the words are at their nearest.
    fn smallest_spread(&self, positions: &[Vec<u32>]) -> Option<i64> {
        let mut shifts: Vec<(i64, usize)> = positions
            .iter()
            .enumerate()
            .flat_map(|(word, positions)| {
                positions
                    .iter()
                    .map(move |position| (self.shift(word, *position), word))
            })
            .collect();
        shifts.sort_unstable();
        let mut within = vec![0_usize; positions.len()];
        let mut missing = positions.len();
        let mut start = 0;
        let mut best = None;
        for (shift, word) in &shifts {
            if within[*word] == 0 {
                missing -= 1;
            }
            within[*word] += 1;
            while missing == 0 {
                let (first, dropped) = shifts[start];
                let spread = shift - first;
                best = Some(best.map_or(spread, |best: i64| best.min(spread)));
                within[dropped] -= 1;
                if within[dropped] == 0 {
                    missing += 1;
                }
                start += 1;
            }
        }
        best
    }

    /// Whether the words, some of which are the same, have places of their own
    /// that are near enough.
    fn placed(&self, positions: &[Vec<u32>], taken: &mut Vec<u32>, steps: &mut usize) -> bool {
        let word = taken.len();
        if word == positions.len() {
            return true;
        }
        for position in &positions[word] {
            *steps = steps.saturating_sub(1);
            if *steps == 0 {
                return false;
            }
            if taken.contains(position) {
                continue;
            }
            let shifts = taken
                .iter()
                .enumerate()
                .map(|(word, position)| self.shift(word, *position))
                .chain([self.shift(word, *position)]);
            let low = shifts.clone().min().unwrap_or(0);
            let high = shifts.max().unwrap_or(0);
            if high - low > i64::from(self.slop) {
                continue;
            }
            taken.push(*position);
            if self.placed(positions, taken, steps) {
                return true;
            }
            taken.pop();
        }
        false
    }
}
