//! Where a fragment begins and ends, and which are the best: sentences, within
//! long ones words, as Elasticsearch's unified highlighter cuts and scores them.
//!
//! Sizes are in UTF-16 units, as Java counts characters.

use std::collections::HashMap;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// How a value is cut.
pub(super) struct Passages {
    pub(super) size: usize,
    /// 0 is the whole value in one.
    pub(super) count: usize,
    pub(super) no_match: usize,
    pub(super) best_first: bool,
}

/// A fragment with its marks, in bytes.
struct Passage {
    range: Range<usize>,
    marks: Vec<(usize, usize)>,
}

impl Passages {
    pub(super) fn is_whole(&self) -> bool {
        self.count == 0
    }

    /// No more fragments than are wanted of a field with several values.
    pub(super) fn limit(&self, fragments: &mut Vec<String>) {
        if self.count > 0 {
            fragments.truncate(self.count);
        }
    }

    /// The parts of `text` around `spans`, which are byte ranges sorted by
    /// their begins.
    pub(super) fn cut(&self, text: &str, spans: &[(usize, usize)]) -> Vec<Range<usize>> {
        if spans.is_empty() {
            return self.opening(text).into_iter().collect();
        }
        if self.is_whole() {
            return std::iter::once(0..text.len()).collect();
        }
        let mut scanner = Scanner::new(text, self.size);
        let mut passages: Vec<Passage> = Vec::new();
        for (start, end) in spans {
            match passages.last_mut() {
                Some(last) if *start < last.range.end => last.marks.push((*start, *end)),
                _ => passages.push(Passage {
                    range: scanner.around(*start),
                    marks: vec![(*start, *end)],
                }),
            }
        }
        let mut scores = Scores::new(text, spans, &scanner.units);
        let mut best: Vec<(f32, usize)> = passages
            .iter()
            .enumerate()
            .map(|(place, passage)| (scores.of(passage), place))
            .collect();
        // Of equal ones the later is kept.
        best.sort_by(|left, right| right.0.total_cmp(&left.0).then(right.1.cmp(&left.1)));
        best.truncate(self.count);
        if self.best_first {
            best.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        } else {
            best.sort_by_key(|(_, place)| *place);
        }
        best.into_iter()
            .map(|(_, place)| {
                let passage = &passages[place];
                // A mark that crosses the end makes the part longer.
                let last = passage.marks.iter().map(|(_, end)| *end).max();
                passage.range.start..passage.range.end.max(last.unwrap_or(0))
            })
            .collect()
    }

    /// The beginning of a value without marks, where that is wanted: up to the
    /// word that ends behind so many characters.
    fn opening(&self, text: &str) -> Option<Range<usize>> {
        if self.no_match == 0 || text.is_empty() {
            return None;
        }
        let units = Units::new(text);
        if self.is_whole() || self.no_match >= units.len() {
            return Some(0..text.len());
        }
        let words = units.words(text);
        let end = following(&words, self.no_match).unwrap_or(units.len());
        Some(0..units.byte(end))
    }
}

/// Characters as Java counts them, and the bytes where they begin.
struct Units(Vec<usize>);

impl Units {
    fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        for (at, character) in text.char_indices() {
            bytes.extend(std::iter::repeat_n(at, character.len_utf16()));
        }
        bytes.push(text.len());
        Self(bytes)
    }

    fn len(&self) -> usize {
        self.0.len() - 1
    }

    fn byte(&self, unit: usize) -> usize {
        self.0[unit.min(self.len())]
    }

    fn unit(&self, byte: usize) -> usize {
        self.0.partition_point(|at| *at < byte)
    }

    /// The places where words begin, and the end. Unlike UAX #29, Java takes
    /// Chinese characters, and hiragana, in a row as one word.
    fn words(&self, text: &str) -> Vec<usize> {
        let mut before = None;
        let begins = text.split_word_bound_indices().filter_map(|(at, word)| {
            let script = word.chars().next().and_then(script);
            let goes_on = script.is_some() && script == before;
            before = script;
            (!goes_on).then_some(at)
        });
        self.bounds(begins)
    }

    /// The places where something begins, and the end.
    fn bounds(&self, begins: impl Iterator<Item = usize>) -> Vec<usize> {
        begins
            .map(|byte| self.unit(byte))
            .chain([self.len()])
            .collect()
    }
}

/// Whether a sentence begins at `at`, where UAX #29 says so. Unlike that, Java
/// begins none with each line.
fn begins_a_sentence(text: &str, at: usize) -> bool {
    let (before, behind) = text.split_at(at);
    if !before.ends_with(['\n', '\r']) {
        return true;
    }
    let closing = |c: char| c.is_whitespace() || ")]}\"'\u{bb}\u{201d}".contains(c);
    match before.trim_end_matches(closing).chars().next_back() {
        Some('.') => !behind.trim_start().starts_with(char::is_lowercase),
        Some(end) => "!?\u{2026}\u{3002}\u{ff01}\u{ff1f}".contains(end),
        None => false,
    }
}

/// The scripts whose characters UAX #29 parts.
fn script(character: char) -> Option<u8> {
    match character {
        '\u{3005}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' => Some(0),
        '\u{3041}'..='\u{309f}' => Some(1),
        _ => None,
    }
}

