//! What makes a status red or yellow.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Reason, Status};
use crate::admin::instances::Instance;

/// The colour of a status; the worst sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Data is being refused, or is at risk.
    Red,
    /// Something is degraded.
    Yellow,
    /// All is well.
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
    match status.kafka.health_check {
        Some(false) => {
            let why = status
                .kafka
                .reason
                .as_deref()
                .unwrap_or("it takes no records");
            tell(Colour::Red, format!("Kafka: {why}"));
        }
        Some(true) | None => {}
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
    let losses = status
        .losses
        .iter()
        .flatten()
        .filter(|(_, lost)| **lost > 0);
    let losses: Vec<String> = losses
        .map(|(reason, lost)| format!("{lost} {reason}"))
        .collect();
    if !losses.is_empty() {
        tell(
            Colour::Yellow,
            format!("records were lost: {}", losses.join(", ")),
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
