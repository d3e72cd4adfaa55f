import { type CacheKind, FRAME_DEFECTS } from '../../cache/frame.js';
import type { CacheCounters } from '../../cache/layered-cache.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { GatewayCaches } from './caches.js';

interface Watched {
  readonly kind: CacheKind;
  readonly bytes: number;
  readonly count: number;
  readonly evictions: number;
  readonly counters: CacheCounters;
  readonly joined: number;
}

/** What the caches count themselves is read when Prometheus asks. */
export function observeCaches(metrics: Metrics, caches: GatewayCaches): void {
  const watched = (): Watched[] =>
    [caches.embeddings, caches.results].flatMap((cache) => {
      if (cache === null) return [];
      const { kind, bytes, count, evictions, counters } = cache.layers;
      return [{ kind, bytes, count, evictions, counters, joined: cache.flights.joined }];
    });
  const byLayer = (memory: (found: Watched) => number, redis: (found: Watched) => number) => () =>
    watched().flatMap((found) => [
      [{ layer: 'memory', kind: found.kind }, memory(found)] as const,
      ...(caches.redis === null ? [] : [[{ layer: 'redis', kind: found.kind }, redis(found)] as const]),
    ]);
  const byKind = (value: (found: Watched) => number) => () =>
    watched().map((found) => [{ kind: found.kind }, value(found)] as const);

  metrics.observeTotal(
    'switchyard_cache_hits_total',
    'Entries found, by layer and kind',
    ['layer', 'kind'],
    byLayer(
      ({ counters }) => counters.memory.hits,
      ({ counters }) => counters.redis.hits,
    ),
  );
  metrics.observeTotal(
    'switchyard_cache_misses_total',
    'Entries looked for and not found, by layer and kind',
    ['layer', 'kind'],
    byLayer(
      ({ counters }) => counters.memory.misses,
      ({ counters }) => counters.redis.misses,
    ),
  );
  metrics.observeTotal(
    'switchyard_cache_errors_total',
    'Entries that could not be had or were not taken, by why; each was answered as a miss',
    ['layer', 'kind', 'why'],
    () => watched().flatMap(({ kind, counters }) => errorsOf(kind, counters, caches.redis !== null)),
  );
  metrics.observeTotal(
    'switchyard_cache_joined_total',
    'Requests that waited for an equal one instead of doing the same work',
    ['kind'],
    byKind(({ joined }) => joined),
  );
  metrics.observeTotal(
    'switchyard_cache_evictions_total',
    'Entries that made room for others, in this process',
    ['kind'],
    byKind(({ evictions }) => evictions),
  );
  metrics.observe(
    'switchyard_cache_bytes',
    'Bytes of entries in this process',
    ['kind'],
    byKind(({ bytes }) => bytes),
  );
  metrics.observe(
    'switchyard_cache_entries',
    'Entries in this process',
    ['kind'],
    byKind(({ count }) => count),
  );
  observeRedis(metrics, caches);
}

function errorsOf(kind: CacheKind, { memory, redis }: CacheCounters, hasRedis: boolean) {
  const one = (layer: string, why: string, count: number) => [{ layer, kind, why }, count] as const;
  if (!hasRedis) return [one('memory', 'refused', memory.refused)];
  return [
    one('memory', 'refused', memory.refused),
    one('redis', 'failed', redis.failed),
    one('redis', 'skipped', redis.skipped),
    // At nought too: the first one is what the alert is for.
    ...[...FRAME_DEFECTS, 'payload' as const].map((why) =>
      one('redis', `invalid_${why}`, redis.invalid.get(why) ?? 0),
    ),
  ];
}

function observeRedis(metrics: Metrics, { redis }: GatewayCaches): void {
  if (redis === null) return;
  metrics.observe('switchyard_cache_breaker_open', '1 while the cache goes on without Redis', [], () => [
    [{}, redis.state === 'closed' ? 0 : 1],
  ]);
  metrics.observeTotal('switchyard_cache_breaker_opened_total', 'How often Redis was given up', [], () => [
    [{}, redis.openedCount],
  ]);
  metrics.observeTotal(
    'switchyard_cache_redis_timeouts_total',
    'Groups of reads without an answer in time',
    [],
    () => [[{}, redis.counters.timeouts]],
  );
  metrics.observeTotal(
    'switchyard_cache_redis_writes_total',
    'Values sent to Redis, by what became of them',
    ['outcome'],
    () => [
      [{ outcome: 'written' }, redis.counters.writes],
      [{ outcome: 'failed' }, redis.counters.writesFailed],
      [{ outcome: 'dropped' }, redis.counters.writesDropped],
    ],
  );
}
