//! The media types of a request: what its body is, what its answer shall be,
//! and which version of Elasticsearch the client is made for.
//!
//! `application/vnd.elasticsearch+json; compatible-with=8` is JSON for a client
//! of version 8. A store that says it is version 8 or newer takes 7, 8 and 9,
//! and looks at both headers as strictly as Elasticsearch 8 does; an older one
//! takes whatever is named and does not look.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::Fault;

/// The first version whose media types name a version.
const FIRST_WITH_VERSIONS: u16 = 8;

/// The versions that a client may be made for.
const KNOWN_VERSIONS: std::ops::RangeInclusive<u16> = 7..=9;

const JSON: [&str; 4] = [
    "application/json",
    "application/x-ndjson",
    "application/vnd.elasticsearch+json",
    "application/vnd.elasticsearch+x-ndjson",
];

/// Forms that Elasticsearch can write and this store does not.
const OTHER_FORMS: [&str; 9] = [
    "application/yaml",
    "application/cbor",
    "application/smile",
    "application/vnd.elasticsearch+yaml",
    "application/vnd.elasticsearch+cbor",
    "application/vnd.elasticsearch+smile",
    "yaml",
    "cbor",
    "smile",
];

/// What the answer shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What the endpoint gives by itself.
    #[default]
    Own,
    Json,
    Text,
}

/// What the headers and `format` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) wanted: Wanted,
    /// The version of the client.
    pub(super) version: Option<u16>,
    /// The media type of a JSON answer.
    pub(super) json: Option<String>,
}

/// A media type, taken apart.
struct Type {
    written: String,
    /// Without parameters, in lower case.
    essence: String,
    version: Option<u16>,
}

impl Type {
    /// `None` where it is no `type/subtype`.
    fn parse(written: &str) -> Option<Self> {
        let lower = written.to_ascii_lowercase();
        let mut parts = lower.split(';').map(str::trim);
        let essence = parts.next()?.to_owned();
        let (kind, subtype) = essence.split_once('/')?;
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        };
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut version = None;
        for parameter in parts.filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if name.trim() == "compatible-with" {
                version = Some(value.trim().parse().ok()?);
            }
        }
        Some(Self {
            written: written.to_owned(),
            essence,
            version,
        })
    }

    fn is_json(&self) -> bool {
        JSON.contains(&self.essence.as_str())
    }
}

