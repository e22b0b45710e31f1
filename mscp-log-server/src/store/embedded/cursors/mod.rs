//! States of the store that are kept for a client: scrolls and points in time.
//!
//! A kept state holds the segments that it was made of, so commits, merges and
//! deletions change nothing of it; the disk space of what is deleted meanwhile
//! comes back when the last state that has it is let go. Each is let go when
//! its client says so, or when it was not asked for its `keep_alive`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mscp_log_core::query::ast::Search;
use tokio::sync::Notify;

use super::partition::PartitionSnapshot;
use super::search::Last;

/// Scrolls that are open at once (`search.max_open_scroll_context`).
pub(super) const MAX_SCROLLS: usize = 500;

/// Points in time that are open at once (`search.max_open_pit_context` of
/// OpenSearch).
pub(super) const MAX_POINTS_IN_TIME: usize = 300;

/// Bytes of the searches of all open scrolls.
const MAX_SEARCH_BYTES: usize = 64 * 1024 * 1024;

/// Longest time without a request (`search.max_keep_alive`).
pub(super) const MAX_KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// Shortest: Elasticsearch too looks only now and then for what has ended.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The name of a kept state: unguessable, and good for this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CursorId {
    kind: Kind,
    random: [u8; 16],
}

/// What a state is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Scroll,
    PointInTime,
}

impl Kind {
    fn tag(self) -> u8 {
        match self {
            Self::Scroll => b'S',
            Self::PointInTime => b'P',
        }
    }
}

/// The version of the form of an id.
const ID_VERSION: u8 = 1;

impl CursorId {
    /// Read an id of this kind.
    pub(super) fn parse(kind: Kind, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        match bytes.as_slice() {
            [tag, ID_VERSION, random @ ..] if *tag == kind.tag() => Some(Self {
                kind,
                random: random.try_into().ok()?,
            }),
            _ => None,
        }
    }

