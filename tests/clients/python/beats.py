"""Sends what it reads, one JSON object a line, with pylogbeat.

Arguments: host, port, events of a window; then, with TLS, the authority's
certificate, and a certificate and key of one's own.
"""

import json
import sys

from pylogbeat import PyLogBeatClient

host, port, window, *tls = sys.argv[1:]
events = [json.loads(line) for line in sys.stdin]
client = PyLogBeatClient(
    host,
    int(port),
    timeout=20,
    ssl_enable=bool(tls),
    ca_certs=tls[0] if tls else None,
    certfile=tls[1] if tls else None,
    keyfile=tls[2] if tls else None,
)
with client:
    for place in range(0, len(events), int(window)):
        client.send(events[place : place + int(window)])
