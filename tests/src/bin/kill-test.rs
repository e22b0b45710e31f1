//! Push records while the node is killed at random moments, and look for every
//! one of them. Exits with 1 when one is missing or there twice.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mscp_log_tests::kill::{self, Plan};

/// Push records while the node is killed at random moments, and look for every
/// one of them.
#[derive(Parser)]
struct Arguments {
    /// Records to push
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How often the node is killed
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Seed of the moments of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records in one request
    #[arg(long, default_value_t = 100)]
    batch: u64,
    /// Requests that are open at once
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// Where the node keeps its data; it is left there. Without it, a
    /// temporary folder
    #[arg(long)]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        records: arguments.records,
        batch: arguments.batch,
        clients: arguments.clients,
        kills: arguments.kills,
        seed: arguments.seed,
    };
    println!("{plan:?}");
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let data = arguments.data.unwrap_or(temporary.path().to_owned());
    let outcome = kill::run(plan, &data).await;
    println!(
        "{} records acknowledged in {:.1} s through {} kills and {} more while it started, {} requests repeated, {} of them after no answer; longest start {:.2} s",
        outcome.acknowledged,
        outcome.pushing.as_secs_f64(),
        outcome.kills,
        outcome.kills_while_starting,
        outcome.retries,
        outcome.unanswered,
        outcome.longest_start.as_secs_f64(),
    );
    println!("{} records found", outcome.found);
    if outcome.is_good() {
        println!("every acknowledged record is there exactly once");
        return ExitCode::SUCCESS;
    }
    println!("missing: {:?}", outcome.missing);
    println!("there more than once: {:?}", outcome.repeated);
    ExitCode::FAILURE
}
