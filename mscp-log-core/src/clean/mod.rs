//! Cleaning: a raw record in, a stored document or a reason out.
//!
//! One pure function for every source. What it needs from the machine (which
//! application a pod is of, what a pod is called) comes in through [`Node`].

pub mod beat;
pub mod chunk;
pub mod cri;
pub mod journal;
mod redact;

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

pub use redact::{Redaction, RedactionError};

use crate::applog;
use crate::container::{self, PodDir};
use crate::event_id::{EventId, Origin};
use crate::index::{Beats, IndexName};
use crate::record::{Annotation, AnnotationValue, Annotations, Document, Log, Record, Window, tag};

/// A raw record, with what its source knows of it.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is passed on once, and a box would be an allocation for each"
)]
pub enum Raw<'a> {
    /// An entry of the journal, as `journalctl -o json` gives it.
    Journal {
        /// The entry.
        entry: journal::Entry<'a>,
        /// When it was read, in microseconds since the epoch.
        read_us: i64,
        /// Its place among those that were read together.
        seq: i64,
    },
    /// A line of a container's log file, parts joined.
    Container {
        /// The path of the link in `/var/log/containers`.
        path: &'a str,
        /// Where the link leads, below `/var/log/pods`, where that is known.
        target: Option<&'a str>,
        /// The runtime's time, in microseconds since the epoch.
        time_us: i64,
        /// `stdout` or `stderr`.
        stream: &'a str,
        /// The line, without the runtime's prefix.
        message: Cow<'a, str>,
        /// Whether it was longer than is read.
        truncated: bool,
        /// Where the line is.
        position: Position<'a>,
        /// When it was read, in microseconds since the epoch.
        read_us: i64,
    },
    /// A line of a log file of an application.
    File {
        /// The path of the file.
        path: &'a str,
        /// The line, without its end.
        message: Cow<'a, str>,
        /// Whether it was longer than is read.
        truncated: bool,
        /// The time that a configured parser found in the line.
        time_us: Option<i64>,
        /// Where the line is.
        position: Position<'a>,
        /// When it was read, in microseconds since the epoch.
        read_us: i64,
    },
    /// An event of a Beat.
    Beat {
        /// The event.
        event: beat::Event<'a>,
        /// When it was received, in microseconds since the epoch.
        read_us: i64,
        /// Its place in the window that it came in.
        seq: i64,
    },
    /// A pushed record, whose time was checked when it came in.
    Push {
        /// The record.
        record: Record<'a>,
        /// Its identity, made of the request.
        event_id: EventId,
        /// Its place in the request.
        seq: i64,
        /// Whether its time is the time of receipt because it had none.
        time_of_receipt: bool,
    },
}

/// Where a line is: which file, and the byte at which it begins.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// Raised by each truncation and each reuse of the inode.
    pub generation: u64,
    /// A hash of the file's first bytes, where it has enough of them.
    pub fingerprint: Option<&'a [u8]>,
    /// The byte at which the line begins.
    pub offset: u64,
}

/// What the machine knows of pods.
pub trait Node {
    /// The application of the pod: the service of its
    /// `applog-{service uuid}-...` folder.
    fn app_of(&self, pod_uid: &str) -> Option<Uuid>;

    /// The pod's namespace and name, from `/var/log/pods`.
    fn pod_of(&self, pod_uid: &str) -> Option<PodDir<'_>>;

    /// What is said of the machine itself; each label is an annotation
    /// `labels.{name}` of every record.
    fn labels(&self) -> Option<&Labels<'_>> {
        None
    }
}

/// Labels of a machine, by name.
pub type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// A machine that knows no pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNode;

impl Node for NoNode {
    fn app_of(&self, _: &str) -> Option<Uuid> {
        None
    }

    fn pod_of(&self, _: &str) -> Option<PodDir<'_>> {
        None
    }
}

