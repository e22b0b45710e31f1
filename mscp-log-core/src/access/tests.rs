//! Properties of access rules, held against evaluators that share no code with
//! them: patterns as regular expressions, rules as plain JSON.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use regex::Regex;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};

use super::decide::Decide;
use super::pattern::written_matches;
use super::walk::Walk;
use super::*;

const U1: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
const U2: &str = "00000000-0000-0000-0000-00000000000b";

fn base() -> Base {
    Base::new("/api", Some("https://logs.example.com")).unwrap()
}

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::parse(text).unwrap()
}

fn access(json: &Value) -> Access {
    json.to_string().parse().unwrap()
}

// --- the evaluators -------------------------------------------------------

/// A pattern as a regular expression on canonical paths.
fn as_regex(pattern: &str) -> Regex {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap();
    compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| compile(pattern))
        .clone()
}

fn compile(pattern: &str) -> Regex {
    let from_origin = pattern
        .replace("{mscp_api_url}", "/api")
        .replace("[mscp_api_url]", "/api")
        .replace("https://logs.example.com", "");
    let mut expression = String::from("^");
    for segment in from_origin.split('/').skip(1) {
        expression.push('/');
        expression.push_str(&match segment {
            "**" => "[^/]+(/[^/]+)*/?".to_owned(),
            "*" => "[^/]+".to_owned(),
            _ if segment.ends_with(":uuid}") => {
                "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned()
            }
            _ if segment.ends_with(":int}") => "[0-9]+".to_owned(),
            _ if segment.starts_with('{') => "[^/]+".to_owned(),
            _ => regex::escape(segment),
        });
    }
    expression.push('$');
    Regex::new(&expression).unwrap()
}

/// What a request may do, by the words of the contract and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct May {
    pass: bool,
    see: bool,
    write: bool,
}

fn naive(rules: &Value, method: &str, path: &str, document: &Value) -> May {
    static RESERVED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^/api/(apps|auth|system|regions)/").unwrap());
    static LOG: LazyLock<Regex> = LazyLock::new(|| Regex::new("^/api/[^/]+/log/[^/]+").unwrap());
    static PUSH: LazyLock<Regex> = LazyLock::new(|| Regex::new("^/api/apps/([^/]+)/log$").unwrap());
    static COLLECT: LazyLock<Regex> = LazyLock::new(|| Regex::new("^/api/[^/]+/collect$").unwrap());
    let on_log = LOG.is_match(path) && !RESERVED.is_match(path);
    let on_push = PUSH.captures(path);
    let on_collect = COLLECT.is_match(path) && !RESERVED.is_match(path);
    let mut may = May {
        pass: false,
        see: false,
        write: false,
    };
    for rule in rules.as_array().unwrap() {
        let granted = rule["method"].as_array().unwrap();
        let by_get = method == "HEAD" && granted.contains(&json!("GET"));
        if !by_get && !granted.contains(&json!(method)) {
            continue;
        }
        let urls = rule["url"].as_array().unwrap();
        if !urls
            .iter()
            .any(|url| as_regex(url.as_str().unwrap()).is_match(path))
        {
            continue;
        }
        let empty = serde_json::Map::new();
        let log = rule["other"]["log"].as_object().unwrap_or(&empty);
        if log.contains_key("unheard_of") {
            continue;
        }
        let mut limits = log.clone();
        limits.remove("write");
        let holds_here = limits.iter().all(|(field, values)| {
            if on_log {
                true
            } else if let Some(push) = &on_push {
                field == "appid" && values.as_array().unwrap().contains(&json!(&push[1]))
            } else if on_collect {
                ["hostname", "zone", "cluster"].contains(&field.as_str())
            } else {
                false
            }
        });
        if !holds_here {
            continue;
        }
        may.pass = true;
        may.see |= limits.iter().all(|(field, values)| {
            document
                .get(field)
                .is_some_and(|value| values.as_array().unwrap().contains(value))
        });
        may.write |= on_log && limits.is_empty() && log.get("write") == Some(&json!(true));
    }
    may
}

fn may(decision: &Decision, document: &Value) -> May {
    let sees = |restriction: &Restriction| {
        restriction.fields().all(|(field, values)| {
            document
                .get(field)
                .and_then(Value::as_str)
                .is_some_and(|value| values.contains(value))
        })
    };
    match decision {
        Decision::Denied => May {
            pass: false,
            see: false,
            write: false,
        },
        Decision::Allowed { visible, write } => May {
            pass: true,
            see: match visible {
                Visible::All => true,
                Visible::Restricted(any) => any.iter().any(sees),
            },
            write: *write,
        },
    }
}

