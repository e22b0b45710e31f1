//! What it costs to collect, beside rsyslog and syslog-ng where they are there
//! (`make peers`) and can do the same: the same files and journals, and at the
//! other end something that takes everything and keeps nothing.
#![forbid(unsafe_code)]

mod collector;
mod lumberjack;
mod sink;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use collector::{Collector, From};
use mscp_log_tests::journal::Journal;
use mscp_log_tests::process;

/// Measure collecting beside rsyslog and syslog-ng.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything, if it is not said
    #[arg(long, value_enum)]
    only: Vec<What>,
    /// Megabytes of lines in each run of tailing
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
    /// Files when restarting
    #[arg(long, default_value_t = 10_000)]
    files: u64,
    /// Entries of the journal
    #[arg(long, default_value_t = 200_000)]
    entries: u64,
    /// Events over Lumberjack
    #[arg(long, default_value_t = 200_000)]
    events: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Files that are there, read to their end
    Tail,
    /// A restart with many files
    Restart,
    /// A journal, read to its end
    Journal,
    /// Events of Beats into a node
    Lumberjack,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let wanted = |what| arguments.only.is_empty() || arguments.only.contains(&what);
    let collectors = Collector::all();
    if wanted(What::Tail) {
        tail(&collectors, arguments.megabytes << 20).await;
    }
    if wanted(What::Restart) {
        restart(&collectors, arguments.files).await;
    }
    if wanted(What::Journal) {
        journal(&collectors, arguments.entries).await;
    }
    if wanted(What::Lumberjack) {
        lumberjack::measure(arguments.events).await;
    }
}

async fn tail(collectors: &[Collector], bytes: u64) {
    println!("\n| files | line B | collector | MB/s | CPU s | MB per CPU s | peak MB |");
    println!("|---|---|---|---|---|---|---|");
    for (files, line) in [(1, 256), (1, 1_024), (1_000, 256), (1_000, 1_024)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let each = bytes / files / line as u64;
        write_files(folder.path(), files, each, line);
        let lines = each * files;
        let megabytes = mega(lines * line as u64);
        for collector in collectors {
            let state = tempfile::tempdir().expect("a temporary folder");
            let sink = collector.sink().await;
            let begun = Instant::now();
            let running = collector.start(From::Files(folder.path()), state.path(), &sink);
            let whole = sink.has(lines).await;
            let took = begun.elapsed().as_secs_f64();
            let (cpu, peak) = running.cost();
            println!(
                "| {files} | {line} | {}{} | {:.0} | {cpu:.2} | {:.0} | {:.0} |",
                collector.name(),
                not_all(whole),
                megabytes / took,
                megabytes / cpu,
                mega(peak),
            );
            running.stop();
        }
    }
}

/// Ten lines in each file are read; then, while it is down, one line more is
/// written to one file, and one to another when that has come.
async fn restart(collectors: &[Collector], files: u64) {
    const LINES: u64 = 10;
    println!(
        "\n| files | collector | s until a line from before | s until the next | CPU s then, and after 5 s | resident MB, peak |"
    );
    println!("|---|---|---|---|---|---|");
    for collector in collectors {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_files(folder.path(), files, LINES, 256);
        let state = tempfile::tempdir().expect("a temporary folder");
        let sink = collector.sink().await;
        let from = From::Files(folder.path());
        let running = collector.start(from, state.path(), &sink);
        let mut whole = sink.has(files * LINES).await;
        // Positions are written within seconds.
        tokio::time::sleep(Duration::from_secs(8)).await;
        running.stop();
        append(folder.path(), files / 2);
        let lines = sink.came() + 1;
        let begun = Instant::now();
        let running = collector.start(from, state.path(), &sink);
        whole &= sink.has(lines).await;
        let first = begun.elapsed();
        append(folder.path(), files / 3);
        let begun = Instant::now();
        whole &= sink.has(lines + 1).await;
        let second = begun.elapsed();
        let (cpu, _) = running.cost();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (later, peak) = running.cost();
        println!(
            "| {files} | {}{} | {:.2} | {:.2} | {cpu:.2}, {later:.2} | {:.0}, {:.0} |",
            collector.name(),
            not_all(whole),
            first.as_secs_f64(),
            second.as_secs_f64(),
            mega(running.resident()),
            mega(peak),
        );
        running.stop();
    }
}

/// Peers read all entries, and so the journal has entries of containers only.
async fn journal(collectors: &[Collector], entries: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Peers look in the folder that is called as the machine is.
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let of_machine = folder.path().join(machine.trim());
    let Some(mut journal) = Journal::create(&of_machine, "system") else {
        println!("\nno systemd-journal-remote: the journal is left out");
        return;
    };
    for number in 0..entries {
        journal.write(&line(0, number, 200));
    }
    journal.finish();
    println!(
        "\n| entries | collector | entries/s | CPU s, of them its own process's | peak MB, of its own process |"
    );
    println!("|---|---|---|---|---|");
    for collector in collectors {
        let state = tempfile::tempdir().expect("a temporary folder");
        let sink = collector.sink().await;
        let begun = Instant::now();
        let running = collector.start(From::Journal(folder.path()), state.path(), &sink);
        let whole = sink.has(entries).await;
        let took = begun.elapsed().as_secs_f64();
        let (cpu, peak) = running.cost();
        let (own, own_peak) = process::cost_of(running.id());
        println!(
            "| {entries} | {}{} | {:.0} | {cpu:.2}, {own:.2} | {:.0}, {:.0} |",
            collector.name(),
            not_all(whole),
            number(entries) / took,
            mega(peak),
            mega(own_peak),
        );
        running.stop();
    }
}

fn line(worker: u64, number: u64, bytes: usize) -> String {
    let mut line = format!(
        "2026-11-23T12:00:00.000000Z INFO worker-{worker} request {number} handled in 12 ms "
    );
    line.extend(std::iter::repeat_n('x', bytes - line.len()));
    line
}

fn write_files(folder: &Path, files: u64, each: u64, bytes: usize) {
    for file in 0..files {
        let mut content = String::new();
        for number in 0..each {
            content.push_str(&line(file, number, bytes - 1));
            content.push('\n');
        }
        fs::write(folder.join(format!("f{file}.log")), content).expect("written");
    }
}

fn append(folder: &Path, file: u64) {
    let path = folder.join(format!("f{file}.log"));
    let opened = OpenOptions::new().append(true).open(path);
    let mut opened = opened.expect("a file");
    opened.write_all(b"one line more\n").expect("written");
}

fn not_all(whole: bool) -> &'static str {
    if whole { "" } else { " (not all)" }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn number(count: u64) -> f64 {
    count as f64
}

fn mega(bytes: u64) -> f64 {
    number(bytes) / 1e6
}
