"""Push with the bulk helpers of elasticsearch-py: bulk.py ENDPOINT TOKEN."""

import sys
from datetime import datetime, timezone

from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, parallel_bulk, streaming_bulk

endpoint, token = sys.argv[1:]
major = __import__("elasticsearch").__version__[0]
options = {"headers": {"authorization": f"Bearer {token}"}}
client = Elasticsearch(endpoint, **options)


def items(way, operation="create"):
    for number in range(3):
        yield {
            "_op_type": operation, "_index": "logs", "_id": f"python-{major}-{way}-{number}",
            "@timestamp": datetime.now(timezone.utc).isoformat(), "message": f"python {major} {way} {number}",
            "order": {"number": number}, "level": "info",
        }


done, errors = bulk(client, items("bulk"))
assert (done, errors) == (3, []), (done, errors)
# The same once more is the same records.
assert bulk(client, items("bulk", "index"))[0] == 3
assert all(ok for ok, _ in streaming_bulk(client, items("streaming"), chunk_size=2))
assert all(ok for ok, _ in parallel_bulk(client, items("parallel"), thread_count=2, chunk_size=1))
# One that cannot be taken fails alone.
broken = {"_op_type": "create", "_index": "logs", "message": "too old", "@timestamp": "2001-02-03T04:05:06Z"}
done, errors = bulk(client, [*items("broken"), broken], raise_on_error=False)
assert done == 3 and len(errors) == 1 and errors[0]["create"]["status"] == 400, (done, errors)
