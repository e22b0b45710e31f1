//! The disk buffer.
