"""Render every overlay of reference-deploy and hold it against the schemas of Kubernetes, our
policies (policies.py) and our own reading of configurations (`mscp-log check --offline`).

    check.py --program target/debug/mscp-log     everything
    check.py --render FOLDER                     only write what the overlays render to
    check.py --write-rules                       make the alerts' prometheusrule.yaml of rules.yaml

Nothing of the working tree is changed: a copy gets secrets made up for the occasion."""

import argparse
import base64
import copy
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import yaml

import policies

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = "1.32"
# A resource of somebody else's, whose schema is not Kubernetes'.
FOREIGN = {"monitoring.coreos.com/v1"}
ALERTS = ROOT / "reference-deploy/components/alerts"
OVERLAYS = ("single", "platform", "external")
# Each component once, in a combination that makes sense.
VARIANTS = {
    "single with monitoring, alerts, dashboard, beats": ("single", ["monitoring", "alerts", "dashboard", "beats"]),
    "platform with journal, docker, guard, beats": ("platform", ["journal", "docker", "guard", "beats"]),
    "external with monitoring, dashboard": ("external", ["monitoring", "dashboard"]),
}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nmade up\n-----END CERTIFICATE-----\n"
# What an operator fills in for `external`.
FILLED_IN = {
    "database-url": "postgres://mscp_log:made-up-1@postgres.example.org:5432/mscp_log"
    "?sslmode=verify-full&sslrootcert=/etc/mscp-log/identity/database-ca.crt",
    "database-ca.crt": CERTIFICATE,
    "kafka-password": "made-up-password-2",
    "kafka-ca.crt": CERTIFICATE,
    "elasticsearch-api-key": "bWFkZS11cDprZXk=",
    "elasticsearch-ca.crt": CERTIFICATE,
}


