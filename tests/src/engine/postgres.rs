//! A PostgreSQL server as a child process, from the system's packages: without
//! a password, without syncing, with its data in a temporary folder.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Missing;

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// Who owns the data where the tests run as root, which the server refuses to.
const OWNER: &str = "postgres";

/// A running server. Dropped, it is killed and its data removed.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    home: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Whether this machine can run one.
    ///
    /// # Errors
    /// When the server is not installed.
    pub fn available() -> Result<(), Missing> {
        bin().map(drop)
    }

    /// Start one and wait until it answers.
    ///
    /// # Panics
    /// When this machine cannot run it, or it does not answer within a minute;
    /// what it said is in the message.
    #[must_use]
    pub fn start() -> Self {
        let bin = bin().unwrap_or_else(|missing| panic!("{}", missing.0));
        let home = tempfile::Builder::new()
            .prefix("postgres")
            .tempdir()
            .expect("a temporary folder can be made");
        if is_root() {
            let owned = Command::new("chown").arg(OWNER).arg(home.path()).status();
            assert!(
                owned.is_ok_and(|status| status.success()),
                "the user {OWNER} is there"
            );
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound listener has one");
        drop(listener);
        let mut server = Self {
            bin,
            home,
            port: port.port(),
            child: None,
        };
        let made = server
            .command("initdb")
            .arg("-D")
            .arg(server.data())
            .args(["-A", "trust", "-U", OWNER, "--no-sync", "-E", "UTF8"])
            .arg("--locale=C.UTF-8")
            .output()
            .expect("initdb can be executed");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb: {said}");
        server.run();
        server
    }

    /// The folder of its programs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.bin
    }

    /// The URL of `database`, or of the server alone where it is empty.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let behind = match database {
            "" => String::new(),
            name => format!("/{name}"),
        };
        format!("postgres://{OWNER}@127.0.0.1:{}{behind}", self.port)
    }

    /// Make an empty database.
    ///
    /// # Panics
    /// When the server does not make it.
    pub fn create(&self, database: &str) {
        let made = self
            .command("createdb")
            .args(["-h", "127.0.0.1", "-U", OWNER])
            .args(["-p", &self.port.to_string(), database])
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "createdb {database}"
        );
    }

    /// End it at once: connections break, what was committed stays
    /// (`SIGQUIT`, "immediate shutdown").
    ///
    /// # Panics
    /// When it cannot be signalled or waited for.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = i32::try_from(child.id()).expect("process ids are small");
            let id = Pid::from_raw(id).expect("a child's id is not zero");
            // It may have ended by itself; then there is nothing to end.
            let _ = kill_process(id, Signal::QUIT);
            child.wait().expect("a child can be waited for");
        }
    }

    /// Start again on the same data and port. One that still runs is stopped
    /// first.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    fn run(&mut self) {
        let log = self.home.path().join("server.log");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a file in the temporary folder can be opened");
        let second = log.try_clone().expect("a file handle can be cloned");
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.home.path().display()
            ))
            .args(["-c", "fsync=off", "-c", "max_connections=200"])
            .stdout(log)
            .stderr(second)
            .spawn();
        self.child = Some(child.expect("the server can be executed"));
        let begun = Instant::now();
        while !self.answers() {
            std::thread::sleep(LOOK);
            let child = self.child.as_mut().expect("started above");
            let ended = child.try_wait().expect("a child can be waited for");
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                let said = std::fs::read_to_string(self.home.path().join("server.log"));
                panic!(
                    "PostgreSQL did not start; it said:\n{}",
                    said.unwrap_or_default()
                );
            }
        }
    }

    fn answers(&self) -> bool {
        self.command("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .status()
            .is_ok_and(|status| status.success())
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A program of PostgreSQL, as somebody who is not root.
    fn command(&self, name: &str) -> Command {
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--init-groups", "--reuid", OWNER, "--regid", OWNER])
                    .arg(self.bin.join(name));
                command
            }
            false => Command::new(self.bin.join(name)),
        };
        // The caller's own folder may be closed to that somebody.
        command.current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the server's programs are: Debian keeps them off the path, a folder
/// for each version.
fn bin() -> Result<PathBuf, Missing> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let newest = versions
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").is_file().then_some((version, bin))
        })
        .max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| is_server(folder));
    on_path.ok_or_else(|| Missing("PostgreSQL is not installed: run make postgres".to_owned()))
}

fn is_server(folder: &Path) -> bool {
    folder.join("postgres").is_file() && folder.join("initdb").is_file()
}
