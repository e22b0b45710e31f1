//! The values of a search as the types of the fields that they are compared
//! with.

use mscp_log_core::query::ast::Scalar;
use mscp_log_core::query::date_math::{DateError, Formats, Zone, resolve};

use super::super::error::EsError;

/// A scalar as the text that a keyword is compared with.
pub(crate) fn scalar_text(value: &Scalar) -> String {
    match value {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.0.clone(),
        Scalar::String(text) => text.clone(),
    }
}

/// A number as a field of whole numbers sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Whole {
    /// One that the field can hold.
    Exact(i64),
    /// One between two whole numbers: the one below it.
    Between(i64),
    /// One that the field cannot hold.
    Outside,
}

/// The number that `value` says.
pub(super) fn whole(value: &Scalar) -> Result<Whole, EsError> {
    let text = scalar_text(value);
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse::<i64>() {
        return Ok(Whole::Exact(number));
    }
    if trimmed.parse::<i128>().is_ok() {
        return Ok(Whole::Outside);
    }
    let plain = trimmed
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = match trimmed.parse() {
        Ok(number) if plain => number,
        _ => return Err(EsError::number_format(&text)),
    };
    let floor = number.floor();
    // Both ends of i64 are exact as f64, the upper one just beyond it.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&floor) {
        Ok(Whole::Outside)
    } else if floor == number {
        Ok(Whole::Exact(floor as i64))
    } else {
        Ok(Whole::Between(floor as i64))
    }
}

/// As [`whole`], where a number that the field cannot hold is an error.
pub(super) fn inside(value: &Scalar) -> Result<Whole, EsError> {
    match whole(value)? {
        Whole::Outside => Err(EsError::create_query(format!(
            "Value [{}] is out of range for a long",
            scalar_text(value)
        ))),
        number => Ok(number),
    }
}

/// How the dates of one clause are read.
pub(super) struct Dates {
    pub(super) formats: Formats,
    pub(super) zone: Zone,
    pub(super) now_ms: i64,
}

impl Dates {
    pub(super) fn new(
        format: Option<&str>,
        time_zone: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, EsError> {
        Ok(Self {
            formats: match format {
                Some(format) => Formats::parse(format).map_err(|e| wrong_date(&e))?,
                None => Formats::default(),
            },
            zone: match time_zone {
                Some(zone) => Zone::parse(zone).map_err(|e| wrong_date(&e))?,
                None => Zone::default(),
            },
            now_ms,
        })
    }

    /// The instant that `value` says; with `round_up` the last one that it can mean.
    pub(super) fn instant(&self, value: &Scalar, round_up: bool) -> Result<i64, EsError> {
        resolve(
            &scalar_text(value),
            self.now_ms,
            &self.formats,
            &self.zone,
            round_up,
        )
        .map_err(|error| wrong_date(&error))
    }
}

/// The instant that `value` says, in the mapping's format.
pub(crate) fn date_value(value: &Scalar, now_ms: i64, round_up: bool) -> Result<i64, EsError> {
    Dates::new(None, None, now_ms)?.instant(value, round_up)
}

/// An error about a date, in Elasticsearch's form.
pub(crate) fn wrong_date(error: &DateError) -> EsError {
    match error {
        DateError::Date { .. } | DateError::Math(_) => {
            EsError::date_format(format!("{error}: [{error}]"))
        }
        DateError::Format(_) | DateError::Zone(_) | DateError::Duration(_) => {
            EsError::illegal_argument(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use mscp_log_core::query::ast::Number;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Whole>) {
        for value in [
            Scalar::Number(Number(text.to_owned())),
            Scalar::String(text.to_owned()),
        ] {
            assert_eq!(whole(&value).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_number_is_exact_between_two_or_beyond_the_field() {
        check("12", Some(Whole::Exact(12)));
        check("12.0", Some(Whole::Exact(12)));
        check("1e3", Some(Whole::Exact(1000)));
        check("-1.5", Some(Whole::Between(-2)));
        check("9223372036854775807", Some(Whole::Exact(i64::MAX)));
        check("9223372036854775808", Some(Whole::Outside));
        check("-1e30", Some(Whole::Outside));
        check("abc", None);
        check("inf", None);
        check("", None);
    }
}
