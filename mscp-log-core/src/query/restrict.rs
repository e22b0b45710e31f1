//! A search made so that it sees only what a token may see.
//!
//! `bool.filter: [restriction, query]` hides documents from the hits, but a
//! search has more ways to learn of other documents: statistics behind scores,
//! dictionaries that expansions and empty buckets read, counters that all
//! documents share, the order in which they lie on disk. Whatever depends on
//! anything but the visible documents is made constant here, or refused.

use super::ast::{
    Aggregation, AggregationKind, Bool, Clause, CompositeKind, FieldFormat, HighlightSettings,
    Match, Number, Order, Query, QueryString, Scalar, Search, SortKey, TermsSelection,
};
use super::error::QueryError;
use super::lucene::Node;
use super::wildcard::fits;
use crate::access::Restriction;
use crate::field::{FIELDS, FieldType};

/// Why a search cannot be restricted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It uses what could see past the restriction: forbidden (403).
    #[error("{0} is not allowed under a restriction, as it could tell of records outside of it")]
    SeesPast(String),
    /// It is wrong in itself (400).
    #[error(transparent)]
    Wrong(#[from] QueryError),
}

/// The order of documents, which makes any sort a total one.
const TOTAL_ORDER: [(&str, &str); 3] = [
    ("realtime_us", "long"),
    ("seq", "long"),
    ("event_id", "keyword"),
];

/// Fields that the store adds to every document. Of most of them the values
/// count other documents too, so only those of [`OWN_METADATA`] may be named.
const METADATA: [&str; 15] = [
    "_seq_no",
    "_primary_term",
    "_version",
    "_doc",
    "_shard_doc",
    "_doc_count",
    "_field_names",
    "_ignored",
    "_routing",
    "_nested_path",
    "_size",
    "_tier",
    "_type",
    "_source",
    "_parent",
];

/// Metadata that is a document's own.
const OWN_METADATA: [&str; 2] = ["_id", "_index"];

impl Query {
    /// A clause without boost and name.
    #[must_use]
    pub fn of(clause: Clause) -> Self {
        Self {
            clause,
            boost: None,
            name: None,
        }
    }

    /// The documents that may be seen: those of any one of `visible`, each
    /// taken whole. Of an empty list that is none.
    #[must_use]
    pub fn visible(visible: &[Restriction]) -> Self {
        let mut each: Vec<Self> = visible.iter().map(one_restriction).collect();
        match each.len() {
            0 => Self::of(Clause::MatchNone),
            1 => each.remove(0),
            _ => Self::of(Clause::Bool(Bool {
                should: each,
                ..Bool::default()
            })),
        }
    }
}

fn one_restriction(restriction: &Restriction) -> Query {
    let filter: Vec<Query> = restriction
        .fields()
        .map(|(field, values)| {
            let values = values.iter().cloned().map(Scalar::String).collect();
            Query::of(Clause::Terms {
                field: field.to_owned(),
                values,
            })
        })
        .collect();
    if filter.is_empty() {
        return Query::of(Clause::MatchAll);
    }
    Query::of(Clause::Bool(Bool {
        filter,
        ..Bool::default()
    }))
}

impl Search {
    /// This search over the documents of `visible` alone.
    ///
    /// No document outside of it can change the answer: the query becomes
    /// `bool.filter: [restriction, query]`; scores are constant, so sorting by
    /// them and by the place on disk is left out, and the order of documents is
    /// added to every sort; what ends a search early by time or count is left
    /// out, as it would end at other documents. The id of a point in time is
    /// left as it is: whoever sends the search has to know whose it is.
    ///
    /// # Errors
    /// [`Refused::SeesPast`] for what cannot be had without seeing past the
    /// restriction, [`Refused::Wrong`] for what is wrong in itself.
    ///
    /// ```
    /// use mscp_log_core::access::Restriction;
    /// use mscp_log_core::query::ast::Search;
    /// let restriction = Restriction { namespace: Some(["shop".to_owned()].into()), ..Restriction::none() };
    /// let search = Search::parse(br#"{"query": {"match": {"message": "error"}}}"#, &[]).unwrap();
    /// let restricted = search.restrict(&[restriction.clone()]).unwrap();
    /// assert!(restricted.emit().starts_with(r#"{"query":{"bool":{"filter":[{"bool":{"filter":[{"terms":{"namespace":["shop"]}}]}},"#));
    /// let counting = Search::parse(br#"{"aggs": {"n": {"terms": {"field": "pod", "min_doc_count": 0}}}}"#, &[]).unwrap();
    /// assert!(counting.restrict(&[restriction]).is_err());
    /// ```
    pub fn restrict(&self, visible: &[Restriction]) -> Result<Self, Refused> {
        self.restrict_within(visible, None)
    }

