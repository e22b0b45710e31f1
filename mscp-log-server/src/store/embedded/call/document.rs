//! Endpoints of single documents: `_doc` and `_create`.

use std::collections::HashSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::EmbeddedStore;
use super::super::dedup::{Key, find};
use super::super::ids::DocumentId;
use super::super::indices::partition_of;
use super::super::partition::PartitionSnapshot;
use super::bulk::{Action, Reader, answer_of, check_refresh, conflict};
use super::index::blocking;
use super::{Call, Content, Fault, Reply};

const WRITE_PARAMETERS: &[&str] = &[
    "refresh",
    "routing",
    "op_type",
    "wait_for_active_shards",
    "require_alias",
];

impl EmbeddedStore {
    pub(super) async fn put_document(
        &self,
        call: &Call,
        index: &str,
        id: Option<&str>,
    ) -> Result<Reply, Fault> {
        let action = match call.parameter("op_type") {
            None | Some("index") => Action::Index,
            Some("create") => Action::Create,
            Some(other) => {
                return Err(Fault::argument(format!(
                    "opType must be 'create' or 'index', found: [{other}]"
                )));
            }
        };
        self.write_document(call, action, index, id).await
    }

    pub(super) async fn create_document(
        &self,
        call: &Call,
        index: &str,
        id: &str,
    ) -> Result<Reply, Fault> {
        self.write_document(call, Action::Create, index, Some(id))
            .await
    }

    pub(super) async fn delete_document(
        &self,
        call: &Call,
        index: &str,
        id: &str,
    ) -> Result<Reply, Fault> {
        self.write_document(call, Action::Delete, index, Some(id))
            .await
    }

    async fn write_document(
        &self,
        call: &Call,
        action: Action,
        index: &str,
        id: Option<&str>,
    ) -> Result<Reply, Fault> {
        call.only(WRITE_PARAMETERS)?;
        call.json_body()?;
        check_refresh(call)?;
        if action == Action::Delete {
            self.writer.refresh().await?;
            let (catalog, name) = (Arc::clone(&self.catalog), index.to_owned());
            if !blocking(move || Ok(catalog.has_index(&name)?)).await? {
                return Err(Fault::no_index(index));
            }
        } else if call.body.trim_ascii().is_empty() {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "parse_exception",
                "request body is required",
            ));
        }
        let major = self.settings.version.0;
        let item = Reader::new(major).item(action, index, id, &call.body);
        let id = item.id().to_owned();
        let operation = item
            .result
            .map_err(|(status, error)| fault_of(status, error))?;
        let outcomes = self.writer.write(vec![operation]).await?;
        let [outcome] = *outcomes else {
            return Err(Fault::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "exception",
                "the write has no outcome",
            ));
        };
        let (status, body) = answer_of(index, &id, outcome, major);
        if status == StatusCode::CONFLICT {
            return Err(fault_of(status, conflict(index, &id)));
        }
        Ok(Reply::json(status, Value::Object(body)))
    }

    pub(super) async fn document(
        &self,
        call: &Call,
        index: &str,
        id: &str,
    ) -> Result<Reply, Fault> {
        call.only(&["realtime", "refresh", "preference", "routing"])?;
        let (catalog, name, wanted) = (
            Arc::clone(&self.catalog),
            index.to_owned(),
            DocumentId::new(id),
        );
        let found = blocking(move || {
            if !catalog.has_index(&name)? {
                return Err(Fault::no_index(&name));
            }
            let Some(partition) = catalog.partition(partition_of(&name))? else {
                return Ok(None);
            };
            source_of(&partition.snapshot(), &name, wanted)
        })
        .await?;
        let kind = if self.settings.version.0 < 8 {
            r#""_type":"_doc","#
        } else {
            ""
        };
        let (index, id) = (json!(index), json!(id));
        Ok(match found {
            Some(source) => Reply {
                status: StatusCode::OK,
                content: Content::Written(format!(
                    r#"{{"_index":{index},{kind}"_id":{id},"_version":1,"_seq_no":0,"_primary_term":1,"found":true,"_source":{source}}}"#
                )),
            },
            None => Reply {
                status: StatusCode::NOT_FOUND,
                content: Content::Written(format!(
                    r#"{{"_index":{index},{kind}"_id":{id},"found":false}}"#
                )),
            },
        })
    }
}

fn fault_of(status: StatusCode, mut error: Value) -> Fault {
    let root_cause = json!([error]);
    error["root_cause"] = root_cause;
    Fault {
        status,
        body: json!({"error": error, "status": status.as_u16()}),
    }
}

fn source_of(
    snapshot: &PartitionSnapshot,
    index: &str,
    id: DocumentId,
) -> Result<Option<String>, Fault> {
    let key = Key {
        index: index.into(),
        id,
    };
    let found = find(snapshot, &HashSet::from([key]))?;
    let Some(address) = found.into_values().next() else {
        return Ok(None);
    };
    let source = snapshot.source(address)?;
    // JSON was checked to be UTF-8 when it was written.
    Ok(Some(String::from_utf8_lossy(&source).into_owned()))
}
