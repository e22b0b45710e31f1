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
            Self::Decimal(decimal) => Some(decimal.write_whole(number)),
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

/// A pattern of `DecimalFormat`, of those without exponents and a form of its
/// own for numbers below 0.
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

/// A sign of a pattern; between quotes it stands for itself.
struct Sign {
    character: char,
    quoted: bool,
}

/// The signs of a pattern without its quotes, of which two are one that stands
/// for itself; `None` where one is left open.
fn unquoted(pattern: &str) -> Option<Vec<Sign>> {
    let mut signs = Vec::new();
    let mut quoted = false;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let is_one = character == '\'' && characters.next_if_eq(&'\'').is_some();
        if character == '\'' && !is_one {
            quoted = !quoted;
        } else {
            signs.push(Sign {
                character,
                quoted: quoted || is_one,
            });
        }
    }
    (!quoted).then_some(signs)
}

/// The most digits that a pattern may ask for.
const MAX_DIGITS: usize = 300;

/// Numbers from here on have no digits behind the point that could be told.
const LONGEST: f64 = 9_007_199_254_740_992.0;

impl Decimal {
    /// Read a pattern; what this does not know is `None`.
    fn parse(pattern: &str) -> Option<Self> {
        if pattern.is_empty() || pattern.len() > MAX_DIGITS {
            return None;
        }
        let signs = unquoted(pattern)?;
        let is_digit = |sign: &Sign| !sign.quoted && "#0,.".contains(sign.character);
        let is_other = |sign: &Sign| !sign.quoted && ";E\u{2030}\u{a4}".contains(sign.character);
        if signs.iter().any(is_other) {
            return None;
        }
        // What has no digits is written before a whole number, as in Java.
        let start = signs.iter().position(is_digit).unwrap_or(signs.len());
        let (prefix, rest) = signs.split_at(start);
        let end = rest.iter().position(|sign| !is_digit(sign));
        let (digits, suffix) = rest.split_at(end.unwrap_or(rest.len()));
        if suffix.iter().any(is_digit) {
            return None;
        }
        let text = |signs: &[Sign]| -> String { signs.iter().map(|sign| sign.character).collect() };
        let is_percent = |sign: &Sign| !sign.quoted && sign.character == '%';
        let percent = prefix.iter().chain(suffix).any(is_percent);
        let (prefix, digits, suffix) = (text(prefix), text(digits), text(suffix));
        let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
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
        Some(Self {
            prefix,
            suffix,
            least_whole,
            least_fraction: fraction.len() - wanted.len(),
            most_fraction: fraction.len(),
            group,
            factor: if percent { 100.0 } else { 1.0 },
        })
    }

    fn write(&self, value: f64) -> String {
        if value.is_nan() {
            return "NaN".to_owned();
        }
        let value = value * self.factor;
        let text = if value.abs() < LONGEST {
            format!("{:.*}", self.most_fraction, value.abs())
        } else {
            // The digits that tell it from others, and zeros behind them.
            value.abs().to_string()
        };
        self.around(&text, value.is_sign_negative())
    }

    fn write_whole(&self, value: i64) -> String {
        if self.factor == 1.0 {
            return self.around(&value.unsigned_abs().to_string(), value < 0);
        }
        self.write(value as f64)
    }

    /// `text` of digits in the form of the pattern.
    fn around(&self, text: &str, negative: bool) -> String {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut whole = whole.trim_start_matches('0').to_owned();
        while whole.len() < self.least_whole {
            whole.insert(0, '0');
        }
        let mut fraction = fraction.to_owned();
        while fraction.len() < self.least_fraction {
            fraction.push('0');
        }
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
        let sign = if negative { "-" } else { "" };
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
        check("y", -1_000.0, "-y1000");
        check("0.0", 9.2e18, "9200000000000000000.0");
        let whole = |pattern: &str| Decimal::parse(pattern).unwrap().write_whole(i64::MAX);
        assert_eq!(whole("#,##0.00"), "9,223,372,036,854,775,807.00");
        check("yyyy-MM-dd'T'HH", 5.0, "yyyy-MM-ddTHH5");
        check("'#'0.0", 5.0, "#5.0");
        check("''0", 5.0, "'5");
        check("HH''mm", 5.0, "HH'mm5");
        check("0 x'#' y", 5.0, "5 x# y");
        for pattern in ["", "0E0", "'x", "0#", "0.#0", "0;(0)"] {
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
