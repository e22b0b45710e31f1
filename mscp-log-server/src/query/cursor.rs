//! Scrolls and points in time of those who may see only part of the log: they
//! get the store's ids sealed, and give them back.
//!
//! That is everyone whose decision carries a restriction, and everyone who may
//! not search all indices: a store asks nobody whose scroll it goes on with.

use axum::body::Body;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use mscp_log_core::access::Visible;
use mscp_log_core::query::QueryError;
use serde_json::{Map, Value, json};

use super::answer::{self, Shown};
use super::endpoint::Cursor as Endpoint;
use super::restricted::{Fault, MAX_ANSWER, form_of, parameters};
use super::seal::{Cursor, Holder, Kind};
use super::{
    Ask, NOT_FROM_THE_STORE, Read, Refusal, Region, indices, json as json_answer, request,
};

/// What a request says of scrolls or points in time.
#[derive(Default)]
struct Asked {
    ids: Vec<String>,
    scroll: Option<String>,
}

impl Region {
    /// A request to go on with, open or close one.
    pub(super) async fn cursor(
        &self,
        endpoint: Endpoint,
        ask: Ask,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        let method = ask.method.clone();
        match endpoint {
            Endpoint::Scroll(id) if method == Method::DELETE => self.end_scrolls(ask, id).await,
            Endpoint::Scroll(id) => self.next_page(ask, id, read).await,
            Endpoint::OpenPit { index, path } => self.open_pit(ask, &index, path, read).await,
            Endpoint::ClosePit { path } => self.close_pit(ask, path).await,
        }
    }

    /// The first page of a scroll of one who may see all of these indices, and
    /// not all indices.
    pub(super) async fn first_page_of_some(&self, ask: Ask) -> Result<Response<Body>, Fault> {
        let (subject, visible) = (ask.subject.clone(), ask.visible.clone());
        let mut ask = ask;
        // The answer is read here.
        ask.headers.remove(header::ACCEPT_ENCODING);
        let response = self.pass(ask).await.map_err(Fault::Refusal)?;
        self.with_sealed_id(response, &self.holder(&subject, &visible))
            .await
    }

    async fn next_page(
        &self,
        ask: Ask,
        id: Option<String>,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        let (subject, visible) = (ask.subject.clone(), ask.visible.clone());
        let form = form_of(&parameters(&ask)?);
        let asked = self.asked(ask, id, "scroll_id").await?;
        let [id] = asked.ids.as_slice() else {
            return Err(invalid("scrollId is missing"));
        };
        let holder = self.holder(&subject, &visible);
        let cursor = self
            .sealing
            .open(&holder, Kind::Scroll, id)
            .ok_or_else(gone)?;
        *read = Some(Read {
            indices: cursor.indices.clone(),
        });
        if let Some(hits) = &cursor.end {
            let id = self.sealing.seal(&holder, Kind::Scroll, &cursor);
            let page = answer::page_behind_the_last(&id.ok_or_else(unreadable)?, hits);
            return Ok(json_answer(StatusCode::OK, page));
        }
        let mut body = json!({"scroll_id": cursor.id});
        if let Some(time) = asked.scroll {
            body["scroll"] = time.into();
        }
        let body = body.to_string();
        if matches!(visible, Visible::Restricted(_)) {
            let shown = [Shown {
                keys: cursor.keys,
                indices: cursor.indices,
                ..Shown::default()
            }];
            return self
                .ask_store("/_search/scroll", &form, body, &holder, &shown)
                .await;
        }
        let response = self
            .tell_store(Method::POST, "/_search/scroll", &form, &body)
            .await;
        self.with_sealed_id(response, &holder).await
    }

    async fn end_scrolls(&self, ask: Ask, id: Option<String>) -> Result<Response<Body>, Fault> {
        let (subject, visible) = (ask.subject.clone(), ask.visible.clone());
        let asked = self.asked(ask, id, "scroll_id").await?;
        if asked.ids.is_empty() {
            return Err(invalid("no scroll ids specified"));
        }
        if asked.ids.iter().any(|id| id == "_all") {
            let reason = "the scrolls of everyone are not this token's to end".to_owned();
            return Err(Fault::Refusal(Refusal::Forbidden(reason)));
        }
        let holder = self.holder(&subject, &visible);
        let own: Vec<String> = asked
            .ids
            .iter()
            .filter_map(|id| Some(self.sealing.open(&holder, Kind::Scroll, id)?.id))
            .collect();
        let body = json!({ "scroll_id": own }).to_string();
        Ok(self.ended("/_search/scroll", own.len(), &body).await)
    }

