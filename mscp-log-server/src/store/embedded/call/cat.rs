//! `_cat`: the state of the store as tables.

use std::collections::BTreeMap;

use super::super::EmbeddedStore;
use super::super::catalog::Figures;
use super::index::{blocking, uuid_of};
use super::table::{Cell, Column, PARAMETERS, Table};
use super::{Call, Content, Fault, Reply};
use crate::clock;

/// The tables, as `_cat` lists them.
const TABLES: [&str; 13] = [
    "/_cat/aliases",
    "/_cat/aliases/{alias}",
    "/_cat/count",
    "/_cat/count/{index}",
    "/_cat/health",
    "/_cat/indices",
    "/_cat/indices/{index}",
    "/_cat/master",
    "/_cat/nodes",
    "/_cat/shards",
    "/_cat/shards/{index}",
    "/_cat/templates",
    "/_cat/templates/{name}",
];

const fn left(name: &'static str, aliases: &'static str, about: &'static str) -> Column {
    Column {
        name,
        aliases,
        right: false,
        about,
    }
}

const fn right(name: &'static str, aliases: &'static str, about: &'static str) -> Column {
    Column {
        right: true,
        ..left(name, aliases, about)
    }
}

const ALIASES: &[Column] = &[
    left("alias", "a", "alias name"),
    left("index", "i,idx", "index that the alias names"),
    left("filter", "f,fi", "filter"),
    left("routing.index", "ri,routingIndex", "routing of writes"),
    left("routing.search", "rs,routingSearch", "routing of searches"),
    left(
        "is_write_index",
        "w,isWriteIndex",
        "whether writes go to it",
    ),
];

const COUNT: &[Column] = &[
    left("epoch", "t,time", "seconds since 1970-01-01 00:00:00"),
    left("timestamp", "ts,hms,hhmmss", "time as HH:MM:SS"),
    left("count", "dc,docs.count,docsCount", "documents"),
];

const HEALTH: &[Column] = &[
    left("epoch", "t,time", "seconds since 1970-01-01 00:00:00"),
    left("timestamp", "ts,hms,hhmmss", "time as HH:MM:SS"),
    left("cluster", "cl", "name of the store"),
    left("status", "st", "green, or red when it does not take writes"),
    right("node.total", "nt,nodeTotal", "nodes"),
    right("node.data", "nd,nodeData", "nodes that store data"),
    right(
        "shards",
        "sh,shards.total,shardsTotal",
        "shards, one an index",
    ),
    right("pri", "p,shards.primary,shardsPrimary", "primary shards"),
    right(
        "relo",
        "r,shards.relocating,shardsRelocating",
        "shards that move",
    ),
    right(
        "init",
        "i,shards.initializing,shardsInitializing",
        "shards that start",
    ),
    right(
        "unassign",
        "u,shards.unassigned,shardsUnassigned",
        "shards without a node",
    ),
    right("pending_tasks", "pt,pendingTasks", "tasks that wait"),
    right(
        "max_task_wait_time",
        "mtwt,maxTaskWaitTime",
        "longest wait of a task",
    ),
    right(
        "active_shards_percent",
        "asp,activeShardsPercent",
        "active shards in percent",
    ),
];

const INDICES: &[Column] = &[
    left("health", "h", "green: what is written is on the disk"),
    left("status", "s", "open"),
    left("index", "i,idx", "name"),
    left("uuid", "id", "id that the name gives"),
    right("pri", "p,shards.primary,shardsPrimary", "primary shards"),
    right("rep", "r,shards.replica,shardsReplica", "replicas"),
    right("docs.count", "dc,docsCount", "documents"),
    right(
        "docs.deleted",
        "dd,docsDeleted",
        "deleted documents, while there are none in its day",
    ),
    right(
        "store.size",
        "ss,storeSize",
        "its share of the bytes of its day",
    ),
    right("pri.store.size", "", "the same"),
];

const MASTER: &[Column] = &[
    left("id", "", "id of the node"),
    left("host", "h", "host name"),
    left("ip", "", "IP address"),
    left("node", "n", "name of the node"),
];

const NODES: &[Column] = &[
    left("ip", "i", "IP address"),
    right("heap.percent", "hp,heapPercent", "not measured"),
    right("ram.percent", "rp,ramPercent", "not measured"),
    right("cpu", "", "not measured"),
    right("load_1m", "l", "not measured"),
    right("load_5m", "l", "not measured"),
    right("load_15m", "l", "not measured"),
    left("node.role", "r,role,nodeRole", "data, ingest, master"),
    left("master", "m", "* for the one node"),
    left("name", "n", "name"),
];

const SHARDS: &[Column] = &[
    left("index", "i,idx", "index"),
    left("shard", "s,sh", "number"),
    left("prirep", "p,pr,primaryOrReplica", "p for primary"),
    left("state", "st", "STARTED"),
    right("docs", "d,dc", "documents"),
    right("store", "sto", "its share of the bytes of its day"),
    left("ip", "", "IP address"),
    left("node", "n", "name of the node"),
];

const TEMPLATES: &[Column] = &[
    left("name", "n", "name"),
    left("index_patterns", "t", "patterns of index names"),
    left("order", "o,p", "order or priority"),
    left("version", "v", "version"),
    left("composed_of", "c", "component templates"),
];

