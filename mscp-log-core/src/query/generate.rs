//! Random trees of searches for property tests: every kind of clause, every
//! kind of aggregation, over fields that exist and some that do not, with
//! values that documents have.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::ast::*;
use super::parse_query::query_string_tree;

pub(super) fn field() -> BoxedStrategy<String> {
    select(vec![
        "message",
        "message",
        "namespace",
        "namespace",
        "pod",
        "level",
        "tags",
        "annotation",
        "annotations.user",
        "annotations",
        "seq",
        "realtime_us",
        "@timestamp",
        "appid",
        "type",
        "zone",
        "hostname",
        "no.such.field",
        "_id",
        "_index",
        "index",
    ])
    .prop_map(str::to_owned)
    .boxed()
}

/// Words that are in documents, and some that are not.
pub(super) fn word() -> BoxedStrategy<String> {
    select(vec![
        "a",
        "b",
        "c",
        "error",
        "Error",
        "default",
        "kube-system",
        "web-1",
        "日志",
        "x y",
        "timeout",
        "user=a",
        "12",
        "",
        "\"quoted\" \\ \u{2028} \u{1}",
    ])
    .prop_map(str::to_owned)
    .boxed()
}

fn number() -> BoxedStrategy<Number> {
    prop_oneof![
        (-3i64..20).prop_map(|number| Number(number.to_string())),
        select(vec!["0.5", "1e3", "1.0", "-0", "12345678901234567890123"])
            .prop_map(|text| Number(text.to_owned())),
    ]
    .boxed()
}

fn positive() -> BoxedStrategy<Number> {
    select(vec!["1", "2.5", "0.1", "1e1"])
        .prop_map(|text| Number(text.to_owned()))
        .boxed()
}

fn scalar() -> BoxedStrategy<Scalar> {
    prop_oneof![
        4 => word().prop_map(Scalar::String),
        2 => number().prop_map(Scalar::Number),
        1 => any::<bool>().prop_map(Scalar::Bool),
    ]
    .boxed()
}

fn nullable() -> BoxedStrategy<Scalar> {
    prop_oneof![5 => scalar(), 1 => Just(Scalar::Null)].boxed()
}

fn date() -> BoxedStrategy<Scalar> {
    prop_oneof![
        select(vec![
            "now",
            "now-1h/d",
            "1970-01-01",
            "1970-01-01||+1s",
            "2100",
            "1970-01-01T00:00:00.005Z"
        ])
        .prop_map(|text| Scalar::String(text.to_owned())),
        (0i64..10_000).prop_map(|number| Scalar::Number(Number(number.to_string()))),
    ]
    .boxed()
}

fn operator() -> BoxedStrategy<Operator> {
    select(vec![Operator::And, Operator::Or]).boxed()
}

fn should_match() -> BoxedStrategy<Scalar> {
    prop_oneof![
        (-2i64..4).prop_map(|count| Scalar::Number(Number(count.to_string()))),
        select(vec!["1", "75%", "-25%", "2<75%"]).prop_map(|text| Scalar::String(text.to_owned())),
    ]
    .boxed()
}

fn matching() -> BoxedStrategy<Match> {
    (
        field(),
        scalar(),
        of(operator()),
        of(should_match()),
        of(any::<bool>()),
        of(select(vec!["none", "all"])),
    )
        .prop_map(
            |(field, query, operator, minimum_should_match, lenient, zero)| Match {
                field,
                query: Some(query),
                operator,
                minimum_should_match,
                lenient,
                zero_terms_query: zero.map(str::to_owned),
                ..Match::default()
            },
        )
        .boxed()
}

fn phrase() -> BoxedStrategy<MatchPhrase> {
    (field(), scalar(), of(0u64..3))
        .prop_map(|(field, query, slop)| MatchPhrase {
            field,
            query: Some(query),
            slop,
            ..MatchPhrase::default()
        })
        .boxed()
}

fn term(value: impl Strategy<Value = Scalar> + 'static) -> BoxedStrategy<Term> {
    (field(), value, of(any::<bool>()))
        .prop_map(|(field, value, case_insensitive)| Term {
            field,
            value,
            case_insensitive,
            rewrite: None,
        })
        .boxed()
}