/// What is stamped on every document, and what cleaning goes by.
#[derive(Clone, Copy)]
pub struct Stamp<'a> {
    /// The region's name.
    pub region: &'a str,
    /// The zone of the region.
    pub zone: &'a str,
    /// The Kubernetes cluster.
    pub cluster: Option<&'a str>,
    /// The machine that files are read on.
    pub host: &'a str,
    /// Now, in microseconds since the epoch: `ingest_us`.
    pub now_us: i64,
    /// How old a collected record may be when it is read, in microseconds.
    pub max_past_us: i64,
    /// How far ahead of its reading it may be, in microseconds.
    pub max_future_us: i64,
    /// The beats that have indices of their own.
    pub beats: &'a Beats,
    /// What is taken out of every record.
    pub redaction: &'a Redaction,
    /// What the machine knows of pods.
    pub node: &'a dyn Node,
}

/// What came of a raw record.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost every record is kept, and a box would be an allocation for each"
)]
pub enum Cleaned<'a> {
    /// It is stored.
    Keep(Document<'a>),
    /// It is not wanted; the caller counts it under the reason.
    Drop(DropReason),
}

/// Why a record is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A journal entry of no container.
    NoContainerName,
    /// A line of a pause container, which holds a pod's network and says nothing.
    Pause,
    /// No message at all.
    NoMessage,
}

impl DropReason {
    /// The reason as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoContainerName => "no_container_name",
            Self::Pause => "pause_container",
            Self::NoMessage => "no_message",
        }
    }
}

/// Clean one raw record.
///
/// ```
/// use mscp_log_core::clean::{Cleaned, NoNode, Raw, Redaction, Stamp, clean, journal};
/// use mscp_log_core::index::Beats;
///
/// let entry = journal::Entry::parse(br#"{"MESSAGE":"up","CONTAINER_NAME":"kubelet",
///   "CONTAINER_ID":"905f38550000","_HOSTNAME":"node1","__CURSOR":"s=1",
///   "__REALTIME_TIMESTAMP":"1494323963862751"}"#)?;
/// let (beats, redaction) = (Beats::default(), Redaction::none());
/// let stamp = Stamp {
///     region: "local", zone: "default", cluster: None, host: "node1",
///     now_us: 1_494_323_964_000_000, max_past_us: 86_400_000_000, max_future_us: 600_000_000,
///     beats: &beats, redaction: &redaction, node: &NoNode,
/// };
/// let raw = Raw::Journal { entry, read_us: stamp.now_us, seq: 0 };
/// let Cleaned::Keep(document) = clean(raw, &stamp) else { panic!("kept") };
/// assert_eq!(document.pod.as_deref(), Some("kubelet-node1"));
/// assert_eq!(document.physical_index(), "logstash-journalbeat-node1-2017.05.09");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn clean<'a>(raw: Raw<'a>, stamp: &Stamp<'a>) -> Cleaned<'a> {
    let cleaned = match raw {
        Raw::Journal {
            entry,
            read_us,
            seq,
        } => journal_entry(entry, read_us, seq, stamp),
        Raw::Container {
            path,
            target,
            time_us,
            stream,
            message,
            truncated,
            position,
            read_us,
        } => {
            let mut document = line(path, message, position, "journalbeat", stamp);
            tag_truncated(&mut document, truncated);
            set_time(&mut document, Some(time_us), read_us, stamp);
            document.stream = word(stream);
            place_of_link(&mut document, path, target, stamp).map(|()| document)
        }
        Raw::File {
            path,
            message,
            truncated,
            time_us,
            position,
            read_us,
        } => {
            let mut document = line(path, message, position, "filebeat", stamp);
            tag_truncated(&mut document, truncated);
            set_time(&mut document, time_us.or(Some(read_us)), read_us, stamp);
            place_of_log_file(&mut document, path, stamp);
            Ok(document)
        }
        Raw::Beat {
            event,
            read_us,
            seq,
        } => beat_event(event, read_us, seq, stamp),
        Raw::Push {
            record,
            event_id,
            seq,
            time_of_receipt,
        } => Ok(pushed(record, event_id, seq, time_of_receipt, stamp)),
    };
    match cleaned {
        Ok(mut document) => {
            // Words made of annotations are made of what is left of them.
            stamp.redaction.apply(&mut document);
            take_level_and_trace(&mut document);
            stamp.redaction.apply_to_words(&mut document);
            Cleaned::Keep(document)
        }
        Err(reason) => Cleaned::Drop(reason),
    }
}

