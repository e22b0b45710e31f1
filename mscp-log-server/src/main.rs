//! The binary `mscp-log`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mscp_log_server::cli::main()
}
