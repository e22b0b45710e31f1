//! A broker of Kafka as a child process: one node in KRaft mode, broker and
//! controller, with a listener in the clear and one with TLS and SASL.

use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Missing, java};
use crate::tls::Authority;

/// How long a broker may take until it says that it has started.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often that is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How much of its output a failed start shows, in bytes.
const SHOWN: usize = 8 * 1024;

/// The user of the listener with SASL, under either mechanism.
pub const USER: &str = "mscp";
/// Its password.
pub const PASSWORD: &str = "correct-horse";

/// The Java that every version here runs on.
const JDK: u32 = 17;

/// For tests: a small heap and a quick compiler.
const LEAN: &[&str] = &[
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
];

/// One version of the broker.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its folder's name, as `kafka-4.1.1`.
    pub name: &'static str,
    /// Whether it runs when nobody says which.
    pub usual: bool,
}

/// Every version that there is a description for, the oldest first.
pub const MATRIX: &[Spec] = &[
    Spec {
        name: "kafka-3.9.1",
        usual: false,
    },
    Spec {
        name: "kafka-4.1.1",
        usual: true,
    },
];

impl Spec {
    /// Whether this machine can run it.
    ///
    /// # Errors
    /// When its jars were not fetched, or no Java is new enough.
    pub fn available(&self) -> Result<(), Missing> {
        super::available(self.name, JDK)
    }
}

pub(super) fn named(name: &str) -> Option<&'static Spec> {
    MATRIX.iter().find(|spec| spec.name == name)
}

/// The brokers of this run, as the environment variable `ENGINES` says: see
/// [`super::selected`].
#[must_use]
pub fn selected() -> Vec<&'static Spec> {
    match std::env::var("ENGINES") {
        Err(_) => MATRIX.iter().filter(|spec| spec.usual).collect(),
        Ok(all) if all == "all" => MATRIX.iter().collect(),
        Ok(names) => names
            .split(',')
            .filter_map(|name| named(name.trim()))
            .collect(),
    }
}

/// A running broker with data of its own. Dropped, it is killed and its data
/// removed.
#[derive(Debug)]
pub struct Kafka {
    /// Which one it is.
    pub spec: &'static Spec,
    /// Where it is spoken to in the clear, as `127.0.0.1:41234`.
    pub address: String,
    /// Where it is spoken to over TLS with SASL: `SCRAM-SHA-256` or `PLAIN`.
    pub secured: String,
    /// The certificate that the TLS listener's is verified by.
    pub ca_file: PathBuf,
    flags: Vec<String>,
    home: TempDir,
    child: Option<Child>,
    /// Bytes of output that are of runs before.
    said: u64,
}

impl Kafka {
    /// Start one, lean, and wait until it has started.
    ///
    /// # Panics
    /// When this machine cannot run it, or it does not start within two minutes;
    /// the end of its output is in the message.
    #[must_use]
    pub fn start(spec: &'static Spec) -> Self {
        Self::start_with(spec, LEAN)
    }

    /// As [`Kafka::start`], with the caller's flags for the virtual machine:
    /// a measurement wants the heap and the compiler of an installation.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    #[must_use]
    pub fn start_with(spec: &'static Spec, flags: &[&str]) -> Self {
        if let Err(missing) = spec.available() {
            panic!("{} cannot run: {}", spec.name, missing.0);
        }
        let home = tempfile::Builder::new()
            .prefix(spec.name)
            .tempdir()
            .expect("a temporary folder can be made");
        let [plain, secured, controller] = free_ports();
        let broker = Self {
            spec,
            address: format!("127.0.0.1:{plain}"),
            secured: format!("127.0.0.1:{secured}"),
            ca_file: home.path().join("ca.pem"),
            flags: flags.iter().map(ToString::to_string).collect(),
            home,
            child: None,
            said: 0,
        };
        broker.write_files(controller);
        broker.format();
        let mut broker = broker;
        broker.run();
        broker
    }

