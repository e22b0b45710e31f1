//! The hits of a page: the source as far as it is wanted, and what else was
//! asked for of each.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mscp_log_core::field::FieldType;
use mscp_log_core::query::ast::{FieldFormat, Search, SourceFilter};
use mscp_log_core::query::date_math::{Formats, Zone};
use mscp_log_core::query::wildcard::fits;
use serde_json::{Map, Value, json};
use tantivy::DocId;
use tantivy::columnar::StrColumn;
use tantivy::query::{EnableScoring, Query as _, Weight};

use super::super::documents::is_indexed;
use super::super::ids::DocumentId;
use super::super::partition::PartitionSnapshot;
use super::super::schema::INDEX;
use super::collect::{Found, contains};
use super::columns::Values;
use super::compile::{Compiled, Compiler, wrong_date};
use super::error::EsError;
use super::highlight::Highlighter;
use super::shape::{Shape, double};
use super::sort::{Plan, no_columns, only_keys};
use super::target::{self, Kind, Target};

/// What a page of hits is made of.
pub(crate) struct Page<'a> {
    pub(crate) snapshots: &'a [Arc<PartitionSnapshot>],
    pub(crate) search: &'a Search,
    pub(crate) order: &'a Plan,
    pub(crate) from: usize,
    pub(crate) compiler: Compiler<'a>,
    pub(crate) highlighter: Option<&'a Highlighter>,
    /// The queries that have names.
    pub(crate) named: &'a [(String, Compiled)],
}

/// What hits show besides their source.
struct Shown {
    /// `docvalue_fields`
    columns: Vec<(String, Target, Shape)>,
    /// `fields`
    formats: Vec<(String, Option<Formats>)>,
    /// Patterns of `fields` that also mean what no mapping knows.
    unmapped: Vec<String>,
}

/// The columns of one segment that hits show.
struct Opened {
    index: Option<StrColumn>,
    values: Vec<Values>,
    named: Vec<Box<dyn Weight>>,
}

impl Opened {
    fn index_of(&self, doc: DocId) -> Result<String, EsError> {
        let mut name = String::new();
        if let Some(column) = &self.index
            && let Some(place) = column.term_ords(doc).next()
        {
            column.ord_to_str(place, &mut name)?;
        }
        Ok(name)
    }
}

/// A score in the digits that it has as a `float`.
pub(crate) fn short(score: f32) -> f64 {
    score.to_string().parse().unwrap_or(f64::from(score))
}

