//! A query's tree into a query of the index, clause by clause.

mod excluded;
mod lucene;
mod scoring;
mod sloppy;
mod terms;
mod text;
mod values;

use std::sync::Arc;
use std::time::Instant;

use mscp_log_core::query::ast::{Bool, Clause, Number, Query, Scalar};
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, Query as IndexQuery,
};
use tantivy::schema::Schema;

use super::error::EsError;
use super::target::Target;
use excluded::Excluded;
pub(crate) use scoring::FieldCounts;
use scoring::OfField;
pub(super) use terms::edits;
pub(super) use text::weighted_fields;
pub(super) use values::{date_value, scalar_text, wrong_date};

/// A query of the index.
pub(crate) type Compiled = Box<dyn IndexQuery>;

/// The deepest tree that is compiled.
const MAX_DEPTH: usize = 100;

/// The most clauses of one `bool` (as Elasticsearch's `indices.query.bool.max_clause_count` was).
const MAX_TERMS: usize = 65_536;

/// What compiling needs besides the query.
#[derive(Clone, Copy)]
pub(crate) struct Compiler<'a> {
    pub(crate) schema: &'a Schema,
    /// What `now` means, in milliseconds.
    pub(crate) now_ms: i64,
    /// When reading the dictionary stops.
    pub(crate) deadline: Option<Instant>,
    /// For scores.
    pub(crate) counts: &'a Arc<FieldCounts>,
}

/// Ways to make one query of many terms that change no document found.
const REWRITES: [&str; 6] = [
    "constant_score",
    "constant_score_auto",
    "constant_score_blended",
    "constant_score_boolean",
    "constant_score_filter",
    "scoring_boolean",
];

