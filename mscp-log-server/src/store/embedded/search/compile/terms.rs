//! Clauses about whole terms: `term`, `terms`, `range`, `exists`, `prefix`,
//! `wildcard`, `regexp`, `fuzzy`.

use std::ops::Bound;
use std::sync::Arc;

use mscp_log_core::query::ast::{Range, Scalar, Term};
use mscp_log_core::query::{regexp, wildcard};
use tantivy::query::doc_predicate_query::{DocPredicateQuery, FunctionPredicate};
use tantivy::query::{ExistsQuery, FastFieldRangeQuery, TermQuery, TermSetQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, SegmentReader, Term as IndexTerm};

use super::super::super::ids::{DocumentId, IdColumn, ids_query};
use super::super::super::schema::{FLATTENED_SEPARATOR, HAS_MESSAGE, INDEX};
use super::super::collect::Within;
use super::super::error::EsError;
use super::super::target::{self, Kind, Target};
use super::super::term_scan::{TermScan, Test, prefix_end};
use super::text::best_of;
use super::values::{Dates, Whole, inside, scalar_text, whole};
use super::{Compiled, Compiler, MAX_TERMS, all, constant, none};

/// The largest compiled form of an expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A test of one text.
type TextTest = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Compiler<'_> {
    pub(super) fn term(&self, term: &Term) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &term.field) else {
            return Ok(none());
        };
        if term.case_insensitive == Some(true) {
            if !target.kind.is_text_like() {
                return Err(EsError::query_shard(format!(
                    "[{}] field which is of type [{}], does not support case insensitive term queries",
                    term.field,
                    type_name(&target)
                )));
            }
            let wanted = scalar_text(&term.value);
            let test: TextTest = if target.column == INDEX {
                let pattern = wanted.to_ascii_lowercase();
                Arc::new(move |name| wildcard::fits(&pattern, &name.to_ascii_lowercase()))
            } else {
                Arc::new(move |text| text.eq_ignore_ascii_case(&wanted))
            };
            return Ok(self.passing(&target, "", test));
        }
        if term.field == "_id" && scalar_text(&term.value).is_empty() {
            return Err(EsError::create_query("Ids can't be empty"));
        }
        self.exact(&target, &term.value)
    }

    /// Documents with just this value, as the field's type compares it.
    pub(super) fn exact(&self, target: &Target, value: &Scalar) -> Result<Compiled, EsError> {
        let text = scalar_text(value);
        Ok(match &target.kind {
            // Index names are patterns, wherever they are asked for.
            Kind::Keyword if target.column == INDEX && text.contains('*') => self.passing(
                target,
                "",
                Arc::new(move |name| wildcard::fits(&text, name)),
            ),
            Kind::Keyword => self.keyword(target, &text),
            Kind::Key(prefix) => {
                let mut term = prefix.clone();
                term.extend_from_slice(text.as_bytes());
                self.one_term(target, IndexTerm::from_field_bytes_as_text(target, &term))
            }
            // Not what ends so: a value may have the separator, too.
            Kind::AnyKey => self.passing(target, "", Arc::new(move |value| value == text)),
            Kind::Text => self.text_word(target, &text),
            Kind::Id => ids_query([DocumentId::new(&text)]),
            Kind::Long => match whole(value)? {
                Whole::Exact(number) => numbers(target, number, number),
                Whole::Between(_) | Whole::Outside => none(),
            },
            Kind::Date => {
                let dates = Dates::new(None, None, self.now_ms)?;
                numbers(
                    target,
                    dates.instant(value, false)?,
                    dates.instant(value, true)?,
                )
            }
        })
    }

    fn keyword(&self, target: &Target, text: &str) -> Compiled {
        self.one_term(target, IndexTerm::from_field_text(target.field, text))
    }

    fn one_term(&self, target: &Target, term: IndexTerm) -> Compiled {
        self.scored(target, TermQuery::new(term, IndexRecordOption::Basic))
    }

    pub(super) fn terms(&self, field: &str, values: &[Scalar]) -> Result<Compiled, EsError> {
        if values.len() > MAX_TERMS {
            return Err(EsError::illegal_argument(format!(
                "The number of terms [{}] used in the Terms Query request has exceeded the allowed maximum of [{MAX_TERMS}]. This maximum can be set by changing the [index.max_terms_count] index level setting.",
                values.len()
            )));
        }
        let Some(target) = target::resolve(self.schema, field) else {
            return Ok(none());
        };
        if values.is_empty() {
            return Ok(none());
        }
        if target.kind == Kind::Id {
            if field == "_id" && values.iter().any(|value| scalar_text(value).is_empty()) {
                return Err(EsError::create_query("Ids can't be empty"));
            }
            let ids = values.iter().map(|v| DocumentId::new(&scalar_text(v)));
            return Ok(constant(ids_query(ids)));
        }
        let is_set = matches!(target.kind, Kind::Keyword | Kind::Key(_) | Kind::Text);
        if is_set && target.column != INDEX {
            let prefix: &[u8] = match &target.kind {
                Kind::Key(prefix) => prefix,
                _ => b"",
            };
            let terms = values.iter().map(|value| {
                let mut term = prefix.to_vec();
                term.extend_from_slice(scalar_text(value).as_bytes());
                IndexTerm::from_field_bytes_as_text(&target, &term)
            });
            return Ok(constant(Box::new(TermSetQuery::new(terms))));
        }
        let part = |value| {
            if target.kind == Kind::Long {
                inside(value)?;
            }
            self.exact(&target, value)
        };
        let parts = values.iter().map(part).collect::<Result<_, _>>()?;
        Ok(constant(best_of(parts, 0.0)))
    }

    /// The numbers that a range is of; `None` where it is of something else, or
    /// has no bounds or nothing within them.
    pub(crate) fn within(&self, range: &Range) -> Result<Option<Within>, EsError> {
        let bounds = [&range.gt, &range.gte, &range.lt, &range.lte];
        let is_open = |bound: &Option<Scalar>| matches!(bound, None | Some(Scalar::Null));
        let target = target::resolve(self.schema, &range.field);
        match target {
            Some(target)
                if matches!(target.kind, Kind::Long | Kind::Date)
                    && !bounds.into_iter().all(is_open) =>
            {
                let bounds = self.numbers_of(range, &target)?;
                Ok(bounds.map(|(low, high)| Within::Bounds(target.column, low, high)))
            }
            _ => Ok(None),
        }
    }

    /// The least and the greatest number of a range; `None` where there is no
    /// number in it.
    fn numbers_of(&self, range: &Range, target: &Target) -> Result<Option<(i64, i64)>, EsError> {
        let given = |bound: &Option<Scalar>| bound.clone().filter(|value| *value != Scalar::Null);
        let (gt, gte) = (given(&range.gt), given(&range.gte));
        let (lt, lte) = (given(&range.lt), given(&range.lte));
        let mut low = i64::MIN;
        let mut high = i64::MAX;
        if target.kind == Kind::Long {
            if let Some(value) = &gte {
                match at_least(inside(value)?) {
                    Some(least) => low = low.max(least),
                    None => return Ok(None),
                }
            }
            if let Some(value) = &gt {
                match more_than(inside(value)?) {
                    Some(least) => low = low.max(least),
                    None => return Ok(None),
                }
            }
            if let Some(value) = &lte {
                match at_most(inside(value)?) {
                    Some(most) => high = high.min(most),
                    None => return Ok(None),
                }
            }
            if let Some(value) = &lt {
                match less_than(inside(value)?) {
                    Some(most) => high = high.min(most),
                    None => return Ok(None),
                }
            }
        } else {
            let bounds = [&gt, &gte, &lt, &lte];
            // Beside a number any text is one, where nothing else is said.
            let by_number = bounds
                .iter()
                .any(|bound| matches!(bound, Some(Scalar::Number(_))));
            let format = match &range.format {
                None if by_number => Some("epoch_millis"),
                format => format.as_deref(),
            };
            let dates = Dates::new(format, range.time_zone.as_deref(), self.now_ms)?;
            if let Some(value) = &gte {
                low = low.max(dates.instant(value, false)?);
            }
            if let Some(value) = &gt {
                low = low.max(dates.instant(value, true)?.saturating_add(1));
            }
            if let Some(value) = &lte {
                high = high.min(dates.instant(value, true)?);
            }
            if let Some(value) = &lt {
                high = high.min(dates.instant(value, false)?.saturating_sub(1));
            }
        }
        Ok((low <= high).then_some((low, high)))
    }

    pub(super) fn range(&self, range: &Range) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &range.field) else {
            return Ok(none());
        };
        let bounds = [&range.gt, &range.gte, &range.lt, &range.lte];
        if bounds
            .iter()
            .all(|bound| matches!(bound, None | Some(Scalar::Null)))
        {
            return self.exists(&range.field);
        }
        if range.field == "_id" || range.field == INDEX {
            return Err(EsError::create_query(format!(
                "Field [{0}] of type [{0}] does not support range queries",
                range.field
            )));
        }
        let given = |bound: &Option<Scalar>| bound.clone().filter(|value| *value != Scalar::Null);
        let (gt, gte, lt, lte) = (
            given(&range.gt),
            given(&range.gte),
            given(&range.lt),
            given(&range.lte),
        );
        match &target.kind {
            Kind::Long | Kind::Date => Ok(match self.numbers_of(range, &target)? {
                Some((low, high)) => numbers(&target, low, high),
                None => none(),
            }),
            Kind::Id | Kind::AnyKey => {
                let text = |bound: &Option<Scalar>| bound.as_ref().map(scalar_text);
                let (gt, gte, lt, lte) = (text(&gt), text(&gte), text(&lt), text(&lte));
                Ok(self.passing(
                    &target,
                    "",
                    Arc::new(move |value: &str| {
                        gt.as_deref().is_none_or(|bound| value > bound)
                            && gte.as_deref().is_none_or(|bound| value >= bound)
                            && lt.as_deref().is_none_or(|bound| value < bound)
                            && lte.as_deref().is_none_or(|bound| value <= bound)
                    }),
                ))
            }
            Kind::Key(_) if (gt.is_none() && gte.is_none()) || (lt.is_none() && lte.is_none()) => {
                Err(EsError::create_query(
                    "[range] queries on keyed [flattened] fields must include both an upper and a lower bound.",
                ))
            }
            Kind::Keyword | Kind::Text | Kind::Key(_) => {
                let prefix: &[u8] = match &target.kind {
                    Kind::Key(prefix) => prefix,
                    _ => b"",
                };
                let bytes = |value: &Scalar| {
                    let mut term = prefix.to_vec();
                    term.extend_from_slice(scalar_text(value).as_bytes());
                    term
                };
                let low = match (&gt, &gte) {
                    (Some(gt), Some(gte)) if scalar_text(gt) >= scalar_text(gte) => {
                        Bound::Excluded(bytes(gt))
                    }
                    (_, Some(gte)) => Bound::Included(bytes(gte)),
                    (Some(gt), None) => Bound::Excluded(bytes(gt)),
                    (None, None) => Bound::Included(prefix.to_vec()),
                };
                let high = match (&lt, &lte) {
                    (Some(lt), Some(lte)) if scalar_text(lt) <= scalar_text(lte) => {
                        Bound::Excluded(bytes(lt))
                    }
                    (_, Some(lte)) => Bound::Included(bytes(lte)),
                    (Some(lt), None) => Bound::Excluded(bytes(lt)),
                    (None, None) => prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded),
                };
                Ok(Box::new(TermScan {
                    field: target.field,
                    low,
                    high,
                    test: Test::Every,
                    deadline: self.deadline,
                }))
            }
        }
    }

    pub(super) fn exists(&self, field: &str) -> Result<Compiled, EsError> {
        if field.contains('*') {
            let mut fields = target::expand(field);
            if fields.is_empty() {
                // It may mean objects, of which the fields below count.
                fields = target::expand(&format!("{field}.*"));
            }
            let parts = fields
                .into_iter()
                .map(|field| self.exists(field))
                .collect::<Result<_, _>>()?;
            return Ok(constant(best_of(parts, 0.0)));
        }
        let Some(target) = target::resolve(self.schema, field) else {
            let parts = target::below(field)
                .into_iter()
                .map(|field| self.exists(field))
                .collect::<Result<_, _>>()?;
            return Ok(constant(best_of(parts, 0.0)));
        };
        Ok(match &target.kind {
            Kind::Id => all(),
            Kind::Text => constant(Box::new(ExistsQuery::new(HAS_MESSAGE.to_owned(), false))),
            Kind::Key(prefix) => Box::new(TermScan::below(
                target.field,
                prefix.clone(),
                Test::Every,
                self.deadline,
            )),
            Kind::Keyword | Kind::AnyKey | Kind::Long | Kind::Date => {
                constant(Box::new(ExistsQuery::new(target.column.to_owned(), false)))
            }
        })
    }

    pub(super) fn prefix(&self, term: &Term) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &term.field) else {
            return Ok(none());
        };
        textual(&target, &term.field, "prefix")?;
        let fold = term.case_insensitive == Some(true);
        Ok(self.prefix_of(&target, &scalar_text(&term.value), fold))
    }

    /// Terms that begin with `text`.
    pub(super) fn prefix_of(&self, target: &Target, text: &str, fold: bool) -> Compiled {
        if fold {
            let wanted = text.to_owned();
            let test: TextTest = Arc::new(move |text| {
                text.get(..wanted.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(&wanted))
            });
            return self.passing(target, "", test);
        }
        let wanted = text.to_owned();
        let test: TextTest = Arc::new(move |text| text.starts_with(&wanted));
        self.passing(target, text, test)
    }

    pub(super) fn wildcard(&self, term: &Term) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &term.field) else {
            return Ok(none());
        };
        textual(&target, &term.field, "wildcard")?;
        let pattern = scalar_text(&term.value);
        self.wildcard_of(&target, &pattern, term.case_insensitive == Some(true))
    }

    /// Terms that fit a pattern with `*` and `?`.
    pub(super) fn wildcard_of(
        &self,
        target: &Target,
        pattern: &str,
        fold: bool,
    ) -> Result<Compiled, EsError> {
        // Not even an empty value: Lucene makes an automaton without states of it.
        if pattern.is_empty() {
            return Ok(none());
        }
        let literal = if fold {
            String::new()
        } else {
            pattern
                .chars()
                .take_while(|c| !matches!(c, '*' | '?' | '\\'))
                .collect()
        };
        self.expression(target, &literal, &wildcard::to_regex(pattern, fold))
    }

    pub(super) fn regexp(&self, term: &Term, flags: Option<&str>) -> Result<Compiled, EsError> {
        let target = target::resolve(self.schema, &term.field);
        if let Some(target) = &target {
            textual(target, &term.field, "regexp")?;
        }
        let fold = term.case_insensitive == Some(true);
        let flags = regexp::Flags::parse(flags.unwrap_or("ALL")).map_err(EsError::create_query)?;
        let expression = flags.applied(&scalar_text(&term.value));
        match &target {
            Some(target) => self.regexp_of(target, &expression, fold),
            // A wrong one is an error even where nothing is compared.
            None => regexp::to_regex(&expression, fold)
                .map(|_| none())
                .map_err(EsError::create_query),
        }
    }

    /// Terms that fit an expression of Lucene's.
    pub(super) fn regexp_of(
        &self,
        target: &Target,
        expression: &str,
        fold: bool,
    ) -> Result<Compiled, EsError> {
        let regex = regexp::to_regex(expression, fold).map_err(EsError::create_query)?;
        self.expression(target, "", &regex)
    }

    fn expression(&self, target: &Target, literal: &str, regex: &str) -> Result<Compiled, EsError> {
        let regex = regex::RegexBuilder::new(regex)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(4 * MAX_REGEX_BYTES)
            .build()
            .map_err(EsError::create_query)?;
        Ok(self.passing(target, literal, Arc::new(move |text| regex.is_match(text))))
    }

    pub(super) fn fuzzy(
        &self,
        term: &Term,
        fuzziness: Option<&Scalar>,
        prefix_length: Option<u64>,
        transpositions: Option<bool>,
    ) -> Result<Compiled, EsError> {
        let Some(target) = target::resolve(self.schema, &term.field) else {
            return Ok(none());
        };
        can_be_similar(&target, &term.field)?;
        let text = scalar_text(&term.value);
        let distance = fuzziness_of(fuzziness, &text)?;
        Ok(self.similar_to(&target, &text, distance, prefix_length, transpositions))
    }

    /// Documents with a value that begins with `literal` and passes `test`.
    pub(super) fn passing(&self, target: &Target, literal: &str, test: TextTest) -> Compiled {
        let (prefix, test) = match &target.kind {
            Kind::Id => return passing_ids(test),
            Kind::AnyKey => {
                let value_passes = move |term: &str| {
                    term.split_once(FLATTENED_SEPARATOR)
                        .is_some_and(|(_, value)| test(value))
                };
                (Vec::new(), Test::Passes(0, Arc::new(value_passes)))
            }
            Kind::Key(prefix) => {
                let mut whole = prefix.clone();
                whole.extend_from_slice(literal.as_bytes());
                (whole, Test::Passes(prefix.len(), test))
            }
            _ => (literal.as_bytes().to_vec(), Test::Passes(0, test)),
        };
        Box::new(TermScan::below(target.field, prefix, test, self.deadline))
    }
}

