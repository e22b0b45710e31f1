//! One batch on its way: tried until every record of it is accepted or lost.

#[cfg(feature = "gzip")]
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use pollster::block_on;
use serde_json::Value;

use super::PushSettings;
use super::outcome::Loss;
use super::queue::{Part, Queued, Shared};
use crate::connection::Connection;
use crate::connection::request::Request;
use crate::connection::ureq::Ureq;
use crate::error::{Error, ErrorKind};
use crate::tokens::access;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What became of a part.
enum Verdict {
    Accepted,
    /// Too large as a whole: try its halves.
    Halve,
    /// These records are at fault; the others may be good.
    Without(Vec<usize>, String),
    Lost(Loss, String),
    /// There is no time left for another try.
    Late(String),
    /// The pusher was closed, and nobody waits any more: the records stay
    /// counted as pending.
    Abandoned,
}

pub(super) fn deliver(connection: &Connection<Ureq>, shared: &Shared, batch: u64) {
    let own = Instant::now().checked_add(shared.settings.deadline);
    while let Some((part, is_replay)) = shared.part(batch) {
        // What is in a file is not lost by waiting.
        let deadline = own.filter(|_| !is_replay);
        match attempt(connection, shared, &part, deadline) {
            Verdict::Accepted => shared.accepted(batch),
            Verdict::Lost(reason, words) => shared.lost(batch, reason, &words),
            Verdict::Halve => {
                let (first, second) = part.records.split_at(part.records.len() / 2);
                let halves = vec![part.child(1, first), part.child(2, second)];
                shared.instead(batch, halves);
            }
            Verdict::Without(wrong, words) => {
                let (mut bad, mut good) = (Vec::new(), Vec::new());
                for (place, record) in part.records.iter().enumerate() {
                    let list = if wrong.contains(&place) {
                        &mut bad
                    } else {
                        &mut good
                    };
                    list.push(record.clone());
                }
                let name = 3 + wrong.first().map_or(0, |place| *place as u128);
                let mut parts = vec![part.child(0, &bad)];
                if !good.is_empty() {
                    parts.push(part.child(name, &good));
                }
                shared.instead(batch, parts);
                shared.lost(batch, Loss::Rejected, &words);
            }
            Verdict::Late(words) => shared.late(batch, &words),
            Verdict::Abandoned => return,
        }
    }
}

impl Part {
    /// Some of its records, under a key that follows from its own and the
    /// number: whoever makes the same part again, after a crash too, makes the
    /// same key.
    fn child(&self, number: u128, records: &[Queued]) -> Part {
        // Odd, so that no two keys of one number become the same.
        const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let key = self
            .key
            .as_u128()
            .wrapping_add(number + 1)
            .wrapping_mul(STEP);
        Part {
            app: self.app,
            key: uuid::Builder::from_u128(key)
                .with_variant(uuid::Variant::RFC4122)
                .with_version(uuid::Version::Custom)
                .into_uuid(),
            records: records.to_vec(),
        }
    }
}

/// Tries one part until there is a verdict.
fn attempt(
    connection: &Connection<Ureq>,
    shared: &Shared,
    part: &Part,
    deadline: Option<Instant>,
) -> Verdict {
    let settings = &shared.settings;
    let wanted = access(&[("POST", &format!("{{mscp_api_url}}/apps/{}/log", part.app))]);
    let mut request = match request(connection, settings, part) {
        Ok(request) => request,
        Err(words) => return Verdict::Lost(Loss::Rejected, words),
    };
    let mut refreshed = false;
    let mut tries: u32 = 0;
    loop {
        let left = time_left(deadline).max(Duration::from_millis(1));
        request.timeout = Some(left.min(connection.settings.timeout));
        let error = match push_once(connection, &wanted, request.clone(), part.records.len()) {
            Ok(()) => return Verdict::Accepted,
            Err((error, token)) => {
                let may_refresh = error.status() == Some(401) && !refreshed;
                if let Some(token) = token
                    && may_refresh
                    && connection.forget(&token)
                {
                    refreshed = true;
                    continue;
                }
                error
            }
        };
        if let Some(verdict) = final_verdict(&error, part.records.len()) {
            return verdict;
        }
        let wait = wait_before_retry(settings, tries, error.retry_after(), fastrand::f64());
        tries = tries.saturating_add(1);
        if shared.is_abandoned() {
            return Verdict::Abandoned;
        }
        shared.is_away();
        if wait >= time_left(deadline) {
            return Verdict::Late(error.to_string());
        }
        log::debug!("a push is tried again in {wait:?}, for the {tries}. time: {error}");
        if !shared.pause(wait) {
            return Verdict::Abandoned;
        }
    }
}

fn time_left(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}

