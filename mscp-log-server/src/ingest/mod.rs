//! The ways in: pushes, OTLP, `_bulk`.
pub mod bulk;
pub mod otlp;
pub mod push;