    /// As [`Self::restrict`], and only over documents that `within` matches.
    ///
    /// # Errors
    /// As [`Self::restrict`].
    pub fn restrict_within(
        &self,
        visible: &[Restriction],
        within: Option<Query>,
    ) -> Result<Self, Refused> {
        let mut search = self.clone();
        check_queries(&search)?;
        check_hits(&mut search)?;
        // Which part a document falls into depends on its place among all.
        if search.slice.is_some() {
            return sees_past("slice");
        }
        for (name, aggregation) in &mut search.aggs {
            check_aggregation(name, aggregation, self)?;
        }
        let scores_suffice = positive(search.min_score.take().as_ref()).is_none();
        let mut filter = vec![Query::visible(visible)];
        filter.extend(within);
        filter.extend(search.query.take());
        if !scores_suffice {
            // Every score is 0, so none reaches a `min_score` above it.
            filter.push(Query::of(Clause::MatchNone));
        }
        search.query = Some(Query::of(Clause::Bool(Bool {
            filter,
            ..Bool::default()
        })));
        order_totally(&mut search)?;
        mark_only_the_query(&mut search, self.query.as_ref());
        search.timeout = None;
        search.terminate_after = None;
        Ok(search)
    }
}

fn positive(number: Option<&Number>) -> Option<f64> {
    number?.0.parse().ok().filter(|score| *score > 0.0)
}

fn sees_past<T>(what: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::SeesPast(what.into()))
}

/// A field that a query, sort or aggregation names; `*` is all of the mapping's.
fn check_field(field: &str) -> Result<(), Refused> {
    let name = field.split('^').next().unwrap_or(field);
    let is_metadata = if name.contains('*') {
        name != "*" && METADATA.iter().any(|metadata| fits(name, metadata))
    } else {
        name.starts_with('_') && !OWN_METADATA.contains(&name)
    };
    if is_metadata {
        sees_past(format!("the field {name}"))
    } else {
        Ok(())
    }
}

/// A key of a flattened field takes no pattern in Elasticsearch. There only the
/// shards say so that may have hits, which tells of all documents.
fn no_pattern_on_a_key(pattern: &str, field: &str) -> Result<(), Refused> {
    let is_key = field.split_once('.').is_some_and(|(root, _)| {
        let mut flattened = FIELDS
            .iter()
            .filter(|(_, kind)| *kind == FieldType::Flattened);
        flattened.any(|(name, _)| *name == root)
    });
    if !is_key {
        return Ok(());
    }
    let reason = format!(
        "failed to create query: [{pattern}] queries are not currently supported on keyed [flattened] fields."
    );
    Err(QueryError::of_kind("query_shard_exception", reason).into())
}

fn check_queries(search: &Search) -> Result<(), Refused> {
    for query in search.query.iter().chain(&search.post_filter) {
        check_query(query)?;
    }
    Ok(())
}

fn check_query(query: &Query) -> Result<(), Refused> {
    match &query.clause {
        Clause::MatchAll | Clause::MatchNone | Clause::Ids { .. } => Ok(()),
        Clause::Match(inner) | Clause::MatchBoolPrefix(inner) => {
            check_field(&inner.field)?;
            check_match(inner)
        }
        Clause::MatchPhrase(inner) => check_field(&inner.field),
        // The last word expands to the first terms of all documents.
        Clause::MatchPhrasePrefix(_) => sees_past("match_phrase_prefix"),
        Clause::MultiMatch(inner) => {
            if inner.kind.as_deref() == Some("phrase_prefix") {
                return sees_past("multi_match of type phrase_prefix");
            }
            inner
                .fields
                .iter()
                .try_for_each(|field| check_field(field))?;
            check_match(&inner.matching)
        }
        Clause::Term(inner)
        | Clause::Prefix(inner)
        | Clause::Wildcard(inner)
        | Clause::Regexp { term: inner, .. } => {
            // Some rewrites stop at so many terms, of all documents.
            if inner.rewrite.is_some() {
                return sees_past("rewrite");
            }
            check_field(&inner.field)?;
            match &query.clause {
                Clause::Wildcard(_) => no_pattern_on_a_key("wildcard", &inner.field),
                Clause::Regexp { .. } => no_pattern_on_a_key("regexp", &inner.field),
                _ => Ok(()),
            }
        }
        Clause::Terms { field, .. } | Clause::Exists { field } => check_field(field),
        Clause::Range(inner) => check_field(&inner.field),
        Clause::Bool(inner) => {
            let all = inner
                .must
                .iter()
                .chain(&inner.filter)
                .chain(&inner.should)
                .chain(&inner.must_not);
            all.into_iter().try_for_each(check_query)
        }
        Clause::Fuzzy { .. } => sees_past("fuzzy"),
        Clause::ConstantScore { filter } => check_query(filter),
        Clause::QueryString(inner) | Clause::SimpleQueryString(inner) => check_query_string(inner),
    }
}