fn journal_entry<'a>(
    entry: journal::Entry<'a>,
    read_us: i64,
    seq: i64,
    stamp: &Stamp<'a>,
) -> Result<Document<'a>, DropReason> {
    let stream = entry.stream();
    let filled = |text: Option<Cow<'a, str>>| text.filter(|text| !text.is_empty());
    let name = filled(entry.container_name).ok_or(DropReason::NoContainerName)?;
    let message = entry.message.ok_or(DropReason::NoMessage)?;
    let host = filled(entry.hostname).unwrap_or(Cow::Borrowed(stamp.host));
    let container_id = filled(entry.container_id_full).or(filled(entry.container_id));
    let event_id = match &filled(entry.cursor) {
        Some(cursor) => EventId::of(&Origin::Journal { cursor }),
        None => EventId::of(&Origin::Beat {
            host: &host,
            container_id: container_id.as_deref().unwrap_or_default(),
            time_us: entry.realtime_us.unwrap_or(read_us),
            message: message.as_bytes(),
        }),
    };
    let index = IndexName::new(stamp.beats, "journalbeat", &host);
    let mut document = stamped(event_id, message, index, seq, stamp);
    tag_truncated(&mut document, entry.truncated);
    set_time(&mut document, entry.realtime_us, read_us, stamp);
    document.stream = stream.map(Cow::Borrowed);
    document.hostname = Some(host);
    document.container_id = container_id;
    place_of_container(&mut document, name, stamp)?;
    Ok(document)
}

fn beat_event<'a>(
    event: beat::Event<'a>,
    read_us: i64,
    seq: i64,
    stamp: &Stamp<'a>,
) -> Result<Document<'a>, DropReason> {
    let message = event.message.ok_or(DropReason::NoMessage)?;
    let host = event.hostname.unwrap_or_default();
    let event_id = match (&event.path, event.offset) {
        _ if let Some(cursor) = &event.cursor => EventId::of(&Origin::Journal { cursor }),
        (Some(_), Some(offset)) if let Some([device, inode, generation]) = event.position => {
            EventId::of(&Origin::File {
                host: &host,
                device,
                inode,
                generation,
                fingerprint: None,
                offset,
            })
        }
        (Some(path), Some(offset)) => EventId::of(&Origin::BeatFile {
            host: &host,
            path,
            file: &event.file,
            offset,
            message: message.as_bytes(),
        }),
        _ => EventId::of(&Origin::Beat {
            host: &host,
            container_id: event.container_id.as_deref().unwrap_or_default(),
            time_us: event.time_us.unwrap_or(read_us),
            message: message.as_bytes(),
        }),
    };
    let index = IndexName::new(stamp.beats, &event.beat, &host);
    let seq = event
        .offset
        .map_or(seq, |offset| i64::try_from(offset).unwrap_or(i64::MAX));
    let mut document = stamped(event_id, message, index, seq, stamp);
    tag_truncated(&mut document, event.truncated);
    set_time(&mut document, event.time_us, read_us, stamp);
    document.zone = event.zone.or(document.zone);
    document.cluster = event.cluster.or(document.cluster);
    if event.is_unreadable {
        document.tags.push(Cow::Borrowed(tag::UNREADABLE));
    }
    document.kind = event.kind;
    document.hostname = Some(host.clone()).filter(|host| !host.is_empty());
    document.container_id = event.container_id;
    document.stream = event.stream;
    document.annotations = event.annotations;
    document.log.offset = event.offset.and_then(|offset| i64::try_from(offset).ok());
    let says = |name: &str| is_component(name) || container::docker(name, &host).is_some();
    let path = event.path.as_deref().unwrap_or_default();
    let target = event.target.as_deref();
    let of_container =
        container::link(path).is_some() || container::pod_log(target.unwrap_or(path)).is_some();
    let elsewhere = of_container || applog::log_file(path).is_some() || event.pod.name.is_some();
    match event.container_name {
        Some(name) if says(&name) || !elsewhere => {
            place_of_container(&mut document, name, stamp)?;
        }
        name => {
            if of_container {
                place_of_link(&mut document, path, target, stamp)?;
            } else {
                place_of_log_file(&mut document, path, stamp);
            }
            if let Some(name) = name {
                add_name(&mut document, name);
            }
        }
    }
    place_of_pod(&mut document, event.pod, stamp);
    document.log.path = event.path;
    Ok(document)
}

