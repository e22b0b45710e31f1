//! Conformance scenarios: requests of the Elasticsearch API and what must come
//! back, as YAML files under `tests/conformance`. Its README says the format.

mod matching;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

pub use run::Runner;

use crate::engine::Product;
use crate::target::Target;

/// One file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenarios {
    /// What the file is about; for readers.
    pub about: String,
    /// Documents that other files use too: a file of `tests/conformance/data`.
    #[serde(default)]
    data: Option<String>,
    /// Documents of this file alone, each with `_index` and, mostly, `_id`.
    #[serde(default)]
    documents: Vec<Value>,
    /// The scenarios.
    pub cases: Vec<Case>,
}

/// One scenario: a step, or several in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence that says what holds.
    pub name: String,
    /// The steps, where one is not enough.
    #[serde(default)]
    steps: Vec<Step>,
    /// It writes: the documents are made anew for the next one.
    #[serde(default)]
    changes: bool,
    /// The first version of Elasticsearch where it holds. OpenSearch counts as
    /// 7.10, from which it was made, the embedded store as the version it says.
    #[serde(default)]
    from: Option<String>,
    /// The last version of Elasticsearch where it holds; `6` is all of 6.
    #[serde(default)]
    until: Option<String>,
    /// The last version of OpenSearch where it holds; `2` is all of 2.
    #[serde(default)]
    opensearch_until: Option<String>,
    /// The only products where it holds.
    #[serde(default)]
    only: Vec<Kind>,
    /// Products where it does not hold.
    #[serde(default)]
    not: Vec<Kind>,
    /// Why it holds for some only.
    #[serde(default)]
    because: Option<String>,
    /// What the embedded store does with it, where that is not the same.
    #[serde(default)]
    embedded: Option<Embedded>,
    #[serde(flatten)]
    step: Step,
}

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Elasticsearch,
    OpenSearch,
    Embedded,
}

/// What the embedded store does with a scenario of the engines.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Embedded {
    /// It is left out, or refused.
    Word(Word),
    /// It answers something else, in every version that it says it is.
    Differs(Box<Differs>),
}

/// What is to be said in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    /// It is not there yet.
    Pending,
    /// It answers 400, and the documentation says so.
    Refused,
}

/// Another answer than that of the engines, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differs {
    /// Why it differs.
    because: String,
    /// What must come back of the case's own request.
    #[serde(flatten)]
    answer: Step,
}

/// A request and what must come back.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// `METHOD /path?parameters`.
    #[serde(default)]
    request: Option<String>,
    /// In place of `request` and `body`: the body of `POST /logstash-*/_search`.
    #[serde(default)]
    search: Option<Value>,
    /// A JSON body.
    #[serde(default)]
    body: Option<Value>,
    /// An NDJSON body.
    #[serde(default)]
    lines: Vec<Value>,
    /// A body as it is written, also where it is no JSON.
    #[serde(default)]
    raw: Option<String>,
    /// Headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,

    /// The status that must come back; otherwise 200, and 400 with `error`.
    #[serde(default)]
    status: Option<u16>,
    /// The `_id`s of the hits, in order.
    #[serde(default)]
    ids: Option<Vec<String>>,
    /// The `_id`s of the hits, in any order.
    #[serde(default)]
    finds: Option<Vec<String>>,
    /// The exact number of hits.
    #[serde(default)]
    total: Option<u64>,
    /// The `type` of the first root cause.
    #[serde(default)]
    error: Option<String>,
    /// A part of the reason of the first root cause.
    #[serde(default)]
    reason: Option<String>,
    /// What the body must have, as a partial tree.
    #[serde(default)]
    expect: Option<Value>,
    /// What the body must be as a text.
    #[serde(default)]
    text: Option<Value>,
    /// Headers that must come back.
    #[serde(default)]
    answers: BTreeMap<String, Value>,
    /// Parts of the answer, as JSON pointers, to be used as `${name}` in later steps.
    #[serde(default)]
    keep: BTreeMap<String, String>,
}

