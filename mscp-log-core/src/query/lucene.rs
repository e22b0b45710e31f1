//! The Lucene syntax of `query_string` and `simple_query_string`, a grammar of
//! its own: text in, tree out.

pub use super::lucene_parse::{Settings, parse};
pub use super::lucene_simple::{Flags, TooMuch, parse_simple};

/// A tree of a query string.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Node {
    /// Nothing was written.
    #[default]
    Empty,
    /// A word (`error`), or several without an operator between them (`two
    /// words`): a text field finds each, combined by the default operator, and
    /// a keyword field the whole.
    Word {
        /// The field, `None` for the default.
        field: Option<String>,
        /// The word, escapes resolved.
        text: String,
    },
    /// `"two words"~2`
    Phrase {
        /// The field, `None` for the default.
        field: Option<String>,
        /// The text between the quotes, escapes resolved.
        text: String,
        /// Behind `~`.
        slop: Option<u64>,
    },
    /// `err*`: the text before the star, escapes resolved.
    Prefix {
        /// The field, `None` for the default.
        field: Option<String>,
        /// Without the star.
        text: String,
    },
    /// `e?r*`: in the syntax of a `wildcard` query, escapes kept.
    Wildcard {
        /// The field, `None` for the default.
        field: Option<String>,
        /// As a `wildcard` query takes it.
        pattern: String,
    },
    /// `/err.*/`
    Regexp {
        /// The field, `None` for the default.
        field: Option<String>,
        /// Between the slashes.
        expression: String,
    },
    /// `errr~1`
    Fuzzy {
        /// The field, `None` for the default.
        field: Option<String>,
        /// The word.
        text: String,
        /// Behind `~`.
        distance: Option<super::ast::Number>,
    },
    /// `[a TO b}` and `>=a`; `None` is an open end.
    Range {
        /// The field, `None` for the default.
        field: Option<String>,
        /// Lower bound and whether it is within.
        low: Option<(String, bool)>,
        /// Upper bound and whether it is within.
        high: Option<(String, bool)>,
    },
    /// `_exists_:field` (and `field:*`)
    Exists {
        /// The field.
        field: String,
    },
    /// `*:*`
    All,
    /// A text that is none of this syntax, with what is wrong with it. It is
    /// no error of the body: an engine says so when it searches, so that what
    /// is wrong with the rest, or an index that is missing, is said first.
    Unreadable(String),
    /// Clauses as Lucene's classic parser combines them. Where all are
    /// `MustNot`, everything but those matches.
    Bool(Vec<Part>),
    /// `x^2`
    Boost(Box<Node>, super::ast::Number),
}

/// One of the clauses of a [`Node::Bool`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Whether it must match, as it is written itself.
    pub occur: Occur,
    /// What its operator makes of the clause before it, if that may match:
    /// `a AND b` makes `a` one that must.
    pub before: Option<Occur>,
    /// The clause.
    pub node: Node,
}

impl Part {
    /// A clause that says nothing of the one before it.
    #[must_use]
    pub fn new(occur: Occur, node: Node) -> Self {
        Self {
            occur,
            before: None,
            node,
        }
    }
}

/// How the clauses of a [`Node::Bool`] match, of those of which `made` leaves
/// something: a word without letters is none, and the operator behind it is about
/// the clause before it. As in Lucene's `QueryParserBase.addClause`.
///
/// # Errors
/// The first one of `made`.
pub fn combined<'a, T, E>(
    parts: &'a [Part],
    mut made: impl FnMut(&'a Node) -> Result<Option<T>, E>,
) -> Result<Vec<(Occur, T)>, E> {
    let mut left: Vec<(Occur, T)> = Vec::with_capacity(parts.len());
    for part in parts {
        let made = made(&part.node)?;
        if let (Some(change), Some((before, _))) = (part.before, left.last_mut())
            && *before != Occur::MustNot
        {
            *before = change;
        }
        if let Some(made) = made {
            left.push((part.occur, made));
        }
    }
    Ok(left)
}

/// Whether a clause must, may or must not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occur {
    /// `+x`, `a AND x`
    Must,
    /// `x`
    Should,
    /// `-x`, `NOT x`
    MustNot,
}
