//! A tree back into the JSON that Elasticsearch reads.
//!
//! Always the long forms, only what is there, and in one order: the same tree
//! gives the same bytes.

use std::fmt::Write;

use super::ast::{
    Aggregation, AggregationKind, Bool, Bounds, Clause, Composite, CompositeKind, CompositeSource,
    DateHistogram, FieldFormat, Highlight, HighlightSettings, Histogram, Match, MatchPhrase,
    Metric, MultiMatch, Number, Operator, Order, Query, QueryString, Range, RangeAggregation,
    Scalar, Search, SortKey, SourceFilter, Term, TermsAggregation, TermsSelection, TrackTotalHits,
};
use super::json::{Kind, Value};

impl Search {
    /// The body of a `_search` that asks this.
    ///
    /// ```
    /// use mscp_log_core::query::ast::Search;
    /// let search = Search::parse(br#"{"query":{"term":{"pod":"a"}}}"#, &[]).unwrap();
    /// assert_eq!(search.emit(), r#"{"query":{"term":{"pod":{"value":"a"}}}}"#);
    /// ```
    #[must_use]
    pub fn emit(&self) -> String {
        let mut out = String::new();
        object(&mut out, |object| search(object, self));
        out
    }
}

impl Query {
    /// This query alone as JSON.
    #[must_use]
    pub fn emit(&self) -> String {
        let mut out = String::new();
        query(&mut out, self);
        out
    }
}

/// An object that is being written.
struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

fn object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, first: true });
    out.push('}');
}

fn list<T>(out: &mut String, values: &[T], each: impl Fn(&mut String, &T)) {
    out.push('[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        each(out, value);
    }
    out.push(']');
}

fn text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line separators are escaped so that a body is always one line of `_msearch`.
            '\0'..='\u{1F}' | '\u{7F}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn scalar(out: &mut String, value: &Scalar) {
    match value {
        Scalar::Null => out.push_str("null"),
        Scalar::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Scalar::Number(number) => out.push_str(&number.0),
        Scalar::String(value) => text(out, value),
    }
}

/// A value as it was read, without its spaces.
pub(super) fn value(out: &mut String, from: &Value) {
    match &from.kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Kind::Number(number) => out.push_str(number),
        Kind::String(string) => text(out, string),
        Kind::Array(values) => list(out, values, value),
        Kind::Object(entries) => object(out, |object| {
            for (name, inner) in entries {
                value(object.key(name), inner);
            }
        }),
    }
}

impl Object<'_> {
    fn key(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        text(self.out, name);
        self.out.push(':');
        self.out
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            text(self.key(name), value);
        }
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        list(self.key(name), values, |out, value| text(out, value));
    }

    fn scalar(&mut self, name: &str, value: Option<&Scalar>) {
        if let Some(value) = value {
            scalar(self.key(name), value);
        }
    }

    fn number(&mut self, name: &str, value: Option<&Number>) {
        if let Some(value) = value {
            self.key(name).push_str(&value.0);
        }
    }

    fn count(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            let out = self.key(name);
            out.push_str(&value.to_string());
        }
    }

    fn flag(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.key(name)
                .push_str(if value { "true" } else { "false" });
        }
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(name), fill);
    }
}

