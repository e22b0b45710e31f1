//! Text into words, as Elasticsearch's `standard` analyzer does: words by
//! UAX #29 and emoji by UTS #51, in lower case, none longer than 255 UTF-16
//! units.
//!
//! Indexing, searching and highlighting must all cut text in the same places,
//! so this is the only place where it is cut. The rules are those of Lucene's
//! `StandardTokenizer`; its longest match wins.

mod ascii;
mod classes;

use std::borrow::Cow;

use classes::{Class, class};

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
    /// What it is made of.
    pub kind: TokenKind,
}

/// What a token is made of, as `_analyze` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Letters, also with digits.
    Alphanum,
    /// Digits.
    Num,
    /// A run of Thai, Lao, Myanmar, Khmer and their like.
    SoutheastAsian,
    /// One ideograph.
    Ideographic,
    /// One character of Hiragana.
    Hiragana,
    /// Katakana.
    Katakana,
    /// Hangul.
    Hangul,
    /// A pictograph with what belongs to it.
    Emoji,
}

impl TokenKind {
    /// As `_analyze` writes it: `<ALPHANUM>`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alphanum => "<ALPHANUM>",
            Self::Num => "<NUM>",
            Self::SoutheastAsian => "<SOUTHEAST_ASIAN>",
            Self::Ideographic => "<IDEOGRAPHIC>",
            Self::Hiragana => "<HIRAGANA>",
            Self::Katakana => "<KATAKANA>",
            Self::Hangul => "<HANGUL>",
            Self::Emoji => "<EMOJI>",
        }
    }
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
        place: 0,
        position: 0,
    }
}

/// The words of a text; see [`tokens`].
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    text: &'a str,
    place: usize,
    position: usize,
}

/// Where a word stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The byte at which it begins.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
    /// How many words stand before it.
    pub position: usize,
    /// What it is made of.
    pub kind: TokenKind,
}

