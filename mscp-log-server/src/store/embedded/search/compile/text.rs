//! Full text: `match` and its relatives, and `multi_match`.

use std::sync::Arc;

use mscp_log_core::query::analyze::{lower_case, tokens};
use mscp_log_core::query::ast::{Match, MatchPhrase, MultiMatch, Operator, Scalar};
use tantivy::Term as IndexTerm;
use tantivy::query::{
    BoostQuery, DisjunctionMaxQuery, Occur, PhrasePrefixQuery, PhraseQuery, TermQuery,
};
use tantivy::schema::IndexRecordOption;

use super::super::super::schema::INDEX;
use super::super::error::EsError;
use super::super::target::{self, Kind, Target};
use super::sloppy::Sloppy;
use super::terms::{can_be_similar, edits, fuzziness_of, shown_type};
use super::values::scalar_text;
use super::{Compiled, Compiler, all, combined, minimum_should_match, none, unscored};

/// How many terms the last word of a phrase prefix expands to.
const MAX_EXPANSIONS: u64 = 50;

impl Compiler<'_> {
    /// `match`, and with `prefix` `match_bool_prefix`.
    pub(super) fn match_words(&self, matching: &Match, prefix: bool) -> Result<Compiled, EsError> {
        if let Some(fuzziness) = &matching.fuzziness {
            // A wrong one is an error even where nothing is compared.
            fuzziness_of(Some(fuzziness), "")?;
        }
        let Some(target) = target::resolve(self.schema, &matching.field) else {
            return Ok(none());
        };
        let query = matching.query.as_ref().unwrap_or(&Scalar::Null);
        let text = scalar_text(query);
        let what = if prefix { "match_bool_prefix" } else { "match" };
        let words = words(what, matching.analyzer.as_deref(), &target, &text)?;
        let lenient = matching.lenient.unwrap_or(false);
        if words.is_empty() {
            return Ok(match matching.zero_terms_query.as_deref() {
                Some("all") => all(),
                _ => none(),
            });
        }
        let last = words.len() - 1;
        let prefix = prefix && (target.kind != Kind::Text || ends_in_a_word(&text));
        let mut parts = Vec::with_capacity(words.len());
        let occur = match matching.operator {
            Some(Operator::And) => Occur::Must,
            _ => Occur::Should,
        };
        for (place, word) in words.into_iter().enumerate() {
            let part = if prefix && place == last && begins(&target, &matching.field) {
                Ok(self.prefix_of(&target, &word, false))
            } else if let Some(fuzziness) = &matching.fuzziness {
                let distance = fuzziness_of(Some(fuzziness), &word)?;
                can_be_similar(&target, &matching.field).map(|()| {
                    self.similar_to(
                        &target,
                        &word,
                        distance,
                        matching.prefix_length,
                        matching.fuzzy_transpositions,
                    )
                })
            } else {
                self.whole(&target, &matching.field, word)
            };
            parts.push((occur, self.lenient(lenient, part)?));
        }
        let wanted = match (&matching.minimum_should_match, occur) {
            // One word is no choice, so nothing is asked of it.
            (Some(spec), Occur::Should) if parts.len() > 1 => {
                minimum_should_match(parts.len(), spec)?
            }
            _ => 0,
        };
        Ok(combined(parts, wanted))
    }

    /// `match_phrase`, and with `prefix` `match_phrase_prefix`.
    pub(super) fn match_phrase(
        &self,
        phrase: &MatchPhrase,
        prefix: bool,
    ) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &phrase.field) else {
            return Ok(none());
        };
        let text = phrase.query.as_ref().map(scalar_text).unwrap_or_default();
        let (what, shown) = if prefix {
            ("match_phrase_prefix", "phrase prefix")
        } else {
            ("match_phrase", "phrase")
        };
        let mut words = words(what, phrase.analyzer.as_deref(), &target, &text)?;
        if prefix && words.len() > 1 && phrase.slop.is_some_and(|slop| slop > 0) {
            return Err(EsError::unknown(
                "[match_phrase_prefix] with a [slop] is not supported",
            ));
        }
        if target.kind != Kind::Text {
            if prefix || words.len() > 1 {
                return Err(EsError::create_query(format!(
                    "Can only use {shown} queries on text fields - not on [{}] which is of type [{}]",
                    phrase.field,
                    shown_type(&target, &phrase.field)
                )));
            }
            return match words.pop() {
                Some(word) => self.whole(&target, &phrase.field, word),
                None => Ok(none()),
            };
        }
        if phrase.zero_terms_query.as_deref() == Some("all") && words.is_empty() {
            return Ok(all());
        }
        if prefix {
            return Ok(self.phrase_prefix(&target, &words, phrase.max_expansions));
        }
        Ok(self.phrase(&target, &words, phrase.slop))
    }

    /// A value that is just `word`.
    fn whole(&self, target: &Target, field: &str, word: String) -> Result<Compiled, EsError> {
        if field == "_id" && word.is_empty() {
            return Err(EsError::create_query("Ids can't be empty"));
        }
        self.exact(target, &Scalar::String(word))
    }

    /// The words of `text`, one behind the other.
    fn phrase(&self, target: &Target, words: &[String], slop: Option<u64>) -> Compiled {
        let mut words = placed_terms(target, words);
        match words.len() {
            0 => none(),
            1 => words
                .pop()
                .map_or_else(none, |(_, term)| self.one_word(target, term)),
            _ => {
                let slop = u32::try_from(slop.unwrap_or(0)).unwrap_or(u32::MAX);
                if slop == 0 {
                    return self.scored(target, PhraseQuery::new_with_offset(words));
                }
                let mut parts: Vec<(Occur, Compiled)> = words
                    .iter()
                    .map(|(_, term)| (Occur::Must, self.one_word(target, term.clone())))
                    .collect();
                let near = Sloppy {
                    words,
                    slop,
                    deadline: self.deadline,
                };
                parts.push((Occur::Must, unscored(Box::new(near))));
                combined(parts, 0)
            }
        }
    }

    fn phrase_prefix(
        &self,
        target: &Target,
        words: &[String],
        expansions: Option<u64>,
    ) -> Compiled {
        match words {
            [] => return none(),
            [only] => return self.prefix_of(target, only, false),
            _ => {}
        }
        let mut query = PhrasePrefixQuery::new_with_offset(placed_terms(target, words));
        let expansions = expansions.unwrap_or(MAX_EXPANSIONS);
        query.set_max_expansions(u32::try_from(expansions).unwrap_or(u32::MAX));
        self.scored(target, query)
    }

    /// One word of a text field.
    pub(super) fn text_word(&self, target: &Target, word: &str) -> Compiled {
        self.one_word(target, IndexTerm::from_field_text(target.field, word))
    }

    fn one_word(&self, target: &Target, term: IndexTerm) -> Compiled {
        self.scored(target, TermQuery::new(term, IndexRecordOption::WithFreqs))
    }

    /// `multi_match`
    pub(super) fn multi_match(&self, multi: &MultiMatch) -> Result<Compiled, EsError> {
        let (fields, every) = weighted_fields(&multi.fields)?;
        let kind = multi.kind.as_deref().unwrap_or("best_fields");
        if kind == "cross_fields" {
            return self.cross_fields(multi, &fields, every);
        }
        let mut parts = Vec::with_capacity(fields.len());
        for (field, boost) in &fields {
            let mut matching = multi.matching.clone();
            matching.field.clone_from(field);
            if every && matching.lenient.is_none() {
                matching.lenient = Some(true);
            }
            let phrase = MatchPhrase {
                field: field.clone(),
                query: matching.query.clone(),
                slop: multi.slop,
                max_expansions: matching.max_expansions,
                zero_terms_query: matching.zero_terms_query.clone(),
                analyzer: matching.analyzer.clone(),
            };
            let lenient = matching.lenient.unwrap_or(false);
            let part = match kind {
                "best_fields" | "most_fields" => self.match_words(&matching, false),
                "bool_prefix" => self.match_words(&matching, true),
                "phrase" => self.lenient(lenient, self.match_phrase(&phrase, false)),
                "phrase_prefix" => self.lenient(lenient, self.match_phrase(&phrase, true)),
                _ => {
                    return Err(EsError::unknown(format!(
                        "[multi_match] of type [{kind}] is not supported"
                    )));
                }
            }?;
            parts.push(weighted(part, *boost));
        }
        let usual = if kind == "most_fields" || kind == "bool_prefix" {
            1.0
        } else {
            0.0
        };
        Ok(best_of(parts, tie_breaker(multi, usual)?))
    }

    /// `multi_match` as if its fields were one: each word may lie in any of
    /// those that are analyzed alike. `message` is the only field of words, so
    /// the words are all asked of it, and of any other field the whole text.
    fn cross_fields(
        &self,
        multi: &MultiMatch,
        fields: &[(String, f32)],
        every: bool,
    ) -> Result<Compiled, EsError> {
        let query = multi.matching.query.as_ref().unwrap_or(&Scalar::Null);
        let lenient = multi.matching.lenient.unwrap_or(every);
        let mut parts = Vec::with_capacity(fields.len());
        for (field, boost) in fields {
            let Some(target) = target::resolve(self.schema, field) else {
                continue;
            };
            if multi.matching.analyzer.is_some() && target.kind != Kind::Text {
                return Err(EsError::unknown(format!(
                    "[cross_fields] with an [analyzer] of words is not supported on [{field}]"
                )));
            }
            let part = if target.kind == Kind::Text {
                let mut matching = multi.matching.clone();
                matching.field.clone_from(field);
                self.match_words(&matching, false)?
            } else {
                self.lenient(lenient, self.exact(&target, query))?
            };
            parts.push(weighted(part, *boost));
        }
        let tie_breaker = tie_breaker(multi, 0.0)?;
        Ok(best_of(parts, tie_breaker))
    }

    /// What a query of a wrong type becomes: nothing where that is asked for.
    pub(super) fn lenient(
        &self,
        lenient: bool,
        query: Result<Compiled, EsError>,
    ) -> Result<Compiled, EsError> {
        match query {
            Err(_) if lenient => Ok(none()),
            other => other,
        }
    }

    /// Terms within `distance` edits of `text`.
    pub(super) fn similar_to(
        &self,
        target: &Target,
        text: &str,
        distance: usize,
        prefix_length: Option<u64>,
        transpositions: Option<bool>,
    ) -> Compiled {
        let kept = usize::try_from(prefix_length.unwrap_or(0)).unwrap_or(usize::MAX);
        let head: String = text.chars().take(kept).collect();
        let wanted: Vec<char> = text.chars().collect();
        // To nothing only nothing is similar, as in Lucene.
        let distance = if wanted.is_empty() { 0 } else { distance };
        let swaps = transpositions.unwrap_or(true);
        let begin = head.clone();
        let test =
            move |term: &str| term.starts_with(&begin) && edits(&wanted, term, distance, swaps);
        self.passing(target, &head, Arc::new(test))
    }
}

