//! `_bulk`: lines of actions and documents, each with a result of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::EmbeddedStore;
use super::super::catalog::Catalog;
use super::super::dedup::Key;
use super::super::documents::{self, Id, Prepared};
use super::super::ids::{DocumentId, MAX_ID_BYTES};
use super::super::indices::check_name;
use super::super::schema::{Fields, schema};
use super::super::writer::{Operation, Outcome};
use super::index::blocking;
use super::{Call, Fault, Reply};

/// An action that is read, or why it cannot be.
pub(super) struct Item {
    pub(super) action: Action,
    index: String,
    id: String,
    pub(super) result: Result<Operation, (StatusCode, Value)>,
}

impl Item {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// What an item wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Index,
    Create,
    Delete,
    Update,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Update => "update",
        }
    }
}

/// Reads items: the fields, the version whose errors are given, and one copy
/// of each index name.
pub(super) struct Reader {
    fields: Fields,
    major: u16,
    names: HashMap<String, Arc<str>>,
}

impl Reader {
    pub(super) fn new(major: u16) -> Self {
        Self {
            fields: schema().1,
            major,
            names: HashMap::new(),
        }
    }

    /// Read one item; `source` is the document, for actions that have one.
    pub(super) fn item(
        &mut self,
        action: Action,
        index: &str,
        id: Option<&str>,
        source: &[u8],
    ) -> Item {
        let mut written = id.unwrap_or_default().to_owned();
        let result = self
            .operation(action, index, id, source)
            .inspect(|operation| {
                let (Operation::Put { key, .. } | Operation::Delete { key }) = operation;
                written = key.id.to_string();
            });
        Item {
            action,
            index: index.to_owned(),
            id: written,
            result: result.map_err(|error| (StatusCode::BAD_REQUEST, error)),
        }
    }

    fn operation(
        &mut self,
        action: Action,
        index: &str,
        id: Option<&str>,
        source: &[u8],
    ) -> Result<Operation, Value> {
        let argument = |reason: String| Fault::argument(reason).item();
        let index = self.name(index)?;
        match id {
            Some("") => {
                return Err(argument(
                    "if _id is specified it must not be empty".to_owned(),
                ));
            }
            Some(id) if id.len() > MAX_ID_BYTES => {
                return Err(argument(format!(
                    "id is too long, must be no longer than {MAX_ID_BYTES} bytes but was: {}",
                    id.len()
                )));
            }
            _ => {}
        }
        match (action, id) {
            (Action::Update, _) => Err(argument(
                "update is not supported: documents of a log are written whole".to_owned(),
            )),
            (Action::Delete, None) => Err(argument("an id must be provided".to_owned())),
            (Action::Delete, Some(id)) => Ok(Operation::Delete {
                key: Key {
                    index,
                    id: DocumentId::new(id),
                },
            }),
            (Action::Index | Action::Create, id) => {
                let id = match id {
                    Some(id) => Id::Given(DocumentId::new(id)),
                    None => Id::OwnOr(random_id()?),
                };
                let prepared = documents::prepare(source, &self.fields, id);
                let Prepared {
                    id, mut document, ..
                } = prepared.map_err(|error| error.body(self.major))?;
                document.set_index(&self.fields, &index);
                Ok(Operation::Put {
                    key: Key { index, id },
                    document,
                    create: action == Action::Create,
                })
            }
        }
    }

    fn name(&mut self, index: &str) -> Result<Arc<str>, Value> {
        if let Some(name) = self.names.get(index) {
            return Ok(Arc::clone(name));
        }
        check_name(index).map_err(|reason| Fault::index_name(index, reason).item())?;
        let name: Arc<str> = index.into();
        self.names.insert(index.to_owned(), Arc::clone(&name));
        Ok(name)
    }
}

fn random_id() -> Result<DocumentId, Value> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "no randomness for an id");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Fault::new(status, "exception", "no id could be made").item()
    })?;
    Ok(DocumentId::from_bytes(bytes))
}

