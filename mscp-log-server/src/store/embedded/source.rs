//! The stored form of a source, and back.
//!
//! Two values of nearly every document are functions of its columns: the
//! `event_id`, whose digits do not compress, is its `_id`, and `@timestamp` is
//! `realtime_us` in milliseconds. They are cut out of the stored bytes, and put
//! back at their places when the source is read, so that it is byte for byte
//! what was written.
//!
//! Stored are: one byte that counts the cuts; for each its kind (1: id, 2:
//! time) and the place in the original as a `u32` (little endian), in
//! ascending order; the rest of the bytes.

use mscp_log_core::record::time::write_rfc3339;

const ID: u8 = 1;
const TIME: u8 = 2;

/// Bytes of the text form of an id.
const ID_BYTES: usize = 32;
/// Bytes of `2026-11-23T03:18:00.123Z`.
const TIME_BYTES: usize = 24;

/// What is cut out of a source: where the text of the value begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cuts {
    pub(super) id: Option<usize>,
    pub(super) time: Option<usize>,
}

/// The stored form of `source`.
pub(super) fn pack(source: &[u8], cuts: Cuts) -> Vec<u8> {
    let mut places = [(ID, ID_BYTES, cuts.id), (TIME, TIME_BYTES, cuts.time)];
    places.sort_unstable_by_key(|(_, _, place)| *place);
    let known = places
        .into_iter()
        .filter_map(|(kind, length, place)| Some((kind, length, place?)));
    let mut stored = Vec::with_capacity(source.len() + 16);
    stored.push(known.clone().count() as u8);
    for (kind, _, place) in known.clone() {
        stored.push(kind);
        // A body of 4 GiB does not pass the limits in front of this.
        stored.extend_from_slice(&(place as u32).to_le_bytes());
    }
    let mut done = 0;
    for (_, length, place) in known {
        stored.extend_from_slice(&source[done..place]);
        done = place + length;
    }
    stored.extend_from_slice(&source[done..]);
    stored
}

/// The source again. `None` where the stored bytes are not of this form.
pub(super) fn unpack(stored: &[u8], id: u128, realtime_us: Option<i64>) -> Option<Vec<u8>> {
    let (count, mut rest) = stored.split_first()?;
    let mut cuts = [(0, 0); 2];
    let cuts = cuts.get_mut(..usize::from(*count))?;
    for cut in &mut *cuts {
        let (head, tail) = rest.split_at_checked(5)?;
        let place = u32::from_le_bytes(head[1..].try_into().ok()?);
        *cut = (head[0], place as usize);
        rest = tail;
    }
    let mut source = Vec::with_capacity(rest.len() + ID_BYTES + TIME_BYTES);
    for (kind, place) in cuts {
        let (head, tail) = rest.split_at_checked(place.checked_sub(source.len())?)?;
        source.extend_from_slice(head);
        match *kind {
            ID => source.extend_from_slice(format!("{id:032x}").as_bytes()),
            TIME => write_rfc3339(realtime_us?, &mut source),
            _ => return None,
        }
        rest = tail;
    }
    source.extend_from_slice(rest);
    Some(source)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_source_comes_back_as_it_was(
            before in ".{0,20}", between in ".{0,20}", behind in ".{0,20}",
            key: u128, time_us in 0_i64..4_000_000_000_000_000, id_first: bool,
            with_id: bool, with_time: bool,
        ) {
            let mut time = Vec::new();
            write_rfc3339(time_us, &mut time);
            let id = format!("{key:032x}");
            let time = String::from_utf8(time).unwrap();
            let (first, second) = if id_first { (&id, &time) } else { (&time, &id) };
            let source = format!("{before}{first}{between}{second}{behind}");
            let places = (before.len(), before.len() + first.len() + between.len());
            let (id_place, time_place) = if id_first { places } else { (places.1, places.0) };
            let cuts = Cuts {
                id: with_id.then_some(id_place),
                time: with_time.then_some(time_place),
            };
            let stored = pack(source.as_bytes(), cuts);
            let again = unpack(&stored, key, Some(time_us)).unwrap();
            prop_assert_eq!(again, source.into_bytes());
        }

        #[test]
        fn no_bytes_make_unpacking_panic(stored: Vec<u8>, key: u128, time: Option<i64>) {
            let _ = unpack(&stored, key, time);
        }
    }
}
