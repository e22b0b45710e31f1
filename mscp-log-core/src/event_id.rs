//! The identity of an event: 128 bits made of where it came from.
//!
//! Every store is idempotent on it, so a record that is read, sent or shipped
//! a second time is stored once. It is the first half of SHA-256 over a tag
//! of the source and the parts, each with its length before it: no two
//! different lists of parts can give the same input.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// 128 bits that name one event; written as 32 lower-case hexadecimal digits,
/// which sort as the bytes do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

/// Where an event came from: what makes it the same event when it comes again.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A journald entry: its cursor (systemd.journal-fields(7)) is unique.
    Journal {
        /// `__CURSOR`.
        cursor: &'a str,
    },
    /// A line of a file that a collector of ours reads.
    File {
        /// The host that has the file.
        host: &'a str,
        /// Its device number.
        device: u64,
        /// Its inode number.
        inode: u64,
        /// Raised by each truncation and each reuse of the inode.
        generation: u64,
        /// A hash of its first bytes, where it has enough of them.
        fingerprint: Option<&'a [u8]>,
        /// Where the line begins.
        offset: u64,
    },
    /// A record pushed with an idempotency key.
    Push {
        /// Who pushed.
        subject: &'a str,
        /// The path below base, canonical.
        path: &'a str,
        /// `Idempotency-Key`, or what stands for it.
        key: &'a str,
        /// Its place in the request, from 0.
        place: u64,
        /// The record, in a form that does not depend on how it was sent.
        record: &'a [u8],
    },
    /// An item of `_bulk` with an `_id`.
    Item {
        /// Who sent it.
        subject: &'a str,
        /// The application it was sent for.
        appid: &'a str,
        /// Its `_id`.
        id: &'a str,
    },
    /// A Beats event without a position.
    Beat {
        /// The host it names.
        host: &'a str,
        /// The container it names, or nothing.
        container_id: &'a str,
        /// Its time in microseconds since the epoch.
        time_us: i64,
        /// The line.
        message: &'a [u8],
    },
    /// A Beats event with a position. A Beat knows no generation of a file,
    /// so the line is part of the identity: after a truncation another line at
    /// the same offset is another event.
    BeatFile {
        /// The host it names.
        host: &'a str,
        /// The path of the file.
        path: &'a str,
        /// Device and inode as the Beat writes them, or nothing.
        file: &'a str,
        /// Where the line begins.
        offset: u64,
        /// The line.
        message: &'a [u8],
    },
    /// A message that others wrote into a topic of Kafka.
    Kafka {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// Its number there.
        offset: u64,
    },
    /// Nothing tells a repetition: bytes from a random source, taken as they are.
    Random([u8; 16]),
}

