//! Endpoints of indices as a whole: make, delete, mapping, refresh, health.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use mscp_log_core::template;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::EmbeddedStore;
use super::super::catalog::Selection;
use super::super::indices::{Expression, check_name};
use super::{Call, Fault, Reply};

impl EmbeddedStore {
    /// What an index expression means now.
    pub(super) async fn selection(&self, call: &Call, text: &str) -> Result<Selection, Fault> {
        let options = call.options()?;
        let expression = Expression::new(text);
        let catalog = std::sync::Arc::clone(&self.catalog);
        // A partition that is asked for the first time is opened now.
        blocking(move || Ok(catalog.select(&expression, options)?)).await
    }

    pub(super) async fn index_exists(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "ignore_unavailable",
            "allow_no_indices",
            "include_type_name",
        ])?;
        let found = self.selection(call, index).await;
        Ok(Reply::empty(match found {
            Ok(selection) if !selection.names.is_empty() => StatusCode::OK,
            Ok(_) => StatusCode::NOT_FOUND,
            Err(fault) => fault.status,
        }))
    }

    pub(super) async fn create_index(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&["wait_for_active_shards", "include_type_name"])?;
        call.json_body()?;
        check_name(index).map_err(|reason| {
            Fault::new(
                StatusCode::BAD_REQUEST,
                "invalid_index_name_exception",
                reason,
            )
        })?;
        check_index_body(&call.body)?;
        let catalog = std::sync::Arc::clone(&self.catalog);
        let name = index.to_owned();
        let made =
            blocking(move || Ok(!catalog.has_index(&name)? && catalog.keep_index(&name)?)).await?;
        if !made {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "resource_already_exists_exception",
                format!("index [{index}/{}] already exists", uuid_of(index)),
            ));
        }
        Ok(Reply::ok(json!({
            "acknowledged": true,
            "shards_acknowledged": true,
            "index": index,
        })))
    }

    pub(super) async fn delete_index(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&["ignore_unavailable", "allow_no_indices"])?;
        if index.contains('*') || index.split(',').any(|part| part == "_all") {
            return Err(Fault::argument(
                "Wildcard expressions or all indices are not allowed",
            ));
        }
        let selection = self.selection(call, index).await?;
        self.writer
            .delete(selection.names.into_iter().collect())
            .await?;
        Ok(Reply::ok(json!({"acknowledged": true})))
    }

    pub(super) async fn mapping(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "ignore_unavailable",
            "allow_no_indices",
            "include_type_name",
        ])?;
        let selection = self.selection(call, index).await?;
        let mapping = template::mapping();
        let mut answer = Map::new();
        for name in selection.names {
            answer.insert(name.into(), json!({"mappings": mapping}));
        }
        Ok(Reply::ok(Value::Object(answer)))
    }

    pub(super) async fn refresh(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&["ignore_unavailable", "allow_no_indices"])?;
        self.writer.refresh().await?;
        let shards = self.selection(call, index).await?.names.len();
        Ok(Reply::ok(json!({
            "_shards": {"total": shards, "successful": shards, "failed": 0},
        })))
    }

    pub(super) async fn health(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "level",
            "wait_for_status",
            "wait_for_active_shards",
            "wait_for_nodes",
            "wait_for_no_relocating_shards",
            "wait_for_no_initializing_shards",
            "wait_for_events",
            "ignore_unavailable",
            "allow_no_indices",
        ])?;
        if call
            .parameter("level")
            .is_some_and(|level| level != "cluster")
        {
            return Err(Fault::argument("level must be [cluster]"));
        }
        let shards = self.selection(call, index).await?.names.len();
        let status = match self.writer.trouble() {
            Some(_) => "red",
            None => "green",
        };
        Ok(Reply::ok(json!({
            "cluster_name": self.settings.name,
            "status": status,
            "timed_out": false,
            "number_of_nodes": 1,
            "number_of_data_nodes": 1,
            "active_primary_shards": shards,
            "active_shards": shards,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": 0,
            "delayed_unassigned_shards": 0,
            "number_of_pending_tasks": 0,
            "number_of_in_flight_fetch": 0,
            "task_max_waiting_in_queue_millis": 0,
            "active_shards_percent_as_number": 100.0,
        })))
    }

    pub(super) fn license(call: &Call) -> Result<Reply, Fault> {
        call.only(&["accept_enterprise"])?;
        Ok(Reply::ok(json!({
            "license": {
                "status": "active",
                "uid": "00000000-0000-0000-0000-000000000000",
                "type": "basic",
                "issue_date": "1970-01-01T00:00:00.000Z",
                "issue_date_in_millis": 0,
                "max_nodes": 1000,
                "max_resource_units": null,
                "issued_to": ISSUED_TO,
                "issuer": "elasticsearch",
                "start_date_in_millis": -1,
            },
        })))
    }
}

const ISSUED_TO: &str = "mscp-log";

/// The one mapping cannot be changed; settings of shards and replicas mean
/// nothing here and are let pass.
fn check_index_body(body: &[u8]) -> Result<(), Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let parse = |reason: String| Fault::new(StatusCode::BAD_REQUEST, "parse_exception", reason);
    let body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| parse(error.to_string()))?;
    for (name, value) in &body {
        let empty = value.as_object().is_some_and(Map::is_empty);
        match name.as_str() {
            "settings" => {}
            "mappings" | "aliases" if empty => {}
            "mappings" | "aliases" => {
                return Err(Fault::argument(format!(
                    "[{name}] cannot be set: every index of this store has the same mapping"
                )));
            }
            other => {
                return Err(parse(format!("unknown key [{other}] for create index")));
            }
        }
    }
    Ok(())
}

/// A stable id, in the form that Elasticsearch gives to an index.
pub(super) fn uuid_of(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(name.as_bytes())[..16])
}

/// Run what reads files on a thread for such work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "a request to the store panicked");
            Err(Fault::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "exception",
                "the request failed",
            ))
        })
}
