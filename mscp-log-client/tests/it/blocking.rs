//! The blocking client: the same answers as the asynchronous one, without a runtime.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mscp_log_client::{Credentials, ErrorKind, PushSettings, Record, TailSettings, blocking};
use serde_json::json;

use crate::search::Store;
use crate::server::{Answer, Seen, Server, accepted, answer, token};

/// A server on a runtime of its own, and a client of it.
fn start(
    script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
) -> (tokio::runtime::Runtime, Server, blocking::Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start(script));
    let client = blocking::Client::builder(server.url())
        .credentials(Credentials::root_token(token(0, 3600, None)))
        .build()
        .unwrap();
    (runtime, server, client)
}

#[test]
fn pages_come_in_order_and_end_with_the_last_or_with_an_error() {
    let store = Store::default();
    for place in 0..25 {
        store.add(place, &format!("{place:02}"));
    }
    let answers = store;
    let (_runtime, server, client) = start(move |seen, before| match before {
        4.. => answer(400, json!({"title": "no", "detail": "no more of this"})),
        _ => answers.answer(seen),
    });
    let pages = client.search("local").size(10).pages();
    let pages: Vec<Vec<_>> = pages.map(Result::unwrap).collect();
    let ids: Vec<String> = pages.concat().into_iter().map(|hit| hit.id).collect();
    let expected: Vec<String> = (0..25).rev().map(|place| format!("{place:02}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(server.work().len(), 3);
    let mut pages = client.search("local").size(10).pages();
    assert!(pages.next().unwrap().is_ok());
    let error = pages.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(pages.next().is_none(), "it ends after an error");
}

#[test]
fn a_search_is_the_same_whichever_client_makes_it() {
    let (runtime, server, client) = start(|_, _| {
        let hits = json!({"total": {"value": 3, "relation": "eq"}, "hits": []});
        answer(200, json!({"count": 3, "hits": hits}))
    });
    let other = server.client();
    macro_rules! built {
        ($client:expr) => {
            $client
                .search("local")
                .index("logs-*")
                .words("a b")
                .term("namespace", "shop")
                .since_seconds(60)
                .oldest_first()
                .size(7)
        };
    }
    let search = built!(client);
    assert_eq!(search.body(), built!(other).body());
    assert_eq!(search.send().unwrap().total, 3);
    assert_eq!(search.count().unwrap(), 3);
    runtime.block_on(async {
        built!(other).send().await.unwrap();
        built!(other).count().await.unwrap();
    });
    let sent: Vec<_> = server
        .work()
        .into_iter()
        .map(|seen| (seen.path, seen.body))
        .collect();
    assert_eq!(sent[..2], sent[2..]);
    let auth: Vec<_> = server.auth().into_iter().map(|seen| seen.body).collect();
    assert_eq!(auth[..2], auth[2..], "with the same wanted access");
}

#[test]
fn a_tail_gives_what_is_there_then_what_comes_and_goes_on_after_an_error() {
    let store = Store::default();
    store.add(1, "first");
    let (answers, fails) = (store.clone(), Arc::new(AtomicUsize::new(0)));
    let failing = Arc::clone(&fails);
    let seen_by = Arc::new(Mutex::new(()));
    let (_runtime, _server, client) = start(move |seen, _| {
        let _one_at_a_time = seen_by.lock();
        if failing.swap(0, Ordering::SeqCst) > 0 {
            return answer(503, json!({"title": "away"}));
        }
        answers.answer(seen)
    });
    let settings = TailSettings {
        interval: Duration::from_millis(1),
        ..Default::default()
    };
    let mut tail = client.search("local").tail(10, settings);
    assert_eq!(tail.next().unwrap().unwrap().id, "first");
    store.add(2, "second");
    assert_eq!(tail.next().unwrap().unwrap().id, "second");
    fails.store(1, Ordering::SeqCst);
    assert!(tail.next().unwrap().unwrap_err().is_retryable());
    store.add(3, "third");
    assert_eq!(tail.next().unwrap().unwrap().id, "third");
}

#[test]
fn tokens_grants_and_a_pusher() {
    let (_runtime, server, client) = start(|seen, _| accepted(seen));
    let wanted = mscp_log_client::Access::builder().search("local").build();
    let issued = client.issue(&wanted, Some(60)).unwrap();
    assert!(!issued.token.is_empty());
    assert_eq!(client.root_token().unwrap(), token(0, 3600, None));
    assert!(client.grants().unwrap().is_object());
    let pusher = client.pusher(PushSettings::default()).unwrap();
    pusher
        .push(&Record::now(uuid::Uuid::nil(), "t", "m"))
        .unwrap();
    assert_eq!(pusher.close_blocking(Duration::from_secs(60)).sent, 1);
    assert_eq!(server.auth()[0].body, json!({"access": *wanted, "ttl": 60}));
}

/// Only `async` may bring a runtime.
#[test]
fn no_tokio_is_in_the_tree_of_the_other_features() {
    let tree = |features: &str| {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
            .args(["--no-default-features", "--features", features])
            .args(["--package", env!("CARGO_PKG_NAME")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let text = String::from_utf8(tree.stdout).unwrap();
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        text.lines().any(|line| line.starts_with("tokio "))
    };
    assert!(!tree("push,blocking,tracing,log,gzip"));
    assert!(tree("async"), "the test would find it");
}
