//! What cannot be sent is kept in files, and sent by this process or the next.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mscp_log_client::{Credentials, Loss, Overflow, PushSettings, Pusher, Record};
use uuid::Uuid;

use crate::raw::{Act, Raw};
use crate::server::token;

const LONG: Duration = Duration::from_secs(60);
const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);

fn settings(folder: &Path) -> PushSettings {
    PushSettings {
        linger: LONG,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        ..Default::default()
    }
    .spill(folder, 1 << 24)
}

fn pusher(server: &Raw, settings: PushSettings) -> Pusher {
    let access = token(0, 3600, Some(&serde_json::json!([])));
    Pusher::builder(server.url())
        .credentials(Credentials::access_token(access))
        .settings(settings)
        .build()
        .unwrap()
}

fn record(place: usize) -> Record {
    Record::now(APP, "applog", place.to_string())
}

/// A server that is away until the flag is set.
fn away() -> (Arc<AtomicBool>, Raw) {
    let back = Arc::new(AtomicBool::new(false));
    let is_back = Arc::clone(&back);
    let server = Raw::start(move |_, _| {
        if is_back.load(Ordering::SeqCst) {
            Act::Accept
        } else {
            Act::Answer(503, "", r#"{"title": "away"}"#.to_owned())
        }
    });
    (back, server)
}

/// What a server has that stores each key once, as ours does.
fn stored(server: &Raw, from: usize) -> Vec<usize> {
    let mut by_key = HashMap::new();
    for came in &server.came()[from..] {
        let messages: Vec<usize> = came
            .messages()
            .iter()
            .map(|one| one.parse().unwrap())
            .collect();
        let before = by_key.insert(came.key.clone(), messages.clone());
        assert!(
            before.is_none_or(|before| before == messages),
            "a key is for the same records always"
        );
    }
    let mut all: Vec<usize> = by_key.into_values().flatten().collect();
    all.sort_unstable();
    all
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Until all that was spilled is sent.
fn drained(pusher: &Pusher) {
    while pusher.progress().spilled > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_pending_at_the_end_is_sent_by_the_next_under_the_keys_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (back, server) = away();
    let first = pusher(
        &server,
        PushSettings {
            batch_records: 10,
            ..settings(folder.path())
        },
    );
    for place in 0..100 {
        first.push(&record(place)).unwrap();
    }
    let outcome = first.close_blocking(Duration::from_millis(20));
    assert_eq!(
        (outcome.sent, outcome.pending, outcome.spilled),
        (0, 0, 100)
    );
    assert_eq!(outcome.dropped.total(), 0);
    let tried: HashSet<String> = server.came().into_iter().map(|came| came.key).collect();

    let before = server.came().len();
    back.store(true, Ordering::SeqCst);
    let second = pusher(&server, settings(folder.path()));
    drained(&second);
    let outcome = second.close_blocking(LONG);
    assert_eq!((outcome.sent, outcome.spilled), (100, 0));
    assert_eq!(stored(&server, before), (0..100).collect::<Vec<_>>());
    let sent: HashSet<String> = server.came()[before..]
        .iter()
        .map(|came| came.key.clone())
        .collect();
    assert!(tried.is_subset(&sent), "what was tried keeps its key");
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn a_queue_that_fills_while_the_server_is_away_spills_and_is_sent_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (back, server) = away();
    let pusher = pusher(
        &server,
        PushSettings {
            max_records: 100,
            batch_records: 10,
            // As long as the disk takes, and no record is lost.
            overflow: Overflow::Block(LONG),
            ..settings(folder.path())
        },
    );
    for place in 0..2_000 {
        pusher.push(&record(place)).unwrap();
    }
    let progress = pusher.progress();
    assert_eq!(progress.dropped.total(), 0);
    assert!(progress.spilled >= 1_900, "{progress:?}");
    back.store(true, Ordering::SeqCst);
    let before = 0;
    drained(&pusher);
    let outcome = pusher.close_blocking(LONG);
    assert_eq!(
        (outcome.sent, outcome.pending, outcome.spilled),
        (2_000, 0, 0)
    );
    assert_eq!(stored(&server, before), (0..2_000).collect::<Vec<_>>());
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn a_batch_whose_deadline_is_over_is_spilled_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (back, server) = away();
    let pusher = pusher(
        &server,
        PushSettings {
            deadline: Duration::from_millis(5),
            ..settings(folder.path())
        },
    );
    for place in 0..10 {
        pusher.push(&record(place)).unwrap();
    }
    let flushed = pusher.flush_blocking(LONG);
    assert!(flushed.complete);
    assert_eq!(pusher.progress().dropped.total(), 0);
    back.store(true, Ordering::SeqCst);
    drained(&pusher);
    assert_eq!(pusher.close_blocking(LONG).sent, 10);
    assert_eq!(stored(&server, 0), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_into_the_bound_stays_pending_or_is_lost_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (_back, server) = away();
    let pusher = pusher(
        &server,
        PushSettings {
            max_records: 100,
            batch_records: 10,
            ..settings(folder.path()).spill(folder.path(), 4_000)
        },
    );
    let taken = (0..1_000).filter(|place| pusher.push(&record(*place)).is_ok());
    let taken = taken.count() as u64;
    let outcome = pusher.close_blocking(Duration::from_millis(5));
    let all = outcome.spilled + outcome.pending as u64;
    assert_eq!(all, taken);
    assert!(outcome.spilled > 0 && outcome.pending > 0, "{outcome:?}");
    assert_eq!(outcome.dropped.of(Loss::Full), 1_000 - taken);
    let bytes: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 4_000, "{bytes}");
}

#[test]
fn a_batch_from_a_file_is_halved_and_stripped_under_the_same_keys_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_back, server) = away();
    let first = pusher(&server, settings(folder.path()));
    for place in 0..6 {
        first.push(&record(place)).unwrap();
    }
    assert_eq!(first.close_blocking(Duration::ZERO).spilled, 6);
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    // As if the process had been killed before the file was removed.
    let keys = |folder: &Path| {
        let server = Raw::start(|came, _| match came.messages() {
            messages if messages.len() > 3 => Act::Answer(413, "", "{}".to_owned()),
            messages if messages.contains(&"4") => {
                let place = messages.iter().position(|one| *one == "4");
                let body = serde_json::json!({"title": "bad", "record": place});
                Act::Answer(400, "", body.to_string())
            }
            _ => Act::Accept,
        });
        let next = pusher(&server, settings(folder));
        drained(&next);
        let outcome = next.close_blocking(LONG);
        assert_eq!((outcome.sent, outcome.dropped.of(Loss::Rejected)), (5, 1));
        let came = server.came().into_iter();
        came.map(|came| (came.key.clone(), came.body))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(folder.path()), keys(copy.path()));
}

#[test]
fn a_folder_that_cannot_be_is_said_when_the_pusher_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (_back, server) = away();
    let error = Pusher::builder(server.url())
        .settings(settings(&file))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("spill folder"), "{error}");
}
