//! Raw records that an agent read: chunks of one source each, as NDJSON. The
//! gateway cleans them; their identity and time came with them, so that what
//! is sent twice is one record.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use metrics::counter;
use mscp_log_core::access::Restriction;
use mscp_log_core::clean::chunk::{Chunk, Head};
use serde::Serialize;

use super::body::{Bodies, Received};
use super::push::off_async_threads;
use crate::buffer::{AppendError, Buffer};
use crate::clock;
use crate::config::Config;
use crate::pipeline::Pipeline;

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Collected {
    /// Records that are durable now; what cleaning leaves out is not among them.
    pub accepted: usize,
}

/// Why chunks were not taken; none of their request was.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A line is no chunk.
    #[error("chunk {chunk}: {reason}")]
    Malformed {
        /// Its line, from 0.
        chunk: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The token grants collecting for other machines only.
    #[error("chunk {chunk}: the token does not grant collecting for {what} {name:?}")]
    Forbidden {
        /// Its line, from 0.
        chunk: usize,
        /// `hostname`, `zone` or `cluster`.
        what: &'static str,
        /// The name that is not granted.
        name: String,
    },
    /// The buffer did not take them.
    #[error(transparent)]
    Buffer(#[from] AppendError),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Takes what agents collect for one region.
#[derive(Debug)]
pub struct Collect {
    pipeline: Pipeline,
    bodies: Bodies,
    /// When a machine with a wrong clock was last named in the log.
    named_us: AtomicI64,
}

/// How often such a machine is named.
const NAMED_EACH_US: i64 = 60_000_000;

impl Collect {
    /// Into the buffer of the region that `config` pushes to; `None` when
    /// there is no such region, which a checked configuration does not have.
    #[must_use]
    pub fn open(config: &Config, buffer: Arc<dyn Buffer>) -> Option<Self> {
        let name = config.push.region.as_str();
        let region = config.regions.get(name)?;
        let max_past_us = i64::try_from(config.push.max_past.as_micros()).unwrap_or(i64::MAX);
        let pipeline = Pipeline::new(buffer, name, region, &config.clean, max_past_us);
        let (sent, whole) = (
            config.push.max_body_bytes,
            config.push.max_decompressed_bytes,
        );
        Some(Self {
            pipeline,
            bodies: Bodies::new(sent, whole),
            named_us: AtomicI64::new(0),
        })
    }

    fn name_wrong_clock(&self, head: &Head<'_>, now_us: i64) {
        counter!("mscp_log_collect_wrong_clock_chunks_total").increment(1);
        let last = self.named_us.load(Ordering::Relaxed);
        let due = (now_us - last).abs() >= NAMED_EACH_US;
        let mine = due
            && (self.named_us)
                .compare_exchange(last, now_us, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let ahead_s = (head.read_us - now_us) / 1_000_000;
            tracing::warn!(
                host = &*head.host,
                ahead_s,
                "the clock of a machine is wrong; its records get the time of this one"
            );
        }
    }

    /// The region that it is for.
    #[must_use]
    pub fn region(&self) -> &str {
        self.pipeline.region()
    }

    /// Reads bodies within the limits.
    #[must_use]
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// Take the chunks of a body, one a line, all or none; returns when their
    /// records are durable. Where `visible` has restrictions, every chunk must
    /// be of a machine that one of them allows, whole.
    ///
    /// # Errors
    /// What is wrong with the chunks, or why the buffer did not take them.
    pub async fn take(
        self: &Arc<Self>,
        body: Received,
        visible: Option<Vec<Restriction>>,
    ) -> Result<Collected, CollectError> {
        let collect = Arc::clone(self);
        let bytes = body.bytes.clone();
        let work = move || collect.clean(&bytes, visible.as_deref());
        let documents = off_async_threads(body.bytes.len(), work)
            .await
            .map_err(|_| CollectError::Stopping)??;
        let accepted = documents.len();
        let bytes: usize = documents.iter().map(Bytes::len).sum();
        self.pipeline.append(documents).await?;
        counter!("mscp_log_ingest_records_total", "way" => "collect").increment(accepted as u64);
        counter!("mscp_log_ingest_bytes_total", "way" => "collect").increment(bytes as u64);
        Ok(Collected { accepted })
    }

    fn clean(
        &self,
        body: &[u8],
        visible: Option<&[Restriction]>,
    ) -> Result<Vec<Bytes>, CollectError> {
        let now_us = clock::now_us();
        let mut documents = Vec::new();
        let lines = body.split(|byte| *byte == b'\n').enumerate();
        for (place, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let mut chunk = Chunk::parse(line).map_err(|error| CollectError::Malformed {
                chunk: place,
                reason: error.to_string(),
            })?;
            // A machine's clock must not be able to make indices at will.
            if !self.pipeline.window(now_us).holds(chunk.head.read_us) {
                self.name_wrong_clock(&chunk.head, now_us);
                chunk.head.read_us = now_us;
            }
            if let Some(restrictions) = visible {
                self.check(place, &chunk, restrictions)?;
            }
            documents.extend(self.pipeline.encode_chunk(&chunk, now_us));
        }
        Ok(documents)
    }

    /// Whether one of the restrictions allows all that the chunk speaks for.
    fn check(
        &self,
        place: usize,
        chunk: &Chunk<'_>,
        restrictions: &[Restriction],
    ) -> Result<(), CollectError> {
        let (zone, cluster) = self.pipeline.place_of(chunk);
        let mut names: Vec<(&'static str, &str)> = Vec::new();
        names.extend(chunk.hosts().into_iter().map(|host| ("hostname", host)));
        names.push(("zone", zone));
        // A record without the field is outside of what is restricted by it.
        names.push(("cluster", cluster.unwrap_or_default()));
        let mut refused = None;
        for restriction in restrictions {
            match names
                .iter()
                .find(|(field, name)| !restriction.allows(field, name))
            {
                None => return Ok(()),
                Some(first) => refused = refused.or(Some(*first)),
            }
        }
        let (what, name) = refused.unwrap_or(("hostname", &chunk.head.host));
        Err(CollectError::Forbidden {
            chunk: place,
            what,
            name: name.to_owned(),
        })
    }
}
