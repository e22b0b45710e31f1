//! The tables of `_cat`: as text or as JSON, with the columns of `h`, the order
//! of `s`, the header of `v`, or what the columns mean (`help`).

use std::cmp::Ordering;

use http::StatusCode;
use mscp_log_core::query::wildcard;
use serde_json::{Map, Value};

use super::media::Wanted;
use super::{Call, Content, Fault, Reply};

/// Parameters that every table knows.
pub(super) const PARAMETERS: [&str; 6] = ["v", "h", "s", "help", "bytes", "time"];

/// A column of a table.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Other names, joined by commas.
    pub(super) aliases: &'static str,
    /// Whether it is set to the right.
    pub(super) right: bool,
    /// What it means.
    pub(super) about: &'static str,
}

impl Column {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.split(',').any(|alias| alias == name)
    }
}

/// What stands in a place of a table. What cannot be measured is nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Nothing,
    Text(String),
    Number(u64),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn written(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => Ordering::Equal,
            (Self::Nothing, _) => Ordering::Less,
            (_, Self::Nothing) => Ordering::Greater,
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (a, b) => a.written().cmp(&b.written()),
        }
    }
}

/// A table: each row has a cell for each column.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A column that is shown: under which name, and its place.
struct Shown {
    heading: String,
    place: usize,
}

impl Table {
    /// The answer to `call`.
    pub(super) fn reply(mut self, call: &Call) -> Result<Reply, Fault> {
        if call.flag("help")?.unwrap_or(false) {
            return Ok(text(self.help()));
        }
        self.sort(call.parameter("s").unwrap_or_default(), call.major)?;
        let shown = self.shown(call.parameter("h"));
        if call.wanted == Wanted::Json {
            let rows = self.rows.iter().map(|row| as_json(row, &shown));
            return Ok(Reply::ok(rows.collect()));
        }
        let header = call.flag("v")?.unwrap_or(false);
        Ok(text(self.as_text(&shown, header)))
    }

    /// The columns that `h` names, by name, alias or pattern, in its order;
    /// unknown ones are left out.
    fn shown(&self, wanted: Option<&str>) -> Vec<Shown> {
        let all = || {
            let columns = self.columns.iter().enumerate();
            columns.map(|(place, column)| Shown {
                heading: column.name.to_owned(),
                place,
            })
        };
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
            return all().collect();
        };
        let mut shown = Vec::new();
        for name in wanted.split(',').map(str::trim) {
            if name.contains('*') {
                shown.extend(all().filter(|column| wildcard::fits(name, &column.heading)));
            } else if let Some(place) = self.place_of(name) {
                let heading = name.to_owned();
                shown.push(Shown { heading, place });
            }
        }
        shown
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.is_called(name))
    }

    /// Order by the columns of `s`: `docs.count:desc,index`.
    fn sort(&mut self, keys: &str, major: u16) -> Result<(), Fault> {
        let mut order = Vec::new();
        for key in keys.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            let (name, descending) = match key.rsplit_once(':') {
                Some((name, "desc")) => (name, true),
                Some((name, "asc")) => (name, false),
                _ => (key, false),
            };
            let place = self.place_of(name).ok_or_else(|| {
                let reason = format!("Unable to sort by unknown sort key `{name}`");
                if major < 8 {
                    let kind = "unsupported_operation_exception";
                    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, kind, reason)
                } else {
                    Fault::argument(reason)
                }
            })?;
            order.push((place, descending));
        }
        self.rows.sort_by(|a, b| {
            let mut orders = order.iter().map(|(place, descending)| {
                let order = a[*place].order(&b[*place]);
                if *descending { order.reverse() } else { order }
            });
            orders
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        Ok(())
    }

    fn as_text(&self, shown: &[Shown], header: bool) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        if header {
            lines.push(shown.iter().map(|column| column.heading.clone()).collect());
        }
        for row in &self.rows {
            let cells = shown.iter().map(|column| row[column.place].written());
            lines.push(cells.map(Option::unwrap_or_default).collect());
        }
        let right: Vec<bool> = shown
            .iter()
            .map(|column| self.columns[column.place].right)
            .collect();
        aligned(&lines, &right, " ")
    }

    fn help(&self) -> String {
        let lines: Vec<Vec<String>> = self
            .columns
            .iter()
            .map(|column| {
                [column.name, column.aliases, column.about]
                    .map(str::to_owned)
                    .to_vec()
            })
            .collect();
        aligned(&lines, &[false; 3], " | ")
    }
}

fn text(text: String) -> Reply {
    Reply {
        status: StatusCode::OK,
        content: Content::Text(text),
    }
}

fn as_json(row: &[Cell], shown: &[Shown]) -> Value {
    let members = shown.iter().map(|column| {
        let value = row[column.place].written();
        (
            column.heading.clone(),
            value.map_or(Value::Null, Value::String),
        )
    });
    Value::Object(members.collect::<Map<_, _>>())
}

/// Lines whose cells stand below each other.
fn aligned(lines: &[Vec<String>], right: &[bool], between: &str) -> String {
    let widths: Vec<usize> = (0..right.len())
        .map(|place| {
            let widths = lines.iter().map(|line| line[place].chars().count());
            widths.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(right).zip(&widths);
        let cells: Vec<String> = cells
            .map(|((cell, right), width)| {
                if *right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        text.push_str(cells.join(between).trim_end());
        text.push('\n');
    }
    text
}
