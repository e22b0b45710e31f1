//! Properties of the grammar.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::ast::*;
use super::{Context, Msearch, QueryError, Refused, generate};
use crate::access::Restriction;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn reading_what_was_written_gives_the_same_tree(search in generate::search()) {
        let text = search.emit();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert!(value.is_object());
        prop_assert_eq!(Search::parse(text.as_bytes(), &[]), Ok(search), "{}", text);
    }

    #[test]
    fn many_searches_are_read_as_they_were_written(searches in prop::collection::vec(generate::search(), 1..3)) {
        let all = Msearch { searches: searches.into_iter().map(|search| (super::Header::default(), search)).collect() };
        prop_assert_eq!(Msearch::parse(all.emit().as_bytes()), Ok(all));
    }

    #[test]
    fn no_body_makes_it_panic(
        body in "[\\[\\]{}\",:a-z_*0-9. -]{0,60}|\\PC{0,40}",
        name in "q|sort|size|source|_source|track_total_hits|[a-z]{0,5}",
        value in "[a-z:,*()\\[\\]\"~^/<>= -]{0,20}|\\PC{0,20}",
    ) {
        let _ = Search::parse(body.as_bytes(), &[(name.clone(), value.clone())]);
        let _ = Search::parse_count(b"", &[(name, value)]);
        let _ = Msearch::parse(body.as_bytes());
    }

    /// A body with one name or value changed for another is read as the tree
    /// says, or refused; what is read can be written and read again.
    #[test]
    fn a_body_with_a_part_exchanged_is_refused_or_still_whole(
        search in generate::search(), part in 0usize..1_000, other in "[a-z_]{1,8}",
    ) {
        let text = search.emit();
        let words: Vec<(usize, usize)> = text.match_indices('"').map(|(place, _)| place).collect::<Vec<_>>()
            .chunks(2).filter(|pair| pair.len() == 2).map(|pair| (pair[0] + 1, pair[1])).collect();
        prop_assume!(!words.is_empty());
        let (start, end) = words[part % words.len()];
        let changed = format!("{}{other}{}", &text[..start], &text[end..]);
        if let Ok(read) = Search::parse(changed.as_bytes(), &[]) {
            prop_assert_eq!(Search::parse(read.emit().as_bytes(), &[]), Ok(read));
        }
    }
}

#[track_caller]
fn refused(body: &str) -> QueryError {
    match Search::parse(body.as_bytes(), &[]) {
        Err(error) => error,
        Ok(search) => panic!("{body} is read as {search:?}"),
    }
}

#[track_caller]
fn same(body: &str, emitted: &str) {
    let search = Search::parse(body.as_bytes(), &[]);
    assert_eq!(
        search.map(|search| search.emit()),
        Ok(emitted.to_owned()),
        "{body}"
    );
}

