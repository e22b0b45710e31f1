//! `search`: records found, printed as `kubectl logs` or `stern` would, and followed.

use std::io::Write as _;
use std::pin::pin;

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _};
use mscp_log_client::{Hit, TailSettings};
use serde_json::json;

use super::connection::Connection;
use super::{Failure, input, output};

/// The largest page that a store gives.
const MAX_PAGE: u64 = 10_000;

/// Find records
#[derive(Args, Debug)]
#[command(after_help = "\
Words are looked for in the message, and all of them must be there. Fields, phrases, OR, NOT and
wildcards are those of Elasticsearch's query_string. The newest records are printed, in the order
of their time.

  mscp-log search 'connection refused' --since 1h
  mscp-log search 'level:error AND NOT \"health check\"' --namespace shop --limit 500
  mscp-log search -f --app caa0c2f0-1116-495f-8f09-3cd023cc14a2
  mscp-log search 'type:syslog' --count
  mscp-log search 'annotations.user:alice' --json | jq -r .message")]
pub(super) struct Search {
    /// What to look for; everything when absent
    #[arg(value_name = "QUERY")]
    query: Option<String>,

    /// Only the last time span, as 90s, 15m, 1h or 2d
    #[arg(long, value_name = "SPAN", value_parser = input::seconds)]
    since: Option<u64>,

    /// Only of this namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Only of this app
    #[arg(long, env = "MSCP_LOG_APP", value_name = "UUID")]
    app: Option<uuid::Uuid>,

    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Only of this pod
    #[arg(long, value_name = "POD")]
    pod: Option<String>,

    /// Only of this container
    #[arg(long, short, value_name = "CONTAINER")]
    container: Option<String>,

    /// Only of this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Only of this level
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,

    /// How many records at most, the newest [default: 100, with -f 10]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Go on and print what comes in, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Print only how many records there are
    #[arg(long, conflicts_with = "follow")]
    count: bool,

    /// The region to search in
    #[arg(
        long,
        env = "MSCP_LOG_REGION",
        value_name = "REGION",
        default_value = "local"
    )]
    region: String,

    /// Only in these indices: names and patterns, separated by commas
    #[arg(long, value_name = "INDEX")]
    index: Option<String>,
}

impl Search {
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Failure> {
        let search = self.search(connection)?;
        if self.count {
            let count = search.count().await?;
            return if connection.json {
                output::json(&json!({"count": count}))
            } else {
                output::line(&count.to_string())
            };
        }
        let printer = Printer {
            json: connection.json,
            colours: output::colours(),
        };
        if self.follow {
            let last = self.limit.unwrap_or(10).min(MAX_PAGE);
            let followed = follow(search, last, &printer);
            return tokio::select! {
                ended = followed => ended,
                _ = tokio::signal::ctrl_c() => Ok(()),
            };
        }
        let limit = self.limit.unwrap_or(100);
        let mut hits: Vec<Hit> = Vec::new();
        let mut more = false;
        let page = limit.clamp(1, MAX_PAGE);
        let mut pages = pin!(
            search
                .size(page)
                .member("track_total_hits", json!(false))
                .pages()
        );
        while hits.len() as u64 <= limit && limit > 0 {
            let Some(mut page) = pages.try_next().await? else {
                break;
            };
            let room = usize::try_from(limit).unwrap_or(usize::MAX) - hits.len();
            more = page.len() > room;
            page.truncate(room);
            hits.append(&mut page);
            if hits.len() as u64 == limit {
                break;
            }
        }
        let full = more || hits.len() as u64 == limit;
        printer.print(hits.iter().rev())?;
        if full && self.limit.is_none() && console::user_attended_stderr() {
            eprintln!("(the newest {limit}; --limit N for more)");
        }
        Ok(())
    }

    fn search(&self, connection: &Connection) -> Result<mscp_log_client::Search, Failure> {
        let mut search = connection.client()?.search(&self.region);
        if let Some(index) = &self.index {
            search = search.index(index);
        }
        if let Some(query) = self
            .query
            .as_deref()
            .filter(|query| !query.trim().is_empty())
        {
            search = search.words(query);
        }
        if let Some(seconds) = self.since {
            search = search.since_seconds(seconds);
        }
        let app = self.app.map(|app| app.to_string());
        let terms = [
            ("namespace", &self.namespace),
            ("appid", &app),
            ("type", &self.kind),
            ("pod", &self.pod),
            ("container", &self.container),
            ("hostname", &self.host),
            ("level", &self.level),
        ];
        for (field, value) in terms {
            if let Some(value) = value {
                search = search.term(field, value.as_str());
            }
        }
        Ok(search)
    }
}

async fn follow(
    search: mscp_log_client::Search,
    last: u64,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut tail = pin!(search.tail(last, TailSettings::default()));
    let mut away = false;
    while let Some(next) = tail.next().await {
        match next {
            Ok(hit) => {
                away = false;
                printer.print([&hit])?;
            }
            Err(error) if error.is_retryable() => {
                // Said once for each time that the node is away.
                if !away {
                    eprintln!("{error}; trying again");
                }
                away = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Printer {
    json: bool,
    colours: bool,
}

impl Printer {
    fn print<'h>(&self, hits: impl IntoIterator<Item = &'h Hit>) -> Result<(), Failure> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for hit in hits {
            if self.json {
                writeln!(out, "{}", hit.source)?;
            } else {
                writeln!(out, "{}", self.line(hit))?;
            }
        }
        Ok(out.flush()?)
    }

    /// `TIME SOURCE LEVEL MESSAGE`
    fn line(&self, hit: &Hit) -> String {
        let source = source(hit);
        let level = hit.text("level");
        let mut line = String::new();
        self.word(&mut line, hit.time(), console::Style::new().dim());
        self.word(&mut line, &source, source_colour(&source));
        self.word(&mut line, level, level_colour(level));
        line.push_str(&output::printable(
            hit.message().trim_end_matches(['\r', '\n']),
        ));
        line
    }

    fn word(&self, line: &mut String, word: &str, style: console::Style) {
        if word.is_empty() {
            return;
        }
        let word = output::printable(word);
        let style = style.force_styling(self.colours);
        line.push_str(&style.apply_to(word).to_string());
        line.push(' ');
    }
}

/// Where a record is from, as short as it stays clear: the pod and container,
/// else the host and file, else the app and type.
fn source(hit: &Hit) -> String {
    let pod = hit.text("pod");
    let container = hit.text("container");
    if !pod.is_empty() {
        return format!("{}/{pod} {container}", hit.text("namespace"))
            .trim_end()
            .to_owned();
    }
    let app = hit.text("appid");
    let app = app.get(..8).unwrap_or(app);
    let parts = [container, hit.text("hostname"), app, hit.text("type")];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// A colour that one source always has.
fn source_colour(source: &str) -> console::Style {
    let colours = [
        console::Color::Cyan,
        console::Color::Green,
        console::Color::Magenta,
        console::Color::Yellow,
        console::Color::Blue,
    ];
    // FNV-1a: the same in every run and every build.
    let hash = source
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let place = usize::try_from(hash % colours.len() as u64).unwrap_or_default();
    console::Style::new().fg(colours[place])
}

fn level_colour(level: &str) -> console::Style {
    let style = console::Style::new();
    match level.to_ascii_lowercase().as_str() {
        "error" | "err" | "fatal" | "critical" | "crit" | "alert" | "emerg" => style.red().bold(),
        "warn" | "warning" => style.yellow(),
        "debug" | "trace" => style.dim(),
        _ => style,
    }
}
