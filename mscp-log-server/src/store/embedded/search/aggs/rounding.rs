//! Dates to the begin of their bucket.

use mscp_log_core::query::ast::DateHistogram;
use mscp_log_core::query::date_math::{Unit, Zone, add, duration_ms, floor};

use super::super::error::EsError;

/// How a `date_histogram` cuts time.
#[derive(Clone, Debug)]
pub(super) struct Rounding {
    width: Width,
    zone: Zone,
    offset: i64,
}

#[derive(Clone, Copy, Debug)]
enum Width {
    Fixed(i64),
    Calendar(Unit),
}

impl Rounding {
    pub(super) fn new(histogram: &DateHistogram, zone: Zone) -> Result<Self, EsError> {
        let width = if let Some(text) = &histogram.calendar_interval {
            Width::Calendar(Unit::of_calendar_interval(text).ok_or_else(|| {
                EsError::refused_request(format!(
                    "The supplied interval [{text}] could not be parsed as a calendar interval."
                ))
            })?)
        } else if let Some(text) = &histogram.fixed_interval {
            Width::Fixed(fixed(text)?)
        } else if let Some(text) = &histogram.interval {
            match Unit::of_calendar_interval(text) {
                Some(unit) => Width::Calendar(unit),
                None => Width::Fixed(fixed(text)?),
            }
        } else {
            return Err(EsError::refused_request(
                "Invalid interval specified, must be non-null and non-empty",
            ));
        };
        let offset = match &histogram.offset {
            Some(text) => {
                duration_ms(text).map_err(|error| EsError::refused_request(error.to_string()))?
            }
            None => 0,
        };
        Ok(Self {
            width,
            zone,
            offset,
        })
    }

    /// The begin of the bucket of `ms`.
    pub(super) fn floor(&self, ms: i64) -> i64 {
        let shifted = ms.saturating_sub(self.offset);
        let begin = match self.width {
            Width::Fixed(width) => {
                let ahead = self.zone.offset_ms(shifted);
                let local = shifted
                    .saturating_add(ahead)
                    .div_euclid(width)
                    .saturating_mul(width);
                let begin = local.saturating_sub(ahead);
                let ahead_then = self.zone.offset_ms(begin);
                if ahead_then == ahead {
                    begin
                } else {
                    local.saturating_sub(ahead_then).min(shifted)
                }
            }
            Width::Calendar(unit) => floor(shifted, unit, &self.zone).unwrap_or(shifted),
        };
        begin.saturating_add(self.offset)
    }

    /// The bucket that a bound asks for: its unit, and the offset behind that.
    pub(super) fn bound(&self, ms: i64) -> i64 {
        self.floor(ms.saturating_add(self.offset))
    }

    /// The begin of the bucket behind the one that begins at `begin`.
    pub(super) fn next(&self, begin: i64) -> i64 {
        let shifted = begin.saturating_sub(self.offset);
        let next = match self.width {
            Width::Fixed(width) => {
                let ahead = self.zone.offset_ms(shifted);
                let local = shifted.saturating_add(ahead).saturating_add(width);
                let ahead_then = self.zone.offset_ms(local.saturating_sub(ahead));
                let next = local.saturating_sub(ahead_then);
                if next > shifted {
                    next
                } else {
                    shifted.saturating_add(width)
                }
            }
            Width::Calendar(unit) => {
                add(shifted, 1, unit, &self.zone).unwrap_or(shifted.saturating_add(86_400_000))
            }
        };
        next.saturating_add(self.offset)
    }

    /// Of how many milliseconds every bucket is, where that is one number and
    /// buckets begin at multiples of it.
    pub(super) fn plain_width(&self) -> Option<i64> {
        match self.width {
            Width::Fixed(width) if self.zone == Zone::default() && self.offset == 0 => Some(width),
            _ => None,
        }
    }
}

fn fixed(text: &str) -> Result<i64, EsError> {
    match duration_ms(text) {
        Ok(width) if width > 0 => Ok(width),
        _ => Err(EsError::refused_request(format!(
            "failed to parse setting [date_histogram.fixedInterval] with value [{text}] as a time value: unit is missing or unrecognized"
        ))),
    }
}

/// The last bucket that was asked for: neighbours in time lie together.
pub(super) struct Remembered<'a> {
    rounding: &'a Rounding,
    plain: Option<i64>,
    begin: i64,
    end: i64,
}

impl<'a> Remembered<'a> {
    pub(super) fn new(rounding: &'a Rounding) -> Self {
        Self {
            rounding,
            plain: rounding.plain_width(),
            begin: 0,
            end: 0,
        }
    }

    /// As [`Rounding::floor`].
    pub(super) fn floor(&mut self, ms: i64) -> i64 {
        if ms >= self.begin && ms < self.end {
            return self.begin;
        }
        let begin = match self.plain {
            Some(width) => ms.div_euclid(width).saturating_mul(width),
            None => self.rounding.floor(ms),
        };
        self.begin = begin;
        self.end = match self.plain {
            Some(width) => begin.saturating_add(width),
            None => self.rounding.next(begin).max(ms.saturating_add(1)),
        };
        begin
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn rounding(calendar: Option<&str>, fixed: Option<&str>, zone: &str, offset: &str) -> Rounding {
        let histogram = DateHistogram {
            calendar_interval: calendar.map(str::to_owned),
            fixed_interval: fixed.map(str::to_owned),
            offset: Some(offset.to_owned()),
            ..DateHistogram::default()
        };
        Rounding::new(&histogram, Zone::parse(zone).unwrap()).unwrap()
    }

    #[test]
    fn every_instant_lies_in_the_bucket_that_it_rounds_to() {
        let hour = 3_600_000;
        // Both clock changes of Berlin in 2026.
        for start in [1_774_737_000_000_i64, 1_792_880_000_000] {
            for (calendar, fixed) in [
                (Some("day"), None),
                (Some("hour"), None),
                (Some("week"), None),
                (Some("month"), None),
                (None, Some("90m")),
                (None, Some("6h")),
                (None, Some("1d")),
            ] {
                for offset in ["0s", "+6h", "-1h"] {
                    let rounding = rounding(calendar, fixed, "Europe/Berlin", offset);
                    let mut remembered = Remembered::new(&rounding);
                    for step in 0..200 {
                        let ms = start + step * hour / 2;
                        let begin = rounding.floor(ms);
                        assert!(begin <= ms, "{calendar:?} {fixed:?} {offset} {ms}");
                        assert!(rounding.next(begin) > begin);
                        assert_eq!(rounding.floor(begin), begin);
                        assert_eq!(remembered.floor(ms), begin);
                    }
                }
            }
        }
    }

    #[test]
    fn a_day_of_a_zone_begins_at_its_midnight() {
        let day = rounding(Some("day"), None, "Asia/Shanghai", "0s");
        // 2026-11-23T03:18:00Z is 11:18 in Shanghai, whose day began at 16:00Z.
        assert_eq!(day.floor(1_795_403_880_000), 1_795_363_200_000);
        assert_eq!(day.next(1_795_363_200_000), 1_795_449_600_000);
    }
}