fn pattern() -> BoxedStrategy<Scalar> {
    select(vec!["a*", "*", "?", "err?r", "*e*", "web\\*", ""])
        .prop_map(|text| Scalar::String(text.to_owned()))
        .boxed()
}

fn expression() -> BoxedStrategy<Scalar> {
    select(vec!["a.*", "[a-c]", "err(or)?", "@", "web-[0-9]+"])
        .prop_map(|text| Scalar::String(text.to_owned()))
        .boxed()
}

fn range() -> BoxedStrategy<Range> {
    let dates = (
        select(vec!["@timestamp", "source_time"]),
        of(date()),
        of(date()),
        any::<(bool, bool)>(),
        of(select(vec!["UTC", "+08:00", "Asia/Shanghai"])),
        of(select(vec![
            "epoch_millis",
            "strict_date_optional_time||epoch_millis",
        ])),
    );
    let dates = dates.prop_map(|(field, low, high, open, zone, format)| {
        let mut range = of_bounds(field.to_owned(), low, high, open);
        range.time_zone = zone.map(str::to_owned);
        range.format = format.map(str::to_owned);
        range
    });
    let others = (field(), of(scalar()), of(scalar()), any::<(bool, bool)>())
        .prop_map(|(field, low, high, open)| of_bounds(field, low, high, open));
    prop_oneof![dates, others].boxed()
}

fn of_bounds(
    field: String,
    low: Option<Scalar>,
    high: Option<Scalar>,
    (open_low, open_high): (bool, bool),
) -> Range {
    let mut range = Range {
        field,
        ..Range::default()
    };
    *(if open_low {
        &mut range.gt
    } else {
        &mut range.gte
    }) = low;
    *(if open_high {
        &mut range.lt
    } else {
        &mut range.lte
    }) = high;
    range
}

/// Texts of a query string that Lucene takes.
pub(super) fn query_text() -> BoxedStrategy<String> {
    let leaf = select(vec![
        "error",
        "a",
        "b AND c",
        "level:error",
        "namespace:(default kube-system)",
        "\"a b\"~1",
        "err*",
        "web?1",
        "-b",
        "+a",
        "seq:>=3",
        "seq:[1 TO 5}",
        "@timestamp:[1970-01-01 TO *]",
        "_exists_:level",
        "pod:*",
        "*:*",
        "/err.*/",
        "a^2",
        "NOT c",
        "namespace:\"default\"",
        "annotations.user:a",
        "*",
        "日志",
        "x\\ y",
        "no.such:a",
    ]);
    vec(
        (
            leaf,
            select(vec![" ", " AND ", " OR ", " && "]),
            any::<bool>(),
        ),
        1..4,
    )
    .prop_map(|parts| {
        let mut text = String::new();
        for (place, (leaf, joint, group)) in parts.into_iter().enumerate() {
            if place > 0 {
                text.push_str(joint);
            }
            text.push_str(&if group {
                format!("({leaf})")
            } else {
                leaf.to_owned()
            });
        }
        text
    })
    .boxed()
}

fn query_string() -> BoxedStrategy<QueryString> {
    (
        query_text(),
        of(operator()),
        of(select(vec!["message", "namespace", "*"])),
        vec(field(), 0..3),
    )
        .prop_filter_map(
            "texts that Lucene takes",
            |(query, default_operator, default_field, fields)| {
                let default_field = default_field
                    .filter(|_| fields.is_empty())
                    .map(str::to_owned);
                let mut text = QueryString {
                    query,
                    default_operator,
                    default_field,
                    fields,
                    ..QueryString::default()
                };
                query_string_tree(&mut text).ok()?;
                (!matches!(text.tree, super::lucene::Node::Unreadable(_))).then_some(text)
            },
        )
        .boxed()
}

