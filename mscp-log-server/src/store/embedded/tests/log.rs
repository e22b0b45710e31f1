//! What clients were answered for before a commit had it.

use axum::body::Body;
use http::{Method, Request, StatusCode};

use super::api::{get, send};
use super::*;

/// Nothing is committed but by who asks for it.
fn patient(folder: &Path) -> EmbeddedStore {
    let settings = Settings {
        commit_interval: Duration::from_secs(3_600),
        ..Settings::default()
    };
    EmbeddedStore::open(folder, settings, DeadLetters::below(folder)).unwrap()
}

async fn put(store: &EmbeddedStore, path: &str, seq: u64) -> StatusCode {
    let body = format!(r#"{{"seq":{seq}}}"#);
    send(store, Method::PUT, path, &body).await.status
}

async fn seq(store: &EmbeddedStore, path: &str) -> Option<u64> {
    let found = get(store, path).await;
    (found.status == StatusCode::OK)
        .then(|| found.json()["_source"]["seq"].as_u64())
        .flatten()
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("log")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "seg"))
        .collect()
}

#[tokio::test]
async fn an_answered_write_is_there_after_a_crash_before_its_commit_and_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    put(&store, "/a-2018.01.24/_doc/1", 1).await;
    put(&store, "/a-2018.01.24/_doc/2", 1).await;
    put(&store, "/b-2018.01.25/_doc/1", 1).await;
    store.writer.refresh().await.unwrap();
    put(&store, "/a-2018.01.24/_doc/1", 2).await;
    put(&store, "/a-2018.01.24/_doc/3", 2).await;
    let gone = send(&store, Method::DELETE, "/b-2018.01.25/_doc/1", "").await;
    assert_eq!(gone.status, StatusCode::OK);
    put(&store, "/a-2018.01.24/_doc/1", 3).await;
    assert_eq!(total(&store), 3, "no commit came since");
    let copy = crashed(folder.path());
    drop(store);

    for _ in 0..2 {
        let store = patient(copy.path());
        assert_eq!(seq(&store, "/a-2018.01.24/_doc/1").await, Some(3));
        assert_eq!(seq(&store, "/a-2018.01.24/_doc/2").await, Some(1));
        assert_eq!(seq(&store, "/a-2018.01.24/_doc/3").await, Some(2));
        assert_eq!(seq(&store, "/b-2018.01.25/_doc/1").await, None);
        assert_eq!(total(&store), 3);
    }
    assert!(segments(copy.path()).is_empty());
}

#[tokio::test]
async fn who_reads_finds_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    let count = async || get(&store, "/_count").await.json()["count"].as_u64();
    put(&store, "/a-2018.01.24/_doc/1", 1).await;
    assert_eq!(total(&store), 0);
    assert_eq!(count().await, Some(1));
    put(&store, "/a-2018.01.24/_doc/2", 1).await;
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/2").await, Some(1));
    put(&store, "/a-2018.01.24/_doc/3?refresh=true", 1).await;
    assert_eq!(total(&store), 3);
}

#[tokio::test]
async fn an_answer_that_rests_on_what_no_commit_has_waits_for_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    assert_eq!(
        put(&store, "/a-2018.01.24/_create/1", 1).await,
        StatusCode::CREATED
    );
    assert_eq!(total(&store), 0);
    assert_eq!(
        put(&store, "/a-2018.01.24/_create/1", 2).await,
        StatusCode::CONFLICT
    );
    assert_eq!(total(&store), 1);
}

#[tokio::test]
async fn a_client_that_deletes_a_record_of_the_buffer_does_not_get_it_back_by_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    store.bulk(numbered(0..1)).await.unwrap();
    store.writer.refresh().await.unwrap();
    store.bulk(numbered(1..3)).await.unwrap();
    let head = r#"{"delete":{"_index":"logstash-http-local-2018.01.24","_id":"00000000000000000000000000000001"}}"#;
    let request = Request::post("/_bulk")
        .header("content-type", "application/x-ndjson")
        .body(Body::from(format!("{head}\n")))
        .unwrap();
    assert_eq!(store.call(request).await.status(), StatusCode::OK);
    let durable = *store.durable(0).borrow();
    let copy = crashed(folder.path());
    drop(store);
    let store = patient(copy.path());
    // The buffer hands over again what is not durable.
    if durable < 3 {
        store.bulk(numbered(durable..3)).await.unwrap();
    }
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 2);
}

#[tokio::test]
async fn a_deleted_index_does_not_come_back_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    put(&store, "/a-2018.01.24/_doc/1", 1).await;
    put(&store, "/b-2018.01.24/_doc/1", 1).await;
    let gone = send(&store, Method::DELETE, "/a-2018.01.24", "").await;
    assert_eq!(gone.status, StatusCode::OK);
    let copy = crashed(folder.path());
    drop(store);
    let store = patient(copy.path());
    store.writer.refresh().await.unwrap();
    assert_eq!(
        counts(&store).into_keys().collect::<Vec<_>>(),
        ["b-2018.01.24"]
    );
}

#[tokio::test]
async fn a_torn_tail_takes_only_what_was_torn() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    put(&store, "/a-2018.01.24/_doc/1", 1).await;
    put(&store, "/a-2018.01.24/_doc/2", 1).await;
    let copy = crashed(folder.path());
    drop(store);
    let [segment] = &segments(copy.path())[..] else {
        panic!("one file")
    };
    let length = fs::metadata(segment).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(length - 1).unwrap();
    let store = patient(copy.path());
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/1").await, Some(1));
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/2").await, None);
}

#[tokio::test]
async fn a_log_that_fails_refuses_writes_and_what_was_answered_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    assert_eq!(
        put(&store, "/a-2018.01.24/_doc/1", 1).await,
        StatusCode::CREATED
    );
    store.writer.refresh().await.unwrap();
    // The next write begins a new file, in a folder that is none now.
    let (log, aside) = (folder.path().join("log"), folder.path().join("aside"));
    fs::rename(&log, &aside).unwrap();
    fs::write(&log, b"").unwrap();
    for _ in 0..2 {
        let refused = put(&store, "/a-2018.01.24/_doc/2", 1).await;
        assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(store.writer.trouble().is_some());
    fs::remove_file(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    while put(&store, "/a-2018.01.24/_doc/3", 1).await != StatusCode::CREATED {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let copy = crashed(folder.path());
    drop(store);
    let store = patient(copy.path());
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/1").await, Some(1));
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/3").await, Some(1));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_commit_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let store = patient(folder.path());
    put(&store, "/a-2018.01.24/_doc/1", 1).await;
    store.writer.refresh().await.unwrap();
    put(&store, "/a-2018.01.24/_doc/2", 1).await;
    // The commit replaces this file by renaming, which a folder in its place refuses.
    let meta = folder.path().join("2018.01.24/meta.json");
    let aside = folder.path().join("aside");
    fs::rename(&meta, &aside).unwrap();
    fs::create_dir(&meta).unwrap();
    let found = get(&store, "/a-2018.01.24/_doc/2").await;
    assert_eq!(found.status, StatusCode::SERVICE_UNAVAILABLE);
    fs::remove_dir(&meta).unwrap();
    fs::rename(&aside, &meta).unwrap();
    while store.writer.trouble().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seq(&store, "/a-2018.01.24/_doc/2").await, Some(1));
    assert_eq!(total(&store), 2);
}
