//! Words of ASCII, which are nearly all of a log: the rules of
//! [`super::word`] that can meet there, over bytes.

use super::{MAX_TOKEN_LENGTH, TokenKind};

/// What [`next`] came to.
pub(super) enum Next {
    /// A word from here to the place.
    Word(usize, TokenKind),
    /// The end, or what these rules alone cannot tell, at the place.
    Other,
}

const NONE: u8 = 0;
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const JOINER: u8 = 3;
/// Joins letters.
const MID_LETTER: u8 = 4;
/// Joins digits.
const MID_DIGIT: u8 = 5;
/// Joins both.
const MID_BOTH: u8 = 6;
/// Of a key where a mark follows.
const KEY: u8 = 7;
/// No ASCII.
const OTHER: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'_' => JOINER,
            b'.' | b'\'' => MID_BOTH,
            b':' => MID_LETTER,
            b',' | b';' => MID_DIGIT,
            b'#' | b'*' => KEY,
            _ => NONE,
        };
        byte += 1;
    }
    classes
};

fn class(text: &[u8], place: usize) -> u8 {
    text.get(place)
        .map_or(NONE, |byte| CLASSES[usize::from(*byte)])
}

/// The next word from `place` on, which is moved behind it. Where something
/// other than ASCII may have a say, `place` is moved to where that begins.
pub(super) fn next(text: &[u8], place: &mut usize) -> Next {
    loop {
        let start = *place;
        match class(text, start) {
            LETTER | DIGIT | JOINER => {}
            OTHER => return Next::Other,
            KEY if class(text, start + 1) == OTHER => return Next::Other,
            _ if start >= text.len() => return Next::Other,
            _ => {
                *place += 1;
                continue;
            }
        }
        let (mut letters, mut digits) = (false, false);
        let mut before = NONE;
        let mut end = start;
        loop {
            if end - start > MAX_TOKEN_LENGTH {
                // Found out here and not at the end, which may be far: it would
                // be looked for once for each piece that the word is cut into.
                return Next::Other;
            }
            let own = class(text, end);
            match own {
                LETTER => letters = true,
                DIGIT => digits = true,
                JOINER => {}
                OTHER => return Next::Other,
                MID_LETTER | MID_DIGIT | MID_BOTH => {
                    let next = class(text, end + 1);
                    if next == OTHER {
                        return Next::Other;
                    }
                    let joins = before == next
                        && match before {
                            LETTER => own != MID_DIGIT,
                            DIGIT => own != MID_LETTER,
                            _ => false,
                        };
                    if !joins {
                        break;
                    }
                    end += 1;
                    continue;
                }
                _ => break,
            }
            before = own;
            end += 1;
        }
        *place = end;
        match (letters, digits) {
            (true, _) => return Next::Word(start, TokenKind::Alphanum),
            (false, true) => return Next::Word(start, TokenKind::Num),
            // Nothing but joiners.
            (false, false) => {}
        }
    }
}
