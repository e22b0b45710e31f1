//! What an agent sends: raw records of one source that were read together, as
//! one JSON object on a line (`docs/collecting.md`). The gateway cleans them.
//!
//! ```json
//! {"host":"node1","zone":"z1","read_us":1516792419231221,
//!  "pods":{"7cc96a84-...":{"namespace":"shop","pod":"web-0"}},
//!  "file":{"kind":"file","path":"/k8spods/...","device":1,"inode":2,"generation":3},
//!  "lines":[[0,"first line"],[11,"second line"]],
//!  "position":{}}
//! ```
//!
//! `position` is where the agent goes on behind these records. It lies in the
//! same object, so that whoever keeps the records keeps it with them; nobody
//! but the agent reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Labels, Node, Position, Raw, journal};
use crate::container::PodDir;
use crate::record::encode::{write_number, write_text};

/// What is said once for all records of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head<'a> {
    /// The machine that they were read on.
    pub host: Cow<'a, str>,
    /// The machine's zone, where the agent was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Cow<'a, str>>,
    /// The machine's Kubernetes cluster, where the agent was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cow<'a, str>>,
    /// What the agent was told of the machine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels<'a>,
    /// When they were read, in microseconds since the epoch.
    pub read_us: i64,
    /// What the machine knows of the pods that they are of, by uid.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<Cow<'a, str>, Pod<'a>>,
    /// The file that they were read from; none for the journal, and none in a
    /// [`Chunk`] that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<File<'a>>,
}

/// What a machine knows of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod<'a> {
    /// Its application: the service of its `applog-{service uuid}-...` folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appid: Option<Uuid>,
    /// Its namespace; empty where only the application is known.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub namespace: Cow<'a, str>,
    /// Its name; empty where only the application is known.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub pod: Cow<'a, str>,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

/// A file whose lines are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File<'a> {
    /// Whose lines they are.
    pub kind: FileKind,
    /// The path that it was found by.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// Where the path leads, where it is a link.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Cow<'a, str>>,
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// Raised by each truncation and each reuse of the inode.
    pub generation: u64,
}

/// Whose lines a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A container's console, as its runtime writes it.
    Container,
    /// An application's.
    File,
}

/// One line: `[offset, message]`, and where there is more of it
/// `[offset, message, time_us, stream, truncated]`, from the left as far as
/// needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The byte at which it begins.
    pub offset: u64,
    /// What it says, without its end.
    pub message: Cow<'a, str>,
    /// The time that stands in it, in microseconds since the epoch.
    pub time_us: Option<i64>,
    /// `stdout` or `stderr`.
    pub stream: Option<Cow<'a, str>>,
    /// Whether it was longer than is read.
    pub truncated: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Line<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = Line<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[offset, message, time_us, stream, truncated]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Line<'de>, A::Error> {
                let offset = items.next_element()?;
                let message = items.next_element::<Text<'_>>()?;
                let (Some(offset), Some(Text(message))) = (offset, message) else {
                    return Err(A::Error::custom("a line without an offset or a message"));
                };
                let time_us = items.next_element::<Option<i64>>()?.flatten();
                let stream = items.next_element::<Option<Text<'_>>>()?.flatten();
                let truncated = items.next_element()?.unwrap_or_default();
                while items.next_element::<IgnoredAny>()?.is_some() {}
                let stream = stream.map(|Text(stream)| stream);
                Ok(Line {
                    offset,
                    message,
                    time_us,
                    stream,
                    truncated,
                })
            }
        }
        deserializer.deserialize_seq(Lines)
    }
}

/// Writes a chunk, record by record.
///
/// ```
/// use mscp_log_core::clean::chunk::{Chunk, File, FileKind, Head, Line, Writer};
/// let file = File {
///     kind: FileKind::File, path: "/var/log/app.log".into(), target: None,
///     device: 1, inode: 2, generation: 3,
/// };
/// let head = Head {
///     host: "node1".into(), zone: None, cluster: None, labels: Default::default(),
///     read_us: 7, pods: Default::default(), file: Some(file),
/// };
/// let mut writer = Writer::new(&head)?;
/// writer.line(&Line { offset: 0, message: "up".into(), ..Line::default() });
/// let chunk = writer.end(&serde_json::json!({"offset": 3}))?;
/// assert_eq!(Chunk::parse(&chunk)?.raws().count(), 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    records: usize,
}

impl Writer {
    /// Begin a chunk.
    ///
    /// # Errors
    /// None that is known; writing JSON has a result.
    pub fn new(head: &Head<'_>) -> Result<Self, serde_json::Error> {
        let mut out = serde_json::to_vec(head)?;
        out.pop();
        let records: &[u8] = match head.file {
            Some(_) => b",\"lines\":[",
            None => b",\"entries\":[",
        };
        out.extend_from_slice(records);
        Ok(Self { out, records: 0 })
    }

