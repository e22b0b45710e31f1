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
mod matches;
mod msearch;
mod parameters;
mod parse;
mod parse_aggs;
mod parse_query;
pub mod regexp;
mod restrict;
pub mod wildcard;
mod words;

pub use error::QueryError;
pub use matches::Context;
pub use msearch::{Header, Msearch};
pub use restrict::Refused;
pub use words::{allowed_edits, distance, minimum};

#[cfg(test)]
mod generate;
#[cfg(test)]
mod matches_tests;
#[cfg(test)]
mod tests;
