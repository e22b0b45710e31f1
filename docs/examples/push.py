"""Push a record and find it again: push.py APP MESSAGE, with MSCP_LOG_URL and MSCP_LOG_TOKEN set."""
import json, os, sys, time, urllib.error, urllib.request, uuid

def call(path, body, **headers):
    headers |= {"Authorization": f"Bearer {os.environ['MSCP_LOG_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["MSCP_LOG_URL"] + path, json.dumps(body).encode(), headers)
    for _ in range(10):
        try:
            return json.load(urllib.request.urlopen(request, timeout=30))
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):  # what is wrong with it is in the answer
                sys.exit(error.read().decode())
            time.sleep(int(error.headers["Retry-After"]))
    sys.exit("the server takes nothing")

app, message = sys.argv[1:]
record = {"timestemp": time.time_ns() // 1000, "appid": app, "type": "applog", "message": message,
          "annotations": [{"key": "level", "value": "info"}]}
# With the same key on each try it is stored once, though an answer was lost.
call(f"/api/apps/{app}/log", [record], **{"Idempotency-Key": str(uuid.uuid4())})
query = {"bool": {"filter": [{"term": {"appid": app}}, {"match_phrase": {"message": message}}]}}
while not (hits := call("/api/local/log/_search", {"query": query})["hits"]["hits"]):
    time.sleep(0.2)  # found within 2 s
print(hits[0]["_source"]["@timestamp"], hits[0]["_source"]["message"])
