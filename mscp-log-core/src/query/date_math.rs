//! Dates as Elasticsearch reads them: formats, `now-1h/d`, time zones, and
//! calendar units for rounding.
//!
//! Instants are milliseconds since the epoch. Nothing here knows the present:
//! it comes in as `now_ms`.

use chrono::offset::{LocalResult, Offset, TimeZone};
use chrono::{
    DateTime, Datelike, Days, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
};

pub use super::date_format::Formats;

/// A date that cannot be read, or a format, zone or unit that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// The text is no date in any of the formats.
    #[error("failed to parse date field [{text}] with format [{format}]")]
    Date {
        /// What was to be read.
        text: String,
        /// The formats that were tried.
        format: String,
    },
    /// What stands behind `now` or `||` is no arithmetic.
    #[error("operator not supported or out of range for date math [{0}]")]
    Math(String),
    /// Not a format's name, nor a pattern.
    #[error("Invalid format: [{0}]")]
    Format(String),
    /// Not an offset, nor a zone's name.
    #[error("Unknown time-zone ID: {0}")]
    Zone(String),
    /// Not a duration such as `30s`.
    #[error(
        "failed to parse setting with value [{0}] as a time value: unit is missing or unrecognized"
    )]
    Duration(String),
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// From the first of January.
    Year,
    /// From the first of January, April, July, October.
    Quarter,
    /// From the first.
    Month,
    /// From Monday.
    Week,
    /// From midnight of the zone.
    Day,
    /// 60 minutes.
    Hour,
    /// 60 seconds.
    Minute,
    /// 1,000 milliseconds.
    Second,
}

impl Unit {
    /// The unit of a `calendar_interval`: `1d`, `day`, ...
    #[must_use]
    pub fn of_calendar_interval(text: &str) -> Option<Self> {
        Some(match text {
            "year" | "1y" => Self::Year,
            "quarter" | "1q" => Self::Quarter,
            "month" | "1M" => Self::Month,
            "week" | "1w" => Self::Week,
            "day" | "1d" => Self::Day,
            "hour" | "1h" => Self::Hour,
            "minute" | "1m" => Self::Minute,
            "second" | "1s" => Self::Second,
            _ => return None,
        })
    }

    fn of_math(letter: char) -> Option<Self> {
        Some(match letter {
            'y' => Self::Year,
            'M' => Self::Month,
            'w' => Self::Week,
            'd' => Self::Day,
            'h' | 'H' => Self::Hour,
            'm' => Self::Minute,
            's' => Self::Second,
            _ => return None,
        })
    }

    /// Milliseconds of a unit that is always as long.
    fn fixed_ms(self) -> Option<i64> {
        match self {
            Self::Hour => Some(3_600_000),
            Self::Minute => Some(60_000),
            Self::Second => Some(1_000),
            Self::Year | Self::Quarter | Self::Month | Self::Week | Self::Day => None,
        }
    }
}

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Always as far from UTC.
    Offset(FixedOffset),
    /// By the rules of a place.
    Named(chrono_tz::Tz),
}

impl Default for Zone {
    fn default() -> Self {
        Self::Named(chrono_tz::Tz::UTC)
    }
}

