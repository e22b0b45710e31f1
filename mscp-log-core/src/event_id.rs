//! The identity of an event: 128 bits made of where it came from.
