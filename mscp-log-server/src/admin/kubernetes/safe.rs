//! What a new number of pods must not break.
//!
//! A StatefulSet takes its pods away from the highest number down, so it is
//! known which go. Nodes of Elasticsearch are called as their pods
//! (`node.name` of the reference deployment).
//!
//! - **Data.** A node goes only when it holds no shard and none is without a
//!   node: then no copy goes with it, however many go. Moving shards away is
//!   Elasticsearch's own work (`cluster.routing.allocation.exclude._name`).
//! - **Masters.** The voting configuration decides, of which more than half
//!   must agree. Elasticsearch takes votes away by itself only while three
//!   stay and fewer than half of them leave at once
//!   (`cluster.auto_shrink_voting_configuration`); below that a vote must be
//!   taken away before its node goes (`_cluster/voting_config_exclusions`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Method, Request};
use serde_json::Value;

use super::{Part, Pod};
use crate::store::Store;

/// More pods than anybody means.
const MOST: u32 = 1_000;
/// The longest that the store is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer of the store that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// What else decides how many there must be.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Partitions of the buffer; `None` is not Kafka.
    pub partitions: Option<u32>,
    /// What the store's cluster holds where, or why that is not known. Only
    /// asked about for the store's nodes.
    pub store: Result<Held, String>,
}

/// What a cluster of Elasticsearch holds where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Copies of a shard, the primary among them, of the index that wants most.
    pub copies: u32,
    /// How many shards each node has, by its name, those on their way to it
    /// among them.
    pub shards: BTreeMap<String, u32>,
    /// Shards that are on no node.
    pub unassigned: u32,
    /// The nodes that vote for the master, by name, or by id when they are
    /// away. Empty: Elasticsearch 6, which has no such list.
    pub voters: BTreeSet<String>,
    /// Nodes that get no shards by `cluster.routing.allocation.exclude._name`.
    pub excluded: BTreeSet<String>,
}

