//! The topics of a buffer: made where they are not there, and checked: with
//! settings that lose records no record is acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{Producer as _, ThreadedProducer};

use super::producer::Reports;
use super::settings::{Settings, Talk, told};

/// Why the topics are not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// The brokers, or enough of them, do not answer; they may later.
    Away(String),
    /// What is wrong, each in a line.
    Wrong(Vec<String>),
}

impl Unready {
    /// Everything that stands in the way, each in a line.
    #[must_use]
    pub fn reasons(self) -> Vec<String> {
        match self {
            Self::Away(reason) => vec![reason],
            Self::Wrong(reasons) => reasons,
        }
    }
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.clone().reasons().join("; "))
    }
}

impl From<String> for Unready {
    fn from(reason: String) -> Self {
        Self::Wrong(vec![reason])
    }
}

/// How long the brokers may take to answer one question.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the largest dead letter: what brokers take at all in one request
/// is 100 MiB (`socket.request.max.bytes`).
pub(super) const LARGEST_LETTER: usize = 64 << 20;

/// A topic as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Of records: kept until they are old.
    Records,
    /// Of dead letters: kept until they are taken out, in one partition.
    Letters,
}

/// What the brokers say of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    partitions: usize,
    /// Of the partition that has the fewest.
    replicas: usize,
    /// Empty where the brokers do not let us read them.
    settings: HashMap<String, String>,
}

impl Found {
    /// Largest batch of records that the topic takes, in bytes.
    pub(super) fn largest(&self) -> usize {
        let set = self.settings.get("max.message.bytes");
        // Kafka's own default (`LogConfig.java`).
        set.and_then(|bytes| bytes.parse().ok())
            .unwrap_or(1_048_588)
    }

    /// Everything that is wrong with it, each in a line.
    fn faults(&self, wanted: Wanted, name: &str, settings: &Settings) -> Vec<String> {
        let kafka = &settings.kafka;
        let mut faults = Vec::new();
        let partitions = match wanted {
            Wanted::Records => kafka.partitions as usize,
            Wanted::Letters => 1,
        };
        if self.partitions < partitions {
            faults.push(format!(
                "topic {name} has {} partitions, buffer.partitions wants {partitions}",
                self.partitions
            ));
        }
        if wanted == Wanted::Letters && self.partitions > 1 {
            faults.push(format!(
                "topic {name} has {} partitions; dead letters want one",
                self.partitions
            ));
        }
        if self.replicas < usize::from(kafka.replication) {
            faults.push(format!(
                "topic {name} has {} replicas of a partition, buffer.replication wants {}",
                self.replicas, kafka.replication
            ));
        }
        let number = |key: &str| -> Option<usize> { self.settings.get(key)?.parse().ok() };
        if let Some(insync) = number("min.insync.replicas") {
            if insync < usize::from(kafka.min_insync) {
                faults.push(format!(
                    "topic {name} has min.insync.replicas={insync}, buffer.min_insync wants {}",
                    kafka.min_insync
                ));
            }
            if insync > self.replicas {
                faults.push(format!(
                    "topic {name} has min.insync.replicas={insync} and only {} replicas: it takes no record",
                    self.replicas
                ));
            }
        }
        let policy = self.settings.get("cleanup.policy").map(String::as_str);
        match (wanted, policy) {
            (Wanted::Records, Some(policy)) if policy.contains("compact") => faults.push(format!(
                "topic {name} has cleanup.policy={policy}: it would keep just the last record of each host"
            )),
            (Wanted::Letters, Some(policy)) if policy != "compact" => faults.push(format!(
                "topic {name} has cleanup.policy={policy}: dead letters want compact, so that age takes none out"
            )),
            _ => {}
        }
        if let Some("true") = self
            .settings
            .get("unclean.leader.election.enable")
            .map(String::as_str)
        {
            faults.push(format!(
                "topic {name} has unclean.leader.election.enable=true: it may lose what it acknowledged"
            ));
        }
        faults
    }
}

/// Whom topics are asked of.
struct Brokers {
    admin: AdminClient<Talk>,
    /// Of an admin client nobody hears what is wrong with its connections.
    scout: ThreadedProducer<Reports>,
}

