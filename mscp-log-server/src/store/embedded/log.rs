//! What clients wrote and no commit has: the store's log.
//!
//! A commit of tantivy costs tens of milliseconds and leaves a segment that is
//! merged again and again; a client that is answered by one pays both for each
//! request. So a write is answered when it is durable in a log, and the commit
//! comes later. After a crash the log is read again.
//!
//! A record is what became of one document: it was put, or it is gone. Doing
//! the same again in the same order ends in the same state, wherever the
//! commit before the crash stood.
//!
//! | bytes | |
//! |---|---|
//! | 1 | 0: it is gone; 1: it was put |
//! | 2 | length of the index, little-endian |
//! | 2 | length of the id |
//! | | the index, the id, and the source where it was put |

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::dedup::Key;
use super::documents::{self, Document};
use super::ids::DocumentId;
use super::schema::Fields;
use super::writer::{Operation, Unavailable};
use crate::buffer::AppendError;
use crate::buffer::disk::OpenError;
use crate::buffer::disk::log::{Log, ReadError, Records};

/// The folder of the log in the store's.
pub(super) const FOLDER: &str = "log";

/// Writes are refused where more of the file system is in use, as those of the
/// buffer are.
const MAX_DISK_PERCENT: u8 = 95;

const GONE: u8 = 0;
const PUT: u8 = 1;

impl From<OpenError> for Unavailable {
    fn from(error: OpenError) -> Self {
        Self(error.to_string())
    }
}

impl From<AppendError> for Unavailable {
    fn from(error: AppendError) -> Self {
        Self(format!("the log of the store: {error}"))
    }
}

/// Open the log of the store in `folder`.
pub(super) fn open(folder: &Path) -> Result<Log, OpenError> {
    Log::open(&folder.join(FOLDER), MAX_DISK_PERCENT)
}

/// Note that a document was put, or that it is gone.
pub(super) fn note(records: &mut Records, key: &Key, document: Option<&Document>) {
    let id = key.id.to_string();
    records.push(|out| {
        let source = document.map_or(&[][..], Document::text);
        out.reserve(5 + key.index.len() + id.len() + source.len());
        out.push(if document.is_some() { PUT } else { GONE });
        for name in [&*key.index, &id] {
            // Both are checked to be at most 512 bytes before they come here.
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        }
        out.extend_from_slice(key.index.as_bytes());
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(source);
    });
}

/// The operations that lead to the state that the log tells of, some at a time.
pub(super) fn replay(
    log: &Log,
    fields: &Fields,
    mut each: impl FnMut(Vec<Operation>) -> Result<(), Unavailable>,
) -> Result<u64, Unavailable> {
    let mut names = HashMap::new();
    let mut count = 0;
    let read = log.read(|records| {
        let mut operations = Vec::with_capacity(records.len());
        for record in &records {
            match operation(record, fields, &mut names) {
                Some(operation) => operations.push(operation),
                // Its checksum is right: a fault of the program, which must
                // not keep the rest from being read.
                None => tracing::error!("a record of the store's log has no meaning"),
            }
        }
        count += operations.len() as u64;
        each(operations)
    });
    match read {
        Ok(()) => Ok(count),
        Err(ReadError::Given(reason)) => Err(reason),
        Err(ReadError::Log(error)) => Err(Unavailable(format!("the log of the store: {error}"))),
    }
}

fn operation(
    record: &[u8],
    fields: &Fields,
    names: &mut HashMap<Box<str>, Arc<str>>,
) -> Option<Operation> {
    let (head, rest) = record.split_at_checked(5)?;
    let length = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let (index, rest) = rest.split_at_checked(length(1))?;
    let (id, source) = rest.split_at_checked(length(3))?;
    let index = std::str::from_utf8(index).ok()?;
    let index = names.entry(index.into()).or_insert_with(|| index.into());
    let key = Key {
        index: Arc::clone(index),
        id: DocumentId::new(std::str::from_utf8(id).ok()?),
    };
    if head[0] == GONE {
        return Some(Operation::Delete { key });
    }
    let given = documents::Id::Given(key.id.clone());
    let mut document = documents::prepare(source, fields, given).ok()?.document;
    document.set_index(fields, &key.index);
    Some(Operation::Put {
        key,
        document,
        create: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::schema::schema;
    use super::*;

    #[test]
    fn a_record_says_what_became_of_a_document() {
        let (_, fields) = schema();
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path()).unwrap();
        let key = |id: &str| Key {
            index: "日-2018.01.24".into(),
            id: DocumentId::new(id),
        };
        let source = br#"{"message":"up"}"#;
        let given = documents::Id::Given(DocumentId::new("a"));
        let document = documents::prepare(source, &fields, given).unwrap().document;
        let mut records = Records::default();
        note(&mut records, &key("a"), Some(&document));
        note(&mut records, &key("00ff00ff00ff00ff00ff00ff00ff00ff"), None);
        log.append(records, |result| result.unwrap()).unwrap();
        let mut found = Vec::new();
        let each = |operations| {
            found.extend(operations);
            Ok(())
        };
        assert_eq!(replay(&log, &fields, each).unwrap(), 2);
        let [put, gone] = &found[..] else {
            panic!("{} operations", found.len())
        };
        let Operation::Put {
            key: of_put,
            document,
            create: false,
        } = put
        else {
            panic!("no put")
        };
        assert_eq!((of_put, document.text()), (&key("a"), &source[..]));
        let Operation::Delete { key: of_gone } = gone else {
            panic!("no delete")
        };
        assert_eq!(of_gone, &key("00ff00ff00ff00ff00ff00ff00ff00ff"));
    }
}
