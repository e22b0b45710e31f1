"""What the manifests must be. A policy is a function from a bundle (what one overlay renders to)
to a list of faults; beside it stand changes that break it, and check.py sees to it that each of
them is found. Standard library only."""

import base64
import json
import re

POLICIES = []
README = ""  # set by check.py: secrets that an operator makes by hand are described there
DOCS = ""  # set by check.py: the pages of docs/, which list the metrics

# A setting of the machine (vm.max_map_count) can be made in no other way.
PRIVILEGED = {f"elasticsearch-{role}/sysctl" for role in ("master", "data", "client")}
# Makes the agent's data folder the agent's.
ROOT = {"mscp-log-agent/own": {"CHOWN", "FOWNER"}}
# Their images write beside their programs.
WRITABLE_ROOT = {"kafka/kafka"} | {f"elasticsearch-{r}/elasticsearch" for r in ("master", "data", "client")}
WRITABLE_HOST_PATHS = {"/var/lib/mscp-log-agent"}
API_VERSIONS = {
    "v1", "apps/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1", "monitoring.coreos.com/v1",
    "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1",
}
# Whose pods have a token of the Kubernetes API, and what of it they may be allowed.
WITH_TOKEN = {"mscp-log-api"}
RIGHTS = {
    ("apps", "deployments"): {"get"},
    ("apps", "statefulsets"): {"get"},
    ("apps", "daemonsets"): {"get", "patch"},
    ("apps", "deployments/scale"): {"patch"},
    ("apps", "statefulsets/scale"): {"patch"},
    ("autoscaling", "horizontalpodautoscalers"): {"list", "patch"},
    ("", "pods"): {"list"},
}
# Fields of a pod's spec that say what runs, as whom, or with what of its machine.
SHAPES_A_POD = {
    "containers", "initContainers", "ephemeralContainers", "volumes", "securityContext", "serviceAccountName",
    "automountServiceAccountToken", "imagePullSecrets", "runtimeClassName", "hostNetwork", "hostPID", "hostIPC", "hostUsers",
    "shareProcessNamespace", "hostAliases", "dnsPolicy", "dnsConfig", "tolerations", "affinity", "nodeName",
    "schedulerName", "priorityClassName",
}
KIND_OF = {
    "deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}


def policy(*breaks):
    """Register a policy with the changes of a bundle that it must find."""
    def register(function):
        POLICIES.append((function, breaks))
        return function
    return register


class Bundle:
    """The objects of one overlay."""

    def __init__(self, documents):
        self.documents = [document for document in documents if document]

    def of(self, *kinds):
        return [d for d in self.documents if d["kind"] in kinds]

    def one(self, kind, name):
        return next((d for d in self.of(kind) if generated(d["metadata"]["name"]) == name), None)

    def workloads(self):
        return self.of("Deployment", "StatefulSet", "DaemonSet")

    def selected(self, labels):
        """Workloads whose pods have all of `labels`; none select none here, as in a Service."""
        return [w for w in self.workloads() if labels and labels.items() <= pod_labels(w).items()]


def generated(name):
    """A name without the hash that kustomize gives to generated objects."""
    return re.sub(r"-[bcdfghkmt0-9]{10}$", "", name)


def name_of(document):
    return generated(document["metadata"]["name"])


def pod(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"].get("labels", {})


def containers(workload, init=True):
    spec = pod(workload)
    return (spec.get("initContainers", []) if init else []) + spec["containers"]


def every_container(bundle, init=True):
    for workload in bundle.workloads():
        for container in containers(workload, init):
            yield f"{name_of(workload)}/{container['name']}", workload, container


def ours(container):
    return re.search(r"(^|/)mscp-log(-agent)?:", container["image"]) is not None


def ports_of(workload):
    return {p["name"]: p["containerPort"] for c in containers(workload, False) for p in c.get("ports", [])}


# Ways to reach into a bundle for a change that breaks something.

def first(bundle, wanted=lambda container: True):
    return next(c for _, _, c in every_container(bundle, False) if wanted(c))


def workload(bundle):
    return bundle.workloads()[0]


def change(path, value, start=first):
    """A break that sets (or, with None, removes) what `path` leads to."""
    def run(bundle):
        place = start(bundle)
        *way, last = path
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return run


def of_kind(kind):
    return lambda bundle: bundle.of(kind)[0]


# Containers

@policy(change(["securityContext", "privileged"], True))
def only_the_container_that_sets_max_map_count_is_privileged(bundle):
    return [
        place for place, _, c in every_container(bundle)
        if c.get("securityContext", {}).get("privileged") and place not in PRIVILEGED
    ]


@policy(
    change(["securityContext", "allowPrivilegeEscalation"], True),
    change(["securityContext", "capabilities"], None),
    change(["securityContext", "capabilities", "add"], ["NET_ADMIN"]),
    change(["securityContext", "readOnlyRootFilesystem"], None, lambda b: first(b, ours)),
    change(["securityContext", "runAsUser"], 0),
    change(["securityContext", "runAsNonRoot"], None, lambda b: pod(workload(b))),
    change(["hostNetwork"], True, lambda b: pod(workload(b))),
    change(["hostPID"], True, lambda b: pod(workload(b))),
)
def containers_have_no_rights_that_they_do_not_need(bundle):
    faults = []
    for place, owner, container in every_container(bundle):
        if place in PRIVILEGED:
            continue
        own, shared = container.get("securityContext", {}), pod(owner).get("securityContext", {})
        both = {**shared, **own}
        capabilities = own.get("capabilities", {})
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append(f"{place}: allowPrivilegeEscalation")
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - ROOT.get(place, set()):
            faults.append(f"{place}: capabilities {capabilities}")
        if place not in ROOT and (both.get("runAsNonRoot") is not True or both.get("runAsUser", 0) == 0):
            faults.append(f"{place}: may run as root")
        if own.get("readOnlyRootFilesystem") is not True and place not in WRITABLE_ROOT:
            faults.append(f"{place}: can write its root")
        if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            faults.append(f"{place}: no seccomp profile")
        if ours(container) and (both.get("runAsUser"), both.get("runAsGroup")) != (65532, 0):
            faults.append(f"{place}: not user 65532 of group 0")
    for owner in bundle.workloads():
        faults += [f"{name_of(owner)}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod(owner).get(key)]
    return faults


@policy(
    change(["resources", "limits"], None),
    change(["resources", "requests"], None),
    change(["resources", "limits", "memory"], None),
)
def every_container_has_requests_and_limits(bundle):
    return [
        f"{place}: {kind}.{what}"
        for place, _, c in every_container(bundle)
        for kind in ("requests", "limits")
        for what in ("cpu", "memory")
        if what not in c.get("resources", {}).get(kind, {})
    ]


@policy(
    change(["image"], "docker.io/library/busybox:latest"),
    change(["image"], "docker.io/library/busybox"),
    change(["image"], "localhost:5000/busybox"),
    change(["image"], "docker.io/library/postgres:15"),
)
def images_are_pinned(bundle):
    exact = re.compile(r"^[^\s@]+/[^:@]+(:\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})$")
    return [f"{place}: {c['image']}" for place, _, c in every_container(bundle) if not exact.match(c["image"])]


@policy(
    change(["readinessProbe"], None),
    change(["readinessProbe", "httpGet", "path"], "/", lambda b: first(b, ours)),
    change(["livenessProbe"], None, lambda b: first(b, ours)),
    change(["ports"], [], lambda b: first(b, ours)),
)
def every_container_is_probed_and_ours_as_documented(bundle):
    faults = []
    for place, owner, container in every_container(bundle, False):
        if "readinessProbe" not in container:
            faults.append(f"{place}: no readinessProbe")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            action = container.get(probe, {})
            port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
            if port is not None and port not in ports_of(owner):
                faults.append(f"{place}: {probe} asks a port {port} that is not there")
        if ours(container):
            for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
                if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                    faults.append(f"{place}: {probe} is not {path}")
            if not {"http", "metrics"} <= ports_of(owner).keys():
                faults.append(f"{place}: no port http or metrics")
    return faults


# Pods

@policy(
    change(["automountServiceAccountToken"], True, lambda b: pod(workload(b))),
    change(["enableServiceLinks"], None, lambda b: pod(workload(b))),
    change(["serviceAccountName"], "default", lambda b: pod(workload(b))),
    change(["automountServiceAccountToken"], None, of_kind("ServiceAccount")),
    change(["serviceAccountName"], "mscp-log-api", lambda b: pod(b.one("Deployment", "mscp-log-parser"))),
)
def only_pods_that_ask_kubernetes_have_a_token_and_none_has_service_links(bundle):
    accounts = {name_of(a): a.get("automountServiceAccountToken") for a in bundle.of("ServiceAccount")}
    faults = [f"{name}: its token is mounted" for name, mounted in accounts.items() if mounted is not False]
    for owner in bundle.workloads():
        spec = pod(owner)
        if spec.get("automountServiceAccountToken") is not (name_of(owner) in WITH_TOKEN):
            faults.append(f"{name_of(owner)}: automountServiceAccountToken")
        if (spec.get("serviceAccountName") in WITH_TOKEN) is not (name_of(owner) in WITH_TOKEN):
            faults.append(f"{name_of(owner)}: the account of others")
        if spec.get("enableServiceLinks") is not False:
            faults.append(f"{name_of(owner)}: enableServiceLinks")
        if spec.get("serviceAccountName") not in accounts:
            faults.append(f"{name_of(owner)}: serviceAccountName")
    return faults


def role(bundle):
    return bundle.one("Role", "mscp-log-api")


@policy(
    lambda b: b.documents.append({"apiVersion": "v1", "kind": "ClusterRoleBinding", "metadata": {"name": "x"}}),
    lambda b: role(b)["rules"].append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
    lambda b: role(b)["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
    lambda b: role(b)["rules"][0]["verbs"].append("delete"),
    lambda b: role(b)["rules"][1].pop("resourceNames"),
    lambda b: role(b)["rules"][-1].update(resourceNames=["mscp-log-agent-4tg8h2mm9b"]),
    lambda b: b.of("RoleBinding")[0]["subjects"][0].update(name="mscp-log"),
    lambda b: b.of("RoleBinding")[0]["subjects"][0].update(namespace="default"),
    lambda b: b.documents.remove(b.of("RoleBinding")[0]),
    change(["roleRef", "name"], "cluster-admin", of_kind("RoleBinding")),
)
def only_the_role_api_asks_kubernetes_and_only_for_what_it_uses(bundle):
    faults = [f"{d['kind']} {name_of(d)}" for d in bundle.of("ClusterRole", "ClusterRoleBinding")]
    bound = []
    for binding in bundle.of("RoleBinding"):
        bound.append(binding["roleRef"]["name"])
        if bundle.one("Role", bound[-1]) is None:
            faults.append(f"{name_of(binding)}: binds what is not here")
        for subject in binding["subjects"]:
            whose = (subject["kind"], subject["name"], subject.get("namespace"))
            if subject["name"] not in WITH_TOKEN or whose[::2] != ("ServiceAccount", "mscp-log"):
                faults.append(f"{name_of(binding)}: binds {subject}")
    for given in bundle.of("Role"):
        if name_of(given) not in bound:
            faults.append(f"{name_of(given)}: bound to nobody")
        for rule in given["rules"]:
            for group, resource in ((g, r) for g in rule["apiGroups"] for r in rule["resources"]):
                place = f"{name_of(given)}: {resource}"
                faults += [f"{place}: {verb}" for verb in set(rule["verbs"]) - RIGHTS.get((group, resource), set())]
                names = rule.get("resourceNames", [])
                if not names and rule["verbs"] != ["list"]:
                    faults.append(f"{place}: all of them")
                kind = KIND_OF.get(resource.partition("/")[0])
                faults += [f"{place}: no {kind} {name}" for name in names
                           if not any(d["metadata"]["name"] == name for d in bundle.of(kind))]
    return faults


def guard(bundle):
    return bundle.one("ValidatingAdmissionPolicy", "mscp-log-api-switches-agents")


@policy(
    lambda b: guard(b)["spec"]["validations"][0].update(
        expression=guard(b)["spec"]["validations"][0]["expression"].replace("variables.old.?hostPID", "variables.new.?hostPID")),
    lambda b: guard(b)["spec"]["validations"][0].update(
        expression=guard(b)["spec"]["validations"][0]["expression"].replace("volumes", "overhead")),
    lambda b: guard(b)["spec"].update(failurePolicy="Ignore"),
    lambda b: b.of("ValidatingAdmissionPolicyBinding")[0]["spec"].update(validationActions=["Warn"]),
)
def the_guard_compares_every_field_of_a_pod_but_the_node_selector(bundle):
    faults = []
    for given in bundle.of("ValidatingAdmissionPolicy"):
        text = given["spec"]["validations"][0]["expression"]
        compared = {new for new, old in re.findall(r"variables\.new\.\??(\w+) == variables\.old\.\??(\w+)", text) if new == old}
        faults += [f"{name_of(given)}: does not compare {field}" for field in sorted(SHAPES_A_POD - compared)]
        if given["spec"]["failurePolicy"] != "Fail":
            faults.append(f"{name_of(given)}: lets pass what it cannot judge")
    faults += [f"{name_of(d)}: does not deny" for d in bundle.of("ValidatingAdmissionPolicyBinding")
               if d["spec"]["validationActions"] != ["Deny"]]
    return faults


def agent(bundle):
    return bundle.one("DaemonSet", "mscp-log-agent")


@policy(
    change(["tolerations"], [], lambda b: pod(agent(b))),
    lambda b: next(m for m in containers(agent(b), False)[0]["volumeMounts"] if m["name"] == "logs").pop("readOnly"),
    lambda b: pod(agent(b))["volumes"].append({"name": "root", "hostPath": {"path": "/"}}),
    lambda b: pod(b.workloads()[0] if b.workloads()[0] is not agent(b) else b.workloads()[1]).setdefault(
        "volumes", []).append({"name": "x", "hostPath": {"path": "/var/log"}}),
    lambda b: pod(agent(b)).update(volumes=[v for v in pod(agent(b))["volumes"] if v["name"] != "k8spods"]),
)
def only_the_agent_sees_its_machine_and_reads_it(bundle):
    wanted = {"/var/log", "/run/log/journal", "/etc/machine-id", "/var/lib/kubelet/pods", "/var/lib/mscp-log-agent"}
    allowed = wanted | {"/var/lib/docker/containers"}
    faults = []
    for owner in bundle.workloads():
        paths = {v["name"]: v["hostPath"]["path"] for v in pod(owner).get("volumes", []) if "hostPath" in v}
        if owner is not agent(bundle):
            faults += [f"{name_of(owner)}: mounts {path} of its machine" for path in paths.values()]
            continue
        faults += [f"agent: mounts {path}" for path in set(paths.values()) - allowed]
        faults += [f"agent: does not mount {path}" for path in wanted - set(paths.values())]
        for container in containers(owner):
            for mount in container["volumeMounts"]:
                path = paths.get(mount["name"])
                if path and path not in WRITABLE_HOST_PATHS and not mount.get("readOnly"):
                    faults.append(f"agent: can write {path}")
        if {"operator": "Exists"} not in pod(owner).get("tolerations", []):
            faults.append("agent: does not run on machines of the control plane")
    return faults


@policy(
    lambda b: pod(workload(b)).update(volumes=[]),
    lambda b: pod(workload(b)).setdefault("volumes", []).append({"name": "unused", "emptyDir": {}}),
)
def mounts_and_volumes_belong_together(bundle):
    faults = []
    for owner in bundle.workloads():
        volumes = {v["name"] for v in pod(owner).get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in owner["spec"].get("volumeClaimTemplates", [])}
        mounts = {m["name"] for c in containers(owner) for m in c.get("volumeMounts", [])}
        if volumes != mounts:
            faults.append(f"{name_of(owner)}: {sorted(volumes ^ mounts)}")
    return faults


@policy(change(["terminationGracePeriodSeconds"], 30, lambda b: next(
    pod(w) for w in b.workloads() if ours(containers(w, False)[0]))))
def pods_are_killed_only_after_they_could_drain(bundle):
    # http.drain is 25 s unless set, and buffer.drain 10 s more where the buffer is Kafka.
    return [
        name_of(w) for w in bundle.workloads()
        if ours(containers(w, False)[0]) and pod(w).get("terminationGracePeriodSeconds", 30) < 40
    ]


# What selects, and what is named

@policy(
    change(["spec", "selector"], {"app": "nobody"}, of_kind("Service")),
    lambda b: b.of("Service")[0]["spec"]["ports"][0].update(targetPort="nothing"),
)
def every_service_selects_pods_that_have_its_ports(bundle):
    faults = []
    for service in bundle.of("Service"):
        found = bundle.selected(service["spec"].get("selector", {}))
        if not found:
            faults.append(f"{name_of(service)}: selects nothing")
        for port in service["spec"]["ports"]:
            faults += [
                f"{name_of(service)}: {name_of(w)} has no port {port['targetPort']}"
                for w in found if port["targetPort"] not in ports_of(w)
            ]
    return faults


@policy(
    change(["spec", "podSelector"], {"matchLabels": {"app": "nobody"}}, lambda b: b.of("NetworkPolicy")[1]),
    lambda b: b.of("NetworkPolicy")[0]["spec"].update(
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}], "ports": [{"port": "http"}]}]),
    lambda b: b.documents.remove(b.one("NetworkPolicy", "nobody")),
    lambda b: next(p for p in b.of("NetworkPolicy") if p["spec"].get("ingress"))["spec"]["ingress"][0].update(
        ports=[{"port": "nothing"}]),
)
def network_policies_close_every_pod_and_select_something(bundle):
    def matching(selector):
        labels = selector.get("matchLabels", {})
        return bundle.selected(labels) if labels else bundle.workloads()
    faults = []
    for rule in bundle.of("NetworkPolicy"):
        targets = matching(rule["spec"]["podSelector"])
        if not targets:
            faults.append(f"{name_of(rule)}: selects nothing")
        for side, peers in (("ingress", "from"), ("egress", "to")):
            for entry in rule["spec"].get(side, []):
                owners = [] if side == "egress" else targets
                for peer in entry.get(peers, []):
                    if "podSelector" in peer and not matching(peer["podSelector"]):
                        faults.append(f"{name_of(rule)}: lets in nobody")
                    if side == "egress":
                        owners += matching(peer["podSelector"])
                for port in entry.get("ports", []):
                    named = isinstance(port["port"], str)
                    if named and not any(port["port"] in ports_of(w) for w in owners):
                        faults.append(f"{name_of(rule)}: nobody has a port {port['port']}")
    closed = any(
        rule["spec"]["podSelector"] == {} and "Ingress" in rule["spec"]["policyTypes"] and not rule["spec"].get("ingress")
        for rule in bundle.of("NetworkPolicy")
    )
    return faults if closed else [*faults, "pods are open unless a policy says otherwise"]


