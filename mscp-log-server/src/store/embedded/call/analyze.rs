//! `_analyze`: the words that an analyzer makes of a text.

use std::sync::Arc;

use http::StatusCode;
use mscp_log_core::field::{FieldType, type_of};
use mscp_log_core::query::analyze::tokens;
use serde_json::{Value, json};

use super::super::EmbeddedStore;
use super::index::blocking;
use super::{Call, Fault, Reply};

/// Words of one answer (`index.analyze.max_token_count`).
const MAX_TOKENS: usize = 10_000;

/// Positions between two values of a text field, as in Elasticsearch.
const GAP_OF_A_FIELD: usize = 100;

/// How a text is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Analyzer {
    /// Words in lower case.
    Standard,
    /// Words as they are written.
    Words,
    /// The whole text is one word.
    Keyword,
}

/// What is asked for.
#[derive(Default)]
struct Wish {
    analyzer: Option<String>,
    field: Option<String>,
    tokenizer: Option<String>,
    filters: Vec<String>,
    texts: Option<Vec<String>>,
}

impl EmbeddedStore {
    pub(super) async fn analyze(&self, call: &Call, index: Option<&str>) -> Result<Reply, Fault> {
        call.only(&["index", "prefer_local"])?;
        let index = index.or_else(|| call.parameter("index"));
        if call.body.trim_ascii().is_empty() {
            return Err(Fault::parse("request body or source parameter is required"));
        }
        let wish = wish(call)?;
        if let Some(index) = index {
            let (catalog, name) = (Arc::clone(&self.catalog), index.to_owned());
            if !blocking(move || Ok(catalog.has_index(&name)?)).await? {
                return Err(Fault::no_index(index));
            }
        }
        let (analyzer, gap) = wish.analyzer(index.is_some())?;
        let texts = wish.texts.unwrap_or_default();
        blocking(move || {
            Ok(Reply::ok(
                json!({"tokens": analyzed(analyzer, gap, &texts)?}),
            ))
        })
        .await
    }
}

fn wish(call: &Call) -> Result<Wish, Fault> {
    let mut wish = Wish::default();
    for (member, value) in call.object()? {
        match (member.as_str(), value) {
            ("analyzer", Value::String(name)) => wish.analyzer = Some(name),
            ("field", Value::String(name)) => wish.field = Some(name),
            ("tokenizer", Value::String(name)) => wish.tokenizer = Some(name),
            ("text", Value::String(text)) => wish.texts = Some(vec![text]),
            ("text", Value::Array(texts)) => {
                let texts = texts.into_iter().map(|text| match text {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong("text doesn't support values of this type")),
                });
                wish.texts = Some(texts.collect::<Result<_, _>>()?);
            }
            ("filter", Value::Array(filters)) => {
                let filters = filters.into_iter().map(|filter| match filter {
                    Value::String(filter) => Ok(filter),
                    _ => Err(Fault::argument("only token filters with names are known")),
                });
                wish.filters = filters.collect::<Result<_, _>>()?;
            }
            ("char_filter", Value::Array(filters)) if filters.is_empty() => {}
            ("explain", Value::Bool(false)) => {}
            ("explain", _) => return Err(Fault::argument("[explain] is not supported")),
            ("char_filter" | "normalizer" | "attributes", _) => {
                return Err(Fault::argument(format!("[{member}] is not supported")));
            }
            ("text", _) => return Err(wrong("text doesn't support values of this type")),
            (other, _) => return Err(wrong(&format!("unknown field [{other}]"))),
        }
    }
    if wish.texts.as_ref().is_none_or(Vec::is_empty) {
        return Err(Fault::invalid(&["text is missing"]));
    }
    Ok(wish)
}

fn wrong(reason: &str) -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "x_content_parse_exception",
        format!("[analyze_request] {reason}"),
    )
}

impl Wish {
    /// The analyzer, and the positions between two texts.
    fn analyzer(&self, has_index: bool) -> Result<(Analyzer, usize), Fault> {
        if let Some(name) = &self.tokenizer {
            if name != "standard" {
                return Err(Fault::argument(format!(
                    "failed to find global tokenizer under [{name}]"
                )));
            }
            return match self.filters.as_slice() {
                [] => Ok((Analyzer::Words, 0)),
                [filter] if filter == "lowercase" => Ok((Analyzer::Standard, 0)),
                filters => {
                    let unknown = filters.iter().find(|filter| *filter != "lowercase");
                    let unknown = unknown.map_or("", String::as_str);
                    Err(Fault::argument(format!(
                        "failed to find global token filter under [{unknown}]"
                    )))
                }
            };
        }
        if let Some(name) = &self.analyzer {
            return match name.as_str() {
                "standard" | "default" => Ok((Analyzer::Standard, 0)),
                "keyword" => Ok((Analyzer::Keyword, 0)),
                _ => Err(Fault::argument(format!(
                    "failed to find global analyzer [{name}]"
                ))),
            };
        }
        let Some(field) = &self.field else {
            return Ok((Analyzer::Standard, 0));
        };
        if !has_index {
            return Err(Fault::argument(
                "analysis based on a specific field requires an index",
            ));
        }
        match type_of(field) {
            Some(FieldType::Keyword | FieldType::Flattened) => Ok((Analyzer::Keyword, 0)),
            Some(FieldType::Text) => Ok((Analyzer::Standard, GAP_OF_A_FIELD)),
            None => Ok((Analyzer::Standard, 0)),
            Some(FieldType::Date | FieldType::Long) => Err(Fault::argument(format!(
                "Can't process field [{field}], Analysis requests are only supported on tokenized fields"
            ))),
        }
    }
}

/// The words of all texts; offsets count UTF-16 units and run on from text to
/// text, with one between.
fn analyzed(analyzer: Analyzer, gap: usize, texts: &[String]) -> Result<Vec<Value>, Fault> {
    let mut found = Vec::new();
    let (mut first_offset, mut first_position) = (0, 0);
    for text in texts {
        let units = text.encode_utf16().count();
        if analyzer == Analyzer::Keyword {
            found.push(json!({
                "token": text,
                "start_offset": first_offset,
                "end_offset": first_offset + units,
                "type": "word",
                "position": first_position,
            }));
            first_position += 1;
        } else {
            let (mut at, mut offset) = (0, first_offset);
            let mut unit_at = |byte: usize| {
                offset += text[at..byte].encode_utf16().count();
                at = byte;
                offset
            };
            let mut last = None;
            for token in tokens(text) {
                let written = &text[token.start..token.end];
                let word = match analyzer {
                    Analyzer::Words => written,
                    _ => &token.text,
                };
                let position = first_position + token.position;
                last = Some(position);
                found.push(json!({
                    "token": word,
                    "start_offset": unit_at(token.start),
                    "end_offset": unit_at(token.end),
                    "type": token.kind.name(),
                    "position": position,
                }));
                if found.len() > MAX_TOKENS {
                    return Err(Fault::new(
                        StatusCode::BAD_REQUEST,
                        "illegal_state_exception",
                        format!(
                            "The number of tokens produced by calling _analyze has exceeded the \
                             allowed maximum of [{MAX_TOKENS}]. This limit can be set by changing \
                             the [index.analyze.max_token_count] index level setting."
                        ),
                    ));
                }
            }
            if let Some(last) = last {
                first_position = last + 1;
            }
            first_position += gap;
        }
        first_offset += units + 1;
    }
    Ok(found)
}
