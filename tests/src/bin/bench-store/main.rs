//! The same documents and the same requests against the embedded store and
//! real engines in one run: what indexing costs, and what each kind of search
//! costs after it. Prints tables in Markdown; `--chart` draws them.
#![forbid(unsafe_code)]

mod chart;
mod contender;
mod corpus;
mod report;
mod requests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use mscp_log_tests::generate;
use tokio::sync::{Mutex, mpsc};

use crate::contender::Contender;
use crate::corpus::Corpus;
use crate::report::{Indexing, Searching};

/// Measure the embedded store beside Elasticsearch and OpenSearch.
#[derive(Parser)]
struct Arguments {
    /// Documents to index
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Days that they are of, each a partition of the embedded store
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Documents in one _bulk
    #[arg(long, default_value_t = 2_000)]
    bulk: usize,
    /// _bulk requests that are open at once
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Searches of each kind that are measured, one after the other
    #[arg(long, default_value_t = 200)]
    searches: usize,
    /// Seed of documents and searches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder of real logs, one line a record; without it, lines of the project's own
    #[arg(long)]
    lines: Option<PathBuf>,
    /// What to measure: `embedded`, and names of engines as `make engines` knows them
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "embedded,elasticsearch-7.17.29,elasticsearch-8.19.0,opensearch-2.19.1"
    )]
    stores: Vec<String>,
    /// Memory of an engine's heap, as the JVM's -Xmx takes it
    #[arg(long, default_value = "2g")]
    heap: String,
    /// Write a chart of the figures to this file
    #[arg(long)]
    chart: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let lines = generate::lines(arguments.lines.as_deref());
    println!(
        "{} distinct lines, {} documents, seed {}\n",
        lines.len(),
        arguments.records,
        arguments.seed
    );
    let corpus = Arc::new(Corpus::new(
        arguments.seed,
        lines,
        arguments.records,
        arguments.days,
    ));
    let classes = requests::classes(&corpus, arguments.searches);
    let mut indexing = Vec::new();
    let mut searching = Vec::new();
    for name in &arguments.stores {
        let mut contender = match Contender::start(name, &arguments.heap).await {
            Ok(contender) => contender,
            Err(reason) => {
                println!("{name} is left out: {reason}\n");
                continue;
            }
        };
        indexing.push(index(&arguments, &contender, &corpus).await);
        eprintln!("{name}: indexed");
        contender.merge_to_one_segment().await;
        if let Some(alone) = left_alone(&contender).await {
            println!("{alone}\n");
        }
        if let Some(time) = contender.restart().await {
            println!(
                "{name}: {:.2} s from the start of the process on this data to the answer to a search of all of it\n",
                time.as_secs_f64()
            );
        }
        for class in &classes {
            searching.push(search(&contender, class).await);
        }
        eprintln!("{}", report::table_of_searches(&indexing, &searching));
    }
    println!("{}", report::table_of_indexing(&indexing));
    println!("{}", report::table_of_searches(&indexing, &searching));
    if let Some(path) = &arguments.chart {
        std::fs::write(path, chart::draw(&indexing, &searching)).expect("the chart is written");
    }
}

/// Index all documents; the figures are of the store's process, from its first
/// request until it has nothing left to merge.
async fn index(arguments: &Arguments, contender: &Contender, corpus: &Arc<Corpus>) -> Indexing {
    let (sender, receiver) = mpsc::channel::<String>(arguments.clients);
    let receiver = Arc::new(Mutex::new(receiver));
    let begun = Instant::now();
    let (cpu_before, _) = contender.cost();
    let mut clients = Vec::new();
    for _ in 0..arguments.clients {
        let (receiver, contender) = (Arc::clone(&receiver), contender.door());
        clients.push(tokio::spawn(async move {
            loop {
                let body = receiver.lock().await.recv().await;
                let Some(body) = body else { return };
                contender.bulk(body).await;
            }
        }));
    }
    let making = {
        let (corpus, per_body) = (Arc::clone(corpus), arguments.bulk);
        tokio::task::spawn_blocking(move || {
            corpus.bodies(per_body, |body| {
                let _ = sender.blocking_send(body);
            })
        })
    };
    let sent = making.await.expect("documents are made");
    for client in clients {
        client.await.expect("no client failed");
    }
    contender.until_searchable(arguments.records).await;
    let searchable = begun.elapsed();
    contender.flush().await;
    let (cpu, peak) = settled(contender).await;
    Indexing {
        store: contender.name.clone(),
        documents: arguments.records,
        sent,
        searchable,
        cpu: cpu - cpu_before,
        disk: contender.disk(),
        peak,
        parts: contender.disk_by_kind(),
    }
}

/// A day of the embedded store that is left alone for a minute is merged once
/// more: what that costs and brings.
async fn left_alone(contender: &Contender) -> Option<String> {
    if !contender.is_embedded() {
        return None;
    }
    let (before, _) = contender.cost();
    tokio::time::sleep(Duration::from_secs(70)).await;
    let (cpu, peak) = settled(contender).await;
    Some(format!(
        "{}: left alone, it merged with {:.1} CPU s more; then {:.0} MB on disk, peak so far {:.0} MB",
        contender.name,
        cpu - before,
        report::megabytes(contender.disk()),
        report::megabytes(peak)
    ))
}

/// CPU seconds and peak memory when the store has used less than 5 % of a core
/// for three seconds.
async fn settled(contender: &Contender) -> (f64, u64) {
    let (mut last, _) = contender.cost();
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (now, peak) = contender.cost();
        if now - last < 0.15 {
            return (now, peak);
        }
        last = now;
    }
}

/// Searches of one class, one after the other. As many go before unmeasured, so
/// that caches are as warm as in use, and the JVM has compiled its part.
async fn search(contender: &Contender, class: &requests::Class) -> Searching {
    let (warm_up, measured) = class.bodies.split_at(class.bodies.len() / 2);
    let mut hits = 0.0;
    for body in warm_up {
        hits += contender.search(body).await.1;
    }
    let (cpu_before, _) = contender.cost();
    let mut times = Vec::with_capacity(measured.len());
    for body in measured {
        let (time, found) = contender.search(body).await;
        times.push(time);
        hits += found;
    }
    let (cpu, _) = contender.cost();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Searching {
        store: contender.name.clone(),
        class: class.name,
        p50: at(50),
        p95: at(95),
        cpu_ms: (cpu - cpu_before) * 1_000.0 / times.len() as f64,
        hits: hits / class.bodies.len() as f64,
    }
}
