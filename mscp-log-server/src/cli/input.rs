//! What commands read: passwords, access lists, durations.

use std::io::{BufRead as _, IsTerminal as _};

use serde_json::{Value, json};

use super::Failure;

/// From `MSCP_LOG_PASSWORD`, else from the terminal without echo, else the
/// first line of the standard input.
pub(super) fn password(prompt: &str) -> Result<String, Failure> {
    if let Ok(password) = std::env::var("MSCP_LOG_PASSWORD") {
        return Ok(password);
    }
    let password = if std::io::stdin().is_terminal() {
        eprint!("{prompt}");
        console::Term::stderr().read_secure_line()?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line
    };
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::failed("no password was given"));
    }
    Ok(password)
}

/// The JSON of an access list, from the text itself or from `@FILE`.
pub(super) fn access(text: &str) -> Result<Value, String> {
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?,
        None => text.to_owned(),
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("no JSON: {error}"))?;
    serde_json::from_value::<mscp_log_core::access::Access>(value.clone())
        .map_err(|error| format!("no access list: {error}"))?;
    Ok(value)
}

/// `METHOD[,METHOD..] URL` as an entry of an access list.
pub(super) fn allow(text: &str) -> Result<Value, String> {
    let (methods, url) = text.split_once(' ').ok_or(
        "expected METHOD[,METHOD..] URL, as in 'POST {mscp_api_url}/apps/{appid:uuid}/log'",
    )?;
    let methods: Vec<&str> = methods.split(',').collect();
    // An access list may hold words that are no methods and grant nothing;
    // what is written here is meant to grant something.
    for method in &methods {
        method
            .parse::<mscp_log_core::access::Method>()
            .map_err(|error| error.to_string())?;
    }
    let entry = json!([{"method": methods, "url": [url.trim()]}]);
    serde_json::from_value::<mscp_log_core::access::Access>(entry.clone())
        .map_err(|error| error.to_string())?;
    Ok(entry)
}

/// One access list of several.
pub(super) fn joined(lists: impl IntoIterator<Item = Value>) -> Value {
    let entries = lists.into_iter().flat_map(|list| match list {
        Value::Array(entries) => entries,
        other => vec![other],
    });
    Value::Array(entries.collect())
}

/// A time span as `90`, `90s`, `15m`, `1h`, `2d`, `1w`, or several in a row; in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time span; expected one like 90s, 15m, 1h30m, 2d or 1w");
    if text.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let mut after = rest[digits..].chars();
        let scale = match after.next() {
            None if digits == text.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(scale).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after.as_str();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_as_people_write_them() {
        let good = [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5_400),
            ("2d", 172_800),
            ("1w", 604_800),
        ];
        for (text, expected) in good {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "h",
            "1",
            "1y",
            "1h30",
            "-1h",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999999w",
            "1ü",
        ] {
            assert_eq!(seconds(text).is_ok(), text == "1", "{text}");
        }
    }

    #[test]
    fn an_allowed_call_is_an_entry_of_an_access_list() {
        let entry = allow("GET,POST {mscp_api_url}/local/log/**").unwrap_or_default();
        assert_eq!(
            entry,
            json!([{"method": ["GET", "POST"], "url": ["{mscp_api_url}/local/log/**"]}])
        );
        assert!(allow("GET").is_err());
        assert!(allow("FETCH /a").is_err());
        assert_eq!(
            joined([entry.clone(), entry]).as_array().map(Vec::len),
            Some(2)
        );
    }
}
