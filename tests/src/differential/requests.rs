//! Random requests to the search endpoints: whole searches, counts, several in
//! one body, parameters of the URL, and bodies that are wrong.

use serde_json::{Value, json};

use super::aggregations::aggregations;
use super::dice::Dice;
use super::queries::{Knows, field, query};

/// A request to a search endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `_search`, `_count` or `_msearch`.
    pub endpoint: &'static str,
    /// Indices, names or patterns joined by commas.
    pub index: String,
    /// Parameters of the URL, not encoded.
    pub parameters: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
}

/// Queries without queries within.
const LEAVES: &[&str] = &[
    "exists",
    "fuzzy",
    "ids",
    "match",
    "match_bool_prefix",
    "match_phrase",
    "match_phrase_prefix",
    "multi_match",
    "prefix",
    "query_string",
    "range",
    "regexp",
    "simple_query_string",
    "term",
    "terms",
    "wildcard",
];

impl Request {
    /// The queries of its body that have no others within.
    #[must_use]
    pub fn clauses(&self) -> Vec<Value> {
        fn add(value: &Value, found: &mut Vec<Value>) {
            match value {
                Value::Object(members) => {
                    for (name, below) in members {
                        if members.len() == 1 && LEAVES.contains(&name.as_str()) {
                            found.push(value.clone());
                        }
                        add(below, found);
                    }
                }
                Value::Array(values) => values.iter().for_each(|value| add(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        match &self.body {
            Body::Json(body) => add(body, &mut found),
            Body::Lines(lines) => lines.iter().for_each(|line| add(line, &mut found)),
            Body::Text(_) => {}
        }
        found
    }
}

/// The body of a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One search.
    Json(Value),
    /// The lines of `_msearch`: headers and searches by turns.
    Lines(Vec<Value>),
    /// A text that may be no JSON.
    Text(String),
}

impl Body {
    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Json(value) => value.to_string(),
            Self::Lines(lines) => lines.iter().map(|line| format!("{line}\n")).collect(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// What requests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Which documents a query matches, in which order.
    Queries,
    /// All that the search endpoints have, and requests that are wrong.
    Everything,
    /// The same, and what depends on places and scores, which stores need not
    /// agree on: for one store that is asked twice.
    Places,
}

/// Documents that a query matches, by keys of which the last is no document's
/// but one's.
fn matching(dice: &mut Dice, knows: Knows, round: &str) -> Request {
    let mut request = Request {
        endpoint: "_search",
        index: format!("logstash-{round}-*"),
        parameters: Vec::new(),
        body: Body::Json(json!({ "query": query(dice, knows, 3) })),
    };
    if dice.percent(15) {
        request.endpoint = "_count";
    } else if let Body::Json(body) = &mut request.body {
        let order = dice.pick(&["asc", "desc"]);
        let first = dice.pick(&["realtime_us", "seq", "level", "log.offset", "event_id"]);
        body["sort"] = json!([{ first: order }, { "event_id": order }]);
        body["size"] = json!(1 + dice.below(90));
        body["_source"] = json!(false);
        body["track_total_hits"] = json!(true);
    }
    request
}

/// A request to the indices of `round`.
#[must_use]
pub fn request(dice: &mut Dice, knows: Knows, scope: Scope, round: &str) -> Request {
    if scope == Scope::Queries {
        return matching(dice, knows, round);
    }
    let index = match dice.below(20) {
        0 => format!("logstash-{round}-2026.03.28"),
        1 => format!("logstash-{round}-2026.03.28,logstash-{round}-2026.03.2*"),
        2 => format!("logstash-{round}-none"),
        3 => format!("logstash-{round}-none-*"),
        4 => format!("logstash-{round}-*,-logstash-{round}-2026.03.28"),
        _ => format!("logstash-{round}-*"),
    };
    let mut request = Request {
        endpoint: "_search",
        index,
        parameters: Vec::new(),
        body: Body::Json(json!({})),
    };
    match dice.below(20) {
        0 | 1 => {
            request.endpoint = "_count";
            request.body = Body::Json(json!({ "query": query(dice, knows, 2) }));
        }
        2 => {
            request.endpoint = "_msearch";
            let searches = dice.some(1, 3, |dice| {
                let header = if dice.percent(70) {
                    json!({})
                } else {
                    json!({ "index": format!("logstash-{round}-2026.03.28") })
                };
                [header, search(dice, knows, scope)]
            });
            request.body = Body::Lines(searches.into_iter().flatten().collect());
        }
        3 => {
            request.parameters = parameters(dice, knows, scope);
            request.body = Body::Json(json!({ "sort": sort(dice, knows, Ends::Always) }));
        }
        4 => {
            let body = search(dice, knows, scope);
            request.body = wrong(dice, body);
        }
        _ => request.body = Body::Json(search(dice, knows, scope)),
    }
    if dice.percent(5) {
        let name = dice.pick(&[
            "ignore_unavailable",
            "allow_no_indices",
            "rest_total_hits_as_int",
            "typed_keys",
        ]);
        request.parameters.push((
            name.to_owned(),
            dice.pick(&["true", "true", "false"]).to_owned(),
        ));
    }
    request
}

fn parameters(dice: &mut Dice, knows: Knows, scope: Scope) -> Vec<(String, String)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    if dice.percent(60) {
        found.push((
            "q",
            dice.pick(&[
                "error",
                "level:error",
                "message:(a AND b)",
                "namespace:default OR message:日志",
                "seq:[1 TO *]",
                "AND",
                "\"a b\"",
            ]),
        ));
        if dice.percent(40) {
            found.push(("default_operator", dice.pick(&["AND", "or"])));
        }
        if dice.percent(30) {
            found.push(("df", dice.pick(&["message", "level"])));
        }
        if dice.percent(30) {
            found.push(("lenient", "true"));
        }
    }
    // Of no hits of less than none there are all, before version 8.
    let sizes = ["0", "3", "x", if knows.eight { "-1" } else { "0x" }];
    for (name, values, share) in [
        ("size", &sizes[..], 30),
        ("from", &["0", "2", "10001"][..], 20),
        ("track_total_hits", &["true", "false", "3"][..], 20),
        ("_source", &["false", "level,seq", "l*"][..], 20),
        ("_source_includes", &["level"][..], 10),
        ("_source_excludes", &["m*"][..], 10),
        ("timeout", &["10s", "soon"][..], 8),
        ("no_such", &["1"][..], 3),
        ("version", &["true"][..], 5),
        ("track_scores", &["true"][..], 5),
    ] {
        if dice.percent(share) {
            found.push((name, dice.pick(values)));
        }
    }
    if scope == Scope::Places {
        for (name, values, share) in [
            ("terminate_after", &["1", "4"][..], 15),
            ("sort", &["_score", "_doc", "seq:desc,_doc"][..], 15),
        ] {
            if dice.percent(share) {
                found.push((name, dice.pick(values)));
            }
        }
    }
    found
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The body of a search.
fn search(dice: &mut Dice, knows: Knows, scope: Scope) -> Value {
    let mut body = json!({});
    dice.maybe(85, &mut body, "query", |dice| query(dice, knows, 3));
    let aggregating = dice.percent(45);
    if aggregating {
        body["aggs"] = aggregations(dice, knows, 2);
        dice.maybe(70, &mut body, "size", |_| json!(0));
    }
    dice.maybe(8, &mut body, "post_filter", |dice| query(dice, knows, 1));
    dice.maybe(85, &mut body, "sort", |dice| sort(dice, knows, Ends::Often));
    if scope == Scope::Places {
        by_place(dice, &mut body);
    }
    if body.get("size").is_none() {
        dice.maybe(60, &mut body, "size", |dice| json!(dice.below(100)));
    }
    dice.maybe(15, &mut body, "from", |dice| json!(dice.below(12)));
    dice.maybe(25, &mut body, "_source", source);
    // They would show in `top_hits`, too, which may have their own.
    let fields = if !knows.eight && body.to_string().contains("top_hits") {
        0
    } else {
        12
    };
    dice.maybe(fields, &mut body, "fields", |dice| {
        json!(dice.some(1, 3, |dice| field_format(dice, knows)))
    });
    // A field that is named twice is shown twice before version 8.
    let columns = if knows.eight { 3 } else { 1 };
    dice.maybe(10, &mut body, "docvalue_fields", |dice| {
        json!(dice.some(1, columns, |dice| column_format(dice, knows)))
    });
    dice.maybe(3, &mut body, "stored_fields", |dice| {
        json!(dice.pick(&["level", "_source"]))
    });
    let marks = if knows.as_8_10 { 10 } else { 0 };
    dice.maybe(marks, &mut body, "highlight", highlight);
    dice.maybe(25, &mut body, "track_total_hits", |dice| {
        match dice.below(3) {
            0 => json!(false),
            // None up to none are exactly none only before version 8.
            1 => json!(dice.below(20).max(usize::from(!knows.eight))),
            _ => json!(true),
        }
    });
    dice.maybe(3, &mut body, "version", |_| json!(true));
    dice.maybe(3, &mut body, "timeout", |_| json!("20s"));
    if body.get("sort").is_some() && body.get("from").is_none() && dice.percent(12) {
        let values = after(dice, knows, &body["sort"]);
        body["search_after"] = values;
    }
    body
}

/// Members that speak of places among all documents, and of scores.
fn by_place(dice: &mut Dice, body: &mut Value) {
    dice.maybe(8, body, "min_score", |dice| match dice.below(4) {
        0 => json!(-1),
        1 => json!(0),
        2 => json!(0.1),
        _ => json!(1),
    });
    dice.maybe(8, body, "terminate_after", |dice| json!(1 + dice.below(4)));
    dice.maybe(8, body, "track_scores", |_| json!(true));
    dice.maybe(
        3,
        body,
        "slice",
        |dice| json!({ "id": dice.below(2), "max": 2 }),
    );
    if dice.percent(25) {
        let field = dice.pick(&["_score", "_doc"]);
        let key = if dice.percent(50) {
            json!(field)
        } else {
            json!({ field: dice.pick(&["asc", "desc"]) })
        };
        if let Some(Value::Array(keys)) = body.get_mut("sort") {
            keys.insert(dice.below(keys.len() + 1), key);
        } else {
            body["sort"] = json!([key]);
        }
    }
}

fn field_format(dice: &mut Dice, knows: Knows) -> Value {
    let mut name = if dice.percent(15) {
        dice.pick(&["*", "n*", "log.*", "annot*"]).to_owned()
    } else {
        field(dice, knows)
    };
    // What is no field of a document, and the whole of annotations, others show
    // in forms of their own.
    if !knows.eight && (name.starts_with(['_', '*']) || name.starts_with("annot")) {
        name = "level".to_owned();
    }
    if dice.percent(70) {
        return json!(name);
    }
    if name != "@timestamp" {
        return json!({ "field": name });
    }
    json!({ "field": name, "format": dice.pick(&["epoch_millis", "yyyy-MM-dd"]) })
}

/// An entry of `docvalue_fields`: one that has a column, and a format that it
/// takes.
fn column_format(dice: &mut Dice, knows: Knows) -> Value {
    let name = match field(dice, knows).as_str() {
        "message" | "_id" if !knows.eight => "level".to_owned(),
        "annotations" => "level".to_owned(),
        name => name.to_owned(),
    };
    match name.as_str() {
        "@timestamp" => {
            json!({ "field": name, "format": dice.pick(&["epoch_millis", "yyyy-MM-dd"]) })
        }
        "seq" | "log.offset" if dice.percent(40) => {
            json!({ "field": name, "format": dice.pick(&["0.0", "#,##0", "no 0"]) })
        }
        _ => json!(name),
    }
}

/// `_source`, in each of its forms.
pub fn source(dice: &mut Dice) -> Value {
    match dice.below(8) {
        0 => json!(false),
        1 => json!(true),
        2 => json!("level"),
        3 => json!(["log.*", "n*"]),
        4 => {
            json!({ "includes": ["annotations", "log"], "excludes": ["*.offset", "annotations.user"] })
        }
        5 => json!({ "excludes": ["m*", "*e"] }),
        6 => json!(["annotations.*", "no.such"]),
        _ => json!([]),
    }
}

fn highlight(dice: &mut Dice) -> Value {
    let mut settings = json!({});
    dice.maybe(25, &mut settings, "number_of_fragments", |dice| {
        json!(dice.below(3))
    });
    dice.maybe(20, &mut settings, "fragment_size", |dice| {
        json!(20 + dice.below(60))
    });
    dice.maybe(20, &mut settings, "no_match_size", |dice| {
        json!([5_000, 5 + dice.below(60)][dice.below(2)])
    });
    dice.maybe(10, &mut settings, "require_field_match", |_| json!(false));
    dice.maybe(10, &mut settings, "order", |_| json!("score"));
    let field = if dice.percent(70) {
        "message".to_owned()
    } else {
        dice.keyword().to_owned()
    };
    let mut body = json!({ "fields": { field: settings } });
    dice.maybe(10, &mut body, "encoder", |_| json!("html"));
    dice.maybe(20, &mut body, "pre_tags", |_| json!(["<b>"]));
    dice.maybe(30, &mut body, "post_tags", |_| json!(["</b>"]));
    body
}

/// Whether a sort ends in a key that no two documents share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It does.
    Always,
    /// It does as a rule.
    Often,
}

/// A sort by one key or more.
pub fn sort(dice: &mut Dice, knows: Knows, ends: Ends) -> Value {
    let mut keys = dice.some(usize::from(ends == Ends::Often), 2, |dice| {
        sort_key(dice, knows)
    });
    if ends == Ends::Always || dice.percent(75) {
        keys.push(json!({ "event_id": dice.pick(&["asc", "desc"]) }));
    }
    Value::from(keys)
}

fn sort_key(dice: &mut Dice, knows: Knows) -> Value {
    let field = match dice.below(16) {
        0 if dice.percent(20) => "message",
        0 => "pod",
        1 => "no.such.field",
        2 | 3 => "seq",
        4 => "realtime_us",
        5 => "_index",
        6..=9 => "@timestamp",
        10 => "log.offset",
        _ => dice.keyword(),
    };
    if dice.percent(20) {
        return json!(field);
    }
    if dice.percent(30) {
        return json!({ field: dice.pick(&["asc", "desc"]) });
    }
    let mut settings = json!({ "order": dice.pick(&["asc", "desc"]) });
    dice.maybe(35, &mut settings, "missing", |dice| match field {
        _ if dice.percent(70) => json!(dice.pick(&["_first", "_last"])),
        "seq" | "log.offset" | "realtime_us" => dice.number(),
        "@timestamp" => json!(1_774_700_000_000_i64),
        _ => json!("m"),
    });
    dice.maybe(
        if field == "no.such.field" { 80 } else { 5 },
        &mut settings,
        "unmapped_type",
        |dice| json!(dice.pick(&["long", "keyword", "date"])),
    );
    let modes = if knows.eight || field != "no.such.field" {
        15
    } else {
        0
    };
    dice.maybe(modes, &mut settings, "mode", |dice| {
        if field == "@timestamp" && !knows.eight {
            return json!(dice.pick(&["min", "max"]));
        }
        json!(dice.pick(&["min", "max", "min", "max", "sum", "avg", "median"]))
    });
    if field == "@timestamp" && knows.elasticsearch {
        dice.maybe(10, &mut settings, "format", |dice| {
            json!(dice.pick(&["strict_date_optional_time", "yyyy-MM-dd"]))
        });
        let types = if knows.eight { 3 } else { 0 };
        dice.maybe(types, &mut settings, "numeric_type", |dice| {
            json!(dice.pick(&["date_nanos", "date", "long"]))
        });
    }
    json!({ field: settings })
}

/// Values such as a last hit has, for each key.
fn after(dice: &mut Dice, knows: Knows, sort: &Value) -> Value {
    let keys = sort.as_array().cloned().unwrap_or_default();
    let mut values: Vec<Value> = keys
        .iter()
        .map(|key| {
            let field = key
                .as_str()
                .or_else(|| key.as_object()?.keys().next().map(String::as_str))
                .unwrap_or_default();
            match field {
                "seq" | "log.offset" | "no.such.field" => dice.number(),
                "realtime_us" => json!(dice.time_us()),
                "@timestamp" => json!(dice.time_us() / 1_000),
                "_score" | "_doc" => json!(dice.below(2)),
                "event_id" => json!(format!("{:032x}", dice.between(0, i64::MAX))),
                // Beside a `missing` of one's own it is none of the two in some versions.
                _ if !knows.eight && key.to_string().contains("missing") => json!(dice.name()),
                _ if dice.percent(10) => Value::Null,
                _ => json!(dice.name()),
            }
        })
        .collect();
    if dice.percent(5) {
        values.pop();
    }
    Value::from(values)
}

/// `body` with one thing wrong, or cut off.
fn wrong(dice: &mut Dice, mut body: Value) -> Body {
    if dice.percent(20) {
        let text = body.to_string();
        let end = dice.below(text.chars().count() + 1);
        return Body::Text(text.chars().take(end).collect());
    }
    let places = places(&body);
    let place = &places[dice.below(places.len())];
    if let Some(value) = body.pointer_mut(place) {
        // In a list of clauses an engine passes over what is no object, and in one
        // of fields over what is null; in one of values it takes objects.
        let last = place.rsplit('/').next().unwrap_or_default();
        let is_of_a_list = last.parse::<usize>().is_ok();
        let in_a_list = is_of_a_list && value.is_object();
        let kind = if in_a_list { 5 } else { dice.below(7) };
        match if is_of_a_list && !in_a_list {
            kind % 2
        } else {
            kind
        } {
            0 => *value = json!(dice.between(-2, 100)),
            1 => *value = json!("wrong"),
            2 => *value = json!({}),
            3 => *value = json!([]),
            4 => *value = Value::Null,
            5 => *value = json!({ "wrong": 1 }),
            _ => match value {
                Value::Object(members) => {
                    members.insert("wrong".to_owned(), json!(dice.below(3)));
                }
                other => *other = json!([other.clone()]),
            },
        }
    }
    Body::Json(body)
}

/// The pointer of every value in `body`.
#[must_use]
pub fn places(body: &Value) -> Vec<String> {
    fn add(value: &Value, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    add(value, &format!("{path}/{name}"), found);
                }
            }
            Value::Array(values) => {
                for (place, value) in values.iter().enumerate() {
                    add(value, &format!("{path}/{place}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    add(body, "", &mut found);
    found
}
