//! Kubernetes: what of this installation runs where, how much of it is up, and
//! scaling.
//!
//! A count is asked for when it is wanted, and never longer than [`READ`]. A
//! change patches the one field that it is about; a number under the version of
//! the object that was read, so that whoever changed it in between is not
//! overwritten. What would lose data is refused ([`safe`]).

mod safe;
mod trouble;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1 as objects;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::config::{Kind, Kubernetes, Workload, Workloads};
pub use safe::{Held, Needs};
use trouble::{Asked, PODS};
pub use trouble::{Refused, Trouble};

/// The longest that a question may take, in all.
pub const READ: Duration = Duration::from_millis(1_500);
/// The longest that a change may take, in all.
pub const CHANGE: Duration = Duration::from_secs(10);
/// How often a change is tried again when the object, but not the field, was
/// changed by somebody else in between (Kubernetes itself writes its status).
const TRIES: usize = 50;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// Objects of one answer.
const PAGE: u32 = 500;
/// By this name Kubernetes keeps who set a field (`managedFields`).
const MANAGER: &str = "mscp-log";
/// A label that no machine has: a DaemonSet that wants it runs nowhere.
const OFF: (&str, &str) = ("mscp.io/switched", "off");

/// A part of the installation that Kubernetes runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Reads the sources of each machine.
    Agent,
    /// Identity, pushes, searches, administration.
    Api,
    /// Takes what agents and Beats send.
    Parser,
    /// From the buffer into the store.
    Shipper,
    /// Deletes old indices.
    Rotator,
    /// The store's nodes that elect a master.
    StoreMaster,
    /// The store's nodes that hold shards.
    StoreData,
    /// The store's nodes that only answer.
    StoreClient,
    /// The brokers of the buffer.
    Kafka,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Agent,
        Self::Api,
        Self::Parser,
        Self::Shipper,
        Self::Rotator,
        Self::StoreMaster,
        Self::StoreData,
        Self::StoreClient,
        Self::Kafka,
    ];

    /// As `kubernetes.workloads` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Api => "api",
            Self::Parser => "parser",
            Self::Shipper => "shipper",
            Self::Rotator => "rotator",
            Self::StoreMaster => "store_master",
            Self::StoreData => "store_data",
            Self::StoreClient => "store_client",
            Self::Kafka => "kafka",
        }
    }

    fn workload(self, of: &Workloads) -> Option<&Workload> {
        match self {
            Self::Agent => of.agent.as_ref(),
            Self::Api => of.api.as_ref(),
            Self::Parser => of.parser.as_ref(),
            Self::Shipper => of.shipper.as_ref(),
            Self::Rotator => of.rotator.as_ref(),
            Self::StoreMaster => of.store_master.as_ref(),
            Self::StoreData => of.store_data.as_ref(),
            Self::StoreClient => of.store_client.as_ref(),
            Self::Kafka => of.kafka.as_ref(),
        }
    }
}

/// How much of a part there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What an administrator asked for: `replicas`; under an autoscaler its
    /// `minReplicas`; of a DaemonSet the machines that it is for.
    pub scheduled: u32,
    /// What Kubernetes works towards now. More than `scheduled` where an
    /// autoscaler found that it takes more.
    pub wanted: u32,
    /// Pods that are ready.
    pub up: u32,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The machine; `None` before it has one.
    pub node: Option<String>,
    /// Its name.
    pub pod: String,
    /// Whether it is ready.
    pub up: bool,
    /// `up`, or why it is not, as `kubectl get pods` says it, with the reason.
    pub status: String,
}

/// The workloads of this installation in their namespace.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
    namespace: String,
    workloads: Workloads,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A workload as it is now.
struct Seen {
    version: Option<String>,
    /// `replicas`, or the machines of a DaemonSet.
    wanted: u32,
    up: u32,
    selector: LabelSelector,
    nodes: BTreeMap<String, String>,
}

impl Seen {
    fn enabled(&self) -> bool {
        self.nodes.get(OFF.0).map(String::as_str) != Some(OFF.1)
    }
}

