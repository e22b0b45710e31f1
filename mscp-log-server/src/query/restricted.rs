//! Requests whose decision carries a restriction.
//!
//! Every search, from the body and from the parameters, is read into its tree,
//! restricted there and written out again; nothing else of the request reaches
//! the store. It always runs over all indices, with the ones that were named as
//! a filter. What is no search has a constant answer.

use std::collections::BTreeSet;

use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use mscp_log_core::access::{Restriction, Visible};
use mscp_log_core::query::ast::{Aggregation, Clause, Query, Search, TrackTotalHits};
use mscp_log_core::query::{Header, Msearch, QueryError, Refused};
use serde_json::{Value, json};

use super::answer::{NotShown, Shown};
use super::cursor::{gone, invalid};
use super::endpoint::Endpoint;
use super::seal::{Cursor, Holder, Kind};
use super::{Ask, Read, Refusal, Region, answer, encoded, indices, json, request};

/// Parameters that say how an answer is written, and nothing of what is in it.
const OF_THE_FORM: [&str; 5] = [
    "typed_keys",
    "rest_total_hits_as_int",
    "filter_path",
    "pretty",
    "human",
];

/// The most bytes of the store's answer that are read to be written again.
pub(super) const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// The most bytes of the store's answer to `GET /`.
const MAX_HANDSHAKE: usize = 64 * 1024;

/// The version of Elasticsearch in whose form constants are given.
const CURRENT_VERSION: u16 = 8;

/// Why a restricted request is not answered from the store.
pub(super) enum Fault {
    Refusal(Refusal),
    Query(QueryError),
    /// With a status and a body of ours.
    Answer(StatusCode, String),
}

impl Fault {
    /// As it is answered.
    pub(super) fn answer(self) -> Result<Response<Body>, Refusal> {
        match self {
            Self::Refusal(refusal) => Err(refusal),
            Self::Answer(status, body) => Ok(json(status, body)),
            Self::Query(error) => {
                let status =
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
                Ok(json(status, error.to_json().to_string()))
            }
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::SeesPast(_) => Self::Refusal(Refusal::Forbidden(refused.to_string())),
            Refused::Wrong(error) => Self::Query(error),
        }
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        match &error.sees_past_a_filter {
            Some(feature) => Refused::SeesPast(feature.clone()).into(),
            None => Self::Query(error),
        }
    }
}

impl From<indices::Fault> for Fault {
    fn from(fault: indices::Fault) -> Self {
        match fault {
            indices::Fault::Forbidden(refusal) => Self::Refusal(refusal),
            indices::Fault::Invalid(reason) => {
                Self::Query(QueryError::of_kind("invalid_index_name_exception", reason))
            }
        }
    }
}

