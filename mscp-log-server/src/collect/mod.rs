//! Collecting: what an agent does on every node.

pub mod files;
pub mod keep;
pub mod machine;
