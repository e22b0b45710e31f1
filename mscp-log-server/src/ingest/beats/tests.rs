#![allow(clippy::unwrap_used, reason = "tests")]
//! Connections over a pipe in memory, with a buffer that can refuse.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::buffer::AppendError;
use crate::ingest::testing::{self, Memory};
use crate::lumberjack::{ACK_BYTES, Version, ack, write_window};

/// A listener without a socket.
struct Scene {
    memory: Arc<Memory>,
    shared: Arc<Shared>,
}

/// A sender on one end of a pipe.
struct Sender {
    pipe: DuplexStream,
    connection: JoinHandle<Gone>,
}

fn scene() -> Scene {
    scene_with(1_000, 10_000)
}

fn scene_with(event_bytes: usize, pending_bytes: usize) -> Scene {
    scene_of(event_bytes, pending_bytes, Duration::from_secs(60))
}

/// Where peers are let go soon.
fn impatient() -> Scene {
    scene_of(1_000, 10_000, Duration::from_millis(300))
}

fn scene_of(event_bytes: usize, pending_bytes: usize, idle: Duration) -> Scene {
    let (pipeline, memory) = testing::pipeline();
    let limits = Limits {
        event_bytes,
        frame_bytes: 64 << 20,
    };
    let shared = Shared {
        pipeline,
        limits,
        room: Arc::new(Semaphore::new(pending_bytes)),
        idle,
        keep_alive: Duration::from_millis(20),
        pause: Duration::from_millis(50),
        bind_hosts: false,
        closing: CancellationToken::new(),
    };
    let shared = Arc::new(shared);
    Scene { memory, shared }
}

impl Scene {
    fn connect(&self) -> Sender {
        let (pipe, served) = tokio::io::duplex(64 << 10);
        let connection = Connection::new(served, None, Arc::clone(&self.shared));
        Sender {
            pipe,
            connection: tokio::spawn(connection.run()),
        }
    }

    fn messages(&self) -> Vec<String> {
        let text = |record: Value| record["message"].as_str().unwrap().to_owned();
        self.memory.records().into_iter().map(text).collect()
    }

    /// Nothing of the room is held.
    fn is_idle(&self, pending_bytes: usize) -> bool {
        self.shared.room.available_permits() == pending_bytes
    }
}

