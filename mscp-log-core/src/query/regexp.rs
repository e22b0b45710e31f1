//! Lucene's dialect of regular expressions, as `regexp` queries and the
//! `include` of `terms` have it, into that of the `regex` crate.
//!
//! Lucene anchors at both ends, has no `^`, `$`, `(?` or look-around, and has
//! `@` (anything), `#` (nothing) and `"literal"`. Its complement `~` and
//! intersection `&` have no counterpart and are refused.

use super::wildcard::literal;

/// The longest expression in characters (`index.max_regex_length`).
pub const MAX_LENGTH: usize = 1_000;
/// How deep groups may nest.
const MAX_DEPTH: usize = 30;

/// The operators that `flags` of a `regexp` query leave on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

/// The flags of the operators that can be taken away, and how each is written.
const OPERATORS: [(&str, &str); 5] = [
    ("INTERSECTION", "&"),
    ("COMPLEMENT", "~"),
    ("EMPTY", "#"),
    ("ANYSTRING", "@"),
    ("INTERVAL", "<"),
];

impl Flags {
    /// `ALL`, `NONE`, or names with `|` between them, as Elasticsearch's
    /// `RegexpFlag` knows them.
    ///
    /// # Errors
    /// A name that is no flag.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut flags = 0;
        for name in text.split('|').filter(|name| !name.is_empty()) {
            let upper = name.to_ascii_uppercase();
            let place = OPERATORS.iter().position(|(flag, _)| *flag == upper);
            flags |= match (place, upper.as_str()) {
                (Some(place), _) => 1 << place,
                (None, "ALL") => u8::MAX,
                // Named automata are registered by programs; there are none.
                (None, "NONE" | "AUTOMATON") => 0,
                (None, _) => return Err(format!("Unknown regexp flag [{name}]")),
            };
        }
        Ok(Self(flags))
    }

    fn has(self, operator: char) -> bool {
        OPERATORS
            .iter()
            .enumerate()
            .all(|(place, (_, written))| !written.contains(operator) || self.0 & (1 << place) != 0)
    }

    /// The expression in which operators that are off are escaped: they stand
    /// for themselves.
    #[must_use]
    pub fn applied(self, expression: &str) -> String {
        let mut written = String::with_capacity(expression.len());
        let (mut in_class, mut in_quotes) = (false, false);
        let mut characters = expression.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' if !in_quotes => {
                    written.push(character);
                    written.extend(characters.next());
                    continue;
                }
                '"' if !in_class => in_quotes = !in_quotes,
                '[' if !in_quotes => in_class = true,
                ']' if !in_quotes => in_class = false,
                _ if !in_class && !in_quotes && !self.has(character) => written.push('\\'),
                _ => {}
            }
            written.push(character);
        }
        written
    }
}

/// `expression` as an anchored expression of the `regex` crate.
///
/// # Errors
/// What is no expression in Lucene's dialect, is longer than [`MAX_LENGTH`],
/// or uses an operator that cannot be translated; the text says which.
///
/// ```
/// use mscp_log_core::query::regexp::to_regex;
/// assert_eq!(to_regex("err(or)?.*$", false).as_deref(), Ok(r"^(?s:err(?:or)?.*\$)$"));
/// ```
pub fn to_regex(expression: &str, case_insensitive: bool) -> Result<String, String> {
    Ok(format!("^{}$", to_automaton(expression, case_insensitive)?))
}

/// As [`to_regex`], without anchors: the form that an automaton over a term
/// dictionary takes.
///
/// # Errors
/// As [`to_regex`].
pub fn to_automaton(expression: &str, case_insensitive: bool) -> Result<String, String> {
    let characters: Vec<char> = expression.chars().collect();
    if characters.len() > MAX_LENGTH {
        return Err(format!(
            "The length of regex [{}] used in the Regexp Query request has exceeded the allowed maximum of [{MAX_LENGTH}]",
            characters.len()
        ));
    }
    let mut translator = Translator {
        characters,
        place: 0,
        written: String::new(),
        case_insensitive,
    };
    translator.alternatives(0)?;
    if case_insensitive && expression.bytes().all(|byte| b"()".contains(&byte)) {
        // Nothing without regard to case finds nothing, not even nothing.
        return Ok("(?s:[^\\s\\S])".to_owned());
    }
    match translator.peek() {
        None => Ok(format!("(?s:{})", translator.written)),
        Some(_) => Err(translator.error("end-of-string expected")),
    }
}

