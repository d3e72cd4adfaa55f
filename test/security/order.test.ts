import { Metadata, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { Overload } from '../../src/gateway/overload/overload.js';
import { systemTimers } from '../../src/process/timers.js';
import { contract, type Gateway, grpcRefused, LIMITS, OVERLOAD, startGateway } from '../gateway/harness.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from './keys.js';

const corpus = 'animals';
const OTHER_SECRET = 'sy_aaaaaaaaaaaa_'.padEnd(59, 'b');
const HTTP_PATH = { Search: '/v1/search', BatchSearch: '/v1/search:batch', Embed: '/v1/embed' } as const;
type Method = keyof typeof HTTP_PATH;
const METHODS = Object.keys(HTTP_PATH) as readonly Method[];
const BODY = {
  Search: { corpus, text: 'owl' },
  BatchSearch: { requests: [{ corpus, text: 'owl' }] },
  Embed: { model: 'words@1', text: 'owl' },
} as const;

function callWith(
  gateway: Gateway,
  method: Method,
  headers: Readonly<Record<string, string>>,
  body: object = BODY[method],
): Promise<string> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const bytes = Buffer.from(contract.lookupType(`switchyard.v1.${method}Request`).encode(body).finish());
  const identity = (message: Buffer): Buffer => message;
  return new Promise((resolve) => {
    gateway.client.makeUnaryRequest(
      `/switchyard.v1.SearchService/${method}`,
      identity,
      identity,
      bytes,
      metadata,
      (error: ServiceError | null) => resolve(error === null ? 'OK' : grpcRefused(error).reason),
    );
  });
}

t.test('who asks, then what the key may use, then whether there is room: on both faces alike', async (t) => {
  const holder = makeKey({ name: 'holder' });
  const expired = makeKey({ expiresAt: new Date(Date.now() - 1_000) });
  const revoked = makeKey({ revokedAt: new Date() });
  const usedUp = makeKey({ name: 'used up', concurrencyMax: 0 });
  const frequent = makeKey({ name: 'frequent', requestsPerS: 4 });
  const overload = new Overload(
    { ...OVERLOAD, limitMin: 1, limitMax: 1, shares: { live: 1, shadow: 0, bulk: 0 } },
    systemTimers,
  );
  const gateway = await startGateway({
    overload,
    keys: ringOf([holder, expired, revoked, usedUp, frequent]),
    listen: KEYED_LISTENERS,
  });
  t.teardown(() => gateway.close());
  let free = (): void => undefined;
  gateway.service.hold = new Promise((resolve) => {
    free = resolve;
  });
  const held = [
    gateway.post('/v1/search', { corpus, text: 'fish' }, bearer(holder.token)),
    gateway.post(
      '/v1/search',
      { corpus, vector: new Array(16).fill(1), model: 'words@1' },
      bearer(holder.token),
    ),
    // An empty partition always lets one in.
    gateway.post('/v1/search', { corpus, text: 'cat', priority: 'bulk' }, bearer(holder.token)),
    gateway.post(
      '/v1/search',
      { corpus, vector: new Array(16).fill(1), model: 'words@1', priority: 'bulk' },
      bearer(holder.token),
    ),
  ];
  await until('everything is used up', () => gateway.service.callCount === 4);
  t.ok(overload.isTight);
  t.not(overload.refusalOfAll(), null);
  const shed = (): number => overload.states().reduce((sum, { refused }) => sum + refused.live, 0);

  for (const [name, headers, expected] of [
    ['no key', {}, 'UNAUTHENTICATED'],
    ['another scheme', { authorization: 'Basic abc' }, 'UNAUTHENTICATED'],
    ['a key that nobody has', bearer(OTHER_SECRET), 'UNAUTHENTICATED'],
    ['an expired key', bearer(expired.token), 'UNAUTHENTICATED'],
    ['a revoked key', bearer(revoked.token), 'UNAUTHENTICATED'],
    ['a key beyond its quota', bearer(usedUp.token), 'QUOTA_EXCEEDED'],
  ] as const)
    for (const method of METHODS) {
      gateway.counted.length = 0;
      const shedBefore = shed();
      const overHttp = await gateway.post(HTTP_PATH[method], BODY[method], headers);
      t.equal(overHttp.reason, expected, `${name}: http ${method}`);
      t.equal(await callWith(gateway, method, headers), expected, `${name}: grpc ${method}`);
      await until('both are counted', () => gateway.counted.length === 2);
      t.same(new Set(gateway.counted.map(({ outcome }) => outcome)), new Set([expected]));
      t.equal(new Set(gateway.counted.map(({ operation }) => operation)).size, 1, 'as the same operation');
      t.equal(shed(), shedBefore, 'and not as shed');
    }
  for (const method of METHODS) {
    const overHttp = await gateway.post(HTTP_PATH[method], BODY[method], bearer(holder.token));
    t.equal(overHttp.reason, 'OVERLOADED', `http ${method}`);
    t.equal(await callWith(gateway, method, bearer(holder.token)), 'OVERLOADED', `grpc ${method}`);
  }
  const batch = { requests: Array.from({ length: LIMITS.batchItemsMax }, () => BODY.Search) };
  const asked = (body?: object) => callWith(gateway, 'BatchSearch', bearer(frequent.token), body);
  t.equal(await asked(batch), 'OVERLOADED');
  t.equal(await asked(), 'QUOTA_EXCEEDED', 'each search of a batch that was refused is one of its rate');
  t.equal(gateway.service.callCount, 4, 'nothing of it reached the service');
  free();
  for (const outcome of await Promise.all(held)) t.equal(outcome.reason, 'OK');
});

t.test('a flood of strangers costs those who are let in nothing but its bytes', async (t) => {
  const holder = makeKey({ name: 'holder' });
  const overload = new Overload({ ...OVERLOAD, limitMin: 4, limitMax: 4 }, systemTimers);
  const gateway = await startGateway({ overload, keys: ringOf([holder]), listen: KEYED_LISTENERS });
  t.teardown(() => gateway.close());
  const strangers = Array.from({ length: 200 }, (_, at) =>
    callWith(gateway, 'Search', at % 2 === 0 ? {} : bearer(OTHER_SECRET)),
  );
  const known = await callWith(gateway, 'Search', bearer(holder.token));
  t.equal(known, 'OK');
  t.same(new Set(await Promise.all(strangers)), new Set(['UNAUTHENTICATED']));
  t.same(
    overload.states().map(({ inFlight, refused }) => [inFlight.live, refused.live]),
    [
      [0, 0],
      [0, 0],
    ],
    'they took no place and were not shed',
  );
});
