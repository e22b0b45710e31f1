//! Points in time: a state of the store that searches ask again and again.
//! Elasticsearch and OpenSearch open and close them at different paths.

use http::{Method, StatusCode};
use mscp_log_core::query::ast::{Pit, Search, SortKey};
use serde_json::{Value, json};

use super::super::EmbeddedStore;
use super::super::cursors::{CursorId, Kind};
use super::super::search::answer;
use super::index::blocking;
use super::scroll::{gone, keep_alive, not_kept};
use super::{Call, Fault, Reply};

/// The sort key that each point in time has of its own.
const TIE_BREAKER: &str = "_shard_doc";

/// Whose way of asking it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Elasticsearch,
    OpenSearch,
}

impl EmbeddedStore {
    /// `POST {index}/_pit`, or `{index}/_search/point_in_time`.
    pub(super) async fn open_pit(
        &self,
        call: &Call,
        index: &str,
        product: Product,
    ) -> Result<Reply, Fault> {
        call.only(&[
            "keep_alive",
            "ignore_unavailable",
            "allow_no_indices",
            "preference",
            "routing",
            "allow_partial_search_results",
            "allow_partial_pit_creation",
            "max_concurrent_shard_requests",
        ])?;
        if !call.body.trim_ascii().is_empty() && call.body.trim_ascii() != b"{}" {
            return Err(Fault::argument(format!(
                "request [{} {}] does not support having a body",
                call.method, call.path
            )));
        }
        let Some(time) = call.parameter("keep_alive") else {
            return Err(Fault::invalid(&[match product {
                Product::Elasticsearch => "[keep_alive] is not specified",
                Product::OpenSearch => "keep alive not specified",
            }]));
        };
        let time = keep_alive("keep_alive", time)?;
        let selection = self.selection(call, index).await?;
        let opened_ms = self.run(call, false)?.now_ms;
        let id = self
            .cursors
            .open(selection.snapshots, opened_ms, None, time)
            .map_err(|error| not_kept(Kind::PointInTime, &error))?
            .to_string();
        let shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
        Ok(Reply::ok(match product {
            Product::Elasticsearch => json!({"id": id, "_shards": shards}),
            Product::OpenSearch => {
                json!({"pit_id": id, "_shards": shards, "creation_time": opened_ms})
            }
        }))
    }

    /// `DELETE _pit`
    pub(super) fn close_pit(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&[])?;
        if call.body.trim_ascii().is_empty() {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "parse_exception",
                "request body or source parameter is required",
            ));
        }
        let [id] = <[String; 1]>::try_from(ids(&call.body, "id")?)
            .map_err(|_| Fault::argument("search context id is is not provided"))?;
        let closed = self.cursors.close(&parse(&id)?);
        let status = if closed {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        let body = json!({"succeeded": closed, "num_freed": u8::from(closed)});
        Ok(Reply::json(status, body))
    }

    /// `DELETE _search/point_in_time`: those that the body names. One that is
    /// not there counts as closed.
    pub(super) fn close_pits(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&[])?;
        let ids = ids(&call.body, "pit_id")?;
        if ids.is_empty() {
            return Err(Fault::invalid(&["no pit ids specified"]));
        }
        let parsed: Vec<CursorId> = ids.iter().map(|id| parse(id)).collect::<Result<_, _>>()?;
        for id in &parsed {
            self.cursors.close(id);
        }
        Ok(closed(&parsed))
    }

    /// `GET` and `DELETE` of `_search/point_in_time/_all`.
    pub(super) fn all_pits(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&[])?;
        if call.method == Method::DELETE {
            return Ok(closed(&self.cursors.close_all(Kind::PointInTime)));
        }
        let pits = self.cursors.all(Kind::PointInTime).into_iter();
        let pits: Vec<Value> = pits
            .map(|(id, (opened_ms, keep_alive))| {
                json!({
                    "pit_id": id.to_string(),
                    "creation_time": opened_ms,
                    "keep_alive": u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX),
                })
            })
            .collect();
        Ok(Reply::ok(json!({ "pits": pits })))
    }

    /// A search of a point in time. `index` is what the path names.
    pub(super) async fn search_pit(
        &self,
        call: &Call,
        index: &str,
        search: Search,
        pit: &Pit,
    ) -> Result<Value, Fault> {
        let mut faults = Vec::new();
        if !index.is_empty() {
            faults.push(
                "[indices] cannot be used with point in time. Do not specify any index with point in time.",
            );
        }
        let given = |name: &str| call.parameter(name).is_some();
        if given("ignore_unavailable") || given("allow_no_indices") || given("expand_wildcards") {
            faults.push("[indicesOptions] cannot be used with point in time");
        }
        if given("routing") {
            faults.push("[routing] cannot be used with point in time");
        }
        if given("preference") {
            faults.push("[preference] cannot be used with point in time");
        }
        if !faults.is_empty() {
            return Err(Fault::invalid(&faults));
        }
        let time = match &pit.keep_alive {
            Some(text) => Some(keep_alive("keep_alive", text)?),
            None => None,
        };
        let id = parse(&pit.id)?;
        let cursor = self.cursors.find(&id, time).ok_or_else(|| gone(&id))?;
        let search = with_tie_breaker(search);
        let run = self.run(call, false)?;
        let permit = self.turn().await?;
        let mut body = blocking(move || {
            let _permit = permit;
            Ok(answer(&cursor.snapshots, &search, &run)?)
        })
        .await?;
        body["pit_id"] = id.to_string().into();
        Ok(body)
    }
}

/// Order by the place at last, where anything is ordered; one who gives the
/// values of the last hit without it goes on without it.
fn with_tie_breaker(mut search: Search) -> Search {
    let has_it = search.sort.iter().any(|key| key.field == TIE_BREAKER);
    let goes_on_without = search
        .search_after
        .as_ref()
        .is_some_and(|values| values.len() == search.sort.len());
    if !search.sort.is_empty() && !has_it && !goes_on_without {
        search.sort.push(SortKey {
            field: TIE_BREAKER.to_owned(),
            order: None,
            missing: None,
            unmapped_type: None,
            mode: None,
            format: None,
            numeric_type: None,
        });
    }
    search
}

fn closed(ids: &[CursorId]) -> Reply {
    let closed = ids
        .iter()
        .map(|id| json!({"successful": true, "pit_id": id.to_string()}));
    Reply::ok(json!({"pits": closed.collect::<Vec<_>>()}))
}

fn parse(text: &str) -> Result<CursorId, Fault> {
    CursorId::parse(Kind::PointInTime, text)
        .ok_or_else(|| Fault::argument(format!("invalid id: [{text}]")))
}

/// The ids in the one member of a body, a text or a list of texts.
fn ids(body: &[u8], wanted: &str) -> Result<Vec<String>, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let body: serde_json::Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| Fault::argument("Failed to parse request body"))?;
    let mut ids = Vec::new();
    for (name, value) in body {
        match value {
            Value::String(id) if name == wanted => ids.push(id),
            Value::Array(list) if name == wanted => {
                for id in list {
                    let Value::String(id) = id else {
                        return Err(Fault::argument(format!(
                            "{wanted} array element should only contain {wanted}"
                        )));
                    };
                    ids.push(id);
                }
            }
            _ => {
                return Err(Fault::argument(format!(
                    "Unknown parameter [{name}] in request body or parameter is of the wrong type"
                )));
            }
        }
    }
    Ok(ids)
}
