//! mscp-log tests
