//! `check`: the whole configuration, read and judged before a node uses it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, output};
#[cfg(feature = "kubernetes")]
use crate::admin::kubernetes;
#[cfg(feature = "kafka")]
use crate::buffer::kafka::{self, KafkaBuffer};
use crate::collect::lumberjack;
use crate::collect::send::Remote;
#[cfg(feature = "kafka")]
use crate::config::BufferKind;
use crate::config::{Config, ConfigError, Output, Role, StoreKind};
use crate::store::elastic::ElasticStore;
use crate::tls;

/// Check the configuration
#[derive(Args, Debug)]
#[command(after_help = "\
Reads the file and every MSCP_LOG_ variable as `serve` does, and says everything that is wrong at
once, each with its key. Then, unless --offline, it tries what the configuration names: the data
folder, the address, certificates and keys, every node of a cluster that keeps records, the brokers
and topics of a buffer in Kafka, the database server of accounts, the API server of Kubernetes.

  mscp-log check --config /etc/mscp-log.toml
  mscp-log check --offline")]
pub(super) struct Check {
    #[command(flatten)]
    source: Source,

    /// Only read the configuration, and reach for nothing
    #[arg(long)]
    offline: bool,
}

/// Where a node's configuration comes from; also of `serve`.
#[derive(Args, Clone, Debug)]
pub(super) struct Source {
    /// The configuration file (TOML)
    #[arg(long, env = "MSCP_LOG_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The data folder, in place of the key `data`
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,

    /// The address to listen on, in place of `http.listen`
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,

    /// What the node does, in place of `roles`; may be repeated
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Vec<String>,
}

impl Source {
    /// File, then environment, then the command line.
    pub(super) fn load(&self) -> Result<Config, Vec<ConfigError>> {
        let mut variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
        if let Some(data) = &self.data {
            set("MSCP_LOG_DATA", data.display().to_string());
        }
        if let Some(listen) = &self.listen {
            set("MSCP_LOG_HTTP__LISTEN", listen.clone());
        }
        if !self.role.is_empty() {
            set("MSCP_LOG_ROLES", self.role.join(","));
        }
        Config::load(self.config.as_deref(), variables).map_err(|errors| errors.0)
    }
}

impl Check {
    pub(super) async fn run(self, as_json: bool) -> Result<(), Failure> {
        let (errors, warnings) = match self.source.load() {
            Err(errors) => (errors, Vec::new()),
            Ok(config) => {
                let errors = if self.offline {
                    Vec::new()
                } else {
                    let mut errors = reach(&config);
                    if config.roles.aggregate() {
                        errors.extend(reach_clusters(&config).await);
                        errors.extend(reach_brokers(&config).await);
                        errors.extend(crate::identity::reach(&config.auth).await);
                    }
                    if config.roles.has(Role::Api) {
                        errors.extend(reach_kubernetes(&config).await);
                    }
                    if config.roles.has(Role::Agent) {
                        errors.extend(reach_sources(&config).await);
                    }
                    errors
                };
                (errors, config.warnings())
            }
        };
        if as_json {
            let list = |found: &[ConfigError]| -> Vec<Value> {
                found
                    .iter()
                    .map(|error| json!({"key": error.key, "reason": error.reason}))
                    .collect()
            };
            output::json(
                &json!({"ok": errors.is_empty(), "errors": list(&errors), "warnings": list(&warnings)}),
            )?;
        } else {
            for error in &errors {
                output::line(&format!("error: {error}"))?;
            }
            for warning in &warnings {
                output::line(&format!("warning: {warning}"))?;
            }
            if errors.is_empty() {
                output::line("the configuration is good")?;
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::Said)
        }
    }
}

