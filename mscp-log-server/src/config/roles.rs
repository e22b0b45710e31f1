//! `roles`: what a node does.

use std::collections::BTreeSet;

use super::read::{Reader, list};
use super::{BufferKind, Config, StoreKind};

/// A part of the system that can be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Identity, pushes, searches, administration.
    Api,
    /// Takes what agents and Beats send, and cleans it.
    Parser,
    /// Carries records from the buffer into the store.
    Shipper,
    /// Deletes old indices.
    Rotator,
    /// Reads the sources of its machine.
    Agent,
}

/// Every role, with its name.
const ALL: [(Role, &str); 5] = [
    (Role::Api, "api"),
    (Role::Parser, "parser"),
    (Role::Shipper, "shipper"),
    (Role::Rotator, "rotator"),
    (Role::Agent, "agent"),
];

/// The roles between which the buffer lies.
const OF_THE_BUFFER: [Role; 3] = [Role::Api, Role::Parser, Role::Shipper];

/// What a node does; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Role {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = ALL.iter().find(|(role, _)| *role == self);
        known.map_or("", |(_, name)| name)
    }
}

impl Roles {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }

    /// Whether `role` is among them.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether records of others are taken in, kept, searched or deleted.
    #[must_use]
    pub fn aggregate(&self) -> bool {
        self.use_the_buffer() || self.has(Role::Rotator)
    }

    /// Whether the buffer is written or read.
    #[must_use]
    pub fn use_the_buffer(&self) -> bool {
        OF_THE_BUFFER.iter().any(|role| self.has(*role))
    }
}

fn named(text: &str) -> Result<Vec<Role>, String> {
    if text == "all" {
        return Ok(ALL.iter().map(|(role, _)| *role).collect());
    }
    let found = ALL.iter().find(|(_, name)| *name == text);
    found.map(|(role, _)| vec![*role]).ok_or_else(|| {
        format!(
            "expected all, or some of api, parser, shipper, rotator and agent, found \"{text}\""
        )
    })
}

pub(super) fn read(reader: &mut Reader) -> Roles {
    let named = reader.read("roles", list(named));
    Roles(named.into_iter().flatten().collect())
}

/// Whether the roles are a node, with what else is configured.
pub(super) fn judge(config: &Config, reader: &mut Reader) {
    let roles = &config.roles;
    if roles.0.is_empty() {
        reader.fault("roles", "expected at least one role");
        return;
    }
    if roles.aggregate() {
        together(config, reader);
        return;
    }
    if config.collect.output.is_none() {
        reader.fault(
            "collect.url",
            "expected it or collect.lumberjack.hosts, because the role agent alone keeps no records",
        );
    }
    if !config.collect.is_on() {
        reader.fault(
            "collect",
            "expected a source: collect.journal.enabled, collect.files.volumes, collect.files.paths or collect.files.containers",
        );
    }
}

/// What ties api, parser and shipper to one process.
fn together(config: &Config, reader: &mut Reader) {
    let missing = ALL
        .iter()
        .filter(|(role, _)| OF_THE_BUFFER.contains(role) && !config.roles.has(*role));
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return;
    }
    let missing = missing.join(" and ");
    let disk = matches!(config.buffer.kind, BufferKind::Disk);
    if disk && config.roles.use_the_buffer() {
        reader.fault(
            "roles",
            format!(
                "expected {missing} too, because they share the buffer in the data folder; \
                 with buffer.kind = \"kafka\" each can be a process of its own"
            ),
        );
    }
    let mut searches = [Role::Api, Role::Shipper].map(|role| config.roles.has(role));
    if config.roles.has(Role::Rotator) && searches == [false, false] {
        searches = [true, false];
    }
    for (name, region) in &config.regions {
        if region.store == StoreKind::Embedded
            && searches != [true, true]
            && searches != [false, false]
        {
            reader.fault(
                format!("region.{name}.store"),
                format!("expected the URLs of a cluster, or {missing} in this process: the embedded store is of one process"),
            );
        }
    }
}
