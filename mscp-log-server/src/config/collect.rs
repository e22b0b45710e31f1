//! `[collect]`: what an agent reads, and where its records go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mscp_log_core::clean::chunk::FileKind;

use super::read::{Reader, duration, list, number, size, switch, text};
use super::{GIB, KIB, MIB, MINUTE_MS, SecretSource, filled, path, value};
use crate::collect::files::{Files, Joining, Pattern, Reading, TimeFormat};
use crate::collect::journal::Journal;
use crate::collect::lumberjack;

/// What the agent of this node does.
#[derive(Clone, Debug)]
pub struct Collect {
    /// The machine's name; `None` is the system's.
    pub host: Option<String>,
    /// The machine's zone, in place of the region's.
    pub zone: Option<String>,
    /// The machine's cluster, in place of the region's.
    pub cluster: Option<String>,
    /// What else is said of the machine, by name.
    pub labels: BTreeMap<String, String>,
    /// Where records go; `None` is into this process.
    pub output: Option<Output>,
    /// Most bytes that the agent's buffer keeps.
    pub max_bytes: u64,
    /// The journal, if it is read.
    pub journal: Option<Journal>,
    /// Log files, if any are read.
    pub files: Option<Files>,
    /// The folder with the volumes of each pod.
    pub volumes: PathBuf,
    /// The folder with the container logs of each pod.
    pub pods: PathBuf,
}

/// Where the records of an agent go.
#[derive(Clone, Debug)]
pub enum Output {
    /// To another node.
    Gateway(Gateway),
    /// To whatever takes Beats.
    Lumberjack(lumberjack::Settings),
}

/// A node that takes what an agent sends.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its origin.
    pub url: String,
    /// The path prefix of its API.
    pub base: String,
    /// The region that the records are for.
    pub region: String,
    /// A service account's token.
    pub token: Option<SecretSource>,
    /// PEM file of the certificates that it is verified by.
    pub ca_file: Option<PathBuf>,
}

impl Collect {
    /// Whether anything is read.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.journal.is_some() || self.files.is_some()
    }
}

pub(super) fn read(reader: &mut Reader) -> Collect {
    let max_line = reader.read("collect.max_line_bytes", size(KIB, 16 * MIB));
    let max_line = usize::try_from(max_line).unwrap_or(usize::MAX);
    let volumes = reader.read("collect.volumes", text(path));
    let pods = reader.read("collect.pods", text(path));
    Collect {
        host: reader.optional("collect.host", text(filled)),
        zone: reader.optional("collect.zone", text(filled)),
        cluster: reader.optional("collect.cluster", text(filled)),
        labels: labels(reader),
        output: output(reader),
        max_bytes: reader.read("collect.max_bytes", size(16 * MIB, GIB << 20)),
        journal: journal(reader, max_line),
        files: files(reader, max_line, &volumes),
        volumes,
        pods,
    }
}

fn labels(reader: &mut Reader) -> BTreeMap<String, String> {
    let labels = reader.read("collect.labels", list(label));
    let count = labels.len();
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    if labels.len() < count {
        reader.fault("collect.labels", "expected each name once");
    }
    if count > MAX_LABELS {
        let reason = format!("expected at most {MAX_LABELS}, found {count}");
        reader.fault("collect.labels", reason);
    }
    labels
}

/// Most labels of a machine: each is in every record.
const MAX_LABELS: usize = 32;

