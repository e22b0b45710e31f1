//! Suites that run against the embedded store and against real engines, and
//! those of the buffer against real brokers, one target at a time, each started once for all its trials. The environment
//! variable `ENGINES` says which engines.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![forbid(unsafe_code)]

mod beats;
mod clients;
mod conformance;
mod differential;
mod held;
mod kafka;
mod restriction;
mod rotation;
mod senders;
mod shipping;
mod spread;
mod system;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mscp_log_tests::engine::{self, Missing};
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
    ("senders", senders::trials),
    ("shipping", shipping::trials),
    // Indices of the others go.
    ("rotation", rotation::trials),
    // The template is gone afterwards.
    ("held", held::trials),
    ("spread", spread::trials),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Scenarios of one target share its indices.
    arguments.test_threads = Some(1);
    let mut failed = false;
    let stores = engine::selected().into_iter();
    let stores = stores.filter(|spec| runs(spec.name, spec.available()));
    for target in std::iter::once(Target::embedded()).chain(stores.map(Target::engine)) {
        let trials = SUITES
            .iter()
            .flat_map(|(_, suite)| suite(&target))
            .collect();
        failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    let brokers = engine::kafka::selected().into_iter();
    for broker in brokers.filter(|spec| runs(spec.name, spec.available())) {
        failed |= libtest_mimic::run(&arguments, kafka::trials(broker)).has_failed();
    }
    if let Some(database) = system::wanted()
        && runs("system", database)
    {
        failed |= libtest_mimic::run(&arguments, system::trials()).has_failed();
    }
    ExitCode::from(u8::from(failed))
}

/// Whether an engine of this run runs. One that this machine cannot run is
/// named with the reason; it is a failure only where the run asked for it by
/// its name.
fn runs(name: &str, available: Result<(), Missing>) -> bool {
    let asked = std::env::var("ENGINES").is_ok_and(|names| names != "all");
    match available {
        Ok(()) => true,
        Err(missing) if asked => panic!("{name} cannot run: {}", missing.0),
        Err(missing) => {
            eprintln!("{name}: skipped, {}", missing.0);
            false
        }
    }
}
