//! What librdkafka is told: the connection, and what the promises of the buffer
//! rest on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use arc_swap::ArcSwapOption;

use crate::config;

/// Bytes of records that librdkafka may hold back for one consumer, in KiB.
const PREFETCHED_KIB: u32 = 16 << 10;

/// How often librdkafka says how far behind the consumer is.
const MEASURED_EVERY: Duration = Duration::from_secs(2);

/// What a Kafka buffer is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the configuration.
    pub kafka: config::Kafka,
    /// The topic of records.
    pub topic: String,
    /// The group of its consumers.
    pub group: String,
}

impl Settings {
    /// Those of `region`.
    #[must_use]
    pub fn new(kafka: config::Kafka, region: &str) -> Self {
        let topic = kafka.topic.clone();
        let topic = topic.unwrap_or_else(|| format!("mscp-log-{region}"));
        let group = kafka.group.clone().unwrap_or_else(|| topic.clone());
        Self {
            kafka,
            topic,
            group,
        }
    }

    /// The topic of dead letters.
    #[must_use]
    pub fn dead_topic(&self) -> String {
        format!("{}-dead", self.topic)
    }

    /// Who the brokers are and how they know us.
    ///
    /// # Errors
    /// When a file with a secret cannot be read; the reason.
    pub(super) fn connection(&self) -> Result<ClientConfig, String> {
        let kafka = &self.kafka;
        let mut config = ClientConfig::new();
        config
            .set("client.id", "mscp-log")
            // Connections that brokers close for idleness are no news.
            .set("log.connection.close", "false")
            // As Java's clients: the same host comes to the same partition.
            .set("partitioner", "murmur2_random");
        for (name, value) in &kafka.settings {
            config.set(name, value);
        }
        // Behind what is passed on: nothing there changes these.
        config
            .set("bootstrap.servers", kafka.brokers.join(","))
            .set("allow.auto.create.topics", "false")
            .set(
                "security.protocol",
                match (&kafka.tls, &kafka.sasl) {
                    (None, None) => "plaintext",
                    (Some(_), None) => "ssl",
                    (None, Some(_)) => "sasl_plaintext",
                    (Some(_), Some(_)) => "sasl_ssl",
                },
            );
        if let Some(tls) = &kafka.tls {
            if let Some(file) = &tls.ca_file {
                config.set("ssl.ca.location", file.to_string_lossy());
            }
            if let Some((cert, key)) = &tls.client {
                config
                    .set("ssl.certificate.location", cert.to_string_lossy())
                    .set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(sasl) = &kafka.sasl {
            let password = sasl
                .password
                .read()
                .map_err(|reason| format!("buffer.sasl_password_file: {reason}"))?;
            config
                .set("sasl.mechanism", &sasl.mechanism)
                .set("sasl.username", &sasl.user)
                .set("sasl.password", password.expose());
        }
        Ok(config)
    }

    /// A producer whose delivery report says that every broker that counts has
    /// the record, once. `largest` is the most that its topic takes.
    pub(super) fn producer(&self, largest: usize) -> Result<ClientConfig, String> {
        let mut config = self.connection()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", millis(self.kafka.timeout))
            .set("message.max.bytes", largest.to_string())
            // The buffer's own account of bytes is the limit.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2097151");
        if !config
            .config_map()
            .keys()
            .any(|key| key.starts_with("compression."))
        {
            config.set("compression.type", "lz4");
        }
        Ok(config)
    }

    /// A member of the group. Nothing is committed but what it is told to.
    pub(super) fn consumer(&self) -> Result<ClientConfig, String> {
        let mut config = self.reader()?;
        config
            .set("group.id", &self.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("statistics.interval.ms", millis(MEASURED_EVERY));
        Ok(config)
    }

    /// A consumer of partitions that it names itself.
    pub(super) fn reader(&self) -> Result<ClientConfig, String> {
        let mut config = self.connection()?;
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", PREFETCHED_KIB.to_string())
            .set("fetch.queue.backoff.ms", "50");
        Ok(config)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// What librdkafka says, in the node's own log, and the last thing it found
/// wrong with the brokers.
#[derive(Debug, Default)]
pub(super) struct Talk {
    trouble: ArcSwapOption<String>,
    refused: AtomicBool,
}

impl Talk {
    /// What is wrong with the brokers, if something is.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.load_full().map(|reason| (*reason).clone())
    }

    /// Whether they answered, and want other keys or certificates than they get.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// They answered.
    pub(super) fn clear(&self) {
        if self.trouble.load().is_some() {
            self.trouble.store(None);
        }
    }

    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed};
        if let Some(Authentication | SaslAuthenticationFailed | SSL) = error.rdkafka_error_code() {
            self.refused.store(true, Ordering::Relaxed);
        }
        // That all are down says less than why each is.
        let all = matches!(error, KafkaError::Global(RDKafkaErrorCode::AllBrokersDown));
        if !(all && self.trouble.load().is_some()) {
            self.trouble.store(Some(one_line(reason).into()));
        }
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ClientContext for Talk {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as Level;
        // A connection that failed is told here even where nobody polls.
        if facility == "FAIL" {
            let behind_thread = message.split_once("]: ").map_or(message, |(_, rest)| rest);
            self.trouble.store(Some(one_line(behind_thread).into()));
        }
        match level {
            Level::Emerg | Level::Alert | Level::Critical => {
                tracing::error!(facility, message, "librdkafka");
            }
            // A broker that is away is said once, by the buffer; here it is
            // each try of each thread.
            Level::Error | Level::Warning | Level::Notice | Level::Info => {
                tracing::debug!(facility, message, "librdkafka");
            }
            Level::Debug => tracing::trace!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for Talk {}

/// The reason of librdkafka without the name of its thread and its way of
/// counting time.
fn one_line(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    let line = line.split(" (after ").next().unwrap_or_default();
    line.trim().to_owned()
}

/// What an error says, without librdkafka's frame around it and without values
/// of settings, which may be secrets.
pub(super) fn told(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => format!("{key}: {reason}"),
        KafkaError::ClientCreation(reason) => one_line(reason),
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn settings(toml: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text = format!("[buffer]\nkind = \"kafka\"\nbrokers = [\"k:9092\"]\n{toml}");
        std::fs::write(&file, text).unwrap();
        let config = config::Config::load(Some(&file), []).unwrap();
        let config::BufferKind::Kafka(kafka) = config.buffer.kind else {
            panic!("kafka");
        };
        Settings::new(*kafka, "east")
    }

    #[test]
    fn what_the_promises_rest_on_is_set_whatever_is_passed_on() {
        let settings =
            settings("librdkafka = { \"linger.ms\" = 20, \"compression.type\" = \"zstd\" }");
        let producer = settings.producer(1_000_000).unwrap();
        let expected = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "20"),
            ("compression.type", "zstd"),
            ("message.timeout.ms", "10000"),
        ];
        for (key, value) in expected {
            assert_eq!(producer.get(key), Some(value), "{key}");
        }
        let consumer = settings.consumer().unwrap();
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        assert_eq!(consumer.get("group.id"), Some("mscp-log-east"));
        // librdkafka takes all of it.
        producer.create_native_config().unwrap();
        consumer.create_native_config().unwrap();
    }

    #[test]
    fn every_setting_that_is_passed_on_is_one_of_librdkafka() {
        for name in config::PASSED_ON {
            let mut config = ClientConfig::new();
            config.set(*name, "no value of it");
            let refused = config.create_native_config().map(drop);
            let refused = refused.map_err(|error| error.to_string());
            assert!(
                refused.is_ok() || !format!("{refused:?}").contains("No such configuration"),
                "{name}: {refused:?}"
            );
        }
        let mut config = ClientConfig::new();
        config.set("no.such.setting", "1");
        let refused = config.create_native_config().map(drop).unwrap_err();
        assert!(refused.to_string().contains("No such configuration"));
    }

    #[test]
    fn an_error_about_a_setting_does_not_repeat_its_value() {
        let mut config = ClientConfig::new();
        config.set("session.timeout.ms", "hunter2");
        let error = config.create_native_config().map(drop).unwrap_err();
        let told = told(&error);
        assert!(told.contains("session.timeout.ms"), "{told}");
        assert!(!told.starts_with("Kafka"), "{told}");
    }
}
