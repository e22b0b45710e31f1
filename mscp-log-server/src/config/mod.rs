//! The configuration: one TOML file, each key overridable by environment variable.
//!
//! A key `push.max_records` is set by `MSCP_LOG_PUSH__MAX_RECORDS`. Keys that
//! are not known are errors; every error names its key, and all are told at
//! once. [`reference()`] is the page of all keys.

mod beats;
mod collect;
mod form;
mod kafka;
mod key;
mod kubernetes;
pub mod range;
mod read;
mod reference;
mod roles;
mod rotation;
mod unwise;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mscp_log_core::clean::Redaction;
use mscp_log_core::index::Beats as KnownBeats;
use toml::Value;

pub use beats::Beats;
pub use collect::{Collect, Gateway, Output};
pub use kafka::{Kafka, PASSED_ON, Sasl, Tls};
pub use kubernetes::{Kind, Kubernetes, Workload, Workloads};
pub use read::{ConfigError, ConfigErrors};
pub use reference::reference;
pub use roles::{Role, Roles};
pub use rotation::Rotation;
pub use value::{Network, Secret};

use read::{Reader, duration, list, number, size, switch, text};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// The longest lifetime of anything that is issued.
const YEAR_MS: u64 = 366 * DAY_MS;

/// What an instance is called where instances are listed.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The machine; `None` is what the system calls it.
    pub node: Option<String>,
    /// The pod, where it runs in one.
    pub pod: Option<String>,
}

/// How the node's own log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The node's own log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Level or directives of `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// Lines or JSON.
    pub format: LogFormat,
}

/// The API's listener.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port; port 0 is a free one.
    pub listen: SocketAddr,
    /// Path prefix of the API, `/api`: begins with a slash, ends without.
    pub base: String,
    /// The origin under which clients reach the node, without a path or a slash at its end.
    pub public_url: Option<String>,
    /// PEM file of the certificate chain; set exactly when `tls_key` is.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the private key.
    pub tls_key: Option<PathBuf>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins whose pages may call the API; empty is CORS off.
    pub cors_origins: Vec<String>,
    /// A listener of its own for metrics and health.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether a token may come as the URL parameter `jwt`.
    pub jwt_parameter: bool,
    /// How long a stopping node may take.
    pub drain: Duration,
}

/// Identity: accounts, tokens, keys.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Database URL; `None` is `identity.sqlite` in the data folder.
    pub database: Option<Secret>,
    /// A file with the 32 bytes that encrypt signing keys in the database.
    pub master_key_file: Option<PathBuf>,
    /// How long a key signs.
    pub rotate: Duration,
    /// Lifetime of a root token.
    pub root_ttl: Duration,
    /// Lifetime of an access token without a wish.
    pub access_ttl: Duration,
    /// Files with the secrets of the wider platform, at most 8.
    pub platform_keys: Vec<PathBuf>,
    /// How far clocks may differ; at most 60 s.
    pub leeway: Duration,
}

/// Where a region's records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process, in the data folder.
    Embedded,
    /// In a cluster of Elasticsearch or OpenSearch.
    Cluster(Cluster),
}

/// How a cluster of Elasticsearch or OpenSearch is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// URLs of nodes, at least one, without a slash at the end.
    pub nodes: Vec<String>,
    /// PEM file of the certificates that nodes are verified by; `None` is what
    /// the system trusts.
    pub ca_file: Option<PathBuf>,
    /// What the nodes know us by.
    pub credential: Option<Credential>,
}

/// What the nodes of a cluster know us by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// HTTP Basic.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretSource,
    },
    /// `id:key`, or its base64.
    ApiKey(SecretSource),
    /// A bearer token.
    Bearer(SecretSource),
}

/// Where a secret is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration.
    Text(Secret),
    /// In a file, which may change.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now, without white space around it.
    ///
    /// # Errors
    /// When the file cannot be read or is empty; the reason names it.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Text(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let shown = path.display();
                let content = std::fs::read_to_string(path)
                    .map_err(|error| format!("{shown} cannot be read: {error}"))?;
                match content.trim() {
                    "" => Err(format!("{shown} is empty")),
                    secret => Ok(Secret::new(secret)),
                }
            }
        }
    }
}

