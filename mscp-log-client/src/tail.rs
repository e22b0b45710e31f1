//! Following a search: polls by the time of receipt with an overlap, and
//! drops what it has shown already.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

#[cfg(feature = "async")]
use crate::client::Client;
use crate::connection::{Connected, Transport as _};
use crate::error::Error;
use crate::search::{Hit, Search};

/// Ids of one page of a poll, the largest that a store gives; a poll takes as
/// many pages as there are.
const MAX_PAGE: u64 = 10_000;

/// Records fetched at once.
const RECORDS: usize = 1_000;

/// Records remembered so that they are not shown twice, some 30 MB. Where more
/// than this come in within the overlap, repeats are shown instead.
const REMEMBERED: usize = 250_000;

/// How a search is followed.
#[derive(Clone, Debug)]
pub struct TailSettings {
    /// The pause between polls: 1 s.
    pub interval: Duration,
    /// How far each poll looks back behind the newest record seen: 30 s. What
    /// becomes searchable later than that after its receipt is not shown.
    pub overlap: Duration,
}

impl Default for TailSettings {
    fn default() -> Self {
        TailSettings {
            interval: Duration::from_secs(1),
            overlap: Duration::from_secs(30),
        }
    }
}

#[cfg(feature = "async")]
impl Search<Client> {
    /// The newest `last` records that match, in their order, and then every
    /// record that comes in, for as long as the stream is polled.
    ///
    /// An error does not end the stream: the next poll goes on where the last
    /// good one was. Whether to go on is the caller's to say, by
    /// [`Error::is_retryable`].
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// use futures::TryStreamExt as _;
    /// let tail = client.search("local").words("error").tail(10, Default::default());
    /// let mut tail = std::pin::pin!(tail);
    /// while let Some(hit) = tail.try_next().await? {
    ///     println!("{hit}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn tail(
        self,
        last: u64,
        settings: TailSettings,
    ) -> impl futures_util::Stream<Item = Result<Hit, Error>> + Send {
        futures_util::stream::unfold(
            Following::new(self, last, settings),
            |mut tail| async move {
                let next = tail.next().await;
                Some((next, tail))
            },
        )
    }
}

/// A search that is followed.
pub(crate) struct Following<C> {
    search: Search<C>,
    last: u64,
    settings: TailSettings,
    begun: bool,
    /// The newest time of receipt seen.
    high_us: i64,
    /// Ids that the overlap will show again, with their time of receipt.
    seen: HashMap<String, i64>,
    /// What is left of marking the overlap before the first poll.
    marking: Option<Poll>,
    /// The poll that is under way: where it began, and behind which record it goes on.
    poll: Option<Poll>,
    ready: VecDeque<Hit>,
}

#[derive(Clone)]
struct Poll {
    from_us: i64,
    after: Option<Vec<Value>>,
}

impl<C: Connected> Following<C> {
    pub(crate) fn new(search: Search<C>, last: u64, settings: TailSettings) -> Following<C> {
        Following {
            search,
            last,
            settings,
            begun: false,
            high_us: 0,
            seen: HashMap::new(),
            marking: None,
            poll: None,
            ready: VecDeque::new(),
        }
    }

    async fn pause(&self) {
        let transport = &self.search.client.connection().transport;
        transport.sleep(self.settings.interval).await;
    }

    pub(crate) async fn next(&mut self) -> Result<Hit, Error> {
        loop {
            if let Some(hit) = self.ready.pop_front() {
                return Ok(hit);
            }
            let worked = if !self.begun {
                self.begin().await
            } else if let Some(poll) = self.marking.clone() {
                self.mark(poll).await
            } else if let Some(poll) = self.poll.clone() {
                self.page(poll).await
            } else {
                self.pause().await;
                self.poll = Some(self.begin_poll());
                Ok(())
            };
            if let Err(error) = worked {
                // Whoever asks again at once must not spin.
                self.pause().await;
                return Err(error);
            }
        }
    }

