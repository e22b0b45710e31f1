//! Which words, or whole keywords, a query asks for.

use std::ops::Range;
use std::sync::Arc;

use mscp_log_core::field::{FieldType, type_of};
use mscp_log_core::query::analyze::{lower_case, tokens};
use mscp_log_core::query::ast::{Clause, Match, Query, QueryString, Scalar, Term};
use mscp_log_core::query::lucene::{Node, Occur};
use mscp_log_core::query::wildcard::fits;
use mscp_log_core::query::{allowed_edits, regexp, wildcard};

use super::super::compile::{edits, scalar_text, weighted_fields};
use super::super::error::EsError;

/// How many words a phrase that may be moved has, and how far they are moved,
/// at most; more are not marked.
const MAX_SLOP: usize = 16;

/// What marks a word.
type WordTest = Arc<dyn Fn(&str) -> bool>;

/// See the module.
#[derive(Default)]
pub(super) struct Marks {
    /// Any word, or whole keyword, that passes.
    words: Vec<WordTest>,
    /// Words one behind the other.
    phrases: Vec<Phrase>,
}

struct Phrase {
    words: Vec<String>,
    slop: u64,
    last_is_prefix: bool,
}

impl Marks {
    /// What `query` asks of `field`, or with `None` of any field.
    pub(super) fn of(query: &Query, field: Option<&str>, is_text: bool) -> Result<Self, EsError> {
        let mut gathering = Gathering {
            field,
            is_text,
            marks: Self::default(),
        };
        gathering.query(query)?;
        Ok(gathering.marks)
    }

    /// The byte ranges of `text` that are asked for, in their order.
    pub(super) fn spans(&self, text: &str, is_text: bool) -> Vec<(usize, usize)> {
        if !is_text {
            let whole = self.words.iter().any(|test| test(text)) && !text.is_empty();
            return whole.then_some((0, text.len())).into_iter().collect();
        }
        let words: Vec<_> = tokens(text).collect();
        let mut spans: Vec<(usize, usize)> = words
            .iter()
            .filter(|word| self.words.iter().any(|test| test(&word.text)))
            .map(|word| (word.start, word.end))
            .collect();
        // A phrase is one mark, as Elasticsearch has it from 8.10 on.
        let texts: Vec<String> = words.iter().map(|word| word.text.to_string()).collect();
        for phrase in &self.phrases {
            for places in phrase.found(&texts) {
                spans.push((words[places.start].start, words[places.end - 1].end));
            }
        }
        spans.sort_unstable();
        spans.dedup();
        spans
    }
}

impl Phrase {
    /// Where the phrase is in `texts`. Of one that may be moved, the shortest
    /// parts that have all its words near enough.
    fn found(&self, texts: &[String]) -> Vec<Range<usize>> {
        let is = |place: usize, text: &String| {
            let wanted = &self.words[place];
            if self.last_is_prefix && place + 1 == self.words.len() {
                text.starts_with(wanted.as_str())
            } else {
                text == wanted
            }
        };
        let mut found = Vec::new();
        if self.words.is_empty() || (self.slop > 0 && self.words.len() > MAX_SLOP) {
            return found;
        }
        let slop = usize::try_from(self.slop).unwrap_or(usize::MAX);
        let reach = self.words.len().saturating_add(slop.min(MAX_SLOP));
        let holds = |part: &[String]| {
            (0..self.words.len()).all(|place| part.iter().any(|text| is(place, text)))
        };
        let mut start = 0;
        while start < texts.len() {
            let window = &texts[start..texts.len().min(start.saturating_add(reach))];
            let here = if slop == 0 {
                let all = window.len() == self.words.len()
                    && window
                        .iter()
                        .enumerate()
                        .all(|(place, text)| is(place, text));
                all.then_some(window.len())
            } else {
                let mut missing: Vec<usize> = (0..self.words.len()).collect();
                let shortest = window.iter().position(|text| {
                    missing.retain(|place| !is(*place, text));
                    missing.is_empty()
                });
                // What holds all without its first word begins later.
                shortest
                    .map(|last| last + 1)
                    .filter(|end| !holds(&window[1..*end]))
            };
            match here {
                Some(length) => {
                    found.push(start..start + length);
                    start += length;
                }
                None => start += 1,
            }
        }
        found
    }
}

struct Gathering<'a> {
    field: Option<&'a str>,
    is_text: bool,
    marks: Marks,
}

