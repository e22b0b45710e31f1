//! The records of a backup put into a running node, beside what it has. Every
//! document keeps its index and its id, so what is there already stays as it
//! is, and a restore that broke off is simply begun again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::archive::ArchiveError;
use super::{Backups, LETTERS, UNPACKED, remove_folder, unpack};
use crate::buffer::dead_letters::{self, DeadLetters, LettersError};
use crate::buffer::disk::{DiskBuffer, DiskSettings};
use crate::buffer::{AppendError, Buffer as _, ConsumeError};
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, Settings, Stored};

/// Bytes of sources that one bulk request has, about.
const BULK_BYTES: usize = 4 << 20;

/// Bulk requests that wait for the store.
const BULKS_AHEAD: usize = 2;

/// Memory of the writers of a store that is only read; the least there is.
const WRITER_BYTES: u64 = 1;

/// A region of this node that the backup has records of.
struct Region {
    name: String,
    store: Arc<dyn Store>,
}

/// What a restore into a running node has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Documents of the backup's stores that were looked at.
    pub documents: u64,
    /// Of these, the ones that were not there before.
    pub created: u64,
    /// How many documents the backup's stores have.
    pub total: u64,
    /// Records that waited in the backup's buffer, and now do in this one.
    pub buffered: u64,
}

/// Why a backup was not put into the node, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A backup or a restore goes on.
    #[error("a backup or a restore is under way; try again when it is done")]
    Busy,
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The backup has records of a region that this node does not serve.
    #[error("the backup has records of region {0}, which this node does not serve")]
    NoRegion(String),
    /// The store did not take a document.
    #[error("the store of region {region} did not take {id} into {index}: {reason}")]
    Refused {
        /// The region.
        region: String,
        /// The document's index.
        index: String,
        /// The document's id.
        id: String,
        /// What the store said.
        reason: String,
    },
    /// The buffer did not take the records that waited in the backup's.
    #[error("the records that waited in the backup's buffer: {0}")]
    Buffer(#[from] AppendError),
    /// The dead letters of the backup or of this node.
    #[error("the dead letters: {0}")]
    Letters(String),
    /// Something of the unpacked backup cannot be read.
    #[error("the unpacked backup: {0}")]
    Unreadable(String),
}

impl From<std::io::Error> for MergeError {
    fn from(error: std::io::Error) -> Self {
        ArchiveError::Io(error).into()
    }
}

impl Backups {
    /// Put the records of an archive into the node's stores and buffer; its
    /// accounts and keys are left alone. `progress` is told from time to time
    /// how far it is.
    ///
    /// Takes as much space in the data folder as the backup's files have, until
    /// it is done.
    ///
    /// # Errors
    /// See [`MergeError`]. What was put in by then stays; the same restore,
    /// begun again, puts in the rest.
    pub async fn restore(
        &self,
        archive: impl Read + Send + 'static,
        mut progress: impl FnMut(Merged) + Send,
    ) -> Result<Merged, MergeError> {
        let _one = self.turn().ok_or(MergeError::Busy)?;
        let folder = self.data.join(UNPACKED);
        remove_folder(&folder)?;
        let unpacked = Unpacked(folder);
        let into = unpacked.0.clone();
        tokio::task::spawn_blocking(move || unpack(archive, &into))
            .await
            .map_err(|error| MergeError::Unreadable(error.to_string()))??;
        let regions = self.regions_of(&unpacked.0)?;
        let mut merged = Merged::default();
        let mut opened = Vec::new();
        for region in regions {
            let folder = unpacked.0.join("store").join(&region.name);
            let store = tokio::task::spawn_blocking(move || open(&folder))
                .await
                .map_err(|error| MergeError::Unreadable(error.to_string()))?
                .map_err(MergeError::Unreadable)?;
            let (documents, empty) = store.contents().map_err(unreadable)?;
            merged.total += documents;
            opened.push((region, Arc::new(store), empty));
        }
        for (region, store, empty) in opened {
            for index in empty {
                let path = format!("/{index}");
                // An index that is there already is no fault.
                call(
                    region.store.as_ref(),
                    http::Method::PUT,
                    &path,
                    Body::empty(),
                )
                .await;
            }
            merge(&region, store, &mut merged, &mut progress).await?;
        }
        merged.buffered = self.append_waiting(&unpacked.0.join("buffer")).await?;
        self.add_letters(unpacked.0.join(LETTERS)).await?;
        progress(merged);
        Ok(merged)
    }

    /// The backup's dead letters beside those of this node. One that was
    /// replayed here since the backup is a letter again.
    async fn add_letters(&self, folder: PathBuf) -> Result<(), MergeError> {
        let letters = self.letters.clone();
        let add = move || -> Result<(), LettersError> {
            for (region, letters) in letters {
                let file = folder.join(&region);
                if !file.is_file() {
                    continue;
                }
                let from = DeadLetters::open(&file, dead_letters::MAX_BYTES)?;
                for number in from.numbers() {
                    for letter in from.of_numbers(&[number])? {
                        letters.add_again(&letter)?;
                    }
                }
            }
            Ok(())
        };
        let added = tokio::task::spawn_blocking(add).await.map_err(unreadable)?;
        added.map_err(|error| MergeError::Letters(error.to_string()))
    }

