//! `push`: the lines of files through the client library.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mscp_log_client::{Closed, PushSettings, Pusher, Record};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use uuid::Uuid;

use super::connection::Connection;
use super::{Failure, output};

/// Longer lines are lost, and counted: the reader's memory is bounded.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// How long a record may wait for a place in the queue, and what is left for
/// its way at the end: longer than the server's longest ordinary stop.
const PATIENCE: Duration = Duration::from_secs(300);

/// Push lines
#[derive(Args, Debug)]
#[command(after_help = "\
Every line is one record of the time of its push, in the order of the file. A record counts as sent
when the server has it on disk. Lines of a file named .ndjson or .jsonl, or with --ndjson of any
file, are records in JSON:

  {\"timestemp\": 1516792419231221, \"message\": \"paid\", \"annotations\": [{\"key\": \"level\", \"value\": \"info\"}]}

where timestemp is in microseconds (now when absent), and appid and type default to --app and --type.

  mscp-log push --app caa0c2f0-1116-495f-8f09-3cd023cc14a2 --type syslog /var/log/syslog
  tail -F app.log | mscp-log push --app caa0c2f0-1116-495f-8f09-3cd023cc14a2")]
pub(super) struct Push {
    /// The app that the records belong to
    #[arg(long, env = "MSCP_LOG_APP", value_name = "UUID")]
    app: Option<Uuid>,

    /// Their type: 1 to 64 of [A-Za-z0-9_.-]
    #[arg(long = "type", value_name = "TYPE", default_value = "applog", value_parser = record_type)]
    kind: String,

    /// An annotation of every record; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation)]
    annotation: Vec<(String, String)>,

    /// Every file holds JSON, one record a line
    #[arg(long)]
    ndjson: bool,

    /// Compress what is sent
    #[arg(long)]
    gzip: bool,

    /// Files; - or none is the standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn record_type(text: &str) -> Result<String, String> {
    let good = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if good {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 of [A-Za-z0-9_.-]".to_owned())
    }
}

fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// What became of one file.
struct Counts {
    name: String,
    lines: u64,
    outcome: Closed,
    /// Lines that are no record, and the words about the first of them.
    wrong: u64,
    first_wrong: Option<String>,
    /// Whether reading ended before the file did.
    cut: Option<String>,
}

impl Counts {
    fn lost(&self) -> u64 {
        self.outcome.dropped.total() + self.wrong
    }

    fn is_whole(&self) -> bool {
        self.lost() == 0 && self.outcome.pending == 0 && self.cut.is_none()
    }
}

impl Push {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let mut files = self.files.clone();
        if files.is_empty() {
            files.push(PathBuf::from("-"));
        }
        if self.app.is_none() && files.iter().any(|file| !self.is_ndjson(file)) {
            return Err(Failure::usage(
                "plain lines need an app: --app UUID, or MSCP_LOG_APP",
            ));
        }
        let client = connection.client()?;
        let settings = PushSettings {
            gzip: self.gzip,
            deadline: PATIENCE,
            ..Default::default()
        };
        let mut all = Vec::new();
        for file in &files {
            // One pusher a file, so that each has counts of its own.
            let pusher = client.pusher(settings.clone())?;
            let counts = self.push_file(file, &pusher).await?;
            let interrupted = counts.cut.is_some();
            all.push(counts);
            if interrupted {
                break;
            }
        }
        report(connection, &all)?;
        if all.iter().all(Counts::is_whole) {
            Ok(())
        } else {
            Err(Failure::Said)
        }
    }

    fn is_ndjson(&self, file: &Path) -> bool {
        self.ndjson
            || file
                .extension()
                .is_some_and(|end| end == "ndjson" || end == "jsonl")
    }

    async fn push_file(&self, file: &Path, pusher: &Pusher) -> Result<Counts, Failure> {
        let name = file.display().to_string();
        let failed = |error: std::io::Error| Failure::failed(format!("{name}: {error}"));
        let opened = if name == "-" {
            let descriptor = std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map_err(failed)?;
            tokio::fs::File::from_std(descriptor.into())
        } else {
            tokio::fs::File::open(file).await.map_err(failed)?
        };
        let about = opened.metadata().await.map_err(failed)?;
        if about.is_dir() {
            return Err(Failure::failed(format!(
                "{name} is a folder; expected a file"
            )));
        }
        // A pipe has no size, and what is left of a redirected file is not known.
        let size = (name != "-" && about.is_file()).then_some(about.len());
        let bar = progress(&name, size);
        let mut counts = Counts {
            name,
            lines: 0,
            outcome: Closed::default(),
            wrong: 0,
            first_wrong: None,
            cut: None,
        };
        let mut input = BufReader::with_capacity(256 * 1024, opened);
        tokio::select! {
            read = self.push_lines(&mut input, self.is_ndjson(file), pusher, &bar, &mut counts) => {
                if let Err(error) = read {
                    counts.cut = Some(error.to_string());
                }
            }
            // What was read is still sent.
            _ = tokio::signal::ctrl_c() => counts.cut = Some("interrupted".to_owned()),
        }
        bar.set_message("sending the rest");
        let patience = if counts.cut.is_some() {
            Duration::from_secs(10)
        } else {
            PATIENCE
        };
        counts.outcome = pusher.close(patience).await;
        bar.finish_and_clear();
        Ok(counts)
    }

    async fn push_lines(
        &self,
        input: &mut (impl AsyncBufRead + Unpin),
        ndjson: bool,
        pusher: &Pusher,
        bar: &ProgressBar,
        counts: &mut Counts,
    ) -> std::io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = read_line(input, &mut line).await?;
            if read == 0 {
                return Ok(());
            }
            bar.inc(read as u64);
            counts.lines += 1;
            let record = if line.len() > MAX_LINE_BYTES {
                Err(format!("over {MAX_LINE_BYTES} bytes"))
            } else {
                self.record(&line, ndjson)
            };
            match record {
                // A record that is not taken is counted by the pusher.
                Ok(record) => drop(pusher.push_within(&record, PATIENCE).await),
                Err(words) => {
                    counts.wrong += 1;
                    counts
                        .first_wrong
                        .get_or_insert_with(|| format!("line {}: {words}", counts.lines));
                }
            }
            if counts.lines.is_multiple_of(1_024) {
                bar.set_message(format!("{} lines", counts.lines));
            }
        }
    }

    fn record(&self, line: &[u8], ndjson: bool) -> Result<Record, String> {
        let text = String::from_utf8_lossy(line);
        let mut record = if ndjson {
            Line::record(&text, self.app, &self.kind)?
        } else {
            Record::now(self.app.unwrap_or_default(), &self.kind, text)
        };
        for (key, value) in &self.annotation {
            record = record.annotation(key, value.as_str());
        }
        Ok(record)
    }
}