impl Zone {
    /// `UTC`, `Z`, `+08`, `+0800`, `+08:00`, `UTC+8`, `Asia/Shanghai`.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, DateError> {
        let error = || DateError::Zone(text.to_owned());
        if text == "Z" {
            return Ok(Self::default());
        }
        let offset = ["UTC", "GMT", "UT", ""].iter().find_map(|prefix| {
            text.strip_prefix(prefix)
                .filter(|rest| rest.starts_with(['+', '-']))
        });
        if let Some(offset) = offset {
            return offset_seconds(offset)
                .and_then(FixedOffset::east_opt)
                .map(Self::Offset)
                .ok_or_else(error);
        }
        text.parse().map(Self::Named).map_err(|_| error())
    }

    /// The local time at an instant; `None` beyond the calendar (years ±262,000).
    #[must_use]
    pub fn local(&self, ms: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_millis(ms)?.naive_utc();
        utc.checked_add_offset(self.offset_at(&utc))
    }

    /// The instant at which the clocks of the zone show what those of UTC show
    /// at `ms`.
    pub(super) fn instant_shown(&self, ms: i64) -> Option<i64> {
        if *self == Self::default() {
            return Some(ms);
        }
        self.instant(DateTime::from_timestamp_millis(ms)?.naive_utc())
    }

    /// The instant of a local time. Of two the earlier; one that a clock
    /// change skips counts on with the offset before it, as `java.time` does.
    #[must_use]
    pub fn instant(&self, local: NaiveDateTime) -> Option<i64> {
        let offset = match self {
            Self::Offset(offset) => *offset,
            Self::Named(zone) => match zone.offset_from_local_datetime(&local) {
                LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix(),
                LocalResult::None => (1..=26).find_map(|hours| {
                    let earlier = local.checked_sub_signed(TimeDelta::hours(hours))?;
                    zone.offset_from_local_datetime(&earlier)
                        .latest()
                        .map(|offset| offset.fix())
                })?,
            },
        };
        Some(
            local
                .checked_sub_offset(offset)?
                .and_utc()
                .timestamp_millis(),
        )
    }

    /// How far local time is ahead of UTC at an instant, in milliseconds.
    #[must_use]
    pub fn offset_ms(&self, ms: i64) -> i64 {
        DateTime::from_timestamp_millis(ms).map_or(0, |utc| {
            i64::from(self.offset_at(&utc.naive_utc()).local_minus_utc()) * 1_000
        })
    }

    fn offset_at(&self, utc: &NaiveDateTime) -> FixedOffset {
        match self {
            Self::Offset(offset) => *offset,
            Self::Named(zone) => zone.offset_from_utc_datetime(utc).fix(),
        }
    }
}

/// `+08`, `+0800`, `+08:00`, `+8` in seconds.
pub(super) fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let number = |text: &str, limit: i32| {
        (text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())
            .flatten()
            .filter(|value| *value <= limit)
    };
    let seconds = number(hours, 18)? * 3_600 + number(minutes, 59)? * 60;
    (seconds <= 18 * 3_600).then_some(sign * seconds)
}

/// The begin of the unit in which the instant lies; `None` beyond the calendar.
#[must_use]
pub fn floor(ms: i64, unit: Unit, zone: &Zone) -> Option<i64> {
    if let Some(width) = unit.fixed_ms() {
        // By the offset of the instant itself, so that the hour which a clock
        // change repeats stays two hours.
        let offset = zone.offset_ms(ms);
        return Some(ms.checked_add(offset)?.div_euclid(width) * width - offset);
    }
    let day = zone.local(ms)?.date();
    let first = match unit {
        Unit::Year => NaiveDate::from_ymd_opt(day.year(), 1, 1)?,
        Unit::Quarter => NaiveDate::from_ymd_opt(day.year(), day.month0() / 3 * 3 + 1, 1)?,
        Unit::Month => day.with_day(1)?,
        Unit::Week => {
            day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday())))?
        }
        _ => day,
    };
    zone.instant(first.and_time(NaiveTime::MIN))
}

/// The instant so many units later (earlier where negative); `None` beyond
/// the calendar.
#[must_use]
pub fn add(ms: i64, count: i64, unit: Unit, zone: &Zone) -> Option<i64> {
    if let Some(width) = unit.fixed_ms() {
        let later = ms.checked_add(count.checked_mul(width)?)?;
        return DateTime::from_timestamp_millis(later).map(|_| later);
    }
    let local = zone.local(ms)?;
    let months = |each: i64| -> Option<NaiveDateTime> {
        let months = count.checked_mul(each)?;
        let size = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        if months < 0 {
            local.checked_sub_months(size)
        } else {
            local.checked_add_months(size)
        }
    };
    let days = |each: i64| -> Option<NaiveDateTime> {
        let days = count.checked_mul(each)?;
        let size = Days::new(days.unsigned_abs());
        if days < 0 {
            local.checked_sub_days(size)
        } else {
            local.checked_add_days(size)
        }
    };
    let later = match unit {
        Unit::Year => months(12)?,
        Unit::Quarter => months(3)?,
        Unit::Month => months(1)?,
        Unit::Week => days(7)?,
        _ => days(1)?,
    };
    zone.instant(later)
}