fn leaf() -> BoxedStrategy<Clause> {
    prop_oneof![
        Just(Clause::MatchAll),
        Just(Clause::MatchNone),
        matching().prop_map(Clause::Match),
        matching().prop_map(Clause::MatchBoolPrefix),
        phrase().prop_map(Clause::MatchPhrase),
        (
            matching(),
            vec(field(), 0..3),
            of(select(vec![
                "best_fields",
                "phrase",
                "most_fields",
                "cross_fields"
            ]))
        )
            .prop_map(|(mut matching, fields, kind)| {
                matching.field.clear();
                Clause::MultiMatch(MultiMatch {
                    fields,
                    matching,
                    kind: kind.map(str::to_owned),
                    slop: None,
                    tie_breaker: None,
                })
            }),
        term(scalar()).prop_map(Clause::Term),
        (field(), vec(scalar(), 0..4)).prop_map(|(field, values)| Clause::Terms { field, values }),
        range().prop_map(Clause::Range),
        range().prop_map(Clause::Range),
        field().prop_map(|field| Clause::Exists { field }),
        term(word().prop_map(Scalar::String)).prop_map(Clause::Prefix),
        term(pattern()).prop_map(Clause::Wildcard),
        term(expression()).prop_map(|term| Clause::Regexp {
            term,
            flags: None,
            max_determinized_states: None
        }),
        vec(word(), 0..3).prop_map(|values| Clause::Ids { values }),
        query_string().prop_map(Clause::QueryString),
        (word(), vec(field(), 0..2)).prop_map(|(query, fields)| {
            let tree =
                super::lucene::parse_simple(&query, Operator::Or, super::lucene::Flags::default())
                    .unwrap_or_default();
            Clause::SimpleQueryString(QueryString {
                query,
                tree,
                fields,
                ..QueryString::default()
            })
        }),
    ]
    .boxed()
}

fn named(clause: impl Strategy<Value = Clause> + 'static) -> BoxedStrategy<Query> {
    (clause, of(positive()), of(select(vec!["n", "m"])))
        .prop_map(|(clause, boost, name)| Query {
            clause,
            boost,
            name: name.map(str::to_owned),
        })
        .boxed()
}

/// Any query.
pub(super) fn query() -> BoxedStrategy<Query> {
    named(leaf()).prop_recursive(3, 16, 4, |inner| {
        let boolean = (
            vec(inner.clone(), 0..3),
            vec(inner.clone(), 0..3),
            vec(inner.clone(), 0..3),
            vec(inner.clone(), 0..3),
            of(should_match()),
        );
        let boolean = boolean.prop_map(|(must, filter, should, must_not, minimum_should_match)| {
            Clause::Bool(Bool { must, filter, should, must_not, minimum_should_match })
        });
        prop_oneof![
            4 => named(boolean),
            1 => named(inner.prop_map(|filter| Clause::ConstantScore { filter: Box::new(filter) })),
        ]
    }).boxed()
}

fn metric() -> BoxedStrategy<Metric> {
    (field(), of(scalar()))
        .prop_map(|(field, missing)| Metric {
            field,
            missing,
            format: None,
        })
        .boxed()
}

fn orders() -> BoxedStrategy<Vec<(String, Order)>> {
    vec(
        (
            select(vec!["_count", "_key", "m.max"]).prop_map(str::to_owned),
            order(),
        ),
        0..3,
    )
    .boxed()
}

fn order() -> BoxedStrategy<Order> {
    select(vec![Order::Asc, Order::Desc]).boxed()
}

fn bounds() -> BoxedStrategy<Bounds> {
    (of(date()), of(date()))
        .prop_map(|(min, max)| Bounds { min, max })
        .boxed()
}

/// Of numbers the lowest comes first.
fn number_bounds() -> BoxedStrategy<Bounds> {
    (of(-3i64..5), of(5i64..9))
        .prop_map(|(min, max)| {
            let number = |bound: i64| Scalar::Number(Number(bound.to_string()));
            Bounds {
                min: min.map(number),
                max: max.map(number),
            }
        })
        .boxed()
}

fn date_histogram() -> BoxedStrategy<DateHistogram> {
    (
        0..3,
        of(select(vec!["UTC", "+08:00"])),
        of(0u64..3),
        of(bounds()),
        of(bounds()),
        orders(),
        of(any::<bool>()),
        of(date()),
    )
        .prop_map(
            |(which, zone, min_doc_count, extended_bounds, hard_bounds, order, keyed, missing)| {
                let interval = |place, text: &str| (which == place).then(|| text.to_owned());
                DateHistogram {
                    field: "@timestamp".to_owned(),
                    fixed_interval: interval(0, "30s"),
                    calendar_interval: interval(1, "day"),
                    interval: interval(2, "1h"),
                    time_zone: zone.map(str::to_owned),
                    offset: None,
                    format: None,
                    min_doc_count,
                    extended_bounds,
                    hard_bounds,
                    missing,
                    keyed,
                    order,
                }
            },
        )
        .boxed()
}

