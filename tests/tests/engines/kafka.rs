//! The buffer in a real broker: what is acknowledged is there, what goes from
//! one shipper to another is shipped once, and what others write is read.
//!
//! `KAFKA_SEED` makes another run of what is random.

mod foreign;
mod group;
mod node;
mod roles;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use mscp_log_server::buffer::kafka::{KafkaBuffer, Settings, Unready};
use mscp_log_server::buffer::{AppendError, Buffer};
use mscp_log_server::config::{BufferKind, Config};
use mscp_log_server::pipeline::Cleaner;
use mscp_log_tests::engine::kafka::{Kafka, PASSWORD, Spec, USER};
use mscp_log_tests::target::RUNTIME;
use mscp_log_tests::tls::Authority;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How long a state may take to come before a trial is given up.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is asked for.
const LOOK: Duration = Duration::from_millis(50);

type Case = fn(&mut Kafka) -> Result<(), Failed>;

const CASES: &[(&str, Case)] = &[
    (
        "what_is_acknowledged_is_there_as_json_under_the_name_of_its_host",
        readable,
    ),
    (
        "nothing_is_acknowledged_while_the_broker_is_away_and_it_goes_on_by_itself",
        away,
    ),
    (
        "what_is_acknowledged_is_there_once_though_the_broker_is_killed_meanwhile",
        killed_broker,
    ),
    (
        "a_topic_that_could_lose_records_is_refused_in_a_line_for_each_fault",
        wrong_settings,
    ),
    ("tls_and_sasl_are_spoken_and_what_is_wrong_is_told", secured),
    (
        "shippers_that_come_and_go_ship_everything_once",
        group::comes_and_goes,
    ),
    (
        "a_commit_of_a_partition_that_went_to_another_is_stale",
        group::stale,
    ),
    (
        "a_store_that_holds_back_for_long_costs_no_membership",
        group::back_pressure,
    ),
    (
        "partitions_are_given_up_undrained_when_draining_takes_too_long",
        group::undrained,
    ),
    (
        "what_logstash_and_others_write_is_found_once",
        foreign::written_by_others,
    ),
    (
        "a_document_of_a_later_version_holds_shipping_back",
        foreign::newer,
    ),
    (
        "a_node_says_503_while_the_broker_is_away_and_goes_on_by_itself",
        node::unavailable,
    ),
    (
        "a_node_that_is_killed_has_everything_once_when_it_is_back",
        node::killed,
    ),
    (
        "a_record_that_is_too_large_for_the_topic_is_a_dead_letter",
        node::too_large,
    ),
    (
        "check_says_what_is_wrong_with_the_brokers_in_a_line",
        node::check,
    ),
    (
        "an_agent_a_parser_and_a_shipper_are_processes_of_their_own",
        roles::apart,
    ),
    (
        "a_status_is_true_with_broker_and_database_up_hanging_and_away",
        node::status,
    ),
    (
        "a_backup_says_that_it_is_without_what_is_in_kafka",
        node::backup,
    ),
];

/// One broker for all of them; each has topics of its own.
pub(crate) fn trials(spec: &'static Spec) -> Vec<Trial> {
    let broker: Arc<Mutex<Option<Kafka>>> = Arc::default();
    let named = CASES.iter().map(|(name, case)| {
        let broker = Arc::clone(&broker);
        let name = format!("{}::kafka::{name}", spec.name);
        Trial::test(name, move || {
            let mut broker: MutexGuard<'_, _> =
                broker.lock().unwrap_or_else(PoisonError::into_inner);
            case(broker.get_or_insert_with(|| Kafka::start(spec)))
        })
    });
    named.collect()
}

/// What a node is told to use `topic`.
fn variables(broker: &Kafka, topic: &str) -> BTreeMap<String, String> {
    let keys = [
        ("KIND", "kafka"),
        ("BROKERS", &broker.address),
        ("TOPIC", topic),
        ("PARTITIONS", "4"),
        ("REPLICATION", "1"),
        ("MIN_INSYNC", "1"),
        ("TIMEOUT", "3s"),
        (
            "LIBRDKAFKA",
            "{ \"session.timeout.ms\" = 6000, \"heartbeat.interval.ms\" = 500, \"max.poll.interval.ms\" = 8000 }",
        ),
    ];
    let keys = keys.into_iter();
    keys.map(|(key, value)| (format!("MSCP_LOG_BUFFER__{key}"), value.to_owned()))
        .collect()
}

fn settings_of(variables: BTreeMap<String, String>) -> (Settings, Arc<Cleaner>) {
    let config = Config::load(None, variables).unwrap();
    let cleaner = Cleaner::open(&config).unwrap();
    let BufferKind::Kafka(kafka) = config.buffer.kind else {
        panic!("kafka");
    };
    (Settings::new(*kafka, "local"), Arc::new(cleaner))
}

