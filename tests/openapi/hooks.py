"""What schemathesis cannot know from the document: bodies that are not JSON, what a request has to agree with besides its
schema, and what would end the run."""

import atexit
import collections
import gzip
import itertools
import json
import os
import re
import struct
import time

import schemathesis
import zstandard
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from schemathesis.generation.meta import TestPhase

REGION = os.environ["OPENAPI_REGION"]
OWN_ACCOUNT = os.environ["OPENAPI_ACCOUNT"]
APP = "caa0c2f0-1116-495f-8f09-3cd023cc14a2"
NOBODY = "00000000-0000-4000-8000-000000000000"


# Bodies


def field(number, wire, value):
    """A field of protobuf: a varint (0), eight bytes (1), or bytes with their length (2)."""
    def varint(n):
        out = bytearray()
        while n > 0x7F:
            out.append(n & 0x7F | 0x80)
            n >>= 7
        return bytes(out) + bytes([n])

    tag = varint(number << 3 | wire)
    if wire == 0:
        return tag + varint(value)
    if wire == 1:
        return tag + struct.pack("<Q", value)
    return tag + varint(len(value)) + value


def export(texts):
    """An `ExportLogsServiceRequest` with a record for each text."""
    now = time.time_ns()
    records = b"".join(
        field(2, 2, field(1, 1, now) + field(2, 0, 9) + field(5, 2, field(1, 2, text.encode()))) for text in texts
    )
    return field(1, 2, field(2, 2, records)) if texts else b""


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=4)
schemathesis.openapi.media_type("application/x-protobuf", TEXTS.map(export))
schemathesis.openapi.media_type(
    "application/grpc", TEXTS.map(export).map(lambda message: struct.pack(">BI", 0, len(message)) + message)
)
schemathesis.openapi.media_type("application/zstd", st.binary(max_size=200).map(zstandard.compress))
# What the lines are depends on the operation; the serializer below knows it.
schemathesis.openapi.media_type("application/x-ndjson", TEXTS.map(lambda texts: json.dumps(texts).encode()))


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    try:
        texts = json.loads(value) or [""]
    except (TypeError, ValueError):
        return value
    case, now = ctx.case, time.time_ns() // 1000
    appid = str((case.path_parameters or {}).get("appid", APP))
    lines = []
    for text in texts:
        if case.path.endswith("/_bulk"):
            lines += [{"index": {}}, {"message": text, "timestamp": now}]
        elif case.path.endswith("/collect"):
            file = {"kind": "file", "path": "/var/log/a.log", "device": 1, "inode": 2, "generation": 3}
            lines.append({"host": "n1", "read_us": now, "file": file, "lines": [[0, text]]})
        else:
            lines.append({"timestamp": now, "appid": appid, "type": "a", "message": text})
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


SEND = HTTPAdapter.send


def compressed(adapter, request, *arguments, **named):
    """Send a body as its `Content-Encoding` says."""
    encoding = request.headers.get("Content-Encoding")
    encoding = encoding.decode() if isinstance(encoding, bytes) else encoding
    compress = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstandard.compress}.get(encoding)
    if compress:
        body = request.body or b""
        request.body = compress(body.encode() if isinstance(body, str) else body)
        request.headers["Content-Length"] = str(len(request.body))
    return SEND(adapter, request, *arguments, **named)


HTTPAdapter.send = compressed


# Cases


def is_uuid(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value)


# What the run has made: ids of accounts, by what they are, tokens with their accounts, and names of roles.
PERSONS, SERVICES, TOKENS, ROLES = [], [], [], []
# Whether an account is a service's, of all that were ever seen.
IS_SERVICE = {OWN_ACCOUNT: False}
TURN = itertools.count()


def existing(case):
    """Every second request for one thing gets one that is there; by chance there would hardly ever be one."""
    path = case.path_parameters or {}
    if case.meta is None or case.meta.phase.name == TestPhase.STATEFUL or next(TURN) % 2:
        return
    take = list.pop if case.method == "DELETE" else lambda known: known[-1]
    match case.path:
        case "/system/users/{id}" if is_uuid(path.get("id")) and PERSONS:
            path["id"] = take(PERSONS)
        case "/system/users/{id}/tokens" if is_uuid(path.get("id")) and SERVICES:
            path["id"] = SERVICES[-1]
        case "/system/users/{id}/tokens/{jti}" if is_uuid(path.get("id")) and is_uuid(path.get("jti")) and TOKENS:
            path["id"], path["jti"] = take(TOKENS)
        case "/system/roles/{name}" if re.fullmatch("[A-Za-z0-9_.-]{1,64}", str(path.get("name"))) and ROLES:
            path["name"] = take(ROLES)


def whole(value):
    """JSON Schema has 1.0 as an integer; readers of JSON with integers of their own do not."""
    match value:
        case float() if value.is_integer() and abs(value) < 1 << 63:
            return int(value)
        case list():
            return [whole(item) for item in value]
        case dict():
            return {name: whole(item) for name, item in value.items()}
    return value


