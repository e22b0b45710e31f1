//! The promises of the disk buffer, each under the fault that would break it.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::buffer::Position;

fn open(dir: &Path) -> DiskBuffer {
    DiskBuffer::open(dir, DiskSettings::default()).unwrap()
}

fn records(texts: &[&str]) -> Vec<Bytes> {
    texts
        .iter()
        .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        .collect()
}

#[tokio::test]
async fn what_was_appended_is_read_in_order_and_after_a_commit_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path());
    buffer.append("a", records(&["1", "2"])).await.unwrap();
    buffer.append("a", records(&["3"])).await.unwrap();
    let mut consumer = buffer.consumer().await.unwrap();
    let batch = consumer.read(1 << 20).await.unwrap();
    assert_eq!(batch.records, records(&["1", "2", "3"]));
    assert_eq!(batch.position.next, batch.first + 3);
    assert_eq!(buffer.usage().backlog, 3);
    let two = Position {
        next: batch.first + 1,
        ..batch.position
    };
    consumer.commit(two).await.unwrap();
    assert_eq!(buffer.usage().backlog, 2);
    drop(consumer);
    drop(buffer);

    let buffer = open(dir.path());
    assert_eq!(buffer.recovered(), Recovered::default());
    let mut consumer = buffer.consumer().await.unwrap();
    let again = consumer.read(1 << 20).await.unwrap();
    assert_eq!(again.first, batch.first + 1);
    assert_eq!(again.records, records(&["2", "3"]));
    consumer.commit(again.position).await.unwrap();
    buffer.append("a", records(&["4"])).await.unwrap();
    let last = consumer.read(1 << 20).await.unwrap();
    assert_eq!(last.records, records(&["4"]));
    assert!(
        last.first > again.position.next,
        "numbers go on above the old ones"
    );
}