    /// Where "now" is, by what the store holds, for the two clocks may differ;
    /// then the last records.
    async fn begin(&mut self) -> Result<(), Error> {
        let newest = json!({
            "size": 1,
            "query": self.search.question(),
            "sort": [{"ingest_us": "desc"}, {"event_id": "desc"}],
            "_source": false,
        });
        let newest = self.search.ask(&newest).await?;
        self.high_us = newest.hits.first().map(received).unwrap_or_default();
        let page = self.search.clone().size(self.last.min(MAX_PAGE));
        let page = page.ask(&page.body()).await?;
        // What came in since the first call is shown by the first poll.
        let known = page.hits.into_iter().rev();
        let known = known.filter(|hit| hit.number("ingest_us").is_none_or(|at| at <= self.high_us));
        self.ready.extend(known);
        self.marking = Some(self.begin_poll());
        self.begun = true;
        Ok(())
    }

    /// One page of what the overlap holds from before the beginning: it is not
    /// new, and only what becomes searchable later is.
    async fn mark(&mut self, poll: Poll) -> Result<(), Error> {
        let (hits, next) = self.fetch(poll).await?;
        for hit in hits.iter().filter(|hit| received(hit) <= self.high_us) {
            remember(&mut self.seen, hit);
        }
        self.marking = next;
        Ok(())
    }

    fn begin_poll(&mut self) -> Poll {
        let overlap = i64::try_from(self.settings.overlap.as_micros()).unwrap_or(i64::MAX);
        let from_us = self.high_us.saturating_sub(overlap).max(0);
        self.seen.retain(|_, at| *at >= from_us);
        Poll {
            from_us,
            after: None,
        }
    }

    /// One page of a poll: first the ids, of which the overlap shows the same
    /// again and again, then the records of those that are new.
    async fn page(&mut self, poll: Poll) -> Result<(), Error> {
        let (mut hits, next) = self.fetch(poll).await?;
        hits.retain(|hit| !self.seen.contains_key(&hit.id));
        let mut found = Vec::new();
        for new in hits.chunks(RECORDS) {
            let ids: Vec<&str> = new.iter().map(|hit| hit.id.as_str()).collect();
            let search = self
                .search
                .clone()
                .filter(json!({"terms": {"event_id": ids}}));
            let body = json!({
                "size": RECORDS,
                "query": search.question(),
                "sort": by_receipt(),
                "track_total_hits": false,
            });
            found.append(&mut self.search.ask(&body).await?.hits);
        }
        // Nothing is remembered before all of it is at hand: a poll that failed
        // is made again.
        for hit in found {
            remember(&mut self.seen, &hit);
            self.high_us = self.high_us.max(received(&hit));
            self.ready.push_back(hit);
        }
        self.poll = next;
        Ok(())
    }

    /// The ids of one page of a poll, by the time of receipt, and the rest of
    /// the poll where there is more.
    async fn fetch(&self, poll: Poll) -> Result<(Vec<Hit>, Option<Poll>), Error> {
        let search = self.search.clone();
        let search = search.filter(json!({"range": {"ingest_us": {"gte": poll.from_us}}}));
        let mut body = json!({
            "size": MAX_PAGE,
            "query": search.question(),
            "sort": by_receipt(),
            "_source": false,
            "track_total_hits": false,
        });
        if let Some(after) = poll.after {
            body["search_after"] = Value::Array(after);
        }
        let hits = search.ask(&body).await?.hits;
        let full = hits.len() as u64 >= MAX_PAGE;
        let after = hits.last().map(|hit| hit.sort.clone());
        let after = after.filter(|sort| full && !sort.is_empty());
        let next = after.map(|after| Poll {
            from_us: poll.from_us,
            after: Some(after),
        });
        Ok((hits, next))
    }
}

/// What was received at once is in the order of records; the id makes the
/// order total, so that paging loses nothing.
fn by_receipt() -> Value {
    let keys = ["ingest_us", "realtime_us", "seq", "event_id"];
    keys.iter().map(|key| json!({*key: "asc"})).collect()
}

/// The time of receipt, by which every search here is sorted.
fn received(hit: &Hit) -> i64 {
    hit.sort.first().and_then(Value::as_i64).unwrap_or_default()
}

fn remember(seen: &mut HashMap<String, i64>, hit: &Hit) {
    if seen.len() < REMEMBERED {
        seen.insert(hit.id.clone(), received(hit));
    }
}
