//! The kinds of value a key can hold, each parsed once into a type that
//! cannot be wrong.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

/// Text that no log line, error or debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Take `text` as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An address, or all addresses that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in the network. An IPv4 address written as IPv6
    /// (`::ffff:10.0.0.1`) is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(one)) => same_prefix(
                u32::from(net).into(),
                u32::from(one).into(),
                32,
                self.prefix,
            ),
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                same_prefix(u128::from(net), u128::from(one), 128, self.prefix)
            }
            _ => false,
        }
    }
}

fn same_prefix(left: u128, right: u128, width: u32, prefix: u8) -> bool {
    let dropped = width - u32::from(prefix);
    dropped == 128 || (left ^ right) >> dropped == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected an address or a network such as 10.0.0.0/8, found \"{text}\"");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let address = address.to_canonical();
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => digits.parse().map_err(|_| expected())?,
            None => width,
        };
        if prefix > width {
            return Err(expected());
        }
        Ok(Self { address, prefix })
    }
}

/// `1h30m`, `45s`, `100ms`, `7d`, or whole seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as \"12h\" or \"90s\", found \"{text}\"");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_lowercase())
                .len();
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            _ => return Err(wrong()),
        };
        rest = rest[letters..].trim_start();
        let part = u32::try_from(number)
            .ok()
            .and_then(|count| unit.checked_mul(count))
            .ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// `64MiB`, `10MB`, `512B`, or a number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("expected a size such as \"64MiB\" or a number of bytes, found \"{text}\"");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// `https://logs.example.org`, without a path; a slash at the end is dropped.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("expected an origin such as https://logs.example.org, found \"{text}\"");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
    match uri.authority() {
        Some(authority) if scheme_known && bare && !authority.as_str().contains('@') => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(wrong()),
    }
}

/// `https://es-0.example.org:9200`, perhaps with a path before the API's; a
/// slash at the end is dropped. What looks like a password is not repeated.
pub(crate) fn node(text: &str) -> Result<String, String> {
    let form = "expected the URL of a node such as https://es-0.example.org:9200";
    if text.contains('@') {
        return Err(format!(
            "{form}, without a user in it: that is store_user and its like"
        ));
    }
    let wrong = || format!("{form}, found \"{text}\"");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if scheme_known && has_host && uri.query().is_none() && !text.contains('#') {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

/// A path prefix such as `/api` or `/logs/api`.
pub(crate) fn base(text: &str) -> Result<String, String> {
    let segment_fits = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(segment_fits) => Ok(text.to_owned()),
        _ => Err(format!(
            "expected a path such as /api, of letters, digits, - _ and ., found \"{text}\""
        )),
    }
}

/// The name of a region: a path segment of its own, which the API's fixed
/// segments must not shadow.
pub(crate) fn region_name(name: &str) -> Result<(), String> {
    if matches!(name, "apps" | "auth" | "system" | "regions") {
        return Err(format!(
            "a region cannot be called {name}, which is a path of the API"
        ));
    }
    let spelled = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        && !name.contains("__");
    if spelled {
        Ok(())
    } else {
        Err(format!(
            "expected a region name of 1 to 63 of [a-z0-9_-] that begins with a letter or digit and has no __, found \"{name}\""
        ))
    }
}

/// `8.17.0`, major version 6 to 9.
pub(crate) fn version(text: &str) -> Result<(u16, u16, u16), String> {
    let wrong = || format!("expected a version such as 8.17.0, from 6 to 9, found \"{text}\"");
    let parts: Vec<u16> = text
        .split('.')
        .map(|part| part.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    match parts[..] {
        [major @ 6..=9, minor, patch] => Ok((major, minor, patch)),
        _ => Err(wrong()),
    }
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let authority: Option<http::uri::Authority> = text.parse().ok();
    let good = authority.is_some_and(|authority| {
        !authority.host().is_empty()
            && authority.port_u16().is_some_and(|port| port > 0)
            && !text.contains('@')
    });
    good.then(|| text.to_owned()).ok_or_else(|| {
        format!("expected host:port such as logs.example.org:5044, found \"{text}\"")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_all_their_units() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("100ms", 100),
            ("45s", 45_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "h",
            "1w",
            "-1s",
            "1.5h",
            "12 hours",
            "99999999999d",
            "1h-",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_all_their_units() {
        for (text, bytes) in [
            ("12", 12),
            ("12B", 12),
            ("3KiB", 3_072),
            ("3 MiB", 3 << 20),
            ("10MB", 10_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1XB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_what_shares_its_prefix() {
        let net: Network = "10.1.0.0/16".parse().unwrap();
        assert!(net.contains("10.1.255.3".parse().unwrap()));
        assert!(net.contains("::ffff:10.1.0.9".parse().unwrap()));
        assert!(!net.contains("10.2.0.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        let one: Network = "127.0.0.1".parse().unwrap();
        assert!(one.contains("127.0.0.1".parse().unwrap()));
        assert!(!one.contains("127.0.0.2".parse().unwrap()));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(
            origin("https://logs.example.org/").unwrap(),
            "https://logs.example.org"
        );
        for text in [
            "logs.example.org",
            "ftp://x",
            "https://x/api",
            "https://x?y",
            "https://a@b",
            "",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_url_of_a_node_has_no_user_and_no_parameters() {
        for text in [
            "http://127.0.0.1:9200",
            "https://es.example.org",
            "https://proxy/es",
        ] {
            assert_eq!(node(text).unwrap(), text);
            assert_eq!(node(&format!("{text}/")).unwrap(), text);
        }
        for text in [
            "",
            "es:9200",
            "ftp://es",
            "http://es?a=b",
            "http://es#a",
            "https://",
        ] {
            assert!(node(text).is_err(), "{text}");
        }
        let refused = node("https://elastic:hunter2@es").unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_an_error(text in "\\PC{0,24}") {
            let _ = duration(&text);
            let _ = size(&text);
            let _ = origin(&text);
            let _ = node(&text);
            let _ = base(&text);
            let _ = region_name(&text);
            let _ = version(&text);
            let _ = text.parse::<Network>();
        }
    }
}
