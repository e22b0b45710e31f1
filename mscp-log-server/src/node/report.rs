//! What a node says of itself, gathered from its components.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::instances::{BufferUse, Disk, Report, Source};
use crate::admin::live::Gather;
use crate::api::health::Health;
use crate::buffer::Buffer;
use crate::clock;
use crate::collect::{Notes, machine};
use crate::config::{Config, Role};

/// Where a node's report comes from.
pub(super) struct Witness {
    /// What does not change.
    itself: Report,
    data: PathBuf,
    health: Arc<Health>,
    buffer: Option<Arc<dyn Buffer>>,
    agent: Option<Notes>,
}

impl Witness {
    /// Of the instance `id`, whose data is in `data`.
    pub(super) fn new(
        config: &Config,
        id: String,
        data: PathBuf,
        health: Arc<Health>,
        buffer: Option<Arc<dyn Buffer>>,
        agent: Option<Notes>,
    ) -> Self {
        let node = config.instance.node.clone();
        let node = node.or_else(|| config.collect.host.clone());
        let node = node.or_else(machine::name);
        let source = |configured| Source {
            enabled: configured,
            ..Source::default()
        };
        let mut sources = BTreeMap::new();
        if agent.is_some() {
            let journal = source(config.collect.journal.is_some());
            sources.insert("journalbeat".to_owned(), journal);
            let files = source(config.collect.files.is_some());
            sources.insert("filebeat".to_owned(), files);
        }
        let itself = Report {
            id,
            node: node.unwrap_or_else(|| "unknown".to_owned()),
            pod_id: config.instance.pod.clone(),
            roles: config
                .roles
                .iter()
                .map(Role::name)
                .map(str::to_owned)
                .collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_us: clock::now_us(),
            sources,
            ..Report::default()
        };
        Self {
            itself,
            data,
            health,
            buffer,
            agent,
        }
    }

    /// As what is asked each few seconds.
    pub(super) fn into_gather(self) -> Gather {
        let witness = Arc::new(self);
        Box::new(move |revision| {
            let witness = Arc::clone(&witness);
            Box::pin(async move { witness.report(revision).await })
        })
    }

    async fn report(&self, revision: i64) -> Report {
        let readiness = self.health.readiness().await;
        let wrong = readiness
            .checks
            .into_iter()
            .filter(|(_, said)| said != "ok");
        let reasons: BTreeMap<String, String> =
            wrong.map(|(name, said)| (name.to_owned(), said)).collect();
        let mut sources = self.itself.sources.clone();
        let trouble = self.agent.as_ref().and_then(Notes::trouble);
        for source in sources.values_mut() {
            source.up = source.enabled && trouble.is_none();
            source.reason = trouble.clone().filter(|_| source.enabled);
        }
        Report {
            sources,
            revision,
            ready: readiness.ready,
            reasons,
            buffer: self.buffer.as_ref().map(|buffer| {
                let usage = buffer.usage();
                BufferUse {
                    bytes: usage.bytes,
                    max_bytes: usage.max_bytes,
                    backlog: usage.backlog,
                }
            }),
            disk: rustix::fs::statvfs(&self.data).ok().map(|it| Disk {
                total: it.f_blocks.saturating_mul(it.f_frsize),
                free: it.f_bavail.saturating_mul(it.f_frsize),
            }),
            ..self.itself.clone()
        }
    }
}
