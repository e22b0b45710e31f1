//! The receiving side: bytes in, in pieces of any size, and what they say out.
//!
//! Nothing is held but the event that is being read, and at most its limit;
//! compressed frames are inflated as their bytes come, an event at a time.

use flate2::{Decompress, FlushDecompress, Status};
use serde_json::{Map, Value};

use super::Version;

/// What a sender may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one event; a larger one is passed over.
    pub event_bytes: usize,
    /// Bytes that a compressed frame may inflate to; a larger one is an error.
    pub frame_bytes: u64,
}

/// What a piece of input said.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// So many events follow that want one acknowledgement.
    Window {
        /// In which version it is wanted.
        version: Version,
        /// How many.
        events: u32,
    },
    /// An event begins that needs so many bytes at most, within the limit. The
    /// parser holds none of them yet: here is where to wait for room.
    Room(usize),
    /// A whole event.
    Event {
        /// Its number.
        sequence: u32,
        /// What is in it: meant to be a JSON object, but not looked into.
        json: Vec<u8>,
    },
    /// An event over the limit came to its end, and was not kept.
    TooLarge {
        /// Its number.
        sequence: u32,
        /// Its bytes, at least.
        bytes: u64,
    },
    /// Much input gave nothing: here is where to let others work.
    Busy,
}

/// Why a connection cannot go on: where the next frame begins is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No version that there is.
    #[error("expected a frame of version 1 or 2, found byte {0:#04x}")]
    Version(u8),
    /// No type that there is, or none that a sender may send.
    #[error("expected a frame of type W, J, D or C, found byte {0:#04x}")]
    Kind(u8),
    /// A compressed frame in a compressed frame.
    #[error("a compressed frame lies in a compressed frame")]
    Nested,
    /// It is no zlib stream, or ends before its end.
    #[error("a compressed frame is damaged")]
    Damaged,
    /// An event goes on behind the end of the compressed frame.
    #[error("a compressed frame ends inside of a frame")]
    Partial,
    /// A compressed frame inflates to more than is allowed.
    #[error("a compressed frame holds more than {0} bytes")]
    FrameTooLarge(u64),
}

/// Bytes that are inflated at a time.
const INFLATE_BYTES: usize = 16 << 10;
/// Bytes that may be read without a word.
const BUSY_BYTES: usize = 1 << 20;