def kustomize(folder):
    """What `folder` renders to, by kubectl or by kustomize, whichever is there."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        program = shutil.which(command[0])
        if program:
            done = subprocess.run([program, command[1], str(folder)], capture_output=True, text=True, check=False)
            if done.returncode or done.stderr:
                sys.exit(f"{folder.name}: {' '.join(command)}: {done.stderr}")
            return done.stdout
    sys.exit("neither kubectl nor kustomize is there")


def render(scratch):
    """Name -> text of every overlay and variant."""
    copied = scratch / "reference-deploy"
    shutil.copytree(ROOT / "reference-deploy", copied, ignore=shutil.ignore_patterns("secrets"))
    given = copied / "overlays/external/secrets"
    given.mkdir()
    for name, text in FILLED_IN.items():
        (given / name).write_text(text)
    for overlay in OVERLAYS:
        subprocess.run([copied / "secrets.sh", overlay], check=True, capture_output=True)
    rendered = {name: kustomize(copied / "overlays" / name) for name in OVERLAYS}
    for title, (overlay, components) in VARIANTS.items():
        # Beside the overlay's own file, as its user would write it.
        folder = copied / "overlays" / overlay
        plain = (folder / "kustomization.yaml").read_text()
        wanted = "\n".join(f"- ../../components/{name}" for name in components)
        (folder / "kustomization.yaml").write_text(f"{plain}\ncomponents:\n{wanted}\n")
        rendered[title] = kustomize(folder)
        (folder / "kustomization.yaml").write_text(plain)
    used = {name for _, components in VARIANTS.values() for name in components}
    there = {folder.name for folder in (copied / "components").iterdir()}
    if used != there:
        sys.exit(f"components that no variant tries: {sorted(there - used)}")
    return rendered


def schema_faults(bundle):
    import kubernetes_validate

    faults = []
    for document in bundle.documents:
        if document["apiVersion"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            faults.append(f"{document['kind']} {document['metadata']['name']}: {error.message} at {list(error.path)}")
    return faults


def unbroken(bundles):
    """Breaks that no policy finds: a policy that finds nothing guards nothing."""
    misses, tried = [], 0
    for function, breaks in policies.POLICIES:
        for number, change in enumerate(breaks, 1):
            applied = 0
            for title, bundle in bundles.items():
                broken = policies.Bundle(copy.deepcopy(bundle.documents))
                try:
                    change(broken)
                except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError):
                    continue  # this overlay has nothing of the kind
                if broken.documents == bundle.documents:
                    continue
                applied += 1
                if set(function(broken)) <= set(function(bundle)):
                    misses.append(f"{title}: {function.__name__} does not find break {number}")
            tried += applied
            if not applied:
                misses.append(f"{function.__name__}: break {number} breaks nothing")
    return misses, tried


def strict_schema_misses(bundles):
    """The schemas must refuse a field that Kubernetes does not know."""
    broken = policies.Bundle(copy.deepcopy(bundles["single"].documents))
    policies.first(broken)["redinessProbe"] = {}
    return [] if schema_faults(broken) else ["the schemas let an unknown field pass"]


# Alerts

def rule_of_the_operator():
    """The rules as the resource that the Prometheus operator reads."""
    lines = (ALERTS / "rules.yaml").read_text().splitlines()
    head = [
        "# Made of rules.yaml: tests/deploy/check.py --write-rules",
        "apiVersion: monitoring.coreos.com/v1",
        "kind: PrometheusRule",
        "metadata:",
        "  name: mscp-log",
        "spec:",
    ]
    return "\n".join(head + [f"  {line}" for line in lines if not line.startswith("#")]) + "\n"


def alert_faults():
    """The alerts: both forms alike, each documented and tried, no loss without one; what promtool says."""
    rules = (ALERTS / "rules.yaml").read_text()
    tests = (ROOT / "tests/deploy/alerts.yaml").read_text()
    page = (ROOT / "docs/alerts.md").read_text()
    metrics = (ROOT / "docs/metrics.md").read_text()
    faults = []
    if (ALERTS / "prometheusrule.yaml").read_text() != rule_of_the_operator():
        faults.append("prometheusrule.yaml is not what rules.yaml makes: tests/deploy/check.py --write-rules")
    groups = yaml.safe_load(rules)["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    described = set(re.findall(r"^### (\w+)$", page, re.M))
    fire = {t["alertname"] for case in yaml.safe_load(tests)["tests"] for t in case["alert_rule_test"] if t["exp_alerts"]}
    faults += [f"docs/alerts.md and the rules differ in {name}" for name in sorted(described ^ alerts.keys())]
    faults += [f"alerts.yaml and the rules differ in {name}" for name in sorted(fire ^ alerts.keys())]
    faults += [f"{name}: its runbook is elsewhere" for name, rule in alerts.items()
               if not rule["annotations"]["runbook_url"].endswith(f"/docs/alerts.md#{name.lower()}")]
    asked = set(re.findall(r"\bmscp_log_\w+", rules))
    known = set(re.findall(r"^\| `(mscp_log_\w+)`", metrics, re.M))
    losses = set(re.findall(r"^\| `(mscp_log_\w+)`.*\*\*Loss\.\*\*", metrics, re.M))
    faults += [f"{name} is no metric of docs/metrics.md" for name in sorted(asked - known)]
    faults += [f"no alert tells of {name}" for name in sorted(losses - asked)]
    promtool = shutil.which("promtool")
    if not promtool:
        print("promtool is not there: the alerts were not tried")
        return faults
    with tempfile.TemporaryDirectory() as folder:
        for file in (ALERTS / "rules.yaml", ROOT / "tests/deploy/alerts.yaml"):
            shutil.copy(file, folder)
        for command in (["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]):
            done = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                faults.append(f"promtool {' '.join(command)}: {done.stdout}{done.stderr}")
        # It must be able to say no: each alert that never fires fails its test.
        for name in alerts:
            mute = [{**g, "rules": [{**r, "expr": f"({r['expr']}) * 0 > 1"} if r["alert"] == name else r for r in g["rules"]]}
                    for g in groups]
            (pathlib.Path(folder) / "rules.yaml").write_text(yaml.safe_dump({"groups": mute}))
            done = subprocess.run([promtool, "test", "rules", "alerts.yaml"], cwd=folder, capture_output=True, check=False)
            if not done.returncode:
                faults.append(f"{name} was muted, and its test passed")
    return faults


# Our own configuration

def lay_out(bundle, owner, container, folder):
    """The files that `container` sees in its ConfigMaps and Secrets, below `folder`."""
    by_hand = policies.made_by_hand()
    volumes = {v["name"]: v for v in policies.pod(owner).get("volumes", [])}
    for mount in container["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        place = folder / mount["mountPath"].lstrip("/")
        if "configMap" in volume:
            found = next(d for d in bundle.of("ConfigMap") if d["metadata"]["name"] == volume["configMap"]["name"])
            files = {name: text.encode() for name, text in found["data"].items()}
        elif "secret" in volume:
            name = volume["secret"]["secretName"]
            found = next((d for d in bundle.of("Secret") if d["metadata"]["name"] == name), None)
            files = ({k: base64.b64decode(v) for k, v in found["data"].items()} if found
                     else {key: b"made by hand" for key in by_hand.get(name, ())})
            items = volume["secret"].get("items")
            files = {i["path"]: files[i["key"]] for i in items if i["key"] in files} if items else files
        else:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name).write_bytes(content)


def check_configuration(program, bundle, owner, container, folder):
    """Run `mscp-log check --offline` as `container` would start: its arguments, environment, files."""
    lay_out(bundle, owner, container, folder)

    def moved(text):
        return re.sub(r"(?<![\w.])/(etc/mscp-log|var/lib/mscp-log)\b", f"{folder}/\\1", text)

    missing = []
    environment = {"PATH": os.environ["PATH"]}
    for variable in container.get("env", []):
        environment[variable["name"]] = moved(variable.get("value", "node-1"))
    for file in folder.rglob("*.toml"):
        file.write_text(moved(file.read_text()))
    texts = [file.read_text() for file in folder.rglob("*.toml")] + list(environment.values())
    texts += [moved(file.read_text()) for file in folder.rglob("database-url")]
    for path in {p for text in texts for p in re.findall(rf"{folder}/[^\s\"',&]+", re.sub(r"(?m)^\s*#.*$", "", text))}:
        if not pathlib.Path(path).exists():
            missing.append(f"error: {path.removeprefix(str(folder))} is not mounted")
    serve, *arguments = container["args"]
    assert serve == "serve", serve
    return judge(program, [*map(moved, arguments)], environment, folder, missing)


def judge(program, arguments, environment, folder, missing):
    """(errors, warnings) that the program tells of its configuration, `missing` among the errors."""
    command = [program, "check", "--offline", *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    told = (done.stdout + done.stderr).replace(str(folder), "").splitlines()
    errors = missing + [line for line in told if line.startswith("error")]
    if done.returncode and not errors:
        errors = told or [f"{shlex.join(command)}: {done.returncode}"]
    return errors, [line for line in told if line.startswith("warning")]


def configurations(program, bundles):
    faults, checked, warnings = [], 0, set()
    for title, bundle in bundles.items():
        for place, owner, container in policies.every_container(bundle, False):
            if not policies.ours(container):
                continue
            with tempfile.TemporaryDirectory() as folder:
                errors, warned = check_configuration(program, bundle, owner, container, pathlib.Path(folder))
            faults += [f"{title}: {place}: {error}" for error in errors]
            warnings |= {f"{title}: {place}: {line}" for line in warned}
            checked += 1
    return faults, checked, warnings


def configuration_misses(program, bundles):
    """The check of configurations must find a key that is none, and a file that is not mounted."""
    bundle = bundles["single"]
    owner = bundle.one("StatefulSet", "mscp-log")
    changes = {
        "a key that is none": lambda b: b.one("ConfigMap", "mscp-log")["data"].update({"mscp-log.toml": "[http]\nlisen = 1"}),
        "a file that is not mounted": lambda b: b.one("Secret", "mscp-log-identity").update(data={}),
        "a variable that is no key": lambda b: policies.containers(b.one("StatefulSet", "mscp-log"))[0]["env"].append(
            {"name": "MSCP_LOG_BUFFER__NOTHING", "value": "1"}),
    }
    misses = []
    for what, change in changes.items():
        broken = policies.Bundle(copy.deepcopy(bundle.documents))
        change(broken)
        owner = broken.one("StatefulSet", "mscp-log")
        with tempfile.TemporaryDirectory() as folder:
            errors, _ = check_configuration(program, broken, owner, policies.containers(owner)[0], pathlib.Path(folder))
        if not errors:
            misses.append(f"check --offline does not find {what}")
    return misses


# Compose and the image

COMPOSE = (ROOT / "reference-deploy/compose.yaml").read_text()
DOCKERFILE = (ROOT / "reference-deploy/Dockerfile").read_text()
# What must be found in them once it is changed so.
COMPOSE_BREAKS = [
    ("postgres:15.14", "postgres:latest"), ("mem_limit: 1g", "privileged: true"), ("file: ./compose/secrets/agent-token", ""),
    ("--role, api]", "--role, apes]"), ("secrets: [database-url, master-key]", "secrets: [master-key]"),
    ("profiles: [platform]\n    restart", "profiles: [single]\n    restart"),
]
DOCKERFILE_BREAKS = [
    ("USER 65532:0\n\n", "USER 0\n\n"), ("debian:12.12-slim", "debian:stable-slim"), ("kafka,kubernetes,postgres", "kafka,postgres"),
    ("AS mscp-log", "AS other"),
]


def compose_faults(program, text):
    """The compose file's own configurations, and what can be said of it without docker."""
    services = yaml.safe_load(text)["services"]
    made = {name for name, entry in yaml.safe_load(text)["secrets"].items() if entry and entry.get("file")}
    faults, checked = [], 0
    for name, service in services.items():
        if not re.search(r":\d+\.\d+[\w.-]*$", service["image"]):
            faults.append(f"compose: {name}: {service['image']} is not pinned")
        if service.get("privileged") or "mem_limit" not in service:
            faults.append(f"compose: {name}: privileged, or without a limit")
        for other in service.get("depends_on", {}):
            if other not in services or services[other]["profiles"] != service["profiles"]:
                faults.append(f"compose: {name}: waits for {other}, which is not in its profile")
        faults += [f"compose: {name}: no secret {s}" for s in service.get("secrets", []) if s not in made]
        if "/mscp-log:" not in service["image"]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            (folder / "secrets").mkdir()
            for secret in service.get("secrets", []):
                content = "postgres://u:p@postgres:5432/mscp_log" if secret == "database-url" else "0" * 64
                (folder / "secrets" / secret).write_text(content)

            def moved(value, folder=folder):
                return value.replace("/run/secrets/", f"{folder}/secrets/").replace("/var/lib/mscp-log", f"{folder}/data")

            mounts = dict(reversed(v.split(":")[:2]) for v in service.get("volumes", []))
            environment = {"PATH": os.environ["PATH"]}
            environment |= {key: moved(value) for key, value in service.get("environment", {}).items()}
            arguments = service["command"][1:]
            place = arguments.index("--config") + 1
            config = moved((ROOT / "reference-deploy" / mounts[arguments[place]]).read_text())
            (folder / "config.toml").write_text(config)
            arguments[place] = str(folder / "config.toml")
            missing = [f"error: {path} is not mounted" for path in re.findall(rf"{folder}/secrets/[\w-]+", config)
                       if not pathlib.Path(path).exists()]
            errors, _ = judge(program, arguments, environment, folder, missing)
        faults += [f"compose: {name}: {error}" for error in errors]
        checked += 1
    return faults, checked


