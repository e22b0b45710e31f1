//! Names of indices: which are allowed, which partition each lies in, and
//! which ones an expression like `logstash-*,-logstash-http-*` means.

use std::collections::BTreeSet;

use mscp_log_core::index::day_of;
use mscp_log_core::query::wildcard;
use mscp_log_core::record::time::Day;

use super::partition::UNDATED;

/// Longest name, in bytes, as in Elasticsearch.
const MAX_NAME_BYTES: usize = 255;

/// Bytes of `2026.11.23`.
const DAY_BYTES: usize = 10;

/// The partition that an index lies in: its day, or [`UNDATED`].
pub(super) fn partition_of(index: &str) -> &str {
    match day_of(index) {
        Some(_) => &index[index.len() - DAY_BYTES..],
        None => UNDATED,
    }
}

/// Whether `text` is `YYYY.MM.dd` of the calendar.
pub(super) fn is_day(text: &str) -> bool {
    Day::parse(text).is_some()
}

/// The same index on the day before; `None` where its name has no day.
pub(super) fn day_before(index: &str) -> Option<String> {
    let before = day_of(index)?.before();
    Some(format!("{}{before}", &index[..index.len() - DAY_BYTES]))
}

/// Why no index can have a name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fault = if name.is_empty() {
        "must not be empty"
    } else if name == "." || name == ".." {
        "must not be '.' or '..'"
    } else if name.len() > MAX_NAME_BYTES {
        "index name is too long, (over 255 bytes)"
    } else if name.starts_with(['_', '-', '+']) {
        "must not start with '_', '-', or '+'"
    } else if name.chars().any(char::is_uppercase) {
        "must be lowercase"
    } else if name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'])
        || name.chars().any(char::is_control)
    {
        "must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',',','#',':']"
    } else {
        return Ok(());
    };
    Err(format!("Invalid index name [{name}], {fault}"))
}

/// How an expression treats names that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// A name without a pattern may be missing.
    pub(super) ignore_unavailable: bool,
    /// A pattern may fit nothing.
    pub(super) allow_no_indices: bool,
    /// Patterns mean the indices that fit them; otherwise they mean none.
    pub(super) expand_wildcards: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ignore_unavailable: false,
            allow_no_indices: true,
            expand_wildcards: true,
        }
    }
}

/// What an expression means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Name(String),
    Pattern(String),
    Without(String),
}

impl Expression {
    /// Read `a*,b,-c`. Empty, `_all` and `*` are every index.
    pub(super) fn new(text: &str) -> Self {
        let mut patterns = false;
        let mut parts = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            parts.push(match part.strip_prefix('-') {
                Some(rest) if patterns => Part::Without(rest.to_owned()),
                _ if part == "_all" => Part::Pattern("*".to_owned()),
                _ if part.contains('*') => Part::Pattern(part.to_owned()),
                _ => Part::Name(part.to_owned()),
            });
            patterns |= matches!(parts.last(), Some(Part::Pattern(_)));
        }
        if parts.is_empty() {
            parts.push(Part::Pattern("*".to_owned()));
        }
        Self { parts }
    }

    /// Whether an index in this partition can be meant. A quick check that
    /// need not open the partition: it errs on the side of yes.
    pub(super) fn may_touch(&self, partition: &str) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Name(name) => partition_of(name) == partition,
            Part::Pattern(pattern) => {
                let tail = pattern.rsplit_once('*').map_or("", |(_, tail)| tail);
                partition == UNDATED
                    || if tail.len() > DAY_BYTES {
                        partition_of(&format!("x{tail}")) == partition
                    } else {
                        format!("-{partition}").ends_with(tail)
                    }
            }
            Part::Without(_) => false,
        })
    }

    /// The names of `existing` that it means, or the first name that is missing.
    pub(super) fn resolve(
        &self,
        existing: &BTreeSet<Box<str>>,
        options: Options,
    ) -> Result<BTreeSet<Box<str>>, Missing> {
        let mut chosen = BTreeSet::new();
        for part in &self.parts {
            match part {
                Part::Name(name) if existing.contains(name.as_str()) => {
                    chosen.insert(name.as_str().into());
                }
                Part::Name(_) if options.ignore_unavailable => {}
                Part::Name(name) => return Err(Missing(name.clone())),
                Part::Pattern(pattern) => {
                    let mut fitting = existing
                        .iter()
                        .filter(|name| options.expand_wildcards && wildcard::fits(pattern, name))
                        .peekable();
                    if fitting.peek().is_none() && !options.allow_no_indices {
                        return Err(Missing(pattern.clone()));
                    }
                    chosen.extend(fitting.cloned());
                }
                Part::Without(pattern) => chosen.retain(|name| !wildcard::fits(pattern, name)),
            }
        }
        if chosen.is_empty() && !options.allow_no_indices {
            return Err(Missing(self.to_string()));
        }
        Ok(chosen)
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, part) in self.parts.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match part {
                Part::Name(text) | Part::Pattern(text) => f.write_str(text)?,
                Part::Without(text) => write!(f, "-{text}")?,
            }
        }
        Ok(())
    }
}