    /// The regions that the backup has records of.
    fn regions_of(&self, unpacked: &Path) -> Result<Vec<Region>, MergeError> {
        let folder = unpacked.join("store");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut regions = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let store = self.stores.get(&name).cloned();
            let Some(store) = store else {
                return Err(MergeError::NoRegion(name));
            };
            regions.push(Region { name, store });
        }
        Ok(regions)
    }

    /// What waited in the backup's buffer waits in this one's.
    async fn append_waiting(&self, folder: &Path) -> Result<u64, MergeError> {
        let folder = folder.to_owned();
        let settings = DiskSettings::default();
        let buffer = tokio::task::spawn_blocking(move || DiskBuffer::open(&folder, settings))
            .await
            .map_err(|error| MergeError::Unreadable(error.to_string()))?
            .map_err(unreadable)?;
        // Nothing more comes: a read at the end says so in place of waiting.
        buffer.close();
        let mut consumer = buffer.consumer().await.map_err(unreadable)?;
        let mut records = 0;
        loop {
            match consumer.read(BULK_BYTES).await {
                Ok(batch) => {
                    records += batch.records.len() as u64;
                    self.buffer.append("restore", batch.records).await?;
                }
                Err(ConsumeError::Closed) => return Ok(records),
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
}

/// The folder of an unpacked backup; it goes when the restore ends.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "an unpacked backup was not removed");
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> MergeError {
    MergeError::Unreadable(error.to_string())
}

fn open(folder: &Path) -> Result<EmbeddedStore, String> {
    let settings = Settings {
        memory_bytes: WRITER_BYTES,
        ..Settings::default()
    };
    // It gets no records, so that it refuses none.
    let letters = DeadLetters::open(&folder.join(LETTERS), dead_letters::MAX_BYTES);
    let letters = letters.map_err(|error| error.to_string())?;
    EmbeddedStore::open(folder, settings, Arc::new(letters)).map_err(|error| error.to_string())
}

/// Documents on their way, in the form of `_bulk`.
#[derive(Default)]
struct Bulk {
    body: Vec<u8>,
    documents: u64,
}

impl Bulk {
    fn add(&mut self, stored: &Stored) {
        let action = json!({"create": {"_index": stored.index, "_id": stored.id}});
        self.body.extend_from_slice(action.to_string().as_bytes());
        self.body.push(b'\n');
        // Strings of JSON have no line ends, so these are only layout.
        let on_one_line = |byte: &u8| {
            if *byte == b'\n' || *byte == b'\r' {
                b' '
            } else {
                *byte
            }
        };
        self.body.extend(stored.source.iter().map(on_one_line));
        self.body.push(b'\n');
        self.documents += 1;
    }
}

async fn merge(
    region: &Region,
    from: Arc<EmbeddedStore>,
    merged: &mut Merged,
    progress: &mut (impl FnMut(Merged) + Send),
) -> Result<(), MergeError> {
    let (sender, mut bulks) = mpsc::channel::<Bulk>(BULKS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || {
        let mut bulk = Bulk::default();
        let read = from.each_document(|stored| {
            bulk.add(&stored);
            bulk.body.len() < BULK_BYTES || sender.blocking_send(std::mem::take(&mut bulk)).is_ok()
        });
        if bulk.documents > 0 {
            // Where nobody waits for it any more, the restore has failed already.
            let _ = sender.blocking_send(bulk);
        }
        read.map_err(|error| error.to_string())
    });
    while let Some(bulk) = bulks.recv().await {
        let documents = bulk.documents;
        merged.created += put(region, bulk).await?;
        merged.documents += documents;
        progress(*merged);
    }
    reading
        .await
        .map_err(|error| MergeError::Unreadable(error.to_string()))?
        .map_err(MergeError::Unreadable)
}

/// Put documents in; gives how many were not there.
async fn put(region: &Region, bulk: Bulk) -> Result<u64, MergeError> {
    let body = Body::from(bulk.body);
    let answer = call(region.store.as_ref(), http::Method::POST, "/_bulk", body).await;
    let refused = |item: &Value, reason: String| MergeError::Refused {
        region: region.name.clone(),
        index: item["_index"].as_str().unwrap_or_default().to_owned(),
        id: item["_id"].as_str().unwrap_or_default().to_owned(),
        reason,
    };
    let items = answer["items"].as_array();
    let items = items.ok_or_else(|| refused(&Value::Null, answer["error"].to_string()))?;
    let mut created = 0;
    for item in items {
        let item = &item["create"];
        match item["status"].as_u64() {
            Some(200..=299) => created += 1,
            // It is there already.
            Some(409) => {}
            _ => return Err(refused(item, item["error"].to_string())),
        }
    }
    Ok(created)
}

/// The store's answer; `Null` where it is no JSON.
async fn call(store: &dyn Store, method: http::Method, path: &str, body: Body) -> Value {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, "application/x-ndjson")
        .body(body);
    let Ok(request) = request else {
        return Value::Null;
    };
    let response = store.call(request).await;
    let bytes: Bytes = axum::body::to_bytes(response.into_body(), 256 << 20)
        .await
        .unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
