//! What the role api may do there, and what it says where it may not.

use std::time::Duration;

use libtest_mimic::Trial;
use mscp_log_server::admin::kubernetes::{Part, Refused, Trouble};
use serde_json::json;

use crate::scene::{Scene, Server, count, free};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_role_of_the_manifests_allows_no_more_than_is_used",
            least,
        ),
        trial(
            "a_role_that_is_too_narrow_is_told_with_verb_resource_and_namespace",
            narrow,
        ),
        trial("an_account_without_a_role_is_told_what_it_lacks", nothing),
        trial("a_token_that_is_not_taken_is_told", token),
        trial(
            "the_guard_lets_the_role_api_change_only_the_node_selector",
            guard,
        ),
    ]
}

async fn least(server: Server) {
    let scene = Scene::new(server, "least").await;
    let account = format!("system:serviceaccount:{}:mscp-log-api", scene.namespace);
    let may = |verb: &str, what: &str| {
        let asked = ["auth", "can-i", verb, what, "--as", &account];
        scene.kubectl(&asked).is_ok()
    };
    assert!(
        may("get", "deployments/mscp-log-api"),
        "it is this account that is asked for"
    );
    assert!(may("list", "pods"));
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("list", "deployments"),
        ("get", "deployments/somebody-else"),
        ("patch", "deployments/mscp-log-api"),
        ("delete", "deployments/mscp-log-api"),
        ("create", "deployments"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("delete", "pods"),
        ("delete", "daemonsets/mscp-log-agent"),
        ("update", "daemonsets/mscp-log-agent"),
        ("patch", "statefulsets/elasticsearch-data"),
        ("patch", "statefulsets/kafka"),
        ("patch", "horizontalpodautoscalers/somebody-elses"),
        ("list", "nodes"),
        ("create", "serviceaccounts/token"),
    ] {
        assert!(!may(verb, what), "it may {verb} {what}");
    }
    assert!(
        scene
            .kubectl(&[
                "auth", "can-i", "list", "pods", "-n", "default", "--as", &account
            ])
            .is_err()
    );
}

async fn narrow(server: Server) {
    let scene = Scene::new(server, "narrow").await;
    // Only what looks, and of the api alone.
    scene.patch(
        "role/mscp-log-api",
        &json!({"rules": [
            {"apiGroups": ["apps"], "resources": ["deployments", "daemonsets"], "verbs": ["get"]},
            {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list"]},
        ]}),
    );
    let namespace = &scene.namespace;
    let sentence = |asked: &str| {
        format!(
            "not allowed to {asked} in namespace {namespace}; \
             reference-deploy/roles/access.yaml has the Role that allows it"
        )
    };
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 0)
    );
    let refused = scene
        .cluster
        .scale(Part::Api, 2, 3, &free())
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        sentence("patch deployments/scale mscp-log-api")
    );
    let refused = scene
        .cluster
        .scale(Part::Shipper, 2, 3, &free())
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        sentence("patch horizontalpodautoscalers mscp-log-shipper")
    );
    let refused = scene.cluster.enable(Part::Agent, false).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        sentence("patch daemonsets mscp-log-agent")
    );
    let refused = scene.cluster.pods(Part::Api).await.unwrap_err();
    assert_eq!(refused.to_string(), sentence("list pods"));
    assert_eq!(scene.cluster.reach().await, [sentence("list pods")]);
}

async fn nothing(server: Server) {
    let scene = Scene::new(server, "nothing").await;
    let token = scene
        .kubectl(&["create", "token", "mscp-log-agent"])
        .unwrap();
    let (cluster, _file) = scene.by_token(token.trim()).await;
    let refused = cluster.count(Part::StoreData).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "not allowed to get statefulsets elasticsearch-data in namespace {}; \
             reference-deploy/roles/access.yaml has the Role that allows it",
            scene.namespace
        )
    );
    let refused = cluster
        .scale(Part::Parser, 2, 3, &free())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Refused::Trouble(Trouble::Forbidden { .. })),
        "{refused}"
    );
}

async fn token(server: Server) {
    let scene = Scene::new(server, "token").await;
    let (cluster, _file) = scene.by_token("nobodys").await;
    let refused = cluster.count(Part::Api).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the API server {} does not take our token (401); is the service account still there?",
            scene.server.url()
        )
    );
    assert_eq!(cluster.reach().await.len(), 1, "one line for all parts");
}

async fn guard(server: Server) {
    let scene = Scene::of(server, "guard", "platform-with-journal-docker-guard-beats").await;
    let account = format!("system:serviceaccount:{}:mscp-log-api", scene.namespace);
    let patch = |what: serde_json::Value| {
        let what = json!({"spec": {"template": what}}).to_string();
        scene.kubectl(&[
            "patch",
            "daemonset/mscp-log-agent",
            "--as",
            &account,
            "--type=strategic",
            "-p",
            &what,
        ])
    };
    let image = || json!({"spec": {"containers": [{"name": "mscp-log", "image": "registry.example.org/other:1"}]}});
    // A policy takes a moment to be in force.
    let mut denied = patch(image());
    for _ in 0..100 {
        if denied.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        denied = patch(
            json!({"spec": {"containers": [{"name": "mscp-log", "image": format!("registry.example.org/x:{}", rand::random::<u32>())}]}}),
        );
    }
    let denied = denied.unwrap_err();
    assert!(denied.contains("nothing but its node selector"), "{denied}");
    for other in [
        json!({"spec": {"hostPID": true}}),
        json!({"spec": {"serviceAccountName": "mscp-log-api"}}),
        json!({"spec": {"volumes": [{"name": "all", "hostPath": {"path": "/"}}]}}),
        json!({"spec": {"initContainers": [{"name": "more", "image": "registry.example.org/other:1"}]}}),
        json!({"spec": {"securityContext": {"runAsUser": 0}}}),
        json!({"metadata": {"labels": {"mscp.io/role-api": "true"}}}),
        json!({"metadata": {"annotations": {"x": "y"}}}),
    ] {
        let shown = other.to_string();
        assert!(patch(other).is_err(), "{shown} is let through");
    }
    scene.cluster.enable(Part::Agent, false).await.unwrap();
    assert_eq!(
        scene.cluster.enabled(Part::Agent).await.unwrap(),
        Some(false)
    );
    scene.cluster.enable(Part::Agent, true).await.unwrap();
    // Others are none of its business.
    scene.patch(
        "daemonset/mscp-log-agent",
        &json!({"spec": {"template": {"spec": {"hostPID": true}}}}),
    );
    for kind in [
        "validatingadmissionpolicy",
        "validatingadmissionpolicybinding",
    ] {
        scene
            .kubectl(&["delete", kind, "mscp-log-api-switches-agents"])
            .unwrap();
    }
}
