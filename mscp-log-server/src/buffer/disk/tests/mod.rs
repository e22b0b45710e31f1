//! The promises of the disk buffer, each under the fault that would break it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod faulty;
mod model;

use std::os::unix::fs::FileExt as _;

use futures::FutureExt as _;

use super::*;
use crate::buffer::Position;
use faulty::Faulty;

const ALL: usize = 1 << 20;

fn open(dir: &Path) -> DiskBuffer {
    DiskBuffer::open(dir, DiskSettings::default()).unwrap()
}

fn open_faulty(disk: &Faulty, dir: &Path, settings: DiskSettings) -> DiskBuffer {
    DiskBuffer::open_on(Box::new(disk.clone()), dir, settings, 1).unwrap()
}

fn records(texts: &[&str]) -> Vec<Bytes> {
    texts
        .iter()
        .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        .collect()
}

async fn append(buffer: &DiskBuffer, texts: &[&str]) -> Result<(), AppendError> {
    buffer.append("host", records(texts)).await
}

/// All records there are, with their numbers.
async fn read_all(buffer: &DiskBuffer) -> Vec<(u64, Bytes)> {
    let mut consumer = buffer.join().await.unwrap();
    let mut all: Vec<(u64, Bytes)> = Vec::new();
    while let Some(batch) = consumer.try_read(ALL).await.unwrap() {
        assert!(all.last().is_none_or(|(last, _)| batch.first > *last));
        let end = batch.first + batch.records.len() as u64;
        assert_eq!(batch.position.next, end);
        all.extend((batch.first..).zip(batch.records));
    }
    all
}

async fn texts(buffer: &DiskBuffer) -> Vec<String> {
    let all = read_all(buffer).await;
    let text = |(_, record): (u64, Bytes)| String::from_utf8(record.to_vec()).unwrap();
    all.into_iter().map(text).collect()
}

/// The segment files, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    paths.sort();
    paths
}

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[tokio::test]
async fn what_was_appended_is_read_in_order_and_after_a_commit_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["1", "2"]).await.unwrap();
    append(&buffer, &["3"]).await.unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    let batch = consumer.read(ALL).await.unwrap();
    assert_eq!(batch.records, records(&["1", "2", "3"]));
    assert_eq!(batch.position.next, batch.first + 3);
    assert_eq!(buffer.usage().backlog, 3);
    let one = Position {
        next: batch.first + 1,
        ..batch.position
    };
    consumer.commit(one).await.unwrap();
    assert_eq!(buffer.usage().backlog, 2);
    drop((consumer, buffer));

    let buffer = open(dir.path());
    assert_eq!(buffer.recovered(), Recovered::default());
    let mut consumer = buffer.consumer().await.unwrap();
    let again = consumer.read(ALL).await.unwrap();
    assert_eq!(again.first, batch.first + 1);
    assert_eq!(again.records, records(&["2", "3"]));
    consumer.commit(again.position).await.unwrap();
    append(&buffer, &["4"]).await.unwrap();
    let last = consumer.read(ALL).await.unwrap();
    assert_eq!(last.records, records(&["4"]));
    assert!(last.first > again.position.next);
}

#[tokio::test]
async fn a_number_is_never_given_twice_even_when_the_folder_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("buffer");
    let buffer = open(&path);
    append(&buffer, &["1"]).await.unwrap();
    let before = read_all(&buffer).await[0].0;
    drop(buffer);
    fs::remove_dir_all(&path).unwrap();
    let buffer = open(&path);
    append(&buffer, &["2"]).await.unwrap();
    assert!(read_all(&buffer).await[0].0 > before);
}

#[tokio::test]
async fn a_batch_holds_about_as_many_bytes_as_asked_and_at_least_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["aaaa", "bb", "cc", "dddddddddd"])
        .await
        .unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(consumer.read(6).await.unwrap().records);
    }
    let expected = [&["aaaa", "bb"][..], &["cc"], &["dddddddddd"]].map(records);
    assert_eq!(batches, expected);
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_what_is_before_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["whole"]).await.unwrap();
    let before = buffer.usage().bytes;
    append(&buffer, &["torn", "also torn"]).await.unwrap();
    let after = buffer.usage().bytes;
    drop(buffer);
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    assert_eq!(whole.len() as u64, after);
    for len in before..after {
        let torn = tempfile::tempdir().unwrap();
        let name = segments(dir.path())[0].file_name().unwrap().to_owned();
        fs::write(
            torn.path().join(name),
            &whole[..usize::try_from(len).unwrap()],
        )
        .unwrap();
        assert_eq!(verify(torn.path()).unwrap().tail_bytes, len - before);
        let buffer = open(torn.path());
        assert_eq!(buffer.recovered().torn_bytes, len - before);
        append(&buffer, &["next"]).await.unwrap();
        assert_eq!(texts(&buffer).await, ["whole", "next"]);
        drop(buffer);
        let report = verify(torn.path()).unwrap();
        assert!(report.is_sound());
        assert_eq!((report.appends, report.tail_bytes), (2, 0));
    }
}

