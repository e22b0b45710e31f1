"""What a program does with the Python clients of Elasticsearch and OpenSearch.

Run with the package that is to be tried, and with the endpoint and a bearer
token that may write in the environment (ENDPOINT, TOKEN). Prints each case that
went well; ends with the first that did not.

NO_ROOT says that the endpoint has no `GET /`: the part of Elasticsearch 8 and 9
that answers it is in none of the packages that an engine is built from here.
"""

import asyncio
import os
import sys
import warnings

try:
    import elasticsearch as package
    from elasticsearch import helpers

    Client, AsyncClient = package.Elasticsearch, package.AsyncElasticsearch
except ImportError:
    import opensearchpy as package
    from opensearchpy import helpers

    Client, AsyncClient = package.OpenSearch, package.AsyncOpenSearch

IS_ELASTIC = package.__name__ == "elasticsearch"
MAJOR = package.__version__[0] if IS_ELASTIC else 0
# Bodies were one argument once; later each member became an argument.
HAS_MEMBERS = IS_ELASTIC and MAJOR >= 8

ENDPOINT = os.environ["ENDPOINT"]
TOKEN = os.environ.get("TOKEN")
INDEX = f"logstash-client-python-{package.__name__}{MAJOR}-2018.01.24"
DOCUMENTS = 1_200


def client(kind):
    if HAS_MEMBERS:
        return kind(ENDPOINT, bearer_auth=TOKEN) if TOKEN else kind(ENDPOINT)
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else None
    return kind([ENDPOINT], headers=headers)


def body(**members):
    """The members of a body as this client takes them."""
    return members if HAS_MEMBERS else {"body": members}


def document(number):
    return {
        "@timestamp": f"2018-01-24T11:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z",
        "realtime_us": 1516791600000000 + number,
        "seq": number,
        "level": "warn" if number % 10 == 0 else "info",
        "message": f"line {number} 日志 of the client",
        "annotations": {"user": f"user{number % 7}"},
    }


def actions(numbers, operation="create"):
    for number in numbers:
        yield {
            "_op_type": operation,
            "_index": INDEX,
            "_id": f"document-{number}",
            "_source": document(number),
        }


def equal(found, expected):
    assert found == expected, f"expected {expected!r}, found {found!r}"


def total(answer):
    total = answer["hits"]["total"]
    return total["value"] if isinstance(total, dict) else total


def handshake(es):
    if "NO_ROOT" not in os.environ:
        assert es.ping()
        assert es.info()["version"]["number"]
    equal(es.cluster.health()["timed_out"], False)
    es.indices.delete(index=INDEX, ignore_unavailable=True)


def templates(es):
    name = "client-template"
    es.indices.put_index_template(
        name=name,
        **body(
            index_patterns=["client-template-*"],
            priority=7,
            template={
                "settings": {"number_of_shards": 1},
                "mappings": {"dynamic": False, "properties": {"level": {"type": "keyword", "ignore_above": 8191}}},
            },
        ),
    )
    assert es.indices.exists_index_template(name=name)
    found = es.indices.get_index_template(name=name)["index_templates"]
    equal([template["name"] for template in found], [name])
    equal(found[0]["index_template"]["template"]["settings"], {"index": {"number_of_shards": "1"}})
    es.indices.delete_index_template(name=name)
    assert not es.indices.exists_index_template(name=name)


def indices(es):
    es.indices.create(index=INDEX, **body(settings={"number_of_replicas": 0}))
    assert es.indices.exists(index=INDEX)
    try:
        es.indices.create(index=INDEX)
        raise AssertionError("the index was made twice")
    except (package.exceptions.RequestError if not HAS_MEMBERS else package.BadRequestError) as error:
        assert "resource_already_exists_exception" in str(error), error
    mapping = es.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]
    equal(mapping["message"]["type"], "text")
    equal(es.indices.get_settings(index=INDEX)[INDEX]["settings"]["index"]["number_of_replicas"], "0")
    equal(list(es.indices.get(index=INDEX)), [INDEX])
    equal(es.indices.get_alias(index=INDEX)[INDEX], {"aliases": {}})


def bulk(es):
    made = list(helpers.streaming_bulk(es, actions(range(500)), chunk_size=100))
    equal(len(made), 500)
    assert all(good for good, _ in made)
    made = list(helpers.parallel_bulk(es, actions(range(500, 1000)), thread_count=3, chunk_size=100))
    equal(len(made), 500)
    good, errors = helpers.bulk(es, actions(range(1000, DOCUMENTS), "index"))
    equal((good, errors), (DOCUMENTS - 1000, []))
    # What is there already is reported item by item.
    good, errors = helpers.bulk(es, actions(range(3)), raise_on_error=False)
    equal(good, 0)
    equal({error["create"]["error"]["type"] for error in errors}, {"version_conflict_engine_exception"})
    wrong = {"_index": INDEX, "_id": "wrong", "_source": {"seq": "no number"}}
    good, errors = helpers.bulk(es, [wrong], raise_on_error=False)
    equal(errors[0]["index"]["status"], 400)
    es.indices.refresh(index=INDEX)
    equal(es.count(index=INDEX)["count"], DOCUMENTS)


