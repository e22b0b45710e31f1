//! Endpoints that make, delete and refresh indices, or would change them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::EmbeddedStore;
use super::super::catalog::Selection;
use super::super::indices::{Expression, check_name};
use super::agreement::{Put, check_mappings, check_settings};
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
        check_name(index).map_err(|reason| Fault::index_name(index, reason))?;
        check_index_body(call)?;
        let catalog = std::sync::Arc::clone(&self.catalog);
        let name = index.to_owned();
        let made =
            blocking(move || Ok(!catalog.has_index(&name)? && catalog.keep_index(&name)?)).await?;
        if !made {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "resource_already_exists_exception",
                format!("index [{index}/{}] already exists", uuid_of(index)),
            )
            .with("index_uuid", uuid_of(index))
            .with("index", index));
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

    pub(super) async fn put_mapping(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "ignore_unavailable",
            "allow_no_indices",
            "include_type_name",
            "write_index_only",
        ])?;
        let mappings = call.required_object()?;
        self.selection(call, index).await?;
        check_mappings(&mappings, call.major)?;
        Ok(Reply::ok(json!({"acknowledged": true})))
    }

    pub(super) async fn set_settings(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "ignore_unavailable",
            "allow_no_indices",
            "preserve_existing",
            "flat_settings",
        ])?;
        let settings = call.required_object()?;
        self.selection(call, index).await?;
        // Both `{"settings": {..}}` and the settings alone are known.
        let settings = match settings.get("settings").and_then(|inner| inner.as_object()) {
            Some(inner) if settings.len() == 1 => inner.clone(),
            _ => settings,
        };
        check_settings(&settings, Put::Change)?;
        Ok(Reply::ok(json!({"acknowledged": true})))
    }

    /// `_refresh` and `_flush`: what was taken is committed, which is both.
    pub(super) async fn refresh(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "ignore_unavailable",
            "allow_no_indices",
            "force",
            "wait_if_ongoing",
        ])?;
        self.writer.refresh().await?;
        let shards = self.selection(call, index).await?.names.len();
        Ok(Reply::ok(json!({
            "_shards": {"total": shards, "successful": shards, "failed": 0},
        })))
    }
}

/// The one mapping cannot be changed; settings of shards and replicas mean
/// nothing here and are let pass.
fn check_index_body(call: &Call) -> Result<(), Fault> {
    for (name, value) in call.object()? {
        match (name.as_str(), value.as_object()) {
            ("settings", Some(settings)) => check_settings(settings, Put::New)?,
            ("mappings", Some(mappings)) => check_mappings(mappings, call.major)?,
            ("aliases", Some(aliases)) if aliases.is_empty() => {}
            ("aliases", _) => return Err(Fault::argument("aliases are not supported")),
            ("settings" | "mappings", None) => {
                return Err(Fault::parse(format!("key [{name}] must be an object")));
            }
            (other, _) => {
                return Err(Fault::parse(format!(
                    "unknown key [{other}] for create index"
                )));
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