fn search(into: &mut Object<'_>, from: &Search) {
    if let Some(inner) = &from.query {
        query(into.key("query"), inner);
    }
    if let Some(inner) = &from.post_filter {
        query(into.key("post_filter"), inner);
    }
    if !from.aggs.is_empty() {
        into.object("aggs", |into| aggregations(into, &from.aggs));
    }
    if !from.sort.is_empty() {
        list(into.key("sort"), &from.sort, sort_key);
    }
    if let Some(after) = &from.search_after {
        list(into.key("search_after"), after, scalar);
    }
    into.count("from", from.from);
    into.count("size", from.size);
    match &from.source {
        None => {}
        Some(SourceFilter::Whole(whole)) => into.flag("_source", Some(*whole)),
        Some(SourceFilter::Patterns { includes, excludes }) => into.object("_source", |into| {
            into.texts("includes", includes);
            into.texts("excludes", excludes);
        }),
    }
    if !from.fields.is_empty() {
        list(into.key("fields"), &from.fields, field_format);
    }
    if !from.docvalue_fields.is_empty() {
        list(
            into.key("docvalue_fields"),
            &from.docvalue_fields,
            field_format,
        );
    }
    if let Some(fields) = &from.stored_fields {
        into.texts("stored_fields", fields);
    }
    if let Some(inner) = &from.highlight {
        into.object("highlight", |into| highlight(into, inner));
    }
    match from.track_total_hits {
        None => {}
        Some(TrackTotalHits::Whole(whole)) => into.flag("track_total_hits", Some(whole)),
        Some(TrackTotalHits::UpTo(limit)) => into.count("track_total_hits", Some(limit)),
    }
    into.flag("track_scores", from.track_scores);
    into.flag("version", from.version);
    into.flag("seq_no_primary_term", from.seq_no_primary_term);
    into.number("min_score", from.min_score.as_ref());
    into.text("timeout", from.timeout.as_deref());
    into.count("terminate_after", from.terminate_after);
    if let Some(pit) = &from.pit {
        into.object("pit", |into| {
            into.text("id", Some(&pit.id));
            into.text("keep_alive", pit.keep_alive.as_deref());
        });
    }
    if let Some(slice) = &from.slice {
        into.object("slice", |into| {
            into.text("field", slice.field.as_deref());
            into.count("id", Some(slice.id));
            into.count("max", Some(slice.max));
        });
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    }
}

fn sort_key(out: &mut String, key: &SortKey) {
    object(out, |into| {
        into.object(&key.field, |into| {
            into.text("order", key.order.map(order_name));
            into.scalar("missing", key.missing.as_ref());
            into.text("unmapped_type", key.unmapped_type.as_deref());
            into.text("mode", key.mode.as_deref());
            into.text("format", key.format.as_deref());
            into.text("numeric_type", key.numeric_type.as_deref());
        });
    });
}

fn field_format(out: &mut String, from: &FieldFormat) {
    object(out, |into| {
        into.text("field", Some(&from.field));
        into.text("format", from.format.as_deref());
        into.flag("include_unmapped", from.include_unmapped);
    });
}

fn highlight(into: &mut Object<'_>, from: &Highlight) {
    highlight_settings(into, &from.settings);
    // As an array, because their order counts and a name may come twice.
    list(
        into.key("fields"),
        &from.fields,
        |out, (field, settings)| {
            object(out, |into| {
                into.object(field, |into| highlight_settings(into, settings));
            });
        },
    );
}

fn highlight_settings(into: &mut Object<'_>, from: &HighlightSettings) {
    if let Some(tags) = &from.pre_tags {
        into.texts("pre_tags", tags);
    }
    if let Some(tags) = &from.post_tags {
        into.texts("post_tags", tags);
    }
    into.count("fragment_size", from.fragment_size);
    into.count("number_of_fragments", from.number_of_fragments);
    into.count("no_match_size", from.no_match_size);
    into.flag("require_field_match", from.require_field_match);
    into.text("type", from.kind.as_deref());
    into.text("encoder", from.encoder.as_deref());
    into.text("order", from.order.as_deref());
    if let Some(inner) = &from.highlight_query {
        query(into.key("highlight_query"), inner);
    }
}

fn common(into: &mut Object<'_>, from: &Query) {
    into.number("boost", from.boost.as_ref());
    into.text("_name", from.name.as_deref());
}

fn query(out: &mut String, from: &Query) {
    object(out, |into| clause(into, from));
}

