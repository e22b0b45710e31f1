//! The query language: one grammar, read once.
pub mod ast;
pub mod lucene;
