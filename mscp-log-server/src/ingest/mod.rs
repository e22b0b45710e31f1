//! The ways in: pushes, OpenTelemetry, `_bulk`, Beats, dead letters again. Each checks, cleans and
//! encodes, and answers when the buffer has made it durable.

pub mod beats;
pub mod body;
pub mod bulk;
#[cfg(test)]
mod cases;
pub mod collect;
pub mod otlp;
pub mod push;
mod rate;
pub mod replay;

#[cfg(test)]
pub(crate) mod testing;
