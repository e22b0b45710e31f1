//! Scenarios on the real binary.

mod kill;
