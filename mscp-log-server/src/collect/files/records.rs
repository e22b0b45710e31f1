//! The lines that a look at a file takes, written as a chunk.

use mscp_log_core::clean::chunk::{self, Writer};

use super::follow::FilePosition;
use super::lines::Line;
use super::reader::{Heads, Reading};

/// The records of one look, as a chunk.
pub(super) struct Records<'r> {
    pub(super) writer: Option<Writer>,
    pub(super) reading: &'r Reading,
    pub(super) heads: &'r dyn Heads,
    pub(super) read_us: i64,
    pub(super) failed: Option<serde_json::Error>,
}

impl Records<'_> {
    pub(super) fn add(&mut self, position: &FilePosition, line: &Line<'_>) {
        if self.writer.is_none() {
            let file = chunk::File {
                kind: position.kind,
                path: (&*position.path).into(),
                target: position.target.as_deref().map(Into::into),
                device: position.id.device,
                inode: position.id.inode,
                generation: position.generation,
            };
            match Writer::new(&self.heads.head(self.read_us, file)) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.failed = Some(error),
            }
        }
        let Some(writer) = &mut self.writer else {
            return;
        };
        let (message, _) = self.reading.encoding.decode_without_bom_handling(line.text);
        let message = match message.strip_prefix('\u{feff}') {
            Some(rest) if line.offset == 0 => rest,
            _ => &*message,
        };
        let found = self.reading.time.as_ref();
        writer.line(&chunk::Line {
            offset: line.offset,
            message: message.into(),
            time_us: line
                .time_us
                .or_else(|| found.and_then(|format| format.read(line.text))),
            stream: line.stream.map(Into::into),
            truncated: line.truncated,
        });
    }
}