#[tokio::test]
async fn a_byte_wrong_anywhere_in_the_middle_costs_that_append_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["first"]).await.unwrap();
    let from = buffer.usage().bytes;
    append(&buffer, &["damaged", "with it"]).await.unwrap();
    let to = buffer.usage().bytes;
    append(&buffer, &["third"]).await.unwrap();
    let numbers: Vec<_> = read_all(&buffer)
        .await
        .iter()
        .map(|(number, _)| *number)
        .collect();
    drop(buffer);
    let segment = segments(dir.path()).remove(0);
    for offset in from..to {
        flip(&segment, offset);
        let report = verify(dir.path()).unwrap();
        assert!(!report.is_sound());
        assert_eq!(report.damaged_bytes, to - from, "wrong byte at {offset}");
        assert_eq!(
            (report.damage[0].offset, report.damage[0].bytes),
            (from, to - from)
        );
        let buffer = open(dir.path());
        assert_eq!(buffer.recovered().corrupt_bytes, to - from);
        let left = read_all(&buffer).await;
        let expected = [(numbers[0], "first"), (numbers[3], "third")];
        assert_eq!(
            left,
            expected.map(|(number, text)| (number, Bytes::from(text)))
        );
        drop(buffer);
        flip(&segment, offset);
    }
}

#[tokio::test]
async fn damage_in_older_segments_and_their_headers_is_skipped_by_a_running_reader() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        segment_bytes: 100,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    for text in ["one", "two", "three", "four", "five"] {
        let long = format!("{text}{}", " ".repeat(80));
        append(&buffer, &[&long]).await.unwrap();
    }
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 5);
    flip(&paths[1], 60);
    flip(&paths[3], 17);
    let left: Vec<_> = texts(&buffer)
        .await
        .iter()
        .map(|text| text.trim().to_owned())
        .collect();
    assert_eq!(left, ["one", "three", "four", "five"]);
    drop(buffer);
    let buffer = open(dir.path());
    assert_eq!(texts(&buffer).await.len(), 4);
    assert_eq!(verify(dir.path()).unwrap().records, 4);
}

