//! What cleaning a record costs: a container name beside the original's
//! expression, and a journal entry from its bytes to the encoded document
//! beside reading it into a tree and writing it out again.
#![allow(missing_docs, reason = "a benchmark's functions are its table's rows")]

use divan::Bencher;
use mscp_log_core::clean::{Cleaned, NoNode, Raw, Redaction, Stamp, clean, journal};
use mscp_log_core::container;
use mscp_log_core::event_id::{EventId, Origin};
use mscp_log_core::index::Beats;
use mscp_log_core::record::{Document, Limits, Window, json};

const NAME: &str = "k8s_kube-controller-manager.905f3855_kube-controller-manager-kvm-009660_kube-system_7cc96a847ece6fad70a98b9db56bd08d_01130b8b";
const ORIGINAL: &str = r"k8s_(?<container>[a-zA-Z0-9\-]+)\.(?<containerid>[0-9a-f]{6,8})_(?<controler>[a-zA-Z0-9\-]+)-(?<podid>[a-z0-9]+)_(?<namespace>[a-zA-Z0-9\-]+)_(?<uuid>[0-9a-f]{8}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{12})_(?<resourceid>[0-9a-f]{8})";
/// 886 bytes with the fields that journald writes for a container of docker.
const ENTRY: &str = r#"{"__CURSOR":"s=d8478c3862d347e59d28104ba4edb24d;i=144dd0;b=b4d5f19eb0fa4460a1155cdb19fcdcf9;m=f1125097aa;t=54f14690b9edf;x=19866ec227042b69","__REALTIME_TIMESTAMP":"1494323963862751","__MONOTONIC_TIMESTAMP":"1035394389930","_BOOT_ID":"b4d5f19eb0fa4460a1155cdb19fcdcf9","_TRANSPORT":"journal","_HOSTNAME":"kvm-009660.novalocal","PRIORITY":"3","_PID":"1291","_UID":"0","_GID":"0","_COMM":"dockerd-current","_EXE":"/usr/bin/dockerd-current","_SYSTEMD_UNIT":"docker.service","CONTAINER_ID":"8eaed0ef7fdc","CONTAINER_ID_FULL":"8eaed0ef7fdc0f8b9b1c9a0f1c2d3e4f5a6b7c8d9e0f112233445566778899aa","CONTAINER_NAME":"k8s_kube-controller-manager.905f3855_kube-controller-manager-kvm-009660_kube-system_7cc96a847ece6fad70a98b9db56bd08d_01130b8b","MESSAGE":"2017-05-09 09:59:23.854320 I | flags: recognized and used environment variable","_SOURCE_REALTIME_TIMESTAMP":"1494323963855249"}"#;
const NOW: i64 = 1_494_323_964_000_000;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 1000)]
fn container_name(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| container::docker(divan::black_box(NAME), ""));
}

#[divan::bench(sample_size = 1000)]
fn container_name_by_the_regex_crate(bencher: Bencher<'_, '_>) {
    let original = regex::Regex::new(ORIGINAL).expect("the expression is well-formed");
    let mut places = original.capture_locations();
    bencher.bench_local(|| {
        original
            .captures_read(&mut places, divan::black_box(NAME))
            .is_some()
    });
}

#[divan::bench(sample_size = 1000)]
fn journal_entry_to_encoded_document(bencher: Bencher<'_, '_>) {
    let (beats, redaction) = (Beats::default(), Redaction::none());
    let stamp = Stamp {
        region: "local",
        zone: "default",
        cluster: None,
        host: "kvm-009660.novalocal",
        now_us: NOW,
        max_past_us: 86_400_000_000,
        max_future_us: Window::MAX_FUTURE_US,
        beats: &beats,
        redaction: &redaction,
        node: &NoNode,
    };
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let bytes = divan::black_box(ENTRY.as_bytes());
        let entry = journal::Entry::parse(bytes).expect("the entry is well-formed");
        let raw = Raw::Journal {
            entry,
            read_us: NOW,
            seq: 0,
        };
        if let Cleaned::Keep(document) = clean(raw, &stamp) {
            document.encode(&mut out);
        }
        out.len()
    });
}

#[divan::bench(sample_size = 1000)]
fn journal_entry_parsed(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let bytes = divan::black_box(ENTRY.as_bytes());
        journal::Entry::parse(bytes).is_ok()
    });
}

#[divan::bench(sample_size = 1000)]
fn event_id_of_a_cursor(bencher: Bencher<'_, '_>) {
    let cursor = &ENTRY[13..142];
    bencher.bench_local(|| {
        EventId::of(&Origin::Journal {
            cursor: divan::black_box(cursor),
        })
    });
}

#[divan::bench(sample_size = 1000)]
fn journal_entry_through_a_json_tree_and_back(bencher: Bencher<'_, '_>) {
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let tree: serde_json::Value = serde_json::from_slice(divan::black_box(ENTRY.as_bytes()))
            .expect("the entry is well-formed");
        serde_json::to_writer(&mut out, &tree).expect("a tree can be written");
        out.len()
    });
}

#[divan::bench]
fn pushed_body_of_100_records(bencher: Bencher<'_, '_>) {
    let record = format!(
        r#"{{"timestemp":{NOW},"appid":"caa0c2f0-1116-495f-8f09-3cd023cc14a2","type":"applog","message":"2017-05-09 09:59:23.854320 I | flags: recognized and used environment variable","annotations":[{{"key":"level","value":"info"}}]}}"#
    );
    let body = format!("[{}]", vec![record; 100].join(","));
    let window = Window {
        now_us: NOW,
        max_past_us: 86_400_000_000,
        max_future_us: Window::MAX_FUTURE_US,
    };
    let limits = Limits {
        max_records: 10_000,
        max_message_bytes: 1 << 20,
    };
    bencher.bench_local(|| {
        json(divan::black_box(body.as_bytes()), None, &window, &limits).map(|records| records.len())
    });
}

#[divan::bench(sample_size = 1000)]
fn document_read_back(bencher: Bencher<'_, '_>) {
    let stored = r#"{"@timestamp":"2017-05-09T09:59:23.862Z","realtime_us":1494323963862751,"event_id":"465fe70a12aec9bb249f0ddd23d0c154","message":"2017-05-09 09:59:23.854320 I | flags: recognized and used environment variable","index":"logstash-journalbeat-kvm-009660_novalocal","region":"local","zone":"default","hostname":"kvm-009660.novalocal","container":"kube-controller-manager","containerid":"905f3855","container_id":"8eaed0ef7fdc","controler":"kube-controller-manager-kvm","podid":"009660","pod":"kube-controller-manager-kvm-009660","namespace":"kube-system","uuid":"7cc96a847ece6fad70a98b9db56bd08d","resourceid":"01130b8b","stream":"stderr","ingest_us":1494323964000005,"seq":4}"#;
    bencher.bench_local(|| {
        let document: Result<Document<'_>, _> = serde_json::from_str(divan::black_box(stored));
        document.is_ok()
    });
}
