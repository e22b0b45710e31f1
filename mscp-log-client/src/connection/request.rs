//! What is sent and what comes back, whichever transport carries it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::error::Error;

/// Answers are read up to this size; a search of the largest window stays well below.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// What a path segment cannot hold as it is (RFC 3986, section 3.3), and what
/// servers read in more than one way.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A request that can be sent again: its body is shared, not streamed.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// From its start to its answer's end; the client's own where none is set.
    pub(crate) timeout: Option<Duration>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            timeout: None,
        }
    }

    pub(crate) fn json(self, body: &Value) -> Request {
        self.body("application/json", Bytes::from(body.to_string()))
    }

    pub(crate) fn body(mut self, kind: &'static str, body: Bytes) -> Request {
        self.headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body = Some(body);
        self
    }

    pub(crate) fn bearer(mut self, token: &str) -> Result<Request, Error> {
        let value = secret(&format!("Bearer {token}"))?;
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    /// HTTP Basic (RFC 7617).
    pub(crate) fn basic(mut self, user: &str, password: &str) -> Result<Request, Error> {
        use base64::Engine as _;
        if user.contains(':') {
            return Err(Error::usage(
                "an e-mail address with a colon cannot be sent by HTTP Basic",
            ));
        }
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let value = secret(&format!("Basic {basic}"))?;
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    /// How errors name it: no query, for there may be something private in it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.url.path)
    }
}

/// A header that never shows in a debug print. Credentials are ASCII (RFC 9110,
/// section 11.4); some transports refuse anything else as late as when they send.
fn secret(value: &str) -> Result<HeaderValue, Error> {
    let unfit = || Error::usage("the credential has characters that no HTTP header can hold");
    if !value.is_ascii() {
        return Err(unfit());
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The head of an answer and its whole body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// An error unless the answer is of the class 2xx.
    pub(crate) fn good(self, what: &str) -> Result<Answer, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let retry_after = retry_after(&self.headers, SystemTime::now());
        Err(Error::answer(what, self.status, retry_after, &self.body))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::protocol(format!("{what} cannot be read from the answer: {error}"))
        })
    }
}

/// `Retry-After` in both of its forms (RFC 9110, section 10.2.3), a day at most.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    const DAY: Duration = Duration::from_secs(86_400);
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(DAY));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(DAY))
}

/// The place of the API: scheme, authority and prefix.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// `https://logs.example.org`
    origin: String,
    /// `/api`, or nothing.
    prefix: String,
    host: String,
}

/// A URL below [`Base`].
#[derive(Clone, Debug)]
pub(crate) struct Url {
    origin: String,
    path: String,
    query: String,
}

impl Base {
    /// `url` is an origin, which may have a path before `prefix`.
    pub(crate) fn parse(url: &str, prefix: &str) -> Result<Base, Error> {
        // What the input is, without what must not be shown.
        let shown = if url.contains('@') { "the URL" } else { url };
        let uri: Uri = url
            .parse()
            .map_err(|error| Error::usage(format!("{shown:?} is not a URL: {error}")))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(Error::usage(format!(
                "{shown:?} is not an http or https URL with a host"
            )));
        };
        if authority.as_str().contains('@') {
            return Err(Error::usage("credentials do not go into the URL"));
        }
        if authority.host().is_empty() {
            return Err(Error::usage(format!("{shown:?} has no host")));
        }
        let mut path = uri.path().trim_end_matches('/').to_owned();
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() {
            path.push('/');
            path.push_str(prefix);
        }
        let origin = format!("{scheme}://{authority}");
        let is_path = path.parse::<Uri>().is_ok_and(|uri| uri.path() == path);
        if !path.is_empty() && !is_path {
            return Err(Error::usage(format!("base {prefix:?} is not a path")));
        }
        Ok(Base {
            origin,
            prefix: path,
            host: authority.host().to_owned(),
        })
    }

    /// `segments` below the prefix, each encoded.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut path = self.prefix.clone();
        for segment in segments {
            // These would change the path, and so what a token is for.
            if matches!(*segment, "" | "." | "..") {
                return Err(Error::usage(format!(
                    "{segment:?} cannot be part of a path; expected a name"
                )));
            }
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Ok(Url {
            origin: self.origin.clone(),
            path,
            query: String::new(),
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// A proxy has no business between this machine and itself.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl Url {
    #[cfg(feature = "async")]
    pub(crate) fn query(mut self, name: &str, value: &str) -> Url {
        use percent_encoding::NON_ALPHANUMERIC;
        self.query
            .push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(name);
        self.query.push('=');
        self.query
            .extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        self
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.origin, self.path, self.query)
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.origin, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_segment_whatever_is_in_it() {
        let base = Base::parse("http://host:1/log/", "/api/").unwrap();
        for segment in ["a/b", "a%2fb", "a?b", "a#b", "a b", "ü", "a\\b", "\u{0}"] {
            let url = base.url(&[segment, "end"]).unwrap().to_string();
            let uri: Uri = url.parse().unwrap();
            assert_eq!(uri.path().split('/').count(), 5, "{url}");
            assert!(uri.query().is_none(), "{url}");
            let sent = uri.path().split('/').nth(3).unwrap();
            let read = percent_encoding::percent_decode_str(sent).decode_utf8();
            assert_eq!(read.unwrap(), segment);
        }
        for segment in ["", ".", ".."] {
            assert!(base.url(&[segment]).is_err());
        }
    }

    #[test]
    fn a_date_and_seconds_are_both_a_time_to_wait() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            asked("Sun, 06 Nov 1994 08:50:37 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            asked("99999999999"),
            Some(Duration::from_secs(86_400)),
            "never longer than a day"
        );
        assert_eq!(asked("soon"), None);
    }
}
