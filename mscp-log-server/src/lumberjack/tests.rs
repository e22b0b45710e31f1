#![allow(clippy::unwrap_used, reason = "tests")]
//! Frames of any kind, cut into any pieces; bytes of any kind.

use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    event_bytes: 200,
    frame_bytes: 100_000,
};

/// A frame as a test writes it.
#[derive(Clone, Debug)]
enum Frame {
    Window(u8, u32),
    Json(u8, u32, Vec<u8>),
    Data(u8, u32, Vec<(String, String)>),
    /// Frames together, with bytes behind the stream.
    Compressed(u8, Vec<Frame>, Vec<u8>),
}

fn write(frames: &[Frame], out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, number: usize| {
        out.extend_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    };
    for frame in frames {
        match frame {
            Frame::Window(version, size) => {
                out.extend_from_slice(&[*version, b'W']);
                number(out, *size as usize);
            }
            Frame::Json(version, sequence, json) => {
                out.extend_from_slice(&[*version, b'J']);
                number(out, *sequence as usize);
                number(out, json.len());
                out.extend_from_slice(json);
            }
            Frame::Data(version, sequence, pairs) => {
                out.extend_from_slice(&[*version, b'D']);
                number(out, *sequence as usize);
                number(out, pairs.len());
                for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
                    number(out, text.len());
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Frame::Compressed(version, frames, behind) => {
                let mut plain = Vec::new();
                write(frames, &mut plain);
                let compressed = [zlib(&plain), behind.clone()].concat();
                out.extend_from_slice(&[*version, b'C']);
                number(out, compressed.len());
                out.extend_from_slice(&compressed);
            }
        }
    }
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// What a parser says of `bytes` given in pieces that end at `cuts`.
fn parsed(bytes: &[u8], cuts: &[usize], limits: Limits) -> (Vec<Step>, Result<(), ProtocolError>) {
    let mut parser = Parser::new(limits);
    let mut steps = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        let mut input = &bytes[piece[0]..piece[1]];
        loop {
            match parser.next(&mut input) {
                Ok(Some(Step::Busy)) => {}
                Ok(Some(step)) => steps.push(step),
                Ok(None) => break,
                Err(error) => return (steps, Err(error)),
            }
        }
        assert!(input.is_empty(), "a parser that wants more has used it up");
    }
    (steps, Ok(()))
}

/// What should be said of `frames`.
fn expected(frames: &[Frame], steps: &mut Vec<Step>) {
    for frame in frames {
        match frame {
            Frame::Window(version, events) => steps.push(Step::Window {
                version: Version::of(*version).unwrap(),
                events: *events,
            }),
            Frame::Json(_, sequence, json) => {
                let sequence = *sequence;
                if json.len() > LIMITS.event_bytes {
                    let bytes = json.len() as u64;
                    steps.push(Step::TooLarge { sequence, bytes });
                } else {
                    steps.push(Step::Room(json.len()));
                    let json = json.clone();
                    steps.push(Step::Event { sequence, json });
                }
            }
            Frame::Data(_, sequence, pairs) => {
                let sequence = *sequence;
                steps.push(Step::Room(LIMITS.event_bytes));
                let bytes: usize = pairs.iter().map(|(k, v)| k.len() + v.len() + 64).sum();
                if bytes > LIMITS.event_bytes {
                    let bytes = bytes as u64;
                    steps.push(Step::TooLarge { sequence, bytes });
                } else {
                    let fields: serde_json::Map<_, _> = pairs
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone().into()))
                        .collect();
                    let json = serde_json::to_vec(&fields).unwrap();
                    steps.push(Step::Event { sequence, json });
                }
            }
            Frame::Compressed(_, frames, _) => expected(frames, steps),
        }
    }
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let version = || prop_oneof![Just(b'1'), Just(b'2')];
    let plain = prop_oneof![
        (version(), any::<u32>()).prop_map(|(v, size)| Frame::Window(v, size)),
        (
            version(),
            any::<u32>(),
            proptest::collection::vec(any::<u8>(), 0..260)
        )
            .prop_map(|(v, sequence, json)| Frame::Json(v, sequence, json)),
        (
            version(),
            any::<u32>(),
            proptest::collection::vec(("\\PC{0,9}", "\\PC{0,30}"), 0..4)
        )
            .prop_map(|(v, sequence, pairs)| Frame::Data(v, sequence, pairs)),
    ];
    let compressed = (
        version(),
        proptest::collection::vec(plain.clone(), 0..6),
        proptest::collection::vec(any::<u8>(), 0..9),
    )
        .prop_map(|(v, frames, behind)| Frame::Compressed(v, frames, behind));
    proptest::collection::vec(prop_oneof![3 => plain, 1 => compressed], 0..10)
}