def image_faults(text):
    """The Dockerfile: pinned, not root, built as its users need it."""
    lines = text.replace("\\\n", " ").splitlines()
    stages, faults = {}, []
    for words in (line.split() for line in lines if line and not line.startswith("#")):
        if words[0] == "FROM":
            stages[words[3]] = [words[1]]
            if words[1] not in stages and not re.search(r":\d+\.\d+", words[1]):
                faults.append(f"Dockerfile: {words[1]} is not pinned")
        stages[list(stages)[-1]].append(words)
    for name in ("agent", "mscp-log"):
        if stages.get(name, [None])[-1] != ["USER", "65532:0"]:
            faults.append(f"Dockerfile: {name} runs as root")
    if not any("kafka,kubernetes,postgres" in words for words in stages["build"]):
        faults.append("Dockerfile: built without kafka, kubernetes or postgres")
    if list(stages)[-1] != "mscp-log":
        faults.append("Dockerfile: the last stage is not mscp-log")
    return faults


def not_found(check, text, breaks):
    """Those of `breaks`, each a text and what takes its place, in which `check` finds nothing."""
    assert all(old in text for old, _ in breaks), "a break breaks nothing"
    known = set(check(text))
    return [f"nothing finds {new!r} in place of {old!r}" for old, new in breaks
            if set(check(text.replace(old, new))) <= known]


