// What a program does with the JavaScript clients of Elasticsearch and
// OpenSearch. Run with the name of the client as it stands in package.json, and
// with the endpoint and a bearer token that may write in the environment
// (ENDPOINT, TOKEN), and the folder that the clients were installed to
// (CLIENTS). Prints each case that went well; ends with the first that did not.
//
// NO_ROOT says that the endpoint has no `GET /`: the part of Elasticsearch 8 and
// 9 that answers it is in none of the packages that an engine is built from here.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { env, argv, exit } from "node:process";

const name = argv[2];
// The packages lie in the folder that they were installed to.
const load = createRequire(join(env.CLIENTS, "package.json"));
const { Client } = load(name);

const index = `logstash-client-javascript-${name}-2018.01.24`;
const documents = 1200;
const isElastic = name.startsWith("elasticsearch");
// Bodies were one member once; later their members stand beside the others.
const hasMembers = isElastic && name !== "elasticsearch-7";

const headers = env.TOKEN ? { authorization: `Bearer ${env.TOKEN}` } : {};
const es = new Client({ node: env.ENDPOINT, headers });

const request = (path, body) => (hasMembers ? { ...path, ...body } : { ...path, body });
const answer = async (promise) => {
  const result = await promise;
  return hasMembers ? result : result.body;
};
const status = (error) => error.statusCode ?? error.meta?.statusCode;

const document = (number) => ({
  "@timestamp": new Date(1516791600000 + number * 1000).toISOString(),
  seq: number,
  level: number % 10 === 0 ? "warn" : "info",
  message: `line ${number} 日志 of the client`,
  annotations: { user: `user${number % 7}` },
});

const numbers = Array.from({ length: documents }, (_, number) => number);

const cases = {
  async handshake() {
    if (!env.NO_ROOT) {
      await es.ping();
      const info = await answer(es.info());
      assert.ok(info.version.number);
    }
    await es.indices.delete({ index, ignore_unavailable: true });
  },

  async templates() {
    const template = { name: "client-template-js" };
    await es.indices.putIndexTemplate(
      request(template, {
        index_patterns: ["client-template-js-*"],
        priority: 8,
        template: { settings: { number_of_shards: 1 } },
      }),
    );
    const found = await answer(es.indices.getIndexTemplate(template));
    assert.deepEqual(found.index_templates[0].index_template.template.settings, {
      index: { number_of_shards: "1" },
    });
    await es.indices.deleteIndexTemplate(template);
    const exists = await answer(es.indices.existsIndexTemplate(template));
    assert.equal(exists, false);
  },

  async bulk() {
    const result = await es.helpers.bulk({
      datasource: numbers.map(document),
      flushBytes: 20_000,
      concurrency: 3,
      onDocument: (document) => ({ create: { _index: index, _id: `document-${document.seq}` } }),
      onDrop: (dropped) => assert.fail(JSON.stringify(dropped)),
    });
    assert.deepEqual([result.total, result.successful, result.failed], [documents, documents, 0]);
    const again = [];
    await es.helpers.bulk({
      datasource: numbers.slice(0, 3).map(document),
      onDocument: (document) => ({ create: { _index: index, _id: `document-${document.seq}` } }),
      onDrop: (dropped) => again.push(dropped.status),
    });
    assert.deepEqual(again, [409, 409, 409]);
    await es.indices.refresh({ index });
    assert.equal((await answer(es.count({ index }))).count, documents);
  },

  async search() {
    const found = await answer(
      es.search(
        request(
          { index },
          {
            query: { bool: { must: [{ match: { message: "日志" } }], filter: [{ term: { level: "warn" } }] } },
            sort: [{ seq: "desc" }],
            size: 3,
            aggs: { users: { terms: { field: "annotations.user" } } },
          },
        ),
      ),
    );
    const total = found.hits.total.value ?? found.hits.total;
    assert.equal(total, documents / 10);
    assert.deepEqual(found.hits.hits.map((hit) => hit._source.seq), [1190, 1180, 1170]);
    assert.ok(found.aggregations.users.buckets.length > 0);
    const one = await answer(es.get({ index, id: "document-7" }));
    assert.equal(one._source.seq, 7);
    const missing = await es.get({ index, id: "nothing" }).catch((error) => error);
    assert.equal(status(missing), 404);
    const unknown = await es.search(request({ index }, { query: { no_such_query: {} } })).catch((error) => error);
    assert.equal(status(unknown), 400);
    const rows = await answer(es.cat.indices({ index, format: "json" }));
    assert.deepEqual(rows.map((row) => row.index), [index]);
  },

  async scroll() {
    let pages = 0;
    const seen = new Set();
    for await (const page of es.helpers.scrollSearch(
      request({ index, size: 500, scroll: "1m" }, { query: { match_all: {} } }),
    )) {
      pages += 1;
      for (const document of page.documents) {
        seen.add(document.seq);
      }
    }
    assert.deepEqual([pages, seen.size], [3, documents]);
    const warnings = [];
    for await (const document of es.helpers.scrollDocuments(
      request({ index, size: 50 }, { query: { term: { level: "warn" } } }),
    )) {
      warnings.push(document.seq);
    }
    assert.equal(warnings.length, documents / 10);
  },

  async points_in_time() {
    let pit;
    if (isElastic) {
      pit = (await answer(es.openPointInTime({ index, keep_alive: "1m" }))).id;
    } else {
      pit = (await answer(es.createPit({ index, keep_alive: "1m" }))).pit_id;
    }
    const seen = [];
    let after;
    for (;;) {
      const page = {
        size: 500,
        pit: { id: pit, keep_alive: "1m" },
        sort: [{ seq: "asc" }],
        ...(after ? { search_after: after } : {}),
      };
      const found = await answer(es.search(request({}, page)));
      const hits = found.hits.hits;
      if (hits.length === 0) {
        break;
      }
      seen.push(...hits.map((hit) => hit._source.seq));
      pit = found.pit_id;
      after = hits.at(-1).sort;
    }
    assert.deepEqual(seen, numbers);
    if (isElastic) {
      await es.closePointInTime(request({}, { id: pit }));
    } else {
      await es.deletePit({ body: { pit_id: [pit] } });
    }
  },

  async msearch() {
    const helper = es.helpers.msearch();
    const { body, documents: found } = await helper.search({ index }, { query: { term: { seq: 5 } } });
    assert.equal(body.status ?? 200, 200);
    assert.deepEqual(found.map((document) => document.seq), [5]);
    helper.stop();
  },

  async gone() {
    await es.indices.delete({ index });
    const exists = await answer(es.indices.exists({ index }));
    assert.equal(exists, false);
    await es.close();
  },
};

for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
  } catch (error) {
    console.error("failed", name, error, JSON.stringify(error.meta?.body ?? null));
    exit(1);
  }
  console.log("ok", name);
}
