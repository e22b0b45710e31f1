//! Push where the server, or what is between, does badly. No runtime is here.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mscp_log_client::{Credentials, Loss, Overflow, PushSettings, Pusher, Record};
use uuid::Uuid;

use crate::raw::{Act, Raw};
use crate::server::token;

const LONG: Duration = Duration::from_secs(60);
const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);

fn settings() -> PushSettings {
    PushSettings {
        linger: LONG,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        ..Default::default()
    }
}

fn pusher(server: &Raw, settings: PushSettings) -> Pusher {
    builder(server).settings(settings).build().unwrap()
}

fn builder(server: &Raw) -> mscp_log_client::Builder<Pusher> {
    let access = token(0, 3600, Some(&serde_json::json!([])));
    Pusher::builder(server.url()).credentials(Credentials::access_token(access))
}

fn record(message: &str) -> Record {
    Record::now(APP, "applog", message)
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_the_answer_is_tried_again_under_the_same_key() {
    let server = Raw::start(|_, before| if before < 3 { Act::Cut } else { Act::Accept });
    let pusher = pusher(&server, settings());
    pusher.push(&record("one")).unwrap();
    assert_eq!(pusher.close_blocking(LONG).sent, 1);
    let came = server.came();
    assert_eq!(came.len(), 4);
    let keys: HashSet<_> = came.iter().map(|came| &came.key).collect();
    assert_eq!(keys.len(), 1);
    assert!(came.iter().all(|one| one.body == came[0].body));
}

#[test]
fn a_server_that_never_answers_costs_a_try_and_no_more() {
    let server = Raw::start(|_, before| if before == 0 { Act::Hang } else { Act::Accept });
    let pusher = builder(&server)
        .timeout(Duration::from_millis(50))
        .settings(settings())
        .build()
        .unwrap();
    pusher.push(&record("one")).unwrap();
    assert_eq!(pusher.close_blocking(LONG).sent, 1);
    let came = server.came();
    assert_eq!(came[0].key, came[came.len() - 1].key);
}

#[test]
fn closing_too_soon_tells_what_is_pending_and_waits_for_nothing() {
    let server = Raw::start(|_, _| Act::Hang);
    let pusher = pusher(&server, settings());
    for message in ["one", "two", "three"] {
        pusher.push(&record(message)).unwrap();
    }
    let outcome = pusher.close_blocking(Duration::from_millis(20));
    assert_eq!((outcome.sent, outcome.pending), (0, 3));
    assert_eq!(outcome.dropped.total(), 0);
    let flushed = pusher.flush_blocking(LONG);
    assert!(!flushed.complete);
    assert_eq!(flushed.pending, 3);
    let again = pusher.close_blocking(LONG);
    assert_eq!(again.pending, 3);
    assert_eq!(
        pusher.push(&record("late")).unwrap_err().reason(),
        Loss::Closed
    );
    server.hang_up();
}

#[test]
fn a_future_that_waits_is_told_that_it_is_late_on_any_executor() {
    let server = Raw::start(|_, _| Act::Hang);
    let pusher = pusher(
        &server,
        PushSettings {
            max_records: 1,
            in_flight: 1,
            ..settings()
        },
    );
    pollster::block_on(async {
        pusher.push(&record("one")).unwrap();
        let soon = Duration::from_millis(10);
        assert!(!pusher.flush(soon).await.complete);
        let late = pusher.push_within(&record("two"), soon).await.unwrap_err();
        assert_eq!(late.reason(), Loss::Full);
        assert_eq!(pusher.close(soon).await.pending, 1);
    });
    server.hang_up();
}

#[test]
fn a_storm_of_503_with_retry_after_ends_well() {
    // Every key is refused three times, whoever sends it.
    let seen: std::sync::Mutex<HashMap<String, usize>> = std::sync::Mutex::default();
    let server = Raw::start(move |came, _| {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(came.key.clone()).or_default();
        *count += 1;
        if *count <= 3 {
            Act::Answer(503, "retry-after: 0\r\n", r#"{"title": "full"}"#.to_owned())
        } else {
            Act::Accept
        }
    });
    let pusher = pusher(
        &server,
        PushSettings {
            batch_records: 7,
            ..settings()
        },
    );
    for place in 0..100 {
        pusher.push(&record(&place.to_string())).unwrap();
    }
    let outcome = pusher.close_blocking(LONG);
    assert_eq!((outcome.sent, outcome.dropped.total()), (100, 0));
    let came = server.came();
    let keys: HashSet<_> = came.iter().map(|came| &came.key).collect();
    assert_eq!(came.len(), keys.len() * 4);
}

#[test]
fn sixty_four_threads_push_while_the_server_is_slow_and_every_record_is_counted() {
    // The server answers nothing until all threads are done: it cannot be slower.
    let open = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&open);
    let server = Raw::start(move |_, _| {
        while !may_answer.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        Act::Accept
    });
    let pusher = pusher(
        &server,
        PushSettings {
            max_records: 1_000,
            batch_records: 50,
            ..settings()
        },
    );
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let together = Barrier::new(64);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (pusher, together, taken, refused) = (pusher.clone(), &together, &taken, &refused);
            scope.spawn(move || {
                together.wait();
                for place in 0..50 {
                    let count = match pusher.push(&record(&format!("{thread}/{place}"))) {
                        Ok(()) => taken,
                        Err(_) => refused,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    open.store(true, Ordering::Release);
    let outcome = pusher.close_blocking(LONG);
    let (taken, refused) = (taken.into_inner() as u64, refused.into_inner() as u64);
    assert_eq!(taken, 1_000, "the queue holds as many, and none was sent");
    assert_eq!(taken + refused, 64 * 50);
    assert_eq!((outcome.sent, outcome.pending), (taken, 0));
    assert_eq!(outcome.dropped.of(Loss::Full), refused);
    let came = server.came();
    let all: Vec<&str> = came.iter().flat_map(|came| came.messages()).collect();
    let different: HashSet<&str> = all.iter().copied().collect();
    assert_eq!((all.len(), different.len()), (1_000, 1_000));
}

#[test]
fn a_push_that_may_block_waits_for_a_place_and_no_longer_than_its_limit() {
    let server = Raw::start(|_, _| Act::Accept);
    let roomy = pusher(
        &server,
        PushSettings {
            max_records: 2,
            overflow: Overflow::Block(LONG),
            ..settings()
        },
    );
    for place in 0..50 {
        roomy.push(&record(&place.to_string())).unwrap();
    }
    assert_eq!(roomy.close_blocking(LONG).sent, 50);

    let stuck = Raw::start(|_, _| Act::Hang);
    let full = pusher(
        &stuck,
        PushSettings {
            max_records: 1,
            overflow: Overflow::Block(Duration::from_millis(5)),
            ..settings()
        },
    );
    full.push(&record("one")).unwrap();
    assert_eq!(full.push(&record("two")).unwrap_err().reason(), Loss::Full);
    assert_eq!(full.close_blocking(Duration::ZERO).pending, 1);
    stuck.hang_up();
}

#[test]
fn the_last_clone_that_goes_leaves_threads_that_send_the_rest() {
    let (told, done) = std::sync::mpsc::channel();
    let server = Raw::start(move |came, _| {
        told.send(came.messages().len()).unwrap();
        Act::Accept
    });
    let first = pusher(&server, settings());
    let second = first.clone();
    first.push(&record("one")).unwrap();
    drop(first);
    second.push(&record("two")).unwrap();
    drop(second);
    assert_eq!(done.recv().unwrap(), 2);
}

#[test]
fn tls_by_the_authority_that_was_given_and_by_no_other() {
    let authority = rcgen::CertifiedIssuer::self_signed(
        {
            let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
            about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            about
        },
        rcgen::KeyPair::generate().unwrap(),
    )
    .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let server = Raw::start_with(Some(Arc::new(tls)), |_, _| Act::Accept);
    let trusting = builder(&server)
        .root_certificate(authority.pem())
        .settings(settings())
        .build()
        .unwrap();
    trusting.push(&record("one")).unwrap();
    assert_eq!(trusting.close_blocking(LONG).sent, 1);
    let other = pusher(
        &server,
        PushSettings {
            deadline: Duration::from_millis(1),
            ..settings()
        },
    );
    other.push(&record("two")).unwrap();
    let outcome = other.close_blocking(LONG);
    assert_eq!(outcome.dropped.of(Loss::Deadline), 1);
    assert_eq!(server.came().len(), 1);
    assert!(server.came()[0].authorization.starts_with("Bearer "));
}
