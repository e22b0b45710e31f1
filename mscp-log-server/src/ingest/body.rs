//! Bodies of requests: read and decompressed, within limits of each and of
//! all together.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all bodies that are held at once.
const MAX_HELD_BYTES: usize = 256 << 20;

/// What one permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// What a body costs beside itself: its records, and their documents.
const COST_OF_BODY: usize = 3;

/// How long a body waits until others are done.
const WAIT: Duration = Duration::from_secs(5);

/// Bytes of the window of a zstd frame, as a power of two: what `zstd -19`
/// uses, and what a frame makes the reader allocate.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than is taken.
    #[error("the body has more than {limit} bytes{}", if *decompressed { " when decompressed" } else { "" })]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
        /// Whether it is the size after decompression.
        decompressed: bool,
    },
    /// A `Content-Encoding` that is not taken.
    #[error("content encoding {0:?}: expected gzip, zstd or identity")]
    Encoding(String),
    /// The body is not what its encoding says.
    #[error("the body is no {0} data")]
    Corrupt(&'static str),
    /// The body ended before it was whole.
    #[error("the body could not be read whole")]
    Incomplete,
    /// Too much is held already.
    #[error("too many bodies are being worked on")]
    Busy,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// Every name that is taken; none is `identity`, too.
    pub const NAMES: [&str; 5] = ["gzip", "x-gzip", "zstd", "identity", ""];

    /// The encoding of a name of RFC 9110.
    ///
    /// # Errors
    /// When it is another one.
    pub fn parse(name: &str) -> Result<Self, BodyError> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(BodyError::Encoding(name.chars().take(64).collect())),
        }
    }

    fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(BodyError::Encoding("several".to_owned()));
        }
        let Some(value) = first else {
            return Ok(Self::Identity);
        };
        Self::parse(&String::from_utf8_lossy(value.as_bytes()))
    }
}

/// The media type of a body without its parameters, in lower case; empty where
/// there is none.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let whole = value.split(';').next().unwrap_or_default();
    whole.trim().to_ascii_lowercase()
}

/// A body that was read, and its share of what may be held.
#[derive(Debug)]
pub struct Received {
    /// The bytes, decompressed.
    pub bytes: Bytes,
    held: Option<OwnedSemaphorePermit>,
}

impl Received {
    /// A body that is held elsewhere.
    #[must_use]
    pub fn untracked(bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            held: None,
        }
    }

    /// Take its share of `bytes` more.
    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
    }
}

/// Reads bodies.
#[derive(Debug)]
pub struct Bodies {
    room: Arc<Semaphore>,
    max_bytes: u64,
    max_decompressed_bytes: u64,
}

impl Bodies {
    /// Bodies of up to `max_bytes` as sent and `max_decompressed_bytes` after.
    #[must_use]
    pub fn new(max_bytes: u64, max_decompressed_bytes: u64) -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_HELD_BYTES / PERMIT_BYTES)),
            max_bytes,
            max_decompressed_bytes: max_decompressed_bytes.max(max_bytes),
        }
    }

    /// Read a body whole and decompress it as its headers say.
    ///
    /// # Errors
    /// When it is too large, not what it says, or too much is held already.
    pub async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<Received, BodyError> {
        let encoding = Encoding::of(headers)?;
        let received = self.read(headers, body).await?;
        self.decompress(encoding, received).await
    }

    /// Read a body whole, as it was sent.
    ///
    /// # Errors
    /// When it is too large, or too much is held already.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, BodyError> {
        let too_large = BodyError::TooLarge {
            limit: self.max_bytes,
            decompressed: false,
        };
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|bytes| bytes > self.max_bytes) {
            return Err(too_large);
        }
        let limit = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
        let expected = usize::try_from(declared.unwrap_or(0)).unwrap_or(limit);
        let mut received = Received::untracked(Bytes::new());
        received.hold(self.wait_for_room(expected).await?);
        let mut room_for = expected;
        let mut body = body;
        let mut whole = BytesMut::with_capacity(expected);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Incomplete)?;
            let Ok(part) = frame.into_data() else {
                continue;
            };
            if whole.len() + part.len() > limit {
                return Err(too_large);
            }
            if whole.len() + part.len() > room_for {
                let more = (whole.len() + part.len() - room_for).max(64 << 10);
                received.hold(self.more_room(more)?);
                room_for += more;
            }
            whole.extend_from_slice(&part);
        }
        if declared.is_some_and(|bytes| bytes != whole.len() as u64) {
            return Err(BodyError::Incomplete);
        }
        received.bytes = whole.freeze();
        Ok(received)
    }

    /// Decompress what was read.
    ///
    /// # Errors
    /// When it is no such data, too large, or too much is held already.
    pub async fn decompress(
        &self,
        encoding: Encoding,
        received: Received,
    ) -> Result<Received, BodyError> {
        if encoding == Encoding::Identity {
            return Ok(received);
        }
        let limit = self.max_decompressed_bytes;
        let room = Arc::clone(&self.room);
        let work = move || inflate(encoding, received, limit, &room);
        // A few hundred bytes may become megabytes: not work for an async thread.
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| BodyError::Incomplete)?
    }

    async fn wait_for_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let permits = permits(bytes);
        let room = Arc::clone(&self.room).acquire_many_owned(permits);
        let permit = tokio::time::timeout(WAIT, room).await;
        permit
            .map_err(|_| BodyError::Busy)?
            .map_err(|_| BodyError::Busy)
    }

    fn more_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        more_room(&self.room, bytes)
    }
}

