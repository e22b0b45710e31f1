//! From raw records to the buffer: clean, encode, append.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use metrics::counter;
#[cfg(feature = "kafka")]
use mscp_log_core::clean::beat::Event;
use mscp_log_core::clean::chunk::Chunk;
use mscp_log_core::clean::{Cleaned, NoNode, Raw, Redaction, Stamp, clean};
#[cfg(feature = "kafka")]
use mscp_log_core::event_id::{EventId, Origin};
use mscp_log_core::index::Beats;
use mscp_log_core::record::{Document, Window};

#[cfg(feature = "kafka")]
use crate::buffer::kafka::Foreign;
use crate::buffer::{AppendError, Buffer};
#[cfg(feature = "kafka")]
use crate::clock;
use crate::config::{Clean, Config, Region};

/// Cleans records of one region and hands them to its buffer.
pub struct Pipeline {
    buffer: Arc<dyn Buffer>,
    cleaner: Cleaner,
}

/// Cleans records of one region.
pub struct Cleaner {
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
            .field("region", &self.cleaner.region)
            .finish_non_exhaustive()
    }
}

impl std::ops::Deref for Pipeline {
    type Target = Cleaner;

    fn deref(&self) -> &Cleaner {
        &self.cleaner
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
        let cleaner = Cleaner::new(name.into(), region, settings, max_past_us);
        Self { buffer, cleaner }
    }

    /// Append encoded documents; returns when they are durable.
    ///
    /// # Errors
    /// When the buffer did not take them; then none is acknowledged.
    pub async fn append(&self, documents: Vec<Bytes>) -> Result<(), AppendError> {
        if documents.is_empty() {
            return Ok(());
        }
        self.buffer.append(self.region(), documents).await
    }
}

impl Cleaner {
    fn new(region: String, of: &Region, settings: &Clean, max_past_us: i64) -> Self {
        Self {
            region,
            zone: of.zone.clone(),
            cluster: Some(of.cluster.clone()).filter(|cluster| !cluster.is_empty()),
            beats: settings.beats.clone(),
            redaction: settings.redact.clone(),
            max_past_us,
        }
    }

    /// Of the region that `config` pushes to; `None` when there is no such
    /// region, which a checked configuration does not have.
    #[must_use]
    pub fn open(config: &Config) -> Option<Self> {
        let name = config.push.region.clone();
        let region = config.regions.get(&name)?;
        let max_past_us = i64::try_from(config.push.max_past.as_micros()).unwrap_or(i64::MAX);
        Some(Self::new(name, region, &config.clean, max_past_us))
    }

    /// The document of what others wrote into the topic of the buffer, as
    /// Logstash and Beats write it; `None` where it is not wanted. What is read
    /// twice makes the same document twice: its identity is its place in its
    /// file or journal, where it names one, else its place in the topic, and what stands
    /// for a missing time is when it came into the topic.
    #[cfg(feature = "kafka")]
    #[must_use]
    pub fn foreign(&self, message: Foreign<'_>) -> Option<Bytes> {
        let now_us = clock::now_us();
        // A sender's clock must not be able to make indices at will.
        let came_us = message
            .time_us
            .filter(|time_us| self.window(now_us).holds(*time_us))
            .unwrap_or(now_us);
        let event =
            Event::parse(message.value).unwrap_or_else(|_| Event::unreadable(message.value));
        let has_place = event.cursor.is_some() || (event.path.is_some() && event.offset.is_some());
        let raw = Raw::Beat {
            event,
            read_us: came_us,
            seq: message.offset,
        };
        match clean(raw, &self.stamp(came_us)) {
            Cleaned::Keep(mut document) => {
                if !has_place {
                    document.event_id = EventId::of(&Origin::Kafka {
                        topic: message.topic,
                        partition: message.partition.unsigned_abs(),
                        offset: message.offset.unsigned_abs(),
                    });
                }
                let mut encoded = Vec::new();
                document.encode(&mut encoded);
                Some(encoded.into())
            }
            Cleaned::Drop(reason) => {
                counter!("mscp_log_clean_dropped_records_total", "reason" => reason.as_str())
                    .increment(1);
                None
            }
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
                    counter!("mscp_log_clean_dropped_records_total", "reason" => reason.as_str())
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
}
