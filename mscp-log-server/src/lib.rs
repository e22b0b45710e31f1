//! The running system: every component of mscp-log and the one binary.
//!
//! A record's way is the order of the folders: `collect`, `ingest` → `pipeline` →
//! `buffer` → `ship` → `store`; a question's is `api` → `query` → `store`.
//! See ARCHITECTURE.md for the map and the invariants.
#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod backup;
pub mod buffer;
#[cfg(test)]
mod cases;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod database;
pub mod folder;
pub mod identity;
pub mod ingest;
pub mod kube;
pub mod lumberjack;
pub mod metric;
pub mod node;
pub mod pipeline;
pub mod query;
pub mod rotate;
pub mod schema;
pub mod settings;
pub mod ship;
pub mod snapshot;
pub mod store;
pub mod tls;
