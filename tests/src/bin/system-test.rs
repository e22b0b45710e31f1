//! Run two processes of each role with a real broker, store and database
//! between them, kill and stop any of these while records go in and searches
//! go on, and look for every record. Exits with 1 when one that was
//! acknowledged is missing or there twice, or an answer was not as it should
//! be.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mscp_log_tests::system::{self, Plan};

/// Run the whole system as processes and real engines, kill and stop any of
/// them, and look for every record.
#[derive(Parser)]
struct Arguments {
    /// How often every fault happens
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds that an engine is away
    #[arg(long, default_value_t = 30)]
    away: u64,
    /// Seed of the order, and of who is killed when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        rounds: arguments.rounds,
        away: Duration::from_secs(arguments.away),
        seed: arguments.seed,
    };
    println!("{plan:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outcome = system::run(plan, folder.path()).await;
    println!("longest recovery from each fault:");
    for (fault, took) in &outcome.recoveries {
        println!("  {fault}: {took:.1?}");
    }
    println!("{} processes of roles were killed", outcome.kills);
    for (what, answers) in [
        ("pushes", &outcome.pushes),
        ("searches", &outcome.searches),
        ("tokens", &outcome.tokens),
    ] {
        println!(
            "{what}: answered {:?}, not answered {}",
            answers.statuses, answers.unanswered
        );
    }
    println!(
        "{} records were acknowledged and {} lines written, {} of them found",
        outcome.pushed, outcome.written, outcome.found
    );
    if outcome.is_good() {
        println!("each is there exactly once");
        return ExitCode::SUCCESS;
    }
    println!("missing: {:?}", outcome.missing);
    println!("repeated or never written: {:?}", outcome.repeated);
    for answers in [&outcome.pushes, &outcome.searches, &outcome.tokens] {
        println!("wrong: {:#?}", answers.wrong);
    }
    println!("did not stop: {:?}", outcome.unstopped);
    ExitCode::FAILURE
}