async fn try_open(variables: BTreeMap<String, String>) -> Result<Arc<KafkaBuffer>, Unready> {
    let (settings, cleaner) = settings_of(variables);
    let clean = Arc::new(
        move |message: mscp_log_server::buffer::kafka::Foreign<'_>| cleaner.foreign(message),
    );
    KafkaBuffer::open(settings, clean).await.map(Arc::new)
}

async fn open(broker: &Kafka, topic: &str) -> Arc<KafkaBuffer> {
    try_open(variables(broker, topic)).await.unwrap()
}

/// A document of ours.
fn document(number: usize, host: &str) -> Bytes {
    let now_us = chrono::Utc::now().timestamp_micros();
    let document = json!({
        "@timestamp": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "realtime_us": now_us, "ingest_us": now_us, "seq": number,
        "event_id": format!("{number:032x}"), "message": format!("record {number}"),
        "index": format!("logstash-filebeat-{host}"), "hostname": host, "region": "local",
    });
    document.to_string().into()
}

/// A message as another program reads it.
struct Seen {
    partition: i32,
    key: String,
    value: Value,
    format: Option<String>,
}

/// Everything that is in a topic.
fn everything_in(broker: &Kafka, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .set("group.id", "another-program")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut assigned = TopicPartitionList::new();
    let mut wanted = 0;
    for partition in 0..i32::try_from(partitions).unwrap() {
        // A broker that has just started may not lead it yet.
        let begun = Instant::now();
        let (low, high) = loop {
            match consumer.fetch_watermarks(topic, partition, PATIENCE) {
                Ok(marks) => break marks,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        };
        wanted += usize::try_from(high - low).unwrap();
        assigned
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut seen = Vec::new();
    let begun = Instant::now();
    while seen.len() < wanted {
        assert!(begun.elapsed() < PATIENCE, "{} of {wanted}", seen.len());
        if let Some(message) = consumer.poll(LOOK) {
            let message = message.unwrap();
            let format = message.headers().and_then(|headers| {
                let ours = headers.iter().find(|header| header.key == "mscp-log")?;
                Some(String::from_utf8_lossy(ours.value?).into_owned())
            });
            seen.push(Seen {
                partition: message.partition(),
                key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
                value: serde_json::from_slice(message.payload().unwrap_or_default())
                    .unwrap_or_default(),
                format,
            });
        }
    }
    seen
}

/// How often each message of our documents is in a topic.
fn counted(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for one in seen {
        let message = one.value["message"].as_str().unwrap_or_default();
        *counted.entry(message.to_owned()).or_insert(0) += 1;
    }
    counted
}

/// Wait until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) -> Result<(), Failed> {
    let begun = Instant::now();
    while !so().await {
        if begun.elapsed() > PATIENCE {
            return Err(format!("never came: {what}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn readable(broker: &mut Kafka) -> Result<(), Failed> {
    let hosts = ["node1", "node2", "node3", "node4", "node5"];
    RUNTIME.block_on(async {
        let buffer = open(broker, "readable").await;
        let documents = (0..200).map(|n| document(n, hosts[n % hosts.len()])).collect();
        buffer.append("local", documents).await.unwrap();
        let pushed = json!({"realtime_us": 1, "event_id": "0".repeat(32), "index": "logstash-http-local", "message": "pushed"});
        let pushed = Bytes::from(pushed.to_string());
        buffer.append("local", vec![pushed]).await.unwrap();
    });
    let seen = everything_in(broker, "readable");
    assert_eq!(seen.len(), 201);
    let mut of_host: BTreeMap<String, i32> = BTreeMap::new();
    for one in &seen {
        assert_eq!(one.format.as_deref(), Some("1"));
        match one.value["hostname"].as_str() {
            Some(host) => assert_eq!(one.key, host),
            None => assert_eq!(one.key, "0".repeat(32), "its own id"),
        }
        let partition = *of_host.entry(one.key.clone()).or_insert(one.partition);
        assert_eq!(partition, one.partition, "a host has one partition");
    }
    Ok(())
}

fn away(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let buffer = open(broker, "away").await;
        buffer.append("", vec![document(0, "n")]).await.unwrap();
        broker.freeze(true);
        let refused = buffer.append("", vec![document(1, "n")]).await;
        assert!(
            matches!(refused, Err(AppendError::Failed(_))),
            "{refused:?}"
        );
        assert!(buffer.trouble().is_some());
        broker.freeze(false);
        until("an append that is taken", async || {
            buffer.append("", vec![document(2, "n")]).await.is_ok()
        })
        .await?;
        until("a buffer that says that it is well", async || {
            buffer.trouble().is_none()
        })
        .await
    })?;
    let counts = counted(&everything_in(broker, "away"));
    assert_eq!(counts["record 0"], 1);
    assert!(counts["record 2"] >= 1);
    Ok(())
}

fn killed_broker(broker: &mut Kafka) -> Result<(), Failed> {
    let acknowledged = RUNTIME.block_on(async {
        let buffer = open(broker, "killed-broker").await;
        let sending = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut failures = 0;
            let mut number = 0;
            // Until it has gone on for a while behind the failures.
            let mut after = 0;
            while after < 50 {
                // Twelve hosts, so that every partition has some of each append.
                let numbers: Vec<usize> = (number..number + 12).collect();
                number += 12;
                let documents = numbers
                    .iter()
                    .map(|n| document(*n, &format!("h{}", n % 12)));
                match buffer.append("", documents.collect()).await {
                    Ok(()) => {
                        acknowledged.extend(numbers);
                        after += usize::from(failures > 0);
                    }
                    Err(_) => failures += 1,
                }
            }
            acknowledged
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| {
            broker.kill();
            std::thread::sleep(Duration::from_secs(5));
            broker.restart();
        });
        let sent = tokio::time::timeout(PATIENCE, sending).await;
        sent.map(Result::unwrap)
            .map_err(|_| Failed::from("it does not go on"))
    })?;
    let counts = counted(&everything_in(broker, "killed-broker"));
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    for number in acknowledged {
        assert_eq!(
            counts.get(&format!("record {number}")),
            Some(&1),
            "{number}"
        );
    }
    Ok(())
}

/// Make a topic as another program would.
async fn make(broker: &Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .create()
        .unwrap();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = admin.create_topics(&[topic], &options).await.unwrap();
    made[0].as_ref().unwrap();
    tokio::task::block_in_place(|| drop(admin));
}

fn wrong_settings(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        make(broker, "compacted", 1, &[("cleanup.policy", "compact")]).await;
        let unready = try_open(variables(broker, "compacted")).await.unwrap_err();
        let faults = unready.reasons();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("1 partitions") && faults[1].contains("cleanup.policy"));

        let mut strict = variables(broker, "three-replicas");
        strict.insert("MSCP_LOG_BUFFER__REPLICATION".to_owned(), "3".to_owned());
        let unready = try_open(strict).await.unwrap_err();
        assert!(matches!(unready, Unready::Away(_)), "{unready:?}");
        assert!(unready.to_string().contains("fewer brokers"), "{unready:?}");

        let mut absent = variables(broker, "absent");
        absent.insert(
            "MSCP_LOG_BUFFER__CREATE_TOPIC".to_owned(),
            "false".to_owned(),
        );
        let faults = try_open(absent).await.unwrap_err().reasons();
        assert!(faults[0].contains("is not there"), "{faults:?}");
        for fault in faults {
            assert!(!fault.contains('\n'), "{fault}");
        }
    });
    Ok(())
}