/// A record as a line of NDJSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    timestemp: Option<i64>,
    timestamp: Option<i64>,
    appid: Option<Uuid>,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: String,
    #[serde(default)]
    annotations: Vec<LineAnnotation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineAnnotation {
    key: String,
    value: Value,
}

impl Line {
    fn record(text: &str, app: Option<Uuid>, kind: &str) -> Result<Record, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let app = line
            .appid
            .or(app)
            .ok_or("no appid, and no --app to take its place")?;
        let kind = line.kind.unwrap_or_else(|| kind.to_owned());
        let record = match (line.timestemp, line.timestamp) {
            (Some(_), Some(_)) => return Err("both timestemp and timestamp".to_owned()),
            (Some(time_us), None) | (None, Some(time_us)) => {
                Record::at(app, kind, line.message, time_us)
            }
            (None, None) => Record::now(app, kind, line.message),
        };
        Ok(line
            .annotations
            .into_iter()
            .fold(record, |record, annotation| {
                record.annotation(annotation.key, annotation.value)
            }))
    }
}

/// One line without its end (LF or CR LF) into `line`; of one that is too long
/// a byte more than the limit. Gives the bytes read; none at the end.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<usize> {
    let mut read = 0;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', available);
        let part = &available[..end.unwrap_or(available.len())];
        let room = (MAX_LINE_BYTES + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        read += used;
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            break;
        }
    }
    Ok(read)
}

fn progress(name: &str, size: Option<u64>) -> ProgressBar {
    // indicatif draws on the standard error, and nothing where that is no terminal.
    let (bar, form) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {prefix} {bytes} {msg}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.set_prefix(output::printable(name).into_owned());
    bar
}

