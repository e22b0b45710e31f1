//! The tree of a search: what `parse` makes, `restrict` wraps, `emit` writes
//! and the embedded store compiles.
//!
//! It keeps what its writer wrote (numbers as text, `now` unresolved,
//! `interval` apart from `fixed_interval`), so that an engine that is asked in
//! our stead is asked the same question.

/// A JSON number as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(pub String);

/// A JSON scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(Number),
    /// A string.
    String(String),
}

/// The body of `_search` (of `_count`, only `query`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// What to find; absent is `match_all`.
    pub query: Option<Query>,
    /// A filter on the hits that the aggregations do not see.
    pub post_filter: Option<Query>,
    /// Aggregations in the order written.
    pub aggs: Vec<(String, Aggregation)>,
    /// Sort keys; empty is by score.
    pub sort: Vec<SortKey>,
    /// The sort values of the last hit of the page before.
    pub search_after: Option<Vec<Scalar>>,
    /// Hits to pass over.
    pub from: Option<u64>,
    /// Hits to return; absent is 10.
    pub size: Option<u64>,
    /// Which parts of the source come back.
    pub source: Option<SourceFilter>,
    /// Fields to return apart from the source.
    pub fields: Vec<FieldFormat>,
    /// Columns to return apart from the source.
    pub docvalue_fields: Vec<FieldFormat>,
    /// `stored_fields`: `_none_` or names, which the log template stores none of.
    pub stored_fields: Option<Vec<String>>,
    /// Marked fragments.
    pub highlight: Option<Highlight>,
    /// How far hits are counted; absent is up to 10,000.
    pub track_total_hits: Option<TrackTotalHits>,
    /// Scores even where the sort does not need them.
    pub track_scores: Option<bool>,
    /// `version: true`.
    pub version: Option<bool>,
    /// `seq_no_primary_term: true`.
    pub seq_no_primary_term: Option<bool>,
    /// Hits with a lower score are left out.
    pub min_score: Option<Number>,
    /// A duration as written (`10s`).
    pub timeout: Option<String>,
    /// Stop after as many documents a shard.
    pub terminate_after: Option<u64>,
    /// A point in time.
    pub pit: Option<Pit>,
    /// One part of the hits of a scroll or a point in time.
    pub slice: Option<Slice>,
}

/// `pit: {"id", "keep_alive"}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pit {
    /// The opaque id.
    pub id: String,
    /// A duration as written.
    pub keep_alive: Option<String>,
}

/// `slice: {"id", "max", "field"}`: of the hits, cut into `max` parts, one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which part, from 0, below `max`.
    pub id: u64,
    /// How many parts, at least 2.
    pub max: u64,
    /// The field by which they are cut; absent is by the document.
    pub field: Option<String>,
}

/// `track_total_hits`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackTotalHits {
    /// `true` or `false`.
    Whole(bool),
    /// Count exactly up to here.
    UpTo(u64),
}

/// `_source`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFilter {
    /// `true` or `false`.
    Whole(bool),
    /// Patterns with `*`; an empty `includes` is everything.
    Patterns {
        /// Names or patterns to keep.
        includes: Vec<String>,
        /// Names or patterns to leave out.
        excludes: Vec<String>,
    },
}

/// One entry of `fields` or `docvalue_fields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFormat {
    /// Name or pattern with `*`.
    pub field: String,
    /// A date format, or `use_field_mapping`.
    pub format: Option<String>,
    /// Whether fields that no mapping knows come back too.
    pub include_unmapped: Option<bool>,
}

/// One key of `sort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// A field, `_score`, `_doc` or `_shard_doc`.
    pub field: String,
    /// `None` is the default: `desc` for `_score`, `asc` for all else.
    pub order: Option<Order>,
    /// `_first`, `_last` or a value.
    pub missing: Option<Scalar>,
    /// The type to assume where no index has the field.
    pub unmapped_type: Option<String>,
    /// `min`, `max`, ... for fields with several values.
    pub mode: Option<String>,
    /// A date format for the sort values.
    pub format: Option<String>,
    /// `long`, `double`, `date` or `date_nanos`.
    pub numeric_type: Option<String>,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Smallest first.
    Asc,
    /// Greatest first.
    Desc,
}

