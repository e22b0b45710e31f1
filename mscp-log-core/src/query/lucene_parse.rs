//! Reads the syntax of `query_string`, as Lucene's classic parser does with
//! the additions of Elasticsearch (`_exists_:`, `field:>=1`, `field:*`).

use super::ast::{Number, Operator};
use super::lucene::{Node, Occur, Part};

/// How deep groups may nest.
const MAX_DEPTH: usize = 30;
/// How many clauses one text may have (`indices.query.bool.max_clause_count`).
const MAX_CLAUSES: usize = 1_024;

/// What a text means depends on these.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How clauses without an operator combine.
    pub default_operator: Operator,
    /// Whether a word may begin with `*` or `?`.
    pub allow_leading_wildcard: bool,
    /// Whether words that name no field are looked for in every field.
    pub all_fields: bool,
    /// Whether `>5` is a range where it names no field, as it is where no list
    /// of fields is given.
    pub bare_ranges: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_operator: Operator::Or,
            allow_leading_wildcard: true,
            all_fields: true,
            bare_ranges: true,
        }
    }
}

/// Read the text of a `query_string`.
///
/// Words that stand next to each other without an operator are one
/// [`Node::Word`] (`two words`): a text field finds each of them, combined by
/// the default operator, and a keyword field the whole.
///
/// # Errors
/// A text that Lucene refuses, with more than 1,024 clauses, or with groups
/// more than 30 deep; the error says where.
///
/// ```
/// use mscp_log_core::query::lucene::{Node, Settings, parse};
/// let node = parse("level:error", Settings::default()).unwrap();
/// assert_eq!(node, Node::Word { field: Some("level".into()), text: "error".into() });
/// ```
pub fn parse(text: &str, settings: Settings) -> Result<Node, String> {
    let tokens = Lexer::new(text).tokens()?;
    if tokens.is_empty() {
        return Ok(Node::Empty);
    }
    let mut parser = Parser {
        tokens,
        place: 0,
        settings,
        clauses: 0,
    };
    let node = parser.query(None, 0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(format!("unexpected {token:?}")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    And,
    Or,
    Not,
    Plus,
    Minus,
    Open,
    Close,
    Colon,
    Star,
    /// With its escapes.
    Term(String),
    Prefix(String),
    Wild(String),
    /// Escapes resolved.
    Quoted(String),
    Regexp(String),
    /// Behind `~`.
    Tilde(String),
    /// Behind `^`.
    Caret(String),
    Range {
        low: String,
        high: String,
        with_low: bool,
        with_high: bool,
    },
}

struct Lexer<'a> {
    text: &'a str,
    place: usize,
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{3000}')
}

/// Signs that cannot begin a word; `-` and `+` may stand within one.
fn is_special(character: char) -> bool {
    is_space(character) || "+-!():^[]\"{}~*?\\/".contains(character)
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, place: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.place..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.place += character.len_utf8();
        Some(character)
    }

    fn error<T>(&self, what: &str) -> Result<T, String> {
        let column = self.text[..self.place].chars().count();
        Err(format!("{what} at column {column}"))
    }

    fn tokens(mut self) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        while let Some(character) = self.peek() {
            let single = match character {
                '+' => Some(Token::Plus),
                '-' => Some(Token::Minus),
                '!' => Some(Token::Not),
                '(' => Some(Token::Open),
                ')' => Some(Token::Close),
                ':' => Some(Token::Colon),
                _ => None,
            };
            if let Some(token) = single {
                self.place += 1;
                tokens.push(token);
                continue;
            }
            match character {
                _ if is_space(character) => {
                    self.next();
                }
                '"' => tokens.push(Token::Quoted(self.delimited('"')?)),
                '/' => tokens.push(Token::Regexp(self.expression()?)),
                '[' | '{' => tokens.push(self.range(character == '[')?),
                '~' => {
                    self.place += 1;
                    tokens.push(Token::Tilde(self.decimal()));
                }
                '^' => {
                    self.place += 1;
                    let number = self.decimal();
                    if number.is_empty() {
                        return self.error("a number is expected behind ^");
                    }
                    tokens.push(Token::Caret(number));
                }
                ']' | '}' => return self.error("unexpected end of a range"),
                _ => tokens.push(self.word()?),
            }
        }
        Ok(tokens)
    }

    fn decimal(&mut self) -> String {
        let start = self.place;
        while self
            .peek()
            .is_some_and(|character| character.is_ascii_digit())
        {
            self.place += 1;
        }
        let rest = &self.text[self.place..];
        let is_fraction = self.place > start
            && rest.starts_with('.')
            && rest[1..].starts_with(|next: char| next.is_ascii_digit());
        if is_fraction {
            self.place += 1;
            while self
                .peek()
                .is_some_and(|character| character.is_ascii_digit())
            {
                self.place += 1;
            }
        }
        self.text[start..self.place].to_owned()
    }

    /// Up to the closing sign, escapes resolved.
    fn delimited(&mut self, end: char) -> Result<String, String> {
        self.place += 1;
        let start = self.place;
        loop {
            match self.next() {
                None => return self.error("missing closing quote"),
                Some('\\') => {
                    self.next();
                }
                Some(character) if character == end => {
                    return unescape(&self.text[start..self.place - 1]);
                }
                Some(_) => {}
            }
        }
    }

    /// Up to the closing `/`; only `\/` is an escape of ours, the others are
    /// the expression's.
    fn expression(&mut self) -> Result<String, String> {
        self.place += 1;
        let mut expression = String::new();
        loop {
            match self.next() {
                None => return self.error("missing closing /"),
                Some('/') => return Ok(expression),
                Some('\\') if self.peek() == Some('/') => {
                    self.next();
                    expression.push('/');
                }
                Some(character) => expression.push(character),
            }
        }
    }

    fn range(&mut self, with_low: bool) -> Result<Token, String> {
        self.place += 1;
        let low = self.bound()?;
        self.spaces();
        if self.text[self.place..].starts_with("TO") {
            self.place += 2;
        }
        let high = self.bound()?;
        self.spaces();
        match self.next() {
            Some(character @ (']' | '}')) => Ok(Token::Range {
                low,
                high,
                with_low,
                with_high: character == ']',
            }),
            _ => self.error("a range ends with ] or }"),
        }
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.next();
        }
    }

    fn bound(&mut self) -> Result<String, String> {
        self.spaces();
        if self.peek() == Some('"') {
            let quoted = self.delimited('"')?;
            // A quoted star is a star, not an open end.
            return Ok(if quoted == "*" {
                "\\*".to_owned()
            } else {
                quoted
            });
        }
        let start = self.place;
        while self
            .peek()
            .is_some_and(|character| !is_space(character) && character != ']' && character != '}')
        {
            self.next();
        }
        let written = &self.text[start..self.place];
        if written.is_empty() {
            return self.error("a range has two bounds");
        }
        unescape(written)
    }

    fn word(&mut self) -> Result<Token, String> {
        let start = self.place;
        let mut wild = Vec::new();
        while let Some(character) = self.peek() {
            match character {
                '\\' => {
                    self.next();
                    if self.next().is_none() {
                        return self.error("nothing to escape behind \\");
                    }
                }
                '*' | '?' => {
                    wild.push((self.place, character));
                    self.next();
                }
                '-' | '+' => {
                    self.next();
                }
                _ if is_special(character) => break,
                _ => {
                    self.next();
                }
            }
        }
        let written = &self.text[start..self.place];
        Ok(match (written, wild.as_slice()) {
            ("AND" | "&&", _) => Token::And,
            ("OR" | "||", _) => Token::Or,
            ("NOT", _) => Token::Not,
            ("*", _) => Token::Star,
            (_, []) => Token::Term(written.to_owned()),
            (_, [(place, '*')]) if place + 1 == self.place => {
                Token::Prefix(written[..written.len() - 1].to_owned())
            }
            _ => Token::Wild(written.to_owned()),
        })
    }
}