/// Whether `match_bool_prefix` looks for beginnings of the values of a field;
/// otherwise for whole ones.
fn begins(target: &Target, field: &str) -> bool {
    let is_own = field == "_id" || field == INDEX;
    matches!(target.kind, Kind::Keyword | Kind::Id | Kind::Text) && !is_own
}

fn tie_breaker(multi: &MultiMatch, usual: f32) -> Result<f32, EsError> {
    match &multi.tie_breaker {
        Some(number) => number
            .0
            .parse()
            .map_err(|_| EsError::number_format(&number.0)),
        None => Ok(usual),
    }
}

fn placed_terms(target: &Target, words: &[String]) -> Vec<(usize, IndexTerm)> {
    let term = |word: &String| IndexTerm::from_field_text(target.field, word);
    words.iter().map(term).enumerate().collect()
}

/// Whether the last word of a text may go on: no sign stands behind it.
fn ends_in_a_word(text: &str) -> bool {
    tokens(text)
        .last()
        .is_some_and(|token| token.end == text.len())
}

/// The words of a text by the analyzer that is named, or by the field's own:
/// `standard` for text, the whole for all others. `what` is the query.
pub(super) fn words(
    what: &str,
    analyzer: Option<&str>,
    target: &Target,
    text: &str,
) -> Result<Vec<String>, EsError> {
    let own = match target.kind {
        Kind::Text => "standard",
        _ => "keyword",
    };
    Ok(match analyzer.unwrap_or(own) {
        "standard" | "default" => tokens(text).map(|token| token.text.into_owned()).collect(),
        "keyword" => vec![text.to_owned()],
        "whitespace" => text.split_whitespace().map(str::to_owned).collect(),
        "simple" => text
            .split(|character: char| !character.is_alphabetic())
            .filter(|word| !word.is_empty())
            .map(|word| lower_case(word).into_owned())
            .collect(),
        other => {
            return Err(EsError::query_shard(format!(
                "[{what}] analyzer [{other}] not found"
            )));
        }
    })
}

