//! Date formats: the names that Elasticsearch knows and patterns in the
//! letters of `java.time` (`yyyy-MM-dd HH:mm:ss.SSS`).

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};

use super::date_math::{DateError, Zone, offset_seconds};

/// One or several formats, joined by `||`: the first that fits reads, the
/// first writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    text: String,
    list: Vec<Format>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Format {
    /// ISO 8601 with as much as was written; whether each part needs all its digits.
    Iso {
        strict: bool,
    },
    EpochMillis,
    EpochSecond,
    Pattern(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// A letter and how often it was written.
    Field(char, usize),
}

impl Default for Formats {
    /// `strict_date_optional_time||epoch_millis`, the format of date fields.
    fn default() -> Self {
        Self {
            text: "strict_date_optional_time||epoch_millis".to_owned(),
            list: vec![Format::Iso { strict: true }, Format::EpochMillis],
        }
    }
}

impl Formats {
    /// Formats joined by `||`.
    ///
    /// # Errors
    /// A name that is not known, or a letter that no pattern has.
    ///
    /// ```
    /// use mscp_log_core::query::date_math::{Formats, Zone};
    /// let formats = Formats::parse("yyyy-MM-dd HH:mm||epoch_second").unwrap();
    /// assert_eq!(formats.read("1970-01-02 00:00", &Zone::default(), false), Ok(86_400_000));
    /// assert_eq!(formats.write(0, &Zone::default()), "1970-01-01 00:00");
    /// ```
    pub fn parse(text: &str) -> Result<Self, DateError> {
        let list = text
            .split("||")
            .map(Format::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            list,
        })
    }

    /// The instant of a date. With `round_up` the parts that are not written
    /// take their last value instead of their first. A date without an offset
    /// is of `zone`.
    ///
    /// # Errors
    /// A text that fits none of the formats.
    pub fn read(&self, text: &str, zone: &Zone, round_up: bool) -> Result<i64, DateError> {
        self.list
            .iter()
            .find_map(|format| format.read(text, zone, round_up))
            .ok_or_else(|| DateError::Date {
                text: text.to_owned(),
                format: self.text.clone(),
            })
    }

    /// An instant in the first of the formats, as its local time in `zone`.
    #[must_use]
    pub fn write(&self, ms: i64, zone: &Zone) -> String {
        // The calendar at hand ends in the year 262,142, an `i64` in 292,278,994:
        // what lies beyond is written as the same day some cycles before.
        let (cycles, near) = match zone.local(ms) {
            Some(_) => (0, ms),
            None => (ms.div_euclid(CYCLE_MS), ms.rem_euclid(CYCLE_MS)),
        };
        let Some(local) = zone.local(near) else {
            return ms.to_string();
        };
        let year = i64::from(local.year()) + cycles * CYCLE_YEARS;
        let offset = zone.offset_ms(near) / 1_000;
        match &self.list[0] {
            Format::EpochMillis => ms.to_string(),
            Format::EpochSecond if ms % 1_000 == 0 => (ms / 1_000).to_string(),
            Format::EpochSecond => format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000)),
            Format::Iso { .. } => {
                let mut written = String::new();
                write_year(&mut written, 4, year);
                written.push_str(&local.format("-%m-%dT%H:%M:%S%.3f").to_string());
                write_offset(&mut written, offset, true, true);
                written
            }
            Format::Pattern(parts) => {
                let mut written = String::new();
                for part in parts {
                    match part {
                        Part::Literal(character) => written.push(*character),
                        Part::Field(letter, width) => {
                            write_field(&mut written, (*letter, *width), &local, year, offset);
                        }
                    }
                }
                written
            }
        }
    }
}

