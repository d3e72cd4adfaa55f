import fc from 'fast-check';
import t from 'tap';
import { compilePickTable, pickAtRandom, pickByKey } from '../../src/router/pick.js';
import { referencePick, type Weights } from './reference-pick.js';
import { seededRandom } from './small-engines.js';

const table = (weights: Weights) =>
  compilePickTable(
    Object.entries(weights).map(([identity, weight]) => ({ item: identity, identity, weight })),
  );

t.test('100 000 seeded keys are picked exactly as an independent implementation picks them', async (t) => {
  const weights = { a: 5000, b: 2500, c: 2000, d: 499, e: 1, f: 0 };
  const compiled = table(weights);
  const counts: Record<string, number> = { a: 0, b: 0, c: 0, d: 0, e: 0, f: 0 };
  let different = 0;
  for (let at = 0; at < 100_000; at++) {
    const key = `user-${at}-é`;
    const picked = pickByKey(compiled, 'salt-1', key) as string;
    if (picked !== referencePick(weights, 'salt-1', key)) different++;
    counts[picked] = (counts[picked] as number) + 1;
  }
  t.equal(different, 0);
  t.equal(counts.f, 0, 'a weight of 0 is never picked');
  for (const [identity, weight] of Object.entries(weights)) {
    const share = weight / 10_000;
    const deviation = Math.sqrt(100_000 * share * (1 - share));
    t.ok(
      Math.abs((counts[identity] as number) - 100_000 * share) <= 5 * deviation,
      `${identity}: ${counts[identity]} of 100000 at weight ${weight}`,
    );
  }
});

t.test(
  'fifty targets get their shares, and the picks of two salts have nothing to do with each other',
  async (t) => {
    const weights = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`target-${at}`, 200]));
    const compiled = table(weights);
    const counts = new Map<string, number>();
    let same = 0;
    for (let at = 0; at < 100_000; at++) {
      const picked = pickByKey(compiled, 'x', `k${at}`) as string;
      counts.set(picked, (counts.get(picked) ?? 0) + 1);
      if (pickByKey(compiled, 'y', `k${at}`) === picked) same++;
    }
    const expected = 2000;
    const chiSquared = [...counts.values()].reduce(
      (sum, count) => sum + (count - expected) ** 2 / expected,
      0,
    );
    t.equal(counts.size, 50);
    t.ok(chiSquared < 100, `chi² of 49 degrees of freedom is ${chiSquared.toFixed(1)}`);
    t.ok(
      Math.abs(same - expected) < 5 * Math.sqrt(expected),
      `${same} keys met the same target under both salts`,
    );
  },
);

const weightsArbitrary = fc.dictionary(
  fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
  fc.oneof(fc.integer({ min: 0, max: 10_000 }), fc.constantFrom(0, 1, 9_999, 10_000)),
  { minKeys: 1, noNullPrototype: true },
);

t.test('a key moves only to a target whose share rose relative to the one it leaves', async () => {
  fc.assert(
    fc.property(
      weightsArbitrary,
      weightsArbitrary,
      fc.array(fc.string(), { maxLength: 30 }),
      (before, after, keys) => {
        const [old, now] = [table(before), table(after)];
        return keys.every((key) => {
          const from = pickByKey(old, 's', key);
          const to = pickByKey(now, 's', key);
          if (from === to || from === null || to === null) return true;
          // after[to] / after[from] > before[to] / before[from], exactly.
          return (after[to] ?? 0) * (before[from] ?? 0) > (before[to] ?? 0) * (after[from] ?? 0);
        });
      },
    ),
    { numRuns: 2000, seed: 1 },
  );
});

t.test(
  'when one weight grows, keys move to that target alone; when one shrinks, away from it alone',
  async () => {
    const key = fc.string();
    fc.assert(
      fc.property(
        weightsArbitrary,
        fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
        fc.integer({ min: 0, max: 10_000 }),
        fc.array(key, { maxLength: 40 }),
        (before, changed, weight, keys) => {
          const after = { ...before, [changed]: weight };
          const [old, now] = [table(before), table(after)];
          const grew = weight > (before[changed] ?? 0);
          return keys.every((one) => {
            const from = pickByKey(old, 's', one);
            const to = pickByKey(now, 's', one);
            return from === to || (grew ? to : from) === changed;
          });
        },
      ),
      { numRuns: 1000, seed: 3 },
    );
  },
);

t.test('scaling every weight moves no key', async () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.integer({ min: 1, max: 1428 }), { minKeys: 1 }),
      fc.integer({ min: 2, max: 7 }),
      fc.array(fc.string(), { minLength: 1, maxLength: 50 }),
      (weights, factor, keys) => {
        const scaled = Object.fromEntries(
          Object.entries(weights).map(([name, weight]) => [name, weight * factor]),
        );
        const [small, large] = [table(weights), table(scaled)];
        return keys.every((key) => pickByKey(small, 's', key) === pickByKey(large, 's', key));
      },
    ),
    { numRuns: 500, seed: 2 },
  );
});

t.test('a ramp from 0 to 100 % moves each key once, and back again the same way', async (t) => {
  const ramp = [0, 100, 1000, 5000, 10_000];
  const tables = ramp.map((weight) => table({ old: 10_000 - weight, new: weight }));
  let backwards = 0;
  for (let at = 0; at < 20_000; at++) {
    const picks = tables.map((compiled) => pickByKey(compiled, 's', `k${at}`));
    const moved = picks.indexOf('new');
    if (picks.slice(moved).some((pick) => pick !== 'new') || moved < 1) backwards++;
  }
  t.equal(backwards, 0);
});

t.test('without a key the pick follows the weights, and a weight of 0 is never picked', async (t) => {
  const compiled = table({ a: 9000, b: 1000, c: 0 });
  const random = seededRandom(7);
  const counts: Record<string, number> = { a: 0, b: 0, c: 0 };
  for (let at = 0; at < 100_000; at++) {
    const picked = pickAtRandom(compiled, random) as string;
    counts[picked] = (counts[picked] as number) + 1;
  }
  t.ok(Math.abs((counts.b as number) - 10_000) < 5 * Math.sqrt(9000), `${counts.b} of 100000 at weight 1000`);
  t.equal(counts.c, 0);
  t.equal(
    pickAtRandom(compiled, () => 1 - 2 ** -53),
    'b',
  );
  t.equal(
    pickAtRandom(compiled, () => 0),
    'a',
  );
});

t.test('an empty table picks nothing, and a weight that is no basis point is refused', async (t) => {
  t.equal(pickByKey(table({ a: 0 }), 's', 'k'), null);
  t.equal(
    pickAtRandom(table({}), () => 0.5),
    null,
  );
  for (const weight of [-1, 0.5, 10_001, Number.NaN]) t.throws(() => table({ a: weight }), RangeError);
});
