//! Index names: made and taken apart here only.
//!
//! A name is `logstash-{beat}-{host}`, with the day of the events behind it:
//! `logstash-filebeat-node1-2026.11.23`. Rotation deletes exactly the names
//! that can be made here.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

pub use crate::record::time::Day;

/// Bytes of a whole name, date and all: Elasticsearch's limit.
pub const MAX_BYTES: usize = 255;

/// Bytes of `-YYYY.MM.dd`.
const DATE_BYTES: usize = 11;
const PREFIX: &str = "logstash-";
/// Digits of the hash behind a name that was cut.
const HASH_DIGITS: usize = 16;
/// What stands for a host without a name.
const NO_HOST: &str = "unknown";

const JOURNALBEAT: &str = "journalbeat";
const FILEBEAT: &str = "filebeat";
const HTTP: &str = "http";
const OTHER: &str = "other";

/// The beats that have indices of their own: a closed list, so that a sender
/// cannot make indices at will.
#[derive(Clone, Debug, Default)]
pub struct Beats {
    configured: BTreeSet<String>,
}

/// A configured beat that cannot be in an index name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("beat {0:?}: expected 1 to 32 of a-z, 0-9 and _")]
pub struct BeatError(pub String);

impl Beats {
    /// The built-in ones (`journalbeat`, `filebeat`, `http`) and `configured`.
    ///
    /// # Errors
    /// When one is not 1 to 32 of `[a-z0-9_]`: a hyphen would make it
    /// unclear where the host begins.
    pub fn new<T: AsRef<str>>(configured: impl IntoIterator<Item = T>) -> Result<Self, BeatError> {
        let mut beats = Self::default();
        for beat in configured {
            let beat = beat.as_ref();
            let holds = (1..=32).contains(&beat.len())
                && beat
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !holds {
                return Err(BeatError(beat.to_owned()));
            }
            beats.configured.insert(beat.to_owned());
        }
        Ok(beats)
    }

    /// `beat` itself where it is in the list, else `other`.
    #[must_use]
    pub fn known<'b>(&'b self, beat: &str) -> &'b str {
        match beat {
            JOURNALBEAT => JOURNALBEAT,
            FILEBEAT => FILEBEAT,
            HTTP => HTTP,
            _ => self.configured.get(beat).map_or(OTHER, String::as_str),
        }
    }
}

/// An index name without its date.
///
/// ```
/// use mscp_log_core::index::{Beats, Day, IndexName};
/// let beats = Beats::default();
/// let name = IndexName::new(&beats, "journalbeat", "KVM-009660.novalocal");
/// assert_eq!(name.as_str(), "logstash-journalbeat-kvm-009660_novalocal");
/// let dated = name.on(Day::of_us(1_494_323_963_862_751));
/// assert_eq!(dated, "logstash-journalbeat-kvm-009660_novalocal-2017.05.09");
/// assert_eq!(IndexName::parse(&dated, &beats).map(|(name, _)| name), Some(name));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(String);

impl IndexName {
    /// `logstash-{beat}-{host}`: lower case, every character outside
    /// `[a-z0-9_-]` an underscore, `beat` one of the list or `other`. A name
    /// that with its date would pass [`MAX_BYTES`] is cut and ends in 16
    /// digits of the SHA-256 of the whole.
    #[must_use]
    pub fn new(beats: &Beats, beat: &str, host: &str) -> Self {
        let beat = beats.known(beat);
        let host = if host.is_empty() { NO_HOST } else { host };
        let mut name = String::with_capacity(PREFIX.len() + beat.len() + 1 + host.len());
        name.push_str(PREFIX);
        name.push_str(beat);
        name.push('-');
        if host.is_ascii() {
            let plain = host
                .bytes()
                .map(|byte| allowed(byte.to_ascii_lowercase().into()));
            name.extend(plain);
        } else {
            name.extend(host.to_lowercase().chars().map(allowed));
        }
        let limit = MAX_BYTES - DATE_BYTES;
        if name.len() > limit {
            let digest = Sha256::digest(name.as_bytes());
            name.truncate(limit - HASH_DIGITS - 1);
            name.push('-');
            for byte in &digest[..HASH_DIGITS / 2] {
                write!(name, "{byte:02x}").expect("writing to a String cannot fail");
            }
        }
        Self(name)
    }

    /// The name with the date of `day`.
    #[must_use]
    pub fn on(&self, day: Day) -> String {
        format!("{}-{day}", self.0)
    }

    /// The name as it is in a document's `index`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, for a document to hold.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// The beat in it.
    #[must_use]
    pub fn beat(&self) -> &str {
        self.parts().0
    }

    /// The host in it, as it was changed for the name.
    #[must_use]
    pub fn host(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0[PREFIX.len()..]
            .split_once('-')
            .unwrap_or((&self.0[PREFIX.len()..], ""))
    }