def documents(es):
    one = es.get(index=INDEX, id="document-7")
    equal(one["_source"]["seq"], 7)
    assert es.exists(index=INDEX, id="document-7")
    assert not es.exists(index=INDEX, id="nothing")
    try:
        es.get(index=INDEX, id="nothing")
        raise AssertionError("found what is not there")
    except package.exceptions.NotFoundError as error:
        equal(error.status_code if not HAS_MEMBERS else error.meta.status, 404)
    many = es.mget(index=INDEX, **body(ids=["document-1", "nothing"]))["docs"]
    equal([document["found"] for document in many], [True, False])
    source = es.get_source(index=INDEX, id="document-3")
    equal(source["message"], "line 3 日志 of the client")
    fresh = {"document": {"seq": -1}} if HAS_MEMBERS else {"body": {"seq": -1}}
    equal(es.index(index=INDEX, id="extra", refresh=True, **fresh)["result"], "created")
    try:
        es.create(index=INDEX, id="extra", **fresh)
        raise AssertionError("created twice")
    except package.exceptions.ConflictError:
        pass
    equal(es.delete(index=INDEX, id="extra", refresh=True)["result"], "deleted")


def search(es):
    found = es.search(
        index=INDEX,
        **body(
            query={"bool": {"must": [{"match": {"message": "日志"}}], "filter": [{"term": {"level": "warn"}}]}},
            sort=[{"seq": "desc"}],
            size=3,
            aggs={"users": {"terms": {"field": "annotations.user", "size": 3}}},
            track_total_hits=True,
        ),
    )
    equal(total(found), DOCUMENTS // 10)
    equal([hit["_source"]["seq"] for hit in found["hits"]["hits"]], [1190, 1180, 1170])
    equal(sum(bucket["doc_count"] for bucket in found["aggregations"]["users"]["buckets"]) > 0, True)
    try:
        es.search(index=INDEX, **body(query={"no_such_query": {}}))
        raise AssertionError("an unknown query was answered")
    except package.exceptions.RequestError if not HAS_MEMBERS else package.BadRequestError as error:
        assert "no_such_query" in str(error), error
    try:
        es.search(index="logstash-nothing-here")
        raise AssertionError("a missing index was answered")
    except package.exceptions.NotFoundError:
        pass
    lines = [{"index": INDEX}, {"size": 0}, {"index": INDEX}, {"query": {"term": {"seq": 5}}}]
    several = es.msearch(**({"searches": lines} if HAS_MEMBERS else {"body": lines}))
    equal([total(answer) for answer in several["responses"]][1], 1)
    equal(es.field_caps(index=INDEX, fields="level")["fields"]["level"]["keyword"]["aggregatable"], True)
    words = es.indices.analyze(index=INDEX, **body(field="message", text="Hello 日志"))["tokens"]
    equal([word["token"] for word in words], ["hello", "日", "志"])
    names = [row["index"] for row in es.cat.indices(index=INDEX, format="json")]
    equal(names, [INDEX])
    equal(str(es.cat.count(index=INDEX, h="count")).strip(), str(DOCUMENTS))


def scan(es):
    query = {"query": {"term": {"level": "info"}}}
    found = {hit["_id"] for hit in helpers.scan(es, index=INDEX, query=query, size=250)}
    equal(len(found), DOCUMENTS - DOCUMENTS // 10)
    ordered = helpers.scan(es, index=INDEX, query={"sort": ["seq"]}, size=500, preserve_order=True)
    equal([hit["_source"]["seq"] for hit in ordered], list(range(DOCUMENTS)))


def points_in_time(es):
    if IS_ELASTIC:
        pit = es.open_point_in_time(index=INDEX, keep_alive="1m")["id"]
    else:
        pit = es.create_pit(index=INDEX, params={"keep_alive": "1m"})["pit_id"]
    # What is written now is not in the view.
    late = document(DOCUMENTS)
    es.index(index=INDEX, id="late", refresh=True, **({"document": late} if HAS_MEMBERS else {"body": late}))
    seen, after = [], None
    while True:
        page = {
            "size": 500,
            "query": {"match_all": {}},
            "pit": {"id": pit, "keep_alive": "1m"},
            "sort": [{"seq": "asc"}],
        }
        if after:
            page["search_after"] = after
        answer = es.search(**body(**page))
        hits = answer["hits"]["hits"]
        if not hits:
            break
        seen += [hit["_source"]["seq"] for hit in hits]
        pit, after = answer["pit_id"], hits[-1]["sort"]
    equal(seen, list(range(DOCUMENTS)))
    if IS_ELASTIC:
        equal(es.close_point_in_time(**body(id=pit))["succeeded"], True)
    else:
        equal(es.delete_pit(body={"pit_id": [pit]})["pits"][0]["successful"], True)
    es.delete(index=INDEX, id="late", refresh=True)


async def asynchronous():
    es = client(AsyncClient)
    try:
        assert (await es.cluster.health())["number_of_nodes"] > 0
        good, errors = await helpers.async_bulk(es, actions(range(DOCUMENTS, DOCUMENTS + 50)))
        equal((good, errors), (50, []))
        await es.indices.refresh(index=INDEX)
        query = {"query": {"range": {"seq": {"gte": DOCUMENTS}}}}
        found = [hit async for hit in helpers.async_scan(es, index=INDEX, query=query)]
        equal(len(found), 50)
        counted = await es.count(index=INDEX, **body(**query))
        equal(counted["count"], 50)
    finally:
        await es.close()


def gone(es):
    es.indices.delete(index=INDEX)
    assert not es.indices.exists(index=INDEX)


def main():
    # That bodies will be arguments in a later client is known.
    warnings.simplefilter("ignore", DeprecationWarning)
    es = client(Client)
    for case in [handshake, templates, indices, bulk, documents, search, scan, points_in_time]:
        case(es)
        print("ok", case.__name__, flush=True)
    asyncio.run(asynchronous())
    print("ok asynchronous", flush=True)
    gone(es)
    print("ok gone", flush=True)
    es.close()


if __name__ == "__main__":
    sys.exit(main())
