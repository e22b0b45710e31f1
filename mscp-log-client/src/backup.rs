//! Backups of a whole node: one archive out of it, and the records of one into it.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::connection::reqwest::transport;
use crate::error::Error;

/// A line of a restore's answer is shorter than this.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// An archive on its way out of a node.
///
/// ```no_run
/// # async fn run(client: mscp_log_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
/// let mut backup = client.admin().backup().await?;
/// let mut file = std::fs::File::create("node.tar.zst")?;
/// while let Some(part) = backup.part().await? {
///     file.write_all(&part)?;
/// }
/// file.sync_all()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Backup {
    response: reqwest::Response,
}

impl Backup {
    /// Bytes of the files in it, as far as the node says; the archive is compressed.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        let value = self.response.headers().get("x-mscp-log-file-bytes")?;
        value.to_str().ok()?.parse().ok()
    }

    /// The next part of the archive; `None` at its end.
    ///
    /// # Errors
    ///
    /// When the answer breaks off: what came by then is no backup.
    pub async fn part(&mut self) -> Result<Option<Bytes>, Error> {
        let part = self.response.chunk().await;
        part.map_err(|error| transport("the backup broke off", error))
    }
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Restored {
    /// Documents of the backup that were looked at.
    pub documents: u64,
    /// Of these, the ones that the node did not have.
    pub created: u64,
    /// How many documents the backup has.
    pub total: u64,
    /// Records that waited to be stored when the backup was made; they wait
    /// again, and are searchable soon.
    pub buffered: u64,
}

/// A restore that goes on in the node.
#[derive(Debug)]
pub struct Restore {
    response: reqwest::Response,
    read: BytesMut,
    done: bool,
}

impl Restore {
    /// How far it is now; waits for news. `None` when it is done: the value
    /// before was the last.
    ///
    /// # Errors
    ///
    /// When the node says why it does not go on, or the answer breaks off. The
    /// same restore may be begun again.
    pub async fn progress(&mut self) -> Result<Option<Restored>, Error> {
        if self.done {
            return Ok(None);
        }
        let Some(line) = self.line().await? else {
            return Err(Error::protocol("the answer to the restore broke off"));
        };
        if let Some(reason) = line["error"].as_str() {
            return Err(Error::protocol(format!("the restore ended: {reason}")));
        }
        self.done = line.get("done").is_some();
        let news = if self.done { "done" } else { "progress" };
        Restored::deserialize(&line[news])
            .map(Some)
            .map_err(|error| Error::protocol(format!("the answer to the restore: {error}")))
    }

    async fn line(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                let line = serde_json::from_slice(&line);
                return line.map(Some).map_err(|error| {
                    Error::protocol(format!("the answer to the restore: {error}"))
                });
            }
            if self.read.len() > MAX_LINE_BYTES {
                return Err(Error::protocol(
                    "the answer to the restore has a line without end",
                ));
            }
            let part = self.response.chunk().await;
            match part.map_err(|error| transport("the restore", error))? {
                Some(part) => self.read.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}

impl Admin {
    /// Begins a backup of the whole node: every record, account and key.
    ///
    /// # Errors
    ///
    /// Forbidden, or Unauthorized, unless the account may do everything; 429
    /// while another backup goes on.
    pub async fn backup(&self) -> Result<Backup, Error> {
        let segments = ["system", "backup"];
        let body = reqwest::Body::default();
        let response = self.whole_node(&segments, body).await?;
        Ok(Backup { response })
    }

    /// Puts the records of a backup into the node, beside what it has. What it
    /// has already stays as it is, so that a restore may be repeated. Accounts
    /// and keys are left alone.
    ///
    /// # Errors
    ///
    /// As [`Admin::backup`].
    pub async fn restore(
        &self,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Restore, Error> {
        let segments = ["system", "restore"];
        let body = reqwest::Body::wrap_stream(archive);
        let response = self.whole_node(&segments, body).await?;
        Ok(Restore {
            response,
            read: BytesMut::new(),
            done: false,
        })
    }

    async fn whole_node(
        &self,
        segments: &[&str],
        body: reqwest::Body,
    ) -> Result<reqwest::Response, Error> {
        let everything = json!([{
            "method": ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
            "url": ["/**"],
            "other": {"log": {"write": true}},
        }]);
        self.client
            .stream(Method::POST, segments, body, &everything)
            .await
    }
}
