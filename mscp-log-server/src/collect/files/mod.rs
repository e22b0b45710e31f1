//! Log files: those of applications in their volumes, and those that a
//! container runtime writes.
//!
//! `follow` and `lines` decide, without I/O; `reader` keeps all files together
//! and asks a file system; `disk` is the real one. One thread reads them all,
//! each file a part at a time, so that a busy one leaves the others their turn.

#[cfg(test)]
mod cases;
mod disk;
mod follow;
mod lines;
#[cfg(test)]
mod model;
mod reader;
mod records;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mscp_log_core::clean::chunk::{self, FileKind, Head};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

pub use disk::Pattern;
pub use follow::{FilePosition, Key};
pub use lines::{Joining, TimeFormat};
pub use reader::Reading;

use super::keep::{Item, Positions};
use super::losses::Losses;
use super::machine::Machine;
use crate::clock::now_us;
use disk::System;
use reader::{Behind, Counts, Heads, Limits, Reader};

/// What is read, and how.
#[derive(Clone, Debug)]
pub struct Files {
    /// Which files.
    pub patterns: Vec<Pattern>,
    /// How the files of container runtimes are read.
    pub container: Reading,
    /// How those of applications are.
    pub file: Reading,
    /// Whether files that are there at the very first start are read from
    /// their end on.
    pub at_end: bool,
    /// How often the folders are looked through.
    pub rescan: Duration,
    /// Files that are open at once.
    pub max_open: usize,
    /// Files that are followed.
    pub max_files: usize,
    /// How long a record waits for lines that belong to it.
    pub quiet: Duration,
}

/// How long the thread rests when there is nothing to read.
const REST: Duration = Duration::from_millis(100);

/// About how many bytes of chunks are handed over together.
const HAND_OVER_BYTES: usize = 1 << 20;

/// Shortest time between two scans that changes in folders ask for.
const LEAST_BETWEEN_SCANS: Duration = Duration::from_millis(200);

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(1);

/// How long the thread waits between two tries to hand over.
const NO_ROOM: Duration = Duration::from_millis(2);

/// How often folders that cannot be watched are looked through.
const UNWATCHED: Duration = Duration::from_secs(1);

impl Heads for Arc<Machine> {
    fn head<'h>(&'h self, read_us: i64, file: chunk::File<'h>) -> Head<'h> {
        self.head_of_file(read_us, file)
    }
}

/// Follow files from `positions` on, on a thread of its own, until `stop` or
/// until nobody takes what is read.
///
/// # Errors
/// When there is no thread, or it panicked.
pub async fn read(
    files: Files,
    machine: Arc<Machine>,
    positions: Positions,
    items: mpsc::Sender<Vec<Item>>,
    stop: CancellationToken,
) -> Result<(), String> {
    let thread = start(files, machine, &positions, items, stop);
    let thread = thread.map_err(|error| format!("there is no thread: {error}"))?;
    match tokio::task::spawn_blocking(|| thread.join()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("the reader of log files panicked".to_owned()),
    }
}

fn start(
    files: Files,
    machine: Arc<Machine>,
    positions: &Positions,
    items: mpsc::Sender<Vec<Item>>,
    stop: CancellationToken,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let limits = Limits {
        open: files.max_open.min(raise_open_files(files.max_open)),
        files: files.max_files,
        quiet_us: i64::try_from(files.quiet.as_micros()).unwrap_or(i64::MAX),
    };
    let readings = (files.container.clone(), files.file.clone());
    let system = System::new(files.patterns.clone());
    let scanned_us = positions.scanned_us;
    let first = scanned_us == 0 && positions.files.is_empty();
    let losses = positions.losses.clone();
    let positions = positions.files.values().cloned().collect();
    let reader = Reader::new(
        system,
        readings,
        limits,
        Box::new(machine),
        positions,
        scanned_us,
    );
    let follow = move || {
        run(reader, losses, &files, first, &items, &stop);
        for (_, source) in SOURCES {
            gauges(source, Behind::default());
        }
    };
    std::thread::Builder::new()
        .name("log-files".to_owned())
        .spawn(follow)
}