impl Format {
    fn parse(name: &str) -> Result<Self, DateError> {
        let pattern = match name {
            "strict_date_optional_time"
            | "strict_date_optional_time_nanos"
            | "strictDateOptionalTime"
            | "iso8601" => {
                return Ok(Self::Iso { strict: true });
            }
            "date_optional_time" | "dateOptionalTime" => return Ok(Self::Iso { strict: false }),
            "epoch_millis" => return Ok(Self::EpochMillis),
            "epoch_second" => return Ok(Self::EpochSecond),
            "basic_date" => "yyyyMMdd",
            "basic_date_time" => "yyyyMMdd'T'HHmmss.SSSXX",
            "basic_date_time_no_millis" => "yyyyMMdd'T'HHmmssXX",
            "basic_time" => "HHmmss.SSSXX",
            "strict_date" | "date" | "strict_year_month_day" | "year_month_day" => "yyyy-MM-dd",
            "strict_year_month" | "year_month" => "yyyy-MM",
            "strict_year" | "year" => "yyyy",
            "strict_date_time" | "date_time" => "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            "strict_date_time_no_millis" | "date_time_no_millis" => "yyyy-MM-dd'T'HH:mm:ssXXX",
            "strict_date_hour" | "date_hour" => "yyyy-MM-dd'T'HH",
            "strict_date_hour_minute" | "date_hour_minute" => "yyyy-MM-dd'T'HH:mm",
            "strict_date_hour_minute_second" | "date_hour_minute_second" => "yyyy-MM-dd'T'HH:mm:ss",
            "strict_date_hour_minute_second_millis"
            | "date_hour_minute_second_millis"
            | "strict_date_hour_minute_second_fraction"
            | "date_hour_minute_second_fraction" => "yyyy-MM-dd'T'HH:mm:ss.SSS",
            "strict_hour" | "hour" => "HH",
            "strict_hour_minute" | "hour_minute" => "HH:mm",
            "strict_hour_minute_second" | "hour_minute_second" => "HH:mm:ss",
            "strict_hour_minute_second_millis" | "hour_minute_second_millis" => "HH:mm:ss.SSS",
            _ => name,
        };
        let error = || DateError::Format(name.to_owned());
        let mut parts = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\'' if characters.peek() == Some(&'\'') => {
                    characters.next();
                    parts.push(Part::Literal('\''));
                }
                '\'' => loop {
                    match characters.next().ok_or_else(error)? {
                        '\'' => break,
                        quoted => parts.push(Part::Literal(quoted)),
                    }
                },
                'y' | 'u' | 'M' | 'd' | 'H' | 'm' | 's' | 'S' | 'X' | 'x' | 'Z' | 'E' | 'a'
                | 'h' => {
                    let mut width = 1;
                    while characters.next_if_eq(&character).is_some() {
                        width += 1;
                    }
                    if width > 9 {
                        return Err(error());
                    }
                    parts.push(Part::Field(character, width));
                }
                letter if letter.is_ascii_alphabetic() || "[]{}#".contains(letter) => {
                    return Err(error());
                }
                literal => parts.push(Part::Literal(literal)),
            }
        }
        if parts.is_empty() {
            return Err(error());
        }
        Ok(Self::Pattern(parts))
    }

    fn read(&self, text: &str, zone: &Zone, round_up: bool) -> Option<i64> {
        match self {
            // A zone moves even these: they are read as a time of that zone.
            Self::EpochMillis => zone.instant_shown(read_epoch(text, 1)?),
            // Rounded up, a second that is written whole goes to its end.
            Self::EpochSecond if round_up && !text.contains('.') => {
                zone.instant_shown(read_epoch(text, 1_000)?.checked_add(999)?)
            }
            Self::EpochSecond => zone.instant_shown(read_epoch(text, 1_000)?),
            Self::Iso { strict } => read_iso(text, *strict)?.instant(zone, round_up),
            Self::Pattern(parts) => read_pattern(parts, text)?.instant(zone, round_up),
        }
    }
}

/// What was written of a date.
#[derive(Default)]
struct Written {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    hour: Option<u32>,
    half: Option<u32>,
    minute: Option<u32>,
    second: Option<u32>,
    nanos: Option<u32>,
    offset: Option<i32>,
}

