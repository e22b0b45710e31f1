//! The patterns of a `wildcard` query: `*` any characters, `?` one, `\` takes
//! the next as it is.

/// `pattern` as an anchored expression of the `regex` crate.
///
/// With `case_insensitive` ASCII letters match in either case, as
/// Elasticsearch does it; other letters match as they are.
///
/// ```
/// use mscp_log_core::query::wildcard::to_regex;
/// assert_eq!(to_regex("a*?.b", false), r"^(?s:a.*.\.b)$");
/// ```
#[must_use]
pub fn to_regex(pattern: &str, case_insensitive: bool) -> String {
    format!("^(?s:{})$", body(pattern, case_insensitive))
}

/// As [`to_regex`], without anchors and with `.` matching everything: the form
/// that an automaton over a term dictionary takes.
#[must_use]
pub fn to_automaton(pattern: &str, case_insensitive: bool) -> String {
    format!("(?s:{})", body(pattern, case_insensitive))
}

fn body(pattern: &str, case_insensitive: bool) -> String {
    let mut written = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            // Many stars in a row are one; more would only cost time.
            '*' if written.ends_with(".*") && !written.ends_with("\\.*") => {}
            '*' => written.push_str(".*"),
            '?' => written.push('.'),
            '\\' => literal(
                &mut written,
                characters.next().unwrap_or('\\'),
                case_insensitive,
            ),
            _ => literal(&mut written, character, case_insensitive),
        }
    }
    written
}

/// One character that stands for itself.
pub(super) fn literal(written: &mut String, character: char, case_insensitive: bool) {
    if case_insensitive && character.is_ascii_alphabetic() {
        written.push('[');
        written.push(character.to_ascii_lowercase());
        written.push(character.to_ascii_uppercase());
        written.push(']');
        return;
    }
    let mut buffer = [0; 4];
    written.push_str(&regex::escape(character.encode_utf8(&mut buffer)));
}

/// Whether `name` fits `pattern`, in which only `*` has a meaning: the
/// patterns of field and index names.
///
/// ```
/// use mscp_log_core::query::wildcard::fits;
/// assert!(fits("logstash-*-node1", "logstash-journalbeat-node1"));
/// assert!(!fits("log", "logs"));
/// ```
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest
        .rsplit_once('*')
        .map_or(("", rest), |(middle, tail)| (middle, tail));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(place) = left.find(part) else {
            return false;
        };
        left = &left[place + part.len()..];
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    /// Wildcards by recursion, the plainest way.
    fn plain(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|cut| plain(rest, &text[cut..])),
            ['?', rest @ ..] => !text.is_empty() && plain(rest, &text[1..]),
            ['\\', literal, rest @ ..] => text.first() == Some(literal) && plain(rest, &text[1..]),
            [literal, rest @ ..] => text.first() == Some(literal) && plain(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_expression_matches_what_the_wildcard_does(pattern in "[ab.*?\\\\\\[]{0,8}", text in "[ab.*?\\\\\n\\[]{0,8}") {
            let expression = regex::Regex::new(&to_regex(&pattern, false)).unwrap();
            let (pattern_characters, characters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(expression.is_match(&text), plain(&pattern_characters, &characters), "{} {}", pattern, text);
        }

        #[test]
        fn a_name_fits_as_the_wildcard_says(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
            let (pattern_characters, characters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(fits(&pattern, &name), plain(&pattern_characters, &characters), "{} {}", pattern, name);
        }
    }

    #[test]
    fn case_is_ignored_for_ascii_letters_only() {
        let expression = regex::Regex::new(&to_regex("aé*", true)).unwrap();
        assert!(expression.is_match("Aéx") && !expression.is_match("AÉx"));
    }
}
