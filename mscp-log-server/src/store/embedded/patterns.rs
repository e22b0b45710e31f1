//! A text as its pattern and its numbers.
//!
//! Lines of a log are a few thousand patterns with other numbers in them. A
//! pattern lies in a column, whose dictionary holds it once a segment; what is
//! stored of each line are the digits, four bits each.
//!
//! In a pattern `0` stands for a decimal digit. Where digits and the letters
//! `a` to `f` mix to a word of at least [`HEX_WORD`], as in parts of ids and
//! sums, each of its letters and digits is the byte [`HEX`], which no JSON text
//! may hold as it is.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Stands for a hexadecimal digit in lower case.
const HEX: u8 = 1;

/// The least length of a word that is taken for a hexadecimal number.
const HEX_WORD: usize = 4;

/// The longest text that is taken apart, in bytes. A longer one is hardly met
/// again, and dictionaries are read in blocks of a few kilobytes.
const LONGEST: usize = 8 * 1024;

/// Patterns that are remembered, once young and once old.
const REMEMBERED: usize = 32 * 1024;

/// Append the pattern of `text` to `pattern` and its digits to `digits`;
/// `false`, with both as they were, where it has none.
pub(super) fn take_apart(text: &[u8], pattern: &mut Vec<u8>, digits: &mut Vec<u8>) -> bool {
    if !is_plain(text, text.len()) {
        return false;
    }
    take_apart_plain(text, pattern, digits);
    true
}

/// Whether `length` bytes of a text may have a pattern.
pub(super) fn is_plain(text: &[u8], length: usize) -> bool {
    length <= LONGEST && memchr::memchr(HEX, text).is_none()
}

/// As [`take_apart`], of text that [`is_plain`].
pub(super) fn take_apart_plain(text: &[u8], pattern: &mut Vec<u8>, digits: &mut Vec<u8>) {
    let mut done = 0;
    // Words without digits stay as they are.
    while let Some(first) = text[done..].iter().position(u8::is_ascii_digit) {
        let first = done + first;
        let before = text[done..first].iter().rev();
        let start = first
            - before
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count();
        let behind = text[first..].iter();
        let end = first
            + behind
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count();
        pattern.extend_from_slice(&text[done..start]);
        let word = &text[start..end];
        done = end;
        if is_hex_word(word) {
            pattern.extend(word.iter().map(|_| HEX));
            digits.extend(word.iter().map(|byte| value_of(*byte)));
        } else {
            let digit_or = |byte: &u8| if byte.is_ascii_digit() { b'0' } else { *byte };
            pattern.extend(word.iter().map(digit_or));
            let found = word.iter().filter(|byte| byte.is_ascii_digit());
            digits.extend(found.map(|byte| value_of(*byte)));
        }
    }
    pattern.extend_from_slice(&text[done..]);
}

/// Append to `text` what `pattern` and the next of `digits` make; `None` where
/// there are too few.
pub(super) fn put_together(
    pattern: &[u8],
    digits: &mut impl Iterator<Item = u8>,
    text: &mut Vec<u8>,
) -> Option<()> {
    for byte in pattern {
        text.push(match *byte {
            b'0' => b'0' + digits.next()?,
            HEX => match digits.next()? {
                digit @ 0..=9 => b'0' + digit,
                letter => b'a' + letter - 10,
            },
            other => other,
        });
    }
    Some(())
}

/// Digits, of which `word` has one, and letters both: a word of letters alone
/// may be English, and one of digits alone is a number like any other.
fn is_hex_word(word: &[u8]) -> bool {
    let of_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    word.len() >= HEX_WORD && word.iter().all(of_hex) && word.iter().any(u8::is_ascii_lowercase)
}

fn value_of(byte: u8) -> u8 {
    if byte.is_ascii_digit() {
        byte - b'0'
    } else {
        byte - b'a' + 10
    }
}

/// Two digits a byte.
pub(super) fn pack_digits(digits: &[u8], out: &mut Vec<u8>) {
    out.extend(digits.chunks(2).map(|pair| match pair {
        [high, low] => high << 4 | low,
        [high, ..] => high << 4,
        [] => 0,
    }));
}

/// The digits of [`pack_digits`], and a zero where their number was odd.
pub(super) fn unpack_digits(packed: &[u8]) -> impl Iterator<Item = u8> {
    packed.iter().flat_map(|byte| [byte >> 4, byte & 15])
}

/// Which patterns came lately. One that comes for the first time is not worth
/// a place in a dictionary; free text would fill it.
#[derive(Default)]
pub(super) struct Lately {
    /// Texts come from outside: with a key of our own nobody chooses which
    /// patterns are taken for one.
    hasher: RandomState,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Lately {
    /// Whether `pattern` came before; it has come now.
    pub(super) fn knew(&mut self, pattern: &[u8]) -> bool {
        let hash = self.hasher.hash_one(pattern);
        if self.young.contains(&hash) {
            return true;
        }
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
        self.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, pattern: &str, digits: &[u8]) {
        let (mut found, mut numbers) = (Vec::new(), Vec::new());
        assert!(take_apart(text.as_bytes(), &mut found, &mut numbers));
        assert_eq!(String::from_utf8(found).unwrap(), pattern);
        assert_eq!(numbers, digits);
    }

    #[test]
    fn numbers_and_hexadecimal_words_are_taken_out() {
        check("took 153 ms", "took 000 ms", &[1, 5, 3]);
        check("blk_38: added", "blk_00: added", &[3, 8]);
        check(
            "id 7f3a-beef",
            "id \u{1}\u{1}\u{1}\u{1}-beef",
            &[7, 15, 3, 10],
        );
        check("a1 A1F2 订单7", "a0 A0F0 订单0", &[1, 1, 2, 7]);
        check("", "", &[]);
    }

    #[test]
    fn what_cannot_be_told_from_a_pattern_is_left_alone() {
        let (mut pattern, mut digits) = (Vec::new(), Vec::new());
        assert!(!take_apart(b"a\x01b", &mut pattern, &mut digits));
        assert!(!take_apart(&[b'a'; LONGEST + 1], &mut pattern, &mut digits));
        assert!(pattern.is_empty() && digits.is_empty());
    }

    #[test]
    fn a_pattern_is_known_from_its_second_time_on_and_not_for_ever() {
        let mut lately = Lately::default();
        assert!(!lately.knew(b"a"));
        assert!(lately.knew(b"a"));
        for number in 0..2 * REMEMBERED {
            lately.knew(&number.to_be_bytes());
        }
        assert!(!lately.knew(b"a"));
    }

    proptest! {
        #[test]
        fn a_text_comes_back_from_its_pattern_and_its_digits(
            texts in prop::collection::vec("[0-9a-f]{0,9}[ -]|.{0,20}|[0-9a-zA-Z :,-]{0,40}", 1..6),
        ) {
            let text = texts.concat().into_bytes();
            let (mut pattern, mut digits, mut packed) = (Vec::new(), Vec::new(), Vec::new());
            if take_apart(&text, &mut pattern, &mut digits) {
                prop_assert_eq!(pattern.len(), text.len());
                pack_digits(&digits, &mut packed);
                let mut again = Vec::new();
                let mut unpacked = unpack_digits(&packed);
                prop_assert!(put_together(&pattern, &mut unpacked, &mut again).is_some());
                prop_assert_eq!(again, text);
            }
        }
    }
}
