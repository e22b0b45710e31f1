//! Partitions for tests, without the store around them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use tantivy::IndexWriter;

use super::documents;
use super::ids::DocumentId;
use super::partition::{Partition, PartitionSnapshot};
use super::schema::schema;

/// A partition in `folder` with these documents, each inner slice a segment of
/// its own: (`_index`, `_id`, source).
pub(crate) fn partition(
    folder: &Path,
    name: &str,
    segments: &[&[(&str, &str, &str)]],
) -> Arc<PartitionSnapshot> {
    let (_, fields) = schema();
    let partition = Partition::open(&folder.join(name), name).unwrap();
    let mut writer: IndexWriter = partition
        .index
        .writer_with_num_threads(1, 15_000_000)
        .unwrap();
    writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
    for segment in segments {
        for (index, id, source) in *segment {
            let id = documents::Id::Given(DocumentId::new(id));
            let mut prepared = documents::prepare(source.as_bytes(), &fields, id).unwrap();
            prepared.document.add_text(fields.index, index);
            writer.add_document(prepared.document).unwrap();
        }
        writer.commit().unwrap();
    }
    partition.publish().unwrap();
    partition.snapshot()
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
