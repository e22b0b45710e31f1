//! The command line: what can be said, and which room does it.
//!
//! Commands speak to a running node through the client library over the
//! public API, but for `serve`, `demo`, `check` and what works on files. Exit
//! codes: 0 done, 1 failed, 2 wrong usage.

mod account;
mod arenas;
mod backup;
mod check;
mod connection;
mod dead_letter;
mod demo;
mod files;
mod input;
mod kube;
mod login;
mod output;
mod push;
mod rotate;
mod search;
mod serve;
mod settings;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use connection::Connection;

/// A log system for Kubernetes platforms: records in over HTTP, Elasticsearch
/// searches out, guarded by tokens.
#[derive(Debug, Parser)]
#[command(
    name = "mscp-log",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Begin with:
  mscp-log demo                              a node with sample data, and commands to try
  mscp-log serve --data /var/lib/mscp-log    a node
  mscp-log login --url http://127.0.0.1:8300 admin@localhost
  mscp-log push --app caa0c2f0-1116-495f-8f09-3cd023cc14a2 /var/log/syslog
  mscp-log search 'error' --since 1h

Exit codes: 0 done, 1 failed, 2 wrong usage.")]
struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Serve(serve::Serve),
    /// Run a node on a fresh data folder, with a sample application, to try things out.
    Demo(demo::Demo),
    /// Read the whole configuration and say every error with its key.
    Check(check::Check),
    /// Sign in, and keep a root token in your configuration folder.
    Login(login::Login),
    /// Forget the root token that `login` kept.
    Logout,
    /// Print an access token.
    Token(account::Token),
    /// Accounts of people and services.
    #[command(subcommand)]
    User(account::User),
    /// Roles: named grants that accounts can have.
    #[command(subcommand)]
    Role(account::Role),
    /// The keys that sign tokens.
    #[command(subcommand)]
    Keys(account::Keys),
    /// Push the lines of files, or of the standard input.
    Push(push::Push),
    /// Find records, and follow them as they come in.
    Search(search::Search),
    /// Records that a store refused for faults of their own.
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetter),
    /// Delete indices that are too old or too much, as the daily run does.
    Rotate(rotate::Rotate),
    /// Show how the system does: what runs, what waits, what is wrong.
    Status(status::Status),
    /// Show the settings that may be changed while nodes run, and change them.
    Settings(settings::Settings),
    /// Work on the buffer of a node, in its data folder.
    #[command(subcommand)]
    Buffer(files::Buffer),
    /// Back a running node up into one file.
    Backup(backup::Backup),
    /// Make a data folder of a backup, or put its records into a running node.
    Restore(backup::Restore),
    /// Help for Kubernetes manifests.
    #[command(subcommand)]
    Kube(kube::Kube),
    /// Print the index template for a store of your own.
    IndexTemplate(files::IndexTemplate),
    /// Print the completions of a shell.
    Completions(files::Completions),
    /// Print the manual page, or write all of them into a folder.
    Man(files::Man),
}

/// Why a command failed, in words for its caller.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What was said on the command line cannot be done by anyone: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It did not work this time: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// It did not work, and all words about it were said already: exit code 1.
    #[error("failed")]
    Said,
    /// Whoever read the output has gone, which is no failure.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    fn failed(words: impl Into<String>) -> Failure {
        Failure::Failed(words.into())
    }

    fn usage(words: impl Into<String>) -> Failure {
        Failure::Usage(words.into())
    }
}

impl From<mscp_log_client::Error> for Failure {
    fn from(error: mscp_log_client::Error) -> Failure {
        match error.kind() {
            mscp_log_client::ErrorKind::Usage => Failure::Usage(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(error.to_string()),
        }
    }
}

/// Reads the command line of the process and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    // clap itself answers --help and --version with 0, and wrong usage with 2.
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Serve(_) | Command::Demo(_)) {
        arenas::few();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(run(arguments));
    // A read of the standard input that still waits must not hold the end back.
    runtime.shutdown_background();
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Said) => ExitCode::from(1),
        Err(Failure::Failed(words)) => {
            eprintln!("error: {words}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(words)) => {
            eprintln!("error: {words}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = &arguments.connection;
    match arguments.command {
        Command::Serve(serve) => Box::pin(serve.run()).await,
        Command::Demo(demo) => Box::pin(demo.run()).await,
        Command::Check(check) => Box::pin(check.run(connection.json)).await,
        Command::Login(login) => login.run(connection).await,
        Command::Logout => login::logout(connection),
        Command::Token(token) => token.run(connection).await,
        Command::User(user) => user.run(connection).await,
        Command::Role(role) => role.run(connection).await,
        Command::Keys(keys) => keys.run(connection).await,
        Command::Push(push) => push.run(connection).await,
        Command::Search(search) => Box::pin(search.run(connection)).await,
        Command::DeadLetter(letter) => letter.run(connection).await,
        Command::Rotate(rotate) => rotate.run(connection).await,
        Command::Status(status) => status.run(connection).await,
        Command::Settings(settings) => settings.run(connection).await,
        Command::Buffer(buffer) => buffer.run(connection.json),
        Command::Backup(backup) => Box::pin(backup.run(connection)).await,
        Command::Restore(restore) => Box::pin(restore.run(connection)).await,
        Command::Kube(kube::Kube::Inject(inject)) => inject.run(),
        Command::IndexTemplate(template) => template.run(),
        Command::Completions(completions) => completions.run(&mut Arguments::command()),
        Command::Man(man) => man.run(Arguments::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
