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
    /// A size, written as `bytes` says.
    Bytes(u64),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The text; sizes in whole `unit`s, or short with the unit that fits.
    fn written(&self, unit: Option<u64>) -> Option<String> {
        match (self, unit) {
            (Self::Nothing, _) => None,
            (Self::Text(text), _) => Some(text.clone()),
            (Self::Number(number), _) => Some(number.to_string()),
            (Self::Bytes(bytes), Some(unit)) => Some((bytes / unit).to_string()),
            (Self::Bytes(bytes), None) => Some(short(*bytes)),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => Ordering::Equal,
            (Self::Nothing, _) => Ordering::Less,
            (_, Self::Nothing) => Ordering::Greater,
            (Self::Number(a) | Self::Bytes(a), Self::Number(b) | Self::Bytes(b)) => a.cmp(b),
            (a, b) => a.written(None).cmp(&b.written(None)),
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
        let unit = call.parameter("bytes").map(unit_of).transpose()?;
        if call.wanted == Wanted::Json {
            let rows = self.rows.iter().map(|row| as_json(row, &shown, unit));
            return Ok(Reply::ok(rows.collect()));
        }
        let header = call.flag("v")?.unwrap_or(false);
        Ok(text(self.as_text(&shown, header, unit)))
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

    fn as_text(&self, shown: &[Shown], header: bool, unit: Option<u64>) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        if header {
            lines.push(shown.iter().map(|column| column.heading.clone()).collect());
        }
        for row in &self.rows {
            let cells = shown.iter().map(|column| row[column.place].written(unit));
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

const UNITS: [&str; 6] = ["b", "kb", "mb", "gb", "tb", "pb"];

/// The bytes of a unit of `bytes`.
fn unit_of(name: &str) -> Result<u64, Fault> {
    let power = UNITS.iter().position(|unit| *unit == name);
    power.map(|power| 1 << (10 * power)).ok_or_else(|| {
        Fault::argument(format!(
            "unknown unit [{name}] of [bytes]: expected {}",
            UNITS.join(", ")
        ))
    })
}

/// `4.2kb`: the unit that fits and one decimal, cut off, unless it is 0.
fn short(bytes: u64) -> String {
    let power = (1..UNITS.len())
        .rev()
        .find(|power| bytes >> (10 * power) > 0)
        .unwrap_or(0);
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{}", UNITS[power]),
        (whole, tenth) => format!("{whole}.{tenth}{}", UNITS[power]),
    }
}

fn text(text: String) -> Reply {
    Reply {
        status: StatusCode::OK,
        content: Content::Text(text),
    }
}

fn as_json(row: &[Cell], shown: &[Shown], unit: Option<u64>) -> Value {
    let members = shown.iter().map(|column| {
        let value = row[column.place].written(unit);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn sizes_are_written_as_elasticsearch_writes_them() {
        for (bytes, text) in [
            (0, "0b"),
            (1023, "1023b"),
            (1024, "1kb"),
            (4374, "4.2kb"),
            (1_048_575, "1023.9kb"),
            (3 << 30, "3gb"),
        ] {
            assert_eq!(short(bytes), text);
        }
        let size = Cell::Bytes(4374);
        assert_eq!(size.written(Some(unit_of("b").unwrap())).unwrap(), "4374");
        assert_eq!(size.written(Some(unit_of("kb").unwrap())).unwrap(), "4");
        assert!(unit_of("eb").is_err());
    }
}
