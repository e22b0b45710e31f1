//! Rotation: which indices go, from facts, a policy and the time.
//!
//! A pure plan, so that `--dry-run` prints what a run would do. Only names
//! that the system makes are in it.

use crate::index::{Beats, Day, IndexName};
use crate::record::time::DAY_US;

/// How far two clocks may differ before one of them is taken for wrong:
/// one hour, in microseconds.
const TOLERANCE_US: i64 = 3_600_000_000;

/// A gap between runs that a node that was off could have, but a clock that
/// jumped too: two days, in microseconds.
const LONG_GAP_US: i64 = 2 * DAY_US;

/// What an administrator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether anything is deleted.
    pub enabled: bool,
    /// How many days records are kept; 0 keeps those of now only.
    pub age_days: u32,
    /// How many bytes all indices may have together.
    pub max_bytes: Option<u64>,
}

/// What the store says of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its name.
    pub name: String,
    /// The time of its newest record, where that is known.
    pub newest_us: Option<i64>,
    /// Its bytes, where they are known.
    pub bytes: Option<u64>,
}

/// What the clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Now, in microseconds since the epoch.
    pub now_us: i64,
    /// When rotation ran last.
    pub last_run_us: Option<i64>,
    /// Now, as a database on another machine says.
    pub database_us: Option<i64>,
}

/// Why an index goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its newest record is older than the policy's age.
    Age,
    /// All indices together are larger than the policy's size.
    Size,
}

/// An index that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

/// A clock that cannot be believed, so that nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// The clock stands before the last run.
    #[error("the clock stands {behind_s} s before the last run of rotation")]
    Back {
        /// How far, in seconds.
        behind_s: i64,
    },
    /// The clock and the database's differ.
    #[error("the clock and the database's differ by {apart_s} s")]
    Apart {
        /// How far, in seconds.
        apart_s: i64,
    },
    /// Long after the last run, and no record is from the time between.
    #[error(
        "the clock stands {ahead_s} s after the last run of rotation, and no record is from the time between"
    )]
    Ahead {
        /// How far, in seconds.
        ahead_s: i64,
    },
}

/// Which indices go, oldest first.
///
/// An index goes when its newest record is older than `age_days`; where that
/// is not known, when the day in its name ended that long ago. No record that
/// claims to be newer than the day of its index holds the index back. Past
/// the age, the oldest go until the rest is within `max_bytes`, but never
/// those of today.
///
/// ```
/// use mscp_log_core::index::Beats;
/// use mscp_log_core::rotation::{Clocks, Fact, Policy, plan};
/// let policy = Policy { enabled: true, age_days: 7, max_bytes: None };
/// let now = Clocks { now_us: 1_516_792_419_000_000, last_run_us: None, database_us: None };
/// let facts = ["logstash-http-local-2018.01.10", "logstash-http-local-2018.01.24", "else-2018.01.10"]
///     .map(|name| Fact { name: name.to_owned(), newest_us: None, bytes: None });
/// let plan = plan(&facts, &policy, &now, &Beats::default())?;
/// assert_eq!(plan.len(), 1);
/// assert_eq!(plan[0].name, "logstash-http-local-2018.01.10");
/// # Ok::<(), mscp_log_core::rotation::ClockError>(())
/// ```
///
/// # Errors
/// When the clock cannot be believed; then nothing may be deleted.
pub fn plan(
    facts: &[Fact],
    policy: &Policy,
    clocks: &Clocks,
    beats: &Beats,
) -> Result<Vec<Deletion>, ClockError> {
    if !policy.enabled {
        return Ok(Vec::new());
    }
    let mut ours: Vec<Candidate<'_>> = facts
        .iter()
        .filter_map(|fact| Candidate::of(fact, beats))
        .collect();
    check_clock(&ours, clocks)?;
    ours.sort_by(|a, b| (a.newest_us, &a.fact.name).cmp(&(b.newest_us, &b.fact.name)));
    let oldest_kept = clocks
        .now_us
        .saturating_sub(i64::from(policy.age_days).saturating_mul(DAY_US));
    let mut deletions = Vec::new();
    let mut kept = Vec::new();
    for candidate in ours {
        if candidate.newest_us < oldest_kept {
            deletions.push(candidate.delete(Reason::Age));
        } else {
            kept.push(candidate);
        }
    }
    if let Some(max_bytes) = policy.max_bytes {
        let bytes_of = |candidate: &Candidate<'_>| candidate.fact.bytes.unwrap_or(0);
        let mut bytes = kept.iter().fold(0_u64, |sum, candidate| {
            sum.saturating_add(bytes_of(candidate))
        });
        let today = Day::of_us(clocks.now_us);
        for candidate in kept {
            if bytes <= max_bytes {
                break;
            }
            if candidate.day < today {
                bytes -= bytes_of(&candidate).min(bytes);
                deletions.push(candidate.delete(Reason::Size));
            }
        }
    }
    Ok(deletions)
}