    async fn open_pit(
        &self,
        ask: Ask,
        index: &str,
        path: &'static str,
        read: &mut Option<Read>,
    ) -> Result<Response<Body>, Fault> {
        const WITHOUT_MEANING: [&str; 9] = [
            "ignore_unavailable",
            "allow_no_indices",
            "expand_wildcards",
            "preference",
            "routing",
            "allow_partial_search_results",
            "allow_partial_pit_creation",
            "pretty",
            "human",
        ];
        let (subject, visible) = (ask.subject.clone(), ask.visible.clone());
        let holder = self.holder(&subject, &visible);
        let mut response = if visible == Visible::All {
            let mut ask = ask;
            ask.headers.remove(header::ACCEPT_ENCODING);
            self.pass(ask).await.map_err(Fault::Refusal)?
        } else {
            let parameters = parameters(&ask)?;
            let names = [index.to_owned()];
            indices::filter(&names)?;
            let mut form = String::new();
            for (name, value) in &parameters {
                if name == "keep_alive" {
                    form = format!("keep_alive={}", super::encoded(value));
                } else if !WITHOUT_MEANING.contains(&name.as_str()) {
                    let reason = format!("request contains unrecognized parameter: [{name}]");
                    return Err(QueryError::argument(reason).into());
                }
            }
            if form.is_empty() {
                return Err(invalid("[keep_alive] is not specified"));
            }
            let body = self.whole_body(ask).await?;
            if !matches!(body.trim_ascii(), b"" | b"{}") {
                // An `index_filter` chooses indices by what lies in them.
                let reason = "a body of a point in time".to_owned();
                return Err(Fault::Refusal(Refusal::Forbidden(reason)));
            }
            *read = Some(Read {
                indices: names.to_vec(),
            });
            form.push_str("&ignore_unavailable=true&allow_no_indices=true");
            self.tell_store(Method::POST, &format!("/_all/{path}"), &form, "")
                .await
        };
        let status = response.status();
        let restricted = visible != Visible::All;
        if status != StatusCode::OK && !restricted {
            return Ok(response);
        }
        let text = read_whole(response.body_mut()).await;
        if status != StatusCode::OK {
            let (status, shown) = answer::error(&text, status, "");
            return Ok(json_answer(status, shown));
        }
        let mut opened: Map<String, Value> =
            serde_json::from_str(&text).map_err(|_| unreadable())?;
        for name in ["id", "pit_id"] {
            if let Some(Value::String(id)) = opened.get(name) {
                let cursor = Cursor {
                    id: id.clone(),
                    indices: if restricted {
                        vec![index.to_owned()]
                    } else {
                        Vec::new()
                    },
                    keys: 0,
                    end: None,
                };
                let sealed = self.sealing.seal(&holder, Kind::PointInTime, &cursor);
                opened.insert(name.to_owned(), sealed.ok_or_else(unreadable)?.into());
            }
        }
        if restricted {
            opened.retain(|name, _| {
                matches!(name.as_str(), "id" | "pit_id" | "_shards" | "creation_time")
            });
            if let Some(shards) = opened.get_mut("_shards") {
                *shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
            }
        }
        Ok(json_answer(StatusCode::OK, Value::from(opened).to_string()))
    }

    async fn close_pit(&self, ask: Ask, path: &'static str) -> Result<Response<Body>, Fault> {
        let (subject, visible) = (ask.subject.clone(), ask.visible.clone());
        let holder = self.holder(&subject, &visible);
        let member = if path == "_pit" { "id" } else { "pit_id" };
        let asked = self.asked(ask, None, member).await?;
        if asked.ids.is_empty() {
            return Err(QueryError::argument(format!("[{member}] is not provided")).into());
        }
        let open = |id: &String| Some(self.sealing.open(&holder, Kind::PointInTime, id)?.id);
        let own: Vec<String> = asked.ids.iter().filter_map(open).collect();
        if path == "_pit" {
            let body = json!({"id": own.first()}).to_string();
            return Ok(self.ended("/_pit", own.len().min(1), &body).await);
        }
        if own.len() < asked.ids.len() {
            return Err(gone());
        }
        let body = json!({ "pit_id": own }).to_string();
        let target = format!("/{path}");
        let response = self.tell_store(Method::DELETE, &target, "", &body).await;
        let done = response.status().is_success();
        let pits: Vec<Value> = asked
            .ids
            .iter()
            .map(|id| json!({"successful": done, "pit_id": id}))
            .collect();
        Ok(json_answer(
            StatusCode::OK,
            json!({ "pits": pits }).to_string(),
        ))
    }

