import t from 'tap';
import { GRPC_CODES } from '../../src/errors.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { systemTimers } from '../../src/process/timers.js';
import type { Teardown } from '../fixtures/folders.js';
import { type Gateway, type Outcome, OVERLOAD, startGateway } from '../gateway/harness.js';
import { until } from '../process/wait.js';

const corpus = 'animals';
const SHARES = { live: 0.5, shadow: 0, bulk: 0.5 };

/** A gateway of four places whose searches end when the test says so. */
async function saturated(
  t: Teardown,
): Promise<{ gateway: Gateway; held: Promise<Outcome>[]; free: () => void }> {
  const settings = { ...OVERLOAD, limitMin: 4, limitMax: 4, shares: SHARES };
  const gateway = await startGateway({ overload: new Overload(settings, systemTimers) });
  t.teardown(() => gateway.close());
  let free = (): void => undefined;
  const freed = new Promise<void>((resolve) => {
    free = resolve;
  });
  gateway.service.hold = freed;
  const held = ['fish', 'cat', 'dog', 'bird'].flatMap((text) => [
    gateway.call('Search', { corpus, text }),
    gateway.post('/v1/search', { corpus, vector: new Array(16).fill(1), model: 'words@1' }),
  ]);
  await until('all places are taken', () => gateway.service.callCount === 8);
  return { gateway, held, free };
}

t.test('a saturated gateway refuses at once, and says when to come back', async (t) => {
  const { gateway, held, free } = await saturated(t);
  for (const [kind, request] of [
    ['text', { corpus, text: 'owl' }],
    ['vector', { corpus, vector: { values: new Array(16).fill(1) }, model: 'words@1' }],
  ] as const) {
    const overGrpc = await gateway.call('Search', request);
    t.match(overGrpc, {
      reason: 'OVERLOADED',
      status: GRPC_CODES.UNAVAILABLE,
      details: { kind, limit: '4' },
      message: /try again in \d+ ms/,
    });
    t.ok((overGrpc.retryAfterMs ?? 0) >= 100, `RetryInfo ${overGrpc.retryAfterMs} ms`);
  }
  const overHttp = await gateway.post('/v1/search', { corpus, text: 'owl' });
  t.match(overHttp, { reason: 'OVERLOADED', status: 503, retryAfterMs: 1_000 });
  const embedded = await gateway.call('Embed', { model: 'words@1', text: 'owl' });
  t.equal(embedded.reason, 'OVERLOADED');
  const batch = await gateway.call('BatchSearch', { requests: [{ corpus, text: 'owl' }] });
  t.equal(batch.reason, 'OVERLOADED');
  const requestId = await gateway.post('/v1/search', { corpus, text: 'owl' }, { 'x-request-id': 'mine' });
  t.equal(requestId.requestId, 'mine', 'each refusal names its own request');
  t.equal(gateway.service.callCount, 8, 'nothing of it reached the service');

  const bulk = [1, 2].map(() => gateway.call('Search', { corpus, text: 'owl', priority: 'PRIORITY_BULK' }));
  await until('bulk has its share', () => gateway.service.callCount === 10);
  const third = await gateway.call('Search', { corpus, text: 'owl', priority: 'PRIORITY_BULK' });
  t.equal(third.reason, 'OVERLOADED', 'its share of four places is two');
  free();
  for (const outcome of await Promise.all([...held, ...bulk])) t.equal(outcome.reason, 'OK');
  t.equal((await gateway.call('Search', { corpus, text: 'owl' })).reason, 'OK', 'there is room again');
});

t.test('health and operators are answered while the data plane is saturated', async (t) => {
  const { gateway, held, free } = await saturated(t);
  for (const path of ['/healthz', '/livez', '/readyz'])
    t.equal((await fetch(gateway.url + path)).status, 200, path);
  t.equal((await fetch(`${gateway.adminUrl}/metrics`)).status, 200);
  t.equal((await fetch(`${gateway.adminUrl}/v1/status`)).status, 200);
  free();
  await Promise.all(held);
});

t.test('too many operators at once are refused, and the place of each is free afterwards', async (t) => {
  const overload = new Overload({ ...OVERLOAD, adminConcurrencyMax: 1 }, systemTimers);
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  overload.enterAdmin();
  const refused = await fetch(`${gateway.adminUrl}/v1/status`);
  t.equal(refused.status, 503);
  t.match(await refused.json(), { reason: 'OVERLOADED', kind: 'admin' });
  t.equal((await fetch(`${gateway.adminUrl}/livez`)).status, 200, 'probes need no place');
  overload.leaveAdmin();
  for (let at = 0; at < 5; at++) {
    t.equal((await fetch(`${gateway.adminUrl}/v1/status`)).status, 200);
    await until('the place is free', () => overload.admin.inFlight === 0);
  }
});
