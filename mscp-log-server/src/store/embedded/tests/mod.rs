//! The store as a whole, on a folder of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;

mod api;
mod cursors;
mod log;
mod model;
mod surface;

use super::indices::{Expression, Options};
use super::*;
use crate::buffer::Position;
use crate::buffer::dead_letters::DeadLetters;

pub(super) const DAY_US: i64 = 86_400_000_000;
/// 2018-01-24
pub(super) const FIRST_DAY_US: i64 = 1_516_752_000_000_000;

pub(super) fn record(number: u64, time_us: i64, tags: &str) -> Bytes {
    let time = chrono::DateTime::from_timestamp_micros(time_us)
        .unwrap()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    format!(
        r#"{{"@timestamp":"{time}","realtime_us":{time_us},"event_id":"{number:032x}","message":"line {number}","index":"logstash-http-local","seq":{number},"tags":[{tags}]}}"#
    )
    .into()
}

pub(super) fn batch(first: u64, records: Vec<Bytes>) -> Batch {
    let next = first + records.len() as u64;
    Batch {
        first,
        records,
        position: Position {
            partition: 0,
            epoch: 1,
            next,
        },
    }
}

/// Records `numbers`, one a second from the first day on.
pub(super) fn numbered(numbers: std::ops::Range<u64>) -> Batch {
    let time = |number| FIRST_DAY_US + number as i64 * 1_000_000;
    let records = numbers
        .clone()
        .map(|number| record(number, time(number), ""));
    batch(numbers.start, records.collect())
}

/// Documents of each index, as searches see them.
pub(super) fn counts(store: &EmbeddedStore) -> BTreeMap<String, u64> {
    let selection = store
        .catalog
        .select(&Expression::new("*"), Options::default())
        .unwrap();
    let mut counts = BTreeMap::new();
    for snapshot in selection.snapshots {
        for (name, count) in snapshot.indices().unwrap() {
            counts.insert(name.to_string(), *count);
        }
    }
    counts
}

pub(super) fn total(store: &EmbeddedStore) -> u64 {
    counts(store).values().sum()
}

pub(super) fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, Settings::default(), DeadLetters::below(folder)).unwrap()
}

/// The folder as a crash at this moment would leave it. Merges go on while it
/// is copied, so it is copied until nothing changed meanwhile.
pub(super) fn crashed(folder: &Path) -> tempfile::TempDir {
    loop {
        let before = state(folder);
        let copy = tempfile::tempdir().unwrap();
        if copy_folder(folder, copy.path()).is_ok()
            && before.is_ok_and(|it| state(folder).is_ok_and(|now| now == it))
        {
            return copy;
        }
    }
}

/// Every file's path and length, and what the commits say.
fn state(folder: &Path) -> std::io::Result<BTreeMap<std::path::PathBuf, (u64, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(state(&path)?);
        } else {
            let json = path.extension().is_some_and(|it| it == "json");
            let text = if json { fs::read(&path)? } else { Vec::new() };
            files.insert(path.clone(), (fs::metadata(&path)?.len(), text));
        }
    }
    Ok(files)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_durable_is_there_after_a_crash_and_what_is_replayed_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        commit_interval: Duration::from_secs(3_600),
        ..Settings::default()
    };
    let store =
        EmbeddedStore::open(folder.path(), settings, DeadLetters::below(folder.path())).unwrap();
    let mut durable = store.durable(0);
    store.bulk(numbered(0..100)).await.unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(*durable.borrow_and_update(), 100);
    assert_eq!(total(&store), 100);
    store.bulk(numbered(100..150)).await.unwrap();
    let copy = crashed(folder.path());

    let store = open(copy.path());
    assert_eq!(total(&store), 100);
    // The consumer's commit may be behind what the store has.
    store.bulk(numbered(50..200)).await.unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 200);
    assert_eq!(*store.durable(0).borrow(), 200);
}

