import path from 'node:path';
import t from 'tap';
import { openIndex } from '../../../src/index/open-index.js';
import { parseMajorFaults } from '../../../src/index/thread-faults.js';
import { DramTier } from '../../../src/index/tiers/dram-tier.js';
import { cannotEvict, evict } from '../../fixtures/page-cache.js';
import {
  buildTestBundle,
  expectedOf,
  optionsOf,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from '../corpus.js';

/** What shares a large page with something mapped is not taken out of the cache. */
const ROUNDS_MAX = 20;

t.test('major faults are read past a name that holds brackets and spaces', (t) => {
  const numbers = '18440 19947 19947 0 -1 4194304 7252 6529 37 5 2 10 2 2 20 0 1 0 2792472 33800192 7471';
  for (const name of ['node', 'switchyard-search', 'a) b', '((x) (y))', ') R 1 2 3 4 5 6 7 8 9 10 11'])
    t.equal(parseMajorFaults(`4711 (${name}) S ${numbers}\n`), 37, name);
  t.end();
});

t.test('pages that searches read from the disk are counted for the index, where it lies there', async (t) => {
  const home = temporaryFolder(t);
  const corpus = testCorpus(1, 2_000, 256);
  const options = optionsOf(home, { dimensions: corpus.dimensions, quantization: 'f32' });
  const bundle = await buildTestBundle(home, corpus, options);
  const open = (more: Partial<Parameters<typeof openIndex>[1]> = {}) =>
    openIndex(bundle, { workers: 1, queueLengthMax: 9, expected: expectedOf(options), ...more });
  const why = await cannotEvict(home);
  for (const [placement, place] of [
    ['disk', {}],
    ['page_cache', { place: new DramTier({ memoryDir: 'none', bytesMax: 1e9 }).place }],
  ] as const)
    await t.test(`placement ${placement}`, { skip: why }, async (t) => {
      let index = await open({ ...place, countFaults: true });
      const faults = (): number => index.pool.openIndexes()[0]?.majorFaults ?? Number.NaN;
      t.match(index.pool.openIndexes(), [{ placement, majorFaults: 0 }]);
      for (let round = 0; faults() === 0 && round < ROUNDS_MAX; round++) {
        await index.close();
        index = await open({ ...place, countFaults: true });
        const before = index.pool.majorFaults();
        // Opening maps the graph; the vectors before it are in the cache alone, until a search wants them.
        await evict(path.join(bundle.folder, 'index.usearch'));
        for (let row = 0; row < 50; row++) await index.search(queryOf(rowOf(corpus, row * 40)));
        t.ok(index.pool.majorFaults() - before >= faults(), 'the whole thread had as many or more');
      }
      t.ok(faults() > 0, `${faults()} of searches`);
      await index.close();
    });
  const uncounted = await open();
  t.match(
    uncounted.pool.openIndexes(),
    [{ placement: 'disk', majorFaults: null }],
    'unless that was asked for',
  );
  await uncounted.close();
});
