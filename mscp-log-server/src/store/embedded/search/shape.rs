//! How numbers and dates are written beside their values: as Java writes a
//! `double`, by a pattern of its `DecimalFormat` (`0.00`, `#,##0`, `000`, `0%`),
//! or by a date format.

use mscp_log_core::query::date_math::{Formats, Zone};

use super::compile::wrong_date;
use super::error::EsError;
use super::target::{Kind, Target};

/// A number as Java writes a double.
pub(crate) fn double(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) && value.is_finite() {
        let text = format!("{value:e}").replace('e', "E");
        return match text.split_once('E') {
            Some((digits, _)) if digits.contains('.') => text,
            Some((digits, power)) => format!("{digits}.0E{power}"),
            None => text,
        };
    }
    format!("{value:?}")
}

/// How a value is written beside its number.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Not at all.
    Plain,
    Dates(Formats, Zone),
    Decimal(Decimal),
}

impl Shape {
    /// How values of `field` are written by `format`.
    pub(crate) fn of(
        field: Option<&Target>,
        format: Option<&str>,
        zone: Zone,
    ) -> Result<Self, EsError> {
        match (field.map(|field| &field.kind), format) {
            (Some(Kind::Date), Some(format)) => Formats::parse(format)
                .map(|formats| Self::Dates(formats, zone))
                .map_err(|error| wrong_date(&error)),
            (Some(Kind::Date), None) => Ok(Self::Dates(Formats::default(), zone)),
            (_, None) => Ok(Self::Plain),
            (None | Some(Kind::Long), Some(pattern)) => {
                Decimal::parse(pattern).map(Self::Decimal).ok_or_else(|| {
                    EsError::illegal_argument(format!("Invalid format [{pattern}] for a number"))
                })
            }
            (Some(_), Some(_)) => Err(EsError::illegal_argument(format!(
                "Field [{}] of type [keyword] does not support custom formats",
                field.map_or("", |field| field.column)
            ))),
        }
    }

    /// `None` where nothing is written.
    pub(crate) fn text(&self, number: i64) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Dates(formats, zone) => Some(formats.write(number, zone)),
            Self::Decimal(decimal) => Some(decimal.write(number as f64)),
        }
    }

    /// As [`Self::text`], of a number that was computed.
    pub(crate) fn computed(&self, value: f64) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Dates(formats, zone) => Some(formats.write(value as i64, zone)),
            Self::Decimal(decimal) => Some(decimal.write(value)),
        }
    }
}

/// A pattern of `DecimalFormat`, of those without exponents and quotes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decimal {
    prefix: String,
    suffix: String,
    least_whole: usize,
    least_fraction: usize,
    most_fraction: usize,
    /// Digits between two commas; 0 is none.
    group: usize,
    factor: f64,
}

/// The most digits that a pattern may ask for.
const MAX_DIGITS: usize = 300;

impl Decimal {
    /// Read a pattern; what this does not know is `None`.
    fn parse(pattern: &str) -> Option<Self> {
        let is_digit = |c: char| matches!(c, '#' | '0' | ',' | '.');
        if pattern.len() > MAX_DIGITS || pattern.contains(['\'', ';', 'E', '\u{2030}', '\u{a4}']) {
            return None;
        }
        let start = pattern.find(is_digit)?;
        let (prefix, rest) = pattern.split_at(start);
        let end = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        if suffix.contains(is_digit) {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let zeros = whole.trim_start_matches(['#', ',']);
        let wanted = fraction.trim_start_matches('0');
        if zeros.contains('#') || fraction.contains([',', '.']) || wanted.contains('0') {
            return None;
        }
        let group = whole.rfind(',').map_or(0, |place| whole.len() - place - 1);
        let mut least_whole = zeros.chars().filter(|c| *c == '0').count();
        if least_whole == 0 && fraction.is_empty() {
            // `#` alone writes 0 as `0`.
            least_whole = 1;
        }
        let percent = prefix.contains('%') || suffix.contains('%');
        Some(Self {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            least_whole,
            least_fraction: fraction.len() - wanted.len(),
            most_fraction: fraction.len(),
            group,
            factor: if percent { 100.0 } else { 1.0 },
        })
    }

    fn write(&self, value: f64) -> String {
        let value = value * self.factor;
        let text = format!("{:.*}", self.most_fraction, value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let mut whole = whole.trim_start_matches('0').to_owned();
        while whole.len() < self.least_whole {
            whole.insert(0, '0');
        }
        let mut fraction = fraction.to_owned();
        while fraction.len() > self.least_fraction && fraction.ends_with('0') {
            fraction.pop();
        }
        if self.group > 0 {
            let mut place = whole.len();
            while place > self.group {
                place -= self.group;
                whole.insert(place, ',');
            }
        }
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!(
            "{sign}{}{whole}{point}{fraction}{}",
            self.prefix, self.suffix
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[track_caller]
    fn check(pattern: &str, value: f64, expected: &str) {
        assert_eq!(Decimal::parse(pattern).unwrap().write(value), expected);
    }

    #[test]
    fn patterns_write_numbers_as_java_does() {
        check("0.00", 1.0, "1.00");
        check("0.00", -1.005, "-1.00");
        check("000", 2.0, "002");
        check("#,##0.0#", 1_234_567.25, "1,234,567.25");
        check("#,##0.0#", 12.0, "12.0");
        check("#", 0.0, "0");
        check("#.##", 0.5, ".5");
        check("0", 2.5, "2");
        check("0", 3.5, "4");
        check("0.0%", 0.125, "12.5%");
        check("$0.0 each", 3.0, "$3.0 each");
        for pattern in ["", "abc", "0E0", "'x'0", "0#", "0.#0", "0;(0)"] {
            assert_eq!(Decimal::parse(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_double_is_written_as_java_does() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (100.0, "100.0"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.5e10, "1.5E10"),
            (0.0001, "1.0E-4"),
        ] {
            assert_eq!(double(value), expected);
        }
    }
}
