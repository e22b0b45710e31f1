//! Token tests
