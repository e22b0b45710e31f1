//! An engine that runs: started, probed, killed and started again on its data.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Product, Spec, java};

/// How long an engine may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How often it is asked meanwhile.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How long one of those answers may take.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// How much of its output a failed start shows, in bytes.
const SHOWN: usize = 8 * 1024;

/// For tests: a small heap and a quick compiler halve the time to start.
const LEAN: &[&str] = &[
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
];

/// A running engine with data of its own. Dropped, it is killed and its data
/// removed.
#[derive(Debug)]
pub struct Engine {
    /// Which one it is.
    pub spec: &'static Spec,
    /// The origin it listens on, as `http://127.0.0.1:41234`. It stays the same
    /// over [`Engine::restart`].
    pub url: String,
    flags: Vec<String>,
    home: TempDir,
    child: Option<Child>,
}

impl Engine {
    /// Start one, lean, and wait until it answers.
    ///
    /// # Panics
    /// When this machine cannot run it, or it does not answer within three
    /// minutes; the end of its output is in the message.
    #[must_use]
    pub fn start(spec: &'static Spec) -> Self {
        Self::start_with(spec, LEAN)
    }

    /// As [`Engine::start`], with the caller's flags for the virtual machine:
    /// a measurement wants the heap and the compiler of an installation.
    ///
    /// # Panics
    /// As [`Engine::start`].
    #[must_use]
    pub fn start_with(spec: &'static Spec, flags: &[&str]) -> Self {
        if let Err(missing) = spec.available() {
            panic!("{} cannot run: {}", spec.name, missing.0);
        }
        let home = tempfile::Builder::new()
            .prefix(spec.name)
            .tempdir()
            .expect("a temporary folder can be made");
        for folder in ["config", "logs", "data"] {
            std::fs::create_dir(home.path().join(folder)).expect("a new folder takes folders");
        }
        let mut engine = Self {
            spec,
            url: String::new(),
            flags: flags.iter().map(ToString::to_string).collect(),
            home,
            child: None,
        };
        engine.run("0");
        engine
    }

    /// SIGKILL, as when the power goes, and wait until it is gone.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Start again on the same data and the same port, and wait until it
    /// answers. One that still runs is killed first.
    ///
    /// # Panics
    /// As [`Engine::start`].
    pub fn restart(&mut self) {
        self.kill();
        let port = self
            .url
            .rsplit(':')
            .next()
            .expect("an origin has a port")
            .to_owned();
        self.run(&port);
    }

    /// The process id.
    ///
    /// # Panics
    /// When it was killed.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The folder that everything it writes is in: data, logs, output.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    fn run(&mut self, port: &str) {
        // The engine writes the address it got into this file; an older one
        // would be taken for the new.
        let ports = self.home.path().join("logs/http.ports");
        let _ = std::fs::remove_file(&ports);
        self.child = Some(self.command(port).spawn().expect("java can be executed"));
        let begun = Instant::now();
        loop {
            std::thread::sleep(PROBE_EVERY);
            if let Some(url) = origin_in(&ports)
                && answers(&url)
            {
                self.url = url;
                return;
            }
            let child = self.child.as_mut().expect("started above");
            let ended = child.try_wait().expect("a child can be waited for");
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                let output = self.output();
                self.kill();
                panic!("{} did not start; it said:\n{output}", self.spec.name);
            }
        }
    }

    fn command(&self, port: &str) -> Command {
        let jars = self.spec.jars();
        let java = java::at_least(self.spec.jdk).expect("available was asked before");
        let mut command = Command::new(java);
        command
            .args(&self.flags)
            .arg(format!("-Dmodules={}", jars.join("modules").display()))
            // Read by Elasticsearch 9 alone: the system's zstd is there, its
            // own library for vectors is not published.
            .arg(format!(
                "-Des.nativelibs.path={}",
                jars.join("native").display()
            ))
            .arg("-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false")
            .arg("-cp")
            .arg(format!("{0}/start:{0}/lib/*", jars.display()))
            .arg("Start");
        for (key, value) in self.settings(port) {
            command.arg(format!("{key}={value}"));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a file in the temporary folder can be opened");
        let second = log.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(log).stderr(second);
        command
    }

    fn settings(&self, port: &str) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("path.home", self.home.path().display().to_string()),
            ("cluster.name", "mscp-log-tests".to_owned()),
            ("node.name", "n1".to_owned()),
            ("network.host", "127.0.0.1".to_owned()),
            ("http.port", port.to_owned()),
            ("node.portsfile", "true".to_owned()),
            ("discovery.type", "single-node".to_owned()),
            ("transport.type", "netty4".to_owned()),
            ("http.type", "netty4".to_owned()),
            // A full disk of the machine is not what is tested.
            (
                "cluster.routing.allocation.disk.threshold_enabled",
                "false".to_owned(),
            ),
        ];
        let before_7 = self.spec.product == Product::Elasticsearch && self.spec.version.0 < 7;
        let transport = if before_7 {
            "transport.tcp.port"
        } else {
            "transport.port"
        };
        settings.push((transport, "0".to_owned()));
        if self.spec.product == Product::Elasticsearch && self.spec.version.0 == 7 {
            settings.push(("xpack.security.enabled", "false".to_owned()));
        }
        settings
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("output.log")
    }

    /// The end of what it said.
    fn output(&self) -> String {
        let bytes = std::fs::read(self.log()).unwrap_or_default();
        let from = bytes.len().saturating_sub(SHOWN);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The origin of the first address in the file of ports, once it is complete.
fn origin_in(ports: &Path) -> Option<String> {
    let text = std::fs::read_to_string(ports).ok()?;
    let address = text
        .lines()
        .find(|line| line.starts_with("127.0.0.1:") && text.ends_with('\n'))?;
    Some(format!("http://{address}"))
}

/// Whether its cluster has a master and all primary shards. Plain sockets,
/// because callers start engines inside and outside of async code.
fn answers(url: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PROBE_LIMIT))?;
        stream.write_all(
            b"GET /_cluster/health?wait_for_status=yellow&timeout=1s HTTP/1.0\r\nHost: engine\r\n\r\n",
        )?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status)?;
        Ok(status)
    };
    ask().is_ok_and(|status| status.split(' ').nth(1) == Some("200"))
}
