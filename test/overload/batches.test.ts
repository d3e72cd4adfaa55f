import t, { type Test } from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { systemTimers } from '../../src/process/timers.js';
import { CORPUS } from '../gateway/brute-force-service.js';
import { contract, type Gateway, LIMITS, OVERLOAD, startGateway } from '../gateway/harness.js';
import { until } from '../process/wait.js';

const SEARCH = { corpus: CORPUS, text: 'a fish' };

/** Remembers how long each request is said to have waited. */
class WatchedOverload extends Overload {
  readonly waits: (number | null)[] = [];
  /** Of those that their deadlines cut short. */
  readonly cutShortMs: (number | null)[] = [];

  override leave(...given: Parameters<Overload['leave']>): void {
    const [, , , queueMs, wasCutShort = false] = given;
    (wasCutShort ? this.cutShortMs : this.waits).push(queueMs);
    super.leave(...given);
  }
}

t.test('a batch whose searches were all dropped tells the limit that they waited in vain', async (t) => {
  const overload = new WatchedOverload(OVERLOAD, systemTimers);
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  const batch = { requests: [SEARCH, SEARCH] };
  gateway.service.failure = new SwitchyardError('OVERLOADED', 'waited too long');
  await gateway.post('/v1/search:batch', batch);
  gateway.service.failure = new SwitchyardError('UNKNOWN_CORPUS', 'no queue has to do with that');
  await gateway.post('/v1/search:batch', batch);
  gateway.service.failure = null;
  await gateway.post('/v1/search:batch', batch);
  t.same(overload.waits, [Number.POSITIVE_INFINITY, null, 0.0015]);
});

const late = async (
  t: Test,
  gateway: Gateway,
  path: string,
  body: object,
  timeoutMs: number,
): Promise<void> => {
  const { reason } = await gateway.post(path, body, { 'x-request-timeout-ms': String(timeoutMs) });
  t.equal(reason, 'DEADLINE_EXCEEDED');
};

t.test('a client without time moves no limit, whatever it sends', async (t) => {
  const overload = new WatchedOverload({ ...OVERLOAD, limitMin: 1 }, systemTimers);
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  const before = overload.states();
  for (let at = 0; at < 40; at++) {
    await late(t, gateway, '/v1/search', SEARCH, 0);
    await late(t, gateway, '/v1/search:batch', { requests: [SEARCH, SEARCH] }, 0);
    await late(t, gateway, '/v1/embed', { model: 'words@1', text: 'a fish' }, 0);
  }
  t.same([overload.waits, overload.cutShortMs, gateway.service.callCount], [[], [], 0]);
  gateway.service.hold = new Promise(() => undefined);
  for (let at = 0; at < 40; at++) await late(t, gateway, '/v1/search', SEARCH, 5);
  t.same(overload.waits, []);
  // On a busy machine the time of some is over before they begin.
  t.ok(overload.cutShortMs.length > 20, `${overload.cutShortMs.length} were begun`);
  t.ok(
    overload.cutShortMs.every((ms) => ms !== null && ms >= 4 && Number.isFinite(ms)),
    `${overload.cutShortMs}`,
  );
  t.same(overload.states(), before);
});

t.test(
  'requests that waited in vain for longer than the target lower the limit, by what they waited',
  async (t) => {
    const overload = new Overload({ ...OVERLOAD, queueMsTarget: 50, limitMin: 1 }, systemTimers);
    const gateway = await startGateway({ overload });
    t.teardown(() => gateway.close());
    gateway.service.hold = new Promise(() => undefined);
    await Promise.all(Array.from({ length: 12 }, () => late(t, gateway, '/v1/search', SEARCH, 200)));
    const [text] = overload.states();
    t.equal(text?.kind, 'text');
    t.ok((text?.limit ?? 12) < 12, `limit ${text?.limit}`);
    t.ok((text?.queueMs ?? 0) >= 199 && Number.isFinite(text?.queueMs), `${text?.queueMs} ms`);
  },
);

t.test('what a queue dropped counts as refused, of live and of bulk work apart', async (t) => {
  const overload = new Overload(OVERLOAD, systemTimers);
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  const search = { corpus: CORPUS, text: 'a fish' };
  const refused = () => overload.states().map((state) => state.refused);
  gateway.service.failure = new SwitchyardError('OVERLOADED', 'waited too long');
  await gateway.post('/v1/search', search);
  await gateway.post('/v1/search', { ...search, priority: 'bulk' });
  await gateway.call('BatchSearch', { requests: [search, search] });
  const none = { live: 0, shadow: 0, bulk: 0 };
  t.same(refused(), [{ ...none, live: 3, bulk: 1 }, none]);
  gateway.service.failure = new SwitchyardError('ENCODER_UNAVAILABLE', 'no queue has to do with that');
  await gateway.post('/v1/search', search);
  await gateway.post('/v1/search:batch', { requests: [search] });
  t.same(refused(), [{ ...none, live: 3, bulk: 1 }, none]);
});

t.test('a batch over gRPC that has no room is refused before it is decoded', async (t) => {
  const overload = new Overload(
    { ...OVERLOAD, limitMin: 2, limitMax: 2, shares: { live: 0.5, shadow: 0, bulk: 0.5 } },
    systemTimers,
  );
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  const vector = { corpus: CORPUS, model: 'words@1', vector: { values: new Array(16).fill(1) } };
  const batchType = contract.lookupType('switchyard.v1.BatchSearchRequest');
  /** Whole for who looks at the fields' numbers; its corpus is no UTF-8. */
  const undecodable = (...requests: readonly object[]): Buffer => {
    const bytes = Buffer.from(batchType.encode({ requests }).finish());
    bytes.set([0xff], bytes.indexOf(CORPUS));
    return bytes;
  };
  const texts = undecodable(SEARCH, SEARCH);
  const reasonOf = async (bytes: Buffer): Promise<string> =>
    (await gateway.callRaw('BatchSearch', bytes)).reason;
  t.equal(await reasonOf(texts), 'MALFORMED_REQUEST');

  let free = (): void => undefined;
  gateway.service.hold = new Promise((resolve) => {
    free = resolve;
  });
  const held = [1, 2].map(() => gateway.call('Search', SEARCH));
  await until('texts are used up', () => gateway.service.callCount === 2);
  const refusedBefore = overload.states().map(({ refused }) => refused.live);
  t.equal(await reasonOf(texts), 'OVERLOADED');
  t.equal(await reasonOf(undecodable(vector, SEARCH)), 'OVERLOADED', 'one text makes it a batch of texts');
  t.equal(await reasonOf(undecodable(vector, vector)), 'MALFORMED_REQUEST', 'vectors have room');
  t.equal(
    await reasonOf(undecodable(...Array.from({ length: LIMITS.batchItemsMax + 1 }, () => SEARCH))),
    'MALFORMED_REQUEST',
    'too many are refused for that, whenever',
  );
  t.same(
    overload.states().map(({ refused }) => refused.live),
    [(refusedBefore[0] ?? 0) + 2, refusedBefore[1]],
    'each refusal is counted once',
  );
  free();
  await Promise.all(held);
});
