//! Whether a document matches a query: the slow and plain evaluator, against
//! which faster ones are held.
//!
//! It reads a document as the mapping of the log template does, so a field
//! that the mapping does not know matches nothing.

use std::cmp::Ordering;

use serde_json::Value;

use super::analyze::{lower_case, tokens};
use super::ast::{
    Bool, Clause, Match, MatchPhrase, MultiMatch, Query, QueryString, Range, Scalar, Term,
};
use super::date_math::{Formats, Zone, resolve};
use super::lucene::{Node, Occur, Part, combined};
use super::wildcard::fits;
use super::words::{allowed_edits, distance, enough, has_phrase, minimum};
use super::{regexp, wildcard};
use crate::field::{FIELDS, FieldType, type_of};

/// The longest keyword in bytes; a longer one cannot be found.
const MAX_KEYWORD: usize = 32_766;

/// What a query may ask that is not in the document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The present, in microseconds since the epoch.
    pub now_us: i64,
    /// The document's `_id`.
    pub id: Option<&'a str>,
    /// The index that holds the document.
    pub index: Option<&'a str>,
}

impl Query {
    /// Whether the document, as it is stored, matches.
    ///
    /// A value that cannot be read as its field's type matches nothing where
    /// Elasticsearch would refuse the search.
    ///
    /// ```
    /// use mscp_log_core::query::{Context, ast::Search};
    /// let search = Search::parse(br#"{"query": {"match": {"message": "time out"}}}"#, &[]).unwrap();
    /// let document = serde_json::json!({"message": "it took its time"});
    /// assert!(search.query.unwrap().matches(&document, &Context::default()));
    /// ```
    #[must_use]
    pub fn matches(&self, document: &Value, context: &Context<'_>) -> bool {
        Reader { document, context }.query(self)
    }
}

/// A value of a document as its field's type has it.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Number(i64),
    Term(String),
    Words(Vec<String>),
}

struct Reader<'a> {
    document: &'a Value,
    context: &'a Context<'a>,
}

