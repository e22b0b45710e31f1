//! The worker: takes batches from the queue and tries each until every record
//! of it is accepted or lost.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::PushSettings;
use super::queue::{Batch, Loss, Next, Queued, Shared};
use crate::client::{Client, Request};
use crate::error::{Error, ErrorKind};
use crate::tokens::access;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Runs until the queue is closed and empty, or abandoned.
pub(super) async fn run(client: Client, shared: Arc<Shared>) {
    let mut on_way = JoinSet::new();
    loop {
        let may_send = on_way.len() < shared.settings.in_flight;
        let next = if may_send {
            shared.next(Instant::now())
        } else {
            shared.wait_or_end()
        };
        match next {
            Next::Send(batch) => {
                let client = client.clone();
                let shared = Arc::clone(&shared);
                on_way.spawn(async move { deliver(&client, &shared, batch).await });
            }
            Next::Wait(until) => {
                let wake = async {
                    match until {
                        Some(until) => tokio::time::sleep_until(until.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = shared.told() => {}
                    () = wake, if may_send => {}
                    Some(_) = on_way.join_next() => {}
                }
            }
            // What is still on its way is cut off with the set; its records
            // stay counted as pending.
            Next::End => return,
        }
    }
}

/// Part of a batch with a key of its own.
struct Part {
    key: Uuid,
    records: Vec<Queued>,
}

impl Part {
    /// The key is made once here, and kept through all tries.
    fn new(records: Vec<Queued>) -> Part {
        Part {
            key: Uuid::new_v4(),
            records,
        }
    }
}

/// What became of a part.
enum Verdict {
    Accepted,
    /// Too large as a whole: try its halves.
    Halve,
    /// These records are at fault; the others may be good.
    Without(Vec<usize>, String),
    Lost(Loss, String),
}

async fn deliver(client: &Client, shared: &Shared, batch: Batch) {
    let deadline = Instant::now() + shared.settings.deadline;
    let mut parts = vec![Part::new(batch.records)];
    while let Some(part) = parts.pop() {
        match attempt(client, &shared.settings, batch.app, &part, deadline).await {
            Verdict::Accepted => shared.sent(&part.records),
            Verdict::Lost(reason, words) => shared.lost(&part.records, reason, &words),
            Verdict::Halve => {
                let mut first = part.records;
                let second = first.split_off(first.len() / 2);
                parts.push(Part::new(second));
                parts.push(Part::new(first));
            }
            Verdict::Without(wrong, words) => {
                let (bad, good): (Vec<_>, Vec<_>) = part
                    .records
                    .into_iter()
                    .enumerate()
                    .partition(|(place, _)| wrong.contains(place));
                let strip =
                    |records: Vec<(usize, Queued)>| records.into_iter().map(|(_, record)| record);
                shared.lost(&strip(bad).collect::<Vec<_>>(), Loss::Rejected, &words);
                let good: Vec<Queued> = strip(good).collect();
                if !good.is_empty() {
                    parts.push(Part::new(good));
                }
            }
        }
    }
    shared.done(batch.id);
}

/// Tries one part until there is a verdict.
async fn attempt(
    client: &Client,
    settings: &PushSettings,
    app: Uuid,
    part: &Part,
    deadline: Instant,
) -> Verdict {
    let wanted = access(&[("POST", &format!("{{mscp_api_url}}/apps/{app}/log"))]);
    let mut request = match request(client, settings, app, part) {
        Ok(request) => request,
        Err(words) => return Verdict::Lost(Loss::Rejected, words),
    };
    let mut refreshed = false;
    let mut tries: u32 = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        request.timeout = Some(left.clamp(Duration::from_millis(1), Duration::from_secs(60)));
        let error = match push_once(client, &wanted, request.clone(), part.records.len()).await {
            Ok(()) => return Verdict::Accepted,
            Err((error, token)) => {
                let may_refresh = error.status() == Some(401) && !refreshed;
                if let Some(token) = token
                    && may_refresh
                    && client.forget(&token).await
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
        let wait = wait_before_retry(settings, tries, error.retry_after(), rand::random::<f64>());
        tries = tries.saturating_add(1);
        if wait >= deadline.saturating_duration_since(Instant::now()) {
            return Verdict::Lost(Loss::Deadline, error.to_string());
        }
        tracing::debug!(%error, ?wait, tries, "a push is tried again");
        tokio::time::sleep(wait).await;
    }
}

/// One try. The token goes back with an error of the push itself, so that it can be forgotten.
async fn push_once(
    client: &Client,
    wanted: &Value,
    request: Request,
    records: usize,
) -> Result<(), (Error, Option<Arc<str>>)> {
    let token = client
        .token_for(wanted)
        .await
        .map_err(|error| (error, None))?;
    let answer = client
        .send(request, Some(&token))
        .await
        .map_err(|error| (error, Some(token)))?;
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
    client: &Client,
    settings: &PushSettings,
    app: Uuid,
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
    let mut request = Request::new(Method::POST, client.url(&["apps", &app.to_string(), "log"]));
    if settings.gzip {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        body = gzip
            .write_all(&body)
            .and_then(|()| gzip.finish())
            .map_err(|error| error.to_string())?;
        request
            .headers
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let key = HeaderValue::from_str(&part.key.to_string()).map_err(|error| error.to_string())?;
    request.headers.insert(IDEMPOTENCY_KEY, key);
    request.body = Some((
        HeaderValue::from_static("application/json"),
        Bytes::from(body),
    ));
    Ok(request)
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