def read_pages():
    policies.README = (ROOT / "reference-deploy/README.md").read_text()
    for component in sorted((ROOT / "reference-deploy/components").glob("*/kustomization.yaml")):
        policies.README += component.read_text().replace("#  ", "").replace("\\\n#", "\\\n")
    policies.DOCS = "\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--program", type=pathlib.Path, help="the program mscp-log")
    arguments.add_argument("--render", type=pathlib.Path, help="write what the overlays render to, and end")
    arguments.add_argument("--write-rules", action="store_true", help="make the alerts' prometheusrule.yaml, and end")
    wanted = arguments.parse_args()
    if wanted.write_rules:
        (ALERTS / "prometheusrule.yaml").write_text(rule_of_the_operator())
        return
    read_pages()
    with tempfile.TemporaryDirectory() as scratch:
        rendered = render(pathlib.Path(scratch))
    if wanted.render:
        wanted.render.mkdir(parents=True, exist_ok=True)
        for title, text in rendered.items():
            (wanted.render / f"{title.replace(' ', '-').replace(',', '')}.yaml").write_text(text)
        return
    bundles = {title: policies.Bundle(yaml.safe_load_all(text)) for title, text in rendered.items()}
    faults = []
    for title, bundle in bundles.items():
        faults += [f"{title}: schema: {fault}" for fault in schema_faults(bundle)]
        for function, _ in policies.POLICIES:
            faults += [f"{title}: {function.__name__}: {fault}" for fault in function(bundle)]
    misses, tried = unbroken(bundles)
    faults += misses + strict_schema_misses(bundles) + image_faults(DOCKERFILE)
    faults += not_found(image_faults, DOCKERFILE, DOCKERFILE_BREAKS)
    faults += alert_faults()
    objects = sum(len(bundle.documents) for bundle in bundles.values())
    print(f"{len(bundles)} renderings, {objects} objects against the schemas of Kubernetes {KUBERNETES} and "
          f"{len(policies.POLICIES)} policies; {tried} changes that break a policy")
    if wanted.program:
        program = wanted.program.resolve()
        errors, checked, warnings = configurations(program, bundles)
        faults += errors + configuration_misses(program, bundles)
        errors, more = compose_faults(program, COMPOSE)
        faults += errors
        faults += not_found(lambda text: compose_faults(program, text)[0], COMPOSE, COMPOSE_BREAKS)
        checked += more
        print(f"{checked} configurations through `mscp-log check --offline`")
        for warning in sorted(warnings):
            print(f"  {warning}")
    for fault in faults:
        print(f"FAULT {fault}")
    sys.exit(1 if faults else 0)


main()
