//! Real journal files, read while they are written, rotated, corrupted and
//! deleted. Without systemd-journal-remote there are none, and nothing is tried.

use std::fs;
use std::path::Path;

use mscp_log_tests::journal::{self, Journal};
use mscp_log_tests::process::{self, Node};
use serde_json::{Value, json};

use crate::support::{Scene, everything};

/// A node that reads the journal in `folder`.
async fn scene(folder: &Path, start: &str) -> Scene {
    Scene::with(&variables(folder, start)).await
}

fn variables<'a>(folder: &'a Path, start: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("MSCP_LOG_COLLECT__JOURNAL__ENABLED", "true"),
        ("MSCP_LOG_COLLECT__JOURNAL__START", start),
        (
            "MSCP_LOG_COLLECT__JOURNAL__DIRECTORY",
            folder.to_str().unwrap(),
        ),
        ("MSCP_LOG_COLLECT__HOST", "node1"),
        ("MSCP_LOG_COLLECT__MAX_LINE_BYTES", "256KiB"),
    ]
}

/// The same folder of data again, with the node killed in between.
async fn again(scene: Scene, folder: &Path, start: &str, meanwhile: impl FnOnce()) -> Scene {
    let Scene {
        node, data, http, ..
    } = scene;
    node.kill();
    meanwhile();
    let node = Node::start(data.path(), &[], &variables(folder, start));
    let token = process::administrator_token(&node, &everything()).await;
    Scene {
        node,
        data,
        token,
        http,
    }
}

fn all() -> Value {
    json!({"match_all": {}})
}

async fn messages(scene: &Scene) -> Vec<String> {
    let body = json!({"size": 100, "sort": ["realtime_us", "seq"]});
    let found = scene
        .post(&scene.token, "/api/local/log/_search", body)
        .await;
    let hits = found.body["hits"]["hits"].as_array().unwrap().clone();
    let of = |hit: &Value| hit["_source"]["message"].as_str().unwrap().to_owned();
    hits.iter().map(of).collect()
}

