//! Searches: a builder for what is asked most, raw JSON for everything else, pages as a stream.

use std::fmt;

use http::Method;
use serde_json::{Map, Value, json};

#[cfg(feature = "async")]
use crate::client::Client;
use crate::connection::Connected;
use crate::connection::request::Request;
use crate::error::{Error, ErrorKind};
use crate::tokens::access;

/// A search in one region, built step by step, of a client `C`: the
/// asynchronous one, where nothing else is said, or the blocking one.
///
/// ```no_run
/// # #[cfg(feature = "async")] async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
/// let search = client.search("local").words("level:error AND timeout").term("namespace", "shop");
/// println!("{} records", search.count().await?);
/// for hit in search.size(20).send().await?.hits {
///     println!("{} {}", hit.time(), hit.message());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Search<#[cfg(feature = "async")] C = Client, #[cfg(not(feature = "async"))] C> {
    pub(crate) client: C,
    region: String,
    index: Option<String>,
    must: Vec<Value>,
    filters: Vec<Value>,
    oldest_first: bool,
    size: u64,
    members: Map<String, Value>,
}

/// What a search found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Records that match, as far as they were counted.
    pub total: u64,
    /// Whether there may be more than `total`.
    pub at_least: bool,
    /// The page asked for.
    pub hits: Vec<Hit>,
    /// The whole answer, aggregations and all.
    pub body: Value,
}

/// One record found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The index that holds it.
    pub index: String,
    /// Its id, the `event_id` of the record.
    pub id: String,
    /// The record.
    pub source: Value,
    /// Its sort values, for the page after it.
    pub sort: Vec<Value>,
}

impl Hit {
    /// A field as text, empty where there is none.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.source
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `message`.
    #[must_use]
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// `@timestamp`, RFC 3339 in UTC.
    #[must_use]
    pub fn time(&self) -> &str {
        self.text("@timestamp")
    }

    /// A field as a number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<i64> {
        self.source.get(field).and_then(Value::as_i64)
    }

    fn read(hit: &Value) -> Hit {
        let text = |name: &str| {
            hit.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Hit {
            index: text("_index"),
            id: text("_id"),
            source: hit.get("_source").cloned().unwrap_or(Value::Null),
            sort: hit
                .get("sort")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
        }
    }
}

impl<C> Search<C> {
    pub(crate) fn new(client: C, region: String) -> Search<C> {
        Search {
            client,
            region,
            index: None,
            must: Vec::new(),
            filters: Vec::new(),
            oldest_first: false,
            size: 10,
            members: Map::new(),
        }
    }

    /// Only in these indices: names and patterns, separated by commas.
    #[must_use]
    pub fn index(mut self, index: impl Into<String>) -> Search<C> {
        self.index = Some(index.into());
        self
    }

    /// Words and expressions of the Lucene syntax. Words are looked for in
    /// `message`, and all of them must be there; `field:value`, `"a phrase"`,
    /// `OR`, `NOT`, `err*` and `[1 TO 5]` do what they do in Elasticsearch's
    /// `query_string`.
    #[must_use]
    pub fn words(mut self, query: impl Into<String>) -> Search<C> {
        self.must.push(json!({"query_string": {
            "query": query.into(), "default_field": "message", "default_operator": "AND",
        }}));
        self
    }

    /// A query in Elasticsearch's JSON that must match also.
    #[must_use]
    pub fn query(mut self, query: Value) -> Search<C> {
        self.must.push(query);
        self
    }

    /// Only records whose keyword `field` is exactly `value`.
    #[must_use]
    pub fn term(mut self, field: &str, value: impl Into<Value>) -> Search<C> {
        let value = value.into();
        self.filters
            .push(json!({"term": {field: {"value": value}}}));
        self
    }

    /// Only records of the last so many seconds, by the server's clock.
    #[must_use]
    pub fn since_seconds(mut self, seconds: u64) -> Search<C> {
        self.filters
            .push(json!({"range": {"@timestamp": {"gte": format!("now-{seconds}s")}}}));
        self
    }

    /// Oldest first; newest first is the default.
    #[must_use]
    pub fn oldest_first(mut self) -> Search<C> {
        self.oldest_first = true;
        self
    }

    /// Records of a page, at most 10,000; 10 unless set.
    #[must_use]
    pub fn size(mut self, size: u64) -> Search<C> {
        self.size = size;
        self
    }

    /// Sets a member of the body as it is, in place of what the builder makes:
    /// `aggs`, `sort`, `query`, `_source`, `track_total_hits` and so on.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>, value: Value) -> Search<C> {
        self.members.insert(name.into(), value);
        self
    }

    /// The body that is sent to `_search`.
    ///
    /// ```
    /// # #[cfg(feature = "async")] {
    /// let client = mscp_log_client::Client::builder("http://127.0.0.1:8300").build()?;
    /// let body = client.search("local").term("namespace", "shop").size(3).body();
    /// assert_eq!(body["query"]["bool"]["filter"][0]["term"]["namespace"]["value"], "shop");
    /// assert_eq!(body["size"], 3);
    /// # }
    /// # Ok::<(), mscp_log_client::Error>(())
    /// ```
    #[must_use]
    pub fn body(&self) -> Value {
        let order = if self.oldest_first { "asc" } else { "desc" };
        let mut body = json!({
            "query": self.question(),
            "size": self.size,
            // A total order: the time, then the place in what was read at once, then the id.
            "sort": [{"realtime_us": order}, {"seq": order}, {"event_id": order}],
        });
        if let Value::Object(body) = &mut body {
            body.extend(self.members.clone());
        }
        body
    }

    /// What is asked, without order or page.
    pub(crate) fn question(&self) -> Value {
        if self.must.is_empty() && self.filters.is_empty() {
            return json!({"match_all": {}});
        }
        json!({"bool": {"must": self.must, "filter": self.filters}})
    }

    pub(crate) fn filter(mut self, filter: Value) -> Search<C> {
        self.filters.push(filter);
        self
    }
}

