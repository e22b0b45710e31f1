//! Commands that need no node: the buffer's check, the index template, completions, manual pages.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use mscp_log_core::template::{Version, index_template};
use serde_json::json;

use super::{Failure, output};

/// Commands on a buffer.
#[derive(Debug, Subcommand)]
pub(super) enum Buffer {
    /// Read every record of a buffer, and say what is damaged.
    ///
    /// Nothing is changed. A node may be running: the newest write may then
    /// show as a torn tail.
    Check {
        /// The node's data folder
        #[arg(long, value_name = "DIR", env = "MSCP_LOG_DATA")]
        data: PathBuf,
    },
}

/// Print the index template
#[derive(Args, Debug)]
#[command(after_help = "\
  mscp-log index-template 8 | curl -X PUT -H 'Content-Type: application/json' \\
      --data-binary @- https://elasticsearch:9200/_index_template/mscp-log")]
pub(super) struct IndexTemplate {
    /// The store: 6, 7, 8 or 9 for Elasticsearch, or opensearch
    #[arg(value_name = "VERSION")]
    engine: Version,
}

/// Print completions
#[derive(Args, Debug)]
#[command(after_help = "\
  mscp-log completions bash > /etc/bash_completion.d/mscp-log
  mscp-log completions zsh > ~/.zfunc/_mscp-log")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Manual pages
#[derive(Args, Debug)]
pub(super) struct Man {
    /// Write the page of every command into this folder, instead of the first one to the output
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Buffer {
    pub(super) fn run(self, as_json: bool) -> Result<(), Failure> {
        let Buffer::Check { data } = self;
        let folder = data.join("buffer");
        if !folder.is_dir() {
            return Err(Failure::failed(format!(
                "{}: there is no buffer",
                folder.display()
            )));
        }
        let report = crate::buffer::disk::verify(&folder)
            .map_err(|error| Failure::failed(error.to_string()))?;
        if as_json {
            let damage: Vec<String> = report
                .damage
                .iter()
                .map(|damage| format!("{damage:?}"))
                .collect();
            output::json(&json!({
                "sound": report.is_sound(),
                "in_use": report.in_use,
                "segments": report.segments,
                "bytes": report.bytes,
                "appends": report.appends,
                "records": report.records,
                "backlog": report.backlog,
                "committed": report.committed,
                "position_damaged": report.position_damaged,
                "tail_bytes": report.tail_bytes,
                "damaged_bytes": report.damaged_bytes,
                "damage": damage,
            }))?;
        } else {
            let row = |name: &str, value: String| vec![name.to_owned(), value];
            let mut rows = vec![
                row("segments", report.segments.to_string()),
                row("bytes", report.bytes.to_string()),
                row("appends", report.appends.to_string()),
                row("records", report.records.to_string()),
                row("not committed", report.backlog.to_string()),
                row("torn tail, bytes", report.tail_bytes.to_string()),
                row("damaged, bytes", report.damaged_bytes.to_string()),
            ];
            if report.position_damaged {
                rows.push(row(
                    "position",
                    "damaged: shipping begins again with the oldest record".to_owned(),
                ));
            }
            rows.extend(
                report
                    .damage
                    .iter()
                    .map(|damage| row("damage", format!("{damage:?}"))),
            );
            if report.in_use {
                rows.push(row("in use", "by a running node".to_owned()));
            }
            output::table(&["buffer", &folder.display().to_string()], &rows)?;
        }
        if report.is_sound() {
            Ok(())
        } else {
            Err(Failure::failed("the buffer is damaged"))
        }
    }
}

impl IndexTemplate {
    pub(super) fn run(self) -> Result<(), Failure> {
        output::json(&index_template(self.engine))
    }
}

impl Completions {
    pub(super) fn run(self, command: &mut clap::Command) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, command, "mscp-log", &mut text);
        Ok(std::io::stdout().lock().write_all(&text)?)
    }
}

impl Man {
    pub(super) fn run(self, command: clap::Command) -> Result<(), Failure> {
        let Some(folder) = self.folder else {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            return Ok(std::io::stdout().lock().write_all(&text)?);
        };
        std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(command, &folder))
            .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))
    }
}