/// As Kubernetes has names and values of labels: a prefix with `/`, then
/// letters, digits, `-`, `_` and `.`; 253, 63 and 63 bytes.
fn label(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("expected name=value as Kubernetes has labels, found \"{text}\"");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (prefix, last) = name.rsplit_once('/').unwrap_or(("", name));
    let word = |text: &str, most: usize| {
        text.len() <= most
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let good = word(prefix, 253) && word(last, 63) && !last.is_empty() && word(value, 63);
    good.then(|| (name.to_owned(), value.to_owned()))
        .ok_or_else(wrong)
}

fn output(reader: &mut Reader) -> Option<Output> {
    match (gateway(reader), lumberjack(reader)) {
        (Some(_), Some(_)) => {
            reader.fault(
                "collect.lumberjack.hosts",
                "expected only one of it and collect.url",
            );
            None
        }
        (Some(gateway), None) => Some(Output::Gateway(gateway)),
        (None, lumberjack) => lumberjack.map(Output::Lumberjack),
    }
}

fn lumberjack(reader: &mut Reader) -> Option<lumberjack::Settings> {
    let key = |last: &str| format!("collect.lumberjack.{last}");
    let hosts = reader.read(&key("hosts"), list(value::host_and_port));
    let load_balance = reader.read(&key("load_balance"), switch);
    let ca_file = reader.optional(&key("ca_file"), text(path));
    let cert = reader.optional(&key("tls_cert"), text(path));
    let private = reader.optional(&key("tls_key"), text(path));
    let server_name = reader.optional(&key("server_name"), text(filled));
    let compression = reader.read(&key("compression"), number(0, 9));
    let timeout = reader.read(&key("timeout"), duration(1_000, 10 * MINUTE_MS));
    let needs = |set: bool, other: bool, wanted: &str, because: &str, reader: &mut Reader| {
        if set && !other {
            reader.fault(
                key(wanted),
                format!("expected, because {} is set", key(because)),
            );
        }
    };
    needs(
        cert.is_some(),
        private.is_some(),
        "tls_key",
        "tls_cert",
        reader,
    );
    needs(
        private.is_some(),
        cert.is_some(),
        "tls_cert",
        "tls_key",
        reader,
    );
    needs(
        cert.is_some(),
        ca_file.is_some(),
        "ca_file",
        "tls_cert",
        reader,
    );
    needs(
        server_name.is_some(),
        ca_file.is_some(),
        "ca_file",
        "server_name",
        reader,
    );
    needs(
        ca_file.is_some(),
        !hosts.is_empty(),
        "hosts",
        "ca_file",
        reader,
    );
    if hosts.is_empty() {
        return None;
    }
    Some(lumberjack::Settings {
        load_balance,
        compression: u32::try_from(compression).unwrap_or_default(),
        timeout,
        tls: ca_file.map(|ca_file| lumberjack::SenderTls {
            ca_file,
            identity: cert.zip(private),
            server_name,
        }),
        ..lumberjack::Settings::new(hosts)
    })
}

fn gateway(reader: &mut Reader) -> Option<Gateway> {
    let url = reader.optional("collect.url", text(value::origin));
    let base = reader.read("collect.base", text(value::base));
    let region = reader.read("collect.region", text(filled));
    let token = reader.secret("collect.token");
    let ca_file = reader.optional("collect.ca_file", text(path));
    let Some(url) = url else {
        if token.is_some() || ca_file.is_some() {
            reader.fault(
                "collect.url",
                "expected, because a token or a CA file for it is set",
            );
        }
        return None;
    };
    if token.is_none() {
        reader.fault(
            "collect.token_file",
            "expected it or collect.token, because collect.url is set",
        );
    }
    Some(Gateway {
        url,
        base,
        region,
        token,
        ca_file,
    })
}

fn start(text: &str) -> Result<bool, String> {
    match text {
        "head" => Ok(false),
        "tail" => Ok(true),
        other => Err(format!("expected \"head\" or \"tail\", found \"{other}\"")),
    }
}

fn journal(reader: &mut Reader, max_bytes: usize) -> Option<Journal> {
    let enabled = reader.read("collect.journal.enabled", switch);
    let journal = Journal {
        journalctl: reader.read("collect.journal.journalctl", text(path)),
        directory: reader.optional("collect.journal.directory", text(path)),
        at_head: !reader.read("collect.journal.start", text(start)),
        max_bytes,
    };
    enabled.then_some(journal)
}

fn files(reader: &mut Reader, max_bytes: usize, volumes: &std::path::Path) -> Option<Files> {
    let on_volumes = reader.read("collect.files.volumes", switch);
    let more = reader.read(
        "collect.files.paths",
        list(|text| Pattern::new(text, FileKind::File)),
    );
    let containers = reader.read(
        "collect.files.containers",
        list(|text| Pattern::new(text, FileKind::Container)),
    );
    let zone = reader.read("collect.files.time_zone", text(zone));
    let time = reader.optional(
        "collect.files.time_format",
        text(|format| TimeFormat::new(format, zone)),
    );
    let reading = |container, start, encoding, time| Reading {
        joining: Joining {
            container,
            start,
            max_bytes,
        },
        encoding,
        time,
    };
    let container_start = reader.optional("collect.files.containers_record_start", text(regex));
    let start_of_record = reader.optional("collect.files.record_start", text(regex));
    let encoding = reader.read("collect.files.encoding", text(encoding));
    let at_end = reader.read("collect.files.start", text(start));
    let number_of = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let rescan = reader.read("collect.files.rescan", duration(1_000, 10 * MINUTE_MS));
    let max_open = reader.read("collect.files.max_open", number(16, 1_000_000));
    let max_files = reader.read("collect.files.max_files", number(16, 1_000_000));
    let quiet: Duration = reader.read("collect.files.quiet", duration(100, 10 * MINUTE_MS));
    let mut patterns = Vec::new();
    if on_volumes {
        let root = volumes.display();
        let pattern = format!("{root}/*/volumes/kubernetes.io~empty-dir/applog-*-endname-*/*.log");
        match Pattern::new(&pattern, FileKind::File) {
            Ok(pattern) => patterns.push(pattern),
            Err(reason) => reader.fault("collect.volumes", reason),
        }
    }
    patterns.extend(more);
    patterns.extend(containers);
    (!patterns.is_empty()).then(|| Files {
        patterns,
        container: reading(true, container_start, encoding_rs::UTF_8, None),
        file: reading(false, start_of_record, encoding, time),
        at_end,
        rescan,
        max_open: number_of(max_open),
        max_files: number_of(max_files),
        quiet,
    })
}

fn regex(text: &str) -> Result<regex::bytes::Regex, String> {
    regex::bytes::Regex::new(text)
        .map_err(|error| format!("expected a regular expression: {error}"))
}

fn zone(name: &str) -> Result<chrono_tz::Tz, String> {
    name.parse()
        .map_err(|_| format!("expected a time zone such as Asia/Shanghai, found \"{name}\""))
}

/// Encodings whose lines end with the byte 0A, and in which it is nothing else.
fn encoding(name: &str) -> Result<&'static encoding_rs::Encoding, String> {
    let found = encoding_rs::Encoding::for_label(name.as_bytes());
    found
        .filter(|encoding| encoding.is_ascii_compatible())
        .ok_or_else(|| {
            format!("expected an encoding of the WHATWG's list in which ASCII is ASCII, such as utf-8 or gb18030, found \"{name}\"")
        })
}