#[cfg(feature = "async")]
impl Search<Client> {
    /// Asks, and gives one page.
    ///
    /// # Errors
    ///
    /// Rejected for a query that the server cannot parse, with its reason;
    /// Forbidden for one that the account may not ask.
    pub async fn send(&self) -> Result<Found, Error> {
        self.ask(&self.body()).await
    }

    /// How many records match.
    ///
    /// # Errors
    ///
    /// As [`Search::send`].
    pub async fn count(&self) -> Result<u64, Error> {
        self.ask_count().await
    }

    /// All pages, one after the other, until there is no record left. Each
    /// continues behind the last record of the one before (`search_after`), so
    /// what is written meanwhile moves nothing.
    ///
    /// ```no_run
    /// # async fn run(client: mscp_log_client::Client) -> Result<(), mscp_log_client::Error> {
    /// use futures::TryStreamExt as _;
    /// let mut pages = std::pin::pin!(client.search("local").size(1000).pages());
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} more", page.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn pages(self) -> impl futures_util::Stream<Item = Result<Vec<Hit>, Error>> + Send {
        futures_util::stream::try_unfold(Paging::new(self), |mut paging| async move {
            let page = paging.next().await?;
            Ok(page.map(|page| (page, paging)))
        })
    }
}

/// The way through all pages of a search.
pub(crate) struct Paging<C> {
    search: Search<C>,
    /// The place to go on behind; none when there is no more.
    after: Option<Vec<Value>>,
}

impl<C: Connected> Paging<C> {
    pub(crate) fn new(search: Search<C>) -> Paging<C> {
        Paging {
            search,
            after: Some(Vec::new()),
        }
    }

    /// The next page; none at the end. After an error it is asked for again.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Hit>>, Error> {
        let Some(after) = &self.after else {
            return Ok(None);
        };
        let mut body = self.search.body();
        if !after.is_empty() {
            body["search_after"] = Value::Array(after.clone());
        }
        let hits = self.search.ask(&body).await?.hits;
        let full = hits.len() as u64 >= body["size"].as_u64().unwrap_or(10);
        let last = hits.last().map(|last| last.sort.clone());
        self.after = last.filter(|sort| full && !sort.is_empty());
        Ok((!hits.is_empty()).then_some(hits))
    }
}

#[allow(private_bounds, reason = "nothing in it is public")]
impl<C: Connected> Search<C> {
    pub(crate) async fn ask_count(&self) -> Result<u64, Error> {
        let query = self
            .members
            .get("query")
            .cloned()
            .unwrap_or_else(|| self.question());
        let answer = self.post("_count", &json!({"query": query})).await?;
        answer
            .get("count")
            .and_then(Value::as_u64)
            .ok_or_else(|| Error::protocol("the answer of _count has no count"))
    }

    pub(crate) async fn ask(&self, body: &Value) -> Result<Found, Error> {
        let body = self.post("_search", body).await?;
        if body.get("timed_out").and_then(Value::as_bool) == Some(true) {
            return Err(Error::of(
                ErrorKind::Timeout,
                "the search took longer than the server allows",
            ));
        }
        let total = body
            .pointer("/hits/total/value")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let at_least = body.pointer("/hits/total/relation").and_then(Value::as_str) == Some("gte");
        let hits = body
            .pointer("/hits/hits")
            .and_then(Value::as_array)
            .ok_or_else(|| Error::protocol("the answer of _search has no hits"))?;
        let hits = hits.iter().map(Hit::read).collect();
        Ok(Found {
            total,
            at_least,
            hits,
            body,
        })
    }

    async fn post(&self, endpoint: &str, body: &Value) -> Result<Value, Error> {
        let mut segments = vec![self.region.as_str(), "log"];
        segments.extend(self.index.as_deref());
        segments.push(endpoint);
        let connection = self.client.connection();
        let request = Request::new(Method::POST, connection.url(&segments)?).json(body);
        // A pattern has no wildcard within a segment: for an index pattern the
        // token is for every name.
        let index = match self.index.as_deref() {
            Some(name) if is_plain(name) => format!("{name}/"),
            Some(_) => "*/".to_owned(),
            None => String::new(),
        };
        let url = format!("{{mscp_api_url}}/{}/log/{index}{endpoint}", self.region);
        connection
            .call(request, &access(&[("POST", &url)]))
            .await?
            .json("the answer of the search")
    }
}

/// Whether an index name means only itself, in a path and in a pattern.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time(), self.message())
    }
}
