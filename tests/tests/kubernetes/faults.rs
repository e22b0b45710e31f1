//! An API server that goes away, hangs, and comes back; and `mscp-log check`.

use std::process::Command;

use libtest_mimic::Trial;
use mscp_log_server::admin::kubernetes::{Part, Refused, Trouble};
use mscp_log_tests::process::binary;
use rustix::process::Signal;

use crate::scene::{Scene, Server, count, free};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "check_reaches_kubernetes_and_says_in_a_line_what_is_wrong",
            check,
        ),
        trial("a_server_that_hangs_is_given_up_and_asked_again", hangs),
        trial(
            "a_server_that_goes_away_is_told_and_found_when_it_is_back",
            away,
        ),
    ]
}

async fn hangs(server: Server) {
    let scene = Scene::new(server, "hangs").await;
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 0)
    );
    scene.server.signal(Signal::STOP);
    let counted = scene.cluster.count(Part::Api).await;
    let pods = scene.cluster.pods(Part::Api).await;
    let reached = scene.cluster.reach().await;
    let scaled = scene.cluster.scale(Part::Api, 2, 3, &free()).await;
    scene.server.signal(Signal::CONT);
    let url = scene.server.url();
    assert_eq!(
        counted.unwrap_err().to_string(),
        format!("the API server {url} did not answer within 1.5 s")
    );
    assert!(matches!(pods, Err(Trouble::Slow { .. })), "{pods:?}");
    assert_eq!(
        reached,
        [format!("the API server {url} did not answer within 1.5 s")]
    );
    assert_eq!(
        scaled.unwrap_err().to_string(),
        format!("the API server {url} did not answer within 10 s")
    );
    scene.server.ready().await;
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 0)
    );
    scene.cluster.scale(Part::Api, 2, 3, &free()).await.unwrap();
}

async fn away(server: Server) {
    let scene = Scene::new(server, "away").await;
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 0)
    );
    scene.server.signal(Signal::KILL);
    let mut told = None;
    for _ in 0..50 {
        match scene.cluster.count(Part::Api).await {
            Err(trouble @ Trouble::Away { .. }) => {
                told = Some(trouble.to_string());
                break;
            }
            _ => tokio::task::yield_now().await,
        }
    }
    let url = scene.server.url();
    let told = told.expect("nobody listens there now");
    assert!(
        told.starts_with(&format!("the API server {url} cannot be reached: ")),
        "{told}"
    );
    let refused = scene.cluster.scale(Part::Api, 2, 3, &free()).await;
    assert!(matches!(refused, Err(Refused::Trouble(_))), "{refused:?}");
    scene.server.ready().await;
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 0)
    );
    scene.cluster.scale(Part::Api, 2, 3, &free()).await.unwrap();
}

async fn check(server: Server) {
    let scene = Scene::new(server, "check").await;
    let folder = tempfile::tempdir().unwrap();
    let told = |namespace: &str, kubeconfig: &std::path::Path| {
        let done = Command::new(binary())
            .args(["check", "--data"])
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .env("MSCP_LOG_KUBERNETES__ENABLED", "true")
            .env("MSCP_LOG_KUBERNETES__NAMESPACE", namespace)
            .env("MSCP_LOG_KUBERNETES__KUBECONFIG", kubeconfig)
            .output()
            .unwrap();
        let told = String::from_utf8(done.stdout).unwrap();
        let told = told.lines().filter(|line| !line.starts_with("warning"));
        told.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(
        told(&scene.namespace, scene.kubeconfig()),
        ["the configuration is good"]
    );
    let faults = told("somewhere-else", scene.kubeconfig());
    assert_eq!(
        faults[0],
        "error: kubernetes.enabled: not allowed to get daemonsets mscp-log-agent in namespace somewhere-else; \
         reference-deploy/roles/access.yaml has the Role that allows it"
    );
    scene.server.signal(Signal::STOP);
    let faults = told(&scene.namespace, scene.kubeconfig());
    scene.server.signal(Signal::CONT);
    assert_eq!(
        faults,
        [format!(
            "error: kubernetes.enabled: the API server {} did not answer within 1.5 s",
            scene.server.url()
        )]
    );
    let faults = told(&scene.namespace, &folder.path().join("none"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("none"), "{faults:?}");
    scene.server.ready().await;
}
