//! Random documents and random requests to the embedded store and to a real
//! engine. Exits with 1 where their answers part.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use mscp_log_tests::differential::analysis;
use mscp_log_tests::differential::dice::Dice;
use mscp_log_tests::differential::queries::Knows;
use mscp_log_tests::differential::requests::Scope;
use mscp_log_tests::differential::side::Side;
use mscp_log_tests::differential::{Bench, Plan, embedded};
use mscp_log_tests::engine::{Engine, Spec};

/// Random documents and random requests to the embedded store and to a real
/// engine.
#[derive(Parser)]
struct Arguments {
    /// The engine, as `elasticsearch-8.19.0`
    #[arg(long)]
    engine: String,
    /// Ask the engine that runs at this address, which must be of that version
    #[arg(long)]
    url: Option<String>,
    /// Requests to compare
    #[arg(long, default_value_t = 1_000)]
    cases: usize,
    /// Seed of the first round
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only which documents queries match, in which order
    #[arg(long)]
    queries: bool,
    /// Compare how texts are cut into tokens instead
    #[arg(long)]
    analysis: bool,
    /// Print what is found as it was drawn, without making it small
    #[arg(long)]
    whole: bool,
}

async fn analysis(engine: &Side, cases: usize, seed: u64) -> ExitCode {
    let characters =
        ('\u{0}'..=char::MAX).filter(|c| !matches!(*c, '\u{E000}'..='\u{F8FF}' | '\u{20010}'..));
    let mut texts: Vec<String> = characters
        .flat_map(|c| [format!("{c}"), format!("a{c}a"), format!("1{c}1")])
        .collect();
    texts.extend(analysis::texts(&mut Dice::new(seed), cases));
    let found = analysis::compare(engine, &texts).await;
    for (text, own, theirs) in &found {
        println!(
            "{text:?} {} ours {own:?} engine {theirs:?}",
            text.escape_unicode()
        );
    }
    println!("{} texts, {} cut differently", texts.len(), found.len());
    if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let spec = Spec::named(&arguments.engine);
    let started = arguments.url.is_none().then(|| Engine::start(spec));
    let url = match (&arguments.url, &started) {
        (Some(url), _) => url.clone(),
        (None, Some(engine)) => engine.url.clone(),
        (None, None) => return ExitCode::from(2),
    };
    let engine = Side::new(&url, None);
    if arguments.analysis {
        return analysis(&engine, arguments.cases, arguments.seed).await;
    }
    engine.template(spec.template()).await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let (_node, own) = embedded(data.path(), spec).await;
    let knows = Knows::of(spec);
    let bench = Bench {
        embedded: &own,
        engine: &engine,
    };
    let plan = Plan {
        cases: arguments.cases,
        seed: arguments.seed,
        knows,
        scope: if arguments.queries {
            Scope::Queries
        } else {
            Scope::Everything
        },
        shrinking: !arguments.whole,
    };
    let outcome = bench.run(plan, &mut |found| println!("{found}\n")).await;
    println!(
        "{}: {} requests from seed {}: {} answered differently, {} not supported, {} refused with another type of error, {} with a clause that is not needed, {} refused alike",
        spec.name,
        outcome.cases,
        arguments.seed,
        outcome.parted,
        outcome.unsupported,
        outcome.misnamed,
        outcome.needless,
        outcome.refused,
    );
    if outcome.parted == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
