// Push with the bulk helper of @elastic/elasticsearch: bulk.mjs PACKAGE ENDPOINT TOKEN.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import process from 'node:process';

const [name, node, token] = process.argv.slice(2);
const { Client } = createRequire(`${process.env.CLIENTS}/`)(name);
const major = name.split('-')[1];
const client = new Client({ node, headers: { authorization: `Bearer ${token}` } });

async function push(way, more = []) {
  const datasource = [0, 1, 2].map((number) => ({
    '@timestamp': new Date().toISOString(),
    message: `javascript ${major} ${way} ${number}`,
    level: 'info',
  }));
  const dropped = [];
  const stats = await client.helpers.bulk({
    datasource: [...datasource, ...more],
    flushBytes: 100,
    onDocument: ({ message }) => ({ create: { _index: 'logs', _id: message } }),
    onDrop: ({ status }) => dropped.push(status),
  });
  return { successful: stats.successful, dropped };
}

assert.deepEqual(await push('bulk'), { successful: 3, dropped: [] });
assert.deepEqual(await push('bulk'), { successful: 3, dropped: [] });
assert.deepEqual(await push('broken', [{ message: 'too old', '@timestamp': '2001-02-03T04:05:06Z' }]), { successful: 3, dropped: [400] });
await client.close();
