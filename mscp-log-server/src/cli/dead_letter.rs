//! `dead-letter`: records that a store refused, looked at, replayed, taken out.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connection::Connection;
use super::{Failure, output};

/// Letters of one request for the list.
const PAGE: usize = 1_000;

/// Commands on dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetter {
    /// List them, the newest first, with the store's reason.
    ///
    /// The records themselves are shown with --json.
    List {
        #[command(flatten)]
        of: Of,

        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Clean them again and send them to the store once more; all of them, or
    /// those of these numbers. What is refused again is listed again.
    Replay {
        #[command(flatten)]
        of: Of,

        /// Their numbers
        #[arg(value_name = "NUMBER")]
        numbers: Vec<u64>,
    },
    /// Take them out for good.
    Remove {
        #[command(flatten)]
        of: Of,

        /// Their numbers
        #[arg(value_name = "NUMBER", required = true)]
        numbers: Vec<u64>,
    },
}

/// Of which region.
#[derive(Args, Debug)]
pub(super) struct Of {
    /// The region
    #[arg(long, default_value = "local", value_name = "REGION")]
    region: String,
}

impl DeadLetter {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let admin = connection.client()?.admin();
        match self {
            Self::List { of, limit } => {
                let mut letters: Vec<Value> = Vec::new();
                let mut total = 0;
                while letters.len() < limit {
                    let before = letters.last().and_then(|letter| letter["number"].as_u64());
                    let wanted = PAGE.min(limit - letters.len());
                    let mut page = admin.dead_letters(&of.region, before, wanted).await?;
                    total = page["total"].as_u64().unwrap_or_default();
                    match page["dead_letters"].take() {
                        Value::Array(some) if !some.is_empty() => letters.extend(some),
                        _ => break,
                    }
                }
                show(connection, total, &letters)
            }
            Self::Replay { of, numbers } => {
                let chosen = (!numbers.is_empty()).then_some(numbers.as_slice());
                let done = admin.replay_dead_letters(&of.region, chosen).await?;
                if connection.json {
                    return output::json(&done);
                }
                let kept = match done["kept"].as_u64() {
                    None | Some(0) => String::new(),
                    Some(kept) => format!("; {kept} stay, which are no documents of ours"),
                };
                let replayed = &done["replayed"];
                output::line(&format!("{replayed} are on their way to the store{kept}"))
            }
            Self::Remove { of, numbers } => {
                for number in &numbers {
                    admin.remove_dead_letter(&of.region, *number).await?;
                }
                if connection.json {
                    output::json(&json!({ "removed": numbers }))
                } else {
                    output::line(&format!("{} are gone", numbers.len()))
                }
            }
        }
    }
}

fn show(connection: &Connection, total: u64, letters: &[Value]) -> Result<(), Failure> {
    if connection.json {
        return output::json(&json!({ "total": total, "dead_letters": letters }));
    }
    let text = |letter: &Value, name: &str| letter[name].as_str().unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let time = letter["refused_ms"]
                .as_i64()
                .and_then(chrono::DateTime::from_timestamp_millis);
            let time = time.map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            vec![
                letter["number"].to_string(),
                time.unwrap_or_else(|| "-".to_owned()),
                text(letter, "index"),
                text(letter, "type"),
                text(letter, "reason"),
            ]
        })
        .collect();
    output::table(&["NUMBER", "REFUSED", "INDEX", "TYPE", "REASON"], &rows)?;
    if total > letters.len() as u64 {
        output::line(&format!("{} of {total}", letters.len()))?;
    }
    Ok(())
}