impl Page<'_> {
    /// The hits behind `from`, as an answer shows them.
    pub(crate) fn hits(&self, found: &[Found]) -> Result<Vec<Value>, EsError> {
        // A wrong format is an error where there is a hit to show.
        if found.len() <= self.from {
            return Ok(Vec::new());
        }
        let shown = Shown {
            columns: self.columns()?,
            formats: self.formats()?,
            unmapped: self.unmapped(),
        };
        // Hits that follow each other often lie in one segment.
        let mut opened: HashMap<(usize, u32), Opened> = HashMap::new();
        let mut hits = Vec::new();
        for found in found.iter().skip(self.from) {
            let segment = match opened.entry((found.part, found.address.segment_ord)) {
                Entry::Occupied(slot) => slot.into_mut(),
                Entry::Vacant(slot) => slot.insert(self.open(found, &shown)?),
            };
            hits.push(self.hit(found, &shown, segment)?);
        }
        Ok(hits)
    }

    /// The columns of a hit's segment.
    fn open(&self, found: &Found, shown: &Shown) -> Result<Opened, EsError> {
        let snapshot = &self.snapshots[found.part];
        let segment = snapshot.searcher.segment_reader(found.address.segment_ord);
        Ok(Opened {
            index: segment.fast_fields().str(INDEX)?,
            values: shown
                .columns
                .iter()
                .map(|(_, target, _)| Values::open(segment, target))
                .collect::<Result<_, _>>()?,
            named: self
                .named
                .iter()
                .map(|(_, query)| {
                    query.weight(EnableScoring::disabled_from_searcher(&snapshot.searcher))
                })
                .collect::<tantivy::Result<_>>()?,
        })
    }

    fn hit(&self, found: &Found, shown: &Shown, segment: &Opened) -> Result<Value, EsError> {
        let search = self.search;
        let snapshot = &self.snapshots[found.part];
        let doc = found.address.doc_id;
        let id = snapshot.ids(found.address.segment_ord).id(doc);

        let mut hit = Map::new();
        let names = search.stored_fields.as_deref();
        if names.is_none_or(|names| !names.iter().any(|name| name == "_none_")) {
            hit.insert("_id".to_owned(), json!(id.to_string()));
        }
        hit.insert("_index".to_owned(), json!(segment.index_of(doc)?));
        let scored = search.track_scores == Some(true) || self.order.needs_score();
        let score = scored.then(|| short(found.score));
        hit.insert("_score".to_owned(), json!(score));
        if search.version == Some(true) {
            hit.insert("_version".to_owned(), json!(1));
        }
        if search.seq_no_primary_term == Some(true) {
            hit.insert("_seq_no".to_owned(), json!(0));
            hit.insert("_primary_term".to_owned(), json!(1));
        }
        let matched = self.matched(snapshot, found, segment)?;
        if !matched.is_empty() {
            hit.insert("matched_queries".to_owned(), json!(matched));
        }
        if self.order.shown {
            let values = self.order.values(&found.values, &id);
            hit.insert("sort".to_owned(), json!(values));
        }

        let wants_source = match &search.source {
            None => names.is_none_or(|names| names.iter().any(|name| name == "_source")),
            Some(SourceFilter::Whole(whole)) => *whole,
            Some(SourceFilter::Patterns { .. }) => true,
        };
        let mut fields = Map::new();
        let reads_source = wants_source
            || !shown.formats.is_empty()
            || !shown.unmapped.is_empty()
            || self.highlighter.is_some();
        if reads_source {
            let bytes = snapshot.source(found.address)?;
            let source: Value = serde_json::from_slice(&bytes)
                .map_err(|error| EsError::internal(error.to_string()))?;
            for (name, format) in &shown.formats {
                let values = match name.as_str() {
                    INDEX | "_id" => vec![hit[name.as_str()].clone()],
                    _ => field_values(&source, name, format.as_ref(), &id),
                };
                if !values.is_empty() {
                    fields.insert(name.clone(), Value::Array(values));
                }
            }
            for pattern in &shown.unmapped {
                unmapped_values(&source, "", pattern, &mut fields);
            }
            if let Some(highlighter) = self.highlighter {
                let marked = highlighter.of(&source);
                if !marked.is_empty() {
                    hit.insert("highlight".to_owned(), Value::Object(marked));
                }
            }
            if wants_source {
                hit.insert(
                    "_source".to_owned(),
                    filtered(source, search.source.as_ref()),
                );
            }
        }
        for ((name, _, shape), values) in shown.columns.iter().zip(&segment.values) {
            let values = column_values(values, doc, shape)?;
            if !values.is_empty() && !fields.contains_key(name) {
                fields.insert(name.clone(), Value::Array(values));
            }
        }
        if !fields.is_empty() {
            hit.insert("fields".to_owned(), Value::Object(fields));
        }
        Ok(Value::Object(hit))
    }

    /// The names of the queries that a hit matches.
    fn matched(
        &self,
        snapshot: &PartitionSnapshot,
        found: &Found,
        opened: &Opened,
    ) -> Result<Vec<&str>, EsError> {
        let segment = snapshot.searcher.segment_reader(found.address.segment_ord);
        let mut names = Vec::new();
        for ((name, _), weight) in self.named.iter().zip(&opened.named) {
            let mut scorer = weight.scorer(segment, 1.0)?;
            let known = names.contains(&name.as_str());
            if !known && contains(scorer.as_mut(), found.address.doc_id) {
                names.push(name.as_str());
            }
        }
        Ok(names)
    }

    /// `docvalue_fields`
    fn columns(&self) -> Result<Vec<(String, Target, Shape)>, EsError> {
        let mut columns: Vec<(String, Target, Shape)> = Vec::new();
        for entry in &self.search.docvalue_fields {
            let format = entry
                .format
                .as_deref()
                .filter(|f| *f != "use_field_mapping");
            for name in names_of(entry) {
                match target::resolve(self.compiler.schema, &name) {
                    Some(target) if target.kind == Kind::Text => {
                        if entry.field.contains('*') {
                            continue;
                        }
                        return Err(no_columns(&name));
                    }
                    Some(target) if target.kind == Kind::AnyKey => {
                        if entry.field.contains('*') {
                            continue;
                        }
                        return Err(only_keys(&name));
                    }
                    Some(_) if name == "_id" => {
                        return Err(EsError::illegal_argument(
                            "Fielddata access on the _id field is disallowed, you can re-enable it by updating the dynamic cluster setting: indices.id_field_data.enabled",
                        ));
                    }
                    Some(target) => {
                        let shape = Shape::of(Some(&target), format, Zone::default())?;
                        // Named twice, it is shown as the last one says.
                        columns.retain(|(shown, ..)| *shown != name);
                        columns.push((name, target, shape));
                    }
                    None => {}
                }
            }
        }
        Ok(columns)
    }

    fn unmapped(&self) -> Vec<String> {
        let asked = self.search.fields.iter();
        asked
            .filter(|entry| entry.include_unmapped == Some(true))
            .map(|entry| entry.field.clone())
            .collect()
    }

    /// `fields`
    fn formats(&self) -> Result<Vec<(String, Option<Formats>)>, EsError> {
        let mut fields = Vec::new();
        for entry in &self.search.fields {
            if entry.field == "_source" {
                return Err(EsError::illegal_argument(
                    "error fetching [_source]: Cannot fetch values for internal field [_source].",
                ));
            }
            for name in names_of(entry) {
                if let Some(kind) = mscp_log_core::field::type_of(&name) {
                    let format = format_of(entry, &name, kind)?;
                    fields.push((name, format));
                } else if matches!(name.as_str(), INDEX | "_id") {
                    fields.push((name, None));
                }
            }
        }
        Ok(fields)
    }
}

