//! `[buffer]` where it is Kafka: where the brokers are, which topic, and how
//! they know us.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::read::{Reader, duration, list, number, size, switch, text};
use super::value;
use super::{KIB, MIB, MINUTE_MS, SECOND_MS, SecretSource, filled, path};

/// How Kafka is used as the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of brokers, at least one; the others are found through it.
    pub brokers: Vec<String>,
    /// The topic; `None` is `mscp-log-{region}`.
    pub topic: Option<String>,
    /// The group of the consumers; `None` is the topic's name.
    pub group: Option<String>,
    /// Least partitions, and those of a topic that is made.
    pub partitions: u32,
    /// Least replicas of a partition, and those of a topic that is made.
    pub replication: u16,
    /// Least `min.insync.replicas`, and that of a topic that is made.
    pub min_insync: u16,
    /// Whether a topic that is not there is made.
    pub create: bool,
    /// Largest record of a topic that is made, in bytes.
    pub max_record_bytes: u64,
    /// Longest that brokers may take to acknowledge a record.
    pub timeout: Duration,
    /// Longest that partitions are kept, when they go to another shipper, until
    /// what was read of them is committed.
    pub drain: Duration,
    /// TLS; `None` is a connection in the clear.
    pub tls: Option<Tls>,
    /// What the brokers know us by; `None` is nothing, or the certificate.
    pub sasl: Option<Sasl>,
    /// Further settings of librdkafka, each one of [`PASSED_ON`].
    pub settings: BTreeMap<String, String>,
}

/// TLS to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the certificates that brokers are verified by; `None` is
    /// what the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretSource,
}

const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Settings of librdkafka that are passed on: those with which no promise is
/// broken. What decides about acknowledgement, order of commits, identity and
/// memory is not among them, nor what has a key of its own.
pub const PASSED_ON: &[&str] = &[
    "api.version.request.timeout.ms",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "linger.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "metadata.max.age.ms",
    "partitioner",
    "queue.buffering.max.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.sigalgs.list",
    "topic.metadata.refresh.interval.ms",
];

/// The keys of Kafka; `used` says whether the buffer is it.
pub(super) fn read(reader: &mut Reader, used: bool) -> Option<Kafka> {
    let given = ["buffer.brokers", "buffer.topic", "buffer.librdkafka"];
    let given = given.map(|key| (key, reader.has(key)));
    let kafka = Kafka {
        brokers: reader.read("buffer.brokers", list(value::host_and_port)),
        topic: reader.optional("buffer.topic", text(topic)),
        group: reader.optional("buffer.group", text(filled)),
        partitions: u32_of(reader.read("buffer.partitions", number(1, 10_000))),
        replication: u16_of(reader.read("buffer.replication", number(1, 100))),
        min_insync: u16_of(reader.read("buffer.min_insync", number(1, 100))),
        create: reader.read("buffer.create_topic", switch),
        max_record_bytes: reader.read("buffer.max_record_bytes", size(64 * KIB, 32 * MIB)),
        timeout: reader.read("buffer.timeout", duration(SECOND_MS, 5 * MINUTE_MS)),
        drain: reader.read("buffer.drain", duration(0, 4 * MINUTE_MS)),
        tls: tls(reader),
        sasl: sasl(reader),
        settings: reader
            .optional("buffer.librdkafka", settings)
            .unwrap_or_default(),
    };
    if !used {
        // A value that is wrong is told already.
        if given
            .iter()
            .any(|(key, given)| *given && !reader.has_fault(key))
        {
            reader.fault(
                "buffer.kind",
                "expected \"kafka\", because keys of Kafka are set",
            );
        }
        return None;
    }
    if kafka.brokers.is_empty() && !reader.has_fault("buffer.brokers") {
        reader.fault(
            "buffer.brokers",
            "expected at least one host:port, because buffer.kind is \"kafka\"",
        );
    }
    if kafka.min_insync > kafka.replication {
        reader.fault(
            "buffer.min_insync",
            format!(
                "expected at most buffer.replication ({}), found {}",
                kafka.replication, kafka.min_insync
            ),
        );
    }
    Some(kafka)
}

fn tls(reader: &mut Reader) -> Option<Tls> {
    let on = reader.read("buffer.tls", switch);
    let ca_file = reader.optional("buffer.tls_ca_file", text(path));
    let cert = reader.optional("buffer.tls_cert", text(path));
    let key = reader.optional("buffer.tls_key", text(path));
    if !on {
        if ca_file.is_some() || cert.is_some() || key.is_some() {
            reader.fault("buffer.tls", "expected true, because files for TLS are set");
        }
        return None;
    }
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault("buffer.tls_key", "expected, because buffer.tls_cert is set");
            None
        }
        (None, Some(_)) => {
            reader.fault("buffer.tls_cert", "expected, because buffer.tls_key is set");
            None
        }
    };
    Some(Tls { ca_file, client })
}

fn sasl(reader: &mut Reader) -> Option<Sasl> {
    let mechanism = reader.optional("buffer.sasl_mechanism", text(mechanism));
    let user = reader.optional("buffer.sasl_user", text(filled));
    let password = reader.secret("buffer.sasl_password");
    match (mechanism, user, password) {
        (None, None, None) => None,
        (Some(mechanism), Some(user), Some(password)) => Some(Sasl {
            mechanism,
            user,
            password,
        }),
        (mechanism, user, _) => {
            let missing = match (mechanism, user) {
                (None, _) => "buffer.sasl_mechanism",
                (_, None) => "buffer.sasl_user",
                _ => "buffer.sasl_password",
            };
            if !reader.has_fault(missing) {
                reader.fault(
                    missing,
                    "expected: SASL has a mechanism, a user and a password",
                );
            }
            None
        }
    }
}

fn mechanism(text: &str) -> Result<String, String> {
    if MECHANISMS.contains(&text) {
        Ok(text.to_owned())
    } else {
        let expected = MECHANISMS.join(", ");
        Err(format!("expected one of {expected}, found \"{text}\""))
    }
}

/// The name of a topic as Kafka allows it (`Topic.java`), with room for `-dead`.
fn topic(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=240).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected 1 to 240 of [A-Za-z0-9._-], found \"{text}\""
        ))
    }
}

/// The values may be secrets: no error repeats one.
fn settings(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Table(table) = value else {
        return Err(format!("expected a table, found {}", value.type_str()));
    };
    let mut settings = BTreeMap::new();
    for (name, value) in table {
        if !PASSED_ON.contains(&name.as_str()) {
            return Err(format!(
                "\"{name}\" is not passed on: it has a key of its own, or it could break what the buffer promises"
            ));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            other => {
                return Err(format!(
                    "\"{name}\": expected a string, a number, true or false, found {}",
                    other.type_str()
                ));
            }
        };
        settings.insert(name.clone(), text);
    }
    Ok(settings)
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn u16_of(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