impl Reader<'_> {
    fn query(&self, query: &Query) -> bool {
        match &query.clause {
            Clause::MatchAll => true,
            Clause::MatchNone => false,
            Clause::Match(inner) => self.matching(&inner.field, inner, false),
            Clause::MatchBoolPrefix(inner) => self.matching(&inner.field, inner, true),
            Clause::MatchPhrase(inner) => self.phrase_clause(inner, false),
            Clause::MatchPhrasePrefix(inner) => self.phrase_clause(inner, true),
            Clause::MultiMatch(inner) => self.multi_match(inner),
            Clause::Term(inner) => self.term(
                &inner.field,
                &inner.value,
                inner.case_insensitive == Some(true),
            ),
            Clause::Terms { field, values } => {
                values.iter().any(|value| self.term(field, value, false))
            }
            Clause::Range(inner) => self.range(inner),
            Clause::Bool(inner) => self.boolean(inner),
            Clause::Exists { field } => self.exists(field),
            Clause::Prefix(inner) => self.by_text(inner, |value, ignore_case, text| {
                let head = text.get(..value.len());
                head.is_some_and(|head| equal(head, value, ignore_case))
            }),
            Clause::Wildcard(inner) => {
                let ignore_case = inner.case_insensitive == Some(true);
                let compiled = text_of(&inner.value)
                    .filter(|text| !text.is_empty())
                    .and_then(|text| compile(&wildcard::to_regex(&text, ignore_case)));
                compiled.is_some_and(|compiled| {
                    self.by_text(inner, |_, _, text| compiled.is_match(text))
                })
            }
            Clause::Regexp { term, flags, .. } => {
                let ignore_case = term.case_insensitive == Some(true);
                let flags = regexp::Flags::parse(flags.as_deref().unwrap_or("ALL")).ok();
                let expression = text_of(&term.value)
                    .zip(flags)
                    .map(|(text, flags)| flags.applied(&text))
                    .and_then(|text| regexp::to_regex(&text, ignore_case).ok());
                let compiled = expression.and_then(|expression| compile(&expression));
                compiled.is_some_and(|compiled| {
                    self.by_text(term, |_, _, text| compiled.is_match(text))
                })
            }
            Clause::Fuzzy {
                term,
                fuzziness,
                prefix_length,
                transpositions,
                ..
            } => {
                let Some(word) = text_of(&term.value) else {
                    return false;
                };
                let edits = allowed_edits(fuzziness.as_ref(), &word);
                let kept = usize::try_from(prefix_length.unwrap_or(0)).unwrap_or(usize::MAX);
                let swaps = transpositions.unwrap_or(true);
                self.by_text(term, |value, _, text| {
                    value.chars().take(kept).eq(text.chars().take(kept))
                        && distance(value, text, swaps) <= edits
                })
            }
            Clause::Ids { values } => self
                .context
                .id
                .is_some_and(|id| values.iter().any(|value| value == id)),
            Clause::ConstantScore { filter } => self.query(filter),
            Clause::QueryString(inner) | Clause::SimpleQueryString(inner) => {
                self.query_string(inner)
            }
        }
    }

    fn boolean(&self, inner: &Bool) -> bool {
        if inner
            .must
            .iter()
            .chain(&inner.filter)
            .any(|query| !self.query(query))
        {
            return false;
        }
        if inner.must_not.iter().any(|query| self.query(query)) {
            return false;
        }
        let found = inner
            .should
            .iter()
            .filter(|query| self.query(query))
            .count();
        let naturally = usize::from(
            inner.must.is_empty() && inner.filter.is_empty() && !inner.should.is_empty(),
        );
        let wanted = inner
            .minimum_should_match
            .as_ref()
            .map_or(0, |spec| minimum(spec, inner.should.len()));
        let clauses =
            inner.must.len() + inner.filter.len() + inner.should.len() + inner.must_not.len();
        // Where nothing is required or optional, nothing is asked of what is optional.
        clauses == inner.must_not.len() || found >= naturally.max(wanted)
    }

    /// The values of a field of the mapping, or of metadata.
    fn values(&self, field: &str) -> (Option<FieldType>, Vec<Held>) {
        let own = |text: Option<&str>| {
            text.map(|text| Held::Term(text.to_owned()))
                .into_iter()
                .collect()
        };
        match field {
            "_id" => return (Some(FieldType::Keyword), own(self.context.id)),
            "_index" => return (Some(FieldType::Keyword), own(self.context.index)),
            _ => {}
        }
        let Some(kind) = type_of(field) else {
            return (None, Vec::new());
        };
        let mut leaves = Vec::new();
        collect(
            self.document,
            field,
            kind == FieldType::Flattened,
            &mut leaves,
        );
        (
            Some(kind),
            leaves
                .into_iter()
                .filter_map(|leaf| hold(leaf, kind))
                .collect(),
        )
    }

    fn exists(&self, field: &str) -> bool {
        if field.starts_with('_') {
            return !self.values(field).1.is_empty();
        }
        let below = format!("{field}.");
        let named = FIELDS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| fits(field, name) || name.starts_with(&below));
        let mut named: Vec<&str> = named.collect();
        named.push(field);
        named
            .into_iter()
            .any(|name| !self.values(name).1.is_empty())
    }

    fn term(&self, field: &str, value: &Scalar, ignore_case: bool) -> bool {
        let (kind, values) = self.values(field);
        match kind {
            None => false,
            Some(FieldType::Date) => {
                let bounds = text_of(value).map(|text| {
                    let bound = |round_up| {
                        resolve(
                            &text,
                            self.now_ms(),
                            &Formats::default(),
                            &Zone::default(),
                            round_up,
                        )
                    };
                    (bound(false), bound(true))
                });
                let Some((Ok(low), Ok(high))) = bounds else {
                    return false;
                };
                values
                    .iter()
                    .any(|held| matches!(held, Held::Number(ms) if (low..=high).contains(ms)))
            }
            Some(FieldType::Long) => {
                let Some(number) = text_of(value).and_then(|text| whole(&text)) else {
                    return false;
                };
                values.contains(&Held::Number(number))
            }
            Some(FieldType::Keyword | FieldType::Text | FieldType::Flattened) => {
                let Some(text) = text_of(value) else {
                    return false;
                };
                any_text(&values, |held| equal(held, &text, ignore_case))
            }
        }
    }

    /// A predicate on the terms of a field of text.
    fn by_text(&self, term: &Term, fits: impl Fn(&str, bool, &str) -> bool) -> bool {
        let Some(value) = text_of(&term.value) else {
            return false;
        };
        let ignore_case = term.case_insensitive == Some(true);
        let (_, values) = self.values(&term.field);
        any_text(&values, |held| fits(&value, ignore_case, held))
    }

    fn range(&self, range: &Range) -> bool {
        let (kind, values) = self.values(&range.field);
        let low = range
            .gte
            .as_ref()
            .map(|bound| (bound, true))
            .or(range.gt.as_ref().map(|bound| (bound, false)));
        let high = range
            .lte
            .as_ref()
            .map(|bound| (bound, true))
            .or(range.lt.as_ref().map(|bound| (bound, false)));
        let owned = |bound: Option<(&Scalar, bool)>| {
            bound.and_then(|(bound, within)| Some((text_of(bound)?, within)))
        };
        let Ok(formats) = range
            .format
            .as_deref()
            .map_or_else(|| Ok(Formats::default()), Formats::parse)
        else {
            return false;
        };
        let Ok(zone) = range
            .time_zone
            .as_deref()
            .map_or_else(|| Ok(Zone::default()), Zone::parse)
        else {
            return false;
        };
        self.between(kind, &values, owned(low), owned(high), &formats, &zone)
    }

    fn between(
        &self,
        kind: Option<FieldType>,
        values: &[Held],
        low: Option<(String, bool)>,
        high: Option<(String, bool)>,
        formats: &Formats,
        zone: &Zone,
    ) -> bool {
        match kind {
            None => false,
            Some(FieldType::Date) => {
                // What a bound leaves open is filled so that `gt` and `lte` take in the whole of it.
                let bound = |bound: Option<(String, bool)>, round_up: bool| match bound {
                    None => Some(None),
                    Some((text, within)) => {
                        let ms = resolve(&text, self.now_ms(), formats, zone, round_up == within)
                            .ok()?;
                        Some(Some((ms, within)))
                    }
                };
                let (Some(low), Some(high)) = (bound(low, false), bound(high, true)) else {
                    return false;
                };
                any_number(values, |ms| above(ms, low) && below(ms, high))
            }
            Some(FieldType::Long) => {
                let bound = |bound: Option<(String, bool)>| match bound {
                    None => Some(None),
                    Some((text, within)) => text.parse::<f64>().ok().map(|_| Some((text, within))),
                };
                let (Some(low), Some(high)) = (bound(low), bound(high)) else {
                    return false;
                };
                any_number(values, |number| {
                    let compare = |text: &str| match whole(text) {
                        Some(bound) => number.cmp(&bound),
                        None => (number as f64).total_cmp(&text.parse().unwrap_or(f64::NAN)),
                    };
                    low.as_ref().is_none_or(|(text, within)| {
                        is_past(compare(text), Ordering::Greater, *within)
                    }) && high.as_ref().is_none_or(|(text, within)| {
                        is_past(compare(text), Ordering::Less, *within)
                    })
                })
            }
            Some(FieldType::Keyword | FieldType::Text | FieldType::Flattened) => {
                any_text(values, |held| {
                    low.as_ref().is_none_or(|(text, within)| {
                        is_past(held.cmp(text.as_str()), Ordering::Greater, *within)
                    }) && high.as_ref().is_none_or(|(text, within)| {
                        is_past(held.cmp(text.as_str()), Ordering::Less, *within)
                    })
                })
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.context.now_us.div_euclid(1_000)
    }

    fn matching(&self, field: &str, inner: &Match, last_is_prefix: bool) -> bool {
        let Some(query) = &inner.query else {
            return false;
        };
        let (kind, values) = self.values(field);
        if kind != Some(FieldType::Text) {
            if last_is_prefix && matches!(kind, Some(FieldType::Keyword | FieldType::Flattened)) {
                let text = text_of(query).unwrap_or_default();
                return any_text(&values, |held| held.starts_with(&text));
            }
            return match &inner.fuzziness {
                Some(fuzziness) => {
                    let text = text_of(query).unwrap_or_default();
                    let edits = allowed_edits(Some(fuzziness), &text);
                    any_text(&values, |held| {
                        distance(&text, held, inner.fuzzy_transpositions.unwrap_or(true)) <= edits
                    })
                }
                None => self.term(field, query, false),
            };
        }
        let text = text_of(query).unwrap_or_default();
        let asked: Vec<String> = tokens(&text).map(|token| token.text.into_owned()).collect();
        if asked.is_empty() {
            return inner.zero_terms_query.as_deref() == Some("all");
        }
        let last = asked.len() - 1;
        let goes_on = tokens(&text)
            .last()
            .is_some_and(|token| token.end == text.len());
        let last_is_prefix = last_is_prefix && goes_on;
        let is_there = |place: usize, word: &str| {
            any_text(&values, |held| {
                if last_is_prefix && place == last {
                    return held.starts_with(word);
                }
                match &inner.fuzziness {
                    None => held == word,
                    Some(fuzziness) => {
                        let swaps = inner.fuzzy_transpositions.unwrap_or(true);
                        distance(word, held, swaps) <= allowed_edits(Some(fuzziness), word)
                    }
                }
            })
        };
        let found = asked
            .iter()
            .enumerate()
            .filter(|(place, word)| is_there(*place, word))
            .count();
        enough(
            found,
            asked.len(),
            inner.operator,
            inner.minimum_should_match.as_ref(),
        )
    }

    fn phrase_clause(&self, inner: &MatchPhrase, last_is_prefix: bool) -> bool {
        let Some(text) = inner.query.as_ref().and_then(text_of) else {
            return false;
        };
        let all = inner.zero_terms_query.as_deref() == Some("all");
        self.phrase(&inner.field, &text, inner.slop.unwrap_or(0), last_is_prefix)
            .unwrap_or(all)
    }

    /// `None` where the text has no words.
    fn phrase(&self, field: &str, text: &str, slop: u64, last_is_prefix: bool) -> Option<bool> {
        let (kind, values) = self.values(field);
        if kind != Some(FieldType::Text) {
            if last_is_prefix && kind == Some(FieldType::Keyword) {
                return Some(any_text(&values, |held| held.starts_with(text)));
            }
            return Some(self.term(field, &Scalar::String(text.to_owned()), false));
        }
        let asked: Vec<String> = tokens(text).map(|token| token.text.into_owned()).collect();
        if asked.is_empty() {
            return None;
        }
        Some(values.iter().any(|held| match held {
            Held::Words(words) => has_phrase(words, &asked, slop, last_is_prefix),
            _ => false,
        }))
    }

    fn multi_match(&self, inner: &MultiMatch) -> bool {
        let fields = if inner.fields.is_empty() {
            expand("*")
        } else {
            inner
                .fields
                .iter()
                .flat_map(|field| expand(field))
                .collect()
        };
        let text = inner
            .matching
            .query
            .as_ref()
            .and_then(text_of)
            .unwrap_or_default();
        let slop = inner.slop.unwrap_or(0);
        let all = inner.matching.zero_terms_query.as_deref() == Some("all");
        match inner.kind.as_deref() {
            Some("phrase") => fields
                .iter()
                .any(|field| self.phrase(field, &text, slop, false).unwrap_or(all)),
            Some("phrase_prefix") => fields
                .iter()
                .any(|field| self.phrase(field, &text, slop, true).unwrap_or(all)),
            Some("bool_prefix") => fields
                .iter()
                .any(|field| self.matching(field, &inner.matching, true)),
            Some("cross_fields") => {
                let of_text = |field: &String| type_of(field) == Some(FieldType::Text);
                let (text_fields, others): (Vec<String>, Vec<String>) =
                    fields.into_iter().partition(of_text);
                let asked: Vec<String> =
                    tokens(&text).map(|token| token.text.into_owned()).collect();
                let found = asked.iter().filter(|word| {
                    text_fields
                        .iter()
                        .any(|field| self.term(field, &Scalar::String((*word).clone()), false))
                });
                let words = !asked.is_empty()
                    && enough(
                        found.count(),
                        asked.len(),
                        inner.matching.operator,
                        inner.matching.minimum_should_match.as_ref(),
                    );
                words
                    || others
                        .iter()
                        .any(|field| self.matching(field, &inner.matching, false))
            }
            _ => fields
                .iter()
                .any(|field| self.matching(field, &inner.matching, false)),
        }
    }

    fn query_string(&self, inner: &QueryString) -> bool {
        let fields = if !inner.fields.is_empty() {
            inner
                .fields
                .iter()
                .flat_map(|field| expand(field))
                .collect()
        } else {
            expand(inner.default_field.as_deref().unwrap_or("*"))
        };
        let scope = Scope {
            settings: inner,
            fields,
        };
        if let (Node::Bool(clauses), Some(spec)) = (&inner.tree, &inner.minimum_should_match) {
            return self.clauses(clauses, &scope, Some(spec)).unwrap_or(false);
        }
        self.node(&inner.tree, &scope).unwrap_or(false)
    }

    /// `None` where nothing is left of a clause, as of a word without letters.
    fn node(&self, node: &Node, scope: &Scope<'_>) -> Option<bool> {
        let in_fields = |field: &Option<String>| match field {
            None => scope.fields.clone(),
            Some(field) => expand(field),
        };
        let any = |field: &Option<String>, of: &dyn Fn(&str) -> Option<bool>| {
            let fields = in_fields(field);
            let found: Vec<bool> = fields.iter().filter_map(|field| of(field)).collect();
            if found.is_empty() && !fields.is_empty() {
                None
            } else {
                Some(found.contains(&true))
            }
        };
        match node {
            Node::Empty | Node::Unreadable(_) => Some(false),
            Node::All => Some(true),
            Node::Exists { field } => Some(self.exists(field)),
            Node::Boost(inner, _) => self.node(inner, scope),
            Node::Bool(clauses) => self.clauses(clauses, scope, None),
            Node::Word { field, text } => any(field, &|name| {
                if type_of(name) != Some(FieldType::Text) {
                    return Some(self.term(name, &Scalar::String(text.clone()), false));
                }
                let words = tokens(text).count();
                let alone =
                    std::ptr::eq(node, &raw const scope.settings.tree) && scope.fields.len() == 1;
                let matching = Match {
                    query: Some(Scalar::String(text.clone())),
                    operator: scope.settings.default_operator,
                    minimum_should_match: scope
                        .settings
                        .minimum_should_match
                        .clone()
                        .filter(|_| alone),
                    ..Match::default()
                };
                (words > 0).then(|| self.matching(name, &matching, false))
            }),
            Node::Phrase { field, text, slop } => {
                let slop = slop.or(scope.settings.phrase_slop).unwrap_or(0);
                any(field, &|name| self.phrase(name, text, slop, false))
            }
            Node::Prefix { field, text } => any(field, &|name| {
                let text = normal(name, text);
                Some(any_text(&self.values(name).1, |held| {
                    held.starts_with(&text)
                }))
            }),
            Node::Wildcard { field, pattern } => any(field, &|name| {
                if pattern == "*" {
                    return Some(self.exists(name));
                }
                let compiled = compile(&wildcard::to_regex(&normal(name, pattern), false))?;
                Some(any_text(&self.values(name).1, |held| {
                    compiled.is_match(held)
                }))
            }),
            Node::Regexp { field, expression } => any(field, &|name| {
                let compiled = compile(&regexp::to_regex(expression, false).ok()?)?;
                Some(any_text(&self.values(name).1, |held| {
                    compiled.is_match(held)
                }))
            }),
            Node::Fuzzy {
                field,
                text,
                distance: wanted,
            } => any(field, &|name| {
                let text = normal(name, text);
                let wanted = wanted.clone().map(Scalar::Number);
                let edits =
                    allowed_edits(wanted.as_ref().or(scope.settings.fuzziness.as_ref()), &text);
                Some(any_text(&self.values(name).1, |held| {
                    distance(&text, held, true) <= edits
                }))
            }),
            Node::Range { field, low, high } => any(field, &|name| {
                let normal_bound = |bound: &Option<(String, bool)>| {
                    bound
                        .as_ref()
                        .map(|(text, within)| (normal(name, text), *within))
                };
                let zone = scope
                    .settings
                    .time_zone
                    .as_deref()
                    .and_then(|zone| Zone::parse(zone).ok())
                    .unwrap_or_default();
                let (kind, values) = self.values(name);
                Some(self.between(
                    kind,
                    &values,
                    normal_bound(low),
                    normal_bound(high),
                    &Formats::default(),
                    &zone,
                ))
            }),
        }
    }

    fn clauses(&self, clauses: &[Part], scope: &Scope<'_>, spec: Option<&Scalar>) -> Option<bool> {
        let found = |node: &Node| Ok::<_, std::convert::Infallible>(self.node(node, scope));
        let Ok(results) = combined(clauses, found);
        if results.is_empty() {
            return None;
        }
        let of = |wanted: Occur| results.iter().filter(move |(occur, _)| *occur == wanted);
        let optional = of(Occur::Should).count();
        let found = of(Occur::Should).filter(|(_, found)| *found).count();
        let naturally = usize::from(of(Occur::Must).count() == 0 && optional > 0);
        let wanted = spec.map_or(0, |spec| minimum(spec, optional));
        Some(
            of(Occur::Must).all(|(_, found)| *found)
                && !of(Occur::MustNot).any(|(_, found)| *found)
                && found >= naturally.max(wanted),
        )
    }
}

/// Where the words of a query string are looked for.
struct Scope<'a> {
    settings: &'a QueryString,
    fields: Vec<String>,
}

