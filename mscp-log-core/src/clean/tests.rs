#![allow(clippy::unwrap_used, reason = "tests")]
//! Cleaned documents of every form, as snapshots, and what holds for all.

use proptest::prelude::*;

use super::*;
use crate::record::time::Day;

const NOW: i64 = 1_494_323_964_000_000;
const HOUR_US: i64 = 3_600_000_000;
const POD_UID: &str = "7cc96a84-7ece-6fad-70a9-8b9db56bd08d";
const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";

/// A machine with one pod that is of an application.
struct OnePod;

impl Node for OnePod {
    fn app_of(&self, pod_uid: &str) -> Option<Uuid> {
        (pod_uid == POD_UID).then(|| APP.parse().unwrap())
    }

    fn pod_of(&self, pod_uid: &str) -> Option<PodDir<'_>> {
        (pod_uid == POD_UID).then_some(PodDir {
            namespace: "shop",
            pod: "web-5d4f8c7b9-x7k2p",
            uuid: POD_UID,
        })
    }
}

fn stamped_with<'a>(redaction: &'a Redaction, beats: &'a Beats) -> Stamp<'a> {
    Stamp {
        region: "local",
        zone: "default",
        cluster: Some("c1"),
        host: "kvm-009660.novalocal",
        now_us: NOW + 5,
        max_past_us: 24 * HOUR_US,
        max_future_us: Window::MAX_FUTURE_US,
        beats,
        redaction,
        node: &OnePod,
    }
}

fn cleaned(raw: Raw<'_>) -> Result<serde_json::Value, DropReason> {
    cleaned_with(raw, &Redaction::none())
}

fn cleaned_with(raw: Raw<'_>, redaction: &Redaction) -> Result<serde_json::Value, DropReason> {
    let beats = Beats::default();
    let stamp = stamped_with(redaction, &beats);
    // The stamp has one lifetime with the record.
    match clean(raw, &stamp) {
        Cleaned::Keep(document) => Ok(serde_json::to_value(document).unwrap()),
        Cleaned::Drop(reason) => Err(reason),
    }
}

fn journal(name: &str) -> String {
    format!(
        r#"{{"__CURSOR":"s=d8478c;i=144dd0;b=b4d5;m=f112;t=54f1;x=1986",
        "__REALTIME_TIMESTAMP":"1494323963862751","_HOSTNAME":"KVM-009660.novalocal",
        "MESSAGE":"2017-05-09 09:59:23.854320 I | flags: recognized","PRIORITY":"3",
        "CONTAINER_ID":"905f38550000","CONTAINER_NAME":"{name}","_SOURCE_REALTIME_TIMESTAMP":"1"}}"#
    )
}

fn from_journal(json: &str) -> Result<serde_json::Value, DropReason> {
    let entry = journal::Entry::parse(json.as_bytes()).unwrap();
    cleaned(Raw::Journal {
        entry,
        read_us: NOW,
        seq: 4,
    })
}

fn position(offset: u64) -> Position<'static> {
    Position {
        device: 1,
        inode: 2,
        generation: 0,
        fingerprint: None,
        offset,
    }
}

fn from_container(path: &str, target: Option<&str>) -> Result<serde_json::Value, DropReason> {
    cleaned(Raw::Container {
        path,
        target,
        time_us: NOW - HOUR_US,
        stream: "stdout",
        message: Cow::Borrowed("GET / 200"),
        truncated: false,
        position: position(77),
        read_us: NOW,
    })
}

fn from_file(path: &str, time_us: Option<i64>) -> Result<serde_json::Value, DropReason> {
    cleaned(Raw::File {
        path,
        message: Cow::Borrowed("started"),
        truncated: false,
        time_us,
        position: position(4_096),
        read_us: NOW,
    })
}

fn from_beat(json: &str) -> Result<serde_json::Value, DropReason> {
    cleaned(Raw::Beat {
        event: beat::Event::parse(json.as_bytes()).unwrap(),
        read_us: NOW,
        seq: 9,
    })
}

