//! The collectors: the agent of this project, rsyslog and syslog-ng, as
//! processes that read files or a journal and send to a sink.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mscp_log_tests::process::{self, Node};

use crate::sink::Sink;

/// Who collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collector {
    Ours,
    Rsyslog,
    SyslogNg,
}

/// What is collected.
#[derive(Clone, Copy)]
pub(crate) enum From<'f> {
    /// The files `*.log` of a folder.
    Files(&'f Path),
    /// The journal files of a folder.
    Journal(&'f Path),
}

/// A collector that runs.
pub(crate) enum Running {
    Ours(Node),
    Peer(Child),
}

/// The folder that `make peers` unpacks Debian's packages of the peers to:
/// installed, each would remove the other.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

impl Collector {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "mscp-log",
            Self::Rsyslog => "rsyslogd",
            Self::SyslogNg => "syslog-ng",
        }
    }

    /// Those that are on this machine; says which are not.
    pub(crate) fn all() -> Vec<Self> {
        let peers = [Self::Rsyslog, Self::SyslogNg].into_iter();
        let there = peers.filter(|peer| {
            let said = peer.command().arg(peer.asks_version()).output();
            let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
            let first = said
                .ok()
                .and_then(|said| said.lines().next().map(str::to_owned));
            match &first {
                Some(version) => println!("{}: {version}", peer.name()),
                None => println!("{}: not there (make peers)", peer.name()),
            }
            first.is_some()
        });
        std::iter::once(Self::Ours).chain(there).collect()
    }

    fn asks_version(self) -> &'static str {
        match self {
            Self::SyslogNg => "--version",
            _ => "-v",
        }
    }

    fn command(self) -> Command {
        let at = unpacked().join("usr/sbin").join(self.name());
        let mut command = match at.is_file() {
            true => Command::new(at),
            false => Command::new(self.name()),
        };
        command.env("LD_LIBRARY_PATH", unpacked().join("usr/lib/syslog-ng"));
        command
    }

    pub(crate) async fn sink(self) -> Sink {
        match self {
            Self::Ours => Sink::http().await,
            _ => Sink::tcp().await,
        }
    }

    /// Start it with its state in `state`.
    pub(crate) fn start(self, from: From<'_>, state: &Path, sink: &Sink) -> Running {
        match self {
            Self::Ours => Running::Ours(ours(from, state, sink.port)),
            Self::Rsyslog => Running::Peer(self.rsyslog(from, state, sink.port)),
            Self::SyslogNg => Running::Peer(self.syslog_ng(from, state, sink.port)),
        }
    }

    fn rsyslog(self, from: From<'_>, state: &Path, port: u16) -> Child {
        let place = state.display();
        let input = match from {
            From::Files(folder) => format!(
                "module(load=\"imfile\" mode=\"inotify\")\n\
                 input(type=\"imfile\" File=\"{}/*.log\" Tag=\"t\" addMetadata=\"off\")\n",
                folder.display()
            ),
            From::Journal(_) => "module(load=\"imjournal\" StateFile=\"imjournal.state\" \
                 IgnorePreviousMessages=\"off\" RateLimit.Interval=\"0\" WorkAroundJournalBug=\"off\")\n"
                .to_owned(),
        };
        let config = format!(
            "global(workDirectory=\"{place}\" maxMessageSize=\"64k\")\n{input}\
             template(name=\"raw\" type=\"string\" string=\"%msg%\\n\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" template=\"raw\")\n"
        );
        let file = state.join("peer.conf");
        fs::write(&file, config).expect("written");
        let mut command = self.with_journal(from);
        command.args(["-n", "-f"]).arg(file);
        command.arg("-i").arg(state.join("pid"));
        let modules = unpacked().join("usr/lib/x86_64-linux-gnu/rsyslog");
        if modules.is_dir() {
            command.arg("-M").arg(modules);
        }
        spawn(command)
    }

    fn syslog_ng(self, from: From<'_>, state: &Path, port: u16) -> Child {
        let source = match from {
            From::Files(folder) => format!(
                "wildcard-file(base-dir(\"{}\") filename-pattern(\"*.log\") flags(no-parse) \
                 max-files(20000) follow-freq(1) log-iw-size(2000000));",
                folder.display()
            ),
            From::Journal(_) => "systemd-journal(log-fetch-limit(1000));".to_owned(),
        };
        let config = format!(
            "@version: 3.38\nsource s {{ {source} }};\n\
             destination d {{ network(\"127.0.0.1\" port({port}) template(\"${{MESSAGE}}\\n\") log-fifo-size(3000000)); }};\n\
             log {{ source(s); destination(d); flags(flow-control); }};\n"
        );
        let file = state.join("peer.conf");
        fs::write(&file, config).expect("written");
        let mut command = self.with_journal(from);
        command.args(["-F", "--no-caps", "-f"]).arg(file);
        for (option, name) in [("-R", "persist"), ("-p", "pid"), ("-c", "ctl")] {
            command.arg(option).arg(state.join(name));
        }
        let modules = unpacked().join("usr/lib/syslog-ng/3.38");
        if modules.is_dir() {
            command.arg(format!("--module-path={}", modules.display()));
        }
        spawn(command)
    }

    /// Peers read the journal of the machine only; so they get a namespace in
    /// which that is the journal.
    fn with_journal(self, from: From<'_>) -> Command {
        let command = self.command();
        let From::Journal(folder) = from else {
            return command;
        };
        let mut wrapped = Command::new("unshare");
        let script =
            "mkdir -p /var/log/journal && mount --bind \"$0\" /var/log/journal && exec \"$@\"";
        wrapped.args(["--mount", "sh", "-c", script]).arg(folder);
        wrapped.arg(command.get_program());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                wrapped.env(name, value);
            }
        }
        wrapped
    }
}