#[tokio::test]
async fn a_crash_while_a_segment_is_made_costs_nothing() {
    for torn in 0..format::SEGMENT_HEADER {
        let dir = tempfile::tempdir().unwrap();
        let buffer = open(dir.path());
        append(&buffer, &["1", "2"]).await.unwrap();
        let end = read_all(&buffer).await.last().unwrap().0 + 1;
        drop(buffer);
        let header = format::SegmentHeader {
            version: format::VERSION,
            first: end + 1_000,
            previous_end: end,
        };
        let path = dir.path().join(segment_name(header.first));
        fs::write(path, &header.encode()[..torn]).unwrap();
        let buffer = open(dir.path());
        assert_eq!(buffer.usage().backlog, 2);
        assert_eq!(texts(&buffer).await, ["1", "2"]);
        append(&buffer, &["3"]).await.unwrap();
        assert_eq!(texts(&buffer).await, ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn an_error_of_the_disk_costs_no_records_that_were_read_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        segment_bytes: 1,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    append(&buffer, &["1"]).await.unwrap();
    append(&buffer, &["2"]).await.unwrap();
    let second = segments(dir.path()).remove(1);
    let away = second.with_extension("away");
    fs::rename(&second, &away).unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    assert_eq!(consumer.read(ALL).await.unwrap().records, records(&["1"]));
    assert!(matches!(
        consumer.read(ALL).await,
        Err(ConsumeError::Failed(_))
    ));
    fs::rename(&away, &second).unwrap();
    assert_eq!(consumer.read(ALL).await.unwrap().records, records(&["2"]));
}

#[tokio::test]
async fn a_full_buffer_refuses_and_takes_again_when_its_reader_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        max_bytes: 10_000,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    let text = "x".repeat(500);
    let mut taken = 0;
    let refused = loop {
        match append(&buffer, &[&text]).await {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(
        matches!(refused, AppendError::Full { limit: 10_000, .. }),
        "{refused}"
    );
    assert!(taken > 10 && buffer.usage().bytes <= 10_000);
    assert_eq!(buffer.usage().backlog, taken);

    let mut consumer = buffer.consumer().await.unwrap();
    let mut read = 0;
    while read < taken {
        let batch = consumer.read(ALL).await.unwrap();
        read += batch.records.len() as u64;
        consumer.commit(batch.position).await.unwrap();
    }
    assert_eq!(read, taken);
    assert_eq!(buffer.usage().backlog, 0);
    for _ in 0..taken {
        append(&buffer, &[&text]).await.unwrap();
        let batch = consumer.read(ALL).await.unwrap();
        consumer.commit(batch.position).await.unwrap();
    }
}

/// Append until it refuses; how many it took.
async fn fill(buffer: &DiskBuffer, text: &str) -> u64 {
    let mut taken = 0;
    while append(buffer, &[text]).await.is_ok() {
        taken += 1;
    }
    taken
}

/// Read and commit everything; how many records that were.
async fn drain(buffer: &DiskBuffer) -> u64 {
    let mut consumer = buffer.consumer().await.unwrap();
    let mut read = 0;
    while buffer.usage().backlog > 0 {
        let batch = consumer.read(ALL).await.unwrap();
        read += batch.records.len() as u64;
        consumer.commit(batch.position).await.unwrap();
    }
    read
}

#[tokio::test]
async fn a_limit_that_is_changed_holds_at_once_and_what_is_over_it_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        max_bytes: 20_000,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    let text = "x".repeat(500);
    let first = fill(&buffer, &text).await;
    assert!(buffer.set_max_bytes(40_000));
    assert_eq!(buffer.usage().max_bytes, 40_000);
    let more = fill(&buffer, &text).await;
    assert!(more > first / 2 && buffer.usage().bytes > 20_000);

    // Less than is in it: nothing comes in, and nothing goes.
    buffer.set_max_bytes(10_000);
    let refused = append(&buffer, &[&text]).await.unwrap_err();
    assert!(matches!(refused, AppendError::Full { limit: 10_000, used } if used > 20_000));
    assert_eq!(buffer.usage().backlog, first + more);
    let full = buffer.trouble().unwrap();
    assert!(full.contains("of 10000 bytes"), "{full}");
    assert_eq!(drain(&buffer).await, first + more);
    assert_eq!(buffer.trouble(), None);
    let after = fill(&buffer, &text).await;
    assert!(after > 10 && after < first, "{after} of {first}");
    assert_eq!(drain(&buffer).await, after);
}

#[tokio::test]
async fn a_limit_below_the_file_that_is_being_written_lets_it_go_on_when_that_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        max_bytes: 1 << 20,
        segment_bytes: 1 << 17,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    let text = "x".repeat(500);
    for _ in 0..100 {
        append(&buffer, &[&text]).await.unwrap();
    }
    // One file, which goes only when another one is begun.
    assert!(buffer.usage().bytes > 50_000);
    buffer.set_max_bytes(8_000);
    append(&buffer, &[&text]).await.unwrap_err();
    assert_eq!(drain(&buffer).await, 100);
    let taken = fill(&buffer, &text).await;
    assert!((5..16).contains(&taken), "{taken}");
    assert_eq!(drain(&buffer).await, taken);
    assert!(buffer.usage().bytes < 8_000);
}

#[tokio::test]
async fn above_the_limit_of_the_disk_appends_are_refused_reads_go_on_and_it_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let buffer = open_faulty(&disk, dir.path(), DiskSettings::default());
    append(&buffer, &["1"]).await.unwrap();
    disk.set(|faults| faults.used_percent = 96);
    let refused = append(&buffer, &["2"]).await.unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull));
    assert_eq!(texts(&buffer).await, ["1"]);
    disk.set(|faults| faults.used_percent = 95);
    append(&buffer, &["3"]).await.unwrap();
    assert_eq!(texts(&buffer).await, ["1", "3"]);
}

