//! `base/system/backup` and `base/system/restore`: the whole node as one archive.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream::{self, unfold};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa::OpenApi;

use crate::backup::{BackupError, MergeError, Merged};
use crate::identity::{Entry, Outcome};
use crate::schema::limit;

use super::App;
use super::access::{Caller, Door, Peer};
use super::body::method_not_allowed;
use super::problem::{Kind, Problem};

/// Bytes of the files in a backup, before they are compressed: for a progress bar.
const FILE_BYTES: HeaderName = HeaderName::from_static("x-mscp-log-file-bytes");

/// Parts of an archive are about so long, and so many wait for the peer.
const PART_BYTES: usize = 256 * 1024;
const PARTS: usize = 8;

/// How often a restore says how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

/// The endpoints, by their paths below the base.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/system/backup", post(backup))
        .route("/system/restore", post(restore))
        .method_not_allowed_fallback(method_not_allowed)
}

#[derive(OpenApi)]
#[openapi(paths(backup, restore))]
pub(super) struct Document;

/// A backup holds the keys that sign and every record; a restore writes any record.
fn whole(caller: &Caller) -> Result<(), Problem> {
    if caller.grants_everything() {
        return Ok(());
    }
    Err(Problem::forbidden(
        "a backup holds every secret and every record: the token must grant every method on /** with other.log.write",
    ))
}

fn note(door: &Door, caller: &Caller, peer: Peer, action: &'static str, detail: Value) {
    door.identity().note(Entry {
        subject: caller.subject.to_string(),
        address: peer.0,
        action,
        target: "node".to_owned(),
        outcome: Outcome::Done,
        detail,
    });
}

/// A backup of the node
#[utoipa::path(post, path = "/system/backup", tag = "administration", security(("access_token" = [])), responses(
    (status = 200, description = "The archive: tar, compressed with zstd. An answer that is cut off is no backup",
        content_type = "application/zstd", body = inline(limit::Bytes)),
    (status = 429, response = super::openapi::Problem),
))]
async fn backup(
    State(app): State<Arc<App>>,
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    whole(&caller)?;
    let backup = app.backups.backup(door.identity()).await?;
    let bytes = backup.bytes();
    let manifest = backup.manifest();
    note(
        &door,
        &caller,
        peer,
        "backup",
        json!({"bytes": bytes, "without": manifest.without}),
    );
    let (sender, parts) = mpsc::channel::<io::Result<Bytes>>(PARTS);
    tokio::task::spawn_blocking(move || {
        let mut out = Parts {
            part: BytesMut::with_capacity(PART_BYTES),
            sender,
        };
        if let Err(error) = backup.write(&mut out) {
            tracing::warn!(%error, "a backup was not written to its end");
            // The peer must see that it broke off.
            let _ = out.sender.blocking_send(Err(error));
        }
    });
    let body = unfold(parts, |mut parts| async {
        Some((parts.recv().await?, parts))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/zstd")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (FILE_BYTES, HeaderValue::from(bytes)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Put the records of a backup into this node
///
/// Records that are here already stay as they are. Accounts and keys are left alone.
#[utoipa::path(post, path = "/system/restore", tag = "administration", security(("access_token" = [])),
    request_body(content = inline(limit::Bytes), content_type = "application/zstd"), responses(
    (status = 200, description = "NDJSON: how far it is, about twice a second; the last line has `done` or `error`",
        content_type = "application/x-ndjson", body = String),
))]
async fn restore(
    State(app): State<Arc<App>>,
    Extension(door): Extension<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    whole(&caller)?;
    let mut parts = body.into_data_stream().map_err(io::Error::other);
    let first = parts.next().await;
    let first = first.ok_or_else(|| Problem::bad_request("expected an archive, found no body"))?;
    let archive = Archive::of(stream::iter([first]).chain(parts));
    let (sender, lines) = mpsc::channel::<Value>(PARTS);
    tokio::spawn(async move {
        let mut said = Instant::now();
        let progress = |merged: Merged| {
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                // A peer that reads slowly misses some, and the end it gets.
                let _ = sender.try_send(json!({"progress": merged}));
            }
        };
        let last = match app.backups.restore(archive, progress).await {
            Ok(merged) => {
                note(&door, &caller, peer, "restore", json!(merged));
                json!({"done": merged})
            }
            Err(error) => {
                tracing::warn!(%error, "a restore did not come to its end");
                json!({"error": error.to_string(), "busy": matches!(error, MergeError::Busy)})
            }
        };
        let _ = sender.send(last).await;
    });
    let line = |line: Value| Ok::<_, io::Error>(Bytes::from(format!("{line}\n")));
    let body = unfold(lines, |mut lines| async {
        Some((lines.recv().await?, lines))
    });
    let headers = [(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    )];
    Ok((headers, Body::from_stream(body.map(line))).into_response())
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let kind = match error {
            BackupError::Busy => Kind::TooManyRequests,
            BackupError::Identity(_) => Kind::Unavailable,
            BackupError::Io(_) => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Sends what is written in parts.
struct Parts {
    part: BytesMut,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = self.part.split().freeze();
        self.sender
            .blocking_send(Ok(part))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the peer has gone"))
    }
}

/// A body as a reader on a blocking thread.
struct Archive {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    part: Bytes,
}

impl Archive {
    fn of(mut body: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static) -> Self {
        let (sender, parts) = mpsc::channel(PARTS);
        tokio::spawn(async move {
            while let Some(part) = body.next().await {
                if sender.send(part).await.is_err() {
                    break;
                }
            }
        });
        Self {
            parts,
            part: Bytes::new(),
        }
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
