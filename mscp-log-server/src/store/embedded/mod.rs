//! The store inside the process, on tantivy.
pub mod analyzer;
pub mod ids;
pub mod partition;
pub mod schema;
pub mod search;
