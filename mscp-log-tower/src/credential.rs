//! Where a request carries its token, and that it carries just one: `Authorization: Bearer`, the
//! token as it is, the URL parameter `jwt`, and for static credentials Basic's password of the
//! user `token` or `ApiKey`.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap};

/// A token, by the way in which it came.
#[derive(Clone)]
pub enum Credential {
    /// As `Bearer`, as it is, or as the URL parameter.
    Token(String),
    /// In the session's cookie.
    Session(String),
    /// As Basic's password or as `ApiKey`: the ways of what holds static credentials.
    Static(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self {
            Self::Token(_) => "Token",
            Self::Session(_) => "Session",
            Self::Static(_) => "Static",
        };
        f.debug_tuple(way).field(&"..").finish()
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter").finish_non_exhaustive()
    }
}

impl Credential {
    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Token(token) | Self::Session(token) | Self::Static(token) => token,
        }
    }
}

/// What the query held under the name `jwt`.
#[derive(Default)]
pub struct Parameter {
    values: Vec<String>,
}

/// Takes every parameter named `jwt`, however its name is encoded, out of a
/// query. The rest stays as it was written; `None` when nothing is left.
#[must_use]
pub fn take_parameter(query: Option<&str>) -> (Option<String>, Parameter) {
    let Some(query) = query else {
        return (None, Parameter::default());
    };
    let mut parameter = Parameter::default();
    let mut rest: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(name) == "jwt" {
            parameter.values.push(decoded(value).into_owned());
        } else {
            rest.push(pair);
        }
    }
    if parameter.values.is_empty() {
        return (Some(query.to_owned()), parameter);
    }
    ((!rest.is_empty()).then(|| rest.join("&")), parameter)
}

/// The pairs of a query or of a form, decoded.
pub fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// The one explicit credential of a request.
///
/// # Errors
/// In words, when there is more than one, or one that cannot be read.
pub fn find(
    headers: &HeaderMap,
    parameter: Parameter,
    parameter_allowed: bool,
) -> Result<Option<Credential>, &'static str> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let header = authorization.next();
    let mut parameters = parameter.values.into_iter();
    let in_query = parameters.next();
    let several = authorization.next().is_some()
        || parameters.next().is_some()
        || (header.is_some() && in_query.is_some());
    if several {
        return Err("the request carries more than one credential");
    }
    if let Some(token) = in_query {
        if !parameter_allowed {
            return Err("the URL parameter jwt is switched off; use the header Authorization");
        }
        return Ok(Some(Credential::Token(token)));
    }
    let Some(header) = header else {
        return Ok(None);
    };
    let unreadable = "the header Authorization cannot be read";
    let value = header.to_str().map_err(|_| unreadable)?.trim();
    let Some((scheme, rest)) = value.split_once(' ') else {
        return Ok(Some(Credential::Token(value.to_owned())));
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(Credential::Token(rest.to_owned())))
    } else if scheme.eq_ignore_ascii_case("basic") {
        let password = after_token(rest);
        password
            .map(|token| Some(Credential::Static(token)))
            .ok_or("Basic is taken here for the user token, with a token as the password")
    } else if scheme.eq_ignore_ascii_case("apikey") {
        let token = after_token(rest).unwrap_or_else(|| rest.to_owned());
        Ok(Some(Credential::Static(token)))
    } else {
        Err("the header Authorization has an unknown scheme; expected Bearer")
    }
}

/// A cookie of the name; `None` when there is none, or more than one.
#[must_use]
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<Credential> {
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned());
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then_some(Credential::Session(value))
}

/// What stands behind `token:` in base64.
fn after_token(encoded: &str) -> Option<String> {
    let bytes = STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.strip_prefix("token:").map(str::to_owned)
}

/// A name or a value of a query (WHATWG URL, `application/x-www-form-urlencoded`).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits
            .filter(|_| first == b'%')
            .filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