/// Names with `^boost` and `*` into fields and factors, and whether that is
/// every field there is (then values of a wrong type match nothing).
pub(crate) fn weighted_fields(written: &[String]) -> Result<(Vec<(String, f32)>, bool), EsError> {
    let mut fields = Vec::new();
    let mut every = written.is_empty();
    let whole = ["*".to_owned()];
    let written = if written.is_empty() { &whole } else { written };
    for entry in written {
        let (name, boost) = match entry.rsplit_once('^') {
            Some((name, boost)) => (
                name,
                boost.parse().map_err(|_| EsError::number_format(boost))?,
            ),
            None => (entry.as_str(), 1.0),
        };
        if name.contains('*') {
            every |= name == "*";
            let matching = target::expand(name);
            fields.extend(matching.into_iter().map(|field| (field.to_owned(), boost)));
        } else {
            fields.push((name.to_owned(), boost));
        }
    }
    Ok((fields, every))
}

pub(super) fn weighted(query: Compiled, boost: f32) -> Compiled {
    if boost == 1.0 {
        return query;
    }
    Box::new(BoostQuery::new(query, boost))
}

/// Any of `parts`, scored by the best.
pub(super) fn best_of(mut parts: Vec<Compiled>, tie_breaker: f32) -> Compiled {
    match parts.len() {
        0 => none(),
        1 => parts.pop().unwrap_or_else(none),
        _ => Box::new(DisjunctionMaxQuery::with_tie_breaker(parts, tie_breaker)),
    }
}