@policy(
    change(["spec", "selector"], {"matchLabels": {"app": "nobody"}}, lambda b: disruption(b)),
    change(["spec", "scaleTargetRef", "name"], "nobody", lambda b: scaler(b)),
    change(["spec", "replicas"], 2, lambda b: b.one("Deployment", "mscp-log-parser")),
    lambda b: b.documents.remove(b.one("PodDisruptionBudget", "mscp-log-api")),
)
def what_is_scaled_or_kept_up_is_there(bundle):
    faults, kept = [], []
    for budget in bundle.of("PodDisruptionBudget"):
        found = bundle.selected(budget["spec"]["selector"]["matchLabels"])
        kept += found
        if len(found) != 1:
            faults.append(f"{name_of(budget)}: selects {len(found)} workloads")
    scaled = {}
    for autoscaler in bundle.of("HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        found = bundle.one(target["kind"], target["name"])
        if found is None:
            faults.append(f"{name_of(autoscaler)}: scales nothing")
        elif "replicas" in found["spec"]:
            faults.append(f"{target['name']}: has replicas and an autoscaler")
        scaled[target["name"]] = autoscaler["spec"]["minReplicas"]
    for owner in bundle.of("Deployment", "StatefulSet"):
        replicas = owner["spec"].get("replicas", scaled.get(name_of(owner), 1))
        if replicas > 1 and owner not in kept:
            faults.append(f"{name_of(owner)}: no PodDisruptionBudget")
        if not owner["spec"]["selector"]["matchLabels"].items() <= pod_labels(owner).items():
            faults.append(f"{name_of(owner)}: does not select its own pods")
    return faults


def disruption(bundle):
    return bundle.of("PodDisruptionBudget")[0]


def scaler(bundle):
    return bundle.of("HorizontalPodAutoscaler")[0]


def made_by_hand():
    """Secrets that README.md tells the operator to make, with their keys."""
    text = README.replace("\\\n", " ")
    return {
        name: set(re.findall(r"--from-file=([\w.-]+)", rest))
        for name, rest in re.findall(r"create secret generic ([\w-]+)([^\n]*)", text)
    }


def references(owner):
    """(kind, name, key or None, where) of what a workload wants of ConfigMaps and Secrets."""
    spec = pod(owner)
    for volume in spec.get("volumes", []):
        for kind, field, name in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
            if field in volume:
                items = volume[field].get("items") or [{"key": None}]
                for item in items:
                    yield kind, volume[field][name], item["key"], f"volume {volume['name']}"
    for container in containers(owner):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if field in source:
                    yield kind, source[field]["name"], source[field]["key"], variable["name"]
        for source in container.get("envFrom", []):
            for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if field in source:
                    yield kind, source[field]["name"], None, "envFrom"


def with_volume(field):
    return lambda b: next(
        v for w in b.workloads() for v in pod(w).get("volumes", []) if field in v)[field]


@policy(
    change(["name"], "nothing", with_volume("configMap")),
    change(["secretName"], "nothing", with_volume("secret")),
    change(["items"], [{"key": "nothing", "path": "x"}], with_volume("configMap")),
    change(["env"], [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "mscp-log-agent-token", "key": "no"}}}]),
)
def every_configmap_secret_and_key_that_is_wanted_is_there(bundle):
    there = {(d["kind"], d["metadata"]["name"]): set(d.get("data", {})) | set(d.get("binaryData", {}))
             for d in bundle.of("ConfigMap", "Secret")}
    there |= {("Secret", name): keys for name, keys in made_by_hand().items()}
    faults, used = [], set()
    for owner in bundle.workloads():
        for kind, name, key, where in references(owner):
            used.add((kind, name))
            if (kind, name) not in there:
                faults.append(f"{name_of(owner)}, {where}: no {kind} {name}")
            elif key is not None and key not in there[kind, name]:
                faults.append(f"{name_of(owner)}, {where}: {kind} {name} has no {key}")
    dashboards = {("ConfigMap", d["metadata"]["name"]) for d in bundle.of("ConfigMap")
                  if "grafana_dashboard" in d["metadata"].get("labels", {})}
    made = {(d["kind"], d["metadata"]["name"]) for d in bundle.of("ConfigMap", "Secret")}
    return faults + [f"nobody uses {kind} {name}" for kind, name in made - used - dashboards]


