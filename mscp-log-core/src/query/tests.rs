//! Properties of the grammar.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::ast::*;
use super::{Msearch, QueryError, generate};

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
            "aggregation_initialization_exception",
        ),
        (
            r#"{"query":{"query_string":{"query":"(a"}}}"#,
            "query_shard_exception",
        ),
        (r#"{"query":{"bool":{"nonsense":[]}}}"#, "parsing_exception"),
        ("{\"query\":", "x_content_parse_exception"),
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