fn pushed_record(annotations: Annotations<'_>, time_of_receipt: bool) -> Raw<'_> {
    Raw::Push {
        record: Record {
            time_us: NOW - 1,
            appid: APP.parse().unwrap(),
            kind: Cow::Borrowed("applog"),
            message: Cow::Borrowed("card 4111111111111111 paid"),
            annotations,
        },
        event_id: EventId::of(&Origin::Random([7; 16])),
        seq: 2,
        time_of_receipt,
    }
}

fn some_annotations() -> Annotations<'static> {
    serde_json::from_str(
        r#"{"level":"INFO","trace_id":"0AF7651916CD43DD8448EB211C80319C","code":[200,true],
        "card":4111111111111111}"#,
    )
    .unwrap()
}

macro_rules! snapshot {
    ($value:expr) => {
        insta::assert_json_snapshot!($value.unwrap())
    };
}

#[test]
fn a_journal_entry_of_the_first_docker_form() {
    snapshot!(from_journal(&journal(
        "k8s_kube-controller-manager.905f3855_kube-controller-manager-kvm-009660_kube-system_7cc96a847ece6fad70a98b9db56bd08d_01130b8b"
    )));
}

#[test]
fn a_journal_entry_of_the_later_docker_form() {
    snapshot!(from_journal(&journal(&format!(
        "k8s_web_web-5d4f8c7b9-x7k2p_shop_{POD_UID}_3"
    ))));
}

#[test]
fn a_journal_entry_of_etcd() {
    snapshot!(from_journal(&journal("etcd0")));
}

#[test]
fn a_journal_entry_with_a_name_in_no_known_form() {
    snapshot!(from_journal(&journal("my-etcd0")));
}

#[test]
fn a_journal_entry_whose_time_is_long_past() {
    snapshot!(from_journal(
        &journal("kubelet").replace("1494323963862751", "1294323963862751")
    ));
}

#[test]
fn a_journal_entry_without_time_cursor_and_host() {
    snapshot!(from_journal(
        r#"{"MESSAGE":[104,105,255],"CONTAINER_NAME":"kubelet","CONTAINER_ID":"905f38550000",
        "CONTAINER_ID_FULL":"905f38550000905f38550000905f38550000905f38550000905f38550000ffff"}"#
    ));
}

#[test]
fn a_line_of_a_container_file() {
    let target = format!("/var/log/pods/shop_web-5d4f8c7b9-x7k2p_{POD_UID}/web/3.log");
    snapshot!(from_container(
        "/var/log/containers/web-5d4f8c7b9-x7k2p_shop_web-905f38550000.log",
        Some(&target)
    ));
}

#[test]
fn a_line_of_a_container_file_whose_name_is_in_no_known_form() {
    snapshot!(from_container("/var/log/containers/odd.log", None));
}

#[test]
fn a_line_of_a_log_file() {
    snapshot!(from_file(
        &format!(
            "/k8spods/{POD_UID}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-access/a.log"
        ),
        None
    ));
}

#[test]
fn a_line_of_a_log_file_with_a_time_of_its_own_and_no_pod() {
    snapshot!(from_file(
        &format!("/k8spods/u1/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-access/a.log"),
        Some(NOW - 2 * HOUR_US)
    ));
}

#[test]
fn an_event_of_the_original_journalbeat() {
    snapshot!(from_beat(&format!(
        r#"{{"@timestamp":"2017-05-09T09:59:23.862Z","@metadata":{{"beat":"journalbeat","type":"journal"}},
        "beat":{{"name":"journalbeat","hostname":"x"}},"message":"up","journal":{{
        "container_name":"k8s_web_web-5d4f8c7b9-x7k2p_shop_{POD_UID}_3","hostname":"node1",
        "container_id":"905f38550000","realtime_timestamp":1494323963862751}}}}"#
    )));
}

#[test]
fn an_event_of_filebeat_5() {
    snapshot!(from_beat(&format!(
        r#"{{"@timestamp":"2017-05-09T09:59:23.862Z","@metadata":{{"beat":"filebeat","type":"log"}},
        "beat":{{"hostname":"node1","name":"node1","version":"5.4.0"}},"input_type":"log","message":"started",
        "offset":4096,"type":"log",
        "source":"/k8spods/{POD_UID}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-access/a.log"}}"#
    )));
}

