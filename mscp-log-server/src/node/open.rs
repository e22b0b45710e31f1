//! Opening what a node is made of: accounts, buffer, stores, what handlers call.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mscp_log_core::access::Base;

use super::{NodeError, setting_of};
use crate::admin::change::Administration;
#[cfg(feature = "kubernetes")]
use crate::admin::kubernetes::Cluster;
use crate::admin::live::{Live, Way};
use crate::admin::outside::Outside;
use crate::admin::status::{Engines, Observatory, StoreOf};
use crate::api::App;
use crate::api::push::Ways;
use crate::api::system::Administrations;
use crate::backup::Backups;
use crate::buffer::Buffer;
use crate::buffer::dead_letters::{self, DeadLetters};
use crate::buffer::disk::{DiskBuffer, DiskSettings};
#[cfg(feature = "kafka")]
use crate::buffer::kafka::{self, Foreign, KafkaBuffer, Unready};
use crate::collect::send::connection;
use crate::config::{self, BufferKind, Config, Role, StoreKind};
use crate::database::Database;
use crate::folder::FolderError;
use crate::identity::{Administrator, Identity, IdentityError, Opened, Setup};
use crate::ingest::push::Push;
#[cfg(feature = "kafka")]
use crate::pipeline::Cleaner;
use crate::query::{Region, Sealing};
use crate::rotate::Rotation;
use crate::settings::{self, Elsewhere, Settings};
use crate::store::Store;
use crate::store::elastic::ElasticStore;
use crate::store::embedded::{self, EmbeddedStore};

/// How an engine that is away when a node starts is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// How long at most.
    limit: Duration,
    /// How long it is left alone between two tries.
    pause: Duration,
}

const PATIENCE: Patience = Patience {
    limit: Duration::from_secs(60),
    pause: Duration::from_secs(1),
};

/// Open what lies in another process. After a power cut all of them start at
/// once: one that is away is tried again before the start is given up.
async fn patiently<T>(
    patience: Patience,
    open: impl AsyncFn() -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    let begun = Instant::now();
    loop {
        match open().await {
            Err(error) if error.passes() && begun.elapsed() < patience.limit => {
                tracing::warn!(%error, "not there yet; trying again");
                tokio::time::sleep(patience.pause).await;
            }
            opened => return opened,
        }
    }
}

/// Accounts, keys and who issues tokens.
pub(super) async fn identity(
    config: &Config,
    data: &Path,
    administrator: Administrator,
) -> Result<Opened, NodeError> {
    let base = Base::new(&config.http.base, config.http.public_url.as_deref())
        .map_err(|error| setting_of(&error))?;
    patiently(PATIENCE, async || {
        let setup = Setup {
            auth: &config.auth,
            data,
            base: base.clone(),
            administrator: administrator.clone(),
        };
        Ok(Identity::open(setup).await?)
    })
    .await
}

