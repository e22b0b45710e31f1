//! Times as they are written: RFC 3339 in UTC, and the day of an index name.

/// Microseconds of one day.
pub const DAY_US: i64 = 86_400_000_000;

/// The first microsecond of year 0 and the last of year 9999: what four
/// digits of a year can say. Times outside are written as the nearest bound.
const FIRST_US: i64 = -62_167_219_200_000_000;
const LAST_US: i64 = 253_402_300_799_999_999;

/// One day in UTC, as the suffix of an index name writes it.
///
/// ```
/// use mscp_log_core::record::time::Day;
/// let day = Day::of_us(1_516_792_419_231_221);
/// assert_eq!(day.to_string(), "2018.01.24");
/// assert_eq!(Day::parse("2018.01.24"), Some(day));
/// assert_eq!(Day::parse("2018.02.30"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl Day {
    /// The day on which `time_us` (microseconds since the epoch) lies; times
    /// outside the years 0 to 9999 count as the nearest bound.
    #[must_use]
    pub fn of_us(time_us: i64) -> Self {
        Self::of_days(time_us.clamp(FIRST_US, LAST_US).div_euclid(DAY_US))
    }

    /// Howard Hinnant's `civil_from_days`, for days in the years 0 to 9999.
    fn of_days(days: i64) -> Self {
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: u16::try_from(year).unwrap_or(0),
            month: month as u8,
            day: day as u8,
        }
    }

    /// Days since 1970-01-01 (`days_from_civil`).
    #[must_use]
    pub fn days_since_epoch(self) -> i64 {
        let month = i64::from(self.month);
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted_month = (month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The first microsecond of the day.
    #[must_use]
    pub fn start_us(self) -> i64 {
        self.days_since_epoch() * DAY_US
    }

    /// The first microsecond of the day after.
    #[must_use]
    pub fn end_us(self) -> i64 {
        self.start_us() + DAY_US
    }

    /// The day before, or the day itself where it is the first of year 0.
    #[must_use]
    pub fn before(self) -> Self {
        Self::of_us(self.start_us() - 1)
    }

    /// Read `YYYY.MM.dd`; `None` where it is anything else or no day of the calendar.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
        if bytes[4] != b'.' || bytes[7] != b'.' {
            return None;
        }
        let year = digits(&bytes[..4])?;
        let month = digits(&bytes[5..7])?;
        let day = digits(&bytes[8..])?;
        Self::new(year as u16, month as u8, day as u8)
    }

    /// `None` where the calendar has no such day.
    fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            _ => return None,
        };
        ((1..=length).contains(&day) && year <= 9_999).then_some(Self { year, month, day })
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}.{:02}.{:02}", self.year, self.month, self.day)
    }
}

/// Append `time_us` as `2026-11-23T03:18:00.123Z`: milliseconds, rounded down.
///
/// ```
/// let mut out = Vec::new();
/// mscp_log_core::record::time::write_rfc3339(1_516_792_419_231_999, &mut out);
/// assert_eq!(out, b"2018-01-24T11:13:39.231Z");
/// ```
pub fn write_rfc3339(time_us: i64, out: &mut Vec<u8>) {
    let time_us = time_us.clamp(FIRST_US, LAST_US);
    let day = Day::of_days(time_us.div_euclid(DAY_US));
    let millis = time_us.rem_euclid(DAY_US) / 1_000;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put(&mut text[0..4], u32::from(day.year));
    put(&mut text[5..7], u32::from(day.month));
    put(&mut text[8..10], u32::from(day.day));
    put(&mut text[11..13], (millis / 3_600_000) as u32);
    put(&mut text[14..16], (millis / 60_000 % 60) as u32);
    put(&mut text[17..19], (millis / 1_000 % 60) as u32);
    put(&mut text[20..23], (millis % 1_000) as u32);
    out.extend_from_slice(&text);
}

fn put(place: &mut [u8], mut value: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Read an RFC 3339 time (`T` or a space; any number of decimals; `Z` or an
/// offset) as microseconds since the epoch, rounded down. A leap second
/// counts as the second after it. `None` where it is anything else.
///
/// ```
/// use mscp_log_core::record::time::parse_rfc3339;
/// assert_eq!(parse_rfc3339("1970-01-01T01:00:00.000001999+01:00"), Some(1));
/// assert_eq!(parse_rfc3339("1970-01-01"), None);
/// ```
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 40 {
        return None;
    }
    let separators_hold = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !separators_hold {
        return None;
    }
    let day = Day::new(
        digits(&bytes[0..4])? as u16,
        digits(&bytes[5..7])? as u8,
        digits(&bytes[8..10])? as u8,
    )?;
    let hour = digits(&bytes[11..13])?;
    let minute = digits(&bytes[14..16])?;
    let second = digits(&bytes[17..19])?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut micros = 0;
    if let [b'.', decimals @ ..] = rest {
        let count = decimals.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        let mut scale = 100_000;
        for digit in decimals[..count].iter().take(6) {
            micros += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
        rest = &decimals[count..];
    }
    let offset_minutes = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = digits(&[*h1, *h2])?;
            let minutes = digits(&[*m1, *m2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = i64::from(hours * 60 + minutes);
            if *sign == b'+' { ahead } else { -ahead }
        }
        _ => return None,
    };
    let seconds = i64::from(hour * 3_600 + minute * 60 + second) - offset_minutes * 60;
    Some(day.start_us() + seconds * 1_000_000 + micros)
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use chrono::{DateTime, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    fn written(time_us: i64) -> String {
        let mut out = Vec::new();
        write_rfc3339(time_us, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_time_is_written_as_chrono_writes_it(time_us in FIRST_US..=LAST_US) {
            let floor = time_us.div_euclid(1_000) * 1_000;
            let expected = DateTime::from_timestamp_micros(floor).unwrap();
            prop_assert_eq!(
                written(time_us),
                expected.to_rfc3339_opts(SecondsFormat::Millis, true)
            );
            prop_assert_eq!(
                Day::of_us(time_us).to_string(),
                expected.format("%Y.%m.%d").to_string()
            );
        }

        #[test]
        fn a_day_read_back_is_the_day(time_us in FIRST_US..=LAST_US) {
            let day = Day::of_us(time_us);
            prop_assert_eq!(Day::parse(&day.to_string()), Some(day));
            prop_assert!(day.start_us() <= time_us && time_us < day.end_us());
        }

        #[test]
        fn a_time_is_read_as_chrono_reads_it(
            time_us in FIRST_US + DAY_US..=LAST_US - DAY_US,
            offset in -1_439_i32..=1_439,
            decimals in 0_usize..=9,
        ) {
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let time = DateTime::from_timestamp_micros(time_us).unwrap().with_timezone(&zone);
            let fraction = format!("{:09}", time.timestamp_subsec_nanos());
            let fraction = if decimals == 0 { String::new() } else { format!(".{}", &fraction[..decimals]) };
            let text = format!("{}{fraction}{}", time.format("%Y-%m-%dT%H:%M:%S"), time.format("%:z"));
            let expected = DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros();
            prop_assert_eq!(parse_rfc3339(&text), Some(expected), "{}", text);
        }

        #[test]
        fn what_is_read_chrono_reads_too(text in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{0,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])") {
            let ours = parse_rfc3339(&text);
            let theirs = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.timestamp_micros());
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }

    #[test]
    fn times_beyond_four_digit_years_are_written_as_the_bound() {
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(written(i64::MIN), "0000-01-01T00:00:00.000Z");
    }
}
