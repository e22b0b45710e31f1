//! Settings as administrators see and change them: read, compared with what
//! they were edited from, applied where they belong, kept, and noted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::live::Live;
use super::outside::Outside;
use crate::database::{Database, DatabaseError, Turn};
use crate::identity::{Entry, Identity, Outcome};
use crate::settings::{self, Change, Current, Elsewhere, Invalid, Kept, Revision};

/// How long a change waits for one that goes on.
const WAIT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// Who changes settings.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The subject of the token.
    pub subject: String,
    /// From where, as far as known.
    pub address: Option<IpAddr>,
}

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Members that are not known, or values that cannot be: all of them.
    #[error("{}", told(.0))]
    Invalid(Vec<Invalid>),
    /// Another has changed them since the document was read.
    #[error("{0}; read it again and make the change there")]
    Stale(String),
    /// They are not those of `If-Match`.
    #[error("the settings are of revision {0}, which If-Match does not name")]
    Precondition(Revision),
    /// Another change goes on.
    #[error("another change of the settings goes on; try again")]
    Busy,
    /// What is scaled or set elsewhere refuses; what was done before is named.
    #[error("{reason}{}", done(.applied))]
    Refused {
        /// Why.
        reason: String,
        /// What was changed all the same.
        applied: Vec<Change>,
    },
    /// The database is away.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn told(wrong: &[Invalid]) -> String {
    let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    told.join("; ")
}

fn done(applied: &[Change]) -> String {
    if applied.is_empty() {
        return "; nothing was changed".to_owned();
    }
    let paths: Vec<&str> = applied.iter().map(|change| change.path).collect();
    format!("; changed before that: {}", paths.join(", "))
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SettingsChanged)]
pub struct Changed {
    /// The revision that holds now.
    pub revision: String,
    /// What was changed; empty when nothing was otherwise.
    pub changes: Vec<Change>,
    /// What whoever changed them should know.
    pub warnings: Vec<String>,
    /// The settings as they are now.
    #[schema(value_type = settings::Document)]
    pub settings: Value,
}

/// The settings of one region.
pub struct Administration {
    region: String,
    identity: Arc<Identity>,
    live: Arc<Live>,
    fixed: Elsewhere,
    outside: Outside,
}

impl std::fmt::Debug for Administration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Administration")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Administration {
    /// Of `region`; `live` hears of changes at once. `fixed` is what is as it is
    /// because it is one process, and `outside` has what is not ours to keep.
    #[must_use]
    pub fn new(
        region: &str,
        identity: Arc<Identity>,
        live: Arc<Live>,
        fixed: Elsewhere,
        outside: Outside,
    ) -> Self {
        Self {
            region: region.to_owned(),
            identity,
            live,
            fixed,
            outside,
        }
    }

    /// What is not ours to keep.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The database, for what else is kept there.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.identity.database()
    }

    /// What holds now.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn current(&self) -> Result<Current, DatabaseError> {
        Ok(self.with_kept().await?.0)
    }

    async fn with_kept(&self) -> Result<(Current, Kept), DatabaseError> {
        let kept = settings::kept(self.database(), &self.region);
        let (kept, mut elsewhere) = tokio::join!(kept, self.outside.measure());
        let kept = kept?;
        elsewhere.retain(|name, _| !self.fixed.contains_key(name));
        let current = Current {
            settings: kept.over(self.live.configured()),
            revision: Revision {
                kept: kept.revision,
                elsewhere,
            },
            fixed: self.fixed.clone(),
        };
        Ok((current, kept))
    }

    /// Make the settings what `document` says, as far as it says it. With
    /// `matching` (`If-Match`) only where one of those revisions holds.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change(
        &self,
        document: &Value,
        matching: Option<&[Revision]>,
        asker: &Asker,
    ) -> Result<Changed, ChangeError> {
        let turn = self.turn().await?;
        let (now, mut kept) = self.with_kept().await?;
        if matching.is_some_and(|wanted| !wanted.contains(&now.revision)) {
            return Err(ChangeError::Precondition(now.revision));
        }
        let edit = settings::read(document, &now).map_err(ChangeError::Invalid)?;
        let stale = edit.base.as_ref();
        if let Some(reason) = stale.and_then(|base| base.changed_since(&now.revision)) {
            return Err(ChangeError::Stale(reason));
        }
        let mut warnings = Vec::new();
        let made = self.elsewhere(edit.elsewhere, &mut warnings).await;
        let (mut changes, refused) = made;
        if refused.is_none() && !edit.kept.is_empty() {
            for change in &edit.kept {
                kept.overrides.set(change.path, change.to.clone());
            }
            kept.revision += 1;
            settings::keep(self.database(), &self.region, &kept, &asker.subject).await?;
            changes.extend(edit.kept);
            let holds = kept.over(self.live.configured());
            let on = holds.journalbeat || holds.filebeat;
            // Agents follow the settings by themselves; this spares their pods.
            if let Err(reason) = self.outside.enable_agents(on).await {
                warnings.push(format!("the agents' pods were not switched: {reason}"));
            }
        }
        turn.end().await?;
        if !changes.is_empty() || refused.is_some() {
            self.note(asker, &changes, refused.as_deref());
        }
        if let Some(reason) = refused {
            let applied = changes;
            return Err(ChangeError::Refused { reason, applied });
        }
        self.live.follow(&self.region, kept);
        let (now, _) = self.with_kept().await?;
        Ok(Changed {
            revision: now.revision.to_string(),
            changes,
            warnings,
            settings: now.document(),
        })
    }

    /// Change what is kept elsewhere, one after the other: gives what was
    /// done, and why the next was not.
    async fn elsewhere(
        &self,
        wanted: Vec<Change>,
        warnings: &mut Vec<String>,
    ) -> (Vec<Change>, Option<String>) {
        let mut done = Vec::new();
        for change in wanted {
            let name = settings::short(change.path).unwrap_or_default();
            match self.outside.change(name, &change).await {
                Ok(told) => {
                    warnings.extend(told);
                    done.push(change);
                }
                Err(reason) => return (done, Some(format!("{}: {reason}", change.path))),
            }
        }
        (done, None)
    }

    /// One change at a time in a region, whichever replica makes it.
    async fn turn(&self) -> Result<Turn, ChangeError> {
        let what = format!("settings {}", self.region);
        let until = Instant::now() + WAIT;
        loop {
            match self.database().turn(&what).await? {
                Some(turn) => return Ok(turn),
                None if Instant::now() >= until => return Err(ChangeError::Busy),
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn note(&self, asker: &Asker, changes: &[Change], refused: Option<&str>) {
        self.identity.note(Entry {
            subject: asker.subject.clone(),
            address: asker.address,
            action: "settings.change",
            target: self.region.clone(),
            outcome: match refused {
                None => Outcome::Done,
                Some(_) => Outcome::Refused,
            },
            detail: json!({ "changes": changes, "refused": refused }),
        });
    }
}