/// The instant that `text` names: a date in one of `formats`, or date math
/// (`now-1h/d`, `2026-01-01||+1M/d`).
///
/// With `round_up` what is left open is filled with its end: that is how `gt`
/// and `lte` read a date, and `gte` and `lt` do not. A date without an offset
/// is of `zone`, and rounding happens there.
///
/// # Errors
/// What is no date in any of the formats, and arithmetic that is none or
/// leaves the calendar.
///
/// ```
/// use mscp_log_core::query::date_math::{Formats, Zone, resolve};
/// let (formats, zone) = (Formats::default(), Zone::default());
/// assert_eq!(resolve("now-1s", 5_000, &formats, &zone, false), Ok(4_000));
/// assert_eq!(resolve("1970-01-01||+1d/d", 0, &formats, &zone, true), Ok(172_799_999));
/// ```
pub fn resolve(
    text: &str,
    now_ms: i64,
    formats: &Formats,
    zone: &Zone,
    round_up: bool,
) -> Result<i64, DateError> {
    let (start, math) = if let Some(math) = text.strip_prefix("now") {
        (now_ms, math)
    } else if let Some((date, math)) = text.split_once("||") {
        (formats.read(date, zone, false)?, math)
    } else {
        return formats.read(text, zone, round_up);
    };
    apply(start, math, zone, round_up).ok_or_else(|| DateError::Math(text.to_owned()))
}