#[test]
fn an_event_of_filebeat_8_on_a_container_file() {
    snapshot!(from_beat(
        r#"{"@timestamp":"2017-05-09T09:59:23.862Z","@metadata":{"beat":"filebeat","version":"8.12.0"},
        "agent":{"type":"filebeat","name":"agent"},"host":{"name":"node1"},"message":"started","stream":"stderr",
        "log":{"offset":12,"file":{"path":"/var/log/containers/db-0_shop_db-905f38550000.log","inode":"5","device_id":"6"}},
        "fields":{"team":"shop","labels":{"tier":["a","b"]}}}"#
    ));
}

#[test]
fn an_event_of_a_beat_outside_the_list() {
    snapshot!(from_beat(
        r#"{"@timestamp":"2017-05-09T09:59:23.862Z","@metadata":{"beat":"packetbeat"},"message":"x"}"#
    ));
}

/// `cases/*.json`: an event of every source that there is, and the document
/// that it makes, or why it is dropped. With `UPDATE_CASES=1` the files are
/// written; look at what changed.
#[test]
fn events_of_every_beat_and_version_make_the_documents_of_the_cases() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clean/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    for path in files {
        let mut case: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let raw = case["raw"].to_string();
        let made = from_beat(&raw).unwrap_or_else(|reason| reason.as_str().into());
        if std::env::var_os("UPDATE_CASES").is_some() {
            case["expected"] = made;
            let text = serde_json::to_string_pretty(&case).unwrap();
            std::fs::write(&path, text + "\n").unwrap();
        } else {
            assert_eq!(made, case["expected"], "{}", path.display());
        }
        // Sent again it is the same event.
        assert_eq!(from_beat(&raw), from_beat(&raw));
    }
}

#[test]
fn what_is_no_json_object_is_kept_as_it_came() {
    for payload in [&b"[1]"[..], b"\"text\"", b"{\"message\":", b"\xff{}"] {
        assert!(beat::Event::parse(payload).is_err());
        let document = cleaned(Raw::Beat {
            event: beat::Event::unreadable(payload),
            read_us: NOW,
            seq: 0,
        })
        .unwrap();
        assert_eq!(document["message"], *String::from_utf8_lossy(payload));
        assert_eq!(document["tags"][1], tag::UNREADABLE);
    }
}

#[test]
fn an_event_that_is_not_utf_8_is_read_with_what_can_be_read_of_it() {
    let event = beat::Event::parse(b"{\"message\":\"caf\xe9\"}").unwrap();
    assert_eq!(event.message.as_deref(), Some("caf\u{fffd}"));
}

#[test]
fn a_pushed_record() {
    snapshot!(cleaned(pushed_record(some_annotations(), false)));
}

#[test]
fn a_pushed_record_without_a_time() {
    snapshot!(cleaned(pushed_record(Annotations::new(), true)));
}

#[test]
fn a_redacted_record() {
    let rules = [
        (r"\b(\d{6})\d{6}(\d{4})\b", "$1******$2"),
        ("(?i)info", "-"),
    ];
    let redaction = Redaction::new(rules).unwrap();
    snapshot!(cleaned_with(
        pushed_record(some_annotations(), false),
        &redaction
    ));
}

