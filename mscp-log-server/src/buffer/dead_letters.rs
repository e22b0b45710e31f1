//! Records that no store takes for faults of their own, or that the buffer has
//! no room for, kept until somebody looks at them: in a file of the data folder
//! beside the disk buffer, in a topic beside Kafka's.

mod file;

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

#[cfg(feature = "kafka")]
use super::kafka::letters::TopicLetters;
use crate::snapshot::Snapshot;
use file::FileLetters;

/// Bytes that dead letters may take on disk. When they do, shipping holds
/// back: nothing is dropped.
pub const MAX_BYTES: u64 = 256 << 20;

/// A record that a store refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The index that it was for, with its date; empty where that is not known.
    pub index: String,
    /// What the store calls the fault, as `mapper_parsing_exception`.
    pub kind: String,
    /// What the store says about it.
    pub reason: String,
    /// The record as it was in the buffer.
    pub document: Bytes,
}

/// A record that a store refused, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Letter {
    /// Its number; later ones have higher numbers.
    pub number: u64,
    /// When it was refused, in milliseconds since the epoch.
    pub refused_ms: i64,
    /// The index that it was for, with its date; empty where that is not known.
    pub index: String,
    /// What the store calls the fault, as `mapper_parsing_exception`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the store says about it.
    pub reason: String,
    /// The record as it was in the buffer: JSON, or its text where it is none.
    #[schema(value_type = serde_json::Value)]
    pub document: Box<RawValue>,
}

/// Why dead letters are not taken or not found.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// No room; nothing was taken.
    #[error(
        "the dead letters are full ({used} of {limit} bytes); replay them, or take them out, to go on"
    )]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file cannot be read or written.
    #[error("the file of dead letters: {0}")]
    Io(#[from] io::Error),
    /// The brokers that have them.
    #[error("the topic of dead letters: {0}")]
    Topic(String),
    /// An earlier write failed so that what the disk has is not known.
    #[error("the file of dead letters failed and must be opened again: {0}")]
    Failed(String),
}

/// How many letters there are, and in how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Letters.
    pub letters: u64,
    /// Bytes of them on disk.
    pub bytes: u64,
}

/// The dead letters of one region. The calls read and write a file, or wait for
/// brokers: in async code they belong on a thread for blocking work.
#[derive(Debug)]
pub struct DeadLetters(Place);

#[derive(Debug)]
enum Place {
    File(FileLetters),
    #[cfg(feature = "kafka")]
    Topic(Box<TopicLetters>),
}

/// Calls the same of whatever keeps the letters.
macro_rules! at {
    ($self:ident, $letters:ident => $call:expr) => {
        match &$self.0 {
            Place::File($letters) => $call,
            #[cfg(feature = "kafka")]
            Place::Topic($letters) => $call,
        }
    };
}

/// While it lives no letter of the data folder is taken out.
#[derive(Debug)]
pub struct Held<'a>(Option<file::Held<'a>>);

impl Held<'_> {
    /// Hold the file as it is now, under `name`, if it is one.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn snapshot(&self, snapshot: &mut Snapshot, name: String) -> io::Result<()> {
        match &self.0 {
            Some(held) => held.snapshot(snapshot, name),
            None => Ok(()),
        }
    }
}

impl DeadLetters {
    /// Open the file, or make it, with the folder that it is in.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let letters = FileLetters::open(path, max_bytes)?;
        Ok(Self(Place::File(letters)))
    }

    /// Those of a topic.
    #[cfg(feature = "kafka")]
    pub(super) fn of_topic(letters: TopicLetters) -> Self {
        Self(Place::Topic(Box::new(letters)))
    }

    /// See what other processes did, where they share them.
    #[cfg(feature = "kafka")]
    pub(super) fn refresh(&self) {
        match &self.0 {
            Place::File(_) => {}
            Place::Topic(letters) => letters.refresh(),
        }
    }

    /// Keep what was refused, at `now_ms`; returns when it is durable. A
    /// document that is there already is not kept twice.
    ///
    /// # Errors
    /// See [`LettersError`]; then it is as if none were kept.
    pub fn add(&self, refused: &[Refused], now_ms: i64) -> Result<(), LettersError> {
        at!(self, letters => letters.add(refused, now_ms))
    }

    /// Keep a letter of another file, with its time and a number of this one.
    ///
    /// # Errors
    /// As [`DeadLetters::add`].
    pub fn add_again(&self, letter: &Letter) -> Result<(), LettersError> {
        let refused = Refused {
            index: letter.index.clone(),
            kind: letter.kind.clone(),
            reason: letter.reason.clone(),
            document: document_of(letter),
        };
        self.add(&[refused], letter.refused_ms)
    }

    /// At most `limit` letters with numbers below `before`, the newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn page(&self, before: Option<u64>, limit: usize) -> Result<Vec<Letter>, LettersError> {
        at!(self, letters => letters.page(before, limit))
    }

    /// The letters of these numbers that are there, in their order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of_numbers(&self, numbers: &[u64]) -> Result<Vec<Letter>, LettersError> {
        at!(self, letters => letters.of_numbers(numbers))
    }

    /// The numbers of all letters, the oldest first.
    #[must_use]
    pub fn numbers(&self) -> Vec<u64> {
        at!(self, letters => letters.numbers())
    }

    /// Let the documents of letters be kept once more, as new letters: they are
    /// about to be shipped again, and may be refused again before these are
    /// taken out.
    pub fn release(&self, numbers: &[u64]) {
        at!(self, letters => letters.release(numbers));
    }

    /// Take letters out; durable when it returns. Numbers of none are passed over.
    ///
    /// # Errors
    /// See [`LettersError`].
    pub fn remove(&self, numbers: &[u64]) -> Result<(), LettersError> {
        at!(self, letters => letters.remove(numbers))
    }

    /// Let no letter be taken out of the data folder for a while; whoever wants
    /// to waits.
    pub fn hold(&self) -> Held<'_> {
        match &self.0 {
            Place::File(letters) => Held(Some(letters.hold())),
            #[cfg(feature = "kafka")]
            Place::Topic(_) => Held(None),
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn kept(&self) -> Kept {
        at!(self, letters => letters.kept())
    }
}

/// The document of a letter as it was in the buffer.
#[must_use]
pub fn document_of(letter: &Letter) -> Bytes {
    Bytes::from(text_of(&letter.document).into_owned())
}

/// A JSON string stands for what was no JSON; no stored document is one.
fn text_of(document: &RawValue) -> std::borrow::Cow<'_, str> {
    match serde_json::from_str::<String>(document.get()) {
        Ok(text) => text.into(),
        Err(_) => document.get().into(),
    }
}

/// JSON as it is. Whatever would not stay one line of JSON becomes a string.
pub(super) fn raw(document: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(document);
    let one_line = !text.contains(['\n', '\r']) && text.starts_with('{');
    match serde_json::from_str::<Box<RawValue>>(&text) {
        Ok(json) if one_line => json,
        _ => serde_json::value::to_raw_value(&text).unwrap_or_default(),
    }
}

pub(super) fn identity(document: &RawValue) -> [u8; 16] {
    let digest = Sha256::digest(document.get());
    let mut identity = [0; 16];
    identity.copy_from_slice(&digest[..16]);
    identity
}

#[cfg(test)]
impl DeadLetters {
    /// Letters in a folder of a test.
    pub(crate) fn below(folder: &Path) -> std::sync::Arc<Self> {
        let opened = Self::open(&folder.join("letters"), MAX_BYTES);
        std::sync::Arc::new(opened.expect("a folder of a test takes files"))
    }
}

#[cfg(test)]
mod tests;
