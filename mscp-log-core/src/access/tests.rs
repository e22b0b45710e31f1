//! Access tests