impl Compiler<'_> {
    /// A query of the terms of `target` with Elasticsearch's scores.
    fn scored(&self, target: &Target, query: impl IndexQuery) -> Compiled {
        Box::new(OfField {
            query: Box::new(query),
            field: target.field,
            counts: Arc::clone(self.counts),
        })
    }

    /// The query of the index that matches what `query` matches.
    pub(crate) fn compile(&self, query: &Query) -> Result<Compiled, EsError> {
        self.at_depth(query, 0)
    }

    /// The queries within `query`, itself too, that have names.
    pub(crate) fn named(&self, query: &Query) -> Result<Vec<(String, Compiled)>, EsError> {
        let mut named = Vec::new();
        if let Some(name) = &query.name {
            named.push((name.clone(), self.compile(query)?));
        }
        match &query.clause {
            Clause::Bool(clauses) => {
                let required = clauses.must.iter().chain(&clauses.filter);
                for clause in required.chain(&clauses.should).chain(&clauses.must_not) {
                    named.extend(self.named(clause)?);
                }
            }
            Clause::ConstantScore { filter } => named.extend(self.named(filter)?),
            _ => {}
        }
        Ok(named)
    }

    fn at_depth(&self, query: &Query, depth: usize) -> Result<Compiled, EsError> {
        if depth > MAX_DEPTH {
            return Err(EsError::refused_request(format!(
                "The nested depth of the query exceeds the maximum nested depth for queries set in [indices.query.bool.max_nested_depth] of [{MAX_DEPTH}]"
            )));
        }
        let compiled = self.clause(&query.clause, depth)?;
        boosted(compiled, query.boost.as_ref())
    }

    fn clause(&self, clause: &Clause, depth: usize) -> Result<Compiled, EsError> {
        if let Clause::Prefix(term)
        | Clause::Wildcard(term)
        | Clause::Regexp { term, .. }
        | Clause::Fuzzy { term, .. } = clause
            && let Some(rewrite) = &term.rewrite
        {
            if rewrite.starts_with("top_terms") {
                // What else is wrong is said first, as there.
                self.pattern(clause)?;
                return Err(EsError::unknown(format!(
                    "[rewrite] of [{rewrite}] is not supported, as it leaves out documents"
                )));
            }
            if !REWRITES.contains(&rewrite.as_str()) {
                return Err(EsError::create_query(format!(
                    "unknown rewrite_method [{rewrite}]"
                )));
            }
        }
        match clause {
            Clause::MatchAll => Ok(all()),
            Clause::MatchNone => Ok(none()),
            Clause::Match(matching) => self.match_words(matching, false),
            Clause::MatchBoolPrefix(matching) => self.match_words(matching, true),
            Clause::MatchPhrase(phrase) => self.match_phrase(phrase, false),
            Clause::MatchPhrasePrefix(phrase) => self.match_phrase(phrase, true),
            Clause::MultiMatch(multi) => self.multi_match(multi),
            Clause::Term(term) => self.term(term),
            Clause::Terms { field, values } => self.terms(field, values),
            Clause::Range(range) => self.range(range),
            Clause::Bool(clauses) => self.bool(clauses, depth),
            Clause::Exists { field } => self.exists(field),
            Clause::Prefix(_)
            | Clause::Wildcard(_)
            | Clause::Regexp { .. }
            | Clause::Fuzzy { .. } => self.pattern(clause),
            Clause::Ids { values } => {
                let values: Vec<Scalar> = values.iter().cloned().map(Scalar::String).collect();
                self.terms("_id", &values)
            }
            Clause::ConstantScore { filter } => Ok(constant(self.at_depth(filter, depth + 1)?)),
            Clause::QueryString(text) => self.query_string(text, false),
            Clause::SimpleQueryString(text) => self.query_string(text, true),
        }
    }

    /// Clauses of many terms; nothing of another.
    fn pattern(&self, clause: &Clause) -> Result<Compiled, EsError> {
        match clause {
            Clause::Prefix(term) => self.prefix(term),
            Clause::Wildcard(term) => self.wildcard(term),
            Clause::Regexp { term, flags, .. } => self.regexp(term, flags.as_deref()),
            Clause::Fuzzy {
                term,
                fuzziness,
                prefix_length,
                transpositions,
                ..
            } => self.fuzzy(term, fuzziness.as_ref(), *prefix_length, *transpositions),
            _ => Ok(none()),
        }
    }

    fn bool(&self, clauses: &Bool, depth: usize) -> Result<Compiled, EsError> {
        let mut parts = Vec::new();
        for query in &clauses.must {
            parts.push((Occur::Must, self.at_depth(query, depth + 1)?));
        }
        // In the order in which Elasticsearch finds what is wrong.
        for query in &clauses.must_not {
            parts.push((Occur::MustNot, self.at_depth(query, depth + 1)?));
        }
        for query in &clauses.should {
            parts.push((Occur::Should, self.at_depth(query, depth + 1)?));
        }
        for query in &clauses.filter {
            parts.push((Occur::Must, unscored(self.at_depth(query, depth + 1)?)));
        }
        let wanted = match &clauses.minimum_should_match {
            Some(spec) => minimum_should_match(clauses.should.len(), spec)?,
            None => 0,
        };
        Ok(combined(parts, wanted))
    }
}

/// Clauses together as Lucene combines them: `wanted` of those that should
/// match, at least one where nothing else must, all documents where only
/// something must not.
fn combined(parts: Vec<(Occur, Compiled)>, wanted: usize) -> Compiled {
    if parts.is_empty() {
        return all();
    }
    let mut parts: Vec<(Occur, Compiled)> = parts
        .into_iter()
        .map(|(occur, part)| match occur {
            Occur::MustNot => (occur, Box::new(Excluded(part)) as Compiled),
            _ => (occur, part),
        })
        .collect();
    let count = |wanted: Occur| parts.iter().filter(|(occur, _)| *occur == wanted).count();
    let (must, should) = (count(Occur::Must), count(Occur::Should));
    if must + should == 0 {
        // Nothing is optional, so nothing is asked of it.
        parts.push((Occur::Must, unscored(all())));
        return Box::new(BooleanQuery::new(parts));
    }
    if wanted > should {
        return none();
    }
    let least = if must == 0 && should > 0 {
        wanted.max(1)
    } else {
        wanted
    };
    if parts.len() == 1 && parts[0].0 != Occur::MustNot && least <= 1 {
        if let Some((_, only)) = parts.pop() {
            return only;
        }
        return none();
    }
    Box::new(BooleanQuery::with_minimum_required_clauses(parts, least))
}

