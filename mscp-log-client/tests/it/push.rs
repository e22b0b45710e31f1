//! Push: batches, retries, losses and bounds.

use std::collections::HashSet;
use std::time::Duration;

use mscp_log_client::{ErrorKind, Loss, Overflow, PushSettings, Record};
use serde_json::json;
use uuid::Uuid;

use crate::server::{Answer, Seen, Server, accepted, answer};

const LONG: Duration = Duration::from_secs(60);
const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);

/// No lingering by itself, and retries that do not slow the tests down.
fn settings() -> PushSettings {
    PushSettings {
        linger: LONG,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        in_flight: 1,
        ..Default::default()
    }
}

fn record(message: &str) -> Record {
    Record::now(APP, "applog", message)
}

fn rejected(seen: &Seen, bad: &str) -> Answer {
    match seen.messages().iter().position(|message| message == bad) {
        Some(place) => answer(
            400,
            json!({"title": "bad", "detail": "bad record", "record": place, "field": "type"}),
        ),
        None => accepted(seen),
    }
}

#[tokio::test]
async fn records_of_each_app_go_in_batches_of_their_own_in_order() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server
        .pusher(PushSettings {
            batch_records: 4,
            ..settings()
        })
        .unwrap();
    let other = Uuid::from_u128(7);
    for place in 0..10 {
        pusher.push(&record(&format!("a{place}"))).unwrap();
        pusher
            .push(&Record::now(other, "applog", format!("b{place}")))
            .unwrap();
    }
    let outcome = pusher.close(LONG).await;
    assert_eq!(
        (outcome.sent, outcome.dropped.total(), outcome.pending),
        (20, 0, 0)
    );
    let (mut of_app, mut of_other) = (Vec::new(), Vec::new());
    for seen in server.work() {
        assert_eq!(seen.method, "POST");
        let list = if seen.path == format!("/api/apps/{APP}/log") {
            &mut of_app
        } else {
            &mut of_other
        };
        assert!(seen.messages().len() <= 4);
        list.extend(seen.messages());
        let appid = seen.path.split('/').nth(3).unwrap();
        assert!(
            seen.body
                .as_array()
                .unwrap()
                .iter()
                .all(|record| record["appid"] == appid)
        );
    }
    assert_eq!(
        of_app,
        (0..10).map(|place| format!("a{place}")).collect::<Vec<_>>()
    );
    assert_eq!(
        of_other,
        (0..10).map(|place| format!("b{place}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn every_try_of_a_batch_has_the_same_key_and_the_same_records() {
    let server = Server::start(|seen, before| match before {
        0 => answer(503, json!({"title": "full"})),
        1 => Answer(429, json!({"title": "slow down"}), Some(0)),
        2 => answer(502, json!("<html>")),
        _ => accepted(seen),
    })
    .await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    pusher.push(&record("two")).unwrap();
    assert!(pusher.flush(LONG).await.complete);
    let work = server.work();
    assert_eq!(work.len(), 4);
    assert!(!work[0].key.is_empty());
    assert!(
        work.iter()
            .all(|seen| seen.key == work[0].key && seen.body == work[0].body)
    );
    assert_eq!(pusher.progress().sent, 2);
}

#[tokio::test]
async fn what_the_server_asks_to_wait_counts_against_the_deadline() {
    let server = Server::start(|_, _| Answer(503, json!({"title": "full"}), Some(3600))).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    let outcome = pusher.close(LONG).await;
    assert_eq!(outcome.dropped.of(Loss::Deadline), 1);
    assert_eq!(
        server.work().len(),
        1,
        "an hour is longer than the deadline: it is not waited for"
    );
}

#[tokio::test]
async fn a_401_takes_a_new_token_once_and_is_final_the_second_time() {
    let server = Server::start(|_, _| answer(401, json!({"title": "no"}))).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    let outcome = pusher.close(LONG).await;
    assert_eq!(outcome.dropped.of(Loss::Unauthorized), 1);
    let work = server.work();
    assert_eq!(work.len(), 2);
    assert_ne!(work[0].authorization, work[1].authorization);
    assert_eq!(work[0].key, work[1].key);
    assert_eq!(server.auth().len(), 2);
}

#[tokio::test]
async fn a_403_is_final() {
    let server = Server::start(|_, _| answer(403, json!({"title": "no"}))).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    pusher.push(&record("two")).unwrap();
    let outcome = pusher.close(LONG).await;
    assert_eq!(outcome.dropped.of(Loss::Forbidden), 2);
    assert_eq!(server.work().len(), 1);
}

#[tokio::test]
async fn a_400_drops_the_record_it_names_and_sends_the_rest_under_a_new_key() {
    let server = Server::start(|seen, _| rejected(seen, "bad")).await;
    let pusher = server.pusher(settings()).unwrap();
    for message in ["one", "bad", "two"] {
        pusher.push(&record(message)).unwrap();
    }
    let outcome = pusher.close(LONG).await;
    assert_eq!((outcome.sent, outcome.dropped.of(Loss::Rejected)), (2, 1));
    assert!(
        outcome
            .dropped
            .iter()
            .any(|(_, _, words)| words.contains("bad record"))
    );
    let work = server.work();
    assert_eq!(work[1].messages(), ["one", "two"]);
    assert_ne!(work[0].key, work[1].key);
}

#[tokio::test]
async fn a_400_that_names_no_record_loses_the_batch() {
    let server = Server::start(|_, _| answer(400, json!({"title": "bad", "record": 99}))).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    assert_eq!(pusher.close(LONG).await.dropped.of(Loss::Rejected), 1);
    assert_eq!(server.work().len(), 1);
}

#[tokio::test]
async fn a_413_halves_the_batch_and_each_half_keeps_its_key_through_its_retries() {
    let server = Server::start(|seen, before| match seen.messages() {
        messages if messages.len() > 2 || messages.contains(&"huge".to_owned()) => {
            answer(413, json!({"title": "too large"}))
        }
        _ if before % 2 == 1 => answer(503, json!({"title": "full"})),
        _ => accepted(seen),
    })
    .await;
    let pusher = server.pusher(settings()).unwrap();
    for message in ["0", "1", "2", "3", "4", "5", "huge"] {
        pusher.push(&record(message)).unwrap();
    }
    let outcome = pusher.close(LONG).await;
    assert_eq!(
        (
            outcome.sent,
            outcome.dropped.of(Loss::TooLarge),
            outcome.pending
        ),
        (6, 1, 0)
    );
    let work = server.work();
    // One key stands for one set of records, whatever was answered.
    let sets: HashSet<_> = work
        .iter()
        .map(|seen| (seen.key.clone(), seen.messages()))
        .collect();
    let keys: HashSet<_> = work.iter().map(|seen| seen.key.clone()).collect();
    assert_eq!(sets.len(), keys.len());
    let by_messages: HashSet<_> = work.iter().map(Seen::messages).collect();
    assert_eq!(
        by_messages.len(),
        keys.len(),
        "the halves' keys are made once"
    );
}

#[tokio::test]
async fn a_full_queue_drops_the_newest_or_the_oldest_and_counts_it() {
    for (overflow, kept) in [
        (Overflow::DropNewest, ["0", "1"]),
        (Overflow::DropOldest, ["1", "2"]),
    ] {
        let server = Server::start(|seen, _| accepted(seen)).await;
        let pusher = server
            .pusher(PushSettings {
                max_records: 2,
                overflow,
                ..settings()
            })
            .unwrap();
        let taken: Vec<bool> = ["0", "1", "2"]
            .map(|message| pusher.push(&record(message)).is_ok())
            .to_vec();
        assert_eq!(taken, [true, true, overflow == Overflow::DropOldest]);
        let outcome = pusher.close(LONG).await;
        assert_eq!((outcome.sent, outcome.dropped.of(Loss::Full)), (2, 1));
        assert_eq!(server.work()[0].messages(), kept);
    }
}

#[tokio::test]
async fn bytes_are_bounded_too_and_one_record_over_the_bound_is_too_large() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server
        .pusher(PushSettings {
            max_bytes: 400,
            ..settings()
        })
        .unwrap();
    let error = pusher.push(&record(&"x".repeat(400))).unwrap_err();
    assert_eq!(error.reason(), Loss::TooLarge);
    pusher.push(&record(&"x".repeat(200))).unwrap();
    assert_eq!(
        pusher.push(&record(&"x".repeat(200))).unwrap_err().reason(),
        Loss::Full
    );
    assert_eq!(pusher.close(LONG).await.sent, 1);
}

#[tokio::test]
async fn waiting_for_a_place_ends_when_there_is_one_or_at_the_limit() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server
        .pusher(PushSettings {
            max_records: 2,
            ..settings()
        })
        .unwrap();
    for place in 0..20 {
        pusher
            .push_within(&record(&place.to_string()), LONG)
            .await
            .unwrap();
    }
    assert_eq!(pusher.close(LONG).await.sent, 20);

    let stuck = Server::start(|_, _| answer(503, json!({"title": "full"}))).await;
    let pusher = stuck
        .pusher(PushSettings {
            max_records: 1,
            ..settings()
        })
        .unwrap();
    pusher.push(&record("one")).unwrap();
    let late = pusher
        .push_within(&record("two"), Duration::from_millis(5))
        .await
        .unwrap_err();
    assert_eq!(late.reason(), Loss::Full);
    let outcome = pusher.close(Duration::from_millis(5)).await;
    assert_eq!(
        (outcome.sent, outcome.pending),
        (0, 1),
        "what was not acknowledged is pending"
    );
}

