//! What a node says of itself, gathered from its components.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::instances::{BufferUse, Certificate, Disk, Report, Source};
use crate::admin::live::Gather;
use crate::api::health::Health;
use crate::buffer::Buffer;
use crate::clock;
use crate::collect::{Notes, machine};
use crate::config::{Config, Role};
use crate::metric;

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
        // What is switched off is told with `ok`, too.
        let wrong = readiness.checks.into_iter();
        let wrong = wrong.filter(|(_, said)| said != "ok" && !said.starts_with("ok;"));
        let reasons: BTreeMap<String, String> =
            wrong.map(|(name, said)| (name.to_owned(), said)).collect();
        let sources = self.agent.as_ref().map(Notes::sources);
        let sources = sources.into_iter().flatten().map(|note| {
            let source = Source {
                enabled: note.configured && note.wanted,
                up: note.reading,
                reason: note.trouble,
            };
            (note.name.to_owned(), source)
        });
        let counted = self.health.counted();
        let certificates = metric::certificate_expiries(&counted).into_iter();
        let certificates = certificates.map(|(of, expires_s)| Certificate { of, expires_s });
        Report {
            losses: metric::losses_by_reason(&counted),
            certificates: certificates.collect(),
            sources: sources.collect(),
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
