//! Endpoints of documents by their ids: `_doc`, `_create`, `_source`, `_mget`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::StatusCode;
use mscp_log_core::query::ast::SourceFilter;
use serde_json::{Map, Value, json};

use super::super::EmbeddedStore;
use super::super::dedup::{Key, find};
use super::super::ids::DocumentId;
use super::super::indices::partition_of;
use super::super::partition::PartitionSnapshot;
use super::super::search::filtered;
use super::bulk::{Action, Reader, answer_of, answered, conflict, no_alias};
use super::index::blocking;
use super::{Call, Content, Fault, Reply};

const WRITE_PARAMETERS: &[&str] = &[
    "refresh",
    "routing",
    "op_type",
    "wait_for_active_shards",
    "require_alias",
];

const READ_PARAMETERS: &[&str] = &[
    "realtime",
    "refresh",
    "preference",
    "routing",
    "stored_fields",
    "_source",
    "_source_include",
    "_source_includes",
    "_source_exclude",
    "_source_excludes",
];

/// Documents that one `_mget` may ask for, as many as a page of hits has.
const MAX_DOCUMENTS: usize = 10_000;

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
        let when = answered(call)?;
        if call.flag("require_alias")?.unwrap_or(false) {
            return Err(no_alias(index));
        }
        if action == Action::Delete {
            let name: Arc<str> = index.into();
            if !self.missing([name].into()).await?.is_empty() {
                return Err(Fault::no_index(index));
            }
        } else if call.body.trim_ascii().is_empty() {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                "parse_exception",
                "request body is required",
            ));
        }
        let major = call.major;
        let item = Reader::new(major).item(action, index, id, &call.body);
        let id = item.id().to_owned();
        let operation = item
            .result
            .map_err(|(status, error)| fault_of(status, error))?;
        let outcomes = self.writer.write(vec![operation], when).await?;
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
        call.only(READ_PARAMETERS)?;
        let shown = Shown::of(call)?;
        let found = self.source(index, id).await?;
        let status = match found {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        };
        Ok(Reply {
            status,
            content: Content::Written(shown.written(index, id, found)?),
        })
    }

    /// `_source/{id}`: the source alone.
    pub(super) async fn document_source(
        &self,
        call: &Call,
        index: &str,
        id: &str,
    ) -> Result<Reply, Fault> {
        call.only(READ_PARAMETERS)?;
        let shown = Shown::of(call)?;
        let found = self.source(index, id).await?;
        let source = found.and_then(|source| shown.source(source).transpose());
        match source.transpose()? {
            Some(source) => Ok(Reply {
                status: StatusCode::OK,
                content: Content::Written(source),
            }),
            None => Err(Fault::new(
                StatusCode::NOT_FOUND,
                "resource_not_found_exception",
                format!("Document not found [{index}]/[{id}]"),
            )),
        }
    }

    async fn source(&self, index: &str, id: &str) -> Result<Option<String>, Fault> {
        let wanted = vec![(index.to_owned(), DocumentId::new(id))];
        let mut found = self.sources(wanted).await?;
        found.pop().unwrap_or(Ok(None))
    }

    /// The sources of documents, each by its index and id; a pass over a
    /// partition finds all that lie in it.
    async fn sources(
        &self,
        wanted: Vec<(String, DocumentId)>,
    ) -> Result<Vec<Result<Option<String>, Fault>>, Fault> {
        let catalog = Arc::clone(&self.catalog);
        blocking(move || {
            let mut partitions: BTreeMap<&str, HashSet<Key>> = BTreeMap::new();
            for (index, id) in &wanted {
                let key = Key {
                    index: index.as_str().into(),
                    id: id.clone(),
                };
                partitions
                    .entry(partition_of(index))
                    .or_default()
                    .insert(key);
            }
            let mut sources: HashMap<Key, String> = HashMap::new();
            for (name, keys) in &partitions {
                if let Some(partition) = catalog.partition(name)? {
                    sources_of(&partition.snapshot(), keys, &mut sources)?;
                }
            }
            let mut results = Vec::with_capacity(wanted.len());
            for (index, id) in &wanted {
                let key = Key {
                    index: index.as_str().into(),
                    id: id.clone(),
                };
                results.push(match sources.get(&key) {
                    Some(source) => Ok(Some(source.clone())),
                    None if catalog.has_index(index)? => Ok(None),
                    None => Err(Fault::no_index(index)),
                });
            }
            Ok(results)
        })
        .await
    }

    /// `_mget`: many documents, each found, not found, or wrong by itself.
    pub(super) async fn many_documents(
        &self,
        call: &Call,
        index: Option<&str>,
    ) -> Result<Reply, Fault> {
        call.only(READ_PARAMETERS)?;
        if call.body.trim_ascii().is_empty() {
            return Err(Fault::parse("request body or source parameter is required"));
        }
        let items = many(call, index)?;
        let wanted = items
            .iter()
            .map(|item| (item.index.clone(), DocumentId::new(&item.id)))
            .collect();
        let found = self.sources(wanted).await?;
        let mut documents = Vec::with_capacity(items.len());
        for (item, found) in items.iter().zip(found) {
            documents.push(match found {
                Ok(source) => item.shown.written(&item.index, &item.id, source)?,
                Err(fault) => {
                    let error = &fault.body["error"];
                    let mut body = json!({"_index": item.index, "_id": item.id, "error": error});
                    if call.major < 8 {
                        body["_type"] = "_doc".into();
                    }
                    body.to_string()
                }
            });
        }
        Ok(Reply {
            status: StatusCode::OK,
            content: Content::Written(format!(r#"{{"docs":[{}]}}"#, documents.join(","))),
        })
    }
}

/// What is shown of a document that is read by its id.
#[derive(Clone)]
struct Shown {
    filter: SourceFilter,
    major: u16,
}

impl Shown {
    /// What the parameters of the URL say.
    fn of(call: &Call) -> Result<Self, Fault> {
        let list = |name: &str| {
            let names = call.parameter(name).unwrap_or_default().split(',');
            let names = names.filter(|name| !name.is_empty());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut includes = list("_source_includes");
        let mut excludes = list("_source_excludes");
        includes.extend(list("_source_include"));
        excludes.extend(list("_source_exclude"));
        let mut whole = call.parameter("stored_fields").is_none();
        match call.parameter("_source") {
            None => {}
            Some("" | "true") => whole = true,
            Some("false") => whole = false,
            Some(_) => includes.extend(list("_source")),
        }
        let nothing = call.parameter("_source") == Some("false");
        let filter = if nothing || (includes.is_empty() && excludes.is_empty()) {
            SourceFilter::Whole(whole)
        } else {
            SourceFilter::Patterns { includes, excludes }
        };
        Ok(Self {
            filter,
            major: call.major,
        })
    }

    /// The source as far as it is shown.
    fn source(&self, source: String) -> Result<Option<String>, Fault> {
        match &self.filter {
            SourceFilter::Whole(true) => Ok(Some(source)),
            SourceFilter::Whole(false) => Ok(None),
            filter => {
                let value = serde_json::from_str(&source).map_err(|error| {
                    tracing::error!(%error, "a stored source is no JSON");
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    Fault::new(status, "exception", "the store cannot be read")
                })?;
                Ok(Some(filtered(value, Some(filter)).to_string()))
            }
        }
    }

    /// The document, or that it is not there.
    fn written(&self, index: &str, id: &str, found: Option<String>) -> Result<String, Fault> {
        let kind = if self.major < 8 {
            r#""_type":"_doc","#
        } else {
            ""
        };
        let (index, id) = (json!(index), json!(id));
        let Some(source) = found else {
            return Ok(format!(
                r#"{{"_index":{index},{kind}"_id":{id},"found":false}}"#
            ));
        };
        let source = match self.source(source)? {
            Some(source) => format!(r#","_source":{source}"#),
            None => String::new(),
        };
        Ok(format!(
            r#"{{"_index":{index},{kind}"_id":{id},"_version":1,"_seq_no":0,"_primary_term":1,"found":true{source}}}"#
        ))
    }
}

/// One document that `_mget` asks for.
struct Item {
    index: String,
    id: String,
    shown: Shown,
}

/// The documents of a body: `{"docs": [..]}`, or `{"ids": [..]}` of one index.
fn many(call: &Call, index: Option<&str>) -> Result<Vec<Item>, Fault> {
    let shown = Shown::of(call)?;
    let mut items = Vec::new();
    let mut add = |item_index: Option<String>, id: Option<String>, shown| {
        let place = items.len();
        let missing = |what: &str| Fault::invalid(&[&format!("{what} is missing for doc {place}")]);
        let index = item_index.or(index.map(str::to_owned));
        items.push(Item {
            index: index.ok_or_else(|| missing("index"))?,
            id: id.ok_or_else(|| missing("id"))?,
            shown,
        });
        Ok::<(), Fault>(())
    };
    for (member, value) in call.object()? {
        let Value::Array(values) = value else {
            return Err(unknown_key(&member, &value));
        };
        match member.as_str() {
            "ids" => {
                for id in values {
                    let id = text_of(id).ok_or_else(|| {
                        Fault::argument("ids array element should only contain ids")
                    })?;
                    add(None, Some(id), shown.clone())?;
                }
            }
            "docs" => {
                for document in values {
                    let Value::Object(document) = document else {
                        return Err(Fault::argument(
                            "docs array element should include an object",
                        ));
                    };
                    let (item_index, id, filter) = item_of(document)?;
                    let shown = Shown {
                        filter: filter.unwrap_or_else(|| shown.filter.clone()),
                        ..shown
                    };
                    add(item_index, id, shown)?;
                }
            }
            _ => return Err(unknown_key(&member, &Value::Array(values))),
        }
    }
    if items.is_empty() {
        return Err(Fault::invalid(&["no documents to get"]));
    }
    if items.len() > MAX_DOCUMENTS {
        return Err(Fault::argument(format!(
            "at most {MAX_DOCUMENTS} documents can be asked for at once, not {}",
            items.len()
        )));
    }
    Ok(items)
}

fn unknown_key(member: &str, value: &Value) -> Fault {
    let token = match value {
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
        Value::String(_) => "VALUE_STRING",
        Value::Number(_) => "VALUE_NUMBER",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Null => "VALUE_NULL",
    };
    Fault::new(
        StatusCode::BAD_REQUEST,
        "parsing_exception",
        format!("unknown key [{member}] for a {token}, expected [docs] or [ids]"),
    )
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

type ItemParts = (Option<String>, Option<String>, Option<SourceFilter>);

/// Index, id and source filter of an item of `docs`.
fn item_of(document: Map<String, Value>) -> Result<ItemParts, Fault> {
    let (mut index, mut id, mut filter) = (None, None, None);
    for (member, value) in document {
        match (member.as_str(), value) {
            ("_index", Value::String(text)) => index = Some(text),
            ("_id", value) => id = text_of(value),
            // One shard, one type: neither says which document is meant.
            ("_type" | "routing" | "_routing", Value::String(_)) => {}
            ("stored_fields", _) => {
                filter.get_or_insert(SourceFilter::Whole(false));
            }
            ("_source", value) => filter = Some(source_filter(value)?),
            (other, _) => {
                return Err(Fault::parse(format!(
                    "failed to parse multi get request. unknown field [{other}]"
                )));
            }
        }
    }
    Ok((index, id, filter))
}

fn source_filter(value: Value) -> Result<SourceFilter, Fault> {
    let names = |value: Value| -> Vec<String> {
        let several = match value {
            Value::Array(several) => several,
            one => vec![one],
        };
        several.into_iter().filter_map(text_of).collect()
    };
    let (mut includes, mut excludes) = (Vec::new(), Vec::new());
    match value {
        Value::Bool(whole) => return Ok(SourceFilter::Whole(whole)),
        Value::Object(members) => {
            for (member, value) in members {
                match member.as_str() {
                    "include" | "includes" => includes = names(value),
                    "exclude" | "excludes" => excludes = names(value),
                    other => {
                        return Err(Fault::parse(format!(
                            "source definition may not contain [{other}]"
                        )));
                    }
                }
            }
        }
        other => includes = names(other),
    }
    Ok(SourceFilter::Patterns { includes, excludes })
}

fn fault_of(status: StatusCode, mut error: Value) -> Fault {
    let root_cause = json!([error]);
    error["root_cause"] = root_cause;
    Fault::written(status, json!({"error": error, "status": status.as_u16()}))
}

/// Add the sources of those of `keys` that the partition has.
fn sources_of(
    snapshot: &PartitionSnapshot,
    keys: &HashSet<Key>,
    sources: &mut HashMap<Key, String>,
) -> Result<(), Fault> {
    for (key, address) in find(snapshot, keys)? {
        let source = snapshot.source(address)?;
        // JSON was checked to be UTF-8 when it was written.
        let source = String::from_utf8_lossy(&source).into_owned();
        sources.insert(key, source);
    }
    Ok(())
}
