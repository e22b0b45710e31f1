//! The promise of a restricted token, on every store: two stores that differ
//! only in documents outside of the restriction answer every restricted request
//! with the same bytes, but `took`.
//!
//! One store goes through states that hold the same visible documents: alone;
//! with others written behind them; all written anew in a mixed order, so that
//! segments and the places in them differ; and with some of the others deleted
//! again. `RESTRICTION_CASES` and `RESTRICTION_SEED` make longer runs.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::differential::dice::Dice;
use mscp_log_tests::differential::documents::{Document, corpus};
use mscp_log_tests::differential::queries::Knows;
use mscp_log_tests::differential::requests::{Body, Request, Scope, request};
use mscp_log_tests::engine::Product;
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::target::{RUNTIME, Target};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Requests of a usual run.
const CASES: usize = 60;
/// Documents, about half of them visible.
const DOCUMENTS: usize = 120;
/// Answers that differ, of which a failure shows both forms.
const SHOWN: usize = 8;
/// The name that the indices have in common.
const ROUND: &str = "restricted";

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    type Check = fn(&Front) -> Result<(), Failed>;
    let checks: [(&str, Check); 3] = [
        (
            "documents_outside_change_no_byte_of_an_answer",
            no_byte_changes,
        ),
        ("an_id_is_good_for_its_holder_alone", ids_are_their_holders),
        (
            "a_token_for_some_indices_goes_on_with_no_scroll_of_another",
            scrolls_of_some,
        ),
    ];
    checks
        .into_iter()
        .map(|(name, check)| {
            let name = format!("{}::restriction::{name}", target.name());
            let target = Arc::clone(target);
            Trial::test(name, move || check(&Front::before(&target)))
        })
        .collect()
}

/// A node before the store of a target.
struct Front {
    node: Node,
    _data: TempDir,
    http: reqwest::Client,
    /// Everything, with the right to write.
    administrator: String,
    /// Version and product of the store.
    speaks: (Product, (u32, u32, u32)),
    knows: Knows,
}

