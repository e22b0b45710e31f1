//! What was lost before it could be read.
//!
//! Counters of a process begin anew with it, and what it had counted since
//! it was asked last goes with it. So the totals are kept as positions are,
//! and in the same append as the position behind what was lost: a loss is
//! counted when reading goes on behind it, whatever is killed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::keep::{Item, Place};

/// Everything that one source lost for one reason so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// `containers`, `files` or `journal`.
    pub source: Cow<'static, str>,
    /// `truncated`, `deleted`, `too_long`, `malformed` or `gap`.
    pub reason: Cow<'static, str>,
    /// How often: lines, entries, or files that may have had more.
    pub times: u64,
    /// How much, as far as that was known.
    pub bytes: u64,
}

impl Loss {
    /// As metrics.
    pub(super) fn tell(&self) {
        let (source, reason) = (&self.source, &self.reason);
        metrics::counter!("mscp_log_collect_losses_total",
            "source" => source.clone(), "reason" => reason.clone())
        .absolute(self.times);
        metrics::counter!("mscp_log_collect_lost_bytes_total",
            "source" => source.clone(), "reason" => reason.clone())
        .absolute(self.bytes);
    }
}

type Key = (Cow<'static, str>, Cow<'static, str>);

/// The totals, and which of them have changed since they were handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    totals: BTreeMap<Key, Loss>,
    changed: BTreeSet<Key>,
}

impl Losses {
    /// The totals.
    pub(super) fn totals(&self) -> impl Iterator<Item = &Loss> {
        self.totals.values()
    }

    /// A total is this.
    pub(super) fn set(&mut self, loss: Loss) {
        let key = (loss.source.clone(), loss.reason.clone());
        self.totals.insert(key, loss);
    }

    /// Something was lost.
    pub(super) fn add(
        &mut self,
        source: &'static str,
        reason: &'static str,
        times: u64,
        bytes: u64,
    ) {
        if times == 0 && bytes == 0 {
            return;
        }
        tracing::warn!(
            source,
            reason,
            times,
            bytes,
            "lines were lost, or may have been, before they could be read"
        );
        let key = (Cow::Borrowed(source), Cow::Borrowed(reason));
        let total = self.totals.entry(key.clone()).or_insert_with(|| Loss {
            source: source.into(),
            reason: reason.into(),
            times: 0,
            bytes: 0,
        });
        total.times += times;
        total.bytes += bytes;
        self.changed.insert(key);
    }

    /// What is handed over before the positions behind what was lost.
    pub(super) fn changed(&mut self) -> Vec<Item> {
        let changed = std::mem::take(&mut self.changed);
        let totals = changed.iter().filter_map(|key| self.totals.get(key));
        totals
            .map(|loss| Item::place(Place::Lost(loss.clone())))
            .collect()
    }
}