fn check_match(inner: &Match) -> Result<(), Refused> {
    if inner.fuzziness.is_some() {
        sees_past("fuzziness")
    } else {
        Ok(())
    }
}

fn check_query_string(inner: &QueryString) -> Result<(), Refused> {
    if inner.fuzziness.is_some() {
        return sees_past("fuzziness");
    }
    let fields: Vec<&str> = inner
        .fields
        .iter()
        .chain(&inner.default_field)
        .map(String::as_str)
        .collect();
    fields.iter().try_for_each(|field| check_field(field))?;
    check_node(&inner.tree, &fields)
}

/// `fields` are those of words that name none.
fn check_node(node: &Node, fields: &[&str]) -> Result<(), Refused> {
    let no_pattern = |pattern: &str, field: &Option<String>| {
        let own = field.as_deref();
        let fields = if own.is_some() { &[] } else { fields };
        own.into_iter()
            .chain(fields.iter().copied())
            .try_for_each(|field| {
                check_field(field)?;
                no_pattern_on_a_key(pattern, field)
            })
    };
    match node {
        Node::Empty | Node::All => Ok(()),
        Node::Unreadable(reason) => Err(Refused::Wrong(QueryError::of_kind(
            "query_shard_exception",
            format!("Failed to parse query: {reason}"),
        ))),
        Node::Word { field, .. }
        | Node::Phrase { field, .. }
        | Node::Prefix { field, .. }
        | Node::Range { field, .. } => field.as_deref().map_or(Ok(()), check_field),
        Node::Wildcard { field, .. } => no_pattern("wildcard", field),
        Node::Regexp { field, .. } => no_pattern("regexp", field),
        Node::Exists { field } => check_field(field),
        Node::Fuzzy { .. } => sees_past("a fuzzy word (~)"),
        Node::Bool(clauses) => clauses
            .iter()
            .try_for_each(|part| check_node(&part.node, fields)),
        Node::Boost(inner, _) => check_node(inner, fields),
    }
}

/// What is said of each hit, of a search or of `top_hits`.
fn check_hits(search: &mut Search) -> Result<(), Refused> {
    // Sequence numbers count the documents of a shard, all of them.
    if search.seq_no_primary_term == Some(true) {
        return sees_past("seq_no_primary_term");
    }
    search.seq_no_primary_term = None;
    search.track_scores = None;
    for key in &search.sort {
        if !is_constant_key(&key.field) {
            check_field(&key.field)?;
        }
    }
    for entry in &search.fields {
        check_field(&entry.field)?;
    }
    search.docvalue_fields = columns(&search.docvalue_fields)?;
    for name in search.stored_fields.iter().flatten() {
        if name.starts_with('_') && !["_none_", "_source", "_id"].contains(&name.as_str()) {
            return sees_past(format!("the stored field {name}"));
        }
    }
    if let Some(highlight) = &search.highlight {
        check_highlight(&highlight.settings)?;
        for (field, settings) in &highlight.fields {
            check_field(field)?;
            check_highlight(settings)?;
        }
    }
    Ok(())
}

fn check_highlight(settings: &HighlightSettings) -> Result<(), Refused> {
    settings
        .highlight_query
        .as_deref()
        .map_or(Ok(()), check_query)
}

/// Column patterns written out as the fields of the mapping, because a `*`
/// takes in metadata too.
fn columns(wanted: &[FieldFormat]) -> Result<Vec<FieldFormat>, Refused> {
    let mut columns = Vec::new();
    for entry in wanted {
        if !entry.field.contains('*') {
            check_field(&entry.field)?;
            columns.push(entry.clone());
            continue;
        }
        let has_column = |kind: FieldType| !matches!(kind, FieldType::Text | FieldType::Flattened);
        for (name, kind) in FIELDS {
            if has_column(*kind) && fits(&entry.field, name) {
                columns.push(FieldFormat {
                    field: (*name).to_owned(),
                    ..entry.clone()
                });
            }
        }
    }
    Ok(columns)
}

