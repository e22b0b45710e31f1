//! `journalctl` as a child: one that follows, and short ones that are asked.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mscp_log_core::clean::journal::Entry;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use super::Journal;

/// The fields of an entry that are read; the cursor and the time come always.
const FIELDS: &str = "--output-fields=MESSAGE,CONTAINER_NAME,CONTAINER_ID,CONTAINER_ID_FULL,\
_HOSTNAME,PRIORITY,CONTAINER_PARTIAL_MESSAGE,CONTAINER_PARTIAL_LAST";

/// Longest that a child is waited for that is asked something.
const ANSWER: Duration = Duration::from_secs(20);

/// What a child that follows says.
#[derive(Debug)]
pub(super) enum Read {
    /// An entry: a JSON object.
    Entry(Vec<u8>),
    /// An entry that is longer than is read; how many bytes.
    TooLong(usize),
    /// It ended; why.
    End(String),
}

/// A child that follows. It is killed when it is dropped.
pub(super) struct Child {
    child: std::process::Child,
    out: BufReader<pipe::Receiver>,
    line: Vec<u8>,
    /// Bytes of a line that were left out, while it goes on.
    skipped: usize,
    max_line: usize,
    complaint: Arc<std::sync::Mutex<String>>,
    spoke: AtomicBool,
}

fn command(journal: &Journal) -> Command {
    let mut command = Command::new(&journal.journalctl);
    // Whole fields, beyond 4,096 bytes too; times and messages of no language.
    command.args(["--output=json", "--all", "--no-pager", FIELDS]);
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    if let Some(directory) = &journal.directory {
        command.arg("--directory").arg(directory);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Child {
    /// Follow from behind `after` on, or from the oldest entry. Needs a
    /// runtime of Tokio around it.
    pub(super) fn follow(journal: &Journal, after: Option<&str>) -> Result<Self, String> {
        let mut command = command(journal);
        command.args(["--follow", "--no-tail"]);
        if let Some(cursor) = after {
            command.arg(format!("--after-cursor={cursor}"));
        }
        let failed =
            |error: io::Error| format!("{} cannot be run: {error}", journal.journalctl.display());
        let mut child = command.spawn().map_err(failed)?;
        let (out, complaints) = match (child.stdout.take(), child.stderr.take()) {
            (Some(out), Some(complaints)) => (out, complaints),
            _ => return Err("journalctl has no output".to_owned()),
        };
        let complaint = Arc::new(std::sync::Mutex::new(String::new()));
        let heard = Arc::clone(&complaint);
        let listen = move || {
            use std::io::BufRead as _;
            let lines = io::BufReader::new(complaints).lines();
            for line in lines.map_while(Result::ok) {
                let line: String = line.chars().take(500).collect();
                tracing::warn!(journalctl = %line, "the journal");
                if let Ok(mut last) = heard.lock() {
                    *last = line;
                }
            }
        };
        std::thread::Builder::new()
            .name("journalctl".to_owned())
            .spawn(listen)
            .map_err(failed)?;
        let out = pipe::Receiver::from_owned_fd(out.into()).map_err(failed)?;
        Ok(Self {
            child,
            out: BufReader::with_capacity(256 << 10, out),
            line: Vec::new(),
            skipped: 0,
            // Of a message in bytes journalctl writes up to 4 for one.
            max_line: 6 * journal.max_bytes + (64 << 10),
            complaint,
            spoke: AtomicBool::new(false),
        })
    }

    /// The next entry. Cancel-safe: what was read of it stays.
    pub(super) async fn read(&mut self) -> Read {
        loop {
            let available = match self.out.fill_buf().await {
                Ok([]) => return self.end("journalctl ended"),
                Ok(available) => available,
                Err(error) => {
                    let reason = format!("journalctl: {error}");
                    return self.end(&reason);
                }
            };
            self.spoke.store(true, Ordering::Relaxed);
            let end = memchr::memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            if self.skipped > 0 || self.line.len() + part.len() > self.max_line {
                self.skipped += part.len() + std::mem::take(&mut self.line).len();
            } else {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(available.len(), |end| end + 1);
            self.out.consume(used);
            if end.is_some() {
                if self.skipped > 0 {
                    return Read::TooLong(std::mem::take(&mut self.skipped));
                }
                if !self.line.is_empty() {
                    return Read::Entry(std::mem::take(&mut self.line));
                }
            }
        }
    }

    /// Whether it said nothing since this was asked last.
    pub(super) fn is_quiet(&self) -> bool {
        !self.spoke.swap(false, Ordering::Relaxed)
    }

    fn end(&self, reason: &str) -> Read {
        let complaint = self
            .complaint
            .lock()
            .map(|last| last.clone())
            .unwrap_or_default();
        Read::End(match complaint.as_str() {
            "" => reason.to_owned(),
            complaint => format!("{reason}: {complaint}"),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cursor of the newest entry, if there is one.
pub(super) async fn newest(journal: &Journal) -> Result<Option<String>, String> {
    let mut command = command(journal);
    command.args(["--lines=1", "--quiet"]);
    cursor(command).await
}

/// Whether the entry of this cursor is in the journal.
pub(super) async fn has(journal: &Journal, wanted: &str) -> Result<bool, String> {
    let mut command = command(journal);
    command
        .args(["--lines=1", "--quiet"])
        .arg(format!("--cursor={wanted}"));
    Ok(cursor(command).await?.as_deref() == Some(wanted))
}

async fn cursor(mut command: Command) -> Result<Option<String>, String> {
    let asked = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(ANSWER, asked)
        .await
        .map_err(|_| "journalctl does not answer".to_owned())?
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("journalctl cannot be run: {error}"))?;
    let line = output
        .stdout
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if line.is_empty() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: String = complaint.trim().chars().take(500).collect();
        let nothing = complaint.is_empty() || complaint.contains("No journal files");
        return if output.status.success() || nothing {
            Ok(None)
        } else {
            Err(complaint)
        };
    }
    let entry = Entry::parse(line).map_err(|error| error.to_string())?;
    Ok(entry.cursor.map(std::borrow::Cow::into_owned))
}
