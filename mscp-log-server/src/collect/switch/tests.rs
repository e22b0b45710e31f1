#![allow(clippy::unwrap_used, reason = "tests")]
//! A whole agent on real files and a journal of a script's, switched at random
//! and killed, while lines are written and files are rotated.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::*;
use crate::buffer::disk::OpenError;
use crate::collect::{AgentError, Notes, start};
use crate::config::Config;
use crate::ingest::collect::Collect;
use crate::ingest::testing::Memory;

/// The program in the place of `journalctl`: entry `n` is line `n` of a file,
/// and its cursor is `s=n`. It says who it is when it follows.
const JOURNALCTL: &str = r#"#!/bin/sh
here=${0%/*}
for wish in "$@"; do case $wish in
--after-cursor=s=*) after=${wish##*=} ;;
--cursor=s=*) exec sed -n "${wish##*=}p" "$here/entries" ;;
--follow) follow=1 ;;
esac; done
if [ "$follow" ]; then
    echo $$ > "$here/pid"
    exec tail -s 0.02 -f -n "+$((${after:-0} + 1))" "$here/entries"
fi
exec tail -n 1 "$here/entries"
"#;

/// A machine with logs, and its agent.
struct Scene {
    folder: tempfile::TempDir,
    memory: Arc<Memory>,
    wanted: watch::Sender<Wanted>,
    agent: Option<(JoinSet<()>, CancellationToken, Notes)>,
    entries: u64,
    lines: u64,
    /// How often the file was rotated.
    rotations: u32,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("journalctl");
        fs::write(&program, JOURNALCTL).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("entries"), "").unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        let mut scene = Self {
            folder,
            memory: Arc::default(),
            wanted: watch::Sender::default(),
            agent: None,
            entries: 0,
            lines: 0,
            rotations: 0,
        };
        scene.write_line();
        scene.write_entry();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let variables = [
            ("HOST", "node1".to_owned()),
            (
                "FILES__PATHS",
                self.path("logs/*.log").display().to_string(),
            ),
            ("JOURNAL__ENABLED", "true".to_owned()),
            ("JOURNAL__START", "head".to_owned()),
            (
                "JOURNAL__JOURNALCTL",
                self.path("journalctl").display().to_string(),
            ),
        ];
        let variables = variables.map(|(name, value)| (format!("MSCP_LOG_COLLECT__{name}"), value));
        let config = Config::load(None, variables).unwrap();
        let buffer: Arc<dyn crate::buffer::Buffer> = self.memory.clone();
        let collect = Arc::new(Collect::open(&config, buffer).unwrap());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let notes = loop {
            let started = start(
                &config.collect,
                self.folder.path(),
                Some(&collect),
                &self.wanted.subscribe(),
                &mut tasks,
                &stop,
            );
            match started {
                // What the one before asked of the disk is not ended with it.
                Err(AgentError::Buffer(OpenError::InUse(_))) => std::thread::yield_now(),
                started => break started.unwrap(),
            }
        };
        self.agent = Some((tasks, stop, notes));
    }

    /// End it where it is.
    async fn kill(&mut self) {
        let (mut tasks, _, _) = self.agent.take().unwrap();
        tasks.shutdown().await;
    }

    fn notes(&self) -> &Notes {
        &self.agent.as_ref().unwrap().2
    }

    fn note(&self, name: &str) -> SourceNote {
        let mut notes = self.notes().sources().into_iter();
        notes.find(|note| note.name == name).unwrap()
    }

    /// Wait until the source is read, or is not.
    async fn reads(&self, name: &str, reading: bool) {
        until(|| self.note(name).reading == reading).await;
    }

    fn write_line(&mut self) {
        let path = self.path("logs/a.log");
        let file = OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.unwrap(), "line {}", self.lines).unwrap();
        self.lines += 1;
    }

    fn write_entry(&mut self) {
        self.entries += 1;
        let number = self.entries;
        let entry = serde_json::json!({
            "__CURSOR": format!("s={number}"),
            "__REALTIME_TIMESTAMP": crate::clock::now_us().to_string(),
            "CONTAINER_NAME": "web", "CONTAINER_ID": "0123456789ab", "_HOSTNAME": "node1",
            "MESSAGE": format!("entry {number}"),
        });
        let file = OpenOptions::new().append(true).open(self.path("entries"));
        writeln!(file.unwrap(), "{entry}").unwrap();
    }

    fn rotate(&mut self) {
        for number in (0..self.rotations).rev() {
            let name = |number: u32| match number {
                0 => self.path("logs/a.log"),
                number => self.path(&format!("logs/a.log.{number}")),
            };
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        self.rotations += 1;
        self.write_line();
    }

    /// How many records each message has that came, by their identities. One
    /// that came again has the time that it had: it is in the same index.
    fn came(&self) -> BTreeMap<String, usize> {
        let mut ids: BTreeMap<String, (String, i64)> = BTreeMap::new();
        for record in self.memory.records() {
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            let this = (text("message"), record["realtime_us"].as_i64().unwrap());
            let known = ids.entry(text("event_id")).or_insert(this.clone());
            assert_eq!(*known, this);
        }
        let mut came = BTreeMap::new();
        for (message, _) in ids.into_values() {
            *came.entry(message).or_default() += 1;
        }
        came
    }

    fn has(&self, message: &str) -> bool {
        self.came().contains_key(message)
    }

    fn switch(&self, journal: bool, files: bool) {
        self.wanted.send_replace(Wanted { journal, files });
    }

    /// Whether the program that followed last still runs.
    fn follows(&self) -> bool {
        let pid = fs::read_to_string(self.path("pid")).unwrap_or_default();
        Path::new(&format!("/proc/{}", pid.trim())).exists()
    }

    async fn all_came(&self) {
        let whole = || self.came().len() as u64 == self.lines + self.entries;
        let waited = within_a_minute(whole).await;
        let came = self.came();
        let expected = (0..self.lines).map(|line| format!("line {line}"));
        let expected = expected.chain((1..=self.entries).map(|entry| format!("entry {entry}")));
        let wrong: Vec<_> = expected
            .map(|message| (came.get(&message).copied().unwrap_or(0), message))
            .filter(|(times, _)| *times != 1)
            .collect();
        assert!(waited && wrong.is_empty(), "not there once: {wrong:?}");
    }
}

async fn within_a_minute(holds: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.is_ok()
}

async fn until(holds: impl Fn() -> bool) {
    assert!(within_a_minute(holds).await, "it comes within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_off_is_not_read_and_goes_on_where_it_was() {
    let mut scene = Scene::new();
    scene.start();
    scene.all_came().await;
    assert_eq!(scene.notes().told(), None);

    scene.switch(false, true);
    scene.reads("journalbeat", false).await;
    until(|| !scene.follows()).await;
    scene.write_entry();
    scene.write_line();
    until(|| scene.has("line 1")).await;
    assert!(!scene.has("entry 2"));
    let off = SourceNote {
        name: "journalbeat",
        configured: true,
        wanted: false,
        reading: false,
        trouble: None,
    };
    assert_eq!(scene.note("journalbeat"), off);
    let told = scene.notes().told().unwrap();
    assert_eq!(told, "ok; switched off by an administrator: journalbeat");

    scene.switch(true, false);
    scene.reads("filebeat", false).await;
    scene.write_line();
    scene.rotate();
    scene.write_entry();
    until(|| scene.has("entry 3")).await;
    assert!(scene.has("entry 2") && !scene.has("line 2"));

    scene.switch(true, true);
    scene.all_came().await;
    assert_eq!(scene.notes().told(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_off_when_the_agent_starts_begins_when_it_is_switched_on() {
    let mut scene = Scene::new();
    scene.switch(true, false);
    scene.start();
    until(|| scene.has("entry 1")).await;
    assert!(!scene.note("filebeat").reading && !scene.has("line 0"));
    scene.switch(true, true);
    scene.all_came().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_there_once_however_often_its_source_is_switched_and_the_agent_killed() {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::new();
    scene.start();
    // What was rotated before it was ever seen is not promised.
    scene.all_came().await;
    for _ in 0..400 {
        match random.random_range(0..40) {
            0..15 => scene.write_line(),
            15..30 => scene.write_entry(),
            30..32 => scene.rotate(),
            32..36 => scene.switch(random.random(), random.random()),
            36 => {
                scene.kill().await;
                scene.start();
            }
            _ => tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await,
        }
    }
    scene.switch(true, true);
    scene.all_came().await;
}
