#![allow(clippy::unwrap_used, reason = "tests")]
//! What senders push, from the body of the request to the documents:
//! `ingest/cases/*.json`.
//!
//! A time must be of now to be taken. So the cases have `{ns}`, `{us}`, `{ms}`
//! and `{iso}` for the time of the run, and in what is expected `{id}` and
//! `{receipt}` for what is another one in each run.

use std::sync::Arc;

use mscp_log_core::record::time::write_rfc3339;
use serde_json::Value;

use super::body::Received;
use super::push::{Call, Format, Push};
use super::testing::{APP, push};
use super::{bulk, otlp};
use crate::cases::check;
use crate::clock::now_us;

const SUBJECT: &str = "12203";

/// The documents of a body that `send` hands over.
async fn documents(raw: &Value, send: impl AsyncFn(&Arc<Push>, Received)) -> Vec<Value> {
    let us = now_us() / 1_000 * 1_000 + 221;
    let mut iso = Vec::new();
    write_rfc3339(us, &mut iso);
    let iso = String::from_utf8(iso).unwrap();
    let body = match &raw["body"] {
        Value::String(lines) => lines.clone(),
        object => object.to_string(),
    };
    let body = body
        .replace("{ns}", &(us * 1_000).to_string())
        .replace("{us}", &us.to_string())
        .replace("{ms}", &(us / 1_000).to_string())
        .replace("{iso}", &iso);
    let (push, memory) = push();
    send(&push, Received::untracked(body)).await;
    let of_run = |mut document: Value| {
        let own = document["realtime_us"] == us || document["realtime_us"] == us / 1_000 * 1_000;
        document["event_id"] = "{id}".into();
        document["ingest_us"] = "{receipt}".into();
        document["@timestamp"] = if own { "{iso}" } else { "{receipt}" }.into();
        document["realtime_us"] = match document["realtime_us"] == us {
            true => "{us}".into(),
            false if own => "{ms}000".into(),
            false => "{receipt}".into(),
        };
        document
    };
    memory.records().into_iter().map(of_run).collect()
}

#[tokio::test]
async fn pushed_records_make_the_documents_of_the_cases() {
    let make = async |raw: &Value| {
        let format = match raw["body"].is_string() {
            true => Format::Ndjson,
            false => Format::Json,
        };
        let call = || Call {
            subject: SUBJECT.into(),
            path: "apps/log".to_owned(),
            appid: None,
            key: None,
        };
        let send = async |push: &Arc<Push>, body: Received| {
            push.push(call(), format, body, |_| true).await.unwrap();
        };
        documents(raw, send).await
    };
    check("ingest/cases", "push-", 3, make).await;
}

#[tokio::test]
async fn records_of_opentelemetry_make_the_documents_of_the_cases() {
    let make = async |raw: &Value| {
        let send = async |push: &Arc<Push>, body: Received| {
            let taken = otlp::take(push, SUBJECT.into(), APP, otlp::Format::Json, body).await;
            assert_eq!(taken.unwrap().rejected, 0);
        };
        documents(raw, send).await
    };
    check("ingest/cases", "otlp-", 2, make).await;
}

#[tokio::test]
async fn items_of_bulk_make_the_documents_of_the_cases() {
    let make = async |raw: &Value| {
        let send = async |push: &Arc<Push>, body: Received| {
            let items = bulk::take(push, SUBJECT.into(), APP, body).await.unwrap();
            assert!(items.iter().all(|item| item.fault.is_none()));
        };
        documents(raw, send).await
    };
    check("ingest/cases", "bulk-", 3, make).await;
}
