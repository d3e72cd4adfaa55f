import t from 'tap';
import { startRedis } from '../../bench/rig/redis.js';
import { CacheKeys } from '../../src/cache/keys.js';
import { type CacheEntry, type EntryCodec, LayeredCache } from '../../src/cache/layered-cache.js';
import type { RedisLayer } from '../../src/cache/redis-layer.js';
import { fingerprintOf } from '../router/small-manifests.js';
import { ready, startLayer, until } from './redis-rig.js';

const TTL_MS = 60_000;
const START_MS = 1_800_000_000_000;
const fingerprint = fingerprintOf('alpha');
const keys = new CacheKeys(Buffer.from('a secret of the layered cache'));
const keyOf = (text: string) => keys.embedding(fingerprint, 'query', text);

interface Word extends CacheEntry {
  readonly word: string;
}
const codec: EntryCodec<Word> = {
  kind: 'embedding',
  encode: ({ word }) => Buffer.from(word),
  decode: (payload, fingerprint) => ({ fingerprint, word: payload.toString() }),
  bytesOf: ({ word }) => word.length,
};
const owl: Word = { fingerprint, word: 'owl' };

/** A cache whose time is what `at` says; the wall clock of its host is `skewMs` off. */
function cacheAt({
  random = 0,
  redis = null,
  skewMs = 0,
}: {
  random?: number;
  redis?: RedisLayer | null;
  skewMs?: number;
}) {
  let elapsedMs = 0;
  const cache = new LayeredCache({
    codec,
    keys,
    bytesMax: 100_000,
    ttlMs: TTL_MS,
    redis,
    timers: { nowMs: () => elapsedMs, after: () => () => undefined },
    wallClockMs: () => START_MS + skewMs + elapsedMs,
    random: () => random,
  });
  return {
    cache,
    at: (ms: number) => {
      elapsedMs = ms;
      return cache;
    },
  };
}

t.test('an entry lives for its time to live, less up to 15 % by chance', (t) => {
  for (const [random, livesMs] of [
    [0, TTL_MS],
    [0.5, TTL_MS * 0.925],
    [0.999, TTL_MS * (1 - 0.15 * 0.999)],
  ] as const) {
    const { at } = cacheAt({ random });
    at(0).put(keyOf('owl'), owl);
    t.equal(at(Math.ceil(livesMs) - 1).recall(keyOf('owl'), fingerprint), owl, `random ${random}`);
    t.equal(at(Math.ceil(livesMs)).recall(keyOf('owl'), fingerprint), null, `random ${random}`);
  }
  t.end();
});

t.test('what comes from Redis has lived there already', async (t) => {
  const redis = await startRedis(t);
  const { layer } = startLayer(t, redis.url);
  await ready(layer);
  const writer = cacheAt({ redis: layer, random: 0.5 });
  const livesMs = TTL_MS * 0.925;
  writer.at(0).put(keyOf('owl'), owl);
  await until('it is written', () => layer.counters.writes === 1);
  const [name] = await redis.client.keys('*');
  const pttlMs = await redis.client.pttl(name ?? '');
  t.ok(
    pttlMs > livesMs - 30_000 && pttlMs <= livesMs,
    `${pttlMs} ms in Redis: jittered once, for both layers`,
  );

  for (const { what, skewMs, leftMs } of [
    { what: 'clocks agree', skewMs: 0, leftMs: livesMs - 45_000 },
    { what: 'a clock that is 5 s ahead', skewMs: 5_000, leftMs: livesMs - 50_000 },
    {
      what: 'a clock that is far behind keeps it no longer than one time to live',
      skewMs: -3_600_000,
      leftMs: TTL_MS,
    },
  ]) {
    const reader = cacheAt({ redis: layer, skewMs });
    t.match(await reader.at(45_000).fetch(keyOf('owl'), fingerprint), owl, what);
    t.match(reader.at(45_000 + leftMs - 1).recall(keyOf('owl'), fingerprint), owl, what);
    t.equal(reader.at(45_000 + leftMs).recall(keyOf('owl'), fingerprint), null, what);
  }
  const ahead = cacheAt({ redis: layer, skewMs: 3_600_000 });
  t.match(await ahead.at(0).fetch(keyOf('owl'), fingerprint), owl, 'Redis says when it is over');
  t.equal(
    ahead.at(0).recall(keyOf('owl'), fingerprint),
    null,
    'and by a clock that is far ahead it is over here',
  );
});