fn selection() -> BoxedStrategy<TermsSelection> {
    prop_oneof![
        select(vec!["a.*", "web-[0-9]"]).prop_map(|text| TermsSelection::Regexp(text.to_owned())),
        vec(scalar(), 0..3).prop_map(TermsSelection::Values),
    ]
    .boxed()
}

fn terms() -> BoxedStrategy<TermsAggregation> {
    (
        field(),
        of(1u64..20),
        orders(),
        of(0u64..3),
        of(scalar()),
        of(selection()),
        of(selection()),
        of(any::<bool>()),
    )
        .prop_map(
            |(field, size, order, min_doc_count, missing, include, exclude, show)| {
                TermsAggregation {
                    field,
                    size,
                    order,
                    min_doc_count,
                    missing,
                    include,
                    exclude,
                    show_term_doc_count_error: show,
                    ..TermsAggregation::default()
                }
            },
        )
        .boxed()
}

fn ranges() -> BoxedStrategy<RangeAggregation> {
    (
        field(),
        vec((of(word()), of(scalar()), of(scalar())), 1..3),
        of(any::<bool>()),
    )
        .prop_map(|(field, ranges, keyed)| RangeAggregation {
            field,
            ranges: ranges
                .into_iter()
                .map(|(key, from, to)| RangeBucket { key, from, to })
                .collect(),
            keyed,
            format: None,
            time_zone: None,
            missing: None,
        })
        .boxed()
}

fn composite() -> BoxedStrategy<Composite> {
    let source = prop_oneof![
        field().prop_map(|field| CompositeKind::Terms { field }),
        (field(), positive())
            .prop_map(|(field, interval)| CompositeKind::Histogram { field, interval }),
        field().prop_map(
            |field| CompositeKind::DateHistogram(Box::new(DateHistogram {
                field,
                fixed_interval: Some("1h".to_owned()),
                ..DateHistogram::default()
            }))
        ),
    ];
    let source = (source, of(order()), of(any::<bool>()), any::<bool>()).prop_map(
        |(kind, order, missing_bucket, last)| CompositeSource {
            kind,
            order,
            missing_bucket,
            missing_order: (last && missing_bucket == Some(true)).then(|| "last".to_owned()),
        },
    );
    (of(1u64..20), vec(source, 1..3), of(nullable()))
        .prop_map(|(size, sources, after)| Composite {
            size,
            after: after.map(|value| vec![("s0".to_owned(), value)]),
            sources: sources
                .into_iter()
                .enumerate()
                .map(|(place, source)| (format!("s{place}"), source))
                .collect(),
        })
        .boxed()
}

fn bucket_kind() -> BoxedStrategy<AggregationKind> {
    prop_oneof![
        terms().prop_map(AggregationKind::Terms),
        date_histogram().prop_map(AggregationKind::DateHistogram),
        (
            field(),
            positive(),
            of(0u64..2),
            of(number_bounds()),
            orders()
        )
            .prop_map(|(field, interval, min_doc_count, extended_bounds, order)| {
                AggregationKind::Histogram(Histogram {
                    field,
                    interval,
                    offset: None,
                    min_doc_count,
                    extended_bounds,
                    hard_bounds: None,
                    missing: None,
                    keyed: None,
                    order,
                    format: None,
                })
            }),
        ranges().prop_map(AggregationKind::Range),
        ranges().prop_map(AggregationKind::DateRange),
        query().prop_map(|query| AggregationKind::Filter(Box::new(query))),
        vec(query(), 1..3).prop_map(|queries| AggregationKind::Filters {
            filters: queries
                .into_iter()
                .enumerate()
                .map(|(place, query)| (format!("f{place}"), query))
                .collect(),
            keyed: true,
            other_bucket_key: None,
            other_bucket: Some(true),
        }),
        composite().prop_map(AggregationKind::Composite),
        field().prop_map(|field| AggregationKind::Missing { field }),
    ]
    .boxed()
}