fn passing_ids(test: TextTest) -> Compiled {
    let predicate = FunctionPredicate::from(move |segment: &SegmentReader| {
        let test = Arc::clone(&test);
        let column = IdColumn::open(segment)?;
        Ok(move |doc: DocId| test(&column.id(doc).to_string()))
    });
    constant(Box::new(DocPredicateQuery::from(predicate)))
}

/// Documents with a number of `low..=high`.
pub(super) fn numbers(target: &Target, low: i64, high: i64) -> Compiled {
    if low > high {
        return none();
    }
    Box::new(FastFieldRangeQuery::new(
        Bound::Included(IndexTerm::from_field_i64(target.field, low)),
        Bound::Included(IndexTerm::from_field_i64(target.field, high)),
    ))
}

trait FromBytes {
    fn from_field_bytes_as_text(target: &Target, bytes: &[u8]) -> IndexTerm;
}

impl FromBytes for IndexTerm {
    /// The term of a field of strings; keys and values both are text, so the
    /// bytes always are.
    fn from_field_bytes_as_text(target: &Target, bytes: &[u8]) -> IndexTerm {
        IndexTerm::from_field_text(target.field, &String::from_utf8_lossy(bytes))
    }
}

fn at_least(number: Whole) -> Option<i64> {
    match number {
        Whole::Exact(number) => Some(number),
        Whole::Between(below) => below.checked_add(1),
        Whole::Outside => None,
    }
}