/// Everything outside the configuration that a start would stumble over.
fn reach(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut fault = |key: &str, reason: String| {
        errors.push(ConfigError {
            key: key.to_owned(),
            reason,
        });
    };
    if let Err(reason) = can_hold_data(&config.data) {
        fault("data", reason);
    }
    let beats = config.beats.as_ref();
    let beats = beats.filter(|_| config.roles.has(Role::Parser));
    for (key, address) in [
        ("http.listen", Some(config.http.listen)),
        ("http.metrics_listen", config.http.metrics_listen),
        ("beats.listen", beats.map(|beats| beats.listen)),
    ] {
        if let Some(address) = address
            && let Err(error) = std::net::TcpListener::bind(address)
        {
            fault(key, format!("{address}: {error}"));
        }
    }
    let (beats_cert, beats_key) = beats.and_then(|beats| beats.tls.clone()).unzip();
    for (key, file) in [
        ("http.tls_cert", config.http.tls_cert.as_ref()),
        ("beats.tls_cert", beats_cert.as_ref()),
        (
            "beats.client_ca",
            beats.and_then(|beats| beats.client_ca.as_ref()),
        ),
    ] {
        if let Some(Err(error)) = file.map(|file| tls::certificates(file)) {
            fault(key, error.to_string());
        }
    }
    for (key, file) in [
        ("http.tls_key", config.http.tls_key.as_ref()),
        ("beats.tls_key", beats_key.as_ref()),
    ] {
        if let Some(Err(error)) = file.map(|file| tls::private_key(file)) {
            fault(key, error.to_string());
        }
    }
    if config.roles.aggregate() {
        errors.extend(crate::identity::check_secrets(&config.auth));
    }
    errors
}

/// What stands in the way of clusters that keep a region's records.
async fn reach_clusters(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (name, region) in &config.regions {
        if let StoreKind::Cluster(cluster) = &region.store
            && let Err(faults) = ElasticStore::reach(cluster).await
        {
            errors.extend(faults.into_iter().map(|reason| ConfigError {
                key: format!("region.{name}.store"),
                reason,
            }));
        }
    }
    errors
}

/// What stands in the way of a buffer in Kafka.
async fn reach_brokers(config: &Config) -> Vec<ConfigError> {
    #[cfg(feature = "kafka")]
    if let BufferKind::Kafka(kafka) = &config.buffer.kind
        && config.roles.use_the_buffer()
    {
        let settings = kafka::Settings::new((**kafka).clone(), &config.push.region);
        let unready = KafkaBuffer::reach(&settings).await.err();
        let faults = unready.map(kafka::Unready::reasons).into_iter().flatten();
        return faults
            .map(|reason| ConfigError {
                key: "buffer.brokers".to_owned(),
                reason,
            })
            .collect();
    }
    let _no_brokers = config;
    Vec::new()
}

/// What stands in the way of asking Kubernetes.
async fn reach_kubernetes(config: &Config) -> Vec<ConfigError> {
    #[cfg(feature = "kubernetes")]
    if let Some(settings) = &config.kubernetes {
        let faults = match kubernetes::Cluster::open(settings).await {
            Ok(cluster) => cluster.reach().await,
            Err(reason) => vec![reason],
        };
        return faults
            .into_iter()
            .map(|reason| ConfigError {
                key: "kubernetes.enabled".to_owned(),
                reason,
            })
            .collect();
    }
    let _no_kubernetes = config;
    Vec::new()
}

/// What stands in the way of the agent: the journal that cannot be read, the
/// gateway that does not take its records.
async fn reach_sources(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut fault = |key: &str, reason: String| {
        errors.push(ConfigError {
            key: key.to_owned(),
            reason,
        });
    };
    if let Some(journal) = &config.collect.journal
        && let Err(reason) = journal.reach().await
    {
        fault("collect.journal.enabled", reason);
    }
    match &config.collect.output {
        Some(Output::Gateway(gateway)) => {
            let reached = match Remote::new(gateway.clone()) {
                Ok(mut gateway) => gateway.reach().await,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = reached {
                fault("collect.url", reason);
            }
        }
        Some(Output::Lumberjack(settings)) => {
            for reason in lumberjack::reach(settings).await {
                fault("collect.lumberjack.hosts", reason);
            }
        }
        None => {}
    }
    errors
}

/// Whether a node could use the folder: it is there and can be written, or
/// its nearest parent can.
fn can_hold_data(folder: &Path) -> Result<(), String> {
    let there = folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(format!("{} is no folder", there.display()));
    }
    rustix::fs::access(
        there,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|error| format!("{} cannot be written: {error}", there.display()))
}