    fn next(&mut self) {
        if self.records > 0 {
            self.out.push(b',');
        }
        self.records += 1;
    }

    /// Add a line of the file.
    pub fn line(&mut self, line: &Line<'_>) {
        self.next();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.out.push(b'[');
        write_number(number(line.offset), &mut self.out);
        self.out.push(b',');
        write_text(&line.message, &mut self.out);
        if line.time_us.is_some() || line.stream.is_some() || line.truncated {
            self.out.push(b',');
            match line.time_us {
                Some(time_us) => write_number(time_us, &mut self.out),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        if line.stream.is_some() || line.truncated {
            self.out.push(b',');
            match &line.stream {
                Some(stream) => write_text(stream, &mut self.out),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        if line.truncated {
            self.out.extend_from_slice(b",true");
        }
        self.out.push(b']');
    }

    /// Add an entry of the journal: a JSON object without a line's end.
    pub fn entry(&mut self, json: &[u8]) {
        self.next();
        self.out.extend_from_slice(json);
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Its bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// End it with the position behind its records.
    ///
    /// # Errors
    /// When `position` cannot be written as JSON.
    pub fn end(mut self, position: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
        self.out.extend_from_slice(b"],\"position\":");
        serde_json::to_writer(&mut self.out, position)?;
        self.out.push(b'}');
        Ok(self.out)
    }
}

/// A chunk that was read.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// What is said for all its records.
    pub head: Head<'a>,
    records: Records<'a>,
}

#[derive(Debug)]
enum Records<'a> {
    Lines(File<'a>, Vec<Line<'a>>),
    Entries(Vec<journal::Entry<'a>>),
}

impl<'a> Chunk<'a> {
    /// Read one.
    ///
    /// # Errors
    /// When `json` is no JSON object, misses something, or has lines without a
    /// file or entries beside one.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            host: Cow<'a, str>,
            #[serde(borrow)]
            zone: Option<Cow<'a, str>>,
            #[serde(borrow)]
            cluster: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            labels: Labels<'a>,
            read_us: i64,
            #[serde(borrow, default)]
            pods: BTreeMap<Cow<'a, str>, Pod<'a>>,
            #[serde(borrow)]
            file: Option<File<'a>>,
            #[serde(borrow)]
            lines: Option<Vec<Line<'a>>>,
            #[serde(borrow)]
            entries: Option<Vec<&'a RawValue>>,
        }
        let wire: Wire<'a> = serde_json::from_slice(json)?;
        let records = match (wire.file, wire.lines, wire.entries) {
            (Some(file), Some(lines), None) => Records::Lines(file, lines),
            (None, None, Some(entries)) => {
                let read = |entry: &&'a RawValue| journal::Entry::parse(entry.get().as_bytes());
                Records::Entries(entries.iter().map(read).collect::<Result<_, _>>()?)
            }
            _ => {
                return Err(serde_json::Error::custom(
                    "expected file and lines, or entries",
                ));
            }
        };
        let head = Head {
            host: wire.host,
            zone: wire.zone,
            cluster: wire.cluster,
            labels: wire.labels,
            read_us: wire.read_us,
            pods: wire.pods,
            file: None,
        };
        Ok(Self { head, records })
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.records {
            Records::Lines(_, lines) => lines.len(),
            Records::Entries(entries) => entries.len(),
        }
    }

    /// Whether it has no records, and is there for its position alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The host names that its records speak for, each once: that of the
    /// chunk, and those that entries of a journal bring along.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts = vec![&*self.head.host];
        if let Records::Entries(entries) = &self.records {
            for entry in entries {
                if let Some(host) = entry.hostname.as_deref()
                    && !hosts.contains(&host)
                {
                    hosts.push(host);
                }
            }
        }
        hosts
    }

    /// Its records, in their order.
    pub fn raws(&self) -> Box<dyn Iterator<Item = Raw<'_>> + '_> {
        let read_us = self.head.read_us;
        match &self.records {
            Records::Lines(file, lines) => Box::new(lines.iter().map(move |line| {
                let position = Position {
                    device: file.device,
                    inode: file.inode,
                    generation: file.generation,
                    fingerprint: None,
                    offset: line.offset,
                };
                let message = Cow::Borrowed(&*line.message);
                match file.kind {
                    FileKind::Container => Raw::Container {
                        path: &file.path,
                        target: file.target.as_deref(),
                        time_us: line.time_us.unwrap_or(read_us),
                        stream: line.stream.as_deref().unwrap_or_default(),
                        message,
                        truncated: line.truncated,
                        position,
                        read_us,
                    },
                    FileKind::File => Raw::File {
                        path: &file.path,
                        message,
                        truncated: line.truncated,
                        time_us: line.time_us,
                        position,
                        read_us,
                    },
                }
            })),
            Records::Entries(entries) => {
                Box::new(entries.iter().zip(0..).map(move |(entry, seq)| {
                    let entry = entry.borrowed();
                    Raw::Journal {
                        entry,
                        read_us,
                        seq,
                    }
                }))
            }
        }
    }
}

impl Node for Chunk<'_> {
    fn app_of(&self, pod_uid: &str) -> Option<Uuid> {
        self.head.pods.get(pod_uid)?.appid
    }

