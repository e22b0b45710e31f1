//! Partitions for tests, without the store around them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use tantivy::IndexWriter;

use super::documents;
use super::ids::DocumentId;
use super::partition::{Partition, PartitionSnapshot};
use super::patterns::Lately;

/// A partition in `folder` with these documents, each inner slice a segment of
/// its own: (`_index`, `_id`, source).
pub(crate) fn partition(
    folder: &Path,
    name: &str,
    segments: &[&[(&str, &str, &str)]],
) -> Arc<PartitionSnapshot> {
    let partition = Partition::open(&folder.join(name), name).unwrap();
    fill(&partition, segments);
    partition.snapshot()
}

/// Add these documents to a partition, as [`partition`] does.
pub(crate) fn fill(partition: &Partition, segments: &[&[(&str, &str, &str)]]) {
    let fields = Arc::clone(&partition.snapshot().fields);
    let mut lately = Lately::default();
    let mut writer: IndexWriter = partition
        .index
        .writer_with_num_threads(1, 15_000_000)
        .unwrap();
    writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
    for segment in segments {
        for (index, id, source) in *segment {
            let id = documents::Id::Given(DocumentId::new(id));
            let mut prepared = documents::prepare(source.as_bytes(), &fields, id).unwrap();
            prepared.document.set_index(&fields, index);
            let document = prepared.document.finish(&fields, &mut lately);
            writer.add_document(document).unwrap();
        }
        writer.commit().unwrap();
    }
    partition.publish().unwrap();
}

#[test]
fn a_partition_of_format_1_is_read_and_written_further() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("2018.01.24");
    let sources: Vec<String> = (0..6)
        .map(|n| format!(r#"{{"event_id":"{n:032x}","message":"took {n} ms","level":"info"}}"#))
        .collect();
    let ids: Vec<String> = (0..6).map(|n| format!("{n:032x}")).collect();
    let documents: Vec<(&str, &str, &str)> = ids
        .iter()
        .zip(&sources)
        .map(|(id, source)| ("i-2018.01.24", id.as_str(), source.as_str()))
        .collect();
    let old = Partition::open_format_1(&path, "2018.01.24").unwrap();
    fill(&old, &[&documents[..3]]);
    drop(old);
    let again = Partition::open(&path, "2018.01.24").unwrap();
    fill(&again, &[&documents[3..]]);
    let snapshot = again.snapshot();
    let mut found = Vec::new();
    for segment_ord in 0..2 {
        for doc_id in 0..3 {
            let address = tantivy::DocAddress::new(segment_ord, doc_id);
            found.push(String::from_utf8(snapshot.source(address).unwrap()).unwrap());
        }
    }
    found.sort();
    assert_eq!(found, sources);
}

#[test]
fn a_source_is_read_from_a_partition_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let id = "00ff00ff00ff00ff00ff00ff00ff00ff";
    let sources = [
        format!(
            r#"{{"@timestamp":"2018-01-24T11:13:39.231Z","realtime_us":1516792419231221,"event_id":"{id}","message":"up \u00e9","x":[1]}}"#
        ),
        r#"{"@timestamp": "2018-01-24", "log.file.path": "/a", "other": {"deep": 1}}"#.to_owned(),
    ];
    let snapshot = partition(
        folder.path(),
        "2018.01.24",
        &[&[
            ("i-2018.01.24", id, &sources[0]),
            ("i-2018.01.24", "my id", &sources[1]),
        ]],
    );
    let address = |doc_id| tantivy::DocAddress {
        segment_ord: 0,
        doc_id,
    };
    for (doc, source) in (0..).zip(&sources) {
        assert_eq!(snapshot.source(address(doc)).unwrap(), source.as_bytes());
    }
    assert_eq!(snapshot.ids(0).id(0).to_string(), id);
    assert_eq!(snapshot.ids(0).id(1).to_string(), "my id");
    let one = (1_516_792_419_231_221, 1_516_792_419_231_221);
    assert_eq!(snapshot.realtime_us, Some(one));
}