impl Written {
    fn instant(&self, zone: &Zone, round_up: bool) -> Option<i64> {
        let or = |written: Option<u32>, first: u32, last: u32| {
            written.unwrap_or(if round_up { last } else { first })
        };
        // Elasticsearch rounds up parts of the day only: the end of `2018` is
        // the end of its first day. (That of `2018||/y` is the year's.)
        let date = NaiveDate::from_ymd_opt(
            self.year.unwrap_or(1970),
            self.month.unwrap_or(1),
            self.day.unwrap_or(1),
        )?;
        let hour = match (self.hour, self.half) {
            (Some(hour), Some(half)) => hour % 12 + half * 12,
            (hour, _) => or(hour, 0, 23),
        };
        let nanos = or(self.nanos, 0, 999_999_999);
        let time = NaiveTime::from_hms_nano_opt(
            hour,
            or(self.minute, 0, 59),
            or(self.second, 0, 59),
            nanos,
        )?;
        let local = date.and_time(time);
        match self.offset {
            Some(offset) => Some(
                local
                    .checked_sub_signed(TimeDelta::seconds(i64::from(offset)))?
                    .and_utc()
                    .timestamp_millis(),
            ),
            None => zone.instant(local),
        }
    }
}

fn read_epoch(text: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let unsigned = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.is_empty() || !all_digits(unsigned) || !all_digits(fraction) {
        return None;
    }
    let ms = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    let below: i64 = format!("{fraction:0<3.3}").parse().ok()?;
    let below = if factor == 1_000 { below } else { 0 };
    let instant = if whole.starts_with('-') {
        ms.checked_sub(below)?
    } else {
        ms.checked_add(below)?
    };
    chrono::DateTime::from_timestamp_millis(instant).map(|_| instant)
}

/// A text that is read from the left.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn eat(&mut self, character: char) -> bool {
        match self.0.strip_prefix(character) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self
            .0
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        number.parse().ok()
    }

    /// Digits behind a decimal point, in nanoseconds.
    fn fraction(&mut self, least: usize) -> Option<u32> {
        let digits = self
            .0
            .bytes()
            .take(9)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        format!("{number:0<9}").parse().ok()
    }

    fn offset(&mut self) -> Option<i32> {
        if self.eat('Z') {
            return Some(0);
        }
        let length = self
            .0
            .bytes()
            .take(6)
            .take_while(|byte| byte.is_ascii_digit() || b"+-:".contains(byte))
            .count();
        let (offset, rest) = self.0.split_at(length);
        self.0 = rest;
        // Hours of one digit belong to a zone's name (`UTC+8`), not to a date.
        offset_seconds(offset).filter(|_| length >= 3)
    }
}

fn read_iso(text: &str, strict: bool) -> Option<Written> {
    let mut reader = Reader(text);
    let mut written = Written::default();
    let least = if strict { 2 } else { 1 };
    let (negative, digits) = (reader.eat('-'), if strict { 4 } else { 1 });
    let year = i32::try_from(reader.number(digits, 4)?).ok()?;
    written.year = Some(if negative { -year } else { year });
    if reader.eat('-') {
        written.month = Some(reader.number(least, 2)?);
        if reader.eat('-') {
            written.day = Some(reader.number(least, 2)?);
        }
    }
    if reader.eat('T') && !reader.0.is_empty() {
        if strict && written.day.is_none() {
            return None;
        }
        written.hour = Some(reader.number(least, 2)?);
        if reader.eat(':') {
            written.minute = Some(reader.number(least, 2)?);
            if reader.eat(':') {
                written.second = Some(reader.number(least, 2)?);
                if reader.eat('.') || reader.eat(',') {
                    written.nanos = Some(reader.fraction(1)?);
                }
            }
        }
        if !reader.0.is_empty() {
            written.offset = Some(reader.offset()?);
        }
    }
    reader.0.is_empty().then_some(written)
}

