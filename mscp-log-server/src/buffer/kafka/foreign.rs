//! What a message is: a document of ours, whole and clean, or what others wrote
//! into the topic.
//!
//! Ours carry a header with the version of their form. One without it may still
//! be a document (a copy by a tool that drops headers); anything else is
//! foreign, as what Logstash and Beats write into Kafka, and is cleaned before
//! it goes on.

use std::borrow::Cow;

use bytes::Bytes;
use mscp_log_core::event_id::EventId;
use serde::Deserialize;

/// The header of our messages, and the version of the documents in them. Version
/// N + 1 reads N; what is newer is not touched.
pub(super) const FORMAT_HEADER: &str = "mscp-log";
pub(super) const FORMAT: &[u8] = b"1";

/// A message that is no document of ours.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
    /// When the brokers, or its sender, say that it came, in microseconds since
    /// the epoch; `None` where they say nothing.
    pub time_us: Option<i64>,
    /// What it holds.
    pub value: &'a [u8],
}

/// Makes a document of a foreign message; `None` where it is not wanted.
pub type Clean = dyn Fn(Foreign<'_>) -> Option<Bytes> + Send + Sync;

/// What a message is by its header and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A document.
    Ours,
    /// To be cleaned.
    Foreign,
    /// A document of a later version.
    Newer,
}

/// `format` is the value of [`FORMAT_HEADER`], if it has one.
pub(super) fn kind_of(format: Option<&[u8]>, value: &[u8]) -> Kind {
    match format {
        Some(FORMAT) => Kind::Ours,
        Some(_) => Kind::Newer,
        None if serde_json::from_slice::<Head<'_>>(value).is_ok_and(|head| head.is_whole()) => {
            Kind::Ours
        }
        None => Kind::Foreign,
    }
}

/// What a store needs to know of a document.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "realtime_us")]
    _realtime_us: i64,
    #[serde(rename = "event_id")]
    _event_id: EventId,
    #[serde(borrow)]
    index: Cow<'a, str>,
}

impl Head<'_> {
    fn is_whole(&self) -> bool {
        !self.index.is_empty()
    }
}

#[derive(Deserialize)]
struct Host<'a> {
    #[serde(borrow)]
    hostname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
}

/// The key of a document: its host; where it has none, as a pushed record, its
/// `event_id`, so that what comes twice comes to one partition and all
/// partitions get their part; where it has neither, `other`.
pub(super) fn key_of<'a>(document: &'a [u8], other: &'a str) -> Cow<'a, str> {
    match serde_json::from_slice(document) {
        Ok(Host {
            hostname: Some(host),
            ..
        }) if !host.is_empty() => host,
        Ok(Host {
            event_id: Some(id), ..
        }) => id,
        _ => Cow::Borrowed(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const OURS: &str = r#"{"realtime_us":1516792419231221,"event_id":"000102030405060708090a0b0c0d0e0f","message":"\"hostname\":\"no\"","index":"logstash-http-local","hostname":"node1"}"#;

    #[test]
    fn a_document_is_told_by_its_header_or_by_what_it_has() {
        assert_eq!(kind_of(Some(b"1"), b"anything"), Kind::Ours);
        assert_eq!(kind_of(Some(b"2"), OURS.as_bytes()), Kind::Newer);
        assert_eq!(kind_of(None, OURS.as_bytes()), Kind::Ours);
        for foreign in [
            r#"{"@timestamp":"2018-01-24T11:13:39.231Z","message":"up","host":"n"}"#,
            r#"{"realtime_us":1,"event_id":"x","index":"i"}"#,
            r#"{"realtime_us":1,"event_id":"000102030405060708090a0b0c0d0e0f","index":""}"#,
            "a line",
            "",
        ] {
            assert_eq!(
                kind_of(None, foreign.as_bytes()),
                Kind::Foreign,
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_document_is_keyed_by_its_host_and_without_one_by_its_id() {
        assert_eq!(key_of(OURS.as_bytes(), ""), "node1");
        let pushed = OURS.replace(r#","hostname":"node1""#, "");
        assert_eq!(
            key_of(pushed.as_bytes(), ""),
            "000102030405060708090a0b0c0d0e0f"
        );
        assert_eq!(key_of(b"{}", "east"), "east");
    }
}
