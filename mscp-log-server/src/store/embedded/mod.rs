//! The store inside the process, on tantivy.
pub mod analyzer;
mod dates;
mod documents;
pub mod ids;
mod json;
pub mod partition;
pub mod schema;
pub mod search;
mod source;
#[cfg(test)]
pub(crate) mod testing;