/// A name or pattern that means no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such index [{0}]")]
pub(super) struct Missing(pub(super) String);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_ends_in_a_day_lies_in_its_partition() {
        assert_eq!(partition_of("logstash-http-local-2026.11.23"), "2026.11.23");
        assert_eq!(partition_of("a-2026.02.30"), UNDATED);
        assert_eq!(partition_of("-2026.11.23"), UNDATED);
        assert_eq!(partition_of("2026.11.23"), UNDATED);
        assert_eq!(partition_of("a_2026.11.23"), UNDATED);
        assert_eq!(partition_of("plain"), UNDATED);
        assert_eq!(partition_of("日志-2026.11.23"), "2026.11.23");
        assert_eq!(day_before("a-2026.03.01").as_deref(), Some("a-2026.02.28"));
        assert_eq!(day_before("plain"), None);
    }

    #[track_caller]
    fn check(expression: &str, expect: Result<&[&str], &str>) {
        let existing = ["a1", "a2", "b", "c-2026.11.23"].map(Into::into).into();
        let found = Expression::new(expression).resolve(&existing, Options::default());
        let expect = expect
            .map(|names| names.iter().copied().map(Into::into).collect())
            .map_err(|name| Missing(name.to_owned()));
        assert_eq!(found, expect);
    }

    #[test]
    fn expressions_mean_what_they_mean_to_elasticsearch() {
        let all: &[&str] = &["a1", "a2", "b", "c-2026.11.23"];
        check("", Ok(all));
        check("_all", Ok(all));
        check("*", Ok(all));
        check("a*,-a2", Ok(&["a1"]));
        check("a*,b,-a*", Ok(&["b"]));
        check("b,b", Ok(&["b"]));
        check("x*", Ok(&[]));
        check("x", Err("x"));
        check("-b", Err("-b"));
        check("*-2026.11.*", Ok(&["c-2026.11.23"]));
    }

    proptest! {
        #[test]
        fn a_partition_with_a_meant_index_is_never_passed_over(
            names in prop::collection::vec("[ab]{1,2}(-2026\\.1[12]\\.2[34])?", 1..5),
            expression in "([ab*]{0,2}(-[2*][*06.]{0,8}(1\\.2[34])?)?,?){1,3}",
        ) {
            let existing: BTreeSet<Box<str>> = names.iter().map(|name| name.as_str().into()).collect();
            let options = Options { ignore_unavailable: true, ..Options::default() };
            let expression = Expression::new(&expression);
            for name in expression.resolve(&existing, options).unwrap() {
                prop_assert!(expression.may_touch(partition_of(&name)), "{expression} {name}");
            }
        }
    }
}