impl EventId {
    /// The identity of what came from `origin`.
    ///
    /// ```
    /// use mscp_log_core::event_id::{EventId, Origin};
    /// let id = EventId::of(&Origin::Journal { cursor: "s=d8;i=14;b=b4;m=f1;t=54;x=19" });
    /// assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
    /// ```
    #[must_use]
    pub fn of(origin: &Origin<'_>) -> Self {
        let mut parts = match origin {
            Origin::Random(bytes) => return Self(*bytes),
            Origin::Journal { .. } => Parts::new(b"mscp-log/journal"),
            Origin::File { .. } => Parts::new(b"mscp-log/file"),
            Origin::Push { .. } => Parts::new(b"mscp-log/push"),
            Origin::Item { .. } => Parts::new(b"mscp-log/item"),
            Origin::Beat { .. } => Parts::new(b"mscp-log/beat"),
            Origin::BeatFile { .. } => Parts::new(b"mscp-log/beatfile"),
            Origin::Kafka { .. } => Parts::new(b"mscp-log/kafka"),
        };
        match *origin {
            Origin::Random(_) => {}
            Origin::Journal { cursor } => parts.bytes(cursor.as_bytes()),
            Origin::File {
                host,
                device,
                inode,
                generation,
                fingerprint,
                offset,
            } => {
                parts.bytes(host.as_bytes());
                parts.number(device);
                parts.number(inode);
                parts.number(generation);
                parts.number(u64::from(fingerprint.is_some()));
                parts.bytes(fingerprint.unwrap_or_default());
                parts.number(offset);
            }
            Origin::Push {
                subject,
                path,
                key,
                place,
                record,
            } => {
                parts.bytes(subject.as_bytes());
                parts.bytes(path.as_bytes());
                parts.bytes(key.as_bytes());
                parts.number(place);
                parts.bytes(record);
            }
            Origin::Item { subject, appid, id } => {
                parts.bytes(subject.as_bytes());
                parts.bytes(appid.as_bytes());
                parts.bytes(id.as_bytes());
            }
            Origin::Beat {
                host,
                container_id,
                time_us,
                message,
            } => {
                parts.bytes(host.as_bytes());
                parts.bytes(container_id.as_bytes());
                parts.number(time_us.cast_unsigned());
                parts.bytes(message);
            }
            Origin::BeatFile {
                host,
                path,
                file,
                offset,
                message,
            } => {
                parts.bytes(host.as_bytes());
                parts.bytes(path.as_bytes());
                parts.bytes(file.as_bytes());
                parts.number(offset);
                parts.bytes(message);
            }
            Origin::Kafka {
                topic,
                partition,
                offset,
            } => {
                parts.bytes(topic.as_bytes());
                parts.number(u64::from(partition));
                parts.number(offset);
            }
        }
        parts.finish()
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 digits, without an allocation.
    #[must_use]
    pub fn hex(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A hash of parts, each with its length before it. Small parts are gathered
/// so that the hash is fed in few calls.
struct Parts {
    hash: Sha256,
    gathered: [u8; 256],
    used: usize,
}

impl Parts {
    fn new(tag: &[u8]) -> Self {
        let mut parts = Self {
            hash: Sha256::new(),
            gathered: [0; 256],
            used: 0,
        };
        parts.bytes(tag);
        parts
    }

    fn bytes(&mut self, part: &[u8]) {
        self.number(part.len() as u64);
        self.put(part);
    }

    fn number(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.used + bytes.len() > self.gathered.len() {
            self.hash.update(&self.gathered[..self.used]);
            self.used = 0;
            if bytes.len() > self.gathered.len() {
                self.hash.update(bytes);
                return;
            }
        }
        self.gathered[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn finish(mut self) -> EventId {
        self.hash.update(&self.gathered[..self.used]);
        let digest = self.hash.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        EventId(half)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// A text that is no event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id is 32 lower-case hexadecimal digits")]
pub struct EventIdError;

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| EventIdError)?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, EventIdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(EventIdError),
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl serde::de::Visitor<'_> for Digits {
            type Value = EventId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 lower-case hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_of_an_id_reads_back_and_sorts_as_the_bytes(a: [u8; 16], b: [u8; 16]) {
            let (a, b) = (EventId::of(&Origin::Random(a)), EventId::of(&Origin::Random(b)));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.hex().to_vec(), a.to_string().into_bytes());
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn moving_bytes_between_parts_gives_another_id(text in "[ab]{0,12}", cut in 0_usize..12, other in 0_usize..12) {
            let cut = cut.min(text.len());
            let other = other.min(text.len());
            prop_assume!(cut != other);
            let at = |place: usize| {
                let (subject, key) = text.split_at(place);
                EventId::of(&Origin::Push { subject, path: "", key, place: 0, record: b"" })
            };
            prop_assert_ne!(at(cut), at(other));
        }

        #[test]
        fn gathering_parts_does_not_change_the_hash(lengths in proptest::collection::vec(0_usize..600, 1..6)) {
            let mut parts = Parts::new(b"t");
            let mut plain = Sha256::new();
            plain.update(1_u64.to_le_bytes());
            plain.update(b"t");
            for length in lengths {
                let part = vec![7_u8; length];
                parts.bytes(&part);
                plain.update((length as u64).to_le_bytes());
                plain.update(&part);
            }
            prop_assert_eq!(parts.finish().0.to_vec(), plain.finalize()[..16].to_vec());
        }
    }

    fn kafka(topic: &str, partition: u32, offset: u64) -> Origin<'_> {
        Origin::Kafka {
            topic,
            partition,
            offset,
        }
    }

    #[test]
    fn every_part_of_every_origin_counts() {
        let file = |host, device, inode, generation, fingerprint, offset| Origin::File {
            host,
            device,
            inode,
            generation,
            fingerprint,
            offset,
        };
        let push = |subject, path, key, place, record| Origin::Push {
            subject,
            path,
            key,
            place,
            record,
        };
        let beat = |host, container_id, time_us, message| Origin::Beat {
            host,
            container_id,
            time_us,
            message,
        };
        let origins = [
            Origin::Journal { cursor: "a" },
            Origin::Journal { cursor: "b" },
            file("a", 0, 0, 0, None, 0),
            file("b", 0, 0, 0, None, 0),
            file("a", 1, 0, 0, None, 0),
            file("a", 0, 1, 0, None, 0),
            file("a", 0, 0, 1, None, 0),
            file("a", 0, 0, 0, Some(b""), 0),
            file("a", 0, 0, 0, Some(b"f"), 0),
            file("a", 0, 0, 0, None, 1),
            push("a", "b", "c", 0, b"d"),
            push("x", "b", "c", 0, b"d"),
            push("a", "x", "c", 0, b"d"),
            push("a", "b", "x", 0, b"d"),
            push("a", "b", "c", 1, b"d"),
            push("a", "b", "c", 0, b"x"),
            Origin::Item {
                subject: "a",
                appid: "b",
                id: "c",
            },
            Origin::Item {
                subject: "x",
                appid: "b",
                id: "c",
            },
            Origin::Item {
                subject: "a",
                appid: "x",
                id: "c",
            },
            Origin::Item {
                subject: "a",
                appid: "b",
                id: "x",
            },
            beat("a", "b", 0, b"c".as_slice()),
            beat("x", "b", 0, b"c"),
            beat("a", "x", 0, b"c"),
            beat("a", "b", 1, b"c"),
            beat("a", "b", 0, b"x"),
            Origin::BeatFile {
                host: "a",
                path: "b",
                file: "c",
                offset: 0,
                message: b"d",
            },
            Origin::BeatFile {
                host: "a",
                path: "b",
                file: "c",
                offset: 1,
                message: b"d",
            },
            Origin::BeatFile {
                host: "a",
                path: "b",
                file: "c",
                offset: 0,
                message: b"x",
            },
            kafka("a", 0, 1),
            kafka("b", 0, 1),
            kafka("a", 1, 1),
            kafka("a", 0, 2),
        ];
        let mut seen = HashMap::new();
        for origin in origins {
            let earlier = seen.insert(EventId::of(&origin), origin);
            assert!(earlier.is_none(), "{origin:?} has the id of {earlier:?}");
        }
    }

    /// A change here makes every record that is read again a second record.
    #[test]
    fn the_ids_of_this_version_are_those_of_the_first() {
        let journal = EventId::of(&Origin::Journal { cursor: "s=1;i=2" });
        let push = EventId::of(&Origin::Push {
            subject: "12203",
            path: "/apps/log",
            key: "k",
            place: 3,
            record: b"r",
        });
        insta::assert_snapshot!(format!("{journal} {push}"));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", &"0".repeat(31), &"g".repeat(32), &"A".repeat(32)] {
            assert_eq!(text.parse::<EventId>(), Err(EventIdError), "{text}");
        }
    }
}
