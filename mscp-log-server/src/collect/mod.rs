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
mod switch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::buffer::disk::{DiskBuffer, DiskSettings, OpenError};
use crate::config;
use crate::ingest::collect::Collect;
use futures::FutureExt as _;
use keep::{KeepError, Keeper, Pace, Positions};
use machine::Machine;
use send::{Output, Remote};
use switch::{State, Switch};

pub use switch::{SourceNote, Trouble, Wanted};

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
}

/// The folder of the agent in the data folder.
const FOLDER: &str = "agent";

/// Batches of items on their way from the sources to the keeper.
const WAITING: usize = 2;

/// What an agent says of itself.
#[derive(Clone, Debug)]
pub struct Notes {
    paused: Arc<ArcSwapOption<String>>,
    held: send::HeldBack,
    journal: State,
    files: State,
    wanted: watch::Receiver<Wanted>,
}

impl Notes {
    /// What keeps it from its work, if something does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let troubles = [
            ("reading is paused", &self.paused),
            ("sending is held back", &self.held),
            ("the journal is not read", &self.journal.trouble),
            ("log files are not read", &self.files.trouble),
        ];
        let troubles = troubles.into_iter().filter_map(|(what, reason)| {
            let reason = reason.load_full()?;
            Some(format!("{what}: {reason}"))
        });
        let troubles: Vec<String> = troubles.collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// The same, or `ok`, and which sources an administrator has switched off;
    /// `None` when there is nothing to tell.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let trouble = self.trouble();
        let sources = self.sources();
        let off = sources
            .iter()
            .filter(|note| note.configured && !note.wanted);
        let off: Vec<&str> = off.map(|note| note.name).collect();
        if off.is_empty() {
            return trouble;
        }
        let trouble = trouble.unwrap_or_else(|| "ok".to_owned());
        let off = off.join(", ");
        Some(format!(
            "{trouble}; switched off by an administrator: {off}"
        ))
    }

    /// What is true of each source, configured or not.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceNote> {
        let wanted = *self.wanted.borrow();
        let sources = [
            ("journalbeat", &self.journal, wanted.journal),
            ("filebeat", &self.files, wanted.files),
        ];
        let note = |(name, state, wanted): (&'static str, &State, bool)| {
            let running = state.running.load(Ordering::Relaxed);
            let paused = || {
                let reason = self.paused.load_full().filter(|_| running)?;
                Some(format!("reading is paused: {reason}"))
            };
            let own = state.trouble.load_full();
            let trouble = own.map(|reason| (*reason).clone()).or_else(paused);
            SourceNote {
                name,
                configured: state.configured,
                wanted,
                reading: running && trouble.is_none(),
                trouble,
            }
        };
        sources.map(note).into()
    }
}

/// Start the agent that `config` describes, with its buffer and its positions
/// below `data`. Its records go to the gateway, or else to `local`, the pipeline of this process where it has one. Of the sources
/// that `config` has those are read that are `wanted` at the time. Its tasks end at `stop`; what is read by then and not sent
/// is in the buffer.
///
/// # Errors
/// See [`AgentError`].
pub fn start(
    config: &config::Collect,
    data: &Path,
    local: Option<&Arc<Collect>>,
    wanted: &watch::Receiver<Wanted>,
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
    let state = |configured| State {
        configured,
        ..State::default()
    };
    let notes = Notes {
        paused: Arc::clone(&keeping.paused),
        held: send::HeldBack::default(),
        journal: state(config.journal.is_some()),
        files: state(config.files.is_some()),
        wanted: wanted.clone(),
    };
    let switch = |source, state: &State, of| Switch {
        source,
        state: state.clone(),
        wanted: wanted.clone(),
        of,
        keeping: keeping.clone(),
        stop: stop.clone(),
    };
    if let Some(files) = config.files.clone() {
        let (machine, sender) = (Arc::clone(&machine), sender.clone());
        let switch = switch("files", &notes.files, |wanted| wanted.files);
        let read = move |positions: Positions, off| {
            let (files, machine) = (files.clone(), Arc::clone(&machine));
            files::read(files, machine, positions, sender.clone(), off).boxed()
        };
        tasks.spawn(switch.run(positions.clone(), Box::new(read)));
    }
    if let Some(journal) = config.journal.clone() {
        let (trouble, sender) = (Arc::clone(&notes.journal.trouble), sender.clone());
        let switch = switch("journal", &notes.journal, |wanted| wanted.journal);
        let read = move |positions: Positions, off| {
            let (journal, machine) = (journal.clone(), Arc::clone(&machine));
            let trouble = Arc::clone(&trouble);
            journal::run(journal, machine, positions, sender.clone(), trouble, off).boxed()
        };
        tasks.spawn(switch.run(positions, Box::new(read)));
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
