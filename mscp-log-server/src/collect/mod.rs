//! Collecting: what an agent does on every node.
//!
//! Sources read; `keep` makes durable what they read, together with where they
//! go on, in a buffer of the agent's own; `send` hands it on. A machine whose
//! network is gone keeps what it reads, and one whose buffer is full leaves it
//! where it is: in the files, in the journal.

pub mod files;
pub mod journal;
pub mod keep;
pub mod losses;
pub mod lumberjack;
pub mod machine;
pub mod send;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::buffer::disk::{DiskBuffer, DiskSettings, OpenError};
use crate::config;
use crate::ingest::collect::Collect;
use keep::{KeepError, Keeper, Pace};
use machine::Machine;
use send::{Output, Remote};

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its buffer cannot be opened.
    #[error(transparent)]
    Buffer(#[from] OpenError),
    /// Its positions cannot be read.
    #[error("positions: {0}")]
    Positions(#[from] KeepError),
    /// Where its records go cannot be used.
    #[error("collect.url: {0}")]
    Gateway(String),
    /// Its records go nowhere: none is configured, and this process keeps none.
    #[error("collect.url: expected, because this node keeps no records")]
    Nowhere,
    /// There is nobody to send to.
    #[error("collect.lumberjack.hosts: {0}")]
    Hosts(#[from] lumberjack::NoHosts),
    /// The machine has no name.
    #[error("collect.host: expected, because the system does not say the machine's name")]
    Host,
    /// There is no thread.
    #[error("log files cannot be read: {0}")]
    Thread(std::io::Error),
}

/// The folder of the agent in the data folder.
const FOLDER: &str = "agent";

/// Batches of items on their way from the sources to the keeper.
const WAITING: usize = 2;

/// What an agent says of itself.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    paused: Arc<ArcSwapOption<String>>,
    held: send::HeldBack,
    journal: journal::Trouble,
}

impl Notes {
    /// What keeps it from its work, if something does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let told = [
            ("reading is paused", &self.paused),
            ("sending is held back", &self.held),
            ("the journal is not read", &self.journal),
        ];
        let told = told.into_iter().filter_map(|(what, reason)| {
            let reason = reason.load_full()?;
            Some(format!("{what}: {reason}"))
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Start the agent that `config` describes, with its buffer and its positions
/// below `data`. Its records go to the gateway, or else to `local`, the pipeline of this process where it has one. Its tasks
/// end at `stop`; what is read by then and not sent is in the buffer.
///
/// # Errors
/// See [`AgentError`].
pub fn start(
    config: &config::Collect,
    data: &Path,
    local: Option<&Arc<Collect>>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Notes, AgentError> {
    let output = match (&config.output, local) {
        (Some(config::Output::Gateway(gateway)), _) => {
            let remote = Remote::new(gateway.clone()).map_err(AgentError::Gateway)?;
            Output::Gateway(Box::new(remote))
        }
        (Some(config::Output::Lumberjack(settings)), _) => {
            let sender = lumberjack::Sender::new(settings.clone())?;
            Output::Lumberjack(Box::new(sender))
        }
        (None, Some(local)) => Output::Local(Arc::clone(local)),
        (None, None) => return Err(AgentError::Nowhere),
    };
    let host = config.host.clone().or_else(machine::name);
    let machine = Machine::new(host.ok_or(AgentError::Host)?, config);
    let machine = Arc::new(machine);
    let folder = data.join(FOLDER);
    let settings = DiskSettings {
        max_bytes: config.max_bytes,
        ..DiskSettings::default()
    };
    let buffer = Arc::new(DiskBuffer::open(&folder.join("buffer"), settings)?);
    let file = folder.join("positions.json");
    let positions = keep::recover(&file, &buffer)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let (keeper, keeping) = Keeper::new(
        file,
        Arc::clone(&buffer),
        positions.clone(),
        Pace::default(),
    );
    let notes = Notes {
        paused: Arc::clone(&keeping.paused),
        ..Notes::default()
    };
    // The sources end first, then the keeper has the last of what they read.
    let reading = stop.child_token();
    if let Some(files) = &config.files {
        let thread = files::start(
            files.clone(),
            Arc::clone(&machine),
            &positions,
            sender.clone(),
            reading.clone(),
        );
        let thread = thread.map_err(AgentError::Thread)?;
        tasks.spawn_blocking(move || {
            if thread.join().is_err() {
                tracing::error!("the reader of log files panicked");
            }
        });
    }
    if let Some(journal) = &config.journal {
        let trouble = Arc::clone(&notes.journal);
        tasks.spawn(journal::run(
            journal.clone(),
            machine,
            positions,
            sender.clone(),
            trouble,
            reading,
        ));
    }
    drop(sender);
    let keeping_on = stop.clone();
    tasks.spawn(async move {
        keeper.run(receiver, keeping_on).await;
    });
    let held = Arc::clone(&notes.held);
    tasks.spawn(send::send(
        buffer as Arc<dyn Buffer>,
        output,
        keeping,
        held,
        stop.clone(),
    ));
    Ok(notes)
}