/// Where `scheduled` is written.
struct Scheduled {
    count: Count,
    version: Option<String>,
    autoscaler: Option<Autoscaler>,
}

struct Autoscaler {
    name: String,
    version: Option<String>,
    least: u32,
    most: u32,
}

impl Cluster {
    /// Read who we are there; nobody is asked yet.
    ///
    /// # Errors
    /// When this is no pod with a service account's token, or the kubeconfig
    /// cannot be read.
    pub async fn open(settings: &Kubernetes) -> Result<Self, String> {
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let mut config = match &settings.kubeconfig {
            Some(path) => {
                let shown = path.display();
                let read =
                    Kubeconfig::read_from(path).map_err(|error| format!("{shown}: {error}"))?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| format!("{shown}: {error}"))?
            }
            None => Config::incluster().map_err(|error| {
                format!(
                    "this is no pod with a service account's token ({}); \
                     outside of the cluster set kubernetes.kubeconfig",
                    trouble::innermost(&error)
                )
            })?,
        };
        // Every question and every change has a deadline of its own.
        config.connect_timeout = None;
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        let namespace = settings.namespace.clone();
        Ok(Self {
            server: config
                .cluster_url
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
            workloads: settings.workloads.clone(),
            client: Client::try_from(config).map_err(|error| trouble::innermost(&error))?,
        })
    }

    /// Everything that stands in the way of counting, one line each; one line
    /// where the API server does not answer at all.
    pub async fn reach(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for part in Part::ALL {
            let asked = match self.count(part).await {
                Ok(Some(_)) => self.pods(part).await.map(drop),
                Ok(None) => Ok(()),
                Err(trouble) => Err(trouble),
            };
            match asked {
                Ok(()) => {}
                Err(trouble) if trouble.is_of_the_server() => return vec![trouble.to_string()],
                Err(trouble) => faults.push(trouble.to_string()),
            }
        }
        faults.dedup();
        faults
    }

    /// How much of a part there is now; `None`: it is not configured.
    ///
    /// # Errors
    /// When the API server does not say, with the reason.
    pub async fn count(&self, part: Part) -> Result<Option<Count>, Trouble> {
        let Some(workload) = part.workload(&self.workloads) else {
            return Ok(None);
        };
        let scheduled = self.within(READ, self.scheduled(part, workload)).await?;
        Ok(Some(scheduled.count))
    }

    /// The pods of a part, by name; none where it is not configured.
    ///
    /// # Errors
    /// When the API server does not say, with the reason.
    pub async fn pods(&self, part: Part) -> Result<Vec<Pod>, Trouble> {
        let Some(workload) = part.workload(&self.workloads) else {
            return Ok(Vec::new());
        };
        self.within(READ, self.pods_of(part, workload)).await
    }

    /// Whether a part is switched on; `None`: it is not configured.
    ///
    /// # Errors
    /// When the API server does not say, with the reason.
    pub async fn enabled(&self, part: Part) -> Result<Option<bool>, Trouble> {
        let Some(workload) = part.workload(&self.workloads) else {
            return Ok(None);
        };
        let seen = self.within(READ, self.see(part, workload)).await?;
        Ok(Some(seen.enabled()))
    }

    /// Have `to` of a part in place of `from`. Under an autoscaler this is its
    /// `minReplicas`. Returns at once; [`Cluster::count`] shows the progress.
    /// What comes back is worth telling whoever asked.
    ///
    /// # Errors
    /// See [`Refused`]. Nothing was changed then.
    pub async fn scale(
        &self,
        part: Part,
        from: u32,
        to: u32,
        needs: &Needs,
    ) -> Result<Vec<String>, Refused> {
        let Some(workload) = part.workload(&self.workloads) else {
            return Err(Refused::unsafe_("it does not run in this namespace"));
        };
        self.within(CHANGE, self.scale_it(part, workload, (from, to), needs))
            .await
    }

    /// Switch a DaemonSet on or off. Off it is by a node selector that no
    /// machine fits: the object, and what its pods keep on their machines,
    /// stay.
    ///
    /// # Errors
    /// See [`Refused`]. Nothing was changed then.
    pub async fn enable(&self, part: Part, on: bool) -> Result<(), Refused> {
        match part.workload(&self.workloads) {
            Some(workload) if workload.kind == Kind::DaemonSet => {
                self.within(CHANGE, self.enable_it(part, workload, on))
                    .await
            }
            Some(workload) => Err(Refused::unsafe_(format!(
                "{workload} is scaled, not switched: only a DaemonSet is switched off by a node selector"
            ))),
            None => Err(Refused::unsafe_("it does not run in this namespace")),
        }
    }

    async fn within<T, E: From<Trouble>>(
        &self,
        longest: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(longest, work).await {
            Ok(done) => done,
            Err(_) => Err(E::from(Trouble::Slow {
                server: self.server.clone(),
                seconds: longest.as_secs_f32(),
            })),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn trouble(&self, error: kube::Error, asked: Asked<'_>) -> Trouble {
        Trouble::of(error, asked, &self.server, &self.namespace)
    }

    async fn see(&self, part: Part, workload: &Workload) -> Result<Seen, Trouble> {
        let name = &workload.name;
        let seen = match workload.kind {
            Kind::Deployment => self
                .api()
                .get_opt(name)
                .await
                .map(|it| it.map(Seen::from_deployment)),
            Kind::StatefulSet => self
                .api()
                .get_opt(name)
                .await
                .map(|it| it.map(Seen::from_stateful)),
            Kind::DaemonSet => self
                .api()
                .get_opt(name)
                .await
                .map(|it| it.map(Seen::from_daemon)),
        };
        let asked = Asked::object("get", workload);
        match seen {
            Ok(Some(seen)) => Ok(seen),
            Ok(None) => Err(Trouble::Missing {
                workload: workload.to_string(),
                namespace: self.namespace.clone(),
                part: part.name(),
            }),
            Err(error) => Err(self.trouble(error, asked)),
        }
    }

    async fn scheduled(&self, part: Part, workload: &Workload) -> Result<Scheduled, Trouble> {
        let seen = self.see(part, workload).await?;
        let autoscaler = match workload.kind {
            Kind::DaemonSet => None,
            _ => self.autoscaler(workload).await?,
        };
        Ok(Scheduled {
            count: Count {
                scheduled: autoscaler.as_ref().map_or(seen.wanted, |it| it.least),
                wanted: seen.wanted,
                up: seen.up,
            },
            version: seen.version,
            autoscaler,
        })
    }

    /// The autoscaler of a workload.
    async fn autoscaler(&self, workload: &Workload) -> Result<Option<Autoscaler>, Trouble> {
        let list = self.list::<HorizontalPodAutoscaler>("").await;
        let list = list.map_err(|error| self.trouble(error, trouble::AUTOSCALERS))?;
        let is_its = |it: &HorizontalPodAutoscaler| {
            let target = it.spec.as_ref().map(|spec| &spec.scale_target_ref);
            target.is_some_and(|target| {
                target.kind.eq_ignore_ascii_case(workload.kind.name())
                    && target.name == workload.name
            })
        };
        Ok(list.into_iter().find(is_its).map(|it| {
            let spec = it.spec.unwrap_or_default();
            Autoscaler {
                name: it.metadata.name.unwrap_or_default(),
                version: it.metadata.resource_version,
                // Kubernetes' default.
                least: spec.min_replicas.map_or(1, count),
                most: count(spec.max_replicas),
            }
        }))
    }

    async fn pods_of(&self, part: Part, workload: &Workload) -> Result<Vec<Pod>, Trouble> {
        let seen = self.see(part, workload).await?;
        let selector = selector(&seen.selector);
        let pods = self.list::<objects::Pod>(&selector).await;
        let pods = pods.map_err(|error| self.trouble(error, PODS))?;
        let mut pods: Vec<Pod> = pods.iter().map(pod).collect();
        pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        Ok(pods)
    }

    /// All objects with these labels, a page at a time.
    async fn list<K>(&self, labels: &str) -> Result<Vec<K>, kube::Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let mut wanted = ListParams::default().labels(labels).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = self.api().list(&wanted).await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(next) => wanted = wanted.continue_token(&next),
                None => return Ok(found),
            }
        }
    }

    async fn scale_it(
        &self,
        part: Part,
        workload: &Workload,
        (from, to): (u32, u32),
        needs: &Needs,
    ) -> Result<Vec<String>, Refused> {
        if workload.kind == Kind::DaemonSet {
            return Err(Refused::unsafe_(format!(
                "{workload} has one pod on each machine, and no number"
            )));
        }
        for _ in 0..TRIES {
            let found = self.scheduled(part, workload).await?;
            if found.count.scheduled != from {
                return Err(Refused::Changed(format!(
                    "{workload} is set to {} now, not to {from}: somebody else changed it in between",
                    found.count.scheduled
                )));
            }
            if from == to {
                return Ok(Vec::new());
            }
            let staying = match part {
                Part::StoreMaster | Part::StoreData if to < from => {
                    self.pods_of(part, workload).await?
                }
                _ => Vec::new(),
            };
            let told = safe::judge(part, &workload.name, (from, to), &staying, needs)
                .map_err(Refused::Unsafe)?;
            if let Some(autoscaler) = &found.autoscaler
                && to > autoscaler.most
            {
                return Err(Refused::unsafe_(format!(
                    "the autoscaler {} goes to {} at most (maxReplicas), so it cannot begin at {to}",
                    autoscaler.name, autoscaler.most
                )));
            }
            if self.write_scheduled(workload, &found, to).await? {
                return Ok(told);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Refused::Changed(format!(
            "{workload} was changed by somebody else each of {TRIES} times that it was tried"
        )))
    }

    /// Whether it is written; not so when the object was changed since it was
    /// read.
    async fn write_scheduled(
        &self,
        workload: &Workload,
        found: &Scheduled,
        to: u32,
    ) -> Result<bool, Refused> {
        if let Some(autoscaler) = &found.autoscaler {
            let api: Api<HorizontalPodAutoscaler> = self.api();
            let patch = json!({
                "metadata": {"resourceVersion": autoscaler.version},
                "spec": {"minReplicas": to},
            });
            let (params, patch) = (params(), Patch::Merge(&patch));
            let written = api.patch(&autoscaler.name, &params, &patch).await;
            let asked = Asked {
                verb: "patch",
                resource: "horizontalpodautoscalers",
                name: &autoscaler.name,
            };
            return self.written(written.map(drop), asked);
        }
        let patch = json!({
            "metadata": {"resourceVersion": found.version},
            "spec": {"replicas": to},
        });
        let name = &workload.name;
        let (params, patch) = (params(), Patch::Merge(&patch));
        let written = match workload.kind {
            Kind::StatefulSet => {
                let api: Api<StatefulSet> = self.api();
                api.patch_scale(name, &params, &patch).await
            }
            _ => {
                let api: Api<Deployment> = self.api();
                api.patch_scale(name, &params, &patch).await
            }
        };
        self.written(written.map(drop), Asked::scale(workload))
    }

    /// Without a version: the label is ours alone, and nothing else is written.
    async fn enable_it(&self, part: Part, workload: &Workload, on: bool) -> Result<(), Refused> {
        if self.see(part, workload).await?.enabled() == on {
            return Ok(());
        }
        let value = if on { Value::Null } else { OFF.1.into() };
        let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {OFF.0: value}}}}});
        let api: Api<DaemonSet> = self.api();
        let (params, patch) = (params(), Patch::Merge(&patch));
        let written = api.patch(&workload.name, &params, &patch).await;
        let asked = Asked::object("patch", workload);
        written
            .map(drop)
            .map_err(|error| self.trouble(error, asked).into())
    }

    fn written(&self, done: Result<(), kube::Error>, asked: Asked<'_>) -> Result<bool, Refused> {
        match done {
            Ok(()) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(self.trouble(error, asked).into()),
        }
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

impl Seen {
    fn from_deployment(it: Deployment) -> Self {
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        Self {
            version: version(it.metadata),
            wanted: spec.replicas.map_or(1, count),
            up: status.ready_replicas.map_or(0, count),
            selector: spec.selector,
            nodes: BTreeMap::new(),
        }
    }

    fn from_stateful(it: StatefulSet) -> Self {
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        Self {
            version: version(it.metadata),
            wanted: spec.replicas.map_or(1, count),
            up: status.ready_replicas.map_or(0, count),
            selector: spec.selector,
            nodes: BTreeMap::new(),
        }
    }

    fn from_daemon(it: DaemonSet) -> Self {
        let spec = it.spec.unwrap_or_default();
        let status = it.status.unwrap_or_default();
        let template = spec.template.spec.unwrap_or_default();
        Self {
            version: version(it.metadata),
            wanted: count(status.desired_number_scheduled),
            up: count(status.number_ready),
            selector: spec.selector,
            nodes: template.node_selector.unwrap_or_default(),
        }
    }
}

fn version(metadata: ObjectMeta) -> Option<String> {
    metadata.resource_version
}

/// Kubernetes counts in `i32`, and never below 0.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// A selector as a list of pods takes it.
fn selector(of: &LabelSelector) -> String {
    let equal = of.match_labels.iter().flatten();
    let mut parts: Vec<String> = equal.map(|(key, value)| format!("{key}={value}")).collect();
    for rule in of.match_expressions.iter().flatten() {
        let values = rule.values.as_deref().unwrap_or_default().join(",");
        let key = &rule.key;
        parts.push(match rule.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        });
    }
    parts.join(",")
}

