//! `backup` and `restore`: a whole node as one file, and back.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use mscp_log_client::Restored;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::connection::Connection;
use super::{Failure, output};
use crate::backup::archive::Manifest;

/// Back a node up
#[derive(Args, Debug)]
#[command(after_help = "\
The node goes on working. The archive (tar, compressed with zstd) has every record that was
acknowledged before the backup began, the buffer, and the accounts and keys: keep it as you keep the
node's own data folder. What is kept elsewhere (PostgreSQL, Elasticsearch) has its own backups.

  mscp-log backup /backups/node-2026-11-23.tar.zst
  zstd -dc node.tar.zst | tar t                          what is in it")]
pub(super) struct Backup {
    /// The archive to write; it must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Make a data folder of a backup, or put its records into a running node
#[derive(Args, Debug)]
#[command(after_help = "\
With --data, no node is needed: an empty or new folder becomes what the node's was, with accounts and
keys. Without it, the records go into the running node, beside what it has; those that it has already
are left as they are, and so are its accounts and keys. A restore that broke off may be repeated.

  mscp-log restore node.tar.zst --data /var/lib/mscp-log
  mscp-log restore node.tar.zst --url http://127.0.0.1:8300")]
pub(super) struct Restore {
    /// The archive that `backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The folder to make; it must be empty, or not be there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Backup {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let failed = |path: &Path, error: &std::io::Error| {
            Failure::failed(format!("{}: {error}", path.display()))
        };
        if self.file.exists() {
            return Err(Failure::usage(format!(
                "{} is there already",
                self.file.display()
            )));
        }
        let mut name = self.file.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let mut backup = connection.client()?.admin().backup().await?;
        let mut options = tokio::fs::OpenOptions::new();
        let mut out = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .await
            .map_err(|error| failed(&part, &error))?;
        let bar = spinner("{spinner} {msg} {bytes} {bytes_per_sec}");
        bar.set_message(match backup.file_bytes() {
            Some(bytes) => format!("backing up {}:", indicatif::HumanBytes(bytes)),
            None => "backing up:".to_owned(),
        });
        let mut bytes = 0;
        while let Some(some) = backup.part().await? {
            out.write_all(&some)
                .await
                .map_err(|error| failed(&part, &error))?;
            bytes += some.len() as u64;
            bar.set_position(bytes);
        }
        out.sync_all()
            .await
            .map_err(|error| failed(&part, &error))?;
        drop(out);
        bar.set_message("checking:");
        let (manifest, files) = checked(part.clone()).await?;
        tokio::fs::rename(&part, &self.file)
            .await
            .map_err(|error| failed(&self.file, &error))?;
        bar.finish_and_clear();
        for without in &manifest.without {
            eprintln!("not in the backup: {without}");
        }
        if connection.json {
            return output::json(&json!({
                "file": self.file, "bytes": bytes, "files": files, "backup": manifest,
            }));
        }
        output::line(&format!(
            "{}: {files} files, {}",
            self.file.display(),
            indicatif::HumanBytes(bytes)
        ))
    }
}

/// Read an archive to its end, as a restore would.
async fn checked(file: PathBuf) -> Result<(Manifest, u64), Failure> {
    let read = tokio::task::spawn_blocking(move || {
        let mut files = 0;
        let archive = std::fs::File::open(&file)?;
        let manifest = crate::backup::archive::read(
            archive,
            crate::folder::FORMAT,
            |_, content: &mut dyn Read| {
                files += 1;
                std::io::copy(content, &mut std::io::sink())?;
                Ok(())
            },
        )?;
        Ok::<_, crate::backup::archive::ArchiveError>((manifest, files))
    });
    read.await
        .map_err(|error| Failure::failed(error.to_string()))?
        .map_err(|error| Failure::failed(error.to_string()))
}

impl Restore {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        match self.data {
            Some(data) => into_folder(connection, self.file, data).await,
            None => into_node(connection, &self.file).await,
        }
    }
}

async fn into_folder(connection: &Connection, file: PathBuf, data: PathBuf) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", file.display()));
    let archive = std::fs::File::open(&file).map_err(|error| failed(&error))?;
    let bar = bar_of(archive.metadata().map_err(|error| failed(&error))?.len());
    let reader = bar.wrap_read(archive);
    let folder = data.clone();
    let manifest = tokio::task::spawn_blocking(move || crate::backup::unpack(reader, &folder))
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    for without in &manifest.without {
        eprintln!("not in the backup: {without}");
    }
    if connection.json {
        return output::json(&json!({"data": data, "backup": manifest}));
    }
    output::line(&format!(
        "{} is restored; start it with: mscp-log serve --data {}",
        data.display(),
        data.display()
    ))
}

async fn into_node(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| failed(&error))?;
    let bytes = file.metadata().await.map_err(|error| failed(&error))?.len();
    let sending = bar_of(bytes);
    let sent = sending.clone();
    let archive = ReaderStream::with_capacity(file, 256 * 1024).inspect(move |part| {
        if let Ok(part) = part {
            sent.inc(part.len() as u64);
        }
    });
    let mut restore = connection.client()?.admin().restore(archive).await?;
    let mut last = Restored::default();
    while let Some(restored) = restore.progress().await? {
        last = restored;
        // The node begins when it has the archive whole.
        sending.set_style(style("{wide_bar} {pos}/{len} documents {per_sec}", true));
        sending.set_length(last.total);
        sending.set_position(last.documents);
    }
    sending.finish_and_clear();
    if connection.json {
        return output::json(&json!({
            "documents": last.documents, "created": last.created, "buffered": last.buffered,
        }));
    }
    output::line(&format!(
        "{} documents, {} of them new; {} records wait to be stored",
        last.documents, last.created, last.buffered
    ))
}

// indicatif draws on the standard error, and nothing where that is no terminal.
fn bar_of(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    bar.set_style(style(
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        true,
    ));
    bar
}

fn spinner(form: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(style(form, false));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn style(form: &str, bar: bool) -> ProgressStyle {
    let plain = || {
        if bar {
            ProgressStyle::default_bar()
        } else {
            ProgressStyle::default_spinner()
        }
    };
    ProgressStyle::with_template(form).unwrap_or_else(|_| plain())
}
