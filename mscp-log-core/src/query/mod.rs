//! The query language: one grammar, read once.
pub mod analyze;
pub mod ast;
pub mod lucene;
pub mod regexp;
pub mod wildcard;