def leak(text):
    return lambda b: b.of("ConfigMap")[0]["data"].update(leak=text)


@policy(
    leak('sasl_password = "hunter2"'),
    leak("database = 'postgres://mscp_log:hunter2@postgres/mscp_log'"),
    leak("-----BEGIN PRIVATE KEY-----"),
    lambda b: leak(secrets_of(b)[0])(b),
    change(["env"], [{"name": "MSCP_LOG_COLLECT__TOKEN", "value": "eyJhbGciOiJIUzI1NiJ9"}]),
)
def no_secret_is_outside_of_secrets(bundle):
    said = [(f"ConfigMap {name_of(c)}", text) for c in bundle.of("ConfigMap") for text in c.get("data", {}).values()]
    for place, _, container in every_container(bundle):
        said += [(f"{place} {v['name']}", f"{v['name']} = {v.get('value', '')}") for v in container.get("env", [])
                 if "value" in v]
    shapes = [
        r"(?im)^[^#\n]*(password|token|api_key|bearer|secret)\s*=\s*\S",  # and not *_file
        r"://[^/\s:@\"]+:[^/\s@\"]+@",
        r"PRIVATE KEY-----",
    ]
    faults = [f"{place}: looks like a secret" for place, text in said for shape in shapes if re.search(shape, text)]
    return faults + [f"{place}: has a Secret's value" for place, text in said
                     for value in secrets_of(bundle) if value in text]