fn pushed<'a>(
    record: Record<'a>,
    event_id: EventId,
    seq: i64,
    time_of_receipt: bool,
    stamp: &Stamp<'a>,
) -> Document<'a> {
    let index = IndexName::new(stamp.beats, "http", stamp.region);
    let mut document = stamped(event_id, record.message, index, seq, stamp);
    document.realtime_us = record.time_us;
    if time_of_receipt {
        document.tags.push(Cow::Borrowed(tag::TIME_OF_RECEIPT));
    }
    document.kind = Some(record.kind);
    document.appid = Some(app(record.appid));
    document.annotations = record.annotations;
    document
}

/// A line of a file on this machine.
fn line<'a>(
    path: &'a str,
    message: Cow<'a, str>,
    position: Position<'a>,
    beat: &str,
    stamp: &Stamp<'a>,
) -> Document<'a> {
    let event_id = EventId::of(&Origin::File {
        host: stamp.host,
        device: position.device,
        inode: position.inode,
        generation: position.generation,
        fingerprint: position.fingerprint,
        offset: position.offset,
    });
    let offset = i64::try_from(position.offset).unwrap_or(i64::MAX);
    let index = IndexName::new(stamp.beats, beat, stamp.host);
    let mut document = stamped(event_id, message, index, offset, stamp);
    document.hostname = word(stamp.host);
    document.log = Log {
        path: Some(Cow::Borrowed(path)),
        offset: Some(offset),
        dir: None,
    };
    document
}

fn tag_truncated(document: &mut Document<'_>, truncated: bool) {
    if truncated {
        document.tags.push(Cow::Borrowed(tag::TRUNCATED));
    }
}

/// A document with what every document has; its time is not yet set.
fn stamped<'a>(
    event_id: EventId,
    message: Cow<'a, str>,
    index: IndexName,
    seq: i64,
    stamp: &Stamp<'a>,
) -> Document<'a> {
    Document {
        realtime_us: 0,
        event_id,
        message,
        index: Cow::Owned(index.into_string()),
        kind: None,
        region: Some(Cow::Borrowed(stamp.region)),
        zone: word(stamp.zone),
        cluster: stamp.cluster.map(Cow::Borrowed),
        hostname: None,
        container: None,
        containerid: None,
        container_id: None,
        controler: None,
        podid: None,
        pod: None,
        namespace: None,
        uuid: None,
        resourceid: None,
        appid: None,
        log: Log::default(),
        level: None,
        stream: None,
        trace_id: None,
        span_id: None,
        annotations: stamp.node.labels().map(labels).unwrap_or_default(),
        source_time_ms: None,
        ingest_us: stamp.now_us,
        seq,
        tags: Vec::new(),
    }
}

fn labels<'a>(labels: &'a Labels<'a>) -> Annotations<'a> {
    let storable = labels.iter().filter_map(|(name, value)| {
        let name = format!("labels.{name}");
        let key = crate::record::storable_key(&name)?.into_owned();
        let value = AnnotationValue::String(Cow::Borrowed(&**value));
        Some((Cow::Owned(key), value))
    });
    storable.collect()
}

/// The record's own time, where it lies in the window around its reading.
fn set_time(document: &mut Document<'_>, own: Option<i64>, read_us: i64, stamp: &Stamp<'_>) {
    let window = Window {
        now_us: read_us,
        max_past_us: stamp.max_past_us,
        max_future_us: stamp.max_future_us,
    };
    match own {
        Some(time_us) if window.holds(time_us) => document.realtime_us = time_us,
        Some(time_us) => {
            document.realtime_us = read_us;
            document.source_time_ms = Some(time_us.div_euclid(1_000));
            document.tags.push(Cow::Borrowed(tag::TIME_OUT_OF_WINDOW));
        }
        None => {
            document.realtime_us = read_us;
            document.tags.push(Cow::Borrowed(tag::TIME_OF_RECEIPT));
        }
    }
}