/// Every path of up to three segments behind these beginnings, both ways of
/// ending: for each kind of segment two members, and one that no pattern names.
fn every_path() -> &'static [String] {
    static PATHS: LazyLock<Vec<String>> = LazyLock::new(make_every_path);
    &PATHS
}

fn make_every_path() -> Vec<String> {
    let words = ["log", "apps", "a", "7", "8", U1, U2, "zz"];
    let mut paths = vec!["/".to_owned(), "/api".to_owned(), "/api/".to_owned()];
    for beginning in ["", "/api"] {
        let mut level = vec![beginning.to_owned()];
        for _ in 0..3 {
            level = level
                .iter()
                .flat_map(|path| words.iter().map(move |word| format!("{path}/{word}")))
                .collect();
            paths.extend(level.iter().cloned());
            paths.extend(level.iter().map(|path| format!("{path}/")));
        }
    }
    paths
}

// --- the generators -------------------------------------------------------

fn a_pattern() -> impl Strategy<Value = String> {
    let beginning = prop_oneof![
        3 => Just("{mscp_api_url}"),
        1 => Just("[mscp_api_url]"),
        2 => Just(""),
        1 => Just("/api"),
        1 => Just("https://logs.example.com"),
    ];
    let segment = prop_oneof![
        Just("log"),
        Just("apps"),
        Just("a"),
        Just("7"),
        Just(U1),
        Just("{any}"),
        Just("{id:uuid}"),
        Just("{n:int}"),
        Just("*"),
    ];
    let end = prop_oneof![4 => Just(""), 1 => Just("/"), 2 => Just("/**")];
    (beginning, prop::collection::vec(segment, 0..=2), end).prop_map(
        |(beginning, segments, end)| {
            let mut text = beginning.to_owned();
            for segment in segments {
                text.push('/');
                text.push_str(segment);
            }
            text.push_str(end);
            if text.is_empty() {
                "/".to_owned()
            } else {
                text
            }
        },
    )
}

/// Patterns that lie where restrictions mean something.
fn a_telling_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => a_pattern(),
        1 => Just("{mscp_api_url}/{region}/log/**".to_owned()),
        1 => Just("{mscp_api_url}/r1/log/_search".to_owned()),
        1 => Just("{mscp_api_url}/apps/{appid:uuid}/log".to_owned()),
        1 => Just(format!("{{mscp_api_url}}/apps/{U1}/log")),
        1 => Just("{mscp_api_url}/*/collect".to_owned()),
        1 => Just("/**".to_owned()),
    ]
}

fn some_methods() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["GET", "HEAD", "POST", "DELETE"], 1..=3)
}

fn an_other() -> impl Strategy<Value = Value> {
    let some = |values: Vec<&'static str>| {
        prop::option::weighted(0.3, prop::sample::subsequence(values, 1..=2))
    };
    let log = (
        some(vec!["n1", "n2"]),
        some(vec![U1, U2]),
        some(vec!["h1", "h2"]),
        prop::option::weighted(0.3, any::<bool>()),
        prop::bool::weighted(0.05),
    );
    log.prop_map(|(namespace, appid, hostname, write, unheard_of)| {
        let mut log = serde_json::Map::new();
        for (field, values) in [
            ("namespace", namespace),
            ("appid", appid),
            ("hostname", hostname),
        ] {
            if let Some(values) = values {
                log.insert(field.to_owned(), json!(values));
            }
        }
        if let Some(write) = write {
            log.insert("write".to_owned(), json!(write));
        }
        if unheard_of {
            log.insert("unheard_of".to_owned(), json!(1));
        }
        json!({ "log": log })
    })
}

fn some_rules() -> impl Strategy<Value = Value> {
    let rule = (
        some_methods(),
        prop::collection::vec(a_telling_pattern(), 1..=2),
        an_other(),
    )
        .prop_map(|(method, url, other)| json!({"method": method, "url": url, "other": other}));
    prop::collection::vec(rule, 0..=4).prop_map(Value::Array)
}

