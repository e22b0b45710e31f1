//! Log files that are written and rotated, each in one way.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::APP;

/// How a file goes on when it is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// It is renamed and made anew: nothing is lost.
    Rename,
    /// It is copied and truncated.
    Truncate,
    /// It is deleted and made anew.
    Delete,
}

/// Whose lines a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An application's.
    File,
    /// A container's, as its runtime writes them.
    Container,
    /// A pause container's.
    Pause,
}

/// A file that is written and rotated.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    pub(super) kind: Kind,
    pub(super) rotation: Rotation,
    rotations: u64,
    /// The life of the agent in which it was made, so that what the agent
    /// cannot have seen is not deleted.
    pub(super) made_in: u32,
    /// Lines since it was made or truncated, as places in the ledger.
    pub(super) lines: Vec<usize>,
}

impl Log {
    fn create(path: PathBuf, kind: Kind, rotation: Rotation) -> Self {
        fs::create_dir_all(path.parent().expect("below a folder")).expect("a folder");
        let file = open(&path);
        Self {
            path,
            file,
            kind,
            rotation,
            rotations: 0,
            made_in: 0,
            lines: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, line: &str, random: &mut StdRng) {
        let mut bytes = if self.kind == Kind::File {
            format!("{line}\n").into_bytes()
        } else {
            let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            if line.len() > 20 && random.random_bool(0.2) {
                let (first, second) = line.split_at(line.len() / 2);
                format!("{time} stdout P {first}\n{time} stdout F {second}\n").into_bytes()
            } else {
                format!("{time} stdout F {line}\n").into_bytes()
            }
        };
        if random.random_bool(0.05) {
            // A line cut over two writes.
            let rest = bytes.split_off(bytes.len() / 2);
            self.file.write_all(&bytes).expect("written");
            bytes = rest;
        }
        self.file.write_all(&bytes).expect("written");
    }

    /// Go on with an empty file.
    pub(super) fn rotate(&mut self, life: u32) {
        self.rotations += 1;
        let path = self.path.display();
        let rotated = format!("{path}.{:08}-{:06}", 20_261_123, self.rotations);
        match self.rotation {
            Rotation::Rename => fs::rename(&self.path, rotated).expect("renamed"),
            Rotation::Truncate => {
                fs::copy(&self.path, rotated).expect("copied");
                self.file.set_len(0).expect("truncated");
            }
            Rotation::Delete => fs::remove_file(&self.path).expect("deleted"),
        }
        if self.rotation != Rotation::Truncate {
            self.file = open(&self.path);
            self.made_in = life;
        }
        self.lines.clear();
    }
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(path)
        .expect("a file")
}

/// Files in log volumes of pods, two containers, and a pause container.
pub(super) fn create(files: u64, folder: &Path) -> Vec<Log> {
    let uid = |number: u64| format!("7cc96a84-7ece-6fad-70a9-{number:012x}");
    let mut logs: Vec<Log> = (0..files)
        .map(|number| {
            let volume = format!(
                "k8spods/{}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-d{}",
                uid(number / 4),
                number % 4
            );
            let rotation = match number % 10 {
                3 => Rotation::Truncate,
                5 => Rotation::Delete,
                _ => Rotation::Rename,
            };
            let path = folder.join(volume).join(format!("f{number}.log"));
            Log::create(path, Kind::File, rotation)
        })
        .collect();
    for (number, container) in [(0, "nginx"), (1, "nginx"), (2, "POD")] {
        let uid = uid(1_000 + number);
        let place = folder.join(format!("pods/shop_web-{number}_{uid}/{container}/0.log"));
        let kind = match container {
            "POD" => Kind::Pause,
            _ => Kind::Container,
        };
        logs.push(Log::create(place.clone(), kind, Rotation::Rename));
        let links = folder.join("containers");
        fs::create_dir_all(&links).expect("a folder");
        let id = "0123456789abcdef".repeat(4);
        let link = links.join(format!("web-{number}_shop_{container}-{id}.log"));
        std::os::unix::fs::symlink(place, link).expect("a link");
    }
    logs
}