fn pod(of: &objects::Pod) -> Pod {
    let ready = condition(of, "Ready").is_some_and(|it| it.status == "True");
    let up = ready && of.metadata.deletion_timestamp.is_none();
    Pod {
        node: of.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        pod: of.metadata.name.clone().unwrap_or_default(),
        up,
        status: if up { "up".to_owned() } else { why_down(of) },
    }
}

fn condition<'a>(of: &'a objects::Pod, kind: &str) -> Option<&'a objects::PodCondition> {
    let conditions = of.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|it| it.type_ == kind)
}

/// Why a pod is not ready, the word first, what Kubernetes says of it behind.
fn why_down(of: &objects::Pod) -> String {
    if of.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let Some(status) = &of.status else {
        return "Pending".to_owned();
    };
    let containers = status.init_container_statuses.iter().flatten();
    let containers = containers.chain(status.container_statuses.iter().flatten());
    let mut found = None;
    for container in containers.filter(|it| !it.ready) {
        let state = container.state.as_ref();
        let waiting = state.and_then(|it| it.waiting.as_ref());
        let ended = state.and_then(|it| it.terminated.as_ref());
        found = waiting
            .map(|it| (it.reason.clone(), it.message.clone()))
            .or(ended.filter(|it| it.exit_code != 0).map(|it| {
                let code = format!("exit code {}", it.exit_code);
                (it.reason.clone(), it.message.clone().or(Some(code)))
            }));
        if found.is_some() {
            break;
        }
    }
    let found = found
        .or_else(|| {
            status
                .reason
                .clone()
                .map(|it| (Some(it), status.message.clone()))
        })
        .or_else(|| {
            let scheduled = condition(of, "PodScheduled").filter(|it| it.status == "False");
            let unready = || condition(of, "Ready").filter(|it| it.status != "True");
            let why = scheduled.or_else(unready)?;
            why.reason.clone().map(|it| (Some(it), why.message.clone()))
        });
    let (reason, message) = found.unwrap_or_default();
    let reason = reason
        .or(status.phase.clone())
        .unwrap_or_else(|| "Pending".to_owned());
    match message.filter(|it| !it.is_empty()) {
        Some(message) => format!("{reason}: {}", trouble::short(&message)),
        None => reason,
    }
}

#[cfg(test)]
mod tests;
