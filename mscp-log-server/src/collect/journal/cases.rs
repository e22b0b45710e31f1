#![allow(clippy::unwrap_used, reason = "tests")]
//! Entries of the journal, from what `journalctl -o json` writes to the
//! document: `collect/cases/journal-*.json`.

use serde_json::Value;

use super::*;
use crate::cases::{check, cleaned, machine};

/// The chunk that comes of these lines of `journalctl`.
async fn read(raw: &Value) -> Vec<Value> {
    let (_folder, machine) = machine();
    let (items, mut handed_over) = mpsc::channel(1);
    let max_bytes = raw["max_line_bytes"].as_u64().unwrap_or(1 << 20);
    let journal = Journal {
        max_bytes: usize::try_from(max_bytes).unwrap(),
        ..Journal::of_this_machine()
    };
    let trouble = Trouble::default();
    let mut source = Source::new(journal, machine, Positions::default(), items, trouble);
    let mut join = Join::new(source.journal.max_bytes);
    let mut batch = Batch::new();
    for entry in raw["entries"].as_array().unwrap() {
        source.take(entry.to_string().as_bytes(), &mut join, &mut batch);
    }
    for record in join.overdue(Duration::ZERO) {
        source.add(record, &mut batch);
    }
    assert!(source.send(&mut batch, &join).await.is_ok());
    let chunk = handed_over.try_recv().unwrap().pop().unwrap();
    let chunk = chunk.chunk().unwrap();
    if crate::collect::keep::is_place(chunk) {
        return Vec::new();
    }
    cleaned(chunk)
}

#[tokio::test]
async fn entries_of_the_journal_make_the_documents_of_the_cases() {
    check("collect/cases", "journal-", 12, read).await;
}
