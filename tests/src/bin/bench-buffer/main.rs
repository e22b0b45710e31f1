//! Measures the disk buffer and the crates that could stand in its place:
//! appends of 100 records, durable when they return, from several callers; what
//! is there after SIGKILL; and what is there after a byte in the middle of a
//! file went wrong. `docs/buffer.md` says what came out.
//!
//! Each measurement runs in a process of its own, so that CPU time and peak
//! memory are its own.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that meets an error has no other result"
)]

mod contenders;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use contenders::Kind;

/// Records in an append.
const RECORDS: usize = 100;
/// Bytes of a record: about what a cleaned container line is.
const RECORD_BYTES: usize = 500;
const CALLERS: [u32; 3] = [1, 16, 64];

#[derive(Parser)]
#[command(about = "Measure the disk buffer and its alternatives")]
struct Arguments {
    /// Appends of 100 records in each measurement.
    #[arg(long, default_value_t = 8_000)]
    appends: u32,
    /// Where to write; it must be on the disk that shall be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Only these.
    #[arg(long)]
    kind: Vec<Kind>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What a process of its own does.
#[derive(Subcommand)]
enum Part {
    /// Append and say what it cost.
    Load {
        kind: Kind,
        callers: u32,
        appends: u32,
        dir: PathBuf,
        /// Print each append's number when it is acknowledged.
        #[arg(long)]
        say: bool,
    },
    /// Open and print the number of each append that is there.
    Read { kind: Kind, dir: PathBuf },
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Load {
            kind,
            callers,
            appends,
            dir,
            say,
        }) => load(kind, callers, appends, &dir, say),
        Some(Part::Read { kind, dir }) => {
            for append in contenders::read(kind, &dir) {
                println!("{append}");
            }
        }
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) {
    let kinds = match arguments.kind.as_slice() {
        [] => Kind::ALL,
        kinds => kinds,
    };
    println!(
        "| buffer | callers | records/s | CPU s per million | p50 ms | p99 ms | written MB | on disk MB | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for callers in CALLERS {
        for kind in kinds {
            let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
            // One caller waits for each sync alone; fewer appends tell as much.
            let appends = arguments.appends / if callers == 1 { 4 } else { 1 };
            let mut child = spawn(
                &[
                    "load",
                    kind.name(),
                    &callers.to_string(),
                    &appends.to_string(),
                ],
                dir.path(),
                false,
            );
            let line = lines(&mut child).next().unwrap_or_default();
            assert!(child.wait().unwrap().success(), "{} failed", kind.name());
            println!("| {} | {callers} | {line} |", kind.name());
        }
    }
    println!();
    println!(
        "| buffer | acknowledged when killed | of these found again | damaged byte in the middle of |  appends found of |"
    );
    println!("|---|---|---|---|---|");
    for kind in kinds {
        killed_and_damaged(*kind, arguments);
    }
}

fn killed_and_damaged(kind: Kind, arguments: &Arguments) {
    let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
    let mut child = spawn(
        &["load", kind.name(), "16", &u32::MAX.to_string(), "--say"],
        dir.path(),
        true,
    );
    let mut acknowledged = Vec::new();
    for line in lines(&mut child) {
        acknowledged.push(line.parse::<u32>().unwrap());
        if acknowledged.len() == 2_000 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let found = read_back(kind, dir.path());
    let again = match &found {
        Ok(found) => acknowledged
            .iter()
            .filter(|append| found.contains(append))
            .count()
            .to_string(),
        Err(error) => error.clone(),
    };

    let (file, bytes) = largest_file(dir.path());
    let handle = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&file)
        .unwrap();
    // Files may be preallocated: the middle of what is not zero.
    let content = fs::read(&file).unwrap();
    let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
    let mut byte = [0];
    handle.read_exact_at(&mut byte, used / 2).unwrap();
    handle.write_all_at(&[byte[0] ^ 0x20], used / 2).unwrap();
    let after = match read_back(kind, dir.path()) {
        Ok(after) => after.len().to_string(),
        Err(error) => error,
    };
    println!(
        "| {} | {} | {again} | {} ({} MB) | {after} of {} |",
        kind.name(),
        acknowledged.len(),
        file.file_name().unwrap().to_string_lossy(),
        bytes / 1_000_000,
        found.map_or(0, |found| found.len()),
    );
}

