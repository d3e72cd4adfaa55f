import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import t from 'tap';
import type { SwitchyardError } from '../../src/errors.js';
import { signedActor } from '../../src/gateway/admin/callers.js';
import { claimedKeyId, mintKey } from '../../src/gateway/auth/api-key.js';
import { KeyGuard } from '../../src/gateway/auth/guard.js';
import type { KeyRing } from '../../src/gateway/auth/key-ring.js';
import { Quota } from '../../src/gateway/auth/quota.js';
import { TestRandom } from '../fixtures/random.js';
import { contract, grpcRefused, httpOutcome, startGateway } from '../gateway/harness.js';
import { bearer, KEYED_LISTENERS, type MadeKey, makeKey, ringOf } from './keys.js';

const reasonOf = (work: () => unknown): string => {
  try {
    work();
    return 'OK';
  } catch (error) {
    return (error as SwitchyardError).reason;
  }
};

/** A search over gRPC with a key: what it was refused for, or OK. */
function callSearch(address: string, authorization: string, fields: object): Promise<Refusal> {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const metadata = new Metadata();
  metadata.set('authorization', authorization);
  const message = Buffer.from(contract.lookupType('switchyard.v1.SearchRequest').encode(fields).finish());
  const identity = (bytes: Buffer): Buffer => bytes;
  const options = { deadline: Date.now() + 60_000 };
  return new Promise((resolve) => {
    const path = '/switchyard.v1.SearchService/Search';
    client.makeUnaryRequest(path, identity, identity, message, metadata, options, (error) => {
      client.close();
      resolve(
        error === null
          ? { reason: 'OK', status: status.OK, details: {}, retryAfterMs: null }
          : grpcRefused(error as ServiceError),
      );
    });
  });
}
type Refusal = Pick<ReturnType<typeof grpcRefused>, 'reason' | 'status' | 'details' | 'retryAfterMs'>;

t.test('a key is its own text and nothing else', async (t) => {
  const made = makeKey();
  const ring = ringOf([made]);
  const verify = (token: string): string => reasonOf(() => ring.verify(token));
  t.equal(verify(made.token), 'OK');
  t.equal(verify(made.token), 'OK', 'again, by its proven bytes');
  const random = new TestRandom(7);
  for (let run = 0; run < 2_000; run++) {
    const bytes = Buffer.from(made.token, 'latin1');
    bytes[random.below(bytes.length)] = random.below(256);
    const other = bytes.toString('latin1');
    if (other !== made.token) t.equal(verify(other), 'UNAUTHENTICATED');
  }
  for (const other of [
    '',
    'sy_',
    made.token.toUpperCase(),
    `${made.token} `,
    ` ${made.token}`,
    `${made.token}0`,
  ])
    t.equal(verify(other), 'UNAUTHENTICATED', JSON.stringify(other));
  // A character above 255 must not be cut to the byte that the key has.
  const wide = made.token.slice(0, -1) + String.fromCharCode(made.token.charCodeAt(79) + 0x100);
  t.equal(verify(wide), 'UNAUTHENTICATED');
});

t.test('minted keys have their form, and are never the same', async (t) => {
  const minted = Array.from({ length: 1_000 }, mintKey);
  t.ok(minted.every(({ keyId, token }) => claimedKeyId(token) === keyId));
  t.equal(new Set(minted.map(({ token }) => token)).size, 1_000);
  t.match(minted[0]?.token, /^sy_[0-9a-z]{12}_[0-9a-f]{64}$/);
});

t.test('keys that were not read again in time let nobody in', async (t) => {
  let now = 0;
  const made = makeKey();
  const watcher = makeKey({ role: 'monitor' });
  const limits = { stalenessMsMax: 30_000, observeStalenessMsMax: 90_000 };
  const ring = ringOf([made, watcher], { ...limits, now: () => now });
  const guard = new KeyGuard(ring, { warn: () => undefined });
  const admit = (key: typeof made, access: 'search' | 'observe' | 'operate'): string =>
    reasonOf(() => guard.admit(`Bearer ${key.token}`, access));
  now = 30_000;
  t.equal(
    reasonOf(() => ring.verify(made.token)),
    'OK',
  );
  now = 30_001;
  t.equal(
    reasonOf(() => ring.verify(made.token)),
    'REGISTRY_UNAVAILABLE',
  );
  t.equal(
    reasonOf(() => ring.verify('sy_nonsense')),
    'REGISTRY_UNAVAILABLE',
    'and tell nothing of what they were',
  );
  t.equal(admit(watcher, 'observe'), 'OK', 'but for those who watch: an outage has to be seen');
  t.equal(admit(watcher, 'operate'), 'REGISTRY_UNAVAILABLE');
  t.equal(admit(made, 'search'), 'REGISTRY_UNAVAILABLE');
  t.equal(admit(made, 'observe'), 'PERMISSION_DENIED', 'and a key watches that might before');
  t.equal(ring.unreadMs, 30_001);
  now = 90_001;
  t.equal(admit(watcher, 'observe'), 'REGISTRY_UNAVAILABLE', 'nor they without end');
  ring.replace([made.stored]);
  t.equal(
    reasonOf(() => ring.verify(made.token)),
    'OK',
  );
});