impl Region {
    pub(super) async fn restricted(
        &self,
        endpoint: Endpoint,
        ask: Ask,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Refusal> {
        self.restricted_answer(endpoint, ask, read)
            .await
            .or_else(Fault::answer)
    }

    async fn restricted_answer(
        &self,
        endpoint: Endpoint,
        ask: Ask,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        let visible: Vec<Restriction> = match &ask.visible {
            Visible::Restricted(visible) => visible.clone(),
            // Not asked here; if it were, nothing would be shown.
            Visible::All => Vec::new(),
        };
        match endpoint {
            Endpoint::Handshake => Ok(self.handshake().await),
            Endpoint::License => Ok(json(StatusCode::OK, license().to_string())),
            Endpoint::ClusterHealth => Ok(json(StatusCode::OK, health(self.name()).to_string())),
            Endpoint::Mapping(index) => {
                Ok(json(StatusCode::OK, mapping(index.as_deref())?.to_string()))
            }
            Endpoint::FieldCaps(index) => {
                let parameters = parameters(&ask)?;
                Ok(json(
                    StatusCode::OK,
                    field_caps(index.as_deref(), &parameters, &self.whole_body(ask).await?)?
                        .to_string(),
                ))
            }
            Endpoint::Search(index) => self.restricted_search(index, ask, &visible, read).await,
            Endpoint::Count(index) => {
                let (subject, all) = (ask.subject.clone(), ask.visible.clone());
                let parameters = parameters(&ask)?;
                let body = self.whole_body(ask).await?;
                let names: Vec<String> = index.into_iter().collect();
                let search = Search::parse_count(&body, &parameters)?
                    .restrict_within(&visible, indices::filter(&names)?)?;
                *read = Some(Read { indices: names });
                let only_query = Search {
                    query: search.query,
                    ..Search::default()
                };
                self.check(&only_query, "")?;
                let form = form_of(&parameters) + ANY_INDICES;
                let (body, holder) = (only_query.emit(), self.holder(&subject, &all));
                self.ask_store("/_count", &form, body, &holder, &[Shown::default()])
                    .await
            }
            Endpoint::Msearch(index) => self.restricted_msearch(index, ask, &visible, read).await,
            Endpoint::Cursor(endpoint) => self.cursor(endpoint, ask, read).await,
            Endpoint::Other | Endpoint::Change => {
                let path = super::path(&ask.segments);
                let reason = format!("{} {path} is not open to a restricted token", ask.method);
                Err(Fault::Refusal(Refusal::Forbidden(reason)))
            }
        }
    }

    async fn restricted_search(
        &self,
        index: Option<String>,
        ask: Ask,
        visible: &[Restriction],
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        let (subject, all) = (ask.subject.clone(), ask.visible.clone());
        let holder = self.holder(&subject, &all);
        let mut parameters = parameters(&ask)?;
        let scroll = parameters
            .iter()
            .position(|(name, _)| name == "scroll")
            .map(|place| parameters.remove(place).1);
        let body = self.whole_body(ask).await?;
        let mut search = Search::parse(&body, &parameters)?;
        let mut names: Vec<String> = index.into_iter().collect();
        let mut form = form_of(&parameters);
        match &scroll {
            Some(_) if search.pit.is_some() => {
                return Err(invalid(
                    "using [point in time] is not allowed in a scroll context",
                ));
            }
            Some(time) => {
                form.push_str("&scroll=");
                form.push_str(&encoded(time));
                form.push_str(ANY_INDICES);
            }
            None if search.pit.is_some() => {
                names = self.open_sealed(&mut search, names, &holder)?;
            }
            None => form.push_str(ANY_INDICES),
        }
        let search = search.restrict_within(visible, indices::filter(&names)?)?;
        *read = Some(Read {
            indices: names.clone(),
        });
        let shown = [Shown {
            keys: search.sort.len(),
            indices: names,
            count_up_to: count_up_to(&search).filter(|_| scroll.is_none()),
            aggregations: names_of(&search.aggs),
            // Pages behind the first have none in any store.
            of_nothing: self.check(&search, &form)?,
            fault: None,
        }];
        self.ask_store("/_search", &form, search.emit(), &holder, &shown)
            .await
    }

    async fn restricted_msearch(
        &self,
        index: Option<String>,
        ask: Ask,
        visible: &[Restriction],
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        let (subject, all) = (ask.subject.clone(), ask.visible.clone());
        let holder = self.holder(&subject, &all);
        let parameters = parameters(&ask)?;
        // It has no query of its own, so these are only looked at.
        Search::parse_count(b"", &parameters)?;
        if let Some((name, _)) = parameters
            .iter()
            .find(|(name, _)| matches!(name.as_str(), "q" | "source"))
        {
            let reason = format!("request contains unrecognized parameter: [{name}]");
            return Err(QueryError::argument(reason).into());
        }
        let mut msearch = Msearch::parse(&self.whole_body(ask).await?)?;
        let form = form_of(&parameters);
        let mut shown = Vec::new();
        for (header, search) in &mut msearch.searches {
            let mut names = if header.index.is_empty() {
                index.iter().cloned().collect()
            } else {
                header.index.clone()
            };
            *header = Header::default();
            if search.pit.is_some() {
                names = self.open_sealed(search, names, &holder)?;
            } else {
                header.ignore_unavailable = Some(true);
                header.allow_no_indices = Some(true);
            }
            *search = search.restrict_within(visible, indices::filter(&names)?)?;
            let (of_nothing, fault) = match self.check(search, &form) {
                Err(Fault::Answer(_, body)) => (None, Some(body)),
                checked => (checked?, None),
            };
            shown.push(Shown {
                keys: search.sort.len(),
                indices: names,
                count_up_to: count_up_to(search),
                aggregations: names_of(&search.aggs),
                of_nothing,
                fault,
            });
            if shown.last().is_some_and(|one| one.fault.is_some()) {
                *header = Header::default();
                *search = Search {
                    query: Some(Query::of(Clause::MatchNone)),
                    size: Some(0),
                    ..Search::default()
                };
            }
        }
        *read = Some(Read {
            indices: shown.iter().map(|one| one.indices.join(",")).collect(),
        });
        self.ask_store("/_msearch", &form, msearch.emit(), &holder, &shown)
            .await
    }

    /// Put the store's id of the point in time into the search; the indices
    /// that it was opened with.
    fn open_sealed(
        &self,
        search: &mut Search,
        names: Vec<String>,
        holder: &Holder<'_>,
    ) -> Result<Vec<String>, Fault> {
        if !names.is_empty() {
            return Err(invalid(
                "[indices] cannot be used with point in time. Do not specify any index with point in time.",
            ));
        }
        let Some(pit) = &mut search.pit else {
            return Ok(names);
        };
        let opened = self
            .sealing
            .open(holder, Kind::PointInTime, &pit.id)
            .ok_or_else(gone)?;
        pit.id = opened.id;
        Ok(opened.indices)
    }

    /// The body, unpacked, if it may be read as JSON.
    pub(super) async fn whole_body(&self, ask: Ask) -> Result<Bytes, Fault> {
        let limit = self.max_expression_bytes;
        let too_large = || Fault::Refusal(Refusal::TooLarge(limit));
        let header = |name| ask.headers.get(name).map(HeaderValue::to_str);
        let media_type = match header(header::CONTENT_TYPE) {
            None => "application/json",
            Some(Ok(media_type)) => media_type,
            Some(Err(_)) => "",
        };
        let encoding = match header(header::CONTENT_ENCODING) {
            None => "identity",
            Some(Ok(encoding)) => encoding,
            Some(Err(_)) => "",
        };
        let is_gzip = encoding.eq_ignore_ascii_case("gzip");
        if !is_gzip && !encoding.eq_ignore_ascii_case("identity") {
            let reason = "expected the content encoding gzip or identity".to_owned();
            return Err(Fault::Refusal(Refusal::MediaType(reason)));
        }
        let essence = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let length =
            header(header::CONTENT_LENGTH).and_then(|length| length.ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let body = axum::body::to_bytes(ask.body, limit)
            .await
            .map_err(|error| {
                let is_limit = std::error::Error::source(&error)
                    .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
                if is_limit {
                    too_large()
                } else {
                    Fault::Refusal(Refusal::Body("the body did not come in whole".to_owned()))
                }
            })?;
        const JSON: [&str; 4] = [
            "application/json",
            "application/x-ndjson",
            "application/vnd.elasticsearch+json",
            "application/vnd.elasticsearch+x-ndjson",
        ];
        if !body.is_empty() && !JSON.contains(&essence.as_str()) {
            let reason = format!("expected JSON, not {essence:?}");
            return Err(Fault::Refusal(Refusal::MediaType(reason)));
        }
        if !is_gzip {
            return Ok(body);
        }
        let mut unpacked = Vec::new();
        let mut reader = std::io::Read::take(
            flate2::read::MultiGzDecoder::new(&body[..]),
            limit as u64 + 1,
        );
        std::io::Read::read_to_end(&mut reader, &mut unpacked).map_err(|_| {
            Fault::Refusal(Refusal::Body(
                "the body is not gzip as its header says".to_owned(),
            ))
        })?;
        if unpacked.len() > limit {
            return Err(too_large());
        }
        Ok(unpacked.into())
    }

    /// `GET /`: of the store only its product and version, which clients go by.
    /// Names of nodes and clusters are constants.
    async fn handshake(&self) -> Response<Body> {
        let request = request(Method::GET, "/", None, HeaderMap::new(), Body::empty());
        let response = self.store.call(request).await;
        let status = response.status();
        let whole = axum::body::to_bytes(response.into_body(), MAX_HANDSHAKE).await;
        let read: Option<Value> = whole
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok());
        match read {
            Some(body) if status == StatusCode::OK => {
                json(status, handshake(self.name(), &body).to_string())
            }
            _ => {
                let status = if status.is_success() {
                    StatusCode::BAD_GATEWAY
                } else {
                    status
                };
                let (status, body) = answer::error("", status, "");
                json(status, body)
            }
        }
    }

    /// Ask the store, and write its answer again.
    pub(super) async fn ask_store(
        &self,
        path: &str,
        form: &str,
        body: String,
        holder: &Holder<'_>,
        shown: &[Shown],
    ) -> Result<Response<Body>, Fault> {
        let mut headers = HeaderMap::new();
        let json_type = HeaderValue::from_static("application/json");
        headers.insert(header::ACCEPT, json_type.clone());
        let is_lines = path == "/_msearch";
        headers.insert(
            header::CONTENT_TYPE,
            if is_lines {
                HeaderValue::from_static("application/x-ndjson")
            } else {
                json_type
            },
        );
        let parameters = form.trim_start_matches('&');
        let response = self
            .store
            .call(request(
                Method::POST,
                path,
                Some(parameters),
                headers,
                Body::from(body.clone()),
            ))
            .await;
        let status = response.status();
        let unreadable = || {
            let (status, body) = answer::error("", StatusCode::BAD_GATEWAY, "");
            Ok(json(status, body))
        };
        let Ok(bytes) = axum::body::to_bytes(response.into_body(), MAX_ANSWER).await else {
            return unreadable();
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return unreadable();
        };
        if status != StatusCode::OK {
            let (status, shown) = answer::error(text, status, &body);
            return Ok(json(status, shown));
        }
        let seal = |kind: Kind, id: &str, shown: &Shown, end: Option<&str>| {
            let cursor = Cursor {
                id: id.to_owned(),
                indices: shown.indices.clone(),
                keys: shown.keys,
                end: end.map(str::to_owned),
            };
            self.sealing.seal(holder, kind, &cursor)
        };
        let written = match shown {
            [shown] if !is_lines => answer::search(text, shown, &seal),
            _ => answer::msearch(text, &body, shown, &seal),
        };
        match written {
            Ok(answer) => Ok(json(StatusCode::OK, answer)),
            Err(NotShown::Partial(status, body)) => Ok(json(status, body)),
            Err(NotShown::Form) => unreadable(),
        }
    }
}

impl Region {
    /// Find the faults of a search before the store does. A shard looks at a
    /// search only as far as it may have hits, which depends on all of its
    /// documents: a fault that only some shards find would tell of those. Without
    /// a fault: what its aggregations are of no documents, under the parameters
    /// of `form`.
    #[cfg(feature = "embedded")]
    fn check(&self, search: &Search, form: &str) -> Result<Option<String>, Fault> {
        use crate::store::embedded::Bounds;
        use crate::store::embedded::search::{SearchContext, answer as find_faults};
        // A cluster has limits of its own, which are these unless they were set.
        let bounds = match self.store.bounds_searches() {
            true => Bounds::from(&**self.limits.load()),
            false => Bounds::default(),
        };
        let context = SearchContext {
            now_ms: crate::clock::now_us().div_euclid(1_000),
            deadline: None,
            limits: bounds.limits,
            count_only: false,
            typed_keys: form.contains("&typed_keys") && !form.contains("&typed_keys=false"),
        };
        match find_faults(&[], search, &context) {
            Ok(body) => Ok(body.get("aggregations").map(Value::to_string)),
            Err(error) => {
                let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
                let body = error.body().to_string();
                let (status, body) = answer::error(&body, status, &search.emit());
                Err(Fault::Answer(status, body))
            }
        }
    }

