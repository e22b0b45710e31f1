//! Shipping into the cluster: `_bulk` with `create` and `_id` = `event_id`.

use bytes::Bytes;
use http::Method;
use mscp_log_core::record::Document;
use serde_json::json;

use super::engine::{self, Engine};
use super::nodes::{Nodes, Outgoing};
use crate::store::StoreError;

/// Put `records` into the cluster, all of them or none that is told.
pub(super) async fn send(
    nodes: &Nodes,
    engine: &Engine,
    records: &[Bytes],
) -> Result<(), StoreError> {
    let mut body = Vec::new();
    for record in records {
        let document: Document<'_> =
            serde_json::from_slice(record).map_err(|error| StoreError(error.to_string()))?;
        let mut action = json!({"_index": document.physical_index(), "_id": document.event_id});
        if let Some(kind) = engine.document_type() {
            action["_type"] = kind.into();
        }
        body.extend_from_slice(json!({ "create": action }).to_string().as_bytes());
        body.push(b'\n');
        body.extend_from_slice(record);
        body.push(b'\n');
    }
    let (status, answer) = engine::ask(nodes, Outgoing::json(Method::POST, "/_bulk", body))
        .await
        .map_err(|error| StoreError(error.to_string()))?;
    if !status.is_success() {
        return Err(StoreError(format!("{status}: {}", engine::reason(&answer))));
    }
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let refused = items
        .iter()
        .map(|item| &item["create"])
        .find(|item| !matches!(item["status"].as_u64(), Some(200 | 201 | 409)));
    match refused {
        Some(item) => Err(StoreError(engine::reason(item))),
        None if items.len() == records.len() => Ok(()),
        None => Err(StoreError(
            "the answer has not an item for each record".to_owned(),
        )),
    }
}
