//! What each role costs where several share the work: taking in by `api` and
//! `parser` into a topic of Kafka, and shipping from it by one, two and four
//! `shipper` processes into Elasticsearch and into something that costs nothing.
//! Prints tables in Markdown; `docs/scaling.md` reckons from them.
#![forbid(unsafe_code)]

mod cost;
mod load;
mod shipping;
mod sink;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use mscp_log_tests::engine::kafka::{self, Kafka};
use mscp_log_tests::engine::{Engine, Spec};
use mscp_log_tests::generate::{self, Generator};
use mscp_log_tests::process::{self, Node};
use serde_json::json;
use tempfile::TempDir;

use crate::cost::{Cost, Watch};
use crate::load::{APP, Load, Messages};
use crate::shipping::{Shippers, Target};
use crate::sink::Sink;

/// Of each topic, as a node makes it.
const PARTITIONS: usize = 12;
/// Flags of the broker's and the engine's virtual machines, as `reference-deploy` has them.
const BROKER_FLAGS: &[&str] = &["-Xms1g", "-Xmx1g"];
const ENGINE_FLAGS: &[&str] = &["-Xms2g", "-Xmx2g"];
/// Rounds until the engine's code is compiled: what it costs falls until then.
const WARMING: usize = 4;
/// How long roles are watched that have nothing to do.
const IDLE: Duration = Duration::from_secs(20);

/// Measure each role on its own, with Kafka between.
#[derive(Parser)]
struct Arguments {
    /// Records of each measurement
    #[arg(long, default_value_t = 400_000)]
    records: usize,
    /// Machines that the records are of, which is how many keys the topic and how many indices the engine gets
    #[arg(long, default_value_t = 40)]
    hosts: usize,
    /// Least length of a message in bytes; shorter lines are joined
    #[arg(long, default_value_t = 0)]
    least: usize,
    /// Numbers of shippers, each at most 12
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    shippers: Vec<usize>,
    /// The engine's name; `none` leaves it out
    #[arg(long, default_value = "elasticsearch-8.19.0")]
    engine: String,
    /// The broker's name
    #[arg(long, default_value = "kafka-4.1.1")]
    broker: String,
    /// A folder of real logs, one line a record; without it, lines of the project's own
    #[arg(long)]
    lines: Option<PathBuf>,
    /// What to measure; without it, everything
    #[arg(long, value_delimiter = ',')]
    only: Vec<What>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Roles with nothing to do
    Idle,
    /// Taking in, into Kafka
    In,
    /// Shipping, out of Kafka
    Out,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let lines = generate::lines(arguments.lines.as_deref());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is past 1970").as_micros();
    let now_us = i64::try_from(now).expect("microseconds fit");
    let generator = Generator::new(1, lines, now_us - 3_600_000_000);
    let mut messages = Messages::new(generator, arguments.least);
    let stage = Stage::start(&arguments.broker).await;
    let wanted = |what| arguments.only.is_empty() || arguments.only.contains(&what);
    if wanted(What::Idle) {
        stage.idle().await;
    }
    if wanted(What::In) {
        stage.take_in(&mut messages, &arguments, now_us).await;
    }
    if wanted(What::Out) {
        stage.take_out(&mut messages, &arguments, now_us).await;
    }
}

/// A broker, and the accounts that `api` and `parser` have one after the other.
struct Stage {
    broker: Kafka,
    accounts: TempDir,
    token: String,
}

impl Stage {
    async fn start(broker: &str) -> Self {
        let spec = kafka::MATRIX.iter().find(|spec| spec.name == broker);
        let spec = spec.expect("make engines knows this broker");
        let mut stage = Self {
            broker: Kafka::start_with(spec, BROKER_FLAGS),
            accounts: tempfile::tempdir().expect("a temporary folder can be made"),
            token: String::new(),
        };
        let node = stage.node("api", "tokens");
        let access = json!([{"method": ["POST"], "url": ["/**"]}]);
        stage.token = process::administrator_token(&node, &access).await;
        assert!(node.terminate().success(), "it ends when it is told");
        stage
    }

