//! Runs scenarios against a target.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use serde_json::{Value, json};

use super::matching::differences;
use super::{Case, Embedded, Scenarios, Step, Word, data};
use crate::engine::Product;
use crate::target::{RUNTIME, Running, Target};

/// How much of an answer a failure shows, in characters.
const SHOWN: usize = 3_000;
/// What `finds` asks for where the body says no size.
const FIND_UP_TO: u64 = 100;

/// Scenarios of one target, one after the other. It keeps in mind which
/// documents the target has, so that files which share them do not make them anew.
#[derive(Debug)]
pub struct Runner {
    target: Arc<Target>,
    /// The documents that are there.
    present: Mutex<Present>,
}

/// The documents of a target.
#[derive(Debug)]
enum Present {
    /// Unknown: nothing was made yet, or a case changed them.
    Unknown,
    /// These.
    Documents(Vec<Value>),
    /// They could not be made, for this reason: no later case tries again.
    Broken(String),
}

/// An answer, as far as scenarios look.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
    body: Option<Value>,
}

impl Runner {
    /// For scenarios of `target`.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            present: Mutex::new(Present::Unknown),
        }
    }

    /// Make the documents of the file and run the case.
    ///
    /// # Errors
    /// What was not as the scenario says, or why the documents were not made.
    ///
    /// # Panics
    /// When the target does not start.
    pub fn run(&self, scenarios: &Scenarios, case: &Case) -> Result<(), String> {
        let mut documents = scenarios.data.as_deref().map(data).unwrap_or_default();
        documents.extend_from_slice(&scenarios.documents);
        let running = self.target.running();
        // A case that failed on its way may have left anything behind.
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        RUNTIME.block_on(async {
            let made = match &*present {
                Present::Broken(reason) => return Err(reason.clone()),
                Present::Documents(made) => *made == documents,
                Present::Unknown => false,
            };
            *present = Present::Unknown;
            if !made && let Err(reason) = self.make(running, &documents).await {
                *present = Present::Broken(format!("the documents were not made: {reason}"));
                return Err(reason);
            }
            if !case.changes {
                *present = Present::Documents(documents);
            }
            let mut kept = BTreeMap::new();
            for step in case.steps() {
                self.step(running, case, step, &mut kept).await?;
            }
            Ok(())
        })
    }

    /// Remove every index and make `documents` under the project's template.
    async fn make(&self, running: &Running, documents: &[Value]) -> Result<(), String> {
        if let Some(spec) = self.target.spec {
            let version = spec.template();
            let template = mscp_log_core::template::index_template(version);
            let request = running.request(Method::PUT, version.path());
            done(request.json(&template)).await?;
        }
        remove_indices(running).await?;
        if documents.is_empty() {
            return Ok(());
        }
        let mut body = String::new();
        for document in documents {
            let mut source = document.as_object().expect("a document").clone();
            let mut action = json!({ "_index": source.remove("_index") });
            if let Some(id) = source.remove("_id") {
                action["_id"] = id;
            }
            if self.has_types() {
                action["_type"] = json!("doc");
            }
            let _ = writeln!(body, "{}\n{}", json!({ "index": action }), json!(source));
        }
        let request = running
            .request(Method::POST, "/_bulk?refresh=true")
            .header("content-type", "application/x-ndjson")
            .body(body);
        let answer = done(request).await?;
        if answer["errors"] == false {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    }

    /// Elasticsearch 6 has a type in the path of a document; ours is `doc`,
    /// because 6.1 takes none that begins with an underscore.
    fn has_types(&self) -> bool {
        let (product, version) = self.target.speaks();
        product == Product::Elasticsearch && version.0 == 6
    }

    async fn step(
        &self,
        running: &Running,
        case: &Case,
        step: &Step,
        kept: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let (request, line) = self.request(running, step, kept);
        let answer = answer(request)
            .await
            .map_err(|cut| format!("{line}\n  {cut}"))?;
        let mut wrong = Vec::new();
        let embedded = case
            .embedded
            .as_ref()
            .filter(|_| self.target.spec.is_none());
        match embedded {
            Some(Embedded::Word(Word::Refused)) => {
                if answer.status != 400 {
                    wrong.push(format!(
                        "expected to be refused with 400, was {}",
                        answer.status
                    ));
                }
            }
            Some(Embedded::Differs(differs)) => {
                wrong = expectations(&differs.answer, &answer, kept);
                if expectations(step, &answer, kept).is_empty() {
                    wrong.push("it answers as the engines do".to_owned());
                }
            }
            _ => wrong = expectations(step, &answer, kept),
        }
        if !wrong.is_empty() {
            let shown: String = answer.text.chars().take(SHOWN).collect();
            return Err(format!(
                "{line}\n  {}\n{} {shown}",
                wrong.join("\n  "),
                answer.status
            ));
        }
        for (name, pointer) in &step.keep {
            let value = answer.body.as_ref().and_then(|body| body.pointer(pointer));
            let value = match value {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => return Err(format!("{line}\n  the answer has no {pointer}")),
            };
            kept.insert(name.clone(), value);
        }
        Ok(())
    }

    fn request(
        &self,
        running: &Running,
        step: &Step,
        kept: &BTreeMap<String, String>,
    ) -> (reqwest::RequestBuilder, String) {
        let line = match &step.request {
            Some(line) => filled(line, kept),
            None => "POST /logstash-*/_search".to_owned(),
        };
        let (method, path) = line
            .split_once(' ')
            .expect("a request is a method and a path");
        let path = if self.has_types() {
            path.replace("/_doc", "/doc")
        } else {
            path.to_owned()
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = running.request(method, &path);
        for (name, value) in &step.headers {
            request = request.header(name, filled(value, kept));
        }
        let content_type = |request: reqwest::RequestBuilder, kind: &str| {
            if step.headers.contains_key("content-type") {
                request
            } else {
                request.header("content-type", kind)
            }
        };
        let body = step.body.as_ref().or(step.search.as_ref());
        if let Some(raw) = &step.raw {
            request = content_type(request, "application/json").body(filled(raw, kept));
        } else if let Some(body) = body {
            let mut body = filled_in(body, kept);
            if step.finds.is_some() && body.is_object() && body.get("size").is_none() {
                body["size"] = json!(FIND_UP_TO);
            }
            request = content_type(request, "application/json").body(body.to_string());
        } else if !step.lines.is_empty() {
            let lines: String = step
                .lines
                .iter()
                .map(|line| format!("{}\n", filled_in(line, kept)))
                .collect();
            request = content_type(request, "application/x-ndjson").body(lines);
        }
        (request, line)
    }
}

/// What of the answer is not as the step says.
fn expectations(step: &Step, answer: &Answer, kept: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let usual = if step.error.is_some() { 400 } else { 200 };
    let status = step.status.unwrap_or(usual);
    if answer.status != status {
        wrong.push(format!("expected status {status}, was {}", answer.status));
    }
    let body = answer.body.as_ref();
    if let Some(ids) = &step.ids {
        wrong.extend(differences(&json!(ids), Some(&json!(hit_ids(body)))));
    }
    if let Some(ids) = &step.finds {
        let (mut wanted, mut found) = (ids.clone(), hit_ids(body));
        wanted.sort();
        found.sort();
        if wanted != found {
            wrong.push(format!("expected to find {wanted:?}, found {found:?}"));
        }
    }
    if let Some(total) = step.total {
        let actual = body.and_then(|body| {
            let total = body.pointer("/hits/total")?;
            Some(total.get("value").unwrap_or(total))
        });
        wrong.extend(differences(&json!(total), actual));
    }
    let cause = body.and_then(|body| body.pointer("/error/root_cause/0"));
    if let Some(error) = &step.error {
        wrong.extend(differences(&json!({ "type": error }), cause));
    }
    if let Some(reason) = &step.reason {
        wrong.extend(differences(&json!({"reason": {"contains": reason}}), cause));
    }
    if let Some(tree) = &step.expect {
        wrong.extend(differences(&filled_in(tree, kept), body));
    }
    if let Some(text) = &step.text {
        wrong.extend(differences(text, Some(&json!(answer.text))));
    }
    for (name, wanted) in &step.answers {
        let value = answer.headers.get(name);
        let value = value.map(|value| json!(value.to_str().unwrap_or_default()));
        let found = differences(wanted, value.as_ref());
        wrong.extend(found.into_iter().map(|line| format!("header {name}{line}")));
    }
    wrong
}

fn hit_ids(body: Option<&Value>) -> Vec<String> {
    let hits = body.and_then(|body| body.pointer("/hits/hits")?.as_array());
    hits.into_iter()
        .flatten()
        .map(|hit| hit["_id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

async fn remove_indices(running: &Running) -> Result<(), String> {
    let indices = done(running.request(Method::GET, "/_cat/indices?format=json&h=index")).await?;
    let names: Vec<_> = indices
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["index"].as_str())
        .collect();
    if !names.is_empty() {
        done(running.request(Method::DELETE, &format!("/{}", names.join(",")))).await?;
    }
    Ok(())
}

/// The body of an answer that says 200.
async fn done(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let answer = answer(request).await?;
    if answer.status == 200 {
        Ok(answer.body.unwrap_or_default())
    } else {
        Err(format!("{}: {}", answer.status, answer.text))
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let cut = |error: reqwest::Error| format!("no whole answer: {error:?}");
    let response = request.send().await.map_err(cut)?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.map_err(cut)?;
    Ok(Answer {
        status,
        headers,
        body: serde_json::from_str(&text).ok(),
        text,
    })
}

/// `text` with what earlier steps kept in place of `${name}`.
fn filled(text: &str, kept: &BTreeMap<String, String>) -> String {
    kept.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}

fn filled_in(tree: &Value, kept: &BTreeMap<String, String>) -> Value {
    match tree {
        Value::String(text) => json!(filled(text, kept)),
        Value::Array(list) => list.iter().map(|value| filled_in(value, kept)).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), filled_in(value, kept)))
            .collect(),
        _ => tree.clone(),
    }
}
