//! Log volumes in Kubernetes manifests: what `mscp-log kube inject` does.
//!
//! A pod whose annotations name a service and its log directories gets an
//! `emptyDir` volume for each directory, named as [`Volume`] names it, and
//! every container a mount of it. The text is changed where something is added
//! and nowhere else; what came out is read again and compared with what was
//! meant before it is given away.

mod edit;

use mscp_log_core::applog::{Volume, VolumeError};
use saphyr::{LoadableYamlNode as _, MarkedYaml, ScanError};
use uuid::Uuid;

use edit::{Growth, Item};

/// The annotation that holds the service's UUID.
pub const SERVICE: &str = "mscp.io/service-uuid";
/// The annotation that holds the log directories: `name=path,...`.
pub const DIRECTORIES: &str = "mscp.io/log-dirs";

/// Why a manifest is not changed.
#[derive(Debug, thiserror::Error)]
#[error("document {document}{object}: {fault}")]
pub struct InjectError {
    /// Its place in the text, from 1.
    pub document: usize,
    /// `" (Deployment web)"`, where that is known.
    pub object: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Yaml(#[from] ScanError),
    /// One annotation is there, and the other is not.
    #[error("the annotation {0} is missing; {SERVICE} and {DIRECTORIES} belong together")]
    Half(&'static str),
    /// An annotation is no string.
    #[error("{0}: expected a string")]
    NoText(&'static str),
    /// The service is none.
    #[error("{SERVICE}: expected a UUID, found {0:?}")]
    Service(String),
    /// The list of directories is none.
    #[error("{DIRECTORIES}: {0}")]
    Directories(String),
    /// There are no containers to mount into.
    #[error("expected containers in the pod's spec")]
    Containers,
    /// Something else is there already.
    #[error("{0}")]
    Taken(String),
    /// The text cannot be changed in place.
    #[error(
        "{0} cannot be added to without changing the rest; write it, and what it is in, as plain lists"
    )]
    Form(&'static str),
}

impl From<VolumeError> for Fault {
    fn from(error: VolumeError) -> Self {
        Self::Directories(error.to_string())
    }
}

/// What was added to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// `Deployment web`.
    pub object: String,
    /// Volumes that were not there.
    pub volumes: usize,
    /// Mounts that were not there.
    pub mounts: usize,
}

/// Add log volumes to every object of `text`, one or more YAML or JSON
/// documents, that asks for them. Done twice it changes nothing more.
///
/// ```
/// let manifest = "
/// kind: Pod
/// metadata:
///   name: web
///   annotations:
///     mscp.io/service-uuid: caa0c2f0-1116-495f-8f09-3cd023cc14a2
///     mscp.io/log-dirs: access=/var/log/web  # by nginx
/// spec:
///   containers:
///     - name: nginx
/// ";
/// let (injected, objects) = mscp_log_server::kube::inject(manifest)?;
/// assert_eq!((objects[0].volumes, objects[0].mounts), (1, 1));
/// assert!(injected.contains("# by nginx"));
/// assert!(injected.contains("name: applog-caa0c2f0-1116-495f-8f09-3cd023cc14a2-endname-access"));
/// # Ok::<(), mscp_log_server::kube::InjectError>(())
/// ```
///
/// # Errors
/// The first thing that is wrong, with the document that it is in.
pub fn inject(text: &str) -> Result<(String, Vec<Injected>), InjectError> {
    let mut out = String::with_capacity(text.len());
    let mut objects = Vec::new();
    let mut place = 0;
    for part in documents(text) {
        let Part::Document(document) = part else {
            out.push_str(part.text());
            continue;
        };
        place += 1;
        let failed = |object: String, fault| InjectError {
            document: place,
            object,
            fault,
        };
        let value = parse(document).map_err(|fault| failed(String::new(), fault))?;
        let mut pods = Vec::new();
        find_pods(&value, &[], None, &mut pods);
        let mut changes = Vec::new();
        for pod in &pods {
            let named = |fault| failed(format!(" ({})", pod.object), fault);
            let Some(wanted) = Wanted::of(pod).map_err(named)? else {
                continue;
            };
            let (injected, more) = wanted.changes(pod).map_err(named)?;
            objects.push(injected);
            changes.extend(more);
        }
        let changed = apply(document, &value, &changes);
        out.push_str(&changed.map_err(|fault| failed(String::new(), fault))?);
    }
    Ok((out, objects))
}

/// A stretch of the text.
enum Part<'t> {
    Document(&'t str),
    /// A line that divides documents.
    Line(&'t str),
}

impl<'t> Part<'t> {
    fn text(&self) -> &'t str {
        match self {
            Self::Document(text) | Self::Line(text) => text,
        }
    }
}

/// Documents and the lines between them (YAML 1.2, 9.1.4): `---` and `...` at
/// the beginning of a line are markers wherever they are.
fn documents(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line
            .strip_prefix("---")
            .or_else(|| line.strip_prefix("..."));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            parts.push(Part::Document(&text[begin..at]));
            parts.push(Part::Line(line));
            begin = at + line.len();
        }
        at += line.len();
    }
    parts.push(Part::Document(&text[begin..]));
    parts
}

