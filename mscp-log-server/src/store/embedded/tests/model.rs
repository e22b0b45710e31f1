//! Any sequence of batches, writes, deletions and crashes against a plain map.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::Request;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Indices that only clients write.
const INDICES: [&str; 3] = ["a-2018.01.24", "b-2018.01.24", "plain"];

#[derive(Clone, Debug)]
enum Step {
    /// The next records of the buffer: which event, on which day.
    Bulk(Vec<(u64, i64)>),
    Put {
        index: usize,
        id: u8,
        create: bool,
        seq: u8,
    },
    Delete {
        index: usize,
        id: u8,
    },
    DeleteIndex(usize),
    Refresh,
    /// The process dies, and the buffer is read again from a little before
    /// what was durable.
    Crash {
        behind: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (index, id) = (0..INDICES.len(), 0_u8..3);
    prop_oneof![
        4 => prop::collection::vec((0_u64..12, 0_i64..6), 1..6).prop_map(Step::Bulk),
        4 => (index.clone(), id.clone(), any::<bool>(), any::<u8>())
            .prop_map(|(index, id, create, seq)| Step::Put { index, id, create, seq }),
        2 => (index.clone(), id).prop_map(|(index, id)| Step::Delete { index, id }),
        1 => index.prop_map(Step::DeleteIndex),
        1 => Just(Step::Refresh),
        2 => (0_usize..3).prop_map(|behind| Step::Crash { behind }),
    ]
}

#[derive(Default)]
struct Model {
    /// What clients wrote: (index, id) and the `seq` of the document.
    written: BTreeMap<(usize, u8), u8>,
    /// The days of each event that came through the buffer.
    shipped: BTreeSet<(u64, i64)>,
    /// Every batch of the buffer so far.
    batches: Vec<Batch>,
}

impl Model {
    fn total(&self) -> u64 {
        (self.written.len() + self.shipped.len()) as u64
    }
}

fn patient(folder: &Path) -> EmbeddedStore {
    let settings = Settings {
        // Only what the test does commits, so that a crash finds the same each time.
        commit_interval: Duration::from_secs(3_600),
        ..Settings::default()
    };
    EmbeddedStore::open(folder, settings, DeadLetters::below(folder)).unwrap()
}

async fn call(store: &EmbeddedStore, method: &str, uri: &str, body: String) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/json");
    let request = request.body(Body::from(body)).unwrap();
    let (parts, body) = store.call(request).await.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (parts.status.as_u16(), body)
}

async fn run(steps: Vec<Step>) {
    let mut folder = tempfile::tempdir().unwrap();
    let mut store = patient(folder.path());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Bulk(events) => {
                let first = model.batches.last().map_or(0, |batch| batch.position.next);
                let records = events.iter().map(|(event, day)| {
                    record(*event, FIRST_DAY_US + day * DAY_US + *event as i64, "")
                });
                let batch = batch(first, records.collect());
                store.bulk(batch.clone()).await.unwrap();
                model.batches.push(batch);
                model.shipped.extend(events);
            }
            Step::Put {
                index,
                id,
                create,
                seq,
            } => {
                let endpoint = if create { "_create" } else { "_doc" };
                let uri = format!("/{}/{endpoint}/{id}", INDICES[index]);
                let body = format!(r#"{{"seq":{seq}}}"#);
                let (status, _) = call(&store, "PUT", &uri, body).await;
                let there = model.written.contains_key(&(index, id));
                let expect = match (there, create) {
                    (true, true) => 409,
                    (true, false) => 200,
                    (false, _) => 201,
                };
                assert_eq!(status, expect, "{uri}");
                if !(there && create) {
                    model.written.insert((index, id), seq);
                }
            }
            Step::Delete { index, id } => {
                let uri = format!("/{}/_doc/{id}", INDICES[index]);
                let (status, _) = call(&store, "DELETE", &uri, String::new()).await;
                let there = model.written.remove(&(index, id)).is_some();
                assert_eq!(status, if there { 200 } else { 404 }, "{uri}");
            }
            Step::DeleteIndex(index) => {
                let uri = format!("/{}", INDICES[index]);
                call(&store, "DELETE", &uri, String::new()).await;
                model.written.retain(|(written, _), _| *written != index);
            }
            Step::Refresh => store.writer.refresh().await.unwrap(),
            Step::Crash { behind } => {
                let durable = *store.durable(0).borrow();
                let copy = crashed(folder.path());
                drop(store);
                folder = copy;
                store = patient(folder.path());
                let read = model.batches.iter();
                let kept = read
                    .take_while(|batch| batch.position.next <= durable)
                    .count();
                for batch in &model.batches[kept.saturating_sub(behind)..] {
                    store.bulk(batch.clone()).await.unwrap();
                }
            }
        }
    }
    store.writer.refresh().await.unwrap();
    assert_eq!(total(&store), model.total());
    let end = model.batches.last().map_or(0, |batch| batch.position.next);
    let durable = *store.durable(0).borrow();
    assert!(durable == end || durable == 0, "{durable} of {end}");
    for ((index, id), seq) in &model.written {
        let uri = format!("/{}/_doc/{id}", INDICES[*index]);
        let (_, found) = call(&store, "GET", &uri, String::new()).await;
        assert_eq!(found["_source"]["seq"], *seq, "{uri}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_store_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
