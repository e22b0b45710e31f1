//! `rotate`: old indices go, now.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::{Failure, output};

/// Delete indices that are too old or too much, as the daily run does
#[derive(Args, Debug)]
#[command(after_help = "\
The node's own rule counts: rotation.age_days and rotation.max_bytes. Indices that the system did not name stay.

  mscp-log rotate --dry-run
  mscp-log rotate --region north")]
pub(super) struct Rotate {
    /// The region
    #[arg(long, default_value = "local", value_name = "REGION")]
    region: String,

    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

impl Rotate {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let admin = connection.client()?.admin();
        let report = admin.rotate(&self.region, self.dry_run).await?;
        let deletions = report["deletions"].as_array().cloned().unwrap_or_default();
        let failed = deletions.iter().filter(|it| it["error"].is_string());
        let failed = failed.count();
        if connection.json {
            output::json(&report)?;
        } else {
            show(&report, &deletions, failed)?;
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::failed(format!(
                "{failed} of {} indices could not be deleted",
                deletions.len()
            ))),
        }
    }
}

fn show(report: &Value, deletions: &[Value], failed: usize) -> Result<(), Failure> {
    if report["enabled"] == Value::Bool(false) {
        return output::line("rotation is off (rotation.enabled); nothing goes");
    }
    let rows: Vec<Vec<String>> = deletions.iter().map(row).collect();
    if !rows.is_empty() {
        output::table(
            &["INDEX", "REASON", "BYTES", "NEWEST RECORD", "ERROR"],
            &rows,
        )?;
    }
    let (total, age) = (&report["indices"], &report["age_days"]);
    let gone = deletions.len() - failed;
    let did = match report["dry_run"] == Value::Bool(true) {
        true => "would go",
        false => "are gone",
    };
    output::line(&format!(
        "{gone} of {total} indices {did}; records are kept for {age} days"
    ))
}

fn row(deletion: &Value) -> Vec<String> {
    let text = |name: &str| deletion[name].as_str().unwrap_or("-").to_owned();
    let newest = deletion["newest_us"]
        .as_i64()
        .and_then(chrono::DateTime::from_timestamp_micros);
    let newest = newest.map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    let bytes = deletion["bytes"].as_u64().map(|bytes| bytes.to_string());
    vec![
        text("index"),
        text("reason"),
        bytes.unwrap_or_else(|| "-".to_owned()),
        newest.unwrap_or_else(|| "-".to_owned()),
        text("error"),
    ]
}