impl Held {
    /// Ask the cluster, for [`PATIENCE`] at the longest.
    ///
    /// # Errors
    /// When it does not answer, or not as Elasticsearch does.
    pub async fn of(store: &dyn Store) -> Result<Self, String> {
        let asked = tokio::time::timeout(PATIENCE, Self::ask_for_all(store)).await;
        asked.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn ask_for_all(store: &dyn Store) -> Result<Self, String> {
        let nodes = ask(
            store,
            "/_cluster/state/nodes,routing_nodes?filter_path=nodes.*.name,routing_nodes.unassigned.shard,routing_nodes.nodes.*.shard",
        )
        .await?;
        // Without any index: their mappings are large, and not asked for.
        let votes = ask(
            store,
            "/_cluster/state/metadata/no-index-*?filter_path=metadata.cluster_coordination.last_committed_config",
        )
        .await?;
        let indices = ask(
            store,
            "/_all/_settings/index.number_of_replicas,index.auto_expand_replicas?flat_settings=true&expand_wildcards=all",
        )
        .await?;
        let cluster = ask(store, "/_cluster/settings?flat_settings=true").await?;
        Ok(Self::read(&nodes, &votes, &indices, &cluster))
    }

    fn read(nodes: &Value, votes: &Value, indices: &Value, cluster: &Value) -> Self {
        let name = |id: &str| nodes["nodes"][id]["name"].as_str().unwrap_or(id).to_owned();
        let length = |list: &Value| list.as_array().map_or(0, Vec::len);
        let on_nodes = nodes["routing_nodes"]["nodes"].as_object();
        let shards = on_nodes.into_iter().flatten().map(|(id, list)| {
            let shards = u32::try_from(length(list)).unwrap_or(u32::MAX);
            (name(id), shards)
        });
        let voters = &votes["metadata"]["cluster_coordination"]["last_committed_config"];
        let voters = voters.as_array().into_iter().flatten();
        let copies = indices.as_object().into_iter().flatten().map(|(_, index)| {
            let settings = &index["settings"];
            let follows = settings["index.auto_expand_replicas"].as_str();
            // Elasticsearch fits their number to that of the nodes.
            if follows.is_some_and(|it| it != "false") {
                return 1;
            }
            let replicas = settings["index.number_of_replicas"].as_str();
            replicas.and_then(|it| it.parse::<u32>().ok()).unwrap_or(0) + 1
        });
        let excluded = ["persistent", "transient"].into_iter().flat_map(|level| {
            let names = &cluster[level]["cluster.routing.allocation.exclude._name"];
            names.as_str().unwrap_or_default().split(',')
        });
        Self {
            copies: copies.max().unwrap_or(0),
            shards: shards.filter(|(_, shards)| *shards > 0).collect(),
            unassigned: u32::try_from(length(&nodes["routing_nodes"]["unassigned"]))
                .unwrap_or(u32::MAX),
            voters: voters.filter_map(Value::as_str).map(name).collect(),
            excluded: excluded
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

async fn ask(store: &dyn Store, path: &str) -> Result<Value, String> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let response = store.call(request).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), MAX_ANSWER).await;
    let bytes = bytes.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() && answer.is_object() {
        return Ok(answer);
    }
    let said = &answer["error"]["reason"];
    let said = said.as_str().map(|said| format!(": {said}"));
    Err(format!("{status}{}", said.unwrap_or_default()))
}

/// Whether a part may have `to` pods in place of `from`. `pods` are those of
/// the workload `name` now, for nodes of the store that are to be fewer. What
/// comes back is worth telling.
pub(super) fn judge(
    part: Part,
    name: &str,
    (from, to): (u32, u32),
    pods: &[Pod],
    needs: &Needs,
) -> Result<Vec<String>, String> {
    if to > MOST {
        return Err(format!(
            "{to} is more than the {MOST} that may be asked for"
        ));
    }
    let least = match part {
        Part::Agent | Part::Kafka | Part::StoreMaster | Part::StoreData => None,
        Part::Api => Some("without one nobody could set it up again from here"),
        Part::Parser => Some(
            "without one nothing is taken in, and what machines cannot keep is lost; \
             to stop collecting, switch the collectors off",
        ),
        Part::Shipper => Some(
            "without one nothing goes into the store, and what the buffer does not keep is lost",
        ),
        Part::Rotator => Some("to stop deleting old indices, switch rotation off (rotate.enabled)"),
        Part::StoreClient => Some("the store is reached through them"),
    };
    match (part, least) {
        (_, Some(reason)) if to == 0 => Err(format!("at least 1: {reason}")),
        (Part::Shipper, _) => Ok(match needs.partitions {
            Some(partitions) if to > partitions => vec![format!(
                "no more than {partitions} of {to} have work: the buffer has {partitions} partitions (buffer.partitions)"
            )],
            _ => Vec::new(),
        }),
        (Part::Agent, _) => Err("one runs on each machine; it has no number".to_owned()),
        (Part::Kafka, _) => Err(
            "brokers keep partitions, and which are whose Kafka does not change by itself: \
             add or remove brokers by hand, with kafka-reassign-partitions before or after"
                .to_owned(),
        ),
        (Part::StoreData, _) => data(name, (from, to), pods, needs),
        (Part::StoreMaster, _) => masters(name, (from, to), pods, needs),
        _ => Ok(Vec::new()),
    }
}

fn known(needs: &Needs) -> Result<&Held, String> {
    let held = needs.store.as_ref();
    held.map_err(|reason| format!("what the store's nodes hold is not known: {reason}"))
}

fn data(
    name: &str,
    (from, to): (u32, u32),
    pods: &[Pod],
    needs: &Needs,
) -> Result<Vec<String>, String> {
    if to > from {
        let held = needs.store.as_ref().ok();
        let coming = (from..to).map(|number| format!("{name}-{number}"));
        let idle = coming.filter(|it| held.is_some_and(|held| held.excluded.contains(it)));
        let idle: Vec<String> = idle.collect();
        return Ok(match idle.len() {
            0 => Vec::new(),
            _ => vec![format!(
                "{} will get no shards while cluster.routing.allocation.exclude._name names it",
                list(&idle)
            )],
        });
    }
    let held = known(needs)?;
    if to < held.copies.max(1) {
        return Err(match held.copies {
            0 | 1 => "at least 1: shards are on them".to_owned(),
            copies => format!(
                "at least {copies}: an index has {copies} copies of each shard \
                 (number_of_replicas is {}), and no node holds two of them",
                copies - 1
            ),
        });
    }
    staying_are_up(name, to, pods)?;
    if held.unassigned > 0 {
        return Err(format!(
            "{} shards are on no node; no node is taken away before all of them are \
             (_cluster/allocation/explain says why)",
            held.unassigned
        ));
    }
    let going: Vec<String> = (to..from)
        .map(|number| format!("{name}-{number}"))
        .collect();
    let staying: BTreeSet<String> = (0..to).map(|number| format!("{name}-{number}")).collect();
    let full = held
        .shards
        .iter()
        .filter(|(node, _)| !staying.contains(*node));
    let full: Vec<String> = full
        .map(|(node, shards)| format!("{node} ({shards})"))
        .collect();
    if !full.is_empty() {
        return Err(format!(
            "shards are on {}; have them moved first with PUT _cluster/settings \
             {{\"persistent\": {{\"cluster.routing.allocation.exclude._name\": \"{}\"}}}}, \
             and try again when there are none",
            list(&full),
            going.join(",")
        ));
    }
    let left: Vec<String> = going
        .into_iter()
        .filter(|it| held.excluded.contains(it))
        .collect();
    Ok(match left.len() {
        0 => Vec::new(),
        _ => vec![format!(
            "set cluster.routing.allocation.exclude._name back before {} comes again: it would get no shards",
            list(&left)
        )],
    })
}

fn masters(
    name: &str,
    (from, to): (u32, u32),
    pods: &[Pod],
    needs: &Needs,
) -> Result<Vec<String>, String> {
    let held = known(needs)?;
    if held.voters.is_empty() {
        return Err(
            "this store has no voting configuration (Elasticsearch 6 counts to \
             discovery.zen.minimum_master_nodes): change its masters by hand, together with that setting"
                .to_owned(),
        );
    }
    if to > from {
        return Ok(match to % 2 {
            0 => vec![format!(
                "{to} masters bear the loss of no more than {} do: more than half must agree",
                to - 1
            )],
            _ => Vec::new(),
        });
    }
    if to == 0 {
        return Err("at least 1: without a master the store takes nothing".to_owned());
    }
    staying_are_up(name, to, pods)?;
    let staying: BTreeSet<String> = (0..to).map(|number| format!("{name}-{number}")).collect();
    let (kept, lost): (Vec<String>, Vec<String>) = held
        .voters
        .iter()
        .cloned()
        .partition(|voter| staying.contains(voter));
    let first = || {
        format!(
            "take their votes first with POST _cluster/voting_config_exclusions?node_names={}, \
             and when they are gone DELETE _cluster/voting_config_exclusions",
            lost.join(",")
        )
    };
    let (voters, majority) = (held.voters.len(), held.voters.len() / 2 + 1);
    if kept.len() < majority {
        return Err(format!(
            "{} of {voters} masters that vote would stay, and {majority} must agree: \
             the store would have no master; {}",
            kept.len(),
            first()
        ));
    }
    if to < 3 && !lost.is_empty() {
        return Err(format!(
            "below 3 masters Elasticsearch takes no vote away by itself, and {} would be missed: \
             of {voters} votes all {majority} that stay must agree, so the next loss stops the store; {}",
            list(&lost),
            first()
        ));
    }
    Ok(Vec::new())
}

/// A node that stays and is away could be the one that is missed.
fn staying_are_up(name: &str, to: u32, pods: &[Pod]) -> Result<(), String> {
    let is_up = |wanted: &String| pods.iter().any(|pod| pod.pod == *wanted && pod.up);
    let down: Vec<String> = (0..to)
        .map(|number| format!("{name}-{number}"))
        .filter(|wanted| !is_up(wanted))
        .collect();
    match down.len() {
        0 => Ok(()),
        _ => Err(format!(
            "{} would stay and {} not up; no node is taken away before",
            list(&down),
            if down.len() == 1 { "is" } else { "are" }
        )),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests;
