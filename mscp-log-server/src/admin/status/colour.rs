//! What makes a status red or yellow.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Reason, Status};
use crate::admin::instances::Instance;

/// The colour of a status; the worst sorts first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Data is being refused, or is at risk.
    Red,
    /// Something is degraded.
    Yellow,
    /// All is well.
    #[default]
    Green,
}

/// A certificate that expires within this is a reason, in seconds.
const EXPIRES_S: i64 = 14 * 86_400;
/// A disk with less free than this part of it is a reason: at 95 % the buffer
/// takes no more.
const SCARCE: u64 = 10;

/// Put colour and reasons into `status`, from what it says and from what
/// `instances` say of themselves. `now_s` is in seconds since the epoch.
pub(super) fn judge(status: &mut Status, instances: Option<&[Instance]>, now_s: i64) {
    let mut reasons = Vec::new();
    let mut tell = |status, text: String| reasons.push(Reason { status, text });
    for instance in instances.unwrap_or_default() {
        let report = &instance.report;
        let name = report.pod_id.as_deref().unwrap_or(&report.node);
        if !instance.is_up() {
            let roles = report.roles.join(", ");
            tell(
                Colour::Yellow,
                format!("{name} ({roles}) was not heard of for more than 20 s"),
            );
            continue;
        }
        for (what, said) in &report.reasons {
            // What stands behind these is not being taken, or not being kept.
            let colour = match what.as_str() {
                "buffer" | "shipping" => Colour::Red,
                _ => Colour::Yellow,
            };
            tell(colour, format!("{name}: {what}: {said}"));
        }
    }
    if instances.is_none() {
        let text = "the database does not answer: instances and settings are not known";
        tell(Colour::Yellow, text.to_owned());
    }
    let parts = [
        ("parser", &status.parser),
        ("shipper", &status.shipper),
        ("api", &status.api),
    ];
    for (name, part) in parts {
        match (part.status.scheduled, part.status.up) {
            (Some(wanted), Some(0)) if wanted > 0 => tell(Colour::Red, format!("no {name} is up")),
            (Some(wanted), Some(up)) if up < wanted => {
                tell(Colour::Yellow, format!("{up} of {wanted} {name}s are up"));
            }
            _ => {}
        }
    }
    if status.kafka.health_check == Some(false) {
        let why = status.kafka.reason.as_deref();
        let why = why.unwrap_or("it takes no records");
        tell(Colour::Red, format!("Kafka: {why}"));
    }
    let store = &status.elasticsearch;
    let health = store
        .health
        .as_ref()
        .and_then(|health| health["status"].as_str());
    match health {
        Some("red") => tell(
            Colour::Red,
            "the store is red: records are missing".to_owned(),
        ),
        Some("yellow") => tell(
            Colour::Yellow,
            "the store is yellow: copies are missing".to_owned(),
        ),
        Some(_) => {}
        None => {
            let why = store.reason.as_deref().unwrap_or("its health is not known");
            tell(Colour::Red, format!("the store: {why}"));
        }
    }
    if let Some(letters @ 1..) = status.dead_letters.records {
        tell(
            Colour::Yellow,
            format!(
                "{letters} dead letters: the store refused these records for faults of their own"
            ),
        );
    }
    for of in &status.disks {
        let (free, total) = (of.disk.free, of.disk.total);
        if total > 0 && free < total / SCARCE {
            let name = of.pod_id.as_deref().unwrap_or(&of.node);
            tell(
                Colour::Yellow,
                format!("the disk of {name} is {} % full", 100 - free * 100 / total),
            );
        }
    }
    for of in &status.certificates {
        let left_s = of.certificate.expires_s - now_s;
        if left_s < EXPIRES_S {
            let days = left_s.div_euclid(86_400);
            let name = format!("the certificate of {} on {}", of.certificate.of, of.node);
            match days {
                ..0 => tell(Colour::Red, format!("{name} has expired")),
                days => tell(Colour::Yellow, format!("{name} expires in {days} days")),
            }
        }
    }
    for (name, on) in [
        ("journalbeat", status.collector.journalbeat.enabled),
        ("filebeat", status.collector.filebeat.enabled),
        ("http_gateway", status.collector.http_gateway.enabled),
    ] {
        if on == Some(false) {
            tell(
                Colour::Yellow,
                format!("{name} is switched off by an administrator"),
            );
        }
    }
    reasons.sort();
    status.status = reasons.first().map_or(Colour::Green, |worst| worst.status);
    status.reasons = reasons;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Count, Elasticsearch, Part};
    use super::*;
    use crate::admin::instances::{Certificate, Disk, Report};
    use crate::admin::status::{CertificateOf, DiskOf};

    const NOW_S: i64 = 1_800_000_000;

    /// One that is well.
    fn well() -> Status {
        Status {
            elasticsearch: Elasticsearch {
                health: Some(json!({"status": "green"})),
                ..Elasticsearch::default()
            },
            ..Status::default()
        }
    }

    /// The colour and its first reason.
    fn judged(mut status: Status, instances: Option<&[Instance]>) -> (Colour, String) {
        judge(&mut status, instances, NOW_S);
        let first = status.reasons.first().map(|reason| reason.text.clone());
        (status.status, first.unwrap_or_default())
    }

    fn instance(status: &'static str, reasons: &[(&str, &str)]) -> Instance {
        let reasons = reasons.iter();
        let reasons = reasons.map(|(what, said)| ((*what).to_owned(), (*said).to_owned()));
        Instance {
            status,
            seen_us: 0,
            report: Report {
                node: "n1".to_owned(),
                roles: vec!["parser".to_owned()],
                reasons: reasons.collect(),
                ..Report::default()
            },
        }
    }

    #[test]
    fn what_is_well_is_green_and_the_worst_decides() {
        assert_eq!(
            judged(well(), Some(&[instance("up", &[])])).0,
            Colour::Green
        );
        let both = [
            instance("down", &[]),
            instance("degraded", &[("buffer", "it is full")]),
        ];
        let expected = (Colour::Red, "n1: buffer: it is full".to_owned());
        assert_eq!(judged(well(), Some(&both)), expected);
        let (colour, reason) = judged(well(), Some(&both[..1]));
        assert_eq!(colour, Colour::Yellow);
        assert!(reason.contains("n1 (parser) was not heard of"), "{reason}");
        assert_eq!(judged(well(), None).0, Colour::Yellow);
    }

    #[test]
    fn a_store_that_says_nothing_is_red() {
        let mut status = well();
        status.elasticsearch.health = None;
        status.elasticsearch.reason = Some("no answer".to_owned());
        let expected = (Colour::Red, "the store: no answer".to_owned());
        assert_eq!(judged(status, Some(&[])), expected);
        for (said, colour) in [("yellow", Colour::Yellow), ("red", Colour::Red)] {
            let mut status = well();
            status.elasticsearch.health = Some(json!({ "status": said }));
            assert_eq!(judged(status, Some(&[])).0, colour);
        }
    }

    #[test]
    fn too_few_are_yellow_and_none_is_red() {
        for (up, colour) in [(2, Colour::Green), (1, Colour::Yellow), (0, Colour::Red)] {
            let mut status = well();
            status.shipper = Part {
                status: Count {
                    scheduled: Some(2),
                    up: Some(up),
                    reason: None,
                },
                instances: Vec::new(),
            };
            assert_eq!(judged(status, Some(&[])).0, colour, "{up}");
        }
    }

    #[test]
    fn what_will_be_needed_soon_is_told_before() {
        let mut status = well();
        status.dead_letters.records = Some(3);
        assert_eq!(judged(status, Some(&[])).0, Colour::Yellow);

        let mut status = well();
        status.disks = vec![DiskOf {
            node: "store".to_owned(),
            pod_id: None,
            disk: Disk {
                total: 1_000,
                free: 70,
            },
        }];
        let expected = (Colour::Yellow, "the disk of store is 93 % full".to_owned());
        assert_eq!(judged(status, Some(&[])), expected);

        for (days, colour) in [(15, Colour::Green), (13, Colour::Yellow), (-1, Colour::Red)] {
            let mut status = well();
            status.certificates = vec![CertificateOf {
                node: "n1".to_owned(),
                certificate: Certificate {
                    of: "http".to_owned(),
                    expires_s: NOW_S + days * 86_400,
                },
            }];
            assert_eq!(judged(status, Some(&[])).0, colour, "{days}");
        }
    }
}