async fn metrics(scene: &Scene) -> String {
    let access = json!([{"method": ["GET"], "url": ["/metrics"]}]);
    let token = scene.token_for(access).await;
    let url = format!("{}/metrics", scene.node.url);
    let answer = scene.http.get(url).bearer_auth(token).send().await;
    answer.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_every_form_are_read_whole_and_dockers_parts_are_joined() {
    if !journal::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), "a").unwrap();
    let long = "long ".repeat(4_000);
    let too_long = "x".repeat(300 << 10);
    let name: (&str, &[u8]) = ("CONTAINER_NAME", b"kubelet");
    journal.write("plain");
    journal.entry(&[("MESSAGE", b"not \xff utf-8"), name]);
    journal.entry(&[("MESSAGE", b"two\nlines"), name]);
    journal.entry(&[("MESSAGE", long.as_bytes()), name]);
    journal.entry(&[("MESSAGE", too_long.as_bytes()), name]);
    journal.entry(&[("MESSAGE", b"first value"), ("MESSAGE", b"second"), name]);
    journal.entry(&[("MESSAGE", b"of no container")]);
    let part: (&str, &[u8]) = ("CONTAINER_PARTIAL_MESSAGE", b"true");
    journal.entry(&[("MESSAGE", b"in "), name, part]);
    journal.entry(&[("MESSAGE", b"two "), name, part]);
    journal.entry(&[
        ("MESSAGE", b"parts"),
        name,
        part,
        ("CONTAINER_PARTIAL_LAST", b"true"),
    ]);
    journal.finish();

    let scene = scene(folder.path(), "head").await;
    scene.wait_for(all(), 7).await;
    let found = messages(&scene).await;
    let expected = [
        "plain",
        "not \u{fffd} utf-8",
        "two\nlines",
        &long,
        &too_long[..256 << 10],
        "first value",
        "in two parts",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found == expected, "{found:.60} is not {expected:.60}");
    }
    let metrics = metrics(&scene).await;
    let lost = "mscp_log_collect_lost_bytes_total{source=\"journal\",reason=\"too_long\"} 45056";
    assert!(metrics.contains(lost), "{metrics}");
    for kept in [
        "mscp_log_collect_losses_total{source=\"journal\",reason=\"too_long\"} 1",
        "mscp_log_collect_records_total{source=\"journal\"} 7",
        "mscp_log_collect_behind_seconds{source=\"journal\"} 0",
    ] {
        assert!(metrics.contains(kept), "{kept}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_at_the_tail_reads_what_comes_and_what_came_while_it_was_down() {
    if !journal::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), "a").unwrap();
    journal.write("before");
    journal.finish();
    let first = scene(folder.path(), "tail").await;
    // Its place is known before anything came.
    let positions = first.data.path().join("agent/positions.json");
    let kept =
        || fs::read_to_string(&positions).is_ok_and(|text| text.contains("\"journal\":\"s="));
    for _ in 0..600 {
        if kept() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(kept(), "the cursor of the tail is kept");
    let write = || {
        let mut journal = Journal::create(folder.path(), "b").unwrap();
        journal.write("while it was down");
        journal.finish();
    };
    let second = again(first, folder.path(), "tail", write).await;
    second.wait_for(all(), 1).await;
    assert_eq!(messages(&second).await, ["while it was down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_entry_is_gone_reading_begins_at_the_oldest_and_the_gap_is_told() {
    if !journal::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), "a").unwrap();
    journal.write("one");
    journal.write("two");
    journal.finish();
    let first = scene(folder.path(), "head").await;
    first.wait_for(all(), 2).await;
    let vacuum = || {
        let mut journal = Journal::create(folder.path(), "b").unwrap();
        journal.write("three");
        journal.finish();
        fs::remove_file(folder.path().join("a.journal")).unwrap();
    };
    let second = again(first, folder.path(), "head", vacuum).await;
    second.wait_for(all(), 3).await;
    assert_eq!(messages(&second).await, ["one", "two", "three"]);
    let metrics = metrics(&second).await;
    assert!(
        metrics.contains("mscp_log_collect_journal_gaps_total 1"),
        "{metrics}"
    );
    // The other file counts its entries anew, so that nobody knows how many.
    let lost = "mscp_log_collect_losses_total{source=\"journal\",reason=\"gap\"} 1";
    assert!(metrics.contains(lost), "{metrics}");
    assert!(second.node.said().contains("not in the journal any more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_rotated_corrupted_and_cut_while_they_are_read_do_not_end_the_reading() {
    if !journal::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), "a").unwrap();
    for number in 0..20 {
        journal.write(&format!("a{number}"));
    }
    journal.finish();
    let scene = scene(folder.path(), "head").await;
    scene.wait_for(all(), 20).await;

    let (a, archived) = (
        folder.path().join("a.journal"),
        folder.path().join("a@0.journal"),
    );
    fs::rename(&a, &archived).unwrap();
    let mut journal = Journal::create(folder.path(), "a").unwrap();
    journal.write("after the rotation");
    journal.finish();
    scene.wait_for(all(), 21).await;

    // Everything behind the header of what was read is garbage now.
    let mut bytes = fs::read(&archived).unwrap();
    bytes[4_096..].fill(0xa5);
    fs::write(&archived, bytes).unwrap();
    let mut journal = Journal::create(folder.path(), "c").unwrap();
    journal.write("after the corruption");
    journal.finish();
    scene.wait_for(all(), 22).await;

    let file = fs::OpenOptions::new().write(true).open(&a).unwrap();
    file.set_len(1_000).unwrap();
    let mut journal = Journal::create(folder.path(), "d").unwrap();
    journal.write("after the cut");
    journal.finish();
    scene.wait_for(all(), 23).await;
}
