//! `_cat/indices`: a table of the indices, as text or as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::EmbeddedStore;
use super::index::{blocking, uuid_of};
use super::{Call, Content, Fault, Reply};

/// The columns: name, alias, whether numbers are set to the right.
const COLUMNS: [(&str, &str, bool); 10] = [
    ("health", "h", false),
    ("status", "s", false),
    ("index", "i", false),
    ("uuid", "id", false),
    ("pri", "p", true),
    ("rep", "r", true),
    ("docs.count", "dc", true),
    ("docs.deleted", "dd", true),
    ("store.size", "ss", true),
    ("pri.store.size", "pri.store.size", true),
];

type Row = BTreeMap<&'static str, Option<String>>;

impl EmbeddedStore {
    pub(super) async fn cat_indices(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "v",
            "h",
            "s",
            "bytes",
            "time",
            "pri",
            "include_unloaded_segments",
            "ignore_unavailable",
            "allow_no_indices",
        ])?;
        let selection = self.selection(call, index).await?;
        let mut rows = blocking(move || {
            let mut counts: BTreeMap<Box<str>, u64> =
                selection.names.into_iter().map(|name| (name, 0)).collect();
            for snapshot in &selection.snapshots {
                for (name, count) in snapshot.indices()? {
                    if let Some(known) = counts.get_mut(name) {
                        *known += count;
                    }
                }
            }
            Ok(counts.into_iter().map(row).collect::<Vec<Row>>())
        })
        .await?;
        sort(&mut rows, call.parameter("s").unwrap_or_default());
        let columns = columns(call.parameter("h"));
        if call
            .parameter("format")
            .is_some_and(|format| format == "json")
            || wants_json(call)
        {
            let rows = rows.into_iter().map(|row| as_json(&row, &columns));
            return Ok(Reply::ok(rows.collect()));
        }
        let header = call.flag("v")?.unwrap_or(false);
        Ok(Reply {
            status: http::StatusCode::OK,
            content: Content::Text(as_text(&rows, &columns, header)),
        })
    }
}

fn wants_json(call: &Call) -> bool {
    let accept = call.headers.get(http::header::ACCEPT);
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"))
}

/// What cannot be measured is `null`: partitions hold many indices, and no
/// file belongs to one of them.
fn row((name, count): (Box<str>, u64)) -> Row {
    let known = |text: &str| Some(text.to_owned());
    Row::from([
        ("health", known("green")),
        ("status", known("open")),
        ("uuid", Some(uuid_of(&name))),
        ("index", Some(name.into())),
        ("pri", known("1")),
        ("rep", known("0")),
        ("docs.count", Some(count.to_string())),
        ("docs.deleted", None),
        ("store.size", None),
        ("pri.store.size", None),
    ])
}

/// The columns that `h` names; unknown ones are left out, as in Elasticsearch.
fn columns(wanted: Option<&str>) -> Vec<(&'static str, bool)> {
    let all = COLUMNS.iter().map(|(name, _, right)| (*name, *right));
    match wanted {
        None | Some("") => all.collect(),
        Some(wanted) => wanted
            .split(',')
            .filter_map(|wanted| column(wanted.trim()))
            .collect(),
    }
}

fn column(wanted: &str) -> Option<(&'static str, bool)> {
    COLUMNS
        .iter()
        .find(|(name, alias, _)| wanted == *name || wanted == *alias)
        .map(|(name, _, right)| (*name, *right))
}

/// Order by the columns of `s`: `docs.count:desc,index`.
fn sort(rows: &mut [Row], keys: &str) {
    let keys: Vec<(&str, bool, bool)> = keys
        .split(',')
        .filter_map(|key| {
            let (name, order) = key.trim().split_once(':').unwrap_or((key.trim(), "asc"));
            let (name, number) = column(name)?;
            Some((name, number, order == "desc"))
        })
        .collect();
    rows.sort_by(|a, b| {
        keys.iter()
            .map(|(name, number, descending)| {
                let (a, b) = (value(a, name), value(b, name));
                let order = if *number {
                    a.parse::<u64>().ok().cmp(&b.parse::<u64>().ok())
                } else {
                    a.cmp(b)
                };
                if *descending { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
}

fn value<'r>(row: &'r Row, name: &str) -> &'r str {
    row.get(name).and_then(Option::as_deref).unwrap_or_default()
}

fn as_json(row: &Row, columns: &[(&'static str, bool)]) -> Value {
    let members: Map<String, Value> = columns
        .iter()
        .map(|(name, _)| {
            let value = row.get(name).cloned().flatten();
            ((*name).to_owned(), value.map_or(Value::Null, Value::String))
        })
        .collect();
    Value::Object(members)
}

fn as_text(rows: &[Row], columns: &[(&'static str, bool)], header: bool) -> String {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    if header {
        lines.push(columns.iter().map(|(name, _)| *name).collect());
    }
    for row in rows {
        lines.push(columns.iter().map(|(name, _)| value(row, name)).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|place| {
            lines
                .iter()
                .map(|line| line[place].len())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(columns).zip(&widths);
        let cells: Vec<String> = cells
            .map(|((cell, (_, right)), width)| {
                if *right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        text.push_str(cells.join(" ").trim_end());
        text.push('\n');
    }
    text
}