/// The first bound behind `at`.
fn following(bounds: &[usize], at: usize) -> Option<usize> {
    let place = bounds.partition_point(|bound| *bound <= at);
    bounds.get(place).copied()
}

/// The last bound before `at`.
fn preceding(bounds: &[usize], at: usize) -> Option<usize> {
    let place = bounds.partition_point(|bound| *bound < at);
    bounds[..place].last().copied()
}

/// Goes through a text from mark to mark. Sentences that are too long are cut
/// around the mark, and the next part of such a one begins where this ended.
struct Scanner {
    units: Units,
    sentences: Vec<usize>,
    words: Vec<usize>,
    size: usize,
    window: Range<usize>,
    inner: Range<usize>,
}

impl Scanner {
    fn new(text: &str, size: usize) -> Self {
        let units = Units::new(text);
        Self {
            sentences: units.bounds(
                text.split_sentence_bound_indices()
                    .map(|(at, _)| at)
                    .filter(|at| begins_a_sentence(text, *at)),
            ),
            words: units.words(text),
            units,
            size,
            window: 0..0,
            inner: 0..0,
        }
    }

    /// The part around the mark that begins at the byte `start`.
    fn around(&mut self, start: usize) -> Range<usize> {
        let at = self.units.unit(start) + 1;
        if at > self.window.start && at < self.window.end {
            self.inner = self.inner.end..self.window.end;
        } else {
            let begin = preceding(&self.sentences, at).unwrap_or(0);
            let target = at + self.size.saturating_sub(at - begin);
            let all = self.units.len();
            let mut end = if target >= all {
                all
            } else {
                preceding(&self.sentences, target + 1).unwrap_or(begin)
            };
            if end == begin {
                // No sentence ends within the size.
                end = following(&self.sentences, target).unwrap_or(all);
            }
            self.window = begin..end;
            self.inner = begin..end;
        }
        if self.inner.end.saturating_sub(self.inner.start) > self.size {
            if at.saturating_sub(self.size) > self.inner.start {
                let begin = preceding(&self.words, at - self.size).unwrap_or(0);
                self.inner.start = self.inner.start.max(begin);
            }
            let left = self
                .size
                .saturating_sub(at.saturating_sub(self.inner.start));
            if at + left < self.window.end {
                let end = following(&self.words, at + left).unwrap_or(self.window.end);
                self.inner.end = end.min(self.window.end);
            }
        }
        let begin = self.units.byte(self.inner.start).min(start);
        begin..self.units.byte(self.inner.end).max(begin)
    }
}

/// How well passages fit: BM25 over the passages of one value.
struct Scores<'a> {
    text: &'a str,
    units: &'a Units,
    /// How often each word is marked in the value.
    counts: HashMap<String, f64>,
}

const K1: f32 = 1.2;
const B: f32 = 0.75;
/// The length of a usual passage.
const PIVOT: f32 = 87.0;

impl<'a> Scores<'a> {
    fn new(text: &'a str, spans: &[(usize, usize)], units: &'a Units) -> Self {
        let mut counts = HashMap::new();
        for (start, end) in spans {
            *counts
                .entry(text[*start..*end].to_lowercase())
                .or_insert(0.0) += 1.0;
        }
        Self {
            text,
            units,
            counts,
        }
    }

    fn of(&mut self, passage: &Passage) -> f32 {
        let mut here: HashMap<String, f32> = HashMap::new();
        for (start, end) in &passage.marks {
            let word = self.text[*start..*end].to_lowercase();
            *here.entry(word).or_insert(0.0) += 1.0;
        }
        let start = self.units.unit(passage.range.start);
        let length = (self.units.unit(passage.range.end) - start) as f32;
        let usual = K1 * ((1.0 - B) + B * (length / PIVOT));
        let passages = f64::from(1.0 + self.units.len() as f32 / PIVOT);
        let mut score = 0.0_f32;
        for (word, count) in here {
            let all = self.counts.get(&word).copied().unwrap_or(1.0);
            let rare = (1.0 + (passages + 0.5) / (all + 0.5)).ln() as f32;
            score += count / (count + usual) * (K1 + 1.0) * rare;
        }
        // What comes early is better.
        score * (1.0 + 1.0 / (PIVOT + start as f32).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, size: usize, expected: &[&str]) {
        let spans: Vec<(usize, usize)> = text
            .match_indices('X')
            .map(|(at, _)| (at, at + 1))
            .collect();
        let passages = Passages {
            size,
            count: 5,
            no_match: 0,
            best_first: false,
        };
        let found: Vec<&str> = passages
            .cut(text, &spans)
            .into_iter()
            .map(|part| &text[part])
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_fragment_is_sentences_as_long_as_they_fit_and_words_of_longer_ones() {
        check("One X. Two. Three X.", 100, &["One X. Two. Three X."]);
        check("One X. Two. Three X.", 12, &["One X. Two. ", "Three X."]);
        check("Nothing here. But X.", 8, &["But X."]);
        check("aaa bbb ccc X ddd eee fff", 9, &[" bbb ccc X "]);
        check("日志 X 日志", 100, &["日志 X 日志"]);
        check("", 10, &[]);
    }

    #[test]
    fn the_next_part_of_a_long_sentence_begins_where_the_last_ended() {
        check(
            "aaa X bbb ccc ddd X eee fff ggg",
            10,
            &["aaa X bbb ccc", " ddd X eee "],
        );
    }
}