impl Brokers {
    fn new(connection: &ClientConfig) -> KafkaResult<Self> {
        Ok(Self {
            admin: connection.create_with_context(Talk::default())?,
            scout: connection.create_with_context(Reports::default())?,
        })
    }
}

/// Make the topics of records and of dead letters where they are not there and
/// that is wanted, and check them: the topic of records.
///
/// # Errors
/// Everything that stands in the way.
pub(super) async fn ready(settings: &Settings) -> Result<Found, Unready> {
    topics(settings, settings.kafka.create).await
}

/// The same without making anything; that a topic will be made is no fault.
pub(super) async fn reach(settings: &Settings) -> Result<(), Unready> {
    topics(settings, false).await.map(drop)
}

async fn topics(settings: &Settings, create: bool) -> Result<Found, Unready> {
    let connection = settings.connection()?;
    let brokers = Brokers::new(&connection).map_err(|error| told(&error))?;
    let brokers = Arc::new(brokers);
    let (records, letters) = (settings.topic.as_str(), settings.dead_topic());
    let mut faults = Vec::new();
    let (mut first, mut away) = (None, None);
    for (name, wanted) in [(records, Wanted::Records), (&letters, Wanted::Letters)] {
        match topic(&brokers, settings, name, wanted, create).await {
            Ok(Some(found)) => {
                faults.extend(found.faults(wanted, name, settings));
                first.get_or_insert(found);
            }
            Ok(None) if settings.kafka.create => {}
            Ok(None) => faults.push(format!(
                "topic {name} is not there, and buffer.create_topic is false"
            )),
            // The same holds for the other one.
            Err(Unready::Away(reason)) => {
                away = Some(reason);
                break;
            }
            Err(Unready::Wrong(reasons)) => {
                faults.extend(reasons);
                break;
            }
        }
    }
    // Their threads are joined.
    let _ = tokio::task::spawn_blocking(move || drop(brokers)).await;
    if !faults.is_empty() {
        faults.extend(away);
        return Err(Unready::Wrong(faults));
    }
    if let Some(reason) = away {
        return Err(Unready::Away(reason));
    }
    Ok(first.unwrap_or_else(|| Found {
        partitions: 0,
        replicas: 0,
        settings: HashMap::new(),
    }))
}

