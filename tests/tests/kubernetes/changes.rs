//! Counts and changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::Trial;
use mscp_log_server::admin::kubernetes::{Held, Needs, Part, Refused};
use serde_json::json;

use crate::scene::{Scene, Server, Writer, count, free};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_counts_are_those_of_the_manifests", manifests),
        trial("what_is_up_is_what_kubernetes_says_is_ready", ready),
        trial("pods_say_where_they_are_and_why_they_are_not_up", pods),
        trial(
            "a_deployment_is_scaled_and_nothing_else_of_it_changes",
            deployment,
        ),
        trial(
            "under_an_autoscaler_its_least_is_what_is_scheduled",
            autoscaler,
        ),
        trial("data_nodes_go_when_they_hold_nothing", data),
        trial("masters_stay_a_majority", masters),
        trial(
            "agents_are_switched_off_and_on_and_are_then_what_they_were",
            switched,
        ),
        trial(
            "of_two_that_change_at_once_one_is_told_that_it_came_late",
            both,
        ),
        trial(
            "a_status_that_changes_all_the_time_does_not_hold_up_a_change",
            busy,
        ),
        trial("what_is_not_there_is_named", missing),
    ]
}

fn refusal(refused: Result<Vec<String>, Refused>) -> String {
    match refused {
        Err(Refused::Unsafe(reason)) => reason,
        other => panic!("not refused for safety: {other:?}"),
    }
}

fn late(refused: Result<Vec<String>, Refused>) -> String {
    match refused {
        Err(Refused::Changed(reason)) => reason,
        other => panic!("not refused as late: {other:?}"),
    }
}

async fn manifests(server: Server) {
    let scene = Scene::new(server, "manifests").await;
    let expected = [
        (Part::Agent, count(0, 0, 0)),
        (Part::Api, count(2, 2, 0)),
        // Two by the autoscaler; the object has Kubernetes' default.
        (Part::Parser, count(2, 1, 0)),
        (Part::Shipper, count(2, 1, 0)),
        (Part::Rotator, count(1, 1, 0)),
        (Part::StoreMaster, count(3, 3, 0)),
        (Part::StoreData, count(3, 3, 0)),
        (Part::StoreClient, count(2, 2, 0)),
        (Part::Kafka, count(3, 3, 0)),
    ];
    for (part, expected) in expected {
        assert_eq!(
            scene.cluster.count(part).await.unwrap(),
            expected,
            "{part:?}"
        );
        assert_eq!(scene.cluster.enabled(part).await.unwrap(), Some(true));
        assert_eq!(scene.cluster.pods(part).await.unwrap(), []);
    }
    assert_eq!(scene.cluster.reach().await, Vec::<String>::new());
}

async fn ready(server: Server) {
    let scene = Scene::new(server, "ready").await;
    let two = json!({"replicas": 2, "readyReplicas": 2});
    scene.status("deployment/mscp-log-api", &two);
    scene.status("statefulset/elasticsearch-data", &two);
    let machines = json!({"currentNumberScheduled": 5, "desiredNumberScheduled": 5, "numberMisscheduled": 0, "numberReady": 4});
    scene.status("daemonset/mscp-log-agent", &machines);
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(2, 2, 2)
    );
    assert_eq!(
        scene.cluster.count(Part::StoreData).await.unwrap(),
        count(3, 3, 2)
    );
    assert_eq!(
        scene.cluster.count(Part::Agent).await.unwrap(),
        count(5, 5, 4)
    );
    // What the autoscaler makes of its least.
    scene.patch(
        "deployment/mscp-log-parser",
        &json!({"spec": {"replicas": 7}}),
    );
    assert_eq!(
        scene.cluster.count(Part::Parser).await.unwrap(),
        count(2, 7, 0)
    );
}

