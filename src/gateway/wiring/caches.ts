import path from 'node:path';
import { CacheKeys } from '../../cache/keys.js';
import { RedisLayer } from '../../cache/redis-layer.js';
import type { CacheSize, Config, RedisSettings } from '../../config/config.js';
import { systemTimers } from '../../process/timers.js';
import { EmbeddingCache } from '../../router/embedding-cache.js';
import type { QueryCaches } from '../../router/query-caches.js';
import { ResultCache } from '../../router/result-cache.js';
import type { Logger } from '../../telemetry/log.js';
import { readSecretFile } from './secret-file.js';

export interface GatewayCaches extends QueryCaches {
  /** null where none is configured. */
  readonly redis: RedisLayer | null;
  close(): void;
}

const FAILURES_TO_OPEN = 5;
/** Between two trials while Redis is away. */
const TRIALS = { delayMsFirst: 250, delayMsMax: 15_000, factor: 2, jitter: 0.3, stableAfterMs: 0 } as const;
const READS_MAX = 8_192;
const WRITE_BYTES_MAX = 16 << 20;

/** Opens what is configured. Redis is connected in the background: a gateway begins without it. Errors: DISK_FULL. */
export async function openCaches({ cache, varDir }: Config, log: Logger): Promise<GatewayCaches> {
  const { embeddings, results } = cache;
  if (!embeddings.enabled && !results.enabled)
    return { embeddings: null, results: null, redis: null, close: () => undefined };
  if (cache.redis !== null && cache.secret === null)
    log.warn("cache.secret is not set: only gateways of this var_dir find each other's entries in Redis");
  const secret =
    cache.secret === null
      ? await readSecretFile(path.join(varDir, 'cache', 'secret'))
      : Buffer.from(cache.secret, 'utf8');
  const keys = new CacheKeys(secret);
  const redis = cache.redis === null ? null : openRedis(cache.redis, log);
  const options = ({ memoryBytes, ttlMs }: CacheSize) => ({
    bytesMax: memoryBytes,
    ttlMs,
    redis,
    timers: systemTimers,
    wallClockMs: Date.now,
    random: Math.random,
  });
  return {
    embeddings: embeddings.enabled ? new EmbeddingCache(keys, options(embeddings)) : null,
    results: results.enabled ? new ResultCache(keys, options(results)) : null,
    redis,
    close: () => redis?.close(),
  };
}

function openRedis({ url, keyPrefix, timeoutMs, connectTimeoutMs }: RedisSettings, log: Logger): RedisLayer {
  return new RedisLayer({
    url,
    keyPrefix,
    timeoutMs,
    connectTimeoutMs,
    failuresToOpen: FAILURES_TO_OPEN,
    backoff: TRIALS,
    readsMax: READS_MAX,
    writeBytesMax: WRITE_BYTES_MAX,
    timers: systemTimers,
    random: Math.random,
    onState: (state, why) => {
      if (state === 'closed') log.info('the cache uses Redis');
      else log.warn({ why }, 'the cache goes on without Redis');
    },
  });
}