fn more_than(number: Whole) -> Option<i64> {
    match number {
        Whole::Exact(number) => number.checked_add(1),
        other => at_least(other),
    }
}

fn at_most(number: Whole) -> Option<i64> {
    match number {
        Whole::Exact(number) | Whole::Between(number) => Some(number),
        Whole::Outside => None,
    }
}

fn less_than(number: Whole) -> Option<i64> {
    match number {
        Whole::Exact(number) => number.checked_sub(1),
        other => at_most(other),
    }
}

/// Refuses a query about the text of terms where the field has none.
pub(super) fn textual(target: &Target, field: &str, query: &str) -> Result<(), EsError> {
    let has_text = target.kind.is_text_like() && field != "_id";
    let is_regexp = query == "regexp";
    if !has_text || (is_regexp && field == INDEX) {
        let others = if is_regexp {
            "keyword and text"
        } else {
            "keyword, text and wildcard"
        };
        return Err(EsError::query_shard(format!(
            "Can only use {query} queries on {others} fields - not on [{field}] which is of type [{}]",
            shown_type(target, field)
        )));
    }
    if matches!(target.kind, Kind::Key(_)) && query != "prefix" {
        return Err(EsError::create_query(format!(
            "[{query}] queries are not currently supported on keyed [flattened] fields."
        )));
    }
    Ok(())
}