async fn pods(server: Server) {
    let scene = Scene::new(server, "pods").await;
    let agent = "daemonset/mscp-log-agent";
    scene.pod(agent, "agent-a", Some("machine-1"));
    scene.pod(agent, "agent-b", None);
    let unschedulable = json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
    scene.status("pod/agent-b", &unschedulable);
    scene.pod("deployment/mscp-log-api", "api-a", Some("machine-2"));
    let found = scene.cluster.pods(Part::Agent).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|pod| {
            (
                pod.pod.as_str(),
                pod.node.as_deref(),
                pod.up,
                pod.status.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("agent-a", Some("machine-1"), true, "up"),
            (
                "agent-b",
                None,
                false,
                "Unschedulable: 0/3 nodes are available"
            ),
        ]
    );
}

async fn deployment(server: Server) {
    let scene = Scene::new(server, "deployment").await;
    let name = "deployment/mscp-log-api";
    let mut expected = scene.object(name);
    let told = scene.cluster.scale(Part::Api, 2, 5, &free()).await.unwrap();
    assert_eq!(told, Vec::<String>::new());
    expected["spec"]["replicas"] = 5.into();
    assert_eq!(scene.object(name), expected);
    assert_eq!(
        scene.cluster.count(Part::Api).await.unwrap(),
        count(5, 5, 0)
    );
    let reason = refusal(scene.cluster.scale(Part::Api, 5, 0, &free()).await);
    assert!(reason.starts_with("at least 1"), "{reason}");
    let reason = late(scene.cluster.scale(Part::Api, 2, 3, &free()).await);
    assert_eq!(
        reason,
        "deployment mscp-log-api is set to 5 now, not to 2: somebody else changed it in between"
    );
    assert_eq!(scene.object(name), expected);
    // From none, which the API server does not write out.
    scene.patch(name, &json!({"spec": {"replicas": 0}}));
    scene.cluster.scale(Part::Api, 0, 5, &free()).await.unwrap();
    assert_eq!(scene.object(name), expected);
}

async fn autoscaler(server: Server) {
    let scene = Scene::new(server, "autoscaler").await;
    let (own, workload) = ("hpa/mscp-log-shipper", "deployment/mscp-log-shipper");
    let (mut expected, untouched) = (scene.object(own), scene.object(workload));
    scene
        .cluster
        .scale(Part::Shipper, 2, 4, &free())
        .await
        .unwrap();
    expected["spec"]["minReplicas"] = 4.into();
    assert_eq!(scene.object(own), expected);
    assert_eq!(scene.object(workload), untouched);
    assert_eq!(
        scene.cluster.count(Part::Shipper).await.unwrap(),
        count(4, 1, 0)
    );
    let few = Needs {
        partitions: Some(6),
        ..free()
    };
    let told = scene
        .cluster
        .scale(Part::Shipper, 4, 8, &few)
        .await
        .unwrap();
    assert!(told[0].contains("6 of 8 have work"), "{told:?}");
    let reason = refusal(scene.cluster.scale(Part::Shipper, 8, 13, &free()).await);
    assert_eq!(
        reason,
        "the autoscaler mscp-log-shipper goes to 12 at most (maxReplicas), so it cannot begin at 13"
    );
    let reason = late(scene.cluster.scale(Part::Shipper, 2, 3, &free()).await);
    assert!(reason.contains("is set to 8 now"), "{reason}");
    // Without its autoscaler the Deployment is what counts.
    scene
        .kubectl(&["delete", "hpa", "mscp-log-shipper"])
        .unwrap();
    scene
        .cluster
        .scale(Part::Shipper, 1, 3, &free())
        .await
        .unwrap();
    assert_eq!(
        scene.cluster.count(Part::Shipper).await.unwrap(),
        count(3, 3, 0)
    );
}

fn holding(nodes: &[&str]) -> Needs {
    Needs {
        partitions: None,
        store: Ok(Held {
            copies: 2,
            shards: nodes
                .iter()
                .map(|node| ((*node).to_owned(), 9))
                .collect::<BTreeMap<_, _>>(),
            voters: (0..3)
                .map(|it| format!("elasticsearch-master-{it}"))
                .collect(),
            ..Held::default()
        }),
    }
}

