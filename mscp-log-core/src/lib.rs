//! The rules of mscp-log, without I/O: tokens and access, log records and
//! where they came from, cleaning, index names, rotation, the query language.
//!
//! Nothing here reads a clock, a file, the environment or a random number:
//! time and configuration come in as arguments, so every function can be
//! tested to its edges and linked into any other service, WebAssembly too.
#![forbid(unsafe_code)]

#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "clean")]
pub mod applog;
#[cfg(feature = "clean")]
pub mod clean;
#[cfg(feature = "clean")]
pub mod container;
#[cfg(feature = "clean")]
pub mod event_id;
pub mod field;
#[cfg(feature = "clean")]
pub mod index;
#[cfg(feature = "query")]
pub mod query;
#[cfg(feature = "clean")]
pub mod record;
#[cfg(feature = "clean")]
pub mod rotation;
#[cfg(feature = "clean")]
pub mod template;
#[cfg(feature = "token")]
pub mod token;