fn read_pattern(parts: &[Part], text: &str) -> Option<Written> {
    let mut reader = Reader(text);
    let mut written = Written::default();
    for part in parts {
        let (letter, width) = match part {
            Part::Literal(character) => {
                if !reader.eat(*character) {
                    return None;
                }
                continue;
            }
            Part::Field(letter, width) => (*letter, *width),
        };
        let most = if width == 1 { 2 } else { width };
        match letter {
            'y' | 'u' if width == 2 => {
                written.year = Some(2000 + i32::try_from(reader.number(2, 2)?).ok()?);
            }
            'y' | 'u' => {
                written.year =
                    Some(i32::try_from(reader.number(width.min(4), width.max(4))?).ok()?);
            }
            'M' if width == 3 => {
                let name = reader.0.get(..3)?;
                let month = MONTHS
                    .iter()
                    .position(|month| month.eq_ignore_ascii_case(name))?;
                reader.0 = &reader.0[3..];
                written.month = Some(u32::try_from(month).ok()? + 1);
            }
            'M' => written.month = Some(reader.number(width, most)?),
            'd' => written.day = Some(reader.number(width, most)?),
            'H' => written.hour = Some(reader.number(width, most)?),
            'h' => {
                written.hour =
                    Some(reader.number(width, most)?).filter(|hour| (1..=12).contains(hour));
            }
            'm' => written.minute = Some(reader.number(width, most)?),
            's' => written.second = Some(reader.number(width, most)?),
            'S' => written.nanos = Some(reader.fraction(width)?),
            'a' => {
                let half = reader.0.get(..2)?;
                written.half = Some(match half {
                    "AM" => 0,
                    "PM" => 1,
                    _ => return None,
                });
                reader.0 = &reader.0[2..];
            }
            'E' => {
                let name = reader.0.get(..3)?;
                DAYS.iter().find(|day| day.eq_ignore_ascii_case(name))?;
                reader.0 = &reader.0[3..];
            }
            _ => written.offset = Some(reader.offset()?),
        }
    }
    reader.0.is_empty().then_some(written)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Years after which the days of the calendar are the same again.
const CYCLE_YEARS: i64 = 400;
/// Milliseconds of [`CYCLE_YEARS`].
const CYCLE_MS: i64 = 146_097 * 86_400_000;

/// A year as `java.time` writes one of so many letters: from four on, one
/// that is longer has a sign.
fn write_year(written: &mut String, width: usize, year: i64) {
    let digits = format!("{:0width$}", year.unsigned_abs());
    if year < 0 {
        written.push('-');
    } else if width >= 4 && digits.len() > width {
        written.push('+');
    }
    written.push_str(&digits);
}

/// One letter so many times. `year` is that of the instant, as `local` may be
/// some cycles before it.
fn write_field(
    written: &mut String,
    (letter, width): (char, usize),
    local: &NaiveDateTime,
    year: i64,
    offset: i64,
) {
    // The years before the first count backwards where they are of an era.
    let year = if letter == 'y' && year <= 0 {
        1 - year
    } else {
        year
    };
    let mut number = |value: i64| written.push_str(&format!("{value:0width$}"));
    match letter {
        'y' | 'u' if width == 2 => number(year.rem_euclid(100)),
        'y' | 'u' => write_year(written, width, year),
        'M' if width >= 3 => written.push_str(MONTHS[local.month0() as usize]),
        'M' => number(i64::from(local.month())),
        'd' => number(i64::from(local.day())),
        'H' => number(i64::from(local.hour())),
        'h' => number(i64::from(local.hour12().1)),
        'm' => number(i64::from(local.minute())),
        's' => number(i64::from(local.second())),
        'S' => written.push_str(&format!("{:09}", local.nanosecond())[..width]),
        'a' => written.push_str(if local.hour12().0 { "PM" } else { "AM" }),
        'E' => written.push_str(DAYS[local.weekday().num_days_from_monday() as usize]),
        'X' => write_offset(written, offset, width >= 3, true),
        'x' => write_offset(written, offset, width >= 3, false),
        _ => write_offset(written, offset, width >= 5, width >= 5),
    }
}

fn write_offset(written: &mut String, seconds: i64, colon: bool, z: bool) {
    if seconds == 0 && z {
        written.push('Z');
        return;
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let colon = if colon { ":" } else { "" };
    written.push_str(&format!(
        "{sign}{:02}{colon}{:02}",
        minutes / 60,
        minutes % 60
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(format: &str, text: &str, round_up: bool, expected: Option<i64>) {
        let formats = Formats::parse(format).unwrap();
        assert_eq!(
            formats.read(text, &Zone::default(), round_up).ok(),
            expected,
            "{format} {text}"
        );
    }

    #[test]
    fn dates_are_read_by_their_format() {
        check(
            "strict_date_optional_time",
            "1970-01-01T00:00:01.5Z",
            false,
            Some(1_500),
        );
        check(
            "strict_date_optional_time",
            "1970-01-01T00:00:01,5+00:00",
            false,
            Some(1_500),
        );
        check("strict_date_optional_time", "1970-1-1", false, None);
        check("date_optional_time", "1970-1-2", false, Some(86_400_000));
        check(
            "strict_date_optional_time",
            "1970-01-01T08:00+08:00",
            false,
            Some(0),
        );
        check(
            "strict_date_optional_time",
            "1970-01-01T08",
            true,
            Some(8 * 3_600_000 + 3_599_999),
        );
        check(
            "strict_date_optional_time",
            "1970-02",
            true,
            Some(32 * 86_400_000 - 1),
        );
        check("strict_date_optional_time", "1970-01-01 08:00", false, None);
        check("epoch_second", "1.5", false, Some(1_500));
        check("epoch_millis", "-1", false, Some(-1));
        check("epoch_millis", "1x", false, None);
        check(
            "yyyy/MM/dd HH:mm:ss",
            "1970/01/02 00:00:01",
            false,
            Some(86_401_000),
        );
        check("dd MMM yyyy", "02 Jan 1970", false, Some(86_400_000));
        check("basic_date", "19700102", false, Some(86_400_000));
        check(
            "yyyy-MM-dd||epoch_millis",
            "86400000",
            false,
            Some(86_400_000),
        );
    }

    #[test]
    fn what_lies_beyond_the_calendar_is_written_as_java_writes_it() {
        for (format, ms, expected) in [
            (
                "strict_date_optional_time",
                i64::MAX,
                "+292278994-08-17T07:12:55.807Z",
            ),
            (
                "strict_date_optional_time",
                i64::MIN,
                "-292275055-05-16T16:47:04.192Z",
            ),
            ("yyyy-MM-dd", i64::MAX, "+292278994-08-17"),
            ("y", i64::MAX, "292278994"),
            ("uuuu", 253_402_300_800_000, "+10000"),
            ("yyyy", -62_167_219_200_000, "0001"),
        ] {
            let formats = Formats::parse(format).unwrap();
            assert_eq!(formats.write(ms, &Zone::default()), expected, "{format}");
        }
    }

    #[test]
    fn formats_that_do_not_exist_are_refused() {
        for format in ["", "nonsense", "yyyy[", "'open", "yyyy||", "qq"] {
            assert!(Formats::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn offsets_reach_eighteen_hours() {
        assert!(
            offset_seconds("+18:00")
                .and_then(chrono::FixedOffset::east_opt)
                .is_some()
        );
        assert_eq!(offset_seconds("+18:01"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            ms in 0i64..4_102_444_800_000,
            format in prop::sample::select(vec![
                "strict_date_optional_time", "epoch_millis", "epoch_second", "strict_date_time", "basic_date_time",
                "yyyy-MM-dd HH:mm:ss.SSSZ", "EEE dd MMM yyyy hh:mm:ss.SSS a x",
            ]),
            zone in prop::sample::select(vec!["UTC", "+05:45", "-09:30", "Asia/Shanghai"]),
        ) {
            let (formats, zone) = (Formats::parse(format).unwrap(), Zone::parse(zone).unwrap());
            let written = formats.write(ms, &zone);
            // What counts from the epoch is read as a time of the zone.
            prop_assume!(!format.starts_with("epoch") || zone == Zone::default());
            prop_assert_eq!(formats.read(&written, &zone, false), Ok(ms), "{}", written);
        }

        #[test]
        fn no_text_makes_it_panic(format in "[yMdHhmsSXxZEa' :.|-]{0,12}|\\PC{0,12}", text in "[0-9TZ:+.-]{0,24}|\\PC{0,12}") {
            if let Ok(formats) = Formats::parse(&format) {
                let _ = formats.read(&text, &Zone::default(), true);
                let _ = formats.write(1_516_792_419_231, &Zone::default());
            }
            let _ = Formats::default().read(&text, &Zone::default(), false);
        }
    }
}
