import { Metadata } from '@grpc/grpc-js';
import t from 'tap';
import { TrafficCounter } from '../../src/gateway/traffic.js';
import { EVALUATION, TRAFFIC_HEADER } from '../../src/gateway/traffic-header.js';
import type { SearchOutcome } from '../../src/router/query.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { CORPUS, VERSION } from './brute-force-service.js';
import { type Outcome, startGateway } from './harness.js';

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

t.test(
  'an operator may have searches not counted, over either protocol; a key that only searches may not',
  async (t) => {
    const [shop, operator] = [makeKey({ name: 'shop' }), makeKey({ name: 'ana', role: 'operator' })];
    const traffic = new TrafficCounter();
    const gateway = await startGateway({ keys: ringOf([shop, operator]), listen: KEYED_LISTENERS, traffic });
    t.teardown(() => gateway.close());
    const search = { corpus: CORPUS, text: 'a query', top_k: 2, corpus_version: VERSION };
    const batch = { requests: [search, search] };
    const ask = (token: string, said: string): Promise<readonly Outcome[]> => {
      const headers = { ...bearer(token), [TRAFFIC_HEADER]: said };
      const metadata = new Metadata();
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
      return Promise.all([
        gateway.post('/v1/search', search, headers),
        gateway.post('/v1/search:batch', batch, headers),
        gateway.call('Search', search, {}, metadata),
        gateway.call('BatchSearch', batch, {}, metadata),
      ]);
    };
    const four = (reason: string) => Array.from({ length: 4 }, () => reason);
    const reasons = (outcomes: readonly Outcome[]) => outcomes.map(({ reason }) => reason);
    t.same(reasons(await ask(operator.token, EVALUATION)), four('OK'));
    const refused = await ask(shop.token, EVALUATION);
    t.same(reasons(refused), four('PERMISSION_DENIED'));
    for (const { message, details } of refused) {
      t.match(message, /role search, .* need operator: leave x-switchyard-traffic out/);
      t.match(details, { role: 'search', needed: 'operator' });
    }
    t.same(
      reasons(await ask(operator.token, 'Evaluation')),
      four('INVALID_ARGUMENT'),
      'not taken for nothing',
    );
    t.same(traffic.take(), []);
    t.equal((await gateway.post('/v1/search', search, bearer(operator.token))).reason, 'OK');
    t.match(
      traffic.take(),
      [{ keyName: 'ana', kind: 'pinned', requests: 1 }],
      'who does not say so is counted',
    );
  },
);

t.test('where no key is asked for anybody may evaluate', async (t) => {
  const traffic = new TrafficCounter();
  const gateway = await startGateway({ traffic });
  t.teardown(() => gateway.close());
  const search = { corpus: CORPUS, text: 'a query' };
  t.equal((await gateway.post('/v1/search', search, { [TRAFFIC_HEADER]: EVALUATION })).reason, 'OK');
  t.same(traffic.take(), []);
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
