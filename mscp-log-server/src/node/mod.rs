//! A node: the one place that knows every component and puts them together.

mod open;
mod report;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use mscp_log_core::access::BaseError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::live::{self, Live, Way};
use crate::api::access::Door;
use crate::api::cors::Cors;
use crate::api::health::{Check, Health};
use crate::api::listen;
use crate::api::{self, App, Rooms};
use crate::buffer::Buffer;
use crate::buffer::dead_letters::DeadLetters;
use crate::buffer::disk::OpenError;
use crate::collect::{self, AgentError};
use crate::config::{self, Config, Role};
use crate::folder::{Folder, FolderError};
use crate::identity::{Administrator, FirstAdministrator, Identity, IdentityError};
use crate::ingest::beats::{self, Beats};
use crate::ingest::collect::Collect;
use crate::settings::Settings;
use crate::ship::{self, HeldBack};
use crate::store::Store;
use crate::store::elastic::ElasticStore;
use crate::tls::{self, TlsError, TlsFiles};

use report::Witness;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Identity cannot be opened.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    /// The buffer cannot be opened.
    #[error("buffer: {0}")]
    Buffer(#[from] OpenError),
    /// Kafka cannot be the buffer.
    #[error("buffer: {reason}")]
    Kafka {
        /// Everything that stands in the way.
        reason: String,
        /// Whether it may be otherwise soon.
        passes: bool,
    },
    /// A region's store cannot be opened.
    #[error("store of region {region}: {reason}")]
    Store {
        /// The region.
        region: String,
        /// Why.
        reason: String,
    },
    /// A setting cannot be used.
    #[error("{key}: {reason}")]
    Setting {
        /// The configuration's key.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// The settings cannot be read.
    #[error("settings: {0}")]
    Settings(String),
    /// The agent cannot be started.
    #[error("collecting: {0}")]
    Agent(#[from] AgentError),
    /// An address cannot be listened on.
    #[error("{key} {address}: {error}")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Beats cannot be listened for.
    #[error(transparent)]
    Beats(#[from] beats::StartError),
}

impl NodeError {
    /// Whether what is in the way is an engine that does not answer yet.
    fn passes(&self) -> bool {
        match self {
            Self::Identity(error) => error.is_away(),
            Self::Kafka { passes, .. } => *passes,
            _ => false,
        }
    }
}

/// A running node. [`Node::stop`] drains it; dropped without, its tasks are
/// ended where they are, as in a crash, which loses nothing either.
pub struct Node {
    address: SocketAddr,
    tls: bool,
    beats: Option<SocketAddr>,
    first_administrator: Option<FirstAdministrator>,
    /// Stops accepting requests.
    closing: CancellationToken,
    /// Stops what works behind the requests.
    stopping: CancellationToken,
    listeners: JoinSet<()>,
    workers: JoinSet<()>,
    /// Of the roles that keep records.
    buffer: Option<Arc<dyn Buffer>>,
    stores: Vec<Arc<dyn Store>>,
    data: Folder,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Start the components that the roles of `config` need. `administrator` is
    /// who the first start makes.
    ///
    /// # Errors
    /// What cannot be opened, read or listened on; see [`NodeError`].
    pub async fn start(config: Config, administrator: Administrator) -> Result<Self, NodeError> {
        let data = Folder::open(&config.data)?;
        let listener = bind("http.listen", config.http.listen).await?;
        let address = listener.local_addr().map_err(|error| NodeError::Listen {
            key: "http.listen",
            address: config.http.listen,
            error,
        })?;
        let tls = tls_files(&config.http);
        if let Some(files) = &tls {
            // Files that cannot be used are an error of the start, not of a task.
            tls::server_config(files)?;
        }
        let mut node = Self {
            address,
            tls: tls.is_some(),
            beats: None,
            first_administrator: None,
            closing: CancellationToken::new(),
            stopping: CancellationToken::new(),
            listeners: JoinSet::new(),
            workers: JoinSet::new(),
            buffer: None,
            stores: Vec::new(),
            data,
        };
        let mut health = Health::new().map_err(|error| NodeError::Setting {
            key: "http.metrics_listen",
            reason: error.to_string(),
        })?;
        let live = Arc::new(Live::new(Settings::configured(&config)));
        let mut way = open::way(&config, node.data.path()).await?;
        let folder = node.data.path().to_owned();
        health.measure(move || measure_disk(&folder));
        let (rooms, door) = match config.roles.aggregate() {
            true => {
                node.aggregator(&config, administrator, &mut health, &live, &mut way)
                    .await?
            }
            false => Default::default(),
        };
        let mut agent = None;
        if config.roles.has(Role::Agent) && config.collect.is_on() {
            let notes = node.agent(&config, rooms.parser.as_ref(), &live)?;
            let told_of = notes.clone();
            health.note("collect", told(move || told_of.told()));
            agent = Some(notes);
        }
        let health = Arc::new(health);
        if let Some(way) = way {
            node.report(&config, way, live, &health, agent)?;
        }
        if let Some(wanted) = config.http.metrics_listen {
            let listener = bind("http.metrics_listen", wanted).await?;
            let routes = api::health::routes(Arc::clone(&health));
            node.listen("metrics", listener, routes, None, Duration::ZERO);
        }
        let service = match door {
            Some(door) => {
                let cors = Cors::new(&config.http.cors_origins);
                api::router(rooms, door, health, cors)
            }
            None => api::health_alone(health),
        };
        node.listen("http", listener, service, tls, config.http.drain);
        Ok(node)
    }

    /// Start what takes records in, ships them and answers searches, as far as
    /// it is among the roles. Where something of it is behind a door, gives both.
    async fn aggregator(
        &mut self,
        config: &Config,
        administrator: Administrator,
        health: &mut Health,
        live: &Arc<Live>,
        way: &mut Option<Way>,
    ) -> Result<(Rooms, Option<Arc<Door>>), NodeError> {
        let roles = &config.roles;
        let (is_api, is_parser) = (roles.has(Role::Api), roles.has(Role::Parser));
        let (is_shipper, is_rotator) = (roles.has(Role::Shipper), roles.has(Role::Rotator));
        let data = self.data.path().to_owned();
        let identity = match is_api || is_parser || is_rotator {
            true => Some(self.identity(config, administrator).await?),
            false => None,
        };
        let names: Vec<String> = config.regions.keys().cloned().collect();
        if let Some(identity) = &identity {
            *way = Some(Way::Database(identity.database().clone(), names));
        }
        if let Some(way) = way {
            // What was changed before this start holds from the beginning.
            let read = way.read(live).await;
            read.map_err(NodeError::Settings)?;
        }
        let (mut buffer, mut dead) = (None, None);
        if roles.use_the_buffer() {
            let opened = open::buffer(config, &data).await?;
            (buffer, dead) = (Some(opened.0), opened.1);
        }
        self.buffer.clone_from(&buffer);
        if let Some(told) = buffer.clone() {
            live.tell(&config.push.region, move |settings| {
                settings.buffer_max_bytes.map(|max| told.set_max_bytes(max));
            });
        }
        let mut stores = open::Stores::default();
        if is_api || is_shipper || is_rotator {
            stores = open::stores(config, &data, dead.as_ref())?;
        }
        self.stores = stores.by_region.values().cloned().collect();
        observe(health, buffer.as_ref(), identity.as_ref(), &stores.letters);

        let clusters = std::mem::take(&mut stores.clusters);
        let store = told(move || troubles(&clusters));
        match is_api {
            // Pushes go on without the store, and so does what waits for it.
            true => health.note("store", store),
            false if is_shipper || is_rotator => health.need("store", store),
            false => {}
        }
        let mut rotations = BTreeMap::new();
        if let Some(identity) = identity.as_ref().filter(|_| is_api || is_rotator) {
            rotations = open::rotations(config, identity, &stores);
        }
        if is_rotator {
            for rotation in rotations.values().map(Arc::clone) {
                let stopping = self.stopping.clone();
                self.workers
                    .spawn(async move { rotation.daily(stopping).await });
            }
        }
        let mut rooms = Rooms::default();
        if let Some(buffer) = &buffer {
            if is_shipper {
                self.shipper(config, buffer, &stores, health)?;
            }
            if is_parser {
                rooms.parser = Some(self.parser(config, buffer).await?);
            }
        }
        let Some(identity) = identity else {
            return Ok((rooms, None));
        };
        rooms.administrations = open::administrations(config, &identity, live, &stores).await?;
        if let Some(buffer) = buffer.filter(|_| is_api) {
            let settings = &rooms.administrations;
            let app = open::app(
                config, &data, &identity, buffer, stores, rotations, settings,
            );
            let app = Arc::new(app.await?);
            follow(&app, live, &config.push.region);
            rooms.api = Some(app);
        }
        let door = Door::new(identity, &config.http, config.regions.keys().cloned());
        Ok((rooms, Some(Arc::new(door))))
    }

    /// Say each few seconds what this node is and how it does.
    fn report(
        &mut self,
        config: &Config,
        way: Way,
        live: Arc<Live>,
        health: &Arc<Health>,
        agent: Option<collect::Notes>,
    ) -> Result<(), NodeError> {
        let witness = Witness::new(
            config,
            self.data.instance()?,
            self.data.path().to_owned(),
            Arc::clone(health),
            self.buffer.clone(),
            agent,
        );
        // It takes leave while the database is still open.
        let closing = self.closing.clone();
        self.workers.spawn(live::keep_in_touch(
            way,
            witness.into_gather(),
            live,
            closing,
        ));
        Ok(())
    }

    /// Carry records from the buffer into the region's store.
    fn shipper(
        &mut self,
        config: &Config,
        buffer: &Arc<dyn Buffer>,
        stores: &open::Stores,
        health: &mut Health,
    ) -> Result<(), NodeError> {
        let target = stores.by_region.get(&config.push.region);
        let target = target.ok_or_else(|| open::no_region(config))?;
        let held = Arc::new(HeldBack::default());
        self.workers.spawn(ship::ship(
            Arc::clone(buffer),
            Arc::clone(target),
            Arc::clone(&held),
            self.stopping.clone(),
        ));
        let shipping = told(move || held.reason().map(|reason| (*reason).clone()));
        health.note("shipping", shipping);
        Ok(())
    }

    /// Take what agents and Beats send.
    async fn parser(
        &mut self,
        config: &Config,
        buffer: &Arc<dyn Buffer>,
    ) -> Result<Arc<Collect>, NodeError> {
        let collect = Collect::open(config, Arc::clone(buffer));
        let collect = collect.ok_or_else(|| open::no_region(config))?;
        let beats = Beats::open(config, Arc::clone(buffer), self.closing.clone()).await?;
        self.beats = beats.as_ref().map(Beats::address);
        if let Some(beats) = beats {
            self.listeners.spawn(beats.run());
        }
        Ok(Arc::new(collect))
    }

    /// Open identity, and keep its keys new.
    async fn identity(
        &mut self,
        config: &Config,
        administrator: Administrator,
    ) -> Result<Arc<Identity>, NodeError> {
        let opened = open::identity(config, self.data.path(), administrator).await?;
        self.first_administrator = opened.first_administrator;
        let identity = Arc::new(opened.identity);
        let (running, stopping) = (Arc::clone(&identity), self.stopping.clone());
        self.workers
            .spawn(async move { running.run(stopping).await });
        Ok(identity)
    }

    /// Start what reads the sources of this machine; its records go where
    /// `config` says, or else to `local`.
    fn agent(
        &mut self,
        config: &Config,
        local: Option<&Arc<Collect>>,
        live: &Live,
    ) -> Result<collect::Notes, NodeError> {
        let region = match &config.collect.output {
            Some(config::Output::Gateway(gateway)) => &gateway.region,
            _ => &config.push.region,
        };
        let (switch, wanted) = watch::channel(collect::Wanted::default());
        live.tell(region, move |settings| {
            let now = collect::Wanted {
                journal: settings.journalbeat,
                files: settings.filebeat,
            };
            switch.send_if_modified(|wanted| std::mem::replace(wanted, now) != now);
        });
        let data = self.data.path();
        let (tasks, stop) = (&mut self.workers, &self.stopping);
        Ok(collect::start(
            &config.collect,
            data,
            local,
            &wanted,
            tasks,
            stop,
        )?)
    }

    /// Serve `routes` until this node closes.
    fn listen(
        &mut self,
        what: &'static str,
        listener: TcpListener,
        routes: Router,
        tls: Option<TlsFiles>,
        drain: Duration,
    ) {
        let closing = self.closing.clone();
        self.listeners.spawn(async move {
            if let Err(error) = listen::serve(listener, routes, tls, closing, drain).await {
                tracing::error!(%error, "the listener of {what} ended");
            }
        });
    }

    /// The origin that it listens on, as `http://127.0.0.1:8300`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // Not an address that a client could use.
            let loopback: std::net::IpAddr = match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        format!("{scheme}://{address}")
    }

    /// Where it listens for Beats, if it does.
    #[must_use]
    pub fn beats(&self) -> Option<SocketAddr> {
        self.beats
    }

    /// The account that this start made, if it was the first.
    #[must_use]
    pub fn first_administrator(&self) -> Option<&FirstAdministrator> {
        self.first_administrator.as_ref()
    }

    /// Take no more requests, let open ones end, ship and commit what can be
    /// within `deadline`. What is in the buffer by then stays there, durably.
    pub async fn stop(mut self, deadline: Duration) {
        self.closing.cancel();
        let ended = tokio::time::timeout(deadline, async {
            while self.listeners.join_next().await.is_some() {}
            self.stopping.cancel();
            while self.workers.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            tracing::warn!("not everything ended within the deadline; nothing is lost by that");
        }
        let (buffer, stores) = (self.buffer, self.stores);
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(buffer) = buffer {
                buffer.close();
            }
            drop(stores);
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the files failed");
        }
    }
}

fn setting_of(error: &BaseError) -> NodeError {
    let key = match error {
        BaseError::PublicUrl(_) => "http.public_url",
        BaseError::Prefix { .. } => "http.base",
    };
    NodeError::Setting {
        key,
        reason: error.to_string(),
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| NodeError::Listen {
            key,
            address,
            error,
        })
}

fn tls_files(http: &config::Http) -> Option<TlsFiles> {
    match (&http.tls_cert, &http.tls_key) {
        (Some(cert), Some(key)) => Some(TlsFiles {
            section: "http",
            cert: cert.clone(),
            key: key.clone(),
            clients: None,
            alpn: &["h2", "http/1.1"],
        }),
        _ => None,
    }
}

/// Let pushes and searches go by the settings. These do not keep `app` alive:
/// its stores are closed when it goes.
fn follow(app: &Arc<App>, live: &Live, pushed: &str) {
    let of = Arc::downgrade(app);
    live.tell(pushed, move |settings| {
        if let Some(app) = of.upgrade() {
            app.ways.push.set_open(settings.http_gateway);
        }
    });
    for region in app.regions.keys() {
        let (of, name) = (Arc::downgrade(app), region.clone());
        live.tell(region, move |settings| {
            if let Some(region) = of.upgrade().as_ref().and_then(|app| app.regions.get(&name)) {
                region.set_search(&settings.search);
            }
        });
    }
}

/// A check that is at hand: `None` is well.
fn told(reason: impl Fn() -> Option<String> + Send + Sync + 'static) -> Check {
    Box::new(move || Box::pin(std::future::ready(reason().map_or(Ok(()), Err))))
}

/// What is wrong with the clusters, each with its region.
fn troubles(clusters: &[(String, Arc<ElasticStore>)]) -> Option<String> {
    let told = clusters.iter().filter_map(|(region, store)| {
        let reason = store.trouble()?;
        Some(format!("{region}: {reason}"))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// How much room there is for what the node keeps.
fn measure_disk(folder: &Path) {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
    let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
    metrics::gauge!("mscp_log_data_disk_size_bytes").set(bytes(stat.f_blocks));
    metrics::gauge!("mscp_log_data_disk_available_bytes").set(bytes(stat.f_bavail));
}

/// Ask buffer and identity whether they work, and measure what they hold.
fn observe(
    health: &mut Health,
    buffer: Option<&Arc<dyn Buffer>>,
    identity: Option<&Arc<Identity>>,
    letters: &BTreeMap<String, Arc<DeadLetters>>,
) {
    if let Some(checked) = buffer.map(Arc::clone) {
        health.need("buffer", told(move || checked.trouble()));
    }
    if let Some(checked) = identity.map(Arc::clone) {
        health.need(
            "identity",
            Box::new(move || {
                let identity = Arc::clone(&checked);
                Box::pin(async move { identity.reach().await.map_err(|error| error.to_string()) })
            }),
        );
    }
    let measured = buffer.map(Arc::clone);
    let letters = letters.clone();
    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges are doubles; a byte in a petabyte is not missed"
    )]
    health.measure(move || {
        if let Some(usage) = measured.as_ref().map(|buffer| buffer.usage()) {
            if usage.max_bytes > 0 {
                metrics::gauge!("mscp_log_buffer_used_bytes").set(usage.bytes as f64);
                metrics::gauge!("mscp_log_buffer_max_bytes").set(usage.max_bytes as f64);
            }
            metrics::gauge!("mscp_log_buffer_backlog_records").set(usage.backlog as f64);
        }
        for (region, letters) in &letters {
            let kept = letters.kept();
            let region = region.clone();
            metrics::gauge!("mscp_log_kept_dead_letters", "region" => region)
                .set(kept.letters as f64);
        }
    });
}