fn secured(broker: &mut Kafka) -> Result<(), Failed> {
    let ca = broker.ca_file.display().to_string();
    let other_ca = tempfile::tempdir().unwrap();
    let other_ca = other_ca.path().join("other.pem");
    std::fs::write(&other_ca, Authority::new().pem()).unwrap();
    let with = |changed: &[(&str, &str)]| {
        let mut all = variables(broker, "secured");
        let keys = [
            ("BROKERS", broker.secured.as_str()),
            ("TLS", "true"),
            ("TLS_CA_FILE", &ca),
            ("SASL_MECHANISM", "SCRAM-SHA-256"),
            ("SASL_USER", USER),
            ("SASL_PASSWORD", PASSWORD),
        ];
        for (key, value) in keys.into_iter().chain(changed.iter().copied()) {
            all.insert(format!("MSCP_LOG_BUFFER__{key}"), value.to_owned());
        }
        all
    };
    RUNTIME.block_on(async {
        for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
            let buffer = try_open(with(&[("SASL_MECHANISM", mechanism)])).await;
            let buffer = buffer.unwrap_or_else(|faults| panic!("{mechanism}: {faults:?}"));
            buffer.append("", vec![document(0, "n")]).await.unwrap();
        }
        let other_ca = other_ca.display().to_string();
        for (changed, said) in [
            (("SASL_PASSWORD", "hunter2-hunter2"), "uthentication failed"),
            (("TLS_CA_FILE", other_ca.as_str()), "certificate"),
            (("TLS_CA_FILE", "/nowhere.pem"), "ssl.ca.location"),
        ] {
            let unready = try_open(with(&[changed])).await.unwrap_err();
            // No reason to wait.
            assert!(matches!(unready, Unready::Wrong(_)), "{unready:?}");
            let faults = unready.reasons();
            assert!(faults[0].contains(said), "{changed:?}: {faults:?}");
            assert!(!faults[0].contains("hunter2") && !faults[0].contains(PASSWORD));
            assert!(!faults[0].contains('\n'), "{faults:?}");
        }
    });
    assert_eq!(everything_in(broker, "secured").len(), 2);
    Ok(())
}
