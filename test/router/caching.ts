import { randomBytes } from 'node:crypto';
import { CacheKeys } from '../../src/cache/keys.js';
import type { RedisLayer } from '../../src/cache/redis-layer.js';
import { systemTimers, type Timers } from '../../src/process/timers.js';
import { EmbeddingCache } from '../../src/router/embedding-cache.js';
import { ResultCache } from '../../src/router/result-cache.js';
import { createRig, type Rig, type RigOptions } from './harness.js';
import { seededRandom } from './small-engines.js';

export interface CachingRig extends Rig {
  readonly embeddings: EmbeddingCache;
  readonly results: ResultCache;
  /** What the engines did, as `encode <model> <lane>` and `search <version>`. */
  readonly work: string[];
}

export interface CachingOptions extends RigOptions {
  readonly redis?: RedisLayer | null;
  readonly secret?: Uint8Array;
  /** Of each cache, in this process. */
  readonly bytesMax?: number;
  /** Of the caches. */
  readonly timers?: Timers;
}

/** A router with both caches over the small engines, which note what they do. */
export function createCachingRig({
  redis = null,
  secret = randomBytes(32),
  bytesMax = 8 << 20,
  timers = systemTimers,
  ...rigOptions
}: CachingOptions = {}): CachingRig {
  const keys = new CacheKeys(secret);
  const options = {
    bytesMax,
    ttlMs: 600_000,
    redis,
    timers,
    wallClockMs: Date.now,
    random: seededRandom(2),
  };
  const [embeddings, results] = [new EmbeddingCache(keys, options), new ResultCache(keys, options)];
  const rig = createRig({ ...rigOptions, over: { caches: { embeddings, results }, ...rigOptions.over } });
  const { conditions } = rig.engines;
  const work: string[] = [];
  const { onEncode, onSearch } = conditions;
  conditions.onEncode = async (model, request) => {
    if (request.lane !== 'bulk') work.push(`encode ${model} ${request.lane}`);
    await onEncode(model, request);
  };
  conditions.onSearch = async (spec, query) => {
    if (query.lane !== 'bulk') work.push(`search ${spec.version} ${query.lane}`);
    await onSearch(spec, query);
  };
  return { ...rig, embeddings, results, work };
}
