import { CacheKeys } from '../../src/cache/keys.js';
import { RedisLayer } from '../../src/cache/redis-layer.js';
import { systemTimers } from '../../src/process/timers.js';
import { EncodedHits } from '../../src/router/encoded-hits.js';
import { ResultCache } from '../../src/router/result-cache.js';
import type { Digest } from '../../src/vocabulary.js';
import { alternate } from '../report.js';
import { startRedis } from '../rig/redis.js';
import { MODEL } from './seeded-encoder.js';

const KEY_PREFIX = 'bench:';
const BUILD = 'b'.repeat(64) as Digest;

export interface RedisPlan {
  readonly texts: readonly string[];
  readonly rounds: number;
  /** Reads of both sides that travel together. */
  readonly group: number;
}

export interface RedisFigures {
  readonly serverVersion: string;
  readonly valueBytes: number;
  readonly layerMs: readonly number[];
  readonly rawMs: readonly number[];
  /** CPU time of this process, µs per read. */
  readonly layerCpuUs: readonly number[];
  readonly rawCpuUs: readonly number[];
}

/**
 * Answers remembered in a real Redis server, read through the result cache (key, MGET, frame, decoding, place in this
 * process) and, in turn, as pipelined GETs of ioredis alone that nobody looks at.
 */
export async function measureRedis({ texts, rounds, group }: RedisPlan): Promise<RedisFigures> {
  const closers: (() => Promise<void> | void)[] = [];
  try {
    const redis = await startRedis({ teardown: (close) => closers.push(close) });
    const layer = new RedisLayer({
      url: redis.url,
      keyPrefix: KEY_PREFIX,
      timeoutMs: 10_000,
      connectTimeoutMs: 10_000,
      failuresToOpen: 5,
      backoff: { delayMsFirst: 50, delayMsMax: 1_000, factor: 2, jitter: 0, stableAfterMs: 0 },
      readsMax: 8_192,
      writeBytesMax: 1 << 30,
      timers: systemTimers,
      random: Math.random,
      onState: (_, why) => {
        if (why !== null) throw new Error(why);
      },
    });
    closers.push(() => layer.close());
    while (layer.state !== 'closed') await new Promise((resolve) => setTimeout(resolve, 5));
    const keys = new CacheKeys(Buffer.from('the secret of this bench'));
    const keyOf = (query: string) =>
      keys.result({
        build: BUILD,
        fingerprint: MODEL.fingerprint,
        expansion: 128,
        topK: 10,
        withDocument: false,
        query,
      });
    // So small that a round pushes out what the last one left: every read goes to Redis.
    const options = {
      bytesMax: 256 * 1024,
      ttlMs: 3_600_000,
      redis: layer,
      timers: systemTimers,
      wallClockMs: Date.now,
      random: Math.random,
    };
    const cache = new ResultCache(keys, options);
    for (const text of texts) cache.put(keyOf(text), { fingerprint: MODEL.fingerprint, hits: hitsOf(text) });
    while (layer.counters.writes < texts.length) await new Promise((resolve) => setTimeout(resolve, 5));

    const groups: string[][] = [];
    for (let at = 0; at < texts.length; at += group) groups.push(texts.slice(at, at + group));
    const names = groups.map((part) => part.map((text) => KEY_PREFIX + keys.shared(keyOf(text))));
    const readOne = async (text: string): Promise<void> => {
      const key = keyOf(text);
      const entry =
        cache.layers.recall(key, MODEL.fingerprint) ?? (await cache.layers.fetch(key, MODEL.fingerprint));
      if (entry === null) throw new Error('a remembered answer was not found');
    };
    const layerSide = async (): Promise<void> => {
      for (const part of groups) await Promise.all(part.map(readOne));
    };
    const rawSide = async (): Promise<void> => {
      for (const part of names) {
        const pipeline = redis.client.pipeline();
        for (const name of part) pipeline.getBuffer(name);
        for (const [error, value] of (await pipeline.exec()) ?? [])
          if (error !== null || !Buffer.isBuffer(value)) throw new Error('a value was not found');
      }
    };
    await alternate(3, layerSide, rawSide);
    const { hits: hitsBefore } = cache.layers.counters.redis;
    const [layerCpuUs, rawCpuUs]: [number[], number[]] = [[], []];
    const { aMs, bMs } = await alternate(
      rounds,
      () => withCpu(layerCpuUs, texts.length, layerSide),
      () => withCpu(rawCpuUs, texts.length, rawSide),
    );
    const fromRedis = cache.layers.counters.redis.hits - hitsBefore;
    if (fromRedis !== rounds * texts.length)
      throw new Error(`${fromRedis} of ${rounds * texts.length} reads went to Redis`);
    const valueBytes = (await redis.client.getBuffer(names[0]?.[0] ?? ''))?.length ?? 0;
    return {
      serverVersion: redis.version,
      valueBytes,
      layerMs: aMs,
      rawMs: bMs,
      layerCpuUs,
      rawCpuUs,
    };
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

async function withCpu(into: number[], reads: number, work: () => Promise<void>): Promise<void> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  into.push((user + system) / reads);
}

const hitsOf = (text: string): EncodedHits =>
  EncodedHits.of(
    Array.from({ length: 10 }, (_, at) => ({
      id: `document-${text.length * 100 + at}`,
      chunk: 0,
      score: 0.9 - at / 100,
      distance: 0.1 + at / 100,
      document: null,
    })),
    300,
  );
