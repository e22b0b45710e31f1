//! Reads the syntax of `simple_query_string`: `+` and, `|` or, `-` not,
//! phrases, prefixes, groups. Every text has a meaning; nothing is an error.

use super::ast::{Number, Operator};
use super::lucene::{Node, Occur};

/// How deep groups may nest; deeper parentheses are passed over.
const MAX_DEPTH: usize = 30;

/// Which signs mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

const AND: u32 = 1;
const OR: u32 = 2;
const NOT: u32 = 4;
const PHRASE: u32 = 8;
const PRECEDENCE: u32 = 16;
const ESCAPE: u32 = 32;
const WHITESPACE: u32 = 64;
const PREFIX: u32 = 128;
const FUZZY: u32 = 256;
const NEAR: u32 = 512;

impl Default for Flags {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Flags {
    /// `ALL`, `NONE`, or names joined by `|` (`AND|PREFIX`); `None` where a
    /// name is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut flags = 0;
        for name in text.split('|') {
            flags |= match name.trim().to_ascii_uppercase().as_str() {
                "ALL" => u32::MAX,
                "NONE" => 0,
                "AND" => AND,
                "OR" => OR,
                "NOT" => NOT,
                "PHRASE" => PHRASE,
                "PRECEDENCE" => PRECEDENCE,
                "ESCAPE" => ESCAPE,
                "WHITESPACE" => WHITESPACE,
                "PREFIX" => PREFIX,
                "FUZZY" => FUZZY,
                "NEAR" | "SLOP" => NEAR,
                _ => return None,
            };
        }
        Some(Self(flags))
    }

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// Read the text of a `simple_query_string`.
///
/// ```
/// use mscp_log_core::query::ast::Operator;
/// use mscp_log_core::query::lucene::{Flags, Node, parse_simple};
/// let node = parse_simple("err*", Operator::Or, Flags::default());
/// assert_eq!(node, Node::Prefix { field: None, text: "err".into() });
/// ```
#[must_use]
pub fn parse_simple(text: &str, default_operator: Operator, flags: Flags) -> Node {
    let mut parser = Parser {
        characters: text.chars().collect(),
        place: 0,
        default: default_operator.into(),
        flags,
    };
    let end = parser.characters.len();
    parser.group(end, 0)
}

impl From<Operator> for Occur {
    fn from(operator: Operator) -> Self {
        match operator {
            Operator::And => Self::Must,
            Operator::Or => Self::Should,
        }
    }
}

struct Parser {
    characters: Vec<char>,
    place: usize,
    default: Occur,
    flags: Flags,
}

/// What a group holds so far.
struct Tree {
    top: Option<Node>,
    /// How the clauses of `top` combine.
    combined: Option<Occur>,
    /// The operator that was written before the next clause.
    operator: Option<Occur>,
    negated: bool,
}

impl Tree {
    fn add(&mut self, branch: Node, default: Occur) {
        let branch = if std::mem::take(&mut self.negated) {
            Node::Bool(vec![(Occur::MustNot, branch), (Occur::Should, Node::All)])
        } else {
            branch
        };
        let Some(top) = self.top.take() else {
            self.top = Some(branch);
            self.operator = None;
            return;
        };
        let operator = self.operator.take().unwrap_or(default);
        let clauses = match (top, self.combined) {
            (Node::Bool(mut clauses), Some(combined)) if combined == operator => {
                clauses.push((operator, branch));
                clauses
            }
            (top, _) => vec![(operator, top), (operator, branch)],
        };
        self.combined = Some(operator);
        self.top = Some(Node::Bool(clauses));
    }
}

impl Parser {
    fn group(&mut self, end: usize, depth: usize) -> Node {
        let mut tree = Tree {
            top: None,
            combined: None,
            operator: None,
            negated: false,
        };
        while self.place < end {
            let character = self.characters[self.place];
            match character {
                '(' if self.flags.has(PRECEDENCE) => {
                    self.place += 1;
                    if let Some(close) = self.closing(end).filter(|_| depth < MAX_DEPTH) {
                        let node = self.group(close, depth + 1);
                        self.place = close + 1;
                        if node != Node::Empty {
                            tree.add(node, self.default);
                        }
                    }
                }
                ')' if self.flags.has(PRECEDENCE) => self.place += 1,
                '"' if self.flags.has(PHRASE) => {
                    if let Some(node) = self.phrase(end) {
                        tree.add(node, self.default);
                    }
                }
                '+' | '|' if self.flags.has(if character == '+' { AND } else { OR }) => {
                    if tree.operator.is_none() && tree.top.is_some() {
                        tree.operator = Some(if character == '+' {
                            Occur::Must
                        } else {
                            Occur::Should
                        });
                    }
                    self.place += 1;
                }
                '-' if self.flags.has(NOT) => {
                    tree.negated = !tree.negated;
                    self.place += 1;
                    continue;
                }
                _ if self.is_space(character) => self.place += 1,
                _ => {
                    if let Some(node) = self.word(end) {
                        tree.add(node, self.default);
                    }
                }
            }
            tree.negated = false;
        }
        tree.top.unwrap_or(Node::Empty)
    }

