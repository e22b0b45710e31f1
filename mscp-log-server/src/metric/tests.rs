#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the server's source, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with(file!()) {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    sources
}

/// What stands between a bracket that is open and the one that closes it.
fn bracketed(text: &str) -> &str {
    let mut depth = 1;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..place];
        }
    }
    panic!("a bracket is not closed: {text}");
}

/// Name → kind and labels of every metric that the source counts.
fn used() -> BTreeMap<String, BTreeSet<(String, Vec<String>)>> {
    let call = Regex::new(r"\b(counter|gauge|histogram)!\(").unwrap();
    let name = Regex::new(r#"^\s*"(\w+)""#).unwrap();
    let label = Regex::new(r#""(\w+)"\s*=>"#).unwrap();
    let mut used: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    for (path, text) in sources() {
        if path.ends_with("src/metric.rs") {
            continue;
        }
        for found in call.captures_iter(&text) {
            let arguments = bracketed(&text[found.get(0).unwrap().end()..]);
            let name = name.captures(arguments);
            let name = name.unwrap_or_else(|| panic!("{}: {arguments}", path.display()));
            let mut labels: Vec<String> = label
                .captures_iter(arguments)
                .map(|found| found[1].to_owned())
                .collect();
            labels.sort();
            let of_name = used.entry(name[1].to_owned()).or_default();
            of_name.insert((found[1].to_owned(), labels));
        }
    }
    used
}

#[test]
fn every_metric_in_the_source_is_in_the_table_as_it_is_used_and_every_other_way_round() {
    let mut described = BTreeMap::new();
    for metric in METRICS {
        let mut labels: Vec<String> = metric.labels.iter().map(|l| l.name.to_owned()).collect();
        labels.sort();
        let told = BTreeSet::from([(metric.kind.name().to_owned(), labels)]);
        let before = described.insert(metric.name.to_owned(), told);
        assert!(before.is_none(), "{} is there twice", metric.name);
    }
    let used = used();
    for name in described.keys().chain(used.keys()) {
        assert_eq!(
            used.get(name),
            described.get(name),
            "{name}: used, described"
        );
    }
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for metric in METRICS {
        let name = metric.name;
        assert!(name.starts_with("mscp_log_"), "{name}");
        assert!(
            !metric.help.is_empty() && !metric.help.ends_with('.'),
            "{name}"
        );
        let end = match (metric.kind, metric.unit) {
            (Kind::Counter, unit) => format!("_{unit}_total"),
            (Kind::Gauge, "") => continue,
            (_, unit) => format!("_{unit}"),
        };
        assert!(name.ends_with(&end), "{name} does not end with {end}");
        // OpenMetrics takes both for one.
        if let Some(family) = name.strip_suffix("_total") {
            assert!(!names.contains(family), "{name} and {family}");
        }
    }
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let file = repository().join("docs/metrics.md");
    let page = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "docs/metrics.md is not what the table says; run this test with UPDATE_DOCS=1"
    );
}

/// The names that look like ours in a text, with what histograms add taken off.
fn named(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\bmscp_log_[a-z0-9_]+").unwrap();
    let histograms: Vec<&str> = METRICS
        .iter()
        .filter(|metric| metric.kind == Kind::Histogram)
        .map(|metric| metric.name)
        .collect();
    name.find_iter(text)
        .map(|found| {
            let series = found.as_str();
            let of = |metric: &&&str| {
                let ends = ["_bucket", "_sum", "_count"];
                series
                    .strip_prefix(**metric)
                    .is_some_and(|end| ends.contains(&end))
            };
            histograms
                .iter()
                .find(of)
                .map_or(series, |metric| *metric)
                .to_owned()
        })
        .collect()
}

#[test]
fn dashboard_alerts_and_pages_name_only_metrics_that_there_are() {
    let described: BTreeSet<String> = METRICS.iter().map(|m| m.name.to_owned()).collect();
    // What is no metric: crates, accounts of databases, a cookie.
    let others = [
        "mscp_log_core",
        "mscp_log_client",
        "mscp_log_server",
        "mscp_log_tests",
        "mscp_log_session",
        "mscp_log_collect_lo",
    ];
    let mut looked_at = 0;
    let mut folders = vec![
        repository().join("docs"),
        repository().join("reference-deploy/components"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            for name in named(&text) {
                looked_at += 1;
                let known = described.contains(&name) || others.contains(&&*name);
                assert!(known, "{}: there is no metric {name}", path.display());
            }
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

#[test]
fn losses_are_summed_by_what_and_why_and_bytes_are_not_counted_twice() {
    let rendered = "\
# HELP mscp_log_collect_losses_total x
mscp_log_collect_losses_total{source=\"files\",reason=\"truncated\"} 3
mscp_log_collect_losses_total{source=\"containers\",reason=\"truncated\"} 4
mscp_log_collect_losses_total{source=\"journal\",reason=\"gap\"} 0
mscp_log_collect_lost_bytes_total{source=\"files\",reason=\"truncated\"} 900
mscp_log_buffer_corrupt_records_total 2
mscp_log_buffer_lost_records_total{reason=\"retention\"} 5
mscp_log_clean_dropped_records_total{reason=\"pause_container\"} 7
";
    let expected = [
        ("buffer.corrupt", 2),
        ("buffer.retention", 5),
        ("collect.truncated", 7),
    ];
    let expected = expected.map(|(what, sum)| (what.to_owned(), sum));
    assert_eq!(losses_by_reason(rendered), BTreeMap::from(expected));
}

#[test]
fn what_counts_losses_begins_at_zero_with_all_its_reasons() {
    for metric in METRICS.iter().filter(|metric| metric.loss.is_some()) {
        let sets = combinations(metric.labels);
        assert!(
            !sets.is_empty(),
            "{}: a label without its values",
            metric.name
        );
    }
    assert_eq!(combinations(&[]), [Vec::new()]);
}

#[test]
fn certificates_are_read_out_of_what_is_rendered() {
    let rendered = "# TYPE x gauge\n\
        mscp_log_tls_certificate_expiry_timestamp_seconds{listener=\"http\"} 1800000000\n\
        mscp_log_tls_certificate_expiry_timestamp_seconds{listener=\"beats\"} 1900000000\n";
    let expected = [
        ("http".to_owned(), 1_800_000_000),
        ("beats".to_owned(), 1_900_000_000),
    ];
    assert_eq!(certificate_expiries(rendered), expected);
}