#[test]
fn short_and_old_forms_are_read_into_the_long_ones() {
    same("", "{}");
    same(
        r#"{"query":{"match":{"message":"a"}}}"#,
        r#"{"query":{"match":{"message":{"query":"a"}}}}"#,
    );
    same(r#"{"sort":"pod"}"#, r#"{"sort":[{"pod":{}}]}"#);
    same(
        r#"{"sort":[{"@timestamp":"desc"}]}"#,
        r#"{"sort":[{"@timestamp":{"order":"desc"}}]}"#,
    );
    same(
        r#"{"_source":"a*"}"#,
        r#"{"_source":{"includes":["a*"],"excludes":[]}}"#,
    );
    same(
        r#"{"query":{"range":{"seq":{"from":1,"to":2,"include_upper":false}}}}"#,
        r#"{"query":{"range":{"seq":{"gte":1,"lt":2}}}}"#,
    );
    same(
        r#"{"query":{"bool":{"must":{"match_all":{}},"adjust_pure_negative":true}}}"#,
        r#"{"query":{"bool":{"must":[{"match_all":{}}]}}}"#,
    );
    same(
        r#"{"aggregations":{"a":{"terms":{"field":"pod","order":{"_count":"asc"}}}},"script_fields":{}}"#,
        r#"{"aggs":{"a":{"terms":{"field":"pod","order":[{"_count":"asc"}]}}}}"#,
    );
    same(
        r#"{"size":"10","track_total_hits":true}"#,
        r#"{"size":10,"track_total_hits":true}"#,
    );
}

#[test]
fn parameters_of_the_url_become_part_of_the_tree() {
    let parameters = [
        ("q", "level:error"),
        ("size", "3"),
        ("sort", "@timestamp:desc,seq"),
        ("_source", "pod,level"),
        ("pretty", ""),
    ];
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let search = Search::parse(br#"{"query":{"match_all":{}},"from":1}"#, &parameters).unwrap();
    assert_eq!(
        search.emit(),
        r#"{"query":{"query_string":{"query":"level:error"}},"sort":[{"@timestamp":{"order":"desc"}},{"seq":{}}],"from":1,"size":3,"_source":{"includes":["pod","level"],"excludes":[]}}"#
    );
    let body = r#"{"query":{"term":{"pod":{"value":"a"}}}}"#;
    let source = [
        ("source".to_owned(), body.to_owned()),
        (
            "source_content_type".to_owned(),
            "application/json".to_owned(),
        ),
    ];
    assert_eq!(
        Search::parse(b"{\"size\":1}", &source).unwrap().emit(),
        body
    );
    assert!(Search::parse(b"", &source[..1]).is_err());
    for name in ["nonsense", "suggest_field", "explain", "scroll"] {
        assert!(
            Search::parse(b"", &[(name.to_owned(), "true".to_owned())]).is_err(),
            "{name}"
        );
    }
    assert!(Search::parse_count(b"", &[("size".to_owned(), "1".to_owned())]).is_err());
}

#[test]
fn what_the_tree_cannot_say_is_refused_as_elasticsearch_would() {
    for (body, kind) in [
        (r#"{"query":{"nonsense":{}}}"#, "parsing_exception"),
        (r#"{"nonsense":1}"#, "parsing_exception"),
        (r#"{"query":{}}"#, "illegal_argument_exception"),
        (
            r#"{"query":{"match":{"a":{"query":"b","nonsense":1}}}}"#,
            "parsing_exception",
        ),
        (
            r#"{"query":{"term":{"a":"b","c":"d"}}}"#,
            "parsing_exception",
        ),
        (
            r#"{"query":{"match_all":{}},"query":{"match_none":{}}}"#,
            "x_content_parse_exception",
        ),
        (r#"{"aggs":{"a":{"nonsense":{}}}}"#, "parsing_exception"),
        (
            r#"{"aggs":{"a":{"avg":{"field":"seq"},"aggs":{"b":{"avg":{"field":"seq"}}}}}}"#,
            "illegal_argument_exception",
        ),
        (
            r#"{"query":{"bool":{"nonsense":[]}}}"#,
            "x_content_parse_exception",
        ),
        ("{\"query\":", "x_content_e_o_f_exception"),
    ] {
        let error = refused(body);
        assert_eq!(
            (error.kind, error.sees_past_a_filter.as_deref()),
            (kind, None),
            "{body}"
        );
        assert_eq!(error.to_json()["status"], 400);
    }
}

#[test]
fn an_expression_of_terms_is_put_in_brackets() {
    let json = r#"{"aggs":{"a":{"terms":{"field":"pod","include":"web.*","exclude":"web-1"}}}}"#;
    let search = Search::parse(json.as_bytes(), &[]).unwrap();
    let written = search.restrict(&[Restriction::none()]).unwrap().emit();
    assert!(
        written.contains(r#""include":"(web.*)","exclude":"(web-1)""#),
        "{written}"
    );
}

#[test]
fn a_query_string_that_cannot_be_read_is_refused_under_a_restriction_and_else_by_the_engine() {
    let body = br#"{"query":{"query_string":{"query":"(a"}}}"#;
    let search = Search::parse(body, &[]).unwrap();
    assert_eq!(
        Search::parse(search.emit().as_bytes(), &[]),
        Ok(search.clone())
    );
    let refused = search.restrict(&[Restriction::none()]).unwrap_err();
    assert!(matches!(refused, Refused::Wrong(error) if error.kind == "query_shard_exception"));
}

#[test]
fn what_would_see_past_a_filter_is_known_as_such() {
    for body in [
        r#"{"aggs":{"a":{"global":{}}}}"#,
        r#"{"aggs":{"a":{"significant_terms":{"field":"message"}}}}"#,
        r#"{"aggs":{"a":{"terms":{"script":"1"}}}}"#,
        r#"{"aggs":{"a":{"filter":{"script":{}}}}}"#,
        r#"{"suggest":{"a":{}}}"#,
        r#"{"script_fields":{"a":{}}}"#,
        r#"{"runtime_mappings":{"a":{"type":"long"}}}"#,
        r#"{"query":{"terms":{"pod":{"index":"a","id":"1","path":"b"}}}}"#,
        r#"{"query":{"more_like_this":{}}}"#,
        r#"{"query":{"percolate":{}}}"#,
        r#"{"query":{"has_child":{}}}"#,
        r#"{"query":{"script":{}}}"#,
        r#"{"query":{"bool":{"filter":{"function_score":{}}}}}"#,
        r#"{"rescore":{}, "size":1, "rescore2":1}"#,
        r#"{"profile":true}"#,
        r#"{"explain":true}"#,
        r#"{"sort":[{"_script":{}}]}"#,
    ] {
        assert!(refused(body).sees_past_a_filter.is_some(), "{body}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let deep = |levels: usize| {
        format!(
            "{{\"query\":{}{{\"match_all\":{{}}}}{}}}",
            "{\"bool\":{\"must\":[".repeat(levels),
            "]}}".repeat(levels)
        )
    };
    assert!(Search::parse(deep(29).as_bytes(), &[]).is_ok());
    assert!(Search::parse(deep(30).as_bytes(), &[]).is_err());
    assert!(Search::parse(deep(100_000).as_bytes(), &[]).is_err());
}

/// Searches without most of what is refused under a restriction.
fn restrictable() -> impl Strategy<Value = Search> {
    generate::search().prop_map(|search| Search {
        slice: None,
        search_after: None,
        seq_no_primary_term: None,
        ..search
    })
}

/// Whether a restriction shows a document, said without the query language.
fn shows(restriction: &Restriction, document: &serde_json::Value) -> bool {
    restriction.fields().all(|(field, allowed)| {
        let one = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => allowed.contains(text),
            serde_json::Value::Number(number) => allowed.contains(&number.to_string()),
            _ => false,
        };
        match &document[field] {
            serde_json::Value::Array(values) => values.iter().any(one),
            value => one(value),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_restricted_search_matches_what_the_search_does_among_what_may_be_seen(
        search in restrictable(),
        visible in prop::collection::vec(generate::restriction(), 0..3),
        documents in prop::collection::vec(generate::document(), 1..12),
    ) {
        let asked = search.query.clone().unwrap_or_else(|| Query::of(Clause::MatchAll));
        let unscored = search.min_score.is_none();
        let Ok(restricted) = search.restrict(&visible) else { return Ok(()) };
        let query = restricted.query.clone().unwrap();
        let context = Context { now_us: 1_516_774_819_231_000, ..Context::default() };
        for document in &documents {
            let may_be_seen = visible.iter().any(|restriction| shows(restriction, document));
            let found = query.matches(document, &context);
            prop_assert!(!found || may_be_seen, "{} {}", restricted.emit(), document);
            prop_assert_eq!(found, may_be_seen && unscored && asked.matches(document, &context), "{} {}", restricted.emit(), document);
        }
    }

    #[test]
    fn a_restricted_search_is_written_and_read_and_can_be_restricted_again(
        search in restrictable(), visible in prop::collection::vec(generate::restriction(), 0..3),
    ) {
        let Ok(restricted) = search.restrict(&visible) else { return Ok(()) };
        prop_assert_eq!(Search::parse(restricted.emit().as_bytes(), &[]), Ok(restricted.clone()));
        prop_assert!(restricted.restrict(&visible).is_ok());
        // A total order, and nothing that other documents decide.
        for key in ["realtime_us", "seq", "event_id"] {
            prop_assert!(restricted.sort.iter().any(|sort| sort.field == key));
        }
        prop_assert!(restricted.sort.iter().all(|sort| !matches!(sort.field.as_str(), "_score" | "_doc" | "_shard_doc")));
        prop_assert!(restricted.timeout.is_none() && restricted.terminate_after.is_none() && restricted.min_score.is_none());
        prop_assert!(restricted.track_scores.is_none() && restricted.slice.is_none());
    }
}

#[track_caller]
fn restricted(body: &str) -> Result<String, Refused> {
    let restriction = Restriction {
        namespace: Some(["shop".to_owned()].into()),
        ..Restriction::none()
    };
    Search::parse(body.as_bytes(), &[])
        .unwrap()
        .restrict(&[restriction])
        .map(|search| search.emit())
}

#[test]
fn what_could_see_past_the_restriction_is_forbidden() {
    for body in [
        r#"{"query":{"fuzzy":{"message":"a"}}}"#,
        r#"{"query":{"match":{"message":{"query":"a","fuzziness":"AUTO"}}}}"#,
        r#"{"query":{"match_phrase_prefix":{"message":"a b"}}}"#,
        r#"{"query":{"multi_match":{"query":"a","type":"phrase_prefix"}}}"#,
        r#"{"query":{"multi_match":{"query":"a","fields":["message","_seq*"]}}}"#,
        r#"{"query":{"query_string":{"query":"a OR (b AND c~1)"}}}"#,
        r#"{"query":{"query_string":{"query":"a","fuzziness":"AUTO"}}}"#,
        r#"{"query":{"query_string":{"query":"a","fields":["_seq_no"]}}}"#,
        r#"{"query":{"match":{"_seq_no":"1"}}}"#,
        r#"{"query":{"match_phrase":{"_seq_no":"1"}}}"#,
        r#"{"query":{"terms":{"_seq_no":[1]}}}"#,
        r#"{"query":{"constant_score":{"filter":{"fuzzy":{"message":"a"}}}}}"#,
        r#"{"query":{"bool":{"should":[{"fuzzy":{"message":"a"}}]}}}"#,
        r#"{"query":{"bool":{"filter":[{"fuzzy":{"message":"a"}}]}}}"#,
        r#"{"query":{"bool":{"must":[{"fuzzy":{"message":"a"}}]}}}"#,
        r#"{"query":{"query_string":{"query":"_seq_no:>5"}}}"#,
        r#"{"query":{"query_string":{"query":"\\*seq_no:5"}}}"#,
        r#"{"query":{"simple_query_string":{"query":"a~"}}}"#,
        r#"{"query":{"bool":{"must_not":[{"range":{"_seq_no":{"gt":1}}}]}}}"#,
        r#"{"query":{"term":{"_field_names":"a"}}}"#,
        r#"{"query":{"exists":{"field":"_ignored"}}}"#,
        r#"{"query":{"prefix":{"pod":{"value":"a","rewrite":"scoring_boolean"}}}}"#,
        r#"{"post_filter":{"fuzzy":{"message":"a"}}}"#,
        r#"{"sort":["_seq_no"]}"#,
        r#"{"seq_no_primary_term":true}"#,
        r#"{"slice":{"id":0,"max":2}}"#,
        r#"{"docvalue_fields":["_seq_no"]}"#,
        r#"{"fields":["_*"]}"#,
        r#"{"stored_fields":["_routing"]}"#,
        r#"{"highlight":{"fields":{"message":{"highlight_query":{"fuzzy":{"message":"a"}}}}}}"#,
        r#"{"highlight":{"fields":{"_seq_no":{}}}}"#,
        r#"{"highlight":{"highlight_query":{"fuzzy":{"message":"a"}},"fields":{}}}"#,
        r#"{"aggs":{"a":{"terms":{"field":"pod","min_doc_count":0}}}}"#,
        r#"{"aggs":{"a":{"terms":{"field":"_seq_no"}}}}"#,
        r#"{"aggs":{"a":{"max":{"field":"_seq_no"}}}}"#,
        r#"{"aggs":{"a":{"filter":{"fuzzy":{"message":"a"}},"aggs":{"b":{"stats":{"field":"seq"}}}}}}"#,
        r#"{"aggs":{"a":{"filters":{"filters":{"x":{"match_phrase_prefix":{"message":"a"}}}}}}}"#,
        r#"{"aggs":{"a":{"filter":{"match_all":{}},"aggs":{"b":{"terms":{"field":"pod","min_doc_count":0}}}}}}"#,
        r#"{"aggs":{"a":{"date_histogram":{"field":"_doc_count","fixed_interval":"1s"}}}}"#,
        r#"{"aggs":{"a":{"histogram":{"field":"_seq_no","interval":1}}}}"#,
        r#"{"aggs":{"a":{"range":{"field":"_seq_no","ranges":[{"to":5}]}}}}"#,
        r#"{"aggs":{"a":{"missing":{"field":"_ignored"}}}}"#,
        r#"{"aggs":{"a":{"percentiles":{"field":"_seq_no"}}}}"#,
        r#"{"aggs":{"a":{"top_hits":{"seq_no_primary_term":true}}}}"#,
        r#"{"aggs":{"a":{"composite":{"sources":[{"s":{"histogram":{"field":"_seq_no","interval":1}}}]}}}}"#,
        r#"{"aggs":{"a":{"composite":{"sources":[{"s":{"date_histogram":{"field":"_doc_count","fixed_interval":"1s"}}}]}}}}"#,
        r#"{"aggs":{"a":{"composite":{"sources":[{"s":{"terms":{"field":"_seq_no"}}}]}}}}"#,
    ] {
        assert!(
            matches!(restricted(body), Err(Refused::SeesPast(_))),
            "{body} {:?}",
            restricted(body)
        );
    }
    for body in [
        r#"{"sort":["seq"],"search_after":[1,2,3,4,5,6]}"#,
        r#"{"query":{"wildcard":{"annotations.a":"b*"}}}"#,
        r#"{"query":{"regexp":{"annotations.a":"b.*"}}}"#,
        r#"{"query":{"query_string":{"query":"annotations.a:b?"}}}"#,
        r#"{"query":{"query_string":{"query":"x AND b?","fields":["pod","annotations.a^2"]}}}"#,
    ] {
        assert!(matches!(restricted(body), Err(Refused::Wrong(_))), "{body}");
    }
    for body in [
        r#"{"query":{"wildcard":{"annotation":"b*"}}}"#,
        r#"{"query":{"prefix":{"annotations.a":"b"}}}"#,
        r#"{"query":{"query_string":{"query":"annotations.a:b* pod:x?"}}}"#,
    ] {
        assert!(restricted(body).is_ok(), "{body}");
    }
}

#[test]
fn a_restricted_search_runs_within_what_it_is_given_and_marks_only_its_own_query_in_top_hits() {
    let restriction = Restriction {
        namespace: Some(["shop".to_owned()].into()),
        ..Restriction::none()
    };
    let body = br#"{"query":{"term":{"pod":"a"}},"aggs":{"h":{"top_hits":{"highlight":{"fields":{"message":{}}}}}}}"#;
    let search = Search::parse(body, &[]).unwrap();
    let within = Query::of(Clause::Exists {
        field: "level".to_owned(),
    });
    let emitted = search
        .restrict_within(&[restriction], Some(within))
        .unwrap()
        .emit();
    let filter =
        r#"{"terms":{"namespace":["shop"]}}]}},{"exists":{"field":"level"}},{"term":{"pod""#;
    assert!(emitted.contains(filter), "{emitted}");
    let marks = r#""highlight_query":{"term":{"pod":{"value":"a"}}}"#;
    assert!(emitted.contains(marks), "{emitted}");
}

#[test]
fn a_restricted_search_keeps_what_is_the_documents_own() {
    let filter = r#"{"bool":{"filter":[{"bool":{"filter":[{"terms":{"namespace":["shop"]}}]}},"#;
    let order = r#"{"realtime_us":{"order":"ORDER","unmapped_type":"long"}},{"seq":{"order":"ORDER","unmapped_type":"long"}},{"event_id":{"order":"ORDER","unmapped_type":"keyword"}}"#;
    let (rising, falling) = (
        order.replace("ORDER", "asc"),
        order.replace("ORDER", "desc"),
    );
    assert_eq!(
        restricted(
            r#"{"query":{"term":{"pod":"a"}},"sort":[{"_score":"desc"},{"pod":"asc"},"_doc"],"timeout":"1s","terminate_after":1}"#
        ),
        Ok(format!(
            r#"{{"query":{filter}{{"term":{{"pod":{{"value":"a"}}}}}}]}}}},"sort":[{{"pod":{{"order":"asc"}}}},{rising}]}}"#
        ))
    );
    let none = filter.trim_end_matches(',');
    assert_eq!(
        restricted(
            r#"{"docvalue_fields":["*_us"],"sort":[{"@timestamp":"desc"}],"search_after":[5]}"#
        ),
        Ok(format!(
            r#"{{"query":{none}]}}}},"sort":[{{"@timestamp":{{"order":"desc"}}}},{falling}],"search_after":[5,null,null,null],"docvalue_fields":[{{"field":"ingest_us"}},{{"field":"realtime_us"}}]}}"#
        ))
    );
    assert_eq!(
        restricted(r#"{"min_score":0.5,"aggs":{"a":{"top_hits":{"size":1}}}}"#),
        Ok(format!(
            r#"{{"query":{filter}{{"match_none":{{}}}}]}}}},"aggs":{{"a":{{"top_hits":{{"sort":[{falling}],"size":1}}}}}},"sort":[{falling}]}}"#
        ))
    );
    assert_eq!(
        restricted(r#"{"highlight":{"fields":{"*":{}}},"query":{"match_all":{}}}"#),
        Ok(format!(
            r#"{{"query":{filter}{{"match_all":{{}}}}]}}}},"sort":[{falling}],"highlight":{{"highlight_query":{{"match_all":{{}}}},"fields":[{{"*":{{}}}}]}}}}"#
        ))
    );
}

#[test]
fn no_restriction_at_all_shows_nothing() {
    let search = Search::default().restrict(&[]).unwrap();
    assert!(!search.query.unwrap().matches(
        &serde_json::json!({"namespace": "shop"}),
        &Context::default()
    ));
}

fn simple(query: &str) -> Result<Search, QueryError> {
    let body = serde_json::json!({"query": {"simple_query_string": {"query": query}}});
    Search::parse(body.to_string().as_bytes(), &[])
}

#[test]
fn a_simple_query_string_does_not_nest_without_end() {
    // Each change of the operator nests what stands before it.
    let error = simple(&"a|a+".repeat(8 * 1_024)).unwrap_err();
    assert_eq!(error.kind, "illegal_argument_exception");
    assert!(error.reason.contains("nested"), "{}", error.reason);
    assert!(simple(&"a|a+".repeat(8)).is_ok());
}

#[test]
fn a_simple_query_string_has_no_more_clauses_than_a_bool() {
    let error = simple(&"a ".repeat(2_000)).unwrap_err();
    assert_eq!(error.kind, "too_many_clauses");
    assert!(simple(&"a ".repeat(1_000)).is_ok());
}

#[test]
fn open_parentheses_cost_no_more_than_their_number() {
    for _ in 0..30 {
        assert!(simple(&"(".repeat(32 * 1_024)).is_ok());
    }
    // Work that grows with the square of the input would not end here.
}
