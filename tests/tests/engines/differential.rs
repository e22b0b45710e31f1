//! Random documents and random requests to the embedded store and the engine;
//! and the same texts to both analyzers. More of them: `--bin differential`.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::differential::analysis;
use mscp_log_tests::differential::dice::Dice;
use mscp_log_tests::differential::queries::Knows;
use mscp_log_tests::differential::requests::Scope;
use mscp_log_tests::differential::side::Side;
use mscp_log_tests::differential::{Bench, Plan, embedded};
use mscp_log_tests::engine::{Product, Spec};
use mscp_log_tests::target::{RUNTIME, Target};

/// The seed of the first round, and of the texts.
const SEED: u64 = 1;
/// Requests that are compared.
const CASES: usize = 100;
/// Texts that are cut.
const TEXTS: usize = 5_000;

/// The trials of an engine: the documents from Elasticsearch 7.17 on and of
/// OpenSearch 2, the tokens from Elasticsearch 8 on, which decides where versions
/// differ. Others are compared by the binary.
pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let Some(spec) = target.spec else {
        return Vec::new();
    };
    let (compared, decides) = match spec.product {
        Product::Elasticsearch => (spec.version.0 >= 7, spec.version.0 >= 8),
        Product::OpenSearch => (spec.version.0 == 2, false),
    };
    if !compared {
        return Vec::new();
    }
    let name = |what: &str| format!("{}::differential::{what}", spec.name);
    let queries = Arc::clone(target);
    let texts = Arc::clone(target);
    let mut trials = vec![Trial::test(
        name("random queries match the same documents"),
        move || same_documents(spec, &Side::new(&queries.running().url, None)),
    )];
    if decides {
        trials.push(Trial::test(
            name("texts are cut in the same tokens"),
            move || same_tokens(&Side::new(&texts.running().url, None)),
        ));
    }
    trials
}

fn same_documents(spec: &'static Spec, engine: &Side) -> Result<(), Failed> {
    RUNTIME.block_on(async {
        engine.template(spec.template()).await;
        let data = tempfile::tempdir()?;
        let (_node, embedded) = embedded(data.path(), spec).await;
        let bench = Bench {
            embedded: &embedded,
            engine,
        };
        let plan = Plan {
            cases: CASES,
            seed: SEED,
            knows: Knows::of(spec),
            scope: Scope::Queries,
            shrinking: true,
        };
        let mut found = String::new();
        let outcome = bench
            .run(plan, &mut |one| found.push_str(&format!("{one}\n\n")))
            .await;
        if outcome.parted == 0 {
            Ok(())
        } else {
            Err(Failed::from(found))
        }
    })
}

fn same_tokens(engine: &Side) -> Result<(), Failed> {
    let texts = analysis::texts(&mut Dice::new(SEED), TEXTS);
    let found = RUNTIME.block_on(analysis::compare(engine, &texts));
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failed::from(format!("seed {SEED}: {found:?}")))
    }
}
