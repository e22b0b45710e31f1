//! The stored form of a source, and back.
//!
//! Most of a document's text stands in its columns too, where it takes a few
//! bits: host, pod, times, the id whose digits do not compress. These values
//! are cut out of the stored bytes, and put back at their places when the
//! source is read, so that it is byte for byte what was written.
//!
//! Stored are: one byte that counts the cuts; for each, in the order of their
//! places, its kind and the distance from the end of the one before (LEB128);
//! the bytes that are left.

/// Where the text of a cut comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The hex digits of the id.
    Id,
    /// `realtime_us` as `@timestamp` has it.
    Time,
    /// The one value of the field at this place of `FIELDS`.
    Field(usize),
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Id => 0,
            Self::Time => 1,
            Self::Field(place) => place as u8 + 2,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Id,
            1 => Self::Time,
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

/// The stored form of `source`.
pub(super) fn pack(source: &[u8], mut cuts: Vec<Cut>) -> Vec<u8> {
    cuts.sort_unstable_by_key(|cut| cut.start);
    // Two numbers with one text may have been found at one place.
    cuts.dedup_by(|next, before| next.start < before.start + before.length);
    cuts.truncate(usize::from(u8::MAX));
    let mut stored = Vec::with_capacity(source.len() + 64);
    stored.push(cuts.len() as u8);
    let mut done = 0;
    for cut in &cuts {
        stored.push(cut.kind.code());
        put_number(cut.start - done, &mut stored);
        done = cut.start + cut.length;
    }
    done = 0;
    for cut in &cuts {
        stored.extend_from_slice(&source[done..cut.start]);
        done = cut.start + cut.length;
    }
    stored.extend_from_slice(&source[done..]);
    stored
}

/// The source again; `restore` writes the text of a cut. `None` where the
/// stored bytes are not of this form, or `restore` has no text.
pub(super) fn unpack(
    stored: &[u8],
    mut restore: impl FnMut(Kind, &mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let (count, mut rest) = stored.split_first()?;
    let mut cuts = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let (code, tail) = rest.split_first()?;
        let (distance, tail) = take_number(tail)?;
        cuts.push((Kind::of(*code), distance));
        rest = tail;
    }
    let mut source = Vec::with_capacity(rest.len() + 24 * cuts.len());
    for (kind, distance) in cuts {
        let (head, tail) = rest.split_at_checked(distance)?;
        source.extend_from_slice(head);
        restore(kind, &mut source)?;
        rest = tail;
    }
    source.extend_from_slice(rest);
    Some(source)
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_source_comes_back_as_it_was(
            parts in prop::collection::vec((".{0,200}", 0_u8..40, ".{0,8}"), 0..20),
            end in ".{0,20}",
        ) {
            let mut source = String::new();
            let mut cuts = Vec::new();
            for (before, code, text) in &parts {
                source.push_str(before);
                let (start, length) = (source.len(), text.len());
                cuts.push(Cut { kind: Kind::of(*code), start, length });
                source.push_str(text);
            }
            source.push_str(&end);
            let stored = pack(source.as_bytes(), cuts);
            let mut texts = parts.iter();
            let again = unpack(&stored, |kind, out| {
                let (_, code, text) = texts.next()?;
                assert_eq!(kind, Kind::of(*code));
                out.extend_from_slice(text.as_bytes());
                Some(())
            });
            prop_assert_eq!(again.unwrap(), source.into_bytes());
        }

        #[test]
        fn no_bytes_make_unpacking_panic(stored: Vec<u8>) {
            let _ = unpack(&stored, |_, _| Some(()));
        }
    }
}
