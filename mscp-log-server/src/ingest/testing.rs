#![allow(clippy::unwrap_used, reason = "tests")]
//! A buffer in memory that can refuse, and the records that came into it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mscp_log_core::clean::Redaction;
use mscp_log_core::index::Beats;
use uuid::Uuid;

use super::push::{Push, Settings};
use crate::buffer::{AppendError, Buffer, ConsumeError, Consumer, Usage};
use crate::config::{Clean, Region, StoreKind};
use crate::pipeline::Pipeline;

pub(crate) const APP: Uuid = Uuid::from_u128(0xcaa0_c2f0_1116_495f_8f09_3cd0_23cc_14a2);
pub(crate) const OTHER: Uuid = Uuid::from_u128(7);

#[derive(Default)]
pub(crate) struct Memory {
    records: Mutex<Vec<serde_json::Value>>,
    refuse: Mutex<Option<fn() -> AppendError>>,
    refusals: AtomicUsize,
    appends: AtomicUsize,
}

impl Memory {
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        self.records.lock().unwrap().clone()
    }

    pub(crate) fn refuse(&self, error: fn() -> AppendError) {
        *self.refuse.lock().unwrap() = Some(error);
    }

    /// How often it has refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::Relaxed)
    }

    /// How often it has taken records.
    pub(crate) fn appends(&self) -> usize {
        self.appends.load(Ordering::Relaxed)
    }

    pub(crate) fn take_again(&self) {
        *self.refuse.lock().unwrap() = None;
    }
}

#[async_trait]
impl Buffer for Memory {
    async fn append(&self, _: &str, records: Vec<Bytes>) -> Result<(), AppendError> {
        if let Some(error) = *self.refuse.lock().unwrap() {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(error());
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
        let read = records
            .iter()
            .map(|record| serde_json::from_slice(record).unwrap());
        self.records.lock().unwrap().extend(read);
        Ok(())
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, ConsumeError> {
        Err(ConsumeError::Closed)
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// A push into memory, with small limits.
pub(crate) fn push() -> (Arc<Push>, Arc<Memory>) {
    push_with(None)
}

/// A pipeline into memory.
pub(crate) fn pipeline() -> (Pipeline, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let region = Region {
        zone: "default".to_owned(),
        cluster: String::new(),
        store: StoreKind::Embedded,
        memory: 1 << 20,
        commit_interval: Duration::from_secs(1),
    };
    let clean = Clean {
        beats: Beats::default(),
        redact: Redaction::none(),
    };
    let buffer: Arc<dyn Buffer> = memory.clone();
    let month_us = 30 * 86_400_000_000;
    let pipeline = Pipeline::new(buffer, "local", &region, &clean, month_us);
    (pipeline, memory)
}

pub(crate) fn push_with(rate: Option<u64>) -> (Arc<Push>, Arc<Memory>) {
    let (pipeline, memory) = pipeline();
    let settings = Settings {
        max_body_bytes: 64 << 10,
        max_decompressed_bytes: 256 << 10,
        max_records: 20,
        max_message_bytes: 100,
        rate,
    };
    (Arc::new(Push::new(pipeline, settings)), memory)
}