fn apply(start: i64, math: &str, zone: &Zone, round_up: bool) -> Option<i64> {
    let mut ms = start;
    let mut rest = math;
    while let Some(operator) = rest.chars().next() {
        rest = rest.get(1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let unit = Unit::of_math(behind.chars().next()?)?;
        rest = behind.get(1..)?;
        let count: i64 = if number.is_empty() {
            1
        } else {
            number.parse().ok()?
        };
        ms = match operator {
            '+' => add(ms, count, unit, zone)?,
            '-' => add(ms, -count, unit, zone)?,
            '/' if count == 1 => {
                let begin = floor(ms, unit, zone)?;
                if round_up {
                    add(begin, 1, unit, zone)? - 1
                } else {
                    begin
                }
            }
            _ => return None,
        };
    }
    Some(ms)
}

/// A duration such as `30s`, in milliseconds; whole numbers only. Units are
/// `nanos`, `micros`, `ms`, `s`, `m`, `h`, `d`; a leading `-` or `+` is allowed.
///
/// # Errors
/// Any other text, and durations over 292 million years.
///
/// ```
/// use mscp_log_core::query::date_math::duration_ms;
/// assert_eq!(duration_ms("90m"), Ok(5_400_000));
/// ```
pub fn duration_ms(text: &str) -> Result<i64, DateError> {
    let error = || DateError::Duration(text.to_owned());
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = unsigned.split_at(digits);
    let number: i64 = number.parse().map_err(|_| error())?;
    let width = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        "micros" => return Ok(sign * (number / 1_000)),
        "nanos" => return Ok(sign * (number / 1_000_000)),
        "" if number == 0 => 1,
        _ => return Err(error()),
    };
    number
        .checked_mul(width)
        .map(|ms| sign * ms)
        .ok_or_else(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_millis()
    }

    #[track_caller]
    fn check(text: &str, zone: &str, round_up: bool, expected: &str) {
        let now = at("2018-01-24T06:20:19.231Z");
        let found = resolve(
            text,
            now,
            &Formats::default(),
            &Zone::parse(zone).unwrap(),
            round_up,
        );
        assert_eq!(
            found.map(|ms| Zone::default().local(ms).unwrap()),
            Ok(Zone::default().local(at(expected)).unwrap()),
            "{text}"
        );
    }

    #[test]
    fn date_math_is_read_as_elasticsearch_reads_it() {
        check("now", "UTC", false, "2018-01-24T06:20:19.231Z");
        check("now-1h", "UTC", false, "2018-01-24T05:20:19.231Z");
        check("now-1h/h", "UTC", false, "2018-01-24T05:00:00Z");
        check("now/d", "UTC", true, "2018-01-24T23:59:59.999Z");
        check("now/d", "+08:00", false, "2018-01-23T16:00:00Z");
        check("now/w", "UTC", false, "2018-01-22T00:00:00Z");
        check("now+d-M/y", "UTC", false, "2017-01-01T00:00:00Z");
        check("2018-01-31||+1M", "UTC", false, "2018-02-28T00:00:00Z");
        check("2018-01-01||/M", "UTC", true, "2018-01-31T23:59:59.999Z");
        check(
            "2018-03-25||+1d",
            "Europe/Berlin",
            false,
            "2018-03-25T22:00:00Z",
        );
        check(
            "2018-03-25T02:30",
            "Europe/Berlin",
            false,
            "2018-03-25T01:30:00Z",
        );
        check("2018", "UTC", true, "2018-01-01T23:59:59.999Z");
        check(
            "1516792419231",
            "Asia/Shanghai",
            true,
            // Elasticsearch reads even this as what clocks in that zone show.
            "2018-01-24T03:13:39.231Z",
        );
    }

    #[test]
    fn what_is_no_date_is_an_error() {
        for text in [
            "",
            "now-",
            "now-1",
            "now/2d",
            "now-1x",
            "nowx",
            "2018-13-01",
            "2018-02-30",
            "yesterday",
            "2018-01-01||*1d",
            "now+999999999999999999y",
            "now日",
            "now-日",
        ] {
            assert!(
                resolve(text, 0, &Formats::default(), &Zone::default(), false).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn zones_are_offsets_or_names() {
        for text in [
            "UTC",
            "Z",
            "+08:00",
            "-0330",
            "+08",
            "UTC+8",
            "Asia/Shanghai",
            "Europe/Berlin",
        ] {
            assert!(Zone::parse(text).is_ok(), "{text}");
        }
        for text in ["", "+", "+99:00", "+08:60", "Mars/Olympus", "08:00", "+8日"] {
            assert!(Zone::parse(text).is_err(), "{text}");
        }
    }

    fn unit() -> impl Strategy<Value = Unit> {
        prop::sample::select(vec![
            Unit::Year,
            Unit::Quarter,
            Unit::Month,
            Unit::Week,
            Unit::Day,
            Unit::Hour,
            Unit::Minute,
            Unit::Second,
        ])
    }

    fn zone() -> impl Strategy<Value = Zone> {
        prop::sample::select(vec![
            "UTC",
            "+05:45",
            "-09:30",
            "Asia/Shanghai",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
        ])
        .prop_map(|name| Zone::parse(name).unwrap())
    }

    proptest! {
        #[test]
        fn an_instant_lies_in_its_unit_and_the_floor_of_a_floor_is_itself(
            ms in 0i64..4_102_444_800_000, unit in unit(), zone in zone(),
        ) {
            let begin = floor(ms, unit, &zone).unwrap();
            prop_assert!(begin <= ms);
            prop_assert_eq!(floor(begin, unit, &zone), Some(begin));
            prop_assert!(add(begin, 1, unit, &zone).unwrap() > begin);
            if unit.fixed_ms().is_none() {
                prop_assert!(add(begin, 1, unit, &zone).unwrap() > ms);
            }
        }

        #[test]
        fn local_time_and_back_is_the_same_instant(ms in 0i64..4_102_444_800_000, zone in zone()) {
            let back = zone.instant(zone.local(ms).unwrap()).unwrap();
            // The hour that a clock change repeats is told as the earlier one.
            prop_assert!(back == ms || (ms - back <= 3_600_000 && zone.local(back) == zone.local(ms)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}|(now|2018-01-01\\|\\|)[-+/0-9yMwdhHms]{0,12}", round_up: bool) {
            let _ = resolve(&text, 1_516_792_419_231, &Formats::default(), &Zone::default(), round_up);
            let _ = Zone::parse(&text);
            let _ = duration_ms(&text);
        }
    }
}