fn names_of(entry: &FieldFormat) -> Vec<String> {
    if entry.field.contains('*') {
        return target::expand(&entry.field)
            .into_iter()
            .map(str::to_owned)
            .collect();
    }
    vec![entry.field.clone()]
}

/// The format of an entry of `fields`, which only dates have.
fn format_of(entry: &FieldFormat, name: &str, kind: FieldType) -> Result<Option<Formats>, EsError> {
    let type_name = match kind {
        FieldType::Date => "date",
        FieldType::Long => "long",
        FieldType::Keyword => "keyword",
        FieldType::Text => "text",
        FieldType::Flattened => "flattened",
    };
    match entry.format.as_deref() {
        None => Ok(None),
        Some(_) if kind != FieldType::Date => Err(EsError::illegal_argument(format!(
            "error fetching [{name}]: Field [{name}] of type [{type_name}] doesn't support formats."
        ))),
        Some(format) => Formats::parse(format)
            .map(Some)
            .map_err(|error| wrong_date(&error)),
    }
}

fn column_values(values: &Values, doc: DocId, shape: &Shape) -> Result<Vec<Value>, EsError> {
    Ok(match values {
        Values::Nothing => Vec::new(),
        Values::Ids(column) => vec![json!(column.id(doc).to_string())],
        Values::Numbers(column) => {
            let mut numbers: Vec<i64> = column.values_for_doc(doc).collect();
            numbers.sort_unstable();
            let shown = numbers.into_iter().map(|number| match shape.text(number) {
                Some(text) => json!(text),
                None => json!(number),
            });
            shown.collect()
        }
        Values::Keywords(keywords) => {
            let places: BTreeSet<u64> = keywords.of(doc).collect();
            places
                .into_iter()
                .map(|place| Ok(json!(keywords.text(place)?)))
                .collect::<Result<_, EsError>>()?
        }
    })
}

fn date_text(ms: i64, format: Option<&Formats>) -> String {
    match format {
        Some(format) => format.write(ms, &Zone::default()),
        None => Formats::default().write(ms, &Zone::default()),
    }
}

/// The values of a field as `fields` shows them: from the source, in the
/// mapping's form.
fn field_values(
    source: &Value,
    name: &str,
    format: Option<&Formats>,
    id: &DocumentId,
) -> Vec<Value> {
    let mut found = Vec::new();
    look_up(source, name, &mut found);
    if found.is_empty() && name == "event_id" {
        return vec![json!(id.to_string())];
    }
    let kind = match mscp_log_core::field::type_of(name) {
        Some(_) if name.starts_with("annotations.") => FieldType::Flattened,
        Some(kind) => kind,
        None => return Vec::new(),
    };
    found
        .into_iter()
        .filter_map(|value| shown_value(value, kind, format))
        .collect()
}

