//! The figures as tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// What indexing cost one store.
pub(crate) struct Indexing {
    pub(crate) store: String,
    pub(crate) documents: usize,
    /// Bytes of the bodies.
    pub(crate) sent: u64,
    /// From the first request until all was found.
    pub(crate) searchable: Duration,
    /// CPU seconds until it had settled.
    pub(crate) cpu: f64,
    /// Bytes, settled.
    pub(crate) disk: u64,
    /// The most bytes resident.
    pub(crate) peak: u64,
    /// Bytes by kind of file.
    pub(crate) parts: BTreeMap<String, u64>,
}

/// What one class of searches cost one store.
pub(crate) struct Searching {
    pub(crate) store: String,
    pub(crate) class: &'static str,
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    /// CPU milliseconds a search.
    pub(crate) cpu_ms: f64,
    /// Mean of the hits found, up to where they are counted.
    pub(crate) hits: f64,
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// What indexing cost, a row a store.
pub(crate) fn table_of_indexing(rows: &[Indexing]) -> String {
    let mut table = String::new();
    if let Some(first) = rows.first() {
        let _ = writeln!(
            table,
            "{} documents, {:.0} MB as `_bulk` bodies:\n",
            first.documents,
            megabytes(first.sent)
        );
    }
    table.push_str("| store | CPU s | wall s | disk MB | peak MB |\n|---|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(
            table,
            "| {} | {:.1} | {:.1} | {:.0} | {:.0} |",
            row.store,
            row.cpu,
            row.searchable.as_secs_f64(),
            megabytes(row.disk),
            megabytes(row.peak)
        );
    }
    if let Some(own) = rows.iter().find(|row| row.store == "embedded") {
        table.push_str("\nThe embedded store's files, MB:");
        for (kind, bytes) in own.parts.iter().filter(|(_, bytes)| **bytes > 100_000) {
            let _ = write!(table, " {kind} {:.1}", megabytes(*bytes));
        }
        table.push('\n');
    }
    table
}

/// What searches cost, a row a class; `p50 / p95 ms (CPU ms)`.
pub(crate) fn table_of_searches(stores: &[Indexing], rows: &[Searching]) -> String {
    let mut table = String::from("p50 / p95 in ms (CPU ms a search):\n\n| search | mean hits |");
    for store in stores {
        let _ = write!(table, " {} |", store.store);
    }
    table.push_str("\n|---|---|");
    table.push_str(&"---|".repeat(stores.len()));
    table.push('\n');
    let mut classes: Vec<&str> = rows.iter().map(|row| row.class).collect();
    let mut seen = Vec::new();
    classes.retain(|class| {
        !seen.contains(class) && {
            seen.push(*class);
            true
        }
    });
    for class in classes {
        let of_class = |store: &str| {
            let mut all = rows.iter();
            all.find(|row| row.class == class && row.store == store)
        };
        let hits = stores.first().and_then(|it| of_class(&it.store));
        let _ = write!(
            table,
            "| {class} | {:.0} |",
            hits.map_or(0.0, |row| row.hits)
        );
        for store in stores {
            match of_class(&store.store) {
                Some(row) => {
                    let _ = write!(
                        table,
                        " {:.1} / {:.1} ({:.1}) |",
                        milliseconds(row.p50),
                        milliseconds(row.p95),
                        row.cpu_ms
                    );
                }
                None => table.push_str(" |"),
            }
        }
        table.push('\n');
    }
    table
}
