//! Trials of the conformance scenarios.

use std::sync::Arc;

use libtest_mimic::Trial;
use mscp_log_tests::conformance::{Applies, Runner, scenarios};
use mscp_log_tests::target::Target;

/// One trial for each scenario that says something about the target.
pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let runner = Arc::new(Runner::new(Arc::clone(target)));
    let mut trials = Vec::new();
    for (file, scenarios) in scenarios() {
        let scenarios = Arc::new(scenarios);
        for (index, case) in scenarios.cases.iter().enumerate() {
            let applies = case.applies(target);
            if applies == Applies::No {
                continue;
            }
            let name = format!("{}::conformance::{file}: {}", target.name(), case.name);
            let (runner, scenarios) = (Arc::clone(&runner), Arc::clone(&scenarios));
            let trial = Trial::test(name, move || {
                Ok(runner.run(&scenarios, &scenarios.cases[index])?)
            });
            trials.push(trial.with_ignored_flag(applies == Applies::Pending));
        }
    }
    trials
}
