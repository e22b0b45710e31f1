//! The same random documents and the same random requests to the embedded
//! store and to a real engine: they must give the same answers.
//!
//! A run goes in rounds. A round has its own seed, its own indices and
//! documents, and some requests. Where the two part, the case is made small
//! and printed with the seed of its round.

pub mod aggregations;
pub mod analysis;
pub mod compare;
pub mod dice;
pub mod documents;
pub mod lucene;
pub mod queries;
pub mod requests;
pub mod shrink;
pub mod side;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use compare::{Difference, Weight};
use dice::Dice;
use documents::Document;
use queries::Knows;
use requests::{Body, Request, Scope};
use side::Side;

use crate::engine::{Product, Spec};

/// Requests of one round.
const REQUESTS: usize = 50;

/// Documents of one round.
const DOCUMENTS: usize = 80;

/// How many cases of one class are shown: what looks the same may have several
/// causes.
const SHOWN: usize = 3;

/// Documents of a case that are printed.
const SHOWN_DOCUMENTS: usize = 6;

/// Documents and a request over them.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Of the indices that it names.
    pub round: String,
    /// What is there.
    pub documents: Vec<Document>,
    /// What is asked.
    pub request: Request,
}

/// A case over which the stores part.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The seed of its round: `--seed` with it begins there.
    pub seed: u64,
    /// The case, made small.
    pub case: Case,
    /// Where they part.
    pub difference: Difference,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "seed {}: {:?} {}",
            self.seed, self.difference.weight, self.difference.place
        )?;
        let shown = self.case.documents.len().min(SHOWN_DOCUMENTS);
        if shown < self.case.documents.len() {
            writeln!(f, "  of {} documents:", self.case.documents.len())?;
        }
        for document in &self.case.documents[..shown] {
            writeln!(f, "  {} {}", document.index, document.source)?;
        }
        let request = &self.case.request;
        writeln!(
            f,
            "  POST {}/{} {:?}",
            request.index, request.endpoint, request.parameters
        )?;
        writeln!(f, "  {}", request.body.text())?;
        writeln!(f, "  embedded: {}", self.difference.embedded)?;
        write!(f, "  engine:   {}", self.difference.engine)
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that were compared.
    pub cases: usize,
    /// Those that both refused.
    pub refused: usize,
    /// Those, and documents, over which the stores part.
    pub parted: usize,
    /// Those that the embedded store refuses as not supported.
    pub unsupported: usize,
    /// Those that both refuse, but each with another type of error.
    pub misnamed: usize,
    /// Those that the embedded store refuses for a clause which the engine
    /// refuses where it needs it.
    pub needless: usize,
}

/// The two stores.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The embedded store, through its node.
    pub embedded: &'a Side,
    /// The real engine.
    pub engine: &'a Side,
}

impl Bench<'_> {
    /// Where they part over the documents that they hold.
    pub async fn ask(&self, request: &Request) -> Option<Difference> {
        self.answer(request).await.0
    }

    /// As [`Self::ask`], and whether the embedded store refuses.
    async fn answer(&self, request: &Request) -> (Option<Difference>, bool) {
        let (embedded, engine) =
            futures::join!(self.embedded.ask(request), self.engine.ask(request));
        let mut found = compare::answers(&embedded, &engine);
        if let Some(found) = &mut found
            && found.weight == Weight::Wrong
            && compare::refused_a_clause(found)
            && self.refuses_a_clause(request).await
        {
            found.weight = Weight::Needless;
        }
        (found, embedded.status >= 300)
    }

    /// Whether the engine refuses one of the clauses of a request by itself.
    async fn refuses_a_clause(&self, request: &Request) -> bool {
        for clause in request.clauses() {
            let alone = Request {
                endpoint: "_search",
                index: request.index.clone(),
                parameters: Vec::new(),
                body: Body::Json(json!({ "size": 0, "query": clause })),
            };
            if self.engine.ask(&alone).await.status >= 400 {
                return true;
            }
        }
        false
    }

    /// Makes both hold the documents of a case and no others of its round;
    /// where the two part in which they take.
    pub async fn fill(&self, case: &Case) -> Option<Difference> {
        self.clear(&case.round).await;
        let (embedded, engine) = futures::join!(
            self.embedded.fill(&case.documents),
            self.engine.fill(&case.documents)
        );
        let place = embedded
            .iter()
            .zip(&engine)
            .position(|(left, right)| left != right)?;
        let (left, right) = (&embedded[place], &engine[place]);
        let answer = |status: u64| if status < 300 { "good" } else { "bad" };
        Some(Difference {
            place: format!(
                "_bulk {} {}, {} {}",
                answer(left.0),
                left.1,
                answer(right.0),
                right.1
            ),
            embedded: json!([left.0, left.1, case.documents[place].source]),
            engine: json!([right.0, right.1]),
            weight: if left.0 == right.0 {
                Weight::InNameOnly
            } else {
                Weight::Wrong
            },
        })
    }

    /// Where they part over a case.
    pub async fn difference_of(&self, case: &Case) -> Option<Difference> {
        match self.fill(case).await {
            Some(found) => Some(found),
            None => self.ask(&case.request).await,
        }
    }

    async fn clear(&self, round: &str) {
        futures::join!(self.embedded.clear(round), self.engine.clear(round));
    }

    /// The documents of a case that neither refuses.
    async fn both_take(&self, case: &Case) -> Vec<Document> {
        self.clear(&case.round).await;
        let (embedded, engine) = futures::join!(
            self.embedded.fill(&case.documents),
            self.engine.fill(&case.documents)
        );
        let answers = embedded.iter().zip(&engine);
        case.documents
            .iter()
            .zip(answers)
            .filter(|(_, (left, right))| left.0 < 300 && right.0 < 300)
            .map(|(document, _)| document.clone())
            .collect()
    }

    /// Compare as `plan` says; `found` gets what is to be shown.
    pub async fn run(&self, plan: Plan, found: &mut dyn FnMut(&Disagreement)) -> Outcome {
        let mut run = Run {
            bench: self,
            plan,
            found,
            known: BTreeMap::new(),
            outcome: Outcome::default(),
        };
        for seed in plan.seed.. {
            if run.outcome.cases >= plan.cases {
                break;
            }
            run.round(seed).await;
        }
        run.outcome
    }
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Requests to compare.
    pub cases: usize,
    /// Seed of the first round; the next one has the next.
    pub seed: u64,
    /// What the engine can be asked.
    pub knows: Knows,
    /// What is asked.
    pub scope: Scope,
    /// Whether what is found is made small, which takes up to some hundred
    /// requests each.
    pub shrinking: bool,
}

