//! The Lumberjack protocol, which Beats speak: its frames, without I/O.
//!
//! A frame is a version (`1` or `2`), a type, and what the type says; numbers
//! are 32 bits, most significant byte first. A sender announces a window of so
//! many events (`W`), sends them (`J`: JSON, `D`: pairs of strings), alone or
//! with others in a compressed frame (`C`: zlib), and is answered with the
//! sequence number of the last event that the receiver answers for (`A`).
//!
//! What is known of it is written in `PROTOCOL.md` of logstash-input-beats and
//! in the code of elastic/go-lumber, which Beats are built on. Version 2 is
//! what Beats speak; version 1 is that of logstash-forwarder and of Logstash's
//! own output `lumberjack`, which puts `J` frames into it, too.

mod parse;

pub use parse::{Limits, Parser, ProtocolError, Step};

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Which of the two versions a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// logstash-forwarder's. Its senders take any answer as one for the whole
    /// window.
    One,
    /// That of Beats. An answer may be for a part of the window, or for nothing
    /// new: then it says that the receiver lives.
    Two,
}

impl Version {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'1' => Some(Self::One),
            b'2' => Some(Self::Two),
            _ => None,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::One => b'1',
            Self::Two => b'2',
        }
    }
}

/// Bytes of an acknowledgement on the wire.
pub const ACK_BYTES: usize = 6;

/// An acknowledgement of everything up to `sequence`.
#[must_use]
pub fn ack(version: Version, sequence: u32) -> [u8; ACK_BYTES] {
    let [a, b, c, d] = sequence.to_be_bytes();
    [version.byte(), b'A', a, b, c, d]
}

/// The sequence number of an acknowledgement; `None` where `frame` is none.
#[must_use]
pub fn read_ack(frame: [u8; ACK_BYTES]) -> Option<u32> {
    let [version, kind, a, b, c, d] = frame;
    Version::of(version)?;
    (kind == b'A').then(|| u32::from_be_bytes([a, b, c, d]))
}

/// Write a window of `events` in version 2, numbered from 1, in a compressed
/// frame unless `level` (0 to 9, zlib's) is 0.
///
/// # Errors
/// When the window, an event, or all of them compressed have more than a
/// 32 bit number can say.
pub fn write_window<E: AsRef<[u8]>>(out: &mut Vec<u8>, events: &[E], level: u32) -> io::Result<()> {
    out.extend_from_slice(b"2W");
    out.extend_from_slice(&length(events.len())?);
    if level == 0 {
        return write_events(out, events);
    }
    out.extend_from_slice(b"2C");
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut zlib = ZlibEncoder::new(&mut *out, Compression::new(level.min(9)));
    write_events(&mut zlib, events)?;
    zlib.finish()?;
    let compressed = length(out.len() - length_at - 4)?;
    out[length_at..length_at + 4].copy_from_slice(&compressed);
    Ok(())
}

fn write_events<E: AsRef<[u8]>>(out: &mut impl Write, events: &[E]) -> io::Result<()> {
    for (sequence, event) in (1_u32..).zip(events) {
        let event = event.as_ref();
        out.write_all(b"2J")?;
        out.write_all(&sequence.to_be_bytes())?;
        out.write_all(&length(event.len())?)?;
        out.write_all(event)?;
    }
    Ok(())
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    match u32::try_from(length) {
        Ok(length) => Ok(length.to_be_bytes()),
        Err(_) => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

#[cfg(test)]
mod tests;
