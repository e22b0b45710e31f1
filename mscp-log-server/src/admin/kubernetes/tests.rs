#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn read(pod_as_json: Value) -> Pod {
    pod(&serde_json::from_value(pod_as_json).unwrap())
}

fn with_status(status: &Value) -> Pod {
    read(json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": status}))
}

#[test]
fn a_pod_is_up_when_it_is_ready_and_not_on_its_way_out() {
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let up = with_status(&ready);
    assert!(up.up);
    assert_eq!(up.status, "up");
    let leaving = read(json!({
        "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [], "nodeName": "n1"},
        "status": ready,
    }));
    assert!(!leaving.up);
    assert_eq!(leaving.status, "Terminating");
    assert_eq!(leaving.node.as_deref(), Some("n1"));
}

#[test]
fn a_pod_that_is_down_says_why() {
    let container = |name: &str, state: Value| json!({"name": name, "ready": false, "restartCount": 3, "image": "i", "imageID": "", "state": state});
    let crashing = container(
        "c",
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s\n restarting"}}),
    );
    let down = with_status(&json!({"phase": "Running", "containerStatuses": [crashing]}));
    assert_eq!(down.status, "CrashLoopBackOff: back-off 5m0s restarting");
    let killed = container(
        "c",
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
    );
    let down = with_status(&json!({"phase": "Running", "containerStatuses": [killed]}));
    assert_eq!(down.status, "OOMKilled: exit code 137");
    let nowhere = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                        "message": "0/3 nodes are available"}],
    });
    assert_eq!(
        with_status(&nowhere).status,
        "Unschedulable: 0/3 nodes are available"
    );
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"});
    assert_eq!(with_status(&evicted).status, "Evicted: low on disk");
    let unready = json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
    });
    assert_eq!(with_status(&unready).status, "ContainersNotReady");
    assert_eq!(with_status(&json!({"phase": "Pending"})).status, "Pending");
    assert_eq!(with_status(&Value::Null).status, "Pending");
}

#[test]
fn a_long_message_is_cut() {
    let long = "ä".repeat(400);
    let down = with_status(&json!({"phase": "Failed", "reason": "Evicted", "message": long}));
    assert_eq!(down.status.chars().count(), "Evicted: ".len() + 301);
}

#[test]
fn a_selector_is_written_as_the_api_server_reads_it() {
    let of = |value: Value| selector(&serde_json::from_value(value).unwrap());
    assert_eq!(of(json!({"matchLabels": {"a": "1", "b": "2"}})), "a=1,b=2");
    let rules = json!({"matchExpressions": [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "NotIn", "values": ["3"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]});
    assert_eq!(of(rules), "a in (1,2),b notin (3),c,!d");
}
