//! `[kubernetes]`: where this installation runs on Kubernetes, and what its
//! workloads are called there.

use std::fmt;
use std::path::PathBuf;

use toml::Value;

use super::read::{Reader, switch, text};
use super::{filled, path};

/// How the workloads of this installation are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// The namespace of all of them; `None` is the pod's own, or that of the
    /// kubeconfig.
    pub namespace: Option<String>,
    /// A kubeconfig; `None` is the service account of this pod.
    pub kubeconfig: Option<PathBuf>,
    /// What the parts are called.
    pub workloads: Workloads,
}

/// The workload of each part; `None` is a part that does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// Reads the sources of each machine.
    pub agent: Option<Workload>,
    /// Identity, pushes, searches, administration.
    pub api: Option<Workload>,
    /// Takes what agents and Beats send.
    pub parser: Option<Workload>,
    /// From the buffer into the store.
    pub shipper: Option<Workload>,
    /// Deletes old indices.
    pub rotator: Option<Workload>,
    /// The store's nodes that elect a master.
    pub store_master: Option<Workload>,
    /// The store's nodes that hold shards.
    pub store_data: Option<Workload>,
    /// The store's nodes that only answer.
    pub store_client: Option<Workload>,
    /// The brokers of the buffer.
    pub kafka: Option<Workload>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pods that are all alike.
    Deployment,
    /// Pods with names and volumes of their own.
    StatefulSet,
    /// One pod on each machine.
    DaemonSet,
}

impl Kind {
    /// Each kind as a key has it.
    const ALL: [(Self, &str); 3] = [
        (Self::Deployment, "deployment"),
        (Self::StatefulSet, "statefulset"),
        (Self::DaemonSet, "daemonset"),
    ];

    /// In small letters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => Self::ALL[0].1,
            Self::StatefulSet => Self::ALL[1].1,
            Self::DaemonSet => Self::ALL[2].1,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// `None` is off.
pub(super) fn read(reader: &mut Reader) -> Option<Kubernetes> {
    let enabled = reader.read("kubernetes.enabled", is_built_in);
    let mut workload = |part: &str| {
        reader.read(
            &format!("kubernetes.workloads.{part}"),
            text(workload_or_none),
        )
    };
    let workloads = Workloads {
        agent: workload("agent"),
        api: workload("api"),
        parser: workload("parser"),
        shipper: workload("shipper"),
        rotator: workload("rotator"),
        store_master: workload("store_master"),
        store_data: workload("store_data"),
        store_client: workload("store_client"),
        kafka: workload("kafka"),
    };
    let settings = Kubernetes {
        namespace: reader.optional("kubernetes.namespace", text(filled)),
        kubeconfig: reader.optional("kubernetes.kubeconfig", text(path)),
        workloads,
    };
    enabled.then_some(settings)
}

fn is_built_in(value: &Value) -> Result<bool, String> {
    let enabled = switch(value)?;
    if enabled && !cfg!(feature = "kubernetes") {
        return Err(
            "this program was built without Kubernetes (cargo feature \"kubernetes\")".to_owned(),
        );
    }
    Ok(enabled)
}

fn workload_or_none(text: &str) -> Result<Option<Workload>, String> {
    if text == "none" {
        return Ok(None);
    }
    let parts = text.split_once('/').and_then(|(kind, name)| {
        let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == kind)?;
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        let is_name = (1..=253).contains(&name.len()) && name.chars().all(letter);
        is_name.then(|| Workload {
            kind,
            name: name.to_owned(),
        })
    });
    parts.map(Some).ok_or_else(|| {
        format!(
            "expected none, or deployment/, statefulset/ or daemonset/ and a name, found \"{text}\""
        )
    })
}