def fitted(case):
    """What a request has to agree with besides its schema, where it would be right otherwise, and what it must not do for
    the run to go on. Here, and not in hooks that filter, as links choose their values later than those."""
    if isinstance(case.body, (dict, list)):
        case.body = whole(case.body)
    path, body = case.path_parameters or {}, case.body
    # A name that could be a region's becomes that of the one that is there; the others stay.
    if re.fullmatch("[a-z0-9][a-z0-9_-]{0,62}", str(path.get("region", ""))):
        path["region"] = REGION
    match case.method, case.path:
        # With another password or e-mail, disabled, or without its grants the run's own account could not go on.
        case "PATCH", "/system/users/{id}" if path.get("id") == OWN_ACCOUNT:
            path["id"] = NOBODY
        # Every token that a key signed ends with it, the run's own too.
        case "DELETE", "/system/keys/{kid}" if re.fullmatch("[0-9a-f]{16}", str(path.get("kid"))):
            path["kid"] = "0" * 16
    match case.method, case.path:
        case "POST", "/apps/log" | "/apps/{appid}/log":
            for record in body if isinstance(body, list) else [body]:
                if not isinstance(record, dict):
                    continue
                # The times that are taken move with the clock.
                for name in ("timestemp", "timestamp"):
                    if type(record.get(name)) is int:
                        record[name] = time.time_ns() // 1000
                # A record is of the application in the path.
                if is_uuid(record.get("appid")) and is_uuid(str(path.get("appid"))):
                    record["appid"] = str(path["appid"])
        case "PATCH", "/system/users/{id}" if isinstance(body, dict):
            # A person's name is an address, and a service has no password.
            email = body.get("email")
            if not IS_SERVICE.get(path["id"]) and isinstance(email, str) and not re.search(r"[^\s@]@[^\s@]", email):
                body["email"] = f"a{email.strip().replace('@', '')}@example.org" if email.strip() else email
            if IS_SERVICE.get(path["id"]) and isinstance(body.get("password"), str):
                del body["password"]
        case "POST", "/system/users/{id}/tokens" if IS_SERVICE.get(path.get("id")) is False:
            # Such tokens are for services.
            path["id"] = SERVICES[-1] if SERVICES else NOBODY
        case "POST", "/{region}/system/log":
            settings(body[0] if isinstance(body, list) and len(body) == 1 else body)


def settings(document):
    """A change of settings that this node can make, and that leaves it able to answer."""
    if not isinstance(document, dict):
        return
    below = lambda name: document[name] if isinstance(document.get(name), dict) else {}
    # What one process is made of stays as it is.
    store = below("elasticsearch")
    parts = [below("parser").get("status"), below("shipper").get("status")]
    if isinstance(store.get("status"), dict):
        parts += [store["status"].get(name) for name in ("master", "data", "client")]
    for part in parts:
        value = part.get("scheduled", 0) if isinstance(part, dict) else 0
        if isinstance(part, dict) and (value is None or type(value) is int and 0 <= value <= 10_000):
            part.pop("scheduled", None)
    # The disk buffer has a size, and not one that the run could fill; `null` is for Kafka.
    size = below("buffer").get("max_bytes", 0)
    if size is None or type(size) is int and 1 << 24 <= size < 1 << 28:
        document["buffer"]["max_bytes"] = 1 << 28
    # Switched off, every push would be 503, which is what the run calls a fault.
    gateway = below("collector").get("http_gateway")
    if isinstance(gateway, dict) and gateway.get("enabled") is False:
        gateway["enabled"] = True


@schemathesis.hook
def before_call(context, case, kwargs):
    existing(case)
    fitted(case)


ANSWERS = collections.defaultdict(collections.Counter)


@atexit.register
def tell():
    """How often each operation answered with which status, for run.py."""
    with open(os.environ["OPENAPI_ANSWERS"], "w") as file:
        json.dump({f"{method} {path}": answers for (method, path), answers in ANSWERS.items()}, file)


@schemathesis.hook
def after_call(context, case, response):
    ANSWERS[case.method, case.path][response.status_code] += 1
    match case.method, case.path, response.status_code:
        case "POST", "/system/users", 201:
            account = response.json()
            (SERVICES if account["service"] else PERSONS).append(account["id"])
            IS_SERVICE[account["id"]] = account["service"]
        case "POST", "/system/users/{id}/tokens", 201:
            TOKENS.append((case.path_parameters["id"], response.json()["jti"]))
        case "DELETE", "/system/users/{id}", 204:
            gone = case.path_parameters["id"]
            PERSONS[:] = [id for id in PERSONS if id != gone]
            SERVICES[:] = [id for id in SERVICES if id != gone]
            TOKENS[:] = [token for token in TOKENS if token[0] != gone]
        case "PUT", "/system/roles/{name}", 200:
            ROLES.append(response.json()["name"])


# Formats of the document


schemathesis.openapi.format(
    "access-pattern",
    st.builds(
        lambda start, segments, end: start + "".join(f"/{segment}" for segment in segments) + end,
        st.sampled_from(["{mscp_api_url}", "[mscp_api_url]", "/a", "https://logs.example.org"]),
        st.lists(st.sampled_from(["local", "log", "*", "{name}", "{id:uuid}", "{n:INT}", "a%20b", "\u754c"]), max_size=4),
        st.sampled_from(["", "/", "/**"]),
    ),
)
schemathesis.openapi.format(
    "request-url",
    st.sampled_from(["/", "/api/local/log/_search", "/api/apps/log?x=//", "https://logs.example.org/api", "", "x y"]),
)
