//! Rotation: old indices go, daily and on command (`origin.zh.md`, the
//! curator). What goes is decided in `core::rotation`; here the store is asked
//! what there is, and told what to delete.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, StatusCode};
use mscp_log_core::index::{Beats, Day, IndexName};
use mscp_log_core::rotation::{self, ClockError, Clocks, Deletion, Fact, Policy, Reason};
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::clock;
use crate::database::{DatabaseError, Turn};
use crate::identity::{Entry, Identity, Outcome};
use crate::settings::{self, Settings};
use crate::store::{Store, ask, reason};

/// How often it is looked whether the time has come.
const LOOK: Duration = Duration::from_secs(30);
/// After a run that could not be, or while another node has the turn.
const AGAIN: Duration = Duration::from_secs(600);
/// Indices that are asked about in one request.
const ASKED: usize = 200;
const DAY_US: i64 = 86_400_000_000;

/// Why rotation did not run.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A clock cannot be believed, so nothing was deleted.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Another run goes on.
    #[error("rotation runs already, here or on another node")]
    Busy,
    /// The accounts' database, which knows when it ran last.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store does not say what there is.
    #[error("the store does not list its indices: {0}")]
    Store(String),
}

/// What a run did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Rotation)]
pub struct Report {
    /// Whether nothing was deleted, because only the plan was asked for.
    pub dry_run: bool,
    /// Whether rotation is on; where it is off nothing goes.
    pub enabled: bool,
    /// How many days records are kept.
    pub age_days: u32,
    /// How many bytes all indices may have together, where that is limited.
    pub max_bytes: Option<u64>,
    /// How many indices there are whose names the system makes.
    pub indices: usize,
    /// What went or would go, oldest first.
    pub deletions: Vec<Deleted>,
}

/// An index that went, should have gone, or would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RotatedIndex)]
pub struct Deleted {
    /// Its name.
    pub index: String,
    /// `age` or `size`.
    pub reason: &'static str,
    /// Its bytes, where they are known.
    pub bytes: Option<u64>,
    /// The time of its newest record, where that is known, in microseconds
    /// since the epoch.
    pub newest_us: Option<i64>,
    /// Why it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Who asks for a run.
#[derive(Clone, Debug)]
pub struct Asker {
    /// A `user_id`, or `rotation` for the daily run.
    pub subject: String,
    /// From where, as far as known.
    pub address: Option<IpAddr>,
}

/// Rotation of one region.
pub struct Rotation {
    region: String,
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
    beats: Beats,
    configured: Settings,
    /// Microseconds of a day (UTC) at which it runs.
    at_us: i64,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Rotation {
    /// Of `region`, whose records are in `store`; `configured` is what holds
    /// where no administrator has changed it. It runs `at` so long after
    /// midnight UTC.
    pub fn new(
        region: &str,
        store: Arc<dyn Store>,
        identity: Arc<Identity>,
        beats: Beats,
        configured: Settings,
        at: Duration,
    ) -> Self {
        Self {
            region: region.to_owned(),
            store,
            identity,
            beats,
            configured,
            at_us: i64::try_from(at.as_micros()).unwrap_or_default(),
        }
    }

    /// The Beats whose indices it knows.
    #[must_use]
    pub fn beats(&self) -> &Beats {
        &self.beats
    }

    /// What a run would do now.
    ///
    /// # Errors
    /// See [`RotationError`]; [`RotationError::Busy`] is none of them.
    pub async fn plan(&self) -> Result<Report, RotationError> {
        let policy = self.policy().await?;
        let (facts, plan) = self.planned(&policy, clock::now_us()).await?;
        Ok(report(true, &policy, &facts, plan))
    }

    /// Delete what is too old or too much. One that cannot be deleted does not
    /// keep the others.
    ///
    /// # Errors
    /// See [`RotationError`].
    pub async fn run(&self, asker: &Asker) -> Result<Report, RotationError> {
        let ran = self.try_run().await;
        let (result, detail) = match &ran {
            Ok(report) => {
                let failed = report.deletions.iter().filter(|it| it.error.is_some());
                let failed = failed.count();
                let bytes = report.deletions.iter().filter_map(|it| it.bytes);
                let detail = json!({
                    "deleted": report.deletions.len() - failed,
                    "failed": failed,
                    "bytes": bytes.sum::<u64>(),
                    "age_days": report.age_days,
                });
                ("done", detail)
            }
            Err(error) => ("failed", json!({ "error": error.to_string() })),
        };
        let region = self.region.clone();
        metrics::counter!("mscp_log_rotation_runs_total", "region" => region, "result" => result)
            .increment(1);
        self.identity.note(Entry {
            subject: asker.subject.clone(),
            address: asker.address,
            action: "rotation.run",
            target: self.region.clone(),
            outcome: match ran.is_ok() {
                true => Outcome::Done,
                false => Outcome::Refused,
            },
            detail,
        });
        ran
    }

    async fn try_run(&self) -> Result<Report, RotationError> {
        let turn = self.turn().await?.ok_or(RotationError::Busy)?;
        // Read afresh, in the turn: an administrator may have changed it.
        let policy = self.policy().await?;
        let now_us = clock::now_us();
        let (facts, plan) = self.planned(&policy, now_us).await?;
        let mut report = report(false, &policy, &facts, plan);
        for deletion in &mut report.deletions {
            let region = self.region.clone();
            match self.delete(&deletion.index).await {
                Ok(()) => {
                    tracing::info!(index = deletion.index, reason = deletion.reason, "rotated");
                    metrics::counter!("mscp_log_rotation_deleted_indices_total",
                        "region" => region, "reason" => deletion.reason)
                    .increment(1);
                }
                Err(error) => {
                    tracing::warn!(index = deletion.index, error, "an old index stays");
                    metrics::counter!("mscp_log_rotation_failed_deletions_total",
                        "region" => region)
                    .increment(1);
                    deletion.error = Some(error);
                }
            }
        }
        self.ran(turn, now_us).await?;
        Ok(report)
    }

    /// Take the turn; `None` while another node has it.
    async fn turn(&self) -> Result<Option<Turn>, DatabaseError> {
        let what = format!("rotation {}", self.region);
        self.identity.database().turn(&what).await
    }

    /// The rule as it is now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn policy(&self) -> Result<Policy, DatabaseError> {
        let kept = settings::kept(self.identity.database(), &self.region).await?;
        Ok(self.configured.with(&kept.overrides).rotate)
    }

