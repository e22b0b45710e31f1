//! The search endpoints: parse, choose the partitions, run on a thread for it.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use mscp_log_core::query::ast::{Search, TrackTotalHits};
use mscp_log_core::query::{Msearch, QueryError};
use serde_json::{Value, json};

use super::super::EmbeddedStore;
use super::super::catalog::Catalog;
use super::super::indices::{Expression, Options};
use super::super::places::Place;
use super::super::search::{EsError, SearchContext, answer};
use super::index::blocking;
use super::{Call, Fault, Reply};
use crate::clock;

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        Self::written(status_of(error.status()), error.to_json())
    }
}

impl From<EsError> for Fault {
    fn from(error: EsError) -> Self {
        Self::written(status_of(error.status), error.body())
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The form of an answer that depends on more than the search.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// `hits.total` is a number, as before Elasticsearch 7.
    total_as_number: bool,
    /// Hits have a `_type`, as before Elasticsearch 8.
    with_type: bool,
}

impl Shape {
    /// Where the total is a number, hits are counted whole: a number does not
    /// say that there are more.
    pub(super) fn count(self, search: &mut Search) -> Result<(), QueryError> {
        if !self.total_as_number {
            return Ok(());
        }
        match search.track_total_hits {
            None => search.track_total_hits = Some(TrackTotalHits::Whole(true)),
            Some(TrackTotalHits::Whole(_)) => {}
            Some(TrackTotalHits::UpTo(limit)) => {
                return Err(QueryError::argument(format!(
                    "[rest_total_hits_as_int] cannot be used if the tracking of total hits is not accurate, got {limit}"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn apply(self, body: &mut Value) {
        if let Some(hits) = body.get_mut("hits") {
            self.hits(hits);
        }
        if let Some(aggregations) = body.get_mut("aggregations") {
            self.top_hits(aggregations);
        }
    }

    /// The hits of `top_hits` below `value`, which have the same form.
    fn top_hits(self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, below) in members {
                    if name == "hits" && below["hits"].is_array() {
                        self.hits(below);
                    } else {
                        self.top_hits(below);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.top_hits(value)),
            _ => {}
        }
    }

    fn hits(self, hits: &mut Value) {
        if self.total_as_number {
            // Where hits are not counted there is no number, which is -1.
            hits["total"] = match hits.get_mut("total") {
                Some(total) => total["value"].take(),
                None => (-1).into(),
            };
        }
        if self.with_type
            && let Some(hits) = hits["hits"].as_array_mut()
        {
            for hit in hits {
                hit["_type"] = "_doc".into();
            }
        }
    }
}

impl EmbeddedStore {
    pub(super) async fn search(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        // Not the search's own: it says what becomes of the answer.
        let parameters: Vec<(String, String)> = call
            .parameters
            .iter()
            .filter(|(name, _)| name != "scroll")
            .cloned()
            .collect();
        let mut search = Search::parse(&call.body, &parameters)?;
        check_slice(&search, call.parameter("scroll").is_some())?;
        if let Some(time) = call.parameter("scroll") {
            return self.first_page(call, index, search, time).await;
        }
        let shape = self.shape(call)?;
        shape.count(&mut search)?;
        if let Some(pit) = search.pit.clone() {
            let mut body = self.search_pit(call, index, search, &pit).await?;
            shape.apply(&mut body);
            return Ok(Reply::ok(body));
        }
        let options = call.options()?;
        let run = self.run(call, false)?;
        let (catalog, expression) = (Arc::clone(&self.catalog), Expression::new(index));
        let permit = self.turn().await?;
        let body = blocking(move || {
            let _permit = permit;
            let mut body = run_one(&catalog, &expression, options, &search, &run)?;
            shape.apply(&mut body);
            Ok(body)
        })
        .await?;
        Ok(Reply::ok(body))
    }

    pub(super) async fn count(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        // They shape hits and aggregations, and a count has neither.
        let of_hits = ["typed_keys", "rest_total_hits_as_int"];
        if let Some(name) = of_hits
            .into_iter()
            .find(|name| call.parameter(name).is_some())
        {
            return Err(call.unrecognized(name));
        }
        let search = Search::parse_count(&call.body, &call.parameters)?;
        let options = call.options()?;
        let run = self.run(call, true)?;
        let (catalog, expression) = (Arc::clone(&self.catalog), Expression::new(index));
        let permit = self.turn().await?;
        let body = blocking(move || {
            let _permit = permit;
            run_one(&catalog, &expression, options, &search, &run)
        })
        .await?;
        Ok(Reply::ok(body))
    }

    pub(super) async fn msearch(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "typed_keys",
            "rest_total_hits_as_int",
            "max_concurrent_searches",
            "max_concurrent_shard_requests",
            "pre_filter_shard_size",
            "ccs_minimize_roundtrips",
            "search_type",
            "ignore_unavailable",
            "allow_no_indices",
            "ignore_throttled",
            "routing",
        ])?;
        let started = Instant::now();
        let mut parsed = Msearch::parse(&call.body)?;
        let options = call.options()?;
        let shape = self.shape(call)?;
        for (_, search) in &mut parsed.searches {
            shape.count(search)?;
        }
        let mut responses = Vec::with_capacity(parsed.searches.len());
        for (header, search) in parsed.searches {
            check_slice(&search, false)?;
            if let Some(pit) = search.pit.clone() {
                let named = header.index.join(",");
                let answered = self.search_pit(call, &named, search, &pit).await;
                responses.push(one_of_many(answered, shape));
                continue;
            }
            let expression = if header.index.is_empty() {
                Expression::new(index)
            } else {
                Expression::new(&header.index.join(","))
            };
            let options = Options {
                ignore_unavailable: header
                    .ignore_unavailable
                    .unwrap_or(options.ignore_unavailable),
                allow_no_indices: header.allow_no_indices.unwrap_or(options.allow_no_indices),
                ..options
            };
            let catalog = Arc::clone(&self.catalog);
            let run = self.run(call, false)?;
            // A turn for each, so that long lists do not keep others waiting.
            let permit = self.turn().await?;
            let result = blocking(move || {
                let _permit = permit;
                run_one(&catalog, &expression, options, &search, &run)
            })
            .await;
            responses.push(one_of_many(result, shape));
        }
        Ok(Reply::ok(json!({
            "took": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "responses": responses,
        })))
    }

    pub(super) fn shape(&self, call: &Call) -> Result<Shape, Fault> {
        let major = call.major;
        Ok(Shape {
            total_as_number: major < 7 || call.flag("rest_total_hits_as_int")?.unwrap_or(false),
            with_type: major < 8,
        })
    }

    pub(super) fn run(&self, call: &Call, count_only: bool) -> Result<SearchContext, Fault> {
        let bounds = **self.bounds.load();
        Ok(SearchContext {
            now_ms: clock::now_us().div_euclid(1_000),
            deadline: Some(Instant::now() + bounds.timeout),
            limits: bounds.limits,
            count_only,
            typed_keys: call.flag("typed_keys")?.unwrap_or(false),
        })
    }

    /// Wait for a thread; refuse where too many wait already.
    pub(super) async fn turn(&self) -> Result<Place, Fault> {
        let rejected = || {
            Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "es_rejected_execution_exception",
                "too many searches wait for a thread",
            )
        };
        let queue = Arc::clone(&self.queued_searches);
        let _queued = queue.try_acquire_owned().map_err(|_| rejected())?;
        self.searches.take().await.map_err(|_| rejected())
    }
}

/// Slices of a scroll or a point in time, as `index.max_slices_per_scroll`.
const MAX_SLICES: u64 = 1_024;

fn check_slice(search: &Search, scrolls: bool) -> Result<(), Fault> {
    let Some(slice) = &search.slice else {
        return Ok(());
    };
    if search.pit.is_none() && !scrolls {
        return Err(Fault::invalid(&[
            "[slice] can only be used with [scroll] or [point-in-time] requests",
        ]));
    }
    if slice.max > MAX_SLICES {
        return Err(EsError::illegal_argument(format!(
            "The number of slices [{}] is too large. It must be less than [{MAX_SLICES}]. This limit can be set by changing the [index.max_slices_per_scroll] index level setting.",
            slice.max
        ))
        .into());
    }
    Ok(())
}

/// An answer among those of `_msearch`.
fn one_of_many(answered: Result<Value, Fault>, shape: Shape) -> Value {
    match answered {
        Ok(mut body) => {
            shape.apply(&mut body);
            body["status"] = 200.into();
            body
        }
        Err(fault) => fault.body,
    }
}

fn run_one(
    catalog: &Catalog,
    expression: &Expression,
    options: Options,
    search: &Search,
    context: &SearchContext,
) -> Result<Value, Fault> {
    let selection = catalog.select(expression, options)?;
    Ok(answer(&selection.snapshots, search, context)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_total_that_is_a_number_is_counted_whole() {
        let counted = |total_as_number: bool, body: &[u8]| {
            let shape = Shape {
                total_as_number,
                with_type: false,
            };
            let mut search = Search::parse(body, &[]).unwrap();
            shape.count(&mut search).map(|()| search.track_total_hits)
        };
        let whole = Some(TrackTotalHits::Whole(true));
        assert_eq!(counted(true, b"{}"), Ok(whole));
        assert_eq!(counted(false, b"{}"), Ok(None));
        assert!(counted(true, b"{\"track_total_hits\":5}").is_err());
    }
}
