//! The store inside the process, on tantivy.
pub mod search;
