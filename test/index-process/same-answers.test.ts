import { getPriority } from 'node:os';
import fc from 'fast-check';
import t from 'tap';
import { openIndex } from '../../src/index/open-index.js';
import type { SearchIndex } from '../../src/index/search-index.js';
import {
  expectedOf,
  OTHER_FINGERPRINT,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from '../index/corpus.js';
import { type Built, build, openBuilt, pidOf, startProcesses } from './start.js';

const home = temporaryFolder(t);
const corpus = testCorpus(1, 600, 32, 3);

interface Pair {
  readonly shared: SearchIndex;
  readonly isolated: SearchIndex;
}

async function openBoth(t: { teardown(fn: () => Promise<void>): unknown }, built: Built): Promise<Pair> {
  const { processes } = startProcesses(t);
  const shared = await openIndex(built.bundle, {
    workers: 1,
    queueLengthMax: 100,
    expected: expectedOf(built.options),
  });
  t.teardown(() => shared.close());
  return { shared, isolated: await openBuilt(processes, built) };
}

t.test('an index process answers what the search workers of the gateway answer', async (t) => {
  const built = await build(home, corpus, { storeDocuments: true });
  const { shared, isolated } = await openBoth(t, built);
  t.same(isolated.bundle, shared.bundle);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: corpus.rows.length - 1 }),
      fc.integer({ min: 1, max: 1000 }),
      fc.boolean(),
      fc.constantFrom('live', 'shadow', 'bulk'),
      fc.constantFrom(1, 1e-9, 1e9),
      async (row, topK, withDocument, lane, scale) => {
        const values = rowOf(corpus, row).map((value) => value * scale);
        const query = queryOf(values, { topK, withDocument, lane });
        const [expected, found] = await Promise.all([shared.search(query), isolated.search(query)]);
        t.strictSame(found.hits, expected.hits);
      },
    ),
    { numRuns: 60, seed: 7 },
  );
});

t.test('the same holds for a truncated build, for dot and for l2', async (t) => {
  for (const [version, more] of [
    ['truncated', { indexDimensions: 16 }],
    ['dot', { metric: 'dot' }],
    ['l2', { metric: 'l2' }],
  ] as const) {
    const built = await build(home, corpus, { version, ...more });
    const { shared, isolated } = await openBoth(t, built);
    for (const row of [0, 100, 500]) {
      const query = queryOf(rowOf(corpus, row), { topK: 50 });
      const [expected, found] = await Promise.all([shared.search(query), isolated.search(query)]);
      t.equal(found.hits.length, 50);
      t.strictSame(found.hits, expected.hits, `${version} ${row}`);
    }
  }
});

t.test('a vector that its owner changes after the call does not change the answer', async (t) => {
  const { processes } = startProcesses(t);
  const index = await openBuilt(processes, await build(home, corpus, { version: 'owned' }));
  const values = rowOf(corpus, 7);
  const id = corpus.rows[7]?.documentId;
  const answer = index.search(queryOf(values));
  values.fill(1);
  t.equal((await answer).hits[0]?.id, id);
});

t.test('each index has a process of its own, which yields to the gateway', async (t) => {
  const { processes } = startProcesses(t, { niceness: 7 });
  t.same([processes.indexes.length, processes.counters.openIndexes], [0, 0], 'none before it is needed');
  const other = testCorpus(2, 100, 16);
  const model = { name: 'other', version: '1', fingerprint: OTHER_FINGERPRINT };
  const [first, second] = await Promise.all([
    openBuilt(processes, await build(home, corpus, { version: 'first' })),
    openBuilt(processes, await build(home, other, { version: 'second', model })),
  ]);
  t.not(pidOf(first), pidOf(second));
  t.equal(getPriority(pidOf(first)), Math.max(7, getPriority()), 'as nice as it is told, or as its parent');
  t.equal(processes.counters.openIndexes, 2);
  t.equal(processes.counters.openBytes, first.bytes + second.bytes);
  await first.search(queryOf(rowOf(corpus, 0)));
  await first.close();
  t.match(processes.counters, { openIndexes: 1, openBytes: second.bytes, searches: 1, restarts: 0 });
  const vector = { fingerprint: OTHER_FINGERPRINT, values: rowOf(other, 3) };
  t.equal((await second.search(queryOf(vector.values, { vector }))).hits[0]?.id, 'doc-2-3');
});