impl Front {
    fn before(target: &Target) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (node, knows) = match target.spec {
            None => (Node::start(data.path(), &[], &[]), true),
            Some(spec) => {
                let store = format!("[\"{}\"]", target.running().url);
                let variables = [("MSCP_LOG_REGION__LOCAL__STORE", store.as_str())];
                let node = Node::start(data.path(), &[], &variables);
                let flattened = spec.product == Product::Elasticsearch && spec.version.0 >= 7;
                (node, flattened)
            }
        };
        let everything = json!([{"method": ["GET", "POST", "PUT", "DELETE"],
            "url": ["{mscp_api_url}/**"], "other": {"log": {"write": true}}}]);
        let front = Self {
            administrator: RUNTIME.block_on(process::administrator_token(&node, &everything)),
            node,
            _data: data,
            http: process::http(),
            speaks: target.speaks(),
            knows: Knows {
                flattened: knows,
                ..target.spec.map_or_else(Knows::everything, Knows::of)
            },
        };
        if let Some(spec) = target.spec {
            let version = spec.template();
            let body = mscp_log_core::template::index_template(version).to_string();
            let path = version.path();
            let found = front.call(&front.administrator, Method::PUT, path, &body);
            assert_eq!(found.0, 200, "{}", found.1);
        }
        front.clear();
        front
    }

    /// A token for the region's log, restricted to `namespace`.
    fn restricted(&self, namespace: &str) -> String {
        self.token(
            &json!([{"method": ["GET", "POST", "DELETE"], "url": ["{mscp_api_url}/local/log/**"],
            "other": {"log": {"namespace": [namespace]}}}]),
        )
    }

    fn token(&self, access: &Value) -> String {
        RUNTIME.block_on(process::administrator_token(&self.node, access))
    }

    fn call(&self, token: &str, method: Method, path: &str, body: &str) -> (u16, String) {
        let mut request = self
            .http
            .request(method, format!("{}/api/local/log{path}", self.node.url))
            .bearer_auth(token);
        if !body.is_empty() {
            let lines = path.contains("_msearch") || path.contains("_bulk");
            let kind = if lines {
                "application/x-ndjson"
            } else {
                "application/json"
            };
            request = request.header("content-type", kind).body(body.to_owned());
        }
        RUNTIME.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    }

    /// The type of documents, which Elasticsearch 6 wants named.
    fn has_types(&self) -> bool {
        self.speaks.0 == Product::Elasticsearch && self.speaks.1.0 < 7
    }

    fn fill(&self, documents: &[Document]) {
        if documents.is_empty() {
            return;
        }
        let mut lines = String::new();
        for document in documents {
            let mut head = json!({"_index": document.index, "_id": document.id});
            if self.has_types() {
                head["_type"] = "doc".into();
            }
            lines += &format!("{}\n{}\n", json!({"create": head}), document.source);
        }
        let path = "/_bulk?refresh=true";
        let (status, text) = self.call(&self.administrator, Method::POST, path, &lines);
        assert_eq!(status, 200, "{text}");
    }

    fn delete(&self, documents: &[Document]) {
        let mut lines = String::new();
        for document in documents {
            let mut head = json!({"_index": document.index, "_id": document.id});
            if self.has_types() {
                head["_type"] = "doc".into();
            }
            lines += &format!("{}\n", json!({"delete": head}));
        }
        let path = "/_bulk?refresh=true";
        let (status, text) = self.call(&self.administrator, Method::POST, path, &lines);
        assert_eq!(status, 200, "{text}");
    }

    fn clear(&self) {
        let path = "/_cat/indices/logstash-*?format=json&h=index";
        let (_, text) = self.call(&self.administrator, Method::GET, path, "");
        let indices: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        for index in indices {
            let path = format!("/{}", index["index"].as_str().unwrap());
            let (status, text) = self.call(&self.administrator, Method::DELETE, &path, "");
            assert_eq!(status, 200, "{text}");
        }
    }

    /// Every answer of one state: to each request, and some page by page. Each
    /// with the place of its request.
    fn answers(&self, token: &str, requests: &[Request]) -> Vec<(usize, (u16, String))> {
        let mut answers = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            let path = target_of(request);
            let text = request.body.text();
            answers.push((place, plain(self.call(token, Method::POST, &path, &text))));
            let Body::Json(body) = &request.body else {
                continue;
            };
            if request.endpoint != "_search" || !request.parameters.is_empty() {
                continue;
            }
            let pages = match place % 4 {
                0 => self.scrolled(token, &request.index, body),
                1 => self.point_in_time(token, &request.index, body),
                _ => Vec::new(),
            };
            answers.extend(pages.into_iter().map(|page| (place, page)));
        }
        answers
    }

    /// The first pages of a scroll.
    fn scrolled(&self, token: &str, index: &str, body: &Value) -> Vec<(u16, String)> {
        let mut body = body.clone();
        body["size"] = 7.into();
        for member in ["from", "search_after", "track_total_hits"] {
            body.as_object_mut().unwrap().remove(member);
        }
        let path = format!("/{index}/_search?scroll=1m");
        let mut found = self.call(token, Method::POST, &path, &body.to_string());
        let mut pages = Vec::new();
        let mut last = None;
        for _ in 0..3 {
            let id = id_in(&found.1, "_scroll_id");
            pages.push(plain(found.clone()));
            let Some(id) = id else { break };
            let next = json!({"scroll": "1m", "scroll_id": id}).to_string();
            found = self.call(token, Method::POST, "/_search/scroll", &next);
            last = Some(id);
        }
        if let Some(id) = last {
            let end = json!({"scroll_id": [id]}).to_string();
            pages.push(self.call(token, Method::DELETE, "/_search/scroll", &end));
        }
        pages
    }

    /// The first pages of a search of a point in time.
    fn point_in_time(&self, token: &str, index: &str, body: &Value) -> Vec<(u16, String)> {
        let (open, close, member) = match self.speaks {
            (Product::Elasticsearch, version) if version < (7, 10, 0) => return Vec::new(),
            (Product::Elasticsearch, _) => ("_pit", "/_pit", "id"),
            (Product::OpenSearch, _) => {
                let path = "_search/point_in_time";
                (path, "/_search/point_in_time", "pit_id")
            }
        };
        let path = format!("/{index}/{open}?keep_alive=1m");
        let opened = self.call(token, Method::POST, &path, "");
        let Some(id) = id_in(&opened.1, member) else {
            return vec![plain(opened)];
        };
        let mut body = body.clone();
        body["size"] = 7.into();
        body["pit"] = json!({"id": id, "keep_alive": "1m"});
        for member in ["from", "search_after"] {
            body.as_object_mut().unwrap().remove(member);
        }
        let mut pages = vec![plain(opened)];
        for _ in 0..3 {
            let found = self.call(token, Method::POST, "/_search", &body.to_string());
            let answer: Value = serde_json::from_str(&found.1).unwrap_or_default();
            pages.push(plain(found));
            let hits = answer["hits"]["hits"].as_array();
            let Some(last) = hits.and_then(|hits| hits.last()) else {
                break;
            };
            body["search_after"] = last["sort"].clone();
        }
        let end = json!({ member: id }).to_string();
        pages.push(plain(self.call(token, Method::DELETE, close, &end)));
        pages
    }
}