type Value = MarkedYaml<'static>;

/// One document; no document is null.
fn parse(text: &str) -> Result<Value, Fault> {
    let mut documents = MarkedYaml::load_from_str(text)?;
    let null = || MarkedYaml::value_from_str("~");
    Ok(documents.pop().unwrap_or_else(null))
}

fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value.data.as_mapping_get(key)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    get(value, key)?.data.as_str()
}

/// Where something is in a document.
type Path = Vec<Step>;

/// A step into a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Key(&'static str),
    Index(usize),
}

/// An object that makes pods.
struct Pod<'v> {
    /// `Deployment web`.
    object: String,
    /// Its annotations: those of its pods, then its own.
    annotations: Vec<&'v Value>,
    /// The pods' spec.
    spec: Option<&'v Value>,
    path: Path,
}

/// Where the metadata and the spec of its pods are in an object of this kind.
fn template_of(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&[]),
        "PodTemplate" => Some(&["template"]),
        "Deployment"
        | "DaemonSet"
        | "StatefulSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some(&["spec", "template"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Every object below `value` that makes pods; `kind` is that of the items of
/// a typed list.
fn find_pods<'v>(value: &'v Value, path: &[Step], kind: Option<&str>, pods: &mut Vec<Pod<'v>>) {
    let Some(kind) = text(value, "kind").or(kind) else {
        return;
    };
    if let Some(items) = get(value, "items").and_then(|items| items.data.as_sequence()) {
        let of_items = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
        for (index, item) in items.iter().enumerate() {
            let path = below(path, [Step::Key("items"), Step::Index(index)]);
            find_pods(item, &path, of_items, pods);
        }
        return;
    }
    let Some(template) = template_of(kind) else {
        return;
    };
    let name = get(value, "metadata").and_then(|metadata| text(metadata, "name"));
    let name = name.unwrap_or("without a name");
    let pod = template
        .iter()
        .try_fold(value, |value, key| get(value, key));
    let annotations_of = |object: &'v Value| get(get(object, "metadata")?, "annotations");
    let annotations = [pod, Some(value)].into_iter().flatten();
    let keys = template.iter().chain(&["spec"]);
    pods.push(Pod {
        object: format!("{kind} {name}"),
        annotations: annotations.filter_map(annotations_of).collect(),
        spec: pod.and_then(|pod| get(pod, "spec")),
        path: below(path, keys.map(|key| Step::Key(key))),
    });
}

fn below(path: &[Step], more: impl IntoIterator<Item = Step>) -> Path {
    path.iter().copied().chain(more).collect()
}

/// The log directories that an object asks for.
struct Wanted(Vec<(Volume, String)>);

