//! `serve`: a node in this process, until SIGTERM or SIGINT.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::check::Source;
use super::{Failure, output};
use crate::config::{Config, LogFormat, Secret};
use crate::identity::Administrator;
use crate::node::Node;

/// Run a node
#[derive(Args, Debug)]
#[command(after_help = "\
The first start makes the signing keys and the administrator, and prints the password once, or takes
MSCP_LOG_ADMIN_EMAIL and MSCP_LOG_ADMIN_PASSWORD. SIGTERM and SIGINT drain: the node takes no more,
finishes what is open, flushes, and ends with 0.

  mscp-log serve --data /var/lib/mscp-log
  mscp-log serve --config /etc/mscp-log.toml
  MSCP_LOG_PUSH__MAX_RECORDS=5000 mscp-log serve --data ./data --listen 0.0.0.0:8300")]
pub(super) struct Serve {
    #[command(flatten)]
    source: Source,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = load(&self.source)?;
        log_to_stderr(&config, None);
        for warning in config.warnings() {
            tracing::warn!(key = warning.key, "{}", warning.reason);
        }
        // Installed before the node starts, so that a signal during a long
        // start is not the end without a word.
        let mut stopped = Stop::new()?;
        let drain = config.http.drain;
        let data = config.data.display().to_string();
        let node = tokio::select! {
            node = start(config, administrator()) => node?,
            () = stopped.wait() => {
                tracing::info!("stopped before it had started");
                return Ok(());
            }
        };
        output::line(&format!(
            "mscp-log {} listens on {}",
            env!("CARGO_PKG_VERSION"),
            node.url()
        ))?;
        if let Some(address) = node.beats() {
            output::line(&format!("Beats are taken on {address}"))?;
        }
        output::line(&format!("data in {data}"))?;
        if let Some(first) = node.first_administrator() {
            output::line(&format!("administrator: {}", first.email))?;
            if first.generated {
                output::line(&format!("password:      {}", first.password.expose()))?;
                output::line("The password is shown this once.")?;
            }
        }
        stopped.wait().await;
        stop(node, drain).await
    }
}

/// The configuration, or every error of it at once.
pub(super) fn load(source: &Source) -> Result<Config, Failure> {
    source.load().map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::failed(format!(
            "the configuration is wrong:\n  {}",
            lines.join("\n  ")
        ))
    })
}

/// Who the first start makes, as the environment has it.
pub(super) fn administrator() -> Administrator {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Administrator {
        email: variable("MSCP_LOG_ADMIN_EMAIL"),
        password: variable("MSCP_LOG_ADMIN_PASSWORD").map(Secret::new),
    }
}

pub(super) async fn start(config: Config, administrator: Administrator) -> Result<Node, Failure> {
    Box::pin(Node::start(config, administrator))
        .await
        .map_err(|error| Failure::failed(error.to_string()))
}

pub(super) async fn stop(node: Node, drain: Duration) -> Result<(), Failure> {
    tracing::info!("stopping");
    node.stop(drain).await;
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM or SIGINT.
pub(super) struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn new() -> Result<Stop, Failure> {
        let of = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Stop {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The node's own log, to the standard error, at `level` or the configured one.
///
/// A level without a target is this system's: libraries that tell of each request would have
/// an agent that reads its own console read more for everything that it sends.
pub(super) fn log_to_stderr(config: &Config, level: Option<&str>) {
    use std::io::IsTerminal as _;
    let level = level.unwrap_or(&config.log.level);
    let own = match level {
        "debug" | "trace" => ["server", "client", "core"]
            .map(|name| format!(",mscp_log_{name}={level}"))
            .concat(),
        _ => String::new(),
    };
    let level = if own.is_empty() { level } else { "info" };
    // What Kubernetes does not answer is told by whoever asked, with what was asked.
    let level = format!("kube_client=off,{level}{own}");
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(level);
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    // A second subscriber, as tests that start several nodes have, is no fault.
    let log: Box<dyn tracing::Subscriber + Send + Sync> = match config.log.format {
        LogFormat::Json => Box::new(log.json().finish()),
        LogFormat::Text => Box::new(log.finish()),
    };
    // Where the process has a subscriber already, that one stays.
    let _set_already = tracing::subscriber::set_global_default(log);
}
