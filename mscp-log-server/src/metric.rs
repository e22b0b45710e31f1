//! Every metric, once: what `/metrics` says of it, the page that documents it,
//! and which of them count losses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

mod table;
#[cfg(test)]
mod tests;

pub use table::METRICS;

/// A metric as it is told to Prometheus.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is about: a section of the page.
    pub part: &'static str,
    /// `mscp_log_<what>_<unit>_total` of a counter, without `_total` of another.
    pub name: &'static str,
    /// What Prometheus may do with it.
    pub kind: Kind,
    /// In what it is counted; empty where it is 0 or 1.
    pub unit: &'static str,
    /// What divides it.
    pub labels: &'static [Label],
    /// What the status calls it, where what it counts is gone for good: the
    /// whole name, or what comes before the label `reason`.
    pub loss: Option<&'static str>,
    /// What it is, in a sentence without a full stop.
    pub help: &'static str,
}

/// What Prometheus may do with a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is measured.
    Gauge,
    /// How many were at most so much.
    Histogram,
}

impl Kind {
    /// As Prometheus writes it behind `# TYPE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label, whose values are few.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All values, where the program knows them; else empty.
    pub values: &'static [&'static str],
    /// What the values are, where the program does not know them.
    pub are: &'static str,
}

/// Tell the recorder what each metric is, and begin with 0 what counts
/// losses: Prometheus sees a counter rise only if it saw it before.
pub(crate) fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
        if metric.loss.is_some() {
            for labels in combinations(metric.labels) {
                let name = metric.name;
                metrics::counter!(name, labels).increment(0);
            }
        }
    }
    metrics_process::Collector::default().describe();
}

/// Every set of values of the labels; none where not all values are known.
fn combinations(labels: &[Label]) -> Vec<Vec<metrics::Label>> {
    let mut sets = vec![Vec::new()];
    for label in labels {
        let mut longer = Vec::new();
        for set in &sets {
            for value in label.values {
                let mut set: Vec<metrics::Label> = set.clone();
                set.push(metrics::Label::from_static_parts(label.name, value));
                longer.push(set);
            }
        }
        sets = longer;
    }
    sets
}

/// When the certificates of listeners expire, in seconds since the epoch, by
/// the configuration's section, out of what `/metrics` answers.
#[must_use]
pub fn certificate_expiries(rendered: &str) -> Vec<(String, i64)> {
    const NAME: &str = "mscp_log_tls_certificate_expiry_timestamp_seconds{listener=\"";
    let lines = rendered.lines().filter_map(|line| line.strip_prefix(NAME));
    let expiries = lines.filter_map(|line| {
        let (listener, value) = line.split_once("\"} ")?;
        Some((listener.to_owned(), value.parse().ok()?))
    });
    expiries.collect()
}

/// Sums of the metrics that count losses, by what and why, out of what
/// `/metrics` answers: `collect.truncated`, `buffer.corrupt`. Those of bytes are
/// left out, since each has one of records beside it; so is what is 0.
#[must_use]
pub fn losses_by_reason(rendered: &str) -> BTreeMap<String, u64> {
    let mut losses = BTreeMap::new();
    for line in rendered.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = METRICS
            .iter()
            .find(|metric| metric.name == name && metric.unit != "bytes");
        let (Some(what), Ok(value @ 1..)) =
            (metric.and_then(|metric| metric.loss), value.parse::<u64>())
        else {
            continue;
        };
        let reason = labels
            .split_once("reason=\"")
            .and_then(|(_, rest)| rest.split('"').next());
        let key = match reason {
            Some(reason) => format!("{what}.{reason}"),
            None => what.to_owned(),
        };
        *losses.entry(key).or_default() += value;
    }
    losses
}

const HEAD: &str = "\
<!-- Made from the code. After a change of a metric: UPDATE_DOCS=1 cargo test -p mscp-log-server page_of_metrics -->
# Metrics

`GET /metrics` answers in Prometheus's text format, with a token that grants it, or on a listener of its own
(`http.metrics_listen`). Every process tells what its roles do; counters begin with it, but for `mscp_log_collect_lo*`, which an agent keeps.
A dashboard made of these is in `reference-deploy/components/dashboard`.

No label has a value that a caller chooses: a `route` is the template of an endpoint as in `openapi.json`, without the base, never a path. `/{region}/log/{*rest}` is
Elasticsearch's API, `door` stands for what was refused before it was routed (a token, a path), `none` for what is nowhere. No token, app id, host or index is in a metric.
**Loss** marks what is gone for good; these begin at 0, so that Prometheus sees the first one. What is refused is not lost: its sender is told, and has it still.
";

const TAIL: &str = "
## The process

As all of Prometheus's clients tell it (crate `metrics-process`): `process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`, `process_virtual_memory_bytes`,
`process_virtual_memory_max_bytes`, `process_resident_memory_bytes`, `process_start_time_seconds`, `process_threads`.
";

/// The page of all metrics in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut part = "";
    for metric in METRICS {
        if metric.part != part {
            part = metric.part;
            let _ = write!(
                page,
                "\n## {part}\n\n| metric | kind | labels | is |\n|---|---|---|---|\n"
            );
        }
        let labels: Vec<String> = metric.labels.iter().map(written).collect();
        let loss = match metric.loss {
            Some(_) => "**Loss.** ",
            None => "",
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {loss}{} |",
            metric.name,
            metric.kind.name(),
            labels.join("; "),
            metric.help
        );
    }
    page.push_str(TAIL);
    page
}

fn written(label: &Label) -> String {
    let values: Vec<String> = label
        .values
        .iter()
        .map(|value| format!("`{value}`"))
        .collect();
    match values.as_slice() {
        [] => format!("`{}`: {}", label.name, label.are),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    }
}