    /// What every role is told.
    fn variables(&self, topic: &str, store: &str) -> Vec<(String, String)> {
        let partitions = PARTITIONS.to_string();
        let pairs = [
            ("BUFFER__KIND", "kafka"),
            ("BUFFER__BROKERS", &self.broker.address),
            ("BUFFER__TOPIC", topic),
            ("BUFFER__PARTITIONS", &partitions),
            ("BUFFER__REPLICATION", "1"),
            ("BUFFER__MIN_INSYNC", "1"),
            ("REGION__LOCAL__STORE", store),
        ];
        let pairs = pairs.into_iter();
        pairs
            .map(|(key, value)| (format!("MSCP_LOG_{key}"), value.to_owned()))
            .collect()
    }

    /// A node with the accounts.
    fn node(&self, role: &str, topic: &str) -> Node {
        self.node_in(self.accounts.path(), role, topic)
    }

    /// Nobody listens at its store: it does not ship.
    fn node_in(&self, data: &Path, role: &str, topic: &str) -> Node {
        let variables = self.variables(topic, "http://127.0.0.1:9");
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        Node::start(data, &["--role", role], &variables)
    }

    /// Roles with nothing to do.
    async fn idle(&self) {
        let data = [(); 3].map(|()| tempfile::tempdir().expect("a temporary folder can be made"));
        let roles = ["api", "parser", "shipper"];
        let nodes = roles
            .iter()
            .zip(&data)
            .map(|(role, data)| (*role, self.node_in(data.path(), role, "idle")));
        let nodes: Vec<(&'static str, Node)> = nodes.collect();
        tokio::time::sleep(IDLE / 4).await;
        let ids: Vec<_> = nodes
            .iter()
            .map(|(role, node)| (*role, node.id()))
            .collect();
        let watch = Watch::begin(&ids);
        tokio::time::sleep(IDLE).await;
        let cost = watch.end();
        println!("\n| role with nothing to do | % of a core | peak MB |\n|---|---|---|");
        for role in roles {
            let spent = cost.of(role);
            let share = spent.cpu / cost.wall.as_secs_f64() * 100.0;
            let peak = number_of_bytes(spent.peak) / 1e6;
            println!("| {role} | {share:.1} | {peak:.0} |");
        }
    }

    async fn take_in(&self, messages: &mut Messages, arguments: &Arguments, now_us: i64) {
        let (records, hosts) = (arguments.records, arguments.hosts);
        println!(
            "\n| role | records a request | records/s | MB/s of messages | CPU s a million records: role | broker | load | peak MB of the role | bytes a record: message | sent | in the topic | limit |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
        );
        let push = format!("/api/apps/{APP}/log");
        // A broker that was just started is slower.
        let warm = Arc::new(Load::pushes(messages, records / 4, 1_000));
        let node = self.node("api", "warm");
        warm.send(&format!("{}{push}", node.url), &self.token).await;
        assert!(node.terminate().success(), "it ends when it is told");
        for (role, path, batch) in [
            ("api", push.as_str(), 1_000),
            ("api", &push, 100),
            ("parser", "/api/local/collect", 1_000),
            ("parser", "/api/local/collect", 100),
        ] {
            let topic = format!("{role}-{batch}");
            let load = match role {
                "api" => Load::pushes(messages, records, batch),
                _ => Load::chunks(messages, records, batch, hosts, now_us),
            };
            let node = self.node(role, &topic);
            let url = format!("{}{path}", node.url);
            let load = Arc::new(load);
            let watch = Watch::begin(&[
                (role, node.id()),
                ("broker", self.broker.id()),
                ("load", std::process::id()),
            ]);
            load.send(&url, &self.token).await;
            let cost = watch.end();
            assert!(node.terminate().success(), "it ends when it is told");
            let (rate, megabytes) = rates(&load, &cost);
            let million = |role| cost.of(role).cpu / number(records) * 1e6;
            println!(
                "| {role} | {batch} | {rate:.0} | {megabytes:.1} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
                million(role),
                million("broker"),
                million("load"),
                number_of_bytes(cost.of(role).peak) / 1e6,
                number(load.raw) / number(records),
                number(load.bytes()) / number(records),
                number_of_bytes(self.size_of(&topic)) / number(records),
                cost.limit(),
            );
        }
    }

    async fn take_out(&self, messages: &mut Messages, arguments: &Arguments, now_us: i64) {
        let collected = Load::chunks(messages, arguments.records, 1_000, arguments.hosts, now_us);
        let collected = Arc::new(collected);
        println!(
            "\n| into | shippers | records/s | MB/s of messages | CPU s a million records: shippers | broker | engine | peak MB of a shipper | bytes a record: sent | packed | in the engine | records a request | limit |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        );
        let mut topics = (0..).map(|number| format!("shipped-{number}"));
        let mut next = || topics.next().expect("numbers do not end");
        if arguments.engine != "none" {
            let engine = Engine::start_with(Spec::named(&arguments.engine), ENGINE_FLAGS);
            let target = Target::Engine(engine);
            for round in 1..=WARMING {
                let name = format!("{}, warming {round}", arguments.engine);
                self.ship(&name, &target, 1, &next(), &collected).await;
            }
            for count in &arguments.shippers {
                let name = &arguments.engine;
                self.ship(name, &target, *count, &next(), &collected).await;
            }
        }
        let target = Target::Sink(Sink::start().await);
        for count in &arguments.shippers {
            let name = "what costs nothing";
            self.ship(name, &target, *count, &next(), &collected).await;
        }
    }

    /// Bytes of a topic on the broker's disk.
    fn size_of(&self, topic: &str) -> u64 {
        let folder = self.broker.folder().join("data");
        let partitions = fs::read_dir(folder).into_iter().flatten().flatten();
        partitions
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.rsplit_once('-').is_some_and(|(of, _)| of == topic)
            })
            .map(|entry| size_of(&entry.path()))
            .sum()
    }