    /// Let the store end `count` of them, and say only that: how many parts a
    /// store had of each is its own affair, and whether it ended one before.
    async fn ended(&self, path: &str, count: usize, body: &str) -> Response<Body> {
        let mut status = StatusCode::NOT_FOUND;
        if count > 0 {
            let response = self.tell_store(Method::DELETE, path, "", body).await;
            status = response.status();
        }
        let is_over = matches!(status, StatusCode::OK | StatusCode::NOT_FOUND);
        if !is_over {
            return json_answer(status, answer::error("", status, "").1);
        }
        let status = if count > 0 {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        let body = json!({"succeeded": true, "num_freed": count});
        json_answer(status, body.to_string())
    }

    pub(super) fn holder<'a>(&'a self, subject: &'a str, visible: &'a Visible) -> Holder<'a> {
        Holder {
            region: self.name(),
            subject,
            visible,
        }
    }

    /// A request of ours to the store.
    pub(super) async fn tell_store(
        &self,
        method: Method,
        path: &str,
        parameters: &str,
        body: &str,
    ) -> Response<Body> {
        let mut headers = HeaderMap::new();
        let json_type = HeaderValue::from_static("application/json");
        headers.insert(header::ACCEPT, json_type.clone());
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, json_type);
        }
        let parameters = parameters.trim_start_matches('&');
        let body = Body::from(body.to_owned());
        let mut response = self
            .store
            .call(request(method, path, Some(parameters), headers, body))
            .await;
        for name in NOT_FROM_THE_STORE {
            response.headers_mut().remove(name);
        }
        response
    }

    /// An answer as it came but for the scroll's id.
    async fn with_sealed_id(
        &self,
        mut response: Response<Body>,
        holder: &Holder<'_>,
    ) -> Result<Response<Body>, Fault> {
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let text = read_whole(response.body_mut()).await;
        let sealed = answer::with_id(&text, "_scroll_id", &|id| {
            let cursor = Cursor {
                id: id.to_owned(),
                indices: Vec::new(),
                keys: 0,
                end: None,
            };
            self.sealing.seal(holder, Kind::Scroll, &cursor)
        });
        let body = sealed.ok_or_else(unreadable)?;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
        Ok(response)
    }

    /// Read the ids from the path, the parameters and the body, of which the
    /// later one counts.
    async fn asked(&self, ask: Ask, id: Option<String>, member: &str) -> Result<Asked, Fault> {
        let listed = |text: &str| -> Vec<String> {
            let ids = text.split(',').filter(|id| !id.is_empty());
            ids.map(str::to_owned).collect()
        };
        let mut asked = Asked {
            ids: id.as_deref().map(listed).unwrap_or_default(),
            scroll: None,
        };
        for (name, value) in parameters(&ask)? {
            match name.as_str() {
                "scroll" => asked.scroll = Some(value),
                name if name == member && id.is_none() => asked.ids = listed(&value),
                _ => {}
            }
        }
        let body = self.whole_body(ask).await?;
        if body.trim_ascii().is_empty() {
            return Ok(asked);
        }
        let members: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|_| QueryError::argument("Failed to parse request body"))?;
        for (name, value) in members {
            match (name.as_str(), value) {
                (name, Value::String(id)) if name == member => asked.ids = vec![id],
                (name, Value::Array(ids)) if name == member => {
                    let texts = ids.into_iter().map(|id| match id {
                        Value::String(id) => Some(id),
                        _ => None,
                    });
                    asked.ids = texts.collect::<Option<_>>().ok_or_else(|| {
                        QueryError::argument(format!(
                            "{member} array element should only contain {member}"
                        ))
                    })?;
                }
                ("scroll", Value::String(time)) => asked.scroll = Some(time),
                (name, _) => {
                    return Err(QueryError::argument(format!(
                        "Unknown parameter [{name}] in request body or parameter is of the wrong type"
                    ))
                    .into());
                }
            }
        }
        Ok(asked)
    }
}

/// The error for an id that is another's, or is none, as for one that is gone.
pub(super) fn gone() -> Fault {
    let cause = json!({"type": "search_context_missing_exception", "reason": "No search context found for this id"});
    let body = json!({
        "error": {"root_cause": [cause], "type": "search_phase_execution_exception",
            "reason": "all shards failed", "phase": "query", "grouped": true, "failed_shards": [], "caused_by": cause},
        "status": 404,
    });
    Fault::Answer(StatusCode::NOT_FOUND, body.to_string())
}

/// The one fault of a request.
pub(super) fn invalid(fault: &str) -> Fault {
    QueryError::of_kind(
        "action_request_validation_exception",
        format!("Validation Failed: 1: {fault};"),
    )
    .into()
}

fn unreadable() -> Fault {
    let (status, body) = answer::error("", StatusCode::BAD_GATEWAY, "");
    Fault::Answer(status, body)
}

/// A body up to the limit, or nothing.
async fn read_whole(body: &mut Body) -> String {
    let body = std::mem::take(body);
    let bytes = axum::body::to_bytes(body, MAX_ANSWER).await;
    bytes
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.into()).ok())
        .unwrap_or_default()
}
