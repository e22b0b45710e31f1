//! The API server, and an installation in a namespace of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mscp_log_server::admin::kubernetes::{Cluster, Count, Held, Needs};
use mscp_log_server::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A real kube-apiserver, started by `tests/deploy/apiserver.sh`.
pub(crate) struct Server {
    folder: PathBuf,
}

impl Server {
    pub(crate) fn given() -> Option<Self> {
        let folder = std::env::var_os("MSCP_LOG_APISERVER")?;
        Some(Self {
            folder: folder.into(),
        })
    }

    pub(crate) fn url(&self) -> String {
        let url = std::fs::read_to_string(self.folder.join("url")).unwrap();
        url.trim().to_owned()
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.folder.join("kubeconfig"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        match done.status.success() {
            true => Ok(String::from_utf8(done.stdout).unwrap()),
            false => Err(String::from_utf8(done.stderr).unwrap()),
        }
    }

    /// A kubeconfig of whoever has this token.
    fn kubeconfig(&self, token: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {
                "server": self.url(),
                "certificate-authority": self.folder.join("certificates/apiserver.crt"),
            }}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
            "current-context": "x",
        });
        file.write_all(content.to_string().as_bytes()).unwrap();
        file
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.folder.join("server.pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn ready(&self) {
        for _ in 0..600 {
            if self.kubectl(&["get", "--raw", "/readyz"], "").is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the API server does not come back");
    }
}

/// Writes statuses without a process for each.
pub(crate) struct Writer {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Writer {
    pub(crate) fn new(server: &Server) -> Self {
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().danger_accept_invalid_certs(true);
        Self {
            http: http.build().unwrap(),
            url: server.url(),
            token: std::fs::read_to_string(server.folder.join("token")).unwrap(),
        }
    }

    pub(crate) async fn status(&self, namespace: &str, name: &str, status: Value) {
        let url = format!(
            "{}/apis/apps/v1/namespaces/{namespace}/{name}/status",
            self.url
        );
        let written = self
            .http
            .patch(url)
            .bearer_auth(self.token.trim())
            .header("content-type", "application/merge-patch+json")
            .body(json!({"status": status}).to_string())
            .send()
            .await
            .unwrap();
        assert!(written.status().is_success(), "{written:?}");
    }
}

/// The platform overlay in a namespace of its own, which goes with it.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) namespace: String,
    /// As the pods of the role api see it.
    pub(crate) cluster: Cluster,
    kubeconfig: tempfile::NamedTempFile,
}

impl Scene {
    pub(crate) async fn new(server: Server, name: &str) -> Self {
        Self::of(server, name, "platform").await
    }

    pub(crate) async fn of(server: Server, name: &str, overlay: &str) -> Self {
        let namespace = format!("{name}-{:08x}", rand::random::<u32>());
        let file = server.folder.join(format!("rendered/{overlay}.yaml"));
        let rendered = std::fs::read_to_string(file).unwrap();
        // Its own namespace; and what is of the whole cluster is for this one.
        let rendered = rendered
            .split("\n---\n")
            .filter(|object| !object.contains("kind: Namespace\n"))
            .map(|object| {
                object
                    .replace(
                        "namespace: mscp-log\n",
                        &format!("namespace: {namespace}\n"),
                    )
                    .replace(
                        "metadata.name: mscp-log\n",
                        &format!("metadata.name: {namespace}\n"),
                    )
                    .replace(
                        "serviceaccount:mscp-log:",
                        &format!("serviceaccount:{namespace}:"),
                    )
            });
        let rendered: Vec<String> = rendered
            .map(|object| match object.ends_with("namespace: mscp-log") {
                true => object.replace("namespace: mscp-log", &format!("namespace: {namespace}")),
                false => object,
            })
            .collect();
        server
            .kubectl(&["create", "namespace", &namespace], "")
            .unwrap();
        server
            .kubectl(&["apply", "-f", "-"], &rendered.join("\n---\n"))
            .unwrap();
        let token = server
            .kubectl(&["-n", &namespace, "create", "token", "mscp-log-api"], "")
            .unwrap();
        let kubeconfig = server.kubeconfig(token.trim());
        let cluster = open(&kubeconfig, &namespace).await;
        let scene = Self {
            server,
            namespace,
            cluster,
            kubeconfig,
        };
        // The API server takes a moment to know a new Role.
        for _ in 0..100 {
            if !scene
                .cluster
                .reach()
                .await
                .iter()
                .any(|it| it.contains("not allowed"))
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        scene
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let within = ["-n", self.namespace.as_str()];
        self.server.kubectl(&[&within, arguments].concat(), "")
    }

    /// What the API server has, without what changes by itself.
    pub(crate) fn object(&self, name: &str) -> Value {
        let text = self.kubectl(&["get", name, "-o", "json"]).unwrap();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        for own in ["generation", "resourceVersion", "managedFields"] {
            metadata.remove(own);
        }
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.remove("deprecated.daemonset.template.generation");
        }
        object.as_object_mut().unwrap().remove("status");
        object
    }

    /// Write a status, as a controller or a kubelet would.
    pub(crate) fn status(&self, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let arguments = [
            "patch",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        self.kubectl(&arguments).unwrap();
    }

    pub(crate) fn patch(&self, name: &str, patch: &Value) {
        let patch = patch.to_string();
        self.kubectl(&["patch", name, "--type=merge", "-p", &patch])
            .unwrap();
    }

    /// A pod of this workload; on a machine and ready, or neither.
    pub(crate) fn pod(&self, workload: &str, name: &str, node: Option<&str>) {
        let labels = self.object(workload)["spec"]["selector"]["matchLabels"].clone();
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "registry.example.org/c:1.0"}]},
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = node.into();
        }
        self.server
            .kubectl(&["create", "-f", "-"], &pod.to_string())
            .unwrap();
        if node.is_some() {
            let ready =
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
            self.status(&format!("pod/{name}"), &ready);
        }
    }

    /// The same namespace, as somebody else.
    pub(crate) async fn by_token(&self, token: &str) -> (Cluster, tempfile::NamedTempFile) {
        let kubeconfig = self.server.kubeconfig(token);
        (open(&kubeconfig, &self.namespace).await, kubeconfig)
    }

    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        self.kubeconfig.path()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let delete = ["delete", "namespace", &self.namespace, "--wait=false"];
        let _nobody_minds = self.server.kubectl(&delete, "");
    }
}

async fn open(kubeconfig: &tempfile::NamedTempFile, namespace: &str) -> Cluster {
    let variables = [
        ("MSCP_LOG_KUBERNETES__ENABLED", "true".to_owned()),
        (
            "MSCP_LOG_KUBERNETES__KUBECONFIG",
            kubeconfig.path().display().to_string(),
        ),
        ("MSCP_LOG_KUBERNETES__NAMESPACE", namespace.to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let settings = Config::load(None, variables).unwrap().kubernetes.unwrap();
    Cluster::open(&settings).await.unwrap()
}

pub(crate) fn count(scheduled: u32, wanted: u32, up: u32) -> Option<Count> {
    Some(Count {
        scheduled,
        wanted,
        up,
    })
}

/// Nothing that is in the way.
pub(crate) fn free() -> Needs {
    Needs {
        partitions: Some(12),
        store: Ok(Held::default()),
    }
}