/// `{"name": {"field": {settings, boost, _name}}}`
fn of_field(
    into: &mut Object<'_>,
    name: &str,
    field: &str,
    from: &Query,
    fill: impl FnOnce(&mut Object<'_>),
) {
    into.object(name, |into| {
        into.object(field, |into| {
            fill(into);
            common(into, from);
        });
    });
}

fn clause(into: &mut Object<'_>, from: &Query) {
    match &from.clause {
        Clause::MatchAll => into.object("match_all", |into| common(into, from)),
        Clause::MatchNone => into.object("match_none", |into| common(into, from)),
        Clause::Match(inner) => of_field(into, "match", &inner.field, from, |into| {
            matching(into, inner);
        }),
        Clause::MatchBoolPrefix(inner) => {
            of_field(into, "match_bool_prefix", &inner.field, from, |into| {
                matching(into, inner);
            });
        }
        Clause::MatchPhrase(inner) => of_field(into, "match_phrase", &inner.field, from, |into| {
            phrase(into, inner);
        }),
        Clause::MatchPhrasePrefix(inner) => {
            of_field(into, "match_phrase_prefix", &inner.field, from, |into| {
                phrase(into, inner);
            });
        }
        Clause::MultiMatch(inner) => into.object("multi_match", |into| {
            multi_match(into, inner);
            common(into, from);
        }),
        Clause::Term(inner) => of_field(into, "term", &inner.field, from, |into| term(into, inner)),
        Clause::Prefix(inner) => {
            of_field(into, "prefix", &inner.field, from, |into| term(into, inner));
        }
        Clause::Wildcard(inner) => of_field(into, "wildcard", &inner.field, from, |into| {
            term(into, inner);
        }),
        Clause::Regexp {
            term: inner,
            flags,
            max_determinized_states,
        } => {
            of_field(into, "regexp", &inner.field, from, |into| {
                term(into, inner);
                into.text("flags", flags.as_deref());
                into.count("max_determinized_states", *max_determinized_states);
            });
        }
        Clause::Fuzzy {
            term: inner,
            fuzziness,
            prefix_length,
            max_expansions,
            transpositions,
        } => {
            of_field(into, "fuzzy", &inner.field, from, |into| {
                term(into, inner);
                into.scalar("fuzziness", fuzziness.as_ref());
                into.count("prefix_length", *prefix_length);
                into.count("max_expansions", *max_expansions);
                into.flag("transpositions", *transpositions);
            });
        }
        Clause::Terms { field, values } => into.object("terms", |into| {
            list(into.key(field), values, scalar);
            common(into, from);
        }),
        Clause::Range(inner) => {
            of_field(into, "range", &inner.field, from, |into| range(into, inner));
        }
        Clause::Bool(inner) => into.object("bool", |into| {
            boolean(into, inner);
            common(into, from);
        }),
        Clause::Exists { field } => into.object("exists", |into| {
            into.text("field", Some(field));
            common(into, from);
        }),
        Clause::Ids { values } => into.object("ids", |into| {
            into.texts("values", values);
            common(into, from);
        }),
        Clause::ConstantScore { filter } => into.object("constant_score", |into| {
            query(into.key("filter"), filter);
            common(into, from);
        }),
        Clause::QueryString(inner) => into.object("query_string", |into| {
            query_string(into, inner);
            common(into, from);
        }),
        Clause::SimpleQueryString(inner) => into.object("simple_query_string", |into| {
            query_string(into, inner);
            common(into, from);
        }),
    }
}

fn operator_name(operator: Operator) -> &'static str {
    match operator {
        Operator::And => "and",
        Operator::Or => "or",
    }
}

fn matching(into: &mut Object<'_>, from: &Match) {
    into.scalar("query", from.query.as_ref());
    into.text("operator", from.operator.map(operator_name));
    into.scalar("minimum_should_match", from.minimum_should_match.as_ref());
    into.scalar("fuzziness", from.fuzziness.as_ref());
    into.count("prefix_length", from.prefix_length);
    into.count("max_expansions", from.max_expansions);
    into.flag("fuzzy_transpositions", from.fuzzy_transpositions);
    into.flag("lenient", from.lenient);
    into.text("zero_terms_query", from.zero_terms_query.as_deref());
    into.text("analyzer", from.analyzer.as_deref());
    into.flag(
        "auto_generate_synonyms_phrase_query",
        from.auto_generate_synonyms_phrase_query,
    );
}