proptest! {
    #[test]
    fn frames_say_the_same_however_they_are_cut(
        frames in frames(), cuts in proptest::collection::vec(0_usize..4_000, 0..40),
    ) {
        let mut bytes = Vec::new();
        write(&frames, &mut bytes);
        let mut steps = Vec::new();
        expected(&frames, &mut steps);
        prop_assert_eq!(parsed(&bytes, &cuts, LIMITS), (steps.clone(), Ok(())));
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(parsed(&bytes, &each, LIMITS), (steps, Ok(())));
    }

    #[test]
    fn any_bytes_are_read_or_refused_the_same_however_they_are_cut(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        start in prop::sample::select(vec![&b"2J"[..], b"2C\0\0\0\x60\x78\x9c", b"1D", b""]),
        cuts in proptest::collection::vec(0_usize..300, 0..9),
    ) {
        bytes.splice(0..0, start.iter().copied());
        let (whole, pieces) = (parsed(&bytes, &[], LIMITS), parsed(&bytes, &cuts, LIMITS));
        // Of a damaged stream more or less may be inflated before the damage is found.
        prop_assert_eq!(whole.1.is_err(), pieces.1.is_err());
        prop_assert!(whole.1.is_err() || whole == pieces);
    }

    #[test]
    fn damage_inside_of_a_frame_is_an_error_or_another_frame_but_never_a_panic(
        frames in frames(), at in any::<proptest::sample::Index>(), to in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        write(&frames, &mut bytes);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = parsed(&bytes, &[], LIMITS);
    }

    #[test]
    fn a_window_that_is_written_reads_back(
        events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20), level in 0_u32..10,
    ) {
        let mut bytes = Vec::new();
        write_window(&mut bytes, &events, level).unwrap();
        let (steps, ended) = parsed(&bytes, &[], LIMITS);
        prop_assert_eq!(ended, Ok(()));
        let window = Step::Window { version: Version::Two, events: u32::try_from(events.len()).unwrap() };
        prop_assert_eq!(&steps[0], &window);
        let read: Vec<(u32, Vec<u8>)> = steps
            .into_iter()
            .filter_map(|step| match step {
                Step::Event { sequence, json } => Some((sequence, json)),
                _ => None,
            })
            .collect();
        prop_assert_eq!(read, (1_u32..).zip(events).collect::<Vec<_>>());
    }

    #[test]
    fn an_acknowledgement_reads_back(sequence: u32) {
        for version in [Version::One, Version::Two] {
            prop_assert_eq!(read_ack(ack(version, sequence)), Some(sequence));
        }
    }
}

#[track_caller]
fn check_error(bytes: &[u8], limits: Limits, expected: ProtocolError) {
    assert_eq!(parsed(bytes, &[], limits).1, Err(expected));
}

fn compressed(frames: &[u8]) -> Vec<u8> {
    let inside = zlib(frames);
    let length = u32::try_from(inside.len()).unwrap().to_be_bytes();
    [b"2C", &length[..], &inside].concat()
}

#[test]
fn what_is_no_frame_is_refused_with_its_reason() {
    let limits = LIMITS;
    check_error(b"GET / HTTP/1.1", limits, ProtocolError::Version(b'G'));
    check_error(b"\x16\x03\x01\x02", limits, ProtocolError::Version(0x16));
    check_error(b"3W\0\0\0\x01", limits, ProtocolError::Version(b'3'));
    // Only receivers acknowledge.
    check_error(b"2A\0\0\0\x01", limits, ProtocolError::Kind(b'A'));
    let inner = compressed(b"2W\0\0\0\x01");
    check_error(&compressed(&inner), limits, ProtocolError::Nested);
    check_error(&compressed(b"2W\0\0"), limits, ProtocolError::Partial);
    check_error(
        &compressed(b"2J\0\0\0\x01\0\0\0\x09{}"),
        limits,
        ProtocolError::Partial,
    );
    check_error(b"2C\0\0\0\x02xxxxx", limits, ProtocolError::Damaged);
    // The stream ends before its end.
    let mut cut = compressed(b"2W\0\0\0\x01");
    cut[5] -= 1;
    check_error(&cut, limits, ProtocolError::Damaged);
}

#[test]
fn a_compressed_frame_that_holds_more_than_is_allowed_is_refused_before_it_is_inflated() {
    // One event of 50 MB of zeros, which is 50 kB on the wire.
    let event = vec![b'0'; 50 << 20];
    let mut bomb = Vec::new();
    write_window(&mut bomb, &[event], 9).unwrap();
    assert!(bomb.len() < 100 << 10, "{}", bomb.len());
    check_error(&bomb, LIMITS, ProtocolError::FrameTooLarge(100_000));
    // Within the limit on frames the one on events holds: nothing of it is kept.
    let limits = Limits {
        frame_bytes: 1 << 30,
        ..LIMITS
    };
    let (steps, ended) = parsed(&bomb, &[], limits);
    assert_eq!(ended, Ok(()));
    let bytes = 50 << 20;
    assert_eq!(steps[1..], [Step::TooLarge { sequence: 1, bytes }]);
}

#[test]
fn an_event_is_not_given_memory_for_what_it_only_announces() {
    let limits = Limits {
        event_bytes: 1 << 30,
        ..LIMITS
    };
    let mut parser = Parser::new(limits);
    let mut input = &b"2J\0\0\0\x01\x3f\xff\xff\xff{"[..];
    let step = parser.next(&mut input).unwrap();
    assert_eq!(step, Some(Step::Room(0x3fff_ffff)));
    assert_eq!(parser.next(&mut input), Ok(None));
    assert!(parser.held() < 1 << 20, "{}", parser.held());
}

#[test]
fn pairs_without_end_are_passed_over_without_being_kept() {
    let mut bytes = b"1D\0\0\0\x07\0\0\xff\xff".to_vec();
    for place in 0..0xffff_u32 {
        for text in [place.to_string(), "x".to_owned()] {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    // And one of them is long.
    bytes.splice(10..15, [&b"\x02\0\0\0"[..], &vec![b'k'; 32 << 20]].concat());
    let (last, all) = bytes.split_last().unwrap();
    let mut parser = Parser::new(LIMITS);
    let mut said = Vec::new();
    for piece in all.chunks(4096).chain([&[*last][..]]) {
        let mut input = piece;
        while let Some(step) = parser.next(&mut input).unwrap() {
            said.push(step);
        }
        assert!(parser.held() < 8192, "{}", parser.held());
    }
    let [Step::Room(200), Step::TooLarge { sequence: 7, .. }] = said[..] else {
        panic!("{said:?}");
    };
}
