//! Settings where they take effect: each process reads them every few
//! seconds, and tells its components what has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use mscp_log_client::Client;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::instances::{self, EVERY_S, Report};
use crate::database::Database;
use crate::settings::{self, Kept, Settings};

const EVERY: Duration = Duration::from_secs(EVERY_S);

/// When an instance reports again that follows other settings than it did: by then its
/// components have obeyed.
const OBEYED: Duration = Duration::from_millis(500);

/// How long an instance tries to take its leave.
const LEAVE: Duration = Duration::from_secs(2);

/// Takes what holds now.
type Follower = Box<dyn Fn(&Settings) + Send + Sync>;

/// What an instance says of itself, given the revision that it follows.
pub type Gather = Box<dyn Fn(i64) -> BoxFuture<'static, Report> + Send + Sync>;

/// The settings that this process follows, by region.
pub struct Live {
    configured: Settings,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    followers: Vec<(String, Follower)>,
    followed: BTreeMap<String, Kept>,
    /// Whether that has changed since it was asked last.
    changed: bool,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Of a process whose configuration says `configured`.
    #[must_use]
    pub fn new(configured: Settings) -> Self {
        Self {
            configured,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// What the configuration says.
    #[must_use]
    pub fn configured(&self) -> &Settings {
        &self.configured
    }

    /// Tell `follower` the settings of `region`: those that hold, and each
    /// time that they have changed.
    pub fn tell(&self, region: &str, follower: impl Fn(&Settings) + Send + Sync + 'static) {
        let mut state = self.lock();
        if let Some(kept) = state.followed.get(region) {
            follower(&kept.over(&self.configured));
        }
        state
            .followers
            .push((region.to_owned(), Box::new(follower)));
    }

    /// From now on `kept` holds in `region`.
    pub fn follow(&self, region: &str, kept: Kept) {
        let mut state = self.lock();
        if state.followed.get(region) == Some(&kept) {
            return;
        }
        let settings = kept.over(&self.configured);
        if kept.revision > 0 {
            tracing::info!(region, revision = kept.revision, "following the settings");
        }
        state.followed.insert(region.to_owned(), kept);
        state.changed = true;
        // Under the lock: what was read first is not told last.
        for (of, follower) in &state.followers {
            if of == region {
                follower(&settings);
            }
        }
    }

    /// The revision that is followed in `region`.
    #[must_use]
    pub fn revision(&self, region: &str) -> i64 {
        self.lock()
            .followed
            .get(region)
            .map_or(0, |kept| kept.revision)
    }

    /// Read the settings again now rather than within seconds.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn take_changed(&self) -> bool {
        std::mem::take(&mut self.lock().changed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process reports and reads its settings.
pub enum Way {
    /// In the database, for each of these regions.
    Database(Database, Vec<String>),
    /// At a node that has one, with a client made anew when the token was
    /// refused; for this region.
    Gateway {
        /// Makes the client.
        connect: Box<dyn Fn() -> Result<Client, String> + Send + Sync>,
        /// The region that its records are for.
        region: String,
    },
}

impl Way {
    /// Read the settings and tell them.
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn read(&self, live: &Live) -> Result<(), String> {
        if let Self::Database(database, regions) = self {
            for region in regions {
                let kept = settings::kept(database, region).await;
                live.follow(region, kept.map_err(|error| error.to_string())?);
            }
        }
        Ok(())
    }

    async fn exchange(
        &self,
        client: &mut Option<Client>,
        gather: &Gather,
        live: &Live,
    ) -> Result<(), String> {
        match self {
            Self::Database(database, regions) => {
                self.read(live).await?;
                for region in regions {
                    let report = gather(live.revision(region)).await;
                    let taken = instances::take(database, region, &report).await;
                    taken.map_err(|error| error.to_string())?;
                }
            }
            Self::Gateway { connect, region } => {
                let report = gather(live.revision(region)).await;
                let report = serde_json::to_value(&report).map_err(|error| error.to_string())?;
                let through = match client.take() {
                    Some(client) => client,
                    None => connect()?,
                };
                let answer = through.admin().report_instance(region, &report).await;
                let answer = answer.map_err(|error| error.to_string())?;
                *client = Some(through);
                live.follow(region, Kept::of_answer(&answer));
            }
        }
        Ok(())
    }
}

/// Report what `gather` says and follow the settings until `stop`, and take
/// leave then. While nobody can be reached the last settings hold.
pub async fn keep_in_touch(way: Way, gather: Gather, live: Arc<Live>, stop: CancellationToken) {
    let mut client = None;
    let mut failing = false;
    loop {
        let exchanged = tokio::select! {
            exchanged = way.exchange(&mut client, &gather, &live) => exchanged,
            () = stop.cancelled() => break,
        };
        match exchanged {
            Ok(()) if failing => {
                tracing::info!("this instance is heard of again");
                failing = false;
            }
            Ok(()) => {}
            // Once, not each time: a gateway may be away for hours.
            Err(error) if !failing => {
                tracing::warn!(
                    error,
                    "this instance could not report itself, and keeps its settings"
                );
                failing = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(if live.take_changed() { OBEYED } else { EVERY }) => {}
            () = live.wake.notified() => {}
            () = stop.cancelled() => break,
        }
    }
    let leave: Gather = Box::new(move |revision| {
        let report = gather(revision);
        Box::pin(async move {
            Report {
                leaving: true,
                ..report.await
            }
        })
    });
    let exchange = Box::pin(way.exchange(&mut client, &leave, &live));
    let left = tokio::time::timeout(LEAVE, exchange).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("the instance could not take its leave");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_change_is_told_once_to_whom_it_concerns() {
        let live = Live::new(Settings::configured(&Config::default()));
        let told: Arc<[AtomicU64; 2]> = Arc::default();
        for (place, region) in ["north", "south"].into_iter().enumerate() {
            let told = Arc::clone(&told);
            live.tell(region, move |settings| {
                assert_eq!(settings.rotate.age_days, 7);
                told[place].fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut kept = Kept {
            revision: 1,
            ..Kept::default()
        };
        kept.overrides.set("/rotate/age", json!(7));
        live.follow("north", kept.clone());
        live.follow("north", kept);
        assert_eq!(live.revision("north"), 1);
        assert_eq!(live.revision("south"), 0);
        let told: Vec<_> = told.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert_eq!(told, [1, 0]);
    }
}