impl Sender {
    async fn window(&mut self, events: &[Vec<u8>]) {
        let mut bytes = Vec::new();
        write_window(&mut bytes, events, 3).unwrap();
        self.pipe.write_all(&bytes).await.unwrap();
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    /// The next answer.
    async fn answer(&mut self) -> [u8; ACK_BYTES] {
        let mut frame = [0; ACK_BYTES];
        self.pipe.read_exact(&mut frame).await.unwrap();
        frame
    }

    /// The first answer that is for so many events.
    async fn last_answer(&mut self, events: u32) -> [u8; ACK_BYTES] {
        loop {
            let answer = self.answer().await;
            if answer == ack(Version::Two, events) {
                return answer;
            }
        }
    }

    /// Hang up, and say how it ended.
    async fn end(self) -> Gone {
        drop(self.pipe);
        self.connection.await.unwrap()
    }
}

fn event(message: &str) -> Vec<u8> {
    json!({"message": message, "@metadata": {"beat": "filebeat"}, "host": {"name": "n1"},
        "log": {"offset": 7, "file": {"path": "/x.log"}}})
    .to_string()
    .into_bytes()
}

fn plain(sequence: u32, event: &[u8]) -> Vec<u8> {
    let length = u32::try_from(event.len()).unwrap().to_be_bytes();
    [b"2J", &sequence.to_be_bytes()[..], &length, event].concat()
}

const TWO: Version = Version::Two;

#[tokio::test]
async fn a_window_is_answered_when_the_buffer_has_it() {
    let scene = scene();
    let mut sender = scene.connect();
    sender.window(&[event("a"), event("b")]).await;
    assert_eq!(sender.answer().await, ack(TWO, 2));
    assert_eq!(scene.messages(), ["a", "b"]);
    sender.window(&[event("c")]).await;
    assert_eq!(sender.answer().await, ack(TWO, 1));
    assert_eq!(scene.messages(), ["a", "b", "c"]);
    assert!(matches!(sender.end().await, Gone::Closed));
    assert!(scene.is_idle(10_000));
}

#[tokio::test]
async fn an_empty_window_is_answered_with_zero() {
    let scene = scene();
    let mut sender = scene.connect();
    sender.send(b"2W\0\0\0\0").await;
    assert_eq!(sender.answer().await, ack(TWO, 0));
}

#[tokio::test]
async fn while_the_buffer_is_full_the_sender_is_told_to_wait_and_nothing_is_lost() {
    let scene = scene();
    scene
        .memory
        .refuse(|| AppendError::Full { used: 1, limit: 1 });
    let mut sender = scene.connect();
    sender.window(&[event("a"), event("b")]).await;
    for _ in 0..20 {
        assert_eq!(sender.answer().await, ack(TWO, 0));
    }
    assert!(scene.messages().is_empty());
    scene.memory.take_again();
    let mut answer = sender.answer().await;
    while answer == ack(TWO, 0) {
        answer = sender.answer().await;
    }
    assert_eq!(answer, ack(TWO, 2));
    assert_eq!(scene.messages(), ["a", "b"]);
}

#[tokio::test]
async fn a_sender_of_version_1_is_answered_once_and_for_the_whole_window_only() {
    let scene = scene();
    scene.memory.refuse(|| AppendError::DiskFull);
    let mut sender = scene.connect();
    let pairs: [&[u8]; 4] = [
        b"1W\0\0\0\x01",
        b"1D\0\0\x01\x07\0\0\0\x02",
        b"\0\0\0\x04line\0\0\0\x02up",
        b"\0\0\0\x04host\0\0\0\x02n1",
    ];
    sender.send(&pairs.concat()).await;
    while scene.memory.refusals() < 4 {
        tokio::task::yield_now().await;
    }
    scene.memory.take_again();
    // Its own number, as a sender of version 1 counts on over its windows.
    assert_eq!(sender.answer().await, ack(Version::One, 0x107));
    assert_eq!(scene.messages(), ["up"]);
}

#[tokio::test]
async fn a_part_of_a_window_of_version_1_is_kept_and_not_answered() {
    let scene = scene();
    let mut sender = scene.connect();
    let event = |sequence: u8| {
        let head = [b'1', b'D', 0, 0, 0, sequence, 0, 0, 0, 1];
        [&head[..], b"\0\0\0\x04line\0\0\0\x01", &[b'a' + sequence]].concat()
    };
    sender.send(b"1W\0\0\0\x03").await;
    sender.send(&[event(1), event(2)].concat()).await;
    while scene.messages().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sender.send(&event(3)).await;
    assert_eq!(sender.answer().await, ack(Version::One, 3));
    assert_eq!(scene.messages(), ["b", "c", "d"]);
}

#[tokio::test]
async fn a_buffer_that_failed_ends_the_connection_without_an_answer() {
    let scene = scene();
    scene
        .memory
        .refuse(|| AppendError::Failed("no disk".to_owned()));
    let mut sender = scene.connect();
    sender.window(&[event("a")]).await;
    let mut rest = Vec::new();
    sender.pipe.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert!(matches!(sender.end().await, Gone::Buffer(_)));
    assert!(scene.is_idle(10_000));
}

#[tokio::test]
async fn what_cannot_be_an_event_does_not_hold_its_window_up() {
    let scene = scene();
    let mut sender = scene.connect();
    let large = event(&"x".repeat(2_000));
    let events = [
        event("before"),
        b"[1]".to_vec(),
        large,
        b"{\"message\":".to_vec(),
        Vec::new(),
        event("behind"),
    ];
    sender.window(&events).await;
    assert_eq!(sender.answer().await, ack(TWO, 6));
    // What is no event is kept as it came; what is too large is not.
    assert_eq!(
        scene.messages(),
        ["before", "[1]", "{\"message\":", "behind"]
    );
    let tags = json!(["_timeofreceipt", "_jsonparsefailure"]);
    assert_eq!(scene.memory.records()[1]["tags"], tags);
    let seqs: Vec<_> = scene
        .memory
        .records()
        .iter()
        .map(|one| one["seq"].clone())
        .collect();
    assert_eq!(seqs, [7, 1, 3, 7]);
}

#[tokio::test]
async fn records_too_large_for_the_buffer_are_refused_and_the_others_go_in_groups() {
    let scene = scene_with(17 << 20, 64 << 20);
    let mut sender = scene.connect();
    // Without a message its fields are the message, and annotations, each escaped.
    let escaped = json!({"a": "\u{1}".repeat(2_700_000)})
        .to_string()
        .into_bytes();
    let medium = event(&"x".repeat(3 << 20));
    let events = [medium.clone(), escaped, medium.clone(), medium];
    sender.window(&events).await;
    assert_eq!(sender.last_answer(4).await, ack(TWO, 4));
    assert_eq!(scene.messages().len(), 3);
    assert_eq!(scene.memory.appends(), 3);
}

#[tokio::test]
async fn a_window_larger_than_the_room_goes_in_parts_that_are_answered() {
    let scene = scene_with(1_000, 3_000);
    let mut sender = scene.connect();
    let events: Vec<_> = (0..50)
        .map(|n| event(&format!("{n} {}", "x".repeat(500))))
        .collect();
    sender.window(&events).await;
    let mut answers = Vec::new();
    while answers.last() != Some(&50) {
        answers.push(crate::lumberjack::read_ack(sender.answer().await).unwrap());
    }
    assert!(answers.len() > 10, "{answers:?}");
    assert!(answers.is_sorted(), "{answers:?}");
    assert_eq!(scene.messages().len(), 50);
    assert!(scene.is_idle(3_000));
}

#[tokio::test]
async fn connections_that_hold_all_the_room_let_the_others_in_again() {
    // Room for one event at a time.
    let scene = scene_with(1_000, 1_300);
    let mut senders: Vec<_> = (0..8).map(|_| scene.connect()).collect();
    // Each has begun an event that it does not end.
    for sender in &mut senders {
        let begun = plain(1, &event(&"y".repeat(700)));
        sender.send(b"2W\0\0\0\x02").await;
        sender.send(&begun[..50]).await;
    }
    // All but one wait, and are told to.
    let mut waiting = 0;
    for sender in &mut senders {
        let told = tokio::time::timeout(Duration::from_millis(200), sender.answer()).await;
        waiting += told
            .into_iter()
            .filter(|answer| *answer == ack(TWO, 0))
            .count();
    }
    assert_eq!(waiting, 7);
    // The one that holds the room ends its window; so can the others then.
    let mut ends = JoinSet::new();
    for mut sender in senders {
        ends.spawn(async move {
            let begun = plain(1, &event(&"y".repeat(700)));
            sender.send(&begun[50..]).await;
            sender.send(&plain(2, &event("z"))).await;
            while sender.answer().await != ack(TWO, 2) {}
        });
    }
    ends.join_all().await;
    assert_eq!(scene.messages().len(), 16);
}

#[tokio::test]
async fn a_sender_that_pauses_inside_a_window_is_answered_for_what_came() {
    let scene = scene();
    let mut sender = scene.connect();
    sender.send(b"2W\0\0\x10\0").await;
    sender.send(&plain(1, &event("a"))).await;
    sender.send(&plain(2, &event("b"))).await;
    assert_eq!(sender.answer().await, ack(TWO, 2));
    sender.send(&plain(3, &event("c"))).await;
    assert_eq!(sender.answer().await, ack(TWO, 3));
    // A new window before the end of the old one.
    sender.send(&plain(4, &event("d"))).await;
    sender.send(b"2W\0\0\0\x01").await;
    assert_eq!(sender.answer().await, ack(TWO, 4));
    sender.send(&plain(1, &event("e"))).await;
    assert_eq!(sender.answer().await, ack(TWO, 1));
    // The window goes on until another is announced.
    sender.send(&plain(2, &event("f"))).await;
    assert_eq!(sender.answer().await, ack(TWO, 2));
    assert_eq!(scene.messages(), ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn peers_that_send_nothing_or_no_whole_event_for_too_long_are_let_go() {
    let scene = impatient();
    let silent = scene.connect();
    let mut half = scene.connect();
    half.send(b"2W\0\0\0\x01").await;
    let Sender {
        mut pipe,
        connection,
    } = half;
    // One byte now and then is not enough.
    let trickle = async {
        for byte in plain(1, &event("a")) {
            if pipe.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it was let go before");
    };
    let (gone, ()) = tokio::join!(connection, trickle);
    assert!(matches!(gone.unwrap(), Gone::Idle));
    assert!(matches!(silent.connection.await.unwrap(), Gone::Idle));
    assert!(scene.is_idle(10_000));
}

#[tokio::test]
async fn a_slow_sender_whose_events_come_whole_is_not_let_go() {
    let scene = impatient();
    let mut sender = scene.connect();
    // Of version 1, which gets no answer before the end.
    sender.send(b"1W\0\0\0\x0a").await;
    for sequence in 1..=10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut one = plain(sequence, &event("slow"));
        one[0] = b'1';
        sender.send(&one).await;
    }
    assert_eq!(sender.answer().await, ack(Version::One, 10));
    assert_eq!(scene.messages().len(), 10);
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_let_go() {
    let scene = impatient();
    let (mut pipe, served) = tokio::io::duplex(8);
    let connection = Connection::new(served, None, Arc::clone(&scene.shared));
    let connection = tokio::spawn(connection.run());
    let windows = async {
        let empty = b"2W\0\0\0\0".repeat(4);
        let _ = pipe.write_all(&empty).await;
        pipe
    };
    let (_pipe, gone) = tokio::join!(windows, connection);
    assert!(matches!(gone.unwrap(), Gone::Idle));
}

#[tokio::test]
async fn what_is_no_lumberjack_ends_the_connection() {
    let scene = scene();
    let mut sender = scene.connect();
    sender.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(sender.end().await, Gone::Protocol(_)));
    let mut sender = scene.connect();
    sender.send(&plain(1, &event("a"))).await;
    assert!(matches!(sender.end().await, Gone::NoWindow));
    assert!(scene.messages().is_empty());
}

#[tokio::test]
async fn a_stopping_node_lets_go_of_who_waits() {
    let scene = scene();
    scene.memory.refuse(|| AppendError::DiskFull);
    let mut waiting = scene.connect();
    waiting.window(&[event("a")]).await;
    let silent = scene.connect();
    assert_eq!(waiting.answer().await, ack(TWO, 0));
    scene.shared.closing.cancel();
    assert!(matches!(waiting.connection.await.unwrap(), Gone::Stopping));
    assert!(matches!(silent.connection.await.unwrap(), Gone::Stopping));
}

#[tokio::test]
async fn a_window_that_is_sent_again_has_the_same_ids_and_the_same_order() {
    let scene = scene();
    let with_time = |n: u32| {
        json!({"message": format!("line {n}"), "@timestamp": "2017-05-09T09:59:23.862Z",
            "container": {"id": "905f"}, "host": {"name": "n1"}})
        .to_string()
        .into_bytes()
    };
    let events: Vec<_> = (0..3).map(with_time).collect();
    for _ in 0..2 {
        let mut sender = scene.connect();
        sender.window(&events).await;
        assert_eq!(sender.answer().await, ack(TWO, 3));
    }
    let of = |record: &Value| (record["event_id"].clone(), record["seq"].clone());
    let kept: Vec<_> = scene.memory.records().iter().map(of).collect();
    assert_eq!(kept[..3], kept[3..]);
    assert_eq!(kept[2].1, 2);
}
