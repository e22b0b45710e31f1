//! Dates as the `date` fields of the mapping read them.

use std::sync::LazyLock;

use mscp_log_core::query::date_math::{Formats, Zone};
use mscp_log_core::record::time::{parse_rfc3339, write_rfc3339};

/// `strict_date_optional_time||epoch_millis`
static FORMATS: LazyLock<Formats> = LazyLock::new(Formats::default);

/// Milliseconds since the epoch of a text as
/// `strict_date_optional_time||epoch_millis` reads it.
pub(super) fn parse(text: &str) -> Option<i64> {
    // What the system itself writes, in far less time than by a format.
    if text.len() == 24
        && text.ends_with('Z')
        && let Some(us) = parse_rfc3339(text)
        && text.as_bytes()[10] == b'T'
    {
        return Some(us.div_euclid(1_000));
    }
    FORMATS.read(text, &Zone::default(), false).ok()
}

/// Whether `text` is what the system writes as `@timestamp` for `realtime_us`.
pub(super) fn is_written(text: &str, realtime_us: i64) -> bool {
    let mut written = Vec::with_capacity(24);
    write_rfc3339(realtime_us, &mut written);
    text.as_bytes() == written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_both_formats_of_the_mapping() {
        assert_eq!(parse("2018-01-24T11:13:39.231Z"), Some(1_516_792_419_231));
        assert_eq!(parse("2018-01-24"), Some(1_516_752_000_000));
        assert_eq!(parse("1516792419231"), Some(1_516_792_419_231));
        assert_eq!(parse("24.1.2018"), None);
        assert!(is_written(
            "2018-01-24T11:13:39.231Z",
            1_516_792_419_231_999
        ));
        assert!(!is_written(
            "2018-01-24T11:13:39.232Z",
            1_516_792_419_231_999
        ));
    }
}