fn ours(from: From<'_>, state: &Path, port: u16) -> Node {
    let url = format!("http://127.0.0.1:{port}");
    let mut variables = vec![
        ("MSCP_LOG_COLLECT__URL", url),
        ("MSCP_LOG_COLLECT__TOKEN", "x.y.z".to_owned()),
    ];
    match from {
        From::Files(folder) => {
            let paths = format!("{}/*.log", folder.display());
            variables.push(("MSCP_LOG_COLLECT__FILES__PATHS", paths));
        }
        From::Journal(folder) => {
            let folder = folder.display().to_string();
            variables.push(("MSCP_LOG_COLLECT__JOURNAL__ENABLED", "true".to_owned()));
            variables.push(("MSCP_LOG_COLLECT__JOURNAL__START", "head".to_owned()));
            variables.push(("MSCP_LOG_COLLECT__JOURNAL__DIRECTORY", folder));
        }
    }
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Node::start(&state.join("data"), &["--role", "agent"], &variables)
}

fn spawn(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be executed")
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Ours(node) => node.id(),
            Self::Peer(child) => child.id(),
        }
    }

    /// CPU seconds so far, its children's that run with it, and the peak of
    /// resident memory of it and them together, in bytes.
    pub(crate) fn cost(&self) -> (f64, u64) {
        let own = process::cost_of(self.id());
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id()));
        let mut ids: Vec<u32> = Vec::new();
        for id in children.unwrap_or_default().split_whitespace() {
            ids.extend(id.parse::<u32>());
        }
        // A child belongs to the thread that started it.
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))
            .into_iter()
            .flatten()
            .flatten()
        {
            let of_thread = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            ids.extend(
                of_thread
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(process::cost_of)
            .fold(own, |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or_default() * 1_024
    }

    /// Tell it to stop, and wait until it has.
    pub(crate) fn stop(self) {
        match self {
            Self::Ours(node) => assert!(node.terminate().success(), "it stops when it is told"),
            Self::Peer(mut child) => {
                let id = i32::try_from(child.id()).expect("process ids are small");
                let id = rustix::process::Pid::from_raw(id).expect("a child's id is not zero");
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
                for _ in 0..1_000 {
                    if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