    fn pod_of(&self, pod_uid: &str) -> Option<PodDir<'_>> {
        let (uuid, known) = self.head.pods.get_key_value(pod_uid)?;
        (!known.pod.is_empty()).then_some(PodDir {
            namespace: &known.namespace,
            pod: &known.pod,
            uuid,
        })
    }

    fn labels(&self) -> Option<&Labels<'_>> {
        Some(&self.head.labels)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn head(file: Option<File<'static>>) -> Head<'static> {
        let known = Pod {
            appid: Some(Uuid::from_u128(5)),
            namespace: "shop".into(),
            pod: "web-0".into(),
        };
        Head {
            host: "node1".into(),
            zone: Some("z1".into()),
            cluster: None,
            labels: Labels::from([("rack".into(), "r7".into())]),
            read_us: 1_516_792_419_231_221,
            pods: BTreeMap::from([("7cc96a84".into(), known)]),
            file,
        }
    }

    fn file(kind: FileKind) -> File<'static> {
        File {
            kind,
            path: "/var/log/a \"b\".log".into(),
            target: None,
            device: u64::MAX,
            inode: 2,
            generation: 3,
        }
    }

    fn lines() -> impl Strategy<Value = Vec<Line<'static>>> {
        let line = (
            0..=i64::MAX as u64,
            "\\PC{0,20}[\u{0}-\u{1f}]?",
            any::<Option<i64>>(),
            proptest::option::of("stdout|stderr"),
            any::<bool>(),
        );
        let line = line.prop_map(|(offset, message, time_us, stream, truncated)| Line {
            offset,
            message: message.into(),
            time_us,
            stream: stream.map(Cow::Owned),
            truncated,
        });
        proptest::collection::vec(line, 0..5)
    }

    proptest! {
        #[test]
        fn lines_that_are_written_are_read(lines in lines()) {
            let mut writer = Writer::new(&head(Some(file(FileKind::File)))).unwrap();
            lines.iter().for_each(|line| writer.line(line));
            prop_assert_eq!(writer.records(), lines.len());
            let json = writer.end(&serde_json::json!({"lines": 1, "offset": 7})).unwrap();
            let chunk = Chunk::parse(&json).unwrap();
            let Records::Lines(_, read) = &chunk.records else { panic!() };
            prop_assert_eq!(read, &lines);
            prop_assert_eq!(chunk.raws().count(), lines.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Chunk::parse(&bytes);
        }
    }

    #[test]
    fn a_chunk_has_lines_of_a_file_or_entries_of_a_journal_and_not_both() {
        let refused = [
            r#"{"host":"n","read_us":1}"#,
            r#"{"host":"n","read_us":1,"lines":[[0,"x"]]}"#,
            r#"{"read_us":1,"entries":[]}"#,
            r#"{"host":"n","read_us":1,"entries":[7]}"#,
            r#"{"host":"n","read_us":1,"entries":[],"lines":[]}"#,
            r#"{"host":"n","read_us":1,"lines":[[0]],"file":{"kind":"file","path":"/a","device":1,"inode":1,"generation":1}}"#,
            r#"{"host":"n","read_us":1,"lines":[],"file":{"kind":"pipe","path":"/a","device":1,"inode":1,"generation":1}}"#,
        ];
        for json in refused {
            assert!(Chunk::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn what_a_chunk_says_of_pods_is_what_cleaning_asks() {
        let mut writer = Writer::new(&head(None)).unwrap();
        writer.entry(br#"{"MESSAGE":"up","CONTAINER_NAME":"kubelet","_HOSTNAME":"node2"}"#);
        let json = writer.end(&serde_json::json!("s=1")).unwrap();
        let chunk = Chunk::parse(&json).unwrap();
        assert_eq!(chunk.app_of("7cc96a84"), Some(Uuid::from_u128(5)));
        assert_eq!(chunk.pod_of("7cc96a84").unwrap().namespace, "shop");
        assert_eq!(chunk.app_of("other"), None);
        assert_eq!(chunk.hosts(), ["node1", "node2"]);
        let raw = chunk.raws().next().unwrap();
        assert!(
            matches!(raw, Raw::Journal { entry, seq: 0, .. } if entry.message.as_deref() == Some("up"))
        );
    }
}