const NIL_UUID: &str = "00000000-0000-0000-0000-000000000000";
const NIL_ID: &str = "00000000";

/// What the name of a container says.
fn place_of_container<'a>(
    document: &mut Document<'a>,
    name: Cow<'a, str>,
    stamp: &Stamp<'a>,
) -> Result<(), DropReason> {
    let host = document.hostname.as_deref().unwrap_or_default();
    if is_component(&name) {
        // The original has docker's short id here, `CONTAINER_ID`.
        const SHORT_ID: usize = 12;
        let id = document.container_id.as_deref().unwrap_or_default();
        let id = id.get(..SHORT_ID).unwrap_or(id);
        let whole = format!("{name}_{host}_{id}");
        document.pod = Some(Cow::Owned(format!("{name}-{host}")));
        document.podid = Some(Cow::Owned(host.to_owned()));
        document.namespace = Some(Cow::Borrowed("default"));
        document.uuid = Some(Cow::Borrowed(NIL_UUID));
        document.resourceid = Some(Cow::Borrowed(NIL_ID));
        document.containerid = Some(Cow::Borrowed(NIL_ID));
        document.container = Some(name.clone());
        document.controler = Some(name);
        add_name(document, Cow::Owned(whole));
        return Ok(());
    }
    let known = match &name {
        Cow::Borrowed(text) => {
            container::docker(text, host).map(|parts| parts_of(&parts, Cow::Borrowed))
        }
        Cow::Owned(text) => container::docker(text, host)
            .map(|parts| parts_of(&parts, |part: &str| Cow::Owned(part.to_owned()))),
    };
    let Some(parts) = known else {
        document
            .tags
            .push(Cow::Borrowed(tag::CONTAINER_NAME_UNKNOWN));
        add_name(document, name);
        return Ok(());
    };
    if parts.container == "POD" {
        return Err(DropReason::Pause);
    }
    document.appid = stamp.node.app_of(&parts.uuid).map(app);
    document.container = Some(parts.container);
    document.containerid = parts.containerid;
    document.controler = Some(parts.controler);
    document.podid = Some(parts.podid);
    document.pod = Some(parts.pod);
    document.namespace = Some(parts.namespace);
    document.uuid = Some(parts.uuid);
    document.resourceid = Some(parts.resourceid);
    Ok(())
}

/// The parts of a name with a lifetime of their own.
struct Parts<'a> {
    container: Cow<'a, str>,
    containerid: Option<Cow<'a, str>>,
    controler: Cow<'a, str>,
    podid: Cow<'a, str>,
    pod: Cow<'a, str>,
    namespace: Cow<'a, str>,
    uuid: Cow<'a, str>,
    resourceid: Cow<'a, str>,
}

fn parts_of<'n, 'a>(
    name: &container::Name<'n>,
    part: impl Fn(&'n str) -> Cow<'a, str>,
) -> Parts<'a> {
    Parts {
        container: part(name.container),
        containerid: name.containerid.map(&part),
        controler: part(name.controler),
        podid: part(name.podid),
        pod: part(name.pod),
        namespace: part(name.namespace),
        uuid: part(name.uuid),
        resourceid: part(name.resourceid),
    }
}