/// Refuses a query for similar words where the field has none.
pub(super) fn can_be_similar(target: &Target, field: &str) -> Result<(), EsError> {
    if matches!(target.kind, Kind::Key(_)) {
        return textual(target, field, "fuzzy");
    }
    if target.kind.is_text_like() && field != "_id" && field != INDEX {
        return Ok(());
    }
    Err(EsError::create_query(format!(
        "Can only use fuzzy queries on keyword and text fields - not on [{field}] which is of type [{}]",
        shown_type(target, field)
    )))
}

/// As [`type_name`]; fields of the store's own are their own types.
pub(super) fn shown_type<'a>(target: &Target, field: &'a str) -> &'a str {
    if field == "_id" || field == INDEX {
        return field;
    }
    type_name(target)
}

/// The mapping's name for a field's type.
pub(crate) fn type_name(target: &Target) -> &'static str {
    match target.kind {
        Kind::Keyword | Kind::Id | Kind::Key(_) => "keyword",
        Kind::AnyKey => "flattened",
        Kind::Long => "long",
        Kind::Date => "date",
        Kind::Text => "text",
    }
}

/// How many edits `fuzziness` allows for a word: `0`, `1`, `2`, `AUTO`, `AUTO:3,6`.
pub(super) fn fuzziness_of(fuzziness: Option<&Scalar>, word: &str) -> Result<usize, EsError> {
    let text = fuzziness.map_or_else(|| "AUTO".to_owned(), scalar_text);
    let length = word.chars().count();
    let upper = text.to_ascii_uppercase();
    if let Some(rest) = upper.strip_prefix("AUTO") {
        let (low, high) = match rest.strip_prefix(':') {
            None if rest.is_empty() => (3, 6),
            Some(bounds) => bounds
                .split_once(',')
                .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)))
                .ok_or_else(|| wrong_fuzziness(&text))?,
            None => return Err(wrong_fuzziness(&text)),
        };
        return Ok(match length {
            length if length < low => 0,
            length if length < high => 1,
            _ => 2,
        });
    }
    let edits: f64 = text
        .parse()
        .map_err(|_| EsError::refused_request(format!("fuzziness cannot be [{text}].")))?;
    match edits.trunc() {
        0.0 => Ok(0),
        1.0 => Ok(1),
        2.0 => Ok(2),
        other => Err(EsError::refused_request(format!(
            "Valid edit distances are [0, 1, 2] but was [{other}]"
        ))),
    }
}

