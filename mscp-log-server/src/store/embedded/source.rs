//! The stored form of a source, and back.
//!
//! Most of a document's text stands in its columns too, where it takes a few
//! bits: host, pod, times, the id whose digits do not compress. These values
//! are cut out, and put back at their places when the source is read, so that
//! it is byte for byte what was written. What the cuts leave is the *rest*: one
//! byte that counts the cuts; for each, in the order of their places, its kind
//! and the distance from the end of the one before (LEB128); the bytes left.
//!
//! Partitions of format 1 store the rest. Since format 2 the message is cut out
//! too, and of the rest and of the message only the digits are stored where
//! their pattern (see [`super::patterns`]) came lately and lies in a column:
//!
//! | bytes | |
//! |---|---|
//! | 1 | bit 0: the rest's pattern lies in a column; bit 1: the message's |
//! | | for each of the two that does not: its length (LEB128), and it |
//! | | the digits of the patterns, four bits each |
//!
//! A rest keeps its cuts in its pattern as they are. A source without a cut for
//! the message has an empty one.

use super::patterns::{
    Lately, is_plain, pack_digits, put_together, take_apart, take_apart_plain, unpack_digits,
};

/// Where the text of a cut comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The hex digits of the id.
    Id,
    /// `realtime_us` as `@timestamp` has it.
    Time,
    /// The one value of the field at this place of `FIELDS`.
    Field(usize),
    /// The message, which is stored beside the rest.
    Message,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Id => 0,
            Self::Time => 1,
            Self::Field(place) => place as u8 + 2,
            Self::Message => u8::MAX,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Id,
            1 => Self::Time,
            u8::MAX => Self::Message,
            field => Self::Field(usize::from(field) - 2),
        }
    }
}

/// A value that is cut out of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) length: usize,
}

/// A source with the places of what need not be stored with it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    text: Box<[u8]>,
    /// In order, none over another; at most one is the message.
    cuts: Vec<Cut>,
}

/// What is stored of a source.
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    /// What the columns of patterns take: the rest's, and the message's.
    pub(super) rest_pattern: Option<Vec<u8>>,
    pub(super) message_pattern: Option<Vec<u8>>,
}

const REST_IN_COLUMN: u8 = 1;
const MESSAGE_IN_COLUMN: u8 = 2;

impl Source {
    pub(super) fn new(text: &[u8], mut cuts: Vec<Cut>) -> Self {
        cuts.sort_unstable_by_key(|cut| cut.start);
        // Two numbers with one text may have been found at one place.
        cuts.dedup_by(|next, before| next.start < before.start + before.length);
        cuts.truncate(usize::from(u8::MAX));
        Self {
            text: text.into(),
            cuts,
        }
    }

    /// The source as it was written.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The form of format 1.
    pub(super) fn whole(mut self) -> Vec<u8> {
        self.cuts.retain(|cut| cut.kind != Kind::Message);
        let mut bytes = Vec::with_capacity(self.text.len() + 64);
        self.header(&mut bytes);
        self.rest(&mut bytes);
        bytes
    }

    /// The form of format 2.
    pub(super) fn stored(self, lately: &mut Lately) -> Stored {
        let cut: usize = self.cuts.iter().map(|cut| cut.length).sum();
        let rest = self.text.len() - cut;
        let mut rest_pattern = Vec::with_capacity(rest + 64);
        self.header(&mut rest_pattern);
        let header = rest_pattern.len();
        let message = self.cuts.iter().find(|cut| cut.kind == Kind::Message);
        let message = message.map_or(&[][..], |cut| &self.text[cut.start..][..cut.length]);
        let mut message_pattern = Vec::with_capacity(message.len());

        let mut flags = 0;
        let mut digits = Vec::with_capacity(128);
        let plain = is_plain(&self.text, rest);
        if plain {
            for piece in self.pieces() {
                take_apart_plain(piece, &mut rest_pattern, &mut digits);
            }
        }
        if plain && lately.knew(&rest_pattern) {
            flags |= REST_IN_COLUMN;
        } else {
            digits.clear();
        }
        let of_rest = digits.len();
        if take_apart(message, &mut message_pattern, &mut digits) && lately.knew(&message_pattern) {
            flags |= MESSAGE_IN_COLUMN;
        } else {
            digits.truncate(of_rest);
        }

        let mut bytes = Vec::with_capacity(96);
        bytes.push(flags);
        if flags & REST_IN_COLUMN == 0 {
            put_number(header + rest, &mut bytes);
            bytes.extend_from_slice(&rest_pattern[..header]);
            self.rest(&mut bytes);
        }
        if flags & MESSAGE_IN_COLUMN == 0 {
            put_number(message.len(), &mut bytes);
            bytes.extend_from_slice(message);
        }
        pack_digits(&digits, &mut bytes);
        let kept = |flag: u8, pattern| (flags & flag != 0).then_some(pattern);
        Stored {
            bytes,
            rest_pattern: kept(REST_IN_COLUMN, rest_pattern),
            message_pattern: kept(MESSAGE_IN_COLUMN, message_pattern),
        }
    }

    fn header(&self, out: &mut Vec<u8>) {
        out.push(self.cuts.len() as u8);
        let mut done = 0;
        for cut in &self.cuts {
            out.push(cut.kind.code());
            put_number(cut.start - done, out);
            done = cut.start + cut.length;
        }
    }

    fn rest(&self, out: &mut Vec<u8>) {
        for piece in self.pieces() {
            out.extend_from_slice(piece);
        }
    }