fn spawn(words: &[&str], dir: &Path, quiet: bool) -> Child {
    let (part, rest) = words.split_first().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(part);
    let (flags, places): (Vec<&str>, Vec<&str>) =
        rest.iter().partition(|word| word.starts_with("--"));
    command
        .args(places)
        .arg(dir)
        .args(flags)
        .stdout(Stdio::piped());
    if quiet {
        command.stderr(Stdio::null());
    }
    command.spawn().unwrap()
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).lines().map_while(Result::ok)
}

fn read_back(kind: Kind, dir: &Path) -> Result<Vec<u32>, String> {
    let mut child = spawn(&["read", kind.name()], dir, true);
    let found: Vec<u32> = lines(&mut child)
        .map(|line| line.parse().unwrap())
        .collect();
    match child.wait().unwrap().success() {
        true => Ok(found),
        false => Err("does not open".to_owned()),
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push((entry.path(), metadata.len()));
        }
    }
    all
}

fn largest_file(dir: &Path) -> (PathBuf, u64) {
    files(dir)
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .unwrap()
}

/// An append that says its number: documents that compress about as logs do.
fn append_of(number: u32) -> Vec<Bytes> {
    let mut random = u64::from(number) + 1;
    (0..RECORDS)
        .map(|record| {
            let mut text = format!("{{\"append\":{number},\"record\":{record},\"message\":\"");
            while text.len() < RECORD_BYTES - 2 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str("connection from ");
                text.push_str(&(random >> 40).to_string());
                text.push_str(" closed, ");
            }
            text.truncate(RECORD_BYTES - 2);
            text.push_str("\"}");
            Bytes::from(text)
        })
        .collect()
}

fn load(kind: Kind, callers: u32, appends: u32, dir: &Path, say: bool) {
    let append = contenders::open(kind, dir);
    // A load that is to be killed begins where it is; numbers are given in turn.
    let next = AtomicU32::new(0);
    let latencies = Mutex::new(Vec::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut own = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= appends {
                        break;
                    }
                    let records = append_of(number);
                    let start = Instant::now();
                    append(records);
                    own.push(start.elapsed().as_secs_f64());
                    if say {
                        let mut stdout = std::io::stdout().lock();
                        if writeln!(stdout, "{number}")
                            .and_then(|()| stdout.flush())
                            .is_err()
                        {
                            break;
                        }
                    }
                }
                latencies.lock().unwrap().append(&mut own);
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    // Building the records is a caller's cost, the same for all: taken off.
    let cpu = cpu_seconds() - building(appends);
    let mut latencies = latencies.into_inner().unwrap();
    latencies.sort_by(f64::total_cmp);
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize] * 1_000.0;
    let records = f64::from(appends) * RECORDS as f64;
    let on_disk: u64 = files(dir).iter().map(|(_, bytes)| bytes).sum();
    println!(
        "{:.0} | {:.2} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0}",
        records / seconds,
        cpu / records * 1e6,
        at(0.5),
        at(0.99),
        proc_number("io", "write_bytes:") / 1e6,
        on_disk as f64 / 1e6,
        proc_number("status", "VmHWM:") / 1e3,
    );
    // What a contender does when it is closed is not measured.
    std::process::exit(0);
}

fn building(appends: u32) -> f64 {
    let sample = appends.min(1_000);
    let begun = cpu_seconds();
    for number in 0..sample {
        std::hint::black_box(append_of(number));
    }
    (cpu_seconds() - begun) / f64::from(sample) * f64::from(appends)
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit(") ").next().unwrap();
    let ticks: u32 = behind_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u32>().unwrap())
        .sum();
    f64::from(ticks) / 100.0
}

fn proc_number(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