/// The fields of a name or pattern, without its boost.
fn expand(field: &str) -> Vec<String> {
    let name = field.split('^').next().unwrap_or(field);
    if !name.contains('*') {
        return vec![name.to_owned()];
    }
    FIELDS
        .iter()
        .filter(|(field, _)| fits(name, field))
        .map(|(field, _)| (*field).to_owned())
        .collect()
}

/// A pattern as a field of text compares it.
fn normal(field: &str, text: &str) -> String {
    if type_of(field) == Some(FieldType::Text) {
        lower_case(text).into_owned()
    } else {
        text.to_owned()
    }
}

/// The leaves of a document under a dotted name, however it is nested.
fn collect<'v>(value: &'v Value, path: &str, all_below: bool, leaves: &mut Vec<&'v Value>) {
    match value {
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect(value, path, all_below, leaves)),
        Value::Object(entries) if path.is_empty() && all_below => {
            entries
                .values()
                .for_each(|value| collect(value, "", true, leaves));
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                match path.strip_prefix(name.as_str()) {
                    Some("") => collect(value, "", all_below, leaves),
                    Some(rest) => {
                        if let Some(rest) = rest.strip_prefix('.') {
                            collect(value, rest, all_below, leaves);
                        }
                    }
                    None => {}
                }
            }
        }
        Value::Null => {}
        leaf if path.is_empty() => leaves.push(leaf),
        _ => {}
    }
}

