//! Docker's parts of a line joined: its journald driver cuts lines at 16 KiB.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mscp_log_core::clean::journal::Entry;

/// An entry of a container, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) json: Vec<u8>,
    pub(super) container_name: String,
    pub(super) host: Option<String>,
    /// Bytes over the limit.
    pub(super) cut: usize,
}

/// A line whose parts are not all there.
struct Open {
    first: Entry<'static>,
    message: String,
    cut: usize,
    since: Instant,
    /// The cursor before its first part.
    before: Option<String>,
    /// The order in which lines were begun.
    number: u64,
}

/// How many containers may have a line in parts at once; one more ends the
/// oldest as it is.
const MAX_OPEN: usize = 1_024;

pub(super) struct Join {
    max_bytes: usize,
    open: HashMap<String, Open>,
    last: Option<String>,
    last_us: Option<i64>,
    begun: u64,
}

impl Join {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            open: HashMap::new(),
            last: None,
            last_us: None,
            begun: 0,
        }
    }

    /// The cursor of the entry that was taken last.
    pub(super) fn last(&self) -> Option<&String> {
        self.last.as_ref()
    }

    /// Its time, in microseconds since the epoch.
    pub(super) fn last_us(&self) -> Option<i64> {
        self.last_us
    }

    /// The cursor before the oldest line that is not whole.
    pub(super) fn before_open(&self) -> Option<&str> {
        let oldest = self.open.values().min_by_key(|open| open.number)?;
        oldest.before.as_deref()
    }

    /// Take an entry; the records that are whole now.
    pub(super) fn take(&mut self, json: &[u8]) -> Result<Vec<Record>, serde_json::Error> {
        let entry = Entry::parse(json)?;
        let before = self.last.take();
        self.last = entry
            .cursor
            .as_deref()
            .map(str::to_owned)
            .or_else(|| before.clone());
        self.last_us = entry.realtime_us.or(self.last_us);
        let named = entry
            .container_name
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        if !named {
            return Ok(Vec::new());
        }
        let container = entry
            .container_id_full
            .as_deref()
            .or(entry.container_id.as_deref());
        let container = container.unwrap_or_default().to_owned();
        let mut whole = Vec::new();
        match self.open.get_mut(&container) {
            Some(open) => {
                // The part behind the last one that is marked is the end of
                // the line, marked or not.
                let text = entry.message.as_deref().unwrap_or_default();
                let room = self.max_bytes.saturating_sub(open.message.len());
                let kept = text.floor_char_boundary(room.min(text.len()));
                open.message.push_str(&text[..kept]);
                open.cut += text.len() - kept;
                if (!entry.partial || entry.last_part)
                    && let Some(open) = self.open.remove(&container)
                {
                    whole.push(self.end(open)?);
                }
            }
            None if entry.partial && !entry.last_part => {
                if self.open.len() >= MAX_OPEN {
                    whole.extend(self.end_oldest());
                }
                let mut first = entry.to_static();
                let message = first.message.take().unwrap_or_default().into_owned();
                self.begun += 1;
                let open = Open {
                    first,
                    message,
                    cut: 0,
                    since: Instant::now(),
                    before,
                    number: self.begun,
                };
                self.open.insert(container, open);
            }
            None => whole.push(self.record(json, &entry)?),
        }
        Ok(whole)
    }

    /// Lines whose parts did not come in time, as they are.
    pub(super) fn overdue(&mut self, patience: Duration) -> Vec<Record> {
        let due = self
            .open
            .iter()
            .filter(|(_, open)| open.since.elapsed() >= patience);
        let due: Vec<String> = due.map(|(container, _)| container.clone()).collect();
        let open = due
            .iter()
            .filter_map(|container| self.open.remove(container));
        let open: Vec<Open> = open.collect();
        open.into_iter()
            .filter_map(|open| self.end(open).ok())
            .collect()
    }

    fn end_oldest(&mut self) -> Option<Record> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.number);
        let container = oldest?.0.clone();
        let open = self.open.remove(&container)?;
        self.end(open).ok()
    }

    fn end(&self, open: Open) -> Result<Record, serde_json::Error> {
        let mut entry = open.first;
        entry.message = Some(open.message.into());
        entry.truncated = open.cut > 0;
        let json = entry.write()?;
        let mut record = self.record(&json, &entry)?;
        record.cut += open.cut;
        Ok(record)
    }

    /// An entry within the limit is passed on as it is.
    fn record(&self, json: &[u8], entry: &Entry<'_>) -> Result<Record, serde_json::Error> {
        let message = entry.message.as_deref().unwrap_or_default();
        let (mut cut, mut json) = (0, json.to_vec());
        if message.len() > self.max_bytes {
            let kept = message.floor_char_boundary(self.max_bytes);
            cut = message.len() - kept;
            let mut shorter = entry.borrowed();
            shorter.message = Some(message[..kept].into());
            shorter.truncated = true;
            json = shorter.write()?;
        }
        Ok(Record {
            json,
            container_name: entry
                .container_name
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            host: entry.hostname.as_deref().map(str::to_owned),
            cut,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn entry(cursor: u32, container: &str, message: &str, marks: &[&str]) -> Vec<u8> {
        let mut entry = serde_json::json!({
            "__CURSOR": format!("s={cursor}"), "CONTAINER_NAME": "kubelet",
            "CONTAINER_ID_FULL": container, "MESSAGE": message,
        });
        for mark in marks {
            entry[*mark] = "true".into();
        }
        serde_json::to_vec(&entry).unwrap()
    }

    const PART: &str = "CONTAINER_PARTIAL_MESSAGE";
    const LAST: &str = "CONTAINER_PARTIAL_LAST";

    fn messages(records: &[Record]) -> Vec<String> {
        let read = |record: &Record| {
            Entry::parse(&record.json)
                .unwrap()
                .message
                .unwrap()
                .into_owned()
        };
        records.iter().map(read).collect()
    }

    #[test]
    fn parts_are_one_record_with_the_cursor_of_the_first_and_the_place_stays_before_them() {
        let mut join = Join::new(1 << 20);
        assert_eq!(
            messages(&join.take(&entry(1, "a", "x", &[])).unwrap()),
            ["x"]
        );
        assert!(
            join.take(&entry(2, "a", "one ", &[PART]))
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            messages(&join.take(&entry(3, "b", "other", &[])).unwrap()),
            ["other"]
        );
        assert_eq!(join.before_open(), Some("s=1"));
        // Old docker marks no part as the last one.
        let whole = join.take(&entry(4, "a", "line", &[])).unwrap();
        assert_eq!(messages(&whole), ["one line"]);
        assert_eq!(Entry::parse(&whole[0].json).unwrap().cursor.unwrap(), "s=2");
        assert_eq!(join.before_open(), None);
        join.take(&entry(5, "a", "one ", &[PART])).unwrap();
        let whole = join.take(&entry(6, "a", "line", &[PART, LAST])).unwrap();
        assert_eq!(messages(&whole), ["one line"]);
    }

    #[test]
    fn a_line_without_its_last_part_is_ended_when_it_is_overdue() {
        let mut join = Join::new(1 << 20);
        join.take(&entry(1, "a", "one ", &[PART])).unwrap();
        assert!(join.overdue(Duration::from_secs(3_600)).is_empty());
        assert_eq!(messages(&join.overdue(Duration::ZERO)), ["one "]);
        assert_eq!(join.before_open(), None);
    }

    #[test]
    fn a_message_over_the_limit_is_cut_and_counted() {
        let mut join = Join::new(5);
        let records = join.take(&entry(1, "a", "ééé", &[])).unwrap();
        assert_eq!(
            (messages(&records), records[0].cut),
            (vec!["éé".to_owned()], 2)
        );
        assert!(Entry::parse(&records[0].json).unwrap().truncated);
        join.take(&entry(2, "a", "abc", &[PART])).unwrap();
        let records = join.take(&entry(3, "a", "defg", &[])).unwrap();
        assert_eq!(
            (messages(&records), records[0].cut),
            (vec!["abcde".to_owned()], 2)
        );
        assert!(Entry::parse(&records[0].json).unwrap().truncated);
        let records = join.take(&entry(4, "a", "abcde", &[])).unwrap();
        assert!(!Entry::parse(&records[0].json).unwrap().truncated);
    }

    #[test]
    fn entries_of_no_container_are_passed_over() {
        let mut join = Join::new(5);
        let json = br#"{"__CURSOR":"s=9","MESSAGE":"x","CONTAINER_NAME":null}"#;
        assert!(join.take(json).unwrap().is_empty());
        assert_eq!(join.last().unwrap(), "s=9");
    }
}
