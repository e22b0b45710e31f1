//! What queries mean, by example.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::ast::{Scalar, Search};
use super::{Context, minimum};

/// A container's line, as it is stored.
fn document() -> serde_json::Value {
    json!({
        "@timestamp": "2018-01-24T06:20:19.231Z",
        "realtime_us": 1_516_774_819_231_221_i64,
        "seq": 7,
        "message": "Connection to 10.0.0.1:5432 timed out, the pool is Exhausted",
        "namespace": "kube-system",
        "pod": "web-1",
        "level": "ERROR",
        "tags": ["_one", "two"],
        "log": {"file": {"path": "/var/log/a.log"}, "offset": 12},
        "annotations": {"user": "ann", "request.id": "r-1"},
        "annotation": ["user=ann", "request.id=r-1"],
    })
}

#[track_caller]
fn check(query: &str, expected: bool) {
    let body = format!("{{\"query\":{query}}}");
    let search = Search::parse(body.as_bytes(), &[]).unwrap();
    let context = Context {
        now_us: 1_516_778_419_000_000,
        id: Some("id-1"),
        index: Some("logstash-2018.01.24"),
    };
    assert_eq!(
        search.query.unwrap().matches(&document(), &context),
        expected,
        "{query}"
    );
}

#[test]
fn words_are_found_in_text() {
    check(r#"{"match":{"message":"POOL nothing"}}"#, true);
    check(
        r#"{"match":{"message":{"query":"pool nothing","operator":"and"}}}"#,
        false,
    );
    check(
        r#"{"match":{"message":{"query":"pool is nothing","minimum_should_match":2}}}"#,
        true,
    );
    check(
        r#"{"match":{"message":{"query":"pool is nothing","minimum_should_match":"75%"}}}"#,
        true,
    );
    check(r#"{"match":{"message":"--"}}"#, false);
    check(
        r#"{"match":{"message":{"query":"--","zero_terms_query":"all"}}}"#,
        true,
    );
    check(
        r#"{"match":{"message":{"query":"exhuasted","fuzziness":"AUTO"}}}"#,
        true,
    );
    check(r#"{"match_phrase":{"message":"timed out"}}"#, true);
    check(r#"{"match_phrase":{"message":"out timed"}}"#, false);
    check(
        r#"{"match_phrase":{"message":{"query":"out timed","slop":2}}}"#,
        true,
    );
    check(
        r#"{"match_phrase":{"message":{"query":"timed pool","slop":2}}}"#,
        true,
    );
    check(
        r#"{"match_phrase":{"message":{"query":"timed pool","slop":1}}}"#,
        false,
    );
    check(r#"{"match_phrase_prefix":{"message":"pool is exh"}}"#, true);
    check(r#"{"match_bool_prefix":{"message":"nothing exh"}}"#, true);
    check(
        r#"{"multi_match":{"query":"ERROR","fields":["level","message"]}}"#,
        true,
    );
    check(r#"{"multi_match":{"query":"kube-system"}}"#, true);
    check(r#"{"term":{"message":"Exhausted"}}"#, false);
    check(r#"{"term":{"message":"exhausted"}}"#, true);
}

#[test]
fn keywords_numbers_and_dates_are_compared_whole() {
    check(r#"{"term":{"level":"error"}}"#, false);
    check(
        r#"{"term":{"level":{"value":"error","case_insensitive":true}}}"#,
        true,
    );
    check(r#"{"terms":{"seq":[1,"7"]}}"#, true);
    check(r#"{"term":{"seq":7.5}}"#, false);
    check(r#"{"term":{"tags":"two"}}"#, true);
    check(r#"{"term":{"@timestamp":"2018-01-24"}}"#, true);
    check(
        r#"{"range":{"@timestamp":{"gte":"now-1h","lt":"now"}}}"#,
        true,
    );
    check(r#"{"range":{"@timestamp":{"gt":"2018-01-24"}}}"#, false);
    check(r#"{"range":{"@timestamp":{"lte":"2018-01-24"}}}"#, true);
    check(
        r#"{"range":{"@timestamp":{"lt":"2018-01-24T14:21","time_zone":"+08:00"}}}"#,
        true,
    );
    check(
        r#"{"range":{"@timestamp":{"gte":"24/01/2018","format":"dd/MM/yyyy"}}}"#,
        true,
    );
    check(r#"{"range":{"seq":{"gt":6.5,"lt":8}}}"#, true);
    check(r#"{"range":{"pod":{"gte":"web","lt":"wec"}}}"#, true);
    check(r#"{"range":{"log.offset":{"gte":12}}}"#, true);
    check(r#"{"prefix":{"pod":"web-"}}"#, true);
    check(r#"{"wildcard":{"log.file.path":"*/a.l?g"}}"#, true);
    check(r#"{"regexp":{"pod":"web-[0-9]+"}}"#, true);
    check(r#"{"regexp":{"pod":"web"}}"#, false);
    check(r#"{"ids":{"values":["id-1"]}}"#, true);
    check(r#"{"term":{"_index":"logstash-2018.01.24"}}"#, true);
    check(r#"{"term":{"annotations.user":"ann"}}"#, true);
    check(r#"{"term":{"annotations":"r-1"}}"#, true);
    check(r#"{"term":{"annotations.request.id":"r-1"}}"#, true);
    check(r#"{"exists":{"field":"log"}}"#, true);
    check(r#"{"exists":{"field":"zone"}}"#, false);
    check(r#"{"term":{"unknown":"x"}}"#, false);
}

#[test]
fn clauses_combine_as_bool_does() {
    let (yes, no) = (r#"{"match_all":{}}"#, r#"{"match_none":{}}"#);
    check(r#"{"bool":{}}"#, true);
    check(
        &format!(r#"{{"bool":{{"must":{yes},"should":{no}}}}}"#),
        true,
    );
    check(&format!(r#"{{"bool":{{"should":{no}}}}}"#), false);
    check(&format!(r#"{{"bool":{{"must_not":{no}}}}}"#), true);
    check(
        &format!(r#"{{"bool":{{"filter":{yes},"must_not":{yes}}}}}"#),
        false,
    );
    check(
        &format!(r#"{{"bool":{{"must":{yes},"should":[{no},{yes}],"minimum_should_match":2}}}}"#),
        false,
    );
    check(
        &format!(r#"{{"bool":{{"must":{yes},"minimum_should_match":1}}}}"#),
        false,
    );
    check(&format!(r#"{{"constant_score":{{"filter":{yes}}}}}"#), true);
}

#[track_caller]
fn text(query: &str, expected: bool) {
    check(
        &json!({"query_string": {"query": query}}).to_string(),
        expected,
    );
}

#[test]
fn query_strings_mean_what_lucene_takes_them_for() {
    text("pool", true);
    text("nothing pool", true);
    text("nothing AND pool", false);
    text("+pool -nothing", true);
    text("-nothing", true);
    text("NOT pool", false);
    text("level:ERROR", true);
    text("level:error", false);
    text("message:(pool nothing)", true);
    text("pod:(web-1 web-2)", false);
    text("pod:(web-1 OR web-2)", true);
    text("\"timed out\"", true);
    text("\"out timed\"~2", true);
    text("exh*", true);
    text("EXH*", true);
    text("message:e?hausted", true);
    text("/exh.*ed/", true);
    text("exhuasted~", true);
    text("seq:>6", true);
    text("seq:[1 TO 7}", false);
    text("@timestamp:[2018-01-24 TO *]", true);
    text("_exists_:level", true);
    text("level:*", true);
    text("zone:*", false);
    text("*:*", true);
    text("*", true);
    text("annotations.user:ann", true);
    text("a AND b OR pool", false);
    text("pool OR a AND pod:web\\-1", false);
    text("log.\\*:12", true);
    text("", false);
    check(
        r#"{"simple_query_string":{"query":"pool +nothing"}}"#,
        false,
    );
    check(
        r#"{"simple_query_string":{"query":"pool | nothing"}}"#,
        true,
    );
    check(r#"{"simple_query_string":{"query":"-nothing"}}"#, true);
    check(
        r#"{"simple_query_string":{"query":"(exh* \"timed out\")","default_operator":"and"}}"#,
        true,
    );
    check(r#"{"simple_query_string":{"query":"((\"+|"}}"#, false);
}

#[test]
fn lucene_refuses_what_it_cannot_read() {
    for query in [
        "(a", "a)", "a AND", "AND a", "\"a", "/a", "a:", "[1 TO", "[1 TO 2", "a^", "a:b:c", "foo!",
        "()", "\\",
    ] {
        let read = super::lucene::parse(query, super::lucene::Settings::default());
        assert!(read.is_err(), "{query}");
    }
}

#[test]
fn how_many_clauses_must_match_is_counted_as_elasticsearch_does() {
    let of = |spec: &str, clauses| minimum(&Scalar::String(spec.to_owned()), clauses);
    assert_eq!(
        [
            of("3", 5),
            of("-2", 5),
            of("75%", 5),
            of("-25%", 5),
            of("9", 5),
            of("-9", 5)
        ],
        [3, 3, 3, 4, 9, 0]
    );
    assert_eq!(
        [
            of("2<75%", 2),
            of("2<75%", 4),
            of("2<-25% 9<-3", 3),
            of("2<-25% 9<-3", 10)
        ],
        [2, 3, 3, 7]
    );
    assert_eq!(of("2<1<3", 4), 1);
    assert_eq!(of(&format!("{}1", "-9<".repeat(300_000)), 4), 0);
}