/// A leaf as its field's type reads it; `None` where it cannot.
fn hold(leaf: &Value, kind: FieldType) -> Option<Held> {
    let text = match leaf {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return None,
    };
    match kind {
        FieldType::Long => match leaf {
            Value::Bool(_) => None,
            _ => text
                .parse()
                .ok()
                .or_else(|| truncated(&text))
                .map(Held::Number),
        },
        FieldType::Date => Formats::default()
            .read(&text, &Zone::default(), false)
            .ok()
            .map(Held::Number),
        FieldType::Keyword | FieldType::Flattened => {
            (text.len() <= MAX_KEYWORD).then_some(Held::Term(text))
        }
        FieldType::Text => Some(Held::Words(
            tokens(&text).map(|token| token.text.into_owned()).collect(),
        )),
    }
}

/// A number with a fraction as a `long` stores it.
fn truncated(text: &str) -> Option<i64> {
    let number = text.parse::<f64>().ok()?;
    (number.abs() < 9e18).then_some(number.trunc() as i64)
}

/// A number that a `long` can equal.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

pub(super) fn text_of(scalar: &Scalar) -> Option<String> {
    match scalar {
        Scalar::Null => None,
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Number(number) => Some(number.0.clone()),
        Scalar::String(text) => Some(text.clone()),
    }
}