#[tokio::test]
async fn a_write_that_finds_no_space_at_any_byte_leaves_nothing_of_the_append() {
    for room in 0..150 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::default();
        let settings = DiskSettings {
            segment_bytes: 100,
            ..DiskSettings::default()
        };
        let buffer = open_faulty(&disk, dir.path(), settings);
        append(&buffer, &["1", "some length to make it two segments"])
            .await
            .unwrap();
        disk.set(|faults| faults.room = Some(room));
        let long = "2".repeat(100);
        let refused = append(&buffer, &[&long]).await.unwrap_err();
        assert!(matches!(refused, AppendError::DiskFull), "{refused}");
        disk.set(|faults| faults.room = None);
        append(&buffer, &["3"]).await.unwrap();
        assert_eq!(texts(&buffer).await.len(), 3);
        drop(buffer);
        let buffer = open(dir.path());
        assert_eq!(buffer.recovered(), Recovered::default());
        assert_eq!(texts(&buffer).await.last().unwrap(), "3");
        assert_eq!(texts(&buffer).await.len(), 3);
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_or_read_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let buffer = open_faulty(&disk, dir.path(), DiskSettings::default());
    append(&buffer, &["durable"]).await.unwrap();
    disk.set(|faults| faults.sync_fails = true);
    let failed = append(&buffer, &["not known"]).await.unwrap_err();
    assert!(matches!(failed, AppendError::Failed(_)));
    disk.set(|faults| faults.sync_fails = false);
    let failed = append(&buffer, &["refused"]).await.unwrap_err();
    assert!(matches!(failed, AppendError::Failed(_)));
    assert!(buffer.failure().is_some());
    assert_eq!(texts(&buffer).await, ["durable"]);
    drop(buffer);
    let buffer = open_faulty(&disk, dir.path(), DiskSettings::default());
    append(&buffer, &["after"]).await.unwrap();
    let all = texts(&buffer).await;
    assert_eq!(
        (all.first().unwrap().as_str(), all.last().unwrap().as_str()),
        ("durable", "after")
    );
    assert!(!all.contains(&"refused".to_owned()));
}

#[tokio::test]
async fn appends_that_wait_together_share_one_sync_and_those_past_the_limit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let settings = DiskSettings {
        queue_appends: 21,
        ..DiskSettings::default()
    };
    let buffer = Arc::new(open_faulty(&disk, dir.path(), settings));
    disk.set(|faults| faults.hold = true);
    let mut waiting = Vec::new();
    for text in 0..21 {
        let mut append = Box::pin(buffer.append("host", records(&[&text.to_string()])));
        assert!(append.as_mut().now_or_never().is_none());
        waiting.push(append);
        if text == 0 {
            // The writer takes the first alone; the others find it waiting.
            while buffer.shared.queue.queued() > 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    let refused = append(&buffer, &["one too many"]).await.unwrap_err();
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    let no_reader_yet = buffer.usage().backlog;
    assert_eq!(no_reader_yet, 0, "nothing is readable before it is durable");
    disk.set(|faults| faults.hold = false);
    for answer in futures::future::join_all(waiting).await {
        answer.unwrap();
    }
    assert_eq!(disk.set(|faults| faults.syncs), 2);
    assert_eq!(texts(&buffer).await.len(), 21);
    append(&buffer, &["room again"]).await.unwrap();
}

#[tokio::test]
async fn the_bytes_that_wait_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let settings = DiskSettings {
        queue_bytes: 200,
        ..DiskSettings::default()
    };
    let buffer = open_faulty(&disk, dir.path(), settings);
    let long = "x".repeat(100);
    let too_long = append(&buffer, &[&long, &long]).await.unwrap_err();
    assert!(matches!(too_long, AppendError::Failed(_)), "{too_long}");
    disk.set(|faults| faults.hold = true);
    let mut first = Box::pin(buffer.append("host", records(&[&long])));
    assert!(first.as_mut().now_or_never().is_none());
    let refused = append(&buffer, &[&long]).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::Full { limit: 200, .. }),
        "{refused}"
    );
    disk.set(|faults| faults.hold = false);
    first.await.unwrap();
    append(&buffer, &[&long]).await.unwrap();
}

#[tokio::test]
async fn a_consumer_whose_epoch_has_ended_neither_reads_nor_commits() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["1", "2"]).await.unwrap();
    let mut old = buffer.consumer().await.unwrap();
    let batch = old.read(ALL).await.unwrap();
    let mut new = buffer.consumer().await.unwrap();
    let stale = old.commit(batch.position).await.unwrap_err();
    assert!(matches!(stale, ConsumeError::Stale { .. }));
    assert!(matches!(
        old.read(ALL).await,
        Err(ConsumeError::Stale { .. })
    ));
    let again = new.read(ALL).await.unwrap();
    assert_eq!(again.records, batch.records);
    assert!(matches!(
        new.commit(batch.position).await,
        Err(ConsumeError::Stale { .. })
    ));
    new.commit(again.position).await.unwrap();
    let beyond = Position {
        next: again.position.next + 1,
        ..again.position
    };
    assert!(new.commit(beyond).await.is_err());
}