t.test('keys of one chain of rotations share one quota, whenever a gateway came to know them', async (t) => {
  const limits = { requestsPerS: 4, concurrencyMax: 2 };
  const [first, second, third] = [makeKey(limits), makeKey(limits), makeKey(limits)] as const;
  const other = makeKey(limits);
  const chain = [
    { ...first.stored, replacedBy: second.stored.keyId },
    { ...second.stored, replacedBy: third.stored.keyId },
    third.stored,
  ] as const;
  const enter = (ring: KeyRing, { token }: MadeKey): string => reasonOf(() => ring.verify(token).enter());
  const leave = (ring: KeyRing, { token }: MadeKey): void => ring.verify(token).leave();

  let now = 0;
  const atOnce = ringOf([], { now: () => now });
  atOnce.replace([...chain, other.stored]);
  t.same([enter(atOnce, first), enter(atOnce, second), enter(atOnce, third)], ['OK', 'OK', 'QUOTA_EXCEEDED']);
  t.equal(enter(atOnce, other), 'OK', 'somebody else has his own');
  leave(atOnce, first);
  t.equal(enter(atOnce, third), 'OK');

  const oneByOne = ringOf([first], { now: () => now });
  t.equal(enter(oneByOne, first), 'OK');
  oneByOne.replace([{ ...first.stored, replacedBy: second.stored.keyId }, second.stored]);
  t.equal(enter(oneByOne, second), 'OK');
  oneByOne.replace(chain);
  t.equal(enter(oneByOne, third), 'QUOTA_EXCEEDED', 'two are open');
  for (const key of [first, second]) leave(oneByOne, key);
  t.same([enter(oneByOne, third), enter(oneByOne, third)], ['OK', 'OK']);
  leave(oneByOne, third);
  t.equal(enter(oneByOne, third), 'QUOTA_EXCEEDED', 'four came within the second');
  now += 1_000;
  t.equal(enter(oneByOne, third), 'OK');
});

t.test('a revocation, an expiry and another secret end a key that was proven before', async (t) => {
  const made = makeKey();
  const ring = ringOf([made]);
  t.equal(
    reasonOf(() => ring.verify(made.token)),
    'OK',
  );
  ring.replace([{ ...made.stored, revokedAt: new Date() }]);
  t.throws(() => ring.verify(made.token), { reason: 'UNAUTHENTICATED', message: /was revoked/ });
  ring.replace([{ ...made.stored, expiresAt: new Date(Date.now() - 1) }]);
  t.throws(() => ring.verify(made.token), { reason: 'UNAUTHENTICATED', message: /expired/ });
  t.same(ring.replace([{ ...made.stored, secretId: 'another' }]), [made.stored.keyId], 'and it is said');
  t.throws(() => ring.verify(made.token), { reason: 'UNAUTHENTICATED', message: /not valid/ });
  ring.replace([]);
  t.throws(() => ring.verify(made.token), { reason: 'UNAUTHENTICATED', message: /not valid/ });
});

t.test('a key that ended and is still in use is in the log, now and then; what is no key is not', (t) => {
  const [expired, good] = [makeKey({ expiresAt: new Date(Date.now() - 1) }), makeKey()];
  const logged: unknown[] = [];
  const guard = new KeyGuard(ringOf([expired, good]), {
    warn: (fields: unknown) => {
      logged.push(fields);
    },
  });
  for (const { token } of [expired, good, makeKey(), expired, expired])
    reasonOf(() => guard.admit(`Bearer ${token}`, 'search'));
  t.match(logged, [{ keyId: expired.stored.keyId, why: /expired at/ }]);
  t.equal(logged.length, 1);
  t.notMatch(JSON.stringify(logged), expired.token.slice(16), 'not the key itself');
  t.end();
});

t.test('keys that end soon are known, but for those that were rotated or ended', (t) => {
  const at = (days: number): Date => new Date(Date.now() + days * 86_400_000);
  const soon = makeKey({ name: 'soon', expiresAt: at(3) });
  const ring = ringOf([
    soon,
    makeKey({ expiresAt: at(40) }),
    makeKey({ expiresAt: at(-1) }),
    makeKey({ expiresAt: at(3), revokedAt: new Date() }),
    makeKey({ expiresAt: at(3), replacedBy: soon.stored.keyId }),
  ]);
  t.same(
    ring.endingBefore(at(30).getTime()).map(({ keyId }) => keyId),
    [soon.stored.keyId],
  );
  t.end();
});

