//! The buffer as it is at one moment, for a backup.

use std::fs;
use std::io;
use std::path::Path;

use super::{DiskBuffer, lock, position};
use crate::snapshot::Snapshot;

impl DiskBuffer {
    /// Hold every record that is durable and that no segment's end has taken
    /// away, with the position of the consumer, below `prefix`. Blocks on the
    /// disk; commits wait meanwhile.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn hold_files(&self, into: &mut Snapshot, prefix: &str) -> io::Result<()> {
        let shared = &self.shared;
        // A commit deletes segments and replaces the position.
        let _no_commit = lock(&shared.commit);
        let segments: Vec<_> = shared.state().segments.iter().copied().collect();
        for segment in segments {
            let path = segment.path(&shared.dir);
            // What lies behind the durable end may still be cut away.
            into.link(name(prefix, &path), &path, Some(segment.bytes))?;
        }
        let position = position::file(&shared.dir);
        if fs::exists(&position)? {
            into.copy(name(prefix, &position), &position)?;
        }
        Ok(())
    }
}

fn name(prefix: &str, file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    format!("{prefix}/{}", name.to_string_lossy())
}
