//! Scrolls: a search whose pages are asked for one after the other, over the
//! state of the store at the first.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use mscp_log_core::query::ast::{Search, TrackTotalHits};
use mscp_log_core::query::date_math::duration_ms;
use serde_json::{Value, json};

use super::super::EmbeddedStore;
use super::super::cursors::{CursorId, Kind, MAX_KEEP_ALIVE, NotKept, Scroll};
use super::super::indices::Expression;
use super::super::search::{EsError, Paging, page};
use super::index::blocking;
use super::{Call, Fault, Reply};

/// How long a state is to be kept, as it was written in `name`.
pub(super) fn keep_alive(name: &str, text: &str) -> Result<Duration, Fault> {
    // These two mean the shortest time that there is.
    if text == "-1" || text == "0" {
        return Ok(Duration::ZERO);
    }
    let ms = duration_ms(text).map_err(|_| {
        Fault::argument(format!(
            "failed to parse setting [{name}] with value [{text}] as a time value: unit is missing or unrecognized"
        ))
    })?;
    let time = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    if time > MAX_KEEP_ALIVE {
        return Err(EsError::illegal_argument(format!(
            "Keep alive for request ({text}) is too large. It must be less than (1d). This limit can be set by changing the [search.max_keep_alive] cluster level setting."
        ))
        .into());
    }
    Ok(time)
}

/// The error for a state that is not there, or no more.
pub(super) fn gone(id: &CursorId) -> Fault {
    EsError::context_missing(format!("No search context found for id [{}]", id.number())).into()
}

/// The error for one more state than may be kept.
pub(super) fn not_kept(kind: Kind, error: &NotKept) -> Fault {
    let limit = match error {
        NotKept::TooMany(limit) => limit,
        NotKept::TooLarge(_) | NotKept::Random(_) => {
            return Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "es_rejected_execution_exception",
                error.to_string(),
            );
        }
    };
    let (kind, what, setting) = match kind {
        Kind::Scroll => (
            "too_many_scroll_contexts_exception",
            "scroll",
            "search.max_open_scroll_context",
        ),
        Kind::PointInTime => (
            "rejected_execution_exception",
            "Point In Time",
            "search.max_open_pit_context",
        ),
    };
    EsError::too_many_contexts(
        kind,
        format!(
            "Trying to create too many {what} contexts. Must be less than or equal to: [{limit}]. This limit can be set by changing the [{setting}] setting."
        ),
    )
    .into()
}

/// What a scroll cannot have.
fn check(call: &Call, search: &Search) -> Result<(), Fault> {
    let mut faults = Vec::new();
    if search
        .track_total_hits
        .is_some_and(|track| track != TrackTotalHits::Whole(true))
    {
        faults.push("disabling [track_total_hits] is not allowed in a scroll context");
    }
    if search.from.unwrap_or(0) > 0 {
        faults.push("using [from] is not allowed in a scroll context");
    }
    if search.size == Some(0) {
        faults.push("[size] cannot be [0] in a scroll context");
    }
    if search.search_after.is_some() {
        faults.push("[search_after] cannot be used in a scroll context");
    }
    if call.flag("request_cache")?.unwrap_or(false) {
        faults.push("[request_cache] cannot be used in a scroll context");
    }
    if search.pit.is_some() {
        faults.push("using [point in time] is not allowed in a scroll context");
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Fault::invalid(&faults))
    }
}

impl EmbeddedStore {
    /// The first page: `_search?scroll=1m`.
    pub(super) async fn first_page(
        &self,
        call: &Call,
        index: &str,
        search: Search,
        time: &str,
    ) -> Result<Reply, Fault> {
        let time = keep_alive("scroll", time)?;
        check(call, &search)?;
        let options = call.options()?;
        let shape = self.shape(call)?;
        let run = self.run(call, false)?;
        let (catalog, expression) = (Arc::clone(&self.catalog), Expression::new(index));
        let search = Arc::new(search);
        let asked = Arc::clone(&search);
        let permit = self.turn().await?;
        let (mut body, snapshots, last) = blocking(move || {
            let _permit = permit;
            let selection = catalog.select(&expression, options)?;
            let paged = page(&selection.snapshots, &asked, &run, Paging::First)?;
            Ok((paged.body, selection.snapshots, paged.last))
        })
        .await?;
        let scroll = Scroll {
            search,
            now_ms: run.now_ms,
            total: body["hits"]["total"].clone(),
            max_score: body["hits"]["max_score"].clone(),
            last,
        };
        let id = self
            .cursors
            .open(snapshots, run.now_ms, Some((scroll, call.body.len())), time)
            .map_err(|error| not_kept(Kind::Scroll, &error))?;
        body["_scroll_id"] = id.to_string().into();
        shape.apply(&mut body);
        Ok(Reply::ok(body))
    }

