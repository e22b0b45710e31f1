//! Aggregations, exact over all partitions: each segment counts by its own
//! places in its dictionaries (`segment`), gives what it found by value
//! (`merged`), and the whole is written in Elasticsearch's form (`render`).

mod composite;
mod everyone;
mod keys;
mod merged;
mod partition;
mod path;
mod percentiles;
mod plan;
mod render;
mod rounding;
mod segment;
mod table;
mod top_hits;

pub(crate) use merged::Merged;
pub(crate) use plan::Plan;
pub(crate) use render::{Form, render};
pub(crate) use segment::{Running, Weights};
pub(crate) use top_hits::TopHits;
