//! mscp-log client
