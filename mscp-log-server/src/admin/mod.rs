//! The administrator's side (`origin.zh.md`, cluster administration): what
//! runs and how it does, and settings that take effect where it runs.

pub mod change;
pub mod instances;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod live;
pub mod outside;
pub mod status;
