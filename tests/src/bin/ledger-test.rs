//! Write log files and a journal that an agent collects, and send as Beats and
//! applications do, while the agent, the node and the links are killed and
//! cut; look for every line. Exits with 1 when a promised one is missing, one
//! is there twice, or one is lost and not counted.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use mscp_log_tests::ledger::{self, Plan};

/// Write log files and a journal that an agent collects, and send as Beats and
/// applications do, while everything is killed and cut; look for every line.
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
    println!("written: {:?}", outcome.written);
    println!("rotations: {:?}", outcome.rotations);
    println!(
        "faults: {:?}; Beats sent {} times again",
        outcome.faults, outcome.sent_again
    );
    println!(
        "{} lines are promised, {} found, {} of them cut at the limit",
        outcome.promised, outcome.found, outcome.cut
    );
    for (why, unpromised) in &outcome.unpromised {
        println!(
            "{why:?}: {} lines are not promised, {} of them are not there, of {} sources",
            unpromised.lines,
            unpromised.absent,
            unpromised.sources.len()
        );
    }
    println!("counted: {:#?}", outcome.counted);
    if outcome.is_good() {
        println!("every promised line is there exactly once, and every loss is counted");
        return ExitCode::SUCCESS;
    }
    println!("missing: {:?}", outcome.missing);
    println!("not counted: {:?}", outcome.uncounted);
    println!("given up by the SDK: {}", outcome.given_up);
    println!("repeated or never written: {:?}", outcome.repeated);
    ExitCode::FAILURE
}
