//! A node as its users run it: the `mscp-log` binary, a data folder, a port
//! that the system chose.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The administrator that every test node is started with.
pub const EMAIL: &str = "admin@example.org";
/// Its password.
pub const PASSWORD: &str = "correct horse battery staple";

/// How long a node may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The binary under test: `MSCP_LOG_BIN`, or the one that was built beside
/// this program.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MSCP_LOG_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("a running program has a path");
    own.ancestors()
        .skip(1)
        .map(|folder| folder.join("mscp-log"))
        .find(|path| path.is_file())
        .expect("mscp-log lies in the target folder: build the workspace first")
}

/// A running node. Dropped, it is killed.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// The origin it listens on, as `http://127.0.0.1:41234`.
    pub url: String,
    said: Arc<Mutex<String>>,
    /// Where it listens for Beats, if it does.
    pub beats: Option<SocketAddr>,
}

impl Node {
    /// `mscp-log serve` on `data`, with `arguments` behind it and `variables`
    /// in its environment.
    ///
    /// # Panics
    /// When it does not say within a minute where it listens; its output so
    /// far is in the message.
    #[must_use]
    pub fn start(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::try_start(data, arguments, variables).unwrap_or_else(|output| {
            panic!("mscp-log did not start; it said:\n{output}");
        })
    }

    /// As [`Node::start`], with what a node said that ended instead of starting.
    pub fn try_start(
        data: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::spawn(Command::new(binary()), data, arguments, variables)
    }

    /// As [`Node::start`], as another user and group, which root may.
    ///
    /// # Panics
    /// As [`Node::start`] does.
    #[must_use]
    pub fn start_as(
        (user, group): (u32, u32),
        data: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        // As setgroups(2) says of an empty list: no other groups.
        let mut command = Command::new("setpriv");
        command
            .args(["--clear-groups", "--bounding-set=-all", "--no-new-privs"])
            .args([format!("--reuid={user}"), format!("--regid={group}")])
            .arg(binary());
        Self::spawn(command, data, arguments, variables).unwrap_or_else(|output| {
            panic!("mscp-log did not start; it said:\n{output}");
        })
    }

    fn spawn(
        mut command: Command,
        data: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut child = command
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("MSCP_LOG_ADMIN_EMAIL", EMAIL)
            .env("MSCP_LOG_ADMIN_PASSWORD", PASSWORD)
            // Records of tests are old.
            .env("MSCP_LOG_ROTATION__ENABLED", "false")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be executed");
        // Both streams are drained to their end, or the child would block on a
        // full pipe. They say where it listens, and then where its data are.
        let (lines, received) = mpsc::channel::<String>();
        let stdout = child.stdout.take().expect("piped above");
        let stderr = child.stderr.take().expect("piped above");
        let said = Arc::default();
        forward(stdout, lines.clone(), Arc::clone(&said));
        forward(stderr, lines, Arc::clone(&said));
        let begun = Instant::now();
        let mut output = String::new();
        let (mut url, mut beats) = (None, None);
        loop {
            let left = START_LIMIT.saturating_sub(begun.elapsed());
            match received.recv_timeout(left) {
                Ok(line) => {
                    url = url.or_else(|| origin_in(&line));
                    if let Some(address) = line.strip_prefix("Beats are taken on ") {
                        beats = address.parse().ok();
                    }
                    if line.starts_with("data in ")
                        && let Some(url) = url
                    {
                        std::thread::spawn(move || for _ in received {});
                        return Ok(Self {
                            child,
                            url,
                            beats,
                            said,
                        });
                    }
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(output);
                }
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written to its output so far.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("no holder panics").clone()
    }

    /// SIGKILL, as when the power goes, and wait until it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it cannot be signalled or waited for.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        self.stop()
    }

    /// As [`Node::terminate`], of a node that another takes the place of.
    ///
    /// # Panics
    /// As [`Node::terminate`].
    pub fn stop(&mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        let id = rustix::process::Pid::from_raw(id).expect("a child's id is not zero");
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .expect("a child can be signalled");
        self.child.wait().expect("a child can be waited for")
    }

    /// What it has cost so far; see [`cost_of`].
    ///
    /// # Panics
    /// Where `/proc` is not Linux's.
    #[must_use]
    pub fn cost(&self) -> (f64, u64) {
        cost_of(self.id())
    }
}

/// CPU seconds of a process so far, and its peak of resident memory in bytes.
///
/// # Panics
/// Where the process is gone, or `/proc` is not Linux's.
#[must_use]
pub fn cost_of(id: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))
        .expect("a running process has a stat file");
    // man 5 proc: fields 14 and 15 are user and system time in ticks of
    // 1/100 s; the name in field 2 may hold spaces, so count behind it.
    let behind_name = stat.rsplit(") ").next().expect("a name in brackets");
    let ticks: u64 = behind_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a number of ticks"))
        .sum();
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))
        .expect("a running process has a status file");
    let peak_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("a peak in KiB");
    #[expect(
        clippy::cast_precision_loss,
        reason = "a few million ticks are exact in a double"
    )]
    (ticks as f64 / 100.0, peak_kib * 1024)
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(
    stream: impl std::io::Read + Send + 'static,
    lines: mpsc::Sender<String>,
    said: Arc<Mutex<String>>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if std::env::var_os("MSCP_LOG_TEST_OUTPUT").is_some() {
                eprintln!("node: {line}");
            }
            let mut said = said.lock().expect("no holder panics");
            said.push_str(&line);
            said.push('\n');
            drop(said);
            // The receiver goes when the node has started; the stream must
            // still be read to its end.
            let _ = lines.send(line);
        }
    });
}

/// Where the node says that it listens; lines about a store have origins, too.
fn origin_in(line: &str) -> Option<String> {
    let (_, origin) = line.split_once(" listens on ")?;
    let origin: String = origin
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '.'))
        .collect();
    Some(origin.trim_end_matches('/').to_owned())
}

/// A client that takes what it is told and checks nothing.
#[must_use]
pub fn http() -> reqwest::Client {
    // Another client of this program may have been first; one is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(60))
        .build()
        .expect("a client without settings can be built")
}

/// A root token of `email`.
pub async fn root_token(url: &str, email: &str, password: &str) -> Result<String, String> {
    let response = http()
        .post(format!("{url}/api/auth/token_root"))
        .basic_auth(email, Some(password))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    token_in(response).await
}

/// An access token that grants `access`, for a root token.
pub async fn access_token(url: &str, root: &str, access: &Value) -> Result<String, String> {
    let response = http()
        .post(format!("{url}/api/auth"))
        .bearer_auth(root)
        .json(&json!({ "access": access }))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    token_in(response).await
}

/// An access token of the administrator that grants `access`.
///
/// # Panics
/// When the node does not give one.
pub async fn administrator_token(node: &Node, access: &Value) -> String {
    let root = root_token(&node.url, EMAIL, PASSWORD)
        .await
        .expect("the administrator can sign in");
    access_token(&node.url, &root, access)
        .await
        .expect("the administrator may have anything")
}

async fn token_in(response: reqwest::Response) -> Result<String, String> {
    let status = response.status();
    let text = response.text().await.map_err(|error| error.to_string())?;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    match body["token"].as_str() {
        Some(token) if status.is_success() => Ok(token.to_owned()),
        _ => Err(format!("{status}: {text}")),
    }
}