/// Read both headers and the parameter `format` of a request with or without a
/// body, as version `major` does.
pub(super) fn negotiate(
    headers: &HeaderMap,
    format: Option<&str>,
    has_body: bool,
    major: u16,
) -> Result<Media, Fault> {
    let strict = major >= FIRST_WITH_VERSIONS;
    let accept = match text(headers, &ACCEPT) {
        // A list is a browser's, or a client's that takes what comes.
        Some(list) if list.contains(',') || list.trim() == "*/*" => None,
        Some(written) if !written.trim().is_empty() => match Type::parse(&written) {
            None if strict => return Err(unreadable("Accept", &written)),
            accept => accept,
        },
        _ => None,
    };
    let content = content_type(headers, has_body, strict)?;
    if strict {
        same_version(accept.as_ref(), content.as_ref(), has_body)?;
    }
    let named = format.or(accept.as_ref().map(|accept| accept.essence.as_str()));
    if let Some(form) = named
        && OTHER_FORMS.contains(&form)
    {
        return Err(Fault::plain(
            StatusCode::NOT_ACCEPTABLE,
            format!("[{form}] is not supported: answers are JSON, and text where they are tables"),
        ));
    }
    let json = accept.as_ref().filter(|accept| strict && accept.is_json());
    let is_json = json.is_some() || accept.as_ref().is_some_and(Type::is_json);
    let wanted = match format {
        Some("json") => Wanted::Json,
        Some("text") => Wanted::Text,
        _ if is_json => Wanted::Json,
        _ => Wanted::Own,
    };
    Ok(Media {
        wanted,
        version: json.and_then(|accept| accept.version),
        json: json.map(|accept| {
            let essence = accept.essence.replace("x-ndjson", "json");
            match accept.version {
                Some(version) => format!("{essence};compatible-with={version}"),
                None => essence,
            }
        }),
    })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The type of the body, which must be JSON.
fn content_type(headers: &HeaderMap, has_body: bool, strict: bool) -> Result<Option<Type>, Fault> {
    let written = text(headers, &CONTENT_TYPE).unwrap_or_default();
    if written.trim().is_empty() && !has_body {
        return Ok(None);
    }
    let parsed = Type::parse(&written);
    let is_there = headers.contains_key(CONTENT_TYPE);
    if parsed.is_none() && strict && is_there {
        return Err(unreadable("Content-Type", &written));
    }
    if has_body && !parsed.as_ref().is_some_and(Type::is_json) {
        return Err(Fault::plain(
            StatusCode::NOT_ACCEPTABLE,
            format!("Content-Type header [{written}] is not supported"),
        ));
    }
    Ok(parsed)
}

/// Both headers must name the same version where one names any.
fn same_version(
    accept: Option<&Type>,
    content: Option<&Type>,
    has_body: bool,
) -> Result<(), Fault> {
    let (first, last) = (KNOWN_VERSIONS.start(), KNOWN_VERSIONS.end());
    for (header, found) in [("Accept", accept), ("Content-Type", content)] {
        if let Some(found) = found
            && let Some(version) = found.version
            && !KNOWN_VERSIONS.contains(&version)
        {
            return Err(wrong_versions(&format!(
                "{header} version must be one of {first} to {last}, but found {version}. \
                 {header}={}",
                found.written
            )));
        }
    }
    let wanted = accept.and_then(|accept| accept.version);
    let given = content.and_then(|content| content.version);
    if !has_body || wanted == given {
        return Ok(());
    }
    let both = wanted.is_some() && given.is_some();
    let written = |header: Option<&Type>| header.map_or("null".to_owned(), |it| it.written.clone());
    Err(wrong_versions(&format!(
        "A compatible version is required on both Content-Type and Accept headers if either one \
         has requested a compatible version{}. Accept={}, Content-Type={}",
        if both {
            " and the compatible versions must match"
        } else {
            ""
        },
        written(accept),
        written(content)
    )))
}

fn wrong_versions(reason: &str) -> Fault {
    invalid("Content-Type, Accept", "status_exception", reason)
}

fn unreadable(header: &str, written: &str) -> Fault {
    let reason = format!("invalid media-type [{written}]");
    invalid(header, "illegal_argument_exception", &reason)
}

fn invalid(headers: &str, kind: &str, reason: &str) -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "media_type_header_exception",
        format!("Invalid media-type value on headers [{headers}]"),
    )
    .caused_by(json!({"type": kind, "reason": reason}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[track_caller]
    fn check(accept: &str, content: &str, major: u16) -> Result<Media, u16> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        if !content.is_empty() {
            headers.insert(CONTENT_TYPE, content.parse().unwrap());
        }
        negotiate(&headers, None, !content.is_empty(), major).map_err(|fault| fault.status.as_u16())
    }

    const V8: &str = "application/vnd.elasticsearch+json; compatible-with=8";
    const V9: &str = "application/vnd.elasticsearch+json;compatible-with=9";

    #[test]
    fn a_version_is_echoed_and_must_stand_in_both_headers() {
        let media = check(V8, V8, 8).unwrap();
        assert_eq!(media.version, Some(8));
        let echoed = "application/vnd.elasticsearch+json;compatible-with=8";
        assert_eq!(media.json.as_deref(), Some(echoed));
        assert_eq!(check(V8, "", 8).unwrap().version, Some(8));
        assert_eq!(check(V9, V9, 8).unwrap().version, Some(9));
        for (accept, content) in [
            (V8, "application/json"),
            ("", V8),
            (V8, V9),
            ("application/vnd.elasticsearch+json;compatible-with=6", ""),
            ("bogus", ""),
            ("", "bogus"),
        ] {
            assert_eq!(check(accept, content, 8), Err(400), "{accept} {content}");
        }
    }

    #[test]
    fn bodies_are_json_and_answers_are_no_yaml() {
        assert_eq!(check("", "text/plain", 8), Err(406));
        assert_eq!(check("", "text/plain", 7), Err(406));
        assert_eq!(check("application/yaml", "", 8), Err(406));
        let charset = check("", "application/json; charset=utf-8", 8).unwrap();
        assert_eq!(charset, Media::default());
    }

    #[test]
    fn lists_of_types_take_what_comes() {
        let list = check("text/plain,application/json", "", 8).unwrap();
        assert_eq!(list.wanted, Wanted::Own);
        assert_eq!(check("*/*", "", 8).unwrap().wanted, Wanted::Own);
        assert_eq!(
            check("application/json", "", 8).unwrap().wanted,
            Wanted::Json
        );
    }

    #[test]
    fn versions_before_8_do_not_look_at_the_version_of_the_client() {
        let old = check(V8, "application/json", 7).unwrap();
        assert_eq!((old.version, old.json), (None, None));
        assert_eq!(check("bogus", "", 7).unwrap(), Media::default());
    }
}
