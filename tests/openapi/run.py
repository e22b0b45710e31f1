"""Hold a running node against the document that it shows of its API: schemathesis makes requests from `openapi.json` and
judges the answers, once with a token for everything and once with none.

    run.py --program target/debug/mscp-log [--seed N] [--examples N]

Needs what requirements.txt names. The node is started on a fresh folder and a port of the system's choice."""

import argparse
import base64
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
EMAIL, PASSWORD = "admin@example.org", "correct horse battery staple"
START_LIMIT_S = 60
STOP_LIMIT_S = 60
EVERYTHING = [
    {"method": ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"], "url": ["/**"], "other": {"log": {"write": True}}}
]
METHODS = {"get", "put", "post", "delete", "patch"}
# What a run cannot get done, and why.
NEVER_DONE = {
    # schemathesis reads the document and tries this no further.
    "GET /openapi.json",
    # The next key may sign when every replica has seen it, 30 s after the start.
    "POST /system/keys/rotate",
    # hooks.py keeps keys that are there.
    "DELETE /system/keys/{kid}",
    # The embedded store refuses no document, so there are no dead letters.
    "DELETE /{region}/system/log/dead-letters/{number}",
}


class Node:
    """`mscp-log serve` as its users run it."""

    def __init__(self, program, folder):
        variables = {
            **os.environ,
            "MSCP_LOG_ADMIN_EMAIL": EMAIL,
            "MSCP_LOG_ADMIN_PASSWORD": PASSWORD,
        }
        command = [program, "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said, self.logged, self.url = [], [], None
        found = threading.Event()

        def read(stream, lines):
            for line in stream:
                lines.append(line)
                if match := re.search(r"listens on (http://\S+)", line):
                    self.url = match[1]
                    found.set()
            found.set()

        streams = [(self.process.stdout, self.said), (self.process.stderr, self.logged)]
        self.readers = [threading.Thread(target=read, args=stream, daemon=True) for stream in streams]
        for reader in self.readers:
            reader.start()
        found.wait(START_LIMIT_S)
        if not self.url:
            self.process.kill()
            sys.exit("the node did not start; it said:\n" + "".join(self.said + self.logged))

    def ask(self, method, path, authorization=None, body=None):
        """The status and what JSON the answer is."""
        request = urllib.request.Request(self.url + path, method=method)
        if authorization:
            request.add_header("Authorization", authorization)
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(request, data, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        finally:
            self.process.kill()
            for reader in self.readers:
                reader.join(STOP_LIMIT_S)


def sign_in(node):
    """A root token, an access token for everything, and the id of the account."""
    basic = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
    _, root = node.ask("POST", "/api/auth/token_root", f"Basic {basic}")
    _, issued = node.ask("POST", "/api/auth", f"Bearer {root['token']}", EVERYTHING)
    payload = issued["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return root["token"], issued["token"], claims["user_id"]


def run(node, folder, seed, examples, tokens):
    """The faults that one run of schemathesis finds; `tokens` is nothing where nobody signs in."""
    config = (HERE / "schemathesis.toml").read_text()
    region = "local"
    root, access, account = tokens or ("", "", "")
    answers = folder / "answers.json"
    answers.unlink(missing_ok=True)
    if tokens:
        # Secrets come by the environment, and stay out of the report.
        config += (
            '\n[auth.openapi]\naccess_token = { bearer = "${OPENAPI_ACCESS}" }\nroot_token = { bearer = "${OPENAPI_ROOT}" }\n'
            'password = { username = "${OPENAPI_EMAIL}", password = "${OPENAPI_PASSWORD}" }\n'
        )
    (folder / "schemathesis.toml").write_text(config)
    variables = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "OPENAPI_REGION": region,
        "OPENAPI_ACCOUNT": account,
        "OPENAPI_ACCESS": access,
        "OPENAPI_ROOT": root,
        "OPENAPI_ANSWERS": str(answers),
        "OPENAPI_EMAIL": EMAIL,
        "OPENAPI_PASSWORD": PASSWORD,
    }
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    command = [
        str(program), "--config-file", str(folder / "schemathesis.toml"), "run", f"{node.url}/api/openapi.json",
        "--seed", str(seed), "--max-examples", str(examples),
    ]  # fmt: skip
    code = subprocess.run(command, env=variables, cwd=folder, check=False).returncode
    if code:
        yield "schemathesis found faults, see above"
    counted = json.loads(answers.read_text()) if answers.exists() else {}
    _, document = node.ask("GET", "/api/openapi.json")
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            name = f"{method.upper()} {path}"
            done = [status for status in counted.get(name, {}) if status.startswith("2")]
            if tokens and not done and name not in NEVER_DONE:
                yield f"{name} was never done, so little was tried of it: {counted.get(name)}"
            if not tokens and done and "security" in item[method]:
                yield f"{name} was done without a token: {counted[name]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--program", required=True, help="the binary mscp-log")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=20, help="of each operation and phase, at most")
    parser.add_argument("--only", choices=["with", "without"], help="one run alone")
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mscp-log-openapi-"))
    faults = []
    try:
        node = Node(str(pathlib.Path(given.program).resolve()), folder)
        try:
            for name, tokens in (("with", sign_in(node)), ("without", None)):
                if given.only not in (None, name):
                    continue
                print(f"== {name} a token, seed {given.seed}", flush=True)
                begun = time.monotonic()
                found = run(node, folder, given.seed, given.examples, tokens)
                faults += [f"{name} a token, seed {given.seed}: {fault}" for fault in found]
                print(f"== {name} a token: {time.monotonic() - begun:.0f} s", flush=True)
            status, readiness = node.ask("GET", "/readyz")
            if status != 200 or not readiness["ready"]:
                faults.append(f"/readyz answers {status}: {readiness}")
        finally:
            ended = node.stop()
        if ended != 0:
            faults.append(f"the node ended with {ended}")
        faults += [f"the node logged: {line.strip()}" for line in node.logged if re.search(r"\bERROR\b|panick", line)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