    /// A number for messages, which say no whole id.
    pub(super) fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.random;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl std::fmt::Display for CursorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![self.kind.tag(), ID_VERSION];
        bytes.extend_from_slice(&self.random);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Why a state is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKept {
    #[error("there are {0} open already")]
    TooMany(usize),
    #[error("the searches of open scrolls take {0} bytes already")]
    TooLarge(usize),
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A kept state.
pub(super) struct Cursor {
    /// The partitions, newest first.
    pub(super) snapshots: Vec<Arc<PartitionSnapshot>>,
    /// When it was made, in milliseconds since the epoch.
    pub(super) opened_ms: i64,
    /// Where a scroll is. One page at a time.
    pub(super) scroll: Option<tokio::sync::Mutex<Scroll>>,
    /// Bytes of the scroll's search.
    bytes: usize,
    life: Mutex<Life>,
}

#[derive(Clone, Copy)]
struct Life {
    keep_alive: Duration,
    end: Instant,
}

/// A search whose pages are asked for one after the other.
#[derive(Clone)]
pub(super) struct Scroll {
    /// What is asked.
    pub(super) search: Arc<Search>,
    /// What `now` means in it, in milliseconds since the epoch.
    pub(super) now_ms: i64,
    /// The hits in all, as every page says it.
    pub(super) total: serde_json::Value,
    /// The highest score, as every page says it.
    pub(super) max_score: serde_json::Value,
    /// The last hit of the last page.
    pub(super) last: Option<Last>,
}

impl Cursor {
    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All kept states.
#[derive(Default)]
pub(super) struct Cursors {
    kept: Arc<Mutex<Kept>>,
    /// The times at which states end have changed.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Kept {
    cursors: HashMap<CursorId, Arc<Cursor>>,
    /// Whether a task waits for the next end.
    swept: bool,
}

impl Kept {
    fn forget_ended(&mut self, now: Instant) {
        self.cursors.retain(|_, cursor| cursor.life().end > now);
    }
}

impl Cursors {
    /// Keep these snapshots, for a scroll or (`None`) a point in time. The
    /// search of a scroll came in so many bytes. Runs on a tokio runtime, which
    /// lets go of what has ended.
    pub(super) fn open(
        &self,
        snapshots: Vec<Arc<PartitionSnapshot>>,
        opened_ms: i64,
        scroll: Option<(Scroll, usize)>,
        keep_alive: Duration,
    ) -> Result<CursorId, NotKept> {
        let kind = match &scroll {
            Some(_) => Kind::Scroll,
            None => Kind::PointInTime,
        };
        let limit = match kind {
            Kind::Scroll => MAX_SCROLLS,
            Kind::PointInTime => MAX_POINTS_IN_TIME,
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(NotKept::Random)?;
        let id = CursorId { kind, random };
        let (scroll, bytes) = match scroll {
            Some((scroll, bytes)) => (Some(tokio::sync::Mutex::new(scroll)), bytes),
            None => (None, 0),
        };
        let now = Instant::now();
        let mut kept = self.kept();
        kept.forget_ended(now);
        if kept.cursors.keys().filter(|id| id.kind == kind).count() >= limit {
            return Err(NotKept::TooMany(limit));
        }
        let all_bytes: usize = kept.cursors.values().map(|cursor| cursor.bytes).sum();
        if all_bytes.saturating_add(bytes) > MAX_SEARCH_BYTES {
            return Err(NotKept::TooLarge(all_bytes));
        }
        let keep_alive = keep_alive.max(MIN_KEEP_ALIVE);
        let cursor = Cursor {
            snapshots,
            opened_ms,
            scroll,
            bytes,
            life: Mutex::new(Life {
                keep_alive,
                end: now + keep_alive,
            }),
        };
        kept.cursors.insert(id, Arc::new(cursor));
        if !kept.swept {
            kept.swept = true;
            let (all, changed) = (Arc::downgrade(&self.kept), Arc::clone(&self.changed));
            tokio::spawn(sweep(all, changed));
        }
        drop(kept);
        self.changed.notify_one();
        Ok(id)
    }

    /// A state that is there still, and kept from now for `keep_alive`, or for
    /// as long as was said before.
    pub(super) fn find(&self, id: &CursorId, keep_alive: Option<Duration>) -> Option<Arc<Cursor>> {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.forget_ended(now);
        let cursor = kept.cursors.get(id).map(Arc::clone)?;
        drop(kept);
        let mut life = cursor.life();
        if let Some(keep_alive) = keep_alive {
            life.keep_alive = keep_alive.max(MIN_KEEP_ALIVE);
        }
        life.end = now + life.keep_alive;
        drop(life);
        self.changed.notify_one();
        Some(cursor)
    }

    /// Let go of one; whether it was there.
    pub(super) fn close(&self, id: &CursorId) -> bool {
        let mut kept = self.kept();
        kept.forget_ended(Instant::now());
        kept.cursors.remove(id).is_some()
    }

    /// Let go of all of a kind; which they were.
    pub(super) fn close_all(&self, kind: Kind) -> Vec<CursorId> {
        let all: Vec<CursorId> = self.all(kind).into_iter().map(|(id, _)| id).collect();
        let mut kept = self.kept();
        all.into_iter()
            .filter(|id| kept.cursors.remove(id).is_some())
            .collect()
    }

    /// All of a kind, each with the time at which it was made, in milliseconds
    /// since the epoch, and how long it is kept without a request.
    pub(super) fn all(&self, kind: Kind) -> Vec<(CursorId, (i64, Duration))> {
        let mut kept = self.kept();
        kept.forget_ended(Instant::now());
        let of_kind = kept.cursors.iter().filter(|(id, _)| id.kind == kind);
        of_kind
            .map(|(id, cursor)| (*id, (cursor.opened_ms, cursor.life().keep_alive)))
            .collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cursors {
    fn drop(&mut self) {
        // The task sees that there is nothing left to wait for.
        self.changed.notify_one();
    }
}

/// Let go of states as they end, until there are none.
async fn sweep(all: Weak<Mutex<Kept>>, changed: Arc<Notify>) {
    loop {
        let next = {
            let Some(kept) = all.upgrade() else { return };
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.forget_ended(Instant::now());
            match kept.cursors.values().map(|cursor| cursor.life().end).min() {
                Some(end) => end,
                None => {
                    kept.swept = false;
                    return;
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn scroll() -> (Scroll, usize) {
        let scroll = Scroll {
            search: Arc::default(),
            now_ms: 0,
            total: 0.into(),
            max_score: 0.into(),
            last: None,
        };
        (scroll, 10)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_state_is_kept_until_it_is_let_go() {
        let cursors = Cursors::default();
        let id = cursors.open(Vec::new(), 1, None, MINUTE).unwrap();
        assert_eq!(
            CursorId::parse(Kind::PointInTime, &id.to_string()),
            Some(id)
        );
        assert_eq!(CursorId::parse(Kind::Scroll, &id.to_string()), None);
        assert!(cursors.find(&id, None).is_some());
        assert!(cursors.close(&id));
        assert!(!cursors.close(&id));
        assert!(cursors.find(&id, None).is_none());
    }

    #[tokio::test]
    async fn one_more_than_may_be_kept_is_refused_and_a_free_place_is_taken() {
        let cursors = Cursors::default();
        for _ in 0..MAX_SCROLLS {
            cursors.open(Vec::new(), 1, Some(scroll()), MINUTE).unwrap();
        }
        let refused = cursors.open(Vec::new(), 1, Some(scroll()), MINUTE);
        assert_eq!(refused, Err(NotKept::TooMany(MAX_SCROLLS)));
        cursors.open(Vec::new(), 1, None, MINUTE).unwrap();
        assert_eq!(cursors.close_all(Kind::Scroll).len(), MAX_SCROLLS);
        assert_eq!(cursors.all(Kind::PointInTime).len(), 1);
        let (scroll, _) = scroll();
        let large = cursors.open(Vec::new(), 1, Some((scroll, usize::MAX)), MINUTE);
        assert_eq!(large, Err(NotKept::TooLarge(0)));
    }

    #[tokio::test]
    async fn what_has_ended_is_gone_and_a_request_puts_the_end_off() {
        let cursors = Cursors::default();
        let [short, long] = [MINUTE, 2 * MINUTE]
            .map(|keep_alive| cursors.open(Vec::new(), 1, None, keep_alive).unwrap());
        let later = Instant::now() + MINUTE + MINUTE / 2;
        cursors.kept().forget_ended(later);
        assert!(cursors.find(&short, None).is_none());
        assert!(cursors.find(&long, Some(4 * MINUTE)).is_some());
        cursors.kept().forget_ended(Instant::now() + 3 * MINUTE);
        assert!(cursors.find(&long, None).is_some());
    }

    #[tokio::test]
    async fn nobody_has_to_ask_for_what_has_ended_to_go() {
        let cursors = Cursors::default();
        let id = cursors.open(Vec::new(), 1, None, MIN_KEEP_ALIVE).unwrap();
        let cursor = Arc::downgrade(&cursors.find(&id, None).unwrap());
        // The task that sweeps is the only other one that has it.
        while cursor.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(cursors.kept().cursors.is_empty());
    }
}