impl EmbeddedStore {
    /// The table at `path`, which begins with its name.
    pub(super) async fn cat(&self, call: &Call, path: &[&str]) -> Result<Reply, Fault> {
        let mut known = PARAMETERS.to_vec();
        known.extend(["ignore_unavailable", "allow_no_indices"]);
        let (name, of) = match *path {
            [] => {
                call.only(&["help", "s", "h"])?;
                return Ok(Reply {
                    status: http::StatusCode::OK,
                    content: Content::Text(TABLES.join("\n") + "\n"),
                });
            }
            [name] => (name, ""),
            [name, of] => (name, of),
            _ => return Err(call.no_handler()),
        };
        match (name, of) {
            ("indices", _) => known.extend(["pri", "include_unloaded_segments", "health"]),
            ("health", "") => known.push("ts"),
            _ => {}
        }
        call.only(&known)?;
        let (columns, rows) = match (name, of) {
            ("aliases", _) => (ALIASES, Vec::new()),
            ("count", index) => (COUNT, self.cat_count(call, index).await?),
            ("health", "") => return self.cat_health(call).await,
            ("indices", index) => (INDICES, self.cat_indices(call, index).await?),
            ("master", "") => (MASTER, vec![self.cat_master()]),
            ("nodes", "") => (NODES, vec![self.cat_node()]),
            ("shards", index) => (SHARDS, self.cat_shards(call, index).await?),
            ("templates", name) => (TEMPLATES, self.cat_templates(name)),
            _ => return Err(call.no_handler()),
        };
        Table { columns, rows }.reply(call)
    }

    async fn cat_count(&self, call: &Call, index: &str) -> Result<Vec<Vec<Cell>>, Fault> {
        let figures = self.figures_of(call, index).await?;
        let documents = figures.values().map(|of| of.documents).sum();
        let [epoch, time] = now();
        Ok(vec![vec![epoch, time, Cell::Number(documents)]])
    }

    async fn cat_health(&self, call: &Call) -> Result<Reply, Fault> {
        let shards = self.selection(call, "").await?.names.len() as u64;
        let [epoch, time] = now();
        let mut row = vec![
            epoch,
            time,
            Cell::text(&*self.settings.name),
            Cell::text(self.status()),
            Cell::Number(1),
            Cell::Number(1),
            Cell::Number(shards),
            Cell::Number(shards),
            Cell::Number(0),
            Cell::Number(0),
            Cell::Number(0),
            Cell::Number(0),
            Cell::text("-"),
            Cell::text("100.0%"),
        ];
        let mut columns = HEALTH;
        if call.flag("ts")? == Some(false) {
            columns = &HEALTH[2..];
            row.drain(..2);
        }
        let rows = vec![row];
        Table { columns, rows }.reply(call)
    }

    async fn cat_indices(&self, call: &Call, index: &str) -> Result<Vec<Vec<Cell>>, Fault> {
        let figures = self.figures_of(call, index).await?;
        if let Some(health) = call.parameter("health")
            && health != self.status()
        {
            return Ok(Vec::new());
        }
        let row = |(name, of): (Box<str>, Figures)| {
            vec![
                Cell::text(self.status()),
                Cell::text("open"),
                Cell::text(&*name),
                Cell::text(uuid_of(&name)),
                Cell::Number(1),
                Cell::Number(0),
                Cell::Number(of.documents),
                if of.is_clean {
                    Cell::Number(0)
                } else {
                    Cell::Nothing
                },
                Cell::Bytes(of.bytes),
                Cell::Bytes(of.bytes),
            ]
        };
        Ok(figures.into_iter().map(row).collect())
    }

    fn cat_master(&self) -> Vec<Cell> {
        let name = &*self.settings.name;
        vec![
            Cell::text(uuid_of(name)),
            Cell::text(name),
            Cell::Nothing,
            Cell::text(name),
        ]
    }

    fn cat_node(&self) -> Vec<Cell> {
        let mut row = vec![Cell::Nothing; 7];
        row.extend([
            Cell::text("dim"),
            Cell::text("*"),
            Cell::text(&*self.settings.name),
        ]);
        row
    }

    async fn cat_shards(&self, call: &Call, index: &str) -> Result<Vec<Vec<Cell>>, Fault> {
        let figures = self.figures_of(call, index).await?;
        let row = |(name, of): (Box<str>, Figures)| {
            vec![
                Cell::text(&*name),
                Cell::Number(0),
                Cell::text("p"),
                Cell::text("STARTED"),
                Cell::Number(of.documents),
                Cell::Bytes(of.bytes),
                Cell::Nothing,
                Cell::text(&*self.settings.name),
            ]
        };
        Ok(figures.into_iter().map(row).collect())
    }

    /// What is known of each index that an expression means.
    pub(super) async fn figures_of(
        &self,
        call: &Call,
        index: &str,
    ) -> Result<BTreeMap<Box<str>, Figures>, Fault> {
        let selection = self.selection(call, index).await?;
        blocking(move || Ok(selection.figures()?)).await
    }
}

/// The time as seconds and as a clock shows it.
fn now() -> [Cell; 2] {
    let seconds = clock::now_us().div_euclid(1_000_000);
    let of_day = seconds.rem_euclid(86_400);
    let (hours, minutes, rest) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    [
        Cell::text(seconds.to_string()),
        Cell::text(format!("{hours:02}:{minutes:02}:{rest:02}")),
    ]
}
