//! Suites that run against the embedded store and against real engines, one
//! target at a time, each started once for all its trials. The environment
//! variable `ENGINES` says which engines.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![forbid(unsafe_code)]

mod beats;
mod clients;
mod conformance;
mod differential;
mod restriction;
mod shipping;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mscp_log_tests::engine;
use mscp_log_tests::target::Target;

/// What a suite gives: its trials for one target.
type Suite = fn(&Arc<Target>) -> Vec<Trial>;

/// Every suite, by the name that stands in its trials' names.
const SUITES: &[(&str, Suite)] = &[
    ("beats", beats::trials),
    ("clients", clients::trials),
    ("conformance", conformance::trials),
    ("differential", differential::trials),
    ("restriction", restriction::trials),
    ("shipping", shipping::trials),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Scenarios of one target share its indices.
    arguments.test_threads = Some(1);
    let mut failed = false;
    for target in targets() {
        let trials = SUITES
            .iter()
            .flat_map(|(_, suite)| suite(&target))
            .collect();
        failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    ExitCode::from(u8::from(failed))
}

/// The embedded store and the engines of this run. An engine that this machine
/// cannot run is named with the reason; it is a failure only where the run
/// asked for it by its name.
fn targets() -> Vec<Arc<Target>> {
    let asked = std::env::var("ENGINES").is_ok_and(|names| names != "all");
    let mut targets = vec![Target::embedded()];
    for spec in engine::selected() {
        match spec.available() {
            Ok(()) => targets.push(Target::engine(spec)),
            Err(missing) if asked => panic!("{} cannot run: {}", spec.name, missing.0),
            Err(missing) => eprintln!("{}: skipped, {}", spec.name, missing.0),
        }
    }
    targets
}
