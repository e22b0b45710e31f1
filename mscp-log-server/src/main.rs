//! mscp-log
fn main() {}
