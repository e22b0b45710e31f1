//! How much waits, and how long its oldest record has waited: marks of what
//! was appended when, a second or more apart, as long as it is not committed.

use std::collections::VecDeque;

/// Appends within so long share a mark.
const APART_US: i64 = 1_000_000;
/// Marks that are kept; where there would be more, every second one goes.
const MOST: usize = 4_096;

/// What was appended from a time on.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Behind the last record.
    end: u64,
    /// Bytes of all that was appended since the start, up to there.
    bytes: u64,
    /// When the first of it was.
    since_us: i64,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Oldest first.
    marks: VecDeque<Mark>,
    /// Bytes of all that was appended since the start.
    bytes: u64,
    /// Of these, those before the first mark.
    gone: u64,
}

impl Backlog {
    /// Records up to `end` are there since `now_us`, in `bytes`.
    pub(super) fn appended(&mut self, end: u64, bytes: u64, now_us: i64) {
        self.bytes += bytes;
        match self.marks.back_mut() {
            Some(last) if now_us - last.since_us < APART_US => {
                last.end = end;
                last.bytes = self.bytes;
                return;
            }
            _ => {}
        }
        if self.marks.len() == MOST {
            // A mark is for what is before it, too: the older time counts.
            let mut older = None;
            let mut kept = VecDeque::with_capacity(MOST);
            for mark in self.marks.drain(..) {
                match older.take() {
                    None => older = Some(mark),
                    Some(Mark { since_us, .. }) => kept.push_back(Mark { since_us, ..mark }),
                }
            }
            kept.extend(older);
            self.marks = kept;
        }
        self.marks.push_back(Mark {
            end,
            bytes: self.bytes,
            since_us: now_us,
        });
    }

    /// Everything below `next` is committed.
    pub(super) fn committed(&mut self, next: u64) {
        while let Some(oldest) = self.marks.front().filter(|mark| mark.end <= next) {
            self.gone = oldest.bytes;
            self.marks.pop_front();
        }
    }

    /// Bytes that wait, too many by what one mark has at most; and for how
    /// long, in microseconds, where anything waits.
    pub(super) fn told(&self, now_us: i64) -> (u64, Option<u64>) {
        let oldest = self.marks.front();
        let waits = oldest.map(|mark| u64::try_from(now_us - mark.since_us).unwrap_or(0));
        match waits {
            Some(_) => (self.bytes - self.gone, waits),
            None => (0, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_is_not_committed_says_how_long() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.told(9), (0, None));
        backlog.appended(10, 100, 1_000_000);
        backlog.appended(20, 100, 1_500_000);
        backlog.appended(30, 100, 3_000_000);
        assert_eq!(backlog.told(4_000_000), (300, Some(3_000_000)));
        backlog.committed(15);
        assert_eq!(backlog.told(4_000_000), (300, Some(3_000_000)));
        backlog.committed(20);
        assert_eq!(backlog.told(4_000_000), (100, Some(1_000_000)));
        backlog.committed(30);
        assert_eq!(backlog.told(4_000_000), (0, None));
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_stays_the_oldest() {
        let mut backlog = Backlog::default();
        for second in 0..20_000 {
            backlog.appended(second + 1, 1, i64::try_from(second).unwrap_or(0) * APART_US);
            assert!(backlog.marks.len() <= MOST);
        }
        let (bytes, us) = backlog.told(20_000 * APART_US);
        assert_eq!((bytes, us), (20_000, Some(20_000_000_000)));
        backlog.committed(20_000);
        assert_eq!(backlog.told(20_000 * APART_US), (0, None));
    }
}