    /// When it last ran in this region, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last_run_us(&self) -> Result<Option<i64>, DatabaseError> {
        let last = sqlx::query("SELECT last_run_us FROM rotations WHERE region = $1")
            .bind(self.region.clone())
            .fetch_optional(self.identity.database().pool())
            .await?;
        Ok(match last {
            Some(row) => Some(row.try_get(0)?),
            None => None,
        })
    }

    /// Say that it ran at `now_us`, and end the turn.
    async fn ran(&self, turn: Turn, now_us: i64) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO rotations (region, last_run_us) VALUES ($1, $2)
             ON CONFLICT (region) DO UPDATE SET last_run_us = $2",
        )
        .bind(self.region.clone())
        .bind(now_us)
        .execute(self.identity.database().pool())
        .await?;
        turn.end().await?;
        self.tell_last_run(now_us);
        Ok(())
    }

    /// Run each day at the set time until `stop`. What was due while no node
    /// ran is done soon after the start; the first start of all deletes
    /// nothing.
    pub async fn daily(&self, stop: CancellationToken) {
        let mut settled_us = None;
        loop {
            let due_us = self.due_us(clock::now_us());
            let mut pause = LOOK;
            if settled_us != Some(due_us) {
                match self.when_due(due_us).await {
                    Ok(()) => settled_us = Some(due_us),
                    Err(error) => {
                        tracing::warn!(region = self.region, %error, "rotation did not run");
                        pause = AGAIN;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// The last moment before `now_us` at which it should have run.
    fn due_us(&self, now_us: i64) -> i64 {
        let today_us = Day::of_us(now_us).start_us() + self.at_us;
        match today_us <= now_us {
            true => today_us,
            false => today_us - DAY_US,
        }
    }

    async fn when_due(&self, due_us: i64) -> Result<(), RotationError> {
        let last_us = self.last_run_us().await?;
        if let Some(last_us) = last_us {
            self.tell_last_run(last_us);
        }
        match last_us {
            Some(last_us) if last_us >= due_us => Ok(()),
            Some(_) => {
                let asker = Asker {
                    subject: "rotation".to_owned(),
                    address: None,
                };
                self.run(&asker).await.map(drop)
            }
            None => {
                if let Some(turn) = self.turn().await? {
                    self.ran(turn, clock::now_us()).await?;
                }
                Ok(())
            }
        }
    }

    fn tell_last_run(&self, at_us: i64) {
        let region = self.region.clone();
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
        metrics::gauge!("mscp_log_rotation_last_run_timestamp_seconds", "region" => region)
            .set(at_us as f64 / 1e6);
    }

    async fn planned(
        &self,
        policy: &Policy,
        now_us: i64,
    ) -> Result<(Vec<Fact>, Vec<Deletion>), RotationError> {
        let mut facts = self.indices().await?;
        self.look_for_newest(&mut facts, policy, now_us).await;
        let database = self.identity.database();
        let clocks = Clocks {
            now_us,
            last_run_us: self.last_run_us().await?,
            database_us: match database.is_server() {
                true => Some(database.now_us().await?),
                false => None,
            },
        };
        let plan = rotation::plan(&facts, policy, &clocks, &self.beats)?;
        Ok((facts, plan))
    }

    /// Every index whose name the system makes, closed ones too.
    ///
    /// # Errors
    /// When the store does not say.
    pub async fn indices(&self) -> Result<Vec<Fact>, RotationError> {
        const LIST: &str = "/_cat/indices/logstash-*?format=json&bytes=b&h=index,store.size";
        let (status, answer) = ask(&*self.store, Method::GET, LIST, Body::empty()).await;
        let rows = answer.as_array().filter(|_| status.is_success());
        let rows = rows.ok_or_else(|| RotationError::Store(reason(status, &answer)))?;
        let facts = rows.iter().filter_map(|row| {
            let name = row["index"].as_str()?;
            // An alias has no row, and no name of others is ours.
            IndexName::parse(name, &self.beats)?;
            Some(Fact {
                name: name.to_owned(),
                newest_us: None,
                bytes: row["store.size"].as_str().and_then(|it| it.parse().ok()),
            })
        });
        Ok(facts.collect())
    }

    /// The newest record of each index that is not old by its name already. A
    /// closed index does not say.
    async fn look_for_newest(&self, facts: &mut [Fact], policy: &Policy, now_us: i64) {
        let kept_us = now_us.saturating_sub(i64::from(policy.age_days) * DAY_US);
        let is_young = |fact: &&mut Fact| {
            let named = IndexName::parse(&fact.name, &self.beats);
            named.is_some_and(|(_, day)| day.end_us() > kept_us)
        };
        let mut young: Vec<&mut Fact> = facts.iter_mut().filter(is_young).collect();
        for some in young.chunks_mut(ASKED) {
            let newest = json!({"size": 0, "aggs": {"newest": {"max": {"field": "realtime_us"}}}});
            let mut body = String::new();
            for fact in &*some {
                body.push_str(&format!("{}\n{newest}\n", json!({"index": fact.name})));
            }
            let (_, answer) = ask(&*self.store, Method::POST, "/_msearch", Body::from(body)).await;
            let answers = answer["responses"].as_array().into_iter().flatten();
            for (fact, answer) in some.iter_mut().zip(answers) {
                let newest = answer["aggregations"]["newest"]["value"].as_f64();
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "microseconds are whole, and exact in a double for centuries"
                )]
                let newest_us = newest.map(|newest| newest as i64);
                fact.newest_us = newest_us;
            }
        }
    }

    async fn delete(&self, index: &str) -> Result<(), String> {
        let path = format!("/{index}");
        let (status, answer) = ask(&*self.store, Method::DELETE, &path, Body::empty()).await;
        // Somebody else was quicker.
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(reason(status, &answer))
    }
}

fn report(dry_run: bool, policy: &Policy, facts: &[Fact], plan: Vec<Deletion>) -> Report {
    let deletions = plan.into_iter().map(|deletion| {
        let fact = facts.iter().find(|fact| fact.name == deletion.name);
        Deleted {
            index: deletion.name,
            reason: match deletion.reason {
                Reason::Age => "age",
                Reason::Size => "size",
            },
            bytes: fact.and_then(|fact| fact.bytes),
            newest_us: fact.and_then(|fact| fact.newest_us),
            error: None,
        }
    });
    Report {
        dry_run,
        enabled: policy.enabled,
        age_days: policy.age_days,
        max_bytes: policy.max_bytes,
        indices: facts.len(),
        deletions: deletions.collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use async_trait::async_trait;
    use http::Request;
    use mscp_log_core::access::Base;
    use tokio::sync::watch;

    use super::*;
    use crate::buffer::Batch;
    use crate::config::Config;
    use crate::identity::{Administrator, Setup};
    use crate::store::StoreError;

    /// A store of which only the names of indices are known.
    struct Named(Mutex<Vec<String>>);

    #[async_trait]
    impl Store for Named {
        async fn bulk(&self, _: Batch) -> Result<(), StoreError> {
            Ok(())
        }

        fn durable(&self, _: u32) -> watch::Receiver<u64> {
            watch::Sender::new(0).subscribe()
        }

        async fn call(&self, request: Request<Body>) -> http::Response<Body> {
            let mut names = self.0.lock().unwrap();
            let answer = match (request.method(), request.uri().path()) {
                (&Method::DELETE, path) => {
                    names.retain(|name| name != &path[1..]);
                    json!({"acknowledged": true})
                }
                (_, "/_msearch") => json!({"responses": []}),
                _ => names.iter().map(|name| json!({"index": name})).collect(),
            };
            http::Response::new(Body::from(answer.to_string()))
        }
    }

    async fn scene(folder: &std::path::Path) -> (Rotation, Arc<Named>) {
        let setup = Setup {
            auth: &Config::default().auth,
            data: folder,
            base: Base::new("/api", None).unwrap(),
            administrator: Administrator::default(),
        };
        let identity = Arc::new(Identity::open(setup).await.unwrap().identity);
        let names = ["logstash-http-local-2018.01.10", "else-2018.01.10"];
        let store = Arc::new(Named(Mutex::new(names.map(str::to_owned).to_vec())));
        let of = Arc::clone(&store);
        let at = Duration::from_secs(3 * 3_600);
        let configured = Settings::configured(&Config::default());
        let rotation = Rotation::new("local", of, identity, Beats::default(), configured, at);
        (rotation, store)
    }

    #[tokio::test]
    async fn it_runs_once_when_it_is_due_and_not_at_the_first_start_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let (rotation, store) = scene(folder.path()).await;
        let left = || store.0.lock().unwrap().len();
        let now_us = clock::now_us();
        rotation.when_due(now_us).await.unwrap();
        assert_eq!(left(), 2, "the first start deletes nothing");
        rotation.when_due(now_us).await.unwrap();
        assert_eq!(left(), 2, "it ran at that time");
        rotation.when_due(clock::now_us() + 1).await.unwrap();
        assert_eq!(*store.0.lock().unwrap(), ["else-2018.01.10"]);
    }

    #[tokio::test]
    async fn a_second_run_does_not_begin_beside_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (rotation, _) = scene(folder.path()).await;
        let turn = rotation.turn().await.unwrap();
        let asker = Asker {
            subject: "u".to_owned(),
            address: None,
        };
        let refused = rotation.run(&asker).await.unwrap_err();
        assert!(matches!(refused, RotationError::Busy), "{refused}");
        assert_eq!(rotation.plan().await.unwrap().deletions.len(), 1);
        drop(turn);
        assert_eq!(rotation.run(&asker).await.unwrap().deletions.len(), 1);
    }

    #[tokio::test]
    async fn the_time_of_day_is_that_of_today_or_of_yesterday() {
        let folder = tempfile::tempdir().unwrap();
        let (rotation, _) = scene(folder.path()).await;
        let three_us = 3 * 3_600 * 1_000_000;
        let midnight_us = 20_000 * DAY_US;
        assert_eq!(
            rotation.due_us(midnight_us + three_us),
            midnight_us + three_us
        );
        assert_eq!(
            rotation.due_us(midnight_us + three_us - 1),
            midnight_us + three_us - DAY_US
        );
    }
}