fn phrase(into: &mut Object<'_>, from: &MatchPhrase) {
    into.scalar("query", from.query.as_ref());
    into.count("slop", from.slop);
    into.count("max_expansions", from.max_expansions);
    into.text("zero_terms_query", from.zero_terms_query.as_deref());
    into.text("analyzer", from.analyzer.as_deref());
}

fn multi_match(into: &mut Object<'_>, from: &MultiMatch) {
    matching(into, &from.matching);
    if !from.fields.is_empty() {
        into.texts("fields", &from.fields);
    }
    into.text("type", from.kind.as_deref());
    into.count("slop", from.slop);
    into.number("tie_breaker", from.tie_breaker.as_ref());
}

fn term(into: &mut Object<'_>, from: &Term) {
    into.scalar("value", Some(&from.value));
    into.flag("case_insensitive", from.case_insensitive);
    into.text("rewrite", from.rewrite.as_deref());
}

fn range(into: &mut Object<'_>, from: &Range) {
    into.scalar("gt", from.gt.as_ref());
    into.scalar("gte", from.gte.as_ref());
    into.scalar("lt", from.lt.as_ref());
    into.scalar("lte", from.lte.as_ref());
    into.text("format", from.format.as_deref());
    into.text("time_zone", from.time_zone.as_deref());
    into.text("relation", from.relation.as_deref());
}

fn boolean(into: &mut Object<'_>, from: &Bool) {
    let lists = [
        ("must", &from.must),
        ("filter", &from.filter),
        ("should", &from.should),
        ("must_not", &from.must_not),
    ];
    for (name, clauses) in lists {
        if !clauses.is_empty() {
            list(into.key(name), clauses, query);
        }
    }
    into.scalar("minimum_should_match", from.minimum_should_match.as_ref());
}

fn query_string(into: &mut Object<'_>, from: &QueryString) {
    into.text("query", Some(&from.query));
    into.text("default_field", from.default_field.as_deref());
    if !from.fields.is_empty() {
        into.texts("fields", &from.fields);
    }
    into.text("default_operator", from.default_operator.map(operator_name));
    into.flag("allow_leading_wildcard", from.allow_leading_wildcard);
    into.flag("analyze_wildcard", from.analyze_wildcard);
    into.flag("lenient", from.lenient);
    into.scalar("minimum_should_match", from.minimum_should_match.as_ref());
    into.count("phrase_slop", from.phrase_slop);
    into.text("time_zone", from.time_zone.as_deref());
    into.text("flags", from.flags.as_deref());
    into.text("analyzer", from.analyzer.as_deref());
    into.scalar("fuzziness", from.fuzziness.as_ref());
}

fn aggregations(into: &mut Object<'_>, from: &[(String, Aggregation)]) {
    for (name, inner) in from {
        into.object(name, |into| {
            kind(into, &inner.kind);
            if !inner.aggs.is_empty() {
                into.object("aggs", |into| aggregations(into, &inner.aggs));
            }
            if let Some(meta) = &inner.meta {
                into.key("meta").push_str(meta);
            }
        });
    }
}