t.test('a quota is a bucket that fills steadily, and a count of what is open', async (t) => {
  let now = 0;
  const quota = new Quota({ requestsPerS: 10, concurrencyMax: null }, () => now);
  const enter = (): string => reasonOf(() => quota.enter());
  t.same(Array.from({ length: 11 }, enter), [...Array.from({ length: 10 }, () => 'OK'), 'QUOTA_EXCEEDED']);
  now += 100;
  t.same([enter(), enter()], ['OK', 'QUOTA_EXCEEDED'], 'one more after a tenth of a second');
  now += 100;
  t.equal(enter(), 'OK');
  quota.charge(5);
  now += 500;
  t.equal(enter(), 'QUOTA_EXCEEDED', 'a batch is paid for');
  now += 100;
  t.equal(enter(), 'OK');
  now += 3_600_000;
  t.same(
    Array.from({ length: 11 }, enter).filter((reason) => reason === 'OK').length,
    10,
    'it does not overflow',
  );

  const open = new Quota({ requestsPerS: null, concurrencyMax: 2 }, () => now);
  t.same(
    [1, 2, 3].map(() => reasonOf(() => open.enter())),
    ['OK', 'OK', 'QUOTA_EXCEEDED'],
  );
  open.leave();
  t.equal(
    reasonOf(() => open.enter()),
    'OK',
  );
});

t.test(
  'over both protocols a quota answers 429 and RESOURCE_EXHAUSTED with the time to come back',
  async (t) => {
    const key = makeKey({ requestsPerS: 2 });
    const single = makeKey({ concurrencyMax: 1 });
    const ring = ringOf([key, single]);
    const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ring });
    t.teardown(() => gateway.close());
    const search = { corpus: 'animals', text: 'a fish', top_k: 1 };
    const post = (token: string) => gateway.post('/v1/search', search, bearer(token));
    const outcomes = [await post(key.token), await post(key.token), await post(key.token)];
    t.ok(outcomes.some(({ reason }) => reason === 'OK'));
    const refused = await Promise.all(Array.from({ length: 5 }, () => post(key.token)));
    t.match(
      refused.find(({ reason }) => reason !== 'OK'),
      {
        reason: 'QUOTA_EXCEEDED',
        status: 429,
        retryAfterMs: 1_000,
        details: { limit: 'requests_per_s', max: '2' },
      },
    );
    const token = `Bearer ${key.token}`;
    const calls = await Promise.all(
      Array.from({ length: 5 }, () => callSearch(gateway.grpcAddress, token, search)),
    );
    const overGrpc = calls.find(({ reason }) => reason !== 'OK');
    t.match(overGrpc, {
      reason: 'QUOTA_EXCEEDED',
      status: status.RESOURCE_EXHAUSTED,
      details: { limit: 'requests_per_s', max: '2' },
    });
    const retryMs = overGrpc?.retryAfterMs ?? 0;
    t.ok(retryMs > 0 && retryMs <= 1_000, `RetryInfo of ${retryMs} ms`);
    gateway.service.delayMs = 300;
    const both = await Promise.all([post(single.token), post(single.token)]);
    t.same(both.map(({ reason }) => reason).sort(), ['OK', 'QUOTA_EXCEEDED']);
    t.equal((await post(single.token)).reason, 'OK', 'what ended is no longer counted');
    gateway.service.delayMs = 0;
    const abandoned = new AbortController();
    gateway.service.delayMs = 200;
    const left = fetch(`${gateway.url}/v1/search`, {
      method: 'POST',
      body: JSON.stringify(search),
      headers: { 'content-type': 'application/json', ...bearer(single.token) },
      signal: abandoned.signal,
    });
    setTimeout(() => abandoned.abort(), 50);
    await t.rejects(left);
    let last = 'none';
    for (let tries = 0; tries < 300 && last !== 'OK'; tries++) last = (await post(single.token)).reason;
    t.equal(last, 'OK', 'nor what its client abandoned');
    const refusal = await httpOutcome(
      await fetch(`${gateway.adminUrl}/metrics`, { headers: bearer(single.token) }),
    );
    t.equal(refusal.reason, 'PERMISSION_DENIED');
  },
);

t.test('the audit names the key that was used, whoever its holder says to be', async (t) => {
  t.equal(signedActor('anna', 'abc'), 'anna (key abc)');
  t.equal(signedActor(null, 'abc'), 'key abc');
  t.equal(signedActor('anna', null), 'anna');
});