/// Reads the frames of one connection.
pub struct Parser {
    limits: Limits,
    outer: Frames,
    inner: Frames,
    /// The compressed frame that is being read.
    compressed: Option<u32>,
    inflater: Option<Inflater>,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

impl Parser {
    /// A parser at the beginning of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            outer: Frames::new(limits.event_bytes),
            inner: Frames::new(limits.event_bytes),
            compressed: None,
            inflater: None,
        }
    }

    /// Bytes that the event being read has taken of memory.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let held = |frames: &Frames| match &frames.state {
            State::Json { json, .. } => json.capacity(),
            State::Data(data) => {
                let kept = data.fields.iter().map(|(key, value)| {
                    key.capacity() + value.as_str().map_or(0, str::len) + PAIR_BYTES as usize
                });
                let read = match &data.text {
                    Text::Bytes { text, .. } => text.capacity(),
                    Text::Length => 0,
                };
                kept.sum::<usize>() + read
            }
            _ => 0,
        };
        held(&self.outer) + held(&self.inner)
    }

    /// Take bytes from the front of `input` until they say something; `None`
    /// where `input` is used up before. To be called until it is `None`, as
    /// some of what was taken may not have been said yet.
    ///
    /// # Errors
    /// When these are no frames; the parser is of no use then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Step>, ProtocolError> {
        let mut read = 0;
        loop {
            if let Some(left) = &mut self.compressed {
                let inflater = self.inflater.get_or_insert_with(Inflater::new);
                let mut plain = inflater.plain();
                let before = plain.len();
                let found = self.inner.next(&mut plain)?;
                let used = before - plain.len();
                inflater.used(used);
                read += used;
                match found {
                    Some(Found::Step(step)) => return Ok(Some(step)),
                    Some(Found::Compressed(_)) => return Err(ProtocolError::Nested),
                    None => {}
                }
                if read > BUSY_BYTES {
                    return Ok(Some(Step::Busy));
                }
                if inflater.ended {
                    if !self.inner.is_between_frames() {
                        return Err(ProtocolError::Partial);
                    }
                    // What is behind the stream is passed over, as go-lumber does.
                    skip(input, left);
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.compressed = None;
                    inflater.begin();
                } else if !inflater.inflate(input, left, self.limits.frame_bytes)? {
                    if *left == 0 {
                        return Err(ProtocolError::Damaged);
                    }
                    return Ok(None);
                }
                continue;
            }
            match self.outer.next(input)? {
                Some(Found::Step(step)) => return Ok(Some(step)),
                Some(Found::Compressed(bytes)) => self.compressed = Some(bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Drop as much of `left` as `input` has.
fn skip(input: &mut &[u8], left: &mut u32) {
    let there = input
        .len()
        .min(usize::try_from(*left).unwrap_or(usize::MAX));
    *input = &input[there..];
    *left -= u32::try_from(there).unwrap_or(*left);
}

struct Inflater {
    zlib: Decompress,
    buffer: Box<[u8]>,
    /// What is inflated and not yet read.
    unread: std::ops::Range<usize>,
    ended: bool,
}

impl Inflater {
    fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
            buffer: vec![0; INFLATE_BYTES].into(),
            unread: 0..0,
            ended: false,
        }
    }

    /// Be ready for another stream.
    fn begin(&mut self) {
        self.zlib.reset(true);
        self.unread = 0..0;
        self.ended = false;
    }

    fn plain(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    fn used(&mut self, bytes: usize) {
        self.unread.start += bytes;
    }

    /// Inflate a little more; false where that needs more input. Everything
    /// that was inflated before has been read.
    fn inflate(
        &mut self,
        input: &mut &[u8],
        left: &mut u32,
        most: u64,
    ) -> Result<bool, ProtocolError> {
        let there = input
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        let (taken_before, given_before) = (self.zlib.total_in(), self.zlib.total_out());
        let status = self
            .zlib
            .decompress(&input[..there], &mut self.buffer, FlushDecompress::None)
            .map_err(|_| ProtocolError::Damaged)?;
        let taken = usize::try_from(self.zlib.total_in() - taken_before).unwrap_or(there);
        let given = usize::try_from(self.zlib.total_out() - given_before).unwrap_or(0);
        *input = &input[taken..];
        *left -= u32::try_from(taken).unwrap_or(*left);
        if self.zlib.total_out() > most {
            return Err(ProtocolError::FrameTooLarge(most));
        }
        self.unread = 0..given;
        self.ended = matches!(status, Status::StreamEnd);
        if taken == 0 && given == 0 && there > 0 && !self.ended {
            return Err(ProtocolError::Damaged);
        }
        Ok(taken > 0 || given > 0 || self.ended)
    }
}

/// What a stream of frames gave.
enum Found {
    Step(Step),
    /// So many compressed bytes follow.
    Compressed(u32),
}

/// Reads frames that are not compressed.
struct Frames {
    most: usize,
    state: State,
    /// A header that is being read.
    header: [u8; 8],
    have: usize,
}

enum State {
    /// Version and type.
    Head,
    WindowSize(Version),
    CompressedSize,
    /// Sequence number and length.
    JsonHead,
    Json {
        sequence: u32,
        left: usize,
        json: Vec<u8>,
    },
    /// Sequence number and count of pairs.
    DataHead,
    Data(Data),
    /// An event that is too large to be kept.
    Skip {
        sequence: u32,
        bytes: u64,
        left: u32,
    },
}

/// A `D` frame: what is read of its pairs.
struct Data {
    sequence: u32,
    /// Keys and values that are still to come.
    left: u64,
    /// The key of the value that comes next.
    key: Option<String>,
    fields: Map<String, Value>,
    /// Bytes of the pairs so far, with something for each.
    bytes: u64,
    text: Text,
}

enum Text {
    Length,
    Bytes { left: u32, text: Vec<u8> },
}

/// What a pair costs beside its text.
const PAIR_BYTES: u64 = 64;

impl Frames {
    fn new(most: usize) -> Self {
        Self {
            most,
            state: State::Head,
            header: [0; 8],
            have: 0,
        }
    }

    fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Head) && self.have == 0
    }

    /// The next `N` bytes, once they are all there.
    fn header<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let wanted = (N - self.have).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.header[self.have..self.have + wanted].copy_from_slice(taken);
        *input = rest;
        self.have += wanted;
        if self.have < N {
            return None;
        }
        self.have = 0;
        let mut header = [0; N];
        header.copy_from_slice(&self.header[..N]);
        Some(header)
    }

    fn next(&mut self, input: &mut &[u8]) -> Result<Option<Found>, ProtocolError> {
        loop {
            match &mut self.state {
                State::Head => {
                    let Some([version, kind]) = self.header(input) else {
                        return Ok(None);
                    };
                    let version = Version::of(version).ok_or(ProtocolError::Version(version))?;
                    self.state = match kind {
                        b'W' => State::WindowSize(version),
                        b'J' => State::JsonHead,
                        b'D' => State::DataHead,
                        b'C' => State::CompressedSize,
                        other => return Err(ProtocolError::Kind(other)),
                    };
                }
                State::WindowSize(version) => {
                    let version = *version;
                    let Some(events) = self.header(input) else {
                        return Ok(None);
                    };
                    self.state = State::Head;
                    let events = u32::from_be_bytes(events);
                    return Ok(Some(Found::Step(Step::Window { version, events })));
                }
                State::CompressedSize => {
                    let Some(bytes) = self.header(input) else {
                        return Ok(None);
                    };
                    self.state = State::Head;
                    return Ok(Some(Found::Compressed(u32::from_be_bytes(bytes))));
                }
                State::JsonHead => {
                    let Some([a, b, c, d, e, f, g, h]) = self.header(input) else {
                        return Ok(None);
                    };
                    let sequence = u32::from_be_bytes([a, b, c, d]);
                    let length = u32::from_be_bytes([e, f, g, h]);
                    match usize::try_from(length) {
                        Ok(left) if left <= self.most => {
                            let json = Vec::new();
                            self.state = State::Json {
                                sequence,
                                left,
                                json,
                            };
                            return Ok(Some(Found::Step(Step::Room(left))));
                        }
                        _ => {
                            self.state = State::Skip {
                                sequence,
                                bytes: u64::from(length),
                                left: length,
                            }
                        }
                    }
                }
                State::Json {
                    sequence,
                    left,
                    json,
                } => {
                    let (taken, rest) = input.split_at(input.len().min(*left));
                    if json.is_empty() {
                        // Not what was announced, but what has come: the rest
                        // may never.
                        json.reserve_exact(taken.len().max((*left).min(INFLATE_BYTES)));
                    }
                    json.extend_from_slice(taken);
                    *input = rest;
                    *left -= taken.len();
                    if *left > 0 {
                        return Ok(None);
                    }
                    let (sequence, json) = (*sequence, std::mem::take(json));
                    self.state = State::Head;
                    return Ok(Some(Found::Step(Step::Event { sequence, json })));
                }
                State::Skip {
                    sequence,
                    bytes,
                    left,
                } => {
                    skip(input, left);
                    if *left > 0 {
                        return Ok(None);
                    }
                    let (sequence, bytes) = (*sequence, *bytes);
                    self.state = State::Head;
                    return Ok(Some(Found::Step(Step::TooLarge { sequence, bytes })));
                }
                State::DataHead => {
                    let Some([a, b, c, d, e, f, g, h]) = self.header(input) else {
                        return Ok(None);
                    };
                    self.state = State::Data(Data {
                        sequence: u32::from_be_bytes([a, b, c, d]),
                        left: u64::from(u32::from_be_bytes([e, f, g, h])) * 2,
                        key: None,
                        fields: Map::new(),
                        bytes: 0,
                        text: Text::Length,
                    });
                    // How long it will be is not said.
                    return Ok(Some(Found::Step(Step::Room(self.most))));
                }
                State::Data(data) => {
                    if data.left == 0 {
                        let step = data.end(self.most);
                        self.state = State::Head;
                        return Ok(Some(Found::Step(step)));
                    }
                    match &mut data.text {
                        Text::Length => {
                            let Some(length) = self.header(input) else {
                                return Ok(None);
                            };
                            // The header was read from this very state.
                            let State::Data(data) = &mut self.state else {
                                continue;
                            };
                            let left = u32::from_be_bytes(length);
                            data.bytes += u64::from(left) + PAIR_BYTES / 2;
                            let text = Vec::new();
                            data.text = Text::Bytes { left, text };
                        }
                        Text::Bytes { left, text } => {
                            if data.bytes > self.most as u64 {
                                // Not kept from here on, but read to its end.
                                data.fields.clear();
                                text.clear();
                                skip(input, left);
                            } else {
                                let there = usize::try_from(*left).unwrap_or(usize::MAX);
                                let (taken, rest) = input.split_at(input.len().min(there));
                                text.extend_from_slice(taken);
                                *input = rest;
                                *left -= u32::try_from(taken.len()).unwrap_or(*left);
                            }
                            if *left > 0 {
                                return Ok(None);
                            }
                            let text = String::from_utf8_lossy(text).into_owned();
                            data.left -= 1;
                            match data.key.take() {
                                None => data.key = Some(text),
                                Some(key) => {
                                    data.fields.insert(key, Value::String(text));
                                }
                            }
                            data.text = Text::Length;
                        }
                    }
                }
            }
        }
    }
}

impl Data {
    fn end(&mut self, most: usize) -> Step {
        let (sequence, bytes) = (self.sequence, self.bytes);
        if bytes > most as u64 {
            return Step::TooLarge { sequence, bytes };
        }
        let fields = Value::Object(std::mem::take(&mut self.fields));
        let json = fields.to_string().into_bytes();
        Step::Event { sequence, json }
    }
}