#[tokio::test]
async fn a_waiting_consumer_is_told_that_another_has_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    let mut old = buffer.consumer().await.unwrap();
    let waiting = tokio::spawn(async move { old.read(ALL).await });
    let _new = buffer.consumer().await.unwrap();
    assert!(matches!(
        waiting.await.unwrap(),
        Err(ConsumeError::Stale { .. })
    ));
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["1", "2"]).await.unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    // Dropped while the disk is read, unless the disk was quicker.
    let first = match consumer.read(1).now_or_never() {
        Some(batch) => batch.unwrap(),
        None => consumer.read(1).await.unwrap(),
    };
    assert_eq!(first.records, records(&["1"]));
    assert_eq!(consumer.read(1).await.unwrap().records, records(&["2"]));
}

#[tokio::test]
async fn a_consumer_that_is_slow_holds_nobody_up_and_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        segment_bytes: 4_096,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir.path(), settings).unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    let mut read = Vec::new();
    for n in 0..500_u32 {
        append(&buffer, &[&n.to_string(), &"-".repeat(50)])
            .await
            .unwrap();
        if n % 100 == 0 {
            let batch = consumer.read(10).await.unwrap();
            read.extend(batch.records);
            consumer.commit(batch.position).await.unwrap();
        }
    }
    while read.len() < 1_000 {
        let batch = consumer.read(ALL).await.unwrap();
        read.extend(batch.records);
        consumer.commit(batch.position).await.unwrap();
    }
    let numbers: Vec<_> = read
        .iter()
        .step_by(2)
        .map(|r| String::from_utf8_lossy(r).into_owned())
        .collect();
    let expected: Vec<_> = (0..500_u32).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(
        segments(dir.path()).len(),
        1,
        "committed segments are deleted"
    );
}

#[tokio::test]
async fn a_folder_is_opened_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    let second = DiskBuffer::open(dir.path(), DiskSettings::default());
    assert!(matches!(second.err(), Some(OpenError::InUse(_))));
    assert!(verify(dir.path()).unwrap().in_use);
    drop(buffer);
    assert!(!verify(dir.path()).unwrap().in_use);
    open(dir.path());
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let header = format::SegmentHeader {
        version: format::VERSION + 1,
        first: 7,
        previous_end: 0,
    };
    let path = dir.path().join(segment_name(7));
    fs::write(&path, header.encode()).unwrap();
    let refused = DiskBuffer::open(dir.path(), DiskSettings::default());
    assert!(matches!(
        refused.err(),
        Some(OpenError::Newer { found: 2, .. })
    ));
    assert!(matches!(verify(dir.path()), Err(OpenError::Newer { .. })));
    assert_eq!(fs::read(&path).unwrap(), header.encode());
}

#[tokio::test]
async fn a_damaged_position_means_reading_from_the_oldest_record() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["1", "2"]).await.unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    let batch = consumer.read(1).await.unwrap();
    consumer.commit(batch.position).await.unwrap();
    drop((consumer, buffer));
    let position = dir.path().join("position");
    for offset in 0..fs::metadata(&position).unwrap().len() {
        flip(&position, offset);
        assert!(verify(dir.path()).unwrap().position_damaged);
        let buffer = open(dir.path());
        assert!(buffer.recovered().position_lost);
        assert_eq!(texts(&buffer).await, ["1", "2"]);
        drop(buffer);
        flip(&position, offset);
    }
    assert_eq!(texts(&open(dir.path())).await, ["2"]);
}

#[tokio::test]
async fn a_closed_buffer_refuses_appends_and_ends_its_readers_when_they_have_all() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    append(&buffer, &["1"]).await.unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    buffer.close();
    assert!(matches!(
        append(&buffer, &["2"]).await,
        Err(AppendError::Closed)
    ));
    assert_eq!(consumer.read(ALL).await.unwrap().records, records(&["1"]));
    assert!(matches!(
        consumer.read(ALL).await,
        Err(ConsumeError::Closed)
    ));
}