/// One region.
#[derive(Clone, Debug)]
pub struct Region {
    /// Stamped on records.
    pub zone: String,
    /// Stamped on records.
    pub cluster: String,
    /// Where its records are kept.
    pub store: StoreKind,
    /// Memory of the embedded store's writers together, in bytes.
    pub memory: u64,
    /// Longest that a record in the embedded store waits until searches see it.
    pub commit_interval: Duration,
}

/// Limits of pushing.
#[derive(Clone, Debug)]
pub struct Push {
    /// Where pushed records go; one of the configured regions.
    pub region: String,
    /// Bytes of a body as sent.
    pub max_body_bytes: u64,
    /// Bytes of a body after decompression.
    pub max_decompressed_bytes: u64,
    /// Records of one push.
    pub max_records: u64,
    /// Bytes of one message.
    pub max_message_bytes: u64,
    /// How old a record's time may be.
    pub max_past: Duration,
    /// Records a second of one app; `None` is no limit.
    pub rate: Option<u64>,
}

/// What the buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// Files in the data folder.
    Disk,
    /// A topic of Kafka.
    Kafka(Box<Kafka>),
}

/// The buffer between taking in and shipping.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// What it is.
    pub kind: BufferKind,
    /// Most bytes that it keeps.
    pub max_bytes: u64,
    /// Bytes at which it begins a new file.
    pub segment_bytes: u64,
}

/// Limits of searching.
#[derive(Clone, Debug)]
pub struct Search {
    /// Longest run of one search.
    pub timeout: Duration,
    /// Bytes of the body of a request to the store.
    pub max_body_bytes: u64,
    /// Bytes of one search's JSON.
    pub max_expression_bytes: u64,
    /// Bytes that one search's aggregations may take.
    pub max_memory: u64,
    /// Buckets in one answer.
    pub max_buckets: u64,
    /// Hits that `from` and `size` may reach.
    pub max_window: u64,
    /// Searches that run at once on this node.
    pub max_concurrent: u64,
    /// Requests to the store that one subject may have open.
    pub max_concurrent_per_subject: u64,
}

/// OpenTelemetry logs.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Whether they are taken in.
    pub enabled: bool,
}

/// Settings of cleaning.
#[derive(Clone, Debug)]
pub struct Clean {
    /// Beats that index names keep beside the built-in ones.
    pub beats: KnownBeats,
    /// Redaction rules, in the order in which they run.
    pub redact: Redaction,
}

/// What the embedded store says it is.
#[derive(Clone, Debug)]
pub struct Elasticsearch {
    /// Major (6 to 9), minor, patch.
    pub version: (u16, u16, u16),
}

/// A whole configuration, every value checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this node does.
    pub roles: Roles,
    /// The folder of everything that the node keeps.
    pub data: PathBuf,
    /// What this instance is called.
    pub instance: Instance,
    /// The node's own log.
    pub log: Log,
    /// The API's listener.
    pub http: Http,
    /// Identity.
    pub auth: Auth,
    /// The regions by name; never empty.
    pub regions: BTreeMap<String, Region>,
    /// Limits of pushing.
    pub push: Push,
    /// The listener for Beats; `None` is off.
    pub beats: Option<Beats>,
    /// The buffer.
    pub buffer: Buffer,
    /// Limits of searching.
    pub search: Search,
    /// OpenTelemetry logs.
    pub otlp: Otlp,
    /// What the agent of this node does.
    pub collect: Collect,
    /// Cleaning.
    pub clean: Clean,
    /// How long records are kept.
    pub rotation: Rotation,
    /// What the embedded store says it is.
    pub elasticsearch: Elasticsearch,
    /// Where this runs on Kubernetes; `None` is off.
    pub kubernetes: Option<Kubernetes>,
}