#[test]
fn what_is_not_wanted_is_dropped_with_its_reason() {
    let pause =
        "k8s_POD.d8dbe16c_web-2035384211-x7k2p_shop_7cc96a847ece6fad70a98b9db56bd08d_01130b8b";
    assert_eq!(from_journal(&journal(pause)), Err(DropReason::Pause));
    let later = format!("k8s_POD_web-5d4f8c7b9-x7k2p_shop_{POD_UID}_0");
    assert_eq!(from_journal(&journal(&later)), Err(DropReason::Pause));
    assert_eq!(
        from_container("/var/log/containers/web_shop_POD-905f38550000.log", None),
        Err(DropReason::Pause)
    );
    assert_eq!(from_journal(&journal("")), Err(DropReason::NoContainerName));
    assert_eq!(
        from_journal(r#"{"MESSAGE":"x"}"#),
        Err(DropReason::NoContainerName)
    );
    assert_eq!(
        from_journal(r#"{"MESSAGE":null,"CONTAINER_NAME":"kubelet"}"#),
        Err(DropReason::NoMessage)
    );
    assert_eq!(
        from_beat(r#"{"@metadata":{"beat":"filebeat"}}"#),
        Err(DropReason::NoMessage)
    );
}

#[test]
fn kubelet_and_etcd_are_known_as_a_whole_only() {
    for (name, known) in [
        ("kubelet", true),
        ("etcd0", true),
        ("etcd42", true),
        ("etcd", false),
        ("etcd0a", false),
        ("my-etcd0", false),
        ("Kubelet", false),
        ("kubelet2", false),
    ] {
        assert_eq!(is_component(name), known, "{name}");
    }
}

#[test]
fn a_rule_that_is_no_expression_is_named() {
    let error = Redaction::new([("a", ""), ("(", "")]).unwrap_err();
    assert_eq!(error.rule, 1);
}

proptest! {
    #[test]
    fn a_collected_record_has_its_own_time_inside_the_window_and_its_reading_time_outside(
        own in NOW - 48 * HOUR_US..NOW + HOUR_US,
    ) {
        let document = from_file("/x.log", Some(own)).unwrap();
        let inside = (NOW - 24 * HOUR_US..=NOW + Window::MAX_FUTURE_US).contains(&own);
        let expected = if inside { own } else { NOW };
        prop_assert_eq!(document["realtime_us"].as_i64(), Some(expected));
        prop_assert_eq!(document.get("source_time").is_some(), !inside);
        prop_assert_eq!(document["tags"][0] == tag::TIME_OUT_OF_WINDOW, !inside);
        let day = Day::of_us(expected).to_string().replace('.', "-");
        prop_assert!(document["@timestamp"].as_str().unwrap().starts_with(&day));
    }

    #[test]
    fn a_line_that_is_read_again_and_cleaned_later_is_the_same_event_in_the_same_index(
        offset in 0_u64..1_000_000, own in proptest::option::of(NOW - 48 * HOUR_US..NOW + HOUR_US), later in 0..100 * HOUR_US,
    ) {
        let (beats, redaction) = (Beats::default(), Redaction::none());
        let at = |now_us: i64| {
            let stamp = Stamp { now_us, ..stamped_with(&redaction, &beats) };
            let raw = Raw::File { path: "/x.log", message: Cow::Borrowed("x"), truncated: false, time_us: own, position: position(offset), read_us: NOW };
            let Cleaned::Keep(document) = clean(raw, &stamp) else { panic!("kept") };
            (document.event_id, document.physical_index(), document.realtime_us)
        };
        prop_assert_eq!(at(NOW), at(NOW + later));
    }

    #[test]
    fn what_a_rule_finds_is_nowhere_in_the_document(secret in "([0-9]{16}|[A-Z]{16})", around in "[a-z ]{0,10}") {
        let redaction = Redaction::new([("[0-9A-Z]{16}", "*")]).unwrap();
        let mut annotations = Annotations::new();
        let text = format!("{around}{secret}{around}");
        for key in ["a", "a", "level", "trace_id", "span_id"] {
            annotations.push(key, AnnotationValue::String(Cow::Borrowed(&text)));
        }
        if let Ok(number) = secret.parse::<u64>() && !secret.starts_with('0') {
            annotations.push("n", AnnotationValue::Number(number.into()));
        }
        let mut raw = pushed_record(annotations, false);
        if let Raw::Push { record, .. } = &mut raw {
            record.message = Cow::Borrowed(&text);
        }
        let document = cleaned_with(raw, &redaction).unwrap().to_string();
        prop_assert!(!document.to_uppercase().contains(&secret), "{}", document);
    }

    #[test]
    fn any_name_gives_a_document_or_a_drop_and_no_part_is_lost(name in "\\PC{1,60}") {
        let json = serde_json::json!({"MESSAGE": "x", "CONTAINER_NAME": name, "_HOSTNAME": "n"});
        let document = from_journal(&json.to_string()).unwrap();
        let known = document.get("container").is_some();
        let kept = &document["annotations"]["container_name"];
        prop_assert!(known || kept == &serde_json::json!(name));
    }

    #[test]
    fn any_beats_event_is_cleaned_or_dropped(json in "\\{\"(message|source|offset|log|journal|beat)\":(\"\\PC{0,10}\"|[0-9]{1,20}|null|\\{\\})\\}") {
        if beat::Event::parse(json.as_bytes()).is_ok() {
            let _ = from_beat(&json);
        }
    }
}
