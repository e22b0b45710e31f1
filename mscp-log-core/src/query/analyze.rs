//! Text into words, as Elasticsearch's `standard` analyzer does: words by
//! UAX #29, in lower case, none longer than 255 UTF-16 units.
//!
//! Indexing, searching and highlighting must all cut text in the same places,
//! so this is the only place where it is cut.

use std::borrow::Cow;

use unicode_segmentation::{UWordBoundIndices, UnicodeSegmentation};

/// The longest token in UTF-16 units; what is longer is cut in pieces of this
/// length (`max_token_length` of the `standard` tokenizer).
pub const MAX_TOKEN_LENGTH: usize = 255;

/// One word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The word in lower case; borrowed where it already was.
    pub text: Cow<'a, str>,
    /// The byte in the text at which it begins.
    pub start: usize,
    /// The byte in the text behind it.
    pub end: usize,
    /// How many words stand before it.
    pub position: usize,
}

/// The words of `text` in order.
///
/// ```
/// use mscp_log_core::query::analyze::tokens;
/// let words: Vec<_> = tokens("GET /api 日志").map(|token| token.text.into_owned()).collect();
/// assert_eq!(words, ["get", "api", "日", "志"]);
/// ```
#[must_use]
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens {
        text,
        bounds: text.split_word_bound_indices(),
        pending: None,
        rest: 0..0,
        position: 0,
    }
}

/// The words of a text; see [`tokens`].
#[derive(Clone)]
pub struct Tokens<'a> {
    text: &'a str,
    bounds: UWordBoundIndices<'a>,
    /// A segment that was looked at to see where a run of South East Asian
    /// letters ends, and is not part of it.
    pending: Option<(usize, &'a str)>,
    /// What is left of a word that is longer than a token may be.
    rest: std::ops::Range<usize>,
    position: usize,
}

impl std::fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while self.rest.is_empty() {
            let (start, segment) = self.pending.take().or_else(|| self.bounds.next())?;
            let first = segment.chars().next()?;
            if is_complex_context(first) {
                self.rest = start..self.end_of_run(start + segment.len());
            } else if is_word(segment) {
                self.rest = start..start + segment.len();
            }
        }
        let start = self.rest.start;
        let end = start + piece_length(&self.text[self.rest.clone()]);
        self.rest.start = end;
        let position = self.position;
        self.position += 1;
        Some(Token {
            text: lower_case(&self.text[start..end]),
            start,
            end,
            position,
        })
    }
}

impl Tokens<'_> {
    /// Where the run of South East Asian letters that reaches to `end` ends.
    /// UAX #29 breaks between them, as finding words there takes a
    /// dictionary; the `standard` tokenizer keeps the run whole.
    fn end_of_run(&mut self, mut end: usize) -> usize {
        for (start, segment) in self.bounds.by_ref() {
            if !segment.starts_with(is_complex_context) {
                self.pending = Some((start, segment));
                break;
            }
            end = start + segment.len();
        }
        end
    }
}

/// The bytes of the first token of a word, all of it as a rule.
fn piece_length(word: &str) -> usize {
    if word.len() <= MAX_TOKEN_LENGTH {
        return word.len();
    }
    let mut units = 0;
    for (place, character) in word.char_indices() {
        units += character.len_utf16();
        if units > MAX_TOKEN_LENGTH {
            return place;
        }
    }
    word.len()
}

fn is_word(segment: &str) -> bool {
    segment
        .chars()
        .any(|character| character.is_alphanumeric() || is_pictograph(character))
}

/// Signs that are words by themselves: emoji and the letters of flags.
fn is_pictograph(character: char) -> bool {
    matches!(character, '\u{1F1E6}'..='\u{1F1FF}' | '\u{1F300}'..='\u{1FAFF}' | '\u{2600}'..='\u{27BF}')
}

/// Letters of Thai, Lao, Myanmar and Khmer (line break class SA).
fn is_complex_context(character: char) -> bool {
    matches!(character,
        '\u{0E01}'..='\u{0E3A}' | '\u{0E40}'..='\u{0E4E}'
        | '\u{0E81}'..='\u{0ECD}' | '\u{0EDC}'..='\u{0EDF}'
        | '\u{1000}'..='\u{103F}' | '\u{1050}'..='\u{108F}' | '\u{109A}'..='\u{109F}'
        | '\u{1780}'..='\u{17D3}' | '\u{17D7}' | '\u{17DC}'..='\u{17DD}')
}

/// Each character alone, as Lucene does: `İ` becomes `i`, `Σ` always `σ`.
#[must_use]
pub fn lower_case(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(word.to_ascii_lowercase())
        } else {
            Cow::Borrowed(word)
        };
    }
    let lower = |character: char| character.to_lowercase().next().unwrap_or(character);
    if word.chars().all(|character| lower(character) == character) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(word.chars().map(lower).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = tokens(text).map(|token| token.text.into_owned()).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn words_are_cut_as_the_standard_analyzer_cuts_them() {
        check(
            "The 2 QUICK Brown-Foxes jumped over the lazy dog's bone.",
            &[
                "the", "2", "quick", "brown", "foxes", "jumped", "over", "the", "lazy", "dog's",
                "bone",
            ],
        );
        check(
            "10.251.73.220:50010 is added",
            &["10.251.73.220", "50010", "is", "added"],
        );
        check("blk_-1608999687919862906", &["blk_", "1608999687919862906"]);
        check(
            "org.apache.hadoop.Foo$Bar",
            &["org.apache.hadoop.foo", "bar"],
        );
        check(
            "foo:bar a_b __ 3.14 1,000",
            &["foo:bar", "a_b", "3.14", "1,000"],
        );
        check(
            "日志系统 カタカナ ひら",
            &["日", "志", "系", "统", "カタカナ", "ひ", "ら"],
        );
        check("สวัสดี ok", &["สวัสดี", "ok"]);
        check("done 🎉", &["done", "🎉"]);
        check("", &[]);
        check(" \t\n-- ", &[]);
    }

    #[test]
    fn a_word_over_the_limit_is_cut_in_pieces() {
        let found: Vec<_> = tokens(&"a".repeat(600))
            .map(|token| token.text.len())
            .collect();
        assert_eq!(found, [255, 255, 90]);
    }

    proptest! {
        #[test]
        fn tokens_lie_in_the_text_in_order_and_are_its_lower_case(text in "\\PC{0,400}|[a-zA-Z0-9_:.,' -]{0,400}") {
            let mut end = 0;
            for (count, token) in tokens(&text).enumerate() {
                prop_assert_eq!(token.position, count);
                prop_assert!(end <= token.start && token.start < token.end);
                end = token.end;
                let written = text.get(token.start..token.end).unwrap();
                prop_assert_eq!(lower_case(written), token.text.clone());
                prop_assert!(token.text.encode_utf16().count() <= MAX_TOKEN_LENGTH);
            }
        }

        #[test]
        fn analysing_a_token_again_gives_the_token(text in "[a-zA-Z0-9_:.,' -]{0,100}") {
            for token in tokens(&text) {
                let again: Vec<_> = tokens(&token.text).map(|token| token.text.into_owned()).collect();
                prop_assert_eq!(again, vec![token.text.into_owned()]);
            }
        }
    }
}