/// An index of ours.
struct Candidate<'f> {
    fact: &'f Fact,
    day: Day,
    /// The newest record's time, or the last microsecond of the day.
    newest_us: i64,
}

impl<'f> Candidate<'f> {
    fn of(fact: &'f Fact, beats: &Beats) -> Option<Self> {
        let (_, day) = IndexName::parse(&fact.name, beats)?;
        let end_of_day = day.end_us() - 1;
        let newest_us = fact
            .newest_us
            .map_or(end_of_day, |time| time.min(end_of_day));
        Some(Self {
            fact,
            day,
            newest_us,
        })
    }

    fn delete(&self, reason: Reason) -> Deletion {
        Deletion {
            name: self.fact.name.clone(),
            reason,
        }
    }
}

fn check_clock(ours: &[Candidate<'_>], clocks: &Clocks) -> Result<(), ClockError> {
    let now_us = clocks.now_us;
    if let Some(database_us) = clocks.database_us {
        let apart_us = now_us.saturating_sub(database_us).saturating_abs();
        if apart_us > TOLERANCE_US {
            let apart_s = apart_us / 1_000_000;
            return Err(ClockError::Apart { apart_s });
        }
    }
    let Some(last_run_us) = clocks.last_run_us else {
        return Ok(());
    };
    let since_us = now_us.saturating_sub(last_run_us);
    if since_us < -TOLERANCE_US {
        let behind_s = -since_us / 1_000_000;
        return Err(ClockError::Back { behind_s });
    }
    let records_between = ours.iter().any(|index| {
        let newest_us = index.fact.newest_us.unwrap_or(index.newest_us);
        newest_us > last_run_us + TOLERANCE_US
    });
    let confirmed = clocks.database_us.is_some() || ours.is_empty() || records_between;
    if since_us > LONG_GAP_US && !confirmed {
        let ahead_s = since_us / 1_000_000;
        return Err(ClockError::Ahead { ahead_s });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_516_792_419_000_000; // 2018-01-24T11:13:39Z
    const CLOCKS: Clocks = Clocks {
        now_us: NOW,
        last_run_us: None,
        database_us: None,
    };

    fn facts() -> impl Strategy<Value = Vec<Fact>> {
        let name = (
            prop_oneof![
                Just("http"),
                Just("journalbeat"),
                Just("filebeat"),
                Just("other")
            ],
            "([a-z0-9_-]{1,8}|9node|é日)",
            -20_i64..3,
        )
            .prop_map(|(beat, host, day)| {
                IndexName::new(&Beats::default(), beat, &host).on(Day::of_us(NOW + day * DAY_US))
            });
        let name = prop_oneof![9 => name, 1 => "[a-z.-]{1,9}-2018.01.0[1-9]"];
        let newest = proptest::option::of(-25 * DAY_US..5 * DAY_US);
        let fact =
            (name, newest, proptest::option::of(0_u64..100)).prop_map(|(name, newest, bytes)| {
                Fact {
                    name,
                    newest_us: newest.map(|time| NOW + time),
                    bytes,
                }
            });
        proptest::collection::vec(fact, 0..30)
    }

    proptest! {
        #[test]
        fn an_index_goes_by_age_exactly_when_its_newest_record_is_older(facts in facts(), age_days in 0_u32..20) {
            let policy = Policy { enabled: true, age_days, max_bytes: None };
            let plan = plan(&facts, &policy, &CLOCKS, &Beats::default()).unwrap();
            for fact in &facts {
                let gone = plan.iter().any(|deletion| deletion.name == fact.name);
                let same_name = facts.iter().filter(|other| other.name == fact.name);
                let old = same_name.filter_map(|fact| {
                    let (_, day) = IndexName::parse(&fact.name, &Beats::default())?;
                    let newest = fact.newest_us.unwrap_or(i64::MAX).min(day.end_us() - 1);
                    Some(newest < NOW - i64::from(age_days) * DAY_US)
                });
                prop_assert_eq!(gone, old.into_iter().any(|old| old), "{:?}", fact);
            }
        }

        #[test]
        fn by_size_only_as_much_goes_as_must_and_nothing_of_today(facts in facts(), max_bytes in 0_u64..1_000) {
            let policy = Policy { enabled: true, age_days: 100, max_bytes: Some(max_bytes) };
            let plan = plan(&facts, &policy, &CLOCKS, &Beats::default()).unwrap();
            let ours: Vec<_> = facts.iter().filter_map(|fact| {
                let (_, day) = IndexName::parse(&fact.name, &Beats::default())?;
                Some((fact.bytes.unwrap_or(0), day))
            }).collect();
            let all: u64 = ours.iter().map(|(bytes, _)| bytes).sum();
            if all <= max_bytes {
                prop_assert!(plan.is_empty());
            } else {
                let today = Day::of_us(NOW);
                let past = ours.iter().filter(|(_, day)| *day < today).count();
                prop_assert!(plan.len() <= past);
                for deletion in &plan {
                    let (_, day) = IndexName::parse(&deletion.name, &Beats::default()).unwrap();
                    prop_assert!(day < today);
                }
            }
        }

        #[test]
        fn nothing_goes_that_the_system_did_not_name(name in "\\PC{0,30}", age in 0_u32..3) {
            let fact = Fact { name, newest_us: Some(0), bytes: None };
            let policy = Policy { enabled: true, age_days: age, max_bytes: Some(0) };
            prop_assume!(IndexName::parse(&fact.name, &Beats::default()).is_none());
            prop_assert_eq!(plan(&[fact], &policy, &CLOCKS, &Beats::default()), Ok(vec![]));
        }
    }

    fn old() -> Vec<Fact> {
        vec![Fact {
            name: "logstash-http-local-2018.01.01".to_owned(),
            newest_us: Some(NOW - 23 * DAY_US),
            bytes: None,
        }]
    }

    const WEEK: Policy = Policy {
        enabled: true,
        age_days: 7,
        max_bytes: None,
    };

    #[track_caller]
    fn check(clocks: Clocks, expected: Result<usize, ClockError>) {
        let planned = plan(&old(), &WEEK, &clocks, &Beats::default());
        assert_eq!(planned.map(|plan| plan.len()), expected);
    }

    #[test]
    fn a_policy_that_is_off_deletes_nothing() {
        let off = Policy {
            enabled: false,
            ..WEEK
        };
        assert_eq!(plan(&old(), &off, &CLOCKS, &Beats::default()), Ok(vec![]));
    }

    #[test]
    fn a_clock_that_jumped_deletes_nothing() {
        check(CLOCKS, Ok(1));
        let yesterday = Clocks {
            last_run_us: Some(NOW - DAY_US),
            ..CLOCKS
        };
        check(yesterday, Ok(1));
        let back = Clocks {
            last_run_us: Some(NOW + DAY_US),
            ..CLOCKS
        };
        check(back, Err(ClockError::Back { behind_s: 86_400 }));
        let apart = Clocks {
            database_us: Some(NOW - DAY_US),
            ..CLOCKS
        };
        check(apart, Err(ClockError::Apart { apart_s: 86_400 }));
        let ahead = Clocks {
            last_run_us: Some(NOW - 10 * DAY_US),
            ..CLOCKS
        };
        check(ahead, Err(ClockError::Ahead { ahead_s: 864_000 }));
        let was_off = Clocks {
            database_us: Some(NOW),
            ..ahead
        };
        check(was_off, Ok(1));
    }

    #[test]
    fn a_record_from_the_future_does_not_hold_an_index_back() {
        let mut facts = old();
        facts[0].newest_us = Some(NOW + 1_000 * DAY_US);
        let plan = plan(&facts, &WEEK, &CLOCKS, &Beats::default()).unwrap();
        assert_eq!(plan.len(), 1);
    }
}
