//! The tree of a query string: each word asks its own field, or all the
//! default ones.

use mscp_log_core::query::analyze::lower_case;
use mscp_log_core::query::ast::{Match, MatchPhrase, Operator, QueryString, Range, Scalar};
use mscp_log_core::query::lucene::{self, Node, Occur as NodeOccur};
use tantivy::query::Occur;

use super::super::super::schema::INDEX;
use super::super::error::EsError;
use super::super::target::{self, Kind, Target};
use super::terms::{can_be_similar, fuzziness_of, textual};
use super::text::{best_of, weighted, weighted_fields, words};
use super::{Compiled, Compiler, MAX_DEPTH, all, boosted, combined, minimum_should_match, none};

/// A query string and what its words ask.
struct Asked<'a> {
    text: &'a QueryString,
    fields: Vec<(String, f32)>,
    lenient: bool,
    /// It is a `simple_query_string`.
    simple: bool,
}

impl Asked<'_> {
    /// The words of a text in the query; without any it takes no part.
    fn words(&self, target: &Target, text: &str) -> Result<Vec<String>, EsError> {
        words("query_string", self.text.analyzer.as_deref(), target, text)
    }
}

impl Compiler<'_> {
    pub(super) fn query_string(
        &self,
        text: &QueryString,
        simple: bool,
    ) -> Result<Compiled, EsError> {
        let written: Vec<String> = if text.fields.is_empty() {
            text.default_field.iter().cloned().collect()
        } else {
            text.fields.clone()
        };
        let (fields, every) = weighted_fields(&written)?;
        let asked = Asked {
            text,
            fields,
            lenient: text.lenient.unwrap_or(every),
            simple,
        };
        Ok(self.node(&asked, &text.tree, 0, true)?.unwrap_or_else(none))
    }

    /// The query of a node; `None` where nothing is left of it, as of a word
    /// without letters, which then takes no part in what is around it.
    fn node(
        &self,
        asked: &Asked<'_>,
        node: &Node,
        depth: usize,
        top: bool,
    ) -> Result<Option<Compiled>, EsError> {
        if depth > MAX_DEPTH {
            return Err(EsError::query_shard(
                "the query string is nested too deeply",
            ));
        }
        match node {
            Node::Empty => Ok(Some(none())),
            Node::Unreadable(reason) => Err(EsError::query_shard(format!(
                "Failed to parse query [{}]: {reason}",
                asked.text.query
            ))),
            Node::All => Ok(Some(all())),
            Node::Exists { field } => self.exists(field).map(Some),
            Node::Word { field, text } => {
                // Of several fields each word is the best of them, and a
                // minimum has nothing to count.
                let counted = top && (field.is_some() || asked.fields.len() == 1);
                self.each(asked, field.as_deref(), |target, name| {
                    self.word(asked, target, name, text, counted)
                })
            }
            Node::Phrase { field, text, slop } => {
                let slop = slop.or(asked.text.phrase_slop);
                self.each(asked, field.as_deref(), |target, name| {
                    if asked.words(target, text)?.is_empty() {
                        return Ok(None);
                    }
                    let phrase = MatchPhrase {
                        field: name.to_owned(),
                        query: Some(Scalar::String(text.clone())),
                        slop,
                        analyzer: asked.text.analyzer.clone(),
                        ..MatchPhrase::default()
                    };
                    self.match_phrase(&phrase, false).map(Some)
                })
            }
            Node::Prefix { field, text } => self.each(asked, field.as_deref(), |target, name| {
                textual(target, name, "prefix")?;
                let analyzed = asked.text.analyze_wildcard == Some(true) && !asked.simple;
                if analyzed && target.kind == Kind::Text {
                    return self.words_and_prefix(asked, target, text);
                }
                Ok(Some(self.prefix_of(target, &normal(target, text), false)))
            }),
            Node::Wildcard { field, pattern } => {
                self.each(asked, field.as_deref(), |target, name| {
                    if pattern == "*" {
                        return self.exists(name).map(Some);
                    }
                    if name == INDEX {
                        return Err(EsError::query_shard(format!(
                            "Can only use wildcard queries on keyword, text and wildcard fields - not on [{INDEX}] which is of type [{INDEX}]"
                        )));
                    }
                    textual(target, name, "wildcard")?;
                    self.wildcard_of(target, &normal(target, pattern), false)
                        .map(Some)
                })
            }
            Node::Regexp { field, expression } => {
                self.each(asked, field.as_deref(), |target, name| {
                    textual(target, name, "regexp")?;
                    self.regexp_of(target, expression, false).map(Some)
                })
            }
            Node::Fuzzy {
                field,
                text,
                distance,
            } => self.each(asked, field.as_deref(), |target, name| {
                can_be_similar(target, name)?;
                let word = normal(target, text);
                let given = distance.clone().map(Scalar::Number);
                let fuzziness = given.as_ref().or(asked.text.fuzziness.as_ref());
                let distance = fuzziness_of(fuzziness, &word)?;
                Ok(Some(self.similar_to(target, &word, distance, None, None)))
            }),
            Node::Range { field, low, high } => {
                self.each(asked, field.as_deref(), |target, name| {
                    let range = self.bounds(asked, target, name, low.as_ref(), high.as_ref());
                    self.range(&range).map(Some)
                })
            }
            Node::Boost(inner, boost) => match self.node(asked, inner, depth + 1, top)? {
                Some(inner) => boosted(inner, Some(boost)).map(Some),
                None => Ok(None),
            },
            Node::Bool(clauses) => {
                let mut last = None;
                let parts = lucene::combined(clauses, |clause| {
                    let part = self.node(asked, clause, depth + 1, false)?;
                    if part.is_some() {
                        last = Some(clause);
                    }
                    Ok::<_, EsError>(part)
                })?;
                let parts: Vec<(Occur, Compiled)> = parts
                    .into_iter()
                    .map(|(occur, part)| match occur {
                        NodeOccur::Must => (Occur::Must, part),
                        NodeOccur::Should => (Occur::Should, part),
                        NodeOccur::MustNot => (Occur::MustNot, part),
                    })
                    .collect();
                // What alone is left of a simple query is the whole of it.
                if let (true, [(Occur::Must | Occur::Should, _)], Some(only)) =
                    (asked.simple && top, parts.as_slice(), last)
                {
                    return self.node(asked, only, depth + 1, top);
                }
                // The simple syntax says not by a clause and all documents:
                // where the clause takes no part, nothing is left.
                let negated = matches!(
                    clauses.as_slice(),
                    [not, all] if not.occur == NodeOccur::MustNot && all.node == Node::All
                );
                if parts.is_empty() || (asked.simple && negated && parts.len() < clauses.len()) {
                    return Ok(None);
                }
                let optional = parts
                    .iter()
                    .filter(|(occur, _)| *occur == Occur::Should)
                    .count();
                let wanted = match &asked.text.minimum_should_match {
                    Some(spec) if top => minimum_should_match(optional, spec)?,
                    _ => 0,
                };
                Ok(Some(combined(parts, wanted)))
            }
        }
    }

    /// The words of a text of which the last one may go on, as `analyze_wildcard`
    /// has them.
    fn words_and_prefix(
        &self,
        asked: &Asked<'_>,
        target: &Target,
        text: &str,
    ) -> Result<Option<Compiled>, EsError> {
        let words = asked.words(target, text)?;
        let Some((last, whole)) = words.split_last() else {
            return Ok(None);
        };
        let occur = match asked.text.default_operator {
            Some(Operator::And) => Occur::Must,
            _ => Occur::Should,
        };
        let mut parts: Vec<(Occur, Compiled)> = whole
            .iter()
            .map(|word| (occur, self.text_word(target, word)))
            .collect();
        parts.push((occur, self.prefix_of(target, last, false)));
        Ok(Some(combined(parts, 0)))
    }

    /// What `make` gives for the field that is named, or for the best of the
    /// default ones.
    fn each(
        &self,
        asked: &Asked<'_>,
        named: Option<&str>,
        make: impl Fn(&Target, &str) -> Result<Option<Compiled>, EsError>,
    ) -> Result<Option<Compiled>, EsError> {
        let (fields, lenient) = match named {
            Some(name) if name.contains('*') => {
                let fields = target::expand(name);
                (
                    fields.into_iter().map(|f| (f.to_owned(), 1.0)).collect(),
                    true,
                )
            }
            Some(name) => (vec![(name.to_owned(), 1.0)], asked.lenient),
            None => (asked.fields.clone(), asked.lenient),
        };
        let mut parts = Vec::with_capacity(fields.len());
        let mut left = fields.is_empty();
        for (name, boost) in &fields {
            let Some(target) = target::resolve(self.schema, name) else {
                left = true;
                continue;
            };
            let part = match make(&target, name) {
                Err(_) if lenient => Some(none()),
                other => other?,
            };
            if let Some(part) = part {
                left = true;
                parts.push(weighted(part, *boost));
            }
        }
        Ok(left.then(|| best_of(parts, 0.0)))
    }

    fn word(
        &self,
        asked: &Asked<'_>,
        target: &Target,
        name: &str,
        text: &str,
        counted: bool,
    ) -> Result<Option<Compiled>, EsError> {
        let words = asked.words(target, text)?.len();
        if words == 0 {
            return Ok(None);
        }
        let all = asked.text.default_operator == Some(Operator::And);
        if let Some(spec) = &asked.text.minimum_should_match
            && (asked.simple && counted && all && words > 1)
            && minimum_should_match(0, spec)? > 0
        {
            // None of the words may be missing, so none of them is counted.
            return Ok(Some(none()));
        }
        let matching = Match {
            field: name.to_owned(),
            query: Some(Scalar::String(text.to_owned())),
            operator: asked.text.default_operator.or(Some(Operator::Or)),
            analyzer: asked.text.analyzer.clone(),
            minimum_should_match: asked.text.minimum_should_match.clone().filter(|_| counted),
            ..Match::default()
        };
        self.match_words(&matching, false).map(Some)
    }

    fn bounds(
        &self,
        asked: &Asked<'_>,
        target: &Target,
        name: &str,
        low: Option<&(String, bool)>,
        high: Option<&(String, bool)>,
    ) -> Range {
        let mut range = Range {
            field: name.to_owned(),
            ..Range::default()
        };
        if target.kind == Kind::Date {
            range.time_zone.clone_from(&asked.text.time_zone);
        }
        if let Some((text, within)) = low {
            let value = Some(Scalar::String(normal(target, text)));
            if *within {
                range.gte = value;
            } else {
                range.gt = value;
            }
        }
        if let Some((text, within)) = high {
            let value = Some(Scalar::String(normal(target, text)));
            if *within {
                range.lte = value;
            } else {
                range.lt = value;
            }
        }
        range
    }
}

/// A part of a word as the field's analyzer leaves it: text fields know lower
/// case only.
fn normal(target: &Target, text: &str) -> String {
    if target.kind == Kind::Text {
        return lower_case(text).into_owned();
    }
    text.to_owned()
}