/// Without what no grant can give: unknown keys, and `write` under a restriction.
fn sound(mut rules: Value) -> Value {
    for rule in rules.as_array_mut().unwrap() {
        let log = rule["other"]["log"].as_object_mut().unwrap();
        log.remove("unheard_of");
        if log.len() > 1 {
            log.remove("write");
        }
    }
    rules
}

fn a_telling_path() -> impl Strategy<Value = String> {
    let paths: Vec<String> = [
        "/api/r1/log/_search",
        "/api/r1/log/logs-1/_doc/7",
        "/api/r1/log/",
        "/api/r1/log",
        "/api/r1/collect",
        "/api/system/log/status",
        "/api/system/users",
        "/api/apps/log",
        "/metrics",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([format!("/api/apps/{U1}/log"), format!("/api/apps/{U2}/log")])
    .collect();
    let n = every_path().to_vec();
    prop_oneof![prop::sample::select(paths), prop::sample::select(n)]
}

fn a_document() -> impl Strategy<Value = Value> {
    let one =
        |values: &'static [&'static str]| prop::option::weighted(0.8, prop::sample::select(values));
    (
        one(&["n1", "n2", "n3"]),
        one(&[U1, U2]),
        one(&["h1", "h2", "h3"]),
    )
        .prop_map(|(namespace, appid, hostname)| {
            let mut document = serde_json::Map::new();
            for (field, value) in [
                ("namespace", namespace),
                ("appid", appid),
                ("hostname", hostname),
            ] {
                if let Some(value) = value {
                    document.insert(field.to_owned(), json!(value));
                }
            }
            Value::Object(document)
        })
}

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "PUT"];

fn lenient(json: &Value) -> Access {
    serde_json::from_value(json.clone()).unwrap()
}

