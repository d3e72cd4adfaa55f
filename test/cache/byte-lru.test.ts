import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import t from 'tap';
import { ByteLru, ENTRY_OVERHEAD_BYTES } from '../../src/cache/byte-lru.js';
import type { CacheKey } from '../../src/cache/keys.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** The least of several collections, since array buffers are given back in the background. */
async function usedAfterCollection(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 10; turn++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, heapUsed + arrayBuffers);
  }
  return least;
}

const key = (name: string | number): CacheKey => `key ${name}` as CacheKey;

t.test('it never holds more than its bytes, and forgets the least recently used first', async (t) => {
  const bytesMax = 100_000;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(200), fc.nat(14_000), fc.boolean()), { maxLength: 300 }),
      (steps) => {
        const lru = new ByteLru<number>(bytesMax, () => 0);
        const order: { name: number; bytes: number }[] = [];
        for (const [name, bytes, isRead] of steps) {
          const at = order.findIndex((held) => held.name === name);
          if (isRead) {
            t.equal(lru.get(key(name)), at < 0 ? null : name);
            if (at >= 0) order.push(...order.splice(at, 1));
            continue;
          }
          if (at >= 0) order.splice(at, 1);
          lru.set(key(name), name, bytes, 1);
          const size = bytes + ENTRY_OVERHEAD_BYTES;
          if (size <= bytesMax / 8) order.push({ name, bytes: size });
          while (order.reduce((sum, held) => sum + held.bytes, 0) > bytesMax) order.shift();
          t.ok(lru.bytes <= bytesMax);
          t.equal(
            lru.bytes,
            order.reduce((sum, held) => sum + held.bytes, 0),
          );
          t.equal(lru.count, order.length);
        }
      },
    ),
    { numRuns: 30 },
  );
});

t.test('an entry is gone when its time is over', async (t) => {
  let nowMs = 0;
  const lru = new ByteLru<string>(10_000, () => nowMs);
  lru.set(key('a'), 'value', 10, 100);
  nowMs = 99;
  t.equal(lru.get(key('a')), 'value');
  nowMs = 100;
  t.equal(lru.get(key('a')), null);
  t.same([lru.count, lru.bytes, lru.evictions], [0, 0, 0]);
});

t.test('what it says it holds is what it holds', async (t) => {
  const bytesMax = 32 << 20;
  const lru = new ByteLru<Buffer>(bytesMax, () => 0);
  const before = await usedAfterCollection();
  for (let at = 0; at < 60_000; at++) {
    const value = Buffer.allocUnsafeSlow(1_500);
    lru.set(key(`${'x'.repeat(40)}${at}`), value, value.length, 1);
  }
  const grown = (await usedAfterCollection()) - before;
  t.ok(lru.evictions > 30_000, `${lru.evictions} evictions`);
  t.ok(lru.bytes > bytesMax * 0.99 && lru.bytes <= bytesMax, `${lru.bytes} bytes`);
  t.ok(grown <= bytesMax * 1.05, `${grown} bytes more`);
  t.ok(grown >= bytesMax * 0.7, `${grown} bytes more: what an entry takes beside its value is overstated`);
  t.equal(lru.get(key('none')), null);
});
