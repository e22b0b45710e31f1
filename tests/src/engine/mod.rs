//! Real engines as child processes: Elasticsearch, OpenSearch and Kafka from
//! their published jars, each with a temporary data folder and ports that the system
//! chose. `make engines` fetches the jars (`tests/engines/fetch.sh`).

mod java;
pub mod kafka;
pub mod postgres;
mod process;

use std::path::PathBuf;

pub use process::Engine;

/// Whose engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

/// One version of an engine.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its folder's name, as `elasticsearch-7.17.29`.
    pub name: &'static str,
    /// Whose it is.
    pub product: Product,
    /// Major and minor number and patch.
    pub version: (u32, u32, u32),
    /// The oldest Java that runs it.
    pub jdk: u32,
    /// Whether it runs when nobody says which.
    pub usual: bool,
}

const fn spec(
    name: &'static str,
    product: Product,
    version: (u32, u32, u32),
    jdk: u32,
    usual: bool,
) -> Spec {
    Spec {
        name,
        product,
        version,
        jdk,
        usual,
    }
}

/// Every engine that there is a description for, the oldest first.
#[rustfmt::skip]
pub const MATRIX: &[Spec] = &[
    spec("elasticsearch-6.1.3", Product::Elasticsearch, (6, 1, 3), 17, true),
    spec("elasticsearch-6.8.3", Product::Elasticsearch, (6, 8, 3), 17, false),
    spec("elasticsearch-7.17.29", Product::Elasticsearch, (7, 17, 29), 17, true),
    spec("elasticsearch-8.19.0", Product::Elasticsearch, (8, 19, 0), 17, true),
    spec("elasticsearch-9.2.0", Product::Elasticsearch, (9, 2, 0), 21, false),
    spec("opensearch-2.19.1", Product::OpenSearch, (2, 19, 1), 17, true),
    spec("opensearch-3.8.0", Product::OpenSearch, (3, 8, 0), 21, false),
];

/// What stands in the way of an engine on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl Spec {
    /// The one with this name.
    ///
    /// # Panics
    /// When there is none, with the names that there are.
    #[must_use]
    pub fn named(name: &str) -> &'static Self {
        MATRIX
            .iter()
            .find(|spec| spec.name == name)
            .unwrap_or_else(|| {
                let names: Vec<_> = MATRIX.iter().map(|spec| spec.name).collect();
                panic!(
                    "no engine is called {name:?}; there are {}",
                    names.join(", ")
                )
            })
    }

    /// The version of the project's index template that it takes.
    #[must_use]
    pub fn template(&self) -> mscp_log_core::template::Version {
        use mscp_log_core::template::Version;
        match (self.product, self.version.0) {
            (Product::OpenSearch, _) => Version::OpenSearch,
            (Product::Elasticsearch, 6) => Version::Es6,
            (Product::Elasticsearch, 7) => Version::Es7,
            (Product::Elasticsearch, 8) => Version::Es8,
            (Product::Elasticsearch, _) => Version::Es9,
        }
    }

    /// Whether this machine can run it.
    ///
    /// # Errors
    /// When its jars were not fetched, or no Java is new enough.
    pub fn available(&self) -> Result<(), Missing> {
        available(self.name, self.jdk)
    }

    fn jars(&self) -> PathBuf {
        jars(self.name)
    }
}

fn available(name: &str, jdk: u32) -> Result<(), Missing> {
    java::at_least(jdk)?;
    let jars = jars(name);
    if jars.join(".complete").is_file() {
        Ok(())
    } else {
        let jars = jars.display();
        Err(Missing(format!("{jars} is not there: run make engines")))
    }
}

/// Where the jars of an engine are: a folder of `MSCP_LOG_ENGINES`, or of
/// `target/engines` of this workspace.
fn jars(name: &str) -> PathBuf {
    let folder = std::env::var_os("MSCP_LOG_ENGINES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/engines")),
        PathBuf::from,
    );
    folder.join(name)
}

/// The stores of this run, as the environment variable `ENGINES` says: names
/// with commas between, `all`, or nothing for the usual ones.
///
/// # Panics
/// When it holds a name that is none.
#[must_use]
pub fn selected() -> Vec<&'static Spec> {
    match std::env::var("ENGINES") {
        Err(_) => MATRIX.iter().filter(|spec| spec.usual).collect(),
        Ok(all) if all == "all" => MATRIX.iter().collect(),
        Ok(names) => names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty() && kafka::named(name).is_none())
            .map(Spec::named)
            .collect(),
    }
}
