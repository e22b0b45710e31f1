#![allow(clippy::unwrap_used, reason = "tests")]
use proptest::prelude::*;

use super::*;

const UUID: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";

/// Everything of `before` is still there, line for line.
fn nothing_is_lost(before: &str, after: &str) {
    let mut lines = after.lines();
    for line in before.lines() {
        assert!(
            lines.any(|kept| kept == line),
            "{line:?} is gone from\n{after}"
        );
    }
}

fn fault(text: &str) -> String {
    inject(text).unwrap_err().to_string()
}

fn deployment(directories: &str, rest: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment   # the shop\nmetadata:\n  name: web\nspec:\n  replicas: 3\n  template:\n    metadata:\n      labels: {{app: web}}\n      annotations:\n        mscp.io/service-uuid: {UUID}\n        mscp.io/log-dirs: '{directories}'\n    spec:\n{rest}"
    )
}

#[test]
fn a_deployment_gets_volumes_and_mounts_and_keeps_every_line_that_it_had() {
    let before = deployment(
        "access=/var/log/nginx, app=/srv/logs",
        "      # two of them\n      containers:\n      - name: nginx\n        image: nginx:1.27  # pinned\n        args: [\"-g\", 'daemon off;']\n        volumeMounts:\n        - name: conf\n          mountPath: /etc/nginx\n      - image: app\n        name: app\n      volumes:\n      - name: conf\n        configMap: {name: conf}\n      # the end\n",
    );
    let (after, objects) = inject(&before).unwrap();
    nothing_is_lost(&before, &after);
    assert_eq!(
        objects,
        [Injected {
            object: "Deployment web".to_owned(),
            volumes: 2,
            mounts: 4
        }]
    );
    insta::assert_snapshot!(after);
    let (again, objects) = inject(&after).unwrap();
    assert_eq!(again, after);
    assert_eq!((objects[0].volumes, objects[0].mounts), (0, 0));
}

#[test]
fn what_asks_for_nothing_is_given_back_as_it_was() {
    for text in [
        "",
        "# nothing\n",
        "---\n---\n",
        "kind: Service\nmetadata: {name: web}\n",
        "kind: Pod\nspec:\n  containers: [{name: a}]",
        "kind: ConfigMap\ndata:\n  a: |\n    ---not a marker\n    kind: Pod\n...\n",
        "- 1\n- 2\n",
    ] {
        assert_eq!(
            inject(text).unwrap(),
            (text.to_owned(), Vec::new()),
            "{text}"
        );
    }
}

#[test]
fn each_kind_that_makes_pods_is_known_and_lists_and_several_documents_are() {
    let template = format!(
        "metadata:\n    annotations:\n      {SERVICE}: {UUID}\n      {DIRECTORIES}: a=/a\n  spec:\n    containers:\n    - name: c\n"
    );
    let indented = |by: usize| -> String {
        let pad = " ".repeat(by);
        template
            .lines()
            .enumerate()
            .map(|(place, line)| match place {
                0 => format!("{line}\n"),
                _ => format!("{pad}{line}\n"),
            })
            .collect()
    };
    let mut text = format!(
        "kind: Pod\nmetadata:\n  name: p\n  annotations:\n    {SERVICE}: {UUID}\n    {DIRECTORIES}: a=/a\nspec:\n  containers:\n  - name: c\n"
    );
    for kind in [
        "Deployment",
        "DaemonSet",
        "StatefulSet",
        "ReplicaSet",
        "ReplicationController",
        "Job",
    ] {
        text.push_str(&format!(
            "--- # {kind}\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n  template:\n    {}",
            indented(2)
        ));
    }
    text.push_str(&format!(
        "---\nkind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n        {}",
        indented(6)
    ));
    text.push_str(&format!("---\nkind: List\nitems:\n- kind: Service\n- kind: Deployment\n  spec:\n    template:\n      {}", indented(4)));
    let (after, objects) = inject(&text).unwrap();
    nothing_is_lost(&text, &after);
    assert_eq!(objects.len(), 9);
    assert!(
        objects
            .iter()
            .all(|object| (object.volumes, object.mounts) == (1, 1))
    );
    assert_eq!(inject(&after).unwrap().0, after);
}

#[test]
fn annotations_of_the_object_hold_for_its_pods_and_those_of_the_pods_before_them() {
    let text = format!(
        "kind: Job\nmetadata:\n  annotations: {{{SERVICE}: {UUID}, {DIRECTORIES}: \"a=/a\"}}\nspec:\n  template:\n    metadata:\n      annotations: {{{DIRECTORIES}: \"b=/b\"}}\n    spec:\n      containers: [{{name: c}}]\n      volumes: []\n"
    );
    let (after, _) = inject(&text).unwrap();
    assert!(
        after.contains("endname-b") && !after.contains("endname-a"),
        "{after}"
    );
}

