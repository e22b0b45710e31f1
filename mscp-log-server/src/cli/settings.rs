//! `settings`: what may be changed while nodes run, shown and changed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::connection::Connection;
use super::{Failure, output};
use crate::settings::put;

/// Show and change the settings that may be changed while nodes run
#[derive(Args, Debug)]
#[command(after_help = "\
A change takes effect in every instance within 10 s, stays through restarts, and is in the audit.

  mscp-log settings get                                     what holds now
  mscp-log settings set rotate.age=7 rotate.enabled=true    records go after a week
  mscp-log settings set collector.journalbeat.enabled=false
  mscp-log settings set rotate.max_bytes=null               no limit on size
  mscp-log settings get --json > settings.json              edit the file, then
  mscp-log settings set --file settings.json                refused if another has changed them meanwhile")]
pub(super) struct Settings {
    /// The region
    #[arg(long, global = true, default_value = "local", value_name = "REGION")]
    region: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what holds now
    Get,
    /// Change what is named, or send an edited document
    Set {
        /// Send this edited document; - is the standard input
        #[arg(long, value_name = "FILE", conflicts_with = "changes")]
        file: Option<PathBuf>,

        /// What to change; values are JSON
        #[arg(value_name = "NAME=VALUE", required_unless_present = "file")]
        changes: Vec<String>,
    },
}

impl Settings {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let document = match &self.command {
            Command::Get => None,
            Command::Set {
                file: Some(file), ..
            } => Some(read(file)?),
            Command::Set { changes, .. } => Some(document(changes)?),
        };
        let admin = connection.client()?.admin();
        let Some(document) = document else {
            let settings = admin.settings(&self.region).await?;
            if connection.json {
                return output::json(&settings);
            }
            let mut rows = Vec::new();
            flatten("", &settings, &mut rows);
            return output::table(&["SETTING", "VALUE"], &rows);
        };
        let changed = admin.change_settings(&self.region, &document).await?;
        if connection.json {
            return output::json(&changed);
        }
        let changes = changed["changes"].as_array().cloned().unwrap_or_default();
        let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
        if rows.is_empty() {
            return output::line("nothing was changed: the settings are so already");
        }
        output::table(&["SETTING", "WAS", "IS"], &rows)?;
        let revision = changed["revision"].as_str().unwrap_or_default();
        output::line(&format!("revision {revision}"))
    }
}

fn read(file: &std::path::Path) -> Result<Value, Failure> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let shown = file.display();
    let text = text.map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

/// What `a.b=1` and its like ask for.
fn document(changes: &[String]) -> Result<Value, Failure> {
    let mut document = Value::Object(Map::new());
    for change in changes {
        let (name, value) = change.split_once('=').ok_or_else(|| {
            Failure::usage(format!("{change:?}: expected NAME=VALUE, as rotate.age=7"))
        })?;
        let value = serde_json::from_str(value).map_err(|_| {
            Failure::usage(format!(
                "{name}: expected a number, true, false or null, found {value:?}"
            ))
        })?;
        let pointer: String = name.split('.').flat_map(|member| ["/", member]).collect();
        put(&mut document, &pointer, value);
    }
    Ok(document)
}

fn flatten(above: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if above.is_empty() { "" } else { "." };
                flatten(&format!("{above}{dot}{name}"), value, rows);
            }
        }
        Value::String(text) => rows.push(vec![above.to_owned(), text.clone()]),
        Value::Null => rows.push(vec![above.to_owned(), "-".to_owned()]),
        other => rows.push(vec![above.to_owned(), other.to_string()]),
    }
}

fn row(change: &Value) -> Vec<String> {
    let path = change["path"].as_str().unwrap_or_default();
    let name = path.trim_start_matches('/').replace('/', ".");
    let shown = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    vec![name, shown(&change["from"]), shown(&change["to"])]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_read_as_a_document() {
        let changes = ["rotate.age=7", "rotate.max_bytes=null", "a.b.c=true"].map(str::to_owned);
        let expected = json!({"rotate": {"age": 7, "max_bytes": null}, "a": {"b": {"c": true}}});
        assert_eq!(document(&changes).ok(), Some(expected));
        for wrong in ["rotate.age", "rotate.age=x", "rotate.age="] {
            assert!(document(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
