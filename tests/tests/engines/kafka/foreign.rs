//! What is in the topic and is not this version's.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use mscp_log_tests::engine::kafka::Kafka;
use mscp_log_tests::target::RUNTIME;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::node::Scene;
use super::{PATIENCE, document, open, until};

/// As another program writes.
fn write(broker: &Kafka, topic: &str, values: &[&str], format: Option<&str>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        // Beats compress so unless they are told otherwise.
        .set("compression.type", "gzip")
        .create()
        .unwrap();
    for value in values {
        let mut record = BaseRecord::to(topic).key("node7").payload(*value);
        if let Some(format) = format {
            let header = Header {
                key: "mscp-log",
                value: Some(format),
            };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    let tombstone: BaseRecord<'_, str, str> = BaseRecord::to(topic).key("node7");
    producer
        .send(tombstone)
        .map_err(|(error, _)| error)
        .unwrap();
    producer.flush(PATIENCE).unwrap();
}

pub(super) fn written_by_others(broker: &mut Kafka) -> Result<(), Failed> {
    let now = chrono::Utc::now().to_rfc3339();
    // Logstash's json codec, Filebeat's output.kafka, a line of some program, a
    // document of ours that a tool copied without headers.
    let logstash = json!({"@timestamp": now, "@version": "1", "host": "node7", "message": "from logstash",
        "type": "syslog", "tags": ["a"], "container": {"name": "k8s_web.abcdef01_shop-x7k2p_prod_0f3c2a1e-58d1-4f5b-9a53-8a40bd3b7a11_0badcafe"}});
    let filebeat = json!({"@timestamp": now, "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.17.0"},
        "host": {"name": "node7"}, "agent": {"type": "filebeat"}, "message": "from filebeat",
        "log": {"offset": 120, "file": {"path": "/var/log/app.log"}}});
    let copied = document(7, "node7");
    let copied = std::str::from_utf8(&copied).unwrap();
    let (logstash, filebeat) = (logstash.to_string(), filebeat.to_string());
    // The line of a file comes twice, as from a Beat that was not answered.
    let values = [&*logstash, &filebeat, &filebeat, "no JSON at all", copied];
    RUNTIME.block_on(async {
        let topic = "written-by-others";
        drop(open(broker, topic).await);
        tokio::task::block_in_place(|| write(broker, topic, &values, None));
        let mut scene = Scene::start(broker, topic, &[]).await;
        until("all four", async || scene.messages().await.len() == 4).await?;
        let hits = scene.hits().await;
        let of = |message: &str| -> Value {
            let found = hits.iter().find(|hit| hit["_source"]["message"] == message);
            found.unwrap_or_else(|| panic!("{message}: {hits:?}"))["_source"].clone()
        };
        let logstash = of("from logstash");
        assert_eq!(logstash["hostname"], "node7");
        assert_eq!(logstash["namespace"], "prod");
        assert_eq!(logstash["index"], "logstash-other-node7");
        assert_eq!(
            of("from filebeat")["log"]["file"]["path"],
            "/var/log/app.log"
        );
        assert_eq!(of("record 7")["event_id"], format!("{:032x}", 7));
        let line = of("no JSON at all");
        let tags: Vec<&str> = line["tags"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!(tags.contains(&"_jsonparsefailure"), "{tags:?}");
        let ids: BTreeSet<String> = hits.iter().map(|hit| hit["_id"].to_string()).collect();

        // Another group reads all of it again, and it is the same.
        scene.restart(&[("MSCP_LOG_BUFFER__GROUP", "again")]).await;
        until("the same once more", async || {
            scene.metric("mscp_log_store_duplicate_records_total").await >= 5
        })
        .await?;
        let again = scene.hits().await;
        let again: BTreeSet<String> = again.iter().map(|hit| hit["_id"].to_string()).collect();
        assert_eq!(again, ids);
        Ok(())
    })
}

pub(super) fn newer(broker: &mut Kafka) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        let topic = "newer";
        drop(open(broker, topic).await);
        let value = document(1, "node7");
        let value = std::str::from_utf8(&value).unwrap();
        tokio::task::block_in_place(|| write(broker, topic, &[value], Some("2")));
        let scene = Scene::start(broker, topic, &[]).await;
        until("a node that says so", async || {
            scene.said().contains("written by a newer program")
        })
        .await?;
        assert!(scene.messages().await.is_empty());
        Ok(())
    })
}