proptest! {
    #[test]
    fn a_pattern_matches_as_its_regular_expression_does(text in a_pattern()) {
        let pattern = Pattern::parse(&text).unwrap();
        let oracle = as_regex(&text);
        prop_assert_eq!(pattern.as_str(), &text);
        for candidate in every_path() {
            let found = pattern.matches(&path(candidate), &base());
            prop_assert_eq!(found, oracle.is_match(candidate), "{} on {}", text, candidate);
            prop_assert_eq!(found, written_matches(&text, &path(candidate), &base()));
        }
    }

    #[test]
    fn a_pattern_contains_another_just_when_no_path_tells_them_apart(
        left in a_pattern(), right in a_pattern()
    ) {
        let (outer, inner) = (as_regex(&left), as_regex(&right));
        let mut some = false;
        let subset = every_path().iter().filter(|path| inner.is_match(path)).all(|path| {
            some = true;
            outer.is_match(path)
        });
        let (left, right) = (Pattern::parse(&left).unwrap(), Pattern::parse(&right).unwrap());
        if some {
            prop_assert_eq!(left.contains(&right, &base()), subset);
        }
    }

    #[test]
    fn a_pattern_reaches_below_a_prefix_just_when_some_path_does(text in a_pattern()) {
        let oracle = as_regex(&text);
        let some = every_path().iter().any(|path| {
            let below = path.strip_prefix("/a/log/").is_some_and(|rest| !rest.is_empty());
            below && oracle.is_match(path)
        });
        prop_assert_eq!(
            Pattern::parse(&text).unwrap().reaches_below(&["a", "log"], &base()),
            some
        );
    }

    #[test]
    fn a_decision_is_what_the_words_of_the_rules_say(
        rules in some_rules(),
        method in prop::sample::select(&METHODS[..]),
        at in a_telling_path(),
        document in a_document(),
    ) {
        let decision = lenient(&rules).decide(&base(), method.parse().unwrap(), &path(&at));
        prop_assert_eq!(may(&decision, &document), naive(&rules, method, &at, &document));
    }

    #[test]
    fn deciding_while_reading_says_what_deciding_on_rules_says(
        rules in some_rules(),
        method in prop::sample::select(&METHODS[..]),
        at in a_telling_path(),
    ) {
        let (text, base, at) = (rules.to_string(), base(), path(&at));
        let method: Method = method.parse().unwrap();
        let mut deciding = Decide::new(&base, method, &at);
        Walk(&mut deciding).deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        prop_assert_eq!(deciding.decision(), lenient(&rules).decide(&base, method, &at));
    }

    #[test]
    fn no_token_can_do_what_its_grants_cannot(
        granted in some_rules(),
        wanted in some_rules(),
        at in prop::collection::vec(a_telling_path(), 24),
        document in a_document(),
    ) {
        let (grants, wish) = (lenient(&granted), lenient(&wanted));
        let Ok(issued) = Access::cover(&grants, &wish, &base()) else { return Ok(()); };
        let issued = serde_json::to_value(&issued).unwrap();
        for at in &at {
            for method in METHODS {
                let token = naive(&issued, method, at, &document);
                let by_grant = naive(&granted, method, at, &document);
                let by_wish = naive(&wanted, method, at, &document);
                for (did, allowed, asked) in [
                    (token.pass, by_grant.pass, by_wish.pass),
                    (token.see, by_grant.see, by_wish.see),
                    (token.write, by_grant.write, by_wish.write),
                ] {
                    prop_assert!(!did || (allowed && asked), "{} {} with {}", method, at, issued);
                }
            }
        }
    }

    /// The property above would hold of a `cover` that refuses everything, or
    /// that issues nothing: what a person has in full is issued in full.
    #[test]
    fn what_was_granted_is_issued_whole_when_all_of_it_is_wanted(
        granted in some_rules(),
        at in prop::collection::vec(a_telling_path(), 24),
        document in a_document(),
    ) {
        let granted = sound(granted);
        let grants = lenient(&granted);
        prop_assert!(grants.is_within(&grants, &base()));
        let issued = Access::cover(&grants, &grants, &base()).unwrap();
        let issued = serde_json::to_value(&issued).unwrap();
        for at in &at {
            for method in METHODS {
                prop_assert_eq!(
                    naive(&issued, method, at, &document),
                    naive(&granted, method, at, &document)
                );
            }
        }
    }

    #[test]
    fn what_is_within_the_grants_is_issued_without_loss(
        wanted in some_rules(),
        more in some_rules(),
        at in prop::collection::vec(a_telling_path(), 24),
        document in a_document(),
    ) {
        let wanted = sound(wanted);
        let mut granted = wanted.clone();
        granted.as_array_mut().unwrap().extend(more.as_array().unwrap().iter().cloned());
        let (grants, wish) = (lenient(&granted), lenient(&wanted));
        prop_assert!(wish.is_within(&grants, &base()));
        let issued = Access::cover(&grants, &wish, &base()).unwrap();
        let issued = serde_json::to_value(&issued).unwrap();
        for at in &at {
            for method in METHODS {
                let (token, by_wish) = (
                    naive(&issued, method, at, &document),
                    naive(&wanted, method, at, &document),
                );
                prop_assert_eq!(token, by_wish);
            }
        }
    }

    #[test]
    fn what_is_within_the_grants_does_nothing_beyond_them(
        granted in some_rules(),
        wanted in some_rules(),
        at in prop::collection::vec(a_telling_path(), 24),
        document in a_document(),
    ) {
        if !lenient(&wanted).is_within(&lenient(&granted), &base()) { return Ok(()); }
        for at in &at {
            for method in METHODS {
                let gives = naive(&wanted, method, at, &document);
                let has = naive(&granted, method, at, &document);
                prop_assert!(!gives.pass || has.pass);
                prop_assert!(!gives.see || has.see);
                prop_assert!(!gives.write || has.write);
            }
        }
    }

    #[test]
    fn rules_are_written_as_they_are_read(rules in some_rules()) {
        let once = lenient(&rules);
        let text = serde_json::to_string(&once).unwrap();
        prop_assert_eq!(serde_json::from_str::<Access>(&text).unwrap(), once);
    }

    #[test]
    fn a_canonical_path_is_its_own_canonical_form(raw in "/[a-c%2fe/.0-9:~*é]{0,16}") {
        if let Ok(once) = CanonicalPath::parse(&raw) {
            let twice = CanonicalPath::parse(once.as_str()).unwrap();
            prop_assert_eq!(&twice, &once);
            prop_assert!(once.segments().all(|s| !s.is_empty() && s != "." && s != ".." && !s.contains('/')));
            // A plain percent-decoder sees the same segments.
            let rebuilt: String = once.segments().map(|s| format!("/{s}")).collect();
            let slash = if once.has_trailing_slash() { "/" } else { "" };
            prop_assert_eq!(decode_plainly(&raw), format!("{rebuilt}{slash}"));
        }
    }

    #[test]
    fn no_text_makes_a_path_a_pattern_or_rules_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        drop(CanonicalPath::parse(&text));
        drop(CanonicalPath::parse(&format!("/{text}")));
        let at = path("/api/r1/log/x");
        let parsed = Pattern::parse(&text);
        prop_assert_eq!(
            parsed.is_ok_and(|pattern| pattern.matches(&at, &base())),
            written_matches(&text, &at, &base())
        );
        drop(text.parse::<Access>());
        drop(serde_json::from_slice::<Access>(&bytes));
    }
}