fn wrong_fuzziness(text: &str) -> EsError {
    EsError::parse(format!(
        "failed to find low and high distance values in [{text}]"
    ))
}

/// Whether `word` is at most `limit` edits from `wanted`: characters put in,
/// left out, replaced and (with `swaps`) two neighbours exchanged.
pub(crate) fn edits(wanted: &[char], word: &str, limit: usize, swaps: bool) -> bool {
    let word: Vec<char> = word.chars().take(wanted.len() + limit + 1).collect();
    if word.len().abs_diff(wanted.len()) > limit {
        return false;
    }
    // Only the cells that `limit` edits can reach, so that the work is the length
    // of the word and not its square: cell `at` of a row is column `row + at - limit`.
    let cells = 2 * limit + 1;
    let beyond = limit + 1;
    let mut before = vec![beyond; cells];
    let mut above: Vec<usize> = (0..cells)
        .map(|at| at.checked_sub(limit).unwrap_or(beyond))
        .collect();
    for row in 1..=wanted.len() {
        let mut line = vec![beyond; cells];
        for at in 0..cells {
            let Some(column) = (row + at).checked_sub(limit) else {
                continue;
            };
            if column == 0 {
                line[at] = row;
                continue;
            }
            let Some(right) = word.get(column - 1) else {
                break;
            };
            let left = &wanted[row - 1];
            let mut best = above[at] + usize::from(left != right);
            if let Some(left_out) = above.get(at + 1) {
                best = best.min(left_out + 1);
            }
            if let Some(put_in) = at.checked_sub(1) {
                best = best.min(line[put_in] + 1);
            }
            let swapped = swaps
                && row > 1
                && column > 1
                && wanted[row - 2] == *right
                && word[column - 2] == *left;
            if swapped {
                best = best.min(before[at] + 1);
            }
            line[at] = best;
        }
        if line.iter().all(|edits| *edits > limit) {
            return false;
        }
        before = std::mem::replace(&mut above, line);
    }
    above[word.len() + limit - wanted.len()] <= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &str, right: &str, limit: usize, expected: bool) {
        let wanted: Vec<char> = left.chars().collect();
        assert_eq!(
            edits(&wanted, right, limit, true),
            expected,
            "{left} {right}"
        );
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        check("error", "errro", 1, true);
        check("error", "eror", 1, true);
        check("error", "errors", 1, true);
        check("error", "arrer", 1, false);
        check("error", "arrer", 2, true);
        check("", "ab", 1, false);
    }

    #[test]
    fn long_words_are_compared_in_the_time_of_their_length() {
        let long = "a".repeat(200_000);
        check(&long, &long, 2, true);
        check(&format!("b{long}c"), &format!("{long}c"), 2, true);
        check(&format!("b{long}cd"), &format!("xy{long}d"), 2, false);
        // Work that grows with the square of the input would not end here.
    }

    proptest::proptest! {
        #[test]
        fn edits_are_those_of_the_whole_table(
            left in "[ab]{0,6}", right in "[abc]{0,6}", limit in 0usize..3, swaps: bool,
        ) {
            let wanted: Vec<char> = left.chars().collect();
            let expected = mscp_log_core::query::distance(&left, &right, swaps) <= limit;
            proptest::prop_assert_eq!(edits(&wanted, &right, limit, swaps), expected);
        }
    }
}