impl Config {
    /// Read `file` (none: only defaults), with the variables of `env` over it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key: a file that cannot be read
    /// or is not TOML, unknown keys, values of the wrong form or out of range.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let (name, content) = match file {
            None => (String::new(), String::new()),
            Some(path) => {
                let name = path.display().to_string();
                match std::fs::read_to_string(path) {
                    Ok(content) => (name, content),
                    Err(error) => {
                        let reason = format!("cannot be read: {error}");
                        return Err(ConfigErrors(vec![ConfigError { key: name, reason }]));
                    }
                }
            }
        };
        let mut reader = Reader::new(&name, &content, env);
        let config = Self::read(&mut reader);
        if reader.errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(reader.errors))
        }
    }

    fn read(reader: &mut Reader) -> Self {
        let regions = regions(reader);
        let push = push(reader, &regions);
        let config = Self {
            roles: roles::read(reader),
            data: reader.read("data", text(path)),
            instance: Instance {
                node: reader.optional("instance.node", text(filled)),
                pod: reader.optional("instance.pod", text(filled)),
            },
            log: Log {
                level: reader.read("log.level", text(filled)),
                format: reader.read("log.format", text(log_format)),
            },
            http: http(reader),
            auth: auth(reader),
            regions,
            push,
            beats: beats::read(reader),
            buffer: buffer(reader),
            rotation: rotation::read(reader),
            search: Search {
                timeout: reader.read(
                    "search.timeout",
                    duration(range::SEARCH_TIMEOUT_MS.0, range::SEARCH_TIMEOUT_MS.1),
                ),
                max_body_bytes: reader.read("search.max_body_bytes", size(KIB, 2 * GIB)),
                max_expression_bytes: reader
                    .read("search.max_expression_bytes", size(KIB, 64 * MIB)),
                max_memory: reader.read(
                    "search.max_memory",
                    size(range::SEARCH_MEMORY.0, range::SEARCH_MEMORY.1),
                ),
                max_buckets: reader.read(
                    "search.max_buckets",
                    number(range::SEARCH_BUCKETS.0, range::SEARCH_BUCKETS.1),
                ),
                max_window: reader.read(
                    "search.max_window",
                    number(range::SEARCH_WINDOW.0, range::SEARCH_WINDOW.1),
                ),
                max_concurrent: reader.read(
                    "search.max_concurrent",
                    number(range::SEARCHES.0, range::SEARCHES.1),
                ),
                max_concurrent_per_subject: reader.read(
                    "search.max_concurrent_per_subject",
                    number(range::SEARCHES_OF_ONE.0, range::SEARCHES_OF_ONE.1),
                ),
            },
            otlp: Otlp {
                enabled: reader.read("otlp.enabled", switch),
            },
            collect: collect::read(reader),
            clean: Clean {
                beats: reader.read("clean.beats", known_beats),
                redact: reader.read("clean.redact", redactions),
            },
            elasticsearch: Elasticsearch {
                version: reader.read("elasticsearch.version", text(value::version)),
            },
            kubernetes: kubernetes::read(reader),
        };
        roles::judge(&config, reader);
        config
    }
}

/// Whether `text` may be the value of `key`, written as in a variable.
///
/// # Errors
/// What was expected.
pub fn judge(key: &str, text: &str) -> Result<(), String> {
    let variable = format!("MSCP_LOG_{}", key.to_ascii_uppercase().replace('.', "__"));
    let judged = Config::load(None, [(variable, text.to_owned())]);
    let errors = judged.err().map(|errors| errors.0).unwrap_or_default();
    let fault = errors.into_iter().find(|error| error.key == key);
    fault.map_or(Ok(()), |error| Err(error.reason))
}

impl Default for Config {
    /// What a node without a file and without variables has.
    fn default() -> Self {
        Self::read(&mut Reader::new("", "", []))
    }
}

fn http(reader: &mut Reader) -> Http {
    let http = Http {
        listen: reader.read("http.listen", text(address)),
        base: reader.read("http.base", text(value::base)),
        public_url: reader.optional("http.public_url", text(value::origin)),
        tls_cert: reader.optional("http.tls_cert", text(path)),
        tls_key: reader.optional("http.tls_key", text(path)),
        trusted_proxies: reader.read("http.trusted_proxies", list(str::parse)),
        cors_origins: reader.read("http.cors_origins", list(value::origin)),
        metrics_listen: reader.optional("http.metrics_listen", text(address)),
        jwt_parameter: reader.read("http.jwt_parameter", switch),
        drain: reader.read("http.drain", duration(0, 10 * MINUTE_MS)),
    };
    match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => reader.fault("http.tls_key", "expected, because http.tls_cert is set"),
        (None, Some(_)) => reader.fault("http.tls_cert", "expected, because http.tls_key is set"),
        _ => {}
    }
    http
}

