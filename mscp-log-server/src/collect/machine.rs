//! The machine that records are read on: its name and place, and the pods on it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mscp_log_core::applog::Volume;
use mscp_log_core::clean::Labels;
use mscp_log_core::clean::chunk::{self, FileKind, Head, Pod};
use mscp_log_core::{applog, container};
use uuid::Uuid;

use crate::config;

/// How long what is known of pods is believed.
const KNOWN: Duration = Duration::from_secs(30);

/// How long until the folders are looked through for a pod that is not known.
const UNKNOWN: Duration = Duration::from_secs(1);

/// What is stamped on every chunk.
#[derive(Debug)]
pub struct Machine {
    /// The machine's name.
    pub host: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its Kubernetes cluster.
    pub cluster: Option<String>,
    /// What else is said of it, by name.
    pub labels: BTreeMap<String, String>,
    /// The folder with a folder of volumes for each pod.
    pub volumes: PathBuf,
    /// The folder with a folder of container logs for each pod.
    pub pods: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    since: Option<Instant>,
    /// By uid: namespace and name.
    pods: HashMap<String, (String, String)>,
    /// By uid.
    apps: HashMap<String, Option<Uuid>>,
}

fn borrowed(labels: &BTreeMap<String, String>) -> Labels<'_> {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

impl Machine {
    /// The machine `host`, as `config` describes it.
    #[must_use]
    pub fn new(host: String, config: &config::Collect) -> Self {
        Self {
            host,
            zone: config.zone.clone(),
            cluster: config.cluster.clone(),
            labels: config.labels.clone(),
            volumes: config.volumes.clone(),
            pods: config.pods.clone(),
            known: Mutex::default(),
        }
    }

    /// How a chunk of the lines of `file` begins.
    pub(super) fn head_of_file<'h>(&'h self, read_us: i64, mut file: chunk::File<'h>) -> Head<'h> {
        if file.kind == FileKind::Container
            && let Some(on_the_way) = way_to_docker(&file)
        {
            file.target = Some(on_the_way.into());
        }
        let target = file.target.as_deref().unwrap_or(&file.path);
        let uid = applog::log_file(&file.path)
            .map(|found| found.pod_uid)
            .or_else(|| container::pod_log(target).map(|found| found.uuid))
            .map(str::to_owned);
        let mut pods = BTreeMap::new();
        if let Some(uid) = uid
            && let Some(pod) = self.pod(&uid)
        {
            pods.insert(Cow::Owned(uid), pod);
        }
        self.head(read_us, pods, Some(file))
    }

    /// How a chunk of journal entries of these pods begins.
    pub(super) fn head<'h>(
        &'h self,
        read_us: i64,
        pods: BTreeMap<Cow<'h, str>, Pod<'h>>,
        file: Option<chunk::File<'h>>,
    ) -> Head<'h> {
        Head {
            host: Cow::Borrowed(&self.host),
            zone: self.zone.as_deref().map(Cow::Borrowed),
            cluster: self.cluster.as_deref().map(Cow::Borrowed),
            labels: borrowed(&self.labels),
            read_us,
            pods,
            file,
        }
    }

    /// The uid of the pod that docker's name of a container tells.
    pub(super) fn pod_of(&self, container_name: &str, host: Option<&str>) -> Option<String> {
        let host = host.unwrap_or(&self.host);
        Some(container::docker(container_name, host)?.uuid.to_owned())
    }

    /// What is known of a pod; `None` where nothing is.
    pub(super) fn pod(&self, uid: &str) -> Option<Pod<'static>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let age = known.since.map(|since| since.elapsed());
        let fresh = match known.pods.contains_key(uid) {
            true => age.is_some_and(|age| age < KNOWN),
            false => age.is_some_and(|age| age < UNKNOWN),
        };
        if !fresh {
            known.pods = self.read_pods();
            known.apps.clear();
            known.since = Some(Instant::now());
        }
        let appid = match known.apps.get(uid) {
            Some(app) => *app,
            None => {
                let app = self.read_app(uid);
                known.apps.insert(uid.to_owned(), app);
                app
            }
        };
        let (namespace, pod) = known.pods.get(uid).cloned().unwrap_or_default();
        (appid.is_some() || !pod.is_empty()).then(|| Pod {
            appid,
            namespace: namespace.into(),
            pod: pod.into(),
        })
    }

    fn read_pods(&self) -> HashMap<String, (String, String)> {
        let folders = fs::read_dir(&self.pods).into_iter().flatten();
        let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
        let pods = names.filter_map(|name| {
            let found = container::pod_dir(&name)?;
            let of = (found.namespace.to_owned(), found.pod.to_owned());
            Some((found.uuid.to_owned(), of))
        });
        pods.collect()
    }

    /// The service whose log volume the pod has; the first by name, where it
    /// has several.
    fn read_app(&self, uid: &str) -> Option<Uuid> {
        // A uid from outside is a name of a folder and nothing else.
        if uid.contains('/') || uid.starts_with('.') {
            return None;
        }
        let folder = self
            .volumes
            .join(uid)
            .join("volumes/kubernetes.io~empty-dir");
        let names = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<String> = names
            .filter_map(|volume| volume.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        let mut volumes = names.iter().filter_map(|name| name.parse::<Volume>().ok());
        volumes.next().map(|volume| volume.service())
    }
}