impl Step {
    /// Whether it has a request of its own.
    fn asks(&self) -> bool {
        self.request.is_some()
            || self.search.is_some()
            || self.body.is_some()
            || self.raw.is_some()
            || !self.lines.is_empty()
            || !self.headers.is_empty()
    }
}

/// Whether a case is run against a target.
#[derive(Debug, PartialEq, Eq)]
pub enum Applies {
    /// It is.
    Yes,
    /// It says nothing about this target.
    No,
    /// The target should keep it and does not yet.
    Pending,
}

impl Case {
    /// Whether it says something about `target`.
    ///
    /// # Panics
    /// When a version in the file is none.
    #[must_use]
    pub fn applies(&self, target: &Target) -> Applies {
        let (product, version) = target.speaks();
        let kind = match (target.spec, product) {
            (None, _) => Kind::Embedded,
            (_, Product::Elasticsearch) => Kind::Elasticsearch,
            (_, Product::OpenSearch) => Kind::OpenSearch,
        };
        let own = [version.0, version.1, version.2];
        let (version, last_of_product) = match product {
            Product::Elasticsearch => (own, None),
            // OpenSearch 1 was made from Elasticsearch 7.10.2.
            Product::OpenSearch => ([7, 10, 2], self.opensearch_until.as_deref()),
        };
        let up_to = |version: [u32; 3], last: &str| {
            let last = numbers(last);
            version[..last.len()] <= last[..]
        };
        let after_first = self.from.as_deref().is_none_or(|first| {
            let first = numbers(first);
            version[..first.len()] >= first[..]
        });
        let before_last = self
            .until
            .as_deref()
            .is_none_or(|last| up_to(version, last))
            && last_of_product.is_none_or(|last| up_to(own, last));
        let named = self.only.is_empty() || self.only.contains(&kind);
        match &self.embedded {
            Some(Embedded::Differs(_)) if kind == Kind::Embedded => return Applies::Yes,
            Some(Embedded::Word(Word::Pending)) if kind == Kind::Embedded => {
                return Applies::Pending;
            }
            _ => {}
        }
        if !(after_first && before_last && named) || self.not.contains(&kind) {
            Applies::No
        } else {
            Applies::Yes
        }
    }

    /// The steps in order.
    fn steps(&self) -> &[Step] {
        if self.steps.is_empty() {
            std::slice::from_ref(&self.step)
        } else {
            &self.steps
        }
    }
}

fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| {
        part.parse()
            .expect("a version is numbers with dots between")
    };
    version.split('.').map(number).collect()
}

/// The folder of the scenarios.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// Every file of scenarios with its name, which is its path below the folder
/// without the ending, in the order of names.
///
/// # Panics
/// When a file is not in the format, or a case that holds for some products
/// only does not say why; the message says where.
#[must_use]
pub fn scenarios() -> Vec<(String, Scenarios)> {
    let root = folder();
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("it was found below");
        let name = name.with_extension("").display().to_string();
        let scenarios: Scenarios = read(&path);
        for case in &scenarios.cases {
            let partial = !(case.only.is_empty() && case.not.is_empty());
            assert!(
                case.because.is_some() || !partial,
                "{name}: {:?} says for whom it holds and not why",
                case.name
            );
            if let Some(Embedded::Differs(differs)) = &case.embedded {
                assert!(
                    case.steps.is_empty() && !differs.because.is_empty() && !differs.answer.asks(),
                    "{name}: {:?} has another answer and not to its own request, or without a reason",
                    case.name
                );
            }
        }
        (name, scenarios)
    };
    files.into_iter().map(named).collect()
}

/// The documents of `tests/conformance/data/{name}.yaml`.
fn data(name: &str) -> Vec<Value> {
    read(&folder().join("data").join(name).with_extension("yaml"))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("a folder of scenarios can be read");
    for entry in entries {
        let path = entry.expect("a folder's entry can be read").path();
        if path.is_dir() && !path.ends_with("data") {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
}