fn report(connection: &Connection, all: &[Counts]) -> Result<(), Failure> {
    if connection.json {
        let files: Vec<Value> = all
            .iter()
            .map(|counts| {
                let mut lost: serde_json::Map<String, Value> = counts
                    .outcome
                    .dropped
                    .iter()
                    .map(|(why, count, _)| (why.name().into(), count.into()))
                    .collect();
                if counts.wrong > 0 {
                    lost.insert("malformed".into(), counts.wrong.into());
                }
                json!({
                    "file": counts.name, "lines": counts.lines, "sent": counts.outcome.sent,
                    "lost": lost, "pending": counts.outcome.pending,
                })
            })
            .collect();
        output::json(&json!({"files": files}))?;
    } else {
        let row = |name: &str, lines: u64, sent: u64, lost: u64, pending: usize| {
            vec![
                name.to_owned(),
                lines.to_string(),
                sent.to_string(),
                lost.to_string(),
                pending.to_string(),
            ]
        };
        let mut rows: Vec<Vec<String>> = all
            .iter()
            .map(|counts| {
                row(
                    &counts.name,
                    counts.lines,
                    counts.outcome.sent,
                    counts.lost(),
                    counts.outcome.pending,
                )
            })
            .collect();
        if all.len() > 1 {
            rows.push(row(
                "total",
                all.iter().map(|counts| counts.lines).sum(),
                all.iter().map(|counts| counts.outcome.sent).sum(),
                all.iter().map(Counts::lost).sum(),
                all.iter().map(|counts| counts.outcome.pending).sum(),
            ));
        }
        output::table(&["FILE", "LINES", "SENT", "LOST", "PENDING"], &rows)?;
    }
    let mut errors = std::io::stderr().lock();
    for counts in all {
        for (why, count, words) in counts.outcome.dropped.iter() {
            writeln!(
                errors,
                "{}: {count} lost, {why}: {}",
                counts.name,
                output::printable(words)
            )?;
        }
        if let Some(words) = &counts.first_wrong {
            writeln!(
                errors,
                "{}: {} lost, malformed: {}",
                counts.name,
                counts.wrong,
                output::printable(words)
            )?;
        }
        if counts.outcome.pending > 0 {
            writeln!(
                errors,
                "{}: {} were not acknowledged in time",
                counts.name, counts.outcome.pending
            )?;
        }
        if let Some(words) = &counts.cut {
            writeln!(errors, "{}: not read to its end: {words}", counts.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    async fn lines(text: &[u8]) -> Vec<String> {
        // The smallest buffer cuts every line.
        let mut input = BufReader::with_capacity(2, text);
        let mut all = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut input, &mut line).await.unwrap() > 0 {
            all.push(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
        all
    }

    #[tokio::test]
    async fn lines_end_with_lf_or_cr_lf_and_the_last_needs_no_end() {
        assert_eq!(
            lines(b"one\r\ntwo\n\nthree").await,
            ["one", "two", "", "three"]
        );
        assert_eq!(lines(b"one\n").await, ["one"]);
        assert_eq!(lines(b"\r\n\r").await, ["", "\r"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_read_to_its_end_and_kept_only_so_far() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 100];
        text.extend_from_slice(b"\nnext\n");
        let mut input = BufReader::new(&text[..]);
        let mut line = Vec::new();
        assert_eq!(
            read_line(&mut input, &mut line).await.unwrap(),
            MAX_LINE_BYTES + 101
        );
        assert_eq!(line.len(), MAX_LINE_BYTES + 1);
        line.clear();
        read_line(&mut input, &mut line).await.unwrap();
        assert_eq!(line, b"next");
    }

    #[test]
    fn a_line_of_ndjson_takes_from_the_command_line_what_it_does_not_say() {
        let app = Uuid::from_u128(7);
        let record = Line::record(r#"{"message": "m"}"#, Some(app), "t").unwrap();
        assert_eq!(record.app(), app);
        let own = format!(
            r#"{{"message": "m", "appid": "{}", "timestamp": 5}}"#,
            Uuid::from_u128(8)
        );
        let record = Line::record(&own, Some(app), "t").unwrap();
        assert_eq!((record.app(), record.time_us()), (Uuid::from_u128(8), 5));
        for wrong in [
            "",
            "{}",
            r#"{"message": "m"}"#,
            r#"{"message": "m", "x": 1}"#,
        ] {
            assert!(Line::record(wrong, None, "t").is_err(), "{wrong}");
        }
        assert!(
            Line::record(
                r#"{"message": "m", "timestamp": 1, "timestemp": 1}"#,
                Some(app),
                "t"
            )
            .is_err()
        );
    }
}