/// The answer to one item.
pub(super) fn answer_of(
    index: &str,
    id: &str,
    outcome: Outcome,
    major: u16,
) -> (StatusCode, Map<String, Value>) {
    let (status, result, version) = match outcome {
        Outcome::Created => (StatusCode::CREATED, "created", 1),
        Outcome::Updated => (StatusCode::OK, "updated", 2),
        Outcome::Deleted => (StatusCode::OK, "deleted", 2),
        Outcome::NotFound => (StatusCode::NOT_FOUND, "not_found", 1),
        Outcome::Conflict => {
            let body = json!({"_index": index, "_id": id, "error": conflict(index, id)});
            return (StatusCode::CONFLICT, object(body));
        }
    };
    let mut body = object(json!({
        "_index": index,
        "_id": id,
        "_version": version,
        "result": result,
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_seq_no": 0,
        "_primary_term": 1,
    }));
    if major < 8 {
        body.insert("_type".to_owned(), "_doc".into());
    }
    (status, body)
}

/// The error of a `create` where the document is there.
pub(super) fn conflict(index: &str, id: &str) -> Value {
    json!({
        "type": "version_conflict_engine_exception",
        "reason": format!("[{id}]: version conflict, document already exists (current version [1])"),
        "index": index,
        "shard": "0",
        "index_uuid": super::index::uuid_of(index),
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

impl EmbeddedStore {
    pub(super) async fn bulk_call(&self, call: &Call, index: Option<&str>) -> Result<Reply, Fault> {
        call.only(&[
            "refresh",
            "wait_for_active_shards",
            "require_alias",
            "routing",
            "include_source_on_error",
        ])?;
        check_refresh(call)?;
        let started = Instant::now();
        let (body, default) = (call.body.clone(), index.map(str::to_owned));
        let major = call.major;
        let mut items = blocking(move || read_items(&body, default.as_deref(), major)).await?;
        if call.flag("require_alias")?.unwrap_or(false) {
            for item in &mut items {
                let fault = no_alias(&item.index);
                item.result = Err((fault.status, fault.item()));
            }
        }
        self.missing_indices(&mut items).await?;

        let mut operations = Vec::new();
        let mut failures = Vec::with_capacity(items.len());
        let mut heads = Vec::with_capacity(items.len());
        for item in items {
            heads.push((item.action, item.index, item.id));
            match item.result {
                Ok(operation) => {
                    operations.push(operation);
                    failures.push(None);
                }
                Err(failure) => failures.push(Some(failure)),
            }
        }
        let outcomes = if operations.is_empty() {
            Vec::new()
        } else {
            self.writer.write(operations).await?
        };
        let mut outcomes = outcomes.into_iter();
        let mut errors = false;
        let mut answers = Vec::with_capacity(heads.len());
        for ((action, index, id), failure) in heads.into_iter().zip(failures) {
            let (status, mut body) = match failure {
                Some((status, error)) => {
                    let id = if id.is_empty() {
                        Value::Null
                    } else {
                        id.into()
                    };
                    let body = json!({"_index": index, "_id": id, "error": error});
                    (status, object(body))
                }
                None => {
                    // There is one for each operation, in their order.
                    let outcome = outcomes.next().unwrap_or(Outcome::NotFound);
                    answer_of(&index, &id, outcome, major)
                }
            };
            errors |= body.contains_key("error");
            body.insert("status".to_owned(), status.as_u16().into());
            answers.push(json!({action.name(): body}));
        }
        Ok(Reply::ok(json!({
            "took": started.elapsed().as_millis() as u64,
            "errors": errors,
            "items": answers,
        })))
    }

    /// Deleting makes no index, as writing does.
    async fn missing_indices(&self, items: &mut [Item]) -> Result<(), Fault> {
        let catalog: Arc<Catalog> = Arc::clone(&self.catalog);
        let mut names: Vec<Arc<str>> = items
            .iter()
            .filter_map(|item| match &item.result {
                Ok(Operation::Delete { key }) => Some(Arc::clone(&key.index)),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        names.sort_unstable();
        names.dedup();
        let written: Vec<Arc<str>> = items
            .iter()
            .filter_map(|item| match &item.result {
                Ok(Operation::Put { key, .. }) => Some(Arc::clone(&key.index)),
                _ => None,
            })
            .collect();
        // What the buffer brought a moment ago is in no commit yet.
        self.writer.refresh().await?;
        let missing = blocking(move || {
            let mut missing = Vec::new();
            for name in names {
                if !written.contains(&name) && !catalog.has_index(&name)? {
                    missing.push(name);
                }
            }
            Ok(missing)
        })
        .await?;
        for item in items {
            let gone = matches!(&item.result, Ok(Operation::Delete { key }) if missing.contains(&key.index));
            if gone {
                let fault = Fault::no_index(&item.index);
                item.result = Err((fault.status, fault.item()));
            }
        }
        Ok(())
    }
}

/// 404: a name is to be an alias, and there are none.
pub(super) fn no_alias(name: &str) -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        "index_not_found_exception",
        format!(
            "no such index [{name}] and [require_alias] request flag is [true] and [{name}] is not an alias"
        ),
    )
    .with("index_uuid", "_na_")
    .with("index", name)
}

/// `refresh` is what happens in any case: a write answers when it is found.
pub(super) fn check_refresh(call: &Call) -> Result<(), Fault> {
    match call.parameter("refresh") {
        None | Some("" | "true" | "false" | "wait_for") => Ok(()),
        Some(value) => Err(Fault::argument(format!(
            "Unknown value for refresh: [{value}]."
        ))),
    }
}

fn read_items(body: &[u8], default: Option<&str>, major: u16) -> Result<Vec<Item>, Fault> {
    if body.is_empty() {
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "parse_exception",
            "request body is required",
        ));
    }
    if !body.ends_with(b"\n") {
        return Err(Fault::argument(
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut reader = Reader::new(major);
    let mut items = Vec::new();
    let mut lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    while let Some((number, line)) = lines.next() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let head = head_of(line, number, major)?;
        let index = head
            .index
            .as_deref()
            .or(default)
            .ok_or_else(|| Fault::invalid(&["index is missing"]))?;
        let source = if head.action == Action::Delete {
            &[]
        } else {
            let next = lines.next().map(|(_, line)| line);
            next.filter(|line| !line.trim_ascii().is_empty())
                .ok_or_else(|| {
                    Fault::argument(format!(
                        "Malformed action/metadata line [{number}]: no document follows it"
                    ))
                })?
        };
        items.push(reader.item(head.action, index, head.id.as_deref(), source));
    }
    if items.is_empty() {
        return Err(Fault::invalid(&["no requests added"]));
    }
    Ok(items)
}

struct Head {
    action: Action,
    index: Option<String>,
    id: Option<String>,
}

fn head_of(line: &[u8], number: usize, major: u16) -> Result<Head, Fault> {
    let malformed =
        |what: &str| Fault::argument(format!("Malformed action/metadata line [{number}], {what}"));
    let line: Value =
        serde_json::from_slice(line).map_err(|error| Fault::no_json(&error, major))?;
    let Value::Object(line) = line else {
        return Err(malformed("expected START_OBJECT"));
    };
    let mut members = line.into_iter();
    let (Some((action, Value::Object(parameters))), None) = (members.next(), members.next()) else {
        return Err(malformed("expected one action with an object"));
    };
    let mut action = match action.as_str() {
        "index" => Action::Index,
        "create" => Action::Create,
        "delete" => Action::Delete,
        "update" => Action::Update,
        other => {
            return Err(malformed(&format!(
                "expected field [create], [delete], [index] or [update] but found [{other}]"
            )));
        }
    };
    let (mut index, mut id) = (None, None);
    for (name, value) in parameters {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("_index", Value::String(text)) => index = Some(text),
            ("_id", Value::String(text)) => id = Some(text),
            ("_id", Value::Number(number)) => id = Some(number.to_string()),
            ("op_type", Value::String(kind)) if kind == "create" => action = Action::Create,
            ("op_type", Value::String(kind)) if kind == "index" => {}
            // One shard: where a document goes changes nothing. Types are of the past.
            ("routing" | "_routing" | "_type", Value::String(_)) => {}
            ("require_alias" | "list_executed_pipelines", Value::Bool(false)) => {}
            (name, _) => {
                return Err(Fault::argument(format!(
                    "Action/metadata line [{number}] contains an unknown parameter [{name}]"
                )));
            }
        }
    }
    Ok(Head { action, index, id })
}
