//! Marked fragments: which words of a hit the query asked for, and the
//! passages around them, as Elasticsearch's unified highlighter cuts them.

mod marks;
mod passages;

use std::borrow::Cow;

use mscp_log_core::field::{FieldType, type_of};
use mscp_log_core::query::ast::{HighlightSettings, Query, Search};
use serde_json::{Map, Value, json};

use super::error::EsError;
use super::fetch::look_up;
use super::target;
use marks::Marks;
use passages::Passages;

/// Characters a fragment, where nothing is said.
const FRAGMENT_SIZE: u64 = 100;

/// Fragments a field, where nothing is said.
const FRAGMENTS: u64 = 5;

/// The longest value that is marked, in bytes (`index.highlight.max_analyzed_offset`).
const MAX_VALUE_BYTES: usize = 1_000_000;

/// What is marked in the hits of a search.
pub(crate) struct Highlighter {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    is_text: bool,
    marks: Marks,
    pre: String,
    post: String,
    passages: Passages,
    html: bool,
}

impl Highlighter {
    /// What `search` wants marked; `None` where it wants nothing.
    pub(crate) fn new(search: &Search) -> Result<Option<Self>, EsError> {
        let Some(highlight) = &search.highlight else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        for (pattern, own) in &highlight.fields {
            let names = if pattern.contains('*') {
                target::expand(pattern)
                    .into_iter()
                    .map(str::to_owned)
                    .collect()
            } else {
                vec![pattern.clone()]
            };
            for name in names {
                let is_text = match type_of(&name) {
                    Some(FieldType::Text) => true,
                    // The keys of a flattened field are not highlighted.
                    Some(FieldType::Keyword) if !name.starts_with("annotations.") => false,
                    _ => continue,
                };
                let settings = Settings {
                    own,
                    all: &highlight.settings,
                };
                fields.push(settings.field(name, is_text, search)?);
            }
        }
        Ok(Some(Self { fields }))
    }

    /// The `highlight` of a hit.
    pub(crate) fn of(&self, source: &Value) -> Map<String, Value> {
        let mut all = Map::new();
        for field in &self.fields {
            let mut values = Vec::new();
            look_up(source, &field.name, &mut values);
            let texts: Vec<Cow<'_, str>> = values
                .into_iter()
                .filter_map(text_of)
                .filter(|text| text.len() <= MAX_VALUE_BYTES)
                .collect();
            // A NUL parts values, as it does where Elasticsearch joins several.
            let parts = texts
                .iter()
                .flat_map(|text| match field.passages.is_whole() {
                    true => vec![&**text],
                    false => text.split('\0').collect(),
                });
            let mut parts: Vec<(&str, Vec<(usize, usize)>)> = parts
                .map(|text| (text, field.marks.spans(text, field.is_text)))
                .collect();
            // Where nothing is marked, the first one begins the value.
            if parts.iter().all(|(_, spans)| spans.is_empty()) {
                parts.truncate(1);
            } else {
                parts.retain(|(_, spans)| !spans.is_empty());
            }
            let mut fragments = Vec::new();
            for (text, spans) in parts {
                for fragment in field.passages.cut(text, &spans) {
                    fragments.push(field.write(text, &fragment, &spans));
                }
            }
            field.passages.limit(&mut fragments);
            if !fragments.is_empty() {
                all.insert(field.name.clone(), json!(fragments));
            }
        }
        all
    }
}

/// A value as a keyword has it.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Field {
    /// A part of `text` with its marks.
    fn write(&self, text: &str, part: &std::ops::Range<usize>, spans: &[(usize, usize)]) -> String {
        let mut written = String::new();
        let mut done = part.start;
        for (start, end) in spans {
            if *start < part.start || *end > part.end || *end <= done {
                continue;
            }
            // Marks may lie over each other: what is marked stays so.
            let begin = (*start).max(done);
            self.encode(&mut written, &text[done..begin]);
            written.push_str(&self.pre);
            self.encode(&mut written, &text[begin..*end]);
            written.push_str(&self.post);
            done = *end;
        }
        self.encode(&mut written, &text[done..part.end]);
        if self.passages.is_whole() {
            return written;
        }
        written.trim().to_owned()
    }

    fn encode(&self, written: &mut String, text: &str) {
        if !self.html {
            written.push_str(text);
            return;
        }
        for character in text.chars() {
            match character {
                '"' => written.push_str("&quot;"),
                '&' => written.push_str("&amp;"),
                '<' => written.push_str("&lt;"),
                '>' => written.push_str("&gt;"),
                '\'' => written.push_str("&#x27;"),
                '/' => written.push_str("&#x2F;"),
                other => written.push(other),
            }
        }
    }
}

/// The settings of a field, and those of all fields behind them.
struct Settings<'a> {
    own: &'a HighlightSettings,
    all: &'a HighlightSettings,
}

impl<'a> Settings<'a> {
    fn get<T>(&self, pick: impl Fn(&'a HighlightSettings) -> &'a Option<T>) -> Option<&'a T> {
        pick(self.own).as_ref().or_else(|| pick(self.all).as_ref())
    }

    fn field(&self, name: String, is_text: bool, search: &Search) -> Result<Field, EsError> {
        let kind = self.get(|settings| &settings.kind);
        if kind.is_some_and(|kind| kind == "fvh") {
            return Err(EsError::illegal_argument(format!(
                "the field [{name}] should be indexed with term vector with position offsets to be used with fast vector highlighter"
            )));
        }
        if let Some(kind) = kind
            && !matches!(kind.as_str(), "unified" | "plain")
        {
            return Err(EsError::illegal_argument(format!(
                "unknown highlighter type [{kind}] for the field [{name}]"
            )));
        }
        let tag = |tags: Option<&Vec<String>>, default: &str| {
            tags.and_then(|tags| tags.first())
                .cloned()
                .unwrap_or_else(|| default.to_owned())
        };
        let query: Option<&Query> = match self.get(|settings| &settings.highlight_query) {
            Some(query) => Some(query),
            None => search.query.as_ref(),
        };
        let only_own = self
            .get(|settings| &settings.require_field_match)
            .copied()
            .unwrap_or(true);
        let marks = match query {
            Some(query) => Marks::of(query, only_own.then_some(name.as_str()), is_text)?,
            None => Marks::default(),
        };
        let number = |pick: fn(&HighlightSettings) -> &Option<u64>, default: u64| {
            let number = self.get(pick).copied().unwrap_or(default);
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        Ok(Field {
            marks,
            pre: tag(self.get(|settings| &settings.pre_tags), "<em>"),
            post: tag(self.get(|settings| &settings.post_tags), "</em>"),
            passages: Passages {
                size: number(|settings| &settings.fragment_size, FRAGMENT_SIZE),
                count: number(|settings| &settings.number_of_fragments, FRAGMENTS),
                no_match: number(|settings| &settings.no_match_size, 0),
                best_first: self.get(|settings| &settings.order).map(String::as_str)
                    == Some("score"),
            },
            html: self.get(|settings| &settings.encoder).map(String::as_str) == Some("html"),
            is_text,
            name,
        })
    }
}