    /// Fill a topic while its shippers are held, then let them go on.
    async fn ship(&self, name: &str, target: &Target, count: usize, topic: &str, load: &Arc<Load>) {
        let parser = self.node("parser", topic);
        let shippers = Shippers::start(count, &self.variables(topic, target.url())).await;
        shippers.freeze(true);
        let url = format!("{}/api/local/collect", parser.url);
        load.send(&url, &self.token).await;
        assert!(parser.terminate().success(), "it ends when it is told");

        let ids = shippers.ids().into_iter().map(|id| ("shippers", id));
        let others = [("broker", self.broker.id()), (target.role(), target.id())];
        let watch = Watch::begin(&ids.chain(others).collect::<Vec<_>>());
        shippers.freeze(false);
        target.has(load.records).await;
        let cost = watch.end();
        let size = target.settled(load.records).await;
        let settled = watch.end();
        shippers.finish().await;
        let (rate, megabytes) = rates(load, &cost);
        let million = |cpu: f64| cpu / number(load.records) * 1e6;
        let each = |bytes: usize| format!("{:.0}", number(bytes) / number(load.records));
        let unknown = || "-".to_owned();
        let [sent, packed, requests] = match target {
            Target::Engine(_) => [(); 3].map(|()| unknown()),
            Target::Sink(sink) => {
                let came = sink.came();
                let requests = came.records / came.requests.max(1);
                [each(came.bytes), each(came.packed), requests.to_string()]
            }
        };
        println!(
            "| {name} | {count} | {rate:.0} | {megabytes:.1} | {:.2} | {:.2} | {:.2} | {:.0} | {sent} | {packed} | {} | {requests} | {} |",
            million(cost.of("shippers").cpu),
            million(cost.of("broker").cpu),
            million(settled.of(target.role()).cpu),
            number_of_bytes(cost.of("shippers").peak) / 1e6,
            size.map_or_else(unknown, each),
            cost.limit(),
        );
        target.forget().await;
    }
}

/// Records and megabytes of messages a second.
fn rates(load: &Load, cost: &Cost) -> (f64, f64) {
    let seconds = cost.wall.as_secs_f64();
    (
        number(load.records) / seconds,
        number(load.raw) / 1e6 / seconds,
    )
}

fn size_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        // Indices of segments are sparse files of 10 MB.
        .filter(|file| file.path().extension().is_some_and(|kind| kind == "log"))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn number_of_bytes(count: u64) -> f64 {
    count as f64
}