    /// What the cuts leave.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.cuts.iter().map(|cut| cut.start);
        let starts = self.cuts.iter().map(|cut| cut.start + cut.length);
        let starts = std::iter::once(0).chain(starts);
        let ends = ends.chain(std::iter::once(self.text.len()));
        starts.zip(ends).map(|(start, end)| &self.text[start..end])
    }
}

/// The source again from the form of format 1; `restore` writes the text of a
/// cut. `None` where the stored bytes are not of this form, or `restore` has no
/// text.
pub(super) fn from_whole(
    stored: &[u8],
    restore: impl FnMut(Kind, &mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let (cuts, rest) = cuts_of(stored)?;
    join(&cuts, rest, restore)
}

/// The patterns of a document; none where a column has none for it.
pub(super) trait Patterns {
    fn rest(&self) -> Option<std::sync::Arc<[u8]>>;
    fn message(&self) -> Option<std::sync::Arc<[u8]>>;
}

/// The source again from the form of format 2, as [`from_whole`].
pub(super) fn from_stored(
    stored: &[u8],
    columns: &impl Patterns,
    mut restore: impl FnMut(Kind, &mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let (flags, mut left) = stored.split_first()?;
    let mut inline = |flag: u8| {
        if flags & flag != 0 {
            return Some(None);
        }
        let (length, behind) = take_number(left)?;
        let (text, behind) = behind.split_at_checked(length)?;
        left = behind;
        Some(Some(text))
    };
    let inline_rest = inline(REST_IN_COLUMN)?;
    let inline_message = inline(MESSAGE_IN_COLUMN)?;
    let mut digits = unpack_digits(left);

    let mut rest = Vec::new();
    let (cuts, rest) = match inline_rest {
        Some(text) => cuts_of(text)?,
        None => {
            let pattern = columns.rest()?;
            let (cuts, pattern) = cuts_of(&pattern)?;
            put_together(pattern, &mut digits, &mut rest)?;
            (cuts, rest.as_slice())
        }
    };
    let mut message = Vec::new();
    match inline_message {
        Some(text) => message.extend_from_slice(text),
        None => put_together(&columns.message()?, &mut digits, &mut message)?,
    }
    join(&cuts, rest, |kind, out| match kind {
        Kind::Message => {
            out.extend_from_slice(&message);
            Some(())
        }
        kind => restore(kind, out),
    })
}

fn join(
    cuts: &[(Kind, usize)],
    mut rest: &[u8],
    mut restore: impl FnMut(Kind, &mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut source = Vec::with_capacity(rest.len() + 24 * cuts.len());
    for (kind, distance) in cuts {
        let (head, tail) = rest.split_at_checked(*distance)?;
        source.extend_from_slice(head);
        restore(*kind, &mut source)?;
        rest = tail;
    }
    source.extend_from_slice(rest);
    Some(source)
}

/// Cuts by their kinds and distances.
type Cuts = Vec<(Kind, usize)>;

/// The cuts that stand before a rest, and the rest.
fn cuts_of(bytes: &[u8]) -> Option<(Cuts, &[u8])> {
    let (count, mut rest) = bytes.split_first()?;
    let mut cuts = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let (code, tail) = rest.split_first()?;
        let (distance, tail) = take_number(tail)?;
        cuts.push((Kind::of(*code), distance));
        rest = tail;
    }
    Some((cuts, rest))
}

fn put_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        bytes = rest;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    impl Patterns for Stored {
        fn rest(&self) -> Option<Arc<[u8]>> {
            self.rest_pattern.as_deref().map(Arc::from)
        }

        fn message(&self) -> Option<Arc<[u8]>> {
            self.message_pattern.as_deref().map(Arc::from)
        }
    }

    proptest! {
        #[test]
        fn a_source_comes_back_as_it_was(
            parts in prop::collection::vec((".{0,200}", 0_u8..40, ".{0,8}"), 0..20),
            message in prop::option::of((0_usize..20, ".{0,8}|[0-9a-f]{0,8}")),
            end in ".{0,20}",
        ) {
            let mut source = String::new();
            let mut cuts = Vec::new();
            let mut texts = Vec::new();
            for (place, (before, code, text)) in parts.iter().enumerate() {
                source.push_str(before);
                let cut_here = match &message {
                    Some((at, message)) if *at == place => (Kind::Message, message),
                    _ => (Kind::of(*code), text),
                };
                let (kind, text) = cut_here;
                let (start, length) = (source.len(), text.len());
                cuts.push(Cut { kind, start, length });
                texts.push((kind, text.clone()));
                source.push_str(text);
            }
            source.push_str(&end);
            let written = Source::new(source.as_bytes(), cuts);
            let restorer = || {
                let mut texts = texts.iter().filter(|(kind, _)| *kind != Kind::Message);
                move |kind: Kind, out: &mut Vec<u8>| {
                    let (expected, text) = texts.next()?;
                    assert_eq!(kind, *expected);
                    out.extend_from_slice(text.as_bytes());
                    Some(())
                }
            };
            let again = from_whole(&written.clone().whole(), restorer()).unwrap();
            prop_assert_eq!(again, source.as_bytes());
            let mut lately = Lately::default();
            for _ in 0..2 {
                let stored = written.clone().stored(&mut lately);
                let again = from_stored(&stored.bytes, &stored, restorer()).unwrap();
                prop_assert_eq!(again, source.as_bytes());
            }
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>, rest: Vec<u8>, message: Vec<u8>) {
            let _ = from_whole(&bytes, |_, _| Some(()));
            let patterns = Stored {
                bytes: Vec::new(),
                rest_pattern: Some(rest),
                message_pattern: Some(message),
            };
            let _ = from_stored(&bytes, &patterns, |_, _| Some(()));
        }
    }
}
