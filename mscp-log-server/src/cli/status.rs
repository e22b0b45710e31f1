//! `status`: how a region's system does, for people and for scripts.

use clap::Args;
use serde_json::Value;

use super::connection::Connection;
use super::{Failure, output};

/// Show how the system does: what runs, what waits, what is wrong
#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 1 when the status is red.

  mscp-log status
  mscp-log status --json | jq '.[0].buffer.lag'")]
pub(super) struct Status {
    /// The region
    #[arg(long, default_value = "local", value_name = "REGION")]
    region: String,
}

impl Status {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let answer = connection.client()?.admin().status(&self.region).await?;
        if connection.json {
            output::json(&answer)?;
        } else {
            show(&answer[0])?;
        }
        match answer[0]["status"] == "red" {
            true => Err(Failure::Said),
            false => Ok(()),
        }
    }
}

fn show(status: &Value) -> Result<(), Failure> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    output::line(&format!(
        "{}: {}",
        word(&status["region"]),
        word(&status["status"])
    ))?;
    for reason in status["reasons"].as_array().into_iter().flatten() {
        let (colour, text) = (word(&reason["status"]), word(&reason["text"]));
        output::line(&format!("  {colour}: {}", output::printable(&text)))?;
    }
    output::line("")?;
    let mut rows = Vec::new();
    for name in ["journalbeat", "filebeat", "http_gateway"] {
        rows.push(part(name, &status["collector"][name]));
    }
    for name in ["api", "parser", "shipper", "rotator"] {
        rows.push(part(name, &status[name]));
    }
    rows.push(part("kafka broker", &status["kafka"]["broker"]));
    for name in ["master", "data", "client"] {
        let nodes = &status["elasticsearch"]["status"][name];
        rows.push(count(&format!("store {name}"), nodes));
    }
    output::table(&["PART", "SCHEDULED", "UP"], &rows)?;
    output::line("")?;
    let number = |value: &Value| {
        value
            .as_u64()
            .map_or_else(|| "-".to_owned(), |n| n.to_string())
    };
    let (lag, letters) = (&status["buffer"]["lag"], &status["dead_letters"]["records"]);
    let (full, rotate) = (&status["full"], &status["rotate"]);
    let kept = match rotate["enabled"].as_bool() {
        Some(true) => format!("{} days", number(&rotate["age"])),
        Some(false) => "for ever (rotation is off)".to_owned(),
        None => "-".to_owned(),
    };
    let when = full["day"].as_str().or_else(|| full["reason"].as_str());
    let rows = [
        ("store", word(&status["elasticsearch"]["health"]["status"])),
        ("waiting records", number(&lag["records"])),
        ("waiting bytes", number(&lag["bytes"])),
        ("oldest waits, s", number(&lag["seconds"])),
        ("dead letters", number(letters)),
        ("records are kept", kept),
        ("disk full", when.unwrap_or("-").to_owned()),
    ];
    let mut rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    for (reason, lost) in status["losses"].as_object().into_iter().flatten() {
        rows.push(vec![format!("lost: {reason}"), number(lost)]);
    }
    output::table(&["WHAT", "VALUE"], &rows)
}

fn part(name: &str, part: &Value) -> Vec<String> {
    count(name, &part["status"])
}

fn count(name: &str, count: &Value) -> Vec<String> {
    let number = |value: &Value| {
        value
            .as_u64()
            .map_or_else(|| "-".to_owned(), |n| n.to_string())
    };
    vec![
        name.to_owned(),
        number(&count["scheduled"]),
        number(&count["up"]),
    ]
}
