//! URL patterns of access rules: one grammar, read either into a [`Pattern`]
//! or, without allocating, straight against a path.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base::{Base, split_origin};
use super::path::{CanonicalPath, PathError, Steps, decode_segment};

/// A set of paths: segments, each a literal, `{name}` (any one segment),
/// `{name:uuid}`, `{name:int}` or `*`, and at the end perhaps `**`, which takes
/// the rest, at least one segment.
///
/// It begins with `{mscp_api_url}` or `[mscp_api_url]` (the [`Base`]), with `/`
/// (the path from the origin), or with an origin, which must be the base's own
/// or the pattern never matches. Literals may be percent-encoded; they compare
/// case-sensitively. A trailing slash is part of the pattern.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    written: String,
    anchor: Anchor,
    segments: Vec<Segment>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Anchor {
    Base,
    Root,
    Origin(String),
    /// A text of a token that is no pattern: it is kept and matches nothing.
    Nowhere,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Literal(String),
    Any,
    Uuid,
    Int,
}

/// How a pattern ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    /// With its last segment.
    Here,
    /// With a slash behind it.
    Slash,
    /// With `**`.
    Rest,
}

/// Why a text is no [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It begins with nothing that a pattern begins with.
    #[error("pattern {0:?} must begin with {{mscp_api_url}}, \"/\" or http(s)://host")]
    Beginning(String),
    /// `//`.
    #[error("pattern {0:?} has an empty segment")]
    EmptySegment(String),
    /// `**` somewhere else than at the end.
    #[error("pattern {0:?} has \"**\" before its end")]
    RestNotLast(String),
    /// `{`, `}` or `*` that is not a whole segment, or a type that is unknown.
    #[error(
        "pattern {pattern:?} has the segment {segment:?}; expected a literal, {{name}}, {{name:uuid}}, {{name:int}}, \"*\", or \"**\" at the end"
    )]
    Wildcard {
        /// The whole.
        pattern: String,
        /// The part at fault.
        segment: String,
    },
    /// A literal that no canonical path can have.
    #[error("pattern {pattern:?} can match no path: {reason}")]
    Literal {
        /// The whole.
        pattern: String,
        /// What is wrong with the segment.
        reason: PathError,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// ```
    /// use mscp_log_core::access::{Base, CanonicalPath, Pattern};
    /// let base = Base::new("/api", None)?;
    /// let pattern = Pattern::parse("{mscp_api_url}/apps/{appid:UUID}/log")?;
    /// let path = CanonicalPath::parse("/api/apps/caa0c2f0-1116-495f-8f09-3cd023cc14a2/log")?;
    /// assert!(pattern.matches(&path, &base));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the text is not in the grammar; see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let fault = |fault| match fault {
            Fault::Beginning => PatternError::Beginning(text.to_owned()),
            Fault::EmptySegment => PatternError::EmptySegment(text.to_owned()),
            Fault::RestNotLast => PatternError::RestNotLast(text.to_owned()),
            Fault::Wildcard(segment) => PatternError::Wildcard {
                pattern: text.to_owned(),
                segment: segment.to_owned(),
            },
            Fault::Literal(reason) => PatternError::Literal {
                pattern: text.to_owned(),
                reason,
            },
        };
        let (anchor, parts) = beginning(text).map_err(fault)?;
        let mut segments = Vec::new();
        let mut end = End::Here;
        for part in parts {
            match part.map_err(fault)? {
                Part::Literal(literal) => segments.push(Segment::Literal(literal.into_owned())),
                Part::Any => segments.push(Segment::Any),
                Part::Uuid => segments.push(Segment::Uuid),
                Part::Int => segments.push(Segment::Int),
                Part::Slash => end = End::Slash,
                Part::Rest => end = End::Rest,
            }
        }
        Ok(Self {
            written: text.to_owned(),
            anchor: match anchor {
                Beginning::Base => Anchor::Base,
                Beginning::Root => Anchor::Root,
                Beginning::Origin(origin) => Anchor::Origin(origin),
            },
            segments,
            end,
        })
    }

    /// Reads a pattern of a token. What is not in the grammar matches nothing:
    /// a token of the wider platform may hold rules that are not for us.
    pub(super) fn parse_or_nowhere(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| Self {
            written: text.to_owned(),
            anchor: Anchor::Nowhere,
            segments: Vec::new(),
            end: End::Here,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the path is in the set.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath, base: &Base) -> bool {
        let mut steps = path.steps();
        self.sets(base).is_some_and(|mut sets| {
            sets.all(|set| steps.next().is_some_and(|found| set.holds(found)))
                && ends(steps, self.end)
        })
    }

    /// Whether every path of `other` is also one of this pattern.
    ///
    /// A pattern that can never match here (another origin) contains nothing
    /// and is contained in nothing: elsewhere it may mean something.
    #[must_use]
    pub fn contains(&self, other: &Self, base: &Base) -> bool {
        let (Some(ours), Some(theirs)) = (self.sets(base), other.sets(base)) else {
            return false;
        };
        let (our_count, their_count) = (ours.clone().count(), theirs.clone().count());
        let lengths = match (self.end, other.end) {
            (End::Rest, End::Rest) => their_count >= our_count,
            (End::Rest, End::Here | End::Slash) => their_count > our_count,
            (End::Here | End::Slash, End::Rest) => false,
            (our_end, their_end) => our_end == their_end && their_count == our_count,
        };
        lengths && ours.zip(theirs).all(|(our, their)| our.contains(their))
    }

    /// Whether some path of the set begins with these segments and has at least
    /// one more behind them.
    #[must_use]
    pub fn reaches_below(&self, prefix: &[&str], base: &Base) -> bool {
        self.sets(base).is_some_and(|sets| {
            (self.end == End::Rest || sets.clone().count() > prefix.len())
                && sets.zip(prefix).all(|(set, found)| set.holds(found))
        })
    }

    /// What each segment from the origin on allows; `None` where the pattern
    /// never matches.
    fn sets<'a>(&'a self, base: &'a Base) -> Option<impl Iterator<Item = Set<'a>> + Clone> {
        let prefix = match &self.anchor {
            Anchor::Base => Some(base.segments()),
            Anchor::Root => None,
            Anchor::Origin(origin) if base.origin() == Some(origin) => None,
            Anchor::Origin(_) | Anchor::Nowhere => return None,
        };
        let prefix = prefix.into_iter().flatten().map(Set::Literal);
        Some(prefix.chain(self.segments.iter().map(Segment::as_set)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether a pattern as it is written matches: what [`Pattern::parse`] and
/// [`Pattern::matches`] say together, without building anything.
pub(super) fn written_matches(text: &str, path: &CanonicalPath, base: &Base) -> bool {
    let Ok((anchor, parts)) = beginning(text) else {
        return false;
    };
    let mut steps = path.steps();
    match anchor {
        Beginning::Root => {}
        Beginning::Base => {
            if base.segments().any(|segment| steps.next() != Some(segment)) {
                return false;
            }
        }
        Beginning::Origin(origin) => {
            if base.origin() != Some(origin.as_str()) {
                return false;
            }
        }
    }
    let mut end = End::Here;
    for part in parts {
        let Ok(part) = part else { return false };
        let set = match &part {
            Part::Literal(literal) => Set::Literal(literal),
            Part::Any => Set::Any,
            Part::Uuid => Set::Uuid,
            Part::Int => Set::Int,
            Part::Slash => {
                end = End::Slash;
                continue;
            }
            Part::Rest => {
                end = End::Rest;
                continue;
            }
        };
        if !steps.next().is_some_and(|found| set.holds(found)) {
            return false;
        }
    }
    ends(steps, end)
}

/// Whether the steps that remain are what the end takes.
fn ends(mut steps: Steps<'_>, end: End) -> bool {
    match end {
        End::Here => steps.rest().is_empty(),
        End::Slash => steps.rest() == "/",
        End::Rest => steps.next().is_some(),
    }
}

/// What one segment of a pattern allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set<'a> {
    Literal(&'a str),
    Any,
    Uuid,
    Int,
}

impl Set<'_> {
    fn holds(self, segment: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == segment,
            Self::Any => true,
            Self::Uuid => is_uuid(segment),
            Self::Int => is_int(segment),
        }
    }

    fn contains(self, other: Set<'_>) -> bool {
        match other {
            Set::Literal(literal) => self.holds(literal),
            Set::Any | Set::Uuid | Set::Int => self == Set::Any || self == other,
        }
    }
}

impl Segment {
    fn as_set(&self) -> Set<'_> {
        match self {
            Self::Literal(literal) => Set::Literal(literal),
            Self::Any => Set::Any,
            Self::Uuid => Set::Uuid,
            Self::Int => Set::Int,
        }
    }
}

/// 8-4-4-4-12 hexadecimal digits (RFC 9562 section 4), in either case.
fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment.bytes().enumerate().all(|(place, byte)| {
            if matches!(place, 8 | 13 | 18 | 23) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// Decimal digits, as `:int` in the routes of the original's web framework.
fn is_int(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

enum Beginning {
    Base,
    Root,
    Origin(String),
}

/// One step of a pattern as it is written.
enum Part<'a> {
    Literal(Cow<'a, str>),
    Any,
    Uuid,
    Int,
    /// Only as the last.
    Slash,
    /// Only as the last.
    Rest,
}

enum Fault<'a> {
    Beginning,
    EmptySegment,
    RestNotLast,
    Wildcard(&'a str),
    Literal(PathError),
}

const BASE: &str = "mscp_api_url";

/// What the pattern begins with, and the parts behind it.
fn beginning(text: &str) -> Result<(Beginning, Parts<'_>), Fault<'_>> {
    let behind_base = ["{mscp_api_url}", "[mscp_api_url]"]
        .iter()
        .find_map(|written| text.strip_prefix(written));
    let (beginning, rest) = if let Some(rest) = behind_base {
        (Beginning::Base, rest)
    } else if text.starts_with('/') {
        (Beginning::Root, text)
    } else {
        let (origin, rest) = split_origin(text).ok_or(Fault::Beginning)?;
        (Beginning::Origin(origin), rest)
    };
    if rest.is_empty() {
        return Ok((beginning, Parts { rest: None }));
    }
    let rest = rest.strip_prefix('/').ok_or(Fault::Beginning)?;
    Ok((beginning, Parts { rest: Some(rest) }))
}

struct Parts<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Fault<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (segment, behind) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        self.rest = behind;
        Some(part(segment, behind.is_none()))
    }
}

fn part(segment: &str, last: bool) -> Result<Part<'_>, Fault<'_>> {
    match segment {
        "" if last => return Ok(Part::Slash),
        "" => return Err(Fault::EmptySegment),
        "*" => return Ok(Part::Any),
        "**" if last => return Ok(Part::Rest),
        "**" => return Err(Fault::RestNotLast),
        _ => {}
    }
    let inner = segment
        .strip_prefix('{')
        .and_then(|behind| behind.strip_suffix('}'));
    if let Some(inner) = inner {
        return parameter(inner).ok_or(Fault::Wildcard(segment));
    }
    if memchr::memchr3(b'{', b'}', b'*', segment.as_bytes()).is_some() {
        return Err(Fault::Wildcard(segment));
    }
    decode_segment(segment)
        .map(Part::Literal)
        .map_err(Fault::Literal)
}

/// What stands between the braces: a name, and perhaps a type.
fn parameter(inner: &str) -> Option<Part<'static>> {
    let (name, kind) = match inner.split_once(':') {
        Some((name, kind)) => (name, Some(kind)),
        None => (inner, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    // The base stands at the beginning or nowhere.
    if name.is_empty() || name == BASE || !name.bytes().all(plain) {
        return None;
    }
    match kind {
        None => Some(Part::Any),
        Some(kind) if kind.eq_ignore_ascii_case("uuid") => Some(Part::Uuid),
        Some(kind) if kind.eq_ignore_ascii_case("int") => Some(Part::Int),
        Some(_) => None,
    }
}
