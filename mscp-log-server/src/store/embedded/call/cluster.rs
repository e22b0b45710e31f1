//! Endpoints of the store as a cluster of one node: what it is, its health,
//! its licence.

use std::time::{Duration, Instant};

use http::StatusCode;
use mscp_log_core::query::date_math::duration_ms;
use serde_json::{Map, Value, json};

use super::super::EmbeddedStore;
use super::index::uuid_of;
use super::{Call, Fault, Reply};

const ISSUED_TO: &str = "mscp-log";

/// Longest wait for a health that is asked for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Time between two looks at the health that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The one node that there is.
const NODES: u64 = 1;

impl EmbeddedStore {
    pub(super) fn info(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&[])?;
        let (major, minor, patch) = self.settings.version;
        let (wire, index) = match major {
            6 => ("5.6.0", "5.0.0"),
            7 => ("6.8.0", "6.0.0-beta1"),
            8 => ("7.17.0", "7.0.0"),
            _ => ("8.18.0", "8.0.0"),
        };
        Ok(Reply::ok(json!({
            "name": self.settings.name,
            "cluster_name": self.settings.name,
            "cluster_uuid": uuid_of(&self.settings.name),
            "version": {
                "number": format!("{major}.{minor}.{patch}"),
                "build_flavor": "default",
                "build_type": "mscp-log",
                "build_hash": "unknown",
                "build_date": "1970-01-01T00:00:00.000Z",
                "build_snapshot": false,
                "lucene_version": "0.0.0",
                "minimum_wire_compatibility_version": wire,
                "minimum_index_compatibility_version": index,
            },
            "tagline": "You Know, for Search",
        })))
    }

    /// `green`, or `red` while writes are refused.
    pub(super) fn status(&self) -> &'static str {
        match self.writer.trouble() {
            Some(_) => "red",
            None => "green",
        }
    }

    pub(super) async fn health(&self, call: &Call, index: &str) -> Result<Reply, Fault> {
        call.only(&[
            "level",
            "wait_for_status",
            "wait_for_active_shards",
            "wait_for_nodes",
            "wait_for_no_relocating_shards",
            "wait_for_no_initializing_shards",
            "wait_for_events",
            "ignore_unavailable",
            "allow_no_indices",
        ])?;
        let level = match call.parameter("level") {
            None | Some("cluster") => 0,
            Some("indices") => 1,
            Some("shards") => 2,
            // Versions before 8 take any word for `cluster`.
            Some(_) if call.major < 8 => 0,
            Some(level) => {
                return Err(Fault::argument(format!(
                    "level parameter must be one of [cluster] or [indices] or [shards] but was [{level}]"
                )));
            }
        };
        let goal = Goal::of(call)?;
        let started = Instant::now();
        loop {
            let names = match self.selection(call, index).await {
                Ok(selection) => Some(selection.names),
                // An index that is not there may still come.
                Err(fault) if fault.status == StatusCode::NOT_FOUND => None,
                Err(fault) => return Err(fault),
            };
            let status = if names.is_some() {
                self.status()
            } else {
                "red"
            };
            let reached = names.is_some() && goal.is_reached(status);
            if reached || started.elapsed() >= goal.timeout {
                let names = names.unwrap_or_default();
                let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                let body = self.health_of(status, &names, level, !reached, call.major);
                let code = if reached {
                    StatusCode::OK
                } else {
                    StatusCode::REQUEST_TIMEOUT
                };
                return Ok(Reply::json(code, body));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn health_of(
        &self,
        status: &str,
        names: &[&str],
        level: u8,
        timed_out: bool,
        major: u16,
    ) -> Value {
        let shards = names.len();
        let mut body = json!({
            "cluster_name": self.settings.name,
            "status": status,
            "timed_out": timed_out,
            "number_of_nodes": NODES,
            "number_of_data_nodes": NODES,
            "active_primary_shards": shards,
            "active_shards": shards,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": 0,
            "delayed_unassigned_shards": 0,
            "number_of_pending_tasks": 0,
            "number_of_in_flight_fetch": 0,
            "task_max_waiting_in_queue_millis": 0,
            "active_shards_percent_as_number": 100.0,
        });
        if major >= 8 {
            body["unassigned_primary_shards"] = 0.into();
        }
        if level > 0 {
            let indices: Map<String, Value> = names
                .iter()
                .map(|name| ((*name).to_owned(), index_health(status, level, major)))
                .collect();
            body["indices"] = Value::Object(indices);
        }
        body
    }

    pub(super) fn license(call: &Call) -> Result<Reply, Fault> {
        call.only(&["accept_enterprise"])?;
        Ok(Reply::ok(json!({
            "license": {
                "status": "active",
                "uid": "00000000-0000-0000-0000-000000000000",
                "type": "basic",
                "issue_date": "1970-01-01T00:00:00.000Z",
                "issue_date_in_millis": 0,
                "max_nodes": 1000,
                "max_resource_units": null,
                "issued_to": ISSUED_TO,
                "issuer": "elasticsearch",
                "start_date_in_millis": -1,
            },
        })))
    }

    /// The one node. It has no address of its own: it is reached as this
    /// request was, below the base of the API, so a client that looks for
    /// nodes ("sniffs") finds none that it could take instead.
    pub(super) fn nodes(&self, call: &Call) -> Result<Reply, Fault> {
        call.only(&["flat_settings"])?;
        let (major, minor, patch) = self.settings.version;
        let mut nodes = Map::new();
        nodes.insert(
            uuid_of(&self.settings.name),
            json!({
                "name": self.settings.name,
                "version": format!("{major}.{minor}.{patch}"),
                "build_flavor": "default",
                "build_type": "mscp-log",
                "build_hash": "unknown",
                "roles": ["data", "ingest", "master"],
            }),
        );
        Ok(Reply::ok(json!({
            "_nodes": {"total": NODES, "successful": NODES, "failed": 0},
            "cluster_name": self.settings.name,
            "nodes": nodes,
        })))
    }
}

fn index_health(status: &str, level: u8, major: u16) -> Value {
    let mut health = json!({
        "status": status,
        "number_of_shards": 1,
        "number_of_replicas": 0,
        "active_primary_shards": 1,
        "active_shards": 1,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
    });
    if major >= 8 {
        health["unassigned_primary_shards"] = 0.into();
    }
    if level > 1 {
        health["shards"] = json!({"0": {
            "status": status,
            "primary_active": true,
            "active_shards": 1,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": 0,
        }});
    }
    health
}

/// What `_cluster/health` waits for, and how long.
struct Goal {
    may_be_red: bool,
    has_nodes: bool,
    timeout: Duration,
}

impl Goal {
    fn of(call: &Call) -> Result<Self, Fault> {
        let may_be_red = match call.parameter("wait_for_status") {
            None | Some("red" | "RED") => true,
            Some("green" | "yellow" | "GREEN" | "YELLOW") => false,
            Some(other) => {
                return Err(Fault::argument(format!(
                    "expected green, yellow or red for [wait_for_status], not [{other}]"
                )));
            }
        };
        let has_nodes = match call.parameter("wait_for_nodes") {
            None => true,
            Some(wanted) => has_nodes(wanted).ok_or_else(|| {
                let reason = format!("For input string: \"{wanted}\"");
                Fault::new(StatusCode::BAD_REQUEST, "number_format_exception", reason)
            })?,
        };
        let timeout = match call.parameter("timeout") {
            None => Duration::from_secs(30),
            Some(text) => {
                let ms = duration_ms(text).map_err(|error| Fault::argument(error.to_string()))?;
                Duration::from_millis(u64::try_from(ms).unwrap_or(0))
            }
        };
        Ok(Self {
            may_be_red,
            has_nodes,
            timeout: timeout.min(MAX_WAIT),
        })
    }

    fn is_reached(&self, status: &str) -> bool {
        self.has_nodes && (self.may_be_red || status != "red")
    }
}

/// Whether one node is as many as `2`, `>=2`, `ge(2)` and the like ask for.
fn has_nodes(wanted: &str) -> Option<bool> {
    let digits = |text: &str| text.parse::<u64>().ok();
    type Comparison = fn(u64) -> bool;
    let forms: [(&str, &str, Comparison); 8] = [
        (">=", "", |wanted| NODES >= wanted),
        ("<=", "", |wanted| NODES <= wanted),
        (">", "", |wanted| NODES > wanted),
        ("<", "", |wanted| NODES < wanted),
        ("ge(", ")", |wanted| NODES >= wanted),
        ("le(", ")", |wanted| NODES <= wanted),
        ("gt(", ")", |wanted| NODES > wanted),
        ("lt(", ")", |wanted| NODES < wanted),
    ];
    for (before, behind, holds) in forms {
        if let Some(rest) = wanted.strip_prefix(before) {
            return digits(rest.strip_suffix(behind)?).map(holds);
        }
    }
    digits(wanted).map(|wanted| NODES == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_nodes_is_compared_as_elasticsearch_writes_it() {
        for (wanted, expected) in [
            ("1", Some(true)),
            ("2", Some(false)),
            (">=1", Some(true)),
            ("<=0", Some(false)),
            ("ge(1)", Some(true)),
            ("gt(1)", Some(false)),
            ("lt(2)", Some(true)),
            ("ge(1", None),
            ("many", None),
        ] {
            assert_eq!(has_nodes(wanted), expected, "{wanted}");
        }
    }
}
