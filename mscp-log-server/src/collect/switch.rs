//! Sources that are switched off and on while the agent runs.
//!
//! Off is as if the process had ended, for that source alone: what it handed
//! over is kept, and what it had read beyond that is read again. On is as if
//! it had been started: it goes on at the position behind what was kept, so
//! that nothing is lost by it and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keep::{Keeping, Positions};

/// Which sources an administrator wants to be read, of those that are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The journal.
    pub journal: bool,
    /// Log volumes, paths and containers' files.
    pub files: bool,
}

impl Default for Wanted {
    /// Both: a source is off only when somebody switched it off.
    fn default() -> Self {
        Self {
            journal: true,
            files: true,
        }
    }
}

/// What an agent says of one of its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceNote {
    /// `journalbeat` (the journal) or `filebeat` (files), as the original's
    /// collectors are called.
    pub name: &'static str,
    /// Whether the configuration of this machine has it.
    pub configured: bool,
    /// Whether an administrator wants it to be read.
    pub wanted: bool,
    /// Whether it is read now.
    pub reading: bool,
    /// Why it is not, where that is nobody's wish.
    pub trouble: Option<String>,
}

/// Why a source is not read, while it is not.
pub type Trouble = Arc<ArcSwapOption<String>>;

/// What is true of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) configured: bool,
    pub(super) running: Arc<AtomicBool>,
    pub(super) trouble: Trouble,
}

/// How long a source is left alone that ended by itself.
const REST: Duration = Duration::from_secs(10);

/// Reads from the given positions until it is told to end; `Err` says why it
/// ended by itself.
pub(super) type Read =
    Box<dyn Fn(Positions, CancellationToken) -> BoxFuture<'static, Result<(), String>> + Send>;

/// One source and its switch.
pub(super) struct Switch {
    /// The source, as metrics call it.
    pub(super) source: &'static str,
    pub(super) state: State,
    pub(super) wanted: watch::Receiver<Wanted>,
    /// Which of the wishes is this source's.
    pub(super) of: fn(&Wanted) -> bool,
    pub(super) keeping: Keeping,
    pub(super) stop: CancellationToken,
}

impl Switch {
    /// Read from `positions` on while that is wanted, until `stop` or until
    /// nobody keeps what is read.
    pub(super) async fn run(mut self, mut positions: Positions, read: Read) {
        loop {
            self.say(false);
            if !self.turned(true).await {
                return;
            }
            self.say(true);
            let off = self.stop.child_token();
            // A thread that reads does not end with the task that is dropped.
            let _guard = off.clone().drop_guard();
            let mut reading = read(positions, off.clone());
            self.state.running.store(true, Ordering::Relaxed);
            let ended = tokio::select! {
                ended = &mut reading => ended,
                _ = self.turned(false) => {
                    off.cancel();
                    let _ = reading.await;
                    Ok(())
                }
            };
            self.state.running.store(false, Ordering::Relaxed);
            let trouble = ended.err().map(Arc::new);
            self.state.trouble.store(trouble.clone());
            // What it handed over is kept before it goes on behind it.
            match self.keeping.positions().await {
                Some(kept) => positions = kept,
                None => return,
            }
            if let Some(reason) = trouble {
                tracing::error!(source = self.source, %reason, "a source ended; it is begun again");
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = self.stop.cancelled() => return,
                }
                self.state.trouble.store(None);
            }
        }
    }

    /// Wait until the source is wanted, or is not; false at the end of the agent.
    async fn turned(&mut self, on: bool) -> bool {
        let of = self.of;
        let turned = async {
            if self
                .wanted
                .wait_for(|wanted| of(wanted) == on)
                .await
                .is_err()
            {
                // Nobody can switch it any more: it stays as it is.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = turned => true,
            () = self.stop.cancelled() => false,
        }
    }

    fn say(&self, on: bool) {
        let off = f64::from(u8::from(!on && !(self.of)(&self.wanted.borrow())));
        metrics::gauge!("mscp_log_collect_switched_off", "source" => self.source).set(off);
        if off > 0.0 {
            tracing::info!(source = self.source, "switched off by an administrator");
        }
    }
}

#[cfg(test)]
mod tests;