#[tokio::test]
async fn a_batch_is_sent_when_its_first_record_lingered_long_enough() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server
        .pusher(PushSettings {
            linger: Duration::from_millis(1),
            ..settings()
        })
        .unwrap();
    pusher.push(&record("one")).unwrap();
    // One request for the token, one for the record; nobody flushed.
    server.wait_for(2).await;
    assert_eq!(server.work()[0].messages(), ["one"]);
}

#[tokio::test]
async fn a_guard_sends_the_rest_when_it_is_dropped_even_where_nothing_else_runs() {
    // The server has threads of its own, for the drop blocks this one.
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = other
        .spawn(Server::start(|seen, _| accepted(seen)))
        .await
        .unwrap();
    let pusher = server.pusher(settings()).unwrap();
    {
        let _guard = pusher.guard(LONG);
        pusher.push(&record("last words")).unwrap();
    }
    assert_eq!(pusher.progress().sent, 1);
    assert_eq!(
        pusher.push(&record("too late")).unwrap_err().reason(),
        Loss::Closed
    );
    other.shutdown_background();
}

#[tokio::test]
async fn the_last_clone_that_goes_sends_what_is_left() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    drop(pusher);
    server.wait_for(2).await;
    assert_eq!(server.work()[0].messages(), ["one"]);
}