/// `highlight`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Highlight {
    /// Fields or patterns, each with its own settings.
    pub fields: Vec<(String, HighlightSettings)>,
    /// Settings for all fields.
    pub settings: HighlightSettings,
}

/// The settings of a highlight, for one field or for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HighlightSettings {
    /// What stands before a hit; default `<em>`.
    pub pre_tags: Option<Vec<String>>,
    /// What stands behind a hit; default `</em>`.
    pub post_tags: Option<Vec<String>>,
    /// Characters a fragment; default 100.
    pub fragment_size: Option<u64>,
    /// Fragments a field; default 5; 0 is the whole field.
    pub number_of_fragments: Option<u64>,
    /// Characters to return where nothing matched; default 0.
    pub no_match_size: Option<u64>,
    /// Only fields that the query asks for; default true.
    pub require_field_match: Option<bool>,
    /// `unified`, `plain` or `fvh`.
    pub kind: Option<String>,
    /// `default` or `html`.
    pub encoder: Option<String>,
    /// `score` or `none`.
    pub order: Option<String>,
    /// A query to highlight in place of the search's own.
    pub highlight_query: Option<Box<Query>>,
}

impl Eq for HighlightSettings {}

/// A query clause. `boost` is in the [`Clause`] around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What it matches.
    pub clause: Clause,
    /// A factor on its score.
    pub boost: Option<Number>,
    /// `_name`, returned as `matched_queries`.
    pub name: Option<String>,
}

/// What a query matches.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// `match_all`
    MatchAll,
    /// `match_none`
    MatchNone,
    /// `match`
    Match(Match),
    /// `match_phrase`
    MatchPhrase(MatchPhrase),
    /// `match_phrase_prefix`
    MatchPhrasePrefix(MatchPhrase),
    /// `match_bool_prefix`
    MatchBoolPrefix(Match),
    /// `multi_match`
    MultiMatch(MultiMatch),
    /// `term`
    Term(Term),
    /// `terms`; more than 65,536 values are refused
    Terms {
        /// The field.
        field: String,
        /// Any of these.
        values: Vec<Scalar>,
    },
    /// `range`
    Range(Range),
    /// `bool`
    Bool(Bool),
    /// `exists`
    Exists {
        /// The field.
        field: String,
    },
    /// `prefix`
    Prefix(Term),
    /// `wildcard`: `*` and `?`, `\` escapes
    Wildcard(Term),
    /// `regexp`: Lucene's dialect, anchored
    Regexp {
        /// Field, expression, `case_insensitive`.
        term: Term,
        /// `ALL`, `NONE`, ... as written.
        flags: Option<String>,
        /// As written.
        max_determinized_states: Option<u64>,
    },
    /// `fuzzy`
    Fuzzy {
        /// Field and value.
        term: Term,
        /// `0`, `1`, `2`, `AUTO`, `AUTO:3,6`.
        fuzziness: Option<Scalar>,
        /// Characters that must be the same at the start.
        prefix_length: Option<u64>,
        /// How many terms it may expand to.
        max_expansions: Option<u64>,
        /// Whether a swap counts as one edit.
        transpositions: Option<bool>,
    },
    /// `ids`
    Ids {
        /// Any of these `_id`s.
        values: Vec<String>,
    },
    /// `constant_score`
    ConstantScore {
        /// The filter within.
        filter: Box<Query>,
    },
    /// `query_string`
    QueryString(QueryString),
    /// `simple_query_string`
    SimpleQueryString(QueryString),
}