fn run(
    mut reader: Reader<System>,
    mut losses: Losses,
    files: &Files,
    first: bool,
    items: &mpsc::Sender<Vec<Item>>,
    stop: &CancellationToken,
) {
    let mut at_end = first && files.at_end;
    let mut next_scan = Instant::now();
    let mut least = Instant::now();
    let mut told: Option<Instant> = None;
    let mut tell_at_times = |reader: &Reader<System>| {
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            told = Some(Instant::now());
            tell(reader, now_us());
        }
    };
    while !stop.is_cancelled() {
        let mut out = Vec::new();
        let changes = reader.disk().changes();
        for path in &changes.written {
            reader.mark_path(path, now_us());
        }
        if changes.moved {
            next_scan = next_scan.min(least);
        }
        if Instant::now() >= next_scan {
            let begun = Instant::now();
            reader.scan(files_now_us(), at_end, &mut out);
            at_end = false;
            let regular = if reader.disk().watches() {
                files.rescan
            } else {
                files.rescan.min(UNWATCHED)
            };
            // Where scans are long, they are few.
            least = Instant::now() + LEAST_BETWEEN_SCANS.max(begun.elapsed() * 20);
            next_scan = (Instant::now() + regular).max(least);
        }
        reader.flush(now_us());
        let read_us = now_us();
        let mut bytes = 0;
        let mut busy = true;
        while busy && bytes < HAND_OVER_BYTES {
            let before = out.len();
            busy = reader.turn(read_us, &mut out);
            bytes += out[before..].iter().map(Item::bytes).sum::<usize>();
        }
        tell_at_times(&reader);
        count(&mut reader, &mut losses);
        out.splice(0..0, losses.changed());
        let tell = || tell_at_times(&reader);
        if !out.is_empty() && !hand_over(out, items, stop, tell) {
            return;
        }
        if !busy {
            std::thread::sleep(REST);
        }
    }
}

const SOURCES: [(FileKind, &str); 2] = [
    (FileKind::Container, "containers"),
    (FileKind::File, "files"),
];

/// Now, by the clock that a file system takes the times of its files from.
fn files_now_us() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// How far it is.
fn tell(reader: &Reader<System>, now_us: i64) {
    for (kind, source) in SOURCES {
        gauges(source, reader.behind(kind, now_us));
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
fn gauges(source: &'static str, behind: Behind) {
    metrics::gauge!("mscp_log_collect_files", "source" => source).set(behind.files as f64);
    metrics::gauge!("mscp_log_collect_behind_bytes", "source" => source).set(behind.bytes as f64);
    metrics::gauge!("mscp_log_collect_behind_seconds", "source" => source)
        .set(behind.us as f64 / 1e6);
}

/// Count what was read and what was lost since this was done last.
fn count(reader: &mut Reader<System>, losses: &mut Losses) {
    for (kind, source) in SOURCES {
        let counts = reader.counts(kind);
        if counts == Counts::default() {
            continue;
        }
        metrics::counter!("mscp_log_collect_records_total", "source" => source)
            .increment(counts.records);
        metrics::counter!("mscp_log_collect_bytes_total", "source" => source)
            .increment(counts.bytes);
        for (reason, (times, bytes)) in [
            ("truncated", counts.truncated),
            ("deleted", counts.deleted),
            ("too_long", counts.too_long),
        ] {
            losses.add(source, reason, times, bytes);
        }
        if counts.files_refused > 0 {
            metrics::counter!("mscp_log_collect_refused_files_total", "source" => source)
                .increment(counts.files_refused);
            tracing::warn!(
                source,
                "more log files than collect.files.max_files; some are not read"
            );
        }
    }
}

/// Hand over what was read, and say meanwhile how far it is; false when
/// nobody takes it.
fn hand_over(
    mut out: Vec<Item>,
    items: &mpsc::Sender<Vec<Item>>,
    stop: &CancellationToken,
    mut tell: impl FnMut(),
) -> bool {
    loop {
        out = match items.try_send(out) {
            Ok(()) => return true,
            Err(TrySendError::Full(out)) => out,
            Err(TrySendError::Closed(_)) => return false,
        };
        if stop.is_cancelled() {
            // What is not kept is read again.
            return false;
        }
        tell();
        std::thread::sleep(NO_ROOM);
    }
}

/// Raise the limit of open files as far as it goes; how many log files may be
/// open then.
fn raise_open_files(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// What everything else needs.
    const OTHERS: u64 = 512;
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + OTHERS;
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < needed {
        let raised = limit.maximum.unwrap_or(u64::MAX).min(needed);
        let both = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, both).is_ok() {
            current = raised;
        }
    }
    usize::try_from(current.saturating_sub(OTHERS))
        .unwrap_or(usize::MAX)
        .max(16)
}
