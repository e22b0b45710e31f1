//! What end-to-end scenarios share: the real binary as a child process, and
//! plain HTTP against it.
#![forbid(unsafe_code)]

pub mod generate;
pub mod kill;
pub mod process;