fn target_of(request: &Request) -> String {
    let mut path = format!("/{}/{}", request.index, request.endpoint);
    for (place, (name, value)) in request.parameters.iter().enumerate() {
        path.push(if place == 0 { '?' } else { '&' });
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        path.push_str(&format!("{name}={value}"));
    }
    path
}

fn id_in(text: &str, member: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    Some(answer[member].as_str()?.to_owned())
}

/// An answer without what has to differ: the time that it took, ids, and the
/// time at which a point in time was made.
fn plain((status, text): (u16, String)) -> (u16, String) {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    const APART: [(&str, &str); 5] = [
        ("\"took\":", ",}"),
        ("\"_scroll_id\":\"", "\""),
        ("\"pit_id\":\"", "\""),
        ("\"id\":\"", "\""),
        ("\"creation_time\":", ",}"),
    ];
    loop {
        let next = APART
            .iter()
            .filter_map(|(name, end)| Some((rest.find(name)? + name.len(), *end)))
            .min();
        let Some((start, ends)) = next else { break };
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| ends.contains(c)).unwrap_or(rest.len());
        rest = &rest[end..];
    }
    plain.push_str(rest);
    (status, plain)
}

/// Documents of which about half are in the namespace `shop`, and whether each
/// is visible to who may see that.
fn documents(dice: &mut Dice) -> Vec<(bool, Document)> {
    let documents = corpus(dice, ROUND, DOCUMENTS);
    documents
        .into_iter()
        .map(|mut document| {
            let namespace = match dice.below(20) {
                0..=8 => json!("shop"),
                9 => json!(["bank", "shop"]),
                10 => json!(["shopping", "Shop"]),
                11 => Value::Null,
                12..=14 => json!("shopping"),
                _ => json!("bank"),
            };
            let visible = namespace == "shop" || namespace[1] == "shop";
            document.source["namespace"] = namespace;
            if !visible && dice.percent(30) {
                // Indices that hold nothing visible.
                document.index = document.index.replace(ROUND, "restricted-other");
            }
            (visible, document)
        })
        .collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn no_byte_changes(front: &Front) -> Result<(), Failed> {
    let seed = number("RESTRICTION_SEED", 1);
    let cases = usize::try_from(number("RESTRICTION_CASES", CASES as u64)).unwrap();
    let token = front.restricted("shop");
    let (mut left, mut round) = (cases, seed);
    let (mut asked, mut answered) = (0, 0);
    while left > 0 {
        let dice = &mut Dice::new(round);
        let documents = documents(dice);
        let of = |wanted: bool| -> Vec<Document> {
            let chosen = documents.iter().filter(|(visible, _)| *visible == wanted);
            chosen.map(|(_, document)| document.clone()).collect()
        };
        let (seen, unseen) = (of(true), of(false));
        let now = left.min(CASES);
        let requests: Vec<Request> = (0..now)
            .map(|_| request(dice, front.knows, Scope::Places, ROUND))
            .collect();

        front.clear();
        for part in seen.chunks(20) {
            front.fill(part);
        }
        let alone = front.answers(&token, &requests);
        let compare = |state: &str| -> Result<(), Failed> {
            let found = front.answers(&token, &requests);
            let mut differing = alone.iter().zip(&found).filter(|(one, other)| one != other);
            let shown: Vec<String> = differing
                .by_ref()
                .take(SHOWN)
                .map(|((place, one), (_, other))| {
                    let request = &requests[*place];
                    let (path, body) = (target_of(request), request.body.text());
                    format!("{path} {body}\n alone: {one:?}\n found: {other:?}")
                })
                .collect();
            if shown.is_empty() {
                return Ok(());
            }
            let count = shown.len() + differing.count();
            let shown = shown.join("\n");
            Err(format!("seed {round}, {state}: {count} answers differ\n{shown}").into())
        };
        for part in unseen.chunks(20) {
            front.fill(part);
        }
        compare("others written behind")?;
        front.clear();
        let mut mixed: Vec<Document> = documents.iter().map(|(_, one)| one.clone()).collect();
        let turn = dice.below(mixed.len());
        mixed.rotate_left(turn);
        for part in mixed.chunks(7) {
            front.fill(part);
        }
        compare("all in one order")?;
        front.delete(&unseen[..unseen.len() / 2]);
        compare("some of the others deleted")?;
        asked += alone.len();
        answered += alone
            .iter()
            .filter(|(_, (status, _))| *status == 200)
            .count();
        left -= now;
        round += 1;
    }
    eprintln!(
        "{asked} answers in 4 states, {answered} of them with status 200, seeds {seed}..{round}"
    );
    if answered * 4 < asked {
        return Err(format!("only {answered} of {asked} were answered").into());
    }
    Ok(())
}

fn ids_are_their_holders(front: &Front) -> Result<(), Failed> {
    let mut dice = Dice::new(7);
    let documents: Vec<Document> = documents(&mut dice)
        .into_iter()
        .map(|(_, one)| one)
        .collect();
    front.fill(&documents);
    let (shop, bank) = (front.restricted("shop"), front.restricted("bank"));
    let first = "/_search?scroll=1m";
    let open = |token: &str| {
        let (status, text) = front.call(token, Method::POST, first, r#"{"size":2}"#);
        assert_eq!(status, 200, "{text}");
        id_in(&text, "_scroll_id").unwrap()
    };
    let (of_shop, of_bank, raw) = (open(&shop), open(&bank), open(&front.administrator));
    let next = |token: &str, id: &str| {
        let body = json!({"scroll": "1m", "scroll_id": id}).to_string();
        front.call(token, Method::POST, "/_search/scroll", &body)
    };
    for (token, own, others) in [
        (&shop, &of_shop, [&of_bank, &raw]),
        (&bank, &of_bank, [&of_shop, &raw]),
    ] {
        for other in others {
            let (status, text) = next(token, other);
            assert_eq!(status, 404, "{text}");
            let end = json!({"scroll_id": [other]}).to_string();
            let (status, text) = front.call(token, Method::DELETE, "/_search/scroll", &end);
            assert_eq!(status, 404, "{text}");
        }
        let (status, text) = next(token, own);
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text)?;
        let sealed = answer["_scroll_id"].as_str().unwrap();
        assert_ne!(sealed, raw);
        assert_eq!(answer["hits"]["hits"].as_array().unwrap().len(), 2);
    }
    // Nobody ended another's.
    assert_eq!(next(&front.administrator, &raw).0, 200);
    assert_eq!(next(&bank, &of_bank).0, 200);
    let end = json!({"scroll_id": [of_shop]}).to_string();
    let ended = front.call(&shop, Method::DELETE, "/_search/scroll", &end);
    let expected: Value = json!({"succeeded": true, "num_freed": 1});
    assert_eq!((ended.0, serde_json::from_str(&ended.1)?), (200, expected));
    assert_eq!(next(&shop, &of_shop).0, 404);
    Ok(())
}

fn scrolls_of_some(front: &Front) -> Result<(), Failed> {
    let mut dice = Dice::new(8);
    let documents: Vec<Document> = documents(&mut dice)
        .into_iter()
        .map(|(_, one)| one)
        .collect();
    front.fill(&documents);
    let index = documents[0].index.clone();
    let some = front.token(&json!([{"method": ["GET", "POST", "DELETE"], "url": [
        format!("{{mscp_api_url}}/local/log/{index}/**"),
        "{mscp_api_url}/local/log/_search/scroll",
    ]}]));
    let open = |token: &str, path: &str| {
        let (status, text) = front.call(token, Method::POST, path, r#"{"size":1}"#);
        assert_eq!(status, 200, "{text}");
        id_in(&text, "_scroll_id").unwrap()
    };
    let own = open(&some, &format!("/{index}/_search?scroll=1m"));
    let raw = open(&front.administrator, "/_search?scroll=1m");
    let next = |id: &str| {
        let body = json!({"scroll": "1m", "scroll_id": id}).to_string();
        front.call(&some, Method::POST, "/_search/scroll", &body)
    };
    assert_eq!(next(&raw).0, 404);
    let (status, text) = next(&own);
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text)?;
    for hit in answer["hits"]["hits"].as_array().unwrap() {
        assert_eq!(hit["_index"], index.as_str());
    }
    let end = json!({"scroll_id": own}).to_string();
    let (status, text) = front.call(&some, Method::DELETE, "/_search/scroll", &end);
    assert_eq!(status, 200, "{text}");
    Ok(())
}
