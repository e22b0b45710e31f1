//! Trials of real clients of Elasticsearch and OpenSearch, unmodified, with a
//! node as their endpoint: every client over the embedded store, and over a
//! real engine those that are made for its version. `make clients` installs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::engine::{Product, Spec};
use mscp_log_tests::process::{self, Node};
use mscp_log_tests::target::{RUNTIME, Target};
use serde_json::json;
use tempfile::TempDir;

/// How often, and with what pause, a node is asked whether it has put its
/// template into an engine.
const LOOKS: u32 = 600;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
enum Language {
    Python,
    JavaScript,
}

/// A client, as it is installed.
#[derive(Clone, Copy)]
struct Client {
    language: Language,
    package: &'static str,
    product: Product,
    /// The version that it is made for; none is every version.
    major: Option<u32>,
}

const fn client(language: Language, package: &'static str, major: Option<u32>) -> Client {
    let product = match major {
        Some(_) => Product::Elasticsearch,
        None => Product::OpenSearch,
    };
    Client {
        language,
        package,
        product,
        major,
    }
}

const CLIENTS: &[Client] = &[
    client(Language::Python, "elasticsearch-7", Some(7)),
    client(Language::Python, "elasticsearch-8", Some(8)),
    client(Language::Python, "elasticsearch-9", Some(9)),
    client(Language::Python, "opensearch", None),
    client(Language::JavaScript, "elasticsearch-7", Some(7)),
    client(Language::JavaScript, "elasticsearch-8", Some(8)),
    client(Language::JavaScript, "elasticsearch-9", Some(9)),
    client(Language::JavaScript, "opensearch", None),
];

impl Client {
    fn name(&self) -> String {
        let language = match self.language {
            Language::Python => "python",
            Language::JavaScript => "javascript",
        };
        format!("{language}_{}", self.package.replace('-', "_"))
    }

    fn is_for(&self, target: &Target) -> bool {
        target.spec.is_none_or(|spec| {
            spec.product == self.product && self.major.is_none_or(|major| major == spec.version.0)
        })
    }

    /// Where its packages are.
    fn folder(&self) -> PathBuf {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
        match self.language {
            Language::Python => installed.join("python").join(self.package),
            Language::JavaScript => installed.join("javascript"),
        }
    }

    fn is_installed(&self) -> bool {
        self.folder().join(".complete").is_file()
    }

    /// Its scenario, as a command.
    fn scenario(&self) -> Command {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        match self.language {
            Language::Python => {
                let mut command = Command::new(self.folder().join("bin/python"));
                command.arg(scenarios.join("python/scenario.py"));
                command
            }
            Language::JavaScript => {
                let mut command = Command::new("node");
                command.arg(scenarios.join("javascript/scenario.mjs"));
                command.arg(self.package).env("CLIENTS", self.folder());
                command
            }
        }
    }
}

/// The node that clients talk to.
struct Endpoint {
    target: Arc<Target>,
    /// In front of an engine, a node of its own.
    before_engine: OnceLock<(Node, TempDir, String)>,
}

impl Endpoint {
    /// Its address and token.
    fn reach(&self) -> (String, String) {
        let Some(spec) = self.target.spec else {
            let running = self.target.running();
            return (
                running.url.clone(),
                running.token.clone().unwrap_or_default(),
            );
        };
        let (node, _, token) = self.before_engine.get_or_init(|| {
            let data = tempfile::tempdir().unwrap();
            let engine = &self.target.running().url;
            let node = Node::start(
                data.path(),
                &[],
                &[("MSCP_LOG_REGION__LOCAL__STORE", engine)],
            );
            let everything = json!([{
                "method": ["GET", "HEAD", "POST", "PUT", "DELETE"],
                "url": ["{mscp_api_url}/**"],
                "other": {"log": {"write": true}},
            }]);
            let token = RUNTIME.block_on(async {
                let token = process::administrator_token(&node, &everything).await;
                wait_for_template(&node, &token, spec).await;
                token
            });
            (node, data, token)
        });
        (format!("{}/api/local/log", node.url), token.clone())
    }
}

/// Wait until the node has put its template: an index that is made before
/// would have another mapping.
async fn wait_for_template(node: &Node, token: &str, spec: &Spec) {
    let url = format!("{}/api/local/log{}", node.url, spec.template().path());
    let http = process::http();
    for _ in 0..LOOKS {
        let answer = http.get(&url).bearer_auth(token).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the node put no template into {}", spec.name);
}

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let endpoint = Arc::new(Endpoint {
        target: Arc::clone(target),
        before_engine: OnceLock::new(),
    });
    let mut trials = Vec::new();
    for client in CLIENTS.iter().filter(|client| client.is_for(target)) {
        let name = format!("{}::clients::{}", target.name(), client.name());
        if !client.is_installed() {
            eprintln!("{name}: skipped, the client is not there: run make clients");
            continue;
        }
        let endpoint = Arc::clone(&endpoint);
        trials.push(Trial::test(name, move || run(*client, &endpoint)));
    }
    trials
}

fn run(client: Client, endpoint: &Endpoint) -> Result<(), Failed> {
    let (url, token) = endpoint.reach();
    let mut command = client.scenario();
    command.env("ENDPOINT", url).env("TOKEN", token);
    let is_without_root = endpoint
        .target
        .spec
        .is_some_and(|spec| spec.product == Product::Elasticsearch && spec.version.0 >= 8);
    if is_without_root {
        command.env("NO_ROOT", "1");
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned().into())
}
