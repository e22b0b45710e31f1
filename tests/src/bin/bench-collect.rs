//! What it costs to tail files, beside rsyslog and syslog-ng where they are
//! installed: the same files, and at the other end something that takes
//! everything and keeps nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use clap::Parser;
use mscp_log_core::clean::chunk::Chunk;
use mscp_log_tests::process::{self, Node};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// How long nothing may arrive before a run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measure tailing files beside rsyslog and syslog-ng.
#[derive(Parser)]
struct Arguments {
    /// Megabytes of lines in each run
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
}

/// Files, and lines of one length in them.
#[derive(Clone, Copy)]
struct Case {
    files: u64,
    line: usize,
}

const CASES: [Case; 4] = [
    Case {
        files: 1,
        line: 256,
    },
    Case {
        files: 1,
        line: 1_024,
    },
    Case {
        files: 1_000,
        line: 256,
    },
    Case {
        files: 1_000,
        line: 1_024,
    },
];

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    println!("| collector | files | line B | MB/s | CPU s | MB per CPU s | peak MB |");
    println!("|---|---|---|---|---|---|---|");
    for case in CASES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lines = write_files(folder.path(), case, arguments.megabytes << 20);
        ours(folder.path(), case, lines).await;
        for program in ["rsyslogd", "syslog-ng"] {
            if installed(program) {
                peer(program, folder.path(), case, lines).await;
            }
        }
    }
}

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|found| found.status.success())
}

/// Returns how many lines there are.
fn write_files(folder: &Path, case: Case, bytes: u64) -> u64 {
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).expect("a folder");
    let each = bytes / case.files / case.line as u64;
    for file in 0..case.files {
        let mut content = Vec::new();
        for line in 0..each {
            let head = format!(
                "2026-11-23T12:00:00.000000Z INFO worker-{file} request {line} handled in 12 ms "
            );
            content.extend_from_slice(head.as_bytes());
            content.resize(content.len() + case.line - 1 - head.len(), b'x');
            content.push(b'\n');
        }
        fs::write(logs.join(format!("f{file}.log")), content).expect("written");
    }
    each * case.files
}

/// Counts what came.
#[derive(Clone, Default)]
struct Sink(Arc<AtomicU64>);

impl Sink {
    async fn has(&self, lines: u64) -> bool {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let came = self.0.load(Ordering::Relaxed);
            if came >= lines {
                return true;
            }
            if came != last {
                (last, since) = (came, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                eprintln!("only {came} of {lines} lines came");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn take(State(sink): State<Sink>, body: Bytes) -> (StatusCode, String) {
    let chunks = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let records: usize = chunks
        .map(|chunk| Chunk::parse(chunk).map_or(0, |chunk| chunk.len()))
        .sum();
    sink.0.fetch_add(records as u64, Ordering::Relaxed);
    (StatusCode::ACCEPTED, format!("{{\"accepted\":{records}}}"))
}

async fn ours(folder: &Path, case: Case, lines: u64) {
    let sink = Sink::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let routes = Router::new()
        .route("/api/local/collect", post(take))
        .layer(DefaultBodyLimit::disable())
        .with_state(sink.clone());
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let paths = format!("{}/logs/*.log", folder.display());
    let data = tempfile::tempdir().expect("a temporary folder");
    let variables = [
        ("MSCP_LOG_COLLECT__URL", url.as_str()),
        ("MSCP_LOG_COLLECT__TOKEN", "x.y.z"),
        ("MSCP_LOG_COLLECT__FILES__PATHS", &paths),
    ];
    let begun = Instant::now();
    let node = Node::start(data.path(), &[], &variables);
    let came = sink.has(lines).await;
    let (cpu, peak) = process::cost_of(node.id());
    say("mscp-log", case, lines, begun.elapsed(), cpu, peak, came);
    node.kill();
    server.abort();
}

async fn peer(program: &str, folder: &Path, case: Case, lines: u64) {
    let sink = Sink::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let count = sink.clone();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let ends = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
                    count.0.fetch_add(ends as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let state = tempfile::tempdir().expect("a temporary folder");
    let begun = Instant::now();
    let mut child = start(program, folder, state.path(), port);
    let came = sink.has(lines).await;
    let (cpu, peak) = process::cost_of(child.id());
    say(program, case, lines, begun.elapsed(), cpu, peak, came);
    let _ = child.kill();
    let _ = child.wait();
    server.abort();
}

fn start(program: &str, folder: &Path, state: &Path, port: u16) -> Child {
    let (logs, state) = (folder.join("logs"), state.display());
    let logs = logs.display();
    let file = format!("{state}/peer.conf");
    let config = if program == "rsyslogd" {
        format!(
            "global(workDirectory=\"{state}\" maxMessageSize=\"64k\")\n\
             module(load=\"imfile\" mode=\"inotify\")\n\
             template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")\n\
             input(type=\"imfile\" File=\"{logs}/*.log\" Tag=\"t\" addMetadata=\"off\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" template=\"raw\")\n"
        )
    } else {
        format!(
            "@version: 3.38\n\
             source s {{ wildcard-file(base-dir(\"{logs}\") filename-pattern(\"*.log\") flags(no-parse) max-files(2000) follow-freq(1) log-iw-size(200000)); }};\n\
             destination d {{ network(\"127.0.0.1\" port({port}) template(\"${{MESSAGE}}\\n\") log-fifo-size(300000)); }};\n\
             log {{ source(s); destination(d); flags(flow-control); }};\n"
        )
    };
    let mut written = fs::File::create(&file).expect("a file");
    written.write_all(config.as_bytes()).expect("written");
    let mut command = Command::new(program);
    if program == "rsyslogd" {
        command.args(["-n", "-f", &file, "-i", &format!("{state}/pid")]);
    } else {
        command.args([
            "-F",
            "-f",
            &file,
            "--no-caps",
            "-R",
            &format!("{state}/persist"),
        ]);
        command.args(["-p", &format!("{state}/pid"), "-c", &format!("{state}/ctl")]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be executed")
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn say(program: &str, case: Case, lines: u64, took: Duration, cpu: f64, peak: u64, whole: bool) {
    let megabytes = (lines * case.line as u64) as f64 / 1e6;
    println!(
        "| {program}{} | {} | {} | {:.0} | {cpu:.2} | {:.0} | {:.0} |",
        if whole { "" } else { " (not all)" },
        case.files,
        case.line,
        megabytes / took.as_secs_f64(),
        megabytes / cpu,
        peak as f64 / 1e6,
    );
}