    /// `_search/scroll`: the next page, or with DELETE the end.
    pub(super) async fn scroll(&self, call: &Call, id: Option<&str>) -> Result<Reply, Fault> {
        call.only(&["scroll", "scroll_id", "rest_total_hits_as_int"])?;
        let asked = Asked::read(call, id)?;
        if call.method == Method::DELETE {
            return self.end_scrolls(&asked.ids);
        }
        let [id] = asked.ids.as_slice() else {
            return Err(Fault::invalid(&["scrollId is missing"]));
        };
        let time = match &asked.scroll {
            Some(text) => Some(keep_alive("scroll", text)?),
            None => None,
        };
        let id = parse(id)?;
        let cursor = self.cursors.find(&id, time).ok_or_else(|| gone(&id))?;
        let scroll = cursor.scroll.as_ref().ok_or_else(|| gone(&id))?;
        // Pages of one scroll come one after the other.
        let mut scroll = scroll.lock().await;
        let shape = self.shape(call)?;
        let mut run = self.run(call, false)?;
        run.now_ms = scroll.now_ms;
        let (before, kept) = (scroll.clone(), Arc::clone(&cursor));
        let permit = self.turn().await?;
        let (mut body, last) = blocking(move || {
            let _permit = permit;
            let Some(last) = &before.last else {
                return Ok((before.nothing_more(), None));
            };
            let paging = Paging::Behind(last);
            let paged = page(&kept.snapshots, &before.search, &run, paging)?;
            let mut body = paged.body;
            if body["timed_out"] == true {
                // What the client was not shown would never be shown.
                return Err(Fault::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "search_timeout_exception",
                    "Time exceeded",
                ));
            }
            body["hits"]["total"] = before.total;
            body["hits"]["max_score"] = before.max_score;
            Ok((body, paged.last))
        })
        .await?;
        if last.is_some() {
            scroll.last = last;
        }
        if time.is_some() {
            body["_scroll_id"] = id.to_string().into();
        }
        shape.apply(&mut body);
        Ok(Reply::ok(body))
    }

    fn end_scrolls(&self, ids: &[String]) -> Result<Reply, Fault> {
        let ended = match ids {
            [] => return Err(Fault::invalid(&["no scroll ids specified"])),
            [all] if all == "_all" => self.cursors.close_all(Kind::Scroll).len(),
            ids => {
                let ids: Vec<CursorId> =
                    ids.iter().map(|id| parse(id)).collect::<Result<_, _>>()?;
                ids.iter().filter(|id| self.cursors.close(id)).count()
            }
        };
        let status = if ended > 0 || ids == ["_all"] {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        let body = json!({"succeeded": true, "num_freed": ended});
        Ok(Reply::json(status, body))
    }
}

impl Scroll {
    /// The page behind the last.
    fn nothing_more(&self) -> Value {
        json!({
            "took": 0,
            "timed_out": false,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {"total": self.total, "max_score": self.max_score, "hits": []},
        })
    }
}

fn parse(text: &str) -> Result<CursorId, Fault> {
    CursorId::parse(Kind::Scroll, text).ok_or_else(|| Fault::argument("Cannot parse scroll id"))
}

/// What a request to `_search/scroll` says.
#[derive(Default)]
struct Asked {
    ids: Vec<String>,
    scroll: Option<String>,
}

impl Asked {
    /// Read it from the path, the parameters and the body, of which the later
    /// one counts.
    fn read(call: &Call, id: Option<&str>) -> Result<Self, Fault> {
        let mut asked = Self::default();
        let listed = |text: &str| -> Vec<String> {
            let ids = text.split(',').filter(|id| !id.is_empty());
            ids.map(str::to_owned).collect()
        };
        if let Some(ids) = id.or_else(|| call.parameter("scroll_id")) {
            asked.ids = listed(ids);
        }
        asked.scroll = call.parameter("scroll").map(str::to_owned);
        if call.body.trim_ascii().is_empty() {
            return Ok(asked);
        }
        let not_read = || Fault::argument("Failed to parse request body");
        let body: serde_json::Map<String, Value> =
            serde_json::from_slice(&call.body).map_err(|_| not_read())?;
        for (name, value) in body {
            match (name.as_str(), value) {
                ("scroll_id", Value::String(id)) => asked.ids = vec![id],
                ("scroll_id", Value::Array(ids)) if call.method == Method::DELETE => {
                    let texts = ids.into_iter().map(|id| match id {
                        Value::String(id) => Ok(id),
                        _ => Err(Fault::argument(
                            "scroll_id array element should only contain scroll_id",
                        )),
                    });
                    asked.ids = texts.collect::<Result<_, _>>()?;
                }
                ("scroll", Value::String(time)) if call.method != Method::DELETE => {
                    asked.scroll = Some(time);
                }
                (name, value) => {
                    return Err(Fault::argument(format!(
                        "Unknown parameter [{name}] in request body or parameter is of the wrong type[{}] ",
                        token(&value)
                    )));
                }
            }
        }
        Ok(asked)
    }
}

/// What Elasticsearch's reader of JSON calls the beginning of a value.
fn token(value: &Value) -> &'static str {
    match value {
        Value::Null => "VALUE_NULL",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Number(_) => "VALUE_NUMBER",
        Value::String(_) => "VALUE_STRING",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}
