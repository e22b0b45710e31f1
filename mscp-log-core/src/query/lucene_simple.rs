//! Reads the syntax of `simple_query_string`: `+` and, `|` or, `-` not,
//! phrases, prefixes, groups. Every text has a meaning; only its size can be wrong.

use super::ast::{Number, Operator};
use super::lucene::{Node, Occur, Part};

/// How deep groups may nest; deeper parentheses are passed over.
const MAX_DEPTH: usize = 30;
/// How deep the tree may be. Each change between `+` and `|` nests what stands
/// before it, and whatever goes through a tree calls itself that often.
const MAX_HEIGHT: usize = 100;
/// The most edits of a word that is fuzzy; Lucene knows no more.
const MAX_EDITS: u32 = 2;
/// How many clauses one text may have (`indices.query.bool.max_clause_count`).
const MAX_CLAUSES: usize = 1_024;

/// Why a text of `simple_query_string` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Its operators nest too deep.
    #[error("operators are nested more than {MAX_HEIGHT} deep")]
    Nested,
    /// It has too many words and phrases.
    #[error("maxClauseCount is set to {MAX_CLAUSES}")]
    Clauses,
}

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
/// # Errors
/// More than 1,024 clauses, or operators that alternate more than 100 times.
///
/// ```
/// use mscp_log_core::query::ast::Operator;
/// use mscp_log_core::query::lucene::{Flags, Node, parse_simple};
/// let node = parse_simple("err*", Operator::Or, Flags::default());
/// assert_eq!(node, Ok(Node::Prefix { field: None, text: "err".into() }));
/// ```
pub fn parse_simple(text: &str, default_operator: Operator, flags: Flags) -> Result<Node, TooMuch> {
    let characters: Vec<char> = text.chars().collect();
    let mut parser = Parser {
        closing: closing(&characters, flags),
        characters,
        place: 0,
        default: default_operator.into(),
        flags,
        clauses: 0,
    };
    let end = parser.characters.len();
    parser.group(end, 0).map(|(node, _)| node)
}

/// For each `(` the place of the `)` that closes it, in order of the `(`.
/// Looked for once: looking from each `(` anew would take the square of the time.
fn closing(characters: &[char], flags: Flags) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut open = Vec::new();
    let mut place = 0;
    while let Some(character) = characters.get(place) {
        match character {
            '\\' if flags.has(ESCAPE) => place += 1,
            '(' => open.push(place),
            ')' => pairs.extend(open.pop().map(|begun| (begun, place))),
            _ => {}
        }
        place += 1;
    }
    pairs.sort_unstable();
    pairs
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
    /// Pairs of parentheses, as [`closing`] gives them.
    closing: Vec<(usize, usize)>,
    place: usize,
    default: Occur,
    flags: Flags,
    /// Clauses that were read.
    clauses: usize,
}

/// What a group holds so far.
struct Tree {
    top: Option<Node>,
    /// How deep `top` is.
    height: usize,
    /// How the clauses of `top` combine.
    combined: Option<Occur>,
    /// The operator that was written before the next clause.
    operator: Option<Occur>,
    negated: bool,
}

impl Tree {
    /// Adds a clause of that height.
    fn add(&mut self, branch: Node, height: usize, default: Occur) -> Result<(), TooMuch> {
        let (branch, height) = if std::mem::take(&mut self.negated) {
            let not = Node::Bool(vec![
                Part::new(Occur::MustNot, branch),
                Part::new(Occur::Should, Node::All),
            ]);
            (not, height + 1)
        } else {
            (branch, height)
        };
        let Some(top) = self.top.take() else {
            (self.top, self.height) = (Some(branch), height);
            self.operator = None;
            return within(height);
        };
        let operator = self.operator.take().unwrap_or(default);
        let clauses = match (top, self.combined) {
            (Node::Bool(mut clauses), Some(combined)) if combined == operator => {
                self.height = self.height.max(height + 1);
                clauses.push(Part::new(operator, branch));
                clauses
            }
            (top, _) => {
                self.height = self.height.max(height) + 1;
                vec![Part::new(operator, top), Part::new(operator, branch)]
            }
        };
        self.combined = Some(operator);
        self.top = Some(Node::Bool(clauses));
        within(self.height)
    }
}

fn within(height: usize) -> Result<(), TooMuch> {
    if height > MAX_HEIGHT {
        return Err(TooMuch::Nested);
    }
    Ok(())
}

impl Parser {
    /// The tree of a group, and how deep it is.
    fn group(&mut self, end: usize, depth: usize) -> Result<(Node, usize), TooMuch> {
        let mut tree = Tree {
            top: None,
            height: 0,
            combined: None,
            operator: None,
            negated: false,
        };
        while self.place < end {
            let character = self.characters[self.place];
            match character {
                '(' if self.flags.has(PRECEDENCE) => {
                    let close = self.close(end).filter(|_| depth < MAX_DEPTH);
                    self.place += 1;
                    if let Some(close) = close {
                        let (node, height) = self.group(close, depth + 1)?;
                        self.place = close + 1;
                        if node != Node::Empty {
                            tree.add(node, height, self.default)?;
                        }
                    }
                }
                ')' if self.flags.has(PRECEDENCE) => self.place += 1,
                '"' if self.flags.has(PHRASE) => {
                    if let Some(node) = self.phrase(end) {
                        self.count()?;
                        tree.add(node, 0, self.default)?;
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
                        self.count()?;
                        tree.add(node, 0, self.default)?;
                    }
                }
            }
            tree.negated = false;
        }
        Ok((tree.top.unwrap_or(Node::Empty), tree.height))
    }

    fn count(&mut self) -> Result<(), TooMuch> {
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(TooMuch::Clauses);
        }
        Ok(())
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

    /// Where the group that begins here is closed, if that is before `end`.
    fn close(&self, end: usize) -> Option<usize> {
        let pair = self
            .closing
            .binary_search_by_key(&self.place, |(begun, _)| *begun);
        let (_, close) = *self.closing.get(pair.ok()?)?;
        (close < end).then_some(close)
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
                    let mut slop = None;
                    if self.flags.has(NEAR)
                        && self.place < end
                        && self.characters[self.place] == '~'
                    {
                        if self.place + 1 < end {
                            slop = Some(self.edits(end));
                        }
                        // Lucene passes over whatever ends the number, too.
                        self.place = (self.place + 1).min(end);
                    }
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

    /// The number behind the `~` here: 2 where there is nothing, 0 where there
    /// is no number.
    fn edits(&mut self, end: usize) -> u32 {
        let start = self.place + 1;
        self.place = start;
        while self.place < end && !self.ends_word(self.characters[self.place]) {
            self.place += 1;
        }
        if self.place == start {
            return 2;
        }
        let written: String = self.characters[start..self.place].iter().collect();
        let number = written.parse::<i32>().unwrap_or(0);
        u32::try_from(number).unwrap_or(0)
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
            if character == '~' && !text.is_empty() && self.flags.has(FUZZY) {
                return Some(match self.edits(end) {
                    0 => Node::Word { field: None, text },
                    edits => Node::Fuzzy {
                        field: None,
                        text,
                        distance: Some(Number(edits.min(MAX_EDITS).to_string())),
                    },
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
