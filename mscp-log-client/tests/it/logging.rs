//! The layer for `tracing` and the appender for `log`.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::Log as _;
use mscp_log_client::log::Appender;
use mscp_log_client::tracing::layer;
use mscp_log_client::{Loss, PushSettings, Pusher};
use serde_json::{Value, json};
use tracing_subscriber::prelude::*;
use uuid::Uuid;

use crate::server::{Server, accepted};

const LONG: Duration = Duration::from_secs(60);
const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);
/// Set in the process that a test starts for what is one in a process.
const CHILD: &str = "MSCP_LOG_CLIENT_TEST_CHILD";

/// A server with a runtime of its own, so that tests need none.
struct Own {
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Own {
    fn start() -> Own {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(Server::start(|seen, _| accepted(seen)));
        Own { server, runtime }
    }

    fn pusher(&self) -> Pusher {
        let settings = PushSettings {
            linger: LONG,
            ..Default::default()
        };
        self.server.pusher(settings).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        let work = self.server.work();
        let bodies = work.iter().map(|seen| seen.body.as_array().unwrap());
        bodies.flatten().cloned().collect()
    }

    /// The records by their messages, with their annotations.
    fn by_message(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let records = self.records();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let annotations = |record: &Value| {
            let list = record["annotations"].as_array().unwrap();
            let all: BTreeMap<_, _> = list
                .iter()
                .map(|one| (text(&one["key"]), one["value"].clone()))
                .collect();
            assert_eq!(all.len(), list.len(), "no key comes twice: {record}");
            all
        };
        records
            .iter()
            .map(|record| (text(&record["message"]), annotations(record)))
            .collect()
    }

    fn messages(&self) -> Vec<String> {
        let records = self.records();
        let messages = records
            .iter()
            .map(|record| record["message"].as_str().unwrap());
        messages.map(str::to_owned).collect()
    }

    fn end(self) {
        self.runtime.shutdown_background();
    }
}

fn map(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// Whether this is the process in which `test` is to be done; else it is
/// started here, and has to end well.
fn is_child(test: &str) -> bool {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return true;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("logging::{test}"), "--nocapture"])
        .env(CHILD, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let errors = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(child.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the order was not stored")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn fields_of_events_and_spans_are_annotations_and_the_innermost_goes_first() {
    let own = Own::start();
    let pusher = own.pusher();
    let layer = layer(pusher.clone(), APP)
        .kind("audit")
        .unwrap()
        .annotation("zone", "a\"b")
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let outer = tracing::info_span!("request", id = 1, user = "ann", trace_id = "t1");
        let _outer = outer.enter();
        let inner = tracing::info_span!("order", id = 2, late = tracing::field::Empty);
        let _inner = inner.enter();
        inner.record("late", true);
        inner.record("late", false);
        tracing::warn!(target: "shop", id = 3_u64, real = 1.5, "paid \"{}\"\n", 17);
        tracing::info!("from the spans");
        let error = Outer(std::io::Error::other("the disk is full"));
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::error!(
            error,
            level = "mine",
            target = "mine",
            r#type = "t",
            "failed"
        );
        tracing::debug!(count = 3, name = "x", some = ?Some(1));
        tracing::trace!(
            nan = f64::NAN,
            big = u128::MAX,
            small = i128::from(i64::MIN),
            "numbers"
        );
    });
    assert_eq!(pusher.close_blocking(LONG).sent, 5);
    let records = own.by_message();
    let spans = json!({"zone": "a\"b", "user": "ann", "trace_id": "t1", "late": false});
    let with = |more: Value| {
        let mut all = map(spans.clone());
        all.extend(map(more));
        all
    };
    assert_eq!(
        records["paid \"17\"\n"],
        with(json!({"level": "warn", "target": "shop", "id": 3, "real": 1.5}))
    );
    let target = "it::logging";
    assert_eq!(
        records["from the spans"],
        with(json!({"level": "info", "target": target, "id": 2}))
    );
    assert_eq!(
        records["failed"],
        with(
            json!({"level": "error", "target": target, "id": 2, "field.level": "mine",
            "field.target": "mine", "type": "t",
            "error": "the order was not stored: the disk is full"})
        )
    );
    assert_eq!(
        records["count=3 name=x some=Some(1)"],
        with(
            json!({"level": "debug", "target": target, "id": 2, "count": 3, "name": "x",
            "some": "Some(1)"})
        )
    );
    assert_eq!(
        records["numbers"],
        with(
            json!({"level": "trace", "target": target, "id": 2, "nan": "NaN",
            "big": u128::MAX.to_string(), "small": i64::MIN})
        )
    );
    assert!(own.records().iter().all(|record| record["type"] == "audit"));
    own.end();
}