    /// Take a name with its date apart; `None` where it is no name that
    /// [`IndexName::new`] and [`IndexName::on`] can make.
    #[must_use]
    pub fn parse(name: &str, beats: &Beats) -> Option<(Self, Day)> {
        let day = day_of(name)?;
        let undated = &name[..name.len() - DATE_BYTES];
        let (beat, host) = undated.strip_prefix(PREFIX)?.split_once('-')?;
        let beat_is_listed = beats.known(beat) == beat;
        let host_holds = !host.is_empty() && host.chars().all(|c| allowed(c) == c);
        (beat_is_listed && host_holds && name.len() <= MAX_BYTES)
            .then(|| (Self(undated.to_owned()), day))
    }
}

/// The day at the end of any name `{something}-YYYY.MM.dd`.
#[must_use]
pub fn day_of(name: &str) -> Option<Day> {
    let start = name.len().checked_sub(DATE_BYTES)?;
    let day = name.get(start..)?.strip_prefix('-')?;
    if start == 0 {
        return None;
    }
    Day::parse(day)
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn allowed(c: char) -> char {
    match c {
        'a'..='z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn beats() -> Beats {
        Beats::new(["winlogbeat", "my_beat"]).unwrap()
    }

    /// Beats in and outside the list, with names that look like others' parts.
    fn beat() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("journalbeat".to_owned()),
            Just("filebeat".to_owned()),
            Just("http".to_owned()),
            Just("other".to_owned()),
            Just("my_beat".to_owned()),
            Just("http-x".to_owned()),
            "\\PC{0,12}",
        ]
    }

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9._-]{1,40}",
            "\\PC{0,300}",
            "[0-9a-f]{200,300}",
            "[a-z]{1,5}-20[0-9]{2}\\.[01][0-9]\\.[0-3][0-9]",
        ]
    }

    proptest! {
        #[test]
        fn every_name_that_is_made_is_taken_apart_into_what_it_was_made_of(
            beat in beat(), host in host(), time_us: i64,
        ) {
            let beats = beats();
            let name = IndexName::new(&beats, &beat, &host);
            let day = Day::of_us(time_us);
            let dated = name.on(day);
            prop_assert!(dated.len() <= MAX_BYTES);
            prop_assert_eq!(name.beat(), beats.known(&beat));
            prop_assert_eq!(IndexName::parse(&dated, &beats), Some((name, day)));
        }

        #[test]
        fn a_name_that_is_taken_apart_can_be_made(
            name in "logstash-(http|filebeat|my_beat|other|nobeat)-[a-zA-Z0-9._-]{0,20}-20[0-9]{2}\\.[01][0-9]\\.[0-3][0-9]",
        ) {
            let beats = beats();
            if let Some((parsed, day)) = IndexName::parse(&name, &beats) {
                let again = IndexName::new(&beats, parsed.beat(), parsed.host());
                prop_assert_eq!(again.on(day), name);
            }
        }

        #[test]
        fn what_is_no_name_is_not_taken_apart_and_does_not_panic(name in "\\PC{0,40}") {
            if let Some((parsed, day)) = IndexName::parse(&name, &beats()) {
                prop_assert_eq!(parsed.on(day), name);
            }
        }

        #[test]
        fn an_ascii_host_is_changed_as_the_original_does(host in "[ -~]{1,60}") {
            let plain = regex::Regex::new("[^a-z0-9\\-_]").unwrap();
            let expected = format!("logstash-http-{host}").to_lowercase();
            let expected = plain.replace_all(&expected, "_");
            let name = IndexName::new(&beats(), "http", &host);
            prop_assert_eq!(name.as_str(), expected);
        }
    }

    #[test]
    fn long_hosts_that_differ_at_the_end_have_different_names() {
        let beats = Beats::default();
        let one = IndexName::new(&beats, "http", &"a".repeat(300));
        let other = IndexName::new(&beats, "http", &format!("{}b", "a".repeat(299)));
        assert_ne!(one, other);
    }

    #[track_caller]
    fn check(name: &str, taken: bool) {
        assert_eq!(IndexName::parse(name, &beats()).is_some(), taken, "{name}");
    }

    #[test]
    fn names_of_others_are_left_alone() {
        check("logstash-journalbeat-9node-2026.11.23", true);
        check("logstash-http-local-2026.11.23", true);
        check("logstash-winlogbeat-pc-2026.11.23", true);
        check("logstash-http-local-2026.02.30", false);
        check("logstash-http-local", false);
        check("logstash-http--2026.11.23", false);
        check("logstash-http-2026.11.23", false);
        check("logstash-packetbeat-pc-2026.11.23", false);
        check("logstash-2026.11.23", false);
        check("-2026.11.23", false);
        check(".kibana-2026.11.23", false);
        check("logstash-http-LOCAL-2026.11.23", false);
    }

    #[test]
    fn a_configured_beat_has_no_hyphen() {
        assert_eq!(
            Beats::new(["a-b"]).unwrap_err(),
            BeatError("a-b".to_owned())
        );
        assert!(Beats::new([""]).is_err());
    }
}
