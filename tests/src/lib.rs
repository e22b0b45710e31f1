//! What end-to-end scenarios share: the real binary and real engines as child
//! processes, and plain HTTP against them.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod differential;
pub mod engine;
pub mod forward;
pub mod generate;
pub mod journal;
pub mod kill;
pub mod ledger;
pub mod process;
pub mod proxy;
pub mod system;
pub mod target;
pub mod tls;