fn check_aggregation(
    name: &str,
    aggregation: &mut Aggregation,
    whole: &Search,
) -> Result<(), Refused> {
    match &mut aggregation.kind {
        AggregationKind::Terms(terms) => {
            check_field(&terms.field)?;
            // Empty buckets are the terms of all documents.
            if terms.min_doc_count == Some(0) {
                return sees_past(format!("min_doc_count 0 of the aggregation {name}"));
            }
            // OpenSearch 2.19 looks for the terms behind `prefix.*` among those
            // of all documents, and fails where there are none. In brackets
            // the expression means the same and is not looked for in that way.
            for selection in [&mut terms.include, &mut terms.exclude]
                .into_iter()
                .flatten()
            {
                if let TermsSelection::Regexp(expression) = selection {
                    *expression = format!("({expression})");
                }
            }
        }
        AggregationKind::DateHistogram(inner) => check_field(&inner.field)?,
        AggregationKind::Histogram(inner) => check_field(&inner.field)?,
        AggregationKind::Range(inner) | AggregationKind::DateRange(inner) => {
            check_field(&inner.field)?;
        }
        AggregationKind::Filter(query) => check_query(query)?,
        AggregationKind::Filters { filters, .. } => filters
            .iter()
            .try_for_each(|(_, query)| check_query(query))?,
        AggregationKind::Composite(composite) => {
            for (_, source) in &composite.sources {
                match &source.kind {
                    CompositeKind::Terms { field } | CompositeKind::Histogram { field, .. } => {
                        check_field(field)?;
                    }
                    CompositeKind::DateHistogram(inner) => check_field(&inner.field)?,
                }
            }
        }
        AggregationKind::Missing { field } => check_field(field)?,
        AggregationKind::Cardinality { metric, .. }
        | AggregationKind::Percentiles { metric, .. }
        | AggregationKind::ExtendedStats { metric, .. }
        | AggregationKind::Stats(metric)
        | AggregationKind::Min(metric)
        | AggregationKind::Max(metric)
        | AggregationKind::Avg(metric)
        | AggregationKind::Sum(metric)
        | AggregationKind::ValueCount(metric) => check_field(&metric.field)?,
        AggregationKind::TopHits(hits) => {
            check_hits(hits)?;
            order_totally(hits)?;
            mark_only_the_query(hits, whole.query.as_ref());
        }
    }
    for (name, below) in &mut aggregation.aggs {
        check_aggregation(name, below, whole)?;
    }
    Ok(())
}

/// Sort keys that are the same for all visible documents, or that are not
/// theirs: scores, and places on disk.
fn is_constant_key(field: &str) -> bool {
    matches!(field, "_score" | "_doc" | "_shard_doc")
}

/// Leave out what does not order visible documents, and add what orders them
/// totally, in the direction of the first key (newest first without one).
fn order_totally(search: &mut Search) -> Result<(), Refused> {
    let written = search.sort.len();
    search.sort.retain(|key| !is_constant_key(&key.field));
    let own = search.sort.len();
    let direction = search
        .sort
        .first()
        .map_or(Order::Desc, |key| key.order.unwrap_or(Order::Asc));
    for (field, unmapped_type) in TOTAL_ORDER {
        if search.sort.iter().any(|key| key.field == field) {
            continue;
        }
        search.sort.push(SortKey {
            field: field.to_owned(),
            order: Some(direction),
            missing: None,
            unmapped_type: Some(unmapped_type.to_owned()),
            mode: None,
            format: None,
            numeric_type: None,
        });
    }
    let total = search.sort.len();
    let Some(after) = &mut search.search_after else {
        return Ok(());
    };
    if after.len() == own && own == written && own > 0 {
        // Only its own keys: behind all documents that are equal in those.
        after.resize(total, Scalar::Null);
    } else if after.len() != total {
        let reason = format!(
            "search_after has {} value(s) but sort has {total}.",
            after.len()
        );
        return Err(QueryError::argument(reason).into());
    }
    Ok(())
}

/// Highlights mark what was asked for, not the values of the restriction.
fn mark_only_the_query(search: &mut Search, query: Option<&Query>) {
    if let Some(highlight) = &mut search.highlight
        && highlight.settings.highlight_query.is_none()
    {
        let asked = query
            .cloned()
            .unwrap_or_else(|| Query::of(Clause::MatchAll));
        highlight.settings.highlight_query = Some(Box::new(asked));
    }
}