#[test]
fn a_layer_has_its_own_level_and_leaves_spans_out_where_asked() {
    let own = Own::start();
    let pusher = own.pusher();
    let layer = layer(pusher.clone(), APP)
        .max_level(tracing::Level::INFO)
        .span_fields(false)
        .location(true);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _span = tracing::info_span!("request", id = 1).entered();
        tracing::debug!("too low");
        tracing::info!("good");
    });
    assert_eq!(pusher.close_blocking(LONG).sent, 1);
    let records = own.by_message();
    assert_eq!(records["good"]["file"], file!());
    assert_eq!(records["good"]["module_path"], "it::logging");
    assert!(records["good"]["line"].is_u64());
    assert!(!records["good"].contains_key("id"));
    own.end();
}

#[test]
fn what_a_layer_cannot_have_is_refused() {
    let own = Own::start();
    let error = layer::<()>(own.pusher(), APP).kind("no good").unwrap_err();
    assert!(error.to_string().contains("no good"), "{error}");
    let error = Appender::new(own.pusher(), APP)
        .annotation("list", json!([1]))
        .unwrap_err();
    assert!(error.to_string().contains("list"), "{error}");
    own.end();
}

#[test]
fn records_of_log_come_with_their_key_values_and_by_the_level_of_their_target() {
    let own = Own::start();
    let pusher = own.pusher();
    let appender = Appender::new(pusher.clone(), APP)
        .max_level(log::LevelFilter::Info)
        .level_for("hyper", log::LevelFilter::Warn)
        .level_for("hyper::mine", log::LevelFilter::Trace);
    let log = |level, target: &str, message: &str| {
        let pairs: &[(&str, log::kv::Value<'_>)] = &[
            ("order", 17.into()),
            ("ok", true.into()),
            ("level", "x".into()),
            ("half", 0.5.into()),
            ("none", log::kv::Value::null()),
        ];
        appender.log(
            &log::Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .key_values(&pairs)
                .build(),
        );
    };
    log(log::Level::Info, "shop", "taken");
    log(log::Level::Debug, "shop", "too low");
    log(log::Level::Info, "hyper::client", "too low");
    log(log::Level::Info, "hyperion", "another's name");
    log(
        log::Level::Trace,
        "hyper::mine::deep",
        "the longest decides",
    );
    appender.flush();
    assert_eq!(pusher.progress().sent, 3, "flush waits");
    let records = own.by_message();
    assert_eq!(
        records["taken"],
        map(
            json!({"level": "info", "target": "shop", "order": 17, "ok": true, "half": 0.5,
            "field.level": "x", "none": "None"})
        )
    );
    assert_eq!(records["the longest decides"]["level"], "trace");
    assert!(records.contains_key("another's name"));
    own.end();
}

/// Counts what is logged on the pusher's threads: without any, the tests of
/// feedback would prove nothing.
#[derive(Clone, Default)]
struct Below(Arc<AtomicUsize>);

impl Below {
    fn count(&self) {
        if std::thread::current().name() == Some("mscp-log-push") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Below {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.count();
    }
}

/// Some records, one batch each, and then whether anything else was sent.
fn nothing_but_what_was_logged(own: &Own, pusher: &Pusher, below: &Below, log: impl Fn(usize)) {
    for round in 0..5 {
        log(round);
        assert!(pusher.flush_blocking(LONG).complete);
    }
    assert!(below.counted() > 0, "HTTP logs on the pusher's threads");
    let progress = pusher.progress();
    assert_eq!((progress.sent, progress.pending), (5, 0));
    let expected: Vec<String> = (0..5).map(|round| format!("round {round}")).collect();
    assert_eq!(own.messages(), expected);
}

#[test]
fn nothing_below_the_layer_feeds_it() {
    if !is_child("nothing_below_the_layer_feeds_it") {
        return;
    }
    let own = Own::start();
    let pusher = own.pusher();
    let below = Below::default();
    // Every target at TRACE, and all of `log` too.
    tracing_log::LogTracer::init().unwrap();
    let ours = layer(pusher.clone(), APP).with_filter(tracing_subscriber::filter::filter_fn(
        // What the test's server and its runtime log on threads of their own
        // is no feedback, and no business of this test.
        |metadata| {
            let server = ["hyper", "axum", "tower", "mio", "tokio", "runtime", "want"];
            !server
                .iter()
                .any(|name| metadata.target().starts_with(name))
        },
    ));
    let all = tracing_subscriber::registry()
        .with(ours)
        .with(below.clone());
    tracing::subscriber::set_global_default(all).unwrap();
    nothing_but_what_was_logged(&own, &pusher, &below, |round| {
        if round % 2 == 0 {
            tracing::info!("round {round}");
        } else {
            log::info!("round {round}");
        }
    });
    let records = own.by_message();
    assert_eq!(
        records["round 1"]["target"], "it::logging",
        "a record of log has the place that logged"
    );
    own.end();
}

#[test]
fn nothing_below_the_appender_feeds_it() {
    struct Both(Appender, Below);
    impl log::Log for Both {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.1.count();
            self.0.log(record);
        }
        fn flush(&self) {}
    }
    if !is_child("nothing_below_the_appender_feeds_it") {
        return;
    }
    let own = Own::start();
    let pusher = own.pusher();
    let below = Below::default();
    let mut appender = Appender::new(pusher.clone(), APP);
    for server in ["hyper", "axum", "tower", "mio", "tokio", "runtime", "want"] {
        appender = appender.level_for(server, log::LevelFilter::Off);
    }
    log::set_boxed_logger(Box::new(Both(appender, below.clone()))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    nothing_but_what_was_logged(&own, &pusher, &below, |round| log::info!("round {round}"));
    own.end();
}

/// Logs when it is formatted.
struct Chatty(u32);

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => tracing::info!("the innermost"),
            deep => tracing::info!(within = ?Chatty(deep - 1), "at {deep}"),
        }
        write!(f, "chatty {}", self.0)
    }
}

