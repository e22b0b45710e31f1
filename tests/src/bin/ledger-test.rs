//! Write log files and a journal that an agent collects while it, the node
//! and the link between them are killed and cut, and look for every line.
//! Exits with 1 when one is missing or there twice.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use mscp_log_tests::ledger::{self, Plan};

/// Write log files and a journal that an agent collects while everything is
/// killed and cut, and look for every line.
#[derive(Parser)]
struct Arguments {
    /// Lines to write
    #[arg(long, default_value_t = 300_000)]
    lines: u64,
    /// Log files of applications
    #[arg(long, default_value_t = 50)]
    files: u64,
    /// How often the agent, the node or the link is disturbed
    #[arg(long, default_value_t = 30)]
    faults: u32,
    /// Seed of all that happens
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        lines: arguments.lines,
        files: arguments.files,
        faults: arguments.faults,
        seed: arguments.seed,
    };
    println!("{plan:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outcome = ledger::run(plan, folder.path()).await;
    println!(
        "{} lines written ({} of them to a journal), {} rotations, faults: {:?}",
        outcome.written, outcome.journal, outcome.rotations, outcome.faults
    );
    println!("{} lines found", outcome.found);
    if outcome.is_good() {
        println!("every line is there exactly once");
        return ExitCode::SUCCESS;
    }
    println!("missing: {:?}", outcome.missing);
    println!("repeated or never written: {:?}", outcome.repeated);
    ExitCode::FAILURE
}