/// One try. The token goes back with an error of the push itself, so that it can be forgotten.
fn push_once(
    connection: &Connection<Ureq>,
    wanted: &Value,
    request: Request,
    records: usize,
) -> Result<(), (Error, Option<Arc<str>>)> {
    let token = block_on(connection.token_for(wanted)).map_err(|error| (error, None))?;
    let request = request.bearer(&token).map_err(|error| (error, None))?;
    let answer = block_on(connection.send(request)).map_err(|error| (error, Some(token)))?;
    let body: Value = answer
        .json("the count of accepted records")
        .map_err(|error| (error, None))?;
    let accepted = body.get("accepted").and_then(Value::as_u64);
    if answer.status.as_u16() != 202 || accepted != Some(records as u64) {
        let words = format!(
            "{} records were sent, and the answer is {} {body}",
            records, answer.status
        );
        return Err((Error::protocol(words), None));
    }
    Ok(())
}

/// `None` when another try may help.
fn final_verdict(error: &Error, records: usize) -> Option<Verdict> {
    let lost = |reason| Some(Verdict::Lost(reason, error.to_string()));
    match error.kind() {
        _ if error.is_retryable() => None,
        ErrorKind::Unauthorized => lost(Loss::Unauthorized),
        ErrorKind::Forbidden => lost(Loss::Forbidden),
        ErrorKind::TooLarge if records > 1 => Some(Verdict::Halve),
        ErrorKind::TooLarge => lost(Loss::TooLarge),
        ErrorKind::Rejected => match error.problem().and_then(|problem| problem.record) {
            Some(place) if place < records => {
                Some(Verdict::Without(vec![place], error.to_string()))
            }
            _ => lost(Loss::Rejected),
        },
        _ => lost(Loss::Rejected),
    }
}

/// Full jitter: anywhere between nothing and a bound that doubles. What the
/// server asks for is waited in full, and the jitter comes on top, so that not
/// all its clients come back at once.
fn wait_before_retry(
    settings: &PushSettings,
    tries: u32,
    asked: Option<Duration>,
    chance: f64,
) -> Duration {
    let bound = settings
        .backoff
        .saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX));
    let jitter = bound
        .min(settings.backoff_max)
        .mul_f64(chance.clamp(0.0, 1.0));
    asked.unwrap_or_default() + jitter
}

/// The request of a part, its body encoded once for all tries.
fn request(
    connection: &Connection<Ureq>,
    settings: &PushSettings,
    part: &Part,
) -> Result<Request, String> {
    let size: usize = part
        .records
        .iter()
        .map(|record| record.body.len() + 1)
        .sum();
    let mut body = Vec::with_capacity(size + 1);
    for (place, record) in part.records.iter().enumerate() {
        body.push(if place == 0 { b'[' } else { b',' });
        body.extend_from_slice(&record.body);
    }
    body.push(b']');
    let url = connection
        .url(&["apps", &part.app.to_string(), "log"])
        .map_err(|error| error.to_string())?;
    let mut request = Request::new(Method::POST, url);
    compress(settings, &mut body, &mut request)?;
    let key = HeaderValue::from_str(&part.key.to_string()).map_err(|error| error.to_string())?;
    request.headers.insert(IDEMPOTENCY_KEY, key);
    Ok(request.body("application/json", Bytes::from(body)))
}

#[cfg(feature = "gzip")]
fn compress(
    settings: &PushSettings,
    body: &mut Vec<u8>,
    request: &mut Request,
) -> Result<(), String> {
    if settings.gzip {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        *body = gzip
            .write_all(body)
            .and_then(|()| gzip.finish())
            .map_err(|error| error.to_string())?;
        let gzip = HeaderValue::from_static("gzip");
        request.headers.insert(http::header::CONTENT_ENCODING, gzip);
    }
    Ok(())
}

#[cfg(not(feature = "gzip"))]
#[allow(clippy::unnecessary_wraps, reason = "as it is with the feature")]
fn compress(_: &PushSettings, _: &mut Vec<u8>, _: &mut Request) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_comes_on_top_of_what_the_server_asks() {
        let settings = PushSettings::default();
        let wait = |tries, asked, chance| wait_before_retry(&settings, tries, asked, chance);
        assert_eq!(wait(0, None, 0.0), Duration::ZERO);
        assert_eq!(wait(0, None, 1.0), settings.backoff);
        assert_eq!(wait(3, None, 1.0), settings.backoff * 8);
        assert_eq!(wait(40, None, 1.0), settings.backoff_max);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(wait(0, asked, 0.0), Duration::from_secs(7));
        assert_eq!(
            wait(40, asked, 1.0),
            Duration::from_secs(7) + settings.backoff_max
        );
    }
}