impl Gathering<'_> {
    fn asks(&self, field: &str) -> bool {
        self.field
            .is_none_or(|own| own == field || (field.contains('*') && fits(field, own)))
    }

    fn test(&mut self, test: impl Fn(&str) -> bool + 'static) {
        self.marks.words.push(Arc::new(test));
    }

    /// Words of a range of `field`, which has texts; each bound is said to be
    /// within or not.
    fn between(&mut self, field: &str, low: Option<(String, bool)>, high: Option<(String, bool)>) {
        let has_texts = !matches!(
            type_of(field),
            None | Some(FieldType::Date | FieldType::Long)
        );
        if !has_texts || (low.is_none() && high.is_none()) {
            return;
        }
        self.test(move |word| {
            let above = |(bound, within): &(String, bool)| {
                word > bound.as_str() || (*within && word == bound)
            };
            let below = |(bound, within): &(String, bool)| {
                word < bound.as_str() || (*within && word == bound)
            };
            low.as_ref().is_none_or(above) && high.as_ref().is_none_or(below)
        });
    }

    fn query(&mut self, query: &Query) -> Result<(), EsError> {
        match &query.clause {
            Clause::Bool(clauses) => {
                let all = clauses.must.iter().chain(&clauses.filter);
                for clause in all.chain(&clauses.should) {
                    self.query(clause)?;
                }
            }
            Clause::ConstantScore { filter } => self.query(filter)?,
            Clause::Match(matching) if self.asks(&matching.field) => self.matching(matching, false),
            Clause::MatchBoolPrefix(matching) if self.asks(&matching.field) => {
                self.matching(matching, true);
            }
            Clause::MatchPhrase(phrase) if self.asks(&phrase.field) => {
                self.phrase(phrase.query.as_ref(), phrase.slop, false);
            }
            Clause::MatchPhrasePrefix(phrase) if self.asks(&phrase.field) => {
                self.phrase(phrase.query.as_ref(), phrase.slop, true);
            }
            Clause::MultiMatch(multi) => {
                let (fields, _) = weighted_fields(&multi.fields)?;
                if fields.iter().any(|(field, _)| self.asks(field)) {
                    let query = multi.matching.query.as_ref();
                    match multi.kind.as_deref() {
                        Some("phrase") => self.phrase(query, multi.slop, false),
                        Some("phrase_prefix") => self.phrase(query, multi.slop, true),
                        Some("bool_prefix") => self.matching(&multi.matching, true),
                        _ => self.matching(&multi.matching, false),
                    }
                }
            }
            Clause::Term(term) if self.asks(&term.field) => {
                let fold = term.case_insensitive == Some(true);
                self.exactly(scalar_text(&term.value), fold);
            }
            Clause::Terms { field, values } if self.asks(field) => {
                for value in values {
                    self.exactly(scalar_text(value), false);
                }
            }
            Clause::Range(range) if self.asks(&range.field) => {
                let bound = |within: &Option<Scalar>, without: &Option<Scalar>| {
                    let given = |bound: &Option<Scalar>, is_within| match bound {
                        None | Some(Scalar::Null) => None,
                        Some(value) => Some((scalar_text(value), is_within)),
                    };
                    given(within, true).or(given(without, false))
                };
                let low = bound(&range.gte, &range.gt);
                self.between(&range.field, low, bound(&range.lte, &range.lt));
            }
            Clause::Prefix(term) if self.asks(&term.field) => {
                let text = scalar_text(&term.value);
                let fold = term.case_insensitive == Some(true);
                self.test(move |word| {
                    word.get(..text.len()).is_some_and(|head| {
                        head == text || (fold && head.eq_ignore_ascii_case(&text))
                    })
                });
            }
            Clause::Wildcard(term) if self.asks(&term.field) => self.wildcard(term)?,
            Clause::Regexp { term, .. } if self.asks(&term.field) => {
                let fold = term.case_insensitive == Some(true);
                self.regexp(&scalar_text(&term.value), fold)?;
            }
            Clause::Fuzzy {
                term,
                fuzziness,
                transpositions,
                ..
            } if self.asks(&term.field) => {
                let text = scalar_text(&term.value);
                self.similar(&text, fuzziness.as_ref(), transpositions.unwrap_or(true));
            }
            Clause::QueryString(text) | Clause::SimpleQueryString(text) => {
                let written: Vec<String> = if text.fields.is_empty() {
                    text.default_field.iter().cloned().collect()
                } else {
                    text.fields.clone()
                };
                let (fields, _) = weighted_fields(&written)?;
                let by_default = fields.iter().any(|(field, _)| self.asks(field));
                self.node(&text.tree, text, by_default)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn matching(&mut self, matching: &Match, prefix: bool) {
        let Some(query) = &matching.query else { return };
        let text = scalar_text(query);
        if !self.is_text {
            return self.exactly(text, false);
        }
        let words: Vec<String> = tokens(&text).map(|t| t.text.into_owned()).collect();
        let count = words.len();
        for (place, word) in words.into_iter().enumerate() {
            if prefix && place + 1 == count {
                self.test(move |text| text.starts_with(&word));
            } else if matching.fuzziness.is_some() {
                let swaps = matching.fuzzy_transpositions.unwrap_or(true);
                self.similar(&word, matching.fuzziness.as_ref(), swaps);
            } else {
                self.exactly(word, false);
            }
        }
    }

    fn phrase(&mut self, query: Option<&Scalar>, slop: Option<u64>, last_is_prefix: bool) {
        let text = query.map(scalar_text).unwrap_or_default();
        if !self.is_text {
            return self.exactly(text, false);
        }
        self.marks.phrases.push(Phrase {
            words: tokens(&text).map(|t| t.text.into_owned()).collect(),
            slop: slop.unwrap_or(0),
            last_is_prefix,
        });
    }

    fn exactly(&mut self, text: String, fold: bool) {
        self.test(move |word| word == text || (fold && word.eq_ignore_ascii_case(&text)));
    }

    fn similar(&mut self, text: &str, fuzziness: Option<&Scalar>, swaps: bool) {
        let allowed = allowed_edits(fuzziness, text);
        // Not `distance`, whose table would be as large as both texts together
        // are long: nobody says how long either is.
        let wanted: Vec<char> = text.chars().collect();
        self.test(move |word| edits(&wanted, word, allowed, swaps));
    }

    fn wildcard(&mut self, term: &Term) -> Result<(), EsError> {
        let fold = term.case_insensitive == Some(true);
        self.pattern(&wildcard::to_regex(&scalar_text(&term.value), fold))
    }

    fn regexp(&mut self, expression: &str, fold: bool) -> Result<(), EsError> {
        let regex = regexp::to_regex(expression, fold).map_err(EsError::illegal_argument)?;
        self.pattern(&regex)
    }

    fn pattern(&mut self, regex: &str) -> Result<(), EsError> {
        let regex = regex::RegexBuilder::new(regex)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| EsError::illegal_argument(error.to_string()))?;
        self.test(move |word| regex.is_match(word));
        Ok(())
    }

    fn node(&mut self, node: &Node, text: &QueryString, by_default: bool) -> Result<(), EsError> {
        let field = match node {
            Node::Word { field, .. }
            | Node::Phrase { field, .. }
            | Node::Prefix { field, .. }
            | Node::Wildcard { field, .. }
            | Node::Regexp { field, .. }
            | Node::Range { field, .. }
            | Node::Fuzzy { field, .. } => field.as_deref(),
            Node::Bool(clauses) => {
                for part in clauses.iter().filter(|part| part.occur != Occur::MustNot) {
                    self.node(&part.node, text, by_default)?;
                }
                return Ok(());
            }
            Node::Boost(inner, _) => return self.node(inner, text, by_default),
            Node::Empty | Node::All | Node::Unreadable(_) | Node::Exists { .. } => return Ok(()),
        };
        if !field.map_or(by_default, |field| self.asks(field)) {
            return Ok(());
        }
        match node {
            Node::Range { low, high, .. } => {
                let field = field.or(self.field).unwrap_or("message").to_owned();
                let as_field = |bound: &Option<(String, bool)>| {
                    let (text, within) = bound.as_ref()?;
                    let text = match type_of(&field) {
                        Some(FieldType::Text) => lower_case(text).into_owned(),
                        _ => text.clone(),
                    };
                    Some((text, *within))
                };
                self.between(&field, as_field(low), as_field(high));
            }
            Node::Word { text: word, .. } => {
                let matching = Match {
                    query: Some(Scalar::String(word.clone())),
                    ..Match::default()
                };
                self.matching(&matching, false);
            }
            Node::Phrase {
                text: words, slop, ..
            } => {
                let query = Scalar::String(words.clone());
                self.phrase(Some(&query), slop.or(text.phrase_slop), false);
            }
            Node::Prefix { text: head, .. } => {
                let head = self.normal(head);
                self.test(move |word| word.starts_with(&head));
            }
            Node::Wildcard { pattern, .. } => {
                let regex = wildcard::to_regex(&self.normal(pattern), false);
                self.pattern(&regex)?;
            }
            Node::Regexp { expression, .. } => self.regexp(expression, false)?,
            Node::Fuzzy {
                text: word,
                distance,
                ..
            } => {
                let given = distance.clone().map(Scalar::Number);
                let fuzziness = given.as_ref().or(text.fuzziness.as_ref());
                self.similar(&self.normal(word), fuzziness, true);
            }
            _ => {}
        }
        Ok(())
    }

    fn normal(&self, text: &str) -> String {
        if self.is_text {
            lower_case(text).into_owned()
        } else {
            text.to_owned()
        }
    }
}