impl Wanted {
    /// `None`: it asks for none.
    fn of(pod: &Pod<'_>) -> Result<Option<Self>, Fault> {
        let annotation = |name: &'static str| {
            let mut known = pod.annotations.iter();
            let Some(found) = known.find_map(|annotations| get(annotations, name)) else {
                return Ok(None);
            };
            let text = found.data.as_str();
            text.map(Some).ok_or(Fault::NoText(name))
        };
        let (service, directories) = match (annotation(SERVICE)?, annotation(DIRECTORIES)?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(Fault::Half(DIRECTORIES)),
            (None, Some(_)) => return Err(Fault::Half(SERVICE)),
            (Some(service), Some(directories)) => (service, directories),
        };
        let uuid = Uuid::try_parse(service).map_err(|_| Fault::Service(service.to_owned()))?;
        let mut wanted: Vec<(Volume, String)> = Vec::new();
        for directory in directories
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
        {
            let wrong = |reason: &str| Fault::Directories(format!("{directory:?}: {reason}"));
            let (name, path) = directory
                .split_once('=')
                .ok_or_else(|| wrong("expected name=path"))?;
            let volume = Volume::new(uuid, name.trim())?;
            let path = path.trim();
            let mut segments = path.split('/').skip(1);
            let good = path.starts_with('/')
                && path.len() > 1
                && segments.all(|segment| !matches!(segment, "" | "." | ".."))
                && !path.contains(':');
            if !good {
                return Err(wrong(
                    "expected an absolute path without `.`, `..`, `:` or a slash at its end",
                ));
            }
            if wanted
                .iter()
                .any(|(known, at)| known == &volume || at == path)
            {
                return Err(wrong("expected each name and each path once"));
            }
            wanted.push((volume, path.to_owned()));
        }
        if wanted.is_empty() {
            return Err(Fault::Directories("expected name=path,...".to_owned()));
        }
        Ok(Some(Self(wanted)))
    }

    /// What is to be added to the lists of the pod's spec.
    fn changes(&self, pod: &Pod<'_>) -> Result<(Injected, Vec<Growth>), Fault> {
        let containers = pod.spec.and_then(|spec| get(spec, "containers"));
        let containers = containers.and_then(|all| all.data.as_sequence());
        let containers = containers
            .filter(|all| !all.is_empty())
            .ok_or(Fault::Containers)?;
        let known = list(pod.spec, "volumes")?;
        let mut volumes = Growth::new(pod.path.clone(), "volumes");
        for (volume, _) in &self.0 {
            let name = volume.to_string();
            match known.iter().find(|one| text(one, "name") == Some(&name)) {
                None => volumes.items.push(Item::Volume(name)),
                Some(one) if get(one, "emptyDir").is_some() => {}
                Some(_) => {
                    let taken = format!("the volume {name} is there and is no emptyDir");
                    return Err(Fault::Taken(taken));
                }
            }
        }
        let mut changes = Vec::new();
        for (index, container) in containers.iter().enumerate() {
            let steps = [Step::Key("containers"), Step::Index(index)];
            let mut mounts = Growth::new(below(&pod.path, steps), "volumeMounts");
            mounts.items = self.mounts(container)?;
            changes.push(mounts);
        }
        let injected = Injected {
            object: pod.object.clone(),
            volumes: volumes.items.len(),
            mounts: changes.iter().map(|mounts| mounts.items.len()).sum(),
        };
        // Behind the mounts: where both come at the end of the pod's spec, so do these.
        changes.push(volumes);
        changes.retain(|growth| !growth.items.is_empty());
        Ok((injected, changes))
    }

    /// The mounts that a container has not.
    fn mounts(&self, container: &Value) -> Result<Vec<Item>, Fault> {
        let known = list(Some(container), "volumeMounts")?;
        let mut missing = Vec::new();
        for (volume, path) in &self.0 {
            let name = volume.to_string();
            let is_at = |mount: &&Value| {
                text(mount, "mountPath").map(|path| path.trim_end_matches('/')) == Some(path)
            };
            match known.iter().find(is_at) {
                None => missing.push(Item::Mount(name, path.clone())),
                Some(one) if text(one, "name") == Some(&name) => {}
                Some(one) => {
                    return Err(Fault::Taken(format!(
                        "container {}: {path} is where the volume {} is mounted",
                        text(container, "name").unwrap_or_default(),
                        text(one, "name").unwrap_or_default(),
                    )));
                }
            }
        }
        Ok(missing)
    }
}

/// The text with all `changes`, which is read again and compared.
fn apply(text: &str, value: &Value, changes: &[Growth]) -> Result<String, Fault> {
    let Some(first) = changes.first() else {
        return Ok(text.to_owned());
    };
    let mut meant = value.clone();
    let mut edits = Vec::new();
    for change in changes {
        let form = || Fault::Form(change.key);
        change.grow(&mut meant).ok_or_else(form)?;
        edits.push(change.edit(text, value).ok_or_else(form)?);
    }
    let changed = edit::apply(text, edits);
    match parse(&changed) {
        Ok(read) if read == meant => Ok(changed),
        _ => Err(Fault::Form(first.key)),
    }
}

/// A list of mappings, empty where there is none.
fn list<'v>(of: Option<&'v Value>, key: &str) -> Result<&'v [Value], Fault> {
    let found = of.and_then(|of| get(of, key));
    let Some(list) = found.filter(|list| !list.data.is_null()) else {
        return Ok(&[]);
    };
    let list = list.data.as_sequence();
    list.map(Vec::as_slice)
        .ok_or_else(|| Fault::Taken(format!("expected a list of {key}")))
}

#[cfg(test)]
mod tests;