#[tokio::test]
async fn a_record_that_comes_again_is_stored_once_within_a_batch_and_across_commits_and_starts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let twice = vec![record(1, FIRST_DAY_US, ""), record(1, FIRST_DAY_US, "")];
    store.bulk(batch(0, twice)).await.unwrap();
    store
        .bulk(batch(2, vec![record(1, FIRST_DAY_US, "")]))
        .await
        .unwrap();
    store.writer.refresh().await.unwrap();
    store
        .bulk(batch(3, vec![record(1, FIRST_DAY_US, "")]))
        .await
        .unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 1);
    drop(store);
    let store = open(folder.path());
    store
        .bulk(batch(
            4,
            vec![record(1, FIRST_DAY_US, ""), record(2, FIRST_DAY_US, "")],
        ))
        .await
        .unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 2);
}

#[tokio::test]
async fn a_record_timed_by_its_receipt_is_known_from_before_midnight() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let tag = r#""_timeofreceipt""#;
    let midnight = FIRST_DAY_US + DAY_US;
    store
        .bulk(batch(0, vec![record(1, midnight - 1, tag)]))
        .await
        .unwrap();
    store
        .bulk(batch(1, vec![record(1, midnight + 1, tag)]))
        .await
        .unwrap();
    store.writer.refresh().await.unwrap();
    store
        .bulk(batch(2, vec![record(1, midnight + 2, tag)]))
        .await
        .unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 1);
}

#[tokio::test]
async fn many_days_are_written_with_few_writers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let days = 12;
    let records = |from: u64| {
        let all = 0..3 * days as u64;
        all.map(|n| record(from + n, FIRST_DAY_US + (n as i64 % days) * DAY_US, ""))
            .collect()
    };
    store.bulk(batch(0, records(0))).await.unwrap();
    store.bulk(batch(100, records(100))).await.unwrap();
    store.bulk(batch(200, records(0))).await.unwrap();
    store.writer.refresh().await.unwrap();
    let counts = counts(&store);
    assert_eq!(counts.len(), days as usize);
    assert!(counts.values().all(|count| *count == 6), "{counts:?}");
    assert_eq!(*store.durable(0).borrow(), 200 + 3 * days as u64);
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_holds_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let records = vec![Bytes::from_static(b"not json"), record(1, FIRST_DAY_US, "")];
    store.bulk(batch(0, records)).await.unwrap();
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), 1);
    assert_eq!(*store.durable(0).borrow(), 2);
}

#[test]
fn a_second_store_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = EmbeddedStore::open(
        folder.path(),
        Settings::default(),
        DeadLetters::below(folder.path()),
    );
    assert!(matches!(second, Err(CatalogError::InUse(_))));
    drop(first);
    open(folder.path());
}

#[test]
fn a_folder_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format.json"), r#"{"version": 4}"#).unwrap();
    let store = EmbeddedStore::open(
        folder.path(),
        Settings::default(),
        DeadLetters::below(folder.path()),
    );
    assert!(matches!(store, Err(CatalogError::Newer { found: 4, .. })));
}

#[test]
fn a_folder_of_an_older_version_is_raised_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let format = folder.path().join("format.json");
    fs::write(&format, r#"{"version": 1}"#).unwrap();
    open(folder.path());
    assert_eq!(fs::read_to_string(&format).unwrap(), r#"{"version":3}"#);
}

#[tokio::test]
async fn a_store_that_could_not_commit_stores_everything_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.bulk(numbered(0..10)).await.unwrap();
    store.writer.refresh().await.unwrap();
    // The commit replaces this file by renaming, which a folder in its place refuses.
    let meta = folder.path().join("2018.01.24/meta.json");
    let aside = folder.path().join("aside");
    store.bulk(numbered(10..20)).await.unwrap();
    fs::rename(&meta, &aside).unwrap();
    fs::create_dir(&meta).unwrap();
    assert!(store.writer.refresh().await.is_err());
    assert!(store.bulk(numbered(20..30)).await.is_err());
    assert!(store.writer.trouble().is_some());
    assert_eq!(*store.durable(0).borrow(), 10);
    fs::remove_dir(&meta).unwrap();
    fs::rename(&aside, &meta).unwrap();
    let mut durable = store.durable(0);
    durable.wait_for(|next| *next == 20).await.unwrap();
    assert_eq!(total(&store), 20);
    assert!(store.writer.trouble().is_none());
}
