//! The whole system as processes, while any of them and of the engines is
//! killed or away.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use mscp_log_tests::engine::{self, Missing, Spec, postgres::Postgres};
use mscp_log_tests::system::{self, Plan, STORE};
use mscp_log_tests::target::RUNTIME;

/// Whether all of its engines are among those of this run; what is missing of
/// the database.
pub(crate) fn wanted() -> Option<Result<(), Missing>> {
    let store = engine::selected().contains(&Spec::named(STORE));
    let broker = engine::kafka::selected().iter().any(|spec| spec.usual);
    (store && broker).then(Postgres::available)
}

pub(crate) fn trials() -> Vec<Trial> {
    let name = "system::whatever_is_killed_or_away_each_acknowledged_record_is_there_once";
    vec![Trial::test(name, run)]
}

fn run() -> Result<(), Failed> {
    let seed = std::env::var("SYSTEM_SEED");
    let seed = seed.map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let plan = Plan {
        rounds: 1,
        away: Duration::from_secs(4),
        seed,
    };
    let folder = tempfile::tempdir().unwrap();
    let outcome = RUNTIME.block_on(system::run(plan, folder.path()));
    if outcome.is_good() {
        return Ok(());
    }
    Err(format!("SYSTEM_SEED={seed}: {outcome:#?}").into())
}
