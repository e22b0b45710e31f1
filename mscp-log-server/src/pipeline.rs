//! From raw records to the buffer: clean, encode, append.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
use mscp_log_core::clean::chunk::Chunk;
use mscp_log_core::clean::{Cleaned, NoNode, Raw, Redaction, Stamp, clean};
use mscp_log_core::index::Beats;
use mscp_log_core::record::{Document, Window};

use crate::buffer::{AppendError, Buffer};
use crate::config::{Clean, Region};

/// Cleans records of one region and hands them to its buffer.
pub struct Pipeline {
    buffer: Arc<dyn Buffer>,
    region: String,
    zone: String,
    cluster: Option<String>,
    beats: Beats,
    redaction: Redaction,
    max_past_us: i64,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline of `region` into `buffer`; records older than `max_past_us`
    /// microseconds are outside the window.
    #[must_use]
    pub fn new(
        buffer: Arc<dyn Buffer>,
        name: impl Into<String>,
        region: &Region,
        settings: &Clean,
        max_past_us: i64,
    ) -> Self {
        Self {
            buffer,
            region: name.into(),
            zone: region.zone.clone(),
            cluster: Some(region.cluster.clone()).filter(|cluster| !cluster.is_empty()),
            beats: settings.beats.clone(),
            redaction: settings.redact.clone(),
            max_past_us,
        }
    }

    /// The times that are taken at `now_us`.
    #[must_use]
    pub fn window(&self, now_us: i64) -> Window {
        Window {
            now_us,
            max_past_us: self.max_past_us,
            max_future_us: Window::MAX_FUTURE_US,
        }
    }

    /// Clean `raws` at `now_us` and encode what is kept, each as one document.
    pub fn encode<'a>(&self, raws: impl IntoIterator<Item = Raw<'a>>, now_us: i64) -> Vec<Bytes> {
        self.encode_as(raws, &self.stamp(now_us))
    }

    /// The same for a chunk of an agent, whose machine is what it says.
    #[must_use]
    pub fn encode_chunk(&self, chunk: &Chunk<'_>, now_us: i64) -> Vec<Bytes> {
        let (zone, cluster) = self.place_of(chunk);
        let stamp = Stamp {
            host: &chunk.head.host,
            zone,
            cluster,
            node: chunk,
            ..self.stamp(now_us)
        };
        self.encode_as(chunk.raws(), &stamp)
    }

    /// The zone and the cluster of a chunk: its own, or the region's.
    #[must_use]
    pub fn place_of<'c>(&'c self, chunk: &'c Chunk<'_>) -> (&'c str, Option<&'c str>) {
        let own = |name: &'c Option<Cow<'_, str>>| name.as_deref().filter(|name| !name.is_empty());
        (
            own(&chunk.head.zone).unwrap_or(&self.zone),
            own(&chunk.head.cluster).or(self.cluster.as_deref()),
        )
    }

    fn stamp(&self, now_us: i64) -> Stamp<'_> {
        Stamp {
            region: &self.region,
            zone: &self.zone,
            cluster: self.cluster.as_deref(),
            host: "",
            now_us,
            max_past_us: self.max_past_us,
            max_future_us: Window::MAX_FUTURE_US,
            beats: &self.beats,
            redaction: &self.redaction,
            node: &NoNode,
        }
    }

    fn encode_as<'a>(
        &self,
        raws: impl IntoIterator<Item = Raw<'a>>,
        stamp: &Stamp<'_>,
    ) -> Vec<Bytes> {
        // One allocation for all documents, cut into pieces that share it.
        let mut all = Vec::new();
        let mut ends = Vec::new();
        for raw in raws {
            // The document borrows from the record, so the stamp lives as long
            // as one record.
            let stamp = *stamp;
            match clean(raw, &stamp) {
                Cleaned::Keep(document) => {
                    document.encode(&mut all);
                    ends.push(all.len());
                }
                Cleaned::Drop(reason) => {
                    counter!("mscp_log_clean_dropped_total", "reason" => reason.as_str())
                        .increment(1);
                }
            }
        }
        let all = Bytes::from(all);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(&ends)
            .map(|(start, end)| all.slice(start..*end))
            .collect()
    }

    /// The region that it is for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A document that was cleaned before, by the rules of now; `None` where it
    /// is none of ours.
    #[must_use]
    pub fn again(&self, document: &[u8]) -> Option<Bytes> {
        let mut document: Document<'_> = serde_json::from_slice(document).ok()?;
        self.redaction.again(&mut document);
        let mut encoded = Vec::new();
        document.encode(&mut encoded);
        Some(encoded.into())
    }

    /// Append encoded documents; returns when they are durable.
    ///
    /// # Errors
    /// When the buffer did not take them; then none is acknowledged.
    pub async fn append(&self, documents: Vec<Bytes>) -> Result<(), AppendError> {
        if documents.is_empty() {
            return Ok(());
        }
        self.buffer.append(&self.region, documents).await
    }
}
