//! HTTP only: extract, call, answer. Every request meets [`access`] first.

pub mod access;
pub mod admin;
pub mod auth;
mod body;
pub mod health;
pub mod listen;
pub mod problem;
pub mod push;
pub mod query;

use std::sync::Arc;

use mscp_log_core::access::Base;

use crate::config::Config;
use crate::identity::Identity;

/// What handlers are given: the components that answer.
#[derive(Debug)]
pub struct App {
    /// The configuration that the node was started with.
    pub config: Arc<Config>,
    /// What every path of the API begins with.
    pub base: Base,
    /// Accounts, tokens, keys, the audit trail.
    pub identity: Arc<Identity>,
}
