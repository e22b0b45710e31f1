//! Dates as the `date` fields of the mapping read them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

/// Milliseconds since the epoch of a text as
/// `strict_date_optional_time||epoch_millis` reads it.
pub(super) fn parse(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
        return Some(time.and_utc().timestamp_millis());
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(
            date.and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp_millis(),
        );
    }
    text.parse().ok()
}

/// Whether `text` is what the system writes as `@timestamp` for `realtime_us`.
pub(super) fn is_written(text: &str, realtime_us: i64) -> bool {
    let mut written = Vec::new();
    write(realtime_us, &mut written);
    text.as_bytes() == written
}

/// `2026-11-23T03:18:00.123Z`
pub(super) fn write(time_us: i64, out: &mut Vec<u8>) {
    let time = DateTime::from_timestamp_micros(time_us).unwrap_or_default();
    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    out.extend_from_slice(text.as_bytes());
}
