//! What becomes of records: counts, losses by reason, and what calls come to.

use std::collections::BTreeMap;
use std::fmt;

/// Why a record is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loss {
    /// There was no place in the queue.
    Full,
    /// The pusher was closed already.
    Closed,
    /// The server, or the client in its stead, found the record malformed.
    Rejected,
    /// Larger than the server, or the queue, takes.
    TooLarge,
    /// No valid credential.
    Unauthorized,
    /// The token does not grant a push to the record's app.
    Forbidden,
    /// The server did not accept it within the deadline.
    Deadline,
    /// It was spilled to a file, and could not be read from it again.
    Damaged,
}

impl Loss {
    const ALL: [Loss; 8] = [
        Loss::Full,
        Loss::Closed,
        Loss::Rejected,
        Loss::TooLarge,
        Loss::Unauthorized,
        Loss::Forbidden,
        Loss::Deadline,
        Loss::Damaged,
    ];

    /// The reason in one word, as it is written in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Loss::Full => "full",
            Loss::Closed => "closed",
            Loss::Rejected => "rejected",
            Loss::TooLarge => "too_large",
            Loss::Unauthorized => "unauthorized",
            Loss::Forbidden => "forbidden",
            Loss::Deadline => "deadline",
            Loss::Damaged => "damaged",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lost records, counted by reason, with what was said about the last of each.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    counts: BTreeMap<Loss, (u64, String)>,
}

impl Losses {
    /// Lost for this reason.
    #[must_use]
    pub fn of(&self, reason: Loss) -> u64 {
        self.counts.get(&reason).map_or(0, |(count, _)| *count)
    }

    /// Lost for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().map(|(count, _)| count).sum()
    }

    /// Every reason that occurred, how often, and the last words about it.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64, &str)> {
        Loss::ALL.into_iter().filter_map(|reason| {
            let (count, words) = self.counts.get(&reason)?;
            Some((reason, *count, words.as_str()))
        })
    }

    pub(super) fn add(&mut self, reason: Loss, count: u64, words: &str) {
        let entry = self.counts.entry(reason).or_default();
        entry.0 += count;
        if !words.is_empty() {
            words.clone_into(&mut entry.1);
        }
    }
}

/// A record was not taken into the queue.
#[derive(Clone, Debug)]
pub struct NotTaken {
    pub(super) reason: Loss,
    pub(super) words: String,
}

impl NotTaken {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> Loss {
        self.reason
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record was not taken: {}", self.words)
    }
}

impl std::error::Error for NotTaken {}

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Whether every record that was queued before the call is accepted, lost,
    /// or in a file of the [spill](crate::Spill).
    pub complete: bool,
    /// Records still held.
    pub pending: usize,
}

/// What became of all records of a pusher.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Accepted by the server: durable.
    pub sent: u64,
    /// Lost, by reason.
    pub dropped: Losses,
    /// Held, and neither accepted nor lost.
    pub pending: usize,
    /// In files of the [spill](crate::Spill), for this pusher or the next one to send.
    pub spilled: u64,
}