struct Run<'a> {
    bench: &'a Bench<'a>,
    plan: Plan,
    found: &'a mut dyn FnMut(&Disagreement),
    /// How often each class of differences came.
    known: BTreeMap<String, usize>,
    outcome: Outcome,
}

impl Run<'_> {
    async fn round(&mut self, seed: u64) {
        let round = format!("r{seed}");
        let mut dice = Dice::new(seed);
        let mut documents = documents::corpus(&mut dice, &round, DOCUMENTS);
        if !self.plan.knows.eight {
            documents::with_plain_numbers(&mut documents);
        }
        let nothing = Request {
            endpoint: "_count",
            index: format!("logstash-{round}-*"),
            parameters: Vec::new(),
            body: Body::Json(json!({})),
        };
        let mut case = Case {
            round: round.clone(),
            documents,
            request: nothing,
        };
        if let Some(difference) = self.bench.fill(&case).await {
            self.note(seed, &case, difference).await;
            // The rest of the round is about documents that both have.
            case.documents = self.bench.both_take(&case).await;
            self.bench.fill(&case).await;
        }
        let requests = dice.some(REQUESTS, REQUESTS, |dice| {
            requests::request(dice, self.plan.knows, self.plan.scope, &round)
        });
        for request in requests {
            if self.outcome.cases >= self.plan.cases {
                break;
            }
            self.outcome.cases += 1;
            let (found, refused) = self.bench.answer(&request).await;
            case.request = request;
            match found {
                Some(difference) => {
                    if self.note(seed, &case, difference).await {
                        self.bench.fill(&case).await;
                    }
                }
                None => self.outcome.refused += usize::from(refused),
            }
        }
        self.bench.clear(&round).await;
    }

    /// Counts a case, and shows it where not enough of its class are shown
    /// already. Whether it was made small, so that the stores hold other
    /// documents now.
    async fn note(&mut self, seed: u64, case: &Case, difference: Difference) -> bool {
        *match difference.weight {
            Weight::Wrong => &mut self.outcome.parted,
            Weight::Unsupported => &mut self.outcome.unsupported,
            Weight::InNameOnly => &mut self.outcome.misnamed,
            Weight::Needless => &mut self.outcome.needless,
        } += 1;
        let class = difference.class();
        let times = self.known.entry(class.clone()).or_insert(0);
        *times += 1;
        // A status has its cause in its class.
        let shown = match difference.weight {
            Weight::Wrong if !class.contains(" status ") => SHOWN,
            Weight::Needless => 0,
            _ => 1,
        };
        if *times > shown {
            return false;
        }
        let mut found = Disagreement {
            seed,
            case: case.clone(),
            difference,
        };
        if self.plan.shrinking {
            found.case = shrink::shrink(self.bench, found.case, &class).await;
            if let Some(difference) = self.bench.difference_of(&found.case).await {
                found.difference = difference;
            }
        }
        (self.found)(&found);
        self.plan.shrinking
    }
}

/// The embedded store of a fresh node, and the node, which ends when dropped.
///
/// It says of itself that it is of the version of `spec`; OpenSearch says to
/// clients of Elasticsearch that it is 7.10.2, but answers without types.
///
/// # Panics
/// When it does not start.
pub async fn embedded(data: &std::path::Path, spec: &Spec) -> (crate::process::Node, Side) {
    let version = match (spec.product, spec.version) {
        (Product::OpenSearch, _) => "8.0.0".to_owned(),
        (Product::Elasticsearch, (major, minor, patch)) => format!("{major}.{minor}.{patch}"),
    };
    let node =
        crate::process::Node::start(data, &[], &[("MSCP_LOG_ELASTICSEARCH__VERSION", &version)]);
    let access: Value = json!([{
        "method": ["GET", "POST", "PUT", "DELETE"], "url": ["{mscp_api_url}/**"],
        "other": { "log": { "write": true } },
    }]);
    let token = crate::process::administrator_token(&node, &access).await;
    let side = Side::new(&format!("{}/api/local/log", node.url), Some(token));
    (node, side)
}
