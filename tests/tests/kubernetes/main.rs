//! What the server asks and changes on Kubernetes, against a real API server
//! with the manifests of `reference-deploy` in it. `make test-kubernetes`
//! starts one and says in `MSCP_LOG_APISERVER` where its files are; without
//! that there are no trials. There are no machines: where a pod must be up, the
//! status is written in the kubelet's place.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![forbid(unsafe_code)]

mod changes;
mod faults;
mod rights;
mod scene;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use scene::Server;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Some of them stop the server.
    arguments.test_threads = Some(1);
    let trials = match Server::given() {
        Some(_) => [changes::trials(), rights::trials(), faults::trials()]
            .into_iter()
            .flatten()
            .collect(),
        None => {
            eprintln!("no API server is given (make test-kubernetes)");
            Vec::new()
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    ExitCode::from(u8::from(conclusion.has_failed()))
}

/// A trial of an async function.
fn trial<F: Future<Output = ()> + 'static>(name: &str, run: fn(Server) -> F) -> Trial {
    Trial::test(name, move || {
        let server = Server::given().ok_or_else(|| Failed::from("no API server"))?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(run(server));
        Ok(())
    })
}
