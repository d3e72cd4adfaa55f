import t from 'tap';
import { TrafficCounter } from '../../src/gateway/traffic.js';
import { EVALUATION, TRAFFIC_HEADER } from '../../src/gateway/traffic-header.js';
import type { SearchOutcome } from '../../src/router/query.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { CORPUS, VERSION } from './brute-force-service.js';
import { startGateway } from './harness.js';

t.test('answered searches are counted by the name of their key and the version that answered', async (t) => {
  const [shop, ranker] = [makeKey({ name: 'shop' }), makeKey({ name: 'ranker' })];
  const traffic = new TrafficCounter();
  const gateway = await startGateway({ keys: ringOf([shop, ranker]), listen: KEYED_LISTENERS, traffic });
  t.teardown(() => gateway.close());
  const search = { corpus: CORPUS, text: 'a query', top_k: 2 };
  const ask = async (address: string, body: object, token: string): Promise<void> => {
    t.equal((await gateway.post(address, body, bearer(token))).reason, 'OK');
  };
  await ask('/v1/search', search, shop.token);
  await ask('/v1/search', { ...search, corpus_version: VERSION }, shop.token);
  await ask('/v1/search:batch', { requests: [search, search, { ...search, corpus: CORPUS }] }, ranker.token);
  const evaluation = { ...bearer(shop.token), [TRAFFIC_HEADER]: EVALUATION };
  const evaluated = await gateway.post('/v1/search', { ...search, corpus_version: VERSION }, evaluation);
  t.equal(
    evaluated.reason,
    'OK',
    'and is no traffic of its key: nobody depends on a version by evaluating it',
  );
  const refused = await gateway.post('/v1/search', { ...search, corpus: 'nothing' }, bearer(ranker.token));
  t.not(refused.reason, 'OK');
  const of = { corpus: CORPUS, version: VERSION };
  const counted = traffic.take();
  t.same(counted, [
    { ...of, keyName: 'shop', kind: 'split', requests: 1 },
    { ...of, keyName: 'shop', kind: 'pinned', requests: 1 },
    { ...of, keyName: 'ranker', kind: 'split', requests: 3 },
  ]);
  t.same(traffic.take(), [], 'counted once');
  traffic.giveBack(counted);
  t.same(traffic.take(), counted, 'what was not taken counts again');
});

t.test('without keys all are counted as one, and many keys do not grow the memory', async (t) => {
  const traffic = new TrafficCounter();
  const outcome = { servedBy: { corpusVersion: 'v1' } } as unknown as SearchOutcome;
  for (let at = 0; at < 20_000; at++) traffic.count('docs', outcome, `key ${at}`, 'split');
  traffic.count('docs', outcome, '', 'pinned');
  const counted = traffic.take();
  t.ok(counted.length <= 10_002);
  t.equal(
    counted.reduce((sum, { requests }) => sum + requests, 0),
    20_001,
    'none is lost',
  );
});
