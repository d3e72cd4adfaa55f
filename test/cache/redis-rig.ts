import { RedisLayer, type RedisLayerOptions } from '../../src/cache/redis-layer.js';
import { systemTimers } from '../../src/process/timers.js';
import type { Teardown } from '../fixtures/folders.js';
import { seededRandom } from '../router/small-engines.js';

export interface StartedLayer {
  readonly layer: RedisLayer;
  /** Why the breaker opened or stayed open, in order. */
  readonly reasons: string[];
}

/** A Redis layer with little patience, closed with the test. */
export function startLayer(t: Teardown, url: string, over: Partial<RedisLayerOptions> = {}): StartedLayer {
  const reasons: string[] = [];
  const layer = new RedisLayer({
    url,
    keyPrefix: 'test:',
    timeoutMs: 100,
    connectTimeoutMs: 500,
    failuresToOpen: 3,
    backoff: { delayMsFirst: 20, delayMsMax: 100, factor: 2, jitter: 0.3, stableAfterMs: 0 },
    readsMax: 1_000,
    writeBytesMax: 1 << 20,
    timers: systemTimers,
    random: seededRandom(3),
    onState: (_state, why) => {
      if (why !== null) reasons.push(why);
    },
    ...over,
  });
  t.teardown(() => layer.close());
  return { layer, reasons };
}

/** Resolves when it holds; a minute is the end of all patience. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const ready = (layer: RedisLayer): Promise<void> =>
  until('the layer is connected', () => layer.state === 'closed');
