//! Real journal files, made by `systemd-journal-remote` of what it is given.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Of Debian's package `systemd-journal-remote`.
const PROGRAM: &str = "/lib/systemd/systemd-journal-remote";

/// Whether journals can be made on this machine.
#[must_use]
pub fn is_there() -> bool {
    Path::new(PROGRAM).exists()
}

/// A journal file that is being written.
#[derive(Debug)]
pub struct Journal {
    input: Option<ChildStdin>,
    child: Child,
    last_us: u128,
}

impl Journal {
    /// A journal file `folder/{name}.journal`; `None` where there is nothing to
    /// make it.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn create(folder: &Path, name: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut child = Command::new(PROGRAM)
            .arg("-o")
            .arg(folder.join(format!("{name}.journal")))
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let input = child.stdin.take();
        Some(Self {
            input,
            child,
            last_us: 0,
        })
    }

    /// An entry of a container on `node1` with this message.
    pub fn write(&mut self, message: &str) {
        self.entry(&[
            ("MESSAGE", message.as_bytes()),
            ("CONTAINER_NAME", b"kubelet"),
            ("CONTAINER_ID", b"905f38550000"),
            ("PRIORITY", b"6"),
        ]);
    }

    /// An entry of `node1` with these fields, in the journal's export format
    /// (systemd.io, "Journal Export Formats").
    ///
    /// # Panics
    /// When the program has ended.
    pub fn entry(&mut self, fields: &[(&str, &[u8])]) {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_micros();
        // Two entries of one moment would be in no order.
        self.last_us = since.max(self.last_us + 1);
        let us = self.last_us;
        let mut entry = format!(
            "__REALTIME_TIMESTAMP={us}\n__MONOTONIC_TIMESTAMP={us}\n\
             _BOOT_ID=fedcba9876543210fedcba9876543210\n_HOSTNAME=node1\n"
        )
        .into_bytes();
        for (name, value) in fields {
            entry.extend_from_slice(name.as_bytes());
            // Everything may be written with its length; text need not be.
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
            entry.extend_from_slice(value);
            entry.push(b'\n');
        }
        entry.push(b'\n');
        let input = self.input.as_mut().expect("open until it is dropped");
        input.write_all(&entry).expect("the program reads");
    }

    /// No more entries come; returns when the file has them all.
    ///
    /// # Panics
    /// When the program cannot be waited for.
    pub fn finish(mut self) {
        drop(self.input.take());
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
