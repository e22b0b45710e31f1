//! `rotation`: how long records are kept.

use std::time::Duration;

use mscp_log_core::rotation::Policy;

use super::range;
use super::read::{Reader, number, size, switch, text};

/// When and by what rule old indices go.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// The rule.
    pub policy: Policy,
    /// How long after midnight (UTC) it runs.
    pub at: Duration,
}

pub(super) fn read(reader: &mut Reader) -> Rotation {
    let age_days = reader.read(
        "rotation.age_days",
        number(range::AGE_DAYS.0, range::AGE_DAYS.1),
    );
    Rotation {
        policy: Policy {
            enabled: reader.read("rotation.enabled", switch),
            age_days: u32::try_from(age_days).unwrap_or(u32::MAX),
            max_bytes: reader.optional(
                "rotation.max_bytes",
                size(range::INDEX_BYTES.0, range::INDEX_BYTES.1),
            ),
        },
        at: reader.read("rotation.at", text(time_of_day)),
    }
}

fn time_of_day(text: &str) -> Result<Duration, String> {
    let parsed = chrono::NaiveTime::parse_from_str(text, "%H:%M");
    let Ok(time) = parsed else {
        return Err(format!(
            "expected a time of day (UTC) such as 03:00, found \"{text}\""
        ));
    };
    let since = time.signed_duration_since(chrono::NaiveTime::MIN);
    Ok(since.to_std().unwrap_or_default())
}
