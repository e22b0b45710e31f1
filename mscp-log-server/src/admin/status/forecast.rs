//! When a disk will be full, from what each day brought and when it goes.

use std::collections::BTreeMap;

use mscp_log_core::index::{Beats, Day, IndexName};
use mscp_log_core::rotation::{Fact, Policy};

use super::Full;

/// Days whose mean is taken.
const DAYS: usize = 7;
/// Days that are looked ahead.
const AHEAD: i64 = 3_650;
const DAY_US: i64 = 86_400_000_000;

/// When `free` bytes will be used up, where the indices are `facts`. Each day
/// to come brings what the last whole ones brought, and takes what rotation
/// takes by `policy`.
pub(super) fn full(facts: &[Fact], policy: &Policy, free: u64, now_us: i64, beats: &Beats) -> Full {
    let number = |day: Day| day.start_us() / DAY_US;
    let today = number(Day::of_us(now_us));
    let mut by_day: BTreeMap<i64, u64> = BTreeMap::new();
    for fact in facts {
        if let (Some((_, day)), Some(bytes)) = (IndexName::parse(&fact.name, beats), fact.bytes) {
            *by_day.entry(number(day)).or_default() += bytes;
        }
    }
    let whole: Vec<u64> = by_day
        .range(..today)
        .rev()
        .take(DAYS)
        .map(|(_, bytes)| *bytes)
        .collect();
    if whole.is_empty() {
        return Full {
            reason: Some("no whole day of records is there yet".to_owned()),
            ..Full::default()
        };
    }
    let a_day = whole.iter().sum::<u64>() / whole.len() as u64;
    let mut full = Full {
        bytes_a_day: Some(a_day),
        ..Full::default()
    };
    let mut kept: u64 = by_day.values().sum();
    let room = kept.saturating_add(free);
    for day in today + 1..today + AHEAD {
        kept = kept.saturating_add(a_day);
        *by_day.entry(day).or_default() += a_day;
        if policy.enabled {
            let oldest_kept = day - i64::from(policy.age_days);
            while let Some(oldest) = by_day.first_entry() {
                let too_much = policy.max_bytes.is_some_and(|most| kept > most);
                if *oldest.key() >= oldest_kept && !(too_much && *oldest.key() < day) {
                    break;
                }
                kept = kept.saturating_sub(oldest.remove());
            }
        }
        if kept > room {
            let day = chrono::DateTime::from_timestamp_micros(day * DAY_US);
            full.day = day.map(|day| day.format("%Y-%m-%d").to_string());
            return full;
        }
    }
    full.reason = Some(match policy.enabled {
        true => "rotation makes room in time".to_owned(),
        false => "not within ten years".to_owned(),
    });
    full
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// 2018-01-24T11:13:39Z.
    const NOW_US: i64 = 1_516_792_419_000_000;
    const MIB: u64 = 1 << 20;

    fn ahead(enabled: bool, age_days: u32, max_bytes: Option<u64>, free: u64) -> Full {
        let facts = [(21, 10), (22, 20), (23, 30), (24, 7)].map(|(day, size)| Fact {
            name: format!("logstash-http-local-2018.01.{day}"),
            newest_us: None,
            bytes: Some(size * MIB),
        });
        let policy = Policy {
            enabled,
            age_days,
            max_bytes,
        };
        full(&facts, &policy, free, NOW_US, &Beats::default())
    }

    #[test]
    fn it_goes_on_as_in_the_last_days() {
        // Twenty a day: five days of a hundred, and the next is too much.
        let full = ahead(false, 0, None, 100 * MIB);
        assert_eq!(full.bytes_a_day, Some(20 * MIB));
        assert_eq!(full.day.as_deref(), Some("2018-01-30"));
    }

    #[test]
    fn what_rotation_takes_is_room() {
        let full = ahead(true, 5, None, 200 * MIB);
        assert_eq!(full.day, None);
        assert_eq!(full.reason.as_deref(), Some("rotation makes room in time"));
        assert!(ahead(true, 30, None, 200 * MIB).day.is_some());
        assert_eq!(ahead(true, 30, Some(100 * MIB), 200 * MIB).day, None);
    }

    #[test]
    fn nothing_is_said_of_less_than_a_day() {
        let full = full(
            &[],
            &Policy {
                enabled: true,
                age_days: 1,
                max_bytes: None,
            },
            1,
            NOW_US,
            &Beats::default(),
        );
        assert_eq!((full.day, full.bytes_a_day), (None, None));
        assert!(full.reason.unwrap().contains("no whole day"));
    }
}
