//! `_bulk`: lines of actions and documents, each with a result of its own.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
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
use super::super::json::Json;
use super::super::schema::{Fields, schema};
use super::super::writer::{Answered, Operation, Outcome};
use super::index::blocking;
use super::{Call, Content, Fault, Reply};

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

/// About the bytes of the answer to one item.
const ANSWER_BYTES: usize = 224;

/// Write the answer to an item that was done. A bulk has thousands of them,
/// and as values they would cost more than the documents cost to be read.
fn write_answer(
    out: &mut String,
    action: Action,
    index: &str,
    id: &str,
    outcome: Outcome,
    major: u16,
) {
    let (status, body) = done(outcome);
    let kind = if major < 8 { r#""_type":"_doc","# } else { "" };
    let action = action.name();
    let _ = write!(out, r#"{{"{action}":{{"_index":"#);
    write_text(out, index);
    let _ = write!(out, r#",{kind}"_id":"#);
    write_text(out, id);
    let status = status.as_u16();
    let Done { result, version } = body;
    let _ = write!(
        out,
        r#","_version":{version},"result":"{result}","_shards":{{"total":1,"successful":1,"failed":0}},"_seq_no":0,"_primary_term":1,"status":{status}}}}}"#
    );
}

fn write_text(out: &mut String, text: &str) {
    let escaped = |byte: u8| !(0x20..0x7F).contains(&byte) | (byte == b'"') | (byte == b'\\');
    // Without an early end, so that many bytes are compared at once.
    if !text.bytes().fold(false, |any, byte| any | escaped(byte)) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// What an answer says of an outcome that is no conflict.
struct Done {
    result: &'static str,
    version: u8,
}

fn done(outcome: Outcome) -> (StatusCode, Done) {
    let (status, result, version) = match outcome {
        Outcome::Created => (StatusCode::CREATED, "created", 1),
        Outcome::Updated => (StatusCode::OK, "updated", 2),
        Outcome::Deleted => (StatusCode::OK, "deleted", 2),
        Outcome::NotFound => (StatusCode::NOT_FOUND, "not_found", 1),
        Outcome::Conflict => (StatusCode::CONFLICT, "noop", 1),
    };
    (status, Done { result, version })
}

/// The answer to one operation alone.
pub(super) fn answer_of(
    index: &str,
    id: &str,
    outcome: Outcome,
    major: u16,
) -> (StatusCode, Map<String, Value>) {
    if outcome == Outcome::Conflict {
        let body = json!({"_index": index, "_id": id, "error": conflict(index, id)});
        return (StatusCode::CONFLICT, object(body));
    }
    let (status, Done { result, version }) = done(outcome);
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
        let when = answered(call)?;
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
            self.writer.write(operations, when).await?
        };
        let mut outcomes = outcomes.into_iter();
        let mut errors = false;
        let mut answers = String::with_capacity(heads.len() * ANSWER_BYTES);
        for ((action, index, id), failure) in heads.into_iter().zip(failures) {
            if !answers.is_empty() {
                answers.push(',');
            }
            // There is an outcome for each operation, in their order.
            let outcome = match &failure {
                Some(_) => None,
                None => Some(outcomes.next().unwrap_or(Outcome::NotFound)),
            };
            if let Some(outcome) = outcome.filter(|it| *it != Outcome::Conflict) {
                write_answer(&mut answers, action, &index, &id, outcome, major);
                continue;
            }
            errors = true;
            let (status, error) =
                failure.unwrap_or_else(|| (StatusCode::CONFLICT, conflict(&index, &id)));
            let id = if id.is_empty() {
                Value::Null
            } else {
                id.into()
            };
            let body =
                json!({"_index": index, "_id": id, "status": status.as_u16(), "error": error});
            answers.push_str(&json!({action.name(): body}).to_string());
        }
        let took = started.elapsed().as_millis();
        let answer = format!(r#"{{"errors":{errors},"took":{took},"items":[{answers}]}}"#);
        Ok(Reply {
            status: StatusCode::OK,
            content: Content::Written(answer),
        })
    }

    /// Deleting makes no index, as writing does.
    async fn missing_indices(&self, items: &mut [Item]) -> Result<(), Fault> {
        let names: BTreeSet<Arc<str>> = items
            .iter()
            .filter_map(|item| match &item.result {
                Ok(Operation::Delete { key }) => Some(Arc::clone(&key.index)),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let written: HashSet<Arc<str>> = items
            .iter()
            .filter_map(|item| match &item.result {
                Ok(Operation::Put { key, .. }) => Some(Arc::clone(&key.index)),
                _ => None,
            })
            .collect();
        let names = names.into_iter().filter(|name| !written.contains(name));
        let missing = self.missing(names.collect()).await?;
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

impl EmbeddedStore {
    /// Which of these indices are not there.
    pub(super) async fn missing(
        &self,
        names: BTreeSet<Arc<str>>,
    ) -> Result<BTreeSet<Arc<str>>, Fault> {
        let without = |names: BTreeSet<Arc<str>>| {
            let catalog: Arc<Catalog> = Arc::clone(&self.catalog);
            blocking(move || {
                let mut missing = BTreeSet::new();
                for name in names {
                    if !catalog.has_index(&name)? {
                        missing.insert(name);
                    }
                }
                Ok(missing)
            })
        };
        let missing = without(names).await?;
        if missing.is_empty() {
            return Ok(missing);
        }
        // What came a moment ago may be in no commit yet.
        self.writer.refresh().await?;
        without(missing).await
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

/// When `refresh` wants the write to be answered. Searches find it in any case.
pub(super) fn answered(call: &Call) -> Result<Answered, Fault> {
    match call.parameter("refresh") {
        None | Some("false") => Ok(Answered::Durable),
        Some("" | "true" | "wait_for") => Ok(Answered::Committed),
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

struct Head<'a> {
    action: Action,
    index: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
}

fn head_of(line: &[u8], number: usize, major: u16) -> Result<Head<'_>, Fault> {
    let malformed =
        |what: &str| Fault::argument(format!("Malformed action/metadata line [{number}], {what}"));
    let line: Json<'_> =
        serde_json::from_slice(line).map_err(|error| Fault::no_json(&error, major))?;
    let Json::Object(line) = line else {
        return Err(malformed("expected START_OBJECT"));
    };
    let mut members = line.into_iter();
    let (Some((action, Json::Object(parameters))), None) = (members.next(), members.next()) else {
        return Err(malformed("expected one action with an object"));
    };
    let mut action = match &*action {
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
        match (&*name, value) {
            (_, Json::Null) => {}
            ("_index", Json::Text(text)) => index = Some(text),
            ("_id", Json::Text(text)) => id = Some(text),
            ("_id", number @ (Json::Signed(_) | Json::Unsigned(_) | Json::Float(_))) => {
                id = number.to_text().map(|text| text.into_owned().into());
            }
            ("op_type", Json::Text(kind)) if kind == "create" => action = Action::Create,
            ("op_type", Json::Text(kind)) if kind == "index" => {}
            // One shard: where a document goes changes nothing. Types are of the past.
            ("routing" | "_routing" | "_type", Json::Text(_)) => {}
            ("require_alias" | "list_executed_pipelines", Json::Bool(false)) => {}
            (name, _) => {
                return Err(Fault::argument(format!(
                    "Action/metadata line [{number}] contains an unknown parameter [{name}]"
                )));
            }
        }
    }
    Ok(Head { action, index, id })
}