/// Docker's files lie in a folder of its own: the link leads there by way of
/// `/var/log/pods`, which says whose it is.
fn way_to_docker(file: &chunk::File<'_>) -> Option<String> {
    let end = file.target.as_deref()?;
    if container::pod_log(end).is_some() {
        return None;
    }
    let first = fs::read_link(&*file.path).ok()?.into_os_string();
    let first = first.into_string().ok()?;
    container::pod_log(&first).is_some().then_some(first)
}

/// What the system calls this machine.
#[must_use]
pub fn name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let names = files
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let mut names = names.map(|name| name.trim().to_owned());
    names.find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const UID: &str = "7cc96a84-7ece-6fad-70a9-8b9db56bd08d";
    const APP: &str = "caa0c2f0-1116-495f-8f09-3cd023cc14a2";

    #[test]
    fn folders_tell_what_a_pod_is_called_and_of_which_application_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (volumes, pods) = (folder.path().join("k8spods"), folder.path().join("pods"));
        let volume = format!("{UID}/volumes/kubernetes.io~empty-dir/applog-{APP}-endname-access");
        fs::create_dir_all(volumes.join(volume)).unwrap();
        fs::create_dir_all(pods.join(format!("shop_web-0_{UID}"))).unwrap();
        let config = config::Collect {
            volumes,
            pods,
            ..config::Config::default().collect
        };
        let machine = Machine::new("node1".to_owned(), &config);
        let known = machine.pod(UID).unwrap();
        assert_eq!((&*known.namespace, &*known.pod), ("shop", "web-0"));
        assert_eq!(known.appid.unwrap().to_string(), APP);
        assert_eq!(machine.pod("../../etc"), None);
    }

    #[test]
    fn a_file_of_docker_is_of_the_pod_on_the_way_of_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let pods = folder.path().join("pods");
        let of_pod = pods.join(format!("shop_web-0_{UID}/web"));
        fs::create_dir_all(&of_pod).unwrap();
        let (docker, link) = (
            folder.path().join("0-json.log"),
            folder.path().join("l.log"),
        );
        let between = of_pod.join("3.log");
        std::os::unix::fs::symlink(&docker, &between).unwrap();
        std::os::unix::fs::symlink(&between, &link).unwrap();
        let config = config::Collect {
            pods,
            ..config::Config::default().collect
        };
        let machine = Machine::new("node1".to_owned(), &config);
        let file = chunk::File {
            kind: FileKind::Container,
            path: link.to_str().unwrap().into(),
            target: docker.to_str().map(Into::into),
            device: 1,
            inode: 2,
            generation: 3,
        };
        let head = machine.head_of_file(1, file);
        assert_eq!(head.file.unwrap().target.as_deref(), between.to_str());
        assert_eq!(head.pods[UID].pod, "web-0");
    }
}
