//! What a suite is run against: the embedded store in a real node, or a real
//! engine. Either speaks the Elasticsearch API at [`Running::url`].

use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::engine::{Engine, Product, Spec};
use crate::process::{self, Node};

/// The runtime of suites: trials are plain functions that block on it.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime without settings can be built"));

/// The embedded store or one engine, started when it is first asked for and
/// ended when the last holder lets it go.
#[derive(Debug)]
pub struct Target {
    /// The engine; none means the embedded store.
    pub spec: Option<&'static Spec>,
    running: OnceLock<Running>,
}

/// A target that answers.
#[derive(Debug)]
pub struct Running {
    /// What an Elasticsearch client takes as its endpoint, without a slash at
    /// the end.
    pub url: String,
    /// The bearer token that a node wants: everything, with the right to write.
    pub token: Option<String>,
    /// A client for it.
    pub http: reqwest::Client,
    /// Ended with the target.
    _process: Process,
}

#[derive(Debug)]
#[expect(
    dead_code,
    reason = "held for their ends: dropped, they stop and remove their data"
)]
enum Process {
    Engine(Engine),
    Node(Node, TempDir),
}

impl Target {
    /// The embedded store, in a node of its own.
    #[must_use]
    pub fn embedded() -> Arc<Self> {
        Arc::new(Self {
            spec: None,
            running: OnceLock::new(),
        })
    }

    /// A real engine.
    #[must_use]
    pub fn engine(spec: &'static Spec) -> Arc<Self> {
        Arc::new(Self {
            spec: Some(spec),
            running: OnceLock::new(),
        })
    }

    /// `embedded`, or the engine's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec.map_or("embedded", |spec| spec.name)
    }

    /// The version of the Elasticsearch API it speaks, and whose; the embedded
    /// store says 8.x in its handshake.
    #[must_use]
    pub fn speaks(&self) -> (Product, (u32, u32, u32)) {
        self.spec
            .map_or((Product::Elasticsearch, (8, 19, 0)), |spec| {
                (spec.product, spec.version)
            })
    }

    /// Its address, started if it does not run yet. Not to be called from
    /// async code.
    ///
    /// # Panics
    /// When it does not start.
    pub fn running(&self) -> &Running {
        self.running.get_or_init(|| match self.spec {
            Some(spec) => {
                let engine = Engine::start(spec);
                Running {
                    url: engine.url.clone(),
                    token: None,
                    http: process::http(),
                    _process: Process::Engine(engine),
                }
            }
            None => {
                let data = tempfile::tempdir().expect("a temporary folder can be made");
                let node = Node::start(data.path(), &[], &[]);
                let everything = json!([{
                    "method": ["GET", "POST", "PUT", "DELETE"],
                    "url": ["{mscp_api_url}/**"],
                    "other": {"log": {"write": true}},
                }]);
                let token = RUNTIME.block_on(process::administrator_token(&node, &everything));
                Running {
                    url: format!("{}/api/local/log", node.url),
                    token: Some(token),
                    http: process::http(),
                    _process: Process::Node(node, data),
                }
            }
        })
    }
}

impl Running {
    /// A request to `path`, which begins with a slash and may hold parameters.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}
