//! The store inside the process, on tantivy.
pub mod analyzer;
mod catalog;
mod dates;
mod dedup;
mod directory;
mod documents;
pub mod ids;
mod indices;
mod json;
mod open;
pub mod partition;
pub mod schema;
pub mod search;
mod source;
mod writer;
#[cfg(test)]
pub(crate) mod testing;