/// How many of `optional` clauses must match by a `minimum_should_match`, by
/// the rules of Elasticsearch's reference: `2`, `-1`, `75%`, `-25%`, `3<90%`.
fn minimum_should_match(optional: usize, spec: &Scalar) -> Result<usize, EsError> {
    let text = scalar_text(spec);
    let total = i64::try_from(optional).unwrap_or(i64::MAX);
    let wanted = least_of(total, text.trim()).ok_or_else(|| EsError::number_format(&text))?;
    Ok(usize::try_from(wanted).unwrap_or(0))
}

fn least_of(total: i64, spec: &str) -> Option<i64> {
    if spec.contains('<') {
        let joined: String = spec.split('<').map(str::trim).collect::<Vec<_>>().join("<");
        let mut result = total;
        for condition in joined.split_whitespace() {
            let (bound, then) = condition.split_once('<')?;
            if total <= bound.parse::<i64>().ok()? {
                return Some(result);
            }
            // A condition within one has no meaning; Elasticsearch passes it over.
            result = least_of(total, then.split('<').next()?)?;
        }
        return Some(result);
    }
    let result = if let Some(percent) = spec.strip_suffix('%') {
        let percent = percent.parse::<i64>().ok()?;
        let share = total.checked_mul(percent)? / 100;
        if percent < 0 { total + share } else { share }
    } else {
        let count = spec.parse::<i64>().ok()?;
        if count < 0 {
            total.checked_add(count)?
        } else {
            count
        }
    };
    Some(result.max(0))
}

fn all() -> Compiled {
    Box::new(AllQuery)
}

fn none() -> Compiled {
    Box::new(EmptyQuery)
}

/// `query` with every score 1.
fn constant(query: Compiled) -> Compiled {
    Box::new(ConstScoreQuery::new(query, 1.0))
}

/// `query` with every score 0.
fn unscored(query: Compiled) -> Compiled {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

fn boosted(query: Compiled, boost: Option<&Number>) -> Result<Compiled, EsError> {
    let Some(boost) = boost else {
        return Ok(query);
    };
    let factor: f32 = boost
        .0
        .parse()
        .map_err(|_| EsError::number_format(&boost.0))?;
    if factor < 0.0 {
        return Err(EsError::refused_request(format!(
            "negative [boost] are not allowed in [{}], use a value between 0 and 1 to deboost",
            boost.0
        )));
    }
    Ok(Box::new(BoostQuery::new(query, factor)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[track_caller]
    fn check(optional: usize, spec: &str, expected: usize) {
        let found = minimum_should_match(optional, &Scalar::String(spec.to_owned())).unwrap();
        assert_eq!(found, expected, "{spec} of {optional}");
    }

    #[test]
    fn minimum_should_match_takes_every_form_of_the_reference() {
        check(5, "2", 2);
        check(5, "-2", 3);
        check(4, "75%", 3);
        check(5, "75%", 3);
        check(5, "-25%", 4);
        check(1, "-30%", 1);
        check(3, "3<90%", 3);
        check(4, "3<90%", 3);
        check(2, "2<-25% 9<-3", 2);
        check(8, "2<-25% 9<-3", 6);
        check(12, "2<-25% 9<-3", 9);
        check(2, "-9", 0);
        check(4, "2<1<3", 1);
        check(4, &format!("{}1", "-9<".repeat(300_000)), 0);
        assert!(minimum_should_match(2, &Scalar::String("many".to_owned())).is_err());
    }
}
