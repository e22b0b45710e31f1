//! Nothing that was acknowledged is lost or doubled by SIGKILL. The large run
//! is `make kill-test`.

use mscp_log_tests::kill::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_record_is_found_once_though_the_node_is_killed_at_random_moments() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan {
        records: 10_000,
        batch: 20,
        clients: 8,
        kills: 4,
        seed: 3,
    };
    let outcome = run(plan, data.path()).await;
    assert_eq!(outcome.kills, plan.kills);
    assert_eq!(outcome.acknowledged, plan.records);
    assert!(outcome.is_good(), "{outcome:?}");
}