fn metric_kind() -> BoxedStrategy<AggregationKind> {
    prop_oneof![
        (metric(), of(0u64..100)).prop_map(|(metric, precision_threshold)| {
            AggregationKind::Cardinality {
                metric,
                precision_threshold,
            }
        }),
        (
            metric(),
            of(subsequence(vec!["0", "2.5", "50", "1e2"], 1..4)),
            of(any::<bool>()),
            of(of(positive()))
        )
            .prop_map(|(metric, percents, keyed, compression)| {
                AggregationKind::Percentiles {
                    metric,
                    percents: percents.map(|list| {
                        let numbers = list.into_iter().map(|text| Number(text.to_owned()));
                        numbers.collect()
                    }),
                    keyed,
                    tdigest: compression.map(|compression| Tdigest {
                        compression,
                        execution_hint: None,
                    }),
                }
            }),
        metric().prop_map(AggregationKind::Stats),
        (metric(), of(positive()))
            .prop_map(|(metric, sigma)| AggregationKind::ExtendedStats { metric, sigma }),
        metric().prop_map(AggregationKind::Min),
        metric().prop_map(AggregationKind::Max),
        metric().prop_map(AggregationKind::Avg),
        metric().prop_map(AggregationKind::Sum),
        metric().prop_map(AggregationKind::ValueCount),
        (of(0u64..5), vec(sort_key(), 0..3), of(source())).prop_map(|(size, sort, source)| {
            AggregationKind::TopHits(Box::new(Search {
                size,
                sort,
                source,
                ..Search::default()
            }))
        }),
    ]
    .boxed()
}

fn by_name(aggregations: Vec<Aggregation>) -> Vec<(String, Aggregation)> {
    aggregations
        .into_iter()
        .enumerate()
        .map(|(place, aggregation)| (format!("a{place}"), aggregation))
        .collect()
}

/// Aggregations nested up to three deep.
pub(super) fn aggregations() -> BoxedStrategy<Vec<(String, Aggregation)>> {
    let meta = || of(Just("{\"a\":[1.0,null,{\"b\":\"c\"}]}".to_owned()));
    let leaf = (metric_kind(), meta()).prop_map(|(kind, meta)| Aggregation {
        kind,
        aggs: Vec::new(),
        meta,
    });
    let tree = leaf.prop_recursive(2, 6, 3, move |inner| {
        (bucket_kind(), vec(inner, 0..3), meta()).prop_map(|(kind, aggs, meta)| Aggregation {
            kind,
            aggs: by_name(aggs),
            meta,
        })
    });
    vec(tree, 0..3).prop_map(by_name).boxed()
}

fn sort_key() -> BoxedStrategy<SortKey> {
    (
        prop_oneof![4 => field(), 1 => Just("_score".to_owned()), 1 => Just("_doc".to_owned())],
        of(order()),
        of(scalar()),
        of(select(vec!["long", "keyword"])),
    )
        .prop_map(|(field, order, missing, unmapped_type)| SortKey {
            field,
            order,
            missing,
            unmapped_type: unmapped_type.map(str::to_owned),
            mode: None,
            format: None,
            numeric_type: None,
        })
        .boxed()
}

fn source() -> BoxedStrategy<SourceFilter> {
    prop_oneof![
        any::<bool>().prop_map(SourceFilter::Whole),
        (vec(field(), 0..3), vec(field(), 0..3))
            .prop_map(|(includes, excludes)| SourceFilter::Patterns { includes, excludes }),
    ]
    .boxed()
}

fn field_format() -> BoxedStrategy<FieldFormat> {
    (
        field(),
        of(Just("epoch_millis".to_owned())),
        of(any::<bool>()),
    )
        .prop_map(|(field, format, include_unmapped)| FieldFormat {
            field,
            format,
            include_unmapped,
        })
        .boxed()
}

fn settings() -> BoxedStrategy<HighlightSettings> {
    (
        of(vec(word(), 1..3)),
        of(0u64..200),
        of(any::<bool>()),
        of(query()),
    )
        .prop_map(
            |(pre_tags, fragment_size, require_field_match, highlight_query)| HighlightSettings {
                post_tags: pre_tags.clone(),
                pre_tags,
                fragment_size,
                require_field_match,
                highlight_query: highlight_query.map(Box::new),
                ..HighlightSettings::default()
            },
        )
        .boxed()
}

