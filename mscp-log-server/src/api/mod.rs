//! HTTP only: extract, call, answer. Every request meets [`access`] first.
pub mod access;
pub mod admin;
pub mod auth;
pub mod listen;
pub mod problem;
pub mod push;
pub mod query;