fn kind(into: &mut Object<'_>, from: &AggregationKind) {
    match from {
        AggregationKind::Terms(inner) => into.object("terms", |into| terms(into, inner)),
        AggregationKind::DateHistogram(inner) => {
            into.object("date_histogram", |into| date_histogram(into, inner));
        }
        AggregationKind::Histogram(inner) => {
            into.object("histogram", |into| histogram(into, inner));
        }
        AggregationKind::Range(inner) => into.object("range", |into| ranges(into, inner)),
        AggregationKind::DateRange(inner) => into.object("date_range", |into| ranges(into, inner)),
        AggregationKind::Filter(inner) => query(into.key("filter"), inner),
        AggregationKind::Filters {
            filters,
            keyed,
            other_bucket_key,
            other_bucket,
        } => into.object("filters", |into| {
            if *keyed || filters.iter().any(|(name, _)| !name.is_empty()) {
                into.object("filters", |into| {
                    filters
                        .iter()
                        .for_each(|(name, inner)| query(into.key(name), inner));
                });
                into.flag("keyed", (!*keyed).then_some(false));
            } else {
                list(into.key("filters"), filters, |out, (_, inner)| {
                    query(out, inner);
                });
            }
            into.text("other_bucket_key", other_bucket_key.as_deref());
            into.flag("other_bucket", *other_bucket);
        }),
        AggregationKind::Composite(inner) => {
            into.object("composite", |into| composite(into, inner));
        }
        AggregationKind::Missing { field } => {
            into.object("missing", |into| into.text("field", Some(field)));
        }
        AggregationKind::Cardinality {
            metric: inner,
            precision_threshold,
        } => into.object("cardinality", |into| {
            metric(into, inner);
            into.count("precision_threshold", *precision_threshold);
        }),
        AggregationKind::Percentiles {
            metric: inner,
            percents,
            keyed,
            tdigest,
        } => into.object("percentiles", |into| {
            metric(into, inner);
            if let Some(percents) = percents {
                list(into.key("percents"), percents, |out, number| {
                    out.push_str(&number.0);
                });
            }
            into.flag("keyed", *keyed);
            if let Some(tdigest) = tdigest {
                into.object("tdigest", |into| {
                    into.number("compression", tdigest.compression.as_ref());
                    into.text("execution_hint", tdigest.execution_hint.as_deref());
                });
            }
        }),
        AggregationKind::Stats(inner) => into.object("stats", |into| metric(into, inner)),
        AggregationKind::ExtendedStats {
            metric: inner,
            sigma,
        } => into.object("extended_stats", |into| {
            metric(into, inner);
            into.number("sigma", sigma.as_ref());
        }),
        AggregationKind::Min(inner) => into.object("min", |into| metric(into, inner)),
        AggregationKind::Max(inner) => into.object("max", |into| metric(into, inner)),
        AggregationKind::Avg(inner) => into.object("avg", |into| metric(into, inner)),
        AggregationKind::Sum(inner) => into.object("sum", |into| metric(into, inner)),
        AggregationKind::ValueCount(inner) => {
            into.object("value_count", |into| metric(into, inner));
        }
        AggregationKind::TopHits(inner) => into.object("top_hits", |into| search(into, inner)),
    }
}

fn metric(into: &mut Object<'_>, from: &Metric) {
    into.text("field", Some(&from.field));
    into.scalar("missing", from.missing.as_ref());
    into.text("format", from.format.as_deref());
}

fn orders(into: &mut Object<'_>, from: &[(String, Order)]) {
    if from.is_empty() {
        return;
    }
    list(into.key("order"), from, |out, (path, order)| {
        object(out, |into| into.text(path, Some(order_name(*order))));
    });
}

fn terms(into: &mut Object<'_>, from: &TermsAggregation) {
    into.text("field", Some(&from.field));
    into.count("size", from.size);
    into.count("shard_size", from.shard_size);
    orders(into, &from.order);
    into.count("min_doc_count", from.min_doc_count);
    into.count("shard_min_doc_count", from.shard_min_doc_count);
    into.scalar("missing", from.missing.as_ref());
    for (name, selection) in [("include", &from.include), ("exclude", &from.exclude)] {
        match selection {
            None => {}
            Some(TermsSelection::Regexp(expression)) => into.text(name, Some(expression)),
            Some(TermsSelection::Values(values)) => list(into.key(name), values, scalar),
            Some(TermsSelection::Partition {
                partition,
                num_partitions,
            }) => into.object(name, |into| {
                into.count("partition", Some(*partition));
                into.count("num_partitions", Some(*num_partitions));
            }),
        }
    }
    into.flag("show_term_doc_count_error", from.show_term_doc_count_error);
    into.text("execution_hint", from.execution_hint.as_deref());
    into.text("collect_mode", from.collect_mode.as_deref());
    into.text("format", from.format.as_deref());
    into.text("value_type", from.value_type.as_deref());
}