/// A text without its escapes: `\x` is `x`, `\u0041` is `A`.
fn unescape(written: &str) -> Result<String, String> {
    let mut text = String::with_capacity(written.len());
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            None => return Err("nothing to escape behind \\".to_owned()),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let code = (digits.len() == 4)
                    .then(|| u32::from_str_radix(&digits, 16).ok())
                    .flatten();
                let character = code
                    .and_then(char::from_u32)
                    .ok_or_else(|| format!("\\u{digits} is no character"))?;
                text.push(character);
            }
            Some(escaped) => text.push(escaped),
        }
    }
    Ok(text)
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
    settings: Settings,
    clauses: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Conjunction {
    None,
    And,
    Or,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.place).cloned();
        self.place += 1;
        token
    }

    /// The next words when they stand without an operator: one text.
    fn words(&mut self) -> Option<String> {
        let mut words: Vec<&str> = Vec::new();
        while let Some(Token::Term(word)) = self.tokens.get(self.place + words.len()) {
            // A word before these belongs to them, not to the text.
            let behind = self.tokens.get(self.place + words.len() + 1);
            if matches!(
                behind,
                Some(
                    Token::Colon
                        | Token::Star
                        | Token::Tilde(_)
                        | Token::Caret(_)
                        | Token::And
                        | Token::Or
                )
            ) {
                break;
            }
            words.push(word);
        }
        if words.len() < 2 {
            return None;
        }
        let text = words.join(" ");
        self.place += words.len();
        Some(text)
    }

    fn query(&mut self, field: Option<&str>, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("groups are nested more than {MAX_DEPTH} deep"));
        }
        let mut clauses: Vec<Part> = Vec::new();
        let mut plain = false;
        while !matches!(self.peek(), None | Some(Token::Close)) {
            self.clauses += 1;
            if self.clauses > MAX_CLAUSES {
                return Err(format!("too many clauses, the maximum is {MAX_CLAUSES}"));
            }
            if let Some(text) = self.words() {
                let node = Node::Word {
                    field: field.map(str::to_owned),
                    text: unescape(&text)?,
                };
                plain = clauses.is_empty();
                clauses.push(self.part(Conjunction::None, None, node));
                continue;
            }
            let conjunction = match self.peek() {
                Some(Token::And) => Conjunction::And,
                Some(Token::Or) => Conjunction::Or,
                _ => Conjunction::None,
            };
            if conjunction != Conjunction::None {
                if clauses.is_empty() {
                    return Err("an operator with nothing before it".to_owned());
                }
                self.place += 1;
            }
            let modifier = match self.peek() {
                Some(Token::Plus) => Some(Occur::Must),
                Some(Token::Minus | Token::Not) => Some(Occur::MustNot),
                _ => None,
            };
            if modifier.is_some() {
                self.place += 1;
            }
            let node = self.clause(field, depth)?;
            plain = clauses.is_empty() && modifier.is_none();
            clauses.push(self.part(conjunction, modifier, node));
        }
        match clauses.len() {
            0 => Err("a group without clauses".to_owned()),
            1 if plain => Ok(clauses.remove(0).node),
            _ => Ok(Node::Bool(clauses)),
        }
    }

    /// Lucene's rules: `AND` makes both sides required, and where `AND` is the
    /// default, `OR` makes both optional; nothing has precedence.
    fn part(&self, conjunction: Conjunction, modifier: Option<Occur>, node: Node) -> Part {
        let and_is_default = self.settings.default_operator == Operator::And;
        let before = match conjunction {
            Conjunction::And => Some(Occur::Must),
            Conjunction::Or if and_is_default => Some(Occur::Should),
            _ => None,
        };
        let required = if and_is_default {
            conjunction != Conjunction::Or
        } else {
            modifier == Some(Occur::Must) || conjunction == Conjunction::And
        };
        let occur = match modifier {
            Some(Occur::MustNot) => Occur::MustNot,
            _ if required => Occur::Must,
            _ => Occur::Should,
        };
        Part {
            occur,
            before,
            node,
        }
    }

    fn clause(&mut self, outer: Option<&str>, depth: usize) -> Result<Node, String> {
        let mut own = None;
        if self.tokens.get(self.place + 1) == Some(&Token::Colon) {
            own = match self.peek() {
                Some(Token::Term(name)) => Some(unescape(name)?),
                Some(Token::Star) => Some("*".to_owned()),
                _ => None,
            };
            if own.is_some() {
                self.place += 2;
            }
        }
        let field = own.as_deref().or(outer);
        let node = match self.next() {
            Some(Token::Open) => {
                let node = self.query(field, depth + 1)?;
                if self.next() != Some(Token::Close) {
                    return Err("missing )".to_owned());
                }
                node
            }
            Some(token) => self.leaf(token, field)?,
            None => return Err("unexpected end".to_owned()),
        };
        if let Some(Token::Caret(boost)) = self.peek() {
            let boost = Number(canonical(boost));
            self.place += 1;
            return Ok(Node::Boost(Box::new(node), boost));
        }
        Ok(node)
    }

    /// What stands behind `~`, also when a boost stands before it.
    fn tilde(&mut self) -> Option<String> {
        let place = match (self.peek(), self.tokens.get(self.place + 1)) {
            (Some(Token::Tilde(_)), _) => self.place,
            (Some(Token::Caret(_)), Some(Token::Tilde(_))) => self.place + 1,
            _ => return None,
        };
        match self.tokens.remove(place) {
            Token::Tilde(number) => Some(number),
            _ => None,
        }
    }

    fn leaf(&mut self, token: Token, field: Option<&str>) -> Result<Node, String> {
        let own = field.map(str::to_owned);
        let tilde = self.tilde();
        Ok(match token {
            Token::Term(written) => {
                let text = unescape(&written)?;
                match (field, tilde) {
                    (Some("_exists_"), _) => Node::Exists { field: text },
                    (_, Some(distance)) => Node::Fuzzy {
                        field: own,
                        text,
                        distance: (!distance.is_empty()).then(|| Number(canonical(&distance))),
                    },
                    (field, None) if field.is_some() || self.settings.bare_ranges => {
                        one_sided(field, &text).unwrap_or(Node::Word { field: own, text })
                    }
                    (_, None) => Node::Word { field: own, text },
                }
            }
            Token::Star => match field {
                None if self.settings.all_fields => Node::All,
                None => Node::Wildcard {
                    field: None,
                    pattern: "*".to_owned(),
                },
                Some("*") => Node::All,
                Some(field) => Node::Exists {
                    field: field.to_owned(),
                },
            },
            Token::Prefix(written) => Node::Prefix {
                field: own,
                text: unescape(&written)?,
            },
            Token::Wild(pattern) => {
                if pattern.starts_with(['*', '?']) && !self.settings.allow_leading_wildcard {
                    return Err(
                        "'*' or '?' not allowed as first character in WildcardQuery".to_owned()
                    );
                }
                Node::Wildcard {
                    field: own,
                    pattern,
                }
            }
            Token::Quoted(text) => {
                if field == Some("_exists_") {
                    return Ok(Node::Exists { field: text });
                }
                let slop = match tilde.as_deref() {
                    None | Some("") => None,
                    Some(slop) => {
                        let whole = slop.split('.').next().unwrap_or(slop);
                        Some(
                            whole
                                .parse()
                                .ok()
                                .filter(|slop| *slop <= u64::from(u32::MAX))
                                .ok_or("slop is too great")?,
                        )
                    }
                };
                Node::Phrase {
                    field: own,
                    text,
                    slop,
                }
            }
            Token::Regexp(expression) => Node::Regexp {
                field: own,
                expression,
            },
            Token::Range {
                low,
                high,
                with_low,
                with_high,
            } => {
                let bound = |text: String, within| match text.as_str() {
                    "*" => None,
                    "\\*" => Some(("*".to_owned(), within)),
                    _ => Some((text, within)),
                };
                Node::Range {
                    field: own,
                    low: bound(low, with_low),
                    high: bound(high, with_high),
                }
            }
            other => return Err(format!("unexpected {other:?}")),
        })
    }
}

/// `>=1` and its like.
fn one_sided(field: Option<&str>, text: &str) -> Option<Node> {
    let field = field.map(str::to_owned);
    let bound = |text: &str, within| (!text.is_empty()).then(|| (text.to_owned(), within));
    let (low, high) = if let Some(text) = text.strip_prefix(">=") {
        (Some(bound(text, true)?), None)
    } else if let Some(text) = text.strip_prefix("<=") {
        (None, Some(bound(text, true)?))
    } else if let Some(text) = text.strip_prefix('>') {
        (Some(bound(text, false)?), None)
    } else {
        (None, Some(bound(text.strip_prefix('<')?, false)?))
    };
    Some(Node::Range { field, low, high })
}

/// Digits as a number of JSON: without leading zeros.
fn canonical(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    match trimmed.chars().next() {
        None => "0".to_owned(),
        Some('.') => format!("0{trimmed}"),
        Some(_) => trimmed.to_owned(),
    }
}