    fn is_space(&self, character: char) -> bool {
        self.flags.has(WHITESPACE) && matches!(character, ' ' | '\t' | '\n' | '\r')
    }

    fn ends_word(&self, character: char) -> bool {
        (character == '"' && self.flags.has(PHRASE))
            || (character == '|' && self.flags.has(OR))
            || (character == '+' && self.flags.has(AND))
            || (matches!(character, '(' | ')') && self.flags.has(PRECEDENCE))
            || self.is_space(character)
    }

    /// Where the group that begins here is closed.
    fn closing(&self, end: usize) -> Option<usize> {
        let mut open = 1;
        let mut place = self.place;
        while place < end {
            match self.characters[place] {
                '\\' if self.flags.has(ESCAPE) => place += 1,
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Some(place);
            }
            place += 1;
        }
        None
    }

    fn phrase(&mut self, end: usize) -> Option<Node> {
        self.place += 1;
        let start = self.place;
        let mut text = String::new();
        while self.place < end {
            match self.characters[self.place] {
                '\\' if self.flags.has(ESCAPE) && self.place + 1 < end => {
                    self.place += 1;
                    text.push(self.characters[self.place]);
                }
                '"' => {
                    self.place += 1;
                    let slop = if self.flags.has(NEAR) {
                        self.tilde(end)
                    } else {
                        None
                    };
                    let slop = slop
                        .filter(|digits| !digits.is_empty())
                        .and_then(|digits| digits.parse::<u32>().ok());
                    return (!text.is_empty()).then_some(Node::Phrase {
                        field: None,
                        text,
                        slop: slop.map(u64::from),
                    });
                }
                character => text.push(character),
            }
            self.place += 1;
        }
        // An open quote means nothing; what stands behind it is read as words.
        self.place = start;
        None
    }

    /// `~2` here, if it ends a word.
    fn tilde(&mut self, end: usize) -> Option<String> {
        if self.place >= end || self.characters[self.place] != '~' {
            return None;
        }
        let mut place = self.place + 1;
        while place < end && self.characters[place].is_ascii_digit() {
            place += 1;
        }
        if place < end && !self.ends_word(self.characters[place]) {
            return None;
        }
        let digits = self.characters[self.place + 1..place].iter().collect();
        self.place = place;
        Some(digits)
    }

    fn word(&mut self, end: usize) -> Option<Node> {
        let mut text = String::new();
        let mut is_prefix = false;
        while self.place < end {
            let character = self.characters[self.place];
            if character == '\\' && self.flags.has(ESCAPE) {
                self.place += 1;
                if self.place < end {
                    text.push(self.characters[self.place]);
                    self.place += 1;
                }
                is_prefix = false;
                continue;
            }
            if self.ends_word(character) {
                break;
            }
            if character == '~' && !text.is_empty() && self.flags.has(FUZZY)
                && let Some(distance) = self.tilde(end) {
                    let digits = distance.trim_start_matches('0');
                    let distance = match (distance.is_empty(), digits.is_empty()) {
                        (true, _) => None,
                        (false, true) => Some(Number("0".to_owned())),
                        (false, false) => Some(Number(digits.to_owned())),
                    };
                    return Some(Node::Fuzzy {
                        field: None,
                        text,
                        distance,
                    });
                }
            is_prefix = character == '*' && !text.is_empty() && self.flags.has(PREFIX);
            text.push(character);
            self.place += 1;
        }
        if is_prefix {
            text.pop();
            return Some(Node::Prefix { field: None, text });
        }
        (!text.is_empty()).then_some(Node::Word { field: None, text })
    }
}