fn decode_plainly(raw: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

// --- examples: one sentence of the rules each ------------------------------

#[track_caller]
fn refused(raw: &str, why: PathError) {
    assert_eq!(CanonicalPath::parse(raw), Err(why), "{raw}");
}

#[test]
fn a_path_with_two_readings_is_refused() {
    refused("", PathError::NotAbsolute);
    refused("api", PathError::NotAbsolute);
    refused("/api//x", PathError::EmptySegment);
    refused("//", PathError::EmptySegment);
    refused("/api/./x", PathError::DotSegment);
    refused("/api/../x", PathError::DotSegment);
    refused("/api/..", PathError::DotSegment);
    refused("/a\\b", PathError::Character('\\'));
    refused("/a;b", PathError::Character(';'));
    refused("/a%3bb", PathError::Character(';'));
    refused("/a#b", PathError::Character('#'));
    refused("/a%23b", PathError::Character('#'));
    refused("/a\u{1}b", PathError::Character('\u{1}'));
    refused("/a%0ab", PathError::Character('\n'));
    refused("/a%7fb", PathError::Character('\u{7f}'));
    refused("/a?b", PathError::Character('?'));
    for (encoded, plain) in [
        ("%2f", '/'),
        ("%2F", '/'),
        ("%5c", '\\'),
        ("%5C", '\\'),
        ("%2e", '.'),
        ("%2E", '.'),
        ("%00", '\0'),
    ] {
        refused(&format!("/a{encoded}b"), PathError::EncodedForm(plain));
    }
    refused("/%2e%2e/x", PathError::EncodedForm('.'));
    refused("/a%252fb", PathError::DoubleEncoding);
    refused("/a%25%32%66b", PathError::DoubleEncoding);
    refused("/a%ffb", PathError::NotUtf8);
    refused("/a%c0%afb", PathError::NotUtf8);
    refused("/a%", PathError::Escape);
    refused("/a%2", PathError::Escape);
    refused("/a%zz", PathError::Escape);
    refused("/a%+1", PathError::Escape);
}

#[test]
fn one_path_has_one_form() {
    assert_eq!(
        path("/%61pi/a%20b/%e6%97%a5").as_str(),
        "/api/a%20b/%E6%97%A5"
    );
    assert_eq!(path("/日").as_str(), "/%E6%97%A5");
    assert_eq!(path("/100%25").segments().last(), Some("100%"));
    assert_ne!(path("/a"), path("/a/"));
    assert_ne!(path("/A"), path("/a"));
}

#[test]
fn a_text_that_is_no_pattern_is_refused() {
    for text in [
        "",
        "api",
        "{mscp_api_url}x",
        "[mscp_api_url",
        "/a//b",
        "/**/a",
        "/a**",
        "/a*",
        "/{",
        "/{}",
        "/{a",
        "/a}",
        "/{a}b",
        "/{a:string}",
        "/{a:}",
        "/{a b}",
        "/x/{mscp_api_url}",
        "/..",
        "/a%2fb",
        "/a;b",
        "ftp://logs.example.com/a",
        "https://user@logs.example.com/a",
        "/**/",
    ] {
        assert!(Pattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn types_of_parameters_are_named_without_regard_to_case() {
    let pattern = Pattern::parse("{mscp_api_url}/apps/{appid:UUID}/log").unwrap();
    assert!(pattern.matches(&path(&format!("/api/apps/{U1}/log")), &base()));
    assert!(!pattern.matches(&path("/api/apps/7/log"), &base()));
    let pattern = Pattern::parse("/{n:Int}").unwrap();
    assert!(pattern.matches(&path("/12"), &base()));
    assert!(!pattern.matches(&path("/-12"), &base()));
}

#[test]
fn a_pattern_of_another_origin_never_matches() {
    let here = path("/api/x");
    let matches = |text: &str, base: &Base| Pattern::parse(text).unwrap().matches(&here, base);
    assert!(matches("https://LOGS.example.com:443/api/*", &base()));
    assert!(!matches("http://logs.example.com/api/*", &base()));
    assert!(!matches("https://logs.example.com:8443/api/*", &base()));
    assert!(!matches("https://logs.example.com.evil.org/api/*", &base()));
    assert!(!matches(
        "https://logs.example.com/api/*",
        &Base::new("/api", None).unwrap()
    ));
    let elsewhere = Pattern::parse("https://other.example.com/x").unwrap();
    let all = Pattern::parse("/**").unwrap();
    assert!(!all.contains(&elsewhere, &base()));
    assert!(!elsewhere.contains(&elsewhere, &base()));
}

#[test]
fn a_base_is_a_path_and_an_origin() {
    assert_eq!(Base::new("/", None).unwrap().prefix(), "");
    assert_eq!(Base::new("/a/b/", None).unwrap().prefix(), "/a/b");
    assert!(Base::new("api", None).is_err());
    assert!(Base::new("/a//b", None).is_err());
    assert!(Base::new("/api", Some("https://x/api")).is_err());
    assert!(Base::new("/api", Some("x")).is_err());
    let root = Base::new("/", None).unwrap();
    let pattern = Pattern::parse("{mscp_api_url}/x").unwrap();
    assert!(pattern.matches(&path("/x"), &root));
}

#[test]
fn what_is_unknown_in_a_token_matches_nothing_and_in_a_wish_is_an_error() {
    let request = path("/api/system/users");
    for odd in [
        json!([{"method": ["FETCH"], "url": ["/**"]}]),
        json!([{"method": ["get"], "url": ["/**"]}]),
        json!([{"method": ["GET"], "url": ["**"]}]),
        json!([{"method": ["GET"], "url": ["/**"], "other": {"log": {"pod": ["a"]}}}]),
        json!([{"method": ["GET"], "url": ["/**"], "other": {"log": {"namespace": []}}}]),
        json!([{"method": ["GET"], "url": ["/**"], "when": "never"}]),
    ] {
        let rules = lenient(&odd);
        assert_eq!(
            rules.decide(&base(), Method::Get, &request),
            Decision::Denied,
            "{odd}"
        );
        assert!(odd.to_string().parse::<Access>().is_err(), "{odd}");
        // Nor does it match anything after it was written and read again.
        let again: Access = serde_json::from_value(serde_json::to_value(&rules).unwrap()).unwrap();
        assert_eq!(
            again.decide(&base(), Method::Get, &request),
            Decision::Denied,
            "{odd}"
        );
        // And no grant of it covers anything, nor is it covered.
        let all = access(&json!([{"method": ["GET"], "url": ["/**"]}]));
        assert!(Access::cover(&rules, &all, &base()).is_err(), "{odd}");
        assert!(Access::cover(&all, &rules, &base()).is_err(), "{odd}");
        assert!(!rules.grants_any_below(&base(), &["r1", "log"]), "{odd}");
    }
}

#[test]
fn rules_of_another_shape_are_refused_wherever_they_stand() {
    for odd in [
        r#"{}"#,
        r#"null"#,
        r#"[1]"#,
        r#"[{"method": "GET", "url": ["/**"]}]"#,
        r#"[{"method": ["GET"], "url": "/**"}]"#,
        r#"[{"method": ["GET"]}]"#,
        r#"[{"url": ["/**"]}]"#,
        r#"[{"method": [1], "url": ["/**"]}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": []}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": []}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": null}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {"write": "true"}}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {"namespace": "a"}}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {"namespace": [1]}}}]"#,
        r#"[{"method": ["GET"], "url": ["/a"], "url": ["/**"]}]"#,
        r#"[{"method": ["GET"], "method": ["POST"], "url": ["/**"]}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {}, "other": {}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {}, "log": {}}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"x": 1, "x": 2}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {"zone": ["a"], "zone": ["b"]}}}]"#,
        r#"[{"method": ["GET"], "url": ["/**"], "other": {"log": {"zone": ["a"], "zo\u006ee": ["b"]}}}]"#,
    ] {
        assert!(serde_json::from_str::<Access>(odd).is_err(), "{odd}");
        let (base, at) = (base(), path("/x"));
        let mut deciding = Decide::new(&base, Method::Get, &at);
        let read = Walk(&mut deciding).deserialize(&mut serde_json::Deserializer::from_str(odd));
        assert!(read.is_err(), "{odd}");
        assert!(odd.parse::<Access>().is_err(), "{odd}");
    }
    let go = r#"[{"method": ["GET"], "url": ["/**"], "other": null}]"#;
    assert!(go.parse::<Access>().is_ok());
}

#[test]
fn the_rule_of_the_original_grants_pushes_to_every_app() {
    let rules = access(&json!([{
        "method": ["POST"], "url": ["{mscp_api_url}/apps/{appid:UUID}/log"]
    }]));
    let at = path(&format!("/api/apps/{U1}/log"));
    assert!(rules.decide(&base(), Method::Post, &at).is_allowed());
    assert!(!rules.decide(&base(), Method::Get, &at).is_allowed());
    assert!(
        !rules
            .decide(&base(), Method::Post, &path("/api/apps/log"))
            .is_allowed()
    );
    assert!(
        !rules
            .decide(
                &base(),
                Method::Post,
                &path(&format!("/api/apps/{U1}/log/"))
            )
            .is_allowed()
    );
}

#[test]
fn what_a_token_sees_is_what_any_of_its_rules_shows() {
    let rules = access(&json!([
        {"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"namespace": ["a"]}}},
        {"method": ["GET"], "url": ["{mscp_api_url}/*/log/_search"], "other": {"log": {"zone": ["z"], "write": true}}},
        {"method": ["PUT"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"write": true}}},
    ]));
    let at = path("/api/r1/log/_search");
    let Decision::Allowed {
        visible: Visible::Restricted(any),
        write: false,
    } = rules.decide(&base(), Method::Head, &at)
    else {
        panic!("not restricted to both");
    };
    assert_eq!(any.len(), 2);
    assert_eq!(
        rules.decide(&base(), Method::Put, &at),
        Decision::Allowed {
            visible: Visible::All,
            write: true
        }
    );
    assert!(rules.grants_any_below(&base(), &["r1", "log"]));
    assert!(rules.grants_any_below(&base(), &["r2", "log"]));
    assert!(!rules.grants_any_below(&base(), &["r2", "log", "x"]));
    assert!(
        !rules
            .decide(&base(), Method::Get, &path("/api/r1/log"))
            .is_allowed()
    );
}

#[test]
fn a_wish_beyond_the_grants_is_named() {
    let grants = access(&json!([
        {"method": ["GET"], "url": ["{mscp_api_url}/r1/log/**"], "other": {"log": {"namespace": ["a", "b"]}, "quota": 5}},
        {"method": ["GET"], "url": ["/**"], "other": {"log": {"zone": ["z"], "write": true}}},
        {"method": ["DELETE"], "url": ["/api/r1/log/**"], "other": {"log": {"write": true}}},
    ]));
    let issue = |wanted: Value| Access::cover(&grants, &access(&wanted), &base());

    let error = issue(
        json!([{"method": ["GET"], "url": ["/a"]}, {"method": ["GET", "POST"], "url": ["/a"]}]),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "access[1]: POST /a is not covered by any grant"
    );
    // Another namespace: what both grants share with it is the zone's alone.
    let issued = issue(json!([{"method": ["HEAD"], "url": ["{mscp_api_url}/r1/log/x"], "other": {"log": {"namespace": ["c"]}}}])).unwrap();
    assert_eq!(
        serde_json::to_value(&issued).unwrap(),
        json!([{"method": ["HEAD"], "url": ["{mscp_api_url}/r1/log/x"], "other": {"log": {"namespace": ["c"], "zone": ["z"]}}}])
    );
    // Nothing in common with the only grant that has the pattern.
    let error =
        issue(json!([{"method": ["GET"], "url": ["/x"], "other": {"log": {"zone": ["y"]}}}]))
            .unwrap_err();
    assert!(error.to_string().contains("GET /x"), "{error}");
    // `write` of a grant that has a restriction is none.
    assert!(
        issue(json!([{"method": ["GET"], "url": ["/x"], "other": {"log": {"write": true}}}]))
            .is_err()
    );
    assert!(issue(json!([{"method": ["DELETE"], "url": ["/api/r1/log/x"], "other": {"log": {"write": true}}}])).is_ok());
    // A limit that another service reads stays, and cannot be changed.
    let quota = |quota: Value| {
        issue(json!([{"method": ["GET"], "url": ["/api/r1/log/x"],
        "other": {"log": {"namespace": ["a"], "zone": ["q"]}, "quota": quota}}]))
    };
    assert_eq!(quota(json!(5)).unwrap().0[0].other.carried["quota"], 5);
    assert!(quota(json!(6)).is_err());
}