/// `match` and `match_bool_prefix`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Match {
    /// The field.
    pub field: String,
    /// The text, or a number or bool for fields of such types.
    pub query: Option<Scalar>,
    /// `and` or `or`; default `or`.
    pub operator: Option<Operator>,
    /// As written: `2`, `75%`, `3<90%`.
    pub minimum_should_match: Option<Scalar>,
    /// As in `fuzzy`.
    pub fuzziness: Option<Scalar>,
    /// As in `fuzzy`.
    pub prefix_length: Option<u64>,
    /// As in `fuzzy`.
    pub max_expansions: Option<u64>,
    /// As in `fuzzy`.
    pub fuzzy_transpositions: Option<bool>,
    /// A value of the wrong type matches nothing instead of failing.
    pub lenient: Option<bool>,
    /// `none` or `all`.
    pub zero_terms_query: Option<String>,
    /// An analyzer's name.
    pub analyzer: Option<String>,
    /// As written.
    pub auto_generate_synonyms_phrase_query: Option<bool>,
}

/// `match_phrase` and `match_phrase_prefix`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MatchPhrase {
    /// The field.
    pub field: String,
    /// The text.
    pub query: Option<Scalar>,
    /// Moves that are allowed between the words.
    pub slop: Option<u64>,
    /// For the prefix form: how many terms the last word may expand to; default 50.
    pub max_expansions: Option<u64>,
    /// `none` or `all`.
    pub zero_terms_query: Option<String>,
    /// An analyzer's name.
    pub analyzer: Option<String>,
}

/// `multi_match`
#[derive(Clone, Debug, PartialEq)]
pub struct MultiMatch {
    /// Fields or patterns, each with the boost behind `^` as written.
    pub fields: Vec<String>,
    /// What every field is asked; its `field` is empty.
    pub matching: Match,
    /// `best_fields`, `most_fields`, `phrase`, `phrase_prefix`, `bool_prefix`, `cross_fields`.
    pub kind: Option<String>,
    /// Moves allowed in `phrase`.
    pub slop: Option<u64>,
    /// As written.
    pub tie_breaker: Option<Number>,
}

/// One field and one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The field.
    pub field: String,
    /// The value; for `prefix`, `wildcard` and `regexp` its text.
    pub value: Scalar,
    /// ASCII letters compare without case.
    pub case_insensitive: Option<bool>,
    /// How terms are rewritten, as written.
    pub rewrite: Option<String>,
}

/// `range`. The older `from`, `to`, `include_lower` and `include_upper` are
/// read into the four bounds.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Range {
    /// The field.
    pub field: String,
    /// Greater than.
    pub gt: Option<Scalar>,
    /// Greater than or equal.
    pub gte: Option<Scalar>,
    /// Less than.
    pub lt: Option<Scalar>,
    /// Less than or equal.
    pub lte: Option<Scalar>,
    /// Date formats, joined by `||`.
    pub format: Option<String>,
    /// An offset or a zone's name.
    pub time_zone: Option<String>,
    /// As written.
    pub relation: Option<String>,
}

/// `bool`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Bool {
    /// All of these, scored.
    pub must: Vec<Query>,
    /// All of these, not scored.
    pub filter: Vec<Query>,
    /// `minimum_should_match` of these.
    pub should: Vec<Query>,
    /// None of these.
    pub must_not: Vec<Query>,
    /// As written.
    pub minimum_should_match: Option<Scalar>,
}

/// How words combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// All of them.
    And,
    /// Any of them.
    Or,
}

/// `query_string` and `simple_query_string`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QueryString {
    /// The text as written.
    pub query: String,
    /// The text's tree; for `simple_query_string`, which never fails, of its own syntax.
    pub tree: super::lucene::Node,
    /// The field of words that name none; default `*`, all fields that can be searched.
    pub default_field: Option<String>,
    /// Fields in place of one default field, each with the boost behind `^` as written.
    pub fields: Vec<String>,
    /// Default `or`.
    pub default_operator: Option<Operator>,
    /// Whether `*x` is allowed; default true.
    pub allow_leading_wildcard: Option<bool>,
    /// Whether wildcards are analyzed.
    pub analyze_wildcard: Option<bool>,
    /// A value of the wrong type matches nothing instead of failing.
    pub lenient: Option<bool>,
    /// As in `match`.
    pub minimum_should_match: Option<Scalar>,
    /// Slop of phrases that give none.
    pub phrase_slop: Option<u64>,
    /// For dates within.
    pub time_zone: Option<String>,
    /// Which operators `simple_query_string` knows, as written.
    pub flags: Option<String>,
    /// An analyzer's name.
    pub analyzer: Option<String>,
    /// Fuzziness of `word~`.
    pub fuzziness: Option<Scalar>,
}