async fn data(server: Server) {
    let scene = Scene::new(server, "data").await;
    let name = "statefulset/elasticsearch-data";
    let [first, second, third] = [0, 1, 2].map(|it| format!("elasticsearch-data-{it}"));
    let mut expected = scene.object(name);
    let all = holding(&[&first, &second, &third]);
    let two = holding(&[&first, &second]);
    scene.pod(name, &first, Some("machine-1"));
    scene.pod(name, &second, None);
    scene.pod(name, &third, Some("machine-3"));
    let reason = refusal(scene.cluster.scale(Part::StoreData, 3, 2, &two).await);
    assert!(
        reason.starts_with("elasticsearch-data-1 would stay and is not up"),
        "{reason}"
    );
    scene
        .kubectl(&["delete", "pod", &second, "--force", "--grace-period=0"])
        .unwrap();
    scene.pod(name, &second, Some("machine-2"));
    let reason = refusal(scene.cluster.scale(Part::StoreData, 3, 2, &all).await);
    assert!(
        reason.starts_with("shards are on elasticsearch-data-2 (9)"),
        "{reason}"
    );
    let reason = refusal(scene.cluster.scale(Part::StoreData, 3, 1, &two).await);
    assert!(reason.starts_with("at least 2"), "{reason}");
    assert_eq!(scene.object(name), expected);
    scene
        .cluster
        .scale(Part::StoreData, 3, 2, &two)
        .await
        .unwrap();
    expected["spec"]["replicas"] = 2.into();
    assert_eq!(scene.object(name), expected);
    scene
        .cluster
        .scale(Part::StoreData, 2, 4, &two)
        .await
        .unwrap();
    assert_eq!(
        scene.cluster.count(Part::StoreData).await.unwrap(),
        count(4, 4, 0)
    );
}

async fn masters(server: Server) {
    let scene = Scene::new(server, "masters").await;
    let name = "statefulset/elasticsearch-master";
    let untouched = scene.object(name);
    for number in 0..3 {
        scene.pod(
            name,
            &format!("elasticsearch-master-{number}"),
            Some("machine-1"),
        );
    }
    let needs = holding_all();
    let scale = |to| scene.cluster.scale(Part::StoreMaster, 3, to, &needs);
    let reason = refusal(scale(1).await);
    assert!(
        reason.starts_with("1 of 3 masters that vote would stay, and 2 must agree"),
        "{reason}"
    );
    assert!(
        refusal(scale(2).await)
            .contains("voting_config_exclusions?node_names=elasticsearch-master-2")
    );
    assert_eq!(scene.object(name), untouched);
    let reason = refusal(scene.cluster.scale(Part::Kafka, 3, 4, &free()).await);
    assert!(reason.contains("kafka-reassign-partitions"), "{reason}");
    let mut excluded = holding_all();
    excluded.store.as_mut().unwrap().voters = BTreeSet::from(["elasticsearch-master-0".to_owned()]);
    scene
        .cluster
        .scale(Part::StoreMaster, 3, 1, &excluded)
        .await
        .unwrap();
    assert_eq!(
        scene.cluster.count(Part::StoreMaster).await.unwrap(),
        count(1, 1, 0)
    );
}

fn holding_all() -> Needs {
    holding(&["elasticsearch-data-0"])
}