/// The buffer, and its dead letters where they lie beside its records.
pub(super) async fn buffer(
    config: &Config,
    data: &Path,
) -> Result<(Arc<dyn Buffer>, Option<Arc<DeadLetters>>), NodeError> {
    match &config.buffer.kind {
        BufferKind::Disk => Ok((Arc::new(disk(&config.buffer, data)?), None)),
        #[cfg(feature = "kafka")]
        BufferKind::Kafka(kafka) => {
            let cleaner = Cleaner::open(config).ok_or_else(|| no_region(config))?;
            let clean: Arc<kafka::Clean> =
                Arc::new(move |message: Foreign<'_>| cleaner.foreign(message));
            let settings = kafka::Settings::new((**kafka).clone(), &config.push.region);
            let buffer = patiently(PATIENCE, async || {
                let buffer = KafkaBuffer::open(settings.clone(), Arc::clone(&clean)).await;
                buffer.map_err(|unready| NodeError::Kafka {
                    passes: matches!(unready, Unready::Away(_)),
                    reason: unready.to_string(),
                })
            });
            let buffer = Arc::new(buffer.await?);
            let letters = buffer.letters();
            Ok((buffer, Some(letters)))
        }
        #[cfg(not(feature = "kafka"))]
        BufferKind::Kafka(_) => Err(NodeError::Kafka {
            passes: false,
            reason: "this program was built without it".to_owned(),
        }),
    }
}

fn disk(settings: &config::Buffer, data: &Path) -> Result<DiskBuffer, NodeError> {
    let settings = DiskSettings {
        max_bytes: settings.max_bytes,
        segment_bytes: settings.segment_bytes,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(&data.join("buffer"), settings)?;
    let found = buffer.recovered();
    tracing::debug!(?found, "the buffer is open");
    Ok(buffer)
}

pub(super) fn no_region(config: &Config) -> NodeError {
    NodeError::Setting {
        key: "push.region",
        reason: format!("there is no region {:?}", config.push.region),
    }
}

/// The stores of the regions, and what they refuse.
#[derive(Default)]
pub(super) struct Stores {
    pub(super) by_region: BTreeMap<String, Arc<dyn Store>>,
    pub(super) letters: BTreeMap<String, Arc<DeadLetters>>,
    /// Those that are clusters.
    pub(super) clusters: Vec<(String, Arc<ElasticStore>)>,
}

/// Open every region's store; `dead` are the dead letters that lie in the buffer.
pub(super) fn stores(
    config: &Config,
    data: &Path,
    dead: Option<&Arc<DeadLetters>>,
) -> Result<Stores, NodeError> {
    let mut stores = Stores::default();
    for (name, region) in &config.regions {
        let refused = match dead {
            Some(letters) if *name == config.push.region => Arc::clone(letters),
            _ => letters(name, data)?,
        };
        let store: Arc<dyn Store> = match &region.store {
            StoreKind::Embedded => embedded(config, name, region, data, Arc::clone(&refused))?,
            StoreKind::Cluster(cluster) => {
                let refused = Arc::clone(&refused);
                let store = ElasticStore::start(cluster, config.search.timeout, refused);
                let store = Arc::new(store.map_err(|reason| unusable(name, reason))?);
                stores.clusters.push((name.clone(), Arc::clone(&store)));
                store
            }
        };
        stores.by_region.insert(name.clone(), store);
        stores.letters.insert(name.clone(), refused);
    }
    Ok(stores)
}

/// How old indices of each region go.
pub(super) fn rotations(
    config: &Config,
    identity: &Arc<Identity>,
    stores: &Stores,
) -> BTreeMap<String, Arc<Rotation>> {
    let (configured, at) = (Settings::configured(config), config.rotation.at);
    let rotations = stores.by_region.iter().map(|(region, store)| {
        let (store, identity) = (Arc::clone(store), Arc::clone(identity));
        let beats = config.clean.beats.clone();
        let rotation = Rotation::new(region, store, identity, beats, configured.clone(), at);
        (region.clone(), Arc::new(rotation))
    });
    rotations.collect()
}

/// How a node without identity reports itself: a shipper whose database is a
/// server's, in it; an agent at its gateway. `None` where there is neither.
pub(super) async fn way(config: &Config, data: &Path) -> Result<Option<Way>, NodeError> {
    let roles = &config.roles;
    let has_identity = [Role::Api, Role::Parser, Role::Rotator];
    if has_identity.iter().any(|role| roles.has(*role)) {
        return Ok(None);
    }
    if let (true, Some(url)) = (roles.has(Role::Shipper), &config.auth.database) {
        let database = patiently(PATIENCE, async || {
            let opened = Database::open(Some(url), data).await;
            Ok(opened.map_err(IdentityError::from)?)
        });
        let regions = config.regions.keys().cloned().collect();
        return Ok(Some(Way::Database(database.await?, regions)));
    }
    let gateway = match &config.collect.output {
        Some(config::Output::Gateway(gateway)) if roles.has(Role::Agent) => gateway.clone(),
        _ => return Ok(None),
    };
    let region = gateway.region.clone();
    let connect = Box::new(move || connection(&gateway));
    Ok(Some(Way::Gateway { connect, region }))
}

/// The settings of each region.
pub(super) async fn administrations(
    config: &Config,
    identity: &Arc<Identity>,
    live: &Arc<Live>,
    stores: &Stores,
) -> Result<Arc<Administrations>, NodeError> {
    let mut outside = Outside::default();
    if let BufferKind::Kafka(kafka) = &config.buffer.kind {
        outside.partitions = Some(kafka.partitions);
    }
    kubernetes(config, &mut outside).await?;
    let regions = config.regions.iter().map(|(name, region)| {
        let (identity, live) = (Arc::clone(identity), Arc::clone(live));
        let mut fixed = Elsewhere::new();
        if config.buffer.kind == BufferKind::Disk {
            fixed.extend([("parser".to_owned(), 1), ("shipper".to_owned(), 1)]);
        }
        if region.store == StoreKind::Embedded {
            let nodes = [("master", 1), ("data", 1), ("client", 0)];
            fixed.extend(nodes.map(|(part, nodes)| (part.to_owned(), nodes)));
        }
        let mut outside = outside.clone();
        if matches!(region.store, StoreKind::Cluster(_)) {
            outside.store = stores.by_region.get(name).cloned();
        }
        let of = Administration::new(name, identity, live, fixed, outside);
        (name.clone(), Arc::new(of))
    });
    Ok(Arc::new(regions.collect()))
}

/// Where this installation runs on Kubernetes, as the role `api` asks it.
#[cfg(feature = "kubernetes")]
async fn kubernetes(config: &Config, outside: &mut Outside) -> Result<(), NodeError> {
    if let Some(settings) = config
        .kubernetes
        .as_ref()
        .filter(|_| config.roles.has(Role::Api))
    {
        let cluster = Cluster::open(settings).await;
        let cluster = cluster.map_err(|reason| NodeError::Setting {
            key: "kubernetes.enabled",
            reason,
        })?;
        outside.cluster = Some(Arc::new(cluster));
    }
    Ok(())
}

#[cfg(not(feature = "kubernetes"))]
#[expect(clippy::unused_async, reason = "with Kubernetes it reads a token")]
async fn kubernetes(_: &Config, _: &mut Outside) -> Result<(), NodeError> {
    Ok(())
}

/// The components that the handlers of the role `api` call.
pub(super) async fn app(
    config: &Config,
    data: &Path,
    identity: &Arc<Identity>,
    buffer: Arc<dyn Buffer>,
    stores: Stores,
    rotations: BTreeMap<String, Arc<Rotation>>,
    administrations: &Administrations,
) -> Result<App, NodeError> {
    let push = Push::open(config, Arc::clone(&buffer)).map_err(|error| NodeError::Setting {
        key: "push.region",
        reason: error.to_string(),
    })?;
    let sealing = identity.shared_secret("cursors").await?;
    let sealing = Arc::new(Sealing::new(&sealing));
    let regions = stores.by_region.iter().map(|(name, store)| {
        let (store, sealing) = (Arc::clone(store), Arc::clone(&sealing));
        let region = Region::new(name, store, &config.search, sealing);
        (name.clone(), region)
    });
    let regions = regions.collect();
    let engines = Engines {
        buffer: Arc::clone(&buffer),
        kafka: matches!(config.buffer.kind, BufferKind::Kafka(_)),
        data: data.to_owned(),
    };
    let observatories = administrations.iter().filter_map(|(name, administration)| {
        let observatory = Observatory::new(
            Arc::clone(administration),
            Arc::clone(identity),
            Arc::clone(rotations.get(name)?),
            StoreOf {
                store: Arc::clone(stores.by_region.get(name)?),
                cluster: matches!(config.regions.get(name)?.store, StoreKind::Cluster(_)),
                letters: Arc::clone(stores.letters.get(name)?),
            },
            engines.clone(),
        );
        Some((name.clone(), observatory))
    });
    let observatories = observatories.collect();
    let backups = Backups::new(
        data.to_owned(),
        buffer,
        stores.by_region,
        stores.letters.clone(),
    );
    let backups = backups.map_err(|error| {
        let path = data.to_owned();
        FolderError::Io { path, error }
    })?;
    Ok(App {
        backups: Arc::new(backups),
        regions,
        letters: stores.letters,
        rotations,
        observatories,
        ways: Ways {
            push: Arc::new(push),
            otlp: config.otlp.enabled,
            version: config.elasticsearch.version,
        },
    })
}

fn unusable(region: &str, reason: impl Into<String>) -> NodeError {
    NodeError::Store {
        region: region.to_owned(),
        reason: reason.into(),
    }
}

fn letters(region: &str, data: &Path) -> Result<Arc<DeadLetters>, NodeError> {
    let path = data.join("dead-letters").join(region);
    match DeadLetters::open(&path, dead_letters::MAX_BYTES) {
        Ok(letters) => Ok(Arc::new(letters)),
        Err(error) => Err(unusable(region, format!("{}: {error}", path.display()))),
    }
}

fn embedded(
    config: &Config,
    name: &str,
    region: &config::Region,
    data: &Path,
    letters: Arc<DeadLetters>,
) -> Result<Arc<dyn Store>, NodeError> {
    let limits = &config.search;
    let settings = embedded::Settings {
        name: format!("mscp-log-{name}"),
        version: config.elasticsearch.version,
        memory_bytes: region.memory,
        commit_interval: region.commit_interval,
        max_body_bytes: limits.max_body_bytes,
        max_concurrent_searches: usize::try_from(limits.max_concurrent).unwrap_or(usize::MAX),
        search: (&settings::Search::from(limits)).into(),
    };
    let opened = EmbeddedStore::open(&data.join("store").join(name), settings, letters);
    Ok(Arc::new(
        opened.map_err(|error| unusable(name, error.to_string()))?,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Tries until it ends, where the engine is there at the `there`th.
    async fn tries(limit: Duration, there: u32, passes: bool) -> (u32, bool) {
        let patience = Patience {
            limit,
            pause: Duration::ZERO,
        };
        let tries = AtomicU32::new(0);
        let opened = patiently(patience, async || {
            if tries.fetch_add(1, Ordering::Relaxed) + 1 >= there {
                return Ok(());
            }
            let reason = "connection refused".to_owned();
            Err(NodeError::Kafka { reason, passes })
        });
        let opened = opened.await.is_ok();
        (tries.into_inner(), opened)
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_waited_for_and_not_for_ever() {
        assert_eq!(tries(PATIENCE.limit, 4, true).await, (4, true));
        // What is wrong will be wrong the next time, too.
        assert_eq!(tries(PATIENCE.limit, 4, false).await, (1, false));
        assert_eq!(tries(Duration::ZERO, 4, true).await, (1, false));
    }
}
