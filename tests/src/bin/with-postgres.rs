//! Run a command with a PostgreSQL server of its own: it finds the server's
//! URL, without a database, in `MSCP_LOG_TEST_POSTGRES`, and its programs at the
//! end of the `PATH`. The server is gone
//! with its data when the command has ended.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

use mscp_log_tests::engine::postgres::Postgres;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT..]");
        return ExitCode::from(2);
    };
    let server = Postgres::start();
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(server.programs());
    let ended = Command::new(&program)
        .args(arguments)
        .env("PATH", path)
        .env("MSCP_LOG_TEST_POSTGRES", server.url(""))
        .status();
    match ended {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
