//! A node: the one place that puts the components together.

pub mod folder;