fn any_text(values: &[Held], fits: impl Fn(&str) -> bool) -> bool {
    values.iter().any(|held| match held {
        Held::Number(_) => false,
        Held::Term(text) => fits(text),
        Held::Words(words) => words.iter().any(|word| fits(word)),
    })
}

fn any_number(values: &[Held], fits: impl Fn(i64) -> bool) -> bool {
    values
        .iter()
        .any(|held| matches!(held, Held::Number(number) if fits(*number)))
}

fn above(number: i64, bound: Option<(i64, bool)>) -> bool {
    bound.is_none_or(|(bound, within)| is_past(number.cmp(&bound), Ordering::Greater, within))
}

fn below(number: i64, bound: Option<(i64, bool)>) -> bool {
    bound.is_none_or(|(bound, within)| is_past(number.cmp(&bound), Ordering::Less, within))
}

fn is_past(found: Ordering, wanted: Ordering, within: bool) -> bool {
    found == wanted || (within && found == Ordering::Equal)
}

fn equal(left: &str, right: &str, ignore_case: bool) -> bool {
    if ignore_case {
        left.eq_ignore_ascii_case(right)
    } else {
        left == right
    }
}

fn compile(expression: &str) -> Option<regex::Regex> {
    regex::Regex::new(expression).ok()
}
