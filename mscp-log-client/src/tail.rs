//! Following a search: polls by the time of receipt with an overlap, and
//! drops what it has shown already.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::Stream;
use serde_json::{Value, json};

use crate::error::Error;
use crate::search::{Hit, Search};

/// Records of one poll's page; a poll takes as many pages as there are.
const PAGE: u64 = 1_000;

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

impl Search {
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
    ) -> impl Stream<Item = Result<Hit, Error>> + Send {
        let tail = Tail {
            search: self,
            last,
            settings,
            begun: false,
            high_us: 0,
            seen: HashMap::new(),
            poll: None,
            ready: VecDeque::new(),
        };
        futures::stream::unfold(tail, |mut tail| async move {
            let next = tail.next().await;
            Some((next, tail))
        })
    }
}

struct Tail {
    search: Search,
    last: u64,
    settings: TailSettings,
    begun: bool,
    /// The newest time of receipt seen.
    high_us: i64,
    /// Ids that the overlap will show again, with their time of receipt.
    seen: HashMap<String, i64>,
    /// The poll that is under way: where it began, and behind which record it goes on.
    poll: Option<Poll>,
    ready: VecDeque<Hit>,
}

#[derive(Clone)]
struct Poll {
    from_us: i64,
    after: Option<Vec<Value>>,
}

impl Tail {
    async fn next(&mut self) -> Result<Hit, Error> {
        loop {
            if let Some(hit) = self.ready.pop_front() {
                return Ok(hit);
            }
            let worked = if !self.begun {
                self.begin().await
            } else if let Some(poll) = self.poll.clone() {
                self.page(poll).await
            } else {
                tokio::time::sleep(self.settings.interval).await;
                self.poll = Some(self.begin_poll());
                Ok(())
            };
            if let Err(error) = worked {
                // Whoever asks again at once must not spin.
                tokio::time::sleep(self.settings.interval).await;
                return Err(error);
            }
        }
    }

    /// Where "now" is, by what the store holds, for the two clocks may differ;
    /// then the last records, and all of the overlap is marked as seen.
    async fn begin(&mut self) -> Result<(), Error> {
        let newest = json!({
            "size": 1,
            "query": self.search.question(),
            "sort": [{"ingest_us": "desc"}, {"event_id": "desc"}],
            "_source": ["ingest_us"],
        });
        let newest = self.search.ask(&newest).await?;
        self.high_us = newest
            .hits
            .first()
            .and_then(|hit| hit.number("ingest_us"))
            .unwrap_or_default();
        let mut poll = Some(self.begin_poll());
        while let Some(now) = poll {
            let (hits, next) = self.fetch(now, &json!(["ingest_us"])).await?;
            // What came in since the first call is shown by the first poll.
            for hit in &hits {
                if self.is_known(hit) {
                    self.remember(hit);
                }
            }
            poll = next;
        }
        let page = self
            .search
            .clone()
            .size(self.last.min(10_000))
            .send()
            .await?;
        let known: Vec<Hit> = page
            .hits
            .into_iter()
            .rev()
            .filter(|hit| self.is_known(hit))
            .collect();
        self.ready.extend(known);
        self.begun = true;
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

    async fn page(&mut self, poll: Poll) -> Result<(), Error> {
        let (hits, next) = self.fetch(poll, &Value::Bool(true)).await?;
        for hit in hits {
            if !self.seen.contains_key(&hit.id) {
                self.remember(&hit);
                self.high_us = self
                    .high_us
                    .max(hit.number("ingest_us").unwrap_or_default());
                self.ready.push_back(hit);
            }
        }
        self.poll = next;
        Ok(())
    }

    fn is_known(&self, hit: &Hit) -> bool {
        hit.number("ingest_us").is_none_or(|at| at <= self.high_us)
    }

    fn remember(&mut self, hit: &Hit) {
        if self.seen.len() < REMEMBERED {
            self.seen
                .insert(hit.id.clone(), hit.number("ingest_us").unwrap_or_default());
        }
    }

    /// One page of a poll, by the time of receipt, and the rest of the poll
    /// where there is more.
    async fn fetch(&self, poll: Poll, source: &Value) -> Result<(Vec<Hit>, Option<Poll>), Error> {
        let search = self.search.clone();
        let search = search.filter(json!({"range": {"ingest_us": {"gte": poll.from_us}}}));
        let mut body = json!({
            "size": PAGE,
            "query": search.question(),
            "sort": [{"ingest_us": "asc"}, {"event_id": "asc"}],
            "_source": source,
            "track_total_hits": false,
        });
        if let Some(after) = poll.after {
            body["search_after"] = Value::Array(after);
        }
        let hits = search.ask(&body).await?.hits;
        let full = hits.len() as u64 >= PAGE;
        let after = hits
            .last()
            .map(|hit| hit.sort.clone())
            .filter(|sort| full && !sort.is_empty());
        let next = after.map(|after| Poll {
            from_us: poll.from_us,
            after: Some(after),
        });
        Ok((hits, next))
    }
}