/// A value of the source as its field shows it; `None` where the field does
/// not have it.
fn shown_value(value: &Value, kind: FieldType, format: Option<&Formats>) -> Option<Value> {
    match (kind, value) {
        (FieldType::Date, Value::String(text)) => Some(
            Formats::default()
                .read(text, &Zone::default(), false)
                .map_or_else(|_| value.clone(), |ms| json!(date_text(ms, format))),
        ),
        (FieldType::Date, Value::Number(number)) => {
            let ms = number
                .as_i64()
                .or_else(|| number.as_f64().map(|ms| ms.floor() as i64))?;
            Some(json!(date_text(ms, format)))
        }
        (FieldType::Long, Value::String(text)) if text.is_empty() => None,
        (FieldType::Long, Value::String(_) | Value::Number(_)) => Some(json!(whole(value)?)),
        (FieldType::Keyword, Value::String(text)) => is_indexed(text).then(|| value.clone()),
        (FieldType::Keyword | FieldType::Text, Value::Bool(_) | Value::Number(_)) => {
            Some(json!(text_of(value)))
        }
        (FieldType::Flattened, Value::Object(members)) => {
            let members: Map<String, Value> = members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), unwrapped(value)?)))
                .collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        _ => Some(value.clone()),
    }
}

/// A member of a flattened object, of which one alone stands for itself and
/// none is nothing.
fn unwrapped(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(values) => {
            let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
            match values[..] {
                [] => None,
                [one] => Some(one.clone()),
                _ => Some(json!(values)),
            }
        }
        other => Some(other.clone()),
    }
}

/// A number as a field of whole numbers has it: decimals are cut off.
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let text = value.as_str().unwrap_or_default();
    text.parse()
        .ok()
        .or_else(|| Some(value.as_f64().or_else(|| text.parse().ok())?.trunc() as i64))
}

/// A number or a truth value as the text that Java makes of it.
fn text_of(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => double(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// The values at `path`, where names may hold dots or be nested, and arrays
/// hold several.
pub(crate) fn look_up<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(object) => {
            if let Some(value) = object.get(path) {
                leaves(value, found);
            }
            for (place, _) in path.match_indices('.') {
                if let Some(value) = object.get(&path[..place]) {
                    look_up(value, &path[place + 1..], found);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                look_up(value, path, found);
            }
        }
        _ => {}
    }
}

/// The values below `above` that no mapping knows and that fit `pattern`.
fn unmapped_values(value: &Value, above: &str, pattern: &str, found: &mut Map<String, Value>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if above.is_empty() {
                    name.clone()
                } else {
                    format!("{above}.{name}")
                };
                unmapped_values(value, &path, pattern, found);
            }
        }
        Value::Array(values) => {
            for value in values {
                unmapped_values(value, above, pattern, found);
            }
        }
        Value::Null => {}
        leaf if fits(pattern, above) && mscp_log_core::field::type_of(above).is_none() => {
            let list = found.entry(above).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(leaf.clone());
            }
        }
        _ => {}
    }
}

fn leaves<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Null => {}
        Value::Array(values) => {
            for value in values {
                leaves(value, found);
            }
        }
        value => found.push(value),
    }
}

/// The parts of a source that a filter leaves.
pub(crate) fn filtered(source: Value, filter: Option<&SourceFilter>) -> Value {
    let Some(SourceFilter::Patterns { includes, excludes }) = filter else {
        return source;
    };
    match source {
        Value::Object(object) => Value::Object(filtered_object(
            object,
            "",
            includes,
            excludes,
            includes.is_empty(),
        )),
        other => other,
    }
}

fn filtered_object(
    object: Map<String, Value>,
    above: &str,
    includes: &[String],
    excludes: &[String],
    included: bool,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in object {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        let fits_any = |patterns: &[String]| patterns.iter().any(|pattern| is_at(pattern, &path));
        if fits_any(excludes) {
            continue;
        }
        let included = included || fits_any(includes);
        if let Some(value) = filtered_value(value, &path, includes, excludes, included) {
            kept.insert(name, value);
        }
    }
    kept
}

/// Whether `pattern` names `path` or something above it.
fn is_at(pattern: &str, path: &str) -> bool {
    fits(pattern, path)
        || path
            .match_indices('.')
            .any(|(place, _)| fits(pattern, &path[..place]))
}

fn filtered_value(
    value: Value,
    path: &str,
    includes: &[String],
    excludes: &[String],
    included: bool,
) -> Option<Value> {
    match value {
        Value::Object(object) => {
            let kept = filtered_object(object, path, includes, excludes, included);
            (included || !kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(values) => {
            // What a filter leaves empty goes from an array.
            let kept: Vec<Value> = values
                .into_iter()
                .filter_map(|value| filtered_value(value, path, includes, excludes, included))
                .filter(|value| match value {
                    Value::Object(object) => !object.is_empty(),
                    Value::Array(values) => !values.is_empty(),
                    _ => true,
                })
                .collect();
            (included || !kept.is_empty()).then_some(Value::Array(kept))
        }
        scalar => included.then_some(scalar),
    }
}