mod sources {
    use mscp_log_core::field::{FIELDS, FieldType};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scalar(kind: FieldType) -> BoxedStrategy<Value> {
        match kind {
            FieldType::Long => prop_oneof![
                (-5_i64..5).prop_map(Value::from),
                any::<i64>().prop_map(Value::from),
                Just(json!("12")),
                Just(json!(3.0)),
                Just(Value::Null),
            ]
            .boxed(),
            FieldType::Date => prop_oneof![
                Just(json!("1970-01-01T00:00:00.000Z")),
                Just(json!("1970-01-01")),
                (0_i64..3).prop_map(Value::from),
            ]
            .boxed(),
            FieldType::Keyword | FieldType::Text => prop_oneof![
                "[ab]{0,2}".prop_map(Value::from),
                ".{0,6}".prop_map(Value::from),
                Just(json!("\"realtime_us\":1,")),
                any::<bool>().prop_map(Value::from),
                Just(json!(1.5)),
            ]
            .boxed(),
            FieldType::Flattened => prop_oneof![
                Just(json!({"realtime_us": 1, "ingest_us": 1})),
                Just(json!({"a": ["b", 1], "c": {"d": null}})),
            ]
            .boxed(),
        }
    }

    fn member() -> impl Strategy<Value = (String, Value)> {
        let known: Vec<_> = FIELDS
            .iter()
            .filter(|(name, _)| *name != "event_id")
            .collect();
        let field = prop::sample::select(known).prop_flat_map(|(name, kind)| {
            let one = scalar(*kind);
            let values = prop_oneof![
                4 => one.clone(),
                1 => prop::collection::vec(one, 0..3).prop_map(Value::from),
            ];
            values.prop_map(|value| ((*name).to_owned(), value))
        });
        prop_oneof![
            20 => field,
            1 => Just(("log".to_owned(), json!({"file": {"path": "a"}, "offset": 1}))),
            1 => Just(("other".to_owned(), json!({"realtime_us": 1, "level": "a"}))),
            // What the system writes, so that all cuts are met together.
            3 => Just(("realtime_us".to_owned(), json!(1))),
            3 => Just(("@timestamp".to_owned(), json!("1970-01-01T00:00:00.000Z"))),
        ]
    }

    fn document() -> impl Strategy<Value = (u128, String)> {
        let members = prop::collection::vec(member(), 0..12);
        (any::<u128>(), any::<bool>(), any::<bool>(), members).prop_map(
            |(id, own_id, pretty, members)| {
                let mut object: serde_json::Map<String, Value> = members.into_iter().collect();
                if own_id {
                    object.insert("event_id".to_owned(), format!("{id:032x}").into());
                }
                let object = Value::Object(object);
                let text = if pretty {
                    format!("{object:#}")
                } else {
                    object.to_string()
                };
                (id, text)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_source_comes_back_byte_for_byte(
            documents in prop::collection::vec(document(), 1..40),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let ids: Vec<String> = documents.iter().map(|(id, _)| format!("{id:032x}")).collect();
            let written: Vec<(&str, &str, &str)> = documents
                .iter()
                .zip(&ids)
                .map(|((_, source), id)| ("a", id.as_str(), source.as_str()))
                .collect();
            let middle = written.len() / 2;
            let snapshot = partition(folder.path(), "p", &[&written[..middle], &written[middle..]]);
            let mut found: Vec<String> = Vec::new();
            for (segment_ord, segment) in (0..).zip(snapshot.searcher.segment_readers()) {
                for doc_id in 0..segment.max_doc() {
                    let address = tantivy::DocAddress { segment_ord, doc_id };
                    let source = String::from_utf8(snapshot.source(address).unwrap()).unwrap();
                    found.push(format!("{} {source}", snapshot.ids(segment_ord).id(doc_id)));
                }
            }
            let mut expect: Vec<String> =
                written.iter().map(|(_, id, source)| format!("{id} {source}")).collect();
            found.sort();
            expect.sort();
            prop_assert_eq!(found, expect);
        }
    }
}