async fn switched(server: Server) {
    let scene = Scene::new(server, "switched").await;
    let name = "daemonset/mscp-log-agent";
    scene.patch(
        name,
        &json!({"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}}),
    );
    let before = scene.object(name);
    let mut off = before.clone();
    scene.cluster.enable(Part::Agent, false).await.unwrap();
    assert_eq!(
        scene.cluster.enabled(Part::Agent).await.unwrap(),
        Some(false)
    );
    off["spec"]["template"]["spec"]["nodeSelector"]["mscp.io/switched"] = "off".into();
    assert_eq!(scene.object(name), off);
    scene.cluster.enable(Part::Agent, false).await.unwrap();
    assert_eq!(scene.object(name), off, "done twice");
    scene.cluster.enable(Part::Agent, true).await.unwrap();
    assert_eq!(
        scene.cluster.enabled(Part::Agent).await.unwrap(),
        Some(true)
    );
    assert_eq!(scene.object(name), before);
    let refused = scene.cluster.enable(Part::Api, false).await.unwrap_err();
    assert!(matches!(refused, Refused::Unsafe(_)), "{refused}");
    let reason = refusal(scene.cluster.scale(Part::Agent, 0, 3, &free()).await);
    assert!(reason.contains("one pod on each machine"), "{reason}");
}

async fn both(server: Server) {
    let scene = Scene::new(server, "both").await;
    let needs = free();
    let mut now = 2;
    for _ in 0..30 {
        let (one, other) = tokio::join!(
            scene.cluster.scale(Part::Api, now, now + 1, &needs),
            scene.cluster.scale(Part::Api, now, now + 2, &needs),
        );
        let (won, lost) = match (one, other) {
            (Ok(_), lost) => (now + 1, lost),
            (lost, Ok(_)) => (now + 2, lost),
            neither => panic!("{neither:?}"),
        };
        let reason = late(lost);
        assert!(
            reason.contains(&format!("is set to {won} now, not to {now}")),
            "{reason}"
        );
        assert_eq!(
            scene.cluster.count(Part::Api).await.unwrap(),
            count(won, won, 0)
        );
        now = won;
    }
    // Somebody with kubectl is no different.
    let more = (now + 1).to_string();
    scene
        .kubectl(&["scale", "deployment/mscp-log-api", "--replicas", &more])
        .unwrap();
    late(scene.cluster.scale(Part::Api, now, 2, &needs).await);
}

async fn busy(server: Server) {
    let writer = Writer::new(&server);
    let scene = Scene::new(server, "busy").await;
    let namespace = scene.namespace.clone();
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    // As Kubernetes does while pods come and go, and faster.
    let writing = tokio::spawn(async move {
        for round in 0.. {
            let ready = json!({"replicas": 2, "readyReplicas": round % 2});
            writer
                .status(&namespace, "deployments/mscp-log-api", ready)
                .await;
            let ready = json!({"currentNumberScheduled": 1, "desiredNumberScheduled": 1,
                "numberMisscheduled": 0, "numberReady": round % 2});
            writer
                .status(&namespace, "daemonsets/mscp-log-agent", ready)
                .await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut rounds = 0;
    while written.load(Ordering::Relaxed) < 200 {
        let (from, to) = (2 + rounds % 2, 3 - rounds % 2);
        scene
            .cluster
            .scale(Part::Api, from, to, &free())
            .await
            .unwrap();
        scene
            .cluster
            .enable(Part::Agent, rounds % 2 == 1)
            .await
            .unwrap();
        rounds += 1;
    }
    writing.abort();
    let now = scene.cluster.count(Part::Api).await.unwrap().unwrap();
    assert_eq!(now.scheduled, 2 + rounds % 2);
    assert_eq!(
        scene.cluster.enabled(Part::Agent).await.unwrap(),
        Some(rounds % 2 == 0)
    );
}

async fn missing(server: Server) {
    let scene = Scene::new(server, "missing").await;
    scene
        .kubectl(&["delete", "deployment", "mscp-log-rotator"])
        .unwrap();
    let missing = scene.cluster.count(Part::Rotator).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!(
            "there is no deployment mscp-log-rotator in namespace {}; \
             kubernetes.workloads.rotator says what it is called, or none",
            scene.namespace
        )
    );
    assert_eq!(scene.cluster.reach().await, [missing.to_string()]);
}