/// Logs when it is dropped.
struct Last(&'static str);

impl Drop for Last {
    fn drop(&mut self) {
        tracing::info!("dropped {}", self.0);
    }
}

#[test]
fn events_are_taken_in_every_place_and_nothing_stands_still() {
    if !is_child("events_are_taken_in_every_place_and_nothing_stands_still") {
        return;
    }
    let own = Own::start();
    let pusher = own.pusher();
    let guard = pusher.guard(LONG);
    let own_only = |metadata: &tracing::Metadata<'_>| metadata.target().starts_with("it::");
    let ours =
        layer(pusher.clone(), APP).with_filter(tracing_subscriber::filter::filter_fn(own_only));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ours)).unwrap();

    tracing::info!("before any other runtime");
    tracing::info!(value = ?Chatty(1), "formatted");
    tracing::info!(value = ?Chatty(100), "formatted in a loop");

    std::panic::set_hook(Box::new(|_| tracing::error!("the hook of a panic")));
    let panicked = std::thread::spawn(|| {
        let _last = Last("while panicking");
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());

    std::thread_local! {
        static AT_THE_END: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    std::thread::spawn(|| {
        AT_THE_END.with_borrow_mut(|last| *last = Some(Last("while a thread ends")));
        tracing::info!("from a thread");
    })
    .join()
    .unwrap();

    // A runtime of one thread that goes while a task holds what logs on drop,
    // and while that thread waits for a flush.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let last = Last("with its runtime");
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(last);
        });
        tokio::task::yield_now().await;
        tracing::info!("from a task");
        assert!(pusher.flush_blocking(LONG).complete);
        assert!(pusher.flush(LONG).await.complete);
    });
    drop(runtime);
    drop(guard);
    tracing::info!("after the end");

    let progress = pusher.progress();
    assert_eq!(progress.pending, 0);
    assert_eq!(
        progress.dropped.of(Loss::Rejected),
        1,
        "the loop is cut where it is too deep, and counted"
    );
    assert_eq!(progress.dropped.of(Loss::Closed), 1);
    let mut messages = own.messages();
    messages.sort();
    let mut expected = [
        "before any other runtime",
        "the innermost",
        "at 1",
        "formatted",
        "at 100",
        "at 99",
        "at 98",
        "formatted in a loop",
        "the hook of a panic",
        "dropped while panicking",
        "from a thread",
        "dropped while a thread ends",
        "from a task",
        "dropped with its runtime",
    ];
    expected.sort_unstable();
    assert_eq!(messages, expected);
    own.end();
}