async fn topic(
    brokers: &Arc<Brokers>,
    settings: &Settings,
    name: &str,
    wanted: Wanted,
    create: bool,
) -> Result<Option<Found>, Unready> {
    if let Some(found) = look(brokers, name).await? {
        return Ok(Some(found));
    }
    if !create {
        return Ok(None);
    }
    make(brokers, settings, name, wanted).await?;
    // The brokers tell each other; at first one may not know it.
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(found) = look(brokers, name).await? {
            return Ok(Some(found));
        }
        if begun.elapsed() > PATIENCE {
            return Err(Unready::Away(format!(
                "topic {name} was made and is not seen"
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What there is, if it is there.
async fn look(brokers: &Arc<Brokers>, name: &str) -> Result<Option<Found>, Unready> {
    let (asked, of) = (Arc::clone(brokers), name.to_owned());
    let metadata = move || asked.scout.client().fetch_metadata(Some(&of), PATIENCE);
    let metadata = tokio::task::spawn_blocking(metadata)
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| {
            let talk = &brokers.scout.client().context().0;
            let reason = talk.trouble();
            let reason =
                reason.unwrap_or_else(|| format!("the brokers do not answer: {}", told(&error)));
            match talk.is_refused() {
                true => Unready::from(reason),
                false => Unready::Away(reason),
            }
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let Some(topic) = topic else {
        return Ok(None);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Ok(None);
        }
        Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(None),
        Some(error) => return Err(format!("topic {name}: {error}").into()),
    }
    Ok(Some(Found {
        partitions: topic.partitions().len(),
        replicas: replicas(topic),
        settings: settings_of(brokers, name).await?,
    }))
}

fn replicas(topic: &MetadataTopic) -> usize {
    let counts = topic.partitions().iter().map(|it| it.replicas().len());
    counts.min().unwrap_or_default()
}

async fn settings_of(
    brokers: &Arc<Brokers>,
    name: &str,
) -> Result<HashMap<String, String>, String> {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = brokers
        .admin
        .describe_configs(&[ResourceSpecifier::Topic(name)], &options)
        .await
        .map_err(|error| format!("settings of topic {name}: {}", told(&error)))?;
    match described.into_iter().next() {
        Some(Ok(resource)) => Ok(resource
            .entries
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect()),
        // Without the right to describe it what can be seen is checked.
        Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed)) | None => {
            tracing::warn!(topic = name, "the settings of the topic cannot be read");
            Ok(HashMap::new())
        }
        Some(Err(error)) => Err(format!("settings of topic {name}: {error}")),
    }
}

async fn make(
    brokers: &Arc<Brokers>,
    settings: &Settings,
    name: &str,
    wanted: Wanted,
) -> Result<(), Unready> {
    let kafka = &settings.kafka;
    let insync = kafka.min_insync.to_string();
    let replication = TopicReplication::Fixed(i32::from(kafka.replication));
    let largest = kafka.max_record_bytes.to_string();
    let largest_letter = LARGEST_LETTER.to_string();
    let new = match wanted {
        Wanted::Records => {
            let partitions = i32::try_from(kafka.partitions).unwrap_or(i32::MAX);
            NewTopic::new(name, partitions, replication)
                .set("max.message.bytes", &largest)
                // The brokers' clock: what a reader reads twice has one time.
                .set("message.timestamp.type", "LogAppendTime")
        }
        Wanted::Letters => NewTopic::new(name, 1, replication)
            .set("cleanup.policy", "compact")
            .set("max.message.bytes", &largest_letter),
    };
    let new = new.set("min.insync.replicas", &insync);
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let made = brokers
        .admin
        .create_topics(&[new], &options)
        .await
        .map_err(|error| format!("topic {name} cannot be made: {}", told(&error)))?;
    match made.into_iter().next() {
        // Another replica was quicker.
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        // The others may still start.
        Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => Err(Unready::Away(format!(
            "topic {name} cannot be made: there are fewer brokers than buffer.replication ({}) wants",
            kafka.replication
        ))),
        Some(Err((_, error))) => Err(format!("topic {name} cannot be made: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn settings() -> Settings {
        let variables = [
            ("MSCP_LOG_BUFFER__KIND", "kafka"),
            ("MSCP_LOG_BUFFER__BROKERS", "k:9092"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = crate::config::Config::load(None, variables).unwrap();
        let crate::config::BufferKind::Kafka(kafka) = config.buffer.kind else {
            panic!("kafka");
        };
        Settings::new(*kafka, "local")
    }

    fn found(partitions: usize, replicas: usize, settings: &[(&str, &str)]) -> Found {
        let settings = settings.iter();
        Found {
            partitions,
            replicas,
            settings: settings
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn each_setting_of_a_topic_that_could_lose_records_is_a_fault() {
        let settings = settings();
        let good = [("cleanup.policy", "delete"), ("min.insync.replicas", "2")];
        let good = found(12, 3, &good);
        assert!(good.faults(Wanted::Records, "t", &settings).is_empty());
        let with = |key: &str, value: &str| {
            let mut topic = good.clone();
            topic.settings.insert(key.to_owned(), value.to_owned());
            topic
        };
        for (topic, said) in [
            (found(11, 3, &[]), "11 partitions"),
            (found(12, 2, &[]), "2 replicas"),
            (with("min.insync.replicas", "1"), "min.insync.replicas=1"),
            (with("min.insync.replicas", "4"), "takes no record"),
            (with("cleanup.policy", "compact,delete"), "last record"),
            (with("unclean.leader.election.enable", "true"), "unclean"),
        ] {
            let faults = topic.faults(Wanted::Records, "t", &settings);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(said), "{faults:?}");
        }
    }

    #[test]
    fn age_may_take_no_dead_letter_out() {
        let settings = settings();
        let faults = |policy| {
            let topic = found(1, 3, &[("cleanup.policy", policy)]);
            topic.faults(Wanted::Letters, "t-dead", &settings)
        };
        assert!(faults("compact").is_empty());
        assert_eq!(faults("delete").len(), 1);
        assert_eq!(faults("compact,delete").len(), 1);
    }
}