#[test]
fn json_is_a_manifest_too() {
    let text = format!(
        "{{\n  \"kind\": \"Pod\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {{\"annotations\": {{\"{SERVICE}\": \"{UUID}\", \"{DIRECTORIES}\": \"a=/a\"}}}},\n  \"spec\": {{\"containers\": [{{\"name\": \"c\"}}]}}\n}}\n"
    );
    let (after, _) = inject(&text).unwrap();
    let json: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert_eq!(
        json["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/a"
    );
    assert!(
        after.starts_with("{\n  \"kind\": \"Pod\",\n  \"apiVersion\""),
        "{after}"
    );
}

#[test]
fn what_is_wrong_is_named_with_where_it_is() {
    let with = |directories: &str| {
        fault(&deployment(
            directories,
            "      containers:\n      - name: c\n",
        ))
    };
    for (directories, expected) in [
        ("", "expected name=path"),
        ("a", "\"a\": expected name=path"),
        ("a=var/log", "absolute path"),
        ("a=/", "absolute path"),
        ("a=/var/../log", "absolute path"),
        ("a=/x,a=/y", "once"),
        ("a=/x,b=/x", "once"),
        ("far-too-long-name=/x", "1 to 11"),
        ("A=/x", "1 to 11"),
    ] {
        let said = with(directories);
        assert!(
            said.starts_with("document 1 (Deployment web): mscp.io/log-dirs: "),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
    let bad = deployment("a=/a", "      containers: []\n");
    assert!(
        fault(&bad).contains("expected containers"),
        "{}",
        fault(&bad)
    );
    let other = deployment(
        "a=/a",
        "      containers:\n      - name: c\n        volumeMounts:\n        - {name: data, mountPath: /a/}\n",
    );
    assert!(
        fault(&other).contains("container c: /a is where the volume data is mounted"),
        "{}",
        fault(&other)
    );
    let name = format!("applog-{UUID}-endname-a");
    let other = deployment(
        "a=/a",
        &format!(
            "      containers:\n      - name: c\n      volumes:\n      - name: {name}\n        hostPath: {{path: /x}}\n"
        ),
    );
    assert!(fault(&other).contains("no emptyDir"), "{}", fault(&other));
    let half = deployment("a=/a", "      containers:\n      - name: c\n").replace(SERVICE, "else");
    assert!(fault(&half).contains(SERVICE), "{}", fault(&half));
    let second = format!(
        "kind: Service\n---\n{}",
        deployment("a=/a", "      containers:\n      - name: c\n").replace(UUID, "17")
    );
    assert!(
        fault(&second).starts_with("document 2 (Deployment web): mscp.io/service-uuid"),
        "{}",
        fault(&second)
    );
    assert!(
        fault("a: [").starts_with("document 1: "),
        "{}",
        fault("a: [")
    );
}

proptest! {
    /// In whatever way the lists are written: the result says what is meant, or
    /// it is refused; and what is there stays.
    #[test]
    fn in_whatever_form_nothing_is_lost_and_a_second_time_adds_nothing(
        indent in prop::sample::select(vec!["", "  "]),
        mounts in 0..7_usize, volumes in 0..7_usize, comment in any::<bool>(), end in any::<bool>(),
    ) {
        let list = |form: usize, key: &str, pad: &str, item: &str| match form {
            0 => String::new(),
            1 => format!("{pad}{key}:\n{pad}{indent}- {{{item}}}\n"),
            2 => format!("{pad}{key}: []\n"),
            3 => format!("{pad}{key}: [{{{item}}}]\n"),
            4 => format!("{pad}{key}:\n"),
            5 => format!("{pad}{key}: ~  # none\n"),
            _ => format!("{pad}{key}:\n{pad}{indent}- {}\n", item.replace(", ", &format!("\n{pad}{indent}  "))),
        };
        let note = if comment { "      # about this\n" } else { "" };
        let mut rest = format!(
            "{note}      containers:\n      - name: c\n{}{}{note}      restartPolicy: Always\n",
            list(mounts, "volumeMounts", "        ", "name: data, mountPath: /data"),
            list(volumes, "volumes", "      ", "name: data, emptyDir: {}"),
        );
        if end {
            rest.pop();
        }
        let before = deployment("a=/a,b=/b", &rest);
        let (after, objects) = inject(&before).unwrap();
        prop_assert_eq!((objects[0].volumes, objects[0].mounts), (2, 2));
        let comments = |text: &str| text.matches('#').count();
        prop_assert_eq!(comments(&before), comments(&after));
        prop_assert_eq!(&inject(&after).unwrap().0, &after);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,40}(\n\\PC{0,20}){0,4}") {
        let _ = inject(&text);
    }
}
