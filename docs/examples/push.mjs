// Push a record and find it again: push.mjs APP MESSAGE, with MSCP_LOG_URL and MSCP_LOG_TOKEN set.
const [app, message] = process.argv.slice(2);
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function call(path, body, headers = {}) {
  headers = { ...headers, authorization: `Bearer ${process.env.MSCP_LOG_TOKEN}`, 'content-type': 'application/json' };
  for (let tries = 0; tries < 10; tries += 1) {
    const answer = await fetch(process.env.MSCP_LOG_URL + path, { method: 'POST', headers, body: JSON.stringify(body) });
    if (answer.ok) return answer.json();
    if (answer.status !== 429 && answer.status !== 503) throw new Error(await answer.text());
    await sleep(Number(answer.headers.get('retry-after')));
  }
  throw new Error('the server takes nothing');
}

const annotations = [{ key: 'level', value: 'info' }];
const record = { timestemp: Date.now() * 1000, appid: app, type: 'applog', message, annotations };
// With the same key on each try it is stored once, though an answer was lost.
await call(`/api/apps/${app}/log`, [record], { 'idempotency-key': crypto.randomUUID() });
const query = { bool: { filter: [{ term: { appid: app } }, { match_phrase: { message } }] } };
let hits = [];
while (hits.length === 0) {
  await sleep(0.2); // found within 2 s
  ({ hits: { hits } } = await call('/api/local/log/_search', { query }));
}
console.log(hits[0]._source['@timestamp'], hits[0]._source.message);