impl Tokens<'_> {
    /// Where the next word stands; its text is left to the caller.
    pub fn next_span(&mut self) -> Option<Span> {
        let (start, kind) = loop {
            // Nearly all of a log is ASCII, which has few of the rules.
            match ascii::next(self.text.as_bytes(), &mut self.place) {
                ascii::Next::Word(start, kind) => break (start, kind),
                ascii::Next::Other => {}
            }
            let rest = &self.text[self.place..];
            let first = rest.chars().next()?;
            let start = self.place;
            match token_at_start(rest) {
                Some((length, kind)) => {
                    self.place += length;
                    break (start, kind);
                }
                None => self.place += first.len_utf8(),
            }
        };
        let position = self.position;
        self.position += 1;
        Some(Span {
            start,
            end: self.place,
            position,
            kind,
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let Span {
            start,
            end,
            position,
            kind,
        } = self.next_span()?;
        Some(Token {
            text: lower_case(&self.text[start..end]),
            start,
            end,
            position,
            kind,
        })
    }
}

/// The bytes and the kind of the token that `text` begins with.
fn token_at_start(text: &str) -> Option<(usize, TokenKind)> {
    // A word that goes on behind this is cut, wherever it ends: looking for
    // the end would be done again for each of its pieces.
    let text = &text[..units_end(text, 4 * MAX_TOKEN_LENGTH)];
    let found = longest(text)?;
    if found.0 <= MAX_TOKEN_LENGTH {
        return Some(found);
    }
    // The tokenizer sees no more than this at once.
    let window = &text[..units_end(text, MAX_TOKEN_LENGTH)];
    if found.0 <= window.len() {
        return Some(found);
    }
    longest(window)
}

/// The byte behind the first `units` UTF-16 units of `text`, or less where
/// that is within a character.
fn units_end(text: &str, units: usize) -> usize {
    let mut left = units;
    for (place, character) in text.char_indices() {
        match left.checked_sub(character.len_utf16()) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    text.len()
}

/// The longest match of the rules; of two as long, that of the first rule.
fn longest(text: &str) -> Option<(usize, TokenKind)> {
    let first = text.chars().next()?;
    let own = class(first);
    let plain = match own {
        Some(Class::Han) => Some((skip_marks(text, first.len_utf8()), TokenKind::Ideographic)),
        Some(Class::Hiragana) => Some((skip_marks(text, first.len_utf8()), TokenKind::Hiragana)),
        Some(Class::Complex | Class::ComplexExtend) => {
            Some((complex_run(text), TokenKind::SoutheastAsian))
        }
        Some(Class::Numeric | Class::Katakana | Class::ExtendNumLet) => word(text),
        own if is_letter(own) => word(text),
        _ => None,
    };
    let emoji = emoji(text, first, own).map(|end| (end, TokenKind::Emoji));
    match (emoji, plain) {
        (Some(emoji), Some(plain)) if plain.0 > emoji.0 => Some(plain),
        (Some(emoji), _) => Some(emoji),
        (None, plain) => plain,
    }
}

/// Whether `character` belongs to what stands before it (WB4).
fn is_mark(character: char) -> bool {
    matches!(
        class(character),
        Some(Class::Extend | Class::ComplexExtend | Class::EmojiModifier)
    )
}

/// The place behind the marks at `place`.
fn skip_marks(text: &str, place: usize) -> usize {
    let marks = text[place..].chars().take_while(|c| is_mark(*c));
    place + marks.map(char::len_utf8).sum::<usize>()
}

fn complex_run(text: &str) -> usize {
    let mut end = 0;
    for character in text.chars() {
        let belongs = matches!(
            class(character),
            Some(Class::Complex | Class::ComplexExtend)
        ) || (end > 0 && is_mark(character));
        if !belongs {
            break;
        }
        end += character.len_utf8();
    }
    end
}

/// What stands at `place` without its marks, and the place behind both.
fn unit(text: &str, place: usize) -> Option<(char, Option<Class>, usize)> {
    let character = text[place..].chars().next()?;
    let end = place + character.len_utf8();
    let next = text.as_bytes().get(end);
    // No mark is ASCII.
    let end = if next.is_none_or(u8::is_ascii) {
        end
    } else {
        skip_marks(text, end)
    };
    Some((character, class(character), end))
}

fn is_letter(class: Option<Class>) -> bool {
    matches!(
        class,
        Some(Class::Letter | Class::EmojiLetter | Class::Hebrew | Class::Hangul)
    )
}

/// Letters, digits and Katakana with what joins them (WB5 to WB13b).
fn word(text: &str) -> Option<(usize, TokenKind)> {
    let mut end = 0;
    let mut before: Option<Class> = None;
    let (mut letters, mut hangul, mut digits, mut katakana, mut joined) =
        (false, false, false, false, false);
    while let Some((character, own, behind)) = unit(text, end) {
        let next = || unit(text, behind).and_then(|(_, class, _)| class);
        // Where letters and digits may go on.
        let open = is_letter(before)
            || matches!(
                before,
                None | Some(Class::Numeric | Class::ExtendNumLet | Class::MidNumLet)
            );
        before = match own {
            Some(Class::ExtendNumLet) => {
                joined = true;
                own
            }
            Some(Class::Numeric) if open => {
                digits = true;
                own
            }
            Some(Class::Katakana)
                if matches!(before, None | Some(Class::Katakana | Class::ExtendNumLet)) =>
            {
                katakana = true;
                own
            }
            class if is_letter(class) && open => {
                hangul |= class == Some(Class::Hangul);
                letters |= class != Some(Class::Hangul);
                own
            }
            // WB6, WB7: a sign between letters.
            Some(Class::MidLetter | Class::MidNumLet) if is_letter(before) && is_letter(next()) => {
                joined = true;
                before
            }
            // WB11, WB12: a sign between digits.
            Some(Class::MidNum | Class::MidNumLet)
                if before == Some(Class::Numeric) && next() == Some(Class::Numeric) =>
            {
                before
            }
            // WB7a: the sign that stands for letters that were left out.
            _ if character == '\'' && before == Some(Class::Hebrew) => {
                joined = true;
                Some(Class::MidNumLet)
            }
            // WB7b, WB7c: the sign of an abbreviation.
            _ if character == '"' && before == Some(Class::Hebrew) && next() == before => {
                joined = true;
                before
            }
            _ => break,
        };
        end = behind;
    }
    let kind = match (letters, hangul, digits, katakana) {
        (false, false, false, false) => return None,
        (false, false, true, false) => TokenKind::Num,
        (false, true, false, false) if !joined => TokenKind::Hangul,
        (false, false, false, true) if !joined => TokenKind::Katakana,
        _ => TokenKind::Alphanum,
    };
    Some((end, kind))
}

const ZERO_WIDTH_JOINER: char = '\u{200D}';
const EMOJI_PRESENTATION: char = '\u{FE0F}';
const TEXT_PRESENTATION: char = '\u{FE0E}';
const KEY_CAP: char = '\u{20E3}';

fn is_pictograph(character: char) -> bool {
    matches!(
        class(character),
        Some(Class::Emoji | Class::EmojiLetter | Class::EmojiModifier)
    )
}

fn is_regional(character: char) -> bool {
    matches!(character, '\u{1F1E6}'..='\u{1F1FF}')
}

/// The marks at `place` but the two that choose a presentation.
fn skip_plain_marks(text: &str, place: usize) -> usize {
    let plain = |c: &char| is_mark(*c) && !matches!(*c, EMOJI_PRESENTATION | TEXT_PRESENTATION);
    let marks = text[place..].chars().take_while(plain);
    place + marks.map(char::len_utf8).sum::<usize>()
}

/// A flag, a key, or pictographs that are joined.
fn emoji(text: &str, first: char, own: Option<Class>) -> Option<usize> {
    if is_regional(first) {
        let middle = skip_marks(text, first.len_utf8());
        let second = text[middle..].chars().next().filter(|c| is_regional(*c))?;
        return Some(skip_marks(text, middle + second.len_utf8()));
    }
    if matches!(first, '0'..='9' | '#' | '*') {
        return key(text, first.len_utf8());
    }
    let joiners = text.chars().take_while(|c| *c == ZERO_WIDTH_JOINER).count();
    let mut end = joiners * ZERO_WIDTH_JOINER.len_utf8();
    if joiners == 0
        && !matches!(
            own,
            Some(Class::Emoji | Class::EmojiLetter | Class::EmojiModifier)
        )
    {
        return None;
    }
    loop {
        let pictograph = text[end..].chars().next().filter(|c| is_pictograph(*c))?;
        let is_modifier = class(pictograph) == Some(Class::EmojiModifier);
        if is_modifier && end > 0 {
            return None;
        }
        end = skip_plain_marks(text, end + pictograph.len_utf8());
        if !is_modifier && text[end..].starts_with(EMOJI_PRESENTATION) {
            end += EMOJI_PRESENTATION.len_utf8();
        }
        // Marks take joiners with them; behind a presentation they stand alone.
        let behind = text[end..].trim_start_matches(ZERO_WIDTH_JOINER);
        let is_joined = text[..end].ends_with(ZERO_WIDTH_JOINER) || behind.len() < text.len() - end;
        if !is_joined || !behind.starts_with(is_pictograph) {
            return Some(end);
        }
        end = text.len() - behind.len();
    }
}

/// A digit, `#` or `*` in a key, where `place` is behind it.
fn key(text: &str, place: usize) -> Option<usize> {
    if text.as_bytes().get(place).is_none_or(u8::is_ascii) {
        return None;
    }
    let mut end = None;
    let mut before = skip_before_key(text, place);
    if text[before..].starts_with(EMOJI_PRESENTATION) {
        before += EMOJI_PRESENTATION.len_utf8();
    }
    if text[before..].starts_with(KEY_CAP) {
        end = Some(skip_plain_marks(text, before + KEY_CAP.len_utf8()));
    }
    end
}

/// The marks at `place` that may stand before a key's frame.
fn skip_before_key(text: &str, place: usize) -> usize {
    let plain = skip_plain_marks(text, place);
    // The frame is a mark itself: the last one may be it.
    match text[place..plain].rfind(KEY_CAP) {
        Some(frame) => place + frame,
        None => plain,
    }
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
    fn words_are_of_the_kinds_that_the_standard_tokenizer_gives() {
        for (word, kind) in [
            ("hello", "<ALPHANUM>"),
            ("don't", "<ALPHANUM>"),
            ("a1", "<ALPHANUM>"),
            ("10.0.0.1", "<NUM>"),
            ("日", "<IDEOGRAPHIC>"),
            ("カタ", "<KATAKANA>"),
            ("データ", "<KATAKANA>"),
            ("ひ", "<HIRAGANA>"),
            ("한국", "<HANGUL>"),
            ("สวัสดี", "<SOUTHEAST_ASIAN>"),
            ("👍🏽", "<EMOJI>"),
            ("1️⃣", "<EMOJI>"),
        ] {
            let kinds: Vec<_> = tokens(word).map(|token| token.kind.name()).collect();
            assert_eq!(kinds, [kind], "{word}");
        }
    }

    #[test]
    fn a_word_over_the_limit_is_cut_in_pieces() {
        let found: Vec<_> = tokens(&"a".repeat(600))
            .map(|token| token.text.len())
            .collect();
        assert_eq!(found, [255, 255, 90]);
        // Without end, were the end of the word looked for with each piece.
        let long = ["0".repeat(1 << 20), "é".repeat(1 << 19)].concat();
        assert!(tokens(&long).count() >= ((1 << 20) + (1 << 19)) / MAX_TOKEN_LENGTH);
    }

    /// What a word begins with when its end is known, however far.
    fn token_of_the_whole(text: &str) -> Option<(usize, TokenKind)> {
        let found = longest(text)?;
        let window = &text[..units_end(text, MAX_TOKEN_LENGTH)];
        if found.0 <= window.len() {
            return Some(found);
        }
        longest(window)
    }

    /// The words by the rules for all text alone.
    fn by_all_rules(text: &str) -> Vec<(usize, usize, TokenKind)> {
        let mut found = Vec::new();
        let mut place = 0;
        while let Some(first) = text[place..].chars().next() {
            match token_at_start(&text[place..]) {
                Some((length, kind)) => {
                    found.push((place, place + length, kind));
                    place += length;
                }
                None => place += first.len_utf8(),
            }
        }
        found
    }

    proptest! {
        #[test]
        fn ascii_is_cut_as_all_rules_cut_it(
            text in "([a-cA-C0-2_.':,;\"#* -]|\\PC|[\u{300}\u{20E3}\u{FE0F}\u{5D0}]){0,24}",
            long in prop::option::of(250_usize..520),
        ) {
            let long = long.map_or(String::new(), |length| "a1_".repeat(length / 3));
            let text = format!("{text}{long}{text}");
            let found: Vec<_> = tokens(&text).map(|it| (it.start, it.end, it.kind)).collect();
            prop_assert_eq!(found, by_all_rules(&text));
        }

        #[test]
        fn a_long_word_is_cut_as_if_its_end_were_looked_for(
            text in "(([a-c0-2_.':,]|[\u{300}\u{5D0}\u{1F600}é日ア]){0,9}|[a-z]{200,600}|[0-9.]{200,600}|\u{300}{1,300}){0,9}",
        ) {
            for (place, _) in text.char_indices().step_by(7) {
                let rest = &text[place..];
                prop_assert_eq!(token_at_start(rest), token_of_the_whole(rest));
            }
        }

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
