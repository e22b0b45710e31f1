#![allow(clippy::unwrap_used, reason = "tests")]
//! The conformance table of cleaning, but for Beats, whose cases lie in the
//! core: a raw record in the form in which it comes (`raw`), the documents
//! that must come of it or why it is dropped (`expected`), what it is
//! (`source`) and who says so (`rule`).
//!
//! With `UPDATE_CASES=1` the tests write `expected`; look at what changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mscp_log_core::clean::chunk::Chunk;
use mscp_log_core::clean::{Cleaned, Redaction, Stamp, clean};
use mscp_log_core::index::Beats;
use mscp_log_core::record::Window;
use serde_json::Value;

use crate::collect::machine::Machine;
use crate::config::{Collect, Config};

/// When everything in the cases was read: 2017-05-09T10:00:00Z.
pub(crate) const READ_US: i64 = 1_494_324_000_000_000;

const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";
const POD: &str = "shop_web-5d4f8c7b9-x7k2p_7cc96a84-7ece-6fad-70a9-8b9db56bd08d";

/// The machine of the cases, and the folders that say which pods it has: one,
/// which is of an application.
pub(crate) fn machine() -> (tempfile::TempDir, Arc<Machine>) {
    let folder = tempfile::tempdir().unwrap();
    let (volumes, pods) = (folder.path().join("k8spods"), folder.path().join("pods"));
    let uid = POD.rsplit('_').next().unwrap();
    let volume = format!("{uid}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-access");
    fs::create_dir_all(volumes.join(volume)).unwrap();
    fs::create_dir_all(pods.join(POD)).unwrap();
    let config = Collect {
        volumes,
        pods,
        cluster: Some("c1".to_owned()),
        ..Config::default().collect
    };
    let machine = Machine::new("Node1.local".to_owned(), &config);
    (folder, Arc::new(machine))
}

/// What cleaning makes of the records of a chunk: documents, or the reasons of
/// those that are dropped.
pub(crate) fn cleaned(chunk: &[u8]) -> Vec<Value> {
    let mut chunk = Chunk::parse(chunk).unwrap();
    chunk.head.read_us = READ_US;
    let (beats, redaction) = (Beats::default(), Redaction::none());
    let of_one = |raw| {
        let stamp = Stamp {
            region: "local",
            zone: "default",
            cluster: chunk.head.cluster.as_deref(),
            host: &chunk.head.host,
            now_us: READ_US + 5,
            max_past_us: 86_400_000_000,
            max_future_us: Window::MAX_FUTURE_US,
            beats: &beats,
            redaction: &redaction,
            node: &chunk,
        };
        match clean(raw, &stamp) {
            Cleaned::Keep(document) => serde_json::to_value(document).unwrap(),
            Cleaned::Drop(reason) => reason.as_str().into(),
        }
    };
    chunk.raws().map(of_one).collect()
}

/// Look at every case of `folder` (below `src`) whose name begins with
/// `prefix`; there must be at least `least`.
pub(crate) async fn check(
    folder: &str,
    prefix: &str,
    least: usize,
    make: impl AsyncFn(&Value) -> Vec<Value>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect();
    files.sort();
    assert!(files.len() >= least, "{files:?}");
    for path in files {
        let mut case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(case["rule"].is_string(), "{}", path.display());
        let made = Value::from(make(&case["raw"]).await);
        if std::env::var_os("UPDATE_CASES").is_some() {
            case["expected"] = made;
            let text = serde_json::to_string_pretty(&case).unwrap();
            fs::write(&path, text + "\n").unwrap();
        } else {
            assert_eq!(made, case["expected"], "{}", path.display());
        }
    }
}
