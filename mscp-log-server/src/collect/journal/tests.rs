#![allow(clippy::unwrap_used, reason = "tests")]
//! What the real `journalctl` does not do when it is asked to: hang, and fail.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mscp_log_core::clean::chunk::Chunk;

use super::*;
use crate::config::Config;

/// A program in the place of `journalctl`, with a folder of its own as `$0`'s.
fn program(folder: &Path, script: &str) -> Source {
    let path = folder.join("journalctl");
    std::fs::write(&path, format!("#!/bin/sh\nhere=${{0%/*}}\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let journal = Journal {
        journalctl: path,
        at_head: true,
        ..Journal::of_this_machine()
    };
    let machine = Machine::new("node1".to_owned(), &Config::default().collect);
    let (items, _) = mpsc::channel(1);
    let moment = Duration::from_millis(20);
    let mut source = Source::new(
        journal,
        Arc::new(machine),
        Positions::default(),
        items,
        Trouble::default(),
    );
    source.patience = Patience {
        more: moment,
        parts: moment,
        stall: moment,
        first_pause: moment,
        longest_pause: moment,
    };
    source
}

/// The messages of the first `count` entries that are handed over.
async fn messages(source: &mut Source, count: usize) -> Vec<String> {
    let (items, mut came) = mpsc::channel(8);
    source.items = items;
    let mut messages = Vec::new();
    let read = async {
        while messages.len() < count {
            for item in came.recv().await.unwrap() {
                let Some(chunk) = item.chunk() else { continue };
                let Ok(chunk) = Chunk::parse(chunk) else {
                    continue;
                };
                for raw in chunk.raws() {
                    if let mscp_log_core::clean::Raw::Journal { entry, .. } = raw {
                        messages.push(entry.message.unwrap().into_owned());
                    }
                }
            }
        }
    };
    let limit = Duration::from_secs(60);
    tokio::select! {
        () = source.follow() => panic!("it ended"),
        read = tokio::time::timeout(limit, read) => read.unwrap(),
    }
    messages
}

/// An entry in the form that `journalctl` writes, for a script.
const ENTRY: &str = r#"entry() { printf '{"__CURSOR":"s=%s","__REALTIME_TIMESTAMP":"149432396386275%s","CONTAINER_NAME":"web","MESSAGE":"entry %s"}\n' $1 $1 $1; }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_follows_no_more_is_replaced_and_what_it_did_not_say_is_read() {
    let folder = tempfile::tempdir().unwrap();
    // The first one that follows says one entry and hangs, though there are two.
    let script = r#"case "$*" in
*--follow*) if [ -e "$here/hung" ]; then entry 2; else entry 1; touch "$here/hung"; fi; exec sleep 600 ;;
*--cursor=s=1*) entry 1 ;;
*) entry 2 ;;
esac
"#;
    let mut source = program(folder.path(), &format!("{ENTRY}{script}"));
    assert_eq!(messages(&mut source, 2).await, ["entry 1", "entry 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_child_that_ended_or_cannot_answer_are_told() {
    let last_words = async |script: &str, cursor: Option<&str>| -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut source = program(folder.path(), &format!("{ENTRY}{script}"));
        source.cursor = cursor.map(str::to_owned);
        source.patience.stall = Duration::from_secs(600);
        source.patience.first_pause = Duration::from_secs(600);
        let trouble = Arc::clone(&source.trouble);
        let told = async {
            loop {
                if let Some(reason) = trouble.load_full() {
                    return (*reason).clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = source.follow() => panic!("it ended"),
            told = told => told,
        }
    };
    let ends = "echo 'Bad message' >&2; sleep 0.2; exit 1\n";
    assert_eq!(
        last_words(ends, None).await,
        "journalctl ended: Bad message"
    );
    let asked = "echo 'disk on fire' >&2; exit 1\n";
    assert_eq!(last_words(asked, Some("s=1")).await, "disk on fire");
}

#[test]
fn entries_of_one_sequence_are_counted_by_their_cursors() {
    assert_eq!(entries_between("s=a;i=ff;b=1", "s=a;i=103;b=2"), Some(3));
    assert_eq!(entries_between("s=a;i=ff", "s=a;i=100"), Some(0));
    for (before, after) in [
        ("s=a;i=1", "s=b;i=9"),
        ("s=a;i=9", "s=a;i=1"),
        ("s=a", "s=a;i=1"),
    ] {
        assert_eq!(entries_between(before, after), None, "{before} {after}");
    }
}
