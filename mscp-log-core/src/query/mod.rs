//! The query language: one grammar, read once.
pub mod analyze;
pub mod ast;
mod date_format;
pub mod date_math;
pub mod lucene;
pub mod regexp;
pub mod wildcard;
