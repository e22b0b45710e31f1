//! The one canonical form of a request's path, made once, before routing and
//! before deciding, so that no two parts of a system can read it differently.

use std::borrow::Cow;
use std::fmt;

/// A path of which only one reading is possible: every segment is UTF-8, none
/// is empty, `.` or `..`, and none holds a `/`, `\`, `;`, `#`, a control
/// character or anything that would be an escape if it were decoded again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalPath {
    /// Percent-encoded, and nothing encoded that need not be.
    encoded: String,
    /// Decoded; as no segment holds a `/`, the segments are what lies between.
    decoded: String,
}

/// Why a path was refused. The answer to such a request is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path must begin with \"/\"")]
    NotAbsolute,
    /// `//`.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has a \".\" or \"..\" segment")]
    DotSegment,
    /// `\`, `;`, `#`, `?`, a space or a control character, plain or encoded
    /// where an encoded one could be read as a separator.
    #[error("the path has the character {0:?}, which no path here may have")]
    Character(char),
    /// `%2f`, `%5c`, `%2e`, `%00`.
    #[error("the path has the encoded form of {0:?}, which no path here may have")]
    EncodedForm(char),
    /// A `%` without two hexadecimal digits behind it.
    #[error("the path has a \"%\" without two hexadecimal digits after it")]
    Escape,
    /// What remains after decoding could be decoded once more.
    #[error("the path is encoded twice")]
    DoubleEncoding,
    /// The bytes are not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

impl CanonicalPath {
    /// Takes a path as it stands in the request line, without the query.
    ///
    /// ```
    /// use mscp_log_core::access::CanonicalPath;
    /// let path = CanonicalPath::parse("/api/%6cocal/log/a%20b")?;
    /// assert_eq!(path.as_str(), "/api/local/log/a%20b");
    /// assert_eq!(path.segments().last(), Some("a b"));
    /// assert!(CanonicalPath::parse("/api/%2e%2e/system").is_err());
    /// # Ok::<(), mscp_log_core::access::PathError>(())
    /// ```
    ///
    /// # Errors
    /// Anything that could be read in two ways; see [`PathError`].
    pub fn parse(raw_path: &str) -> Result<Self, PathError> {
        let Some(rest) = raw_path.strip_prefix('/') else {
            return Err(PathError::NotAbsolute);
        };
        let mut encoded = String::with_capacity(raw_path.len());
        let mut decoded = String::with_capacity(raw_path.len());
        let mut segments = rest.split('/').peekable();
        while let Some(raw) = segments.next() {
            encoded.push('/');
            decoded.push('/');
            let last = segments.peek().is_none();
            if raw.is_empty() {
                if last {
                    break;
                }
                return Err(PathError::EmptySegment);
            }
            let segment = decode_segment(raw)?;
            decoded.push_str(&segment);
            encode_segment(&segment, &mut encoded);
        }
        Ok(Self { encoded, decoded })
    }

    /// The segments, decoded. The empty one behind a trailing slash is not
    /// among them; see [`CanonicalPath::has_trailing_slash`].
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        // Nothing decoded is empty, so only the ends can be.
        self.decoded
            .split('/')
            .filter(|segment| !segment.is_empty())
    }

    /// `/a/` is another path than `/a`.
    #[must_use]
    pub fn has_trailing_slash(&self) -> bool {
        self.decoded.ends_with('/')
    }

    /// The canonical form, percent-encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.encoded
    }

    pub(super) fn steps(&self) -> Steps<'_> {
        Steps {
            rest: &self.decoded,
        }
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoded)
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.encoded, f)
    }
}

/// The segments of a path from its beginning, one by one.
#[derive(Clone)]
pub(super) struct Steps<'p> {
    /// What has not been taken: empty, or with a `/` at its beginning.
    rest: &'p str,
}

impl Steps<'_> {
    /// What has not been taken: empty, or `/`, or `/` and segments.
    pub(super) fn rest(&self) -> &str {
        self.rest
    }
}

impl<'p> Iterator for Steps<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        let behind = self.rest.strip_prefix('/')?;
        let length = memchr::memchr(b'/', behind.as_bytes()).unwrap_or(behind.len());
        let (segment, rest) = behind.split_at(length);
        if segment.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(segment)
    }
}

/// Decodes one segment, which is not empty, and refuses what has two readings.
/// Patterns use it too: their literals are segments of a path.
pub(super) fn decode_segment(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw == "." || raw == ".." {
        return Err(PathError::DotSegment);
    }
    // Almost every segment: nothing to decode, nothing to refuse.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if raw.bytes().all(plain) {
        return Ok(Cow::Borrowed(raw));
    }
    if memchr::memchr(b'%', raw.as_bytes()).is_none() {
        // An encoded "?" or " " can be in a request's path, a plain one cannot.
        return match raw.chars().find(|&c| refused(c) || matches!(c, '?' | ' ')) {
            Some(c) => Err(PathError::Character(c)),
            None => Ok(Cow::Borrowed(raw)),
        };
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            if matches!(first, b'?' | b' ') {
                return Err(PathError::Character(char::from(first)));
            }
            bytes.push(first);
            rest = tail;
            continue;
        }
        let &[high, low, ref tail @ ..] = tail else {
            return Err(PathError::Escape);
        };
        let (Some(high), Some(low)) = (hex(high), hex(low)) else {
            return Err(PathError::Escape);
        };
        let byte = high << 4 | low;
        if matches!(byte, b'/' | b'\\' | b'.' | 0) {
            return Err(PathError::EncodedForm(char::from(byte)));
        }
        bytes.push(byte);
        rest = tail;
    }
    let text = String::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?;
    if has_escape(text.as_bytes()) {
        return Err(PathError::DoubleEncoding);
    }
    match text.chars().find(|&c| refused(c)) {
        Some(c) => Err(PathError::Character(c)),
        None => Ok(Cow::Owned(text)),
    }
}

fn refused(c: char) -> bool {
    matches!(c, '\\' | ';' | '#') || c.is_control()
}

fn has_escape(bytes: &[u8]) -> bool {
    bytes
        .windows(3)
        .any(|w| w[0] == b'%' && hex(w[1]).is_some() && hex(w[2]).is_some())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// RFC 3986 `pchar` stays, everything else is encoded, with upper-case digits.
fn encode_segment(decoded: &str, encoded: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in decoded.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}