fn bounds(into: &mut Object<'_>, name: &str, from: Option<&Bounds>) {
    if let Some(from) = from {
        into.object(name, |into| {
            into.scalar("min", from.min.as_ref());
            into.scalar("max", from.max.as_ref());
        });
    }
}

fn date_histogram(into: &mut Object<'_>, from: &DateHistogram) {
    into.text("field", Some(&from.field));
    into.text("fixed_interval", from.fixed_interval.as_deref());
    into.text("calendar_interval", from.calendar_interval.as_deref());
    into.text("interval", from.interval.as_deref());
    into.text("time_zone", from.time_zone.as_deref());
    into.text("offset", from.offset.as_deref());
    into.text("format", from.format.as_deref());
    into.count("min_doc_count", from.min_doc_count);
    bounds(into, "extended_bounds", from.extended_bounds.as_ref());
    bounds(into, "hard_bounds", from.hard_bounds.as_ref());
    into.scalar("missing", from.missing.as_ref());
    into.flag("keyed", from.keyed);
    orders(into, &from.order);
}

fn histogram(into: &mut Object<'_>, from: &Histogram) {
    into.text("field", Some(&from.field));
    into.number("interval", Some(&from.interval));
    into.number("offset", from.offset.as_ref());
    into.count("min_doc_count", from.min_doc_count);
    bounds(into, "extended_bounds", from.extended_bounds.as_ref());
    bounds(into, "hard_bounds", from.hard_bounds.as_ref());
    into.scalar("missing", from.missing.as_ref());
    into.flag("keyed", from.keyed);
    orders(into, &from.order);
    into.text("format", from.format.as_deref());
}

fn ranges(into: &mut Object<'_>, from: &RangeAggregation) {
    into.text("field", Some(&from.field));
    list(into.key("ranges"), &from.ranges, |out, bucket| {
        object(out, |into| {
            into.text("key", bucket.key.as_deref());
            into.scalar("from", bucket.from.as_ref());
            into.scalar("to", bucket.to.as_ref());
        });
    });
    into.flag("keyed", from.keyed);
    into.text("format", from.format.as_deref());
    into.text("time_zone", from.time_zone.as_deref());
    into.scalar("missing", from.missing.as_ref());
}

fn composite(into: &mut Object<'_>, from: &Composite) {
    into.count("size", from.size);
    list(into.key("sources"), &from.sources, |out, (name, source)| {
        object(out, |into| {
            into.object(name, |into| composite_source(into, source));
        });
    });
    if let Some(after) = &from.after {
        into.object("after", |into| {
            after
                .iter()
                .for_each(|(name, value)| into.scalar(name, Some(value)));
        });
    }
}

fn composite_source(into: &mut Object<'_>, from: &CompositeSource) {
    let rest = |into: &mut Object<'_>| {
        into.text("order", from.order.map(order_name));
        into.flag("missing_bucket", from.missing_bucket);
        into.text("missing_order", from.missing_order.as_deref());
    };
    match &from.kind {
        CompositeKind::Terms { field } => into.object("terms", |into| {
            into.text("field", Some(field));
            rest(into);
        }),
        CompositeKind::DateHistogram(inner) => into.object("date_histogram", |into| {
            date_histogram(into, inner);
            rest(into);
        }),
        CompositeKind::Histogram { field, interval } => into.object("histogram", |into| {
            into.text("field", Some(field));
            into.number("interval", Some(interval));
            rest(into);
        }),
    }
}