def secrets_of(bundle):
    values = [base64.b64decode(v).decode(errors="replace").strip()
              for s in bundle.of("Secret") for k, v in s.get("data", {}).items() if k != "email" and not k.endswith(".crt")]
    return [value for value in values if len(value) > 4]


@policy(
    change(["apiVersion"], "extensions/v1beta1", of_kind("DaemonSet")),
    change(["metadata", "namespace"], "default", of_kind("Service")),
    lambda b: b.documents.append(json.loads(json.dumps(b.of("Service")[0]))),
)
def objects_are_of_current_kinds_and_in_one_namespace(bundle):
    faults = [f"{name_of(d)}: {d['apiVersion']}" for d in bundle.documents if d["apiVersion"] not in API_VERSIONS]
    faults += [f"{name_of(d)}: namespace" for d in bundle.documents
               if d["kind"] not in ("Namespace",) and not d["kind"].startswith(("Cluster", "ValidatingAdmissionPolicy"))
               and d["metadata"].get("namespace") != "mscp-log"]
    names = [(d["kind"], d["metadata"]["name"]) for d in bundle.documents]
    return faults + [f"{kind} {name} twice" for kind, name in set(names) if names.count((kind, name)) > 1]


# What the engines and our configuration must agree on

def settings(bundle, config, key):
    found = bundle.one("ConfigMap", config)
    return found["data"].get(key, "") if found else ""