/// An aggregation with those below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// What it computes.
    pub kind: AggregationKind,
    /// The ones below, in the order written; metrics have none.
    pub aggs: Vec<(String, Aggregation)>,
    /// `meta`, returned as written (JSON text).
    pub meta: Option<String>,
}

/// What an aggregation computes.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregationKind {
    /// `terms`
    Terms(TermsAggregation),
    /// `date_histogram`
    DateHistogram(DateHistogram),
    /// `histogram`
    Histogram(Histogram),
    /// `range`
    Range(RangeAggregation),
    /// `date_range`
    DateRange(RangeAggregation),
    /// `filter`
    Filter(Box<Query>),
    /// `filters`
    Filters {
        /// Named ones, or unnamed with empty names, which are never keyed.
        filters: Vec<(String, Query)>,
        /// Whether the answer is an object by name.
        keyed: bool,
        /// The name of the bucket of the rest.
        other_bucket_key: Option<String>,
        /// Whether there is a bucket of the rest.
        other_bucket: Option<bool>,
    },
    /// `composite`
    Composite(Composite),
    /// `missing`
    Missing {
        /// The field.
        field: String,
    },
    /// `cardinality`
    Cardinality {
        /// The field.
        metric: Metric,
        /// Up to how many values it is exact.
        precision_threshold: Option<u64>,
    },
    /// `percentiles`
    Percentiles {
        /// The field.
        metric: Metric,
        /// Which; default 1, 5, 25, 50, 75, 95, 99.
        percents: Option<Vec<Number>>,
        /// Whether the answer is an object.
        keyed: Option<bool>,
        /// How values are kept while they are counted.
        tdigest: Option<Tdigest>,
    },
    /// `stats`
    Stats(Metric),
    /// `extended_stats`
    ExtendedStats {
        /// The field.
        metric: Metric,
        /// Deviations of the bounds.
        sigma: Option<Number>,
    },
    /// `min`
    Min(Metric),
    /// `max`
    Max(Metric),
    /// `avg`
    Avg(Metric),
    /// `sum`
    Sum(Metric),
    /// `value_count`
    ValueCount(Metric),
    /// `top_hits`: the parts of a search that choose hits
    TopHits(Box<Search>),
}

/// `tdigest` of `percentiles`
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tdigest {
    /// How much is kept, from 0 on; default 100.
    pub compression: Option<Number>,
    /// `default` or `high_accuracy`.
    pub execution_hint: Option<String>,
}

/// The field of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The field.
    pub field: String,
    /// The value of documents without one.
    pub missing: Option<Scalar>,
    /// A number or date format.
    pub format: Option<String>,
}

/// `terms`
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TermsAggregation {
    /// The field.
    pub field: String,
    /// Buckets; default 10.
    pub size: Option<u64>,
    /// Buckets a shard.
    pub shard_size: Option<u64>,
    /// (`_count`, `_key` or a path of metrics, direction), in order.
    pub order: Vec<(String, Order)>,
    /// Buckets with fewer are left out; default 1.
    pub min_doc_count: Option<u64>,
    /// As written.
    pub shard_min_doc_count: Option<u64>,
    /// The value of documents without one.
    pub missing: Option<Scalar>,
    /// Which terms.
    pub include: Option<TermsSelection>,
    /// Which terms not.
    pub exclude: Option<TermsSelection>,
    /// Whether each bucket says its error.
    pub show_term_doc_count_error: Option<bool>,
    /// As written.
    pub execution_hint: Option<String>,
    /// As written.
    pub collect_mode: Option<String>,
    /// A format for numbers and dates.
    pub format: Option<String>,
    /// The type of a field that no index has.
    pub value_type: Option<String>,
}