fn auth(reader: &mut Reader) -> Auth {
    let database = reader.optional("auth.database", text(database_url));
    let from_file = reader.optional(
        "auth.database_file",
        text(|name| {
            let content = std::fs::read_to_string(name)
                .map_err(|error| format!("{name} cannot be read: {error}"))?;
            database_url(content.trim())
        }),
    );
    if database.is_some() && from_file.is_some() {
        reader.fault(
            "auth.database_file",
            "expected only one of it and auth.database",
        );
    }
    let auth = Auth {
        database: database.or(from_file),
        master_key_file: reader.optional("auth.master_key_file", text(path)),
        rotate: reader.read("auth.rotate", duration(5 * MINUTE_MS, YEAR_MS)),
        root_ttl: reader.read("auth.root_ttl", duration(MINUTE_MS, YEAR_MS)),
        access_ttl: reader.read("auth.access_ttl", duration(MINUTE_MS, YEAR_MS)),
        platform_keys: reader.read("auth.platform_keys", list(path)),
        leeway: reader.read("auth.leeway", duration(0, MINUTE_MS)),
    };
    if auth.platform_keys.len() > 8 {
        reader.fault(
            "auth.platform_keys",
            format!(
                "expected at most 8 files, found {}",
                auth.platform_keys.len()
            ),
        );
    }
    auth
}

fn regions(reader: &mut Reader) -> BTreeMap<String, Region> {
    let mut names = reader.regions();
    if names.is_empty() {
        names.push("local".to_owned());
    }
    let mut regions = BTreeMap::new();
    for name in names {
        let path = |last: &str| format!("region.{name}.{last}");
        if let Err(reason) = value::region_name(&name) {
            reader.fault(format!("region.{name}"), reason);
        }
        let region = Region {
            zone: reader.read(&path("zone"), text(filled)),
            cluster: reader.read(&path("cluster"), text(filled)),
            store: store(reader, &path),
            memory: reader.read(&path("memory"), size(64 * MIB, 64 * GIB)),
            commit_interval: reader.read(&path("commit_interval"), duration(100, MINUTE_MS)),
        };
        regions.insert(name, region);
    }
    regions
}

fn push(reader: &mut Reader, regions: &BTreeMap<String, Region>) -> Push {
    let wanted = reader.optional(
        "push.region",
        text(|name| {
            if regions.contains_key(name) {
                Ok(name.to_owned())
            } else {
                Err(format!(
                    "expected one of the configured regions, found \"{name}\""
                ))
            }
        }),
    );
    if wanted.is_none()
        && regions.len() > 1
        && !reader.errors.iter().any(|e| e.key == "push.region")
    {
        reader.fault(
            "push.region",
            "expected, because the node serves several regions",
        );
    }
    let only = regions.keys().next().cloned().unwrap_or_default();
    Push {
        region: wanted.unwrap_or(only),
        max_body_bytes: reader.read("push.max_body_bytes", size(KIB, GIB)),
        max_decompressed_bytes: reader.read("push.max_decompressed_bytes", size(KIB, GIB)),
        max_records: reader.read("push.max_records", number(1, 1_000_000)),
        max_message_bytes: reader.read("push.max_message_bytes", size(1, 64 * MIB)),
        max_past: reader.read("push.max_past", duration(0, 10_000 * DAY_MS)),
        rate: reader.optional("push.rate", number(1, 1_000_000_000)),
    }
}

fn buffer(reader: &mut Reader) -> Buffer {
    let used = reader.read("buffer.kind", text(is_kafka));
    let buffer = Buffer {
        kind: match kafka::read(reader, used) {
            Some(kafka) => BufferKind::Kafka(Box::new(kafka)),
            None => BufferKind::Disk,
        },
        max_bytes: reader.read(
            "buffer.max_bytes",
            size(range::BUFFER_BYTES.0, range::BUFFER_BYTES.1),
        ),
        segment_bytes: reader.read("buffer.segment_bytes", size(MIB, GIB)),
    };
    if buffer.segment_bytes > buffer.max_bytes / 4 {
        reader.fault(
            "buffer.segment_bytes",
            format!(
                "expected at most a quarter of buffer.max_bytes ({}), found {}",
                buffer.max_bytes, buffer.segment_bytes
            ),
        );
    }
    buffer
}

fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("expected some text, found none".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    filled(text).map(PathBuf::from)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("expected an address and port such as 127.0.0.1:8300, found \"{text}\"")
    })
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("expected \"text\" or \"json\", found \"{other}\"")),
    }
}

/// No nodes: embedded.
fn store_nodes(value: &Value) -> Result<Vec<String>, String> {
    let expected = "expected \"embedded\" or a list of URLs";
    match value {
        Value::String(text) if text == "embedded" => Ok(Vec::new()),
        Value::Array(urls) if !urls.is_empty() => list(value::node)(value),
        Value::String(text) => Err(format!("{expected}, found \"{text}\"")),
        other => Err(format!("{expected}, found {}", other.type_str())),
    }
}

fn store(reader: &mut Reader, path: &impl Fn(&str) -> String) -> StoreKind {
    let faults = reader.errors.len();
    let nodes = reader.read(&path("store"), store_nodes);
    let judged = reader.errors.len() == faults;
    let ca_file = reader.optional(&path("store_ca_file"), text(self::path));
    let user = reader.optional(&path("store_user"), text(filled));
    let password = reader.secret(&path("store_password"));
    let api_key = reader.secret(&path("store_api_key"));
    let bearer = reader.secret(&path("store_bearer"));
    let given = [
        user.is_some() || password.is_some(),
        api_key.is_some(),
        bearer.is_some(),
    ];
    let credentials = given.into_iter().filter(|given| *given).count();
    if credentials > 1 {
        reader.fault(
            path("store"),
            "expected at most one credential: store_user with its password, store_api_key, or store_bearer",
        );
    }
    let credential = match (user, password) {
        (Some(user), Some(password)) => Some(Credential::Basic { user, password }),
        (Some(_), None) => {
            reader.fault(
                path("store_password"),
                "expected, because store_user is set",
            );
            None
        }
        (None, Some(_)) => {
            reader.fault(path("store_user"), "expected, because its password is set");
            None
        }
        (None, None) => api_key
            .map(Credential::ApiKey)
            .or(bearer.map(Credential::Bearer)),
    };
    if nodes.is_empty() {
        if judged && (credentials > 0 || ca_file.is_some()) {
            reader.fault(
                path("store"),
                "expected a list of URLs, because a credential or a CA file for them is set",
            );
        }
        return StoreKind::Embedded;
    }
    StoreKind::Cluster(Cluster {
        nodes,
        ca_file,
        credential,
    })
}

fn is_kafka(text: &str) -> Result<bool, String> {
    match text {
        "disk" => Ok(false),
        "kafka" if cfg!(feature = "kafka") => Ok(true),
        "kafka" => Err("this program was built without Kafka (cargo feature \"kafka\")".to_owned()),
        other => Err(format!("expected \"disk\" or \"kafka\", found \"{other}\"")),
    }
}

/// The URL is a secret: the error does not repeat it.
fn database_url(text: &str) -> Result<Secret, String> {
    let postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if postgres && cfg!(feature = "postgres") {
        return Ok(Secret::new(text));
    }
    if postgres {
        return Err(
            "this program was built without PostgreSQL (cargo feature \"postgres\")".to_owned(),
        );
    }
    // In memory each connection of the pool would have a database of its own.
    if text.starts_with("sqlite:") && !text.contains(":memory:") && !text.contains("mode=memory") {
        Ok(Secret::new(text))
    } else {
        Err("expected the URL of a database: of a file, beginning with sqlite:, or of PostgreSQL, beginning with postgres://".to_owned())
    }
}

fn known_beats(value: &Value) -> Result<KnownBeats, String> {
    KnownBeats::new(list(|beat| Ok(beat.to_owned()))(value)?).map_err(|error| error.to_string())
}

fn redactions(value: &Value) -> Result<Redaction, String> {
    let wrong = || {
        "expected a list of tables, each with the strings pattern and replacement and nothing else"
            .to_owned()
    };
    let rules = value.as_array().ok_or_else(wrong)?;
    let read = |rule: &Value| {
        let table = rule.as_table().filter(|table| table.len() == 2)?;
        let member = |name: &str| table.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((member("pattern")?, member("replacement")?))
    };
    let rules: Vec<(String, String)> = rules
        .iter()
        .map(read)
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    Redaction::new(rules).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
