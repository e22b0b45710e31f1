//! What is scaled and set outside of this system's own processes: by
//! Kubernetes, and in the engine that keeps the records.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "kubernetes")]
use super::kubernetes::{Cluster, Held, Needs, Part};
use crate::settings::{Change, Elsewhere};
use crate::store::{Spread, Spreading, Store};

/// How long anything outside may take to say what it is: less than a part of
/// a status may.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// How much of a part there should be, and is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pods {
    /// How many there should be.
    pub scheduled: u64,
    /// How many are ready.
    pub up: u64,
}

/// A pod that is there or should be, as Kubernetes knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The machine, once it has one.
    pub node: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub up: bool,
    /// As `kubectl get pods` says it.
    pub status: String,
}

/// What Kubernetes says of a part; `None` is nothing.
pub type Asked<T> = Option<Result<T, String>>;

/// What a region's settings name that is not ours to keep.
#[derive(Clone, Default)]
pub struct Outside {
    /// The region's store, where it is a cluster of its own.
    pub store: Option<Arc<dyn Store>>,
    /// Partitions of the buffer, where it is Kafka.
    pub partitions: Option<u32>,
    /// Where this installation runs on Kubernetes.
    #[cfg(feature = "kubernetes")]
    pub cluster: Option<Arc<Cluster>>,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The parts whose pods are counted, as status and settings call them.
pub const PARTS: [&str; 9] = [
    "agent", "api", "parser", "shipper", "rotator", "master", "data", "client", "kafka",
];

impl Outside {
    /// How many pods each of [`PARTS`] has, all asked at once.
    pub async fn counts(&self) -> BTreeMap<&'static str, Result<Pods, String>> {
        let asked = PARTS.map(async |part| Some((part, self.count(part).await?)));
        let counts = futures::future::join_all(asked).await;
        counts.into_iter().flatten().collect()
    }

    /// What can be changed outside, as it is now; absent where that is not known.
    pub async fn measure(&self) -> Elsewhere {
        let parts = ["parser", "shipper", "master", "data", "client"];
        let asked = parts.map(async |part| (part, self.count(part).await));
        let (counts, spread) = tokio::join!(futures::future::join_all(asked), self.spread());
        let mut known = Elsewhere::new();
        for (part, count) in counts {
            if let Some(Ok(pods)) = count {
                known.insert(part.to_owned(), pods.scheduled);
            }
        }
        if let Some(Ok(spread)) = spread {
            known.insert("shards".to_owned(), spread.number_of_shards);
            known.insert("replicas".to_owned(), spread.number_of_replicas);
        }
        known
    }

    /// How new indices are spread, where the store is a cluster.
    pub async fn spread(&self) -> Asked<Spread> {
        let store = self.store.as_ref()?;
        let asked = soon(store.spread()).await;
        Some(asked.and_then(|spread| spread.ok_or_else(|| "it does not say".to_owned())))
    }

    /// Change one thing; what comes back is worth telling.
    ///
    /// # Errors
    /// Why it is not changed.
    pub async fn change(&self, name: &str, change: &Change) -> Result<Vec<String>, String> {
        let to = change.to.as_u64().unwrap_or_default();
        let wanted = match name {
            "shards" => Spreading {
                shards: Some(to),
                ..Spreading::default()
            },
            "replicas" => Spreading {
                replicas: Some(to),
                ..Spreading::default()
            },
            part => return self.scale(part, change.from.as_u64(), to).await,
        };
        let Some(store) = &self.store else {
            return Err("the store is no cluster".to_owned());
        };
        let set = store.set_spread(wanted).await;
        set.map(|_| Vec::new()).map_err(|error| error.to_string())
    }
}

async fn soon<T, E: std::fmt::Display>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
    }
}

#[cfg(feature = "kubernetes")]
impl Outside {
    async fn count(&self, part: &str) -> Asked<Pods> {
        let count = soon(self.cluster.as_ref()?.count(part_of(part)?)).await;
        let pods = count.map(|count| {
            count.map(|count| Pods {
                scheduled: count.scheduled.into(),
                up: count.up.into(),
            })
        });
        pods.transpose()
    }

    /// The pods of `part`.
    pub async fn pods(&self, part: &str) -> Asked<Vec<Pod>> {
        let pods = soon(self.cluster.as_ref()?.pods(part_of(part)?)).await;
        Some(pods.map(|pods| {
            let pods = pods.into_iter().map(|pod| Pod {
                node: pod.node,
                name: pod.pod,
                up: pod.up,
                status: pod.status,
            });
            pods.collect()
        }))
    }

    /// Switch the agents' pods off where nothing is to be read, and on where
    /// something is.
    ///
    /// # Errors
    /// Why Kubernetes did not do it.
    pub async fn enable_agents(&self, on: bool) -> Result<(), String> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        match cluster.enabled(Part::Agent).await {
            Ok(Some(enabled)) if enabled != on => {
                let enabled = cluster.enable(Part::Agent, on).await;
                enabled.map_err(|error| error.to_string())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn scale(&self, part: &str, from: Option<u64>, to: u64) -> Result<Vec<String>, String> {
        let (Some(cluster), Some(of)) = (&self.cluster, part_of(part)) else {
            return Err(NOT_HERE.to_owned());
        };
        let from = from.ok_or("how many there are now is not known; read the settings again")?;
        let store = match (&self.store, of) {
            (Some(store), Part::StoreMaster | Part::StoreData) => Held::of(&**store).await,
            (Some(_), _) => Err("it is not asked for other parts".to_owned()),
            (None, _) => Err("the store of this region is no cluster".to_owned()),
        };
        let needs = Needs {
            partitions: self.partitions,
            store,
        };
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let scaled = cluster.scale(of, number(from), number(to), &needs).await;
        scaled.map_err(|refused| refused.to_string())
    }
}

#[cfg(feature = "kubernetes")]
fn part_of(name: &str) -> Option<Part> {
    Some(match name {
        "agent" => Part::Agent,
        "api" => Part::Api,
        "parser" => Part::Parser,
        "shipper" => Part::Shipper,
        "rotator" => Part::Rotator,
        "master" => Part::StoreMaster,
        "data" => Part::StoreData,
        "client" => Part::StoreClient,
        "kafka" => Part::Kafka,
        _ => return None,
    })
}

/// Why nothing is scaled.
const NOT_HERE: &str = "nothing here says how many there are: this installation is not run by \
                        Kubernetes, or kubernetes.enabled is off";

/// Without Kubernetes nobody counts pods.
#[cfg(not(feature = "kubernetes"))]
#[expect(clippy::unused_async, reason = "with Kubernetes it asks")]
impl Outside {
    async fn count(&self, _: &str) -> Asked<Pods> {
        None
    }

    /// The pods of a part.
    pub async fn pods(&self, _: &str) -> Asked<Vec<Pod>> {
        None
    }

    /// Switch the agents' pods off and on.
    ///
    /// # Errors
    /// Never.
    pub async fn enable_agents(&self, _: bool) -> Result<(), String> {
        Ok(())
    }

    async fn scale(&self, _: &str, _: Option<u64>, _: u64) -> Result<Vec<String>, String> {
        Err(NOT_HERE.to_owned())
    }
}