def value(text, key):
    """One `key = value` of TOML, or `key: value` of Elasticsearch's YAML, as text."""
    found = re.search(rf"(?m)^{re.escape(key)}\s*[=:]\s*(.*?)\s*(#.*)?$", text)
    return found.group(1) if found else ""


def variable(bundle, owner, name):
    found = bundle.one("StatefulSet", owner)
    env = containers(found, False)[0]["env"] if found else []
    return next((v.get("value", "") for v in env if v["name"] == name), "")


def pods_of(bundle, name):
    found = bundle.one("StatefulSet", name)
    return [f"{name}-{i}" for i in range(found["spec"]["replicas"])] if found else []


@policy(
    change(["spec", "replicas"], 4, lambda b: b.one("StatefulSet", "kafka")),
    change(["spec", "replicas"], 4, lambda b: b.one("StatefulSet", "elasticsearch-master")),
    lambda b: b.one("ConfigMap", "elasticsearch")["data"].update({"data.yml": "node.roles: [master]"}),
    change(["spec", "maxReplicas"], 13, lambda b: b.one("HorizontalPodAutoscaler", "mscp-log-shipper")),
    lambda b: pods_of(b, "kafka")[0] and b.one("ConfigMap", "mscp-log")["data"].update({"mscp-log.toml": settings(
        b, "mscp-log", "mscp-log.toml").replace("replication = 3", "replication = 5")}),
    lambda b: [v.update(value="-Xms1g -Xmx2g") for v in containers(
        b.one("StatefulSet", "elasticsearch-data"), False)[0]["env"] if v["name"] == "ES_JAVA_OPTS"],
    lambda b: b.one("ConfigMap", "elasticsearch")["data"].update(
        {"master.yml": settings(b, "elasticsearch", "master.yml").replace("memory_lock: true", "memory_lock: false")}),
)
def numbers_of_engines_and_configuration_agree(bundle):
    faults = []
    toml = settings(bundle, "mscp-log", "mscp-log.toml")
    brokers = pods_of(bundle, "kafka")
    if brokers:
        voters = variable(bundle, "kafka", "KAFKA_CONTROLLER_QUORUM_VOTERS").split(",")
        if voters != [f"{i}@{name}.kafka:9093" for i, name in enumerate(brokers)]:
            faults.append("kafka: the voters are not its pods")
        if int(value(toml, "replication") or 3) > len(brokers):
            faults.append("buffer.replication: more than there are brokers")
    shippers = bundle.one("HorizontalPodAutoscaler", "mscp-log-shipper")
    if shippers and shippers["spec"]["maxReplicas"] > int(value(toml, "partitions") or 12):
        faults.append("more shippers than buffer.partitions")
    masters = pods_of(bundle, "elasticsearch-master")
    for role in ("master", "data", "client") if masters else ():
        text = settings(bundle, "elasticsearch", f"{role}.yml")
        if value(text, "node.roles") != {"client": "[]"}.get(role, f"[{role}]"):
            faults.append(f"{role}.yml: node.roles")
        if value(text, "discovery.seed_hosts") != "[elasticsearch-discovery]":
            faults.append(f"{role}.yml: discovery.seed_hosts")
        if value(text, "bootstrap.memory_lock") != "true":
            faults.append(f"{role}.yml: bootstrap.memory_lock")
        if (role == "master") != bool(value(text, "cluster.initial_master_nodes")):
            faults.append(f"{role}.yml: cluster.initial_master_nodes")
    named = value(settings(bundle, "elasticsearch", "master.yml"), "cluster.initial_master_nodes")
    if masters and named != f"[{', '.join(masters)}]":
        faults.append("master.yml: the first masters are not its pods")
    for place, _, container in every_container(bundle, False):
        for v in container.get("env", []):
            heap = re.match(r"^-Xms(\w+) -Xmx(\w+)$", v.get("value", ""))
            if v["name"] == "ES_JAVA_OPTS" and (not heap or heap[1] != heap[2]):
                faults.append(f"{place}: the heap is not fixed")
    return faults


