//! What `{mscp_api_url}` means on this installation.

use super::path::{CanonicalPath, PathError};

/// The path prefix of the API and, when known, the origin before it; together
/// they are the `mscp_api_url` of access rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Canonical and encoded, without a trailing slash; empty for the root.
    prefix: String,
    segments: Vec<String>,
    /// `scheme://authority`, in lower case, without the scheme's own port.
    origin: Option<String>,
}

/// Why a [`Base`] was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// The prefix is no canonical path.
    #[error("base {prefix:?} is no path: {reason}")]
    Prefix {
        /// As it was given.
        prefix: String,
        /// What is wrong with it.
        reason: PathError,
    },
    /// The public URL is no origin.
    #[error(
        "public_url {0:?} is no origin; expected scheme://host or scheme://host:port, http or https"
    )]
    PublicUrl(String),
}

impl Base {
    /// `prefix` is a path such as `/api` (a trailing slash is ignored, `/` and
    /// the empty text are the root); `public_url` an origin such as
    /// `https://logs.example.com`.
    ///
    /// # Errors
    /// When one of them is not what it should be; see [`BaseError`].
    pub fn new(prefix: &str, public_url: Option<&str>) -> Result<Self, BaseError> {
        let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
        let (canonical, segments) = if trimmed.is_empty() {
            (String::new(), Vec::new())
        } else {
            let path = CanonicalPath::parse(trimmed).map_err(|reason| BaseError::Prefix {
                prefix: prefix.to_owned(),
                reason,
            })?;
            if path.has_trailing_slash() {
                return Err(BaseError::Prefix {
                    prefix: prefix.to_owned(),
                    reason: PathError::EmptySegment,
                });
            }
            (
                path.as_str().to_owned(),
                path.segments().map(str::to_owned).collect(),
            )
        };
        let origin = match public_url {
            None => None,
            Some(url) => {
                let bare = url.strip_suffix('/').unwrap_or(url);
                let split = split_origin(bare).filter(|(_, path)| path.is_empty());
                let (origin, _) = split.ok_or_else(|| BaseError::PublicUrl(url.to_owned()))?;
                Some(origin)
            }
        };
        Ok(Self {
            prefix: canonical,
            segments,
            origin,
        })
    }

    /// The prefix as it stands in URLs, without a trailing slash: `/api`, or
    /// the empty text for the root.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The prefix's segments, decoded.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.segments.iter().map(String::as_str)
    }

    /// The public origin, where one is configured.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The segments of a path that lie below the base; `None` for a path that
    /// does not lie there.
    pub fn below<'p>(
        &self,
        path: &'p CanonicalPath,
    ) -> Option<impl Iterator<Item = &'p str> + Clone + use<'p>> {
        let mut segments = path.steps();
        for wanted in &self.segments {
            if segments.next() != Some(wanted) {
                return None;
            }
        }
        Some(segments)
    }
}

/// Takes `https://Host:443/rest` apart into the normal form of the origin and
/// `/rest`. `None` when it is no http or https URL, or carries a user.
pub(super) fn split_origin(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return None;
    }
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
    Some((format!("{scheme}://{authority}"), path))
}