/// `kubelet`, or `etcd` and digits, as a whole: containers of the platform
/// that no pod has.
fn is_component(name: &str) -> bool {
    name == "kubelet"
        || name.strip_prefix("etcd").is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// What the link to a container's log says, and where it leads. A file below
/// `/var/log/pods` without a link is where one would lead.
fn place_of_link(
    document: &mut Document<'_>,
    path: &str,
    target: Option<&str>,
    stamp: &Stamp<'_>,
) -> Result<(), DropReason> {
    let link = container::link(path);
    // A path below `/var/log/pods` is where a link would lead.
    let log = container::pod_log(target.unwrap_or(path));
    let container = link
        .map(|link| link.container)
        .or(log.map(|log| log.container));
    let pod = link.map(|link| link.pod).or(log.map(|log| log.pod));
    let namespace = link
        .map(|link| link.namespace)
        .or(log.map(|log| log.namespace));
    let (Some(container), Some(pod)) = (container, pod) else {
        document
            .tags
            .push(Cow::Borrowed(tag::CONTAINER_NAME_UNKNOWN));
        let name = path.rsplit('/').next().unwrap_or(path);
        add_name(document, Cow::Owned(name.to_owned()));
        return Ok(());
    };
    if container == "POD" {
        return Err(DropReason::Pause);
    }
    set_pod(document, pod);
    document.container = owned(container);
    document.namespace = namespace.and_then(owned);
    if let Some(link) = link {
        document.container_id = owned(link.id);
    }
    if let Some(log) = log {
        document.uuid = owned(log.uuid);
        document.resourceid = owned(log.attempt);
        document.appid = stamp.node.app_of(log.uuid).map(app);
    }
    Ok(())
}

/// What the path of an application's log file says, and the node of its pod.
fn place_of_log_file(document: &mut Document<'_>, path: &str, stamp: &Stamp<'_>) {
    let Some(file) = applog::log_file(path) else {
        return;
    };
    document.appid = Some(app(file.volume.service()));
    document.uuid = owned(file.pod_uid);
    document.log.dir = owned(file.volume.name());
    if let Some(pod) = stamp.node.pod_of(file.pod_uid) {
        document.namespace = owned(pod.namespace);
        set_pod(document, pod.pod);
    }
}

/// What a Beat asked Kubernetes for, where nothing else said it.
fn place_of_pod<'a>(document: &mut Document<'a>, pod: beat::Pod<'a>, stamp: &Stamp<'_>) {
    if document.pod.is_none()
        && let Some(name) = &pod.name
    {
        set_pod(document, name);
    }
    let fields = [
        (&mut document.namespace, pod.namespace),
        (&mut document.uuid, pod.uid),
        (&mut document.container, pod.container),
    ];
    for (field, told) in fields {
        *field = field.take().or(told);
    }
    if document.appid.is_none() {
        let uid = document.uuid.as_deref();
        let known = uid.and_then(|uid| stamp.node.app_of(uid));
        document.appid = known.or(pod.service).map(app);
    }
}

fn set_pod(document: &mut Document<'_>, pod: &str) {
    let host = document.hostname.as_deref().unwrap_or_default();
    let (controler, podid) = container::split_pod(pod, host);
    (document.controler, document.podid) = (owned(controler), owned(podid));
    document.pod = owned(pod);
}

/// A container name that no field holds is kept as an annotation.
fn add_name<'a>(document: &mut Document<'a>, name: Cow<'a, str>) {
    let value = AnnotationValue::String(name);
    document.annotations.push("container_name", value);
}

/// `level`, `trace_id` and `span_id` have fields of their own; a sender gives
/// them as annotations, under these names or those of the Elastic Common
/// Schema, and they stay there too.
fn take_level_and_trace(document: &mut Document<'_>) {
    const MAX_WORD_BYTES: usize = 64;
    for Annotation { key, value } in document.annotations.iter() {
        let field = match &**key {
            "level" | "log.level" => &mut document.level,
            "trace_id" | "trace.id" => &mut document.trace_id,
            "span_id" | "span.id" => &mut document.span_id,
            _ => continue,
        };
        if let AnnotationValue::String(text) = value
            && field.is_none()
            && (1..=MAX_WORD_BYTES).contains(&text.len())
        {
            *field = Some(Cow::Owned(text.to_lowercase()));
        }
    }
}

fn word(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

fn owned(text: &str) -> Option<Cow<'static, str>> {
    (!text.is_empty()).then(|| Cow::Owned(text.to_owned()))
}

fn app(appid: Uuid) -> Cow<'static, str> {
    Cow::Owned(appid.hyphenated().to_string())
}

#[cfg(test)]
mod tests;
