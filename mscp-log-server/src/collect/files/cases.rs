#![allow(clippy::unwrap_used, reason = "tests")]
//! Log files, from their bytes to the document: `collect/cases/containers-*`
//! and `files-*`.

use std::io;
use std::sync::Arc;

use encoding_rs::Encoding;
use mscp_log_core::clean::chunk::FileKind;
use regex::bytes::Regex;
use serde_json::Value;

use super::follow::Key;
use super::lines::{Joining, TimeFormat};
use super::reader::{Disk, Found, Limits, Reader, Reading, Scan, Stat};
use crate::cases::{READ_US, check, cleaned, machine};
use crate::collect::keep::is_place;
use crate::collect::machine::Machine;

/// A file system with one file.
struct One {
    path: String,
    target: Option<String>,
    kind: FileKind,
    content: Vec<u8>,
}

impl One {
    fn state(&self) -> Stat {
        Stat {
            key: Key {
                device: 1,
                inode: 2,
            },
            size: self.content.len() as u64,
            modified_us: READ_US,
            linked: true,
            birth_us: Some(READ_US),
        }
    }
}

impl Disk for One {
    type Handle = ();

    fn scan(&mut self, _: &[(&str, &str, FileKind)]) -> Scan {
        let found = Found {
            path: self.path.clone(),
            target: self.target.clone(),
            at: self.path.clone(),
            kind: self.kind,
            rotated: false,
            stat: self.state(),
        };
        Scan {
            found: vec![found],
            incomplete: false,
            unsettled: false,
        }
    }

    fn open(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn stat(&mut self, (): &()) -> io::Result<Stat> {
        Ok(self.state())
    }

    fn read(&mut self, (): &(), offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.content[usize::try_from(offset).unwrap().min(self.content.len())..];
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
}

fn reading(raw: &Value, container: bool) -> Reading {
    let text = |key: &str| raw[key].as_str();
    let max_bytes = raw["max_line_bytes"].as_u64().unwrap_or(1 << 20);
    let encoding = text("encoding").unwrap_or("utf-8");
    let time = text("time_format");
    Reading {
        joining: Joining {
            container,
            start: text("record_start").map(|start| Regex::new(start).unwrap()),
            max_bytes: usize::try_from(max_bytes).unwrap(),
        },
        encoding: Encoding::for_label(encoding.as_bytes()).unwrap(),
        time: time.map(|format| TimeFormat::new(format, chrono_tz::UTC).unwrap()),
    }
}

/// What comes of a file with this content. `latin1` has one character for each
/// byte, for what is no text in UTF-8.
fn read(raw: &Value, kind: FileKind) -> Vec<Value> {
    const QUIET_US: i64 = 5_000_000;
    let (_folder, machine) = machine();
    let content = match raw["latin1"].as_str() {
        Some(bytes) => bytes.chars().map(|c| u8::try_from(c).unwrap()).collect(),
        None => raw["content"].as_str().unwrap().as_bytes().to_vec(),
    };
    let disk = One {
        path: raw["path"].as_str().unwrap().to_owned(),
        target: raw["target"].as_str().map(str::to_owned),
        kind,
        content,
    };
    let limits = Limits {
        open: 1,
        files: 1,
        quiet_us: QUIET_US,
    };
    let readings = (reading(raw, true), reading(raw, false));
    let heads: Box<Arc<Machine>> = Box::new(machine);
    let mut reader = Reader::new(disk, readings, limits, heads, Vec::new(), 0);
    let mut items = Vec::new();
    reader.scan(READ_US, false, &mut items);
    while reader.turn(READ_US, &mut items) {}
    // Whoever waits for more has waited.
    reader.flush(READ_US + QUIET_US);
    while reader.turn(READ_US + QUIET_US, &mut items) {}
    let chunks = items.iter().filter_map(|item| item.chunk());
    chunks
        .filter(|chunk| !is_place(chunk))
        .flat_map(|chunk| cleaned(chunk))
        .collect()
}

#[tokio::test]
async fn files_of_containers_make_the_documents_of_the_cases() {
    let make = async |raw: &Value| read(raw, FileKind::Container);
    check("collect/cases", "containers-", 7, make).await;
}

#[tokio::test]
async fn files_of_applications_make_the_documents_of_the_cases() {
    let make = async |raw: &Value| read(raw, FileKind::File);
    check("collect/cases", "files-", 7, make).await;
}