/// Any search.
pub(super) fn search() -> BoxedStrategy<Search> {
    let hits = (
        of(vec(nullable(), 1..3)),
        of(0u64..100),
        of(0u64..100),
        of(source()),
        vec(field_format(), 0..2),
        vec(field_format(), 0..2),
        of(vec(field(), 0..2)),
        of((vec((field(), settings()), 0..2), settings())),
    );
    let rest = (
        of(prop_oneof![
            any::<bool>().prop_map(TrackTotalHits::Whole),
            (0u64..100).prop_map(TrackTotalHits::UpTo)
        ]),
        of(any::<bool>()),
        of(positive()),
        of(Just("10s".to_owned())),
        of(1u64..100),
        of((word(), of(Just("1m".to_owned())))),
        of((0u64..4, of(field())).prop_map(|(id, field)| Slice { id, max: 5, field })),
    );
    (
        of(query()),
        of(query()),
        aggregations(),
        vec(sort_key(), 0..3),
        hits,
        rest,
    )
        .prop_map(|(query, post_filter, aggs, sort, hits, rest)| Search {
            query,
            post_filter,
            aggs,
            sort,
            search_after: hits.0,
            from: hits.1,
            size: hits.2,
            source: hits.3,
            fields: hits.4,
            docvalue_fields: hits.5,
            stored_fields: hits.6,
            highlight: hits
                .7
                .map(|(fields, settings)| Highlight { fields, settings }),
            track_total_hits: rest.0,
            track_scores: rest.1,
            version: rest.1,
            seq_no_primary_term: rest.1,
            min_score: rest.2,
            timeout: rest.3,
            terminate_after: rest.4,
            pit: rest.5.map(|(id, keep_alive)| Pit { id, keep_alive }),
            slice: rest.6,
        })
        .boxed()
}

/// A document as it is stored, with some of its fields in other shapes than
/// the cleaner gives them (arrays, nested objects, left out).
pub(super) fn document() -> BoxedStrategy<serde_json::Value> {
    let text = || {
        select(vec![
            "a",
            "b",
            "c",
            "error a",
            "b c error",
            "A Time-Out",
            "日志 a",
            "x y",
            "",
        ])
    };
    let name = || {
        select(vec![
            "a",
            "b",
            "c",
            "default",
            "kube-system",
            "web-1",
            "Error",
            "",
        ])
    };
    let named = prop_oneof![
        6 => name().prop_map(serde_json::Value::from),
        1 => vec(name(), 0..3).prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => (0i64..20).prop_map(serde_json::Value::from),
    ];
    let keyword = select(vec![
        "namespace",
        "namespace",
        "namespace",
        "appid",
        "pod",
        "type",
        "zone",
        "hostname",
        "level",
        "index",
        "cluster",
        "controler",
        "tags",
        "annotation",
    ]);
    let annotation = (select(vec!["user", "x.y"]), name());
    (
        text(),
        vec((keyword, named), 0..8),
        of(0i64..20),
        of(select(vec![
            "1970-01-01T00:00:00.005Z",
            "1970-01-01T00:00:01Z",
            "2018-01-24T06:20:19.231Z",
        ])),
        of(annotation),
    )
        .prop_map(|(message, keywords, number, date, annotation)| {
            let mut document = serde_json::json!({"message": message});
            for (field, value) in keywords {
                document[field] = value;
            }
            if let Some(number) = number {
                document["seq"] = number.into();
                document["log"] = serde_json::json!({"offset": number, "file": {"path": "/a"}});
            }
            if let Some(date) = date {
                document["@timestamp"] = date.into();
            }
            if let Some((key, value)) = annotation {
                document["annotations"] = serde_json::json!({key: value});
            }
            document
        })
        .boxed()
}

/// A restriction on some fields, to values that documents have.
pub(super) fn restriction() -> BoxedStrategy<crate::access::Restriction> {
    let values = || {
        of(proptest::collection::btree_set(
            select(vec!["a", "b", "default", "kube-system", ""]).prop_map(str::to_owned),
            1..3,
        ))
    };
    (values(), values(), values(), values())
        .prop_map(
            |(namespace, appid, kind, index)| crate::access::Restriction {
                namespace,
                appid,
                kind,
                index,
                ..crate::access::Restriction::none()
            },
        )
        .boxed()
}
