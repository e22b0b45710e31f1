//! The query language: one grammar, read once.
pub mod analyze;
pub mod ast;
mod date_format;
pub mod date_math;
mod emit;
mod error;
mod json;
pub mod lucene;
mod lucene_parse;
mod lucene_simple;
mod msearch;
mod parameters;
mod parse;
mod parse_aggs;
mod parse_query;
pub mod regexp;
pub mod wildcard;

pub use error::QueryError;
pub use msearch::{Header, Msearch};

#[cfg(test)]
mod generate;
#[cfg(test)]
mod tests;