    #[cfg(not(feature = "embedded"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the other one's form"
    )]
    fn check(&self, _: &Search, _: &str) -> Result<Option<String>, Fault> {
        Ok(None)
    }
}
/// The names of aggregations on all levels.
fn names_of(aggregations: &[(String, Aggregation)]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, aggregation) in aggregations {
        names.insert(name.clone());
        names.append(&mut names_of(&aggregation.aggs));
    }
    names
}

/// How far the hits of a search are counted.
fn count_up_to(search: &Search) -> Option<u64> {
    match search.track_total_hits {
        None => Some(10_000),
        Some(TrackTotalHits::UpTo(limit)) => Some(limit),
        Some(TrackTotalHits::Whole(_)) => None,
    }
}

/// A restricted search runs over all indices, those too that are not there.
const ANY_INDICES: &str = "&ignore_unavailable=true&allow_no_indices=true";

/// The parameters of the URL, decoded.
pub(super) fn parameters(ask: &Ask) -> Result<Vec<(String, String)>, Fault> {
    let Some(query) = ask.parameters.as_deref().filter(|query| !query.is_empty()) else {
        return Ok(Vec::new());
    };
    let uri = format!("/?{query}").parse().ok();
    let read =
        uri.and_then(|uri| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
    match read {
        Some(axum::extract::Query(parameters)) => Ok(parameters),
        None => Err(QueryError::argument("the parameters of the URL cannot be read").into()),
    }
}

/// The parameters that go on, encoded, each behind an `&`.
pub(super) fn form_of(parameters: &[(String, String)]) -> String {
    let mut form = String::new();
    for (name, value) in parameters
        .iter()
        .filter(|(name, _)| OF_THE_FORM.contains(&name.as_str()))
    {
        form.push('&');
        form.push_str(name);
        form.push('=');
        form.push_str(&encoded(value));
    }
    form
}

/// The name under which constants speak of the indices that were asked for.
fn shown_index(index: Option<&str>) -> Result<String, Fault> {
    let names: Vec<String> = index.into_iter().map(str::to_owned).collect();
    indices::filter(&names)?;
    Ok(index.unwrap_or("logstash-*").to_owned())
}

fn license() -> Value {
    json!({"license": {
        "status": "active",
        "uid": "00000000-0000-0000-0000-000000000000",
        "type": "basic",
        "mode": "basic",
        "issue_date": "1970-01-01T00:00:00.000Z",
        "issue_date_in_millis": 0,
        "max_nodes": 1000,
        "issued_to": "mscp-log",
        "issuer": "mscp-log",
        "start_date_in_millis": -1,
    }})
}

fn handshake(name: &str, stores: &Value) -> Value {
    let names = [
        "number",
        "distribution",
        "build_flavor",
        "minimum_wire_compatibility_version",
        "minimum_index_compatibility_version",
    ];
    let kept = |name: &&str| {
        let value = stores["version"][*name].as_str()?;
        Some(((*name).to_owned(), Value::from(value)))
    };
    json!({
        "name": format!("mscp-log-{name}"),
        "cluster_name": format!("mscp-log-{name}"),
        "cluster_uuid": "_na_",
        "version": names.iter().filter_map(kept).collect::<serde_json::Map<_, _>>(),
        "tagline": stores["tagline"].as_str(),
    })
}

fn health(name: &str) -> Value {
    json!({
        "cluster_name": format!("mscp-log-{name}"),
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    })
}

/// The template's mapping, whatever indices there are.
fn mapping(index: Option<&str>) -> Result<Value, Fault> {
    Ok(json!({ shown_index(index)?: {"mappings": mscp_log_core::template::mapping()} }))
}

/// The fields of the template's mapping, of those that were asked for.
fn field_caps(
    index: Option<&str>,
    parameters: &[(String, String)],
    body: &[u8],
) -> Result<Value, Fault> {
    let mut wanted: Vec<String> = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "fields" => wanted.extend(value.split(',').map(str::to_owned)),
            "index_filter" | "runtime_mappings" => {
                return Err(Refused::SeesPast(name.clone()).into());
            }
            "ignore_unavailable"
            | "allow_no_indices"
            | "expand_wildcards"
            | "include_unmapped"
            | "filters"
            | "types"
            | "include_empty_fields"
            | "pretty"
            | "human"
            | "filter_path" => {}
            _ => {
                let reason = format!("request contains unrecognized parameter: [{name}]");
                return Err(QueryError::argument(reason).into());
            }
        }
    }
    if !body.trim_ascii().is_empty() {
        let body: serde_json::Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| QueryError::of_kind("x_content_parse_exception", error.to_string()))?;
        for (name, value) in body {
            match (name.as_str(), value) {
                ("fields", Value::String(names)) => {
                    wanted.extend(names.split(',').map(str::to_owned));
                }
                ("fields", Value::Array(names)) => {
                    wanted.extend(
                        names
                            .iter()
                            .filter_map(|name| name.as_str().map(str::to_owned)),
                    );
                }
                // Which fields have values in documents that match is not the template's to say.
                (name, _) => return Err(Refused::SeesPast(name.to_owned()).into()),
            }
        }
    }
    if wanted.is_empty() {
        return Err(QueryError::of_kind(
            "action_request_validation_exception",
            "Validation Failed: 1: no fields specified;",
        )
        .into());
    }
    let is_wanted = |name: &str| {
        let mut patterns = wanted.iter();
        patterns.any(|pattern| mscp_log_core::query::wildcard::fits(pattern, name))
    };
    let fields = mscp_log_core::template::field_caps(is_wanted, CURRENT_VERSION);
    Ok(json!({"indices": [shown_index(index)?], "fields": fields}))
}