/// `include` or `exclude` of `terms`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermsSelection {
    /// Lucene's expression, anchored.
    Regexp(String),
    /// These values.
    Values(Vec<Scalar>),
    /// One part of so many.
    Partition {
        /// Which.
        partition: u64,
        /// Of how many.
        num_partitions: u64,
    },
}

/// `date_histogram`. Just one of the three intervals is there.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DateHistogram {
    /// The field.
    pub field: String,
    /// A multiple of ms, s, m, h, d.
    pub fixed_interval: Option<String>,
    /// minute, hour, day, week, month, quarter, year, or `1m`, `1h`, ...
    pub calendar_interval: Option<String>,
    /// Either, as before Elasticsearch 7.2.
    pub interval: Option<String>,
    /// An offset or a zone's name.
    pub time_zone: Option<String>,
    /// A shift of the buckets (`+6h`).
    pub offset: Option<String>,
    /// The form of `key_as_string`.
    pub format: Option<String>,
    /// Buckets with fewer are left out; default 0.
    pub min_doc_count: Option<u64>,
    /// Buckets to fill in even where no document lies.
    pub extended_bounds: Option<Bounds>,
    /// Buckets that may be at all.
    pub hard_bounds: Option<Bounds>,
    /// The value of documents without one.
    pub missing: Option<Scalar>,
    /// Whether the answer is an object.
    pub keyed: Option<bool>,
    /// `_key` or `_count` or a path of metrics.
    pub order: Vec<(String, Order)>,
}

/// `histogram`
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The field.
    pub field: String,
    /// The width, greater than 0.
    pub interval: Number,
    /// A shift of the buckets.
    pub offset: Option<Number>,
    /// Buckets with fewer are left out; default 0.
    pub min_doc_count: Option<u64>,
    /// Buckets to fill in.
    pub extended_bounds: Option<Bounds>,
    /// Buckets that may be at all.
    pub hard_bounds: Option<Bounds>,
    /// The value of documents without one.
    pub missing: Option<Scalar>,
    /// Whether the answer is an object.
    pub keyed: Option<bool>,
    /// As in `date_histogram`.
    pub order: Vec<(String, Order)>,
    /// A number format.
    pub format: Option<String>,
}

/// The two ends of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest.
    pub min: Option<Scalar>,
    /// The highest.
    pub max: Option<Scalar>,
}

/// `range` and `date_range`
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The field.
    pub field: String,
    /// `from` is within, `to` is not.
    pub ranges: Vec<RangeBucket>,
    /// Whether the answer is an object.
    pub keyed: Option<bool>,
    /// A date or number format.
    pub format: Option<String>,
    /// For `date_range`.
    pub time_zone: Option<String>,
    /// The value of documents without one.
    pub missing: Option<Scalar>,
}

/// One range of an aggregation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeBucket {
    /// Its name.
    pub key: Option<String>,
    /// From here.
    pub from: Option<Scalar>,
    /// To below here.
    pub to: Option<Scalar>,
}

/// `composite`
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// Buckets; default 10.
    pub size: Option<u64>,
    /// Names and sources in order.
    pub sources: Vec<(String, CompositeSource)>,
    /// The key of the last bucket of the page before.
    pub after: Option<Vec<(String, Scalar)>>,
}

/// One source of `composite`.
#[derive(Clone, Debug, PartialEq)]
pub struct CompositeSource {
    /// What its values are.
    pub kind: CompositeKind,
    /// Default ascending.
    pub order: Option<Order>,
    /// Whether documents without a value make a `null`.
    pub missing_bucket: Option<bool>,
    /// Where that `null` comes: `first`, `last` or `default`.
    pub missing_order: Option<String>,
}

/// What the values of a composite source are.
#[derive(Clone, Debug, PartialEq)]
pub enum CompositeKind {
    /// The field's values.
    Terms {
        /// The field.
        field: String,
    },
    /// Dates by interval.
    DateHistogram(Box<DateHistogram>),
    /// Numbers by width.
    Histogram {
        /// The field.
        field: String,
        /// The width.
        interval: Number,
    },
}