struct Translator {
    characters: Vec<char>,
    place: usize,
    written: String,
    case_insensitive: bool,
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.place).copied()
    }

    fn error(&self, what: &str) -> String {
        format!("{what} at position {}", self.place)
    }

    fn next(&mut self) -> Result<char, String> {
        let character = self
            .peek()
            .ok_or_else(|| self.error("unexpected end-of-string"))?;
        self.place += 1;
        Ok(character)
    }

    fn alternatives(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(self.error("groups nested too deep"));
        }
        loop {
            while let Some(character) = self.peek() {
                match character {
                    '|' | ')' => break,
                    '&' => return Err(self.error("the operator & is not supported")),
                    _ => self.repeated(depth)?,
                }
            }
            if self.peek() != Some('|') {
                return Ok(());
            }
            self.place += 1;
            self.written.push('|');
        }
    }

    fn repeated(&mut self, depth: usize) -> Result<(), String> {
        let start = self.written.len();
        self.atom(depth)?;
        let mut times = 0;
        while let Some(character) = self.peek() {
            let operator = match character {
                '?' | '*' | '+' => {
                    self.place += 1;
                    character.to_string()
                }
                '{' => self.counted()?,
                _ => break,
            };
            // `a+?` is lazy in the `regex` crate and `(a+)?` in Lucene.
            if times > 0 {
                self.written.insert_str(start, "(?:");
                self.written.push(')');
            }
            times += 1;
            if times > MAX_DEPTH {
                return Err(self.error("too many repetitions"));
            }
            self.written.push_str(&operator);
        }
        Ok(())
    }

    fn counted(&mut self) -> Result<String, String> {
        self.place += 1;
        let low = self.integer()?;
        let operator = match self.next()? {
            '}' => return Ok(format!("{{{low}}}")),
            ',' if self.peek() == Some('}') => format!("{{{low},}}"),
            ',' => {
                let high = self.integer()?;
                if high < low {
                    return Err(self.error("repetition bounds are out of order"));
                }
                format!("{{{low},{high}}}")
            }
            _ => return Err(self.error("expected '}'")),
        };
        match self.next()? {
            '}' => Ok(operator),
            _ => Err(self.error("expected '}'")),
        }
    }

    fn integer(&mut self) -> Result<u32, String> {
        let start = self.place;
        while self
            .peek()
            .is_some_and(|character| character.is_ascii_digit())
        {
            self.place += 1;
        }
        let digits: String = self.characters[start..self.place].iter().collect();
        digits
            .parse()
            .ok()
            .filter(|times| *times <= 1_000)
            .ok_or_else(|| self.error("integer up to 1000 expected"))
    }

    fn atom(&mut self, depth: usize) -> Result<(), String> {
        match self.next()? {
            '(' if self.peek() == Some(')') => {
                self.place += 1;
                self.written.push_str("(?:)");
            }
            '(' => {
                self.written.push_str("(?:");
                self.alternatives(depth + 1)?;
                if self.next()? != ')' {
                    return Err(self.error("expected ')'"));
                }
                self.written.push(')');
            }
            '[' => self.class()?,
            '.' => self.written.push('.'),
            '@' => self.written.push_str("(?:.*)"),
            '#' => self.written.push_str("[^\\s\\S]"),
            '"' => {
                self.written.push_str("(?:");
                loop {
                    match self.next()? {
                        '"' => break,
                        character => literal(&mut self.written, character, self.case_insensitive),
                    }
                }
                self.written.push(')');
            }
            '~' => return Err(self.error("the operator ~ is not supported")),
            '<' => return Err(self.error("the operator < > is not supported")),
            '*' | '?' | '+' | '{' => return Err(self.error("an operator that repeats nothing")),
            '\\' => {
                let escaped = self.next()?;
                if !self.shorthand(escaped) {
                    literal(&mut self.written, escaped, self.case_insensitive);
                }
            }
            character => literal(&mut self.written, character, self.case_insensitive),
        }
        Ok(())
    }

    /// `\d`, `\w`, `\s` and their opposites, of ASCII as in Lucene.
    fn shorthand(&mut self, escaped: char) -> bool {
        let class = match escaped {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            's' => "[ \\t\\n\\r]",
            'S' => "[^ \\t\\n\\r]",
            _ => return false,
        };
        self.written.push_str(class);
        true
    }

    fn class(&mut self) -> Result<(), String> {
        self.written.push('[');
        if self.peek() == Some('^') {
            self.place += 1;
            self.written.push('^');
        }
        let mut empty = true;
        loop {
            let first = match self.next()? {
                ']' if !empty => break,
                ']' => return Err(self.error("expected a character in the class")),
                '\\' => {
                    let escaped = self.next()?;
                    if self.shorthand(escaped) {
                        empty = false;
                        continue;
                    }
                    escaped
                }
                character => character,
            };
            empty = false;
            let is_range = self.peek() == Some('-')
                && self
                    .characters
                    .get(self.place + 1)
                    .is_some_and(|next| *next != ']');
            if !is_range {
                self.member(first);
                continue;
            }
            self.place += 1;
            let last = match self.next()? {
                '\\' => self.next()?,
                character => character,
            };
            if last < first {
                return Err(self.error("range is out of order in the class"));
            }
            self.range(first, last);
        }
        self.written.push(']');
        Ok(())
    }

    fn member(&mut self, character: char) {
        if self.case_insensitive && character.is_ascii_alphabetic() {
            self.escaped(character.to_ascii_lowercase());
            self.escaped(character.to_ascii_uppercase());
        } else {
            self.escaped(character);
        }
    }

    fn range(&mut self, first: char, last: char) {
        self.escaped(first);
        self.written.push('-');
        self.escaped(last);
    }

    /// As a code point, so that no sign has a meaning in a class.
    fn escaped(&mut self, character: char) {
        self.written
            .push_str(&format!("\\x{{{:X}}}", u32::from(character)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_operator_that_is_off_stands_for_itself() {
        let applied = |flags: &str, text: &str| Flags::parse(flags).unwrap().applied(text);
        assert_eq!(
            applied("NONE", r#"a@"@"[@]\@#~&<"#),
            r#"a\@"@"[@]\@\#\~\&\<"#
        );
        assert_eq!(applied("ANYSTRING|EMPTY", "a@#~"), r"a@#\~");
        assert_eq!(applied("ALL", "a@#~&<"), "a@#~&<");
        assert!(Flags::parse("QUICK").is_err());
    }

    #[track_caller]
    fn check(expression: &str, matching: &[&str], other: &[&str]) {
        let compiled = regex::Regex::new(&to_regex(expression, false).unwrap()).unwrap();
        for text in matching {
            assert!(compiled.is_match(text), "{expression} {text}");
        }
        for text in other {
            assert!(!compiled.is_match(text), "{expression} {text}");
        }
    }

    #[test]
    fn expressions_mean_what_they_mean_in_lucene() {
        check("ab|cd", &["ab", "cd"], &["abd", "acd", "xab"]);
        check("^a$", &["^a$"], &["a"]);
        check("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]);
        check("a+?", &["", "a", "aa"], &["b"]);
        check("[a-c&&b]", &["a", "&", "b"], &["x", "&&"]);
        check("[^a\\]]", &["b", "["], &["a", "]"]);
        check("\"a.b\"*", &["", "a.b", "a.ba.b"], &["axb"]);
        check("a@", &["a", "abc\n"], &["b"]);
        check("a#|b", &["b"], &["a", "a#"]);
        check("\\d+\\.\\w", &["12.x"], &["12x"]);
        check("日.", &["日志"], &["日"]);
    }

    #[test]
    fn what_lucene_refuses_or_we_cannot_say_is_an_error() {
        for expression in [
            "(",
            ")",
            "[",
            "[]",
            "a{",
            "a{3,2}",
            "*a",
            "~a",
            "a&b",
            "<1-9>",
            "a\\",
            "\"a",
            &"a".repeat(1_001),
        ] {
            assert!(to_regex(expression, false).is_err(), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_translated_can_be_compiled(expression in "[a-c()\\[\\]|*+?{}0-3,.\"@#\\\\^$-]{0,12}") {
            if let Ok(translated) = to_regex(&expression, true) {
                let size_is_the_only_fault = match regex::RegexBuilder::new(&translated).size_limit(1 << 20).build() {
                    Ok(_) | Err(regex::Error::CompiledTooBig(_)) => true,
                    Err(_) => false,
                };
                prop_assert!(size_is_the_only_fault, "{} {}", expression, translated);
            }
        }
    }
}