@policy(
    change(["affinity"], None, lambda b: pod(b.one("StatefulSet", "kafka"))),
    lambda b: pod(b.one("StatefulSet", "elasticsearch-data"))["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"][0].update(labelSelector={"matchLabels": {"role": "master"}}),
)
def replicas_that_keep_data_do_not_share_a_machine(bundle):
    faults = []
    for owner in bundle.of("StatefulSet"):
        apart = pod(owner).get("affinity", {}).get("podAntiAffinity", {})
        rules = apart.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        own = [r for r in rules if r["topologyKey"] == "kubernetes.io/hostname"
               and owner in bundle.selected(r["labelSelector"]["matchLabels"])]
        if owner["spec"]["replicas"] > 1 and not own:
            faults.append(name_of(owner))
    return faults


@policy(
    lambda b: b.one("ConfigMap", "mscp-log-agent-config")["data"].update(
        {"agent.toml": 'url = "http://mscp-log-nobody:8300"'}),
    lambda b: b.one("ConfigMap", "mscp-log")["data"].update({"mscp-log.toml": 'store = ["http://elasticsearch:9201"]'}),
    lambda b: b.documents.remove(b.one("Service", "mscp-log-parser")),
)
def addresses_in_configurations_are_services_with_that_port(bundle):
    texts = [t for c in bundle.of("ConfigMap") if "grafana_dashboard" not in c["metadata"].get("labels", {})
             for t in c["data"].values()]
    texts += [v.get("value", "") for _, _, c in every_container(bundle) for v in c.get("env", [])]
    texts += [base64.b64decode(v).decode(errors="replace") for s in bundle.of("Secret")
              for k, v in s["data"].items() if k == "database-url"]
    services = {name_of(s): {p["port"] for p in s["spec"]["ports"]} for s in bundle.of("Service")}
    pods = {f"{p}.{w['spec'].get('serviceName')}": services.get(w["spec"].get("serviceName"), set())
            for w in bundle.of("StatefulSet") for p in pods_of(bundle, name_of(w))}
    faults = []
    for text in texts:
        text = re.sub(r"(?m)^\s*#.*$", "", text)
        for host, port in re.findall(r"(?:://|@|[\"\s,])([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*):(\d{2,5})\b", text):
            if host.endswith("example.org"):
                continue
            if int(port) not in {**services, **pods}.get(host, set()):
                faults.append(f"{host}:{port} is nowhere")
    return sorted(set(faults))


@policy(lambda b: next(d for d in b.of("ConfigMap") if "grafana_dashboard" in d["metadata"].get("labels", {}))[
    "data"].update({"x.json": json.dumps({"panels": [{"targets": [{"expr": "rate(mscp_log_nothing_total[1m])"}]}]})}))
def dashboards_show_metrics_that_are_documented(bundle):
    faults = []
    for config in bundle.of("ConfigMap"):
        if "grafana_dashboard" in config["metadata"].get("labels", {}):
            for text in config["data"].values():
                asked = {t["expr"] for p in json.loads(text)["panels"] for t in p.get("targets", [])}
                names = {n for expr in asked for n in re.findall(r"\bmscp_log_\w+", expr)}
                # Of a histogram, Prometheus has its buckets, its sum and its count.
                parts = {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", n) for n in names}
                faults += [f"{name_of(config)}: {n}" for n in parts if not re.search(rf"\b{n}\b", DOCS)]
    return faults