    /// The process id.
    ///
    /// # Panics
    /// When it was killed.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The folder that everything it writes is in: data, settings, output.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
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

    /// Hold its process where it is, or let it go on: a broker that answers
    /// nobody and closes no connection.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self, held: bool) {
        let child = self.child.as_ref().expect("it runs");
        let id = i32::try_from(child.id()).expect("process ids are small");
        let id = Pid::from_raw(id).expect("a child's id is not zero");
        let signal = if held { Signal::STOP } else { Signal::CONT };
        kill_process(id, signal).expect("a child can be signalled");
    }

    /// Start again on the same data and ports. One that still runs is killed
    /// first.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write_files(&self, controller: u16) {
        let folder = self.home.path();
        let authority = Authority::new();
        std::fs::write(&self.ca_file, authority.pem()).expect("the folder takes files");
        let identity = authority.identity(folder, &["127.0.0.1"]);
        let read = |path: &Path| std::fs::read_to_string(path).expect("it was just written");
        let both = read(&identity.key) + &read(&identity.cert);
        std::fs::write(self.file("broker.pem"), both).expect("the folder takes files");
        let settings = self.settings(controller);
        std::fs::write(self.file("server.properties"), settings).expect("the folder takes files");
    }

    fn settings(&self, controller: u16) -> String {
        let (plain, secured) = (&self.address, &self.secured);
        let (data, pem) = (self.file("data"), self.file("broker.pem"));
        let (data, pem) = (data.display(), pem.display());
        format!(
            "process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{plain},SECURED://{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{plain},SECURED://{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location={pem}
listener.name.secured.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
"
        )
    }

    fn format(&self) {
        let scram = format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]");
        let mut command = self.java("kafka.tools.StorageTool");
        command
            .args([
                "format",
                "--standalone",
                "-t",
                "bXNjcC1sb2ctdGVzdHMtMQ",
                "-c",
            ])
            .arg(self.file("server.properties"))
            .args(["--add-scram", &scram]);
        let done = command.status().expect("java can be executed");
        assert!(done.success(), "{}: {}", self.spec.name, self.output());
    }

    fn run(&mut self) {
        let log = std::fs::metadata(self.file("output.log"));
        self.said = log.map_or(0, |log| log.len());
        let mut command = self.java("kafka.Kafka");
        command.arg(self.file("server.properties"));
        self.child = Some(command.spawn().expect("java can be executed"));
        let begun = Instant::now();
        while !self.output().contains("Kafka Server started") {
            std::thread::sleep(LOOK);
            let child = self.child.as_mut().expect("started above");
            let ended = child.try_wait().expect("a child can be waited for");
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                let output = self.output();
                let from = output.floor_char_boundary(output.len().saturating_sub(SHOWN));
                self.kill();
                panic!(
                    "{} did not start; it said:\n{}",
                    self.spec.name,
                    &output[from..]
                );
            }
        }
    }

    fn java(&self, main: &str) -> Command {
        let java = java::at_least(JDK).expect("available was asked before");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.file("output.log"))
            .expect("a file in the temporary folder can be opened");
        let second = log.try_clone().expect("a file handle can be cloned");
        let mut command = Command::new(java);
        command
            .args(&self.flags)
            .arg("-cp")
            .arg(format!("{}/lib/*", super::jars(self.spec.name).display()))
            .arg(main)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second);
        command
    }

    /// What this run of it said.
    fn output(&self) -> String {
        use std::io::Seek as _;
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.file("output.log"))
            && file.seek(std::io::SeekFrom::Start(self.said)).is_ok()
        {
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that were free a moment ago: a broker must be told its own.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| {
        TcpListener::bind("127.0.0.1:0").expect("a free port of the loopback can be listened on")
    });
    listeners.map(|listener| {
        let address = listener.local_addr();
        address.expect("a listener has an address").port()
    })
}