fn more_room(room: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
    Arc::clone(room)
        .try_acquire_many_owned(permits(bytes))
        .map_err(|_| BodyError::Busy)
}

/// What a body of `bytes` takes; a body of any size that is allowed can be
/// held when nothing else is.
fn permits(bytes: usize) -> u32 {
    let permits = bytes.saturating_mul(COST_OF_BODY).div_ceil(PERMIT_BYTES);
    u32::try_from(permits.min(MAX_HELD_BYTES / PERMIT_BYTES / 2)).unwrap_or(u32::MAX)
}

fn inflate(
    encoding: Encoding,
    received: Received,
    limit: u64,
    room: &Arc<Semaphore>,
) -> Result<Received, BodyError> {
    const STEP: usize = 256 << 10;
    let name = match encoding {
        Encoding::Zstd => "zstd",
        Encoding::Gzip | Encoding::Identity => "gzip",
    };
    let compressed = received.bytes.clone();
    let mut reader: Box<dyn Read> = match encoding {
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&compressed[..])
                .map_err(|_| BodyError::Corrupt(name))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG)
                .map_err(|_| BodyError::Corrupt(name))?;
            Box::new(decoder)
        }
        Encoding::Gzip | Encoding::Identity => {
            Box::new(flate2::bufread::MultiGzDecoder::new(&compressed[..]))
        }
    };
    let mut inflated = Received {
        bytes: Bytes::new(),
        held: received.held,
    };
    let mut whole = Vec::new();
    loop {
        inflated.hold(more_room(room, STEP)?);
        let read = reader
            .by_ref()
            .take(STEP as u64)
            .read_to_end(&mut whole)
            .map_err(|_| BodyError::Corrupt(name))?;
        if whole.len() as u64 > limit {
            return Err(BodyError::TooLarge {
                limit,
                decompressed: true,
            });
        }
        if read == 0 {
            break;
        }
    }
    inflated.bytes = Bytes::from(whole);
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::Write;

    use super::*;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn receive(encoding: &str, sent: Vec<u8>, limit: u64) -> Result<Bytes, BodyError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let bodies = Bodies::new(1 << 10, limit);
        let received = bodies.receive(&headers, Body::from(sent)).await?;
        let free = bodies.room.available_permits();
        let bytes = received.bytes.clone();
        drop(received);
        assert!(bodies.room.available_permits() >= free);
        assert_eq!(
            bodies.room.available_permits(),
            MAX_HELD_BYTES / PERMIT_BYTES
        );
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_body_is_decompressed_as_its_header_says() {
        let plain = b"one two".repeat(100);
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        for (encoding, sent) in [
            ("identity", plain.clone()),
            ("gzip", gzip(&plain)),
            ("x-gzip", gzip(&plain)),
            ("zstd", zstd),
        ] {
            assert_eq!(
                receive(encoding, sent, 1 << 20).await.unwrap(),
                plain,
                "{encoding}"
            );
        }
    }

    #[tokio::test]
    async fn a_bomb_is_refused_before_it_is_held() {
        let bomb = vec![0; 2 << 20];
        let zstd = zstd::encode_all(&bomb[..], 3).unwrap();
        let limit = (512 << 10) as u64;
        // 2 MiB of zeros are less than 1 KiB of zstd, and more of gzip.
        assert!(matches!(
            receive("zstd", zstd, limit).await,
            Err(BodyError::TooLarge {
                decompressed: true,
                ..
            })
        ));
        assert!(matches!(
            receive("gzip", gzip(&bomb), limit).await,
            Err(BodyError::TooLarge {
                decompressed: false,
                ..
            })
        ));
    }

    #[tokio::test]
    async fn data_that_is_not_what_it_says_is_refused() {
        for encoding in ["gzip", "zstd"] {
            let error = receive(encoding, b"plain".to_vec(), 1 << 20).await;
            assert!(matches!(error, Err(BodyError::Corrupt(name)) if name == encoding));
            let mut cut = if encoding == "gzip" {
                gzip(b"plain plain plain")
            } else {
                zstd::encode_all(&b"plain plain plain"[..], 3).unwrap()
            };
            cut.truncate(cut.len() - 4);
            let error = receive(encoding, cut, 1 << 20).await;
            assert!(matches!(error, Err(BodyError::Corrupt(_))), "{encoding}");
        }
        let error = receive("br", Vec::new(), 1 << 20).await;
        assert!(matches!(error, Err(BodyError::Encoding(name)) if name == "br"));
    }

    #[tokio::test]
    async fn no_more_is_held_than_there_is_room_for() {
        let bodies = Bodies::new(1 << 30, 1 << 30);
        let all = Arc::clone(&bodies.room)
            .try_acquire_many_owned((MAX_HELD_BYTES / PERMIT_BYTES) as u32)
            .unwrap();
        let body = Body::from(vec![0; 10]);
        assert!(matches!(
            bodies.read(&HeaderMap::new(), body).await,
            Err(BodyError::Busy)
        ));
        drop(all);
        let body = Body::from(vec![0; 10]);
        assert!(bodies.read(&HeaderMap::new(), body).await.is_ok());
    }
}