#[tokio::test]
async fn what_no_server_accepts_is_not_sent() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server.pusher(settings()).unwrap();
    let error = pusher.push(&Record::now(APP, "no good", "m")).unwrap_err();
    assert_eq!(error.reason(), Loss::Rejected);
    let error = pusher
        .push(&record("m").annotation("list", json!([1])))
        .unwrap_err();
    assert!(error.to_string().contains("list"));
    assert_eq!(pusher.close(LONG).await.dropped.of(Loss::Rejected), 2);
    assert!(server.all().is_empty());
}

#[tokio::test]
async fn an_answer_that_counts_other_than_what_was_sent_is_no_success() {
    let server = Server::start(|_, _| answer(202, json!({"accepted": 7}))).await;
    let pusher = server.pusher(settings()).unwrap();
    pusher.push(&record("one")).unwrap();
    let outcome = pusher.close(LONG).await;
    assert_eq!((outcome.sent, outcome.dropped.total()), (0, 1));
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn compressed_bodies_hold_the_same_records() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let pusher = server
        .pusher(PushSettings {
            gzip: true,
            ..settings()
        })
        .unwrap();
    pusher.push(&record("one")).unwrap();
    assert_eq!(pusher.close(LONG).await.sent, 1);
    assert_eq!(server.work()[0].messages(), ["one"]);
}

#[tokio::test]
async fn a_bound_of_zero_is_refused() {
    let server = Server::start(|seen, _| accepted(seen)).await;
    let error = server
        .pusher(PushSettings {
            in_flight: 0,
            ..settings()
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}
