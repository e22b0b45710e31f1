//! Trials of the conformance scenarios.

use std::sync::Arc;

use libtest_mimic::Trial;
use mscp_log_tests::target::{RUNTIME, Target};

pub(crate) fn trials(target: &Arc<Target>) -> Vec<Trial> {
    let name = format!("{}::handshake::answers_its_health", target.name());
    let target = Arc::clone(target);
    vec![Trial::test(name, move || {
        let running = target.running();
        let request = running.request(reqwest::Method::GET, "/_cluster/health");
        let status = RUNTIME.block_on(async { request.send().await.unwrap().status() });
        if status != 200 {
            return Err(format!("{status}").into());
        }
        Ok(())
    })]
}
