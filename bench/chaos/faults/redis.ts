import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fault, UNNOTICED } from '../fault.js';
import type { ChaosRig } from '../rig.js';
import { damagedValues, mixedUpValues, redisGivenUp, redisUsed } from '../signs.js';

const FILL_WAIT_MS = 250;
const FILL_WAITS_MAX = 240;
/** So many values are there before they are spoiled. */
const KEYS_MIN = 10;

/** Every value of the cache becomes what `change` makes of it and of another key's, at once. */
async function spoilCache(
  { redis: { client } }: ChaosRig,
  change: (value: Buffer, another: Buffer) => Buffer,
): Promise<void> {
  let keys = await client.keys('*');
  // After a fault of Redis the gateway's breaker closes again first.
  for (let waits = 0; keys.length < KEYS_MIN && waits < FILL_WAITS_MAX; waits++) {
    await sleep(FILL_WAIT_MS);
    keys = await client.keys('*');
  }
  const values = await client.mgetBuffer(keys);
  const entries = keys.flatMap((key, at) => {
    const value = values[at] ?? null;
    // It expired while we looked.
    return value === null ? [] : [{ key, value }];
  });
  if (entries.length < 2) throw new Error('the cache is empty: there is nothing to spoil');
  await Promise.all(
    entries.map(({ key, value }, at) => {
      const another = entries[(at + 1) % entries.length] as { readonly value: Buffer };
      return client.set(key, change(value, another.value));
    }),
  );
}

/** What is left of a fault would be taken for a sign of the next one. */
const emptied = async ({ redis }: ChaosRig): Promise<void> => void (await redis.client.flushall());

export const REDIS_FAULTS: readonly Fault[] = [
  {
    name: 'redis killed',
    inject: ({ redis }) => redis.kill(),
    ready: redisUsed,
    met: redisGivenUp,
    heal: ({ redis }) => redis.start(),
    expected: UNNOTICED,
  },
  {
    name: 'redis stopped (SIGSTOP)',
    inject: ({ redis }) => redis.pause(),
    ready: redisUsed,
    met: redisGivenUp,
    heal: ({ redis }) => redis.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'redis half-open: connections that swallow everything',
    inject: ({ redisProxy }) => redisProxy.silence(),
    ready: redisUsed,
    met: redisGivenUp,
    heal: ({ redisProxy }) => redisProxy.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'redis half-open: the open connection swallows everything, a new one works',
    inject: ({ redisProxy }) => redisProxy.forget(),
    ready: redisUsed,
    met: redisGivenUp,
    expected: UNNOTICED,
  },
  { name: 'redis emptied', inject: emptied, expected: UNNOTICED },
  {
    name: 'redis answers garbage',
    inject: (rig) => spoilCache(rig, (value) => randomBytes(value.length)),
    ready: redisUsed,
    met: damagedValues,
    heal: emptied,
    expected: UNNOTICED,
  },
  {
    name: "redis answers another key's value",
    inject: (rig) => spoilCache(rig, (_, another) => another),
    ready: redisUsed,
    met: mixedUpValues,
    heal: emptied,
    expected: UNNOTICED,
  },
  {
    name: 'redis answers half of each value',
    inject: (rig) => spoilCache(rig, (value) => value.subarray(0, value.length >> 1)),
    ready: redisUsed,
    met: damagedValues,
    heal: emptied,
    expected: UNNOTICED,
  },
];
