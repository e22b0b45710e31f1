//! Where a fragment begins and ends: at sentences, and within long ones at
//! words, as Elasticsearch's bounded sentence scanner does.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// How a value is cut. Sizes are in characters.
pub(super) struct Passages {
    pub(super) size: usize,
    /// 0 is the whole value in one.
    pub(super) count: usize,
    pub(super) no_match: usize,
    pub(super) best_first: bool,
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

    /// The parts of `text` around `spans`, which are sorted byte ranges.
    pub(super) fn cut(&self, text: &str, spans: &[(usize, usize)]) -> Vec<Range<usize>> {
        if spans.is_empty() {
            return self.opening(text).into_iter().collect();
        }
        if self.is_whole() {
            return std::iter::once(0..text.len()).collect();
        }
        let breaks = Breaks::new(text);
        let mut parts: Vec<(Range<usize>, usize)> = Vec::new();
        for (start, end) in spans {
            if let Some((last, marks)) = parts.last_mut()
                && *start < last.end
            {
                // A mark that crosses the end makes the part longer.
                last.end = last.end.max(*end);
                *marks += 1;
                continue;
            }
            let floor = parts.last().map_or(0, |(last, _)| last.end);
            let mut part = breaks.around(*start, self.size);
            part.start = part.start.max(floor).min(*start);
            part.end = part.end.max(*end);
            parts.push((part, 1));
        }
        let mut best: Vec<usize> = (0..parts.len()).collect();
        best.sort_by_key(|place| std::cmp::Reverse(parts[*place].1));
        best.truncate(self.count);
        if !self.best_first {
            best.sort_unstable();
        }
        best.into_iter()
            .map(|place| parts[place].0.clone())
            .collect()
    }

    /// The beginning of a value without marks, where that is wanted.
    fn opening(&self, text: &str) -> Option<Range<usize>> {
        if self.no_match == 0 || text.is_empty() {
            return None;
        }
        if self.is_whole() {
            return Some(0..text.len());
        }
        let breaks = Breaks::new(text);
        Some(0..breaks.around(0, self.no_match).end)
    }
}

/// The sentences and words of a text, in bytes.
struct Breaks<'a> {
    text: &'a str,
    sentences: Vec<usize>,
    words: Vec<usize>,
}

impl<'a> Breaks<'a> {
    fn new(text: &'a str) -> Self {
        let ends = |starts: &mut Vec<usize>| starts.push(text.len());
        let mut sentences: Vec<usize> = text
            .split_sentence_bound_indices()
            .map(|(at, _)| at)
            .collect();
        let mut words: Vec<usize> = text.split_word_bound_indices().map(|(at, _)| at).collect();
        ends(&mut sentences);
        ends(&mut words);
        Self {
            text,
            sentences,
            words,
        }
    }

    fn characters(&self, range: Range<usize>) -> usize {
        self.text[range].chars().count()
    }

    /// The part around the byte `at`, of about `size` characters.
    fn around(&self, at: usize, size: usize) -> Range<usize> {
        let behind = self.sentences.partition_point(|begin| *begin <= at);
        let start = self.sentences[behind.saturating_sub(1)];
        let mut next = behind.min(self.sentences.len() - 1);
        let mut end = self.sentences[next];
        while self.characters(start..end) < size && next + 1 < self.sentences.len() {
            let longer = self.sentences[next + 1];
            if self.characters(start..longer) > size {
                break;
            }
            next += 1;
            end = longer;
        }
        if self.characters(start..end) <= size {
            return start..end;
        }
        let mut from = start;
        if self.characters(start..at) > size {
            let wanted = self.back(at, size);
            let place = self.words.partition_point(|begin| *begin < wanted);
            from = self.words[place.saturating_sub(1)].max(start);
        }
        let left = size.saturating_sub(self.characters(from..at));
        let wanted = self.forward(at, left);
        if wanted < end {
            let place = self.words.partition_point(|begin| *begin <= wanted);
            end = self.words.get(place).map_or(end, |word| (*word).min(end));
        }
        from..end.max(at)
    }

    /// The byte that lies `count` characters before `at`.
    fn back(&self, at: usize, count: usize) -> usize {
        let mut before = self.text[..at].char_indices().rev();
        count
            .checked_sub(1)
            .and_then(|count| before.nth(count))
            .map_or(0, |(place, _)| place)
    }

    /// The byte that lies `count` characters behind `at`.
    fn forward(&self, at: usize, count: usize) -> usize {
        self.text[at..]
            .char_indices()
            .nth(count)
            .map_or(self.text.len(), |(place, _)| at + place)
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
        check("aaa bbb ccc X ddd eee fff", 9, &["aaa bbb ccc X"]);
        check("日志 X 日志", 100, &["日志 X 日志"]);
        check("", 10, &[]);
    }
}
