//! Aggregations, exact over all partitions: each segment counts by its own
//! places in its dictionaries (`segment`), gives what it found by value
//! (`merged`), and the whole is written in Elasticsearch's form (`render`).

mod merged;
mod plan;
mod render;
mod rounding;
mod segment;
mod table;

pub(crate) use plan::Plan;
pub(crate) use render::render;
pub(crate) use segment::{Running, Weights};
