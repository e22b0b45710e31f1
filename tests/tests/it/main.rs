//! Scenarios against the real binary, each with a data folder of its own.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![forbid(unsafe_code)]

mod agent;
mod backup;
mod beats;
mod cluster;
mod collect;
mod dead_letters;
mod journal;
mod kill;
mod lifecycle;
mod metrics;
mod own_log;
mod passthrough;
mod push;
mod restriction;
mod settings;
mod support;
mod switches;
mod tokens;
